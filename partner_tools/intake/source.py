"""Where a batch comes from: a path, or bytes that came through standard input."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from partner_tools.intake import limits, rules


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


def hold(source: Source) -> Source:
    """The same batch in memory, so that what is read twice cannot change in between.

    Raises HaltError where it cannot be read or is larger than `limits.HELD_BYTES`.
    """
    content = read_whole(source, limits.HELD_BYTES, "the batch")
    return Source(name=source.name, content=content)


def hold_pipe(source: Source) -> Source:
    """The same batch, in memory where it is not a file that can be read twice.

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
    """Open the batch for reading from its start. Raises HaltError where it cannot be read."""
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


def unreadable(error: OSError | ValueError) -> rules.HaltError:
    """The end of a file that the operating system does not hand out."""
    reason = getattr(error, "strerror", None) or "no file can have this name"
    return rules.HaltError(rules.finding(rules.UNREADABLE_FILE, f"cannot read the file: {reason}"))
