"""The table of faults holds every cell, and cells are what it says."""

from __future__ import annotations

import pytest

from tests.faults.faults import FAULTS
from tests.faults.matrix import compare, sample
from tests.faults.scenes import SCENES
from tests.faults.table import EXPECTED, GROUPS, expected
from tests.faults.trial import cells

pytestmark = pytest.mark.slow

SAMPLE = tuple(sample(3))


def test_the_table_has_every_cell_once() -> None:
    named = [
        (fault, request)
        for fault, ends in EXPECTED.items()
        for requests in ends.values()
        for request in requests.split()
    ]

    assert len(named) == len({*named})
    assert {*named} == {*cells()}
    assert all(expected(*cell) for cell in cells())


def test_every_request_is_in_one_group() -> None:
    assert sorted(each for group in GROUPS.values() for each in group) == sorted(SCENES)


def test_the_sample_has_every_fault_and_every_request() -> None:
    assert {fault for fault, _ in SAMPLE} == {*FAULTS}
    assert {request for _, request in SAMPLE} == {*SCENES}


@pytest.mark.parametrize("cell", SAMPLE, ids=" ".join)
def test_a_cell_is_what_the_table_says(cell: tuple[str, str]) -> None:
    compared = compare(cell)

    assert compared.found == compared.expected
