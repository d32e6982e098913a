"""Carry out removals: devices in calls, one intent before each request, one event after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.channel import (
    Acceptance,
    Answer,
    AwaitingApproval,
    Channel,
    Deferral,
    Doubt,
    Removal,
    StepDone,
    Verdict,
)
from partner_tools.engine.request_executor import RequestExecutor, interruption
from partner_tools.errors import (
    AuthError,
    Interrupted,
    Redirected,
    Rejected,
    ServiceError,
    Throttled,
    Unanswered,
    Unauthorized,
    Unavailable,
    Unreadable,
    Unsent,
)
from partner_tools.events import Event, History, Kind, RunDevice, State, advance
from partner_tools.json_forms import json_form, stated
from partner_tools.model import Explanation, Outcome, RunId
from partner_tools.pacing import decide

GIVEN_UP_IN_A_ROW = 3
"""This number of calls given up with no success in between means that the service is down."""

ROUNDS = 3
"""How often one run tries a device again that is still registered after a doubt."""

LAST_ANSWERS_SECONDS = 10.0
"""How long answers in flight are awaited after Ctrl-C (docs/reference/exit-codes.md, 130)."""


Gate = Callable[[Sequence[Removal]], Mapping[int, Explanation]]
"""Says which requests may not be sent, by index, as of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionContext:
    """The dependencies of an execution.

    `gate` is asked right before every intent; `record` makes events durable, which they are when
    it returns; `settled` is told of each outcome after that. `now` is the wall clock in UTC, and
    `new_id` mints request ids. At most `concurrency` calls are in flight.
    """

    run: RunId
    channel: Channel
    executor: RequestExecutor
    gate: Gate
    record: Callable[[Sequence[Event]], None]
    settled: Callable[[int, History], None]
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    concurrency: int = 32


def calls(devices: Iterable[RunDevice], size: int) -> Iterator[tuple[RunDevice, ...]]:
    """The devices in calls of at most `size`, accepted work by its handle.

    Devices that share unanswered ids or are still in doubt stay together, so that the same body
    can be sent once more under the same ids.
    """
    together: dict[tuple[str | None, str | None], list[RunDevice]] = {}
    for device in devices:
        together.setdefault(_call_key(device.history), []).append(device)
    for group in together.values():
        for start in range(0, len(group), size):
            yield tuple(group[start : start + size])


def _call_key(history: History) -> tuple[str | None, str | None]:
    """The values that all devices of one call share."""
    if history.state in (State.ACCEPTED, State.DOUBT):
        return history.handle, history.correlation_id
    return None, history.correlation_id if history.request_id else None


def removal(
    device: RunDevice, history: History, request_id: str = "", correlation_id: str = ""
) -> Removal:
    """Build a call's entry for a device.

    The ids are those of its last attempt while that is unanswered, otherwise the given ones.
    """
    in_doubt = history.state is State.DOUBT or history.request_id
    return Removal(
        index=device.index,
        identity=device.identity,
        customer=device.customer,
        target=device.target,
        request_id=history.request_id or request_id,
        correlation_id=(history.correlation_id if in_doubt else None) or correlation_id,
        silent=history.silent,
        doubted=history.state is State.DOUBT,
        confirmed=device.device.hash_confirms,
        found=device.found,
        act=device.act,
        approval=history.approval,
    )


class DeviceStates:
    """The histories of an execution's devices.

    Workers may share it: each device is written by the one worker whose call carries it.
    """

    def __init__(self, context: ExecutionContext, devices: Sequence[RunDevice]) -> None:
        self._context = context
        self._devices = tuple(devices)
        self._histories = {device.index: device.history for device in devices}

    def of(self, device: RunDevice) -> History:
        return self._histories[device.index]

    def devices(self) -> tuple[RunDevice, ...]:
        """Every device with what is known of it by now."""
        return tuple(replace(device, history=self.of(device)) for device in self._devices)

    def among(self, call: Iterable[RunDevice], *states: State) -> tuple[RunDevice, ...]:
        """The devices of the call that are in one of the states."""
        return tuple(device for device in call if self.of(device).state in states)

    def note(self, facts: Iterable[tuple[int, Fact]]) -> None:
        """Make events durable, then show what is settled by them."""
        at = self._context.now()
        noted = [
            (index, Event(run=self._context.run, kind=kind, at=at, device=index, payload=payload))
            for index, (kind, payload) in facts
        ]
        if not noted:
            return
        self._context.record([event for _, event in noted])
        for index, event in noted:
            history = self._histories[index] = advance(self._histories[index], event)
            if history.state is State.SETTLED:
                self._context.settled(index, history)


