"""The truth of one customer's tenant: Autopilot identities, Intune records, Entra objects.

It is derived from the seed: the same seed always gives the same tenant. Every registration is an
identity, and an object in Entra ID that was made for it beforehand. A machine of the seed adds its
own records: joined to Entra ID it takes that object over; joined to Active Directory or merely
registered it has another beside it.

Afterwards it follows the registrations of `State` and reports the customer's removals to it.
Effects that take time are scheduled, and applied by the first check after they are due. Callers
hold the state's lock.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

from partner_tools.sandbox.faults import GraphQuirks, chance
from partner_tools.sandbox.reading import read_data
from partner_tools.sandbox.seed import Join, SeedBatch, SeedDevice, Tenant, derived_id
from partner_tools.sandbox.seed import Machine as SeedMachine

Row = dict[str, Any]


class Table:
    """Rows under the names of Microsoft Graph, with their `id`. Values are compared without case.

    `indexed` names the properties, plain or lists, by which `having` finds rows.
    """

    def __init__(self, *indexed: str) -> None:
        self._rows: dict[str, Row] = {}
        self._positions: dict[str, int] = {}
        self._numbers = count(1)
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in indexed}
        self._removed: list[tuple[float, Row]] = []

    def add(self, row: Row) -> None:
        key = row["id"].lower()
        self._rows[key] = row
        self._positions[key] = next(self._numbers)
        self._enter(key, row)

    def get(self, name: str) -> Row | None:
        return self._rows.get(name.lower())

    def change(self, name: str, **properties: Any) -> None:
        """Give a row other values; no row, no change."""
        key = name.lower()
        row = self._rows.get(key)
        if row is not None:
            self._leave(key, row)
            row.update(properties)
            self._enter(key, row)

    def remove(self, name: str, at: float) -> Row | None:
        """Take a row out; `rows` still shows it to whoever looks at the time before."""
        key = name.lower()
        row = self._rows.pop(key, None)
        if row is not None:
            self._leave(key, row)
            self._removed.append((at, row))
        return row

    def rows(self, since: float | None = None) -> Iterator[Row]:
        """Yield the rows that exist, and those deleted after `since`."""
        yield from self._rows.values()
        if since is not None:
            yield from (row for at, row in self._removed if at > since)

    def indexes(self, name: str) -> bool:
        return name in self._indexes

    def having(self, name: str, values: Iterable[str]) -> list[Row]:
        """The rows with one of these values in an indexed property, in order."""
        index = self._indexes[name]
        keys = {key for value in values for key in index.get(value.lower(), ())}
        return [self._rows[key] for key in sorted(keys, key=self._positions.__getitem__)]

    def position(self, row: Row) -> int:
        """Return a row's position, even if deleted: positions grow in order of creation."""
        return self._positions[row["id"].lower()]

    def _enter(self, key: str, row: Row) -> None:
        for name, index in self._indexes.items():
            for value in _values(row.get(name)):
                index.setdefault(value, {})[key] = None

    def _leave(self, key: str, row: Row) -> None:
        for name, index in self._indexes.items():
            for value in _values(row.get(name)):
                index.get(value, {}).pop(key, None)


def _values(value: Any) -> set[str]:
    if value is None:
        return set()
    found = value if isinstance(value, list | tuple) else [value]
    return {str(one).lower() for one in found}


NO_ID = "00000000-0000-0000-0000-000000000000"
"""How Intune says that there is no such id."""
NEVER = "0001-01-01T00:00:00Z"
"""How Intune says that something never happened."""


@dataclass(slots=True, kw_only=True)
class Machine:
    """One machine: which records are its, and what it is to do at its next check-in."""

    serial_number: str
    online: bool
    managed: str | None = None
    """Id of its record in Intune, until that is gone."""
    entra: str | None = None
    """The `deviceId` under which it is joined or registered."""
    computer: Row | None = None
    """Of a hybrid-joined one: what Entra Connect makes of its computer object."""
    leaving: bool = False
    """Whether it retires at its next check-in."""


@dataclass(slots=True, kw_only=True)
class Approval:
    """A request for a second administrator's approval, under its code."""

    code: str
    action: tuple[str, str]
    """The operation and the id that it is for."""
    justification: str
    requested_at: float
    status: str = "needsApproval"


_IDENTITY_LINKS = ("azureActiveDirectoryDeviceId", "managedDeviceId")

Withdraw = Callable[[str, str, float], None]
"""Ends a registration on the partner's side: batch id, device id, when."""


