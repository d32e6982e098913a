"""The files in `deploy/` say what the program understands, and the try-out works as they start it.

There is no container here: each service of the compose file is started as a process, with its
command and its environment, and with this machine's places instead of the container's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # a file of unknown shape is Any with stubs too

from tests.cli.program import Program
from tests.postgresql import new_postgresql, postgresql_server

pytestmark = pytest.mark.slow

__all__ = ["new_postgresql", "postgresql_server"]

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "partner-tools-worker@.service"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
HOME = "/var/lib/partner-tools"


def exec_start() -> str:
    (line,) = re.findall(r"^ExecStart=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    return str(line)


def image_command() -> list[str]:
    (line,) = re.findall(r"^CMD (.*)$", (DEPLOY / "Containerfile").read_text("utf-8"), re.MULTILINE)
    words: list[str] = json.loads(line)
    return words


def windows_command() -> list[str]:
    page = (ROOT / "docs/how-to/fleet.md").read_text("utf-8")
    (line,) = re.findall(r"<arguments>(.*)</arguments>", page)
    return str(line).split()


@pytest.mark.parametrize(
    "words",
    [exec_start().replace("%i", "1").split()[1:], image_command(), windows_command()],
    ids=["systemd", "image", "windows"],
)
def test_every_option_of_a_started_worker_exists(words: list[str], tmp_path: Path) -> None:
    """A wrong option is exit 2; that the ledger is a file is found out after all were read."""
    settings = {"PARTNER_TOOLS_LEDGER": str(tmp_path / "ledger.db")}
    found = Program(tmp_path, settings)(*words)
    assert found.exit_code == 3, found.output
    assert "PostgreSQL" in found.output


def test_every_variable_of_the_service_is_documented() -> None:
    documented = (ROOT / "docs/reference/configuration.md").read_text("utf-8")
    settings = (DEPLOY / "systemd/worker.env").read_text("utf-8")
    for name in re.findall(r"PARTNER_TOOLS_[A-Z_]+", settings + json.dumps(COMPOSE)):
        assert name in documented, name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "partner-tools-worker@1.service"
    program = exec_start().split()[0]
    unit.write_text(UNIT.read_text("utf-8").replace(program, sys.executable), "utf-8")
    told = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60
    )
    about = [line for line in told.stderr.splitlines() if "partner-tools" in line]
    assert about == [], told.stderr


def test_what_the_compose_file_names_is_there() -> None:
    for name, service in SERVICES.items():
        for mounted in service.get("volumes", ()):
            source = mounted.split(":")[0]
            there = (DEPLOY / "compose" / source).exists() or source in COMPOSE["volumes"]
            assert there, f"{name}: {mounted}"
        for other in service.get("depends_on", ()):
            assert other in SERVICES
        assert service.get("network_mode", "service:sandbox") == "service:sandbox"


def test_every_image_is_built_here_or_an_official_one_by_its_full_name() -> None:
    """A short name is looked for in public registries, where others can take it."""
    container = (DEPLOY / "Containerfile").read_text("utf-8")
    built = re.findall(r"^FROM (\S+)", container, re.MULTILINE)
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", container, re.MULTILINE))
    named = {service["image"] for service in SERVICES.values()}
    named |= {defaults[each.removeprefix("$")] for each in built}
    images = {re.sub(r"\$\{\w+:-(.*)\}", r"\1", each) for each in named}
    assert "localhost/partner-tools" in images
    for image in images - {"localhost/partner-tools"}:
        assert re.fullmatch(r"docker\.io/library/\w+:[\w.-]+", image), image
    assert "build -t localhost/partner-tools " in (DEPLOY / "README.md").read_text("utf-8")


class TryOut:
    """The services of the compose file as processes."""

    def __init__(self, url: str, home: Path) -> None:
        self._home = home
        self._places = {
            "postgresql+psycopg://postgres:try-out@database/partner_tools": url,
            "/etc/partner-tools": str(DEPLOY / "compose"),
            "/samples": str(ROOT / "samples"),
            "8800": "0",
            "9101": "0",
            "9102": "0",
            HOME: str(home),
        }

    def _here(self, text: str) -> str:
        for there, here in self._places.items():
            text = text.replace(there, here)
        return text

    def words(self, name: str, *instead: str) -> list[str]:
        """What the service runs: its own command, or another one as `run` takes it."""
        service = SERVICES[name]
        before = service.get("entrypoint", ["partner-tools"])
        return [self._here(each) for each in [*before, *(instead or service.get("command", ()))]]

    def environment(self, name: str) -> dict[str, str]:
        """With the programs of this environment first in the path, as in the image."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = SERVICES[name].get("environment", {})
        return {
            **{key: value for key, value in os.environ.items() if "PARTNER_TOOLS" not in key},
            **{key: self._here(value) for key, value in own.items()},
            "HOME": str(self._home),
            "PATH": path,
        }

    def run(self, name: str, *instead: str) -> subprocess.CompletedProcess[str]:
        """Run a service to its end."""
        return subprocess.run(
            self.words(name, *instead),
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=120,
        )

    @contextmanager
    def up(self, name: str) -> Iterator[Path]:
        """Run a service while the block lasts; the file with what it told."""
        told = self._home / f"{name}.log"
        with told.open("w") as file:
            process = subprocess.Popen(
                self.words(name), env=self.environment(name), stderr=file, start_new_session=True
            )
            try:
                yield told
            finally:
                process.terminate()
                try:
                    assert process.wait(60) == 0
                finally:
                    process.kill()

    def healthy(self, name: str) -> bool:
        """Whether the service's own check says so."""
        check = [self._here(each) for each in SERVICES[name]["healthcheck"]["test"][1:]]
        return not subprocess.run(
            check, env=self.environment(name), capture_output=True, timeout=60
        ).returncode


