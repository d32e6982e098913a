"""The decision table, row by row, and what must hold for every combination of evidence."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs import claims
from partner_tools.model import GONE, Outcome, Reason
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.evidence import (
    evidence_from,
    facts_in,
    probe_from,
    stated,
    statement,
)
from partner_tools.outstanding.search import ANSWERS
from partner_tools.outstanding.types import (
    AUTOPILOT_SETTLES,
    FACTS,
    HOMES,
    PREREQUISITES,
    STEP_ORDER,
    Decision,
    DeviceFacts,
    EvidenceSource,
    Flag,
    Found,
    JoinType,
    Owner,
    Plane,
    Probe,
    ProbeResult,
    Report,
    Status,
    StepId,
    Subject,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
REMOVED = NOW - timedelta(hours=3)
SERIAL = "5CD333527Z"
INTUNE_ID = "8f2f5d2c-0d6e-4a35-9c1b-3c2f6d1f7a10"

Listing = tuple[StepId, Status]


def absent(plane: Plane, at: datetime = NOW, **more: Any) -> Probe:
    """A probe that ran and found nothing."""
    return Probe(plane=plane, result=ProbeResult.ABSENT, observed_at=at, **more)


def found(plane: Plane, at: datetime = NOW, **attributes: Any) -> Probe:
    """A Graph probe that found one object."""
    one = Found(ids={"id": INTUNE_ID}, attributes=attributes)
    return Probe(plane=plane, result=ProbeResult.FOUND, observed_at=at, found=(one,))


def failed(plane: Plane, at: datetime = NOW, **more: Any) -> Probe:
    """A probe that was answered 403."""
    return Probe(plane=plane, result=ProbeResult.FAILED, observed_at=at, error="403", **more)


def side(plane: Plane, subject: Subject, result: ProbeResult = ProbeResult.FOUND) -> Probe:
    """A probe of a question beside the device itself."""
    return Probe(plane=plane, result=result, observed_at=NOW, subject=subject)


KEYS_ABSENT = (
    side(Plane.ENTRA, Subject.RECOVERY_KEYS, ProbeResult.ABSENT),
    side(Plane.ENTRA, Subject.LOCAL_PASSWORD, ProbeResult.ABSENT),
)
NO_AUTOPILOT = absent(Plane.AUTOPILOT)
NO_INTUNE = absent(Plane.INTUNE)
NO_ENTRA = absent(Plane.ENTRA)
NO_ASSOCIATION = absent(Plane.DEVICE_ASSOCIATION)
CLEAN = (NO_AUTOPILOT, NO_INTUNE, NO_ENTRA, *KEYS_ABSENT)


def joined(at: datetime = NOW, trust: str = "AzureAd", **more: Any) -> Probe:
    """A directory object that a device joined with."""
    usual = {"trustType": trust, "onPremisesSyncEnabled": None}
    return found(Plane.ENTRA, at, **(usual | more))


def facts(*probes: Probe, outcome: Outcome = Outcome.REMOVED, **more: Any) -> DeviceFacts:
    """A device that left for resale, removed three hours ago unless it says otherwise.

    Whatever was looked at, device association was too and nothing was found, unless it says so.
    """
    if probes and all(probe.plane is not Plane.DEVICE_ASSOCIATION for probe in probes):
        probes = (*probes, NO_ASSOCIATION)
    usual: dict[str, Any] = {
        "reason": Reason.RESALE,
        "at": NOW,
        "serial_number": SERIAL,
        "removed_at": REMOVED if outcome in GONE else None,
    }
    return DeviceFacts(outcome=outcome, probes=probes, **(usual | more))


def listed(decision: Decision) -> list[Listing]:
    """The steps as id and status, in their order."""
    return [(step.id, step.status) for step in decision.steps]


OPEN, EXPECTED, UNSEEN = Status.OUTSTANDING, Status.EXPECTED, Status.NOT_VERIFIED
HYBRID_KEYS = (StepId.BACK_UP_KEYS, UNSEEN)
VERIFY_ENTRA = (StepId.VERIFY_ENTRA_REMOVAL, EXPECTED)
DELETE_INTUNE = (StepId.DELETE_FROM_INTUNE, OPEN)
NO_KEYS_NO_AP = (NO_AUTOPILOT, *KEYS_ABSENT)
LONG_CLEAR = absent(Plane.INTUNE, NOW - timedelta(hours=30))
OLD_REMOVAL = NOW - timedelta(hours=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the decision table: what is observed, what is outstanding, who says so."""

    number: int
    name: str
    facts: DeviceFacts
    steps: Sequence[Listing]
    source: str

    def __str__(self) -> str:
        return f"{self.number}-{self.name}"


def associated(state: str | None, at: datetime = NOW) -> Probe:
    """A record of device association in a state."""
    return found(Plane.DEVICE_ASSOCIATION, at, serialNumber=SERIAL, associationState=state)


CLEAR_FIRMWARE = (StepId.REMOVE_DEVICE_ASSOCIATION, OPEN)
DELETE_RECORD = (StepId.DELETE_ASSOCIATION_RECORD, OPEN)
LOOK_FOR_RECORD = (StepId.DELETE_ASSOCIATION_RECORD, UNSEEN)

DUPLICATED = Probe(
    plane=Plane.INTUNE,
    result=ProbeResult.FOUND,
    observed_at=NOW,
    found=(
        Found(ids={"id": "a"}, attributes={"serialNumber": SERIAL}),
        Found(ids={"id": "b"}, attributes={"serialNumber": SERIAL}),
    ),
)
PAIR = Probe(
    plane=Plane.ENTRA,
    result=ProbeResult.FOUND,
    observed_at=NOW,
    found=(
        Found(ids={"id": "a"}, attributes={"trustType": "AzureAd", "registrationDateTime": None}),
        Found(ids={"id": "b"}, attributes={"trustType": "ServerAd", "onPremisesSyncEnabled": True}),
    ),
)
OURS = "our rule: a plane that could not be looked at is not verified"
"""The one source that is no claim of docs/claims.toml."""

