"""What the fleet costs: per device beside one machine's run, per worker, and per million devices.

    python -m tests.bench.fleet --devices 600 --rate 30 --workers 1 2 4 8 --ledger 10000 1000000

Prints three tables. (1) The same devices removed by `deregister` and by one worker, at 100 ms of
latency and one rate that both know: removals per second from the first to the last, and their
ratio. (2) The same with more workers, ten depots, and the database's transactions per device.
(3) A ledger that holds so many devices already: seconds to submit 500, to read a portion of 50,
and to record its 150 events. Baselines are the first line of each table, in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from partner_tools.events import Event, Kind, State
from partner_tools.ledger import Ledger, RunStart
from partner_tools.model import ChannelName, Device, Identity, RunId
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from partner_tools.workspace.surroundings import now
from tests.cli.program import Program, customer, program_for, world
from tests.fleet.chaos import Workers, database

VIA = ("--via", "partner-center", "--customer", "contoso.onmicrosoft.com", "--yes")


@contextmanager
def scene(names: Sequence[str], rate: float, ledger: str) -> Iterator[tuple[Sandbox, Program]]:
    """A sandbox with 100 ms of latency, and a program that knows the rate."""
    devices = [{"serialNumber": name, "manufacturer": "Contoso", "model": "X1"} for name in names]
    faults = faults_from({"schemaVersion": "1", "latency": [{"seconds": 0.1}]})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "partner-tools.toml").write_text(
            f"[default.limits]\nmax_rate = {rate}\nmax_devices = {len(names)}\n", encoding="utf-8"
        )
        estate = seed_from(world(customer({"Estate": devices})))
        sandbox = stack.enter_context(Sandbox(estate, faults))
        ledger = ledger or f"sqlite:///{folder / 'ledger.db'}"
        yield sandbox, program_for(sandbox, folder, PARTNER_TOOLS_LEDGER=ledger)


def per_second(sandbox: Sandbox) -> float:
    """Removals per second from the first to the last."""
    at = sorted(entry.at for entry in sandbox.log.of("delete-device"))
    return (len(at) - 1) / (at[-1] - at[0])


def prime(url: str, sandbox: Sandbox, rate: float) -> None:
    """Let the ledger know the rate, so that nobody has to find it."""
    scope = f"{sandbox.announce()['urls']['partnerCenter']}|"
    with Ledger.open(url) as ledger:
        ledger.remember_rate("partner-center", scope, rate * 2, now())


def alone(names: Sequence[str], rate: float) -> float:
    """One machine's run with a SQLite ledger."""
    with scene(names, rate, "") as (sandbox, program):
        prime(program.environment["PARTNER_TOOLS_LEDGER"], sandbox, rate)
        result = program("deregister", program.serials(*names), *VIA, "--settle", "0")
        assert result.exit_code in (0, 7), result.output
        return per_second(sandbox)


