"""The results of runs, and the open steps over all of them, after checking again.

A scheduled job calls `recheck` and then `follow_ups`. A device is counted once, over all runs of
its customer that name it; one that this ledger registered again has nothing open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from partner_tools.errors import (
    AuthError,
    DamagedRunError,
    Interrupted,
    LedgerError,
    PartnerToolsError,
)
from partner_tools.events import Event, History, State
from partner_tools.files import writing
from partner_tools.json_forms import json_form
from partner_tools.ledger import DeviceTrace, Ledger, RunDevice, RunRecord
from partner_tools.model import (
    GONE,
    ChannelName,
    Customer,
    Outcome,
    RunId,
    RunState,
    TenantId,
)
from partner_tools.outstanding.types import Owner, Plane, Status, Step
from partner_tools.report.guide import file_name, harmless
from partner_tools.report.handoff import HOLD_RULE, OPEN
from partner_tools.report.texts import FollowUp, email, subject, text
from partner_tools.result import (
    CANCELLED,
    DeviceResult,
    StopReason,
    last_listed,
    still_listed,
)
from partner_tools.runs.assessment import assessed
from partner_tools.runs.cleanup import accounts, stored_order
from partner_tools.runs.context import RunResult
from partner_tools.runs.known_customers import customers_of
from partner_tools.runs.observation import decision
from partner_tools.runs.run import OVER


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
class Outstanding:
    """The customers to remind, as of `at`; `failures` say why runs could not be checked."""

    at: datetime
    follow_ups: tuple[FollowUp, ...]
    failures: Mapping[RunId, PartnerToolsError] = field(default_factory=dict)
    partner: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """7 while anything that was removed is still listed; what kept us from looking; else 0."""
        if any(each.listed for each in self.follow_ups):
            return 7
        return next((each.exit_code for each in self.failures.values()), 0)

    @property
    def document(self) -> dict[str, Any]:
        """As `verify --outstanding --output json` prints it; `schemas/outstanding.schema.json`."""
        return {
            "schemaVersion": "1",
            "checkedAt": self.at.isoformat(),
            "customers": [self.line(each) for each in self.follow_ups],
            "failures": [
                {"run": run, "message": str(error), "remedy": error.remedy}
                for run, error in self.failures.items()
            ],
        }

    def line(self, follow_up: FollowUp) -> dict[str, Any]:
        """One customer; `text` is what a webhook of a chat takes."""
        customer = follow_up.customer
        return {
            "customer": None if customer is None else json_form(customer, whole=True),
            "devices": follow_up.devices,
            "stillListed": follow_up.listed,
            "since": follow_up.since.isoformat(),
            "statuses": {status.value: number for status, number in follow_up.statuses.items()},
            "steps": {step.value: number for step, number in follow_up.steps.items()},
            "runs": list(follow_up.runs),
            "subject": subject(follow_up),
            "text": text(follow_up, self.partner),
        }


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
        state=RunState.PLANNED if record.state is RunState.DRY_RUN else record.state,
        devices=tuple(
            DeviceResult(
                device=each.device,
                history=_begun(each.history),
                account=told.get(each.index, {}),
                stop=stop,
            )
            for each in ledger.devices(record.run)
        ),
    )


def _begun(history: History) -> History:
    """A device with some of its steps done is not pending, which means not attempted."""
    if history.outcome is not Outcome.PENDING or not history.passed:
        return history
    detail = history.detail or f"done so far: {', '.join(history.passed)}; the rest is not"
    return replace(history, outcome=Outcome.UNKNOWN, detail=detail)


def _stop(ledger: Ledger, record: RunRecord) -> StopReason | None:
    """Return the run's last stop; None if it continues, never stopped, or that was purged."""
    if record.state is RunState.CANCELLED:
        return CANCELLED
    ended = record.state in (RunState.STOPPED, RunState.REFUSED)
    payload = ledger.last_stop(record.run) if ended else {}
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
    damaged: dict[RunId, PartnerToolsError] | None = None,
) -> list[OpenDevice]:
    """Every device with something open, newest run first. `since` is when its run began.

    Decided over all runs that name a device, whatever `since` is. A run that cannot be read stops
    no other, and is added to `damaged`.
    """
    records: list[RunRecord] = []
    for record in ledger.runs(customer=customer):
        if record.state is RunState.DAMAGED:
            with _naming(record, damaged):
                ledger.run(record.run)  # says what is wrong with it
        elif record.state in OVER and record.channel is not ChannelName.MICROSOFT_GRAPH:
            records.append(record)
    dismissed = ledger.dismissals([record.run for record in records])
    found: list[OpenDevice] = []
    for record, device in rulings(_settled(ledger, records, damaged)):
        if customer not in (None, device.history.customer):
            continue
        if since is not None and record.created_at < since:
            continue
        with _naming(record, damaged):
            if one := _open(record, device, at, dismissed.get(record.run)):
                found.append(one)
    return sorted(found, key=lambda one: (one.run.created_at, one.run.run), reverse=True)


