"""What a second person sees before they sign a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, customer, program_for, sign_in_as, world

DOMAIN = "contoso.onmicrosoft.com"
MACHINES: list[dict[str, Any]] = [
    {"serialNumber": "MANAGED1", "join": "entra-joined", "managedDevice": {}, "recoveryKeys": 1},
    {
        "serialNumber": "FIRM1",
        "join": "entra-joined",
        "managedDevice": {"deviceFirmwareConfigurationInterfaceManaged": True},
    },
    {"serialNumber": "CLEAN1", "join": "none"},
]


def test_the_risks_that_are_sealed_into_the_plan_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [{"serialNumber": each["serialNumber"]} for each in MACHINES]
    seed = world(customer({"B": devices}, graph={"machines": MACHINES}))
    with Sandbox(seed_from(seed)) as sandbox:
        token = sandbox.tokens[f"graphRead:{DOMAIN}"]
        program = program_for(
            sandbox,
            tmp_path,
            PARTNER_TOOLS_GRAPH_TOKEN=token,
            PARTNER_TOOLS_SIGNING_PASSPHRASE="correct horse battery staple",
        )
        sign_in_as(monkeypatch, "avery")
        plan, key = tmp_path / "plan.json", tmp_path / "key"
        batch = program.serials("MANAGED1", "FIRM1", "CLEAN1")
        named = ("--via", "partner-center", "--customer", CONTOSO)
        accepted = ("--accept-locked-firmware", "FIRM1")
        planned = program("plan", batch, *named, *accepted, "-o", plan)
        assert planned.exit_code == 0, planned.output
        assert program("approve", "--init", "--key", key).exit_code == 0

    sign_in_as(monkeypatch, "blake")
    result = program("approve", plan, "--key", key, "--yes")

    assert result.exit_code == 0, result.output
    sealed = {
        each["serialNumber"]: each["risks"]
        for each in json.loads(plan.read_text(encoding="utf-8"))["devices"]
        if each.get("risks")
    }
    assert set(sealed) == {"MANAGED1", "FIRM1"}
    lines = [line for line in planned.stderr.splitlines() if line.rpartition(": ")[2] in RISKY]
    assert len(lines) == len({risk for risks in sealed.values() for risk in risks})
    shown = [line for line in result.stderr.splitlines() if line in lines]
    assert shown == lines
    assert result.stderr.index(shown[-1]) < result.stderr.index("\nsha256:")
    assert "avery" in result.stderr.splitlines()[0]


RISKY = ("MANAGED1", "FIRM1", "MANAGED1, FIRM1")
