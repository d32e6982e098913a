"""The gate: which request may be sent, by table and over random plans."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_tools.gate import IntendedRequest, may_send
from partner_tools.model import Device, Identity, Outcome, PlannedDevice, Target, TenantId

TENANT = TenantId("8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21")
TARGET = Target(batch_id="B", device_id="d1")
IDENTITY = Identity(serial_number="SN-1", manufacturer="HP", model="X", product_key_id="33")
PLANNED = PlannedDevice(
    index=1,
    device=Device(row=2, identity=IDENTITY),
    customer=TENANT,
    outcome=Outcome.PENDING,
    target=TARGET,
)
REQUEST = IntendedRequest(index=1, identity=IDENTITY, customer=TENANT, target=TARGET)
SEALED = {1: PLANNED}
NONE: frozenset[str] = frozenset()


def test_what_the_sealed_plan_names_may_be_sent() -> None:
    assert may_send(REQUEST, SEALED, NONE) is None


@pytest.mark.parametrize(
    ("request_", "sealed", "held", "rule"),
    [
        (replace(REQUEST, index=2), SEALED, NONE, "not-in-plan"),
        (REQUEST, {}, NONE, "not-in-plan"),
        (
            REQUEST,
            {1: replace(PLANNED, outcome=Outcome.AMBIGUOUS)},
            NONE,
            "not-in-plan",
        ),
        (
            replace(REQUEST, target=replace(TARGET, device_id="d2")),
            SEALED,
            NONE,
            "differs-from-plan",
        ),
        (replace(REQUEST, target=None), SEALED, NONE, "differs-from-plan"),
        (replace(REQUEST, customer="another"), SEALED, NONE, "differs-from-plan"),
        (
            replace(REQUEST, identity=replace(IDENTITY, serial_number="SN-2")),
            SEALED,
            NONE,
            "differs-from-plan",
        ),
        (
            replace(REQUEST, identity=replace(IDENTITY, model="Y")),
            SEALED,
            NONE,
            "differs-from-plan",
        ),
        (REQUEST, SEALED, frozenset({"sn-1"}), "hold-list"),
        (REQUEST, SEALED, frozenset({"33"}), "hold-list"),
    ],
)
def test_what_may_not_be_sent(
    request_: IntendedRequest,
    sealed: dict[int, PlannedDevice],
    held: frozenset[str],
    rule: str,
) -> None:
    refusal = may_send(request_, sealed, held)

    assert refusal is not None
    assert refusal.rule == rule
    assert refusal.detail
    assert refusal.remedy


SERIALS = st.sampled_from(["SN-1", "SN-2", "SN-3"])


@settings(max_examples=300)
@given(
    planned=st.dictionaries(st.integers(0, 3), st.tuples(SERIALS, st.booleans()), max_size=4),
    index=st.integers(0, 4),
    serial=SERIALS,
    held=st.frozensets(st.sampled_from(["sn-1", "sn-2", "sn-3"])),
)
def test_only_a_planned_device_that_is_not_held_passes(
    planned: dict[int, tuple[str, bool]], index: int, serial: str, held: frozenset[str]
) -> None:
    sealed = {
        at: replace(
            PLANNED,
            index=at,
            device=Device(row=at, identity=replace(IDENTITY, serial_number=name)),
            outcome=Outcome.PENDING if pending else Outcome.NOT_FOUND,
        )
        for at, (name, pending) in planned.items()
    }
    request = replace(REQUEST, index=index, identity=replace(IDENTITY, serial_number=serial))

    passes = may_send(request, sealed, held) is None

    assert passes == (planned.get(index) == (serial, True) and serial.casefold() not in held)
