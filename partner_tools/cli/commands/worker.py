"""`worker`: carries out what was submitted to the fleet."""

from __future__ import annotations

import click

from partner_tools import Workspace
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import tell
from partner_tools.cli.wiring import opened
from partner_tools.model import ChannelName
from partner_tools.workspace.environment import open_ledger

CHANNELS = (ChannelName.PARTNER_CENTER.value, ChannelName.OEM_DIRECT.value)


@command("worker")
@click.option(
    "--channels",
    default=",".join(CHANNELS),
    show_default=True,
    metavar="NAME[,NAME]",
    help="Channels to work for.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 32),
    metavar="N",
    default=4,
    show_default=True,
    help="Number of runs to work on at the same time.",
)
@click.option(
    "--takeover",
    type=click.FloatRange(min=3),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Take over the work of a worker that died within SECONDS.",
)
@click.option(
    "--portion",
    type=click.IntRange(min=1),
    metavar="N",
    default=50,
    show_default=True,
    help="Process at least N devices of a run before another run gets its turn.",
)
@click.option(
    "--reverify",
    metavar="CRON",
    help="Schedule for checking outstanding steps again: five cron fields, in UTC.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /health and /metrics on this port.",
)
@click.option(
    "--health-host", default="127.0.0.1", show_default=True, help="Address for --health-port."
)
@click.option(
    "--check",
    is_flag=True,
    help="Check queue, configuration, sign-in and access of each channel, then exit.",
)
def worker(
    call: Call,
    check: bool,
    channels: str,
    concurrency: int,
    takeover: float,
    portion: int,
    reverify: str | None,
    health_port: int | None,
    health_host: str,
) -> int:
    """Execute queued runs until stopped.

    Any number of workers share one ledger on PostgreSQL, one queue and one rate. On Ctrl-C or
    SIGTERM a worker waits for answers in flight and returns its work to the queue.

    \b
    Example:
      partner-tools worker --channels oem-direct --health-port 9100
    """
    with opened(call) as workspace:
        from partner_tools.fleet.queue import Beat, is_cron
        from partner_tools.fleet.worker import SliceSize, WorkerOptions, work_until_stopped

        if reverify is not None and not is_cron(reverify):
            raise click.UsageError("--reverify takes five cron fields, such as '15 4 * * *'")
        if check:
            return _check(call, workspace, _channels(channels))
        work_until_stopped(
            workspace,
            WorkerOptions(
                channels=_channels(channels),
                concurrency=concurrency,
                beat=Beat.within(takeover),
                reverify_cron=reverify,
                size=SliceSize(least=portion),
            ),
            open_ledger=lambda: open_ledger(call.common.ledger, workspace.config),
            health_at=None if health_port is None else (health_host, health_port),
            notify=tell,
        )
    return 0


def _check(call: Call, workspace: Workspace, channels: tuple[ChannelName, ...]) -> int:
    """Check for a deployment whether it can replace a worker. Changes nothing."""
    from partner_tools.fleet.queue import open_queue
    from partner_tools.fleet.submission import fleet_address
    from partner_tools.workspace.diagnostics import examine

    with open_queue(fleet_address(workspace.ledger)) as queue:
        tell(f"queue: {queue.backlog()[0]} jobs waiting")
    failed = []
    for channel in channels:
        for finding in examine(
            config=call.common.config,
            profile=call.common.profile,
            ledger=call.common.ledger,
            via=channel.value,
            customer=None,
            token=workspace.cancellation,
        ):
            if not finding.good:
                failed.append(finding)
                tell(f"{channel.value}: {finding.message}")
    tell("cannot work" if failed else f"can work for {', '.join(channels)}")
    return failed[0].exit_code if failed else 0


def _channels(named: str) -> tuple[ChannelName, ...]:
    names = [name.strip() for name in named.split(",") if name.strip()]
    strange = [name for name in names if name not in CHANNELS]
    if strange or not names:
        raise click.UsageError(f"--channels takes {' and '.join(CHANNELS)}, with a comma between")
    return tuple(map(ChannelName, names))
