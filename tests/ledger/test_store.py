"""What is recorded comes back as it was, on both databases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from partner_tools.errors import LedgerError, UnknownRunError
from partner_tools.events import IN_DOUBT, Event, History, IllegalEventError, Kind, State, fold
from partner_tools.json_forms import digest
from partner_tools.ledger import Ledger, RunStart
from partner_tools.ledger.records import RunHead
from partner_tools.model import ChannelName, Device, Identity, Outcome, RunId, RunState, Target

AT = datetime(2026, 4, 17, 10, 16, tzinfo=UTC)
TENANT = "9c4f0e0a-51b2-4d0e-8a1f-6f2f6a5f0b11"
RUN = RunId("20260417-101530-4f2a9c")


def happened(
    kind: Kind, device: int | None = None, at: datetime = AT, run: RunId = RUN, **payload: Any
) -> Event:
    return Event(run=run, kind=kind, at=at, device=device, payload=payload)


def resolved(device: int, *, run: RunId = RUN, serial: str = "S") -> Event:
    return happened(
        Kind.RESOLVED,
        device,
        run=run,
        outcome="pending",
        customer=TENANT,
        target={"batchId": "Contoso 2024", "deviceId": f"id-{device}"},
        found={"serialNumber": serial, "model": "T14", "hardwareHash": "T2" * 2000},
    )


def planned(**content: Any) -> tuple[str, str, Event]:
    plan_digest = digest(content)
    text = json.dumps({**content, "digest": plan_digest})
    return text, plan_digest, happened(Kind.PLANNED, digest=plan_digest)


def removal(device: int, at: datetime = AT, run: RunId = RUN) -> list[Event]:
    return [
        happened(Kind.INTENDED, device, at, run, requestId=f"r-{device}", correlationId="c"),
        happened(Kind.ANSWERED, device, at, run, outcome="removed", status=204),
    ]


def plain(devices: int) -> list[Device]:
    return [Device(row=n + 2, identity=Identity(serial_number=f"S{n}")) for n in range(devices)]


def without_hash(identity: Identity) -> Identity:
    return replace(identity, hardware_hash=None)


def test_a_new_run_comes_back_as_it_began(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    run = ledger.run(start.run)
    assert RunState.PLANNING is run.state
    assert (start.batch_id, start.file, start.reference, start.customer, start.actor) == (
        run.batch_id,
        run.file,
        run.reference,
        run.customer,
        run.actor,
    )
    assert (start.at, None, None, None) == (
        run.created_at,
        run.started_at,
        run.finished_at,
        run.plan_digest,
    )
    assert run.counts == {Outcome.PENDING: 3}
    assert (start.settings, (), 3, 1) == (run.settings, run.customers, run.devices, run.head.n)


def test_devices_come_back_as_named_but_for_their_hashes(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    found = list(ledger.devices(start.run))
    kept = [replace(device, identity=without_hash(device.identity)) for device in batch]
    replacement = batch[1].replacement
    assert replacement is not None
    kept[1] = replace(kept[1], replacement=without_hash(replacement))
    assert kept == [device.device for device in found]
    assert [device.index for device in found] == [0, 1, 2]
    assert [History()] * 3 == [device.history for device in found]
    hash_digest = found[1].hardware_hash_digest
    assert hash_digest is not None
    assert hash_digest.startswith("sha256:")


def test_a_plan_is_stored_with_its_text_targets_and_customers(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    text, plan_digest, made = planned(devices=["PF3XK9A1"])
    missing = happened(Kind.RESOLVED, 1, outcome="not-found", customer=TENANT, rule="not-listed")
    ledger.save_plan(
        start.run, text, plan_digest, [resolved(0), missing, resolved(2, serial="X"), made]
    )
    run = ledger.run(start.run)
    assert (RunState.PLANNED, plan_digest, (TENANT,)) == (run.state, run.plan_digest, run.customers)
    assert text == ledger.plan(start.run)
    assert run.counts == {Outcome.PENDING: 2, Outcome.NOT_FOUND: 1}
    first, second, third = ledger.devices(start.run)
    assert Target(batch_id="Contoso 2024", device_id="id-0") == first.target
    assert first.found is not None
    assert (first.found.model, first.found.hardware_hash) == ("T14", None)
    assert first.found_hash_digest is not None
    assert (second.target, second.found, second.history.settled_at) == (None, None, AT)
    assert second.history.rule == "not-listed"
    assert third == ledger.trace("X")[0].device


def test_a_plan_is_stored_whole_or_not_at_all(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    text, plan_digest, made = planned(devices=[])
    with pytest.raises(IllegalEventError):
        ledger.save_plan(start.run, text, plan_digest, [resolved(0), resolved(99), made])
    assert ledger.plan(start.run) is None
    assert ledger.run(start.run).head.n == 1
    assert ledger.verify() == []


def test_a_plan_replaces_the_one_before(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    for attempt in (1, 2):
        text, plan_digest, made = planned(attempt=attempt)
        ledger.save_plan(start.run, text, plan_digest, [resolved(0), made])
    assert text == ledger.plan(start.run)
    assert ledger.verify() == []


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ('{"devices":[{"hardwareHash":"T0"}]}', [happened(Kind.PLANNED, digest="sha256:1")]),
        ("{}", []),
        ("{}", [happened(Kind.PLANNED, digest="sha256:2")]),
    ],
)
def test_a_plan_with_hashes_or_without_its_event_is_no_plan(
    ledger: Ledger, start: RunStart, text: str, events: list[Event]
) -> None:
    ledger.create_run(start, ())
    with pytest.raises(ValueError, match="plan"):
        ledger.save_plan(start.run, text, "sha256:1", events)


def test_a_run_moves_with_its_events(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    moments = [AT + timedelta(minutes=n) for n in range(5)]
    with ledger.hold(start.run):
        ledger.record([happened(Kind.STARTED, at=moments[0])])
        assert RunState.RUNNING is ledger.run(start.run).state
        ledger.record([happened(Kind.INTERRUPTED, at=moments[1])])
        assert RunState.INTERRUPTED is ledger.run(start.run).state
        ledger.record([happened(Kind.STARTED, at=moments[2])])
        ledger.record([happened(Kind.FINISHED, at=moments[3])])
    run = ledger.run(start.run)
    assert (RunState.FINISHED, moments[0], moments[3]) == (
        run.state,
        run.started_at,
        run.finished_at,
    )


def test_a_device_moves_with_its_events(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    intended, answered = removal(0)
    seen = happened(Kind.OBSERVED, 0, plane="autopilot", status="clear", ids={"a": ["b"]})
    for event in (resolved(0), intended):
        ledger.record([event])
    assert [device.index for device in ledger.devices(start.run, states=IN_DOUBT)] == [0]
    ledger.record([answered, seen])
    device = next(ledger.devices(start.run))
    assert fold([resolved(0), intended, answered, seen]) == device.history
    assert ledger.run(start.run).counts == {Outcome.PENDING: 2, Outcome.REMOVED: 1}
    gone = ledger.devices(start.run, outcomes={Outcome.REMOVED})
    assert [device.index for device in gone] == [0]
    assert list(ledger.devices(start.run, states=IN_DOUBT)) == []
    assert ledger.verify() == []


def test_moments_are_kept_in_utc_whatever_zone_they_came_in(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(start, batch)
    there = datetime.fromisoformat("2026-04-17T12:16:00.5+02:00")
    ledger.record([resolved(0), *removal(0, there)])
    ledger.record([happened(Kind.OBSERVED, 0, there, plane="autopilot", status="clear")])
    assert there == next(ledger.devices(start.run)).history.settled_at
    assert list(ledger.export())[-1]["at"] == "2026-04-17T10:16:00.500000Z"
    assert ledger.verify() == []


def test_a_moment_without_a_zone_is_refused(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, ())
    with pytest.raises(ValueError, match="time zone"):
        ledger.record([happened(Kind.STARTED, at=datetime(2026, 4, 17))])  # noqa: DTZ001


@pytest.mark.parametrize(
    "events",
    [
        [happened(Kind.INTENDED, 0, requestId="r")],
        [happened(Kind.RESOLVED, 7, outcome="pending")],
        [happened(Kind.RESOLVED, 0, outcome="gone")],
        [happened(Kind.RESOLVED, 0)],
        [happened(Kind.STARTED, 0)],
        [happened(Kind.RESOLVED, outcome="pending")],
        [happened(Kind.CREATED)],
        [resolved(0), happened(Kind.ACCEPTED, 0, handle="h")],
    ],
)
def test_an_event_that_cannot_follow_leaves_nothing(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...], events: list[Event]
) -> None:
    ledger.create_run(start, batch)
    with pytest.raises(IllegalEventError):
        ledger.record(events)
    assert ledger.run(start.run).head.n == 1
    ledger.record([resolved(0)])
    assert ledger.verify() == []


def test_an_event_of_no_run_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UnknownRunError):
        ledger.record([happened(Kind.STARTED)])


def test_no_events_are_nothing_to_record(ledger: Ledger) -> None:
    ledger.record([])
    assert list(ledger.events()) == []


def test_a_run_id_is_taken_once(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, ())
    with pytest.raises(LedgerError):
        ledger.create_run(start, ())
    assert len(ledger.runs()) == 1


def test_a_run_goes_by_the_beginning_of_its_id(ledger: Ledger, start: RunStart) -> None:
    other = RunId("20260417-101530-5a0000")
    ledger.create_run(start, ())
    ledger.create_run(replace(start, run=other), ())
    assert start.run == ledger.run("20260417-101530-4").run
    assert other == ledger.run(other).run
    for name in ("20260417", "", "2025", "20260417-101530-4f2a9c-", "%"):
        with pytest.raises(UnknownRunError):
            ledger.run(name)


def _three_runs(ledger: Ledger, start: RunStart) -> list[RunId]:
    runs = [RunId(f"20260417-10153{n}-00000{n}") for n in range(3)]
    for n, run in enumerate(runs):
        ledger.create_run(
            replace(
                start,
                run=run,
                at=start.at + timedelta(seconds=n),
                batch_id=f"batch {n}",
                channel=ChannelName.OEM_DIRECT if n == 1 else ChannelName.PARTNER_CENTER,
            ),
            [Device(row=2, identity=Identity(serial_number=f"S{n}"))],
        )
    ledger.record([resolved(0, run=runs[2])])
    ledger.record([happened(Kind.FINISHED, run=runs[1])])
    return runs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [2, 1, 0]),
        ({"limit": 2}, [2, 1]),
        ({"customer": TENANT}, [2]),
        ({"customer": "nobody"}, []),
        ({"state": RunState.FINISHED}, [1]),
        ({"state": RunState.PLANNING}, [2, 0]),
        ({"state": RunState.RUNNING}, []),
        ({"channel": ChannelName.OEM_DIRECT}, [1]),
        ({"since": datetime(2026, 4, 17, 10, 15, 31, tzinfo=UTC)}, [2, 1]),
        ({"until": datetime(2026, 4, 17, 10, 15, 31, tzinfo=UTC)}, [0]),
        ({"serial": "S0"}, [0]),
        ({"serial": "S"}, []),
        ({"serial": "s0"}, []),
        ({"batch_id": "batch 1", "channel": ChannelName.OEM_DIRECT}, [1]),
        ({"batch_id": "batch 1", "channel": ChannelName.PARTNER_CENTER}, []),
    ],
)
def test_runs_are_found_newest_first(
    ledger: Ledger, start: RunStart, wanted: Mapping[str, Any], expected: list[int]
) -> None:
    runs = _three_runs(ledger, start)
    assert [runs[n] for n in expected] == [run.run for run in ledger.runs(**wanted)]


def test_a_run_whose_process_died_is_interrupted(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, ())
    with ledger.hold(start.run):
        ledger.record([happened(Kind.STARTED)])
        assert [start.run] == [run.run for run in ledger.runs(state=RunState.RUNNING)]
        assert ledger.runs(state=RunState.INTERRUPTED) == []
    assert RunState.INTERRUPTED is ledger.run(start.run).state
    assert [start.run] == [run.run for run in ledger.runs(state=RunState.INTERRUPTED, limit=1)]
    assert ledger.runs(state=RunState.RUNNING) == []


def test_a_run_is_held_once(ledger: Ledger, ledger_url: str, start: RunStart) -> None:
    ledger.create_run(start, ())
    other = RunId("20260417-101530-000000")
    with Ledger.open(ledger_url) as second, ledger.hold(start.run):
        assert (ledger.is_held(start.run), second.is_held(start.run)) == (True, True)
        with pytest.raises(LedgerError, match="being executed"), second.hold(start.run):
            pass
        with second.hold(other):
            assert ledger.is_held(other)
    assert not ledger.is_held(start.run)
    with ledger.hold(start.run):
        pass


def test_removals_are_counted_over_runs_by_customer_and_time(
    ledger: Ledger, start: RunStart
) -> None:
    second = RunId("20260417-101531-000001")
    for run in (start.run, second):
        ledger.create_run(replace(start, run=run), plain(2))
        ledger.record([resolved(0, run=run), resolved(1, run=run)])
    ledger.record(removal(0, AT))
    ledger.record(removal(0, AT + timedelta(hours=1), second))
    assert ledger.removed_since(TENANT, AT) == 2
    assert ledger.removed_since(TENANT, AT + timedelta(minutes=1)) == 1
    assert ledger.removed_since("nobody", AT) == 0


def test_a_device_is_traced_over_runs_with_its_events_alone(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    second = RunId("20260418-101531-000001")
    for run in (start.run, second):
        ledger.create_run(replace(start, run=run), batch)
        ledger.record([resolved(0, run=run), resolved(2, run=run, serial="SHOWN")])
    ledger.record(removal(0))
    newer, older = ledger.trace("PF3XK9A1")
    assert (second, start.run) == (newer.run.run, older.run.run)
    assert [event.event.kind for event in newer.events] == [Kind.RESOLVED]
    kinds = [event.event.kind for event in older.events]
    assert kinds == [Kind.RESOLVED, Kind.INTENDED, Kind.ANSWERED]
    assert Outcome.REMOVED is older.device.history.outcome
    by_key, by_shown = ledger.trace("0123456789012"), ledger.trace("SHOWN")
    assert by_key == by_shown
    assert ledger.trace("PF3XK9A") == ()


def test_many_devices_are_traced_at_once_each_once(ledger: Ledger, start: RunStart) -> None:
    named = [Identity(serial_number=f"S{n}", product_key_id=f"K{n}") for n in range(1_500)]
    ledger.create_run(start, (Device(row=n, identity=each) for n, each in enumerate(named, 2)))
    ledger.record([resolved(1_499)])
    names = [name for n in range(1_500) for name in (f"S{n}", f"K{1_499 - n}", f"unknown {n}")]
    counts = [(each.device.index, len(each.events)) for each in ledger.trace(*names)]
    assert sorted(counts) == [*((index, 0) for index in range(1_499)), (1_499, 1)]


def test_a_rate_is_remembered_by_service_and_scope(ledger: Ledger) -> None:
    assert ledger.remembered_rate("partner-center", "tenant") is None
    for per_second in (12.5, 57.25):
        ledger.remember_rate("partner-center", "tenant", per_second, AT)
    known = ledger.remembered_rate("partner-center", "tenant")
    assert known is not None
    assert (known.per_second, known.refused, known.learned_at) == (57.25, True, AT)
    ledger.remember_rate("partner-center", "tenant", 9.0, AT, refused=False)
    granted = ledger.remembered_rate("partner-center", "tenant")
    assert granted is not None
    assert not granted.refused
    assert ledger.remembered_rate("partner-center", "other") is None


def test_events_come_back_in_order_over_many_pages(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, plain(1100))
    ledger.record([resolved(n) for n in range(1100)])
    stored = list(ledger.events(start.run))
    assert list(range(1, 1102)) == [event.n for event in stored]
    assert stored == list(ledger.events())
    assert list(range(1100)) == [device.index for device in ledger.devices(start.run)]
    assert resolved(7).kind == stored[8].event.kind


def test_the_trail_is_exported_by_run_customer_and_time(
    ledger: Ledger, start: RunStart, batch: tuple[Device, ...]
) -> None:
    other = RunId("20260418-101531-000001")
    ledger.create_run(start, batch)
    ledger.create_run(replace(start, run=other), plain(1))
    ledger.record([resolved(0), *removal(0, AT + timedelta(hours=1))])
    ledger.record([happened(Kind.RESOLVED, 1, outcome="not-found", customer="fabrikam")])
    everything = list(ledger.export())
    assert len(everything) == 6
    assert [row["kind"] for row in ledger.export(run=other)] == ["created"]
    assert [row["kind"] for row in ledger.export(customer="fabrikam")] == ["created", "resolved"]
    assert [
        row["kind"] for row in ledger.export(customer=TENANT, since=AT + timedelta(hours=1))
    ] == ["intended", "answered"]
    assert [row["n"] for row in ledger.export(until=AT)] == [1, 1]
    answered = everything[3]
    assert (
        answered["row"],
        answered["serialNumber"],
        answered["customer"],
        answered["actor"],
        answered["batchId"],
    ) == (2, "PF3XK9A1", TENANT, "depot@station-4", "RMA-2026-0417")


def test_hardware_hashes_are_nowhere(
    ledger: Ledger, ledger_url: str, start: RunStart, batch: tuple[Device, ...]
) -> None:
    ledger.create_run(replace(start, settings={"replay": {"hardwareHash": "T3" * 2000}}), batch)
    seen = {"hardwareHash": "T4" * 2000}
    ledger.record([resolved(0), *removal(0)])
    ledger.record([happened(Kind.OBSERVED, 0, plane="autopilot", status="clear", found=[seen])])
    told = repr([*ledger.devices(start.run), *ledger.events(), *ledger.export()])
    for hardware_hash in ("T0", "T1", "T2", "T3", "T4"):
        assert hardware_hash * 10 not in told
    assert "hardwareHashDigest" in told
    assert ledger.verify() == []


def test_heads_move_with_every_event(ledger: Ledger, start: RunStart) -> None:
    empty = ledger.head()
    ledger.create_run(start, ())
    created = ledger.head()
    ledger.record([happened(Kind.STARTED)])
    assert len({empty, created, ledger.head()}) == 3
    last = list(ledger.events())[-1]
    assert (RunHead(run=start.run, n=2, hash=last.hash),) == ledger.heads()


def test_what_is_read_while_it_is_written_is_read_as_it_was_before_or_after(
    ledger: Ledger, start: RunStart
) -> None:
    ledger.create_run(start, plain(1100))
    devices = ledger.devices(start.run, states={State.NEW})
    first = next(devices)
    ledger.record([resolved(n) for n in range(1100)])
    assert [0, *range(1, 1000)] == [first.index, *(device.index for device in devices)]


def test_a_sync_is_remembered_for_its_tenant_over_all_runs(ledger: Ledger, start: RunStart) -> None:
    device = Device(row=1, identity=Identity(serial_number="A"))
    cleanup = replace(start, channel=ChannelName.MICROSOFT_GRAPH)
    ledger.create_run(cleanup, [device])
    resolved = {"outcome": "pending", "customer": "here"}
    named = Event(run=start.run, kind=Kind.RESOLVED, at=start.at, device=0, payload=resolved)
    synced = {"customer": "here", "requestId": "r"}
    ledger.record([named])
    assert ledger.last_sync("here") is None
    for minutes in (3, 14):
        at = start.at + timedelta(minutes=minutes)
        ledger.record([Event(run=start.run, kind=Kind.SYNCED, at=at, payload=synced)])
    assert ledger.last_sync("here") == start.at + timedelta(minutes=14)
    assert ledger.last_sync("there") is None


def submitted(start: RunStart, run: str = "20260417-101530-4f2a9c") -> RunStart:
    return replace(start, run=RunId(run), depot="leipzig")


def test_a_batch_is_submitted_once(ledger: Ledger, start: RunStart) -> None:
    enqueued: list[str] = []
    first, second = submitted(start), submitted(start, "20260417-101531-4f2a9c")

    def refuse(_connection: Any) -> None:
        raise LedgerError("no queue", remedy="make one")

    with pytest.raises(LedgerError, match="no queue"):
        ledger.submit_run(first, plain(2), refuse)
    assert ledger.runs() == []
    assert ledger.submit_run(first, plain(2), lambda _: enqueued.append("first")) is None
    found = ledger.submit_run(second, plain(2), lambda _: enqueued.append("second"))
    assert found is not None
    assert (found.run, found.state, found.depot) == (first.run, RunState.QUEUED, "leipzig")
    assert enqueued == ["first"]
    ledger.submit_run(second, plain(1), lambda _: enqueued.append("second"), again=True)
    assert enqueued == ["first", "second"]
    assert [each.run for each in ledger.runs(depot="leipzig")] == [second.run, first.run]
    assert ledger.runs(depot="köln") == []
    assert ledger.verify() == []


def test_nothing_moves_a_cancelled_run(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, plain(1))
    assert not ledger.is_cancelled(start.run)
    for kind in (Kind.STARTED, Kind.CANCELLED, Kind.INTERRUPTED, Kind.FINISHED):
        ledger.record([happened(kind)])
    assert ledger.is_cancelled(start.run)
    assert ledger.run(start.run).state is RunState.CANCELLED
    assert ledger.verify() == []


def test_devices_after_an_index(ledger: Ledger, start: RunStart) -> None:
    ledger.create_run(start, plain(5))
    assert [each.index for each in ledger.devices(start.run, after=2)] == [3, 4]


def test_a_pace_is_exchanged_by_one_at_a_time(postgresql_ledger: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def count(opened: Ledger) -> None:
        for _ in range(25):
            opened.exchange("s", "tenant", lambda text: (str(int(text or 0) + 1), None))

    with Ledger.open(postgresql_ledger) as one, Ledger.open(postgresql_ledger) as other:
        _, before = one.exchange("s", "other", lambda text: ("", text))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(count, (one, other)))
        told, clock = one.exchange("s", "tenant", lambda text: (text or "", text))
    assert told == "50"
    assert clock > before
