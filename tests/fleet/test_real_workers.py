"""Workers that are processes of their own: killed, sharing one rate, looking again by the clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from partner_tools.clients.transport import origin
from partner_tools.ledger import Ledger
from partner_tools.model import RunId
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from partner_tools.workspace.environment import now
from tests.cli.program import customer, program_for, world
from tests.clients.oem_profiles import profile_of
from tests.fleet.conftest import VIA, Fleet, login, until

__all__ = ["login"]

ROOT = Path(__file__).parents[2]
TAKEOVER = 6.0
BUSY = 30.0
"""What a machine that has more to do may need besides."""
OEM = '[oem]\nbatch_limit = 5\n[oem.auth]\nmode = "none"\n'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="workers are not for Windows"),
]


@pytest.fixture
def running() -> Iterator[Sandbox]:
    """A sandbox of each test's own, which takes its time and speaks both channels."""
    devices = [
        {"serialNumber": name, "oemManufacturerName": "Fabrikam", "modelName": "Book"}
        for name in names(120)
    ]
    estate = seed_from(world(customer({"Estate": devices})))
    with Sandbox(estate, faults_from(behaving()), oem_profile=profile_of(OEM)) as sandbox:
        yield sandbox


def names(number: int) -> list[str]:
    return [f"W{each:05}" for each in range(number)]


