"""The rate limiters: the only place where a thread waits for a permit to send a request.

`AdaptiveRateLimiter` is for the threads of one process, `SharedRateLimiter` for those of many;
both learn the service's rate. The decisions are those of `pacing` and `shared_pacing`; here are
locks, a clock and a way to wait. A thread holds at most one permit, the one that its last `acquire`
gave it, and reports from the same thread how that request ended. `FixedRateLimiter` keeps to a
published limit.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from partner_tools import pacing, shared_pacing
from partner_tools.cancellation import CancellationToken
from partner_tools.pacing import Learned, Permit, RateState
from partner_tools.shared_pacing import Party, RequestOutcome, Shared

GLANCE_SECONDS: Final = 0.25
"""A long wait is cut into pieces: a pause may end early, a turn may come from another thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSnapshot:
    """The state to display. `rate` is in permits per second, `paused` in seconds left."""

    rate: float
    ceiling: float | None
    paused: float
    permits: int
    answered: int
    throttled: int
    pauses: int


class RateLearner:
    """The state of a limiter that learns the service's rate.

    `clock` is monotonic, in seconds; `wait` sleeps unless stopped.
    """

    def __init__(
        self,
        pace: RateState,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[CancellationToken, float], object] = CancellationToken.wait,
    ) -> None:
        self._pace = pace
        self._clock = clock
        self._wait = wait
        self._state = threading.Lock()
        self._turns: defaultdict[Party, threading.Lock] = defaultdict(threading.Lock)
        self._mine = threading.local()
        self._answered = 0
        self._throttled = 0

    def learned(self) -> Learned | None:
        """Return the rate worth remembering; None when nothing was learned."""
        return pacing.learned(self._pace)

    def snapshot(self) -> RateSnapshot:
        """Return the current state; where processes share it, that of the last lease."""
        pace = self._pace
        return RateSnapshot(
            rate=pace.rate,
            ceiling=pace.ceiling,
            paused=max(0.0, pace.paused_until - self._now()),
            permits=pace.issued,
            answered=self._answered,
            throttled=self._throttled,
            pauses=pace.pauses,
        )

    def _now(self) -> float:
        return self._clock()

    def _in_turn(self, party: Party, stop: CancellationToken, wait: Callable[[], bool]) -> bool:
        """Whether `wait` got a permit: one thread of a party waits, so that a permit wakes one."""
        with self._state:
            turn = self._turns[party]
        while not turn.acquire(timeout=GLANCE_SECONDS):
            if stop.is_set():
                return False
        try:
            return wait()
        finally:
            turn.release()


_ALONE: Final = Party()
"""The one party of a limiter that no other process shares."""


class AdaptiveRateLimiter(RateLearner):
    """Hands out evenly spaced permits, and pauses all threads when one request is throttled."""

    def acquire(self, stop: CancellationToken) -> bool:
        """Wait for the next permit; False when stopped instead."""
        return self._in_turn(_ALONE, stop, partial(self._next, stop))

    def succeeded(self) -> None:
        """The service answered this thread's request, and not with 429."""
        with self._state:
            self._answered += 1
            self._pace = pacing.succeeded(self._pace, self._mine.permit, self._clock())

    def throttled(self, retry_after: float | None) -> None:
        """The service answered 429: give no permits for this number of seconds."""
        with self._state:
            self._throttled += 1
            self._pace = pacing.throttled(self._pace, self._mine.permit, self._clock(), retry_after)

    def withdrawn(self) -> None:
        """This thread's request never reached the service, or its answer never came."""
        with self._state:
            self._pace = pacing.withdrawn(self._pace, self._mine.permit)

    def close(self) -> None:
        """Do nothing: no other process takes part."""

    def _next(self, stop: CancellationToken) -> bool:
        while not stop.is_set():
            seconds = self._take()
            if seconds is None:
                return True
            self._wait(stop, min(seconds, GLANCE_SECONDS))
        return False

    def _take(self) -> float | None:
        """Take the permit that is due, or say for how many seconds none is."""
        with self._state:
            now = self._clock()
            seconds = pacing.due(self._pace, now) - now
            if seconds > 0.0:
                return seconds
            self._pace, self._mine.permit = pacing.reserve(self._pace, now)
            return None


