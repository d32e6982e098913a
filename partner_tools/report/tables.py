"""The handoff as tables: an XLSX workbook and a CSV file, one row per device and step.

Every text is written as text: no cell of either becomes a formula, a link, a number or a date
because of what a device or a customer is called.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from partner_tools.report.guide import (
    MAIN_PLANES,
    OUTCOMES,
    OWNERS,
    PLANES,
    STATUSES,
    WORDS,
    cleaned_up,
    customer_name,
    day_text,
    start_here,
)
from partner_tools.report.handoff import OPEN, Document

if TYPE_CHECKING:
    from xlsxwriter.format import Format  # type: ignore[import-untyped]
    from xlsxwriter.workbook import Workbook  # type: ignore[import-untyped]
    from xlsxwriter.worksheet import Worksheet  # type: ignore[import-untyped]

Json = Mapping[str, Any]
Styles = Mapping[str, "Format"]
Cell = str | int | datetime | None
Row = Mapping[str, Cell]
"""Cells by the heading of their column; a heading that is missing is an empty cell."""

CELL_LIMIT = 32_767
"""Characters that a cell of Excel can hold; XlsxWriter silently drops what is longer."""
ROW_LIMIT = 1_048_576
"""Rows that a sheet of Excel can hold, the heading included."""


_IDENTITY = {"Row": 6, "Serial number": 20, "Name": 18, "User": 26}
_MORE = {"Manufacturer": 18, "Model": 24, "Product key id": 16, "Reference": 18}
_OTHER_PLANES = [name for plane, name in PLANES.items() if plane not in MAIN_PLANES]

STEP_COLUMNS: Mapping[str, int] = {
    **_IDENTITY,
    "Outcome": 14,
    "Step": 6,
    "What to do": 46,
    "Status": 14,
    "Who": 30,
    "Where": 20,
    "After step": 12,
    "Why": 60,
    "Command": 60,
    **_MORE,
}
"""One row per device and step, by heading: the width in characters. A device without steps has one
row that says so."""
DEVICE_COLUMNS: Mapping[str, int] = {
    **_IDENTITY,
    "Outcome": 14,
    **{PLANES[plane]: 14 for plane in MAIN_PLANES},
    "Steps left": 12,
    **_MORE,
    "Detail": 50,
    "What to do about it": 50,
    "Removed at (UTC)": 18,
    "Joined": 16,
    **dict.fromkeys(_OTHER_PLANES, 20),
    **dict.fromkeys(("Autopilot id", "Intune id", "Entra object id", "Entra device id"), 38),
    **dict.fromkeys(("Request id", "Correlation id"), 38),
}
GUIDE_COLUMNS: Mapping[str, int] = {
    "Step": 6,
    "What to do": 46,
    "Who": 30,
    "Devices": 10,
    "Open": 8,
    "Minutes by hand": 10,
    "Minutes by script": 10,
    "How": 90,
    "Take care": 60,
    "Portal": 70,
    "PowerShell": 70,
    "Source": 60,
    "Address": 60,
    "Says otherwise": 60,
}
STEPS_PRINTED = 10
DEVICES_PRINTED = 10
GUIDE_PRINTED = 8
"""The first columns, which fit a landscape page; the others are for the screen."""


def step_rows(document: Document) -> Iterator[Row]:
    """Every device with each of its steps; a device without steps once, with no step."""
    numbers = {chapter["id"]: chapter["order"] for chapter in document["guide"]}
    titles = {chapter["id"]: chapter["title"] for chapter in document["guide"]}
    for device in document["devices"]:
        row = _identity(device)
        for step in device["steps"]:
            yield row | {
                "Step": step["order"],
                "What to do": titles[step["id"]],
                "Status": STATUSES[step["status"]],
                "Who": OWNERS[step["owner"]],
                "Where": PLANES[step["plane"]],
                "After step": ", ".join(str(numbers[one]) for one in step["after"]) or None,
                "Why": step["why"],
                "Command": step["command"],
            }
        if not device["steps"]:
            yield row | {"What to do": "Nothing to do"}


def device_rows(document: Document) -> Iterator[Row]:
    """Every device, with the status and the ids of its planes."""
    for device in document["devices"]:
        planes = device["planes"]
        ids = {plane: standing.get("ids", {}) for plane, standing in planes.items()}
        yield _identity(device) | {
            "Steps left": steps_left(device) or None,
            **{PLANES[plane]: STATUSES[standing["status"]] for plane, standing in planes.items()},
            "Detail": device["detail"],
            "What to do about it": device["remedy"],
            "Removed at (UTC)": _time(device["removedAt"]),
            "Joined": WORDS["joins"][device["joinType"]],
            "Autopilot id": ids.get("autopilot", {}).get("id"),
            "Intune id": ids.get("intune", {}).get("id"),
            "Entra object id": ids.get("entra", {}).get("id"),
            "Entra device id": ids.get("entra", {}).get("deviceId"),
            "Request id": device["requestId"],
            "Correlation id": device["correlationId"],
        }


def _identity(device: Json) -> dict[str, Cell]:
    return {
        "Row": device["row"],
        "Serial number": device["serialNumber"],
        "Name": device.get("name"),
        "User": device.get("user"),
        "Outcome": OUTCOMES[device["outcome"]],
        "Manufacturer": device["manufacturer"],
        "Model": device["model"],
        "Product key id": device["productKeyId"],
        "Reference": device["reference"],
    }


def guide_rows(document: Document) -> Iterator[Row]:
    """Every step of the guide."""
    for chapter in document["guide"]:
        yield {
            "Step": chapter["order"],
            "What to do": chapter["title"],
            "Who": OWNERS[chapter["owner"]],
            "Devices": chapter["devices"] or "every one",
            "Open": chapter["open"],
            "Minutes by hand": chapter["minutes"]["byHand"],
            "Minutes by script": chapter["minutes"]["byScript"],
            "How": chapter["about"],
            "Take care": chapter["caution"],
            "Portal": " > ".join(chapter["portal"]) or None,
            "PowerShell": chapter["powershell"],
            "Source": chapter["source"],
            "Address": chapter["sourceUrl"],
            "Says otherwise": chapter.get("otherSource"),
        }


def steps_left(device: Json) -> str:
    """The numbers of a device's steps that are open."""
    return ", ".join(str(one["order"]) for one in device["steps"] if one["status"] in OPEN)


