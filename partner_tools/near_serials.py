"""Similar serial numbers and customers: hints, never used to choose a device. Pure.

People type O for 0, scanners read a label's prefix with its number, spreadsheets drop leading
zeros. Two serial numbers are near if they have a form in common.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from partner_tools.model import Customer

AT_MOST = 3
"""Maximum number of near serial numbers in a hint."""

_SHORTEST = 4
"""Shorter forms would be near to too many serial numbers."""

_LIKE = str.maketrans({"O": "0", "I": "1", "L": "1", "B": "8"})
_LABEL = re.compile(
    r"(?:SERIAL(?:\s*(?:NUMBER|NO\.?))?|S/N|S\.N\.|SN|SER(?:IAL)?)\s*[:#=.]*\s*", re.I
)
_SCANNED = ("1S", "S")
"""Data identifiers of ANSI MH10.8.2 that a scanner may leave before a serial number."""

_MODEL_LENGTH, _SERIAL_LENGTH = 10, 8
"""Lenovo's label: machine type and model, then the serial number."""

NEAR_LETTERS, CUSTOMERS_AT_MOST = 3, 5
"""The share of a misspelt domain that has to match, and the customers in a hint."""

Index = Mapping[str, tuple[str, ...]]


def index(serials: Iterable[str]) -> Index:
    """The serial numbers by each form that a near one would share."""
    groups: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for serial in serials:
        form = _form(serial)
        if len(form) >= _SHORTEST:
            groups[form][serial] = None
    return {form: tuple(group) for form, group in groups.items()}


def near(serial: str, known: Index) -> tuple[str, ...]:
    """The known serial numbers that this one nearly is, without itself; three at most.

    >>> near("S5CGOOO1", index(["5CG0001"])), near("1S20XW0055USPF3LEN01", index(["PF3LEN01"]))
    (('5CG0001',), ('PF3LEN01',))
    """
    found = (each for form in _forms(serial) for each in known.get(form, ()))
    return tuple(each for each in dict.fromkeys(found) if each != serial)[:AT_MOST]


def _forms(serial: str) -> dict[str, None]:
    """The forms of a serial number as it is, and without what a label or a scanner added."""
    text = unicodedata.normalize("NFKC", serial).strip()
    bare = _LABEL.sub("", text, count=1) if _LABEL.match(text) else text
    texts = [text, bare, re.sub(r"-\w{1,2}$", "", bare)]
    for prefix in _SCANNED:
        if bare.upper().startswith(prefix):
            rest = bare[len(prefix) :]
            texts.append(rest)
    texts += [
        each[-_SERIAL_LENGTH:]
        for each in texts
        if len(each) == _MODEL_LENGTH + _SERIAL_LENGTH and each.isalnum()
    ]
    return dict.fromkeys(form for form in map(_form, texts) if len(form) >= _SHORTEST)


def _form(serial: str) -> str:
    wide = unicodedata.normalize("NFKC", serial).upper()
    return "".join(filter(str.isalnum, wide)).translate(_LIKE).lstrip("0")


def near_customers(wanted: str, customers: Iterable[Customer]) -> list[str]:
    """The domains, or tenant ids, of customers with a similar name, nearest first.

    By company name, domain and tenant id. The ending that all Microsoft tenants share doesn't make
    two of them similar.
    """
    start = wanted.casefold().partition(".")[0]
    called = {
        text.casefold().partition(".")[0]: one.domain or one.tenant_id
        for one in customers
        for text in (one.tenant_id, one.name, one.domain)
        if text
    }
    near = get_close_matches(start, called, n=CUSTOMERS_AT_MOST)
    alike = (each for each in called if each.startswith(start[:NEAR_LETTERS]))
    return list(dict.fromkeys(called[each] for each in [*near, *alike]))[:CUSTOMERS_AT_MOST]
