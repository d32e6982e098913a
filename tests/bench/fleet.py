"""What the fleet costs beside one machine, and how it grows with workers and with its ledger.

A PostgreSQL server of its own, workers that are processes, a sandbox that answers after 100 ms.
The fleet's own cost shows where one request at a time is in flight: then a device takes as long
as its answer and what the program does besides. Under a rate limit the rate hides it.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from partner_tools.clients.transport import origin
from partner_tools.events import Event, Kind, State
from partner_tools.ledger import Ledger, RunStart
from partner_tools.model import ChannelName, Device, Identity, RunId
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from partner_tools.workspace.environment import new_run, now
from tests.bench.figures import Figure, Goal, Part, in_turns, pairs, seconds
from tests.cli.program import Program, customer, program_for, world
from tests.fleet.chaos import Workers, database

VIA = ("--via", "partner-center", "--customer", "contoso.onmicrosoft.com", "--yes")
UNBOUND = 500.0
"""A rate that nobody reaches here: what bounds is the answers' latency."""
COPIED = "20200101-000000-000000"
ALONE = "deregister on one machine, SQLite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured."""

    one_by_one: int
    at_a_rate: int
    rate: float
    rounds: int
    workers: Sequence[int]
    per_worker: int
    ledgers: Sequence[int]


FULL = Size(
    one_by_one=100,
    at_a_rate=500,
    rate=40.0,
    rounds=3,
    workers=(1, 2, 4, 8),
    per_worker=120,
    ledgers=(10_000, 100_000, 1_000_000),
)
QUICK = Size(
    one_by_one=6,
    at_a_rate=20,
    rate=40.0,
    rounds=1,
    workers=(2,),
    per_worker=6,
    ledgers=(1_000,),
)


def measure(*, quick: bool) -> Iterator[Part]:
    """The fleet beside one machine, then more workers, then larger ledgers."""
    size = QUICK if quick else FULL
    with database() as server:
        yield _beside_one_machine(server, size)
        yield _more_workers(server, size)
        yield from _larger_ledgers(server, size)


# --- Beside one machine -----------------------------------------------------------------------


def _beside_one_machine(server: Any, size: Size) -> Part:
    return Part(
        title="Fleet: beside one machine",
        how=f"The same devices by `deregister` and by `submit` and one worker, 0.1 s an answer: "
        f"{size.one_by_one} one request at a time, {size.at_a_rate} at {size.rate:g} a second. "
        "From the first removal to the last.",
        figures=[
            _compared(
                "time per device, one request at a time",
                server,
                _names("a", size.one_by_one),
                Pacing(rate=UNBOUND, in_flight=1),
                size.rounds,
            ),
            _compared(
                f"time per device, {size.rate:g} a second",
                server,
                _names("b", size.at_a_rate),
                Pacing(rate=size.rate),
                size.rounds,
            ),
        ],
    )


def _compared(what: str, server: Any, names: Sequence[str], pacing: Pacing, rounds: int) -> Figure:
    found = in_turns(
        {
            "alone": lambda: 1000.0 / alone(names, pacing),
            "fleet": lambda: 1000.0 / by_fleet(new_ledger(server), names, pacing).per_second,
        },
        rounds,
    )
    return Figure(
        what=what,
        unit="ms",
        values=found["fleet"],
        baseline=ALONE,
        against=found["alone"],
        ratios=pairs(found["fleet"], found["alone"]),
        goal=Goal(bound=1.05, at_most=True),
    )


# --- More workers -----------------------------------------------------------------------------


def _more_workers(server: Any, size: Size) -> Part:
    figures: list[Figure] = []
    first: Work | None = None
    for workers in size.workers:
        names = _names("w", size.per_worker * workers)
        pacing = Pacing(rate=UNBOUND, in_flight=1)
        found = by_fleet(
            new_ledger(server), names, pacing, workers=workers, runs=workers, at_a_time=1
        )
        first = first or found
        figures += _growth(_workers(workers), found, first, _workers(size.workers[0]))
    return Part(
        title="Fleet: from one worker to eight",
        how=f"{size.per_worker} devices a worker, each with one run and one request at a time in "
        "flight, 0.1 s an answer: this measures the fleet itself, without a limit of the service.",
        figures=figures,
    )


def _workers(number: int) -> str:
    return "1 worker" if number == 1 else f"{number} workers"


def _growth(where: str, found: Work, first: Work, baseline: str) -> list[Figure]:
    measured = (
        ("removals a second", "devices/s", found.per_second, first.per_second),
        ("database transactions per device", "", found.transactions, first.transactions),
        ("active database session time per device", "ms", found.active, first.active),
    )
    return [
        Figure(
            what=f"{what}, {where}", unit=unit, values=[now], baseline=baseline, against=[before]
        )
        for what, unit, now, before in measured
    ]


# --- Larger ledgers ---------------------------------------------------------------------------


