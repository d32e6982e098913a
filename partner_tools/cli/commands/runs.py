"""`runs`: lists runs, or shows one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import (
    print_filled_columns,
    print_json,
    print_line,
    tallied,
    tell,
    without_password,
)
from partner_tools.cli.options import Moment, customer_option, output_options
from partner_tools.cli.wiring import ledger_url, load_config, open_ledger, opened
from partner_tools.model import ChannelName, RunState

if TYPE_CHECKING:
    from datetime import datetime

    from partner_tools.ledger import Ledger, RunRecord
    from partner_tools.model import Customer

WATCH_SECONDS = 2.0
STATES = [state.value for state in RunState]


@command("runs")
@click.argument("words", metavar="[RUN | cancel RUN]", nargs=-1, shell_complete=completers.runs)
@customer_option("Only runs of this customer: tenant id or domain.")
@click.option(
    "--state",
    type=click.Choice(STATES),
    metavar="STATE",
    help=f"Only runs in this state: {', '.join(STATES)}.",
)
@click.option(
    "--via",
    type=click.Choice([name.value for name in ChannelName]),
    help="Only runs through this service.",
)
@click.option("--since", type=Moment(), help="Only runs started at or after this time (UTC).")
@click.option("--until", type=Moment(), help="Only runs started before this time (UTC).")
@click.option("--depot", help="Only runs submitted by this depot.")
@click.option("--serial", help="Only runs that contain this serial number.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="List at most this many runs.",
)
@click.option("--watch", is_flag=True, help="Refresh every two seconds until Ctrl-C.")
@output_options
def runs(call: Call, words: tuple[str, ...], watch: bool, **filters: Any) -> int:
    """List runs, show one with its devices, or cancel one.

    Cancelling sends no further requests and settles those already sent. It works on queued runs and
    on runs of another process too.

    \b
    Example:
      partner-tools runs --state interrupted
      partner-tools runs 20260417-101530-4f2a9c
      partner-tools runs cancel 20260417-101530-4f2a9c
    """
    if len(words) == 2 and words[0] == "cancel":
        return _cancel(call, words[1])
    if len(words) > 1 or words == ("cancel",):
        raise click.UsageError("name one run, or `cancel` and one run")
    config = load_config(call.common)
    with open_ledger(call.common, config) as ledger:
        if words:
            return _show(call, ledger, words[0])
        wanted = _filters(ledger, **filters)
        records = ledger.runs(**wanted)
        _print(call.output, ledger, records, wanted["customer"])
        if watch:
            _watch(
                call,
                lambda: _print(call.output, ledger, ledger.runs(**wanted), wanted["customer"]),
            )
    if not records and call.output == "text":
        _tell_none(call, filtered=any(filters[name] for name in filters if name != "limit"))
    return 0


def _show(call: Call, ledger: Ledger, run: str) -> int:
    from partner_tools.cli.reporter import Showing
    from partner_tools.workspace.results import read_result

    Showing(call=call, ledger=ledger).show(read_result(ledger, run))
    return 0


def _tell_none(call: Call, *, filtered: bool) -> None:
    config = load_config(call.common)
    if filtered:
        tell("no run matches; leave out a filter")
    else:
        tell(f"no runs yet in {without_password(ledger_url(call.common, config))}")
        tell("next: partner-tools deregister --help")


def _cancel(call: Call, run: str) -> int:
    from partner_tools.cli.reporter import Showing

    with opened(call) as workspace:
        onlooker = Showing(call=call, ledger=workspace.ledger)
        result = workspace.cancel(run, onlooker=onlooker)
        onlooker.show(result)
    return 0


def _watch(call: Call, show: Callable[[], None]) -> None:
    """Show again and again, from the top of the screen on a terminal, until Ctrl-C."""
    stop = call.stop_sign()
    with suppress(KeyboardInterrupt):
        while not stop.wait(WATCH_SECONDS):
            if sys.stdout.isatty():
                click.clear()
            show()
    if sys.stdout.isatty():
        click.echo()  # the terminal wrote ^C


def _filters(
    ledger: Ledger,
    *,
    customer: str | None,
    state: str | None,
    via: str | None,
    since: datetime | None,
    until: datetime | None,
    **same: Any,
) -> dict[str, Any]:
    return {
        **same,
        "customer": None if customer is None else _tenant_of(ledger, customer),
        "state": None if state is None else RunState(state),
        "channel": None if via is None else ChannelName(via),
        "since": since,
        "until": until,
    }


def _tenant_of(ledger: Ledger, customer: str) -> str:
    from partner_tools.runs.known_customers import tenant_of

    return tenant_of(ledger, customer)


def _print(output: str, ledger: Ledger, records: list[RunRecord], tenant: str | None) -> None:
    if output == "json":
        print_json({"schemaVersion": "1", "runs": [run_document(each) for each in records]})
    elif output == "jsonl":
        for each in records:
            print_line(run_document(each))
    elif records:
        _print_table(ledger, records, tenant)


def _print_table(ledger: Ledger, records: list[RunRecord], tenant: str | None) -> None:
    """The runs with what tells them apart; of their customers the `tenant` asked for first."""
    from partner_tools.runs.known_customers import customers_by_run

    customers = customers_by_run(ledger, records)
    # Where all came the same way, a column that says so would cost the room that names have.
    several_ways = len({each.channel for each in records}) > 1
    print_filled_columns(
        ("run", "state", "via", "depot", "customer", "batch", "outcomes"),
        [
            (
                each.run,
                each.state.value,
                each.channel.value if several_ways else "",
                each.depot,
                _called(each, sorted(customers[each.run], key=lambda one: one.tenant_id != tenant)),
                _said(each.batch_id),
                tallied(run_document(each)["counts"]),
            )
            for each in records
        ],
    )


def _called(record: RunRecord, customers: Sequence[Customer]) -> str:
    """The first customer and how many more; as the user named it where the run found none."""
    if not customers:
        return record.customer or ""
    first, more = customers[0], len(customers) - 1
    return f"{first.domain or first.tenant_id}{f' +{more}' if more else ''}"


def run_document(record: RunRecord) -> dict[str, Any]:
    """A run as `runs --output json` lists it."""
    return {
        "run": record.run,
        "state": record.state.value,
        "channel": record.channel.value,
        "depot": record.depot,
        "customers": list(record.customers),
        "batchId": record.batch_id,
        "startedAt": record.created_at.isoformat(),
        "finishedAt": None if record.finished_at is None else record.finished_at.isoformat(),
        "counts": {outcome.value: number for outcome, number in record.counts.items()},
    }


def _said(batch_id: str) -> str:
    """The id that a person gave the batch; one made of its content tells nobody anything."""
    return "" if batch_id.startswith("sha256:") else batch_id
