"""Reading a batch: from a file to devices, with every problem of the whole file at once.

`check_batch` streams: CSV and JSON Lines of any length in flat memory, but for the index of
duplicates. `read_batch` keeps the devices, and hands them out only when nothing is an error.
Nothing is corrected without being said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import chain
from typing import NamedTuple

from partner_tools.intake import limits
from partner_tools.intake.batch_metadata import (
    BatchMetadata,
    IntakeOptions,
    ReadingOptions,
    company_name,
    read_metadata,
)
from partner_tools.intake.columns import IDENTIFIERS, SERIAL
from partner_tools.intake.duplicate_index import DuplicateIndex
from partner_tools.intake.identifiers import several_in
from partner_tools.intake.json_batch import JsonBatch, is_foreign, json_lines_rows, json_lines_table
from partner_tools.intake.row_check import Extra, RowCheck, Values
from partner_tools.intake.rules import Finding, HaltError, finding, halt, problem, shown
from partner_tools.intake.source import (
    Encoding,
    Format,
    Source,
    find_encoding,
    format_of_text,
    hold,
    hold_pipe,
    is_zip,
    open_source,
    read_lines,
    read_some,
    read_whole,
    refuse_binary,
    unreadable,
)
from partner_tools.intake.table import Item, Row, csv_rows
from partner_tools.model import Batch, ChannelName, Device, Identity, Problem, Severity

Report = Callable[[Problem], None]
Keep = Callable[[Row], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """A batch that was read. `batch` is None if a problem is an error.

    `problems` are sorted by row, those of the whole file first; `count` is how many device rows
    there are, good and bad.
    """

    batch: Batch | None
    problems: tuple[Problem, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """The counts of a check: device rows, good and bad, and problems by severity."""

    devices: int
    errors: int
    warnings: int


class _Opened(NamedTuple):
    """A batch whose rows can be read, once. `findings` concern the whole of it."""

    metadata: BatchMetadata
    findings: tuple[Finding, ...]
    rows: Iterable[Item]
    is_table: bool


def read_batch(source: Source, options: IntakeOptions) -> Intake:
    """Read and check a whole batch. Never raises for what a file holds: that is a problem.

    The content is read once and held, at most `limits.HELD_BYTES`, so that the digest is that of
    the devices.
    """
    problems: list[Problem] = []
    rows: list[Row] = []
    try:
        held = hold(source)
    except HaltError as halt:
        return Intake(batch=None, problems=(halted(source, halt),), count=0)
    reading = _Reading(held, options, problems.append, rows.append)
    metadata = reading.run()
    batch = None
    if metadata is not None and not reading.errors:
        batch = _batch(held, metadata, rows, options.reading)
    in_order = sorted(problems, key=lambda one: one.row or 0)
    return Intake(batch=batch, problems=tuple(in_order), count=reading.devices)


def check_batch(source: Source, options: IntakeOptions, report: Report) -> Count:
    """Check a whole batch and report each problem as it is found: in order of rows, then summaries.

    Keeps no device: memory is flat but for some twenty bytes a row.
    """
    try:
        source = hold_pipe(source)
    except HaltError as halt:
        report(halted(source, halt))
        return Count(devices=0, errors=1, warnings=0)
    reading = _Reading(source, options, report, None)
    reading.run()
    return Count(devices=reading.devices, errors=reading.errors, warnings=reading.warnings)


def validation_document(problems: Iterable[Problem], devices: int) -> dict[str, object]:
    """What `validate --output json` prints; `validation.schema.json` is its contract."""
    from partner_tools.result import problem_document

    listed = [problem_document(one) for one in problems]
    valid = not any(one["severity"] == Severity.ERROR for one in listed)
    return {"schemaVersion": "1", "valid": valid, "devices": devices, "problems": listed}


def _batch(
    source: Source, metadata: BatchMetadata, rows: Iterable[Row], reading: ReadingOptions
) -> Batch:
    from partner_tools.json_forms import digest_of_bytes

    content = source.content or b""
    if reading != ReadingOptions():  # other rows of one file are another batch
        content += b"\0" + repr(reading).encode()
    digest = digest_of_bytes(content)
    compared = not reading.compare_serial or metadata.channel is ChannelName.OEM_DIRECT
    return Batch(
        batch_id=metadata.batch_id or digest,
        file=source.name,
        digest=digest,
        devices=tuple(_device(row, compared=compared) for row in rows),
        reason=metadata.reason,
        channel=metadata.channel,
        customer=metadata.customer,
        reference=metadata.reference,
    )


class _Reading:
    """One pass over a batch: it counts, reports every problem and keeps rows if asked to."""

    def __init__(
        self, source: Source, options: IntakeOptions, report: Report, keep: Keep | None
    ) -> None:
        self._source = source
        self._options = options
        self._report = report
        self._keep = keep
        self.devices = self.errors = self.warnings = 0

    def run(self) -> BatchMetadata | None:
        """Read to the end, or to where nothing more can be read. None if nothing was."""
        metadata = None
        with ExitStack() as resources:
            try:
                opened = _open(self._source, self._options, resources)
                metadata = opened.metadata
                self._tell(None, opened.findings)
                self._rows(opened)
            except HaltError as halted:
                self._tell(halted.row, [halted.finding])
            except OSError as error:
                self._tell(None, [unreadable(error).finding])
            except UnicodeError:
                changed = finding("encoding", "the file changed while it was read")
                self._tell(None, [changed])
        if not self.devices and not self.errors:
            self._tell(None, [finding("no-devices", "the file names no device")])
        return metadata

    def _rows(self, opened: _Opened) -> None:
        metadata = opened.metadata
        check = RowCheck(
            metadata.channel,
            blank_is_absent=opened.is_table,
            judge_hashes=self._options.judge_hashes,
        )
        seen = DuplicateIndex()
        tenant = str(metadata.customer).casefold()
        split = self._options.reading.split_cells
        named = _CustomerNames(metadata, given=self._options.customer is not None)
        for item in opened.rows:
            if isinstance(item, Problem):
                self._one(item)
                continue
            for line, values, extra in _split(item) if split else (item,):
                self.devices += 1
                if values is None:
                    continue
                name = named.take(values) if opened.is_table and "customer" in values else None
                values, found = check.check(values, extra)
                if found:
                    self._tell(line, found)
                if name is not None:
                    values, extra = named.put(values, extra, name, line)
                key = _key(values, tenant)
                first = seen.first(key, line) if key else None
                if first is not None:
                    message = f"row {first} names this device already"
                    self._tell(line, [finding("duplicate-device", message)])
                if self._keep:
                    self._keep(Row(line, values, extra))
        self._tell(named.line, named.findings())

    def _tell(self, row: int | None, found: Iterable[Finding]) -> None:
        for one in found:
            self._one(problem(self._source.name, row, one))

    def _one(self, one: Problem) -> None:
        if one.severity is Severity.ERROR:
            self.errors += 1
        else:
            self.warnings += 1
        self._report(one)


def _split(row: Row) -> Iterator[Row]:
    """A row for each serial number of its cell, as the user wishes it; else the row itself."""
    several = several_in(str((row.values or {}).get(SERIAL, "")))
    if not several or {"productKeyId", "hardwareHash"}.intersection(row.values or {}):
        yield row
    for serial in several:
        yield Row(row.line, {**(row.values or {}), SERIAL: serial}, row.extra)


class _CustomerNames:
    """The company names in a column of customers: looked up when the batch is planned.

    With a customer `given` for the whole batch, and on OEM Direct, they only travel along.
    """

    def __init__(self, metadata: BatchMetadata, *, given: bool) -> None:
        self._travels = given or metadata.channel is ChannelName.OEM_DIRECT
        self._names: dict[str, None] = {}
        self.line: int | None = None

    def take(self, values: Values) -> str | None:
        """Take the customer out of a row where it is neither a GUID nor a domain."""
        name = company_name(values["customer"])
        if name is not None:
            del values["customer"]
        return name

    def put(self, values: Values, extra: Extra, name: str, line: int) -> tuple[Values, Extra]:
        """Put the name back where it counts."""
        if self._travels:
            return values, (*extra, ("Customer", name))
        self.line = self.line or line
        if len(self._names) < 4:
            self._names[name] = None
        return {**values, "customer": name}, extra

    def findings(self) -> Iterator[Finding]:
        """Yield the findings that concern all of them."""
        if self._names:
            listed = ", ".join(map(shown, list(self._names)[:3])) + ", …" * (len(self._names) > 3)
            message = f"customers are given by name, which is looked up when planning: {listed}"
            yield finding("customer-name", message, column="customer")


def _key(values: Values, tenant: str) -> tuple[str, str, str] | None:
    """Return the key by which rows are the same device: the serial, else its substitute."""
    if "customer" in values:
        tenant = str(values["customer"]).casefold()
    for name in IDENTIFIERS:
        if name in values:
            return name, str(values[name]), tenant
    return None


def halted(source: Source, halt: HaltError) -> Problem:
    return problem(source.name, halt.row, halt.finding)


def _open(source: Source, options: IntakeOptions, resources: ExitStack) -> _Opened:
    """Tell the format of a batch, and read what precedes its rows."""
    with open_source(source) as stream:
        start = read_some(stream, 16)
    if not start:
        raise halt("empty-file", "the file is empty")
    refuse_binary(start)
    metadata, findings = read_metadata(None, options)
    channel, reading = metadata.channel, options.reading
    if is_zip(start):
        from partner_tools.intake.xlsx import xlsx_rows

        content = read_whole(source, limits.XLSX_BYTES, "the workbook")
        rows = xlsx_rows(content, source.name, channel, reading)
        return _Opened(metadata, findings, rows, is_table=True)
    encoding = find_encoding(source)
    guessed = tuple(_guess(encoding))
    first = _peek(source, encoding)
    form = format_of_text(first)
    if form is Format.JSON:
        content = read_whole(source, limits.JSON_BYTES, "a JSON batch")
        batch = JsonBatch(content.decode(encoding.codec), source.name)
        if batch.is_table:
            rows = batch.table_rows(channel, reading)
        else:
            _require_no_columns(reading)
            metadata, findings = read_metadata(batch.properties, options)
            guessed, rows = (*guessed, *batch.findings()), batch.rows()
        return _Opened(metadata, (*findings, *guessed), rows, is_table=batch.is_table)
    marks: set[int] = set()

    def lines() -> Iterator[str]:
        stream = resources.enter_context(open_source(source))
        text = resources.enter_context(TextIOWrapper(stream, encoding=encoding.codec))
        return read_lines(text, marks.add)

    is_table = form is Format.CSV or is_foreign(first[0])
    if form is Format.CSV:
        rows = csv_rows(lines(), source.name, channel, reading)
    elif is_table:
        rows = json_lines_table(lines, source.name, channel, reading)
    else:
        _require_no_columns(reading)
        rows = json_lines_rows(lines(), source.name)
    rows = chain(rows, _end_marks(source.name, marks))
    return _Opened(metadata, (*findings, *guessed), rows, is_table=is_table)


def _require_no_columns(reading: ReadingOptions) -> None:
    """Raise HaltError where a batch without columns is to be read by a column."""
    if reading.serial_column or reading.only or reading.excluded:
        raise halt("conflict", "the batch has no columns by which rows could be chosen")


def _end_marks(file: str, lines: Iterable[int]) -> Iterator[Item]:
    for line in sorted(lines):
        yield problem(file, line, finding("skipped-line", "the end-of-file mark of DOS is skipped"))


def _guess(encoding: Encoding) -> Iterator[Finding]:
    if encoding.guessed_at is not None:
        message = (
            "the file is not UTF-8 and was read as Windows-1252, which is a guess; "
            f"it matters from line {encoding.guessed_at} on"
        )
        yield finding("encoding-guessed", message)


def _peek(source: Source, encoding: Encoding) -> list[str]:
    """The first lines that are not blank, without their ends."""
    with TextIOWrapper(open_source(source), encoding=encoding.codec) as text:
        start = text.read(limits.TEXT_CHARACTERS)
    return [line for line in start.split("\n") if line.strip()]


def _device(row: Row, *, compared: bool) -> Device:
    """The device of a row whose values keep the batch schema.

    A manufacturer and a model that are not `compared` travel along.
    """
    values, extra = dict(row.values or {}), row.extra
    for name, header in () if compared else (("manufacturer", "Manufacturer"), ("model", "Model")):
        if name in values:
            extra += ((header, str(values.pop(name))),)
    replacement, own = values.get("replacement"), values.get("extra")
    if isinstance(own, dict):
        extra += tuple((str(name), str(text)) for name, text in own.items())
    return Device(
        row=row.line,
        identity=_identity(values),
        customer=_text(values, "customer"),
        reference=_text(values, "reference"),
        replacement=_identity(replacement) if isinstance(replacement, dict) else None,
        extra=extra,
    )


def _identity(values: Mapping[str, object]) -> Identity:
    return Identity(
        serial_number=_text(values, "serialNumber"),
        manufacturer=_text(values, "manufacturer"),
        model=_text(values, "model"),
        product_key_id=_text(values, "productKeyId"),
        hardware_hash=_text(values, "hardwareHash"),
    )


def _text(values: Mapping[str, object], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) else None
