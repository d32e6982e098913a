"""The inputs of an execution: the devices to remove, and the world outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from partner_tools.engine.channel import Act, Channel, Removal
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.events import Event, History
from partner_tools.model import Explanation, Identity, Registration, RunId, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingDevice:
    """One device of a run that is to be removed, and what the ledger knows of it.

    `found` is the registration that the plan found; `act` is the next step, where the channel
    removes in several.
    """

    index: int
    identity: Identity
    customer: str | None
    target: Target | None
    history: History
    confirmed: bool = False
    """Whether the device's own hardware hash states this identity."""
    found: Registration | None = None
    act: Act | None = None


class ExecutionContext(Protocol):
    """The dependencies of an execution. `runs.context.RunContext` is one."""

    @property
    def run(self) -> RunId:
        """The run."""

    @property
    def channel(self) -> Channel:
        """The way to remove registrations."""

    @property
    def line(self) -> RequestExecutor:
        """How requests leave."""

    @property
    def concurrency(self) -> int:
        """The number of calls in flight at most."""

    def refusals(self, removals: Sequence[Removal]) -> Mapping[int, Explanation]:
        """Why requests may not be sent, by index: asked right before their intent is recorded."""

    def record(self, events: Sequence[Event]) -> None:
        """Make events durable; they are when it returns."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""

    def new_id(self) -> str:
        """A fresh request id."""

    def settled(self, index: int, history: History) -> None:
        """Is told of each outcome after it became durable."""