def by_fleet(names: Sequence[str], rate: float, workers: int, depots: int) -> tuple[float, float]:
    """Removals per second of a fleet, and transactions of the database per device."""
    with database() as server, scene(names, rate, server.get_uri()) as (sandbox, program):
        prime(server.get_uri(), sandbox, rate)
        share = -(-len(names) // depots)
        for number in range(depots):
            part = names[number * share : (number + 1) * share]
            result = program(
                "submit", program.serials(*part), *VIA, "--depot", f"d{number}", "--settle", "0"
            )
            assert result.exit_code == 0, result.output
        before = _transactions(server)
        crew = Workers(program, workers)
        try:
            _until(lambda: len(sandbox.log.of("delete-device")) >= len(names))
            used = _transactions(server) - before
        finally:
            crew.stop()
        return per_second(sandbox), used / len(names)


def _until(over: Callable[[], bool], seconds: float = 900.0) -> None:
    until = time.monotonic() + seconds
    while not over():
        if time.monotonic() > until:
            raise TimeoutError("the fleet did not finish")
        time.sleep(0.5)


def _transactions(server: Any) -> float:
    import psycopg

    with psycopg.connect(server.get_uri()) as connection:
        row = connection.execute(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return float(row[0]) if row else 0.0


def grown(url: str, devices: int) -> tuple[float, float, float]:
    """Seconds to submit 500 devices, read a portion, and record it, beside so many devices."""
    _fill(url, devices)
    run = RunId("20260417-101530-4f2a9c")
    start = RunStart(
        run=run,
        channel=ChannelName.PARTNER_CENTER,
        batch_id=f"bench {devices}",
        batch_digest=f"sha256:{'ab' * 32}",
        file="bench.csv",
        at=now(),
        depot="bench",
    )
    batch = [Device(row=n, identity=Identity(serial_number=f"B{n}")) for n in range(500)]
    with Ledger.open(url) as ledger:
        submitted = _timed(lambda: ledger.submit_run(start, batch, lambda _: None))
        resolved = {"outcome": "pending", "customer": "c"}
        ledger.record([_event(run, Kind.RESOLVED, index, resolved) for index in range(len(batch))])
        read = _timed(
            lambda: list(zip(range(50), ledger.devices(run, states={State.READY}), strict=False))
        )
        recorded = _timed(lambda: _carry_out(ledger, run))
    return submitted, read, recorded


def _carry_out(ledger: Ledger, run: RunId) -> None:
    for index in range(50):
        ledger.record([_event(run, Kind.INTENDED, index, {"requestId": "r"})])
        ledger.record([_event(run, Kind.ANSWERED, index, {"outcome": "removed"})])


def _event(run: RunId, kind: Kind, index: int, payload: dict[str, Any]) -> Event:
    return Event(run=run, kind=kind, at=now(), device=index, payload=payload)


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _fill(url: str, devices: int) -> None:
    """Finished runs of 1,000 devices each, by copying one row; events are left out."""
    import psycopg

    old = RunStart(
        run=RunId("20200101-000000-000000"),
        channel=ChannelName.PARTNER_CENTER,
        batch_id="old",
        batch_digest=f"sha256:{'ab' * 32}",
        file="old.csv",
        at=now(),
        depot="old",
    )
    with Ledger.open(url) as ledger:
        batch = [Device(row=n, identity=Identity(serial_number=f"OLD{n}")) for n in range(1000)]
        ledger.create_run(old, batch)
        ledger.record([Event(run=old.run, kind=Kind.FINISHED, at=now(), payload={})])
    copies = devices // 1000 - 1
    with psycopg.connect(url) as connection:
        for table in ("runs", "devices"):
            names = [
                row[0]
                for row in connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = %s",
                    (table,),
                )
            ]
            values = ", ".join(
                "'20200101-000000-' || lpad(to_hex(copy), 6, '0')" if name == "run" else name
                for name in names
            )
            connection.execute(
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table},"  # noqa: S608 - names of our own tables
                " generate_series(1, %s) AS copy WHERE run = '20200101-000000-000000'",
                (copies,),
            )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=600)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--ledger", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    names = [f"D{number:06}" for number in range(options.devices)]
    base = alone(names, options.rate)
    print(f"{options.devices} devices, 100 ms latency, at most {options.rate:g} requests/s")
    print(f"  deregister, one machine, SQLite  {base:7.2f}/s   1.000")
    one, _ = by_fleet(names, options.rate, 1, 1)
    print(f"  submit and one worker            {one:7.2f}/s   {one / base:5.3f}")
    print("workers   removals/s   of one   transactions/device")
    first = None
    for workers in options.workers:
        speed, load = by_fleet(names, options.rate, workers, 10)
        first = first or speed
        print(f"{workers:7d}   {speed:10.2f}   {speed / first:6.3f}   {load:19.1f}")
    print("devices in the ledger   submit 500   read 50   record 50 (100 commits)")
    for devices in options.ledger:
        with database() as server:
            submitted, read, recorded = grown(server.get_uri(), devices)
        print(f"{devices:21,d}   {submitted:8.3f} s   {read:5.3f} s   {recorded:6.3f} s")


if __name__ == "__main__":
    main()
