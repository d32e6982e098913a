"""What is submitted is carried out once, whoever does it and whatever becomes of the queue."""

from __future__ import annotations

import json
import logging
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from procrastinate.exceptions import ConnectorException
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import partner_tools
from partner_tools import (
    CancellationToken,
    GuardError,
    Outcome,
    RunOptions,
    Workspace,
    open_workspace,
)
from partner_tools.cli.logs import logging_to_stderr
from partner_tools.cli.options import Common
from partner_tools.errors import InputError, LedgerError
from partner_tools.fleet.health import Backlog, Health, served
from partner_tools.fleet.queue import Job, bring_up_to_date, open_queue
from partner_tools.fleet.worker import LOOKS_PER_SWEEP, Worker, WorkerOptions
from partner_tools.ledger import Ledger
from partner_tools.model import ChannelName, RunId
from tests.cli.program import Program
from tests.fleet.conftest import SERIALS, VIA, Fleet

pytestmark = pytest.mark.slow


def test_a_batch_is_submitted_once_and_carried_out_in_portions(fleet: Fleet) -> None:
    serials = SERIALS[:60]
    run = fleet.submit(serials, "--depot", "leipzig", "--batch-id", "RMA-1")
    again = fleet.program.json(
        "submit", fleet.program.serials(*serials), *VIA, "--yes", "--batch-id", "RMA-1"
    )
    assert (again["run"], again["new"], again["state"]) == (run, False, "queued")
    other = fleet.program(
        "submit", fleet.program.serials(*serials[:3]), *VIA, "--yes", "--batch-id", "RMA-1"
    )
    assert other.exit_code == 3
    assert "used for another content" in other.output
    elsewhere = ("--via", "partner-center", "--customer", "fabrikam.example")
    other = fleet.program(
        "submit", fleet.program.serials(*serials), *elsewhere, "--yes", "--batch-id", "RMA-1"
    )
    assert (other.exit_code, "used for another customer" in other.output) == (3, True)
    with fleet.worker(least=20) as told:
        done = fleet.wait_for(run, "finished", "stopped")
        address = next(line for line in told if line.startswith("health")).split()[-1]
        with urllib.request.urlopen(f"{address}/metrics") as answer:  # noqa: S310 - loopback
            metrics = answer.read().decode()
        with urllib.request.urlopen(f"{address}/health") as answer:  # noqa: S310 - loopback
            assert json.load(answer) == {"healthy": True, "queue": 0}
    assert done["counts"] == {"removed": 60}
    assert done["depot"] == "leipzig"
    assert 'partner_tools_devices_total{channel="partner-center",outcome="removed"} 60.0' in metrics
    assert "partner_tools_rate_per_second" in metrics
    with Ledger.open(fleet.ledger_url) as ledger:
        kinds = [each.event.kind.value for each in ledger.events()]
        assert ledger.verify() == []
    assert kinds.count("started") >= 3
    assert kinds.count("intended") - kinds.count("withdrawn") == 60
    assert fleet.program.json("runs", "--depot", "lyon")["runs"] == []


def test_a_worker_is_checked_before_it_is_deployed(fleet: Fleet) -> None:
    """Queue, sign-in and access; the first thing that fails decides the exit code."""
    fleet.submit(SERIALS[:1])
    order = ("worker", "--check", "--channels", "partner-center")
    fine = fleet.program(*order)
    assert fine.exit_code == 0, fine.output
    assert "queue: 1 jobs waiting" in fine.stderr
    assert "can work for partner-center" in fine.stderr
    expired = {"PARTNER_TOOLS_ACCESS_TOKEN": fleet.sandbox.tokens["expired"]}
    blind = Program(fleet.program.folder, {**fleet.program.environment, **expired})
    refused = blind(*order)
    assert (refused.exit_code, "cannot work" in refused.stderr) == (4, True)


def test_batches_that_may_not_be_submitted(fleet: Fleet, tmp_path: Path) -> None:
    batch = fleet.program.serials(*SERIALS[:3])
    unconfirmed = fleet.program("submit", batch, *VIA)
    assert unconfirmed.exit_code == 8
    assert "--yes" in unconfirmed.output
    many = fleet.program("submit", batch, *VIA, "--yes", "--max-devices", "2")
    assert many.exit_code == 8
    assert "--max-devices 3" in many.output
    fleet.program.folder.joinpath("partner-tools.toml").write_text(
        "[default.guards]\nrequire_approval = true\n", encoding="utf-8"
    )
    unapproved = fleet.program("submit", batch, *VIA, "--yes")
    assert unapproved.exit_code == 8
    assert "second person" in unapproved.output
    alone = fleet.program("submit", batch, *VIA, "--yes", "--ledger", str(tmp_path / "one.db"))
    assert alone.exit_code == 3
    assert "PostgreSQL" in alone.output
    assert fleet.program.json("runs")["runs"] == []


