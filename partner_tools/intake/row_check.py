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
from typing import Any

from partner_tools.intake.columns import IDENTIFIERS, is_tenant
from partner_tools.intake.identifiers import is_plain_serial, why_no_serial
from partner_tools.intake.rules import PRODUCT_KEY_TEXT, Finding, finding, shown
from partner_tools.intake.schema import Violation, checker, kind_of, load_schema, value_at
from partner_tools.model import ChannelName, Severity

HASH = "hardwareHash"
COMPARED = ("serialNumber", "manufacturer", "model")
"""The texts that firmware holds and that are compared character by character."""

_LABELS = {
    "serialNumber": "serial number",
    "productKeyId": "product key id",
    "hardwareHash": "hardware hash",
    "batchId": "batch id",
    "schemaVersion": "schema version",
}

_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069]")
"""Control characters, and those that turn the direction of writing: as in the schema."""

_SCIENTIFIC = re.compile(r"[+-]?[0-9]([.,][0-9]+)?[eE]\+[0-9]{2,3}")
_THOUSANDS = re.compile("[0-9]{1,3}([.,'\\u2019 \\xa0\\u202f][0-9]{3})+")
_THOUSANDS_OF_SERIAL = re.compile("[0-9]{1,3}(,[0-9]{3})+")
_DECIMAL = re.compile(r"[0-9]+[.,]0+")
_FORMULA = re.compile(r'=\s*".*"')
_QUOTED = re.compile(r"""(["']).*\1|'.*""")
_ODD = (
    (
        re.compile("[\\xa0\\xad\\u1680\\u2000-\\u200d\\u202f\\u205f\\u2060\\u3000\\ufeff]"),
        "hidden-character",
        "a blank or a character that cannot be seen",
    ),
    (re.compile("[\\u2018-\\u201f\\u2032\\u2033]"), "smart-quote", "a typographic quotation mark"),
    (re.compile("  "), "double-blank", "two blanks in a row"),
)

Values = dict[str, object]
Extra = tuple[tuple[str, str], ...]


def label(column: str) -> str:
    """How a sentence calls a property.

    >>> label("replacement.serialNumber")
    "replacement's serial number"
    """
    whole, _, name = column.rpartition(".")
    spoken = _LABELS.get(name, name)
    return f"{whole}'s {spoken}" if whole else spoken


def _product_key(column: str, text: str) -> Finding | None:
    if not PRODUCT_KEY_TEXT.search(text):
        return None
    message = f"the {label(column)} holds a product key, which is a secret (not shown)"
    return finding("product-key", message, column=column)


def _damage(column: str, text: str, thousands: re.Pattern[str]) -> Finding | None:
    """The damage of a spreadsheet to a text of digits."""
    kinds = (
        (_SCIENTIFIC, "a rounded number"),
        (thousands, "a number with separators"),
        (_DECIMAL, "a number with decimals"),
        (_FORMULA, "a formula"),
    )
    for pattern, what in kinds:
        if pattern.fullmatch(text):
            message = f"the {label(column)} {shown(text)} was turned into {what} by a spreadsheet"
            return finding("spreadsheet-damage", message, column=column)
    return None


def _oddities(column: str, text: str) -> Iterator[Finding]:
    """Yield oddities of a serial number, manufacturer or model that the schema allows."""
    called = f"the {label(column)} {shown(text)}"
    if column == "serialNumber":
        damage = _damage(column, text, _THOUSANDS_OF_SERIAL)
        if damage:
            yield damage
        if not text.isascii():
            message = f"{called} holds characters beyond ASCII"
            yield finding("non-ascii-serial", message, column=column)
        if " " in text and not any(map(str.isdigit, text)):
            message = f"{called} has blanks and no digit"
            yield finding("serial-looks-like-text", message, column=column)
    if _QUOTED.fullmatch(text):
        yield finding("stray-quotes", f"{called} is in quotation marks", column=column)
    for odd, rule, what in _ODD:
        if odd.search(text):
            yield finding(rule, f"{called} holds {what}", column=column)


def explain(
    violations: Sequence[Violation], document: Mapping[str, object], known: frozenset[str]
) -> Iterator[Finding]:
    """Turn a document's violations into findings. `known` are the properties of the document.

    A value of the wrong type breaks other keywords as well, which are not reported.
    """
    mistyped = {one.path for one in violations if one.keyword == "type"}
    for one in violations:
        if one.keyword == "type" or one.path not in mistyped:
            yield from _explain(one, value_at(document, one.path), known)


