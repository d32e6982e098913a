"""Read a 4K hardware hash: it is not a digest, but a machine's inventory in base64.

It owns the reading of a whole hash and the questions that are asked of it: whose machine it is,
whether the columns beside it agree, what Autopilot will miss in it. The envelope is
`hash_frame`'s, the shapes of the records are `hash_records`'. Unknown content is noted,
never guessed. Nothing here touches a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any
from uuid import UUID

from partner_tools.intake.hash_frame import (
    CAPTURE_AGAIN,
    HashError,
    Note,
    Record,
    Repaired,
    read,
    repair,
    verify,
)
from partner_tools.intake.hash_records import (
    KNOWN_TYPES,
    PARSERS,
    SEVERAL,
    TEXT_TYPES,
    TPM_EK,
    Chassis,
    DeviceId,
    Disk,
    Display,
    Memory,
    Network,
    Processor,
    Software,
    Storage,
    is_plain,
)
from partner_tools.model import Identity, Json

__all__ = [
    "KNOWN_TYPES",
    "Disagreement",
    "HardwareHash",
    "HashError",
    "Note",
    "Record",
    "Repaired",
    "decode_hash",
    "derive",
    "disagreements",
    "missing_fields",
    "repair",
    "verify",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareHash:
    """A machine as its hash shows it. None: the hash does not say, or not in a known shape.

    Texts are as they were, blanks included. `total_length` is in bytes, without the checksum;
    `text_length` in characters. `records` holds everything, known or not.
    """

    text_length: int
    total_length: int
    records: tuple[Record, ...]
    notes: tuple[Note, ...]
    software: Software | None
    processor: Processor | None
    processor_manufacturer: str | None
    processor_model: str | None
    memory: Memory | None
    disks: tuple[Disk, ...]
    storage: tuple[Storage, ...]
    networks: tuple[Network, ...]
    displays: tuple[Display, ...]
    chassis: Chassis | None
    device_id: DeviceId | None
    smbios_uuid: UUID | None
    tpm: str | None
    ek_public_sha256: str | None
    """Hexadecimal SHA-256 of the TPM's endorsement key, which itself stays in `records`."""
    serial_number: str | None
    firmware_vendor: str | None
    manufacturer: str | None
    model: str | None
    sku_number: str | None
    system_family: str | None
    firmware_vendor_2: str | None
    board_product: str | None
    board_version: str | None
    system_version: str | None
    product_key_id: str | None
    product_key_part_number: str | None
    kernel_disk_serials: tuple[str, ...]
    graphics_memory: tuple[int, ...]
    """Dedicated video memory, in a unit that no source names."""
    graphics_names: tuple[str, ...]

    @property
    def device_id_matches_ek(self) -> bool | None:
        """Whether the offline device id is the digest of the key beside it.

        None where the hash lacks one of them or the id is no TPM's.
        """
        if self.device_id is None or self.device_id.kind != TPM_EK or not self.ek_public_sha256:
            return None
        return self.device_id.digest == self.ek_public_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A column that says something else than the hash beside it. `column` as in the schema."""

    column: str
    given: str
    decoded: str


def decode_hash(text: str) -> HardwareHash:
    """Read a hardware hash, wholly. White space around the text is no part of it.

    Nothing is repaired: for that there is `repair`. Whatever `text` is, this returns or raises
    HashError, in time linear in its length.
    """
    frame = read(text)
    values: dict[int, list[Any]] = {}
    odd: list[Note] = []
    for record in frame.records:
        parse = PARSERS.get(record.type)
        value = parse(record.payload) if parse else None
        if value is not None:
            values.setdefault(record.type, []).append(value)
        elif parse:
            odd.append(_unread(record))
    notes = (*frame.notes, *odd, *_repeated(values), *_odd_texts(frame.records))
    return _hardware_hash(
        values,
        text_length=frame.text_length,
        total_length=frame.total_length,
        records=frame.records,
        notes=notes,
    )


def missing_fields(machine: HardwareHash) -> tuple[str, ...]:
    """Name, as Microsoft does, what Autopilot needs and this hash leaves out or leaves blank.

    What `oa3tool /ValidateHwHash` calls critical, the SMBIOS minimum of the Autopilot FAQ
    (SmbiosSkuNumber), and the minimum after a motherboard replacement (EkPub, OSType):
    https://learn.microsoft.com/autopilot/faq and /autopilot/autopilot-motherboard-replacement,
    read 2026-11. An id or address of nothing but zeros (or ones) is missing too.
    """
    return tuple(name for name, present in _needed(machine) if not present)


def disagreements(machine: HardwareHash, identity: Identity) -> tuple[Disagreement, ...]:
    """Compare the columns that are given with what the hash says: exactly, case included.

    Blanks around a value are no difference, here as everywhere. A value missing on either side
    is not a disagreement.
    """
    said = derive(machine)
    pairs = (
        ("serialNumber", identity.serial_number, said.serial_number),
        ("manufacturer", identity.manufacturer, said.manufacturer),
        ("model", identity.model, said.model),
        ("productKeyId", identity.product_key_id, said.product_key_id),
    )
    return tuple(
        Disagreement(column=column, given=given, decoded=decoded)
        for column, given, decoded in pairs
        if given and decoded and given.strip() != decoded
    )


def derive(machine: HardwareHash) -> Identity:
    """Identify the machine by what its hash says, for files that hold hashes only.

    The texts are trimmed and blank ones None; the hash itself is not included, because the OEM
    channel must not send it.
    """
    return Identity(
        serial_number=_bare(machine.serial_number),
        manufacturer=_bare(machine.manufacturer),
        model=_bare(machine.model),
        product_key_id=_bare(machine.product_key_id),
    )


def _bare(text: str | None) -> str | None:
    return (text.strip() or None) if text else None


def _needed(machine: HardwareHash) -> Iterable[tuple[str, object]]:
    disks = [*(disk.serial_number for disk in machine.disks), *machine.kernel_disk_serials]
    device_id = machine.device_id
    ek_digest = device_id.digest if device_id and device_id.kind == TPM_EK else ""
    return (
        ("DiskSerialNumber", any(_bare(serial) for serial in disks)),
        ("TpmVersion", _bare(machine.tpm)),
        ("EkPubHash", _says(ek_digest)),
        ("EkPub", machine.ek_public_sha256),
        ("MacAddress", any(_says(network.mac.replace("-", "")) for network in machine.networks)),
        ("ProductKeyId", _bare(machine.product_key_id)),
        ("SmbiosSkuNumber", _bare(machine.sku_number)),
        ("SmbiosSystemFamily", _bare(machine.system_family)),
        ("SmbiosSystemManufacturer", _bare(machine.manufacturer)),
        ("SmbiosSystemProductName", _bare(machine.model)),
        ("SmbiosSystemSerialNumber", _bare(machine.serial_number)),
        ("SmbiosUuid", _says(machine.smbios_uuid.hex if machine.smbios_uuid else "")),
        ("OSType", machine.software),
    )


def _says(hexadecimal: str) -> bool:
    """Whether the digits say anything: not only zeros, not only ones (SMBIOS: 'not set')."""
    return set(hexadecimal.lower()) not in (set(), {"0"}, {"f"})


def _hardware_hash(
    values: Mapping[int, list[Any]],
    *,
    text_length: int,
    total_length: int,
    records: tuple[Record, ...],
    notes: tuple[Note, ...],
) -> HardwareHash:
    def first(kind: int) -> Any:
        return values[kind][0] if kind in values else None

    def every(kind: int) -> tuple[Any, ...]:
        return tuple(values.get(kind, ()))

    return HardwareHash(
        text_length=text_length,
        total_length=total_length,
        records=records,
        notes=notes,
        software=first(1),
        processor=first(2),
        processor_manufacturer=first(3),
        processor_model=first(4),
        memory=first(5),
        storage=every(6),
        disks=every(7),
        networks=every(8),
        displays=every(9),
        chassis=first(10),
        device_id=first(11),
        smbios_uuid=first(12),
        tpm=first(13),
        serial_number=first(14),
        firmware_vendor=first(15),
        manufacturer=first(16),
        model=first(17),
        sku_number=first(18),
        system_family=first(19),
        firmware_vendor_2=first(20),
        board_product=first(21),
        board_version=first(22),
        system_version=first(23),
        product_key_id=first(24),
        ek_public_sha256=first(25),
        product_key_part_number=first(26),
        kernel_disk_serials=every(28),
        graphics_memory=every(29),
        graphics_names=every(30),
    )


def _unread(record: Record) -> Note:
    return Note(
        rule="hash-unread-record",
        message=f"record {record.type} at byte {record.offset:,} has {len(record.payload):,} bytes "
        "of payload, which is not the known shape of its type; its value was not read",
        remedy=f"look at it with `hash decode --output json`, or {CAPTURE_AGAIN}",
    )


def _repeated(values: Mapping[int, list[Any]]) -> Iterable[Note]:
    for kind, found in values.items():
        if len(found) > 1 and kind not in SEVERAL:
            yield Note(
                rule="hash-repeated-record",
                message=f"record {kind} occurs {len(found):,} times; the first one was read",
                remedy=CAPTURE_AGAIN,
            )


def _odd_texts(records: Iterable[Record]) -> Iterable[Note]:
    odd = Counter(
        record.type
        for record in records
        if record.type in TEXT_TYPES and not is_plain(record.payload)
    )
    for kind, count in odd.items():
        yield Note(
            rule="hash-odd-text",
            message=f"record {kind} is not the plain text that it should be ({count:,} times): "
            "not UTF-8, or with data after its end",
            remedy="compare the value with the device's firmware settings before using it",
        )


Lines = Iterable[tuple[str, object]]


def describe_hash(machine: HardwareHash) -> Json:
    """Everything that the hash says, ready for `json.dumps`; absent values are null.

    Keys are the fields of `HardwareHash` in camel case, besides `schemaVersion`,
    `missingFields` and `deviceIdMatchesEk`. A record of an unknown type carries its
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


def hash_lines(machine: HardwareHash) -> tuple[str, ...]:
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
