"""When to send, and when to try again: decisions over values, nothing here waits.

The services publish no rate, so the rate is learned. A `RateState` starts low and doubles, gently
once much is under way, until the first 429, which pauses all threads. The requests sent by then
tell how fast the service's bucket is refilled, for each size that the bucket may have; two
overshoots settle which size it is. From then on the rate stays just below the limit, and
occasionally probes higher. All times are seconds of one monotonic clock, which the caller reads.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from partner_tools.errors import (
    ServiceError,
    Throttled,
    Unanswered,
    Unavailable,
    Unsent,
    Untrusted,
)

# --- What a 429 says --------------------------------------------------------------------------

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, or None where it asks for nothing usable.

    Seconds, with a fraction or without, and the three HTTP dates of RFC 9110 §5.6.7 and §10.2.3.
    `now` is aware.

    >>> parse_retry_after("57", datetime(2026, 1, 1, tzinfo=UTC))
    57.0
    >>> parse_retry_after("Thu, 01 Jan 2026 00:00:09 GMT", datetime(2026, 1, 1, tzinfo=UTC))
    9.0
    """
    text = (header or "").strip()
    try:
        if _SECONDS.fullmatch(text):
            seconds = float(text)
            return seconds if math.isfinite(seconds) else None
        moment = parsedate_to_datetime(text)
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


