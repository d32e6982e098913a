"""Open a batch, tell its format and its encoding: all that is known before a row is read.

The format is told by the content; the suffix is not looked at. UTF-8 with or without a byte order
mark and UTF-16 with one are read strictly. Other text is read as Windows-1252, which is a guess
and reported as one; text that mixes both is refused, because one of the two readings would be
silently wrong.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TextIO

from partner_tools.intake import limits
from partner_tools.intake.rules import HaltError, halt


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A batch that can be opened more than once. `name` is how problems call it.

    Exactly one of `path` and `content` is set.
    """

    name: str
    path: Path | None = None
    content: bytes | None = None


def source_at(path: str) -> Source:
    """The file at a path, as the command line names it."""
    return Source(name=path, path=Path(path))


def read_stream(stream: BinaryIO, name: str = "-") -> Source:
    """Everything that a stream holds, at most one byte more than `limits.HELD_BYTES`."""
    return Source(name=name, content=stream.read(limits.HELD_BYTES + 1))


def source_of_serials(serials: Sequence[str]) -> Source:
    """A batch of serial numbers that were typed, not filed; its rows count from 1."""
    devices = [{"serialNumber": serial} for serial in serials]
    content = json.dumps({"schemaVersion": "1", "devices": devices}).encode()
    return Source(name="--serial", content=content)


def hold(source: Source) -> Source:
    """The same batch in memory, so that what is read twice cannot change in between.

    Raises HaltError if it cannot be read or is larger than `limits.HELD_BYTES`.
    """
    content = read_whole(source, limits.HELD_BYTES, "the batch")
    return Source(name=source.name, content=content)


def hold_pipe(source: Source) -> Source:
    """The same batch, in memory if it is not a file that can be read twice.

    Raises HaltError as `hold` does.
    """
    return source if source.path is not None and _is_file(source.path) else hold(source)


def _is_file(path: Path) -> bool:
    """Whether the path can be opened twice; one that cannot be opened at all says so then."""
    try:
        return path.is_file() or not path.exists()
    except OSError:
        return True


def open_source(source: Source) -> BinaryIO:
    """Open the batch for reading from its start. Raises HaltError if it cannot be read."""
    if source.path is None:
        return BytesIO(source.content or b"")
    try:
        return source.path.open("rb")
    except (OSError, ValueError) as error:
        raise unreadable(error) from error


def read_whole(source: Source, limit: int, what: str) -> bytes:
    """The content of a format that has a limit, in bytes. Raises HaltError above it."""
    with open_source(source) as stream:
        content = read_some(stream, limit + 1)
    limits.require(len(content), limit, what)
    return content


def read_some(stream: BinaryIO, size: int) -> bytes:
    """At most `size` bytes; a fault of the disk ends the file as one that cannot be read."""
    try:
        return stream.read(size)
    except OSError as error:
        raise unreadable(error) from error


def unreadable(error: OSError | ValueError) -> HaltError:
    """The end of a file that the operating system does not hand out."""
    if isinstance(error, IsADirectoryError):
        return halt("unreadable-file", "it is a folder", remedy="name a file in it")
    reason = getattr(error, "strerror", None) or "no file can have this name"
    return halt("unreadable-file", f"cannot read the file: {reason}")


class Format(StrEnum):
    """The formats of a batch that is text."""

    CSV = "csv"
    JSON = "json"
    JSON_LINES = "jsonl"


_BINARIES = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook (.xls), or one with a password",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": "packed with gzip",
    b"7z\xbc\xaf": "packed with 7-Zip",
    b"Rar!": "packed with RAR",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite format 3": "a database",
}
_MARKUP = re.compile(r"\s*<[!?a-zA-Z]")
_OBJECT = re.compile(r'\s*\{\s*("|\}|$)')
_ARRAY = re.compile(r'\s*\[\s*([\[{"\]]|$)')


def is_zip(start: bytes) -> bool:
    """Whether the first bytes are those of a ZIP, which an XLSX is."""
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def refuse_binary(start: bytes) -> None:
    """Raise HaltError where the first bytes are those of a known format that is no batch."""
    for mark, what in _BINARIES.items():
        if start.startswith(mark):
            raise halt("unknown-format", f"the file is {what}")


def format_of_text(lines: Sequence[str]) -> Format:
    """The format of a text, told by its first lines that are not blank.

    Raises HaltError for markup.
    """
    first = lines[0] if lines else ""
    if _MARKUP.match(first):
        message = "the file is HTML or XML, perhaps a saved web page or an OA3 report"
        raise halt("unknown-format", message)
    if _ARRAY.match(first):
        return Format.JSON
    if not _OBJECT.match(first):
        return Format.CSV
    return _json_or_lines(first, lines[1:])


def _json_or_lines(first: str, others: Sequence[str]) -> Format:
    """A first line that is a whole object is a device, unless it is a whole batch."""
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        looks = first.rstrip().endswith("}") and bool(others) and _OBJECT.match(others[0])
        return Format.JSON_LINES if looks else Format.JSON
    wraps = any(
        isinstance(each, list) and each and isinstance(each[0], dict) for each in value.values()
    )
    is_batch = not others and (wraps or bool({"schemaVersion", "devices"}.intersection(value)))
    return Format.JSON if is_batch or value == {} else Format.JSON_LINES


