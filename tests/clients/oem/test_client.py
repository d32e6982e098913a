"""The client of an OEM Direct API: each attempt's requests, and what each answer amounts to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from partner_tools.clients.oem.client import Ids, OemDirect, OemReply, OemResult
from partner_tools.clients.oem.wire import Entry
from partner_tools.clients.transport import Reply, Request, Transport
from partner_tools.errors import (
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.model import Identity
from tests.clients.oem_profiles import plain_profile

ENTRIES = (
    Entry(ref="1", identity=Identity(product_key_id="3305670000001")),
    Entry(ref="2", identity=Identity(product_key_id="3305670000002")),
)
IDS = Ids(request_id="r-1", correlation_id="c-1")
OK = OemResult(status="Success")
DONE = {"Results": [{"LineItemNumber": n, "Status": "Success"} for n in ("1", "2")]}
ACKS = (
    "[oem.response]\nmode='ack_list'\n[oem.poll]\nlist_path='/acks'\ndetail_path='/acks/{id}/full'"
)
LOCATION = "[oem.response]\nmode='location'"


class Scripted(Transport):
    """A transport that gives prepared answers and keeps what was asked."""

    def __init__(self, *replies: Reply, base_url: str = "http://127.0.0.1:81/oem") -> None:
        self.base_url = base_url
        self.replies = list(replies)
        self.asked: list[Request] = []

    def send(self, request: Request) -> Reply:
        self.asked.append(request)
        return self.replies.pop(0)


def reply(status: int, value: Any = None, **headers: str) -> Reply:
    body = b"" if value is None else json.dumps(value).encode()
    return Reply(
        status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


def client(transport: Scripted, tables: str = "", oem: str = "") -> OemDirect:
    return OemDirect(transport, plain_profile(oem, tables))


def test_a_call_carries_its_ids_and_the_profile_s_headers() -> None:
    """And the answer's ids, where it has some, are the ones to quote."""
    transport = Scripted(reply(200, DONE, MS_RequestId="their-id"))
    said = client(transport, oem="extra_headers = { X-Oem = 'fabrikam' }").deregister(ENTRIES, IDS)
    (request,) = transport.asked
    assert (request.method, request.url) == ("POST", "/AutopilotDeviceRegistration")
    assert request.headers == {
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-Oem": "fabrikam",
        "MS-RequestId": "r-1",
        "MS-CorrelationId": "c-1",
    }
    assert said == OemReply(
        status=200,
        request_id="their-id",
        correlation_id="c-1",
        results={"1": OK, "2": OK},
    )


def test_headers_without_a_name_are_not_sent() -> None:
    """Where the service wants none of them."""
    transport = Scripted(reply(200, DONE))
    oem = "correlation_header = ''\nrequest_id_header = ''"
    said = client(transport, oem=oem).deregister(ENTRIES, IDS)
    assert set(transport.asked[0].headers) == {"Content-Type", "Accept"}
    assert (said.request_id, said.correlation_id) == ("r-1", "c-1")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(429, None, Retry_After="7"), Throttled),
        (reply(401), Unauthorized),
        (reply(408), Unavailable),
        (reply(500, DONE), Unavailable),
        (reply(503, None, Retry_After="7"), Unavailable),
        (reply(400, {"ErrorCode": 801, "ErrorDescription": "InvalidZtdRequestBody"}), Rejected),
        (reply(403, {"error": {"code": "801", "message": "InvalidZtdRequestBody"}}), Rejected),
        (reply(404, {"code": "801", "message": "InvalidZtdRequestBody"}), Rejected),
        (reply(400, {"Results": []}), Rejected),
        (Reply(status=400, body=b"<html>no</html>"), Rejected),
        (reply(206, DONE), Unreadable),
        (reply(200, {"Outcome": []}), Unreadable),
        (reply(200, []), Unreadable),
        (Reply(status=200, body=b"<html>no</html>"), Unreadable),
    ],
)
def test_a_call_without_results_is_the_one_right_error(
    answer: Reply, kind: type[ServiceError]
) -> None:
    """With what the service said, its ids, and how long to wait."""
    with pytest.raises(kind) as caught:
        client(Scripted(answer)).deregister(ENTRIES, IDS)
    error = caught.value
    assert type(error) is kind
    assert error.status == answer.status
    assert error.remedy
    if answer.header("Retry-After"):
        assert error.retry_after == 7
    if b"801" in answer.body:
        assert (error.code, error.description) == ("801", "InvalidZtdRequestBody")
        assert "InvalidZtdRequestBody" in error.message


