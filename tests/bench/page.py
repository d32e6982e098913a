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
    return "\n".join([HEAD, *_summary(found["parts"]), *_parts(found["parts"]), profiles])


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
