"""Foreign text inside PowerShell, and the command that does one step for one device.

Any serial number or name stays one literal: printable ASCII is in single
quotes, everything else is spelled as `[char]` codes. So no typographic quote can end a literal
(PowerShell takes U+2018 to U+201B for quotes), no line can break, nothing can turn the reading
direction, and the encoding in which Windows PowerShell 5.1 reads a file does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a step is done in PowerShell; tests check names against the modules' published help.

    In `each`, `<id>` is the record that the step works on, `<device id>` how the directory knows
    the device. `hybrid` is added for hybrid joined devices, `once` is for the whole tenant.
    """

    scopes: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    hybrid: tuple[str, ...] = ()
    once: tuple[str, ...] = ()

    @property
    def guide(self) -> str:
        """The recipe for any device, with its placeholders, one command a line."""
        scopes = ", ".join(f"'{scope}'" for scope in self.scopes)
        lines = [f"Connect-MgGraph -Scopes {scopes}"] if scopes else []
        lines += [*self.once, *self.each]
        if self.hybrid:
            lines += ["# Hybrid joined devices, in Active Directory:", *self.hybrid]
        return "\n".join(lines)


_INTUNE = Recipe(
    scopes=("DeviceManagementManagedDevices.ReadWrite.All",),
    each=("Remove-MgDeviceManagementManagedDevice -ManagedDeviceId '<id>'",),
)
_DISABLE = Recipe(
    scopes=("Directory.AccessAsUser.All",),
    each=("Update-MgDevice -DeviceId '<id>' -AccountEnabled:$false",),
)
_COMPUTER = "Get-ADComputer -Identity '<device id>'"
_KEYS = "Get-MgInformationProtectionBitlockerRecoveryKey"
_AUTOPILOT = "v1.0/deviceManagement/windowsAutopilotDeviceIdentities"
_SERVICE_CONFIG = ("DeviceManagementServiceConfig.ReadWrite.All",)

RECIPES: Mapping[StepId, Recipe] = {
    StepId.BACK_UP_KEYS: Recipe(
        scopes=("BitlockerKey.Read.All", "DeviceLocalCredential.Read.All"),
        # The list never returns a key: each has to be asked for by its id.
        each=(
            f"{_KEYS} -All -Filter \"deviceId eq '<device id>'\" | ForEach-Object {{ {_KEYS}"
            " -BitlockerRecoveryKeyId $_.Id -Property 'id', 'volumeType', 'key' }"
            " | Format-List -Property Id, VolumeType, Key",
            "Get-LapsAADPassword -DeviceIds '<device id>' -IncludePasswords -AsPlainText",
        ),
        hybrid=(
            "Get-ADObject -Filter \"objectClass -eq 'msFVE-RecoveryInformation'\" -SearchBase"
            f" ({_COMPUTER}).DistinguishedName -Properties 'msFVE-RecoveryPassword'",
            f"Get-LapsADPassword -Identity ({_COMPUTER}).DistinguishedName -AsPlainText",
        ),
    ),
    StepId.DELETE_FROM_INTUNE: _INTUNE,
    StepId.RETRY_INTUNE_ACTION: _INTUNE,
    StepId.ALLOW_REENROLLMENT: _INTUNE,
    StepId.DELETE_FROM_CONFIGURATION_MANAGER: Recipe(
        each=("Remove-CMDevice -ResourceId '<resource id>'",)
    ),
    StepId.UNASSIGN_USER: Recipe(
        scopes=_SERVICE_CONFIG,
        each=(
            f"Invoke-MgGraphRequest -Method POST -Uri '{_AUTOPILOT}/<id>/unassignUserFromDevice'",
        ),
    ),
    StepId.DEREGISTER_FROM_AUTOPILOT: Recipe(
        scopes=_SERVICE_CONFIG,
        each=(
            "Remove-MgDeviceManagementWindowsAutopilotDeviceIdentity"
            " -WindowsAutopilotDeviceIdentityId '<id>'",
        ),
    ),
    StepId.CONFIRM_AUTOPILOT_REMOVAL: Recipe(
        scopes=_SERVICE_CONFIG,
        once=(
            "Invoke-MgGraphRequest -Method POST -Uri"
            " 'beta/deviceManagement/windowsAutopilotSettings/sync'",
        ),
        each=(
            "Get-MgDeviceManagementWindowsAutopilotDeviceIdentity"
            " -WindowsAutopilotDeviceIdentityId '<id>'",
        ),
    ),
    StepId.DELETE_ASSOCIATION_RECORD: Recipe(
        scopes=_SERVICE_CONFIG,
        each=(
            "Invoke-MgGraphRequest -Method DELETE -Uri"
            " 'beta/deviceManagement/tenantAssociatedDevices/<id>'",
        ),
    ),
    StepId.REMOVE_FROM_AUTOPATCH: Recipe(
        scopes=("WindowsUpdates.Read.All",),
        each=(
            "Invoke-MgGraphRequest -Uri 'beta/admin/windows/updates/updatableAssets/<device id>'",
        ),
    ),
    StepId.DELETE_COMPUTER_OBJECT: Recipe(
        # BitLocker recovery objects are children, and Remove-ADComputer takes only a leaf.
        each=(
            f"{_COMPUTER} -Properties LastLogonDate"
            " | Format-List -Property Name, DistinguishedName, LastLogonDate",
            f"{_COMPUTER} | Remove-ADObject -Recursive -Confirm",
        )
    ),
    StepId.DELETE_IMPORT_RECORD: Recipe(
        scopes=_SERVICE_CONFIG,
        each=(
            "Invoke-MgGraphRequest -Method DELETE -Uri"
            " 'v1.0/deviceManagement/importedWindowsAutopilotDeviceIdentities/<id>'",
        ),
    ),
    StepId.VERIFY_ENTRA_REMOVAL: Recipe(
        scopes=("Device.Read.All",),
        each=("Get-MgDevice -Filter \"deviceId eq '<device id>'\"",),
    ),
    StepId.DECIDE_ON_ENTRA_OBJECT: _DISABLE,
    StepId.DECIDE_ON_RESIDUAL_OBJECT: _DISABLE,
}
"""Every command that a handoff offers to copy, whatever its format."""


def command(
    step: StepId,
    own_id: str | None,
    device_id: str | None,
    serial: str | None,
    *,
    hybrid: bool = False,
) -> str | None:
    """Return the command for this step and device, or for a look; None where only the portal can.

    `own_id` is the id of the record that the step works on, `device_id` the one that the directory
    knows the device by. Without them only a look-up by serial number is offered, never a deletion.
    """
    recipe = RECIPES.get(step, Recipe())
    text = "; ".join((*recipe.each, *(recipe.hybrid if hybrid else ())))
    for place, known in (("<id>", own_id), ("<device id>", device_id)):
        if known is not None and is_guid(known):
            text = text.replace(place, known)
    if text and "<" not in text:
        return text
    if step is StepId.DELETE_FROM_INTUNE and serial:
        look_up = literal(f"serialNumber eq {odata(serial)}")
        return f"Get-MgDeviceManagementManagedDevice -Filter {look_up}"
    return None
