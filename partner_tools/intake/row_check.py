"""Check one row against the schema, the field rules and its hash, and report every problem at once.

Nearly every row of a real file is plain: printable ASCII with nothing remarkable in it, which the
schema accepts. `RowCheck.check` tells those apart for a tenth of the price; `examine` decides.
Texts stay as they are but for blanks around them, whose removal is reported. Messages are ours
and quote at most a short text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from partner_tools.intake.columns import is_tenant
from partner_tools.intake.identifiers import is_plain_serial, why_no_serial
from partner_tools.intake.rules import PRODUCT_KEY_TEXT, Finding, finding, shown
from partner_tools.intake.schema import Violation, checker, kind_of, load_schema, value_at
from partner_tools.model import ChannelName, Severity
from partner_tools.outstanding import facts_in, is_observed

COMPARED = ("serialNumber", "manufacturer", "model")
"""The texts that firmware holds and that are compared character by character."""

LABELS = {
    "serialNumber": "serial number",
    "productKeyId": "product key id",
    "hardwareHash": "hardware hash",
    "batchId": "batch id",
    "schemaVersion": "schema version",
}

CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")
"""Control characters, and those that turn the direction of writing: as in the schema."""

_HIDDEN = re.compile("[\\xa0\\xad\\u1680\\u2000-\\u200d\\u202f\\u205f\\u2060\\u3000\\ufeff]")
_SMART_QUOTES = re.compile("[\\u2018-\\u201f\\u2032\\u2033]")
_SCIENTIFIC = re.compile(r"[+-]?[0-9]([.,][0-9]+)?[eE]\+[0-9]{2,3}")
_THOUSANDS = re.compile("[0-9]{1,3}([.,'\\u2019 \\xa0\\u202f][0-9]{3})+")
_THOUSANDS_OF_SERIAL = re.compile("[0-9]{1,3}(,[0-9]{3})+")
_DECIMAL = re.compile(r"[0-9]+[.,]0+")
_FORMULA = re.compile(r'=\s*".*"')
_DIGITS = re.compile(r"[0-9]+")
_QUOTED = re.compile(r"""(["']).*\1|'.*""")


def label(column: str) -> str:
    """How a sentence calls a property.

    >>> label("replacement.serialNumber")
    "replacement's serial number"
    """
    whole, _, name = column.rpartition(".")
    spoken = LABELS.get(name, name)
    return f"{whole}'s {spoken}" if whole else spoken


def explain_product_key_id(text: str) -> Finding:
    """Why a text is no product key id: 13 digits, not all of them zero."""
    column = "productKeyId"
    if PRODUCT_KEY_TEXT.search(text):
        return _product_key(column)
    damage = _damage(text, _THOUSANDS)
    if damage:
        return _damaged(column, text, damage)
    if _DIGITS.fullmatch(text):
        return _wrong_digits(text)
    message = f"the product key id {shown(text)} is not made of 13 digits"
    return finding("product-key-id", message, column=column)


def _wrong_digits(text: str) -> Finding:
    column = "productKeyId"
    if not text.strip("0"):
        message = "the product key id is made of zeros only"
        return finding("product-key-id", message, column=column)
    if len(text) < 13:
        message = f"has {len(text)} digits instead of 13: a spreadsheet takes off leading zeros"
        return finding(
            "spreadsheet-damage", f"the product key id {shown(text)} {message}", column=column
        )
    message = f"the product key id has {len(text)} digits instead of 13"
    return finding("product-key-id", message, column=column)


def explain_text(column: str, text: str) -> Finding | None:
    """Explain why a text is invalid in every field; None where it is valid."""
    if PRODUCT_KEY_TEXT.search(text):
        return _product_key(column)
    bad = CONTROL.search(text)
    if bad:
        code = f"U+{ord(bad.group()):04X}"
        message = f"the {label(column)} {shown(text)} holds the control character {code}"
        return finding("control-character", message, column=column)
    return None


def _product_key(column: str) -> Finding:
    message = f"the {label(column)} holds a product key, which is a secret (not shown)"
    return finding("product-key", message, column=column)


def oddities(column: str, text: str) -> Iterator[Finding]:
    """Yield oddities of a serial number, manufacturer or model that the schema allows."""
    if column == "serialNumber":
        yield from _odd_serial(text)
    if _QUOTED.fullmatch(text):
        message = f"the {label(column)} {shown(text)} is in quotation marks"
        yield finding("stray-quotes", message, column=column)
    for pattern, rule, what in _ODD:
        if pattern.search(text):
            message = f"the {label(column)} {shown(text)} holds {what}"
            yield finding(rule, message, column=column)


_ODD = (
    (_HIDDEN, "hidden-character", "a blank or a character that cannot be seen"),
    (_SMART_QUOTES, "smart-quote", "a typographic quotation mark"),
    (re.compile("  "), "double-blank", "two blanks in a row"),
)


def _odd_serial(text: str) -> Iterator[Finding]:
    column = "serialNumber"
    damage = _damage(text, _THOUSANDS_OF_SERIAL)
    if damage:
        yield _damaged(column, text, damage)
    if not text.isascii():
        message = f"the serial number {shown(text)} holds characters beyond ASCII"
        yield finding("non-ascii-serial", message, column=column)
    if " " in text and not any(map(str.isdigit, text)):
        message = f"the serial number {shown(text)} has blanks and no digit"
        yield finding("serial-looks-like-text", message, column=column)


def _damage(text: str, thousands: re.Pattern[str]) -> str | None:
    if _SCIENTIFIC.fullmatch(text):
        return "a rounded number"
    if thousands.fullmatch(text):
        return "a number with separators"
    if _DECIMAL.fullmatch(text):
        return "a number with decimals"
    return "a formula" if _FORMULA.fullmatch(text) else None


def _damaged(column: str, text: str, damage: str) -> Finding:
    message = f"the {label(column)} {shown(text)} was turned into {damage} by a spreadsheet"
    return finding("spreadsheet-damage", message, column=column)


_TUPLE = ("serialNumber", "manufacturer", "model")
_IDENTIFIERS = ("serialNumber", "productKeyId", "hardwareHash")


def explain(
    violations: Sequence[Violation], document: Mapping[str, object], known: frozenset[str]
) -> Iterator[Finding]:
    """Turn a document's violations into findings. `known` are the properties of the document.

    A value of the wrong type breaks other keywords as well, which are not reported.
    """
    mistyped = {one.path for one in violations if one.keyword == "type"}
    for one in violations:
        if one.keyword == "type" or one.path not in mistyped:
            yield from _explain(one, document, known)


def _explain(
    violation: Violation, document: Mapping[str, object], known: frozenset[str]
) -> tuple[Finding, ...]:
    column = ".".join(map(str, violation.path)) or None
    value = value_at(document, violation.path)
    if violation.keyword == "required":
        return (_missing(violation, value, column),)
    if violation.keyword == "additionalProperties":
        return _unknown(value, column, known)
    if isinstance(value, str) and column:
        return (_text(violation, column, value),)
    return (_other(violation, column, value),)


def _missing(violation: Violation, value: object, column: str | None) -> Finding:
    if not isinstance(value, Mapping) or "schemaVersion" in violation.expected:
        return finding("json-shape", f"the batch {violation.message}", column=column)
    if not any(name in value for name in _IDENTIFIERS):
        message = "the row names no serial number, product key id or hardware hash"
        return finding("identifiers-missing", message)
    lacks = " and ".join(name for name in _TUPLE if name not in value)
    message = (
        "OEM Direct needs a product key id, or serial number, manufacturer and model together; "
        f"the row lacks {lacks}"
    )
    return finding("identifiers-missing", message)


_REPLACEMENT = frozenset(_IDENTIFIERS)


def _unknown(value: object, column: str | None, known: frozenset[str]) -> tuple[Finding, ...]:
    names = _REPLACEMENT if column else known
    unknown = [name for name in value if name not in names] if isinstance(value, Mapping) else []
    return tuple(
        finding(
            "unknown-property",
            f"the property {shown(name)} is not known",
            column=f"{column}.{name}" if column else name,
        )
        for name in unknown
    )


def _text(violation: Violation, column: str, text: str) -> Finding:
    name = column.rpartition(".")[2]
    if not text:
        return finding("blank", f"the {label(name)} is blank", column=column)
    if name == "productKeyId":
        return replace(explain_product_key_id(text), column=column)
    if violation.keyword == "maxLength":
        message = f"the {label(name)} has {len(text):,} characters"
        return finding(
            "too-long", f"{message}, at most {violation.expected:,} are read", column=column
        )
    return _refused_text(violation, column, name, text)


def _refused_text(violation: Violation, column: str, name: str, text: str) -> Finding:
    if violation.keyword in ("enum", "const"):
        message = f"the {label(name)} {shown(text)} {violation.message}"
        return finding("choice", message, column=column)
    bad = explain_text(column, text)
    if bad:
        return bad
    if name == "customer":
        message = f"{shown(text)} is neither a tenant GUID nor a domain"
        return finding("customer", message, column=column)
    if name == "serialNumber":
        message = f"{shown(text)} is a placeholder, not a serial number"
        return finding("placeholder-serial", message, column=column)
    message = f"the {label(name)} {violation.message}"
    return finding("schema", message, column=column)


def _other(violation: Violation, column: str | None, value: object) -> Finding:
    called = f"the {label(column)}" if column else "the row"
    if violation.keyword == "type":
        remedy = None
        if kind_of(value) == "a number":
            remedy = "write it in quotes: a number loses leading zeros and long digits"
        message = f"{called} {violation.message}"
        return finding("wrong-type", message, column=column, remedy=remedy)
    rule = {
        "minProperties": "blank",
        "maxProperties": "too-long",
        "propertyNames": "property-name",
        "const": "choice",
        "enum": "choice",
    }.get(violation.keyword, "schema")
    return finding(rule, f"{called} {violation.message}", column=column)


Values = dict[str, object]
Extra = tuple[tuple[str, str], ...]

HASH = "hardwareHash"
_PLAIN = re.compile(r"[!#-&(-*,-<>-{}~]+(?:[ |][!#-&(-*,-<>-{}~]+)*")
"""Texts joined by `|`: words of printable ASCII without quotes, `=` and `+`, one blank between."""

Examined = tuple[Values, tuple[Finding, ...]]
"""A row without the blanks around its texts, and everything that is to be said about it.

A bare tuple: one is made for each of a million rows, and lives for a microsecond.
"""


class RowCheck:
    """Checks the rows of one batch. `blank_is_absent` holds for tables, not for JSON.

    Without `judge_hashes` nothing is said about hashes: `hash check` says it.
    """

    def __init__(
        self, channel: ChannelName | None, *, blank_is_absent: bool, judge_hashes: bool = True
    ) -> None:
        is_direct = channel is ChannelName.OEM_DIRECT
        self._checker = checker("batch", "oemDirectDevice" if is_direct else "device")
        self._known = _known_properties()
        self._is_direct = is_direct
        self._blank_is_absent = blank_is_absent
        self._judge_hashes = judge_hashes

    def check(self, values: Values, extra: Extra = ()) -> Examined:
        """Return all findings about a row, including its unknown columns."""
        if is_plain(values) and self._checker.accepts(values):
            found = check_hash(str(values[HASH])) if HASH in values else ()
        else:
            values, found = self.examine(values)
        if extra:
            found = (*found, *secrets(extra), *unknown_facts(extra))
        if not self._judge_hashes:
            found = tuple(one for one in found if not (one.column or "").endswith(HASH))
        return values, found

    def examine(self, values: Values) -> Examined:
        """The same without a short cut."""
        kept, found = without_tenant(values) if self._is_direct else (values, [])
        trimmed = trim(kept, blank_is_absent=self._blank_is_absent)
        found += trimmings(kept, trimmed)
        broken = list(surrogates(trimmed))
        found += broken or self._content(trimmed)
        return trimmed, tuple(dict.fromkeys(found))

    def _content(self, values: Values) -> list[Finding]:
        found = [*secrets(values.items())]
        for prefix, identity in _identities(values):
            found += self._identity(identity, prefix)
        told = {one.column for one in found if one.severity is Severity.ERROR}
        refused = explain(self._checker.violations(values), values, self._known)
        found += (one for one in refused if one.column is None or one.column not in told)
        return found

    def _identity(self, identity: Values, prefix: str) -> Iterator[Finding]:
        serial = identity.get("serialNumber")
        why = why_no_serial(serial) if isinstance(serial, str) and serial else None
        if why is not None:
            yield from _at(prefix, [why])
        for name in COMPARED:
            text = identity.get(name)
            if isinstance(text, str) and text and not (why and name == "serialNumber"):
                yield from _at(prefix, oddities(name, text))
        text = identity.get(HASH)
        if isinstance(text, str) and text:
            yield from check_hash(text, prefix + HASH)


def is_plain(values: Values) -> bool:
    """Whether no field rule has anything to say: what this lets pass, `examine` lets pass.

    Rows that hold anything but texts are not plain. The hash is not looked at.
    """
    try:
        text = "|".join(values.values() if HASH not in values else _without_hash(values))  # type: ignore[arg-type]
    except TypeError:
        return False
    serial = values.get("serialNumber")
    return (not text or bool(_PLAIN.fullmatch(text))) and (
        serial is None or is_plain_serial(str(serial))
    )


def _without_hash(values: Values) -> list[object]:
    return [value for name, value in values.items() if name != HASH]


@lru_cache(maxsize=1)
def _known_properties() -> frozenset[str]:
    return frozenset(load_schema("batch")["$defs"]["device"]["properties"])


def without_tenant(values: Values) -> tuple[Values, list[Finding]]:
    """The row without properties that would carry a tenant into OEM Direct, at any depth."""
    kept: Values = {}
    found: list[Finding] = []
    for name, value in values.items():
        if is_tenant(name):
            found.append(_tenant(name, value))
        elif isinstance(value, dict):
            kept[name], inner = without_tenant(value)
            found += inner
        else:
            kept[name] = value
    return kept, found


def _tenant(name: str, value: object) -> Finding:
    is_blank = value is None or (isinstance(value, str) and not value.strip())
    if is_blank:
        message = f"the property {shown(name)} must stay blank on oem-direct"
        return finding("tenant-column", message, column=name)
    message = f"the property {shown(name)} is not blank: it would register the device"
    return finding("tenant-given", message, column=name)


def trim(values: Values, *, blank_is_absent: bool) -> Values:
    """The row without white space around its texts; `extra` stays as it is."""
    trimmed: Values = {}
    for name, value in values.items():
        if isinstance(value, str):
            text = value.strip()
            if text or not blank_is_absent:
                trimmed[name] = text
        elif isinstance(value, dict) and name == "replacement":
            trimmed[name] = trim(value, blank_is_absent=False)
        else:
            trimmed[name] = value
    return trimmed


def trimmings(before: Values, after: Values, prefix: str = "") -> Iterator[Finding]:
    for name, value in after.items():
        old = before[name]
        if isinstance(value, dict) and isinstance(old, dict):
            yield from trimmings(old, value, f"{name}.")
        elif value != old and value != "":
            message = f"the {label(name)} has blanks around it, which were taken off"
            yield finding("trimmed", message, column=prefix + name)


def _identities(values: Values) -> Iterator[tuple[str, Values]]:
    yield "", values
    replacement = values.get("replacement")
    if isinstance(replacement, dict):
        yield "replacement.", replacement


def _at(prefix: str, found: Iterable[Finding]) -> Iterator[Finding]:
    for one in found:
        yield replace(one, column=prefix + (one.column or ""))


def surrogates(values: Values, prefix: str = "") -> Iterator[Finding]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from surrogates(value, f"{prefix}{name}.")
        elif not (_is_unicode(name) and (not isinstance(value, str) or _is_unicode(value))):
            column = shown(prefix + name).strip('"')
            message = "the text holds a lone surrogate, which is half a character"
            yield finding("lone-surrogate", message, column=column)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def secrets(values: Iterable[tuple[str, object]], prefix: str = "") -> Iterator[Finding]:
    """Find product keys in any column."""
    for name, value in values:
        if isinstance(value, dict):
            yield from secrets(value.items(), f"{prefix}{name}.")
        elif isinstance(value, str) and name != HASH:
            found = explain_text(prefix + name, value)
            if found and found.rule == "product-key":
                yield found


def unknown_facts(extra: Extra) -> Iterator[Finding]:
    """Words in the column `Observed` that state no fact."""
    for name, cell in extra:
        unknown = facts_in(cell)[1] if is_observed(name) else ()
        if unknown:
            yield finding(
                "unknown-fact", f"it states nothing known: {shown(unknown[0])}", column=name
            )


def check_hash(text: str, column: str = HASH) -> tuple[Finding, ...]:
    """Check a hardware hash: an error, or warnings, or nothing."""
    from partner_tools.intake import hash_frame  # most batches have no hash to decode

    try:
        found = hash_frame.verify(text)
    except hash_frame.HashError as error:
        found = (finding(error.rule, error.message),)
    return tuple(replace(one, column=column) for one in found)
