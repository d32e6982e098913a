"""A batch that is handed in twice: its result again, its unfinished run resumed, or exit 3."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import requests

from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world

ESTATE = {"B": [{"serialNumber": serial} for serial in ("S1", "S2", "S3")]}


@pytest.fixture
def sandbox() -> Any:
    with Sandbox(seed_from(world(customer(ESTATE)))) as opened:
        yield opened


def order(
    program: Program, *serials: str, flags: tuple[str, ...] = (), exit_code: int = 0
) -> dict[str, Any]:
    return program.json(
        *("deregister", program.serials(*serials), "--via", "partner-center", "--yes"),
        *("--customer", CONTOSO, "--batch-id", "RMA-1", "--settle", "0", *flags),
        exit_code=exit_code,
    )


def removals(sandbox: Sandbox) -> int:
    return len(sandbox.log.of("delete-device"))


def test_a_completed_batch_prints_its_result_again(sandbox: Sandbox, tmp_path: Path) -> None:
    program = program_for(sandbox, tmp_path)
    first = order(program, "S1", "S2")
    again = order(program, "S1", "S2")
    assert (again["run"], again["reprinted"], again["counts"]) == (
        first["run"],
        True,
        {"removed": 2},
    )
    assert checker("result").violations(again) == ()
    assert removals(sandbox) == 2


def test_other_content_under_the_same_id_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    program = program_for(sandbox, tmp_path)
    order(program, "S1")
    refused = order(program, "S2", exit_code=3)
    assert refused["error"]["rule"] == "batch-id-reused"
    assert order(program, "S2", flags=("--again",))["counts"] == {"removed": 1}


def test_a_preview_binds_no_batch_id(sandbox: Sandbox, tmp_path: Path) -> None:
    program = program_for(sandbox, tmp_path)
    order(program, "S1", flags=("--dry-run",))
    assert "reprinted" not in order(program, "S2")


def test_a_preview_refuses_an_id_that_another_content_has(sandbox: Sandbox, tmp_path: Path) -> None:
    """As the removal would: the preview ended with "the same command removes them"."""
    program = program_for(sandbox, tmp_path)
    order(program, "S1")
    refused = order(program, "S2", flags=("--dry-run",), exit_code=3)
    assert refused["error"]["rule"] == "batch-id-reused"
    assert order(program, "S2", flags=("--dry-run", "--again"))["counts"] == {"pending": 1}


def test_an_unfinished_run_is_resumed(sandbox: Sandbox, tmp_path: Path) -> None:
    """As a pipeline does that is started again: the same command, the same file."""
    rule = {"match": {"operation": "delete-device"}, "fault": {"kind": "redirect"}}
    sandbox.behave(faults_from({"rules": [rule]}))
    program = program_for(sandbox, tmp_path)
    stopped = order(program, "S1", "S2", "S3", exit_code=5)
    sandbox.behave(faults_from({}))
    resumed = order(program, "S1", "S2", "S3")
    assert (resumed["run"], resumed["counts"]) == (stopped["run"], {"removed": 3})


def register(sandbox: Sandbox, serial: str) -> None:
    """Register a device in its batch, and wait until that is done."""
    answer = requests.post(
        f"{sandbox.urls['partnerCenter']}/v1/customers/{CONTOSO}/deviceBatches/B/devices",
        json=[{"serialNumber": serial, "oemManufacturerName": "Contoso", "modelName": "N"}],
        headers={"Authorization": f"Bearer {sandbox.tokens['user']}"},
        timeout=10,
    )
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + 60
    while serial not in {each.device.serial_number for each in sandbox.state.devices(CONTOSO)}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_device_that_was_registered_again_is_named(sandbox: Sandbox, tmp_path: Path) -> None:
    """The reprint looks once: exit 7, and the command that removes it again."""
    program = program_for(sandbox, tmp_path)
    order(program, "S1")
    register(sandbox, "S1")
    again = order(program, "S1", exit_code=7)
    assert "still listed" in again["devices"][0]["detail"]


def test_the_same_list_for_another_customer_is_another_batch(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its result is not that of the first customer's run."""
    program = program_for(sandbox, tmp_path)
    batch = program.serials("S1", "S2")
    way = ("--via", "partner-center", "--yes", "--settle", "0")
    program.json("deregister", batch, *way, "--customer", CONTOSO)
    by_name = program.json("deregister", batch, *way, "--customer", "contoso.onmicrosoft.com")
    other = program("deregister", batch, *way, "--customer", "nobody.example")
    assert by_name["reprinted"]
    assert (other.exit_code, "its result is printed again" in other.stderr) == (3, False)
    order(program, "S3")
    named = ("--customer", "nobody.example", "--batch-id", "RMA-1")
    reused = program("deregister", program.serials("S3"), *way, *named)
    assert (reused.exit_code, "was used for another customer" in reused.stderr) == (3, True)
