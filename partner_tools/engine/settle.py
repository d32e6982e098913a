"""Clears doubt by looking, and carries a run through until nothing moves any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from partner_tools.engine.channel import Removal
from partner_tools.engine.execute import Desk, Todo, execute
from partner_tools.events import Event, History, Kind, State, advance

ROUNDS = 3
"""How often a device that was found still registered after a doubt is tried again in one run."""


def carry_through(desk: Desk, todos: Sequence[Todo]) -> tuple[Todo, ...]:
    """Bring every device to an outcome, as far as this run can; the devices afterwards.

    What an earlier process left in doubt is settled before anything is sent. Raises what ended
    the run early; everything that happened is durable by then.
    """
    current = settle(desk, todos)
    for finished in range(ROUNDS):
        current = settle(desk, execute(desk, current, again=finished > 0))
        if not any(todo.history.state is State.READY for todo in current):
            break
    return current


def settle(desk: Desk, todos: Sequence[Todo]) -> tuple[Todo, ...]:
    """Look for every device in doubt, where the channel can; the devices afterwards.

    Still registered: ready again, with the same request id where that was never answered. Not
    there any more: `absent`, with our own unanswered request said; one step of several is passed
    then. Where the channel cannot look, an intent that a dead process left becomes a doubt, which
    `execute` may send once more.
    """
    doubtful = [todo for todo in todos if todo.history.in_doubt]
    if not doubtful:
        return tuple(todos)
    noted = _looked_for(desk, doubtful) if desk.channel.observable else _left_behind(desk, doubtful)
    desk.record(noted)
    after = {event.device: event for event in noted}
    return tuple(_advanced(desk, todo, after.get(todo.index)) for todo in todos)


def _looked_for(desk: Desk, doubtful: Sequence[Todo]) -> list[Event]:
    present = desk.channel.recall([_removal(todo) for todo in doubtful])
    return [_recalled(desk, todo, present=present[todo.index]) for todo in doubtful]


def _recalled(desk: Desk, todo: Todo, *, present: bool) -> Event:
    if present:
        return _event(desk, todo, Kind.RECALLED, {"present": True})
    if todo.act is not None:
        detail = "done when looked at; the answer to our own request never came"
        return _event(desk, todo, Kind.PASSED, {"step": todo.act.step, "detail": detail})
    return _event(desk, todo, Kind.RECALLED, _absent(todo.history))


def _absent(history: History) -> dict[str, object]:
    request = f" {history.request_id}" if history.request_id else ""
    return {
        "present": False,
        "detail": f"it is not listed any more; our own request{request} "
        "had left and its answer never came, so that it may have been ours",
    }


def _left_behind(desk: Desk, doubtful: Sequence[Todo]) -> list[Event]:
    facts: dict[str, object] = {
        "answered": False,
        "detail": "the process ended before an answer was recorded",
        "remedy": "resume the run: the same request is sent once more",
    }
    return [
        _event(desk, todo, Kind.DOUBTED, facts)
        for todo in doubtful
        if todo.history.state is not State.DOUBT
    ]


def _event(desk: Desk, todo: Todo, kind: Kind, payload: dict[str, object]) -> Event:
    return Event(run=desk.run, kind=kind, at=desk.now(), device=todo.index, payload=payload)


def _advanced(desk: Desk, todo: Todo, event: Event | None) -> Todo:
    if event is None:
        return todo
    history = advance(todo.history, event)
    if history.state is State.SETTLED:
        desk.settled(todo.index, history)
    return replace(todo, history=history)


def _removal(todo: Todo) -> Removal:
    return Removal(
        index=todo.index,
        identity=todo.identity,
        customer=todo.customer,
        target=todo.target,
        request_id=todo.history.request_id or "",
        correlation_id=todo.history.correlation_id or "",
        act=todo.act,
    )