def execute(context: ExecutionContext, devices: Sequence[RunDevice]) -> tuple[RunDevice, ...]:
    """Bring devices to an outcome, as far as this run can; the devices afterwards.

    Doubts of an earlier process are settled before anything is sent; if the channel cannot check,
    requests in doubt are sent once more. Accepted work is followed to its end. A device that is
    still registered after a doubt is ready again; only such devices take part in further rounds.
    Raises the error that ended the run early, after the answers in flight were recorded.
    """
    devices = settle(context, devices)
    for finished in range(ROUNDS):
        states = DeviceStates(context, devices)
        execution = _Execution(context, devices, states, again=finished > 0)
        workers = [
            threading.Thread(target=execution.work, name=f"removal-{number}", daemon=True)
            for number in range(min(context.concurrency, execution.calls))
        ]
        for worker in workers:
            worker.start()
        execution.join(workers)
        devices = settle(context, states.devices())
        if not any(device.history.state is State.READY for device in devices):
            break
    return devices


def settle(context: ExecutionContext, devices: Sequence[RunDevice]) -> tuple[RunDevice, ...]:
    """Look for every device in doubt, where the channel can; the devices afterwards.

    An intent that a dead process left is a doubt. Where the channel can look: a device that is
    still registered is ready again, with the same request id where that was never answered; one
    that is not is `absent`, with our own unanswered request said, and one step of several is
    passed then. Where it cannot, `execute` may send the request once more.
    """
    states = DeviceStates(context, devices)
    doubtful = [device for device in devices if device.history.in_doubt]
    facts = {
        "answered": False,
        "detail": "the process ended before an answer was recorded",
        "remedy": "resume the run: it checks the device, or sends the same request once more",
    }
    states.note(
        (device.index, (Kind.DOUBTED, facts))
        for device in doubtful
        if device.history.state is not State.DOUBT
    )
    if context.channel.observable and doubtful:
        # One check is enough for present or replaced; absent requires two checks that agree.
        asked = [removal(device, states.of(device)) for device in doubtful]
        present = dict(context.channel.recall(asked))
        if unseen := [each for each in asked if present[each.index] is False]:
            present |= context.channel.recall(unseen)
        states.note(
            (device.index, _recalled(device, present=present[device.index])) for device in doubtful
        )
    return states.devices()


def _recalled(device: RunDevice, present: bool | Explanation) -> Fact:
    if isinstance(present, Explanation):
        return Kind.ANSWERED, {"outcome": Outcome.REFUSED.value, **asdict(present)}
    if present:
        return Kind.RECALLED, {"present": True}
    if device.act is not None:
        detail = "already done when checked; our own request was never answered"
        return Kind.PASSED, {"step": device.act.step, "detail": detail}
    request = f" {device.history.request_id}" if device.history.request_id else ""
    return Kind.RECALLED, {
        "present": False,
        "detail": f"it is no longer listed; our own request{request} "
        "was sent but never answered, so it may have removed the device",
    }


