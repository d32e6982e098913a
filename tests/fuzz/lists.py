"""Mutated lists: the reader never crashes, and takes no row whose text is no identifier.

    python -m tests.fuzz.lists --count 100000 --seed 7

mutates the lists of `tests/cases/lists.toml`, and asks a second, simple reading about each serial
number that was taken. It ends with 1 at the first one that this reading rejects.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

from partner_tools.intake.batch import read_batch
from partner_tools.intake.batch_metadata import IntakeOptions, ReadingOptions
from partner_tools.intake.source import Source

CASES = Path(__file__).resolve().parents[1] / "cases" / "lists.toml"

WORDS = frozenset(
    (
        *("n/a", "none", "null", "unknown", "invalid", "total", "totals", "sum", "count", "summe"),
        *("gesamt", "serial", "serialnumber", "seriennummer", "tbd", "nan", "undefined"),
        *("notspecified", "defaultstring", "tobefilledbyoem", "systemserialnumber"),
        *("notapplicable", "notavailable"),
    )
)
"""What the simple reading rejects when nothing else is left of a text but letters."""

CELLS = (
    *("#N/A", "#REF!", "#NV", "########", "-------", "..........", "Total:25", "Total", "None"),
    *("0000000", "XXXXXXXX", "12345678", "0123456789", "987654321", "2026-04-17", "N/A", "\x1a"),
    *("SerialNumber", "5CG1111AAA;5CG1111AAB", "5CG2222ZZZ", "1,234,567", "1.2E+05", '="5"'),
    *("\ufeff", "#TYPE", "sep=;", "{serial}", "<null>", "NotSpecified"),
)
SEPARATORS = ",;\t|"
SLOW = 5.0
"""Seconds of the processor that no list of these sizes may take."""


def is_no_identifier(text: str) -> str | None:
    """Why a text cannot be a serial number, by rules as simple as they can be; None otherwise."""
    letters = "".join(filter(str.isalnum, text)).casefold()
    if not letters:
        return "no letter or digit"
    if letters in WORDS and not any(map(str.isdigit, letters)):
        return "a word"
    if text.startswith("#") and letters.isalpha():
        return "an error value"
    if len(letters) > 6 and letters == letters[0] * len(letters):
        return "one character, repeated"
    if len(letters) > 7 and (letters in "0123456789" or letters in "9876543210"):
        return "a counter"
    if any(mark in text for mark in ";\n\r\t\x1a"):
        return "several, or a control character"
    if text.casefold().split(":")[0].strip() in {"total", "summe", "count"}:
        return "a total"
    return None


def mutated(text: str, chance: random.Random) -> str:
    """A list with a few of its characters, cells and lines changed as people and tools do."""
    for _ in range(chance.randint(1, 4)):
        lines = text.split("\n")
        at = chance.randrange(len(lines))
        match chance.randrange(8):
            case 0:
                lines.insert(at, chance.choice(lines))
            case 1:
                del lines[at]
            case 2:
                lines[at] = lines[at].replace(chance.choice(SEPARATORS), chance.choice(SEPARATORS))
            case 3 | 4 | 5:
                cells = lines[at].split(chance.choice(SEPARATORS))
                cells[chance.randrange(len(cells))] = chance.choice(CELLS)
                lines[at] = chance.choice(SEPARATORS).join(cells)
            case 6:
                place = chance.randrange(len(lines[at]) + 1)
                mark = chance.choice("\"' 0;,\u00a0\ufeff\u001a#=")
                lines[at] = lines[at][:place] + mark + lines[at][place:]
            case _:
                lines[at] = '"' + lines[at].replace('"', '""') + '"'
        text = "\n".join(lines) or "\n"
    return text


def run(count: int, seed: int) -> Counter[str]:
    """Read that many lists. Raises AssertionError at one that is read as it must not be."""
    chance = random.Random(seed)  # noqa: S311 - chance, not secrecy
    texts = [case["text"] for case in tomllib.loads(CASES.read_text(encoding="utf-8"))["list"]]
    outcomes: Counter[str] = Counter()
    for number in range(count):
        text = mutated(chance.choice(texts), chance)
        reading = ReadingOptions(split_cells=chance.random() < 0.2)
        before = time.process_time()
        source = Source(name="list", content=text.encode())
        intake = read_batch(source, IntakeOptions(reading=reading))
        assert time.process_time() - before < SLOW, (number, text)
        assert intake.batch is not None or intake.problems, (number, text)
        outcomes["refused" if intake.batch is None else "read"] += 1
        for device in intake.batch.devices if intake.batch else ():
            serial = device.identity.serial_number
            why = is_no_identifier(serial) if serial else None
            assert why is None, (number, serial, why, text)
            outcomes["devices"] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    began = time.monotonic()
    try:
        outcomes = run(options.count, options.seed)
    except AssertionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    took = time.monotonic() - began
    told = ", ".join(f"{number:,} {name}" for name, number in sorted(outcomes.items()))
    sys.stdout.write(f"{options.count:,} lists in {took:.0f} s: {told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
