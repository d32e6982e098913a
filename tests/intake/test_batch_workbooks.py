"""Workbooks that are hostile, damaged or simply as people leave them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.comments import Comment
from openpyxl.styles import Font, PatternFill

from partner_tools.intake.batch import Intake, read_batch
from partner_tools.intake.batch_metadata import IntakeOptions, ReadingOptions
from partner_tools.intake.source import Source

SHEET = "xl/worksheets/sheet1.xml"
ROW = '<row r="{0}"><c r="A{0}" t="inlineStr"><is><t>{1}</t></is></c></row>'
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(fill: Callable[[Workbook], None] | None = None) -> bytes:
    made = Workbook()
    sheet = made.worksheets[0]
    sheet.append(["Serial", "Note"])
    sheet.append(["5CG0000001", "x"])
    if fill:
        fill(made)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


PLAIN = workbook()


def with_parts(parts: Mapping[str, bytes], content: bytes = PLAIN) -> bytes:
    """The workbook with some of its parts replaced or added."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in old.infolist():
            if part.filename not in parts:
                new.writestr(part, old.read(part))
        for name, data in parts.items():
            new.writestr(name, data)
    return out.getvalue()


def sheet_of(rows: str, before: str = "") -> bytes:
    text = f'{before}<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
    return with_parts({SHEET: text.encode()})


def read(content: bytes) -> Intake:
    return read_batch(Source(name="batch.xlsx", content=content), IntakeOptions())


def rules_of(intake: Intake) -> list[str]:
    return [one.rule for one in intake.problems]


ENTITIES = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)


