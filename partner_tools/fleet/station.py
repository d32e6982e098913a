"""What a worker needs of the workspace: a ledger and a way to the service for each portion."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from partner_tools.engine.cancelling import CancelSign
from partner_tools.events import History
from partner_tools.fleet.health import Backlog, Health, served
from partner_tools.fleet.portion import Terms, size_for
from partner_tools.fleet.queue import Queue, open_queue
from partner_tools.fleet.submission import fleet_address
from partner_tools.fleet.tables import bring_up_to_date
from partner_tools.fleet.worker import Duty, Worker, party_of
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.runs.context import Workplace
from partner_tools.workspace.conduct import Conduct, Wishes, ask_nobody
from partner_tools.workspace.environment import now
from partner_tools.workspace.onlooker import Onlooker
from partner_tools.workspace.rate_limiters import RateLimiters, Shares, open_paces
from partner_tools.workspace.settings import open_ledger as open_configured
from partner_tools.workspace.sign_in import channel_tokens
from partner_tools.workspace.wiring import held, workplace
from partner_tools.workspace.workspace import Workspace

GLIMPSE_SECONDS = 3.0
"""Who asks for the health of a worker gets an answer soon, also where the database gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portions:
    """How large portions are: at least `least` devices, about `seconds` long at the full rate.

    One gives way after half as long again, because the rate may be shared.
    """

    least: int = 50
    seconds: float = 10.0


class WorkspaceStation:
    """The workspace as one worker uses it. Thread-safe."""

    def __init__(
        self,
        workspace: Workspace,
        paces: RateLimiters,
        health: Health,
        *,
        portions: Portions,
        open_ledger: Callable[[], AbstractContextManager[Ledger]],
        tell: Callable[[str], None],
    ) -> None:
        self._workspace = workspace
        self._paces = paces
        self._health = health
        self._portions = portions
        self._tokens = functools.cache(lambda: channel_tokens(workspace.config))
        self.open_ledger = open_ledger
        self.tell = tell
        self.carried = health.carried

    @contextmanager
    def open_place(
        self, ledger: Ledger, record: RunRecord, sign: CancelSign
    ) -> Iterator[Workplace]:
        """The way to the service for one portion of a run."""

        shares = Shares(paces=self._paces, party=party_of(record), tokens=self._tokens)
        with workplace(
            record.channel,
            self._workspace.config,
            ledger,
            sign,
            onlooker=_Counting(self._health, record),
            shares=shares,
        ) as place:
            yield place

    def terms(self, record: RunRecord, place: Workplace, sign: CancelSign) -> Terms:
        """How the run is to be carried out: as it was submitted, and as this profile allows."""
        wishes = Wishes.restored(dict(record.settings))
        conduct = Conduct(
            config=self._workspace.config,
            ledger=place.ledger,
            stop=sign,
            wishes=wishes,
            run=record.run,
            onlooker=_Teller(self.tell, record),
            confirm=ask_nobody,
        )
        return Terms(
            held=held(self._workspace.config),
            approve=conduct.approve,
            settle=wishes.settle,
            size=size_for(
                max((each.rate for each in self._paces.snapshots().values()), default=0.0),
                place.channel.call_size,
                least=self._portions.least,
                seconds=self._portions.seconds,
            ),
            seconds=1.5 * self._portions.seconds,
        )

    def reverify(self) -> None:
        """Look again at every run that has something open; what is seen is durable on return."""
        outstanding = self._workspace.verify_outstanding()
        number = len(outstanding.chases)
        what = "1 customer has" if number == 1 else f"{number} customers have"
        self.tell(f"looked again: {what} something open")


def work_until_stopped(
    workspace: Workspace,
    duty: Duty | None = None,
    *,
    portions: Portions | None = None,
    open_ledger: Callable[[], AbstractContextManager[Ledger]] | None = None,
    health_at: tuple[str, int] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Be a worker until the workspace's stop is set; what was begun is finished first.

    `open_ledger` opens the workspace's ledger once more, by itself that of the configuration;
    `health_at` is the address and port of `/health` and `/metrics`. Raises InputError where the
    ledger is not on PostgreSQL.
    """
    duty, portions = duty or Duty(), portions or Portions()
    open_ledger = open_ledger or (lambda: open_configured(None, workspace.config))
    conninfo = fleet_address(workspace.ledger)
    bring_up_to_date(conninfo)
    with ExitStack() as stack:
        queue = stack.enter_context(open_queue(conninfo))
        paces = stack.enter_context(open_paces(workspace.ledger, workspace.stop.clock))
        watched = stack.enter_context(open_queue(conninfo, patience=GLIMPSE_SECONDS, most=1))
        health = Health(paces=paces.snapshots, backlog=lambda: _backlog(watched, workspace.ledger))
        if health_at is not None:
            port = stack.enter_context(served(health, *health_at))
            tell(f"health and metrics at http://{health_at[0]}:{port}")
        station = WorkspaceStation(
            workspace, paces, health, portions=portions, open_ledger=open_ledger, tell=tell
        )
        tell(f"working for {', '.join(duty.channels)}; Ctrl-C stops")
        Worker(station, queue, workspace.ledger, duty, stop=workspace.stop, now=now).run()


def _backlog(queue: Queue, ledger: Ledger) -> Backlog:
    jobs, oldest = queue.backlog()
    return Backlog(jobs=jobs, oldest=oldest, in_doubt=ledger.in_doubt())


class _Counting(Onlooker):
    """Counts outcomes for the metrics."""

    def __init__(self, health: Health, record: RunRecord) -> None:
        self._health = health
        self._channel = record.channel.value

    def settled(self, index: int, history: History) -> None:
        """The device at this index of the batch has its outcome, durably."""
        self._health.settled(self._channel, history.outcome.value)


class _Teller(Onlooker):
    """Says which run a message is of."""

    def __init__(self, tell: Callable[[str], None], record: RunRecord) -> None:
        self._tell = tell
        self._run = record.run

    def told(self, message: str) -> None:
        """Something that a person should know."""
        self._tell(f"run {self._run}: {message}")
