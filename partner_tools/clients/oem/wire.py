"""The OEM Direct request on the wire: JSON and XML documents, and the body of a call."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from partner_tools import strict_json
from partner_tools.clients.oem.profile import BlankStyle, IdentityKind, Profile, TenantScope
from partner_tools.clients.transport import JSON_VALUES_LIMIT
from partner_tools.model import Identity
from partner_tools.strict_json import InvalidTextError

MAX_DEPTH = strict_json.DEPTH
XSI = "http://www.w3.org/2001/XMLSchema-instance"
_XML_NAMESPACES = frozenset({"http://www.w3.org/XML/1998/namespace", XSI})


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
    """The value of a JSON text. Raises InvalidTextError."""
    return strict_json.read_json(body, values=JSON_VALUES_LIMIT)


def read_xml(body: bytes) -> Element:
    """The root element of an XML text. Raises InvalidTextError for all else, and for any DTD."""
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.say
    parser.StartDoctypeDeclHandler = partial(_refuse, "a document type declaration")
    parser.ProcessingInstructionHandler = partial(_refuse, "a processing instruction")
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise InvalidTextError(reason) from error
    return builder.root


def _refuse(what: str, *_facts: object) -> None:
    raise InvalidTextError(f"it holds {what}, which is never read")


def plain(element: Element) -> Any:
    """Convert to what JSON would give: a text, or a mapping; repeated names become a list."""
    named: dict[str, list[Any]] = {}
    for name, value in element.attributes:
        namespace, _, own = name.rpartition(" ")
        if namespace not in _XML_NAMESPACES:
            named.setdefault(own, []).append(value)
    for child in element.children:
        named.setdefault(child.name, []).append(plain(child))
    if not named:
        return None if element.is_nil else element.text.strip()
    return {name: values[0] if len(values) == 1 else values for name, values in named.items()}


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
            raise InvalidTextError("it is nested too deep")
        self._count += 1 + len(attributes)
        if self._count > JSON_VALUES_LIMIT:
            raise InvalidTextError(f"it has more than {JSON_VALUES_LIMIT:,} values")
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
        items = [Element(name=profile.xml.device, children=_elements(each)) for each in devices]
        if profile.body.devices_key:
            items = [Element(name=profile.body.devices_key, children=items)]
        root = Element(name=profile.xml.root, children=[*_elements(envelope), *items])
        return write_xml(root, profile.xml.namespace)
    listed = [dict(device) for device in devices]
    if not profile.body.devices_key:
        return write_json(listed)
    return write_json({**dict(envelope), profile.body.devices_key: listed})


def _device(profile: Profile, entry: Entry) -> Pairs:
    found: Pairs = [(profile.fields.item_ref, entry.ref)] if profile.fields.item_ref else []
    fields, identity = profile.fields, entry.identity
    for kind in kinds(profile, identity):
        if kind is IdentityKind.PKID:
            found.append((fields.pkid, identity.product_key_id or ""))
        else:
            found.append((fields.serial, identity.serial_number or ""))
            found.append((fields.manufacturer, identity.manufacturer or ""))
            found.append((fields.model, identity.model or ""))
    if profile.body.tenant_scope is not TenantScope.BATCH:
        found += _blanks(profile)
    return found


def _blanks(profile: Profile) -> Pairs:
    if profile.body.blank_style is BlankStyle.OMIT:
        return []
    blank = "" if profile.body.blank_style is BlankStyle.EMPTY else None
    return [(name, blank) for name in profile.body.tenant_fields]


def _elements(pairs: Pairs) -> list[Element]:
    return [
        Element(name=name, attributes=((f"{XSI} nil", "true"),))
        if value is None
        else Element(name=name, text=as_written(value))
        for name, value in pairs
    ]


def as_written(value: object) -> str:
    """A scalar as XML spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
