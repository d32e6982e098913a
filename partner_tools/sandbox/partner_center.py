"""Partner Center's REST API as a service of the sandbox, as far as devices are concerned.

Documented or recorded behaviour is served as such; the rest is an assumption and listed
as such in `docs/reference/sandbox.md`: 404 with code 1000 for a device that is gone, 403 with 811
for one that another registered, 400 with 3000 for one that may not be deleted and for a batch that
exists already, batch ids found in any letter case, a continuation token that is a position.
"""

from __future__ import annotations

import json
import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil
from typing import Any

from partner_tools.sandbox.faults import Fault, Quirks, chance
from partner_tools.sandbox.login import PARTNER_CENTER, Claims, Mint
from partner_tools.sandbox.partner_center_wire import (
    UNKNOWN,
    WRONG_METHOD,
    Object,
    ParsedRequest,
    Refusal,
    audit_item,
    batch_item,
    collection,
    customer_item,
    customer_whole,
    device_from,
    device_item,
    devices_page,
    job_item,
    query_page,
    route,
)
from partner_tools.sandbox.seed import (
    ADMIN_AGENT,
    SALES_AGENT,
    Relationship,
    SeedBatch,
    SeedCustomer,
    SeedDevice,
)
from partner_tools.sandbox.state import AuditRecord, Removal, State, Ticket
from partner_tools.sandbox.wire import (
    BOM,
    Call,
    Headers,
    Problem,
    Request,
    Response,
    is_guid,
    json_response,
    new_id,
)

DAY = 86_400.0

REFUSALS: Mapping[str, tuple[int, int, str]] = {
    UNKNOWN: (404, 1000, "Not found"),
    WRONG_METHOD: (405, 3000, "This resource does not support the method."),
    Removal.NO_BATCH: (404, 1000, "Device batch not found"),
    Removal.NO_DEVICE: (404, 1000, "Device not found"),
    Removal.NOT_OWNED: (
        403,
        811,
        "ZtdDeviceRegisteredByOtherTenant: the device was registered by another tenant",
    ),
    Removal.NOT_ALLOWED: (400, 3000, "DELETE is not an allowed operation of this device"),
}

