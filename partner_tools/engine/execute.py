"""Group devices into calls, and build each call's content. Pure."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.channel import Acceptance, Answer, Channel, Removal, Verdict
from partner_tools.engine.context import ExecutionContext, PendingDevice
from partner_tools.engine.request_executor import RequestExecutor, interruption
from partner_tools.engine.verdicts import (
    DEFERRED,
    Fact,
    answer_payload,
    end_where_barred,
    of_error,
    of_verdict,
    setback,
)
from partner_tools.errors import (
    AuthError,
    Interrupted,
    Redirected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unreadable,
)
from partner_tools.events import Event, History, Kind, State, advance
from partner_tools.model import Explanation, Outcome
from partner_tools.pacing import GiveUp, decide


def calls(todos: Iterable[PendingDevice], size: int) -> Iterator[tuple[PendingDevice, ...]]:
    """The devices in calls of at most `size`, accepted work by its handle.

    Devices that share unanswered ids or are still in doubt stay together, so that the same body
    can be sent once more under the same ids.
    """
    together: dict[tuple[str | None, str | None], list[PendingDevice]] = {}
    for todo in todos:
        together.setdefault(_call_key(todo.history), []).append(todo)
    for group in together.values():
        for start in range(0, len(group), size):
            yield tuple(group[start : start + size])


def _call_key(history: History) -> tuple[str | None, str | None]:
    """The values that all devices of one call share."""
    if history.state in (State.ACCEPTED, State.DOUBT):
        return history.handle, history.correlation_id
    return None, history.correlation_id if history.request_id else None


def removal(
    todo: PendingDevice, history: History, request_id: str = "", correlation_id: str = ""
) -> Removal:
    """Build a call's entry for a device.

    The ids are those of its last attempt while that is unanswered, otherwise the given ones.
    """
    in_doubt = history.state is State.DOUBT or history.request_id
    return Removal(
        index=todo.index,
        identity=todo.identity,
        customer=todo.customer,
        target=todo.target,
        request_id=history.request_id or request_id,
        correlation_id=(history.correlation_id if in_doubt else None) or correlation_id,
        silent=history.silent,
        doubted=history.state is State.DOUBT,
        confirmed=todo.confirmed,
        found=todo.found,
        act=todo.act,
        approval=history.approval,
    )


class DeviceStates:
    """The histories of an execution's devices.

    Workers may share it: each device is written by the one worker whose call carries it.
    """

    def __init__(self, context: ExecutionContext, todos: Sequence[PendingDevice]) -> None:
        self._context = context
        self._todos = tuple(todos)
        self._histories = {todo.index: todo.history for todo in todos}

    def of(self, todo: PendingDevice) -> History:
        """Return the device's current history."""
        return self._histories[todo.index]

    def todos(self) -> tuple[PendingDevice, ...]:
        """Every device with what is known of it by now."""
        return tuple(replace(todo, history=self.of(todo)) for todo in self._todos)

    def among(self, call: Iterable[PendingDevice], *states: State) -> tuple[PendingDevice, ...]:
        """The devices of the call that are in one of the states."""
        return tuple(todo for todo in call if self.of(todo).state in states)

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
            self._learn(index, advance(self._histories[index], event))

    def _learn(self, index: int, history: History) -> None:
        self._histories[index] = history
        if history.state is State.SETTLED:
            self._context.settled(index, history)


def see_through(
    channel: Channel, line: RequestExecutor, standing: DeviceStates, call: Sequence[PendingDevice]
) -> ServiceError | None:
    """Ask after one call's accepted work until it is finished or the deadline has passed.

    Finished devices are durable by then; the rest stays accepted, for `resume`. A returned
    error means that some of it must be sent again.
    Raises Interrupted when stopped, Rejected where the service says that the request is wrong.
    """
    polling = channel.polling
    interval, deadline = polling.interval, line.clock() + polling.deadline
    resting = None
    while (waiting := standing.among(call, State.ACCEPTED)) and line.clock() <= deadline:
        if line.stop.wait(interval):
            raise interruption()
        resting = _ask_after(channel, line, standing, waiting) or resting
        interval = min(interval * 2, polling.max_interval)
    return resting


def _ask_after(
    channel: Channel,
    line: RequestExecutor,
    standing: DeviceStates,
    waiting: Sequence[PendingDevice],
) -> ServiceError | None:
    handle = standing.of(waiting[0]).handle or ""
    removals = tuple(removal(todo, standing.of(todo)) for todo in waiting)
    verdicts = line.call_with_retry(lambda: channel.poll(handle, removals))
    standing.note(
        (index, of_verdict(verdict))
        for index, verdict in verdicts.items()
        if not isinstance(verdict, Acceptance)
    )
    end_where_barred(verdicts.values())
    return setback(verdicts.values())


