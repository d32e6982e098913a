"""Mutation testing of the modules that decide: a changed line has to fail a test of its module.

    python -m tests.mutants [--sample N] [--seed N] [--module NAME]

The mutants are those of cosmic-ray's operators. Each is written into a copy of the package that the
tests import in place of the checkout, so that nothing is changed here. A mutant that no test
notices is printed with its difference; the exit code is 1 where that is one too many.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).resolve().parents[1]
TESTS: Mapping[str, Sequence[str]] = {
    "plan.py": ["tests/test_plan.py"],
    "guards.py": ["tests/test_guards.py"],
    "gate.py": ["tests/test_gate.py"],
    "events.py": ["tests/test_events.py"],
    "pacing.py": ["tests/test_pacing.py"],
    "outstanding/decision.py": ["tests/outstanding/test_decision.py"],
    "clients/oem/guard.py": ["tests/clients/oem/test_guard.py"],
    "ledger/chain.py": ["tests/ledger/test_integrity.py"],
    "ledger/integrity.py": ["tests/ledger/test_integrity.py"],
}
"""Each module with the tests that have to notice a change of it."""

TIMEOUT_SECONDS = 120
_LEFT_OUT = re.compile(r"BitOr|_Is(?:Not)?(?:_|$)|Variable|RemoveDecorator")
"""Operators that change annotations (`X | None`) or nothing that a program can notice (`is` for
`==`), and those that take any name for another, which mypy refuses."""
_TUNED = re.compile(r"[A-Z_]+: Final = |\s*@|\s*from |\s*def ")
"""Figures that the benchmarks chose and prove, decorators, and defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change: the module, cosmic-ray's operator, and the how manieth place it fits."""

    module: str
    operator: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.module} {self.operator.removeprefix('core/')} {self.occurrence}"


@cache
def _source(module: str) -> str:
    return (ROOT / "partner_tools" / module).read_text(encoding="utf-8")


def mutants(module: str) -> Iterator[Mutant]:
    """Every place of a module that an operator fits."""
    nodes = list(ast_nodes(get_ast(_source(module))))
    lines = _source(module).splitlines()
    for name in sorted(plugins.operator_names()):
        if _LEFT_OUT.search(name):
            continue
        operator: Any = plugins.get_operator(name)()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, _) in enumerate(places):
            if not _TUNED.match(lines[line - 1]):
                yield Mutant(module=module, operator=name, occurrence=occurrence)


def mutated(mutant: Mutant) -> str | None:
    """The module's text with the change."""
    operator: Any = plugins.get_operator(mutant.operator)()
    text: str | None = mutate_code(_source(mutant.module), operator, mutant.occurrence)
    return text


def survives(mutant: Mutant, copy: Path) -> bool:
    """Whether the module's tests pass all the same. A test that never ends has noticed."""
    file = copy / "partner_tools" / mutant.module
    file.write_text(mutated(mutant) or "", encoding="utf-8")
    command = ["-P", "-m", "pytest", "-n", "0", "-x", "-q", "-p", "no:cacheprovider"]
    quick = ["-m", "not slow", "--hypothesis-seed=0", *TESTS[mutant.module]]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{copy}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, *command, *quick],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        file.write_text(_source(mutant.module), encoding="utf-8")
    return done.returncode == 0


def difference(mutant: Mutant) -> str:
    """The changed lines."""
    lines = difflib.unified_diff(
        _source(mutant.module).splitlines(), (mutated(mutant) or "").splitlines(), lineterm="", n=0
    )
    return "\n".join(f"    {line}" for line in lines if not line.startswith(("---", "+++")))


def main(arguments: Sequence[str]) -> int:
    """Try all mutants or a sample of them, and print those that survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="so many of them, spread by chance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--module", action="append", choices=TESTS, help="only these")
    parser.add_argument("--allow", type=float, default=0.05, help="share that may survive")
    given = parser.parse_args(arguments)
    found = [each for module in given.module or TESTS for each in mutants(module)]
    chosen = found
    if given.sample is not None:
        chosen = random.Random(given.seed).sample(found, min(given.sample, len(found)))  # noqa: S311
    started, alive = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(
            ROOT / "partner_tools",
            copy / "partner_tools",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name in ("schemas", "samples"):
            (copy / name).symlink_to(ROOT / name)
        for mutant in chosen:
            if survives(mutant, copy):
                alive += 1
                print(f"survived: {mutant}\n{difference(mutant)}", flush=True)
    seconds = time.monotonic() - started
    print(f"{len(chosen) - alive} of {len(chosen)} killed, {len(found)} in all, {seconds:.0f} s")
    return int(alive > given.allow * len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
