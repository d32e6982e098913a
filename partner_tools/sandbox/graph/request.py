"""Reads a request to Microsoft Graph, and writes refusals: the table of operations, paths, errors.

Paths, permissions and the versions that have them: https://learn.microsoft.com/graph/api and the
metadata of 2026-08-20 (https://github.com/microsoftgraph/msgraph-metadata). Errors differ between
Intune's services, the directory and the web server in front of them:
https://learn.microsoft.com/graph/errors, microsoftgraph/msgraph-sdk-powershell#2464 and
ugurkocde/DeviceOffboardingManager issues 52, 69 and 70 (2025-09, 2026-07).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from partner_tools.sandbox.faults import Fault, FaultKind, GraphQuirks
from partner_tools.sandbox.graph.estate import NO_ID, Estate, Row, Table, stamp
from partner_tools.sandbox.login import Claims
from partner_tools.sandbox.wire import Request, Response, json_response, text_response

VERSIONS = ("v1.0", "beta")


class Family(StrEnum):
    """The service behind the shared endpoint that answers, which decides the form of its errors."""

    GRAPH = "graph"
    INTUNE = "intune"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. `permissions`: any of them suffices; none: any token."""

    operation: str
    method: str
    path: tuple[str, ...]
    family: Family
    permissions: tuple[str, ...] = ()
    versions: tuple[str, ...] = VERSIONS


BETA = ("beta",)
_AUTOPILOT = ("devicemanagement", "windowsautopilotdeviceidentities")
_MANAGED = ("devicemanagement", "manageddevices")
_SETTINGS = ("devicemanagement", "windowsautopilotsettings")
_APPROVALS = ("devicemanagement", "operationapprovalrequests")
_IMPORTED_AUTOPILOT = ("devicemanagement", "importedwindowsautopilotdeviceidentities")
_IMPORTED = ("devicemanagement", "importeddeviceidentities")
_ASSOCIATED = ("devicemanagement", "tenantassociateddevices")
_DELETED = ("directory", "deleteditems")
_KEYS = ("informationprotection", "bitlocker", "recoverykeys")
_CREDENTIALS = ("directory", "devicelocalcredentials")

_CONFIG = "DeviceManagementServiceConfig"
_READ_CONFIG = (f"{_CONFIG}.Read.All", f"{_CONFIG}.ReadWrite.All")
_WRITE_CONFIG = (f"{_CONFIG}.ReadWrite.All",)
_DEVICES = "DeviceManagementManagedDevices"
_READ_MANAGED = (f"{_DEVICES}.Read.All", f"{_DEVICES}.ReadWrite.All")
_WRITE_MANAGED = (f"{_DEVICES}.ReadWrite.All",)
_PRIVILEGED = (f"{_DEVICES}.PrivilegedOperations.All",)
_WRITE_ENTRA = ("Device.ReadWrite.All", "Directory.AccessAsUser.All")
_READ_ENTRA = (
    "Device.Read.All",
    "Device.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
    "Directory.AccessAsUser.All",
)
_READ_KEYS = ("BitlockerKey.ReadBasic.All", "BitlockerKey.Read.All")
_READ_CREDENTIALS = ("DeviceLocalCredential.ReadBasic.All", "DeviceLocalCredential.Read.All")


def _intune(
    operation: str,
    method: str,
    path: tuple[str, ...],
    permissions: tuple[str, ...],
    versions: tuple[str, ...] = VERSIONS,
) -> Route:
    return Route(
        operation=operation,
        method=method,
        path=path,
        family=Family.INTUNE,
        permissions=permissions,
        versions=versions,
    )


def _directory(
    operation: str, method: str, path: tuple[str, ...], permissions: tuple[str, ...]
) -> Route:
    return Route(
        operation=operation,
        method=method,
        path=path,
        family=Family.DIRECTORY,
        permissions=permissions,
    )


