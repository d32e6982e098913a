"""One pace for many processes: nobody exceeds it, nobody starves, and a 429 stops all."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools import pacing
from partner_tools import shared_pacing as sharing
from partner_tools.shared_pacing import Party, RequestOutcome, Shared

LEIPZIG, LYON = Party(depot="leipzig"), Party(depot="lyon")
RUSH = Party(depot="lyon", priority=3)


def known(rate: float) -> Shared:
    """A pace that stays at this rate."""
    limit = pacing.Learned(per_second=rate / pacing.REMEMBERED_MARGIN)
    pace = pacing.remembered(limit, 0.0, max_rate=rate)
    return Shared(pace=pace, at=0.0)


def served(
    shared: Shared, processes: dict[str, dict[Party, int]], seconds: float
) -> tuple[Shared, Counter[tuple[str, Party]], list[float]]:
    """What each process gets when all ask every 20 ms, and at which times."""
    got: Counter[tuple[str, Party]] = Counter()
    times: list[float] = []
    for step in range(int(seconds / 0.02)):
        for name, wishes in processes.items():
            shared, granted = sharing.lease(shared, name, wishes, step * 0.02)
            got.update((name, party) for party, _ in granted)
            times += [permit.at for _, permit in granted]
    return shared, got, times


def test_the_sum_over_processes_is_the_rate() -> None:
    many = {f"p{number}": {LEIPZIG: 32} for number in range(8)}
    _, got, times = served(known(100.0), many, 10.0)
    assert 990 <= got.total() <= 1012
    assert times == sorted(times)
    assert max(Counter(int(at) for at in times).values()) <= 101


def test_depots_share_evenly_however_much_each_wants() -> None:
    _, got, _ = served(known(100.0), {"a": {LEIPZIG: 500}, "b": {LYON: 2}}, 10.0)
    assert abs(got["a", LEIPZIG] - got["b", LYON]) <= 20


def test_a_depot_with_more_workers_has_no_more() -> None:
    processes = {"a": {LEIPZIG: 9}, "b": {LEIPZIG: 9}, "c": {LEIPZIG: 9}, "d": {LYON: 9}}
    _, got, _ = served(known(90.0), processes, 10.0)
    of_lyon = got["d", LYON] / got.total()
    assert 0.45 <= of_lyon <= 0.55


def test_each_step_of_priority_doubles_the_share() -> None:
    _, got, _ = served(known(90.0), {"a": {LEIPZIG: 50, RUSH: 50}}, 10.0)
    assert 7.5 <= got["a", RUSH] / got["a", LEIPZIG] <= 8.5


def test_who_was_away_does_not_catch_up() -> None:
    shared, _, _ = served(known(100.0), {"a": {LEIPZIG: 9}}, 10.0)
    got: Counter[Party] = Counter()
    for step in range(500, 600):
        for name, wishes in (("a", {LEIPZIG: 9}), ("b", {LYON: 9})):
            shared, granted = sharing.lease(shared, name, wishes, step * 0.02)
            got.update(party for party, _ in granted)
    assert abs(got[LEIPZIG] - got[LYON]) <= 15


def test_a_process_that_died_blocks_no_other() -> None:
    shared, _ = sharing.lease(known(100.0), "dead", {LYON: 50}, 0.0)
    got = 0
    for step in range(1, 100):
        shared, granted = sharing.lease(shared, "a", {LEIPZIG: 50}, step * 0.02)
        got += len(granted)
    assert got >= 180
    assert set(shared.turns) == {LEIPZIG, LYON}
    shared, _ = sharing.lease(shared, "a", {LEIPZIG: 1}, 5.0)
    assert set(shared.turns) == {LEIPZIG}


@pytest.mark.slow
@pytest.mark.parametrize("rate", [20.0, 60.0, 150.0])
@pytest.mark.parametrize("kill_every", [8.0, None], ids=["killed", "alive"])
def test_processes_that_ask_slowly_or_die_leave_no_permits_unused(
    rate: float, kill_every: float | None
) -> None:
    """Three workers of four depots each ask every 30 to 120 ms; each replacement takes 4 s."""
    parties = [Party(depot=f"d{number}") for number in range(12)]
    chance = random.Random(1)  # noqa: S311 - a repeatable course
    asks = {f"p{number}": chance.uniform(0.0, 0.1) for number in range(3)}
    depots = {name: parties[4 * n : 4 * n + 4] for n, name in enumerate(asks)}
    shared, got, kill_at = known(rate), Counter[Party](), kill_every or math.inf
    while (at := min(asks.values())) < 25.0:
        name = min(asks, key=asks.__getitem__)
        del asks[name]
        if at > kill_at:
            kill_at += kill_every or math.inf
            successor = f"after {name}"
            depots[successor], asks[successor] = depots[name], at + 4.0
            continue
        shared, granted = sharing.lease(shared, name, dict.fromkeys(depots[name], 8), at)
        got.update(party for party, _ in granted)
        asks[name] = at + chance.uniform(0.03, 0.12)
    assert got.total() >= 0.98 * rate * 25.0
    if kill_every is None:
        assert min(got.values()) >= 0.95 * max(got.values())


def test_a_429_seen_by_one_stops_all() -> None:
    shared, granted = sharing.lease(known(100.0), "a", {LEIPZIG: 50}, 0.0)
    _, permit = granted[0]
    shared = sharing.hear(shared, [RequestOutcome(permit=permit, at=0.05, answered=True)])
    _, throttled = granted[-1]
    told = RequestOutcome(permit=throttled, at=0.1, answered=True, throttled=True, retry_after=4.0)
    shared = sharing.hear(shared, [told])
    for at in (0.1, 2.0, 3.9):
        shared, granted = sharing.lease(shared, "b", {LYON: 50}, at)
        assert granted == ()
    shared, granted = sharing.lease(shared, "b", {LYON: 50}, 4.2)
    assert granted


@given(
    options=st.dictionaries(
        st.builds(Party, depot=st.text(max_size=5), priority=st.integers(-10, 10)),
        st.integers(0, 100),
        max_size=4,
    ),
    now=st.floats(0.0, 100.0),
)
def test_what_is_shared_survives_its_text(options: dict[Party, int], now: float) -> None:
    shared, granted = sharing.lease(known(50.0), "a", options, now)
    for _, permit in granted[:1]:
        told = RequestOutcome(permit=permit, at=now, answered=True, throttled=True, retry_after=1.0)
        shared = sharing.hear(shared, [told])
    assert sharing.from_text(sharing.to_text(shared)) == shared


def test_a_text_of_another_version_is_no_pace() -> None:
    assert sharing.from_text('{"pace": {"speed": 1}, "turns": [], "at": 0}') is None
    assert sharing.from_text("") is None


def test_what_lay_unused_begins_with_what_it_learned() -> None:
    shared = known(100.0)
    same = sharing.begin(shared, 10.0, known=None, age=0.0, max_rate=None)
    assert same is shared
    anew = sharing.begin(shared, 5000.0, known=None, age=0.0, max_rate=None)
    assert anew.pace.issued == 0
    assert 40.0 < anew.pace.rate < 100.0
    assert sharing.begin(shared, 1.0, known=None, age=0.0, max_rate=7.0).pace.rate == 7.0
    cold = sharing.begin(None, 1.0, known=None, age=0.0, max_rate=None)
    assert cold.pace.phase is pacing.Phase.RAMP
