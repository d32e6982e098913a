"""Planning for OEM Direct, row by row: who goes, by what, and why the others stay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from partner_tools.channels.oem_direct import completed, draft, explain_assumptions
from partner_tools.errors import InputError
from partner_tools.model import Device, Identity, PlannedDevice
from tests.clients.oem_profiles import plain_profile

FULL = Identity(serial_number="S1", manufacturer="M", model="X", product_key_id="3305670000001")


def row(number: int = 2, **identity: str) -> Device:
    return Device(row=number, identity=Identity(**identity))


def plan(*devices: Device, profile: str = "", held: tuple[str, ...] = ()) -> list[PlannedDevice]:
    return list(draft(devices, plain_profile(tables=profile), held=held).devices)


def derive(_hash: str) -> Identity:
    return FULL


@pytest.mark.parametrize(
    ("identity", "profile", "outcome", "detail"),
    [
        ({"product_key_id": "3305670000001"}, "", "pending", None),
        ({"serial_number": "S", "manufacturer": "M", "model": "X"}, "", "pending", None),
        ({"serial_number": "S"}, "", "refused", "the manufacturer and the model"),
        ({"serial_number": "S", "manufacturer": "M"}, "", "refused", "a product key id and the mo"),
        ({}, "", "refused", "a product key id"),
        ({"hardware_hash": "T0E"}, "", "refused", "hardware hash, if any"),
        ({"product_key_id": "3"}, "[oem.identity]\norder=['tuple']", "refused", "serial number"),
        ({"serial_number": "S\x0b", "manufacturer": "M", "model": "X"}, "", "refused", "character"),
        ({"serial_number": "S\ud800", "manufacturer": "M", "model": "X"}, "", "refused", "serial"),
        ({"serial_number": "S", "manufacturer": "M", "model": "X\r\n"}, "", "refused", "model"),
    ],
)
def test_a_row_goes_or_says_why_not(
    identity: dict[str, str], profile: str, outcome: str, detail: str | None
) -> None:
    """What is incomplete or cannot be carried by a request stays, with a remedy."""
    (planned,) = plan(row(2, **identity), profile=profile)
    assert planned.outcome == outcome
    assert (planned.detail is None) if detail is None else detail in (planned.detail or "")
    assert bool(planned.remedy) == (outcome != "pending")


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ({"product_key_id": "1"}, {"product_key_id": "1"}, "duplicate"),
        ({"product_key_id": "1"}, {"product_key_id": "2"}, "pending"),
        ({"t": "S"}, {"t": "S"}, "duplicate"),
        ({"t": "S"}, {"t": "s"}, "pending"),
        ({"t": "S"}, {"t": "S", "product_key_id": "1"}, "duplicate"),
        ({"t": "S", "product_key_id": "1"}, {"t": "S"}, "duplicate"),
        ({"t": "S", "product_key_id": "1"}, {"t": "S", "product_key_id": "2"}, "pending"),
        ({"t": "S", "product_key_id": "1"}, {"t": "Z", "product_key_id": "1"}, "duplicate"),
        ({"serial_number": "S"}, {"serial_number": "S"}, "refused"),
    ],
)
def test_the_same_device_goes_once(
    first: dict[str, str], second: dict[str, str], outcome: str
) -> None:
    """By either identifier; after a board swap one tuple may have two product key ids."""

    def named(number: int, given: dict[str, str]) -> Device:
        identity = {key: value for key, value in given.items() if key != "t"}
        if "t" in given:
            identity |= {"serial_number": given["t"], "manufacturer": "M", "model": "X"}
        return row(number, **identity)

    planned = plan(named(2, first), named(3, second))[1]
    assert planned.outcome == outcome
    if outcome == "duplicate":
        assert planned.detail == "the same device as in row 2"


def test_the_hold_list_holds_what_only_the_hash_names() -> None:
    """A serial or a product key id, given or derived."""
    device = completed(row(hardware_hash="T0E"), derive)
    for name in ("S1", "3305670000001"):
        (planned,) = plan(device, held=(name,))
        assert (planned.outcome, planned.rule) == ("refused", "hold-list")


def test_a_hash_completes_its_row() -> None:
    """What it adds is noted in the row and in the plan."""
    device = completed(row(serial_number="S1", hardware_hash="T0E"), derive)
    assert device.identity == replace(FULL, hardware_hash="T0E")
    assert device.derived == ("manufacturer", "model", "product key id")
    found = draft([device], plain_profile())
    assert "product key id; from its hardware hash: manufacturer, model" in (
        found.devices[0].detail or ""
    )
    assert any("hardware hash" in note for note in found.notes)
    assert completed(row(serial_number="S1"), derive).derived == ()


def test_a_hash_that_says_otherwise_makes_its_row_ambiguous() -> None:
    """Every identifier of a row must agree, even where one alone would do."""
    device = completed(row(product_key_id="3305679999999", hardware_hash="T0E"), derive)
    (planned,) = plan(device)
    assert (planned.outcome, planned.rule) == ("ambiguous", "contradiction")
    assert "'3305679999999'" in (planned.detail or "")


def test_a_hash_that_cannot_be_read_adds_nothing() -> None:
    """The row counts as it stands."""

    def unreadable(_hash: str) -> Identity:
        raise InputError("cut off")

    device = row(product_key_id="1", hardware_hash="T0E")
    assert completed(device, unreadable) == device


def test_a_customer_is_noted_and_its_estate_is_not_known() -> None:
    """As given, for the handoff; the batch's where the row has none."""
    devices = [
        row(2, product_key_id="1"),
        replace(row(3, product_key_id="2"), customer="b.example"),
    ]
    found = draft(devices, plain_profile(), default_customer="a.example")
    assert [each.customer for each in found.devices] == ["a.example", "b.example"]
    assert [(each.estate, each.removals) for each in found.customers] == [(0, 1), (0, 1)]
    assert draft([row(product_key_id="1")], plain_profile()).customers == ()


def test_the_assumptions_end_with_the_confirmation() -> None:
    """They are in the plan and in the doctor's words until then."""
    assumed, confirmed = plain_profile(), plain_profile("profile_confirmed = true")
    assert any("assumed-v0" in note for note in draft([], assumed).notes)
    assert not any("assumed" in note for note in draft([], confirmed).notes)
    assert len(explain_assumptions(assumed)) > 5
    assert explain_assumptions(confirmed) == ()
