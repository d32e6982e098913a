"""Partner Center's REST API: builds each request, reads each answer. One attempt a call.

Every method is a pure `build_*`, one `Transport.send`, and a pure `parse_*`; what is no success
becomes the one right error in `refusal`. Nothing is tried again here, and nothing is decided about
a device. Wire facts: https://learn.microsoft.com/partner-center/developer/device-deployment and
its children, https://learn.microsoft.com/partner-center/developer/headers, read 2026-11.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, NewType, TypeVar
from urllib.parse import quote, unquote, urlsplit

from partner_tools.clients.answers import SentIds, is_same
from partner_tools.clients.refusals import END_OF_LIST, read_fault, refusal
from partner_tools.clients.transport import Reply, Request, Transport, origin, parse_json
from partner_tools.errors import InputError, Rejected, Unreadable
from partner_tools.homoglyphs import shown_name
from partner_tools.json_forms import stated
from partner_tools.model import Customer, Identity, Registration, Target, TenantId

T = TypeVar("T")
JobId = NewType("JobId", str)

CUSTOMERS_A_PAGE = 500
CONTINUATION = "MS-ContinuationToken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where the next page begins: a continuation token, or a link with the headers to replay."""

    token: str | None = None
    link: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePage(Generic[T]):
    """One page of a collection. `cursor` is None on the last one."""

    items: tuple[T, ...]
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBatch:
    """A batch as its uploader named it. `devices_count` may be stale, and is only a hint."""

    batch_id: str
    devices_count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The service's confirmation of a removal; ids as answered, else as sent."""

    status: int
    request_id: str
    correlation_id: str


class JobStatus(StrEnum):
    """How far an upload, or one device of it, has come."""

    UNKNOWN = "unknown"
    QUEUED = "queued"
    PROCESSING = "processing"
    FINISHED = "finished"
    FINISHED_WITH_ERRORS = "finished_with_errors"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDevice:
    """The result of one uploaded device."""

    status: JobStatus
    serial_number: str | None = None
    product_key_id: str | None = None
    error_code: str | None = None
    error_description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceJob:
    """An upload. A job can be `finished` while devices of it failed: look at each of them."""

    job_id: JobId
    status: JobStatus
    devices: tuple[JobDevice, ...]

    @property
    def done(self) -> bool:
        """Whether the service will do no more."""
        return self.status in {JobStatus.FINISHED, JobStatus.FINISHED_WITH_ERRORS}


