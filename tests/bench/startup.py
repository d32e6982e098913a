"""How long the program takes to start, against the least that a click program can take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure, Goal, Part, in_turns, pairs

ROUNDS = 25
SCRIPT = "import sys; from partner_tools.cli import main; sys.exit(main())"
"""What pip makes of the entry point."""
CLICK = 'python -c "import click"'


def measure(*, quick: bool) -> Iterator[Part]:
    """Wall time of whole processes, measured in turns; byte code is kept, as pip installs it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = "".join(f"5CG{number:07d}\n" for number in range(10))
        (folder / "ten.csv").write_text(f"Serial number\n{rows}", encoding="utf-8")
        program = (sys.executable, "-c", SCRIPT)
        forms = {
            "click": (sys.executable, "-c", "import click"),
            "help": (*program, "--help"),
            "validate": (*program, "validate", "ten.csv"),
        }
        takes = {form: _Start(command, folder) for form, command in forms.items()}
        for take in takes.values():
            take()
        found = in_turns(takes, 1 if quick else ROUNDS)
    yield Part(
        title="Start-up",
        how="Wall time of whole processes, alternating.",
        figures=[
            _figure("`--help`", found["help"], found["click"], 1.6),
            _figure("`validate` of ten rows", found["validate"], found["click"], 2.5),
        ],
    )


class _Start:
    """One start of one command, in milliseconds."""

    def __init__(self, command: tuple[str, ...], folder: Path) -> None:
        self._command = command
        self._folder = folder
        kept = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        root = str(Path(__file__).resolve().parents[2])
        self._environment = {**kept, "PYTHONPYCACHEPREFIX": str(folder), "PYTHONPATH": root}

    def __call__(self) -> float:
        began = time.perf_counter()
        subprocess.run(
            self._command, cwd=self._folder, env=self._environment, check=True, capture_output=True
        )
        return (time.perf_counter() - began) * 1000


def _figure(what: str, values: list[float], click: list[float], bound: float) -> Figure:
    return Figure(
        what=what,
        unit="ms",
        values=values,
        baseline=CLICK,
        against=click,
        ratios=pairs(values, click),
        goal=Goal(bound=bound, at_most=True),
    )