@pytest.mark.parametrize("part", [SHEET, "xl/workbook.xml", "[Content_Types].xml", "xl/other.bin"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_in_every_part(part: str, encoding: str) -> None:
    """Entities could expand without end, and could read files of this machine."""
    text = f'<?xml version="1.0" encoding="{encoding}"?><!-- x -->{ENTITIES}<x>&c;</x>'
    assert ["xlsx-unsafe"] == rules_of(read(with_parts({part: text.encode(encoding)})))


def test_part_that_expands_without_measure_is_refused() -> None:
    bomb = with_parts({"xl/media/image1.png": bytes(8 * 1024 * 1024)})
    assert len(bomb) < 20_000
    assert ["xlsx-unsafe"] == rules_of(read(bomb))


def test_workbook_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    """The directory of the archive says so, true or not: nothing is unpacked to find out."""
    out = io.BytesIO(with_parts({"xl/media/1.bin": b"x", "xl/media/2.bin": b"x"}))
    with zipfile.ZipFile(out, "a") as archive:
        for name in ("xl/media/1.bin", "xl/media/2.bin"):
            part = archive.getinfo(name)
            part.file_size = part.compress_size = 200 * 1024 * 1024
        archive.writestr("xl/media/3.bin", b"x")
    assert ["file-too-large"] == rules_of(read(out.getvalue()))


def test_too_many_parts_are_refused() -> None:
    many = with_parts({f"xl/media/{place}": b"" for place in range(2_001)})
    assert ["xlsx-unsafe"] == rules_of(read(many))


@pytest.mark.parametrize("number", ["99999999999", "1048577", "0", "-1", "x", "1.5"])
def test_rows_beyond_a_sheet_are_damage(number: str) -> None:
    """A reader fills the gap before a row; here it would do so for ever."""
    rows = ROW.format(1, "Serial") + ROW.format(number, "5CG0000001")
    assert ["xlsx-damaged"] == rules_of(read(sheet_of(rows)))


def test_rows_that_go_back_are_damage() -> None:
    """openpyxl would leave the later row out and say nothing."""
    rows = ROW.format(1, "Serial") + ROW.format(3, "A1") + ROW.format(2, "A2")
    assert ["xlsx-damaged"] == rules_of(read(sheet_of(rows)))


@pytest.mark.parametrize("column", ["IW", "XFD", "ZZZZZZZZZ", "AAAA"])
def test_cells_far_to_the_right_are_refused(column: str) -> None:
    """A reader fills a row up to its last cell."""
    cell = f'<c r="{column}2" t="inlineStr"><is><t>x</t></is></c>'
    rows = ROW.format(1, "Serial") + f'<row r="2">{cell}</row>'
    assert ["cell-count"] == rules_of(read(sheet_of(rows)))


def test_rows_without_numbers_count_up() -> None:
    rows = "".join(
        f'<row><c t="inlineStr"><is><t>{text}</t></is></c></row>' for text in ("Serial", "A1", "A2")
    )
    intake = read(sheet_of(rows))
    assert intake.batch is not None
    assert [(2, "A1"), (3, "A2")] == [
        (device.row, device.identity.serial_number) for device in intake.batch.devices
    ]


def test_gaps_keep_the_row_of_the_sheet() -> None:
    rows = ROW.format(3, "Serial") + ROW.format(40_000, "A1")
    intake = read(sheet_of(rows))
    assert intake.batch is not None
    assert [40_000] == [device.row for device in intake.batch.devices]


def test_a_lying_dimension_is_not_believed() -> None:
    rows = ROW.format(1, "Serial") + ROW.format(2, "A1") + ROW.format(3, "A2")
    text = (
        f'<worksheet xmlns="{MAIN}"><dimension ref="A1:A2"/><sheetData>{rows}</sheetData>'
        "</worksheet>"
    )
    assert read(with_parts({SHEET: text.encode()})).count == 2


def test_hidden_sheet_is_not_read() -> None:
    """Nobody sees what it holds; that it is there is said."""

    def fill(made: Workbook) -> None:
        other = made.create_sheet("old")
        other.append(["Serial"])
        other.append(["5CG0000009"])
        other.sheet_state = "hidden"

    intake = read(workbook(fill))
    assert intake.batch is not None
    assert ["sheet-ignored", "unknown-column"] == rules_of(intake)
    assert ["5CG0000001"] == [device.identity.serial_number for device in intake.batch.devices]


def test_rows_hidden_by_a_filter_are_an_error_each() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        for number in range(2, 6):
            sheet.append([f"5CG000000{number}"])
        for row in (3, 5):
            sheet.row_dimensions[row].hidden = True

    intake = read(workbook(fill))
    hidden = [one.row for one in intake.problems if one.rule == "hidden-row"]
    assert [3, 5] == hidden
    assert intake.batch is None


def test_other_cells_travel_as_text() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        for value in (datetime(2026, 4, 17), 7, 7.0, 7.5, True, "=1+1"):  # noqa: DTZ001
            sheet.append([f"A{sheet.max_row}", value])

    intake = read(workbook(fill))
    assert intake.batch is not None
    texts = [device.extra[0][1] for device in intake.batch.devices[1:]]
    assert ["2026-04-17 00:00:00", "7", "7", "7.5", "TRUE", "=1+1"] == texts


def test_zip_of_something_else_is_named() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    assert ["unknown-format"] == rules_of(read(out.getvalue()))


PARTS = zipfile.ZipFile(io.BytesIO(PLAIN)).namelist()


@pytest.mark.slow
@settings(max_examples=60)
@given(
    part=st.sampled_from(PARTS),
    cut=st.tuples(st.integers(0, 400), st.integers(0, 40)),
    put=st.binary(max_size=12)
    | st.sampled_from([b'r="-1"', b"<row", b't="s"', b"<v>9</v>", b"&#0;"]),
)
def test_damaged_parts_end_in_a_batch_or_in_problems(
    part: str, cut: tuple[int, int], put: bytes
) -> None:
    with zipfile.ZipFile(io.BytesIO(PLAIN)) as archive:
        data = archive.read(part)
    start, length = cut
    damaged = data[:start] + put + data[start + length :]
    intake = read(with_parts({part: damaged}))
    assert (intake.batch is not None) or intake.problems


@settings(max_examples=60)
@given(place=st.integers(0, len(PLAIN) - 1), byte=st.integers(0, 255), cut=st.integers(0, 3))
def test_damaged_archives_end_in_a_batch_or_in_problems(place: int, byte: int, cut: int) -> None:
    damaged = PLAIN[:place] + bytes([byte]) + PLAIN[place + cut :]
    intake = read(damaged)
    assert (intake.batch is not None) or intake.problems


def read_as(fill: Callable[[Workbook], None], **options: Any) -> Intake:
    reading = ReadingOptions(**options)
    source = Source(name="batch.xlsx", content=workbook(fill))
    return read_batch(source, IntakeOptions(reading=reading))


def serials(intake: Intake) -> list[str | None]:
    assert intake.batch is not None, intake.problems
    return [device.identity.serial_number for device in intake.batch.devices]


def test_struck_rows_are_an_error_each() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        sheet.append(["5CG0000002", "not this one"])
        sheet.append(["5CG0000003", "y"])
        sheet["A3"].font = Font(strike=True)
        sheet["B4"].font = Font(strike=True)  # a note that no longer holds says nothing

    intake = read(workbook(fill))
    assert [3] == [one.row for one in intake.problems if one.rule == "struck-row"]
    assert intake.batch is None


def test_text_struck_in_part_is_struck() -> None:
    """Excel keeps such a text among the shared strings, in runs."""
    override = (
        b'<Override PartName="/xl/sharedStrings.xml" ContentType="application/vnd.openxmlformats-'
        b'officedocument.spreadsheetml.sharedStrings+xml"/></Types>'
    )
    with zipfile.ZipFile(io.BytesIO(PLAIN)) as archive:
        types = archive.read("[Content_Types].xml").replace(b"</Types>", override)
    runs = "<si><r><rPr><strike/></rPr><t>5CG00</t></r><r><t>00001</t></r></si>"
    row = '<row r="2"><c r="A2" t="s"><v>0</v></c></row>'
    parts = {
        "[Content_Types].xml": types,
        "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}">{runs}</sst>'.encode(),
    }
    assert ["struck-row"] == rules_of(
        read(with_parts(parts, sheet_of(ROW.format(1, "Serial") + row)))
    )


def test_text_struck_in_a_cell_that_holds_it_itself_is_struck() -> None:
    """Programs that write workbooks keep it in the cell, where openpyxl forgets its runs."""
    runs = "<is><r><rPr><strike{}/></rPr><t>5CG00</t></r><r><t>00001</t></r></is>"
    row = '<row r="2"><c r="A2" t="inlineStr">' + runs + "</c></row>"
    for value, expected in (("", ["struck-row"]), (' val="0"', [])):
        sheet = sheet_of(ROW.format(1, "Serial") + row.format(value))
        assert expected == rules_of(read(with_parts({}, sheet)))


def test_a_struck_row_of_a_list_without_a_header_is_an_error() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        sheet.delete_rows(1, 10)
        sheet.append(["5CG0000001"])
        sheet.append(["5CG0000002"])
        sheet["A2"].font = Font(strike=True)

    intake = read(workbook(fill))
    assert intake.batch is None
    assert [(one.row, one.rule) for one in intake.problems if one.rule != "bare-list"] == [
        (2, "struck-row")
    ]


def test_rows_of_another_colour_are_named_once() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        for number in range(2, 8):
            sheet.append([f"5CG000000{number}", "x"])
        for cell in (*sheet[1], *sheet[4]):
            cell.fill = PatternFill("solid", fgColor="D9D9D9")

    intake = read(workbook(fill))
    (found,) = [one for one in intake.problems if one.rule == "filled-rows"]
    assert found.row == 4
    assert "row 4 " in found.message
    assert len(serials(intake)) == 7


def test_banded_rows_are_not_coloured_ones() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        for number in range(2, 8):
            sheet.append([f"5CG000000{number}", "x"])
        for row in range(2, 9, 2):
            for cell in sheet[row]:
                cell.fill = PatternFill("solid", fgColor="D9D9D9")

    assert "filled-rows" not in rules_of(read(workbook(fill)))


def test_the_sheet_with_devices_is_chosen() -> None:
    def fill(made: Workbook) -> None:
        made.create_sheet("Summary", 0).append(["Devices to retire", 1])
        made.create_sheet("Template").append(["Serial number"])

    intake = read(workbook(fill))
    assert serials(intake) == ["5CG0000001"]
    assert rules_of(intake).count("sheet-ignored") == 2


def test_of_several_sheets_one_has_to_be_named() -> None:
    def fill(made: Workbook) -> None:
        other = made.create_sheet("Berlin")
        other.append(["Seriennummer"])
        other.append(["5CG0000009"])

    assert "xlsx-sheets" in rules_of(read(workbook(fill)))
    assert serials(read_as(fill, sheet="berlin")) == ["5CG0000009"]
    assert "xlsx-sheets" in rules_of(read_as(fill, sheet="Paris"))


def numbers(made: Workbook) -> None:
    sheet = made.worksheets[0]
    for row, (value, form) in enumerate(
        ((120456789, "0000000000"), (38619123657, "General"), (5, "000"), (7, "@")), start=3
    ):
        sheet.append([value])
        sheet[f"A{row}"].number_format = form


def test_numbers_are_offered_as_excel_shows_them() -> None:
    found = [one for one in read(workbook(numbers)).problems if one.rule == "spreadsheet-damage"]
    assert ['"0120456789"', '"38619123657"', '"005"', '"7"'] == [
        one.message.rpartition(" ")[2] for one in found
    ]
    assert all("--numbers-as-shown" in one.remedy for one in found)
    assert serials(read_as(numbers, numbers_as_shown=True))[2:] == ["38619123657", "005", "7"]


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (123456789012, "General"),
        (1234567.5, "0000000"),
        (1234567, "#,##0"),
        (1234567, "0.00E+00"),
        (1234567890123456, "0000000000000000"),
        (-5, "000"),
    ],
)
def test_scientific_and_rounded_numbers_are_never_taken(value: float, form: str) -> None:
    def fill(made: Workbook) -> None:
        made.worksheets[0].append([value])
        made.worksheets[0]["A3"].number_format = form

    assert "spreadsheet-damage" in rules_of(read_as(fill, numbers_as_shown=True))


