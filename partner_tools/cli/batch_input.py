"""Reads the user's batch for a command, or ends with every problem of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from partner_tools.cli.console import tell
from partner_tools.cli.options import Common
from partner_tools.cli.wiring import load_config
from partner_tools.errors import InputError
from partner_tools.model import Batch, Problem, Severity
from partner_tools.workspace import batches

if TYPE_CHECKING:
    from partner_tools.intake.source import Source

PROBLEMS_SHOWN = 50


def load_batch(
    common: Common,
    path: str,
    *,
    via: str | None,
    customer: str | None,
    batch_id: str | None,
    reason: str | None,
    reference: str | None,
) -> Batch:
    """The batch at a path or on standard input (`-`), checked; warnings go to stderr.

    It is checked for the channel that the options say, else the batch, else the profile.

    Raises InputError with every problem, after they are told; GuardError where a tenant is given
    on OEM Direct.
    """
    try:
        return batches.read_batch(
            open_batch(path),
            via=via,
            customer=customer,
            batch_id=batch_id,
            reason=reason,
            reference=reference,
            default_via=None if via else load_config(common).text("via"),
            warn=show_problems,
        )
    except InputError as error:
        show_problems([one for one in error.problems if one.severity is Severity.ERROR])
        raise


def open_batch(path: str) -> Source:
    """Where the bytes of a batch come from; `-` is standard input."""
    from partner_tools.intake.source import read_stream, source_at

    if path == "-":
        return read_stream(sys.stdin.buffer)
    return source_at(path)


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
