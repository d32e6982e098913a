"""How much of a hidden limit the whole program gets: the command, the ledger, real HTTP.

Two fleets are removed with one ledger, so that the second run begins with what the first one
learned. Baselines of the same run and the same sandbox: one request at a time, and 5 in parallel
that each obey their own Retry-After, as Microsoft's bulk sample does
(https://github.com/microsoft/Partner-Center-DotNet-Samples, nce-bulk-migration-tool, read 2026-11).

Goodput is the number of removals that were answered other than by 429, as a share of what the limit
allowed from the first removal of the run to the last; the lists before and after are counted among
the requests and the 429s, and are too few to fill the limit.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from tests.bench.figures import Figure, Goal, Part

PARTNER = {"schemaVersion": "1", "partner": {"domain": "partner.example"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A fleet, and the hidden limit that it meets. `burst` is in requests."""

    devices: int = 1_500
    baseline_devices: int = 300
    rate: float = 60.0
    burst: float = 60.0
    latency: float = 0.1
    runs: int = 1
    """After the first one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run came to. Both are shares."""

    goodput: float
    throttled: float


def measure(*, quick: bool) -> Iterator[Part]:
    """One limit without a lock-out: the grid of limits is `goodput_simulated`'s."""
    world = World(devices=40, baseline_devices=20, runs=1) if quick else World()
    tenants = [_tenant(number) for number in range(world.runs + 3)]
    with tempfile.TemporaryDirectory() as name, _sandbox(Path(name), tenants, world) as said:
        runs = [_program(Path(name), said, tenant, world) for tenant in tenants[: world.runs + 1]]
        five, one = (
            _baseline(said, tenant, world, workers)
            for tenant, workers in ((tenants[-2], 5), (tenants[-1], 1))
        )
    yield Part(
        title="Goodput of the whole program",
        how=f"`deregister` of {world.devices:,} devices against a bucket of {world.rate:g}/s, "
        f"{world.latency:g} s, over real HTTP; the baselines on {world.baseline_devices} devices.",
        figures=[
            *_figures("first run", runs[:1], five, FIVE, 85.0, world),
            *_figures("remembered", runs[1:], one, "one request at a time", 93.0, world),
        ],
    )


FIVE = "five workers, each its own Retry-After"


def _figures(
    name: str, runs: Sequence[Run], baseline: Run, called: str, bound: float, world: World
) -> Iterator[Figure]:
    in_flight = 100 * world.rate * world.latency / world.devices
    yield Figure(
        what=f"goodput, {name}",
        unit="%",
        values=[100 * each.goodput for each in runs],
        baseline=called,
        against=[100 * baseline.goodput],
        goal=Goal(bound=bound, of_ratio=False),
    )
    yield Figure(
        what=f"429s among the requests, {name}",
        unit="%",
        values=[100 * each.throttled for each in runs],
        goal=Goal(
            bound=1.5,
            at_most=True,
            of_ratio=False,
            why=f"an overshoot costs what is in flight until it is answered, {in_flight:.1f} % or "
            "more, and a climb to an unknown limit takes one or two",
        ),
    )


@contextmanager
def _sandbox(folder: Path, tenants: list[str], world: World) -> Iterator[dict[str, Any]]:
    """A sandbox in a process of its own, with the hidden limit and the latency."""
    customers = [
        {
            "tenantId": tenant,
            "domain": f"fleet{number}.example",
            "fleets": [{"count": world.devices, "batches": 4, "serialPrefix": f"F{number}-"}],
        }
        for number, tenant in enumerate(tenants)
    ]
    limit: dict[str, Any] = {"rate": world.rate, "burst": world.burst, "scope": "partner"}
    faults = {
        "schemaVersion": "1",
        "limits": [limit],
        "latency": [{"seconds": world.latency}],
    }
    seed_file, faults_file = folder / "seed.json", folder / "faults.json"
    seed_file.write_text(json.dumps({**PARTNER, "customers": customers}), encoding="utf-8")
    faults_file.write_text(json.dumps(faults), encoding="utf-8")
    command = [sys.executable, "-m", "partner_tools", "sandbox"]
    command += ["--seed", str(seed_file), "--faults", str(faults_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()


def _program(folder: Path, said: dict[str, Any], tenant: str, world: World) -> Run:
    """One run of the command."""
    serials = [each["serialNumber"] for each in _devices(said, tenant)]
    batch = folder / "batch.csv"
    batch.write_text("\n".join(["Serial number", *serials, ""]), encoding="utf-8")
    (folder / "none.toml").write_text("", encoding="utf-8")
    _clear(said)
    environment = {
        **os.environ,
        **said["environment"],
        "PARTNER_TOOLS_LEDGER": str(folder / "ledger.db"),
        "PARTNER_TOOLS_CONFIG": str(folder / "none.toml"),
    }
    arguments = ["deregister", str(batch), "--via", "partner-center", "--customer", tenant]
    arguments += ["--yes", "--max-devices", str(world.devices), "--quiet", "--settle", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "partner_tools", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return _run(said, world)


def _baseline(said: dict[str, Any], tenant: str, world: World, workers: int) -> Run:
    """Plain clients that each obey their own Retry-After, on a part of the fleet."""
    devices = iter(_devices(said, tenant)[: world.baseline_devices])
    _clear(said)
    lock = threading.Lock()
    address = urlsplit(said["urls"]["partnerCenter"])
    token = said["tokens"]["app"]

    def work() -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        while True:
            with lock:
                device = next(devices, None)
            if device is None:
                connection.close()
                return
            place = f"/v1/customers/{tenant}/deviceBatches/{quote(device['batchId'], safe='')}"
            while True:
                connection.request(
                    "DELETE",
                    f"{place}/devices/{quote(device['id'], safe='')}",
                    headers={"Authorization": f"Bearer {token}"},
                )
                answer = connection.getresponse()
                answer.read()
                if answer.status != 429:
                    break
                time.sleep(float(answer.headers.get("Retry-After", "1")))

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _run(said, world)


def _run(said: dict[str, Any], world: World) -> Run:
    entries = _control(said, "GET", "/log")["requests"]
    removals = [entry for entry in entries if entry["method"] == "DELETE"]
    answered = [entry for entry in removals if entry["status"] != 429]
    throttled = sum(entry["status"] == 429 for entry in entries)
    seconds = max(entry["at"] for entry in removals) - min(entry["at"] for entry in removals)
    return Run(
        goodput=len(answered) / (world.rate * seconds),
        throttled=throttled / len(entries),
    )


def _devices(said: dict[str, Any], tenant: str) -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = _control(said, "GET", f"/devices/{tenant}")["devices"]
    return devices


def _clear(said: dict[str, Any]) -> None:
    _control(said, "DELETE", "/log")


def _control(said: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    request = Request(said["controlUrl"] + path, method=method)  # noqa: S310 - loopback
    with urlopen(request) as answer:  # noqa: S310 - loopback
        content: dict[str, Any] = json.loads(answer.read() or b"{}")
    return content


def _tenant(number: int) -> str:
    return f"2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a6{number:02}"
