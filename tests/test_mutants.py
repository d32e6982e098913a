"""A sample of what `make mutants` tries: the tests notice changes of the modules that decide."""

from __future__ import annotations

import pytest

from tests import mutants

pytestmark = pytest.mark.slow

QUICK = ("events.py", "gate.py", "guards.py", "clients/oem/guard.py")
"""Modules whose tests take a second."""


def test_every_module_has_mutants_and_tests() -> None:
    for module, tests in mutants.TESTS.items():
        assert len(list(mutants.mutants(module))) > 10, module
        assert all((mutants.ROOT / test).is_file() for test in tests)


def test_a_mutant_is_another_program_of_the_same_place() -> None:
    first = next(mutants.mutants("gate.py"))

    assert len(mutants.difference(first).splitlines()) >= 2


def test_a_sample_of_mutants_is_noticed() -> None:
    """One of six may be equivalent; `make mutants` prints those that survive."""
    modules = [word for module in QUICK for word in ("--module", module)]

    assert mutants.main([*modules, "--sample", "6", "--seed", "7", "--allow", "0.2"]) == 0
