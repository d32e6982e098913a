"""A worker: carries out slices of queued runs until it is stopped, and looks after the queue.

A slice knows no queue: `carry_on` takes a run one slice further, and says what comes next.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from procrastinate import App, JobContext, PsycopgConnector

from partner_tools.engine.execute import execute
from partner_tools.errors import (
    AuthError,
    DamagedRunError,
    Interrupted,
    LedgerError,
    PartnerToolsError,
    Redirected,
    Rejected,
    ServiceError,
    UnknownRunError,
    Unreadable,
)
from partner_tools.events import History, Kind, State
from partner_tools.fleet.health import Backlog, Health, served
from partner_tools.fleet.queue import (
    REVERIFY,
    TASK,
    Beat,
    Job,
    Queue,
    bring_up_to_date,
    job_of,
    message_of,
    open_queue,
    take_back,
)
from partner_tools.fleet.submission import fleet_address
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.model import GONE, ChannelName, RunId, RunState
from partner_tools.runs.context import RunContext, RunObserver, RunOptions
from partner_tools.runs.removal import RemovalSteps
from partner_tools.runs.run import Steps, finish, prepare, settle_doubts
from partner_tools.shared_pacing import Party
from partner_tools.workspace.environment import now
from partner_tools.workspace.environment import open_ledger as open_configured
from partner_tools.workspace.sign_in import channel_tokens
from partner_tools.workspace.wiring import RateLimiters, Shares, Wiring
from partner_tools.workspace.workspace import Workspace, refuse_unconfirmed

LOOKS_PER_SWEEP = 12
"""The ledger is asked for runs without a job each time this number of queue polls has passed."""
LONGEST_REST = 15.0
"""A database that is away is tried again after at most this many seconds."""

GLANCE_SECONDS = 0.25
GLIMPSE_SECONDS = 3.0
"""A question for the health of a worker gets an answer soon, also where the database gives none."""


def priority_of(record: RunRecord) -> int:
    return int(record.settings.get("priority", 0))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The settings of a worker. `reverify_cron` is when outstanding steps are checked again."""

    channels: Sequence[ChannelName] = (ChannelName.PARTNER_CENTER, ChannelName.OEM_DIRECT)
    concurrency: int = 4
    beat: Beat = field(default_factory=Beat)
    reverify_cron: str | None = None
    size: SliceSize = field(default_factory=SliceSize)


