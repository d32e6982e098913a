"""The sandbox's interface for services, so that more can be added without changing the core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from partner_tools.sandbox.faults import Fault
from partner_tools.sandbox.wire import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A service's answer; `replayed` when an earlier request with the same id decided it."""

    response: Response
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: parsed, and not yet carried out.

    `act` carries it out. The fault handed to it, if any, is about the content of lists
    (`sticky-token`, `repeat-page`, `stale-list`); all others are the core's business.
    """

    operation: str
    act: Callable[[Fault | None], Answer]
    partner: str | None = None
    customer: str | None = None
    batch: str | None = None
    serial: str | None = None
    continued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error that the core injects, to be put into the service's own shape."""

    status: int
    code: int | str | None = None
    description: str | None = None
    gateway: bool = False
    """Whether it comes from the gateway in front of the service, which has a shape of its own."""
    wait: float | None = None
    """The seconds that a 429 names in its text."""
    request: Request | None = None
    """The request that it answers."""


class Service(Protocol):
    """One of the services behind the sandbox, at a port of its own."""

    @property
    def name(self) -> str:
        """Its name in the URLs, in rules and in the log."""

    @property
    def secure_only(self) -> bool:
        """Whether its announced URL is the https one."""

    def read(self, request: Request) -> Call:
        """Say what a request asks for. Changes nothing and never fails."""

    def problem(self, problem: Problem) -> Response:
        """An injected error in this service's shape."""

    def expired(self) -> Response:
        """Return this service's answer to an expired token."""

    def stamp(self, request: Request, response: Response) -> Response:
        """Add the headers that every answer of this service carries."""
