"""Observations as the ledger stores them, and the probes that they stand for.

What the `observed` event of the ledger holds, as `probe_from` reads and `evidence_from` writes it:

- `plane`: a `Plane`; `subject`: a `Subject` (left out: `device`)
- `source`: a `Source` (left out or unknown: `channel`, which proves least)
- `status`: `outstanding` (the probe found it), `clear` (it ran and found nothing), `reported` (the
  customer's results file says so) or `not-verified` (it failed)
- `ids`, `attributes`: of the one object that was found, named as Microsoft Graph names them;
  `found` instead, a list of such pairs, where there were several
- `error`, `requestId`: of the probe
- `observedAt`: when, ISO 8601 with an offset
- `report`: of a results file of the customer's, when that was, `at`, and when the `file` was
  written; where it has them the `step` that was done, the `account`, and how it is `joined`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from partner_tools.outstanding.nouns import (
    STATUSES,
    Found,
    JoinType,
    Plane,
    Probe,
    Report,
    Result,
    Source,
    Status,
    StepId,
    Subject,
)

_SOURCES = {source.value: source for source in Source}
_RESULTS = {
    Status.CLEAR.value: Result.ABSENT,
    Status.REPORTED.value: Result.ABSENT,
    Status.OUTSTANDING.value: Result.FOUND,
}


def probe_from(evidence: Mapping[str, Any]) -> Probe:
    """Read a stored observation. A status that says neither `clear` nor `outstanding` failed.

    Raises ValueError where plane, subject or time are not what this version knows.
    """
    return Probe(
        plane=Plane(evidence["plane"]),
        result=_RESULTS.get(str(evidence.get("status")), Result.FAILED),
        observed_at=datetime.fromisoformat(evidence["observedAt"]),
        source=_SOURCES.get(str(evidence.get("source")), Source.CHANNEL),
        subject=Subject(evidence.get("subject", Subject.DEVICE)),
        found=tuple(_found_in(evidence)),
        error=evidence.get("error"),
        request_id=evidence.get("requestId"),
        report=_report_in(evidence.get("report")),
    )


def evidence_from(probe: Probe) -> dict[str, Any]:
    """The payload of the `observed` event for a probe; `probe_from` reads it back as it was.

    The ledger sets `observedAt` to the event's own time, which is the probe's.
    """
    evidence: dict[str, Any] = {
        "plane": probe.plane.value,
        "subject": probe.subject.value,
        "source": probe.source.value,
        "status": _status(probe).value,
        "observedAt": probe.observed_at.isoformat(),
        "error": probe.error,
        "requestId": probe.request_id,
        "report": _report_json(probe.report),
    }
    objects = [{"ids": dict(one.ids), "attributes": dict(one.attributes)} for one in probe.found]
    evidence |= objects[0] if len(objects) == 1 else {"found": objects or None}
    return {name: value for name, value in evidence.items() if value is not None}


def _status(probe: Probe) -> Status:
    reported = probe.source is Source.CUSTOMER and probe.result is Result.ABSENT
    return Status.REPORTED if reported else STATUSES[probe.result]


def _report_in(report: Mapping[str, Any] | None) -> Report | None:
    if report is None:
        return None
    step, joined = report.get("step"), report.get("joined")
    return Report(
        at=datetime.fromisoformat(report["at"]),
        file=datetime.fromisoformat(report["file"]),
        step=StepId(step) if step else None,
        account=report.get("account"),
        joined=JoinType(joined) if joined else None,
    )


def _report_json(report: Report | None) -> dict[str, Any] | None:
    if report is None:
        return None
    written = {
        "at": report.at.isoformat(),
        "file": report.file.isoformat(),
        "step": report.step,
        "account": report.account,
        "joined": report.joined,
    }
    return {name: value for name, value in written.items() if value is not None}


def _found_in(evidence: Mapping[str, Any]) -> Iterator[Found]:
    single = [evidence] if "ids" in evidence or "attributes" in evidence else []
    for one in evidence.get("found", single):
        yield Found(ids=one.get("ids", {}), attributes=one.get("attributes", {}))