class PartnerCenter:
    """The operations of one partner account.

    `ids` mints request ids; `correlation_id` ties the requests of one command together; `now` is
    the wall clock (UTC), for Retry-After dates. Every method raises Unsent, Unanswered,
    Redirected (transport), Unauthorized, Throttled, Unavailable, Rejected (`refusal`), Unreadable.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        ids: Callable[[], str],
        correlation_id: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transport = transport
        self._ids = ids
        self._correlation_id = correlation_id
        self._now = now
        self._sent = SentIds()

    def customer(self, tenant_id: str) -> Customer:
        """The customer with this tenant id."""
        return parse_customer(self._read(build_customer(tenant_id)), tenant_id)

    def customers(
        self, *, domain_prefix: str | None = None, cursor: Cursor | None = None
    ) -> ResourcePage[Customer]:
        """A page of the partner's customers, at most 500.

        The service's filter is a prefix of the default domain: compare the result exactly.
        """
        try:
            reply = self._read(build_customers(domain_prefix=domain_prefix, cursor=cursor))
        except Rejected as rejection:
            if cursor and (rejection.status, rejection.code) == (400, END_OF_LIST):
                return ResourcePage(items=())
            raise
        return parse_customers(reply, self._transport.base_url)

    def batches(self, tenant_id: str, cursor: Cursor | None = None) -> ResourcePage[DeviceBatch]:
        """The customer's batches. Documented as one page; a token is followed all the same."""
        return parse_batches(self._read(build_batches(tenant_id, cursor)), tenant_id)

    def devices(
        self, tenant_id: str, batch_id: str, cursor: Cursor | None = None
    ) -> ResourcePage[Registration]:
        """A page of a batch's devices, at most 100."""
        reply = self._read(build_devices(tenant_id, batch_id, cursor))
        return parse_devices(reply, tenant_id, batch_id)

    def delete(
        self,
        tenant_id: str,
        batch_id: str,
        device_id: str,
        request_id: str,
        correlation_id: str | None = None,
    ) -> Receipt:
        """Remove one registration. Returns only what confirms it.

        `request_id` stays the same while no answer to it came, and is new after any answer.
        """
        request = self._signed(
            build_delete(tenant_id, batch_id, device_id), request_id, correlation_id
        )
        return parse_delete(self._exchange(request), request)

    def register(
        self,
        tenant_id: str,
        batch_id: str,
        devices: Sequence[Identity],
        request_id: str | None = None,
        *,
        is_new: bool = False,
    ) -> JobId:
        """Register devices in an existing batch, or in a new one (app+user only).

        Accepted is not done: ask `job`.
        """
        build = build_create_batch if is_new else build_append
        request = build(tenant_id, batch_id, devices)
        reply = self._exchange(self._signed(request, request_id or self._ids()))
        return parse_accepted(reply, self._transport.base_url)

    def job(self, tenant_id: str, job_id: JobId) -> ServiceJob:
        """How far an upload has come."""
        return parse_job(self._read(build_job(tenant_id, job_id)), job_id)

    def token(self) -> str | None:
        """The token that the next request would carry. May ask for one."""
        return self._transport.token()

    def _read(self, request: Request) -> Reply:
        return self._exchange(self._signed(request, self._ids()))

    def _signed(
        self, request: Request, request_id: str, correlation_id: str | None = None
    ) -> Request:
        headers = {
            "Accept": "application/json",
            "MS-RequestId": request_id,
            "MS-CorrelationId": correlation_id or self._correlation_id,
            "X-Locale": "en-US",
            "MS-PartnerCenter-Application": "partner-tools",
            **request.headers,
        }
        return replace(request, headers=headers)

    def _exchange(self, request: Request) -> Reply:
        request_id = request.headers["MS-RequestId"]
        self._sent.add(request_id)
        reply = self._transport.send(request)
        if self._sent.is_of_another(reply.header("MS-RequestId"), request_id):
            raise _unreadable(reply, f"it answers another request than {request_id}")
        if not 200 <= reply.status < 300:
            raise refusal(reply, request_id, now=self._now(), method=request.method)
        return reply


def segment(text: str) -> str:
    """The text as one path segment: it decodes to itself, and stays one segment on the way.

    >>> segment("Repairs 4/2026 #7")
    'Repairs%204%2F2026%20%237'
    >>> segment("..")
    '%2E%2E'

    Raises InputError for an empty text, which would address what lies above it.
    """
    if not text:
        raise InputError(
            "a batch, a device or a customer without an id cannot be addressed",
            rule="empty-id",
            remedy="Plan again: an id got lost between Partner Center and the plan.",
        )
    quoted = quote(text, safe="", errors="surrogatepass")
    return quoted if text.strip(".") else quoted.replace(".", "%2E")


def build_customer(tenant_id: str) -> Request:
    return Request(method="GET", url=_below(tenant_id))


def build_customers(*, domain_prefix: str | None = None, cursor: Cursor | None = None) -> Request:
    """GET a page of customers: the first, the one that a link names, or the one after a token."""
    if cursor and cursor.link:
        return Request(method="GET", url=cursor.link, headers=dict(cursor.headers))
    query = [("size", str(CUSTOMERS_A_PAGE))]
    if domain_prefix is not None:
        wanted = {"Field": "Domain", "Value": domain_prefix, "Operator": "starts_with"}
        # The documented samples, and Microsoft's SDK, send size 0 with a filter.
        query = [("size", "0"), ("filter", json.dumps(wanted))]
    if cursor is not None:
        query.append(("seekOperation", "next"))
    headers = _token_header(cursor)
    return Request(method="GET", url="/v1/customers", headers=headers, query=tuple(query))