def test_a_queue_that_is_away_is_told_in_the_words_of_the_driver(
    new_postgresql: Callable[[], str],
) -> None:
    url = new_postgresql()
    bring_up_to_date(url)
    name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    with open_queue(url, patience=0.5, most=1) as queue:
        assert queue.backlog() == (0, 0.0)
        with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        job = Job(run=RunId("r"), channel=ChannelName.OEM_DIRECT)
        for act in (queue.backlog, queue.jobs, lambda: queue.put(job)):
            with pytest.raises(LedgerError, match="the queue cannot be reached") as away:
                act()
            assert "Database error" not in str(away.value)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_lost_database_leaves_no_trace_in_the_log_and_a_bug_does(
    capsys: pytest.CaptureFixture[str], form: Literal["text", "json"]
) -> None:
    log = logging.getLogger("procrastinate.worker")
    for error in (ConnectorException(), RuntimeError("a bug")):
        with logging_to_stderr(Common(log_format=form)):
            error.__cause__ = OSError("no server there")
            log.error("a job ended", exc_info=error)
        said = capsys.readouterr().err
        assert "no server there" in said
        assert ("RuntimeError: a bug" in said) == isinstance(error, RuntimeError)
        assert "Database error" not in said


def test_health_tells_of_a_lost_database_and_of_a_port_that_is_taken() -> None:
    def lost() -> Backlog:
        raise ConnectionError("\n  Database error.\n") from OSError("no server there\nat all")

    health = Health(rates=dict, backlog=lost)
    with served(health, "127.0.0.1", 0) as port:
        address = f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{address}/metrics") as answer:  # noqa: S310 - loopback
            assert "partner_tools_database_up 0.0" in answer.read().decode()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/health")  # noqa: S310 - loopback
        with refused.value as said:
            assert json.load(said) == {"healthy": False, "error": "no server there"}
        with pytest.raises(InputError, match=str(port)), served(health, "127.0.0.1", port):
            pass


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2126-01-01", "2126-01-01T00:00:00+00:00"),
        ("2126-01-01T06:30Z", "2126-01-01T06:30:00+00:00"),
        ("2126-01-01T06:30:10+02:00", "2126-01-01T04:30:10+00:00"),
    ],
)
def test_no_worker_begins_before_the_given_time(fleet: Fleet, said: str, meant: str) -> None:
    run = fleet.submit(SERIALS[:2], "--not-before", said)
    with open_queue(fleet.ledger_url) as queue:
        (job,) = queue.jobs()
    assert job.run == run
    assert job.not_before == datetime.fromisoformat(meant)


@pytest.mark.parametrize("when", ["nonsense", "61 * * * *", "* * * * * *", ""])
def test_a_time_that_never_comes_is_a_wrong_option(fleet: Fleet, when: str) -> None:
    wrong = fleet.program("worker", "--reverify", when)
    assert wrong.exit_code == 2
    assert "five cron fields" in wrong.output


@pytest.mark.parametrize("guard", ["max_estate_share = 0.0001", "require_approval = true"])
def test_a_guard_of_the_worker_refuses_the_run(fleet: Fleet, guard: str) -> None:
    run = fleet.submit(SERIALS[60:63])
    fleet.program.folder.joinpath("partner-tools.toml").write_text(
        f"[default.guards]\n{guard}\n", encoding="utf-8"
    )
    with fleet.worker():
        refused = fleet.wait_for(run, "finished", "stopped", "refused")
    assert refused["state"] == "refused"
    assert refused["counts"] == {"pending": 3}


