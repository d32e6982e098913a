"""Lists that lag, jobs and tokens that age: on a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
ODD = "Büro #7 / 50 %"


@dataclass
class Clock:
    """Time that passes when a test says so."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asking(
    start: Callable[..., Any], connect: Callable[..., Any], clock: Clock
) -> Callable[..., Any]:
    def begin(faults: Any) -> Any:
        return connect(start(faults, clock=clock))

    return begin


def test_lists_go_on_showing_what_is_gone_for_a_while(
    asking: Callable[..., Any], clock: Clock
) -> None:
    ask = asking({"quirks": {"listLag": 5}})
    path = ask.devices(CONTOSO, ODD, "9993-8627")
    assert ask("DELETE", path).status_code == 204
    assert "A1" in ask.serials(CONTOSO, ODD)
    assert ask("DELETE", path).status_code == 404
    clock.now += 5
    assert "A1" not in ask.serials(CONTOSO, ODD)


def test_a_stale_list_is_as_old_as_its_fault_says(asking: Callable[..., Any], clock: Clock) -> None:
    stale = {"match": {"operation": "list-devices"}, "fault": {"kind": "stale-list", "seconds": 9}}
    ask = asking({"rules": [stale]})
    ask("DELETE", ask.devices(CONTOSO, ODD, "9993-8627"))
    clock.now += 8
    assert "A1" in ask.serials(CONTOSO, ODD)
    clock.now += 2
    assert "A1" not in ask.serials(CONTOSO, ODD)


def test_a_job_is_queued_then_processing_then_finished(
    asking: Callable[..., Any], clock: Clock
) -> None:
    ask = asking({"quirks": {"jobQueued": 10, "jobProcessing": 20}})
    row = {"serialNumber": "N", "oemManufacturerName": "C", "modelName": "M"}
    job = ask("POST", ask.devices(CONTOSO, "empty"), json=[row]).headers["Location"]
    seen = []
    for passing in (9, 2, 18, 2):
        clock.now += passing
        seen.append((ask.json(job)["status"], ask.serials(CONTOSO, "empty")))
    assert seen == [("queued", []), ("processing", []), ("processing", []), ("finished", ["N"])]


def test_a_token_expires(asking: Callable[..., Any], clock: Clock) -> None:
    ask = asking(None)
    header = {"Authorization": f"Bearer {ask.sandbox.tokens['app']}"}
    assert ask("GET", "/customers", headers=header).status_code == 200
    clock.now += 86_400
    assert ask("GET", "/customers", headers=header).status_code == 401
