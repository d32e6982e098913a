"""Microsoft Graph as a service of the sandbox: tenants, permissions, headers, and `$batch`.

`$batch` holds up to twenty requests, answered in any order
(https://learn.microsoft.com/graph/json-batching, 2025-02).
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from partner_tools.sandbox.faults import Fault, GraphQuirks
from partner_tools.sandbox.graph.deletion import begin_removal
from partner_tools.sandbox.graph.estate import Estate, register, seed_estate
from partner_tools.sandbox.graph.operations import handler_of
from partner_tools.sandbox.graph.request import (
    Family,
    Ids,
    ParsedRequest,
    Refusal,
    aim,
    answer,
    check_url,
    expansion,
    family_of,
    granted,
    not_found,
    refusal,
    refused,
    throttled,
)
from partner_tools.sandbox.login import GRAPH, Claims, Mint
from partner_tools.sandbox.seed import SeedCustomer
from partner_tools.sandbox.state import State
from partner_tools.sandbox.wire import Call, Headers, Problem, Request, Response, Target, new_id


@dataclass(eq=False)
class Estates:
    """Every tenant by its id. Callers hold the state's lock."""

    state: State
    quirks: Callable[[], GraphQuirks]

    def __post_init__(self) -> None:
        self._estates: dict[str, Estate] = {}
        self.state.follow(self._catch_up)

    def of(self, tenant: str) -> Estate:
        """The tenant (id or domain) as it is now; an empty one where there is no such customer."""
        now = self.state.settle()
        customer = self.state.customer(tenant)
        key = customer.tenant_id.lower() if customer else tenant.lower()
        if key not in self._estates:
            customer = customer or SeedCustomer(tenant_id=key, domain=key, name=key)
            self._estates[key] = Estate(
                tenant_id=customer.tenant_id,
                domain=customer.domain,
                name=customer.name,
                habits=customer.tenant,
                quirks=self.quirks,
                withdraw=partial(self.state.withdraw, key),
            )
            seed_estate(self._estates[key], customer.batches)
        self._follow(self._estates[key], now)
        return self._estates[key]

    def _catch_up(self, now: float) -> None:
        for estate in self._estates.values():
            self._follow(estate, now)

    def _follow(self, estate: Estate, now: float) -> None:
        """Take over the registrations added and removed since the last look."""
        if self.state.customer(estate.tenant_id) is not None:
            for change in self.state.changes(estate.tenant_id, estate.seen):
                estate.seen += 1
                if change.registered:
                    register(estate, change.batch_id, change.device)
                elif change.device.id in estate.identity_ids:
                    begin_removal(estate, estate.identity_ids[change.device.id], change.at)
        estate.happen(now)


MOST = 20
HOP_BY_HOP = frozenset({"content-length", "content-type", "host", "connection", "accept-encoding"})
"""Headers of the batch that are not those of what it holds."""
Carry = Callable[[Request], Response]


def run_batch(parsed: ParsedRequest, carry: Carry, *, in_order: bool) -> Response:
    """Carry out every request of a batch, and shuffle what came of it. Raises Refusal where the
    batch as a whole is wrong."""
    requests = parsed.body().get("requests")
    if not isinstance(requests, list) or not all(isinstance(one, dict) for one in requests):
        raise refusal("bad batch")
    if not requests:
        raise refusal("empty batch")
    if len(requests) > MOST:
        raise refusal("large batch", most=MOST)
    known: set[str] = set()
    for one in requests:
        _check_inner(parsed, one, known)
        known.add(_name(one).lower())
    failed: set[str] = set()
    responses = []
    for one in requests:
        responses.append(_run_inner(parsed, one, carry, failed))
        if responses[-1]["status"] >= 400:
            failed.add(_name(one).lower())
    if not in_order:
        random.Random(parsed.new_id()).shuffle(responses)  # noqa: S311 - an order, not a secret
    return answer({"responses": responses})


def _check_inner(parsed: ParsedRequest, one: Mapping[str, Any], known: set[str]) -> None:
    name, method, url = _name(one), one.get("method"), one.get("url")
    if not all(isinstance(text, str) and text for text in (name, method, url)):
        raise refusal("incomplete step")
    if name.lower() in known:
        raise refusal("repeated step", name=name)
    if _path(parsed, str(url)) is None:
        raise refusal("absolute url", name=name)
    named = {str(header).lower() for header in one.get("headers") or {}}
    if one.get("body") is not None and "content-type" not in named:
        raise refusal("step without type", name=name)
    unknown = sorted({str(other).lower() for other in one.get("dependsOn") or ()} - known)
    if unknown:
        raise refusal("step too early", name=name, other=unknown[0])


