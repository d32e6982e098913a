"""A session with PostgreSQL that is lost takes its locks along: who had it writes nothing more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from partner_tools.errors import LedgerError
from partner_tools.events import Event, Kind, State
from partner_tools.ledger import Ledger, RunStart
from partner_tools.ledger.database import failures
from partner_tools.model import Device, Identity, RunId

AT = datetime(2026, 4, 17, 10, 16, tzinfo=UTC)


@pytest.fixture
def url(new_postgresql: Callable[[], str]) -> str:
    return new_postgresql()


@pytest.fixture
def paused(url: str) -> Iterator[Ledger]:
    """The ledger of a process that is taken for dead, and is not."""
    with Ledger.open(url) as ledger:
        yield ledger


def cut_all_sessions(url: str) -> None:
    """What a restart of the server does, or a firewall that forgets."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def intended(run: RunId, device: int) -> Event:
    payload = {"requestId": f"r-{device}"}
    return Event(run=run, kind=Kind.INTENDED, at=AT, device=device, payload=payload)


def test_a_run_goes_to_who_holds_it_now(url: str, paused: Ledger, start: RunStart) -> None:
    run = start.run
    batch = [Device(row=n, identity=Identity(serial_number=f"SN-{n}")) for n in range(3)]
    paused.create_run(start, batch)
    resolved = {"outcome": "pending", "customer": "c"}
    paused.record([Event(run=run, kind=Kind.STARTED, at=AT, payload={})])
    paused.record(
        [Event(run=run, kind=Kind.RESOLVED, at=AT, device=n, payload=resolved) for n in range(3)]
    )
    with paused.hold(run):
        paused.record([intended(run, 0)])
        cut_all_sessions(url)
        with Ledger.open(url) as other, other.hold(run):
            for _ in range(3):
                with pytest.raises(LedgerError, match="cannot be reached") as lost:
                    paused.record([intended(run, 1)])
                assert "partner-tools resume" in lost.value.remedy
            with pytest.raises(LedgerError, match=f"was lost while it held run {run}"):
                paused.remember_rate("partner-center", "s", 9.0, AT)
            other.record([intended(run, 2)])
            in_doubt = [each.index for each in other.devices(run, states={State.SENT})]
            assert in_doubt == [0, 2]
            assert other.in_doubt() == 0  # its holder awaits the answers
            assert other.verify() == []
        with Ledger.open(url) as other:
            assert other.in_doubt() == 2


def test_a_session_that_holds_nothing_continues(url: str, paused: Ledger, start: RunStart) -> None:
    batch = [Device(row=1, identity=Identity(serial_number="SN-1"))]
    cut_all_sessions(url)

    with pytest.raises(LedgerError) as lost:
        paused.create_run(start, batch)
    assert lost.value.exit_code == 6
    paused.create_run(start, batch)

    assert [each.run for each in paused.runs()] == [start.run]


def test_every_failure_is_explained_once() -> None:
    """The data file of failures: whole, with codes that exist, none in two places."""
    codes = [code for each in failures().values() for code in each.get("sqlite", ())]
    states = [state for each in failures().values() for state in each.get("sqlstate", ())]
    assert all(isinstance(getattr(sqlite3, code), int) for code in codes)
    assert len(codes) == len(set(codes))
    assert len(states) == len(set(states))
    assert {frozenset(each) - {"sqlite", "sqlstate"} for each in failures().values()} == {
        frozenset({"rule", "what", "remedy"})
    }
