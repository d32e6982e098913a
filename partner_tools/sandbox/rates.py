"""Hidden rate limits as functions over values: who may pass, and how long the others wait.

Partner Center publishes no rate for its device endpoints; that requests sent during a lock-out
count against the caller is documented, the rest of the shapes here are assumptions
(https://learn.microsoft.com/partner-center/developer/api-throttling-guidance, 2025-11).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Scope(StrEnum):
    """Whose requests are counted together."""

    PARTNER = "partner"
    PARTNER_CUSTOMER = "partner-customer"
    CUSTOMER = "customer"


class LimitKind(StrEnum):
    TOKEN_BUCKET = "token-bucket"  # noqa: S105 - a kind of limit, not a secret
    FIXED_WINDOW = "fixed-window"


class RetryAfter(StrEnum):
    """In which form a 429 says when to come back."""

    SECONDS = "seconds"
    FRACTION = "fraction"
    DATE = "date"
    NONSENSE = "nonsense"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One hidden limit. Rates are requests per second; times are seconds.

    `operations` empty means all of the service. `lockout` is the range from which an overflow's
    lock-out is drawn; without it only the missing token is waited for. `extend` starts the
    lock-out anew with every hit. `changes` are (seconds since the start, new rate).
    """

    service: str
    rate: float
    operations: tuple[str, ...] = ()
    scope: Scope = Scope.PARTNER
    kind: LimitKind = LimitKind.TOKEN_BUCKET
    burst: float = 1.0
    window: float = 60.0
    lockout: tuple[float, float] | None = None
    extend: bool = False
    retry_after: RetryAfter = RetryAfter.SECONDS
    changes: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What one limit remembers of one caller. `level` counts tokens left, or requests used."""

    level: float
    since: float
    locked_until: float = 0.0


def full(limit: Limit, now: float) -> Bucket:
    """The state of a caller that was never seen."""
    if limit.kind is LimitKind.FIXED_WINDOW:
        return Bucket(level=0.0, since=_window_start(limit, now))
    return Bucket(level=limit.burst, since=now)


def rate_at(limit: Limit, elapsed: float) -> float:
    """The rate that holds so many seconds after the start."""
    past = [rate for at, rate in sorted(limit.changes) if at <= elapsed]
    return past[-1] if past else limit.rate


def admit(
    limit: Limit, bucket: Bucket, now: float, *, rate: float, draw: float
) -> tuple[Bucket, float | None]:
    """Count one request: the new state, and None or the seconds that it is turned away for.

    `draw` in [0, 1) chooses the length of a lock-out within its range.
    """
    if now < bucket.locked_until:
        until = now + _lockout(limit, draw) if limit.extend else bucket.locked_until
        return replace(bucket, locked_until=until), until - now
    passed, wait = _take(limit, bucket, now, rate)
    if wait is None or limit.lockout is None:
        return passed, wait
    seconds = _lockout(limit, draw)
    return replace(passed, locked_until=now + seconds), seconds


def _take(limit: Limit, bucket: Bucket, now: float, rate: float) -> tuple[Bucket, float | None]:
    if limit.kind is LimitKind.FIXED_WINDOW:
        return _take_from_window(limit, bucket, now, rate)
    level = min(limit.burst, bucket.level + (now - bucket.since) * rate)
    if level >= 1.0:
        return Bucket(level=level - 1.0, since=now), None
    return Bucket(level=level, since=now), (1.0 - level) / rate


def _take_from_window(
    limit: Limit, bucket: Bucket, now: float, rate: float
) -> tuple[Bucket, float | None]:
    start = _window_start(limit, now)
    used = bucket.level if bucket.since == start else 0.0
    if used < rate * limit.window:
        return Bucket(level=used + 1.0, since=start), None
    return Bucket(level=used, since=start), start + limit.window - now


def _window_start(limit: Limit, now: float) -> float:
    return now - now % limit.window


def _lockout(limit: Limit, draw: float) -> float:
    low, high = limit.lockout or (0.0, 0.0)
    return low + (high - low) * draw