def _larger_ledgers(server: Any, size: Size) -> Iterator[Part]:
    urls = {devices: new_ledger(server) for devices in size.ledgers}
    filling = {devices: seconds(partial(fill, url, devices)) for devices, url in urls.items()}
    least = f"{size.ledgers[0]:,} devices"
    asked = {devices: _asks(url, size.rounds) for devices, url in urls.items()}
    worked = {
        devices: by_fleet(url, _names("g", size.one_by_one), Pacing(rate=UNBOUND, in_flight=1))
        for devices, url in urls.items()
        if devices in (size.ledgers[0], size.ledgers[-1])
    }
    figures: list[Figure] = []
    for devices in size.ledgers:
        for what, values in asked[devices].items():
            figures.append(
                Figure(
                    what=f"{what}, {devices:,} devices",
                    unit="ms",
                    values=values,
                    baseline=least,
                    against=asked[size.ledgers[0]][what],
                )
            )
        if devices in worked:
            first = worked[size.ledgers[0]]
            figures += _growth(f"{devices:,} devices", worked[devices], first, least)
    yield Part(
        title="Fleet: a ledger that grows",
        how="The ledger is filled with finished runs of a thousand devices with three events each "
        f"({', '.join(f'{n:,} in {took:.0f} s' for n, took in filling.items())}); then each "
        "operation is measured; medians of all rounds.",
        figures=figures,
    )


def _asks(url: str, rounds: int) -> Mapping[str, list[float]]:
    """What a submitter, a worker and a monitor do; milliseconds, each round with a new run."""
    found: dict[str, list[float]] = {}
    with Ledger.open(url) as ledger:
        for _ in range(rounds + 1):  # the first warms up
            for what, act in acts(ledger).items():
                found.setdefault(what, []).append(1000.0 * seconds(act))
    return {what: values[1:] for what, values in found.items()}


def acts(ledger: Ledger) -> Mapping[str, Callable[[], object]]:
    """What each measurement does, by its name; all of one new run, in this order."""
    start = _start(new_run(), "bench")
    batch = [Device(row=n, identity=Identity(serial_number=f"B{n}")) for n in range(500)]

    def submit() -> None:
        assert ledger.submit_run(start, batch, lambda _: None) is None
        resolved = {"outcome": "pending", "customer": "c"}
        ledger.record(
            [_event(start.run, Kind.RESOLVED, index, resolved) for index in range(len(batch))]
        )

    def read() -> None:
        portion = ledger.devices(start.run, states={State.READY})
        assert len(list(islice(portion, 50))) == 50

    return {
        "submit 500 devices": submit,
        "read a slice of 50": read,
        "record 50 removals, 100 commits": lambda: _carry_out(ledger, start.run),
        "`runs`, the newest 50": lambda: ledger.runs(limit=50),
        "the runs that should have a job": ledger.submitted_unfinished,
        "devices in doubt": ledger.in_doubt,
        "removed for a customer in a day": partial(
            ledger.removed_since, "c", now() - timedelta(days=1)
        ),
    }


def _carry_out(ledger: Ledger, run: RunId) -> None:
    for index in range(50):
        ledger.record([_event(run, Kind.INTENDED, index, {"requestId": "r"})])
        ledger.record([_event(run, Kind.ANSWERED, index, {"outcome": "removed"})])


def _event(run: RunId, kind: Kind, index: int, payload: dict[str, Any]) -> Event:
    return Event(run=run, kind=kind, at=now(), device=index, payload=payload)


def _start(run: RunId, depot: str) -> RunStart:
    return RunStart(
        run=run,
        channel=ChannelName.PARTNER_CENTER,
        batch_id=f"bench {run}",
        batch_digest=f"sha256:{'ab' * 32}",
        file="bench.csv",
        at=now(),
        depot=depot,
    )


def fill(url: str, devices: int) -> None:
    """Finished runs of a thousand devices each: one is carried out, the others are its copies."""
    import psycopg

    run, number = RunId(COPIED), min(devices, 1000)
    with Ledger.open(url) as ledger:
        batch = [Device(row=n, identity=Identity(serial_number=f"OLD{n}")) for n in range(number)]
        ledger.create_run(_start(run, "old"), batch)
        for kind, payload in (
            (Kind.RESOLVED, {"outcome": "pending", "customer": "old"}),
            (Kind.INTENDED, {"requestId": "r"}),
            (Kind.ANSWERED, {"outcome": "removed"}),
        ):
            ledger.record([_event(run, kind, index, payload) for index in range(number)])
        ledger.record([Event(run=run, kind=Kind.FINISHED, at=now(), payload={})])
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")  # references are sound
        for table in ("runs", "devices", "events"):
            _copy(connection, table, devices // number - 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _copy(connection: Any, table: str, copies: int) -> None:
    from psycopg import sql

    columns = [
        row[0]
        for row in connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,)
        )
    ]
    other_run = sql.SQL("'20200101-000000-' || lpad(to_hex(copy), 6, '0')")
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {values} FROM generate_series(1, %s) AS copy,"
            " {table} WHERE run = %s"
        ).format(
            table=sql.Identifier(table),
            names=sql.SQL(", ").join(map(sql.Identifier, columns)),
            values=sql.SQL(", ").join(
                other_run if name == "run" else sql.Identifier(name) for name in columns
            ),
        ),
        (copies, COPIED),
    )


