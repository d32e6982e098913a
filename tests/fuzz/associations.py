"""Hostile device association records: never a wrong device, never `clear` by accident.

    python -m tests.fuzz.associations --count 1000000 --seed 7

makes that many records, looks for devices among them as a run does (by `contains` in all its
quirks, or in the whole list), and compares what is concluded with what plainly stands in the
records. Prints what was concluded how often, and ends with 1 at the first contradiction.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from partner_tools.clients.graph import read_row
from partner_tools.model import Outcome, Reason
from partner_tools.outstanding.cleanup_plan import plan_cleanup
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.evidence import evidence_from, probe_from
from partner_tools.outstanding.search import (
    By,
    Collection,
    Question,
    SearchAnswer,
    SearchTarget,
    answers_from_list,
    conclude,
    questions,
)
from partner_tools.outstanding.types import DeviceFacts, Found, Plane, Probe, ProbeResult, Status

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
ZERO = "00000000-0000-0000-0000-000000000000"
STATES: tuple[Any, ...] = (
    *("preassociated", "associated", "pendingRemoval", "PreAssociated", "ASSOCIATED"),
    *("removed", "clear", "", " preassociated", "none", None, 0, True, [], {"value": "associated"}),
)
NOISE = ("", "", "", " ", "\u00a0", "\u200b", "\ufeff", "-", "0", "\u202e", "\x00")
GONE_BEFORE = (None, None, "preassociated", "associated", "pendingRemoval", "somethingNew")


def serial(chance: random.Random) -> str:
    """Short, so that one is often a part of another or the same but for its form."""
    return "".join(chance.choices("A1bO0", k=chance.randint(1, 4)))


def disguised(text: str, chance: random.Random) -> str:
    """The same serial number in another form, or one that only resembles it."""
    text = chance.choice((text, text, text.lower(), text.upper(), text.swapcase()))
    text = f"{chance.choice(NOISE)}{text}{chance.choice(NOISE)}"
    if chance.random() < 0.1:
        text = "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)
    return text


def record(known: Sequence[str], chance: random.Random) -> Any:
    """A record as no service should send it, now and then as one does."""
    if chance.random() < 0.01:
        return chance.choice((None, [], "record", 7, {}))
    row: dict[str, Any] = {
        "id": f"{chance.getrandbits(32):08x}-0000-4000-8000-000000000000",
        "serialNumber": disguised(chance.choice((*known, serial(chance))), chance),
        "associationState": chance.choice(STATES),
        "managedDeviceId": chance.choice((ZERO, None, "", "m-1")),
        "smbiosUuid": chance.choice((ZERO, 5, None)),
        "unknownProperty": chance.choice((None, {"a": [1]}, "x" * 600)),
    }
    for name in ("id", "serialNumber", "associationState"):
        if chance.random() < 0.02:
            row[name] = chance.choice((None, "", 0, [], {}, ZERO))
        elif chance.random() < 0.01:
            del row[name]
    return row


def canonical(text: object) -> str:
    """A serial number as a careful reader compares it, written anew for this check."""
    folded = unicodedata.normalize("NFKC", str(text)).casefold()
    dropped = {"Cf", "Cc", "Zs", "Zl", "Zp"}
    return "".join(each for each in folded if unicodedata.category(each) not in dropped)


def read(rows: Sequence[Any]) -> tuple[list[Found], str | None]:
    """A page as the client reads it: all of it, or nothing."""
    try:
        return [read_row(Collection.ASSOCIATIONS, row) for row in rows], None
    except ValueError as error:
        return [], str(error)


def told(asked: Sequence[Question], rows: Sequence[Any], way: str) -> dict[Question, SearchAnswer]:
    """What the service answers: by its filter, by one that it ignores, or with the whole list."""
    if way == "list":
        read_rows, error = read(rows)
        if error is not None:
            return {each: SearchAnswer(error=error) for each in asked}
        return answers_from_list(asked, read_rows, "r-1")
    answers = {}
    for each in asked:
        matching = [row for row in rows if _contains(row, each, way)]
        read_rows, error = read(matching)
        answers[each] = SearchAnswer(rows=tuple(read_rows), error=error)
    return answers


def _contains(row: Any, question: Question, way: str) -> bool:
    if way == "ignored":
        return True
    if not isinstance(row, dict):
        return False
    if question.by is By.ID:
        return str(row.get("id")).lower() == question.value
    return question.value.casefold() in str(row.get("serialNumber")).casefold()


def look(known: str, rows: Sequence[Any], way: str, chance: random.Random) -> str:
    """Look for one device and check what is concluded; the status of its plane."""
    before = chance.choice(GONE_BEFORE)
    earlier = () if before is None else (_seen(known, before),)
    target = SearchTarget(
        index=0,
        serial=known,
        association_ids=frozenset({"before"}) if earlier and chance.random() < 0.5 else frozenset(),
    )
    answers = told(questions(Collection.ASSOCIATIONS, target), rows, way)
    probe = conclude(Collection.ASSOCIATIONS, target, answers, AT)
    assert probe is not None
    probe = probe_from(evidence_from(probe))
    facts = DeviceFacts(
        outcome=Outcome.REMOVED,
        reason=Reason.RESALE,
        at=AT,
        serial_number=known,
        removed_at=AT - timedelta(hours=3),
        probes=(*earlier, _absent(Plane.INTUNE), _absent(Plane.AUTOPILOT), probe),
    )
    decision = decide(facts)
    standing = decision.planes[Plane.DEVICE_ASSOCIATION]
    _check(known, rows, way, before, probe, standing.status)
    for action in plan_cleanup(facts, decision).moves:
        (mine,) = [row for row in rows if isinstance(row, dict) and row.get("id") == action.record]
        assert mine["serialNumber"].strip() == known, (known, mine)
        assert str(mine["associationState"]).strip().casefold() == "preassociated", mine
    return standing.status.value


def _check(
    known: str, rows: Sequence[Any], way: str, before: str | None, probe: Probe, status: Status
) -> None:
    for one in probe.found:
        assert str(one.attributes["serialNumber"]).strip() == known, (known, one)
    if status is not Status.CLEAR:
        return
    assert probe.result is ProbeResult.ABSENT, probe
    assert before not in ("associated", "somethingNew"), before
    for row in rows:
        assert way not in ("list", "ignored") or isinstance(row, dict), row
        name = row.get("serialNumber") if isinstance(row, dict) else None
        if way in ("list", "ignored"):
            assert isinstance(name, str), row
            assert canonical(name), row
        if isinstance(name, str):
            exact = known.casefold() in name.casefold() or way in ("list", "ignored")
            assert not (exact and canonical(name) == canonical(known)), (known, row)


def _seen(known: str, state: str) -> Probe:
    attributes = {"serialNumber": known, "associationState": state}
    return Probe(
        plane=Plane.DEVICE_ASSOCIATION,
        result=ProbeResult.FOUND,
        observed_at=AT - timedelta(days=1),
        found=(Found(ids={"id": "before"}, attributes=attributes),),
    )


def _absent(plane: Plane) -> Probe:
    return Probe(plane=plane, result=ProbeResult.ABSENT, observed_at=AT)


def fuzz(count: int, number: int) -> Counter[str]:
    """Look among `count` records; how often each status was concluded."""
    chance, seen = random.Random(number), Counter[str]()  # noqa: S311
    left = count
    while left > 0:
        known = [serial(chance) for _ in range(chance.randint(1, 3))]
        size = min(left, chance.choice((1, 1, 2, 3, 10, 25)))
        rows = [record(known, chance) for _ in range(size)]
        left -= size
        for each in known:
            way = chance.choice(("list", "contains", "ignored"))
            seen[f"{way}: {look(each, rows, way, chance)}"] += 1
    return seen


def main() -> int:
    """Run it; 1 at the first contradiction."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    began = time.monotonic()
    try:
        seen = fuzz(given.count, given.seed)
    except AssertionError as error:
        print(f"contradiction with seed {given.seed}: {error}")
        return 1
    print(f"{given.count} records in {time.monotonic() - began:.0f} s, no contradiction")
    for name, times in sorted(seen.items()):
        print(f"  {name}: {times}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