_ID = "{id}"
ROUTES: tuple[Route, ...] = (
    _intune("list-autopilot-identities", "GET", _AUTOPILOT, _READ_CONFIG),
    _intune("get-autopilot-identity", "GET", (*_AUTOPILOT, _ID), _READ_CONFIG),
    _intune("delete-autopilot-identity", "DELETE", (*_AUTOPILOT, _ID), _WRITE_CONFIG),
    _intune("unassign-user", "POST", (*_AUTOPILOT, _ID, "unassignuserfromdevice"), _WRITE_CONFIG),
    _intune(
        "allow-next-enrollment",
        "POST",
        (*_AUTOPILOT, _ID, "allownextenrollment"),
        _WRITE_CONFIG,
        BETA,
    ),
    _intune(
        "update-autopilot-identity",
        "POST",
        (*_AUTOPILOT, _ID, "updatedeviceproperties"),
        _WRITE_CONFIG,
    ),
    _intune("delete-by-serial", "POST", (*_AUTOPILOT, "deletedevices"), _WRITE_CONFIG, BETA),
    _intune("get-autopilot-settings", "GET", _SETTINGS, _READ_CONFIG, BETA),
    _intune(
        "sync-autopilot",
        "POST",
        (*_SETTINGS, "sync"),
        (*_WRITE_CONFIG, "DeviceManagementConfiguration.ReadWrite.All"),
        BETA,
    ),
    _intune("list-managed-devices", "GET", _MANAGED, _READ_MANAGED),
    _intune("get-managed-device", "GET", (*_MANAGED, _ID), _READ_MANAGED),
    _intune("delete-managed-device", "DELETE", (*_MANAGED, _ID), _WRITE_MANAGED),
    _intune("sync-managed-device", "POST", (*_MANAGED, _ID, "syncdevice"), _PRIVILEGED),
    _intune("retire-managed-device", "POST", (*_MANAGED, _ID, "retire"), _PRIVILEGED),
    _intune("wipe-managed-device", "POST", (*_MANAGED, _ID, "wipe"), _PRIVILEGED),
    _intune("list-approval-requests", "GET", _APPROVALS, _READ_MANAGED, BETA),
    _intune("get-approval-request", "GET", (*_APPROVALS, _ID), _READ_MANAGED, BETA),
    _intune("import-autopilot", "POST", _IMPORTED_AUTOPILOT, _WRITE_CONFIG),
    _intune("import-autopilot-list", "POST", (*_IMPORTED_AUTOPILOT, "import"), _WRITE_CONFIG),
    _intune("list-imported-autopilot", "GET", _IMPORTED_AUTOPILOT, _READ_CONFIG),
    _intune("get-imported-autopilot", "GET", (*_IMPORTED_AUTOPILOT, _ID), _READ_CONFIG),
    _intune("delete-imported-autopilot", "DELETE", (*_IMPORTED_AUTOPILOT, _ID), _WRITE_CONFIG),
    _intune("list-imported-identities", "GET", _IMPORTED, _READ_CONFIG, BETA),
    _intune("get-imported-identity", "GET", (*_IMPORTED, _ID), _READ_CONFIG, BETA),
    _intune("delete-imported-identity", "DELETE", (*_IMPORTED, _ID), _WRITE_CONFIG, BETA),
    _intune("list-associations", "GET", _ASSOCIATED, _READ_CONFIG, BETA),
    _intune("get-association", "GET", (*_ASSOCIATED, _ID), _READ_CONFIG, BETA),
    _intune("delete-association", "DELETE", (*_ASSOCIATED, _ID), _WRITE_CONFIG, BETA),
    _directory("list-entra-devices", "GET", ("devices",), _READ_ENTRA),
    _directory("count-entra-devices", "GET", ("devices", "$count"), _READ_ENTRA),
    _directory("get-entra-device", "GET", ("devices", _ID), _READ_ENTRA),
    _directory("update-entra-device", "PATCH", ("devices", _ID), _WRITE_ENTRA),
    _directory("delete-entra-device", "DELETE", ("devices", _ID), _WRITE_ENTRA),
    _directory("list-owners", "GET", ("devices", _ID, "registeredowners"), _READ_ENTRA),
    _directory("list-deleted-devices", "GET", (*_DELETED, "microsoft.graph.device"), _READ_ENTRA),
    _directory("list-deleted-devices", "GET", (*_DELETED, "graph.device"), _READ_ENTRA),
    _directory("get-deleted-device", "GET", (*_DELETED, _ID), _READ_ENTRA),
    _directory("purge-deleted-device", "DELETE", (*_DELETED, _ID), _WRITE_ENTRA),
    _directory("restore-deleted-device", "POST", (*_DELETED, _ID, "restore"), _WRITE_ENTRA),
    _directory("list-recovery-keys", "GET", _KEYS, _READ_KEYS),
    _directory("get-recovery-key", "GET", (*_KEYS, _ID), _READ_KEYS),
    _directory("list-local-credentials", "GET", _CREDENTIALS, _READ_CREDENTIALS),
    _directory("get-local-credential", "GET", (*_CREDENTIALS, _ID), _READ_CREDENTIALS),
    _directory("get-organization", "GET", ("organization",), ()),
    _directory("get-me", "GET", ("me",), ()),
    Route(operation="batch", method="POST", path=("$batch",), family=Family.GRAPH),
)
"""Every operation. Where two paths fit, the first one counts."""