class _Execution:
    """The workers of one `execute` and what they share."""

    def __init__(
        self,
        context: ExecutionContext,
        devices: Sequence[RunDevice],
        states: DeviceStates,
        *,
        again: bool,
    ) -> None:
        self._context = context
        self._states = states
        self._again = again
        self._channel = context.channel
        self._halt = CancellationToken(context.executor.stop)
        self._executor = replace(context.executor, stop=self._halt)
        self._lock = threading.Lock()
        waiting = list(calls(filter(self._workable, devices), context.channel.call_size))
        self.calls = len(waiting)
        self._queue = iter(waiting)
        self._deferred: list[RunDevice] = []
        self._barred: dict[str, Answer] = {}
        self._gated: set[int] = set()
        self._given_up = 0
        self._ended_by: BaseException | None = None

    def _workable(self, device: RunDevice) -> bool:
        """Whether this device takes part: in doubt only if the channel cannot check."""
        state = device.history.state
        if self._again or state is State.READY:
            return state is State.READY
        if state is State.DOUBT:
            return not self._channel.observable
        return state in (State.ACCEPTED, State.BETWEEN)

    def join(self, workers: Iterable[threading.Thread]) -> None:
        """Wait for the workers; after a stop no longer than answers in flight are awaited.

        Raises what ended the execution early.
        """
        self._await(workers)
        if self._ended_by is None and self._context.executor.stop.is_set():
            self._ended_by = interruption()
        if self._ended_by is not None:
            raise self._ended_by

    def _await(self, workers: Iterable[threading.Thread]) -> None:
        clock, deadline = self._executor.clock, None
        for worker in workers:
            while worker.is_alive():
                worker.join(0.05)
                if self._context.executor.stop.is_set():
                    self._halt.set()
                    deadline = deadline or clock() + LAST_ANSWERS_SECONDS
                    if clock() > deadline:
                        return

    def work(self) -> None:
        """Carry out calls until none is left, or something ended the execution."""
        try:
            while (following := self._next_call()) is not None:
                call, is_last = following
                self._carry_out(call, call_is_last=is_last)
        except BaseException as error:  # noqa: BLE001 - a worker's end, bug or not, ends the run
            with self._lock:
                # The first reason, but any other than an interruption says more.
                if self._ended_by is None or isinstance(self._ended_by, Interrupted):
                    self._ended_by = error
            self._halt.set()

    def _next_call(self) -> tuple[tuple[RunDevice, ...], bool] | None:
        """The next call, and whether its devices were put off already; None when none is left."""
        with self._lock:
            if self._halt.is_set():
                return None
            call = next(self._queue, None)
            if call is not None:
                return call, False
            call = tuple(self._deferred[: self._channel.call_size])
            self._deferred = self._deferred[len(call) :]
            return (call, True) if call else None

    def _carry_out(self, call: tuple[RunDevice, ...], *, call_is_last: bool) -> None:
        """Complete one call: until every device has an answer, or no attempt is left.

        Single devices that the service defers come last, so that no other waits for them.
        """
        started, tries, renewed = self._executor.clock(), 0, False
        first = True
        while call := self._open(call, first=first):
            first = False
            accepted = self._states.among(call, State.ACCEPTED)
            if accepted:
                asked = self._executor.clock()
                error = self._see_through(accepted)
                call = self._states.among(call, State.READY)
                started += self._executor.clock() - asked
            else:
                tries += 1
                error = self._attempt(call)
            if error is None:
                self._given_up = 0
                if accepted:
                    return
            elif isinstance(error, Unauthorized) and not renewed:
                renewed = True
                self._executor.refresh_token(error)
            elif error.rule == DEFERRED and not call_is_last:
                with self._lock:
                    self._deferred += self._repeatable(call)
                return
            elif not self._back_off(call, error, tries, self._executor.clock() - started):
                return

    def _open(self, call: tuple[RunDevice, ...], *, first: bool) -> tuple[RunDevice, ...]:
        """The devices of the call that another attempt may carry, less a barred customer's."""
        waiting = self._repeatable(call, first=first)
        for device in waiting:
            if answer := self._barred.get(device.customer or ""):
                self._states.note([(device.index, of_verdict(answer))])
        return tuple(device for device in waiting if (device.customer or "") not in self._barred)

    def _repeatable(
        self, call: Iterable[RunDevice], *, first: bool = False
    ) -> tuple[RunDevice, ...]:
        """The devices of the call that may take part in another attempt, or in the first one."""
        open_states = {State.READY, State.ACCEPTED} | ({State.BETWEEN} if first else set())
        if first or self._channel.repeats:
            open_states.add(State.DOUBT)
        permitted = (device for device in call if device.index not in self._gated)
        return self._states.among(permitted, *open_states)

    def _attempt(self, call: tuple[RunDevice, ...]) -> ServiceError | None:
        """One call. An error that is returned is one after which another attempt may be made."""
        removals = self._intend(call)
        if not removals:
            return None
        if not self._executor.pace.acquire(self._halt):
            self._note_all(removals, (Kind.WITHDRAWN, {}))
            raise interruption()
        try:
            verdicts = self._channel.remove(removals)
        except ServiceError as error:
            self._note_failure(removals, error)
            return error
        except AuthError as error:
            self._executor.pace.succeeded()
            self._note_all(removals, (Kind.DEFERRED, {"detail": str(error)}))
            raise
        self._executor.pace.succeeded()
        for one in removals:
            verdict = verdicts[one.index]
            if isinstance(verdict, Answer) and verdict.bars_customer:
                self._barred[one.customer or ""] = verdict
        self._states.note([(index, of_verdict(verdict)) for index, verdict in verdicts.items()])
        return setback(verdicts.values())

    def _intend(self, call: tuple[RunDevice, ...]) -> tuple[Removal, ...]:
        """Ask the gate, and make the intent to remove durable, before anything leaves.

        The only place that records an intent: a device that the gate refuses has its outcome, or
        stays in doubt, and no request is made for it.
        """
        request_id, correlation_id = self._context.new_id(), self._context.new_id()
        removals = tuple(
            removal(device, self._states.of(device), request_id, correlation_id) for device in call
        )
        refused = self._context.gate(removals)
        self._states.note(
            fact
            for device in call
            if device.index in refused
            and (fact := _refused(device, self._states.of(device), refused[device.index]))
        )
        self._gated |= refused.keys()
        allowed = tuple(one for one in removals if one.index not in refused)
        self._states.note((one.index, _intent(one)) for one in allowed)
        return allowed

    def _note_failure(self, removals: tuple[Removal, ...], error: ServiceError) -> None:
        """Record how an attempt without a verdict ended, and stop where no other may follow.

        An unreadable answer leaves its device in doubt, and looking clears that. Where the channel
        cannot look, the next call would only add to the doubt.
        """
        self._executor.report(error)
        self._note_all(removals, of_error(error))
        blind = isinstance(error, Unreadable) and not self._channel.observable
        if blind or isinstance(error, Redirected):
            raise error

    def _back_off(
        self, call: Iterable[RunDevice], error: ServiceError, tries: int, elapsed: float
    ) -> bool:
        """Sleep before the next attempt; False if this call is given up.

        Raises `error` when the run must not continue: a refused token, a pause beyond our patience,
        or a service that is down for all customers.
        """
        seconds = decide(self._executor.policy, error, tries, elapsed, self._executor.jitter())
        repeatable = self._repeatable(call)
        if repeatable and seconds is not None:
            if self._halt.wait(seconds):
                raise interruption()
            return True
        with self._lock:
            self._given_up += 1
            down = self._given_up >= GIVEN_UP_IN_A_ROW
        if down or isinstance(error, Unauthorized | Throttled):
            raise error
        return False

    def _see_through(self, call: Sequence[RunDevice]) -> ServiceError | None:
        """Ask after one call's accepted work until it is finished or the deadline has passed.

        Finished devices are durable by then; the rest stays accepted, for `resume`. A returned
        error means that some of it must be sent again. Raises Interrupted when stopped, Rejected
        if the service says that the request is wrong.
        """
        polling, clock = self._channel.polling, self._executor.clock
        interval, deadline = polling.interval, clock() + polling.deadline
        error = None
        while (waiting := self._states.among(call, State.ACCEPTED)) and clock() <= deadline:
            if self._halt.wait(interval):
                raise interruption()
            handle = self._states.of(waiting[0]).handle or ""
            removals = tuple(removal(device, self._states.of(device)) for device in waiting)
            verdicts = self._executor.call_with_retry(partial(self._channel.poll, handle, removals))
            self._states.note(
                (index, of_verdict(verdict))
                for index, verdict in verdicts.items()
                if not isinstance(verdict, Acceptance)
            )
            error = setback(verdicts.values()) or error
            interval = min(interval * 2, polling.max_interval)
        return error

    def _note_all(self, removals: Iterable[Removal], fact: Fact) -> None:
        self._states.note((one.index, fact) for one in removals)