def build_batches(tenant_id: str, cursor: Cursor | None = None) -> Request:
    return Request(
        method="GET", url=_below(tenant_id, "deviceBatches"), headers=_token_header(cursor)
    )


def build_devices(tenant_id: str, batch_id: str, cursor: Cursor | None = None) -> Request:
    return Request(
        method="GET",
        url=_below(tenant_id, "deviceBatches", batch_id, "devices"),
        headers=_token_header(cursor),
    )


def build_delete(tenant_id: str, batch_id: str, device_id: str) -> Request:
    """DELETE one device of a batch: there is no bulk form."""
    return Request(
        method="DELETE",
        url=_below(tenant_id, "deviceBatches", batch_id, "devices", device_id),
        headers={"Content-Type": "application/json"},
    )


def build_create_batch(tenant_id: str, batch_id: str, devices: Sequence[Identity]) -> Request:
    content = {"batchId": batch_id, "devices": _write_devices(devices)}
    return _post(_below(tenant_id, "deviceBatches"), content)


def build_append(tenant_id: str, batch_id: str, devices: Sequence[Identity]) -> Request:
    """POST devices to a batch: a bare array, even of one."""
    url = _below(tenant_id, "deviceBatches", batch_id, "devices")
    return _post(url, _write_devices(devices))


def build_job(tenant_id: str, job_id: JobId) -> Request:
    return Request(method="GET", url=_below(tenant_id, "batchJobStatus", job_id))


def _below(tenant_id: str, *parts: str) -> str:
    return "/v1/customers/" + "/".join(segment(part) for part in (tenant_id, *parts))


def _token_header(cursor: Cursor | None) -> Mapping[str, str]:
    return {CONTINUATION: cursor.token} if cursor and cursor.token else {}


def _post(url: str, content: object) -> Request:
    return Request(
        method="POST",
        url=url,
        headers={"Content-Type": "application/json; charset=utf-8"},
        body=json.dumps(content, ensure_ascii=False).encode("utf-8"),
    )


def _write_devices(devices: Iterable[Identity]) -> list[dict[str, str]]:
    return [
        stated(
            serialNumber=device.serial_number,
            productKey=device.product_key_id,
            hardwareHash=device.hardware_hash,
            oemManufacturerName=device.manufacturer,
            modelName=device.model,
        )
        for device in devices
    ]


def parse_customer(reply: Reply, tenant_id: str) -> Customer:
    customer = _read_customer(_object(parse_json(reply), reply), reply)
    if not is_same(tenant_id, customer.tenant_id):
        raise _unreadable(reply, f"it is about the customer {customer.tenant_id!r}")
    return customer


def parse_customers(reply: Reply, base_url: str) -> ResourcePage[Customer]:
    content = _object(parse_json(reply), reply)
    items = tuple(_read_customer(item, reply) for item in _items(content, reply))
    return ResourcePage(items=items, cursor=_linked_cursor(content, reply, base_url, "/customers"))


def parse_batches(reply: Reply, tenant_id: str) -> ResourcePage[DeviceBatch]:
    content = _object(parse_json(reply), reply)
    _check_links(content, reply, tenant_id)
    items = tuple(_read_batch(item, tenant_id, reply) for item in _counted_items(content, reply))
    return ResourcePage(items=items, cursor=_token_cursor(content, reply))


def parse_devices(reply: Reply, tenant_id: str, batch_id: str) -> ResourcePage[Registration]:
    content = _object(parse_json(reply), reply)
    _check_links(content, reply, tenant_id, batch_id)
    items = []
    for item in _counted_items(content, reply):
        _check_links(item, reply, tenant_id, batch_id)
        items.append(_read_registration(item, batch_id, reply))
    return ResourcePage(items=tuple(items), cursor=_token_cursor(content, reply))