@dataclass(slots=True, kw_only=True)
class Estate:
    tenant_id: str
    domain: str
    name: str
    habits: Tenant
    quirks: Callable[[], GraphQuirks]
    withdraw: Withdraw
    identities: Table = field(default_factory=lambda: Table(*_IDENTITY_LINKS))
    managed: Table = field(default_factory=lambda: Table("serialNumber", "azureADDeviceId"))
    devices: Table = field(
        default_factory=lambda: Table("deviceId", "displayName", "physicalIds", "id")
    )
    deleted: Table = field(default_factory=lambda: Table("deviceId"))
    recovery_keys: Table = field(default_factory=lambda: Table("deviceId"))
    local_credentials: Table = field(default_factory=Table)
    imported_autopilot: Table = field(default_factory=Table)
    imported_identities: Table = field(default_factory=Table)
    associated: Table = field(default_factory=lambda: Table("serialNumber"))
    machines: list[Machine] = field(default_factory=list)
    registrations: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Where the partner's side holds the registration behind an identity, by the identity's id:
    the batch's and the device's id. None for what the customer registered."""
    identity_ids: dict[str, str] = field(default_factory=dict)
    """By the id of the registration."""
    going: set[str] = field(default_factory=set)
    """Identities whose removal is under way."""
    approvals: dict[str, Approval] = field(default_factory=dict)
    synced_at: float | None = None
    """When the last sync was asked for."""
    seen: int = 0
    """How many changes of the registrations have been followed."""
    _due: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)
    _by_managed: dict[str, Machine] = field(default_factory=dict)
    _by_entra: dict[str, Machine] = field(default_factory=dict)

    def later(self, at: float, effect: Callable[[float], None]) -> None:
        """Let something happen at a time, which it is told."""
        heapq.heappush(self._due, (at, next(self._numbers), effect))

    def happen(self, now: float) -> None:
        """Let everything happen whose time has come, in order."""
        while self._due and self._due[0][0] <= now:
            at, _, effect = heapq.heappop(self._due)
            effect(at)

    def drawn(self, span: tuple[float, float], what: str) -> float:
        """Seconds within a range, always the same for the same thing."""
        low, high = span
        return low + (high - low) * chance("graph", self.tenant_id, what)

    def house(self, machine: Machine) -> None:
        """Take in a machine, so that it is found by its ids."""
        self.machines.append(machine)
        if machine.managed is not None:
            self._by_managed[machine.managed.lower()] = machine
        if machine.entra is not None:
            self._by_entra[machine.entra.lower()] = machine

    def machine_of_managed(self, name: str) -> Machine | None:
        return self._by_managed.get(name.lower())

    def machine_of_entra(self, device_id: str) -> Machine | None:
        return self._by_entra.get(device_id.lower())

    def machines_named(self, name: str) -> list[Machine]:
        """By serial number, exactly, or by Entra device id."""
        by_id = self.machine_of_entra(name)
        return [by_id] if by_id else [one for one in self.machines if one.serial_number == name]

    def device_of(self, device_id: str) -> Row | None:
        """The object in Entra ID with this `deviceId`."""
        return next(iter(self.devices.having("deviceId", [device_id])), None)

    def object_of(self, machine: Machine) -> Row | None:
        return self.device_of(machine.entra) if machine.entra else None

    def registered(self, device_id: str) -> bool:
        """Whether an Autopilot identity leads to this `deviceId`."""
        return bool(self.identities.having("azureActiveDirectoryDeviceId", [device_id]))

    def truth(self) -> dict[str, Any]:
        """All of it, for the sandbox's own door."""
        return {
            "windowsAutopilotDeviceIdentities": list(self.identities.rows()),
            "managedDevices": list(self.managed.rows()),
            "devices": list(self.devices.rows()),
            "deletedDevices": list(self.deleted.rows()),
            "tenantAssociatedDevices": list(self.associated.rows()),
            "machines": [
                {
                    "serialNumber": one.serial_number,
                    "online": one.online,
                    "managedDeviceId": one.managed,
                    "deviceId": one.entra,
                    "computer": one.computer is not None,
                    "leaving": one.leaving,
                }
                for one in self.machines
            ],
            "removalsUnderWay": sorted(self.going),
            "approvals": [
                {"code": one.code, "status": one.status, "operation": one.action[0]}
                for one in self.approvals.values()
            ],
        }


