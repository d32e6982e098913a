"""Where each device of an execution stands: durable first, known and shown after that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from partner_tools.engine.context import ExecutionContext, Todo
from partner_tools.engine.verdict_events import Fact
from partner_tools.events import Event, History, State, advance


class Standing:
    """The histories of an execution's devices.

    Workers may share it: each device is written by the one worker whose call carries it.
    """

    def __init__(self, context: ExecutionContext, todos: Sequence[Todo]) -> None:
        self._context = context
        self._todos = tuple(todos)
        self._histories = {todo.index: todo.history for todo in todos}

    def of(self, todo: Todo) -> History:
        """What is known of the device by now."""
        return self._histories[todo.index]

    def todos(self) -> tuple[Todo, ...]:
        """Every device with what is known of it by now."""
        return tuple(replace(todo, history=self.of(todo)) for todo in self._todos)

    def among(self, call: Iterable[Todo], *states: State) -> tuple[Todo, ...]:
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
