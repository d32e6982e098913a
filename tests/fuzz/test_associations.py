"""A seeded sample of the fuzzing of device associations, and that it finds what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from partner_tools.outstanding import decision, search
from partner_tools.outstanding.decision import Association
from tests.fuzz.associations import fuzz

COUNT = 4_000
ALL = {f"{a}{b}" for a in ("", *"A1bO0") for b in "A1bO0"}


def test_no_record_makes_another_device_ours_or_ours_clear() -> None:
    seen = fuzz(COUNT, 11)
    for way in ("list", "contains", "ignored"):
        for status in ("clear", "not-verified", "outstanding"):
            assert seen[f"{way}: {status}"] > 0


@pytest.mark.parametrize(
    ("module", "name", "broken"),
    [
        (search, "_resemblance", lambda *_: None),
        (search, "keys", lambda row: frozenset({(search.By.SERIAL, one) for one in ALL})),
        (decision, "_association_in", lambda *_: Association.CLEAR),
    ],
)
def test_a_broken_rule_is_found(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, broken: Callable[..., Any]
) -> None:
    monkeypatch.setattr(module, name, broken)
    with pytest.raises((AssertionError, ValueError)):
        fuzz(COUNT, 11)