def stamp(at: float) -> str:
    """A time as Graph writes it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


_ROWS: Mapping[str, Any] = read_data(__package__, "machines.json")
"""The values that all machines' rows share. `pending` is missing from an object that was
synchronized again and not registered yet."""
LEAVING = frozenset({"retirePending", "retireIssued", "wipePending", "wipeIssued", "deletePending"})
"""States of a managed device that retires at its next check-in."""


def seed_estate(estate: Estate, batches: Iterable[SeedBatch]) -> None:
    """Fill an empty estate: what is registered, and the machines of the seed."""
    waiting: defaultdict[str, deque[SeedMachine]] = defaultdict(deque)
    for machine in estate.habits.machines:
        waiting[machine.serial_number].append(machine)
    for batch in batches:
        for device in batch.devices:
            register(estate, batch.id, device, _claimed(waiting, device))
    for left in waiting.values():
        for machine in left:
            _settle_unregistered(estate, machine)
    habits = estate.habits
    for table, what, given in (
        (estate.imported_autopilot, "imported autopilot", habits.imported_autopilot),
        (estate.imported_identities, "imported identity", habits.imported_identities),
        (estate.associated, "association", habits.associated),
    ):
        for number, row in enumerate(given):
            table.add({"id": derived_id(what, estate.tenant_id, str(number)), **row})


def register(
    estate: Estate, batch_id: str, device: SeedDevice, machine: SeedMachine | None = None
) -> None:
    """Let a registration of the partner appear, with the machine that it is of if there is one."""
    known = machine or SeedMachine(serial_number=device.serial_number or "")
    ztdid = _ztdid(known, derived_id("ztdid", estate.tenant_id, device.id))
    known = replace(
        known,
        manufacturer=known.manufacturer or device.manufacturer,
        model_name=known.model_name or device.model_name,
        identity={"productKey": device.product_key or "", **(known.identity or {})},
    )
    if estate.identities.get(ztdid) is None:
        estate.registrations[ztdid] = (batch_id, device.id)
        estate.identity_ids[device.id] = ztdid
        _settle(estate, known, ztdid)


def import_device(estate: Estate, given: Row, import_id: str, now: float) -> Row:
    """Begin an import; when it is done, the device is an identity or has an error.

    It takes as long as a sync (assumed; up to 15 minutes in practice,
    https://learn.microsoft.com/autopilot/add-devices, 2025-04).
    """
    state = {"deviceImportStatus": "pending", "deviceErrorCode": 0, "deviceErrorName": ""}
    row = {"id": import_id, **given, "state": {**state, "deviceRegistrationId": ""}}

    def finish(_at: float) -> None:
        serial = row["serialNumber"]
        if any(known["serialNumber"] == serial for known in estate.identities.rows()):
            ended = {"deviceImportStatus": "error", "deviceErrorCode": 806}
            ended["deviceErrorName"] = "ZtdDeviceAlreadyAssigned"
        else:
            names = ("groupTag", "productKey")
            identity = {name: row.get(name, "") for name in names}
            _settle_unregistered(estate, SeedMachine(serial_number=serial, identity=identity))
            ended = {"deviceImportStatus": "complete"}
        estate.imported_autopilot.change(row["id"], state={**row["state"], **ended})

    estate.imported_autopilot.add(row)
    estate.later(now + estate.quirks().sync, finish)
    return dict(row)


def _claimed(waiting: dict[str, deque[SeedMachine]], device: SeedDevice) -> SeedMachine | None:
    """The first machine of this serial that may be the one that was registered."""
    queue = waiting.get(device.serial_number or "", deque())
    for machine in queue:
        if machine.model_name in (None, device.model_name):
            queue.remove(machine)
            return machine
    return None


def _settle_unregistered(estate: Estate, machine: SeedMachine) -> None:
    place = str(len(estate.machines))
    ztdid = derived_id("ztdid", estate.tenant_id, "customer", machine.serial_number, place)
    registered = machine.identity is not None
    _settle(estate, machine, _ztdid(machine, ztdid) if registered else None)


def _ztdid(machine: SeedMachine, derived: str) -> str:
    return str((machine.identity or {}).get("id", derived))


def _settle(estate: Estate, machine: SeedMachine, ztdid: str | None) -> None:
    """Add the rows of one machine, each with the ids of the others."""
    key = ztdid or derived_id("machine", machine.serial_number, str(len(estate.machines)))
    placeholder = derived_id("placeholder", estate.tenant_id, key) if ztdid else None
    joined = machine.join is Join.ENTRA
    own = computer = None
    if machine.join is not Join.NONE:
        derived = derived_id("device", estate.tenant_id, key)
        own = str(machine.device.get("deviceId") or (joined and placeholder) or derived)
    managed = None
    if machine.managed is not None:
        managed = _managed_row(estate, machine, key, own)
        estate.managed.add(managed)
    if ztdid is not None:
        identity = _identity_row(machine, ztdid, own if joined else placeholder, managed)
        estate.identities.add(identity)
        if placeholder is not None and not joined:
            estate.devices.add(_placeholder_row(identity, placeholder))
    if own:
        device = _device_row(machine, own, ztdid if joined else None)
        estate.devices.add(device)
        _add_keys(estate, machine, own)
        if machine.join is Join.HYBRID and machine.computer:
            computer = {**device, **_ROWS["pending"]}
    if own or managed:
        leaving = managed is not None and managed["managementState"] in LEAVING
        estate.house(
            Machine(
                serial_number=machine.serial_number,
                online=machine.online,
                managed=managed["id"] if managed else None,
                entra=own,
                computer=computer,
                leaving=leaving,
            )
        )


def _identity_row(
    machine: SeedMachine, ztdid: str, device_id: str | None, managed: Row | None
) -> Row:
    return {
        "id": ztdid,
        "serialNumber": machine.serial_number,
        "manufacturer": machine.manufacturer or "Contoso",
        "model": machine.model_name or "Notebook 14",
        "azureActiveDirectoryDeviceId": device_id or NO_ID,
        "managedDeviceId": managed["id"] if managed else NO_ID,
        "enrollmentState": "notContacted",
        **(_ROWS["contacted"] if managed else {}),
        **(machine.identity or {}),
    }


def _managed_row(estate: Estate, machine: SeedMachine, key: str, device_id: str | None) -> Row:
    join = _ROWS["joins"][machine.join]
    return {
        **_ROWS["managedDevice"],
        "id": derived_id("managed", estate.tenant_id, key),
        "deviceName": _name(machine),
        "serialNumber": machine.serial_number,
        "azureADDeviceId": device_id or NO_ID,
        "azureADRegistered": device_id is not None,
        "deviceEnrollmentType": join["deviceEnrollmentType"],
        "joinType": join["joinType"],
        "manufacturer": machine.manufacturer or "Contoso",
        "model": machine.model_name or "Notebook 14",
        "userPrincipalName": machine.user or "",
        "emailAddress": machine.user or "",
        "isEncrypted": machine.recovery_keys > 0,
        **(machine.managed or {}),
    }


def _placeholder_row(identity: Row, device_id: str) -> Row:
    """The object that a registration makes before any machine was set up."""
    return {
        **_ROWS["placeholder"],
        "id": derived_id("object", device_id),
        "deviceId": device_id,
        "displayName": identity["serialNumber"],
        "physicalIds": _physical_ids(identity["id"], device_id, identity.get("groupTag", "")),
    }


def _device_row(machine: SeedMachine, device_id: str, ztdid: str | None) -> Row:
    """A machine's object; `ztdid` is of its registration, if the object is that of it."""
    tag = (machine.identity or {}).get("groupTag", "")
    row: Row = {
        **_ROWS["device"],
        "id": derived_id("object", device_id),
        "deviceId": device_id,
        "displayName": _name(machine),
        "trustType": _ROWS["joins"][machine.join]["trustType"],
        "physicalIds": _physical_ids(ztdid, device_id, tag),
        "deviceOwnership": "Personal" if machine.join is Join.REGISTERED else "Company",
    }
    if machine.managed is not None:
        joined = machine.join is Join.ENTRA
        row |= _ROWS["inUse"]
        row["enrollmentType"] = "AzureDomainJoined" if joined else "OnPremiseCoManaged"
    if machine.join is Join.HYBRID:
        number = int(device_id.replace("-", "")[:8], 16)
        sid = f"S-1-5-21-1180699209-877415012-3182924384-{number}"
        row |= _ROWS["synchronized"]
        row |= {"onPremisesSyncEnabled": machine.computer, "onPremisesSecurityIdentifier": sid}
    return {**row, **machine.device, "registeredOwners": [machine.user] if machine.user else []}


def _add_keys(estate: Estate, machine: SeedMachine, device_id: str) -> None:
    for number in range(machine.recovery_keys):
        estate.recovery_keys.add(
            {
                **_ROWS["recoveryKey"],
                "id": derived_id("recovery key", device_id, str(number)),
                "deviceId": device_id,
                "volumeType": "fixedDataVolume" if number else "operatingSystemVolume",
            }
        )
    if machine.local_credential:
        saved = {**_ROWS["localCredential"], "id": device_id, "deviceName": _name(machine)}
        estate.local_credentials.add(saved)


def _physical_ids(ztdid: str | None, device_id: str, tag: str) -> list[str]:
    """A group tag is an order id there: https://learn.microsoft.com/autopilot/enrollment-autopilot"""
    hardware = f"[HWID]:h:{int(device_id.replace('-', '')[:15], 16)}"
    order = [f"[OrderId]:{tag}"] if tag else []
    return [hardware, f"[ZTDID]:{ztdid}", *order] if ztdid else [hardware]


def tag_devices(estate: Estate, identity: Row) -> None:
    """Write an identity's group tag into its Entra objects."""
    order = [f"[OrderId]:{identity['groupTag']}"] if identity.get("groupTag") else []
    for device in estate.devices.having("physicalIds", [f"[ZTDID]:{identity['id']}"]):
        kept = [name for name in device["physicalIds"] if not name.startswith("[OrderId]")]
        estate.devices.change(device["id"], physicalIds=[*kept, *order])


def _name(machine: SeedMachine) -> str:
    return machine.name or f"DESKTOP-{machine.serial_number[-7:].upper()}"
