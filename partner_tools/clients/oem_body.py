"""The body of one OEM Direct call: devices named by product key id or tuple, tenant blank.

Pure. A hardware hash has no way in: nothing here reads one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from partner_tools.clients.oem_document import XSI, Element, write_json, write_xml
from partner_tools.clients.oem_profile import BlankStyle, IdentityKind, Profile, TenantScope
from partner_tools.model import Identity

Pairs = list[tuple[str, str | int | bool | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One device of a call. `ref` is ours alone, and the same whenever the device is sent again."""

    ref: str
    identity: Identity


def is_complete(identity: Identity, kind: IdentityKind) -> bool:
    """Whether the identity has everything that this kind needs."""
    if kind is IdentityKind.PKID:
        return bool(identity.product_key_id)
    return bool(identity.serial_number and identity.manufacturer and identity.model)


def kinds(profile: Profile, identity: Identity) -> tuple[IdentityKind, ...]:
    """By what this device is named: the first complete kind, or all with `send_both`."""
    complete = tuple(kind for kind in profile.identity_order if is_complete(identity, kind))
    return complete if profile.send_both else complete[:1]


def build_body(profile: Profile, entries: Sequence[Entry]) -> bytes:
    """The serialized body. Equal entries give equal bytes."""
    devices = [_device(profile, entry) for entry in entries]
    envelope: Pairs = list(profile.body.static_fields)
    if profile.body.tenant_scope is not TenantScope.DEVICE:
        envelope += _blanks(profile)
    if profile.is_xml:
        return write_xml(_xml(profile, envelope, devices), profile.xml.namespace)
    listed = [dict(device) for device in devices]
    if not profile.body.devices_key:
        return write_json(listed)
    return write_json({**dict(envelope), profile.body.devices_key: listed})


def _device(profile: Profile, entry: Entry) -> Pairs:
    found: Pairs = [(profile.fields.item_ref, entry.ref)] if profile.fields.item_ref else []
    for kind in kinds(profile, entry.identity):
        found += _named_by(profile, entry.identity, kind)
    if profile.body.tenant_scope is not TenantScope.BATCH:
        found += _blanks(profile)
    return found


def _named_by(
    profile: Profile, identity: Identity, kind: IdentityKind
) -> Iterator[tuple[str, str]]:
    fields = profile.fields
    if kind is IdentityKind.PKID:
        yield fields.pkid, identity.product_key_id or ""
        return
    yield fields.serial, identity.serial_number or ""
    yield fields.manufacturer, identity.manufacturer or ""
    yield fields.model, identity.model or ""


def _blanks(profile: Profile) -> Pairs:
    if profile.body.blank_style is BlankStyle.OMIT:
        return []
    blank = "" if profile.body.blank_style is BlankStyle.EMPTY else None
    return [(name, blank) for name in profile.body.tenant_fields]


def _xml(profile: Profile, envelope: Pairs, devices: Iterable[Pairs]) -> Element:
    listed = [Element(name=profile.xml.device, children=_leaves(device)) for device in devices]
    if profile.body.devices_key:
        listed = [Element(name=profile.body.devices_key, children=listed)]
    return Element(name=profile.xml.root, children=[*_leaves(envelope), *listed])


def _leaves(pairs: Pairs) -> list[Element]:
    return [_leaf(name, value) for name, value in pairs]


def _leaf(name: str, value: str | int | bool | None) -> Element:
    if value is None:
        return Element(name=name, attributes=((f"{XSI} nil", "true"),))
    return Element(name=name, text=as_written(value))


def as_written(value: object) -> str:
    """A scalar as XML spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
