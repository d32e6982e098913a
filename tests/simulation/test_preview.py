"""A sample of the generated estates; `make simulation` takes 10,000."""

from __future__ import annotations

import pytest

from tests.simulation.preview import simulate


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_preview_and_run_agree_and_no_locked_firmware_goes_unnamed(seed: int) -> None:
    score = simulate(50, seed)
    assert score.faults == []
    assert min(score.outcomes[name] for name in ("removed", "refused", "ambiguous")) > 0
    assert {"not-found", "duplicate"} <= set(score.outcomes)
