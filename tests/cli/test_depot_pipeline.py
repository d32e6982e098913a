"""The scripts of docs/how-to/depot-pipeline.md, word for word, against the sandbox."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Program
from tests.cli.test_oem_direct_commands import depot, registered
from tests.test_docs import ROOT, blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="the page's scripts are for bash"),
]
PAGE = ROOT / "docs" / "how-to" / "depot-pipeline.md"
HEADER = "SerialNumber,Manufacturer,Model\n"
BROKEN_OFF = {"match": {"operation": "deregister", "nth": 1}, "fault": {"kind": "redirect"}}


def script(title: str, **moved: Path | str) -> str:
    """The block of this title, with the paths of this test in place of the page's."""
    (text,) = [block.text for block in blocks(PAGE) if title in block.title]
    for place in moved.values():
        shown, _, real = str(place).partition("=")
        assert shown in text
        text = text.replace(shown, real)
    return text


def run(text: str, program: Program, **variables: str) -> int:
    """The exit code of a script; what it calls besides partner-tools leaves a file behind."""
    commands = program.folder / "commands"
    commands.mkdir(exist_ok=True)
    called = {
        "partner-tools": f'exec {shlex.quote(sys.executable)} -m partner_tools "$@"',
        "export-order": f'cat "{program.folder}/orders/$1"',
        "release-order": f'echo "$1" >> "{program.folder}/released"',
        "hold-units": f'echo "$1" >> "{program.folder}/held"',
    }
    for name, line in called.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (commands / name).chmod(0o755)
    environment = {**os.environ, **program.environment, **variables}
    environment["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=program.folder,
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    return done.returncode


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.mark.parametrize(
    ("exported", "faults", "code", "released", "held"),
    [
        ("S1,Fabrikam,Book\nS2,Fabrikam,Book\n", {"rules": [BROKEN_OFF]}, 0, ["R-1"], []),
        (
            "S1,Fabrikam,Book\n",
            {"items": [{"serials": ["S1"], "number": "811"}]},
            0,
            [],
            ["R-1"],
        ),
        (None, {}, 1, [], []),
    ],
    ids=["resumed", "held", "broken-off"],
)
def test_an_order_is_released_when_every_unit_is_gone(
    tmp_path: Path,
    exported: str | None,
    faults: dict[str, Any],
    code: int,
    released: list[str],
    held: list[str],
) -> None:
    """A run that stopped is resumed, a unit that stays is held, half an order is not sent."""
    (tmp_path / "orders").mkdir()
    if exported is not None:
        (tmp_path / "orders" / "R-1").write_text(HEADER + exported, encoding="utf-8")
    text = script(
        "deregister-order",
        profile=f"/etc/partner-tools/oem.toml={tmp_path}/oem.toml",
        ledger=f"/var/lib/partner-tools/ledger.db={tmp_path}/ledger.db",
    )
    with depot(tmp_path, *registered("S1", "S2"), faults=faults) as (sandbox, program):
        assert run(text, program, ORDER="R-1") == code
        assert not sandbox.oem_direct.trips
    assert lines(tmp_path / "released") == released
    assert lines(tmp_path / "held") == held


def test_the_watched_folder_is_emptied_by_outcome(tmp_path: Path) -> None:
    """Done, or to be looked at; nothing of an order with a tenant in it leaves."""
    for name in ("in", "out", "done", "attention"):
        (tmp_path / name).mkdir()
    orders = {
        "R-1.csv": HEADER + "S1,Fabrikam,Book\n",
        "R-2.csv": "SerialNumber,Manufacturer,Model,TenantID\nS2,Fabrikam,Book,contoso.com\n",
    }
    for name, content in orders.items():
        (tmp_path / "in" / name).write_text(content, encoding="utf-8")
    text = script("deregister-folder", folder=f"/srv/depot/in={tmp_path}/in")
    with depot(tmp_path, *registered("S1", "S2")) as (sandbox, program):
        assert run(text, program) == 0
        assert [call.operation for call in sandbox.log.of("deregister")] == ["deregister"]
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["R-1.csv"]
    assert [path.name for path in (tmp_path / "attention").iterdir()] == ["R-2.csv"]
    said = json.loads((tmp_path / "out" / "R-1.json").read_text(encoding="utf-8"))
    assert said["counts"] == {"removed": 1}
