"""Profiles for tests: read as users' are, against the shipped schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from partner_tools.clients.oem.profile import Profile, read_profile
from partner_tools.intake.schema import checker


def faults(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the shipped schema says against a profile."""
    return [
        (".".join(map(str, one.path)), one.message)
        for one in checker("oem-profile").violations(dict(document))
    ]


def profile_of(text: str) -> Profile:
    """The profile that this TOML says."""
    return read_profile(text, faults)


def plain_profile(oem: str = "", tables: str = "") -> Profile:
    """A profile to loopback without sign-in, with further keys and tables."""
    return profile_of(f'[oem]\n{oem}\n[oem.auth]\nmode = "none"\n{tables}')
