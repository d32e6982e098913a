"""Tell serial numbers from placeholders; the names of columns. Pure.

Names and values are data: `names.toml` has them with the place where each was seen.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

from partner_tools.intake.rules import Finding, finding, shown


@lru_cache(maxsize=1)
def names() -> Mapping[str, Any]:
    text = files("partner_tools.intake").joinpath("names.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def plain(text: str) -> str:
    """The normal form of a name: letters and digits, without case and accents.

    >>> plain(" Device_Serial-number"), plain("N\u00b0 de s\u00e9rie"), plain("Serial #")
    ('deviceserialnumber', 'nodeserie', 'serial')
    """
    if text.isascii():
        return "".join(filter(str.isalnum, text)).lower()
    wide = unicodedata.normalize("NFKD", text.replace("°", "o")).casefold()
    return "".join(filter(str.isalnum, wide.replace("ł", "l").replace("ø", "o")))


_EXACT_BELOW = 4
"""Normal forms shorter than this, and numbers, are compared as they are: `NA` can be a serial."""


def _value_key(text: str) -> str:
    key = plain(text)
    is_short = len(key) < _EXACT_BELOW or key.isdigit()
    return text.strip().casefold() if is_short else key


_PLACEHOLDERS = frozenset(
    _value_key(value) for group in names()["placeholders"] for value in group["values"]
)

_PLACEHOLDER_WORDS = re.compile(
    "(?:"
    + "|".join(sorted(map(plain, names()["placeholder_words"]["words"]), key=len, reverse=True))
    + ")+"
)

LONGEST = 256
"""The characters of a serial number at most: what is longer is refused for that."""

_LONGEST_PHRASE = 64
_BRACKETED = re.compile(r"[(\[<{][^()]*[)\]>}]")

_ASCENDING = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DESCENDING = _ASCENDING[::-1]


def is_placeholder(text: str) -> bool:
    """Whether firmware, forms and inventories hold this if there is no serial number.

    >>> [is_placeholder(each) for each in ("Default_String", "......", "87654321", "1111111", "00")]
    [True, True, True, True, False]
    """
    core = "".join(filter(str.isalnum, text)).upper()
    if not any(map(str.isdigit, core)) and len(core) < _LONGEST_PHRASE:
        key = plain(text)
        enough = len(key) >= _EXACT_BELOW or not key.isascii()
        if (enough and _PLACEHOLDER_WORDS.fullmatch(key)) or _BRACKETED.fullmatch(text):
            return True
    repeated = len(core) >= 7 and len(set(core)) == 1
    counted = len(core) >= 8 and (core in _ASCENDING or core in _DESCENDING)
    return not core or repeated or counted or _value_key(text) in _PLACEHOLDERS


# `#BEZUG!` and `Err:502`, as spreadsheets of any language write them, and people's remarks.
_ERROR_VALUE = re.compile(r"#.*|err(?:or)?:? ?\d{3}", re.IGNORECASE)

_MONTH = (
    r"(?:jan|feb|m[aä]r|apr|ma[iyg]|jun|jul|aug|ago|sep|set|o[ck]t|ott|nov|de[cz]|dic|déc)[a-zé]*"
)
_DATE = re.compile(
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|\d{1,2}[/.]\d{1,2}[/.]\d{2}"
    rf"|\d{{1,2}}[-. ] ?{_MONTH}\.?(?:[-. ] ?\d{{2,4}})?|{_MONTH}\.?[- ]\d{{1,2}}(?:,? \d{{4}})?)"
    r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z| ?[AP]M)?)?",
    re.IGNORECASE,
)


def is_date(text: str) -> bool:
    return bool(_DATE.fullmatch(text))


_WORDS = re.compile(r"[\s:=()\[\]#*,;.!\"']+")
_NUMBER = re.compile(r"[\d./,:-]+")


def is_footer(text: str) -> bool:
    """Whether a cell ends a report: a total, a count of rows, a page number.

    >>> [is_footer(each) for each in ("Total: 25", "(2 rows affected)", "Page 1 of 3", "TOTAL1")]
    [True, True, True, False]
    """
    tokens = [token for token in _WORDS.split(text.casefold()) if token]
    if not tokens:
        return False
    lists = names()["footers"]
    words, units = set(lists["words"]), set(lists["units"])
    if plain(text) in words:
        return True
    known = words | units | set(lists["fillers"])
    rest = all(token in known or _NUMBER.fullmatch(token) for token in tokens[1:])
    counted = len(tokens) > 1 and tokens[0].isdigit() and tokens[1] in units
    return rest and (tokens[0] in words or counted)


_PROSE_WORD = re.compile(r"[^\W\d_]{2,}")


def _is_prose(text: str) -> bool:
    tokens = text.split()
    return len(tokens) > 3 and sum(map(bool, map(_PROSE_WORD.fullmatch, tokens))) > 2


_HARD = re.compile(r"[;|\\\n\r\t]")
_SEVERAL = re.compile(r" ?[;,] ?| (?:[/&+→]|[-=]>) | (?:and|und|et|en|y|e|i|og|och) | ")
_SERIAL = re.compile(
    r"(?=[^0-9]*[0-9])[0-9A-Za-z][0-9A-Za-z/_#.:-]{3,}"
    r"|(?:VMware|Parallels)-(?:[0-9A-Fa-f]{2}[ -]?){16}"
)
"""A text that can only be a serial number, with virtual machines' own form."""


