"""Partner Center's REST API as a service of the sandbox, as far as devices are concerned.

Field names and the omission of nulls follow Microsoft's published resources and recorded sessions
(https://learn.microsoft.com/partner-center/developer/device-deployment-resources, 2025-11).
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
from urllib.parse import quote, urlencode

from partner_tools.json_forms import json_form, structure
from partner_tools.model import is_guid
from partner_tools.sandbox.faults import Fault, FaultKind, LastPage, Quirks, chance
from partner_tools.sandbox.login import PARTNER_CENTER, Claims, Mint
from partner_tools.sandbox.reading import read_data
from partner_tools.sandbox.seed import (
    ADMIN_AGENT,
    SALES_AGENT,
    Relationship,
    SeedBatch,
    SeedCustomer,
    SeedDevice,
)
from partner_tools.sandbox.state import ZTD_NAMES, Job, JobStatus, Page, Removal, State, Ztd
from partner_tools.sandbox.wire import (
    BOM,
    Call,
    ListRequest,
    Problem,
    Request,
    Response,
    Route,
    Target,
    find_target,
    json_response,
    new_id,
    page_token,
    position_in,
)

AUDIENCES = frozenset({PARTNER_CENTER, "https://partner.partnercenterapi.microsoftonline.cn"})
REMEMBERED_REQUESTS = 200_000
"""How many request ids keep their outcome for a repetition."""
USER_ONLY = frozenset({"create-batch"})
CHANGING = frozenset({"create-batch", "add-devices", "delete-device"})
CODES = {400: 3000, 401: 400, 403: 2032, 404: 1000}
"""The code of an injected error that says none."""
RELATED = frozenset(Relationship) - {Relationship.NONE}
CUSTOMER_FIELDS = {"companyname": "companyName", "domain": "domain"}
"""Searchable properties of customers; only the default domain is searched, not vanity ones."""
VERSIONS = frozenset({"v1", "v1.0"})

_DATA = read_data(__package__, "partner_center.json")
ROUTES = tuple(structure(Route, row) for row in _DATA["routes"])
"""Every operation, under the name in rules and in the log."""

Object = dict[str, Any]


@dataclass(eq=False, kw_only=True)
class Refusal(Exception):
    """An answer of the service other than success."""

    text: str
    status: int = 400
    code: int = 3000


def refusal(key: str, **names: object) -> Refusal:
    """A refusal of `partner_center.json`."""
    row = _DATA["refusals"][key]
    return structure(Refusal, {**row, "text": row["text"].format(**names)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest(ListRequest):
    """A request that was understood: its target, and who asks."""

    target: Target
    claims: Claims
    new_id: Callable[[], str]

    @property
    def names(self) -> Mapping[str, str]:
        return self.target.names

    @property
    def batch(self) -> str:
        return self.names["batch"]

    @property
    def partner(self) -> str:
        return str(self.claims["tid"])

    @property
    def token(self) -> str | None:
        return self.request.header("MS-ContinuationToken")

    def position(self, what: str) -> int:
        """Where a list continues; 0 without a token. Raises Refusal for a token of another."""
        position = position_in(self.token, what) if self.token is not None else 0
        if position is None:
            raise refusal("bad continuation")
        return position


def collection(items: list[Object], **more: Any) -> Object:
    """A page. `totalCount` counts this page alone, as the service does."""
    return {
        "totalCount": len(items),
        "items": items,
        **more,
        "attributes": {"objectType": "Collection"},
    }


def _resource(kind: str, **properties: Any) -> Object:
    """A resource. Unknown properties are left out, not null."""
    known = {name: value for name, value in properties.items() if value is not None}
    return {**known, "attributes": {"objectType": kind}}


def _link(uri: str, *headers: Object) -> Object:
    return {"uri": uri, "method": "GET", "headers": [*headers]}


def customer_item(customer: SeedCustomer, **more: Any) -> Object:
    """A customer as a list shows it, or with `more`."""
    profile = _resource(
        "CustomerCompanyProfile",
        tenantId=customer.tenant_id,
        domain=customer.domain,
        companyName=customer.name,
    )
    item = _resource(
        "Customer",
        id=customer.tenant_id,
        companyProfile=profile,
        relationshipToPartner=customer.relationship,
        links={"self": _link(f"/customers/{customer.tenant_id}")},
    )
    return {**item, **more}


def batch_item(customer: str, batch: SeedBatch, listed: int, *, raw_link: bool) -> Object:
    """A batch in which `listed` devices are shown, unless it shows a stale count.

    The link's id is percent-encoded unless `raw_link` asks for the old form.
    """
    name = batch.id if raw_link else quote(batch.id, safe="")
    path = f"/customers/{customer}/deviceBatches/{name}"
    return _resource(
        "DeviceBatch",
        id=batch.id,
        createdBy=batch.created_by,
        creationDate=batch.creation_date,
        devicesCount=listed if batch.devices_count is None else batch.devices_count,
        devicesLink=_link(f"{path}/devices"),
        links={"self": _link(path)},
    )


def device_item(device: SeedDevice) -> Object:
    policies = [{"key": key, "value": value} for key, value in device.policies]
    shown = json_form(replace(device, policies=(), registered_by_other=False))
    return _resource("Device", **shown, policies=policies or None)


DEVICE_TEXTS = ("serialNumber", "productKey", "hardwareHash", "modelName", "oemManufacturerName")


def device_from(body: Mapping[str, Any], device_id: str) -> SeedDevice:
    """The device that a request describes, in any letter case of its property names."""
    given = in_lower_case(body)
    texts = {name: given.get(name.lower()) for name in DEVICE_TEXTS}
    known = {name: value for name, value in texts.items() if isinstance(value, str) and value}
    return structure(SeedDevice, {"id": device_id, **known})


def in_lower_case(body: Mapping[str, Any]) -> Object:
    """An object with its property names in lower case."""
    return {name.lower(): value for name, value in body.items()}


def job_item(job: Job, now: float) -> Object:
    results = job.results or (None,) * len(job.devices)
    rows = zip(job.devices, results, strict=True)
    return _resource(
        "BatchUploadDetails",
        batchTrackingId=job.id,
        status=job.status(now),
        startedTime=moment(job.created_at),
        completedTime=None if job.results is None else moment(job.completed_at),
        devicesStatus=[_job_device(job, now, device, error) for device, error in rows],
    )


def _job_device(job: Job, now: float, device: SeedDevice, error: Ztd | None) -> Object:
    status = job.status(now) if job.results is None else JobStatus.FINISHED
    return _resource(
        "DeviceUploadDetails",
        deviceId=None if error or job.results is None else device.id,
        serialNumber=device.serial_number,
        productKey=device.product_key,
        status=JobStatus.FINISHED_WITH_ERRORS if error else status,
        errorCode=error,
        errorDescription=ZTD_NAMES[error] if error else None,
    )


def moment(seconds: float) -> str:
    """A time as jobs and batches write it: UTC, without an offset."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


