"""`verify`: asks the services again what is still there, and keeps what they say."""

from __future__ import annotations

from pathlib import Path

import click

from partner_tools.cli.conduct import Conduct, Wishes, new_conduct
from partner_tools.cli.interruption import heeding
from partner_tools.cli.options import result_options
from partner_tools.cli.output import tell
from partner_tools.cli.program import Call, command
from partner_tools.cli.wiring import load_config, open_ledger
from partner_tools.errors import AuthError
from partner_tools.model import Outcome
from partner_tools.result import still_listed


@command("verify")
@click.argument("run", metavar="RUN")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Look so long until nothing removed is listed any more.",
)
@click.option(
    "--graph",
    is_flag=True,
    help="Also look into the customer's tenant: Autopilot, Intune, Entra ID, stored keys.",
)
@result_options
def verify(call: Call, run: str, wait: float, graph: bool, junit: Path | None) -> int:
    """Look again whether what a run removed is gone; what is seen is kept as evidence.

    With --graph, --wait also waits for what the customer's services do by themselves. Exits with
    7 while anything that the run removed is still listed, with 5 where Graph was not available.

    \b
    Example:
      partner-tools verify 20260417-101530-4f2a9c --graph --wait 300
    """
    config = load_config(call.common)
    with heeding(stop := call.stop_sign()), open_ledger(call.common, config) as ledger:
        record, began = ledger.run(run), stop.clock()
        conduct = new_conduct(call, config, ledger, stop, Wishes(), junit, record.run)
        with conduct.place(record.channel) as place:
            if not place.channel.observable:
                tell(f"{record.channel} cannot be observed: nothing was looked for")
            else:
                from partner_tools.procedure.removal import verify_removal

                tell(f"looking for up to {wait:.0f} s whether what was removed is gone")
                verify_removal(place, record.run, wait_seconds=wait)
        unseen = _look_into_tenants(conduct, began + wait) if graph else 0
        conduct.showing.result()
        if unseen == AuthError.exit_code:
            return unseen
        histories = [each.history for each in ledger.devices(record.run)]
        doubt = not place.channel.observable and any(
            each.outcome is Outcome.UNKNOWN for each in histories
        )
        return 7 if doubt or any(still_listed(each) for each in histories) else unseen


def _look_into_tenants(conduct: Conduct, deadline: float) -> int:
    """Look for the run's devices through Graph; the exit code of that alone."""
    from partner_tools.cli.graph import Watch

    watch = Watch(config=conduct.config, ledger=conduct.ledger, stop=conduct.stop, run=conduct.run)
    return watch.verify(max(0.0, deadline - conduct.stop.clock()))
