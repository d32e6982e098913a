"""Compare the hardware hashes of a batch with the columns beside them.

It owns the verdict on a batch whose rows carry hashes: damaged or not, whose machine it is,
whether Autopilot will find in it what it needs. It reads no file; a damaged text whose base64 can
be made whole comes with the whole text, so that the command can write a repaired copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from partner_tools.intake.hardware_hash import (
    Disagreement,
    HardwareHash,
    HashError,
    Note,
    Repaired,
    decode_hash,
    derive,
    disagreements,
    missing_fields,
    repair,
)
from partner_tools.intake.rules import shown
from partner_tools.model import Device, Identity, Problem, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class HashProblem:
    """The problem of one hash. `repaired` is the text to replace it, if there is one."""

    problem: Problem
    repaired: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The place of a hash: the file, its row, and the prefix of the column's name."""

    file: str
    row: int
    prefix: str

    def problem(
        self, column: str, rule: str, message: str, remedy: str, severity: Severity
    ) -> Problem:
        return Problem(
            file=self.file,
            row=self.row,
            column=self.prefix + column,
            rule=rule,
            severity=severity,
            message=message,
            remedy=remedy,
        )


def check(
    devices: Iterable[Device], *, file: str, placeholders: Collection[str] = ()
) -> Iterator[HashProblem]:
    """Check every hash of the batch, that of a replacement too; one device at a time.

    A device without a hash has no problems. A damaged hash and a column that contradicts its hash
    are errors, the rest are warnings. `placeholders` are the serials that are none, compared
    without regard to case: the schema lists them. `file` is what the problems name.
    """
    empty = frozenset(name.casefold() for name in placeholders)
    for device in devices:
        place = _Place(file=file, row=device.row, prefix="")
        yield from _check_identity(device.identity, place, empty)
        if device.replacement is not None:
            place = _Place(file=file, row=device.row, prefix="replacement.")
            yield from _check_identity(device.replacement, place, empty)


def _check_identity(
    identity: Identity, place: _Place, placeholders: Collection[str]
) -> Iterator[HashProblem]:
    if not identity.hardware_hash:
        return
    try:
        machine = decode_hash(identity.hardware_hash)
    except HashError as error:
        whole = repair(identity.hardware_hash)
        machine_of_whole = _decoded(whole)
        yield _damage(error, place, whole if machine_of_whole else None)
        if machine_of_whole is None:
            return
        machine = machine_of_whole
    yield from _check_machine(machine, identity, place, placeholders)


def _decoded(whole: Repaired | None) -> HardwareHash | None:
    if whole is None:
        return None
    try:
        return decode_hash(whole.text)
    except HashError:
        return None


def _check_machine(
    machine: HardwareHash, identity: Identity, place: _Place, placeholders: Collection[str]
) -> Iterator[HashProblem]:
    for disagreement in disagreements(machine, identity):
        yield _contradiction(disagreement, place)
    serial = derive(machine).serial_number
    if serial and serial.casefold() in placeholders:
        yield _placeholder(serial, place)
    missing = missing_fields(machine)
    if missing:
        yield _missing(missing, place)
    if machine.device_id_matches_ek is False:
        yield _foreign_device_id(place)
    for note in machine.notes:
        yield _noted(note, place)


def _damage(error: HashError, place: _Place, whole: Repaired | None) -> HashProblem:
    if whole is None:
        message, remedy = error.message, error.remedy
    else:
        message = f"{error.message}. Repaired: {'; '.join(whole.steps)}"
        remedy = "take the hash of the repaired copy: its checksum proves that nothing is lost"
    problem = place.problem("hardwareHash", error.rule, message, remedy, Severity.ERROR)
    return HashProblem(problem=problem, repaired=whole.text if whole else None)


def _contradiction(disagreement: Disagreement, place: _Place) -> HashProblem:
    given, decoded = disagreement.given, disagreement.decoded
    hint = " in upper and lower case" if given.casefold() == decoded.casefold() else ""
    return HashProblem(
        problem=place.problem(
            disagreement.column,
            "hash-contradicts-column",
            f"the column says {shown(given)} and the hardware hash beside it {shown(decoded)}: "
            f"they differ{hint}",
            "find out which machine is meant; the service compares exactly, and knows the "
            "machine by what its hash said",
            Severity.ERROR,
        )
    )


def _placeholder(serial: str, place: _Place) -> HashProblem:
    return HashProblem(
        problem=place.problem(
            "hardwareHash",
            "hash-placeholder-serial",
            f"the serial number in the hardware hash is {shown(serial)}, which firmware says when "
            "nobody set one",
            "write the serial number into the firmware with the maker's tool, then capture "
            "the hash again",
            Severity.WARNING,
        )
    )


def _missing(missing: tuple[str, ...], place: _Place) -> HashProblem:
    return HashProblem(
        problem=place.problem(
            "hardwareHash",
            "hash-missing-fields",
            f"the hardware hash lacks what Autopilot needs: {', '.join(missing)}",
            "set the fields with the maker's firmware tool (ProductKeyId comes with the "
            "injected key, EkPub and EkPubHash with an enabled TPM 2.0), then capture the hash "
            "again in the full Windows, not in Windows PE",
            Severity.WARNING,
        )
    )


def _foreign_device_id(place: _Place) -> HashProblem:
    return HashProblem(
        problem=place.problem(
            "hardwareHash",
            "hash-device-id",
            "the device id in the hardware hash is not the digest of the TPM key beside it",
            "capture the hash again after a restart; if it stays so, have the TPM looked at",
            Severity.WARNING,
        )
    )


def _noted(note: Note, place: _Place) -> HashProblem:
    return HashProblem(
        problem=place.problem(
            "hardwareHash", note.rule, note.message, note.remedy, Severity.WARNING
        )
    )
