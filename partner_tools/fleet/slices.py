"""Carries a queued run one slice further, and says what comes next. Knows no queue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

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
from partner_tools.model import GONE, RunState
from partner_tools.runs.context import RunContext, todos
from partner_tools.runs.run import Steps, carry_through, finish, prepare, settle_doubts

UNSETTLED = frozenset(State) - {State.SETTLED, State.NEW}
"""The states of devices that a slice takes along."""

FIRST_DELAY = 30.0
LONGEST_DELAY = 900.0
MOST_FAILURES = 40
"""A refusal by a service or a sign-in is retried after half a minute, doubled up to a quarter
of an hour, forty times over the life of a run; then the run is left to a person."""
HELD_DELAY = 10.0


class Next(StrEnum):
    """The next step after a slice."""

    MORE = "more"
    """There is more to do, at once."""
    LATER = "later"
    """The same again, after a delay."""
    OVER = "over"
    """Nothing that a worker could do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSlice:
    """The next slice: after which device, in how many seconds, after how many failures."""

    next: Next
    after: int = -1
    delay: float = 0.0
    failures: int = 0


def carry_on(steps: Steps, *, size: int, seconds: float, after: int, failures: int) -> NextSlice:
    """Carry out the next slice of a run, of at most `size` devices and about `seconds` long.

    Everything that happened is durable on return. Doubts that an earlier worker left are settled
    before anything of the slice is sent. Raises LedgerError where the ledger cannot be used:
    the next step is unknown then.
    """
    context = steps.context
    again = NextSlice(next=Next.LATER, after=after, failures=failures, delay=HELD_DELAY)
    try:
        with context.ledger.hold(context.run):
            try:
                return _slice(steps, size, seconds, after=after, failures=failures)
            except DamagedRunError:
                # Its job would come back for ever; `runs` names it.
                return NextSlice(next=Next.OVER)
            except Interrupted:
                if context.token.acknowledge_cancel():
                    settle_doubts(context)
                    return NextSlice(next=Next.OVER)
                return _give_back(
                    context, NextSlice(next=Next.MORE, after=after, failures=failures)
                )
            except (Rejected, Redirected, Unreadable):
                return NextSlice(next=Next.OVER)
            except (ServiceError, AuthError) as error:
                return _put_off(context, error, after, failures)
            except LedgerError:
                raise
            except PartnerToolsError:
                return NextSlice(next=Next.OVER)
    except LedgerError as error:
        if error.rule != "run-held":
            raise
        return again


def _slice(steps: Steps, size: int, seconds: float, *, after: int, failures: int) -> NextSlice:
    context = steps.context
    ledger, run = context.ledger, context.run
    record = ledger.run(run)
    if record.state in {RunState.CANCELLED, RunState.REFUSED, RunState.STOPPED, RunState.FINISHED}:
        return NextSlice(next=Next.OVER)
    # That the plan was approved is shown by what a worker removed. The run's row, and its events,
    # can be written by those who submit: on their word alone the guards are asked again.
    if record.started_at is None or not any(ledger.devices(run, outcomes=GONE)):
        prepare(steps, unattended=True)
    context.note(Kind.STARTED)
    devices = todos(islice(ledger.devices(run, states=UNSETTLED, after=after), size))
    with context.noting_end(), context.token.deadline(seconds):
        carried = carry_through(context, devices)
    if carried and any(ledger.devices(run, states=UNSETTLED, after=carried[-1].index)):
        more = NextSlice(next=Next.MORE, after=carried[-1].index, failures=failures)
        return _give_back(context, more)
    # Nothing is left behind the last device; what was given up on the way gets another turn.
    if (why := steps.unfinished()) and not ledger.is_cancelled(run):
        return _put_off(context, ServiceError(why), after=-1, failures=failures)
    finish(steps)
    return NextSlice(next=Next.OVER)


def _give_back(context: RunContext, following: NextSlice) -> NextSlice:
    """The run waits for a worker again, unless it was cancelled meanwhile."""
    if context.ledger.is_cancelled(context.run):
        return NextSlice(next=Next.OVER)
    context.note(Kind.QUEUED)
    return following


def _put_off(context: RunContext, error: PartnerToolsError, after: int, failures: int) -> NextSlice:
    if failures >= MOST_FAILURES:
        return NextSlice(next=Next.OVER)
    context.note(Kind.QUEUED, rule=error.rule, detail=str(error), remedy=error.remedy)
    asked = error.retry_after if isinstance(error, ServiceError) else None
    delay = max(min(FIRST_DELAY * 2.0**failures, LONGEST_DELAY), asked or 0.0)
    return NextSlice(next=Next.LATER, after=after, failures=failures + 1, delay=delay)
