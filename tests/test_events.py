"""The life of a device: what each event leads to, and what can never follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from partner_tools.events import (
    TRANSITIONS,
    Event,
    History,
    IllegalEventError,
    Kind,
    State,
    advance,
    fold,
)
from partner_tools.model import Outcome, RunId

AT = datetime(2026, 4, 17, 10, 15, tzinfo=UTC)
PAYLOADS: dict[Kind, dict[str, Any]] = {
    Kind.RESOLVED: {"outcome": "pending", "customer": "T"},
    Kind.INTENDED: {"requestId": "R1", "correlationId": "C1"},
    Kind.WITHDRAWN: {},
    Kind.DEFERRED: {"detail": "429", "status": 429},
    Kind.DOUBTED: {"answered": False, "detail": "reset"},
    Kind.ACCEPTED: {"handle": "H1"},
    Kind.RECALLED: {"present": True},
    Kind.ANSWERED: {"outcome": "removed", "status": 204, "requestId": "R1"},
    Kind.PASSED: {"step": "delete-from-intune", "requestId": "R1"},
    Kind.PARKED: {"approval": "A1", "requestId": "R1"},
    Kind.OBSERVED: {"plane": "autopilot", "status": "clear"},
    Kind.RESTORING: {"requestId": "R9", "batchId": "B"},
    Kind.RESTORED: {"done": True},
}


def event(kind: Kind, **payload: Any) -> Event:
    return Event(run=RunId("r"), kind=kind, at=AT, device=0, payload={**PAYLOADS[kind], **payload})


def life(*kinds: Kind) -> History:
    return fold(event(kind) for kind in kinds)


@pytest.mark.slow
@pytest.mark.parametrize(("state", "kind"), [(s, k) for s in State for k in PAYLOADS])
def test_only_the_table_decides_what_may_follow(state: State, kind: Kind) -> None:
    history = History(state=state)

    if (state, kind) in TRANSITIONS:
        assert advance(history, event(kind)).state is TRANSITIONS[state, kind]
    else:
        with pytest.raises(IllegalEventError):
            advance(history, event(kind))


@pytest.mark.parametrize(
    ("kinds", "outcome", "request_id"),
    [
        ((Kind.RESOLVED,), Outcome.PENDING, None),
        ((Kind.RESOLVED, Kind.INTENDED), Outcome.UNKNOWN, "R1"),
        ((Kind.RESOLVED, Kind.INTENDED, Kind.WITHDRAWN), Outcome.PENDING, "R1"),
        ((Kind.RESOLVED, Kind.INTENDED, Kind.DEFERRED), Outcome.PENDING, None),
        ((Kind.RESOLVED, Kind.INTENDED, Kind.DOUBTED), Outcome.UNKNOWN, "R1"),
        ((Kind.RESOLVED, Kind.INTENDED, Kind.DOUBTED, Kind.INTENDED), Outcome.UNKNOWN, "R1"),
        ((Kind.RESOLVED, Kind.INTENDED, Kind.RECALLED), Outcome.PENDING, "R1"),
        ((Kind.RESOLVED, Kind.INTENDED, Kind.ACCEPTED), Outcome.UNKNOWN, "R1"),
        ((Kind.RESOLVED, Kind.INTENDED, Kind.ANSWERED), Outcome.REMOVED, None),
    ],
)
def test_a_request_id_lives_until_its_answer(
    kinds: tuple[Kind, ...], outcome: Outcome, request_id: str | None
) -> None:
    history = life(*kinds)

    assert (outcome, request_id) == (history.outcome, history.request_id)


def test_an_answer_that_tells_nothing_spends_the_request_id() -> None:
    history = fold([event(Kind.RESOLVED), event(Kind.INTENDED), event(Kind.DOUBTED, answered=True)])

    assert (State.DOUBT, None, False) == (history.state, history.request_id, history.silent)


@pytest.mark.parametrize(
    ("last", "answered"),
    [
        (event(Kind.WITHDRAWN), None),
        (event(Kind.DOUBTED), None),
        (event(Kind.DOUBTED, answered=True), "R1"),
        (event(Kind.DEFERRED), "R1"),
        (event(Kind.ANSWERED, requestId="S7"), "S7"),
        (event(Kind.ANSWERED, requestId=None), "R1"),
        (event(Kind.PASSED, requestId="S7"), "S7"),
        (event(Kind.PASSED, requestId=None), "R1"),
        (event(Kind.PARKED, requestId="S7"), "S7"),
        (event(Kind.PARKED, requestId=None), "R1"),
    ],
    ids=lambda each: str(each.kind) if isinstance(each, Event) else str(each),
)
def test_which_request_id_is_kept_after_an_answer(last: Event, answered: str | None) -> None:
    """That of the service's answer, else our own; none where nothing was answered."""
    history = advance(life(Kind.RESOLVED, Kind.INTENDED), last)

    assert history.answered_request_id == answered


