"""Removes simulated devices from a service that lies, by several machines whose clocks differ.

`python -m tests.simulation.evidence --devices 1000000 --seed 1` ends with 0 where nothing was
removed that no list named for removal, and nothing is called clear that is still registered.

What is real: the client and its parsers, the channel, planning, the engine's attempts, doubts and
looks, the fold of events, and the decision that handoffs and exit codes rest on. What is made up:
the service, the clocks, and a ledger that is a list of events in the order in which they came.

The service answers each request truly, or with one of `LIES`. Two answers in a row to the same
question never omit the same device without contradicting themselves: of that no client can know.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from partner_tools.cancellation import CancellationToken
from partner_tools.channels.partner_center import PartnerCenterChannel
from partner_tools.clients.partner_center import PartnerCenter
from partner_tools.clients.transport import Reply, Request, Transport
from partner_tools.engine.execute import ExecutionContext, execute
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.engine.verification import Baseline, verify
from partner_tools.errors import PartnerToolsError, Unanswered
from partner_tools.events import Event, History, Kind, advance
from partner_tools.ledger import RunDevice
from partner_tools.model import (
    GONE,
    Device,
    Identity,
    Outcome,
    PlannedDevice,
    Reason,
    RunId,
)
from partner_tools.outstanding.types import Plane, Status
from partner_tools.pacing import Policy
from partner_tools.runs.observation import decision

RUN = RunId("20260417-101530-4f2a9c")
BASE = "https://service.example"
START = datetime(2026, 4, 17, tzinfo=UTC)
SKEW_SECONDS = 600.0
LIES = (
    "count above the rows",
    "rows without a count of theirs",
    "page cut off",
    "answer to another request",
    "list of another customer",
    "property twice",
    "error in place of a list",
    "404 of the customer",
    "answer lost",
    "stale list",
    "estate vanished",
)


@dataclass(slots=True)
class Tenant:
    """One customer of the service: its devices by batch and id, as they are in truth."""

    tenant_id: str
    batches: dict[str, dict[str, dict[str, Any]]]
    before: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    lagging: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """What a replica shows that has not heard of the newest changes; empty where none lags."""

    def copy(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The batches as they are now."""
        return {name: dict(devices) for name, devices in self.batches.items()}