T = TypeVar("T")

CLOCK_GRAIN: Final = 0.001
SHORTEST_WAIT: Final = 0.02
"""The shortest interval between two requests for a permit that is not due."""
STALE_SECONDS: Final = 0.25
"""A permit unused for longer than this is not caught up."""
LONGEST_HORIZON: Final = 1.0
"""Where the database answers slowly, permits are leased further ahead, but no more than so."""
DRIFT: Final = 0.0005
"""The drift of a clock against the server's, in seconds per second."""


class ExchangeText(Protocol):
    """Changes the shared text exclusively; also gives the server's clock, in seconds."""

    def __call__(self, change: Callable[[str | None], tuple[str, T]], /) -> tuple[T, float]:
        """See `Ledger.exchange`."""


class SharedRateLimiter(RateLearner):
    """Hands out the permits of one limit scope that this process leased. Thread-safe.

    The state of all processes is one text that they change in turns. A process leases permits in
    slices, for all its parties at once; one thread of a party waits for the party's next permit,
    the others for their turn. An answer is reported with the next lease, a 429 at once.

    `process` names this process among those that share; `begin` is `shared_pacing.begin` with the
    initial values. Raises what the exchange raises, in the thread that asked.
    """

    def __init__(
        self,
        exchange: ExchangeText,
        *,
        process: str,
        begin: Callable[[Shared | None, float], Shared],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(pacing.cold(0.0), clock=clock)
        self._exchange = exchange
        self._process = process
        self._begin = begin
        self._asking = threading.Lock()
        self._waiting: Counter[Party] = Counter()
        self._ready: defaultdict[Party, deque[Permit]] = defaultdict(deque)
        self._outcomes: list[RequestOutcome] = []
        self._ask_at = self._clock()
        self._took, self._horizon = 0.0, shared_pacing.HORIZON
        _, server = exchange(lambda text: (text or "", None))
        self._offset = server - self._clock()
        self._pace = self._ask({})

    def of(self, party: Party) -> PartyRateLimiter:
        """The rate limiter as one party sees it."""
        return PartyRateLimiter(self, party)

    def acquire(self, party: Party, stop: CancellationToken) -> bool:
        """Wait for the party's next permit; False when stopped instead."""
        with self._state:
            self._waiting[party] += 1
        try:
            return self._in_turn(party, stop, partial(self._next, party, stop))
        finally:
            with self._state:
                self._waiting[party] -= 1

    def succeeded(self) -> None:
        """The service answered this thread's request, and not with 429."""
        self._report(answered=True)

    def withdrawn(self) -> None:
        """This thread's request never reached the service, or its answer never came."""
        self._report(answered=False)

    def throttled(self, retry_after: float | None) -> None:
        """The service answered 429: no process gets a permit for this number of seconds."""
        self._report(answered=True, throttled=True, retry_after=retry_after)
        self._lease()

    def close(self) -> None:
        """Report the last outcomes, and take no part any more."""
        with self._asking:
            self._ask({})

    def _now(self) -> float:
        return self._clock() + self._offset

    def _next(self, party: Party, stop: CancellationToken) -> bool:
        while not stop.is_set():
            with self._state:
                ready = self._ready[party]
                permit = ready.popleft() if ready else None
            if permit is None:
                self._wait(stop, self._lease(party))
                continue
            if self._waiting[party] > 1 and not self._ready[party]:
                self._lease(party, in_hand=1)  # while this one's moment comes
            if self._reached(permit, stop):
                self._mine.permit = permit
                return True
        return False

    def _reached(self, permit: Permit, stop: CancellationToken) -> bool:
        """Wait until the permit's moment; False when it is void by then."""
        while not stop.is_set():
            pace, seconds = self._pace, permit.at - self._now()
            # A pause began before the permit's moment.
            void = permit.number <= pace.paused_after and permit.at < pace.paused_until
            if void or seconds < -STALE_SECONDS:
                return False
            if seconds <= 0.0:
                return True
            self._wait(stop, min(seconds, GLANCE_SECONDS))
        return False

    def _lease(self, party: Party | None = None, *, in_hand: int = 0) -> float:
        """Lease for all parties that wait; how long to wait before asking again, in seconds."""
        with self._asking:
            if party is not None and self._ready[party]:
                return 0.0
            if party is None or self._clock() >= self._ask_at:
                with self._state:
                    wishes = self._waiting - Counter({party: in_hand} if party else {})
                self._pace = self._ask(wishes)
                # Until then it makes no sense to ask: nothing is due, or it is others' turn.
                due = pacing.due(self._pace, self._now()) - self._now()
                ahead = due - self._horizon if due > self._horizon else due
                self._ask_at = self._clock() + min(max(ahead, SHORTEST_WAIT), GLANCE_SECONDS)
            if party is not None and self._ready[party]:
                return 0.0
            return max(self._ask_at - self._clock(), 0.0) + CLOCK_GRAIN

    def _ask(self, wishes: Mapping[Party, int]) -> RateState:
        with self._state:
            outcomes, self._outcomes = self._outcomes, []
        asked = self._clock()

        def change(text: str | None) -> tuple[str, tuple[shared_pacing.Grants, RateState]]:
            now = self._now()
            shared = self._begin(shared_pacing.from_text(text), now)
            shared, granted = shared_pacing.lease(
                shared_pacing.hear(shared, outcomes), self._process, wishes, now, self._horizon
            )
            return shared_pacing.to_text(shared), (granted, shared.pace)

        try:
            (granted, pace), server = self._exchange(change)
        except BaseException:
            with self._state:
                self._outcomes = [*outcomes, *self._outcomes]
            raise
        self._offset = max(server - self._clock(), self._offset - DRIFT)
        self._took += (self._clock() - asked - self._took) / 4
        self._horizon = min(max(shared_pacing.HORIZON, self._took * 3), LONGEST_HORIZON)
        with self._state:
            for party, permit in granted:
                self._ready[party].append(permit)
        return pace

    def _report(
        self, *, answered: bool, throttled: bool = False, retry_after: float | None = None
    ) -> None:
        outcome = RequestOutcome(
            permit=self._mine.permit,
            at=self._now(),
            answered=answered,
            throttled=throttled,
            retry_after=retry_after,
        )
        with self._state:
            self._outcomes.append(outcome)
            self._answered += answered and not throttled
            self._throttled += throttled


class PartyRateLimiter:
    """A `SharedRateLimiter` as one party sees it."""

    def __init__(self, shared: SharedRateLimiter, party: Party) -> None:
        self.acquire = partial(shared.acquire, party)
        self.succeeded, self.withdrawn = shared.succeeded, shared.withdrawn
        self.throttled = shared.throttled
        self.snapshot, self.learned = shared.snapshot, shared.learned


LearningRateLimiter = AdaptiveRateLimiter | PartyRateLimiter


SLACK: Final = 1e-9
"""Rounding tolerance of a permit, so that no thread waits for less than a clock can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRate:
    """A published limit: at most `requests` in any `seconds`."""

    requests: int
    seconds: float


class FixedRateLimiter:
    """Hands out permits: a tenth of the limit at once, the rest evenly. Thread-safe.

    Together they are never more than the limit in any of its windows.
    """

    def __init__(self, limit: FixedRate, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = limit.requests / 10
        self._rate = (limit.requests - self._burst) / limit.seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._at = self._burst, clock()

    def acquire(self, stop: CancellationToken) -> bool:
        """Wait for a permit; False when stopped instead."""
        while not stop.is_set():
            seconds = self._take()
            if seconds <= 0.0:
                return True
            stop.wait(min(seconds, GLANCE_SECONDS))
        return False

    def succeeded(self) -> None:
        """Nothing changes."""

    def throttled(self, retry_after: float | None) -> None:
        """Give no permits for this number of seconds."""
        with self._lock:
            self._refill()
            self._left = min(self._left, -self._rate * (retry_after or 0.0))

    def withdrawn(self) -> None:
        """Nothing changes: it may have counted."""

    def _take(self) -> float:
        """Take a permit and give 0, or say for how many seconds there is none."""
        with self._lock:
            self._refill()
            if self._left < 1.0 - SLACK:
                return (1.0 - self._left) / self._rate
            self._left -= 1.0
            return 0.0

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
