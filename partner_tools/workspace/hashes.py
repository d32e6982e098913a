"""Checks the hardware hashes of a batch against the columns beside them. Offline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from partner_tools.errors import InputError
from partner_tools.model import Device, Problem, Severity
from partner_tools.workspace.batches import ByName, refusal, source_of

if TYPE_CHECKING:
    from partner_tools.intake.hash_check import HashProblem
    from partner_tools.intake.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class HashCheck:
    """The result of checking a batch's hashes. `devices` counts its rows, with a hash or without.

    `whole` is the batch byte for byte, but for the `repaired` hashes that could be made whole.
    """

    devices: int
    problems: tuple[Problem, ...]
    repaired: int
    whole: bytes

    @property
    def exit_code(self) -> int:
        """With what `hash check` ends: 3 for an error, else 0."""
        errors = any(each.severity is Severity.ERROR for each in self.problems)
        return InputError.exit_code if errors else 0


def check_hashes(batch: ByName | Source) -> HashCheck:
    """Check the hardware hashes of a batch against the columns beside them; nothing is sent.

    Raises InputError for what is no batch: its rows have to be readable, its hashes need not.
    """
    from partner_tools.intake.batch import halted, read_batch
    from partner_tools.intake.batch_metadata import IntakeOptions
    from partner_tools.intake.hash_check import check
    from partner_tools.intake.rules import HaltError
    from partner_tools.intake.source import hold

    source = source_of(batch)
    try:
        held = hold(source)
    except HaltError as halt:
        raise refusal(source.name, (halted(source, halt),)) from halt
    intake = read_batch(held, IntakeOptions(judge_hashes=False))
    if intake.batch is None:
        raise refusal(source.name, intake.problems)
    devices = intake.batch.devices
    found = tuple(check(devices, file=source.name, placeholders=_placeholders()))
    repaired, whole = _repaired(held.content or b"", devices, found)
    return HashCheck(
        devices=intake.count,
        problems=tuple(each.problem for each in found),
        repaired=repaired,
        whole=whole,
    )


def _placeholders() -> list[str]:
    from partner_tools.intake.schema import load_schema

    listed: list[str] = load_schema("batch")["$defs"]["placeholderSerial"]["enum"]
    return listed


def _repaired(
    content: bytes, devices: Iterable[Device], found: Iterable[HashProblem]
) -> tuple[int, bytes]:
    """How many hashes could be made whole, and the batch with them."""
    damaged = {device.row: device.identity.hardware_hash for device in devices}
    encoding = "utf-16-le" if content[:2] == b"\xff\xfe" else "ascii"
    done = 0
    for each in found:
        before = damaged.get(each.problem.row or 0)
        if each.repaired is None or before is None or each.problem.column != "hardwareHash":
            continue
        old, new = before.encode(encoding), each.repaired.encode(encoding)
        done += content.count(old)
        content = content.replace(old, new)
    return done, content
