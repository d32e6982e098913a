"""Rows per second of `validate` against a plain jsonschema loop over the same rows.

The baseline is the kindest there is: one reused `Draft202012Validator` that says yes or no to
dictionaries which are in memory already. Against it are measured the schema step alone
(jsonschema_rs) and the whole of `check_batch` in a process of its own: start,
decoding, splitting, schema, field rules, hashes, duplicates. How time grows is told in CPU time,
which a busy machine leaves alone.
"""

from __future__ import annotations

import json
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from struct import pack
from typing import Any

from partner_tools.intake.schema import Checker, load_schema, part
from tests.bench.figures import Figure, Goal, Part, in_turns, pairs, run_python, seconds

Rows = list[dict[str, object]]

WHOLE = """
import sys, time
from pathlib import Path
from partner_tools.intake.batch import check_batch
from partner_tools.intake.batch_metadata import IntakeOptions
from partner_tools.intake.source import Source
found = []
count = check_batch(Source(name="b", path=Path(sys.argv[1])), IntakeOptions(), found.append)
print(count.devices, count.errors, count.warnings)
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0 kB"]
print(next(line for line in lines if line.startswith("VmHWM")).split()[1])
print(time.process_time())
"""


def made_hash(serial: str, maker: str, model: str) -> str:
    """A hash of 4,000 characters with the records of a real one, in length and in number."""
    texts = ((14, serial), (16, maker), (17, model), (18, "SKU-1"), (19, "Family"), (24, "0" * 13))
    records = [(kind, text.encode() + b"\0") for kind, text in texts]
    records += [(kind, bytes([kind]) * 40) for kind in (1, 2, 3, 4, 5, 6, 7, 7, 8, 8, 9, 10, 12)]
    records += [(13, b"T" * 90), (25, b"E" * 256)]
    body = b"".join(pack("<BBH", kind, 0, 4 + len(data)) + data for kind, data in records)
    head = b"OA" + pack("<H", 4 + len(body)) + body
    whole = head + b"CS" + pack("<H", 36) + sha256(head).digest()
    return b64encode(whole.ljust(3_000, b"\0")).decode()


def made_rows(count: int, *, hashes: bool) -> Rows:
    rows: Rows = []
    for number in range(count):
        serial = f"5CG{number:08d}X"
        row: dict[str, object] = {
            "serialNumber": serial,
            "productKeyId": f"{3_305_000_000 + number:013d}",
            "manufacturer": "Microsoft Corporation",
            "model": "Surface Laptop 5",
        }
        if hashes:
            row["hardwareHash"] = made_hash(serial, "Microsoft Corporation", "Surface Laptop 5")
        rows.append(row)
    return rows


def write_csv(path: Path, rows: Rows) -> None:
    names = list(rows[0])
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(names) + "\r\n")
        file.writelines(",".join(str(row[name]) for name in names) + "\r\n" for row in rows)


