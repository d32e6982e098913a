"""The handoff document: what one customer still has to do, for which device, and on what evidence.

Pure: facts of the run and of its devices go in, a JSON document by `schemas/handoff.schema.json`
comes out. Every report format renders this document and adds no fact to it.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from partner_tools import json_forms
from partner_tools.model import Customer, Device, Identity, Outcome, Reason, Registration
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.evidence import probe_from, stated
from partner_tools.outstanding.types import (
    FACTS,
    HOMES,
    STEP_ORDER,
    Decision,
    DeviceFacts,
    EvidenceSource,
    Flag,
    Found,
    JoinType,
    Owner,
    Plane,
    PlaneStatus,
    Status,
    Step,
    StepId,
)
from partner_tools.report.guide import SCRIPT_MINUTES, SCRIPT_SECONDS, chapter_of, command

Json = dict[str, Any]
"""A part of a handoff by its schema, as `json.loads` would give it."""
Document = Json
"""A whole handoff."""

OPEN = (Status.OUTSTANDING, Status.NOT_VERIFIED, Status.EXPECTED)
"""The statuses of a step that is not known to be done."""

HOLD_RULE = "hold-list"
"""The rule by which a plan refuses what the partner's hold list names."""

_FOR_EVERY_DEVICE = (StepId.RESET_DEVICE,)
_WHERE_IT_LEAVES = (
    StepId.CHECK_FIRMWARE_LOCKS,
    StepId.OFFBOARD_FROM_DEFENDER,
    StepId.REMOVE_FROM_AUTOPATCH,
)
"""Further leftovers, which are not checked for devices that only go to repair."""
_COMES_BACK = frozenset({Reason.REPAIR, Reason.REPLACEMENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A handoff's facts about the run that it follows."""

    id: str
    channel: str
    batch_id: str
    reason: Reason
    started_at: datetime
    finished_at: datetime | None = None
    ledger_digest: str | None = None
    by_hand: bool = False
    """Of an assessment: a person of the partner removes the registrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupFacts:
    """A handoff's facts about the customer's own run that updated it."""

    run: RunFacts
    outcomes: Mapping[Outcome, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """The sender of a handoff. `contact` is any way for the reader to reach them."""

    tenant_id: str | None = None
    name: str | None = None
    contact: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoffDevice:
    """One device as its run left it. `evidence` is what the ledger holds of `observed` events.

    `removed_at` is when the channel said that it is gone, of `removed` and of `absent` alike: what
    was observed before that proves nothing of Windows Autopilot any more. `registered` is what the
    channel listed, for manufacturer and model where the batch has none.
    """

    device: Device
    outcome: Outcome
    rule: str | None = None
    detail: str | None = None
    remedy: str | None = None
    removed_at: datetime | None = None
    looked_before: int | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    evidence: Sequence[Mapping[str, Any]] = ()
    flags: frozenset[Flag] = frozenset()
    registered: Registration | None = None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Leave out the cyclic garbage collector; also a decorator.

    A document has no cycles. While it grows, the collector would walk all of it again and again:
    with 100,000 devices that took two thirds of the time, and with 10,000 half of it.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@collector_paused()
def build_handoff(
    run: RunFacts,
    customer: Customer | None,
    partner: Partner,
    devices: Iterable[HandoffDevice],
    now: datetime,
    *,
    version: str,
    cleanup: CleanupFacts | None = None,
    due_on: date | None = None,
) -> Document:
    """One customer's handoff. Devices keep their order; times are UTC with `Z`.

    `version` is that of this program, `cleanup` the customer's run that updated it. `customer` None
    writes a handoff without an addressee. Steps are numbered through the guide, so that a
    device's step 3 is the guide's step 3. `due_on` is the day until which the customer is asked.
    """
    written = []
    for one in devices:
        facts = facts_of(one, run, now)
        written.append(_device(one, decide(facts), stated(facts)))
    numbers = _numbered(written, run.reason)
    guide = _guide(written, numbers, str(run.channel))
    return {
        "schemaVersion": "1",
        "generatedAt": utc(now),
        "generator": {"name": "partner-tools", "version": version},
        "customer": customer_json(customer),
        "partner": {
            "tenantId": partner.tenant_id,
            "name": partner.name,
            "contact": partner.contact,
        },
        "run": {**run_json(run), "reason": run.reason.value},
        **({} if cleanup is None else {"cleanup": _cleanup(cleanup)}),
        "start": _start(guide),
        "dueOn": due_on.isoformat() if due_on else None,
        "summary": _summary(written),
        "devices": written,
        "guide": guide,
    }


def facts_of(one: HandoffDevice, run: RunFacts, now: datetime) -> DeviceFacts:
    """Collect the facts for the decision on one device."""
    held = {Flag.HELD} if one.rule == HOLD_RULE else set()
    return DeviceFacts(
        outcome=one.outcome,
        reason=run.reason,
        at=now,
        serial_number=one.device.identity.serial_number,
        removed_at=one.removed_at,
        looked_before=one.looked_before,
        probes=tuple(probe_from(seen) for seen in one.evidence),
        flags=one.flags | held,
    )


def _numbered(devices: Iterable[Json], reason: Reason) -> dict[StepId, int]:
    """Number the guide's steps from 1 in the order in which they are followed, devices' too."""
    listed = {StepId(step["id"]) for step in _steps(devices)} | set(_FOR_EVERY_DEVICE)
    if reason is not Reason.REPAIR:
        listed.update(_WHERE_IT_LEAVES)
    if reason in _COMES_BACK:
        listed.add(StepId.REGISTER_AGAIN)
    in_order = sorted(listed, key=STEP_ORDER.__getitem__)
    numbers = {step: number for number, step in enumerate(in_order, start=1)}
    for step in _steps(devices):
        step["order"] = numbers[step["id"]]
    return numbers


def _steps(devices: Iterable[Json]) -> Iterator[Json]:
    return (step for device in devices for step in device["steps"])


def customer_json(customer: Customer | None) -> Json:
    """The addressee of a handoff or the former owner of a certificate's devices."""
    if customer is None:
        return dict.fromkeys(("tenantId", "domain", "name"))
    return json_forms.json_form(customer, whole=True)


def run_json(run: RunFacts) -> Json:
    """The run that a document follows."""
    return {
        "id": run.id,
        "channel": run.channel,
        "batchId": run.batch_id,
        "startedAt": utc(run.started_at),
        "finishedAt": utc(run.finished_at) if run.finished_at else None,
        "ledgerDigest": run.ledger_digest,
        **({"byHand": True} if run.by_hand else {}),
    }


def _cleanup(cleanup: CleanupFacts) -> Json:
    run = run_json(cleanup.run)
    return {
        **{name: run[name] for name in ("id", "startedAt", "finishedAt", "ledgerDigest")},
        "outcomes": {outcome.value: number for outcome, number in cleanup.outcomes.items()},
    }


# --- the summary --------------------------------------------------------------------------------


def _summary(devices: Sequence[Json]) -> Json:
    steps = Counter(step["status"] for step in _steps(devices))
    shown = (*OPEN, Status.REPORTED)
    return {
        "devices": len(devices),
        "outcomes": dict(Counter(device["outcome"] for device in devices)),
        "steps": {status.value: steps[status] for status in shown},
        "planes": _planes(devices),
        "owners": _owners(devices),
        "evidence": _evidence([device["planes"] for device in devices]),
    }


def _planes(devices: Iterable[Json]) -> dict[str, dict[str, int]]:
    """Devices by status, per plane that any of them has."""
    counts: dict[str, Counter[str]] = {plane.value: Counter() for plane in Plane}
    for device in devices:
        for plane, standing in device["planes"].items():
            counts[plane][standing["status"]] += 1
    return {plane: dict(counted) for plane, counted in counts.items() if counted}


def _owners(devices: Iterable[Json]) -> dict[str, dict[str, int]]:
    """Per owner, how many devices wait for it and how many steps that makes."""
    waiting: Counter[str] = Counter()
    steps: Counter[str] = Counter()
    for device in devices:
        owners = [step["owner"] for step in device["steps"] if step["status"] in OPEN]
        waiting.update(set(owners))
        steps.update(owners)
    return {
        owner.value: {"devices": waiting[owner], "steps": steps[owner]}
        for owner in Owner
        if waiting[owner]
    }


_LOOKED_AT = (Plane.AUTOPILOT, Plane.DEVICE_ASSOCIATION, Plane.INTUNE, Plane.ENTRA)


def _evidence(devices: Iterable[Json]) -> Json:
    """How much of the customer's tenant was looked at, by the planes of each device."""
    idle = Status.NOT_APPLICABLE
    open_ones = [one for one in devices if any(it["status"] != idle for it in one.values())]
    seen = [
        planes
        for planes in open_ones
        if any(
            it.get("source") == EvidenceSource.GRAPH and "error" not in it for it in planes.values()
        )
    ]
    whole = [
        planes
        for planes in seen
        if all(planes[plane]["status"] != Status.NOT_VERIFIED for plane in _LOOKED_AT)
    ]
    failures = Counter(
        plane for planes in open_ones for plane, it in planes.items() if "error" in it
    )
    graph = "complete" if len(whole) == len(open_ones) else "partial"
    return {
        "graph": graph if seen else "none",
        "verifiedDevices": len(whole),
        "failed": {plane.value: failures[plane] for plane in Plane if failures[plane]},
    }


# --- the devices --------------------------------------------------------------------------------


def _device(one: HandoffDevice, decision: Decision, flags: frozenset[Flag]) -> Json:
    identity, removed = one.device.identity, one.outcome is Outcome.REMOVED
    written: Json = {
        "row": one.device.row,
        "serialNumber": identity.serial_number,
        "name": _name(one.device, decision),
        "user": _seen(decision, (Plane.INTUNE, _USER), (Plane.AUTOPILOT, _USER)),
        "manufacturer": _made(one, decision, "manufacturer"),
        "model": _made(one, decision, "model"),
        "productKeyId": identity.product_key_id,
        "reference": one.device.reference,
        "outcome": one.outcome.value,
        "detail": one.detail,
        "remedy": one.remedy,
        # Of our own removal; what was gone already was never removed by us.
        "removedAt": utc(one.removed_at) if one.removed_at and removed else None,
        "requestId": one.request_id,
        "correlationId": one.correlation_id,
        "joinType": decision.join_type.value,
        "planes": {plane.value: _plane(standing) for plane, standing in decision.planes.items()},
        "steps": [_step(step, decision, identity) for step in decision.steps],
    }
    if observed := flags & set(FACTS.values()):
        written["observed"] = sorted(flag.value for flag in observed)
    if one.device.replacement:
        written["replacement"] = {
            "serialNumber": one.device.replacement.serial_number,
            "productKeyId": one.device.replacement.product_key_id,
        }
    if one.device.extra:
        written["extra"] = [{"name": name, "value": value} for name, value in one.device.extra]
    return written


DEVICE_NAME = "Device name"
"""How intake calls a column of the batch that names the devices."""
_USER = "userPrincipalName"


def _name(device: Device, decision: Decision) -> str | None:
    """Return the customer's name for the device: from a service, else from the batch."""
    known = _seen(decision, (Plane.INTUNE, "deviceName"), (Plane.ENTRA, "displayName"))
    listed = next((value for name, value in device.extra if name == DEVICE_NAME), None)
    return known or listed or _seen(decision, (Plane.AUTOPILOT, "displayName"))


def _made(one: HandoffDevice, decision: Decision, name: str) -> str | None:
    """Manufacturer or model: of the batch, else as a service has it."""
    given = getattr(one.device.identity, name) or getattr(one.registered, name, None)
    return given or _seen(decision, (Plane.AUTOPILOT, name), (Plane.INTUNE, name))


def _seen(decision: Decision, *places: tuple[Plane, str]) -> str | None:
    """The first of these attributes that the one object of its plane has."""
    for plane, name in places:
        found = decision.planes[plane].found
        value = found[0].attributes.get(name) if len(found) == 1 else None
        if isinstance(value, str) and value.strip():
            return value
    return None


def _plane(standing: PlaneStatus) -> Json:
    """A plane without what is not known of it."""
    objects = [_found(one) for one in standing.found]
    return json_forms.stated(
        status=standing.status.value,
        observedAt=utc(standing.observed_at) if standing.observed_at else None,
        source=standing.source.value if standing.source else None,
        note=standing.note,
        error=standing.error,
        requestId=standing.request_id,
        lastStatus=standing.last_status.value if standing.last_status else None,
        lastObservedAt=utc(standing.last_observed_at) if standing.last_observed_at else None,
        **(objects[0] if len(objects) == 1 else {"objects": objects or None}),
    )


def _found(found: Found) -> Json:
    details = {name: value for name, value in found.attributes.items() if _plain(value)}
    return {"ids": dict(found.ids), "details": details}


def _plain(value: object) -> bool:
    """Whether it has a canonical spelling (RFC 8785) and says something."""
    if isinstance(value, int):
        return abs(value) <= _LARGEST_INTEGER
    return isinstance(value, str | float) and value != ""


_LARGEST_INTEGER = 2**53 - 1


def _step(step: Step, decision: Decision, identity: Identity) -> Json:
    """A step without its final number: the guide gives it one."""
    ambiguous = any(one.id is StepId.RESOLVE_AMBIGUITY for one in decision.steps)
    return {
        "id": step.id.value,
        "plane": step.plane.value,
        "status": step.status.value,
        "owner": step.owner.value,
        "order": 0,
        "after": [one.value for one in step.after],
        "why": step.why,
        "command": None
        if ambiguous
        else command(
            step.id,
            own_id=_only_id(decision, HOMES[step.id][0], "id"),
            device_id=_device_id(decision),
            serial=identity.serial_number,
            hybrid=decision.join_type is JoinType.HYBRID_JOINED,
        ),
    }


def _only_id(decision: Decision, plane: Plane, name: str) -> str | None:
    """An id of the one object of a plane; None where there are several, or none is known."""
    standing = decision.planes.get(plane)
    found = standing.found if standing else ()
    return found[0].ids.get(name) if len(found) == 1 else None


def _device_id(decision: Decision) -> str | None:
    """The id that the directory knows the device by, from whichever plane has it."""
    named = (
        (Plane.ENTRA, "deviceId"),
        (Plane.INTUNE, "azureADDeviceId"),
        (Plane.AUTOPILOT, "azureActiveDirectoryDeviceId"),
    )
    known = (_only_id(decision, plane, name) for plane, name in named)
    return next((one for one in known if one), None)


# --- the guide ----------------------------------------------------------------------------------


def _start(guide: Sequence[Json]) -> Json | None:
    """Where the customer begins: the first step of theirs that concerns more than a few devices.

    Exceptions come before it in the guide. `minutes` is the effort of all of their steps.
    """
    theirs = [one for one in guide if one["open"] and one["owner"] != Owner.PARTNER]
    if not theirs:
        return None
    few = max(one["open"] for one in theirs) // 10
    first = next(one for one in theirs if one["open"] > few)
    script = [one["minutes"]["byScript"] for one in theirs]
    rest = sum(one["minutes"]["byHand"] for one in theirs if one["minutes"]["byScript"] is None)
    return {
        "step": first["id"],
        "order": first["order"],
        "owner": first["owner"],
        "tools": first["tools"],
        "minutes": {
            "byHand": sum(one["minutes"]["byHand"] for one in theirs),
            "byScript": rest + max(filter(None, script)) if any(script) else None,
        },
    }


def _guide(devices: Iterable[Json], numbers: Mapping[StepId, int], channel: str) -> list[Json]:
    owners: dict[str, str] = {}
    statuses: dict[str, Counter[str]] = {step.value: Counter() for step in numbers}
    for step in _steps(devices):
        owners.setdefault(step["id"], step["owner"])
        statuses[step["id"]][step["status"]] += 1
    return [
        _chapter(step, number, statuses[step], owners.get(step), channel)
        for step, number in numbers.items()
    ]


def _chapter(
    id_: StepId, number: int, statuses: Mapping[str, int], owner: str | None, channel: str
) -> Json:
    """How a step is done, and by how many. `owner` is the first device's, None without any."""
    chapter = chapter_of(id_, owner, channel)
    plane, usual_owner = HOMES[id_]
    waiting = sum(statuses.get(status, 0) for status in OPEN)
    return {
        "id": id_.value,
        "title": chapter.title,
        "plane": plane.value,
        "owner": owner or usual_owner.value,
        "order": number,
        "about": chapter.about,
        "caution": chapter.caution,
        "portal": list(chapter.portal),
        "powershell": chapter.recipe.guide,
        "devices": sum(statuses.values()),
        "open": waiting,
        "statuses": dict(statuses),
        "tools": [*chapter.tools, "by-hand"],
        "minutes": {
            "byHand": chapter.minutes * waiting,
            "byScript": SCRIPT_MINUTES + SCRIPT_SECONDS * waiting // 60
            if "script" in chapter.tools and waiting
            else None,
        },
        "source": str(chapter.source),
        "sourceUrl": chapter.source.url,
        **(
            {"otherSource": str(chapter.otherwise), "otherSourceUrl": chapter.otherwise.url}
            if chapter.otherwise
            else {}
        ),
    }


def utc(moment: datetime) -> str:
    """A moment as every document writes it: UTC, to the second, with `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
