"""The wire profile of an OEM Direct API: everything that its contract says and the public does not.

Only the operation's name, the two tenant fields and the identifiers are public; the rest is in
the OEM API design whitepaper, under the OEM's own agreement. So it is configuration, and called an
assumption until `profile_confirmed` says otherwise. No field here can hold a tenant of a customer.
"""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

from partner_tools.clients.transport import check_base_url, is_loopback
from partner_tools.errors import GuardError, InputError
from partner_tools.homoglyphs import as_latin
from partner_tools.json_forms import structure
from partner_tools.strict_json import InvalidTextError, read_toml

ASSUMED = "assumed-v0"
"""The label of a profile until it is confirmed against the whitepaper."""

MAX_BATCH = 1000
"""Devices in one call, "1000 at a time"
(https://learn.microsoft.com/autopilot/manual-registration, read 2026-11)."""


class TenantScope(StrEnum):
    """The place of the tenant fields."""

    DEVICE = "device"
    BATCH = "batch"
    BOTH = "both"


class BlankStyle(StrEnum):
    """How a blank tenant is written. The documentation says only "left blank"."""

    EMPTY = "empty"
    NULL = "null"
    OMIT = "omit"


class IdentityKind(StrEnum):
    """By what a device is named to the service."""

    PKID = "pkid"
    TUPLE = "tuple"


class AuthMode(StrEnum):
    """How the service knows the caller."""

    MTLS = "mtls"
    ENTRA = "entra"
    BOTH = "mtls+entra"
    NONE = "none"


class ResponseMode(StrEnum):
    """How outcomes come back: in the answer, by acknowledgement id, or at a location to poll."""

    SYNC = "sync"
    ACK_LIST = "ack_list"
    LOCATION = "location"


class MatchKey(StrEnum):
    """By what an item of an answer is tied to a device of the request."""

    ITEM_REF = "item_ref"
    PKID = "pkid"
    SERIAL = "serial"


