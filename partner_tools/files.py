"""Private files and folders: written whole or not at all, readable by this user alone."""

from __future__ import annotations

import os
import stat
import sys
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


def this_user() -> int | None:
    """The id of the user, where systems have one."""
    return os.geteuid() if sys.platform != "win32" else None


def refuse_exposed(file: Path, what: str, user: int | None, *, is_secret: bool = False) -> None:
    """Raise InputError for a file that others than `user` may change; for a secret, or read.

    The rules are those of ssh for its configuration and keys: a group of the user's own, as many
    systems make one for each, is not others; and a secret that belongs to the system's
    administrator is not looked at. `user` None, as on Windows, has nothing looked at: access lists
    there are inherited from the folder.
    """
    if user is None or not file.exists():  # who reads it says that it is not there
        return
    facts = file.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if mode & stat.S_IWGRP and _is_own_group(facts.st_gid, user):
        mode &= ~stat.S_IWGRP
    private = is_secret and facts.st_uid == user
    if mode & (0o077 if private else 0o022):
        raise InputError(
            f"other users may {'read or change' if private else 'change'} {what} {str(file)!r} "
            f"(mode {mode:04o})",
            rule="exposed-file",
            remedy=f"take that right away: chmod {'go=' if private else 'go-w'} {file}",
        )


def _is_own_group(group: int, user: int) -> bool:
    """Whether a group has no member but the user."""
    import grp
    import pwd

    try:
        name, members = pwd.getpwuid(user), grp.getgrgid(group)
    except KeyError:
        return False
    return name.pw_gid == group and set(members.gr_mem) <= {name.pw_name}


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
