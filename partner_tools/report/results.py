"""Reads a handoff back at the customer's, and the customer's results at the partner's. Pure.

Both documents are foreign text by now: they were mailed. A handoff decides nothing alone; every
record is looked up again before anything rests on it. A results file closes steps as `reported`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from partner_tools.json_forms import structure
from partner_tools.model import Customer, Device, Identity, Outcome, TenantId
from partner_tools.outstanding.evidence import SOURCES, evidence_from, found_in
from partner_tools.outstanding.types import (
    HOMES,
    REASSURING,
    EvidenceSource,
    Flag,
    JoinType,
    Plane,
    Probe,
    ProbeResult,
    Report,
    Status,
    StepId,
)
from partner_tools.report.handoff import HOLD_RULE, HandoffDevice, Partner, RunFacts

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A handoff as its reader got it, devices in their order."""

    run: RunFacts
    customer: Customer | None
    partner: Partner
    devices: tuple[HandoffDevice, ...]


def read_received(document: Json) -> Received:
    """The facts of a document that keeps `schemas/handoff.schema.json`.

    The second occurrence of a serial number is a duplicate. Raises ValueError for
    a moment that is none.
    """
    run, customer = document["run"], document["customer"]
    if run["startedAt"] is None:
        raise ValueError("the run has no beginning")
    ended = _moment(run["finishedAt"]) or _moment(document["generatedAt"])
    tenant = (customer["tenantId"] or "").strip().lower()
    return Received(
        run=structure(RunFacts, run),
        customer=structure(Customer, customer, tenant_id=TenantId(tenant)) if tenant else None,
        partner=structure(Partner, document["partner"]),
        devices=tuple(
            _without_repeats(
                _device(each, ended, by_hand=run.get("byHand", False))
                for each in document["devices"]
            )
        ),
    )


def _without_repeats(devices: Iterable[HandoffDevice]) -> Iterator[HandoffDevice]:
    seen: set[str] = set()
    for each in devices:
        serial = each.device.identity.serial_number
        repeated = serial is not None and serial in seen
        if serial is not None and each.outcome is not Outcome.DUPLICATE:
            seen.add(serial)
        yield replace(each, outcome=Outcome.DUPLICATE) if repeated else each


def _device(each: Json, ended: datetime | None, *, by_hand: bool) -> HandoffDevice:
    outcome, replacement = Outcome(each["outcome"]), each.get("replacement")
    gone_at = _moment(each["removedAt"]) or (ended if outcome is Outcome.ABSENT else None)
    return HandoffDevice(
        device=Device(
            row=each["row"] or 0,
            identity=Identity(
                serial_number=(each["serialNumber"] or "").strip() or None,
                manufacturer=each["manufacturer"],
                model=each["model"],
                product_key_id=each["productKeyId"],
            ),
            reference=each["reference"],
            replacement=structure(Identity, replacement) if replacement else None,
            extra=tuple((one["name"], one["value"]) for one in each.get("extra", ())),
        ),
        outcome=outcome,
        rule=HOLD_RULE if _is_held(each) else None,
        detail=each["detail"],
        remedy=each["remedy"],
        removed_at=gone_at,
        request_id=each["requestId"],
        correlation_id=each["correlationId"],
        flags=(frozenset(map(Flag, each.get("observed", ()))) - REASSURING)
        | ({Flag.BY_HAND} if by_hand else frozenset()),
        evidence=tuple(evidence_from(probe) for probe in _probes(each["planes"])),
    )


def _is_held(each: Json) -> bool:
    """Whether nothing at all is to be done to it: only a hold makes that of a refused device."""
    idle = all(plane["status"] == Status.NOT_APPLICABLE for plane in each["planes"].values())
    return idle and each["outcome"] != Outcome.DUPLICATE


def _probes(planes: Json) -> Iterator[Probe]:
    for plane in (Plane.AUTOPILOT, Plane.DEVICE_ASSOCIATION, Plane.INTUNE, Plane.ENTRA):
        if plane in planes:  # a handoff of 0.1 has no device association
            yield from _of_plane(plane, planes[plane])


