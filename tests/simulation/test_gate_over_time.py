"""A seeded sample of what the gate is up against, and that the judge notices an open gate."""

from __future__ import annotations

from pathlib import Path

import pytest

from partner_tools.channels import partner_center
from partner_tools.runs import checks
from tests.simulation.gate import simulate

SEED = 20260417


@pytest.mark.slow
def test_no_request_leaves_that_the_gate_would_refuse(tmp_path: Path) -> None:
    score = simulate(6_000, SEED, tmp_path)
    assert score.wrong == []
    assert min(score.steps.values()) > 0
    assert {"hold list changed", "killed", "row edited", "another device registered"} <= set(
        score.steps
    )
    assert {"hold-list", "differs-from-plan", "changed-since-plan"} <= set(score.refused)


MUTANTS = {
    "the gate is open": (checks, "may_send", lambda *_: None),
    "an id is the device": (partner_center, "difference", lambda *_: None),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_judge_notices_a_missing_rule(
    mutant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    where, name, value = MUTANTS[mutant]
    monkeypatch.setattr(where, name, value)
    assert simulate(12_000, SEED, tmp_path).wrong
