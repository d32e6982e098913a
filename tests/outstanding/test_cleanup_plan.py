"""What a cleanup does with each sort of device: the table, and what must hold for all evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.model import Outcome, Reason
from partner_tools.outstanding.cleanup_plan import CARRIED_OUT, CleanupPlan, plan_cleanup
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.types import (
    DeviceFacts,
    Flag,
    Found,
    Plane,
    Probe,
    ProbeResult,
    StepId,
    Subject,
)
from tests.outstanding.test_decision import (
    CLEAN,
    DUPLICATED,
    KEYS_ABSENT,
    NO_AUTOPILOT,
    NO_ENTRA,
    NO_INTUNE,
    NOW,
    SERIAL,
    absent,
    facts,
    failed,
    joined,
    side,
)

INTUNE, AUTOPILOT = Plane.INTUNE, Plane.AUTOPILOT
DELETE, UNASSIGN, DEREGISTER, DELETE_RECORD = CARRIED_OUT
CONFIRM = StepId.CONFIRM_AUTOPILOT_REMOVAL
EARLIER = NOW - timedelta(minutes=30)
NOT_FOUND = Outcome.NOT_FOUND


def record(plane: Plane, name: str, at: Any = NOW, **attributes: Any) -> Probe:
    one = Found(ids={"id": name}, attributes=attributes)
    return Probe(plane=plane, result=ProbeResult.FOUND, observed_at=at, found=(one,))


MANAGED = record(INTUNE, "md", managementState="managed")
REGISTERED = record(AUTOPILOT, "ap")
ASSIGNED = record(AUTOPILOT, "ap", userPrincipalName="adele@contoso.com")
PRE_ASSOCIATED = record(
    Plane.DEVICE_ASSOCIATION, "as", serialNumber=SERIAL, associationState="preassociated"
)
ASSOCIATED = record(
    Plane.DEVICE_ASSOCIATION, "as", serialNumber=SERIAL, associationState="associated"
)
KEYS = side(Plane.ENTRA, Subject.RECOVERY_KEYS)
PLAIN = (joined(), *KEYS_ABSENT)


def way(known: DeviceFacts, *passed: StepId) -> CleanupPlan:
    return plan_cleanup(known, decide(known), {step.value for step in passed})


def moves(found: CleanupPlan) -> list[tuple[StepId, str]]:
    return [(one.step, one.record) for one in found.moves]


@pytest.mark.parametrize(
    ("known", "passed", "expected", "due"),
    [
        (facts(NO_AUTOPILOT, MANAGED, *PLAIN), (), [(DELETE, "md")], DELETE),
        (
            facts(ASSIGNED, MANAGED, *PLAIN, outcome=NOT_FOUND),
            (),
            [(DELETE, "md"), (UNASSIGN, "ap"), (DEREGISTER, "ap")],
            DELETE,
        ),
        (
            facts(ASSIGNED, MANAGED, *PLAIN, outcome=NOT_FOUND),
            (DELETE,),
            [(UNASSIGN, "ap"), (DEREGISTER, "ap")],
            None,  # it is still listed: what follows waits
        ),
        (
            facts(ASSIGNED, NO_INTUNE, *PLAIN, outcome=NOT_FOUND),
            (DELETE,),
            [(UNASSIGN, "ap"), (DEREGISTER, "ap")],
            UNASSIGN,
        ),
        (
            facts(ASSIGNED, NO_INTUNE, *PLAIN, outcome=NOT_FOUND),
            (DELETE, UNASSIGN),
            [(DEREGISTER, "ap")],
            DEREGISTER,
        ),
        (facts(REGISTERED, NO_INTUNE, *PLAIN, outcome=NOT_FOUND), (DEREGISTER,), [], None),
        (
            facts(NO_AUTOPILOT, record(INTUNE, "md", managementState="retireFailed"), *PLAIN),
            (),
            [(DELETE, "md")],
            DELETE,
        ),
        (
            facts(
                NO_AUTOPILOT,
                record(INTUNE, "md", managementAgent="configurationManagerClientMdm"),
                *PLAIN,
            ),
            (),
            [(DELETE, "md")],
            DELETE,
        ),
        (
            facts(NO_AUTOPILOT, MANAGED, joined(), KEYS, flags=frozenset({Flag.KEYS_SAVED})),
            (),
            [(DELETE, "md")],
            DELETE,
        ),
        (
            facts(failed(AUTOPILOT), MANAGED, *PLAIN, outcome=NOT_FOUND),
            (),
            [(DELETE, "md")],
            DELETE,
        ),
        (
            facts(NO_AUTOPILOT, MANAGED, PRE_ASSOCIATED, *PLAIN),
            (),
            [(DELETE, "md"), (DELETE_RECORD, "as")],
            DELETE,
        ),
        (
            facts(NO_AUTOPILOT, MANAGED, PRE_ASSOCIATED, *PLAIN),
            (DELETE,),
            [(DELETE_RECORD, "as")],
            None,  # not before Intune has let go of it
        ),
        (
            facts(NO_AUTOPILOT, NO_INTUNE, PRE_ASSOCIATED, *PLAIN),
            (DELETE,),
            [(DELETE_RECORD, "as")],
            DELETE_RECORD,
        ),
        (facts(NO_AUTOPILOT, NO_INTUNE, PRE_ASSOCIATED, *PLAIN), (DELETE_RECORD,), [], None),
        (facts(NO_AUTOPILOT, MANAGED, ASSOCIATED, *PLAIN), (), [(DELETE, "md")], DELETE),
        # The partner's removal is still spreading: nothing to delete, and something to wait for.
        (facts(REGISTERED, NO_INTUNE, *PLAIN, removed_at=EARLIER), (), [], None),
    ],
)
def test_the_steps_come_in_order_and_each_waits_for_the_one_before(
    known: DeviceFacts,
    passed: tuple[StepId, ...],
    expected: list[tuple[StepId, str]],
    due: StepId | None,
) -> None:
    found = way(known, *passed)
    assert found.ruling is None
    assert expected == moves(found)
    assert due is (found.due.step if found.due else None)
    assert found.moves or found.awaited


@pytest.mark.parametrize(
    ("probe", "flags"),
    [
        (ASSOCIATED, frozenset()),
        (PRE_ASSOCIATED, frozenset({Flag.DEVICE_ASSOCIATION})),
        (record(Plane.DEVICE_ASSOCIATION, "as", associationState="pendingRemoval"), frozenset()),
        (record(Plane.DEVICE_ASSOCIATION, "as", associationState="resting"), frozenset()),
        (failed(Plane.DEVICE_ASSOCIATION), frozenset()),
        (
            replace(
                PRE_ASSOCIATED,
                found=(*PRE_ASSOCIATED.found, Found(ids={"id": "b"}, attributes={})),
            ),
            frozenset(),
        ),
    ],
)
def test_only_one_record_that_is_certainly_pre_associated_is_deleted(
    probe: Probe, flags: frozenset[Flag]
) -> None:
    found = way(facts(NO_AUTOPILOT, NO_INTUNE, probe, *PLAIN, flags=flags))
    assert not found.moves
    assert Plane.DEVICE_ASSOCIATION in {one.plane for one in found.left}


REFUSALS = [
    ("hold-list", facts(MANAGED, flags=frozenset({Flag.HELD}))),
    (None, facts(outcome=Outcome.DUPLICATE)),
    ("no-serial-number", facts(NO_AUTOPILOT, MANAGED, *PLAIN, serial_number=None)),
    ("ambiguous", facts(NO_AUTOPILOT, DUPLICATED, *PLAIN)),
    ("ambiguous", facts(NO_AUTOPILOT, record(INTUNE, "md", serialNumber="OTHER"), *PLAIN)),
    ("ambiguous", facts(NO_AUTOPILOT, MANAGED, *PLAIN, outcome=Outcome.AMBIGUOUS)),
    ("intune-not-verified", facts(REGISTERED, failed(INTUNE), *PLAIN, outcome=NOT_FOUND)),
    (
        "firmware-managed",
        facts(
            NO_AUTOPILOT,
            record(INTUNE, "md", deviceFirmwareConfigurationInterfaceManaged=True),
            *PLAIN,
        ),
    ),
    *(
        ("waiting-for-check-in", facts(record(INTUNE, "md", managementState=state), *PLAIN))
        for state in ("retirePending", "retireIssued", "wipePending", "wipeIssued", "deletePending")
    ),
    (
        "configuration-manager",
        facts(record(INTUNE, "md", managementAgent="configurationManagerClient"), *PLAIN),
    ),
    ("wipe-first", facts(NO_AUTOPILOT, MANAGED, *PLAIN, reason=Reason.LOST_OR_STOLEN)),
    ("keys-not-saved", facts(NO_AUTOPILOT, MANAGED, joined(), KEYS)),
    ("keys-not-saved", facts(NO_AUTOPILOT, MANAGED, joined())),
    ("keys-not-saved", facts(REGISTERED, NO_INTUNE, joined(), KEYS, outcome=NOT_FOUND)),
    ("partners-turn", facts(REGISTERED, NO_INTUNE, *PLAIN, outcome=Outcome.UNKNOWN)),
    ("autopilot-not-verified", facts(failed(AUTOPILOT), NO_INTUNE, *PLAIN, outcome=NOT_FOUND)),
    # Enrolled again under another id, or seen again after it was gone.
    ("changed-since-handoff", facts(record(INTUNE, "old", EARLIER), MANAGED, *PLAIN)),
    ("changed-since-handoff", facts(absent(INTUNE, EARLIER), MANAGED, *PLAIN)),
    (
        "changed-since-handoff",
        facts(record(AUTOPILOT, "old", EARLIER), REGISTERED, NO_INTUNE, *PLAIN, outcome=NOT_FOUND),
    ),
]


@pytest.mark.parametrize(("rule", "known"), REFUSALS)
def test_what_is_not_touched_says_why_and_what_to_do(rule: str | None, known: DeviceFacts) -> None:
    found = way(known)
    assert found.ruling is not None
    assert rule == found.ruling.rule
    assert found.ruling.detail
    assert (found.moves, found.awaited, found.due) == ((), (), None)
    assert found.ruling.remedy or found.ruling.outcome is Outcome.DUPLICATE


def test_a_device_is_removed_only_when_both_are_proved_clear_of_it() -> None:
    gone = facts(*CLEAN, outcome=NOT_FOUND)
    before, after = way(gone).ruling, way(gone, DELETE, DEREGISTER).ruling
    assert (before and before.outcome, after and after.outcome) == (
        Outcome.ABSENT,
        Outcome.REMOVED,
    )


def test_objects_of_the_directory_are_left_alone_and_named() -> None:
    hybrid = joined(trust="ServerAd", onPremisesSyncEnabled=True)
    found = way(facts(NO_AUTOPILOT, MANAGED, hybrid, *KEYS_ABSENT))
    left = {one.plane: one for one in found.left}
    assert left[Plane.ENTRA].records
    assert "on-premises" in left[Plane.ENTRA].why
    assert Plane.ACTIVE_DIRECTORY in left


def _probes() -> st.SearchStrategy[Probe]:
    at = st.sampled_from([EARLIER, NOW])
    state = st.sampled_from(["managed", "retirePending", "retireFailed", None])
    names = st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True)
    return st.builds(
        lambda plane, result, at, names, state: Probe(
            plane=plane,
            result=result,
            observed_at=at,
            found=tuple(
                Found(ids={"id": f"{plane}-{name}"}, attributes={"managementState": state})
                for name in names
            )
            if result is ProbeResult.FOUND
            else (),
        ),
        st.sampled_from([AUTOPILOT, INTUNE, Plane.ENTRA]),
        st.sampled_from(list(ProbeResult)),
        at,
        names,
        state,
    )


@given(
    looks=st.lists(_probes(), max_size=6),
    outcome=st.sampled_from(list(Outcome)),
    passed=st.sets(st.sampled_from(CARRIED_OUT)),
    saved=st.booleans(),
)
def test_no_evidence_makes_a_cleanup_touch_what_it_must_not(
    looks: list[Probe], outcome: Outcome, passed: set[StepId], saved: bool
) -> None:
    flags = frozenset({Flag.KEYS_SAVED} if saved else ())
    known = facts(*looks, *KEYS_ABSENT, NO_ENTRA, outcome=outcome, flags=flags)
    found = way(known, *passed)
    intune = [one for one in looks if one.plane is INTUNE]
    latest = intune[-1] if intune else None
    if found.due is not None:
        # The record that is touched is the only one that the newest look shows.
        looked = [one for one in looks if any(f.ids["id"] == found.due.record for f in one.found)]
        assert looked
        assert latest is not None
        assert latest.result is not ProbeResult.FAILED
        if found.due.step is not DELETE:
            assert latest.result is ProbeResult.ABSENT
        assert not found.due.record.startswith(str(Plane.ENTRA))
    if found.ruling is not None and found.ruling.outcome is Outcome.REMOVED:
        assert latest is not None
        assert latest.result is ProbeResult.ABSENT
