"""Calls a run off, wherever it is: queued, executed by some process, or interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from partner_tools.engine.cancelling import LOOK_SECONDS
from partner_tools.engine.execute import LAST_ANSWERS_SECONDS
from partner_tools.errors import InputError
from partner_tools.events import IN_DOUBT, Event, Kind
from partner_tools.model import ChannelName, RunState
from partner_tools.workspace.environment import now
from partner_tools.workspace.onlooker import Onlooker

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from partner_tools.engine.request_executor import Stop
    from partner_tools.ledger import Ledger, RunRecord
    from partner_tools.runs.context import Workplace

PATIENCE_SECONDS = LOOK_SECONDS + LAST_ANSWERS_SECONDS + 5.0
"""So long the process that executes the run may take to notice, to hear its answers, to settle."""
GLANCE_SECONDS = 0.2


OpenPlace = Callable[[ChannelName, Onlooker], "AbstractContextManager[Workplace]"]


def cancel(
    ledger: Ledger, name: str, *, stop: Stop, open_place: OpenPlace, onlooker: Onlooker
) -> None:
    """Cancel the run, durably, and settle what has left, here or in the process that sent it.

    Raises InputError for a run that is over; what its channel raises where it cannot look.
    """
    record = ledger.run(name)
    if record.state is RunState.FINISHED:
        raise InputError(
            f"run {record.run} is finished: there is nothing to cancel",
            rule="run-over",
            remedy=f"`partner-tools runs {record.run}` shows it",
        )
    if record.state is not RunState.CANCELLED:
        ledger.record([Event(run=record.run, kind=Kind.CANCELLED, at=now(), payload={})])
    if not _its_process_stopped(ledger, record, stop):
        onlooker.told("its process has not stopped yet: what has left is settled there")
    elif _in_doubt(ledger, record):
        _settle(ledger, record, open_place, onlooker)


def _its_process_stopped(ledger: Ledger, record: RunRecord, stop: Stop) -> bool:
    until = time.monotonic() + PATIENCE_SECONDS
    while ledger.is_held(record.run):
        if time.monotonic() > until or stop.wait(GLANCE_SECONDS):
            return False
    return True


def _in_doubt(ledger: Ledger, record: RunRecord) -> bool:
    return any(ledger.devices(record.run, states=IN_DOUBT))


def _settle(ledger: Ledger, record: RunRecord, open_place: OpenPlace, onlooker: Onlooker) -> None:
    from partner_tools.runs.removal import settle_doubts

    with ledger.hold(record.run), open_place(record.channel, onlooker) as place:
        settle_doubts(place, record.run)
    if _in_doubt(ledger, record):
        onlooker.told("this channel cannot look: what was in doubt stays unknown")
