"""The customer's PowerShell file: the open Intune and Autopilot steps, for exactly these devices.

The script's logic is a fixed text (`templates/cleanup.ps1`); what is foreign goes into it only as
literals of `guide.literal`. The file is pure ASCII, so every PowerShell reads it alike. What
it decides by is what `cleanup` reads out of the same document, so that both end alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, BinaryIO

from partner_tools.model import GONE, Outcome, Reason
from partner_tools.outstanding.cleanup_plan import REFUSALS
from partner_tools.outstanding.evidence import PLACEHOLDER_SERIALS, probe_from
from partner_tools.outstanding.search import real_id
from partner_tools.outstanding.types import (
    AUTOPILOT_SETTLES,
    EvidenceSource,
    Flag,
    Plane,
    Probe,
    ProbeResult,
    StepId,
)
from partner_tools.report.guide import customer_name, file_name, is_real_guid, literal, visible
from partner_tools.report.handoff import Document, HandoffDevice
from partner_tools.report.page import Handoff, text
from partner_tools.report.results import read_received

_PARTNERS_TURN = frozenset({Outcome.PENDING, Outcome.UNKNOWN})


def write_script(handoff: Handoff, stream: BinaryIO) -> None:
    """The script, with line ends as Windows expects them."""
    before, after = text("cleanup.ps1").split("@@DEVICES@@\n")
    devices = (f"    {line}\n" for line in device_lines(handoff.document))
    for part in (_filled(before, handoff), *devices, after):
        stream.write(part.replace("\n", "\r\n").encode("ascii"))


def device_lines(document: Document) -> Iterator[str]:
    """One literal object for every device of the handoff, in their order."""
    received = read_received(document)
    for row, device in zip(document["devices"], received.devices, strict=True):
        yield _object(row, device)


def _object(row: Mapping[str, Any], device: HandoffDevice) -> str:
    probes = [probe_from(seen) for seen in device.evidence]
    intune, autopilot, association = (
        [one for one in probes if one.plane is plane and one.source is EvidenceSource.GRAPH]
        for plane in (Plane.INTUNE, Plane.AUTOPILOT, Plane.DEVICE_ASSOCIATION)
    )
    settles = ""
    if device.outcome in GONE and device.removed_at is not None:
        moment = (device.removed_at + AUTOPILOT_SETTLES).astimezone(UTC)
        settles = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    firmware = any(step["id"] == StepId.UNLOCK_FIRMWARE for step in row["steps"])
    fields = {
        "Row": str(int(row["row"] or 0)),
        "Serial": literal(visible(device.device.identity.serial_number or "")),
        "Name": literal(_attribute(probes, "deviceName") or _attribute(probes, "displayName")),
        "User": literal(_attribute(probes, "userPrincipalName")),
        "Rule": literal(_rule(device)),
        "ManagedIds": _ids(intune, "id"),
        "ManagedGone": _flag(_was_absent(intune)),
        "AutopilotIds": _ids(autopilot, "id"),
        "AutopilotGone": _flag(_was_absent(autopilot)),
        "AssociationIds": _ids(association, "id"),
        "AssociationGone": _flag(_was_absent(association)),
        "Bound": _flag(Flag.DEVICE_ASSOCIATION in device.flags),
        "DeviceIds": _ids(probes, "deviceId", "azureADDeviceId", "azureActiveDirectoryDeviceId"),
        "PartnersTurn": _flag(device.outcome in _PARTNERS_TURN or Flag.BY_HAND in device.flags),
        "SettlesUntil": literal(settles),
        "Firmware": _flag(firmware),
    }
    return f"[pscustomobject]@{{ {'; '.join(f'{name} = {it}' for name, it in fields.items())} }}"


def _rule(device: HandoffDevice) -> str:
    """Why the script leaves a device alone before it has looked; empty where it looks."""
    serial = device.device.identity.serial_number or ""
    if device.rule is not None:
        return device.rule
    if device.outcome is Outcome.DUPLICATE:
        return "duplicate"
    if not serial:
        return "no-serial-number"
    if not serial.isprintable():
        return "odd-serial-number"
    doubtful = device.outcome is Outcome.AMBIGUOUS or serial.casefold() in PLACEHOLDER_SERIALS
    return "ambiguous" if doubtful else ""


def _ids(probes: Sequence[Probe], *names: str) -> str:
    """The ids of every record that a look has found, as an array."""
    found = {
        known
        for probe in probes
        for record in probe.found
        for name in names
        if is_real_guid(known := real_id(record.ids.get(name)))
    }
    return f"@({', '.join(literal(one) for one in sorted(filter(None, found)))})"


def _attribute(probes: Sequence[Probe], name: str) -> str:
    told = (str(one.attributes.get(name) or "") for probe in probes for one in probe.found)
    return visible(next(filter(None, told), ""))


def _was_absent(looks: Sequence[Probe]) -> bool:
    return any(one.result is ProbeResult.ABSENT for one in looks)


def _flag(value: bool) -> str:
    return "$true" if value else "$false"


def _filled(template: str, handoff: Handoff) -> str:
    document = handoff.document
    tenant, run = document["customer"]["tenantId"] or "", document["run"]
    values = {
        "TENANT": literal(tenant if is_real_guid(tenant) else ""),
        "HANDOFF": literal(visible(f"Handoff for {customer_name(document)}, run {run['id']}")),
        "NAME": literal(file_name(document).removeprefix("handoff-")),
        "RUN": literal(visible(run["id"])),
        "GENERATED": literal(document["generatedAt"]),
        "ANSWERS": literal(handoff.answers),
        "VERSION": literal(visible(document["generator"]["version"])),
        "LOST": _flag(run["reason"] == Reason.LOST_OR_STOLEN),
        "REASONS": "\n".join(
            f"    {literal(rule)} = {literal(REFUSALS[rule])}" for rule in REFUSALS
        ),
    }
    for place, value in values.items():
        template = template.replace(f"@@{place}@@", value, 1)
    return template
