"""Nothing leaves with a tenant on it: tables of what is refused, and a search for a way through."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from partner_tools.clients.oem.guard import BlankOnly, check
from partner_tools.clients.oem.profile import Profile
from partner_tools.clients.oem.wire import Entry, build_body, kinds
from partner_tools.clients.transport import Reply, Request, Transport
from partner_tools.errors import GuardError, InputError
from partner_tools.model import Identity
from tests.clients.oem_profiles import plain_profile, profile_of

XML = "media_type = 'application/xml'"
IDENTITY = Identity(
    serial_number="S1",
    manufacturer="Fabrikam, Inc.",
    model="Book <7>",
    product_key_id="3305672013574",
)


def request_of(body: bytes) -> Request:
    return Request(method="POST", url="/x", body=body)


def one_device(profile: Profile, identity: Identity = IDENTITY) -> bytes:
    return build_body(profile, [Entry(ref="1", identity=identity)])


@pytest.mark.parametrize("scope", ["device", "batch", "both"])
@pytest.mark.parametrize("blank", ["empty", "null", "omit"])
@pytest.mark.parametrize("media", ["", XML])
def test_every_body_of_ours_passes(scope: str, blank: str, media: str) -> None:
    """Each scope and blank style, in JSON and XML, with characters that both have to escape."""
    profile = plain_profile(media, f"[oem.body]\ntenant_scope='{scope}'\nblank_style='{blank}'")
    body = one_device(profile)
    check(request_of(body), profile)
    expected = {"device": 1, "batch": 1, "both": 2}[scope] if blank != "omit" else 0
    assert expected == len(re.findall(rb"[\"<]TenantID[\"> ]", body.replace(b"</", b"")))


@pytest.mark.parametrize(
    "body",
    [
        {"Devices": [{"SerialNumber": "S", "TenantID": "f8cdef31"}]},
        {"Devices": [{"SerialNumber": "S", "TenantDomain": "contoso.com"}]},
        {"Devices": [{"SerialNumber": "S", "TenantID": " "}]},
        {"Devices": [{"SerialNumber": "S", "TenantID": 0}]},
        {"Devices": [{"SerialNumber": "S", "TenantID": False}]},
        {"Devices": [{"SerialNumber": "S", "TenantID": []}]},
        {"Devices": [{"SerialNumber": "S", "tenant_id": "1"}]},
        {"Devices": [{"SerialNumber": "S", "TENANT-ID": "1"}]},
        {"Devices": [{"SerialNumber": "S", "aadTenantId": "1"}]},
        {"Devices": [{"SerialNumber": {"TenantID": "1"}}]},
        {"Devices": [{"SerialNumber": "S", "Extra": [{"Tenant": "1"}]}]},
        {"TenantID": "1", "Devices": [{"SerialNumber": "S"}]},
        {"Devices": [{"SerialNumber": "S", "ＴｅｎａｎｔＩＤ": "1"}]},  # noqa: RUF001
        {"Devices": [{"SerialNumber": "S", "Ten\u00adantID": "1"}]},
        {"Devices": [{"SerialNumber": "S", "Owner": "contoso"}]},
        {"Devices": [{"SerialNumber": "S", "HardwareHash": "T0E"}]},
        {"Devices": [{"SerialNumber": 7}]},
        {"Devices": [{"SerialNumber": ""}]},
        {"Devices": [{"TenantID": ""}]},
        {"Devices": [{"LineItemNumber": "1"}]},
        {"Devices": ["S"]},
        {"Devices": []},
        {"Devices": {"SerialNumber": "S"}},
        {"Devices": [{"SerialNumber": "S"}], "Action": "Register"},
        {"Devices": [{"SerialNumber": "S"}], "Owner": "contoso"},
        [{"SerialNumber": "S"}],
        "S",
    ],
)
def test_json_that_is_no_blank_deregistration_is_refused(body: Any) -> None:
    """A tenant in any spelling at any depth, and every shape that the profile does not describe."""
    with pytest.raises(GuardError) as caught:
        check(request_of(json.dumps(body).encode()), plain_profile())
    assert caught.value.exit_code == 8


@pytest.mark.parametrize(
    "body",
    [
        b'{"Devices":[{"SerialNumber":"S","TenantID":"1","TenantID":""}]}',
        b'{"Devices":[{"SerialNumber":"S"}]} {"TenantID":"1"}',
        b'{"Devices":[{"SerialNumber":"S","\\u0054enantID":"1"}]}',
        b'{"Devices":[{"SerialNumber":NaN}]}',
        b'{"Devices":[{"SerialNumber":"\\ud800"}]}',
        b'{"Devices":[{"SerialNumber":"\xff"}]}',
        b"[" * 2000 + b"]" * 2000,
        b"",
        b"TenantID=1",
    ],
)
def test_bytes_that_could_be_read_otherwise_are_refused(body: bytes) -> None:
    """Duplicate keys, trailing text, escapes in names, NaN, lone surrogates, depth, no JSON."""
    with pytest.raises(GuardError):
        check(request_of(body), plain_profile())


DEVICE = "<SerialNumber>S</SerialNumber>"


def envelope(inner: str, head: str = "") -> bytes:
    root = "AutopilotDeviceRegistration"
    return f"{head}<{root}><Devices><Device>{inner}</Device></Devices></{root}>".encode()


@pytest.mark.parametrize(
    "body",
    [
        envelope(f"{DEVICE}<TenantID>1</TenantID>"),
        envelope(f"{DEVICE}<TenantID> </TenantID>"),
        envelope(f'{DEVICE}<TenantID value="1"/>'),
        envelope(f"{DEVICE}<TenantID><Id/></TenantID>"),
        envelope(f'{DEVICE}<t:TenantID xmlns:t="urn:t">1</t:TenantID>'),
        envelope(f"{DEVICE}<tenant_domain>x</tenant_domain>"),
        envelope(f"{DEVICE}<TenantID><![CDATA[1]]></TenantID>"),
        envelope('<SerialNumber TenantID="1">S</SerialNumber>'),
        envelope('<SerialNumber t:TenantID="1" xmlns:t="urn:t">S</SerialNumber>'),
        envelope(f"{DEVICE}<Owner>contoso</Owner>"),
        envelope(f"{DEVICE}{DEVICE}"),
        envelope("<SerialNumber><TenantID/></SerialNumber>"),
        envelope(f"contoso{DEVICE}"),
        envelope("<SerialNumber/>"),
        envelope(""),
        envelope(DEVICE).replace(b"<Devices>", b"<TenantID>1</TenantID><Devices>"),
        envelope(DEVICE).replace(b"<Devices>", b"<Action>Register</Action><Devices>"),
        envelope(DEVICE).replace(b"<Devices>", b"<Owner>contoso</Owner><Devices>"),
        envelope(DEVICE).replace(b"Device>", b"Machine>"),
        envelope(DEVICE).replace(b"AutopilotDeviceRegistration", b"Registration"),
        envelope(DEVICE).replace(b"</Devices>", b"<Tenant>1</Tenant></Devices>"),
        envelope(DEVICE, '<!DOCTYPE a [<!ENTITY t "1">]>'),
        envelope(f"{DEVICE}<TenantID>&t;</TenantID>", '<!DOCTYPE a [<!ENTITY t "1">]>'),
        envelope(f"{DEVICE}<TenantID>&t;</TenantID>"),
        envelope(DEVICE, "<?tenant 1?>"),
        envelope(DEVICE) + b"<TenantID>1</TenantID>",
        b"<a>" * 2000 + b"</a>" * 2000,
        b"",
        b'{"Devices":[{"SerialNumber":"S"}]}',
    ],
)
def test_xml_that_is_no_blank_deregistration_is_refused(body: bytes) -> None:
    """Elements, attributes, namespaces, CDATA, DTDs, entities, and every other shape."""
    with pytest.raises(GuardError):
        check(request_of(body), plain_profile(XML))


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "/x?tenantId=1"},
        {"url": "/x?TENANT=1"},
        {"url": "/x/%74enantid/1"},
        {"url": "/tenant/1/x"},
        {"url": "http://127.0.0.1/tenants/1"},
        {"url": "/x/contoso.onmicrosoft.com"},
        {"query": (("tenant", "1"),)},
        {"query": (("q", "TenantID:1"),)},
        {"headers": {"X-Tenant-Id": "1"}},
        {"headers": {"X-Org": "contoso.onmicrosoft.com"}},
    ],
)
def test_a_tenant_beside_the_body_is_refused(changes: dict[str, Any]) -> None:
    """Path, query and headers are looked at too, with or without a body."""
    profile = plain_profile()
    check(request_of(one_device(profile)), profile)
    for body in (one_device(profile), None):
        with pytest.raises(GuardError):
            check(Request(**{"method": "POST", "url": "/x", "body": body, **changes}), profile)


class Recording(Transport):
    """A transport that notes what would have left."""

    def __init__(self) -> None:
        self.base_url = "http://127.0.0.1"
        self.left: list[Request] = []

    def send(self, request: Request) -> Reply:
        self.left.append(request)
        return Reply(status=200)


def test_what_is_refused_has_not_left() -> None:
    """The guard stands before the transport."""
    profile, transport = plain_profile(), Recording()
    with pytest.raises(GuardError):
        BlankOnly(transport, profile).send(request_of(b'{"TenantID":"1"}'))
    assert transport.left == []


HOSTILE = st.one_of(
    st.text(min_size=1, max_size=20),
    st.sampled_from(
        [
            '","TenantID":"f8cdef31',
            '"},{"TenantID":"f8cdef31"}',
            "</SerialNumber><TenantID>f8cdef31</TenantID><SerialNumber>",
            "]]><TenantID>f8cdef31</TenantID><![CDATA[",
            "<!DOCTYPE x [<!ENTITY t 'f8cdef31'>]>&t;",
            "&#60;TenantID&#62;f8cdef31",
            "\\u0022,\\u0022TenantID\\u0022:\\u0022f8cdef31",
            "S\r\nX-TenantID: f8cdef31",
            "TenantID=f8cdef31",
        ]
    ),
)
NAMES = st.one_of(
    st.sampled_from(
        ["TenantID", "tenantId", "Tenant_Domain", "x-tenant", "Org", "SerialNumber", "Devices", "A"]
    ),
    st.text(alphabet="TenatIDomi_-dS", min_size=1, max_size=12),
)
IDENTITIES = st.builds(
    Identity,
    serial_number=st.none() | HOSTILE,
    manufacturer=st.none() | HOSTILE,
    model=st.none() | HOSTILE,
    product_key_id=st.none() | HOSTILE,
    hardware_hash=st.none() | st.just("T0EsecretHASH"),
)


@st.composite
def profiles(draw: st.DrawFn) -> str:
    """The text of a profile by somebody who wants a tenant on the wire, in a place or two."""

    def attacked(strategy: st.SearchStrategy[Any], harmless: Any) -> Any:
        return draw(strategy) if draw(st.integers(0, 5)) == 0 else harmless

    texts = st.dictionaries(NAMES, HOSTILE | st.just(""), min_size=1, max_size=2)
    static = attacked(texts, {"Action": "Deregister"})
    headers = attacked(texts, {"X-Oem": "fabrikam"})
    own = attacked(st.lists(NAMES, min_size=2, max_size=2), ["TenantID", "TenantDomain"])
    places = st.dictionaries(st.sampled_from(["serial", "pkid", "item_ref"]), NAMES)
    fields = attacked(places, {"serial": "Serial"})
    path = attacked(st.sampled_from(["/x?Tenant=1", "/tenant/1", "/a/b.onmicrosoft.com"]), "/x")
    media = draw(st.sampled_from(["json", "xml"]))
    scope = draw(st.sampled_from(["device", "batch", "both"]))
    blank = draw(st.sampled_from(["empty", "null", "omit"]))
    both = draw(st.sampled_from(["true", "false"]))
    return f"""
        [oem]
        media_type = "application/{media}"
        path = {json.dumps(path)}
        extra_headers = {table(headers)}
        auth = {{ mode = "none" }}
        fields = {table(fields)}
        identity = {{ send_both = {both} }}
        [oem.body]
        tenant_scope = "{scope}"
        blank_style = "{blank}"
        tenant_id_field = {json.dumps(own[0])}
        tenant_domain_field = {json.dumps(own[1])}
        static_fields = {table(static)}
    """


def table(pairs: dict[str, str]) -> str:
    """An inline table of TOML, whose basic strings are JSON's."""
    inner = ", ".join(f"{json.dumps(name)} = {json.dumps(pairs[name])}" for name in pairs)
    return f"{{ {inner} }}"


