"""Names properties that a schema does not have, each with the name that it nearly is."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from partner_tools.foreign import shown_plainly

if TYPE_CHECKING:
    from partner_tools.intake.schema import Violation


def strangers(document: Any, fault: Violation, schema: Mapping[str, Any]) -> str:
    """The properties that make the fault because the schema has them nowhere, in parentheses.

    Empty where it is another fault.
    """
    if fault.keyword != "additionalProperties":
        return ""
    table = document
    for step in fault.path:
        table = table[step]
    known = set(_property_names(schema))
    named = [f"{shown_plainly(name)}{_near(name, known)}" for name in table if name not in known]
    return f" ({', '.join(named)})" if named else ""


def _near(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _property_names(schema: Any) -> Iterator[str]:
    """Of all its parts, whatever stands between them."""
    parts = schema.values() if isinstance(schema, Mapping) else schema
    if isinstance(schema, Mapping):
        yield from schema.get("properties", {})
    if isinstance(schema, Mapping | list):
        for part in parts:
            yield from _property_names(part)
