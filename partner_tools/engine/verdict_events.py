"""Which event makes durable how an attempt ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from partner_tools.engine.channel import (
    Acceptance,
    Answer,
    Deferral,
    Doubt,
    Parking,
    Passage,
    Verdict,
)
from partner_tools.errors import (
    Redirected,
    ServiceError,
    Unanswered,
    Unavailable,
    Unreadable,
    Unsent,
)
from partner_tools.events import Kind

Fact = tuple[Kind, Mapping[str, Any]]
"""The kind and the payload of an event to come."""


def of_error(error: ServiceError) -> Fact:
    """What an attempt that ended in an error means for its devices.

    Only an error that proves that nothing was done leaves no doubt.
    """
    facts = {"detail": str(error), "status": error.status, "code": error.code}
    if isinstance(error, Unsent):
        return Kind.WITHDRAWN, {"detail": str(error)}
    if isinstance(error, Unanswered):
        return Kind.DOUBTED, _stated({**facts, "answered": False})
    if isinstance(error, Unavailable | Redirected | Unreadable):
        return Kind.DOUBTED, _stated({**facts, "answered": True})
    return Kind.DEFERRED, _stated(facts)


def of_verdict(verdict: Verdict) -> Fact:
    """The event that makes a verdict durable."""
    match verdict:
        case Answer():
            return Kind.ANSWERED, answer_payload(verdict)
        case Deferral(detail=detail, status=status, code=code):
            return Kind.DEFERRED, _stated({"detail": detail, "status": status, "code": code})
        case Doubt(answered=answered, detail=detail, remedy=remedy, status=status):
            facts = {"answered": answered, "detail": detail, "remedy": remedy, "status": status}
            return Kind.DOUBTED, _stated(facts)
        case Acceptance(handle=handle):
            return Kind.ACCEPTED, {"handle": handle}
        case Passage(step=step):
            return Kind.PASSED, _stated({"step": step, **_in_part(verdict)})
        case Parking(approval=approval, remedy=remedy):
            facts = {"approval": approval, "remedy": remedy, **_in_part(verdict)}
            return Kind.PARKED, _stated(facts)


def _in_part(verdict: Passage | Parking) -> dict[str, Any]:
    return {
        "detail": verdict.detail,
        "status": verdict.status,
        "requestId": verdict.request_id,
    }


def answer_payload(answer: Answer) -> Mapping[str, Any]:
    """What the ledger keeps of a service's answer."""
    return _stated(
        {
            "outcome": answer.outcome.value,
            "rule": answer.rule,
            "detail": answer.detail,
            "remedy": answer.remedy,
            "status": answer.status,
            "code": answer.code,
            "requestId": answer.request_id,
            "correlationId": answer.correlation_id,
        }
    )


def _stated(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