def leaves_of(body: bytes, *, xml: bool) -> list[tuple[str, str]]:
    """Every name with its text, read by other means than the guard's."""
    if xml:
        tree = ElementTree.fromstring(body)  # noqa: S314 - our own bytes
        return [
            (element.tag.rpartition("}")[2], "".join(element.itertext()))
            for element in tree.iter()
            if len(element) == 0
        ] + [(name, value) for each in tree.iter() for name, value in each.attrib.items()]
    found: list[tuple[str, str]] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        found.extend(
            (name, "" if value is None else str(value))
            for name, value in pairs
            if not isinstance(value, list)
        )

    json.loads(body, object_pairs_hook=note)
    return found


def assert_blank(body: bytes, profile: Profile) -> None:
    """Every field of a tenant's, in any spelling, holds nothing."""
    own = {re.sub(r"[\W_]", "", name).casefold() for name in profile.body.tenant_fields}
    for name, value in leaves_of(body, xml=profile.is_xml):
        plain = re.sub(r"[\W_]", "", name).casefold()
        if "tenant" in plain or plain in own:
            assert value == ""


@pytest.mark.slow
@settings(max_examples=250)
@given(text=profiles(), identities=st.lists(IDENTITIES, min_size=1, max_size=3))
def test_no_profile_and_no_device_gets_a_tenant_through(
    text: str, identities: list[Identity]
) -> None:
    """Whatever can be read and sent at all has every tenant field blank, and no hash."""
    try:
        profile = profile_of(text)
    except (GuardError, InputError) as error:
        event(f"the profile: {type(error).__name__}")
        return
    entries = [
        Entry(ref=str(number), identity=identity)
        for number, identity in enumerate(identities)
        if kinds(profile, identity)
    ]
    assume(entries)
    transport = Recording()
    try:
        body = build_body(profile, entries)
        BlankOnly(transport, profile).send(
            Request(method="POST", url=profile.path, headers=dict(profile.extra_headers), body=body)
        )
    except (GuardError, UnicodeEncodeError):
        assert transport.left == []
        event("the body was refused")
        return
    event("it left")
    (left,) = transport.left
    assert left.body is not None
    assert b"T0EsecretHASH" not in left.body
    assert_blank(left.body, profile)
    assert "tenant" not in left.url.casefold()
    for name, value in left.headers.items():
        assert not value or "tenant" not in name.casefold()