@pytest.mark.parametrize("status", [200, 201, 202, 400, 409, 422])
def test_results_count_under_every_status_that_was_understood(status: int) -> None:
    """HTTP 200 is not a device's outcome, and 400 is not its refusal."""
    said = client(Scripted(reply(status, DONE))).deregister(ENTRIES, IDS)
    assert said.results == {"1": OK, "2": OK}


def test_an_empty_success_says_nothing_of_anybody() -> None:
    """204, or 200 without a body."""
    for status in (200, 202, 204):
        said = client(Scripted(reply(status))).deregister(ENTRIES, IDS)
        assert said.results == {"1": None, "2": None}


@pytest.mark.parametrize(
    ("tables", "answer", "handle"),
    [
        (ACKS, reply(202, {"BatchId": "b-1"}), "b-1"),
        (ACKS, reply(200, {"batchid": 17}), "17"),
        (f"{ACKS}\nid_path='Ack.Id'", reply(200, {"Ack": {"Id": "x"}}), "x"),
        (f"{ACKS}\nid_path=''", reply(200, "b-2"), "b-2"),
        (LOCATION, reply(202, None, Location="http://127.0.0.1:81/jobs/7?x=1"), "/jobs/7?x=1"),
        (LOCATION, reply(202, None, Location="/jobs/7"), "/jobs/7"),
        (LOCATION, reply(202, None, Location="jobs/ 7\u00fc"), "/oem/jobs/%207%C3%BC"),
        (
            f"{LOCATION}\n[oem.poll]\ndetail_path='/jobs/{{id}}'",
            reply(202, {"BatchId": "a/b"}),
            "/oem/jobs/a%2Fb",
        ),
    ],
)
def test_accepted_work_gives_a_handle(tables: str, answer: Reply, handle: str) -> None:
    """An id, or path and query on this very host."""
    said = client(Scripted(answer), tables).deregister(ENTRIES, IDS)
    assert (said.results, said.handle) == (None, handle)


@pytest.mark.parametrize(
    "location",
    ["https://elsewhere.example/jobs/7", "//elsewhere.example/x", "http://127.0.0.1:82/"],
)
def test_a_location_on_another_host_is_never_followed(location: str) -> None:
    """The token is for one host."""
    with pytest.raises(Unreadable, match="another host"):
        client(Scripted(reply(202, None, Location=location)), LOCATION).deregister(ENTRIES, IDS)


@pytest.mark.parametrize("tables", [ACKS, LOCATION])
def test_an_answer_at_once_counts_in_every_mode(tables: str) -> None:
    """Where there is nothing to ask after, what was said now is all."""
    said = client(Scripted(reply(200, DONE)), tables).deregister(ENTRIES, IDS)
    assert said.results == {"1": OK, "2": OK}
    silent = client(Scripted(reply(202)), tables).deregister(ENTRIES, IDS)
    assert silent.results == {"1": None, "2": None}


def test_an_acknowledgement_is_asked_for_once_it_is_listed() -> None:
    """The list first, whatever its shape, then the one batch."""
    transport = Scripted(
        reply(200, []),
        reply(200, {"Items": [{"Id": "b/1"}, {"Id": "b/2"}]}),
        reply(200, DONE),
    )
    oem = client(transport, ACKS)
    waiting = oem.progress("b/1", ENTRIES, Ids(request_id="", correlation_id="c-1"))
    assert (waiting.results, waiting.handle) == (None, "b/1")
    told = oem.progress("b/1", ENTRIES, Ids(request_id="", correlation_id="c-1"))
    assert told.results == {"1": OK, "2": OK}
    assert [each.url for each in transport.asked] == ["/acks", "/acks", "/acks/b%2F1/full"]
    assert all(each.method == "GET" and each.body is None for each in transport.asked)
    assert "MS-RequestId" not in transport.asked[0].headers
    assert transport.asked[0].headers["MS-CorrelationId"] == "c-1"


