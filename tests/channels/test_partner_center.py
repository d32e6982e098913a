"""Lists of Partner Center that name something more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import FABRIKAM, customer, program_for, world

DOMAIN = "contoso.onmicrosoft.com"
ONE = {"id": "d-1", "serialNumber": "S1"}
OTHER = {"id": "d-2", "serialNumber": "S2"}


def planned(folder: Path, *customers: dict[str, Any], exit_code: int = 0) -> str:
    """What the plan says of removing S1 from Contoso, named by its domain."""
    with Sandbox(seed_from(world(*customers))) as sandbox:
        program = program_for(sandbox, folder)
        found = program.json(
            *("plan", program.serials("S1"), "--via", "partner-center", "--customer", DOMAIN),
            *("-o", folder / "plan.json"),
            exit_code=exit_code,
        )
        (device,) = found["devices"]
        return str(device["detail"] or device["outcome"])


def test_a_customer_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    twice = customer({"B": [ONE]})
    assert planned(tmp_path, twice, twice) == "pending"


def test_two_customers_of_one_domain_stay_ambiguous(tmp_path: Path) -> None:
    other = customer({}, tenant=FABRIKAM)
    refused = planned(tmp_path, customer({"B": [ONE]}), other, exit_code=3)
    assert f"several customers are called '{DOMAIN}'" in refused


def test_a_device_that_a_page_repeats_is_one(tmp_path: Path) -> None:
    assert planned(tmp_path, customer({"B": [ONE, ONE, OTHER]})) == "pending"


@pytest.mark.parametrize("different", [{"serialNumber": "S9"}, {"modelName": "Other"}])
def test_one_id_for_two_different_devices_is_no_list(
    tmp_path: Path, different: dict[str, str]
) -> None:
    contradiction = customer({"B": [ONE, {**ONE, **different}]})
    assert "names d-1 twice, and differently" in planned(tmp_path, contradiction, exit_code=5)
