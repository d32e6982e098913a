"""An OEM Direct API as a service of the sandbox: one operation, three ways to answer.

No such API is public. This one speaks the wire profile that it is given, in JSON or XML, removes
registrations of the other services of the sandbox, and never lets a tenant in: see `tripwire`.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from partner_tools.clients.oem.profile import Profile, ResponseMode
from partner_tools.sandbox.faults import ItemFault, ItemKind
from partner_tools.sandbox.login import Mint
from partner_tools.sandbox.oem_direct.tripwire import Trip, tenants
from partner_tools.sandbox.seed import SeedDevice
from partner_tools.sandbox.service import Answer, Call, Problem
from partner_tools.sandbox.state import Removal, State
from partner_tools.sandbox.wire import (
    Request,
    Response,
    json_response,
    reason_phrase,
    text_response,
)


def read_devices(profile: Profile, body: bytes) -> list[RequestedDevice] | None:
    """The devices of a call, None for a body that the profile does not describe."""
    try:
        rows = _xml_rows(profile, body) if profile.is_xml else _json_rows(profile, body)
    except (ValueError, ElementTree.ParseError):
        return None
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        return None
    return [_asked(profile, place, row) for place, row in enumerate(rows)]


def write(profile: Profile, status: int, value: Mapping[str, Any] | list[Any]) -> Response:
    """An answer in the profile's media type."""
    if not profile.is_xml:
        return json_response(status, value)
    root = _element("Response", value)
    text = '<?xml version="1.0" encoding="utf-8"?>' + ElementTree.tostring(root, "unicode")
    return text_response(status, text, profile.media_type.split(";")[0])


def results(profile: Profile, done: Sequence[Done]) -> Any:
    """The per-device results under the profile's path and names, in the order of the call."""
    rows = [row for each in done for row in _rows(profile, each)]
    value: Any = {"Result": rows} if profile.is_xml else rows
    for name in reversed(list(filter(None, profile.response.items_path.split(".")))):
        value = {name: value}
    return value


def _rows(profile: Profile, done: Done) -> list[dict[str, Any]]:
    if done.fault is ItemKind.MISSING:
        return []
    row = _row(profile, done)
    status = profile.response.status_field
    if done.fault is ItemKind.NO_STATUS:
        del row[status]
    elif done.fault is ItemKind.EMPTY_STATUS:
        row[status] = ""
    elif done.fault is ItemKind.PENDING:
        row[status] = profile.response.pending_values[0]
    elif done.fault is ItemKind.TWICE:
        return [row, {**row, status: "Failed"}]
    return [row]


def _row(profile: Profile, done: Done) -> dict[str, Any]:
    """Under the profile's names. No OEM's wording of a failure is public."""
    response, requested = profile.response, done.requested
    row: dict[str, Any] = {}
    if requested.ref:
        row[response.fields.item_ref] = requested.ref
    if requested.pkid:
        row[response.fields.pkid] = requested.pkid
    elif requested.serial:
        row[response.fields.serial] = requested.serial
    row[response.status_field] = response.ok_values[0] if done.ok else "Failed"
    if not done.ok:
        row[response.code_field or "ErrorCode"] = done.number
        row[response.message_field or "ErrorDescription"] = done.name
    return row


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


def _asked(profile: Profile, place: int, row: Mapping[str, Any]) -> RequestedDevice:
    fields = profile.fields

    def text(name: str) -> str:
        value = row.get(name)
        return value if isinstance(value, str) else ""

    return RequestedDevice(
        place=place,
        ref=text(fields.item_ref),
        pkid=text(fields.pkid),
        serial=text(fields.serial),
        manufacturer=text(fields.manufacturer),
        model=text(fields.model),
    )


def _element(name: str, value: Any) -> ElementTree.Element:
    element = ElementTree.Element(name)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            for each in inner if isinstance(inner, list) else [inner]:
                element.append(_element(key, each))
    else:
        element.text = "" if value is None else str(value)
    return element


Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedDevice:
    """One device of a call, as it was named. `place` is its position in the call from 0."""

    place: int
    ref: str = ""
    pkid: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""

    @property
    def key(self) -> Key | None:
        """The lookup key: the product key id, else the whole tuple."""
        if self.pkid:
            return ("pkid", self.pkid)
        parts = (self.serial, self.manufacturer, self.model)
        return ("tuple", *parts) if all(parts) else None


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


NAMES: Mapping[str, str] = {
    "803": "MissingZtdSerialNumberAndProductKey",
    "807": "ZtdDeviceIsNotRegistered",
    "811": "ZtdDeviceRegisteredByOtherTenant",
    "812": "ZtdDeviceNotFound",
    "813": "ZtdDeviceIsNotUnique",
}


