"""The rules for batches: every rule with its severity and its remedy, in one list.

A finding is a rule that one value, row or file broke, in words; it becomes a `model.Problem` when
a reader knows where. A message never holds a product key, a hash or a whole row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from partner_tools.model import Problem, Severity
from partner_tools.outstanding import FACTS

SHOWN_CHARACTERS = 60
"""How much of a foreign text a message repeats."""

PRODUCT_KEY_TEXT = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{5}(-[0-9A-Za-z]{5}){4}(?![0-9A-Za-z])")
"""A product key of five groups, anywhere in a text: a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A stable name, whether breaking it stops the batch, and what to do next."""

    name: str
    severity: Severity
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A broken rule in words. `column` is a property of the batch schema or a header."""

    rule: str
    severity: Severity
    message: str
    remedy: str
    column: str | None = None


class HaltError(Exception):
    """The rest of the file cannot be read; internal to intake, which turns it into a problem."""

    def __init__(self, finding: Finding, row: int | None = None) -> None:
        super().__init__(finding.message)
        self.finding = finding
        self.row = row


def finding(
    rule: Rule, message: str, *, column: str | None = None, remedy: str | None = None
) -> Finding:
    """A broken rule, with the rule's own remedy where none fits better."""
    return Finding(
        rule=rule.name,
        severity=rule.severity,
        message=message,
        remedy=remedy or rule.remedy,
        column=column,
    )


def problem(file: str, row: int | None, found: Finding) -> Problem:
    """The finding at its place."""
    return Problem(
        file=file,
        row=row,
        column=_column(found.column),
        rule=found.rule,
        severity=found.severity,
        message=found.message,
        remedy=found.remedy,
    )


def _column(name: str | None) -> str | None:
    """A header or property as it is spelt, unless it is hostile."""
    if name is None or (len(name) <= SHOWN_CHARACTERS and name.isprintable()):
        is_secret = name is not None and PRODUCT_KEY_TEXT.search(name)
        return "(a product key, not shown)" if is_secret else name
    return shown(name)


def shown(text: str) -> str:
    """A foreign text for a message: in quotes, cut, nothing invisible, no product key.

    >>> shown("a\\u202eb")
    '"a\\\\u202eb"'
    """
    if PRODUCT_KEY_TEXT.search(text):
        return "(a product key, not shown)"
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
    return '"' + "".join(map(_visible, cut)) + '"'


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "replace").decode("ascii")


def _error(name: str, remedy: str) -> Rule:
    return Rule(name=name, severity=Severity.ERROR, remedy=remedy)


def _warning(name: str, remedy: str) -> Rule:
    return Rule(name=name, severity=Severity.WARNING, remedy=remedy)


_SAVE_AS_UTF8 = "save the file again as UTF-8 (in Excel: CSV UTF-8), without changing its content"
_SPLIT = "split the batch into several files, or write it as CSV or JSON Lines, which have no limit"
_FROM_SOURCE = "take the value from its source again and keep the column as text"

# The file
UNREADABLE_FILE = _error("unreadable-file", "check the path and your permission to read the file")
EMPTY_FILE = _error("empty-file", "name a file that holds a header and at least one device")
NO_DEVICES = _error("no-devices", "name at least one device: an empty batch never means everything")
UNKNOWN_FORMAT = _error("unknown-format", "write the batch as CSV, JSON, JSON Lines or XLSX")
TOO_LARGE = _error("file-too-large", _SPLIT)
LINE_TOO_LONG = _error("line-too-long", "check that the file is a batch and that its quotes match")
ENCODING = _error("encoding", _SAVE_AS_UTF8)
ENCODING_GUESSED = _warning("encoding-guessed", _SAVE_AS_UTF8)
NUL_CHARACTER = _error("nul-character", _SAVE_AS_UTF8)
XLSX_DAMAGED = _error("xlsx-damaged", "open the workbook in Excel and save it again as .xlsx")
XLSX_UNSAFE = _error("xlsx-unsafe", "ask whoever sent it; a workbook that Excel saved is not so")
XLSX_SHEETS = _error("xlsx-sheets", "name the sheet that has the devices with --sheet")
SHEET_IGNORED = _warning("sheet-ignored", "move its devices to the sheet that is read, if any")
HIDDEN_ROW = _error("hidden-row", "show the hidden rows, or delete them from the sheet")
STRUCK_ROW = _error("struck-row", "delete the row from the sheet, or take off the strike-through")
FILLED_ROWS = _warning("filled-rows", "delete the rows if their colour says that they stay")
COMMENTS = _warning("comments", "read the comments in Excel: they may say that a device stays")
PARTIAL_LIST = _warning("partial-list", "fetch the other pages as well if their devices are meant")
JSON_SYNTAX = _error("json-syntax", "correct the JSON at that place")
JSON_SHAPE = _error(
    "json-shape", 'write {"schemaVersion": "1", "devices": [{"serialNumber": "…"}]}, see `schema`'
)
DUPLICATE_KEY = _error("duplicate-key", "keep one of them")
TOO_DEEP = _error("too-deep", "write the batch as its schema says: `partner-tools schema batch`")
CONFLICT = _error("conflict", "leave the option out, or correct the batch")

