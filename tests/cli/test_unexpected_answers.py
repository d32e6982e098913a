"""Answers to a removal that no contract knows: what becomes of the device, and of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, Program, customer, outcomes, program_for, world

SERIALS = [f"C-{number}" for number in range(8)]
ESTATE = {"B": [{"serialNumber": serial, "id": f"id-{serial}"} for serial in SERIALS]}


def removed_under(
    fault: dict[str, Any], tmp_path: Path, *, exit_code: int, **match: Any
) -> tuple[Any, Program, Sandbox]:
    rule = {"match": {"operation": "delete-device", **match}, "fault": fault}
    faults = faults_from({"schemaVersion": "1", "rules": [rule]})
    (tmp_path / "partner-tools.toml").write_text("[default.limits]\nconcurrency = 1\n")
    with Sandbox(seed_from(world(customer(ESTATE))), faults) as sandbox:
        program = program_for(sandbox, tmp_path)
        document = program.json(
            *("deregister", program.serials(*SERIALS), "--via", "partner-center"),
            *("--customer", CONTOSO, "--yes", "--settle", "0"),
            exit_code=exit_code,
        )
    return document, program, sandbox


UNCONFIRMED: dict[str, dict[str, Any]] = {
    "accepted": {"kind": "status", "status": 202, "body": "empty", "processed": True},
    "null": {"kind": "status", "status": 200, "body": "text", "description": "null"},
    "page": {"kind": "not-json"},
}


@pytest.mark.parametrize("name", UNCONFIRMED)
def test_an_unconfirmed_answer_stops_no_other_device(tmp_path: Path, name: str) -> None:
    """The device is looked for, and sent again where it is still listed; the others go on."""
    fault = UNCONFIRMED[name]
    document, _, sandbox = removed_under(fault, tmp_path, serials=["C-2"], times=1, exit_code=0)
    assert set(outcomes(document).values()) <= {"removed", "absent"}
    assert sandbox.state.devices(CONTOSO) == ()


def test_a_device_that_is_never_confirmed_stays_unknown(tmp_path: Path) -> None:
    """202 to every attempt, and nothing happens: looking says that it is still listed."""
    fault = {"kind": "status", "status": 202, "body": "empty"}
    document, _, sandbox = removed_under(fault, tmp_path, serials=["C-2"], exit_code=5)
    found = outcomes(document)
    assert found.pop("C-2") == "pending"
    assert set(found.values()) == {"removed"}
    assert [each.device.serial_number for each in sandbox.state.devices(CONTOSO)] == ["C-2"]


@pytest.mark.parametrize("name", UNCONFIRMED)
def test_three_unconfirmed_answers_in_a_row_stop_the_run(tmp_path: Path, name: str) -> None:
    document, _, sandbox = removed_under(UNCONFIRMED[name], tmp_path, exit_code=5)
    assert sum(each.operation == "delete-device" for each in sandbox.log.entries) == 3
    assert document["state"] == "stopped"
    assert list(outcomes(document).values()).count("unknown") == 3


def test_a_conflict_is_told_in_the_services_words(tmp_path: Path) -> None:
    """Code 2000 speaks of the end of a list in answers to GET alone."""
    fault = {"kind": "status", "status": 409, "code": 2000, "description": "Device is in use."}
    document, _, _ = removed_under(fault, tmp_path, serials=["C-2", "C-5"], exit_code=7)
    found = {each["serialNumber"]: each for each in document["devices"]}
    assert found["C-2"]["outcome"] == found["C-5"]["outcome"] == "refused"
    assert "Device is in use." in found["C-2"]["detail"]
    assert "records" not in found["C-2"]["detail"]
    assert list(outcomes(document).values()).count("removed") == 6


def test_three_conflicts_in_a_row_stop_the_run(tmp_path: Path) -> None:
    fault = {"kind": "status", "status": 409, "description": "Conflict."}
    document, _, sandbox = removed_under(fault, tmp_path, exit_code=5)
    assert sum(each.operation == "delete-device" for each in sandbox.log.entries) == 3
    assert list(outcomes(document).values()).count("refused") == 3


def test_a_device_that_is_gone_for_good_is_absent(tmp_path: Path) -> None:
    fault = {"kind": "status", "status": 410, "body": "empty"}
    document, _, _ = removed_under(fault, tmp_path, serials=["C-2"], exit_code=7)
    assert outcomes(document)["C-2"] == "absent"