def _refused(device: RunDevice, history: History, refusal: Explanation) -> tuple[int, Fact] | None:
    """The event that settles a refused device; None for one in doubt, which stays so."""
    facts = {"outcome": Outcome.REFUSED.value, **asdict(refusal)}
    if history.state is State.READY:
        customer = {} if device.customer is None else {"customer": device.customer}
        return device.index, (Kind.RESOLVED, {**facts, **customer})
    return (device.index, (Kind.ANSWERED, facts)) if history.state is State.BETWEEN else None


def _intent(one: Removal) -> Fact:
    ids = {"requestId": one.request_id, "correlationId": one.correlation_id}
    if one.act is None:
        return Kind.INTENDED, ids
    return Kind.INTENDED, {**ids, "step": one.act.step, "record": one.act.record}


Fact = tuple[Kind, Mapping[str, Any]]
"""The kind and the payload of an event to come."""


def of_error(error: ServiceError) -> Fact:
    """Return what an attempt that ended in an error means for its devices.

    Only an error that proves that nothing was done leaves no doubt.
    """
    facts = {"detail": str(error), "status": error.status, "code": error.code}
    if isinstance(error, Unsent):
        return Kind.WITHDRAWN, {"detail": str(error)}
    if isinstance(error, Unanswered):
        return Kind.DOUBTED, stated(**facts, answered=False)
    if isinstance(error, Unavailable | Redirected | Unreadable):
        return Kind.DOUBTED, stated(**facts, answered=True)
    return Kind.DEFERRED, stated(**facts)


