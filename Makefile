# One command is the whole gate: `make check`. PYTHON is the interpreter of an environment in which
# `pip install -e '.[dev]'` was done.
PYTHON ?= .venv/bin/python

.PHONY: check static format test docs wheel crash faults fuzz chaos bench bench-fleet bench-quick

check: static test

static:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()'
	$(PYTHON) -m docs.generate --check
	$(PYTHON) -m sphinx -q -n -W --keep-going -b html docs docs/_site
	$(PYTHON) -m pytest -n 0 tests/test_packaging.py

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest --cov --cov-report=term-missing:skip-covered

docs:
	$(PYTHON) -m docs.generate
	$(PYTHON) -m sphinx -q -n -W --keep-going -b html docs docs/_site

wheel:
	$(PYTHON) -m build --wheel

crash:
	$(PYTHON) -m tests.crash.crash_points
	$(PYTHON) -m tests.crash.ledgers

faults:
	$(PYTHON) -m tests.faults.matrix

fuzz:
	$(PYTHON) -m tests.fuzz.hash_mutations --count 1000000
	$(PYTHON) -m tests.fuzz.readers --count 20000

chaos:
	$(PYTHON) -m tests.fleet.chaos

# All benchmarks, some 20 minutes on a quiet machine; writes docs/benchmarks.json and docs/benchmarks.md.
bench:
	$(PYTHON) -m tests.bench

# The fleet's, which need PostgreSQL.
bench-fleet:
	$(PYTHON) -m tests.bench.fleet

# Their mechanism only: counts and correctness, never time. `make test` runs it too.
bench-quick:
	$(PYTHON) -m pytest -n 2 tests/bench
