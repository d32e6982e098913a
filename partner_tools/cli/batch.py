"""Reads the user's batch for a command, or ends with every problem of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from partner_tools.cli.output import tell
from partner_tools.errors import GuardError, InputError
from partner_tools.model import Batch, ChannelName, Problem, Reason, Severity

if TYPE_CHECKING:
    from partner_tools.intake.source import Source

PROBLEMS_SHOWN = 50


def load_batch(
    path: str,
    *,
    channel: ChannelName | None,
    customer: str | None,
    batch_id: str | None,
    reason: str | None,
    reference: str | None,
) -> Batch:
    """The batch at a path or on standard input (`-`), checked.

    Raises InputError with every problem; GuardError where a tenant is given on OEM Direct.
    Warnings go to stderr.
    """
    from partner_tools.intake.batch import read_batch
    from partner_tools.intake.head import IntakeOptions

    options = IntakeOptions(
        channel=channel,
        customer=customer,
        batch_id=batch_id,
        reason=None if reason is None else Reason(reason),
        reference=reference,
    )
    intake = read_batch(open_batch(path), options)
    show_problems(intake.problems, only=Severity.WARNING)
    if intake.batch is None:
        raise refusal(path, intake.problems)
    return intake.batch


def open_batch(path: str) -> Source:
    """Where the bytes of a batch come from; `-` is standard input."""
    from partner_tools.intake.source import read_stream, source_at

    if path == "-":
        return read_stream(sys.stdin.buffer)
    return source_at(path)


def refusal(path: str, problems: tuple[Problem, ...]) -> InputError | GuardError:
    """Why this batch cannot be used."""
    from partner_tools.intake.rules import TENANT_GIVEN

    tenants = [problem for problem in problems if problem.rule == TENANT_GIVEN.name]
    if tenants:
        show_problems(tuple(tenants), only=Severity.ERROR)
        return GuardError(tenants[0].message, rule=TENANT_GIVEN.name, remedy=tenants[0].remedy)
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    show_problems(problems, only=Severity.ERROR)
    return InputError(
        f"the batch {path!r} has {len(errors)} error{'s' if len(errors) != 1 else ''}; "
        "nothing was sent",
        rule="invalid-batch",
        remedy="correct the file, and check it with `partner-tools validate`",
        problems=problems,
    )


def show_problems(problems: tuple[Problem, ...], *, only: Severity) -> None:
    """The problems of one severity on stderr, a line each."""
    shown = [problem for problem in problems if problem.severity is only]
    for problem in shown[:PROBLEMS_SHOWN]:
        tell(sentence(problem))
    if len(shown) > PROBLEMS_SHOWN:
        tell(f"… and {len(shown) - PROBLEMS_SHOWN} more; `partner-tools validate` lists them all")


def sentence(problem: Problem) -> str:
    """A problem as one line: where, what, what to do."""
    place = problem.file if problem.row is None else f"{problem.file}:{problem.row}"
    column = f" {problem.column}:" if problem.column else ""
    return f"{place}:{column} {problem.severity}: {problem.message} ({problem.remedy})"


def choose_channel(given: str | None, configured: str | None, batch: str | None) -> ChannelName:
    """The channel of a run: flag, batch, profile. Raises a usage error where none is named."""
    named = given or batch or configured
    if named is None:
        raise click.UsageError("name the channel: --via partner-center or --via oem-direct")
    return ChannelName(named)


def require_customers(batch: Batch, default: str | None) -> None:
    """Raise a usage error where a device of the batch belongs to no named customer."""
    orphan = next((each for each in batch.devices if not (each.customer or default)), None)
    if orphan is not None:
        raise click.UsageError(
            f"row {orphan.row} names no customer: add --customer with a tenant id or a domain, "
            "or a customer column"
        )


def with_hashes_read(batch: Batch) -> Batch:
    """The batch with what only hardware hashes say of its devices; the ledger keeps no hash."""
    from partner_tools.channels.oem_draft import completed
    from partner_tools.intake.hardware_hash import decode, derive

    devices = tuple(completed(each, lambda text: derive(decode(text))) for each in batch.devices)
    return replace(batch, devices=devices)
