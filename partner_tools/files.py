"""Files: private ones, written whole or not at all, and those of users, read within limits.

A file that a user names may have been written by others: it is refused beyond its limit, where it
holds anything else than it should, and where others may change what only the user should.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from partner_tools.errors import InputError
from partner_tools.strict_json import InvalidTextError, read_json


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
    with _as_input_error(path):
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
    with _as_input_error(folder):
        make_private_folder(folder)
        tempfile.TemporaryFile(dir=folder).close()


def require_writable(path: Path) -> None:
    """See that a file of this name can be written, before something is begun of which it is to
    tell. Raises InputError as `writing` does."""
    with _as_input_error(path):
        if _is_device(path):
            return
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(path.stat().st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    require_folder(path.parent)


@contextmanager
def _as_input_error(path: Path) -> Iterator[None]:
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
    if os.name == "posix":  # Windows cannot open a folder to make the new name durable
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


MIB: Final = 1024 * 1024
PLAN_BYTES: Final = 512 * MIB
"""A plan: about 800 bytes a device."""
SIGNATURES_BYTES: Final = 65_536
"""A file of signatures: twenty of them have 6,000 bytes."""
EXPORT_BYTES: Final = 1024 * MIB
"""An exported audit trail: about a kilobyte an event."""
PROFILE_BYTES: Final = 4 * MIB
"""A wire profile: its characters are counted when it is parsed."""
HANDOFF_BYTES: Final = 256 * MIB
"""A handoff: ten thousand devices take about twenty million bytes."""
HOLD_LIST_BYTES: Final = 64 * MIB
"""A hold list: some four million serial numbers."""


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file. Raises OSError as `open` does, InvalidTextError beyond the limit."""
    with path.open("rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise InvalidTextError(f"it has more than {limit:,} bytes")
    return content


def read_document(
    path: Path,
    limit: int,
    *,
    what: str,
    rule: str,
    remedy: str,
    read: Callable[[bytes], Any] = read_json,
) -> Any:
    """The JSON of a file, or what `read` makes of it.

    Raises InputError where it is none, is larger, or cannot be read.
    """
    try:
        return read(read_bytes(path, limit))
    except (OSError, InvalidTextError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{what} {str(path)!r} cannot be read: {why}", rule=rule, remedy=remedy
        ) from error
