"""Events per second that the ledger makes durable, against one commit per event in the same run.

Full durability throughout: SQLite in WAL with synchronous FULL. `BENCH_LEDGER_URL` names another
ledger, such as a PostgreSQL database.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import bindparam, select

from partner_tools.events import Event, Kind
from partner_tools.ledger import Ledger, RunStart, new_run_id, sqlite_url
from partner_tools.ledger.database import Prepared
from partner_tools.ledger.tables import runs
from partner_tools.model import ChannelName, Device, Identity, RunId
from tests.bench.figures import Figure, Goal, Part, in_turns, pairs, seconds

AT = datetime(2026, 4, 17, 10, 15, 30, tzinfo=UTC)
REQUEST_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
GROUP = 50
THREADS = 64
RATE, LATENCY = 200.0, 0.1


@dataclass(frozen=True)
class Bench:
    """A ledger to measure, and how many devices each measurement takes."""

    ledger: Ledger
    devices: int
    tag: list[int]

    def new_run(self, devices: int) -> RunId:
        """A run whose devices are resolved and wait for their removal."""
        self.tag[0] += 1
        run = new_run_id(AT, self.tag[0].to_bytes(3, "big"))
        self.ledger.create_run(
            RunStart(
                run=run,
                channel=ChannelName.PARTNER_CENTER,
                batch_id=f"bench {run}",
                batch_digest="sha256:0",
                file="bench.csv",
                at=AT,
            ),
            (
                Device(row=n + 2, identity=Identity(serial_number=f"PF{n:06}"))
                for n in range(devices)
            ),
        )
        for first in range(0, devices, 5000):
            self.ledger.record([resolved(run, n) for n in range(first, min(first + 5000, devices))])
        return run


def resolved(run: RunId, device: int) -> Event:
    payload = {
        "outcome": "pending",
        "customer": "9c4f0e0a-51b2-4d0e-8a1f-6f2f6a5f0b11",
        "target": {"batchId": "Contoso 2024", "deviceId": REQUEST_ID},
        "found": {"serialNumber": f"PF{device:06}", "manufacturer": "LENOVO", "model": "T14"},
    }
    return Event(run=run, kind=Kind.RESOLVED, at=AT, device=device, payload=payload)


def intended(run: RunId, device: int) -> Event:
    payload = {"requestId": REQUEST_ID, "correlationId": REQUEST_ID}
    return Event(run=run, kind=Kind.INTENDED, at=AT, device=device, payload=payload)


def answered(run: RunId, device: int) -> Event:
    payload = {
        "outcome": "removed",
        "status": 204,
        "requestId": REQUEST_ID,
        "correlationId": REQUEST_ID,
    }
    return Event(run=run, kind=Kind.ANSWERED, at=AT, device=device, payload=payload)


def grouped(bench: Bench, size: int, devices: int) -> float:
    """Events per second of one caller that records so many events at a time."""
    run = bench.new_run(devices)
    began = time.perf_counter()
    for first in range(0, devices, size):
        group = range(first, min(first + size, devices))
        bench.ledger.record([intended(run, n) for n in group])
        bench.ledger.record([answered(run, n) for n in group])
    return 2 * devices / (time.perf_counter() - began)


def threaded(bench: Bench, devices: int) -> float:
    """Events per second of many callers that record one event at a time."""
    run = bench.new_run(devices)

    def remove(device: int) -> None:
        bench.ledger.record([intended(run, device)])
        bench.ledger.record([answered(run, device)])

    with ThreadPoolExecutor(THREADS) as pool:
        began = time.perf_counter()
        list(pool.map(remove, range(devices)))
        return 2 * devices / (time.perf_counter() - began)


def paced(record: Callable[[Sequence[Event]], None], run: RunId, requests: int) -> float:
    """Seconds that so many requests take at a fixed rate, each with its two events."""
    turn, last = threading.Lock(), [time.perf_counter()]

    def remove(device: int) -> None:
        with turn:
            last[0] = max(last[0] + 1 / RATE, time.perf_counter() - 1 / RATE)
            wait = last[0] - time.perf_counter()
        record([intended(run, device)])
        time.sleep(max(0.0, wait) + LATENCY)
        record([answered(run, device)])

    with ThreadPoolExecutor(THREADS) as pool:
        began = time.perf_counter()
        list(pool.map(remove, range(requests)))
        return time.perf_counter() - began


def bare(folder: Path, size: int, count: int) -> float:
    """Rows per second that plain SQLite makes durable, of the same size and durability."""
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS events (run TEXT, n INTEGER, content TEXT)")
        began = time.perf_counter()
        for first in range(0, count, size):
            connection.execute("BEGIN IMMEDIATE")
            rows = [("run", first + n, "x" * 450) for n in range(size)]
            connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        return count / (time.perf_counter() - began)


ROUNDS = 3
FIRST = "one commit per event"


def measure(*, quick: bool) -> Iterator[Part]:
    """Throughput, one row by its key, the share of a run's time, size and proof."""
    devices, rounds = (200, 1) if quick else (5_000, ROUNDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = os.environ.get("BENCH_LEDGER_URL") or sqlite_url(folder / "ledger.db")
        with Ledger.open(url) as ledger:
            bench = Bench(ledger, devices, [0])
            yield _throughput(bench, rounds, folder)
            yield _statement(bench, rounds, 20 if quick else 2_000)
            yield _share(bench, rounds, int(RATE * (0.2 if quick else 8)))
        with Ledger.open(url) as ledger:
            yield _whole(ledger, folder)


def _throughput(bench: Bench, rounds: int, folder: Path) -> Part:
    few = max(bench.devices // GROUP, 50)
    found = in_turns(
        {
            FIRST: lambda: grouped(bench, 1, few),
            f"groups of {GROUP}": lambda: grouped(bench, GROUP, bench.devices),
            f"{THREADS} threads, one event a call": lambda: threaded(bench, bench.devices),
            "bare SQLite, one row a commit": lambda: bare(folder, 1, max(few, 50)),
            f"bare SQLite, {GROUP} rows a commit": lambda: bare(folder, GROUP, 2 * bench.devices),
        },
        rounds,
    )
    return Part(
        title="Ledger: events made durable",
        how="Each event in a hash chain, with its projections; synchronous FULL.",
        figures=[
            Figure(
                what=f"events a second, {name}",
                unit="events/s",
                values=values,
                baseline=FIRST,
                against=found[FIRST],
                ratios=pairs(values, found[FIRST]),
            )
            for name, values in found.items()
        ],
    )


def _statement(bench: Bench, rounds: int, times: int) -> Part:
    """What one row by its key costs, asked for in both ways."""
    run = bench.new_run(1)
    statement = select(runs.c.state).where(runs.c.run == bindparam("of"))
    with bench.ledger._database.read() as connection:
        prepared = Prepared(statement, connection.dialect)
        found = in_turns(
            {
                "prepared": lambda: _microseconds(
                    lambda: prepared.rows(connection, {"of": run}), times
                ),
                "SQLAlchemy": lambda: _microseconds(
                    lambda: connection.execute(statement, {"of": run}).all(), times
                ),
            },
            rounds,
        )
    return Part(
        title="Ledger: one statement",
        how=f"One row by its key, {times:,} times; CPU time of each.",
        figures=[
            Figure(
                what="one row by its key, prepared",
                unit="µs of CPU",
                values=found["prepared"],
                baseline="by SQLAlchemy",
                against=found["SQLAlchemy"],
                ratios=pairs(found["prepared"], found["SQLAlchemy"]),
            )
        ],
    )


def _microseconds(ask: Callable[[], object], times: int) -> float:
    used = time.thread_time()
    for _ in range(times):
        ask()
    return (time.thread_time() - used) / times * 1e6


def _share(bench: Bench, rounds: int, requests: int) -> Part:
    """A run of requests at a fixed rate, each with two events, with the ledger and without."""
    found: dict[str, list[float]] = {"without": [], "with": [], "cpu": []}
    for _ in range(rounds):
        run = bench.new_run(requests)
        found["without"].append(paced(lambda events: None, run, requests))
        used = time.process_time()
        found["with"].append(paced(bench.ledger.record, run, requests))
        found["cpu"].append((time.process_time() - used) / found["with"][-1] * 100)
    return Part(
        title=f"Ledger: its share of a run at {RATE:.0f} requests a second",
        how=f"{requests} requests of {LATENCY:g} s by {THREADS} threads, two events each.",
        figures=[
            Figure(
                what="seconds of the run",
                unit="s",
                values=found["with"],
                baseline="the same without a ledger",
                against=found["without"],
                ratios=pairs(found["with"], found["without"]),
                goal=Goal(bound=1.03, at_most=True),
            ),
            Figure(what="processor meanwhile", unit="% of a core", values=found["cpu"]),
        ],
    )


def _whole(ledger: Ledger, folder: Path) -> Part:
    events = sum(head.n for head in ledger.heads())
    devices = sum(run.devices for run in ledger.runs())
    findings: list[object] = []
    taken = seconds(lambda: findings.extend(ledger.verify()))
    assert not findings
    size = sum(each.stat().st_size for each in folder.glob("ledger.db*") if each.is_file())
    return Part(
        title="Ledger: size and proof",
        how=f"{devices:,} devices and {events:,} events.",
        figures=[
            Figure(what="size per device, all its events", unit="bytes", values=[size / devices]),
            Figure(what="events a second, verify", unit="events/s", values=[events / taken]),
        ],
    )