@dataclass(eq=False)
class Worker:
    """One worker. Thread-safe but for `look`."""

    workspace: Workspace
    queue: Queue
    rate_limiters: RateLimiters
    health: Health
    options: WorkerOptions
    open_ledger: Callable[[], AbstractContextManager[Ledger]]
    notify: Callable[[str], None]

    def __post_init__(self) -> None:
        self._ledger = self.workspace.ledger
        self._token = self.workspace.cancellation
        self._tokens = functools.cache(lambda: channel_tokens(self.workspace.config))
        self._looks = 0
        self._missing: frozenset[RunId] = frozenset()

    def run(self) -> None:
        """Work until stopped. A database that is away is waited for."""
        rest = 1.0
        while not self._token.is_set():
            began = time.monotonic()
            try:
                # Psycopg needs a selector loop, which is not what Windows has by itself.
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(self._serve())
            except Exception as error:  # noqa: BLE001 - a lost database shows in many ways
                self.notify(f"no queue, trying again: {message_of(error)}")
            rest = 1.0 if time.monotonic() - began > LONGEST_REST else min(rest * 2, LONGEST_REST)
            self._token.wait(rest)

    def work(self, job: Job) -> None:
        """Carry out slices until others have their turn, and put the next one into the queue."""
        try:
            with self.open_ledger() as ledger:
                step = self._carry_on(ledger, job)
        except UnknownRunError:
            self.notify(f"run {job.run} is not in this ledger: its job is dropped")
            return
        except LedgerError as error:
            self.notify(f"run {job.run}: {error}")
            step = NextSlice(next=Next.LATER, after=job.after, failures=job.failures, delay=5.0)
        if step.next is Next.OVER:
            return
        due = now() + timedelta(seconds=step.delay) if step.delay else None
        try:
            self.queue.put(replace(job, after=step.after, failures=step.failures, not_before=due))
        except LedgerError as error:
            self.notify(f"run {job.run}: {error}: its next job is made from the ledger")

    def look(self) -> None:
        """Put those runs into the queue again that lost their job. Called every few seconds."""
        self._looks += 1
        if self._looks % LOOKS_PER_SWEEP:
            return
        jobs = {each.run for each in self.queue.jobs()}
        records = {each.run: each for each in self._ledger.submitted_unfinished()}
        missing = frozenset(run for run in records if run not in jobs)
        for run in missing & self._missing:  # twice in a row: not just between two slices
            if not self._ledger.is_held(run):
                record = records[run]
                self.queue.put(Job(run=run, channel=record.channel, priority=priority_of(record)))
        self._missing = missing

    def _carry_on(self, ledger: Ledger, job: Job) -> NextSlice:
        record = ledger.run(job.run)
        following = NextSlice(next=Next.MORE, after=job.after, failures=job.failures)
        size = self.options.size
        try:
            with self._open_steps(ledger, record) as steps:
                while True:
                    rates = (each.rate for each in self.rate_limiters.snapshots().values())
                    following = carry_on(
                        steps,
                        size=size.devices(max(rates, default=0.0), steps.context.channel.call_size),
                        seconds=1.5 * size.seconds,
                        after=following.after,
                        failures=following.failures,
                    )
                    self.health.carried(record.channel.value, following.next.value)
                    if following.next is not Next.MORE or self._token.is_set():
                        return following
                    if self.queue.backlog()[0]:  # another job waits for its turn
                        return following
        except LedgerError:
            raise
        except PartnerToolsError as error:  # there is no way to the service from here
            self.notify(f"run {job.run}: {error}")
            return NextSlice(
                next=Next.LATER, after=job.after, failures=job.failures + 1, delay=60.0
            )

    def _open_steps(
        self, ledger: Ledger, record: RunRecord
    ) -> AbstractContextManager[RemovalSteps]:
        """The way to the service for one run: as submitted, and as this profile allows."""
        party = Party(depot=record.depot or "", priority=priority_of(record))
        wiring = Wiring(
            config=self.workspace.config,
            ledger=ledger,
            token=self._token,
            shares=Shares(rate_limiters=self.rate_limiters, party=party, tokens=self._tokens),
        )
        return wiring.open_removal(
            record.run,
            record.channel,
            RunOptions.restored(record.settings),
            _WorkerObserver(self.health, self.notify, record),
            refuse_unconfirmed,
        )

    async def _stopped(self) -> None:
        while not self._token.is_set():
            await asyncio.sleep(GLANCE_SECONDS)

    async def _serve(self) -> None:
        """Carry out jobs until stopped; those that were begun are finished first.

        Raises ConnectorException if the database was lost.
        """
        options, beat = self.options, self.options.beat
        most = options.concurrency
        connector = PsycopgConnector(
            conninfo=self._ledger.conninfo or "", min_size=1, max_size=most + 4
        )
        app = App(connector=connector)
        self._add_tasks(app)
        # A slice is a thread: the loop has as many as there may be, and some for looking.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(most + 2))
        async with app.open_async():
            working = asyncio.create_task(
                app.run_worker_async(
                    queues=[*(channel.value for channel in options.channels), REVERIFY],
                    concurrency=most,
                    fetch_job_polling_interval=1.0,
                    install_signal_handlers=False,  # they belong to the program
                    delete_jobs="always",  # the ledger is the record
                    update_heartbeat_interval=beat.heartbeat,
                    stalled_worker_timeout=beat.stalled,
                )
            )
            looking = asyncio.create_task(self._keep_looking(app))
            stopping = asyncio.create_task(self._stopped())
            try:
                await asyncio.wait(
                    {working, looking, stopping}, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for task in (looking, stopping, working):
                    task.cancel()  # for the worker that means: finish what was begun
                ended = await asyncio.gather(working, looking, return_exceptions=True)
        for end in ended:
            if isinstance(end, Exception):
                raise end

    def _add_tasks(self, app: App) -> None:
        def carry_on(context: JobContext, /, **arguments: Any) -> None:
            self.work(job_of(arguments, context.job.priority, None))

        def reverify(timestamp: int) -> None:
            """Look again at every run with something open; what is seen is durable on return."""
            number = len(self.workspace.verify_outstanding().follow_ups)
            what = "1 customer has" if number == 1 else f"{number} customers have"
            self.notify(f"looked again: {what} something open")

        app.task(name=TASK, pass_context=True)(carry_on)
        task = app.task(name=REVERIFY, queue=REVERIFY, queueing_lock=REVERIFY)(reverify)
        if self.options.reverify_cron is not None:
            app.periodic(cron=self.options.reverify_cron)(task)

    async def _keep_looking(self, app: App) -> None:
        """Take back the jobs of dead workers, and let the ledger say which jobs are missing."""
        beat = self.options.beat
        while True:
            await asyncio.sleep(beat.look)
            for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=beat.stalled):
                await take_back(app, job)
            await asyncio.to_thread(self.look)


