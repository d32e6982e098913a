"""What is different on Windows, simulated elsewhere: names, paths, and missing signals."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url

from partner_tools.cancellation import CancellationToken
from partner_tools.cli import signals as interruption
from partner_tools.cli.signals import handle_signals
from partner_tools.ledger import sqlite_url
from partner_tools.report.guide import file_name, harmless
from partner_tools.workspace.diagnostics import is_share

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = set('<>:"/\\|?*')
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{name}{n}" for name in ("com", "lpt") for n in "0123456789"),
}
"""https://learn.microsoft.com/windows/win32/fileio/naming-a-file, read 2026-11."""


def document(customer: str) -> dict[str, dict[str, str | None]]:
    named = {"domain": customer, "tenantId": None, "name": None}
    return {"customer": named, "run": {"id": "20260417-101530-4f2a9c"}}


def test_every_file_here_has_a_name_that_windows_takes() -> None:
    """A checkout ends at the first one that it does not, and a device is read instead."""
    folders = ("docs", "partner_tools", "schemas", "samples", "tests", "deploy")
    names = {each.name for folder in folders for each in (ROOT / folder).rglob("*")}
    bad = [n for n in names if n.partition(".")[0].casefold() in RESERVED or FORBIDDEN & set(n)]

    assert len(names) > 500
    assert bad == []


@pytest.mark.slow
@given(customer=st.text(max_size=400))
def test_a_reports_name_is_one_that_windows_takes(customer: str) -> None:
    name = f"{file_name(document(customer))}.checklist.html"

    assert not FORBIDDEN & set(name)
    assert name.isascii() and name.isprintable()
    assert len(name) < 150
    assert name.rstrip(". ") == name
    assert name.partition(".")[0].casefold() not in RESERVED


@pytest.mark.parametrize("name", ["CON", "nul", "com1", "LPT9.txt", "a.", "a "])
def test_a_reminders_name_never_begins_with_a_device(name: str) -> None:
    made = f"reminder-{harmless(name.casefold())}-20260417.eml"

    assert PureWindowsPath(made).name == made
    assert made.partition(".")[0].casefold() not in RESERVED


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        (r"\\depot\ledgers\a.db", True),
        ("//depot/ledgers/a.db", True),
        (r"\\?\UNC\depot\ledgers\a.db", True),
        (r"\\?\C:\ledgers\a.db", False),
        (r"C:\ledgers\a.db", False),
        ("a.db", False),
    ],
)
def test_a_ledger_on_a_share_is_known_by_its_path(path: str, shared: bool) -> None:
    assert is_share(PureWindowsPath(path)) is shared


def test_a_path_of_a_share_outlives_the_ledgers_address() -> None:
    path = PureWindowsPath(r"\\depot\our ledgers\a.db")

    named = make_url(sqlite_url(Path(path.as_posix()))).database

    assert PureWindowsPath(named or "") == path


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="nothing to leave out")
def test_stopping_works_with_the_signals_that_there_are() -> None:
    stop = CancellationToken()
    before = signal.getsignal(signal.SIGINT)

    with handle_signals(stop):
        assert not stop.is_set()
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()

    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals(stop := CancellationToken()):
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_control_break_stops_where_there_is_one() -> None:
    names = {each.name for each in interruption._signals()}

    assert {"SIGINT", "SIGTERM"} <= names
    assert ("SIGBREAK" in names) == (os.name == "nt")


def test_every_printed_command_with_a_value_goes_through_the_quoting() -> None:
    """By `pasteable`, which knows PowerShell; what is written here by hand would know no shell."""
    commands = re.compile(r'f"[^"]*partner-tools [^"]*\{([^}]*)\}')
    sources = (Path(__file__).parents[2] / "partner_tools" / "cli").rglob("*.py")
    by_hand = {found for each in sources for found in commands.findall(each.read_text("utf-8"))}

    assert by_hand == {"CUSTOMER"}, "the demo alone shows a command of constants"
