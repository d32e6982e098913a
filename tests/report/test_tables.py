"""The workbook and the CSV file: every text a text, every device and step a row."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook
from openpyxl.workbook import Workbook

from partner_tools.report.handoff import Document
from partner_tools.report.tables import (
    CELL_LIMIT,
    DEVICE_COLUMNS,
    GUIDE_COLUMNS,
    STEP_COLUMNS,
    clipped,
    device_rows,
    guide_rows,
    inert,
    pivot,
    step_rows,
    write_csv,
    write_xlsx,
)
from tests.report import fleet


def workbook(document: Document, **more: int) -> Workbook:
    """The handoff as Excel would open it."""
    stream = io.BytesIO()
    write_xlsx(document, stream, **more)
    return load_workbook(stream)


def lines(document: Document) -> list[list[str]]:
    """The rows of the CSV file."""
    stream = io.BytesIO()
    write_csv(document, stream)
    text = stream.getvalue().decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline="")))


def rows(document: Document) -> int:
    """How many rows a table of steps has, without its heading."""
    return sum(max(1, len(device["steps"])) for device in document["devices"])


@pytest.mark.slow
def test_the_workbook_has_its_sheets_with_frozen_headings_and_filters() -> None:
    document = fleet.handoff(fleet.mixed())
    book = workbook(document)
    assert book.sheetnames == ["Summary", "Steps", "Devices", "Guide"]
    counts = {"Steps": rows(document)}
    counts |= {name: len(document[name.lower()]) for name in ("Devices", "Guide")}
    for name, count in counts.items():
        sheet = book[name]
        assert sheet.max_row == count + 1
        assert sheet.freeze_panes is not None
        assert sheet.auto_filter.ref.startswith("A1:")
        assert sheet.auto_filter.ref.endswith(str(count + 1))
        assert sheet.column_dimensions["B"].width > 20


def test_times_are_times_and_identifiers_are_text() -> None:
    sheet = workbook(fleet.handoff(fleet.mixed()))["Devices"]
    titles = [cell.value for cell in sheet[1]]
    first = dict(zip(titles, sheet[2], strict=True))
    assert first["Removed at (UTC)"].value == datetime(2026, 11, 23, 9, 12)  # noqa: DTZ001
    assert first["Removed at (UTC)"].is_date
    assert first["Product key id"].value == "3300000000002"
    assert first["Product key id"].number_format == "@"
    assert first["Row"].value == 2


def test_no_cell_is_a_formula_a_link_or_a_number_by_its_name() -> None:
    names = (*fleet.HOSTILE, "000123", "1E5", "TRUE", "NA", "http://evil.example", "3.30567E+12")
    book = workbook(fleet.handoff(fleet.hostile(names)))
    for sheet in book.worksheets:
        for line in sheet.iter_rows():
            for cell in line:
                assert cell.data_type != "f", cell.coordinate
                assert cell.hyperlink is None
    serials = [cell.value for cell in book["Devices"]["B"][1:]]
    assert serials[-6:] == ["000123", "1E5", "TRUE", "NA", "http://evil.example", "3.30567E+12"]


def test_a_workbook_is_whole_xml_whatever_is_in_it() -> None:
    stream = io.BytesIO()
    write_xlsx(fleet.handoff(fleet.hostile(["\x00\x01\ufffe\ud800", "]]>", "&#0;"])), stream)
    with zipfile.ZipFile(stream) as archive:
        assert archive.testzip() is None
    assert load_workbook(stream)["Devices"].max_row == 4


def test_a_sheet_that_is_full_goes_on_in_the_next() -> None:
    document = fleet.handoff(list(fleet.large(30)))
    book = workbook(document, row_limit=20)
    names = [name for name in book.sheetnames if name.startswith("Devices")]
    assert names == ["Devices", "Devices 2"]
    written = [cell.value for name in names for cell in book[name]["A"][1:]]
    assert written == [device["row"] for device in document["devices"]]
    assert all(book[name]["A1"].value == "Row" for name in names)


def test_a_text_that_no_cell_holds_is_cut_and_says_so() -> None:
    whole = clipped("x" * 40_000)
    assert len(whole) == CELL_LIMIT
    assert whole.endswith("(40,000 characters)")
    assert clipped("x" * CELL_LIMIT) == "x" * CELL_LIMIT


def test_the_summary_sums_steps_by_who_and_status() -> None:
    document = fleet.handoff(fleet.mixed())
    heading, *people, total = pivot(document)
    assert heading == ["Steps by who does them", "Outstanding", "Not verified", "Expected", "All"]
    steps = document["summary"]["steps"]
    assert total[1:4] == [steps["outstanding"], steps["not-verified"], steps["expected"]]
    assert total[4] == sum(steps.values())
    assert {line[0] for line in people} >= {"Intune administrator", "Partner"}


def test_nothing_to_do_makes_no_pivot() -> None:
    assert pivot(fleet.handoff([])) == []


def test_a_csv_row_for_every_device_and_step() -> None:
    document = fleet.handoff(fleet.mixed())
    heading, *body = lines(document)
    assert heading == list(STEP_COLUMNS)
    assert len(body) == rows(document)
    clean = [line for line in body if line[0] == "10"]
    title = list(STEP_COLUMNS).index("What to do")
    assert [line[title] for line in clean] == ["Nothing to do"]


def test_a_csv_file_opens_in_excel() -> None:
    stream = io.BytesIO()
    write_csv(fleet.handoff(fleet.mixed()), stream)
    assert stream.getvalue().startswith(b"\xef\xbb\xbfRow,")
    assert b"\r\n" in stream.getvalue()


def test_no_csv_cell_is_calculated() -> None:
    wide = "\uff1d\uff0b\uff0d\uff20"  # which some languages take for the others
    names = (*fleet.HOSTILE, *(f"{sign}1+1" for sign in wide))
    for line in lines(fleet.handoff(fleet.hostile(names))):
        for cell in line:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", *wide))


@given(st.text())
def test_an_inert_cell_keeps_its_text(text: str) -> None:
    written = inert(text)
    assert written in {text, f"'{text}"}
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_any_serial_survives_the_csv_file(names: list[str]) -> None:
    document = fleet.handoff(fleet.hostile(names))
    expected = [
        inert(device["serialNumber"]) for device in document["devices"] for _ in device["steps"]
    ]
    assert expected == [line[1] for line in lines(document)[1:]]


def test_every_cell_has_a_column() -> None:
    document = fleet.handoff(fleet.mixed())
    for columns, rows_ in ((STEP_COLUMNS, step_rows), (DEVICE_COLUMNS, device_rows)):
        assert {name for row in rows_(document) for name in row} <= set(columns)
    assert {name for row in guide_rows(document) for name in row} == set(GUIDE_COLUMNS)


def test_steps_name_the_ones_before_them_by_number() -> None:
    document = fleet.handoff(fleet.mixed())
    after = {(row["Row"], row["What to do"]): row.get("After step") for row in step_rows(document)}
    (keys,) = (one["order"] for one in document["guide"] if one["id"] == "back-up-keys")
    assert after[2, "Delete the device from Intune"] == str(keys)
