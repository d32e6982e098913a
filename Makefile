# One command is the whole gate: `make check`. PYTHON is the interpreter of an environment in which
# `pip install -e '.[dev]'` was done.
PYTHON ?= .venv/bin/python

.PHONY: check static format test docs wheel crash fuzz bench bench-quick

check: static test

static:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()'
	$(PYTHON) -m docs.generate --check
	$(PYTHON) -m pytest tests/test_packaging.py

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest --cov --cov-report=term-missing:skip-covered

docs:
	$(PYTHON) -m docs.generate

wheel:
	$(PYTHON) -m build --wheel

crash:
	$(PYTHON) -m tests.crash.crash_points --points 300

fuzz:
	$(PYTHON) -m tests.fuzz.hash_mutations --count 1000000

bench:
	$(PYTHON) -m tests.bench.run

bench-quick:
	$(PYTHON) -m tests.bench.run --quick
