"""`verify --evidence`: what the customer did comes back to a partner who cannot look there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, world

DOMAIN = "contoso.onmicrosoft.com"
JOINED: dict[str, Any] = {"join": "entra-joined", "managedDevice": {}}
MACHINES = [
    {"serialNumber": "KEYS1", **JOINED, "recoveryKeys": 1},
    {"serialNumber": "KEYS2", **JOINED},
    {"serialNumber": "OWN1", "windowsAutopilotDeviceIdentity": {}},
]
QUICK = {"autopilotDelete": 0, "sync": 0, "checkIn": 0}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    devices = [{"serialNumber": serial} for serial in ("KEYS1", "KEYS2")]
    seed = world(
        customer({"b": devices}, graph={"machines": MACHINES}),
        customer({"b": [{"serialNumber": "F-0"}]}, tenant=FABRIKAM, domain="fabrikam.example"),
    )
    with Sandbox(seed_from(seed), faults_from({"rules": [], "graph": QUICK})) as running:
        yield running


@pytest.fixture
def partner(sandbox: Sandbox, tmp_path: Path) -> Program:
    """The partner's program: no access to any customer's tenant."""
    folder = tmp_path / "partner"
    folder.mkdir()
    return program_for(sandbox, folder)


@pytest.fixture
def sent(partner: Program, tmp_path: Path) -> Path:
    """The handoff of a removal: its JSON file."""
    done = partner.json(
        *("deregister", partner.serials("KEYS1", "KEYS2", "OWN1"), "--via", "partner-center"),
        *("--customer", CONTOSO, "--yes", "--settle", "0"),
        exit_code=7,
    )
    written = partner("report", done["run"], "-o", tmp_path / "sent", "--format", "json")
    assert written.exit_code == 0, written.output
    (file,) = (tmp_path / "sent").glob("*.json")
    return file


@pytest.fixture
def results(sandbox: Sandbox, sent: Path, tmp_path: Path) -> Path:
    """What the customer's cleanup wrote."""
    folder = tmp_path / "customer"
    folder.mkdir()
    token = sandbox.tokens[f"graph:{DOMAIN}"]
    own = program_for(sandbox, folder, PARTNER_TOOLS_GRAPH_TOKEN=token)
    options = ("--apply", "--yes", "--keys-saved", "--format", "json", "--report", folder)
    done = own("cleanup", sent, *options)
    assert done.exit_code == 0, done.output
    (file,) = folder.glob("handoff-result-*.json")
    return file