_RULES = {
    "minProperties": "blank",
    "maxProperties": "too-long",
    "propertyNames": "property-name",
    "const": "choice",
    "enum": "choice",
}


def _explain(violation: Violation, value: Any, known: frozenset[str]) -> Iterator[Finding]:
    column = ".".join(map(str, violation.path)) or None
    called = f"the {label(column)}" if column else "the row"
    message, remedy = f"{called} {violation.message}", None
    if violation.keyword == "required":
        yield _missing(violation, value, column)
    elif violation.keyword == "additionalProperties":
        for name in value:
            if name not in (IDENTIFIERS if column else known):
                where = f"{column}.{name}" if column else name
                message = f"the property {shown(name)} is not known"
                yield finding("unknown-property", message, column=where)
    elif isinstance(value, str) and column:
        yield _refused_text(violation, column, value)
    elif violation.keyword == "type":
        if kind_of(value) == "a number":
            remedy = "write it in quotes: a number loses leading zeros and long digits"
        yield finding("wrong-type", message, column=column, remedy=remedy)
    else:
        yield finding(_RULES.get(violation.keyword, "schema"), message, column=column)


def _missing(violation: Violation, value: Mapping[str, object], column: str | None) -> Finding:
    if "schemaVersion" in violation.expected:
        return finding("json-shape", f"the batch {violation.message}", column=column)
    if not any(name in value for name in IDENTIFIERS):
        message = "the row names no serial number, product key id or hardware hash"
        return finding("identifiers-missing", message)
    lacks = " and ".join(name for name in COMPARED if name not in value)
    message = (
        "OEM Direct needs a product key id, or serial number, manufacturer and model together; "
        f"the row lacks {lacks}"
    )
    return finding("identifiers-missing", message)


def _refused_text(violation: Violation, column: str, text: str) -> Finding:
    name = column.rpartition(".")[2]
    if not text:
        return finding("blank", f"the {label(name)} is blank", column=column)
    if name == "productKeyId":
        return replace(_explain_product_key_id(name, text), column=column)
    rule, message = "schema", f"the {label(name)} {violation.message}"
    control = _CONTROL.search(text)
    if violation.keyword == "maxLength":
        rule = "too-long"
        most = f"at most {violation.expected:,} are read"
        message = f"the {label(name)} has {len(text):,} characters, {most}"
    elif violation.keyword in ("enum", "const"):
        rule, message = "choice", f"the {label(name)} {shown(text)} {violation.message}"
    elif secret := _product_key(column, text):
        return secret
    elif control:
        code = f"U+{ord(control.group()):04X}"
        message = f"the {label(column)} {shown(text)} holds the control character {code}"
        rule = "control-character"
    elif name == "customer":
        rule, message = "customer", f"{shown(text)} is neither a tenant GUID nor a domain"
    elif name == "serialNumber":
        rule, message = "placeholder-serial", f"{shown(text)} is a placeholder, not a serial number"
    return finding(rule, message, column=column)


def _explain_product_key_id(column: str, text: str) -> Finding:
    """Why a text is no product key id: 13 digits, not all of them zero."""
    found = _product_key(column, text) or _damage(column, text, _THOUSANDS)
    if found:
        return found
    rule, called = "product-key-id", f"the product key id {shown(text)}"
    if not (text.isascii() and text.isdigit()):
        message = f"{called} is not made of 13 digits"
    elif not text.strip("0"):
        message = "the product key id is made of zeros only"
    elif len(text) < 13:
        rule, count = "spreadsheet-damage", f"{len(text)} digits instead of 13"
        message = f"{called} has {count}: a spreadsheet takes off leading zeros"
    else:
        message = f"the product key id has {len(text)} digits instead of 13"
    return finding(rule, message, column=column)


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
        self._is_direct = channel is ChannelName.OEM_DIRECT
        self._checker = checker("batch", "oemDirectDevice" if self._is_direct else "device")
        self._blank_is_absent = blank_is_absent
        self._judge_hashes = judge_hashes

    def check(self, values: Values, extra: Extra = ()) -> Examined:
        """Return all findings about a row, including its unknown columns."""
        if is_plain(values) and self._checker.accepts(values):
            found = _check_hash(str(values[HASH])) if HASH in values else ()
        else:
            values, found = self.examine(values)
        if extra:
            found = (*found, *_secrets(extra), *_unknown_facts(extra))
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
        found = [*_secrets(values.items()), *_check_identity(values)]
        replacement = values.get("replacement")
        if isinstance(replacement, dict):
            inner = _check_identity(replacement)
            found += (replace(one, column=f"replacement.{one.column}") for one in inner)
        told = {one.column for one in found if one.severity is Severity.ERROR}
        refused = explain(self._checker.violations(values), values, known_properties())
        found += (one for one in refused if one.column is None or one.column not in told)
        return found