class Service(Transport):
    """Answers as Partner Center does, or lies. `lies` counts them; `deleted` is every DELETE."""

    def __init__(self, chance: random.Random, tenants: Sequence[Tenant], rate: float) -> None:
        self.base_url = BASE
        self.chance = chance
        self.tenants = {each.tenant_id: each for each in tenants}
        self.rate = rate
        self.lies: Counter[str] = Counter()
        self.deleted: list[tuple[str, str, str, dict[str, Any] | None]] = []
        self.vanished: set[str] = set()
        self.links = chance.random() < 0.5
        """Whether answers say where they are from: in a real capture `links` is empty."""
        self._stale: set[str] = set()
        self._last: Reply | None = None

    def send(self, request: Request) -> Reply:
        """Answer one request."""
        parts = [unquote(part) for part in request.url.split("/")[3:]]
        tenant, more = self.tenants[parts[0]], parts[1:]
        lie = self._lie(request, tenant)
        if lie == "answer to another request" and self._last is not None:
            return self._last
        reply = self._answer(request, tenant, more, lie)
        self._last = reply
        if lie == "answer lost":
            raise Unanswered("the answer was lost")
        return reply

    def _lie(self, request: Request, tenant: Tenant) -> str | None:
        if tenant.tenant_id in self.vanished and request.method == "GET":
            return "estate vanished"
        if self.chance.random() >= self.rate:
            self._stale.discard(request.url)
            return None
        lie = self.chance.choice((*LIES, *["stale list"] * 4))
        if lie == "stale list" and (request.url in self._stale or request.method != "GET"):
            return None  # what follows a stale list of the same is a true one
        if lie == "estate vanished" and not (tenant.before and request.method == "GET"):
            return None
        self._stale.discard(request.url)
        self.lies[lie] += 1
        if lie == "stale list":
            self._stale.add(request.url)
        if lie == "estate vanished":
            self.vanished.add(tenant.tenant_id)
        return lie

    def _answer(
        self, request: Request, tenant: Tenant, more: Sequence[str], lie: str | None
    ) -> Reply:
        if lie == "404 of the customer":
            return _reply(request, 404, {"code": 60003, "description": "Tenant not found"})
        if request.method == "DELETE":
            return self._delete(request, tenant, more[1], more[3])
        if not more:
            return _reply(request, 200, {"id": tenant.tenant_id})
        batches = tenant.lagging if lie == "stale list" and tenant.lagging else tenant.batches
        if lie == "estate vanished":
            batches = {}
        if len(more) == 1:
            items = [
                {"id": name, "devicesCount": len(devices), "links": _self(tenant.tenant_id, name)}
                for name, devices in batches.items()
            ]
            return self._list(request, items, lie, _self(tenant.tenant_id, ""))
        if more[1] not in batches:
            return _reply(request, 404, {"code": 1000, "description": "Not found"})
        items = list(batches[more[1]].values())
        return self._list(request, items, lie, _self(tenant.tenant_id, more[1]))

    def _list(
        self, request: Request, items: list[dict[str, Any]], lie: str | None, links: dict[str, Any]
    ) -> Reply:
        start = int(request.headers.get("MS-ContinuationToken", "0"))
        page = items[start : start + 50]
        content: dict[str, Any] = {"totalCount": len(page), "items": page}
        if start + 50 < len(items):
            content["continuationToken"] = str(start + 50)
        match lie:
            case "count above the rows":
                content |= {"items": page[: len(page) // 2], "totalCount": max(1, len(page))}
            case "rows without a count of theirs":
                content["totalCount"] = len(page) + 3
            case "page cut off":
                content["totalCount"] = len(items) + 1
                content.pop("continuationToken", None)
            case "list of another customer":
                other = self.chance.choice(sorted(self.tenants))
                if other not in request.url:
                    content |= {"items": [], "totalCount": 0, "links": _self(other, "B0")}
            case "error in place of a list":
                return _reply(request, 500, {"code": 800003})
        content["links"] = content.get("links", links) if self.links or lie == LIES[4] else {}
        body = json.dumps(content)
        if lie == "property twice":
            body = body[:-1] + ', "items": []}'
        return _reply(request, 200, body)

    def _delete(self, request: Request, tenant: Tenant, batch: str, device_id: str) -> Reply:
        if not tenant.before:
            tenant.before = tenant.lagging = tenant.copy()
        gone = tenant.batches.get(batch, {}).pop(device_id, None)
        self.deleted.append((tenant.tenant_id, batch, device_id, gone))
        if gone is None:
            return _reply(request, 404, {"code": 1000, "description": "Not found"})
        return _reply(request, 204, "")


def _self(tenant_id: str, batch: str) -> dict[str, Any]:
    below = f"/deviceBatches/{batch}/devices" if batch else ""
    return {"self": {"uri": f"/customers/{tenant_id}{below}"}}


def _reply(request: Request, status: int, content: Any) -> Reply:
    text = content if isinstance(content, str) else json.dumps(content)
    ids = {"MS-RequestId": request.headers["MS-RequestId"]}
    return Reply(status=status, headers=ids, body=text.encode())


class Pace:
    """No limit: nothing here is slow."""

    def acquire(self, _stop: object) -> bool:
        return True

    def succeeded(self) -> None: ...

    def throttled(self, _retry_after: float | None) -> None: ...

    def withdrawn(self) -> None: ...


class Stop(CancellationToken):
    """Waits in simulated time."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def clock(self) -> float:
        return self.seconds

    def wait_for(self, event: threading.Event, timeout: float | None = None) -> bool:
        self.seconds += timeout or 0.0
        return event.is_set()


class Machine:
    """A machine with a clock of its own, on a ledger that all share."""

    def __init__(self, service: Service, events: list[Event], skew: timedelta) -> None:
        self._skew = skew
        self._ids = service.chance
        self.stop = Stop()
        client = PartnerCenter(service, ids=self.new_id, correlation_id="c")
        executor = RequestExecutor(
            pace=Pace(),
            policy=Policy(),
            stop=self.stop,
            clock=lambda: self.stop.seconds,
            jitter=service.chance.random,
            renew=lambda: None,
        )
        self.channel = PartnerCenterChannel(
            client=client, executor=executor, now=self.now, concurrency=1
        )
        self.context = ExecutionContext(
            run=RUN,
            channel=self.channel,
            executor=executor,
            gate=lambda _: {},  # which has tests of its own
            record=events.extend,
            settled=lambda _index, _history: None,
            now=self.now,
            new_id=self.new_id,
            concurrency=1,
        )

    def now(self) -> datetime:
        return START + self._skew + timedelta(seconds=self.stop.seconds)

    def new_id(self) -> str:
        return f"{self._ids.getrandbits(128):032x}"


@dataclass(slots=True)
class Score:
    """What came of it."""

    devices: int = 0
    named: int = 0
    removed: int = 0
    clear: int = 0
    unproven: int = 0
    wrong: list[str] = field(default_factory=list)
    false_clear: list[str] = field(default_factory=list)
    lies: Counter[str] = field(default_factory=Counter)


def simulate(devices: int, seed: int, tell: Callable[[str], None] = lambda _line: None) -> Score:
    """Run customer after customer until so many devices were registered."""
    score, chance, told = Score(), random.Random(seed), time.monotonic()  # noqa: S311 - a simulation
    while score.devices < devices:
        _one_customer(score, chance)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            tell(f"{score.devices} devices, {sum(score.lies.values())} lies")
    return score


def _estate(chance: random.Random, number: int) -> Tenant:
    """A customer with twins: one serial number, two models."""
    batches: dict[str, dict[str, dict[str, Any]]] = {}
    for position in range(chance.randint(20, 160)):
        models = ("M1", "M2") if chance.random() < 0.15 else ("M1",)
        for model in models:
            batch = batches.setdefault(f"B{chance.randint(0, 3)}", {})
            device_id = f"{chance.getrandbits(64):016x}"
            batch[device_id] = {
                "id": device_id,
                "serialNumber": f"S{number}-{position}",
                "modelName": model,
                "oemManufacturerName": "Fabrikam",
            }
    tenant_id = f"{number:08x}-0000-4000-8000-{chance.getrandbits(48):012x}"
    return Tenant(tenant_id=tenant_id, batches=batches)


def _one_customer(score: Score, chance: random.Random) -> None:
    tenants = [_estate(chance, chance.getrandbits(32)) for _ in range(2)]
    own = tenants[0]
    service = Service(chance, tenants, rate=chance.choice((0.0, 0.05, 0.15, 0.3)))
    registered = [each for batch in own.batches.values() for each in batch.values()]
    estate = len(registered)
    score.devices += sum(len(batch) for each in tenants for batch in each.batches.values())
    named = chance.sample(registered, k=max(1, len(registered) // chance.randint(2, 12)))
    rows = tuple(
        Device(
            row=row,
            identity=Identity(
                serial_number=each["serialNumber"],
                model=each["modelName"] if chance.random() < 0.3 else None,
            ),
        )
        for row, each in enumerate(named, start=2)
    )
    score.named += len(rows)
    events: list[Event] = []
    skews = [timedelta(seconds=chance.uniform(-SKEW_SECONDS, SKEW_SECONDS)) for _ in range(3)]
    planner, worker, auditor = (Machine(service, events, skew) for skew in skews)
    try:
        planned = planner.channel.draft(
            rows, default_customer=own.tenant_id, held=frozenset()
        ).devices
    except PartnerToolsError:
        planned = ()
    pending = [pending_of(each) for each in planned if each.outcome is Outcome.PENDING]
    others = {each.index: frozenset(each.candidates) for each in planned}
    for machine in (worker, worker):  # the second time as `resume` does
        _correct(chance, own, [each for each in pending if each.history.in_doubt])
        try:
            pending = list(execute(machine.context, pending))
        except PartnerToolsError:
            pending = _as_recorded(planned, events)
    _register_again(chance, own, named)
    for machine in (worker, auditor):
        gone = [each for each in _as_recorded(planned, events) if each.history.outcome in GONE]
        ours = sum(each.history.outcome is Outcome.REMOVED or each.history.silent for each in gone)
        baseline = Baseline(remaining={own.tenant_id: estate - ours}, others=others)
        try:
            look = machine.channel.sightings
            verify(machine.context, look, gone, wait_seconds=0.0, baseline=baseline)
        except PartnerToolsError:
            continue
    score.lies += service.lies
    _judge(score, own, service, planned, _as_recorded(planned, events))


def pending_of(each: PlannedDevice) -> RunDevice:
    history = History()
    resolved = {"outcome": each.outcome.value, "customer": each.customer}
    event = Event(run=RUN, kind=Kind.RESOLVED, at=START, device=each.index, payload=resolved)
    return RunDevice(
        run=RUN,
        index=each.index,
        device=each.device,
        target=each.target,
        history=advance(history, event),
        found=each.found,
    )


def _as_recorded(planned: Sequence[PlannedDevice], events: Sequence[Event]) -> list[RunDevice]:
    """The devices as the shared ledger has them: folded in its order."""
    known = {each.index: pending_of(each) for each in planned if each.outcome is Outcome.PENDING}
    for event in events:
        if event.device is not None:
            each = known[event.device]
            known[event.device] = replace(each, history=advance(each.history, event))
    return list(known.values())


def _correct(chance: random.Random, own: Tenant, doubtful: Sequence[RunDevice]) -> None:
    """Another device is registered under the id of some that are in doubt."""
    for each in doubtful:
        there = own.batches.get(each.target.batch_id if each.target else "", {})
        for device_id, registered in there.items():
            is_it = each.target is not None and device_id == each.target.device_id
            if is_it and chance.random() < 0.5:
                there[device_id] = {**registered, "serialNumber": f"other-{device_id}"}
    if own.lagging:  # a replica lags by seconds, and a process is begun anew after more
        own.lagging = own.copy()


def _register_again(chance: random.Random, own: Tenant, named: Sequence[dict[str, Any]]) -> None:
    """Somebody registers a few of them anew, under another id and spelled otherwise."""
    own.lagging = own.copy()
    there = {each["id"] for batch in own.batches.values() for each in batch.values()}
    for each in named:
        if each["id"] not in there and chance.random() < 0.2:
            device_id = f"{chance.getrandbits(64):016x}"
            again = {**each, "id": device_id, "modelName": "M1 (again)"}
            again["serialNumber"] = chance.choice((str.lower, str.upper, "\u200b{} ".format))(
                each["serialNumber"]
            )
            batch = chance.choice([*own.batches, "again"])
            own.batches.setdefault(batch, {})[device_id] = again


def _judge(
    score: Score,
    own: Tenant,
    service: Service,
    planned: Sequence[PlannedDevice],
    devices: Sequence[RunDevice],
) -> None:
    rows = {
        (each.target.batch_id, each.target.device_id): each.device.identity
        for each in planned
        if each.target is not None and each.outcome is Outcome.PENDING
    }
    twins = Counter(
        each["serialNumber"] for batch in own.before.values() for each in batch.values()
    )
    for tenant_id, batch, device_id, gone in service.deleted:
        if gone is None:
            continue
        score.removed += 1
        row = rows.get((batch, device_id)) if tenant_id == own.tenant_id else None
        alone = twins[gone["serialNumber"]] == 1
        if (
            row is None
            or row.serial_number != gone["serialNumber"]
            or not (alone or row.model == gone["modelName"])
        ):
            score.wrong.append(f"{tenant_id} {batch} {device_id} {gone['serialNumber']}")
    left = {
        (each["serialNumber"].strip("\u200b ").casefold(), each["modelName"])
        for batch in own.batches.values()
        for each in batch.values()
    }
    for each in devices:
        decided = decision(each, Reason.OTHER, START).planes[Plane.AUTOPILOT].status
        if decided is not Status.CLEAR:
            score.unproven += 1
            continue
        score.clear += 1
        serial = (each.identity.serial_number or "").casefold()
        model = each.found.model if each.found else None
        if {(serial, model), (serial, "M1 (again)")} & left:
            score.false_clear.append(f"{own.tenant_id} {serial}")


def main() -> int:
    """Simulate as many devices as asked for, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    score = simulate(asked.devices, asked.seed, print)
    print(f"{score.devices} devices, {score.named} named, {score.removed} removed")
    print(f"{score.clear} clear, {score.unproven} not")
    for lie, times in sorted(score.lies.items()):
        print(f"  {times:>8} {lie}")
    print(f"wrong removals: {len(score.wrong)}", *score.wrong[:5], sep="\n  ")
    print(f"false clear: {len(score.false_clear)}", *score.false_clear[:5], sep="\n  ")
    return 1 if score.wrong or score.false_clear else 0


if __name__ == "__main__":
    sys.exit(main())
