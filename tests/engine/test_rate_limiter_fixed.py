"""A published limit is used, and never passed in any of its windows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.rate_limiter import FixedRate, FixedRateLimiter


class Time(CancellationToken):
    """Time that passes only by waiting for a token that is set only in a test of that."""

    now = 0.0
    stopped = False

    def is_set(self) -> bool:
        return self.stopped

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.stopped


LIMIT = FixedRate(requests=1000, seconds=20.0)


SMALL = FixedRate(requests=50, seconds=1.0)


@given(pauses=st.lists(st.floats(0, 2), max_size=5), between=st.integers(1, 30))
def test_no_window_ever_holds_more_than_the_limit(pauses: list[float], between: int) -> None:
    time, given_at = Time(), []
    allowance = FixedRateLimiter(SMALL, clock=lambda: time.now)
    for pause in [*pauses, 0.0]:
        for _ in range(between):
            assert allowance.acquire(time)
            given_at.append(time.now)
        time.now += pause
    for place, moment in enumerate(given_at[SMALL.requests :]):
        assert moment - given_at[place] >= SMALL.seconds - 1e-6


def test_a_few_go_at_once_and_many_at_nine_tenths_of_the_limit() -> None:
    time = Time()
    allowance = FixedRateLimiter(LIMIT, clock=lambda: time.now)
    for _ in range(100):
        allowance.acquire(time)
    assert time.now == 0.0
    for _ in range(900):
        allowance.acquire(time)
    assert 19.9 < time.now < 20.3


def test_a_429_pauses_everybody_for_as_long_as_it_says() -> None:
    time = Time()
    allowance = FixedRateLimiter(LIMIT, clock=lambda: time.now)
    allowance.throttled(2.128)
    allowance.acquire(time)
    assert 2.128 <= time.now < 2.4
    allowance.throttled(None)
    began = time.now
    allowance.acquire(time)
    assert time.now - began < 0.1


def test_a_stop_ends_the_waiting() -> None:
    time = Time()
    time.stopped = True
    assert not FixedRateLimiter(LIMIT).acquire(time)
