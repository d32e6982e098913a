"""Microsoft Graph's REST API as far as devices are looked for: one attempt a call, only reads.

Nothing is tried again here. What a service returns is read, never believed: which rows answer a
question is decided in `outstanding.search`. Wire facts: https://learn.microsoft.com/graph/paging
and https://learn.microsoft.com/graph/json-batching, read 2026-11.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from partner_tools.clients.answers import is_same
from partner_tools.clients.graph.addresses import (
    PERMISSIONS,
    VERSIONS,
    list_path,
    question_path,
)
from partner_tools.clients.graph.refusal import refusal
from partner_tools.clients.graph.rows import read_row
from partner_tools.clients.transport import Reply, Request, Transport, origin, parse_json
from partner_tools.errors import InputError, ServiceError, Unavailable, Unreadable
from partner_tools.outstanding.nouns import Found
from partner_tools.outstanding.search import BATCH, By, Collection, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of rows. `link` leads to the next, None on the last one."""

    rows: tuple[Found, ...] = ()
    link: str | None = None
    count: int | None = None
    """What `@odata.count` states: of this page in Intune's lists, of the whole list elsewhere."""
    request_id: str | None = None


class Graph:
    """Reads a customer's tenant. Thread-safe; every method is one attempt of one exchange.

    `ids` mints request ids; `now` is the wall clock (UTC), for Retry-After dates. Every method
    raises Unsent, Unanswered, Redirected (transport), Unauthorized, Throttled, Unavailable,
    Rejected (`refusal`), Unreadable.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        ids: Callable[[], str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transport = transport
        self._ids = ids
        self._now = now

    def page(self, collection: Collection, link: str | None = None) -> Page:
        """A page of a whole collection: the first, or the one that a link leads to."""
        request = self._signed("GET", link or list_path(collection))
        reply = self._transport.send(request)
        request_id = own_request_id(reply, request)
        if reply.status != 200:
            raise self._refused(reply.status, reply.headers, body_of(reply), collection, request_id)
        content = parse_json(reply, request_id=request_id)
        return self._page(content, collection, request_id, is_first=link is None)

    def batch(self, questions: Sequence[Question]) -> tuple[Page | ServiceError, ...]:
        """Ask up to 20 questions of one collection at once; each one's answer, in their order.

        An answer that is an error is one to this question alone. The service answers in any order.
        """
        collection = _check_batch(questions)
        request = self._signed("POST", f"{VERSIONS[collection]}/$batch", _batch_body(questions))
        reply = self._transport.send(request)
        request_id = own_request_id(reply, request)
        if reply.status != 200:
            raise self._refused(reply.status, reply.headers, body_of(reply), collection, request_id)
        answers = _by_id(parse_json(reply, request_id=request_id), len(questions), request_id)
        return tuple(
            self._answer(question, answers.get(str(number)), request_id)
            for number, question in enumerate(questions)
        )

    def renew_token(self) -> None:
        """After Unauthorized: have the token that this thread sent replaced."""
        self._transport.renew_token()

    def _signed(self, method: str, url: str, body: bytes | None = None) -> Request:
        headers = {"Accept": "application/json", "client-request-id": self._ids()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return Request(method=method, url=url, headers=headers, body=body)

    def _answer(
        self, question: Question, answer: Mapping[str, Any] | None, request_id: str
    ) -> Page | ServiceError:
        if answer is None:
            return Unavailable(
                "Microsoft Graph left a question of a batch unanswered", request_id=request_id
            )
        status, body = answer.get("status"), answer.get("body")
        headers = answer.get("headers")
        headers = headers if isinstance(headers, dict) else {}
        own_id = next((str(v) for k, v in headers.items() if k.lower() == "request-id"), request_id)
        if not isinstance(status, int) or isinstance(status, bool):
            return _unreadable("an answer of a batch has no status", own_id)
        if question.by is By.ID and _is_gone(status, body):
            return Page(request_id=own_id)
        if status != 200:
            return self._refused(status, headers, body, question.collection, own_id)
        try:
            if question.by is By.ID:
                _refuse_error(body, own_id)
                body = {"value": [body]}
            return self._page(body, question.collection, own_id, is_first=True)
        except Unreadable as error:
            return error

    def _page(
        self, content: object, collection: Collection, request_id: str, *, is_first: bool
    ) -> Page:
        _refuse_error(content, request_id)
        rows = content.get("value") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(rows, list):
            raise _unreadable("it holds no list of rows", request_id)
        try:
            read = tuple(read_row(collection, row) for row in rows)
        except ValueError as error:
            raise _unreadable(str(error), request_id) from error
        link = content.get("@odata.nextLink")
        if link is not None and (
            not isinstance(link, str) or origin(link) != origin(self._transport.base_url)
        ):
            raise _unreadable("its next page is at another address", request_id)
        count = content.get("@odata.count")
        if count is not None and type(count) is not int:
            raise _unreadable("its @odata.count is no number", request_id)
        # A longer list is compared as a whole, by `ListGuard`, once its last page is read.
        if count is not None and is_first and link is None and count != len(read):
            raise _unreadable(f"it counts {count} rows and brings {len(read)}", request_id)
        return Page(rows=read, link=link, count=count, request_id=request_id)

    def _refused(
        self,
        status: int,
        headers: Mapping[str, str],
        body: object,
        collection: Collection,
        request_id: str,
    ) -> ServiceError:
        return refusal(
            status,
            headers,
            body,
            permission=PERMISSIONS[collection],
            now=self._now(),
            request_id=request_id,
        )


def _check_batch(questions: Sequence[Question]) -> Collection:
    """The one collection that all are about. Raises InputError for what would not be answered."""
    collections = {question.collection for question in questions}
    if len(collections) != 1 or len(questions) > BATCH or not all(q.value for q in questions):
        raise InputError(
            f"a batch of {len(questions)} questions cannot be asked",
            rule="bad-batch",
            remedy="Ask 1 to 20 questions of one collection, none of them empty: "
            "an empty filter would return every device.",
        )
    return collections.pop()


def _batch_body(questions: Sequence[Question]) -> bytes:
    requests = [
        {"id": str(number), "method": "GET", "url": question_path(question)}
        for number, question in enumerate(questions)
    ]
    return json.dumps({"requests": requests}).encode("utf-8")


def _by_id(content: object, asked: int, request_id: str) -> dict[str, Mapping[str, Any]]:
    """The answers by the ids of their questions.

    Raises Unreadable where an id comes twice, or belongs to no question.
    """
    responses = content.get("responses") if isinstance(content, dict) else None
    if not isinstance(responses, list) or not all(isinstance(one, dict) for one in responses):
        raise _unreadable("it holds no list of answers", request_id)
    answers = {str(one.get("id")): one for one in responses}
    if len(answers) != len(responses):
        raise _unreadable("it answers one question twice", request_id)
    if answers.keys() - set(map(str, range(asked))):
        raise _unreadable("it answers a question that was not asked", request_id)
    return answers


def _refuse_error(content: object, request_id: str) -> None:
    """Raise Unreadable for a success that speaks of an error: which of the two holds is unknown."""
    if isinstance(content, dict) and content.get("error") is not None:
        raise _unreadable("it has an error beside what it shows", request_id)


def _is_gone(status: int, body: object) -> bool:
    """Whether Graph itself says that there is no such record, not a gateway in its place."""
    return status == 404 and isinstance(body, dict) and "error" in body


def body_of(reply: Reply) -> object:
    try:
        return parse_json(reply)
    except Unreadable:
        return reply.body.decode("utf-8", errors="replace")


def own_request_id(reply: Reply, request: Request) -> str:
    """The service's id of the request, else ours.

    Raises Unreadable where the answer says that it is to another request: `client-request-id` is
    given back as it was sent (https://learn.microsoft.com/graph/errors, read 2026-11).
    """
    sent, answered = request.headers["client-request-id"], reply.header("client-request-id")
    if not is_same(sent, answered):
        raise _unreadable(f"it answers another request than {sent}", answered or sent)
    return reply.header("request-id") or sent


def _unreadable(reason: str, request_id: str) -> Unreadable:
    return Unreadable(
        f"Microsoft Graph's answer is not what it promises: {reason}",
        remedy="Nothing was concluded from it. Verify the run again later.",
        request_id=request_id,
    )