def parse_delete(reply: Reply, request: Request) -> Receipt:
    """The receipt of a removal: 204, or 200 with nothing in it that says otherwise."""
    if reply.status not in (200, 204):
        raise _unreadable(reply, "that is not the confirmation of a removal")
    if reply.status == 200 and reply.body.decode("utf-8-sig", errors="replace").strip():
        if any(read_fault(reply)):
            raise _unreadable(reply, "its body is an error")
        if parse_json(reply) is None:
            raise _unreadable(reply, "its body is null, which confirms nothing")
    return Receipt(
        status=reply.status,
        request_id=reply.header("MS-RequestId") or request.headers["MS-RequestId"],
        correlation_id=reply.header("MS-CorrelationId") or request.headers["MS-CorrelationId"],
    )


def parse_accepted(reply: Reply, base_url: str) -> JobId:
    """The job that an upload became: the last path segment of the Location header.

    The header is relative, without /v1, in every form that was seen.
    """
    location = reply.header("Location") or ""
    if "://" in location and origin(location) != origin(base_url):
        raise _unreadable(reply, f"its Location names another host, {origin(location)}")
    named = unquote(urlsplit(location).path.rstrip("/").rpartition("/")[2])
    if not named or not location.isascii():
        raise _unreadable(reply, "it names no job to ask after in its Location header")
    return JobId(named)


def parse_job(reply: Reply, job_id: JobId) -> ServiceJob:
    """The state of an upload and of each of its devices."""
    content = _object(parse_json(reply), reply)
    devices = content.get("devicesStatus")
    if devices is None:
        devices = []
    if not isinstance(devices, list):
        raise _unreadable(reply, "its devicesStatus is no list")
    if not is_same(job_id, _text(content, "batchTrackingId", reply)):
        raise _unreadable(reply, "it is about another job")
    return ServiceJob(
        job_id=job_id,
        status=_read_status(content.get("status")),
        devices=tuple(_read_job_device(_object(item, reply), reply) for item in devices),
    )


def _read_customer(item: Mapping[str, Any], reply: Reply) -> Customer:
    profile = _object(item.get("companyProfile") or {}, reply)
    tenant = _text(item, "id", reply) or _text(profile, "tenantId", reply)
    if tenant is None:
        raise _unreadable(reply, "a customer in it has no id")
    return Customer(
        tenant_id=TenantId(tenant),
        # For people to read; nothing is addressed by them.
        domain=shown_name(_text(profile, "domain", reply)),
        name=shown_name(_text(profile, "companyName", reply)),
    )


def _read_batch(item: Mapping[str, Any], tenant_id: str, reply: Reply) -> DeviceBatch:
    batch_id = _text(item, "id", reply)
    if batch_id is None:
        raise _unreadable(reply, "a batch in it has no id")
    _check_links(item, reply, tenant_id, batch_id)
    count = item.get("devicesCount")
    return DeviceBatch(
        batch_id=batch_id,
        devices_count=count if type(count) is int else None,
    )


def _read_registration(item: Mapping[str, Any], batch_id: str, reply: Reply) -> Registration:
    device_id = _text(item, "id", reply)
    if device_id is None:
        raise _unreadable(reply, "a device in it has no id")
    operations = item.get("allowedOperations")
    if operations is not None and not (
        isinstance(operations, list) and all(isinstance(word, str) for word in operations)
    ):
        raise _unreadable(reply, "its allowedOperations are no list of words")
    return Registration(
        target=Target(batch_id=batch_id, device_id=device_id),
        serial_number=_text(item, "serialNumber", reply),
        manufacturer=_text(item, "oemManufacturerName", reply),
        model=_text(item, "modelName", reply),
        product_key_id=_text(item, "productKey", reply),
        hardware_hash=_text(item, "hardwareHash", reply),
        uploaded_at=_text(item, "uploadedDate", reply),
        allowed_operations=None if operations is None else tuple(operations),
    )


