"""What looking for many devices in a tenant costs: requests, time, and against one by one.

    python -m tests.bench.graph_probing [--devices 10000] [--estate 10000]

`--estate` is how many devices the tenant holds; where it is much larger than what is looked for,
asking in batches takes the place of reading lists.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from partner_tools.clients.graph import Graph
from partner_tools.clients.secret import Secret
from partner_tools.clients.transport import Transport
from partner_tools.engine.allowance import Allowance
from partner_tools.engine.line import Line
from partner_tools.events import Event, History, State
from partner_tools.ledger import RunDevice
from partner_tools.model import Device, Identity, Outcome, RunId, TenantId
from partner_tools.outstanding.search import ALLOWED, BATCH, Collection
from partner_tools.pacing import Policy
from partner_tools.procedure.observation import Lookout, observe
from partner_tools.procedure.tenant import LIMIT
from partner_tools.sandbox import Sandbox, seed_from

DOMAIN = "fleet.onmicrosoft.com"
TENANT = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"
PLANES = 3


class Fixed:
    """A token that is never renewed."""

    def __init__(self, token: str) -> None:
        self._token = Secret(token)

    def token(self) -> str:
        return self._token.reveal()

    def renew(self, stale: str) -> None:
        raise AssertionError("the sandbox's token lasts a day")


def seed(estate: int) -> dict[str, Any]:
    """A tenant in which every second device is enrolled."""
    serials = [f"SN{number:07}" for number in range(estate)]
    machines = [
        {"serialNumber": serial, "join": "entra-joined", "managedDevice": {}, "recoveryKeys": 1}
        for serial in serials[::2]
    ]
    devices = [{"serialNumber": serial} for serial in serials]
    return {
        "schemaVersion": "1",
        "partner": {"domain": "partner.example"},
        "customers": [
            {
                "tenantId": TENANT,
                "domain": DOMAIN,
                "batches": [{"id": "all", "devices": devices}],
                "graph": {"machines": machines},
            }
        ],
    }


def settled(index: int) -> RunDevice:
    """A device as a run left it."""
    identity = Identity(serial_number=f"SN{index:07}")
    return RunDevice(
        run=RunId("bench"),
        index=index,
        device=Device(row=index + 1, identity=identity),
        history=History(state=State.SETTLED, outcome=Outcome.NOT_FOUND, customer=TenantId(TENANT)),
    )


def measure(devices: int, estate: int) -> dict[str, Any]:
    """Look for the devices once; what it cost."""
    recorded: list[Event] = []
    with (
        Sandbox(seed_from(seed(estate))) as sandbox,
        Transport(
            sandbox.urls["graph"], tokens=Fixed(sandbox.tokens[f"graphRead:{DOMAIN}"])
        ) as transport,
    ):
        client = Graph(transport, ids=lambda: "bench")
        line = Line(
            pace=Allowance(LIMIT),
            policy=Policy(),
            stop=threading.Event(),
            clock=time.monotonic,
            jitter=random.random,
            renew=lambda: None,
        )
        lookout = Lookout(
            client=client,
            line=line,
            record=lambda events: recorded.extend(events),
            now=lambda: datetime.now(UTC),
        )
        # The first request has the sandbox make the tenant, which is not what is measured.
        client.page(Collection.AUTOPILOT)
        before = len(sandbox.log.entries)
        began = time.perf_counter()
        outlook = observe(lookout, [settled(index) for index in range(devices)])
        seconds = time.perf_counter() - began
        asked = [one for one in sandbox.log.entries[before:] if one.service == "graph"]
    assert not outlook.failures, outlook.failures
    return _summary(devices, estate, seconds, asked, recorded)


def _summary(
    devices: int, estate: int, seconds: float, asked: list[Any], recorded: list[Event]
) -> dict[str, Any]:
    outer = [one for one in asked if not one.inner]
    planes = Counter(one.path.rpartition("/")[2] for one in outer)
    one_by_one = devices * PLANES
    return {
        "devices": devices,
        "estate": estate,
        "seconds": round(seconds, 2),
        "requests": len(outer),
        "throttled": sum(one.status == 429 for one in asked),
        "byAddress": dict(planes),
        "oneByOne": one_by_one,
        "ratio": round(len(outer) / one_by_one, 5),
        "allowed": round(ALLOWED * one_by_one / BATCH),
        "evidence": len(recorded),
        "results": dict(
            Counter(f"{one.payload['plane']} {one.payload['status']}" for one in recorded)
        ),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--estate", type=int, default=10_000)
    given = parser.parse_args()
    print(json.dumps(measure(given.devices, given.estate), indent=2))


if __name__ == "__main__":
    main()
