"""Listing a customer's estate, which is how Partner Center's devices are found, against one by one.

50,000 devices in 60 batches, 100 ms a page, no limit hit: pages of many batches are in flight under
the rate limiter of the removals. The baseline is the same code with one page in flight, on some of
the batches; both are compared by devices per second.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from partner_tools.cancellation import CancellationToken
from partner_tools.channels.partner_center import PartnerCenterChannel
from partner_tools.clients.partner_center import PartnerCenter
from partner_tools.clients.transport import Transport
from partner_tools.engine.rate_limiter import AdaptiveRateLimiter
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.model import TenantId
from partner_tools.pacing import Learned, Policy, remembered
from tests.bench.figures import Figure, Goal, Part
from tests.bench.goodput_http import FixedToken

TENANT = TenantId("2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635")
CONCURRENCY = 32
UNHINDERED = Learned(per_second=1_000.0)
LATENCY = 0.1
ROUNDS = 3


def measure(*, quick: bool) -> Iterator[Part]:
    """Cold, and with a rate that an earlier run learned; both in turns with one at a time."""
    devices, batches, few, rounds = (600, 6, 1, 1) if quick else (50_000, 60, 12, ROUNDS)
    found: dict[str, list[float]] = {"one": [], "cold": [], "known": []}
    with _sandbox(devices, batches) as said:
        names = _batches(said)
        assert len(names) == batches
        for _ in range(rounds):
            found["one"].append(_listed(said, names[:few], 1, None, devices * few // batches))
            found["cold"].append(_listed(said, names, CONCURRENCY, None, devices))
            found["known"].append(_listed(said, names, CONCURRENCY, UNHINDERED, devices))
    yield Part(
        title="Resolving",
        how=f"{devices:,} devices in {batches} batches, {LATENCY:g} s a page, {CONCURRENCY} "
        f"batches at a time; one page at a time on {few} of the batches.",
        figures=[
            _figure("devices listed a second, first run", found["cold"], found["one"]),
            _figure("devices listed a second, rate remembered", found["known"], found["one"]),
        ],
    )


def _figure(what: str, values: Sequence[float], one: Sequence[float]) -> Figure:
    return Figure(
        what=what,
        unit="devices/s",
        values=values,
        baseline="one page at a time",
        against=one,
        ratios=[value / other for value, other in zip(values, one, strict=True)],
        goal=Goal(bound=8.0),
    )


def _listed(
    said: dict[str, Any],
    names: Sequence[str],
    concurrency: int,
    known: Learned | None,
    devices: int,
) -> float:
    """Devices per second of listing these batches."""
    with _channel(said, concurrency, known) as channel:
        began = time.perf_counter()
        listed = channel.list_batches(TENANT, names)
        seconds = time.perf_counter() - began
    assert len({each.target for each in listed}) == devices, len(listed)
    return devices / seconds


def _batches(said: dict[str, Any]) -> list[str]:
    with _channel(said, 1, None) as channel:
        return [batch.batch_id for batch in channel._batches(TENANT)]


@contextmanager
def _channel(
    said: dict[str, Any], concurrency: int, known: Learned | None
) -> Iterator[PartnerCenterChannel]:
    with Transport(
        said["urls"]["partnerCenter"],
        tokens=FixedToken(said["tokens"]["app"]),
        pool_size=CONCURRENCY,
    ) as transport:
        client = PartnerCenter(
            transport, ids=lambda: "bench", correlation_id="bench", now=lambda: datetime.now(UTC)
        )
        executor = RequestExecutor(
            pace=AdaptiveRateLimiter(remembered(known, time.monotonic())),
            policy=Policy(),
            stop=CancellationToken(),
            clock=time.monotonic,
            jitter=random.random,
            renew=lambda: None,
        )
        yield PartnerCenterChannel(
            client=client, executor=executor, now=lambda: datetime.now(UTC), concurrency=concurrency
        )


@contextmanager
def _sandbox(devices: int, batches: int) -> Iterator[dict[str, Any]]:
    customer = {
        "tenantId": TENANT,
        "domain": "fleet.example",
        "fleets": [{"count": devices, "batches": batches}],
    }
    partner = {"domain": "partner.example"}
    seed = {"schemaVersion": "1", "partner": partner, "customers": [customer]}
    faults = {"schemaVersion": "1", "latency": [{"seconds": LATENCY}]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seed.json").write_text(json.dumps(seed), encoding="utf-8")
        (folder / "faults.json").write_text(json.dumps(faults), encoding="utf-8")
        command = [sys.executable, "-m", "partner_tools", "sandbox"]
        command += ["--seed", str(folder / "seed.json"), "--faults", str(folder / "faults.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                yield json.loads(server.stdout.readline())
            finally:
                server.terminate()