# The header
NO_HEADER = _error(
    "no-header",
    "add a header line such as `Serial number,Manufacturer,Model` above the first device",
)
UNKNOWN_HEADER = _error(
    "unknown-header", "name the column that has the serial numbers with --serial-column"
)
ROWS_BEFORE_HEADER = _error(
    "rows-before-header", "move the devices below the header, or delete these rows"
)
REPEATED_LABELS = _error(
    "repeated-labels", "delete the columns with the labels, or pass --serial-column with that name"
)
OTHER_HEADER = _error("other-header", "split the file there: its columns change")
NO_SUCH_COLUMN = _error("no-such-column", "name a column of the header, spelled as there")
SERIALS_DIFFER = _error("serials-differ", "say which column counts with --serial-column")
SERIAL_COLUMNS = _warning(
    "serial-columns", "say which column counts with --serial-column, if one does"
)
SKIPPED = _warning("skipped-line", "no action needed, unless a device is in it")
BARE_LIST = _warning("bare-list", "no action needed, if every line is a serial number")
QUOTED_LINES = _warning("quoted-lines", "export the list again without opening it as one column")
STATUS = _warning(
    "status-column",
    "select rows with --only COLUMN=VALUE or --except COLUMN=VALUE, if not all of them leave",
)
SELECTED = _warning("selected", "no action needed, if the number is what you expect")
NO_IDENTIFIER_COLUMN = _error(
    "no-identifier-column",
    "add a column `Device Serial Number`, `Windows Product ID` or `Hardware Hash`",
)
COLUMN_TWICE = _error("column-twice", "keep one of the columns")
UNKNOWN_COLUMN = _warning("unknown-column", "no action needed, if it is only for the report")
TENANT_GIVEN = _error(
    "tenant-given",
    "leave tenant columns out: on oem-direct a tenant registers the device instead; "
    "name the handoff's recipient in `Customer`",
)
TENANT_COLUMN = _warning("tenant-column", "leave the column out; `Customer` names the recipient")

# The row
CELL_COUNT = _error("cell-count", "compare the row's separators with those of the header")
SHORT_ROW = _warning("short-row", "check that no separator is missing inside the row")
MIXED_SEPARATOR = _error("mixed-separator", "use the separator of the header in every row")
QUOTING = _error("quoting", "close the quotes, and double those inside a quoted cell")
IDENTIFIERS_MISSING = _error(
    "identifiers-missing", "add what identifies the device, or delete the row"
)
UNKNOWN_FACT = _warning("unknown-fact", f"write one of: {', '.join(FACTS)}")
UNKNOWN_PROPERTY = _error("unknown-property", "remove it, correct its name or move it to `extra`")
PROPERTY_NAME = _error("property-name", "name it in one line of plain text, 256 characters at most")
DUPLICATE = _warning(
    "duplicate-device",
    "nothing: where both rows name one registration, the later one becomes `duplicate`",
)

# The field
WRONG_TYPE = _error("wrong-type", "write the value as its schema says: identifiers are text")
BLANK = _error("blank", "give it a value or leave it out")
TOO_LONG = _error("too-long", "check that no separator or quote is missing before it")
CHOICE = _error("choice", "take one of the values named")
TRIMMED = _warning("trimmed", "take the blanks off in the file")
CONTROL_CHARACTER = _error("control-character", "type the value again by hand")
LONE_SURROGATE = _error("lone-surrogate", "type the value again by hand")
HIDDEN_CHARACTER = _warning("hidden-character", "compare with the device, or type it again by hand")
SMART_QUOTE = _warning("smart-quote", "compare with the device: firmware has straight quotes")
DOUBLE_BLANK = _warning("double-blank", "compare with the device: every blank counts")
NON_ASCII_SERIAL = _warning(
    "non-ascii-serial", "compare with the device: serials are plain letters"
)
LOOKS_LIKE_TEXT = _warning("serial-looks-like-text", "delete the row if it is an explanation")
STRAY_QUOTES = _error("stray-quotes", "remove the quotation marks around the value")
NOT_AN_IDENTIFIER = _error("not-an-identifier", "delete the row, or put the serial number there")
SEVERAL_IN_ONE = _error(
    "several-in-one", "put each in a row of its own, or pass --split-cells to have that done"
)
PLACEHOLDER_SERIAL = _error(
    "placeholder-serial",
    "identify the device by its product key id or hardware hash, or by the serial on its case",
)
PRODUCT_KEY = _error(
    "product-key",
    "remove it from the file, it is a secret; the product key id has 13 digits",
)
PRODUCT_KEY_ID = _error("product-key-id", "give the 13 digits of the label or of the OA3 report")
SPREADSHEET_DAMAGE = _error("spreadsheet-damage", _FROM_SOURCE)
CUSTOMER_NAME = _warning("customer-name", "pass --customer, if all devices belong to one customer")
CUSTOMER = _error("customer", "give the tenant's GUID or a domain such as contoso.onmicrosoft.com")
SCHEMA = _error("schema", "write the value as `partner-tools schema batch` says")


def all_rules() -> tuple[Rule, ...]:
    """Every rule of this module, for the reference; the hash rules are in `hash_frame`."""
    return tuple(value for value in globals().values() if isinstance(value, Rule))
