"""What is still open over all runs: which customers have to be chased, and looking again first.

A scheduled job calls `recheck` and then `chases`. A device is spoken of once, as the newest run
that names it left it; one that was registered again has nothing open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from partner_tools.errors import DamagedRunError, Interrupted, LedgerError, PartnerToolsError
from partner_tools.events import State
from partner_tools.ledger import Ledger, RunDevice, RunRecord
from partner_tools.model import PARTNER_CHANNELS, Customer, RunId, RunState, TenantId
from partner_tools.outstanding import Owner, Status, Step, StepId
from partner_tools.report.handoff import HOLD_RULE, OPEN
from partner_tools.result import still_listed
from partner_tools.runs.known_customers import customers_of
from partner_tools.runs.observation import decision

OVER = frozenset({RunState.FINISHED, RunState.STOPPED, RunState.INTERRUPTED})
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
class Chase:
    """What one customer still has to do. `since` is when the oldest of its devices settled.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What kept a run from being looked at again."""

    run: RunId
    error: PartnerToolsError


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
            if record.state in OVER and record.channel in PARTNER_CHANNELS:
                found += list(_open_of(ledger, record, at, seen))
        except DamagedRunError as error:
            if damaged is not None:
                damaged[record.run] = Failure(run=record.run, error=error)
    return [each for each in found if customer in (None, each.device.history.customer)]


def recheck(
    open_ones: Iterable[OpenDevice],
    look: Callable[[RunRecord], None],
    told: Callable[[str], None],
) -> list[Failure]:
    """Look again at every run that has something open; what is seen is durable on return.

    What keeps one run from being looked at stops no other. Raises Interrupted and LedgerError.
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
            told(f"run {record.run} could not be looked at again: {error}")
            failures.append(Failure(run=record.run, error=error))
    return failures


def chases(ledger: Ledger, open_ones: Iterable[OpenDevice]) -> tuple[Chase, ...]:
    """The customers to chase: who has had something outstanding for longest first."""
    groups: dict[str | None, list[OpenDevice]] = {}
    for each in open_ones:
        groups.setdefault(each.device.history.customer, []).append(each)
    found = [_chase(_named(ledger, tenant, group), group) for tenant, group in groups.items()]
    return tuple(sorted(found, key=lambda one: (not one.statuses[Status.OUTSTANDING], one.since)))


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


def _chase(customer: Customer | None, group: Sequence[OpenDevice]) -> Chase:
    steps = [step for each in group for step in each.steps]
    return Chase(
        customer=customer,
        devices=len(group),
        listed=sum(each.listed for each in group),
        statuses=Counter(step.status for step in steps),
        steps=Counter(step.id for step in steps),
        since=min(each.device.history.settled_at or each.run.created_at for each in group),
        runs=tuple({each.run.run: None for each in group}),
    )
