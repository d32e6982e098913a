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
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from typing import Any

from partner_tools.sandbox.faults import Fault, Quirks, chance
from partner_tools.sandbox.login import PARTNER_CENTER, Claims, Mint
from partner_tools.sandbox.partner_center_wire import (
    Object,
    ParsedRequest,
    Refusal,
    audit_item,
    batch_item,
    collection,
    customer_item,
    device_from,
    device_item,
    devices_page,
    in_lower_case,
    job_item,
    moment,
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
from partner_tools.sandbox.state import Removal, State
from partner_tools.sandbox.wire import (
    BOM,
    Call,
    Problem,
    Request,
    Response,
    is_guid,
    json_response,
    new_id,
)

Handler = Callable[[ParsedRequest], Response]
DAY = 86_400.0
AUDIENCES = frozenset({PARTNER_CENTER, "https://partner.partnercenterapi.microsoftonline.cn"})
REMEMBERED_REQUESTS = 200_000
"""How many request ids keep their outcome for a repetition."""
USER_ONLY = frozenset({"create-batch"})
CHANGING = frozenset(
    {"create-batch", "add-devices", "delete-device", "update-device", "update-policies"}
)
CODES = {400: 3000, 401: 400, 403: 2032, 404: 1000}
"""The code of an injected error that says none."""
REFUSALS: Mapping[Removal, tuple[int, int, str]] = {
    Removal.NO_BATCH: (404, 1000, "Device batch not found"),
    Removal.NO_DEVICE: (404, 1000, "Device not found"),
    Removal.NOT_OWNED: (
        403,
        811,
        "ZtdDeviceRegisteredByOtherTenant: the device was registered by another tenant",
    ),
    Removal.NOT_ALLOWED: (400, 3000, "DELETE is not an allowed operation of this device"),
}
RELATED = frozenset(Relationship) - {Relationship.NONE}
CUSTOMER_FIELDS = {"companyname": "companyName", "domain": "domain"}
"""Searchable properties of customers; only the default domain is searched, not vanity ones."""
AUDIT_FIELDS = {
    "resourcetype": "resourceType",
    "customerid": "customerId",
    "companyname": "customerName",
}


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
        self._clock = clock
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311 - ids of a sandbox, not secrets
        self._lock = threading.Lock()
        self._outcomes: OrderedDict[tuple[str, str, str], Response] = OrderedDict()

    def read(self, request: Request) -> Call:
        operation, names = route(request)
        claims = self._mint.read(request.bearer)
        customer = self._state.customer(names["customer"]) if "customer" in names else None
        device = None
        if customer and "device" in names:
            tenant = customer.tenant_id
            device = self._state.find(tenant, names["batch"], names["device"], gone=True)
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
        status = problem.status
        if status == 429 or problem.gateway:
            seconds = ceil(problem.wait or 1.0)
            limited = f"Rate limit is exceeded. Try again in {seconds} seconds."
            message = limited if status == 429 else problem.text
            return json_response(status, {"statusCode": status, "message": message})
        code = CODES.get(status, 800003) if problem.code is None else problem.code
        return self._fault(status, code, problem.text)

    def expired(self) -> Response:
        return self._fault(401, 400, "Access denied. The access token has expired.")

    def stamp(self, request: Request, response: Response) -> Response:
        """The headers in the order of recorded sessions; ids are echoed, as a rule."""
        request_id = request.echoable("MS-RequestId")
        correlation_id = request.echoable("MS-CorrelationId")
        locale = request.echoable("X-Locale")
        if chance(self._seed, "correlation", request_id) < self._quirks().foreign_correlation_id:
            correlation_id = None
        headers = [
            ("MS-CorrelationId", correlation_id or self._id()),
            ("MS-RequestId", request_id or self._id()),
            *((("X-Locale", locale),) if locale else ()),
            ("MS-CV", f"{self._id().replace('-', '')[:16]}.0"),
            ("MS-ServerId", "201022015"),
            ("Request-Context", "appId=cid-v1:00000000-0000-0000-0000-000000000000"),
        ]
        if (request.header("ValidateMfa") or "").lower() == "true":
            # That the answer to it is a header is an assumption.
            claims = self._mint.read(request.bearer)
            if claims is not None:
                headers.append(("isMfaCompliant", str("mfa" in claims.get("amr", ())).lower()))
        return response.with_headers(*headers)

    def _act(
        self, request: Request, operation: str, names: Mapping[str, str], fault: Fault | None
    ) -> Response:
        try:
            claims = self._authorized(request, operation)
        except Refusal as refusal:
            return self._refused(refusal)
        parsed = ParsedRequest(
            request=request,
            operation=operation,
            names=names,
            claims=claims,
            new_id=self._id,
            fault=fault,
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
            # Each operation is a method of its name.
            handler: Handler = getattr(self, "_" + parsed.operation.replace("-", "_"))
            return self._marked(handler(parsed))
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
        if claims["idtyp"] == "app":
            if operation in USER_ONLY:
                raise Refusal(403, 900329, "App-only authentication is not supported here.")
        elif "mfa" not in claims["amr"]:
            raise Refusal(401, 900421, "Multi-factor authentication is required.")
        elif not {ADMIN_AGENT, SALES_AGENT}.intersection(claims["roles"]):
            raise Refusal(403, 900150, "The supplied role does not have the rights to do this.")
        return claims

    def _refused(self, refusal: Refusal) -> Response:
        response = self._fault(refusal.status, refusal.code, refusal.description)
        if refusal.status != 401:
            return response
        realm = f"OAuth realm=urn:cpsvc:cpid:{self._state.seed.partner.tenant_id}"
        return response.with_headers(("WWW-Authenticate", realm))

    def _fault(self, status: int, code: int | str, description: str) -> Response:
        body: dict[str, object] = {
            "code": str(code) if self._quirks().codes_as_text else code,
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

    def _id(self) -> str:
        return new_id(self._random)

    def _unknown(self, parsed: ParsedRequest) -> Response:
        raise Refusal(404, 1000, "Not found")

    def _wrong_method(self, parsed: ParsedRequest) -> Response:
        raise Refusal(405, 3000, "This resource does not support the method.")

    def _list_customers(self, parsed: ParsedRequest) -> Response:
        wanted = _filter(parsed, "Customers", CUSTOMER_FIELDS, {"startswith"})
        items = [
            customer_item(customer)
            for customer in (self._state.seed.customers if self._own(parsed) else ())
            if customer.relationship in RELATED
        ]
        kept = [item for item in items if wanted(item["companyProfile"])]
        return json_response(200, query_page(parsed, kept, self._quirks(), "/customers"))

    def _get_customer(self, parsed: ParsedRequest) -> Response:
        named = parsed.names["customer"]
        if self._state.customer(named) is None and self._own(parsed) and is_guid(named):
            raise Refusal(404, 60003, f"Tenant {named} not found")
        customer = self._customer(parsed, RELATED)
        domains = [customer.domain, *customer.custom_domains]
        item = customer_item(customer, allowDelegatedAccess=False, customDomains=domains)
        return json_response(200, item)

    def _list_batches(self, parsed: ParsedRequest) -> Response:
        customer, raw = self._customer(parsed).tenant_id, self._quirks().raw_devices_link
        items = [
            batch_item(customer, batch, listed, raw_link=raw)
            for batch, listed in self._state.batches(customer, age=parsed.age)
        ]
        return json_response(200, collection(items))

    def _list_devices(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        return json_response(200, devices_page(parsed, self._state, self._quirks(), customer))

    def _delete_device(self, parsed: ParsedRequest) -> Response:
        customer, device_id = self._customer(parsed), parsed.names["device"]
        tenant, quirks = customer.tenant_id, self._quirks()
        device = self._state.find(tenant, parsed.batch, device_id)
        low, high = quirks.list_lag
        lag = low + (high - low) * chance("list-lag", device_id)
        removal = self._state.remove(tenant, parsed.batch, device_id, lag=lag)
        if removal is not Removal.DONE or device is None:
            raise Refusal(*REFUSALS[removal])
        self._record(parsed, customer, "device_deleted", device)
        if quirks.empty_batches_vanish:
            self._state.drop_empty_batch(tenant, parsed.batch)
        return Response(status=quirks.delete_status)

    def _update_device(self, parsed: ParsedRequest) -> Response:
        customer, device_id = self._customer(parsed), parsed.names["device"]
        device = self._state.find(customer.tenant_id, parsed.batch, device_id)
        if device is None:
            raise Refusal(*REFUSALS[Removal.NO_DEVICE])
        wanted = device_from(_object(parsed), device_id)
        device = replace(device, policies=wanted.policies)
        self._state.replace_device(customer.tenant_id, parsed.batch, device)
        self._record(parsed, customer, "device_updated", device)
        return json_response(200, device_item(device))

    def _create_batch(self, parsed: ParsedRequest) -> Response:
        customer, body = self._customer(parsed).tenant_id, _object(parsed)
        name = body.get("batchid") or self._id()
        if not isinstance(name, str):
            raise Refusal(400, 3000, "The property batchId is not valid.")
        devices = _devices(parsed, body.get("devices"))
        if self._state.has_batch(customer, name):
            raise Refusal(400, 3000, f"A device batch named {name} exists already.")
        created = moment(self._clock())
        batch = SeedBatch(id=name, created_by=parsed.partner, creation_date=created)
        self._state.create_batch(customer, batch)
        return self._upload(parsed, customer, name, devices)

    def _add_devices(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        devices = _devices(parsed, _json(parsed))
        if not self._state.has_batch(customer, parsed.batch):
            raise Refusal(*REFUSALS[Removal.NO_BATCH])
        return self._upload(parsed, customer, parsed.batch, devices)

    def _upload(
        self, parsed: ParsedRequest, customer: str, batch: str, devices: list[SeedDevice]
    ) -> Response:
        job_id, at = self._id(), _stamp(self._clock())
        stamped = [
            replace(device, uploaded_by=parsed.partner, uploaded_date=at) for device in devices
        ]
        self._state.start_job(customer, stamped, job_id, self._quirks(), batch)
        return _accepted(customer, job_id)

    def _update_policies(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        rows = _object(parsed).get("devices")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refusal(400, 3000, "The property devices is not valid.")
        devices = [device_from(row, str(in_lower_case(row).get("id", ""))) for row in rows]
        job_id = self._id()
        self._state.start_job(customer, devices, job_id, self._quirks())
        return _accepted(customer, job_id)

    def _get_job(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        job = self._state.job(customer, parsed.names["job"])
        if job is None:
            raise Refusal(404, 1000, "Batch upload status not found")
        return json_response(200, job_item(job, self._clock()))

    def _list_audit_records(self, parsed: ParsedRequest) -> Response:
        now, query = self._clock(), parsed.request.query
        since = _day(query.get("startdate"), now - 30 * DAY)
        until = _day(query["enddate"], now) + DAY if query.get("enddate") else now + 1
        if since < now - 91 * DAY:
            raise Refusal(400, 3000, "The start date lies more than 90 days back.")
        wanted = _filter(parsed, "Audit records", AUDIT_FIELDS, {"equals", "substring"})
        items = self._state.audit(since=since, until=until) if self._own(parsed) else []
        kept = [item for item in items if wanted(item)]
        return json_response(200, query_page(parsed, kept, self._quirks(), "/auditrecords"))

    def _record(
        self, parsed: ParsedRequest, customer: SeedCustomer, operation: str, device: SeedDevice
    ) -> None:
        at = self._clock()
        self._state.record(at, audit_item(parsed, customer, operation, device, at))

    def _own(self, parsed: ParsedRequest) -> bool:
        """Whether it is the partner of the seed that asks."""
        return parsed.partner == self._state.seed.partner.tenant_id

    def _customer(
        self,
        parsed: ParsedRequest,
        related: frozenset[Relationship] = frozenset({Relationship.RESELLER}),
    ) -> SeedCustomer:
        """The customer of this request, if the partner that asks may act for it."""
        named = parsed.names["customer"]
        if not is_guid(named):
            raise Refusal(400, 900118, f"The customer id {named} is not valid.")
        customer = self._state.customer(named)
        if not self._own(parsed) or customer is None or customer.relationship not in related:
            text = f"The partner id {parsed.partner} has no commerce relationship with the "
            raise Refusal(403, 20002, f"{text}customer id {named}")
        return customer


def _devices(parsed: ParsedRequest, rows: object) -> list[SeedDevice]:
    if not isinstance(rows, list) or not rows:
        raise Refusal(400, 3000, "The property devices must be a list that is not empty.")
    if not all(isinstance(row, dict) for row in rows):
        raise Refusal(400, 3000, "The property devices holds something that is no device.")
    return [device_from(row, parsed.new_id()) for row in rows]


def _accepted(customer: str, job_id: str) -> Response:
    location = f"/customers/{customer}/batchJobStatus/{job_id}"
    return Response(status=202, headers=(("Location", location),))


def _json(parsed: ParsedRequest) -> Any:
    try:
        return json.loads(parsed.request.body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, 800002, "The request body is not valid JSON.") from error


def _object(parsed: ParsedRequest) -> Object:
    """The body's object with its property names in lower case."""
    body = _json(parsed)
    if not isinstance(body, dict):
        raise Refusal(400, 3000, "The request body must be an object.")
    return in_lower_case(body)


def _filter(
    parsed: ParsedRequest, what: str, fields: Mapping[str, str], operators: set[str]
) -> Callable[[Object], bool]:
    """The test of the `filter` parameter: Field and Operator in any letter case, and Value."""
    text = parsed.request.query.get("filter")
    if text is None:
        return lambda _item: True
    try:
        given = in_lower_case(json.loads(text))
        field, value = str(given["field"]).lower(), str(given["value"]).casefold()
        operator = str(given.get("operator", "")).lower()
    except (ValueError, AttributeError, KeyError) as error:
        raise Refusal(400, 3000, "The filter is not valid.") from error
    name, plain = fields.get(field), operator.replace("_", "")
    if name is None or plain not in operators:
        raise Refusal(400, 3000, f"{what} cannot be filtered by {field} {operator}.")
    if plain == "startswith":
        return lambda item: str(item[name]).casefold().startswith(value)
    if plain == "substring":
        return lambda item: value in str(item[name]).casefold()
    return lambda item: value == str(item[name]).casefold()


def _day(text: str | None, default: float) -> float:
    if not text:
        return default
    try:
        return datetime.fromisoformat(text[:10]).replace(tzinfo=UTC).timestamp()
    except ValueError as error:
        raise Refusal(400, 3000, f"The date {text} is not valid.") from error


def _stamp(seconds: float) -> str:
    """A time as devices show it: seven digits behind the point, and an offset other than Z."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"
