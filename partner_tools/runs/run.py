"""The life of a run: begin, plan, confirm, execute, settle, verify, finish. Written once.

A removal, a cleanup and a slice of a fleet's run differ by their `Steps`, not by another flow.
Everything that happened is durable when a function returns or raises.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from partner_tools.cancellation import LOOK_SECONDS, CancellationToken
from partner_tools.engine.execute import LAST_ANSWERS_SECONDS, settle
from partner_tools.errors import GuardError, InputError, Interrupted
from partner_tools.events import IN_DOUBT, Event, Kind
from partner_tools.guards import refuse_overdrawn
from partner_tools.json_forms import stated
from partner_tools.ledger import Ledger, RunRecord, RunStart
from partner_tools.model import ENDED, Account, Batch, ChannelName, Plan, RunId, RunState
from partner_tools.runs.checks import midnight, refuse_elsewhere, refuse_stale
from partner_tools.runs.context import RunContext, RunObserver
from partner_tools.signing import check_approval

PATIENCE_SECONDS = LOOK_SECONDS + LAST_ANSWERS_SECONDS + 5.0
"""How long a process may take to notice that its run was cancelled, to hear its answers, to settle.
"""
GLANCE_SECONDS = 0.2
OVER = ENDED | {RunState.STOPPED, RunState.INTERRUPTED}
"""The states in which a run has devices with an outcome."""


class Steps(Protocol):
    """The behaviour of one kind of run at each stage of its life."""

    @property
    def end(self) -> Kind:
        """The event by which the ledger knows that the run has done everything."""

    @property
    def context(self) -> RunContext:
        """The dependencies of the run."""

    def plan(self) -> Plan:
        """The plan of the run, made where it has none, and shown to the observer. Reads only."""

    def check(self, plan: Plan) -> Plan:
        """The plan without what the guards refuse. Raises GuardError where nothing may go."""

    def count(self, plan: Plan) -> int:
        """How many devices the plan changes: what is asked about."""

    def compare(self, plan: Plan, settled: Collection[int]) -> None:
        """Refuse what is not any more what a person confirmed, `settled` doubts above all."""

    def execute(self, plan: Plan) -> None:
        """Bring every device to an outcome, as far as this run can."""

    def verify(self) -> None:
        """Look whether what is gone is gone, and keep that as evidence."""

    def unfinished(self) -> str | None:
        """Why the run waits for a resume although nothing ended it; None where it is finished."""


def begin(
    context: RunContext, batch: Batch, account: Account, *, plan_file: Path | None = None
) -> None:
    """Store the batch as a new run: from here on it exists, and can be resumed.

    `plan_file` is the file that its plan is written to.
    Raises InputError where the handoffs could not be written, before anything is stored.
    """
    from partner_tools.files import require_folder

    if context.options.report is not None and not context.options.dry_run:
        require_folder(context.options.report)
    batch = with_hashes_read(batch, context.channel.name)
    settings = {**context.options.stored(), "place": context.place.document()}
    if plan_file is not None:
        settings["planFile"] = str(plan_file.absolute())
    start = run_start(
        context.run,
        batch,
        channel=context.channel.name,
        settings=settings,
        account=account,
        now=context.now(),
    )
    context.ledger.create_run(start, batch.devices)
    context.observer.began(context.run)


def run_start(
    run: RunId,
    batch: Batch,
    *,
    channel: ChannelName,
    settings: Mapping[str, Any],
    account: Account,
    now: datetime,
    depot: str | None = None,
) -> RunStart:
    """Collect the data of a run before it is planned."""
    return RunStart(
        run=run,
        channel=channel,
        batch_id=batch.batch_id,
        batch_digest=batch.digest,
        file=batch.file,
        at=now,
        reason=batch.reason,
        reference=batch.reference,
        customer=batch.customer,
        actor=account.name,
        settings={**settings, **stated(accountId=account.id)},
        depot=depot,
    )


def with_hashes_read(batch: Batch, channel: ChannelName) -> Batch:
    """The batch with what only hardware hashes say of its devices, for OEM Direct.

    The ledger keeps no hash, and OEM Direct has no listing that would name the device.
    """
    if channel is not ChannelName.OEM_DIRECT:
        return batch
    from partner_tools.channels.oem_direct import completed
    from partner_tools.intake.hardware_hash import decode_hash, derive

    devices = (completed(each, lambda text: derive(decode_hash(text))) for each in batch.devices)
    return replace(batch, devices=tuple(devices))


def carry_out(steps: Steps) -> None:
    """Take a run that was begun, or interrupted, to its end. A dry run ends with its plan.

    Where the run is cancelled meanwhile, requests that have left are settled, and nothing else
    leaves.
    """
    context = steps.context
    plan = prepare(steps)
    if plan is None:
        return
    context.note(Kind.STARTED, **stated(account=context.account()))
    try:
        with context.observer.removing(steps.count(plan), context.throttle), context.noting_end():
            steps.execute(plan)
    except Interrupted:
        if not context.token.acknowledge_cancel():
            raise
        settle_doubts(context)
        steps.verify()
    else:
        finish(steps)


def prepare(steps: Steps, *, unattended: bool = False) -> Plan | None:
    """Settle doubts, plan, apply the guards, ask: the plan to execute; None for a dry run.

    Doubts come first, so that limits and the hold list apply to all that is not settled. Raises
    GuardError where a guard or a person refuses, which is recorded: the run is refused if nothing
    was sent, and an `unattended` run, which no person would resume, is stopped.
    """
    context = steps.context
    record = context.ledger.run(context.run)
    is_noted = unattended or record.started_at is None
    with context.noting_end() if unattended else nullcontext():
        refuse_elsewhere(context, record)
        refuse_stale(context, record)
    with context.noting_end():
        settled = settle_doubts(context)
    plan = steps.plan()
    if context.options.dry_run:
        return None
    with context.noting_end() if is_noted else nullcontext():
        approved_by = _approved(context, plan)
        plan = steps.check(plan)
        _confirm(steps, plan, approved_by)
    steps.compare(plan, settled)
    return plan


def settle_doubts(context: RunContext) -> frozenset[int]:
    """Look for what has left without an answer, where the channel can look; nothing is sent.

    The indexes of the devices that were in doubt.
    """
    doubtful = tuple(context.ledger.devices(context.run, states=IN_DOUBT))
    settle(context, doubtful)
    return frozenset(each.index for each in doubtful)


def finish(steps: Steps) -> None:
    """Look whether what is gone is gone, and record the end.

    The run ends after the look: a user who interrupts the look has a run that `resume` looks at
    again, instead of one that passes for done.
    """
    context = steps.context
    try:
        with context.noting_end():
            steps.verify()
    except Interrupted:
        if not context.token.acknowledge_cancel():
            raise
        return
    if why := steps.unfinished():
        context.note(Kind.STOPPED, detail=why)
    else:
        context.note(steps.end)


def cancel(
    ledger: Ledger,
    record: RunRecord,
    *,
    token: CancellationToken,
    now: Callable[[], datetime],
    open_steps: Callable[[], AbstractContextManager[Steps]],
    observer: RunObserver,
) -> None:
    """Cancel a run, durably, and settle what has left, here or in the process that sent it.

    Raises InputError for a run that is over; what its channel raises where it cannot look.
    """
    if record.state in ENDED:
        raise InputError(
            f"run {record.run} is {record.state}: there is nothing to cancel",
            rule="run-over",
            remedy=f"`partner-tools runs {record.run}` shows it",
        )
    if record.state is not RunState.CANCELLED:
        ledger.record([Event(run=record.run, kind=Kind.CANCELLED, at=now(), payload={})])
    until = time.monotonic() + PATIENCE_SECONDS
    while ledger.is_held(record.run):
        if time.monotonic() > until or token.wait(GLANCE_SECONDS):
            observer.notify("its process has not stopped yet: what has left is settled there")
            return
    if not any(ledger.devices(record.run, states=IN_DOUBT, limit=1)):
        return
    with ledger.hold(record.run), open_steps() as steps:
        refuse_elsewhere(steps.context, record, looks=True)
        settle_doubts(steps.context)
    if any(ledger.devices(record.run, states=IN_DOUBT, limit=1)):
        observer.notify("this channel cannot look: what was in doubt stays unknown")


def dismiss(
    ledger: Ledger, record: RunRecord, reason: str, *, by: str | None, at: datetime
) -> None:
    """Close the outstanding steps of a run, on the record; durable on return.

    Raises InputError for a run that has none to close: it is not over, or is a cleanup.
    """
    if record.state not in OVER or record.channel is ChannelName.MICROSOFT_GRAPH:
        raise InputError(
            f"run {record.run} is {record.state}: it has no outstanding steps to dismiss"
            if record.state not in OVER
            else f"run {record.run} is a cleanup: its steps belong to the partner's run",
            rule="not-dismissable",
            remedy="`partner-tools verify --outstanding` lists what is outstanding, by run",
        )
    payload = {"reason": reason, "by": by}
    ledger.record([Event(run=record.run, kind=Kind.DISMISSED, at=at, payload=payload)])


def _confirm(steps: Steps, plan: Plan, approved_by: Sequence[str]) -> None:
    context, count = steps.context, steps.count(plan)
    if count and not context.options.yes and not context.confirm(plan):
        raise GuardError(
            "not confirmed", rule="not-confirmed", remedy="run it again when you are sure"
        )
    payload: dict[str, Any] = {"removals": count, "asked": not context.options.yes}
    if approved_by:
        payload["approvedBy"] = list(approved_by)
    at = context.now()
    context.ledger.confirm(
        [
            Event(run=context.run, kind=Kind.CONFIRMED, at=at, payload=payload),
            Event(run=context.run, kind=Kind.STARTED, at=at, payload={}),
        ],
        since=midnight(at),
        allow=lambda used: refuse_overdrawn(context.guards.limits, plan, used),
    )


def _approved(context: RunContext, plan: Plan) -> tuple[str, ...]:
    """Return the plan's approvers. Raises GuardError where the profile demands more.

    An approval holds for some hours, for one run, and for the ledger that the plan was made with.
    """
    rule, digest = context.guards.approval, context.ledger.run(context.run).plan_digest or ""
    if rule.required:
        if plan.is_foreign:
            raise GuardError(
                "the plan was made with another ledger: its approval does not hold here",
                rule="approval-other-ledger",
                remedy="plan the batch with the ledger that executes it, and have it approved",
            )
        if other := context.ledger.run_of_plan(digest, other_than=context.run):
            raise GuardError(
                f"the approval of this plan was spent by run {other}",
                rule="approval-spent",
                remedy=f"`partner-tools resume {other}` continues that run; plan and approve again "
                "for another one",
            )
    return check_approval(rule, digest, plan.planner, context.options.approvals, now=context.now())
