"""How each plane stands. `clear` comes from a probe that ran and found nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from partner_tools.model import Outcome, Reason
from partner_tools.outstanding.nouns import (
    STATUSES,
    Decision,
    Flag,
    Found,
    JoinType,
    Plane,
    PlaneStatus,
    Result,
    Source,
    Status,
    Subject,
)
from partner_tools.outstanding.sight import Case, Sight, is_true, probes, text

WAITING = frozenset({"retirepending", "retireissued", "wipepending", "wipeissued", "deletepending"})
FAILED = frozenset({"retirefailed", "wipefailed"})
CO_MANAGED = frozenset({"configurationmanagerclientmdm", "configurationmanagerclientmdmeas"})
INTUNE_APPS = frozenset(
    {"0000000a-0000-0000-c000-000000000000", "d4ebce55-015a-49b5-a083-c84d1797ae8c"}
)
"""Microsoft Intune and Microsoft Intune Enrollment, as `mdmAppId` of a directory object."""


def nothing_to_do(note: str) -> Decision:
    """The decision for a device that nobody has to act on."""
    idle = PlaneStatus(status=Status.NOT_APPLICABLE)
    others = dict.fromkeys(
        (Plane.INTUNE, Plane.DEVICE_ASSOCIATION, Plane.ENTRA, Plane.ACTIVE_DIRECTORY), idle
    )
    told = {Plane.AUTOPILOT: replace(idle, note=note)}
    return Decision(join_type=JoinType.UNKNOWN, planes=told | others, steps=())


def planes(case: Case) -> dict[Plane, PlaneStatus]:
    """The five planes that every device has, and those that evidence brings in."""
    standing = {
        Plane.AUTOPILOT: _plane(case.autopilot, _autopilot_status(case), _autopilot_note(case)),
        Plane.INTUNE: _plane(case.intune, _intune_status(case)),
        Plane.DEVICE_ASSOCIATION: _plane(
            case.association, _ASSOCIATION_STATUS[association_of(case)], _association_note(case)
        ),
        Plane.ENTRA: _plane(case.entra, _entra_status(case), _entra_note(case)),
        Plane.ACTIVE_DIRECTORY: _plane(case.directory, directory_status(case)),
    }
    if in_configuration_manager(case):
        standing[Plane.CONFIGURATION_MANAGER] = PlaneStatus(status=Status.OUTSTANDING)
    elif case.configuration_manager.probe:
        standing[Plane.CONFIGURATION_MANAGER] = _plane(
            case.configuration_manager, _plain_status(case.configuration_manager)
        )
    if firmware_managed(case):
        standing[Plane.DEVICE_FIRMWARE] = PlaneStatus(status=Status.OUTSTANDING)
    return standing


def _plane(sight: Sight, status: Status, note: str | None = None) -> PlaneStatus:
    probe, older = sight.probe, sight.older
    failed = probe is not None and probe.result is Result.FAILED
    return PlaneStatus(
        status=status,
        observed_at=probe.observed_at if probe else None,
        source=probe.source if probe else None,
        found=sight.seen,
        note=note,
        error=probe.error if probe and failed else None,
        request_id=probe.request_id if probe else None,
        last_status=STATUSES[older.result] if older and sight.present is None else None,
        last_observed_at=older.observed_at if older and sight.present is None else None,
    )


def _plain_status(sight: Sight) -> Status:
    by_presence = {True: Status.OUTSTANDING, False: Status.CLEAR, None: Status.NOT_VERIFIED}
    return by_presence[sight.present]


def _autopilot_status(case: Case) -> Status:
    return Status.EXPECTED if still_settling(case) else _plain_status(case.autopilot)


def still_settling(case: Case) -> bool:
    """Row 8: Graph still shows a registration whose removal is too young to have spread."""
    probe, removed_at = case.autopilot.probe, case.facts.removed_at
    if not case.autopilot.present or not case.removed or probe is None or removed_at is None:
        return False
    young = probe.observed_at - removed_at <= case.facts.patience.autopilot
    return probe.source is Source.GRAPH and young


def _autopilot_note(case: Case) -> str | None:
    if case.autopilot.present is None and case.facts.outcome is Outcome.NOT_FOUND:
        return "Not registered by this partner: probably registered in your own tenant."
    return None


def _intune_status(case: Case) -> Status:
    handled_elsewhere = intune_states(case) <= WAITING or only_configuration_manager(case)
    if case.intune.present and handled_elsewhere:
        return Status.EXPECTED
    return _plain_status(case.intune)


def intune_states(case: Case) -> frozenset[str]:
    """What Intune says it does with the device; managed where it does not say."""
    return case.intune.values("managementState") or frozenset({"managed"})


def only_configuration_manager(case: Case) -> bool:
    """Whether Intune only shows a device that Configuration Manager manages."""
    return case.intune.values("managementAgent") == {"configurationmanagerclient"}


def in_configuration_manager(case: Case) -> bool:
    """Whether Configuration Manager has a record too, by a probe or by what Intune ever said.

    Deleting it from Intune leaves that record as it is.
    """
    co_managed = any(
        text(one, "managementAgent") in CO_MANAGED
        or text(one, "deviceEnrollmentType") == "windowscomanagement"
        for probe in probes(case.facts, Plane.INTUNE)
        for one in probe.found
    )
    known = case.configuration_manager.present
    return known is True or (known is None and (co_managed or only_configuration_manager(case)))


class Association(StrEnum):
    """How a tenant binds a device through its firmware, as far as that is known."""

    CLEAR = "clear"
    PRE_ASSOCIATED = "pre-associated"
    """A record of the tenant alone: deleting it is enough."""
    ASSOCIATED = "associated"
    """Also written into the firmware, where it survives a reset and the record's deletion."""
    PENDING_REMOVAL = "pending-removal"
    RECORD_GONE = "record-gone"
    """The tenant has no record any more of a device that was associated; its firmware may be."""
    NOT_VERIFIED = "not-verified"


