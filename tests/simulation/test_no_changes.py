"""No request that changes anything leaves during `assess`, `runs done`, `report` and `verify`.

At the wire, over generated estates: `ESTATES=1000` says how many (`make no-changes`); without it a
sample is taken. The seed of a failure is its number; `FIRST` is the first one.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from partner_tools import RunOptions, RunResult, open_workspace
from partner_tools.model import Batch, Device, Identity
from partner_tools.sandbox import Sandbox
from tests.cli.program import program_for
from tests.powershell.scenes import DOMAIN, rows
from tests.powershell.test_same_as_cleanup import made

pytestmark = pytest.mark.slow

SAMPLE = 8
TABLES = ("managedDevices", "windowsAutopilotDeviceIdentities", "devices")
CHANGING = {"PUT", "PATCH", "DELETE", "POST"}


def state(sandbox: Sandbox) -> list[list[str]]:
    """Everything that the tenant has."""
    return [sorted(map(str, rows(sandbox, table))) for table in TABLES]


def journey(sandbox: Sandbox, seed: int, folder: Path) -> RunResult:
    """Assess every device of an estate, and everything that follows without a change."""
    serials = [serial for serial, *_ in made(seed).listed]
    devices = tuple(
        Device(row=row, identity=Identity(serial_number=serial))
        for row, serial in enumerate(serials, start=2)
    )
    batch = Batch(batch_id=f"estate-{seed}", file="list.csv", digest="sha256:0", devices=devices)
    program = program_for(
        sandbox,
        folder,
        PARTNER_TOOLS_ACCESS_TOKEN="",
        PARTNER_TOOLS_GRAPH_TOKEN=sandbox.tokens[f"graph:{DOMAIN}"],
    )
    by_hand = seed % 2 == 0
    with open_workspace(
        config=folder / "partner-tools.toml",
        ledger=str(folder / "ledger.db"),
        environment=program.environment,
    ) as workspace:
        options = RunOptions(by_hand=by_hand, report=folder / "handoff", formats=("json",))
        result = workspace.assess(batch, customer=DOMAIN, options=options)
        if by_hand:
            workspace.mark_done(result.run)
        workspace.report(result.run, folder / "again", ("json", "worksheet"))
        workspace.verify(result.run, graph=True)
        workspace.verify_outstanding()
        return workspace.result(result.run)


def test_nothing_is_changed_without_cleanup(tmp_path: Path) -> None:
    changing: dict[int, list[str]] = {}
    services: Counter[str] = Counter()
    first, count = int(os.environ.get("FIRST", 0)), int(os.environ.get("ESTATES", SAMPLE))
    for seed in range(first, first + count):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with made(seed).sandbox() as sandbox:
            before = state(sandbox)
            result = journey(sandbox, seed, folder)
            # A batch of questions is a POST; each of its parts is an entry of its own.
            changing[seed] = [
                f"{each.method} {each.path}"
                for each in sandbox.log.entries
                if each.method in CHANGING and each.operation != "batch"
            ]
            services.update(each.service for each in sandbox.log.entries)
            assert state(sandbox) == before, seed
        assert len(result.devices) == len(made(seed).listed), seed
        assert {each.history.request_id for each in result.devices} == {None}, seed
    assert {seed: sent for seed, sent in changing.items() if sent} == {}
    assert set(services) <= {"graph", "login"}
    assert services["graph"] > 10 * len(changing)