def _read_job_device(item: Mapping[str, Any], reply: Reply) -> JobDevice:
    code = item.get("errorCode")
    return JobDevice(
        status=_read_status(item.get("status")),
        serial_number=_text(item, "serialNumber", reply),
        product_key_id=_text(item, "productKey", reply),
        error_code=None if code in (None, "") else str(code),
        error_description=_text(item, "errorDescription", reply),
    )


def _read_status(word: object) -> JobStatus:
    """The status word; the prose of the documentation also knows `in-progress`."""
    spelt = str(word).lower().replace("-", "_")
    if spelt == "in_progress":
        return JobStatus.PROCESSING
    return JobStatus(spelt) if spelt in set(JobStatus) else JobStatus.UNKNOWN


def _object(value: Any, reply: Reply) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _unreadable(reply, "an object was expected in it")
    return value


def _items(content: Mapping[str, Any], reply: Reply) -> list[Mapping[str, Any]]:
    items = content.get("items")
    if items is None and content.get("totalCount") == 0:
        return []
    if not isinstance(items, list):
        raise _unreadable(reply, "it holds no list of items")
    return [_object(item, reply) for item in items]


def _counted_items(content: Mapping[str, Any], reply: Reply) -> list[Mapping[str, Any]]:
    """The items of a page whose `totalCount`, where it states one, is theirs.

    It counts the page, not the list (`ResourceCollection` of Microsoft's .NET SDK, read 2026-11).
    """
    items, count = _items(content, reply), content.get("totalCount")
    if count is not None and (type(count) is not int or count != len(items)):
        raise _unreadable(reply, f"it counts {count!r} items and brings {len(items)}")
    return items


_PLACE = re.compile(
    r"/customers/([0-9a-f-]{36})(?:/deviceBatches/([^/]+)(?:/devices.*)?)?", re.IGNORECASE
)


def _check_links(
    item: Mapping[str, Any], reply: Reply, tenant_id: str, batch_id: str | None = None
) -> None:
    """Raise Unreadable where the item's own address is below another customer or batch.

    Batch ids were seen there with and without percent-encoding; one that holds a slash is not
    compared, for where it ends cannot be told.
    """
    own = item.get("links")
    for link in (item.get("devicesLink"), own.get("self") if isinstance(own, dict) else None):
        uri = link.get("uri") if isinstance(link, dict) else None
        place = _PLACE.search(uri) if isinstance(uri, str) else None
        if place is None:
            continue
        if not is_same(tenant_id, place[1]):
            raise _unreadable(reply, f"it is about the customer {place[1]!r}")
        named, wanted = place[2] or "", (batch_id or "").strip().casefold()
        spellings = {text.strip().casefold() for text in (named, unquote(named))}
        if named and wanted and "/" not in wanted and wanted not in spellings:
            raise _unreadable(reply, f"it is about the batch {named!r}")


def _text(item: Mapping[str, Any], name: str, reply: Reply) -> str | None:
    """A text exactly as it is; None where it is absent, null or empty."""
    found = item.get(name)
    if found is None or found == "":
        return None
    if not isinstance(found, str):
        raise _unreadable(reply, f"its {name} is no text")
    return found


def _token_cursor(content: Mapping[str, Any], reply: Reply) -> Cursor | None:
    """The next page of batches and devices, whose links are not to be trusted: not encoded."""
    link = _next_link(content, reply)
    token = _token(content, reply) or dict(_replayed(link, reply)).get(CONTINUATION)
    if token is None and link.get("uri"):
        raise _unreadable(reply, "it says that a page follows, but not how to ask for it")
    return Cursor(token=token) if token else None