_KEYED = re.compile(r"(?P<set>[A-Za-z]+)\((?P<key>.+)\)")
_QUOTED = re.compile(r"'(?P<text>.*)'")


class Refusal(Exception):
    """An answer other than success. `headers` go with it; `html`: it comes from the web server.

    `family` words it; without one, the service that the path leads to.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        html: bool = False,
        family: Family | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers
        self.html = html
        self.family = family


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request leads: the version, the path behind it, and the route if there is one."""

    version: str
    path: tuple[str, ...]
    route: Route | None
    name: str = ""
    """The value of `{id}` in the path."""
    wrong_method: bool = False

    @property
    def operation(self) -> str:
        if self.route is not None:
            return self.route.operation
        return "wrong-method" if self.wrong_method else "unknown"

    @property
    def family(self) -> Family:
        if self.route is not None:
            return self.route.family
        first = self.path[0].lower() if self.path else ""
        return Family.INTUNE if first == "devicemanagement" else Family.DIRECTORY


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """A request that was understood and is permitted, and the tenant that it is about."""

    request: Request
    target: Target
    claims: Claims
    estate: Estate
    quirks: GraphQuirks
    now: float
    new_id: Callable[[], str]
    fault: Fault | None = None

    @property
    def name(self) -> str:
        return self.target.name

    @property
    def beta(self) -> bool:
        return self.target.version == "beta"

    @property
    def permissions(self) -> frozenset[str]:
        return granted(self.claims)

    def option(self, name: str) -> str | None:
        """A query option, with or without its `$` (https://learn.microsoft.com/graph)."""
        query: Mapping[str, str] = self.request.query
        return query.get(f"${name}", query.get(name))

    @property
    def eventual(self) -> bool:
        """Whether the advanced query capabilities of the directory are asked for."""
        return (self.request.header("ConsistencyLevel") or "").lower() == "eventual"

    def has_fault(self, kind: FaultKind) -> bool:
        """Whether the list that it gets is to be wrong in this way."""
        return self.fault is not None and self.fault.kind is kind

    @property
    def since(self) -> float | None:
        """From when on what went is still in the list that it gets; None: it is up to date."""
        stale = self.fault if self.has_fault(FaultKind.STALE_LIST) else None
        return self.now - stale.seconds if stale else None

    def body(self) -> Mapping[str, Any]:
        """The object in the body; empty without one. Raises Refusal for anything else."""
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            text = "Unable to read JSON request payload."
            raise Refusal(400, "BadRequest", text, family=Family.GRAPH)
        return body


def found_row(parsed: ParsedRequest, table: Table) -> Row:
    """The row that the path names, of one of Intune's tables. Raises Refusal."""
    if not is_guid(parsed.name):
        raise Refusal(400, "BadRequest", "The id is not valid")
    row = table.get(parsed.name)
    if row is None:
        raise Refusal(404, "ResourceNotFound", "The device was not found")
    return row


def is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return len(text) == 36


def granted(claims: Claims) -> frozenset[str]:
    """The permissions in a token: roles of an application, scopes of a user."""
    if claims.get("idtyp") == "app":
        return frozenset(claims.get("roles", ()))
    return frozenset(str(claims.get("scp", "")).split())


def aim(request: Request) -> Target:
    """Read the path of a request. Fixed parts match in any letter case."""
    segments = _unfolded(request.segments)
    version, path = (segments[0].lower(), segments[1:]) if segments else ("", ())
    wrong_method = False
    for route in ROUTES:
        name = _match(route.path, path)
        if name is None or version not in route.versions:
            continue
        if route.method == request.method:
            return Target(version=version, path=path, route=route, name=name)
        wrong_method = True
    return Target(version=version, path=path, route=None, wrong_method=wrong_method)


def _unfolded(segments: tuple[str, ...]) -> tuple[str, ...]:
    """`devices('x')` as `devices`, `x`; an alternate key stays as it is: `deviceId='x'`."""
    found: list[str] = []
    for segment in segments:
        keyed = _KEYED.fullmatch(segment)
        if keyed is None:
            found.append(segment)
            continue
        quoted = _QUOTED.fullmatch(keyed["key"])
        found += [keyed["set"], quoted["text"] if quoted else keyed["key"]]
    return tuple(found)


