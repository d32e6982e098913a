"""A worker: carries out portions of queued runs until it is stopped, and looks after the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from partner_tools.engine.cancelling import CancelSign, Sign
from partner_tools.errors import LedgerError, PartnerToolsError, UnknownRunError
from partner_tools.fleet.portion import Next, Step, Terms, carry_on
from partner_tools.fleet.queue import Beat, Job, Queue, Shift, serve, told
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.model import ChannelName, RunId
from partner_tools.runs.context import Workplace
from partner_tools.shared_pacing import Party

LOOKS_PER_SWEEP = 12
"""The ledger is asked for runs without a job each time that so many looks at the queue passed."""
LONGEST_REST = 15.0
"""A database that is away is tried again after so many seconds at most."""

GLANCE_SECONDS = 0.25


def priority_of(record: RunRecord) -> int:
    """The priority that a run was submitted with."""
    return int(record.settings.get("priority", 0))


def party_of(record: RunRecord) -> Party:
    """Whose requests the run's are."""
    return Party(depot=record.depot or "", priority=priority_of(record))


class Station(Protocol):
    """What the program gives a worker."""

    def open_ledger(self) -> AbstractContextManager[Ledger]:
        """A ledger for one portion: what fails in one does not hinder the others."""

    def open_place(
        self, ledger: Ledger, record: RunRecord, sign: CancelSign
    ) -> AbstractContextManager[Workplace]:
        """The way to the service for one portion of a run."""

    def terms(self, record: RunRecord, place: Workplace, sign: CancelSign) -> Terms:
        """How the run is to be carried out."""

    def reverify(self) -> None:
        """Look again for what is outstanding."""

    def tell(self, message: str) -> None:
        """Say something that a person should see."""

    def carried(self, channel: str, following: str) -> None:
        """A portion ended, and so it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What a worker is there for. `reverify_cron` is when outstanding steps are looked at again."""

    channels: Sequence[ChannelName] = (ChannelName.PARTNER_CENTER, ChannelName.OEM_DIRECT)
    concurrency: int = 4
    beat: Beat = field(default_factory=Beat)
    reverify_cron: str | None = None


class Worker:
    """One worker. `ledger` is its own, for looking after the queue."""

    def __init__(
        self,
        station: Station,
        queue: Queue,
        ledger: Ledger,
        duty: Duty,
        *,
        stop: Sign,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._station = station
        self._queue = queue
        self._ledger = ledger
        self._duty = duty
        self._stop = stop
        self._looks = 0
        self._missing: frozenset[RunId] = frozenset()

    def run(self) -> None:
        """Work until stopped. A database that is away is waited for."""
        rest = 1.0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                # Psycopg needs a selector loop, which is not what Windows has by itself.
                with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                    runner.run(serve(self._shift(), self._stopped))
            except Exception as error:  # noqa: BLE001 - a lost database shows in many ways
                self._station.tell(f"no queue, trying again: {told(error)}")
            rest = 1.0 if time.monotonic() - began > LONGEST_REST else min(rest * 2, LONGEST_REST)
            self._stop.wait(rest)

    def work(self, job: Job) -> None:
        """Carry out portions until others have their turn, and put the next one into the queue."""
        try:
            with self._station.open_ledger() as ledger:
                step = self._carry_on(ledger, job)
        except UnknownRunError:
            self._station.tell(f"run {job.run} is not in this ledger: its job is dropped")
            return
        except LedgerError as error:
            self._station.tell(f"run {job.run}: {error}")
            step = Step(next=Next.LATER, after=job.after, failures=job.failures, delay=5.0)
        if step.next is not Next.OVER:
            self._put(self._following(job, step))

    def _put(self, job: Job) -> None:
        try:
            self._queue.put(job)
        except LedgerError as error:
            self._station.tell(f"run {job.run}: {error}: its next job is made from the ledger")

    def look(self) -> None:
        """Put those runs into the queue again that lost their job. Called every few seconds."""
        self._looks += 1
        if self._looks % LOOKS_PER_SWEEP:
            return
        jobs = {each.run for each in self._queue.jobs()}
        records = {each.run: each for each in self._ledger.submitted_unfinished()}
        missing = frozenset(run for run in records if run not in jobs)
        for run in missing & self._missing:  # twice in a row: not just between two portions
            if not self._ledger.is_held(run):
                record = records[run]
                self._queue.put(Job(run=run, channel=record.channel, priority=priority_of(record)))
        self._missing = missing

    def _carry_on(self, ledger: Ledger, job: Job) -> Step:
        record = ledger.run(job.run)
        sign = CancelSign(self._stop, lambda: ledger.is_cancelled(job.run))
        try:
            with self._station.open_place(ledger, record, sign) as place:
                step = self._portion(place, record, sign, job.after, job.failures)
                while step.next is Next.MORE and self._may_go_on():
                    step = self._portion(place, record, sign, step.after, step.failures)
                return step
        except LedgerError:
            raise
        except PartnerToolsError as error:  # there is no way to the service from here
            self._station.tell(f"run {job.run}: {error}")
            return Step(next=Next.LATER, after=job.after, failures=job.failures + 1, delay=60.0)

    def _portion(
        self, place: Workplace, record: RunRecord, sign: CancelSign, after: int, failures: int
    ) -> Step:
        terms = self._station.terms(record, place, sign)
        step = carry_on(place, record.run, terms, after=after, failures=failures)
        self._station.carried(record.channel.value, step.next.value)
        return step

    def _may_go_on(self) -> bool:
        """Whether the next portion may follow at once: nobody else waits for a turn."""
        return not self._stop.is_set() and self._queue.backlog()[0] == 0

    def _following(self, job: Job, step: Step) -> Job:
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

    def _shift(self) -> Shift:
        return Shift(
            conninfo=self._ledger.conninfo or "",
            channels=self._duty.channels,
            concurrency=self._duty.concurrency,
            beat=self._duty.beat,
            work=self.work,
            look=self.look,
            reverify=self._station.reverify,
            reverify_cron=self._duty.reverify_cron,
        )

    async def _stopped(self) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(GLANCE_SECONDS)
