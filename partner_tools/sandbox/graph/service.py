"""Microsoft Graph as a service of the sandbox: reading, permission, headers, errors."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from partner_tools.sandbox.faults import Fault, GraphQuirks
from partner_tools.sandbox.graph import autopilot, batch, directory, door, intune
from partner_tools.sandbox.graph.asked import Asked, Family, Refusal, Target, aim, granted
from partner_tools.sandbox.graph.estates import Estates
from partner_tools.sandbox.graph.refusals import Ids, check_url, not_found, refused, throttled
from partner_tools.sandbox.service import Answer, Call, Problem
from partner_tools.sandbox.state import State
from partner_tools.sandbox.tokens import GRAPH, Claims, Mint
from partner_tools.sandbox.wire import Request, Response, reason_phrase

AUDIENCES = frozenset({GRAPH, "00000003-0000-0000-c000-000000000000"})
CODES = {400: "BadRequest", 401: "InvalidAuthenticationToken", 403: "Forbidden", 404: "NotFound"}
"""The code of an injected error that says none, by its status."""
OTHER_CODES = {429: "TooManyRequests", 503: "ServiceUnavailable", 504: "GatewayTimeout"}
PLAIN = re.compile(r"[!-~][ -~]{0,127}")
"""What may be echoed in a header."""
HANDLERS: Mapping[str, Callable[[Asked], Response]] = {
    **autopilot.HANDLERS,
    **intune.HANDLERS,
    **directory.HANDLERS,
}


class Graph:
    """Answers as `graph.microsoft.com` does; the token says for which tenant.

    `carry` answers the requests inside a `$batch`, under faults and limits of their own.
    """

    name = "graph"
    secure_only = False

    def __init__(
        self,
        state: State,
        mint: Mint,
        quirks: Callable[[], GraphQuirks],
        clock: Callable[[], float],
        carry: Callable[[Request], Response],
        *,
        seed: int,
    ) -> None:
        self.estates = Estates(state, quirks)
        self._state = state
        self._mint = mint
        self._quirks = quirks
        self._clock = clock
        self._carry = carry
        self._random = random.Random(f"graph {seed}")  # noqa: S311 - ids, not secrets

    def read(self, request: Request) -> Call:
        target, claims = aim(request), self._claims(request)
        tenant = str(claims["tid"]) if claims else None
        return Call(
            operation=target.operation,
            act=lambda fault: Answer(response=self._act(request, target, fault)),
            partner=str(claims["appid"]) if claims else None,
            customer=tenant,
            serial=self._serial(target, tenant),
            continued="skiptoken" in request.target,
        )

    def problem(self, problem: Problem) -> Response:
        request = problem.request
        ids, status = self._ids(request), problem.status
        text = problem.description or reason_phrase(status)
        if status == 429:
            message = problem.description or "Please retry again later."
            headers = self._throttle_headers(request) if request else ()
            return throttled(message, ids).with_headers(*headers, *ids.headers())
        code = problem.code or CODES.get(status) or OTHER_CODES.get(status, "InternalServerError")
        family = aim(request).family if request else Family.GRAPH
        shown = Family.GRAPH if problem.gateway else family
        return refused(Refusal(status, str(code), text), shown, ids)

    def expired(self) -> Response:
        return refused(_stale_token(), Family.GRAPH, self._ids(None))

    def stamp(self, request: Request, response: Response) -> Response:
        """The ids, where an answer does not have them yet, and who answered."""
        carried = {name.lower() for name, _ in response.headers}
        ids = () if "request-id" in carried else self._ids(request).headers()
        diagnostic = '{"ServerInfo":{"DataCenter":"Loopback","Slice":"E","Ring":"1"}}'
        return response.with_headers(
            ("Cache-Control", "no-cache"), *ids, ("x-ms-ags-diagnostic", diagnostic)
        )

    def door(self, request: Request) -> Response | None:
        """What the sandbox's own door asks of a tenant; None where there is nothing."""
        parts = request.segments
        if len(parts) < 2 or parts[0] != "graph" or self._state.customer(parts[1]) is None:
            return None
        with self._state.lock:
            return door.answer(request, self.estates.of(parts[1]), self._clock())

    def truth(self, tenant: str) -> Mapping[str, Any]:
        """Everything in a tenant as it is, whatever the services show of it."""
        with self._state.lock:
            return self.estates.of(tenant).truth()

    def _act(self, request: Request, target: Target, fault: Fault | None) -> Response:
        ids = self._ids(request)
        try:
            check_url(request)
            claims = self._authorized(request, target)
            return self._outcome(request, target, claims, fault).with_headers(*ids.headers())
        except Refusal as refusal:
            return refused(refusal, refusal.family or target.family, ids)

    def _outcome(
        self, request: Request, target: Target, claims: Claims, fault: Fault | None
    ) -> Response:
        quirks = self._quirks()
        with self._state.lock:
            estate = self.estates.of(str(claims["tid"]))
            asked = Asked(
                request=request,
                target=target,
                claims=claims,
                estate=estate,
                quirks=quirks,
                now=self._clock(),
                new_id=self._id,
                fault=fault,
            )
            if target.operation != "batch":
                return HANDLERS[target.operation](asked)
        return batch.run(asked, self._carry, in_order=quirks.batch_in_order)

    def _authorized(self, request: Request, target: Target) -> Claims:
        """The claims of a token that may ask for this. Raises Refusal."""
        if request.header("Authorization") is None:
            raise _no_token("Access token is empty.")
        claims = self._claims(request)
        if claims is None or "aud" not in claims:
            raise _no_token("IDX14100: JWT is not well formed, there are no dots (.).")
        if self._mint.expired(claims):
            raise _stale_token()
        if claims["aud"] not in AUDIENCES:
            raise _no_token("Access token validation failure. Invalid audience.")
        if target.route is None:
            raise not_found(target, request)
        self._check_rights(target, claims)
        return claims

    def _check_rights(self, target: Target, claims: Claims) -> None:
        route = target.route
        if route is None or (route.permissions and granted(claims).isdisjoint(route.permissions)):
            raise _forbidden(target)
        customer = self._state.customer(str(claims["tid"]))
        licensed = customer is not None and customer.tenant.intune_license
        if target.family is Family.INTUNE and not licensed:
            raise Refusal(400, "BadRequest", "Request not applicable to target tenant.")

    def _throttle_headers(self, request: Request) -> tuple[tuple[str, str], ...]:
        """What the directory adds to a 429 (https://learn.microsoft.com/graph/throttling-limits)."""
        claims = self._claims(request)
        if claims is None or aim(request).family is not Family.DIRECTORY:
            return ()
        kind = "Read" if request.method == "GET" else "Write"
        scope = f"Tenant_Application/{kind}/{claims['appid']}/{claims['tid']}"
        reason = "ResourceUnitLimitExceeded" if kind == "Read" else "WriteLimitExceeded"
        return (("x-ms-throttle-scope", scope), ("x-ms-throttle-information", reason))

    def _serial(self, target: Target, tenant: str | None) -> str | None:
        """Of the device that the path names, while it is there."""
        if not target.name or tenant is None:
            return None
        with self._state.lock:
            estate = self.estates.of(tenant)
            row = estate.identities.get(target.name) or estate.managed.get(target.name)
        return str(row["serialNumber"]) if row else None

    def _claims(self, request: Request) -> Claims | None:
        scheme, _, token = (request.header("Authorization") or "").partition(" ")
        return self._mint.read(token.strip()) if scheme.lower() == "bearer" else None

    def _ids(self, request: Request | None) -> Ids:
        sent = request.header("client-request-id") if request else None
        request_id = self._id()
        echoed = sent if sent and PLAIN.fullmatch(sent) else request_id
        return Ids(request_id=request_id, client_request_id=echoed, at=self._clock())

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def _no_token(text: str) -> Refusal:
    challenge = (
        'Bearer realm="", authorization_uri='
        '"https://login.microsoftonline.com/common/oauth2/authorize", '
        'client_id="00000003-0000-0000-c000-000000000000"'
    )
    headers = (("WWW-Authenticate", challenge),)
    return Refusal(401, "InvalidAuthenticationToken", text, headers=headers, family=Family.GRAPH)


def _stale_token() -> Refusal:
    return _no_token("Lifetime validation failed, the token is expired.")


def _forbidden(target: Target) -> Refusal:
    route = target.route
    names = ", ".join(route.permissions) if route else ""
    if target.family is Family.INTUNE:
        text = (
            "Application is not authorized to perform this operation. Application must have one "
            f"of the following scopes: {names}"
        )
        return Refusal(403, "Forbidden", text)
    if "recoverykeys" in (part.lower() for part in target.path):
        text = "Failed to authorize, token doesn't have the required permissions."
        return Refusal(403, "authorization_error", text)
    text = "Insufficient privileges to complete the operation."
    return Refusal(403, "Authorization_RequestDenied", text)
