"""`doctor`: checks access step by step, and says what to fix next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from partner_tools.cli.interruption import heeding
from partner_tools.cli.options import output_options
from partner_tools.cli.output import clean, fitted, print_json, say, styled
from partner_tools.cli.program import Call, command
from partner_tools.cli.wiring import load_config, open_ledger
from partner_tools.errors import PartnerToolsError
from partner_tools.model import PARTNER_CHANNELS, ChannelName
from partner_tools.workspace.wiring import partner_center

if TYPE_CHECKING:
    from partner_tools.clients.auth import TokenFacts
    from partner_tools.config import Config
    from partner_tools.ledger import Ledger

WHO_MAY = (
    "Partner Center's API is for direct-bill partners and indirect providers. An indirect "
    "reseller may not use it: upload and remove devices in Partner Center's pages, or ask your "
    "indirect provider to run this tool."
)
WHICH_OEM = (
    "The OEM Direct API is for OEMs that Microsoft calls eligible, in practice those of the "
    "highest volume; the others remove devices through Partner Center."
)
"""https://learn.microsoft.com/autopilot/registration-auth (read 2026-11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One step of the examination: what was checked, how it went, what to do where it failed."""

    name: str
    good: bool
    message: str
    remedy: str = ""
    exit_code: int = 0
    warning: bool = False


@command("doctor")
@click.option(
    "--via",
    type=click.Choice([name.value for name in PARTNER_CHANNELS]),
    help="Channel to check. [default: the profile's, else partner-center]",
)
@click.option("--customer", help="Also check access to this customer.")
@output_options
def doctor(call: Call, via: str | None, customer: str | None) -> int:
    """Check configuration, ledger, sign-in and access, and say the one next step.

    \b
    Example:
      partner-tools doctor --customer contoso.onmicrosoft.com
    """
    findings: list[Finding] = []
    for finding in _examine(call, via, customer):
        findings.append(finding)
        if call.output == "text":
            _print(finding)
    failed = [finding for finding in findings if not finding.good]
    who_may = WHICH_OEM if via == ChannelName.OEM_DIRECT else WHO_MAY
    if call.output != "text":
        print_json(
            {
                "schemaVersion": "1",
                "good": not failed,
                "note": who_may,
                "checks": [
                    {
                        "name": each.name,
                        "good": each.good,
                        "warning": each.warning,
                        "message": each.message,
                        "remedy": each.remedy,
                    }
                    for each in findings
                ],
            }
        )
    elif not failed:
        click.echo(styled("Everything is in order.", "green"))
        say(who_may, indent=0)
        click.echo(f"next: {_next(call, via, customer)}")
    return failed[0].exit_code if failed else 0


def _next(call: Call, via: str | None, customer: str | None) -> str:
    """The command that a person who just got access tries first."""
    if via == ChannelName.OEM_DIRECT:
        return call.again("deregister", "repairs.csv", "--via", "oem-direct", "--dry-run")
    if customer is None:
        return call.again("doctor", "--customer", "contoso.onmicrosoft.com")
    words = ("--via", "partner-center", "--customer", customer, "--dry-run")
    return call.again("deregister", "retired.csv", *words)


def _print(finding: Finding) -> None:
    mark = styled("ok  ", "green") if finding.good else styled("FAIL", "red")
    mark = styled("warn", "yellow") if finding.warning else mark
    lines = fitted(clean(f"      {finding.name}: {finding.message}"), sys.stdout)
    click.echo(f"{mark}  {lines.lstrip()}")
    if finding.remedy:
        say(f"      next: {finding.remedy}")


def _examine(call: Call, via: str | None, customer: str | None) -> Iterator[Finding]:
    """The checks in their order, ending at the first that fails."""
    try:
        config = load_config(call.common)
        yield _ok("configuration", f"profile {config.profile}, {config.file or 'no file'}")
        with open_ledger(call.common, config) as ledger:
            yield _ok("ledger", "has runs" if ledger.runs(limit=1) else "is empty")
            named = via or config.text("via") or ChannelName.PARTNER_CENTER.value
            if ChannelName(named) is ChannelName.PARTNER_CENTER:
                yield from _examine_partner_center(call, config, ledger, customer)
            else:
                yield from _examine_oem_direct(config)
    except PartnerToolsError as error:
        yield Finding(
            name=error.rule,
            good=False,
            message=str(error),
            remedy=error.remedy,
            exit_code=error.exit_code,
        )


def _examine_partner_center(
    call: Call, config: Config, ledger: Ledger, customer: str | None
) -> Iterator[Finding]:
    from partner_tools.channels.partner_center import PartnerCenterChannel
    from partner_tools.clients.auth import describe_token
    from partner_tools.workspace.permissions import GRAPH_READ, PARTNER_CENTER
    from partner_tools.workspace.sign_in import GRAPH_HANDED_IN, channel_tokens
    from partner_tools.workspace.surroundings import now

    facts = describe_token(channel_tokens(config).token())
    who = facts.who or ("the app itself" if facts.app_only else "somebody")
    yield _ok("sign-in", f"a token for {who}, tenant {facts.tenant or 'unknown'}")
    yield from _too_much(facts, PARTNER_CENTER, "the token for Partner Center")
    if graph := config.secrets.get(GRAPH_HANDED_IN):
        yield from _too_much(describe_token(graph), GRAPH_READ, f"the token in {GRAPH_HANDED_IN}")
    with (
        heeding(stop := call.stop_sign()),
        partner_center(config, ledger, stop) as (client, line, _),
    ):
        page = line.ask(client.customers)
        yield _ok("Partner Center", f"answers, and shows {len(page.items)} customers or more")
        named = customer or config.text("customer")
        if named is not None:
            channel = PartnerCenterChannel(client=client, line=line, now=now)
            found = channel.customer(named)
            batches = line.ask(lambda: client.batches(found.tenant_id))
            yield _ok(
                "customer", f"{found.domain or found.tenant_id}, {len(batches.items)} batches"
            )


def _too_much(facts: TokenFacts, needed: frozenset[str], what: str) -> Iterator[Finding]:
    """Warn of what a token allows and nothing here needs; it fails nothing."""
    from partner_tools.workspace.permissions import surplus

    beyond = surplus(facts.permissions, needed)
    if beyond:
        yield Finding(
            name="least privilege",
            good=True,
            warning=True,
            message=f"{what} allows more than is needed: {', '.join(beyond)}",
            remedy="take these permissions from the app registration; `cleanup --apply` alone "
            "needs any that write, in the customer's tenant",
        )


def _examine_oem_direct(config: Config) -> Iterator[Finding]:
    """The wire profile, its certificate and token, and what is still assumed of the wire."""
    from partner_tools.channels.oem_direct import explain_assumptions
    from partner_tools.workspace.oem import open_oem, profile_path, read_wire_profile

    profile = read_wire_profile(config)
    yield _ok("wire profile", str(profile_path(config)))
    with open_oem(config, profile) as (_, transport):
        yield _ok("OEM Direct", f"{transport.base_url}; nothing was sent")
    for assumption in explain_assumptions(profile):
        yield _ok("assumed", assumption)


def _ok(name: str, message: str) -> Finding:
    return Finding(name=name, good=True, message=message)
