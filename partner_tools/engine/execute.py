"""Carries out a plan: intent durable, permit, one call, outcome durable; again where it may be.

Workers take calls from one list. A call carries one device on Partner Center and up to a thousand
on OEM Direct. What becomes of a device is a verdict; what ends the run is an exception, kept until
every answer in flight is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from partner_tools.engine.channel import (
    Acceptance,
    Act,
    Answer,
    Channel,
    Deferral,
    Removal,
    Verdict,
)
from partner_tools.engine.line import Line, Stop, interruption
from partner_tools.engine.verdict_events import Fact, answer_payload, of_error, of_verdict
from partner_tools.errors import (
    AuthError,
    Interrupted,
    Redirected,
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.events import Event, History, Kind, State, advance
from partner_tools.model import Identity, RunId, Target
from partner_tools.pacing import GiveUp, decide

GIVEN_UP_IN_A_ROW = 3
"""So many calls given up with no success between them mean that the service is down."""

LAST_ANSWERS_SECONDS = 10.0
"""How long answers in flight are awaited after Ctrl-C (docs/reference/exit-codes.md, 130)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """One device of a run that is to be removed, and what the ledger knows of it.

    `act` is the next step, where the channel removes in several.
    """

    index: int
    identity: Identity
    customer: str | None
    target: Target | None
    history: History
    act: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an execution needs from outside.

    `record` returns when the events are durable; `settled` is told of each outcome after that;
    `concurrency` is the number of calls in flight at most.
    """

    run: RunId
    channel: Channel
    line: Line
    record: Callable[[Sequence[Event]], None]
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    settled: Callable[[int, History], None]
    concurrency: int = 32


def execute(desk: Desk, todos: Sequence[Todo], *, again: bool = False) -> tuple[Todo, ...]:
    """Remove every device that is ready, see accepted work through; the devices afterwards.

    A device whose answer never came is left in doubt: `settle` looks for it. Where the channel
    cannot look, what was in doubt before is sent once more. With `again` only what is ready takes
    part: accepted work and doubts had their turn.
    Raises the error that ended the run, after the answers in flight were recorded.
    """
    execution = _Execution(desk, todos, again=again)
    execution.run()
    return tuple(replace(todo, history=execution.histories[todo.index]) for todo in todos)


def calls(todos: Iterable[Todo], size: int) -> Iterator[tuple[Todo, ...]]:
    """The devices in calls of at most `size`, accepted work by its handle.

    Devices that share unanswered ids or are still in doubt stay together, so that the same body
    can be sent once more under the same ids.
    """
    together: dict[tuple[str | None, str | None], list[Todo]] = {}
    for todo in todos:
        together.setdefault(_call_key(todo.history), []).append(todo)
    for group in together.values():
        for start in range(0, len(group), size):
            yield tuple(group[start : start + size])


def _call_key(history: History) -> tuple[str | None, str | None]:
    """What devices of one call have in common."""
    if history.state in (State.ACCEPTED, State.DOUBT):
        return history.handle, history.correlation_id
    return None, history.correlation_id if history.request_id else None


class _Halt:
    """Set when the user stops, and when a worker ended the run: both wake everybody."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def is_set(self) -> bool:
        return self._ended.is_set() or self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        if self._stop.is_set():
            return True
        return self._ended.wait(timeout) or self._stop.is_set()


