"""Decides which steps are outstanding for one device, plane by plane, from evidence alone.

Pure: an outcome, what the services said and when they said it go in; the status of every plane and
the steps in their order come out. `clear` needs a probe that ran and found nothing: a probe that
failed, never ran or is too old is `not-verified`. There is one rule for each group of rows of the
decision table in `docs/reference/decision-table.md`, which is the table of the tests too.
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
from partner_tools.outstanding.reported import overlay
from partner_tools.outstanding.types import (
    AUTOPILOT_SETTLES,
    DATA,
    ENTRA_SETTLES,
    HOMES,
    PREREQUISITES,
    STATUSES,
    STEP_ORDER,
    Decision,
    DeviceFacts,
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


HELD_NOTE = "The hold list names this device: it must stay as it is."


def decide(facts: DeviceFacts) -> Decision:
    """Judge every plane's evidence, and derive the steps that follow from it.

    A duplicate of an earlier row, and a device that the partner holds back, have none.
    """
    if facts.outcome is Outcome.DUPLICATE:
        return _nothing_to_do(
            "This device appears earlier in the list; its steps are listed there."
        )
    if Flag.HELD in facts.flags:
        return _nothing_to_do(HELD_NOTE)
    case = Case.of(facts)
    steps = [step for rule in RULES for step in rule(case)]
    decision = Decision(join_type=case.join_type, planes=_planes(case), steps=_ordered(steps))
    return overlay(facts, decision)


def _nothing_to_do(note: str) -> Decision:
    idle = PlaneStatus(status=Status.NOT_APPLICABLE)
    others = dict.fromkeys(
        (Plane.INTUNE, Plane.DEVICE_ASSOCIATION, Plane.ENTRA, Plane.ACTIVE_DIRECTORY), idle
    )
    told = {Plane.AUTOPILOT: replace(idle, note=note)}
    return Decision(join_type=JoinType.UNKNOWN, planes=told | others, steps=())


def _planes(case: Case) -> dict[Plane, PlaneStatus]:
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
    young = probe.observed_at - removed_at <= AUTOPILOT_SETTLES
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


def _association_note(case: Case) -> str | None:
    if Flag.DEVICE_ASSOCIATION in case.facts.flags:
        return "Associated: its variables were seen in the device's firmware."
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
    return since is not None and case.entra.probe.observed_at - since > ENTRA_SETTLES


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


FINDINGS: Mapping[str, Step] = {
    name: Step(
        id=(step := StepId(found["step"])),
        plane=HOMES[step][0],
        status=Status(found["status"]),
        owner=HOMES[step][1],
        row=found.get("row"),
        why=found["why"],
    )
    for name, found in DATA["findings"].items()
}
"""Each step that a rule can ask for: its status, its row of the decision table, and why."""


def _rule_ambiguous(case: Case) -> Iterator[Step]:
    """Row 0."""
    if case.ambiguous:
        found = FINDINGS["ambiguous"]
        by_partner = case.facts.outcome is Outcome.AMBIGUOUS
        yield replace(found, owner=Owner.PARTNER) if by_partner else found


def _rule_signs(case: Case) -> Iterator[Step]:
    """Rows 1, 11, 18, 20, 22, 23, 24 and 26: each asks for one step as soon as its sign is seen."""
    flags, repair = case.facts.flags, {"manualremediationrequired", "automaticremediationrequired"}
    by_itself = "windowsazureadjoinusingdeviceauth"
    signs = {
        "firmware-managed": firmware_managed(case),
        "other-mdm": other_mdm(case),
        "reenrollment-blocked": Flag.REENROLLMENT_BLOCKED in flags
        or by_itself in case.intune.values("deviceEnrollmentType")
        or "blocked" in case.autopilot.values("userlessEnrollmentStatus"),
        "hardware-changed": case.autopilot.values("remediationState") & repair,
        "work-account": case.join_type is JoinType.REGISTERED and case.entra.present,
        "anchor-lost": Flag.ANCHOR_LOST in flags,
        "corporate-identifier": case.found(Subject.CORPORATE_IDENTIFIER, Plane.INTUNE),
        "import-record": case.found(Subject.IMPORT_RECORD, Plane.AUTOPILOT),
    }
    return (FINDINGS[name] for name, is_seen in signs.items() if is_seen)


def _rule_unsettled(case: Case) -> Iterator[Step]:
    """A removal that was not attempted, or whose answer never came, is the partner's to finish."""
    if case.autopilot.present is False:
        return
    if case.facts.outcome is Outcome.PENDING:
        yield FINDINGS["removal-not-attempted"]
    if case.facts.outcome is Outcome.UNKNOWN:
        yield FINDINGS["removal-not-answered"]


def _rule_keys(case: Case) -> Iterator[Step]:
    """Row 2: asked for wherever a record of the device, and with it the keys, can still go."""
    at_risk = case.entra.present is not False or case.intune.present is not False
    hybrid = case.join_type is JoinType.HYBRID_JOINED
    none_anywhere = case.keys.present is False and not hybrid
    if Flag.KEYS_SAVED in case.facts.flags or none_anywhere or not at_risk:
        return
    if case.keys.present:
        yield FINDINGS["keys-stored"]
    elif case.keys.present is False:
        yield FINDINGS["keys-elsewhere"]
    else:
        yield FINDINGS["keys-not-verified"]


