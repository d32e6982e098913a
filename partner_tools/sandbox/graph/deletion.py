"""How things leave a tenant, step by step, and what goes with them.

Rules: https://learn.microsoft.com/intune/intune-service/remote-actions/device-retire (2025-07) and
device-delete (2025-10), https://learn.microsoft.com/entra/identity/devices/manage-stale-devices
(2024-04) and concept-soft-delete-devices (2026-04). `docs/reference/sandbox.md` says what of it is
assumed. Every function is told the time.
"""

from __future__ import annotations

from functools import partial

from partner_tools.sandbox.graph.estate import NO_ID, Estate, Machine, Row, stamp
from partner_tools.sandbox.seed import derived_id

IN_USE = frozenset({"managed", "unhealthy", "discovered", "retireFailed", "wipeFailed"})
"""States of a managed device that is enrolled and meant to stay so; cancelled ones too."""
RECYCLED = frozenset({"azuread", "workplace"})
"""Trust types whose objects can be restored for thirty days."""
THIRTY_DAYS = 30 * 86_400.0


def remove_identity(estate: Estate, name: str, now: float) -> str | None:
    """Begin to remove an Autopilot identity, as the customer's own wish. None: it is accepted;
    else the entry of `refusals.json` that says why not."""
    identity = estate.identities.get(name)
    if identity is None:
        return "unknown device"
    if identity["id"] in estate.going:
        return "deletion under way"
    in_use = any(
        row["managementState"] in IN_USE or row["managementState"].endswith("Canceled")
        for row in estate.managed.having("serialNumber", [identity["serialNumber"]])
    )
    if estate.quirks().refuse_enrolled and in_use:
        return "enrolled"
    begin_removal(estate, identity["id"], now)
    return None


def begin_removal(estate: Estate, name: str, now: float) -> None:
    """Remove an identity when its time has come, or with the next sync."""
    if estate.identities.get(name) is not None and name not in estate.going:
        estate.going.add(name)
        wait = estate.drawn(estate.quirks().autopilot_delete, name)
        estate.later(now + wait, partial(_finish_removal, estate, name))


def sync(estate: Estate, now: float) -> None:
    """Start a sync: at its end, every removal that was under way is done."""
    names = sorted(estate.going)

    def finish(at: float) -> None:
        for name in names:
            _finish_removal(estate, name, at)

    estate.synced_at = now
    estate.later(now + estate.quirks().sync, finish)


def syncing(estate: Estate, now: float) -> bool:
    return estate.synced_at is not None and now < estate.synced_at + estate.quirks().sync


def delete_managed(estate: Estate, name: str, now: float) -> None:
    """Take a device out of Intune at once; it retires at its next check-in."""
    machine = estate.machine_of_managed(name)
    _drop_managed(estate, name, now)
    _expect_retirement(estate, machine, now)


def delete_association(estate: Estate, row: Row, now: float) -> None:
    """Delete a device association: one that no device took yet at once, any other when its device
    is reached (https://learn.microsoft.com/autopilot/device-preparation/device-association,
    2026-08)."""
    if row.get("associationState", "preassociated") == "preassociated":
        estate.associated.remove(row["id"], now)
    else:
        estate.associated.change(row["id"], associationState="pendingRemoval")


def _reach_associations(estate: Estate, machine: Machine, now: float) -> None:
    """A machine is online: while it is enrolled it is associated, again if need be; one that is
    not loses what waits for its removal."""
    for row in estate.associated.having("serialNumber", [machine.serial_number]):
        if machine.managed is not None:
            links = {"managedDeviceId": machine.managed, "associationDateTime": stamp(now)}
            estate.associated.change(row["id"], associationState="associated", **links)
        elif row.get("associationState") == "pendingRemoval":
            estate.associated.remove(row["id"], now)


def retire(estate: Estate, row: Row, action: str, now: float) -> None:
    """Have a device retire or be wiped at its next check-in; then Intune drops it."""
    result = {
        "actionName": "factoryReset" if action == "wipe" else action,
        "actionState": "pending",
        "startDateTime": stamp(now),
        "lastUpdatedDateTime": stamp(now),
    }
    results = [*row.get("deviceActionResults", ()), result]
    state = f"{action}Pending"
    estate.managed.change(row["id"], managementState=state, deviceActionResults=results)
    _expect_retirement(estate, estate.machine_of_managed(row["id"]), now)


def check_in(estate: Estate, machine: Machine, now: float) -> None:
    """A machine is online: what it was to do happens now."""
    device, retires = estate.object_of(machine), machine.leaving
    machine.leaving = False
    if machine.managed is not None and retires:
        _drop_managed(estate, machine.managed, now)
    elif machine.managed is not None:
        estate.managed.change(machine.managed, lastSyncDateTime=stamp(now))
    _reach_associations(estate, machine, now)
    if device is not None and retires:
        _remove_if_unheld(estate, device, now)
    elif device is not None:
        estate.devices.change(device["id"], approximateLastSignInDateTime=stamp(now))


