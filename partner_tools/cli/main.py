"""The program: its name, its common options, and its commands."""

from __future__ import annotations

from typing import Any

import click

from partner_tools.cli.commands import summaries
from partner_tools.cli.options import common, take_common
from partner_tools.cli.program import Call, Program


@click.group(
    cls=Program,
    commands=summaries(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="partner-tools")
@common
@click.pass_obj
def main(call: Call, /, **given: Any) -> None:
    """Take devices out of Windows Autopilot in bulk, and hand the rest to the customer.

    A partner's removal ends the Autopilot registration and nothing else: Intune, Entra ID and
    Active Directory stay the customer's, and the handoff report says what is left to do.

    Try it: partner-tools demo -o handoff
    """
    call.common = take_common(given)
