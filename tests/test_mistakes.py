"""The transcripts of `docs/how-to/mistakes.md`: typed again, they show what the page says."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import FABRIKAM, customer, program_for, world
from tests.cli.test_prompts import at_a_terminal
from tests.test_first_hour import pattern

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals and quoting are POSIX's"),
]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "mistakes.md"
QUICK: dict[str, Any] = {"graph": {"autopilotDelete": 0, "sync": 0, "checkIn": 0}}


def proxy_before(sandbox: Sandbox, serial: str) -> dict[str, Any]:
    """Redirects the removal of one device: calls run side by side, so that no third one is sure."""
    (one,) = (
        each
        for each in sandbox.state.devices("contoso.onmicrosoft.com")
        if each.device.serial_number == serial
    )
    match = {"operation": "delete-device", "path": one.device.id}
    return {"match": match, "fault": {"kind": "redirect"}}


def transcript() -> Iterator[tuple[str, list[str]]]:
    """Each command of the page, and the lines that it shows."""
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        for call in block.split("$ ")[1:]:
            typed, *shown = call.splitlines()
            yield typed, shown


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    serials = [f"5CG{number:04}" for number in range(1, 13)]
    machines = [
        {"serialNumber": serial, "join": "entra-joined", "managedDevice": {}}
        for serial in serials[:3]
    ]
    contoso = customer(
        {"B": [{"serialNumber": each} for each in serials]}, graph={"machines": machines}
    )
    fabrikam = customer({}, tenant=FABRIKAM, domain="fabrikam.onmicrosoft.com")
    with Sandbox(seed_from(world(contoso, fabrikam)), faults_from(QUICK)) as served:
        yield served


def test_the_page_goes_as_it_is_told(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = program_for(sandbox, tmp_path)
    program.batch("\n".join(("Serial number", *(f"5CG{n:04}" for n in range(1, 13)), "")))
    (tmp_path / "batch.csv").rename(tmp_path / "retired.csv")
    more = program.batch("Serial number\n5CG0003\n5CG0004\n", "more.csv")
    proxy = proxy_before(sandbox, "5CG0004")
    for typed, shown in transcript():
        is_hurt = "RMA-17" in typed and "--report" not in typed
        sandbox.behave(faults_from({**QUICK, "rules": [proxy] if is_hurt else []}))
        if "HANDOFF" in typed:
            (handoff,) = (tmp_path / "handoff").glob("*.json")
            typed = typed.replace("HANDOFF", str(handoff))
            token = sandbox.tokens["graphRead:contoso.onmicrosoft.com"]
            program = program_for(sandbox, tmp_path, PARTNER_TOOLS_GRAPH_TOKEN=token)
        if any("Remove them?" in line for line in shown):
            _, said = at_a_terminal(program, more, "n\n", early="y\ny\n")
            shown = [line for line in shown if not line.startswith("run ")]
        else:
            said = program(*shlex.split(typed)[1:]).output
        assert "Traceback" not in said
        at = 0
        for line in shown:
            found = re.compile(pattern(line)).search(said, at)
            assert found, f"{typed}\n{said}\nwithout, in this order:\n{line}"
            at = found.start()
