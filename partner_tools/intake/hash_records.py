"""Read the records of a hardware hash by their type: payload in, value out.

It owns the shapes of the payloads. A value is taken only from a payload of the shape that is
known for its type, else it is None: nothing is guessed.

Record types after https://github.com/okieselbach/SyncMLViewer (AutopilotUtility.cs) and
https://oofhours.com/2022/08/02/connecting-the-dots-reverse-engineering-an-autopilot-hash/, read
2026-11; Microsoft documents none of them. Enumerations are those of Windows: NDIS_PHYSICAL_MEDIUM,
STORAGE_BUS_TYPE, POWER_PLATFORM_ROLE, SYSTEM_INFO. All numbers are little-endian.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Any
from uuid import UUID

TPM_EK = "TPM_EK"
"""The kind of a device id that is the digest of the TPM's endorsement key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """The program that wrote the hash, and its Windows version. Builds are `10.0.22631.3007`."""

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


_SOFTWARE = Struct("<8H")
_PROCESSOR = Struct("<5H")
_MEMORY = Struct("<QQHHB")
_STORAGE = Struct("<QBxB")
_NETWORK = Struct("<HH6s")
_LENGTH = Struct("<I")
_DISPLAY = Struct("<4H")
_CHASSIS = Struct("<BB")
_DEVICE_ID = Struct("<IHHH")

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
_DEVICE_ID_KINDS = {1: TPM_EK, 2: "UEFI_VARIABLE_TPM"}


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
    """Read up to the first NUL, as UTF-8, else byte by byte (`is_plain` tells)."""
    text = payload.partition(b"\0")[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _wide(payload: bytes) -> str:
    return payload.decode("utf-16-le", errors="replace").partition("\0")[0]


TEXT_TYPES = frozenset({3, 4, 7, *range(13, 25), 26, 28})
SEVERAL = frozenset({6, 7, 8, 9, 28, 29, 30})
"""The types of which a machine has as many as it has parts."""

PARSERS: Mapping[int, Callable[[bytes], Any]] = {
    **dict.fromkeys(TEXT_TYPES, _text),
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

KNOWN_TYPES = frozenset(PARSERS)
"""The record types whose values are read. 27 occurs in real hashes too; its meaning is unknown."""


def is_plain(payload: bytes) -> bool:
    """Whether a text is UTF-8, with nothing but its NUL behind it."""
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
