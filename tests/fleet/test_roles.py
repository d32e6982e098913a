"""Three logins on a real server: each may do its part, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from psycopg.types.json import Jsonb

from partner_tools.events import Event, Kind
from partner_tools.fleet.queue import TASK
from partner_tools.intake.schema import checker
from partner_tools.ledger import Ledger
from partner_tools.model import RunId
from partner_tools.workspace.environment import now
from tests.fleet.conftest import SERIALS, VIA, Fleet, login

__all__ = ["login"]

pytestmark = pytest.mark.slow


@contextmanager
def refused(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url) as connection, pytest.raises(InsufficientPrivilege):
        yield connection


def submit(fleet: Fleet, url: str, serials: list[str], depot: str) -> str:
    batch = fleet.program.serials(*serials)
    document = fleet.program.json("submit", batch, *VIA, "--yes", "--depot", depot, "--ledger", url)
    assert not checker("submission").violations(document)
    run: str = document["run"]
    return run


def test_each_role_does_its_part_and_no_more(fleet: Fleet, login: Callable[..., str]) -> None:
    station, worker, auditor = login("submit"), login("worker"), login("auditor")
    run = submit(fleet, station, SERIALS[180:184], "leipzig")
    for statement in (
        "UPDATE devices SET outcome = 'removed'",
        "INSERT INTO devices SELECT * FROM devices",
        "INSERT INTO plans (run, text) VALUES ('r', '{}')",
        "UPDATE runs SET settings = '{}'",
        "DELETE FROM events",
        "DELETE FROM procrastinate_jobs",
    ):
        with refused(station) as connection:
            connection.execute(statement)
    as_worker = fleet.as_login(worker)
    with as_worker.worker():
        assert as_worker.wait_for(run, "finished", "stopped")["counts"] == {"removed": 4}
    for statement in ("UPDATE events SET payload = NULL", "DELETE FROM events", "DROP TABLE runs"):
        with refused(worker) as connection:
            connection.execute(statement)
    with Ledger.open(auditor) as ledger:
        assert ledger.verify() == []
        assert len(list(ledger.export(run=RunId(run)))) > 8
    with psycopg.connect(fleet.ledger_url) as connection:
        found = connection.execute(
            "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
            " WHERE grantee = 'partner_tools_auditor'"
        ).fetchall()
        (tables,) = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone() or (0,)
    assert {privilege for _, privilege in found} == {"SELECT"}
    assert len(found) <= tables
    with refused(auditor) as connection:
        connection.execute("DELETE FROM runs")


HAND_IN = "SELECT ledger_hand_in(%s, '{90}', '{91}', '{S00199}', '{NULL}', '{\"{}\"}')"


def test_a_station_adds_nothing_to_a_run_that_is_handed_in(
    fleet: Fleet, login: Callable[..., str]
) -> None:
    """Neither to one that waits nor to one that a worker has begun with, of whichever depot."""
    station, bound = login("submit"), login("submit", "lyon")
    run = submit(fleet, station, SERIALS[180:184], "leipzig")
    begun = submit(fleet, station, SERIALS[184:186], "leipzig")
    with fleet.worker():
        assert fleet.wait_for(begun, "finished")["counts"] == {"removed": 2}
        fleet.wait_for(run, "finished")
    waiting = submit(fleet, station, SERIALS[186:188], "leipzig")
    for url in (station, bound):
        for each in (begun, waiting, "no-such-run"):
            with refused(url) as connection:
                connection.execute(HAND_IN, [each])
    with psycopg.connect(fleet.ledger_url) as connection:
        named = connection.execute("SELECT count(*) FROM devices WHERE run = %s", [begun])
        assert named.fetchone() == (2,)


def test_a_station_writes_no_run_that_a_worker_has_begun_with(
    fleet: Fleet, login: Callable[..., str]
) -> None:
    """Not its state, not its head, no events: what was removed, and what was refused, stays."""
    station = login("submit")
    run = submit(fleet, station, SERIALS[186:189], "leipzig")
    (fleet.program.folder / "partner-tools.toml").write_text(
        "[default.guards]\nmax_estate_share = 0.0001\n", encoding="utf-8"
    )
    with fleet.worker():
        assert fleet.wait_for(run, "refused")["counts"] == {"pending": 3}
    event = (
        "INSERT INTO events SELECT run, n + 900, at, '{}', device, payload, payload_digest,"
        " previous, hash FROM events WHERE run = %s"
    )
    for statement in (
        "UPDATE runs SET state = 'queued', started_at = created_at WHERE run = %s",
        "UPDATE runs SET head_n = 0 WHERE run = %s",
        *(event.format(kind) for kind in ("resolved", "started", "answered", "queued", "created")),
    ):
        with refused(station) as connection:
            connection.execute(statement, [run])
    waiting = submit(fleet, station, SERIALS[189:191], "leipzig")
    with refused(station) as connection:
        connection.execute(event.format("started"), [waiting])
    job = {"after": -1, "failures": 0}
    with psycopg.connect(station) as connection:
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)"
            " VALUES ('partner-center', %s, %s, %s, %s)",
            [TASK, run, run, Jsonb({**job, "run": run, "channel": "partner-center"})],
        )
    with fleet.worker():
        fleet.wait_for(waiting, "refused")
        again = fleet.wait_for(run, "refused", "finished")
    assert (again["state"], again["counts"]) == ("refused", {"pending": 3})


def test_a_station_calls_off_what_it_handed_in(fleet: Fleet, login: Callable[..., str]) -> None:
    station = login("submit")
    run = submit(fleet, station, SERIALS[195:197], "leipzig")
    assert fleet.program("runs", "cancel", run, "--ledger", station).exit_code == 0
    assert fleet.state(run)["state"] == "cancelled"


def test_an_older_ledger_loses_what_its_stations_were_granted_too_much(
    fleet: Fleet, login: Callable[..., str]
) -> None:
    station = login("submit")
    with psycopg.connect(fleet.ledger_url) as connection:
        connection.execute("GRANT INSERT, DELETE ON devices TO partner_tools_submit")
        connection.execute("DROP POLICY of_station ON runs")
        connection.execute("UPDATE ledger_version SET version_num = '0003'")
    assert fleet.program("runs").exit_code == 0
    with refused(station) as connection:
        connection.execute("INSERT INTO devices SELECT * FROM devices")
    with psycopg.connect(fleet.ledger_url) as connection:
        policies = connection.execute("SELECT policyname FROM pg_policies WHERE tablename = 'runs'")
        assert ("of_station",) in policies.fetchall()


def test_a_depot_sees_its_own_runs_only(fleet: Fleet, login: Callable[..., str]) -> None:
    leipzig, anybody = login("submit", "leipzig"), login("auditor")
    own = submit(fleet, leipzig, SERIALS[190:192], "leipzig")
    other = fleet.submit(SERIALS[192:194], "--depot", "lyon")
    with psycopg.connect(fleet.ledger_url) as connection:
        for run in (own, other):
            connection.execute("INSERT INTO plans (run, text) VALUES (%s, '{}')", [run])
            connection.execute("INSERT INTO run_customers (run, customer) VALUES (%s, 'c')", [run])
    with psycopg.connect(leipzig) as connection:
        for table in ("runs", "plans", "run_customers", "devices", "events"):
            seen = connection.execute(f"SELECT DISTINCT run FROM {table}").fetchall()  # noqa: S608 - our own names
            assert seen == [(own,)], table
    with Ledger.open(leipzig) as ledger:
        assert [each.run for each in ledger.runs()] == [own]
        assert list(ledger.devices(RunId(other))) == []
        assert {each.event.run for each in ledger.events()} == {own}
        cancelled = Event(run=RunId(other), kind=Kind.CANCELLED, at=now(), payload={})
        with pytest.raises(LookupError):
            ledger.record([cancelled])
    foreign = fleet.program(
        "submit",
        fleet.program.serials(*SERIALS[194:196]),
        *VIA,
        "--yes",
        "--depot",
        "lyon",
        "--ledger",
        leipzig,
    )
    assert foreign.exit_code == 6, foreign.output
    assert "does not allow this user to do that" in foreign.stderr
    assert "--depot" in foreign.stderr
    with Ledger.open(anybody) as ledger:
        assert {each.run for each in ledger.runs()} == {own, other}
    bound = fleet.program("ledger", "roles", "--bind", "leipzig_typo=leipzig")
    assert bound.exit_code == 0
    assert "no login leipzig_typo" in bound.stderr
    name = leipzig.split("//")[1].split(":")[0]
    assert fleet.program("ledger", "roles", "--unbind", name).exit_code == 0
    with Ledger.open(leipzig) as ledger:
        assert len(ledger.runs()) == 2
