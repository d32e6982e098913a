"""Partner Center on the wire: what is listed, removed and refused, and how it looks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
FLEET = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"
WINGTIP = "73d5f1a9-0e68-4c2b-9a47-b8c3d6e0f154"
ADVISED = "e41b6c08-7d92-4a35-8c1f-5f0a3b9d6e72"
ODD = "Büro #7 / 50 %"

Connect = Callable[..., Any]
Start = Callable[..., Any]


@pytest.fixture
def ask(start: Start, connect: Connect) -> Any:
    return connect(start())


def quirky(start: Start, connect: Connect, **quirks: Any) -> Any:
    return connect(start({"quirks": quirks}))


def test_customers_without_a_relationship_are_not_listed(ask: Any) -> None:
    page = ask.json("/customers?size=500")
    assert [item["id"] for item in page["items"]] == [CONTOSO, FLEET, ADVISED]
    assert page["items"][0]["companyProfile"]["domain"] == "contoso.onmicrosoft.com"
    assert "next" not in page["links"]


@pytest.mark.parametrize(
    ("field", "value", "operator", "found"),
    [
        ("Domain", "CONTOSO.onmicrosoft", "starts_with", [CONTOSO]),
        ("Domain", "contoso.com", "starts_with", []),
        ("Domain", "onmicrosoft", "starts_with", []),
        ("CompanyName", "cont", "starts_with", [CONTOSO]),
    ],
)
def test_customers_are_found_by_what_their_name_or_default_domain_starts_with(
    ask: Any, field: str, value: str, operator: str, found: list[str]
) -> None:
    wanted = quote(json.dumps({"Field": field, "Value": value, "Operator": operator}))
    page = ask.json(f"/customers?size=0&filter={wanted}")
    assert found == [item["id"] for item in page["items"]]


@pytest.mark.parametrize("prefix", [0, 1])
def test_customers_are_paged_by_link_and_by_token(
    start: Start, connect: Connect, prefix: int
) -> None:
    ask = quirky(start, connect, customersPageSize=2, prefixedNextLinks=prefix)
    first = ask.json("/customers?size=500")
    link = first["links"]["next"]
    assert link["uri"].startswith("/v1/customers?" if prefix else "/customers?")
    token = {one["key"]: one["value"] for one in link["headers"]}
    assert token == {"MS-ContinuationToken": first["continuationToken"]}
    by_link = ask.json(link["uri"].removeprefix("/v1"), headers=token)
    by_token = ask.json("/customers?size=2&seekOperation=next", headers=token)
    assert [item["id"] for item in by_link["items"]] == [ADVISED]
    assert by_link["items"] == by_token["items"]
    assert "continuationToken" not in by_link


def test_customers_may_end_by_an_error(start: Start, connect: Connect) -> None:
    ask = quirky(start, connect, customersEndBy2000=True)
    page = ask.json("/customers")
    token = {"MS-ContinuationToken": page["continuationToken"]}
    beyond = ask("GET", "/customers?seekOperation=next", headers=token)
    assert (beyond.status_code, ask.read(beyond)["code"]) == (400, 2000)


def test_a_customer_by_id_says_more_than_in_the_list(ask: Any) -> None:
    found = ask.json(f"/customers/{CONTOSO.upper()}")
    assert found["customDomains"] == ["contoso.onmicrosoft.com", "contoso.com"]
    assert found["allowDelegatedAccess"] is False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/customers/{WINGTIP}", 403, 20002),
        (f"/customers/{WINGTIP}/deviceBatches", 403, 20002),
        (f"/customers/{ADVISED}", 200, None),
        (f"/customers/{ADVISED}/deviceBatches", 403, 20002),
        ("/customers/00000000-0000-4000-8000-000000000000", 404, 60003),
        ("/customers/contoso.onmicrosoft.com", 400, 900118),
        (f"/customers/{CONTOSO}/deviceBatches/nowhere/devices", 404, 1000),
        (f"/customers/{CONTOSO}/batchJobStatus/{WINGTIP}", 404, 1000),
        (f"/customers/{CONTOSO}/nonsense", 404, 1000),
        ("/customers?filter=nonsense", 400, 3000),
        ("/customers?size=many", 400, 800002),
        ("/customers?seekOperation=last", 400, 3000),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_code(
    ask: Any, path: str, status: int, code: int | None
) -> None:
    answer = ask("GET", path)
    assert (status, code) == (answer.status_code, ask.read(answer).get("code"))


def test_batches_have_free_names_encoded_links_and_counts_that_may_be_stale(ask: Any) -> None:
    odd, empty = ask.json(f"/customers/{CONTOSO}/deviceBatches")["items"]
    assert (odd["id"], odd["devicesCount"]) == (ODD, 9)
    assert (empty["id"], empty["devicesCount"]) == ("empty", 0)
    uri = f"/customers/{CONTOSO}/deviceBatches/B%C3%BCro%20%237%20%2F%2050%20%25/devices"
    assert uri == odd["devicesLink"]["uri"]
    assert ask.json(uri)["totalCount"] == 4


def test_devices_leave_out_what_is_not_known(ask: Any) -> None:
    page = ask.json(ask.devices(CONTOSO, ODD))
    assert page["items"][3] == {
        "id": "bare",
        "productKey": "3305679240999",
        "attributes": {"objectType": "Device"},
    }
    assert page["links"] == {}


@pytest.mark.parametrize("batch", ["FLEET", "fleet"])
def test_devices_come_a_hundred_a_page_and_the_count_is_the_page_s(ask: Any, batch: str) -> None:
    first = ask.json(ask.devices(FLEET, batch))
    assert (first["totalCount"], len(first["items"])) == (100, 100)
    assert [f"SN{number:07d}" for number in range(1, 251)] == ask.serials(FLEET, batch)


@pytest.mark.parametrize(
    ("form", "says"),
    [("absent", "nothing"), ("null", None), ("empty", ""), ("further-page", "a token")],
)
def test_the_last_page_ends_in_several_forms(
    start: Start, connect: Connect, form: str, says: str | None
) -> None:
    ask = quirky(start, connect, lastPage=form)
    page = ask.json(ask.devices(CONTOSO, ODD))
    if says == "a token":
        token = {"MS-ContinuationToken": page["continuationToken"]}
        further = ask.json(ask.devices(CONTOSO, ODD), headers=token)
        assert (further["totalCount"], further.get("continuationToken")) == (0, None)
    else:
        assert says == page.get("continuationToken", "nothing")


def test_removals_between_pages_do_not_shift_them(ask: Any) -> None:
    first = ask.json(ask.devices(FLEET, "Fleet"))
    for item in first["items"][:50]:
        assert ask("DELETE", ask.devices(FLEET, "Fleet", item["id"])).status_code == 204
    token = {"MS-ContinuationToken": first["continuationToken"]}
    second = ask.json(ask.devices(FLEET, "Fleet"), headers=token)
    assert second["items"][0]["serialNumber"] == "SN0000101"


def test_a_continuation_token_of_another_list_is_refused(ask: Any) -> None:
    token = ask.json(ask.devices(FLEET, "Fleet"))["continuationToken"]
    for wrong in (token, "nonsense", "bm9uc2Vuc2U="):
        answer = ask("GET", ask.devices(CONTOSO, ODD), headers={"MS-ContinuationToken": wrong})
        assert answer.status_code == 400


def test_a_removed_device_is_gone_and_stays_gone(ask: Any) -> None:
    path = ask.devices(CONTOSO, ODD, "9993-8627")
    removed = ask("DELETE", path)
    assert (removed.status_code, removed.content) == (204, b"")
    assert "Content-Length" not in removed.headers
    again = ask("DELETE", path)
    assert (again.status_code, ask.read(again)["code"]) == (404, 1000)
    assert ask.serials(CONTOSO, ODD) == ["A2", "A3", None]
    assert {"A2", "A3", None} == {
        one.device.serial_number for one in ask.sandbox.state.devices("contoso.onmicrosoft.com")
    }


@pytest.mark.parametrize(
    ("device", "status", "code"), [("other's", 403, 811), ("kept", 400, 3000), ("none", 404, 1000)]
)
def test_what_may_not_be_removed_stays(ask: Any, device: str, status: int, code: int) -> None:
    answer = ask("DELETE", ask.devices(CONTOSO, ODD, device))
    assert (status, code) == (answer.status_code, ask.read(answer)["code"])
    assert len(ask.sandbox.state.devices(CONTOSO)) == 4


def test_the_same_request_id_has_the_same_outcome(ask: Any) -> None:
    path = ask.devices(CONTOSO, ODD, "9993-8627")
    headers = {"MS-RequestId": str(uuid4())}
    assert [ask("DELETE", path, headers=headers).status_code for _ in range(2)] == [204, 204]
    assert ask("DELETE", path, headers={"MS-RequestId": str(uuid4())}).status_code == 404
    assert [entry.replayed for entry in ask.sandbox.log.entries] == [False, True, False]
    assert [entry.serial for entry in ask.sandbox.log.of("delete-device")] == ["A1"] * 3


def test_json_begins_with_a_byte_order_mark_unless_told_otherwise(
    start: Start, connect: Connect
) -> None:
    ask, plain = connect(start()), quirky(start, connect, bom=False)
    for path in ("/customers", f"/customers/{WINGTIP}"):
        marked = ask("GET", path)
        assert marked.content.startswith(b"\xef\xbb\xbf{")
        assert int(marked.headers["Content-Length"]) == len(marked.content)
        assert plain("GET", path).content.startswith(b"{")


def test_ids_are_echoed_and_made_where_there_are_none(start: Start, connect: Connect) -> None:
    ask = quirky(start, connect, foreignCorrelationId=0)
    sent = {"MS-RequestId": "r-1", "MS-CorrelationId": "c-1", "X-Locale": "en-US"}
    answer = ask("GET", "/customers", headers=sent).headers
    assert sent == {name: answer[name] for name in sent}
    assert "MS-CV" in answer
    assert "MS-ServerId" in answer
    bare = ask("GET", "/customers").headers
    assert 36 == len(bare["MS-RequestId"]) == len(bare["MS-CorrelationId"])


def test_a_share_of_answers_has_another_correlation_id(start: Start, connect: Connect) -> None:
    ask = quirky(start, connect, foreignCorrelationId=0.5)
    echoed = []
    for number in range(40):
        sent = {"MS-RequestId": f"r-{number}", "MS-CorrelationId": "c"}
        answer = ask("GET", "/customers", headers=sent).headers
        assert answer["MS-RequestId"] == f"r-{number}"
        echoed.append(answer["MS-CorrelationId"] == "c")
    assert 5 < sum(echoed) < 35


@pytest.mark.parametrize(
    "path",
    ["/v1/customers", "/v1.0/customers", "/V1//CUSTOMERS?size=500", "//v1///Customers"],
)
def test_versions_doubled_slashes_and_letter_case_do_not_matter(ask: Any, path: str) -> None:
    url = ask.sandbox.urls["partnerCenter"] + path
    token = {"Authorization": f"Bearer {ask.sandbox.tokens['app']}"}
    assert ask.session.get(url, headers=token, timeout=10).status_code == 200


@pytest.mark.parametrize("path", ["/customers", "/v1//v1/customers", "/v2/customers", "/"])
def test_other_paths_are_not_found(ask: Any, path: str) -> None:
    url = ask.sandbox.urls["partnerCenter"] + path
    token = {"Authorization": f"Bearer {ask.sandbox.tokens['app']}"}
    assert ask.session.get(url, headers=token, timeout=10).status_code == 404


def test_an_unsupported_method_is_named(ask: Any) -> None:
    assert ask("DELETE", f"/customers/{CONTOSO}/deviceBatches").status_code == 405


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("app", 200, None),
        ("user", 200, None),
        ("userNoMfa", 401, 900421),
        ("userNoRole", 403, 900150),
        ("wrongAudience", 401, 900420),
        ("expired", 401, 400),
        ("foreignPartner", 403, 20002),
        ("refresh", 401, 400),
    ],
)
def test_tokens_are_judged_by_what_they_claim(
    start: Start, connect: Connect, token: str, status: int, code: int | None
) -> None:
    ask = connect(start(), token)
    answer = ask("GET", f"/customers/{CONTOSO}/deviceBatches")
    assert (status, code) == (answer.status_code, ask.read(answer).get("code"))


def test_a_foreign_partner_has_no_customers(start: Start, connect: Connect) -> None:
    assert connect(start(), "foreignPartner").json("/customers")["items"] == []


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nonsense"}])
def test_no_token_and_a_forged_one_are_refused(ask: Any, header: dict[str, str]) -> None:
    url = f"{ask.sandbox.urls['partnerCenter']}/v1/customers"
    answer = ask.session.get(url, headers=header, timeout=10)
    assert (401, 400 if header else 800001) == (answer.status_code, ask.read(answer)["code"])
    assert answer.headers["WWW-Authenticate"].startswith("OAuth realm=")


def test_mfa_can_be_asked_for(start: Start, connect: Connect) -> None:
    said = [
        connect(start(), token)("GET", "/customers", headers={"ValidateMfa": "true"}).headers
        for token in ("user", "userNoMfa")
    ]
    assert [headers["isMfaCompliant"] for headers in said] == ["true", "false"]


def finished(ask: Any, location: str) -> Any:
    assert location.startswith(f"/customers/{CONTOSO}/batchJobStatus/")
    for _ in range(100):
        job = ask.json(location)
        if job["status"].startswith("finished"):
            return job
        time.sleep(0.01)
    raise AssertionError(job)


QUICK = {"jobQueued": 0.03, "jobProcessing": 0.03}
TUPLE = {"OemManufacturerName": "Contoso", "ModelName": "N1"}


def test_a_batch_is_created_by_app_and_user_and_its_job_says_what_became_of_each_device(
    start: Start, connect: Connect
) -> None:
    ask = connect(start({"quirks": QUICK}), "user")
    devices = [
        {"SerialNumber": "NEW1", **TUPLE, "ProductKey": None, "Unknown": {"a": 1}},
        {"serialNumber": "A1", "oemManufacturerName": "Contoso", "modelName": "N1"},
        {"serialNumber": "ELSEWHERE", **TUPLE},
        {"serialNumber": "NEWBOARD", **TUPLE},
        {"serialNumber": "ALONE"},
        {"serialNumber": "HASHED", "hardwareHash": "no base64!"},
    ]
    made = ask(
        "POST", f"/customers/{CONTOSO}/deviceBatches", json={"BatchId": "N #1", "Devices": devices}
    )
    assert (made.status_code, made.content, made.headers["Content-Length"]) == (202, b"", "0")
    job = finished(ask, made.headers["Location"])
    codes = [device.get("errorCode") for device in job["devicesStatus"]]
    assert codes == [None, "806", "808", "812", "803", "802"]
    assert "finished" == job["status"] == job["devicesStatus"][0]["status"]
    assert job["devicesStatus"][1]["status"] == "finished_with_errors"
    assert ask.serials(CONTOSO, "N #1") == ["NEW1"]
    (registered,) = ask.json(ask.devices(CONTOSO, "N #1"))["items"]
    assert job["devicesStatus"][0]["deviceId"] == registered["id"]
    assert registered["uploadedDate"].endswith("+00:00")
    twice = ask("POST", f"/customers/{CONTOSO}/deviceBatches", json={"batchId": "n #1"})
    assert twice.status_code == 400


def test_devices_are_added_by_a_bare_list_and_can_come_back_after_removal(
    start: Start, connect: Connect
) -> None:
    ask = connect(start({"quirks": QUICK}))
    path = ask.devices(CONTOSO, "EMPTY")
    row = {"serialNumber": "A1", "oemManufacturerName": "Contoso", "modelName": "N1"}
    first = finished(ask, ask("POST", path, json=[row]).headers["Location"])
    assert (
        first["status"],
        first["devicesStatus"][0]["errorCode"],
    ) == ("finished_with_errors", "806")
    assert ask("DELETE", ask.devices(CONTOSO, ODD, "9993-8627")).status_code == 204
    second = finished(ask, ask("POST", path, json=[row]).headers["Location"])
    assert second["status"] == "finished"
    assert ask.serials(CONTOSO, "empty") == ["A1"]
    assert ask("POST", path, json={"devices": [row]}).status_code == 400
    assert ask("POST", ask.devices(CONTOSO, "nowhere"), json=[row]).status_code == 404


def test_an_app_alone_creates_no_batch(ask: Any) -> None:
    answer = ask("POST", f"/customers/{CONTOSO}/deviceBatches", json={"batchId": "x"})
    assert (answer.status_code, ask.read(answer)["code"]) == (403, 900329)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"batchId": 7, "devices": [{}]}', b'"x"'])
def test_bodies_that_are_none_are_refused(start: Start, connect: Connect, body: bytes) -> None:
    ask = connect(start(), "user")
    assert ask("POST", f"/customers/{CONTOSO}/deviceBatches", data=body).status_code == 400


def test_chunked_bodies_are_read(start: Start, connect: Connect) -> None:
    ask = connect(start())
    row = json.dumps([{"serialNumber": "C1", **TUPLE}]).encode()
    made = ask("POST", ask.devices(CONTOSO, "empty"), data=iter([row[:9], row[9:]]))
    assert made.status_code == 202


def test_quirks_of_removal(start: Start, connect: Connect) -> None:
    ask = quirky(start, connect, deleteStatus=200, emptyBatchesVanish=True, codesAsText=True)
    (item,) = ask.json(ask.devices(FLEET, "Fleet"))["items"][:1]
    assert ask("DELETE", ask.devices(FLEET, "Fleet", item["id"])).status_code == 200
    assert ask.read(ask("DELETE", ask.devices(FLEET, "Fleet", item["id"])))["code"] == "1000"


def test_a_batch_without_a_name_gets_a_guid(start: Start, connect: Connect) -> None:
    ask = connect(start(), "user")
    row = {"serialNumber": "U1", **TUPLE}
    path = f"/customers/{CONTOSO}/deviceBatches"
    assert ask("POST", path, json={"devices": [row]}).status_code == 202
    names = [item["id"] for item in ask.json(path)["items"]]
    assert [len(name) for name in names] == [len(ODD), len("empty"), 36]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "deviceBatches/empty/devices", ["A1"], 400),
        ("POST", "deviceBatches/empty/devices", [], 400),
    ],
)
def test_changes_that_say_nothing_usable_change_nothing(
    ask: Any, method: str, path: str, body: Any, status: int
) -> None:
    before = ask.sandbox.state.devices(CONTOSO)
    assert ask(method, f"/customers/{CONTOSO}/{path}", json=body).status_code == status
    assert ask.sandbox.state.devices(CONTOSO) == before


def test_a_job_of_another_customer_is_not_found(start: Start, connect: Connect) -> None:
    ask = connect(start())
    row = {"serialNumber": "J1", **TUPLE}
    made = ask("POST", ask.devices(CONTOSO, "empty"), json=[row]).headers["Location"]
    assert ask("GET", made.replace(CONTOSO, FLEET)).status_code == 404


def test_customers_page_by_links_alone(start: Start, connect: Connect) -> None:
    ask = quirky(start, connect, customersPageSize=2, bodyContinuationToken=False)
    page = ask.json("/customers")
    assert "continuationToken" not in page
    token = {one["key"]: one["value"] for one in page["links"]["next"]["headers"]}
    assert ask.json("/customers?seekOperation=Next", headers=token)["totalCount"] == 1
    ask = quirky(start, connect, customersPageSize=2, nextLinks=False)
    assert "next" not in ask.json("/customers")["links"]


def test_many_clients_at_once_remove_each_device_once(start: Start, connect: Connect) -> None:
    ask = connect(start())
    paths = [
        ask.devices(FLEET, "Fleet", placed.device.id) for placed in ask.sandbox.state.devices(FLEET)
    ]
    with ThreadPoolExecutor(8) as pool:
        clients = [connect(ask.sandbox) for _ in range(8)]
        answers = pool.map(
            lambda job: clients[job[0] % 8]("DELETE", job[1]).status_code, enumerate(paths * 2)
        )
        statuses = sorted(answers)
    assert statuses == [204] * 250 + [404] * 250
    assert ask.sandbox.state.devices(FLEET) == ()
