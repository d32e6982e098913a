"""The short form of the fuzzing of every reader: `make fuzz` is the long one."""

from __future__ import annotations

from typing import Any

import pytest

from partner_tools.errors import InputError
from partner_tools.intake.schema import Checker
from partner_tools.json_forms import digest
from partner_tools.plan import read_plan
from tests.fuzz.readers import READERS, fuzz

pytestmark = pytest.mark.slow

COUNT = 40


@pytest.mark.parametrize("name", READERS)
def test_hostile_input_is_taken_or_refused_in_words(name: str) -> None:
    """No reader ends in anything but a value or an error that a user can act on."""
    seen = fuzz(name, count=COUNT, number=7)

    assert seen["taken"] > 0
    assert seen["refused"] + seen["taken"] >= COUNT // 2


def test_a_plan_that_contradicts_itself_is_told_without_its_control_characters() -> None:
    """Found by the fuzzing: the plan of a tenant whose id begins with a DEL."""
    content: dict[str, Any] = {
        "schemaVersion": "1",
        "run": "20260417-101530-4f2a9c",
        "channel": "partner-center",
        "createdAt": "2026-04-17T10:15:00+00:00",
        "batchId": "b",
        "batchDigest": f"sha256:{64 * '0'}",
        "reason": "other",
        "customers": [{"tenantId": "t\x7f1", "estate": 1, "removals": 1}],
        "counts": {"pending": 1},
        "notes": [],
        "devices": [
            {
                "row": 1,
                "serialNumber": "S1",
                "outcome": "pending",
                "customer": "t\x7f2",
                "target": {"batchId": "B", "deviceId": "d1"},
                "found": {"serialNumber": "S1"},
            }
        ],
    }
    with pytest.raises(InputError, match="contradicts itself") as refused:
        read_plan({**content, "digest": digest(content)})

    assert str(refused.value).isprintable()


@pytest.mark.parametrize("name", ["a\x1bb", "a\nb", "a\u202eb"])
def test_the_name_of_a_property_moves_nothing_where_it_is_shown(name: str) -> None:
    """A handoff, a profile, a seed: what is wrong in them is told by names that they chose."""
    (violation,) = Checker({"additionalProperties": {"type": "string"}}).violations({name: None})

    assert violation.path == (name,)
    assert violation.place("/").isprintable()
    assert violation.place("/").startswith("a\\")
