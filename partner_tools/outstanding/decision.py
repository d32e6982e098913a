"""Decides which steps are outstanding for a device, plane by plane. Pure.

One rule per group of rows of the decision table. `clear` is only ever the result of a probe that
ran and found nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from partner_tools.model import GONE, Outcome, Reason
from partner_tools.outstanding.evidence import (
    Case,
    EvidenceSummary,
    is_of_another,
    is_true,
    probes,
    text,
)
from partner_tools.outstanding.types import (
    DATA,
    HOMES,
    PREREQUISITES,
    STATUSES,
    STEP_ORDER,
    Decision,
    EvidenceSource,
    Flag,
    Found,
    JoinType,
    Owner,
    Plane,
    PlaneStatus,
    ProbeResult,
    Status,
    Step,
    StepId,
    Subject,
)

WAITING = frozenset({"retirepending", "retireissued", "wipepending", "wipeissued", "deletepending"})
FAILED = frozenset({"retirefailed", "wipefailed"})
CO_MANAGED = frozenset({"configurationmanagerclientmdm", "configurationmanagerclientmdmeas"})
INTUNE_APPS = frozenset(
    {"0000000a-0000-0000-c000-000000000000", "d4ebce55-015a-49b5-a083-c84d1797ae8c"}
)
"""Microsoft Intune and Microsoft Intune Enrollment, as `mdmAppId` of a directory object."""


def nothing_to_do(note: str) -> Decision:
    """Return the decision for a device that needs no action."""
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


def _plane(sight: EvidenceSummary, status: Status, note: str | None = None) -> PlaneStatus:
    probe, older = sight.probe, sight.older
    failed = probe is not None and probe.result is ProbeResult.FAILED
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


def _plain_status(sight: EvidenceSummary) -> Status:
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
    return probe.source is EvidenceSource.GRAPH and young


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
        return _association_in(case.association.seen, case.facts.serial_number)
    before = [one.found for one in probes(case.facts, Plane.DEVICE_ASSOCIATION) if one.found]
    was = Association.CLEAR
    if before:
        was = _association_in(before[-1], case.facts.serial_number)
    # A pending removal ends when the service has reached the device, and then it is cleared.
    in_firmware = was in (Association.ASSOCIATED, Association.NOT_VERIFIED)
    if in_firmware and not firmware_checked(case):
        return Association.RECORD_GONE
    return Association.CLEAR


def _association_in(records: Sequence[Found], serial: str | None) -> Association:
    """The state that weighs most. One that is missing or not known proves nothing, nor does a
    record with a known id that carries another serial number by now."""
    states = {
        Association.NOT_VERIFIED
        if is_of_another(one, serial)
        else _ASSOCIATIONS.get(text(one, "associationState"), Association.NOT_VERIFIED)
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

    A device that only left the synchronization's scope looks the same, so this proves nothing.
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
    """Since when Intune and Autopilot are known to be clear; None where unknown."""
    first_absent: datetime | None = None
    for probe in probes(case.facts, Plane.INTUNE):
        if probe.result is ProbeResult.FOUND:
            first_absent = None
        elif probe.result is ProbeResult.ABSENT and first_absent is None:
            first_absent = probe.observed_at
    removed_at = case.facts.removed_at
    if first_absent is None or removed_at is None:
        return first_absent
    return max(first_absent, removed_at)


def directory_status(case: Case) -> Status:
    """Return Active Directory's status: mostly derived, because a partner never sees it."""
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


def _rule_ambiguous(case: Case) -> Iterator[Step]:
    """Row 0."""
    if case.ambiguous:
        partner = case.facts.outcome is Outcome.AMBIGUOUS
        why = "More than one record answers to this identity, or none of them certainly does."
        yield _step(
            StepId.RESOLVE_AMBIGUITY,
            Status.OUTSTANDING,
            0,
            why,
            owner=Owner.PARTNER if partner else None,
        )


