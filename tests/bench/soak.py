"""Many devices, many faults, one run: is anything lost, does memory grow, how large is the ledger?

    python -m tests.bench.soak [--devices 100000] [--faults 0.02] [--limit-seconds 3600]

`partner-tools deregister` and the sandbox are processes of their own, so that the memory measured
is the command's alone: its resident set as the operating system says it (`ps -o rss`), once a
second. Besides the devices that are listed, one in a hundred more is registered that is not, and
has to stay. Exits with 1 where anything was lost, or removed without being listed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TENANT = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
UNLISTED_EVERY = 101
FAULTS: tuple[Mapping[str, Any], ...] = (
    {"kind": "lose-answer"},
    {"kind": "reset-before"},
    {"kind": "reset-after"},
    {"kind": "truncate"},
    {"kind": "status", "status": 500, "processed": True},
    {"kind": "status", "status": 503, "body": "html"},
    {"kind": "status", "status": 429, "retryAfter": 1},
)
"""What removals meet, the first six alike often; 429 a hundred times more rarely, because each of
them stops everybody and would make this a measurement of patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The command at one moment: seconds since its start, devices settled, resident bytes."""

    at: float
    settled: int
    resident: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What became of it. `wrong` is empty where all is as it has to be."""

    devices: int
    seconds: float
    exit_code: int
    outcomes: Mapping[str, int]
    faults_met: Mapping[str, int]
    samples: Sequence[Sample]
    ledger_bytes: int
    whole: bool
    wrong: Sequence[str]