END = 1 << 40
"""A position behind every list."""


def _last(token: str | None, quirks: Quirks, batch: str) -> dict[str, str | None]:
    if token is not None:
        return {"continuationToken": token}
    form = quirks.last_page
    if form is LastPage.MIXED:
        choices = (LastPage.ABSENT, LastPage.NULL, LastPage.EMPTY)
        form = choices[int(chance("last-page", batch) * len(choices))]
    if form is LastPage.NULL:
        return {"continuationToken": None}
    return {"continuationToken": ""} if form is LastPage.EMPTY else {}


def query_page(parsed: ParsedRequest, items: list[Object], quirks: Quirks, path: str) -> Object:
    """One page of a list that is followed by `seekOperation=next`, as customers are."""
    query = parsed.request.query
    given, seek = query.get("size", "0"), query.get("seekoperation", "first").lower()
    if not given.isascii() or not given.isdigit():
        raise refusal("bad size", given=given)
    if seek not in {"first", "next"}:
        raise refusal("bad seek", given=seek)
    size = min(int(given) or 500, quirks.customers_page_size)
    start = parsed.position(path) if seek == "next" else 0
    if parsed.token is not None and start >= len(items):
        raise refusal("no more")
    more = bool(items) if quirks.customers_end_by_2000 else start + size < len(items)
    token = page_token(path, start + size) if more else None
    if parsed.has_fault(FaultKind.STICKY_TOKEN):
        token = parsed.token
    first = 0 if parsed.has_fault(FaultKind.REPEAT_PAGE) else start
    links: Object = {"self": _link(parsed.request.target)}
    if token is not None and quirks.next_links:
        prefix = "/v1" if chance("prefix", token) < quirks.prefixed_next_links else ""
        kept = {"filter": query["filter"]} if "filter" in query else {}
        following = urlencode({"size": size, "seekOperation": "Next", **kept})
        header = {"key": "MS-ContinuationToken", "value": token}
        links["next"] = _link(f"{prefix}{path}?{following}", header)
    shown = token is not None and quirks.body_continuation_token
    more_to_come = {"continuationToken": token} if shown else {}
    return collection(items[first : first + size], **more_to_come, links=links)


