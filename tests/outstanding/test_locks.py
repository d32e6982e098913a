"""Which devices may be called released: a table of locks, and what holds for all evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from partner_tools.model import Outcome
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.evidence import statement
from partner_tools.outstanding.locks import (
    ALWAYS_APPLY,
    LockId,
    Release,
    is_open,
    may_be_released,
    release,
)
from partner_tools.outstanding.types import (
    DeviceFacts,
    EvidenceSource,
    Flag,
    Plane,
    Probe,
    ProbeResult,
    Status,
    Subject,
)
from tests.outstanding.test_decision import (
    ANY_FACTS,
    CLEAN,
    NOW,
    PAIR,
    REMOVED,
    absent,
    associated,
    facts,
    failed,
    found,
    joined,
    side,
)

FREE: dict[str, Any] = {
    "deviceFirmwareConfigurationInterfaceManaged": False,
    "managementState": "managed",
}
ENROLLED_BEFORE = found(Plane.INTUNE, REMOVED - timedelta(hours=1), **FREE)
NO_IDENTIFIER = side(Plane.INTUNE, Subject.CORPORATE_IDENTIFIER, ProbeResult.ABSENT)
ALL_CLEAR = (ENROLLED_BEFORE, *CLEAN, NO_IDENTIFIER)


def judged(device: DeviceFacts) -> Release:
    return release(device, decide(device))


def statuses(device: DeviceFacts) -> dict[str, str]:
    return {one.id.value: one.status.value for one in judged(device).locks}


def test_a_device_whose_every_lock_was_seen_clear_is_released() -> None:
    found_ = judged(facts(*ALL_CLEAR))
    assert found_.released
    assert [one.id for one in found_.locks] == list(LockId)
    assert statuses(facts(*ALL_CLEAR)) == {
        "autopilot": "clear",
        "device-association": "clear",
        "intune": "clear",
        "entra": "clear",
        "active-directory": "not-applicable",
        "configuration-manager": "not-applicable",
        "device-firmware": "clear",
        "corporate-identifier": "clear",
    }


def without(plane: Plane, *instead: Probe, subject: Subject = Subject.DEVICE) -> list[Probe]:
    kept = [one for one in ALL_CLEAR if (one.plane, one.subject) != (plane, subject)]
    return [*kept, *instead]


OPEN = [
    ("registered still", LockId.AUTOPILOT, without(Plane.AUTOPILOT, found(Plane.AUTOPILOT))),
    ("Autopilot refused", LockId.AUTOPILOT, without(Plane.AUTOPILOT, failed(Plane.AUTOPILOT))),
    ("Autopilot not looked at", LockId.AUTOPILOT, without(Plane.AUTOPILOT)),
    *(
        (
            f"association {state}",
            LockId.DEVICE_ASSOCIATION,
            [*ALL_CLEAR, associated(state)],
        )
        for state in ("preassociated", "associated", "pendingRemoval", "resting", None)
    ),
    (
        "associations refused",
        LockId.DEVICE_ASSOCIATION,
        [*ALL_CLEAR, failed(Plane.DEVICE_ASSOCIATION)],
    ),
    (
        "the association's record went, the firmware was not looked at",
        LockId.DEVICE_ASSOCIATION,
        [*ALL_CLEAR, associated("associated", REMOVED), absent(Plane.DEVICE_ASSOCIATION)],
    ),
    ("enrolled still", LockId.INTUNE, without(Plane.INTUNE, found(Plane.INTUNE, **FREE))),
    (
        "retiring",
        LockId.INTUNE,
        without(Plane.INTUNE, found(Plane.INTUNE, **(FREE | {"managementState": "retirePending"}))),
    ),
    (
        "Intune's clear is too old",
        LockId.INTUNE,
        without(Plane.INTUNE, absent(Plane.INTUNE, NOW - timedelta(days=8))),
    ),
    ("an object in the directory", LockId.ENTRA, without(Plane.ENTRA, joined())),
    ("the directory refused", LockId.ENTRA, without(Plane.ENTRA, failed(Plane.ENTRA))),
    ("a computer object", LockId.ACTIVE_DIRECTORY, without(Plane.ENTRA, PAIR)),
    (
        "co-managed once",
        LockId.CONFIGURATION_MANAGER,
        [
            found(
                Plane.INTUNE,
                REMOVED - timedelta(minutes=5),
                **FREE,
                managementAgent="configurationManagerClientMdm",
            ),
            *ALL_CLEAR,
        ],
    ),
    (
        "its firmware was managed",
        LockId.DEVICE_FIRMWARE,
        [
            found(
                Plane.INTUNE,
                REMOVED - timedelta(minutes=5),
                deviceFirmwareConfigurationInterfaceManaged=True,
            ),
            *ALL_CLEAR,
        ],
    ),
    (
        "no record of Intune was ever seen",
        LockId.DEVICE_FIRMWARE,
        [one for one in ALL_CLEAR if one is not ENROLLED_BEFORE],
    ),
    (
        "Intune did not say whether its firmware is managed",
        LockId.DEVICE_FIRMWARE,
        [
            found(Plane.INTUNE, REMOVED - timedelta(hours=1), managementState="managed"),
            *(one for one in ALL_CLEAR if one is not ENROLLED_BEFORE),
        ],
    ),
    (
        "a corporate identifier",
        LockId.CORPORATE_IDENTIFIER,
        [ENROLLED_BEFORE, *CLEAN, side(Plane.INTUNE, Subject.CORPORATE_IDENTIFIER)],
    ),
    (
        "nobody looked for an identifier",
        LockId.CORPORATE_IDENTIFIER,
        [ENROLLED_BEFORE, *CLEAN],
    ),
]


@pytest.mark.parametrize(("name", "lock", "probes"), OPEN, ids=[row[0] for row in OPEN])
def test_one_lock_that_is_open_or_not_verified_keeps_a_device_from_being_released(
    name: str, lock: LockId, probes: list[Probe]
) -> None:
    found_ = judged(facts(*probes))
    assert not found_.released, name
    assert lock in {one.id for one in found_.locks if is_open(one.id, one.status)}, name


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"outcome": Outcome.PENDING}, "not settled"),
        ({"outcome": Outcome.UNKNOWN}, "not settled"),
        ({"outcome": Outcome.AMBIGUOUS}, "not certain"),
        ({"outcome": Outcome.DUPLICATE}, "second time"),
        ({"outcome": Outcome.NOT_OWNED}, "Another organisation"),
        ({"flags": frozenset({Flag.HELD})}, "holds this device back"),
        ({"flags": frozenset({Flag.OTHER_ORGANISATION_AT_SETUP})}, "Another organisation"),
        ({"serial_number": None}, "serial number"),
        ({"serial_number": "To be filled by O.E.M."}, "not certain"),
    ],
)
def test_what_no_lock_says_keeps_a_device_from_being_released_too(
    more: dict[str, Any], word: str
) -> None:
    found_ = judged(facts(*ALL_CLEAR, **more))
    assert not found_.released
    assert any(word in one for one in found_.obstacles)


def test_what_the_customer_reports_done_is_not_clear() -> None:
    told = Probe(
        plane=Plane.INTUNE,
        result=ProbeResult.ABSENT,
        observed_at=NOW,
        source=EvidenceSource.CUSTOMER,
    )
    device = facts(*without(Plane.INTUNE, told))
    assert not judged(device).released
    assert statuses(device)["intune"] != "clear"


def test_a_person_at_the_device_clears_what_no_service_shows() -> None:
    unseen = [one for one in ALL_CLEAR if one is not ENROLLED_BEFORE]
    opened = facts(*unseen, statement(Flag.FIRMWARE_OPEN, NOW))
    assert judged(opened).released
    (firmware,) = [one for one in judged(opened).locks if one.id is LockId.DEVICE_FIRMWARE]
    assert (firmware.source, firmware.checked_at) == (EvidenceSource.PERSON, NOW)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("lock", LockId)
def test_released_needs_every_lock_named_and_clear(lock: LockId, status: Status) -> None:
    all_clear = dict.fromkeys(LockId, Status.CLEAR)
    passes = status is Status.CLEAR or (
        status is Status.NOT_APPLICABLE and lock not in ALWAYS_APPLY
    )
    assert may_be_released((all_clear | {lock: status}).items()) is passes
    assert is_open(lock, status) is not passes
    assert not may_be_released((one, Status.CLEAR) for one in LockId if one is not lock)


@pytest.mark.slow
@settings(max_examples=300)
@given(ANY_FACTS)
def test_released_rests_on_looks_of_our_own_for_all_evidence(device: DeviceFacts) -> None:
    found_ = judged(device)
    if not found_.released:
        return
    for plane in (Plane.AUTOPILOT, Plane.DEVICE_ASSOCIATION, Plane.INTUNE, Plane.ENTRA):
        newest = [
            one
            for one in device.probes
            if one.plane is plane
            and one.subject is Subject.DEVICE
            and (one.source is not EvidenceSource.CUSTOMER)
        ][-1]
        assert newest.result is ProbeResult.ABSENT
    assert Flag.HELD not in device.flags


@pytest.mark.slow
@settings(max_examples=200)
@given(ANY_FACTS)
def test_nothing_is_released_once_the_newest_look_failed(device: DeviceFacts) -> None:
    later = NOW + timedelta(days=30)
    for plane in (Plane.AUTOPILOT, Plane.DEVICE_ASSOCIATION, Plane.INTUNE, Plane.ENTRA):
        blind = replace(device, probes=(*device.probes, failed(plane, later)))
        assert not judged(blind).released
