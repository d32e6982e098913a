"""The OEM Direct request on the wire: its document, and its body for each device."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from partner_tools import strict_json as foreign
from partner_tools.clients.oem.profile import BlankStyle, IdentityKind, Profile, TenantScope
from partner_tools.clients.transport import JSON_VALUES_LIMIT
from partner_tools.model import Identity

MAX_DEPTH = foreign.DEPTH
XSI = "http://www.w3.org/2001/XMLSchema-instance"
_XML_NAMESPACES = frozenset({"http://www.w3.org/XML/1998/namespace", XSI})


class DocumentError(ValueError):
    """The text is not the JSON or XML that it should be."""


@dataclass(slots=True, kw_only=True)
class Element:
    """One XML element, names without namespace. `text` is its own, not its children's."""

    name: str
    attributes: tuple[tuple[str, str], ...] = ()
    children: list[Element] = field(default_factory=list)
    text: str = ""

    @property
    def is_nil(self) -> bool:
        """Whether it says of itself that it has no value."""
        return self.attributes == ((f"{XSI} nil", "true"),)

    @property
    def is_empty(self) -> bool:
        """Whether it has no content at all."""
        return not self.text and not self.children and (not self.attributes or self.is_nil)


def read_json(body: bytes) -> Any:
    """The value of a JSON text. Raises DocumentError where `foreign.read_json` refuses it."""
    try:
        return foreign.read_json(body, values=JSON_VALUES_LIMIT)
    except foreign.InvalidTextError as error:
        raise DocumentError(str(error)) from error


def read_xml(body: bytes) -> Element:
    """The root element of an XML text. Raises DocumentError for anything else, and for any DTD."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.say
    parser.StartDoctypeDeclHandler = _no_doctype
    parser.ProcessingInstructionHandler = _no_instruction
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise DocumentError(_reason(error)) from error
    return builder.root


def plain(element: Element) -> Any:
    """Convert to what JSON would give: a text, or a mapping; repeated names become a list."""
    named = [
        (name.rpartition(" ")[2], value) for name, value in element.attributes if not _xsi(name)
    ]
    named += [(child.name, plain(child)) for child in element.children]
    if not named:
        return None if element.is_nil else element.text.strip()
    return {name: _one_or_many(values) for name, values in _grouped(named).items()}


def leaves(value: Any) -> Iterator[tuple[str, Any]]:
    """Every property of a JSON value at any depth, with its value; items of lists count too."""
    waiting: list[Any] = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Mapping):
            yield from found.items()
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def elements(root: Element) -> Iterator[Element]:
    """The element and all below it."""
    waiting = [root]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(found.children)


def write_json(value: Any) -> bytes:
    """Compact UTF-8 JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def write_xml(root: Element, namespace: str) -> bytes:
    """UTF-8 XML with a declaration; every element is in `namespace`, if there is one."""
    head = f" xmlns={quoteattr(namespace)}" if namespace else ""
    if any(element.is_nil for element in elements(root)):
        head += f' xmlns:xsi="{XSI}"'
    return f'<?xml version="1.0" encoding="utf-8"?>{_markup(root, head)}'.encode()


class _Builder:
    """Puts an element tree together from a parser's events."""

    def __init__(self) -> None:
        self._open: list[Element] = []
        self._count = 0
        self.root = Element(name="")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise DocumentError("it is nested too deep")
        self._count += 1 + len(attributes)
        if self._count > JSON_VALUES_LIMIT:
            raise DocumentError(f"it has more than {JSON_VALUES_LIMIT:,} values")
        element = Element(name=name.rpartition(" ")[2], attributes=tuple(attributes.items()))
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _name: str) -> None:
        element = self._open.pop()
        if element.children and not element.text.strip():
            element.text = ""

    def say(self, text: str) -> None:
        self._open[-1].text += text


def _markup(element: Element, head: str = "") -> str:
    nil = ' xsi:nil="true"' if element.is_nil else ""
    inner = escape(element.text) + "".join(map(_markup, element.children))
    return f"<{element.name}{head}{nil}>{inner}</{element.name}>"


def _xsi(name: str) -> bool:
    return name.rpartition(" ")[0] in _XML_NAMESPACES


def _grouped(named: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = {}
    for name, value in named:
        groups.setdefault(name, []).append(value)
    return groups


def _one_or_many(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _no_doctype(*_facts: object) -> None:
    raise DocumentError("it holds a document type declaration, which is never read")


def _no_instruction(*_facts: object) -> None:
    raise DocumentError("it holds a processing instruction, which is never read")


def _reason(error: Exception) -> str:
    return "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)


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
