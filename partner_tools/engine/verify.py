"""Looks whether what is gone is really gone, and keeps what was seen as evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from partner_tools.engine.channel import Removal
from partner_tools.engine.context import ExecutionContext, Todo
from partner_tools.engine.line import interruption
from partner_tools.errors import ServiceError, Throttled, Unanswered, Unauthorized, Unsent
from partner_tools.events import Event, Kind, advance
from partner_tools.model import GONE, ChannelName, Target

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
    context: ExecutionContext, observer: Observer, todos: Sequence[Todo], *, wait_seconds: float
) -> tuple[Todo, ...]:
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
    observer: Observer, todos: Sequence[Todo]
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
    context: ExecutionContext, todos: Sequence[Todo], seen: Mapping[int, Target | None]
) -> list[Todo]:
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


def _removal(todo: Todo) -> Removal:
    return Removal(
        index=todo.index,
        identity=todo.identity,
        customer=todo.customer,
        target=todo.target,
        request_id="",
        correlation_id="",
    )
