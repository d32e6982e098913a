"""`verify --outstanding`: whom to chase over all runs, and the e-mails that nobody sends."""

from __future__ import annotations

import email
import json
from collections.abc import Iterator
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, world
from tests.cli.test_repeated_batches import register

LATE = {"graph": {"autopilotDelete": 3600}}
"""Graph shows a removed device for longer than any of these tests lasts."""

MACHINES: list[dict[str, Any]] = [
    {"serialNumber": "C-0", "join": "entra-joined", "managedDevice": {}},
]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    seed = world(
        customer(
            {"B": [{"serialNumber": f"C-{number}"} for number in range(4)]},
            graph={"machines": MACHINES},
        ),
        customer({"B": [{"serialNumber": "F-0"}]}, tenant=FABRIKAM, domain="fabrikam.example"),
    )
    with Sandbox(seed_from(seed), faults_from(LATE)) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(
        sandbox,
        tmp_path,
        PARTNER_TOOLS_GRAPH_TOKEN=sandbox.tokens["graphRead:contoso.onmicrosoft.com"],
        PARTNER_TOOLS_PARTNER_NAME="Northwind\nBcc: a@b.example",
        PARTNER_TOOLS_PARTNER_CONTACT="help@northwind.example",
    )


def remove(program: Program, rows: str, exit_code: int = 0) -> str:
    document = program.json(
        *("deregister", program.batch(f"Serial number,Customer\n{rows}")),
        *("--via", "partner-center", "--yes", "--settle", "0"),
        exit_code=exit_code,
    )
    return str(document["run"])


def outstanding(program: Program, *more: str | Path, exit_code: int = 0) -> dict[str, Any]:
    """What is printed. The exit code may be 7 as well: Graph shows a removed device for a while."""
    result = program("verify", "--outstanding", *more, "--output", "json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code in {exit_code, 7}
    assert checker("outstanding").violations(document) == ()
    return document


def test_nothing_is_open_in_an_empty_ledger(program: Program) -> None:
    assert outstanding(program)["customers"] == []
    assert "nothing is open" in program("verify", "--outstanding").stdout


def test_customers_are_listed_with_what_is_open_and_the_newest_run_speaks(
    program: Program,
) -> None:
    contoso, fabrikam = "contoso.onmicrosoft.com", "fabrikam.example"
    first = remove(program, f"C-0,{contoso}\nC-9,{contoso}\nF-0,{fabrikam}\n", exit_code=7)
    second = remove(program, f"C-1,{contoso}\nC-9,{contoso}\n", exit_code=7)

    document = outstanding(program)
    found = {each["customer"]["domain"]: each for each in document["customers"]}

    assert document["customers"][0]["customer"]["domain"] == contoso  # it has something to do
    assert found[contoso]["runs"] == [second, first]
    assert found[contoso]["steps"]["delete-from-intune"] == 1
    assert found[contoso]["statuses"]["outstanding"] >= 1
    assert found[fabrikam]["devices"] == 1
    assert set(found[fabrikam]["statuses"]) == {"not-verified"}
    assert "1 device of Fabrikam" in found[fabrikam]["subject"]


def test_a_customer_is_chosen_by_its_domain_and_a_near_one_is_suggested(program: Program) -> None:
    remove(program, "C-1,contoso.onmicrosoft.com\nF-0,fabrikam.example\n")

    (only,) = outstanding(program, "--customer", "FABRIKAM.example")["customers"]
    assert only["customer"]["tenantId"] == FABRIKAM
    wrong = program("verify", "--outstanding", "--customer", "fabricam.example")
    assert wrong.exit_code == 3
    assert "did you mean fabrikam.example?" in wrong.stderr


def test_reminders_are_drafts_with_the_handoff_attached(program: Program, tmp_path: Path) -> None:
    run = remove(program, "C-0,contoso.onmicrosoft.com\n")

    outstanding(program, "--remind", tmp_path / "reminders")

    (path,) = (tmp_path / "reminders").iterdir()
    message = email.message_from_bytes(path.read_bytes(), policy=default)
    (attached,) = message.iter_attachments()
    body = message.get_body()
    assert body is not None
    assert path.suffix == ".eml"
    assert (message["X-Unsent"], message["To"], message["Bcc"]) == ("1", None, None)
    assert message["From"].addresses[0].addr_spec == "help@northwind.example"
    assert attached.get_filename() == f"handoff-contoso.onmicrosoft.com-{run}.html"
    assert "<html" in attached.get_content()
    assert "A partner's removal ends the Autopilot registration only." in body.get_content()


def test_a_run_that_cannot_be_looked_at_stops_no_other(
    program: Program, sandbox: Sandbox, tmp_path: Path
) -> None:
    remove(program, "C-1,contoso.onmicrosoft.com\n")
    lost = remove(program, "F-0,fabrikam.example\n")
    # A token that states no tenant speaks for another partner than the one that removed them.
    blind = program_for(sandbox, tmp_path, PARTNER_TOOLS_ACCESS_TOKEN="expired")

    document = outstanding(blind, exit_code=8)

    assert [each["customer"]["tenantId"] for each in document["customers"]] == [CONTOSO, FABRIKAM]
    assert lost in {each["run"] for each in document["failures"]}


@pytest.mark.parametrize(
    "arguments",
    [("verify",), ("verify", "RUN", "--outstanding"), ("verify", "RUN", "--remind", "x")],
)
def test_a_run_or_all_of_them(program: Program, arguments: tuple[str, ...]) -> None:
    assert program(*arguments).exit_code == 2


def test_a_removal_outranks_later_runs_that_do_not_find_the_device(program: Program) -> None:
    """The same list handed in twice asks the customer for nothing that is done."""
    contoso = "contoso.onmicrosoft.com"
    first = remove(program, f"C-0,{contoso}\n")
    second = remove(program, f"c-0,{contoso}\nC-1,{contoso}\n", exit_code=7)

    (found,) = outstanding(program)["customers"]

    assert (found["runs"], found["devices"]) == ([second, first], 2)
    assert "deregister-from-autopilot" not in found["steps"]


def test_a_run_that_found_nothing_enters_no_reminder(program: Program) -> None:
    remove(program, "X-1,contoso.onmicrosoft.com\n", exit_code=7)
    assert outstanding(program)["customers"] == []


def test_dismissed_steps_are_listed_no_more_until_the_device_is_back(
    program: Program, sandbox: Sandbox
) -> None:
    run = remove(program, "C-1,contoso.onmicrosoft.com\n")
    assert program("runs", "dismiss", run).exit_code == 2
    told = program("runs", "dismiss", run, "--reason", "recycled\x1b[2J")
    assert (told.exit_code, "\x1b" in told.output) == (0, False)

    assert outstanding(program)["customers"] == []
    (listed,) = program.json("runs")["runs"]
    assert listed["dismissed"]["reason"] == "recycled\x1b[2J"
    assert "dismissed" in program("runs").stdout

    register(sandbox, "C-1")
    program("verify", run)
    assert [each["stillListed"] for each in outstanding(program)["customers"]] == [1]


def test_only_a_run_that_is_over_has_steps_to_dismiss(program: Program) -> None:
    planned = program.json(
        *("deregister", program.serials("C-1"), "--via", "partner-center"),
        *("--customer", "contoso.onmicrosoft.com", "--dry-run"),
    )
    refused = program("runs", "dismiss", planned["run"], "--reason", "no more")
    assert (refused.exit_code, "no outstanding steps" in refused.stderr) == (3, True)
