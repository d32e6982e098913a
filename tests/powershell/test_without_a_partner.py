"""A customer without a partner: from a list to clear planes with `assess` and the script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.program import program_for
from tests.powershell.scenes import APPLY, DOMAIN, Stage, Step, enrolled, left, opened, own

pytestmark = pytest.mark.slow

LISTED = ("OWN000001", "OWN000002", "MANAGED01")


def test_the_script_of_an_assessment_clears_every_plane(tmp_path: Path) -> None:
    sandbox = opened([own(LISTED[0]), own(LISTED[1]), enrolled(LISTED[2]), own("BYSTANDER")])
    with sandbox:
        program = program_for(
            sandbox,
            tmp_path,
            PARTNER_TOOLS_ACCESS_TOKEN="",
            PARTNER_TOOLS_GRAPH_TOKEN=sandbox.tokens[f"graph:{DOMAIN}"],
        )
        named = [word for serial in LISTED for word in ("--serial", serial)]
        folder = ("--report", tmp_path / "handoff", "--format", "json")
        done = program("assess", *named, "--customer", DOMAIN, *folder)
        assert done.exit_code == 7, done.output
        sent = next((tmp_path / "handoff").glob("*.json"))
        run = json.loads(sent.read_text(encoding="utf-8"))["run"]["id"]

        stage = Stage(tmp_path)
        stage.add("own", sandbox, json.loads(sent.read_text("utf-8")), Step(arguments=APPLY))
        scene = stage.play()["own"]

        assert {each["outcome"] for each in scene.result()["devices"]} == {"done"}
        assert left(sandbox) == (["BYSTANDER"], ["BYSTANDER"])
        result = next(scene.folder.glob("handoff-result-*.json"))
        taken = program("verify", run, "--evidence", result)
        assert taken.exit_code in (0, 7), taken.output
        reported = program.json("runs", run)["devices"]
        assert {each["planes"]["autopilot"] for each in reported} <= {"reported", "clear"}
        assert program("verify", run, "--graph").exit_code == 0
        clear = program.json("runs", run)["devices"]
        assert {each["detail"] for each in clear} == {"clear on every plane"}
        stage.close()
