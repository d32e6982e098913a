"""When to send and when to try again: tables, a service in virtual time, and properties."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_tools import pacing
from partner_tools.errors import (
    Redirected,
    Rejected,
    ServiceError,
    Throttled,
    Unanswered,
    Unauthorized,
    Unavailable,
    Unreadable,
    Unsent,
    Untrusted,
)
from partner_tools.pacing import (
    FIRST_RATE,
    FORGOTTEN,
    GENTLE_RAMP_FACTOR,
    MIN_RATE,
    SCOUT_SECONDS,
    Learned,
    Mark,
    Permit,
    Phase,
    Policy,
    RateState,
    cold,
    decide,
    due,
    learned,
    parse_retry_after,
    remembered,
    reserve,
    succeeded,
    throttled,
    withdrawn,
)

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert (0, 2) == tuple(doctest.testmod(pacing))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("57", 57.0),
        ("0", 0.0),
        ("007", 7.0),
        (" 12 ", 12.0),
        ("1.5", 1.5),
        ("3.", 3.0),
        (".25", 0.25),
        ("100000", 100_000.0),
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Monday, 23-Nov-26 12:00:30 GMT", 30.0),
        ("Mon Nov 23 12:00:30 2026", 30.0),
        ("Mon, 23 Nov 2026 12:00:30 -0000", 30.0),
        ("Mon, 23 Nov 2026 13:00:30 +0100", 30.0),
        ("Mon, 23 Nov 2026 12:00:00 GMT", None),
        ("Mon, 23 Nov 2026 11:59:59 GMT", None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", None),
        ("Fri, 31 Dec 100000 23:59:59 GMT", None),
        ("Mon, 99 Nov 2026 12:00:30 GMT", None),
        ("Mon, 23 Nov 2026 25:00:30 GMT", None),
        ("Mon, 23 Nov 2026 12:00:30 +99999999", None),
        ("2026-11-23T12:00:30Z", None),
        (None, None),
        ("", None),
        ("   ", None),
        ("inf", None),
        ("-inf", None),
        ("Infinity", None),
        ("nan", None),
        ("-5", None),
        ("+5", None),
        ("1e5", None),
        ("1_000", None),
        ("0x10", None),
        ("9" * 400, None),
        ("١٢", None),
        ("12s", None),
        ("12, 30", None),
        ("57 seconds", None),
        ("in a while", None),
        (".", None),
        ("\x00", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_not_at_all(
    header: str | None, seconds: float | None
) -> None:
    assert seconds == parse_retry_after(header, NOON)


def test_a_retry_after_date_is_compared_across_time_zones() -> None:
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert 30.0 == parse_retry_after("Mon, 23 Nov 2026 12:00:30 GMT", tokyo)


@given(st.text())
def test_no_header_breaks_the_reading_of_it(header: str) -> None:
    seconds = parse_retry_after(header, NOON)
    assert seconds is None or (seconds >= 0.0 and math.isfinite(seconds))


POLICY = Policy(base=0.5, cap=8.0, budget=60.0, reach=20.0, endurance=300.0, patience=90.0)


@pytest.mark.parametrize(
    ("failure", "attempt", "elapsed", "jitter", "expected"),
    [
        (Unsent("x"), 1, 0.0, 0.0, 0.25),
        (Unsent("x"), 1, 0.0, 0.5, 0.375),
        (Unanswered("x"), 2, 5.0, 0.0, 0.5),
        (Unavailable("x"), 4, 5.0, 0.0, 2.0),
        (Unavailable("x"), 9, 5.0, 0.0, 4.0),
        (Unavailable("x"), 10_000, 5.0, 0.0, 4.0),
        (Unavailable("x", retry_after=20.0), 1, 0.0, 0.9, 20.0),
        (Throttled("x", retry_after=57.0), 1, 0.0, 0.9, 57.0),
        (Throttled("x", retry_after=0.0), 1, 0.0, 0.0, 0.25),
        (Throttled("x", retry_after=1.0), 4, 9.0, 0.0, 2.0),
        (Throttled("x", retry_after=90.0), 1, 0.0, 0.0, 90.0),
        (
            Throttled("x", retry_after=90.5),
            1,
            0.0,
            0.0,
            None,
        ),
        (
            Unavailable("x", retry_after=3600.0),
            1,
            0.0,
            0.0,
            None,
        ),
        (Unsent("x"), 5, 16.0, 0.0, 4.0),
        (Unsent("x"), 5, 16.5, 0.0, None),
        (Unanswered("x"), 5, 58.0, 0.0, None),
        (Unanswered("x"), 5, 56.0, 0.0, 4.0),
        (Throttled("x"), 5, 58.0, 0.0, 4.0),
        (
            Throttled("x", retry_after=57.0),
            5,
            250.0,
            0.0,
            None,
        ),
        (Untrusted("x"), 1, 0.0, 0.0, None),
        (Rejected("x"), 1, 0.0, 0.0, None),
        (Redirected("x"), 1, 0.0, 0.0, None),
        (Unreadable("x"), 1, 0.0, 0.0, None),
        (Unauthorized("x"), 1, 0.0, 0.0, None),
        (ServiceError("x"), 1, 0.0, 0.0, None),
    ],
)
def test_a_failure_is_waited_out_or_given_up(
    failure: ServiceError, attempt: int, elapsed: float, jitter: float, expected: float | None
) -> None:
    assert expected == decide(POLICY, failure, attempt, elapsed, jitter)


@given(
    attempt=st.integers(1, 200),
    jitter=st.floats(0.0, 1.0, exclude_max=True),
    asked=st.none() | st.floats(0.0, 1e6),
    elapsed=st.floats(0.0, 1e4),
    kind=st.sampled_from([Unsent, Unanswered, Throttled, Unavailable]),
)
def test_a_request_is_never_tried_again_at_once_nor_sooner_than_asked(
    attempt: int, jitter: float, asked: float | None, elapsed: float, kind: type[ServiceError]
) -> None:
    seconds = decide(POLICY, kind("x", retry_after=asked), attempt, elapsed, jitter)
    if seconds is not None:
        assert seconds >= max(POLICY.base / 2, asked or 0.0)
        assert elapsed + seconds <= POLICY.endurance


# --- A service in virtual time: no latency, a bucket, perhaps a lock-out -----------------------


@dataclass
class Service:
    """A token bucket of `size` seconds that locks everybody out for `lock` seconds."""

    rate: float
    size: float
    lock: float = 5.0
    level: float = math.inf
    at: float = 0.0
    locked_until: float = 0.0

    def refuses(self, now: float) -> float | None:
        """Seconds to wait, or None where the request is served."""
        self.level = min(max(1.0, self.rate * self.size), self.level + self.rate * (now - self.at))
        self.at = now
        if now < self.locked_until:
            return self.locked_until - now
        if self.level >= 1.0:
            self.level -= 1.0
            return None
        self.locked_until = now + self.lock
        return self.lock


def drive(
    pace: RateState,
    service: Service,
    until: float,
    *,
    asks: float = 0.0,
    answers: Callable[[float], float | None] = lambda seconds: seconds,
) -> tuple[RateState, list[Permit], int]:
    """Ask for permits until a time, at most one every `asks` seconds: pace, served, refused."""
    now, served, refused = 0.0, [], 0
    while now < until:
        pace, permit = reserve(pace, now)
        now = permit.at
        wait = service.refuses(now)
        if wait is None:
            served.append(permit)
            pace = succeeded(pace, permit, now)
        else:
            refused += 1
            pace = throttled(pace, permit, now, answers(wait))
        now += asks
    return pace, served, refused


def unlimited() -> Service:
    return Service(rate=1e9, size=1.0)


def limited(per_second: float) -> Learned:
    """What is remembered of a service that refused more."""
    return Learned(per_second=per_second)


def limit(pace: RateState) -> float:
    """The limit that a pace learned."""
    known = learned(pace)
    assert known is not None
    assert known.refused
    return known.per_second


def test_a_cold_pace_starts_low_and_doubles_while_nothing_is_refused() -> None:
    rates = [cold(0.0).rate, drive(cold(0.0), unlimited(), 0.5)[0].rate]
    assert [FIRST_RATE, 2 * FIRST_RATE] == rates
    pace, _, refused = drive(cold(0.0), unlimited(), 1.9)
    assert (Phase.RAMP, 16 * FIRST_RATE, 0) == (pace.phase, pace.rate, refused)


def test_the_rate_does_not_run_away_from_what_is_asked_for() -> None:
    """With 20 requests a second asked for, 32 are never tried, so 64 is never promised."""
    pace, served, _ = drive(cold(0.0), unlimited(), 60.0, asks=1 / 20)
    assert 32.0 == pace.rate
    assert learned(pace) == Learned(per_second=16.0, refused=False)
    assert len(served) == pytest.approx(20 * 60, rel=0.05)


def test_the_ramp_is_gentle_where_much_is_under_way() -> None:
    """What is under way is refused together, so that it is not doubled."""
    rates = []
    for under_way in (10, 11):
        pace, permits = replace(cold(0.0), rate=100.0), []
        for _ in range(100):
            pace, permit = reserve(pace, 0.0)
            permits.append(permit)
        answered = permits[-1 - under_way]
        rates.append(succeeded(pace, answered, answered.at + under_way / 100.0).rate)
    assert rates == [200.0, pytest.approx(GENTLE_RAMP_FACTOR * 100.0)]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [5.0, 10.0, 30.0, 60.0, 200.0])
@pytest.mark.parametrize("size", [0.2, 1.0, 5.0])
def test_the_hidden_rate_of_a_bucket_of_unknown_size_is_found(rate: float, size: float) -> None:
    pace, _, _ = drive(cold(0.0), Service(rate=rate, size=size), 120.0)
    assert limit(pace) == pytest.approx(rate, rel=max(0.07, 0.2 / (rate * size)))
    assert pace.rate < rate


@pytest.mark.parametrize("rate", [10.0, 60.0])
def test_it_is_found_without_retry_after_too(rate: float) -> None:
    pace, _, _ = drive(cold(0.0), Service(rate=rate, size=1.0), 120.0, answers=lambda _: None)
    assert limit(pace) == pytest.approx(rate, rel=0.07)


def test_a_rate_that_fell_is_followed() -> None:
    service = Service(rate=60.0, size=1.0)
    pace, _, _ = drive(cold(0.0), service, 100.0)
    service.rate, service.at = 20.0, 0.0
    service.level, service.locked_until = 20.0, 0.0
    shifted = replace(remembered(limited(limit(pace)), 0.0), guesses=pace.guesses, burst=pace.burst)
    pace, _, _ = drive(shifted, service, 60.0)
    assert pace.rate == pytest.approx(20.0, rel=0.1)


def test_a_rate_that_rose_is_looked_for() -> None:
    """What a look costs is the pause; where that is short, looks are frequent."""
    pace, _, _ = drive(
        remembered(limited(30.0), 0.0, age=FORGOTTEN / 2), Service(rate=60.0, size=1.0), 90.0
    )
    assert pace.rate == pytest.approx(60.0, rel=0.1)


# --- One step at a time ------------------------------------------------------------------------


def overshot(retry_after: float | None, *, in_flight: int = 4) -> tuple[RateState, list[Permit]]:
    """A pace whose fifth permit was refused at 0.7 s while later ones were under way."""
    pace, permits = cold(0.0), []
    for _ in range(5 + in_flight):
        pace, permit = reserve(pace, 0.0)
        permits.append(permit)
    for permit in permits[:4]:
        pace = succeeded(pace, permit, 0.55)
    return throttled(pace, permits[4], 0.6, retry_after), permits


def test_a_refusal_pauses_everybody_for_as_long_as_the_service_asks() -> None:
    pace, _ = overshot(7.0)
    assert (7.6, 7.6, 1) == (pace.paused_until, due(pace, 0.7), pace.pauses)
    assert pace.rate < FIRST_RATE


def test_refusals_of_requests_that_were_under_way_are_no_news() -> None:
    pace, permits = overshot(7.0)
    after = pace
    for permit in permits[5:]:
        after = throttled(after, permit, 0.8, 6.8)
    assert pace == after


def test_but_they_may_lengthen_the_pause() -> None:
    pace, permits = overshot(7.0)
    assert replace(pace, paused_until=9.8) == throttled(pace, permits[5], 0.8, 9.0)


def test_answers_to_requests_that_were_under_way_do_not_end_the_pause() -> None:
    pace, permits = overshot(7.0)
    assert replace(pace, served_since=1) == succeeded(pace, permits[5], 0.8)


def test_without_retry_after_the_pauses_double_while_they_are_fruitless() -> None:
    pace, _ = overshot(None)
    pauses, ceilings, now = [], [], 0.6
    for _ in range(8):
        pauses.append(pace.paused_until - now)
        ceilings.append(pace.ceiling)
        pace, permit = reserve(pace, now)
        now = permit.at
        pace = throttled(pace, permit, now, None)
    assert [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] == pytest.approx(pauses)
    assert 1 == len(set(ceilings))


def test_after_a_pause_of_our_own_one_request_goes_ahead() -> None:
    pace, _ = overshot(None)
    pace, scout = reserve(pace, 2.0)
    assert 2.0 + SCOUT_SECONDS == due(pace, 2.1)
    assert 2.3 == due(succeeded(pace, scout, 2.3), 2.3)


def test_a_scout_that_never_left_is_sent_again() -> None:
    pace, _ = overshot(None)
    pace, scout = reserve(pace, 2.0)
    pace, again = reserve(withdrawn(pace, scout), 2.5)
    assert again == pace.scout
    assert 2.5 == again.at


def test_a_scout_that_is_never_answered_is_not_waited_for_for_ever() -> None:
    pace, _ = overshot(None)
    pace, _ = reserve(pace, 2.0)
    pace, following = reserve(pace, 2.1)
    assert 2.0 + SCOUT_SECONDS == following.at


def test_a_withdrawn_permit_changes_nothing_else() -> None:
    pace, permit = reserve(cold(0.0), 0.0)
    assert pace == withdrawn(pace, permit)


def test_a_refusal_of_the_very_first_request_teaches_nothing_but_patience() -> None:
    pace, permit = reserve(cold(0.0), 0.0)
    pace = throttled(pace, permit, 0.1, 5.0)
    assert (FIRST_RATE, None, 5.1) == (pace.rate, learned(pace), pace.paused_until)


@pytest.mark.parametrize(
    ("known", "age", "rate"),
    [
        (50.0, 0.0, 48.0),
        (50.0, FORGOTTEN / 2, 36.0),
        (50.0, FORGOTTEN, FIRST_RATE),
        (50.0, -60.0, 48.0),
        (math.nan, 0.0, FIRST_RATE),
        (math.inf, 0.0, FIRST_RATE),
        (0.0, 0.0, FIRST_RATE),
        (-3.0, 0.0, FIRST_RATE),
    ],
)
def test_a_remembered_rate_is_begun_with_just_below_it(
    known: float, age: float, rate: float
) -> None:
    assert rate == pytest.approx(remembered(limited(known), 0.0, age=age).rate)


def test_an_old_memory_is_looked_above_sooner() -> None:
    fresh, old = remembered(limited(50.0), 0.0), remembered(limited(50.0), 0.0, age=FORGOTTEN / 4)
    assert fresh.calm > 3 * old.calm


def test_what_was_never_refused_is_where_the_next_run_goes_on_to_double() -> None:
    pace, _, _ = drive(cold(0.0), unlimited(), 1.9)
    known = learned(pace)
    assert known == Learned(per_second=pace.rate / 2, refused=False)
    again = remembered(known, 0.0)
    assert (Phase.RAMP, known) == (again.phase, learned(again))
    assert again.rate == pytest.approx(0.96 * known.per_second)
    assert remembered(replace(known, per_second=1.0), 0.0).rate == FIRST_RATE


def test_a_climb_that_was_not_finished_is_remembered_by_what_it_got() -> None:
    """The pause filled the bucket, so that the climb's own rate promises too much."""
    began = Mark(at=10.0, issued=100)
    climb = replace(cold(0.0), phase=Phase.CLIMB, marks=(began,), issued=150, ceiling=40.0)
    assert limit(replace(climb, next_at=12.0)) == 25.0
    assert limit(replace(climb, next_at=11.0)) == 40.0
    assert limit(replace(climb, next_at=12.0, phase=Phase.CALM)) == 40.0


