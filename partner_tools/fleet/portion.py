"""Carries a queued run one portion further, and says what comes next. Knows no queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from partner_tools.engine.cancelling import giving_way, heed
from partner_tools.engine.desk import PendingDevice
from partner_tools.engine.settle import carry_through
from partner_tools.errors import (
    AuthError,
    DamagedRunError,
    Interrupted,
    LedgerError,
    PartnerToolsError,
    Redirected,
    Rejected,
    ServiceError,
    Unreadable,
)
from partner_tools.events import Kind, State
from partner_tools.ledger import RunRecord
from partner_tools.model import GONE, Plan, RunId, RunState
from partner_tools.runs.context import Workplace, noting_end, todos
from partner_tools.runs.planning import make_plan, refuse_changed, stored_plan
from partner_tools.runs.removal import given_up, settle_doubts, verify_removal

UNSETTLED = frozenset(State) - {State.SETTLED, State.NEW}
"""Where a device may stand that a portion takes along."""

FIRST_DELAY = 30.0
LONGEST_DELAY = 900.0
MOST_FAILURES = 40
"""What a service or a sign-in refuses is tried again after half a minute, doubled up to a quarter
of an hour, forty times over the life of a run; then the run is left to a person."""
HELD_DELAY = 10.0


class Next(StrEnum):
    """What comes after a portion."""

    MORE = "more"
    """There is more to do, at once."""
    LATER = "later"
    """The same again, after a delay."""
    OVER = "over"
    """Nothing that a worker could do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What comes next: behind which device, after how many seconds, for the how-manieth time."""

    next: Next
    after: int = -1
    delay: float = 0.0
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a worker brings along besides its workplace.

    `held` is the hold list; `approve` is called with a plan before anything of it is removed, and
    gives the plan without what it refuses or raises GuardError; `settle` is how many seconds to
    look for what was removed. A portion has at most `size` devices, and gives way after `seconds`.
    """

    held: frozenset[str]
    approve: Callable[[Workplace, Plan], Plan]
    settle: float
    size: int
    seconds: float


def carry_on(place: Workplace, run: RunId, terms: Terms, *, after: int, failures: int) -> Step:
    """Carry out the next portion of a run; everything that happened is durable on return.

    What an earlier worker left in doubt is settled before anything of the portion is sent. Raises
    LedgerError where the ledger cannot be used: nothing is known of what comes next then.
    """
    try:
        with place.ledger.hold(run):
            return _carry_on(place, run, terms, after=after, failures=failures)
    except LedgerError as error:
        if error.rule != "run-held":
            raise
        return Step(next=Next.LATER, after=after, failures=failures, delay=HELD_DELAY)


def _carry_on(place: Workplace, run: RunId, terms: Terms, *, after: int, failures: int) -> Step:
    try:
        record = place.ledger.run(run)
        return _portion(place, record, terms, after=after, failures=failures)
    except DamagedRunError:
        return Step(next=Next.OVER)  # its job would come back for ever; `runs` names it
    except Interrupted:
        if heed(place.line.stop):
            settle_doubts(place, run)
            return Step(next=Next.OVER)
        return _given_back(place, run, Step(next=Next.MORE, after=after, failures=failures))
    except (Rejected, Redirected, Unreadable):
        return Step(next=Next.OVER)
    except (ServiceError, AuthError) as error:
        return _put_off(place, run, error, after, failures)
    except LedgerError:
        raise
    except PartnerToolsError:
        return Step(next=Next.OVER)


def _portion(
    place: Workplace, record: RunRecord, terms: Terms, *, after: int, failures: int
) -> Step:
    if record.state in {RunState.CANCELLED, RunState.STOPPED, RunState.FINISHED}:
        return Step(next=Next.OVER)
    _begin(place, record, terms)
    place.note(record.run, Kind.STARTED)
    portion = _devices(place, record.run, after, terms.size)
    with noting_end(place, record.run), giving_way(place.line.stop, terms.seconds):
        carried = carry_through(place.desk(record.run), portion)
    if carried and _more(place, record.run, carried[-1].index):
        behind = Step(next=Next.MORE, after=carried[-1].index, failures=failures)
        return _given_back(place, record.run, behind)
    return _end(place, record.run, terms, failures)


def _begin(place: Workplace, record: RunRecord, terms: Terms) -> None:
    """Plan the run and have the plan approved, where that was not done before.

    That it was is shown by what a worker removed. The run's row, and its events, can be written by
    those who submit: on their word alone the guards are asked again.
    """
    if record.started_at is not None and _has_removed(place, record.run):
        return
    plan = stored_plan(place, record)
    if plan is None:
        plan, _ = make_plan(place, record, held=terms.held)
    with noting_end(place, record.run):
        plan = terms.approve(place, plan)
    refuse_changed(place, plan)


def _has_removed(place: Workplace, run: RunId) -> bool:
    return next(place.ledger.devices(run, outcomes=GONE), None) is not None


def _devices(place: Workplace, run: RunId, after: int, size: int) -> tuple[PendingDevice, ...]:
    return todos(islice(place.ledger.devices(run, states=UNSETTLED, after=after), size))


def _more(place: Workplace, run: RunId, after: int) -> bool:
    return next(place.ledger.devices(run, states=UNSETTLED, after=after), None) is not None


def _end(place: Workplace, run: RunId, terms: Terms, failures: int) -> Step:
    """Nothing is left behind the last device; what was given up on the way gets another turn."""
    waiting = next(place.ledger.devices(run, states={State.READY}), None)
    if waiting is not None and not place.ledger.is_cancelled(run):
        error = ServiceError(given_up(place, run))
        return _put_off(place, run, error, after=-1, failures=failures)
    with noting_end(place, run):
        verify_removal(place, run, wait_seconds=terms.settle)
    place.note(run, Kind.FINISHED)
    return Step(next=Next.OVER)


def _given_back(place: Workplace, run: RunId, step: Step) -> Step:
    """The run waits for a worker again, unless it was cancelled meanwhile."""
    if place.ledger.is_cancelled(run):
        return Step(next=Next.OVER)
    place.note(run, Kind.QUEUED)
    return step


def _put_off(
    place: Workplace, run: RunId, error: PartnerToolsError, after: int, failures: int
) -> Step:
    if failures >= MOST_FAILURES:
        return Step(next=Next.OVER)
    place.note(run, Kind.QUEUED, rule=error.rule, detail=str(error), remedy=error.remedy)
    asked = error.retry_after if isinstance(error, ServiceError) else None
    delay = max(min(FIRST_DELAY * 2.0**failures, LONGEST_DELAY), asked or 0.0)
    return Step(next=Next.LATER, after=after, failures=failures + 1, delay=delay)


def size_for(rate: float, call_size: int, *, least: int, seconds: float) -> int:
    """How many devices a portion has that shall last so many seconds at this rate.

    At the end of each the line runs dry for as long as an answer takes: the longer it is, the
    less that costs.
    """
    return max(least, int(rate * seconds), call_size)
