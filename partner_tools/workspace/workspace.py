"""The workspace: configuration and ledger, opened, with every step of the work as a method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from partner_tools.config import Config
from partner_tools.errors import InputError, MissingValueError
from partner_tools.model import Batch, ChannelName, Customer, Estate, RunId, RunState
from partner_tools.result import undelivered, unfinished
from partner_tools.signing import check_approval, refuse_without_plan
from partner_tools.workspace.approvals import approval_rule, approvals_of
from partner_tools.workspace.batches import (
    ByName,
    batch_of,
    load_plan,
    read_batch,
    write_plan,
)
from partner_tools.workspace.conduct import Conduct, Confirm, Wishes, ask_nobody
from partner_tools.workspace.environment import new_id, now, randomness
from partner_tools.workspace.onlooker import NOBODY, Onlooker
from partner_tools.workspace.results import RunResult, read_result
from partner_tools.workspace.settings import load_config, open_ledger
from partner_tools.workspace.stopping import StopSign
from partner_tools.workspace.wiring import (
    limits,
    partner_center,
    private_folder,
    workplace,
)

if TYPE_CHECKING:
    from partner_tools.clients.oauth import DeviceCode, TokenFacts
    from partner_tools.ledger import DeviceTrace, Ledger, RunRecord
    from partner_tools.outstanding import Flag
    from partner_tools.runs.context import Workplace
    from partner_tools.runs.restoration import Restorable
    from partner_tools.signing import SigningKey
    from partner_tools.workspace.chasing import Outstanding
    from partner_tools.workspace.cleaning import Cleaning, CleanupWishes
    from partner_tools.workspace.evidence_import import TakenIn
    from partner_tools.workspace.verification import Verification


@contextmanager
def open_workspace(
    *,
    config: Path | str | None = None,
    profile: str | None = None,
    ledger: str | None = None,
    environment: Mapping[str, str] | None = None,
    stop: StopSign | None = None,
) -> Iterator[Workspace]:
    """Open the configuration and the ledger that these, the environment and the files name.

    `ledger` is a path of a SQLite file or an SQLAlchemy URL. `stop` ends the work early and
    resumably when it is set. Raises InputError for a configuration that is
    not valid, LedgerError for a ledger that is locked, damaged or of another version.
    """
    read = load_config(config, profile, environment)
    with open_ledger(ledger, read) as opened:
        yield Workspace(config=read, ledger=opened, stop=stop or StopSign())


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Everything that the commands do. What a method did is durable when it returns.

    Every failure is a `PartnerToolsError`, with what to do next in `remedy` and the command's exit
    code in `exit_code`. Where a run exists it can be resumed afterwards.
    """

    config: Config
    ledger: Ledger
    stop: StopSign

    def plan(
        self,
        batch: Batch | ByName,
        *,
        via: str | None = None,
        customer: str | None = None,
        save_as: Path | None = None,
        onlooker: Onlooker = NOBODY,
    ) -> RunResult:
        """Read the services and plan the removal of a batch; nothing is removed.

        With `save_as` the plan is also written to a file, for somebody to review and
        `deregister_plan` to execute.
        """
        return self.deregister(
            batch,
            via=via,
            customer=customer,
            wishes=Wishes(dry_run=True),
            save_as=save_as,
            onlooker=onlooker,
        )

    def deregister(
        self,
        batch: Batch | ByName,
        *,
        via: str | None = None,
        customer: str | None = None,
        wishes: Wishes | None = None,
        confirm: Confirm = ask_nobody,
        again: bool = False,
        save_as: Path | None = None,
        onlooker: Onlooker = NOBODY,
    ) -> RunResult:
        """Plan the removal of a batch, have it confirmed, remove, and look whether it is gone.

        `via` and `customer` are for batches that do not say them. On OEM Direct a batch that was
        completed before is not sent again unless `again` insists: its result comes back. Raises
        GuardError where a guard refuses or nobody confirmed.
        """
        wishes = wishes or Wishes()
        if not wishes.dry_run:
            refuse_without_plan(approval_rule(self.config))
        read, channel = self.addressed(batch, via, customer)
        if not (again or wishes.dry_run):
            before = self._completed_before(read, channel, onlooker)
            if before is not None:
                return self._finish(self._conduct(wishes, onlooker, confirm, before))
        conduct = self._conduct(wishes, onlooker, confirm)
        with self.ledger.hold(conduct.run), conduct.place(channel) as place:
            conduct.begin(read, channel)
            plan, document = conduct.plan(place)
            if save_as is not None:
                write_plan(document, save_as)
                onlooker.told(f"plan written to {save_as} ({document['digest']})")
            conduct.execute(place, plan)
        return self._finish(conduct)

    def deregister_plan(
        self,
        plan_file: Path,
        *,
        wishes: Wishes | None = None,
        confirm: Confirm = ask_nobody,
        again: bool = False,
        onlooker: Onlooker = NOBODY,
    ) -> RunResult:
        """Execute a plan that somebody reviewed. A dry run shows it only.

        On OEM Direct a batch that was completed before is not sent again unless `again` insists:
        its result comes back. Raises GuardError where the plan was changed since, or not approved
        as the profile demands.
        """
        plan, document = load_plan(plan_file)
        wishes = replace(wishes or Wishes(), approvals=approvals_of(plan_file))
        if not wishes.dry_run:
            rule = approval_rule(self.config)
            check_approval(rule, document["digest"], plan.planned_by, wishes.approvals)
        batch = batch_of(plan, plan_file)
        if not (again or wishes.dry_run):
            before = self._completed_before(batch, plan.channel, onlooker)
            if before is not None:
                return self._finish(self._conduct(wishes, onlooker, confirm, before))
        conduct = self._conduct(wishes, onlooker, confirm)
        with self.ledger.hold(conduct.run), conduct.place(plan.channel) as place:
            conduct.begin(batch, plan.channel)
            conduct.execute(place, conduct.adopt(place, plan, document))
        return self._finish(conduct)

    def resume(
        self,
        run: str,
        *,
        yes: bool = False,
        max_devices: int | None = None,
        confirm: Confirm = ask_nobody,
        onlooker: Onlooker = NOBODY,
    ) -> RunResult:
        """Finish an interrupted run: what is in doubt is settled first, nothing is repeated.

        The wishes are those that it was begun with. Of a run that is over the result comes back.
        """
        record = self.ledger.run(run)
        if record.channel is ChannelName.MICROSOFT_GRAPH:
            from partner_tools.workspace.cleaning import resume

            wanted = self._cleaning(onlooker, confirm, record.run)
            return resume(wanted, record, yes=yes, max_devices=max_devices)
        stored = Wishes.restored(dict(record.settings))
        limit = stored.max_devices if max_devices is None else max_devices
        wishes = replace(stored, yes=yes or stored.yes, max_devices=limit)
        conduct = self._conduct(wishes, onlooker, confirm, record.run)
        if self._is_over(conduct, record):
            return self._show_again(conduct)
        with self.ledger.hold(record.run), conduct.place(record.channel) as place:
            onlooker.began(record.run)
            _go_on(conduct, place, self.ledger.run(record.run))
        return self._finish(conduct)

    def cleanup(
        self,
        handoff: Path,
        *,
        wishes: CleanupWishes | None = None,
        confirm: Confirm = ask_nobody,
        onlooker: Onlooker = NOBODY,
    ) -> RunResult:
        """Show, and where the wishes say `apply` carry out, what a handoff leaves to the customer.

        In the customer's own tenant. Writes the handoff anew beside the given one, or where the
        wishes say. Raises InputError for what is no handoff, GuardError where a guard refuses or
        nobody confirmed.
        """
        from partner_tools.workspace.cleaning import CleanupWishes, begin

        return begin(self._cleaning(onlooker, confirm), handoff, wishes or CleanupWishes())

    def cancel(self, run: str, *, onlooker: Onlooker = NOBODY) -> RunResult:
        """Call a run off: what has not left stays, what has left is settled.

        A process that executes the run stops within seconds. Raises InputError for a run that is
        over.
        """
        from partner_tools.workspace.cancellation import cancel

        cancel(self.ledger, run, stop=self.stop, open_place=self.place, onlooker=onlooker)
        return read_result(self.ledger, run)

    def result(self, run: str) -> RunResult:
        """What a run came to, as the ledger has it."""
        return read_result(self.ledger, run)

    def runs(
        self,
        *,
        customer: str | None = None,
        state: RunState | None = None,
        channel: ChannelName | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        serial: str | None = None,
        depot: str | None = None,
        batch_id: str | None = None,
        limit: int | None = None,
    ) -> list[RunRecord]:
        """The runs that match, newest first.

        `customer` is a tenant id or a domain; InputError where no run served it. `since`
        (inclusive) and `until` (exclusive), moments with a time zone, speak of when a run was
        created. `serial` is exactly a serial number or product key id of one of its devices.
        """
        return self.ledger.runs(
            customer=None if customer is None else self.tenant_of(customer),
            state=state,
            channel=channel,
            since=since,
            until=until,
            serial=serial,
            depot=depot,
            batch_id=batch_id,
            limit=limit,
        )

    def customers_by_run(
        self, records: Sequence[RunRecord]
    ) -> Mapping[RunId, tuple[Customer, ...]]:
        """What the customers of these runs are called, in the order of each run's plan.

        A tenant that the plan does not name, or not any more, has its id alone.
        """
        from partner_tools.runs.known_customers import customers_by_run

        return customers_by_run(self.ledger, records)

    def trace(self, serial: str) -> tuple[DeviceTrace, ...]:
        """What every run did with exactly this serial number or product key id."""
        return self.ledger.trace(serial)

    def verify(
        self, run: str, *, wait: float = 0.0, graph: bool = False, onlooker: Onlooker = NOBODY
    ) -> Verification:
        """Look again whether what a run removed is gone; what is seen is kept as evidence.

        `wait` is for how many seconds to go on looking; `graph` looks into the customer's tenant.
        """
        from partner_tools.workspace.verification import verify

        return verify(
            self.config,
            self.ledger,
            self.stop,
            run,
            wait=wait,
            graph=graph,
            onlooker=onlooker,
        )

    def take_in(self, file: Path, run: str | None = None) -> TakenIn:
        """Take in a customer's results file as evidence; its steps become `reported`.

        Raises InputError for a file of another tenant, another handoff or an older state, and for
        one that holds a key or a password.
        """
        from partner_tools.workspace.evidence_import import take_in

        return take_in(self.ledger, file, run, now())

    def verify_outstanding(
        self,
        *,
        since: datetime | None = None,
        customer: str | None = None,
        look: bool = True,
        onlooker: Onlooker = NOBODY,
    ) -> Outstanding:
        """Look again at every run with something open, and say which customers to chase.

        Looks into the customers' tenants where Graph access is configured. `since` is when a run
        began; without `look` the ledger alone is asked. What keeps one run from being looked at
        stops no other, and is among the failures.
        """
        from partner_tools.runs.follow_up import chases, open_devices, recheck
        from partner_tools.workspace.chasing import Outstanding
        from partner_tools.workspace.watch import is_configured

        tenant = None if customer is None else self.tenant_of(customer)
        graph = is_configured(self.config)
        failures = (
            recheck(
                open_devices(self.ledger, now(), since=since, customer=tenant),
                lambda record: self._look_again(record, graph, onlooker),
                onlooker.told,
            )
            if look
            else []
        )
        at = now()
        return Outstanding(
            at=at,
            chases=chases(self.ledger, open_devices(self.ledger, at, since=since, customer=tenant)),
            failures=tuple(failures),
            partner=dict(self.config.get("partner") or {}),
        )

    def remind(self, found: Outstanding, folder: Path) -> tuple[Path, ...]:
        """Write an e-mail for each customer to chase, its handoffs attached; nothing is sent."""
        from partner_tools.workspace.chasing import write_reminders

        return tuple(write_reminders(self.ledger, found, folder))

    def tenant_of(self, customer: str) -> str:
        """The tenant id of a customer that runs of this ledger served, by id or domain.

        Raises InputError that names the domains that are near.
        """
        from partner_tools.runs.known_customers import tenant_of

        return tenant_of(self.ledger, customer)

    def state_facts(self, run: str, stated: Sequence[tuple[str, Flag]]) -> None:
        """Make durable what people saw at devices of a run and no service shows.

        `stated` is by serial number. Raises InputError for a device that the run has not.
        """
        from partner_tools.workspace.evidence_import import state_facts

        state_facts(self.ledger, self.ledger.run(run).run, stated, now())

    def report(self, run: str, folder: Path, formats: tuple[str, ...] = ()) -> tuple[Path, ...]:
        """Write one handoff for each customer of a run; the paths of the files.

        Of a cleanup also the results file, which the customer sends back to the partner.
        """
        from partner_tools.report.write import FORMATS, write_handoff, write_result
        from partner_tools.runs.build_handoffs import cleanup_result, handoffs

        record, at = self.ledger.run(run), now()
        partner = dict(self.config.get("partner") or {})
        paths = [
            path
            for document in handoffs(self.ledger, record.run, partner=partner, now=at)
            for path in write_handoff(document, folder, formats or FORMATS)
        ]
        result = cleanup_result(self.ledger, record, at)
        return (*paths, *([] if result is None else [write_result(result, folder)]))

    def summary(
        self,
        folder: Path,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        customer: str | None = None,
    ) -> Path:
        """Write the partner's own page over many runs, with charts; where it is.

        `since` (inclusive) and `until` (exclusive) speak of when runs began.
        """
        from partner_tools.workspace.summing import write

        tenant = None if customer is None else self.tenant_of(customer)
        return write(self.ledger, folder, now(), since=since, until=until, customer=tenant)

    def restorable(self, run: str) -> tuple[Restorable, ...]:
        """Every device that a run removed, and what it can be registered with again."""
        from partner_tools.runs.restoration import restorable

        record = self.ledger.run(run)
        if record.channel is ChannelName.MICROSOFT_GRAPH:
            raise InputError(
                f"run {record.run} is a cleanup: what its customer deleted is not registered again",
                rule="not-restorable",
                remedy="name the partner's run, whose registrations Partner Center can take back",
            )
        return restorable(self.ledger, record.run, private_folder(self.ledger))

    def restore_file(self, devices: tuple[Restorable, ...], file: Path) -> tuple[Restorable, ...]:
        """Write the file for Partner Center's upload of these; those that it cannot hold.

        Private to the user, whole or not at all. `why_not` is None where only the form of the
        upload is in the way: `register_again` can register that device.
        """
        from partner_tools.files import write_private
        from partner_tools.runs.restoration import upload_file

        text, left_out = upload_file(devices)
        write_private(file, text.encode("cp1252"))
        return left_out

    def approve(self, plan_file: Path, key: SigningKey, *, account: str | None = None) -> Path:
        """Sign a plan as a second person; the file of its approvals, durable on return.

        `account` is who signs, else who the operating system says. Raises InputError for what is
        no plan, GuardError where it was changed or this account planned it.
        """
        from partner_tools.workspace.approvals import approve
        from partner_tools.workspace.conduct import actor

        return approve(plan_file, key, account or actor())

    def export(
        self,
        file: Path,
        *,
        form: str = "jsonl",
        run: str | None = None,
        customer: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """Write the audit trail, `jsonl` or `csv`, private to the user; the ledger's head digest.

        `customer` is a tenant id or a domain; `since` (inclusive) and `until` (exclusive) speak of
        the events. With a key it is signed, in a file beside it.
        """
        from partner_tools.workspace.audit_export import sign_export, write_export

        events = self.ledger.export(
            run=None if run is None else self.ledger.run(run).run,
            customer=None if customer is None else self.tenant_of(customer),
            since=since,
            until=until,
        )
        write_export(events, form, file)
        if key is not None:
            sign_export(file, key)
        return self.ledger.head()

    def register_again(self, devices: tuple[Restorable, ...]) -> int:
        """Register devices again through Partner Center (app+user); how many are back."""
        from partner_tools.runs.restoration import Bench, register

        with partner_center(self.config, self.ledger, self.stop) as (client, line, _):
            bench = Bench(client=client, line=line, ledger=self.ledger, now=now, new_id=new_id)
            return register(bench, devices)

    def most_devices(self, max_devices: int | None = None) -> int:
        """How many devices one run may take: what is given, else the profile's, else 500."""
        return limits(self.config, max_devices).max_devices

    def inventory(self, customer: str | None = None, *, onlooker: Onlooker = NOBODY) -> Estate:
        """Every device of a customer that Partner Center shows: all batches, all pages."""
        from partner_tools.channels.partner_center import PartnerCenterChannel

        named = customer or self.config.text("customer")
        if named is None:
            raise MissingValueError(
                "name the customer: --customer with a tenant id or a domain", rule="no-customer"
            )
        with partner_center(self.config, self.ledger, self.stop, onlooker=onlooker) as opened:
            client, line, _ = opened
            channel = PartnerCenterChannel(
                client=client,
                line=line,
                now=now,
                concurrency=self.config.concurrency,
                listed=onlooker.listed,
            )
            return channel.estate(channel.customer(named))

    def token(self) -> TokenFacts:
        """Whose token would be used for the channel. Raises AuthError without one."""
        from partner_tools.clients.oauth import describe_token
        from partner_tools.workspace.sign_in import channel_tokens

        return describe_token(channel_tokens(self.config).token())

    def sign_in(self, prompt: Callable[[DeviceCode], None]) -> TokenFacts:
        """Sign a person in by a device code, which `prompt` shows; the token rests in the store."""
        from partner_tools.clients.oauth import sign_in_by_device_code
        from partner_tools.workspace.sign_in import open_door, read_app, token_store

        return sign_in_by_device_code(
            read_app(self.config),
            door=open_door(self.config),
            store=token_store(self.config),
            prompt=prompt,
        )

    def sign_out(self) -> tuple[str, ...]:
        """Forget the tokens of every signed-in user of this profile; who they were."""
        from partner_tools.workspace.sign_in import token_store

        return tuple(each.username for each in token_store(self.config).clear())

    @contextmanager
    def place(self, channel: ChannelName, onlooker: Onlooker = NOBODY) -> Iterator[Workplace]:
        """The way to a service, for steps of `partner_tools.runs` that are called directly."""
        with workplace(channel, self.config, self.ledger, self.stop, onlooker=onlooker) as opened:
            yield opened

    def addressed(
        self, batch: Batch | ByName, via: str | None, customer: str | None
    ) -> tuple[Batch, ChannelName]:
        """The batch, read where it is named, with its channel and customer.

        Raises UnsaidError where nothing says them, else as `read_batch`.
        """
        default = self.config.text("via")
        if not isinstance(batch, Batch):
            batch = read_batch(batch, via=via, customer=customer, default_via=default)
        named = via or batch.channel or default
        if named is None:
            raise MissingValueError(
                "name the channel: --via partner-center or --via oem-direct", rule="no-channel"
            )
        recipient = batch.customer or customer or self.config.text("customer")
        if ChannelName(named) is ChannelName.PARTNER_CENTER:
            _require_customers(batch, recipient)
        return replace(batch, customer=recipient), ChannelName(named)

    def _look_again(self, record: RunRecord, graph: bool, onlooker: Onlooker) -> None:
        onlooker.told(f"run {record.run}")
        self.verify(record.run, graph=graph, onlooker=onlooker)

    def _completed_before(
        self, batch: Batch, channel: ChannelName, onlooker: Onlooker
    ) -> RunId | None:
        """The run that completed this batch on OEM Direct; tells of it, or of those begun."""
        if channel is not ChannelName.OEM_DIRECT:
            return None
        before = completed_run(self.ledger, batch)
        if before is not None:
            onlooker.told(f"batch {batch.batch_id} was completed by run {before}; --again insists")
            return before
        for begun in unfinished_runs(self.ledger, batch):
            onlooker.told(
                f"batch {batch.batch_id} was begun by run {begun.run}, which is {begun.state}: "
                f"`partner-tools resume {begun.run}` finishes that one; this is a new run"
            )
        return None

    def _conduct(
        self,
        wishes: Wishes,
        onlooker: Onlooker,
        confirm: Confirm,
        run: RunId | None = None,
    ) -> Conduct:
        from partner_tools.ledger import new_run_id

        return Conduct(
            config=self.config,
            ledger=self.ledger,
            stop=self.stop,
            wishes=wishes,
            run=run or new_run_id(now(), randomness()),
            onlooker=onlooker,
            confirm=confirm,
        )

    def _cleaning(self, onlooker: Onlooker, confirm: Confirm, run: RunId | None = None) -> Cleaning:
        from partner_tools.ledger import new_run_id
        from partner_tools.workspace.cleaning import Cleaning

        return Cleaning(
            config=self.config,
            ledger=self.ledger,
            stop=self.stop,
            run=run or new_run_id(now(), randomness()),
            onlooker=onlooker,
            confirm=confirm,
            report=self._hand_over,
        )

    def _hand_over(self, run: str, folder: Path, formats: tuple[str, ...]) -> tuple[Path, ...]:
        """Write the handoffs of a run that is over. Raises Interrupted where that cannot be."""
        try:
            return self.report(run, folder, formats)
        except InputError as error:
            again = f"`partner-tools report {run} -o DIR` writes the handoff elsewhere"
            raise undelivered(error, again) from error

    def _is_over(self, conduct: Conduct, record: RunRecord) -> bool:
        """Whether there is nothing to go on with."""
        if record.state is RunState.PLANNED and conduct.wishes.dry_run:
            conduct.onlooker.told(
                "a dry run has nothing to resume; `deregister --plan` executes its plan"
            )
            return True
        if record.state is RunState.CANCELLED:
            return True
        histories = (each.history for each in self.ledger.devices(record.run))
        return record.state is RunState.FINISHED and not unfinished(histories)

    def _show_again(self, conduct: Conduct) -> RunResult:
        """Tell what a run came to that was over before; nothing is written again."""
        result = read_result(self.ledger, conduct.run)
        conduct.onlooker.ended(result)
        if conduct.wishes.report is not None:
            conduct.onlooker.told(
                "the run is over: the handoff is not written again; "
                f"`partner-tools report {conduct.run} -o DIR` does"
            )
        return result

    def _finish(self, conduct: Conduct) -> RunResult:
        """Tell that the run is over, and write the handoffs where they were asked for."""
        result = read_result(self.ledger, conduct.run)
        conduct.onlooker.ended(result)
        wishes = conduct.wishes
        if wishes.report is None:
            return result
        reports = self._hand_over(conduct.run, wishes.report, wishes.formats)
        conduct.onlooker.told(f"files of the handoff in {wishes.report}: {len(reports)}")
        return replace(result, reports=reports)


def completed_run(ledger: Ledger, batch: Batch) -> RunId | None:
    """The run that completed this very batch on OEM Direct before.

    Raises InputError where its id was used for another content.
    """
    finished = ledger.runs(
        batch_id=batch.batch_id, channel=ChannelName.OEM_DIRECT, state=RunState.FINISHED
    )
    for record in finished:
        if record.batch_digest != batch.digest:
            raise InputError(
                f"the batch id {batch.batch_id!r} was used for another content by run {record.run}",
                rule="batch-id-reused",
                remedy="give the new batch an id of its own, or insist with --again",
            )
    return finished[0].run if finished else None


def unfinished_runs(ledger: Ledger, batch: Batch) -> list[RunRecord]:
    """The runs on OEM Direct that began this batch and can be resumed, newest first."""
    begun = ledger.runs(batch_id=batch.batch_id, channel=ChannelName.OEM_DIRECT)
    return [each for each in begun if each.state in (RunState.STOPPED, RunState.INTERRUPTED)]


def _require_customers(batch: Batch, default: str | None) -> None:
    orphan = next((each for each in batch.devices if not (each.customer or default)), None)
    if orphan is not None:
        raise MissingValueError(
            f"row {orphan.row} names no customer: add --customer with a tenant id or a domain, "
            "or a customer column",
            rule="no-customer",
        )


def _go_on(conduct: Conduct, place: Workplace, record: RunRecord) -> None:
    from partner_tools.runs.planning import stored_plan

    plan = stored_plan(place, record)
    if plan is None:
        plan, _ = conduct.plan(place)
    else:
        conduct.onlooker.planned(plan)
    conduct.execute(place, plan)