ROWS = (
    Row(
        number=0,
        name="two-managed-devices",
        facts=facts(DUPLICATED, NO_AUTOPILOT, NO_ENTRA, *KEYS_ABSENT),
        steps=[(StepId.RESOLVE_AMBIGUITY, OPEN), DELETE_INTUNE],
        source="two-managed-devices",
    ),
    Row(
        number=0,
        name="another-serial-came-back",
        facts=facts(found(Plane.INTUNE, serialNumber="5CD333527Y"), *NO_KEYS_NO_AP, NO_ENTRA),
        steps=[(StepId.RESOLVE_AMBIGUITY, OPEN), DELETE_INTUNE],
        source="empty-filter-finds-all",
    ),
    Row(
        number=0,
        name="placeholder-serial",
        facts=facts(*CLEAN, serial_number="System Serial Number"),
        steps=[(StepId.RESOLVE_AMBIGUITY, OPEN)],
        source="empty-filter-finds-all",
    ),
    Row(
        number=1,
        name="firmware-managed",
        facts=facts(
            found(Plane.INTUNE, deviceFirmwareConfigurationInterfaceManaged=True),
            *NO_KEYS_NO_AP,
            NO_ENTRA,
        ),
        steps=[(StepId.UNLOCK_FIRMWARE, OPEN), DELETE_INTUNE],
        source="firmware-stays-locked",
    ),
    Row(
        number=2,
        name="recovery-keys-stored",
        facts=facts(
            found(Plane.INTUNE, managementState="managed"),
            NO_AUTOPILOT,
            NO_ENTRA,
            side(Plane.ENTRA, Subject.RECOVERY_KEYS),
            side(Plane.ENTRA, Subject.LOCAL_PASSWORD, ProbeResult.ABSENT),
        ),
        steps=[(StepId.BACK_UP_KEYS, OPEN), DELETE_INTUNE],
        source="intune-delete-retires",
    ),
    *(
        Row(
            number=3,
            name=f"in-intune-{state}",
            facts=facts(found(Plane.INTUNE, managementState=state), *NO_KEYS_NO_AP, NO_ENTRA),
            steps=[DELETE_INTUNE],
            source="removal-order",
        )
        for state in ("managed", "unhealthy", "discovered", "wipeCanceled", "retireCanceled", None)
    ),
    *(
        Row(
            number=4,
            name=f"waiting-{state}",
            facts=facts(found(Plane.INTUNE, managementState=state), *NO_KEYS_NO_AP, NO_ENTRA),
            steps=[(StepId.WAIT_FOR_CHECK_IN, EXPECTED)],
            source="retire-waits-for-check-in",
        )
        for state in ("retirePending", "retireIssued", "wipePending", "wipeIssued", "deletePending")
    ),
    *(
        Row(
            number=5,
            name=f"failed-{state}",
            facts=facts(found(Plane.INTUNE, managementState=state), *NO_KEYS_NO_AP, NO_ENTRA),
            steps=[(StepId.RETRY_INTUNE_ACTION, OPEN)],
            source="failed-action-repeats",
        )
        for state in ("retireFailed", "wipeFailed")
    ),
    Row(
        number=6,
        name="co-managed-by-agent",
        facts=facts(
            found(Plane.INTUNE, managementAgent="configurationManagerClientMdm"),
            *NO_KEYS_NO_AP,
            NO_ENTRA,
        ),
        steps=[DELETE_INTUNE, (StepId.DELETE_FROM_CONFIGURATION_MANAGER, OPEN)],
        source="configuration-manager-record",
    ),
    Row(
        number=6,
        name="co-managed-by-enrollment",
        facts=facts(
            found(Plane.INTUNE, deviceEnrollmentType="windowsCoManagement"),
            *NO_KEYS_NO_AP,
            NO_ENTRA,
        ),
        steps=[DELETE_INTUNE, (StepId.DELETE_FROM_CONFIGURATION_MANAGER, OPEN)],
        source="configuration-manager-agents",
    ),
    Row(
        number=7,
        name="configuration-manager-only",
        facts=facts(
            found(Plane.INTUNE, managementAgent="configurationManagerClient"),
            *NO_KEYS_NO_AP,
            NO_ENTRA,
        ),
        steps=[(StepId.DELETE_FROM_CONFIGURATION_MANAGER, OPEN)],
        source="configuration-manager-agents",
    ),
    Row(
        number=8,
        name="removal-still-spreading",
        facts=facts(found(Plane.AUTOPILOT), NO_INTUNE, NO_ENTRA, *KEYS_ABSENT, removed_at=NOW),
        steps=[(StepId.CONFIRM_AUTOPILOT_REMOVAL, EXPECTED)],
        source="autopilot-removal-takes-time",
    ),
    Row(
        number=9,
        name="still-there-after-the-window",
        facts=facts(found(Plane.AUTOPILOT), NO_INTUNE, NO_ENTRA, *KEYS_ABSENT),
        steps=[(StepId.DEREGISTER_FROM_AUTOPILOT, OPEN)],
        source="removal-order",
    ),
    Row(
        number=9,
        name="registered-by-the-customer",
        facts=facts(
            found(Plane.AUTOPILOT), NO_INTUNE, NO_ENTRA, *KEYS_ABSENT, outcome=Outcome.NOT_FOUND
        ),
        steps=[(StepId.DEREGISTER_FROM_AUTOPILOT, OPEN)],
        source="other-registrations-not-shown",
    ),
    Row(
        number=10,
        name="user-assigned",
        facts=facts(
            found(Plane.AUTOPILOT, userPrincipalName="ada@contoso.com"),
            NO_INTUNE,
            NO_ENTRA,
            *KEYS_ABSENT,
            outcome=Outcome.NOT_FOUND,
        ),
        steps=[(StepId.UNASSIGN_USER, OPEN), (StepId.DEREGISTER_FROM_AUTOPILOT, OPEN)],
        source="removal-order",
    ),
    *(
        Row(
            number=11,
            name=state,
            facts=facts(
                found(Plane.AUTOPILOT, remediationState=state),
                NO_INTUNE,
                NO_ENTRA,
                *KEYS_ABSENT,
                outcome=Outcome.REFUSED,
            ),
            steps=[(StepId.DEREGISTER_FROM_AUTOPILOT, OPEN), (StepId.REGISTER_AGAIN, OPEN)],
            source="new-board-new-hash",
        )
        for state in ("manualRemediationRequired", "automaticRemediationRequired")
    ),
    Row(
        number=12,
        name="another-organisation-at-setup",
        facts=facts(*CLEAN, flags=frozenset({Flag.OTHER_ORGANISATION_AT_SETUP})),
        steps=[(StepId.OPEN_SUPPORT_CASE, OPEN)],
        source="support-case-for-other-tenant",
    ),
    Row(
        number=12,
        name="not-owned-and-not-in-this-tenant",
        facts=facts(*CLEAN, outcome=Outcome.NOT_OWNED),
        steps=[(StepId.OPEN_SUPPORT_CASE, OPEN)],
        source="support-case-for-other-tenant",
    ),
    Row(
        number=13,
        name="hybrid-and-synchronized",
        facts=facts(
            joined(trust="ServerAd", onPremisesSyncEnabled=True), NO_INTUNE, *NO_KEYS_NO_AP
        ),
        steps=[HYBRID_KEYS, (StepId.DELETE_COMPUTER_OBJECT, OPEN), VERIFY_ENTRA],
        source="computer-object-brings-back",
    ),
    *(
        Row(
            number=14,
            name=f"hybrid-with-synchronization-{value}",
            facts=facts(
                joined(trust="ServerAD", onPremisesSyncEnabled=value), NO_INTUNE, *NO_KEYS_NO_AP
            ),
            steps=[
                HYBRID_KEYS,
                (StepId.DELETE_COMPUTER_OBJECT, UNSEEN),
                (StepId.DECIDE_ON_RESIDUAL_OBJECT, OPEN),
            ],
            source="residual-object-deletes",
        )
        for value in (False, None)
    ),
    Row(
        number=15,
        name="joined-within-the-grace",
        facts=facts(joined(), NO_INTUNE, *NO_KEYS_NO_AP),
        steps=[VERIFY_ENTRA],
        source="entra-object-goes",
    ),
    Row(
        number=16,
        name="joined-beyond-the-grace",
        facts=facts(joined(), LONG_CLEAR, *NO_KEYS_NO_AP, removed_at=OLD_REMOVAL),
        steps=[(StepId.DECIDE_ON_ENTRA_OBJECT, OPEN)],
        source="entra-object-may-stay",
    ),
    Row(
        number=17,
        name="entra-and-autopilot",
        facts=facts(
            joined(),
            found(Plane.AUTOPILOT),
            LONG_CLEAR,
            *KEYS_ABSENT,
            removed_at=OLD_REMOVAL,
        ),
        steps=[(StepId.DEREGISTER_FROM_AUTOPILOT, OPEN), VERIFY_ENTRA],
        source="registered-object-cannot-go",
    ),
    Row(
        number=18,
        name="registered-only",
        facts=facts(joined(trust="Workplace"), NO_INTUNE, *NO_KEYS_NO_AP),
        steps=[(StepId.DISCONNECT_WORK_ACCOUNT, OPEN), VERIFY_ENTRA],
        source="registered-device-disconnects",
    ),
    Row(
        number=19,
        name="pre-created-and-hybrid",
        facts=facts(PAIR, NO_INTUNE, *NO_KEYS_NO_AP),
        steps=[HYBRID_KEYS, (StepId.DELETE_COMPUTER_OBJECT, OPEN), VERIFY_ENTRA],
        source="two-objects-for-hybrid",
    ),
    Row(
        number=20,
        name="another-mdm",
        facts=facts(
            joined(mdmAppId="0a4b1c2d-0000-4000-8000-000000000001"),
            LONG_CLEAR,
            *NO_KEYS_NO_AP,
            removed_at=OLD_REMOVAL,
        ),
        steps=[(StepId.UNENROLL_OTHER_MDM, OPEN), VERIFY_ENTRA],
        source="mdm-app-id",
    ),
    Row(
        number=21,
        name="in-deleted-items",
        facts=facts(*CLEAN, side(Plane.ENTRA, Subject.DELETED_OBJECT)),
        steps=[],
        source="deleted-object-restores",
    ),
    Row(
        number=22,
        name="self-deployed-before",
        facts=facts(
            found(Plane.INTUNE, deviceEnrollmentType="windowsAzureADJoinUsingDeviceAuth"),
            *NO_KEYS_NO_AP,
            NO_ENTRA,
        ),
        steps=[DELETE_INTUNE, (StepId.ALLOW_REENROLLMENT, OPEN)],
        source="self-deployed-once",
    ),
    Row(
        number=22,
        name="setup-ends-with-0x80180014",
        facts=facts(*CLEAN, flags=frozenset({Flag.REENROLLMENT_BLOCKED})),
        steps=[(StepId.ALLOW_REENROLLMENT, OPEN)],
        source="reenrollment-blocked",
    ),
    Row(
        number=23,
        name="anchor-lost",
        facts=facts(*CLEAN, flags=frozenset({Flag.ANCHOR_LOST})),
        steps=[(StepId.REBUILD_REGISTRATION, OPEN)],
        source="anchor-lost",
    ),
    Row(
        number=24,
        name="corporate-identifier",
        facts=facts(*CLEAN, side(Plane.INTUNE, Subject.CORPORATE_IDENTIFIER)),
        steps=[(StepId.DELETE_CORPORATE_IDENTIFIER, OPEN)],
        source="graph-properties",
    ),
    *(
        Row(
            number=25,
            name=name,
            facts=facts(*CLEAN, probe, flags=flags),
            steps=steps,
            source=source,
        )
        for name, probe, flags, steps, source in (
            (
                "pre-associated",
                associated("preassociated"),
                frozenset(),
                [DELETE_RECORD],
                "pre-association-is-a-record",
            ),
            (
                "associated",
                associated("associated"),
                frozenset(),
                [CLEAR_FIRMWARE, DELETE_RECORD],
                "association-survives-reset",
            ),
            (
                "removal-pending",
                associated("pendingRemoval"),
                frozenset(),
                [(StepId.REMOVE_DEVICE_ASSOCIATION, EXPECTED)],
                "association-pending-removal",
            ),
            (
                "a-state-that-is-not-known",
                associated("resting"),
                frozenset(),
                [LOOK_FOR_RECORD],
                "association-beta",
            ),
            (
                "associations-refused",
                failed(Plane.DEVICE_ASSOCIATION),
                frozenset(),
                [LOOK_FOR_RECORD],
                "association-beta",
            ),
            (
                "associated-and-cleared-on-the-device",
                associated("associated"),
                frozenset({Flag.NO_DEVICE_ASSOCIATION}),
                [DELETE_RECORD],
                "association-states",
            ),
            (
                "variables-seen-in-the-firmware",
                NO_ASSOCIATION,
                frozenset({Flag.DEVICE_ASSOCIATION}),
                [CLEAR_FIRMWARE, DELETE_RECORD],
                "association-states",
            ),
        )
    ),
    Row(
        number=26,
        name="import-record",
        facts=facts(*CLEAN, side(Plane.AUTOPILOT, Subject.IMPORT_RECORD)),
        steps=[(StepId.DELETE_IMPORT_RECORD, OPEN)],
        source="import-record-stays",
    ),
    Row(
        number=27,
        name="clean",
        facts=facts(*CLEAN),
        steps=[],
        source="reset-drops-join",
    ),
    Row(
        number=28,
        name="not-checked",
        facts=facts(),
        steps=[
            (StepId.BACK_UP_KEYS, UNSEEN),
            (StepId.DELETE_FROM_INTUNE, UNSEEN),
            (StepId.CONFIRM_AUTOPILOT_REMOVAL, UNSEEN),
            LOOK_FOR_RECORD,
            (StepId.DELETE_COMPUTER_OBJECT, UNSEEN),
            (StepId.VERIFY_ENTRA_REMOVAL, UNSEEN),
        ],
        source=OURS,
    ),
    Row(
        number=28,
        name="every-probe-refused",
        facts=facts(
            failed(Plane.AUTOPILOT),
            failed(Plane.INTUNE),
            failed(Plane.DEVICE_ASSOCIATION),
            failed(Plane.ENTRA),
            outcome=Outcome.NOT_FOUND,
        ),
        steps=[
            (StepId.BACK_UP_KEYS, UNSEEN),
            (StepId.DELETE_FROM_INTUNE, UNSEEN),
            (StepId.DEREGISTER_FROM_AUTOPILOT, UNSEEN),
            LOOK_FOR_RECORD,
            (StepId.DELETE_COMPUTER_OBJECT, UNSEEN),
            (StepId.VERIFY_ENTRA_REMOVAL, UNSEEN),
        ],
        source=OURS,
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_decision_table(row: Row) -> None:
    assert row.steps == listed(decide(row.facts))


@pytest.mark.parametrize("row", [row for row in ROWS if row.steps], ids=str)
def test_a_row_names_the_rule_that_fired(row: Row) -> None:
    """Rows 0, 4 … stand at the step itself, so that a reader can follow a step to its source."""
    fired = {step.row for step in decide(row.facts).steps}
    assert row.number in fired or row.number in {19}


def test_every_row_of_the_table_is_tested_and_names_its_source() -> None:
    assert set(range(29)) == {row.number for row in ROWS}
    assert {row.source for row in ROWS} <= {OURS, *claims.register().claims}


def unreachable(rows: Sequence[Row]) -> list[str]:
    """The rows that wait for a flag or a probe that nothing sets."""
    looked_for = {*ANSWERS.values(), (Plane.AUTOPILOT, Subject.DEVICE)}
    return [
        str(row)
        for row in rows
        if not row.facts.flags <= set(FACTS.values())
        or not {(probe.plane, probe.subject) for probe in row.facts.probes} <= looked_for
    ]


def test_every_row_is_reached_by_a_look_or_by_what_a_person_can_state() -> None:
    assert unreachable(ROWS) == []


@pytest.mark.parametrize(
    ("cell", "flags", "unknown"),
    [
        ("", set(), ()),
        ("0x80180014", {Flag.REENROLLMENT_BLOCKED}, ()),
        ("0X801C03F3", {Flag.ANCHOR_LOST}, ()),
        (
            "Other-Organisation-At-Setup; device-association",
            {Flag.OTHER_ORGANISATION_AT_SETUP, Flag.DEVICE_ASSOCIATION},
            (),
        ),
        ("anchor-lost, tuesday", {Flag.ANCHOR_LOST}, ("tuesday",)),
        ("held keys-saved", set(), ("held", "keys-saved")),
    ],
)
def test_what_a_cell_states(cell: str, flags: set[Flag], unknown: tuple[str, ...]) -> None:
    assert facts_in(cell) == (frozenset(flags), unknown)


def test_of_two_statements_that_exclude_each_other_the_newer_counts() -> None:
    old, new = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    bound, free = Flag.DEVICE_ASSOCIATION, Flag.NO_DEVICE_ASSOCIATION
    assert stated(facts(statement(bound, old), statement(free, new))) == {free}
    assert stated(facts(statement(free, old), statement(bound, new))) == {bound}
    assert stated(facts(statement(free, new), flags=frozenset({bound}))) == {free}


def test_a_statement_survives_the_ledger() -> None:
    for flag in Flag:
        probe = statement(flag, NOW)
        assert probe == probe_from(evidence_from(probe))


DOCUMENTED = Path(__file__).parents[2] / "docs" / "reference" / "decision-table.md"

PREFACE = """# What is outstanding, by what was observed

One pure function, `outstanding.decision.decide`, turns outcome and evidence into steps. These
are the rows that it is tested by, each with the statement that it rests on; `*` marks what is
expected to happen by itself, `?` what was not verified. This page is made from the tests:
`UPDATE_GOLDEN=1 pytest tests/outstanding/test_decision.py`.

| Row | Observed | Steps, in order | Rests on |
|---|---|---|---|
"""


def documented() -> str:
    """The table as a reader of the documentation gets it."""
    marks = {OPEN: "", EXPECTED: "*", UNSEEN: "?"}
    lines = []
    for row in ROWS:
        steps = ", ".join(f"`{step.value}`{marks[status]}" for step, status in row.steps)
        name = row.name.replace("-", " ")
        lines.append(f"| {row.number} | {name} | {steps or 'none'} | {_cited(row.source)} |\n")
    return claims.refreshed(
        "docs/reference/decision-table.md", PREFACE + "".join(lines), claims.register()
    )


def _cited(source: str) -> str:
    """A citation of the claim, and of the one that contradicts it."""
    known = claims.register().claims
    if source == OURS:
        return source
    both = [source, *filter(None, [known[source].contradicts])]
    return ", ".join(f"[{each}, read {known[each].read}][{each}]" for each in both)


def test_the_decision_table_is_documented() -> None:
    if os.environ.get("UPDATE_GOLDEN") == "1":
        DOCUMENTED.parent.mkdir(parents=True, exist_ok=True)
        DOCUMENTED.write_text(documented(), encoding="utf-8", newline="\n")
    assert DOCUMENTED.read_text(encoding="utf-8") == documented()


PLANES = (
    ("nobody looked", facts(), [UNSEEN, UNSEEN, UNSEEN, UNSEEN]),
    ("clean", facts(*CLEAN), [Status.CLEAR] * 3 + [Status.NOT_APPLICABLE]),
    (
        "the channel no longer lists what it removed",
        facts(absent(Plane.AUTOPILOT, source=EvidenceSource.CHANNEL)),
        [Status.CLEAR, UNSEEN, UNSEEN, UNSEEN],
    ),
    (
        "the channel never listed it, which proves nothing",
        facts(absent(Plane.AUTOPILOT, source=EvidenceSource.CHANNEL), outcome=Outcome.NOT_FOUND),
        [UNSEEN, UNSEEN, UNSEEN, UNSEEN],
    ),
    (
        "Graph refused, whatever the channel says",
        facts(
            failed(Plane.AUTOPILOT),
            absent(Plane.AUTOPILOT, NOW + timedelta(minutes=1), source=EvidenceSource.CHANNEL),
        ),
        [UNSEEN, UNSEEN, UNSEEN, UNSEEN],
    ),
    (
        "the channel still lists it",
        facts(replace(found(Plane.AUTOPILOT), source=EvidenceSource.CHANNEL)),
        [OPEN, UNSEEN, UNSEEN, UNSEEN],
    ),
    (
        "registered anew after Graph saw it gone",
        facts(
            NO_AUTOPILOT,
            replace(
                found(Plane.AUTOPILOT, NOW + timedelta(minutes=1)), source=EvidenceSource.CHANNEL
            ),
        ),
        [OPEN, UNSEEN, UNSEEN, UNSEEN],
    ),
    (
        "a snapshot from before the removal proves nothing of Autopilot",
        facts(
            found(Plane.AUTOPILOT, REMOVED - timedelta(hours=1)),
            found(Plane.INTUNE, REMOVED - timedelta(hours=1)),
            joined(REMOVED - timedelta(hours=1)),
        ),
        [UNSEEN, OPEN, EXPECTED, Status.NOT_APPLICABLE],
    ),
    (
        "a clear of last month has lapsed",
        facts(NO_AUTOPILOT, absent(Plane.INTUNE, NOW - timedelta(days=8)), NO_ENTRA),
        [Status.CLEAR, UNSEEN, Status.CLEAR, Status.NOT_APPLICABLE],
    ),
    (
        "a retirement under way is expected",
        facts(NO_AUTOPILOT, found(Plane.INTUNE, managementState="retireIssued"), joined()),
        [Status.CLEAR, EXPECTED, EXPECTED, Status.NOT_APPLICABLE],
    ),
    (
        "a duplicate has nothing to do",
        facts(outcome=Outcome.DUPLICATE),
        [Status.NOT_APPLICABLE] * 4,
    ),
    (
        "a device on the hold list has nothing to do",
        facts(outcome=Outcome.REFUSED, flags=frozenset({Flag.HELD})),
        [Status.NOT_APPLICABLE] * 4,
    ),
)


@pytest.mark.parametrize(("name", "device", "expected"), PLANES, ids=[row[0] for row in PLANES])
def test_planes(name: str, device: DeviceFacts, expected: list[Status]) -> None:
    decision = decide(device)
    usual = (Plane.AUTOPILOT, Plane.INTUNE, Plane.ENTRA, Plane.ACTIVE_DIRECTORY)
    assert expected == [decision.planes[plane].status for plane in usual], name


@pytest.mark.parametrize(
    ("probes", "status"),
    [
        ([associated("preassociated")], OPEN),
        ([associated("PREASSOCIATED")], OPEN),
        ([associated("associated")], OPEN),
        ([associated("pendingRemoval")], EXPECTED),
        ([associated(None)], UNSEEN),
        ([associated("")], UNSEEN),
        ([associated("cleared")], UNSEEN),
        ([failed(Plane.DEVICE_ASSOCIATION)], UNSEEN),
        ([found(Plane.DEVICE_ASSOCIATION)], UNSEEN),
        ([NO_ASSOCIATION], Status.CLEAR),
        ([absent(Plane.DEVICE_ASSOCIATION, NOW - timedelta(days=8))], UNSEEN),
        ([associated("associated", REMOVED), NO_ASSOCIATION], UNSEEN),
        ([associated("resting", REMOVED), NO_ASSOCIATION], UNSEEN),
        ([associated("preassociated", REMOVED), NO_ASSOCIATION], Status.CLEAR),
        ([associated("pendingRemoval", REMOVED), NO_ASSOCIATION], Status.CLEAR),
        ([NO_ASSOCIATION, associated("associated", NOW + timedelta(minutes=1))], OPEN),
    ],
)
def test_how_device_association_stands(probes: list[Probe], status: Status) -> None:
    standing = decide(facts(*CLEAN, *probes)).planes[Plane.DEVICE_ASSOCIATION]
    assert standing.status is status
    assert standing.error or "undocumented beta" in str(standing.note) or status is UNSEEN


def test_a_record_that_went_is_clear_once_the_firmware_was_looked_at() -> None:
    gone = (*CLEAN, associated("associated", REMOVED), NO_ASSOCIATION)
    [step] = decide(facts(*gone)).steps
    assert (step.id, step.status) == (StepId.REMOVE_DEVICE_ASSOCIATION, UNSEEN)
    decision = decide(facts(*gone, flags=frozenset({Flag.NO_DEVICE_ASSOCIATION})))
    assert decision.planes[Plane.DEVICE_ASSOCIATION].status is Status.CLEAR
    assert not decision.steps


def test_firmware_that_somebody_opened_is_not_managed_any_more() -> None:
    managed = found(Plane.INTUNE, deviceFirmwareConfigurationInterfaceManaged=True)
    decision = decide(facts(*CLEAN, managed, flags=frozenset({Flag.FIRMWARE_OPEN})))
    assert StepId.UNLOCK_FIRMWARE not in {step.id for step in decision.steps}


def test_notes_say_what_a_status_alone_does_not() -> None:
    deleted = decide(facts(*CLEAN, side(Plane.ENTRA, Subject.DELETED_OBJECT)))
    assert "restored for 30 days" in str(deleted.planes[Plane.ENTRA].note)
    guarded = decide(facts(joined(), found(Plane.INTUNE)))
    assert "Leave it alone" in str(guarded.planes[Plane.ENTRA].note)
    unlinked = decide(facts())
    assert "look it up by its device id" in str(unlinked.planes[Plane.ENTRA].note)


@pytest.mark.parametrize("outcome", sorted(GONE))
def test_what_was_seen_before_a_device_was_gone_is_no_longer_there(outcome: Outcome) -> None:
    before = found(Plane.AUTOPILOT, REMOVED - timedelta(minutes=1))
    decision = decide(facts(before, outcome=outcome))
    assert UNSEEN is decision.planes[Plane.AUTOPILOT].status


def test_ids_of_a_snapshot_survive_the_removal() -> None:
    decision = decide(facts(found(Plane.AUTOPILOT, REMOVED - timedelta(hours=1)), NO_AUTOPILOT))
    assert decision.planes[Plane.AUTOPILOT].found[0].ids == {"id": INTUNE_ID}
    assert Status.CLEAR is decision.planes[Plane.AUTOPILOT].status


def test_older_evidence_is_shown_behind_a_failed_probe() -> None:
    decision = decide(facts(absent(Plane.INTUNE, REMOVED), failed(Plane.INTUNE)))
    intune = decision.planes[Plane.INTUNE]
    assert (
        intune.status,
        intune.error,
        intune.last_status,
        intune.last_observed_at,
    ) == (UNSEEN, "403", Status.CLEAR, REMOVED)


def test_a_device_that_comes_back_keeps_its_directory_object() -> None:
    device = facts(
        joined(), LONG_CLEAR, *NO_KEYS_NO_AP, removed_at=OLD_REMOVAL, reason=Reason.REPAIR
    )
    assert listed(decide(device)) == [VERIFY_ENTRA]


def test_a_stolen_device_is_wiped_before_it_is_deleted() -> None:
    device = facts(found(Plane.INTUNE), reason=Reason.LOST_OR_STOLEN)
    [step] = [step for step in decide(device).steps if step.id is StepId.DELETE_FROM_INTUNE]
    assert "Wipe it first" in step.why


@pytest.mark.parametrize(
    ("outcome", "step", "status", "owner"),
    [
        (Outcome.PENDING, StepId.SETTLE_REMOVAL, OPEN, Owner.PARTNER),
        (Outcome.UNKNOWN, StepId.SETTLE_REMOVAL, UNSEEN, Owner.PARTNER),
        (Outcome.AMBIGUOUS, StepId.RESOLVE_AMBIGUITY, OPEN, Owner.PARTNER),
        (
            Outcome.NOT_FOUND,
            StepId.DEREGISTER_FROM_AUTOPILOT,
            UNSEEN,
            Owner.INTUNE_ADMINISTRATOR,
        ),
        (Outcome.NOT_OWNED, StepId.OPEN_SUPPORT_CASE, UNSEEN, Owner.INTUNE_ADMINISTRATOR),
        (Outcome.REFUSED, StepId.DEREGISTER_FROM_AUTOPILOT, UNSEEN, Owner.INTUNE_ADMINISTRATOR),
        (Outcome.ABSENT, StepId.CONFIRM_AUTOPILOT_REMOVAL, UNSEEN, Owner.INTUNE_ADMINISTRATOR),
    ],
)
def test_who_has_to_act_on_an_outcome_without_evidence(
    outcome: Outcome, step: StepId, status: Status, owner: Owner
) -> None:
    steps = {one.id: one for one in decide(facts(outcome=outcome)).steps}
    assert (status, owner) == (steps[step].status, steps[step].owner)


def test_saved_keys_are_not_asked_for_again() -> None:
    decision = decide(facts(flags=frozenset({Flag.KEYS_SAVED})))
    assert StepId.BACK_UP_KEYS not in {step.id for step in decision.steps}


def test_every_step_has_a_home_and_prerequisites_before_it() -> None:
    assert set(StepId) == set(HOMES)
    for step, before in PREREQUISITES.items():
        assert all(STEP_ORDER[one] < STEP_ORDER[step] for one in before), step


# --- what holds for every combination -----------------------------------------------------------

ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "serialNumber": st.sampled_from([SERIAL, "other", ""]),
        "managementState": st.sampled_from(["managed", "retirePending", "wipeFailed", "odd", None]),
        "managementAgent": st.sampled_from(
            ["mdm", "configurationManagerClient", "configurationManagerClientMdm", None]
        ),
        "deviceFirmwareConfigurationInterfaceManaged": st.booleans(),
        "trustType": st.sampled_from(["AzureAd", "ServerAd", "Workplace", "", None]),
        "onPremisesSyncEnabled": st.sampled_from([True, False, None]),
        "registrationDateTime": st.sampled_from([None, "2025-01-01T00:00:00Z"]),
        "userPrincipalName": st.sampled_from(["", "ada@contoso.com"]),
        "mdmAppId": st.sampled_from([None, "0000000a-0000-0000-c000-000000000000", "other"]),
    },
)
TIMES = st.integers(-240, 2).map(lambda hours: NOW + timedelta(hours=hours))
PROBES = st.builds(
    Probe,
    plane=st.sampled_from(Plane),
    result=st.sampled_from(ProbeResult),
    observed_at=TIMES,
    source=st.sampled_from(EvidenceSource),
    subject=st.sampled_from(Subject),
    found=st.lists(
        st.builds(Found, ids=st.just({"id": INTUNE_ID}), attributes=ATTRIBUTES), max_size=2
    ).map(tuple),
    error=st.none() | st.text(max_size=5),
    request_id=st.none() | st.just("r-1"),
)
ANY_FACTS = st.builds(
    DeviceFacts,
    outcome=st.sampled_from(Outcome),
    reason=st.sampled_from(Reason),
    at=st.just(NOW),
    serial_number=st.sampled_from([SERIAL, None, "0"]),
    removed_at=st.none() | TIMES,
    probes=st.lists(PROBES, max_size=8).map(tuple),
    flags=st.frozensets(st.sampled_from(Flag), max_size=2),
)
BLIND = ANY_FACTS.map(
    lambda one: replace(
        one,
        probes=tuple(probe for probe in one.probes if probe.result is ProbeResult.FAILED),
    )
)


