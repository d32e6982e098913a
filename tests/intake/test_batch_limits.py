"""Files that are too large, too long, too deep or in a wrong encoding: one clear error each."""

from __future__ import annotations

import os
import sys
import tracemalloc
from io import BytesIO
from pathlib import Path

import pytest

from partner_tools.intake import limits
from partner_tools.intake.batch import Intake, check_batch, read_batch
from partner_tools.intake.batch_metadata import IntakeOptions
from partner_tools.intake.duplicate_index import DuplicateIndex
from partner_tools.intake.rules import HaltError, shown
from partner_tools.intake.source import Source, find_encoding, read_stream, source_at
from partner_tools.model import ChannelName, Problem, Reason, Severity

LONG = limits.RECORD_CHARACTERS


def read(content: bytes, options: IntakeOptions | None = None) -> Intake:
    return read_batch(Source(name="batch", content=content), options or IntakeOptions())


def ignored(_problem: Problem) -> None:
    """Nothing is done with a problem that a test does not look at."""


def told(intake: Intake) -> list[tuple[int | None, str]]:
    return [(one.row, one.rule) for one in intake.problems]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Serial\n" + b"A" * (LONG + 1), (2, "line-too-long")),
        (b"Serial\nA1\n" + b"," * (3 * LONG), (3, "line-too-long")),
        (b'{"serialNumber": "' + b"A" * LONG + b'"}\n{}\n', (None, "json-syntax")),
        (b'{"serialNumber": "A"}\n' + b" " * (LONG + 1), (2, "line-too-long")),
        (b'Serial\n"A' + b"\n" * (limits.CELL_CHARACTERS + 1) + b'"\n', (2, "quoting")),
        (b'{"schemaVersion":"1","devices":' + b"[" * 200_000, (None, "too-deep")),
        (b'{"serialNumber":' + b'{"a":' * 200_000 + b"\n{}", (None, "too-deep")),
        (b'{"serialNumber":1}\n{"a":' + b"[" * 200_000, (2, "too-deep")),
        (b'{"serialNumber":' + b"9" * 5_000 + b"}", (None, "json-syntax")),
        (b'{"schemaVersion":"1","devices":[' + b"9" * 5_000 + b"]}", (None, "json-syntax")),
        (b"," * 300 + b"Serial" + b"\n", (None, "cell-count")),
        (b"Serial" + b",a" * 300 + b"\n", (None, "cell-count")),
    ],
    ids=range(12),
)
def test_endless_things_end_in_an_error(content: bytes, expected: tuple[int | None, str]) -> None:
    assert expected in told(read(content))


def test_endless_record_over_short_lines_ends_in_an_error() -> None:
    """Every cell is short and every line is: only the record does not end."""
    cell = b'"' + b"x" * 60_000 + b"\n" + b'x",'
    assert (2, "line-too-long") in told(read(b"Serial\n" + cell * 20))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{"schemaVersion":"1",' + b" " * limits.JSON_BYTES, "a JSON batch is larger than 64 MiB"),
        (b"PK\x03\x04" + bytes(limits.XLSX_BYTES), "the workbook is larger than 32 MiB"),
    ],
    ids=["json", "xlsx"],
)
def test_formats_held_in_memory_have_a_stated_size(content: bytes, what: str) -> None:
    intake = read(content)
    assert [what] == [one.message for one in intake.problems]
    assert "CSV or JSON Lines" in intake.problems[0].remedy


