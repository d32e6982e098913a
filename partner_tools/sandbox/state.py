"""The truth behind the services: customers, batches, devices and jobs.

Every method runs under one lock, so that a request happens wholly or not at all. Lists may lag
behind the truth; what may be removed is decided by the truth.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import islice

from partner_tools.sandbox.faults import Quirks
from partner_tools.sandbox.seed import Seed, SeedBatch, SeedCustomer, SeedDevice

Place = tuple[str, str, str]
"""Tenant, batch and id of a registration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    batch_id: str
    device: SeedDevice


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Devices of a batch. `following` is the position to continue from; None behind the last."""

    devices: tuple[SeedDevice, ...]
    following: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    at: float
    batch_id: str
    device: SeedDevice
    registered: bool


class Removal(StrEnum):
    """The result of a request to remove a device."""

    DONE = "done"
    NO_BATCH = "no-batch"
    NO_DEVICE = "no-device"
    NOT_OWNED = "not-owned"
    NOT_ALLOWED = "not-allowed"


class JobStatus(StrEnum):
    """`DeviceUploadStatusType`, as the service writes it."""

    QUEUED = "queued"
    PROCESSING = "processing"
    FINISHED = "finished"
    FINISHED_WITH_ERRORS = "finished_with_errors"


class Ztd(StrEnum):
    """Errors of one device; the values are the numbers that go with the names."""

    INVALID_HASH = "802"
    MISSING_IDENTITY = "803"
    ALREADY_ASSIGNED = "806"
    NOT_REGISTERED = "807"
    ASSIGNED_TO_OTHER_TENANT = "808"
    REGISTERED_BY_OTHER_TENANT = "811"
    NOT_FOUND = "812"
    NOT_UNIQUE = "813"


ZTD_NAMES = {
    Ztd.INVALID_HASH: "InvalidZtdHardwareHash",
    Ztd.MISSING_IDENTITY: "MissingZtdSerialNumberAndProductKey",
    Ztd.ALREADY_ASSIGNED: "ZtdDeviceAlreadyAssigned",
    Ztd.NOT_REGISTERED: "ZtdDeviceIsNotRegistered",
    Ztd.ASSIGNED_TO_OTHER_TENANT: "ZtdDeviceAssignedToOtherTenant",
    Ztd.REGISTERED_BY_OTHER_TENANT: "ZtdDeviceRegisteredByOtherTenant",
    Ztd.NOT_FOUND: "ZtdDeviceNotFound",
    Ztd.NOT_UNIQUE: "ZtdDeviceIsNotUnique",
}


@dataclass(slots=True, kw_only=True)
class Job:
    """Devices that were accepted for a batch, and are registered when its time has come."""

    id: str
    customer: str
    batch_id: str
    devices: tuple[SeedDevice, ...]
    created_at: float
    processing_at: float
    completed_at: float
    results: tuple[Ztd | None, ...] | None = None
    """Of each device, in order; None while it is not done."""

    def status(self, now: float) -> JobStatus:
        if self.results is not None:
            failed = bool(self.results) and None not in self.results
            return JobStatus.FINISHED_WITH_ERRORS if failed else JobStatus.FINISHED
        return JobStatus.QUEUED if now < self.processing_at else JobStatus.PROCESSING


@dataclass(slots=True, kw_only=True)
class _Entry:
    device: SeedDevice
    listed_from: float
    listed_until: float | None = None
    """None while it is registered; from its removal on, the moment when lists drop it."""

    def listed(self, at: float) -> bool:
        return self.listed_from <= at and (self.listed_until is None or at < self.listed_until)


@dataclass(slots=True, kw_only=True)
class _Batch:
    seed: SeedBatch
    entries: list[_Entry]
    """In the order of registration; removed ones keep their place, so that pages don't shift."""
    places: dict[str, int]

    def registered(self) -> Iterator[SeedDevice]:
        return (entry.device for entry in self.entries if entry.listed_until is None)

    def add(self, device: SeedDevice, now: float) -> None:
        self.places[device.id] = len(self.entries)
        self.entries.append(_Entry(device=device, listed_from=now))


@dataclass(slots=True, kw_only=True)
class _Customer:
    seed: SeedCustomer
    batches: dict[str, _Batch] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


