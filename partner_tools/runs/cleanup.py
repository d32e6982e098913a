"""Cleans up the customer's own tenant after a handoff: looks, takes the steps that are due, waits.

Every round begins with a look, and what is done follows from what is seen: so a process that died
anywhere is gone on with in the same way as one that did not. A step that was in doubt is looked
for first; what has passed is never sent again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from partner_tools.clients.graph import ApprovalNeeded, Done
from partner_tools.engine.channel import Act
from partner_tools.engine.desk import Desk, PendingDevice
from partner_tools.engine.rate_limiter import FixedRate
from partner_tools.engine.request_executor import RequestExecutor, interruption
from partner_tools.engine.settle import ROUNDS, carry_through, settle
from partner_tools.errors import Rejected, ServiceError
from partner_tools.events import Event, Kind, State
from partner_tools.json_forms import customer_document
from partner_tools.ledger import Ledger, RunDevice
from partner_tools.model import Customer, Outcome, RunId, RunState
from partner_tools.outstanding import HOMES, StepId
from partner_tools.outstanding.cleanup_plan import (
    REFUSALS,
    CleanupAction,
    CleanupPlan,
    FinalOutcome,
)
from partner_tools.runs.cleanup_order import Assignment, plan_document
from partner_tools.runs.context import noting_end
from partner_tools.runs.observation import TenantReader, observe

WRITES: Final = FixedRate(requests=100, seconds=20.0)
"""The smallest of the limits that Microsoft publishes for what is changed here: Intune's enrollment
service, per app and tenant; that it counts for Autopilot identities is assumed
(https://learn.microsoft.com/graph/throttling-limits, read 2026-11)."""
SYNC_EVERY: Final = timedelta(minutes=10)
"""https://learn.microsoft.com/autopilot/add-devices, read 2026-11."""
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
AT_A_TIME: Final = 4

_OPEN = frozenset(
    {State.READY, State.SENT, State.DOUBT, State.RESENT, State.ACCEPTED, State.BETWEEN}
)
_SPREADING = frozenset({StepId.DEREGISTER_FROM_AUTOPILOT, StepId.CONFIRM_AUTOPILOT_REMOVAL})


class Syncing(Protocol):
    """A tenant whose Autopilot can be synced. `clients.graph.Changes` is one."""

    def sync(self, *, request_id: str) -> Done | ApprovalNeeded:
        """One attempt to ask for a sync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One customer's tenant, and one run in it. `tell` says something to the person who waits."""

    ledger: Ledger
    lookout: TenantReader
    syncing: Syncing
    desk: Desk
    assignment: Assignment
    tenant: str
    tell: Callable[[str], None]

    @property
    def run(self) -> RunId:
        """The run."""
        return self.desk.run

    @property
    def line(self) -> RequestExecutor:
        """How requests that change something leave."""
        return self.desk.line

    def note(self, run: RunId, kind: Kind, **payload: Any) -> None:
        """Make an event of the run itself durable."""
        event = Event(run=run, kind=kind, at=self.desk.now(), payload=payload)
        self.ledger.record([event])

    def open_devices(self) -> list[RunDevice]:
        """The devices without an outcome, as the ledger has them now."""
        return list(self.ledger.devices(self.run, states=_OPEN))


def adopt(
    ledger: Ledger, run: RunId, handoff: Mapping[str, Any], customer: Customer, at: datetime
) -> None:
    """Make the handoff the plan of the run; durable on return."""
    document = plan_document(handoff)
    devices = list(ledger.devices(run))
    resolved = [
        Event(
            run=run,
            kind=Kind.RESOLVED,
            at=at,
            device=each.index,
            payload={"outcome": Outcome.PENDING.value, "customer": customer.tenant_id},
        )
        for each in devices
    ]
    planned = {
        "digest": document["digest"],
        "counts": {Outcome.PENDING.value: len(devices)},
        "customers": [customer_document(customer)],
    }
    events = [*resolved, Event(run=run, kind=Kind.PLANNED, at=at, payload=planned)]
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    ledger.save_plan(run, text, document["digest"], events)


def survey(site: Site) -> dict[int, CleanupPlan]:
    """Look for every open device on every plane, and decide; what is decided for good is durable.

    The course of each device for which something is left to do. Raises what kept us from looking.
    """
    with noting_end(site, site.run):
        _clear_doubts(site)
        return _look_and_decide(site, site.open_devices(), briefly=False)


def clean(site: Site, *, settle_seconds: float) -> RunState:
    """Take every step that is due, in order, and wait until what was deleted is gone.

    Waits at most `settle_seconds` after the last step. The state that the run ends in: stopped
    where something is still awaited, by a person too. Raises what ended it early, after that is
    durable.
    """
    site.note(site.run, Kind.STARTED)
    with noting_end(site, site.run):
        _clear_doubts(site)
        _Rounds(site, settle_seconds).go()
        courses = _look_and_decide(site, site.open_devices(), briefly=False)
        _give_up_contradictions(site, courses)
        _keep_evidence(site)
    if waiting := site.open_devices():
        parked = sum(each.history.approval is not None for each in waiting)
        detail = f"{len(waiting)} devices are not finished, {parked} of them wait for an approval"
        site.note(site.run, Kind.STOPPED, detail=detail)
        return RunState.STOPPED
    site.note(site.run, Kind.FINISHED)
    return RunState.FINISHED


def _clear_doubts(site: Site) -> None:
    """Look whether what a dead process or a lost answer left in doubt was done."""
    doubtful = [
        _todo(each, Act(step=each.history.step or "", record=each.history.record or ""))
        for each in site.open_devices()
        if each.history.in_doubt
    ]
    settle(site.desk, doubtful)


class _Rounds:
    """Looks, steps, pauses: until nothing is due and nothing awaited, or patience ends."""

    def __init__(self, site: Site, settle_seconds: float) -> None:
        self._site = site
        self._settle = settle_seconds
        self._tries: Counter[tuple[int, StepId]] = Counter()
        self._parked: set[int] = set()
        self._may_sync = True

    def go(self) -> None:
        """Until there is nothing to do but for other people. Raises Interrupted."""
        site, pause = self._site, FIRST_PAUSE_SECONDS
        deadline = site.line.clock() + self._settle
        while courses := _look_and_decide(site, site.open_devices(), briefly=True):
            if due := self._due(courses):
                self._take(due)
                deadline, pause = site.line.clock() + self._settle, FIRST_PAUSE_SECONDS
                continue
            awaited = [move for course in courses.values() for move in course.awaited]
            left = deadline - site.line.clock()
            if not awaited or left <= 0.0:
                return
            if any(move.step in _SPREADING for move in awaited):
                self._sync()
            site.tell(f"waiting until {_in_words(awaited)}, for {left:.0f} s at most")
            if site.line.stop.wait(min(pause, left)):
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
        devices = {each.index: each for each in self._site.open_devices()}
        todos = [
            _todo(devices[index], Act(step=move.step.value, record=move.record))
            for index, move in due.items()
        ]
        self._tries.update((index, move.step) for index, move in due.items())
        for todo in carry_through(self._site.desk, todos):
            if todo.history.approval is not None:
                self._parked.add(todo.index)

    def _sync(self) -> None:
        """Ask for a sync, if the last one in this tenant is long enough ago.

        That it is asked for is durable before the request leaves: also a process that dies then
        has used up the ten minutes.
        """
        site, now = self._site, self._site.desk.now()
        last = site.ledger.last_sync(site.tenant)
        if not self._may_sync or (last is not None and now - last < SYNC_EVERY):
            return
        site.line.permit()
        request_id = site.desk.new_id()
        site.note(site.run, Kind.SYNCED, customer=site.tenant, requestId=request_id)
        try:
            answer = site.syncing.sync(request_id=request_id)
        except ServiceError as error:
            site.line.heard(error)
            self._may_sync = error.status in (409, 429, None) or (error.status or 0) >= 500
            site.tell(f"Autopilot was not synced, which only takes longer: {error}")
            return
        site.line.pace.succeeded()
        if isinstance(answer, ApprovalNeeded):
            self._may_sync = False
            site.tell(f"Autopilot was not synced, which only takes longer: {answer.words}")


def _look_and_decide(
    site: Site, devices: Sequence[RunDevice], *, briefly: bool
) -> dict[int, CleanupPlan]:
    """Look for the devices, and give each that is finished or refused its outcome; the others.

    What the tenant refuses to show is decided upon as not verified. Raises what only kept us from
    looking now: then nothing is decided.
    """
    if not devices:
        return {}
    outlook = observe(site.lookout, devices, earlier=site.assignment.earlier(), briefly=briefly)
    for failure in outlook.failures:
        if not isinstance(failure, Rejected):
            raise failure
        site.tell(f"not verified: {failure}")
    at = site.desk.now()
    courses = {each.index: site.assignment.course(each, at) for each in site.open_devices()}
    _conclude(site, {index: one.ruling for index, one in courses.items() if one.ruling}, at)
    return {index: one for index, one in courses.items() if one.ruling is None}


def _give_up_contradictions(site: Site, courses: Mapping[int, CleanupPlan]) -> None:
    """Refuse what the service did not take and shows still, at the end of all patience.

    Such a step has passed on the word that its record is gone, or going: it is never sent again by
    this run, and waiting for it has been in vain.
    """
    awaited = {(at, move.step.value) for at, one in courses.items() for move in one.awaited}
    passed = (
        (each.event.device, each.event.payload)
        for each in (site.ledger.events(site.run) if awaited else ())
        if each.event.kind is Kind.PASSED
    )
    untaken = {
        index
        for index, payload in passed
        if index is not None
        and (index, payload["step"]) in awaited
        and payload.get("status") in _UNTAKEN
    }
    _conclude(site, dict.fromkeys(untaken, _STILL_THERE), site.desk.now())


_UNTAKEN = frozenset({400, 404})
_STILL_THERE = FinalOutcome(
    outcome=Outcome.REFUSED,
    rule="still-there",
    detail=REFUSALS["still-there"],
    remedy="look at it in the portal, and run cleanup again later: it asks anew",
)


def _conclude(site: Site, rulings: Mapping[int, FinalOutcome], at: datetime) -> None:
    """Make the outcomes durable, then show them."""
    events = [
        Event(run=site.run, kind=Kind.ANSWERED, at=at, device=index, payload=_payload(ruling))
        for index, ruling in rulings.items()
    ]
    site.ledger.record(events)
    for index in rulings:
        site.desk.settled(index, site.ledger.device(site.run, index).history)


def _payload(ruling: FinalOutcome) -> dict[str, Any]:
    stated = {
        "outcome": ruling.outcome.value,
        "rule": ruling.rule,
        "detail": ruling.detail,
        "remedy": ruling.remedy,
    }
    return {name: value for name, value in stated.items() if value is not None}


def _keep_evidence(site: Site) -> None:
    """Look once more for what was removed: what the directory has of it by now."""
    removed = [each for each in site.ledger.devices(site.run) if each.history.passed]
    gone = [each for each in removed if each.history.state is State.SETTLED]
    if gone:
        observe(site.lookout, gone, earlier=site.assignment.earlier())


def _todo(device: RunDevice, act: Act) -> PendingDevice:
    return PendingDevice(
        index=device.index,
        identity=device.device.identity,
        customer=device.history.customer,
        target=None,
        history=device.history,
        act=act,
    )


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


def steps_of(device: RunDevice, course: CleanupPlan | None) -> Iterator[dict[str, Any]]:
    """What was done to which object of a device, and what is still to be done, in order."""
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


def accounts(
    ledger: Ledger, run: RunId, assignment: Assignment, at: datetime
) -> dict[int, dict[str, Any]]:
    """Per device what a result says besides its outcome: `steps`, and what is `untouched`."""
    told = {}
    for device in ledger.devices(run):
        settled = device.history.state is State.SETTLED
        course = assignment.course(device, at)
        told[device.index] = {
            "steps": list(steps_of(device, None if settled else course)),
            "untouched": [
                {"plane": one.plane.value, "records": list(one.records), "why": one.why}
                for one in course.left
            ],
        }
    return told


def count_touched(site: Site) -> int:
    """How many devices would be touched: those whose course has a step to take."""
    at = site.desk.now()
    courses = (site.assignment.course(each, at) for each in site.open_devices())
    return sum(bool(course.moves) for course in courses)
