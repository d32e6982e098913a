"""The names of runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.ledger import RANDOM_BYTES, is_run_id, new_run_id

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
RANDOMNESS = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


def test_a_run_is_named_after_its_second_in_utc() -> None:
    there = datetime.fromisoformat("2026-04-17T12:15:30.9+02:00")
    assert new_run_id(there, b"\x4f\x2a\x9c") == "20260417-101530-4f2a9c"


@given(MOMENTS, RANDOMNESS)
def test_a_run_id_is_a_file_name_everywhere(now: datetime, randomness: bytes) -> None:
    run = new_run_id(now, randomness)
    assert is_run_id(run)
    assert run == run.lower()
    assert set(run) <= set("0123456789abcdef-")


@given(MOMENTS, MOMENTS, RANDOMNESS, RANDOMNESS)
def test_run_ids_sort_by_time(one: datetime, two: datetime, first: bytes, second: bytes) -> None:
    seconds = sorted([(one.replace(microsecond=0), first), (two.replace(microsecond=0), second)])
    runs = [new_run_id(now, randomness) for now, randomness in seconds]
    assert runs == sorted(runs)


@given(RANDOMNESS, RANDOMNESS)
def test_run_ids_of_one_second_differ_as_their_randomness(first: bytes, second: bytes) -> None:
    now = datetime(2026, 4, 17, tzinfo=UTC)
    assert (new_run_id(now, first) == new_run_id(now, second)) is (first == second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260417-101530",
        "20260417-101530-4F2A9C",
        "../20260417-101530-4f2a9c",
        "20260417-101530-4f2a9c\n",
        "20260417-101530-4f2a9c.db",
        "\u0660260417-101530-4f2a9c",
    ],
)
def test_nothing_else_is_a_run_id(text: str) -> None:
    assert not is_run_id(text)


@pytest.mark.parametrize(
    ("now", "randomness"),
    [(datetime(2026, 4, 17), b"abc"), (datetime(2026, 4, 17, tzinfo=UTC), b"ab")],  # noqa: DTZ001
)
def test_a_run_id_needs_a_zone_and_three_bytes(now: datetime, randomness: bytes) -> None:
    with pytest.raises(ValueError, match="run id"):
        new_run_id(now, randomness)
