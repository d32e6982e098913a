"""A seeded sample of the simulation, and that it notices what it is there to notice."""

from __future__ import annotations

import pytest

from partner_tools.clients import partner_center
from partner_tools.clients.answers import SentIds
from partner_tools.engine import verification
from tests.simulation.evidence import LIES, simulate

SAMPLE = 12_000


def test_a_service_that_lies_has_nothing_wrong_removed_and_nothing_falsely_cleared() -> None:
    score = simulate(SAMPLE, seed=20260417)
    assert (score.wrong, score.false_clear) == ([], [])
    assert score.lies.keys() == set(LIES)
    assert score.clear > 200


MUTANTS = {
    "one look is proof": (verification, "AGREEING_LOOKS", 1),
    "counts are ignored": (partner_center, "_counted_items", partner_center._items),
    "an empty estate is proof": (verification, "MANY", 1_000_000),
    "answers are not tied to requests": (SentIds, "is_of_another", lambda *_: False),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_simulation_notices_a_missing_rule(
    mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name, value = MUTANTS[mutant]
    monkeypatch.setattr(where, name, value)
    score = simulate(6 * SAMPLE, seed=20260417)
    assert score.wrong or score.false_clear