UNFINISHED = [
    reply(202, DONE),
    reply(200),
    reply(200, {"Status": "in_progress"}),
    reply(200, {"Status": "In_Progress", **DONE}),
    reply(200, {"Status": "working on it", "Results": DONE["Results"][:1]}),
    reply(200, {}),
]


@pytest.mark.parametrize("answer", UNFINISHED)
def test_work_that_is_not_finished_is_asked_after_again(answer: Reply) -> None:
    """By the batch's own word, or where some device is not told of."""
    transport = Scripted(answer)
    said = client(transport, LOCATION).progress("/jobs/7?x=1", ENTRIES, IDS)
    assert (said.results, said.handle) == (None, "/jobs/7?x=1")
    assert transport.asked[0].url == "http://127.0.0.1:81/jobs/7?x=1"


@pytest.mark.parametrize(
    ("answer", "results"),
    [
        (reply(200, {"status": "Finished_With_Errors", **DONE}), {"1": OK, "2": OK}),
        (reply(200, {"Status": "finished"}), {"1": None, "2": None}),
        (reply(200, {"Status": "all good", **DONE}), {"1": OK, "2": OK}),
        (reply(404), {"1": None, "2": None}),
        (reply(410), {"1": None, "2": None}),
    ],
)
def test_work_that_is_finished_is_told_device_by_device(
    answer: Reply, results: dict[str, OemResult | None]
) -> None:
    """`finished` is not success; what is not told stays unknown; what is forgotten too."""
    said = client(Scripted(answer), LOCATION).progress("/jobs/7", ENTRIES, IDS)
    assert (said.results, said.handle) == (results, None)


def test_results_without_a_batch_status_may_still_change() -> None:
    """So a device that is pending there can be asked after again."""
    said = client(Scripted(reply(200, DONE)), LOCATION).progress("/jobs/7", ENTRIES, IDS)
    assert (said.results, said.handle) == ({"1": OK, "2": OK}, "/jobs/7")


def test_a_missing_acknowledgement_is_not_there_yet() -> None:
    """Where there is no list that says when it is."""
    tables = "[oem.response]\nmode='ack_list'\n[oem.poll]\ndetail_path='/acks/{id}'"
    said = client(Scripted(reply(404)), tables).progress("b", ENTRIES, IDS)
    assert (said.results, said.handle) == (None, "b")
    gone = client(Scripted(reply(410)), tables).progress("b", ENTRIES, IDS)
    assert gone.results == {"1": None, "2": None}


@pytest.mark.parametrize("ask", [lambda c: c.progress("/jobs/7", ENTRIES, IDS)])
def test_a_question_that_fails_is_an_error(ask: Callable[[OemDirect], OemReply]) -> None:
    """It says nothing of the work."""
    for status, kind in ((500, Unavailable), (429, Throttled), (403, Rejected)):
        with pytest.raises(kind):
            ask(client(Scripted(reply(status)), LOCATION))


def test_a_preflight_needs_no_results() -> None:
    """It has a path of its own and carries the same body."""
    tables = "[oem.preflight]\nenabled = true\npath = '/validate'\nmethod = 'PUT'"
    transport = Scripted(reply(200), reply(200, DONE), reply(200, DONE))
    oem = client(transport, tables)
    assert oem.validate(ENTRIES, IDS).results is None
    assert oem.validate(ENTRIES, IDS).results == {"1": OK, "2": OK}
    oem.deregister(ENTRIES, IDS)
    assert [(each.method, each.url) for each in transport.asked[1:]] == [
        ("PUT", "/validate"),
        ("POST", "/AutopilotDeviceRegistration"),
    ]
    assert transport.asked[1].body == transport.asked[2].body
