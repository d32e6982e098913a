"""`validate`: every problem of every file, offline."""

from __future__ import annotations

from typing import Any

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import counted, print_json, print_line, say
from partner_tools.cli.options import (
    customer_option,
    output_options,
    reading_options,
    take_reading,
)
from partner_tools.cli.wiring import load_config, open_batches, sentence
from partner_tools.model import PARTNER_CHANNELS, Problem, Severity
from partner_tools.workspace import batches as batches_


@command("validate", logs=False)
@click.argument("batches", nargs=-1, metavar="[BATCH]...", shell_complete=completers.files)
@click.option(
    "--via",
    type=click.Choice([name.value for name in PARTNER_CHANNELS]),
    help="Also check what this service requires.",
)
@customer_option("Customer of rows that name none.")
@reading_options
@output_options
def validate(
    call: Call, batches: tuple[str, ...], via: str | None, customer: str | None, **given: Any
) -> int:
    """Check batch files against the schemas and the field rules, offline.

    Lists every problem of every file with its line, its column and what to do. Exits with 3 on
    errors, and with 8 when an OEM Direct batch names a tenant.

    \b
    Example:
      partner-tools validate retired.csv repairs.xlsx
    """
    serials, reading = take_reading(given)
    seen = batches_.validate(
        *open_batches(batches, serials),
        via=via,
        customer=customer,
        default_via=None if via else load_config(call.common).text("via"),
        found=lambda problem: _show(call.output, problem),
        reading=reading,
    )
    _conclude(call.output, seen.devices, list(seen.problems))
    return seen.exit_code


def _show(output: str, problem: Problem) -> None:
    if output == "text":
        say(sentence(problem))
    elif output == "jsonl":
        from partner_tools.result import problem_document

        print_line(problem_document(problem))


def _conclude(output: str, devices: int, problems: list[Problem]) -> None:
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    if output == "json":
        from partner_tools import validation_document

        print_json(validation_document(problems, devices))
    elif output == "text":
        numbers = {"device": devices, "error": errors, "warning": len(problems) - errors}
        click.echo(", ".join(counted(number, noun) for noun, number in numbers.items()))
