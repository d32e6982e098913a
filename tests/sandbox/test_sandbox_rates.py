"""Hidden limits, without a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.sandbox.faults import Limit, LimitKind, admit, full, rate_at


def play(limit: Limit, arrivals: list[float], draw: float = 0.0) -> list[float | None]:
    bucket, waits = full(limit, arrivals[0]), []
    for at in arrivals:
        bucket, wait = admit(limit, bucket, at, rate=limit.rate, draw=draw)
        waits.append(None if wait is None else round(wait, 3))
    return waits


BUCKET = Limit(service="s", rate=2, burst=2)
LOCKING = Limit(service="s", rate=2, burst=1, lockout=(4, 8))


@pytest.mark.parametrize(
    ("limit", "arrivals", "draw", "waits"),
    [
        (BUCKET, [0, 0, 0, 0.5], 0, [None, None, 0.5, None]),
        (BUCKET, [0, 0, 10, 10, 10], 0, [None, None, None, None, 0.5]),
        (LOCKING, [0, 0, 3.9, 4.0], 0, [None, 4.0, 0.1, None]),
        (LOCKING, [0, 0], 0.5, [None, 6.0]),
        (
            Limit(service="s", rate=2, lockout=(4, 4), extend=True),
            [0, 0, 3, 6.9, 10.9],
            0,
            [None, 4.0, 4.0, 4.0, None],
        ),
        (
            Limit(service="s", rate=0.2, window=10, kind=LimitKind.FIXED_WINDOW),
            [3, 4, 5, 9.9, 10],
            0,
            [None, None, 5.0, 0.1, None],
        ),
    ],
)
def test_who_passes_and_how_long_the_others_wait(
    limit: Limit, arrivals: list[float], draw: float, waits: list[float | None]
) -> None:
    assert play(limit, arrivals, draw) == waits


@given(
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=200),
    rate=st.floats(0.5, 50),
    burst=st.integers(1, 20),
)
def test_no_bucket_lets_more_pass_than_burst_and_rate_allow(
    gaps: list[float], rate: float, burst: int
) -> None:
    limit = Limit(service="s", rate=rate, burst=burst)
    arrivals = [sum(gaps[: place + 1]) for place in range(len(gaps))]
    passed = play(limit, arrivals).count(None)
    assert passed <= burst + rate * (arrivals[-1] - arrivals[0]) + 1e-6


def test_a_rate_changes_at_its_times() -> None:
    limit = Limit(service="s", rate=5, changes=((20, 1), (10, 9)))
    assert [rate_at(limit, at) for at in (0, 9.9, 10, 19, 20, 99)] == [5, 5, 9, 9, 1, 1]
