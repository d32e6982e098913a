"""Prints: the result on stdout, everything else on stderr."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from partner_tools.cli.streams import UndeliveredError
from partner_tools.errors import PartnerToolsError

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from partner_tools import RunRecord
    from partner_tools.model import Device

STEPS_SHOWN = 200
NAMED = 20
"""The most devices named in one cell; the rest is counted."""
NAMED_IN_ROW = 3
"""The most devices of one outcome and reason named in a result's row; the rest is counted."""
ROWS_SHOWN = 40
"""A text result lists this many devices that need attention; the rest is counted."""
WHOLE = frozenset({"row", "run", "state", "via", "devices", "outcome"})
"""Columns whose cells are short, and therefore never folded."""
WHOLE_WORDS = frozenset({"run, started"})
"""Columns that are folded between words only."""
WIDE = 110
"""A narrower terminal has no room for a column for everything."""
LONGEST_WORD = 16
"""Where not every word fits, a column has room for its longest up to this."""
_PIECES = re.compile(r"(?:`[^`]*`|\S)+")
"""The unbreakable pieces of a line: words, and commands in backticks as a whole."""
_TYPED = re.compile(r"\s*(?:(?:next: |\$ )?partner-tools\s|export \w+=|\$env:\w)")
"""Lines that are a command to paste: only the terminal may break them."""


def is_unwritable(error: OSError) -> bool:
    """Whether standard output cannot be written, or a temporary file for want of room: no bug."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, UndeliveredError) or error.errno in full


@contextmanager
def telling_of_no_room() -> Iterator[None]:
    """Say if there is no room for the result, instead of failing."""
    try:
        yield
    except OSError as error:
        if not is_unwritable(error):
            raise
        tell(f"the result cannot be written: {error.strerror}")


def print_json(document: Mapping[str, Any]) -> None:
    """One document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=True, indent=2))


def print_line(document: Mapping[str, Any]) -> None:
    """One line of JSON Lines on stdout, at once."""
    click.echo(json.dumps(document, ensure_ascii=True))
    sys.stdout.flush()


def print_document(form: str, document: Mapping[str, Any], items: str = "") -> None:
    """A document, indented as `json`; as `jsonl` a line for it, or for each of its `items`."""
    if form == "json":
        print_json(document)
    else:
        for line in document[items] if items else [document]:
            print_line(line)


@dataclass(slots=True)
class Form:
    """How everything that is not the result is written: for people, or as JSON Lines.

    `above` writes above a line of the screen that is written over, while there is one.
    """

    is_json: bool = False
    above: Callable[[str], None] | None = None


FORM: Final = Form()
"""Of this process; a command sets it by `--log-format`, and it is as before when it ends."""
OWN_LINES = "partner_tools.cli"
"""The `logger` of a line that is no log line."""


def tell(message: str, level: str = "info", **facts: str | int | None) -> None:
    """Say something that is not the result. The facts are for a program that reads it."""
    write_line(as_told(message, level, **facts))


def write_line(line: str) -> None:
    """A line on stderr, above what is written over there."""
    if FORM.above is not None:
        FORM.above(line)
    else:
        click.echo(line, err=True)


def as_told(message: str, level: str = "info", **facts: str | int | None) -> str:
    """What `tell` writes."""
    if not FORM.is_json:
        return fitted(clean(message), sys.stderr)
    return json_line(time.time(), level, OWN_LINES, message.strip(), **facts)