def work_until_stopped(
    workspace: Workspace,
    options: WorkerOptions | None = None,
    *,
    open_ledger: Callable[[], AbstractContextManager[Ledger]] | None = None,
    health_at: tuple[str, int] | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> None:
    """Be a worker until the workspace's token is set; what was begun is finished first.

    `open_ledger` opens the workspace's ledger once more, by itself that of the configuration;
    `health_at` is the address and port of `/health` and `/metrics`. Raises InputError if the
    ledger is not on PostgreSQL.
    """
    options = options or WorkerOptions()
    open_ledger = open_ledger or (lambda: open_configured(None, workspace.config))
    conninfo = fleet_address(workspace.ledger)
    bring_up_to_date(conninfo)
    with ExitStack() as stack:
        queue = stack.enter_context(open_queue(conninfo))
        limiters = stack.enter_context(
            closing(RateLimiters(workspace.ledger, workspace.cancellation.clock))
        )
        watched = stack.enter_context(open_queue(conninfo, patience=GLIMPSE_SECONDS, most=1))
        health = Health(
            rates=limiters.snapshots, backlog=lambda: _backlog(watched, workspace.ledger)
        )
        if health_at is not None:
            port = stack.enter_context(served(health, *health_at))
            notify(f"health and metrics at http://{health_at[0]}:{port}")
        notify(f"working for {', '.join(options.channels)}; Ctrl-C stops")
        Worker(
            workspace,
            queue,
            limiters,
            health,
            options=options,
            open_ledger=open_ledger,
            notify=notify,
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
        self._health.settled(self._record.channel.value, history.outcome.value)

    def notify(self, message: str) -> None:
        self._notify(f"run {self._record.run}: {message}")


UNSETTLED = frozenset(State) - {State.SETTLED, State.NEW}
"""The states of devices that a slice takes along."""

FIRST_DELAY = 30.0
LONGEST_DELAY = 900.0
MOST_FAILURES = 40
"""A refusal by a service or a sign-in is retried after half a minute, doubled up to a quarter
of an hour, forty times over the life of a run; then the run is left to a person."""
HELD_DELAY = 10.0


class Next(StrEnum):
    """The next step after a slice."""

    MORE = "more"
    """There is more to do, at once."""
    LATER = "later"
    """The same again, after a delay."""
    OVER = "over"
    """Nothing that a worker could do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSlice:
    """The next slice: after which device, in how many seconds, after how many failures."""

    next: Next
    after: int = -1
    delay: float = 0.0
    failures: int = 0


def carry_on(steps: Steps, *, size: int, seconds: float, after: int, failures: int) -> NextSlice:
    """Carry out the next slice of a run, of at most `size` devices and about `seconds` long.

    Everything that happened is durable on return. Doubts that an earlier worker left are settled
    before anything of the slice is sent. Raises LedgerError if the ledger cannot be used:
    the next step is unknown then.
    """
    context = steps.context
    try:
        with context.ledger.hold(context.run):
            try:
                return _slice(steps, size, seconds, after=after, failures=failures)
            except (DamagedRunError, Rejected, Redirected, Unreadable):
                # Its job would come back for ever; `runs` names it.
                return NextSlice(next=Next.OVER)
            except Interrupted:
                if context.token.acknowledge_cancel():
                    settle_doubts(context)
                    return NextSlice(next=Next.OVER)
                return _give_back(
                    context, NextSlice(next=Next.MORE, after=after, failures=failures)
                )
            except (ServiceError, AuthError) as error:
                return _put_off(context, error, after, failures)
            except LedgerError:
                raise
            except PartnerToolsError:
                return NextSlice(next=Next.OVER)
    except LedgerError as error:
        if error.rule != "run-held":
            raise
        return NextSlice(next=Next.LATER, after=after, failures=failures, delay=HELD_DELAY)


def _slice(steps: Steps, size: int, seconds: float, *, after: int, failures: int) -> NextSlice:
    context = steps.context
    ledger, run = context.ledger, context.run
    record = ledger.run(run)
    if record.state in {RunState.CANCELLED, RunState.REFUSED, RunState.STOPPED, RunState.FINISHED}:
        return NextSlice(next=Next.OVER)
    # That the plan was approved is shown by what a worker removed. The run's row, and its events,
    # can be written by those who submit: on their word alone the guards are asked again.
    if record.started_at is None or not any(ledger.devices(run, outcomes=GONE, limit=1)):
        prepare(steps, unattended=True)
    context.note(Kind.STARTED)
    devices = tuple(ledger.devices(run, states=UNSETTLED, after=after, limit=size))
    with context.noting_end(), context.token.deadline(seconds):
        carried = execute(context, devices)
    if carried and any(ledger.devices(run, states=UNSETTLED, after=carried[-1].index, limit=1)):
        more = NextSlice(next=Next.MORE, after=carried[-1].index, failures=failures)
        return _give_back(context, more)
    # Nothing is left behind the last device; what was given up on the way gets another turn.
    if (why := steps.unfinished()) and not ledger.is_cancelled(run):
        return _put_off(context, ServiceError(why), after=-1, failures=failures)
    finish(steps)
    return NextSlice(next=Next.OVER)


def _give_back(context: RunContext, following: NextSlice) -> NextSlice:
    """The run waits for a worker again, unless it was cancelled meanwhile."""
    if context.ledger.is_cancelled(context.run):
        return NextSlice(next=Next.OVER)
    context.note(Kind.QUEUED)
    return following


def _put_off(context: RunContext, error: PartnerToolsError, after: int, failures: int) -> NextSlice:
    if failures >= MOST_FAILURES:
        return NextSlice(next=Next.OVER)
    context.note(Kind.QUEUED, rule=error.rule, detail=str(error), remedy=error.remedy)
    asked = error.retry_after if isinstance(error, ServiceError) else None
    delay = max(min(FIRST_DELAY * 2.0**failures, LONGEST_DELAY), asked or 0.0)
    return NextSlice(next=Next.LATER, after=after, failures=failures + 1, delay=delay)
