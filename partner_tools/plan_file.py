"""The plan as a document that a person reviews: to JSON and back, sealed by its digest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from partner_tools.canonical import digest
from partner_tools.errors import GuardError, InputError
from partner_tools.json_forms import (
    customer_document,
    found_document,
    identity_document,
    read_customer,
    read_found,
    read_identity,
    read_target,
    stated,
    target_document,
)
from partner_tools.model import (
    ChannelName,
    Device,
    Outcome,
    Plan,
    PlannedCustomer,
    PlannedDevice,
    Reason,
    RunId,
    TenantId,
)
from partner_tools.plan import counts
from partner_tools.plan_check import disagreements


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON by `schemas/plan.schema.json`, with its digest.

    Hardware hashes are left out: they are the device owner's, and nothing in a plan needs them.
    """
    document = {
        "schemaVersion": "1",
        "run": plan.run,
        "channel": plan.channel.value,
        "createdAt": plan.created_at.isoformat(),
        **stated(plannedBy=plan.planned_by),
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

    Raises GuardError where the document is not what its digest was taken of, InputError where its
    parts contradict each other.
    """
    content = {name: value for name, value in document.items() if name != "digest"}
    if _digest(content) != document["digest"]:
        raise GuardError(
            f"the plan is not what was sealed: its digest should be {document['digest']}",
            rule="plan-digest",
            remedy="make a new plan; a plan must not be edited after it was reviewed",
        )
    try:
        plan = _plan(content)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the plan cannot be read: {error}", rule="plan", remedy="make a new plan"
        ) from error
    for disagreement in disagreements(plan, document["counts"]):
        raise InputError(
            f"the plan contradicts itself: {disagreement}",
            rule="plan-contradiction",
            remedy="make a new plan; a plan is not written by hand",
        )
    return plan


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
    return {
        **customer_document(planned.customer),
        "estate": planned.estate,
        "removals": planned.removals,
    }


def _read_customer(document: Mapping[str, Any]) -> PlannedCustomer:
    return PlannedCustomer(
        customer=read_customer(document),
        estate=document["estate"],
        removals=document["removals"],
    )


def _device(planned: PlannedDevice) -> dict[str, Any]:
    device = planned.device
    document: dict[str, Any] = {
        "row": device.row,
        **identity_document(device.identity),
        "outcome": planned.outcome.value,
        **stated(
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
    shown, found, customer = (document.get(name) for name in ("target", "found", "customer"))
    target = None if shown is None else read_target(shown)
    return PlannedDevice(
        index=position,
        device=_read_named(document),
        customer=None if customer is None else TenantId(customer),
        outcome=Outcome(document["outcome"]),
        target=target,
        found=None if found is None or target is None else read_found(found, target),
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
