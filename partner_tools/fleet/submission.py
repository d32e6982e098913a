"""Hands a batch to the fleet: a run and its first job, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from partner_tools.errors import GuardError, InputError
from partner_tools.fleet.queue import Job, bring_up_to_date, enqueue, grant
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.model import Batch, ChannelName, RunState
from partner_tools.runs.context import RunOptions
from partner_tools.runs.run import run_start, with_hashes_read
from partner_tools.signing import refuse_without_plan
from partner_tools.workspace.approvals import approval_rule
from partner_tools.workspace.batches import ByName
from partner_tools.workspace.environment import new_run, now, this_account
from partner_tools.workspace.workspace import Workspace, refuse_other_batch

DEFAULT_DEPOT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handing:
    """How a batch is handed in: by which depot, how urgently, and from when on."""

    depot: str = DEFAULT_DEPOT
    priority: int = 0
    not_before: datetime | None = None
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The run of a batch that was handed in; `new` where it was not handed in before."""

    run: RunRecord
    new: bool

    @property
    def document(self) -> dict[str, object]:
        """What `submit --output json` prints."""
        run = self.run
        state = run.state if run.state is not RunState.PLANNING else RunState.QUEUED
        return {
            "schemaVersion": "1",
            "run": run.run,
            "state": state.value,
            "new": self.new,
            "channel": run.channel.value,
            "batchId": run.batch_id,
            "depot": run.depot,
            "devices": run.devices,
        }


def fleet_address(ledger: Ledger) -> str:
    """Where the queue is. Raises InputError for a ledger that several machines cannot share."""
    if ledger.conninfo is None:
        raise InputError(
            "the fleet needs a ledger on PostgreSQL, and this one is a SQLite file",
            rule="fleet-ledger",
            remedy="set PARTNER_TOOLS_LEDGER to postgresql+psycopg://USER@HOST/DATABASE",
        )
    return ledger.conninfo


def submit(
    workspace: Workspace,
    batch: Batch | ByName,
    *,
    via: str | None = None,
    customer: str | None = None,
    options: RunOptions | None = None,
    handing: Handing | None = None,
    confirm: Callable[[Batch, ChannelName], bool] = lambda _batch, _channel: False,
) -> Submitted:
    """Queue a batch for the workers on the shared ledger; durable on return.

    Workers carry out the plan unseen: the options say `yes`, or `confirm` agrees. The same batch
    again gives the run that it has. Raises GuardError without confirmation, for a batch beyond the
    limit, and where the profile demands that a second person approves, which only a plan file can
    have; InputError where the batch's id was used for another content, or the ledger is not on
    PostgreSQL.
    """
    ledger, options = workspace.ledger, options or RunOptions()
    address = fleet_address(ledger)
    read, channel = workspace.addressed(batch, via, customer)
    size, allowed = len(read.devices), workspace.most_devices(options.max_devices)
    if size > allowed:
        raise GuardError(
            f"{size} devices may be removed, more than the limit of {allowed}",
            rule="limit",
            remedy=f"if that is right, submit it again with --max-devices {size}",
        )
    if not options.yes and not confirm(read, channel):
        raise GuardError(
            "not confirmed: nothing was submitted",
            rule="not-confirmed",
            remedy="submit it again when you are sure",
        )
    refuse_without_plan(approval_rule(workspace.config))
    bring_up_to_date(address)
    own = handing or Handing(depot=workspace.config.text("fleet", "depot") or DEFAULT_DEPOT)
    read = with_hashes_read(read, channel)
    start = run_start(
        new_run(),
        read,
        channel=channel,
        settings={**replace(options, yes=True).stored(), "priority": own.priority},
        account=this_account(),
        now=now(),
        depot=own.depot,
    )
    job = Job(run=start.run, channel=channel, priority=own.priority, not_before=own.not_before)
    earlier = ledger.submit_run(
        start, read.devices, lambda connection: enqueue(connection, job), again=own.again
    )
    if earlier is not None:
        refuse_other_batch(ledger, read, earlier)
    return Submitted(run=earlier or ledger.run(start.run), new=earlier is None)


def set_up(ledger: Ledger, bindings: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Set up the queue's tables and the roles; which login sees which depot afterwards.

    A login bound to no depot sees all of them again. Raises InputError for a ledger that is not
    on PostgreSQL.
    """
    conninfo = fleet_address(ledger)
    bound = ledger.set_up_roles(bindings)
    bring_up_to_date(conninfo)
    grant(conninfo)
    return list(bound)
