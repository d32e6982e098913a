"""The restore kit of a run: what it removes, with full hardware hashes, in one private file.

The ledger itself keeps only digests of hardware hashes, because a hash identifies a machine for
life and is its owner's. The kit is what `restore` needs to register the devices again; it can be
deleted at any time, and then `restore` names the devices that it cannot write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from partner_tools.errors import InputError, LedgerError
from partner_tools.files import write_private
from partner_tools.json_forms import structure
from partner_tools.ledger.codec import json_text, registration_from, registration_json
from partner_tools.ledger.records import is_run_id
from partner_tools.model import Registration, RunId, Target


def write_kit(folder: Path, run: RunId, registrations: Iterable[Registration]) -> None:
    """Write the registrations that have a hardware hash to `<folder>/kits/<run>.jsonl`.

    The file is whole and durable on return, readable by this user alone, and replaces an earlier
    one of the run. Where no registration has a hash there is no file afterwards. Raises LedgerError
    where it cannot be written.
    """
    path = _path(folder, run)
    kept = [json_text(registration_json(each)) for each in registrations if each.hardware_hash]
    try:
        if kept:
            write_private(path, "".join(f"{line}\n" for line in kept).encode("ascii"))
        else:
            path.unlink(missing_ok=True)
    except (InputError, OSError) as error:
        raise _unusable(path, "written", error) from error


def read_kit(folder: Path, run: RunId) -> tuple[Registration, ...]:
    """The registrations of the run's kit; none where it was deleted or never needed.

    Raises LedgerError for a kit that cannot be read or is damaged.
    """
    path = _path(folder, run)
    try:
        with path.open(encoding="ascii") as lines:
            stored = [json.loads(line) for line in lines]
        return tuple(registration_from(each, structure(Target, each)) for each in stored)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(path, "read", error) from error


def _path(folder: Path, run: RunId) -> Path:
    if not is_run_id(run):
        raise ValueError(f"'{run}' is not a run id")
    return folder / "kits" / f"{run}.jsonl"


def _unusable(path: Path, done: str, error: Exception) -> LedgerError:
    cause = error.__cause__ if isinstance(error, InputError) else error
    said = getattr(cause, "strerror", None) or "its content is not that of a kit"
    return LedgerError(
        f"the restore kit {path} cannot be {done} ({said})",
        remedy="check the file and its folder; without the kit, devices that were registered by "
        "hardware hash alone have to be captured again",
        rule="kit",
    )
