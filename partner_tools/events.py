"""The life of a device in a run: every event, every state, and which leads to which.

All that is durable about a run is a list of events; status, resume, report and audit are folds
over them. A crash, a time-out, a power cut and Ctrl-C look the same here: an intent without an
answer. This file holds the whole state machine; the diagram in
`docs/reference/lifecycle.md` is made from `TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from partner_tools.errors import LedgerError
from partner_tools.model import Device, Identity, Outcome, Registration, RunId, RunState, Target


class Kind(StrEnum):
    """The kinds of events. The first group concerns a run, the second one device of it."""

    CREATED = "created"
    QUEUED = "queued"
    PLANNED = "planned"
    CONFIRMED = "confirmed"
    STARTED = "started"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    FINISHED = "finished"
    ASSESSED = "assessed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    DISMISSED = "dismissed"
    SYNCED = "synced"
    HANDED_OVER = "handed-over"

    RESOLVED = "resolved"
    INTENDED = "intended"
    WITHDRAWN = "withdrawn"
    DEFERRED = "deferred"
    DOUBTED = "doubted"
    ACCEPTED = "accepted"
    RECALLED = "recalled"
    ANSWERED = "answered"
    PASSED = "passed"
    PARKED = "parked"
    OBSERVED = "observed"
    RESTORING = "restoring"
    RESTORED = "restored"


class State(StrEnum):
    """The state of one device."""

    NEW = "new"
    """Named by the batch, not resolved yet."""
    READY = "ready"
    """Nothing of it is under way: its removal may be intended."""
    SENT = "sent"
    """An intent is durable; whether its request left is not known until the next event."""
    DOUBT = "doubt"
    """A request may have been processed; only looking settles it."""
    RESENT = "resent"
    """A further intent while an earlier one is still in doubt."""
    ACCEPTED = "accepted"
    """The service took the work and has not said what became of it."""
    BETWEEN = "between"
    """A step of several is done, or waits for a person: looking decides what is next."""
    SETTLED = "settled"
    """An outcome is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One fact, in the order in which it became durable. `device` is None for a run's events.

    `schemas/event.schema.json` says what `payload` holds, by kind.
    """

    run: RunId
    kind: Kind
    at: datetime
    device: int | None = None
    payload: Mapping[str, Any]


TRANSITIONS: Mapping[tuple[State, Kind], State] = {
    (State.NEW, Kind.RESOLVED): State.READY,
    (State.READY, Kind.RESOLVED): State.READY,
    (State.SETTLED, Kind.RESOLVED): State.READY,
    (State.READY, Kind.INTENDED): State.SENT,
    (State.READY, Kind.ANSWERED): State.SETTLED,
    (State.SENT, Kind.WITHDRAWN): State.READY,
    (State.SENT, Kind.DEFERRED): State.READY,
    (State.SENT, Kind.DOUBTED): State.DOUBT,
    (State.SENT, Kind.ACCEPTED): State.ACCEPTED,
    (State.SENT, Kind.ANSWERED): State.SETTLED,
    (State.SENT, Kind.RECALLED): State.READY,
    (State.DOUBT, Kind.INTENDED): State.RESENT,
    (State.DOUBT, Kind.RECALLED): State.READY,
    (State.DOUBT, Kind.ANSWERED): State.SETTLED,
    (State.RESENT, Kind.WITHDRAWN): State.DOUBT,
    (State.RESENT, Kind.DEFERRED): State.DOUBT,
    (State.RESENT, Kind.DOUBTED): State.DOUBT,
    (State.RESENT, Kind.ACCEPTED): State.ACCEPTED,
    (State.RESENT, Kind.ANSWERED): State.SETTLED,
    (State.RESENT, Kind.RECALLED): State.READY,
    (State.ACCEPTED, Kind.DEFERRED): State.READY,
    (State.ACCEPTED, Kind.DOUBTED): State.DOUBT,
    (State.ACCEPTED, Kind.ANSWERED): State.SETTLED,
    (State.SENT, Kind.PASSED): State.BETWEEN,
    (State.DOUBT, Kind.PASSED): State.BETWEEN,
    (State.RESENT, Kind.PASSED): State.BETWEEN,
    (State.SENT, Kind.PARKED): State.BETWEEN,
    (State.RESENT, Kind.PARKED): State.BETWEEN,
    (State.BETWEEN, Kind.INTENDED): State.SENT,
    (State.BETWEEN, Kind.ANSWERED): State.SETTLED,
    (State.SETTLED, Kind.OBSERVED): State.SETTLED,
    (State.DOUBT, Kind.OBSERVED): State.DOUBT,
    (State.READY, Kind.OBSERVED): State.READY,
    (State.ACCEPTED, Kind.OBSERVED): State.ACCEPTED,
    (State.BETWEEN, Kind.OBSERVED): State.BETWEEN,
    (State.SETTLED, Kind.RESTORING): State.SETTLED,
    (State.SETTLED, Kind.RESTORED): State.SETTLED,
}
"""The whole machine. `resolved` with an outcome other than `pending`, and `recalled` that did not
find the registration, settle at once: `advance` says so where it reads the payload."""

IN_DOUBT = frozenset({State.SENT, State.DOUBT, State.RESENT})
"""States that a dead process may leave, and that `settle` has to clear before anything is sent."""


class IllegalEventError(LedgerError, ValueError):
    """An event that cannot follow the ones before it.

    Another process executes the run at the same time, or the ledger was edited.
    """

    default_rule = "ledger-contradiction"

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            remedy="another process may have worked on this run meanwhile: look at it with "
            "`partner-tools runs`, and at the record with `partner-tools ledger verify`",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The result of folding the events of one device.

    `request_id` is the one that an attempt has to carry while no answer to it came; None means
    that the next attempt needs a new one (Partner Center's rule,
    https://learn.microsoft.com/partner-center/developer/headers, read 2026-11).
    `silent` says that a request of ours went unanswered, which an `absent` has to mention.
    """

    state: State = State.NEW
    outcome: Outcome = Outcome.PENDING
    customer: str | None = None
    rule: str | None = None
    detail: str | None = None
    remedy: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    answered_request_id: str | None = None
    attempts: int = 0
    silent: bool = False
    handle: str | None = None
    settled_at: datetime | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()
    looked_before: int | None = None
    """How many pieces of the evidence were recorded before the outcome was: by the order of the
    ledger, as two machines' clocks differ. None in what an older version recorded."""
    step: str | None = None
    """Of a cleanup: the step that was intended last, of the object `record`."""
    record: str | None = None
    passed: tuple[str, ...] = ()
    """Of a cleanup: the steps that are done, in their order."""
    approval: str | None = None
    """Of a cleanup: the code under which another administrator's approval is awaited."""
    restored: str | None = None
    """`requested` once a registration was asked for, `done` or the service's refusal after it."""

    @property
    def in_doubt(self) -> bool:
        """Whether a request may have been processed without our knowing."""
        return self.state in IN_DOUBT


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One step of several on a device: what is done, and the id of the record it is done to."""

    step: str
    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDevice:
    """One device of a run: as the user named it, what the plan found, and what became of it.

    Hardware hashes are not kept: `device` and `found` are without them, and the two digests
    (`sha256:`) take their place. `act` is the next step, where a channel removes in several.
    """

    run: RunId
    index: int
    device: Device
    history: History
    target: Target | None = None
    found: Registration | None = None
    hardware_hash_digest: str | None = None
    found_hash_digest: str | None = None
    act: Act | None = None

    @property
    def identity(self) -> Identity:
        return self.device.identity

    @property
    def customer(self) -> str | None:
        """The tenant that it was resolved to."""
        return self.history.customer


def advance(history: History, event: Event) -> History:
    """The history after one more event.

    Raises IllegalEventError where `TRANSITIONS` does not allow it.
    """
    following = TRANSITIONS.get((history.state, event.kind))
    if following is None:
        raise IllegalEventError(f"{event.kind} cannot follow in state {history.state}")
    changes = _READERS[event.kind](history, event)
    return replace(history, **{"state": following, **changes})


def fold(events: Iterable[Event], start: History | None = None) -> History:
    """The history that a device's events amount to, in their order."""
    history = start or History()
    for event in events:
        history = advance(history, event)
    return history


