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
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.resources import files
from typing import Any

from partner_tools.json_forms import structure
from partner_tools.model import is_guid
from partner_tools.sandbox.faults import GraphQuirks
from partner_tools.sandbox.graph.estate import NO_ID, Estate, Row, Table, stamp
from partner_tools.sandbox.login import Claims
from partner_tools.sandbox.reading import read_data
from partner_tools.sandbox.wire import (
    Headers,
    ListRequest,
    Request,
    Response,
    Route,
    Target,
    find_target,
    json_response,
    text_response,
)

VERSIONS = ("v1.0", "beta")


class Family(StrEnum):
    """The service behind the shared endpoint that answers, which decides the form of its errors."""

    GRAPH = "graph"
    INTUNE = "intune"
    DIRECTORY = "directory"


ROUTES = tuple(structure(Route, row) for row in read_data(__package__, "routes.json"))
"""Every operation. Where two paths fit, the first one counts."""

_KEYED = re.compile(r"(?P<set>[A-Za-z]+)\((?P<key>.+)\)")
_QUOTED = re.compile(r"'(?P<text>.*)'")


@dataclass(eq=False, kw_only=True)
class Refusal(Exception):
    """An answer other than success. `html`: the text is a page of the web server in front.

    `family` words it; without one, the service that the path leads to.
    """

    text: str
    status: int = 400
    code: str = "BadRequest"
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
    return structure(Refusal, {**row, "text": row["text"].format(**names)})


def family_of(target: Target) -> Family:
    """The service that a path leads to."""
    first = target.path[0].lower() if target.path else ""
    if target.operation == "batch":
        return Family.GRAPH
    return Family.INTUNE if first == "devicemanagement" else Family.DIRECTORY


def option(request: Request, name: str) -> str | None:
    """A query option, with or without its `$` (https://learn.microsoft.com/graph)."""
    return request.query.get(f"${name}", request.query.get(name))


def expansion(request: Request, route: Route) -> tuple[str, ...]:
    """The names in `$expand`. Raises Refusal for one that the route does not expand."""
    known = {name.lower(): name for name in route.expand}
    plain = re.sub(r"\([^()]*\)", "", option(request, "expand") or "")
    names = [name.strip() for name in plain.split(",") if name.strip()]
    for name in names:
        if name.lower() not in known:
            raise refusal("unknown expansion", name=name)
    return tuple(known[name.lower()] for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest(ListRequest):
    """A request that was understood and is permitted, and the tenant that it is about."""

    target: Target
    claims: Claims
    estate: Estate
    quirks: GraphQuirks
    now: float
    new_id: Callable[[], str]
    expanded: tuple[str, ...] = ()
    """The names in `$expand`."""

    @property
    def name(self) -> str:
        """The value of `{id}` in the path."""
        return self.target.names.get("id", "")

    @property
    def beta(self) -> bool:
        return self.target.version == "beta"

    def option(self, name: str) -> str | None:
        return option(self.request, name)

    @property
    def eventual(self) -> bool:
        """Whether the advanced query capabilities of the directory are asked for."""
        return (self.request.header("ConsistencyLevel") or "").lower() == "eventual"

    @property
    def counting(self) -> bool:
        """Whether they are asked for with a count, as further filters need them."""
        return self.eventual and (self.option("count") or "").lower() == "true"

    @property
    def since(self) -> float | None:
        """From when on what went is still in the list that it gets; None: it is up to date."""
        return self.now - self.age if self.age else None

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
    """Read the path of a request."""
    return find_target(ROUTES, VERSIONS, request.method, _unfolded(request.segments))


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
        response = text_response(refusal.status, refusal.text, "text/html")
    else:
        intune = family is Family.INTUNE
        inner = {
            "date": stamp(ids.at).rstrip("Z"),
            "request-id": ids.request_id,
            "client-request-id": ids.client_request_id,
        }
        message = _intune_message(refusal.text, ids) if intune else refusal.text
        error = {"code": refusal.code, "message": message, "innerError": inner}
        response = answer({"error": error}, refusal.status)
    challenge = (_CHALLENGE,) if refusal.status == 401 else ()
    return response.with_headers(*challenge, *refusal.headers, *ids.headers())


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
        raise Refusal(status=414, text=page, html=True)
    for segment in request.segments[1:]:
        if len(segment) > LONGEST_SEGMENT or not FORBIDDEN.isdisjoint(segment):
            raise Refusal(text=BAD_URL, html=True)


def not_found(target: Target, request: Request) -> Refusal:
    """Return the refusal for an unknown path, or for a verb that it does not have."""
    if target.version not in VERSIONS:
        return refusal("unknown version")
    if target.wrong_method and request.method != "POST":
        return refusal("wrong method")
    return refusal("unknown segment", name=target.path[-1] if target.path else "")
