"""Calls of many threads share commits, fail alone, and fail together when nothing is durable."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from partner_tools.errors import LedgerError
from partner_tools.events import Event, IllegalEventError, Kind, State
from partner_tools.ledger import Ledger, RunStart
from partner_tools.ledger.append import PendingEvent, Writer, pending_event
from partner_tools.model import Device, Identity, Outcome, RunId

AT = datetime(2026, 4, 17, 10, 16, tzinfo=UTC)
RUN = RunId("20260417-101530-4f2a9c")
THREADS = 16


def happened(kind: Kind, device: int | None = None, **payload: Any) -> Event:
    return Event(run=RUN, kind=kind, at=AT, device=device, payload=payload)


def draft() -> PendingEvent:
    return pending_event(happened(Kind.STARTED))


def plain(devices: int) -> list[Device]:
    return [Device(row=n + 2, identity=Identity(serial_number=f"S{n}")) for n in range(devices)]


class Slow:
    """A commit that takes its time, remembers how many calls it got, and fails when told to."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.open = threading.Event()
        self.failure: Exception | None = None

    def __call__(self, calls: Sequence[Sequence[PendingEvent]]) -> Sequence[Exception | None]:
        self.groups.append(len(calls))
        self.open.wait(60)
        if self.failure is not None:
            raise self.failure
        return [None for _ in calls]


def gather(slow: Slow, writer: Writer, calls: int, pool: ThreadPoolExecutor) -> list[Any]:
    """Start one call, and the others while its commit is under way."""
    waiting = [pool.submit(writer.write, [draft()])]
    while not slow.groups:
        time.sleep(0.001)
    waiting += [pool.submit(writer.write, [draft()]) for _ in range(calls - 1)]
    while writer._waiting.qsize() < calls - 1:
        time.sleep(0.001)
    slow.open.set()
    return waiting


def test_calls_that_wait_share_the_next_commit() -> None:
    slow = Slow()
    writer = Writer(slow)
    with ThreadPoolExecutor(8) as pool:
        for call in gather(slow, writer, 8, pool):
            call.result(5)
    writer.close()
    assert slow.groups == [1, 7]


def test_a_failure_reaches_every_waiting_call_and_every_later_one() -> None:
    slow = Slow()
    slow.failure = LedgerError("the disk is full", remedy="free space", rule="ledger-full")
    writer = Writer(slow)
    with ThreadPoolExecutor(8) as pool:
        for call in gather(slow, writer, 8, pool):
            with pytest.raises(LedgerError, match="full") as caught:
                call.result(5)
            assert (caught.value.remedy, caught.value.rule) == ("free space", "ledger-full")
    with pytest.raises(LedgerError, match="full"):
        writer.write([draft()])
    writer.close()
    assert slow.groups == [1]


def test_a_closed_writer_takes_nothing() -> None:
    writer = Writer(lambda calls: [None for _ in calls])
    writer.write([draft()])
    writer.close()
    writer.close()
    with pytest.raises(LedgerError, match="closed"):
        writer.write([draft()])


def test_many_threads_lose_nothing(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, plain(THREADS * 6))

    def remove(first: int) -> None:
        for device in range(first, THREADS * 6, THREADS):
            ledger.record([happened(Kind.RESOLVED, device, outcome="pending", customer="c")])
            ledger.record([happened(Kind.INTENDED, device, requestId=str(device))])
            ledger.record([happened(Kind.ANSWERED, device, outcome="removed")])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(remove, range(THREADS)))
    run = ledger.run(start.run)
    assert run.counts == {Outcome.REMOVED: THREADS * 6}
    assert run.head.n == 1 + 3 * THREADS * 6
    assert ledger.verify() == []


