"""The last look at what leaves: with a tenant on it the same operation registers a device.

The serialized body is parsed again and held against the only shape that a deregistration has under
its profile: known fields, texts in them, every tenant field blank. Path, query and headers are
checked too. Any mismatch raises GuardError before sending. `BlankOnly` is the client's
only way to a transport, so nothing leaves without this look.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from partner_tools.clients.oem.profile import (
    Profile,
    mentions_tenant,
    normalized,
    speaks_of_tenant,
    tenant_in,
)
from partner_tools.clients.oem.wire import (
    Element,
    as_written,
    elements,
    leaves,
    read_json,
    read_xml,
)
from partner_tools.clients.transport import Reply, Request, Transport
from partner_tools.errors import GuardError
from partner_tools.strict_json import InvalidTextError

_BLANK_JSON = ("", None)


class BlankOnly:
    """A transport through which no tenant passes. Keeps the transport to itself."""

    def __init__(self, transport: Transport, profile: Profile) -> None:
        self.__transport = transport
        self.__profile = profile

    def send(self, request: Request) -> Reply:
        """Make one attempt, after the look. Raises GuardError, or what the transport raises."""
        check(request, self.__profile)
        return self.__transport.send(request)


def check(request: Request, profile: Profile) -> None:
    """Raise GuardError unless this request, byte for byte, can be no registration."""
    own = frozenset(map(normalized, profile.body.tenant_fields))
    if speaks_of_tenant(request.url) or _names_tenant(request.url, own):
        raise tenant_in("the address of the request")
    for name, value in request.query:
        if value and (mentions_tenant(name, own) or speaks_of_tenant(value)):
            raise tenant_in(f"the query's {name!r}")
    for name, value in request.headers.items():
        if value and (mentions_tenant(name, own) or speaks_of_tenant(value)):
            raise tenant_in(f"the header {name!r}")
    if request.body is not None:
        _check_body(request.body, profile, own)


def _names_tenant(url: str, own: Collection[str]) -> bool:
    path, _, query = url.partition("?")
    _, _, path = path.rpartition("://")
    names = [*path.split("/")[1:], *(part.partition("=")[0] for part in query.split("&"))]
    return any(mentions_tenant(name, own) for name in names)


def _check_body(body: bytes, profile: Profile, own: Collection[str]) -> None:
    try:
        if profile.is_xml:
            _check_xml(read_xml(body), profile, own)
        else:
            _check_json(read_json(body), profile, own)
    except InvalidTextError as error:
        raise _misshapen(f"it cannot be read back: {error}") from error


def _check_json(value: Any, profile: Profile, own: Collection[str]) -> None:
    pairs = list(leaves(value))
    tenants = {name for name in {name for name, _ in pairs} if mentions_tenant(name, own)}
    for name, inner in pairs:
        if name in tenants and inner not in _BLANK_JSON:
            raise tenant_in(f"the body's {name!r}")
    key = profile.body.devices_key
    envelope = value if key else {"": value}
    if not isinstance(envelope, Mapping):
        raise _misshapen("it has no envelope")
    _check_envelope(((name, each) for name, each in envelope.items() if name != key), profile)
    devices = envelope.get(key)
    if not isinstance(devices, list) or not devices:
        raise _misshapen("it holds no list of devices")
    for device in devices:
        if not isinstance(device, Mapping):
            raise _misshapen("a device of it is no object")
        _check_device(device.items(), profile)


def _check_xml(root: Element, profile: Profile, own: Collection[str]) -> None:
    _check_elements(root, own)
    if root.name != profile.xml.root:
        raise _misshapen(f"its root is {root.name!r}")
    key = profile.body.devices_key or profile.xml.device
    lists = [child for child in root.children if child.name == key]
    _check_envelope(_texts(child for child in root.children if child.name != key), profile)
    if profile.body.devices_key:
        devices = [device for each in lists for device in each.children]
    else:
        devices = lists
    if not devices or any(device.name != profile.xml.device for device in devices):
        raise _misshapen("it holds no list of devices")
    for device in devices:
        _check_device(_texts(device.children), profile)


def _check_elements(root: Element, own: Collection[str]) -> None:
    """At any depth: blank tenants, no attributes, no text between elements."""
    every = list(elements(root))
    tenants = {name for name in {each.name for each in every} if mentions_tenant(name, own)}
    for element in every:
        if element.name in tenants and not element.is_empty:
            raise tenant_in(f"the body's {element.name!r}")
        if element.attributes and not element.is_nil:
            raise _misshapen(f"the element {element.name!r} has attributes")
        if element.children and element.text:
            raise _misshapen(f"there is text between the elements of {element.name!r}")


def _check_envelope(fields: Iterable[tuple[str, object]], profile: Profile) -> None:
    """Beside the devices: the profile's own fields with its values, and blank tenants."""
    expected = dict(profile.body.static_fields)
    for name, value in fields:
        if name in profile.body.tenant_fields and value in _BLANK_JSON:
            continue
        if name not in expected or as_written(value) != as_written(expected[name]):
            raise _misshapen(f"its envelope holds {name!r}, which the profile does not")


def _check_device(fields: Iterable[tuple[str, object]], profile: Profile) -> None:
    """A device: texts in the fields of the profile, each once, and blank tenants."""
    known = profile.fields.names
    seen: set[str] = set()
    for name, value in fields:
        if name in seen:
            raise _misshapen(f"a device of it holds {name!r} twice")
        seen.add(name)
        if name in profile.body.tenant_fields and value in _BLANK_JSON:
            continue
        if name not in known or not isinstance(value, str) or not value:
            raise _misshapen(f"a device of it holds {name!r}, which the profile does not")
    if seen <= {profile.fields.item_ref, *profile.body.tenant_fields}:
        raise _misshapen("a device of it is not named by anything")


def _texts(children: Iterable[Element]) -> Iterator[tuple[str, str | None]]:
    for element in children:
        if element.children:
            raise _misshapen(f"the field {element.name!r} holds further elements")
        yield element.name, None if element.is_nil else element.text


def _misshapen(what: str) -> GuardError:
    return GuardError(
        f"a request was not sent: its body is no blank deregistration: {what}",
        rule="body-not-blank",
        remedy="report it: a body that its own profile does not describe was built",
    )