@pytest.mark.slow
@given(BLIND)
def test_no_combination_of_failed_and_missing_probes_ever_yields_clear(device: DeviceFacts) -> None:
    decision = decide(device)
    assert Status.CLEAR not in {plane.status for plane in decision.planes.values()}
    assert Status.CLEAR not in {step.status for step in decision.steps}


@pytest.mark.slow
@given(ANY_FACTS)
def test_clear_always_rests_on_a_probe_of_that_plane_that_found_nothing(
    device: DeviceFacts,
) -> None:
    for plane, standing in decide(device).planes.items():
        if standing.status is Status.CLEAR:
            ran = [
                probe
                for probe in device.probes
                if probe.plane is plane
                and probe.subject is Subject.DEVICE
                and probe.result is ProbeResult.ABSENT
                and probe.observed_at == standing.observed_at
            ]
            assert ran


@pytest.mark.slow
@given(ANY_FACTS)
def test_the_directory_object_is_never_touched_too_early_nor_while_synchronized(
    device: DeviceFacts,
) -> None:
    decision = decide(device)
    deletions = (StepId.DECIDE_ON_ENTRA_OBJECT, StepId.DECIDE_ON_RESIDUAL_OBJECT)
    deletes = [step for step in decision.steps if step.id in deletions]
    if not deletes:
        return
    assert Status.CLEAR is decision.planes[Plane.AUTOPILOT].status
    assert Status.CLEAR is decision.planes[Plane.INTUNE].status
    assert device.reason is not Reason.REPAIR
    assert not [step for step in decision.steps if step.id is StepId.RESOLVE_AMBIGUITY]
    for one in decision.planes[Plane.ENTRA].found:
        hybrid = one.attributes.get("trustType") == "ServerAd"
        assert not (hybrid and one.attributes.get("onPremisesSyncEnabled", True) is True)


