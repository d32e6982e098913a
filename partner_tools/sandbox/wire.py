"""Requests and answers as values. Nothing here touches a socket or decides anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

BOM = b"\xef\xbb\xbf"
JSON = "application/json; charset=utf-8"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One HTTP answer. Date, Content-Length and Connection are added where it is sent."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def with_headers(self, *headers: tuple[str, str]) -> Response:
        """The same answer with these headers in front of its own."""
        return replace(self, headers=(*headers, *self.headers))


class Manner(StrEnum):
    """How an answer goes back, or fails to."""

    WHOLE = "whole"
    TRUNCATED = "truncated"
    TRICKLED = "trickled"
    CLOSED = "closed"
    """The connection ends in an orderly way and no byte of an answer was sent."""
    RESET = "reset"
    """The connection is torn down (TCP RST) and no byte of an answer was sent."""


class Outage(StrEnum):
    """The treatment of new connections during an outage."""

    REFUSE = "refuse"
    TLS_FAILURE = "tls-failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An answer and the manner in which it goes back. `seconds` spreads a trickled body and
    bounds an outage."""

    response: Response
    manner: Manner = Manner.WHOLE
    seconds: float = 0.0
    outage: Outage | None = None


def json_response(status: int, value: Any, *, bom: bool = False) -> Response:
    """An answer with compact UTF-8 JSON, behind a byte order mark on request."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    return Response(
        status=status,
        headers=(("Content-Type", JSON),),
        body=BOM + body if bom else body,
    )


def text_response(status: int, text: str, content_type: str) -> Response:
    return Response(
        status=status,
        headers=(("Content-Type", f"{content_type}; charset=utf-8"),),
        body=text.encode("utf-8"),
    )


def reason_phrase(status: int) -> str:
    """The standard words for a status; empty for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
