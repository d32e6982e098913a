"""The goodput benchmark runs, serves every request, and says the same twice: nothing about time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("goodput_simulated.py")


def table(*options: str) -> list[list[str]]:
    command = [sys.executable, str(PROGRAM), "--quick", "--requests", "1500", *options]
    said = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    rows = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[1] == "30"]


def test_the_simulation_is_repeatable_and_finds_what_it_should() -> None:
    rows = table("--kinds", "no-lock-out", "lock-out")
    assert ["no-lock-out", "lock-out"] == [row[0] for row in rows]
    assert rows == table("--kinds", "no-lock-out", "lock-out")
    for row in rows:
        remembered, one_at_a_time = float(row[8].strip("*")), float(row[10])
        assert remembered > one_at_a_time