def test_standard_input_is_never_cut_in_silence() -> None:
    """One byte more than the limit is read, so that what is longer is told from what is not."""
    asked = []

    class Endless(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return bytes(size or 0)

    source = read_stream(Endless())
    assert [limits.HELD_BYTES + 1] == asked
    found: list[Problem] = []
    count = check_batch(source, IntakeOptions(), found.append)
    assert (0, 1) == (count.devices, count.errors)
    assert ["file-too-large"] == [one.rule for one in found]
    assert tuple(found) == read_batch(source, IntakeOptions()).problems


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"Serial\n\xe4", 2),
        (b"Serial\r\nA\r\n\xe4", 3),
        (b"Serial\rA\r\r\xe4", 4),
        (b"A" * (limits.PIECE_BYTES - 1) + b"\r\n\xe4", 2),
        (b"A" * limits.PIECE_BYTES + b"\n\n\xe4", 3),
        (b"A\n" * limits.PIECE_BYTES + b"\xe4 \xe4", limits.PIECE_BYTES + 1),
    ],
    ids=range(6),
)
def test_line_of_the_first_guess_is_named(content: bytes, line: int) -> None:
    encoding = find_encoding(Source(name="b", content=content))
    assert ("cp1252", line) == (encoding.codec, encoding.guessed_at)


@pytest.mark.parametrize("shift", range(-4, 4))
def test_characters_over_the_edge_of_a_piece_are_whole(shift: int) -> None:
    content = b"A" * (limits.PIECE_BYTES + shift) + "\U0001f4bbä".encode() * 3
    assert find_encoding(Source(name="b", content=content)).codec == "utf-8"
    with pytest.raises(HaltError) as halt:
        find_encoding(Source(name="b", content=content + b"\xff"))
    assert halt.value.finding.rule == "encoding"
    with pytest.raises(HaltError) as halt:
        find_encoding(Source(name="b", content=content + b"\0"))
    assert (halt.value.finding.rule, halt.value.row) == ("nul-character", 1)


@pytest.mark.parametrize("shift", range(-4, 4))
def test_utf16_over_the_edge_of_a_piece_is_whole(shift: int) -> None:
    text = "A" * (limits.PIECE_BYTES // 2 + shift) + "\U0001f4bb\n"
    assert find_encoding(Source(name="b", content=text.encode("utf-16"))).codec == "utf-16"
    lone = text.encode("utf-16") + "\ud800".encode("utf-16-le", "surrogatepass") + b"A\0"
    with pytest.raises(HaltError) as halt:
        find_encoding(Source(name="b", content=lone))
    assert (halt.value.finding.rule, halt.value.row) == ("encoding", 2)


def test_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path, Path("a\0b")):
        found: list[Problem] = []
        check_batch(source_at(str(path)), IntakeOptions(), found.append)
        assert [(None, "unreadable-file")] == [(one.row, one.rule) for one in found]
        assert tuple(found) == read_batch(source_at(str(path)), IntakeOptions()).problems


def test_file_that_changes_while_it_is_read_is_a_problem(tmp_path: Path) -> None:
    """Its encoding was found out before; what came in between is not guessed at."""
    path = tmp_path / "batch.csv"
    path.write_bytes(b"Serial,Other\n" + b"A1,x\n" * 60_000)
    found: list[Problem] = []

    def report(problem: Problem) -> None:
        found.append(problem)
        if problem.rule == "unknown-column":
            with path.open("r+b") as file:
                file.seek(280_000)
                file.write(b"\xff\xff")

    count = check_batch(source_at(str(path)), IntakeOptions(), report)
    assert 0 < count.devices < 60_000
    assert ["encoding"] == [one.rule for one in found if one.severity is Severity.ERROR]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_fault_of_reading_is_a_problem() -> None:
    source = source_at("/proc/self/mem")
    found: list[Problem] = []
    check_batch(source, IntakeOptions(), found.append)
    assert ["unreadable-file"] == [one.rule for one in found]
    assert tuple(found) == read_batch(source, IntakeOptions()).problems


def test_nul_in_utf16_is_told_with_its_line() -> None:
    content = "Serial\nA\U0001f4bb1\nB\0\n".encode("utf-16")
    assert [(3, "nul-character")] == told(read(content))


def test_one_line_of_json_tells_nothing_of_the_next() -> None:
    twice = '{"serialNumber": "5CG1", "serialNumber": "5CG2"'
    lines = ['{"serialNumber": "5CG3"}', twice, '{"serialNumber": "5CG4"}', twice + "}"]

    intake = read("\n".join(lines).encode())

    assert [(one.row, one.rule) for one in intake.problems] == [
        (2, "json-syntax"),
        (4, "duplicate-key"),
    ]


