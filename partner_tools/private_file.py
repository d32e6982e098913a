"""Writes a file whole or not at all, readable by this user alone."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from partner_tools.errors import InputError


def write_private(path: Path, content: bytes) -> None:
    """Write the content under a temporary name and rename it; durable on return.

    Replaces an existing file; makes missing folders. The mode is 0600 where the system has modes.
    Raises InputError where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, content)
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be written: {error.strerror or error}",
            rule="unwritable-file",
            remedy="name another place, or make room there; nothing else was lost",
        ) from error


def _replace(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".partner-tools-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
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