def _rule_unsettled(case: Case) -> Iterator[Step]:
    """A removal that was not attempted, or whose answer never came, is the partner's to finish."""
    if case.autopilot.present is False:
        return
    if case.facts.outcome is Outcome.PENDING:
        why = "The partner has not removed this registration yet."
        yield _step(StepId.SETTLE_REMOVAL, Status.OUTSTANDING, None, why)
    if case.facts.outcome is Outcome.UNKNOWN:
        why = "The answer to the partner's removal never came."
        yield _step(StepId.SETTLE_REMOVAL, Status.NOT_VERIFIED, None, why)


def _rule_firmware(case: Case) -> Iterator[Step]:
    """Row 1."""
    if firmware_managed(case):
        why = "Intune manages this device's firmware; its menus stay locked unless freed first."
        yield _step(StepId.UNLOCK_FIRMWARE, Status.OUTSTANDING, 1, why)


def _rule_keys(case: Case) -> Iterator[Step]:
    """Row 2: asked for wherever a record of the device, and with it the keys, can still go."""
    at_risk = case.entra.present is not False or case.intune.present is not False
    hybrid = case.join_type is JoinType.HYBRID_JOINED
    none_anywhere = case.keys.present is False and not hybrid
    if Flag.KEYS_SAVED in case.facts.flags or none_anywhere or not at_risk:
        return
    if case.keys.present:
        why = "Keys or a local administrator password are stored for this device."
        yield _step(StepId.BACK_UP_KEYS, Status.OUTSTANDING, 2, why)
    elif case.keys.present is False:
        why = (
            "Microsoft Entra ID holds no keys. A hybrid joined device can have them in Active"
            " Directory or Configuration Manager."
        )
        yield _step(StepId.BACK_UP_KEYS, Status.NOT_VERIFIED, 2, why)
    else:
        why = "Whether keys are stored for this device was not verified."
        yield _step(StepId.BACK_UP_KEYS, Status.NOT_VERIFIED, 2, why)


def _rule_other_mdm(case: Case) -> Iterator[Step]:
    """Row 20."""
    if other_mdm(case):
        why = "Another device management service than Intune manages this device."
        yield _step(StepId.UNENROLL_OTHER_MDM, Status.OUTSTANDING, 20, why)


def _rule_intune(case: Case) -> Iterator[Step]:
    """Rows 3, 4 and 5; row 28 where Intune was not checked."""
    if case.intune.present is False or only_configuration_manager(case):
        return
    states = intune_states(case)
    if case.intune.present is None:
        why = "Whether Intune still manages this device was not verified."
        yield _step(StepId.DELETE_FROM_INTUNE, Status.NOT_VERIFIED, 28, why)
    elif states <= WAITING:
        why = "Intune waits for this device to come online and carry out what was ordered."
        yield _step(StepId.WAIT_FOR_CHECK_IN, Status.EXPECTED, 4, why)
    elif states & FAILED:
        why = "Intune tried to retire or wipe this device and failed."
        yield _step(StepId.RETRY_INTUNE_ACTION, Status.OUTSTANDING, 5, why)
    else:
        why = _why_delete_from_intune(case.facts.reason)
        yield _step(StepId.DELETE_FROM_INTUNE, Status.OUTSTANDING, 3, why)


def _why_delete_from_intune(reason: Reason) -> str:
    if reason is Reason.LOST_OR_STOLEN:
        return (
            "Intune still manages this device. Wipe it first: after a delete it cannot be wiped"
            " any more, and its encryption is suspended at its next check-in."
        )
    return "Intune still manages this device."


def _rule_configuration_manager(case: Case) -> Iterator[Step]:
    """Rows 6 and 7."""
    if not in_configuration_manager(case):
        return
    if only_configuration_manager(case):
        why = "Configuration Manager alone manages this device; Intune only shows it."
        yield _step(StepId.DELETE_FROM_CONFIGURATION_MANAGER, Status.OUTSTANDING, 7, why)
    else:
        why = "Configuration Manager manages this device too and would bring it back."
        yield _step(StepId.DELETE_FROM_CONFIGURATION_MANAGER, Status.OUTSTANDING, 6, why)