@pytest.mark.slow
@given(ANY_FACTS)
def test_steps_stand_in_order_once_each_and_wait_only_for_listed_ones(
    device: DeviceFacts,
) -> None:
    steps = decide(device).steps
    ids = [step.id for step in steps]
    assert sorted(set(ids), key=STEP_ORDER.__getitem__) == ids
    for place, step in enumerate(steps):
        assert set(step.after) <= set(ids[:place])
        assert step.why
        assert step.status in {OPEN, EXPECTED, UNSEEN, Status.REPORTED}


def test_of_two_looks_the_one_that_was_recorded_last_counts_whatever_the_clocks_say() -> None:
    earlier = NOW - timedelta(hours=1)
    for plane in (Plane.AUTOPILOT, Plane.INTUNE, Plane.DEVICE_ASSOCIATION):
        gone = decide(facts(found(plane, NOW), absent(plane, earlier)))
        assert gone.planes[plane].status is not OPEN, plane
        there = decide(facts(absent(plane, NOW), found(plane, earlier)))
        assert there.planes[plane].status is not Status.CLEAR, plane


@given(PROBES)
def test_a_probe_survives_the_ledger(probe: Probe) -> None:
    assert probe == probe_from(evidence_from(probe))


def test_an_observation_without_a_source_proves_as_little_as_a_channel_does() -> None:
    evidence = {"plane": "autopilot", "status": "clear", "observedAt": NOW.isoformat()}
    assert EvidenceSource.CHANNEL is probe_from(evidence).source


