"""The scripts of the pages about pipelines, word for word, against the sandbox."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.commands.test_deregister_oem_direct import depot, registered
from tests.cli.program import Program, customer, program_for, world
from tests.test_docs import ROOT, blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="the page's scripts are for bash"),
]
PAGE = ROOT / "docs" / "how-to" / "depot-pipeline.md"
PIPELINES = ROOT / "docs" / "how-to" / "pipelines.md"
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


def shell_step(title: str) -> str:
    """What a build server's file has run, as its own form says it."""
    document = yaml.safe_load(script(title)) if title != "Jenkinsfile" else None
    if document is None:
        (step,) = re.findall(r"script: '(.*)'\n", script(title))
        return str(step)
    if title == ".gitlab-ci.yml":
        return "\n".join(document["deregister"]["script"])
    if title == "azure-pipelines.yml":
        return str(document["steps"][0]["bash"])
    (step,) = [each["run"] for each in document["jobs"]["deregister"]["steps"] if "run" in each]
    return str(step)


@pytest.mark.parametrize(
    ("title", "unstable"),
    [
        (".gitlab-ci.yml", 7),
        (".github/workflows/deregister.yml", 0),
        ("azure-pipelines.yml", 0),
        ("Jenkinsfile", 7),
    ],
)
def test_a_build_that_is_started_again_resumes(tmp_path: Path, title: str, unstable: int) -> None:
    """Exit 5 fails the build; the next one resumes the run, and exit 7 is for a person."""
    (tmp_path / "order.csv").write_text(
        f"{HEADER}S1,Fabrikam,Book\nS9,Fabrikam,Book\n", encoding="utf-8"
    )
    variables = {"ORDER": "R-1", "ORDER_FILE": str(tmp_path / "order.csv")}
    with depot(tmp_path, *registered("S1"), faults={"rules": [BROKEN_OFF]}) as (_, program):
        step = shell_step(title)
        assert run(step, program, **variables) == 5
        first = json.loads((tmp_path / "result.json").read_text("utf-8"))
        assert run(step, program, **variables) == unstable
    second = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert second["run"] == first["run"]
    assert second["counts"] == {"removed": 1, "unconfirmed": 1}
    assert "R-1" in (tmp_path / "result.xml").read_text("utf-8")


@pytest.mark.parametrize("listed", [["S1"], ["S1", "S9"]])
def test_a_workflow_resumes_by_itself_and_allows_what_needs_a_person(
    tmp_path: Path, listed: list[str]
) -> None:
    """As GitHub runs a step: with -e and pipefail."""
    (text,) = [block.text for block in blocks(PIPELINES) if "retire.yml" in block.title]
    (step,) = [each["run"] for each in yaml.safe_load(text)["jobs"]["retire"]["steps"][1:2]]
    refused = {"match": {"operation": "delete-device", "nth": 1}, "fault": {"kind": "redirect"}}
    (tmp_path / "retired.csv").write_text("\n".join(["Serial number", *listed, ""]), "utf-8")
    seed = seed_from(world(customer({"B": [{"serialNumber": "S1"}]})))
    with Sandbox(seed, faults_from({"rules": [refused]})) as sandbox:
        assert run(f"set -eo pipefail\n{step}", program_for(sandbox, tmp_path)) == 0
        assert sandbox.state.devices("contoso.onmicrosoft.com") == ()
        assert len(sandbox.log.of("delete-device")) == 2
    assert (tmp_path / "result.xml").exists()
