"""Events per second that the ledger makes durable, against one commit per event in the same run.

    python -m tests.bench.ledger_events [--url URL] [--devices N] [--repeats N]

Every figure is a median of the repeats, with the lowest and highest. Full durability throughout:
SQLite in WAL with synchronous FULL, PostgreSQL with synchronous_commit.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import bindparam, select

from partner_tools.events import Event, Kind
from partner_tools.ledger import Ledger, RunStart, new_run_id, sqlite_url
from partner_tools.ledger.prepared import Prepared
from partner_tools.ledger.tables import runs
from partner_tools.model import ChannelName, Device, Identity, RunId

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


def bare(folder: Path, events: int) -> Iterator[tuple[str, float]]:
    """What the disk grants to plain SQLite with rows of the same size, at the same durability."""
    with sqlite3.connect(folder / "bare.db", isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE events (run TEXT, n INTEGER, content TEXT)")
        for size in (1, GROUP):
            count = events if size > 1 else max(events // GROUP, 50)
            began = time.perf_counter()
            for first in range(0, count, size):
                connection.execute("BEGIN IMMEDIATE")
                rows = [("run", first + n, "x" * 450) for n in range(size)]
                connection.executemany("INSERT INTO events VALUES (?, ?, ?)", rows)
                connection.execute("COMMIT")
            yield f"bare SQLite, {size} per commit", count / (time.perf_counter() - began)
    connection.close()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def tell(name: str, figures: Sequence[float], unit: str) -> None:
    low, middle, high = min(figures), statistics.median(figures), max(figures)
    say(f"{name:<48} {middle:>10,.1f} {unit}  ({low:,.1f} to {high:,.1f})")


def measure(bench: Bench, repeats: int, folder: Path) -> None:
    few = max(bench.devices // GROUP, 50)
    names: dict[str, Callable[[], float]] = {
        "one commit per event": lambda: grouped(bench, 1, few),
        f"groups of {GROUP}": lambda: grouped(bench, GROUP, bench.devices),
        f"{THREADS} threads, one event a call": lambda: threaded(bench, bench.devices),
    }
    figures: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, take in names.items():
            figures.setdefault(name, []).append(take())
        for name, figure in bare(Path(tempfile.mkdtemp(dir=folder)), 2 * bench.devices):
            figures.setdefault(name, []).append(figure)
    for name, values in figures.items():
        tell(name, values, "events/s")
    base = statistics.median(figures["one commit per event"])
    ratio = statistics.median(figures[f"groups of {GROUP}"]) / base
    say(f"{'groups against one commit per event':<48} {ratio:>10,.1f} times")


def measure_statement(bench: Bench, repeats: int) -> None:
    """What one row by its key costs, asked for in both ways."""
    run = bench.new_run(1)
    statement = select(runs.c.state).where(runs.c.run == bindparam("of"))
    with bench.ledger._database.read() as connection:
        prepared = Prepared(statement, connection.dialect)
        ways: dict[str, Callable[[], object]] = {
            "one row by its key, SQLAlchemy": lambda: connection.execute(
                statement, {"of": run}
            ).all(),
            "one row by its key, prepared": lambda: prepared.rows(connection, {"of": run}),
        }
        for name, ask in ways.items():
            tell(name, [_microseconds(ask) for _ in range(repeats)], "µs of processor")


def _microseconds(ask: Callable[[], object], times: int = 2000) -> float:
    used = time.thread_time()
    for _ in range(times):
        ask()
    return (time.thread_time() - used) / times * 1e6


def measure_share(bench: Bench, repeats: int) -> None:
    requests = int(RATE * 4)
    shares, processor = [], []
    for _ in range(repeats):
        run = bench.new_run(requests)
        without = paced(lambda events: None, run, requests)
        used = time.process_time()
        with_ledger = paced(bench.ledger.record, run, requests)
        processor.append((time.process_time() - used) / with_ledger * 100)
        shares.append((with_ledger / without - 1) * 100)
    tell(f"run time added at {RATE:.0f} requests/s", shares, "%")
    tell("processor used meanwhile, whole process", processor, "% of a core")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--devices", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = wanted.url or sqlite_url(folder / "ledger.db")
        say(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
        with Ledger.open(url) as ledger:
            bench = Bench(ledger, wanted.devices, [0])
            measure(bench, wanted.repeats, folder)
            measure_statement(bench, wanted.repeats)
            measure_share(bench, wanted.repeats)
        size = sum(each.stat().st_size for each in folder.glob("ledger.db*") if each.is_file())
        with Ledger.open(url) as ledger:
            devices = sum(run.devices for run in ledger.runs())
            if wanted.url is None:
                say(f"{'size per device, all its events':<48} {size / devices:>10,.0f} bytes")
            began = time.perf_counter()
            found = ledger.verify()
            seconds = time.perf_counter() - began
            events = sum(head.n for head in ledger.heads())
            say(f"{'verify':<48} {events / seconds:>10,.0f} events/s, {len(found)} findings")


if __name__ == "__main__":
    main(sys.argv[1:])
