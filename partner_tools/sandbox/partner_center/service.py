"""Partner Center as a service of the sandbox: reading, permission, repetition, headers, errors."""

from __future__ import annotations

import random
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil

from partner_tools.sandbox.faults import Fault, Quirks, chance
from partner_tools.sandbox.partner_center.asked import Asked, Refusal, route
from partner_tools.sandbox.partner_center.operations import Operations
from partner_tools.sandbox.seed import ADMIN_AGENT, SALES_AGENT, SeedDevice
from partner_tools.sandbox.service import Answer, Call, Problem
from partner_tools.sandbox.state import State
from partner_tools.sandbox.tokens import PARTNER_CENTER, Claims, Mint
from partner_tools.sandbox.wire import BOM, Request, Response, json_response, reason_phrase

AUDIENCES = frozenset({PARTNER_CENTER, "https://partner.partnercenterapi.microsoftonline.cn"})
REMEMBERED_REQUESTS = 200_000
"""How many request ids keep their outcome for a repetition."""
USER_ONLY = frozenset({"create-batch"})
CHANGING = frozenset(
    {"create-batch", "add-devices", "delete-device", "update-device", "update-policies"}
)
CODES = {400: 3000, 401: 400, 403: 2032, 404: 1000}
"""The code of an injected error that says none."""
PLAIN = re.compile(r"[!-~][ -~]{0,127}")
"""What may be echoed in a header."""