def _rule_reenrollment(case: Case) -> Iterator[Step]:
    """Row 22."""
    by_itself = "windowsazureadjoinusingdeviceauth"
    if (
        Flag.REENROLLMENT_BLOCKED in case.facts.flags
        or by_itself in case.intune.values("deviceEnrollmentType")
        or "blocked" in case.autopilot.values("userlessEnrollmentStatus")
    ):
        why = "It enrolled by itself before; setup ends with 0x80180014 until that is allowed."
        yield _step(StepId.ALLOW_REENROLLMENT, Status.OUTSTANDING, 22, why)


def _rule_autopilot(case: Case) -> Iterator[Step]:
    """Rows 8, 9 and 10; row 28 if not checked. Unsettled devices stay the partner's."""
    if case.autopilot.present is False:
        return
    partners_turn = case.facts.outcome in {Outcome.PENDING, Outcome.UNKNOWN}
    if still_settling(case):
        why = "The removal takes time to show."
        yield _step(StepId.CONFIRM_AUTOPILOT_REMOVAL, Status.EXPECTED, 8, why, owner=Owner.PARTNER)
        return
    owner = None
    if Flag.BY_HAND in case.facts.flags:
        owner = Owner.PARTNER
    elif case.autopilot.values("userPrincipalName"):
        why = "A user is assigned to this registration."
        yield _step(StepId.UNASSIGN_USER, Status.OUTSTANDING, 10, why)
    if case.autopilot.present and not partners_turn:
        why = _why_deregister(case)
        yield _step(StepId.DEREGISTER_FROM_AUTOPILOT, Status.OUTSTANDING, 9, why, owner)
    elif case.removed:
        why = "The partner's removal was accepted; that it took effect was not verified."
        yield _step(StepId.CONFIRM_AUTOPILOT_REMOVAL, Status.NOT_VERIFIED, 28, why)
    elif not partners_turn:
        why = _why_deregister(case)
        yield _step(StepId.DEREGISTER_FROM_AUTOPILOT, Status.NOT_VERIFIED, 28, why, owner)


def _why_deregister(case: Case) -> str:
    outcome = case.facts.outcome
    if Flag.BY_HAND in case.facts.flags:
        return "The partner removes it on Partner Center's pages."
    if outcome in GONE:
        return "It is still registered although the partner's removal was accepted."
    reasons = {
        Outcome.ASSESSED: (
            "It is registered in this tenant."
            if case.autopilot.present
            else "Whether it is registered in this tenant was not verified."
        ),
        Outcome.NOT_FOUND: "The partner did not register this device, so it cannot remove it.",
        Outcome.UNCONFIRMED: "The service knows no such registration; the identity may be wrong.",
        Outcome.NOT_OWNED: "The service does not let this partner remove it.",
        Outcome.AMBIGUOUS: "The partner could not tell which registration is meant.",
    }
    return reasons.get(outcome, "The partner's removal was refused.")


def _rule_hardware_changed(case: Case) -> Iterator[Step]:
    """Row 11."""
    repair = {"manualremediationrequired", "automaticremediationrequired"}
    if case.autopilot.values("remediationState") & repair:
        why = "Its hardware changed: the registration has to be made anew with a new hash."
        yield _step(StepId.REGISTER_AGAIN, Status.OUTSTANDING, 11, why)


def _rule_support_case(case: Case) -> Iterator[Step]:
    """Row 12."""
    shown = Flag.OTHER_ORGANISATION_AT_SETUP in case.facts.flags
    foreign = case.facts.outcome is Outcome.NOT_OWNED
    if case.autopilot.present or not (shown or foreign):
        return
    known = shown or case.autopilot.present is False
    why = "Another organisation holds this device's registration; only Microsoft can lift it."
    status = Status.OUTSTANDING if known else Status.NOT_VERIFIED
    yield _step(StepId.OPEN_SUPPORT_CASE, status, 12, why)


def _rule_directory(case: Case) -> Iterator[Step]:
    """Row 13; beside row 14 and where the join type is unknown, only a look."""
    status = directory_status(case)
    if status is Status.OUTSTANDING:
        why = "Synchronization brings the cloud object back while the computer object exists."
        yield _step(StepId.DELETE_COMPUTER_OBJECT, status, 13, why)
    if status is Status.NOT_VERIFIED:
        why = "If it is hybrid joined: make sure that no computer object is left."
        row = 14 if case.join_type is JoinType.HYBRID_JOINED else 28
        yield _step(StepId.DELETE_COMPUTER_OBJECT, status, row, why)