def test_an_observation_with_a_status_that_nobody_knows_failed() -> None:
    evidence = {"plane": "intune", "status": "perhaps", "observedAt": NOW.isoformat()}
    assert ProbeResult.FAILED is probe_from(evidence).result


def test_join_types_are_read_from_the_directory_or_from_intune() -> None:
    assert JoinType.HYBRID_JOINED is decide(facts(PAIR)).join_type
    assert JoinType.REGISTERED is decide(facts(joined(trust="workplace"))).join_type
    assert (
        JoinType.ENTRA_JOINED
        is decide(facts(found(Plane.INTUNE, joinType="azureADJoined"))).join_type
    )
    assert JoinType.NONE is decide(facts(*CLEAN)).join_type
    assert JoinType.UNKNOWN is decide(facts()).join_type


# --- what the customer reports ------------------------------------------------------------------


def reported(plane: Plane, result: ProbeResult, *, hours: float = 0, **more: Any) -> Probe:
    at = NOW + timedelta(hours=hours)
    return Probe(
        plane=plane,
        result=result,
        observed_at=at,
        source=EvidenceSource.CUSTOMER,
        report=Report(at=at, file=at, **more),
    )


def decided(*probes: Probe) -> tuple[dict[str, str], dict[str, str]]:
    """Statuses of planes and of steps of a removed device, with these probes."""
    decision = decide(
        DeviceFacts(
            outcome=Outcome.REMOVED,
            reason=Reason.RESALE,
            at=NOW + timedelta(hours=9),
            serial_number="5CD333527Z",
            removed_at=NOW - timedelta(hours=2),
            probes=probes,
        )
    )
    return (
        {plane.value: status.status.value for plane, status in decision.planes.items()},
        {step.id.value: step.status.value for step in decision.steps},
    )


