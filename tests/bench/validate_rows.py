"""Rows per second of `validate` against a plain jsonschema loop over the same rows.

    python tests/bench/validate_rows.py [--rows 200000] [--hash-rows 20000] [--rounds 5]

The baseline is the kindest there is: one reused `Draft202012Validator` that says yes or no to
dictionaries which are in memory already. Against it stand the schema step alone (jsonschema_rs
accepts, jsonschema explains) and the whole of `check_batch` in a process of its own: start,
decoding, splitting, schema, field rules, hashes, duplicates. Every round measures all of them in
turn; medians are printed, and the memory and the growth of the whole.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Any

from partner_tools.intake.schema import Checker, load_schema, part

Rows = list[dict[str, object]]

WHOLE = """
import sys
from pathlib import Path
from partner_tools.intake.batch import check_batch
from partner_tools.intake.head import IntakeOptions
from partner_tools.intake.source import Source
found = []
count = check_batch(Source(name="b", path=Path(sys.argv[1])), IntakeOptions(), found.append)
print(count.devices, count.errors, count.warnings)
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0 kB"]
print(next(line for line in lines if line.startswith("VmHWM")).split()[1])
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


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def run_whole(path: Path) -> tuple[str, int]:
    """The counts that a process of its own prints, and its peak memory in MiB (Linux; else 0)."""
    done = subprocess.run(
        [sys.executable, "-c", WHOLE, str(path)], check=True, capture_output=True, text=True
    )
    counts, memory = done.stdout.splitlines()
    return counts, int(memory) // 1024


def plain_loop(schema: dict[str, Any], rows: Sequence[dict[str, object]]) -> None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(schema)
    assert all(map(validator.is_valid, rows))


def fast_step(schema: dict[str, Any], rows: Sequence[dict[str, object]]) -> None:
    checker = Checker(schema)
    assert all(map(checker.accepts_fast, rows))


def compare(title: str, rows: Rows, folder: Path, rounds: int) -> None:
    schema = part(load_schema("batch"), "device")
    path = folder / "batch.csv"
    write_csv(path, rows)
    sample = rows[: max(1_000, len(rows) // 20)]
    plain, step, whole = [], [], []
    for _ in range(rounds):
        plain.append(len(sample) / seconds(lambda: plain_loop(schema, sample)))
        step.append(len(rows) / seconds(lambda: fast_step(schema, rows)))
        whole.append(len(rows) / seconds(lambda: run_whole(path)))
    counts, memory = run_whole(path)
    assert counts == f"{len(rows)} 0 0", counts
    base = statistics.median(plain)
    print(f"{title}: {len(rows):,} rows, medians of {rounds} rounds (lowest to highest)")
    for name, found in (("plain loop", plain), ("step alone", step), ("whole process", whole)):
        rate = statistics.median(found)
        print(
            f"  {name:14} {rate:>11,.0f} rows/s ({min(found):,.0f} to {max(found):,.0f})"
            f"  {rate / base:6.1f}x"
        )
    print(f"  peak memory of the whole process: {memory} MiB")


def grow(rows: int, folder: Path) -> None:
    """Ten times the rows: how much longer, and how much more memory."""
    small, large = folder / "small.csv", folder / "large.csv"
    write_csv(small, made_rows(rows, hashes=False))
    write_csv(large, made_rows(rows * 10, hashes=False))
    times = [seconds(lambda path=path: run_whole(path)) for path in (small, large)]  # type: ignore[misc]
    memory = [run_whole(path)[1] for path in (small, large)]
    extra = (memory[1] - memory[0]) * 1024 * 1024 / (rows * 9)
    print(f"growth: {rows:,} rows {times[0]:.2f} s, {memory[0]} MiB; ", end="")
    print(f"{rows * 10:,} rows {times[1]:.2f} s, {memory[1]} MiB: ", end="")
    print(f"{times[1] / times[0]:.1f}x the time, {extra:.0f} bytes a row")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--hash-rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = made_rows(options.rows, hashes=False)
        compare("without hashes", rows, folder, options.rounds)
        hashed = made_rows(options.hash_rows, hashes=True)
        compare("with hashes", hashed, folder, options.rounds)
        grow(options.rows // 2, folder)


if __name__ == "__main__":
    main()
