"""What every step needs from outside, in one value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from partner_tools.engine.channel import Channel, Removal, Sightings
from partner_tools.engine.desk import Desk, PendingDevice
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.errors import Interrupted, LedgerError, PartnerToolsError
from partner_tools.events import Event, History, Kind
from partner_tools.ledger import Ledger, RunDevice
from partner_tools.model import (
    Device,
    PlannedDevice,
    RunId,
)
from partner_tools.plan import PlanProposal

PLAN_GOOD_FOR = timedelta(minutes=10)
"""An older plan is compared with the service before it is executed."""


class PlanningChannel(Channel, Protocol):
    """A channel as the steps need it: it removes, plans, and looks."""

    def draft(
        self, devices: Sequence[Device], *, default_customer: str | None, held: frozenset[str]
    ) -> PlanProposal:
        """Read what the service shows and plan every device, in its order."""

    def changes(self, devices: Sequence[PlannedDevice]) -> Mapping[int, str]:
        """Why devices of an old plan are not what they were, by index; only those that changed."""

    def sightings(self, removals: Sequence[Removal]) -> Sightings:
        """See `engine.settle.Observer`. Called only where the channel is observable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """The ledger, the way to the service, and what must not be taken for granted.

    `private_folder` takes the restore kits; `now` is the wall clock in UTC, `new_id` mints
    request ids, `settled` is told of each device of a run as its outcome becomes durable.
    """

    ledger: Ledger
    channel: PlanningChannel
    line: RequestExecutor
    private_folder: Path
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    settled: Callable[[int, History], None]
    concurrency: int = 32
    throttle: Callable[[], str] = lambda: ""
    """A note for people on what holds the requests back; empty when nothing does."""

    def desk(self, run: RunId) -> Desk:
        """What the engine needs to work on one run."""
        return Desk(
            run=run,
            channel=self.channel,
            line=self.line,
            record=self.ledger.record,
            now=self.now,
            new_id=self.new_id,
            settled=self.settled,
            concurrency=self.concurrency,
        )

    def note(self, run: RunId, kind: Kind, **payload: Any) -> None:
        """Make an event of the run itself durable."""
        self.ledger.record([Event(run=run, kind=kind, at=self.now(), payload=payload)])


class Noting(Protocol):
    """Makes events of a run durable. `Workplace` is one."""

    def note(self, run: RunId, kind: Kind, **payload: Any) -> None:
        """Make an event of the run itself durable."""


@contextmanager
def noting_end(place: Noting, run: RunId) -> Iterator[None]:
    """Make it durable when something ends the run early, and let it go on its way."""
    try:
        yield
    except Interrupted:
        place.note(run, Kind.INTERRUPTED)
        raise
    except LedgerError:
        raise
    except PartnerToolsError as error:
        place.note(run, Kind.STOPPED, rule=error.rule, detail=str(error), remedy=error.remedy)
        raise


def todos(devices: Iterable[RunDevice]) -> tuple[PendingDevice, ...]:
    """The devices of a run as the engine takes them.

    Where the plan derived an identity (from a hardware hash), that is the one to act on.
    """
    return tuple(
        PendingDevice(
            index=each.index,
            identity=each.device.identity,
            customer=each.history.customer,
            target=each.target,
            history=each.history,
            found=each.found,
        )
        for each in devices
    )