def test_no_secret_comes_out_of_a_worker(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    """Neither of `submit` nor of a worker, at the highest verbosity, nor into the database."""
    caplog.set_level(logging.DEBUG)
    marks = {"PARTNER_TOOLS_GRAPH_TOKEN": "MARKED.graph.token"}
    program = replace(fleet.program, environment={**fleet.program.environment, **marks})
    watched = replace(fleet, program=program)
    batch = program.serials(*SERIALS[170:173])
    handed_in = program("submit", batch, *VIA, "--yes", "-vv", "--log-format", "json")
    run = handed_in.stdout.strip()
    with watched.worker() as told:
        done = watched.wait_for(run, "finished", "stopped")
    with psycopg.connect(fleet.ledger_url) as connection:
        stored = [
            str(row)
            for table in ("runs", "plans", "events", "procrastinate_jobs", "procrastinate_events")
            for row in connection.execute(f"SELECT * FROM {table}")  # noqa: S608 - our own names
        ]
    assert done["counts"] == {"removed": 3}
    assert any(run in row for row in stored)
    secrets = (program.environment["PARTNER_TOOLS_ACCESS_TOKEN"], *marks.values())
    said = "\n".join([handed_in.output, caplog.text, *told, *stored])
    assert [secret for secret in secrets if secret in said] == []


def test_a_lost_job_is_made_again_from_the_ledger(fleet: Fleet) -> None:
    run = fleet.submit(SERIALS[70:75])
    with psycopg.connect(fleet.ledger_url) as connection:
        connection.execute("DELETE FROM procrastinate_jobs")
    with (
        open_queue(fleet.ledger_url) as queue,
        open_workspace(environment=fleet.program.environment) as workspace,
    ):
        worker = Worker(
            workspace,
            queue,
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            options=WorkerOptions(),
            open_ledger=lambda: Ledger.open(fleet.ledger_url),
            notify=print,
        )
        for _ in range(2 * LOOKS_PER_SWEEP):
            assert queue.jobs() == []
            worker.look()
        assert [each.run for each in queue.jobs()] == [run]
    with fleet.worker():
        assert fleet.wait_for(run, "finished")["counts"] == {"removed": 5}


def test_a_queued_run_is_cancelled_and_nothing_leaves(fleet: Fleet) -> None:
    run = fleet.submit(SERIALS[80:85], "--not-before", "2126-01-01")
    before = len(fleet.sandbox.log.of("delete-device"))
    cancelled = fleet.program("runs", "cancel", run)
    assert cancelled.exit_code == 0, cancelled.output
    assert "submit it again" in cancelled.output
    assert fleet.state(run)["state"] == "cancelled"
    with psycopg.connect(fleet.ledger_url) as connection:
        connection.execute("UPDATE procrastinate_jobs SET scheduled_at = NULL")
    rush = fleet.submit(SERIALS[85:90])
    with fleet.worker(concurrency=1):
        fleet.wait_for(rush, "finished")
    assert len(fleet.sandbox.log.of("delete-device")) == before + 5
    assert fleet.state(run)["counts"] == {"pending": 5}
    assert fleet.program("runs", "cancel", rush).exit_code == 3


def test_the_more_urgent_run_goes_first(fleet: Fleet) -> None:
    usual = fleet.submit(SERIALS[100:160])
    rush = fleet.submit(SERIALS[160:170], "--priority", "5")
    with fleet.worker(concurrency=1, least=10):
        fleet.wait_for(usual, "finished", seconds=90.0)
    assert fleet.state(rush)["finishedAt"] < fleet.state(usual)["finishedAt"]


def test_python_hands_in_works_and_calls_off(fleet: Fleet) -> None:
    environment = fleet.program.environment
    with open_workspace(environment=environment) as workspace:
        with pytest.raises(GuardError, match="not confirmed"):
            hand_in(workspace, fleet, SERIALS[-3:], RunOptions())
        late = hand_in(workspace, fleet, ["S00100"], RunOptions(yes=True))
        called_off = workspace.cancel(late.run.run)
        handed = hand_in(workspace, fleet, SERIALS[-3:], RunOptions(yes=True, settle=0))
        again = hand_in(workspace, fleet, SERIALS[-3:], RunOptions(yes=True))
    with open_workspace(
        environment=environment, cancellation=(stop := CancellationToken())
    ) as workspace:
        worker = threading.Thread(target=partner_tools.work_until_stopped, args=(workspace,))
        worker.start()
        try:
            done = fleet.wait_for(handed.run.run, "finished")
        finally:
            stop.set()
            worker.join(60)

    assert (handed.new, again.new, again.run.run) == (True, False, handed.run.run)
    assert done["counts"] == {"removed": 3}
    assert called_off.counts == {Outcome.PENDING: 1}


def hand_in(
    workspace: Workspace, fleet: Fleet, serials: list[str], options: RunOptions
) -> partner_tools.Submitted:
    return partner_tools.submit(
        workspace,
        fleet.program.serials(*serials),
        via="partner-center",
        customer="contoso.onmicrosoft.com",
        options=options,
    )
