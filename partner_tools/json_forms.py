"""The JSON forms of the model, in plans, in the ledger and on stdout, and their digest. Pure.

Unknown values are left out. A hardware hash is never part of a form. Digests are taken over the
canonical JSON of RFC 8785, so that equal values have equal digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from partner_tools.homoglyphs import shown_name
from partner_tools.model import Customer, Identity, Registration, Target, TenantId


def canonical(value: Any) -> bytes:
    """Serialize a JSON value by RFC 8785, so that equal values have equal bytes."""
    import rfc8785

    return rfc8785.dumps(value)


def digest(value: Any) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the canonical JSON."""
    return digest_of_bytes(canonical(value))


def digest_of_bytes(content: bytes) -> str:
    """`sha256:` and the hexadecimal SHA-256 of the content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def identity_document(identity: Identity) -> dict[str, str]:
    """An identity as JSON, without its hardware hash."""
    return stated(
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


def target_document(target: Target) -> dict[str, str]:
    """The two parts that Partner Center needs to delete a registration."""
    return {"batchId": target.batch_id, "deviceId": target.device_id}


def read_target(document: Mapping[str, Any]) -> Target:
    """The target that `target_document` wrote."""
    return Target(batch_id=document["batchId"], device_id=document["deviceId"])


def customer_document(customer: Customer) -> dict[str, str]:
    """A customer as JSON."""
    return stated(tenantId=customer.tenant_id, domain=customer.domain, name=customer.name)


def full_customer_document(customer: Customer) -> dict[str, str | None]:
    """A customer as results print it: every property, null where it is not known."""
    return {"tenantId": customer.tenant_id, "domain": customer.domain, "name": customer.name}


def read_customer(document: Mapping[str, Any]) -> Customer:
    """Read the customer that `customer_document` wrote, ignoring other properties."""
    return Customer(
        tenant_id=TenantId(document["tenantId"]),
        domain=shown_name(document.get("domain")),
        name=shown_name(document.get("name")),
    )


def found_document(found: Registration) -> dict[str, Any]:
    """Return the listed registration as JSON, without target and hardware hash."""
    document: dict[str, Any] = stated(
        serialNumber=found.serial_number,
        manufacturer=found.manufacturer,
        model=found.model,
        productKeyId=found.product_key_id,
        uploadedAt=found.uploaded_at,
    )
    if found.allowed_operations is not None:
        document["allowedOperations"] = list(found.allowed_operations)
    return document


def read_found(document: Mapping[str, Any], target: Target) -> Registration:
    """Read this target's registration, as `found_document` wrote it."""
    operations = document.get("allowedOperations")
    return Registration(
        target=target,
        serial_number=document.get("serialNumber"),
        manufacturer=document.get("manufacturer"),
        model=document.get("model"),
        product_key_id=document.get("productKeyId"),
        uploaded_at=document.get("uploadedAt"),
        allowed_operations=None if operations is None else tuple(operations),
    )


def stated(**facts: str | None) -> dict[str, str]:
    """The facts that are known."""
    return {name: value for name, value in facts.items() if value is not None}


def registration_document(found: Registration) -> dict[str, Any]:
    """A registration with the ids by which it is removed."""
    return {**found_document(found), **target_document(found.target)}