def test_a_cell_merged_downwards_counts_for_all_its_rows() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        sheet["C1"] = "Manufacturer"
        sheet["C2"] = "HP"
        sheet.append(["5CG0000002", "x"])
        sheet.append(["5CG0000003", "x", "Dell Inc."])
        sheet.merge_cells("C2:C3")

    intake = read(workbook(fill))
    assert intake.batch is not None, intake.problems
    assert ["HP", "HP", "Dell Inc."] == [
        device.identity.manufacturer for device in intake.batch.devices
    ]


def test_title_rows_and_merged_titles_are_skipped() -> None:
    def fill(made: Workbook) -> None:
        sheet = made.worksheets[0]
        sheet.insert_rows(1, 2)
        sheet["A1"] = "Contoso: devices to retire"
        sheet.merge_cells("A1:B1")

    intake = read(workbook(fill))
    assert serials(intake) == ["5CG0000001"]
    assert "skipped-line" in rules_of(intake)


def test_comments_are_named_and_not_read() -> None:
    def fill(made: Workbook) -> None:
        made.worksheets[0]["A2"].comment = Comment("keep this one", "x")

    (found,) = [one for one in read(workbook(fill)).problems if one.rule == "comments"]
    assert "A2" in found.message


def test_what_a_formula_last_showed_is_offered() -> None:
    row = '<row r="2"><c r="A2" t="str"><f>B2</f><v>5CG0000001</v></c></row>'
    (found,) = read(sheet_of(ROW.format(1, "Serial") + row)).problems
    assert found.rule == "spreadsheet-damage"
    assert 'Excel last showed "5CG0000001"' in found.message
