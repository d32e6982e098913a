"""Requests and answers as values, and the interface between the core and the services.

Nothing here touches a socket or decides anything.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from http import HTTPStatus
from random import Random
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote
from uuid import UUID

from partner_tools.sandbox.faults import Fault, FaultKind
from partner_tools.sandbox.reading import named

BOM = b"\xef\xbb\xbf"
PLAIN = re.compile(r"[!-~][ -~]{0,127}")
"""Text that may be echoed in a header."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One HTTP request, read wholly. `headers` have lower-case names; `target` is as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    base_url: str
    """Scheme, host and port under which the client reached this service."""

    @property
    def path(self) -> str:
        return self.target.split("?", 1)[0]

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The path's parts, split before they are decoded: a batch id may hold an encoded `/`.

        Doubled slashes count once, because the Java SDK, PowerShell and CIPP send them.
        """
        return tuple(unquote(part, errors="replace") for part in self.path.split("/") if part)

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query's parameters by lower-case name; the first of a name counts."""
        _, _, query = self.target.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        return {name.lower(): value for name, value in reversed(pairs)}

    @cached_property
    def form(self) -> Mapping[str, str]:
        """The body read as an HTML form."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def header(self, name: str) -> str | None:
        return self.headers.get(name.lower())

    def echoable(self, name: str) -> str | None:
        """The header's value if it may be echoed in an answer."""
        value = self.header(name)
        return value if value and PLAIN.fullmatch(value) else None

    @property
    def bearer(self) -> str | None:
        scheme, _, token = (self.header("Authorization") or "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer. Date, Content-Length and Connection are added where it is sent."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    replayed: bool = False
    """Whether an earlier request with the same id decided it."""

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """The same answer with these headers in front of its own."""
        return replace(self, headers=(*headers, *self.headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An answer, and the fault under which it goes back, or fails to."""

    response: Response
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: parsed, and not yet carried out.

    `act` carries it out. The fault handed to it, if any, is about the content of lists
    (`sticky-token`, `repeat-page`, `stale-list`); all others are the core's business.
    """

    operation: str
    act: Callable[[Fault | None], Response]
    partner: str | None = None
    customer: str | None = None
    batch: str | None = None
    serial: str | None = None
    continued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An error that the core injects, to be put into the service's own shape."""

    status: int
    code: int | str | None = None
    description: str | None = None
    gateway: bool = False
    """Whether it comes from the gateway in front of the service, which has a shape of its own."""
    wait: float | None = None
    """The seconds that a 429 names in its text."""
    request: Request | None = None
    """The request that it answers."""

    @property
    def text(self) -> str:
        return self.description or reason_phrase(self.status)


class Service(Protocol):
    """One of the services behind the sandbox, at a port of its own."""

    @property
    def name(self) -> str:
        """Its name in the URLs, in rules and in the log."""

    @property
    def secure_only(self) -> bool:
        """Whether its announced URL is the https one."""

    def read(self, request: Request) -> Call:
        """Say what a request asks for. Changes nothing and never fails."""

    def problem(self, problem: Problem) -> Response:
        """An injected error in this service's shape."""

    def expired(self) -> Response:
        """Return this service's answer to an expired token."""

    def stamp(self, request: Request, response: Response) -> Response:
        """Add the headers that every answer of this service carries."""


def json_response(status: int, value: Any) -> Response:
    """An answer with compact UTF-8 JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text_response(status, text, "application/json")


def text_response(status: int, text: str, content_type: str) -> Response:
    headers = (("Content-Type", f"{content_type}; charset=utf-8"),)
    return Response(status=status, headers=headers, body=text.encode("utf-8"))


def reason_phrase(status: int) -> str:
    """The standard words for a status; empty for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of a service. The path is in lower case but for its `{names}`.

    Any one of the `permissions` suffices; without any, every token does. `expand` are the names
    that `$expand` may ask for. Without `versions`, every version of the service has it.
    """

    operation: str
    method: str
    path: tuple[str, ...] = field(
        metadata=named("path", lambda text: tuple(text.lower().split("/")))
    )
    permissions: tuple[str, ...] = ()
    expand: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request leads: the version, the path behind it, and the route if there is one."""

    version: str
    path: tuple[str, ...]
    route: Route | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    """The values of the `{names}` in the path."""
    wrong_method: bool = False

    @property
    def operation(self) -> str:
        if self.route is not None:
            return self.route.operation
        return "wrong-method" if self.wrong_method else "unknown"


def find_target(
    routes: Iterable[Route], versions: Collection[str], method: str, segments: tuple[str, ...]
) -> Target:
    """Find the first route that fits. Fixed parts match in any letter case."""
    version, path = (segments[0].lower(), segments[1:]) if segments else ("", ())
    target = Target(version=version, path=path)
    for route in routes:
        names = match_path(route.path, path)
        if names is None or version not in (route.versions or versions):
            continue
        if route.method == method:
            return replace(target, route=route, names=names)
        target = replace(target, names=names, wrong_method=True)
    return target


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """A request that may be for a list, and the fault under which it is answered."""

    request: Request
    fault: Fault | None = None

    def has_fault(self, kind: FaultKind) -> bool:
        """Whether the list is to be wrong in this way."""
        return self.fault is not None and self.fault.kind is kind

    @property
    def age(self) -> float:
        """How many seconds old the list is that is to be shown."""
        return self.fault.seconds if self.fault and self.has_fault(FaultKind.STALE_LIST) else 0.0


def match_path(pattern: Sequence[str], path: Sequence[str]) -> dict[str, str] | None:
    """The values of the `{names}` in a pattern, in lower case; None for another path."""
    if len(pattern) != len(path):
        return None
    names = {}
    for wanted, given in zip(pattern, path, strict=True):
        if wanted[0] == "{":
            names[wanted[1:-1]] = given
        elif wanted != given.lower():
            return None
    return names


def new_id(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))


def page_token(what: str, position: int) -> str:
    """A continuation token: opaque to clients, a position in a list to us."""
    return base64.urlsafe_b64encode(json.dumps([what, position]).encode("utf-8")).decode("ascii")


def position_in(token: str, what: str) -> int | None:
    """The position in a token of this list; None for anything else."""
    try:
        named, position = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        return None
    return position if named == what and isinstance(position, int) else None
