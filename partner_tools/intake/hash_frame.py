"""The envelope of a 4K hardware hash: base64 text, a header, records, a checksum trailer, zeros.

It owns how a text becomes records and refuses whatever its own lengths or its checksum disown.
It doesn't interpret the records. Any text ends in a value or in a `HashError`, in
time linear in its length.

    0      'O' 'A'
    2      u16, bytes from 0 up to the trailer
    4      records: u16 type, u16 length with these four bytes, payload
    total  'C' 'S', u16 36, SHA-256 of everything before
    …      zeros, up to 3,000 bytes: 4,000 characters

All numbers are little-endian. Sources, read 2026-11:
https://oofhours.com/2022/08/02/connecting-the-dots-reverse-engineering-an-autopilot-hash/ and
https://github.com/okieselbach/SyncMLViewer (AutopilotUtility.cs, which also writes hashes).
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterator
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from partner_tools.errors import InputError
from partner_tools.intake.rules import Finding, finding

USUAL_CHARACTERS = 4_000
"""What Windows and oa3tool write: 3,000 bytes, which base64 needs no padding for."""

MAXIMUM_CHARACTERS = 65_536
"""More is no hash: the header's own length ends at 65,535 bytes, real ones at 3,000."""

_HEADER = Struct("<2sH")
_RECORD = Struct("<HH")
_TRAILER = Struct("<2sH32s")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")
_EARLY_PADDING = re.compile(r"=(?=[^=])")


class HashError(InputError):
    """The text is no intact hardware hash. It never quotes the hash, which names a machine."""

    default_rule = "hash-unreadable"


class Record(NamedTuple):
    """One record of the hash: `offset` is that of its type, in bytes from 0.

    A tuple and no dataclass: it is made in a third of the time, and 100,000 hashes make three
    million of them.
    """

    type: int
    offset: int
    payload: bytes


class Frame(NamedTuple):
    """A hash whose lengths and checksum are right. `total_length` is in bytes, without trailer."""

    text_length: int
    total_length: int
    records: tuple[Record, ...]
    notes: tuple[Finding, ...]


class Repaired(NamedTuple):
    """The text with its base64 made whole, and what was done to it, in words."""

    text: str
    steps: tuple[str, ...]


def read(text: str) -> Frame:
    """Take the text apart into records. White space around it is no part of it.

    Raises HashError: the rule says which of the checks failed.
    """
    text, data, total = _open(text)
    records = tuple(map(Record._make, _walk(data, total)))
    return Frame(
        text_length=len(text),
        total_length=total,
        records=records,
        notes=_notes(text, data, total),
    )


def verify(text: str) -> tuple[Finding, ...]:
    """Check what `read` checks, and build nothing: for intake, which sees every row.

    Raises HashError.
    """
    text, data, total = _open(text)
    for _ in _walk(data, total):
        pass
    return _notes(text, data, total)


def repair(text: str) -> Repaired | None:
    """Make the base64 of a damaged text whole, as Microsoft's troubleshooting page says.

    Devices write hashes without padding and services want it: up to two "=" are appended, and
    where two do not help they are replaced by "A", which is empty data, and appended again
    (https://learn.microsoft.com/autopilot/troubleshooting-faq, read 2026-11). White space within
    the text, from a wrapped line, is taken out first, superfluous "=" as well. None if nothing
    is to be repaired or nothing of this helps. Whether the result is a hash, `read` knows.

    >>> repair("Q29udG9zbwAAA").text
    'Q29udG9zbwAAAA=='
    """
    if len(text) > MAXIMUM_CHARACTERS:
        return None
    text = text.strip()
    joined = "".join(text.split())
    core = joined.rstrip("=")
    if not core or "=" in core or _NOT_BASE64.search(core):
        return None
    # The documented loop ends because one "A" more leaves "==" to be enough.
    whole = core + "A" if len(core) % 4 == 1 else core
    whole += "=" * (-len(whole) % 4)
    if whole == text:
        return None
    steps = []
    if joined != text:
        steps.append(f"took {len(text) - len(joined)} blanks or line breaks out of the text")
    if len(core) % 4 == 1:
        steps.append('appended "A", which is empty data, because the text ended within a byte')
    had, has = joined.count("="), whole.count("=")
    if has != had:
        steps.append(
            f'ended the text with {has} "=" instead of {had}: base64 comes in groups of four'
        )
    return Repaired(text=whole, steps=tuple(steps))


