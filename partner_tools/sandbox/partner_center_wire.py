"""Partner Center on the wire: its operations and paths, its JSON, and pages of lists.

Field names and the omission of nulls follow Microsoft's published resources and recorded sessions
(https://learn.microsoft.com/partner-center/developer/device-deployment-resources, 2025-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from partner_tools.json_forms import structure
from partner_tools.sandbox.faults import Fault, FaultKind, LastPage, Quirks, chance
from partner_tools.sandbox.seed import SeedBatch, SeedCustomer, SeedDevice
from partner_tools.sandbox.state import ZTD_NAMES, Job, JobStatus, Page, State, Ztd
from partner_tools.sandbox.wire import Request, match_path, page_token, position_in

VERSIONS = frozenset({"v1", "v1.0"})

_BATCH = "customers/{customer}/devicebatches/{batch}/devices"

ROUTES: tuple[tuple[str, str, str], ...] = (
    ("GET", "customers", "list-customers"),
    ("GET", "customers/{customer}", "get-customer"),
    ("GET", "customers/{customer}/devicebatches", "list-batches"),
    ("POST", "customers/{customer}/devicebatches", "create-batch"),
    ("GET", _BATCH, "list-devices"),
    ("POST", _BATCH, "add-devices"),
    ("DELETE", f"{_BATCH}/{{device}}", "delete-device"),
    ("PUT", f"{_BATCH}/{{device}}", "update-device"),
    ("GET", "customers/{customer}/batchjobstatus/{job}", "get-job"),
    ("PATCH", "customers/{customer}/devicepolicyupdates", "update-policies"),
    ("GET", "auditrecords", "list-audit-records"),
)
"""Every operation: verb, path behind the version, and the name in rules and in the log."""

_PATTERNS = [(method, path.split("/"), name) for method, path, name in ROUTES]

Object = dict[str, Any]


@dataclass(eq=False)
class Refusal(Exception):
    """An answer of the service other than success."""

    status: int
    code: int
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """A request that was understood: the operation, the names in its path, and who asks."""

    request: Request
    operation: str
    names: Mapping[str, str]
    claims: Mapping[str, Any]
    new_id: Callable[[], str]
    fault: Fault | None = None

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
        if self.token is None:
            return 0
        position = position_in(self.token, what)
        if position is None:
            raise Refusal(400, 3000, "The continuation token is not valid.")
        return position

    def has_fault(self, kind: FaultKind) -> bool:
        """Whether the list that it gets is to be wrong in this way."""
        return self.fault is not None and self.fault.kind is kind

    @property
    def age(self) -> float:
        """How many seconds old the list is that it gets to see."""
        return self.fault.seconds if self.fault and self.has_fault(FaultKind.STALE_LIST) else 0.0


def route(request: Request) -> tuple[str, Mapping[str, str]]:
    """The operation of a request, and the names in its path."""
    if not request.segments or request.segments[0].lower() not in VERSIONS:
        return "unknown", {}
    operation, found = "unknown", {}
    for method, pattern, name in _PATTERNS:
        names = match_path(pattern, request.segments[1:])
        if names is not None and method == request.method:
            return name, names
        if names is not None:
            operation, found = "wrong-method", names
    return operation, found


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
    return _resource(
        "Device",
        id=device.id,
        serialNumber=device.serial_number,
        productKey=device.product_key,
        hardwareHash=device.hardware_hash,
        modelName=device.model_name,
        oemManufacturerName=device.manufacturer,
        policies=[{"key": key, "value": value} for key, value in device.policies] or None,
        uploadedBy=device.uploaded_by,
        uploadedDate=device.uploaded_date,
        allowedOperations=device.allowed_operations,
    )


DEVICE_TEXTS = ("serialNumber", "productKey", "hardwareHash", "modelName", "oemManufacturerName")


def device_from(body: Mapping[str, Any], device_id: str) -> SeedDevice:
    """The device that a request describes, in any letter case of its property names."""
    given = in_lower_case(body)
    texts = {name: given.get(name.lower()) for name in DEVICE_TEXTS}
    policies = given.get("policies")
    rows = policies if isinstance(policies, list) else []
    named = [in_lower_case(row) for row in rows if isinstance(row, dict)]
    known = {name: value for name, value in texts.items() if isinstance(value, str) and value}
    kept = [{"value": None, **row, "key": str(row["key"])} for row in named if "key" in row]
    return structure(SeedDevice, {"id": device_id, **known, "policies": kept})


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


def audit_item(
    parsed: ParsedRequest, customer: SeedCustomer, operation: str, device: SeedDevice, at: float
) -> Object:
    """The record of a change of a device."""
    return _resource(
        "AuditRecord",
        id=f"{at:.6f}-{device.id}",
        partnerId=parsed.partner,
        customerId=customer.tenant_id,
        customerName=customer.name,
        userPrincipalName=parsed.claims.get("upn"),
        applicationId=str(parsed.claims["appid"]),
        resourceType="device",
        operationType=operation,
        operationDate=moment(at) + "Z",
        operationStatus="succeeded",
        originalCorrelationId=parsed.request.header("MS-CorrelationId") or parsed.new_id(),
        customizedData=[
            {"key": "DeviceId", "value": device.id},
            {"key": "SerialNumber", "value": device.serial_number or ""},
            {"key": "BatchId", "value": parsed.batch},
        ],
    )


def moment(seconds: float) -> str:
    """A time as jobs and batches write it: UTC, without an offset."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


END = 1 << 40
"""A position behind every list."""


def devices_page(parsed: ParsedRequest, state: State, quirks: Quirks, customer: str) -> Object:
    """One page of a batch, with the token to the next as the quirks want it."""

    def read(start: int) -> Page:
        size = quirks.devices_page_size
        page = state.page(customer, parsed.batch, start=start, size=size, age=parsed.age)
        if page is None:
            raise Refusal(404, 1000, f"Device batch {parsed.batch} not found")
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
    return collection(items, **_last(token, quirks, parsed.batch), links={})


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
        raise Refusal(400, 800002, f"The size {given} is not valid.")
    if seek not in {"first", "next"}:
        raise Refusal(400, 3000, f"The seek operation {seek} is not supported here.")
    size = min(int(given) or 500, quirks.customers_page_size)
    start = parsed.position(path) if seek == "next" else 0
    if parsed.token is not None and start >= len(items):
        raise Refusal(400, 2000, "No more records: all of them have been fetched.")
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
