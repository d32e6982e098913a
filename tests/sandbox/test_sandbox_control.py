"""What another process can see of a sandbox, and change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"


@pytest.fixture
def ask(start: Callable[..., Any], connect: Callable[..., Any]) -> Any:
    return connect(start())


def control(ask: Any, method: str, path: str, **options: Any) -> Any:
    return ask.session.request(method, f"{ask.sandbox.control_url}{path}", timeout=10, **options)


def test_the_log_is_told_and_does_not_tell_of_itself(ask: Any) -> None:
    ask("GET", "/customers", headers={"MS-RequestId": "r-1"})
    (entry,) = control(ask, "GET", "/log").json()["requests"]
    assert (entry["operation"], entry["status"], entry["request_id"]) == (
        "list-customers",
        200,
        "r-1",
    )
    assert control(ask, "GET", "/counts").json() == {"list-customers": {"200": 1}}
    assert control(ask, "DELETE", "/log").status_code == 204
    assert control(ask, "GET", "/counts").json() == {}


@pytest.mark.parametrize("customer", [CONTOSO, "contoso.onmicrosoft.com"])
def test_actual_registrations_are_reported(ask: Any, customer: str) -> None:
    devices = control(ask, "GET", f"/devices/{customer}").json()["devices"]
    assert [device.get("serialNumber") for device in devices] == ["A1", "A2", "A3", None]
    assert {device["batchId"] for device in devices} == {"Büro #7 / 50 %"}


def test_faults_change_under_way(ask: Any) -> None:
    rule = {"fault": {"kind": "status", "status": 503}}
    changed = control(ask, "PUT", "/faults", json={"schemaVersion": "1", "rules": [rule]})
    assert changed.status_code == 204
    assert ask("GET", "/customers").status_code == 503
    assert control(ask, "PUT", "/faults", json={"schemaVersion": "1"}).status_code == 204
    assert ask("GET", "/customers").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"schemaVersion": "1", "rule": []}'])
def test_faults_that_are_none_change_nothing(ask: Any, body: bytes) -> None:
    answer = control(ask, "PUT", "/faults", data=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize("path", ["/", "/devices/nobody.example", "/faults"])
def test_there_is_nothing_else(ask: Any, path: str) -> None:
    assert control(ask, "GET", path).status_code == 404
