"""The audit trail that leaves the ledger: who, when, what; signed, and checked without it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, world

LONG = "correct horse battery"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A ledger with one run of two devices, and a signing key."""
    folder = tmp_path_factory.mktemp("audit")
    devices = [{"serialNumber": "SN-1"}, {"serialNumber": "=2+5+cmd!A0"}]
    with Sandbox(seed_from(world(customer({"B": devices})))) as sandbox:
        opened = program_for(sandbox, folder, PARTNER_TOOLS_SIGNING_PASSPHRASE=LONG)
        batch = opened.serials("SN-1", "=2+5+cmd!A0")
        named = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--settle", "0")
        assert opened("deregister", batch, *named).exit_code == 0
        yield opened


@pytest.fixture(scope="module")
def signed(program: Program) -> tuple[Path, str]:
    """A signed export, and the public key of who signed."""
    key, file = program.folder / "key.locked", program.folder / "audit.jsonl"
    public = program("approve", "--init", "--key", key).stdout.strip()
    made = program("ledger", "export", "--customer", CONTOSO, "-o", file, "--sign", "--key", key)
    assert made.exit_code == 0, made.output
    return file, public


def check(program: Program, file: Path, public: str, exit_code: int = 0) -> dict[str, Any]:
    return program.json(
        "ledger", "verify", "--export", file, "--signed-by", public, exit_code=exit_code
    )


def test_a_signed_export_proves_itself_without_the_ledger(
    program: Program, signed: tuple[Path, str], tmp_path: Path
) -> None:
    """Its reader needs the file, what lies beside it, and the signer's public key."""
    file, public = signed
    elsewhere = program_for_reader(tmp_path)

    document = check(elsewhere, file, public)

    assert document["whole"]
    assert document["signedBy"] == [public]
    assert list(tmp_path.glob("*.db")) == []


def program_for_reader(folder: Path) -> Program:
    (folder / "partner-tools.toml").write_text("", encoding="utf-8")
    return Program(
        folder,
        {
            "PARTNER_TOOLS_CONFIG": str(folder / "partner-tools.toml"),
            "PARTNER_TOOLS_LEDGER": str(folder / "none.db"),
        },
    )


def _drop(lines: list[dict[str, Any]]) -> None:
    del lines[2]


def _swap(lines: list[dict[str, Any]]) -> None:
    lines[1], lines[2] = lines[2], lines[1]


def _rewrite(lines: list[dict[str, Any]]) -> None:
    lines[0]["payload"]["file"] = "another.csv"


def _postdate(lines: list[dict[str, Any]]) -> None:
    lines[1]["at"] = "2027-01-01T00:00:00+00:00"


def _of_a_device(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next(each for each in lines if each["kind"] == "answered")


def _blame(lines: list[dict[str, Any]]) -> None:
    _of_a_device(lines)["actor"] = "somebody"


def _blame_in_all(lines: list[dict[str, Any]]) -> None:
    for each in lines:
        each["actor"] = "somebody"


def _rename(lines: list[dict[str, Any]]) -> None:
    _of_a_device(lines)["serialNumber"] = "SN-OTHER"


def _rename_in_all(lines: list[dict[str, Any]]) -> None:
    device = _of_a_device(lines)["device"]
    for each in lines:
        if each["device"] == device:
            each["serialNumber"] = "SN-OTHER"


def _give_away(lines: list[dict[str, Any]]) -> None:
    for each in lines:
        each["customer"] = each["customer"] and FABRIKAM


def _annotate(lines: list[dict[str, Any]]) -> None:
    lines[1]["note"] = "asked for by the customer"


EDITS = [_drop, _swap, _rewrite, _postdate, _blame, _blame_in_all, _rename, _rename_in_all]


@pytest.mark.parametrize("edit", [*EDITS, _give_away, _annotate])
def test_every_edit_of_an_export_is_found(
    program: Program,
    signed: tuple[Path, str],
    tmp_path: Path,
    edit: Callable[[list[dict[str, Any]]], None],
) -> None:
    """By its signature always, by its hashes where the chain shows it; exit 6 either way."""
    file, public = signed
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    edit(lines)
    edited = tmp_path / "audit.jsonl"
    edited.write_text("".join(f"{json.dumps(each)}\n" for each in lines), encoding="utf-8")
    beside = file.with_name("audit.jsonl.signature.json").read_bytes()

    unsigned = program("ledger", "verify", "--export", edited)
    (tmp_path / "audit.jsonl.signature.json").write_bytes(beside)
    found = check(program, edited, public, exit_code=6)

    assert "no signature beside the file is valid and from a trusted key" in found["findings"]
    assert unsigned.exit_code == (0 if edit is _drop else 6), unsigned.output


def test_an_export_is_read_as_an_editor_shows_it(
    program: Program, signed: tuple[Path, str], tmp_path: Path
) -> None:
    """Of two properties of one name a person may see the other one than is hashed."""
    edited = tmp_path / "audit.jsonl"
    text = signed[0].read_text(encoding="utf-8")
    edited.write_text(text.replace("{", '{"actor": "somebody", ', 1), encoding="utf-8")

    document = program.json("ledger", "verify", "--export", edited, exit_code=6)

    assert "contains a property twice" in document["findings"][0]


def test_a_missing_signature_is_found_where_one_is_asked_for(
    program: Program, signed: tuple[Path, str], tmp_path: Path
) -> None:
    """Whoever takes lines out of the file would take its signature away too."""
    file, public = signed
    kept = file.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]
    (tmp_path / "audit.jsonl").write_text("".join(kept), encoding="utf-8")

    found = check(program, tmp_path / "audit.jsonl", public, exit_code=6)

    assert found["findings"] == ["there is no signature beside the file"]


