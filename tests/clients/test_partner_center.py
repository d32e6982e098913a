"""Partner Center's requests as they leave, and its answers in every form that is known."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests_mock
from hypothesis import given
from hypothesis import strategies as st

from partner_tools import errors
from partner_tools.clients.answers import ListGuard
from partner_tools.clients.partner_center import (
    Cursor,
    DeviceBatch,
    JobDevice,
    JobId,
    JobStatus,
    PartnerCenter,
    Receipt,
    ResourcePage,
    ServiceJob,
    build_append,
    build_customers,
    build_delete,
    build_devices,
    parse_accepted,
    parse_batches,
    parse_customer,
    parse_customers,
    parse_delete,
    parse_devices,
    parse_job,
    segment,
    warn_of_cloud,
)
from partner_tools.clients.transport import Reply, Request, Transport, build_url
from partner_tools.model import Customer, Identity, Registration, Target, TenantId
from tests.clients.wire_service import WireService, answer

BASE = "https://api.partnercenter.microsoft.com"
TENANT = "0b1c2d3e-0000-4000-8000-000000000001"
OF_CUSTOMER = f"/v1/customers/{TENANT}"
BOM = b"\xef\xbb\xbf"


class Stub:
    """A client whose transport answers from a list, and the requests that it was sent."""

    def __init__(self) -> None:
        self.adapter = requests_mock.Adapter()
        transport = Transport(BASE)
        transport.session.mount("https://", self.adapter)
        numbers = iter(range(1, 1000))
        self.client = PartnerCenter(
            transport,
            ids=lambda: f"request-{next(numbers)}",
            correlation_id="run-1",
            now=lambda: datetime(2026, 11, 1, tzinfo=UTC),
        )

    def answers(self, *replies: tuple[int, Any, dict[str, str]]) -> None:
        """Each reply is a status, a body (JSON behind a byte order mark, or bytes), headers."""
        self.adapter.register_uri(
            requests_mock.ANY,
            requests_mock.ANY,
            [
                {
                    "status_code": status,
                    "content": body if isinstance(body, bytes) else BOM + json.dumps(body).encode(),
                    "headers": headers,
                }
                for status, body, headers in replies
            ],
        )

    @property
    def last(self) -> Any:
        return self.adapter.request_history[-1]

    def asked(self) -> tuple[str, str, dict[str, list[str]]]:
        parts = urlsplit(self.last.url)
        return self.last.method, parts.path, parse_qs(parts.query, keep_blank_values=True)


@pytest.fixture
def stub() -> Iterator[Stub]:
    yield Stub()


def said(content: Any, **headers: str) -> Reply:
    return Reply(status=200, body=json.dumps(content).encode(), headers=headers)


# What every request carries


def test_every_request_names_itself_its_run_and_its_application(stub: Stub) -> None:
    stub.answers((200, {"items": []}, {}))
    stub.client.batches(TENANT)
    first = dict(stub.last.headers)
    stub.client.batches(TENANT)

    assert {
        name: first[name]
        for name in (
            "Accept",
            "MS-RequestId",
            "MS-CorrelationId",
            "X-Locale",
            "MS-PartnerCenter-Application",
        )
    } == {
        "Accept": "application/json",
        "MS-RequestId": "request-1",
        "MS-CorrelationId": "run-1",
        "X-Locale": "en-US",
        "MS-PartnerCenter-Application": "partner-tools",
    }
    assert stub.last.headers["MS-RequestId"] == "request-2"


# Customers


def test_a_customer_by_id(stub: Stub) -> None:
    stub.answers((200, CUSTOMER, {}))
    assert stub.client.customer(TENANT) == Customer(
        tenant_id=TenantId(TENANT), domain="contoso.onmicrosoft.com", name="Contoso"
    )
    assert stub.asked() == ("GET", OF_CUSTOMER, {})


CUSTOMER = {
    "id": TENANT,
    "companyProfile": {
        "tenantId": TENANT,
        "domain": "contoso.onmicrosoft.com",
        "companyName": "Contoso",
    },
    "relationshipToPartner": "reseller",
    "links": {"self": {"uri": f"/customers/{TENANT}", "method": "GET", "headers": []}},
    "attributes": {"objectType": "Customer"},
}


def test_customers_by_domain_are_asked_for_by_the_documented_filter(stub: Stub) -> None:
    stub.answers((200, {"items": [CUSTOMER], "totalCount": 1}, {}))
    page = stub.client.customers(domain_prefix='con"to&so')
    method, path, query = stub.asked()
    assert (method, path) == ("GET", "/v1/customers")
    assert query["size"] == ["0"]
    assert json.loads(query["filter"][0]) == {
        "Field": "Domain",
        "Value": 'con"to&so',
        "Operator": "starts_with",
    }
    assert [each.domain for each in page.items] == ["contoso.onmicrosoft.com"]
    assert page.cursor is None


def linked(uri: str, following: str | None = "t-1") -> dict[str, Any]:
    headers = [] if following is None else [{"key": "MS-ContinuationToken", "value": following}]
    return {"next": {"uri": uri, "method": "GET", "headers": headers}}


@pytest.mark.parametrize(
    "uri",
    [
        "/customers?size=500&seekOperation=Next",
        "/v1/customers?size=500&seekOperation=Next",
        "customers?size=500&seekOperation=Next",
        "//customers?size=500&seekOperation=Next",
        "/v1//customers?size=500&seekOperation=Next",
        "/Customers?size=500&seekOperation=Next",
        f"{BASE}/v1/customers?size=500&seekOperation=Next",
    ],
)
def test_both_forms_of_the_next_link_lead_to_the_same_page(stub: Stub, uri: str) -> None:
    stub.answers((200, {"items": [CUSTOMER], "links": linked(uri)}, {}), (200, {"items": []}, {}))
    page = stub.client.customers()
    assert stub.asked() == ("GET", "/v1/customers", {"size": ["500"]})
    assert page.cursor is not None

    last = stub.client.customers(cursor=page.cursor)

    assert stub.asked() == (
        "GET",
        "/v1/customers",
        {"size": ["500"], "seekOperation": ["Next"]},
    )
    assert stub.last.headers["MS-ContinuationToken"] == "t-1"
    assert last == ResourcePage(items=())


def test_a_token_without_a_link_is_sent_with_the_seek_operation(stub: Stub) -> None:
    stub.answers((200, {"items": [CUSTOMER], "continuationToken": "t-2"}, {}))
    cursor = stub.client.customers(domain_prefix="con").cursor
    assert cursor == Cursor(token="t-2")
    stub.client.customers(domain_prefix="con", cursor=cursor)
    _, _, query = stub.asked()
    assert query["seekOperation"] == ["next"]
    assert "filter" in query
    assert stub.last.headers["MS-ContinuationToken"] == "t-2"


def test_a_link_without_headers_takes_the_token_of_the_body() -> None:
    content = {
        "items": [],
        "links": linked("/customers?seekOperation=Next", None),
        "continuationToken": "t-3",
    }
    cursor = parse_customers(said(content), BASE).cursor
    assert build_customers(cursor=cursor).headers == {"MS-ContinuationToken": "t-3"}


def test_only_the_continuation_header_of_a_link_is_replayed() -> None:
    links = linked("/customers")
    links["next"]["headers"] += [
        {"key": "Authorization", "value": "Bearer theirs"},
        {"key": "MS-RequestId", "value": "theirs"},
        {"key": "Host", "value": "evil.example"},
    ]
    cursor = parse_customers(said({"items": [], "links": links}), BASE).cursor
    assert build_customers(cursor=cursor).headers == {"MS-ContinuationToken": "t-1"}


@pytest.mark.parametrize(
    "links",
    [
        linked("https://evil.example/v1/customers"),
        linked("//evil.example/v1/customers"),
        linked("/v1/invoices"),
        linked("/v1/customers/../invoices"),
        linked("/customers?a b"),
        linked("/customers\r\nX: y"),
        linked("/customers#x"),
        linked("/customers", "t\r\nX: y"),
        linked("/customers", "tökén"),
        {"next": {"uri": 7}},
        {"next": {"uri": "/customers", "headers": "x"}},
        {"next": {"uri": "/customers", "headers": ["x"]}},
        {"next": "x"},
        "x",
    ],
)
def test_a_next_link_that_leads_astray_is_unreadable(links: Any) -> None:
    with pytest.raises(errors.Unreadable):
        parse_customers(said({"items": [], "links": links}), BASE)


def test_the_page_after_the_last_customer_is_their_end(stub: Stub) -> None:
    stub.answers((400, {"code": 2000, "description": "no more"}, {}))
    assert stub.client.customers(cursor=Cursor(token="t")) == ResourcePage(items=())
    with pytest.raises(errors.Rejected):
        stub.client.customers()


def test_a_page_that_vanishes_is_an_error(stub: Stub) -> None:
    stub.answers((404, b"", {}))
    with pytest.raises(errors.Rejected) as raised:
        stub.client.customers(cursor=Cursor(token="t"))
    assert raised.value.status == 404


# Batches and devices


def test_batches(stub: Stub) -> None:
    stub.answers(
        (
            200,
            {
                "totalCount": 2,
                "items": [
                    {
                        "id": "Test batch",
                        "status": "finished",
                        "creationDate": "2017-07-25T01:51:00",
                        "devicesCount": 5,
                        "devicesLink": {"uri": "/customers/x/deviceBatches/Test batch/devices"},
                        "createdBy": "Contoso",
                    },
                    {"id": " ", "devicesCount": None},
                ],
            },
            {},
        )
    )
    assert stub.client.batches(TENANT) == ResourcePage(
        items=(
            DeviceBatch(batch_id="Test batch", devices_count=5),
            DeviceBatch(batch_id=" "),
        )
    )
    assert stub.asked() == ("GET", f"{OF_CUSTOMER}/deviceBatches", {})


def test_a_batch_list_with_a_token_goes_on(stub: Stub) -> None:
    stub.answers((200, {"items": [{"id": "a"}], "continuationToken": "b-1"}, {}))
    cursor = stub.client.batches(TENANT).cursor
    stub.client.batches(TENANT, cursor)
    assert stub.last.headers["MS-ContinuationToken"] == "b-1"


def test_a_page_of_devices_and_the_next(stub: Stub) -> None:
    full = {
        "id": "9993-8627-3608",
        "serialNumber": " 00123 ",
        "productKey": "0001234567890",
        "hardwareHash": "T0FB",
        "modelName": "Model",
        "oemManufacturerName": "Maker",
        "policies": [{"key": "o_o_b_e", "value": None}],
        "uploadedDate": "2020-01-30T09:10:33.2417951+01:00",
        "allowedOperations": ["GET", "DELETE"],
    }
    stub.answers(
        (
            200,
            {
                "totalCount": 2,
                "items": [full, {"id": "2"}],
                "continuationToken": "d-1",
                "links": {},
            },
            {},
        ),
        (200, {"totalCount": 1, "items": [{"id": "3", "serialNumber": ""}]}, {}),
    )

    first = stub.client.devices(TENANT, "Repairs 4/2026 #7")
    assert stub.asked() == (
        "GET",
        f"{OF_CUSTOMER}/deviceBatches/Repairs%204%2F2026%20%237/devices",
        {},
    )
    assert "MS-ContinuationToken" not in stub.last.headers
    second = stub.client.devices(TENANT, "Repairs 4/2026 #7", first.cursor)
    assert stub.last.headers["MS-ContinuationToken"] == "d-1"

    assert first.items[0] == Registration(
        target=Target(batch_id="Repairs 4/2026 #7", device_id="9993-8627-3608"),
        serial_number=" 00123 ",
        manufacturer="Maker",
        model="Model",
        product_key_id="0001234567890",
        hardware_hash="T0FB",
        uploaded_at="2020-01-30T09:10:33.2417951+01:00",
        allowed_operations=("GET", "DELETE"),
    )
    assert first.items[1].allowed_operations is None
    assert second == ResourcePage(
        items=(Registration(target=Target(batch_id="Repairs 4/2026 #7", device_id="3")),)
    )


@pytest.mark.parametrize("token", [None, "", "absent"])
def test_no_token_is_the_last_page(token: str | None) -> None:
    content: dict[str, Any] = {"items": [{"id": "1"}], "continuationToken": token}
    if token == "absent":
        del content["continuationToken"]
    assert parse_devices(said(content), TENANT, "b").cursor is None


def test_a_token_in_the_links_of_devices_is_followed() -> None:
    content = {"items": [{"id": "1"}], "links": linked("/customers/x/deviceBatches/a b/devices")}
    assert parse_devices(said(content), TENANT, "b").cursor == Cursor(token="t-1")


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        7,
        {},
        {"items": None},
        {"items": {}},
        {"items": ["x"]},
        {"items": [{}]},
        {"items": [{"id": ""}]},
        {"items": [{"id": None}]},
        {"items": [{"id": 7}]},
        {"items": [{"id": "1", "serialNumber": 330567}]},
        {"items": [{"id": "1", "allowedOperations": "DELETE"}]},
        {"items": [{"id": "1", "allowedOperations": [1]}]},
        {"items": [], "continuationToken": 7},
        {"items": [], "continuationToken": "a\nb"},
        {"items": [{"id": "1"}], "links": linked("/next", None)},
    ],
)
def test_a_list_that_is_not_what_it_promises_is_unreadable(content: Any) -> None:
    with pytest.raises(errors.Unreadable) as raised:
        parse_devices(said(content, **{"MS-RequestId": "r-1"}), TENANT, "b")
    assert raised.value.request_id == "r-1"


def test_an_empty_list_may_omit_its_items() -> None:
    assert parse_batches(said({"totalCount": 0}), TENANT) == ResourcePage(items=())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "items", "id", "totalCount", "continuationToken", "links", "next", "uri",
                    "headers", "key", "value", "companyProfile", "tenantId", "domain", "status",
                    "devicesStatus", "errorCode", "serialNumber", "allowedOperations",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.slow
@given(JSON)
def test_any_json_is_read_or_unreadable(content: Any) -> None:
    reply = said(content)
    for parse in (
        partial(parse_customers, base_url=BASE),
        partial(parse_customer, tenant_id=TENANT),
        partial(parse_batches, tenant_id=TENANT),
        partial(parse_devices, tenant_id=TENANT, batch_id="b"),
        partial(parse_job, job_id=JobId("j")),
    ):
        with contextlib.suppress(errors.Unreadable):
            parse(reply)


# Addresses


NAMES = st.text(min_size=1, max_size=60) | st.sampled_from(
    [
        ".",
        "..",
        "...",
        "a/../b",
        "%2e%2e",
        "%",
        "%%",
        "#",
        "?",
        "a?b#c",
        ";",
        " ",
        "\\",
        "+",
        "ä",
        "\x00",
    ]
)


@given(batch=NAMES, device=NAMES)
def test_any_id_decodes_to_itself_and_stays_in_its_segment(batch: str, device: str) -> None:
    request = build_delete(TENANT, batch, device)
    url = build_url(BASE, request)
    parts = urlsplit(url)
    segments = parts.path.split("/")
    assert not parts.query
    assert not parts.fragment
    assert len(segments) == 8
    assert segments[:5] == ["", "v1", "customers", TENANT, "deviceBatches"]
    assert segments[6] == "devices"
    assert unquote(segments[5], errors="surrogatepass") == batch
    assert unquote(segments[7], errors="surrogatepass") == device
    assert not {".", ".."} & set(segments)
    assert url.isascii()


@pytest.mark.parametrize("batch", ["..", ".", "%2e%2e", "a/b", "a b#c?d", "Ümläut+", "%"])
def test_the_address_leaves_as_it_was_built(batch: str) -> None:
    service = WireService(script=[answer(200, b'{"items": []}')])
    client = PartnerCenter(Transport(service.url), ids=lambda: "r", correlation_id="c")
    client.devices(TENANT, batch)
    (asked,) = service.asked
    service.stop()
    assert asked.target == build_devices(TENANT, batch).url
    assert unquote(asked.target.split("/")[5]) == batch


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_delete(TENANT, "b", ""),
        lambda: build_delete(TENANT, "", "d"),
        lambda: build_delete("", "b", "d"),
        lambda: build_devices(TENANT, ""),
    ],
)
def test_an_empty_id_is_never_addressed(build: Callable[[], Request]) -> None:
    with pytest.raises(errors.InputError):
        build()


# Delete


@pytest.mark.parametrize(
    ("status", "body"), [(204, b""), (200, b""), (200, BOM), (200, b" \r\n"), (200, b'{"id": "x"}')]
)
def test_a_confirmed_removal(stub: Stub, status: int, body: bytes) -> None:
    stub.answers(
        (status, body, {"MS-RequestId": "theirs", "MS-CorrelationId": "c-9", "MS-CV": "cv.1"})
    )
    receipt = stub.client.delete(TENANT, "a b", "d/1", "mine", "corr")
    assert receipt == Receipt(status=status, request_id="theirs", correlation_id="c-9")
    assert stub.asked() == ("DELETE", f"{OF_CUSTOMER}/deviceBatches/a%20b/devices/d%2F1", {})
    assert stub.last.headers["MS-RequestId"] == "mine"
    assert stub.last.headers["MS-CorrelationId"] == "corr"
    assert not stub.last.body


def test_a_receipt_without_ids_keeps_those_that_were_sent(stub: Stub) -> None:
    stub.answers((204, b"", {}))
    receipt = stub.client.delete(TENANT, "b", "d", "mine")
    assert receipt == Receipt(status=204, request_id="mine", correlation_id="run-1")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>Sign in to the guest network</html>"),
        (200, b'{"code": "1000", "description": "Not found"}'),
        (200, b'{"Code": 1000, "Message": "Not found"}'),
        (200, b'{"statusCode": 404, "message": "gone"}'),
        (200, b"null"),
        (200, b'{"cut": '),
        (201, b""),
        (202, b""),
        (206, b""),
    ],
)
def test_what_does_not_confirm_a_removal_is_unreadable(status: int, body: bytes) -> None:
    request = Request(
        method="DELETE", url="/x", headers={"MS-RequestId": "r", "MS-CorrelationId": "c"}
    )
    with pytest.raises(errors.Unreadable) as raised:
        parse_delete(Reply(status=status, body=body), request)
    assert raised.value.status == status


# Uploads and jobs


def test_a_new_batch(stub: Stub) -> None:
    location = f"/customers/{TENANT}/batchJobStatus/job-1"
    stub.answers((202, b"", {"Location": location}))
    devices = [
        Identity(serial_number="1", manufacturer="Maker", model="Möd"),
        Identity(hardware_hash="T0FB", product_key_id="0001234567890"),
    ]
    assert stub.client.register(TENANT, "a/b", devices, "mine", is_new=True) == "job-1"
    assert stub.asked()[:2] == ("POST", f"{OF_CUSTOMER}/deviceBatches")
    assert stub.last.headers["MS-RequestId"] == "mine"
    assert stub.last.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(stub.last.body) == {
        "batchId": "a/b",
        "devices": [
            {"serialNumber": "1", "oemManufacturerName": "Maker", "modelName": "Möd"},
            {"productKey": "0001234567890", "hardwareHash": "T0FB"},
        ],
    }


def test_devices_are_added_as_a_bare_array(stub: Stub) -> None:
    stub.answers((202, b"", {"Location": f"{BASE}/v1/customers/x/batchJobStatus/job%202/"}))
    assert stub.client.register(TENANT, "a/b", [Identity(serial_number="1")]) == "job 2"
    assert stub.asked()[:2] == ("POST", f"{OF_CUSTOMER}/deviceBatches/a%2Fb/devices")
    assert json.loads(stub.last.body) == [{"serialNumber": "1"}]
    assert stub.last.headers["MS-RequestId"] == "request-1"


@pytest.mark.parametrize(
    "location",
    [None, "", "/", "https://evil.example/batchJobStatus/1", "ä/ö"],
)
def test_an_upload_that_names_no_job_of_ours_is_unreadable(location: str | None) -> None:
    headers = {} if location is None else {"Location": location}
    with pytest.raises(errors.Unreadable):
        parse_accepted(Reply(status=202, headers=headers), BASE)


def test_a_job_and_each_of_its_devices(stub: Stub) -> None:
    stub.answers(
        (
            200,
            {
                "batchTrackingId": "job-1",
                "status": "finished",
                "startedTime": "2017-07-25T10:00:00",
                "completedTime": "2017-07-25T10:10:00",
                "devicesStatus": [
                    {
                        "serialNumber": "1",
                        "productKey": "2",
                        "deviceId": "3",
                        "status": "finished_with_errors",
                        "errorCode": "808",
                        "errorDescription": "ZtdDeviceAssignedToOtherTenant",
                    },
                    {"status": "in-progress", "errorCode": 0},
                    {"status": "Finished"},
                    {"status": "dancing"},
                    {},
                ],
            },
            {},
        )
    )
    job = stub.client.job(TENANT, JobId("job-1"))
    assert stub.asked() == ("GET", f"{OF_CUSTOMER}/batchJobStatus/job-1", {})
    assert job == ServiceJob(
        job_id=JobId("job-1"),
        status=JobStatus.FINISHED,
        devices=(
            JobDevice(
                status=JobStatus.FINISHED_WITH_ERRORS,
                serial_number="1",
                product_key_id="2",
                error_code="808",
                error_description="ZtdDeviceAssignedToOtherTenant",
            ),
            JobDevice(status=JobStatus.PROCESSING, error_code="0"),
            JobDevice(status=JobStatus.FINISHED),
            JobDevice(status=JobStatus.UNKNOWN),
            JobDevice(status=JobStatus.UNKNOWN),
        ),
    )
    assert job.done


@pytest.mark.parametrize("word", ["unknown", "queued", "processing", None, 7])
def test_a_job_that_has_not_ended_is_not_done(stub: Stub, word: object) -> None:
    stub.answers((200, {"status": word, "devicesStatus": None}, {}))
    job = stub.client.job(TENANT, JobId("j"))
    assert not job.done
    assert job.devices == ()


# Errors on the way


def test_a_refusal_carries_both_ids(stub: Stub) -> None:
    stub.answers(
        (
            403,
            {"code": "20002", "description": "no relationship", "data": [], "source": "x"},
            {"MS-RequestId": "theirs", "MS-CorrelationId": "c-1"},
        )
    )
    with pytest.raises(errors.Rejected) as raised:
        stub.client.batches(TENANT)
    assert raised.value.code == "20002"
    assert raised.value.request_id == "theirs"
    assert raised.value.correlation_id == "c-1"
    assert "theirs" in str(raised.value)


def test_a_delete_that_is_refused_names_the_request_that_was_sent(stub: Stub) -> None:
    stub.answers((429, {"statusCode": 429, "message": "Rate limit"}, {"Retry-After": "57"}))
    with pytest.raises(errors.Throttled) as raised:
        stub.client.delete(TENANT, "b", "d", "mine")
    assert raised.value.retry_after == 57
    assert raised.value.request_id == "mine"


# The guard of pages


def test_pages_that_lead_on_pass() -> None:
    guard = ListGuard("devices")
    for number in range(50):
        guard.check([str(number), "always"], Cursor(token=str(number)))
    guard.check(["last"], None)


def test_a_sticky_cursor_is_refused() -> None:
    guard = ListGuard("devices")
    guard.check(["1"], Cursor(token="t"))
    with pytest.raises(errors.Unreadable, match="pointed back"):
        guard.check(["2"], Cursor(token="t"))


@pytest.mark.parametrize("cursor", [None, Cursor(token="u")])
def test_a_page_that_repeats_is_refused(cursor: Cursor | None) -> None:
    guard = ListGuard("devices")
    guard.check(["1", "2"], Cursor(token="t"))
    with pytest.raises(errors.Unreadable, match="only what earlier pages"):
        guard.check(["2", "1"], cursor)


def test_empty_pages_without_end_are_refused() -> None:
    guard = ListGuard("devices")
    with pytest.raises(errors.Unreadable, match="in a row were empty"):
        for number in range(100):
            guard.check([], Cursor(token=str(number)))
    assert number == 10


def test_a_collection_may_be_empty() -> None:
    ListGuard("devices").check([], None)


# Clouds


def test_the_global_cloud_and_loopback_need_no_warning() -> None:
    assert warn_of_cloud(BASE, "https://login.microsoftonline.com") is None
    assert warn_of_cloud("https://localhost:8443", "https://localhost:8444") is None


@pytest.mark.parametrize(
    ("api", "login", "name"),
    [
        (BASE, "https://login.microsoftonline.us", "us-government"),
        ("https://partner.partnercenterapi.microsoftonline.cn", "", "china"),
        (BASE, "https://login.partner.microsoftonline.cn", "china"),
    ],
)
def test_another_cloud_is_warned_of(api: str, login: str, name: str) -> None:
    assert name in (warn_of_cloud(api, login) or "")


@given(st.text(min_size=1))
def test_a_segment_has_no_character_that_divides(text: str) -> None:
    assert not set(segment(text)) & set("/?#;&=+ \\:@")


def test_bodies_keep_the_letters_of_names() -> None:
    request = build_append(TENANT, "b", [Identity(model="Ünïcode 漢")])
    assert request.body == '[{"modelName": "Ünïcode 漢"}]'.encode()