def changed(results: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The results file with something changed in it."""
    document = json.loads(results.read_text(encoding="utf-8"))
    change(document)
    results.write_text(json.dumps(document), encoding="utf-8")
    return results


def refused(partner: Program, results: Path, rule: str, *arguments: str) -> str:
    """What is said of a file that is refused; nothing of it is in the ledger afterwards."""
    before = partner("trace", "KEYS1", "--output", "json").stdout
    done = partner("verify", *arguments, "--evidence", results, "--output", "json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["rule"]) == (3, rule), done.output
    assert partner("trace", "KEYS1", "--output", "json").stdout == before
    return f"{error['message']} {error['remedy']}"


def test_a_cleanup_closes_what_the_partner_cannot_see(
    partner: Program, results: Path, sent: Path
) -> None:
    document = json.loads(results.read_text(encoding="utf-8"))
    assert checker("handoff-result").violations(document) == ()
    (open_before,) = json.loads(partner("verify", "--outstanding", "--output", "json").stdout)[
        "customers"
    ]
    assert open_before["devices"] == 3

    taken = partner.json("verify", "--evidence", results)

    assert checker("verify-evidence").violations(taken) == ()
    assert (taken["devices"], taken["done"], taken["openSteps"]) == (3, 3, {})
    after = partner("verify", "--outstanding", "--output", "json")
    assert (after.exit_code, json.loads(after.stdout)["customers"]) == (0, [])


def test_what_is_reported_is_shown_as_reported_and_never_as_clear(
    partner: Program, results: Path, sent: Path, tmp_path: Path
) -> None:
    assert partner("verify", "--evidence", results).exit_code == 0
    run = json.loads(sent.read_text(encoding="utf-8"))["run"]["id"]
    partner("report", run, "-o", tmp_path / "again")
    (file,) = (tmp_path / "again").glob("*.json")
    document = json.loads(file.read_text(encoding="utf-8"))

    assert checker("handoff").violations(document) == ()
    keys = document["devices"][0]
    assert {keys["planes"][plane]["status"] for plane in ("intune", "entra")} == {"reported"}
    assert {step["status"] for step in keys["steps"]} == {"reported"}
    assert all("Reported done by the customer on" in step["why"] for step in keys["steps"])
    assert document["summary"]["evidence"]["graph"] == "none"


def test_another_tenant_is_refused(partner: Program, results: Path) -> None:
    changed(results, lambda it: it.update(tenantId=FABRIKAM))
    assert FABRIKAM in refused(partner, results, "evidence-other-tenant")


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(answers="sha256:" + "0" * 64),
        lambda it: it["handoff"].update(run="20200101-000000-000000"),
        lambda it: it["devices"][0].update(serialNumber="KEYS3"),
        lambda it: it["devices"][0].update(row=77),
    ],
)
def test_another_handoff_is_refused(
    partner: Program, results: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    refused(partner, changed(results, change), "evidence-other-handoff")


def test_the_file_of_another_run_than_the_named_one_is_refused(
    partner: Program, results: Path
) -> None:
    other = partner.json(
        *("deregister", partner.batch("Serial number\nF-0\n", "other.csv")),
        *("--via", "partner-center", "--customer", FABRIKAM, "--dry-run"),
    )["run"]
    done = partner("verify", other, "--evidence", results)
    assert done.exit_code == 3
    assert "it follows run" in done.stderr


def test_the_same_file_and_an_older_one_are_refused(partner: Program, results: Path) -> None:
    assert partner("verify", "--evidence", results).exit_code == 0
    said = refused(partner, results, "evidence-older")
    assert "already imported" in said
    hour = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    refused(partner, changed(results, lambda it: it.update(updatedAt=hour)), "evidence-older")


def test_a_file_from_before_a_look_of_our_own_is_refused(
    partner: Program, sandbox: Sandbox, results: Path
) -> None:
    looking = program_for(
        sandbox, partner.folder, PARTNER_TOOLS_GRAPH_TOKEN=sandbox.tokens[f"graphRead:{DOMAIN}"]
    )
    (run,) = partner.json("runs")["runs"]
    looking("verify", run["run"], "--graph")
    hour = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    changed(results, lambda it: it.update(updatedAt=hour))
    assert "a check of our own" in refused(partner, results, "evidence-older")


KEY = "-".join(["123456"] * 8)


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it["devices"][0].update(detail=f"saved {KEY}"),
        lambda it: it["devices"][0].update(password="hunter2hunter2"),
        lambda it: it["devices"][0].setdefault("keys", {}).update(recoveryKeys=[KEY]),
        lambda it: it.update({KEY: 1}),
        lambda it: it["by"].update(account="eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."),
        lambda it: it.update(note=["-----BEGIN RSA PRIVATE KEY-----"]),
    ],
)
def test_a_secret_is_refused_and_not_repeated(
    partner: Program, results: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    said = refused(partner, changed(results, change), "evidence-secret")
    assert not any(secret in said for secret in (KEY, "hunter2", "eyJ", "BEGIN"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("no JSON", "evidence-unreadable"),
        ('{"a": 1, "a": 2}', "evidence-unreadable"),
        ("[]", "evidence-invalid"),
        ('{"schemaVersion": "2"}', "evidence-invalid"),
    ],
)
def test_what_is_no_results_file_is_refused(
    partner: Program, sent: Path, tmp_path: Path, text: str, rule: str
) -> None:
    file = tmp_path / "results.json"
    file.write_text(text, encoding="utf-8")
    refused(partner, file, rule)


def test_a_file_of_the_future_and_a_row_twice_are_refused(partner: Program, results: Path) -> None:
    text = results.read_text(encoding="utf-8")
    changed(results, lambda it: it["devices"].append(it["devices"][0]))
    refused(partner, results, "evidence-invalid")
    results.write_text(text, encoding="utf-8")
    changed(results, lambda it: it.update(updatedAt="2999-01-01T00:00:00Z"))
    assert "in the future" in refused(partner, results, "evidence-invalid")


def test_a_file_that_leaves_something_names_it(partner: Program, results: Path) -> None:
    def leave(document: dict[str, Any]) -> None:
        device = document["devices"][0]
        device.update(outcome="refused", rule="waiting-for-check-in", steps=[])
        device["planes"] = {
            "intune": {"result": "found", "observedAt": document["updatedAt"]},
            "autopilot": {"result": "failed", "observedAt": document["updatedAt"]},
        }

    done = partner("verify", "--evidence", changed(results, leave))

    assert done.exit_code == 7, done.output
    assert "2 done" in done.stdout
    assert "waiting-for-check-in: 1 device" in done.stdout
    assert "still open: Delete the device from Intune: 1 device" in done.stdout
    (customer_,) = json.loads(partner("verify", "--outstanding", "--output", "json").stdout)[
        "customers"
    ]
    assert customer_["devices"] == 1


def test_a_check_of_our_own_after_the_report_outweighs_it(
    partner: Program, sandbox: Sandbox, results: Path
) -> None:
    assert partner("verify", "--evidence", results).exit_code == 0
    (run,) = partner.json("runs")["runs"]
    looking = program_for(
        sandbox, partner.folder, PARTNER_TOOLS_GRAPH_TOKEN=sandbox.tokens[f"graphRead:{DOMAIN}"]
    )
    looking("verify", run["run"], "--graph")
    looking("report", run["run"], "-o", partner.folder / "seen", "--format", "json")
    (file,) = (partner.folder / "seen").glob("*.json")
    device = json.loads(file.read_text(encoding="utf-8"))["devices"][0]
    assert device["planes"]["intune"]["status"] == "clear"  # a look of our own says so now


@pytest.mark.parametrize("more", [("--graph",), ("--outstanding",), ("--wait", "3")])
def test_evidence_goes_with_a_run_alone(partner: Program, more: tuple[str, ...]) -> None:
    assert partner("verify", "--evidence", "x.json", *more).exit_code == 2
