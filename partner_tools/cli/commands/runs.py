"""`runs`: lists runs, or shows one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import (
    chosen_id,
    local_time,
    origin,
    origin_document,
    print_document,
    print_grouped,
    say,
    tallied,
    tell,
    without_password,
)
from partner_tools.cli.options import Moment, customer_option, output_options, via_option
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import opened
from partner_tools.model import ChannelName, RunState
from partner_tools.workspace.environment import ledger_url

if TYPE_CHECKING:
    from partner_tools import RunRecord, Workspace
    from partner_tools.events import Event
    from partner_tools.model import Customer

WATCH_SECONDS = 2.0
STATES = [state.value for state in RunState]


@command("runs")
@click.argument(
    "words",
    metavar="[[cancel|dismiss|done] RUN]",
    nargs=-1,
    shell_complete=completers.runs,
)
@click.option("--reason", help="With `dismiss`: why its outstanding steps are closed.")
@customer_option("Only runs of this customer: tenant id, domain or company name.")
@click.option(
    "--state",
    type=click.Choice(STATES),
    metavar="STATE",
    help=f"Only runs in this state: {', '.join(STATES)}.",
)
@via_option(ChannelName, "Only runs through this service.")
@click.option("--since", type=Moment(), help="Only runs started at or after this time (UTC).")
@click.option("--until", type=Moment(), help="Only runs started before this time (UTC).")
@click.option("--depot", help="Only runs submitted by this depot.")
@click.option(
    "--serial",
    "serials",
    multiple=True,
    help="Only runs that contain this serial number. With `done`: a removed device; may be "
    "repeated.",
)
@click.option(
    "--file",
    help="With `done`: list of the removed devices; - for standard input, such as a scanner.",
)
@click.option("--all", "everything", is_flag=True, help="With `done`: every device of the run.")
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
def runs(
    call: Call,
    words: tuple[str, ...],
    reason: str | None,
    serials: tuple[str, ...],
    file: str | None,
    everything: bool,
    watch: bool,
    **filters: Any,
) -> int:
    """List runs, show one with its devices, cancel one, or close its open steps.

    Cancelling sends no further requests and settles those already sent. It works on queued runs and
    on runs of another process too. `dismiss` closes the steps that `verify --outstanding` lists for
    a run, with a reason, on the record; a device that is registered again later is listed anyway.
    `done` records that you removed registrations of an assessment by hand, with your account and
    the time; a later check confirms or contradicts it.

    \b
    Example:
      partner-tools runs --state interrupted
      partner-tools runs 20260417-101530-4f2a9c
      partner-tools runs cancel 20260417-101530-4f2a9c
      partner-tools runs dismiss 20260417-101530-4f2a9c --reason recycled
      partner-tools runs done 20260417-101530-4f2a9c --file removed.txt
    """
    verb = words[0] if words and words[0] in ("cancel", "dismiss", "done") else None
    if len(words) != (2 if verb else min(len(words), 1)):
        raise click.UsageError("name one run, alone or after `cancel`, `dismiss` or `done`")
    if (verb == "dismiss") != (reason is not None):
        raise click.UsageError("`dismiss RUN` needs --reason, and --reason needs `dismiss RUN`")
    if verb == "done":
        return _done(call, words[1], serials, file, everything)
    if file is not None or everything or len(serials) > 1:
        raise click.UsageError("--file, --all and several --serial need `done RUN`")
    filters["serial"] = serials[0] if serials else None
    if verb == "cancel":
        return _cancel(call, words[1])
    with opened(call, handles_signals=False) as workspace:
        if reason is not None:
            run = workspace.dismiss(words[1], reason).run
            tell(f"the outstanding steps of run {run} are dismissed: it is no longer followed up")
            words = (run,)
        if words:
            result = workspace.result(words[0])
            if call.output == "text":
                _say_facts(workspace, result.run)
            ConsoleReporter(call=call, workspace=workspace).show(result)
            return 0
        wanted = _filters(workspace, **filters)
        records = _print(call.output, workspace, wanted)
        if watch:
            _watch(call, partial(_print, call.output, workspace, wanted))
    if not records and call.output == "text":
        if any(filters[name] for name in filters if name != "limit"):
            tell("no run matches; leave out a filter")
        else:
            url = ledger_url(call.common.ledger, workspace.config)
            tell(f"no runs yet in {without_password(url)}")
            tell("next: partner-tools deregister --help")
    return 0


def _cancel(call: Call, run: str) -> int:
    with opened(call) as workspace:
        reporter = ConsoleReporter(call=call, workspace=workspace)
        reporter.show(workspace.cancel(run, observer=reporter))
    return 0


def _done(
    call: Call, run: str, serials: tuple[str, ...], file: str | None, everything: bool
) -> int:
    """Record what was removed by hand; serial numbers on standard input where nothing names any."""
    if file is None and not serials and not everything and not sys.stdin.isatty():
        file = "-"
    if sum((file is not None, bool(serials), everything)) != 1:
        raise click.UsageError("name what was removed: --serial, --file or --all")
    names = None if everything else list(serials) or _listed(call, file)
    with opened(call) as workspace:
        result = workspace.mark_done(run, names)
        ConsoleReporter(call=call, workspace=workspace).show(result)
    if call.output == "text":
        tell(f"next: {call.again('verify', result.run, '--graph')}")
    return 0


def _listed(call: Call, file: str | None) -> list[str]:
    from partner_tools.cli.wiring import load_batch

    batch = load_batch(call.common, file, has_channel=False, serials=(), compare="all")
    found = (each.identity for each in batch.devices)
    return [each.serial_number or each.product_key_id or "" for each in found]


def _watch(call: Call, show: Callable[[], object]) -> None:
    """Show again and again, from the top of the screen on a terminal, until Ctrl-C."""
    stop = call.make_token()
    with suppress(KeyboardInterrupt):
        while not stop.wait(WATCH_SECONDS):
            if sys.stdout.isatty():
                click.clear()
            show()
    if sys.stdout.isatty():
        click.echo()  # the terminal wrote ^C


def _filters(
    workspace: Workspace,
    *,
    customer: str | None,
    state: str | None,
    via: str | None,
    **same: Any,
) -> dict[str, Any]:
    return {
        **same,
        "customer": None if customer is None else workspace.tenant_of(customer),
        "state": None if state is None else RunState(state),
        "channel": None if via is None else ChannelName(via),
    }


def _say_facts(workspace: Workspace, run: str) -> None:
    record = workspace.ledger.run(run)
    say(origin(record))
    for event in workspace.dismissals([record]).values():
        by = f" by {event.payload['by']}" if event.payload.get("by") else ""
        reason = event.payload.get("reason", "the reason was purged")
        say(f"outstanding steps dismissed {local_time(event.at)}{by}: {reason}")


def _print(output: str, workspace: Workspace, wanted: Mapping[str, Any]) -> list[RunRecord]:
    records = workspace.runs(**wanted)
    if output != "text":
        dismissed = workspace.dismissals(records)
        documents = [run_document(each, dismissed.get(each.run)) for each in records]
        print_document(output, {"schemaVersion": "1", "runs": documents}, "runs")
    elif records:
        _print_table(workspace, records, wanted["customer"])
    return records


def _print_table(workspace: Workspace, records: list[RunRecord], tenant: str | None) -> None:
    """The runs with what tells them apart; of their customers the `tenant` asked for first."""
    customers = workspace.customers_by_run(records)
    dismissed = workspace.dismissals(records)
    # Where all came the same way, a column that says so would cost the room that names have.
    several_ways = len({each.channel for each in records}) > 1
    rows = []
    for each in records:
        served = sorted(customers[each.run], key=lambda one: one.tenant_id != tenant)
        rows.append(
            {
                "run": each.run,
                "started": local_time(each.created_at),
                "state": "dismissed" if each.run in dismissed else each.state.value,
                "via": each.channel.value if several_ways else "",
                "depot": each.depot or "",
                "account": each.actor or "",
                "customer": _called(each, served),
                "file": Path(each.file).name,
                "reference": each.reference or "",
                "batch": chosen_id(each),
                "outcomes": tallied({name.value: count for name, count in each.counts.items()}),
            }
        )
    print_grouped(rows, NARROW)


NARROW = (
    ("run", "started"),
    ("state",),
    ("customer",),
    ("account", "file", "reference"),
    ("outcomes",),
)
"""The columns of a terminal that has no room for a column for everything."""


def _called(record: RunRecord, customers: Sequence[Customer]) -> str:
    """The first customer and how many more; as the user named it where the run found none."""
    if not customers:
        return record.customer or ""
    first, more = customers[0], len(customers) - 1
    return f"{first.domain or first.tenant_id}{f' +{more}' if more else ''}"


def run_document(record: RunRecord, dismissed: Event | None = None) -> dict[str, Any]:
    return {
        "run": record.run,
        "state": record.state.value,
        "channel": record.channel.value,
        "depot": record.depot,
        "customers": list(record.customers),
        "batchId": record.batch_id,
        **origin_document(record),
        "finishedAt": None if record.finished_at is None else record.finished_at.isoformat(),
        "counts": {outcome.value: number for outcome, number in record.counts.items()},
        "dismissed": None
        if dismissed is None
        else {
            "at": dismissed.at.isoformat(),
            "by": dismissed.payload.get("by"),
            "reason": dismissed.payload.get("reason"),
        },
    }
