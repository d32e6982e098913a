"""What an execution is given: devices to remove, and the outside world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from partner_tools.engine.channel import Act, Channel
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.events import Event, History
from partner_tools.model import Identity, Registration, RunId, Target


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
    found: Registration | None = None
    act: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an execution needs from outside.

    `record` returns when the events are durable; `settled` is told of each outcome after that;
    `concurrency` is the number of calls in flight at most.
    """

    run: RunId
    channel: Channel
    line: RequestExecutor
    record: Callable[[Sequence[Event]], None]
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    settled: Callable[[int, History], None]
    concurrency: int = 32
