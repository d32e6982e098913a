"""Clears doubt by looking."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from partner_tools.engine.channel import Removal
from partner_tools.engine.context import ExecutionContext, PendingDevice
from partner_tools.engine.execute import DeviceStates, removal
from partner_tools.engine.request_executor import interruption
from partner_tools.engine.verdicts import Fact
from partner_tools.errors import ServiceError, Throttled, Unanswered, Unauthorized, Unsent
from partner_tools.events import Event, History, Kind, State, advance
from partner_tools.model import GONE, ChannelName, Target


def settle(context: ExecutionContext, todos: Sequence[PendingDevice]) -> tuple[PendingDevice, ...]:
    """Look for every device in doubt, where the channel can; the devices afterwards.

    Still registered: ready again, with the same request id where that was never answered. Not
    there any more: `absent`, with our own unanswered request said; one step of several is passed
    then. Where the channel cannot look, an intent that a dead process left becomes a doubt, which
    `execute` may send once more.
    """
    standing = DeviceStates(context, todos)
    doubtful = [todo for todo in todos if todo.history.in_doubt]
    if doubtful:
        standing.note(
            _looked_for(context, doubtful) if context.channel.observable else _left(doubtful)
        )
    return standing.todos()


def _looked_for(
    context: ExecutionContext, doubtful: Sequence[PendingDevice]
) -> list[tuple[int, Fact]]:
    present = context.channel.recall([removal(todo, todo.history) for todo in doubtful])
    return [(todo.index, _recalled(todo, present=present[todo.index])) for todo in doubtful]


def _recalled(todo: PendingDevice, *, present: bool) -> Fact:
    if present:
        return Kind.RECALLED, {"present": True}
    if todo.act is not None:
        detail = "done when looked at; the answer to our own request never came"
        return Kind.PASSED, {"step": todo.act.step, "detail": detail}
    return Kind.RECALLED, _absent(todo.history)


def _absent(history: History) -> dict[str, object]:
    request = f" {history.request_id}" if history.request_id else ""
    return {
        "present": False,
        "detail": f"it is not listed any more; our own request{request} "
        "had left and its answer never came, so that it may have been ours",
    }


def _left(doubtful: Sequence[PendingDevice]) -> list[tuple[int, Fact]]:
    facts: dict[str, object] = {
        "answered": False,
        "detail": "the process ended before an answer was recorded",
        "remedy": "resume the run: the same request is sent once more",
    }
    return [
        (todo.index, (Kind.DOUBTED, facts))
        for todo in doubtful
        if todo.history.state is not State.DOUBT
    ]


FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
OF_EVERYBODY = (Unsent, Unanswered, Throttled, Unauthorized)
"""What would be the same for the next customer; the rest a service says of one customer's list."""


class Observer(Protocol):
    """A channel that can look for devices by identity."""

    def sightings(self, removals: Sequence[Removal]) -> Mapping[int, Target | None]:
        """Where each device is registered now, in whatever batch; None where it is not.

        Complete, or raises.
        """


def verify(
    context: ExecutionContext,
    observer: Observer,
    todos: Sequence[PendingDevice],
    *,
    wait_seconds: float,
) -> tuple[PendingDevice, ...]:
    """Look for every device that is gone until none is listed, at most `wait_seconds` long.

    The devices afterwards, each with one more piece of evidence: `clear` only from a look that
    did not find it. Each customer stands on its own: what keeps us from looking at one is raised
    when all others have been looked at.
    """
    blind: dict[str | None, ServiceError] = {}
    listed = [todo for todo in todos if todo.history.outcome in GONE]
    latest = {todo.index: todo for todo in todos}
    deadline, pause = context.line.clock() + wait_seconds, FIRST_PAUSE_SECONDS
    while listed:
        seen, unseen = _look(observer, listed)
        blind |= unseen
        listed = [todo for todo in listed if todo.customer not in blind]
        over = context.line.clock() >= deadline
        judged = [todo for todo in listed if over or seen[todo.index] is None]
        for todo in _evidence(context, judged, seen):
            latest[todo.index] = todo
        listed = [] if over else [todo for todo in listed if seen[todo.index] is not None]
        if listed and context.line.stop.wait(min(pause, max(0.0, deadline - context.line.clock()))):
            raise interruption()
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    if blind:
        raise _blindness(blind, {todo.customer for todo in todos})
    return tuple(latest[todo.index] for todo in todos)


def _look(
    observer: Observer, todos: Sequence[PendingDevice]
) -> tuple[dict[int, Target | None], dict[str | None, ServiceError]]:
    """What each customer's lists show, and by customer what kept us from reading them."""
    seen: dict[int, Target | None] = {}
    blind: dict[str | None, ServiceError] = {}
    for customer in dict.fromkeys(todo.customer for todo in todos):
        own = [_removal(todo) for todo in todos if todo.customer == customer]
        try:
            seen |= observer.sightings(own)
        except OF_EVERYBODY:
            raise
        except ServiceError as error:
            blind[customer] = error
    return seen, blind


def _blindness(
    blind: Mapping[str | None, ServiceError], customers: Collection[str | None]
) -> ServiceError:
    first = next(iter(blind.values()))
    if len(customers) == 1:
        return first
    named = "; ".join(f"{customer}: {error}" for customer, error in blind.items())
    return ServiceError(
        f"whether what was removed is gone could not be looked at for {named}",
        remedy="the other customers were looked at; look again later with `partner-tools verify`",
        rule=first.rule,
    )


def _evidence(
    context: ExecutionContext, todos: Sequence[PendingDevice], seen: Mapping[int, Target | None]
) -> list[PendingDevice]:
    events = [
        Event(
            run=context.run,
            kind=Kind.OBSERVED,
            at=context.now(),
            device=todo.index,
            payload=_sighting(context.channel.name, seen[todo.index]),
        )
        for todo in todos
    ]
    context.record(events)
    return [
        replace(todo, history=advance(todo.history, event))
        for todo, event in zip(todos, events, strict=True)
    ]


def _sighting(source: ChannelName, target: Target | None) -> Mapping[str, Any]:
    """Evidence as `outstanding.probe_from` reads it."""
    seen = {"plane": "autopilot", "source": source.value}
    if target is None:
        return {**seen, "status": "clear"}
    ids = {"batchId": target.batch_id, "deviceId": target.device_id}
    return {**seen, "status": "outstanding", "ids": ids}


def _removal(todo: PendingDevice) -> Removal:
    return Removal(
        index=todo.index,
        identity=todo.identity,
        customer=todo.customer,
        target=todo.target,
        request_id="",
        correlation_id="",
    )