class Register:
    """Removes devices by identity from whichever customer holds them. Thread-safe."""

    def __init__(self, state: State, faults: Callable[[], Iterable[ItemFault]]) -> None:
        self._state = state
        self._faults = faults
        self._lock = threading.Lock()
        self._hits: defaultdict[tuple[ItemFault, str], int] = defaultdict(int)
        self._known: dict[Key, list[tuple[str, str, str]]] = {}

    def remove(self, requested: RequestedDevice, *, lag: float = 0.0) -> Done:
        """Remove one device, or say why not."""
        with self._lock:
            fault = self._fault(requested)
            if fault is not None and fault.kind is ItemKind.CODE:
                return Done(
                    requested=requested, number=fault.number, name=fault.name, fault=fault.kind
                )
            done = self._removed(requested, lag)
            return done if fault is None else replace(done, fault=fault.kind)

    def forget(self) -> None:
        """Count the hits of item faults anew."""
        with self._lock:
            self._hits.clear()

    def objection(self, requested: RequestedDevice) -> Done:
        """Validate a device: it changes nothing."""
        return _refused(requested, "803") if requested.key is None else Done(requested=requested)

    def _removed(self, requested: RequestedDevice, lag: float) -> Done:
        if requested.key is None:
            return _refused(requested, "803")
        places = self._places(requested.key)
        if not places:
            return _refused(requested, "812" if self._unknown(requested) else "807")
        if len(places) > 1:
            return _refused(requested, "813")
        removal = self._state.remove(*places[0], lag=lag)
        if removal is Removal.DONE:
            return Done(requested=requested)
        refused = removal in (Removal.NOT_OWNED, Removal.NOT_ALLOWED)
        return _refused(requested, "811" if refused else "807")

    def _places(self, key: Key) -> list[tuple[str, str, str]]:
        """Where this identity is registered now."""
        if key not in self._known:
            self._known = self._indexed()
        return [place for place in self._known.get(key, ()) if self._state.find(*place)]

    def _indexed(self) -> dict[Key, list[tuple[str, str, str]]]:
        found: defaultdict[Key, list[tuple[str, str, str]]] = defaultdict(list)
        found.update(self._known)
        for customer in self._state.customers():
            for placed in self._state.devices(customer.tenant_id):
                place = (customer.tenant_id, placed.batch_id, placed.device.id)
                for key in _keys(placed.device):
                    if place not in found[key]:
                        found[key].append(place)
        return dict(found)

    def _unknown(self, requested: RequestedDevice) -> bool:
        return not self._state.seed.unknown_to_autopilot.isdisjoint(
            {requested.serial, requested.pkid}
        )

    def _fault(self, requested: RequestedDevice) -> ItemFault | None:
        for fault in self._faults():
            named = fault.serials & {requested.serial, requested.pkid}
            if not named:
                continue
            hits = (fault, min(named))
            if fault.times is not None and self._hits[hits] >= fault.times:
                continue
            self._hits[hits] += 1
            return fault
        return None


def _refused(requested: RequestedDevice, number: str) -> Done:
    return Done(requested=requested, number=number, name=NAMES[number])


def _keys(device: SeedDevice) -> Iterable[Key]:
    if device.product_key:
        yield ("pkid", device.product_key)
    if device.serial_number and device.manufacturer and device.model_name:
        yield ("tuple", device.serial_number, device.manufacturer, device.model_name)


BATCHES = "/batches/"
TRIPWIRE = "/tripwire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Accepted work: what became of it is known, and told from `ready_at` on."""

    done: tuple[Done, ...]
    ready_at: float


