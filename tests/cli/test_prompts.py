"""What a person at a terminal is asked before devices go."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's"),
]

SERIALS = [f"SN-{number}" for number in range(60)]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    seed = seed_from(world(customer({"B": [{"serialNumber": serial} for serial in SERIALS]})))
    with Sandbox(seed) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


def at_a_terminal(
    program: Program, batch: Path, answer: str | None, *, early: str = ""
) -> tuple[int, str]:
    """Run `deregister` at a pseudo-terminal and type one answer; the exit code and the screen.

    None for an answer is Ctrl-C. `early` is typed before the question shows.
    """
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "partner_tools", "deregister", str(batch)),
            *("--via", "partner-center", "--customer", CONTOSO, "--settle", "0"),
        ],
        env={**os.environ, **program.environment, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=Path(__file__).parents[2],
    )
    os.close(theirs)
    os.write(ours, early.encode())
    screen = _read_until(ours, ("[y/N]", "to remove them"))
    if answer is None:
        screen += _press_ctrl_c(process, ours)
    else:
        os.write(ours, answer.encode())
    screen += _read_until(ours, ())
    return process.wait(timeout=60), screen


def _press_ctrl_c(process: subprocess.Popen[bytes], terminal: int) -> str:
    """Press it until something happens, as a person does; the screen.

    A signal that comes just before the process waits for the terminal is heeded at the next one
    (https://peps.python.org/pep-0475/, read 2026-11).
    """
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        if select.select([terminal], [], [], 3.0)[0]:
            return _read_until(terminal, ("interrupted",))
    raise AssertionError("Ctrl-C ended nothing")


def _read_until(terminal: int, marks: tuple[str, ...]) -> str:
    """The screen up to one of the marks, or to its end."""
    text, deadline = "", time.monotonic() + 60
    while select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # the other side closed it
            return text
        text += piece.decode("utf-8", "replace")
        if not piece or any(mark in text for mark in marks):
            return text
    raise AssertionError(f"the terminal stayed as it was: {text}")


@pytest.mark.parametrize(("answer", "exit_code", "left"), [("y\n", 0, 58), ("n\n", 8, 60)])
def test_a_few_removals_ask_for_yes_or_no(
    program: Program, sandbox: Sandbox, answer: str, exit_code: int, left: int
) -> None:
    code, screen = at_a_terminal(program, program.serials(*SERIALS[:2]), answer)

    assert " ".join(screen.split()).count("2 of this customer's 60 devices") == 1
    assert (code, len(sandbox.state.devices(CONTOSO))) == (exit_code, left), screen


@pytest.mark.parametrize(
    ("answer", "exit_code", "left"),
    [("contoso.onmicrosoft.com\n", 0, 0), ("y\n", 8, 60), ("contoso\n", 8, 60)],
)
def test_many_removals_ask_for_the_customers_domain(
    program: Program, sandbox: Sandbox, answer: str, exit_code: int, left: int
) -> None:
    code, screen = at_a_terminal(program, program.serials(*SERIALS), answer)

    assert (code, len(sandbox.state.devices(CONTOSO))) == (exit_code, left), screen


def test_a_yes_typed_before_the_question_is_no_answer(program: Program, sandbox: Sandbox) -> None:
    code, screen = at_a_terminal(program, program.serials(*SERIALS[:2]), "n\n", early="y\ny\n")

    assert "Remove them?" in screen
    assert (code, len(sandbox.state.devices(CONTOSO))) == (8, 60), screen


def test_ctrl_c_at_the_question_removes_nothing(program: Program, sandbox: Sandbox) -> None:
    code, screen = at_a_terminal(program, program.serials(*SERIALS[:2]), None)

    assert (code, len(sandbox.state.devices(CONTOSO))) == (130, 60), screen
    assert "\nerror: interrupted" in screen.replace("\r", "")