@pytest.mark.parametrize(
    "pace", [cold(0.0, max_rate=3.0), remembered(limited(60.0), 0.0, max_rate=3.0)]
)
def test_the_users_own_bound_is_kept(pace: RateState) -> None:
    pace, served, _ = drive(pace, unlimited(), 100.0)
    assert 3.0 == pace.rate
    assert len(served) <= 3.0 * 100 + 2


@pytest.mark.parametrize("max_rate", [0.0, -1.0, math.nan])
def test_a_bound_that_lets_nothing_through_is_a_mistake(max_rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        cold(0.0, max_rate=max_rate)


# --- Whatever happens --------------------------------------------------------------------------

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "reserve", "succeeded", "throttled", "withdrawn"]),
        st.floats(0.0, 3.0),
        st.integers(0, 20),
        st.none() | st.floats(0.0, 30.0),
    ),
    max_size=120,
)


def play(
    pace: RateState, moves: list[tuple[str, float, int, float | None]]
) -> list[tuple[RateState, Permit]]:
    """The pace before each permit, and the permit. Asserts what holds after every move."""
    now, under_way, permits = 0.0, list[Permit](), list[tuple[RateState, Permit]]()
    for move, seconds, which, retry_after in moves:
        now += seconds
        before = pace
        if move == "reserve" or not under_way:
            pace, permit = reserve(pace, now)
            permits.append((before, permit))
            under_way.append(permit)
            now = permit.at
        else:
            permit = under_way.pop(which % len(under_way))
            if move == "succeeded":
                pace = succeeded(pace, permit, now)
            elif move == "throttled":
                pace = throttled(pace, permit, now, retry_after)
                assert pace.rate <= before.rate
                assert pace.paused_until >= now + (retry_after or 0.0)
            else:
                pace = withdrawn(pace, permit)
        assert min(MIN_RATE, pace.max_rate) <= pace.rate <= pace.max_rate
        assert pace.paused_until >= before.paused_until
    return permits


