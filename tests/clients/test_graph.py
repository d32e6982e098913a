"""Graph's answers as they come over the wire: pages, batches, refusals, and what is no answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
import requests_mock

from partner_tools.clients.graph import (
    Graph,
    GraphPage,
    list_path,
    question_path,
    read_fault,
    read_row,
)
from partner_tools.clients.transport import Transport
from partner_tools.errors import (
    InputError,
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.outstanding.evidence import ALL_ZERO
from partner_tools.outstanding.search import By, Collection, Question

BASE = "https://graph.microsoft.com"
INTUNE_FAULT = {
    "error": {
        "code": "BadRequest",
        "message": json.dumps(
            {
                "_version": 3,
                "Message": "An error has occurred - Operation ID (for customer support): 0000 - "
                "Activity ID: 5b9e3dd5 - Url: https://fef.msub01.manage.microsoft.com/x",
                "RetryAfter": None,
            }
        ),
    }
}

Answer = Callable[..., Any]


@pytest.fixture
def adapter() -> requests_mock.Adapter:
    return requests_mock.Adapter()


@pytest.fixture
def graph(adapter: requests_mock.Adapter) -> Graph:
    transport = Transport(BASE)
    transport.session.mount("https://", adapter)
    return Graph(transport, ids=lambda: "ours")


def question(value: str, by: By = By.SERIAL, of: Collection = Collection.INTUNE) -> Question:
    return Question(collection=of, by=by, value=value)


def answer_batch(adapter: requests_mock.Adapter, *responses: dict[str, Any]) -> None:
    adapter.register_uri("POST", f"{BASE}/beta/$batch", json={"responses": list(responses)})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (
            question("5CD333527Z", of=Collection.AUTOPILOT),
            "/deviceManagement/windowsAutopilotDeviceIdentities"
            "?$filter=contains(serialNumber,'5CD333527Z')",
        ),
        (question("a/b", By.ID, Collection.AUTOPILOT), "Identities/a%2Fb"),
        (question("O'Neil & Söhne"), "$filter=serialNumber eq 'O''Neil & Söhne'&$select=id,"),
        (question("d1", By.DEVICE_ID, Collection.ENTRA), "/devices?$filter=deviceId eq 'd1'"),
        (
            question("ap", By.REGISTRATION, Collection.ENTRA),
            "$filter=physicalIds/any(p:p eq '[ZTDID]:ap')",
        ),
    ],
)
def test_how_a_question_is_written(asked: Question, expected: str) -> None:
    path = question_path(asked)
    assert expected in (path if asked.by is By.ID else unquote(path))
    assert path.isascii()
    assert " " not in path


def test_no_secret_is_ever_asked_for_and_autopilot_is_never_selected_from() -> None:
    paths = [unquote(list_path(collection)) for collection in Collection]
    selected = {word for path in paths for word in path.partition("$select=")[2].split(",")}
    assert not selected & {"key", "credentials"}
    assert "$select" not in list_path(Collection.AUTOPILOT)


def test_answers_of_a_batch_find_their_questions_in_any_order(
    graph: Graph, adapter: requests_mock.Adapter
) -> None:
    row = {"id": "m1", "serialNumber": "A1", "azureADDeviceId": ALL_ZERO, "joinType": None}
    answer_batch(
        adapter,
        {"id": "2", "status": 404, "body": {"error": {"code": "ResourceNotFound"}}},
        {"id": "1", "status": 429, "headers": {"retry-after": "2.128"}, "body": {}},
        {"id": "0", "status": 200, "headers": {"request-id": "inner"}, "body": {"value": [row]}},
        {"id": "3", "status": 429, "body": {"error": {"code": "TooManyRequests"}}},
    )
    found, limited, gone, unlimited, lost = graph.batch(
        [question("A1"), question("A2"), question("m3", By.ID), question("A4"), question("A5")]
    )
    assert isinstance(found, GraphPage)
    assert found.request_id == "inner"
    assert found.rows[0].ids == {"id": "m1"}
    assert found.rows[0].attributes == {"serialNumber": "A1", "joinType": None}
    assert isinstance(limited, Throttled)
    assert limited.retry_after == 2.128
    assert gone == GraphPage(request_id="ours")
    assert isinstance(unlimited, Throttled)
    assert unlimited.retry_after is None
    assert isinstance(lost, Unavailable)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, "<html>gone</html>", Rejected),
        (404, None, Rejected),
        (403, {"error": {"code": "Authorization_RequestDenied"}}, Rejected),
        (400, INTUNE_FAULT, Rejected),
        (401, {}, Unauthorized),
        (424, {}, Unavailable),
        (503, "PGh0bWw+", Unavailable),
        (200, {"value": None}, Unreadable),
        (200, {"value": [{"serialNumber": "no id"}]}, Unreadable),
        (200, "text", Unreadable),
        (302, {}, Unreadable),
        (True, {}, Unreadable),
        (None, {}, Unreadable),
    ],
)
def test_what_is_no_answer_to_a_question_is_an_error_to_it_alone(
    graph: Graph,
    adapter: requests_mock.Adapter,
    status: object,
    body: object,
    kind: type[ServiceError],
) -> None:
    answer_batch(
        adapter,
        {"id": "0", "status": status, "body": body},
        {"id": "1", "status": 200, "body": {"value": []}},
    )
    failed, empty = graph.batch([question("A1"), question("A2")])
    assert isinstance(failed, kind)
    assert isinstance(empty, GraphPage)


def test_a_page_that_a_gateway_sends_for_404_does_not_mean_that_a_record_is_gone(
    graph: Graph, adapter: requests_mock.Adapter
) -> None:
    answer_batch(adapter, {"id": "0", "status": 404, "body": "<html>not found</html>"})
    (told,) = graph.batch([question("m1", By.ID)])
    assert isinstance(told, Rejected)


@pytest.mark.parametrize(
    "content",
    [[], {}, {"responses": {}}, {"responses": [1]}, {"responses": [{"id": "0"}, {"id": "0"}]}],
)
def test_a_batch_that_is_no_batch_is_unreadable(
    graph: Graph, adapter: requests_mock.Adapter, content: object
) -> None:
    adapter.register_uri("POST", f"{BASE}/beta/$batch", json=content)
    with pytest.raises(Unreadable):
        graph.batch([question("A1")])


@pytest.mark.parametrize(
    "asked",
    [
        [],
        [question("")],
        [question("A")] * 21,
        [question("A"), question("A", of=Collection.AUTOPILOT)],
    ],
)
def test_nothing_empty_mixed_or_too_large_is_ever_sent(graph: Graph, asked: list[Question]) -> None:
    with pytest.raises(InputError):
        graph.batch(asked)


def test_a_whole_list_is_read_by_its_links(graph: Graph, adapter: requests_mock.Adapter) -> None:
    address = f"{BASE}/beta/deviceManagement/windowsAutopilotDeviceIdentities"
    link = f"{address}?$skiptoken=LastSerialNumber%3d%278147-16%27"
    rows = [{"id": "ap", "serialNumber": "A", "azureAdDeviceId": "D", "physicalIds": None}]
    adapter.register_uri("GET", address, json={"value": rows, "@odata.nextLink": link})
    page = graph.page(Collection.AUTOPILOT)
    assert page.link == link
    assert page.rows[0].ids == {"id": "ap", "azureActiveDirectoryDeviceId": "D"}
    graph.page(Collection.AUTOPILOT, page.link)
    assert adapter.last_request is not None
    assert adapter.last_request.url == link


def test_a_link_to_another_host_is_never_followed(
    graph: Graph, adapter: requests_mock.Adapter
) -> None:
    body = {"value": [], "@odata.nextLink": "https://graph.example/v1.0/devices"}
    adapter.register_uri("GET", f"{BASE}/v1.0/devices", json=body)
    with pytest.raises(Unreadable):
        graph.page(Collection.ENTRA)


def test_a_directory_object_keeps_its_registration_and_no_other_physical_id(
    graph: Graph, adapter: requests_mock.Adapter
) -> None:
    row = {
        "id": "o",
        "deviceId": "d",
        "physicalIds": ["[HWID]:h:6755", "[ZTDId]:AP-1", 7],
        "onPremisesSyncEnabled": None,
        "key": "secret",
        "credentials": ["secret"],
    }
    adapter.register_uri("GET", f"{BASE}/v1.0/devices", json={"value": [row]})
    (found,) = graph.page(Collection.ENTRA).rows
    assert found.ids == {"id": "o", "deviceId": "d", "ztdId": "AP-1"}
    assert found.attributes == {"onPremisesSyncEnabled": None}


@pytest.mark.parametrize(
    ("status", "text", "kind", "said"),
    [
        (400, "<html><h2>Bad Request - Invalid URL</h2></html>", Rejected, "it said no"),
        (400, json.dumps(INTUNE_FAULT), Rejected, "An error has occurred"),
        (403, "{}", Rejected, "it said no"),
        (503, "", Unavailable, "not available"),
        (429, "{}", Throttled, "too many requests"),
    ],
)
def test_a_refused_page_is_one_sentence_whatever_its_body(
    graph: Graph,
    adapter: requests_mock.Adapter,
    status: int,
    text: str,
    kind: type[ServiceError],
    said: str,
) -> None:
    adapter.register_uri("GET", f"{BASE}/v1.0/devices", text=text, status_code=status)
    with pytest.raises(kind) as caught:
        graph.page(Collection.ENTRA)
    assert said in caught.value.message
    assert "fef.msub01" not in caught.value.message
    assert ("Device.Read.All" in caught.value.remedy) is (status == 403)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "invalid_grant"}, ("invalid_grant", None)),
        ({"error": {"code": 5, "message": {}}}, (None, None)),
        ({"error": {"message": "{broken"}}, (None, "{broken")),
        ("plain\r\ntext", (None, "plain text")),
        ([], (None, None)),
        (None, (None, None)),
    ],
)
def test_any_error_body_is_read(body: object, expected: tuple[str | None, str | None]) -> None:
    assert expected == read_fault(body)


@pytest.mark.parametrize(
    ("kind", "identifier", "serial"),
    [
        ("serialNumber", "5CD 1", "5CD 1"),
        ("manufacturerModelSerial", "HP,EliteBook, 5CD1", "5CD1"),
        ("imei", "356938035643809", None),
        ("serialNumber", None, None),
    ],
)
def test_a_corporate_identifier_tells_the_serial_that_it_names(
    kind: str, identifier: str | None, serial: str | None
) -> None:
    row = {"id": "1", "importedDeviceIdentityType": kind, "importedDeviceIdentifier": identifier}
    found = read_row(Collection.CORPORATE_IDENTIFIERS, row)
    assert serial == found.attributes.get("serialNumber")
