"""What `inventory` says of a device: when, who, which list, which ticket, and where it is now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, sign_in_as, world

DOMAIN = "contoso.onmicrosoft.com"
AS_OF = re.compile(r"listed \d{4}-\d\d-\d\d \d\d:\d\d[+-]\d\d:\d\d")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    devices = [{"serialNumber": f"5CG000{number}", "modelName": "Notebook"} for number in range(5)]
    devices[2]["uploadedDate"] = "2026-03-02T10:11:33.2417951+01:00"
    with Sandbox(seed_from(world(customer({"B": devices})))) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A program whose ledger has a run of Avery's that was refused, and one that removed."""
    sign_in_as(monkeypatch, "avery")
    made = program_for(sandbox, tmp_path)
    named = ("--via", "partner-center", "--customer", DOMAIN, "--reference", "RMA-17")
    refused = made.batch("Serial number,Ticket\n5CG0001,T-1\n5CG0002,\n", "retired.csv")
    assert made("deregister", refused, *named).exit_code == 8
    assert made("deregister", "--serial", "5CG0003", *named, "--yes").exit_code == 0
    return made


def test_each_device_is_listed_with_the_newest_run_that_names_it(program: Program) -> None:
    document = program.json("inventory", "--customer", DOMAIN)

    assert checker("inventory").violations(document) == ()
    last = {each["serialNumber"]: each["lastRun"] for each in document["devices"]}
    assert set(last) == {"5CG0000", "5CG0001", "5CG0002", "5CG0004"}
    assert last["5CG0000"] is None
    told = last["5CG0001"]
    assert (told["state"], told["outcome"], told["reference"]) == ("refused", "pending", "T-1")
    assert Path(told["file"]).name == "retired.csv"
    assert told["account"].startswith("avery")
    assert datetime.fromisoformat(told["startedAt"]).utcoffset() is not None
    assert last["5CG0002"]["reference"] == "RMA-17"


def test_a_person_reads_when_who_which_list_and_which_ticket(program: Program) -> None:
    result = program("inventory", "--customer", DOMAIN)

    assert f"4 devices of {DOMAIN}, listed " in result.stderr
    assert AS_OF.search(result.stderr)
    lines = {line.split()[0]: line for line in result.stdout.splitlines()[2:]}
    assert re.search(r"2026-03-02 \d\d:\d\d[+-]\d\d:\d\d", lines["5CG0002"])
    assert re.search(
        r"[+-]\d\d:\d\d +avery\S* +retired\.csv +T-1 +refused, pending$", lines["5CG0001"]
    )
    assert "retired.csv" not in lines["5CG0000"]


def test_a_removed_device_is_answered_from_the_ledger(program: Program) -> None:
    asked = ("inventory", "--customer", DOMAIN, "--serial", "5CG0003", "--serial", "5CG000O")
    result = program(*asked)
    document = program.json(*asked)

    assert result.exit_code == 0
    (removed,) = (line for line in result.stderr.splitlines() if line.startswith("5CG0003"))
    assert "not registered for this customer; removed from Windows Autopilot" in removed
    assert "by avery" in removed
    assert "5CG000O: not registered for this customer; no run of this ledger names it" in (
        result.stderr
    )
    assert "did you mean 5CG0000?" in result.stderr
    answers = {each["serialNumber"]: each["answer"] for each in document["notRegistered"]}
    assert answers["5CG000O"] is None
    assert "removed from Windows Autopilot" in answers["5CG0003"]
    assert checker("inventory").violations(document) == ()


def test_the_tenant_decides_whose_device_a_run_names(tmp_path: Path) -> None:
    same = {"B": [{"serialNumber": "5CG0001"}, {"serialNumber": "5CG0002"}]}
    domain = "fabrikam.onmicrosoft.com"
    seed = world(customer(same), customer(same, tenant=FABRIKAM, domain=domain))
    with Sandbox(seed_from(seed)) as sandbox:
        program = program_for(sandbox, tmp_path)
        batch = program.batch(f"Serial number,Customer\n5CG0001,{DOMAIN}\n5CG0002,{domain}\n")
        planned = program("deregister", batch, "--via", "partner-center", "--dry-run")
        assert planned.exit_code == 0, planned.output
        named = {
            tenant: [
                each["serialNumber"]
                for each in program.json("inventory", "--customer", tenant)["devices"]
                if each["lastRun"]
            ]
            for tenant in (CONTOSO, FABRIKAM)
        }

    assert named == {CONTOSO: ["5CG0001"], FABRIKAM: ["5CG0002"]}
