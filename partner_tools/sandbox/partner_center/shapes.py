"""Partner Center's JSON: customers, batches, devices, jobs and audit records, and pages of them.

Field names and the omission of nulls follow Microsoft's published resources and recorded sessions
(https://learn.microsoft.com/partner-center/developer/device-deployment-resources, 2025-11).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from partner_tools.sandbox.faults import FaultKind, LastPage, Quirks, chance
from partner_tools.sandbox.partner_center.request import ParsedRequest, Refusal
from partner_tools.sandbox.seed import Seed, SeedCustomer, SeedDevice
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

Object = dict[str, Any]


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


def audit_item(record: AuditRecord, seed: Seed, customer_name: str) -> Object:
    """One audit record."""
    return _without_nulls(
        {
            "id": f"{record.at:.6f}-{record.device.id}",
            "partnerId": seed.partner.tenant_id,
            "customerId": record.customer,
            "customerName": customer_name,
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


def token_for(what: str, position: int) -> str:
    """A continuation token: opaque to clients, a position to us."""
    content = json.dumps([what, position]).encode("utf-8")
    return base64.urlsafe_b64encode(content).decode("ascii")


def position_in(token: str | None, what: str) -> int:
    """Return the position where a list continues; 0 without a token."""
    if token is None:
        return 0
    try:
        named, position = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        named, position = None, None
    if named != what or not isinstance(position, int):
        raise Refusal(400, 3000, "The continuation token is not valid.")
    return position


def devices_page(parsed: ParsedRequest, state: State, quirks: Quirks, customer: str) -> Object:
    """One page of a batch, with the token to the next as the quirks want it."""
    what = f"devices {customer} {parsed.batch.casefold()}"
    start = position_in(parsed.token, what)
    page = _read(parsed, state, quirks, customer, start)
    shown = page
    if parsed.bent(FaultKind.REPEAT_PAGE):
        shown = _read(parsed, state, quirks, customer, 0)
    items = [device_item(device) for device in shown.devices]
    following = page.following
    if following is None and quirks.last_page is LastPage.FURTHER_PAGE and page.devices:
        following = END
    token = None if following is None else token_for(what, following)
    if parsed.bent(FaultKind.STICKY_TOKEN):
        token = parsed.token
    return collection(items, **_last(token, quirks, parsed.batch), links={})


def _read(parsed: ParsedRequest, state: State, quirks: Quirks, customer: str, start: int) -> Page:
    page = state.page(
        customer, parsed.batch, start=start, size=quirks.devices_page_size, age=parsed.age
    )
    if page is None:
        raise Refusal(404, 1000, f"Device batch {parsed.batch} not found")
    return page


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
    size = _size(parsed, quirks)
    start = _start(parsed, path)
    if parsed.token is not None and start >= len(items):
        raise Refusal(400, 2000, "No more records: all of them have been fetched.")
    more = start + size < len(items)
    if quirks.customers_end_by_2000:
        more = bool(items)
    shown = items[:size] if parsed.bent(FaultKind.REPEAT_PAGE) else items[start : start + size]
    token = token_for(path, start + size) if more else None
    if parsed.bent(FaultKind.STICKY_TOKEN):
        token = parsed.token
    return collection(shown, **_ways_on(parsed, token, size, quirks, path))


def _size(parsed: ParsedRequest, quirks: Quirks) -> int:
    given = parsed.request.query.get("size", "0")
    if not given.isascii() or not given.isdigit():
        raise Refusal(400, 800002, f"The size {given} is not valid.")
    return min(int(given) or 500, quirks.customers_page_size)


def _start(parsed: ParsedRequest, path: str) -> int:
    seek = parsed.request.query.get("seekoperation", "first").lower()
    if seek not in {"first", "next"}:
        raise Refusal(400, 3000, f"The seek operation {seek} is not supported here.")
    if parsed.token is None or seek == "first":
        return 0
    return position_in(parsed.token, path)


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