def rulings(
    newest_first: Iterable[tuple[RunRecord, RunDevice]],
) -> Iterator[tuple[RunRecord, RunDevice]]:
    """Yield each settled device of each customer once, with the run that decides its state.

    The newest run that knows something of the device decides. A removal outranks newer runs that
    did not find the device any more, unless it was registered again after that removal.
    """
    decided: set[tuple[str | None, str]] = set()
    not_found: dict[tuple[str | None, str], tuple[RunRecord, RunDevice]] = {}
    for record, device in newest_first:
        history = device.history
        known_as = next(iter(device.identity.names), f"{record.run}/{device.index}").casefold()
        key = (history.customer, known_as)
        if key in decided or history.outcome is Outcome.DUPLICATE:
            continue
        if history.outcome in _NOT_FOUND:
            not_found.setdefault(key, (record, device))
            continue
        decided.add(key)
        if key not in not_found or (history.outcome in GONE and history.restored != "done"):
            not_found.pop(key, None)
            yield record, device
    yield from not_found.values()


def _settled(
    ledger: Ledger, records: Iterable[RunRecord], damaged: dict[RunId, PartnerToolsError] | None
) -> Iterator[tuple[RunRecord, RunDevice]]:
    for record in records:
        with _naming(record, damaged):
            for device in ledger.devices(record.run, states={State.SETTLED}):
                yield record, device


_NOT_FOUND = frozenset({Outcome.NOT_FOUND, Outcome.ALREADY_REMOVED, Outcome.UNCONFIRMED})


@contextmanager
def _naming(record: RunRecord, damaged: dict[RunId, PartnerToolsError] | None) -> Iterator[None]:
    """Add a run that cannot be read to `damaged`, and let the others be read."""
    try:
        yield
    except DamagedRunError as error:
        if damaged is not None:
            damaged[record.run] = error


def _open(
    record: RunRecord, device: RunDevice, at: datetime, dismissed: Event | None
) -> OpenDevice | None:
    """The steps that a device has open; None if there are none, or a person closed them.

    A run that found no device at all has nothing open: its customer was probably the wrong one.
    """
    history = device.history
    if history.restored == "done" or history.rule == HOLD_RULE:
        return None
    if not set(record.counts) - {Outcome.NOT_FOUND, Outcome.DUPLICATE}:
        return None
    listed = last_listed(history)
    if dismissed is not None and (listed is None or datetime.fromisoformat(listed) <= dismissed.at):
        return None
    steps = tuple(
        step
        for step in decision(device, record.reason, at).steps
        if step.status in OPEN and step.owner is not Owner.PARTNER
    )
    if not steps and listed is None:
        return None
    return OpenDevice(run=record, device=device, steps=steps, listed=listed is not None)


