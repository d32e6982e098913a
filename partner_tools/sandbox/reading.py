"""Seed and faults files: read, and checked against their schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from partner_tools.errors import InputError
from partner_tools.intake.schema import checker
from partner_tools.model import Problem, Severity
from partner_tools.strict_json import InvalidTextError, read_json

Object = Mapping[str, Any]
Range = tuple[float, float]
"""Seconds to draw from; in a file, one number stands for a range of no width."""


@cache
def read_data(package: str, name: str) -> Any:
    """A JSON file of facts beside the modules of a package."""
    return json.loads(files(package).joinpath(name).read_text("utf-8"))


def read_document(path: Path, schema: str) -> Object:
    """A file that keeps its schema. Raises InputError with every problem of it."""
    try:
        document = read_json(path.read_bytes())
    except (OSError, InvalidTextError) as error:
        raise InputError(
            f'cannot read "{path}": {error}',
            remedy=f"give a JSON file; `partner-tools schema {schema}` describes it",
        ) from error
    return checked(document, schema, str(path))


def checked(document: Any, schema: str, name: str) -> Object:
    """The document of this name, if it keeps its schema. Raises InputError."""
    problems = tuple(
        Problem(
            file=name,
            row=None,
            column=violation.place("/") or None,
            rule=f"schema-{violation.keyword}",
            severity=Severity.ERROR,
            message=violation.message,
            remedy=f"see `partner-tools schema {schema}`",
        )
        for violation in checker(schema).violations(document)
    )
    if problems:
        first = problems[0]
        raise InputError(
            f'"{name}" is no {schema} file: {first.column or "it"} {first.message}',
            remedy=first.remedy,
            problems=problems,
        )
    result: Object = document
    return result


def named(property_: str, read: Callable[[Any], Any] | None = None) -> Object:
    """The metadata of a dataclass field whose property in a file has another name than the field
    in camel case, or is `read` in a way of its own."""
    return {"property": property_, "read": read}