def _run_inner(
    parsed: ParsedRequest, one: Mapping[str, Any], carry: Carry, failed: set[str]
) -> dict[str, Any]:
    if any(str(other).lower() in failed for other in one.get("dependsOn") or ()):
        return _failed(one, 424, "FailedDependency", "A request that this one needs failed.")
    given, body = one.get("headers") or {}, one.get("body")
    outer = {n: text for n, text in parsed.request.headers.items() if n not in HOP_BY_HOP}
    request = Request(
        method=one["method"].upper(),
        target=f"/{parsed.target.version}/{_path(parsed, one['url'])}",
        headers=outer | {str(name).lower(): str(text) for name, text in given.items()},
        body=b"" if body is None else json.dumps(body).encode("utf-8"),
        base_url=parsed.request.base_url,
    )
    if "$batch" in (part.lower() for part in request.segments):
        return _failed(one, 400, "BadRequest", "A batch cannot hold a batch.")
    response = carry(request)
    found = {"id": _name(one), "status": response.status, "headers": dict(response.headers)}
    if response.body:
        try:
            found["body"] = json.loads(response.body)
        except ValueError:
            found["body"] = base64.b64encode(response.body).decode("ascii")
    return found


def _name(one: Mapping[str, Any]) -> str:
    """The id of an inner request. Clients send numbers too; answers carry them as text."""
    name = one.get("id")
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) else ""


def _failed(one: Mapping[str, Any], status: int, code: str, message: str) -> dict[str, Any]:
    """The answer to a request that is not carried out; with a type, as every body has one."""
    return {
        "id": _name(one),
        "status": status,
        "headers": {"Content-Type": "application/json"},
        "body": {"error": {"code": code, "message": message}},
    }


def _path(parsed: ParsedRequest, url: str) -> str | None:
    """Return an inner url's path after the version. Microsoft's Python client sends it whole, with
    the host and the version of the batch; None for any other host.
    """
    if "://" not in url.partition("?")[0]:
        return url.lstrip("/")
    whole = f"{parsed.request.base_url}/{parsed.target.version}/"
    return url[len(whole) :] if url.lower().startswith(whole.lower()) else None


