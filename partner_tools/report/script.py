"""The customer's PowerShell file: the open Intune and Autopilot steps, for exactly these devices.

The script's logic is a fixed text (`templates/cleanup.ps1`); what is foreign goes into it only as
literals of `powershell.literal`. The file is pure ASCII, so every PowerShell reads it alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, BinaryIO

from partner_tools.outstanding import StepId
from partner_tools.report.guide import visible
from partner_tools.report.handoff import Document
from partner_tools.report.powershell import is_guid, literal

_INTUNE = frozenset({StepId.DELETE_FROM_INTUNE, StepId.RETRY_INTUNE_ACTION})
_AUTOPILOT = frozenset({StepId.DEREGISTER_FROM_AUTOPILOT})
_REFUSALS: Mapping[str, str] = {
    StepId.RESOLVE_AMBIGUITY: "it is not certain which record is meant",
    StepId.UNLOCK_FIRMWARE: "its firmware is managed and has to be freed first",
    StepId.SETTLE_REMOVAL: "the partner has not finished its part",
}


def write_script(document: Document, stream: BinaryIO) -> None:
    """The script, with line ends as Windows expects them."""
    template = (files(__package__) / "templates" / "cleanup.ps1").read_text(encoding="utf-8")
    before, after = template.split("@@DEVICES@@\n")
    stream.write(_text(_filled(before, document)))
    for line in device_lines(document):
        stream.write(_text(f"    {line}\n"))
    stream.write(_text(_filled(after, document)))


def device_lines(document: Document) -> Iterator[str]:
    """One literal object for every device that has a step the script can do, in their order."""
    for device in document["devices"]:
        steps = {step["id"] for step in device["steps"]}
        if steps & (_INTUNE | _AUTOPILOT):
            yield _object(device, steps)


def _object(device: Mapping[str, Any], steps: set[str]) -> str:
    serial = device["serialNumber"] or ""
    fields = {
        "Row": str(device["row"]),
        "Serial": literal(visible(serial)),
        "ManagedDeviceId": literal(_id(device, "intune")),
        "AutopilotId": literal(_id(device, "autopilot")),
        "Intune": _flag(bool(steps & _INTUNE)),
        "Autopilot": _flag(bool(steps & _AUTOPILOT)),
        "Refusal": literal(_refusal(serial, steps)),
    }
    return f"[pscustomobject]@{{ {'; '.join(f'{name} = {it}' for name, it in fields.items())} }}"


def _refusal(serial: str, steps: set[str]) -> str:
    """Why the script leaves a device alone; empty where it does not."""
    if not serial.strip():
        return "the handoff has no serial number of it"
    if not (serial.isascii() and serial.isprintable()):
        return "its serial number holds characters that no serial number has"
    return next((why for step, why in _REFUSALS.items() if step in steps), "")


def _id(device: Mapping[str, Any], plane: str) -> str:
    """The id of the one record there; empty where the script has to look by serial number."""
    known = device["planes"][plane].get("ids", {}).get("id")
    return known if is_guid(known) else ""


def _flag(value: bool) -> str:
    return "$true" if value else "$false"


def _filled(template: str, document: Document) -> str:
    customer, run = document["customer"], document["run"]
    name = customer["name"] or customer["domain"] or customer["tenantId"] or "nobody named"
    tenant = customer["tenantId"] or ""
    return template.replace("@@TENANT@@", literal(tenant if is_guid(tenant) else "")).replace(
        "@@HANDOFF@@", literal(visible(f"Handoff for {name}, run {run['id']}"))
    )


def _text(lines: str) -> bytes:
    return lines.replace("\n", "\r\n").encode("ascii")
