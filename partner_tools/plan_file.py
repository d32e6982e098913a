"""The plan as a document that a person reviews: to JSON and back, sealed by its digest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from partner_tools.canonical import digest
from partner_tools.errors import GuardError, InputError
from partner_tools.model import (
    ChannelName,
    Customer,
    Device,
    Identity,
    Outcome,
    Plan,
    PlannedCustomer,
    PlannedDevice,
    Reason,
    Registration,
    RunId,
    Target,
    TenantId,
)
from partner_tools.plan import counts


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON by `schemas/plan.schema.json`, with its digest.

    Hardware hashes are left out: they are the device owner's, and nothing in a plan needs them.
    """
    document = {
        "schemaVersion": "1",
        "run": plan.run,
        "channel": plan.channel.value,
        "createdAt": plan.created_at.isoformat(),
        **_stated(plannedBy=plan.planned_by),
        "batchId": plan.batch_id,
        "batchDigest": plan.batch_digest,
        "reason": plan.reason.value,
        "customers": [_customer(each) for each in plan.customers],
        "counts": counts(device.outcome for device in plan.devices),
        "notes": list(plan.notes),
        "devices": [_device(device) for device in plan.devices],
    }
    return {**document, "digest": digest(document)}


def read_plan(document: Mapping[str, Any]) -> Plan:
    """The plan of a document that its schema accepts.

    Raises GuardError where the document is not what its digest was taken of.
    """
    content = {name: value for name, value in document.items() if name != "digest"}
    if _digest(content) != document["digest"]:
        raise GuardError(
            f"the plan is not what was sealed: its digest should be {document['digest']}",
            rule="plan-digest",
            remedy="make a new plan; a plan must not be edited after it was reviewed",
        )
    try:
        return _plan(content)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the plan cannot be read: {error}", rule="plan", remedy="make a new plan"
        ) from error


def identity_document(identity: Identity) -> dict[str, str]:
    """An identity as JSON, without its hardware hash."""
    return _stated(
        serialNumber=identity.serial_number,
        manufacturer=identity.manufacturer,
        model=identity.model,
        productKeyId=identity.product_key_id,
    )


def read_identity(document: Mapping[str, Any]) -> Identity:
    """The identity that `identity_document` wrote."""
    return Identity(
        serial_number=document.get("serialNumber"),
        manufacturer=document.get("manufacturer"),
        model=document.get("model"),
        product_key_id=document.get("productKeyId"),
    )


def _digest(content: Mapping[str, Any]) -> str:
    try:
        return digest(content)
    except ValueError as error:  # a number that canonical JSON cannot hold
        raise InputError(
            f"the plan cannot be read: {error}", rule="plan", remedy="make a new plan"
        ) from error


def _plan(document: Mapping[str, Any]) -> Plan:
    return Plan(
        run=RunId(document["run"]),
        channel=ChannelName(document["channel"]),
        created_at=datetime.fromisoformat(document["createdAt"]),
        planned_by=document.get("plannedBy"),
        batch_id=document["batchId"],
        batch_digest=document["batchDigest"],
        reason=Reason(document["reason"]),
        customers=tuple(_read_customer(each) for each in document["customers"]),
        devices=tuple(
            _read_device(position, each) for position, each in enumerate(document["devices"])
        ),
        notes=tuple(document["notes"]),
    )


def _customer(planned: PlannedCustomer) -> dict[str, Any]:
    customer = planned.customer
    return {
        **_stated(tenantId=customer.tenant_id, domain=customer.domain, name=customer.name),
        "estate": planned.estate,
        "removals": planned.removals,
    }


def _read_customer(document: Mapping[str, Any]) -> PlannedCustomer:
    return PlannedCustomer(
        customer=Customer(
            tenant_id=TenantId(document["tenantId"]),
            domain=document.get("domain"),
            name=document.get("name"),
        ),
        estate=document["estate"],
        removals=document["removals"],
    )


def _device(planned: PlannedDevice) -> dict[str, Any]:
    device = planned.device
    document: dict[str, Any] = {
        "row": device.row,
        **identity_document(device.identity),
        "outcome": planned.outcome.value,
        **_stated(
            customer=planned.customer,
            customerGiven=device.customer,
            reference=device.reference,
            rule=planned.rule,
            detail=planned.detail,
            remedy=planned.remedy,
        ),
    }
    if device.replacement is not None:
        document["replacement"] = identity_document(device.replacement)
    if device.extra:
        document["extra"] = dict(device.extra)
    if planned.target is not None:
        document["target"] = target_document(planned.target)
    if planned.found is not None:
        document["found"] = found_document(planned.found)
    if planned.candidates:
        document["candidates"] = [target_document(target) for target in planned.candidates]
    return document


def _read_device(position: int, document: Mapping[str, Any]) -> PlannedDevice:
    target, customer = document.get("target"), document.get("customer")
    return PlannedDevice(
        index=position,
        device=_read_named(document),
        customer=None if customer is None else TenantId(customer),
        outcome=Outcome(document["outcome"]),
        target=None if target is None else read_target(target),
        found=_read_found(document.get("found"), target),
        candidates=tuple(read_target(each) for each in document.get("candidates", ())),
        rule=document.get("rule"),
        detail=document.get("detail"),
        remedy=document.get("remedy"),
    )


def _read_named(document: Mapping[str, Any]) -> Device:
    replacement = document.get("replacement")
    return Device(
        row=document["row"],
        identity=read_identity(document),
        customer=document.get("customerGiven"),
        reference=document.get("reference"),
        replacement=None if replacement is None else read_identity(replacement),
        extra=tuple(document.get("extra", {}).items()),
    )


def target_document(target: Target) -> dict[str, str]:
    """A target as JSON."""
    return {"batchId": target.batch_id, "deviceId": target.device_id}


def read_target(document: Mapping[str, Any]) -> Target:
    """The target that `target_document` wrote."""
    return Target(batch_id=document["batchId"], device_id=document["deviceId"])


def found_document(found: Registration) -> dict[str, Any]:
    """What the service showed, as JSON, without target and hardware hash."""
    document: dict[str, Any] = _stated(
        serialNumber=found.serial_number,
        manufacturer=found.manufacturer,
        model=found.model,
        productKeyId=found.product_key_id,
        uploadedAt=found.uploaded_at,
    )
    if found.allowed_operations is not None:
        document["allowedOperations"] = list(found.allowed_operations)
    return document


def _read_found(
    document: Mapping[str, Any] | None, target: Mapping[str, Any] | None
) -> Registration | None:
    if document is None or target is None:
        return None
    operations = document.get("allowedOperations")
    return Registration(
        target=read_target(target),
        serial_number=document.get("serialNumber"),
        manufacturer=document.get("manufacturer"),
        model=document.get("model"),
        product_key_id=document.get("productKeyId"),
        uploaded_at=document.get("uploadedAt"),
        allowed_operations=None if operations is None else tuple(operations),
    )


def _stated(**facts: str | None) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value is not None}
