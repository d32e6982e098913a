"""Standard error: every line JSON where that is asked for, and none in the midst of a bar."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from partner_tools.cancellation import CancellationToken
from partner_tools.cli.console import FORM, is_screen, styled, tell
from partner_tools.cli.progress import Progress
from partner_tools.cli.signals import handle_signals
from partner_tools.model import Outcome
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import Program, customer, program_for, world

DOMAIN = "contoso.onmicrosoft.com"
AS_JSON = ("--log-format", "json")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    seed = seed_from(world(customer({"B": [{"serialNumber": f"SN-{n}"} for n in range(4)]})))
    with Sandbox(seed) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


def lines(text: str) -> list[dict[str, Any]]:
    """What stands on standard error; every line has to be one."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all({"at", "level", "logger", "message"} <= each.keys() for each in found)
    return found


def test_a_whole_run_is_told_in_lines(program: Program, tmp_path: Path) -> None:
    batch = program.batch("Serial number,Shelf\nSN-0,a\nSN-1 ,b\nGHOST,c\n")
    result = program(
        *(*AS_JSON, "-v", "deregister", batch, "--via", "partner-center", "--customer", DOMAIN),
        *("--yes", "--report", tmp_path / "handoff", "--settle", "0", "--format", "json"),
    )

    assert result.exit_code == 7, result.output
    told = lines(result.stderr)
    (run,) = (each["run"] for each in told if "run" in each)
    assert run in result.stdout
    assert {each["level"] for each in told} >= {"info", "warning"}
    assert {each["logger"] for each in told} >= {"partner_tools.cli"}


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        ((), 2),
        (("rnus",), 2),
        (("--nonsense", "runs"), 2),
        (("runs", "--nonsense"), 2),
        (("runs", "GHOST"), 2),
        (("inventory", "--customer", "contosso.onmicrosoft.com"), 3),
        (("deregister", "batch.csv", "--via", "partner-center", "--customer", DOMAIN), 3),
        (("auth", "login"), 4),
    ],
)
def test_an_error_is_a_line_with_its_exit_code_and_what_to_do(
    program: Program, arguments: tuple[str, ...], exit_code: int
) -> None:
    (program.folder / "batch.csv").write_text(
        "Serial\nSN-0\nTo be filled by O.E.M.\n", encoding="utf-8"
    )
    named = [str(program.folder / word) if word == "batch.csv" else word for word in arguments]
    for given in ((*AS_JSON, *named), (*named, "--log-format=json")):
        result = program(*given)
        (last,) = [line for line in lines(result.stderr) if "exit" in line]

        assert result.exit_code == exit_code, result.output
        assert (last["level"], last["exit"]) == ("error", exit_code)
        assert last["remedy"]
    assert not FORM.is_json


def test_without_it_a_misuse_is_told_in_words(program: Program) -> None:
    for arguments in (("runs", "--nonsense"), (*AS_JSON, "runs", "--log-format", "text", "-x")):
        assert "Usage: partner-tools runs" in program(*arguments).stderr


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_too_no_bar_is_drawn_between_the_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert is_screen()
    monkeypatch.setattr(FORM, "is_json", True)
    assert not is_screen()
    clock = chain([0.0, 0.0], repeat(20.0)).__next__
    with Progress(2, quiet=False, clock=clock) as bar:
        bar.settled(Outcome.REMOVED)
    (line,) = lines(screen.getvalue())
    assert "1 of 2" in line["message"]


def test_what_a_signal_says_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FORM, "is_json", True)
    with handle_signals(stop := CancellationToken()):
        signal.raise_signal(signal.SIGINT)
    assert stop.is_set()
    (line,) = lines(capfd.readouterr().err)
    assert "Ctrl-C again" in line["message"]


def test_messages_appear_above_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with Progress(2, quiet=False) as bar:
        bar.settled(Outcome.REMOVED)
        tell("waiting for [three] :smile: devices")
    tell("done")

    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    assert "waiting for [three] :smile: devices" in shown.splitlines()
    assert shown.endswith("done\n")
    assert FORM.above is None


def test_no_color_means_no_bold_either(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table's header and a styled word are the two places with colour or bold."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1m" in program("customers").stdout
    assert "\x1b[" in styled("ok", "green")

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in program("customers").stdout
    assert "\x1b" not in styled("ok", "green")
