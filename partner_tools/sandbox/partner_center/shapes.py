"""Partner Center's JSON: what a customer, batch, device, job and audit record look like.

Field names and the omission of nulls follow Microsoft's published resources and recorded sessions
(https://learn.microsoft.com/partner-center/developer/device-deployment-resources, 2025-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from partner_tools.sandbox.seed import Seed, SeedCustomer, SeedDevice
from partner_tools.sandbox.state import ZTD_NAMES, AuditRecord, BatchView, JobStatus, JobView, Ztd

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
    """A device. What is not known is left out, not null."""
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
