"""`inventory`: every device of a customer that Partner Center shows."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partner_tools import near_serials
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import (
    counted,
    local_time,
    origin_document,
    print_document,
    print_grouped,
    tell,
)
from partner_tools.cli.options import Moment, OutputFile, customer_option, output_options
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import opened
from partner_tools.estate_filter import EstateFilter, moment_of, narrowed
from partner_tools.json_forms import json_form, registration_document

if TYPE_CHECKING:
    from partner_tools import DeviceTrace
    from partner_tools.model import Estate, Registration


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

    Partner Center does not show devices that the customer or another partner registered. Each
    device is shown with the newest run of your ledger that names it. A --serial that is not
    registered is named, with what the ledger knows of it.

    \b
    Example:
      partner-tools inventory --customer contoso.onmicrosoft.com -o contoso.csv
      partner-tools inventory --customer contoso.onmicrosoft.com --model latitude
    """
    is_text = call.output == "text"
    if file is not None and not is_text:
        raise click.UsageError(
            "-o writes CSV, --output sets the printed format; leave one of them out"
        )
    with opened(call) as workspace:
        showing = ConsoleReporter(call=call, workspace=workspace)
        whole = workspace.inventory(customer, observer=showing)
        showing.still()
        estate = narrowed(whole, EstateFilter(**filters))
        names = list(map(_name, estate.registrations))
        last = workspace.last_runs(whole.customer.tenant_id, names)
        listed = {_name(each) for each in whole.registrations}
        missing = {
            serial: workspace.where_is_it(workspace.trace(serial), *[local_time] * is_text)
            for serial in filters["serial"]
            if serial not in listed
        }
    _say_how_many(whole, estate, filters["batch"])
    for serial, answer in missing.items():
        near = near_serials.near(serial, near_serials.index(listed))
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        known = answer or f"no run of this ledger names it{hint}"
        tell(f"{serial}: not registered for this customer; {known}")
    runs = [last.get(name) for name in names]
    if file is not None:
        from partner_tools.workspace.exports import write_inventory

        write_inventory(estate, file)
        tell(f"{counted(len(names), 'device')} written to {file}")
    elif is_text:
        print_grouped(list(map(_row, estate.registrations, runs)), NARROW)
    else:
        document = {
            "schemaVersion": "1",
            "customer": json_form(estate.customer, whole=True),
            "observedAt": estate.observed_at.isoformat(),
            "devices": list(map(_document, estate.registrations, runs)),
            "notRegistered": [
                {"serialNumber": serial, "answer": answer} for serial, answer in missing.items()
            ],
        }
        print_document(call.output, document, "devices")
    return 0


NARROW = (
    ("serial number",),
    ("manufacturer", "model"),
    ("batch", "uploaded"),
    ("last run", "account", "file", "reference", "outcome"),
)
"""The columns of a terminal that has no room for a column for everything."""


def _say_how_many(whole: Estate, estate: Estate, batch: str | None) -> None:
    """Say how many devices of whom are listed, and when; another filter when none is left."""
    number, left = len(whole.registrations), len(estate.registrations)
    who = whole.customer.domain or whole.customer.tenant_id
    if not number:
        tell(f"Partner Center shows no device of {who}")
        return
    hint = ""
    if not left:
        batches = {each.target.batch_id for each in whole.registrations}
        near = get_close_matches(batch or "", batches - {batch}, n=1)
        hint = f"; did you mean the batch {near[0]!r}?" if near else "; leave out a filter"
    shown = (
        counted(number, "device") if left == number else f"{left} of {counted(number, 'device')}"
    )
    tell(f"{shown} of {who}, listed {local_time(whole.observed_at)}{hint}")


def _name(each: Registration) -> str:
    """The name of a device: its serial number, otherwise its identifier in Partner Center."""
    return (each.serial_number or "").strip() or each.product_key_id or each.target.device_id


def _row(each: Registration, last: DeviceTrace | None) -> dict[str, str]:
    at = moment_of(each.uploaded_at)
    row = {
        "serial number": _name(each),
        "manufacturer": each.manufacturer or "",
        "model": each.model or "",
        "batch": each.target.batch_id,
        "uploaded": local_time(at) if at else each.uploaded_at or "",
    }
    last_run = dict.fromkeys(NARROW[-1], "")
    if last is not None:
        source = origin_document(last.run, last.device.device)
        last_run = {
            "last run": local_time(last.run.created_at),
            "account": source["account"] or "",
            "file": Path(source["file"]).name,
            "reference": source["reference"] or "",
            "outcome": f"{last.run.state}, {last.device.history.outcome}",
        }
    return {**row, **last_run}


def _document(each: Registration, last: DeviceTrace | None) -> dict[str, Any]:
    last_run = last and {
        "run": last.run.run,
        "state": last.run.state.value,
        "outcome": last.device.history.outcome.value,
        **origin_document(last.run, last.device.device),
    }
    return {**registration_document(each), "lastRun": last_run}
