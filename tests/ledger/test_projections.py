"""Whatever legal events come in whatever groups: what is stored is what they fold to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from partner_tools.events import TRANSITIONS, Event, History, Kind, State, advance, fold
from partner_tools.json_forms import digest_of_bytes
from partner_tools.ledger import Ledger, RunStart, new_run_id, sqlite_url
from partner_tools.ledger.codec import history_columns, history_from
from partner_tools.model import Device, Identity, Outcome
from tests.postgresql import DATABASES

DEVICES = 3
ANYTHING = st.text(st.characters(), max_size=6) | st.sampled_from(["\0", "\ud800", "\U0001f4a3"])
DETAIL = st.none() | ANYTHING
OUTCOMES = st.sampled_from([outcome.value for outcome in Outcome])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=6,
)

PAYLOADS: dict[Kind, st.SearchStrategy[dict[str, Any]]] = {
    Kind.RESOLVED: st.fixed_dictionaries(
        {"outcome": OUTCOMES},
        optional={
            "customer": DETAIL,
            "rule": DETAIL,
            "detail": DETAIL,
            "remedy": DETAIL,
            "target": st.fixed_dictionaries({"batchId": ANYTHING, "deviceId": ANYTHING}),
            "found": st.fixed_dictionaries({"serialNumber": DETAIL, "hardwareHash": DETAIL}),
        },
    ),
    Kind.INTENDED: st.fixed_dictionaries(
        {"requestId": ANYTHING, "correlationId": DETAIL},
        optional={"step": ANYTHING, "record": ANYTHING},
    ),
    Kind.PASSED: st.fixed_dictionaries({"step": ANYTHING}, optional={"requestId": DETAIL}),
    Kind.PARKED: st.fixed_dictionaries(
        {"step": ANYTHING, "approval": ANYTHING}, optional={"detail": DETAIL}
    ),
    Kind.WITHDRAWN: st.fixed_dictionaries({}, optional={"detail": DETAIL}),
    Kind.DEFERRED: st.fixed_dictionaries({}, optional={"detail": DETAIL, "code": DETAIL}),
    Kind.DOUBTED: st.fixed_dictionaries({"answered": st.booleans(), "detail": DETAIL}),
    Kind.ACCEPTED: st.fixed_dictionaries({"handle": ANYTHING}),
    Kind.RECALLED: st.fixed_dictionaries({"present": st.booleans(), "detail": DETAIL}),
    Kind.ANSWERED: st.fixed_dictionaries(
        {"outcome": OUTCOMES, "detail": DETAIL}, optional={"requestId": DETAIL, "status": JSON}
    ),
    Kind.OBSERVED: st.dictionaries(ANYTHING, JSON, max_size=3),
    Kind.RESTORING: st.fixed_dictionaries({"requestId": ANYTHING, "batchId": ANYTHING}),
    Kind.RESTORED: st.fixed_dictionaries({"done": st.booleans(), "detail": DETAIL}),
}
ZONES: st.SearchStrategy[tzinfo] = st.integers(-12, 12).map(
    lambda hours: timezone(timedelta(hours=hours))
)
EARLIEST, LATEST = datetime(2020, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001
MOMENTS = st.datetimes(EARLIEST, LATEST, timezones=ZONES)

Step = tuple[int, Kind, datetime, dict[str, Any]]


@st.composite
def lives(draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[list[Step]]:
    """Legal events of a few devices, in groups as they are recorded together."""
    histories = [History() for _ in range(DEVICES)]
    groups: list[list[Step]] = []
    for size in draw(st.lists(st.integers(1, 5), max_size=6)):
        group: list[Step] = []
        for _ in range(size):
            device = draw(st.integers(0, DEVICES - 1))
            state = histories[device].state
            kind = draw(st.sampled_from([k for s, k in TRANSITIONS if s is state]))
            step = (device, kind, draw(MOMENTS), draw(PAYLOADS[kind]))
            histories[device] = advance(histories[device], event("", step))
            group.append(step)
        groups.append(group)
    return groups


def event(run: Any, step: Step) -> Event:
    device, kind, at, payload = step
    return Event(run=run, kind=kind, at=at, device=device, payload=payload)


def as_stored(step: Step) -> Step:
    """The step as it comes out of JSON and UTC, with a digest for a hardware hash."""
    device, kind, at, payload = step
    plain = json.loads(json.dumps(payload))
    found = plain.get("found", {}) if kind is Kind.RESOLVED else {}
    if hardware_hash := found.pop("hardwareHash", None):
        hashed = digest_of_bytes(hardware_hash.encode("utf-8", "surrogatepass"))
        found["hardwareHashDigest"] = hashed
    return device, kind, at.astimezone(UTC), plain


def as_columns(history: History) -> History:
    """The history with a customer that a column of text can hold."""
    if history.customer is None:
        return history
    shown = history.customer.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return replace(history, customer=shown)


@pytest.fixture(scope="module", params=DATABASES)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Ledger, Iterator[int]]]:
    """A ledger for all examples, each a run of its own; in the end it has to verify."""
    if request.param == "sqlite":
        url = sqlite_url(tmp_path_factory.mktemp("lives") / "ledger.db")
    else:
        url = request.getfixturevalue("new_postgresql")()
    with Ledger.open(url) as ledger:
        yield ledger, count()
        assert ledger.verify() == []


@pytest.mark.slow
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(groups=lives())
def test_devices_are_stored_as_their_events_fold(
    shared: tuple[Ledger, Iterator[int]], start: RunStart, groups: list[list[Step]]
) -> None:
    ledger, numbers = shared
    run = new_run_id(start.at, next(numbers).to_bytes(3, "big"))
    named = [Device(row=n, identity=Identity(serial_number=f"S{n}")) for n in range(DEVICES)]
    ledger.create_run(replace(start, run=run), named)
    for group in groups:
        ledger.record([event(run, step) for step in group])
    told = [event(run, as_stored(step)) for group in groups for step in group]
    expected = [
        as_columns(fold(each for each in told if each.device == device))
        for device in range(DEVICES)
    ]
    assert [device.history for device in ledger.devices(run)] == expected
    outcomes = [history.outcome for history in expected]
    counts = {outcome: outcomes.count(outcome) for outcome in outcomes}
    assert ledger.run(run).counts == counts
    assert [each.event for each in ledger.events(run)][1:] == told


def test_a_device_in_flight_is_resolved_anew_in_one_call(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, [Device(row=0, identity=Identity(serial_number="S0"))])

    def happened(kind: Kind, **payload: Any) -> Event:
        return event(start.run, (0, kind, start.at, payload))

    ledger.record([happened(Kind.RESOLVED, outcome="pending", found={"serialNumber": "X"})])
    ledger.record([happened(Kind.INTENDED, requestId="1")])
    again = happened(Kind.RESOLVED, outcome="absent", found={"serialNumber": "S0"})
    ledger.record([happened(Kind.WITHDRAWN), again])
    assert [device.history.outcome for device in ledger.devices(start.run)] == [Outcome.ABSENT]


def test_a_history_survives_whatever_field_it_gets() -> None:
    """Every field but those with columns of their own is kept, new ones too."""
    history = History(
        state=State.RESENT,
        outcome=Outcome.UNKNOWN,
        customer="c",
        rule="r",
        detail="d",
        remedy="m",
        request_id="1",
        correlation_id="2",
        answered_request_id="3",
        attempts=4,
        silent=True,
        handle="h",
        step="s",
        record="o",
        passed=("a", "b"),
        approval="p",
        restored="done",
        settled_at=datetime(2026, 4, 17, tzinfo=UTC),
        evidence=({"plane": "autopilot", "ids": {"a": [1]}},),
        looked_before=1,
    )
    defaults = History()
    names = history.__slots__
    assert [name for name in names if getattr(history, name) == getattr(defaults, name)] == []
    assert history_from(history_columns(history)) == history
    assert history_from(history_columns(defaults)) == defaults
