"""Who is told what a run does while it goes. The steps print nothing themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from partner_tools.errors import ServiceError
from partner_tools.events import History
from partner_tools.model import Plan, RunId
from partner_tools.workspace.results import RunResult


class Onlooker:
    """Is told of a run while it goes. Every method does nothing here: override what you want."""

    def told(self, message: str) -> None:
        """Something that a person should know; foreign text in it is as it came."""

    def began(self, run: RunId) -> None:
        """The run exists, durably, and nothing was sent yet."""

    def listed(self, tenant: str, devices: int) -> None:
        """One more page of this customer's devices was read, with so many on it.

        Called while a run is planned and while removals are verified, by several threads at a time.
        """

    def waiting(self, error: ServiceError, seconds: float) -> None:
        """A read failed in passing, and is tried again in so many seconds; by any thread."""

    def planned(self, plan: Plan) -> None:
        """The run has a plan, durably: what cannot be removed has its outcome."""

    @contextmanager
    def removing(self, removals: int, throttle: Callable[[], str]) -> Iterator[None]:
        """While the block lasts, this many devices are removed.

        `throttle` says in words what holds the requests back; empty when nothing does.
        """
        yield

    def settled(self, index: int, history: History) -> None:
        """The device at this index of the batch has its outcome, durably.

        Called by the engine's workers, one at a time.
        """

    def ended(self, result: RunResult) -> None:
        """The run came to this; nothing more is done with it but its report."""


NOBODY = Onlooker()
