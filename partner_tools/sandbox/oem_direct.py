"""An OEM Direct API as a service of the sandbox: one operation, three ways to answer.

No such API is public. This one speaks the wire profile that it is given, in JSON or XML, removes
registrations of the other services of the sandbox, and never lets a tenant in: with one, the real
operation would register devices. This tripwire reads a request without any profile and shares no
code with the client's guard, so that one does not hide what the other misses.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from random import Random
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree

from partner_tools.clients.oem.profile import Profile, ResponseMode
from partner_tools.json_forms import camel
from partner_tools.sandbox.faults import Fault, ItemFault, ItemKind
from partner_tools.sandbox.login import Mint
from partner_tools.sandbox.seed import SeedDevice
from partner_tools.sandbox.state import ZTD_NAMES, Removal, State, Ztd, identity_keys
from partner_tools.sandbox.wire import (
    Call,
    Problem,
    Request,
    Response,
    json_response,
    new_id,
    text_response,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedDevice:
    """One device of a call, as it was named."""

    item_ref: str = ""
    pkid: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""

    @property
    def key(self) -> str | None:
        """The lookup key: the product key id, else the whole tuple."""
        device = SeedDevice(
            id=self.item_ref,
            product_key=self.pkid,
            serial_number=self.serial,
            manufacturer=self.manufacturer,
            model_name=self.model,
        )
        return next(iter(identity_keys(device)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The result of one device: no number and no name where it was removed."""

    requested: RequestedDevice
    number: str = ""
    name: str = ""
    fault: ItemKind | None = None

    @property
    def ok(self) -> bool:
        """Whether the registration is gone by this call."""
        return not self.number and not self.name


def read_devices(profile: Profile, body: bytes) -> list[RequestedDevice] | None:
    """The devices of a call, None for a body that the profile does not describe."""
    try:
        rows = _xml_rows(profile, body) if profile.is_xml else _json_rows(profile, body)
    except (ValueError, ElementTree.ParseError):
        return None
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        return None
    names = [(one.name, getattr(profile.fields, one.name)) for one in fields(RequestedDevice)]
    texts = [
        {name: row[key] for name, key in names if isinstance(row.get(key), str)} for row in rows
    ]
    return [RequestedDevice(**each) for each in texts]


def _json_rows(profile: Profile, body: bytes) -> list[Any] | None:
    value = json.loads(body.decode("utf-8"))
    key = profile.body.devices_key
    rows = value.get(key) if key and isinstance(value, Mapping) else value
    return rows if isinstance(rows, list) else None


def _xml_rows(profile: Profile, body: bytes) -> list[Any] | None:
    root = ElementTree.fromstring(body)  # noqa: S314 - expat without network
    if profile.xml.namespace and root.tag != f"{{{profile.xml.namespace}}}{profile.xml.root}":
        return None
    return [
        {child.tag.rpartition("}")[2]: child.text or "" for child in element}
        for element in root.iter()
        if element.tag.rpartition("}")[2] == profile.xml.device
    ]


def write(profile: Profile, status: int, value: Mapping[str, Any] | list[Any]) -> Response:
    """An answer in the profile's media type."""
    if not profile.is_xml:
        return json_response(status, value)
    root = _element("Response", value)
    text = '<?xml version="1.0" encoding="utf-8"?>' + ElementTree.tostring(root, "unicode")
    return text_response(status, text, profile.media_type.split(";")[0])


def _element(name: str, value: Any) -> ElementTree.Element:
    element = ElementTree.Element(name)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            for each in inner if isinstance(inner, list) else [inner]:
                element.append(_element(key, each))
    else:
        element.text = "" if value is None else str(value)
    return element


def results(profile: Profile, done: Sequence[Done]) -> Any:
    """The per-device results under the profile's path and names, in the order of the call."""
    rows = [row for each in done for row in _rows(profile, each)]
    return _nested(profile.response.items_path, {"Result": rows} if profile.is_xml else rows)


