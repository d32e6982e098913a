"""Read from a service with retries: the only loop around reads, under the shared rate limiter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from partner_tools.cancellation import CancellationToken
from partner_tools.errors import (
    AuthError,
    Interrupted,
    ServiceError,
    Throttled,
    Unanswered,
    Unauthorized,
    Unsent,
)
from partner_tools.pacing import Policy, decide

T = TypeVar("T")


class RateLimiter(Protocol):
    """Says when the next request may leave. `engine.rate_limiter` has some."""

    def acquire(self, stop: CancellationToken) -> bool:
        """Wait for a permit; False when stopped instead."""

    def succeeded(self) -> None:
        """A request that had a permit was answered, and not with 429."""

    def throttled(self, retry_after: float | None) -> None:
        """A request was answered 429: all threads pause."""

    def withdrawn(self) -> None:
        """A request that had a permit did not leave, or was never answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestExecutor:
    """How requests are sent: when, with how many retries, and with which token.

    `clock` is monotonic, in seconds; `jitter` gives numbers between 0 and 1; `renew` replaces a
    token that the service refused.
    """

    pace: RateLimiter
    policy: Policy
    stop: CancellationToken
    clock: Callable[[], float]
    jitter: Callable[[], float]
    renew: Callable[[], None]
    waiting: Callable[[ServiceError, float], None] = lambda _error, _seconds: None
    """Is told of a read that is tried again, and in how many seconds; by any thread."""

    def call_with_retry(self, attempt: Callable[[], T]) -> T:
        """The answer of a read, after as many attempts as the policy allows.

        Raises the last attempt's ServiceError, or Interrupted when stopped.
        """
        started, tries, renewed = self.clock(), 0, False
        while True:
            tries += 1
            self.permit()
            try:
                answer = attempt()
            except Unauthorized as error:
                self.pace.succeeded()
                if renewed:
                    raise
                renewed = True
                self.refresh_token(error)
            except ServiceError as error:
                self.report(error)
                self.back_off(error, tries, self.clock() - started)
            else:
                self.pace.succeeded()
                return answer

    def permit(self) -> None:
        """Wait until a request may leave. Raises Interrupted when stopped."""
        if not self.pace.acquire(self.stop):
            raise interruption()

    def refresh_token(self, refused: Unauthorized) -> None:
        """Replace the token that the service refused.

        Raises `refused`, which says why the service refused it, where the token cannot be replaced.
        """
        try:
            self.renew()
        except AuthError as error:
            raise refused from error

    def report(self, error: ServiceError) -> None:
        """Tell the rate limiter how an attempt ended."""
        if isinstance(error, Throttled):
            self.pace.throttled(error.retry_after)
        elif isinstance(error, Unsent | Unanswered):
            self.pace.withdrawn()
        else:
            self.pace.succeeded()

    def back_off(self, error: ServiceError, tries: int, elapsed: float) -> None:
        """Sleep before the next attempt. Raises `error` if there is to be none."""
        seconds = decide(self.policy, error, tries, elapsed, self.jitter())
        if seconds is None:
            raise error
        self.waiting(error, seconds)
        if self.stop.wait(seconds):
            raise interruption() from error


def interruption() -> Interrupted:
    """Return the error that ends a command that was asked to stop."""
    return Interrupted("interrupted: no further request was sent", remedy="resume the run")
