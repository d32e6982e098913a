"""Foreign text inside PowerShell, and the command that does one step for one device.

Any serial number or name stays one literal: printable ASCII is in single
quotes, everything else is spelled as `[char]` codes. So no typographic quote can end a literal
(PowerShell takes U+2018 to U+201B for quotes), no line can break, nothing can turn the reading
direction, and the encoding in which Windows PowerShell 5.1 reads a file does not matter.
"""

from __future__ import annotations

import re

from partner_tools.outstanding import ALL_ZERO, StepId
from partner_tools.report.guide import GUIDE

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
    recipe = GUIDE[step].recipe
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
