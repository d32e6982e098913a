"""A ledger of a million devices: what opening it, `runs`, and one device's life cost by index.

Runs of ten thousand devices, each resolved and removed, three events a device. The ledger makes
the first one; the others are its rows again under ids of their own, which reading cannot tell from
runs that were recorded. `runs` and `trace` are whole processes of the program; the baseline is the
same on the ledger of the one run.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from partner_tools.ledger import Ledger, new_run_id, sqlite_url, tables
from tests.bench.figures import Figure, Goal, Part, in_turns, pairs, run_python, seconds
from tests.bench.ledger_events import AT, Bench, answered, intended

ROUNDS = 5
GROUP = 2_500
START = "nearly all of it is the start of the program, as the ledger of one run shows"
FIRST = b"\0\0\1"
"""What `Bench` makes the id of its first run of."""


def measure(*, quick: bool) -> Iterator[Part]:
    """Make both ledgers, then ask both in turns."""
    runs, devices, rounds = (2, 50, 1) if quick else (100, 10_000, ROUNDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small, large = folder / "small.db", folder / "large.db"
        _fill(small, devices)
        shutil.copy(small, large)
        _repeat(large, runs)
        size = large.stat().st_size
        yield Part(
            title=f"Ledger: {runs * devices:,} devices",
            how=f"{runs} runs of {devices:,} devices, three events each; one was recorded, and its "
            "rows were repeated under the ids of the others. `runs` and `trace` are whole "
            "processes, most of whose time is the program's start.",
            figures=[
                Figure(what="size per device", unit="bytes", values=[size / runs / devices]),
                *_asked(folder, small, large, devices, rounds),
            ],
        )


def _fill(path: Path, devices: int) -> None:
    with Ledger.open(sqlite_url(path)) as ledger:
        run = Bench(ledger, devices, [0]).new_run(devices)
        for first in range(0, devices, GROUP):
            group = range(first, min(first + GROUP, devices))
            ledger.record([intended(run, device) for device in group])
            ledger.record([answered(run, device) for device in group])


def _repeat(path: Path, runs: int) -> None:
    """The rows of the one run again, until there are so many runs."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for number in range(2, runs + 1):
            run = new_run_id(AT, number.to_bytes(3, "big"))
            for table in (tables.runs, tables.devices, tables.events, tables.run_customers):
                names = [column.name for column in table.columns]
                shown = ("?" if name == "run" else name for name in names)
                connection.execute(
                    f"INSERT INTO {table.name} ({', '.join(names)}) "  # noqa: S608 - own names
                    f"SELECT {', '.join(shown)} FROM {table.name} WHERE run = ?",
                    (run, new_run_id(AT, FIRST)),
                )
            connection.commit()


def _asked(folder: Path, small: Path, large: Path, devices: int, rounds: int) -> Iterator[Figure]:
    (folder / "none.toml").write_text("", encoding="utf-8")

    def asks(path: Path, *words: str) -> None:
        config = str(folder / "none.toml")
        run_python("-m", "partner_tools", *words, "--config", config, "--ledger", str(path))

    questions = {"runs": ("runs",), "trace of one serial number": ("trace", f"PF{devices - 1:06}")}
    for what, words in questions.items():
        found = in_turns(
            {
                "small": partial(seconds, partial(asks, small, *words)),
                "large": partial(seconds, partial(asks, large, *words)),
                "cpu": partial(_children_cpu, partial(asks, large, *words)),
            },
            rounds,
        )
        yield Figure(
            what=f"`{what}`",
            unit="s",
            values=found["large"],
            baseline="a ledger of one run",
            against=found["small"],
            ratios=pairs(found["large"], found["small"]),
            goal=Goal(bound=1.0, at_most=True, of_ratio=False, why=START)
            if what == "runs"
            else None,
        )
        yield Figure(what=f"`{what}`, processor", unit="s of CPU", values=found["cpu"])
    yield Figure(
        what="opening it and folding one run's devices",
        unit="s",
        values=[seconds(lambda: _fold(large, devices)) for _ in range(rounds)],
        baseline="a ledger of one run",
        against=[seconds(lambda: _fold(small, devices)) for _ in range(rounds)],
    )


def _children_cpu(action: Callable[[], object]) -> float:
    """The processor's time of the processes that an action starts; 0 on Windows."""
    before = os.times()
    action()
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def _fold(path: Path, devices: int) -> None:
    with Ledger.open(sqlite_url(path)) as ledger:
        run = ledger.runs(limit=1)[0].run
        assert sum(1 for _ in ledger.devices(run)) == devices
