"""Asks after accepted work, at the channel's own interval and up to its own deadline."""

from __future__ import annotations

from collections.abc import Sequence

from partner_tools.engine.calls import removal
from partner_tools.engine.channel import Acceptance, Channel
from partner_tools.engine.consequences import deferral, end_where_barred
from partner_tools.engine.context import Todo
from partner_tools.engine.line import Line, interruption
from partner_tools.engine.standing import Standing
from partner_tools.engine.verdict_events import of_verdict
from partner_tools.errors import ServiceError
from partner_tools.events import State


def see_through(
    channel: Channel, line: Line, standing: Standing, call: Sequence[Todo]
) -> ServiceError | None:
    """Ask after one call's accepted work until it is finished or the deadline has passed.

    What is finished is durable by then; the rest stays accepted, for `resume`. An error that is
    returned says that some of it wants to be sent again.
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
    channel: Channel, line: Line, standing: Standing, waiting: Sequence[Todo]
) -> ServiceError | None:
    handle = standing.of(waiting[0]).handle or ""
    removals = tuple(removal(todo, standing.of(todo)) for todo in waiting)
    verdicts = line.ask(lambda: channel.poll(handle, removals))
    standing.note(
        (index, of_verdict(verdict))
        for index, verdict in verdicts.items()
        if not isinstance(verdict, Acceptance)
    )
    end_where_barred(verdicts.values())
    return deferral(verdicts.values())