def _refused(rule: str, message: str) -> HashError:
    return HashError(message, rule=rule, remedy=finding(rule, message).remedy)


def _open(text: str) -> tuple[str, bytes, int]:
    """The bare text, its bytes, and the total length that its header and trailer vouch for."""
    if len(text) > MAXIMUM_CHARACTERS:
        message = f"{len(text):,} characters; more than {MAXIMUM_CHARACTERS:,} are not read"
        raise _refused("hash-too-long", f"the hardware hash has {message}")
    text = text.strip()
    data = _bytes(text)
    total = _total(data)
    mark, length, checksum = _TRAILER.unpack_from(data, total)
    if mark != b"CS" or length != _TRAILER.size:
        message = f"no checksum at byte {total:,}, where its header puts it"
        raise _refused("hash-trailer", f"the hardware hash has {message}")
    if sha256(memoryview(data)[:total]).digest() != checksum:
        message = "the hardware hash does not match its own checksum: it was altered on the way"
        raise _refused("hash-checksum", message)
    return text, data, total


def _bytes(text: str) -> bytes:
    # Python's strict mode still lets superfluous "=" at the end pass.
    if text and len(text) % 4 == 0 and not text.endswith("==="):
        try:
            return a2b_base64(text, strict_mode=True)
        except ValueError as error:
            raise _not_base64(text) from error
    raise _not_base64(text)


def _not_base64(text: str) -> HashError:
    if not text:
        return _refused("hash-empty", "the hardware hash is empty")
    found = _NOT_BASE64.search(text) or _EARLY_PADDING.search(text)
    if found is None:
        return _refused(
            "hash-padding",
            f"the hardware hash has {len(text):,} characters, and base64 ends on a group of four, "
            'filled up with at most two "="',
        )
    place = f"character {found.start() + 1:,}"
    if found.group().isspace():
        return _refused(
            "hash-white-space", f"the hardware hash is broken by white space at {place}"
        )
    message = f"the hardware hash is not base64: {found.group()!a} at {place} does not belong there"
    return _refused("hash-not-base64", message)


def _total(data: bytes) -> int:
    if len(data) < _HEADER.size or data[:2] != b"OA":
        message = 'the text is base64, but not a hardware hash, which begins with "OA" ("T0E")'
        raise _refused("hash-header", message)
    total: int = _HEADER.unpack_from(data)[1]
    if total < _HEADER.size:
        message = f"the hardware hash gives its own length as {total} bytes, less than its header"
        raise _refused("hash-length", message)
    end = total + _TRAILER.size
    if end > len(data):
        message = f"its records and checksum end at byte {end:,}, and it has {len(data):,}"
        raise _refused("hash-cut", f"the hardware hash is cut: {message}")
    return total


def _walk(data: bytes, total: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, offset and payload of each record; none reaches over the end of the records.

    The second byte of the type is 0 in every known hash. Read as part of the type, it makes
    a record that is not the known one unknown.
    """
    offset = _HEADER.size
    while offset < total:
        # The trailer follows, so there are always four bytes to read.
        kind, length = _RECORD.unpack_from(data, offset)
        end = offset + length
        if length < _RECORD.size or end > total:
            message = f"its record at byte {offset:,} gives its length as {length:,} bytes"
            raise _refused("hash-record", f"the hardware hash is damaged: {message}")
        yield kind, offset, data[offset + _RECORD.size : end]
        offset = end


def _notes(text: str, data: bytes, total: int) -> tuple[Finding, ...]:
    notes: tuple[Finding, ...] = ()
    if len(text) != USUAL_CHARACTERS:
        message = f"the hardware hash has {len(text):,} characters; Windows writes 4,000"
        notes += (finding("hash-size", message),)
    rest = total + _TRAILER.size
    if data.count(0, rest) != len(data) - rest:
        message = f"data after its checksum, from byte {rest:,} on, where zeros belong"
        notes += (finding("hash-tail", f"the hardware hash holds {message}"),)
    return notes
