"""Two engineers with lists that share devices: the second is told before the question."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, sign_in_as, world

SERIALS = [f"5CG000{number}" for number in range(1, 7)]
REDIRECTED = {"match": {"operation": "delete-device"}, "fault": {"kind": "redirect"}}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    estate = {"B": [{"serialNumber": serial} for serial in SERIALS]}
    other = customer(estate, tenant=FABRIKAM, domain="fabrikam.onmicrosoft.com")
    with Sandbox(seed_from(world(customer(estate), other))) as running:
        yield running


def remove(program: Program, *serials: str, tenant: str = CONTOSO, flags: tuple[str, ...]) -> str:
    result = program(
        *("deregister", program.serials(*serials), "--via", "partner-center"),
        *("--customer", tenant, "--settle", "0", *flags),
    )
    assert result.exit_code in (0, 5), result.output
    return str(result.stderr)


def test_an_unfinished_run_of_another_account_with_some_of_the_devices_is_named(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = program_for(sandbox, tmp_path)
    sign_in_as(monkeypatch, "avery")
    sandbox.behave(faults_from({"rules": [REDIRECTED]}))
    stopped = remove(program, *SERIALS[:4], flags=("--yes",))
    assert "redirect" in stopped
    run = stopped.split()[1]
    sandbox.behave(faults_from({}))
    sign_in_as(monkeypatch, "blake")

    said = remove(program, *SERIALS[2:], flags=("--dry-run",))

    (named,) = re.findall(r"^run .* of these devices too: .*$", said, re.M)
    assert named.startswith(f"run {run} (stopped, begun by avery")
    assert named.endswith(f"has 2 of these devices too: {', '.join(SERIALS[2:4])}")
    assert said.index(named) < said.index("to be removed from Windows Autopilot")

    others = remove(program, *SERIALS[4:], flags=("--dry-run",))
    elsewhere = remove(program, *SERIALS[2:], tenant=FABRIKAM, flags=("--dry-run",))
    assert "devices too" not in f"{others}{elsewhere}"
    rows = f"Serial number,Customer\n{SERIALS[2]},{FABRIKAM}\n{SERIALS[5]},{CONTOSO}\n"
    both = program("deregister", program.batch(rows), "--via", "partner-center", "--dry-run")
    assert (both.exit_code, "devices too" in both.stderr) == (0, False), both.output

    assert program("resume", run, "--yes").exit_code == 0
    assert "devices too" not in remove(program, *SERIALS[3:], flags=("--dry-run",))