def soak(devices: int, faults: float, limit_seconds: float) -> Soaked:
    """One run, bounded in time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = _write_world(folder, devices, faults)
        with _sandbox(folder) as said:
            environment = _environment(folder, said)
            done = _deregister(folder, environment, devices, limit_seconds)
            verified = _program(environment, "ledger", "verify")
            return _judge(listed, said["controlUrl"], folder, done, whole=verified == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    exit_code: int
    seconds: float
    outcomes: Mapping[str, int]
    samples: Sequence[Sample]


def _deregister(
    folder: Path, environment: Mapping[str, str], devices: int, limit_seconds: float
) -> _Done:
    """Run the command; its lines are counted as they come, its memory is looked at meanwhile."""
    command = [
        *(sys.executable, "-m", "partner_tools", "-q", "deregister", "batch.csv"),
        *("--via", "partner-center", "--customer", TENANT, "--yes", "--output", "jsonl"),
        *("--max-devices", str(devices), "--settle", "5"),
    ]
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    samples: list[Sample] = []
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        looked = 0.0
        for line in process.stdout:
            document = json.loads(line)
            outcomes[document.get("outcome", "")] += 1
            seconds = time.monotonic() - began
            if seconds - looked >= 1.0:
                looked = seconds
                settled = outcomes.total()
                samples.append(Sample(at=seconds, settled=settled, resident=_resident(process.pid)))
            if seconds > limit_seconds:
                process.terminate()
        code = process.wait(60)
    return _Done(
        exit_code=code, seconds=time.monotonic() - began, outcomes=outcomes, samples=samples
    )


def _resident(pid: int) -> int:
    """Bytes of the process that are in memory; 0 where the system has no `ps`."""
    if os.name == "nt":
        return 0
    said = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return int(said.stdout.strip() or 0) * 1024


def _judge(listed: set[str], control: str, folder: Path, done: _Done, *, whole: bool) -> Soaked:
    left = {each["serialNumber"] for each in _ask(f"{control}/devices/{TENANT}")["devices"]}
    entries = [
        each for each in _ask(f"{control}/log")["requests"] if each["operation"] == "delete-device"
    ]
    acted = Counter(
        each["serial"]
        for each in entries
        if each["processed"] and not each["replayed"] and each["serial"] is not None
    )
    faults = Counter(each["fault"] or "none" for each in entries)
    wrong = []
    if left & listed:
        wrong.append(f"{len(left & listed)} listed devices are still registered")
    if len(left) != _unlisted(len(listed)):
        wrong.append(f"{len(left)} devices are left, and {_unlisted(len(listed))} were not listed")
    if set(acted) - listed:
        wrong.append(f"removed without being listed: {sorted(set(acted) - listed)[:5]}")
    if done.exit_code != 0:
        wrong.append(f"exit {done.exit_code}")
    if not whole:
        wrong.append("`ledger verify` found something")
    return Soaked(
        devices=len(listed),
        seconds=done.seconds,
        exit_code=done.exit_code,
        outcomes=done.outcomes,
        faults_met=faults,
        samples=done.samples,
        ledger_bytes=sum(each.stat().st_size for each in folder.glob("ledger.db*")),
        whole=whole,
        wrong=wrong,
    )


def _write_world(folder: Path, devices: int, faults: float) -> set[str]:
    """The seed, the faults and the batch; the serial numbers that are listed."""
    total = devices + _unlisted(devices)
    fleet = {"count": total, "batches": max(1, total // 5_000), "serialPrefix": "SN"}
    _write(
        folder / "seed.json",
        {
            "schemaVersion": "1",
            "partner": {"domain": "partner.example"},
            "customers": [
                {
                    "tenantId": TENANT,
                    "domain": "contoso.onmicrosoft.com",
                    "name": "Contoso",
                    "fleets": [fleet],
                }
            ],
        },
    )
    _write(folder / "faults.json", {"schemaVersion": "1", "rules": list(_rules(faults))})
    serials = [f"SN{number:07}" for number in range(1, total + 1)]
    listed = [one for place, one in enumerate(serials, start=1) if place % UNLISTED_EVERY]
    (folder / "batch.csv").write_text("\n".join(["Serial number", *listed, ""]), encoding="utf-8")
    (folder / "partner-tools.toml").touch()
    return set(listed)


def _unlisted(devices: int) -> int:
    """How many devices are registered besides so many that are listed."""
    return devices // (UNLISTED_EVERY - 1)


def _rules(share: float) -> Iterator[Mapping[str, Any]]:
    """One rule per fault. Each picks among what the rules before it left."""
    each = share / (len(FAULTS) - 1 + 0.01)
    for fault in FAULTS:
        rare = fault.get("status") == 429
        yield {
            "match": {"operation": "delete-device", "probability": each * (0.01 if rare else 1.0)},
            "fault": fault,
        }


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document), encoding="utf-8")


@contextmanager
def _sandbox(folder: Path) -> Iterator[Mapping[str, Any]]:
    command = [sys.executable, "-m", "partner_tools", "sandbox"]
    command += ["--seed", str(folder / "seed.json"), "--faults", str(folder / "faults.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said: Mapping[str, Any] = json.loads(process.stdout.readline())
            yield said
        finally:
            process.terminate()
            process.wait(30)


def _environment(folder: Path, said: Mapping[str, Any]) -> Mapping[str, str]:
    return {
        **os.environ,
        **said["environment"],
        "PARTNER_TOOLS_LEDGER": str(folder / "ledger.db"),
        "PARTNER_TOOLS_CONFIG": str(folder / "partner-tools.toml"),
    }


def _program(environment: Mapping[str, str], *arguments: str) -> int:
    command = [sys.executable, "-m", "partner_tools", *arguments]
    return subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode


def _ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=600) as answer:  # noqa: S310 - our own sandbox
        return json.load(answer)


def _at(samples: Sequence[Sample], settled: float) -> Sample:
    """The first look at which so many devices were settled, else the last."""
    return next((each for each in samples if each.settled >= settled), samples[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak, and print what there is to say of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--faults", type=float, default=0.02, help="share of removals, of 1")
    parser.add_argument("--limit-seconds", type=float, default=3_600.0)
    given = parser.parse_args(arguments)
    soaked = soak(given.devices, given.faults, given.limit_seconds)
    met = {kind: count for kind, count in soaked.faults_met.items() if kind != "none"}
    total = sum(soaked.faults_met.values())
    print(f"{soaked.devices:,} devices, {soaked.seconds:.0f} s, exit {soaked.exit_code}")
    print(f"outcomes: {dict(soaked.outcomes)}")
    print(f"removals sent: {total:,}, of them {sum(met.values()):,} met a fault: {met}")
    if soaked.samples:
        early, late = (_at(soaked.samples, soaked.devices * part) for part in (0.1, 0.9))
        peak = max(each.resident for each in soaked.samples)
        grown = late.resident - early.resident
        settled = max(1, late.settled - early.settled)
        print(
            f"resident: {early.resident / 2**20:.0f} MiB at {early.settled:,} settled, "
            f"{late.resident / 2**20:.0f} MiB at {late.settled:,}, at most {peak / 2**20:.0f} MiB; "
            f"{grown / settled:+.0f} bytes a device between them"
        )
    print(f"ledger: {soaked.ledger_bytes / soaked.devices:,.0f} bytes a device, whole")
    for one in soaked.wrong:
        print(f"WRONG: {one}")
    print("nothing lost" if not soaked.wrong else "NOT as it has to be")
    return 1 if soaked.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
