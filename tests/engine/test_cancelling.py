"""A stop that comes from elsewhere, and one that comes by time."""

from __future__ import annotations

import threading

from partner_tools.engine.cancelling import CancelSign, giving_way, heed


class Event(threading.Event):
    """A stop whose time the test tells."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def nap(self, event: threading.Event, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return event.is_set()


def test_it_asks_once_a_second_and_remembers() -> None:
    stop, asked, answers = Event(), [0.0], iter([False, True])

    def cancelled() -> bool:
        asked.append(stop.now)
        return next(answers)

    sign = CancelSign(stop, cancelled)
    seen = []
    for stop.now in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 9.0):
        seen.append(sign.is_set())
    assert asked == [0.0, 1.0, 2.0]
    assert seen == [False, False, False, False, True, True, True]
    assert sign.wait(5.0)


def test_who_heeds_it_may_go_on_to_settle() -> None:
    stop = Event()
    sign = CancelSign(stop, lambda: True)
    assert not heed(sign)
    stop.now = 1.0
    assert sign.is_set()
    assert heed(sign)
    assert not sign.is_set()
    stop.set()
    assert sign.is_set()
    assert not heed(stop)


def test_it_gives_way_after_a_time_while_the_block_lasts() -> None:
    stop = Event()
    sign = CancelSign(stop, lambda: False)
    with giving_way(sign, 3.0):
        assert not sign.is_set()
        stop.now = 3.0
        assert sign.is_set()
        assert not heed(sign)
    assert not sign.is_set()
    with giving_way(threading.Event(), 3.0):
        pass
