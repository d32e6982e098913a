"""The tripwire: finds every tenant that came in, in a request read without any profile.

It shares no code with the client's guard, so that one does not hide what the other misses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree

from partner_tools.sandbox.wire import Request

_TENANT = re.compile(r"t[\W_]*e[\W_]*n[\W_]*a[\W_]*n[\W_]*t", re.IGNORECASE)
_BODY = re.compile(r"t[\W_]*e[\W_]*n[\W_]*a[\W_]*n[\W_]*t[\W_]*(id|domain)", re.IGNORECASE)


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
    found = [
        (f"header {name}", value)
        for name, value in request.headers.items()
        if _TENANT.search(name) and value
    ]
    path, _, query = request.target.partition("?")
    found += [
        (f"query {name}", value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if _TENANT.search(name) and value
    ]
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

    def note(found: list[tuple[str, Any]]) -> None:
        pairs.extend(found)

    json.loads(body.decode("utf-8-sig"), object_pairs_hook=note)
    return ((name, "" if value in (None, "") else str(value)) for name, value in pairs)


def _xml_leaves(body: bytes) -> Iterator[tuple[str, str]]:
    for element in ElementTree.fromstring(body).iter():  # noqa: S314 - expat without network
        name = element.tag.rpartition("}")[2]
        yield name, "".join(element.itertext())
        for attribute, value in element.attrib.items():
            if not attribute.endswith("}nil"):
                yield f"{name} {attribute}", value