def _check_identity(identity: Values) -> Iterator[Finding]:
    serial = identity.get("serialNumber")
    why = why_no_serial(serial) if isinstance(serial, str) and serial else None
    if why is not None:
        yield why
    for name in COMPARED:
        text = identity.get(name)
        if isinstance(text, str) and text and not (why and name == "serialNumber"):
            yield from _oddities(name, text)
    text = identity.get(HASH)
    if isinstance(text, str) and text:
        yield from _check_hash(text)


def is_plain(values: Values) -> bool:
    """Whether no field rule has anything to say: what this lets pass, `examine` lets pass.

    Rows that hold anything but texts are not plain. The hash is not looked at.
    """
    parts: Iterable[Any] = values.values()
    if HASH in values:
        parts = [value for name, value in values.items() if name != HASH]
    try:
        text = "|".join(parts)
    except TypeError:
        return False
    serial = values.get("serialNumber")
    return (not text or bool(_PLAIN.fullmatch(text))) and (
        serial is None or is_plain_serial(str(serial))
    )


@lru_cache(maxsize=1)
def known_properties() -> frozenset[str]:
    """The properties of a device in a JSON batch."""
    return frozenset(load_schema("batch")["$defs"]["device"]["properties"])


def without_tenant(values: Values) -> tuple[Values, list[Finding]]:
    """The row without properties that would carry a tenant into OEM Direct, at any depth."""
    kept: Values = {}
    found: list[Finding] = []
    for name, value in values.items():
        if not is_tenant(name):
            kept[name] = value
            if isinstance(value, dict):
                kept[name], inner = without_tenant(value)
                found += inner
        elif value is None or (isinstance(value, str) and not value.strip()):
            message = f"the property {shown(name)} must stay blank on oem-direct"
            found.append(finding("tenant-column", message, column=name))
        else:
            message = f"the property {shown(name)} is not blank: it would register the device"
            found.append(finding("tenant-given", message, column=name))
    return kept, found


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
    """Yield a warning for each text that lost blanks."""
    for name, value in after.items():
        old = before[name]
        if isinstance(value, dict) and isinstance(old, dict):
            yield from trimmings(old, value, f"{name}.")
        elif value != old and value != "":
            message = f"the {label(name)} has blanks around it, which were taken off"
            yield finding("trimmed", message, column=prefix + name)


def _leaves(
    values: Iterable[tuple[str, object]], prefix: str = ""
) -> Iterator[tuple[str, str, object]]:
    """Yield the path, the name and the value of all that is no object, at any depth."""
    for name, value in values:
        if isinstance(value, dict):
            yield from _leaves(value.items(), f"{prefix}{name}.")
        else:
            yield prefix + name, name, value


def surrogates(values: Values) -> Iterator[Finding]:
    """Yield an error for each name and text that is not Unicode."""
    for path, name, value in _leaves(values.items()):
        try:
            f"{name}{value if isinstance(value, str) else ''}".encode()
        except UnicodeEncodeError:
            message = "the text holds a lone surrogate, which is half a character"
            yield finding("lone-surrogate", message, column=shown(path).strip('"'))


def _secrets(values: Iterable[tuple[str, object]]) -> Iterator[Finding]:
    """Yield an error for each product key, in whatever column."""
    for path, name, value in _leaves(values):
        if isinstance(value, str) and name != HASH and (found := _product_key(path, value)):
            yield found


def _unknown_facts(extra: Extra) -> Iterator[Finding]:
    """Yield a warning for each cell of the column `Observed` that states no fact."""
    from partner_tools.outstanding.evidence import facts_in, is_observed  # few batches have one

    for name, cell in extra:
        unknown = facts_in(cell)[1] if is_observed(name) else ()
        if unknown:
            message = f"it states nothing known: {shown(unknown[0])}"
            yield finding("unknown-fact", message, column=name)


def _check_hash(text: str) -> tuple[Finding, ...]:
    """Check a hardware hash: an error, or warnings, or nothing."""
    from partner_tools.intake import hash_frame  # most batches have no hash to decode

    try:
        found = hash_frame.verify(text)
    except hash_frame.HashError as error:
        found = (finding(error.rule, error.message),)
    return tuple(replace(one, column=HASH) for one in found)