def _rule_intune(case: Case) -> Iterator[Step]:
    """Rows 3, 4 and 5; row 28 where Intune was not checked."""
    if case.intune.present is False or only_configuration_manager(case):
        return
    states = intune_states(case)
    if case.intune.present is None:
        yield FINDINGS["intune-not-verified"]
    elif states <= WAITING:
        yield FINDINGS["intune-waiting"]
    elif states & FAILED:
        yield FINDINGS["intune-failed"]
    elif case.facts.reason is Reason.LOST_OR_STOLEN:
        yield FINDINGS["in-intune-lost"]
    else:
        yield FINDINGS["in-intune"]


def _rule_configuration_manager(case: Case) -> Iterator[Step]:
    """Rows 6 and 7."""
    if not in_configuration_manager(case):
        return
    if only_configuration_manager(case):
        yield FINDINGS["configuration-manager-alone"]
    else:
        yield FINDINGS["configuration-manager-too"]


def _rule_autopilot(case: Case) -> Iterator[Step]:
    """Rows 8, 9 and 10; row 28 if not checked. Unsettled devices stay the partner's."""
    if case.autopilot.present is False:
        return
    partners_turn = case.facts.outcome in {Outcome.PENDING, Outcome.UNKNOWN}
    if still_settling(case):
        yield replace(FINDINGS["removal-settling"], owner=Owner.PARTNER)
        return
    by_hand = Flag.BY_HAND in case.facts.flags
    if not by_hand and case.autopilot.values("userPrincipalName"):
        yield FINDINGS["user-assigned"]
    if case.autopilot.present and not partners_turn:
        yield _deregister(case, FINDINGS["registered"])
    elif case.removed:
        yield FINDINGS["removal-not-verified"]
    elif not partners_turn:
        yield _deregister(case, FINDINGS["registration-not-verified"])


def _deregister(case: Case, found: Step) -> Step:
    """The removal with why it is needed; the partner's where a person of theirs does it."""
    outcome = case.facts.outcome
    whys = DATA["deregister"]
    if Flag.BY_HAND in case.facts.flags:
        return replace(found, owner=Owner.PARTNER, why=whys["by-hand"])
    if outcome in GONE:
        return replace(found, why=whys["gone"])
    if outcome is Outcome.ASSESSED and not case.autopilot.present:
        return replace(found, why=whys["assessed-not-verified"])
    return replace(found, why=whys.get(outcome, whys["refused"]))


def _rule_support_case(case: Case) -> Iterator[Step]:
    """Row 12."""
    shown = Flag.OTHER_ORGANISATION_AT_SETUP in case.facts.flags
    foreign = case.facts.outcome is Outcome.NOT_OWNED
    if case.autopilot.present or not (shown or foreign):
        return
    known = shown or case.autopilot.present is False
    status = Status.OUTSTANDING if known else Status.NOT_VERIFIED
    yield replace(FINDINGS["other-organisation"], status=status)


def _rule_directory(case: Case) -> Iterator[Step]:
    """Row 13; beside row 14 and where the join type is unknown, only a look."""
    status = directory_status(case)
    if status is Status.OUTSTANDING:
        yield FINDINGS["computer-object"]
    if status is Status.NOT_VERIFIED:
        hybrid = case.join_type is JoinType.HYBRID_JOINED
        yield replace(FINDINGS["computer-object-not-verified"], row=14 if hybrid else 28)


def _rule_entra(case: Case) -> Iterator[Step]:
    """Rows 14 to 17 and 19: by hand only what outlived everything that should remove it."""
    if case.entra.present is None:
        yield FINDINGS["entra-not-verified"]
    elif residual(case):
        yield FINDINGS["entra-residual"]
    elif entra_lingers(case):
        yield FINDINGS["entra-lingers"]
    elif case.entra.present and not case.done_before_entra:
        yield FINDINGS["entra-too-early"]
    elif case.entra.present and case.facts.reason is Reason.REPAIR:
        yield FINDINGS["entra-comes-back"]
    elif case.entra.present:
        yield FINDINGS["entra-by-itself"]


def _rule_association(case: Case) -> Iterator[Step]:
    """Row 25. The firmware comes before the record, which tells whether it is bound at all."""
    state = association_of(case)
    if state is Association.ASSOCIATED and not firmware_checked(case):
        yield FINDINGS["association-in-firmware"]
    if state is not Association.CLEAR:
        yield FINDINGS[f"association-{state}"]


RULES = (
    _rule_ambiguous,
    _rule_signs,
    _rule_unsettled,
    _rule_keys,
    _rule_intune,
    _rule_configuration_manager,
    _rule_autopilot,
    _rule_support_case,
    _rule_directory,
    _rule_entra,
    _rule_association,
)


def _ordered(steps: Iterable[Step]) -> tuple[Step, ...]:
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
