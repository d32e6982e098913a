"""A worker's access to the workspace: a ledger and a channel for each slice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from partner_tools.events import History
from partner_tools.fleet.health import Backlog, Health, served
from partner_tools.fleet.queue import Queue, open_queue
from partner_tools.fleet.submission import fleet_address
from partner_tools.fleet.tables import bring_up_to_date
from partner_tools.fleet.worker import Worker, WorkerOptions, party_of
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.runs.context import RunObserver, RunOptions
from partner_tools.runs.removal import RemovalSteps
from partner_tools.workspace.environment import now
from partner_tools.workspace.rate_limiters import RateLimiters, Shares, open_rate_limiters
from partner_tools.workspace.settings import open_ledger as open_configured
from partner_tools.workspace.sign_in import channel_tokens
from partner_tools.workspace.wiring import Wiring
from partner_tools.workspace.workspace import Workspace, refuse_unconfirmed

GLIMPSE_SECONDS = 3.0
"""A question for the health of a worker gets an answer soon, also where the database gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSize:
    """How large slices are: at least `least` devices, about `seconds` long at the full rate.

    A slice gives way after half as long again, because the rate may be shared. At the end of each
    no request is under way for as long as an answer takes: the longer a slice is, the less that
    costs.
    """

    least: int = 50
    seconds: float = 10.0

    def devices(self, rate: float, call_size: int) -> int:
        """How many devices a slice has at this rate, in requests per second."""
        return max(self.least, int(rate * self.seconds), call_size)


class WorkspaceServices:
    """The workspace as one worker uses it. Thread-safe."""

    def __init__(
        self,
        workspace: Workspace,
        rate_limiters: RateLimiters,
        health: Health,
        *,
        size: SliceSize,
        open_ledger: Callable[[], AbstractContextManager[Ledger]],
        notify: Callable[[str], None],
    ) -> None:
        self._workspace = workspace
        self._rate_limiters = rate_limiters
        self._health = health
        self._size = size
        self._tokens = functools.cache(lambda: channel_tokens(workspace.config))
        self.open_ledger = open_ledger
        self.notify = notify
        self.carried = health.carried
        self.seconds = 1.5 * size.seconds

    @contextmanager
    def open_steps(self, ledger: Ledger, record: RunRecord) -> Iterator[RemovalSteps]:
        """The way to the service for one run: as submitted, and as this profile allows."""
        wiring = Wiring(
            config=self._workspace.config,
            ledger=ledger,
            token=self._workspace.cancellation,
            shares=Shares(
                rate_limiters=self._rate_limiters, party=party_of(record), tokens=self._tokens
            ),
        )
        options = RunOptions.restored(record.settings)
        observer = _WorkerObserver(self._health, self.notify, record)
        with wiring.open_removal(
            record.run, record.channel, options, observer, refuse_unconfirmed
        ) as steps:
            yield steps

    def size(self, call_size: int) -> int:
        """How many devices the next slice has."""
        rates = (each.rate for each in self._rate_limiters.snapshots().values())
        return self._size.devices(max(rates, default=0.0), call_size)

    def reverify(self) -> None:
        """Look again at every run that has something open; what is seen is durable on return."""
        number = len(self._workspace.verify_outstanding().follow_ups)
        what = "1 customer has" if number == 1 else f"{number} customers have"
        self.notify(f"looked again: {what} something open")


def work_until_stopped(
    workspace: Workspace,
    options: WorkerOptions | None = None,
    *,
    size: SliceSize | None = None,
    open_ledger: Callable[[], AbstractContextManager[Ledger]] | None = None,
    health_at: tuple[str, int] | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> None:
    """Be a worker until the workspace's token is set; what was begun is finished first.

    `open_ledger` opens the workspace's ledger once more, by itself that of the configuration;
    `health_at` is the address and port of `/health` and `/metrics`. Raises InputError where the
    ledger is not on PostgreSQL.
    """
    options, size = options or WorkerOptions(), size or SliceSize()
    open_ledger = open_ledger or (lambda: open_configured(None, workspace.config))
    conninfo = fleet_address(workspace.ledger)
    bring_up_to_date(conninfo)
    with ExitStack() as stack:
        queue = stack.enter_context(open_queue(conninfo))
        limiters = stack.enter_context(
            open_rate_limiters(workspace.ledger, workspace.cancellation.clock)
        )
        watched = stack.enter_context(open_queue(conninfo, patience=GLIMPSE_SECONDS, most=1))
        health = Health(
            rates=limiters.snapshots, backlog=lambda: _backlog(watched, workspace.ledger)
        )
        if health_at is not None:
            port = stack.enter_context(served(health, *health_at))
            notify(f"health and metrics at http://{health_at[0]}:{port}")
        services = WorkspaceServices(
            workspace, limiters, health, size=size, open_ledger=open_ledger, notify=notify
        )
        notify(f"working for {', '.join(options.channels)}; Ctrl-C stops")
        Worker(
            services, queue, workspace.ledger, options, token=workspace.cancellation, now=now
        ).run()


def _backlog(queue: Queue, ledger: Ledger) -> Backlog:
    jobs, oldest = queue.backlog()
    return Backlog(jobs=jobs, oldest=oldest, in_doubt=ledger.in_doubt())


class _WorkerObserver(RunObserver):
    """Counts outcomes for the metrics, and names the run in every message."""

    def __init__(self, health: Health, notify: Callable[[str], None], record: RunRecord) -> None:
        self._health = health
        self._notify = notify
        self._record = record

    def settled(self, index: int, history: History) -> None:
        """Count one more device with its outcome."""
        self._health.settled(self._record.channel.value, history.outcome.value)

    def notify(self, message: str) -> None:
        """Pass the message on."""
        self._notify(f"run {self._record.run}: {message}")
