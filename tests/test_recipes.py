"""The recipes of `deploy/`: the watched folder as its script runs, and monitoring by its forms."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]

from partner_tools.fleet.health import Backlog, Health
from tests.cli.commands.test_deregister_oem_direct import depot, registered
from tests.cli.program import Program

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "watched-folder"
MONITORING = ROOT / "deploy" / "monitoring"
HEADER = "SerialNumber,Manufacturer,Model\n"
bash_only = pytest.mark.skipif(os.name == "nt", reason="the script is for bash")


def carry_out(program: Program, folder: Path) -> int:
    """One start of the script, as a unit or a scheduled task does it."""
    commands = program.folder / "commands"
    commands.mkdir(exist_ok=True)
    for name, line in {
        "partner-tools": f'exec {shlex.quote(sys.executable)} -m partner_tools "$@"',
        "alert": f'echo "$@" >> {shlex.quote(str(folder))}/alerts',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (commands / name).chmod(0o755)
    environment = {**os.environ, **program.environment, "ALERT": "alert", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{commands}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(FOLDER / "deregister-folder"), str(folder)],
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    return done.returncode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.slow
@bash_only
def test_a_bad_order_blocks_no_other_and_alerts_once(tmp_path: Path) -> None:
    """One that can be tried again stays, one with a tenant is put aside, the others are done."""
    folder = tmp_path / "orders"
    (folder / "in").mkdir(parents=True)
    orders = {
        "R-1.csv": HEADER + "S1,Fabrikam,Book\n",
        "R-2.csv": "SerialNumber,Manufacturer,Model,TenantID\nS2,Fabrikam,Book,contoso.com\n",
        "R-3.csv": HEADER + "S3,Fabrikam,Book\n",
        ".R-4.csv": HEADER,
    }
    for name, text in orders.items():
        (folder / "in" / name).write_text(text, encoding="utf-8")
    redirect = {
        "match": {"operation": "deregister", "nth": 1},
        "fault": {"kind": "redirect"},
    }
    with depot(tmp_path, *registered("S1", "S2", "S3"), faults={"rules": [redirect]}) as opened:
        sandbox, program = opened
        assert carry_out(program, folder) == 1
        assert names(folder / "done") == ["R-3.csv", "R-3.csv.result.json", "R-3.csv.result.xml"]
        assert names(folder / "attention") == ["R-2.csv"]
        assert (folder / "work" / "R-1.csv").exists()
        assert carry_out(program, folder) == 0
        left = {
            each.device.serial_number for each in sandbox.state.devices("contoso.onmicrosoft.com")
        }
    assert left == {"S2"}
    assert [path.name for path in (folder / "in").iterdir()] == [".R-4.csv"]
    result = json.loads((folder / "done" / "R-1.csv.result.json").read_text("utf-8"))
    assert result["counts"] == {"removed": 1}
    told = (folder / "alerts").read_text("utf-8").splitlines()
    assert sorted(told) == ["attention R-2.csv", "retry R-1.csv"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_units_of_the_folder(tmp_path: Path) -> None:
    for unit in FOLDER.glob("deregister-folder.*"):
        if unit.suffix != ".xml":
            text = unit.read_text("utf-8").replace("/usr/local/bin/deregister-folder", "/bin/true")
            (tmp_path / unit.name).write_text(text, encoding="utf-8")
    units = [str(path) for path in sorted(tmp_path.iterdir())]
    told = subprocess.run(
        ["systemd-analyze", "verify", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert [line for line in told.stderr.splitlines() if "deregister-folder" in line] == []


def test_the_scheduled_task_is_one() -> None:
    """Against the elements of https://learn.microsoft.com/windows/win32/taskschd/
    task-scheduler-schema (read 2026-11)."""
    space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    task = ElementTree.parse(FOLDER / "deregister-folder.xml").getroot()  # noqa: S314 - our own
    assert [each.tag.removeprefix(space) for each in task] == [
        "RegistrationInfo",
        "Triggers",
        "Settings",
        "Actions",
    ]
    assert task.findtext(f".//{space}Interval") == "PT5M"
    assert task.findtext(f".//{space}MultipleInstancesPolicy") == "IgnoreNew"


def shipped_metrics() -> set[str]:
    """The names that a worker serves."""
    health = Health(rates=dict, backlog=lambda: Backlog(jobs=0, oldest=0.0, in_doubt=0))
    health.settled("oem-direct", "removed")
    health.carried("oem-direct", "done")
    families = list(health.registry.collect())
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


def used(expression: str) -> set[str]:
    return set(re.findall(r"\bpartner_tools_\w+", expression))


def test_alert_rules_ask_for_metrics_that_are_served() -> None:
    """In the form of Prometheus's rule files."""
    document = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))
    (group,) = document["groups"]
    assert set(group) <= {"name", "interval", "rules"}
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert used(rule["expr"]) <= shipped_metrics(), rule["alert"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_dashboard_shows_metrics_that_are_served() -> None:
    """In the form of Grafana's dashboard JSON; every shipped metric is on it."""
    board: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    shown = set()
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            shown |= used(target["expr"])
    assert shown == shipped_metrics()
