"""The same devices in every dialect give the same batch; arbitrary bytes give problems."""

from __future__ import annotations

import csv
import io
import json
import string
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from partner_tools.intake.batch import Intake, check_batch, read_batch
from partner_tools.intake.batch_metadata import IntakeOptions
from partner_tools.intake.columns import SPELLINGS
from partner_tools.intake.row_check import RowCheck
from partner_tools.intake.source import Source, read_lines
from partner_tools.intake.table import records
from partner_tools.model import ChannelName, Device, Problem

Row = dict[str, str]

NAMES = ("serialNumber", "manufacturer", "model", "productKeyId", "customer", "reference")
WORD = st.text(string.ascii_letters + string.digits + "-/_#:", min_size=1, max_size=12)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"serialNumber": WORD.map("S9".__add__)},
        optional={
            "manufacturer": WORD.map("{0}, Inc.".format),
            "model": WORD.map('15.6" {0}; new'.format),
            "productKeyId": st.integers(1, 10**13 - 1).map("{0:013d}".format),
            "customer": st.just("contoso.com"),
            "reference": WORD.map("Zür\U0001f4bb {0}".format),
        },
    ),
    min_size=1,
    max_size=6,
)


def read(content: bytes, channel: ChannelName | None = None) -> Intake:
    return read_batch(Source(name="batch", content=content), IntakeOptions(channel=channel))


def as_rows(devices: Iterable[Device]) -> list[Row]:
    rows = []
    for device in devices:
        identity = device.identity
        values = (
            identity.serial_number,
            identity.manufacturer,
            identity.model,
            identity.product_key_id,
            device.customer,
            device.reference,
        )
        rows.append({name: value for name, value in zip(NAMES, values, strict=True) if value})
    return rows


def table(rows: list[Row]) -> list[list[str]]:
    headers = [SPELLINGS[name][0] for name in NAMES]
    return [headers, *([row.get(name, "") for name in NAMES] for row in rows)]


def write_csv(rows: list[Row], separator: str, ending: str, quoting: int) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=separator,
        lineterminator=ending,
        quoting=quoting,  # type: ignore[arg-type]
    )
    writer.writerows(table(rows))
    return out.getvalue()


def write_xlsx(rows: list[Row]) -> bytes:
    from openpyxl import Workbook

    workbook = Workbook()
    sheet = workbook.worksheets[0]
    for row in table(rows):
        sheet.append(row)
    out = io.BytesIO()
    workbook.save(out)
    return out.getvalue()


def write_json(rows: list[Row]) -> bytes:
    return json.dumps({"schemaVersion": "1", "devices": rows}).encode()


def write_json_lines(rows: list[Row]) -> bytes:
    return "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")
DIALECTS = list(
    product(",;\t", ("\n", "\r\n", "\r"), (csv.QUOTE_MINIMAL, csv.QUOTE_ALL), ENCODINGS)
)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: ascii(dialect))
@settings(max_examples=3)
@given(rows=ROWS)
def test_csv_gives_back_what_was_written(dialect: tuple[Any, ...], rows: list[Row]) -> None:
    separator, ending, quoting, encoding = dialect
    text = write_csv(rows, separator, ending, quoting)
    intake = read(text.encode(encoding))
    assert intake.batch is not None, intake.problems
    assert rows == as_rows(intake.batch.devices)
    assert [device.row for device in intake.batch.devices] == list(range(2, len(rows) + 2))


@pytest.mark.parametrize("write", [write_json, write_json_lines, write_xlsx])
@settings(max_examples=15)
@given(rows=ROWS)
def test_other_formats_give_back_what_was_written(
    write: Callable[[list[Row]], bytes], rows: list[Row]
) -> None:
    intake = read(write(rows))
    assert intake.batch is not None, intake.problems
    assert rows == as_rows(intake.batch.devices)


LINES = st.lists(st.text('ab"\r\n,; \t=', max_size=12), max_size=6).map("\n".join)


@settings(max_examples=150)
@given(text=LINES)
def test_lines_are_split_as_the_csv_module_splits_them(text: str) -> None:
    """The short way for lines without quotation marks gives what the module gives."""
    ours: list[tuple[int, list[str]]] = []
    for one in records(read_lines(io.StringIO(text, newline=None)), ",", "b", 0):
        assume(not isinstance(one, Problem))
        assert not isinstance(one, Problem)
        ours.append((one[0], list(one[1])))
    theirs = []
    reader = csv.reader(io.StringIO(text, newline=None), strict=True)
    before = 0
    for cells in reader:
        theirs.append((before + 1, cells or [""]))
        before = reader.line_num
    assert theirs == ours


ANY_BYTES = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=60).map(b"Serial,PKID\n".__add__),
    st.binary(max_size=60).map(b'{"schemaVersion":"1","devices":['.__add__),
    st.binary(max_size=60).map(b'{"serialNumber":"'.__add__),
    st.binary(max_size=60).map(b"PK\x03\x04".__add__),
    st.binary(max_size=60).map(b"\xff\xfe".__add__),
)
CHANNELS = st.sampled_from([None, *ChannelName])


@pytest.mark.slow
@settings(max_examples=250)
@given(content=ANY_BYTES, channel=CHANNELS)
@example(content=b"Serial\n\xff", channel=None)
@example(content=b"\xef\xbb\xbf", channel=None)
@example(content=b"\xff\xfe", channel=None)
@example(content=b"{", channel=None)
@example(content=b"[", channel=None)
@example(content=b'{"devices":', channel=None)
@example(content=b'"', channel=None)
@example(content=b"sep=", channel=None)
@example(content=b"sep=;\n", channel=None)
def test_any_bytes_end_in_a_batch_or_in_problems(
    content: bytes, channel: ChannelName | None
) -> None:
    intake = read(content, channel)
    assert (intake.batch is not None) or intake.problems
    found: list[Problem] = []
    check_batch(Source(name="batch", content=content), IntakeOptions(channel=channel), found.append)
    assert intake.problems == tuple(sorted(found, key=lambda one: one.row or 0))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["serialNumber", "productKeyId", "extra", "replacement", "tenantId"])
            | st.text(max_size=6),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=150)
@given(value=JSON_VALUES, channel=CHANNELS)
@example(value={"extra": {"0": None}}, channel=None)
def test_any_json_ends_in_a_batch_or_in_problems(
    value: object, channel: ChannelName | None
) -> None:
    device = json.dumps(value)
    for text in (device, f'{{"schemaVersion": "1", "devices": [{device}]}}'):
        intake = read(text.encode(), channel)
        assert (intake.batch is not None) or intake.problems


CELLS = st.text(
    st.sampled_from("Aa0 1,.'\"=+E{}<>|\u00a0\u200b\u202e\u00e4-\x07")
    | st.characters(codec="utf-8"),
    max_size=14,
)
VALUES = st.dictionaries(st.sampled_from([*NAMES, "hardwareHash"]), CELLS, max_size=7)


@pytest.mark.slow
@settings(max_examples=250)
@given(values=VALUES, channel=CHANNELS, is_table=st.booleans())
@example(values={"serialNumber": "NONE"}, channel=None, is_table=True)
@example(values={"serialNumber": "A1", "model": "x "}, channel=None, is_table=True)
@example(values={"serialNumber": "1E+05"}, channel=None, is_table=True)
def test_the_short_way_says_what_the_long_way_says(
    values: dict[str, str], channel: ChannelName | None, is_table: bool
) -> None:
    check = RowCheck(channel, blank_is_absent=is_table)
    row: dict[str, object] = dict(values)
    assert check.examine(row) == check.check(row)
