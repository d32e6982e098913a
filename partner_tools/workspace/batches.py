"""Read batches and plans from files, check hardware hashes, and report every problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.errors import GuardError, InputError
from partner_tools.files import PLAN_BYTES, read_document
from partner_tools.model import Batch, ChannelName, Device, Plan, Problem, Reason, Severity
from partner_tools.strict_json import read_shown_json

if TYPE_CHECKING:
    from partner_tools.intake.batch_metadata import IntakeOptions, ReadingOptions
    from partner_tools.intake.hardware_hash import HashProblem
    from partner_tools.intake.source import Source

ByName = str | Path

_TENANT_GIVEN = "tenant-given"
"""The rule for a tenant in a batch for OEM Direct, which would register the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The result of checking batches. `devices` counts the rows that name one, valid or not."""

    devices: int
    problems: tuple[Problem, ...]

    @property
    def valid(self) -> bool:
        """Whether a run would take the batches: no problem is an error."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def exit_code(self) -> int:
        """The exit code of `validate`: 0, 3 for an error, 8 for a tenant on OEM Direct."""
        if any(problem.rule == _TENANT_GIVEN for problem in _errors(self.problems)):
            return GuardError.exit_code
        return 0 if self.valid else InputError.exit_code


def validate(
    *batches: ByName | Source,
    via: str | None = None,
    customer: str | None = None,
    default_via: str | None = None,
    found: Callable[[Problem], None] = lambda _: None,
    reading: ReadingOptions | None = None,
) -> Validation:
    """Check batches against the schemas and the field rules, offline; nothing is sent.

    `default_via` gives way to what a JSON batch says. `found` is told of each problem as it is
    met, in the order of rows. Never raises for what a file holds.
    """
    from partner_tools.intake.batch import check_batch

    options = _options(via, default_via, reading, customer=customer)
    problems: list[Problem] = []
    devices = 0

    def report(problem: Problem) -> None:
        problems.append(problem)
        found(problem)

    for batch in batches:
        devices += check_batch(source_of(batch), options, report).devices
    return Validation(devices=devices, problems=tuple(problems))


def read_batch(
    batch: ByName | Source,
    *,
    via: str | None = None,
    customer: str | None = None,
    batch_id: str | None = None,
    reason: str | None = None,
    reference: str | None = None,
    default_via: str | None = None,
    warn: Callable[[tuple[Problem, ...]], None] = lambda _: None,
    reading: ReadingOptions | None = None,
) -> Batch:
    """A batch, checked: CSV, XLSX, JSON or JSON Lines, told apart by content.

    The arguments are for formats without these fields; `default_via` gives way to the channel of a
    JSON batch. `warn` receives the warnings.
    Raises InputError with every problem of the file; GuardError if a tenant is given on OEM
    Direct.
    """
    from partner_tools.intake.batch import read_batch as read

    options = _options(
        via,
        default_via,
        reading,
        customer=customer,
        batch_id=batch_id,
        reason=None if reason is None else Reason(reason),
        reference=reference,
    )
    source = source_of(batch)
    intake = read(source, options)
    warn(tuple(each for each in intake.problems if each.severity is Severity.WARNING))
    if intake.batch is None:
        raise refusal(source.name, intake.problems)
    return intake.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class HashCheck(Validation):
    """The result of checking a batch's hashes. `devices` counts its rows, with or without a hash.

    `whole` is the batch byte for byte, but for the `repaired` hashes that could be made whole.
    """

    repaired: int
    whole: bytes


def check_hashes(batch: ByName | Source) -> HashCheck:
    """Check the hardware hashes of a batch against the columns beside them; nothing is sent.

    Raises InputError for what is no batch: its rows have to be readable, its hashes need not.
    """
    from partner_tools.intake.batch import halted, read_batch
    from partner_tools.intake.batch_metadata import IntakeOptions
    from partner_tools.intake.hardware_hash import check
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
    found = tuple(check(devices, file=source.name))
    repaired, whole = _repaired(held.content or b"", devices, found)
    return HashCheck(
        devices=intake.count,
        problems=tuple(each.problem for each in found),
        repaired=repaired,
        whole=whole,
    )


def refusal(name: str, problems: tuple[Problem, ...]) -> InputError | GuardError:
    """Why this batch cannot be used."""
    errors = _errors(problems)
    tenants = [problem for problem in errors if problem.rule == _TENANT_GIVEN]
    if tenants:
        first = tenants[0]
        return GuardError(f"{first.place}: {first.message}", rule=first.rule, remedy=first.remedy)
    return InputError(
        f"the batch {name!r} has {len(errors)} error{'s' if len(errors) != 1 else ''}; "
        "nothing was sent",
        rule="invalid-batch",
        remedy="correct the file, and check it with `partner-tools validate`",
        problems=problems,
    )


def load_plan(path: Path) -> tuple[Plan, dict[str, Any]]:
    """A plan file, checked against its schema and its digest.

    Raises InputError for what is not a plan, GuardError if it does not match its digest.
    """
    from partner_tools.intake.schema import checker
    from partner_tools.plan import read_plan

    remedy = "name a file that `partner-tools plan -o` wrote"
    document = read_document(
        path,
        PLAN_BYTES,
        what="the plan",
        rule="plan-unreadable",
        remedy=remedy,
        read=read_shown_json,
    )
    faults = checker("plan").violations(document)
    if faults:
        raise InputError(
            f"the plan {str(path)!r} is not a plan: {faults[0].message}",
            rule="plan-invalid",
            remedy=remedy,
        )
    return read_plan(document), document


def batch_of(plan: Plan, path: Path) -> Batch:
    """The batch that a plan was made of, as far as the plan knows it."""
    devices: tuple[Device, ...] = tuple(each.device for each in plan.devices)
    return Batch(
        batch_id=plan.batch_id,
        file=str(path),
        digest=plan.batch_digest,
        devices=devices,
        reason=plan.reason,
        channel=plan.channel,
    )


def source_of(batch: ByName | Source) -> Source:
    """Where the bytes of a batch come from; it is opened later."""
    from partner_tools.intake.source import Source, source_at

    return batch if isinstance(batch, Source) else source_at(str(batch))


def _options(
    via: str | None, default_via: str | None, reading: ReadingOptions | None, **said: Any
) -> IntakeOptions:
    from partner_tools.intake.batch_metadata import IntakeOptions, ReadingOptions

    return IntakeOptions(
        channel=None if via is None else ChannelName(via),
        default_channel=None if default_via is None else ChannelName(default_via),
        reading=reading or ReadingOptions(),
        **said,
    )


def _errors(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity is Severity.ERROR]


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