AUDIENCES = frozenset({GRAPH, "00000003-0000-0000-c000-000000000000"})
CODES = {
    400: "BadRequest",
    401: "InvalidAuthenticationToken",
    403: "Forbidden",
    404: "NotFound",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
"""The code of an injected error that says none, by its status."""


@dataclass(eq=False)
class Graph:
    """Answers as `graph.microsoft.com` does; the token says for which tenant.

    `carry` answers the requests inside a `$batch`, under faults and limits of their own.
    """

    name = "graph"
    secure_only = False

    state: State
    mint: Mint
    quirks: Callable[[], GraphQuirks]
    clock: Callable[[], float]
    carry: Carry
    seed: int

    def __post_init__(self) -> None:
        self.estates = Estates(self.state, self.quirks)
        self._random = random.Random(f"graph {self.seed}")  # noqa: S311 - ids, not secrets

    def read(self, request: Request) -> Call:
        target, claims = aim(request), self.mint.read(request.bearer)
        tenant = str(claims["tid"]) if claims else None
        return Call(
            operation=target.operation,
            act=lambda fault: self._act(request, target, fault),
            partner=str(claims["appid"]) if claims else None,
            customer=tenant,
            serial=self._serial(target, tenant),
            continued="skiptoken" in request.target,
        )

    def problem(self, problem: Problem) -> Response:
        request, status = problem.request, problem.status
        ids = self._ids(request)
        if status == 429:
            message = problem.description or "Please retry again later."
            headers = self._throttle_headers(request) if request else ()
            return throttled(message, ids).with_headers(*headers, *ids.headers())
        code = str(problem.code or CODES.get(status, "InternalServerError"))
        shown = Family.GRAPH if problem.gateway or not request else family_of(aim(request))
        return refused(Refusal(status=status, code=code, text=problem.text), shown, ids)

    def expired(self) -> Response:
        return refused(refusal("expired token"), Family.GRAPH, self._ids(None))

    def stamp(self, request: Request, response: Response) -> Response:
        """The ids, where an answer does not have them yet, and who answered."""
        carried = {name.lower() for name, _ in response.headers}
        ids = () if "request-id" in carried else self._ids(request).headers()
        diagnostic = '{"ServerInfo":{"DataCenter":"Loopback","Slice":"E","Ring":"1"}}'
        return response.with_headers(
            ("Cache-Control", "no-cache"), *ids, ("x-ms-ags-diagnostic", diagnostic)
        )

    def truth(self, tenant: str) -> Mapping[str, Any]:
        """Everything in a tenant as it is, whatever the services show of it."""
        with self.state.lock:
            return self.estates.of(tenant).truth()

    def _act(self, request: Request, target: Target, fault: Fault | None) -> Response:
        ids = self._ids(request)
        try:
            check_url(request)
            claims = self._authorized(request, target)
            return self._outcome(request, target, claims, fault).with_headers(*ids.headers())
        except Refusal as error:
            return refused(error, error.family or family_of(target), ids)

    def _outcome(
        self, request: Request, target: Target, claims: Claims, fault: Fault | None
    ) -> Response:
        quirks = self.quirks()
        with self.state.lock:
            parsed = ParsedRequest(
                request=request,
                target=target,
                claims=claims,
                estate=self.estates.of(str(claims["tid"])),
                quirks=quirks,
                now=self.clock(),
                new_id=lambda: new_id(self._random),
                fault=fault,
                expanded=expansion(request, target.route) if target.route else (),
            )
            if target.operation != "batch":
                return handler_of(target.operation)(parsed)
        # Without the lock: what the batch holds may wait for a fault of its own.
        return run_batch(parsed, self.carry, in_order=quirks.batch_in_order)

    def _authorized(self, request: Request, target: Target) -> Claims:
        """The claims of a token that may ask for this. Raises Refusal."""
        if request.header("Authorization") is None:
            raise refusal("no token")
        claims = self.mint.read(request.bearer)
        if claims is None or "aud" not in claims:
            raise refusal("malformed token")
        if self.mint.expired(claims):
            raise refusal("expired token")
        if claims["aud"] not in AUDIENCES:
            raise refusal("other audience")
        if target.route is None:
            raise not_found(target, request)
        permissions = target.route.permissions
        if permissions and granted(claims).isdisjoint(permissions):
            raise _forbidden(target, permissions)
        customer = self.state.customer(str(claims["tid"]))
        licensed = customer is not None and customer.tenant.intune_license
        if family_of(target) is Family.INTUNE and not licensed:
            raise refusal("no license")
        return claims

    def _throttle_headers(self, request: Request) -> Headers:
        """The directory's headers of 429 (https://learn.microsoft.com/graph/throttling-limits)."""
        claims = self.mint.read(request.bearer)
        if claims is None or family_of(aim(request)) is not Family.DIRECTORY:
            return ()
        kind = "Read" if request.method == "GET" else "Write"
        scope = f"Tenant_Application/{kind}/{claims['appid']}/{claims['tid']}"
        reason = "ResourceUnitLimitExceeded" if kind == "Read" else "WriteLimitExceeded"
        return (("x-ms-throttle-scope", scope), ("x-ms-throttle-information", reason))

    def _serial(self, target: Target, tenant: str | None) -> str | None:
        """Of the device that the path names, while it is there."""
        name = target.names.get("id")
        if not name or tenant is None:
            return None
        with self.state.lock:
            estate = self.estates.of(tenant)
            row = estate.identities.get(name) or estate.managed.get(name)
        return str(row["serialNumber"]) if row else None

    def _ids(self, request: Request | None) -> Ids:
        request_id = new_id(self._random)
        sent = request.echoable("client-request-id") if request else None
        return Ids(request_id=request_id, client_request_id=sent or request_id, at=self.clock())


def _forbidden(target: Target, permissions: tuple[str, ...]) -> Refusal:
    if family_of(target) is Family.INTUNE:
        return refusal("out of scope", scopes=", ".join(permissions))
    about_keys = "recoverykeys" in (part.lower() for part in target.path)
    return refusal("key denied" if about_keys else "denied")
