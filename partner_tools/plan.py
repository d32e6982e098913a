"""Plans a removal from what the service shows; checks, writes and reads plan files. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from partner_tools import near_serials
from partner_tools.errors import GuardError, InputError
from partner_tools.homoglyphs import folded, one_line, shown_name
from partner_tools.json_forms import digest, json_form, read_customer, stated, structure
from partner_tools.model import (
    Account,
    ChannelName,
    Device,
    Estate,
    Explanation,
    Identity,
    Outcome,
    Plan,
    PlannedCustomer,
    PlannedDevice,
    Registration,
    Target,
    TenantId,
)

SHARED_BY = 10
"""A serial number that more registrations than this have identifies no device."""

NOTED = 20
"""The most rows that a note names; the plan has them all."""


@dataclass(frozen=True, kw_only=True)  # no slots: the near serials are computed when needed
class Index:
    """One customer's registrations by what a user can name. Keys are trimmed, otherwise exact."""

    estate: Estate
    by_target: Mapping[Target, Registration]
    by_serial: Mapping[str, tuple[Registration, ...]]
    by_product_key: Mapping[str, tuple[Registration, ...]]

    @cached_property
    def near_serials(self) -> near_serials.Index:
        """The serial numbers by what a misspelt one has in common with them: for hints alone."""
        return near_serials.index(self.by_serial)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanProposal:
    """A channel's plan for a batch: every device planned, and notes for a reviewer.

    `kit` are the registrations to be removed with their hardware hashes, for the restore kit.
    """

    devices: tuple[PlannedDevice, ...]
    customers: tuple[PlannedCustomer, ...] = ()
    notes: tuple[str, ...] = ()
    kit: tuple[Registration, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved(Explanation):
    """Why nothing can be done for one customer of a batch; the others are served.

    `customer` is None if not even its tenant could be found out.
    """

    customer: TenantId | None = None


def index(estate: Estate) -> Index:
    """Index an estate that was read completely."""
    return Index(
        estate=estate,
        by_target={found.target: found for found in estate.registrations},
        by_serial=_grouped(estate.registrations, lambda found: found.serial_number),
        by_product_key=_grouped(estate.registrations, lambda found: found.product_key_id),
    )


def resolve(
    devices: Sequence[Device],
    indexes: Mapping[str, Index],
    *,
    default_customer: str | None,
    held: frozenset[str] = frozenset(),
    unserved: Mapping[str, Unserved] | None = None,
) -> tuple[PlannedDevice, ...]:
    """Plan every device of a batch, in its order.

    `indexes` maps a customer as the batch names it (casefolded) to that customer's index.
    `held` are the lines of the hold list. `unserved` maps a customer as
    named to why nothing can be done for it.
    """
    planned = [
        _resolve_one(
            position,
            device,
            named=(device.customer or default_customer or "").casefold(),
            indexes=indexes,
            unserved=unserved or {},
            held=held,
        )
        for position, device in enumerate(devices)
    ]
    return without_duplicates(planned)


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How often each outcome occurs, in the order of the enumeration, without those that don't."""
    tally = Counter(outcomes)
    return {outcome.value: tally[outcome] for outcome in Outcome if tally[outcome]}


def match(identity: Identity, known: Index) -> tuple[Registration, ...]:
    """Every registration that the serial names, or the product key id if there is no serial."""
    if identity.serial_number:
        return known.by_serial.get(identity.serial_number.strip(), ())
    if identity.product_key_id:
        return known.by_product_key.get(identity.product_key_id.strip(), ())
    return ()


def contradictions(identity: Identity, found: Registration) -> tuple[str, ...]:
    """List the properties in which the row contradicts the registration.

    A field that the service left out contradicts nothing: it omits what it does not hold.
    """
    pairs = (
        ("serial number", identity.serial_number, found.serial_number),
        ("manufacturer", identity.manufacturer, found.manufacturer),
        ("model", identity.model, found.model),
        ("product key id", identity.product_key_id, found.product_key_id),
    )
    return tuple(
        f"{name}: the batch says {given!r}, Partner Center says {shown!r}"
        for name, given, shown in pairs
        if given and shown and given.strip() != shown.strip()
    )


def is_named(identity: Identity, found: Registration) -> bool:
    """Whether this is the registration that the row names, as far as both say."""
    if contradictions(identity, found):
        return False
    if identity.serial_number:
        return found.serial_number is not None
    return bool(identity.product_key_id and found.product_key_id)


def changes(devices: Iterable[PlannedDevice], now: Mapping[TenantId, Index]) -> Mapping[int, str]:
    """Why devices of a plan are not what it says, by index; only those that are not."""
    spelled = {
        tenant: {spelling(found.target): found for found in known.estate.registrations}
        for tenant, known in now.items()
    }
    reasons = {
        each.index: _changed(each, now[each.customer], spelled[each.customer])
        for each in devices
        if each.customer is not None
    }
    return {position: why for position, why in reasons.items() if why is not None}


def _changed(planned: PlannedDevice, now: Index, spelled: Mapping[str, Registration]) -> str | None:
    """Why a device of a plan is not what the plan says, or None if it is.

    A registration that is simply gone has not changed: its removal will be answered with `absent`.
    One whose id is listed in another spelling is not gone.
    """
    if planned.target is None or planned.found is None:
        return None
    same_place = now.by_target.get(planned.target)
    if same_place:
        return difference(planned.device.identity, planned.found, same_place)
    elsewhere = match(planned.device.identity, now)
    respelled = spelled.get(spelling(planned.target))
    other = elsewhere[0] if elsewhere else respelled
    return f"it is registered under another id now: {_places([other.target])}" if other else None


def spelling(target: Target) -> str:
    """Reduce an id to the part common to all forms in which .NET reads a GUID
    (https://learn.microsoft.com/dotnet/api/system.guid.parse, read 2026-11)."""
    return "".join(filter(str.isalnum, target.device_id)).casefold()


def replaced(why: str) -> Explanation:
    """Refuse a device whose registration is not the one that was planned."""
    return Explanation(
        rule="changed-since-plan",
        detail=why,
        remedy="plan the batch again and review what changed",
    )


def is_held(planned: PlannedDevice, held: Collection[str]) -> bool:
    """Whether the hold list names the device: as the batch names it, or as it is registered."""
    found = planned.found
    return holds(held, (*planned.device.identity.names, *(found.names if found else ())))


def holds(held: Collection[str], names: Iterable[str]) -> bool:
    """Whether one of the names is on the hold list, however either is spelled.

    `held` are lines of a hold list. A line protects what it comes to without its white space, and
    each of its parts: what is kept may match too widely, never too narrowly.
    """
    if not held:
        return False
    protected = _protected(frozenset(held))
    return any(folded(name) in protected for name in names)


@lru_cache(maxsize=4)
def _protected(held: frozenset[str]) -> frozenset[str]:
    return frozenset(form for line in held for form in _forms(line))


def _forms(line: str) -> set[str]:
    return {folded(line), *map(folded, line.replace("/", " ").split())} - {""}


def count_unmatched(planned: Iterable[PlannedDevice], held: Collection[str]) -> int:
    """How many lines of the hold list name no device of a batch."""
    named = {
        folded(name)
        for each in planned
        for one in (each.device.identity, each.found)
        if one is not None
        for name in one.names
    }
    return sum(named.isdisjoint(_forms(line)) for line in held)


def held_back(planned: PlannedDevice) -> PlannedDevice:
    """The device refused, because the hold list names it."""
    return replace(
        planned,
        outcome=Outcome.REFUSED,
        rule="hold-list",
        detail="the hold list names this device",
        remedy="take it off the hold list if it may be removed",
    )


def difference(identity: Identity, before: Registration | None, now: Registration) -> str | None:
    """Why the registration is not the one that the row names and the plan found, if it is not."""
    if before is not None and before.serial_number != now.serial_number:
        return (
            f"its serial number was {before.serial_number!r} in the plan "
            f"and is {now.serial_number!r} now"
        )
    if not is_named(identity, now):
        return "the registration there is no longer the one that the row names"
    return None


def _grouped(
    registrations: Iterable[Registration], key: Callable[[Registration], str | None]
) -> dict[str, tuple[Registration, ...]]:
    groups: defaultdict[str, list[Registration]] = defaultdict(list)
    for found in registrations:
        name = key(found)
        if name and name.strip():
            groups[name.strip()].append(found)
    return {name: tuple(group) for name, group in groups.items()}


def _resolve_one(
    position: int,
    device: Device,
    *,
    named: str,
    indexes: Mapping[str, Index],
    unserved: Mapping[str, Unserved],
    held: frozenset[str],
) -> PlannedDevice:
    blank = PlannedDevice(index=position, device=device, customer=None, outcome=Outcome.PENDING)
    if named in unserved:
        why = unserved[named]
        return replace(
            blank,
            customer=why.customer,
            outcome=Outcome.REFUSED,
            rule=why.rule,
            detail=why.detail,
            remedy=why.remedy,
        )
    known = indexes[named]
    blank = replace(blank, customer=known.estate.customer.tenant_id)
    chosen = _choose(blank, match(device.identity, known), known)
    return held_back(chosen) if is_held(chosen, held) else chosen


def _choose(blank: PlannedDevice, matched: tuple[Registration, ...], known: Index) -> PlannedDevice:
    if not matched:
        return _not_found(blank, known)
    identity = blank.device.identity
    if len(matched) > SHARED_BY and not identity.product_key_id:
        return replace(
            blank,
            outcome=Outcome.REFUSED,
            rule="shared-serial",
            detail=f"{len(matched)} registrations of this customer have this serial number: it is "
            "a placeholder that many devices share",
            remedy="identify the device by its product key id",
        )
    agreeing = tuple(found for found in matched if not contradictions(identity, found))
    if len(agreeing) == 1:
        other = _under_its_product_key(identity, agreeing[0], known)
        if other is not None:
            return _two_devices(blank, other)
        # Verification must not take a device of the same serial number for this one come back.
        others = tuple(found.target for found in matched if found is not agreeing[0])
        return _removable(replace(blank, candidates=others), agreeing[0])
    candidates = tuple(found.target for found in agreeing or matched)
    if agreeing:
        return replace(
            blank,
            candidates=candidates,
            outcome=Outcome.AMBIGUOUS,
            rule="several-registrations",
            detail=f"{len(agreeing)} registrations match: {_places(candidates)}",
            remedy="add manufacturer, model or product key id to the row, so that only one agrees, "
            "or remove the device in Partner Center by hand",
        )
    detail = "; ".join(contradictions(identity, matched[0]))
    found = contradicted(blank, detail, candidates=candidates)
    alone = replace(identity, manufacturer=None, model=None)
    if len(matched) == 1 and not contradictions(alone, matched[0]):
        remedy = "correct the row, or pass --compare serial if the serial number alone counts"
        return replace(found, remedy=remedy)
    return found


def _under_its_product_key(
    identity: Identity, found: Registration, known: Index
) -> Registration | None:
    """A registration that the row's product key id names and its serial denies.

    None if the one that was found shows a product key id itself: it was compared.
    """
    key = (identity.product_key_id or "").strip()
    if found.product_key_id:
        return None
    named = known.by_product_key.get(key, ())
    return next((each for each in named if contradictions(identity, each)), None)


def _two_devices(blank: PlannedDevice, other: Registration) -> PlannedDevice:
    differing = "; ".join(contradictions(blank.device.identity, other))
    detail = (
        f"Partner Center shows the row's product key id {other.product_key_id!r} on another "
        f"device: {differing}"
    )
    return contradicted(blank, detail, candidates=(other.target,))


def _not_found(blank: PlannedDevice, known: Index) -> PlannedDevice:
    return replace(
        blank,
        outcome=Outcome.NOT_FOUND,
        rule="not-listed",
        detail=_not_found_detail(blank.device.identity, known),
        remedy="check the spelling; a device that the customer or another partner registered "
        "is not shown to you, and the customer removes it in Intune",
    )


def _not_found_detail(identity: Identity, known: Index) -> str:
    if not identity.names:
        return "the row gives only a hardware hash, and Partner Center cannot be searched by it"
    wanted = (identity.serial_number or "").strip()
    similar = near_serials.near(wanted, known.near_serials) if wanted else ()
    if similar:
        same = all(each.casefold() == wanted.casefold() for each in similar)
        what = "that differs in letter case" if same else "that is similar"
        return (
            "Partner Center shows no such device for this customer, but a serial number "
            f"{what}: {', '.join(map(repr, similar))}"
        )
    return "Partner Center shows no such device for this customer"


def _removable(blank: PlannedDevice, found: Registration) -> PlannedDevice:
    planned = replace(blank, target=found.target, found=replace(found, hardware_hash=None))
    if found.allowed_operations is not None and "DELETE" not in {
        operation.upper() for operation in found.allowed_operations
    }:
        return replace(
            planned,
            outcome=Outcome.REFUSED,
            rule="delete-not-allowed",
            detail="Partner Center does not allow DELETE for this device "
            f"(it allows {', '.join(found.allowed_operations) or 'nothing'})",
            remedy="ask who registered it, or open a Partner Center support request",
        )
    return replace(planned, detail=_trimming_note(blank.device.identity, found))


def notes_on(planned: Iterable[PlannedDevice]) -> tuple[str, ...]:
    """Write notes for a reviewer: the removals that match only after trimming."""
    rows = [
        str(each.device.row)
        for each in planned
        if each.outcome is Outcome.PENDING
        and each.found is not None
        and _trimming_note(each.device.identity, each.found)
    ]
    if not rows:
        return ()
    more = f" and {len(rows) - NOTED} more" if len(rows) > NOTED else ""
    return (
        "serial numbers in Partner Center have blanks around them, so rows match only after "
        f"trimming: {', '.join(rows[:NOTED])}{more}",
    )


def _trimming_note(identity: Identity, found: Registration) -> str | None:
    shown, given = found.serial_number, identity.serial_number
    if shown is None or given is None or shown == given:
        return None
    return f"matches only after trimming: Partner Center shows {shown!r}"


def without_duplicates(planned: Iterable[PlannedDevice]) -> tuple[PlannedDevice, ...]:
    """The devices, with each that an earlier one names already as its duplicate."""
    first_rows: dict[tuple[object, ...], int] = {}
    result = []
    for device in planned:
        keys = _sameness(device)
        earlier = next((first_rows[key] for key in keys if key in first_rows), None)
        if earlier is None:
            first_rows.update(dict.fromkeys(keys, device.device.row))
            result.append(device)
        else:
            result.append(duplicate(device, earlier))
    return tuple(result)


def duplicate(device: PlannedDevice, row: int) -> PlannedDevice:
    """The device as a repetition of the one in an earlier row."""
    return replace(
        device,
        target=None,
        found=None,
        candidates=(),
        outcome=Outcome.DUPLICATE,
        rule="named-before",
        detail=f"the same device as in row {row}",
        remedy="nothing to do: that row's outcome counts",
    )


def contradicted(device: PlannedDevice, detail: str, **more: Any) -> PlannedDevice:
    """The device as one whose row contradicts what else is known of it."""
    ambiguous = replace(
        device,
        outcome=Outcome.AMBIGUOUS,
        rule="contradiction",
        detail=detail,
        remedy="correct the row, or leave out the column that is not certain",
    )
    return replace(ambiguous, **more)


def _sameness(planned: PlannedDevice) -> tuple[tuple[object, ...], ...]:
    """The keys under which a further row would name the same device."""
    named = ("named", planned.customer, planned.device.identity)
    if planned.target is None:
        return (named,)
    return (named, ("target", planned.customer, planned.target))


def _places(targets: Sequence[Target]) -> str:
    named = ((one_line(target.device_id), target.batch_id) for target in targets[:5])
    shown = ", ".join(f"{device_id} in batch {batch_id!r}" for device_id, batch_id in named)
    return shown if len(targets) <= 5 else f"{shown} and {len(targets) - 5} more"


def disagreements(plan: Plan, said: Mapping[str, int]) -> Iterator[str]:
    """Everything in which a plan contradicts itself; `said` are the counts that it states."""
    if dict(said) != counts(each.outcome for each in plan.devices):
        yield "its counts are not those of its devices"
    yield from _about_customers(plan)
    if plan.channel is ChannelName.PARTNER_CENTER:
        yield from _about_targets(plan)


def _about_customers(plan: Plan) -> Iterator[str]:
    listed = Counter(each.customer.tenant_id for each in plan.customers)
    removals = Counter(each.customer for each in _removals(plan) if each.customer is not None)
    for tenant in listed:
        if listed[tenant] > 1:
            yield f"it lists the customer {tenant!r} more than once"
    for tenant in removals:
        if tenant not in listed:
            yield f"it removes devices of {tenant!r}, which is not among its customers"
    for each in plan.customers:
        tenant = each.customer.tenant_id
        if each.removals != removals[tenant]:
            yield f"it says {each.removals} removals for {tenant!r}, and names {removals[tenant]}"
        if plan.channel is ChannelName.PARTNER_CENTER and each.estate < removals[tenant]:
            yield f"it removes more devices of {tenant!r} than that customer has"


def _about_targets(plan: Plan) -> Iterator[str]:
    rows: dict[object, int] = {}
    for each in _removals(plan):
        row = each.device.row
        if each.customer is None or each.target is None or each.found is None:
            yield f"row {row} does not say which registration would be removed"
            continue
        if not is_named(each.device.identity, each.found):
            yield f"row {row} names another device than the one that would be removed"
        first = rows.setdefault((each.customer, each.target), row)
        if first != row:
            yield f"rows {first} and {row} remove the same registration"


def _removals(plan: Plan) -> Iterator[PlannedDevice]:
    return (each for each in plan.devices if each.outcome is Outcome.PENDING)


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON by `schemas/plan.schema.json`, with its digest.

    Hardware hashes are left out: they are the device owner's, and nothing in a plan needs them.
    """
    content = {
        "schemaVersion": "1",
        "run": plan.run,
        "channel": plan.channel.value,
        **stated(
            place=plan.place,
            createdAt=plan.created_at,
            plannedBy=plan.planner.name,
            plannedById=plan.planner.id,
        ),
        "batchId": plan.batch_id,
        "batchDigest": plan.batch_digest,
        "reason": plan.reason.value,
        "customers": [
            {**json_form(each.customer), "estate": each.estate, "removals": each.removals}
            for each in plan.customers
        ],
        "counts": counts(device.outcome for device in plan.devices),
        "notes": list(plan.notes),
        "devices": [_device(device) for device in plan.devices],
    }
    return {**content, "digest": digest(content)}


def read_plan(document: Mapping[str, Any]) -> Plan:
    """The plan of a document that its schema accepts.

    Raises GuardError if the document is not what its digest was taken of, InputError if its
    parts contradict each other.
    """
    content = {name: value for name, value in document.items() if name != "digest"}
    try:
        if digest(content) != document["digest"]:
            raise GuardError(
                f"the plan is not what was sealed: its digest should be {document['digest']}",
                rule="plan-digest",
                remedy="make a new plan; a plan must not be edited after it was reviewed",
            )
        plan = _plan(content)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the plan cannot be read: {error}", rule="plan", remedy="make a new plan"
        ) from error
    for disagreement in disagreements(plan, document["counts"]):
        raise InputError(
            f"the plan contradicts itself: {disagreement}",
            rule="plan-contradiction",
            remedy="make a new plan; a plan is not written by hand",
        )
    return plan


def _plan(content: Mapping[str, Any]) -> Plan:
    return structure(
        Plan,
        content,
        planner=Account(
            name=shown_name(content.get("plannedBy")), id=shown_name(content.get("plannedById"))
        ),
        customers=tuple(
            PlannedCustomer(
                customer=read_customer(each), estate=each["estate"], removals=each["removals"]
            )
            for each in content["customers"]
        ),
        devices=tuple(
            _read_device(position, each) for position, each in enumerate(content["devices"])
        ),
        notes=tuple(shown_name(note) or "" for note in content["notes"]),
    )


def _device(planned: PlannedDevice) -> dict[str, Any]:
    device = planned.device
    return {
        "row": device.row,
        **json_form(device.identity),
        "outcome": planned.outcome.value,
        **stated(
            customer=planned.customer,
            customerGiven=device.customer,
            reference=device.reference,
            rule=planned.rule,
            detail=planned.detail,
            remedy=planned.remedy,
            replacement=device.replacement,
            extra=dict(device.extra) or None,
            target=planned.target,
            found=planned.found,
            candidates=planned.candidates or None,
            risks=planned.risks or None,
        ),
    }


def _read_device(position: int, row: Mapping[str, Any]) -> PlannedDevice:
    target, found = row.get("target"), row.get("found")
    place = None if target is None else structure(Target, target)
    return structure(
        PlannedDevice,
        row,
        index=position,
        device=structure(Device, row, customer=row.get("customerGiven")),
        target=place,
        found=None
        if found is None or place is None
        else structure(Registration, found, target=place),
    )
