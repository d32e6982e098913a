"""Reads the user's batch for a command, or ends with every problem of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli.console import tell
from partner_tools.cli.options import Common, take_reading
from partner_tools.cli.wiring import load_config
from partner_tools.errors import InputError
from partner_tools.model import Batch, Problem, Severity
from partner_tools.workspace import batches

if TYPE_CHECKING:
    from partner_tools import Source

PROBLEMS_SHOWN = 50


def load_batch(
    common: Common,
    path: str | None,
    *,
    via: str | None,
    customer: str | None,
    batch_id: str | None,
    reason: str | None,
    reference: str | None,
    **given: Any,
) -> Batch:
    """The batch at a path, on standard input (`-`), or of the serials that the options name.

    It is checked for the channel that the options say, else the batch, else the profile; `given`
    are the options of `reading_options`. Warnings go to stderr.

    Raises InputError with every problem, after they are told; GuardError where a tenant is given
    on OEM Direct.
    """
    serials, reading = take_reading(given)
    try:
        return batches.read_batch(
            *open_batches((path,) if path else (), serials),
            via=via,
            customer=customer,
            batch_id=batch_id,
            reason=reason,
            reference=reference,
            default_via=None if via else load_config(common).text("via"),
            warn=show_problems,
            reading=reading,
        )
    except InputError as error:
        show_problems([one for one in error.problems if one.severity is Severity.ERROR])
        raise


def open_batches(paths: tuple[str, ...], serials: tuple[str, ...]) -> tuple[Source, ...]:
    """Where the bytes of batches come from; `-` is standard input.

    Raises UsageError unless either paths or serials are named.
    """
    from partner_tools import read_stream, source_at, source_of_serials

    if bool(paths) == bool(serials):
        raise click.UsageError(
            "name a batch, or devices with --serial" + " (not both)" * bool(paths)
        )
    if serials:
        return (source_of_serials(serials),)
    return tuple(
        read_stream(sys.stdin.buffer) if path == "-" else source_at(path) for path in paths
    )


def show_problems(shown: tuple[Problem, ...] | list[Problem]) -> None:
    """Problems on stderr, a line each."""
    for problem in shown[:PROBLEMS_SHOWN]:
        tell(sentence(problem), problem.severity.value)
    if len(shown) > PROBLEMS_SHOWN:
        tell(f"… and {len(shown) - PROBLEMS_SHOWN} more; `partner-tools validate` lists them all")


def sentence(problem: Problem) -> str:
    """A problem as one line: where, what, what to do."""
    column = f" {problem.column}:" if problem.column else ""
    return f"{problem.place}:{column} {problem.severity}: {problem.message} ({problem.remedy})"