def json_line(at: float, level: str, logger: str, message: str, **facts: str | int | None) -> str:
    """A line of a log for programs. `at` is in seconds since 1970; facts that are None are not."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at))
    line = {"at": moment, "level": level, "logger": logger, "message": message}
    stated = {name: fact for name, fact in facts.items() if fact is not None}
    return json.dumps({**line, **stated}, ensure_ascii=True)


def is_screen() -> bool:
    """Whether standard error is a terminal, where a line may be overwritten."""
    return sys.stderr.isatty() and not FORM.is_json


def say(sentence: str, *, indent: int = 2) -> None:
    """Print a sentence of the result; continuation lines are indented further."""
    click.echo(fitted(clean(sentence), sys.stdout, indent))


def fitted(text: str, stream: TextIO, indent: int = 2) -> str:
    """The text, on a terminal with its sentences broken between words instead of anywhere."""
    if not stream.isatty():
        return text
    import shutil  # loads three ways of compressing

    width = shutil.get_terminal_size().columns
    return "\n".join(broken(line, width, indent) for line in text.split("\n"))


def broken(line: str, width: int, indent: int = 2) -> str:
    """A line as several of this width, but for a command to paste, which stays one."""
    if len(line) <= width or _TYPED.match(line):
        return line
    margin = line[: len(line) - len(line.lstrip())]
    first, *pieces = _PIECES.findall(line)
    lines = [f"{margin}{first}"]
    for piece in pieces:
        if len(lines[-1]) + 1 + len(piece) <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(f"{margin}{' ' * indent}{piece}")
    return "\n".join(lines)


def print_error(error: PartnerToolsError) -> None:
    if FORM.is_json:
        remedy = error.remedy or None
        tell(str(error), "error", exit=error.exit_code, rule=error.rule, remedy=remedy)
        return
    tell(f"error: {error}")
    if error.remedy:
        tell(f"  next: {error.remedy}")


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """A table that fits the terminal, or a line for each cell where it is too narrow for one.

    In a pipe a line for each row, however long it is. Nothing is ever cut off.
    """
    shown = [tuple(clean(cell or "").replace("\n", " ") for cell in row) for row in rows]
    if sys.stdout.isatty() or os.environ.get("FORCE_COLOR"):
        from rich.console import Console  # 66 of the 980 ms of processor that `runs` takes

        console = Console(file=sys.stdout, soft_wrap=False)
        widths = _widths(list(zip(headers, *shown, strict=True)), console.width)
        if widths is None:
            sys.stdout.writelines(f"{line}\n" for line in _blocks(headers, shown, console.width))
        else:
            console.print(_table(headers, shown, widths))
    else:
        # Not by click, which takes a pipe in ASCII for a mistake and writes UTF-8 into it.
        sys.stdout.writelines(f"{line}\n" for line in _aligned(headers, shown))
    sys.stdout.flush()  # here, so that a full disk is noticed while a run can still be resumed


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """The widths of the lowest table: with all words whole, or without. None: none fits."""
    from rich.cells import cell_len

    wanted = [max(map(cell_len, column)) for column in columns]
    room = width - 2 * (len(columns) - 1)
    leasts = (
        [_least(name, cells, most) for name, *cells in columns] for most in (width, LONGEST_WORD)
    )
    found = [shared(room, least, wanted) for least in leasts if sum(least) <= room]

    def height(widths: Sequence[int]) -> int:
        rows = zip(*columns, strict=True)
        return sum(
            max(-(-cell_len(cell) // each) for cell, each in zip(row, widths, strict=True))
            for row in rows
        )

    return min(found, key=height, default=None)


def shared(room: int, least: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """How wide columns are: at least so much each, and the rest to who would be highest without.

    Not as rich does it, which makes a table wider than the terminal, and cuts it off, where
    columns have a least width.
    """
    widths = list(least)
    while sum(widths) < room:
        tallest = max(range(len(widths)), key=lambda each: wanted[each] / widths[each])
        if widths[tallest] >= wanted[tallest]:
            break
        widths[tallest] += 1
    return widths


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    # With NO_COLOR rich takes out colours, but not bold.
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
        header_style="" if os.environ.get("NO_COLOR") else "table.header",
    )
    for name, width in zip(headers, widths, strict=True):
        table.add_column(name, overflow="fold", no_wrap=name in WHOLE, width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _least(name: str, cells: Sequence[str], longest: int) -> int:
    """How wide a column has to be at least, if words up to the `longest` stay whole."""
    from rich.cells import cell_len

    if name in WHOLE:
        return max(map(cell_len, (name, *cells)))
    if name in WHOLE_WORDS:
        longest = sys.maxsize
    return min(longest, max(cell_len(word) for cell in (name, *cells) for word in cell.split()))


def _blocks(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield each row as a block, with a line for each cell that isn't empty."""
    indent = max(map(len, headers)) + 2
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, cell in zip(headers, row, strict=True):
            if cell:
                shown = broken(cell, width - indent, 0).replace("\n", f"\n{'':{indent}}")
                yield f"{name:<{indent}}{shown}"


