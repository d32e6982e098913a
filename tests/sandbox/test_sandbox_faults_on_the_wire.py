"""Every fault as a client meets it, and what the service did meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests
from requests import exceptions

from partner_tools.sandbox import Faults, faults_from
from partner_tools.sandbox.faults import FaultKind
from partner_tools.sandbox.listener import Later

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
FLEET = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"
ODD = "Büro #7 / 50 %"

LENGTHLESS = b"POST /v1/customers HTTP/1.1\r\nContent-Length: long\r\n\r\n"

Connect = Callable[..., Any]
Start = Callable[..., Any]


def once(kind: str, operation: str = "delete-device", **fault: Any) -> dict[str, Any]:
    """A faults file in which the first request for an operation meets a fault."""
    match = {"operation": operation, "nth": 1}
    return {"rules": [{"match": match, "fault": {"kind": kind, **fault}}]}


def removal(ask: Any) -> Any:
    return ask("DELETE", ask.devices(CONTOSO, ODD, "9993-8627"))


def there(ask: Any) -> bool:
    found = ask.sandbox.state.devices(CONTOSO)
    return "A1" in [one.device.serial_number for one in found]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("kind", "cause", "gone"),
    [
        ("reset-before", ConnectionResetError, False),
        ("reset-after", ConnectionResetError, True),
        ("lose-request", None, False),
        ("lose-answer", None, True),
    ],
)
def test_an_answer_that_never_comes_says_nothing_of_what_was_done(
    start: Start, connect: Connect, kind: str, cause: type[Exception] | None, gone: bool, tls: bool
) -> None:
    ask = connect(start(once(kind)))
    ask.session.verify = str(ask.sandbox.ca_file)
    url = (ask.sandbox.tls_urls if tls else ask.sandbox.urls)["partnerCenter"]
    header = {"Authorization": f"Bearer {ask.sandbox.tokens['app']}"}
    path = f"{url}/v1{ask.devices(CONTOSO, ODD, '9993-8627')}"
    with pytest.raises(exceptions.ConnectionError) as failure:
        ask.session.delete(path, headers=header, timeout=10)
    if cause is not None and not tls:  # within TLS a reset looks like any other end
        assert cause.__name__ in repr(failure.value)
    assert gone != there(ask)
    (entry,) = ask.sandbox.log.entries
    assert (kind, gone) == (entry.fault, entry.processed)
    again = ask.session.delete(path, headers=header, timeout=10)
    assert (404 if gone else 204) == again.status_code


@pytest.mark.parametrize(
    ("kind", "gone"), [("slow", False), ("slow-answer", True), ("slow-body", True)]
)
def test_a_slow_answer_outlasts_patience(
    start: Start, connect: Connect, kind: str, gone: bool
) -> None:
    ask = connect(start({**once(kind, seconds=30), "quirks": {"deleteStatus": 200}}))
    if kind == "slow-body":
        ask.sandbox.behave(faults_from(once(kind, "list-devices", seconds=30)))
        with pytest.raises(exceptions.ConnectionError, match="timed out"):
            ask("GET", ask.devices(CONTOSO, ODD), timeout=0.2)
        return
    with pytest.raises(exceptions.ReadTimeout):
        ask("DELETE", ask.devices(CONTOSO, ODD, "9993-8627"), timeout=0.2)
    deadline = time.monotonic() + 20
    while gone and there(ask) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone != there(ask)


def test_a_truncated_body_is_shorter_than_promised(start: Start, connect: Connect) -> None:
    ask = connect(start(once("truncate", "list-batches")))
    with pytest.raises(exceptions.ChunkedEncodingError, match="IncompleteRead"):
        ask("GET", f"/customers/{CONTOSO}/deviceBatches")


def test_a_truncated_answer_without_a_body_is_cut_in_its_head(
    start: Start, connect: Connect
) -> None:
    ask = connect(start(once("truncate")))
    answer = removal(ask)
    assert answer.status_code == 204
    assert "Date" not in answer.headers
    assert not there(ask)


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "parses"),
    [
        ("not-json", 200, "application/json; charset=utf-8", False),
        ("empty-body", 200, "application/json; charset=utf-8", False),
        ("wrong-content-type", 200, "text/html", True),
    ],
)
def test_a_success_may_not_be_what_it_says(
    start: Start, connect: Connect, kind: str, status: int, content_type: str, parses: bool
) -> None:
    ask = connect(start(once(kind, "list-devices")))
    answer = ask("GET", ask.devices(CONTOSO, ODD))
    assert (status, content_type) == (answer.status_code, answer.headers["Content-Type"])
    if parses:
        assert len(ask.read(answer)["items"]) == 4
    else:
        with pytest.raises(json.JSONDecodeError):
            ask.read(answer)


def test_a_removal_may_be_answered_by_a_page_instead_of_nothing(
    start: Start, connect: Connect
) -> None:
    ask = connect(start(once("not-json")))
    answer = removal(ask)
    assert (answer.status_code, b"<html>" in answer.content) == (200, True)
    assert not there(ask)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 400}, {"code": 3000}),
        ({"status": 403, "code": 900150}, {"code": 900150}),
        ({"status": 404}, {"code": 1000}),
        ({"status": 409, "description": "no"}, {"code": 800003, "description": "no"}),
        ({"status": 500}, {"code": 800003}),
        ({"status": 401, "body": "gateway"}, {"statusCode": 401}),
        ({"status": 429, "retryAfter": 57}, {"statusCode": 429}),
    ],
)
def test_an_injected_status_has_the_service_s_shape(
    start: Start, connect: Connect, fault: dict[str, Any], expected: dict[str, Any]
) -> None:
    ask = connect(start(once("status", **fault)))
    answer = removal(ask)
    assert fault["status"] == answer.status_code
    assert expected.items() <= ask.read(answer).items()
    assert there(ask)
    assert removal(ask).status_code == 204


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("html", "text/html; charset=utf-8"),
        ("text", "text/plain; charset=utf-8"),
        ("empty", None),
    ],
)
@pytest.mark.parametrize("status", [408, 502, 503])
def test_an_injected_status_comes_as_html_text_or_nothing(
    start: Start, connect: Connect, status: int, body: str, content_type: str | None
) -> None:
    ask = connect(start(once("status", status=status, body=body)))
    answer = removal(ask)
    assert (status, content_type) == (answer.status_code, answer.headers.get("Content-Type"))
    assert (body == "empty") == (answer.content == b"")


def test_an_injected_status_may_follow_the_deed(start: Start, connect: Connect) -> None:
    ask = connect(start(once("status", status=500, processed=True)))
    assert removal(ask).status_code == 500
    assert not there(ask)


@pytest.mark.parametrize(
    ("form", "header"),
    [("seconds", "3"), ("fraction", "2.500"), ("nonsense", "in a while"), ("none", None)],
)
def test_retry_after_comes_in_every_form(
    start: Start, connect: Connect, form: str, header: str | None
) -> None:
    ask = connect(start(once("status", status=429, retryAfter=2.5, retryAfterForm=form)))
    assert header == removal(ask).headers.get("Retry-After")


def test_retry_after_may_be_a_date(start: Start, connect: Connect) -> None:
    now = 1_790_000_000.0
    faults = once("status", status=503, retryAfter=60, retryAfterForm="date")
    ask = connect(start(faults, clock=lambda: now))
    asked = parsedate_to_datetime(removal(ask).headers["Retry-After"])
    assert now + 60 == asked.timestamp()


def test_a_429_is_the_gateway_s(start: Start, connect: Connect) -> None:
    ask = connect(start(once("status", status=429, retryAfter=57)))
    answer = removal(ask)
    assert answer.headers["Retry-After"] == "57"
    assert json.loads(answer.content) == {
        "statusCode": 429,
        "message": "Rate limit is exceeded. Try again in 57 seconds.",
    }


def test_a_redirect_leads_elsewhere(start: Start, connect: Connect) -> None:
    ask = connect(start(once("redirect", status=307, location="https://elsewhere.invalid/")))
    answer = removal(ask)
    assert (answer.status_code, answer.headers["Location"]) == (307, "https://elsewhere.invalid/")
    assert there(ask)


def test_a_token_may_expire_under_way(start: Start, connect: Connect) -> None:
    ask = connect(start(once("expired-token")))
    assert (removal(ask).status_code, removal(ask).status_code) == (401, 204)


def pages(ask: Any, most: int = 6) -> list[tuple[str, str | None]]:
    """The first serial and the token of each page, as a client without a guard follows them."""
    found: list[tuple[str, str | None]] = []
    headers: dict[str, str] = {}
    while len(found) < most:
        page = ask.json(ask.devices(FLEET, "Fleet"), headers=headers)
        token = page.get("continuationToken")
        found.append((page["items"][0]["serialNumber"], token))
        if token is None:
            break
        headers = {"MS-ContinuationToken": token}
    return found


def test_a_sticky_token_never_ends(start: Start, connect: Connect) -> None:
    rule = {"match": {"operation": "list-devices"}, "fault": {"kind": "sticky-token"}}
    followed = pages(connect(start({"rules": [rule]})))
    assert len(followed) == 6
    assert len({token for _, token in followed}) == 1


def test_a_page_repeats_and_the_token_advances(start: Start, connect: Connect) -> None:
    followed = pages(connect(start(once("repeat-page", "list-devices"))))
    assert [serial for serial, _ in followed] == ["SN0000001", "SN0000001", "SN0000201"]


def test_a_page_vanishes(start: Start, connect: Connect) -> None:
    ask = connect(start(once("vanish-page", "list-devices")))
    token = {"MS-ContinuationToken": ask.json(ask.devices(FLEET, "Fleet"))["continuationToken"]}
    answers = [ask("GET", ask.devices(FLEET, "Fleet"), headers=token) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [404, 200]


def test_a_port_refuses_for_a_time_and_comes_back(start: Start, connect: Connect) -> None:
    ends: list[Callable[[], object]] = []
    ask = connect(start(once("refuse", seconds=0.4), later=noting(ends)))
    with pytest.raises(exceptions.ConnectionError):
        removal(ask)
    with pytest.raises(exceptions.ConnectionError, match="refused"):
        removal(ask)
    assert there(ask)
    for end in ends:
        end()
    assert removal(ask).status_code == 204


def noting(deeds: list[Callable[[], object]]) -> Later:
    """Do nothing by the clock: the outage ends when the test says so."""

    def later(seconds: float, deed: Callable[[], object]) -> Callable[[], object]:
        assert seconds == 0.4
        deeds.append(deed)
        return lambda: None

    return later


def test_a_service_can_be_taken_down_and_up_again(start: Start, connect: Connect) -> None:
    ask = connect(start())
    assert ask("GET", "/customers").status_code == 200
    ask.sandbox.refuse("partnerCenter")
    with pytest.raises(exceptions.ConnectionError, match="refused"):
        ask("GET", "/customers")
    ask.sandbox.listen("partnerCenter")
    assert ask("GET", "/customers").status_code == 200


def test_a_tls_handshake_fails_for_a_time(start: Start, connect: Connect) -> None:
    ends: list[Callable[[], object]] = []
    faults = once("tls-failure", "openid-configuration", seconds=0.4)
    ask = connect(start(faults, later=noting(ends)))
    ask.session.verify = str(ask.sandbox.ca_file)
    url = f"{ask.sandbox.urls['login']}/common/v2.0/.well-known/openid-configuration"
    with pytest.raises(exceptions.ConnectionError):
        ask.session.get(url, timeout=10)
    with pytest.raises(exceptions.SSLError):
        ask.session.get(url, timeout=10)
    for end in ends:
        end()
    assert ask.session.get(url, timeout=10).status_code == 200


def test_every_kind_of_fault_is_in_the_schema_and_is_served(start: Start, connect: Connect) -> None:
    for kind in FaultKind:
        ask = connect(start({"rules": [{"fault": {"kind": kind, "seconds": 0.01}}]}))
        page = {"MS-ContinuationToken": "x"}
        with contextlib.suppress(requests.RequestException):
            ask("GET", ask.devices(CONTOSO, ODD), headers=page)
        assert [kind] == [entry.fault for entry in ask.sandbox.log.entries[:1]]


def test_hidden_limits_turn_away_per_partner_and_customer(start: Start, connect: Connect) -> None:
    now = 1_790_000_000.0
    limit = {"rate": 1, "burst": 3, "scope": "partner-customer", "lockout": 7, "extend": True}
    ask = connect(start({"limits": [limit]}, clock=lambda: now))
    statuses = [ask("GET", f"/customers/{CONTOSO}").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    last = ask("GET", f"/customers/{CONTOSO}")
    assert last.headers["Retry-After"] == "7"
    assert ask("GET", f"/customers/{FLEET}").status_code == 200
    assert [e.processed for e in ask.sandbox.log.entries] == [True] * 3 + [False] * 3 + [True]


def test_limits_hold_for_their_operations(start: Start, connect: Connect) -> None:
    now = 1_790_000_000.0
    limit = {"rate": 1, "operation": "delete-device", "retryAfter": "none"}
    ask = connect(start({"limits": [limit]}, clock=lambda: now))
    assert [removal(ask).status_code for _ in range(2)] == [204, 429]
    assert "Retry-After" not in removal(ask).headers
    assert [ask("GET", "/customers").status_code for _ in range(2)] == [200, 200]


def test_latency_lies_half_before_and_half_after_the_deed(start: Start, connect: Connect) -> None:
    slept: list[tuple[float, bool]] = []
    latency = [{"operation": "delete-device", "seconds": 0.2}, {"seconds": 9}]

    def sleep(seconds: float) -> None:
        slept.append((seconds, there(ask)))

    ask = connect(start({"latency": latency}, sleep=sleep))
    assert removal(ask).status_code == 204
    assert slept == [(0.1, True), (0.1, False)]


def test_behaviour_changes_under_way_and_the_world_stays(start: Start, connect: Connect) -> None:
    ask = connect(start({"rules": [{"fault": {"kind": "status", "status": 503}}]}))
    assert removal(ask).status_code == 503
    ask.sandbox.behave(Faults())
    assert [removal(ask).status_code for _ in range(2)] == [204, 404]


def test_the_log_counts_by_operation_and_outcome(start: Start, connect: Connect) -> None:
    ask = connect(start(once("lose-answer")))
    with pytest.raises(exceptions.ConnectionError):
        removal(ask)
    removal(ask)
    ask("GET", "/customers")
    assert ask.sandbox.log.counts() == {
        "delete-device": {"404": 1, "lose-answer": 1},
        "list-customers": {"200": 1},
    }
    assert [entry.number for entry in ask.sandbox.log.entries] == [1, 2, 3]


def test_bytes_that_are_not_http_end_only_their_connection(start: Start, connect: Connect) -> None:
    ask = connect(start())
    port = int(ask.sandbox.urls["partnerCenter"].rsplit(":", 1)[1])
    for junk in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", LENGTHLESS, b"\x16nonsense", b""):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
            raw.sendall(junk)
            with contextlib.suppress(OSError):  # the answer may have ended it already
                raw.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while raw.recv(4096):
                    pass
    assert ask("GET", "/customers").status_code == 200


def test_half_of_a_request_is_not_acted_on(start: Start, connect: Connect) -> None:
    ask = connect(start())
    port = int(ask.sandbox.urls["partnerCenter"].rsplit(":", 1)[1])
    path = f"/v1/customers/{CONTOSO}/deviceBatches"
    for body in (b"", b'{"BatchId": "half", "Dev'):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
            raw.sendall(f"POST {path} HTTP/1.1\r\nContent-Length: 90\r\n\r\n".encode() + body)
            raw.shutdown(socket.SHUT_WR)
            assert raw.recv(4096) == b""
    assert ask.sandbox.log.entries == ()


@pytest.mark.parametrize("kind", ["refuse", "tls-failure"])
def test_an_outage_may_begin_behind_an_answer(start: Start, connect: Connect, kind: str) -> None:
    ends: list[Callable[[], object]] = []

    def later(seconds: float, deed: Callable[[], object]) -> Callable[[], object]:
        assert seconds == 30
        ends.append(deed)
        return ends.clear

    ask = connect(start(once(kind, processed=True, seconds=30), later=later))
    ask.session.verify = str(ask.sandbox.ca_file)
    header = {"Authorization": f"Bearer {ask.sandbox.tokens['app']}"}
    url = f"{ask.sandbox.tls_urls['partnerCenter']}/v1{ask.devices(CONTOSO, ODD, '9993-8627')}"
    assert ask.session.delete(url, headers=header, timeout=10).status_code == 204
    with pytest.raises(exceptions.ConnectionError):
        ask.session.delete(url, headers=header, timeout=10)
    ends[0]()
    assert ask.session.delete(url, headers=header, timeout=10).status_code == 404