def until(over: Callable[[], Any], seconds: float = 90.0) -> Any:
    """What it gives once it gives something."""
    last = time.monotonic() + seconds
    while not (found := over()):
        assert time.monotonic() < last
        time.sleep(0.1)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="the try-out is one of Linux containers")
def test_the_try_out_removes_what_is_submitted(
    new_postgresql: Callable[[], str], tmp_path: Path
) -> None:
    try_out = TryOut(new_postgresql(), tmp_path)
    tables = try_out.run("tables")
    assert tables.returncode == 0, tables.stderr
    with ExitStack() as stack:
        stack.enter_context(try_out.up("sandbox"))
        until(lambda: try_out.healthy("sandbox"))
        logs = [stack.enter_context(try_out.up(name)) for name in ("worker-1", "worker-2")]
        submitted = try_out.run("station", *station_command())
        assert submitted.returncode == 0, submitted.stderr
        run = submitted.stdout.strip()

        def finished() -> dict[str, Any] | None:
            listed = json.loads(try_out.run("station", "runs", "--output", "json").stdout)["runs"]
            (found,) = listed
            assert found["run"] == run
            return found if found["state"] in ("finished", "stopped") else None

        done = until(finished)
        assert done["depot"] == "try-out"
        assert done["counts"]["removed"] >= 10
        for log in logs:
            address = until(partial(told_address, log))
            with urllib.request.urlopen(f"{address}/health") as answer:  # noqa: S310 - loopback
                assert json.load(answer)["healthy"] is True


def station_command() -> list[str]:
    """The words after `run --rm station` in the README of `deploy/`."""
    text = (DEPLOY / "README.md").read_text("utf-8")
    (line,) = re.findall(r"run --rm station (submit .*)", text)
    return str(line).split()


def told_address(log: Path) -> str | None:
    """Where the worker says that it serves its health."""
    found = re.search(r"http://\S+", log.read_text("utf-8"))
    return None if found is None else found[0]
