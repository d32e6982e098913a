"""How much of a hidden limit the whole program gets: the command, the ledger, real HTTP.

`python -m tests.bench.goodput [--devices 1500] [--rate 60] [--latency 0.1]` removes two fleets with
one ledger, so that the second run begins with what the first one learned. Baselines of the same run
and the same sandbox: one request at a time, and 5 in parallel that each obey their own Retry-After,
as Microsoft's bulk sample does
(https://github.com/microsoft/Partner-Center-DotNet-Samples, nce-bulk-migration-tool, read 2026-11).

Goodput is the number of removals that were answered other than by 429, as a share of what the limit
allowed from the first removal of the run to the last; the lists before and after are counted among
the requests and the 429s, and are too few to fill the limit.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

PARTNER = {"schemaVersion": "1", "partner": {"domain": "partner.example"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run came to. `goodput` and `throttled` are shares."""

    name: str
    requests: int
    goodput: float
    throttled: float
    seconds: float


def main() -> None:
    """Measure and print."""
    given = _arguments()
    tenants = [_tenant(number) for number in range(given.runs + 3)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _sandbox(folder, tenants, given) as said:
            for number in range(given.runs + 1):
                label = "cold" if number == 0 else "remembered"
                _show(_program(folder, said, tenants[number], given, label))
            for tenant, workers in ((tenants[-2], 5), (tenants[-1], 1)):
                _show(_baseline(said, tenant, given, workers))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1500)
    parser.add_argument("--baseline-devices", type=int, default=300)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--burst", type=float, default=60.0)
    parser.add_argument("--latency", type=float, default=0.1)
    parser.add_argument(
        "--lockout",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="seconds that an overflow locks everybody out; without it it costs only itself",
    )
    parser.add_argument("--runs", type=int, default=1, help="runs after the first one")
    return parser.parse_args()


@contextmanager
def _sandbox(
    folder: Path, tenants: list[str], given: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """A sandbox in a process of its own, with the hidden limit and the latency."""
    customers = [
        {
            "tenantId": tenant,
            "domain": f"fleet{number}.example",
            "fleets": [{"count": given.devices, "batches": 4, "serialPrefix": f"F{number}-"}],
        }
        for number, tenant in enumerate(tenants)
    ]
    limit: dict[str, Any] = {"rate": given.rate, "burst": given.burst, "scope": "partner"}
    if given.lockout:
        limit["lockout"] = given.lockout
    faults = {
        "schemaVersion": "1",
        "limits": [limit],
        "latency": [{"seconds": given.latency}],
    }
    seed_file, faults_file = folder / "seed.json", folder / "faults.json"
    seed_file.write_text(json.dumps({**PARTNER, "customers": customers}), encoding="utf-8")
    faults_file.write_text(json.dumps(faults), encoding="utf-8")
    command = [sys.executable, "-m", "partner_tools.sandbox"]
    command += ["--seed", str(seed_file), "--faults", str(faults_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()


def _program(
    folder: Path, said: dict[str, Any], tenant: str, given: argparse.Namespace, label: str
) -> Figures:
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
    arguments += ["--yes", "--max-devices", str(given.devices), "--quiet", "--settle", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "partner_tools", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-2000:])
    return _figures(f"partner-tools, {label}", said, given)


def _baseline(
    said: dict[str, Any], tenant: str, given: argparse.Namespace, workers: int
) -> Figures:
    """Plain clients that each obey their own Retry-After, on a part of the fleet."""
    devices = iter(_devices(said, tenant)[: given.baseline_devices])
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
    return _figures(f"{workers} at a time, each its own Retry-After", said, given)


def _figures(name: str, said: dict[str, Any], given: argparse.Namespace) -> Figures:
    entries = _control(said, "GET", "/log")["requests"]
    removals = [entry for entry in entries if entry["method"] == "DELETE"]
    answered = [entry for entry in removals if entry["status"] != 429]
    throttled = sum(entry["status"] == 429 for entry in entries)
    seconds = max(entry["at"] for entry in removals) - min(entry["at"] for entry in removals)
    return Figures(
        name=name,
        requests=len(entries),
        goodput=len(answered) / (given.rate * seconds),
        throttled=throttled / len(entries),
        seconds=seconds,
    )


def _show(figures: Figures) -> None:
    print(
        f"{figures.name:45} {figures.requests:6} requests {figures.seconds:7.1f} s"
        f"  goodput {figures.goodput:6.1%}  429s {figures.throttled:6.2%}",
        flush=True,
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


if __name__ == "__main__":
    main()
