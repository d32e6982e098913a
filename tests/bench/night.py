"""One night of a depot: is every unit's state right in the morning, and did each alarm come once?

    python -m tests.bench.night [--units 20000]

The shipped script for a watched folder (`deploy/watched-folder`) carries out orders of up to a
hundred units while everything goes wrong that may: every 50th order is bad, the script and its
command are killed, an export breaks off halfway, the disk is full, the certificate expires at 3
o'clock, and one unit is answered 640 for ever. The sandbox says what is registered in the morning.
Exits with 1 if a unit's result says more than is so, or an alarm is missing or repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from partner_tools.sandbox import Sandbox
from tests.cli.commands.test_deregister_oem_direct import MTLS, depot, expired, registered

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "watched-folder" / "deregister-folder"
HEADER = ["SerialNumber", "Manufacturer", "Model"]
BAD_EVERY = 50
ROUNDS = 8
RELEASED = {"removed", "absent", "already-removed"}
"""Outcomes after which a depot may replace the board (`docs/how-to/depot-pipeline.md`)."""


class Flaw(StrEnum):
    """Why an order cannot end in `done`."""

    TENANT = "a column names a tenant"
    MISSPELT = "one serial number is misspelt"
    ENDLESS_640 = "one unit is answered 640 for ever"


DUE = {
    None: ("done",),
    Flaw.TENANT: ("attention",),
    Flaw.MISSPELT: ("attention",),
    # If an answer was lost besides, the unit is `unknown`, which a person has to look at.
    Flaw.ENDLESS_640: ("work", "attention"),
}
"""Where an order may be in the morning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One file of units. `misspelt` is listed in place of the last unit."""

    name: str
    serials: tuple[str, ...]
    flaw: Flaw | None = None

    def listed(self) -> tuple[str, ...]:
        if self.flaw is Flaw.MISSPELT:
            return (*self.serials[:-1], f"{self.serials[-1]}X")
        return self.serials


@dataclass(frozen=True, slots=True, kw_only=True)
class Morning:
    """What the night came to. `wrong` is empty if everything is as it has to be."""

    units: int
    orders: int
    seconds: float
    starts: int
    kills: int
    places: Mapping[str, int]
    outcomes: Mapping[str, int]
    alarms: Sequence[str]
    wrong: Sequence[str]


def night(units: int, seed: int = 1, *, endless_640: bool = True) -> Morning:
    """Carry out the orders of one night. Takes some minutes for 20,000 units.

    The unit that is answered 640 for ever comes last: its run backs off for two minutes each time.
    """
    generator = random.Random(seed)  # noqa: S311 - moments of kills
    orders = _orders(units, min(100, max(4, units // 24)), endless_640=endless_640)
    deferred = [order.serials[0] for order in orders if order.flaw is Flaw.ENDLESS_640]
    half = tuple(f"HALF{number:04}" for number in range(5))
    faults = {"items": [{"serials": deferred, "number": "640"}]} if deferred else {}
    everything = [serial for order in orders for serial in order.serials]
    began, starts, kills = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        folder = home / "orders"
        (folder / "in").mkdir(parents=True)
        with depot(home, *registered(*everything, *half), profile=MTLS, faults=faults) as opened:
            sandbox, program = opened
            environment = _environment(home, folder, program.environment)
            for number, part in enumerate(_parts(orders, ROUNDS)):
                for order in part:
                    _deliver(folder, order)
                if number == 1:
                    # The export broke off halfway: a station renames a file that is whole.
                    _write(folder / "in" / ".half.csv", half)
                if number in (2, 4):
                    pause = generator.uniform(0.5, 3.0)
                    kills += _start(folder, environment, kill_after=pause) == -signal.SIGKILL
                    starts += 1
                if number == 3:
                    size = (home / "ledger.db").stat().st_size
                    _start(folder, environment, file_bytes=size + 20_000)
                    starts += 1
                if number == 5:
                    with expired(home / "depot.pem"):
                        _start(folder, environment)
                    starts += 1
                _start(folder, environment)
                starts += 1
            _start(folder, environment)
            return _judge(
                orders,
                half,
                folder,
                sandbox,
                seconds=time.monotonic() - began,
                starts=starts + 1,
                kills=kills,
            )


def _orders(units: int, size: int, *, endless_640: bool) -> list[Order]:
    serials = [f"N{number:06}" for number in range(units)]
    orders = []
    for number, first in enumerate(range(0, units, size)):
        flaw = None
        if number % BAD_EVERY == 7:
            flaw = Flaw.TENANT if number // BAD_EVERY % 2 == 0 else Flaw.MISSPELT
        elif number == 11:
            flaw = Flaw.MISSPELT
        elif endless_640 and first + size >= units:
            flaw = Flaw.ENDLESS_640
        orders.append(
            Order(
                name=f"R-{number:04}.csv", serials=tuple(serials[first : first + size]), flaw=flaw
            )
        )
    return orders


def _parts(orders: Sequence[Order], count: int) -> Iterator[Sequence[Order]]:
    size = -(-len(orders) // count)
    for first in range(0, len(orders), size):
        yield orders[first : first + size]


def _deliver(folder: Path, order: Order) -> None:
    """As a station does: a hidden name first."""
    tenant = "contoso.com" if order.flaw is Flaw.TENANT else None
    hidden = folder / "in" / f".{order.name}"
    _write(hidden, order.listed(), tenant)
    hidden.rename(folder / "in" / order.name)


def _write(path: Path, serials: Sequence[str], tenant: str | None = None) -> None:
    more = ["TenantID"] if tenant else []
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER + more)
        writer.writerows(
            [serial, "Fabrikam", "Book", *([tenant] if tenant else [])] for serial in serials
        )


def _environment(home: Path, folder: Path, program: Mapping[str, str]) -> dict[str, str]:
    commands = home / "commands"
    commands.mkdir()
    for name, line in {
        "partner-tools": f'exec {shlex.quote(sys.executable)} -m partner_tools "$@"',
        "alert": f'echo "$@" >> {shlex.quote(str(folder))}/alerts',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (commands / name).chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **program, "ALERT": "alert", "PYTHONPATH": str(ROOT), "PATH": path}


def _start(
    folder: Path,
    environment: Mapping[str, str],
    *,
    kill_after: float | None = None,
    file_bytes: int | None = None,
) -> int:
    """One start of the script, as a timer does it; its exit code."""

    def limit() -> None:
        if file_bytes is not None:
            # Without this the shell's own writing would end it, as no full disk does.
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    with subprocess.Popen(
        ["bash", str(SCRIPT), str(folder)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=limit,
    ) as process:
        try:
            return process.wait(kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


def _judge(
    orders: Sequence[Order],
    half: Sequence[str],
    folder: Path,
    sandbox: Sandbox,
    *,
    seconds: float,
    starts: int,
    kills: int,
) -> Morning:
    """Compare each unit's result with the service, and the alarms with what happened."""
    bound = {one.device.serial_number for one in sandbox.state.devices("contoso.onmicrosoft.com")}
    wrong = [f"{serial} of the half file was removed" for serial in half if serial not in bound]
    outcomes: Counter[str] = Counter()
    places: Counter[str] = Counter()
    for order in orders:
        place = next(
            (
                name
                for name in ("done", "attention", "work", "in")
                if (folder / name / order.name).exists()
            ),
            "nowhere",
        )
        places[place] += 1
        if place not in DUE[order.flaw]:
            wrong.append(f"{order.name} is in {place}, not in {' or '.join(DUE[order.flaw])}")
        result = folder / place / f"{order.name}.result.json"
        said = json.loads(result.read_text("utf-8"))["devices"] if result.exists() else []
        results = {each["serialNumber"]: each["outcome"] for each in said}
        outcomes.update(results.values())
        wrong += [
            f"{serial} of {order.name} is {outcome} and still bound"
            for serial, outcome in results.items()
            if outcome in RELEASED and serial in bound
        ]
        if place == "done":
            wrong += [f"{serial} in done is bound" for serial in order.serials if serial in bound]
        elif order.flaw is Flaw.TENANT:
            wrong += [
                f"{one} of a refused order is gone" for one in order.serials if one not in bound
            ]
        elif order.flaw is Flaw.MISSPELT:
            if order.serials[-1] not in bound:
                wrong.append(f"{order.serials[-1]} was removed and not listed")
            if results.get(order.listed()[-1]) in RELEASED:
                wrong.append(f"{order.listed()[-1]} is misspelt and {results[order.listed()[-1]]}")
    alarms = (folder / "alerts").read_text("utf-8").splitlines()
    wrong += [f"alarm {alarm!r} came {n} times" for alarm, n in Counter(alarms).items() if n > 1]
    needed = {
        f"attention {order.name}" for order in orders if order.flaw in (Flaw.TENANT, Flaw.MISSPELT)
    }
    needed |= {f"retry {order.name}" for order in orders if order.flaw is Flaw.ENDLESS_640}
    needed.add("stopped sign-in")
    wrong += [f"no alarm {alarm!r}" for alarm in sorted(needed - set(alarms))]
    return Morning(
        units=sum(len(order.serials) for order in orders),
        orders=len(orders),
        seconds=seconds,
        starts=starts,
        kills=kills,
        places=places,
        outcomes=outcomes,
        alarms=alarms,
        wrong=wrong,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    morning = night(arguments.units, arguments.seed)
    print(
        f"{morning.units} units in {morning.orders} orders, {morning.seconds:.0f} s,"
        f" {morning.starts} starts of which {morning.kills} were killed"
    )
    print("orders:", ", ".join(f"{n} {name}" for name, n in sorted(morning.places.items())))
    print("units:", ", ".join(f"{n} {name}" for name, n in sorted(morning.outcomes.items())))
    kinds = Counter(alarm.split()[0] for alarm in morning.alarms)
    print("alarms:", ", ".join(f"{n} {name}" for name, n in sorted(kinds.items())))
    for line in morning.wrong:
        print("WRONG", line)
    return 1 if morning.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