class State:
    """Everything that exists. Tenant ids, domains and batch ids are found in any letter case.

    A service with further state of its own changes it under `lock`, and catches up by `follow`.
    """

    def __init__(self, seed: Seed, clock: Callable[[], float]) -> None:
        self.seed = seed
        self._clock = clock
        self.lock = threading.RLock()
        self._customers = {
            one.tenant_id.lower(): _Customer(
                seed=one, batches={batch.id: _batch(batch) for batch in one.batches}
            )
            for one in seed.customers
        }
        self._domains = {
            domain.lower(): customer.tenant_id.lower()
            for customer in seed.customers
            for domain in (customer.domain, *customer.custom_domains)
        }
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Job] = []
        self._followers: list[Callable[[float], None]] = []

    def devices(self, customer: str) -> tuple[Placed, ...]:
        """Return a customer's registrations (by tenant id or domain), whatever lists still show."""
        with self.lock:
            self.settle()
            found = self._customers[self._tenant(customer)]
            return tuple(
                Placed(batch_id=batch.seed.id, device=device)
                for batch in found.batches.values()
                for device in batch.registered()
            )

    def customer(self, tenant: str) -> SeedCustomer | None:
        """A customer by tenant id or domain."""
        found = self._customers.get(self._tenant(tenant))
        return found.seed if found else None

    def batches(self, customer: str, *, age: float = 0.0) -> list[tuple[SeedBatch, int]]:
        """The batches of a customer, each without its devices and with how many a list shows that
        is `age` seconds old."""
        with self.lock:
            at = self.settle() - age
            return [
                (batch.seed, sum(entry.listed(at) for entry in batch.entries))
                for batch in self._customers[customer.lower()].batches.values()
            ]

    def page(
        self, customer: str, batch_id: str, *, start: int, size: int, age: float = 0.0
    ) -> Page | None:
        """Up to `size` devices of a batch from a position on; None without such a batch."""
        with self.lock:
            at = self.settle() - age
            batch = self._batch(customer, batch_id)
            if batch is None:
                return None
            places = range(start, len(batch.entries))
            listed = (place for place in places if batch.entries[place].listed(at))
            found = list(islice(listed, size + 1))
            return Page(
                devices=tuple(batch.entries[place].device for place in found[:size]),
                following=found[size] if len(found) > size else None,
            )

    def find(
        self, customer: str, batch_id: str, device_id: str, *, gone: bool = False
    ) -> SeedDevice | None:
        """A device that is registered in this batch, or that was, if it may be `gone`."""
        with self.lock:
            self.settle()
            entry = self._entry(customer, batch_id, device_id)
            return entry.device if entry and (gone or entry.listed_until is None) else None

    def places(self, *keys: str) -> list[Place]:
        """Where devices with one of these identities are registered, in any tenant."""
        with self.lock:
            self.settle()
            return self._registered(keys)

    def remove(self, customer: str, batch_id: str, device_id: str, *, lag: float) -> Removal:
        """Remove a device; lists still show it for `lag` seconds."""
        with self.lock:
            now = self.settle()
            batch = self._batch(customer, batch_id)
            if batch is None:
                return Removal.NO_BATCH
            entry = self._entry(customer, batch_id, device_id)
            if entry is None or entry.listed_until is not None:
                return Removal.NO_DEVICE
            if entry.device.registered_by_other:
                return Removal.NOT_OWNED
            allowed = entry.device.allowed_operations
            if allowed is not None and "DELETE" not in (name.upper() for name in allowed):
                return Removal.NOT_ALLOWED
            self._end(customer, batch, entry, now, lag)
            return Removal.DONE

    def withdraw(self, customer: str, batch_id: str, device_id: str, at: float) -> None:
        """End a registration whoever made it: the customer, whose device it is, removed it."""
        with self.lock:
            batch = self._batch(customer, batch_id)
            entry = self._entry(customer, batch_id, device_id)
            if batch is not None and entry is not None and entry.listed_until is None:
                self._end(customer, batch, entry, at, 0.0)

    def changes(self, customer: str, start: int) -> tuple[Change, ...]:
        """Return the registrations added and removed, in order, from a position on."""
        with self.lock:
            return tuple(self._customers[customer.lower()].changes[start:])

    def settle(self) -> float:
        """Let everything happen whose time has come; the time now."""
        with self.lock:
            now = self._clock()
            for job in [job for job in self._waiting if job.completed_at <= now]:
                job.results = tuple(self._carry_out(job, device) for device in job.devices)
                self._waiting.remove(job)
            for catch_up in self._followers:
                catch_up(now)
            return now

    def follow(self, catch_up: Callable[[float], None]) -> None:
        """Call this with the time now, under the lock, before anything is looked at."""
        self._followers.append(catch_up)

    def drop_empty_batch(self, customer: str, batch_id: str) -> None:
        """Remove a batch in which nothing is registered any more."""
        with self.lock:
            batch = self._batch(customer, batch_id)
            if batch is not None and next(batch.registered(), None) is None:
                del self._customers[customer.lower()].batches[batch.seed.id]

    def has_batch(self, customer: str, batch_id: str) -> bool:
        with self.lock:
            return self._batch(customer, batch_id) is not None

    def create_batch(self, customer: str, batch: SeedBatch) -> None:
        with self.lock:
            self._customers[customer.lower()].batches[batch.id] = _batch(batch)

    def start_job(
        self,
        customer: str,
        devices: Iterable[SeedDevice],
        job_id: str,
        quirks: Quirks,
        batch_id: str,
    ) -> None:
        """Accept a job for an existing batch."""
        now = self._clock()
        job = Job(
            id=job_id,
            customer=customer.lower(),
            batch_id=batch_id,
            devices=tuple(devices),
            created_at=now,
            processing_at=now + quirks.job_queued,
            completed_at=now + quirks.job_queued + quirks.job_processing,
        )
        with self.lock:
            self._jobs[job_id.lower()] = job
            self._waiting.append(job)

    def job(self, customer: str, job_id: str) -> Job | None:
        """A job, as far as it has come."""
        with self.lock:
            self.settle()
            job = self._jobs.get(job_id.lower())
            return job if job and job.customer == customer.lower() else None

    def _tenant(self, customer: str) -> str:
        return self._domains.get(customer.lower(), customer.lower())

    def _batch(self, customer: str, batch_id: str) -> _Batch | None:
        batches = self._customers[customer.lower()].batches
        exact = batches.get(batch_id)
        if exact is not None:
            return exact
        wanted = batch_id.casefold()
        return next((batch for name, batch in batches.items() if name.casefold() == wanted), None)

    def _entry(self, customer: str, batch_id: str, device_id: str) -> _Entry | None:
        batch = self._batch(customer, batch_id)
        place = batch.places.get(device_id) if batch else None
        return batch.entries[place] if batch and place is not None else None

    def _end(self, customer: str, batch: _Batch, entry: _Entry, at: float, lag: float) -> None:
        entry.listed_until = at + lag
        self._note(customer.lower(), batch.seed.id, entry.device, at, registered=False)

    def _note(
        self, customer: str, batch_id: str, device: SeedDevice, at: float, *, registered: bool
    ) -> None:
        change = Change(at=at, batch_id=batch_id, device=device, registered=registered)
        self._customers[customer].changes.append(change)

    def _carry_out(self, job: Job, device: SeedDevice) -> Ztd | None:
        customer, at = job.customer, job.completed_at
        error, batch = self._objection(customer, device), self._batch(customer, job.batch_id)
        if error is None and batch is not None:
            batch.add(device, at)
            for key in identity_keys(device):
                self._places.setdefault(key, []).append((customer, batch.seed.id, device.id))
            self._note(customer, batch.seed.id, device, at, registered=True)
        return error

    def _objection(self, customer: str, device: SeedDevice) -> Ztd | None:
        keys = identity_keys(device)
        if not keys:
            return Ztd.MISSING_IDENTITY
        if device.hardware_hash is not None and not _base64(device.hardware_hash):
            return Ztd.INVALID_HASH
        holders = {tenant for tenant, _, _ in self._registered(keys)}
        names = {device.serial_number, device.product_key} - {None, ""}
        if customer in holders:
            return Ztd.ALREADY_ASSIGNED
        if holders or not self.seed.assigned_elsewhere.isdisjoint(names):
            return Ztd.ASSIGNED_TO_OTHER_TENANT
        if not self.seed.unknown_to_autopilot.isdisjoint(names):
            return Ztd.NOT_FOUND
        return None

    @cached_property
    def _places(self) -> dict[str, list[Place]]:
        """Where each identity is or was registered; large seeds are read only if it matters."""
        found: dict[str, list[Place]] = {}
        for tenant, customer in self._customers.items():
            for batch in customer.batches.values():
                for entry in batch.entries:
                    for key in identity_keys(entry.device):
                        place = tenant, batch.seed.id, entry.device.id
                        found.setdefault(key, []).append(place)
        return found

    def _registered(self, keys: Iterable[str]) -> list[Place]:
        """The places of these identities at which a device is still registered."""
        found = dict.fromkeys(place for key in keys for place in self._places.get(key, ()))
        entries = ((place, self._entry(*place)) for place in found)
        return [place for place, entry in entries if entry and entry.listed_until is None]


def _batch(seed: SeedBatch) -> _Batch:
    return _Batch(
        seed=replace(seed, devices=()),
        entries=[_Entry(device=device, listed_from=float("-inf")) for device in seed.devices],
        places={device.id: place for place, device in enumerate(seed.devices)},
    )


def identity_keys(device: SeedDevice) -> tuple[str, ...]:
    """Identities that Autopilot accepts: a hash, a product key, or serial, manufacturer, model."""
    found = []
    if device.hardware_hash:
        found.append(f"hash {device.hardware_hash}")
    if device.product_key:
        found.append(f"key {device.product_key}")
    if device.serial_number and device.manufacturer and device.model_name:
        parts = (device.serial_number, device.manufacturer, device.model_name)
        found.append(f"tuple {parts!r}")
    return tuple(found)


def _base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        return False
    return True