# --- Whether one request is tried again -------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long one request is tried. All in seconds.

    `base` is the first back-off, doubled after each attempt up to `cap`. `budget` bounds all
    attempts after faults, `reach` those of a request that cannot even be sent, `endurance` all
    attempts of a request that is throttled again and again, and `patience` a single wait that
    the service asks for.
    """

    base: float = 0.5
    cap: float = 30.0
    budget: float = 120.0
    reach: float = 20.0
    endurance: float = 900.0
    patience: float = 120.0

    def within(self, seconds: float) -> Policy:
        """Return this policy for a request with at most `seconds` left."""
        bounded = ("budget", "reach", "endurance", "patience")
        return replace(self, **{each: min(getattr(self, each), seconds) for each in bounded})


def decide(
    policy: Policy, failure: ServiceError, attempt: int, elapsed: float, jitter: float
) -> float | None:
    """The seconds to wait after attempt number `attempt` (from 1) failed, None to give up.

    `elapsed` is the time since the first attempt; `jitter` is in [0, 1). Never waits less than half
    the back-off, so never tries again at once: "all requests accrue against your usage limits"
    (https://learn.microsoft.com/partner-center/developer/api-throttling-guidance, read 2026-11).
    """
    passing = isinstance(failure, Unsent | Unanswered | Throttled | Unavailable)
    if not passing or isinstance(failure, Untrusted):
        return None  # another attempt would be answered the same
    asked = failure.retry_after or 0.0
    if asked > policy.patience:
        return None
    back_off = min(policy.base * 2.0 ** min(attempt - 1, 32), policy.cap)
    seconds = max(back_off * (0.5 + jitter / 2), asked)
    allowed = policy.reach if isinstance(failure, Unsent) else policy.budget
    if isinstance(failure, Throttled):
        allowed = policy.endurance
    return seconds if elapsed + seconds <= allowed else None


# --- At which rate all requests leave ---------------------------------------------------------

FIRST_RATE: Final = 8.0
"""Just below 500 a minute, the one rate that Partner Center publishes, for other resources
(https://learn.microsoft.com/partner-center/developer/api-throttling-guidance, read 2026-11)."""
MIN_RATE: Final = 0.1
MAX_RATE: Final = 1000.0

MARGIN: Final = 0.97
"""The share of a rate just learned at which all threads continue."""
REMEMBERED_MARGIN: Final = 0.96
"""The same for a rate that an earlier run learned, an hour ago or less."""
FORGOTTEN: Final = 60 * 86_400.0
"""The age in seconds at which a remembered rate is worth nothing."""

RAMP_FACTOR: Final = 2.0
GENTLE_RAMP_FACTOR: Final = 1.4
RAMP_RISK: Final = 20
"""The factor is the gentle one from where the other would put more requests than that under way
at once: all of them are refused when one of them is too many."""
RAMP_SECONDS: Final = 0.4
RAMP_PERMITS: Final = 3.0
"""The least length of a ramp step; it also lasts until an answer covers a third of it."""
SATURATED: Final = 0.85
"""A rate was really tried when permits were asked for in so much of the time."""

BUCKETS: Final = tuple(0.01 * 1.25**step for step in range(40))
"""The sizes that a bucket may have, in seconds of its own refilling: 10 ms to a minute."""
SIZES: Final = (*BUCKETS, 60.0)
"""The last one means no bucket: a number of requests in each fixed window."""
USUAL_BURST: Final = 0.3
USUAL_BURST_PER_PAUSE: Final = 0.05
"""Before a second overshoot the bucket is taken to be small, larger where the pause is long."""
LEANING: Final = 0.01
"""How much disagreement a guess may have for being e times nearer to what is usual."""
LIKELY: Final = 1.03
"""Guesses that disagree so little more than the best are as likely."""
CONSISTENT: Final = 1.15
"""Two overshoots on which no guess agrees better than this tell of a rate that has changed."""

CLIMB_STEP: Final = 0.04
CLIMB_SECONDS: Final = 0.8
CLIMB_WORTH: Final = 1.12
"""The rate climbs at once while a likely guess promises so much more than the one taken."""

LOOK_STEP: Final = 0.05
LOOK_FACTOR: Final = 2.0
LARGEST_LOOK_STEP: Final = 0.4
LOOK_SECONDS: Final = 3.0
CALM_PER_SECOND: Final = 28.0
CALM_GROWTH: Final = 1.2
"""A probe costs the pause after it: 3.5 % of the time where that is a second, less where
it is longer."""
SHORTEST_CALM: Final = 20.0
LONGEST_CALM: Final = 600.0
REMEMBERED_CALM: Final = 300.0

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""The pauses of our own where the service names none, doubled while they are fruitless."""
SHORTEST_PAUSE: Final = 0.2
SCOUT_SECONDS: Final = 30.0
"""All threads wait up to this long for the answer to the request sent ahead after a pause."""

SLACK: Final = 0.02
"""A permit asked for so little too late does not delay the ones after it."""
IDLE: Final = 0.25
"""Seconds without a request after which the bucket may have filled again."""
KEPT_MARKS: Final = 32


class Phase(StrEnum):
    """How the rate is moved by answers that are not 429."""

    RAMP = "ramp"
    """Doubled, until the first 429."""
    CLIMB = "climb"
    """Raised quickly towards what is still likely after an overshoot."""
    CALM = "calm"
    """Kept, until it is time to look."""
    LOOK = "look"
    """Raised in growing steps, until the next 429."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to send one request, `at` a time. Numbers count from 1 in the order of sending."""

    at: float
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How many permits there had been at a moment when the rate changed or a stretch began."""

    at: float
    issued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """The service's rate after one overshoot, by `SIZES`. `grain` is what one permit changes."""

    rates: tuple[float, ...]
    grain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateState:
    """All that a limit scope knows of its rate; a value, so that it can be one row of a table.

    `rate` and `max_rate` are permits per second. `ceiling` is what the service is believed to
    allow, None before the first 429 of a run that remembered none.
    """

    rate: float
    max_rate: float
    phase: Phase
    next_at: float
    """Before this no permit; the pause comes on top."""
    since: float
    """When the present step of the phase began."""
    issued: int = 0
    idle: float = 0.0
    """Seconds of the step in which a due permit was not requested."""
    marks: tuple[Mark, ...] = ()
    """The stretch since the last pause."""
    pauses: int = 0
    paused_until: float = -math.inf
    paused_after: int = 0
    """The last permit before the pause: what is answered later about older ones is no news."""
    emptied_by: Permit | None = None
    """The last overshoot: at its time the bucket was empty."""
    served_since: int = 0
    """Later permits that had left before the pause, and were served even so."""
    proven: bool = False
    """Whether a request got through since the last pause."""
    fruitless: int = 0
    """Pauses in a row after which none did."""
    scout: Permit | None = None
    scouting: bool = False
    granted: float | None = None
    """The highest rate of the ramp that was tried without a 429."""
    ceiling: float | None = None
    guesses: tuple[Guess, ...] = ()
    """The guesses from the last two overshoots."""
    burst: float | None = None
    """The size of the bucket that two overshoots agreed on."""
    reach: float = 0.0
    """The highest rate that is still likely."""
    calm: float = SHORTEST_CALM
    """Seconds without a 429 before the next look."""
    step: float = LOOK_STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The learned rate, in requests per second: the limit where the service `refused` more,
    else the highest rate that was tried and granted."""

    per_second: float
    refused: bool = True


def cold(now: float, *, max_rate: float | None = None) -> RateState:
    """The pace of a run that knows nothing of the service's rate."""
    limit = _limit(max_rate)
    return RateState(
        rate=_within(FIRST_RATE, limit), max_rate=limit, phase=Phase.RAMP, next_at=now, since=now
    )


def remembered(
    known: Learned | None, now: float, *, age: float = 0.0, max_rate: float | None = None
) -> RateState:
    """The pace of a run that begins with what an earlier one learned, `age` seconds ago, if any.

    The older the memory, the further below it the run starts and the sooner it probes above. If
    the rate was never refused, doubling continues there.
    """
    rate = known.per_second if known else 0.0
    if known is None or not (math.isfinite(rate) and rate > 0.0) or age >= FORGOTTEN:
        return cold(now, max_rate=max_rate)
    freshness = 1.0 - max(age, 0.0) / FORGOTTEN
    limit = _limit(max_rate)
    begun = _within(rate * REMEMBERED_MARGIN * (0.5 + freshness / 2), limit)
    if not known.refused:
        unbound = cold(now, max_rate=max_rate)
        return replace(unbound, rate=max(begun, unbound.rate), granted=_within(rate, limit))
    return RateState(
        rate=begun,
        max_rate=limit,
        phase=Phase.CALM,
        next_at=now,
        since=now,
        ceiling=_within(rate, limit),
        calm=max(SHORTEST_CALM, REMEMBERED_CALM * freshness**8),
    )


def due(pace: RateState, now: float) -> float:
    """The moment of the next permit."""
    if pace.scout is not None:
        return max(now, pace.scout.at + SCOUT_SECONDS)
    return max(now, pace.next_at, pace.paused_until)


def reserve(pace: RateState, now: float) -> tuple[RateState, Permit]:
    """Hand out the next permit. It is void when a pause begins before its time.

    Permits are 1/rate apart. One that is asked for late leaves a gap, and nothing is caught up
    but the lateness of a timer.
    """
    at = due(pace, now)
    permit = Permit(at=at, number=pace.issued + 1)
    gap = 1.0 / pace.rate
    planned = max(pace.next_at, pace.paused_until)
    late = at - planned
    slack = max(SLACK, gap)
    if not pace.marks:
        pace = replace(pace, since=at, idle=0.0, marks=_marked(pace, at))
    return replace(
        pace,
        issued=permit.number,
        next_at=max(planned, at - slack) + gap,
        idle=pace.idle + late if late > slack and pace.since < at else pace.idle,
        marks=_marked(pace, at) if late > IDLE else pace.marks,
        scout=permit if pace.scouting else None,
        scouting=False,
    ), permit


def withdrawn(pace: RateState, permit: Permit) -> RateState:
    """Take back a permit whose request did not leave; its moment passes unused."""
    if pace.scout == permit:
        return replace(pace, scout=None, scouting=True)
    return pace


def succeeded(pace: RateState, permit: Permit, now: float) -> RateState:
    """The service answered a request, and not with 429."""
    if permit.number <= pace.paused_after:
        late = pace.emptied_by is not None and permit.number > pace.emptied_by.number
        return replace(pace, served_since=pace.served_since + 1) if late else pace
    if pace.scout is not None:
        pace = replace(pace, scout=None, since=now, idle=0.0, marks=_marked(pace, now))
    pace = replace(pace, fruitless=0, proven=True)
    if permit.at < pace.since or pace.rate >= pace.max_rate or not _is_over(pace, permit, now):
        return pace
    if pace.idle > (1.0 - SATURATED) * (now - pace.since):  # only a rate asked for was tried
        return replace(pace, since=now, idle=0.0)
    return _moved(pace, permit, now)


def throttled(pace: RateState, permit: Permit, now: float, retry_after: float | None) -> RateState:
    """The service answered 429: pause everybody, and learn from it unless it tells nothing new.

    Nothing new are requests that had left before the pause began, and a pause that turned out too
    short: they lengthen the pause and leave the rate as it is.
    """
    if permit.number <= pace.paused_after:
        until = now + (retry_after or 0.0)
        return replace(pace, paused_until=max(pace.paused_until, until))
    until = max(now + _pause(pace, retry_after), pace.paused_until)
    trusted = pace.proven and retry_after is not None
    if pace.proven:
        pace = _learn(pace, permit, until)
    # The last overshoot cost everything up to the end of the pause.
    lost = until - (until if pace.emptied_by is None else pace.emptied_by.at)
    calm = CALM_PER_SECOND * math.pow(lost, CALM_GROWTH)
    return replace(
        pace,
        calm=min(max(calm, SHORTEST_CALM), LONGEST_CALM),
        next_at=until,
        since=until,
        idle=0.0,
        marks=(),
        pauses=pace.pauses + 1,
        paused_until=until,
        paused_after=pace.issued,
        fruitless=pace.fruitless + 1,
        proven=False,
        scout=None,
        scouting=not trusted,
    )


def learned(pace: RateState) -> Learned | None:
    """Return the rate worth remembering: None before any rate was tried.

    A climb spends what the bucket gathered during the pause, so that its rate proves nothing by
    itself: of a climb that was not finished, no more is remembered than its mean since the pause.
    """
    if pace.ceiling is not None:
        rate = pace.ceiling
        if pace.phase is Phase.CLIMB and pace.marks:
            began = pace.marks[0]
            rate = min(rate, (pace.issued - began.issued) / max(pace.next_at - began.at, SLACK))
        return Learned(per_second=rate)
    if pace.granted is not None:
        return Learned(per_second=pace.granted, refused=False)
    return None


def _limit(max_rate: float | None) -> float:
    if max_rate is None:
        return MAX_RATE
    if not max_rate > 0.0:
        raise ValueError(f"a rate above 0 is needed, not {max_rate}")
    return min(max_rate, MAX_RATE)


def _within(rate: float, limit: float) -> float:
    return min(max(rate, MIN_RATE), limit)


def _pause(pace: RateState, retry_after: float | None) -> float:
    own = min(FIRST_PAUSE * 2.0 ** min(pace.fruitless, 16), LONGEST_PAUSE)
    if not retry_after:
        return own
    return max(retry_after, own if pace.fruitless else SHORTEST_PAUSE)


def _marked(pace: RateState, at: float) -> tuple[Mark, ...]:
    return (*pace.marks, Mark(at=at, issued=pace.issued))[-KEPT_MARKS:]


# --- How answers move the rate ----------------------------------------------------------------


def _step(pace: RateState, now: float, rate: float, phase: Phase) -> RateState:
    """Continue at another rate, from the last permit on."""
    rate = _within(rate, pace.max_rate)
    last_at = pace.next_at - 1.0 / pace.rate
    return replace(
        pace,
        rate=rate,
        phase=phase,
        since=now,
        idle=0.0,
        next_at=last_at + 1.0 / rate,
        marks=_marked(pace, now),
    )


def _is_over(pace: RateState, permit: Permit, now: float) -> bool:
    """Whether the step has lasted long enough for an answer to tell of it."""
    match pace.phase:
        case Phase.RAMP:
            told = max(RAMP_SECONDS / 3.0, RAMP_PERMITS / pace.rate)
            return now >= pace.since + RAMP_SECONDS and permit.at >= pace.since + told
        case Phase.CLIMB:
            return permit.at >= pace.since + CLIMB_SECONDS
        case Phase.CALM:
            return permit.at >= pace.since + pace.calm
        case Phase.LOOK:
            return permit.at >= pace.since + LOOK_SECONDS


def _moved(pace: RateState, permit: Permit, now: float) -> RateState:
    """The next step, after one whose rate was granted."""
    match pace.phase:
        case Phase.RAMP:
            risk = RAMP_FACTOR * (pace.issued - permit.number)
            factor = RAMP_FACTOR if risk <= RAMP_RISK else GENTLE_RAMP_FACTOR
            return _step(replace(pace, granted=pace.rate), now, pace.rate * factor, Phase.RAMP)
        case Phase.CLIMB:
            rate = min(pace.rate * (1.0 + CLIMB_STEP), pace.reach)
            phase = Phase.CLIMB if rate < pace.reach else Phase.CALM
            return _step(replace(pace, ceiling=pace.rate), now, rate, phase)
        case Phase.CALM:
            above = max(pace.ceiling or 0.0, pace.rate) * (1.0 + LOOK_STEP)
            return _step(replace(pace, step=LOOK_STEP), now, above, Phase.LOOK)
        case Phase.LOOK:
            step = min(pace.step * LOOK_FACTOR, LARGEST_LOOK_STEP)
            clean = replace(pace, ceiling=pace.rate, step=step)
            return _step(clean, now, pace.rate * (1.0 + step), Phase.LOOK)


# --- What an overshoot tells ------------------------------------------------------------------


def _learn(pace: RateState, permit: Permit, until: float) -> RateState:
    """Believe a new ceiling after an overshoot by `permit` that pauses everybody `until` then."""
    guess = _guess(pace, permit, until)
    guesses = _agreeing((*pace.guesses[-1:], guess), pace.burst)
    likely = _likely(guesses, pace.burst)
    usual = pace.burst or max(USUAL_BURST, USUAL_BURST_PER_PAUSE * (until - permit.at))
    taken = min(likely, key=lambda size: _penalty(guesses, size, usual))
    ceiling = _within(min(guess.rates[taken], pace.rate), pace.max_rate)
    reach = min(max(guess.rates[size] for size in likely), pace.rate)
    settled = pace.burst is not None and len(guesses) == 2
    climbing = reach > CLIMB_WORTH * ceiling and not settled
    return replace(
        pace,
        phase=Phase.CLIMB if climbing else Phase.CALM,
        rate=_within(MARGIN * ceiling, pace.max_rate),
        ceiling=ceiling,
        guesses=guesses,
        burst=SIZES[taken] if len(guesses) == 2 else None,
        reach=reach,
        emptied_by=permit,
        served_since=0,
    )


def _guess(pace: RateState, permit: Permit, until: float) -> Guess:
    """The service's rate, if this permit was the first too many.

    A bucket of `size` seconds is overdrawn when the permits of some stretch of the past exceed
    rate x (stretch + size); so the rate is the largest n / (t + size) over all stretches that end
    here. Since it was last empty it has not needed to fill, hence n / t from there. A window gives
    the same number each time, whatever the pace: permits per stretch and the pause after it.
    """
    first = pace.marks[0]
    served = permit.number - 1 - first.issued
    stretches = [
        (permit.number - 0.5 - mark.issued, permit.at - mark.at)
        for mark in pace.marks
        if mark.at <= permit.at
    ]
    since_empty = _rate_since_empty(pace, permit)
    buckets = (
        max([since_empty, *(count / (span + size) for count, span in stretches)])
        for size in BUCKETS
    )
    window = served / max(until - first.at, SLACK)
    return Guess(rates=(*buckets, window), grain=1.0 / max(served, 1))


def _rate_since_empty(pace: RateState, permit: Permit) -> float:
    if pace.emptied_by is None or permit.at <= pace.emptied_by.at:
        return 0.0
    served = pace.served_since + permit.number - pace.paused_after
    return served / (permit.at - pace.emptied_by.at)


def _agreeing(guesses: tuple[Guess, ...], burst: float | None) -> tuple[Guess, ...]:
    """The guesses that one rate explains, else the newest alone: the rate has changed.

    A size that was settled has to explain them; when it does not, it is trusted once more and
    settled anew by the next overshoot.
    """
    size = _best(guesses) if burst is None else SIZES.index(burst)
    allowed = CONSISTENT + _grain(guesses)
    return guesses if _disagreement(guesses, size) <= allowed else guesses[-1:]


def _likely(guesses: tuple[Guess, ...], burst: float | None) -> list[int]:
    """The sizes that may be: what two overshoots allow, or one, near the size settled before."""
    if len(guesses) == 2:
        allowed = (LIKELY + _grain(guesses)) * _disagreement(guesses, _best(guesses))
        return [size for size in range(len(SIZES)) if _disagreement(guesses, size) <= allowed]
    if burst is None:
        return list(range(len(BUCKETS)))
    return [size for size, value in enumerate(SIZES) if 0.5 <= value / burst <= 2.0]


def _penalty(guesses: tuple[Guess, ...], size: int, usual: float) -> float:
    """How little a size is believed: it disagrees, or it is far from usual."""
    leaning = LEANING + _grain(guesses)
    return _disagreement(guesses, size) + leaning * abs(math.log(SIZES[size] / usual))


def _disagreement(guesses: tuple[Guess, ...], size: int) -> float:
    rates = [guess.rates[size] for guess in guesses]
    return max(rates) / max(min(rates), MIN_RATE / 10)


def _best(guesses: tuple[Guess, ...]) -> int:
    return min(range(len(SIZES)), key=lambda size: _disagreement(guesses, size))


def _grain(guesses: tuple[Guess, ...]) -> float:
    return max(guess.grain for guess in guesses)