def test_an_illegal_call_fails_alone(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, plain(THREADS))
    together = threading.Barrier(THREADS)

    def resolve(device: int) -> str:
        event = happened(Kind.RESOLVED, device, outcome="pending")
        spoiled = [event, happened(Kind.ACCEPTED, device, handle="h")]
        together.wait(60)
        try:
            ledger.record(spoiled if device % 2 else [event])
        except IllegalEventError:
            return "refused"
        return "recorded"

    with ThreadPoolExecutor(THREADS) as pool:
        told = list(pool.map(resolve, range(THREADS)))
    assert told == ["recorded", "refused"] * (THREADS // 2)
    states = [device.history.state for device in ledger.devices(start.run)]
    assert states == [State.READY, State.NEW] * (THREADS // 2)
    assert ledger.verify() == []


def test_two_ledgers_on_one_database_see_each_others_devices(
    ledger: Ledger, ledger_url: str, start: RunStart
) -> None:
    ledger.create_run(start, plain(1))
    with Ledger.open(ledger_url) as other:
        ledger.record([happened(Kind.RESOLVED, 0, outcome="pending")])
        ledger.record([happened(Kind.INTENDED, 0, requestId="r")])
        other.record([happened(Kind.ANSWERED, 0, outcome="removed")])
        with pytest.raises(IllegalEventError):
            ledger.record([happened(Kind.ANSWERED, 0, outcome="refused")])
        with pytest.raises(IllegalEventError):
            other.record([happened(Kind.DOUBTED, 0, answered=False)])
    assert ledger.run(start.run).counts == {Outcome.REMOVED: 1}
    assert ledger.verify() == []


def test_two_ledgers_write_one_run_at_once(
    ledger: Ledger, ledger_url: str, start: RunStart
) -> None:
    ledger.create_run(start, plain(40))

    def write(opened: Ledger, devices: range) -> None:
        for device in devices:
            opened.record([happened(Kind.RESOLVED, device, outcome="pending")])
            opened.record([happened(Kind.INTENDED, device, requestId="r")])

    with Ledger.open(ledger_url) as other, ThreadPoolExecutor(4) as pool:
        parts = [(ledger, range(0, 40, 4)), (other, range(1, 40, 4))]
        parts += [(ledger, range(2, 40, 4)), (other, range(3, 40, 4))]
        for done in [pool.submit(write, *part) for part in parts]:
            done.result(60)
    assert ledger.run(start.run).counts == {Outcome.UNKNOWN: 40}
    assert ledger.verify() == []


@pytest.mark.slow
def test_who_loses_the_session_that_holds_a_run_writes_nothing_more(
    postgresql_ledger: str, start: RunStart
) -> None:
    """Another process may hold the run by then."""
    import psycopg

    run = RunId("20260419-101530-000007")
    started = Event(run=run, kind=Kind.STARTED, at=AT, payload={})
    with Ledger.open(postgresql_ledger) as lost, Ledger.open(postgresql_ledger) as other:
        lost.create_run(replace(start, run=run), plain(1))
        with lost.hold(run):
            with psycopg.connect(postgresql_ledger, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            with other.hold(run):
                for _ in range(2):
                    with pytest.raises(LedgerError) as caught:
                        lost.record([started])
                    assert caught.value.rule == "ledger-unreachable"
                with pytest.raises(LedgerError, match=f"held run {run}"):
                    lost.remember_rate("s", "s", 1.0, AT)
                other.record([started])
        assert other.run(run).head.n == 2
        lost.remember_rate("s", "s", 1.0, AT)
        assert lost.run(run).head.n == 2


def test_a_session_that_ends_late_is_waited_for(postgresql_ledger: str, start: RunStart) -> None:
    psycopg = pytest.importorskip("psycopg")
    run = RunId("20260419-101530-000008")
    waits = "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"

    def end_once_awaited(holder: ExitStack) -> None:
        with psycopg.connect(postgresql_ledger, autocommit=True) as connection:
            for _ in range(3000):
                if connection.execute(waits).fetchone()[0]:
                    break
                time.sleep(0.01)
        holder.close()

    with Ledger.open(postgresql_ledger) as ledger, ExitStack() as holder:
        ledger.create_run(replace(start, run=run), plain(1))
        holder.enter_context(holder.enter_context(Ledger.open(postgresql_ledger)).hold(run))
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(end_once_awaited, holder)
            with ledger.hold(run):
                ended.result()


FILL = """
import json, resource, signal, sys
from datetime import UTC, datetime
from partner_tools.errors import LedgerError
from partner_tools.events import Event, Kind
from partner_tools.ledger import Ledger
from partner_tools.model import RunId

AT, RUN = datetime(2026, 4, 17, tzinfo=UTC), RunId(sys.argv[2])
with Ledger.open(sys.argv[1]) as ledger:
    ledger.run(RUN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    durable, said = 0, []
    while len(said) < 3:
        try:
            ledger.record(
                [Event(run=RUN, kind=Kind.STARTED, at=AT, payload={"detail": "x" * 4000})]
            )
            durable += 1
        except LedgerError as error:
            said.append([error.exit_code, error.rule, error.remedy])
print(json.dumps([durable, said]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sizes of files are limited by POSIX")
def test_what_no_longer_fits_is_not_durable_and_what_did_fit_is(
    file_url: str, start: RunStart
) -> None:
    import json

    with Ledger.open(file_url) as ledger:
        ledger.create_run(start, ())
    told = subprocess.run(
        [sys.executable, "-c", FILL, file_url, start.run],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    durable, said = json.loads(told.stdout)
    assert durable > 0
    assert {(code, rule) for code, rule, _ in said} <= {(6, "ledger-io"), (6, "ledger-full")}
    assert all("resume RUN" in remedy for _, _, remedy in said)
    with Ledger.open(file_url) as ledger:
        assert ledger.run(start.run).head.n == 1 + durable
        assert ledger.verify() == []


def _limit_pages(ledger: Ledger) -> None:
    with ledger._database.write() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


@pytest.mark.parametrize(
    "write",
    [
        lambda ledger: ledger.record([happened(Kind.STARTED, detail="x" * 100_000)]),
        lambda ledger: ledger.record(
            [happened(Kind.RESOLVED, 0, outcome="refused", detail="x" * 100_000)]
        ),
    ],
)
def test_a_full_database_is_said_to_be_full(
    file_url: str, start: RunStart, write: Callable[[Ledger], None]
) -> None:
    with Ledger.open(file_url) as ledger:
        ledger.create_run(start, plain(1))
        _limit_pages(ledger)
        with pytest.raises(LedgerError) as caught:
            write(ledger)
        assert caught.value.rule == "ledger-full"
        with pytest.raises(LedgerError, match="full"):
            ledger.record([happened(Kind.FINISHED)])
        assert ledger.verify() == []
