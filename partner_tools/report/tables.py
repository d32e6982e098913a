"""The handoff as tables: an XLSX workbook and a CSV file, one row per device and step.

Every text is written as text: no cell of either becomes a formula, a link, a number or a date
because of what a device or a customer is called.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from partner_tools.report.guide import (
    CHANNELS,
    JOIN_TYPES,
    MAIN_PLANES,
    OUTCOMES,
    OWNERS,
    PLANES,
    REASONS,
    STATUSES,
    cleaned_up,
    day_text,
    start_here,
)
from partner_tools.report.handoff import OPEN, Document

if TYPE_CHECKING:
    from xlsxwriter.format import Format  # type: ignore[import-untyped]
    from xlsxwriter.workbook import Workbook  # type: ignore[import-untyped]
    from xlsxwriter.worksheet import Worksheet  # type: ignore[import-untyped]

Json = Mapping[str, Any]
Cell = str | int | datetime | None

CELL_LIMIT = 32_767
"""Characters that a cell of Excel can hold; XlsxWriter silently drops what is longer."""
ROW_LIMIT = 1_048_576
"""Rows that a sheet of Excel can hold, the heading included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its heading, its width in characters, and where its cells come from."""

    title: str
    width: int
    value: Callable[[Json], Cell]


def _device(title: str, width: int, name: str) -> Column:
    return Column(title=title, width=width, value=lambda row: row["device"].get(name))


def _step(title: str, width: int, name: str) -> Column:
    return Column(title=title, width=width, value=lambda row: _of_step(row, name))


def _of_step(row: Json, name: str) -> Cell:
    value: Cell = row["step"][name] if row["step"] else None
    return value


def _named(title: str, width: int, name: str, words: Mapping[str, str]) -> Column:
    def value(row: Json) -> Cell:
        word = _of_step(row, name)
        return words[word] if isinstance(word, str) else None

    return Column(title=title, width=width, value=value)


def _plane_status(plane: str, width: int) -> Column:
    def value(row: Json) -> Cell:
        standing = row["device"]["planes"].get(plane)
        return STATUSES[standing["status"]] if standing else None

    return Column(title=PLANES[plane], width=width, value=value)


def _left(device: Json) -> str | None:
    """The numbers of the steps that are open."""
    return ", ".join(str(one["order"]) for one in device["steps"] if one["status"] in OPEN) or None


def _plane_id(title: str, plane: str, name: str = "id") -> Column:
    def value(row: Json) -> Cell:
        found: Cell = row["device"]["planes"].get(plane, {}).get("ids", {}).get(name)
        return found

    return Column(title=title, width=38, value=value)


def _time_of(title: str, name: str) -> Column:
    return Column(title=title, width=18, value=lambda row: _time(row["device"][name]))


_IDENTITY = (
    _device("Row", 6, "row"),
    _device("Serial number", 20, "serialNumber"),
    _device("Name", 18, "name"),
    _device("User", 26, "user"),
)
_MORE = (
    _device("Manufacturer", 18, "manufacturer"),
    _device("Model", 24, "model"),
    _device("Product key id", 16, "productKeyId"),
    _device("Reference", 18, "reference"),
)
_OUTCOME = Column(title="Outcome", width=14, value=lambda row: OUTCOMES[row["device"]["outcome"]])

STEP_COLUMNS = (
    *_IDENTITY,
    _OUTCOME,
    _step("Step", 6, "order"),
    Column(title="What to do", width=46, value=lambda row: row["title"]),
    _named("Status", 14, "status", STATUSES),
    _named("Who", 30, "owner", OWNERS),
    _named("Where", 20, "plane", PLANES),
    Column(title="After step", width=12, value=lambda row: row["after"]),
    _step("Why", 60, "why"),
    _step("Command", 60, "command"),
    *_MORE,
)
"""One row per device and step; a device without steps has one row that says so."""

DEVICE_COLUMNS = (
    *_IDENTITY,
    _OUTCOME,
    *(_plane_status(plane, 14) for plane in MAIN_PLANES),
    Column(title="Steps left", width=12, value=lambda row: _left(row["device"])),
    *_MORE,
    _device("Detail", 50, "detail"),
    _device("What to do about it", 50, "remedy"),
    _time_of("Removed at (UTC)", "removedAt"),
    Column(title="Joined", width=16, value=lambda row: JOIN_TYPES[row["device"]["joinType"]]),
    *(_plane_status(plane, 20) for plane in PLANES if plane not in MAIN_PLANES),
    _plane_id("Autopilot id", "autopilot"),
    _plane_id("Intune id", "intune"),
    _plane_id("Entra object id", "entra"),
    _plane_id("Entra device id", "entra", "deviceId"),
    _device("Request id", 38, "requestId"),
    _device("Correlation id", 38, "correlationId"),
)

STEPS_PRINTED = 10
DEVICES_PRINTED = 10
"""The first columns, which fit a landscape page; the others are for the screen."""

GUIDE_COLUMNS = (
    Column(title="Step", width=6, value=lambda row: row["order"]),
    Column(title="What to do", width=46, value=lambda row: row["title"]),
    Column(title="Who", width=30, value=lambda row: OWNERS[row["owner"]]),
    Column(title="Devices", width=10, value=lambda row: row["devices"] or "every one"),
    Column(title="Open", width=8, value=lambda row: row["open"]),
    Column(title="Minutes by hand", width=10, value=lambda row: row["minutes"]["byHand"]),
    Column(title="Minutes by script", width=10, value=lambda row: row["minutes"]["byScript"]),
    Column(title="How", width=90, value=lambda row: row["about"]),
    Column(title="Take care", width=60, value=lambda row: row["caution"]),
    Column(title="Portal", width=70, value=lambda row: " > ".join(row["portal"]) or None),
    Column(title="PowerShell", width=70, value=lambda row: row["powershell"]),
    Column(title="Source", width=60, value=lambda row: row["source"]),
    Column(title="Address", width=60, value=lambda row: row["sourceUrl"]),
    Column(title="Says otherwise", width=60, value=lambda row: row.get("otherSource")),
)
GUIDE_PRINTED = 8


def step_rows(document: Document) -> Iterator[Json]:
    """Every device with each of its steps; a device without steps once, with no step."""
    numbers = {chapter["id"]: chapter["order"] for chapter in document["guide"]}
    titles = {chapter["id"]: chapter["title"] for chapter in document["guide"]}
    for device in document["devices"]:
        for step in device["steps"]:
            after = ", ".join(str(numbers[one]) for one in step["after"]) or None
            yield {"device": device, "step": step, "title": titles[step["id"]], "after": after}
        if not device["steps"]:
            yield {"device": device, "step": None, "title": "Nothing to do", "after": None}


# --- CSV ----------------------------------------------------------------------------------------

_ACTIVE = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""Characters that make a spreadsheet calculate a CSV cell, the wide forms in some languages
(https://owasp.org/www-community/attacks/CSV_Injection, read 2026-11)."""


