"""The findings of intake. `rules.toml` has every rule with its severity and its remedy.

A finding is a rule that one value, row or file broke, in words; it becomes a `model.Problem` when
a reader knows where. A message never holds a product key, a hash or a whole row.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from partner_tools.model import Problem, Severity

SHOWN_CHARACTERS = 60
"""How much of a foreign text a message repeats."""

PRODUCT_KEY_TEXT = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{5}(-[0-9A-Za-z]{5}){4}(?![0-9A-Za-z])")
"""A product key of five groups, anywhere in a text: a secret."""


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


@lru_cache(maxsize=1)
def all_rules() -> Mapping[str, tuple[Severity, str]]:
    """The severity and the remedy of every rule, by its name."""
    text = files("partner_tools.intake").joinpath("rules.toml").read_text(encoding="utf-8")
    return {
        name: (Severity(severity), remedy)
        for name, rule in tomllib.loads(text).items()
        for severity, remedy in rule.items()
    }


def finding(
    rule: str, message: str, *, column: str | None = None, remedy: str | None = None
) -> Finding:
    """A broken rule, with the rule's own remedy where none fits better."""
    severity, usual = all_rules()[rule]
    return Finding(
        rule=rule, severity=severity, message=message, remedy=remedy or usual, column=column
    )


def halt(
    rule: str, message: str, row: int | None = None, *, remedy: str | None = None
) -> HaltError:
    """The end of a file that breaks this rule."""
    return HaltError(finding(rule, message, remedy=remedy), row)


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
    visible = (
        each if each.isprintable() else each.encode("unicode_escape", "replace").decode("ascii")
        for each in cut
    )
    return '"' + "".join(visible) + '"'
