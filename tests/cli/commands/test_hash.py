"""`hash decode` and `hash check`: what a hash says, and what contradicts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from partner_tools.intake.hardware_hash import decode_hash
from partner_tools.intake.schema import checker
from tests.cli.program import Program
from tests.intake.hash_encoder import Machine, encode


@pytest.fixture
def program(tmp_path: Path) -> Program:
    config = tmp_path / "partner-tools.toml"
    config.write_text("", encoding="utf-8")
    return Program(tmp_path, {"PARTNER_TOOLS_CONFIG": str(config)})


def a_hash(serial: str) -> str:
    return encode(Machine(serial_number=serial).records())


def test_a_hash_is_shown_as_text_and_as_json(program: Program) -> None:
    file = program.batch(a_hash("SN-1") + "\n", "hash.txt")

    shown = program("hash", "decode", file)
    document = program.json("hash", "decode", file)

    assert "SN-1" in shown.stdout
    assert not checker("hardware-hash").violations(document)


def test_several_hashes_are_lines_and_no_document(program: Program) -> None:
    """JSON is one document, and one that is a list only sometimes would surprise its reader."""
    file = program.batch(f"{a_hash('SN-1')}\n{a_hash('SN-2')}\n", "hash.txt")

    document = program("hash", "decode", file, "--output", "json")
    lines = program("hash", "decode", file, "--output", "jsonl").stdout.splitlines()

    assert (document.exit_code, document.stdout) == (2, "")
    assert "jsonl" in document.stderr
    assert [json.loads(line)["serialNumber"] for line in lines] == ["SN-1", "SN-2"]


def test_junk_is_one_sentence(program: Program) -> None:
    result = program("hash", "decode", program.batch("not a hash", "hash.txt"))

    assert result.exit_code == 3
    assert "Traceback" not in result.output


def test_columns_are_checked_against_the_hash_and_damage_is_repaired(program: Program) -> None:
    whole = a_hash("SN-2")
    cut = whole.rstrip("=") + "="
    rows = ["Serial,Hardware Hash", f"OTHER,{a_hash('SN-1')}", f"SN-2,{cut}", "SN-3,"]
    batch = program.batch("\n".join(rows) + "\n")
    copy = program.folder / "whole.csv"

    result = program("hash", "check", batch, "--repaired", copy, "--output", "json")

    document = json.loads(result.stdout)
    errors = [each for each in document["problems"] if each["severity"] == "error"]
    assert result.exit_code == 3
    assert {(each["row"], each["column"]) for each in errors} == {
        (2, "serialNumber"),
        (3, "hardwareHash"),
    }
    repaired = copy.read_text(encoding="utf-8").splitlines()[2].split(",")[1]
    assert decode_hash(repaired).serial_number == "SN-2"
