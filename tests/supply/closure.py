"""What an installation of partner-tools brings along, and under which licences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("sandbox", "fleet")

ALLOWED = frozenset(
    {
        "Apache-2.0",
        "BSD",
        "ISC",
        "LGPL",
        "MIT",
        "MPL-2.0",
        "PSF",
        "Unlicense",
    }
)
"""Permissive licences, and two with weak copyleft that bind changes of the library alone: LGPL
(psycopg, which nobody changes or links statically) and MPL-2.0 (certifi's list)."""

_SPELLINGS = (
    (r"apache", "Apache-2.0"),
    (r"\bBSD|0BSD", "BSD"),
    (r"\bISC", "ISC"),
    (r"LGPL|lesser general", "LGPL"),
    (r"\bMIT\b", "MIT"),
    (r"MPL|mozilla", "MPL-2.0"),
    (r"PSF|python software foundation", "PSF"),
    (r"unlicense", "Unlicense"),
)


@cache
def dependencies(extras: tuple[str, ...] = EXTRAS) -> frozenset[str]:
    """The canonical names of every distribution that this machine's installation needs."""
    found: set[str] = set()
    waiting = [Requirement(f"partner-tools[{','.join(extras)}]" if extras else "partner-tools")]
    while waiting:
        for each in _needed(waiting.pop()):
            name = canonicalize_name(each.name)
            if name not in found or each.extras:
                found.add(name)
                waiting.append(each)
    return frozenset(found)


def licence_of(name: str) -> set[str]:
    """The licences that a distribution names, as `ALLOWED` spells them; empty for none known."""
    about: Any = metadata.metadata(name)
    told = [about.get("License-Expression") or "", (about.get("License") or "")[:80]]
    told += [each for each in about.get_all("Classifier") or () if each.startswith("License")]
    return {
        licence
        for pattern, licence in _SPELLINGS
        if any(re.search(pattern, text, re.IGNORECASE) for text in told)
    }


def _needed(by: Requirement) -> Iterator[Requirement]:
    for text in metadata.requires(by.name) or ():
        wanted = Requirement(text)
        environments = [{"extra": extra} for extra in by.extras or {""}]
        if wanted.marker is None or any(wanted.marker.evaluate(each) for each in environments):
            yield wanted
