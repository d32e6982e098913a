"""`customers`, and a customer by its company name: exact and unique, or with suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, world

OTHER = "5f0e2c11-8a5d-4d0c-9b57-3b1f6d1f0a77"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    devices = {"B": [{"serialNumber": "S1"}]}
    seed = world(
        customer(devices, name="Contoso Ltd."),
        customer({}, tenant=FABRIKAM, domain="fabrikam.example", name="Fabrikam"),
        customer({}, tenant=OTHER, domain="fabrikam-two.example", name="FABRIKAM"),
    )
    with Sandbox(seed_from(seed)) as sandbox:
        yield program_for(sandbox, tmp_path)


def tenants(program: Program, *text: str) -> list[str]:
    return [each["tenantId"] for each in program.json("customers", *text)["customers"]]


def test_customers_are_listed_and_searched_in_every_part(program: Program) -> None:
    assert tenants(program) == [CONTOSO, OTHER, FABRIKAM]
    assert tenants(program, "CONTOSO.on") == tenants(program, "ltd") == [CONTOSO]
    assert tenants(program, FABRIKAM[:8]) == [FABRIKAM]
    assert "contoso.onmicrosoft.com" in program("customers", "contoso").stdout


def test_what_is_nearly_a_customer_is_suggested(program: Program) -> None:
    assert "did you mean contoso.onmicrosoft.com?" in program("customers", "contosso").stderr
    assert tenants(program, "contosso") == []


@pytest.mark.parametrize("name", ["Contoso Ltd.", "contoso ltd."])
def test_a_company_name_names_a_customer(program: Program, name: str) -> None:
    options = ("--via", "partner-center", "--customer", name, "--yes", "--settle", "0")
    done = program.json("deregister", program.serials("S1"), *options)
    assert [each["customer"] for each in done["devices"]] == [CONTOSO]
    assert len(program.json("runs", "--customer", name)["runs"]) == 1


def test_part_of_a_company_name_names_nothing_and_suggests(program: Program) -> None:
    told = program("inventory", "--customer", "Contoso")
    assert (told.exit_code, "did you mean contoso.onmicrosoft.com" in told.stderr) == (3, True)


def test_a_company_name_that_two_have_is_refused_naming_them(program: Program) -> None:
    told = program("inventory", "--customer", "Fabrikam")
    assert told.exit_code == 3
    assert f"fabrikam.example ({FABRIKAM}), fabrikam-two.example ({OTHER})" in told.stderr
