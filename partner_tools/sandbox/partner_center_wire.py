"""Partner Center on the wire: its operations and paths, its JSON, and pages of lists.

Field names and the omission of nulls follow Microsoft's published resources and recorded sessions
(https://learn.microsoft.com/partner-center/developer/device-deployment-resources, 2025-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from partner_tools.sandbox.faults import Fault, FaultKind, LastPage, Quirks, chance
from partner_tools.sandbox.seed import SeedCustomer, SeedDevice
from partner_tools.sandbox.state import (
    ZTD_NAMES,
    AuditRecord,
    BatchView,
    JobStatus,
    JobView,
    Page,
    State,
    Ztd,
)
from partner_tools.sandbox.wire import Request, match_path, page_token, position_in

VERSIONS = frozenset({"v1", "v1.0"})
UNKNOWN = "unknown"
WRONG_METHOD = "wrong-method"

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
    fault: Fault | None = None

    @property
    def batch(self) -> str:
        return self.names["batch"]

    @property
    def partner(self) -> str:
        return str(self.claims["tid"])

    @property
    def token(self) -> str | None:
        """The continuation token that came with it."""
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
        return UNKNOWN, {}
    operation, found = UNKNOWN, {}
    for method, pattern, name in _PATTERNS:
        names = match_path(pattern, request.segments[1:])
        if names is not None and method == request.method:
            return name, names
        if names is not None:
            operation, found = WRONG_METHOD, names
    return operation, found


def collection(items: list[Object], **more: Any) -> Object:
    """A page. `totalCount` counts this page alone, as the service does."""
    return {
        "totalCount": len(items),
        "items": items,
        **more,
        "attributes": {"objectType": "Collection"},
    }


def customer_item(customer: SeedCustomer) -> Object:
    """A customer as a list shows it."""
    return {
        "id": customer.tenant_id,
        "companyProfile": {
            "tenantId": customer.tenant_id,
            "domain": customer.domain,
            "companyName": customer.name,
            "attributes": {"objectType": "CustomerCompanyProfile"},
        },
        "relationshipToPartner": customer.relationship,
        "links": {"self": _link(f"/customers/{customer.tenant_id}")},
        "attributes": {"objectType": "Customer"},
    }


def customer_whole(customer: SeedCustomer) -> Object:
    """A customer as it is shown by id, which says more."""
    return {
        **customer_item(customer),
        "allowDelegatedAccess": False,
        "customDomains": [customer.domain, *customer.custom_domains],
    }


def batch_item(customer: str, batch: BatchView, *, raw_link: bool) -> Object:
    """A batch. The link's id is percent-encoded unless `raw_link` asks for the old form."""
    name = batch.id if raw_link else quote(batch.id, safe="")
    return _without_nulls(
        {
            "id": batch.id,
            "createdBy": batch.created_by,
            "creationDate": batch.creation_date,
            "devicesCount": batch.devices_count,
            "devicesLink": _link(f"/customers/{customer}/deviceBatches/{name}/devices"),
            "links": {"self": _link(f"/customers/{customer}/deviceBatches/{name}")},
            "attributes": {"objectType": "DeviceBatch"},
        }
    )


def device_item(device: SeedDevice) -> Object:
    """A device. Unknown properties are left out, not null."""
    allowed = device.allowed_operations
    return _without_nulls(
        {
            "id": device.id,
            "serialNumber": device.serial_number,
            "productKey": device.product_key,
            "hardwareHash": device.hardware_hash,
            "modelName": device.model_name,
            "oemManufacturerName": device.manufacturer,
            "policies": [{"key": key, "value": value} for key, value in device.policies] or None,
            "uploadedBy": device.uploaded_by,
            "uploadedDate": device.uploaded_date,
            "allowedOperations": None if allowed is None else list(allowed),
            "attributes": {"objectType": "Device"},
        }
    )


