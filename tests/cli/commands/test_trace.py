"""`trace`: where a device is now, first; then what every run did with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from partner_tools import open_workspace
from partner_tools.intake.schema import checker
from partner_tools.model import ChannelName, Outcome
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world
from tests.cli.test_repeated_batches import register


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    estate = {"B": [{"serialNumber": serial} for serial in ("5CG0001XYZ", "S2", "AbC9")]}
    with Sandbox(seed_from(world(customer(estate)))) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


def remove(program: Program, *serials: str, flags: tuple[str, ...] = ()) -> str:
    result = program(
        *("deregister", program.serials(*serials), "--via", "partner-center", "--yes"),
        *("--customer", CONTOSO, "--settle", "0", "--again", *flags),
    )
    return result.stderr.split()[1]


def test_the_first_line_says_where_the_device_is_now(program: Program, sandbox: Sandbox) -> None:
    run = remove(program, "S2")

    first = program("trace", "s2").stdout.splitlines()[0]
    assert first.startswith("S2: removed from Windows Autopilot for contoso.onmicrosoft.com on ")
    assert f"(run {run})" in first
    assert "It was no longer listed on" in first

    register(sandbox, "S2")
    assert program("verify", run).exit_code == 7
    assert "A service listed it again" in program("trace", "S2").stdout


def test_a_preview_is_not_said_to_have_done_anything(program: Program) -> None:
    remove(program, "S2", flags=("--dry-run",))
    assert program("trace", "S2").stdout.startswith("S2: only previewed for contoso.onmicrosoft")


def test_the_newest_comes_first_and_a_removal_outranks_a_later_look(program: Program) -> None:
    removed = remove(program, "S2")
    later = remove(program, "S2", flags=("--min-found", "0"))

    traced = program("trace", "S2").stdout

    assert f"(run {removed})" in traced.splitlines()[0]
    assert traced.index(f"run {later} (") < traced.rindex(f"run {removed} (")
    block = traced[traced.rindex(f"run {removed} (") :]
    assert block.index("answered") < block.index("intended") < block.index("resolved")


@pytest.mark.parametrize("typed", ["abc9", "ABC9", "AbC9", "aBc9"])
def test_any_letter_case_is_found(program: Program, typed: str) -> None:
    remove(program, "AbC9")
    document = program.json("trace", typed)
    assert [each["outcome"] for each in document["runs"]] == ["removed"]
    assert checker("trace").violations(document) == ()


def test_near_serial_numbers_are_suggested(program: Program) -> None:
    remove(program, "5CG0001XYZ")
    document = program.json("trace", "5CGOOO1XYZ")
    assert (document["answer"], document["near"], document["runs"]) == (None, ["5CG0001XYZ"], [])
    assert "did you mean 5CG0001XYZ?" in program("trace", "5CGOOO1XYZ").stderr


def test_each_run_says_when_by_whom_from_which_row_and_ticket(program: Program) -> None:
    batch = program.batch("Serial number,Ticket\nAbC9,\nS2,RET-7\n", "retired.csv")
    named = ("--via", "partner-center", "--customer", CONTOSO, "--reference", "RMA-17")
    program("deregister", batch, *named, "--dry-run")

    (origin,) = (line for line in program("trace", "S2").stdout.splitlines() if "started" in line)
    assert re.search(
        r"started \S+ \d\d:\d\d[+-]\d\d:\d\d by \S+; retired.csv row 3; RET-7$", origin
    )
    assert "retired.csv row 2; RMA-17" in program("trace", "AbC9").stdout
    document = program.json("trace", "S2")
    assert checker("trace").violations(document) == ()
    (run,) = document["runs"]
    assert (Path(run["file"]).name, run["reference"], run["state"]) == (
        "retired.csv",
        "RET-7",
        "dry-run",
    )


def test_a_cleanup_that_left_the_device_alone_takes_back_no_removal(program: Program) -> None:
    remove(program, "S2")
    with open_workspace(environment=program.environment) as workspace:
        (removal,) = workspace.trace("S2")
        history = replace(removal.device.history, outcome=Outcome.REFUSED, detail="keys are stored")
        cleanup = replace(
            removal,
            run=replace(removal.run, channel=ChannelName.MICROSOFT_GRAPH),
            device=replace(removal.device, history=history),
        )
        answer = workspace.where_is_it([cleanup, removal])
        alone = workspace.where_is_it([cleanup])

    assert answer is not None and answer.startswith("removed from Windows Autopilot")
    assert alone is not None and alone.endswith("keys are stored")
