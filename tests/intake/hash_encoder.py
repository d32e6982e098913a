"""Writes 4K hardware hashes of machines that do not exist, from the layout alone.

It shares no code and no table with the decoder, so that an error has to be made twice to stay
unseen. Every number here is little-endian. Layout: the public reverse engineering of the format
(https://oofhours.com/2022/08/02/connecting-the-dots-reverse-engineering-an-autopilot-hash/,
read 2026-11).
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

SIZE = 3000
"""Bytes of the buffer that Windows fills: 4,000 characters of base64 without padding."""


BOARD = UUID("00112233-4455-6677-8899-aabbccddeeff")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def record(kind: int, payload: bytes) -> bytes:
    """One record: type, a zero byte, the length with these four bytes, the payload."""
    return bytes([kind, 0]) + u16(4 + len(payload)) + payload


def seal(body: bytes) -> bytes:
    """Set the total length into the header of `body` and append the checksum trailer."""
    body = body[:2] + u16(len(body)) + body[4:]
    return body + b"CS" + u16(36) + hashlib.sha256(body).digest()


def buffer(records: Iterable[tuple[int, bytes]], *, size: int = SIZE) -> bytes:
    """The sealed buffer, filled with zeros to `size` bytes where it is shorter."""
    body = b"OA" + u16(0) + b"".join(record(kind, payload) for kind, payload in records)
    return seal(body).ljust(size, b"\0")


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def encode(records: Iterable[tuple[int, bytes]], *, size: int = SIZE) -> str:
    return as_text(buffer(records, size=size))


def version(major: int, minor: int, build: int, revision: int) -> bytes:
    return u16(minor) + u16(major) + u16(revision) + u16(build)


def software(
    *,
    tool: tuple[int, int, int, int] = (10, 0, 26100, 1),
    windows: tuple[int, int, int, int] = (10, 0, 22631, 3007),
    stamp: bytes = bytes(5),
    os_type: int = 2,
    architecture: int = 9,
    tool_version: int = 8,
) -> bytes:
    tail = bytes([os_type, architecture, tool_version])
    return version(*tool) + version(*windows) + stamp + tail


def text(value: str) -> bytes:
    return value.encode("utf-8") + b"\0"


def network(medium: int, mac: bytes, bus: str | None = None) -> bytes:
    name = b"" if bus is None else (bus + "\0").encode("utf-16-le")
    tail = b"" if bus is None else u32(len(name)) + name
    return u16(medium) + u16(0) + mac + tail


def device_id(kind: int, digest: bytes) -> bytes:
    return u32(0) + u16(kind) + u16(len(digest)) + u16(0) + digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a complete hash says of a machine; every value is invented. None leaves it out."""

    serial_number: str | None = "PT-0001"
    manufacturer: str | None = "Contoso, Inc."
    model: str | None = "Tablet 7"
    product_key_id: str | None = "3305670012345"
    sku_number: str | None = "CT7-128"
    system_family: str | None = "Contoso Tablets"
    uuid: UUID | None = BOARD
    tpm: str | None = "TPM-Version:2.0 -Level:0-Revision:1.38-VendorID:'CTSO'-Firmware:1.2.3.4"
    ek_public: bytes | None = field(default=bytes(range(256)), repr=False)
    disk: str | None = "CT-DISK-0001|Contoso NVMe 512|Contoso"
    mac: bytes | None = bytes.fromhex("02005e10a001")
    stamp: bytes = bytes(5)

    def records(self) -> list[tuple[int, bytes]]:
        """All records in an order as real tools write them: not sorted by type."""
        return [
            (1, software(stamp=self.stamp)),
            (2, u16(9) + u16(1) + u16(8) + u16(16) + u16(1) + u16(0)),
            (5, u64(16) + u64(32) + u16(2) + u16(1) + bytes([3])),
            (3, text("ContosoCPU")),
            (4, text("Contoso Core 8 @ 3.00GHz")),
            (6, u64(512) + bytes([17, 0, 0, 1])),
            *([] if self.disk is None else [(7, self.disk.encode("utf-8"))]),
            *([] if self.mac is None else [(8, network(14, self.mac, "PCI"))]),
            (8, network(9, bytes.fromhex("02005e10a002"), "PCI")),
            (9, u16(310) + u16(174) + u16(1920) + u16(1080) + b"\xff" * 4),
            (27, u32(0)),
            (10, bytes([10, 2, 1, 0, 0])),
            *self._tpm_records(),
            *([] if self.uuid is None else [(12, self.uuid.bytes_le)]),
            *self._text_records(),
            (29, u32(128) + u32(0) + u16(0)),
            (30, "Contoso Graphics".encode("utf-16-le")),
        ]

    def encode(self, *, size: int = SIZE) -> str:
        return encode(self.records(), size=size)

    def _tpm_records(self) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        if self.tpm is not None:
            found.append((13, text(self.tpm)))
        if self.ek_public is not None:
            found.append((25, self.ek_public))
            found.append((11, device_id(1, hashlib.sha256(self.ek_public).digest())))
        return found

    def _text_records(self) -> list[tuple[int, bytes]]:
        values = [
            (14, self.serial_number),
            (15, "Contoso Firmware"),
            (16, self.manufacturer),
            (17, self.model),
            (18, self.sku_number),
            (19, self.system_family),
            (20, "Contoso Firmware Two"),
            (21, "CT7-BOARD"),
            (22, "Rev A"),
            (23, "1.0"),
            (24, self.product_key_id),
            (26, "CT-PART-001"),
            (28, "CT-DISK-0001"),
        ]
        return [(kind, text(value)) for kind, value in values if value is not None]


def machine(number: int) -> Machine:
    """The machine of that number: no two have a serial, key, board, TPM, disk or MAC in common."""
    dice = random.Random(number)  # noqa: S311 - made-up hardware, not a secret
    return Machine(
        serial_number=f"PT-{number:07d}",
        product_key_id=f"{3305670000000 + number:013d}",
        uuid=UUID(bytes=dice.randbytes(16)),
        ek_public=dice.randbytes(256),
        disk=f"CT-DISK-{number:07d}|Contoso NVMe 512|Contoso",
        mac=b"\x02\x00" + u32(number),
        stamp=dice.randbytes(5),
    )
