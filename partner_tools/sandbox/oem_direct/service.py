"""An OEM Direct API as a service of the sandbox: one operation, three ways to answer.

No such API is public. This one speaks whatever wire profile it is given, removes what the other
services of the sandbox hold, and never lets a tenant in: see `tripwire`.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit

from partner_tools.clients.oem_profile import Profile, ResponseMode
from partner_tools.sandbox.faults import ItemFault
from partner_tools.sandbox.oem_direct.bodies import read_devices, results, write
from partner_tools.sandbox.oem_direct.items import Asked, Done, Register
from partner_tools.sandbox.oem_direct.tripwire import Trip, tenants
from partner_tools.sandbox.service import Answer, Call, Problem
from partner_tools.sandbox.state import State
from partner_tools.sandbox.tokens import Mint
from partner_tools.sandbox.wire import Request, Response, json_response, reason_phrase

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
        asked = self._asked(request)
        if isinstance(asked, Response):
            return asked
        done = tuple(self._register.remove(each) for each in asked)
        if self.profile.response.mode is ResponseMode.SYNC:
            return write(self.profile, 200, results(self.profile, done))
        return self._accepted(request, done)

    def _validate(self, request: Request) -> Response:
        asked = self._asked(request)
        if isinstance(asked, Response):
            return asked
        done = tuple(self._register.objection(each) for each in asked)
        return write(self.profile, 200, results(self.profile, done))

    def _asked(self, request: Request) -> list[Asked] | Response:
        """The devices, or the refusal of a body that is not what the profile says."""
        asked = read_devices(self.profile, request.body)
        kind = (request.header("Content-Type") or "").split(";")[0].strip()
        if not asked or kind != self.profile.media_type.split(";")[0].strip():
            return self._malformed("InvalidZtdRequestBody")
        if len(asked) > self.profile.batch_limit:
            return self._malformed(f"at most {self.profile.batch_limit} devices a call")
        return asked

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
