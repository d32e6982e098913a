"""Pages of Partner Center's lists, the two ways of following them, and how they can go wrong."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any
from urllib.parse import urlencode

from partner_tools.sandbox.faults import FaultKind, LastPage, Quirks, chance
from partner_tools.sandbox.partner_center.asked import Asked, Refusal
from partner_tools.sandbox.partner_center.shapes import Object, collection, device_item
from partner_tools.sandbox.state import Page, State

END = 1 << 40
"""A position behind every list."""


def token_for(what: str, position: int) -> str:
    """A continuation token: opaque to clients, a position to us."""
    content = json.dumps([what, position]).encode("utf-8")
    return base64.urlsafe_b64encode(content).decode("ascii")


def position_in(token: str | None, what: str) -> int:
    """Where a list goes on; 0 without a token."""
    if token is None:
        return 0
    try:
        named, position = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        named, position = None, None
    if named != what or not isinstance(position, int):
        raise Refusal(400, 3000, "The continuation token is not valid.")
    return position


def devices_page(asked: Asked, state: State, quirks: Quirks, customer: str) -> Object:
    """One page of a batch, with the token to the next as the quirks want it."""
    what = f"devices {customer} {asked.batch.casefold()}"
    start = position_in(asked.token, what)
    page = _read(asked, state, quirks, customer, start)
    shown = page
    if asked.bent(FaultKind.REPEAT_PAGE):
        shown = _read(asked, state, quirks, customer, 0)
    items = [device_item(device) for device in shown.devices]
    following = page.following
    if following is None and quirks.last_page is LastPage.FURTHER_PAGE and page.devices:
        following = END
    token = None if following is None else token_for(what, following)
    if asked.bent(FaultKind.STICKY_TOKEN):
        token = asked.token
    return collection(items, **_last(token, quirks, asked.batch), links={})


def _read(asked: Asked, state: State, quirks: Quirks, customer: str, start: int) -> Page:
    page = state.page(
        customer, asked.batch, start=start, size=quirks.devices_page_size, age=asked.age
    )
    if page is None:
        raise Refusal(404, 1000, f"Device batch {asked.batch} not found")
    return page


def _last(token: str | None, quirks: Quirks, batch: str) -> dict[str, str | None]:
    if token is not None:
        return {"continuationToken": token}
    form = quirks.last_page
    if form is LastPage.MIXED:
        choices = (LastPage.ABSENT, LastPage.NULL, LastPage.EMPTY)
        form = choices[int(chance("last-page", batch) * len(choices))]
    if form is LastPage.NULL:
        return {"continuationToken": None}
    return {"continuationToken": ""} if form is LastPage.EMPTY else {}


def query_page(asked: Asked, items: list[Object], quirks: Quirks, path: str) -> Object:
    """One page of a list that is followed by `seekOperation=next`, as customers are."""
    size = _size(asked, quirks)
    start = _start(asked, path)
    if asked.token is not None and start >= len(items):
        raise Refusal(400, 2000, "No more records: all of them have been fetched.")
    more = start + size < len(items)
    if quirks.customers_end_by_2000:
        more = bool(items)
    shown = items[:size] if asked.bent(FaultKind.REPEAT_PAGE) else items[start : start + size]
    token = token_for(path, start + size) if more else None
    if asked.bent(FaultKind.STICKY_TOKEN):
        token = asked.token
    return collection(shown, **_ways_on(asked, token, size, quirks, path))


def _size(asked: Asked, quirks: Quirks) -> int:
    given = asked.request.query.get("size", "0")
    if not given.isascii() or not given.isdigit():
        raise Refusal(400, 800002, f"The size {given} is not valid.")
    return min(int(given) or 500, quirks.customers_page_size)


def _start(asked: Asked, path: str) -> int:
    seek = asked.request.query.get("seekoperation", "first").lower()
    if seek not in {"first", "next"}:
        raise Refusal(400, 3000, f"The seek operation {seek} is not supported here.")
    if asked.token is None or seek == "first":
        return 0
    return position_in(asked.token, path)


def _ways_on(
    asked: Asked, token: str | None, size: int, quirks: Quirks, path: str
) -> dict[str, Any]:
    links: Object = {"self": {"uri": asked.request.target, "method": "GET", "headers": []}}
    if token is None:
        return {"links": links}
    if quirks.next_links:
        prefix = "/v1" if chance("prefix", token) < quirks.prefixed_next_links else ""
        kept = {"filter": asked.request.query["filter"]} if "filter" in asked.request.query else {}
        query = urlencode({"size": size, "seekOperation": "Next", **kept})
        header = {"key": "MS-ContinuationToken", "value": token}
        links["next"] = {"uri": f"{prefix}{path}?{query}", "method": "GET", "headers": [header]}
    return {
        **({"continuationToken": token} if quirks.body_continuation_token else {}),
        "links": links,
    }