def test_a_report_closes_its_plane_and_its_steps_but_clears_nothing() -> None:
    planes, steps = decided(reported(Plane.INTUNE, ProbeResult.ABSENT))

    assert planes["intune"] == "reported"
    assert steps["delete-from-intune"] == "reported"
    assert steps["back-up-keys"] == "reported"
    assert steps["verify-entra-removal"] == "not-verified"


def test_a_done_step_closes_only_itself() -> None:
    done = reported(Plane.ENTRA, ProbeResult.ABSENT, step=StepId.BACK_UP_KEYS)
    planes, steps = decided(done)

    assert (planes["entra"], steps["back-up-keys"]) == ("not-verified", "reported")
    assert steps["delete-from-intune"] == "not-verified"


def test_what_the_customer_still_sees_is_outstanding() -> None:
    gone, back = (
        reported(Plane.INTUNE, ProbeResult.ABSENT),
        reported(Plane.INTUNE, ProbeResult.FOUND),
    )
    planes, steps = decided(gone, replace(back, observed_at=NOW + timedelta(hours=1)))

    assert (planes["intune"], steps["delete-from-intune"]) == ("outstanding", "outstanding")


@pytest.mark.parametrize(
    ("look", "status"), [(ProbeResult.FOUND, "outstanding"), (ProbeResult.ABSENT, "clear")]
)
def test_a_later_look_of_our_own_outweighs_a_report(look: ProbeResult, status: str) -> None:
    own = Probe(plane=Plane.INTUNE, result=look, observed_at=NOW + timedelta(hours=1))
    planes, steps = decided(reported(Plane.INTUNE, ProbeResult.ABSENT), own)

    assert planes["intune"] == status
    assert steps.get("delete-from-intune") == (status if look is ProbeResult.FOUND else None)


