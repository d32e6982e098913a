"""Planning: exactly the listed devices, and a reason for every other."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.model import (
    Customer,
    Device,
    Estate,
    Identity,
    Outcome,
    PlannedDevice,
    Registration,
    Target,
    TenantId,
)
from partner_tools.plan import Unserved, changes, counts, index, notes_on, resolve

TENANT = TenantId("8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21")
CONTOSO = Customer(tenant_id=TENANT, domain="contoso.onmicrosoft.com")
AT = datetime(2026, 4, 17, 10, 15, tzinfo=UTC)


def found(
    device_id: str, serial: str | None = None, batch: str = "B1", **more: object
) -> Registration:
    return Registration(
        target=Target(batch_id=batch, device_id=device_id),
        serial_number=serial,
        **more,  # type: ignore[arg-type]
    )


def estate(*registrations: Registration) -> Estate:
    return Estate(customer=CONTOSO, registrations=registrations, observed_at=AT)


def row(number: int = 2, *, customer: str | None = None, **identity: str | None) -> Device:
    return Device(row=number, identity=Identity(**identity), customer=customer)


def plan(
    devices: list[Device], *registrations: Registration, **more: object
) -> tuple[PlannedDevice, ...]:
    return resolve(
        devices,
        {"contoso.onmicrosoft.com": index(estate(*registrations))},
        default_customer="Contoso.onmicrosoft.com",
        **more,  # type: ignore[arg-type]
    )


ESTATE = (
    found("d1", "PF1ABC"),
    found("d2", "PF1ABCD"),
    found("d3", "pf1abc"),
    found("d4", "TWICE", batch="B1"),
    found("d5", "TWICE", batch="B2"),
    found("d6", "LOCKED", allowed_operations=("GET", "PATCH")),
    found("d7", "FREE", allowed_operations=("get", "delete")),
    found("d8", " PADDED "),
    found("d9", "SAME", manufacturer="HP", model="A"),
    found("d10", "SAME", manufacturer="Dell", model="B"),
    found("d11", None, product_key_id="3305670000014"),
    found("d12", "KEYED", product_key_id="3305670000021"),
)


@pytest.mark.parametrize(
    ("identity", "outcome", "device_id", "rule"),
    [
        ({"serial_number": "PF1ABC"}, Outcome.PENDING, "d1", None),
        ({"serial_number": "PF1"}, Outcome.NOT_FOUND, None, "not-listed"),
        ({"serial_number": "Pf1aBC"}, Outcome.NOT_FOUND, None, "not-listed"),
        ({"serial_number": "TWICE"}, Outcome.AMBIGUOUS, None, "several-registrations"),
        ({"serial_number": "LOCKED"}, Outcome.REFUSED, "d6", "delete-not-allowed"),
        ({"serial_number": "FREE"}, Outcome.PENDING, "d7", None),
        ({"serial_number": "PADDED"}, Outcome.PENDING, "d8", None),
        ({"serial_number": "SAME"}, Outcome.AMBIGUOUS, None, "several-registrations"),
        ({"serial_number": "SAME", "manufacturer": "Dell"}, Outcome.PENDING, "d10", None),
        ({"serial_number": "SAME", "model": "C"}, Outcome.AMBIGUOUS, None, "contradiction"),
        ({"serial_number": "PF1ABC", "model": "X"}, Outcome.PENDING, "d1", None),
        ({"product_key_id": "3305670000014"}, Outcome.PENDING, "d11", None),
        (
            {"serial_number": "KEYED", "product_key_id": "3305670000014"},
            Outcome.AMBIGUOUS,
            None,
            "contradiction",
        ),
        (
            {"serial_number": "PF1ABC", "product_key_id": "3305670000021"},
            Outcome.AMBIGUOUS,
            None,
            "contradiction",
        ),
        (
            {"serial_number": "PF1ABC", "product_key_id": "3305670000014"},
            Outcome.PENDING,
            "d1",
            None,
        ),
        ({"hardware_hash": "T0E="}, Outcome.NOT_FOUND, None, "not-listed"),
    ],
)
def test_one_row_is_resolved_exactly_or_named(
    identity: dict[str, str], outcome: Outcome, device_id: str | None, rule: str | None
) -> None:
    (planned,) = plan([row(2, **identity)], *ESTATE)

    target = planned.target.device_id if planned.target else None
    assert (outcome, device_id, rule) == (planned.outcome, target, planned.rule)


def test_a_match_that_only_trimming_makes_is_said() -> None:
    (planned,) = plan([row(2, serial_number="PADDED")], *ESTATE)

    assert planned.detail is not None
    assert "trimming" in planned.detail
    assert ["only after trimming: 2" in note for note in notes_on([planned])] == [True]


def test_another_letter_case_is_not_a_match_but_is_hinted_at() -> None:
    (planned,) = plan([row(serial_number="free")], *ESTATE)

    assert planned.outcome is Outcome.NOT_FOUND
    assert "'FREE'" in (planned.detail or "")


def test_two_rows_that_name_one_registration_remove_it_once() -> None:
    devices = [
        row(2, serial_number="KEYED"),
        row(3, product_key_id="3305670000021"),
        row(4, serial_number="KEYED"),
    ]

    planned = plan(devices, *ESTATE)

    assert [Outcome.PENDING, Outcome.DUPLICATE, Outcome.DUPLICATE] == [
        each.outcome for each in planned
    ]
    assert planned[1].detail == "the same device as in row 2"


def test_a_missing_device_named_twice_is_a_duplicate_too() -> None:
    planned = plan([row(2, serial_number="NONE"), row(3, serial_number="NONE")], *ESTATE)

    assert [Outcome.NOT_FOUND, Outcome.DUPLICATE] == [each.outcome for each in planned]


def test_the_hold_list_refuses_by_serial_and_by_product_key() -> None:
    devices = [row(2, serial_number="PF1ABC"), row(3, product_key_id="3305670000014")]

    planned = plan(devices, *ESTATE, held=frozenset({"PF1ABC", "3305670000014"}))

    assert ["hold-list", "hold-list"] == [each.rule for each in planned]


def test_the_hold_list_refuses_by_what_is_registered_too() -> None:
    """A row may name a serial and the hold list the product key id of the same registration."""
    (planned,) = plan([row(2, serial_number="KEYED")], *ESTATE, held=frozenset({"3305670000021"}))

    assert (planned.outcome, planned.rule) == (Outcome.REFUSED, "hold-list")


def test_a_barred_customer_has_its_devices_refused() -> None:
    devices = [
        row(2, serial_number="PF1ABC"),
        row(3, customer="fabrikam.example", serial_number="X"),
    ]

    unserved = Unserved(
        rule="no-relationship", detail="no relationship", remedy="ask", customer=TenantId("t-2")
    )
    planned = plan(devices, *ESTATE, unserved={"fabrikam.example": unserved})

    assert [Outcome.PENDING, Outcome.REFUSED] == [each.outcome for each in planned]
    assert (planned[1].rule, planned[1].detail) == ("no-relationship", "no relationship")
    assert planned[1].customer == "t-2"


def test_what_is_planned_keeps_no_hardware_hash() -> None:
    (planned,) = plan([row(serial_number="H")], found("d1", "H", hardware_hash="T0E"))

    assert planned.found is not None
    assert planned.found.hardware_hash is None


def test_counts_say_how_much_goes() -> None:
    planned = plan([row(2, serial_number="PF1ABC"), row(3, serial_number="NONE")], *ESTATE)

    assert {"not-found": 1, "pending": 1} == counts(each.outcome for each in planned)


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ((found("d1", "PF1ABC"),), None),
        ((), None),
        ((found("d1", "OTHER"),), "serial number was 'PF1ABC'"),
        ((found("d9", "PF1ABC", batch="B7"),), "another id"),
        ((found("D-1", "OTHER"),), "another id"),
        ((found("d1", "PF1ABC", product_key_id="3305670000021"),), "not what the row names"),
    ],
)
def test_a_device_of_a_plan_that_is_not_what_it_says_is_told(
    now: tuple[Registration, ...], reason: str | None
) -> None:
    named = row(serial_number="PF1ABC", product_key_id="3305670000007")
    (planned,) = plan([named], *ESTATE)

    told = changes([planned], {TENANT: index(estate(*now))})

    assert not told if reason is None else reason in told[0]


@pytest.mark.parametrize("spelled", ["D1", "{d1}", "D-1", "(D1)"])
def test_an_id_that_is_spelled_otherwise_is_not_gone(spelled: str) -> None:
    """.NET reads one GUID in several forms; the registration is there, and is named as it is."""
    (planned,) = plan([row(serial_number="PF1ABC")], *ESTATE)
    respelled = index(estate(found(spelled, "OTHER", batch="B7")))

    told = changes([planned], {TENANT: respelled})

    assert "another id" in told[0]
    assert spelled in told[0]


def test_an_id_that_shares_only_some_characters_is_another_device() -> None:
    (planned,) = plan([row(serial_number="PF1ABC")], *ESTATE)

    assert changes([planned], {TENANT: index(estate(found("d11", "OTHER"), found("1", "X")))}) == {}


serials = st.text(alphabet="AaBb01 ", min_size=1, max_size=3)


@given(listed=st.lists(serials, max_size=8), asked=st.lists(serials, max_size=8))
def test_nothing_is_ever_planned_that_was_not_named(listed: list[str], asked: list[str]) -> None:
    registrations = [found(f"d{number}", text) for number, text in enumerate(listed)]
    devices = [row(number, serial_number=text) for number, text in enumerate(asked)]

    planned = [each for each in plan(devices, *registrations) if each.outcome is Outcome.PENDING]

    wanted = {text.strip() for text in asked}
    targets = [each.target for each in planned]
    assert len(targets) == len(set(targets))
    for each in planned:
        assert each.found is not None
        assert (each.found.serial_number or "").strip() in wanted
        assert sum(text.strip() == (each.found.serial_number or "").strip() for text in listed) == 1


@pytest.mark.parametrize(("number", "more"), [(2, None), (5, None), (6, 1), (8, 3)])
def test_at_most_five_places_are_named(number: int, more: int | None) -> None:
    many = [found(f"x{at}", "MANY", batch=f"B{at}") for at in range(number)]

    (planned,) = plan([row(serial_number="MANY")], *many)

    assert planned.outcome is Outcome.AMBIGUOUS
    assert (planned.detail or "").count("in batch") == min(number, 5)
    assert re.findall(r"and -?\d+ more", planned.detail or "") == [f"and {more} more"] * bool(more)


@pytest.mark.parametrize(("number", "outcome"), [(10, "ambiguous"), (11, "refused")])
def test_a_serial_number_of_more_than_ten_registrations_is_shared(
    number: int, outcome: str
) -> None:
    many = [
        found(f"x{at}", "MANY", product_key_id=f"33056700000{at:02}")
        for at in range(10, 10 + number)
    ]

    (by_serial,) = plan([row(serial_number="MANY")], *many)
    (by_both,) = plan([row(serial_number="MANY", product_key_id="3305670000012")], *many)

    assert by_serial.outcome == outcome
    assert by_both.outcome is Outcome.PENDING
    assert by_both.target == Target(batch_id="B1", device_id="x12")
