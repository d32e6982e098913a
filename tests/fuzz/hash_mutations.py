"""Mutated hardware hashes: whatever is done to one, the decoder answers, quickly, or refuses it.

    python -m tests.fuzz.hash_mutations --count 1000000 --seed 7

prints what it saw and ends with 1 at the first input that breaks a rule; `--seed` and the number
that is printed with it make that input again. What is mutated: whole machines, machines of other
sizes, and records of every type with arbitrary payloads. How: bits, bytes, cuts, insertions,
swapped pieces, length fields (header, records, trailer), characters of the text. Half of the
mutations that leave the header alone are sealed with a right checksum again, so that they reach
the parsers of the records.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import string
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from partner_tools.intake import hardware_hash as hh
from partner_tools.intake.hardware_hash import describe_hash, hash_lines
from partner_tools.model import Identity
from tests.intake import hash_encoder as enc

ALPHABET = string.ascii_letters + string.digits + "+/"

RULES = frozenset(
    {
        "hash-checksum",
        "hash-cut",
        "hash-empty",
        "hash-header",
        "hash-length",
        "hash-not-base64",
        "hash-padding",
        "hash-record",
        "hash-too-long",
        "hash-trailer",
        "hash-white-space",
    }
)
"""Every rule by which a text may be refused."""

SLOW = 1.0
"""Seconds that no input of the permitted length may take, on however busy a machine."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a run of mutations came to. `slowest` is in seconds."""

    mutations: int = 0
    decoded: int = 0
    noted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0


def run(*, count: int, seed: int) -> Seen:
    """Try `count` mutations, the same ones for the same seed.

    AssertionError: one of them broke a rule; the message says which one.
    """
    seen = Seen()
    for number in range(count):
        text = mutation(seed, number)
        began = time.perf_counter()
        try:
            outcome = try_one(text)
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutation {number}: {error!r}") from error
        seen.slowest = max(seen.slowest, time.perf_counter() - began)
        assert seen.slowest < SLOW, f"seed {seed}, mutation {number}: {seen.slowest:.2f} s"
        _count(seen, outcome)
    return seen


