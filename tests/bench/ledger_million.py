"""A ledger of a million devices: what opening it, `runs`, and one device's life cost by index.

Runs of ten thousand devices, each resolved and removed, three events a device. `runs` and `trace`
are whole processes of the program; the baseline is the same on a ledger of one such run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from partner_tools.ledger import Ledger, sqlite_url
from tests.bench.figures import Figure, Goal, Part, in_turns, run_python, seconds
from tests.bench.ledger_events import Bench, answered, intended

ROUNDS = 5
GROUP = 2_500


def measure(*, quick: bool) -> Iterator[Part]:
    """Make both ledgers, then ask both in turns."""
    runs, devices, rounds = (2, 50, 1) if quick else (100, 10_000, ROUNDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small.db", folder / "large.db"
        _fill(small, 1, devices)
        making = seconds(lambda: _fill(large, runs, devices))
        size = sum(each.stat().st_size for each in folder.glob("large.db*") if each.is_file())
        yield Part(
            title=f"Ledger: {runs * devices:,} devices",
            how=f"{runs} runs of {devices:,} devices, three events each. `runs` and `trace` are "
            "whole processes.",
            figures=[
                Figure(
                    what="events a second while it was made, the devices' rows included",
                    unit="events/s",
                    values=[3 * runs * devices / making],
                ),
                Figure(what="size per device", unit="bytes", values=[size / runs / devices]),
                *_asked(folder, small, large, devices, rounds),
            ],
        )


def _fill(path: Path, runs: int, devices: int) -> None:
    with Ledger.open(sqlite_url(path)) as ledger:
        bench = Bench(ledger, devices, [0])
        for _ in range(runs):
            run = bench.new_run(devices)
            for first in range(0, devices, GROUP):
                group = range(first, min(first + GROUP, devices))
                ledger.record([intended(run, device) for device in group])
                ledger.record([answered(run, device) for device in group])


def _asked(folder: Path, small: Path, large: Path, devices: int, rounds: int) -> Iterator[Figure]:
    (folder / "none.toml").write_text("", encoding="utf-8")

    def asks(path: Path, *words: str) -> float:
        config = str(folder / "none.toml")
        options = ("--config", config, "--ledger", str(path))
        return seconds(lambda: run_python("-m", "partner_tools", *words, *options))

    questions = {"runs": ("runs",), "trace of one serial number": ("trace", f"PF{devices - 1:06}")}
    for what, words in questions.items():
        found = in_turns(
            {
                "small": partial(asks, small, *words),
                "large": partial(asks, large, *words),
            },
            rounds,
        )
        yield Figure(
            what=f"`{what}`",
            unit="s",
            values=found["large"],
            baseline="a ledger of one run",
            against=found["small"],
            goal=Goal(bound=1.0, at_most=True, of_ratio=False) if what == "runs" else None,
        )
    yield Figure(
        what="opening it and folding one run's devices",
        unit="s",
        values=[seconds(lambda: _fold(large, devices)) for _ in range(rounds)],
        baseline="a ledger of one run",
        against=[seconds(lambda: _fold(small, devices)) for _ in range(rounds)],
    )


def _fold(path: Path, devices: int) -> None:
    with Ledger.open(sqlite_url(path)) as ledger:
        run = ledger.runs(limit=1)[0].run
        assert sum(1 for _ in ledger.devices(run)) == devices
