"""Reads a request to Microsoft Graph, and writes refusals: the table of operations, paths, errors.

`routes.json` holds the operations: their paths, the permissions of which any one suffices (none:
any token), and the versions that have them, both where it names none
(https://learn.microsoft.com/graph/api and the metadata of 2026-08-20,
https://github.com/microsoftgraph/msgraph-metadata). Errors differ between Intune's services, the
directory and the web server in front of them: https://learn.microsoft.com/graph/errors,
microsoftgraph/msgraph-sdk-powershell#2464 and ugurkocde/DeviceOffboardingManager issues 52, 69
and 70 (2025-09, 2026-07).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.resources import files
from typing import Any

from partner_tools.json_forms import structure
from partner_tools.model import is_guid
from partner_tools.sandbox.faults import Fault, FaultKind, GraphQuirks
from partner_tools.sandbox.graph.estate import NO_ID, Estate, Row, Table, stamp
from partner_tools.sandbox.login import Claims
from partner_tools.sandbox.reading import named, read_data
from partner_tools.sandbox.wire import (
    Headers,
    Request,
    Response,
    json_response,
    match_path,
    text_response,
)

VERSIONS = ("v1.0", "beta")


class Family(StrEnum):
    """The service behind the shared endpoint that answers, which decides the form of its errors."""

    GRAPH = "graph"
    INTUNE = "intune"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation. The path is in lower case."""

    operation: str
    method: str
    path: tuple[str, ...] = field(
        metadata=named("path", lambda text: tuple(text.lower().split("/")))
    )
    permissions: tuple[str, ...]
    versions: tuple[str, ...] = VERSIONS


ROUTES = tuple(structure(Route, row) for row in read_data(__package__, "routes.json"))
"""Every operation. Where two paths fit, the first one counts."""

_KEYED = re.compile(r"(?P<set>[A-Za-z]+)\((?P<key>.+)\)")
_QUOTED = re.compile(r"'(?P<text>.*)'")


@dataclass(eq=False)
class Refusal(Exception):
    """An answer other than success. `html`: the message is a page of the web server in front.

    `family` words it; without one, the service that the path leads to.
    """

    status: int
    code: str
    message: str
    headers: Headers = ()
    html: bool = False
    family: Family | None = None


_REFUSALS = read_data(__package__, "refusals.json")
_CHALLENGE = (
    "WWW-Authenticate",
    'Bearer realm="", authorization_uri='
    '"https://login.microsoftonline.com/common/oauth2/authorize", '
    'client_id="00000003-0000-0000-c000-000000000000"',
)


def refusal(key: str, **names: object) -> Refusal:
    """A refusal of `refusals.json`."""
    row = _REFUSALS[key]
    status, code = row.get("status", 400), row.get("code", "BadRequest")
    headers = (_CHALLENGE,) if status == 401 else ()
    family = Family(row["family"]) if "family" in row else None
    return Refusal(status, code, row["text"].format(**names), headers=headers, family=family)


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
        first = self.path[0].lower() if self.path else ""
        if self.route is not None and first == "$batch":
            return Family.GRAPH
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

    def option(self, name: str) -> str | None:
        """A query option, with or without its `$` (https://learn.microsoft.com/graph)."""
        query = self.request.query
        return query.get(f"${name}", query.get(name))

    @property
    def eventual(self) -> bool:
        """Whether the advanced query capabilities of the directory are asked for."""
        return (self.request.header("ConsistencyLevel") or "").lower() == "eventual"

    @property
    def counting(self) -> bool:
        """Whether they are asked for with a count, as further filters need them."""
        return self.eventual and (self.option("count") or "").lower() == "true"

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
            raise refusal("bad body")
        return body

    def row(self, table: Table) -> Row:
        """The row that the path names, of one of Intune's tables. Raises Refusal."""
        if not is_guid(self.name):
            raise refusal("bad id")
        row = table.get(self.name)
        if row is None:
            raise refusal("unknown device")
        return row

    def answer(self, context: str, body: Mapping[str, Any], status: int = 200) -> Response:
        """The body under its `@odata.context`."""
        base = f"{self.request.base_url}/{self.target.version}"
        return answer({"@odata.context": f"{base}/$metadata#{context}", **body}, status)


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
        names = match_path(route.path, path)
        if names is None or version not in route.versions:
            continue
        if route.method == request.method:
            return Target(version=version, path=path, route=route, name=names.get("id", ""))
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


JSON_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8"
)
INTUNE_URL = "https://fef.msub01.manage.microsoft.com/DeviceEnrollmentFE/StatelessService/"
BAD_URL = files(__package__).joinpath("bad_url.html").read_text("ascii").replace("\n", "\r\n")
"""A page of the web server in front."""
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

    def headers(self) -> Headers:
        return (("request-id", self.request_id), ("client-request-id", self.client_request_id))


def answer(body: Any, status: int = 200) -> Response:
    headers = (("Content-Type", JSON_TYPE), ("OData-Version", "4.0"))
    return replace(json_response(status, body), headers=headers)


def refused(refusal: Refusal, family: Family, ids: Ids) -> Response:
    """A refusal as its family words it."""
    if refusal.html:
        response = text_response(refusal.status, refusal.message, "text/html")
    else:
        intune = family is Family.INTUNE
        inner = {
            "date": stamp(ids.at).rstrip("Z"),
            "request-id": ids.request_id,
            "client-request-id": ids.client_request_id,
        }
        message = _intune_message(refusal.message, ids) if intune else refusal.message
        error = {"code": refusal.code, "message": message, "innerError": inner}
        response = answer({"error": error}, refusal.status)
    return response.with_headers(*refusal.headers, *ids.headers())


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
    if target.version not in VERSIONS:
        return refusal("unknown version")
    if target.wrong_method and request.method != "POST":
        return refusal("wrong method")
    return refusal("unknown segment", name=target.path[-1] if target.path else "")