def _aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table whose columns are as wide as they have to be."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(headers, *rows, strict=True)]
    rule = "\u2500" if (sys.stdout.encoding or "").lower().startswith("utf") else "-"

    def line(row: Sequence[str]) -> str:
        padded = zip(row, widths, strict=True)
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in padded)
        return "  ".join(cells).rstrip()

    yield line(headers)
    yield rule * (sum(widths) + 2 * (len(widths) - 1))
    yield from map(line, rows)


def print_filled_columns(headers: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    filled = [number for number in range(len(headers)) if any(row[number] for row in rows)]
    print_table(
        [headers[number] for number in filled], [[row[number] for number in filled] for row in rows]
    )


def print_grouped(rows: Sequence[Mapping[str, str]], narrow: Iterable[Sequence[str]]) -> None:
    """Print records, all with the same keys; on a narrow terminal several keys in one column."""
    import shutil

    if not rows:
        return
    if sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE:
        rows = [
            {", ".join(keys): " ".join(filter(None, map(row.get, keys))) for keys in narrow}
            for row in rows
        ]
    print_filled_columns(tuple(rows[0]), [tuple(row.values()) for row in rows])


def print_result(
    document: Mapping[str, Any], *, each_device: bool = False, list_all: str = ""
) -> None:
    """Print a run's result for a person: the counts, and every device that needs attention.

    Devices with one outcome, reason and remedy are one row, unless `each_device` asks for all;
    `list_all` is the command that does.
    Devices that proceed as planned or only need waiting come last: they must not push out the rest.
    """
    counts = tallied(document["counts"])
    say(f"run {document['run']}  {document['state']}  {counts or 'no devices'}")
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for device in sorted(document["devices"], key=lambda each: each["outcome"] == "pending"):
        if device["outcome"] in ("removed", "absent") and not device["detail"]:
            continue
        shown = _shown_outcome(document, device)
        why = (shown, device["detail"] or "", device["remedy"] or "")
        alone = (str(device["row"] or ""), _name_of(device)) if each_device else ()
        groups.setdefault((*why, *alone), []).append(device)
    if not groups:
        return
    rows = [(*_rows_and_names(group), *key[:3]) for key, group in groups.items()]
    print_filled_columns(("row", "serial number", "outcome", "why", "next"), rows[:ROWS_SHOWN])
    if len(rows) > ROWS_SHOWN:
        click.echo(f"… and {len(rows) - ROWS_SHOWN} more; --output json lists them all")
    elif list_all and any(len(group) > NAMED_IN_ROW for group in groups.values()):
        click.echo(f"each device: {list_all}")


def _rows_and_names(group: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """A few devices by name, more of them by their number."""
    if len(group) > NAMED_IN_ROW:
        return "", counted(len(group), "device")
    return (
        ", ".join(str(each["row"]) for each in group if each["row"]),
        ", ".join(map(_name_of, group)),
    )


def print_steps(document: Mapping[str, Any]) -> None:
    """Of a cleanup: which objects by id, and which step of which device; and what is left alone."""
    rows = [row for device in document["devices"] for row in _step_rows(device)]
    if rows:
        click.echo()
        print_table(("row", "serial number", "step", "object", "status"), rows[:STEPS_SHOWN])
    if len(rows) > STEPS_SHOWN:
        click.echo(f"… and {len(rows) - STEPS_SHOWN} more; --output json lists them all")
    if left := list(_untouched_rows(document["devices"])):
        click.echo()
        print_filled_columns(("not touched", "why", "devices", "objects"), left)


def _step_rows(device: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    named = (str(device["row"] or ""), _name_of(device))
    for step in device.get("steps", ()):
        yield (*named, step["id"], step["record"] or "", step["status"])


def _untouched_rows(devices: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield one row per reason for untouched objects; with the objects if they are one device's."""
    groups: dict[tuple[str, str], list[tuple[str, Sequence[str]]]] = {}
    for device in devices:
        for left in device.get("untouched", ()):
            found = groups.setdefault((left["plane"], left["why"]), [])
            found.append((_name_of(device), left["records"]))
    for (plane, why), found in groups.items():
        names = [name for name, _ in found]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        objects = " ".join(found[0][1]) if len(found) == 1 else ""
        yield plane, why, f"{', '.join(names[:NAMED])}{more}", objects


def _name_of(device: Mapping[str, Any]) -> str:
    return str(device["serialNumber"] or device.get("productKeyId") or "")


def local_time(at: datetime) -> str:
    """A moment for people: in the zone of this machine, with its offset from UTC."""
    return at.astimezone().isoformat(" ", timespec="minutes")


def origin(record: RunRecord, device: Device | None = None) -> str:
    """When, by whom, from which list and under which ticket a run, or a device, was named."""
    by = f" by {record.actor}" if record.actor else ""
    row = f" row {device.row}" if device else ""
    facts = (f"{Path(record.file).name}{row}", _reference(record, device), chosen_id(record))
    return "; ".join(filter(None, (f"started {local_time(record.created_at)}{by}", *facts)))


def chosen_id(record: RunRecord) -> str:
    """The batch's id if a person chose it; one made of its content means nothing."""
    return "" if record.batch_id.startswith("sha256:") else record.batch_id


def origin_document(record: RunRecord, device: Device | None = None) -> dict[str, Any]:
    """The same for programs."""
    return {
        "account": record.actor,
        "file": record.file,
        "reference": _reference(record, device),
        "startedAt": record.created_at.isoformat(),
    }


def _reference(record: RunRecord, device: Device | None) -> str | None:
    return (device.reference if device else None) or record.reference


def tallied(counts: Mapping[str, int]) -> str:
    """`2 removed, 1 duplicate`."""
    return ", ".join(f"{number} {name}" for name, number in counts.items())


def counted(number: int, noun: str) -> str:
    """`1 device`, `2 devices`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def clean(text: str) -> str:
    """Foreign text without what would move the cursor or reorder the line."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def _shown_outcome(document: Mapping[str, Any], device: Mapping[str, Any]) -> str:
    if document["state"] == "planned" and device["outcome"] == "pending":
        return "to be cleaned up" if "steps" in device else "to be removed"
    return str(device["outcome"])


def without_password(url: str) -> str:
    """A ledger's URL as it may be shown."""
    hidden = re.sub(r"(?<=://)([^:/@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*password=)[^&]*", r"\1***", hidden)


def styled(text: str, colour: str) -> str:
    """The text in a colour; click takes it out if there is no terminal."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=True)


_PLAIN = re.compile(r"[A-Za-z0-9_./:\\=+-]+")
"""Words that PowerShell takes as they are: no `$`, backtick, comma, `@`, `;`, `&`, `~` or blank."""


def pasteable(*words: str, windows: bool = os.name == "nt") -> str:
    """The words as one command line: for PowerShell on Windows, for a POSIX shell elsewhere."""
    return " ".join(map(_for_powershell, words)) if windows else shlex.join(words)


def assigned(name: str, value: str, *, windows: bool = os.name == "nt") -> str:
    """The line that sets an environment variable for what is started from the shell afterwards."""
    if windows:
        return f"$env:{name} = '{_doubled(value)}'"
    return f"export {name}={shlex.quote(value)}"


def _for_powershell(word: str) -> str:
    """The word as PowerShell's single quotes hold it: nothing in them means anything but `'`.

    Typographic quotation marks end a string there as well, and are doubled alike
    (https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules,
    read 2026-11).
    """
    if _PLAIN.fullmatch(word):
        return word
    return f"'{_doubled(word)}'"


def _doubled(text: str) -> str:
    return re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", text)
