"""What a 4K hardware hash says of its machine: it is no digest, but an inventory in base64.

It owns the meaning of the records, and keeps two rules: a value is taken only from a record of
the shape that is known for its type, and what is not understood is noted, never guessed. The
envelope is `hash_frame`'s. Nothing here touches a file.

Record types after https://github.com/okieselbach/SyncMLViewer (AutopilotUtility.cs) and
https://oofhours.com/2022/08/02/connecting-the-dots-reverse-engineering-an-autopilot-hash/, read
2026-11; Microsoft documents none of them. Enumerations are those of Windows: NDIS_PHYSICAL_MEDIUM,
STORAGE_BUS_TYPE, POWER_PLATFORM_ROLE, SYSTEM_INFO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
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
from partner_tools.model import Identity

__all__ = [
    "KNOWN_TYPES",
    "Disagreement",
    "HardwareHash",
    "HashError",
    "Note",
    "Record",
    "Repaired",
    "decode",
    "derive",
    "disagreements",
    "missing_fields",
    "repair",
    "verify",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """What wrote the hash, and under which Windows. Builds are `10.0.22631.3007`."""

    tool_build: str
    os_build: str
    os_type: str
    """`FullOS`, else the number: the meaning of the others is not public."""
    architecture: str
    tool_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """The processors, counted."""

    architecture: str
    packages: int
    cores: int
    threads: int
    hyperthreading: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """RAM in GiB, as built in and as the board takes at most."""

    total_gib: int
    maximum_gib: int
    slots: int
    arrays: int
    error_correction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk as it names itself. Blanks are as they were; a part that is not given is None."""

    serial_number: str
    model: str | None = None
    vendor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The size of a disk in GB (10⁹ bytes) and how it is attached. Which `Disk` is not said."""

    capacity_gb: int
    bus: str
    medium: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network adapter. `mac` is `02-00-5E-10-A0-01`."""

    medium: str
    mac: str
    bus: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """A display: its size in a unit that no source names, and its resolution in pixels."""

    width: int
    height: int
    horizontal: int
    vertical: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chassis:
    """The SMBIOS number of the enclosure's type, and the power role that Windows chose."""

    type: int
    power_role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceId:
    """The offline device id: for `TPM_EK`, SHA-256 of the endorsement key's public part."""

    kind: str
    digest: str


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
        if self.device_id is None or self.device_id.kind != _TPM_EK or not self.ek_public_sha256:
            return None
        return self.device_id.digest == self.ek_public_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A column that says something else than the hash beside it. `column` as in the schema."""

    column: str
    given: str
    decoded: str


def decode(text: str) -> HardwareHash:
    """Read a hardware hash, wholly. White space around the text is no part of it.

    Nothing is repaired: for that there is `repair`. Whatever `text` is, this returns or raises
    HashError, in time linear in its length.
    """
    frame = read(text)
    values: dict[int, list[Any]] = {}
    odd: list[Note] = []
    for record in frame.records:
        parse = _PARSERS.get(record.type)
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

    Blanks around a value are no difference, here as everywhere. What either side does not say
    is no disagreement.
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
    ek = machine.device_id is not None and machine.device_id.kind == _TPM_EK
    uuid = machine.smbios_uuid
    return (
        ("DiskSerialNumber", any(_bare(serial) for serial in disks)),
        ("TpmVersion", _bare(machine.tpm)),
        ("EkPubHash", ek and machine.device_id is not None and _says(machine.device_id.digest)),
        ("EkPub", machine.ek_public_sha256),
        ("MacAddress", any(_says(network.mac.replace("-", "")) for network in machine.networks)),
        ("ProductKeyId", _bare(machine.product_key_id)),
        ("SmbiosSkuNumber", _bare(machine.sku_number)),
        ("SmbiosSystemFamily", _bare(machine.system_family)),
        ("SmbiosSystemManufacturer", _bare(machine.manufacturer)),
        ("SmbiosSystemProductName", _bare(machine.model)),
        ("SmbiosSystemSerialNumber", _bare(machine.serial_number)),
        ("SmbiosUuid", uuid is not None and _says(uuid.hex)),
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


_SOFTWARE = Struct("<8H")
_PROCESSOR = Struct("<5H")
_MEMORY = Struct("<QQHHB")
_STORAGE = Struct("<QBxB")
_NETWORK = Struct("<HH6s")
_LENGTH = Struct("<I")
_DISPLAY = Struct("<4H")
_CHASSIS = Struct("<BB")
_DEVICE_ID = Struct("<IHHH")

_TPM_EK = "TPM_EK"
_ARCHITECTURES = {0: "x86", 9: "x64", 12: "ARM64"}
_OS_TYPES = {2: "FullOS"}
_ERROR_CORRECTIONS = {3: "none", 4: "parity", 5: "single-bit ECC", 6: "multi-bit ECC", 7: "CRC"}
_BUSES = {
    1: "SCSI",
    2: "ATAPI",
    3: "ATA",
    7: "USB",
    8: "RAID",
    9: "iSCSI",
    10: "SAS",
    11: "SATA",
    12: "SD",
    13: "MMC",
    14: "virtual",
    16: "storage space",
    17: "NVMe",
    19: "UFS",
}
_DISK_MEDIA = {0: "SSD", 255: "HDD"}
_MEDIA = {
    0: "unspecified",
    1: "wireless LAN",
    8: "mobile broadband",
    9: "802.11",
    10: "Bluetooth",
    14: "Ethernet",
}
_POWER_ROLES = {
    0: "unspecified",
    1: "desktop",
    2: "mobile",
    3: "workstation",
    4: "enterprise server",
    5: "SOHO server",
    6: "appliance PC",
    7: "performance server",
    8: "slate",
}
_DEVICE_ID_KINDS = {1: _TPM_EK, 2: "UEFI_VARIABLE_TPM"}


def _name(names: Mapping[int, str], number: int) -> str:
    return names.get(number) or str(number)


def _software(payload: bytes) -> Software | None:
    # Two versions, bytes whose meaning is not known (they differ from capture to capture),
    # and three bytes that count from the end.
    if len(payload) < _SOFTWARE.size + 3:
        return None
    tool, windows = _SOFTWARE.unpack_from(payload)[:4], _SOFTWARE.unpack_from(payload)[4:]
    os_type, architecture, tool_version = payload[-3:]
    return Software(
        tool_build=_build(tool),
        os_build=_build(windows),
        os_type=_name(_OS_TYPES, os_type),
        architecture=_name(_ARCHITECTURES, architecture),
        tool_version=tool_version,
    )


def _build(numbers: tuple[int, ...]) -> str:
    minor, major, revision, build = numbers
    return f"{major}.{minor}.{build}.{revision}"


def _processor(payload: bytes) -> Processor | None:
    if len(payload) < _PROCESSOR.size:
        return None
    architecture, packages, cores, threads, hyperthreading = _PROCESSOR.unpack_from(payload)
    return Processor(
        architecture=_name(_ARCHITECTURES, architecture),
        packages=packages,
        cores=cores,
        threads=threads,
        hyperthreading=hyperthreading == 1,
    )


def _memory(payload: bytes) -> Memory | None:
    if len(payload) < _MEMORY.size:
        return None
    total, maximum, slots, arrays, correction = _MEMORY.unpack_from(payload)
    return Memory(
        total_gib=total,
        maximum_gib=maximum,
        slots=slots,
        arrays=arrays,
        error_correction=_name(_ERROR_CORRECTIONS, correction),
    )


def _storage(payload: bytes) -> Storage | None:
    if len(payload) < _STORAGE.size:
        return None
    capacity, bus, medium = _STORAGE.unpack_from(payload)
    known = _BUSES.get(bus) == "NVMe" or medium not in _DISK_MEDIA
    return Storage(
        capacity_gb=capacity,
        bus=_name(_BUSES, bus),
        medium=None if known else _DISK_MEDIA[medium],
    )


def _disk(payload: bytes) -> Disk:
    # "serial|model|vendor": the serial is what counts, so a bar too many stays in it.
    parts = _text(payload).rsplit("|", 2)
    if len(parts) < 3:
        return Disk(serial_number=_text(payload))
    return Disk(serial_number=parts[0], model=parts[1], vendor=parts[2])


def _network(payload: bytes) -> Network | None:
    if len(payload) < _NETWORK.size:
        return None
    medium, _, mac = _NETWORK.unpack_from(payload)
    return Network(
        medium=_name(_MEDIA, medium),
        mac=mac.hex("-").upper(),
        bus=_bus_name(payload[_NETWORK.size :]),
    )


def _bus_name(rest: bytes) -> str | None:
    """Read u32 length and UTF-16; hashes written by other tools end after the MAC address."""
    if len(rest) < _LENGTH.size:
        return None
    end = _LENGTH.size + _LENGTH.unpack_from(rest)[0]
    return _wide(rest[_LENGTH.size : end]) if end <= len(rest) else None


def _display(payload: bytes) -> Display | None:
    if len(payload) < _DISPLAY.size:
        return None
    width, height, horizontal, vertical = _DISPLAY.unpack_from(payload)
    return Display(width=width, height=height, horizontal=horizontal, vertical=vertical)


def _chassis(payload: bytes) -> Chassis | None:
    if len(payload) < _CHASSIS.size:
        return None
    number, role = _CHASSIS.unpack_from(payload)
    return Chassis(type=number, power_role=_name(_POWER_ROLES, role))


def _device_id(payload: bytes) -> DeviceId | None:
    if len(payload) < _DEVICE_ID.size:
        return None
    _, kind, length, _ = _DEVICE_ID.unpack_from(payload)
    digest = payload[_DEVICE_ID.size : _DEVICE_ID.size + length]
    if len(digest) < length:
        return None
    return DeviceId(kind=_name(_DEVICE_ID_KINDS, kind), digest=digest.hex())


def _uuid(payload: bytes) -> UUID | None:
    return UUID(bytes_le=payload) if len(payload) == 16 else None


def _digest(payload: bytes) -> str | None:
    return sha256(payload).hexdigest() if payload else None


def _graphics_memory(payload: bytes) -> int | None:
    if len(payload) < _LENGTH.size:
        return None
    found: int = _LENGTH.unpack_from(payload)[0]
    return found


def _text(payload: bytes) -> str:
    """Read up to the first NUL, as UTF-8, else byte by byte (`_odd_texts` notes it)."""
    text = payload.partition(b"\0")[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _wide(payload: bytes) -> str:
    return payload.decode("utf-16-le", errors="replace").partition("\0")[0]


_TEXT_TYPES = frozenset({3, 4, 7, *range(13, 25), 26, 28})
_SEVERAL = frozenset({6, 7, 8, 9, 28, 29, 30})

_PARSERS: Mapping[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(_TEXT_TYPES, _text),
    1: _software,
    2: _processor,
    5: _memory,
    6: _storage,
    7: _disk,
    8: _network,
    9: _display,
    10: _chassis,
    11: _device_id,
    12: _uuid,
    25: _digest,
    29: _graphics_memory,
    30: _wide,
}

KNOWN_TYPES = frozenset(_PARSERS)
"""The record types whose values are read. 27 occurs in real hashes too; nobody knows it."""


def _unread(record: Record) -> Note:
    return Note(
        rule="hash-unread-record",
        message=f"record {record.type} at byte {record.offset:,} has {len(record.payload):,} bytes "
        "of payload, which is not the known shape of its type; its value was not read",
        remedy=f"look at it with `hash decode --output json`, or {CAPTURE_AGAIN}",
    )


def _repeated(values: Mapping[int, list[Any]]) -> Iterable[Note]:
    for kind, found in values.items():
        if len(found) > 1 and kind not in _SEVERAL:
            yield Note(
                rule="hash-repeated-record",
                message=f"record {kind} occurs {len(found):,} times; the first one was read",
                remedy=CAPTURE_AGAIN,
            )


def _odd_texts(records: Iterable[Record]) -> Iterable[Note]:
    odd = Counter(
        record.type
        for record in records
        if record.type in _TEXT_TYPES and not _is_plain(record.payload)
    )
    for kind, count in odd.items():
        yield Note(
            rule="hash-odd-text",
            message=f"record {kind} is not the plain text that it should be ({count:,} times): "
            "not UTF-8, or with data after its end",
            remedy="compare the value with the device's firmware settings before using it",
        )


def _is_plain(payload: bytes) -> bool:
    end = payload.find(0)
    if end == -1 or end == len(payload) - 1:
        return payload.isascii() or _is_utf8(payload)
    return not payload[end:].strip(b"\0") and _is_utf8(payload)


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
