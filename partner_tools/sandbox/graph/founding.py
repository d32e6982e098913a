"""What a tenant holds at the start, derived from the seed: the same seed is always the same tenant.

Every registration is an identity, and an object in Entra ID that was made for it beforehand. A
machine of the seed adds what came of it: joined to Entra ID it takes that object over; joined to
Active Directory or merely registered it has one of its own beside it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from partner_tools.sandbox.graph.estate import NO_ID, Estate, Machine, Registration
from partner_tools.sandbox.graph.table import Row
from partner_tools.sandbox.seed import Join, Properties, SeedDevice, derived_id
from partner_tools.sandbox.seed import Machine as SeedMachine

TRUST = {
    Join.ENTRA: "AzureAd",
    Join.HYBRID: "ServerAd",
    Join.REGISTERED: "Workplace",
}
ENROLLMENT = {
    Join.NONE: "unknown",
    Join.ENTRA: "windowsAzureADJoin",
    Join.HYBRID: "windowsCoManagement",
    Join.REGISTERED: "windowsAutoEnrollment",
}
JOIN_TYPE = {
    Join.NONE: "unknown",
    Join.ENTRA: "azureADJoined",
    Join.HYBRID: "hybridAzureADJoined",
    Join.REGISTERED: "azureADRegistered",
}
ENROLLED_AT = "2026-03-09T07:40:12Z"
LAST_SEEN = "2026-10-30T06:21:47Z"
INTUNE = "0000000a-0000-0000-c000-000000000000"
"""The application id of Intune; assumed."""


def found(estate: Estate, registered: Iterable[tuple[str, SeedDevice]]) -> None:
    """Fill an empty estate: what is registered, by batch id, and the machines of the seed."""
    waiting: defaultdict[str, deque[SeedMachine]] = defaultdict(deque)
    for machine in estate.habits.machines:
        waiting[machine.serial_number].append(machine)
    for batch_id, device in registered:
        register(estate, batch_id, device, _claimed(waiting, device))
    for left in waiting.values():
        for machine in left:
            _settle_unregistered(estate, machine)
    _fill(estate)


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
        estate.registrations[ztdid] = Registration(batch_id=batch_id, device_id=device.id)
        estate.identity_ids[device.id] = ztdid
        _settle(estate, known, ztdid)


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
    own = _own_device_id(estate, machine, key, placeholder)
    managed = _managed_row(estate, machine, key, own) if machine.managed is not None else None
    if managed is not None:
        estate.managed.add(managed)
    if ztdid is not None:
        linked = own if machine.join is Join.ENTRA else placeholder
        identity = _identity_row(machine, ztdid, linked, managed)
        estate.identities.add(identity)
        if placeholder is not None and (machine.join is not Join.ENTRA):
            estate.devices.add(_placeholder_row(identity, placeholder))
    computer = _add_device(estate, machine, own, ztdid) if own else None
    if own or managed:
        estate.house(
            Machine(
                serial_number=machine.serial_number,
                online=machine.online,
                managed=managed["id"] if managed else None,
                entra=own,
                computer=computer,
                leaving=managed is not None and _is_leaving(managed["managementState"]),
            )
        )


def _own_device_id(
    estate: Estate, machine: SeedMachine, key: str, placeholder: str | None
) -> str | None:
    """The `deviceId` of a machine that is joined or registered."""
    if machine.join is Join.NONE:
        return None
    given = machine.device.get("deviceId")
    if given is not None:
        return str(given)
    if machine.join is Join.ENTRA and placeholder is not None:
        return placeholder
    return derived_id("device", estate.tenant_id, key)


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
        "enrollmentState": "enrolled" if managed else "notContacted",
        **({"lastContactedDateTime": LAST_SEEN} if managed else {}),
        **(machine.identity or {}),
    }


def _managed_row(estate: Estate, machine: SeedMachine, key: str, device_id: str | None) -> Row:
    given: Properties = machine.managed or {}
    return {
        "id": derived_id("managed", estate.tenant_id, key),
        "deviceName": _name(machine),
        "serialNumber": machine.serial_number,
        "azureADDeviceId": device_id or NO_ID,
        "azureADRegistered": device_id is not None,
        "managementState": "managed",
        "managementAgent": "mdm",
        "deviceEnrollmentType": ENROLLMENT[machine.join],
        "joinType": JOIN_TYPE[machine.join],
        "manufacturer": machine.manufacturer or "Contoso",
        "model": machine.model_name or "Notebook 14",
        "userPrincipalName": machine.user or "",
        "emailAddress": machine.user or "",
        "enrolledDateTime": ENROLLED_AT,
        "lastSyncDateTime": LAST_SEEN,
        "isEncrypted": machine.recovery_keys > 0,
        **given,
    }


def _placeholder_row(identity: Row, device_id: str) -> Row:
    """The object that a registration makes before any machine was set up."""
    return {
        "id": derived_id("object", device_id),
        "deviceId": device_id,
        "displayName": identity["serialNumber"],
        "trustType": "AzureAd",
        "accountEnabled": True,
        "operatingSystem": "Windows",
        "operatingSystemVersion": "10.0",
        "physicalIds": _physical_ids(identity["id"], device_id),
    }


def _add_device(
    estate: Estate, machine: SeedMachine, device_id: str, ztdid: str | None
) -> Row | None:
    """Add a machine's object with its keys. Returns the computer object's part, if it has one."""
    in_cloud = machine.join is Join.ENTRA
    row: Row = {
        "id": derived_id("object", device_id),
        "deviceId": device_id,
        "displayName": _name(machine),
        "trustType": TRUST[machine.join],
        "accountEnabled": True,
        "operatingSystem": "Windows",
        "operatingSystemVersion": "10.0.22631.4317",
        "physicalIds": _physical_ids(ztdid if in_cloud else None, device_id),
        "registrationDateTime": ENROLLED_AT,
        "approximateLastSignInDateTime": LAST_SEEN,
        "deviceOwnership": "Personal" if machine.join is Join.REGISTERED else "Company",
        "profileType": "RegisteredDevice",
        **_management(machine),
        **_synchronized(machine, device_id),
        **machine.device,
        "registeredOwners": [machine.user] if machine.user else [],
    }
    estate.devices.add(row)
    _add_keys(estate, machine, device_id)
    if machine.join is Join.HYBRID and machine.computer:
        return {**row, **_PENDING}
    return None


_PENDING: Row = {
    "registrationDateTime": None,
    "approximateLastSignInDateTime": None,
    "physicalIds": [],
    "isManaged": None,
    "isCompliant": None,
    "mdmAppId": None,
    "profileType": None,
}
"""What is missing from an object that was synchronized again and not registered yet."""


def _management(machine: SeedMachine) -> Properties:
    if machine.managed is None:
        return {}
    return {
        "isManaged": True,
        "isCompliant": True,
        "mdmAppId": INTUNE,
        "managementType": "MDM",
        "enrollmentType": "AzureDomainJoined"
        if machine.join is Join.ENTRA
        else "OnPremiseCoManaged",
    }


def _synchronized(machine: SeedMachine, device_id: str) -> Properties:
    if machine.join is not Join.HYBRID:
        return {}
    number = int(device_id.replace("-", "")[:8], 16)
    return {
        "onPremisesSyncEnabled": machine.computer,
        "onPremisesLastSyncDateTime": LAST_SEEN,
        "onPremisesSecurityIdentifier": f"S-1-5-21-1180699209-877415012-3182924384-{number}",
    }


def _add_keys(estate: Estate, machine: SeedMachine, device_id: str) -> None:
    for number in range(machine.recovery_keys):
        estate.recovery_keys.add(
            {
                "id": derived_id("recovery key", device_id, str(number)),
                "createdDateTime": ENROLLED_AT,
                "deviceId": device_id,
                "volumeType": "fixedDataVolume" if number else "operatingSystemVolume",
            }
        )
    if machine.local_credential:
        estate.local_credentials.add(
            {
                "id": device_id,
                "deviceName": _name(machine),
                "lastBackupDateTime": LAST_SEEN,
                "refreshDateTime": "2026-11-29T06:21:47Z",
            }
        )


def _fill(estate: Estate) -> None:
    habits = estate.habits
    for number, given in enumerate(habits.imported_autopilot):
        estate.imported_autopilot.add(_with_id(estate, "imported autopilot", number, given))
    for number, given in enumerate(habits.imported_identities):
        estate.imported_identities.add(_with_id(estate, "imported identity", number, given))
    for number, given in enumerate(habits.associated):
        estate.associated.add(_with_id(estate, "association", number, given))


def _with_id(estate: Estate, what: str, number: int, given: Properties) -> dict[str, Any]:
    return {"id": derived_id(what, estate.tenant_id, str(number)), **given}


def _physical_ids(ztdid: str | None, device_id: str) -> list[str]:
    hardware = f"[HWID]:h:{int(device_id.replace('-', '')[:15], 16)}"
    return [hardware, f"[ZTDID]:{ztdid}"] if ztdid else [hardware]


def _is_leaving(state: str) -> bool:
    return state in {"retirePending", "retireIssued", "wipePending", "wipeIssued", "deletePending"}


def _name(machine: SeedMachine) -> str:
    return machine.name or f"DESKTOP-{machine.serial_number[-7:].upper()}"
