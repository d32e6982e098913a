"""Foreign text inside PowerShell, and the command that does one step for one device.

Whatever a serial number or a name holds, it stays one literal: printable ASCII stands in single
quotes, everything else is spelled as `[char]` codes. So no typographic quote can end a literal
(PowerShell takes U+2018 to U+201B for quotes), no line can break, nothing can turn the reading
direction, and the encoding in which Windows PowerShell 5.1 reads a file does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from partner_tools.outstanding import ALL_ZERO, StepId

_PLAIN = re.compile(r"[\x20-\x7e]+")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


def literal(text: str) -> str:
    """A PowerShell expression whose value is exactly the text."""
    parts = [_part(match[0]) for match in re.finditer(r"[\x20-\x7e]+|[^\x20-\x7e]", text)]
    if not parts:
        return "''"
    return parts[0] if len(parts) == 1 and parts[0][0] == "'" else f"({_joined(parts)})"


def odata(text: str) -> str:
    """The text as a literal of an OData filter."""
    return "'" + text.replace("'", "''") + "'"


def is_guid(text: str | None) -> bool:
    """Whether an id is one that a command may name: a GUID that is not all zeros."""
    return text is not None and bool(_GUID.fullmatch(text)) and text != ALL_ZERO


def _part(piece: str) -> str:
    if _PLAIN.fullmatch(piece):
        return "'" + piece.replace("'", "''") + "'"
    units = piece.encode("utf-16-be", "surrogatepass")
    codes = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    return " + ".join(f"[char]0x{code}" for code in codes)


def _joined(parts: list[str]) -> str:
    """A concatenation that starts with a string, so that `+` joins texts."""
    return " + ".join(parts if parts[0][0] == "'" else ["''", *parts])


_BY_OWN_ID: Mapping[StepId, str] = {
    StepId.DELETE_FROM_INTUNE: "Remove-MgDeviceManagementManagedDevice -ManagedDeviceId '{}'",
    StepId.RETRY_INTUNE_ACTION: "Remove-MgDeviceManagementManagedDevice -ManagedDeviceId '{}'",
    StepId.ALLOW_REENROLLMENT: "Remove-MgDeviceManagementManagedDevice -ManagedDeviceId '{}'",
    StepId.UNASSIGN_USER: (
        "Invoke-MgGraphRequest -Method POST -Uri"
        " 'v1.0/deviceManagement/windowsAutopilotDeviceIdentities/{}/unassignUserFromDevice'"
    ),
    StepId.DEREGISTER_FROM_AUTOPILOT: (
        "Remove-MgDeviceManagementWindowsAutopilotDeviceIdentity"
        " -WindowsAutopilotDeviceIdentityId '{}'"
    ),
    StepId.CONFIRM_AUTOPILOT_REMOVAL: (
        "Get-MgDeviceManagementWindowsAutopilotDeviceIdentity"
        " -WindowsAutopilotDeviceIdentityId '{}'"
    ),
    StepId.DELETE_ASSOCIATION_RECORD: (
        "Invoke-MgGraphRequest -Method DELETE -Uri"
        " 'beta/deviceManagement/tenantAssociatedDevices/{}'"
    ),
    StepId.DECIDE_ON_ENTRA_OBJECT: "Update-MgDevice -DeviceId '{}' -AccountEnabled:$false",
    StepId.DECIDE_ON_RESIDUAL_OBJECT: "Update-MgDevice -DeviceId '{}' -AccountEnabled:$false",
}
_BY_DEVICE_ID: Mapping[StepId, str] = {
    StepId.BACK_UP_KEYS: (
        "Get-MgInformationProtectionBitlockerRecoveryKey -Filter 'deviceId eq ''{}'''"
    ),
    StepId.DELETE_COMPUTER_OBJECT: "Get-ADComputer -Identity '{}' | Remove-ADComputer -Confirm",
    StepId.VERIFY_ENTRA_REMOVAL: "Get-MgDevice -Filter 'deviceId eq ''{}'''",
}


def command(
    step: StepId, own_id: str | None, device_id: str | None, serial: str | None
) -> str | None:
    """What does or looks up this step for one device; None where only the portal can.

    `own_id` is the id of the record that the step works on, `device_id` the one that the directory
    knows the device by. Without them only a look-up by serial number is offered, never a deletion.
    """
    if step in _BY_OWN_ID and own_id is not None and is_guid(own_id):
        return _BY_OWN_ID[step].format(own_id)
    if step in _BY_DEVICE_ID and device_id is not None and is_guid(device_id):
        return _BY_DEVICE_ID[step].format(device_id)
    if step is StepId.DELETE_FROM_INTUNE and serial:
        look_up = literal(f"serialNumber eq {odata(serial)}")
        return f"Get-MgDeviceManagementManagedDevice -Filter {look_up}"
    return None