class PartnerCenter:
    """Answers as `api.partnercenter.microsoft.com` does."""

    name = "partnerCenter"
    secure_only = False

    def __init__(
        self,
        state: State,
        mint: Mint,
        quirks: Callable[[], Quirks],
        clock: Callable[[], float],
        *,
        seed: int,
    ) -> None:
        self._state = state
        self._mint = mint
        self._quirks = quirks
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - ids of a sandbox, not secrets
        self._operations = Operations(state=state, quirks=quirks, clock=clock, new_id=self._id)
        self._lock = threading.Lock()
        self._outcomes: OrderedDict[tuple[str, str, str], Response] = OrderedDict()

    def read(self, request: Request) -> Call:
        operation, names = route(request)
        claims = self._claims(request)
        customer = self._state.customer(names["customer"]) if "customer" in names else None
        device = self._device(customer.tenant_id, names) if customer else None
        return Call(
            operation=operation,
            act=lambda fault: self._act(request, operation, names, fault),
            partner=str(claims["tid"]) if claims else None,
            customer=customer.tenant_id if customer else names.get("customer"),
            batch=names.get("batch"),
            serial=device.serial_number if device else None,
            continued=request.header("MS-ContinuationToken") is not None,
        )

    def problem(self, problem: Problem) -> Response:
        if problem.status == 429 or problem.gateway:
            return _gateway_problem(problem)
        code = CODES.get(problem.status, 800003) if problem.code is None else problem.code
        return self._fault(
            problem.status, code, problem.description or reason_phrase(problem.status)
        )

    def expired(self) -> Response:
        return self._fault(401, 400, "Access denied. The access token has expired.")

    def stamp(self, request: Request, response: Response) -> Response:
        """The headers in the order of recorded sessions; ids are echoed, as a rule."""
        request_id = _echo(request.header("MS-RequestId"))
        correlation_id = _echo(request.header("MS-CorrelationId"))
        locale = _echo(request.header("X-Locale"))
        if self._answers_under_other_id(request_id):
            correlation_id = None
        return response.with_headers(
            ("MS-CorrelationId", correlation_id or self._id()),
            ("MS-RequestId", request_id or self._id()),
            *((("X-Locale", locale),) if locale else ()),
            ("MS-CV", f"{self._id().replace('-', '')[:16]}.0"),
            ("MS-ServerId", "201022015"),
            ("Request-Context", "appId=cid-v1:00000000-0000-0000-0000-000000000000"),
            *_mfa_header(request, self._claims(request)),
        )

    def _act(
        self, request: Request, operation: str, names: Mapping[str, str], fault: Fault | None
    ) -> Answer:
        try:
            claims = self._authorized(request, operation)
        except Refusal as refusal:
            return Answer(response=self._refused(refusal))
        asked = Asked(request=request, operation=operation, names=names, claims=claims, fault=fault)
        request_id = request.header("MS-RequestId")
        if request_id is None or operation not in CHANGING:
            return Answer(response=self._outcome(asked))
        return self._once(asked, (request_id.lower(), request.method, request.path))

    def _once(self, asked: Asked, key: tuple[str, str, str]) -> Answer:
        """Carry out, unless the same request id has its outcome already."""
        with self._lock:
            known = self._outcomes.get(key)
            if known is not None:
                return Answer(response=known, replayed=True)
            response = self._outcomes[key] = self._outcome(asked)
            if len(self._outcomes) > REMEMBERED_REQUESTS:
                self._outcomes.popitem(last=False)
            return Answer(response=response)

    def _outcome(self, asked: Asked) -> Response:
        try:
            return self._marked(self._operations.carry_out(asked))
        except Refusal as refusal:
            return self._refused(refusal)

    def _authorized(self, request: Request, operation: str) -> Claims:
        """The claims of a token that may ask for this operation."""
        if request.header("Authorization") is None:
            raise Refusal(401, 800001, "Partner token missing in request context")
        claims = self._claims(request)
        if claims is None or "aud" not in claims:
            raise Refusal(401, 400, "Access denied. The access token is not valid.")
        if self._mint.expired(claims):
            raise Refusal(401, 400, "Access denied. The access token has expired.")
        if claims["aud"] not in AUDIENCES:
            text = "The audience in the token is invalid and is no longer supported."
            raise Refusal(401, 900420, text)
        _check_rights(claims, operation)
        return claims

    def _claims(self, request: Request) -> Claims | None:
        scheme, _, token = (request.header("Authorization") or "").partition(" ")
        return self._mint.read(token.strip()) if scheme.lower() == "bearer" else None

    def _device(self, customer: str, names: Mapping[str, str]) -> SeedDevice | None:
        if "device" not in names:
            return None
        return self._state.seen(customer, names["batch"], names["device"])

    def _refused(self, refusal: Refusal) -> Response:
        response = self._fault(refusal.status, refusal.code, refusal.description)
        if refusal.status != 401:
            return response
        realm = f"OAuth realm=urn:cpsvc:cpid:{self._state.seed.partner.tenant_id}"
        return response.with_headers(("WWW-Authenticate", realm))

    def _fault(self, status: int, code: int | str, description: str) -> Response:
        shown = str(code) if self._quirks().codes_as_text else code
        body: dict[str, object] = {
            "code": shown,
            "description": description,
            "data": [],
            "source": "PartnerApiServiceCore",
        }
        return self._marked(json_response(status, body))

    def _marked(self, response: Response) -> Response:
        """The answer behind a byte order mark, as production sends its JSON."""
        if not response.body or not self._quirks().bom:
            return response
        return replace(response, body=BOM + response.body)

    def _answers_under_other_id(self, request_id: str | None) -> bool:
        share = self._quirks().foreign_correlation_id
        return chance(self._seed, "correlation", request_id) < share

    def _id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))


def _gateway_problem(problem: Problem) -> Response:
    message = problem.description or reason_phrase(problem.status)
    if problem.status == 429:
        seconds = ceil(problem.wait or 1.0)
        message = f"Rate limit is exceeded. Try again in {seconds} seconds."
    return json_response(problem.status, {"statusCode": problem.status, "message": message})


def _check_rights(claims: Claims, operation: str) -> None:
    if claims["idtyp"] == "app":
        if operation in USER_ONLY:
            raise Refusal(403, 900329, "App-only authentication is not supported here.")
        return
    if "mfa" not in claims["amr"]:
        raise Refusal(401, 900421, "Multi-factor authentication is required.")
    if not {ADMIN_AGENT, SALES_AGENT}.intersection(claims["roles"]):
        raise Refusal(403, 900150, "The supplied role does not have the rights to do this.")


def _mfa_header(request: Request, claims: Claims | None) -> tuple[tuple[str, str], ...]:
    """The answer to `ValidateMfa: true`. That it is a header is an assumption."""
    if (request.header("ValidateMfa") or "").lower() != "true" or claims is None:
        return ()
    return (("isMfaCompliant", str("mfa" in claims.get("amr", ())).lower()),)


def _echo(value: str | None) -> str | None:
    """What came, if it can stand in a header again."""
    return value if value and PLAIN.fullmatch(value) else None