@dataclass(eq=False)
class PartnerCenter:
    """Answers as `api.partnercenter.microsoft.com` does."""

    name = "partnerCenter"
    secure_only = False

    state: State
    mint: Mint
    quirks: Callable[[], Quirks]
    clock: Callable[[], float]
    seed: int

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - ids of a sandbox, not secrets
        self._lock = threading.Lock()
        self._outcomes: OrderedDict[tuple[str, str, str], Response] = OrderedDict()

    def read(self, request: Request) -> Call:
        target = find_target(ROUTES, VERSIONS, request.method, request.segments)
        names, claims = target.names, self.mint.read(request.bearer)
        customer = self.state.customer(names["customer"]) if "customer" in names else None
        device = None
        if customer and "device" in names:
            tenant = customer.tenant_id
            device = self.state.find(tenant, names["batch"], names["device"], gone=True)
        return Call(
            operation=target.operation,
            act=lambda fault: self._act(request, target, fault),
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
        expired = refusal("expired token")
        return self._fault(expired.status, expired.code, expired.text)

    def stamp(self, request: Request, response: Response) -> Response:
        """The headers in the order of recorded sessions; ids are echoed, as a rule."""
        request_id = request.echoable("MS-RequestId")
        correlation_id = request.echoable("MS-CorrelationId")
        locale = request.echoable("X-Locale")
        if chance(self.seed, "correlation", request_id) < self.quirks().foreign_correlation_id:
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
            claims = self.mint.read(request.bearer)
            if claims is not None:
                headers.append(("isMfaCompliant", str("mfa" in claims.get("amr", ())).lower()))
        return response.with_headers(*headers)

    def _act(self, request: Request, target: Target, fault: Fault | None) -> Response:
        try:
            claims = self._authorized(request, target.operation)
        except Refusal as error:
            return self._refused(error)
        parsed = ParsedRequest(
            request=request, target=target, claims=claims, new_id=self._id, fault=fault
        )
        request_id = request.header("MS-RequestId")
        if request_id is None or target.operation not in CHANGING:
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
            handler: Callable[[ParsedRequest], Response] = getattr(
                self, "_" + parsed.target.operation.replace("-", "_")
            )
            return self._marked(handler(parsed))
        except Refusal as error:
            return self._refused(error)

    def _authorized(self, request: Request, operation: str) -> Claims:
        """The claims of a token that may ask for this operation."""
        if request.header("Authorization") is None:
            raise refusal("no token")
        claims = self.mint.read(request.bearer)
        if claims is None or "aud" not in claims:
            raise refusal("malformed token")
        if self.mint.expired(claims):
            raise refusal("expired token")
        if claims["aud"] not in AUDIENCES:
            raise refusal("other audience")
        if claims["idtyp"] == "app":
            if operation in USER_ONLY:
                raise refusal("app alone")
        elif "mfa" not in claims["amr"]:
            raise refusal("no second factor")
        elif not {ADMIN_AGENT, SALES_AGENT}.intersection(claims["roles"]):
            raise refusal("no role")
        return claims

    def _refused(self, error: Refusal) -> Response:
        response = self._fault(error.status, error.code, error.text)
        if error.status != 401:
            return response
        realm = f"OAuth realm=urn:cpsvc:cpid:{self.state.seed.partner.tenant_id}"
        return response.with_headers(("WWW-Authenticate", realm))

    def _fault(self, status: int, code: int | str, description: str) -> Response:
        body: dict[str, object] = {
            "code": str(code) if self.quirks().codes_as_text else code,
            "description": description,
            "data": [],
            "source": "PartnerApiServiceCore",
        }
        return self._marked(json_response(status, body))

    def _marked(self, response: Response) -> Response:
        """The answer behind a byte order mark, as production sends its JSON."""
        if not response.body or not self.quirks().bom:
            return response
        return replace(response, body=BOM + response.body)

    def _id(self) -> str:
        return new_id(self._random)

    def _unknown(self, parsed: ParsedRequest) -> Response:
        raise refusal("unknown")

    def _wrong_method(self, parsed: ParsedRequest) -> Response:
        raise refusal("wrong method")

    def _list_customers(self, parsed: ParsedRequest) -> Response:
        wanted = _prefix_filter(parsed)
        items = [
            customer_item(customer)
            for customer in (self.state.seed.customers if self._own(parsed) else ())
            if customer.relationship in RELATED
        ]
        kept = [item for item in items if wanted(item["companyProfile"])]
        return json_response(200, query_page(parsed, kept, self.quirks(), "/customers"))

    def _get_customer(self, parsed: ParsedRequest) -> Response:
        named = parsed.names["customer"]
        if self.state.customer(named) is None and self._own(parsed) and is_guid(named):
            raise refusal("unknown tenant", name=named)
        customer = self._customer(parsed, RELATED)
        domains = [customer.domain, *customer.custom_domains]
        item = customer_item(customer, allowDelegatedAccess=False, customDomains=domains)
        return json_response(200, item)

    def _list_batches(self, parsed: ParsedRequest) -> Response:
        customer, raw = self._customer(parsed).tenant_id, self.quirks().raw_devices_link
        items = [
            batch_item(customer, batch, listed, raw_link=raw)
            for batch, listed in self.state.batches(customer, age=parsed.age)
        ]
        return json_response(200, collection(items))

    def _list_devices(self, parsed: ParsedRequest) -> Response:
        """One page of a batch, with the token to the next as the quirks want it."""
        customer, quirks = self._customer(parsed).tenant_id, self.quirks()

        def read(start: int) -> Page:
            size = quirks.devices_page_size
            page = self.state.page(customer, parsed.batch, start=start, size=size, age=parsed.age)
            if page is None:
                raise refusal("no-batch")
            return page

        what = f"devices {customer} {parsed.batch.casefold()}"
        page = read(parsed.position(what))
        shown = read(0) if parsed.has_fault(FaultKind.REPEAT_PAGE) else page
        following = page.following
        if following is None and quirks.last_page is LastPage.FURTHER_PAGE and page.devices:
            following = END
        token = None if following is None else page_token(what, following)
        if parsed.has_fault(FaultKind.STICKY_TOKEN):
            token = parsed.token
        items = [device_item(device) for device in shown.devices]
        return json_response(200, collection(items, **_last(token, quirks, parsed.batch), links={}))

    def _delete_device(self, parsed: ParsedRequest) -> Response:
        customer, device_id = self._customer(parsed), parsed.names["device"]
        tenant, quirks = customer.tenant_id, self.quirks()
        device = self.state.find(tenant, parsed.batch, device_id)
        low, high = quirks.list_lag
        lag = low + (high - low) * chance("list-lag", device_id)
        removal = self.state.remove(tenant, parsed.batch, device_id, lag=lag)
        if removal is not Removal.DONE or device is None:
            raise refusal(removal)
        if quirks.empty_batches_vanish:
            self.state.drop_empty_batch(tenant, parsed.batch)
        return Response(status=quirks.delete_status)

    def _create_batch(self, parsed: ParsedRequest) -> Response:
        customer, body = self._customer(parsed).tenant_id, _object(parsed)
        name = body.get("batchid") or self._id()
        if not isinstance(name, str):
            raise refusal("bad property", name="batchId")
        devices = _devices(parsed, body.get("devices"))
        if self.state.has_batch(customer, name):
            raise refusal("batch exists", name=name)
        created = moment(self.clock())
        batch = SeedBatch(id=name, created_by=parsed.partner, creation_date=created)
        self.state.create_batch(customer, batch)
        return self._upload(parsed, customer, name, devices)

    def _add_devices(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        devices = _devices(parsed, _json(parsed))
        if not self.state.has_batch(customer, parsed.batch):
            raise refusal(Removal.NO_BATCH)
        return self._upload(parsed, customer, parsed.batch, devices)

    def _upload(
        self, parsed: ParsedRequest, customer: str, batch: str, devices: list[SeedDevice]
    ) -> Response:
        job_id, at = self._id(), _stamp(self.clock())
        stamped = [
            replace(device, uploaded_by=parsed.partner, uploaded_date=at) for device in devices
        ]
        self.state.start_job(customer, stamped, job_id, self.quirks(), batch)
        return _accepted(customer, job_id)

    def _get_job(self, parsed: ParsedRequest) -> Response:
        customer = self._customer(parsed).tenant_id
        job = self.state.job(customer, parsed.names["job"])
        if job is None:
            raise refusal("unknown job")
        return json_response(200, job_item(job, self.clock()))

    def _own(self, parsed: ParsedRequest) -> bool:
        """Whether it is the partner of the seed that asks."""
        return parsed.partner == self.state.seed.partner.tenant_id

    def _customer(
        self,
        parsed: ParsedRequest,
        related: frozenset[Relationship] = frozenset({Relationship.RESELLER}),
    ) -> SeedCustomer:
        """The customer of this request, if the partner that asks may act for it."""
        named = parsed.names["customer"]
        if not is_guid(named):
            raise refusal("bad customer id", name=named)
        customer = self.state.customer(named)
        if not self._own(parsed) or customer is None or customer.relationship not in related:
            raise refusal("no relationship", partner=parsed.partner, name=named)
        return customer


def _devices(parsed: ParsedRequest, rows: object) -> list[SeedDevice]:
    if not isinstance(rows, list) or not rows:
        raise refusal("no devices")
    if not all(isinstance(row, dict) for row in rows):
        raise refusal("no device")
    return [device_from(row, parsed.new_id()) for row in rows]


def _accepted(customer: str, job_id: str) -> Response:
    location = f"/customers/{customer}/batchJobStatus/{job_id}"
    return Response(status=202, headers=(("Location", location),))


def _json(parsed: ParsedRequest) -> Any:
    try:
        return json.loads(parsed.request.body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise refusal("no json") from error


def _object(parsed: ParsedRequest) -> Object:
    """The body's object with its property names in lower case."""
    body = _json(parsed)
    if not isinstance(body, dict):
        raise refusal("no object")
    return in_lower_case(body)


def _prefix_filter(parsed: ParsedRequest) -> Callable[[Object], bool]:
    """The test of the `filter` parameter: Field and Operator in any letter case, and Value."""
    text = parsed.request.query.get("filter")
    if text is None:
        return lambda _item: True
    try:
        given = in_lower_case(json.loads(text))
        field, value = str(given["field"]).lower(), str(given["value"]).casefold()
        operator = str(given.get("operator", "")).lower()
    except (ValueError, AttributeError, KeyError) as error:
        raise refusal("bad filter") from error
    name = CUSTOMER_FIELDS.get(field)
    if name is None or operator.replace("_", "") != "startswith":
        raise refusal("unsupported filter", field=field, operator=operator)
    return lambda item: str(item[name]).casefold().startswith(value)


def _stamp(seconds: float) -> str:
    """A time as devices show it: seven digits behind the point, and an offset other than Z."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"
