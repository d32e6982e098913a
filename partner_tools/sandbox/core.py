"""Carries one request through the sandbox: read, meet a fault, wait, be counted, act, be logged.

Services know nothing of faults, and faults nothing of services; this is where they meet.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from math import ceil

from partner_tools.sandbox.faults import (
    UNANSWERED,
    UNPROCESSED,
    BodyForm,
    Bucket,
    Entry,
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
from partner_tools.sandbox.wire import (
    Call,
    Delivery,
    Headers,
    Problem,
    Request,
    Response,
    Service,
    reason_phrase,
    text_response,
)


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


HTML = (
    "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr></body></html>\r\n"
)


@dataclass(eq=False)
class Core:
    """Carries requests to their service under the faults of the day.

    `sleep` and `clock` are in seconds. Safe to call from any number of threads.
    """

    faults: Faults
    clock: Callable[[], float]
    sleep: Callable[[float], object]
    seed: int
    log: Log = field(default_factory=Log)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.behave(self.faults)

    def behave(self, faults: Faults) -> None:
        """Play these faults from now on: counts, buckets, chance and times start again."""
        with self._lock:
            self._started = self.clock()
            self.faults = faults
            self._script = Script(faults.rules, seed=self.seed)
            self._random = random.Random(self.seed)  # noqa: S311 - faults, not secrets
            self._buckets: dict[tuple[int, str], Bucket] = {}

    def serve(self, service: Service, request: Request) -> Delivery:
        """Answer one request: when this returns, it is logged and only its delivery is left."""
        call, entry, fault = self._meet(service, request, inner=False)
        with self._lock:
            draw = self._random.random()
        latency = latency_of(self.faults.latency, entry, draw)
        self._wait(latency / 2 + _delay(fault, FaultKind.SLOW))
        response, entry = self._respond(service, call, request, fault, entry)
        unanswered = fault is not None and fault.kind in UNANSWERED and not fault.answered
        self.log.add(replace(entry, status=None) if unanswered else entry)
        self._wait(latency / 2 + _delay(fault, FaultKind.SLOW_ANSWER))
        return Delivery(response=response, fault=fault)

    def within(self, service: Service, request: Request) -> Response:
        """Answer a request that came inside another: logged, counted, and under faults of its own,
        but for those of a connection; without latency.
        """
        call, entry, fault = self._meet(service, request, inner=True)
        response, entry = self._respond(service, call, request, fault, entry)
        self.log.add(entry)
        return response

    def _meet(
        self, service: Service, request: Request, *, inner: bool
    ) -> tuple[Call, Entry, Fault | None]:
        """The request, the beginning of its log entry, and the fault that applies to it."""
        number, at = self.log.arrive(), self.clock()
        call = service.read(request)
        entry = Entry(
            number=number,
            at=at,
            service=service.name,
            method=request.method,
            path=request.path,
            operation=call.operation,
            request_id=request.header("MS-RequestId"),
            correlation_id=request.header("MS-CorrelationId"),
            partner=call.partner,
            customer=call.customer,
            batch=call.batch,
            serial=call.serial,
            inner=inner,
        )
        elapsed = at - self._started
        return call, entry, self._script.pick(entry, continued=call.continued, elapsed=elapsed)

    def _respond(
        self, service: Service, call: Call, request: Request, fault: Fault | None, entry: Entry
    ) -> tuple[Response, Entry]:
        """Have a request answered; the answer, and what the log is to say of it."""
        answer, processed = self._answer(service, call, request, fault)
        response = service.stamp(request, _disfigured(answer, fault))
        return response, replace(
            entry,
            status=response.status,
            fault=fault.kind if fault else None,
            processed=processed,
            replayed=answer.replayed,
        )

    def _answer(
        self, service: Service, call: Call, request: Request, fault: Fault | None
    ) -> tuple[Response, bool]:
        """The answer, and whether the service acted."""
        injected = self._injected(service, request, fault)
        if injected is not None and not (fault and fault.processed):
            return injected, False
        turned_away = self._turned_away(service, call, request)
        if turned_away is not None:
            return turned_away, False
        answer = call.act(fault)
        return (replace(injected, replayed=answer.replayed) if injected else answer), True

    def _injected(self, service: Service, request: Request, fault: Fault | None) -> Response | None:
        """Return the answer that replaces acting; None if the service is to act first."""
        if fault is None or fault.answered:
            return None
        match fault.kind:
            case FaultKind.STATUS:
                return self._injected_status(service, request, fault)
            case FaultKind.REDIRECT:
                status = fault.status if 300 <= fault.status < 400 else 302
                return Response(status=status, headers=(("Location", fault.location),))
            case FaultKind.EXPIRED_TOKEN:
                return service.expired()
            case FaultKind.VANISH_PAGE:
                return service.problem(Problem(status=404, request=request))
        return Response(status=503) if fault.kind in UNPROCESSED else None

    def _injected_status(self, service: Service, request: Request, fault: Fault) -> Response:
        wait = 1.0 if fault.retry_after is None and fault.status == 429 else fault.retry_after
        headers: Headers = ()
        if wait is not None:
            headers = retry_after_header(fault.retry_after_form, wait, self.clock())
        reason = f"{fault.status} {reason_phrase(fault.status)}"
        match fault.body:
            case BodyForm.HTML:
                answer = text_response(fault.status, HTML.format(reason), "text/html")
            case BodyForm.TEXT:
                answer = text_response(fault.status, fault.description or reason, "text/plain")
            case BodyForm.EMPTY:
                answer = Response(status=fault.status)
            case form:
                problem = Problem(
                    status=fault.status,
                    code=fault.code,
                    description=fault.description,
                    gateway=form is BodyForm.GATEWAY,
                    wait=wait,
                    request=request,
                )
                answer = service.problem(problem)
        return answer.with_headers(*headers)

    def _turned_away(self, service: Service, call: Call, request: Request) -> Response | None:
        """The 429 of the first hidden limit that this call overruns."""
        for number, limit in enumerate(self.faults.limits):
            about = not limit.operations or call.operation in limit.operations
            if limit.service != service.name or not about:
                continue
            wait = self._count(number, limit, call)
            if wait is not None:
                problem = Problem(status=429, wait=wait, request=request)
                header = retry_after_header(limit.retry_after, wait, self.clock())
                return service.problem(problem).with_headers(*header)
        return None

    def _count(self, number: int, limit: Limit, call: Call) -> float | None:
        """Count a call with those that share a limit; the seconds that it is turned away for."""
        partner, customer = call.partner or "anonymous", str(call.customer)
        sharers = {Scope.PARTNER: partner, Scope.CUSTOMER: customer}
        who = sharers.get(limit.scope, f"{partner} {customer}")
        with self._lock:
            now = self.clock()
            bucket = self._buckets.get((number, who)) or full(limit, now)
            rate = rate_at(limit, now - self._started)
            bucket, wait = admit(limit, bucket, now, rate=rate, draw=self._random.random())
            self._buckets[number, who] = bucket
            return wait

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self.sleep(seconds)


def retry_after_header(form: RetryAfter, wait: float, now: float) -> Headers:
    """The header by which an answer asks for `wait` seconds of patience; empty for none."""
    values = {
        RetryAfter.SECONDS: str(ceil(wait)),
        RetryAfter.FRACTION: f"{wait:.3f}",
        RetryAfter.DATE: formatdate(ceil(now + wait), usegmt=True),
        RetryAfter.NONSENSE: "in a while",
    }
    return (("Retry-After", values[form]),) if form in values else ()


def _disfigured(response: Response, fault: Fault | None) -> Response:
    """The answer with a body or type that it should not have."""
    kind = fault.kind if fault else None
    if kind is FaultKind.NOT_JSON:
        body = HTML.format("Our services aren't available right now").encode("utf-8")
        status = 200 if response.status == 204 else response.status  # 204 has no body
        return replace(response, status=status, body=body)
    if kind is FaultKind.EMPTY_BODY:
        return replace(response, body=b"")
    if kind is FaultKind.WRONG_CONTENT_TYPE:
        kept = tuple(pair for pair in response.headers if pair[0] != "Content-Type")
        return replace(response, headers=(*kept, ("Content-Type", "text/html")))
    return response


def _delay(fault: Fault | None, kind: FaultKind) -> float:
    return fault.seconds if fault and fault.kind is kind else 0.0