def is_serial(text: str) -> bool:
    """Whether a cell without a header can only be a serial number.

    >>> [is_serial(each) for each in ("5CG0001", "HP", "2026-04-17", "Printed 2026")]
    [True, False, False, False]
    """
    return bool(_SERIAL.fullmatch(text)) and not (is_date(text) or is_placeholder(text))


def several_in(text: str) -> tuple[str, ...]:
    """The serial numbers of a cell that holds more than one, else none.

    >>> several_in("5CG0001; 5CG0002"), several_in("5CG 0001")
    (('5CG0001', '5CG0002'), ())
    """
    even = " ".join(_HARD.sub(";", text.strip()).split())  # a long run of blanks costs nothing
    parts = [part for part in _SEVERAL.split(even) if part]
    halves = [half.strip() for half in text.split("/")]
    if len(halves) > 1 and len(set(map(len, halves))) == 1 and len(halves[0]) > 6:
        parts = halves  # 5CG0001/5CG0002; a Dell board says /7XYZAB3/CNPE10012300AB/
    shortest = 4 if _HARD.search(text) else 5
    fit = all(_SERIAL.fullmatch(part) and len(part) >= shortest for part in parts)
    return tuple(dict.fromkeys(parts)) if len(parts) > 1 and fit else ()


_RANGE = re.compile(
    r"(\S{4,})(?: (?:to|bis|through|tot|t/m|do|til|à|al|[-\u2013\u2014]|\.\.+|…) "
    r"|\.\.+|…|[\u2013\u2014-])(\S{4,})"
)


def _is_range(text: str) -> bool:
    """Whether a cell names the first and the last of several, as `5CG0001 - 5CG0009`.

    >>> _is_range("5CG0001 to 5CG0009"), _is_range("5CG0001-5CG0009"), _is_range("1234567-8901234")
    (True, True, False)
    """
    found = _RANGE.fullmatch(text)
    if not found or len(found[1]) != len(found[2]) or text.isdigit():
        return False
    both = _SERIAL.fullmatch(found[1]) and _SERIAL.fullmatch(found[2])
    spaced = " " in text or not any(map(str.isalpha, found[1]))
    return bool(both) and (found[1][:3] == found[2][:3]) and (spaced or len(found[1]) > 6)


_ADDRESS = re.compile(
    r"[a-z]+://\S+|[^@\s]+@[^@\s]+\.[a-z]{2,}|\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{2}(?::[0-9a-f]{2}){5}",
    re.IGNORECASE,
)
_LABELLED = re.compile(r"//.*|[^\d:]+:(?:\s.*)?", re.DOTALL)
_REMARK = re.compile(r"([0-9A-Za-z-]+) ?\([^()]*[^()\d][^()]*\)")


def _has_remark(text: str) -> bool:
    found = _REMARK.fullmatch(text)
    return bool(found and _SERIAL.fullmatch(found[1]))


_MIXED = re.compile(r"[0-9]+[A-Za-z][0-9A-Za-z]*|[A-Za-z]+[0-9][0-9A-Za-z]*")
_PLAIN = re.compile(r"[0-9A-Za-z/_:#-]+")


def is_plain_serial(text: str) -> bool:
    """Whether a serial number gives no finding, decided cheaply enough for a million rows.

    Every serial number that passes here passes `why_no_serial`.
    """
    if _MIXED.fullmatch(text):
        small = text.lower()
        # A counter with letters and digits passes from 9 to A, or back.
        if small not in _PLACEHOLDERS and "9a" not in small and "a9" not in small:
            return True
    return bool(_PLAIN.fullmatch(text)) and why_no_serial(text) is None


def why_no_serial(text: str) -> Finding | None:
    """Why a text is no serial number, whatever the format of its list; None if it can be one."""
    column = "serialNumber"
    if not text.isascii():  # what cannot be seen hides nothing
        text = "".join(each for each in text if unicodedata.category(each) != "Cf")
    several = () if is_date(text) else several_in(text)
    if several:
        message = (
            f"{len(several)} serial numbers are in one cell: {', '.join(map(shown, several[:3]))}"
        )
        return finding("several-in-one", message, column=column)
    kinds = (
        (_ERROR_VALUE.fullmatch(text), "is an error value of a spreadsheet or a remark"),
        (_LABELLED.fullmatch(text), "is a remark, a heading or text with a label"),
        (is_date(text), "is a date"),
        (_is_range(text), "is a range"),
        (_ADDRESS.fullmatch(text), "is an address"),
        (_has_remark(text), "is a text with a remark"),
        (is_footer(text), "is a total or the end of a report"),
        (_is_prose(text) and not is_placeholder(text), "is a sentence"),
        (_HARD.search(text.strip()), "is text with a separator"),
    )
    for found, what in kinds:
        if found:
            message = f"{shown(text)} {what}, not a serial number"
            return finding("not-an-identifier", message, column=column)
    if len(text) <= LONGEST and is_placeholder(text):
        message = f"{shown(text)} is a placeholder, not a serial number"
        return finding("placeholder-serial", message, column=column)
    return None