def _match(pattern: tuple[str, ...], path: tuple[str, ...]) -> str | None:
    """Return the value of `{id}`, empty if the pattern has none; None if the path doesn't match."""
    if len(pattern) != len(path):
        return None
    name = ""
    for wanted, given in zip(pattern, path, strict=True):
        if wanted == _ID:
            name = given
        elif wanted != given.lower():
            return None
    return name


JSON_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8"
)
INTUNE_URL = "https://fef.msub01.manage.microsoft.com/DeviceEnrollmentFE/StatelessService/"
BAD_URL = (
    '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n'
    "<HTML><HEAD><TITLE>Bad Request</TITLE>\r\n"
    '<META HTTP-EQUIV="Content-Type" Content="text/html; charset=us-ascii"></HEAD>\r\n'
    "<BODY><h2>Bad Request - Invalid URL</h2>\r\n"
    "<hr><p>HTTP Error 400. The request URL is invalid.</p>\r\n</BODY></HTML>\r\n"
)
LONGEST_SEGMENT = 260
LONGEST_URL = 16_384
FORBIDDEN = frozenset("<>*&\\")
"""Characters that the web server in front allows in no path, decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The ids that an answer carries, in its headers and in the body of an error."""

    request_id: str
    client_request_id: str
    at: float

    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("request-id", self.request_id), ("client-request-id", self.client_request_id))


def answer(body: Any, status: int = 200) -> Response:
    """JSON as Graph sends it."""
    response = json_response(status, body)
    headers = (("Content-Type", JSON_TYPE), ("OData-Version", "4.0"))
    return Response(status=status, headers=headers, body=response.body)


def refused(refusal: Refusal, family: Family, ids: Ids) -> Response:
    """A refusal as its family words it."""
    if refusal.html:
        response = text_response(refusal.status, refusal.message, "text/html")
    else:
        response = _enveloped(refusal, family, ids)
    return response.with_headers(*refusal.headers, *ids.headers())


def throttled(message: str, ids: Ids) -> Response:
    """The 429 of the gateway (https://learn.microsoft.com/graph/throttling)."""
    inner = {
        "code": "429",
        "date": stamp(ids.at).rstrip("Z"),
        "message": "Please retry after",
        "request-id": ids.request_id,
        "status": "429",
    }
    error = {"code": "TooManyRequests", "innerError": inner, "message": message}
    return answer({"error": error}, 429)


def check_url(request: Request) -> None:
    """Refuse what the web server in front lets no service see. Raises Refusal."""
    if len(request.target) > LONGEST_URL:
        page = BAD_URL.replace("Invalid URL", "Request Too Long").replace("400", "414")
        raise Refusal(414, "", page, html=True)
    for segment in request.segments[1:]:
        if len(segment) > LONGEST_SEGMENT or not FORBIDDEN.isdisjoint(segment):
            raise Refusal(400, "", BAD_URL, html=True)


def not_found(target: Target, request: Request) -> Refusal:
    """Return the refusal for an unknown path, or for a verb that it does not have."""
    if target.version not in {"v1.0", "beta"}:
        return Refusal(400, "BadRequest", "Invalid version.", family=Family.GRAPH)
    if target.wrong_method and request.method != "POST":
        text = "Specified HTTP method is not allowed for the request target."
        return Refusal(405, "Request_BadRequest", text, family=Family.GRAPH)
    segment = target.path[-1] if target.path else ""
    text = f"Resource not found for the segment '{segment}'."
    return Refusal(400, "BadRequest", text, family=Family.GRAPH)


def _enveloped(refusal: Refusal, family: Family, ids: Ids) -> Response:
    text = refusal.message
    inner = {
        "date": stamp(ids.at).rstrip("Z"),
        "request-id": ids.request_id,
        "client-request-id": ids.client_request_id,
    }
    if family is Family.INTUNE:
        text = _intune_message(refusal.message, ids)
    error = {"code": refusal.code, "message": text, "innerError": inner}
    return answer({"error": error}, refusal.status)


def _intune_message(text: str, ids: Ids) -> str:
    """The message of Intune's services: JSON in a string."""
    message = (
        f"{text} - Operation ID (for customer support): {NO_ID} - "
        f"Activity ID: {ids.request_id} - Url: {INTUNE_URL}"
    )
    inner = {
        "_version": 3,
        "Message": message,
        "CustomApiErrorPhrase": "",
        "RetryAfter": None,
        "ErrorSourceService": "",
        "HttpHeaders": "{}",
    }
    return json.dumps(inner, indent=2).replace("\n", "\r\n")
