"""The release certificate: what may be said of devices that left, lock by lock. Pure.

`schemas/certificate.schema.json` is its form. It is called a release certificate only where every
device in it is released; with one lock open or not verified it is a status report that lists it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from partner_tools.json_forms import digest
from partner_tools.model import Customer, Outcome
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.locks import Lock, LockId, Release, is_open, may_be_released, release
from partner_tools.outstanding.types import Status
from partner_tools.report.handoff import (
    HandoffDevice,
    Json,
    Partner,
    RunFacts,
    customer_json,
    facts_of,
    run_json,
    utc,
)

RELEASED: Final = "release-certificate"
STATUS: Final = "status-report"

NOT_CHECKED: Final = (
    "passwords of the firmware (BIOS, UEFI) and of disks",
    "firmware agents such as Absolute (Computrace)",
    "Microsoft Defender for Endpoint and Windows Autopatch",
    "whether the device itself was reset",
)
"""The limits of a certificate, as it states them itself."""
NOT_ERASED: Final = "whether the data on the device was erased: no erasure record was named"

SIGNED_APART: Final = frozenset({"digest", "signatures"})
"""The properties that the digest leaves out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The record of an erasure, which partner-tools did not make: `digest` is that of its file."""

    method: str
    standard: str
    provider: str
    file: str
    digest: str


def build_certificate(
    run: RunFacts,
    customer: Customer | None,
    partner: Partner,
    devices: Iterable[HandoffDevice],
    now: datetime,
    *,
    version: str,
    erasure: Erasure | None = None,
) -> Json:
    """Build the unsigned certificate of the devices. A device listed twice appears once."""
    written = [
        _device(one, release(facts := facts_of(one, run, now), decide(facts)), partner)
        for one in devices
        if one.outcome is not Outcome.DUPLICATE
    ]
    content = {
        "schemaVersion": "1",
        "kind": RELEASED if written and all(one["released"] for one in written) else STATUS,
        "issuedAt": utc(now),
        "generator": {"name": "partner-tools", "version": version},
        "partner": {"name": partner.name, "contact": partner.contact},
        "customer": customer_json(customer),
        "run": run_json(run),
        "devices": written,
        "erasure": asdict(erasure) if erasure else None,
        "notChecked": [*NOT_CHECKED, *([] if erasure else [NOT_ERASED])],
    }
    return {**content, "digest": digest(content)}


def unsigned(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a certificate that its digest covers."""
    return {name: value for name, value in document.items() if name not in SIGNED_APART}


def contradictions(document: Mapping[str, Any]) -> Iterator[str]:
    """Where a certificate by its schema says more than its own locks, as sentences.

    A signer can sign anything, so every reader checks this again.
    """
    for device in document["devices"]:
        statuses = [(LockId(one["lock"]), Status(one["status"])) for one in device["locks"]]
        allowed = may_be_released(statuses) and not device["obstacles"]
        if device["released"] and not allowed:
            yield f"{device['serialNumber']} is called released, and a lock of it is open"
    all_released = bool(document["devices"]) and all(one["released"] for one in document["devices"])
    if document["kind"] == RELEASED and not all_released:
        yield "it is called a release certificate, and not every device in it is released"


def open_locks(device: Mapping[str, Any]) -> list[Json]:
    """The locks that keep a device of a certificate from being released."""
    return [one for one in device["locks"] if is_open(LockId(one["lock"]), Status(one["status"]))]


def _device(one: HandoffDevice, found: Release, partner: Partner) -> Json:
    identity = one.device.identity
    return {
        "serialNumber": identity.serial_number,
        "manufacturer": identity.manufacturer,
        "model": identity.model,
        "productKeyId": identity.product_key_id,
        "reference": one.device.reference,
        "released": found.released,
        "removal": {
            "outcome": one.outcome.value,
            "by": partner.name if one.outcome is Outcome.REMOVED else None,
            "at": utc(one.removed_at) if one.removed_at else None,
            "requestId": one.request_id,
            "correlationId": one.correlation_id,
        },
        "locks": [_lock(lock) for lock in found.locks],
        "obstacles": list(found.obstacles),
    }


def _lock(lock: Lock) -> Json:
    return {
        "lock": lock.id.value,
        "status": lock.status.value,
        "checkedAt": utc(lock.checked_at) if lock.checked_at else None,
        "source": lock.source.value if lock.source else None,
        "requestId": lock.request_id,
        "basis": lock.basis,
    }
