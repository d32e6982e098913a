"""Removes what a plan names, and looks whether it is gone. The state is durable at every step."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from partner_tools.engine.cancelling import heed
from partner_tools.engine.desk import PendingDevice
from partner_tools.engine.settle import Baseline, carry_through, settle, verify
from partner_tools.errors import Interrupted
from partner_tools.events import IN_DOUBT, Kind, State
from partner_tools.json_forms import read_target
from partner_tools.model import GONE, Outcome, RunId, RunState
from partner_tools.runs.context import Workplace, noting_end, todos


def remove(place: Workplace, run: RunId) -> RunState:
    """Bring every device of a confirmed run to an outcome; the state that `finish` ends it in.

    What an earlier process left in doubt is settled first. Where the run is cancelled meanwhile,
    what has left is settled, and what has not stays. Raises what ended it early, after that is
    durable.
    """
    place.note(run, Kind.STARTED)
    try:
        with noting_end(place, run):
            carried = carry_through(place.desk(run), todos(place.ledger.devices(run)))
    except Interrupted:
        if not heed(place.line.stop):
            raise
        settle_doubts(place, run)
        return RunState.CANCELLED
    given_up = any(todo.history.state is State.READY for todo in carried)
    return RunState.STOPPED if given_up else RunState.FINISHED


def finish(place: Workplace, run: RunId, state: RunState, *, wait_seconds: float) -> None:
    """Look whether what is gone is gone, and let the run end as `remove` said.

    It ends after the look: who is interrupted while looking has a run that `resume` looks at
    again, instead of one that passes for done.
    """
    if state is RunState.CANCELLED:
        verify_removal(place, run, wait_seconds=wait_seconds)
        return
    try:
        with noting_end(place, run):
            verify_removal(place, run, wait_seconds=wait_seconds)
    except Interrupted:
        if not heed(place.line.stop):
            raise
        return
    if state is RunState.STOPPED:
        place.note(run, Kind.STOPPED, detail=given_up(place, run))
    else:
        place.note(run, Kind.FINISHED)


def given_up(place: Workplace, run: RunId) -> str:
    """Why devices of a run wait for a resume although nothing ended it."""
    said, reason = "some devices were given up for now", place.ledger.last_setback(run)
    return f"{said}; last, {reason}" if reason else said


def settle_doubts(place: Workplace, run: RunId) -> None:
    """Look for what has left without an answer, where the channel can look; nothing is sent."""
    settle(place.desk(run), todos(place.ledger.devices(run, states=IN_DOUBT)))


def verify_removal(place: Workplace, run: RunId, *, wait_seconds: float) -> None:
    """Look for every device that is gone; what was seen is durable on return.

    Raises what kept us from looking. A channel that cannot be observed is left alone.
    """
    if not place.channel.observable:
        return
    gone = [todo for todo in todos(place.ledger.devices(run)) if todo.history.outcome in GONE]
    if gone:
        baseline = _baseline(place, run, gone)
        verify(place.desk(run), place.channel, gone, wait_seconds=wait_seconds, baseline=baseline)


def _baseline(place: Workplace, run: RunId, gone: Sequence[PendingDevice]) -> Baseline:
    """What the plan saw, without what runs of this ledger removed since; an unanswered request of
    ours may have removed something as well. Empty where the plan was purged."""
    text = place.ledger.plan(run)
    if text is None:
        return Baseline()
    plan = json.loads(text)
    since = min(datetime.fromisoformat(plan["createdAt"]), place.ledger.run(run).created_at)
    own = Counter(
        todo.customer
        for todo in gone
        if todo.history.outcome is Outcome.REMOVED or todo.history.silent
    )
    removed = place.ledger.removed_since
    return Baseline(
        remaining={
            tenant: each["estate"] - max(own[tenant], removed(tenant, since))
            for each in plan["customers"]
            if (tenant := each["tenantId"])
        },
        others={
            position: frozenset(map(read_target, each["candidates"]))
            for position, each in enumerate(plan["devices"])
            if each.get("candidates")
        },
    )
