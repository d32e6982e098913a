"""Read a 4K hardware hash: it is not a digest, but a machine's inventory in base64.

This module reads the records of a whole hash, and compares them with the columns beside it: is it
the same machine, what will Autopilot miss in it. The envelope is `hash_frame`'s. A value is taken
only from a payload of the shape that is known for its type: unknown content is noted, never
guessed. Nothing here touches a file.

Record types after https://github.com/okieselbach/SyncMLViewer (AutopilotUtility.cs) and
https://oofhours.com/2022/08/02/connecting-the-dots-reverse-engineering-an-autopilot-hash/, read
2026-11; Microsoft documents none of them. All numbers are little-endian.
"""

from __future__ import annotations

import struct
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple
from uuid import UUID

from partner_tools.intake.hash_frame import HashError as HashError
from partner_tools.intake.hash_frame import Record, read
from partner_tools.intake.hash_frame import repair as repair
from partner_tools.intake.hash_frame import verify as verify
from partner_tools.intake.identifiers import is_placeholder
from partner_tools.intake.rules import Finding, finding, problem, shown
from partner_tools.json_forms import camel
from partner_tools.model import Device, Identity, Json, Problem

TPM_EK = "TPM_EK"
"""The kind of a device id that is the digest of the TPM's endorsement key."""


class Software(NamedTuple):
    """The program that wrote the hash, and its Windows version. Builds are `10.0.22631.3007`."""

    tool_build: str
    os_build: str
    os_type: str
    """`FullOS`, else the number: the meaning of the others is not public."""
    architecture: str
    tool_version: int


class Processor(NamedTuple):
    """The processors, counted."""

    architecture: str
    packages: int
    cores: int
    threads: int
    hyperthreading: bool


class Memory(NamedTuple):
    """RAM in GiB, as built in and as the board takes at most."""

    total_gib: int
    maximum_gib: int
    slots: int
    arrays: int
    error_correction: str


class Disk(NamedTuple):
    """A disk as it names itself. Blanks are as they were; a part that is not given is None."""

    serial_number: str
    model: str | None = None
    vendor: str | None = None


class Storage(NamedTuple):
    """The size of a disk in GB (10⁹ bytes) and how it is attached. Which `Disk` is not said."""

    capacity_gb: int
    bus: str
    medium: str | None = None


class Network(NamedTuple):
    """A network adapter. `mac` is `02-00-5E-10-A0-01`."""

    medium: str
    mac: str
    bus: str | None = None


class Display(NamedTuple):
    """A display: its size in a unit that no source names, and its resolution in pixels."""

    width: int
    height: int
    horizontal: int
    vertical: int


class Chassis(NamedTuple):
    """The SMBIOS number of the enclosure's type, and the power role that Windows chose."""

    type: int
    power_role: str


class DeviceId(NamedTuple):
    """The offline device id: for `TPM_EK`, SHA-256 of the endorsement key's public part."""

    kind: str
    digest: str


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
    found: dict[str, list[Any]] = {kind.field: [] for kind in RECORD_TYPES.values()}
    unread: list[Finding] = []
    for record in frame.records:
        kind = RECORD_TYPES.get(record.type)
        try:
            value = kind.parse(record.payload) if kind else None
        except struct.error:  # it is too short
            value = None
        if kind and value is not None:
            found[kind.field].append(value)
        elif kind:
            message = (
                f"record {record.type} at byte {record.offset:,} has {len(record.payload):,} bytes "
                "of payload, which is not the known shape of its type; its value was not read"
            )
            unread.append(finding("hash-unread-record", message))
    values: dict[str, Any] = {
        kind.field: tuple(found[kind.field]) if kind.several else (found[kind.field] or [None])[0]
        for kind in RECORD_TYPES.values()
    }
    notes = (*frame.notes, *unread, *_repeated(found), *_odd_texts(frame.records))
    return HardwareHash(**frame._replace(notes=notes)._asdict(), **values)