_ASSOCIATIONS = {
    "preassociated": Association.PRE_ASSOCIATED,
    "associated": Association.ASSOCIATED,
    "pendingremoval": Association.PENDING_REMOVAL,
}
"""The states that the service has been seen to name. Any other is not understood."""
_ASSOCIATION_STATUS = {
    Association.CLEAR: Status.CLEAR,
    Association.PRE_ASSOCIATED: Status.OUTSTANDING,
    Association.ASSOCIATED: Status.OUTSTANDING,
    Association.PENDING_REMOVAL: Status.EXPECTED,
    Association.RECORD_GONE: Status.NOT_VERIFIED,
    Association.NOT_VERIFIED: Status.NOT_VERIFIED,
}
UNDOCUMENTED = "Read through an undocumented beta interface of Microsoft Graph (as of 2026-11)."


def association_of(case: Case) -> Association:
    """How the device is bound, by the newest look at the tenant and by what was seen on it."""
    if Flag.DEVICE_ASSOCIATION in case.facts.flags:
        return Association.ASSOCIATED
    if case.association.present is None:
        return Association.NOT_VERIFIED
    if case.association.present:
        return _association_in(case.association.seen)
    before = [one.found for one in probes(case.facts, Plane.DEVICE_ASSOCIATION) if one.found]
    was = _association_in(before[-1]) if before else Association.CLEAR
    # A pending removal ends when the service has reached the device, and then it is cleared.
    in_firmware = was in (Association.ASSOCIATED, Association.NOT_VERIFIED)
    if in_firmware and not firmware_checked(case):
        return Association.RECORD_GONE
    return Association.CLEAR


def _association_in(records: Sequence[Found]) -> Association:
    """The state that weighs most. One that is missing or not known proves nothing."""
    states = {
        _ASSOCIATIONS.get(text(one, "associationState"), Association.NOT_VERIFIED)
        for one in records
    }
    by_weight = (
        Association.ASSOCIATED,
        Association.NOT_VERIFIED,
        Association.PRE_ASSOCIATED,
        Association.PENDING_REMOVAL,
    )
    return next((one for one in by_weight if one in states), Association.NOT_VERIFIED)


def firmware_checked(case: Case) -> bool:
    """Whether the association was looked for on the device itself, and is not there."""
    return Flag.NO_DEVICE_ASSOCIATION in case.facts.flags


_SEEN_ON_DEVICE = "Associated: its variables were seen in the device's firmware."