def _rule_work_account(case: Case) -> Iterator[Step]:
    """Row 18."""
    if case.join_type is JoinType.REGISTERED and case.entra.present:
        why = "A personal device that carries a work account of this organisation."
        yield _step(StepId.DISCONNECT_WORK_ACCOUNT, Status.OUTSTANDING, 18, why)


def _rule_entra(case: Case) -> Iterator[Step]:
    """Rows 14 to 17 and 19: by hand only what outlived everything that should remove it."""
    if case.entra.present is None:
        why = (
            "Whether a directory object is left was not verified. Leave it until the rest is done."
        )
        yield _step(StepId.VERIFY_ENTRA_REMOVAL, Status.NOT_VERIFIED, 28, why)
    elif residual(case):
        why = "Nothing synchronizes this object any more. Deleting it is final, keys included."
        yield _step(StepId.DECIDE_ON_RESIDUAL_OBJECT, Status.OUTSTANDING, 14, why)
    elif entra_lingers(case):
        why = "It outlived the grace period. Whether it is deleted is your organisation's decision."
        yield _step(StepId.DECIDE_ON_ENTRA_OBJECT, Status.OUTSTANDING, 16, why)
    elif case.entra.present:
        row, why = _why_leave_entra(case)
        yield _step(StepId.VERIFY_ENTRA_REMOVAL, Status.EXPECTED, row, why)


def _why_leave_entra(case: Case) -> tuple[int, str]:
    if not case.done_before_entra:
        return 17, "Leave it alone until the steps before are done, then look again."
    if case.facts.reason is Reason.REPAIR:
        return 15, "The device comes back and joins with this object again: leave it alone."
    return 15, "The service may remove it by itself. Look again; do not delete it by hand now."


def _rule_anchor(case: Case) -> Iterator[Step]:
    """Row 23."""
    if Flag.ANCHOR_LOST in case.facts.flags:
        why = "Its directory object went before its registration; setup ends with 0x801C03F3."
        yield _step(StepId.REBUILD_REGISTRATION, Status.OUTSTANDING, 23, why)


def _rule_leftovers(case: Case) -> Iterator[Step]:
    """Rows 24 and 26."""
    if case.found(Subject.CORPORATE_IDENTIFIER, Plane.INTUNE):
        why = "A corporate identifier still marks it as owned by your organisation."
        yield _step(StepId.DELETE_CORPORATE_IDENTIFIER, Status.OUTSTANDING, 24, why)
    if case.found(Subject.IMPORT_RECORD, Plane.AUTOPILOT):
        why = "A record of its import is left."
        yield _step(StepId.DELETE_IMPORT_RECORD, Status.OUTSTANDING, 26, why)


def _rule_association(case: Case) -> Iterator[Step]:
    """Row 25. The firmware comes before the record, which tells whether it is bound at all."""
    match association_of(case):
        case Association.PRE_ASSOCIATED:
            why = "It would bind the device to this tenant at its next setup with a network."
            yield _step(StepId.DELETE_ASSOCIATION_RECORD, Status.OUTSTANDING, 25, why)
        case Association.ASSOCIATED:
            if not firmware_checked(case):
                why = "Its firmware binds it to this tenant, which a reset does not change."
                yield _step(StepId.REMOVE_DEVICE_ASSOCIATION, Status.OUTSTANDING, 25, why)
            why = "Deleting the record alone may leave the association in the firmware."
            yield _step(StepId.DELETE_ASSOCIATION_RECORD, Status.OUTSTANDING, 25, why)
        case Association.PENDING_REMOVAL:
            why = "Its record was deleted; the removal waits until the device is reached."
            yield _step(StepId.REMOVE_DEVICE_ASSOCIATION, Status.EXPECTED, 25, why)
        case Association.RECORD_GONE:
            why = "Its record is gone, but whether its firmware was cleared was not verified."
            yield _step(StepId.REMOVE_DEVICE_ASSOCIATION, Status.NOT_VERIFIED, 25, why)
        case Association.NOT_VERIFIED:
            why = "Whether this tenant binds the device through its firmware was not verified."
            yield _step(StepId.DELETE_ASSOCIATION_RECORD, Status.NOT_VERIFIED, 25, why)


