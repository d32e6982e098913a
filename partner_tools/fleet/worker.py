"""A worker: carries out slices of queued runs until it is stopped, and looks after the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from partner_tools.cancellation import CancellationToken
from partner_tools.errors import LedgerError, PartnerToolsError, UnknownRunError
from partner_tools.fleet.queue import Beat, Job, JobSession, Queue, message_of, serve
from partner_tools.fleet.slices import Next, NextSlice, carry_on
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.model import ChannelName, RunId
from partner_tools.runs.run import Steps
from partner_tools.shared_pacing import Party

LOOKS_PER_SWEEP = 12
"""The ledger is searched for runs without a job once per this many looks at the queue."""
LONGEST_REST = 15.0
"""The longest wait in seconds before an unavailable database is retried."""

GLANCE_SECONDS = 0.25


def priority_of(record: RunRecord) -> int:
    """The priority that a run was submitted with."""
    return int(record.settings.get("priority", 0))


def party_of(record: RunRecord) -> Party:
    """Whose requests the run's are."""
    return Party(depot=record.depot or "", priority=priority_of(record))


class WorkerServices(Protocol):
    """The services of a worker. `seconds` is how long a slice may take."""

    seconds: float

    def open_ledger(self) -> AbstractContextManager[Ledger]:
        """A ledger for one slice: what fails in one does not hinder the others."""

    def open_steps(self, ledger: Ledger, record: RunRecord) -> AbstractContextManager[Steps]:
        """The way to the service for slices of one run."""

    def size(self, call_size: int) -> int:
        """How many devices the next slice has."""

    def reverify(self) -> None:
        """Look again for what is outstanding."""

    def notify(self, message: str) -> None:
        """Say something that a person should see."""

    def carried(self, channel: str, following: str) -> None:
        """A slice ended; what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """The options of a worker. `reverify_cron` is when outstanding steps are checked again."""

    channels: Sequence[ChannelName] = (ChannelName.PARTNER_CENTER, ChannelName.OEM_DIRECT)
    concurrency: int = 4
    beat: Beat = field(default_factory=Beat)
    reverify_cron: str | None = None


class Worker:
    """One worker. `ledger` is its own, for looking after the queue."""

    def __init__(
        self,
        services: WorkerServices,
        queue: Queue,
        ledger: Ledger,
        options: WorkerOptions,
        *,
        token: CancellationToken,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._services = services
        self._queue = queue
        self._ledger = ledger
        self._options = options
        self._token = token
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
                    runner.run(serve(self._session(), self._stopped))
            except Exception as error:  # noqa: BLE001 - a lost database shows in many ways
                self._services.notify(f"no queue, trying again: {message_of(error)}")
            rest = 1.0 if time.monotonic() - began > LONGEST_REST else min(rest * 2, LONGEST_REST)
            self._token.wait(rest)

    def work(self, job: Job) -> None:
        """Carry out slices until others have their turn, and put the next one into the queue."""
        try:
            with self._services.open_ledger() as ledger:
                step = self._carry_on(ledger, job)
        except UnknownRunError:
            self._services.notify(f"run {job.run} is not in this ledger: its job is dropped")
            return
        except LedgerError as error:
            self._services.notify(f"run {job.run}: {error}")
            step = NextSlice(next=Next.LATER, after=job.after, failures=job.failures, delay=5.0)
        if step.next is not Next.OVER:
            self._put(self._following(job, step))

    def _put(self, job: Job) -> None:
        try:
            self._queue.put(job)
        except LedgerError as error:
            self._services.notify(f"run {job.run}: {error}: its next job is made from the ledger")

    def look(self) -> None:
        """Put those runs into the queue again that lost their job. Called every few seconds."""
        self._looks += 1
        if self._looks % LOOKS_PER_SWEEP:
            return
        jobs = {each.run for each in self._queue.jobs()}
        records = {each.run: each for each in self._ledger.submitted_unfinished()}
        missing = frozenset(run for run in records if run not in jobs)
        for run in missing & self._missing:  # twice in a row: not just between two slices
            if not self._ledger.is_held(run):
                record = records[run]
                self._queue.put(Job(run=run, channel=record.channel, priority=priority_of(record)))
        self._missing = missing

    def _carry_on(self, ledger: Ledger, job: Job) -> NextSlice:
        record = ledger.run(job.run)
        following = NextSlice(next=Next.MORE, after=job.after, failures=job.failures)
        try:
            with self._services.open_steps(ledger, record) as steps:
                while True:
                    following = carry_on(
                        steps,
                        size=self._services.size(steps.context.channel.call_size),
                        seconds=self._services.seconds,
                        after=following.after,
                        failures=following.failures,
                    )
                    self._services.carried(record.channel.value, following.next.value)
                    if following.next is not Next.MORE or not self._may_continue():
                        return following
        except LedgerError:
            raise
        except PartnerToolsError as error:  # there is no way to the service from here
            self._services.notify(f"run {job.run}: {error}")
            return NextSlice(
                next=Next.LATER, after=job.after, failures=job.failures + 1, delay=60.0
            )

    def _may_continue(self) -> bool:
        """Whether the next slice may follow at once: no other run waits for a turn."""
        return not self._token.is_set() and self._queue.backlog()[0] == 0

    def _following(self, job: Job, step: NextSlice) -> Job:
        later = None
        if step.delay:
            later = self._now() + timedelta(seconds=step.delay)
        return Job(
            run=job.run,
            channel=job.channel,
            priority=job.priority,
            after=step.after,
            failures=step.failures,
            not_before=later,
        )

    def _session(self) -> JobSession:
        return JobSession(
            conninfo=self._ledger.conninfo or "",
            channels=self._options.channels,
            concurrency=self._options.concurrency,
            beat=self._options.beat,
            work=self.work,
            look=self.look,
            reverify=self._services.reverify,
            reverify_cron=self._options.reverify_cron,
        )

    async def _stopped(self) -> None:
        while not self._token.is_set():
            await asyncio.sleep(GLANCE_SECONDS)
