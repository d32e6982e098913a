"""The restore kit of a run: what it removes, with full hardware hashes, in one private file.

The ledger itself keeps only digests of hardware hashes, because a hash identifies a machine for
life and is its owner's. The kit is what `restore` needs to register the devices again; it can be
deleted at any time, and then `restore` names the devices that it cannot write.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from partner_tools.errors import LedgerError
from partner_tools.files import make_private_folder
from partner_tools.json_forms import read_target
from partner_tools.ledger.codec import json_text, registration_from, registration_json
from partner_tools.ledger.records import is_run_id
from partner_tools.model import Registration, RunId


def write_kit(folder: Path, run: RunId, registrations: Iterable[Registration]) -> Path | None:
    """Write the registrations that have a hardware hash to `<folder>/kits/<run>.jsonl`.

    The file is whole and durable on return, readable by this user alone, and replaces an earlier
    one of the run. Where no registration has a hash there is no file, and the result is None.
    Raises LedgerError where it cannot be written.
    """
    kept = [registration for registration in registrations if registration.hardware_hash]
    if not kept:
        delete_kit(folder, run)
        return None
    path = _path(folder, run)
    try:
        make_private_folder(path.parent)
        _replace(path, "".join(f"{json_text(registration_json(each))}\n" for each in kept))
    except OSError as error:
        raise _unusable(path, "written", error) from error
    return path


def read_kit(folder: Path, run: RunId) -> tuple[Registration, ...]:
    """The registrations of the run's kit; none where it was deleted or never needed.

    Raises LedgerError for a kit that cannot be read or is damaged.
    """
    path = _path(folder, run)
    try:
        with path.open(encoding="ascii") as lines:
            return tuple(_registration(line) for line in lines)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, "read", error) from error


def delete_kit(folder: Path, run: RunId) -> bool:
    """Delete the run's kit, and say whether there was one."""
    path = _path(folder, run)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path, "deleted", error) from error
    return True


def _path(folder: Path, run: RunId) -> Path:
    if not is_run_id(run):
        raise ValueError(f"'{run}' is not a run id")
    return folder / "kits" / f"{run}.jsonl"


def _registration(line: str) -> Registration:
    stored = json.loads(line)
    return registration_from(stored, read_target(stored))


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    with suppress(FileNotFoundError):
        unfinished.unlink()
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    _make_name_durable(path.parent)


def _make_name_durable(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there, and the rename is journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, done: str, error: Exception) -> LedgerError:
    said = getattr(error, "strerror", None) or "its content is not that of a kit"
    return LedgerError(
        f"the restore kit {path} cannot be {done} ({said})",
        remedy="check the file and its folder; without the kit, devices that were registered by "
        "hardware hash alone have to be captured again",
        rule="kit",
    )