def _rows(profile: Profile, done: Done) -> list[dict[str, Any]]:
    """Under the profile's names. No OEM's wording of a failure is public."""
    response, requested, status = profile.response, done.requested, profile.response.status_field
    row: dict[str, Any] = {}
    if requested.item_ref:
        row[response.fields.item_ref] = requested.item_ref
    if requested.pkid:
        row[response.fields.pkid] = requested.pkid
    elif requested.serial:
        row[response.fields.serial] = requested.serial
    row[status] = response.ok_values[0] if done.ok else "Failed"
    if not done.ok:
        row[response.code_field or "ErrorCode"] = done.number
        row[response.message_field or "ErrorDescription"] = done.name
    match done.fault:
        case ItemKind.MISSING:
            return []
        case ItemKind.NO_STATUS:
            del row[status]
        case ItemKind.EMPTY_STATUS:
            row[status] = ""
        case ItemKind.PENDING:
            row[status] = response.pending_values[0]
        case ItemKind.TWICE:
            return [row, {**row, status: "Failed"}]
    return [row]


def _nested(path: str, value: Any) -> Any:
    """The value below the names of a path."""
    for name in reversed([name for name in path.split(".") if name]):
        value = {name: value}
    return value


def _refused(requested: RequestedDevice, error: Ztd) -> Done:
    return Done(requested=requested, number=error, name=ZTD_NAMES[error])


