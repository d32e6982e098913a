"""Requests and answers as values, and the interface between the core and the services.

Nothing here touches a socket or decides anything.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from http import HTTPStatus
from random import Random
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote
from uuid import UUID

from partner_tools.sandbox.faults import Fault

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


def match_path(pattern: Sequence[str], path: Sequence[str]) -> dict[str, str] | None:
    """The values of the `{names}` in a pattern; None for another path.

    Fixed parts, in lower case in the pattern, match in any letter case.
    """
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