def _association_note(case: Case) -> str | None:
    if Flag.DEVICE_ASSOCIATION in case.facts.flags:
        return _SEEN_ON_DEVICE
    if case.association.probe is None:
        return None
    state = association_of(case)
    words = {
        Association.PRE_ASSOCIATED: "Pre-associated. ",
        Association.ASSOCIATED: "Associated. ",
        Association.PENDING_REMOVAL: "Removal pending. ",
        Association.RECORD_GONE: "It was associated: record gone, firmware not checked. ",
    }
    return words.get(state, "") + UNDOCUMENTED


def other_mdm(case: Case) -> bool:
    """Whether another service than Intune manages the device, by what the directory says."""
    return bool(case.entra.values("mdmAppId") - INTUNE_APPS)


def firmware_managed(case: Case) -> bool:
    """Whether it was ever seen with managed firmware: its record going does not unlock it."""
    if Flag.FIRMWARE_OPEN in case.facts.flags:
        return False
    return any(
        is_true(one, "deviceFirmwareConfigurationInterfaceManaged")
        for probe in probes(case.facts, Plane.INTUNE)
        for one in probe.found
    )


def _entra_status(case: Case) -> Status:
    """A directory object is only ever something to do once it outlived what should remove it."""
    if not case.entra.present:
        return _plain_status(case.entra)
    return Status.OUTSTANDING if entra_lingers(case) or residual(case) else Status.EXPECTED


def _entra_note(case: Case) -> str | None:
    if case.entra.present and (case.autopilot.present or case.intune.present):
        return "Leave it alone while the device is in Windows Autopilot or Intune."
    if case.entra.present is False and case.found(Subject.DELETED_OBJECT, Plane.ENTRA):
        return "In the directory's deleted items: can be restored for 30 days after its deletion."
    if case.entra.probe is None and case.entra.older is None:
        return "A serial number alone cannot find a directory object: look it up by its device id."
    return None


def _hybrid_objects(case: Case) -> list[Found]:
    return [one for one in case.entra.seen if text(one, "trustType") == "serverad"]


def _synchronized(case: Case) -> bool:
    """Whether any object is, or may be, fed from on premises: not knowing counts as yes."""
    return any(
        "onPremisesSyncEnabled" not in one.attributes or is_true(one, "onPremisesSyncEnabled")
        for one in _hybrid_objects(case)
    )


def residual(case: Case) -> bool:
    """Row 14: hybrid joined once, no longer synchronized, and everything before it done.

    What only left the scope of synchronization looks the same, so nothing here proves it gone.
    """
    return (
        bool(case.entra.present and _hybrid_objects(case))
        and not _synchronized(case)
        and case.done_before_entra
        and case.facts.reason is not Reason.REPAIR
    )


def entra_lingers(case: Case) -> bool:
    """Row 16: all before it is done, the grace is over, and the device does not come back."""
    if not case.entra.present or not case.done_before_entra or case.entra.probe is None:
        return False
    if case.join_type is JoinType.HYBRID_JOINED or case.facts.reason is Reason.REPAIR:
        return False
    if other_mdm(case):
        return False
    since = _done_since(case)
    return since is not None and case.entra.probe.observed_at - since > case.facts.patience.entra


def _done_since(case: Case) -> datetime | None:
    """Since when Intune and Autopilot are known to be clear; None where nobody can tell."""
    first_absent: datetime | None = None
    for probe in probes(case.facts, Plane.INTUNE):
        if probe.result is Result.FOUND:
            first_absent = None
        elif probe.result is Result.ABSENT and first_absent is None:
            first_absent = probe.observed_at
    removed_at = case.facts.removed_at
    if first_absent is None or removed_at is None:
        return first_absent
    return max(first_absent, removed_at)


def directory_status(case: Case) -> Status:
    """How Active Directory stands: mostly derived, for a partner never sees it."""
    if case.directory.probe:
        return _plain_status(case.directory)
    if case.join_type is JoinType.UNKNOWN and case.entra.present is not False:
        return Status.NOT_VERIFIED
    if case.join_type is not JoinType.HYBRID_JOINED:
        return Status.NOT_APPLICABLE
    return Status.OUTSTANDING if _known_synchronized(case) else Status.NOT_VERIFIED


def _known_synchronized(case: Case) -> bool:
    return bool(case.entra.present) and any(
        is_true(one, "onPremisesSyncEnabled") for one in _hybrid_objects(case)
    )
