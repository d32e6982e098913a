"""Reads one collection of a customer's tenant, patiently: as a list, or by questions in batches.

The rule it keeps: a list that was not read to its end answers nothing, and a filter that the
service did not understand is answered from the list instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from partner_tools.clients.answers import ListGuard
from partner_tools.clients.graph import GraphPage
from partner_tools.engine.rate_limiter import FixedRate
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.errors import (
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.events import Event
from partner_tools.outstanding.search import (
    BATCH,
    By,
    Collection,
    Question,
    SearchAnswer,
    SearchTarget,
    answers_from_list,
    approach,
    is_stray,
)
from partner_tools.outstanding.types import Found

LIMIT = FixedRate(requests=1000, seconds=20.0)
"""The smallest of the limits that Microsoft publishes for what is read here: Intune's enrollment
service, per app and tenant. Each question of a batch counts
(https://learn.microsoft.com/graph/throttling-limits, read 2026-11)."""


class Reader(Protocol):
    """A tenant that can be read. `clients.graph.Graph` is one."""

    def page(self, collection: Collection, link: str | None = None) -> GraphPage:
        """One page of a collection."""

    def batch(self, questions: Sequence[Question]) -> Sequence[GraphPage | ServiceError]:
        """Answers to up to 20 questions, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantReader:
    """The way to one tenant. `record` makes events durable; `now` is the wall clock in UTC.

    Nothing is read after `deadline`, in seconds of the executor's clock.
    """

    client: Reader
    executor: RequestExecutor
    record: Callable[[Sequence[Event]], None]
    now: Callable[[], datetime]
    associations: bool = True
    """Whether to look for device associations, whose interface is undocumented."""
    deadline: float | None = None

    def read(
        self, collection: Collection, seekers: Sequence[SearchTarget]
    ) -> tuple[dict[Question, SearchAnswer], ServiceError | None]:
        """The answers to every question about the devices, and what kept any from being answered.

        Raises AuthError if no token can be obtained, and Interrupted.
        """
        reader, way = self, approach(collection, seekers)
        if self.deadline is not None:
            left = self.deadline - self.executor.clock()
            if left <= 0.0:
                late = Unavailable(
                    "there was no time left to check the customer's tenant",
                    remedy="Allow more with --snapshot-timeout, or verify the run afterwards.",
                )
                return dict.fromkeys(way.questions, _failed(late)), late
            within = replace(self.executor, policy=self.executor.policy.within(left))
            reader = replace(self, executor=within)
        if not way.questions:
            return {}, None
        try:
            listing = _list_within(reader, collection, way.pages)
        except ServiceError as error:
            return dict.fromkeys(way.questions, _failed(error)), error
        if listing is not None:
            return answers_from_list(way.questions, listing.rows, listing.request_id), None
        return _ask_all(reader, collection, way.questions)


Told = dict[Question, GraphPage | ServiceError]


def _list_within(
    tenant: TenantReader, collection: Collection, pages: int | None
) -> SearchAnswer | None:
    """The whole list; None if asking is the better way."""
    if pages == 0:
        return None
    try:
        return _read_list(tenant, collection, pages)
    except Unreadable:
        if pages is None:
            raise
        return None


def _read_list(
    tenant: TenantReader, collection: Collection, pages: int | None, begun: GraphPage | None = None
) -> SearchAnswer | None:
    """Every row of a collection, or of a list whose first page was had; None beyond `pages`.

    Raises Unreadable if the pages lead in a circle, or contradict their count.
    """
    guard = ListGuard(collection)
    rows: dict[str, Found] = {}
    link, read = None, 0
    while True:
        page = begun or tenant.executor.call_with_retry(
            partial(tenant.client.page, collection, link)
        )
        begun, link, read = None, page.link, read + 1
        rows |= {row.ids["id"]: row for row in page.rows if row.ids["id"] not in rows}
        guard.check([row.ids["id"] for row in page.rows], link, page.count)
        if link is None:
            return SearchAnswer(rows=tuple(rows.values()), request_id=page.request_id)
        if pages is not None and read >= pages:
            return None


def _ask_all(
    tenant: TenantReader, collection: Collection, questions: Sequence[Question]
) -> tuple[dict[Question, SearchAnswer], ServiceError | None]:
    """Ask one by one, in batches; what the filters did not understand is read from the list."""
    told = _ask(tenant, questions)
    doubtful = [question for question, one in told.items() if _is_doubtful(question, one)]
    plain = {question: one for question, one in told.items() if question not in set(doubtful)}
    answers = {question: _answer(tenant, question, one) for question, one in plain.items()}
    failure = next((one for one in plain.values() if isinstance(one, ServiceError)), None)
    if not doubtful:
        return answers, failure
    try:
        listing = _read_list(tenant, collection, None) or SearchAnswer()
    except ServiceError as error:
        return answers | dict.fromkeys(doubtful, _failed(error)), error
    return answers | answers_from_list(doubtful, listing.rows, listing.request_id), failure


def _is_doubtful(question: Question, told: GraphPage | ServiceError) -> bool:
    """Whether the service did not understand the question: it says so, or answers another."""
    if isinstance(told, ServiceError):
        return isinstance(told, Rejected) and told.status == 400 and question.by is not By.ID
    return any(is_stray(question, row) for row in told.rows)


def _answer(
    tenant: TenantReader, question: Question, told: GraphPage | ServiceError
) -> SearchAnswer:
    if isinstance(told, ServiceError):
        return _failed(told)
    rows = told.rows
    if told.link is not None:
        try:
            rest = _read_list(tenant, question.collection, None, told)
        except ServiceError as error:
            return _failed(error)
        rows = rest.rows if rest else rows
    return SearchAnswer(rows=rows, request_id=told.request_id)


def _failed(error: ServiceError) -> SearchAnswer:
    return SearchAnswer(error=error.message, request_id=error.request_id)


def _ask(tenant: TenantReader, questions: Sequence[Question]) -> Told:
    """Answer each question. Stops where the service would refuse all the others too."""
    told: Told = {}
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        answers, end = _ask_batch(tenant, batch)
        told |= answers
        if end is not None:
            return told | dict.fromkeys(questions[start + BATCH :], end)
    return told


def _ask_batch(
    tenant: TenantReader, questions: Sequence[Question]
) -> tuple[Told, ServiceError | None]:
    """One batch, as often as it takes; and the error that ends all asking, if there is one."""
    told: Told = {}
    waiting = list(questions)

    def attempt() -> None:
        for _ in waiting[1:]:
            tenant.executor.permit()
        told.update(zip(waiting, tenant.client.batch(waiting), strict=True))
        again = [one for one in (told[each] for each in waiting) if isinstance(one, _AGAIN)]
        waiting[:] = [each for each in waiting if isinstance(told[each], _AGAIN)]
        if again:
            raise max(again, key=lambda error: error.retry_after or 0.0)

    try:
        tenant.executor.call_with_retry(attempt)
    except ServiceError as error:
        answered = any(isinstance(one, GraphPage) for one in told.values())
        return dict.fromkeys(questions, error) | told, None if answered else error
    refused = [one for one in told.values() if isinstance(one, Rejected) and one.status == 403]
    return told, refused[0] if len(refused) == len(questions) else None


_AGAIN = (Throttled, Unavailable, Unauthorized)
