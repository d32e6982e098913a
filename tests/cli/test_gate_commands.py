"""What every command refuses: other places, weaker guards, forged rows and plans."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from partner_tools.json_forms import digest
from partner_tools.runs.context import RunOptions
from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.workspace.environment import this_account
from tests.cli.program import CONTOSO, Program, customer, outcomes, program_for, world

VIA = ("--via", "partner-center", "--customer", CONTOSO)
NOW = ("--yes", "--settle", "0")


def seeded() -> Sandbox:
    devices = [{"serialNumber": f"GATE-{number}"} for number in range(8)]
    return Sandbox(seed_from(world(customer({"B": devices}))))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with seeded() as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


def plan_of(program: Program, *serials: str) -> Path:
    path = program.folder / "plan.json"
    assert program("plan", program.serials(*serials), *VIA, "-o", path).exit_code == 0
    return path


def error(program: Program, *arguments: str | Path) -> str:
    """What a guard said, in one line."""
    result = program(*arguments)
    assert result.exit_code == 8, result.output
    return " ".join(result.stderr.split())


def interrupted_run(program: Program, *serials: str) -> str:
    """A run that was confirmed and whose devices were never sent: its process ended there."""
    run: str = program.json("deregister", program.serials(*serials), *VIA, *NOW, "--dry-run")["run"]
    with closing(sqlite3.connect(program.folder / "ledger.db")) as ledger, ledger:
        settings = ledger.execute("SELECT settings FROM runs WHERE run = ?", [run]).fetchone()[0]
        begun = json.dumps({**json.loads(settings), "dryRun": False})
        ledger.execute("UPDATE runs SET settings = ? WHERE run = ?", [begun, run])
    return run


def removals_of(sandbox: Sandbox) -> int:
    return sum(each.method == "DELETE" for each in sandbox.log.entries)


def test_a_plan_is_executed_at_its_own_service_only(program: Program, tmp_path: Path) -> None:
    plan = plan_of(program, "GATE-0")
    with seeded() as other:
        folder = tmp_path / "other"
        folder.mkdir()
        elsewhere = program_for(other, folder)

        refused = error(elsewhere, "deregister", "--plan", plan, *NOW)

        assert "belongs to another place" in refused
        assert removals_of(other) == 0


def test_a_run_is_resumed_and_verified_at_its_own_service_only(
    program: Program, tmp_path: Path
) -> None:
    run = interrupted_run(program, "GATE-0")
    with seeded() as other:
        address = other.announce()["environment"]["PARTNER_TOOLS_PARTNER_CENTER_URL"]
        moved = Program(
            program.folder,
            {**program.environment, "PARTNER_TOOLS_PARTNER_CENTER_URL": address},
        )
        for command in (("resume", run, "--yes"), ("verify", run)):
            assert "belongs to another place" in error(moved, *command)
        assert not other.log.entries


def test_another_partners_token_is_another_place(program: Program, sandbox: Sandbox) -> None:
    run = interrupted_run(program, "GATE-0")
    before = removals_of(sandbox)
    token = "eyJhbGciOiJub25lIn0.eyJ0aWQiOiIwMDAwMDAwMC0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEifQ."
    other = Program(program.folder, {**program.environment, "PARTNER_TOOLS_ACCESS_TOKEN": token})

    refused = error(other, "resume", run, "--yes")

    assert "its partner tenant is" in refused
    assert removals_of(sandbox) == before


def test_a_run_is_not_resumed_without_the_hold_list_it_was_begun_with(program: Program) -> None:
    config = program.folder / "partner-tools.toml"
    config.write_text('[default.guards]\nhold_list = "hold.txt"\n', encoding="utf-8")
    (program.folder / "hold.txt").write_text("GATE-7\n", encoding="utf-8")
    run = interrupted_run(program, "GATE-0")
    config.write_text("", encoding="utf-8")

    assert "there was a hold list" in error(program, "resume", run, "--yes")


def test_a_device_that_joins_the_hold_list_is_not_sent_on_resume(program: Program) -> None:
    config = program.folder / "partner-tools.toml"
    config.write_text('[default.guards]\nhold_list = "hold.txt"\n', encoding="utf-8")
    (program.folder / "hold.txt").write_text("GATE-7\n", encoding="utf-8")
    run = interrupted_run(program, "GATE-0", "GATE-1")
    (program.folder / "hold.txt").write_text("gate-1\n", encoding="utf-8")

    document = program.json("resume", run, "--yes", exit_code=7)

    assert outcomes(document) == {"GATE-0": "removed", "GATE-1": "refused"}


def test_an_edited_target_is_not_sent(program: Program, sandbox: Sandbox) -> None:
    """A row of the ledger names another registration than the sealed plan."""
    run = interrupted_run(program, "GATE-0", "GATE-1")
    with closing(sqlite3.connect(program.folder / "ledger.db")) as ledger, ledger:
        other = ledger.execute("SELECT target FROM devices WHERE run = ? AND idx = 1", [run])
        ledger.execute(
            "UPDATE devices SET target = ? WHERE run = ? AND idx = 0", [other.fetchone()[0], run]
        )

    document = program.json("resume", run, "--yes", exit_code=7)

    assert outcomes(document) == {"GATE-0": "refused", "GATE-1": "removed"}
    assert removals_of(sandbox) == 1


def test_a_device_that_no_plan_names_is_not_sent(program: Program, sandbox: Sandbox) -> None:
    run = interrupted_run(program, "GATE-0", "GATE-1")
    with closing(sqlite3.connect(program.folder / "ledger.db")) as ledger, ledger:
        columns = "row, serial_number, product_key_id, device, customer, target, found, state"
        ledger.execute(
            f"INSERT INTO devices (run, idx, {columns}, outcome, history) "  # noqa: S608
            f"SELECT run, 2, {columns}, outcome, history FROM devices WHERE run = ? AND idx = 1",
            [run],
        )

    program("resume", run, "--yes")

    assert removals_of(sandbox) == 2


def test_a_stored_plan_that_the_chain_does_not_name_sends_nothing(
    program: Program, sandbox: Sandbox
) -> None:
    run = interrupted_run(program, "GATE-0")
    with closing(sqlite3.connect(program.folder / "ledger.db")) as ledger, ledger:
        text = ledger.execute("SELECT text FROM plans WHERE run = ?", [run]).fetchone()[0]
        plan = {**json.loads(text), "reason": "resale"}
        del plan["digest"]
        forged = json.dumps({**plan, "digest": digest(plan)})
        ledger.execute("UPDATE plans SET text = ? WHERE run = ?", [forged, run])

    program("resume", run, "--yes")

    assert removals_of(sandbox) == 0


def test_a_plan_with_a_forged_customer_is_shown_and_counted_as_the_service_has_it(
    program: Program, tmp_path: Path
) -> None:
    """Sealed again, with another name and a large estate: the share guard sees the real one."""
    plan = json.loads(plan_of(program, *(f"GATE-{n}" for n in range(6))).read_text())
    plan["customers"][0] |= {"name": "Tokyo", "domain": "tokyo.example", "estate": 1000}
    del plan["digest"]
    forged = tmp_path / "forged.json"
    forged.write_text(json.dumps({**plan, "digest": digest(plan)}), encoding="utf-8")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "partner-tools.toml").write_text(
        "[default.guards]\nmax_estate_share = 0.5\n", encoding="utf-8"
    )
    other = Program(
        folder,
        {
            **program.environment,
            "PARTNER_TOOLS_LEDGER": str(folder / "ledger.db"),
            "PARTNER_TOOLS_CONFIG": str(folder / "partner-tools.toml"),
        },
    )

    refused = error(other, "deregister", "--plan", forged, *NOW)

    assert "6 of" in refused
    assert "Tokyo" not in refused


def test_two_runs_cannot_overdraw_a_daily_limit_together(program: Program) -> None:
    """The first run holds room for what it has not removed yet."""
    (program.folder / "partner-tools.toml").write_text(
        "[default.limits]\nmax_devices_per_day = 5\n", encoding="utf-8"
    )
    first = interrupted_run(program, "GATE-0", "GATE-1", "GATE-2")
    with closing(sqlite3.connect(program.folder / "ledger.db")) as ledger, ledger:
        at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        ledger.execute(
            "UPDATE runs SET started_at = ?, state = 'interrupted' WHERE run = ?", [at, first]
        )

    batch = program.serials("GATE-3", "GATE-4", "GATE-5")
    refused = error(program, "deregister", batch, *VIA, *NOW)

    assert "above the daily limit of 5" in refused
    assert program("resume", first, "--yes").exit_code == 0


def test_the_account_is_the_operating_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    before = this_account()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "intern")

    assert this_account() == before
    if sys.platform != "win32":
        assert before.id == f"{os.geteuid()}@{socket.gethostname()}"


def test_a_list_of_another_customer_is_refused(program: Program, sandbox: Sandbox) -> None:
    strangers = [f"OTHER-{letter}" for letter in "ABCDEFGHIJKL"]
    batch = program.serials("GATE-0", *strangers)

    for command in (("deregister", batch, *VIA, *NOW), ("plan", batch, *VIA, "-o", "plan.json")):
        refused = error(program, *command)
        assert "only 1 of 13 devices are registered for the named customer" in refused
    assert removals_of(sandbox) == 0
    assert program("deregister", batch, *VIA, *NOW, "--min-found", "0").exit_code == 7


def test_a_run_that_was_refused_for_its_customer_is_refused_again_by_resume(
    program: Program, sandbox: Sandbox
) -> None:
    batch = program.serials("GATE-0", *(f"OTHER-{letter}" for letter in "ABCDEFGHIJKL"))
    error(program, "deregister", batch, *VIA, *NOW)
    run = program.json("runs")["runs"][0]["run"]

    assert "only 1 of 13 devices" in error(program, "resume", run, "--yes")
    assert removals_of(sandbox) == 0


def test_a_run_that_may_find_few_may_do_so_when_it_is_resumed() -> None:
    options = RunOptions(min_found=0.0)

    assert RunOptions.restored(options.stored()).min_found == 0.0


def test_a_missing_configuration_is_said_before_something_is_removed(program: Program) -> None:
    environment = {**program.environment}
    del environment["PARTNER_TOOLS_CONFIG"]
    unconfigured = Program(program.folder, environment)

    done = unconfigured("deregister", unconfigured.serials("GATE-0"), *VIA, *NOW)

    assert done.exit_code == 0, done.output
    assert done.stderr.count("no configuration file was found") == 1
