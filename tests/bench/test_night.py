"""A short night at a depot: fewer orders, the same trouble."""

from __future__ import annotations

import os

import pytest

from tests.bench.night import night

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="the folder's script is for bash"),
]


def test_every_unit_is_right_in_the_morning_and_each_alarm_came_once() -> None:
    morning = night(48, endless_640=False)

    assert morning.wrong == []
    assert morning.kills > 0
    assert morning.places == {"done": 10, "attention": 2}
