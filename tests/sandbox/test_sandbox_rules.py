"""Which request meets which fault, without a socket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from partner_tools.sandbox import faults_from
from partner_tools.sandbox.faults import Entry, Script

DELETE = {"operation": "delete-device"}


def entry(path: str = "/p", **more: Any) -> Entry:
    given = {"service": "partnerCenter", "operation": "delete-device", "method": "DELETE", **more}
    return Entry(number=1, at=0.0, path=path, **given)


def script(match: Any, kind: str = "slow", seed: int = 0) -> Script:
    rules = [{"match": match, "fault": {"kind": kind}}]
    return Script(faults_from({"rules": rules}).rules, seed=seed)


def hits(match: Any, requests: list[Entry], elapsed: float = 0.0) -> list[int]:
    played = script(match)
    return [
        place
        for place, one in enumerate(requests, start=1)
        if played.pick(one, continued=False, elapsed=elapsed) is not None
    ]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"nth": 2}, [2]),
        ({"nth": [1, 6]}, [1, 6]),
        ({"every": 3}, [3, 6]),
        ({"first": 2, "last": 4}, [2, 3, 4]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"perTarget": True, "nth": 1}, [1, 2, 3]),
        ({"perTarget": True, "nth": 2}, [4, 5, 6]),
        ({"probability": 0}, []),
        ({"probability": 1}, [1, 2, 3, 4, 5, 6]),
        ({"path": "^/B$"}, [2, 5]),
        ({"path": "/b", "nth": 2}, [5]),
    ],
)
def test_a_rule_picks_among_the_requests_that_it_counts(match: Any, expected: list[int]) -> None:
    assert expected == hits(match, [entry("/a"), entry("/b"), entry("/c")] * 2)


@pytest.mark.parametrize(
    ("match", "about", "elapsed", "met"),
    [
        ({"service": "login"}, {}, 0, False),
        ({"operation": ["token", "delete-device"]}, {}, 0, True),
        ({"operation": "token"}, {}, 0, False),
        ({"method": "GET"}, {}, 0, False),
        ({"serials": ["A1"]}, {"serial": "A1"}, 0, True),
        ({"serials": ["A1"]}, {"serial": "A11"}, 0, False),
        ({"serials": ["A1"]}, {}, 0, False),
        ({"customer": "c"}, {"customer": "c"}, 0, True),
        ({"continued": True}, {}, 0, False),
        ({"continued": False}, {}, 0, True),
        ({"after": 5}, {}, 4.9, False),
        ({"after": 5, "until": 6}, {}, 5, True),
        ({"after": 5, "until": 6}, {}, 6, False),
    ],
)
def test_a_rule_is_about_some_requests_only(
    match: Any, about: dict[str, Any], elapsed: float, met: bool
) -> None:
    assert met == bool(hits(match, [entry(**about)], elapsed))


@pytest.mark.parametrize("kind", ["sticky-token", "repeat-page", "vanish-page"])
def test_faults_of_pages_meet_continuations_only(kind: str) -> None:
    played = script({"nth": 1}, kind)
    met = [
        played.pick(entry(), continued=continued, elapsed=0) is not None
        for continued in (False, True, True)
    ]
    assert met == [False, True, False]


def test_the_first_rule_that_picks_says_the_fault_and_every_rule_counts() -> None:
    rules = [
        {"match": {"nth": 1}, "fault": {"kind": "slow"}},
        {"match": {"nth": [1, 2]}, "fault": {"kind": "truncate"}},
    ]
    played = Script(faults_from({"rules": rules}).rules, seed=0)
    picked = [played.pick(entry(), continued=False, elapsed=0) for _ in range(3)]
    assert [one.kind if one else None for one in picked] == ["slow", "truncate", None]


def test_chance_depends_on_request_and_attempt_and_not_on_the_order_of_threads() -> None:
    requests = [entry(f"/device/{number}") for number in range(400)] * 2

    def met(order: list[Entry], workers: int) -> list[str]:
        played = script({"probability": 0.2}, seed=7)
        with ThreadPoolExecutor(workers) as pool:
            picked = pool.map(lambda one: played.pick(one, continued=False, elapsed=0), order)
            found = [one.path for one, fault in zip(order, picked, strict=True) if fault]
        return sorted(found)

    assert met(requests, 1) == met(requests[::-1], 8)
    assert 120 < len(met(requests, 1)) < 200
