"""The field rules: what the texts of a row say about themselves. Pure.

Texts stay as they are but for blanks around them, whose removal is reported. `explain_*` say why
the schema refused a value; `oddities` are what the schema lets pass and a person should see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from partner_tools.intake import rules
from partner_tools.intake.rules import PRODUCT_KEY_TEXT, Finding, finding, shown

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
    return finding(rules.PRODUCT_KEY_ID, message, column=column)


def _wrong_digits(text: str) -> Finding:
    column = "productKeyId"
    if not text.strip("0"):
        message = "the product key id is made of zeros only"
        return finding(rules.PRODUCT_KEY_ID, message, column=column)
    if len(text) < 13:
        message = f"has {len(text)} digits instead of 13: a spreadsheet takes off leading zeros"
        return finding(
            rules.SPREADSHEET_DAMAGE, f"the product key id {shown(text)} {message}", column=column
        )
    message = f"the product key id has {len(text)} digits instead of 13"
    return finding(rules.PRODUCT_KEY_ID, message, column=column)


def explain_serial_number(text: str) -> Finding:
    """Why a text is no serial number: a placeholder or the blank of a form."""
    message = f"{shown(text)} is a placeholder and no serial number"
    return finding(rules.PLACEHOLDER_SERIAL, message, column="serialNumber")


def explain_text(column: str, text: str) -> Finding | None:
    """Why a text cannot stand in any field; None where it can."""
    if PRODUCT_KEY_TEXT.search(text):
        return _product_key(column)
    bad = CONTROL.search(text)
    if bad:
        code = f"U+{ord(bad.group()):04X}"
        message = f"the {label(column)} {shown(text)} holds the control character {code}"
        return finding(rules.CONTROL_CHARACTER, message, column=column)
    return None


def _product_key(column: str) -> Finding:
    message = f"the {label(column)} holds a product key, which is a secret (not shown)"
    return finding(rules.PRODUCT_KEY, message, column=column)


def oddities(column: str, text: str) -> Iterator[Finding]:
    """What the schema lets pass in a serial number, manufacturer or model, and is odd."""
    if column == "serialNumber":
        yield from _odd_serial(text)
    if _QUOTED.fullmatch(text):
        message = f"the {label(column)} {shown(text)} stands in quotation marks"
        yield finding(rules.STRAY_QUOTES, message, column=column)
    for pattern, rule, what in _ODD:
        if pattern.search(text):
            message = f"the {label(column)} {shown(text)} holds {what}"
            yield finding(rule, message, column=column)


_ODD = (
    (_HIDDEN, rules.HIDDEN_CHARACTER, "a blank or a character that cannot be seen"),
    (_SMART_QUOTES, rules.SMART_QUOTE, "a typographic quotation mark"),
    (re.compile("  "), rules.DOUBLE_BLANK, "two blanks in a row"),
)


def _odd_serial(text: str) -> Iterator[Finding]:
    column = "serialNumber"
    damage = _damage(text, _THOUSANDS_OF_SERIAL)
    if damage:
        yield _damaged(column, text, damage)
    if not text.isascii():
        message = f"the serial number {shown(text)} holds characters beyond ASCII"
        yield finding(rules.NON_ASCII_SERIAL, message, column=column)
    if " " in text and not any(map(str.isdigit, text)):
        message = f"the serial number {shown(text)} has blanks and no digit"
        yield finding(rules.LOOKS_LIKE_TEXT, message, column=column)


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
    return finding(rules.SPREADSHEET_DAMAGE, message, column=column)
