"""Plans a batch for OEM Direct. Pure: this channel has no listing, so the rows are all there is.

A device goes by product key id, or by serial number, maker and model; a hardware hash is never
sent, but says all of these of its machine. What is incomplete or contradicts itself stays here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from partner_tools.clients.oem_body import kinds
from partner_tools.clients.oem_profile import IdentityKind, Profile
from partner_tools.errors import InputError
from partner_tools.model import (
    Customer,
    Device,
    Identity,
    Outcome,
    PlannedCustomer,
    PlannedDevice,
    TenantId,
)
from partner_tools.plan import Draft, held_back, is_held

Derive = Callable[[str], Identity]
"""What a hardware hash says of its machine, without the hash; InputError where it is none."""

_NAMES = {
    "serial_number": "serial number",
    "manufacturer": "maker",
    "model": "model",
    "product_key_id": "product key id",
}


def draft(
    devices: Sequence[Device],
    profile: Profile,
    *,
    default_customer: str | None = None,
    held: Collection[str] = (),
) -> Draft:
    """Plan every device of a batch, in its order. Nothing is asked of the service.

    The devices are `completed`. `held` are serials and product key ids that may never be removed.
    A customer is only noted: it receives the handoff, and is never sent.
    """
    planned = [
        _plan_one(position, device, profile, default_customer, held)
        for position, device in enumerate(devices)
    ]
    settled = _without_duplicates(planned, profile)
    return Draft(
        devices=settled,
        customers=_customers(settled),
        notes=_notes(profile, settled),
    )


def completed(device: Device, derive: Derive) -> Device:
    """The device with what its hardware hash adds to its identity, and where the two disagree.

    A hash that cannot be read adds nothing. The ledger keeps no hash, so this comes before it.
    """
    identity = device.identity
    if not identity.hardware_hash:
        return device
    try:
        said = derive(identity.hardware_hash)
    except InputError:
        return device
    added = {
        name: value
        for name in _NAMES
        if (value := getattr(said, name)) and not getattr(identity, name)
    }
    return replace(
        device,
        identity=replace(identity, **added),
        derived=(*device.derived, *(_NAMES[name] for name in added)),
        contradictions=_contradictions(identity, said),
    )


def _contradictions(given: Identity, said: Identity) -> tuple[str, ...]:
    pairs = ((label, getattr(given, name), getattr(said, name)) for name, label in _NAMES.items())
    return tuple(
        f"{label}: the row says {row!r}, its hardware hash says {hashed!r}"
        for label, row, hashed in pairs
        if row and hashed and row.strip() != hashed.strip()
    )


def _plan_one(
    position: int,
    device: Device,
    profile: Profile,
    default_customer: str | None,
    held: Collection[str],
) -> PlannedDevice:
    customer = device.customer or default_customer
    blank = PlannedDevice(
        index=position,
        device=device,
        customer=TenantId(customer) if customer else None,
        outcome=Outcome.PENDING,
    )
    if is_held(blank, held):
        return held_back(blank)
    refusal = _objection(device, profile)
    return replace(blank, detail=_how(device, profile)) if refusal is None else refusal(blank)


def _objection(device: Device, profile: Profile) -> Callable[[PlannedDevice], PlannedDevice] | None:
    """Why this device stays here, as the change that says so; None where it may go."""
    identity = device.identity
    if device.contradictions:
        return _refusal(
            "contradiction",
            "; ".join(device.contradictions),
            "correct the row, or leave out the column that is not certain",
            Outcome.AMBIGUOUS,
        )
    if not kinds(profile, identity):
        return _refusal("incomplete", _incomplete(identity, profile), _completing(profile))
    if odd := _unsendable(identity):
        return _refusal(
            "unsendable",
            f"the {odd} holds a character that no request can carry",
            "correct the row; look for line breaks and control characters",
        )
    return None


def _refusal(
    rule: str, detail: str, remedy: str, outcome: Outcome = Outcome.REFUSED
) -> Callable[[PlannedDevice], PlannedDevice]:
    return lambda blank: replace(blank, outcome=outcome, rule=rule, detail=detail, remedy=remedy)


def _incomplete(identity: Identity, profile: Profile) -> str:
    missing = [
        label
        for name, label in _NAMES.items()
        if name != "product_key_id" and not getattr(identity, name)
    ]
    lacks = {
        IdentityKind.PKID: "a product key id",
        IdentityKind.TUPLE: f"the {' and the '.join(missing)}",
    }
    said = " and ".join(lacks[kind] for kind in profile.identity_order)
    return f"the row lacks {said}, and its hardware hash, if any, does not say them"


def _completing(profile: Profile) -> str:
    ways = {
        IdentityKind.PKID: "the product key id (on the box)",
        IdentityKind.TUPLE: "serial number, maker and model exactly as the firmware has them",
    }
    return f"add {', or '.join(ways[kind] for kind in profile.identity_order)}"


def _unsendable(identity: Identity) -> str | None:
    """Which text no XML or JSON body can carry as it is."""
    for name, label in _NAMES.items():
        if _UNSENDABLE.search(getattr(identity, name) or ""):
            return label
    return None


_UNSENDABLE = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff\\ufffe\\uffff]")


def _how(device: Device, profile: Profile) -> str | None:
    """What a reviewer has to know of a device that goes."""
    if not device.derived:
        return None
    used = " and ".join(_KIND_NAMES[kind] for kind in kinds(profile, device.identity))
    return f"goes by {used}; from its hardware hash: {', '.join(device.derived)}"


_KIND_NAMES = {
    IdentityKind.PKID: "product key id",
    IdentityKind.TUPLE: "serial number, maker and model",
}


def _without_duplicates(
    planned: Iterable[PlannedDevice], profile: Profile
) -> tuple[PlannedDevice, ...]:
    """A further row with the product key id or the tuple of an earlier one is a duplicate.

    Rows that share the tuple and have different product key ids are different: a board was
    replaced, and each of its ids may have a registration.
    """
    by_key: dict[str, PlannedDevice] = {}
    by_tuple: dict[tuple[str, ...], list[PlannedDevice]] = {}
    result = []
    for each in planned:
        earlier = _earlier(each, by_key, by_tuple)
        result.append(each if earlier is None else _duplicate(each, earlier))
        if earlier is None and each.outcome is Outcome.PENDING:
            identity = each.device.identity
            if identity.product_key_id:
                by_key[identity.product_key_id] = each
            if named := _tuple(identity):
                by_tuple.setdefault(named, []).append(each)
    return tuple(result)


def _earlier(
    each: PlannedDevice,
    by_key: dict[str, PlannedDevice],
    by_tuple: dict[tuple[str, ...], list[PlannedDevice]],
) -> PlannedDevice | None:
    if each.outcome is not Outcome.PENDING:
        return None
    key = each.device.identity.product_key_id
    if key and key in by_key:
        return by_key[key]
    for earlier in by_tuple.get(_tuple(each.device.identity) or (), ()):
        other = earlier.device.identity.product_key_id
        if not key or not other:
            return earlier
    return None


def _tuple(identity: Identity) -> tuple[str, ...] | None:
    parts = (identity.serial_number, identity.manufacturer, identity.model)
    return tuple(part for part in parts if part) if all(parts) else None


def _duplicate(each: PlannedDevice, earlier: PlannedDevice) -> PlannedDevice:
    return replace(
        each,
        outcome=Outcome.DUPLICATE,
        rule="named-before",
        detail=f"the same device stands in row {earlier.device.row}",
        remedy="nothing to do: that row's outcome counts",
    )


def _customers(planned: Iterable[PlannedDevice]) -> tuple[PlannedCustomer, ...]:
    """Whom the removals concern, as far as the batch says. Their estates cannot be seen here."""
    removals: dict[TenantId, int] = {}
    for each in planned:
        if each.customer is not None:
            going = each.outcome is Outcome.PENDING
            removals[each.customer] = removals.get(each.customer, 0) + going
    return tuple(
        PlannedCustomer(
            customer=Customer(tenant_id=tenant, domain=str(tenant) if "." in tenant else None),
            estate=0,
            removals=count,
        )
        for tenant, count in removals.items()
    )


def _notes(profile: Profile, planned: Iterable[PlannedDevice]) -> tuple[str, ...]:
    notes = []
    if not profile.profile_confirmed:
        notes.append(
            f"wire profile {profile.label}: the API's contract is not public, and nobody has "
            "confirmed this profile against the whitepaper (oem.profile_confirmed)"
        )
    derived = sum(each.outcome is Outcome.PENDING and bool(each.device.derived) for each in planned)
    if derived:
        named = "1 device is" if derived == 1 else f"{derived} devices are"
        notes.append(f"{named} named by what the hardware hash says; no hash is sent")
    notes.append(
        "this channel has no listing: what is registered, and to whom, cannot be seen beforehand"
    )
    return tuple(notes)
