"""`customers`: the customers that Partner Center shows this partner."""

from __future__ import annotations

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import print_document, print_filled_columns, tell
from partner_tools.cli.options import output_options
from partner_tools.cli.wiring import opened
from partner_tools.json_forms import json_form
from partner_tools.near_serials import near_customers


@command("customers")
@click.argument("text", required=False, metavar="[TEXT]")
@output_options
def customers(call: Call, text: str | None) -> int:
    """List your customers: domain, company name and tenant id.

    With TEXT only those whose domain, name or tenant id contains it, in any letter case.

    \b
    Example:
      partner-tools customers contoso
    """
    with opened(call) as workspace:
        shown = workspace.customers()
    wanted = (text or "").casefold()
    found = [
        each
        for each in shown
        if any(
            wanted in (name or "").casefold() for name in (each.domain, each.name, each.tenant_id)
        )
    ]
    if call.output != "text":
        documents = [json_form(each, whole=True) for each in found]
        print_document(call.output, {"schemaVersion": "1", "customers": documents}, "customers")
    elif found:
        rows = [(each.domain, each.name, each.tenant_id) for each in found]
        print_filled_columns(("domain", "name", "tenant id"), rows)
    elif not shown:
        tell("Partner Center shows you no customer")
    else:
        near = near_customers(wanted, shown)
        tell(f"none of {len(shown)} customers contains {text!r}")
        tell(f"did you mean {', '.join(near)}?" if near else f"next: {call.again('customers')}")
    return 0