def behaving(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": "1", "latency": [{"seconds": 0.1}], **more}


@contextmanager
def started(fleet: Fleet, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process while the block lasts; it is asked to stop at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "partner_tools", "worker", *options],
        env={**os.environ, **fleet.program.environment},
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()


def bounded(fleet: Fleet, rate: float) -> None:
    """Let the profile bound the rate, and the ledger know that the service grants more."""
    text = f"[default.limits]\nmax_rate = {rate}\n"
    (fleet.program.folder / "partner-tools.toml").write_text(text, encoding="utf-8")
    scope = f"{origin(fleet.sandbox.announce()['urls']['partnerCenter'])}|"
    with Ledger.open(fleet.ledger_url) as ledger:
        ledger.remember_rate("partner-center", scope, rate * 2, now())


def test_a_killed_worker_is_replaced_within_the_stated_time(fleet: Fleet) -> None:
    bounded(fleet, 20.0)
    run = fleet.submit(names(120), "--settle", "0")
    deletes = fleet.sandbox.log
    with ExitStack() as stack:
        first = stack.enter_context(started(fleet, "--takeover", str(TAKEOVER)))
        until(lambda: len(deletes.of("delete-device")) >= 10)
        stack.enter_context(started(fleet, "--takeover", str(TAKEOVER)))
        until(lambda: len(deletes.of("delete-device")) >= 20)
        first.kill()
        first.wait()
        killed = time.time()
        done = fleet.wait_for(run, "finished", "stopped", seconds=300.0)
    assert sum(done["counts"].values()) == 120
    assert set(done["counts"]) <= {"removed", "absent"}
    later = [entry for entry in deletes.entries if entry.at > killed + 0.5]
    taken_over = next(entry for entry in later if entry.operation != "delete-device")
    assert taken_over.at - killed < TAKEOVER + BUSY
    first_removal = next(entry for entry in later if entry.operation == "delete-device")
    assert taken_over.number < first_removal.number, "what was in doubt is looked at first"
    gone = [entry.serial for entry in deletes.of("delete-device") if entry.status == 204]
    assert len(gone) == len(set(gone)) == 120


def test_a_row_that_a_station_puts_into_a_running_run_is_not_removed(
    fleet: Fleet, login: Callable[..., str]
) -> None:
    """Neither by its rights, nor where an administrator gave it more: a worker believes a plan."""
    station, worker = login("submit"), login("worker")
    bounded(fleet, 20.0)
    run = fleet.as_login(station).submit(names(120)[:60], "--settle", "0")
    planned = fleet.program.folder / "others.json"
    made = fleet.program("plan", fleet.program.serials(*names(120)[60:]), *VIA, "-o", planned)
    assert made.exit_code == 0, made.output
    rows = [
        (run, 60 + each["row"], each["row"], each["serialNumber"], json.dumps(each["target"]))
        for each in json.loads(planned.read_text(encoding="utf-8"))["devices"]
    ]
    insert = """
        INSERT INTO devices (run, idx, row, serial_number, target, device, customer, found, state,
            outcome, history)
        SELECT run, %s, %s, %s, %s, device, customer, found, 'ready', 'pending', '{}'
        FROM devices WHERE run = %s AND idx = 59
    """
    deletes = fleet.sandbox.log
    with started(fleet.as_login(worker)):
        until(lambda: len(deletes.of("delete-device")) >= 3)
        with psycopg.connect(station) as connection, pytest.raises(InsufficientPrivilege):
            connection.execute(insert, [*rows[0][1:], run])
        with psycopg.connect(fleet.ledger_url) as connection:
            connection.execute("GRANT INSERT ON devices TO partner_tools_submit")
        with psycopg.connect(station) as connection:
            for row in rows:
                connection.execute(insert, [*row[1:], run])
        assert len(deletes.of("delete-device")) < 60
        done = fleet.wait_for(run, "finished", "stopped", seconds=120.0)
    assert done["counts"]["removed"] == 60
    assert {each.serial for each in deletes.of("delete-device")} == set(names(120)[:60])


def test_a_worker_reads_the_hold_list_before_every_request(fleet: Fleet) -> None:
    bounded(fleet, 20.0)
    profile, hold_list = fleet.program.folder / "partner-tools.toml", fleet.program.folder / "hold"
    text = profile.read_text(encoding="utf-8")
    profile.write_text(f'{text}[default.guards]\nhold_list = "hold"\n', encoding="utf-8")
    hold_list.write_text("NOT-HERE\n", encoding="utf-8")
    run = fleet.submit(names(60), "--settle", "0")
    deletes = fleet.sandbox.log
    with started(fleet):
        until(lambda: len(deletes.of("delete-device")) >= 3)
        sent = {each.serial for each in deletes.of("delete-device")}
        kept = [name for name in names(60)[-20:] if name not in sent]
        hold_list.write_text("".join(f"{name.lower()}\n" for name in kept), encoding="utf-8")
        done = fleet.wait_for(run, "finished", "stopped", seconds=120.0)
    assert kept
    assert done["counts"] == {"removed": 60 - len(kept), "refused": len(kept)}
    assert not set(kept) & {each.serial for each in deletes.of("delete-device")}


def test_two_processes_keep_one_rate_and_one_pause(fleet: Fleet) -> None:
    rate, pause = 20.0, 3.0
    bounded(fleet, rate)
    refusal = {"kind": "status", "status": 429, "retryAfter": pause}
    once = {"match": {"operation": "delete-device", "nth": 20}, "fault": refusal}
    slow = {"operation": "delete-device", "seconds": 1.0}
    halves = {"leipzig": names(120)[:60], "lyon": names(120)[60:]}
    deletes = fleet.sandbox.log

    def are_both_served(since: float = 0.0) -> bool:
        named = {entry.serial for entry in deletes.of("delete-device") if entry.at > since}
        return all(named.intersection(serials) for serials in halves.values())

    fleet.sandbox.behave(faults_from(behaving(latency=[slow])))  # until the other one is up
    runs = [
        fleet.submit(serials, "--depot", depot, "--settle", "0")
        for depot, serials in halves.items()
    ]
    with started(fleet, "--concurrency", "1"), started(fleet, "--concurrency", "1"):
        until(are_both_served)
        fleet.sandbox.behave(faults_from(behaving(rules=[once])))
        quick = time.time()
        for run in runs:
            assert fleet.wait_for(run, "finished", "stopped")["counts"] == {"removed": 60}
    entries = sorted(deletes.of("delete-device"), key=lambda entry: entry.at)
    (refused,) = [entry for entry in entries if entry.status == 429]
    assert are_both_served(since=refused.at), "both had to pause"
    pausing = (refused.at + 1.0, refused.at + pause)  # what was leased before may still leave
    assert not [each for each in fleet.sandbox.log.entries if pausing[0] < each.at < pausing[1]]
    span = entries[-1].at - quick - pause
    assert len([entry for entry in entries if entry.at > quick]) <= rate * (span + 1.5), (
        "each by itself would be twice as fast"
    )


def test_what_is_open_is_looked_at_again_by_one_of_the_workers(fleet: Fleet) -> None:
    run = fleet.submit(names(3), "--settle", "0")
    with fleet.worker():
        fleet.wait_for(run, "finished")

    def looks() -> int:
        with Ledger.open(fleet.ledger_url) as ledger:
            kinds = [each.event.kind.value for each in ledger.events(run=RunId(run))]
        return kinds.count("observed")

    before, began = looks(), time.time()
    every_minute = ("--reverify", "* * * * *")
    with started(fleet, *every_minute), started(fleet, *every_minute):
        until(lambda: looks() > before)
        time.sleep(2.0)
    each = 3
    minutes = int(time.time() // 60) - int(began // 60) + 1
    assert each <= looks() - before <= each * minutes, "once a time, not once a worker"


def test_a_batch_for_oem_direct_outlives_its_worker(fleet: Fleet) -> None:
    (fleet.program.folder / "oem.toml").write_text(OEM, encoding="utf-8")
    profile = str(fleet.program.folder / "oem.toml")
    program = program_for(
        fleet.sandbox,
        fleet.program.folder,
        PARTNER_TOOLS_LEDGER=fleet.ledger_url,
        PARTNER_TOOLS_OEM_PROFILE=profile,
    )
    fleet = Fleet(program, fleet.sandbox, fleet.ledger_url)
    fleet.sandbox.behave(faults_from(behaving(latency=[{"seconds": 0.5}])))
    rows = "\n".join(f"{name},Fabrikam,Book" for name in names(100))
    batch = program.batch(f"Serial,Manufacturer,Model\n{rows}\n")
    submitted = program.json("submit", batch, "--via", "oem-direct", "--yes", "--batch-id", "R-1")
    run, calls = submitted["run"], fleet.sandbox.log
    channel = ("--channels", "oem-direct", "--takeover", str(TAKEOVER))
    with started(fleet, *channel) as first:
        until(lambda: calls.of("deregister"))
        first.kill()
        first.wait()
    died = len(calls.of("deregister"))
    with started(fleet, *channel):
        done = fleet.wait_for(run, "finished", "stopped")
    assert sum(done["counts"].values()) == 100
    assert set(done["counts"]) <= {"removed", "absent"}, done
    assert fleet.sandbox.oem_direct.trips == ()
    again = [entry.correlation_id for entry in calls.of("deregister")]
    assert len(again) - len(set(again)) <= died, "only what was in doubt is sent once more"
    assert max(map(again.count, again)) <= 2
    whole = program.json("runs", run)
    assert {each["serialNumber"] for each in whole["devices"]} == set(names(100))


def test_runs_are_watched_until_somebody_has_seen_enough(fleet: Fleet) -> None:
    run = fleet.submit(names(2), "--not-before", "2126-01-01", "--depot", "leipzig")
    words = ("runs", "--watch", "--depot", "leipzig", "--output", "jsonl")
    watching = subprocess.Popen(
        [sys.executable, "-m", "partner_tools", *words],
        env={**os.environ, **fleet.program.environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["state"] == "queued"
        assert fleet.program("runs", "cancel", run).exit_code == 0
        shown = [json.loads(watching.stdout.readline()) for _ in range(2)]
        while shown[-1]["state"] == "queued":
            shown.append(json.loads(watching.stdout.readline()))
        assert (shown[-1]["run"], shown[-1]["state"]) == (run, "cancelled")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    finally:
        watching.kill()
        watching.wait()
        if watching.stdout is not None:
            watching.stdout.close()