def write_csv(document: Document, stream: BinaryIO) -> None:
    """One row per device and step, in UTF-8 with a byte order mark, which Excel needs.

    A text that a spreadsheet would calculate is preceded by an apostrophe.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="backslashreplace", newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([column.title for column in STEP_COLUMNS])
    for row in step_rows(document):
        writer.writerow([inert(column.value(row)) for column in STEP_COLUMNS])
    text.flush()
    text.detach()


def inert(value: Cell) -> str:
    """A cell of a CSV file that no spreadsheet calculates."""
    written = "" if value is None else str(value)
    return f"'{written}" if written.startswith(_ACTIVE) else written


# --- XLSX ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Styles:
    """The cell formats of a workbook."""

    title: Format
    heading: Format
    text: Format
    strong: Format
    number: Format
    time: Format


def write_xlsx(document: Document, stream: BinaryIO, row_limit: int = ROW_LIMIT) -> None:
    """Sheets Summary, Steps, Devices and Guide, in memory that does not grow with the devices.

    A sheet of more than `row_limit` rows continues in another one, `Steps 2`.
    """
    from xlsxwriter.workbook import Workbook

    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with Workbook(stream, options) as book:
        styles = _styles(book)
        _write_summary(book, document, styles)
        steps = step_rows(document)
        _write_table(book, "Steps", STEP_COLUMNS, steps, styles, STEPS_PRINTED, limit=row_limit)
        devices = ({"device": device} for device in document["devices"])
        shown = DEVICES_PRINTED
        _write_table(book, "Devices", DEVICE_COLUMNS, devices, styles, shown, limit=row_limit)
        guide = document["guide"]
        _write_table(book, "Guide", GUIDE_COLUMNS, guide, styles, GUIDE_PRINTED, wrap=True)


def _styles(book: Workbook) -> _Styles:
    font = {"font_name": "Calibri", "font_size": 11, "valign": "top"}
    heading = {"bold": True, "bg_color": "#1F3A4D", "font_color": "#FFFFFF", "valign": "vcenter"}
    return _Styles(
        title=book.add_format(font | {"bold": True, "font_size": 16}),
        heading=book.add_format(font | heading),
        text=book.add_format(font | {"num_format": "@"}),
        strong=book.add_format(font | {"bold": True}),
        number=book.add_format(font | {"num_format": "0"}),
        time=book.add_format(font | {"num_format": "yyyy-mm-dd hh:mm", "align": "left"}),
    )


def _write_table(
    book: Workbook,
    name: str,
    columns: Sequence[Column],
    rows: Iterable[Json],
    styles: _Styles,
    printed: int,
    *,
    wrap: bool = False,
    limit: int = ROW_LIMIT,
) -> None:
    """A sheet with a frozen heading and a filter; a further one where Excel's rows run out.

    The first `printed` columns are printed, in landscape and as wide as the page.
    """
    text = _wrapped(book) if wrap else styles.text
    sheet, at, part = _open_table(book, name, columns, styles), 0, 1
    for row in rows:
        if at + 1 == limit:
            sheet.autofilter(0, 0, at, len(columns) - 1)
            sheet.print_area(0, 0, at, printed - 1)
            part += 1
            sheet, at = _open_table(book, f"{name} {part}", columns, styles), 0
        at += 1
        if wrap:
            texts = [(str(column.value(row) or ""), column.width) for column in columns]
            sheet.set_row(at, max(_height(text_, width) for text_, width in texts))
        for place, column in enumerate(columns):
            _write_cell(sheet, at, place, column.value(row), styles, text)
    sheet.autofilter(0, 0, at, len(columns) - 1)
    sheet.print_area(0, 0, at, printed - 1)


def _open_table(book: Workbook, name: str, columns: Sequence[Column], styles: _Styles) -> Worksheet:
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 2 if name.startswith(("Steps", "Devices")) else 0)
    sheet.repeat_rows(0)
    _for_paper(sheet)
    sheet.set_row(0, 22)
    for place, column in enumerate(columns):
        sheet.set_column(place, place, column.width)
        sheet.write_string(0, place, column.title, styles.heading)
    return sheet


def _height(text: str, width: int) -> float:
    """How high a row has to be for its text to fit: some spreadsheets do not work that out."""
    return 15.0 * sum(1 + len(line) // width for line in text.split("\n"))


def _for_paper(sheet: Worksheet) -> None:
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.set_margins(left=0.4, right=0.4, top=0.5, bottom=0.6)
    sheet.set_footer("&L&F&C&A&RPage &P of &N")


def _wrapped(book: Workbook) -> Format:
    return book.add_format({"font_name": "Calibri", "valign": "top", "text_wrap": True})


def _write_cell(
    sheet: Worksheet, row: int, place: int, value: Cell, styles: _Styles, text: Format
) -> None:
    """Numbers and times typed, everything else as text, whatever it looks like."""
    if isinstance(value, str):
        sheet.write_string(row, place, clipped(value), text)
    elif isinstance(value, datetime):
        sheet.write_datetime(row, place, value, styles.time)
    elif value is not None:
        sheet.write_number(row, place, value, styles.number)


def clipped(text: str) -> str:
    """The text as a cell can hold it; what does not fit is named by its length."""
    if text.isascii() and len(text) <= CELL_LIMIT:
        return text
    whole = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(whole) <= CELL_LIMIT:
        return whole
    rest = f" … ({len(whole):,} characters)"
    return whole[: CELL_LIMIT - len(rest)] + rest


def _time(written: str | None) -> datetime | None:
    """A time of the document as Excel takes it: UTC without saying so."""
    if written is None:
        return None
    return datetime.fromisoformat(written).astimezone(UTC).replace(tzinfo=None)


def _write_summary(book: Workbook, document: Document, styles: _Styles) -> None:
    sheet = book.add_worksheet("Summary")
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 40)
    sheet.set_column(2, 6, 16)
    _for_paper(sheet)
    sheet.print_area(0, 0, 200, 6)
    wrapped = _wrapped(book)
    for at, (style, cells) in enumerate(_summary_lines(document, styles)):
        last = cells[-1] if cells else None
        if isinstance(last, str) and len(last) > 60 and style is not styles.title:
            # A sentence goes over the rest of the line, in as many rows of text as it takes.
            first = len(cells) - 1
            sheet.set_row(at, _height(last, 120 if first == 0 else 90))
            sheet.merge_range(at, first, at, 6, "", wrapped)
            sheet.write_string(at, first, clipped(last), wrapped)
            cells = cells[:-1]
        for place, value in enumerate(cells):
            plain = style if place == 0 or style is styles.heading else styles.text
            _write_cell(sheet, at, place, value, styles, plain)


def _summary_lines(document: Document, styles: _Styles) -> Iterator[tuple[Format, Sequence[Cell]]]:
    customer, partner, run = document["customer"], document["partner"], document["run"]
    name = customer["name"] or customer["domain"] or customer["tenantId"] or "(no name)"
    yield styles.title, [f"Device handoff: {name}"]
    yield styles.text, []
    yield styles.text, [STATEMENT]
    yield styles.text, [EVIDENCE[document["summary"]["evidence"]["graph"]]]
    if said := cleaned_up(document):
        yield styles.text, [said]
    yield styles.text, []
    if said := start_here(document):
        yield styles.strong, ["Start here", said]
    if document.get("dueOn"):
        yield styles.strong, ["Due on", day_text(document["dueOn"])]
    yield styles.strong, ["Customer", customer["domain"], customer["tenantId"]]
    yield styles.strong, ["Partner", partner["name"], partner["contact"]]
    yield styles.strong, ["Written at (UTC)", _time(document["generatedAt"])]
    yield styles.strong, ["Run", run["id"]]
    yield styles.strong, ["Channel", CHANNELS[run["channel"]]]
    yield styles.strong, ["Batch", run["batchId"]]
    yield styles.strong, ["Reason", REASONS[run["reason"]]]
    yield styles.strong, ["Ledger digest", run["ledgerDigest"]]
    yield styles.text, []
    yield styles.heading, ["Outcome", "Devices"]
    for outcome, count in document["summary"]["outcomes"].items():
        yield styles.strong, [OUTCOMES[outcome], count]
    yield styles.text, []
    for place, line in enumerate(pivot(document)):
        yield (styles.heading if place == 0 else styles.strong), line


STATEMENT = (
    "A partner's removal takes a device out of Windows Autopilot and does nothing else: the"
    " records in Intune, Microsoft Entra ID and Active Directory are the customer's to clear."
)
EVIDENCE = {
    "none": ("The customer's tenant was not checked: every step there is listed as not verified."),
    "partial": "A part of the customer's tenant was looked at; the rest is listed as not verified.",
    "complete": "Autopilot, Intune and Entra ID were looked at for every device.",
}


def pivot(document: Document) -> list[list[Cell]]:
    """Count steps by owner and status, with sums: a heading and its lines."""
    counts = Counter(
        (OWNERS[step["owner"]], STATUSES[step["status"]])
        for device in document["devices"]
        for step in device["steps"]
    )
    if not counts:
        return []
    import pandas as pd

    frame = pd.DataFrame(
        [(owner, status, count) for (owner, status), count in counts.items()],
        columns=["Steps by who does them", "status", "steps"],
    )
    table = frame.pivot_table(
        index="Steps by who does them",
        columns="status",
        values="steps",
        aggfunc="sum",
        fill_value=0,
        margins=True,
        margins_name="All",
        sort=False,
    )
    order = [word for word in (*STATUSES.values(), "All") if word in table.columns]
    heading: list[Cell] = ["Steps by who does them", *order]
    lines: list[list[Cell]] = [
        [str(owner), *(int(count) for count in line)]
        for owner, line in zip(table.index, table[order].to_numpy(), strict=True)
    ]
    return [heading, *lines]
