"""`sandbox`: the services as they behave, on loopback."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import assigned, pasteable, print_line, tell
from partner_tools.cli.options import file_path
from partner_tools.cli.wiring import load_config
from partner_tools.errors import InputError


@command("sandbox")
@click.option(
    "--port",
    type=click.IntRange(0, 65500),
    default=0,
    metavar="PORT",
    help="First port; 0 picks free ports.",
)
@click.option(
    "--seed",
    type=file_path(exists=True),
    help="Customers and devices (JSON). [default: a shipped sample]",
)
@click.option(
    "--faults",
    type=file_path(exists=True),
    help="Latency, hidden limits and faults (JSON). [default: none]",
)
def sandbox(call: Call, port: int, seed: Path | None, faults: Path | None) -> None:
    """Simulate the services on this machine, with seeded devices and faults.

    The first line on stdout is JSON with the URLs, the CA file and tokens. Stop it with Ctrl-C. OEM
    Direct uses the wire profile in PARTNER_TOOLS_OEM_PROFILE, if set.

    \b
    Example:
      partner-tools sandbox --faults slow.json
    """
    from partner_tools.workspace.sign_in import read_wire_profile

    config = load_config(call.common)
    spoken = [] if config.path("oem", "profile") is None else [read_wire_profile(config)]
    load_sandbox().serve(seed, faults, port, _announce, *spoken)


def _announce(told: Mapping[str, Any]) -> None:
    """Print the line for programs; on a terminal also explain its use."""
    print_line(told)
    if not sys.stdout.isatty():
        return
    tell("\nserving until Ctrl-C. In another shell, these point the commands here:")
    for name, text in told["environment"].items():
        tell(f"  {assigned(name, text)}")
    customers = [kind.partition(":")[2] for kind in told["tokens"] if ":" in kind]
    for customer in customers[:1]:
        tell(f"then: {pasteable('partner-tools', 'inventory', '--customer', customer)}")


def load_sandbox() -> Any:
    """The sandbox package. Raises InputError if its extra is not installed."""
    try:
        from partner_tools import sandbox
    except ImportError as error:
        raise InputError(
            f"the sandbox is not installed ({error.name} is missing)",
            rule="extra-missing",
            remedy="install the release file with it: pip install 'FILE.whl[sandbox]'",
        ) from error
    return sandbox
