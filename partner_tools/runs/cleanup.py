"""Cleans up the customer's own tenant after a handoff: looks, takes the steps that are due, waits.

The handoff is the plan of the run, stored with it, so that a resume needs no file. Every round
begins with a look, and the next step follows from what it shows: so a process that died anywhere
is continued in the same way as one that did not. A step in doubt is looked for first; a step that
is done is never sent again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

from partner_tools.clients.graph import CHANGE_PERMISSIONS, ApprovalNeeded, Changes
from partner_tools.engine.execute import ROUNDS, execute
from partner_tools.engine.rate_limiter import FixedRate
from partner_tools.engine.request_executor import interruption
from partner_tools.errors import AuthError, InputError, Rejected, ServiceError
from partner_tools.events import Act, Event, Kind, State
from partner_tools.files import HANDOFF_BYTES, read_document
from partner_tools.guards import check_number
from partner_tools.json_forms import digest, digest_of_bytes, stated
from partner_tools.ledger import Ledger, RunDevice, RunRecord
from partner_tools.model import (
    GONE,
    Batch,
    Customer,
    Plan,
    PlannedCustomer,
    PlannedDevice,
    RunId,
)
from partner_tools.outstanding.cleanup_plan import (
    CleanupAction,
    CleanupPlan,
    FinalOutcome,
    plan_cleanup,
    refused,
)
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.evidence import probe_from
from partner_tools.outstanding.types import (
    HOMES,
    DeviceFacts,
    Flag,
    Probe,
    ProbeResult,
    StepId,
    Subject,
)
from partner_tools.plan import holds
from partner_tools.report.handoff import HandoffDevice, facts_of
from partner_tools.report.results import Received, read_received
from partner_tools.runs.context import RunContext, RunOptions
from partner_tools.runs.observation import observe
from partner_tools.runs.planning import store_plan
from partner_tools.runs.tenant import TenantReader

WRITES: Final = FixedRate(requests=100, seconds=20.0)
"""The smallest of the limits that Microsoft publishes for what is changed here: Intune's enrollment
service, per app and tenant; that it counts for Autopilot identities is assumed
(https://learn.microsoft.com/graph/throttling-limits, read 2026-11)."""
SYNC_EVERY: Final = timedelta(minutes=10)
"""https://learn.microsoft.com/autopilot/add-devices, read 2026-11."""
SETTLE_SECONDS: Final = 1800.0
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0

_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OPEN = frozenset(
    {State.READY, State.SENT, State.DOUBT, State.RESENT, State.ACCEPTED, State.BETWEEN}
)
_SPREADING = frozenset({StepId.DEREGISTER_FROM_AUTOPILOT, StepId.CONFIRM_AUTOPILOT_REMOVAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupOrder:
    """The order of a cleanup: the handoff, and the options given with it.

    `document` is the handoff as read, `customer` the owner of its devices; `held` is the hold
    list.
    """

    document: Mapping[str, Any]
    received: Received
    customer: Customer
    keys_saved: bool = False
    saved_keys: Mapping[tuple[int, str | None], tuple[int, int]] = field(default_factory=dict)
    """By row and serial number how many keys and passwords a receipt says are saved."""
    held: frozenset[str] = frozenset()

    def with_keys(self, options: RunOptions) -> CleanupOrder:
        """The order with what the options say of saved keys."""
        saved = {(row, serial): (keys, more) for row, serial, keys, more in options.saved_keys}
        return replace(self, keys_saved=options.keys_saved, saved_keys=saved)

    def batch(self, path: Path) -> Batch:
        """The handoff's devices as the batch of the run."""
        return Batch(
            batch_id=self.received.run.batch_id,
            file=str(path.absolute()),
            digest=digest_of_bytes(path.read_bytes()),
            devices=tuple(each.device for each in self.received.devices),
            reason=self.received.run.reason,
            customer=self.customer.tenant_id,
        )

    def earlier(self) -> dict[int, tuple[Probe, ...]]:
        """Return the handoff's evidence by device: this run's ledger doesn't hold it."""
        return {
            index: tuple(probe_from(seen) for seen in each.evidence)
            for index, each in enumerate(self.received.devices)
        }

    def course(self, device: RunDevice, at: datetime) -> CleanupPlan:
        """Plan the remaining work for a device from all evidence."""
        given = self.received.devices[device.index]
        seen = replace(
            given,
            evidence=(*given.evidence, *device.history.evidence),
            flags=self._flags(given, device.history.evidence),
        )
        known: DeviceFacts = facts_of(seen, self.received.run, at)
        return plan_cleanup(known, decide(known), device.history.passed)

    def updated(self, device: RunDevice) -> HandoffDevice:
        """A device of the handoff with what the cleanup saw and did."""
        given, history = self.received.devices[device.index], device.history
        said = None
        if history.detail is not None:
            said = f"cleanup: {history.outcome.value}: {history.detail}"
        return replace(
            given,
            evidence=(*given.evidence, *history.evidence),
            flags=self._flags(given, history.evidence),
            detail="; ".join(filter(None, (given.detail, said))) or None,
            remedy=history.remedy or given.remedy,
        )

    def _flags(self, given: HandoffDevice, seen: Iterable[Mapping[str, Any]]) -> frozenset[Flag]:
        identity = given.device.identity
        saved = self.saved_keys.get((given.device.row, identity.serial_number))
        certain = saved is not None and _covers(saved, seen)
        flags = {Flag.KEYS_SAVED} if self.keys_saved or certain else set()
        if holds(self.held, identity.names):
            flags.add(Flag.HELD)
        return given.flags | flags


def _covers(saved: tuple[int, int], seen: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a receipt counts all keys and passwords that the last look at the directory showed.

    A look that failed, or none at all, shows nothing that a receipt could be compared with.
    """
    shown: dict[Subject, int | None] = {}
    for probe in map(probe_from, seen):
        failed = probe.result is ProbeResult.FAILED
        shown[probe.subject] = None if failed else len(probe.found)
    counts = (shown.get(Subject.RECOVERY_KEYS), shown.get(Subject.LOCAL_PASSWORD))
    return all(
        count is not None and count <= limit for count, limit in zip(counts, saved, strict=True)
    )


def read_receipt(
    path: Path, handoff: Mapping[str, Any]
) -> tuple[tuple[int, str | None, int, int], ...]:
    """Read the saved keys from a receipt of the script's -SaveKeys, as `RunOptions` has them.

    Raises InputError for an invalid receipt, or one of another handoff.
    """
    from partner_tools.intake.schema import checker

    remedy = "name the receipt (handoff-keys-receipt-….json) that -SaveKeys wrote"
    receipt: dict[str, Any] = read_document(
        path, HANDOFF_BYTES, what="the receipt", rule="keys-receipt", remedy=remedy
    )
    why = ""
    if faults := checker("keys-receipt").violations(receipt):
        why = f"is no receipt: {faults[0].place('/') or 'the whole file'}: {faults[0].message}"
    elif receipt["answers"] != digest(handoff):
        why = "belongs to another handoff"
    if why:
        raise InputError(f"{str(path)!r} {why}", rule="keys-receipt", remedy=remedy)
    return tuple(
        (one["row"], one["serialNumber"], one["recoveryKeys"], one["localPasswords"])
        for one in receipt["devices"]
        if one["result"] == "saved"
    )


def read_order(path: Path, *, held: frozenset[str] = frozenset()) -> CleanupOrder:
    """Read a handoff's file. Raises InputError if it isn't a handoff, or has no customer."""
    from partner_tools.intake.schema import checker

    document: dict[str, Any] = read_document(
        path,
        HANDOFF_BYTES,
        what="the handoff",
        rule="handoff-unreadable",
        remedy=_REMEDY,
    )
    faults = checker("handoff").violations(document)
    if faults:
        where = faults[0].place("/") or "the whole file"
        raise _no_handoff(path, f"{where}: {faults[0].message}")
    try:
        return _order(document, held)
    except ValueError as error:
        raise _no_handoff(path, str(error)) from error


def stored_order(
    ledger: Ledger, record: RunRecord, held: frozenset[str] = frozenset()
) -> CleanupOrder | None:
    """Return a run's order; None where it ended before it was planned, or was purged."""
    text = ledger.plan(record.run)
    if text is None:
        return None
    return _ordered_in(record, _order(json.loads(text)["handoff"], held))


def _ordered_in(record: RunRecord, order: CleanupOrder) -> CleanupOrder:
    """The order with what was said of the keys when the run was begun."""
    return order.with_keys(RunOptions.restored(record.settings))


def _order(document: Mapping[str, Any], held: frozenset[str]) -> CleanupOrder:
    received = read_received(document)
    customer = received.customer
    if customer is None or not _TENANT.fullmatch(customer.tenant_id):
        raise InputError(
            "the handoff does not say whose it is: it names no tenant id",
            rule="no-tenant",
            remedy="ask the partner for a handoff that is assigned to your tenant",
        )
    return CleanupOrder(document=document, received=received, customer=customer, held=held)


def order_to_resume(ledger: Ledger, record: RunRecord, held: frozenset[str]) -> CleanupOrder:
    """The order of an earlier run: as stored, else read from its file once more.

    Raises InputError where it was purged, or the file is not the one that the run began with.
    """
    if order := stored_order(ledger, record, held):
        return order
    path = Path(record.file)
    if record.plan_digest is not None:
        why = "has no handoff any more: it was purged"
    elif path.is_file() and digest_of_bytes(path.read_bytes()) == record.batch_digest:
        return _ordered_in(record, read_order(path, held=held))
    else:
        why = (
            f"ended before its handoff was stored, and {record.file!r} is not the file that it was "
            "begun with any more"
        )
    raise InputError(
        f"run {record.run} {why}",
        rule="no-handoff",
        remedy="run cleanup again with the handoff; nothing was changed",
    )


_REMEDY = "name the JSON file of the handoff (handoff-….json), as the partner sent it"


def _no_handoff(path: Path, why: str) -> InputError:
    return InputError(f"{str(path)!r} is no handoff: {why}", rule="handoff-invalid", remedy=_REMEDY)


@dataclass(slots=True, kw_only=True)
class CleanupSteps:
    """The `runs.run.Steps` of a cleanup, in one customer's tenant."""

    end: ClassVar[Kind] = Kind.FINISHED
    context: RunContext
    order: CleanupOrder
    reader: TenantReader
    changes: Changes
    granted: Callable[[], tuple[str, ...]]
    """The permissions in the sign-in's token; none where it does not say."""
    _tries: Counter[tuple[int, StepId]] = field(default_factory=Counter)
    _parked: set[int] = field(default_factory=set)
    _may_sync: bool = True

    def plan(self) -> Plan:
        """Store the handoff as the plan, look for every device, and name what will be touched."""
        context = self.context
        record = context.ledger.run(context.run)
        if record.plan_digest is None:
            content = {"schemaVersion": "1", "handoff": self.order.document}
            store_plan(context, self._planned(record, 0), {**content, "digest": digest(content)})
        context.observer.notify("looking for every device in the tenant, which changes nothing")
        with context.noting_end():
            courses = self._look_and_decide(briefly=False)
            self._refuse_missing_permissions(courses.values())
        touched = sum(bool(each.moves) for each in courses.values())
        plan = self._planned(record, touched)
        context.observer.planned(plan)
        return plan

    def _planned(self, record: RunRecord, touched: int) -> Plan:
        """The devices with their outcomes so far, of which a number will be touched."""
        customer = self.order.customer
        return Plan(
            run=record.run,
            channel=record.channel,
            created_at=self.context.now(),
            batch_id=record.batch_id,
            batch_digest=record.batch_digest,
            reason=record.reason,
            customers=(PlannedCustomer(customer=customer, estate=0, removals=touched),),
            devices=tuple(
                PlannedDevice(
                    index=each.index,
                    device=each.device,
                    customer=customer.tenant_id,
                    outcome=each.history.outcome,
                )
                for each in self.context.ledger.devices(record.run)
            ),
        )

    def check(self, plan: Plan) -> Plan:
        """Refuse more devices than may be touched; the hold list is part of every decision."""
        check_number(self.context.guards.limits, self.count(plan))
        return plan

    def count(self, plan: Plan) -> int:
        """How many devices are touched: those with a step to take."""
        return sum(each.removals for each in plan.customers)

    def compare(self, plan: Plan, settled: Collection[int]) -> None:
        """Nothing: each round of the execution looks first."""

    def execute(self, plan: Plan) -> None:
        """Take every step that is due, in order, and wait until what was deleted is gone.

        Waits for the time to settle after the last step.
        """
        self._take_rounds()
        courses = self._look_and_decide(briefly=False)
        self._give_up_contradictions(courses)

    def verify(self) -> None:
        """Look once more for what was removed: what the directory has of it by now."""
        gone = [
            each
            for each in self.context.ledger.devices(self.context.run, states={State.SETTLED})
            if each.history.passed
        ]
        if gone:
            observe(self.reader, gone, earlier=self.order.earlier())

    def unfinished(self) -> str | None:
        """Why the run waits: something is still awaited, by a person too."""
        waiting = self._open_devices()
        if not waiting:
            return None
        parked = sum(each.history.approval is not None for each in waiting)
        detail = f"{len(waiting)} devices are not finished, {parked} of them wait for an approval"
        first = self._first({each.index for each in waiting})
        if first is None or len(waiting) == 1:
            return detail
        return f"{detail}; no other begins before the first one is finished"

    def _refuse_missing_permissions(self, courses: Iterable[CleanupPlan]) -> None:
        """Raise AuthError where the token lacks a permission that a step to take needs."""
        granted = {name.casefold() for name in self.granted()}
        needed = {CHANGE_PERMISSIONS[move.step] for one in courses for move in one.moves}
        if needed and not granted:
            self.context.observer.notify(
                "the token does not say its permissions: the first device shows whether they do"
            )
        missing = sorted(name for name in needed if granted and name.casefold() not in granted)
        if missing:
            raise AuthError(
                f"the sign-in may not do every step: it lacks {', '.join(missing)}",
                rule="permission-missing",
                remedy=f"give the app or account {', '.join(missing)} in the tenant, then run "
                "cleanup again",
            )

    def _first(self, indexes: Collection[int]) -> int | None:
        """The device that has to be finished before any other begins; None once one is.

        If it was begun and cannot be finished, it stays the one: the run touches no other.
        """
        unbegun = None
        for each in self.context.ledger.devices(self.context.run):
            history = each.history
            if history.passed and history.outcome in GONE:
                return None
            if history.passed or (each.index in indexes and history.step):
                return each.index
            if unbegun is None and each.index in indexes:
                unbegun = each.index
        return unbegun

    def _open_devices(self) -> list[RunDevice]:
        """The devices without an outcome, as the ledger has them now."""
        return list(self.context.ledger.devices(self.context.run, states=_OPEN))

    def _take_rounds(self) -> None:
        """Look, step, pause: until nothing is left to do but for other people, or patience ends.

        Raises Interrupted.
        """
        context, pause = self.context, FIRST_PAUSE_SECONDS
        options, clock = context.options, context.token.clock
        settle = SETTLE_SECONDS if options.settle is None else options.settle
        deadline = clock() + settle
        while courses := self._look_and_decide(briefly=True):
            due = self._due(courses)
            first = self._first(due.keys() | {at for at, one in courses.items() if one.awaited})
            if first is not None:
                due = {at: move for at, move in due.items() if at == first}
            if due:
                self._take(due)
                deadline, pause = clock() + settle, FIRST_PAUSE_SECONDS
                continue
            awaited = [move for course in courses.values() for move in course.awaited]
            left = deadline - clock()
            if not awaited or left <= 0.0:
                return
            if any(move.step in _SPREADING for move in awaited):
                self._sync()
            context.observer.notify(f"waiting until {_in_words(awaited)}, for {left:.0f} s at most")
            if context.token.wait(min(pause, left)):
                raise interruption()
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _due(self, courses: Mapping[int, CleanupPlan]) -> dict[int, CleanupAction]:
        return {
            index: course.due
            for index, course in courses.items()
            if course.due is not None
            and index not in self._parked
            and self._tries[index, course.due.step] < ROUNDS
        }

    def _take(self, due: Mapping[int, CleanupAction]) -> None:
        """Take one step of each device."""
        devices = {each.index: each for each in self._open_devices()}
        ready = [
            replace(devices[index], act=Act(step=move.step.value, record=move.record))
            for index, move in due.items()
        ]
        self._tries.update((index, move.step) for index, move in due.items())
        for device in execute(self.context, ready):
            if device.history.approval is not None:
                self._parked.add(device.index)

    def _sync(self) -> None:
        """Ask for a sync, if the last one in this tenant is long enough ago.

        The intent is durable before the request leaves: a process that dies then has used up the
        ten minutes as well.
        """
        context = self.context
        tenant = self.order.customer.tenant_id
        last = context.ledger.last_sync(tenant)
        if not self._may_sync or (last is not None and context.now() - last < SYNC_EVERY):
            return
        context.executor.permit()
        request_id = context.new_id()
        context.note(Kind.SYNCED, customer=tenant, requestId=request_id)
        refused = "Autopilot was not synced, which only takes longer"
        try:
            answer = self.changes.sync(request_id=request_id)
        except ServiceError as error:
            context.executor.report(error)
            self._may_sync = error.status in (409, 429, None) or (error.status or 0) >= 500
            context.observer.notify(f"{refused}: {error}")
            return
        context.executor.pace.succeeded()
        if isinstance(answer, ApprovalNeeded):
            self._may_sync = False
            context.observer.notify(f"{refused}: {answer.words}")

    def _look_and_decide(self, *, briefly: bool) -> dict[int, CleanupPlan]:
        """Look for the open devices, and settle each that is finished or refused; the others.

        Planes that the tenant refuses to show count as not verified. Raises errors that kept us
        from looking now: then nothing is decided.
        """
        devices = self._open_devices()
        if not devices:
            return {}
        seen = observe(self.reader, devices, earlier=self.order.earlier(), briefly=briefly)
        for failure in seen.failures:
            if not isinstance(failure, Rejected):
                raise failure
            self.context.observer.notify(f"not verified: {failure}")
        at = self.context.now()
        courses = {each.index: self.order.course(each, at) for each in self._open_devices()}
        self._conclude({index: one.ruling for index, one in courses.items() if one.ruling}, at)
        return {index: one for index, one in courses.items() if one.ruling is None}

    def _give_up_contradictions(self, courses: Mapping[int, CleanupPlan]) -> None:
        """Refuse what the service did not take and still shows, at the end of all patience.

        Such a step has passed on the word that its record is gone, or going: this run never sends
        it again, and waiting for it has been in vain.
        """
        awaited = {(at, move.step.value) for at, one in courses.items() for move in one.awaited}
        passed = (
            (each.event.device, each.event.payload)
            for each in (self.context.ledger.events(self.context.run) if awaited else ())
            if each.event.kind is Kind.PASSED
        )
        untaken = {
            index
            for index, payload in passed
            if index is not None
            and (index, payload["step"]) in awaited
            and payload.get("status") in _UNTAKEN
        }
        self._conclude(dict.fromkeys(untaken, _STILL_THERE), self.context.now())

    def _conclude(self, rulings: Mapping[int, FinalOutcome], at: datetime) -> None:
        """Make the outcomes durable, then show them."""
        context = self.context
        context.record(
            [
                Event(
                    run=context.run,
                    kind=Kind.ANSWERED,
                    at=at,
                    device=index,
                    payload=stated(
                        outcome=ruling.outcome.value,
                        rule=ruling.rule,
                        detail=ruling.detail,
                        remedy=ruling.remedy,
                    ),
                )
                for index, ruling in rulings.items()
            ]
        )
        for each in context.ledger.devices(context.run, states={State.SETTLED}):
            if each.index in rulings:
                context.settled(each.index, each.history)


_UNTAKEN = frozenset({400, 404})
_STILL_THERE = refused("still-there")


def _in_words(awaited: Iterable[CleanupAction]) -> str:
    counts = Counter(move.step in _SPREADING for move in awaited)
    told = []
    if counts[False]:
        told.append(f"{_devices(counts[False])} left Intune")
    if counts[True]:
        told.append(f"{_devices(counts[True])} left Windows Autopilot")
    return " and ".join(told)


def _devices(number: int) -> str:
    return "1 device has" if number == 1 else f"{number} devices have"


def accounts(
    ledger: Ledger, run: RunId, order: CleanupOrder, at: datetime
) -> dict[int, dict[str, Any]]:
    """Per device what a result says besides its outcome: `steps`, and what is `untouched`."""
    told = {}
    for device in ledger.devices(run):
        settled = device.history.state is State.SETTLED
        planned = order.course(device, at)
        told[device.index] = {
            "steps": list(_steps_of(device, None if settled else planned)),
            "untouched": [
                {"plane": one.plane.value, "records": list(one.records), "why": one.why}
                for one in planned.left
            ],
        }
    return told


def _steps_of(device: RunDevice, course: CleanupPlan | None) -> Iterator[dict[str, Any]]:
    """Yield the steps done to each object of a device, and the remaining ones, in order."""
    history = device.history
    open_steps = [*course.awaited, *course.moves] if course else []
    awaited = {move.step.value: move for move in (course.awaited if course else ())}
    for step in history.passed:
        if step not in awaited:
            yield {"id": step, "record": _record_of(device, step), "status": "done"}
    for move in open_steps:
        waits = move.step.value in awaited or (
            history.approval is not None and move.step.value == history.step
        )
        status = "waiting" if waits else "planned"
        yield {"id": move.step.value, "record": move.record, "status": status}


def _record_of(device: RunDevice, step: str) -> str | None:
    """The id of the record that a step was about, by the evidence of the run."""
    plane = HOMES[StepId(step)][0].value
    return next(
        (
            seen["ids"]["id"]
            for seen in reversed(device.history.evidence)
            if seen.get("plane") == plane
            and seen.get("subject", "device") == "device"
            and "id" in seen.get("ids", {})
        ),
        None,
    )