@pytest.mark.parametrize("look", [ProbeResult.FOUND, ProbeResult.FAILED])
def test_a_report_outweighs_an_earlier_look_and_one_that_failed(look: ProbeResult) -> None:
    hours = -1 if look is ProbeResult.FOUND else 1
    own = Probe(plane=Plane.INTUNE, result=look, observed_at=NOW + timedelta(hours=hours))

    assert decided(own, reported(Plane.INTUNE, ProbeResult.ABSENT))[0]["intune"] == "reported"


def test_a_check_of_active_directory_or_the_way_it_was_joined_closes_that_step() -> None:
    for report in (
        reported(Plane.ACTIVE_DIRECTORY, ProbeResult.ABSENT),
        reported(Plane.INTUNE, ProbeResult.ABSENT, joined=JoinType.ENTRA_JOINED),
    ):
        planes, steps = decided(report)
        assert planes["active-directory"] == "reported"
        assert steps["delete-computer-object"] == "reported"
    _, steps = decided(reported(Plane.INTUNE, ProbeResult.ABSENT, joined=JoinType.HYBRID_JOINED))
    assert steps["delete-computer-object"] == "not-verified"


def test_a_record_of_configuration_manager_that_is_reported_shows_up() -> None:
    assert (
        decided(reported(Plane.CONFIGURATION_MANAGER, ProbeResult.FOUND))[1][
            "delete-from-configuration-manager"
        ]
        == "outstanding"
    )
    planes, _ = decided(reported(Plane.CONFIGURATION_MANAGER, ProbeResult.ABSENT))
    assert planes["configuration-manager"] == "reported"


