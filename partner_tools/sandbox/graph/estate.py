"""The truth of one customer's tenant: Autopilot identities, Intune records, Entra objects.

It follows the registrations of `State` and tells it what the customer removes. What takes time is
scheduled, and happens when somebody looks after its time has come. Callers hold the state's lock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from partner_tools.sandbox.faults import GraphQuirks, chance
from partner_tools.sandbox.graph.table import Row, Table
from partner_tools.sandbox.seed import Tenant

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


@dataclass(slots=True, kw_only=True)
class Registration:
    """Where the partner's side holds the registration behind an identity."""

    batch_id: str
    device_id: str


_IDENTITY_LINKS = ("azureActiveDirectoryDeviceId", "managedDeviceId")

Withdraw = Callable[[str, str, float], None]
"""Ends a registration on the partner's side: batch id, device id, when."""


@dataclass(slots=True, kw_only=True)
class Estate:
    """Everything in one tenant."""

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
    registrations: dict[str, Registration] = field(default_factory=dict)
    """By the id of the identity; none for what the customer registered."""
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
