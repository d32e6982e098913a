"""What will be done with each device of a batch, and why nothing will with the others.

Pure: the batch and everything Partner Center shows of its customers go in, a plan comes out.
A serial is compared exactly after trimming both sides, never by substring and never by name; what
matches more than once is ambiguous and never guessed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from partner_tools.model import (
    Device,
    Estate,
    Identity,
    Outcome,
    PlannedCustomer,
    PlannedDevice,
    Registration,
    Target,
    TenantId,
)

NOTED = 20
"""So many rows a note names; the plan has them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One customer's registrations by what a user can name. Keys are trimmed, otherwise exact."""

    estate: Estate
    by_target: Mapping[Target, Registration]
    by_serial: Mapping[str, tuple[Registration, ...]]
    by_product_key: Mapping[str, tuple[Registration, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a channel makes of a batch: every device planned, and what a reviewer has to know.

    `kit` are the registrations to be removed with their hardware hashes, for the restore kit.
    """

    devices: tuple[PlannedDevice, ...]
    customers: tuple[PlannedCustomer, ...] = ()
    notes: tuple[str, ...] = ()
    kit: tuple[Registration, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """A customer of a batch for whom nothing can be done, and why; the others are served.

    `customer` is None where not even its tenant could be found out.
    """

    rule: str
    detail: str
    remedy: str
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
    `held` are serials and product key ids that may never be removed. `unserved` maps a customer as
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
    return _without_duplicates(planned)


def customers_of(
    planned: Iterable[PlannedDevice], estates: Iterable[Estate]
) -> tuple[PlannedCustomer, ...]:
    """How much of each estate the plan takes, in the order of the estates."""
    removals = Counter(device.customer for device in planned if device.outcome is Outcome.PENDING)
    return tuple(
        PlannedCustomer(
            customer=estate.customer,
            estate=len(estate.registrations),
            removals=removals[estate.customer.tenant_id],
        )
        for estate in estates
    )


def counts(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """How often each outcome occurs, in the order of the enumeration, without those that don't."""
    tally = Counter(outcomes)
    return {outcome.value: tally[outcome] for outcome in Outcome if tally[outcome]}


def match(identity: Identity, known: Index) -> tuple[Registration, ...]:
    """Every registration that the serial names, or the product key id where there is no serial."""
    if identity.serial_number:
        return known.by_serial.get(identity.serial_number.strip(), ())
    if identity.product_key_id:
        return known.by_product_key.get(identity.product_key_id.strip(), ())
    return ()


def contradictions(identity: Identity, found: Registration) -> tuple[str, ...]:
    """What the row says of a device and the registration denies.

    A field that the service left out contradicts nothing: it omits what it does not hold.
    """
    pairs = (
        ("serial number", identity.serial_number, found.serial_number),
        ("maker", identity.manufacturer, found.manufacturer),
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
        tenant: {_spelling(found.target): found for found in known.estate.registrations}
        for tenant, known in now.items()
    }
    reasons = {
        each.index: _changed(each, now[each.customer], spelled[each.customer])
        for each in devices
        if each.customer is not None
    }
    return {position: why for position, why in reasons.items() if why is not None}


def _changed(planned: PlannedDevice, now: Index, spelled: Mapping[str, Registration]) -> str | None:
    """Why a device of a plan is not what the plan says, or None where it is.

    A registration that is simply gone has not changed: its removal will be answered with `absent`.
    One whose id is listed in another spelling is not gone.
    """
    if planned.target is None or planned.found is None:
        return None
    same_place = now.by_target.get(planned.target)
    if same_place:
        return _difference(planned, same_place)
    elsewhere = match(planned.device.identity, now)
    respelled = spelled.get(_spelling(planned.target))
    other = elsewhere[0] if elsewhere else respelled
    return f"it is registered under another id now: {_places([other.target])}" if other else None


def _spelling(target: Target) -> str:
    """What is left of an id in every form in which .NET reads a GUID
    (https://learn.microsoft.com/dotnet/api/system.guid.parse, read 2026-11)."""
    return "".join(filter(str.isalnum, target.device_id)).casefold()


def is_held(planned: PlannedDevice, held: Collection[str]) -> bool:
    """Whether the hold list names the device: as the batch names it, or as it is registered.

    `held` are trimmed serials and product key ids.
    """
    identity, found = planned.device.identity, planned.found
    names = [identity.serial_number, identity.product_key_id]
    if found is not None:
        names += [found.serial_number, found.product_key_id]
    return any(name.strip() in held for name in names if name)


def held_back(planned: PlannedDevice) -> PlannedDevice:
    """The device refused, because the hold list names it."""
    return _settled(
        planned,
        Outcome.REFUSED,
        rule="hold-list",
        detail="the hold list names this device",
        remedy="take it off the hold list if it may be removed",
    )


def _difference(planned: PlannedDevice, now: Registration) -> str | None:
    before = planned.found
    if before is not None and before.serial_number != now.serial_number:
        return (
            f"its serial number was {before.serial_number!r} in the plan "
            f"and is {now.serial_number!r} now"
        )
    if not is_named(planned.device.identity, now):
        return "what is registered there now is not what the row names"
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
        return _settled(
            replace(blank, customer=why.customer),
            Outcome.REFUSED,
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
    agreeing = tuple(found for found in matched if not contradictions(identity, found))
    if len(agreeing) == 1:
        other = _under_its_product_key(identity, agreeing[0], known)
        return _removable(blank, agreeing[0]) if other is None else _two_devices(blank, other)
    candidates = tuple(found.target for found in agreeing or matched)
    if agreeing:
        return _settled(
            replace(blank, candidates=candidates),
            Outcome.AMBIGUOUS,
            rule="several-registrations",
            detail=f"{len(agreeing)} registrations match: {_places(candidates)}",
            remedy="add maker, model or product key id to the row, so that only one agrees, "
            "or remove the device in Partner Center by hand",
        )
    return _settled(
        replace(blank, candidates=candidates),
        Outcome.AMBIGUOUS,
        rule="contradiction",
        detail="; ".join(contradictions(identity, matched[0])),
        remedy="correct the row, or leave out the column that is not certain",
    )


def _under_its_product_key(
    identity: Identity, found: Registration, known: Index
) -> Registration | None:
    """A registration that the row's product key id names and its serial denies.

    None where the one that was found shows a product key id itself: it was compared.
    """
    key = (identity.product_key_id or "").strip()
    if found.product_key_id:
        return None
    named = known.by_product_key.get(key, ())
    return next((each for each in named if contradictions(identity, each)), None)


def _two_devices(blank: PlannedDevice, other: Registration) -> PlannedDevice:
    return _settled(
        replace(blank, candidates=(other.target,)),
        Outcome.AMBIGUOUS,
        rule="contradiction",
        detail=f"Partner Center shows the row's product key id {other.product_key_id!r} at another "
        f"device: {'; '.join(contradictions(blank.device.identity, other))}",
        remedy="correct the row, or leave out the column that is not certain",
    )


def _not_found(blank: PlannedDevice, known: Index) -> PlannedDevice:
    return _settled(
        blank,
        Outcome.NOT_FOUND,
        rule="not-listed",
        detail=_not_found_detail(blank.device.identity, known),
        remedy="check the spelling; a device that the customer or another partner registered "
        "is not shown to you, and the customer removes it in Intune",
    )


def _not_found_detail(identity: Identity, known: Index) -> str:
    if not identity.serial_number and not identity.product_key_id:
        return "the row gives a hardware hash only, by which Partner Center cannot be searched"
    wanted = (identity.serial_number or "").strip()
    similar = known.by_serial.get(wanted.upper()) or known.by_serial.get(wanted.lower())
    if similar and wanted:
        return (
            f"Partner Center shows no such device for this customer, "
            f"but one whose serial number differs in letter case: {similar[0].serial_number!r}"
        )
    return "Partner Center shows no such device for this customer"


def _removable(blank: PlannedDevice, found: Registration) -> PlannedDevice:
    planned = replace(blank, target=found.target, found=replace(found, hardware_hash=None))
    if found.allowed_operations is not None and "DELETE" not in {
        operation.upper() for operation in found.allowed_operations
    }:
        return _settled(
            planned,
            Outcome.REFUSED,
            rule="delete-not-allowed",
            detail="Partner Center does not allow DELETE for this device "
            f"(it allows {', '.join(found.allowed_operations) or 'nothing'})",
            remedy="ask who registered it, or open a Partner Center support request",
        )
    return replace(planned, detail=_trimming_note(blank.device.identity, found))


def notes_on(planned: Iterable[PlannedDevice]) -> tuple[str, ...]:
    """What a reviewer has to know of the removals: which match only after trimming."""
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
        "blanks stand around serial numbers in Partner Center, so that rows match only after "
        f"trimming: {', '.join(rows[:NOTED])}{more}",
    )


def _trimming_note(identity: Identity, found: Registration) -> str | None:
    shown, given = found.serial_number, identity.serial_number
    if shown is None or given is None or shown == given:
        return None
    return f"matches only after trimming: Partner Center shows {shown!r}"


def _without_duplicates(planned: Iterable[PlannedDevice]) -> tuple[PlannedDevice, ...]:
    first_rows: dict[tuple[object, ...], int] = {}
    result = []
    for device in planned:
        keys = _sameness(device)
        earlier = next((first_rows[key] for key in keys if key in first_rows), None)
        if earlier is None:
            first_rows.update(dict.fromkeys(keys, device.device.row))
            result.append(device)
        else:
            result.append(_duplicate(device, earlier))
    return tuple(result)


def _duplicate(device: PlannedDevice, earlier: int) -> PlannedDevice:
    return _settled(
        replace(device, target=None, found=None, candidates=()),
        Outcome.DUPLICATE,
        rule="named-before",
        detail=f"the same device stands in row {earlier}",
        remedy="nothing to do: that row's outcome counts",
    )


def _sameness(planned: PlannedDevice) -> tuple[tuple[object, ...], ...]:
    """The keys under which a further row would name the same device."""
    identity = planned.device.identity
    facts = (
        identity.serial_number,
        identity.manufacturer,
        identity.model,
        identity.product_key_id,
        identity.hardware_hash,
    )
    named = ("named", planned.customer, *facts)
    if planned.target is None:
        return (named,)
    return (named, ("target", planned.customer, planned.target))


def _places(targets: Sequence[Target]) -> str:
    shown = ", ".join(f"{target.device_id} in batch {target.batch_id!r}" for target in targets[:5])
    return shown if len(targets) <= 5 else f"{shown} and {len(targets) - 5} more"


def _settled(
    planned: PlannedDevice, outcome: Outcome, *, rule: str, detail: str, remedy: str
) -> PlannedDevice:
    return replace(planned, outcome=outcome, rule=rule, detail=detail, remedy=remedy)
