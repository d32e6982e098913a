"""How the services misbehave: which request meets which fault, limits, latency and quirks.

`Faults` is the file `--faults` as values (`schemas/sandbox-faults.schema.json` is the contract):
its properties are the fields in camel case, where a field does not name another.
`Script` plays its rules. The same requests meet the same faults under the same seed, in whatever
order threads send them: chance is drawn from the request and its attempt, not from a sequence.

Rate limits are hidden, as functions over values. Partner Center publishes no rate for its device
endpoints; that requests sent during a lock-out count against the caller is documented, the other
shapes here are assumptions
(https://learn.microsoft.com/partner-center/developer/api-throttling-guidance, 2025-11).
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from partner_tools.errors import InputError
from partner_tools.json_forms import structure
from partner_tools.sandbox.reading import (
    Object,
    Range,
    checked,
    named,
    read_document,
)


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise InputError(
            f'the path "{text}" of a rule is no regular expression: {error}',
            remedy="write it as Python's `re` reads it, with special characters escaped",
        ) from error


class Scope(StrEnum):
    """Whose requests are counted together."""

    PARTNER = "partner"
    PARTNER_CUSTOMER = "partner-customer"
    CUSTOMER = "customer"


class LimitKind(StrEnum):
    TOKEN_BUCKET = "token-bucket"  # noqa: S105 - a kind of limit, not a secret
    FIXED_WINDOW = "fixed-window"


class RetryAfter(StrEnum):
    """In which form a 429 says when to come back."""

    SECONDS = "seconds"
    FRACTION = "fraction"
    DATE = "date"
    NONSENSE = "nonsense"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One hidden limit. Rates are requests per second; times are seconds.

    `operations` empty means all of the service. `lockout` is the range from which an overflow's
    lock-out is drawn; without it only the missing token is waited for. `extend` starts the
    lock-out again with every hit. `changes` are (seconds since the start, new rate).
    """

    service: str = "partnerCenter"
    rate: float
    operations: tuple[str, ...] = field(default=(), metadata=named("operation"))
    scope: Scope = Scope.PARTNER
    kind: LimitKind = LimitKind.TOKEN_BUCKET
    burst: float = 1.0
    window: float = 60.0
    lockout: Range | None = None
    extend: bool = False
    retry_after: RetryAfter = RetryAfter.SECONDS
    changes: tuple[tuple[float, float], ...] = field(
        default=(),
        metadata=named("changes", lambda rows: tuple((row["at"], row["rate"]) for row in rows)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The state of one limit for one caller. `level` counts tokens left, or requests used."""

    level: float
    since: float
    locked_until: float = 0.0


def full(limit: Limit, now: float) -> Bucket:
    """The state of a caller that was never seen."""
    if limit.kind is LimitKind.FIXED_WINDOW:
        return Bucket(level=0.0, since=now - now % limit.window)
    return Bucket(level=limit.burst, since=now)


def rate_at(limit: Limit, elapsed: float) -> float:
    """Return the rate at `elapsed` seconds after the start."""
    past = [rate for at, rate in sorted(limit.changes) if at <= elapsed]
    return past[-1] if past else limit.rate


def admit(
    limit: Limit, bucket: Bucket, now: float, *, rate: float, draw: float
) -> tuple[Bucket, float | None]:
    """Count one request: the new state, and None or the seconds that it is turned away for.

    `draw` in [0, 1) chooses the length of a lock-out within its range.
    """
    low, high = limit.lockout or (0.0, 0.0)
    lockout = low + (high - low) * draw
    if now < bucket.locked_until:
        until = now + lockout if limit.extend else bucket.locked_until
        return replace(bucket, locked_until=until), until - now
    passed, wait = _take(limit, bucket, now, rate)
    if wait is None or limit.lockout is None:
        return passed, wait
    return replace(passed, locked_until=now + lockout), lockout


def _take(limit: Limit, bucket: Bucket, now: float, rate: float) -> tuple[Bucket, float | None]:
    if limit.kind is LimitKind.FIXED_WINDOW:
        start = now - now % limit.window
        used = bucket.level if bucket.since == start else 0.0
        if used < rate * limit.window:
            return Bucket(level=used + 1.0, since=start), None
        return Bucket(level=used, since=start), start + limit.window - now
    level = min(limit.burst, bucket.level + (now - bucket.since) * rate)
    if level >= 1.0:
        return Bucket(level=level - 1.0, since=now), None
    return Bucket(level=level, since=now), (1.0 - level) / rate


class FaultKind(StrEnum):
    """The faults of one request."""

    REFUSE = "refuse"
    TLS_FAILURE = "tls-failure"
    RESET_BEFORE = "reset-before"
    RESET_AFTER = "reset-after"
    LOSE_REQUEST = "lose-request"
    LOSE_ANSWER = "lose-answer"
    SLOW = "slow"
    SLOW_ANSWER = "slow-answer"
    SLOW_BODY = "slow-body"
    TRUNCATE = "truncate"
    NOT_JSON = "not-json"
    WRONG_CONTENT_TYPE = "wrong-content-type"
    EMPTY_BODY = "empty-body"
    STATUS = "status"
    REDIRECT = "redirect"
    EXPIRED_TOKEN = "expired-token"  # noqa: S105 - a kind of fault, not a secret
    STICKY_TOKEN = "sticky-token"  # noqa: S105
    REPEAT_PAGE = "repeat-page"
    VANISH_PAGE = "vanish-page"
    STALE_LIST = "stale-list"


class BodyForm(StrEnum):
    """In which form an injected error says what it is."""

    JSON = "json"
    GATEWAY = "gateway"
    HTML = "html"
    TEXT = "text"
    EMPTY = "empty"


OUTAGES = frozenset({FaultKind.REFUSE, FaultKind.TLS_FAILURE})
"""Faults that last: new connections fail for some seconds."""

RESETS = OUTAGES | {FaultKind.RESET_BEFORE, FaultKind.RESET_AFTER}
"""The connection is torn down (TCP RST) and no byte of an answer is sent."""

UNANSWERED = RESETS | {FaultKind.LOSE_REQUEST, FaultKind.LOSE_ANSWER}
"""No byte of an answer is sent; if the connection is not torn down, it ends in an orderly way."""

UNPROCESSED = OUTAGES | {
    FaultKind.RESET_BEFORE,
    FaultKind.LOSE_REQUEST,
    FaultKind.REDIRECT,
    FaultKind.EXPIRED_TOKEN,
    FaultKind.VANISH_PAGE,
}
"""Faults under which the service never sees the request; `status` says it for itself."""

ABOUT_CONNECTIONS = UNANSWERED | {
    FaultKind.SLOW,
    FaultKind.SLOW_ANSWER,
    FaultKind.SLOW_BODY,
    FaultKind.TRUNCATE,
}
"""Faults that mean nothing for a request inside a `$batch`, and meet none."""

ABOUT_PAGES = frozenset({FaultKind.STICKY_TOKEN, FaultKind.REPEAT_PAGE, FaultKind.VANISH_PAGE})
"""Faults that mean something for a continuation request only, and meet no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The fault of a request that a rule picked. The kind decides which fields count."""

    kind: FaultKind
    seconds: float = 1.0
    status: int = 500
    code: int | str | None = None
    description: str | None = None
    body: BodyForm | None = None
    retry_after: float | None = None
    retry_after_form: RetryAfter = RetryAfter.SECONDS
    processed: bool = False
    location: str = "https://redirected.invalid/"

    @property
    def answered(self) -> bool:
        """Whether an outage begins only behind the answer."""
        return self.kind in OUTAGES and self.processed


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The requests that a rule counts, and those of them that it picks.

    The first group says which requests are counted (empty: all); the second picks among them.
    With `per_target` each method and path has a count of its own, so that `nth: [1]` is
    everybody's first attempt. `after` and `until` are seconds since the start.
    """

    service: str | None = None
    operations: tuple[str, ...] = field(default=(), metadata=named("operation"))
    method: str | None = None
    path: re.Pattern[str] | None = field(default=None, metadata=named("path", _pattern))
    serials: frozenset[str] = frozenset()
    customer: str | None = None
    continued: bool | None = None
    after: float | None = None
    until: float | None = None

    per_target: bool = False
    nth: frozenset[int] = frozenset()
    every: int | None = None
    first: int | None = None
    last: int | None = None
    probability: float | None = None
    times: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    match: Match = Match()
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds that a request takes, drawn from the range; half before and half after acting."""

    seconds: Range
    service: str | None = None
    operations: tuple[str, ...] = field(default=(), metadata=named("operation"))


class ItemKind(StrEnum):
    """The faults of one device of an OEM Direct call."""

    CODE = "code"
    """It is refused with a code, and not worked on."""
    MISSING = "missing"
    """It is worked on, and no result of the answer is its."""
    NO_STATUS = "no-status"
    """It is worked on, and its result has no status."""
    EMPTY_STATUS = "empty-status"
    """It is worked on, and its result has an empty status."""
    PENDING = "pending"
    """It is worked on, and its result only says that it is not finished."""
    TWICE = "twice"
    """It is worked on, and has two results that contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFault:
    """A fault and its devices, `times` each. `serials` are serials or product key ids.

    `number` and `name` are the code of the kind `code`.
    """

    serials: frozenset[str]
    kind: ItemKind = ItemKind.CODE
    number: str = ""
    name: str = ""
    times: int | None = None


class LastPage(StrEnum):
    """How the last page of devices says that it is the last."""

    ABSENT = "absent"
    NULL = "null"
    EMPTY = "empty"
    MIXED = "mixed"
    FURTHER_PAGE = "further-page"
    """A token is given even so, and the page behind it is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Fixed behaviour of the services. `docs/reference/sandbox.md` says which are documented."""

    bom: bool = True
    list_lag: Range = (0.0, 0.0)
    delete_status: int = 204
    codes_as_text: bool = False
    raw_devices_link: bool = False
    prefixed_next_links: float = 0.0
    body_continuation_token: bool = True
    next_links: bool = True
    last_page: LastPage = LastPage.ABSENT
    customers_end_by_2000: bool = False
    customers_page_size: int = 500
    devices_page_size: int = 100
    foreign_correlation_id: float = 0.1
    empty_batches_vanish: bool = False
    job_queued: float = 0.1
    job_processing: float = 0.2
    device_code_polls: int = 1
    device_code_interval: int = 1
    token_lifetime: int = 3599


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphQuirks:
    """Fixed behaviour of Microsoft Graph. Times are seconds; a range is drawn from by the id."""

    autopilot_delete: Range = (1.0, 1.0)
    autopilot_delete_status: int = 204
    refuse_enrolled: bool = True
    refuse_registered: bool = False
    sync: float = 1.0
    sync_interval: float = 600.0
    check_in: Range = (1.0, 1.0)
    connect_cycle: float = 1800.0
    auto_removal: bool = True
    placeholder_removal: bool = True
    soft_delete: bool = True
    contact_in_lists: bool = False
    approval_status: int = 400
    autopilot_page_size: int = 1000
    managed_page_size: int = 1000
    directory_page_size: int = 100
    batch_in_order: bool = False
    association_filter: str = "contains"
    """The effect of a filter on device associations: `contains` works, `ignored`, or `refused`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Everything about how the services behave; the default is a healthy, documented service."""

    rules: tuple[Rule, ...] = ()
    limits: tuple[Limit, ...] = ()
    latency: tuple[Latency, ...] = ()
    items: tuple[ItemFault, ...] = ()
    quirks: Quirks = Quirks()
    graph: GraphQuirks = GraphQuirks()


def read_faults(path: Path) -> Faults:
    """The behaviour of a faults file. Raises InputError with every problem of the file."""
    return faults_from(read_document(path, "sandbox-faults"))


def checked_faults(document: Any, name: str) -> Faults:
    """The behaviour that a document describes. Raises InputError with every problem of it."""
    return faults_from(checked(document, "sandbox-faults", name))


def faults_from(document: Object) -> Faults:
    """Faults from a document that keeps `sandbox-faults.schema.json`."""
    return structure(Faults, document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request in the log; its first part is what rules may use.

    `at` is the sandbox's time at arrival; ids are the ones that the client sent.
    """

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
    """Of the answer that was sent; None if a fault kept every byte of it back."""
    fault: str | None = None
    processed: bool = False
    """Whether the service acted on it, whatever the client was told."""
    replayed: bool = False
    """Whether an earlier request with this id had its outcome, which was given again."""
    inner: bool = False
    """Whether it came inside a `$batch`, whose own entry counts the request on the wire."""


class Script:
    """Plays the rules: keeps the counts, and says which fault a request meets."""

    def __init__(self, rules: tuple[Rule, ...], *, seed: int) -> None:
        self._rules = rules
        self._seed = seed
        self._lock = threading.Lock()
        self._counts: Counter[tuple[int, str]] = Counter()
        self._hits: Counter[int] = Counter()

    def pick(self, entry: Entry, *, continued: bool, elapsed: float) -> Fault | None:
        """The fault of the first rule that picks this request; every rule counts it.

        `continued`: whether it asks for a further page.
        """
        if not self._rules:
            return None
        with self._lock:
            picked = [
                number
                for number, rule in enumerate(self._rules)
                if concerns(rule, entry, continued=continued, elapsed=elapsed)
                and self._picks(number, rule.match, entry)
            ]
            if not picked:
                return None
            self._hits[picked[0]] += 1
            return self._rules[picked[0]].fault

    def _picks(self, number: int, match: Match, entry: Entry) -> bool:
        """Whether a rule picks the next one of the requests that it counts."""
        target = f"{entry.method} {entry.path}"
        self._counts[number, target] += 1
        self._counts[number, ""] += 1
        if match.times is not None and self._hits[number] >= match.times:
            return False
        attempt = self._counts[number, target]
        count = attempt if match.per_target else self._counts[number, ""]
        return (
            (not match.nth or count in match.nth)
            and (match.every is None or count % match.every == 0)
            and (match.first is None or count >= match.first)
            and (match.last is None or count <= match.last)
            and (
                match.probability is None
                or chance(self._seed, number, target, attempt) < match.probability
            )
        )


def concerns(rule: Rule, entry: Entry, *, continued: bool, elapsed: float) -> bool:
    """Whether a rule counts this request."""
    match = rule.match
    further = True if rule.fault.kind in ABOUT_PAGES else match.continued
    return (
        not (entry.inner and rule.fault.kind in ABOUT_CONNECTIONS)
        and match.service in (None, entry.service)
        and (not match.operations or entry.operation in match.operations)
        and match.method in (None, entry.method)
        and (match.path is None or match.path.search(entry.path) is not None)
        and (not match.serials or entry.serial in match.serials)
        and match.customer in (None, entry.customer)
        and further in (None, continued)
        and (match.after or 0.0) <= elapsed
        and (match.until is None or elapsed < match.until)
    )


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = hashlib.blake2b(repr(parts).encode("utf-8", "replace"), digest_size=7).digest()
    return int.from_bytes(digest) / (1 << 56)


def latency_of(latencies: tuple[Latency, ...], entry: Entry, draw: float) -> float:
    """The seconds that this request takes: the first entry about it says."""
    for latency in latencies:
        about = latency.service in (None, entry.service)
        if about and (not latency.operations or entry.operation in latency.operations):
            low, high = latency.seconds
            return low + (high - low) * draw
    return 0.0
