"""What makes an answer one to its question, and a list whole."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from partner_tools import errors
from partner_tools.clients.answers import REMEMBERED, ListGuard, SentIds
from partner_tools.clients.graph import Graph
from partner_tools.clients.partner_center import (
    JobId,
    parse_batches,
    parse_customer,
    parse_devices,
    parse_job,
)
from partner_tools.clients.transport import Reply, parse_json
from partner_tools.outstanding.search import By, Collection, Question
from tests.clients.oem.test_client import (
    ACKS,
    DONE,
    ENTRIES,
    IDS,
    LOCATION,
    Scripted,
    client,
    reply,
)
from tests.clients.test_partner_center import TENANT, Stub, said

OTHER = "0b1c2d3e-0000-4000-8000-000000000002"
DEVICE = {"id": "d-1", "serialNumber": "SN-1"}


def at(tenant: str, batch: str) -> dict[str, Any]:
    return {"self": {"uri": f"/customers/{tenant}/deviceBatches/{batch}/devices"}}


@pytest.mark.parametrize(
    "content",
    [
        {"totalCount": 3, "items": []},
        {"totalCount": 120, "items": [DEVICE]},
        {"totalCount": 0, "items": [DEVICE]},
        {"totalCount": "1", "items": [DEVICE]},
        {"totalCount": 1, "items": [DEVICE], "links": at(OTHER, "B")},
        {"totalCount": 1, "items": [DEVICE], "links": at(TENANT, "C")},
        {"totalCount": 1, "items": [{**DEVICE, "links": at(OTHER, "B")}]},
    ],
)
def test_a_list_of_devices_that_contradicts_itself_or_its_question_is_unreadable(
    content: dict[str, Any],
) -> None:
    with pytest.raises(errors.Unreadable):
        parse_devices(said(content), TENANT, "B")


@pytest.mark.parametrize("batch", ["B", "a b", "Büro #7 / 50 %", "x?y", "50%41"])
def test_a_list_at_its_own_address_is_read(batch: str) -> None:
    """However the service spells a batch's id there: encoded, as it is, in another case."""
    content = {"totalCount": 1, "items": [DEVICE], "links": at(TENANT.upper(), batch.upper())}
    assert len(parse_devices(said(content), TENANT, batch).items) == 1


def test_batches_a_customer_and_a_job_of_another_are_unreadable() -> None:
    link = {"devicesLink": at(OTHER, "B")["self"]}
    for read in (
        lambda: parse_batches(said({"items": [{"id": "B", **link}]}), TENANT),
        lambda: parse_customer(said({"id": OTHER}), TENANT),
        lambda: parse_job(said({"batchTrackingId": "j-2", "status": "finished"}), JobId("j-1")),
    ):
        with pytest.raises(errors.Unreadable):
            read()
    assert parse_customer(said({"id": TENANT.upper()}), TENANT).tenant_id == TENANT.upper()


def test_the_answer_to_another_request_of_ours_is_unreadable() -> None:
    """An id that we never sent is the service's own: Microsoft's samples show such."""
    stub, listed = Stub(), {"totalCount": 1, "items": [DEVICE]}
    stub.answers((200, listed, {}), (200, listed, {"MS-RequestId": "request-1"}))
    stub.client.devices(TENANT, "B")
    with pytest.raises(errors.Unreadable, match="another request"):
        stub.client.devices(TENANT, "C")
    stub.answers((204, b"", {"MS-RequestId": "REQUEST-1"}), (204, b"", {"MS-RequestId": "own"}))
    with pytest.raises(errors.Unreadable, match="another request"):
        stub.client.delete(TENANT, "B", "d-1", "request-9")
    assert stub.client.delete(TENANT, "B", "d-1", "request-10").request_id == "own"


def test_only_the_ids_sent_last_are_remembered() -> None:
    sent = SentIds()
    for number in range(REMEMBERED + 2):
        sent.add(f"id-{number}")
    assert sent.is_of_another("id-2", "x")
    assert not sent.is_of_another("id-0", "x")
    assert not sent.is_of_another("ID-5", "id-5")


PAGES: list[tuple[Sequence[tuple[int, int | None]], bool]] = [
    ([(2, None), (1, None)], True),
    ([(2, 2), (1, 1)], True),  # the count of each page
    ([(2, 3), (1, 3)], True),  # the count of the whole list
    ([(2, 3), (1, 1)], True),  # the one here, the other there
    ([(2, 4), (1, None)], False),
    ([(2, 3), (1, 2)], False),
    ([(0, 7)], False),
]


@pytest.mark.parametrize(("pages", "whole"), PAGES)
def test_a_list_of_several_pages_has_as_many_rows_as_it_counts(
    pages: Sequence[tuple[int, int | None]], whole: bool
) -> None:
    guard, start = ListGuard("things"), 0

    def read() -> None:
        nonlocal start
        for number, (rows, count) in enumerate(pages):
            last = number == len(pages) - 1
            guard.check(
                [str(start + row) for row in range(rows)], None if last else f"c{number}", count
            )
            start += rows

    if whole:
        read()
        return
    with pytest.raises(errors.Unreadable, match="counts"):
        read()


