"""Choose the event that records how an attempt ended, and its effect on the run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from partner_tools.engine.channel import (
    Acceptance,
    Answer,
    AwaitingApproval,
    Deferral,
    Doubt,
    StepDone,
    Verdict,
)
from partner_tools.errors import (
    Redirected,
    Rejected,
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
    """Return what an attempt that ended in an error means for its devices.

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
        case StepDone(step=step):
            return Kind.PASSED, _stated({"step": step, **_in_part(verdict)})
        case AwaitingApproval(approval=approval, remedy=remedy):
            facts = {"approval": approval, "remedy": remedy, **_in_part(verdict)}
            return Kind.PARKED, _stated(facts)


def _in_part(verdict: StepDone | AwaitingApproval) -> dict[str, Any]:
    return {
        "detail": verdict.detail,
        "status": verdict.status,
        "requestId": verdict.request_id,
    }


def answer_payload(answer: Answer) -> Mapping[str, Any]:
    """Return the part of a service's answer that the ledger keeps."""
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


DEFERRED = "device-deferred"
"""The rule of a failure that is about single devices of a call that was answered."""


def setback(verdicts: Iterable[Verdict]) -> ServiceError | None:
    """Why an answered call counts as a failure: a device is to be asked for later, or was
    answered in an unexpected way.
    """
    for verdict in verdicts:
        if isinstance(verdict, Answer) and verdict.unexpected:
            return _rejected(verdict, verdict.detail or "")
        if isinstance(verdict, Deferral):
            # Of one device alone, in an answer that was had: the others need not wait for it.
            alone = verdict.status is not None and verdict.status < 400
            return Unavailable(
                verdict.detail,
                rule=DEFERRED if alone else None,
                status=verdict.status,
                code=verdict.code,
                retry_after=verdict.retry_after,
            )
    return None


def end_where_barred(verdicts: Iterable[Verdict]) -> None:
    """End the run, by Rejected, where the service says that the request itself is wrong."""
    for verdict in verdicts:
        if isinstance(verdict, Answer) and verdict.bars_run:
            raise _rejected(verdict, f"the run was stopped: {verdict.detail}")


def _rejected(answer: Answer, message: str) -> Rejected:
    return Rejected(
        message,
        remedy=answer.remedy or "",
        rule=answer.rule,
        status=answer.status,
        code=answer.code,
        request_id=answer.request_id,
        correlation_id=answer.correlation_id,
    )
