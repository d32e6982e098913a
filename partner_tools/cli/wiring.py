"""Opens the workspace, and reads the batch, that a command was called for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli.console import counted, print_json, print_line, say, tell
from partner_tools.cli.options import Common, take_reading
from partner_tools.cli.signals import handle_signals
from partner_tools.errors import InputError
from partner_tools.model import Batch, Problem, Severity
from partner_tools.workspace import environment

if TYPE_CHECKING:
    from partner_tools import Config, Source, Workspace
    from partner_tools.cli.app import Call


def load_config(common: Common) -> Config:
    """The configuration that flags, environment and file amount to."""
    return environment.load_config(common.config, common.profile)


@contextmanager
def opened(call: Call, *, handles_signals: bool = True) -> Iterator[Workspace]:
    """The workspace that a command was called for.

    Ctrl-C, SIGTERM and SIGHUP stop it resumably while the block lasts, where it `handles_signals`.
    """
    from partner_tools import open_workspace

    common, token = call.common, call.make_token()
    with (
        handle_signals(token, lambda: call.going_on) if handles_signals else nullcontext(),
        open_workspace(
            config=common.config,
            profile=common.profile,
            ledger=common.ledger,
            cancellation=token,
        ) as workspace,
    ):
        config = workspace.config
        if not (config.file or config.settings or config.secrets or common.quiet):
            tell("no configuration file found; `partner-tools config init` writes one")
        yield workspace


PROBLEMS_SHOWN = 50


def load_batch(
    common: Common,
    path: str | None,
    *,
    via: str | None = None,
    has_channel: bool = True,
    **given: Any,
) -> Batch:
    """The batch at a path, on standard input (`-`), or of the serials that the options name.

    It is checked for the channel that the options say, else the batch, else the profile, unless
    it needs none; `given` are the other options of `batch_options`. Warnings go to stderr.

    Raises InputError with every problem, after they are told; GuardError if a tenant is given
    on OEM Direct.
    """
    from partner_tools.workspace import batches

    serials, reading = take_reading(given)
    try:
        return batches.read_batch(
            *open_batches((path,) if path else (), serials),
            via=via,
            default_via=load_config(common).text("via") if has_channel and not via else None,
            warn=show_problems,
            reading=reading,
            **given,
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
    for problem in shown[:PROBLEMS_SHOWN]:
        tell(sentence(problem), problem.severity.value)
    if len(shown) > PROBLEMS_SHOWN:
        tell(f"… and {len(shown) - PROBLEMS_SHOWN} more; `partner-tools validate` lists them all")


def show_problem(output: str, problem: Problem) -> None:
    """A problem of a check on stdout; `json` prints all in its document."""
    if output == "text":
        say(sentence(problem))
    elif output == "jsonl":
        from partner_tools.result import problem_document

        print_line(problem_document(problem))


def show_check(output: str, devices: int, problems: Sequence[Problem]) -> None:
    """Print the result of checking this number of devices: the counts, or the document."""
    if output == "json":
        from partner_tools import validation_document

        print_json(validation_document(problems, devices))
    elif output == "text":
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        numbers = {"device": devices, "error": errors, "warning": len(problems) - errors}
        click.echo(", ".join(counted(number, noun) for noun, number in numbers.items()))


def sentence(problem: Problem) -> str:
    """A problem as one line: where, what, what to do."""
    column = f" {problem.column}:" if problem.column else ""
    return f"{problem.place}:{column} {problem.severity}: {problem.message} ({problem.remedy})"
