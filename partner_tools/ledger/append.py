"""Appends events to the chains of their runs, and brings the projections up to them.

Everything here happens within one transaction that the caller opened and that excludes other
writers of the same runs. Events are folded before anything is written, so that a call whose
events cannot follow fails alone, and the calls that share its transaction do not notice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Dialect

from partner_tools.events import RUN_STATES, Event, History, IllegalEventError, Kind, State, advance
from partner_tools.ledger.draft import Draft
from partner_tools.ledger.records import UnknownRunError
from partner_tools.ledger.standing import Group, Place, Standings, places
from partner_tools.model import Outcome, RunId

_IN_FLIGHT = frozenset({State.SENT, State.RESENT})


@dataclass(slots=True)
class _InFlight:
    """The devices of a run whose request may be out right now, as of the run's head."""

    head: str = ""
    histories: dict[int, History] = field(default_factory=dict)


class Appender:
    """Appends drafts, and remembers the devices in flight between two transactions.

    What it remembers of a run holds exactly as long as the run's head is the one that it wrote:
    another process that writes moves the head, and a rolled-back transaction does not reach it.
    Not thread-safe: the caller holds the database's write transaction.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._standings = Standings(dialect)
        self._in_flight: dict[RunId, _InFlight] = {}

    def append(
        self, connection: Connection, calls: Sequence[Sequence[Draft]]
    ) -> list[Exception | None]:
        """Append the events of each call, or none of a call whose events cannot follow.

        Gives for each call None, or why it was left out: UnknownRunError, IllegalEventError.
        """
        group = self._load(connection, [draft.event for call in calls for draft in call])
        before = {place: history.outcome for place, history in group.histories.items()}
        refusals = [_fold(group, call) for call in calls]
        accepted = [
            draft
            for call, refusal in zip(calls, refusals, strict=True)
            if refusal is None
            for draft in call
        ]
        if accepted:
            _count(group, before)
            self._standings.write(connection, group, accepted)
            self._remember(group, accepted)
        return refusals

    def _load(self, connection: Connection, wanted: Sequence[Event]) -> Group:
        group = self._standings.lock(connection, {event.run for event in wanted})
        self._forget_overtaken(group)
        missing: defaultdict[RunId, set[int]] = defaultdict(set)
        resolved = {(each.run, each.device) for each in wanted if each.kind is Kind.RESOLVED}
        for event in wanted:
            if event.device is None or event.run not in group.runs:
                continue
            known = self._in_flight.get(event.run)
            history = known.histories.get(event.device) if known else None
            if history is None or (event.run, event.device) in resolved:
                missing[event.run].add(event.device)
            else:
                group.histories[event.run, event.device] = history
        for run, indexes in missing.items():
            self._standings.load(connection, group, run, sorted(indexes))
        return group

    def _forget_overtaken(self, group: Group) -> None:
        for run, tally in group.runs.items():
            known = self._in_flight.get(run)
            if known and known.head != tally.head_hash:
                del self._in_flight[run]

    def _remember(self, group: Group, drafts: Iterable[Draft]) -> None:
        for run, index in places(drafts):
            history = group.histories[run, index]
            histories = self._in_flight.setdefault(run, _InFlight()).histories
            if history.state in _IN_FLIGHT:
                histories[index] = history
            else:
                histories.pop(index, None)
        for run, tally in group.runs.items():
            known = self._in_flight.get(run)
            if known and known.histories:
                known.head = tally.head_hash
            elif known:
                del self._in_flight[run]


def _fold(group: Group, call: Sequence[Draft]) -> Exception | None:
    ahead: dict[Place, History] = {}
    for draft in call:
        event = draft.event
        if event.run not in group.runs:
            return UnknownRunError(f"the ledger has no run '{event.run}'")
        if event.device is None:
            if event.kind not in RUN_STATES or _begins_again(group, event):
                return IllegalEventError(f"'{event.kind}' cannot happen to run {event.run}")
            continue
        place = event.run, event.device
        history = ahead.get(place) or group.histories.get(place)
        if history is None:
            return IllegalEventError(f"run {event.run} has no device {event.device}")
        try:
            ahead[place] = advance(history, event)
        except (LookupError, TypeError, ValueError) as error:
            return IllegalEventError(f"run {event.run}, device {event.device}: {error}")
    group.histories.update(ahead)
    return None


def _begins_again(group: Group, event: Event) -> bool:
    return event.kind is Kind.CREATED and group.runs[event.run].head_n > 0


def _count(group: Group, before: Mapping[Place, Outcome]) -> None:
    for place, outcome in before.items():
        counts, now = group.runs[place[0]].counts, group.histories[place].outcome
        if now is not outcome:
            counts[outcome.value] -= 1
            counts[now.value] += 1
