"""A decoded hardware hash for people and for pipelines: a JSON mapping, and lines of text.

The mapping says everything, the lines what a technician looks for. Both take the values as they
are; the lines show characters that a terminal would act on as escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from partner_tools.intake.hardware_hash import KNOWN_TYPES, HardwareHash, Record, missing_fields
from partner_tools.model import Json

Lines = Iterable[tuple[str, object]]


def describe(machine: HardwareHash) -> Json:
    """Everything that the hash says, ready for `json.dumps`; absent values are null.

    Keys are the fields of `HardwareHash` in camel case, besides `schemaVersion`,
    `missingFields` and `deviceIdMatchesEk`. A record of a type that nobody knows carries its
    payload in hexadecimal.
    """
    said = {
        _camel(field.name): _plain(getattr(machine, field.name))
        for field in fields(machine)
        if field.name != "records"
    }
    return {
        "schemaVersion": "1",
        **said,
        "records": [_record(record) for record in machine.records],
        "deviceIdMatchesEk": machine.device_id_matches_ek,
        "missingFields": list(missing_fields(machine)),
    }


def lines(machine: HardwareHash) -> tuple[str, ...]:
    """The same for a terminal: one value a line, its name first."""
    rows = [(name, _shown(value)) for name, value in _rows(machine) if value is not None]
    width = max(len(name) for name, _ in rows)
    return tuple(f"{name:<{width}}  {value}" for name, value in rows)


def _plain(value: object) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if is_dataclass(value):
        return {_camel(field.name): _plain(getattr(value, field.name)) for field in fields(value)}
    return str(value)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _record(record: Record) -> Json:
    shown = {"type": record.type, "offset": record.offset, "length": len(record.payload)}
    if record.type in KNOWN_TYPES:
        return shown
    return {**shown, "payload": record.payload.hex()}


def _shown(value: object) -> str:
    """Show a text so that no character of it can move the cursor or change a colour."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _rows(machine: HardwareHash) -> Iterator[tuple[str, object]]:
    yield from _identity(machine)
    yield from _trust(machine)
    yield from _software(machine)
    yield from _parts(machine)
    yield "missing for Autopilot", ", ".join(missing_fields(machine)) or "nothing"
    yield "hash", f"{machine.text_length:,} characters, {len(machine.records):,} records"
    for note in machine.notes:
        yield "note", f"{note.message}; {note.remedy}"


def _identity(machine: HardwareHash) -> Lines:
    return (
        ("serial number", machine.serial_number),
        ("manufacturer", machine.manufacturer),
        ("model", machine.model),
        ("product key id", machine.product_key_id),
        ("product key part", machine.product_key_part_number),
        ("SKU number", machine.sku_number),
        ("system family", machine.system_family),
        ("system version", machine.system_version),
        ("SMBIOS UUID", machine.smbios_uuid),
        ("board", _joined(machine.board_product, machine.board_version)),
        ("firmware", _joined(machine.firmware_vendor, machine.firmware_vendor_2)),
    )


def _trust(machine: HardwareHash) -> Lines:
    device_id = machine.device_id
    verdicts = {True: "matches the TPM key", False: "does NOT match the TPM key", None: ""}
    verdict = verdicts[machine.device_id_matches_ek]
    return (
        ("TPM", machine.tpm),
        ("TPM key SHA-256", machine.ek_public_sha256),
        ("device id", device_id and _joined(device_id.kind, device_id.digest, verdict)),
    )


def _software(machine: HardwareHash) -> Lines:
    software = machine.software
    if software is None:
        return ()
    tool = f"{software.tool_build}, version {software.tool_version}"
    windows = f"{software.os_build}, {software.architecture}, {software.os_type}"
    return (("captured under Windows", windows), ("captured by build", tool))


def _parts(machine: HardwareHash) -> Iterator[tuple[str, object]]:
    yield "processor", _joined(machine.processor_manufacturer, machine.processor_model)
    if machine.memory:
        yield "memory", f"{machine.memory.total_gib:,} GiB"
    for disk in machine.disks:
        yield "disk", " | ".join((disk.serial_number, disk.model or "", disk.vendor or ""))
    for storage in machine.storage:
        yield "storage", _joined(f"{storage.capacity_gb:,} GB", storage.bus, storage.medium)
    for network in machine.networks:
        yield "network", _joined(network.mac, network.medium, network.bus)
    for name in machine.graphics_names:
        yield "graphics", name


def _joined(*parts: str | None) -> str | None:
    return ", ".join(part for part in parts if part) or None
