"""`validate`: every problem of every file, offline."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.options import (
    customer_option,
    output_options,
    reading_options,
    take_reading,
    via_option,
)
from partner_tools.cli.wiring import load_config, open_batches, show_check, show_problem
from partner_tools.model import PARTNER_CHANNELS
from partner_tools.workspace import batches as batches_


@command("validate", logs=False)
@click.argument("batches", nargs=-1, metavar="[BATCH]...", shell_complete=completers.files)
@via_option(PARTNER_CHANNELS, "Also check what this service requires.")
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
        found=partial(show_problem, call.output),
        reading=reading,
    )
    show_check(call.output, seen.devices, seen.problems)
    return seen.exit_code
