"""The wire profile of an OEM Direct API: everything that its contract says and the public does not.

Only the operation's name, the two tenant fields and the identifiers are public; the rest stands in
the OEM API design whitepaper, under the OEM's own agreement. So it is configuration, and called an
assumption until `profile_confirmed` says otherwise. No field here can hold a tenant of a customer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ASSUMED = "assumed-v0"
"""How a profile is called until somebody with the whitepaper confirmed it."""

MAX_BATCH = 1000
"""Devices in one call, "1000 at a time"
(https://learn.microsoft.com/autopilot/manual-registration, read 2026-11)."""


class TenantScope(StrEnum):
    """Where the tenant fields stand."""

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
    """What a code of the service says of its device."""

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
    """The envelope. `devices_key` empty is a bare array. `static_fields` stand in the envelope."""

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
    min_tls: str = "1.2"

    @property
    def needs_certificate(self) -> bool:
        """Whether a client certificate is presented."""
        return self.mode in (AuthMode.MTLS, AuthMode.BOTH)

    @property
    def needs_token(self) -> bool:
        """Whether a bearer token is sent."""
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
    """How accepted work is asked after. Times are in seconds; `{id}` stands for the handle."""

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
    codes: tuple[tuple[str, CodeMeaning], ...] = ()
    """Meanings by name or number; they extend and override the public table."""

    @property
    def is_xml(self) -> bool:
        """Whether bodies are XML rather than JSON."""
        return self.media_type.split(";")[0].strip().lower().endswith("xml")

    @property
    def label(self) -> str:
        """What the plan and the output call this wire."""
        return "confirmed" if self.profile_confirmed else ASSUMED