def mutation(seed: int, number: int) -> str:
    """The mutation of that number: it depends on nothing else."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - has to come out the same again
    data = dice.choice(SOURCES)(dice)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 5))):
        data = dice.choice(CHANGES)(dice, data)
    text = enc.as_text(_maybe_sealed(dice, data))
    if dice.random() < 0.25:
        text = dice.choice(TEXT_CHANGES)(dice, text)
    return text


def try_one(text: str) -> hh.HardwareHash | hh.HashError:
    """Decode the text and hold what comes of it against the text itself."""
    repaired = hh.repair(text)
    if repaired is not None:
        base64.b64decode(repaired.text, validate=True)
    try:
        machine = hh.decode_hash(text)
    except hh.HashError as error:
        assert error.rule in RULES, error.rule
        assert error.message and error.remedy
        assert _verdict(text) == error.rule
        return error
    assert _verdict(text) == "intact"
    _check_against_bytes(machine, base64.b64decode(text.strip(), validate=True))
    _use(machine)
    return machine


def seconds(text: str) -> float:
    """How long one decoding takes of the processor, whatever else runs: the best of five."""
    return min(_timed(text) for _ in range(5))


def _timed(text: str) -> float:
    began = time.thread_time()
    hh.decode_hash(text)
    return time.thread_time() - began


def _verdict(text: str) -> str:
    try:
        hh.verify(text)
    except hh.HashError as error:
        return error.rule
    return "intact"


def _check_against_bytes(machine: hh.HardwareHash, data: bytes) -> None:
    """What was decoded has to be what stands there, byte for byte, under a right checksum."""
    total = machine.total_length
    body = data[:total]
    assert data[total : total + 4] == b"CS" + enc.u16(36)
    assert data[total + 4 : total + 36] == hashlib.sha256(body).digest()
    again = b"".join(
        enc.u16(record.type) + enc.u16(4 + len(record.payload)) + record.payload
        for record in machine.records
    )
    assert body == b"OA" + enc.u16(total) + again
    tail = any(data[total + 36 :])
    assert tail == any(note.rule == "hash-tail" for note in machine.notes)
    for record in machine.records:
        assert data[record.offset + 4 :].startswith(record.payload)


def _use(machine: hh.HardwareHash) -> None:
    """Everything that is done with a decoded hash works on this one."""
    json.dumps(describe_hash(machine), allow_nan=False).encode("utf-8")
    assert all(line.isprintable() for line in hash_lines(machine))
    assert set(hh.missing_fields(machine)) <= EVERY_FIELD
    derived = hh.derive(machine)
    assert hh.disagreements(machine, derived) == ()
    assert hh.disagreements(machine, Identity()) == ()


def _count(seen: Seen, outcome: hh.HardwareHash | hh.HashError) -> None:
    seen.mutations += 1
    if isinstance(outcome, hh.HashError):
        seen.refused[outcome.rule] += 1
        return
    seen.decoded += 1
    seen.noted += bool(outcome.notes)


def _machine(dice: random.Random) -> bytes:
    return dice.choice(MACHINES).ljust(
        dice.choice((enc.SIZE, enc.SIZE, 0, 2998, 3072, 4096)), b"\0"
    )


def _records(dice: random.Random) -> bytes:
    kinds = [dice.randrange(33) for _ in range(dice.randrange(12))]
    records = [(kind, dice.randbytes(dice.choice((0, 1, 4, 10, 16, 24, 42)))) for kind in kinds]
    return enc.buffer(records, size=dice.choice((0, 600)))


def _junk(dice: random.Random) -> bytes:
    return b"OA" * dice.randrange(2) + dice.randbytes(dice.randrange(200))


def _place(dice: random.Random, data: bytes) -> int:
    return dice.randrange(len(data) + 1)


def _flip(dice: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


def _overwrite(dice: random.Random, data: bytes) -> bytes:
    at, new = _place(dice, data), dice.randbytes(dice.randrange(1, 9))
    return data[:at] + new + data[at + len(new) :]


def _cut(dice: random.Random, data: bytes) -> bytes:
    return data[: _place(dice, data)]


def _remove(dice: random.Random, data: bytes) -> bytes:
    at = _place(dice, data)
    return data[:at] + data[at + dice.randrange(1, 40) :]


def _insert(dice: random.Random, data: bytes) -> bytes:
    at = _place(dice, data)
    return data[:at] + dice.randbytes(dice.randrange(1, 40)) + data[at:]


def _repeat(dice: random.Random, data: bytes) -> bytes:
    at = _place(dice, data)
    return data[:at] + data[at : at + dice.randrange(1, 200)] * 2 + data[at:]


def _header_length(dice: random.Random, data: bytes) -> bytes:
    return data[:2] + enc.u16(_odd_length(dice, data)) + data[4:]


def _record_length(dice: random.Random, data: bytes) -> bytes:
    """Give one of the records another length: walks them as the layout says."""
    at, starts = 4, []
    while at + 4 <= len(data) and data[at : at + 2] != b"CS":
        starts.append(at)
        at += max(4, int.from_bytes(data[at + 2 : at + 4], "little"))
    if not starts:
        return data
    at = dice.choice(starts)
    return data[: at + 2] + enc.u16(_odd_length(dice, data)) + data[at + 4 :]


def _trailer_length(dice: random.Random, data: bytes) -> bytes:
    at = data.rfind(b"CS")
    return data if at < 0 else data[: at + 2] + enc.u16(_odd_length(dice, data)) + data[at + 4 :]


def _odd_length(dice: random.Random, data: bytes) -> int:
    near = int.from_bytes(data[2:4], "little")
    chosen = dice.choice((0, 1, 3, 4, 5, 36, near - 1, near + 1, len(data), 0x7FFF, 0xFFFF))
    return dice.choice((chosen, dice.randrange(0x10000))) & 0xFFFF


def _maybe_sealed(dice: random.Random, data: bytes) -> bytes:
    """Seal half of them anew, where their own header says that the records end."""
    total = int.from_bytes(data[2:4], "little")
    if dice.random() < 0.5 or not 4 <= total <= len(data):
        return data
    return enc.seal(data[:total]).ljust(len(data), b"\0")


def _change_letter(dice: random.Random, text: str) -> str:
    at = dice.randrange(len(text) + 1)
    letter: str = dice.choice((*ALPHABET, "=", "-", "é", "\0", "\udc80"))
    return text[:at] + letter + text[at + 1 :]


def _insert_letter(dice: random.Random, text: str) -> str:
    at = dice.randrange(len(text) + 1)
    return text[:at] + dice.choice(("\n", " ", "\r\n", "\t", "A", "=", "\u2028")) + text[at:]


def _cut_text(dice: random.Random, text: str) -> str:
    return text[: dice.randrange(len(text) + 1)]


def _lose_padding(dice: random.Random, text: str) -> str:
    return text.rstrip("=") + "=" * dice.randrange(4)


def _wrap(dice: random.Random, text: str) -> str:
    width = dice.choice((1, 64, 76))
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


def _empty(dice: random.Random, text: str) -> str:
    choices: tuple[str, ...] = ("", " ", "\n", "=", "====")
    return dice.choice(choices)


def _very_long(dice: random.Random, text: str) -> str:
    return (text or "A") * (65_536 // max(1, len(text)) + dice.randrange(2))


SOURCES: tuple[Callable[[random.Random], bytes], ...] = (_machine, _machine, _records, _junk)
CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip,
    _overwrite,
    _cut,
    _remove,
    _insert,
    _repeat,
    _header_length,
    _record_length,
    _record_length,
    _trailer_length,
)
TEXT_CHANGES: tuple[Callable[[random.Random, str], str], ...] = (
    _change_letter,
    _insert_letter,
    _cut_text,
    _lose_padding,
    _wrap,
    _empty,
    _very_long,
)
MACHINES = tuple(enc.buffer(enc.machine(number).records(), size=0) for number in range(8))
EVERY_FIELD = frozenset(hh.missing_fields(hh.decode_hash(enc.encode([]))))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="mutate hardware hashes and decode them")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    began = time.perf_counter()
    seen = run(count=chosen.count, seed=chosen.seed)
    took = time.perf_counter() - began
    sys.stdout.write(
        f"{seen.mutations:,} mutations in {took:.0f} s (seed {chosen.seed}): "
        f"{seen.decoded:,} decoded, {seen.noted:,} of them with notes; "
        f"slowest {seen.slowest * 1000:.1f} ms\n"
    )
    for rule, times in seen.refused.most_common():
        sys.stdout.write(f"  {rule:18} {times:>9,}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
