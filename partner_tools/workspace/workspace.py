"""The workspace: configuration and ledger, opened, and everything that the commands do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from partner_tools.cancellation import CancellationToken
from partner_tools.config import Config
from partner_tools.errors import (
    AuthError,
    DamagedRunError,
    GuardError,
    InputError,
    MissingValueError,
    PartnerToolsError,
)
from partner_tools.guards import count_nobodys, count_removals, question
from partner_tools.model import (
    ENDED,
    PARTNER_CHANNELS,
    Account,
    Batch,
    ChannelName,
    Customer,
    Estate,
    Plan,
    RunId,
    RunState,
)
from partner_tools.result import still_listed, undelivered, unfinished
from partner_tools.runs.context import (
    NULL_OBSERVER,
    Confirm,
    RunObserver,
    RunOptions,
    RunResult,
)
from partner_tools.signing import check_approval, refuse_without_plan
from partner_tools.workspace.approvals import approval_rule, approvals_of
from partner_tools.workspace.batches import ByName, batch_of, load_plan, read_batch
from partner_tools.workspace.environment import (
    ledger_url,
    load_config,
    new_id,
    new_run,
    now,
    open_ledger,
    this_account,
)
from partner_tools.workspace.wiring import Wiring, held, limits, private_folder

if TYPE_CHECKING:
    from partner_tools.events import Event
    from partner_tools.ledger import DeviceTrace, Ledger, RunFilter, RunRecord
    from partner_tools.outstanding.types import Flag
    from partner_tools.runs.context import RunContext
    from partner_tools.runs.follow_up import Outstanding, Verification
    from partner_tools.runs.restoration import Restorable
    from partner_tools.runs.run import Steps
    from partner_tools.signing import SigningKey
    from partner_tools.workspace.evidence_import import TakenIn


def refuse_unconfirmed(plan: Plan) -> bool:
    """Refuse, because there is no terminal to ask on. Raises GuardError that says what to pass."""
    raise GuardError(
        f"{count_removals(plan.devices)} devices would be removed, but this was not confirmed:\n"
        f"{question(plan.customers, count_nobodys(plan.devices))}",
        rule="not-confirmed",
        remedy="pass RunOptions(yes=True), or a `confirm` that agrees",
    )


@contextmanager
def open_workspace(
    *,
    config: Path | str | None = None,
    profile: str | None = None,
    ledger: str | None = None,
    environment: Mapping[str, str] | None = None,
    cancellation: CancellationToken | None = None,
) -> Iterator[Workspace]:
    """Open the configuration and the ledger that these, the environment and the files name.

    `ledger` is a path of a SQLite file or an SQLAlchemy URL. `cancellation` ends the work early
    and resumably when it is set. Raises InputError for a configuration that is
    not valid, LedgerError for a ledger that is locked, damaged or of another version.
    """
    read = load_config(config, profile, environment)
    with open_ledger(ledger, read) as opened:
        yield Workspace(
            config=read, ledger=opened, cancellation=cancellation or CancellationToken()
        )


@contextmanager
def peek_workspace(
    *, config: str | None, profile: str | None, ledger: str | None, patience: float
) -> Iterator[Workspace | None]:
    """The workspace for a glance, which changes nothing.

    None if the ledger is no file that is there. Raises LedgerError for one of another version,
    or that is busy for longer than `patience` seconds.
    """
    from partner_tools.ledger import Ledger

    read = load_config(config, profile)
    url = ledger_url(ledger, read)
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not Path(path).is_file():
        yield None
        return
    with Ledger.open(url, patience=patience, as_it_is=True) as opened:
        yield Workspace(config=read, ledger=opened, cancellation=CancellationToken())


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """Everything that the commands do. A method's changes are durable when it returns.

    Every failure is a `PartnerToolsError`, with what to do next in `remedy` and the command's exit
    code in `exit_code`. Where a run exists it can be resumed afterwards.
    """

    config: Config
    ledger: Ledger
    cancellation: CancellationToken

    @property
    def wiring(self) -> Wiring:
        """Opens the ways to the services."""
        return Wiring(config=self.config, ledger=self.ledger, token=self.cancellation)

    def plan(
        self,
        batch: Batch | ByName,
        *,
        via: str | None = None,
        customer: str | None = None,
        options: RunOptions | None = None,
        save_as: Path | None = None,
        observer: RunObserver = NULL_OBSERVER,
    ) -> RunResult:
        """Read the services and plan the removal of a batch; nothing is removed.

        With `save_as` the plan is also written to a file, for a second person to review and
        `deregister_plan` to execute.
        """
        return self.deregister(
            batch,
            via=via,
            customer=customer,
            options=replace(options or RunOptions(), dry_run=True),
            save_as=save_as,
            observer=observer,
        )

    def deregister(
        self,
        batch: Batch | ByName,
        *,
        via: str | None = None,
        customer: str | None = None,
        options: RunOptions | None = None,
        confirm: Confirm = refuse_unconfirmed,
        again: bool = False,
        save_as: Path | None = None,
        observer: RunObserver = NULL_OBSERVER,
    ) -> RunResult:
        """Plan the removal of a batch, have it confirmed, remove, and look whether it is gone.

        `via` and `customer` are for batches without these. A batch that an earlier run completed
        is not sent again unless `again` insists: its result comes back; an unfinished run of it is
        resumed. Raises GuardError if a guard refuses or there was no confirmation.
        """
        options = options or RunOptions()
        read, channel = self.addressed(batch, via, customer)
        if not (again or save_as):
            repeated = self._repeated(read, channel, options, confirm, observer)
            if repeated is not None:
                return repeated
        if not options.dry_run:
            self._tell_unconfigured(observer)
            refuse_without_plan(approval_rule(self.config))
        run = new_run()
        steps = self.wiring.open_removal(run, channel, options, observer, confirm, save_as=save_as)
        return self._begin(run, steps, read, plan_file=save_as)

    def deregister_plan(
        self,
        plan_file: Path,
        *,
        options: RunOptions | None = None,
        confirm: Confirm = refuse_unconfirmed,
        again: bool = False,
        observer: RunObserver = NULL_OBSERVER,
    ) -> RunResult:
        """Execute a plan that a person reviewed. A dry run shows it only.

        A batch that was completed before is not sent again unless `again` insists: its result
        comes back. Raises GuardError if the plan was changed since, or not approved
        as the profile demands.
        """
        from partner_tools.runs.checks import refuse_other_plan

        plan, document = load_plan(plan_file)
        options = replace(options or RunOptions(), approvals=approvals_of(plan_file))
        if not options.dry_run:
            self._tell_unconfigured(observer)
            rule = approval_rule(self.config)
            check_approval(rule, document["digest"], plan.planner, options.approvals, now=now())
        batch = batch_of(plan, plan_file)
        if not again:
            repeated = self._repeated(batch, plan.channel, options, confirm, observer)
            if repeated is not None:
                return repeated
        run = new_run()
        steps = self.wiring.open_removal(
            run, plan.channel, options, observer, confirm, reviewed=(plan, document)
        )
        return self._begin(run, steps, batch, check=partial(refuse_other_plan, plan=plan))

    def cleanup(
        self,
        handoff: Path,
        *,
        apply: bool = False,
        options: RunOptions | None = None,
        confirm: Confirm = refuse_unconfirmed,
        observer: RunObserver = NULL_OBSERVER,
    ) -> RunResult:
        """Show, and with `apply` carry out, the steps that a handoff leaves to the customer.

        In the customer's own tenant. Writes the updated handoff beside the given one, or where the
        options say. Raises InputError for what is no handoff, GuardError if a guard refuses or
        there was no confirmation.
        """
        from partner_tools.runs.cleanup import read_order, read_receipt

        options = options or RunOptions()
        folder = (options.report or handoff.parent) if apply else None
        options = replace(options, dry_run=not apply, report=folder)
        order = read_order(handoff, held=held(self.config))
        if options.keys_receipt is not None:
            saved = read_receipt(options.keys_receipt, order.document)
            options = replace(options, saved_keys=saved)
        order = order.with_keys(options)
        run = new_run()
        steps = self.wiring.open_cleanup(run, order, options, observer, confirm)
        return self._begin(run, steps, order.batch(handoff))

    def assess(
        self,
        batch: Batch | ByName,
        *,
        customer: str | None = None,
        options: RunOptions | None = None,
        observer: RunObserver = NULL_OBSERVER,
    ) -> RunResult:
        """Look into a customer's tenant for the devices of a list, as a run that changes nothing.

        Needs no partner's channel. With `by_hand` of the options a person removes the
        registrations, and a worksheet for that is written. Raises InputError for a list of another
        customer, AuthError if there is a sign-in for the tenant and it fails.
        """
        from partner_tools.runs.assessment import refuse_other_customers
        from partner_tools.workspace.sign_in import customer_at, graph_tokens

        def tenant_of(text: str) -> str | None:
            try:
                return customer_at(self.config, text).tenant_id
            except InputError:  # a name, which the list may say beside --customer
                return None
            except AuthError:  # a domain that no tenant has
                return ""

        read = batch if isinstance(batch, Batch) else read_batch(batch, customer=customer)
        named = self._customer(customer or read.customer)
        found = customer_at(self.config, named)
        refuse_other_customers(read.devices, found, tenant_of)
        options = replace(options or RunOptions(), yes=True)
        if options.by_hand and options.report is None:
            options = replace(options, report=Path(), formats=("worksheet",))
        elif options.by_hand:
            self.sender()  # before the run exists, not when its handoff is to be written

        def check(context: RunContext) -> None:
            if context.open_tenant is not None:
                graph_tokens(self.config, found.tenant_id).token()

        run = new_run()
        steps = self.wiring.open_assessment(run, found, options, observer)
        return self._begin(run, steps, replace(read, customer=named), check=check)

    def mark_done(self, run: str, names: Collection[str] | None = None) -> RunResult:
        """Record that a person removed registrations of an assessment on Partner Center's pages.

        `names` are serial numbers or product key ids; None means every device of the run. Raises
        InputError, and records nothing, where one of them is no device of the run.
        """
        from partner_tools.runs.assessment import mark_done

        record = self.ledger.run(run)
        mark_done(self.ledger, record, names, by=this_account().name, at=now())
        return self.result(record.run)

    def _tell_unconfigured(self, observer: RunObserver) -> None:
        """Say, before something is sent, that nothing sets the guards of a profile."""
        if self.config.file is None:
            observer.notify(
                "no configuration file was found: there is no hold list, no approval is required, "
                "and the default limits apply"
            )

    def resume(
        self,
        run: str,
        *,
        yes: bool = False,
        max_devices: int | None = None,
        stale_ok: bool = False,
        confirm: Confirm = refuse_unconfirmed,
        observer: RunObserver = NULL_OBSERVER,
    ) -> RunResult:
        """Finish an interrupted run: what is in doubt is settled first, nothing is repeated.

        The options are those that it was begun with. Of a run that is over the result comes back.
        """
        from partner_tools.runs.run import carry_out

        record = self.ledger.run(run)
        stored = RunOptions.restored(record.settings)
        limit = stored.max_devices if max_devices is None else max_devices
        options = replace(stored, yes=yes or stored.yes, max_devices=limit, stale_ok=stale_ok)
        if self._is_over(record, options, observer):
            result = self.result(record.run)
            observer.ended(result)
            if options.report is not None and not options.dry_run:
                observer.notify(
                    "the run is over: the handoff is not written again; "
                    f"`partner-tools report {record.run} -o DIR` does"
                )
            return result
        self._tell_unconfigured(observer)
        with (
            self.ledger.hold(record.run),
            self._open_steps(record, options, observer, confirm) as steps,
        ):
            observer.began(record.run)
            carry_out(steps)
        return self._conclude(record.run, options, observer)

    def cancel(self, run: str, *, observer: RunObserver = NULL_OBSERVER) -> RunResult:
        """Cancel a run: what has not left stays, what has left is settled.

        A process that executes the run stops within seconds. Raises InputError for a run that is
        over.
        """
        from partner_tools.runs.run import cancel

        record = self.ledger.run(run)
        cancel(
            self.ledger,
            record,
            token=self.cancellation,
            now=now,
            open_steps=lambda: self._open_steps(record, RunOptions(), observer, refuse_unconfirmed),
            observer=observer,
        )
        return self.result(record.run)

    def dismiss(self, run: str, reason: str) -> RunRecord:
        """Close the outstanding steps of a run, on the record: nothing is followed up any more.

        A device that is seen registered afterwards opens again. Raises InputError for a run that
        has no outstanding steps.
        """
        from partner_tools.runs.run import dismiss

        record = self.ledger.run(run)
        dismiss(self.ledger, record, reason, by=this_account().name, at=now())
        return record

    def dismissals(self, records: Sequence[RunRecord]) -> Mapping[RunId, Event]:
        """The events that closed the outstanding steps of these runs."""
        return self.ledger.dismissals([record.run for record in records])

    def result(self, run: str) -> RunResult:
        """Return a run's result, as recorded in the ledger."""
        from partner_tools.runs.follow_up import read_result

        return read_result(self.ledger, run, now())

    def write_junit(self, result: RunResult, file: Path) -> None:
        """Write a result as JUnit XML, for a build server."""
        from partner_tools.report.junit import write_junit

        record = self.ledger.run(result.run)
        facts = {
            "batch": record.batch_id,
            "reference": record.reference,
            "depot": record.depot,
            "account": record.actor,
        }
        write_junit(result.document, file, facts)

    def runs(self, **wanted: Unpack[RunFilter]) -> list[RunRecord]:
        """The runs that match, newest first.

        `customer` is a tenant id or a domain; InputError where no run served it.
        """
        if (customer := wanted.get("customer")) is not None:
            wanted["customer"] = self.tenant_of(customer)
        return self.ledger.runs(**wanted)

    def customers_by_run(
        self, records: Sequence[RunRecord]
    ) -> Mapping[RunId, tuple[Customer, ...]]:
        """Return the names of these runs' customers, in the order of each run's plan.

        A tenant that the plan does not name, or not any more, has its id alone.
        """
        from partner_tools.runs.known_customers import customers_by_run

        return customers_by_run(self.ledger, records)

    def trace(self, serial: str) -> tuple[DeviceTrace, ...]:
        """Return every run's history of this serial number or product key id, newest first.

        In any letter case. Its usual spellings are looked up by index; only where none is known,
        every identifier of the ledger is read.
        """
        spelled = dict.fromkeys((serial, serial.upper(), serial.lower()))
        if found := self.ledger.trace(*spelled):
            return found
        wanted = serial.casefold()
        spelled = dict.fromkeys(
            each for each in self.ledger.identifiers() if each.casefold() == wanted
        )
        return self.ledger.trace(*spelled) if spelled else ()

    def near_serials(self, serial: str) -> tuple[str, ...]:
        """Identifiers of the ledger that are nearly this one: what may have been meant."""
        from partner_tools import near_serials

        return near_serials.near(serial, near_serials.index(self.ledger.identifiers()))

    def where_is_it(
        self,
        traces: Sequence[DeviceTrace],
        shown: Callable[[datetime], str] = datetime.isoformat,
    ) -> str | None:
        """One sentence on a device: what happened, when, by whom, and where it is now."""
        from partner_tools.runs.follow_up import where_is_it

        return where_is_it(self.ledger, traces, now(), shown)

    def last_runs(self, customer: str, names: Iterable[str]) -> Mapping[str, DeviceTrace]:
        """The newest run that names each of these devices of a customer, without its events.

        `names` are serial numbers or product key ids, compared exactly, as a removal does.
        """
        from partner_tools.ledger import DeviceTrace

        wanted = set(names)
        found: dict[str, DeviceTrace] = {}
        for record in self.ledger.runs(customer=customer):
            if len(found) == len(wanted):
                break
            with suppress(DamagedRunError):  # `runs` names it
                for device in self.ledger.devices(record.run):
                    identity = device.device.identity
                    name = identity.serial_number or identity.product_key_id
                    if name in wanted and device.history.customer == customer:
                        found.setdefault(name, DeviceTrace(run=record, device=device, events=()))
        return found

    def verify(
        self,
        run: str,
        *,
        wait: float = 0.0,
        graph: bool = False,
        observer: RunObserver = NULL_OBSERVER,
    ) -> Verification:
        """Look again whether what a run removed is gone; what is seen is kept as evidence.

        `wait` is for how many seconds to keep looking; `graph` looks into the customer's tenant.
        """
        from partner_tools.runs.checks import refuse_elsewhere
        from partner_tools.runs.follow_up import Verification
        from partner_tools.runs.observation import TenantCheck

        record, began = self.ledger.run(run), self.cancellation.clock()
        own, observable, unseen = record.channel not in PARTNER_CHANNELS, True, 0
        if own:
            options = RunOptions.restored(record.settings)
            with self._open_steps(record, options, observer, refuse_unconfirmed) as steps:
                context = steps.context
                refuse_elsewhere(context, record, looks=True)
        else:
            with self.wiring.open_removal(
                record.run, record.channel, RunOptions(), observer, refuse_unconfirmed
            ) as steps:
                context = steps.context
                observable = steps.look_again(wait)
        if graph or own:
            # By the token of this command: that of the run is set once the run is cancelled.
            opener = partial(self.wiring.open_tenant, token=self.cancellation)
            check = TenantCheck(context, opener, self.cancellation)
            unseen = check.verify(max(0.0, began + wait - self.cancellation.clock()))
        return Verification(result=self.result(record.run), observable=observable, unseen=unseen)

    def verify_outstanding(
        self,
        *,
        since: datetime | None = None,
        customer: str | None = None,
        look: bool = True,
        observer: RunObserver = NULL_OBSERVER,
    ) -> Outstanding:
        """Look again at every run with something open, and say which customers to remind.

        Looks into the customers' tenants where Graph access is configured. `since` is when a run
        began; without `look` the ledger alone is asked. A failed check of one run does not block
        the others, and is among the failures.
        """
        from partner_tools.runs.follow_up import (
            Outstanding,
            follow_ups,
            open_devices,
            recheck,
        )

        tenant = None if customer is None else self.tenant_of(customer)
        graph = self.wiring.tenant_opener(self.cancellation) is not None

        def look_again(record: RunRecord) -> None:
            observer.notify(f"run {record.run}")
            self.verify(record.run, graph=graph, observer=observer)

        failures: dict[RunId, PartnerToolsError] = {}
        if look:
            found = open_devices(self.ledger, now(), since=since, customer=tenant)
            failures = recheck(found, look_again, observer.notify)
        at = now()
        damaged: dict[RunId, PartnerToolsError] = {}
        left = open_devices(self.ledger, at, since=since, customer=tenant, damaged=damaged)
        for error in damaged.values():
            observer.notify(str(error))
        return Outstanding(
            at=at,
            follow_ups=follow_ups(self.ledger, left),
            failures=failures | damaged,
            partner=dict(self.config.get("partner") or {}),
        )

    def remind(self, found: Outstanding, folder: Path) -> tuple[Path, ...]:
        """Write an e-mail for each customer to remind, its handoffs attached; nothing is sent."""
        from partner_tools.runs.follow_up import write_reminders

        return tuple(write_reminders(self.ledger, found, folder))

    def take_in(self, file: Path, run: str | None = None) -> TakenIn:
        """Take in a customer's results file as evidence; its steps become `reported`.

        Raises InputError for a file of another tenant, another handoff or an older state, and for
        one that holds a key or a password.
        """
        from partner_tools.workspace.evidence_import import take_in

        return take_in(self.ledger, file, run, now())

    def sender(self, given: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """Return the sender of letters: the profile's `partner`, overridden by `given`.

        Raises InputError if the name or the contact is missing.
        """
        told = {**(self.config.get("partner") or {}), **(given or {})}
        missing = [f"--partner-{name}" for name in ("name", "contact") if not told.get(name)]
        if missing:
            raise InputError(
                "a handoff names its sender and a contact, but the profile has neither"
                if len(missing) == 2
                else f"a handoff needs a {missing[0].removeprefix('--partner-')} of the partner",
                rule="no-partner",
                remedy=f"give {' and '.join(missing)}, or set them once under [default.partner] in"
                " the configuration",
            )
        return told

    def sender_of(
        self, record: RunRecord, given: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """Return the sender of a run's letters, as `sender`; a customer's own run needs none."""
        if record.channel is ChannelName.MICROSOFT_GRAPH:
            return {}
        if record.channel is ChannelName.ASSESSMENT and not record.settings.get("byHand"):
            return {**(self.config.get("partner") or {}), **(given or {})}
        return self.sender(given)

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

    def report(
        self,
        run: str,
        folder: Path,
        formats: tuple[str, ...] = (),
        *,
        partner: Mapping[str, str] | None = None,
    ) -> tuple[Path, ...]:
        """Write one handoff for each customer of a run; the paths of the files.

        `partner` gives `name` and `contact` over those of the profile. Raises InputError if
        either is missing: customers have to know who writes to them. Of a cleanup also the
        results file, which the customer sends back to the partner.
        """
        from partner_tools.report.write import FORMATS, write_handoff, write_result
        from partner_tools.runs.build_handoffs import cleanup_result, handoffs

        record, at = self.ledger.run(run), now()
        # The worksheet is for the partner's own hands, and names no sender.
        sender = {} if formats == ("worksheet",) else self.sender_of(record, partner)
        # The cover e-mail is the partner's to send.
        usual = [name for name in FORMATS if sender.get("name") or name != "eml"]
        if record.settings.get("byHand"):
            usual.append("worksheet")
        paths = [
            path
            for handoff in handoffs(self.ledger, record.run, partner=sender, now=at)
            for path in write_handoff(handoff, folder, formats or usual)
        ]
        if (told := cleanup_result(self.ledger, record, at)) is not None:
            result, domain = told
            paths.append(write_result(result, folder, domain))
        return tuple(paths)

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
        from partner_tools.runs.totals import write_totals

        tenant = None if customer is None else self.tenant_of(customer)
        return write_totals(self.ledger, folder, now(), since=since, until=until, customer=tenant)

    def restorable(self, run: str) -> tuple[Restorable, ...]:
        """Every device that a run removed, and what it can be registered with again."""
        from partner_tools.runs.restoration import restorable

        record = self.ledger.run(run)
        if record.channel not in PARTNER_CHANNELS:
            raise InputError(
                f"run {record.run} removed nothing through a partner's channel: there is nothing "
                "to register again",
                rule="not-restorable",
                remedy="name the partner's run, whose registrations Partner Center can restore",
            )
        return restorable(self.ledger, record.run, private_folder(self.ledger))

    def restore_file(self, devices: tuple[Restorable, ...], file: Path) -> tuple[Restorable, ...]:
        """Write the file for Partner Center's upload of these; those that it cannot hold.

        Private to the user, whole or not at all. `why_not` is None if only the form of the
        upload is in the way: `register_again` can register that device.
        """
        from partner_tools.files import write_private
        from partner_tools.runs.restoration import upload_file

        text, left_out = upload_file(devices)
        write_private(file, text.encode("cp1252"))
        return left_out

    def approve(
        self,
        plan_file: Path,
        key: SigningKey,
        *,
        account: str | None = None,
        as_planner: bool = False,
    ) -> Path:
        """Sign a plan as a second person, or as its planner; the file of its signatures.

        `account` is who signs, else whom the operating system knows. Durable on return. Raises
        InputError for what is no plan, GuardError where it was changed, where this account
        approves its own plan, or signs another's as its planner.
        """
        from partner_tools.workspace.approvals import approve

        signer = this_account() if account is None else Account(name=account)
        return approve(plan_file, key, signer, as_planner=as_planner)

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
        from partner_tools.workspace.exports import sign_export, write_export

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
        from partner_tools.runs.checks import refuse_elsewhere
        from partner_tools.runs.restoration import RestoreContext, register

        for run in dict.fromkeys(each.device.run for each in devices):
            with self._open_steps(
                self.ledger.run(run), RunOptions(), NULL_OBSERVER, refuse_unconfirmed
            ) as steps:
                refuse_elsewhere(steps.context, self.ledger.run(run), looks=True)
        with self.wiring.open_partner_center(self.cancellation) as (client, executor, _):
            context = RestoreContext(
                client=client, executor=executor, ledger=self.ledger, now=now, new_id=new_id
            )
            return register(context, devices)

    def most_devices(self, max_devices: int | None = None) -> int:
        """How many devices one run may take: what is given, else the profile's, else 500."""
        return limits(self.config, max_devices).max_devices

    def customers(self) -> tuple[Customer, ...]:
        """Every customer that Partner Center shows this partner, sorted by domain."""
        from partner_tools.channels.partner_center import PartnerCenterChannel

        with self.wiring.open_partner_center(self.cancellation) as (client, executor, _):
            shown = PartnerCenterChannel(client=client, executor=executor, now=now).customers()
            return tuple(sorted(shown, key=lambda each: (each.domain or "", each.tenant_id)))

    def inventory(
        self, customer: str | None = None, *, observer: RunObserver = NULL_OBSERVER
    ) -> Estate:
        """Every device of a customer that Partner Center shows: all batches, all pages."""
        from partner_tools.channels.partner_center import PartnerCenterChannel

        named = self._customer(customer)
        with self.wiring.open_partner_center(self.cancellation, observer) as (client, executor, _):
            channel = PartnerCenterChannel(
                client=client,
                executor=executor,
                now=now,
                concurrency=self.config.concurrency,
                listed=observer.listed,
            )
            return channel.estate(channel.customer(named))

    def copy_ledger(self, target: str) -> str:
        """Copy the ledger into another, empty one; the head digest of both.

        `target` is a path of a SQLite file or an SQLAlchemy URL. Raises InputError if the
        ledger changed meanwhile.
        """
        with open_ledger(target, self.config) as copy:
            self.ledger.copy_to(copy)
            if self.ledger.head() != copy.head():
                raise InputError(
                    "the head of the copy differs from that of the original",
                    rule="migrate",
                    remedy="nothing else may write while a ledger is copied; copy it again",
                )
            return copy.head()

    def addressed(
        self, batch: Batch | ByName, via: str | None, customer: str | None
    ) -> tuple[Batch, ChannelName]:
        """The batch, read where it is named, with its channel and customer.

        Raises MissingValueError if nothing says them, else as `read_batch`.
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

    def _customer(self, named: str | None) -> str:
        """The customer that is named, else the profile's. Raises MissingValueError without one."""
        customer = named or self.config.text("customer")
        if customer is None:
            raise MissingValueError(
                "name the customer: --customer with a tenant id, domain or name", rule="no-customer"
            )
        return customer

    def _begin(
        self,
        run: RunId,
        steps: AbstractContextManager[Steps],
        batch: Batch,
        *,
        check: Callable[[RunContext], None] = lambda _context: None,
        plan_file: Path | None = None,
    ) -> RunResult:
        """Begin a run and carry it out, as far as its options say. `check` is before it exists."""
        from partner_tools.runs.run import begin, carry_out

        with self.ledger.hold(run), steps as opened:
            context = opened.context
            check(context)
            begin(context, batch, this_account(), plan_file=plan_file)
            carry_out(opened)
        return self._conclude(run, context.options, context.observer)

    def _open_steps(
        self, record: RunRecord, options: RunOptions, observer: RunObserver, confirm: Confirm
    ) -> AbstractContextManager[Steps]:
        """The steps of a run that was begun before."""
        if record.channel is ChannelName.MICROSOFT_GRAPH:
            from partner_tools.runs.cleanup import order_to_resume

            order = order_to_resume(self.ledger, record, held(self.config))
            return self.wiring.open_cleanup(record.run, order, options, observer, confirm)
        if record.channel is ChannelName.ASSESSMENT:
            from partner_tools.workspace.sign_in import customer_at

            found = customer_at(self.config, record.customer or "")
            return self.wiring.open_assessment(record.run, found, options, observer)
        return self.wiring.open_removal(record.run, record.channel, options, observer, confirm)

    def _repeated(
        self,
        batch: Batch,
        channel: ChannelName,
        options: RunOptions,
        confirm: Confirm,
        observer: RunObserver,
    ) -> RunResult | None:
        """Return the result of an earlier run of this very batch: repeated, or resumed.

        None if none did, or in a preview. Raises InputError if its id was used for another content.
        """
        before = earlier_run(self.ledger, batch, channel)
        if before is None or options.dry_run:
            return None
        by_digest = batch.batch_id.startswith("sha256:")
        named = "this batch" if by_digest else f"batch {batch.batch_id}"
        if not self._is_over(before, options, observer):
            observer.notify(f"{named} was begun by run {before.run}: resuming that run")
            resumed = self.resume(
                before.run,
                yes=options.yes,
                max_devices=options.max_devices,
                confirm=confirm,
                observer=observer,
            )
            return resumed if resumed.reports else self._with_reports(resumed, options, observer)
        observer.notify(
            f"{named} was completed by run {before.run} on "
            f"{before.created_at:%Y-%m-%d}: its result is printed again; --again starts a new run"
        )
        if channel is ChannelName.PARTNER_CENTER:  # it may have been registered again since
            self.verify(before.run, observer=observer)
        result = replace(self.result(before.run), is_reprinted=True)
        if any(still_listed(each.history) for each in result.devices):
            observer.notify("some removed devices are listed again; --again removes them again")
        observer.ended(result)
        return self._with_reports(result, options, observer)

    def _is_over(self, record: RunRecord, options: RunOptions, observer: RunObserver) -> bool:
        """Whether there is nothing to continue."""
        if options.dry_run and record.channel is ChannelName.MICROSOFT_GRAPH:
            observer.notify("it was only a preview; run cleanup again with --apply")
            return True
        if options.dry_run and record.state in (RunState.PLANNED, RunState.DRY_RUN):
            observer.notify(
                "a dry run has nothing to resume; `deregister --plan` executes its plan"
            )
            return True
        histories = (each.history for each in self.ledger.devices(record.run))
        is_done = record.state in ENDED and not unfinished(histories)
        return is_done or record.state is RunState.CANCELLED

    def _conclude(self, run: RunId, options: RunOptions, observer: RunObserver) -> RunResult:
        """Show what a run came to, and write the handoffs where they were asked for.

        Raises Interrupted if they cannot be written: the run is over.
        """
        result = self.result(run)
        observer.ended(result)
        return self._with_reports(result, options, observer)

    def _with_reports(
        self, result: RunResult, options: RunOptions, observer: RunObserver
    ) -> RunResult:
        if options.report is None:
            return result
        try:
            reports = self.report(result.run, options.report, options.formats)
        except InputError as error:
            missing = error.rule == "no-partner"
            more = " --partner-name NAME --partner-contact CONTACT" if missing else ""
            where = "it" if missing else "the handoff elsewhere"
            again = f"`partner-tools report {result.run} -o DIR{more}` writes {where}"
            raise undelivered(error, again) from error
        observer.notify(f"handoff files written to {options.report}: {len(reports)}")
        return replace(result, reports=reports)


def earlier_run(ledger: Ledger, batch: Batch, channel: ChannelName) -> RunRecord | None:
    """The newest run that began to carry out this very batch.

    Previews, and runs that were refused or cancelled, bind no batch id. Raises InputError if
    the id was used for another content.
    """
    bound = {RunState.FINISHED, RunState.STOPPED, RunState.INTERRUPTED}
    for record in ledger.runs(batch_id=batch.batch_id, channel=channel):
        if record.state not in bound or record.started_at is None:
            continue
        if batch.batch_id == batch.digest and not is_customer_of(ledger, record, batch.customer):
            continue  # a batch without an id of its own, for another customer
        refuse_other_batch(ledger, batch, record)
        return record
    return None


def refuse_other_batch(ledger: Ledger, batch: Batch, record: RunRecord) -> None:
    """Refuse a batch whose id a run has for another content, or for another customer.

    Raises InputError.
    """
    if record.batch_digest != batch.digest:
        used_for = "another content"
    elif not is_customer_of(ledger, record, batch.customer):
        used_for = "another customer"
    else:
        return
    raise InputError(
        f"the batch id {batch.batch_id!r} was used for {used_for} by run {record.run}",
        rule="batch-id-reused",
        remedy="give the new batch an id of its own, or start it anyway with --again",
    )


def is_customer_of(ledger: Ledger, record: RunRecord, named: str | None) -> bool:
    """Whether a run was for the customer that a batch names, by whichever of its names."""
    from partner_tools.runs.known_customers import customers_by_run

    if named is None or record.customer is None:  # a plan, or a list that names them itself
        return True
    known = customers_by_run(ledger, [record])[record.run]
    names = {record.customer, *(name for one in known for name in (one.tenant_id, one.domain))}
    names |= {one.name for one in known}
    return named.casefold() in {name.casefold() for name in names if name}


def _require_customers(batch: Batch, default: str | None) -> None:
    orphan = next((each for each in batch.devices if not (each.customer or default)), None)
    if orphan is not None:
        raise MissingValueError(
            f"row {orphan.row} names no customer: add --customer with a tenant id or a domain, "
            "or a customer column",
            rule="no-customer",
        )