def where_is_it(
    ledger: Ledger,
    traces: Sequence[DeviceTrace],
    at: datetime,
    shown: Callable[[datetime], str] = datetime.isoformat,
) -> str | None:
    """One sentence on a device: what happened to it, when, by whom, and where it is now.

    `traces` are the newest first; None if there are none. `shown` writes a moment.
    """
    removals = [each for each in traces if each.run.channel is not ChannelName.MICROSOFT_GRAPH]
    # A cleanup that left a device alone takes back no removal.
    known = [(each.run, each.device) for each in removals or traces]
    settled = [each for each in known if each[1].history.state is State.SETTLED]
    record, device = next(rulings(settled), next(iter(known), (None, None)))
    if record is None or device is None:
        return None
    history = device.history
    named = customers_of(ledger, record).get(history.customer or "")
    customer = (named.domain or named.tenant_id) if named else history.customer
    who = f" for {customer}" if customer else ""
    when = f" on {shown(history.settled_at or record.created_at)}"
    by = f" by {record.actor}" if record.actor else ""
    is_preview = record.state is RunState.DRY_RUN
    happened = "only previewed" if is_preview else _HAPPENED.get(history.outcome, "not removed")
    sentence = f"{happened}{who}{when}{by} (run {record.run})"
    if history.outcome not in GONE:
        return f"{sentence}: {history.detail}" if history.detail else sentence
    return f"{sentence}. {_now(ledger, record, device, at, shown)}"


_HAPPENED = {
    Outcome.REMOVED: "removed from Windows Autopilot",
    Outcome.ABSENT: "already gone from Windows Autopilot",
    Outcome.ALREADY_REMOVED: "already removed from Windows Autopilot",
    Outcome.UNCONFIRMED: "not known to the service",
    Outcome.NOT_FOUND: "not found",
    Outcome.UNKNOWN: "in doubt: a request was sent and its answer is unknown",
    Outcome.PENDING: "not attempted yet",
}


def _now(
    ledger: Ledger,
    record: RunRecord,
    device: RunDevice,
    at: datetime,
    shown: Callable[[datetime], str],
) -> str:
    """Say where a device is that is gone: by the last check, and by the customer's open steps."""
    history = device.history
    if history.restored == "done":
        return "It was registered again by this ledger."
    if listed := last_listed(history):
        return f"A service listed it again on {shown(datetime.fromisoformat(listed))}."
    looks = [
        each["observedAt"]
        for each in history.evidence[history.looked_before or 0 :]
        if each.get("plane") == Plane.AUTOPILOT and each.get("status") == Status.CLEAR
    ]
    seen = "It has not been checked since."
    if looks:
        seen = f"It was no longer listed on {shown(datetime.fromisoformat(max(looks)))}."
    if record.run in ledger.dismissals([record.run]):
        return f"{seen} Its outstanding steps were dismissed."
    one = _open(record, device, at, None)
    steps = ", ".join(step.id.value for step in one.steps) if one else ""
    if not steps:
        return f"{seen} No step is open."
    return f"{seen} Not known to be done at the customer: {steps}."


def recheck(
    open_ones: Iterable[OpenDevice],
    look: Callable[[RunRecord], None],
    notify: Callable[[str], None],
) -> dict[RunId, PartnerToolsError]:
    """Look again at every run that has something open; what is seen is durable on return.

    A failed check of one run does not block the others. Raises Interrupted and LedgerError.
    """
    failures: dict[RunId, PartnerToolsError] = {}
    for record in {each.run.run: each.run for each in open_ones}.values():
        try:
            look(record)
        except DamagedRunError as error:
            failures[record.run] = error
        except (Interrupted, LedgerError):
            raise
        except PartnerToolsError as error:
            notify(f"run {record.run} could not be checked again: {error}")
            failures[record.run] = error
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
        named = harmless((domain or follow_up.name).casefold())
        path = folder / f"reminder-{named}-{found.at:%Y%m%d}.eml"
        attachments = tuple(_handoffs(ledger, found, follow_up))
        with writing(path) as stream:
            stream.write(email(follow_up, found.partner, found.at, attachments))
        yield path


def _handoffs(
    ledger: Ledger, found: Outstanding, follow_up: FollowUp
) -> Iterator[tuple[str, bytes]]:
    from partner_tools.runs.build_handoffs import handoffs

    tenant = None if follow_up.customer is None else follow_up.customer.tenant_id
    for run in follow_up.runs:
        for each in handoffs(ledger, run, partner=found.partner, now=found.at):
            if each.document["customer"]["tenantId"] == tenant:
                yield f"{file_name(each.document)}.html", each.page


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
