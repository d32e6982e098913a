"""Devices per second through OEM Direct, end to end, and what share of the time is ours.

The command runs against the sandbox, both as processes of their own, over mutual TLS: start,
reading the batch, planning, the calls, the ledger, the result. What is not ours is the time from a
request's first byte to its answer's last, as the command's own log says it: the latency, and the
sandbox's work.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, Part

TENANT = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
WIRES = {
    "sync": "",
    "ack_list": '[oem.response]\nmode = "ack_list"\n[oem.poll]\nlist_path = "/acks"\n'
    'detail_path = "/acks/{id}"\ninterval_s = 0.1\nmax_interval_s = 0.2\n',
    "location": '[oem.response]\nmode = "location"\n[oem.poll]\n'
    "interval_s = 0.1\nmax_interval_s = 0.2\n",
}
MEDIA = ("json", "xml")
LATENCY = 0.1
_TOOK = re.compile(r"-> \d+ in (\d+) ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run. Times are in seconds."""

    wire: str
    media: str
    devices: int
    requests: int
    seconds: float
    waited: float


def measure(*, quick: bool) -> Iterator[Part]:
    """Each way in which a depot's service may answer, in both media types."""
    devices = 20 if quick else 10_000
    ways = [("sync", "json")] if quick else [(wire, form) for wire in WIRES for form in MEDIA]
    yield Part(
        title="OEM Direct",
        how=f"`deregister --via oem-direct` of {devices:,} devices, {LATENCY:g} s an answer.",
        figures=[_figure(removed(wire, media, devices, LATENCY)) for wire, media in ways],
    )


def _figure(figures: Figures) -> Figure:
    return Figure(
        what=f"{figures.wire}, {figures.media}: seconds, {figures.requests} requests",
        unit="s",
        values=[figures.seconds],
        baseline="waiting for the service",
        against=[figures.waited],
    )


def removed(wire: str, media: str, devices: int, latency: float) -> Figures:
    """Run the command once on so many devices."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_world(folder, wire, media, devices, latency)
        with _sandbox(folder) as said:
            (folder / "depot.pem").write_bytes(Path(said["clientCertificate"]).read_bytes())
            started = time.perf_counter()
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "partner_tools", "-v", "deregister", "batch.csv"),
                    *("--via", "oem-direct", "--yes", "--output", "json"),
                    *("--max-devices", str(devices)),
                ],
                cwd=folder,
                env={
                    **os.environ,
                    **said["environment"],
                    **_settings(folder),
                    "PARTNER_TOOLS_LEDGER": str(folder / "ledger.db"),
                },
                capture_output=True,
                text=True,
                encoding="utf-8",
                check=True,
            )
            seconds = time.perf_counter() - started
    assert json.loads(done.stdout)["counts"] == {"removed": devices}
    took = [int(ms) for ms in _TOOK.findall(done.stderr)]
    return Figures(
        wire=wire,
        media=media,
        devices=devices,
        requests=len(took),
        seconds=seconds,
        waited=sum(took) / 1000,
    )


def _write_world(folder: Path, wire: str, media: str, devices: int, latency: float) -> None:
    profile = (
        f'[oem]\nmedia_type = "application/{media}"\n[oem.auth]\nclient_cert = "depot.pem"\n'
        f"{WIRES[wire]}"
    )
    (folder / "oem.toml").write_text(profile, encoding="utf-8")
    fleet = {"count": devices, "batchName": "b", "serialPrefix": "SN"}
    seed = {
        "schemaVersion": "1",
        "partner": {"domain": "partner.example"},
        "customers": [{"tenantId": TENANT, "domain": "c.example", "fleets": [fleet]}],
    }
    (folder / "seed.json").write_text(json.dumps(seed), encoding="utf-8")
    faults = {"schemaVersion": "1", "latency": [{"seconds": latency}]}
    (folder / "faults.json").write_text(json.dumps(faults), encoding="utf-8")
    rows = (f"SN{number:07d},Contoso,Notebook 14" for number in range(1, devices + 1))
    text = "\n".join(["Serial,Manufacturer,Model", *rows, ""])
    (folder / "batch.csv").write_text(text, encoding="utf-8")


def _settings(folder: Path) -> dict[str, str]:
    return {
        "PARTNER_TOOLS_OEM_PROFILE": str(folder / "oem.toml"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }


@contextmanager
def _sandbox(folder: Path) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "partner_tools", "sandbox"]
    command += ["--seed", "seed.json", "--faults", "faults.json"]
    environment = {**os.environ, **_settings(folder)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