def test_two_lists_of_devices_are_not_one_that_wins() -> None:
    """A reviewer who reads the first would see other devices than are removed."""
    first, second = '"devices": [{"serialNumber": "A1"}]', '"devices": [{"serialNumber": "B1"}]'

    intake = read(f'{{"schemaVersion": "1", {first}, {second}}}'.encode())

    assert [(one.rule, one.column) for one in intake.problems] == [("duplicate-key", "devices")]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a path")
def test_pipe_with_a_path_is_read_once() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"Serial\nA1\n")
    os.close(writing)
    count = check_batch(source_at(f"/dev/fd/{reading}"), IntakeOptions(), ignored)
    os.close(reading)
    assert (1, 0, 0) == (count.devices, count.errors, count.warnings)


def test_command_line_fills_what_the_batch_leaves_open() -> None:
    content = b'{"schemaVersion": "1", "reason": "resale", "devices": [{"serialNumber": "A1"}]}'
    options = IntakeOptions(
        channel=ChannelName.PARTNER_CENTER, batch_id="B-1", customer="contoso.com", reference="R"
    )
    batch = read(content, options).batch
    assert batch is not None
    assert ("B-1", Reason.RESALE, "contoso.com", "R", ChannelName.PARTNER_CENTER) == (
        batch.batch_id,
        batch.reason,
        batch.customer,
        batch.reference,
        batch.channel,
    )


def test_batch_without_an_id_is_named_by_its_content() -> None:
    import hashlib

    content = b"Serial\nA1\n"
    batch = read(content).batch
    assert batch is not None
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == batch.batch_id == batch.digest


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (IntakeOptions(batch_id=""), ("batchId", "blank")),
        (IntakeOptions(reference="x" * 300), ("reference", "too-long")),
        (IntakeOptions(reference="a\ud800"), ("reference", "lone-surrogate")),
        (IntakeOptions(batch_id="a\x1bb"), ("batchId", "control-character")),
    ],
)
def test_command_line_is_checked_as_the_batch_is(
    options: IntakeOptions, expected: tuple[str, str]
) -> None:
    intake = read(b"Serial\nA1\n", options)
    assert intake.batch is None
    assert [expected] == [(one.column, one.rule) for one in intake.problems]


def test_index_of_duplicates_is_small_and_right() -> None:
    """At most forty bytes a row, whatever the number of rows; the first line is the one told."""
    seen = DuplicateIndex()
    most = 0.0
    for number in range(60_000):
        assert seen.first(("serial", f"S{number}"), number + 2) is None
        if number > 5_000:
            tables = (*seen._marks, *seen._lines)
            size = sum(len(table) * table.itemsize for table in tables)
            most = max(most, size / (number + 1))
    assert most <= 40
    assert all(seen.first(("serial", f"S{n}"), 1) == n + 2 for n in range(0, 60_000, 7))


@pytest.mark.slow
def test_memory_of_a_check_is_that_of_the_index(tmp_path: Path) -> None:
    """Both files are longer than what is looked at in one go."""
    batch = tmp_path / "batch.csv"
    peaks = []
    for count in (10, 6_000, 18_000):
        rows = "".join(f"S{number},{'x' * 200}\n" for number in range(count))
        batch.write_text("Serial,Reference\n" + rows, encoding="utf-8")
        source = source_at(str(batch))
        tracemalloc.start()
        assert check_batch(source, IntakeOptions(), ignored).devices == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[2] - peaks[1]) / 12_000 <= 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A1", '"A1"'),
        ("a\nb\x1b[31m", '"a\\nb\\x1b[31m"'),
        ("a\u202eb\ud800", '"a\\u202eb\\ud800"'),
        ("x" * 100, '"' + "x" * 60 + '…"'),
        ("key ABCDE-12345-FGHIJ-67890-KLMNO", "(a product key, not shown)"),
    ],
)
def test_foreign_text_is_shown_harmlessly(text: str, expected: str) -> None:
    assert expected == shown(text)
