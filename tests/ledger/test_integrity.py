"""No edit, deletion, reordering or truncation goes unseen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from partner_tools.errors import LedgerError
from partner_tools.events import Event, Kind
from partner_tools.json_forms import digest
from partner_tools.ledger import Ledger, RunStart, chain, sqlite_url
from partner_tools.ledger.integrity import find_edits
from partner_tools.ledger.records import IntegrityFinding, RunHead
from partner_tools.ledger.tables import devices, events, plans, run_customers, runs
from partner_tools.model import Device, RunId
from tests.postgresql import DATABASES

AT = datetime(2026, 4, 17, 10, 16, tzinfo=UTC)
RUN = RunId("20260417-101530-4f2a9c")
OTHER = RunId("20260418-101530-000001")
PLAN = {"devices": ["PF3XK9A1"]}


def happened(kind: Kind, device: int | None = None, run: RunId = RUN, **payload: Any) -> Event:
    return Event(run=run, kind=kind, at=AT, device=device, payload=payload)


def tell(ledger: Ledger, start: RunStart, batch: tuple[Device, ...]) -> Ledger:
    """Record a finished run of ten events, and another that began."""
    ledger.create_run(start, batch)
    ledger.create_run(replace(start, run=OTHER), batch)
    found = {"serialNumber": "PF3XK9A1", "model": "T14"}
    target = {"batchId": "b", "deviceId": "d"}
    ledger.save_plan(
        RUN,
        json.dumps({**PLAN, "digest": digest(PLAN)}),
        digest(PLAN),
        [
            happened(Kind.RESOLVED, 0, outcome="pending", customer="c", target=target, found=found),
            happened(Kind.RESOLVED, 1, outcome="not-found", customer="c", rule="not-listed"),
            happened(Kind.RESOLVED, 2, outcome="refused", customer="c2"),
            happened(Kind.PLANNED, digest=digest(PLAN)),
        ],
    )
    ledger.record([happened(Kind.STARTED)])
    ledger.record([happened(Kind.INTENDED, 0, requestId="r", correlationId="c")])
    ledger.record([happened(Kind.ANSWERED, 0, outcome="removed", status=204)])
    ledger.record([happened(Kind.OBSERVED, 0, plane="autopilot", status="clear")])
    ledger.record([happened(Kind.FINISHED)])
    assert ledger.verify(ledger.head(), ledger.heads()) == []
    return ledger


@pytest.fixture(scope="module", params=DATABASES)
def told(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    start: RunStart,
    batch: tuple[Device, ...],
) -> Iterator[Ledger]:
    """A ledger that the tests share: they edit it in transactions that are rolled back."""
    if request.param == "sqlite":
        url = sqlite_url(tmp_path_factory.mktemp("told") / "ledger.db")
    else:
        url = request.getfixturevalue("new_postgresql")()
    with Ledger.open(url) as ledger:
        yield tell(ledger, start, batch)


@pytest.fixture
def mine(ledger: Ledger, start: RunStart, batch: tuple[Device, ...]) -> Ledger:
    """A ledger of the same content that one test has for itself."""
    return tell(ledger, start, batch)


def edited(
    ledger: Ledger, *statements: Any, head: str | None = None, heads: Iterable[RunHead] = ()
) -> list[IntegrityFinding]:
    """What is found after edits that no constraint hinders, which are then taken back."""
    with ledger._database.engine.connect() as connection:
        unguard(connection)
        for statement in statements:
            connection.execute(statement)
        found = list(find_edits(connection, head, heads))
        connection.rollback()
    assert ledger.verify() == []
    return found


def unguard(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        return
    for name in ("devices", "events", "plans", "run_customers"):
        connection.exec_driver_sql(f"ALTER TABLE {name} DROP CONSTRAINT fk_{name}_runs")


def rules(found: Iterable[IntegrityFinding]) -> set[str]:
    return {finding.rule for finding in found}


def event(n: int, run: RunId = RUN) -> Any:
    return (events.c.run == run) & (events.c.n == n)


NONSENSE = {"n": 77, "device": 77, "kind": "doubted", "at": "2026-04-17T10:16:00.000001Z"}


@pytest.mark.slow
@pytest.mark.parametrize("n", range(1, 11))
def test_an_edit_of_any_column_of_any_event_is_found(told: Ledger, n: int) -> None:
    for column in events.c:
        values = {column.name: NONSENSE.get(column.name, '{"a":1}')}
        if column.name == "run":
            values = {"run": OTHER, "n": 50 + n}
        found = edited(told, update(events).where(event(n)).values(values))
        assert any(finding.run == RUN for finding in found), column.name


@pytest.mark.parametrize("n", [1, 2, 7, 10])
def test_a_payload_that_is_gone_without_a_purge_is_found(told: Ledger, n: int) -> None:
    found = edited(told, update(events).where(event(n)).values(payload=None))
    assert rules(found) == {"missing-payload"}


@pytest.mark.parametrize(
    ("n", "expected"), [(1, "missing-event"), (6, "missing-event"), (10, "truncated")]
)
def test_a_deletion_is_found(told: Ledger, n: int, expected: str) -> None:
    assert expected in rules(edited(told, delete(events).where(event(n))))


def test_a_reordering_is_found(told: Ledger) -> None:
    found = edited(
        told,
        update(events).where(event(6)).values(n=99),
        update(events).where(event(7)).values(n=6),
        update(events).where(event(99)).values(n=7),
    )
    assert {"broken-chain", "altered-event"} <= rules(found)


def test_an_insertion_is_found(told: Ledger) -> None:
    with told._database.read() as connection:
        row = dict(connection.execute(select(events).where(event(10))).mappings().one())
    found = edited(told, insert(events).values({**row, "n": 11}))
    assert {"broken-chain", "altered-event", "truncated"} <= rules(found)


def truncation(ledger: Ledger) -> list[Any]:
    """The last event of the run cut off, and everything else made to agree with that."""
    last = list(ledger.events(RUN))[-2]
    agreeing = {
        "head_n": last.n,
        "head_hash": last.hash,
        "state": "running",
        "finished_at": None,
    }
    return [
        delete(events).where(event(last.n + 1)),
        update(runs).where(runs.c.run == RUN).values(agreeing),
    ]


def test_a_truncation_that_leaves_no_trace_is_found_by_exported_heads(told: Ledger) -> None:
    cut = truncation(told)
    assert edited(told, *cut) == []
    assert rules(edited(told, *cut, head=told.head())) == {"head-differs"}
    (found,) = edited(told, *cut, heads=told.heads())
    assert (found.rule, found.run, found.n) == ("head-differs", RUN, 10)


def test_a_run_that_was_removed_as_a_whole_is_found_by_exported_heads(told: Ledger) -> None:
    removed = [delete(table).where(table.c.run == OTHER) for table in (events, devices, runs)]
    assert edited(told, *removed) == []
    assert rules(edited(told, *removed, head=told.head())) == {"head-differs"}
    assert [finding.run for finding in edited(told, *removed, heads=told.heads())] == [OTHER]


def test_heads_that_were_exported_earlier_still_agree(mine: Ledger) -> None:
    heads = mine.heads()
    mine.record([happened(Kind.OBSERVED, 0, plane="intune", status="outstanding")])
    assert mine.verify(heads=heads) == []
    made_up = RunHead(run=RUN, n=3, hash=chain.GENESIS)
    assert [finding.n for finding in mine.verify(heads=[made_up])] == [3]


def test_a_run_without_its_row_is_found(told: Ledger) -> None:
    found = edited(told, delete(runs).where(runs.c.run == OTHER))
    assert [(finding.rule, finding.run) for finding in found] == [
        ("missing-run", OTHER),
        ("missing-run", OTHER),
    ]


RUN_EDITS = {
    "channel": "oem-direct",
    "state": "planned",
    "batch_id": "another",
    "batch_digest": "another",
    "file": "another.csv",
    "reason": "resale",
    "reference": "another",
    "customer": "another",
    "actor": "another",
    "depot": "another",
    "settings": "{}",
    "devices": 4,
    "counts": '{"removed":3}',
    "created_at": "2025-01-01T00:00:00.000000Z",
    "started_at": None,
    "finished_at": None,
    "plan_digest": "another",
    "head_n": 9,
    "head_hash": "another",
}


def test_an_edit_of_any_column_of_a_run_is_found(told: Ledger) -> None:
    for column, value in RUN_EDITS.items():
        found = edited(told, update(runs).where(runs.c.run == RUN).values({column: value}))
        assert len(found) == 1, column


def test_every_column_of_a_run_is_checked() -> None:
    assert {column.name for column in runs.c} - {"run", "purged_at"} == set(RUN_EDITS)


DEVICE_EDITS = {
    "row": 99,
    "serial_number": "another",
    "product_key_id": "another",
    "device": '{"row":2,"serialNumber":"another"}',
    "customer": "another",
    "target": '{"batchId":"b","deviceId":"another"}',
    "found": None,
    "state": "ready",
    "outcome": "absent",
    "settled_at": None,
    "history": "{}",
}


def test_an_edit_of_any_column_of_a_device_is_found(told: Ledger) -> None:
    first = (devices.c.run == RUN) & (devices.c.idx == 0)
    for column, value in DEVICE_EDITS.items():
        found = edited(told, update(devices).where(first).values({column: value}))
        assert rules(found) & {"altered-device", "altered-devices"}, column


def test_every_column_of_a_device_is_checked() -> None:
    assert {column.name for column in devices.c} - {"run", "idx"} == set(DEVICE_EDITS)


@pytest.mark.parametrize(
    "statement",
    [
        delete(devices).where(devices.c.run == RUN, devices.c.idx == 0),
        delete(devices).where(devices.c.run == RUN, devices.c.idx == 2),
        update(devices).where(devices.c.run == RUN, devices.c.idx == 1).values(idx=9),
        delete(devices).where(devices.c.run == OTHER),
        delete(run_customers).where(run_customers.c.run == RUN),
        insert(run_customers).values(run=RUN, customer="another"),
        delete(plans).where(plans.c.run == RUN),
        update(plans).where(plans.c.run == RUN).values(text='{"devices":[]}'),
        update(plans).where(plans.c.run == RUN).values(text="no plan"),
        insert(plans).values(run=OTHER, text="{}"),
        update(events).where(event(3)).values(payload="{not json"),
        update(events).where(event(3)).values(payload="ünï"),
        update(events).where(event(3)).values(kind="nonsense"),
        update(events).where(event(5)).values(kind="nonsense"),
    ],
    ids=str,
)
def test_everything_else_that_is_changed_is_found(told: Ledger, statement: Any) -> None:
    assert edited(told, statement) != []


def test_one_edit_is_one_finding_that_names_its_event(told: Ledger) -> None:
    altered, projected = edited(told, update(events).where(event(9)).values(payload="{}"))
    assert (altered.rule, altered.run, altered.n, altered.device) == ("altered-payload", RUN, 9, 0)
    assert (projected.rule, projected.device) == ("altered-device", 0)
    assert "event 9" in altered.message


def test_a_purge_takes_payloads_and_leaves_a_chain_that_verifies(mine: Ledger) -> None:
    head, heads = mine.head(), mine.heads()
    later = AT + timedelta(days=400)
    assert mine.purge(AT, later) == 0
    assert mine.purge(AT + timedelta(seconds=1), later) == 1
    assert mine.purge(AT + timedelta(seconds=1), later) == 0
    assert mine.verify(head, heads) == []
    assert not any(stored.event.payload for stored in mine.events(RUN))
    assert mine.plan(RUN) is None
    run = mine.run(RUN)
    assert (run.purged_at, run.plan_digest) == (later, digest(PLAN))
    assert None not in [row["payload"] for row in mine.export(run=OTHER)]
    assert [row["payload"] for row in mine.export(run=RUN)] == [None] * 10


def test_an_edit_of_a_purged_run_is_found(mine: Ledger) -> None:
    mine.purge(AT + timedelta(days=1), AT + timedelta(days=1))
    for column in ("at", "kind", "device", "payload_digest", "previous", "hash"):
        value = NONSENSE.get(column, "another")
        found = edited(mine, update(events).where(event(7)).values({column: value}))
        assert found != [], column


def test_the_hash_of_an_event_can_be_checked_from_its_export_alone(told: Ledger) -> None:
    for row in told.export():
        names = ("previous", "run", "n", "at", "kind", "device", "payloadDigest")
        content = json.dumps([row[name] for name in names], separators=(",", ":")).encode()
        assert row["hash"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        payload = json.dumps(row["payload"], separators=(",", ":"), sort_keys=True).encode()
        assert row["payloadDigest"] == f"sha256:{hashlib.sha256(payload).hexdigest()}"


def test_a_ledger_moves_between_databases_and_loses_nothing(told: Ledger, new_url: str) -> None:
    told.remember_rate("partner-center", "tenant", 12.345678901234567, AT)
    with Ledger.open(new_url) as target:
        told.copy_to(target)
        assert target.verify(told.head(), told.heads()) == []
        assert target.runs() == told.runs()
        assert list(target.devices(RUN)) == list(told.devices(RUN))
        assert list(target.events()) == list(told.events())
        assert target.plan(RUN) == told.plan(RUN)
        assert target.remembered_rate("partner-center", "tenant") == told.remembered_rate(
            "partner-center", "tenant"
        )
        with pytest.raises(LedgerError, match="has runs already"):
            told.copy_to(target)