CUSTOMER_FIELDS: Mapping[str, Callable[[SeedCustomer], str]] = {
    "companyname": lambda customer: customer.name,
    "domain": lambda customer: customer.domain,
}
"""Searchable properties of customers; only the default domain is searched, not vanity ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The operations by name. `new_id` gives a fresh GUID; `clock` is in seconds."""

    state: State
    quirks: Callable[[], Quirks]
    clock: Callable[[], float]
    new_id: Callable[[], str]

    def carry_out(self, parsed: ParsedRequest) -> Response:
        """Do what is asked. Raises Refusal for every answer other than success."""
        handlers: Mapping[str, Callable[[ParsedRequest], Response]] = {
            "list-customers": self._list_customers,
            "get-customer": self._get_customer,
            "list-batches": self._list_batches,
            "create-batch": self._create_batch,
            "list-devices": self._list_devices,
            "add-devices": self._add_devices,
            "delete-device": self._delete_device,
            "update-device": self._update_device,
            "get-job": self._get_job,
            "update-policies": self._update_policies,
            "list-audit-records": self._list_audit_records,
        }
        if parsed.operation in REFUSALS:
            raise Refusal(*REFUSALS[parsed.operation])
        return handlers[parsed.operation](parsed)

    def _list_customers(self, parsed: ParsedRequest) -> Response:
        wanted = _customer_filter(parsed.request.query.get("filter"))
        items = [
            customer_item(customer)
            for customer in (self.state.seed.customers if self._own(parsed) else ())
            if customer.relationship is not Relationship.NONE and wanted(customer)
        ]
        return json_response(200, query_page(parsed, items, self.quirks(), "/customers"))

    def _get_customer(self, parsed: ParsedRequest) -> Response:
        named = parsed.names["customer"]
        if self.state.customer(named) is None and self._own(parsed) and is_guid(named):
            raise Refusal(404, 60003, f"Tenant {named} not found")
        related = frozenset(Relationship) - {Relationship.NONE}
        return json_response(200, customer_whole(self._customer(parsed, related)))

    def _list_batches(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        raw = self.quirks().raw_devices_link
        views = self.state.batches(customer, age=parsed.age)
        items = [batch_item(customer, view, raw_link=raw) for view in views]
        return json_response(200, collection(items))

    def _list_devices(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        return json_response(200, devices_page(parsed, self.state, self.quirks(), customer))

    def _delete_device(self, parsed: ParsedRequest) -> Response:
        customer, device_id = self._customer(parsed).tenant_id, parsed.names["device"]
        device = self.state.find(customer, parsed.batch, device_id)
        low, high = self.quirks().list_lag
        lag = low + (high - low) * chance("list-lag", device_id)
        removal = self.state.remove(customer, parsed.batch, device_id, lag=lag)
        if removal is not Removal.DONE or device is None:
            raise Refusal(*REFUSALS[removal])
        self._record(parsed, customer, "device_deleted", device)
        if self.quirks().empty_batches_vanish:
            self.state.drop_empty_batch(customer, parsed.batch)
        return Response(status=self.quirks().delete_status)

    def _update_device(self, parsed: ParsedRequest) -> Response:
        customer, device_id = self._customer(parsed).tenant_id, parsed.names["device"]
        device = self.state.find(customer, parsed.batch, device_id)
        if device is None:
            raise Refusal(*REFUSALS[Removal.NO_DEVICE])
        wanted = device_from(_object(parsed), device_id)
        device = replace(device, policies=wanted.policies)
        self.state.replace_device(customer, parsed.batch, device)
        self._record(parsed, customer, "device_updated", device)
        return json_response(200, device_item(device))

    def _create_batch(self, parsed: ParsedRequest) -> Response:
        customer, body = self._customer(parsed).tenant_id, _object(parsed)
        name = body.get("batchid") or self.new_id()
        if not isinstance(name, str):
            raise Refusal(400, 3000, "The property batchId is not valid.")
        devices = self._devices(body.get("devices"))
        if self.state.has_batch(customer, name):
            raise Refusal(400, 3000, f"A device batch named {name} exists already.")
        created = datetime.fromtimestamp(self.clock(), UTC)
        batch = SeedBatch(
            id=name, created_by=parsed.partner, creation_date=f"{created:%Y-%m-%dT%H:%M:%S}"
        )
        self.state.create_batch(customer, batch)
        return self._upload(parsed, customer, name, devices)

    def _add_devices(self, parsed: ParsedRequest) -> Response:
        customer, devices = self._customer(parsed).tenant_id, self._devices(_json(parsed))
        if not self.state.has_batch(customer, parsed.batch):
            raise Refusal(*REFUSALS[Removal.NO_BATCH])
        return self._upload(parsed, customer, parsed.batch, devices)

    def _upload(
        self, parsed: ParsedRequest, customer: str, batch: str, devices: tuple[SeedDevice, ...]
    ) -> Response:
        ticket = self._ticket()
        stamped = tuple(
            replace(device, uploaded_by=parsed.partner, uploaded_date=_stamp(self.clock()))
            for device in devices
        )
        self.state.upload(customer, batch, stamped, ticket)
        return _accepted(customer, ticket)

    def _update_policies(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        rows = _object(parsed).get("devices")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refusal(400, 3000, "The property devices is not valid.")
        ids = [str({k.lower(): v for k, v in row.items()}.get("id", "")) for row in rows]
        devices = tuple(map(device_from, rows, ids))
        ticket = self._ticket()
        self.state.assign_policies(customer, devices, ticket)
        return _accepted(customer, ticket)

    def _get_job(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        job = self.state.job(customer, parsed.names["job"])
        if job is None:
            raise Refusal(404, 1000, "Batch upload status not found")
        return json_response(200, job_item(job))

    def _list_audit_records(self, parsed: ParsedRequest) -> Response:
        since, until = self._audit_period(parsed)
        wanted = _audit_filter(parsed.request.query.get("filter"))
        records = self.state.audit(since=since, until=until) if self._own(parsed) else ()
        items = [audit_item(record, self.state) for record in records]
        kept = [item for item in items if wanted(item)]
        return json_response(200, query_page(parsed, kept, self.quirks(), "/auditrecords"))

    def _customer(
        self,
        parsed: ParsedRequest,
        related: frozenset[Relationship] = frozenset({Relationship.RESELLER}),
    ) -> SeedCustomer:
        """The customer of this request, if the partner that asks may act for it."""
        named = parsed.names["customer"]
        if not is_guid(named):
            raise Refusal(400, 900118, f"The customer id {named} is not valid.")
        customer = self.state.customer(named)
        if not self._own(parsed) or customer is None or customer.relationship not in related:
            text = f"The partner id {parsed.partner} has no commerce relationship with the "
            raise Refusal(403, 20002, f"{text}customer id {named}")
        return customer

    def _devices(self, rows: object) -> tuple[SeedDevice, ...]:
        if not isinstance(rows, list) or not rows:
            raise Refusal(400, 3000, "The property devices must be a list that is not empty.")
        if not all(isinstance(row, dict) for row in rows):
            raise Refusal(400, 3000, "The property devices holds something that is no device.")
        return tuple(device_from(row, self.new_id()) for row in rows)

    def _ticket(self) -> Ticket:
        quirks = self.quirks()
        return Ticket(id=self.new_id(), queued=quirks.job_queued, processing=quirks.job_processing)

    def _record(
        self, parsed: ParsedRequest, customer: str, operation: str, device: SeedDevice
    ) -> None:
        self.state.record(
            AuditRecord(
                at=self.clock(),
                customer=customer,
                operation=operation,
                device=device,
                batch_id=parsed.batch,
                correlation_id=parsed.request.header("MS-CorrelationId") or self.new_id(),
                application=str(parsed.claims["appid"]),
                user=parsed.claims.get("upn"),
            )
        )

    def _own(self, parsed: ParsedRequest) -> bool:
        """Whether it is the partner of the seed that asks."""
        return parsed.partner == self.state.seed.partner.tenant_id

    def _audit_period(self, parsed: ParsedRequest) -> tuple[float, float]:
        now, query = self.clock(), parsed.request.query
        since = _day(query.get("startdate"), now - 30 * DAY)
        until = _day(query["enddate"], now) + DAY if query.get("enddate") else now + 1
        if since < now - 91 * DAY:
            raise Refusal(400, 3000, "The start date lies more than 90 days back.")
        return since, until


def _accepted(customer: str, ticket: Ticket) -> Response:
    location = f"/customers/{customer}/batchJobStatus/{ticket.id}"
    return Response(status=202, headers=(("Location", location),))


def _json(parsed: ParsedRequest) -> Any:
    try:
        return json.loads(parsed.request.body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, 800002, "The request body is not valid JSON.") from error


def _object(parsed: ParsedRequest) -> dict[str, Any]:
    """The body's object with its property names in lower case."""
    body = _json(parsed)
    if not isinstance(body, dict):
        raise Refusal(400, 3000, "The request body must be an object.")
    return {name.lower(): value for name, value in body.items()}


def _filter(text: str) -> tuple[str, str, str]:
    """Field and operator in lower case, and value, of a `filter` parameter."""
    try:
        given = {str(name).lower(): str(value) for name, value in json.loads(text).items()}
        return given["field"].lower(), given.get("operator", "").lower(), given["value"]
    except (ValueError, AttributeError, KeyError) as error:
        raise Refusal(400, 3000, "The filter is not valid.") from error


def _customer_filter(text: str | None) -> Callable[[SeedCustomer], bool]:
    if text is None:
        return lambda _customer: True
    field, operator, value = _filter(text)
    if field not in CUSTOMER_FIELDS or operator.replace("_", "") != "startswith":
        raise Refusal(400, 3000, f"Customers cannot be filtered by {field} {operator}.")
    read, prefix = CUSTOMER_FIELDS[field], value.casefold()
    return lambda customer: read(customer).casefold().startswith(prefix)


def _audit_filter(text: str | None) -> Callable[[Object], bool]:
    if text is None:
        return lambda _item: True
    field, operator, value = _filter(text)
    names = {
        "resourcetype": "resourceType",
        "customerid": "customerId",
        "companyname": "customerName",
    }
    if field not in names or operator not in {"equals", "substring"}:
        raise Refusal(400, 3000, f"Audit records cannot be filtered by {field} {operator}.")
    name, wanted = names[field], value.casefold()
    if operator == "substring":
        return lambda item: wanted in str(item[name]).casefold()
    return lambda item: wanted == str(item[name]).casefold()


def _day(text: str | None, default: float) -> float:
    if not text:
        return default
    try:
        return datetime.fromisoformat(text[:10]).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Refusal(400, 3000, f"The date {text} is not valid.") from error


def _stamp(seconds: float) -> str:
    """A time as devices show it: seven digits behind the point, and an offset other than Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}0+00:00"


AUDIENCES = frozenset({PARTNER_CENTER, "https://partner.partnercenterapi.microsoftonline.cn"})
REMEMBERED_REQUESTS = 200_000
"""How many request ids keep their outcome for a repetition."""
USER_ONLY = frozenset({"create-batch"})
CHANGING = frozenset(
    {"create-batch", "add-devices", "delete-device", "update-device", "update-policies"}
)
CODES = {400: 3000, 401: 400, 403: 2032, 404: 1000}
"""The code of an injected error that says none."""


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
        claims = self._mint.read(request.bearer)
        customer = self._state.customer(names["customer"]) if "customer" in names else None
        device = None
        if customer and "device" in names:
            device = self._state.seen(customer.tenant_id, names["batch"], names["device"])
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
        return self._fault(problem.status, code, problem.text)

    def expired(self) -> Response:
        return self._fault(401, 400, "Access denied. The access token has expired.")

    def stamp(self, request: Request, response: Response) -> Response:
        """The headers in the order of recorded sessions; ids are echoed, as a rule."""
        request_id = request.echoable("MS-RequestId")
        correlation_id = request.echoable("MS-CorrelationId")
        locale = request.echoable("X-Locale")
        if self._answers_under_other_id(request_id):
            correlation_id = None
        return response.with_headers(
            ("MS-CorrelationId", correlation_id or self._id()),
            ("MS-RequestId", request_id or self._id()),
            *((("X-Locale", locale),) if locale else ()),
            ("MS-CV", f"{self._id().replace('-', '')[:16]}.0"),
            ("MS-ServerId", "201022015"),
            ("Request-Context", "appId=cid-v1:00000000-0000-0000-0000-000000000000"),
            *_mfa_header(request, self._mint.read(request.bearer)),
        )

    def _act(
        self, request: Request, operation: str, names: Mapping[str, str], fault: Fault | None
    ) -> Response:
        try:
            claims = self._authorized(request, operation)
        except Refusal as refusal:
            return self._refused(refusal)
        parsed = ParsedRequest(
            request=request, operation=operation, names=names, claims=claims, fault=fault
        )
        request_id = request.header("MS-RequestId")
        if request_id is None or operation not in CHANGING:
            return self._outcome(parsed)
        return self._once(parsed, (request_id.lower(), request.method, request.path))

    def _once(self, parsed: ParsedRequest, key: tuple[str, str, str]) -> Response:
        """Carry out, unless the same request id has its outcome already."""
        with self._lock:
            known = self._outcomes.get(key)
            if known is not None:
                return replace(known, replayed=True)
            response = self._outcomes[key] = self._outcome(parsed)
            if len(self._outcomes) > REMEMBERED_REQUESTS:
                self._outcomes.popitem(last=False)
            return response

    def _outcome(self, parsed: ParsedRequest) -> Response:
        try:
            return self._marked(self._operations.carry_out(parsed))
        except Refusal as refusal:
            return self._refused(refusal)

    def _authorized(self, request: Request, operation: str) -> Claims:
        """The claims of a token that may ask for this operation."""
        if request.header("Authorization") is None:
            raise Refusal(401, 800001, "Partner token missing in request context")
        claims = self._mint.read(request.bearer)
        if claims is None or "aud" not in claims:
            raise Refusal(401, 400, "Access denied. The access token is not valid.")
        if self._mint.expired(claims):
            raise Refusal(401, 400, "Access denied. The access token has expired.")
        if claims["aud"] not in AUDIENCES:
            text = "The audience in the token is invalid and is no longer supported."
            raise Refusal(401, 900420, text)
        _check_rights(claims, operation)
        return claims

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
        return new_id(self._random)


def _gateway_problem(problem: Problem) -> Response:
    message = problem.text
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


def _mfa_header(request: Request, claims: Claims | None) -> Headers:
    """The answer to `ValidateMfa: true`. That it is a header is an assumption."""
    if (request.header("ValidateMfa") or "").lower() != "true" or claims is None:
        return ()
    return (("isMfaCompliant", str("mfa" in claims.get("amr", ())).lower()),)
