"""Ctrl-C, SIGTERM, and a second process: nothing half done, everything resumable."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
]

SERIALS = [f"SN-{number}" for number in range(60)]


@dataclass(slots=True)
class Clock:
    """The sandbox's time, which a test may put forward."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    seed = seed_from(world(customer({"B": [{"serialNumber": serial} for serial in SERIALS]})))
    slow = {"operation": "delete-device", "seconds": 0.4}
    faults = faults_from({"schemaVersion": "1", "latency": [slow]})
    with Sandbox(seed, faults, clock=clock) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


def start(
    program: Program, *arguments: str, stdout: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start the program as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "partner_tools", *arguments],
        env={**os.environ, **program.environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def deregister(program: Program) -> subprocess.Popen[str]:
    batch = program.serials(*SERIALS)
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--output", "json")
    return start(program, "deregister", str(batch), *arguments, "--max-rate", "10")


def wait_for_deletes(sandbox: Sandbox, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(sandbox.log.of("delete-device")) < count:
        assert time.monotonic() < deadline, "the run did not come so far"
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_answers_arrive_and_leaves_a_resumable_run(
    program: Program, sandbox: Sandbox, number: signal.Signals
) -> None:
    process = deregister(program)
    wait_for_deletes(sandbox, 5)

    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)

    document = json.loads(stdout)
    assert (process.returncode, document["state"]) == (130, "interrupted")
    assert stderr.strip().splitlines()[-1] == f"partner-tools resume {document['run']}"
    assert set(document["counts"]) <= {"removed", "pending"}
    assert document["counts"]["removed"] == len(sandbox.log.of("delete-device"))
    finished = program.json("resume", document["run"])
    assert finished["counts"] == {"removed": len(SERIALS)}
    assert len(sandbox.log.of("delete-device")) == len(SERIALS)


def test_a_closed_terminal_lets_answers_arrive_and_leaves_a_resumable_run(
    program: Program, sandbox: Sandbox
) -> None:
    """Nothing can be printed any more, and the shell's SIGHUP besides the kernel's ends nothing."""
    import pty

    batch = program.serials(*SERIALS)
    named = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--max-rate", "10")
    ours, theirs = pty.openpty()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a child of `nohup` has it ignored
    child = subprocess.Popen(
        [sys.executable, "-m", "partner_tools", "deregister", str(batch), *named],
        env={**os.environ, **program.environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=Path(__file__).parents[2],
    )
    signal.signal(signal.SIGHUP, before)
    os.close(theirs)
    while len(sandbox.log.of("delete-device")) < 5:
        if select.select([ours], [], [], 0.05)[0]:
            assert os.read(ours, 4096)
    child.send_signal(signal.SIGHUP)
    os.close(ours)

    assert child.wait(60) == 130
    (listed,) = program.json("runs")["runs"]
    assert listed["state"] == "interrupted"
    assert set(listed["counts"]) == {"removed", "pending"}
    assert listed["counts"]["removed"] == len(sandbox.log.of("delete-device"))


def test_a_second_signal_ends_at_once_and_stays_resumable(
    program: Program, sandbox: Sandbox
) -> None:
    slow = {"operation": "delete-device", "seconds": 20}
    sandbox.behave(faults_from({"schemaVersion": "1", "latency": [slow]}))
    process = deregister(program)
    deadline = time.monotonic() + 60
    while not _runs(program) or _runs(program)[0]["state"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert process.stderr is not None

    process.send_signal(signal.SIGINT)
    while not process.stderr.readline().startswith("Stopping"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 130
    assert time.monotonic() - begun < 9  # the first alone waits ten seconds for answers
    assert stderr.splitlines()[-1] == f"partner-tools resume {_runs(program)[0]['run']}"
    sandbox.behave(faults_from({"schemaVersion": "1"}))
    finished = program.json("resume", _runs(program)[0]["run"])
    assert set(finished["counts"]) <= {"removed", "absent"}


TWICE = """
import os, signal
from partner_tools.cli.signals import handle_signals
from partner_tools.cancellation import CancellationToken
with handle_signals(CancellationToken(), lambda: "go on"):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize(("kind", "shown"), [("xterm", "\x1b[?25hgo on"), ("dumb", "go on")])
def test_at_a_terminal_words_begin_a_line_and_the_cursor_comes_back(kind: str, shown: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-c", TWICE],
        env={**os.environ, "TERM": kind},
        stderr=theirs,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )
    os.close(theirs)
    lines = os.read(ours, 4096).decode().split("\r\n")
    os.close(ours)

    assert ended.returncode == 130
    assert [line[:8] for line in lines[:3]] == ["", "Stopping", ""]
    assert lines[3:] == [shown, ""]


BEGINS_TO_WAIT = """
import os, signal
from partner_tools.cli.signals import handle_signals
from partner_tools.cancellation import CancellationToken
class Interrupted(CancellationToken):
    def wait_for(self, event, timeout=None):
        with event._cond:  # as Event.wait begins
            os.kill(os.getpid(), signal.SIGINT)
        return event.wait(timeout)
with handle_signals(stop := Interrupted()):
    print(stop.wait(50), stop.is_set())
"""


def test_a_signal_does_not_wait_for_what_it_interrupted() -> None:
    """The thread that a signal interrupts may hold the lock of the event that it waits for."""
    ended = subprocess.run(
        [sys.executable, "-c", BEGINS_TO_WAIT],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
        check=False,
    )

    assert ended.stdout.split() == ["True", "True"]


def test_a_run_is_executed_by_one_process_at_a_time(program: Program, sandbox: Sandbox) -> None:
    process = deregister(program)
    wait_for_deletes(sandbox, 2)

    result = program("resume", _runs(program)[0]["run"])

    assert result.exit_code == 6
    assert "another process" in result.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def _sent_at_last(sandbox: Sandbox) -> int:
    """How many removals reached the service once it has dealt with all, answered to nobody."""
    counted, deadline = [-1], time.monotonic() + 60
    while len(set(counted[-5:])) > 1 or len(counted) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        counted.append(len(sandbox.log.of("delete-device")))
    return counted[-1]


def _runs(program: Program) -> list[dict[str, str]]:
    runs: list[dict[str, str]] = program.json("runs")["runs"]
    return runs


def test_a_run_that_another_process_executes_is_cancelled(
    program: Program, sandbox: Sandbox
) -> None:
    running = deregister(program)
    wait_for_deletes(sandbox, 3)
    run = program.json("runs")["runs"][0]["run"]
    cancelled = program("runs", "cancel", run)
    assert cancelled.exit_code == 0, cancelled.output
    sent = len(sandbox.log.of("delete-device"))
    running.communicate(timeout=60)
    assert running.returncode == 7
    listed = program.json("runs")["runs"][0]
    assert listed["state"] == "cancelled"
    assert listed["counts"]["removed"] == len(sandbox.log.of("delete-device")) == sent
    assert "unknown" not in listed["counts"]
    assert program("resume", run).exit_code == 7
    assert len(sandbox.log.of("delete-device")) == sent


def test_a_run_that_died_is_cancelled_and_what_had_left_is_settled(
    program: Program, sandbox: Sandbox
) -> None:
    running = deregister(program)
    wait_for_deletes(sandbox, 3)
    running.kill()
    running.communicate(timeout=60)
    listed = program.json("runs")["runs"][0]
    assert listed["state"] == "interrupted"
    sent = _sent_at_last(sandbox)
    assert program("runs", "cancel", listed["run"]).exit_code == 0
    counts = program.json("runs")["runs"][0]["counts"]
    assert "unknown" not in counts
    assert counts["pending"] == len(SERIALS) - sent
    assert len(sandbox.log.of("delete-device")) == sent


def removing(program: Program, *serials: str) -> tuple[str, ...]:
    """The command that removes these devices and prints a line for each."""
    named = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--settle", "0")
    return ("deregister", str(program.serials(*serials)), *named, "--output", "jsonl")


def test_a_reader_who_leaves_ends_no_run(program: Program, sandbox: Sandbox) -> None:
    """`| head -1`: the rest is not printed, everything else is as it would have been."""
    process = start(program, *removing(program, *SERIALS[:6], "SN-NOWHERE"), "--max-rate", "5")
    assert process.stdout is not None
    assert process.stderr is not None

    first = json.loads(process.stdout.readline())
    process.stdout.close()

    assert process.wait(timeout=60) == 7
    assert first["outcome"] == "not-found"
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert len(sandbox.log.of("delete-device")) == 6
    assert program.json("runs")["runs"][0]["state"] == "finished"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the full device is Linux's")
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_full_disk_behind_stdout_leaves_a_run_whose_result_resume_prints(
    program: Program, form: str
) -> None:
    """Something was removed, so 3 would be wrong; where nothing else failed, all of it was."""
    arguments = (*removing(program, *SERIALS[:4])[:-1], form)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ended = start(program, *arguments, stdout=full)
        _, stderr = ended.communicate(timeout=60)
    run = program.json("runs")["runs"][0]["run"]

    assert ended.returncode == 130
    assert "No space left" in stderr
    assert stderr.splitlines()[-1] == f"partner-tools resume {run}"
    assert program.json("resume", run)["counts"] == {"removed": 4}


def lingering(sandbox: Sandbox) -> None:
    """What is removed stays in the lists for an hour."""
    sandbox.behave(faults_from({"schemaVersion": "1", "quirks": {"listLag": 3600}}))


def wait_for_lists(sandbox: Sandbox, count: int) -> None:
    """Until the devices were listed so often after the last removal."""
    deadline = time.monotonic() + 60
    while _lists_after_the_removals(sandbox) < count:
        assert time.monotonic() < deadline, "the run did not look"
        time.sleep(0.02)


def _lists_after_the_removals(sandbox: Sandbox) -> int:
    operations = [entry.operation for entry in sandbox.log.entries]
    if "delete-device" not in operations:
        return 0
    after = operations[::-1][: operations[::-1].index("delete-device")]
    return after.count("list-devices")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_run_that_ends_while_it_looks_is_not_over(
    program: Program, sandbox: Sandbox, clock: Clock, name: str
) -> None:
    """`resume` looks again: nobody has seen yet that what was removed is gone."""
    lingering(sandbox)
    named = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--settle", "600")
    arguments = ("deregister", str(program.serials("SN-1", "SN-2")), *named, "--output", "json")
    process = start(program, *arguments)
    wait_for_lists(sandbox, 2)
    process.send_signal(getattr(signal, name))
    stdout, stderr = process.communicate(timeout=60)

    (listed,) = program.json("runs")["runs"]
    assert listed["state"] != "finished"
    if name == "SIGTERM":
        document = json.loads(stdout)
        assert (process.returncode, document["state"]) == (130, "interrupted")
        assert stderr.strip().splitlines()[-1] == f"partner-tools resume {listed['run']}"

    assert program.json("verify", listed["run"], exit_code=7)["state"] != "finished"
    clock.ahead = 2 * 3600.0
    done = program.json("resume", listed["run"])

    assert (done["state"], done["counts"]) == ("finished", {"removed": 2})
    assert len(sandbox.log.of("delete-device")) == 2


def test_a_killed_run_that_emptied_its_customer_can_be_finished(tmp_path: Path) -> None:
    """Its unanswered requests may have removed the devices: the empty list contradicts nothing."""
    serials = SERIALS[:4]
    held = {
        "match": {"operation": "delete-device"},
        "fault": {"kind": "slow-answer", "seconds": 60},
    }
    faults = faults_from({"schemaVersion": "1", "rules": [held]})
    seed = seed_from(world(customer({"B": [{"serialNumber": serial} for serial in serials]})))
    with Sandbox(seed, faults) as sandbox:
        program = program_for(sandbox, tmp_path)
        named = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--settle", "0")
        process = start(program, "deregister", str(program.serials(*serials)), *named)
        until = time.monotonic() + 60
        while sandbox.state.devices(CONTOSO):
            assert time.monotonic() < until, "the run did not come so far"
            time.sleep(0.02)
        process.kill()
        process.communicate(timeout=60)
        sandbox.behave(faults_from({"schemaVersion": "1"}))

        (listed,) = program.json("runs")["runs"]
        done = program.json("resume", listed["run"])

    assert (done["state"], done["counts"]) == ("finished", {"absent": len(serials)})


def test_an_interrupted_verification_has_no_run_to_resume(
    program: Program, sandbox: Sandbox
) -> None:
    lingering(sandbox)
    program(*removing(program, "SN-1"))
    (listed,) = program.json("runs")["runs"]
    process = start(program, "verify", listed["run"], "--wait", "600")
    wait_for_lists(sandbox, 3)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "next: run the command again" in stderr
    assert "resume" not in stderr