class CodeMeaning(StrEnum):
    """The meaning of a service's code for its device."""

    ABSENT = "absent"
    NOT_OWNED = "not-owned"
    REFUSED = "refused"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"
    RETRY = "retry"
    STOP = "stop"
    """`refused`, and no further call is made: the request itself is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Xml:
    """Names that an XML body has and a JSON body has not."""

    root: str = "AutopilotDeviceRegistration"
    device: str = "Device"
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The envelope. `devices_key` empty is a bare array. `static_fields` go into the envelope."""

    devices_key: str = "Devices"
    tenant_scope: TenantScope = TenantScope.DEVICE
    tenant_id_field: str = "TenantID"
    tenant_domain_field: str = "TenantDomain"
    blank_style: BlankStyle = BlankStyle.EMPTY
    static_fields: tuple[tuple[str, str | int | bool], ...] = ()

    @property
    def tenant_fields(self) -> tuple[str, str]:
        """The two fields that must be blank."""
        return self.tenant_id_field, self.tenant_domain_field


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Wire names of what identifies a device. `item_ref` empty sends no reference."""

    pkid: str = "ProductKeyID"
    serial: str = "SerialNumber"
    manufacturer: str = "OEMManufacturerName"
    model: str = "ModelName"
    item_ref: str = "LineItemNumber"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are in use."""
        every = (self.item_ref, self.pkid, self.serial, self.manufacturer, self.model)
        return tuple(filter(None, every))


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """How the caller proves itself. Secrets are named by environment variable, never written."""

    mode: AuthMode = AuthMode.MTLS
    client_cert: str = ""
    """PEM or PFX file; a path beside the profile where it is relative."""
    client_key: str = ""
    key_password_env: str = ""
    ca_bundle: str = ""
    entra_tenant: str = ""
    """The OEM's own tenant, where its token comes from: never part of a request to the API."""
    entra_client_id: str = ""
    entra_scope: str = ""
    entra_credential_env: str = ""

    @property
    def needs_certificate(self) -> bool:
        return self.mode in (AuthMode.MTLS, AuthMode.BOTH)

    @property
    def needs_token(self) -> bool:
        return self.mode in (AuthMode.ENTRA, AuthMode.BOTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """How an answer is read. Names in `fields` default to those of the request."""

    mode: ResponseMode = ResponseMode.SYNC
    success_http: tuple[int, ...] = (200, 201, 202, 204)
    items_path: str = "Results"
    match_on: tuple[MatchKey, ...] = (MatchKey.ITEM_REF, MatchKey.PKID, MatchKey.SERIAL)
    status_field: str = "Status"
    code_field: str = "ErrorCode"
    message_field: str = "ErrorDescription"
    ok_values: tuple[str, ...] = ("Success", "Succeeded", "0")
    pending_values: tuple[str, ...] = (
        "Accepted",
        "InProgress",
        "in_progress",
        "Pending",
        "Processing",
        "Queued",
        "Submitted",
    )
    """Statuses of a device that say that nothing is decided yet: accepted is not done."""
    failed_values: tuple[str, ...] = ("Failed", "Failure", "Error", "Rejected", "Invalid")
    """Statuses that are a refusal even without a code or a message."""
    fields: Fields = Fields()


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """How accepted work is polled. Times are in seconds; `{id}` is replaced by the handle."""

    id_path: str = "BatchId"
    list_path: str = ""
    detail_path: str = ""
    location_header: str = "Location"
    status_path: str = "Status"
    finished_values: tuple[str, ...] = (
        "finished",
        "finished_with_errors",
        "completed",
        "complete",
        "done",
        "succeeded",
        "success",
        "failed",
    )
    """Statuses of a batch after which nothing more happens. They say nothing of a device."""
    interval_s: float = 10.0
    max_interval_s: float = 120.0
    deadline_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """ "Validate device submission data": the same blank body, which changes nothing there."""

    enabled: bool = False
    path: str = ""
    method: str = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One OEM Direct wire. `base_url` is empty where the profile leaves it to the environment."""

    name: str = ""
    base_url: str = ""
    path: str = "/AutopilotDeviceRegistration"
    method: str = "POST"
    media_type: str = "application/json"
    batch_limit: int = MAX_BATCH
    timeout_s: float = 60.0
    extra_headers: tuple[tuple[str, str], ...] = ()
    correlation_header: str = "MS-CorrelationId"
    request_id_header: str = "MS-RequestId"
    profile_confirmed: bool = False
    send_both: bool = False
    identity_order: tuple[IdentityKind, ...] = (IdentityKind.PKID, IdentityKind.TUPLE)
    xml: Xml = Xml()
    body: Body = Body()
    fields: Fields = Fields()
    auth: Auth = Auth()
    response: Response = Response()
    poll: Poll = Poll()
    preflight: Preflight = Preflight()
    absent_is_ok: bool = False
    """Whether a device counts as done that the service does not know, though nothing confirms its
    identity."""
    codes: tuple[tuple[str, CodeMeaning], ...] = ()
    """Meanings by name or number; they extend and override the public table."""

    @property
    def is_xml(self) -> bool:
        return self.media_type.split(";")[0].strip().lower().endswith("xml")

    @property
    def label(self) -> str:
        """The name of this wire in plans and output."""
        return "confirmed" if self.profile_confirmed else ASSUMED


# A tenant is recognized in any spelling: with one, the same operation registers a device.

_NO_LETTER = re.compile(r"[\W_]+")
_DECODINGS = 3
"""A text that is encoded more often than this is no text of ours."""
_JSON_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_GUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}(?![0-9a-f])")


def normalized(name: str) -> str:
    r"""A name without case, width, separators and marks, with letters as they look.

    >>> normalized("x-Tenant_ID"), normalized("tenant\u200bdomain"), normalized("\u0422enantId")
    ('xtenantid', 'tenantdomain', 'tenantid')
    """
    return _NO_LETTER.sub("", as_latin(name))


def mentions_tenant(name: str, own: Collection[str] = ()) -> bool:
    """Whether a field of this name is a tenant's. `own` are a profile's names, normalized.

    >>> mentions_tenant("aad_Tenant-Id"), mentions_tenant("SerialNumber")
    (True, False)
    """
    plain = normalized(name)
    return "tenant" in plain or plain in own


def speaks_of_tenant(text: str) -> bool:
    """Whether a text names a tenant by the domain or the field that it holds.

    Never applied to serial numbers, manufacturers and models: each has its own field.

    >>> speaks_of_tenant("/x?%74enantId=1"), speaks_of_tenant("contoso.onmicrosoft.com")
    (True, True)
    """
    return any(
        word in normalized(reading)
        for reading in _readings(text)
        for word in ("tenantid", "tenantdomain", "onmicrosoft")
    )


def holds_guid(text: str) -> bool:
    """Whether a text holds a GUID, which can't be told from a tenant's id.

    >>> holds_guid("/x/8F6D2F0A-4C0F-4F63-9F0E-3A1F5C7D9B21"), holds_guid("/acks/{id}")
    (True, False)
    """
    return any(
        _GUID.search(unicodedata.normalize("NFKC", reading).casefold())
        for reading in _readings(text)
    )


def _readings(text: str) -> Iterator[str]:
    """The text without its encodings, and what base64 in it says."""
    for _ in range(_DECODINGS):
        text = html.unescape(unquote(text))
        text = _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    yield text
    for coded in _BASE64.findall(text):
        whole = coded[: len(coded) // 4 * 4].replace("+", "-").replace("/", "_")
        try:
            yield urlsafe_b64decode(whole).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue


def tenant_in(place: str) -> GuardError:
    """The refusal of a profile or a request that would carry a tenant."""
    return GuardError(
        f"{place} carries a tenant: with a tenant the same operation registers a device "
        "instead of deregistering it",
        rule="tenant-not-blank",
        remedy="take the tenant out; a deregistration names none, TenantID and TenantDomain "
        "stay blank",
    )


def check(profile: Profile) -> None:
    """Refuse what the schema cannot see."""
    _check_tenant_names(profile)
    _check_success(profile.response)
    _check_names(profile)
    _check_headers(profile)
    _check_body(profile)
    _check_polling(profile)
    _check_auth(profile.auth)
    if profile.base_url:
        at_base_url(profile, None)


def _check_tenant_names(profile: Profile) -> None:
    """The tenant fields may not be the place of anything that is sent."""
    own = frozenset(map(normalized, profile.body.tenant_fields))
    names = [
        *profile.fields.names,
        profile.body.devices_key,
        profile.xml.root,
        profile.xml.device,
        profile.correlation_header,
        profile.request_id_header,
    ]
    for name in names:
        if mentions_tenant(name, own):
            raise tenant_in(f"the profile's field name {name!r}")


def _check_success(response: Response) -> None:
    if not response.ok_values or any(not value.strip() for value in response.ok_values):
        raise invalid(
            "oem.response.ok_values counts an empty status as success",
            "list the words by which the service confirms a device; silence confirms nothing",
            rule="empty-success",
        )
    said = {value.casefold() for value in response.ok_values}
    for other in (*response.pending_values, *response.failed_values):
        if other.casefold() in said:
            raise invalid(
                f"the status {other!r} is listed as success and as something else",
                "keep it in one of ok_values, pending_values and failed_values",
            )


def _check_names(profile: Profile) -> None:
    device = [*profile.fields.names]
    scope = profile.body.tenant_scope
    if scope is not TenantScope.BATCH:
        device += profile.body.tenant_fields
    envelope = [profile.body.devices_key, *(name for name, _ in profile.body.static_fields)]
    if scope is not TenantScope.DEVICE:
        envelope += profile.body.tenant_fields
    for names in (device, envelope):
        seen: set[str] = set()
        for name in filter(None, names):
            if normalized(name) in seen:
                problem = f"two fields of the body are called {name!r}"
                raise invalid(problem, "name each differently")
            seen.add(normalized(name))
    if profile.is_xml:
        for name in filter(None, (*device, *envelope, profile.xml.root, profile.xml.device)):
            if not _XML_NAME.fullmatch(name):
                raise invalid(f"{name!r} cannot be the name of an XML element", "correct the name")


_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_OURS = {
    *("authorization", "cookie", "host", "connection", "upgrade", "expect", "te", "trailer"),
    *("content-type", "content-length", "content-encoding", "transfer-encoding"),
    *("x-http-method", "x-http-method-override", "x-method-override"),
}
"""Headers that determine how a request is parsed: only the transport may set them."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _check_headers(profile: Profile) -> None:
    names = [name for name, _ in profile.extra_headers]
    names += filter(None, (profile.correlation_header, profile.request_id_header))
    for name in names:
        if name.lower() in _OURS or not _HEADER_NAME.fullmatch(name):
            raise invalid(f"the header {name!r} cannot be set by a profile", "take it out")
    if len({name.lower() for name in names}) != len(names):
        raise invalid("a header is given twice", "give each header once")
    if any(not value.isprintable() for _, value in profile.extra_headers):
        raise invalid("a header holds a character that HTTP forbids", "correct its value")


def _check_body(profile: Profile) -> None:
    body = profile.body
    bare = not body.devices_key and not profile.is_xml
    if bare and (body.static_fields or body.tenant_scope is not TenantScope.DEVICE):
        raise invalid(
            "a bare array (oem.body.devices_key empty) has no place for fields of the batch",
            "name a devices_key, or use tenant_scope 'device' and no static_fields",
        )


def _check_polling(profile: Profile) -> None:
    poll, mode = profile.poll, profile.response.mode
    if mode is ResponseMode.ACK_LIST and not poll.detail_path:
        raise invalid(
            "response mode 'ack_list' needs oem.poll.detail_path",
            "give the path, with {id}, that tells of one batch",
        )
    if poll.detail_path and "{id}" not in poll.detail_path:
        raise invalid("oem.poll.detail_path has no {id}", "put {id} where the batch's id goes")
    if poll.max_interval_s < poll.interval_s:
        raise invalid("oem.poll.max_interval_s is below interval_s", "raise it")
    if profile.preflight.enabled and not profile.preflight.path:
        raise invalid("oem.preflight is enabled without a path", "give its path, or disable it")


def _check_auth(auth: Auth) -> None:
    if auth.needs_certificate and not auth.client_cert:
        raise invalid(
            f"auth mode {auth.mode.value!r} needs oem.auth.client_cert",
            "name the PEM or PFX file with the certificate and its private key",
        )
    if auth.needs_token and auth.entra_credential_env:
        named = ("entra_tenant", "entra_client_id", "entra_scope")
        missing = [f"oem.auth.{name}" for name in named if not getattr(auth, name)]
        if missing:
            raise invalid(
                f"auth mode {auth.mode.value!r} with entra_credential_env needs "
                f"{' and '.join(missing)}",
                "name your tenant, the app registration, and the scope that your whitepaper gives",
            )


def at_base_url(profile: Profile, override: str | None) -> Profile:
    """The profile at the address that is in force: the environment's, else its own.

    Raises InputError without any address (there is no default), for plain HTTP beyond loopback,
    and where nothing would prove who the caller is beyond loopback.
    """
    url = override or profile.base_url
    if not url:
        raise InputError(
            "the OEM Direct API has no address: it is not public, and there is no default",
            rule="no-base-url",
            remedy="set oem.base_url in the wire profile, or PARTNER_TOOLS_OEM_DIRECT_URL, "
            "to the address in your OEM API whitepaper",
        )
    if speaks_of_tenant(urlsplit(url).path):
        raise tenant_in("the base URL")
    checked = check_base_url(url)
    if profile.auth.mode is AuthMode.NONE and not is_loopback(urlsplit(checked).hostname or ""):
        raise InputError(
            "auth mode 'none' is for this machine alone",
            rule="no-auth",
            remedy="set oem.auth.mode to mtls, entra or mtls+entra",
        )
    return replace(profile, base_url=checked)


def invalid(message: str, remedy: str, rule: str = "oem-profile") -> InputError:
    return InputError(f"the wire profile cannot be used: {message}", remedy=remedy, rule=rule)


Validate = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
"""Gives the path and the message of each thing that `oem-profile.schema.json` rejects."""


def read_profile(text: str, validate: Validate) -> Profile:
    """The profile that a TOML text says.

    Raises GuardError where anything in it could carry a tenant (before anything else is looked
    at), InputError where it is not TOML, has an unknown key, or cannot be kept safely.
    """
    try:
        document = read_toml(text)
    except InvalidTextError as error:
        raise InputError(
            f"the wire profile is not TOML: {error}",
            rule="profile-syntax",
            remedy="correct the line, or start again from samples/oem-sync.toml",
        ) from error
    _refuse_tenants(document)
    if faults := [f"{path}: {message}" for path, message in validate(document)]:
        raise invalid(
            "; ".join(faults), "`partner-tools schema oem-profile` prints what is allowed"
        )
    profile = _make(document["oem"])
    check(profile)
    return profile


_Key = tuple[str, ...]
_OWN_NAMES = {("oem", "body", "tenant_id_field"), ("oem", "body", "tenant_domain_field")}
_ABOUT_TENANTS = {
    *_OWN_NAMES,
    ("oem", "body", "tenant_scope"),
    ("oem", "auth", "entra_tenant"),
    ("oem", "auth", "entra_scope"),
}
"""Names that denote a tenant by their nature and never reach the API."""
_NEVER_SENT = {("oem", "codes"), ("oem", "response")}
_OF_THIS_SIDE = {
    ("oem", "name"),
    ("oem", "base_url"),
    *(("oem", "auth", name) for name in ("client_cert", "client_key", "ca_bundle")),
}
"""Keys whose values name things of this side: a tenant's domain is refused there, the mere word
is not."""
_WITHOUT_GUID = {
    ("oem", "path"),
    ("oem", "xml_namespace"),
    ("oem", "body", "static_fields"),
    ("oem", "poll", "list_path"),
    ("oem", "poll", "detail_path"),
    ("oem", "preflight", "path"),
}
"""Places where no GUID is allowed: it may be a tenant's. A header may identify the caller."""


def _refuse_tenants(document: Mapping[str, Any]) -> None:
    """Refuse every key and every value that would put a tenant on the wire."""
    leaves = tuple(_leaves(document))
    own = frozenset(normalized(value) for key, value in leaves if key in _OWN_NAMES)
    ours = frozenset(
        normalized(value) for key, value in leaves if key[-1] == "entra_tenant" and value
    )
    for key, value in leaves:
        if key not in _ABOUT_TENANTS and value and _carries_tenant(key, value, own, ours):
            raise tenant_in(f"the profile's field {key[-1]!r}")


def _carries_tenant(key: _Key, value: str, own: frozenset[str], ours: frozenset[str]) -> bool:
    """`own` are the names of the tenant fields, `ours` the tenant that signs in, normalized."""
    if mentions_tenant(key[-1], own) or speaks_of_tenant(value):
        return True
    if (key in _WITHOUT_GUID or key[:3] in _WITHOUT_GUID) and holds_guid(value):
        return True
    if key in _OF_THIS_SIDE:
        return False
    return mentions_tenant(value, own) or any(tenant in normalized(value) for tenant in ours)


def _leaves(value: Any, key: _Key = ()) -> Iterator[tuple[_Key, str]]:
    """Yield every key with the text of its scalar; list items count under the list's key."""
    if key in _NEVER_SENT:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*key, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, str(value)


def _make(oem: Mapping[str, Any]) -> Profile:
    """The profile of a document that fits the schema."""
    identity, fields, response = (oem.get(name, {}) for name in ("identity", "fields", "response"))
    xml = {name.removeprefix("xml_"): text for name, text in oem.items() if name.startswith("xml_")}
    return structure(
        Profile,
        {
            **oem,
            "send_both": identity.get("send_both", False),
            "identity_order": identity.get("order", list(IdentityKind)),
            "xml": xml,
            "response": {**response, "fields": {**fields, **response.get("fields", {})}},
            "absent_is_ok": oem.get("absent") == "ok",
        },
        spelled=str,  # TOML spells the keys as the fields
    )