def test_a_later_silence_keeps_the_request_id_of_the_last_answer() -> None:
    first = life(Kind.RESOLVED, Kind.INTENDED, Kind.DEFERRED)
    second = advance(first, event(Kind.INTENDED, requestId="R2", correlationId="C2"))

    silent = advance(second, event(Kind.DOUBTED))

    assert (silent.answered_request_id, silent.request_id) == ("R1", "R2")
    assert (silent.silent, silent.attempts, silent.correlation_id) == (True, 2, "C2")


def test_a_withdrawn_attempt_is_none() -> None:
    assert life(Kind.RESOLVED, Kind.INTENDED, Kind.WITHDRAWN).attempts == 0
    twice = life(Kind.RESOLVED, Kind.INTENDED, Kind.DEFERRED, Kind.INTENDED, Kind.DEFERRED)
    third = advance(advance(twice, event(Kind.INTENDED)), event(Kind.WITHDRAWN))
    assert (twice.attempts, third.attempts) == (2, 2)
    assert life(Kind.RESOLVED, Kind.INTENDED, Kind.DEFERRED, Kind.INTENDED).attempts == 2


def test_the_correlation_id_is_the_answers_or_that_of_the_request() -> None:
    asked = life(Kind.RESOLVED, Kind.INTENDED)

    assert advance(asked, event(Kind.ANSWERED, correlationId="C9")).correlation_id == "C9"
    assert advance(asked, event(Kind.ANSWERED)).correlation_id == "C1"


def test_a_device_looked_for_before_it_was_settled_says_so() -> None:
    looked = life(Kind.RESOLVED, Kind.OBSERVED, Kind.INTENDED)

    assert looked.looked_before is None
    assert life(Kind.RESOLVED).looked_before is None
    assert advance(looked, event(Kind.ANSWERED)).looked_before == 1
    assert advance(looked, event(Kind.RECALLED, present=False)).looked_before == 1


def test_a_withdrawn_repetition_leaves_the_first_request_in_doubt() -> None:
    history = life(Kind.RESOLVED, Kind.INTENDED, Kind.DOUBTED, Kind.INTENDED, Kind.WITHDRAWN)

    assert (State.DOUBT, Outcome.UNKNOWN) == (history.state, history.outcome)


def test_a_look_that_finds_nothing_settles_as_absent() -> None:
    gone = event(Kind.RECALLED, present=False, detail="gone")

    history = advance(life(Kind.RESOLVED, Kind.INTENDED), gone)

    assert (State.SETTLED, Outcome.ABSENT, "gone", AT) == (
        history.state,
        history.outcome,
        history.detail,
        history.settled_at,
    )


def test_a_planned_refusal_is_settled_at_once() -> None:
    history = fold([event(Kind.RESOLVED, outcome="not-found", rule="not-listed")])

    assert (State.SETTLED, Outcome.NOT_FOUND) == (history.state, history.outcome)


def test_evidence_keeps_the_time_of_its_event() -> None:
    later = AT + timedelta(minutes=5)
    seen = Event(
        run=RunId("r"), kind=Kind.OBSERVED, at=later, device=0, payload=PAYLOADS[Kind.OBSERVED]
    )

    history = advance(life(Kind.RESOLVED, Kind.INTENDED, Kind.ANSWERED), seen)

    assert ({"plane": "autopilot", "status": "clear", "observedAt": later.isoformat()},) == (
        history.evidence
    )


def test_steps_pass_one_after_the_other_and_each_has_a_request_of_its_own() -> None:
    first = life(Kind.RESOLVED, Kind.INTENDED, Kind.PASSED)
    assert (first.state, first.outcome) == (State.BETWEEN, Outcome.PENDING)
    assert (first.passed, first.request_id) == (("delete-from-intune",), None)
    second = advance(first, event(Kind.INTENDED, requestId="R2", step="unassign-user", record="Z"))
    assert (second.step, second.record, second.request_id) == ("unassign-user", "Z", "R2")
    done = advance(second, event(Kind.PASSED, step="unassign-user"))
    assert done.passed == ("delete-from-intune", "unassign-user")
    assert advance(done, event(Kind.ANSWERED)).outcome is Outcome.REMOVED


def test_what_waits_for_an_approval_keeps_its_code_until_the_step_passes() -> None:
    parked = life(Kind.RESOLVED, Kind.INTENDED, Kind.PARKED)
    assert (parked.state, parked.outcome, parked.approval) == (
        State.BETWEEN,
        Outcome.PENDING,
        "A1",
    )
    sent = advance(parked, event(Kind.INTENDED))
    assert sent.approval == "A1"
    assert advance(sent, event(Kind.PASSED)).approval is None


@pytest.mark.parametrize(
    ("payload", "restored"),
    [({"done": True}, "done"), ({"done": False, "detail": "808"}, "808")],
)
def test_a_restoration_is_done_or_says_why_not(payload: dict[str, Any], restored: str) -> None:
    begun = life(Kind.RESOLVED, Kind.INTENDED, Kind.ANSWERED, Kind.RESTORING)

    assert begun.restored == "requested"
    assert advance(begun, event(Kind.RESTORED, **payload)).restored == restored
