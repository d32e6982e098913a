"""Which devices share a call, and what a call carries of each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from partner_tools.engine.channel import Removal
from partner_tools.engine.context import Todo
from partner_tools.events import History, State


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


def removal(
    todo: Todo, history: History, request_id: str = "", correlation_id: str = ""
) -> Removal:
    """What a call carries of a device.

    The ids are those of its last attempt as long as that is unanswered, otherwise the given ones.
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
        act=todo.act,
        approval=history.approval,
    )
