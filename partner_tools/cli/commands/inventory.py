"""`inventory`: every device of a customer that Partner Center shows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import counted, print_document, print_table, tell
from partner_tools.cli.options import Moment, OutputFile, customer_option, output_options
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import opened
from partner_tools.estate_filter import EstateFilter, narrowed
from partner_tools.json_forms import json_form, registration_document

if TYPE_CHECKING:
    from partner_tools.model import Estate


@command("inventory")
@customer_option("Customer: tenant id, domain or company name.")
@click.option("-o", "file", type=OutputFile(), help="Write a CSV file instead of printing.")
@click.option("--serial", multiple=True, help="Only this serial number; may be repeated.")
@click.option("--batch", help="Only devices of this Partner Center batch.")
@click.option("--model", help="Only models that contain this text.")
@click.option("--manufacturer", help="Only manufacturers that contain this text.")
@click.option(
    "--uploaded-since", type=Moment(), help="Only devices uploaded at or after this time (UTC)."
)
@click.option(
    "--uploaded-until", type=Moment(), help="Only devices uploaded before this time (UTC)."
)
@click.option(
    "--removable/--not-removable",
    default=None,
    help="Only devices that Partner Center lets you remove, or only the others.",
)
@output_options
def inventory(call: Call, customer: str | None, file: Path | None, **filters: Any) -> int:
    """List all devices of a customer that Partner Center shows.

    Partner Center does not show devices that the customer or another partner registered.

    \b
    Example:
      partner-tools inventory --customer contoso.onmicrosoft.com -o contoso.csv
      partner-tools inventory --customer contoso.onmicrosoft.com --model latitude
    """
    if file is not None and call.output != "text":
        raise click.UsageError(
            "-o writes CSV, --output says what is printed; leave one of them out"
        )
    with opened(call) as workspace:
        showing = ConsoleReporter(call=call, workspace=workspace)
        estate = workspace.inventory(customer, observer=showing)
        showing.still()
    whole = len(estate.registrations)
    if not whole:
        tell("Partner Center shows no device of this customer")
    batches = {each.target.batch_id for each in estate.registrations}
    estate = narrowed(estate, EstateFilter(**filters))
    left = len(estate.registrations)
    if left < whole:
        hint = "" if left else f"; {_other_filter(filters['batch'], batches)}"
        tell(f"{left} of {counted(whole, 'device')}{hint}")
    if file is not None:
        from partner_tools.workspace.exports import write_inventory

        write_inventory(estate, file)
        tell(f"{counted(left, 'device')} written to {file}")
    else:
        _print(call.output, estate)
    return 0


def _other_filter(batch: str | None, batches: Iterable[str]) -> str:
    """Suggest another filter when no device is left."""
    from difflib import get_close_matches

    near = get_close_matches(batch, batches, n=1) if batch and batch not in batches else []
    return f"did you mean the batch {near[0]!r}?" if near else "leave out a filter"


def _print(output: str, estate: Estate) -> None:
    rows = [registration_document(found) for found in estate.registrations]
    if output != "text":
        document = {
            "schemaVersion": "1",
            "customer": json_form(estate.customer, whole=True),
            "observedAt": estate.observed_at.isoformat(),
            "devices": rows,
        }
        print_document(output, document, "devices")
    elif rows:
        print_table(
            ("serial number", "manufacturer", "model", "batch", "uploaded"),
            [
                (
                    row.get("serialNumber") or row.get("productKeyId") or row["deviceId"],
                    row.get("manufacturer"),
                    row.get("model"),
                    row["batchId"],
                    str(row.get("uploadedAt") or "")[:10],
                )
                for row in rows
            ],
        )