RULES = (
    _rule_ambiguous,
    _rule_unsettled,
    _rule_firmware,
    _rule_keys,
    _rule_other_mdm,
    _rule_intune,
    _rule_configuration_manager,
    _rule_reenrollment,
    _rule_autopilot,
    _rule_hardware_changed,
    _rule_support_case,
    _rule_directory,
    _rule_work_account,
    _rule_entra,
    _rule_anchor,
    _rule_leftovers,
    _rule_association,
)


def _step(
    id_: StepId, status: Status, row: int | None, why: str, owner: Owner | None = None
) -> Step:
    plane, usual_owner = HOMES[id_]
    return Step(id=id_, plane=plane, status=status, owner=owner or usual_owner, row=row, why=why)


def ordered(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps in their order, each with those of them that have to be finished before it."""
    in_order = sorted(steps, key=lambda step: STEP_ORDER[step.id])
    present = {step.id for step in in_order}
    return tuple(
        replace(step, after=tuple(one for one in PREREQUISITES[step.id] if one in present))
        for step in in_order
    )


class Risk(StrEnum):
    """A reason to think again before a registration is removed."""

    FIRMWARE_MANAGED = "firmware-managed"
    AMBIGUOUS = "ambiguous"
    IN_INTUNE = "in-intune"
    DEVICE_ASSOCIATION = "device-association"
    KEYS_NOT_SAVED = "keys-not-saved"
    INTUNE_NOT_VERIFIED = "intune-not-verified"
    KEYS_NOT_VERIFIED = "keys-not-verified"


WORDS: Mapping[Risk, str] = {Risk(name): words for name, words in DATA["risks"].items()}
"""Each risk as a person reads it before confirming."""
NAMED = 5
"""The most devices that a line about a risk names."""


def risks_in_words(named: Mapping[Risk, Sequence[str]]) -> list[str]:
    """A line for each risk that occurs: how many devices have it, and some of them."""
    return [
        f"{WORDS[risk]} ({len(names)}): {', '.join(names[:NAMED])}{' …' * (len(names) > NAMED)}"
        for risk, names in named.items()
        if names
    ]


REFUSING = frozenset(Risk) - {Risk.KEYS_NOT_VERIFIED, Risk.DEVICE_ASSOCIATION}
"""What `--require-intune-clear` does not let pass. Reading keys takes a permission of its own,
which says nothing of Intune; so their being unknown is named and refuses nothing. A device
association is no enrolment, and removing the registration makes it no worse."""

_STEPS = {
    (StepId.UNLOCK_FIRMWARE, Status.OUTSTANDING): Risk.FIRMWARE_MANAGED,
    (StepId.RESOLVE_AMBIGUITY, Status.OUTSTANDING): Risk.AMBIGUOUS,
    (StepId.BACK_UP_KEYS, Status.OUTSTANDING): Risk.KEYS_NOT_SAVED,
    (StepId.BACK_UP_KEYS, Status.NOT_VERIFIED): Risk.KEYS_NOT_VERIFIED,
}
_INTUNE = {
    Status.OUTSTANDING: Risk.IN_INTUNE,
    Status.EXPECTED: Risk.IN_INTUNE,
    Status.NOT_VERIFIED: Risk.INTUNE_NOT_VERIFIED,
}


def risks(decision: Decision) -> tuple[Risk, ...]:
    """The risks of one device in the order of `Risk`; none where its tenant is clear of it."""
    met = {_STEPS.get((step.id, step.status)) for step in decision.steps}
    intune = decision.planes.get(Plane.INTUNE)
    met.add(_INTUNE.get(intune.status) if intune else None)
    association = decision.planes.get(Plane.DEVICE_ASSOCIATION)
    if association and association.status in (Status.OUTSTANDING, Status.EXPECTED):
        met.add(Risk.DEVICE_ASSOCIATION)
    return tuple(risk for risk in Risk if risk in met)