# --- The work ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """At most how fast, and how many requests of a run at a time."""

    rate: float
    in_flight: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Removals a second; per device the database's transactions, and milliseconds of sessions."""

    per_second: float
    transactions: float
    active: float


def alone(names: Sequence[str], pacing: Pacing) -> float:
    """Removals per second of one machine's run with a SQLite ledger."""
    with _scene(names, pacing, "") as (sandbox, program):
        _prime(program.environment["PARTNER_TOOLS_LEDGER"], sandbox, pacing.rate)
        result = program("deregister", program.serials(*names), *VIA, "--settle", "0")
        assert result.exit_code in (0, 7), result.output
        return _per_second(sandbox, names)


def by_fleet(
    url: str,
    names: Sequence[str],
    pacing: Pacing,
    *,
    workers: int = 1,
    runs: int = 1,
    at_a_time: int = 4,
) -> Work:
    """What a fleet reaches with the ledger at this URL; each run is of a depot of its own."""
    with _scene(names, pacing, url) as (sandbox, program):
        _prime(url, sandbox, pacing.rate)
        for number in range(runs):
            batch = program.serials(*names[number::runs])
            result = program("submit", batch, *VIA, "--depot", f"d{number}", "--settle", "0")
            assert result.exit_code == 0, result.output
        crew = Workers(program, workers, "--concurrency", str(at_a_time))
        try:
            _until(lambda: bool(sandbox.log.of("delete-device")))
            before, known = _load(url), len(sandbox.log.of("delete-device"))
            _until(lambda: len(sandbox.log.of("delete-device")) >= len(names))
            transactions, active = (
                now - then for now, then in zip(_load(url), before, strict=True)
            )
        finally:
            crew.stop()
        counted = max(len(names) - known, 1)
        return Work(
            per_second=_per_second(sandbox, names),
            transactions=transactions / counted,
            active=active / counted,
        )


def new_ledger(server: Any) -> str:
    """The URL of a new, empty database."""
    import psycopg

    name = f"bench{secrets.randbelow(2**24)}"
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    url: str = server.get_uri().replace("/postgres?", f"/{name}?")
    return url


@contextmanager
def _scene(names: Sequence[str], pacing: Pacing, ledger: str) -> Iterator[tuple[Sandbox, Program]]:
    devices = [{"serialNumber": name, "manufacturer": "Contoso", "model": "X1"} for name in names]
    faults = faults_from({"schemaVersion": "1", "latency": [{"seconds": 0.1}]})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "partner-tools.toml").write_text(
            f"[default.limits]\nmax_rate = {pacing.rate}\nmax_devices = {len(names)}\n"
            f"concurrency = {pacing.in_flight}\n",
            encoding="utf-8",
        )
        estate = seed_from(world(customer({"Estate": devices})))
        sandbox = stack.enter_context(Sandbox(estate, faults))
        ledger = ledger or f"sqlite:///{folder / 'ledger.db'}"
        yield sandbox, program_for(sandbox, folder, PARTNER_TOOLS_LEDGER=ledger)


def _prime(url: str, sandbox: Sandbox, rate: float) -> None:
    """Let the ledger know the rate, so that nobody has to find it."""
    scope = f"{origin(sandbox.announce()['urls']['partnerCenter'])}|"
    with Ledger.open(url) as ledger:
        ledger.remember_rate("partner-center", scope, rate * 2, now())


def _per_second(sandbox: Sandbox, names: Sequence[str]) -> float:
    """Removals per second from the first to the last; each device was removed once."""
    deletes = sandbox.log.of("delete-device")
    assert sorted(entry.serial or "" for entry in deletes) == sorted(names)
    at = sorted(entry.at for entry in deletes)
    return (len(at) - 1) / (at[-1] - at[0])


def _until(over: Callable[[], bool], most: float = 300.0) -> None:
    until = time.monotonic() + most
    while not over():
        if time.monotonic() > until:
            raise TimeoutError("the fleet did not finish")
        time.sleep(0.1)


def _load(url: str) -> tuple[float, float]:
    """Transactions of the database so far, and milliseconds in which its sessions worked."""
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT xact_commit, active_time FROM pg_stat_database"
            " WHERE datname = current_database()"
        ).fetchone()
    return (float(row[0]), float(row[1])) if row else (0.0, 0.0)


def _names(first: str, number: int) -> list[str]:
    return [f"{first.upper()}{each:06}" for each in range(number)]