@pytest.mark.parametrize("content", [b"", b"Serial number\nSN-1\n", "{}\n".encode("utf-16")])
def test_a_file_that_is_no_export_is_never_called_whole(
    program: Program, tmp_path: Path, content: bytes
) -> None:
    """A batch, an empty file, what an old PowerShell redirects: nothing in them proves anything."""
    (tmp_path / "audit.jsonl").write_bytes(content)

    result = program("ledger", "verify", "--export", tmp_path / "audit.jsonl")

    assert (result.exit_code, result.stdout) == (3, "")
    assert "ledger export -o" in result.stderr


def test_a_csv_is_proved_by_its_signature_alone(
    program: Program, signed: tuple[Path, str], tmp_path: Path
) -> None:
    _, public = signed
    file, key = tmp_path / "audit.csv", program.folder / "key.locked"
    program("ledger", "export", "--format", "csv", "-o", file, "--sign", "--key", key)
    assert check(program, file, public)["whole"]

    file.write_bytes(file.read_bytes().replace(b"removed", b"absent"))

    assert not check(program, file, public, exit_code=6)["whole"]


def test_without_its_key_a_signed_export_is_not_begun(program: Program, tmp_path: Path) -> None:
    """An export that lies there unsigned passes for what was asked for."""
    file = tmp_path / "unsigned.jsonl"

    result = program("ledger", "export", "-o", file, "--sign", "--key", tmp_path / "none.pfx")

    assert result.exit_code != 0
    assert not file.exists()


def test_a_signature_by_an_untrusted_key_does_not_count(
    program: Program, signed: tuple[Path, str]
) -> None:
    """Whoever can write the file can sign it with a key of their own."""
    file, public = signed
    stranger = f"ed25519:{'A' * 43}="

    assert not check(program, file, stranger, exit_code=6)["whole"]
    assert program("ledger", "verify", "--export", file.with_name("none")).exit_code == 3
    assert program("ledger", "export", "--sign").exit_code == 2
    nothing = program("ledger", "export", "--until", "2020-01-01")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no event matches" in nothing.stderr
    assert public != stranger


def test_the_csv_says_who_when_and_what_and_calculates_nothing(program: Program) -> None:
    """One row an event, with request and correlation ids; a formula stays a text."""
    text = program("ledger", "export", "--format", "csv").stdout
    rows = list(csv.DictReader(text.splitlines()))
    answered = [row for row in rows if row["kind"] == "answered"]

    assert {row["customer"] for row in answered} == {CONTOSO}
    assert all(row["actor"] and row["at"] and row["requestId"] for row in answered)
    assert "'=2+5+cmd!A0" in {row["serialNumber"] for row in answered}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "@"))]


def test_a_purge_without_a_terminal_asks_no_question(program: Program) -> None:
    """Without a terminal it names the flag; with it the export still proves itself."""
    refused = program("ledger", "purge", "--before", "2100-01-01")
    assert refused.exit_code == 8
    assert "--yes" in refused.stderr

    assert program("ledger", "purge", "--before", "2100-01-01", "--yes").exit_code == 0
    file = program.folder / "purged.jsonl"
    assert program("ledger", "export", "-o", file).exit_code == 0
    assert program.json("ledger", "verify", "--export", file)["whole"]