# --- CSV ----------------------------------------------------------------------------------------

_ACTIVE = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
"""Characters that make a spreadsheet calculate a CSV cell, the wide forms in some languages
(https://owasp.org/www-community/attacks/CSV_Injection, read 2026-11)."""


def write_csv(document: Document, stream: BinaryIO) -> None:
    """One row per device and step, in UTF-8 with a byte order mark, which Excel needs.

    A text that a spreadsheet would calculate is preceded by an apostrophe.
    """
    write_rows(STEP_COLUMNS, step_rows(document), stream)


def write_rows(columns: Iterable[str], rows: Iterable[Row], stream: BinaryIO) -> None:
    """A heading and its rows as `write_csv` has them."""
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="backslashreplace", newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([inert(row.get(title)) for title in columns])
    text.flush()
    text.detach()


def inert(value: Cell) -> str:
    """A cell of a CSV file that no spreadsheet calculates."""
    written = "" if value is None else str(value)
    return f"'{written}" if written.startswith(_ACTIVE) else written


# --- XLSX ---------------------------------------------------------------------------------------


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
        for name, columns, rows, printed in (
            ("Steps", STEP_COLUMNS, step_rows(document), STEPS_PRINTED),
            ("Devices", DEVICE_COLUMNS, device_rows(document), DEVICES_PRINTED),
        ):
            _write_table(book, name, columns, rows, styles, printed, limit=row_limit)
        guide = guide_rows(document)
        _write_table(book, "Guide", GUIDE_COLUMNS, guide, styles, GUIDE_PRINTED, wrap=True)


def _styles(book: Workbook) -> Styles:
    font: dict[str, Any] = {"font_name": "Calibri", "font_size": 11, "valign": "top"}
    heading = {"bold": True, "bg_color": "#1F3A4D", "font_color": "#FFFFFF", "valign": "vcenter"}
    looks: Mapping[str, dict[str, Any]] = {
        "title": {"bold": True, "font_size": 16},
        "heading": heading,
        "text": {"num_format": "@"},
        "wrapped": {"text_wrap": True},
        "strong": {"bold": True},
        "number": {"num_format": "0"},
        "time": {"num_format": "yyyy-mm-dd hh:mm", "align": "left"},
    }
    return {name: book.add_format(font | look) for name, look in looks.items()}


def _write_table(
    book: Workbook,
    name: str,
    columns: Mapping[str, int],
    rows: Iterable[Row],
    styles: Styles,
    printed: int,
    *,
    wrap: bool = False,
    limit: int = ROW_LIMIT,
) -> None:
    """A sheet with a frozen heading and a filter; a further one where Excel's rows run out.

    The first `printed` columns are printed, in landscape and as wide as the page.
    """
    text = styles["wrapped" if wrap else "text"]
    sheet, at, part = _open_table(book, name, columns, styles), 0, 1
    for row in rows:
        if at + 1 == limit:
            sheet.autofilter(0, 0, at, len(columns) - 1)
            sheet.print_area(0, 0, at, printed - 1)
            part += 1
            sheet, at = _open_table(book, f"{name} {part}", columns, styles), 0
        at += 1
        if wrap:
            heights = [_height(str(row.get(one) or ""), width) for one, width in columns.items()]
            sheet.set_row(at, max(heights))
        for place, title in enumerate(columns):
            _write_cell(sheet, at, place, row.get(title), styles, text)
    sheet.autofilter(0, 0, at, len(columns) - 1)
    sheet.print_area(0, 0, at, printed - 1)


