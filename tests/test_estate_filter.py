"""Looking at an estate: each filter alone, and what is not known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from partner_tools.estate_filter import EstateFilter, narrowed
from partner_tools.model import Customer, Estate, Registration, Target, TenantId


def found(device: str, batch: str = "B1", **more: Any) -> Registration:
    return Registration(target=Target(batch_id=batch, device_id=device), **more)


ESTATE = Estate(
    customer=Customer(tenant_id=TenantId("t")),
    registrations=(
        found("1", serial_number="SN-1", model="Latitude 7440", manufacturer="Dell Inc."),
        found("2", "B2", serial_number=" SN-2 ", uploaded_at="2026-01-01T00:30:00.1234567+01:00"),
        found("3", serial_number="SN-11", allowed_operations=("get",)),
        found("4", allowed_operations=("get", "delete"), uploaded_at="2026-02-01T00:00:00"),
        found("5", uploaded_at="yesterday"),
    ),
    observed_at=datetime(2026, 4, 17, tzinfo=UTC),
)
JANUARY = datetime(2026, 1, 1)  # noqa: DTZ001 - as click gives it


@pytest.mark.parametrize(
    ("wanted", "devices"),
    [
        ({}, "12345"),
        ({"serial": ("SN-1",)}, "1"),
        ({"serial": ("SN-2", "SN-1")}, "12"),
        ({"serial": ("sn-1",)}, ""),
        ({"batch": "B2"}, "2"),
        ({"batch": "b2"}, ""),
        ({"model": "LATITUDE"}, "1"),
        ({"manufacturer": "dell"}, "1"),
        ({"removable": True}, "1245"),
        ({"removable": False}, "3"),
        ({"uploaded_since": JANUARY}, "4"),
        ({"uploaded_until": JANUARY}, "2"),
        ({"model": "Latitude", "serial": ("SN-2",)}, ""),
    ],
)
def test_only_what_is_wanted_is_left(wanted: dict[str, Any], devices: str) -> None:
    left = narrowed(ESTATE, EstateFilter(**wanted)).registrations

    assert "".join(each.target.device_id for each in left) == devices