def _linked_cursor(
    content: Mapping[str, Any], reply: Reply, base_url: str, collection: str
) -> Cursor | None:
    """The next page of customers: the link, else the token."""
    link, token = _next_link(content, reply), _token(content, reply)
    uri = link.get("uri")
    if not uri:
        return Cursor(token=token) if token else None
    headers = dict(_replayed(link, reply))
    if token and CONTINUATION not in headers:
        headers[CONTINUATION] = token
    return Cursor(
        token=headers.get(CONTINUATION),
        link=_local_link(uri, reply, base_url, collection),
        headers=tuple(headers.items()),
    )


def _token(content: Mapping[str, Any], reply: Reply) -> str | None:
    token = _text(content, "continuationToken", reply)
    return None if token is None else _header_text(token, reply)


def _next_link(content: Mapping[str, Any], reply: Reply) -> Mapping[str, Any]:
    links = _object(content.get("links") or {}, reply)
    return _object(links.get("next") or {}, reply)


def _replayed(link: Mapping[str, Any], reply: Reply) -> list[tuple[str, str]]:
    """The headers of a link that may be sent back: its own, never those that carry identity."""
    headers = link.get("headers") or []
    if not isinstance(headers, list):
        raise _unreadable(reply, "the headers of its next link are no list")
    pairs = [_object(header, reply) for header in headers]
    return [
        (CONTINUATION, _header_text(pair.get("value"), reply))
        for pair in pairs
        if str(pair.get("key")).lower() == CONTINUATION.lower() and pair.get("value")
    ]


def _header_text(text: object, reply: Reply) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"[!-~]([ -~]*[!-~])?", text):
        raise _unreadable(reply, "its continuation token cannot be sent in a header")
    return text


def _local_link(uri: object, reply: Reply, base_url: str, collection: str) -> str:
    """A next link as a path below the base URL.

    `/customers?…` and `/v1/customers?…` were both in production
    (https://github.com/microsoft/Partner-Center-PowerShell/issues/379, read 2026-11).
    """
    if not isinstance(uri, str) or not re.fullmatch(r"[!-~]+", uri) or "#" in uri:
        raise _unreadable(reply, "its next link is no address")
    if "://" in uri.split("?")[0]:
        if origin(uri) != origin(base_url):
            raise _unreadable(reply, f"its next link names another host, {origin(uri)}")
        uri = "/" + uri.split("://", 1)[1].partition("/")[2]
    path, mark, query = uri.partition("?")
    path = re.sub(r"/+", "/", "/" + path)
    if path.lower() not in {collection, f"/v1{collection}"}:
        raise _unreadable(reply, "its next link leads to another collection")
    return f"/v1{collection}{mark}{query}"


def _unreadable(reply: Reply, reason: str) -> Unreadable:
    return Unreadable(
        f"Partner Center's answer ({reply.status}) is not what it promises: {reason}",
        remedy="Nothing was concluded from it. Try again; if it stays so, report it to Partner "
        "Center support with the request id.",
        status=reply.status,
        request_id=reply.header("MS-RequestId"),
        correlation_id=reply.header("MS-CorrelationId"),
    )


NATIONAL_HOSTS: Mapping[str | None, str] = {
    "login.microsoftonline.us": "us-government",
    "partner.partnercenterapi.microsoftonline.cn": "china",
    "login.partner.microsoftonline.cn": "china",
}
"""The hosts of clouds other than the global one, whose API host the US Government cloud uses
(https://learn.microsoft.com/partner-center/developer/partner-center-rest-urls, read 2026-11)."""


def warn_of_cloud(base_url: str, login_url: str) -> str | None:
    """Return a warning for clouds other than the global one; None for that and loopback."""
    for url in (base_url, login_url):
        if cloud := NATIONAL_HOSTS.get(urlsplit(url).hostname):
            return (
                "Partner Center's device operations are documented for the global cloud only; "
                f"whether they work in {cloud} is not known."
            )
    return None
