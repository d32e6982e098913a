"""What looking for many devices in a tenant costs: requests, time, and against one by one.

One by one is one request for each device and each collection that it was looked for in. Where the
tenant holds many more devices than are looked for, asking in batches takes the place of reading
lists; `search.approach` bounds what each collection may cost.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from partner_tools.cancellation import CancellationToken
from partner_tools.clients.graph import Graph, GraphPage
from partner_tools.clients.transport import Secret, Transport
from partner_tools.engine.rate_limiter import FixedRateLimiter
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.errors import ServiceError
from partner_tools.events import Event, History, State
from partner_tools.ledger import RunDevice
from partner_tools.model import Device, Identity, Outcome, RunId, TenantId
from partner_tools.outstanding.search import ALLOWED, BATCH, Collection, Question
from partner_tools.pacing import Policy
from partner_tools.runs.observation import observe
from partner_tools.runs.tenant import LIMIT, TenantReader
from partner_tools.sandbox import Sandbox, seed_from
from tests.bench.figures import Figure, Goal, Part, Table

DOMAIN = "fleet.onmicrosoft.com"
TENANT = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"


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


class Counted:
    """A tenant that can be read, and how many requests each collection took."""

    def __init__(self, client: Graph) -> None:
        self._client = client
        self.requests: Counter[Collection] = Counter()

    def page(self, collection: Collection, link: str | None = None) -> GraphPage:
        self.requests[collection] += 1
        return self._client.page(collection, link)

    def batch(self, questions: Sequence[Question]) -> Sequence[GraphPage | ServiceError]:
        self.requests[questions[0].collection] += 1
        return self._client.batch(questions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look cost. `answers` are of one device in one collection each."""

    devices: int
    estate: int
    seconds: float
    requests: Counter[Collection]
    answers: int


def looked(devices: int, estate: int) -> Look:
    """Look for the devices once."""
    recorded: list[Event] = []
    with (
        Sandbox(seed_from(seed(estate))) as sandbox,
        Transport(
            sandbox.urls["graph"], tokens=Fixed(sandbox.tokens[f"graphRead:{DOMAIN}"])
        ) as transport,
    ):
        client = Graph(transport, ids=lambda: "bench")
        executor = RequestExecutor(
            pace=FixedRateLimiter(LIMIT),
            policy=Policy(),
            stop=CancellationToken(),
            clock=time.monotonic,
            jitter=random.random,
            renew=lambda: None,
        )
        counted = Counted(client)
        lookout = TenantReader(
            client=counted, executor=executor, record=recorded.extend, now=lambda: datetime.now(UTC)
        )
        # The first request has the sandbox make the tenant, which is not what is measured.
        client.page(Collection.AUTOPILOT)
        began = time.perf_counter()
        outlook = observe(lookout, [settled(index) for index in range(devices)])
        seconds = time.perf_counter() - began
        refused = sum(entry.status == 429 for entry in sandbox.log.entries)
    assert not outlook.failures, outlook.failures
    assert not refused, refused
    return Look(
        devices=devices,
        estate=estate,
        seconds=seconds,
        requests=counted.requests,
        answers=len(recorded),
    )


def measure(*, quick: bool) -> Iterator[Part]:
    """As many devices as the tenant holds, and a few of many."""
    sizes = [(40, 40)] if quick else [(10_000, 10_000), (500, 20_000)]
    looks = [looked(devices, estate) for devices, estate in sizes]
    yield Part(
        title="Checking a tenant",
        how="Every collection with records of devices, over HTTP to a sandbox in the same process, "
        f"at most {LIMIT.requests:,} requests or questions in {LIMIT.seconds:.0f} s. In batches of "
        f"{BATCH}, a collection may take {ALLOWED:g} times the requests that one question per "
        "device needs.",
        figures=[figure for look in looks for figure in _figures(look)],
        tables=[_by_collection(looks)],
    )


def _figures(look: Look) -> Iterator[Figure]:
    where = _where(look)
    yield Figure(
        what=f"requests for {where}",
        unit="requests",
        values=[look.requests.total()],
        baseline="one by one",
        against=[look.answers],
        goal=Goal(bound=ALLOWED / BATCH, at_most=True),
    )
    yield Figure(
        what=f"requests of the costliest collection for {where}",
        unit="requests",
        values=[max(look.requests.values())],
        baseline="one by one",
        against=[look.devices],
        goal=Goal(bound=ALLOWED / BATCH, at_most=True),
    )
    yield Figure(what=f"seconds for {where}", unit="s", values=[look.seconds])


def _by_collection(looks: Sequence[Look]) -> Table:
    return Table(
        title="Requests by collection",
        heads=("collection", *map(_where, looks)),
        rows=[
            (each.value, *(str(look.requests[each]) for look in looks))
            for each in Collection
            if any(look.requests[each] for look in looks)
        ],
    )


def _where(look: Look) -> str:
    return f"{look.devices:,} devices in an estate of {look.estate:,}"