INTUNE_STATES = {
    "discovered": StepId.DELETE_FROM_INTUNE,
    "managed": StepId.DELETE_FROM_INTUNE,
    "unhealthy": StepId.DELETE_FROM_INTUNE,
    "wipeCanceled": StepId.DELETE_FROM_INTUNE,
    "retireCanceled": StepId.DELETE_FROM_INTUNE,
    "unknownFutureValue": StepId.DELETE_FROM_INTUNE,
    "retirePending": StepId.WAIT_FOR_CHECK_IN,
    "retireIssued": StepId.WAIT_FOR_CHECK_IN,
    "wipePending": StepId.WAIT_FOR_CHECK_IN,
    "wipeIssued": StepId.WAIT_FOR_CHECK_IN,
    "deletePending": StepId.WAIT_FOR_CHECK_IN,
    "retireFailed": StepId.RETRY_INTUNE_ACTION,
    "wipeFailed": StepId.RETRY_INTUNE_ACTION,
}


@pytest.mark.parametrize("letters", [str, str.lower, str.upper], ids=["", "lower", "upper"])
@pytest.mark.parametrize(("state", "step"), INTUNE_STATES.items(), ids=str)
def test_which_states_of_intune_wait(
    state: str, step: StepId, letters: Callable[[str], str]
) -> None:
    """Every state that the metadata name leads to one step, and only five of them wait."""
    seen = found(Plane.INTUNE, managementState=letters(state))

    decision = decide(facts(seen, *NO_KEYS_NO_AP, NO_ENTRA))

    assert [each.id for each in decision.steps] == [step]
    waits = step is StepId.WAIT_FOR_CHECK_IN
    assert decision.steps[0].status is (Status.EXPECTED if waits else Status.OUTSTANDING)


@pytest.mark.parametrize(
    ("late", "step"),
    [
        (timedelta(0), StepId.CONFIRM_AUTOPILOT_REMOVAL),
        (timedelta(seconds=1), StepId.DEREGISTER_FROM_AUTOPILOT),
    ],
)
def test_patience_ends_after_its_last_second(late: timedelta, step: StepId) -> None:
    """Within the window a listed registration is expected to go, and not a second longer."""
    usual = facts(found(Plane.AUTOPILOT), NO_INTUNE, NO_ENTRA, *KEYS_ABSENT)
    removed_at = NOW - AUTOPILOT_SETTLES - late

    decision = decide(replace(usual, removed_at=removed_at))

    assert decision.steps[0].id is step
