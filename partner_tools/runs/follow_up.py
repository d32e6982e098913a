"""The results of runs, and the open steps over all of them, after checking again.

A scheduled job calls `recheck` and then `follow_ups`. A device is counted once, as the newest run
that names it left it; one that was registered again has nothing open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from partner_tools.errors import (
    AuthError,
    DamagedRunError,
    Interrupted,
    LedgerError,
    PartnerToolsError,
)
from partner_tools.events import State
from partner_tools.files import writing
from partner_tools.ledger import Ledger, RunDevice, RunRecord
from partner_tools.model import (
    ENDED,
    ChannelName,
    Customer,
    Outcome,
    RunId,
    RunState,
    TenantId,
)
from partner_tools.outstanding import Owner, Status, Step, StepId
from partner_tools.report.guide import file_name, harmless
from partner_tools.report.handoff import HOLD_RULE, OPEN
from partner_tools.report.texts import Reminder, email, name_of, subject, text
from partner_tools.result import CANCELLED, DeviceResult, StopReason, still_listed
from partner_tools.runs.assessment import assessed
from partner_tools.runs.cleanup import accounts, stored_order
from partner_tools.runs.known_customers import customers_of
from partner_tools.runs.observation import decision
from partner_tools.runs.run_result import RunResult

OVER = ENDED | {RunState.STOPPED, RunState.INTERRUPTED}
"""The states in which a run has devices with an outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDevice:
    """A device with steps of the customer's that are not known to be done.

    `listed`: a service still shows it, although it was removed.
    """

    run: RunRecord
    device: RunDevice
    steps: tuple[Step, ...]
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """One customer's remaining work. `since` is when the oldest of its devices settled.

    `customer` is None for devices of which no tenant is known. `statuses` and `steps` count
    steps, `listed` counts devices that a service still shows after their removal.
    """

    customer: Customer | None
    devices: int
    listed: int
    statuses: Mapping[Status, int]
    steps: Mapping[StepId, int]
    since: datetime
    runs: tuple[RunId, ...]

    @property
    def name(self) -> str:
        """The customer's name."""
        return name_of(self.customer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The error that prevented a run from being checked again."""

    run: RunId
    error: PartnerToolsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """The customers to remind, as of `at`; `failures` are runs that could not be checked."""

    at: datetime
    follow_ups: tuple[FollowUp, ...]
    failures: tuple[Failure, ...] = ()
    partner: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """7 while anything that was removed is still listed; what kept us from looking; else 0."""
        if any(each.listed for each in self.follow_ups):
            return 7
        return self.failures[0].error.exit_code if self.failures else 0

    @property
    def document(self) -> dict[str, Any]:
        """As `verify --outstanding --output json` prints it; `schemas/outstanding.schema.json`."""
        return {
            "schemaVersion": "1",
            "checkedAt": self.at.isoformat(),
            "customers": [self.line(each) for each in self.follow_ups],
            "failures": [
                {"run": each.run, "message": str(each.error), "remedy": each.error.remedy}
                for each in self.failures
            ],
        }

    def line(self, follow_up: FollowUp) -> dict[str, Any]:
        """One customer; `text` is what a webhook of a chat takes."""
        customer = follow_up.customer
        return {
            "customer": None
            if customer is None
            else {
                "tenantId": customer.tenant_id,
                "domain": customer.domain,
                "name": customer.name,
            },
            "devices": follow_up.devices,
            "stillListed": follow_up.listed,
            "since": follow_up.since.isoformat(),
            "statuses": {status.value: number for status, number in follow_up.statuses.items()},
            "steps": {step.value: number for step, number in follow_up.steps.items()},
            "runs": list(follow_up.runs),
            "subject": subject(self.reminder(follow_up)),
            "text": text(self.reminder(follow_up)),
        }

    def reminder(self, follow_up: FollowUp) -> Reminder:
        """Build the customer's reminder, without attachments."""
        return Reminder(
            customer=follow_up.customer,
            devices=follow_up.devices,
            statuses=follow_up.statuses,
            steps=follow_up.steps,
            since=follow_up.since,
            sender=self.partner.get("name"),
            contact=self.partner.get("contact"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result of checking one run. `observable`: whether the channel shows registrations at all.

    `unseen` is the exit code of looking into the customer's tenant alone: 4 where nothing let us,
    5 where it was not available.
    """

    result: RunResult
    observable: bool
    unseen: int = 0

    @property
    def exit_code(self) -> int:
        """With what `verify` ends: 7 while anything that was removed is still listed."""
        if self.unseen == AuthError.exit_code:
            return self.unseen
        if self.result.channel is ChannelName.ASSESSMENT:
            return self.unseen or self.result.exit_code
        histories = [each.history for each in self.result.devices]
        unsettled = any(each.outcome is Outcome.UNKNOWN for each in histories)
        doubt = unsettled and not self.observable
        return 7 if doubt or any(still_listed(each) for each in histories) else self.unseen


def read_result(ledger: Ledger, run: str, at: datetime) -> RunResult:
    """The result of the run with this id or its beginning, as of now. Raises UnknownRunError."""
    record = ledger.run(run)
    told = _accounts(ledger, record, at)
    stop = _stop(ledger, record)
    return RunResult(
        run=record.run,
        channel=record.channel,
        state=record.state,
        devices=tuple(
            DeviceResult(
                device=each.device,
                history=each.history,
                account=told.get(each.index, {}),
                stop=stop,
            )
            for each in ledger.devices(record.run)
        ),
    )


def _stop(ledger: Ledger, record: RunRecord) -> StopReason | None:
    """Return the run's last stop; None where it continues, never stopped, or that was purged."""
    if record.state is RunState.CANCELLED:
        return CANCELLED
    payload = ledger.last_stop(record.run) if record.state is RunState.STOPPED else {}
    if not payload.get("detail"):
        return None
    return StopReason(
        detail=payload["detail"],
        remedy=payload.get("remedy") or "",
        rule=payload.get("rule") or "",
    )


def _accounts(ledger: Ledger, record: RunRecord, at: datetime) -> Mapping[int, Mapping[str, Any]]:
    """Return a cleanup's account of each device, step by step; an assessment's, by plane."""
    if record.channel is ChannelName.ASSESSMENT:
        return assessed(ledger, record, at)
    if record.channel is not ChannelName.MICROSOFT_GRAPH:
        return {}
    order = stored_order(ledger, record)
    return {} if order is None else accounts(ledger, record.run, order, at)


def open_devices(
    ledger: Ledger,
    at: datetime,
    *,
    since: datetime | None = None,
    customer: str | None = None,
    damaged: dict[RunId, Failure] | None = None,
) -> list[OpenDevice]:
    """Every device with something open, newest run first. `since` is when its run began.

    A run that cannot be read stops no other, and is added to `damaged`.
    """
    seen: set[tuple[str | None, str]] = set()
    found: list[OpenDevice] = []
    for record in ledger.runs(since=since, customer=customer):
        try:
            if record.state is RunState.DAMAGED:
                ledger.run(record.run)  # says what is wrong with it
            if record.state in OVER and record.channel is not ChannelName.MICROSOFT_GRAPH:
                found += list(_open_of(ledger, record, at, seen))
        except DamagedRunError as error:
            if damaged is not None:
                damaged[record.run] = Failure(run=record.run, error=error)
    return [each for each in found if customer in (None, each.device.history.customer)]


def recheck(
    open_ones: Iterable[OpenDevice],
    look: Callable[[RunRecord], None],
    notify: Callable[[str], None],
) -> list[Failure]:
    """Look again at every run that has something open; what is seen is durable on return.

    A failed check of one run does not block the others. Raises Interrupted and LedgerError.
    """
    failures = []
    for record in {each.run.run: each.run for each in open_ones}.values():
        try:
            look(record)
        except (Interrupted, LedgerError) as error:
            if not isinstance(error, DamagedRunError):
                raise
            failures.append(Failure(run=record.run, error=error))
        except PartnerToolsError as error:
            notify(f"run {record.run} could not be looked at again: {error}")
            failures.append(Failure(run=record.run, error=error))
    return failures


def follow_ups(ledger: Ledger, open_ones: Iterable[OpenDevice]) -> tuple[FollowUp, ...]:
    """The customers to remind, sorted by oldest outstanding step."""
    groups: dict[str | None, list[OpenDevice]] = {}
    for each in open_ones:
        groups.setdefault(each.device.history.customer, []).append(each)
    found = [_follow_up(_named(ledger, tenant, group), group) for tenant, group in groups.items()]
    return tuple(sorted(found, key=lambda one: (not one.statuses[Status.OUTSTANDING], one.since)))


def write_reminders(ledger: Ledger, found: Outstanding, folder: Path) -> Iterator[Path]:
    """Write an e-mail for each customer, the handoffs of its open runs attached; where it is."""
    for follow_up in found.follow_ups:
        domain = follow_up.customer.domain if follow_up.customer else None
        named = harmless((domain or name_of(follow_up.customer)).casefold())
        path = folder / f"reminder-{named}-{found.at:%Y%m%d}.eml"
        attachments = tuple(_handoffs(ledger, found, follow_up))
        with writing(path) as stream:
            stream.write(
                email(replace(found.reminder(follow_up), attachments=attachments), found.at)
            )
        yield path


def _handoffs(
    ledger: Ledger, found: Outstanding, follow_up: FollowUp
) -> Iterator[tuple[str, bytes]]:
    from partner_tools.report.page import write_page
    from partner_tools.runs.build_handoffs import handoffs

    tenant = None if follow_up.customer is None else follow_up.customer.tenant_id
    for run in follow_up.runs:
        for document in handoffs(ledger, run, partner=found.partner, now=found.at):
            if document["customer"]["tenantId"] == tenant:
                page = BytesIO()
                write_page(document, page)
                yield f"{file_name(document)}.html", page.getvalue()


def _open_of(
    ledger: Ledger, record: RunRecord, at: datetime, seen: set[tuple[str | None, str]]
) -> Iterator[OpenDevice]:
    """The open devices of a run that no newer run names; what it names is added to `seen`."""
    for device in ledger.devices(record.run, states={State.SETTLED}):
        name = device.device.identity.serial_number or device.device.identity.product_key_id
        key = (device.history.customer, name or f"{record.run}/{device.index}")
        if key in seen:
            continue
        seen.add(key)
        if device.history.restored == "done" or device.history.rule == HOLD_RULE:
            continue
        steps = tuple(
            step
            for step in decision(device, record.reason, at).steps
            if step.status in OPEN and step.owner is not Owner.PARTNER
        )
        listed = still_listed(device.history)
        if steps or listed:
            yield OpenDevice(run=record, device=device, steps=steps, listed=listed)


def _named(ledger: Ledger, tenant: str | None, group: Sequence[OpenDevice]) -> Customer | None:
    """The customer as the newest plan that names it knows it."""
    if tenant is None:
        return None
    for record in {each.run.run: each.run for each in group}.values():
        known = customers_of(ledger, record).get(tenant)
        if known is not None:
            return known
    return Customer(tenant_id=TenantId(tenant))


def _follow_up(customer: Customer | None, group: Sequence[OpenDevice]) -> FollowUp:
    steps = [step for each in group for step in each.steps]
    return FollowUp(
        customer=customer,
        devices=len(group),
        listed=sum(each.listed for each in group),
        statuses=Counter(step.status for step in steps),
        steps=Counter(step.id for step in steps),
        since=min(each.device.history.settled_at or each.run.created_at for each in group),
        runs=tuple({each.run.run: None for each in group}),
    )
