"""`doctor`: checks access step by step, and says what to fix next."""

from __future__ import annotations

import sys

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, fitted, print_json, print_line, say, styled
from partner_tools.cli.options import customer_option, output_options, via_option
from partner_tools.cli.signals import handle_signals
from partner_tools.model import PARTNER_CHANNELS, ChannelName
from partner_tools.workspace.diagnostics import Finding, examine

WHO_MAY = (
    "Partner Center's API is for direct-bill partners and indirect providers. An indirect "
    "reseller may not use it: remove devices on Partner Center's pages with `partner-tools assess "
    "--by-hand`, or ask your indirect provider to run this tool."
)
WHICH_OEM = (
    "The OEM Direct API is for OEMs that Microsoft calls eligible, in practice those of the "
    "highest volume; the others remove devices through Partner Center."
)
"""https://learn.microsoft.com/autopilot/registration-auth (read 2026-11)."""
NO_PARTNER = "`assess` and `cleanup` need no partner: only this sign-in to the customer's tenant."


@command("doctor")
@via_option(
    (*PARTNER_CHANNELS, ChannelName.ASSESSMENT),
    "Service to check; `assessment` is the customer's tenant alone. [default: the profile's, "
    "else what there is a sign-in for]",
)
@customer_option("Also check access to this customer.")
@output_options
def doctor(call: Call, via: str | None, customer: str | None) -> int:
    """Check configuration, ledger, sign-in and access, and name the next step.

    \b
    Example:
      partner-tools doctor --customer contoso.onmicrosoft.com
    """
    findings: list[Finding] = []
    with handle_signals(stop := call.make_token()):
        for finding in examine(
            config=call.common.config,
            profile=call.common.profile,
            ledger=call.common.ledger,
            via=via,
            customer=customer,
            token=stop,
        ):
            findings.append(finding)
            if call.output == "text":
                _print(finding)
            elif call.output == "jsonl":
                print_line(_document(finding))
    failed = [finding for finding in findings if not finding.good]
    via = via or next((each.channel for each in findings if each.channel), None)
    notes = {ChannelName.OEM_DIRECT: WHICH_OEM, ChannelName.ASSESSMENT: NO_PARTNER}
    who_may = notes.get(ChannelName(via or ChannelName.PARTNER_CENTER), WHO_MAY)
    if call.output == "json":
        checks = [_document(each) for each in findings]
        print_json({"schemaVersion": "1", "good": not failed, "note": who_may, "checks": checks})
    elif call.output == "text" and not failed:
        click.echo(styled("Everything is in order.", "green"))
        say(who_may, indent=0)
        click.echo(f"next: {_next(call, via, customer)}")
    return failed[0].exit_code if failed else 0


def _next(call: Call, via: str | None, customer: str | None) -> str:
    """The command that a person who just got access tries first."""
    if via == ChannelName.OEM_DIRECT:
        return call.again("deregister", "repairs.csv", "--via", "oem-direct", "--dry-run")
    if via == ChannelName.ASSESSMENT:
        return call.again("assess", "retired.csv", "--customer", customer or "CUSTOMER")
    if customer is None:
        return call.again("doctor", "--customer", "contoso.onmicrosoft.com")
    words = ("--via", "partner-center", "--customer", customer, "--dry-run")
    return call.again("deregister", "retired.csv", *words)


def _document(finding: Finding) -> dict[str, str | bool]:
    return {
        "name": finding.name,
        "good": finding.good,
        "warning": finding.warning,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _print(finding: Finding) -> None:
    mark = styled("ok  ", "green") if finding.good else styled("FAIL", "red")
    mark = styled("warn", "yellow") if finding.warning else mark
    lines = fitted(clean(f"      {finding.name}: {finding.message}"), sys.stdout)
    click.echo(f"{mark}  {lines.lstrip()}")
    if finding.remedy:
        say(f"      next: {finding.remedy}")
