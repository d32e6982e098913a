"""Whether a device may be called released: every lock, its evidence, and what is still open.

A lock is anything by which the former owner could still claim the device, or by which its next
owner could be kept from setting it up. Only a look of our own, or what a person states to have
seen at the device, makes one `clear`; what the customer reports done does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from partner_tools.model import Outcome
from partner_tools.outstanding.decision import firmware_managed
from partner_tools.outstanding.evidence import Case, probes, summarize
from partner_tools.outstanding.types import (
    Decision,
    DeviceFacts,
    EvidenceSource,
    Flag,
    Plane,
    PlaneStatus,
    Probe,
    ProbeResult,
    Status,
    StepId,
    Subject,
)


class LockId(StrEnum):
    """Every lock that a certificate names, in the order in which it names them."""

    AUTOPILOT = "autopilot"
    DEVICE_ASSOCIATION = "device-association"
    INTUNE = "intune"
    ENTRA = "entra"
    ACTIVE_DIRECTORY = "active-directory"
    CONFIGURATION_MANAGER = "configuration-manager"
    DEVICE_FIRMWARE = "device-firmware"
    CORPORATE_IDENTIFIER = "corporate-identifier"


ALWAYS_APPLY = frozenset({LockId.AUTOPILOT, LockId.DEVICE_ASSOCIATION, LockId.INTUNE, LockId.ENTRA})
"""Locks that no device can be without: they have to be seen clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """One lock: its state, who looked when, and the evidence in words."""

    id: LockId
    status: Status
    checked_at: datetime | None = None
    source: EvidenceSource | None = None
    request_id: str | None = None
    basis: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The claim that may be made of one device. `obstacles` are other reasons, as sentences."""

    locks: tuple[Lock, ...]
    obstacles: tuple[str, ...] = ()

    @property
    def released(self) -> bool:
        """Whether nothing is left that could claim the device or lock it."""
        return not self.obstacles and may_be_released((one.id, one.status) for one in self.locks)


def is_open(lock: LockId, status: Status) -> bool:
    """Whether a lock in this status keeps a device from being released."""
    if status is Status.NOT_APPLICABLE:
        return lock in ALWAYS_APPLY
    return status is not Status.CLEAR


def may_be_released(locks: Iterable[tuple[LockId, Status]]) -> bool:
    """Whether locks in these statuses allow it: all of them named, and none open."""
    statuses = dict(locks)
    return set(statuses) == set(LockId) and not any(is_open(*one) for one in statuses.items())


def release(facts: DeviceFacts, decision: Decision) -> Release:
    """Every lock of a device, by what `decide` made of its facts."""
    case = Case.of(facts)
    return Release(locks=tuple(_locks(decision, case)), obstacles=tuple(_obstacles(decision, case)))


def _obstacles(decision: Decision, case: Case) -> Iterator[str]:
    flags, outcome = case.facts.flags, case.facts.outcome
    if Flag.HELD in flags:
        yield "The partner holds this device back; nothing was removed."
    if outcome is Outcome.DUPLICATE:
        yield "It is listed a second time; the first entry says what became of it."
    if outcome in (Outcome.PENDING, Outcome.UNKNOWN):
        yield "The partner's removal of its Windows Autopilot registration is not settled."
    steps = {step.id for step in decision.steps}
    if StepId.RESOLVE_AMBIGUITY in steps:
        yield "It is not certain which record is this device's."
    if StepId.OPEN_SUPPORT_CASE in steps:
        yield "Another organisation holds its registration."
    if not (case.facts.serial_number or "").strip():
        yield "Its serial number is not known."


def _locks(decision: Decision, case: Case) -> Iterator[Lock]:
    for lock in (LockId.AUTOPILOT, LockId.DEVICE_ASSOCIATION, LockId.INTUNE, LockId.ENTRA):
        yield _of_plane(lock, decision.planes[Plane(lock.value)])
    directory = decision.planes[Plane.ACTIVE_DIRECTORY]
    yield _of_plane(LockId.ACTIVE_DIRECTORY, directory, "It is not joined to Active Directory.")
    yield _configuration_manager(decision, case)
    yield _firmware(case)
    yield _corporate_identifier(case)


def _of_plane(lock: LockId, known: PlaneStatus, not_applicable: str | None = None) -> Lock:
    basis = known.error or known.note
    if known.status is Status.NOT_APPLICABLE:
        basis = not_applicable or basis
    return _seen(lock, known.status, known, basis)


def _configuration_manager(decision: Decision, case: Case) -> Lock:
    known = decision.planes.get(Plane.CONFIGURATION_MANAGER)
    if known is not None:
        return _of_plane(LockId.CONFIGURATION_MANAGER, known)
    if case.intune.present is None:
        basis = "Intune, which would show it, was not verified."
        return Lock(id=LockId.CONFIGURATION_MANAGER, status=Status.NOT_VERIFIED, basis=basis)
    basis = "No sign of it in Intune. The site itself was not asked; its record binds no device."
    return Lock(id=LockId.CONFIGURATION_MANAGER, status=Status.NOT_APPLICABLE, basis=basis)


def _firmware(case: Case) -> Lock:
    """DFCI outlives its record, so it counts what Intune last said while it had one."""
    if firmware_managed(case):
        basis = "Intune managed its firmware (DFCI), and nothing shows that it was unlocked."
        return Lock(id=LockId.DEVICE_FIRMWARE, status=Status.OUTSTANDING, basis=basis)
    if Flag.FIRMWARE_OPEN in case.facts.flags:
        stated = probes(case.facts, Plane.DEVICE_FIRMWARE, Subject.STATEMENT)
        basis = "A person opened the firmware menus and could change them."
        lock = _seen(LockId.DEVICE_FIRMWARE, Status.CLEAR, stated[-1] if stated else None, basis)
        return replace(lock, source=EvidenceSource.PERSON)
    free = [
        probe
        for probe in probes(case.facts, Plane.INTUNE)
        if probe.result is ProbeResult.FOUND
        and probe.source is EvidenceSource.GRAPH
        and probe.found
        and all(one.attributes.get(_MANAGED) is False for one in probe.found)
    ]
    if free:
        basis = "Intune did not manage its firmware (DFCI)."
        return _seen(LockId.DEVICE_FIRMWARE, Status.CLEAR, free[-1], basis)
    basis = "No record in Intune was seen that would say whether its firmware is managed (DFCI)."
    return Lock(id=LockId.DEVICE_FIRMWARE, status=Status.NOT_VERIFIED, basis=basis)


_MANAGED = "deviceFirmwareConfigurationInterfaceManaged"


def _corporate_identifier(case: Case) -> Lock:
    seen = summarize(case.facts, Plane.INTUNE, Subject.CORPORATE_IDENTIFIER)
    by_presence = {True: Status.OUTSTANDING, False: Status.CLEAR, None: Status.NOT_VERIFIED}
    error = seen.probe.error if seen.probe else None
    return _seen(LockId.CORPORATE_IDENTIFIER, by_presence[seen.present], seen.probe, error)


def _seen(
    lock: LockId, status: Status, look: Probe | PlaneStatus | None, basis: str | None
) -> Lock:
    if look is None:
        return Lock(id=lock, status=status, basis=basis)
    return Lock(
        id=lock,
        status=status,
        checked_at=look.observed_at,
        source=look.source,
        request_id=look.request_id,
        basis=basis,
    )
