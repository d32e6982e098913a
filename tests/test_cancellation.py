"""A token that is set elsewhere, by its parent or by time."""

from __future__ import annotations

import threading

from partner_tools.cancellation import CancellationToken


class TimedToken(CancellationToken):
    """A token whose time the test tells."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def wait_for(self, event: threading.Event, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return event.is_set()


def test_it_asks_once_a_second_whether_the_run_was_cancelled_and_remembers() -> None:
    parent, asked, answers = TimedToken(), [0.0], iter([False, True])

    def cancelled() -> bool:
        asked.append(parent.now)
        return next(answers)

    token = CancellationToken(parent, cancelled=cancelled)
    seen = []
    for parent.now in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 9.0):
        seen.append(token.is_set())
    assert asked == [0.0, 1.0, 2.0]
    assert seen == [False, False, False, False, True, True, True]
    assert token.wait(5.0)


def test_a_cancel_that_is_acknowledged_lets_doubts_be_settled() -> None:
    parent = TimedToken()
    token = CancellationToken(parent, cancelled=lambda: True)
    assert not token.acknowledge_cancel()
    parent.now = 1.0
    assert token.is_set()
    assert token.acknowledge_cancel()
    assert not token.is_set()
    parent.set()
    assert token.is_set()
    assert not parent.acknowledge_cancel()


def test_a_deadline_holds_while_its_block_lasts() -> None:
    parent = TimedToken()
    token = CancellationToken(parent)
    with token.deadline(3.0):
        assert not token.is_set()
        parent.now = 3.0
        assert token.is_set()
        assert not token.acknowledge_cancel()
    assert not token.is_set()


def test_a_waiting_child_notices_that_its_parent_is_set() -> None:
    parent = TimedToken()
    child = CancellationToken(CancellationToken(parent))
    assert not child.wait(2.0)
    assert parent.now == 2.0
    parent.set()
    assert child.wait(60.0)
    assert parent.now == 2.0


def test_a_child_that_is_set_leaves_its_parent_alone() -> None:
    parent = CancellationToken()
    child = CancellationToken(parent)
    child.set()
    assert child.wait(60.0)
    assert not parent.is_set()
