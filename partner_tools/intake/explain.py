"""From what the schema says of a row or a batch to what a person can act on. Pure.

The messages are ours and quote at most a short text; jsonschema's own embed the whole row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from partner_tools.intake import fields, rules
from partner_tools.intake.rules import Finding, finding, shown
from partner_tools.intake.schema import Violation, kind_of

_TUPLE = ("serialNumber", "manufacturer", "model")
_IDENTIFIERS = ("serialNumber", "productKeyId", "hardwareHash")


def explain(
    violations: Sequence[Violation], document: Mapping[str, object], known: frozenset[str]
) -> Iterator[Finding]:
    """What a document's violations amount to. `known` are the properties of the document.

    A value of the wrong type breaks other keywords as well, of which nothing more is said.
    """
    mistyped = {one.path for one in violations if one.keyword == "type"}
    for one in violations:
        if one.keyword == "type" or one.path not in mistyped:
            yield from _explain(one, document, known)


def _explain(
    violation: Violation, document: Mapping[str, object], known: frozenset[str]
) -> tuple[Finding, ...]:
    column = ".".join(map(str, violation.path)) or None
    value = _value_at(document, violation.path)
    if violation.keyword == "required":
        return (_missing(violation, value, column),)
    if violation.keyword == "additionalProperties":
        return _unknown(value, column, known)
    if isinstance(value, str) and column:
        return (_text(violation, column, value),)
    return (_other(violation, column, value),)


def _value_at(document: object, path: tuple[str | int, ...]) -> object:
    value = document
    for step in path:
        value = value[step]  # type: ignore[index]
    return value


def _missing(violation: Violation, value: object, column: str | None) -> Finding:
    if not isinstance(value, Mapping) or "schemaVersion" in violation.expected:
        return finding(rules.JSON_SHAPE, f"the batch {violation.message}", column=column)
    if not any(name in value for name in _IDENTIFIERS):
        message = "the row names no serial number, product key id or hardware hash"
        return finding(rules.IDENTIFIERS_MISSING, message)
    lacks = " and ".join(name for name in _TUPLE if name not in value)
    message = (
        "OEM Direct needs a product key id, or serial number, manufacturer and model together; "
        f"the row lacks {lacks}"
    )
    return finding(rules.IDENTIFIERS_MISSING, message)


_REPLACEMENT = frozenset(_IDENTIFIERS)


def _unknown(value: object, column: str | None, known: frozenset[str]) -> tuple[Finding, ...]:
    names = _REPLACEMENT if column else known
    unknown = [name for name in value if name not in names] if isinstance(value, Mapping) else []
    return tuple(
        finding(
            rules.UNKNOWN_PROPERTY,
            f"the property {shown(name)} is not known",
            column=f"{column}.{name}" if column else name,
        )
        for name in unknown
    )


def _text(violation: Violation, column: str, text: str) -> Finding:
    name = column.rpartition(".")[2]
    if not text:
        return finding(rules.BLANK, f"the {fields.label(name)} is blank", column=column)
    if name == "productKeyId":
        return replace(fields.explain_product_key_id(text), column=column)
    if violation.keyword == "maxLength":
        message = f"the {fields.label(name)} has {len(text):,} characters"
        return finding(
            rules.TOO_LONG, f"{message}, at most {violation.expected:,} are read", column=column
        )
    return _refused_text(violation, column, name, text)


def _refused_text(violation: Violation, column: str, name: str, text: str) -> Finding:
    if violation.keyword in ("enum", "const"):
        message = f"the {fields.label(name)} {shown(text)} {violation.message}"
        return finding(rules.CHOICE, message, column=column)
    bad = fields.explain_text(column, text)
    if bad:
        return bad
    if name == "customer":
        message = f"{shown(text)} is neither a tenant GUID nor a domain"
        return finding(rules.CUSTOMER, message, column=column)
    if name == "serialNumber":
        return replace(fields.explain_serial_number(text), column=column)
    message = f"the {fields.label(name)} {violation.message}"
    return finding(rules.SCHEMA, message, column=column)


def _other(violation: Violation, column: str | None, value: object) -> Finding:
    called = f"the {fields.label(column)}" if column else "the row"
    if violation.keyword == "type":
        remedy = None
        if kind_of(value) == "a number":
            remedy = "write it in quotes: a number loses leading zeros and long digits"
        message = f"{called} {violation.message}"
        return finding(rules.WRONG_TYPE, message, column=column, remedy=remedy)
    rule = {
        "minProperties": rules.BLANK,
        "maxProperties": rules.TOO_LONG,
        "propertyNames": rules.PROPERTY_NAME,
        "const": rules.CHOICE,
        "enum": rules.CHOICE,
    }.get(violation.keyword, rules.SCHEMA)
    return finding(rule, f"{called} {violation.message}", column=column)