GRAPH_ROW = {"id": "r-1", "serialNumber": "SN-1"}


@pytest.mark.parametrize(
    "content",
    [
        {"value": [], "error": {"code": "InternalServerError"}},
        {"value": [], "@odata.count": 7},
        {"value": [GRAPH_ROW], "@odata.count": 2},
        {"value": [GRAPH_ROW], "@odata.count": "1"},
        {"value": [GRAPH_ROW], "value ": [], "error": ""},
    ],
)
def test_a_list_of_graph_that_contradicts_itself_is_unreadable(content: dict[str, Any]) -> None:
    graph = Graph(Scripted(reply(200, content)), ids=lambda: "c-1")
    with pytest.raises(errors.Unreadable):
        graph.page(Collection.AUTOPILOT)
    batched = {"responses": [{"id": "0", "status": 200, "body": content}]}
    question = Question(collection=Collection.AUTOPILOT, by=By.SERIAL, value="SN-1")
    (told,) = Graph(Scripted(reply(200, batched)), ids=lambda: "c-1").batch([question])
    assert isinstance(told, errors.Unreadable)


def test_an_answer_of_graph_to_another_question_is_unreadable() -> None:
    listed = {"value": [GRAPH_ROW], "@odata.count": 1}
    graph = Graph(Scripted(reply(200, listed, client_request_id="c-2")), ids=lambda: "c-1")
    with pytest.raises(errors.Unreadable, match="another request"):
        graph.page(Collection.AUTOPILOT)
    question = Question(collection=Collection.AUTOPILOT, by=By.ID, value="r-1")
    for responses in (
        [{"id": "1", "status": 200, "body": GRAPH_ROW}],
        [{"id": "0", "status": 200, "body": GRAPH_ROW}, {"id": "9", "status": 200}],
    ):
        graph = Graph(Scripted(reply(200, {"responses": responses})), ids=lambda: "c-1")
        with pytest.raises(errors.Unreadable, match="not asked"):
            graph.batch([question])


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, DONE, MS_CorrelationId="c-2"),
        reply(200, {"Results": [{**DONE["Results"][0], "TenantID": OTHER}, DONE["Results"][1]]}),
        reply(200, {**DONE, "tenant_domain": "contoso.onmicrosoft.com"}),
        reply(400, {"Results": [{**each, "TenantID": OTHER} for each in DONE["Results"]]}),
    ],
)
def test_an_oem_answer_of_another_call_or_with_a_tenant_is_unreadable(answer: Reply) -> None:
    """A removal names no tenant. An answer that does may speak of a registration."""
    with pytest.raises(errors.Unreadable):
        client(Scripted(answer)).deregister(ENTRIES, IDS)


def test_an_oem_answer_with_a_blank_tenant_and_our_ids_is_read() -> None:
    blank = {
        "Results": [{**each, "TenantID": "", "TenantDomain": None} for each in DONE["Results"]]
    }
    answered = reply(200, blank, MS_CorrelationId="C-1", MS_RequestId="their-own")
    assert client(Scripted(answered)).deregister(ENTRIES, IDS).results


@pytest.mark.parametrize(
    ("tables", "handle"),
    [(ACKS, "b-1"), (f"{LOCATION}\n[oem.poll]\ndetail_path='/jobs/{{id}}'", "/oem/jobs/b-1")],
)
def test_an_oem_answer_about_other_work_is_unreadable(tables: str, handle: str) -> None:
    listed = [reply(200, {"Items": ["b-1"]})] if tables == ACKS else []
    other = reply(200, {"BatchId": "b-2", "Status": "finished", **DONE})
    with pytest.raises(errors.Unreadable, match="b-2"):
        client(Scripted(*listed, other), tables).progress(handle, ENTRIES, IDS)
    own = reply(200, {"BatchId": "B-1", "Status": "finished", **DONE})
    assert client(Scripted(*listed, own), tables).progress(handle, ENTRIES, IDS).results


def test_a_property_that_appears_twice_makes_an_answer_unreadable() -> None:
    """Which of the two counts is not ours to say."""
    body = b'{"totalCount": 0, "items": [], "items": [{"id": "d-1"}]}'
    with pytest.raises(errors.Unreadable, match="twice"):
        parse_json(Reply(status=200, body=body))


MANY = """
import resource, threading
from partner_tools.clients.transport import Reply, parse_json
from partner_tools.errors import Unreadable

def read(body):
    try:
        kept.append(parse_json(Reply(status=200, body=body)))
    except Unreadable:
        pass

kept = []
size = 24 * 1024 * 1024
for piece in (b"[],", b'{"a":{}},', b'"' + b"x" * 20 + "\\U0001f600".encode() + b'",'):
    body = b"[" + piece * (size // len(piece)) + b"0]"
    threads = [threading.Thread(target=read, args=(body,)) for _ in range(8)]
    [each.start() for each in threads]
    [each.join() for each in threads]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the peak of memory is read from the kernel")
def test_eight_large_answers_at_once_stay_within_two_gibibytes() -> None:
    """Measured in a process of its own; before there was a limit on values it was above six."""
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(done.stdout) < 2048
