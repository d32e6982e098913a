"""Kills a run at points spread over its whole life, resumes it, and looks at what became of it.

`python -m tests.crash.crash_points --points 300` is `make crash`; the tests run a seeded sample.
Every trial has a fresh sandbox, so that its log is the whole truth: which devices are gone, how
often each was asked for, and that nothing was that the batch did not list.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partner_tools.sandbox import Sandbox, seed_from
from tests.crash.dying import COUNT_FILE, POINT

TENANT = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
LISTED = 12
UNLISTED = 8
RESUMES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one kill led to; `faults` is empty where everything converged."""

    point: int
    faults: tuple[str, ...]


def count_points() -> int:
    """How many points an undisturbed run passes."""
    with tempfile.TemporaryDirectory() as name, Sandbox(seed_from(_world())) as sandbox:
        folder, counted = Path(name), Path(name) / "count"
        done = _deregister(folder, sandbox, {COUNT_FILE: str(counted)})
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return int(counted.read_text(encoding="utf-8"))


def try_point(point: int, *, again_at: int | None = None) -> Trial:
    """Kill a run at a point, resume it until it is done, and judge the outcome.

    With `again_at` the first resume is killed as well.
    """
    with tempfile.TemporaryDirectory() as name, Sandbox(seed_from(_world())) as sandbox:
        folder = Path(name)
        done = _deregister(folder, sandbox, {POINT: str(point)})
        kills = [again_at] if again_at else []
        for attempt in range(RESUMES):
            if done.returncode == 0:
                break
            killed_at = {POINT: str(kills[attempt])} if attempt < len(kills) else {}
            done = _resume(folder, sandbox, killed_at)
        return Trial(point=point, faults=tuple(_faults(done, sandbox)))


def choose(total: int, points: int, seed: int) -> list[int]:
    """So many points of all there are, spread evenly with a seeded shift; all if there are few."""
    if points >= total:
        return list(range(1, total + 1))
    generator = random.Random(seed)  # noqa: S311 - chooses test cases
    step = total / points
    return sorted({1 + int((number + generator.random()) * step) for number in range(points)})


def run_trials(points: Iterable[int], *, workers: int = 2, seed: int = 0) -> list[Trial]:
    """Every trial, some of them with a second kill while resuming."""
    generator = random.Random(seed)  # noqa: S311 - chooses test cases
    cases = [(point, generator.choice([None, None, generator.randint(1, 120)])) for point in points]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda case: try_point(case[0], again_at=case[1]), cases))


def _faults(done: subprocess.CompletedProcess[str], sandbox: Sandbox) -> Iterable[str]:
    """What is not as it has to be."""
    if done.returncode != 0:
        yield f"did not converge: exit {done.returncode}: {done.stderr[-400:]}"
        return
    left = {str(placed.device.serial_number) for placed in sandbox.state.devices(TENANT)}
    if left != {_serial(number) for number in range(LISTED, LISTED + UNLISTED)}:
        yield f"left in the estate: {sorted(left)}"
    answered = Counter(
        entry.path
        for entry in sandbox.log.entries
        if entry.method == "DELETE" and entry.status == 204
    )
    if any(count > 1 for count in answered.values()):
        yield f"removed twice: {answered.most_common(1)}"
    again = [
        entry.path
        for entry in sandbox.log.entries
        if entry.method == "DELETE" and entry.status == 404
    ]
    if again:
        yield f"asked for again although gone: {again}"
    outcomes = {device["outcome"] for device in _result(done)["devices"]}
    if not outcomes <= {"removed", "absent"}:
        yield f"outcomes: {sorted(outcomes)}"


def _result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _deregister(
    folder: Path, sandbox: Sandbox, more: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    batch = folder / "batch.csv"
    lines = ["Serial number", *(_serial(number) for number in range(LISTED))]
    batch.write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["deregister", str(batch), "--via", "partner-center", "--customer", TENANT, "--yes"]
    return _program([*arguments, "--output", "json"], folder, sandbox, more)


def _resume(
    folder: Path, sandbox: Sandbox, more: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    listed = _program(["runs", "--output", "json"], folder, sandbox, {})
    runs = json.loads(listed.stdout)["runs"] if listed.returncode == 0 else []
    if not runs:
        # Killed before the run existed: then nothing was sent, and the user starts it again.
        return _deregister(folder, sandbox, more)
    return _program(["resume", runs[0]["run"], "--output", "json"], folder, sandbox, more)


def _program(
    arguments: Sequence[str], folder: Path, sandbox: Sandbox, more: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: text for name, text in os.environ.items() if name not in (POINT, COUNT_FILE)},
        **sandbox.announce()["environment"],
        "PARTNER_TOOLS_LEDGER": str(folder / "ledger.db"),
        "PARTNER_TOOLS_CONFIG": str(_no_config(folder)),
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "tests.crash.dying", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
        cwd=Path(__file__).parents[2],
    )


def _no_config(folder: Path) -> Path:
    file = folder / "partner-tools.toml"
    file.write_text("", encoding="utf-8")
    return file


def _world() -> dict[str, Any]:
    """A customer with two oddly named batches of listed and unlisted devices."""
    devices = [{"serialNumber": _serial(number)} for number in range(LISTED + UNLISTED)]
    return {
        "schemaVersion": "1",
        "partner": {"tenantId": "1b1f3a70-6c3f-4d0b-9b0a-7f6f6a0e2c11", "domain": "p.example"},
        "applications": [{"clientId": "5d0b7f2e-93c1-4f6a-8e1d-2b6c9a4f0e33", "secret": "s"}],
        "users": [{"name": "avery@p.example"}],
        "customers": [
            {
                "tenantId": TENANT,
                "domain": "contoso.onmicrosoft.com",
                "name": "Contoso",
                "batches": [
                    {"id": "one / #1", "devices": devices[::2]},
                    {"id": "two %2F", "devices": devices[1::2]},
                ],
            }
        ],
    }


def _serial(number: int) -> str:
    return f"SN-{number:04}"


def main() -> None:
    """Run the matrix and say what did not converge; exits with 1 where something did not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    total = count_points()
    trials = run_trials(
        choose(total, given.points, given.seed), workers=given.workers, seed=given.seed
    )
    failed = [trial for trial in trials if trial.faults]
    for trial in failed:
        print(f"point {trial.point}: {'; '.join(trial.faults)}")
    print(f"{len(trials)} kills among {total} points, {len(failed)} did not converge")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
