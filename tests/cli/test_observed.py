"""What people see at a device and no service shows: stated in the batch, or with the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_tools.outstanding.types import FACTS, Flag
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world

OPTIONS = ("--via", "partner-center", "--customer", CONTOSO, "--yes")
STEPS = {
    Flag.OTHER_ORGANISATION_AT_SETUP: "open-support-case",
    Flag.ANCHOR_LOST: "rebuild-registration",
    Flag.REENROLLMENT_BLOCKED: "allow-reenrollment",
    Flag.DEVICE_ASSOCIATION: "remove-device-association",
}
SERIALS = ("S1", "S2")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Program]:
    seed = seed_from(world(customer({"b": [{"serialNumber": serial} for serial in SERIALS]})))
    with Sandbox(seed) as sandbox:
        yield program_for(sandbox, tmp_path)


def steps(run: Program, begun: str, *options: str) -> dict[str, set[str]]:
    """What the handoff of a run lists, by serial number."""
    folder = run.folder / "handoff"
    done = run("report", begun, "-o", folder, "--format", "json", *options)
    assert done.exit_code == 0, done.output
    (file,) = folder.glob("handoff-*.json")
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {
        each["serialNumber"]: {step["id"] for step in each["steps"]} for each in document["devices"]
    }


@pytest.mark.parametrize("word", sorted(set(FACTS) - {"no-device-association", "firmware-open"}))
def test_a_column_of_the_batch_states_what_was_seen(run: Program, word: str) -> None:
    batch = run.folder / "batch.csv"
    batch.write_text(f"Serial number,Observed\nS1,{word}\nS2,\n", encoding="utf-8")
    assert "unknown" not in run("validate", batch).output
    begun = run.json("deregister", batch, *OPTIONS)["run"]
    listed = steps(run, begun)
    assert STEPS[FACTS[word]] in listed["S1"]
    assert STEPS[FACTS[word]] not in listed["S2"]


def test_a_word_that_states_nothing_is_a_warning_that_names_the_known_ones(run: Program) -> None:
    batch = run.folder / "batch.csv"
    batch.write_text("Serial number,Observed\nS1,blue screen\n", encoding="utf-8")
    told = run.json("validate", batch)
    (problem,) = told["problems"]
    assert (problem["rule"], problem["severity"]) == ("unknown-fact", "warning")
    assert "0x80180014" in problem["remedy"]


@pytest.mark.parametrize("flag", STEPS)
def test_the_report_records_what_was_seen_for_every_report_after_it(
    run: Program, flag: Flag
) -> None:
    begun = run.json("deregister", run.serials("S1", "S2"), *OPTIONS)["run"]
    assert STEPS[flag] not in steps(run, begun)["S1"]
    assert STEPS[flag] in steps(run, begun, "--observed", f"S1={flag.value}")["S1"]
    again = steps(run, begun)
    assert STEPS[flag] in again["S1"]
    assert STEPS[flag] not in again["S2"]
    assert run("ledger", "verify").exit_code == 0


@pytest.mark.parametrize(
    ("stated", "code"), [("S9=0x80180014", 3), ("S1=tuesday", 2), ("0x80180014", 2), ("=x", 2)]
)
def test_what_cannot_be_recorded_is_refused(run: Program, stated: str, code: int) -> None:
    begun = run.json("deregister", run.serials("S1"), *OPTIONS)["run"]
    refused = run("report", begun, "-o", run.folder / "handoff", "--observed", stated)
    assert refused.exit_code == code, refused.output
    assert not list((run.folder / "handoff").glob("*"))