_RESULTS = {
    Status.OUTSTANDING.value: ProbeResult.FOUND,
    Status.EXPECTED.value: ProbeResult.FOUND,
    Status.CLEAR.value: ProbeResult.ABSENT,
    Status.NOT_VERIFIED.value: ProbeResult.FAILED,
}


def _of_plane(plane: Plane, standing: Json) -> Iterator[Probe]:
    """Yield a plane's evidence: the last look, and the one before it if the last one failed."""
    found = found_in(standing, "objects", "details")
    for at, outcome in (
        (standing.get("lastObservedAt"), _RESULTS.get(standing.get("lastStatus", ""))),
        (standing.get("observedAt"), _RESULTS.get(standing["status"])),
    ):
        moment = _moment(at)
        if moment is None or outcome is None:
            continue
        yield Probe(
            plane=plane,
            result=outcome,
            observed_at=moment,
            source=SOURCES.get(str(standing.get("source")), EvidenceSource.CHANNEL),
            found=found if outcome is ProbeResult.FOUND else (),
            error=standing.get("error") if outcome is ProbeResult.FAILED else None,
            request_id=standing.get("requestId"),
        )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


# --- results files ------------------------------------------------------------------------------

_SECRET_NAME = re.compile(r"key|password|passphrase|secret|token|credential", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"[0-9]{6}(-[0-9]{6}){7}"  # a BitLocker recovery password
    r"|eyJ[\w-]{8,}\.[\w-]+\."  # a token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
    re.ASCII,
)


def secret_in(value: Any, place: str = "") -> str | None:
    """Where a document holds what may be a key, a password or a token; None where nowhere.

    Texts below a name that promises one count too: their form cannot be told.
    """
    if isinstance(value, str):
        return place if _SECRET_TEXT.search(value) else None
    named = (
        value.items() if isinstance(value, dict) else enumerate(value) if _is_list(value) else ()
    )
    for name, part in named:
        here = f"{place}/{name}"
        texts = [part] if isinstance(part, str) else part if _is_list(part) else []
        promised = isinstance(name, str) and _SECRET_NAME.search(name)
        if _SECRET_TEXT.search(str(name)):
            return place or "/"  # the name itself is one: it is not repeated
        if promised and any(isinstance(one, str) and one for one in texts):
            return here
        if (found := secret_in(part, here)) is not None:
            return found
    return None


def reported_probes(device: Json, result: Json, at: datetime) -> Iterator[Probe]:
    """Yield a results file's statements on one device, as evidence taken in at this moment.

    Looks that failed say nothing. Ids are left out: no command of ours may rest on them.
    """
    told = Report(
        at=datetime.fromisoformat(result["updatedAt"]),
        file=datetime.fromisoformat(result["updatedAt"]),
        account=result["by"]["account"],
        joined=JoinType(device["joinType"]) if "joinType" in device else None,
    )

    def probe(plane: Plane, when: str, absent: bool, step: StepId | None = None) -> Probe:
        return Probe(
            plane=plane,
            result=ProbeResult.ABSENT if absent else ProbeResult.FOUND,
            observed_at=at,
            source=EvidenceSource.CUSTOMER,
            report=replace(told, at=datetime.fromisoformat(when), step=step),
        )

    for step in device["steps"]:
        if step["status"] == "done":
            id_ = StepId(step["id"])
            yield probe(HOMES[id_][0], step.get("at", result["updatedAt"]), True, id_)
    if "keys" in device:
        saved = StepId.BACK_UP_KEYS
        yield probe(HOMES[saved][0], device["keys"]["savedAt"], True, saved)
    for name, seen in device["planes"].items():
        if seen["result"] != "failed":
            yield probe(Plane(name), seen["observedAt"], seen["result"] == "absent")


def _is_list(value: object) -> bool:
    return isinstance(value, list)
