"""`docs/benchmarks.md` from what `python -m tests.bench` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = Mapping[str, Any]

HEAD = """# Benchmarks

Made by `make bench`; not written by hand. Every figure is measured against a baseline of the same
run on the same machine: trust the ratios more than the absolute numbers. Medians, with the lowest
and highest round. [At the end](#profiles): where the time of the main paths goes, and what was
found and removed.
"""


def page(found: Json) -> str:
    """The whole page."""
    profiles = Path(__file__).with_name("profiles.md").read_text(encoding="utf-8")
    parts = found["parts"]
    return "\n".join([HEAD, *_in_short(parts), *_summary(parts), *_parts(parts), profiles])


SHORT: Sequence[tuple[str, Mapping[str, tuple[str, str]]]] = (
    (
        "`--help` appears after {help} ms; ten rows are validated after {ten} ms.",
        {"help": ("Start-up", "`--help`"), "ten": ("Start-up", "`validate` of ten rows")},
    ),
    (
        "A million rows of CSV are validated in {million} s of processor time.",
        {"million": ("Validation of a million rows", "1,000,000 rows of CSV")},
    ),
    (
        "{listed} devices a second are listed for a plan, {again} once the rate is known.",
        {
            "listed": ("Resolving", "devices listed a second, first run"),
            "again": ("Resolving", "devices listed a second, rate remembered"),
        },
    ),
    (
        "Of the rate that a service with lock-outs allows, a first run of 1,500 removals gets "
        "{first} %, a later one {later} %.",
        {
            "first": ("Goodput, simulated, 1,500 requests", "a lock-out, first run"),
            "later": ("Goodput, simulated, 1,500 requests", "a lock-out, remembered"),
        },
    ),
    (
        "Of 100 requests of such a first run, {refused} are refused for being too many.",
        {"refused": ("Goodput, simulated, 1,500 requests", "429s among the requests, first run")},
    ),
    (
        "The ledger keeps {events} events a second safe, and needs {bytes} bytes a device.",
        {
            "events": ("Ledger: events made durable", "events a second, groups of 50"),
            "bytes": ("Ledger: size and proof", "size per device, all its events"),
        },
    ),
    (
        "In a ledger of a million devices, one is traced in {trace} s.",
        {"trace": ("Ledger: 1,000,000 devices", "`trace of one serial number`")},
    ),
    (
        "A handoff of 10,000 devices opens in a browser in {page} s; its workbook takes {xlsx} s.",
        {
            "page": ("The page of 10,000 devices in Chromium", "opening"),
            "xlsx": ("Reports of 10,000 devices", "xlsx"),
        },
    ),
    (
        "500 devices are looked for in a tenant of 20,000 with {requests} requests.",
        {"requests": ("Looking into a tenant", "requests for 500 devices in an estate of 20,000")},
    ),
    (
        "Eight workers remove {eight} devices a second where one removes {one}.",
        {
            "eight": ("Fleet: from one worker to eight", "removals a second, 8 workers"),
            "one": ("Fleet: from one worker to eight", "removals a second, 1 worker"),
        },
    ),
)
"""The lines that a user reads first, with the figures that they take from the parts."""


def _in_short(parts: Sequence[Json]) -> Iterator[str]:
    figures = {(part["title"], each["what"]): each for part in parts for each in part["figures"]}
    yield "## In short\n"
    for line, names in SHORT:
        if all(name in figures for name in names.values()):
            values = {key: _number(figures[name]["value"]) for key, name in names.items()}
            yield f"- {line.format(**values)}"
    yield "\n## Goals\n"


def _summary(parts: Sequence[Json]) -> Iterator[str]:
    figures = [each for part in parts for each in part["figures"] if each["goal"]]
    missed = [each for each in figures if not each["holds"]]
    yield f"{len(figures) - len(missed)} of {len(figures)} goals hold."
    yield ""
    for each in missed:
        why = each["goal"]["why"]
        yield f"- missed: {each['what']}: {_reached(each)} where {_goal(each)} is wanted" + (
            f"; {why}" if why else ""
        )
    yield ""


def _parts(parts: Sequence[Json]) -> Iterator[str]:
    for part in parts:
        machine = part["machine"]
        yield f"## {part['title']}\n"
        yield f"{part['how']}\n"
        yield (
            f"`{part['command']}`, {machine['date']}, {machine['system']}, Python "
            f"{machine['python']}, {machine['cores']} cores, load {machine['load']}.\n"
        )
        yield "| figure | median (lowest to highest) | baseline | ratio | goal | holds |"
        yield "|---|---|---|---|---|---|"
        yield from map(_line, part["figures"])
        yield ""
        for table in part["tables"]:
            yield f"### {table['title']}\n"
            yield "| " + " | ".join(table["heads"]) + " |"
            yield "|---" * len(table["heads"]) + "|"
            yield from ("| " + " | ".join(row) + " |" for row in table["rows"])
            yield ""


def _line(each: Json) -> str:
    values = each["values"]
    spread = f" ({_number(min(values))} to {_number(max(values))})" if len(values) > 1 else ""
    holds = {None: "", True: "yes", False: "**no**"}[each["holds"]]
    cells = [
        each["what"],
        f"{_number(each['value'])}{spread} {each['unit']}",
        each["baseline"] or "",
        "" if each["ratio"] is None else f"{_number(each['ratio'])}x",
        _goal(each) if each["goal"] else "",
        holds,
    ]
    return "| " + " | ".join(cells) + " |"


def _goal(each: Json) -> str:
    goal = each["goal"]
    unit = "x" if goal["of_ratio"] else f" {each['unit']}"
    return f"{'≤' if goal['at_most'] else '≥'} {_number(goal['bound'])}{unit}"


def _reached(each: Json) -> str:
    if each["goal"]["of_ratio"]:
        return f"{_number(each['ratio'])}x"
    return f"{_number(each['value'])} {each['unit']}"


def _number(value: float) -> str:
    """Three digits that say something.

    >>> [_number(value) for value in (123456.7, 12.345, 0.01234, 0.0, 100.0)]
    ['123,457', '12.3', '0.0123', '0', '100']
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