def write_json_lines(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


FORMS: Mapping[str, Callable[[Path, Rows], None]] = {
    "CSV": write_csv,
    "JSON Lines": write_json_lines,
}


@dataclass(frozen=True, slots=True)
class Whole:
    """What checking a file took: peak memory in bytes (Linux; else 0), and CPU time in seconds."""

    memory: int
    cpu: float


def run_whole(path: Path, rows: int) -> Whole:
    """Check a file in a process of its own."""
    counts, memory, cpu = run_python("-c", WHOLE, str(path)).splitlines()
    assert counts == f"{rows} 0 0", counts
    return Whole(int(memory) * 1024, float(cpu))


def plain_loop(schema: dict[str, Any], rows: Sequence[dict[str, object]]) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    assert all(map(validator.is_valid, rows))


BROKEN: Sequence[Mapping[str, object]] = (
    {"serialNumber": ""},
    {"serialNumber": 5},
    {"serialNumber": "5" * 200},
    {"serialNumber": None},
    {"productKeyId": "330500000000X"},
    {"productKeyId": "1"},
    {"manufacturer": ["Microsoft Corporation"]},
    {"hardwareHash": "!"},
    {"nobodyKnows": "this"},
    {"replacement": {"productKeyId": 1}},
)
"""What makes a row break the schema."""


def differing(schema: dict[str, Any], rows: Rows) -> int:
    """How many rows are judged otherwise than by plain jsonschema; one in twenty is broken."""
    from jsonschema import Draft202012Validator

    broken = cycle(BROKEN)
    mixed = [row if number % 20 else {**row, **next(broken)} for number, row in enumerate(rows)]
    plain, checker = Draft202012Validator(schema), Checker(schema)
    verdicts = [(plain.is_valid(row), not checker.violations(row)) for row in mixed]
    assert not all(good for good, _ in verdicts)
    return sum(one != other for one, other in verdicts)


def fast_step(schema: dict[str, Any], rows: Sequence[dict[str, object]]) -> None:
    checker = Checker(schema)
    assert all(map(checker.accepts, rows))


ROUNDS = 3
MILLION = 1_000_000


def measure(*, quick: bool) -> Iterator[Part]:
    """Without and with hashes; then how time and memory grow."""
    plain, hashed, million, rounds = (
        (300, 50, 3_000, 1) if quick else (200_000, 20_000, MILLION, ROUNDS)
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield _compared(folder, made_rows(plain, hashes=False), "without hashes", rounds, (80, 12))
        yield _compared(folder, made_rows(hashed, hashes=True), "with hashes", rounds, (14, 3))
        yield Part(
            title="Validation of a million rows",
            how="Each file in a separate process. Memory is the difference between the larger and "
            "the smaller file, per row: the index of duplicates.",
            figures=[
                figure
                for form in FORMS
                for figure in _growth(folder, form, million, min(rounds, 2))
            ],
        )


def _compared(folder: Path, rows: Rows, title: str, rounds: int, goals: tuple[int, int]) -> Part:
    schema = part(load_schema("batch"), "device")
    path = folder / "batch.csv"
    write_csv(path, rows)
    sample = rows[: max(1_000, len(rows) // 20)]
    found = in_turns(
        {
            "plain": lambda: len(sample) / seconds(lambda: plain_loop(schema, sample)),
            "step": lambda: len(rows) / seconds(lambda: fast_step(schema, rows)),
            "whole": lambda: len(rows) / seconds(lambda: run_whole(path, len(rows))),
        },
        rounds,
    )
    names = {"step": "the schema step alone", "whole": "the whole process"}
    return Part(
        title=f"Validation {title}",
        how=f"{len(rows):,} valid rows; the plain loop on {len(sample):,} of them.",
        figures=[
            Figure(
                what=f"rows a second, {names[name]}",
                unit="rows/s",
                values=found[name],
                baseline="a plain jsonschema loop",
                against=found["plain"],
                ratios=pairs(found[name], found["plain"]),
                goal=Goal(bound=goal),
            )
            for name, goal in zip(names, goals, strict=True)
        ]
        + [
            Figure(
                what="rows with another verdict than jsonschema's, one in twenty broken",
                unit="rows",
                values=[differing(schema, sample)],
                goal=Goal(bound=0.0, at_most=True, of_ratio=False),
            )
        ],
    )


def _growth(folder: Path, form: str, rows: int, rounds: int) -> Iterator[Figure]:
    """Ten times the rows: how much longer, and how much more memory."""
    small, large = folder / "small", folder / "large"
    FORMS[form](small, made_rows(rows // 10, hashes=False))
    FORMS[form](large, made_rows(rows, hashes=False))
    took: dict[Path, Whole] = {}

    def take(path: Path, count: int) -> float:
        took[path] = run_whole(path, count)
        return took[path].cpu

    found = in_turns(
        {"small": lambda: take(small, rows // 10), "large": lambda: take(large, rows)}, rounds
    )
    yield Figure(
        what=f"{rows:,} rows of {form}",
        unit="s of CPU",
        values=found["large"],
        baseline=f"{rows // 10:,} rows",
        against=found["small"],
        ratios=pairs(found["large"], found["small"]),
        goal=Goal(
            bound=10.5, at_most=True, why="the index of duplicates outgrows the processor's caches"
        ),
    )
    yield Figure(
        what=f"memory a row of {form}",
        unit="bytes",
        values=[(took[large].memory - took[small].memory) / (rows - rows // 10)],
        goal=Goal(bound=40.0, at_most=True, of_ratio=False),
    )
