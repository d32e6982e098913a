"""One row against the schema, the field rules and its hash: all that is wrong with it, at once.

Nearly every row of a real file is plain: printable ASCII with nothing remarkable in it, which the
schema accepts. `RowCheck.is_good` tells those apart for a tenth of the price; `examine` decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from partner_tools.intake import fields, rules
from partner_tools.intake.explain import explain
from partner_tools.intake.hash_check import check_hash
from partner_tools.intake.headers import is_tenant
from partner_tools.intake.rules import Finding, finding, shown
from partner_tools.intake.schema import Checker, load_schema, part
from partner_tools.model import ChannelName, Severity

Values = dict[str, object]
Extra = tuple[tuple[str, str], ...]

HASH = "hardwareHash"
_PLAIN = re.compile(r"[!#-&(-*,-<>-{}~]+(?:[ |][!#-&(-*,-<>-{}~]+)*")
"""Texts joined by `|`: words of printable ASCII without quotes, `=` and `+`, one blank between."""

_PLAIN_SERIAL = re.compile(r"[0-9A-Za-z/_:#-]+")


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
        schema = load_schema("batch")
        is_direct = channel is ChannelName.OEM_DIRECT
        self._checker = Checker(part(schema, "oemDirectDevice" if is_direct else "device"))
        self._known = _known_properties(schema)
        self._placeholders = frozenset(
            map(str.casefold, schema["$defs"]["placeholderSerial"]["enum"])
        )
        self._is_direct = is_direct
        self._blank_is_absent = blank_is_absent
        self._judge_hashes = judge_hashes

    def check(self, values: Values, extra: Extra = ()) -> Examined:
        """Everything that is to be said about a row and its columns that nobody knows."""
        if is_plain(values, self._placeholders) and self._checker.accepts_fast(values):
            found = check_hash(str(values[HASH])) if HASH in values else ()
        else:
            values, found = self.examine(values)
        if extra:
            found = (*found, *secrets(extra))
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
        is_none = isinstance(serial, str) and serial.casefold() in self._placeholders
        if is_none:
            yield from _at(prefix, [fields.explain_serial_number(str(serial))])
        for name in fields.COMPARED:
            text = identity.get(name)
            if isinstance(text, str) and text and not (is_none and name == "serialNumber"):
                yield from _at(prefix, fields.oddities(name, text))
        text = identity.get(HASH)
        if isinstance(text, str) and text:
            yield from check_hash(text, prefix + HASH)


def is_plain(values: Values, placeholders: frozenset[str]) -> bool:
    """Whether no field rule has anything to say: what this lets pass, `examine` lets pass.

    Rows that hold anything but texts are not plain. The hash is not looked at.
    """
    try:
        text = "|".join(values.values() if HASH not in values else _without_hash(values))  # type: ignore[arg-type]
    except TypeError:
        return False
    serial = values.get("serialNumber")
    return (not text or bool(_PLAIN.fullmatch(text))) and (
        serial is None or _is_plain_serial(str(serial), placeholders)
    )


def _without_hash(values: Values) -> list[object]:
    return [value for name, value in values.items() if name != HASH]


def _is_plain_serial(serial: str, placeholders: frozenset[str]) -> bool:
    return bool(_PLAIN_SERIAL.fullmatch(serial)) and serial.lower() not in placeholders


def _known_properties(schema: dict[str, Any]) -> frozenset[str]:
    return frozenset(schema["$defs"]["device"]["properties"])


def without_tenant(values: Values) -> tuple[Values, list[Finding]]:
    """The row without properties that would carry a tenant into OEM Direct, wherever they stand."""
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
        return finding(rules.TENANT_COLUMN, message, column=name)
    message = f"the property {shown(name)} is not blank: it would register the device"
    return finding(rules.TENANT_GIVEN, message, column=name)


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
            message = f"the {fields.label(name)} has blanks around it, which were taken off"
            yield finding(rules.TRIMMED, message, column=prefix + name)


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
            yield finding(rules.LONE_SURROGATE, message, column=column)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def secrets(values: Iterable[tuple[str, object]], prefix: str = "") -> Iterator[Finding]:
    """Product keys, wherever they stand."""
    for name, value in values:
        if isinstance(value, dict):
            yield from secrets(value.items(), f"{prefix}{name}.")
        elif isinstance(value, str) and name != HASH:
            found = fields.explain_text(prefix + name, value)
            if found and found.rule == rules.PRODUCT_KEY.name:
                yield found
