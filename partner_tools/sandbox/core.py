"""Carries one request through the sandbox: read, meet a fault, wait, be counted, act, be logged.

Services know nothing of faults, and faults nothing of services; this is where they meet.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from math import ceil

from partner_tools.sandbox.faults import (
    BodyForm,
    Bucket,
    Facts,
    Fault,
    FaultKind,
    Faults,
    Limit,
    RetryAfter,
    Scope,
    Script,
    admit,
    full,
    latency_of,
    rate_at,
)
from partner_tools.sandbox.service import Answer, Call, Problem, Service
from partner_tools.sandbox.wire import (
    Delivery,
    Manner,
    Outage,
    Request,
    Response,
    reason_phrase,
    text_response,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request. `at` is the sandbox's time at arrival; ids are the ones that the client sent."""

    number: int
    at: float
    service: str
    method: str
    path: str
    operation: str
    request_id: str | None = None
    correlation_id: str | None = None
    partner: str | None = None
    customer: str | None = None
    batch: str | None = None
    serial: str | None = None
    status: int | None = None
    """Of the answer that was sent; None where a fault kept every byte of it back."""
    fault: str | None = None
    processed: bool = False
    """Whether the service acted on it, whatever the client was told."""
    replayed: bool = False
    """Whether an earlier request with this id had its outcome, which was given again."""
    inner: bool = False
    """Whether it came inside a `$batch`, whose own entry counts the request on the wire."""


class Log:
    """Every request of a sandbox; safe to read from any thread at any time.

    An entry appears when the request was processed and before its answer leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._arrived = 0

    def arrive(self) -> int:
        """The number of a request that came in just now, from 1."""
        with self._lock:
            self._arrived += 1
            return self._arrived

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything so far, by arrival."""
        with self._lock:
            return tuple(sorted(self._entries, key=lambda entry: entry.number))

    def of(self, operation: str) -> tuple[Entry, ...]:
        """The requests for one operation, by arrival."""
        return tuple(entry for entry in self.entries if entry.operation == operation)

    def counts(self) -> dict[str, dict[str, int]]:
        """How often each operation was answered with each status; by the fault's name if not."""
        counted: dict[str, Counter[str]] = {}
        for entry in self.entries:
            outcome = str(entry.fault) if entry.status is None else str(entry.status)
            counted.setdefault(entry.operation, Counter())[outcome] += 1
        return {operation: dict(sorted(c.items())) for operation, c in sorted(counted.items())}

    def clear(self) -> None:
        """Forgets everything so far; numbers continue."""
        with self._lock:
            self._entries.clear()


MANNERS = {
    FaultKind.REFUSE: Manner.RESET,
    FaultKind.TLS_FAILURE: Manner.RESET,
    FaultKind.RESET_BEFORE: Manner.RESET,
    FaultKind.RESET_AFTER: Manner.RESET,
    FaultKind.LOSE_REQUEST: Manner.CLOSED,
    FaultKind.LOSE_ANSWER: Manner.CLOSED,
    FaultKind.SLOW_BODY: Manner.TRICKLED,
    FaultKind.TRUNCATE: Manner.TRUNCATED,
}
"""How an answer goes back under a fault; whole under any other."""

UNANSWERED = frozenset({Manner.RESET, Manner.CLOSED})

OUTAGES = {FaultKind.REFUSE: Outage.REFUSE, FaultKind.TLS_FAILURE: Outage.TLS_FAILURE}

UNPROCESSED = frozenset(
    {
        FaultKind.REFUSE,
        FaultKind.TLS_FAILURE,
        FaultKind.RESET_BEFORE,
        FaultKind.LOSE_REQUEST,
        FaultKind.REDIRECT,
        FaultKind.EXPIRED_TOKEN,
        FaultKind.VANISH_PAGE,
    }
)
"""Faults under which the service never sees the request; `status` says it for itself."""

HTML = (
    "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr></body></html>\r\n"
)


