"""Standard streams that are full, closed or without a reader: one sentence, and the right code."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/dev/full").exists(), reason="needs Linux: a shell and the full device /dev/full"
    ),
]

PROGRAM = f"{sys.executable} -m partner_tools"
DEREGISTER = f"deregister batch.csv --via partner-center --customer {CONTOSO} --yes --settle 0"
FULL = "error: the output cannot be written: No space left on device"
CLOSED = "error: standard output is closed"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    seed = seed_from(world(customer({"B": [{"serialNumber": "SN-1"}]})))
    with Sandbox(seed) as running:
        yield running


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def unbuffered(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    program = program_for(sandbox, tmp_path)
    program.serials("SN-1")
    return program


def shell(
    program: Program, command: str, *, unbuffered: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program by a shell, with what the shell makes of its streams."""
    return subprocess.run(
        ["bash", "-c", f"{PROGRAM} {command}"],
        env={**os.environ, **program.environment, "PYTHONUNBUFFERED": unbuffered},
        cwd=program.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "command",
    [
        "runs",
        "runs --output json",
        "runs --output jsonl",
        "--version",
        "--help",
        "runs --help",
        "completion bash",
    ],
)
def test_a_full_disk_behind_stdout_is_one_sentence(
    program: Program, command: str, unbuffered: str
) -> None:
    program(*DEREGISTER.split()[:1], program.folder / "batch.csv", *DEREGISTER.split()[2:])

    ended = shell(program, f"{command} > /dev/full", unbuffered=unbuffered)

    assert ended.returncode == 3
    assert ended.stderr.splitlines()[:1] == [FULL]
    assert len(ended.stderr.splitlines()) == 2  # and the remedy


def test_a_full_disk_behind_the_result_of_a_run(program: Program, unbuffered: str) -> None:
    ended = shell(program, f"{DEREGISTER} > /dev/full", unbuffered=unbuffered)

    run = program.json("runs")["runs"][0]["run"]
    assert ended.returncode == 130
    assert FULL in ended.stderr.splitlines()
    assert ended.stderr.splitlines()[-1] == f"partner-tools resume {run}"
    assert "Exception ignored" not in ended.stderr


def test_a_demo_behind_a_full_disk_left_no_run_to_resume(program: Program) -> None:
    ended = shell(program, "demo -o handoff > /dev/full")

    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
    assert "resum" not in ended.stderr


@pytest.mark.parametrize("lost", ["2> /dev/full", "2>&-", "2< /dev/null"])
def test_lost_messages_change_neither_result_nor_exit_code(program: Program, lost: str) -> None:
    removed = shell(program, f"{DEREGISTER} --output json {lost}")
    unknown = shell(program, f"runs nowhere {lost}")
    misused = shell(program, f"runs --nothing-such {lost}")

    assert (removed.returncode, removed.stderr) == (0, "")
    assert '"removed": 1' in removed.stdout
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert (misused.returncode, misused.stdout) == (2, "")


@pytest.mark.parametrize("command", ["runs --output json", "--help", DEREGISTER])
def test_a_closed_stdout_is_refused_before_anything_is_sent(
    program: Program, sandbox: Sandbox, command: str
) -> None:
    ended = shell(program, f"{command} >&-")

    assert ended.returncode == 3
    assert ended.stderr.splitlines()[:1] == [CLOSED]
    assert not sandbox.log.entries


def test_all_streams_closed(program: Program) -> None:
    ended = shell(program, f"{DEREGISTER} <&- >&- 2>&-")

    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")
    assert shell(program, "validate - <&-").returncode == 3


def test_an_stdout_that_is_open_for_reading_only(program: Program) -> None:
    ended = shell(program, "runs --output json 1< /dev/null")

    assert ended.returncode == 3
    assert "Bad file descriptor" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reader_who_leaves_is_no_failure(program: Program) -> None:
    ended = shell(program, "--help | head -1; exit ${PIPESTATUS[0]}")

    assert (ended.returncode, len(ended.stdout.splitlines()), ended.stderr) == (0, 1, "")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (f"{DEREGISTER} --junit /dev/full", 130),
        (f"plan batch.csv --via partner-center --customer {CONTOSO} -o /dev/full", 3),
        (f"inventory --customer {CONTOSO} -o /dev/full", 3),
    ],
)
def test_a_full_device_is_written_to_and_not_replaced(
    program: Program, command: str, code: int
) -> None:
    ended = shell(program, command)

    assert ended.returncode == code
    assert "'/dev/full' cannot be written: No space left on device" in ended.stderr
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
