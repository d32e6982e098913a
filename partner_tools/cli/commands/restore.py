"""`restore`: writes, or carries out, the registration of what a run removed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, counted, tell
from partner_tools.cli.options import OutputFile, guard_options
from partner_tools.cli.signals import agree, require_terminal
from partner_tools.cli.wiring import opened
from partner_tools.errors import GuardError
from partner_tools.model import ChannelName

if TYPE_CHECKING:
    from partner_tools import Restorable, Workspace


@command("restore")
@click.argument("run", metavar="RUN", shell_complete=completers.runs)
@click.option(
    "-o",
    "file",
    type=OutputFile(),
    required=True,
    help="File to write, for upload to Partner Center.",
)
@click.option(
    "--apply", is_flag=True, help="Register the devices again now. Needs app+user sign-in."
)
@partial(guard_options, done="registered again")
def restore(
    call: Call, run: str, file: Path, apply: bool, yes: bool, max_devices: int | None
) -> int:
    """Write the file that registers a run's removed devices again.

    The file is for Partner Center's device upload. Hardware hashes come from the run's restore kit,
    a private file next to the ledger. Devices that cannot be restored are listed.

    \b
    Example:
      partner-tools restore 20260417-101530-4f2a9c -o restore.csv
    """
    with opened(call) as workspace:
        devices = workspace.restorable(run)
        left_out = workspace.restore_file(devices, file)
        tell(f"{len(devices) - len(left_out)} of {len(devices)} removed devices written to {file}")
        if not devices:
            tell("this run removed no device: there is nothing to restore")
        for each in left_out:
            tell(clean(f"  row {each.device.device.row} {_name(each)}: {_why(each)}"))
        if not apply:
            return 7 if left_out else 0
        if workspace.ledger.run(run).channel is not ChannelName.PARTNER_CENTER:
            raise click.UsageError("--apply registers through Partner Center only")
        return _apply(workspace, devices, yes=yes, max_devices=max_devices)


def _apply(
    workspace: Workspace,
    devices: tuple[Restorable, ...],
    *,
    yes: bool,
    max_devices: int | None,
) -> int:
    able = sum(each.why_not is None for each in devices)
    allowed = workspace.most_devices(max_devices)
    if able > allowed:
        raise GuardError(
            f"{counted(able, 'device')} would be registered, more than the limit of {allowed}",
            rule="limit",
            remedy=f"if that is right, run it again with --max-devices {able}",
        )
    if able and not yes:
        require_terminal(f"{counted(able, 'device')} would be registered", "pass --yes to confirm")
        agree(f"Register {counted(able, 'device')} again?", "nothing was registered again")
    back = workspace.register_again(devices)
    click.echo(f"{back} of {len(devices)} devices are registered again")
    return 0 if back == len(devices) else 7


def _name(each: Restorable) -> str:
    identity = each.identity
    return identity.serial_number or identity.product_key_id or "a device without a serial number"


def _why(each: Restorable) -> str:
    return each.why_not or "a value that the upload file cannot hold; --apply can register it"
