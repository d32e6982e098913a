"""At which pace requests leave: by this process alone, or by all that share a PostgreSQL ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from partner_tools.engine.request_executor import RateLimiter
from partner_tools.pacing import Learned
from partner_tools.shared_pacing import Party
from partner_tools.workspace.environment import new_id, now

if TYPE_CHECKING:
    from partner_tools.clients.transport import TokenSource
    from partner_tools.engine.rate_limiter import AdaptiveRateLimiter, Snapshot
    from partner_tools.engine.shared_rate_limiter import SharedRateLimiter
    from partner_tools.ledger import Ledger


class Governed(RateLimiter, Protocol):
    """A rate limiter that reports its state."""

    def snapshot(self) -> Snapshot:
        """Return the current state."""

    def learned(self) -> Learned | None:
        """Return the rate worth remembering."""


class RateLimiters:
    """The rate_limiters of this process, one for each limit scope. Thread-safe.

    On PostgreSQL they are shared with every process on the same ledger.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], AdaptiveRateLimiter | SharedRateLimiter] = {}

    def of(
        self, service: str, scope: str, max_rate: float | None, party: Party | None = None
    ) -> Governed:
        """The pace of a limit scope, as one party sees it where it is shared."""
        from partner_tools.engine.rate_limiter import AdaptiveRateLimiter

        with self._lock:
            governor = self._open.get((service, scope))
            if governor is None:
                governor = self._started(service, scope, max_rate)
                self._open[service, scope] = governor
        return (
            governor if isinstance(governor, AdaptiveRateLimiter) else governor.of(party or Party())
        )

    def snapshots(self) -> Mapping[tuple[str, str], Snapshot]:
        """Return the state of each scope, by service and scope."""
        with self._lock:
            opened = dict(self._open)
        return {scope: governor.snapshot() for scope, governor in opened.items()}

    def close(self) -> None:
        """Leave in the ledger what was learned."""
        for (service, scope), governor in self._open.items():
            learned = governor.learned()
            if learned is not None:
                rate, refused = learned.per_second, learned.refused
                self._ledger.remember_rate(service, scope, rate, now(), refused=refused)
        for governor in self._open.values():
            governor.close()

    def _started(
        self, service: str, scope: str, max_rate: float | None
    ) -> AdaptiveRateLimiter | SharedRateLimiter:
        from partner_tools.engine.rate_limiter import AdaptiveRateLimiter
        from partner_tools.engine.shared_rate_limiter import SharedRateLimiter, Start

        known, age = self._known(service, scope)
        if self._ledger.conninfo is None:
            return AdaptiveRateLimiter.started(
                known=known, age=age, max_rate=max_rate, clock=self._clock
            )
        return SharedRateLimiter(
            lambda change: self._ledger.exchange(service, scope, change),
            process=new_id(),
            start=Start(known=known, age=age, max_rate=max_rate),
            clock=self._clock,
        )

    def _known(self, service: str, scope: str) -> tuple[Learned | None, float]:
        """Return the rate that an earlier run learned, and how many seconds ago."""
        rate = self._ledger.remembered_rate(service, scope)
        if rate is None:
            return None, 0.0
        known = Learned(per_second=rate.per_second, refused=rate.refused)
        return known, (now() - rate.learned_at).total_seconds()


@contextmanager
def open_rate_limiters(ledger: Ledger, clock: Callable[[], float]) -> Iterator[RateLimiters]:
    """The rate_limiters of one command; what they learned is remembered at the end."""
    rate_limiters = RateLimiters(ledger, clock)
    try:
        yield rate_limiters
    finally:
        rate_limiters.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The state shared by one worker's slices: the rate limiters, and the channel's tokens."""

    rate_limiters: RateLimiters
    party: Party
    tokens: Callable[[], TokenSource]
