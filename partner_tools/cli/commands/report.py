"""`report`: one handoff per customer of a run, in every format."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import tell
from partner_tools.cli.options import Moment, customer_option, folder_path, format_option
from partner_tools.cli.wiring import opened
from partner_tools.model import PARTNER_CHANNELS, RunState
from partner_tools.outstanding.types import FACTS, Flag

FACTS_HELP = f"FACT is one of: {', '.join(FACTS)}."


_LOOKED_ONLY = (RunState.PLANNED, RunState.DRY_RUN, RunState.REFUSED)


class Observation(click.ParamType[tuple[str, Flag]]):
    """`SERIAL=FACT`."""

    name = "observation"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Flag]:
        if isinstance(value, tuple):
            return value
        serial, _, fact = str(value).rpartition("=")
        flag = FACTS.get(fact.strip().casefold())
        if not serial.strip() or flag is None:
            self.fail(f"{value!r} is not SERIAL=FACT. {FACTS_HELP}", param, ctx)
        return serial.strip(), flag


@command("report")
@click.argument("run", metavar="[RUN]", required=False, shell_complete=completers.runs)
@click.option("-o", "folder", type=folder_path(), required=True, help="Folder to write to.")
@format_option
@click.option(
    "--observed",
    multiple=True,
    type=Observation(),
    metavar="SERIAL=FACT",
    help="Record what a person saw on a device; repeat for several. A wrong FACT lists them all.",
)
@click.option("--partner-name", help="Your company, as customers see it. [default: the profile's]")
@click.option("--partner-contact", help="Contact for customers. [default: the profile's]")
@click.option(
    "--summary", is_flag=True, help="Write a summary of many runs, with charts, for your own use."
)
@click.option(
    "--since", type=Moment(), help="With --summary: only runs started at or after this time (UTC)."
)
@click.option(
    "--until", type=Moment(), help="With --summary: only runs started before this time (UTC)."
)
@customer_option("With --summary: only this customer, by tenant id, domain or company name.")
def report(
    call: Call,
    run: str | None,
    folder: Path,
    formats: tuple[str, ...],
    partner_name: str | None,
    partner_contact: str | None,
    observed: tuple[tuple[str, Flag], ...],
    summary: bool,
    since: datetime | None,
    until: datetime | None,
    customer: str | None,
) -> int:
    """Write a handoff for each customer: what was done and what is left to do.

    Steps in the customer's tenant are shown as not verified unless evidence was collected there.

    \b
    Example:
      partner-tools report 20260417-101530-4f2a9c -o handoff \\
          --format html --format xlsx
      partner-tools report 20260417-101530-4f2a9c -o handoff \\
          --observed 5CD333527Z=0x80180014
      partner-tools report --summary -o summary --since 2026-01-01
    """
    if summary == (run is not None):
        both = " (not both)" * summary
        raise click.UsageError(f"name a run, or pass --summary for many{both}")
    if run is None and observed:
        raise click.UsageError("--observed needs a run")
    if run is None:
        with opened(call) as workspace:
            click.echo(workspace.summary(folder, since=since, until=until, customer=customer))
        return 0
    if since or until or customer:
        raise click.UsageError("--since, --until and --customer need --summary")
    given = {"name": partner_name, "contact": partner_contact}
    with opened(call) as workspace:
        record = workspace.ledger.run(run)
        if record.channel in PARTNER_CHANNELS or record.settings.get("byHand"):
            given = _ask_for_sender(given, workspace.config.get("partner") or {})
        if observed:
            workspace.state_facts(run, observed)
        partner = {name: value for name, value in given.items() if value}
        paths = workspace.report(run, folder, formats, partner=partner)
    if record.state in _LOOKED_ONLY:
        tell(f"note: run {record.run} removed nothing ({record.state}); its handoff says so")
    tell(f"handoff files written to {folder}: {len(paths)}")
    for path in paths:
        click.echo(path)
    return 0


def _ask_for_sender(
    given: dict[str, str | None], known: Mapping[str, Any]
) -> dict[str, str | None]:
    if not sys.stdin.isatty():
        return given
    questions = {"name": "Your company, as the customer sees it", "contact": "Whom to ask"}
    return {
        name: given[name] or known.get(name) or click.prompt(question, err=True)
        for name, question in questions.items()
    }
