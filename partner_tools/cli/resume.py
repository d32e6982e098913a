"""`resume`: finishes an interrupted run, and never repeats what is settled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli.conduct import Conduct, Wishes, new_conduct
from partner_tools.cli.interruption import heeding
from partner_tools.cli.options import guard_options, result_options
from partner_tools.cli.output import tell
from partner_tools.cli.program import Call, command
from partner_tools.cli.wiring import load_config, open_ledger
from partner_tools.model import RunState
from partner_tools.result import unfinished

if TYPE_CHECKING:
    from partner_tools.ledger import RunRecord
    from partner_tools.procedure.workplace import Workplace


@command("resume")
@click.argument("run", metavar="RUN")
@guard_options
@result_options
def resume(call: Call, run: str, yes: bool, max_devices: int | None, junit: Path | None) -> int:
    """Finish an interrupted run.

    Devices in doubt are looked for first; what is settled is never repeated. A run that ended
    while it was planned is planned again. A finished run prints its result.

    \b
    Example:
      partner-tools resume 20260417-101530-4f2a9c
    """
    config = load_config(call.common)
    with heeding(stop := call.stop_sign()), open_ledger(call.common, config) as ledger:
        record = ledger.run(run)
        stored = Wishes.restored(dict(record.settings))
        limit = stored.max_devices if max_devices is None else max_devices
        wishes = replace(stored, yes=yes or stored.yes, max_devices=limit)
        conduct = new_conduct(call, config, ledger, stop, wishes, junit, record.run)
        if _over(conduct, record):
            return conduct.finish()
        with ledger.hold(record.run), conduct.place(record.channel) as place:
            conduct.announce()
            _go_on(conduct, place, ledger.run(record.run))
        return conduct.finish()


def _over(conduct: Conduct, record: RunRecord) -> bool:
    """Whether there is nothing to go on with."""
    if record.state is RunState.PLANNED and conduct.wishes.dry_run:
        tell("a dry run has nothing to resume; `deregister --plan` executes its plan")
        return True
    if record.state is RunState.CANCELLED:
        return True
    histories = (each.history for each in conduct.ledger.devices(record.run))
    return record.state is RunState.FINISHED and not unfinished(histories)


def _go_on(conduct: Conduct, place: Workplace, record: RunRecord) -> None:
    from partner_tools.procedure.planning import stored_plan

    plan = stored_plan(place, record)
    if plan is None:
        plan, _ = conduct.plan(place)
    else:
        conduct.showing.planned()
    conduct.execute(place, plan)
