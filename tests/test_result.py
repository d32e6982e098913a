"""What a result says to do next about a device, by where its run stands."""

from __future__ import annotations

import pytest

from partner_tools.events import History, State
from partner_tools.model import Device, Identity, Outcome, RunState
from partner_tools.result import CANCELLED, DeviceResult, device_line


@pytest.mark.parametrize(
    ("run", "outcome", "said"),
    [
        (RunState.PLANNED, Outcome.PENDING, None),
        (RunState.QUEUED, Outcome.PENDING, "wait for a worker"),
        (RunState.CANCELLED, Outcome.PENDING, "submit it again"),
        (RunState.CANCELLED, Outcome.UNKNOWN, "cancel the run again"),
        (RunState.INTERRUPTED, Outcome.PENDING, "resume the run"),
        (RunState.INTERRUPTED, Outcome.UNKNOWN, "resume the run"),
        (RunState.CANCELLED, Outcome.REMOVED, None),
    ],
)
def test_no_message_suggests_resuming_a_run_that_cannot_be_resumed(
    run: RunState, outcome: Outcome, said: str | None
) -> None:
    state = State.DOUBT if outcome is Outcome.UNKNOWN else State.READY
    history = History(state=state, outcome=outcome)
    device = DeviceResult(
        device=Device(row=1, identity=Identity(serial_number="S")),
        history=history,
        stop=CANCELLED if run is RunState.CANCELLED else None,
    )

    remedy = device_line(device, run)["remedy"]

    assert remedy is None if said is None else said in remedy