class OemDirect:
    """Answers as a wire profile says. `work_seconds` is how long accepted work takes.

    Where the profile wants a client certificate, plain HTTP is refused here, and the TLS listener
    is to demand one. `faults` are the item faults of the day.
    """

    name = "oemDirect"

    def __init__(
        self,
        state: State,
        profile: Profile,
        mint: Mint,
        clock: Callable[[], float],
        *,
        faults: Callable[[], Iterable[ItemFault]] = tuple,
        work_seconds: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.profile = profile
        self._mint = mint
        self._clock = clock
        self._work_seconds = work_seconds
        self._register = Register(state, faults)
        self._random = Random(seed)  # noqa: S311 - ids of a sandbox, not secrets
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._trips: list[Trip] = []
        self._known = tuple(
            name
            for customer in state.seed.customers
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
        self._register.forget()

    def read(self, request: Request) -> Call:
        found = tenants(request, self._known)
        if found:
            return Call(operation="register", act=lambda _: self._tripped(request, found))
        operation, act = self._route(request)
        return Call(operation=operation, act=lambda _fault: self._permitted(request, act))

    def problem(self, problem: Problem) -> Response:
        """An injected error, in the names that the profile reads."""
        response = self.profile.response
        value = {
            response.code_field or "ErrorCode": str(problem.code or problem.status),
            response.message_field or "ErrorDescription": problem.description
            or reason_phrase(problem.status),
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
        profile, poll = self.profile, self.profile.poll
        path = urlsplit(request.target).path
        if (request.method, path) == (profile.method, profile.path):
            return "deregister", lambda: self._deregister(request)
        preflight = profile.preflight
        if preflight.path and (request.method, path) == (preflight.method, preflight.path):
            return "validate", lambda: self._validate(request)
        if request.method == "GET" and path == TRIPWIRE:
            return "tripwire", self._show_trips
        if request.method == "GET" and poll.list_path and path == poll.list_path:
            return "list", self._list
        if request.method == "GET" and (handle := self._handle(path)):
            return "detail", lambda: self._detail(handle)
        return "unknown", lambda: self.problem(Problem(status=404))

    def _handle(self, path: str) -> str | None:
        pattern = self.profile.poll.detail_path or f"{BATCHES}{{id}}"
        before, _, after = pattern.partition("{id}")
        if not path.startswith(before) or not path.endswith(after):
            return None
        return path[len(before) : len(path) - len(after)] or None

    def _permitted(self, request: Request, act: Callable[[], Response]) -> Answer:
        auth = self.profile.auth
        if auth.needs_certificate and not request.base_url.startswith("https:"):
            text = "A client certificate is required."
            return Answer(response=self.problem(Problem(status=403, description=text)))
        if auth.needs_token:
            scheme, _, token = (request.header("Authorization") or "").partition(" ")
            claims = self._mint.read(token) if scheme.lower() == "bearer" else None
            if claims is None or self._mint.expired(claims):
                return Answer(response=self.expired())
        return Answer(response=act())

    def _deregister(self, request: Request) -> Response:
        requested = self._asked(request)
        if isinstance(requested, Response):
            return requested
        done = tuple(self._register.remove(each) for each in requested)
        if self.profile.response.mode is ResponseMode.SYNC:
            return write(self.profile, 200, results(self.profile, done))
        return self._accepted(request, done)

    def _validate(self, request: Request) -> Response:
        requested = self._asked(request)
        if isinstance(requested, Response):
            return requested
        done = tuple(self._register.objection(each) for each in requested)
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

    def _accepted(self, request: Request, done: tuple[Done, ...]) -> Response:
        with self._lock:
            job_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
            ready_at = self._clock() + self._work_seconds
            self._jobs[job_id] = Job(done=done, ready_at=ready_at)
        if self.profile.response.mode is ResponseMode.ACK_LIST:
            return write(self.profile, 202, _nested(self.profile.poll.id_path, job_id))
        pattern = self.profile.poll.detail_path or f"{BATCHES}{{id}}"
        location = request.base_url + pattern.replace("{id}", quote(job_id, safe=""))
        headers = ((self.profile.poll.location_header, location),)
        return Response(status=202, headers=headers)

    def _list(self) -> Response:
        now = self._clock()
        with self._lock:
            ready = [name for name, job in self._jobs.items() if job.ready_at <= now]
        return write(self.profile, 200, {"Acknowledgements": {"Id": ready}})

    def _detail(self, job_id: str) -> Response:
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None:
            return self.problem(Problem(status=404))
        path = self.profile.poll.status_path
        if job.ready_at > self._clock():
            return write(self.profile, 200, _nested(path, "in_progress"))
        ended = "finished" if all(each.ok for each in job.done) else "finished_with_errors"
        found: Any = results(self.profile, job.done)
        if isinstance(found, dict) and path:
            found = {**_nested(path, ended), **found}
        return write(self.profile, 200, found)

    def _tripped(self, request: Request, found: list[tuple[str, str]]) -> Answer:
        """Note it and refuse: the real operation would have registered the devices."""
        with self._lock:
            self._trips += [
                Trip(
                    at=self._clock(),
                    where=where,
                    value=value,
                    path=request.path,
                    request_id=request.header(self.profile.request_id_header or "MS-RequestId"),
                    correlation_id=request.header(
                        self.profile.correlation_header or "MS-CorrelationId"
                    ),
                )
                for where, value in found
            ]
        return Answer(response=self._malformed(f"tripwire: {found[0][0]} is not blank"))

    def _show_trips(self) -> Response:
        shown = [
            {
                "at": trip.at,
                "where": trip.where,
                "value": trip.value,
                "path": trip.path,
                "requestId": trip.request_id,
                "correlationId": trip.correlation_id,
            }
            for trip in self.trips
        ]
        return json_response(200, {"trips": shown})


def _nested(path: str, value: str) -> dict[str, Any]:
    names = [name for name in path.split(".") if name] or ["Status"]
    found: Any = value
    for name in reversed(names):
        found = {name: found}
    return dict(found)