def of_verdict(verdict: Verdict) -> Fact:
    """The event that makes a verdict durable."""
    return _KINDS[type(verdict)], json_form(verdict)


_KINDS: Mapping[type[Verdict], Kind] = {
    Answer: Kind.ANSWERED,
    Deferral: Kind.DEFERRED,
    Doubt: Kind.DOUBTED,
    Acceptance: Kind.ACCEPTED,
    StepDone: Kind.PASSED,
    AwaitingApproval: Kind.PARKED,
}


DEFERRED = "device-deferred"
"""The rule of a failure that is about single devices of a call that was answered."""


def setback(verdicts: Collection[Verdict]) -> ServiceError | None:
    """Why an answered call counts as a failure: a device is to be asked for later, or was
    answered in an unexpected way.

    Raises Rejected, which ends the run, if the service says that the request itself is wrong.
    """
    for verdict in verdicts:
        if isinstance(verdict, Answer) and verdict.bars_run:
            raise _rejected(verdict, f"the run was stopped: {verdict.detail}")
    for verdict in verdicts:
        if isinstance(verdict, Answer) and verdict.unexpected:
            return _rejected(verdict, verdict.detail or "")
        if isinstance(verdict, Deferral):
            # This concerns one device of an answered call: the others need not wait for it.
            alone = verdict.status is not None and verdict.status < 400
            return Unavailable(
                verdict.detail,
                rule=DEFERRED if alone else None,
                status=verdict.status,
                code=verdict.code,
                retry_after=verdict.retry_after,
            )
    return None


def _rejected(answer: Answer, message: str) -> Rejected:
    return Rejected(
        message,
        remedy=answer.remedy or "",
        rule=answer.rule,
        status=answer.status,
        code=answer.code,
        request_id=answer.request_id,
        correlation_id=answer.correlation_id,
    )
