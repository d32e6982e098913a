"""Stands between the program and the sandbox, and changes what the sandbox answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from tests.clients.wire_service import Asked, WireService, answer


@dataclass(slots=True)
class OemReply:
    """An answer on its way. `content` is its JSON; None where it has no body, or another kind."""

    status: int
    headers: dict[str, str]
    content: Any


Lie = Callable[[Asked, OemReply], None]
"""Changes an answer in place."""


@contextmanager
def lying(url: str, lie: Lie) -> Iterator[str]:
    """The address of a service that passes requests on to `url` and answers through `lie`."""

    def respond(asked: Asked) -> bytes:
        sent = {k: v for k, v in asked.headers.items() if k not in {"host", "content-length"}}
        reply = requests.request(
            asked.method,
            url + asked.target,
            headers=sent,
            data=asked.body or None,
            timeout=30,
            allow_redirects=False,
        )
        kept = ("ms-", "client-", "request-id", "content-type", "retry-after", "location")
        headers = {k: v for k, v in reply.headers.items() if k.lower().startswith(kept)}
        body = reply.content.decode("utf-8-sig")
        said = OemReply(
            reply.status_code, headers, json.loads(body) if body.startswith("{") else None
        )
        lie(asked, said)
        written = b"" if said.content is None else json.dumps(said.content).encode()
        return answer(
            said.status, written, **{k.replace("-", "_"): v for k, v in said.headers.items()}
        )

    service = WireService(respond=respond)
    try:
        yield service.url
    finally:
        service.stop()