@pytest.mark.slow
@settings(max_examples=100)
@given(
    name=st.sampled_from(["TenantID", "TenantDomain", "tenant-id", "Tenant", "TENANTDOMAIN"]),
    value=st.text(min_size=1).filter(lambda text: text.strip() != ""),
    at_device=st.booleans(),
)
def test_a_filled_tenant_never_passes(name: str, value: str, at_device: bool) -> None:
    """However a body came to hold one, and whatever stands in it."""
    device = {"SerialNumber": "S"}
    body: dict[str, Any] = {"Devices": [device]}
    (device if at_device else body)[name] = value
    with pytest.raises(GuardError):
        check(request_of(json.dumps(body).encode()), plain_profile())


@settings(max_examples=100)
@given(name=NAMES, value=HOSTILE, xml=st.booleans())
def test_a_profile_that_was_never_read_does_not_help(name: str, value: str, xml: bool) -> None:
    """The guard does not rely on the reader: a hand-made profile gets no tenant through either."""
    plain = plain_profile(XML if xml else "", "[oem.body]\ntenant_scope = 'both'")
    made = replace(plain, body=replace(plain.body, static_fields=((name, value),)))
    transport = Recording()
    try:
        BlankOnly(transport, made).send(request_of(one_device(made)))
    except GuardError:
        assert transport.left == []
        return
    assert transport.left[0].body is not None
    assert_blank(transport.left[0].body, made)