Changes = dict[str, Any]
"""The fields of a history that an event changes, besides the state that the table gives."""


def _resolved(history: History, event: Event) -> Changes:
    outcome = Outcome(event.payload["outcome"])
    settled = outcome is not Outcome.PENDING
    return {
        "looked_before": len(history.evidence) if settled else None,
        "state": State.SETTLED if settled else State.READY,
        "outcome": outcome,
        "customer": event.payload.get("customer"),
        "rule": event.payload.get("rule"),
        "detail": event.payload.get("detail"),
        "remedy": event.payload.get("remedy"),
        "settled_at": event.at if settled else None,
    }


def _intended(history: History, event: Event) -> Changes:
    return {
        "outcome": Outcome.UNKNOWN,
        "request_id": event.payload["requestId"],
        "correlation_id": event.payload.get("correlationId"),
        "attempts": history.attempts + 1,
        "detail": None,
        "remedy": None,
        "step": event.payload.get("step"),
        "record": event.payload.get("record"),
    }


def _withdrawn(history: History, event: Event) -> Changes:
    return {"outcome": _outcome_after(history, event), "attempts": history.attempts - 1}


def _deferred(history: History, event: Event) -> Changes:
    return {
        "outcome": _outcome_after(history, event),
        "answered_request_id": history.request_id,
        "request_id": None,
        "detail": event.payload.get("detail"),
    }


