"""One pace for the threads of many processes: permits leased in slices through one shared text.

The decisions are `sharing`'s. A process leases for all its parties at once; one thread of a party
waits for the party's next permit, the others for their turn. An answer is told with the next
lease, a 429 at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from partner_tools import pacing
from partner_tools import shared_pacing as sharing
from partner_tools.cancellation import CancellationToken
from partner_tools.engine.rate_limiter import GLANCE_SECONDS, Snapshot
from partner_tools.pacing import Learned, Permit, RateState
from partner_tools.shared_pacing import Party, Told

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

_Grants = tuple[tuple[Party, Permit], ...]


class ExchangeText(Protocol):
    """Changes the shared text exclusively; also gives the server's clock, in seconds."""

    def __call__(self, change: Callable[[str | None], tuple[str, T]], /) -> tuple[T, float]:
        """See `Ledger.exchange`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The initial values of a pace that isn't shared yet; see `sharing.begin`."""

    known: Learned | None = None
    age: float = 0.0
    max_rate: float | None = None


class SharedRateLimiter:
    """Hands out the permits of one limit scope that this process leased. Thread-safe.

    `process` names this process among those that share; `clock` is monotonic, in seconds. Raises
    what the exchange raises, in the thread that asked.
    """

    def __init__(
        self,
        exchange: ExchangeText,
        *,
        process: str,
        start: Start,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[CancellationToken, float], object] = lambda stop, seconds: stop.wait(
            seconds
        ),
    ) -> None:
        self._exchange = exchange
        self._process = process
        self._start = start
        self._clock = clock
        self._wait = wait
        self._state = threading.Lock()
        self._asking = threading.Lock()
        self._turns: defaultdict[Party, threading.Lock] = defaultdict(threading.Lock)
        self._waiting: Counter[Party] = Counter()
        self._ready: defaultdict[Party, deque[Permit]] = defaultdict(deque)
        self._told: list[Told] = []
        self._mine = threading.local()
        self._ask_at = clock()
        self._took, self._horizon = 0.0, sharing.HORIZON
        self._answered = 0
        self._throttled = 0
        _, server = exchange(lambda text: (text or "", None))
        self._offset = server - clock()
        self._pace: RateState = self._ask({})

    def of(self, party: Party) -> PartyRateLimiter:
        """The pace as one party sees it."""
        return PartyRateLimiter(self, party)

    def acquire(self, party: Party, stop: CancellationToken) -> bool:
        """Wait for the party's next permit; False when stopped instead."""
        with self._state:
            self._waiting[party] += 1
            turn = self._turns[party]
        try:
            while not turn.acquire(timeout=GLANCE_SECONDS):
                if stop.is_set():
                    return False
            try:
                return self._next(party, stop)
            finally:
                turn.release()
        finally:
            with self._state:
                self._waiting[party] -= 1

    def answered(self) -> None:
        """The service answered this thread's request, and not with 429."""
        self._tell(answered=True)

    def withdrawn(self) -> None:
        """This thread's request never reached the service, or its answer never came."""
        self._tell(answered=False)

    def throttled(self, retry_after: float | None) -> None:
        """The service answered 429: no process gets a permit for this number of seconds."""
        self._tell(answered=True, throttled=True, retry_after=retry_after)
        self._lease()

    def close(self) -> None:
        """Tell what is left to tell, and take no part any more."""
        with self._asking:
            self._ask({})

    def learned(self) -> Learned | None:
        """Return the rate worth remembering; None when nothing was learned."""
        return pacing.learned(self._pace)

    def snapshot(self) -> Snapshot:
        """Return the state when this process last leased."""
        pace = self._pace
        return Snapshot(
            rate=pace.rate,
            ceiling=pace.ceiling,
            paused=max(0.0, pace.paused_until - self._now()),
            permits=pace.issued,
            answered=self._answered,
            throttled=self._throttled,
            pauses=pace.pauses,
        )

    def _now(self) -> float:
        return self._clock() + self._offset

    def _next(self, party: Party, stop: CancellationToken) -> bool:
        while not stop.is_set():
            permit = self._take(party)
            if permit is None:
                self._wait(stop, self._lease(party))
                continue
            if self._waiting[party] > 1 and not self._ready[party]:
                self._lease(party, in_hand=1)  # while this one's moment comes
            if self._reached(permit, stop):
                self._mine.permit = permit
                return True
        return False

    def _take(self, party: Party) -> Permit | None:
        with self._state:
            ready = self._ready[party]
            return ready.popleft() if ready else None

    def _reached(self, permit: Permit, stop: CancellationToken) -> bool:
        """Wait until the permit's moment; False when it is void by then."""
        while not stop.is_set():
            seconds = permit.at - self._now()
            if self._is_void(permit) or seconds < -STALE_SECONDS:
                return False
            if seconds <= 0.0:
                return True
            self._wait(stop, min(seconds, GLANCE_SECONDS))
        return False

    def _is_void(self, permit: Permit) -> bool:
        """Whether a pause began before the permit's moment."""
        pace = self._pace
        return permit.number <= pace.paused_after and permit.at < pace.paused_until

    def _lease(self, party: Party | None = None, *, in_hand: int = 0) -> float:
        """Lease for all parties that wait; how long to wait before asking again, in seconds."""
        with self._asking:
            if party is not None and self._ready[party]:
                return 0.0
            if party is None or self._clock() >= self._ask_at:
                with self._state:
                    wishes = self._waiting - Counter({party: in_hand} if party else {})
                self._pace = self._ask(wishes)
                self._ask_at = self._clock() + self._until_due()
            if party is not None and self._ready[party]:
                return 0.0
            return max(self._ask_at - self._clock(), 0.0) + CLOCK_GRAIN

    def _until_due(self) -> float:
        """How long it makes no sense to ask again: nothing is due, or it is others' turn."""
        due = pacing.due(self._pace, self._now()) - self._now()
        ahead = due - self._horizon if due > self._horizon else due
        return min(max(ahead, SHORTEST_WAIT), GLANCE_SECONDS)

    def _ask(self, wishes: Mapping[Party, int]) -> RateState:
        with self._state:
            told, self._told = self._told, []
        asked = self._clock()
        try:
            (granted, pace), server = self._exchange(lambda text: self._changed(text, told, wishes))
        except BaseException:
            with self._state:
                self._told = [*told, *self._told]
            raise
        self._offset = max(server - self._clock(), self._offset - DRIFT)
        self._took += (self._clock() - asked - self._took) / 4
        self._horizon = min(max(sharing.HORIZON, self._took * 3), LONGEST_HORIZON)
        with self._state:
            for party, permit in granted:
                self._ready[party].append(permit)
        return pace

    def _changed(
        self, text: str | None, told: Sequence[Told], wishes: Mapping[Party, int]
    ) -> tuple[str, tuple[_Grants, RateState]]:
        now, start = self._now(), self._start
        shared = sharing.begin(
            sharing.from_text(text),
            now,
            known=start.known,
            age=start.age,
            max_rate=start.max_rate,
        )
        shared, granted = sharing.lease(
            sharing.hear(shared, told), self._process, wishes, now, self._horizon
        )
        return sharing.to_text(shared), (granted, shared.pace)

    def _tell(
        self, *, answered: bool, throttled: bool = False, retry_after: float | None = None
    ) -> None:
        permit: Permit = self._mine.permit
        told = Told(
            permit=permit,
            at=self._now(),
            answered=answered,
            throttled=throttled,
            retry_after=retry_after,
        )
        with self._state:
            self._told.append(told)
            self._answered += answered and not throttled
            self._throttled += throttled


@dataclass(frozen=True, slots=True)
class PartyRateLimiter:
    """The rate limiter of one party's request executor: an `engine.line.Pace`."""

    governor: SharedRateLimiter
    party: Party

    def acquire(self, stop: CancellationToken) -> bool:
        """Wait for a permit; False when stopped instead."""
        return self.governor.acquire(self.party, stop)

    def succeeded(self) -> None:
        """A request that had a permit was answered, and not with 429."""
        self.governor.answered()

    def throttled(self, retry_after: float | None) -> None:
        """A request was answered 429: everybody pauses, in every process."""
        self.governor.throttled(retry_after)

    def withdrawn(self) -> None:
        """A request that had a permit did not leave, or was never answered."""
        self.governor.withdrawn()

    def snapshot(self) -> Snapshot:
        """Return the state for all processes that share it."""
        return self.governor.snapshot()

    def learned(self) -> Learned | None:
        """Return the rate worth remembering; None when nothing was learned."""
        return self.governor.learned()