class Core:
    """Carries requests to their service under the faults of the day.

    `sleep` and `clock` are in seconds. Safe to call from any number of threads.
    """

    def __init__(
        self,
        faults: Faults,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        seed: int,
    ) -> None:
        self.log = Log()
        self._clock = clock
        self._sleep = sleep
        self._seed = seed
        self._lock = threading.Lock()
        self.behave(faults)

    def behave(self, faults: Faults) -> None:
        """Play these faults from now on: counts, buckets, chance and times start anew."""
        with self._lock:
            self._started = self._clock()
            self._faults = faults
            self._script = Script(faults.rules, seed=self._seed)
            self._random = random.Random(self._seed)  # noqa: S311 - faults, not secrets
            self._buckets: dict[tuple[int, str], Bucket] = {}

    def serve(self, service: Service, request: Request) -> Delivery:
        """Answer one request: when this returns, it is logged and only its delivery is left."""
        number, at = self.log.arrive(), self._clock()
        call = service.read(request)
        facts = _facts(service, call, request)
        fault = self._script.pick(facts, elapsed=at - self._started)
        latency = latency_of(self._faults.latency, facts, self._draw())
        self._wait(latency / 2 + _delay(fault, FaultKind.SLOW))
        entry = _entry(call, request, service.name, number, at)
        response, entry = self._respond(service, call, request, fault, entry)
        delivery = _delivery(response, fault)
        told = delivery.manner not in UNANSWERED
        self.log.add(entry if told else replace(entry, status=None))
        self._wait(latency / 2 + _delay(fault, FaultKind.SLOW_ANSWER))
        return delivery

    def within(self, service: Service, request: Request) -> Response:
        """Answer a request that came inside another: logged, counted, and under faults of its own,
        but for those of a connection; without latency.
        """
        number, at = self.log.arrive(), self._clock()
        call = service.read(request)
        facts = replace(_facts(service, call, request), inner=True)
        fault = self._script.pick(facts, elapsed=at - self._started)
        entry = replace(_entry(call, request, service.name, number, at), inner=True)
        response, entry = self._respond(service, call, request, fault, entry)
        self.log.add(entry)
        return response

    def _respond(
        self, service: Service, call: Call, request: Request, fault: Fault | None, entry: Entry
    ) -> tuple[Response, Entry]:
        """Have a request answered; the answer, and what the log is to say of it."""
        answer, processed = self._answer(service, call, request, fault)
        response = service.stamp(request, _disfigured(answer.response, fault))
        return response, replace(
            entry,
            status=response.status,
            fault=fault.kind if fault else None,
            processed=processed,
            replayed=answer.replayed,
        )

    def _answer(
        self, service: Service, call: Call, request: Request, fault: Fault | None
    ) -> tuple[Answer, bool]:
        injected = _injected(service, request, fault, self._clock())
        if injected is not None and not (fault and fault.processed):
            return Answer(response=injected), False
        turned_away = self._turned_away(service, call, request)
        if turned_away is not None:
            return Answer(response=turned_away), False
        answer = call.act(fault)
        return (answer if injected is None else replace(answer, response=injected)), True

    def _turned_away(self, service: Service, call: Call, request: Request) -> Response | None:
        """The 429 of the first hidden limit that this call overruns."""
        for number, limit in enumerate(self._faults.limits):
            if limit.service != service.name:
                continue
            if limit.operations and call.operation not in limit.operations:
                continue
            wait = self._count(number, limit, call)
            if wait is not None:
                problem = Problem(status=429, wait=wait, request=request)
                header = retry_after_header(limit.retry_after, wait, self._clock())
                return service.problem(problem).with_headers(*header)
        return None

    def _count(self, number: int, limit: Limit, call: Call) -> float | None:
        who = _sharer(limit.scope, call)
        with self._lock:
            now = self._clock()
            bucket = self._buckets.get((number, who)) or full(limit, now)
            rate = rate_at(limit, now - self._started)
            bucket, wait = admit(limit, bucket, now, rate=rate, draw=self._random.random())
            self._buckets[number, who] = bucket
            return wait

    def _draw(self) -> float:
        with self._lock:
            return self._random.random()

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)


def retry_after_header(form: RetryAfter, wait: float, now: float) -> tuple[tuple[str, str], ...]:
    """The header by which an answer asks for `wait` seconds of patience; empty for none."""
    values = {
        RetryAfter.SECONDS: str(ceil(wait)),
        RetryAfter.FRACTION: f"{wait:.3f}",
        RetryAfter.DATE: formatdate(ceil(now + wait), usegmt=True),
        RetryAfter.NONSENSE: "in a while",
    }
    return (("Retry-After", values[form]),) if form in values else ()