def delete_device(estate: Estate, device: Row, now: float) -> None:
    """Delete an object of Entra ID; Entra Connect brings back what Active Directory still has."""
    machine = estate.machine_of_entra(device["deviceId"])
    _remove_device(estate, device, now)
    if machine is not None and machine.computer is not None:
        cycle = estate.quirks().connect_cycle
        estate.later(now + cycle, partial(_bring_back, estate, machine))


def restore(estate: Estate, name: str, now: float) -> Row | None:
    """Bring back a deleted object; it is not compliant any more."""
    deleted = estate.deleted.remove(name, now)
    if deleted is None:
        return None
    row = {**deleted, "deletedDateTime": None, "isCompliant": False}
    estate.devices.add(row)
    return row


def delete_computer(estate: Estate, machine: Machine, now: float) -> None:
    """Delete the computer object in Active Directory; its object in Entra ID goes with a cycle."""
    machine.computer = None
    cycle = estate.quirks().connect_cycle
    estate.later(now + cycle, partial(_synchronize_away, estate, machine))


def connect(estate: Estate, now: float) -> None:
    """Let a cycle of Entra Connect happen now."""
    for machine in estate.machines:
        if machine.computer is None:
            _synchronize_away(estate, machine, now)
        else:
            _bring_back(estate, machine, now)


def _finish_removal(estate: Estate, name: str, now: float) -> None:
    if name not in estate.going:
        return
    estate.going.remove(name)
    estate.identities.remove(name, now)
    registration = estate.registrations.pop(name, None)
    if registration is not None:
        estate.withdraw(*registration, now)
    for device in estate.devices.having("physicalIds", [f"[ZTDID]:{name}"]):
        _remove_if_unheld(estate, device, now)


def _expect_retirement(estate: Estate, machine: Machine | None, now: float) -> None:
    if machine is not None:
        machine.leaving = True
        expect_check_in(estate, machine, now)


def expect_check_in(estate: Estate, machine: Machine, now: float) -> None:
    """Let a machine check in soon, if it is online."""
    if machine.online:
        wait = estate.drawn(estate.quirks().check_in, machine.serial_number)
        estate.later(now + wait, partial(check_in, estate, machine))


def _drop_managed(estate: Estate, name: str, now: float) -> None:
    row = estate.managed.remove(name, now)
    machine = estate.machine_of_managed(name)
    if row is None or machine is None:
        return
    machine.managed = None
    for identity in estate.identities.having("managedDeviceId", [row["id"]]):
        estate.identities.change(
            identity["id"], managedDeviceId=NO_ID, enrollmentState="notContacted"
        )
    device = estate.object_of(machine)
    if device is not None:
        estate.devices.change(device["id"], isManaged=False, isCompliant=False, mdmAppId=None)


def _remove_if_unheld(estate: Estate, device: Row, now: float) -> None:
    """Remove an object if nothing holds it: an identity, Intune, a retirement, or a directory."""
    machine = estate.machine_of_entra(device["deviceId"])
    held = machine is not None and (machine.managed is not None or machine.leaving)
    synchronized = _trust(device) not in RECYCLED
    if held or synchronized or estate.registered(device["deviceId"]):
        return
    quirks = estate.quirks()
    if quirks.placeholder_removal if machine is None else quirks.auto_removal:
        _remove_device(estate, device, now)


def _remove_device(estate: Estate, device: Row, now: float) -> None:
    """Take an object out: into the recycle bin with its keys, or for good and without them."""
    estate.devices.remove(device["id"], now)
    if estate.quirks().soft_delete and _trust(device) in RECYCLED:
        deleted = {**device, "deletedDateTime": stamp(now)}

        def expire(at: float) -> None:
            """Purge it, unless it was restored since, and maybe deleted again."""
            if estate.deleted.get(deleted["id"]) is deleted:
                purge(estate, deleted["id"], at)

        estate.deleted.add(deleted)
        estate.later(now + THIRTY_DAYS, expire)
    else:
        _forget_keys(estate, device["deviceId"], now)


def purge(estate: Estate, name: str, now: float) -> None:
    """Take an object out of the recycle bin for good, if it is in it."""
    row = estate.deleted.remove(name, now)
    if row is not None:
        _forget_keys(estate, row["deviceId"], now)


def _forget_keys(estate: Estate, device_id: str, now: float) -> None:
    for key in estate.recovery_keys.having("deviceId", [device_id]):
        estate.recovery_keys.remove(key["id"], now)
    estate.local_credentials.remove(device_id, now)


def _bring_back(estate: Estate, machine: Machine, now: float) -> None:
    """What Entra Connect does for a computer object without an object in Entra ID: a new one,
    under the same `deviceId`, that is pending until the machine registers again.
    """
    if machine.computer is not None and machine.entra and estate.object_of(machine) is None:
        again = {
            "id": derived_id("object", machine.entra, stamp(now)),
            "onPremisesLastSyncDateTime": stamp(now),
        }
        estate.devices.add({**machine.computer, **again})


def _synchronize_away(estate: Estate, machine: Machine, now: float) -> None:
    device = estate.object_of(machine)
    if machine.computer is None and device is not None and device.get("onPremisesSyncEnabled"):
        _remove_device(estate, device, now)


def _trust(device: Row) -> str:
    return str(device.get("trustType") or "").lower()
