"""JSON and TOML from outside: one meaning, or none. Pure.

A person in an editor and a program must read the same, so a property that
appears twice is refused. So is input that would break later code: NaN, depth, numbers
of thousands of digits, texts that are not Unicode.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator
from typing import Any, Final
from unicodedata import category

DEPTH: Final = 32
"""Objects and lists within each other; a handoff, the deepest of our documents, has nine."""
TOML_CHARACTERS: Final = 1_048_576
"""A configuration or a wire profile. Those of ours have 2,000."""
_BREAKS: Final = re.compile(r"[\n\r\t]")
_OPENING: Final = (b",", b"[", b"{")
"""Each value but the first follows one of these."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""Only an escape can bring a lone surrogate into a text that is UTF-8."""


class InvalidTextError(ValueError):
    """The text is not the JSON, TOML or XML that it should be; says why, in a clause."""


def read_json(content: bytes, *, values: int | None = None) -> Any:
    """The value of a JSON text, with or without a byte order mark.

    Raises InvalidTextError for anything else, for properties that appear twice, NaN, depth beyond
    DEPTH, texts that are not Unicode, and for more than `values` values: an empty list of two
    bytes takes 64 in memory, so that a limit on bytes alone is none on memory.
    """
    try:
        if values is not None and sum(map(content.count, _OPENING)) > values:
            raise InvalidTextError(f"it has more than {values:,} values")
        value = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
        )
        _check_depth(value)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise InvalidTextError(_reason(error)) from error
    return value


def read_shown_json(content: bytes) -> Any:
    """The value of a JSON text that an editor shows as it is: what `shown_plainly` wrote.

    Raises InvalidTextError as `read_json` does, and if a character hides or turns others.
    """
    value = read_json(content)
    hidden = next(_hidden(content.decode("utf-8-sig")), None)
    if hidden is not None:
        raise InvalidTextError(
            f"it holds the character U+{ord(hidden):04X}, which an editor does not show as it is"
        )
    return value


def read_text(content: bytes) -> str:
    """UTF-8, with or without a byte order mark. Raises InvalidTextError for anything else."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidTextError(_reason(error)) from error


def read_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises InvalidTextError for anything else, more than TOML_CHARACTERS, and depth beyond DEPTH.
    """
    if len(text) > TOML_CHARACTERS:
        raise InvalidTextError(f"it has more than {TOML_CHARACTERS:,} characters")
    try:
        tables = tomllib.loads(text, parse_float=_finite)
        _check_depth(tables)
    except (ValueError, RecursionError) as error:
        raise InvalidTextError(_reason(error)) from error
    return tables


def shown_plainly(text: str) -> str:
    """Return a JSON text in which nothing moves, hides or reorders the text beside it.

    Unprintable characters are escaped: bidirectional marks, zero-width characters, and
    anything that is not Unicode. The value read from it is the same.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else _escaped(character)
        for character in text
    )


def _hidden(text: str) -> Iterator[str]:
    """Yield characters that take no visible room; wide and narrow spaces do."""
    for piece in _BREAKS.split(text):
        if not piece.isprintable():
            yield from (each for each in piece if not each.isprintable() and category(each) != "Zs")


def _escaped(character: str) -> str:
    return json.dumps(character, ensure_ascii=True)[1:-1]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidTextError("it contains a property twice")
    return found


def _no_constant(name: str) -> None:
    raise InvalidTextError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """TOML has `nan` and `inf`, which are no number of anything."""
    number = float(text)
    if not math.isfinite(number):
        raise InvalidTextError(f"{text} is not a number")
    return number


def _check_depth(value: Any) -> None:
    # Only what can hold something is kept waiting: a list of a million numbers is one entry.
    waiting = [(value, 0)] if isinstance(value, dict | list) else []
    while waiting:
        found, depth = waiting.pop()
        if depth > DEPTH:
            raise InvalidTextError("it is nested too deep")
        inner = found.values() if isinstance(found, dict) else found
        waiting += [(item, depth + 1) for item in inner if isinstance(item, dict | list)]


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON ({error.msg.removesuffix(' at')} at character {error.pos})"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, InvalidTextError | tomllib.TOMLDecodeError):
        return str(error)
    return "a number in it has too many digits"