def device_from(body: Mapping[str, Any], device_id: str) -> SeedDevice:
    """The device that a request describes, in any letter case of its property names."""
    given = {name.lower(): value for name, value in body.items()}

    def text(name: str) -> str | None:
        value = given.get(name)
        return value if isinstance(value, str) and value else None

    return SeedDevice(
        id=device_id,
        serial_number=text("serialnumber"),
        product_key=text("productkey"),
        hardware_hash=text("hardwarehash"),
        model_name=text("modelname"),
        manufacturer=text("oemmanufacturername"),
        policies=policies_from(given.get("policies")),
    )


def policies_from(value: object) -> tuple[tuple[str, str | None], ...]:
    """The policies of a request; what is none is left out."""
    if not isinstance(value, list):
        return ()
    rows = [{str(k).lower(): v for k, v in row.items()} for row in value if isinstance(row, dict)]
    return tuple((str(row["key"]), row.get("value")) for row in rows if "key" in row)


def job_item(job: JobView) -> Object:
    """A job's status page."""
    return _without_nulls(
        {
            "batchTrackingId": job.id,
            "status": job.status,
            "startedTime": moment(job.started_at),
            "completedTime": None if job.completed_at is None else moment(job.completed_at),
            "devicesStatus": [_job_device(job, device, error) for device, error in job.devices],
            "attributes": {"objectType": "BatchUploadDetails"},
        }
    )


def audit_item(record: AuditRecord, state: State) -> Object:
    """One audit record."""
    customer = state.customer(record.customer)
    return _without_nulls(
        {
            "id": f"{record.at:.6f}-{record.device.id}",
            "partnerId": state.seed.partner.tenant_id,
            "customerId": record.customer,
            "customerName": customer.name if customer else "",
            "userPrincipalName": record.user,
            "applicationId": record.application,
            "resourceType": "device",
            "operationType": record.operation,
            "operationDate": moment(record.at) + "Z",
            "operationStatus": "succeeded",
            "originalCorrelationId": record.correlation_id,
            "customizedData": [
                {"key": "DeviceId", "value": record.device.id},
                {"key": "SerialNumber", "value": record.device.serial_number or ""},
                {"key": "BatchId", "value": record.batch_id},
            ],
            "attributes": {"objectType": "AuditRecord"},
        }
    )


def moment(seconds: float) -> str:
    """A time as jobs and batches write it: UTC, without an offset."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _job_device(job: JobView, device: SeedDevice, error: Ztd | None) -> Object:
    status = JobStatus.FINISHED_WITH_ERRORS if error else job.status
    if not error and job.completed_at is not None:
        status = JobStatus.FINISHED
    return _without_nulls(
        {
            "deviceId": None if error or job.completed_at is None else device.id,
            "serialNumber": device.serial_number,
            "productKey": device.product_key,
            "status": status,
            "errorCode": error,
            "errorDescription": ZTD_NAMES[error] if error else None,
            "attributes": {"objectType": "DeviceUploadDetails"},
        }
    )


def _link(uri: str) -> Object:
    return {"uri": uri, "method": "GET", "headers": []}


def _without_nulls(value: Object) -> Object:
    return {name: content for name, content in value.items() if content is not None}


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
    return collection(items[first : first + size], **_ways_on(parsed, token, size, quirks, path))


def _ways_on(
    parsed: ParsedRequest, token: str | None, size: int, quirks: Quirks, path: str
) -> dict[str, Any]:
    links: Object = {"self": {"uri": parsed.request.target, "method": "GET", "headers": []}}
    if token is None:
        return {"links": links}
    if quirks.next_links:
        prefix = "/v1" if chance("prefix", token) < quirks.prefixed_next_links else ""
        kept = (
            {"filter": parsed.request.query["filter"]} if "filter" in parsed.request.query else {}
        )
        query = urlencode({"size": size, "seekOperation": "Next", **kept})
        header = {"key": "MS-ContinuationToken", "value": token}
        links["next"] = {"uri": f"{prefix}{path}?{query}", "method": "GET", "headers": [header]}
    return {
        **({"continuationToken": token} if quirks.body_continuation_token else {}),
        "links": links,
    }
