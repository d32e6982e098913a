"""What each operation of Partner Center does to the state, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from partner_tools.sandbox.faults import Quirks, chance
from partner_tools.sandbox.partner_center import shapes
from partner_tools.sandbox.partner_center.asked import UNKNOWN, WRONG_METHOD, Asked, Refusal
from partner_tools.sandbox.partner_center.paging import devices_page, query_page
from partner_tools.sandbox.seed import Relationship, SeedBatch, SeedCustomer, SeedDevice
from partner_tools.sandbox.state import AuditRecord, Removal, State, Ticket
from partner_tools.sandbox.wire import Response, json_response

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
"""What customers can be looked for by; the default domain alone is searched, not vanity ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The operations by name. `new_id` gives a fresh GUID; `clock` is in seconds."""

    state: State
    quirks: Callable[[], Quirks]
    clock: Callable[[], float]
    new_id: Callable[[], str]

    def carry_out(self, asked: Asked) -> Response:
        """Do what is asked. Raises Refusal for every answer other than success."""
        handlers: Mapping[str, Callable[[Asked], Response]] = {
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
        if asked.operation in REFUSALS:
            raise Refusal(*REFUSALS[asked.operation])
        return handlers[asked.operation](asked)

    def _list_customers(self, asked: Asked) -> Response:
        own = asked.partner == self.state.seed.partner.tenant_id
        related = [
            customer
            for customer in self.state.seed.customers
            if own and customer.relationship is not Relationship.NONE
        ]
        wanted = _customer_filter(asked.request.query.get("filter"))
        items = [shapes.customer_item(customer) for customer in related if wanted(customer)]
        return json_response(200, query_page(asked, items, self.quirks(), "/customers"))

    def _get_customer(self, asked: Asked) -> Response:
        known = self.state.customer(asked.customer)
        own = asked.partner == self.state.seed.partner.tenant_id
        if known is None and own and _is_guid(asked.customer):
            raise Refusal(404, 60003, f"Tenant {asked.customer} not found")
        related = frozenset(Relationship) - {Relationship.NONE}
        return json_response(200, shapes.customer_whole(self._customer(asked, related)))

    def _list_batches(self, asked: Asked) -> Response:
        customer = self._customer(asked).tenant_id
        raw = self.quirks().raw_devices_link
        views = self.state.batches(customer, age=asked.age)
        items = [shapes.batch_item(customer, view, raw_link=raw) for view in views]
        return json_response(200, shapes.collection(items))

    def _list_devices(self, asked: Asked) -> Response:
        customer = self._customer(asked).tenant_id
        return json_response(200, devices_page(asked, self.state, self.quirks(), customer))

    def _delete_device(self, asked: Asked) -> Response:
        customer, device_id = self._customer(asked).tenant_id, asked.names["device"]
        device = self.state.find(customer, asked.batch, device_id)
        low, high = self.quirks().list_lag
        lag = low + (high - low) * chance("list-lag", device_id)
        removal = self.state.remove(customer, asked.batch, device_id, lag=lag)
        if removal is not Removal.DONE or device is None:
            raise Refusal(*REFUSALS[removal])
        self._record(asked, customer, "device_deleted", device)
        if self.quirks().empty_batches_vanish:
            self.state.drop_empty_batch(customer, asked.batch)
        return Response(status=self.quirks().delete_status)

    def _update_device(self, asked: Asked) -> Response:
        customer, device_id = self._customer(asked).tenant_id, asked.names["device"]
        device = self.state.find(customer, asked.batch, device_id)
        if device is None:
            raise Refusal(*REFUSALS[Removal.NO_DEVICE])
        wanted = shapes.device_from(_object(asked), device_id)
        device = replace(device, policies=wanted.policies)
        self.state.replace_device(customer, asked.batch, device)
        self._record(asked, customer, "device_updated", device)
        return json_response(200, shapes.device_item(device))

    def _create_batch(self, asked: Asked) -> Response:
        customer, body = self._customer(asked).tenant_id, _object(asked)
        name = body.get("batchid") or self.new_id()
        if not isinstance(name, str):
            raise Refusal(400, 3000, "The property batchId is not valid.")
        devices = self._devices(body.get("devices"))
        if self.state.has_batch(customer, name):
            raise Refusal(400, 3000, f"A device batch named {name} exists already.")
        created = datetime.fromtimestamp(self.clock(), UTC)
        batch = SeedBatch(
            id=name, created_by=asked.partner, creation_date=f"{created:%Y-%m-%dT%H:%M:%S}"
        )
        self.state.create_batch(customer, batch)
        return self._upload(asked, customer, name, devices)

    def _add_devices(self, asked: Asked) -> Response:
        customer, devices = self._customer(asked).tenant_id, self._devices(_json(asked))
        if not self.state.has_batch(customer, asked.batch):
            raise Refusal(*REFUSALS[Removal.NO_BATCH])
        return self._upload(asked, customer, asked.batch, devices)

    def _upload(
        self, asked: Asked, customer: str, batch: str, devices: tuple[SeedDevice, ...]
    ) -> Response:
        ticket = self._ticket()
        stamped = tuple(
            replace(device, uploaded_by=asked.partner, uploaded_date=_stamp(self.clock()))
            for device in devices
        )
        self.state.upload(customer, batch, stamped, ticket)
        return _accepted(customer, ticket)

    def _update_policies(self, asked: Asked) -> Response:
        customer = self._customer(asked).tenant_id
        rows = _object(asked).get("devices")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refusal(400, 3000, "The property devices is not valid.")
        ids = [str({k.lower(): v for k, v in row.items()}.get("id", "")) for row in rows]
        devices = tuple(map(shapes.device_from, rows, ids))
        ticket = self._ticket()
        self.state.assign_policies(customer, devices, ticket)
        return _accepted(customer, ticket)

    def _get_job(self, asked: Asked) -> Response:
        customer = self._customer(asked).tenant_id
        job = self.state.job(customer, asked.names["job"])
        if job is None:
            raise Refusal(404, 1000, "Batch upload status not found")
        return json_response(200, shapes.job_item(job))

    def _list_audit_records(self, asked: Asked) -> Response:
        since, until = self._audit_period(asked)
        wanted = _audit_filter(asked.request.query.get("filter"))
        own = asked.partner == self.state.seed.partner.tenant_id
        records = self.state.audit(since=since, until=until) if own else ()
        items = [
            shapes.audit_item(record, self.state.seed, self._name(record)) for record in records
        ]
        kept = [item for item in items if wanted(item)]
        return json_response(200, query_page(asked, kept, self.quirks(), "/auditrecords"))

    def _customer(
        self, asked: Asked, related: frozenset[Relationship] = frozenset({Relationship.RESELLER})
    ) -> SeedCustomer:
        """The customer of this request, if the partner that asks may act for it."""
        named, own = asked.customer, asked.partner == self.state.seed.partner.tenant_id
        if not _is_guid(named):
            raise Refusal(400, 900118, f"The customer id {named} is not valid.")
        customer = self.state.customer(named)
        if not own or customer is None or customer.relationship not in related:
            text = f"The partner id {asked.partner} has no commerce relationship with the "
            raise Refusal(403, 20002, f"{text}customer id {named}")
        return customer

    def _devices(self, rows: object) -> tuple[SeedDevice, ...]:
        if not isinstance(rows, list) or not rows:
            raise Refusal(400, 3000, "The property devices must be a list that is not empty.")
        if not all(isinstance(row, dict) for row in rows):
            raise Refusal(400, 3000, "The property devices holds something that is no device.")
        return tuple(shapes.device_from(row, self.new_id()) for row in rows)

    def _ticket(self) -> Ticket:
        quirks = self.quirks()
        return Ticket(id=self.new_id(), queued=quirks.job_queued, processing=quirks.job_processing)

    def _record(self, asked: Asked, customer: str, operation: str, device: SeedDevice) -> None:
        self.state.record(
            AuditRecord(
                at=self.clock(),
                customer=customer,
                operation=operation,
                device=device,
                batch_id=asked.batch,
                correlation_id=asked.request.header("MS-CorrelationId") or self.new_id(),
                application=str(asked.claims["appid"]),
                user=asked.claims.get("upn"),
            )
        )

    def _name(self, record: AuditRecord) -> str:
        customer = self.state.customer(record.customer)
        return customer.name if customer else ""

    def _audit_period(self, asked: Asked) -> tuple[float, float]:
        now, query = self.clock(), asked.request.query
        since = _day(query.get("startdate"), now - 30 * DAY)
        until = _day(query["enddate"], now) + DAY if query.get("enddate") else now + 1
        if since < now - 91 * DAY:
            raise Refusal(400, 3000, "The start date lies more than 90 days back.")
        return since, until


def _accepted(customer: str, ticket: Ticket) -> Response:
    location = f"/customers/{customer}/batchJobStatus/{ticket.id}"
    return Response(status=202, headers=(("Location", location),))


def _json(asked: Asked) -> Any:
    try:
        return json.loads(asked.request.body.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, 800002, "The request body is not valid JSON.") from error


def _object(asked: Asked) -> dict[str, Any]:
    """The body's object with its property names in lower case."""
    body = _json(asked)
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


def _audit_filter(text: str | None) -> Callable[[shapes.Object], bool]:
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


def _is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return len(text) == 36
