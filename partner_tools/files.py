"""Private files and folders: written whole or not at all, readable by this user alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from partner_tools.errors import InputError


def make_private_folder(folder: Path) -> None:
    """Make the folder, and those above it, for this user alone; what is there stays as it is."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write the content; see `writing`."""
    with writing(path) as stream:
        stream.write(content)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A stream to a file that appears under its name when the block ends well; durable by then.

    Replaces an existing file; makes missing folders, private to the user. The file's mode is 0600
    where the system has modes. A device, a pipe or `/dev/stdout` is written to as it is. Raises
    InputError where it cannot be written.
    """
    with _told(path):
        if _is_device(path):
            with path.open("wb") as stream:
                yield stream
            return
        make_private_folder(path.parent)
        with _renamed_at_the_end(path) as stream:
            yield stream


def require_folder(folder: Path) -> None:
    """See that files can be made in a folder, which is made where it is not there: before
    something is begun of which they are to tell. Raises InputError as `writing` does."""
    with _told(folder):
        make_private_folder(folder)
        tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be written: {error.strerror or error}",
            rule="unwritable-file",
            remedy="name another place, or make room there; nothing else was lost",
        ) from error


def _is_device(path: Path) -> bool:
    """Whether a file must not take this path's name: for root that would replace `/dev/null`."""
    is_stream = path.is_symlink() and path.is_relative_to("/dev")  # /dev/stdout, even of a file
    return is_stream or (path.exists() and not path.is_file() and not path.is_dir())


@contextmanager
def _renamed_at_the_end(path: Path) -> Iterator[BinaryIO]:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".partner-tools-")
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where the system can (Windows cannot open a folder)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