def _repeated(found: Mapping[str, list[Any]]) -> Iterator[Finding]:
    for number, kind in RECORD_TYPES.items():
        times = len(found[kind.field])
        if times > 1 and not kind.several:
            message = f"record {number} occurs {times:,} times; the first one was read"
            yield finding("hash-repeated-record", message)


def _odd_texts(records: Iterable[Record]) -> Iterator[Finding]:
    odd = Counter(
        record.type
        for record in records
        if record.type in _TEXT_TYPES and not _is_plain(record.payload)
    )
    for number, count in odd.items():
        message = (
            f"record {number} is not the plain text that it should be ({count:,} times): "
            "not UTF-8, or with data after its end"
        )
        yield finding("hash-odd-text", message)


@lru_cache(maxsize=1)
def _names() -> Mapping[str, Mapping[str, str]]:
    path = files("partner_tools.intake").joinpath("hardware_hash.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _name(kind: str, number: int) -> str:
    return _names()[kind].get(str(number)) or str(number)


def _software(payload: bytes) -> Software | None:
    # Two versions, bytes whose meaning is not known (they differ from capture to capture),
    # and three bytes that count from the end.
    numbers = struct.unpack_from("<8H", payload)
    if len(payload) < 16 + 3:
        return None
    os_type, architecture, tool_version = payload[-3:]
    return Software(
        tool_build=_build(*numbers[:4]),
        os_build=_build(*numbers[4:]),
        os_type=_name("osTypes", os_type),
        architecture=_name("architectures", architecture),
        tool_version=tool_version,
    )


def _build(minor: int, major: int, revision: int, build: int) -> str:
    return f"{major}.{minor}.{build}.{revision}"


def _processor(payload: bytes) -> Processor:
    architecture, packages, cores, threads, hyper = struct.unpack_from("<5H", payload)
    return Processor(_name("architectures", architecture), packages, cores, threads, hyper == 1)


def _memory(payload: bytes) -> Memory:
    total, maximum, slots, arrays, correction = struct.unpack_from("<QQHHB", payload)
    return Memory(total, maximum, slots, arrays, _name("errorCorrections", correction))


def _storage(payload: bytes) -> Storage:
    capacity, bus, medium = struct.unpack_from("<QBxB", payload)
    attached = _name("buses", bus)
    medium = None if attached == "NVMe" else _names()["diskMedia"].get(str(medium))
    return Storage(capacity_gb=capacity, bus=attached, medium=medium)


def _disk(payload: bytes) -> Disk:
    # "serial|model|vendor": the serial is what counts, so a bar too many stays in it.
    parts = _text(payload).rsplit("|", 2)
    return Disk(*parts) if len(parts) == 3 else Disk(_text(payload))


def _network(payload: bytes) -> Network:
    medium, _, mac = struct.unpack_from("<HH6s", payload)
    bus = None
    # A u32 length and UTF-16; hashes written by other tools end after the MAC address.
    if len(payload) >= 14:
        end = 14 + struct.unpack_from("<I", payload, 10)[0]
        bus = _wide(payload[14:end]) if end <= len(payload) else None
    return Network(medium=_name("media", medium), mac=mac.hex("-").upper(), bus=bus)


def _display(payload: bytes) -> Display:
    return Display(*struct.unpack_from("<4H", payload))


def _chassis(payload: bytes) -> Chassis:
    number, role = struct.unpack_from("<BB", payload)
    return Chassis(type=number, power_role=_name("powerRoles", role))


def _device_id(payload: bytes) -> DeviceId | None:
    _, kind, length, _ = struct.unpack_from("<IHHH", payload)
    digest = payload[10 : 10 + length]
    return DeviceId(_name("deviceIdKinds", kind), digest.hex()) if len(digest) == length else None


def _uuid(payload: bytes) -> UUID | None:
    return UUID(bytes_le=payload) if len(payload) == 16 else None


def _digest(payload: bytes) -> str | None:
    return sha256(payload).hexdigest() if payload else None


def _graphics_memory(payload: bytes) -> int:
    return int(struct.unpack_from("<I", payload)[0])


def _text(payload: bytes) -> str:
    """Read up to the first NUL, as UTF-8, else byte by byte (`_is_plain` tells)."""
    text = payload.partition(b"\0")[0]
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _wide(payload: bytes) -> str:
    return payload.decode("utf-16-le", errors="replace").partition("\0")[0]


class _RecordType(NamedTuple):
    """A known type of record: where its value goes, and how its payload is read."""

    field: str
    parse: Callable[[bytes], Any]
    several: bool
    """Whether a machine has as many as it has parts."""


def _record(
    number: int, parse: Callable[[bytes], Any], *, several: bool = False
) -> Mapping[str, Any]:
    """The metadata of a field: the type of its records, and how their payload is read."""
    return {"number": number, "parse": parse, "several": several}


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareHash:
    """A machine as its hash shows it. None: the hash does not say, or not in a known shape.

    Texts are as they were, blanks included. `total_length` is in bytes, without the checksum;
    `text_length` in characters. `records` holds everything, known or not.
    """

    text_length: int
    total_length: int
    records: tuple[Record, ...]
    notes: tuple[Finding, ...]
    software: Software | None = field(metadata=_record(1, _software))
    processor: Processor | None = field(metadata=_record(2, _processor))
    processor_manufacturer: str | None = field(metadata=_record(3, _text))
    processor_model: str | None = field(metadata=_record(4, _text))
    memory: Memory | None = field(metadata=_record(5, _memory))
    disks: tuple[Disk, ...] = field(metadata=_record(7, _disk, several=True))
    storage: tuple[Storage, ...] = field(metadata=_record(6, _storage, several=True))
    networks: tuple[Network, ...] = field(metadata=_record(8, _network, several=True))
    displays: tuple[Display, ...] = field(metadata=_record(9, _display, several=True))
    chassis: Chassis | None = field(metadata=_record(10, _chassis))
    device_id: DeviceId | None = field(metadata=_record(11, _device_id))
    smbios_uuid: UUID | None = field(metadata=_record(12, _uuid))
    tpm: str | None = field(metadata=_record(13, _text))
    ek_public_sha256: str | None = field(metadata=_record(25, _digest))
    """Hexadecimal SHA-256 of the TPM's endorsement key, which itself stays in `records`."""
    serial_number: str | None = field(metadata=_record(14, _text))
    firmware_vendor: str | None = field(metadata=_record(15, _text))
    manufacturer: str | None = field(metadata=_record(16, _text))
    model: str | None = field(metadata=_record(17, _text))
    sku_number: str | None = field(metadata=_record(18, _text))
    system_family: str | None = field(metadata=_record(19, _text))
    firmware_vendor_2: str | None = field(metadata=_record(20, _text))
    board_product: str | None = field(metadata=_record(21, _text))
    board_version: str | None = field(metadata=_record(22, _text))
    system_version: str | None = field(metadata=_record(23, _text))
    product_key_id: str | None = field(metadata=_record(24, _text))
    product_key_part_number: str | None = field(metadata=_record(26, _text))
    kernel_disk_serials: tuple[str, ...] = field(metadata=_record(28, _text, several=True))
    graphics_memory: tuple[int, ...] = field(metadata=_record(29, _graphics_memory, several=True))
    """Dedicated video memory, in a unit that no source names."""
    graphics_names: tuple[str, ...] = field(metadata=_record(30, _wide, several=True))

    @property
    def device_id_matches_ek(self) -> bool | None:
        """Whether the offline device id is the digest of the key beside it.

        None where the hash lacks one of them or the id is no TPM's.
        """
        if self.device_id is None or self.device_id.kind != TPM_EK or not self.ek_public_sha256:
            return None
        return self.device_id.digest == self.ek_public_sha256


RECORD_TYPES: Mapping[int, _RecordType] = {
    each.metadata["number"]: _RecordType(
        each.name, each.metadata["parse"], each.metadata["several"]
    )
    for each in fields(HardwareHash)
    if each.metadata
}
"""By their numbers; 27 occurs in real hashes too, and its meaning is unknown."""


_TEXT_TYPES = frozenset(
    number for number, kind in RECORD_TYPES.items() if kind.parse in (_text, _disk)
)


def _is_plain(payload: bytes) -> bool:
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


def missing_fields(machine: HardwareHash) -> tuple[str, ...]:
    """Name, as Microsoft does, what Autopilot needs and this hash leaves out or leaves blank.

    What `oa3tool /ValidateHwHash` calls critical, the SMBIOS minimum of the Autopilot FAQ
    (SmbiosSkuNumber), and the minimum after a motherboard replacement (EkPub, OSType):
    https://learn.microsoft.com/autopilot/faq and /autopilot/autopilot-motherboard-replacement,
    read 2026-11. An id or address of nothing but zeros (or ones) is missing too.
    """
    disks = [*(disk.serial_number for disk in machine.disks), *machine.kernel_disk_serials]
    device_id = machine.device_id
    ek_digest = device_id.digest if device_id and device_id.kind == TPM_EK else ""
    needed: tuple[tuple[str, object], ...] = (
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
    return tuple(name for name, present in needed if not present)


_IDENTIFYING = ("serial_number", "manufacturer", "model", "product_key_id")
"""The texts that a hash and the columns beside it both may hold."""


def disagreements(machine: HardwareHash, identity: Identity) -> tuple[Disagreement, ...]:
    """Compare the columns that are given with what the hash says: exactly, case included.

    Blanks around a value are no difference, here as everywhere. A value missing on either side
    is not a disagreement.
    """
    said = derive(machine)
    pairs = ((name, getattr(identity, name), getattr(said, name)) for name in _IDENTIFYING)
    return tuple(
        Disagreement(column=camel(name), given=given, decoded=decoded)
        for name, given, decoded in pairs
        if given and decoded and given.strip() != decoded
    )


def derive(machine: HardwareHash) -> Identity:
    """Identify the machine by what its hash says, for files that hold hashes only.

    The texts are trimmed and blank ones None; the hash itself is not included, because the OEM
    channel must not send it.
    """
    return Identity(**{name: _bare(getattr(machine, name)) for name in _IDENTIFYING})


def _bare(text: str | None) -> str | None:
    return (text.strip() or None) if text else None


def _says(hexadecimal: str) -> bool:
    """Whether the digits say anything: not only zeros, not only ones (SMBIOS: 'not set')."""
    return set(hexadecimal.lower()) not in (set(), {"0"}, {"f"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HashProblem:
    """The problem of one hash. `repaired` is the text to replace it, if there is one."""

    problem: Problem
    repaired: str | None = None


def check(devices: Iterable[Device], *, file: str) -> Iterator[HashProblem]:
    """Check every hash of a batch against the columns beside it, that of a replacement too.

    A device without a hash has no problems. A damaged hash and a column that contradicts its hash
    are errors, the rest are warnings. A damaged text whose base64 can be made whole comes with the
    whole text. `file` is the name in the problems.
    """
    for device in devices:
        for prefix, identity in (("", device.identity), ("replacement.", device.replacement)):
            if identity is None or not identity.hardware_hash:
                continue
            for found, repaired in _check_identity(identity):
                placed = replace(found, column=prefix + (found.column or "hardwareHash"))
                yield HashProblem(problem=problem(file, device.row, placed), repaired=repaired)


def _check_identity(identity: Identity) -> Iterator[tuple[Finding, str | None]]:
    text = identity.hardware_hash or ""
    try:
        machine = decode_hash(text)
    except HashError as error:
        whole = repair(text)
        repaired = _decoded(whole.text) if whole else None
        if whole is None or repaired is None:
            yield finding(error.rule, error.message), None
            return
        message = f"{error.message}. Repaired: {'; '.join(whole.steps)}"
        remedy = "take the hash of the repaired copy: its checksum proves that nothing is lost"
        yield finding(error.rule, message, remedy=remedy), whole.text
        machine = repaired
    yield from ((found, None) for found in _check_machine(machine, identity))


def _decoded(text: str) -> HardwareHash | None:
    try:
        return decode_hash(text)
    except HashError:
        return None


def _check_machine(machine: HardwareHash, identity: Identity) -> Iterator[Finding]:
    for each in disagreements(machine, identity):
        same = each.given.casefold() == each.decoded.casefold()
        message = (
            f"the column says {shown(each.given)} and the hardware hash beside it "
            f"{shown(each.decoded)}: they differ{' in upper and lower case' if same else ''}"
        )
        yield finding("hash-contradicts-column", message, column=each.column)
    serial = derive(machine).serial_number
    if serial and is_placeholder(serial):
        message = f"the serial number in the hardware hash is {shown(serial)}, a placeholder"
        yield finding("hash-placeholder-serial", message)
    if missing := missing_fields(machine):
        message = f"the hardware hash lacks what Autopilot needs: {', '.join(missing)}"
        yield finding("hash-missing-fields", message)
    if machine.device_id_matches_ek is False:
        message = "the device id in the hardware hash is not the digest of the TPM key beside it"
        yield finding("hash-device-id", message)
    yield from machine.notes


def describe_hash(machine: HardwareHash) -> Json:
    """Everything that the hash says, ready for `json.dumps`; absent values are null.

    Keys are the fields of `HardwareHash` in camel case, besides `schemaVersion`,
    `missingFields` and `deviceIdMatchesEk`. A record of an unknown type carries its
    payload in hexadecimal.
    """
    said = {
        camel(each.name): _plain(getattr(machine, each.name))
        for each in fields(machine)
        if each.name not in ("records", "notes")
    }
    return {
        "schemaVersion": "1",
        **said,
        "notes": [
            {"rule": note.rule, "message": note.message, "remedy": note.remedy}
            for note in machine.notes
        ],
        "records": [
            {"type": record.type, "offset": record.offset, "length": len(record.payload)}
            | ({} if record.type in RECORD_TYPES else {"payload": record.payload.hex()})
            for record in machine.records
        ],
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
    if hasattr(value, "_asdict"):
        return {camel(name): _plain(part) for name, part in value._asdict().items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else str(value)


def _shown(value: object) -> str:
    """Show a text so that no character of it can move the cursor or change a colour."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _rows(machine: HardwareHash) -> Iterator[tuple[str, object]]:
    for attribute, name in _names()["lines"].items():
        yield name, getattr(machine, attribute)
    yield "board", _joined(machine.board_product, machine.board_version)
    yield "firmware", _joined(machine.firmware_vendor, machine.firmware_vendor_2)
    yield "TPM", machine.tpm
    yield "TPM key SHA-256", machine.ek_public_sha256
    if machine.device_id:
        verdicts = {True: "matches the TPM key", False: "does NOT match the TPM key", None: ""}
        verdict = verdicts[machine.device_id_matches_ek]
        yield "device id", _joined(machine.device_id.kind, machine.device_id.digest, verdict)
    if software := machine.software:
        windows = f"{software.os_build}, {software.architecture}, {software.os_type}"
        yield "captured under Windows", windows
        yield "captured by build", f"{software.tool_build}, version {software.tool_version}"
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
    yield "missing for Autopilot", ", ".join(missing_fields(machine)) or "nothing"
    yield "hash", f"{machine.text_length:,} characters, {len(machine.records):,} records"
    for note in machine.notes:
        yield "note", f"{note.message}; {note.remedy}"


def _joined(*parts: str | None) -> str | None:
    return ", ".join(part for part in parts if part) or None