_NO_WINDOWS = (
    (
        re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]"),
        "holds lone surrogates, which are half a character",
    ),
    (
        re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"),
        "mixes UTF-8 with bytes of another encoding",
    ),
    (re.compile(rb"[\x81\x8d\x8f\x90\x9d]"), "is neither UTF-8 nor Windows-1252"),
)
"""The kinds of damage that name another encoding; the last ones are undefined bytes."""

_NAMES = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The codec, and the line of the first byte that was only guessed to be Windows-1252."""

    codec: str
    guessed_at: int | None = None


def find_encoding(source: Source) -> Encoding:
    """Read the whole content once and tell its encoding.

    Raises HaltError if no encoding reads it without a fault, or it holds NUL.
    """
    with open_source(source) as stream:
        codec = codec_of(read_some(stream, 4))
    fault = _first_fault(source, codec)
    if fault is None:
        return Encoding(codec=codec)
    if codec != "utf-8":
        message = f"the file says that it is {_NAMES[codec]}, and holds what is not"
        raise halt("encoding", message, _line_at(source, fault, codec))
    return _windows(source, fault)


def read_lines(text: TextIO, found: Callable[[int], None] = lambda _: None) -> Iterator[str]:
    """The lines of a text without their ends, of which universal newlines make one kind.

    Marks that `copy *.csv` leaves inside a file (byte order marks, the end-of-file mark of DOS)
    are left out, and `found` is told the line of each end-of-file mark. Raises HaltError at a
    line that does not end. Splitting pieces costs a third of `readline`.
    """
    number, rest = 0, ""
    while piece := text.read(limits.TEXT_CHARACTERS):
        whole = rest + piece
        lines = whole.split("\n")
        rest = lines.pop()
        if "\ufeff" in whole or "\x1a" in whole:
            lines = [_without_marks(line, number + at, found) for at, line in enumerate(lines, 1)]
        yield from lines
        number += len(lines)
        if len(rest) > limits.RECORD_CHARACTERS:
            raise limits.record_too_long(number + 1)
    rest = _without_marks(rest, number + 1, found)
    if rest:
        yield rest


_MARKS = "\ufeff\x1a"


def _without_marks(line: str, number: int, found: Callable[[int], None]) -> str:
    """A line without the marks at its start, and without an end-of-file mark at its end."""
    bare = line.lstrip(_MARKS).rstrip("\x1a")
    if line.count("\x1a") > bare.count("\x1a"):
        found(number)
    return bare


def codec_of(start: bytes) -> str:
    """The codec that the first four bytes announce; UTF-8 where they announce none.

    Raises HaltError for UTF-32, and for UTF-16 without a byte order mark.
    """
    if start in (codecs.BOM_UTF32_BE, codecs.BOM_UTF32_LE):
        raise halt("encoding", "the file is UTF-32, which is not read")
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if len(start) == 4 and (start[::2] == b"\0\0") != (start[1::2] == b"\0\0"):
        message = "the file looks like UTF-16 without a byte order mark"
        raise halt("encoding", message)
    return "utf-8"


def _first_fault(source: Source, codec: str) -> int | None:
    """Where, in bytes from 0, the codec fails; None if it reads everything."""
    decoder = codecs.getincrementaldecoder(codec)()
    start, pending = 0, True
    for piece in _pieces(source):
        if pending or not piece.isascii():
            try:
                text = decoder.decode(piece)
            except UnicodeDecodeError as error:
                return start + len(piece) - len(error.object) + error.start
            pending = codec == "utf-16" or bool(decoder.getstate()[0])
        nul = piece.find(b"\0")
        if codec == "utf-16":
            before, found, _ = text.partition("\0")
            nul = len(before.encode("utf-16-le")) if found else -1
        if nul >= 0:
            line = _line_at(source, start + nul, codec)
            raise halt("nul-character", "the file holds a NUL character", line)
        start += len(piece)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return start - len(error.object) + error.start
    return None


def _windows(source: Source, fault: int) -> Encoding:
    """Windows-1252, unless something says that it is a damaged file of another encoding."""
    line = _line_at(source, fault, "utf-8")
    tail = b""
    for piece in _pieces(source):
        for bad, what in _NO_WINDOWS:
            if bad.search(tail + piece):
                raise halt("encoding", f"the file {what}", line)
        tail = piece[-3:]
    return Encoding(codec="cp1252", guessed_at=line)


def _line_at(source: Source, offset: int, codec: str) -> int:
    """The line, from 1, that contains the byte at `offset`."""
    decoder = codecs.getincrementaldecoder(codec)("replace")
    lines, rest, last = 1, offset, ""
    for piece in _pieces(source):
        text = last + decoder.decode(piece[:rest])
        last = "\r" if text.endswith("\r") else ""
        lines += _lines_in(text.removesuffix("\r"))
        rest = max(0, rest - len(piece))
        if not rest:
            break
    return lines + _lines_in(last)


def _lines_in(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _pieces(source: Source) -> Iterator[bytes]:
    with open_source(source) as stream:
        while piece := read_some(stream, limits.PIECE_BYTES):
            yield piece
