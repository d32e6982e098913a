"""The short form of the fuzzing of every reader: `make fuzz` is the long one."""

from __future__ import annotations

import pytest

from tests.fuzz.readers import READERS, fuzz

COUNT = 40


@pytest.mark.parametrize("name", READERS)
def test_hostile_input_is_taken_or_refused_in_words(name: str) -> None:
    """No reader ends in anything but a value or an error that a user can act on."""
    seen = fuzz(name, count=COUNT, number=7)

    assert seen["taken"] > 0
    assert seen["refused"] + seen["taken"] >= COUNT // 2
