"""Lists on the wire: `$select`, page sizes, and the links from page to page.

Autopilot goes on behind the last serial
(https://github.com/microsoftgraph/microsoft-graph-docs/issues/8186); the other lists behind the
last row, by a token that clients cannot read. Links name the host that the client called.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from partner_tools.sandbox.faults import FaultKind
from partner_tools.sandbox.graph.asked import Asked, Refusal
from partner_tools.sandbox.graph.searching import check_property
from partner_tools.sandbox.graph.shapes import Shape
from partner_tools.sandbox.graph.table import Row, Table
from partner_tools.sandbox.wire import Response, json_response

JSON_TYPE = (
    "application/json;odata.metadata=minimal;odata.streaming=true;"
    "IEEE754Compatible=false;charset=utf-8"
)
_SERIAL_TOKEN = re.compile(r"LastSerialNumber='(?P<serial>.*?)'(?:,LastId='(?P<id>[^']*)')?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list that is asked for. `show` makes an item of a row; `place` orders them."""

    asked: Asked
    context: str
    rows: Iterable[Row]
    size: int
    place: Callable[[Row], Any]
    token: Callable[[Row], str]
    start: Any
    """The place of the last row before this page; None for the first page."""
    show: Callable[[Row], Row]
    first: tuple[tuple[str, Any], ...] = ()
    """Further members of the first page."""


def answer(body: Any, status: int = 200) -> Response:
    """JSON as Graph sends it."""
    response = json_response(status, body)
    headers = (("Content-Type", JSON_TYPE), ("OData-Version", "4.0"))
    return Response(status=status, headers=headers, body=response.body)


def listed(listing: Listing) -> Response:
    """One page."""
    asked, start = listing.asked, listing.start
    ordered = sorted(listing.rows, key=listing.place)
    behind = [row for row in ordered if start is None or listing.place(row) > start]
    page = list(islice(behind, listing.size))
    body: dict[str, Any] = {"@odata.context": context(asked, listing.context)}
    if start is None:
        body.update(listing.first)
    if asked.bent(FaultKind.STICKY_TOKEN):
        body["@odata.nextLink"] = _link(asked, asked.option("skiptoken") or "")
    elif len(behind) > listing.size:
        body["@odata.nextLink"] = _link(asked, listing.token(page[-1]))
    if asked.bent(FaultKind.REPEAT_PAGE):
        page = ordered[: listing.size]
    body["value"] = [listing.show(row) for row in page]
    return answer(body)


def by_serial(
    asked: Asked, context: str, rows: Iterable[Row], show: Callable[[Row], Row], size: int
) -> Response:
    """A page in the order of serials."""
    token = asked.option("skiptoken")
    found = _SERIAL_TOKEN.fullmatch(token) if token is not None else None
    if token is not None and found is None:
        raise Refusal(400, "BadRequest", "Skip token is not valid.")
    kept = list(rows)
    return listed(
        Listing(
            asked=asked,
            context=context,
            rows=kept,
            size=size,
            place=lambda row: (row["serialNumber"], row["id"]),
            token=lambda row: f"LastSerialNumber='{row['serialNumber']}',LastId='{row['id']}'",
            start=(found["serial"], found["id"] or "~") if found else None,
            show=show,
            first=(("@odata.count", len(kept)),),
        )
    )


def in_order(
    asked: Asked,
    table: Table,
    shape: Shape,
    context: str,
    rows: Iterable[Row],
    size: int,
    *,
    count: bool = False,
) -> Response:
    """A page in the order of arrival, of the properties that were selected."""
    chosen = selection(asked, shape)
    kept = list(rows)
    select = f"({','.join(chosen)})" if chosen else ""
    return listed(
        Listing(
            asked=asked,
            context=f"{context}{select}",
            rows=kept,
            size=size,
            place=table.position,
            token=lambda row: _sealed(asked, table.position(row)),
            start=_opened(asked),
            show=lambda row: chosen_of(asked, shape, row, chosen),
            first=(("@odata.count", len(kept)),) if count else (),
        )
    )


def one(asked: Asked, shape: Shape, context_: str, row: Row) -> Response:
    """A single row, of the properties that were selected."""
    chosen = selection(asked, shape)
    body = {"@odata.context": context(asked, f"{context_}/$entity")}
    return answer({**body, **chosen_of(asked, shape, row, chosen)})


def selection(asked: Asked, shape: Shape) -> tuple[str, ...]:
    """The names in `$select`; empty for everything. Raises Refusal for one that is none."""
    text = asked.option("select") or ""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    known = shape.properties(beta=asked.beta)
    for name in names:
        check_property(name, known, shape)
    return names


def chosen_of(asked: Asked, shape: Shape, row: Row, chosen: tuple[str, ...]) -> Row:
    if not chosen:
        return shape.shown(row, beta=asked.beta)
    whole = shape.whole(row, beta=asked.beta)
    return {name: whole[name] for name in chosen}


def top(asked: Asked, default: int) -> int | None:
    """`$top` as a number, or the default; None for nonsense."""
    text = asked.option("top")
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None


def context(asked: Asked, what: str) -> str:
    return f"{asked.request.base_url}/{asked.target.version}/$metadata#{what}"


def _link(asked: Asked, token: str) -> str:
    """The same request again, with another token."""
    kept = [(name, value) for name, value in asked.request.query.items() if "skiptoken" not in name]
    query = urlencode([*kept, ("$skiptoken", token)], quote_via=quote, safe="$")
    return f"{asked.request.base_url}{asked.request.path}?{query}"


def _sealed(asked: Asked, position: int) -> str:
    content = json.dumps([asked.target.operation, position]).encode("utf-8")
    return base64.urlsafe_b64encode(content).decode("ascii")


def _opened(asked: Asked) -> int | None:
    """The position in the token that came back; None for the first page."""
    token = asked.option("skiptoken")
    if token is None:
        return None
    try:
        operation, position = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        operation, position = None, None
    if operation != asked.target.operation or not isinstance(position, int):
        text = (
            "The specified page token value has expired and can no longer be included in your "
            "request."
        )
        raise Refusal(400, "Directory_ExpiredPageToken", text)
    return position
