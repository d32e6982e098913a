"""What looking for many devices in a tenant costs: requests, time, and against one by one.

Where the tenant holds many more devices than are looked for, asking in batches takes the place of
reading lists.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
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
from tests.bench.figures import Figure, Goal, Part

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


def looked(devices: int, estate: int) -> dict[str, Any]:
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


def measure(*, quick: bool) -> Iterator[Part]:
    """As many devices as the tenant holds, and a few of many."""
    sizes = [(40, 40)] if quick else [(10_000, 10_000), (500, 20_000)]
    yield Part(
        title="Looking into a tenant",
        how="Three planes, over HTTP to a sandbox in the same process.",
        figures=[
            figure for devices, estate in sizes for figure in _figures(looked(devices, estate))
        ],
    )


def _figures(found: dict[str, Any]) -> Iterator[Figure]:
    where = f"{found['devices']:,} devices in an estate of {found['estate']:,}"
    yield Figure(
        what=f"requests for {where}",
        unit="requests",
        values=[found["requests"]],
        baseline="one by one",
        against=[found["oneByOne"]],
        goal=Goal(bound=ALLOWED / BATCH, at_most=True),
    )
    yield Figure(what=f"seconds for {where}", unit="s", values=[found["seconds"]])