_TENANT = re.compile(r"t[\W_]*e[\W_]*n[\W_]*a[\W_]*n[\W_]*t", re.IGNORECASE)
_BODY = re.compile(_TENANT.pattern + r"[\W_]*(id|domain)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """A tenant that was not blank: with it the operation would have registered."""

    at: float
    where: str
    value: str
    path: str
    request_id: str | None
    correlation_id: str | None


def tenants(request: Request, known: Collection[str] = ()) -> list[tuple[str, str]]:
    """Where a request names a tenant, and which; empty for a deregistration.

    `known` are ids and domains of tenants: they are found under any name, but for the caller's
    token, which tells whose it is.
    """
    path, _, query = request.target.partition("?")
    named = [
        *((f"header {name}", name, value) for name, value in request.headers.items()),
        *((f"query {name}", name, value) for name, value in parse_qsl(query)),
    ]
    found = [(where, value) for where, name, value in named if _TENANT.search(name) and value]
    if _TENANT.search(unquote(path)):
        found.append(("path", unquote(path)))
    return [*found, *_in_body(request.body), *_known(request, known)]


def _known(request: Request, known: Collection[str]) -> Iterator[tuple[str, str]]:
    headers = (value for name, value in request.headers.items() if name.lower() != "authorization")
    texts = {
        "address": unquote(unquote(request.target)),
        "headers": "\n".join(headers),
        "body": request.body.decode("utf-8", "replace"),
    }
    for where, text in texts.items():
        for tenant in known:
            if _plain(tenant) in _plain(text):
                yield where, tenant


def _plain(text: str) -> str:
    return text.casefold().replace("-", "")


def _in_body(body: bytes) -> Iterator[tuple[str, str]]:
    if not body.strip():
        return
    for read in (_json_leaves, _xml_leaves):
        try:
            leaves = list(read(body))
        except (ValueError, RecursionError, ElementTree.ParseError):
            continue
        for name, value in leaves:
            if _TENANT.search(name) and value:
                yield f"body {name}", value
        return
    if _BODY.search(body.decode("utf-8", "replace")):
        yield "a body that is neither JSON nor XML", body.decode("utf-8", "replace")[:100]


def _json_leaves(body: bytes) -> Iterator[tuple[str, str]]:
    """Every property, those that a parser would drop as duplicates included."""
    pairs: list[tuple[str, Any]] = []
    json.loads(body.decode("utf-8-sig"), object_pairs_hook=pairs.extend)
    return ((name, "" if value in (None, "") else str(value)) for name, value in pairs)


def _xml_leaves(body: bytes) -> Iterator[tuple[str, str]]:
    for element in ElementTree.fromstring(body).iter():  # noqa: S314 - expat without network
        name = element.tag.rpartition("}")[2]
        yield name, "".join(element.itertext())
        for attribute, value in element.attrib.items():
            if not attribute.endswith("}nil"):
                yield f"{name} {attribute}", value


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Accepted work: what became of it is known, and told from `ready_at` on."""

    done: tuple[Done, ...]
    ready_at: float


@dataclass(eq=False)
class OemDirect:
    """Answers as a wire profile says. `work_seconds` is how long accepted work takes.

    Where the profile wants a client certificate, plain HTTP is refused here, and the TLS listener
    is to demand one. `faults` are the item faults of the day.
    """

    name = "oemDirect"

    state: State
    profile: Profile
    mint: Mint
    clock: Callable[[], float]
    faults: Callable[[], Iterable[ItemFault]] = tuple
    work_seconds: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        self._removing = threading.Lock()
        self._hits: Counter[tuple[ItemFault, str]] = Counter()
        self._random = Random(self.seed)  # noqa: S311 - ids of a sandbox, not secrets
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._trips: list[Trip] = []
        self._detail_path = self.profile.poll.detail_path or "/batches/{id}"
        self._tenants = tuple(
            name
            for customer in self.state.seed.customers
            for name in (customer.tenant_id, customer.domain, *customer.custom_domains)
        )

    @property
    def secure_only(self) -> bool:
        """Whether the wire wants a client certificate."""
        return self.profile.auth.needs_certificate

    @property
    def trips(self) -> tuple[Trip, ...]:
        """Every tenant that came in, in order. Empty is what it should be."""
        with self._lock:
            return tuple(self._trips)

    def behave(self) -> None:
        """Count the hits of item faults anew."""
        with self._removing:
            self._hits.clear()

    def read(self, request: Request) -> Call:
        found = tenants(request, self._tenants)
        if found:
            return Call(operation="register", act=lambda _fault: self._tripped(request, found))
        operation, act = self._route(request)

        def permitted(_fault: Fault | None) -> Response:
            return self._objection(request) or act()

        return Call(operation=operation, act=permitted)

    def problem(self, problem: Problem) -> Response:
        """An injected error, in the names that the profile reads."""
        response = self.profile.response
        value = {
            response.code_field or "ErrorCode": str(problem.code or problem.status),
            response.message_field or "ErrorDescription": problem.text,
        }
        return write(self.profile, problem.status, value)

    def expired(self) -> Response:
        return self.problem(Problem(status=401, description="The access token has expired."))

    def stamp(self, request: Request, response: Response) -> Response:
        """The ids that came, under the names that they came with."""
        names = filter(None, (self.profile.request_id_header, self.profile.correlation_header))
        echoed = [(name, request.header(name) or "") for name in names]
        return response.with_headers(*((name, value) for name, value in echoed if value))

    def _route(self, request: Request) -> tuple[str, Callable[[], Response]]:
        profile, preflight, poll = self.profile, self.profile.preflight, self.profile.poll
        path = urlsplit(request.target).path
        called = (request.method, path)
        if called == (profile.method, profile.path):
            return "deregister", lambda: self._deregister(request)
        if preflight.path and called == (preflight.method, preflight.path):
            return "validate", lambda: self._validate(request)
        if request.method == "GET":
            if path == "/tripwire":
                return "tripwire", self._show_trips
            if poll.list_path and path == poll.list_path:
                return "list", self._list
            if job_id := self._job_id(path):
                return "detail", lambda: self._detail(job_id)
        return "unknown", lambda: self.problem(Problem(status=404))

    def _job_id(self, path: str) -> str | None:
        before, _, after = self._detail_path.partition("{id}")
        if not path.startswith(before) or not path.endswith(after):
            return None
        return path[len(before) : len(path) - len(after)] or None

    def _objection(self, request: Request) -> Response | None:
        """The refusal of a caller without a certificate or token that the wire wants."""
        auth = self.profile.auth
        if auth.needs_certificate and not request.base_url.startswith("https:"):
            text = "A client certificate is required."
            return self.problem(Problem(status=403, description=text))
        claims = self.mint.read(request.bearer) if auth.needs_token else None
        if auth.needs_token and (claims is None or self.mint.expired(claims)):
            return self.expired()
        return None

    def _deregister(self, request: Request) -> Response:
        requested = self._asked(request)
        if isinstance(requested, Response):
            return requested
        done = tuple(self._remove(each) for each in requested)
        mode, poll = self.profile.response.mode, self.profile.poll
        if mode is ResponseMode.SYNC:
            return write(self.profile, 200, results(self.profile, done))
        with self._lock:
            job_id = new_id(self._random)
            self._jobs[job_id] = Job(done=done, ready_at=self.clock() + self.work_seconds)
        if mode is ResponseMode.ACK_LIST:
            return write(self.profile, 202, _nested(poll.id_path or "Status", job_id))
        location = request.base_url + self._detail_path.replace("{id}", quote(job_id, safe=""))
        return Response(status=202, headers=((poll.location_header, location),))

    def _remove(self, requested: RequestedDevice) -> Done:
        """Remove a device from whichever customer holds it, or say why not."""
        with self._removing:
            fault = self._fault(requested)
            if fault is None:
                return self._removed(requested)
            if fault.kind is ItemKind.CODE:
                return Done(requested=requested, number=fault.number, name=fault.name)
            return replace(self._removed(requested), fault=fault.kind)

    def _removed(self, requested: RequestedDevice) -> Done:
        if requested.key is None:
            return _refused(requested, Ztd.MISSING_IDENTITY)
        places = self.state.places(requested.key)
        if not places:
            unknown = self.state.seed.unknown_to_autopilot
            never = not unknown.isdisjoint({requested.serial, requested.pkid})
            return _refused(requested, Ztd.NOT_FOUND if never else Ztd.NOT_REGISTERED)
        if len(places) > 1:
            return _refused(requested, Ztd.NOT_UNIQUE)
        removal = self.state.remove(*places[0], lag=0.0)
        if removal is Removal.DONE:
            return Done(requested=requested)
        refused = removal in (Removal.NOT_OWNED, Removal.NOT_ALLOWED)
        error = Ztd.REGISTERED_BY_OTHER_TENANT if refused else Ztd.NOT_REGISTERED
        return _refused(requested, error)

    def _fault(self, requested: RequestedDevice) -> ItemFault | None:
        for fault in self.faults():
            named = fault.serials & {requested.serial, requested.pkid}
            if not named:
                continue
            hits = (fault, min(named))
            if fault.times is not None and self._hits[hits] >= fault.times:
                continue
            self._hits[hits] += 1
            return fault
        return None

    def _validate(self, request: Request) -> Response:
        """Say which devices are named well enough: it changes nothing."""
        requested = self._asked(request)
        if isinstance(requested, Response):
            return requested
        done = [
            _refused(each, Ztd.MISSING_IDENTITY) if each.key is None else Done(requested=each)
            for each in requested
        ]
        return write(self.profile, 200, results(self.profile, done))

    def _asked(self, request: Request) -> list[RequestedDevice] | Response:
        """The devices, or the refusal of a body that is not what the profile says."""
        requested = read_devices(self.profile, request.body)
        kind = (request.header("Content-Type") or "").split(";")[0].strip()
        if not requested or kind != self.profile.media_type.split(";")[0].strip():
            return self._malformed("InvalidZtdRequestBody")
        if len(requested) > self.profile.batch_limit:
            return self._malformed(f"at most {self.profile.batch_limit} devices a call")
        return requested

    def _malformed(self, text: str) -> Response:
        return self.problem(Problem(status=400, code="801", description=text))

    def _list(self) -> Response:
        now = self.clock()
        with self._lock:
            ready = [name for name, job in self._jobs.items() if job.ready_at <= now]
        return write(self.profile, 200, {"Acknowledgements": {"Id": ready}})

    def _detail(self, job_id: str) -> Response:
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            return self.problem(Problem(status=404))
        path = self.profile.poll.status_path
        if job.ready_at > self.clock():
            return write(self.profile, 200, _nested(path or "Status", "in_progress"))
        ended = "finished" if all(each.ok for each in job.done) else "finished_with_errors"
        found: Any = results(self.profile, job.done)
        if isinstance(found, dict) and path:
            found = {**_nested(path, ended), **found}
        return write(self.profile, 200, found)

    def _tripped(self, request: Request, found: list[tuple[str, str]]) -> Response:
        """Note it and refuse: the real operation would have registered the devices."""
        request_id = request.header(self.profile.request_id_header or "MS-RequestId")
        correlation_id = request.header(self.profile.correlation_header or "MS-CorrelationId")
        with self._lock:
            self._trips += [
                Trip(
                    at=self.clock(),
                    where=where,
                    value=value,
                    path=request.path,
                    request_id=request_id,
                    correlation_id=correlation_id,
                )
                for where, value in found
            ]
        return self._malformed(f"tripwire: {found[0][0]} is not blank")

    def _show_trips(self) -> Response:
        trips = [{camel(name): value for name, value in asdict(one).items()} for one in self.trips]
        return json_response(200, {"trips": trips})
