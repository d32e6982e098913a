"""One collection of a tenant, read by list or by questions, whatever the service does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from partner_tools.cancellation import CancellationToken
from partner_tools.clients.graph import GraphPage
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.errors import Rejected, ServiceError, Throttled, Unauthorized, Unavailable
from partner_tools.events import Event
from partner_tools.outstanding.search import Collection, Question, SearchAnswer, SearchTarget
from partner_tools.outstanding.types import Found
from partner_tools.pacing import Policy
from partner_tools.runs.tenant import TenantReader

INTUNE, AUTOPILOT = Collection.INTUNE, Collection.AUTOPILOT
DENIED = Rejected("no", status=403)
NOT_UNDERSTOOD = Rejected("what?", status=400)


def row(serial: str) -> Found:
    return Found(ids={"id": f"id-{serial}"}, attributes={"serialNumber": serial})


@dataclass
class Tenant:
    """A tenant that answers by rules; remembers what it was asked."""

    pages: list[GraphPage | ServiceError] = field(default_factory=list)
    respond: Callable[[Question], GraphPage | ServiceError] = lambda _: GraphPage()
    batches: list[Sequence[Question]] = field(default_factory=list)
    links: list[str | None] = field(default_factory=list)

    def page(self, collection: Collection, link: str | None = None) -> GraphPage:
        self.links.append(link)
        told = self.pages.pop(0)
        if isinstance(told, ServiceError):
            raise told
        return told

    def batch(self, questions: Sequence[Question]) -> Sequence[GraphPage | ServiceError]:
        self.batches.append(tuple(questions))
        return [self.respond(question) for question in questions]


class Open:
    """A pace without limits, which counts permits."""

    def __init__(self) -> None:
        self.permits = 0

    def acquire(self, stop: CancellationToken) -> bool:
        self.permits += 1
        return not stop.is_set()

    def succeeded(self) -> None:
        pass

    def throttled(self, retry_after: float | None) -> None:
        pass

    def withdrawn(self) -> None:
        pass


class Clock(CancellationToken):
    """Time that passes only by waiting."""

    def __init__(self, *, stopped: bool = False) -> None:
        super().__init__()
        self.now = 0.0
        self.waits: list[float] = []
        self.stopped = stopped

    def is_set(self) -> bool:
        return self.stopped

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        self.now += timeout or 0.0
        return self.stopped


def executor(clock: Clock | None = None, pace: Open | None = None) -> RequestExecutor:
    clock = clock or Clock()
    return RequestExecutor(
        pace=pace or Open(),
        policy=Policy(),
        stop=clock,
        clock=lambda: clock.now,
        jitter=lambda: 0.5,
        renew=lambda: None,
    )


def devices(*serials: str) -> list[SearchTarget]:
    return [SearchTarget(index=number, serial=serial) for number, serial in enumerate(serials)]


def reader(tenant: Tenant, by: RequestExecutor | None = None) -> TenantReader:
    def record(events: Sequence[Event]) -> None:
        raise AssertionError(events)

    return TenantReader(
        client=tenant,
        executor=by or executor(),
        record=record,
        now=lambda: datetime(2026, 4, 17, tzinfo=UTC),
    )


def read(
    tenant: Tenant, collection: Collection, *serials: str, by: RequestExecutor | None = None
) -> tuple[dict[str, SearchAnswer], ServiceError | None]:
    answers, failure = reader(tenant, by).read(collection, devices(*serials))
    return {question.value: answer for question, answer in answers.items()}, failure


def test_few_devices_are_asked_for_in_full_batches() -> None:
    tenant, pace = Tenant(), Open()
    serials = [f"S{number}" for number in range(40)]
    answers, failure = read(tenant, INTUNE, *serials, by=executor(pace=pace))
    assert (len(answers), failure) == (40, None)
    assert [20, 20] == [len(batch) for batch in tenant.batches]
    assert 40 == pace.permits


def test_many_devices_are_read_from_the_list_which_is_given_up_when_it_is_too_long() -> None:
    serials = [f"S{number}" for number in range(100)]
    short = Tenant(pages=[GraphPage(rows=(row("S7"), row("S70x")))])
    answers, _ = read(short, INTUNE, *serials)
    assert not short.batches
    assert ["S7"] == [serial for serial, answer in answers.items() if answer.rows]
    long = Tenant(pages=[GraphPage(rows=(row("x"),), link="more")])
    answers, failure = read(long, INTUNE, *serials)
    assert (len(answers), len(long.links), len(long.batches), failure) == (100, 1, 5, None)


def test_what_was_throttled_is_asked_again_after_the_longest_pause() -> None:
    clock, times = Clock(), dict.fromkeys(("S1", "S2"), 0)

    def respond(question: Question) -> GraphPage | ServiceError:
        if question.value in times and times[question.value] == 0:
            times[question.value] = 1
            return Throttled("wait", retry_after={"S1": 2.128, "S2": None}[question.value])
        return GraphPage(rows=(row(question.value),))

    tenant = Tenant(respond=respond)
    answers, failure = read(tenant, INTUNE, "S1", "S2", "S3", by=executor(clock))
    assert failure is None
    assert all(answer.rows for answer in answers.values())
    assert [3, 2] == [len(batch) for batch in tenant.batches]
    assert [2.128] == clock.waits


@pytest.mark.parametrize("error", [DENIED, Unauthorized("no", status=401)])
def test_what_every_question_is_refused_is_not_asked_of_the_rest(error: ServiceError) -> None:
    tenant = Tenant(respond=lambda _: error)
    # Enough that listing is tried first, and refused as well would end it there.
    tenant.pages = [GraphPage(rows=(row("x"),), link="more")]
    serials = [f"S{number}" for number in range(100)]
    answers, failure = read(tenant, INTUNE, *serials)
    assert failure is error
    assert len(tenant.batches) <= 2
    assert all(answer.error for answer in answers.values())


def test_one_question_that_fails_leaves_the_others_their_answers() -> None:
    broken = Unavailable("broken", status=503)
    tenant = Tenant(respond=lambda asked: broken if asked.value == "S1" else GraphPage())
    answers, failure = read(tenant, INTUNE, "S1", "S2")
    assert failure is broken
    assert ("broken", None) == (answers["S1"].error, answers["S2"].error)


@pytest.mark.parametrize(
    "told", [NOT_UNDERSTOOD, GraphPage(rows=(row("other"),), link="the rest of everything")]
)
def test_a_filter_that_is_not_understood_is_answered_from_the_list(
    told: GraphPage | ServiceError,
) -> None:
    tenant = Tenant(
        respond=lambda _: told,
        pages=[
            GraphPage(rows=(row("other"),), link="2"),
            GraphPage(rows=(row("S1"),), request_id="last"),
        ],
    )
    answers, failure = read(tenant, INTUNE, "S1", "S2")
    assert failure is None
    assert answers["S1"] == SearchAnswer(rows=(row("S1"),), request_id="last")
    assert answers["S2"] == SearchAnswer(request_id="last")
    assert [None, "2"] == tenant.links


def test_a_serial_that_no_filter_takes_is_looked_for_in_the_list() -> None:
    tenant = Tenant(pages=[GraphPage(rows=(row("A-B"),))])
    answers, _ = read(tenant, AUTOPILOT, "A-B")
    assert answers["A-B"].rows == (row("A-B"),)
    assert not tenant.batches


def test_the_rest_of_a_long_answer_is_read() -> None:
    tenant = Tenant(
        respond=lambda _: GraphPage(rows=(row("1A"),), link="rest"),
        pages=[GraphPage(rows=(row("A"),))],
    )
    answers, _ = read(tenant, AUTOPILOT, "A")
    assert answers["A"].rows == (row("1A"), row("A"))
    assert ["rest"] == tenant.links


CIRCLES: list[list[GraphPage | ServiceError]] = [
    [GraphPage(rows=(row("A"),), link="a"), GraphPage(rows=(row("B"),), link="a")],
    [GraphPage(rows=(row("A"),), link="a"), GraphPage(rows=(row("A"),), link="b")],
    [GraphPage(link=f"{number}") for number in range(12)],
]


@pytest.mark.parametrize("pages", CIRCLES)
def test_pages_that_lead_in_a_circle_answer_nothing(pages: list[GraphPage | ServiceError]) -> None:
    answers, failure = read(Tenant(pages=list(pages)), AUTOPILOT, "A-B")
    assert failure is not None
    assert failure.rule == "page-loop"
    assert answers["A-B"].error


def test_a_list_in_a_circle_is_left_for_asking_where_that_is_possible() -> None:
    tenant = Tenant(
        pages=[GraphPage(rows=(row("S1"),), link="a"), GraphPage(rows=(row("S1"),), link="b")]
    )
    serials = [f"S{number}" for number in range(200)]
    answers, failure = read(tenant, INTUNE, *serials)
    assert (failure, len(tenant.batches), len(answers)) == (None, 10, 200)


def test_nothing_is_asked_where_nothing_is_known() -> None:
    tenant = Tenant()
    found = reader(tenant).read(Collection.ENTRA, [SearchTarget(index=0, serial="A")])
    assert found == ({}, None)
    assert not tenant.batches