class _Execution:
    """The workers of one `execute` and what they share."""

    def __init__(self, desk: Desk, todos: Sequence[Todo], *, again: bool) -> None:
        self._desk = desk
        self._again = again
        self._channel = desk.channel
        self._halt = _Halt(desk.line.stop)
        self._line = replace(desk.line, stop=self._halt)
        self._lock = threading.Lock()
        self._calls = list(calls(filter(self._workable, todos), desk.channel.call_size))
        self._queue = iter(self._calls)
        self._barred: dict[str, Answer] = {}
        self._given_up = 0
        self._ended_by: BaseException | None = None
        self.histories = {todo.index: todo.history for todo in todos}

    def run(self) -> None:
        """Let the workers work until nothing is left or something ended it."""
        workers = [
            threading.Thread(target=self._work, name=f"removal-{number}", daemon=True)
            for number in range(min(self._desk.concurrency, len(self._calls)))
        ]
        for worker in workers:
            worker.start()
        self._join(workers)
        if self._ended_by is None and self._desk.line.stop.is_set():
            self._ended_by = interruption()
        if self._ended_by is not None:
            raise self._ended_by

    def _workable(self, todo: Todo) -> bool:
        """Whether this device takes part: in doubt only where the channel cannot look."""
        state = todo.history.state
        if self._again or state is State.READY:
            return state is State.READY
        if state is State.DOUBT:
            return not self._channel.observable
        return state in (State.ACCEPTED, State.BETWEEN)

    def _join(self, workers: Iterable[threading.Thread]) -> None:
        """Wait for the workers; after a stop no longer than answers in flight are awaited."""
        clock, deadline = self._line.clock, None
        for worker in workers:
            while worker.is_alive():
                worker.join(0.05)
                if self._desk.line.stop.is_set():
                    self._halt.end()
                    deadline = deadline or clock() + LAST_ANSWERS_SECONDS
                    if clock() > deadline:
                        return

    def _work(self) -> None:
        try:
            while (call := self._next_call()) is not None:
                self._carry_out(call)
        except BaseException as error:  # noqa: BLE001 - a worker's end, bug or not, ends the run
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """Keep the first reason; an interruption gives way to a reason that says more."""
        with self._lock:
            if self._ended_by is None or isinstance(self._ended_by, Interrupted):
                self._ended_by = error
        self._halt.end()

    def _next_call(self) -> tuple[Todo, ...] | None:
        with self._lock:
            return None if self._halt.is_set() else next(self._queue, None)

    def _carry_out(self, call: tuple[Todo, ...]) -> None:
        """See one call through: until every device has an answer, or no attempt is left."""
        started, tries, renewed = self._line.clock(), 0, False
        first = True
        while call := self._open(call, first=first):
            first = False
            accepted = self._in_state(call, State.ACCEPTED)
            if accepted:
                asked = self._line.clock()
                error = self._await_accepted(accepted)
                call = self._in_state(call, State.READY)
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
                self._line.freshen(error)
            elif not self._rest(call, error, tries, self._line.clock() - started):
                return

    def _in_state(self, call: Iterable[Todo], state: State) -> tuple[Todo, ...]:
        return tuple(todo for todo in call if self.histories[todo.index].state is state)

    def _open(self, call: tuple[Todo, ...], *, first: bool) -> tuple[Todo, ...]:
        """The devices of the call that another attempt may carry, less a barred customer's."""
        waiting = self._repeatable(call, first=first)
        for todo in waiting:
            if answer := self._barred.get(todo.customer or ""):
                self._note([(todo.index, (Kind.ANSWERED, answer_payload(answer)))])
        return tuple(todo for todo in waiting if (todo.customer or "") not in self._barred)

    def _repeatable(self, call: Iterable[Todo], *, first: bool = False) -> list[Todo]:
        """The devices of the call that may take part in another attempt, or in the first one."""
        open_states = {State.READY, State.ACCEPTED} | ({State.BETWEEN} if first else set())
        if first or self._channel.repeats:
            open_states.add(State.DOUBT)
        return [todo for todo in call if self.histories[todo.index].state in open_states]

    def _attempt(self, call: tuple[Todo, ...]) -> ServiceError | None:
        """One call. An error that is returned is one after which another attempt may be made."""
        removals = self._intend(call)
        if not self._line.pace.acquire(self._halt):
            self._note([(removal.index, (Kind.WITHDRAWN, {})) for removal in removals])
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
        self._note([(index, of_verdict(verdict)) for index, verdict in verdicts.items()])
        _end_where_barred(verdicts.values())
        return _deferral(verdicts)

    def _intend(self, call: tuple[Todo, ...]) -> tuple[Removal, ...]:
        """Make the intent to remove durable, before anything leaves."""
        request_id, correlation_id = self._desk.new_id(), self._desk.new_id()
        removals = tuple(self._removal(todo, request_id, correlation_id) for todo in call)
        self._note([(removal.index, _intent(removal)) for removal in removals])
        return removals

    def _removal(self, todo: Todo, request_id: str, correlation_id: str) -> Removal:
        """What one attempt carries: the ids of the last attempt as long as they are unanswered."""
        history = self.histories[todo.index]
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
            act=todo.act,
            approval=history.approval,
        )

    def _heard(self, removals: tuple[Removal, ...], error: ServiceError) -> None:
        """Record how an attempt without a verdict ended, and stop where no other may follow."""
        self._line.heard(error)
        self._tell_all(removals, of_error(error))
        if isinstance(error, Redirected | Unreadable):
            raise error

    def _bar(self, removals: tuple[Removal, ...], verdicts: Mapping[int, Verdict]) -> None:
        for removal in removals:
            verdict = verdicts[removal.index]
            if isinstance(verdict, Answer) and verdict.bars_customer:
                self._barred[removal.customer or ""] = verdict

    def _rest(self, call: Iterable[Todo], error: ServiceError, tries: int, elapsed: float) -> bool:
        """Sleep before the next attempt; False when this call is given up.

        Raises `error` when the run must not go on: a refused token, a pause beyond our patience,
        or a service that is down for everybody.
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

    def _await_accepted(self, call: tuple[Todo, ...]) -> ServiceError | None:
        """Ask after accepted work until it is finished or the polling's own deadline has passed.

        An error that is returned says that some of it wants to be sent again.
        """
        polling, clock = self._channel.polling, self._line.clock
        interval, deadline = polling.interval, clock() + polling.deadline
        deferral = None
        while (waiting := self._in_state(call, State.ACCEPTED)) and clock() <= deadline:
            if self._halt.wait(interval):
                raise interruption()
            deferral = self._ask_after(waiting) or deferral
            interval = min(interval * 2, polling.max_interval)
        return deferral

    def _ask_after(self, waiting: Sequence[Todo]) -> ServiceError | None:
        handle = self.histories[waiting[0].index].handle or ""
        removals = tuple(self._removal(todo, "", "") for todo in waiting)
        verdicts = self._line.ask(lambda: self._channel.poll(handle, removals))
        finished = [
            (index, of_verdict(verdict))
            for index, verdict in verdicts.items()
            if not isinstance(verdict, Acceptance)
        ]
        self._note(finished)
        _end_where_barred(verdicts.values())
        return _deferral(verdicts)

    def _tell_all(self, removals: Iterable[Removal], fact: Fact) -> None:
        self._note([(removal.index, fact) for removal in removals])

    def _note(self, facts: Sequence[tuple[int, Fact]]) -> None:
        """Make events durable, then show what is settled by them."""
        if not facts:
            return
        at = self._desk.now()
        noted = [
            (index, Event(run=self._desk.run, kind=kind, at=at, device=index, payload=payload))
            for index, (kind, payload) in facts
        ]
        self._desk.record([event for _, event in noted])
        for index, event in noted:
            history = advance(self.histories[index], event)
            self.histories[index] = history
            if history.state is State.SETTLED:
                self._desk.settled(index, history)


def _intent(removal: Removal) -> Fact:
    ids = {"requestId": removal.request_id, "correlationId": removal.correlation_id}
    if removal.act is None:
        return Kind.INTENDED, ids
    return Kind.INTENDED, {**ids, "step": removal.act.step, "record": removal.act.record}


def _deferral(verdicts: Mapping[int, Verdict]) -> ServiceError | None:
    """Some device of an answered call wants to be asked later: rest as after a failure."""
    for verdict in verdicts.values():
        if isinstance(verdict, Deferral):
            return Unavailable(
                verdict.detail,
                status=verdict.status,
                code=verdict.code,
                retry_after=verdict.retry_after,
            )
    return None


def _end_where_barred(verdicts: Iterable[Verdict]) -> None:
    """End the run where the service says that the request itself is wrong."""
    for verdict in verdicts:
        if isinstance(verdict, Answer) and verdict.bars_run:
            raise Rejected(
                f"the run was stopped: {verdict.detail}",
                remedy=verdict.remedy or "",
                rule=verdict.rule,
                status=verdict.status,
                code=verdict.code,
                request_id=verdict.request_id,
                correlation_id=verdict.correlation_id,
            )
