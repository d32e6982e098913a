"""`$batch`: up to twenty requests in one, answered in any order.

https://learn.microsoft.com/graph/json-batching (2025-02)
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from partner_tools.sandbox.graph.asked import Asked, Refusal
from partner_tools.sandbox.graph.pages import answer
from partner_tools.sandbox.wire import Request, Response

MOST = 20
HOP_BY_HOP = frozenset({"content-length", "content-type", "host", "connection", "accept-encoding"})
"""Headers of the batch that are not those of what it holds."""
Carry = Callable[[Request], Response]


def check(asked: Asked) -> list[Mapping[str, Any]]:
    """The requests of a batch. Raises Refusal where the batch as a whole is wrong."""
    requests = asked.body().get("requests")
    if not isinstance(requests, list) or not all(isinstance(one, dict) for one in requests):
        raise _bad("Invalid batch payload format.")
    if not requests:
        raise _bad("Invalid batch payload: there are no requests.")
    if len(requests) > MOST:
        raise _bad(f"Number of batch request steps exceeds the maximum value of {MOST}.")
    known: set[str] = set()
    for one in requests:
        _check_one(asked, one, known)
        known.add(one["id"].lower())
    return requests


def run(asked: Asked, carry: Carry, *, in_order: bool) -> Response:
    """Carry out every request of a batch, and shuffle what came of it."""
    requests = check(asked)
    failed: set[str] = set()
    responses = []
    for one in requests:
        responses.append(_run_one(asked, one, carry, failed))
        if responses[-1]["status"] >= 400:
            failed.add(one["id"].lower())
    if not in_order:
        random.Random(asked.new_id()).shuffle(responses)  # noqa: S311 - an order, not a secret
    return answer({"responses": responses})


def _check_one(asked: Asked, one: Mapping[str, Any], known: set[str]) -> None:
    name, method, url = one.get("id"), one.get("method"), one.get("url")
    if not all(isinstance(text, str) and text for text in (name, method, url)):
        raise _bad("Every request of a batch needs an id, a method and a url.")
    if str(name).lower() in known:
        raise _bad(f"Request id '{name}' is not unique in the batch.")
    if _path(asked, str(url)) is None:
        raise _bad(f"The url of request '{name}' must be relative.")
    headers = one.get("headers") or {}
    named = {str(header).lower() for header in headers}
    if one.get("body") is not None and "content-type" not in named:
        raise _bad(f"Write request id : {name} does not contain Content-Type header or body.")
    unknown = {str(other).lower() for other in one.get("dependsOn") or ()} - known
    if unknown:
        raise _bad(f"Request '{name}' depends on '{sorted(unknown)[0]}', which is not before it.")


def _run_one(
    asked: Asked, one: Mapping[str, Any], carry: Carry, failed: set[str]
) -> dict[str, Any]:
    if any(str(other).lower() in failed for other in one.get("dependsOn") or ()):
        error = {"code": "FailedDependency", "message": "A request that this one needs failed."}
        return {"id": one["id"], "status": 424, "body": {"error": error}}
    request = _request(asked, one)
    if "$batch" in (part.lower() for part in request.segments):
        error = {"code": "BadRequest", "message": "A batch cannot hold a batch."}
        return {"id": one["id"], "status": 400, "body": {"error": error}}
    return _response(one["id"], carry(request))


def _request(asked: Asked, one: Mapping[str, Any]) -> Request:
    outer = asked.request
    headers = {name: text for name, text in outer.headers.items() if name not in HOP_BY_HOP}
    given = one.get("headers") or {}
    headers |= {str(name).lower(): str(text) for name, text in given.items()}
    body = one.get("body")
    return Request(
        method=one["method"].upper(),
        target=f"/{asked.target.version}/{_path(asked, one['url'])}",
        headers=headers,
        body=b"" if body is None else json.dumps(body).encode("utf-8"),
        base_url=outer.base_url,
    )


def _path(asked: Asked, url: str) -> str | None:
    """What an inner url says behind the version. Microsoft's client for Python sends it whole, with
    the host and the version of the batch; None for any other host.
    """
    if "://" not in url.partition("?")[0]:
        return url.lstrip("/")
    whole = f"{asked.request.base_url}/{asked.target.version}/"
    return url[len(whole) :] if url.lower().startswith(whole.lower()) else None


def _response(name: str, response: Response) -> dict[str, Any]:
    found: dict[str, Any] = {"id": name, "status": response.status}
    found["headers"] = dict(response.headers)
    if response.body:
        found["body"] = _body(response.body)
    return found


def _body(body: bytes) -> Any:
    """JSON as it is, anything else in base64."""
    try:
        return json.loads(body)
    except ValueError:
        return base64.b64encode(body).decode("ascii")


def _bad(text: str) -> Refusal:
    return Refusal(400, "BadRequest", text)
