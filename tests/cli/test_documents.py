"""Every command with `--output`: one document of a shipped schema, or its list line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from docs.generate import commands
from partner_tools.cli import main
from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world
from tests.cli.test_help_pages import found
from tests.intake.hash_encoder import Machine, encode

HERE = ("--via", "partner-center", "--customer", CONTOSO)
Words = Sequence[str | Path]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A ledger with one run, an export of it, and a hash."""
    folder = tmp_path_factory.mktemp("documents")
    devices: list[dict[str, Any]] = [
        {"serialNumber": "SN-1", "oemManufacturerName": "HP", "productKey": "3305670000014"},
        {"serialNumber": "SN-2"},
    ]
    with Sandbox(seed_from(world(customer({"B": devices})))) as sandbox:
        opened = program_for(sandbox, folder, PARTNER_TOOLS_ACCESS_TOKEN=sandbox.tokens["user"])
        assert opened("deregister", opened.serials("SN-1"), *HERE, "--yes").exit_code == 0
        assert opened("ledger", "export", "-o", folder / "audit.jsonl").exit_code == 0
        opened.batch(encode(Machine(serial_number="SN-1").records()), "hash.txt")
        yield opened


ARGUMENTS: dict[tuple[str, ...], tuple[Words, str, str | None]] = {
    ("validate",): ((Path("batch.csv"),), "validation", "problems"),
    ("plan",): ((Path("batch.csv"), *HERE, "-o", Path("plan.json")), "result", "devices"),
    ("deregister",): ((Path("batch.csv"), *HERE, "--dry-run"), "result", "devices"),
    ("assess",): ((Path("batch.csv"), "--customer", CONTOSO), "result", "devices"),
    ("resume",): (("RUN",), "result", "devices"),
    ("runs",): ((), "runs", "runs"),
    ("verify",): (("--outstanding",), "outstanding", "customers"),
    ("customers",): ((), "customers", "customers"),
    ("inventory",): (("--customer", CONTOSO), "inventory", "devices"),
    ("hash", "decode"): ((Path("hash.txt"),), "hardware-hash", None),
    ("hash", "check"): ((Path("batch.csv"),), "validation", "problems"),
    ("ledger", "verify"): ((), "ledger-verify", None),
    ("trace",): (("SN-1",), "trace", "runs"),
    ("auth", "status"): ((), "auth-status", None),
    ("config", "show"): ((), "config-show", None),
    ("doctor",): (("--customer", CONTOSO), "doctor", "checks"),
}
"""What each command is called with, the schema of its document, and the list that it holds."""
ELSEWHERE = {("assess",), ("certificate",), ("cleanup",), ("submit",)}
"""They need keys, the customer's tenant and a fleet: tests of their own look at them."""
CASES = [
    *((path, *case) for path, case in ARGUMENTS.items()),
    (("runs",), ("RUN",), "result", "devices"),
    (("verify",), ("RUN",), "result", "devices"),
    (("trace",), ("nobody",), "trace", "runs"),
    (("ledger", "verify"), ("--head", "sha256:" + "0" * 64), "ledger-verify", None),
    (("ledger", "verify"), ("--export", Path("audit.jsonl")), "ledger-verify-export", None),
    (("doctor",), ("--customer", "nobody.example"), "doctor", "checks"),
]


def test_no_command_with_output_is_left_out() -> None:
    paths = [path for path in commands(main) if len(path) > 1]
    with_output = {
        path[1:] for path in paths if any(each.name == "output" for each in found(path)[0].params)
    }

    assert with_output == ARGUMENTS.keys() | ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize(("path", "words", "schema", "items"), CASES)
def test_json_is_one_document_and_json_lines_are_its_list(
    program: Program, path: tuple[str, ...], words: Words, schema: str, items: str | None
) -> None:
    called = (*path, *(_placed(program, word) for word in words))

    document = json.loads(program(*called, "--output", "json").stdout)
    lines = program(*called, "--output", "jsonl").stdout.splitlines()

    assert not checker(schema).violations(document)
    assert len(lines) == (1 if items is None else len(document[items]))
    for line in map(json.loads, lines):
        assert set(line) <= set(document if items is None else document[items][0])


def _placed(program: Program, word: str | Path) -> str | Path:
    """Files lie in the program's folder; RUN is its first one."""
    if isinstance(word, Path):
        return program.folder / word
    return str(program.json("runs")["runs"][-1]["run"]) if word == "RUN" else word