def _doubted(history: History, event: Event) -> Changes:
    answered = bool(event.payload.get("answered"))
    return {
        "outcome": Outcome.UNKNOWN,
        "answered_request_id": history.request_id if answered else history.answered_request_id,
        "request_id": None if answered else history.request_id,
        "silent": history.silent or not answered,
        "detail": event.payload.get("detail"),
        "remedy": event.payload.get("remedy"),
    }


def _accepted(_history: History, event: Event) -> Changes:
    return {"outcome": Outcome.UNKNOWN, "handle": event.payload["handle"]}


def _recalled(history: History, event: Event) -> Changes:
    if event.payload["present"]:
        return {"outcome": Outcome.PENDING, "detail": None, "remedy": None}
    return {
        "state": State.SETTLED,
        "outcome": Outcome.ABSENT,
        "detail": event.payload.get("detail"),
        "remedy": event.payload.get("remedy"),
        "settled_at": event.at,
        "looked_before": len(history.evidence),
    }


def _answered(history: History, event: Event) -> Changes:
    return {
        "outcome": Outcome(event.payload["outcome"]),
        "rule": event.payload.get("rule"),
        "detail": event.payload.get("detail"),
        "remedy": event.payload.get("remedy"),
        "answered_request_id": event.payload.get("requestId") or history.request_id,
        "correlation_id": event.payload.get("correlationId") or history.correlation_id,
        "request_id": None,
        "settled_at": event.at,
        "looked_before": len(history.evidence),
    }


def _passed(history: History, event: Event) -> Changes:
    return {
        **_answered_in_part(history, event),
        "passed": (*history.passed, event.payload["step"]),
        "approval": None,
        "silent": False,
    }


def _parked(history: History, event: Event) -> Changes:
    return {**_answered_in_part(history, event), "approval": event.payload["approval"]}


def _answered_in_part(history: History, event: Event) -> Changes:
    return {
        "outcome": Outcome.PENDING,
        "detail": event.payload.get("detail"),
        "remedy": event.payload.get("remedy"),
        "answered_request_id": event.payload.get("requestId") or history.request_id,
        "request_id": None,
    }


def _observed(history: History, event: Event) -> Changes:
    return {"evidence": (*history.evidence, {**event.payload, "observedAt": event.at.isoformat()})}


def _restoring(_history: History, _event: Event) -> Changes:
    return {"restored": "requested"}


def _restored(_history: History, event: Event) -> Changes:
    return {"restored": "done" if event.payload["done"] else event.payload.get("detail")}


def _outcome_after(history: History, event: Event) -> Outcome:
    """Unknown while an earlier request is in doubt."""
    is_ready = TRANSITIONS[history.state, event.kind] is State.READY
    return Outcome.PENDING if is_ready else Outcome.UNKNOWN


_READERS = {
    Kind.RESOLVED: _resolved,
    Kind.INTENDED: _intended,
    Kind.WITHDRAWN: _withdrawn,
    Kind.DEFERRED: _deferred,
    Kind.DOUBTED: _doubted,
    Kind.ACCEPTED: _accepted,
    Kind.RECALLED: _recalled,
    Kind.ANSWERED: _answered,
    Kind.PASSED: _passed,
    Kind.PARKED: _parked,
    Kind.OBSERVED: _observed,
    Kind.RESTORING: _restoring,
    Kind.RESTORED: _restored,
}


RUN_STATES: Mapping[Kind, RunState | None] = {
    Kind.CREATED: RunState.PLANNING,
    Kind.QUEUED: RunState.QUEUED,
    Kind.PLANNED: RunState.PLANNED,
    Kind.CONFIRMED: RunState.PLANNED,
    Kind.STARTED: RunState.RUNNING,
    Kind.INTERRUPTED: RunState.INTERRUPTED,
    Kind.STOPPED: RunState.STOPPED,
    Kind.FINISHED: RunState.FINISHED,
    Kind.ASSESSED: RunState.ASSESSED,
    Kind.CANCELLED: RunState.CANCELLED,
    Kind.REFUSED: RunState.REFUSED,
    Kind.DISMISSED: None,
    Kind.SYNCED: RunState.RUNNING,
    Kind.HANDED_OVER: None,
}
"""The state that a run's own event leaves it in; None where it moves nothing."""