def _sharer(scope: Scope, call: Call) -> str:
    """The name under which callers share a limit."""
    partner, customer = call.partner or "anonymous", call.customer
    match scope:
        case Scope.PARTNER:
            return partner
        case Scope.CUSTOMER:
            return f"{customer}"
        case Scope.PARTNER_CUSTOMER:
            return f"{partner} {customer}"


def _entry(call: Call, request: Request, service: str, number: int, at: float) -> Entry:
    """Build the log entry of a request before it is answered."""
    return Entry(
        number=number,
        at=at,
        service=service,
        method=request.method,
        path=request.path,
        operation=call.operation,
        request_id=request.header("MS-RequestId"),
        correlation_id=request.header("MS-CorrelationId"),
        partner=call.partner,
        customer=call.customer,
        batch=call.batch,
        serial=call.serial,
    )


def _facts(service: Service, call: Call, request: Request) -> Facts:
    return Facts(
        service=service.name,
        operation=call.operation,
        method=request.method,
        path=request.path,
        serial=call.serial,
        customer=call.customer,
        continued=call.continued,
    )


def _injected(
    service: Service, request: Request, fault: Fault | None, now: float
) -> Response | None:
    """Return the answer that replaces acting; None where the service is to act first."""
    if fault is None or _answered_first(fault):
        return None
    if fault.kind is FaultKind.STATUS:
        return _injected_status(service, request, fault, now)
    if fault.kind is FaultKind.REDIRECT:
        status = fault.status if 300 <= fault.status < 400 else 302
        return Response(status=status, headers=(("Location", fault.location),))
    if fault.kind is FaultKind.EXPIRED_TOKEN:
        return service.expired()
    if fault.kind is FaultKind.VANISH_PAGE:
        return service.problem(Problem(status=404, request=request))
    return Response(status=503) if fault.kind in UNPROCESSED else None


def _injected_status(service: Service, request: Request, fault: Fault, now: float) -> Response:
    wait = 1.0 if fault.retry_after is None and fault.status == 429 else fault.retry_after
    response = _problem(service, request, fault, wait)
    if wait is None:
        return response
    return response.with_headers(*retry_after_header(fault.retry_after_form, wait, now))


def _problem(service: Service, request: Request, fault: Fault, wait: float | None) -> Response:
    reason = f"{fault.status} {reason_phrase(fault.status)}"
    match fault.body:
        case BodyForm.HTML:
            return text_response(fault.status, HTML.format(reason), "text/html")
        case BodyForm.TEXT:
            return text_response(fault.status, fault.description or reason, "text/plain")
        case BodyForm.EMPTY:
            return Response(status=fault.status)
        case form:
            return service.problem(
                Problem(
                    status=fault.status,
                    code=fault.code,
                    description=fault.description,
                    gateway=form is BodyForm.GATEWAY,
                    wait=wait,
                    request=request,
                )
            )


def _disfigured(response: Response, fault: Fault | None) -> Response:
    """The answer with a body or type that it should not have."""
    kind = fault.kind if fault else None
    if kind is FaultKind.NOT_JSON:
        body = HTML.format("Our services aren't available right now").encode("utf-8")
        return replace(response, status=_with_body(response.status), body=body)
    if kind is FaultKind.EMPTY_BODY:
        return replace(response, body=b"")
    if kind is FaultKind.WRONG_CONTENT_TYPE:
        kept = tuple(pair for pair in response.headers if pair[0] != "Content-Type")
        return replace(response, headers=(*kept, ("Content-Type", "text/html")))
    return response


def _with_body(status: int) -> int:
    return 200 if status == 204 else status


def _answered_first(fault: Fault) -> bool:
    """Whether an outage begins only behind the answer."""
    return fault.kind in OUTAGES and fault.processed


def _delay(fault: Fault | None, kind: FaultKind) -> float:
    return fault.seconds if fault and fault.kind is kind else 0.0


def _delivery(response: Response, fault: Fault | None) -> Delivery:
    if fault is None:
        return Delivery(response=response)
    return Delivery(
        response=response,
        manner=Manner.WHOLE if _answered_first(fault) else MANNERS.get(fault.kind, Manner.WHOLE),
        seconds=fault.seconds,
        outage=OUTAGES.get(fault.kind),
    )
