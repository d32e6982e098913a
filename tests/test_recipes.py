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
from croniter import croniter  # type: ignore[import-untyped]

from partner_tools.fleet.health import Backlog, Health
from tests.cli.commands.test_deregister_oem_direct import depot, registered
from tests.cli.program import Program
from tests.test_docs import blocks

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "watched-folder"
PAGE = ROOT / "docs" / "how-to" / "depot-pipeline.md"
MONITORING = ROOT / "deploy" / "monitoring"
HEADER = "SerialNumber,Manufacturer,Model\n"
bash_only = pytest.mark.skipif(os.name == "nt", reason="the script is for bash")


def installed(program: Program, folder: Path) -> Path:
    """A folder with what the script calls: the program, and a command that notes its alerts."""
    commands = program.folder / "commands"
    commands.mkdir(exist_ok=True)
    for name, line in {
        "partner-tools": f'exec {shlex.quote(sys.executable)} -m partner_tools "$@"',
        "alert": f'echo "$@" >> {shlex.quote(str(folder))}/alerts',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (commands / name).chmod(0o755)
    return commands


def carry_out(program: Program, folder: Path, **more: str) -> int:
    """One start of the script, as a unit or a scheduled task does it."""
    environment = {**os.environ, **program.environment, "ALERT": "alert", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{installed(program, folder)}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [shutil.which("bash") or "bash", str(FOLDER / "deregister-folder"), str(folder)],
        env={**environment, **more},
        capture_output=True,
        timeout=300,
        check=False,
    )
    return done.returncode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def waiting(folder: Path, **orders: str) -> Path:
    """The `in` of a folder with these orders, each of one unit."""
    incoming = folder / "in"
    incoming.mkdir(parents=True, exist_ok=True)
    for name, serial in orders.items():
        text = f"{HEADER}{serial},Fabrikam,Book\n"
        (incoming / f"{name}.csv").write_text(text, encoding="utf-8")
    return incoming


def alerts(folder: Path) -> list[str]:
    return (
        (folder / "alerts").read_text("utf-8").splitlines() if (folder / "alerts").exists() else []
    )


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
    assert sorted(alerts(folder)) == ["attention R-2.csv", "retry R-1.csv"]


@bash_only
def test_an_order_may_be_called_anything(tmp_path: Path) -> None:
    """Each result goes with its order, however the two names differ."""
    folder = tmp_path / "orders"
    orders = {"R 1": "S1", "R_1": "S2", "R'\"$(1)": "S3", "-R": "S4", "L" * 245: "S5"}
    waiting(folder, **orders)
    with depot(tmp_path, *registered(*orders.values())) as (sandbox, program):
        assert carry_out(program, folder) == 0
        left = [
            each.device.serial_number for each in sandbox.state.devices("contoso.onmicrosoft.com")
        ]
    done = {name: serial for name, serial in orders.items() if len(name) < 100}
    assert names(folder / "done") == sorted(
        f"{name}.csv{suffix}" for name in done for suffix in ("", ".result.json", ".result.xml")
    )
    for name, serial in done.items():
        result = json.loads((folder / "done" / f"{name}.csv.result.json").read_text("utf-8"))
        assert [each["serialNumber"] for each in result["devices"]] == [serial]
    # No result could be written beside the last one, so that nothing was sent.
    assert (left, names(folder / "attention")) == (["S5"], [f"{'L' * 245}.csv"])


@bash_only
def test_nothing_stays_where_the_path_unit_looks(tmp_path: Path) -> None:
    """It would start the script again and again: a folder, a result, an order that waits."""
    folder = tmp_path / "orders"
    incoming = waiting(folder, **{"R-1": "S1"})
    refused = {"match": {"operation": "deregister", "nth": 1}, "fault": {"kind": "redirect"}}
    with depot(tmp_path, *registered("S1"), faults={"rules": [refused]}) as (_, program):
        assert carry_out(program, folder) == 1
        waiting(folder, **{"R-1": "S1"})
        (incoming / "old").mkdir()
        (incoming / "R-9.csv.result.json").write_text("{}", encoding="utf-8")
        assert carry_out(program, folder) == 0
    assert list(incoming.iterdir()) == []
    put_aside = sorted(path.name for path in (folder / "attention").glob("not-taken-*/*"))
    assert put_aside == ["R-1.csv", "R-9.csv.result.json", "old"]
    assert sorted(alerts(folder)) == [*(f"attention {name}" for name in put_aside), "retry R-1.csv"]


@bash_only
def test_what_cannot_be_put_aside_alerts_once_and_leaves_no_empty_folder(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    with depot(tmp_path) as (_, program):
        (waiting(folder) / "old").mkdir()
        stubborn = installed(program, folder) / "mv"
        stubborn.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        stubborn.chmod(0o755)
        assert [carry_out(program, folder) for _ in range(2)] == [1, 1]
    assert (names(folder / "in"), names(folder / "attention")) == (["old"], [])
    assert alerts(folder) == ["attention old"]


@bash_only
def test_the_words_of_the_alert_command_are_no_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    told = folder / "told"
    with depot(tmp_path) as (_, program):
        (waiting(folder) / "old").mkdir()
        script = installed(program, folder) / "tell"
        script.write_text(f'#!/bin/sh\necho "$*" > {told}\n', encoding="utf-8")
        script.chmod(0o755)
        assert carry_out(program, folder, ALERT="tell https://alerts.example/?to=depot") == 0
    assert told.read_text(encoding="utf-8") == "https://alerts.example/?to=depot attention old\n"


@bash_only
def test_an_order_that_waited_and_then_needs_a_person_alerts_for_both(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    waiting(folder, **{"R-1": "S9"})
    refused = {"match": {"operation": "deregister", "nth": 1}, "fault": {"kind": "redirect"}}
    with depot(tmp_path, *registered("S1"), faults={"rules": [refused]}) as (_, program):
        assert [carry_out(program, folder) for _ in range(2)] == [1, 0]
    assert alerts(folder) == ["retry R-1.csv", "attention R-1.csv"]


@bash_only
def test_an_order_that_cannot_be_moved_waits_and_alerts(tmp_path: Path) -> None:
    """A folder of results that is read-only, which root is not told by its mode."""
    folder = tmp_path / "orders"
    waiting(folder, **{"R-1": "S1"})
    with depot(tmp_path, *registered("S1")) as (sandbox, program):
        real = shutil.which("mv")
        stubborn = installed(program, folder) / "mv"
        refusal = f'case "$*" in *" done/"*) exit 1 ;; esac\nexec {real} "$@"\n'
        stubborn.write_text(f"#!/bin/sh\n{refusal}", encoding="utf-8")
        stubborn.chmod(0o755)
        assert [carry_out(program, folder) for _ in range(2)] == [1, 1]
        stubborn.unlink()
        assert carry_out(program, folder) == 0
        assert len(sandbox.log.of("deregister")) == 1
    assert names(folder / "done") == ["R-1.csv", "R-1.csv.result.json", "R-1.csv.result.xml"]
    assert alerts(folder) == ["retry R-1.csv"]


@bash_only
def test_an_alert_that_fails_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    waiting(folder, **{"R-1": "S1"})
    refused = {"match": {"operation": "deregister"}, "fault": {"kind": "redirect"}}
    with depot(tmp_path, *registered("S1"), faults={"rules": [refused]}) as (_, program):
        assert carry_out(program, folder, ALERT="false") == 1
        assert [carry_out(program, folder) for _ in range(2)] == [1, 1]
    assert alerts(folder) == ["retry R-1.csv"]


@bash_only
@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_a_folder_is_carried_out_once_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "orders"
    waiting(folder, **{"R-1": "S1"})
    (folder / "work").mkdir()
    lock = str(folder / "work" / ".lock")
    with (
        depot(tmp_path, *registered("S1")) as (_, program),
        subprocess.Popen(["flock", lock, "cat"], stdin=subprocess.PIPE) as held,
    ):
        while subprocess.run(["flock", "-n", lock, "true"], check=False).returncode == 0:
            assert held.poll() is None
        assert (carry_out(program, folder), names(folder / "in")) == (0, ["R-1.csv"])
        held.communicate()
        assert (carry_out(program, folder), names(folder / "in")) == (0, [])


@bash_only
def test_without_flock_the_orders_are_carried_out(tmp_path: Path) -> None:
    """As in Git Bash, where the Task Scheduler sees to it that it runs once at a time."""
    folder = tmp_path / "orders"
    waiting(folder, **{"R-1": "S1"})
    with depot(tmp_path, *registered("S1")) as (_, program):
        commands = installed(program, folder)
        for name in ("mkdir", "mktemp", "mv", "rm"):
            (commands / name).symlink_to(str(shutil.which(name)))
        assert carry_out(program, folder, PATH=str(commands)) == 0
    assert names(folder / "done")[0] == "R-1.csv"


@bash_only
def test_cron_starts_the_script_with_the_settings_of_the_service(tmp_path: Path) -> None:
    """Its five fields are a time, and its command works in the bare environment of cron."""
    folder = tmp_path / "orders"
    waiting(folder, **{"R-1": "S1"})
    (line,) = [block.text for block in blocks(PAGE) if "crontab" in block.title]
    *fields, command = line.strip().split(maxsplit=5)
    assert croniter.is_valid(" ".join(fields))
    assert "%" not in command  # cron reads it as the end of the line
    settings = FOLDER / "environment"
    shipped = dict(
        each.split("=", 1) for each in settings.read_text("utf-8").splitlines() if each[:1] != "#"
    )
    with depot(tmp_path, *registered("S1")) as (_, program):
        assert set(shipped) - {"PATH"} <= set(program.environment) | {"PARTNER_TOOLS_OEM_PROFILE"}
        own = {**program.environment, "PYTHONPATH": str(ROOT)}
        own["PATH"] = f"{installed(program, folder)}{os.pathsep}{os.environ['PATH']}"
        given = "".join(f"{name}={shlex.quote(value)}\n" for name, value in own.items())
        (tmp_path / "environment").write_text(given, encoding="utf-8")
        places = {
            "/etc/partner-tools/environment": str(tmp_path / "environment"),
            "/usr/local/bin/deregister-folder": str(FOLDER / "deregister-folder"),
            "/srv/depot": str(folder),
        }
        for shown, here in places.items():
            assert shown in command
            command = command.replace(shown, shlex.quote(here))
        bare = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=bare, capture_output=True, timeout=300, check=False
        )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    assert names(folder / "done")[0] == "R-1.csv"


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


def series(name: str, values: str, labels: str = "") -> dict[str, str]:
    return {"series": f"{name}{{{labels}}}", "values": values}


ALL_WELL = [
    series("partner_tools_database_up", "1x60"),
    series("partner_tools_queue_jobs", "1x60"),
    series("partner_tools_queue_oldest_seconds", "60x60"),
    series("partner_tools_devices_in_doubt", "0x60"),
    series("partner_tools_devices_total", "0+60x60"),
    series("partner_tools_answered_total", "0+90x60", 'service="oem-direct"'),
    series("partner_tools_throttled_total", "0+1x60", 'service="oem-direct"'),
]
TROUBLES = {
    "": ALL_WELL,
    "PartnerToolsDatabaseDown": [series("partner_tools_database_up", "0x60"), *ALL_WELL[4:]],
    "PartnerToolsNoWorker": [],
    "PartnerToolsQueueStuck": [
        series("partner_tools_queue_oldest_seconds", "2000x60"),
        *(each for each in ALL_WELL if "oldest" not in each["series"]),
    ],
    "PartnerToolsNoProgress": ALL_WELL[:4],
    "PartnerToolsDevicesInDoubt": [
        series("partner_tools_devices_in_doubt", "2x100"),
        *({**each, "values": each["values"].replace("x60", "x100")} for each in ALL_WELL[:3]),
        *({**each, "values": each["values"].replace("x60", "x100")} for each in ALL_WELL[4:]),
    ],
    "PartnerToolsThrottled": [
        series("partner_tools_throttled_total", "0+45x60", 'service="oem-direct"'),
        *ALL_WELL[:-1],
    ],
}
"""The metrics of an hour, by the alert that they give. The first worker of a fleet that has had no
outcome yet serves no counter of outcomes."""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("alert", TROUBLES)
def test_each_trouble_gives_its_own_alert(tmp_path: Path, alert: str) -> None:
    """As Prometheus evaluates the rules."""
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))["groups"][0]["rules"]
    expected = [
        {
            "alertname": rule["alert"],
            "eval_time": "65m" if "InDoubt" in alert else "50m",
            "exp_alerts": [
                {
                    "exp_labels": {
                        **rule["labels"],
                        **({"service": "oem-direct"} if "Throttled" in alert else {}),
                    },
                    "exp_annotations": rule["annotations"],
                }
            ]
            if rule["alert"] == alert
            else [],
        }
        for rule in rules
    ]
    test = {"interval": "1m", "input_series": TROUBLES[alert], "alert_rule_test": expected}
    document = {"rule_files": [str(MONITORING / "alerts.yaml")], "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document), "utf-8")
    told = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr


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