@settings(max_examples=100)
@given(
    moves=MOVES,
    max_rate=st.none() | st.floats(0.05, 500.0),
    known=st.none() | st.floats(0.01, 400.0),
)
def test_no_permit_falls_into_a_pause_and_permits_never_go_back(
    moves: list[tuple[str, float, int, float | None]], max_rate: float | None, known: float | None
) -> None:
    pace = (
        cold(0.0, max_rate=max_rate)
        if known is None
        else remembered(limited(known), 0.0, max_rate=max_rate)
    )
    permits = play(pace, moves)
    for before, permit in permits:
        assert permit.at >= before.paused_until
    for (_, earlier), (_, later) in pairwise(permits):
        assert (earlier.at, earlier.number) < (later.at + 1e-9, later.number)


@settings(max_examples=100)
@given(lateness=st.lists(st.floats(0.0, 2.0), min_size=2, max_size=80), rate=st.floats(0.1, 8.0))
def test_permits_are_one_over_the_rate_apart_on_average(lateness: list[float], rate: float) -> None:
    """However late they are asked for, no stretch holds more than its rate and one to catch up."""
    pace, now, times = cold(0.0, max_rate=rate), 0.0, []
    for seconds in lateness:
        pace, permit = reserve(pace, now)
        times.append(permit.at)
        now = permit.at + seconds
    for first in range(len(times)):
        for last in range(first + 1, len(times)):
            assert last - first <= rate * (times[last] - times[first]) + 1.0 + 1e-6


@pytest.mark.slow
@settings(max_examples=15)
@given(
    rate=st.floats(6.0, 40.0),
    size=st.floats(0.15, 8.0),
    lock=st.floats(0.5, 12.0),
    asked=st.booleans(),
)
def test_any_bucket_is_used_and_rarely_overdrawn(
    rate: float, size: float, lock: float, asked: bool
) -> None:
    pace, served, refused = drive(
        cold(0.0),
        Service(rate=rate, size=size, lock=lock),
        100.0,
        answers=lambda seconds: seconds if asked else None,
    )
    assert refused <= 40
    assert len(served) >= 0.4 * rate * 100
    assert pace.rate <= 2.0 * rate