def _open_table(book: Workbook, name: str, columns: Mapping[str, int], styles: Styles) -> Worksheet:
    sheet = book.add_worksheet(name)
    sheet.freeze_panes(1, 2 if name.startswith(("Steps", "Devices")) else 0)
    sheet.repeat_rows(0)
    _for_paper(sheet)
    sheet.set_row(0, 22)
    for place, (title, width) in enumerate(columns.items()):
        sheet.set_column(place, place, width)
        sheet.write_string(0, place, title, styles["heading"])
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


def _write_cell(
    sheet: Worksheet, row: int, place: int, value: Cell, styles: Styles, text: Format
) -> None:
    """Numbers and times typed, everything else as text, whatever it looks like."""
    if isinstance(value, str):
        sheet.write_string(row, place, clipped(value), text)
    elif isinstance(value, datetime):
        sheet.write_datetime(row, place, value, styles["time"])
    elif value is not None:
        sheet.write_number(row, place, value, styles["number"])


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


def _write_summary(book: Workbook, document: Document, styles: Styles) -> None:
    sheet = book.add_worksheet("Summary")
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 40)
    sheet.set_column(2, 6, 16)
    _for_paper(sheet)
    sheet.print_area(0, 0, 200, 6)
    wrapped = styles["wrapped"]
    for at, (style, cells) in enumerate(_summary_lines(document, styles)):
        last = cells[-1] if cells else None
        if isinstance(last, str) and len(last) > 60 and style is not styles["title"]:
            # A sentence goes over the rest of the line, in as many rows of text as it takes.
            first = len(cells) - 1
            sheet.set_row(at, _height(last, 120 if first == 0 else 90))
            sheet.merge_range(at, first, at, 6, "", wrapped)
            sheet.write_string(at, first, clipped(last), wrapped)
            cells = cells[:-1]
        for place, value in enumerate(cells):
            plain = style if place == 0 or style is styles["heading"] else styles["text"]
            _write_cell(sheet, at, place, value, styles, plain)


def _summary_lines(document: Document, styles: Styles) -> Iterator[tuple[Format, Sequence[Cell]]]:
    customer, partner, run = document["customer"], document["partner"], document["run"]
    yield styles["title"], [f"Device handoff: {customer_name(document)}"]
    yield styles["text"], []
    yield styles["text"], [WORDS["summary"]["statement"]]
    yield styles["text"], [WORDS["summary"][document["summary"]["evidence"]["graph"]]]
    if said := cleaned_up(document):
        yield styles["text"], [said]
    yield styles["text"], []
    if said := start_here(document):
        yield styles["strong"], ["Start here", said]
    if document.get("dueOn"):
        yield styles["strong"], ["Due on", day_text(document["dueOn"])]
    yield styles["strong"], ["Customer", customer["domain"], customer["tenantId"]]
    yield styles["strong"], ["Partner", partner["name"], partner["contact"]]
    yield styles["strong"], ["Written at (UTC)", _time(document["generatedAt"])]
    yield styles["strong"], ["Run", run["id"]]
    yield styles["strong"], ["Channel", WORDS["channels"][run["channel"]]]
    yield styles["strong"], ["Batch", run["batchId"]]
    yield styles["strong"], ["Reason", WORDS["reasons"][run["reason"]]]
    yield styles["strong"], ["Ledger digest", run["ledgerDigest"]]
    yield styles["text"], []
    yield styles["heading"], ["Outcome", "Devices"]
    for outcome, count in document["summary"]["outcomes"].items():
        yield styles["strong"], [OUTCOMES[outcome], count]
    yield styles["text"], []
    for place, line in enumerate(pivot(document)):
        yield (styles["heading"] if place == 0 else styles["strong"]), line


def pivot(document: Document) -> list[list[Cell]]:
    """Count steps by owner and status, with sums: a heading and its lines."""
    counts: dict[str, Counter[str]] = {}
    for device in document["devices"]:
        for step in device["steps"]:
            counts.setdefault(OWNERS[step["owner"]], Counter())[STATUSES[step["status"]]] += 1
    if not counts:
        return []
    counts["All"] = sum(counts.values(), Counter())
    shown = [word for word in STATUSES.values() if word in counts["All"]]
    lines: list[list[Cell]] = [["Steps by who does them", *shown, "All"]]
    for owner, count in counts.items():
        lines.append([owner, *(count[word] for word in shown), count.total()])
    return lines
