"""A sample of mutated lists, and the second reading itself."""

from __future__ import annotations

import pytest

from tests.fuzz.lists import is_no_identifier, run


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_no_mutated_list_gives_what_is_no_identifier(seed: int) -> None:
    outcomes = run(1_500, seed)
    assert outcomes["read"] > 150
    assert outcomes["refused"] > 150


@pytest.mark.parametrize("text", ["#N/A", "-----", "Total: 25", "0000000", "12345678", "None"])
def test_second_reading_rejects(text: str) -> None:
    assert is_no_identifier(text)


@pytest.mark.parametrize("text", ["5CG0001", "00", "1E5", "VMware-12 3e 45", "AB#12%20+C?"])
def test_second_reading_accepts(text: str) -> None:
    assert is_no_identifier(text) is None
