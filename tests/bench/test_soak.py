"""A short soak: more faults on fewer devices, and nothing is lost."""

from __future__ import annotations

import pytest

from tests.bench.soak import soak

pytestmark = pytest.mark.slow


def test_nothing_is_lost_among_faults() -> None:
    soaked = soak(300, faults=0.2, limit_seconds=300)

    assert soaked.wrong == []
    assert soaked.outcomes.keys() <= {"removed", "absent"}
    assert sum(count for kind, count in soaked.faults_met.items() if kind != "none") > 20