GIVEN_UP_IN_A_ROW = 3
"""This number of calls given up with no success in between means that the service is down."""

LAST_ANSWERS_SECONDS = 10.0
"""How long answers in flight are awaited after Ctrl-C (docs/reference/exit-codes.md, 130)."""


def execute(
    context: ExecutionContext, todos: Sequence[PendingDevice], *, again: bool = False
) -> tuple[PendingDevice, ...]:
    """Remove every device that is ready, see accepted work through; the devices afterwards.

    A device whose answer never came is left in doubt: `settle` looks for it. Where the channel
    cannot look, what was in doubt before is sent once more. With `again` only what is ready takes
    part: accepted work and doubts had their turn.
    Raises the error that ended the run, after the answers in flight were recorded.
    """
    standing = DeviceStates(context, todos)
    execution = _Execution(context, todos, standing, again=again)
    workers = [
        threading.Thread(target=execution.work, name=f"removal-{number}", daemon=True)
        for number in range(min(context.concurrency, execution.calls))
    ]
    for worker in workers:
        worker.start()
    execution.join(workers)
    return standing.todos()


class _Execution:
    """The workers of one `execute` and what they share."""

    def __init__(
        self,
        context: ExecutionContext,
        todos: Sequence[PendingDevice],
        standing: DeviceStates,
        *,
        again: bool,
    ) -> None:
        self._context = context
        self._standing = standing
        self._again = again
        self._channel = context.channel
        self._halt = CancellationToken(context.line.stop)
        self._line = replace(context.line, stop=self._halt)
        self._lock = threading.Lock()
        waiting = list(calls(filter(self._workable, todos), context.channel.call_size))
        self.calls = len(waiting)
        self._queue = iter(waiting)
        self._deferred: list[PendingDevice] = []
        self._barred: dict[str, Answer] = {}
        self._gated: set[int] = set()
        self._given_up = 0
        self._ended_by: BaseException | None = None

    def _workable(self, todo: PendingDevice) -> bool:
        """Whether this device takes part: in doubt only where the channel cannot look."""
        state = todo.history.state
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
        if self._ended_by is None and self._context.line.stop.is_set():
            self._ended_by = interruption()
        if self._ended_by is not None:
            raise self._ended_by

    def _await(self, workers: Iterable[threading.Thread]) -> None:
        clock, deadline = self._line.clock, None
        for worker in workers:
            while worker.is_alive():
                worker.join(0.05)
                if self._context.line.stop.is_set():
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
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """Keep the first reason; an interruption gives way to a reason that says more."""
        with self._lock:
            if self._ended_by is None or isinstance(self._ended_by, Interrupted):
                self._ended_by = error
        self._halt.set()

    def _next_call(self) -> tuple[tuple[PendingDevice, ...], bool] | None:
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

    def _carry_out(self, call: tuple[PendingDevice, ...], *, call_is_last: bool) -> None:
        """See one call through: until every device has an answer, or no attempt is left.

        Single devices that the service defers come last, so that no other waits for them.
        """
        started, tries, renewed = self._line.clock(), 0, False
        first = True
        while call := self._open(call, first=first):
            first = False
            accepted = self._standing.among(call, State.ACCEPTED)
            if accepted:
                asked = self._line.clock()
                error = see_through(self._channel, self._line, self._standing, accepted)
                call = self._standing.among(call, State.READY)
                started += self._line.clock() - asked
            else:
                tries += 1
                error = self._attempt(call)
            if error is None:
                self._given_up = 0
                if accepted:
                    return
            elif isinstance(error, Unauthorized) and not renewed:
                renewed = True
                self._line.refresh_token(error)
            elif error.rule == DEFERRED and not call_is_last:
                with self._lock:
                    self._deferred += self._repeatable(call)
                return
            elif not self._rest(call, error, tries, self._line.clock() - started):
                return

    def _open(self, call: tuple[PendingDevice, ...], *, first: bool) -> tuple[PendingDevice, ...]:
        """The devices of the call that another attempt may carry, less a barred customer's."""
        waiting = self._repeatable(call, first=first)
        for todo in waiting:
            if answer := self._barred.get(todo.customer or ""):
                self._standing.note([(todo.index, (Kind.ANSWERED, answer_payload(answer)))])
        return tuple(todo for todo in waiting if (todo.customer or "") not in self._barred)

    def _repeatable(
        self, call: Iterable[PendingDevice], *, first: bool = False
    ) -> tuple[PendingDevice, ...]:
        """The devices of the call that may take part in another attempt, or in the first one."""
        open_states = {State.READY, State.ACCEPTED} | ({State.BETWEEN} if first else set())
        if first or self._channel.repeats:
            open_states.add(State.DOUBT)
        permitted = (todo for todo in call if todo.index not in self._gated)
        return self._standing.among(permitted, *open_states)

    def _attempt(self, call: tuple[PendingDevice, ...]) -> ServiceError | None:
        """One call. An error that is returned is one after which another attempt may be made."""
        removals = self._intend(call)
        if not removals:
            return None
        if not self._line.pace.acquire(self._halt):
            self._tell_all(removals, (Kind.WITHDRAWN, {}))
            raise interruption()
        try:
            verdicts = self._channel.remove(removals)
        except ServiceError as error:
            self._heard(removals, error)
            return error
        except AuthError as error:
            self._line.pace.succeeded()
            self._tell_all(removals, (Kind.DEFERRED, {"detail": str(error)}))
            raise
        self._line.pace.succeeded()
        self._bar(removals, verdicts)
        self._standing.note([(index, of_verdict(verdict)) for index, verdict in verdicts.items()])
        end_where_barred(verdicts.values())
        return setback(verdicts.values())

    def _intend(self, call: tuple[PendingDevice, ...]) -> tuple[Removal, ...]:
        """Ask the gate, and make the intent to remove durable, before anything leaves.

        The only place that records an intent: a device that the gate refuses has its outcome, or
        stays in doubt, and no request is made for it.
        """
        request_id, correlation_id = self._context.new_id(), self._context.new_id()
        removals = tuple(
            removal(todo, self._standing.of(todo), request_id, correlation_id) for todo in call
        )
        refused = self._context.refusals(removals)
        self._standing.note(
            fact
            for todo in call
            if todo.index in refused
            and (fact := _refused(todo, self._standing.of(todo), refused[todo.index]))
        )
        self._gated |= refused.keys()
        allowed = tuple(one for one in removals if one.index not in refused)
        self._standing.note((one.index, _intent(one)) for one in allowed)
        return allowed

    def _heard(self, removals: tuple[Removal, ...], error: ServiceError) -> None:
        """Record how an attempt without a verdict ended, and stop where no other may follow.

        An unreadable answer leaves its device in doubt, and looking clears that. Where the channel
        cannot look, the next call would only add to the doubt.
        """
        self._line.heard(error)
        self._tell_all(removals, of_error(error))
        blind = isinstance(error, Unreadable) and not self._channel.observable
        if blind or isinstance(error, Redirected):
            raise error

    def _bar(self, removals: tuple[Removal, ...], verdicts: Mapping[int, Verdict]) -> None:
        for one in removals:
            verdict = verdicts[one.index]
            if isinstance(verdict, Answer) and verdict.bars_customer:
                self._barred[one.customer or ""] = verdict

    def _rest(
        self, call: Iterable[PendingDevice], error: ServiceError, tries: int, elapsed: float
    ) -> bool:
        """Sleep before the next attempt; False when this call is given up.

        Raises `error` when the run must not continue: a refused token, a pause beyond our patience,
        or a service that is down for all customers.
        """
        step = decide(self._line.policy, error, tries, elapsed, self._line.jitter())
        repeatable = self._repeatable(call)
        if repeatable and not isinstance(step, GiveUp):
            if self._halt.wait(step.seconds):
                raise interruption()
            return True
        with self._lock:
            self._given_up += 1
            down = self._given_up >= GIVEN_UP_IN_A_ROW
        if down or isinstance(error, Unauthorized | Throttled):
            raise error
        return False

    def _tell_all(self, removals: Iterable[Removal], fact: Fact) -> None:
        self._standing.note((one.index, fact) for one in removals)


def _refused(
    todo: PendingDevice, history: History, refusal: Explanation
) -> tuple[int, Fact] | None:
    """The event that settles a refused device; None for one in doubt, which stays so."""
    facts = {"outcome": Outcome.REFUSED.value, **asdict(refusal)}
    if history.state is State.READY:
        customer = {} if todo.customer is None else {"customer": todo.customer}
        return todo.index, (Kind.RESOLVED, {**facts, **customer})
    return (todo.index, (Kind.ANSWERED, facts)) if history.state is State.BETWEEN else None


def _intent(one: Removal) -> Fact:
    ids = {"requestId": one.request_id, "correlationId": one.correlation_id}
    if one.act is None:
        return Kind.INTENDED, ids
    return Kind.INTENDED, {**ids, "step": one.act.step, "record": one.act.record}
