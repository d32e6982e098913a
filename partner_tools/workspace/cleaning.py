"""Takes a cleanup from its handoff to its end: the one way there, for commands and Python."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from partner_tools.config import Config
from partner_tools.errors import GuardError, InputError
from partner_tools.events import Kind
from partner_tools.files import require_folder
from partner_tools.guards import check_number
from partner_tools.model import (
    Batch,
    ChannelName,
    Customer,
    Plan,
    PlannedCustomer,
    PlannedDevice,
    RunId,
    RunState,
    TenantId,
)
from partner_tools.strict_json import InvalidTextError, read_json
from partner_tools.workspace.conduct import Confirm, actor
from partner_tools.workspace.environment import new_id, now
from partner_tools.workspace.onlooker import Onlooker
from partner_tools.workspace.results import RunResult, read_result
from partner_tools.workspace.stopping import StopSign
from partner_tools.workspace.user_files import read_bytes
from partner_tools.workspace.wiring import held, limits

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger, RunRecord
    from partner_tools.report.results import Received
    from partner_tools.runs.cleanup import Site
    from partner_tools.runs.cleanup_order import Assignment

_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LARGEST_HANDOFF: Final = 256 * 1024 * 1024
"""Bytes; ten thousand devices take about twenty million."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupWishes:
    """How a cleanup goes; stored with the run, so that `resume` goes on alike.

    Without `apply` nothing is changed. `yes` asks nobody. `keys_saved` says that BitLocker keys and
    local administrator passwords are saved elsewhere. `max_devices` is the most that may be touched
    (the profile's, else 500). `settle` is for how many seconds to wait until what was deleted is
    gone. `report` is the folder for the updated handoff (that of the given one), in these `formats`
    (all of the default where none is named).
    """

    apply: bool = False
    yes: bool = False
    keys_saved: bool = False
    keys_receipt: Path | None = None
    max_devices: int | None = None
    settle: float = 1800.0
    report: Path | None = None
    formats: tuple[str, ...] = ()

    def stored(self) -> dict[str, Any]:
        """As the ledger keeps them."""
        return {
            "apply": self.apply,
            "yes": self.yes,
            "keysSaved": self.keys_saved,
            "maxDevices": self.max_devices,
            "settle": self.settle,
            "report": None if self.report is None else str(self.report.absolute()),
            "formats": list(self.formats),
        }

    @classmethod
    def restored(cls, settings: Mapping[str, Any]) -> CleanupWishes:
        """What an earlier run was begun with."""
        report = settings["report"]
        return cls(
            apply=bool(settings["apply"]),
            yes=bool(settings["yes"]),
            keys_saved=bool(settings["keysSaved"]),
            max_devices=settings["maxDevices"],
            settle=float(settings["settle"]),
            report=None if report is None else Path(report),
            formats=tuple(settings["formats"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaning:
    """One way with one cleanup. `confirm` is asked where the wishes do not say yes.

    `report` writes the handoff of a run into a folder.
    """

    config: Config
    ledger: Ledger
    stop: StopSign
    run: RunId
    onlooker: Onlooker
    confirm: Confirm
    report: Callable[[str, Path, tuple[str, ...]], tuple[Path, ...]]


def begin(cleaning: Cleaning, handoff: Path, wishes: CleanupWishes) -> RunResult:
    """Begin a cleanup with a handoff and take it to its end. See `Workspace.cleanup`."""
    from partner_tools.workspace.sign_in import graph_tokens

    document = read_handoff(handoff)
    received = received_from(document, handoff)
    receipt = read_receipt(wishes.keys_receipt, document)
    wishes = replace(wishes, report=wishes.report or handoff.parent)
    graph_tokens(cleaning.config, _tenant_of(received))  # a run needs somebody to sign in
    if wishes.apply:
        require_folder(wishes.report or handoff.parent)
    with cleaning.ledger.hold(cleaning.run):
        _store(cleaning, document, received, handoff, wishes.stored() | {"keysReceipt": receipt})
        cleaning.onlooker.began(cleaning.run)
        _go_on(cleaning, wishes)
    return _finish(cleaning, wishes)


def resume(
    cleaning: Cleaning, record: RunRecord, *, yes: bool, max_devices: int | None
) -> RunResult:
    """Finish a cleanup that was interrupted; of one that is over the result comes back."""
    stored = CleanupWishes.restored(record.settings)
    limit = stored.max_devices if max_devices is None else max_devices
    wishes = replace(stored, yes=yes or stored.yes, max_devices=limit)
    if not wishes.apply:
        cleaning.onlooker.told("it was only looked at; run cleanup again with --apply")
    if not wishes.apply or record.state in (RunState.CANCELLED, RunState.FINISHED):
        return _ended(cleaning)
    with cleaning.ledger.hold(record.run):
        _adopt_again(cleaning, cleaning.ledger.run(record.run))
        cleaning.onlooker.began(record.run)
        _go_on(cleaning, wishes)
    return _finish(cleaning, wishes)


def _adopt_again(cleaning: Cleaning, record: RunRecord) -> None:
    """Store the handoff of a run that ended before it was stored. Raises InputError where the
    file is no longer the one that the run was begun with."""
    from partner_tools.json_forms import digest_of_bytes
    from partner_tools.runs.cleanup import adopt

    if record.plan_digest is not None:
        return
    path = Path(record.file)
    if not path.is_file() or digest_of_bytes(path.read_bytes()) != record.batch_digest:
        raise InputError(
            f"run {record.run} ended before its handoff was stored, and {record.file!r} is not "
            "the file that it was begun with any more",
            rule="no-handoff",
            remedy="run cleanup again with the handoff; nothing was changed",
        )
    document = read_handoff(path)
    customer = _customer_of(received_from(document, path))
    adopt(cleaning.ledger, record.run, document, customer, now())


def _store(
    cleaning: Cleaning,
    document: Mapping[str, Any],
    received: Received,
    path: Path,
    settings: dict[str, Any],
) -> None:
    """Make the handoff a run with its plan; durable on return."""
    from partner_tools.json_forms import digest_of_bytes
    from partner_tools.runs.begin import begin as begin_run
    from partner_tools.runs.cleanup import adopt

    batch = Batch(
        batch_id=received.run.batch_id,
        file=str(path.absolute()),
        digest=digest_of_bytes(path.read_bytes()),
        devices=tuple(each.device for each in received.devices),
        reason=received.run.reason,
        customer=_tenant_of(received),
    )
    begin_run(
        cleaning.ledger,
        cleaning.run,
        batch,
        channel=ChannelName.MICROSOFT_GRAPH,
        settings=settings,
        actor=actor(),
        now=now(),
    )
    adopt(cleaning.ledger, cleaning.run, document, _customer_of(received), now())


def _go_on(cleaning: Cleaning, wishes: CleanupWishes) -> None:
    """Look, and where it is wished confirm and carry out."""
    from partner_tools.runs.cleanup import clean, survey

    record = cleaning.ledger.run(cleaning.run)
    given = _assignment(cleaning, record)
    with _site(cleaning, given, str(record.customer)) as site:
        cleaning.onlooker.told("looking for every device in the tenant, which changes nothing")
        survey(site)
        plan = _plan(site, record, given)
        cleaning.onlooker.planned(plan)
        if not wishes.apply:
            return
        touched = sum(each.removals for each in plan.customers)
        check_number(limits(cleaning.config, wishes.max_devices), touched)
        if touched and not wishes.yes and not cleaning.confirm(plan):
            raise GuardError(
                "not confirmed: nothing was changed",
                rule="not-confirmed",
                remedy="run it again when you are sure",
            )
        site.note(cleaning.run, Kind.CONFIRMED, removals=touched, asked=not wishes.yes)
        with cleaning.onlooker.removing(touched, lambda: ""):
            clean(site, settle_seconds=wishes.settle)


def _finish(cleaning: Cleaning, wishes: CleanupWishes) -> RunResult:
    """Tell that the run is over, and write the handoff anew where something may have changed."""
    result = _ended(cleaning)
    if not wishes.apply or wishes.report is None:
        return result
    reports = cleaning.report(cleaning.run, wishes.report, wishes.formats)
    cleaning.onlooker.told(f"{len(reports)} files of the updated handoff are in {wishes.report}")
    return replace(result, reports=reports)


def _ended(cleaning: Cleaning) -> RunResult:
    result = read_result(cleaning.ledger, cleaning.run)
    cleaning.onlooker.ended(result)
    return result


def _assignment(cleaning: Cleaning, record: RunRecord) -> Assignment:
    from partner_tools.runs.cleanup_order import stored_assignment

    hold_list = held(cleaning.config)
    given = stored_assignment(cleaning.ledger, cleaning.run, record.settings, hold_list)
    if given is None:
        raise InputError(
            f"run {cleaning.run} has no handoff to go on with: it was purged",
            rule="no-handoff",
            remedy="run cleanup again with the handoff; nothing was changed",
        )
    return given


def _plan(site: Site, record: RunRecord, given: Assignment) -> Plan:
    """What will be touched, in the form in which a plan is confirmed and shown."""
    from partner_tools.runs.cleanup import count_touched

    tenant = TenantId(site.tenant)
    customer = given.received.customer or Customer(tenant_id=tenant)
    return Plan(
        run=record.run,
        channel=record.channel,
        created_at=now(),
        batch_id=record.batch_id,
        batch_digest=record.batch_digest,
        reason=record.reason,
        customers=(PlannedCustomer(customer=customer, estate=0, removals=count_touched(site)),),
        devices=tuple(
            PlannedDevice(
                index=each.index,
                device=each.device,
                customer=tenant,
                outcome=each.history.outcome,
            )
            for each in site.ledger.devices(record.run)
        ),
    )


@contextmanager
def _site(cleaning: Cleaning, given: Assignment, tenant: str) -> Iterator[Site]:
    """The way into the tenant, with one pace for looking and one for changing."""
    from partner_tools.channels.customer_tenant import CustomerTenantChannel
    from partner_tools.clients.graph import Changes, Graph
    from partner_tools.clients.transport import Transport
    from partner_tools.engine.desk import Desk
    from partner_tools.engine.rate_limiter import FixedRateLimiter
    from partner_tools.engine.request_executor import RequestExecutor
    from partner_tools.pacing import Policy
    from partner_tools.runs.cleanup import AT_A_TIME, WRITES, Site
    from partner_tools.workspace.sign_in import GRAPH_URL, graph_tokens
    from partner_tools.workspace.watch import lookout

    config, stop = cleaning.config, cleaning.stop
    with (
        lookout(config, cleaning.ledger, stop, tenant) as looking,
        Transport(
            config.text("urls", "graph") or GRAPH_URL,
            tokens=graph_tokens(config, tenant),
            ca_bundle=config.path("ca_bundle"),
            timeout=config.timeout,
        ) as transport,
    ):
        changes = Changes(transport, now=now)
        line = RequestExecutor(
            pace=FixedRateLimiter(WRITES, clock=stop.clock),
            policy=Policy(),
            stop=stop,
            clock=stop.clock,
            nap=stop.nap,
            jitter=random.random,
            renew=transport.renew_token,
        )
        channel = CustomerTenantChannel(
            Graph(transport, ids=new_id, now=now),
            changes,
            line=looking.line,
            stop=stop,
            justification=f"partner-tools cleanup, run {cleaning.run}, after the partner's run "
            f"{given.received.run.id}",
        )
        desk = Desk(
            run=cleaning.run,
            channel=channel,
            line=line,
            record=cleaning.ledger.record,
            now=now,
            new_id=new_id,
            settled=cleaning.onlooker.settled,
            concurrency=min(AT_A_TIME, config.concurrency),
        )
        yield Site(
            ledger=cleaning.ledger,
            lookout=looking,
            syncing=changes,
            desk=desk,
            assignment=given,
            tenant=tenant,
            tell=cleaning.onlooker.told,
        )


def read_handoff(path: Path) -> dict[str, Any]:
    """The document, checked against its schema. Raises InputError for what is no handoff."""
    from partner_tools.intake.schema import checker

    try:
        document = read_json(read_bytes(path, LARGEST_HANDOFF))
    except (OSError, InvalidTextError) as error:
        why = getattr(error, "strerror", None) or error
        raise _no_handoff(path, "handoff-unreadable", f"cannot be read: {why}") from error
    faults = checker("handoff").violations(document)
    if faults:
        where = faults[0].place("/") or "the whole file"
        raise _no_handoff(path, "handoff-invalid", f"is no handoff: {where}: {faults[0].message}")
    kept: dict[str, Any] = document
    return kept


def read_receipt(path: Path | None, handoff: Mapping[str, Any]) -> list[list[Any]] | None:
    """What a receipt of the script's `-SaveKeys` says was saved: row, serial number, counts of keys
    and of passwords. Raises InputError where it is none, or one of another handoff."""
    from partner_tools.intake.schema import checker
    from partner_tools.json_forms import digest

    if path is None:
        return None
    why, receipt = "", None
    try:
        receipt = read_json(read_bytes(path, LARGEST_HANDOFF))
    except (OSError, InvalidTextError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if not why and (faults := checker("keys-receipt").violations(receipt)):
        why = f"is no receipt: {faults[0].place('/') or 'the whole file'}: {faults[0].message}"
    if not why and receipt["answers"] != digest(handoff):
        why = "belongs to another handoff"
    if why:
        raise InputError(
            f"{str(path)!r} {why}",
            rule="keys-receipt",
            remedy="name the receipt (handoff-keys-receipt-….json) that the handoff's PowerShell "
            "file wrote with -SaveKeys",
        )
    return [
        [one["row"], one["serialNumber"], one["recoveryKeys"], one["localPasswords"]]
        for one in receipt["devices"]
        if one["result"] == "saved"
    ]


def received_from(document: Mapping[str, Any], path: Path) -> Received:
    """What the handoff says. Raises InputError where it is nobody's or holds no real moments."""
    from partner_tools.report.results import read_received

    try:
        received = read_received(document)
    except ValueError as error:
        raise _no_handoff(path, "handoff-invalid", f"is no handoff: {error}") from error
    _customer_of(received)
    return received


def _tenant_of(received: Received) -> str:
    return _customer_of(received).tenant_id


def _customer_of(received: Received) -> Customer:
    customer = received.customer
    if customer is None or not _TENANT.fullmatch(customer.tenant_id):
        raise InputError(
            "the handoff does not say whose it is: it names no tenant id",
            rule="no-tenant",
            remedy="ask the partner for a handoff that is assigned to your tenant",
        )
    return customer


def _no_handoff(path: Path, rule: str, why: str) -> InputError:
    return InputError(
        f"{str(path)!r} {why}",
        rule=rule,
        remedy="name the JSON file of the handoff (handoff-….json), as the partner sent it",
    )
