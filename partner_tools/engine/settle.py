"""Clears doubt by looking."""

from __future__ import annotations

from collections.abc import Sequence

from partner_tools.engine.calls import removal
from partner_tools.engine.context import ExecutionContext, Todo
from partner_tools.engine.standing import Standing
from partner_tools.engine.verdict_events import Fact
from partner_tools.events import History, Kind, State


def settle(context: ExecutionContext, todos: Sequence[Todo]) -> tuple[Todo, ...]:
    """Look for every device in doubt, where the channel can; the devices afterwards.

    Still registered: ready again, with the same request id where that was never answered. Not
    there any more: `absent`, with our own unanswered request said; one step of several is passed
    then. Where the channel cannot look, an intent that a dead process left becomes a doubt, which
    `execute` may send once more.
    """
    standing = Standing(context, todos)
    doubtful = [todo for todo in todos if todo.history.in_doubt]
    if doubtful:
        standing.note(
            _looked_for(context, doubtful) if context.channel.observable else _left(doubtful)
        )
    return standing.todos()


def _looked_for(context: ExecutionContext, doubtful: Sequence[Todo]) -> list[tuple[int, Fact]]:
    present = context.channel.recall([removal(todo, todo.history) for todo in doubtful])
    return [(todo.index, _recalled(todo, present=present[todo.index])) for todo in doubtful]


def _recalled(todo: Todo, *, present: bool) -> Fact:
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


def _left(doubtful: Sequence[Todo]) -> list[tuple[int, Fact]]:
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
