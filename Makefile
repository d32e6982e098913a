# One command is the whole gate: `make check`. PYTHON is the interpreter of an environment in which
# `pip install -e '.[dev]'` was done.
PYTHON ?= .venv/bin/python

.PHONY: check static lint types pages claims package audit format test test-quick docs screenshots wheel sbom hashes crash faults fuzz simulation night chaos bench bench-quick no-changes same-as-cleanup zipapp release mutants

check: static audit test

static: lint types pages package

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as lint; lint()'

types:
	$(PYTHON) -m mypy

pages:
	$(PYTHON) -m docs.generate --check
	$(PYTHON) -m sphinx -q -n -W --keep-going -b html docs docs/_site

# Which statements about services that are not ours are due to be read again; docs/claims.toml.
claims:
	$(PYTHON) -m docs.claims

package:
	$(PYTHON) -m pytest -n 0 tests/test_packaging.py

# The list of known vulnerabilities is on the network: without one it says that nothing was looked
# at, and fails only where AUDIT_REQUIRED is set, as it is where releases are made.
audit:
	$(PYTHON) -m tests.supply.audit

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

test:
	$(PYTHON) -m pytest --cov --cov-report=term-missing:skip-covered

# Without what waits for clocks, processes and browsers: for every small change.
test-quick:
	$(PYTHON) -m pytest -m "not slow"

docs:
	$(PYTHON) -m docs.generate
	$(PYTHON) -m sphinx -q -n -W --keep-going -b html docs docs/_site

# The pictures of the pages in docs/images, anew; needs Chromium and its driver.
screenshots:
	$(PYTHON) -m docs.screenshots

wheel:
	$(PYTHON) -m build --wheel

# One file that runs wherever this Python does, on this system; the first start unpacks it.
zipapp:
	PIP_CONSTRAINT=constraints.txt $(PYTHON) -m shiv --reproducible -p '/usr/bin/env python3' -c partner-tools -o dist/partner-tools.pyz .

# The files of a release, with their SHA-256 beside them.
release: audit wheel zipapp sbom
	cd dist && sha256sum *.whl partner-tools.pyz sbom.cdx.json > SHA256SUMS

# What an installation brings, as CycloneDX, beside the wheel.
sbom:
	$(PYTHON) -m tests.supply.bom dist/sbom.cdx.json

# After constraints.txt was changed; needs uv (https://docs.astral.sh/uv/).
hashes:
	uv pip compile -q --generate-hashes --no-header --no-annotate --no-emit-index-url --universal --python-version 3.11 --extra dev -c constraints.txt pyproject.toml -o hashes.txt

crash:
	$(PYTHON) -m tests.crash.crash_points
	$(PYTHON) -m tests.crash.ledgers

faults:
	$(PYTHON) -m tests.faults.matrix

fuzz:
	$(PYTHON) -m tests.fuzz.hash_mutations --count 1000000
	$(PYTHON) -m tests.fuzz.readers --count 20000
	$(PYTHON) -m tests.fuzz.lists --count 1000000
	$(PYTHON) -m tests.fuzz.associations --count 1000000

# All mutants of the modules that decide, some hours; `ARGUMENTS="--sample 60 --seed 1"` for fewer.
mutants:
	$(PYTHON) -m tests.mutants $(ARGUMENTS)

# A million devices on a service that lies: nothing wrong removed, nothing falsely called clear.
# Then 100,000 steps of runs that are killed and resumed while guards and rows change.
simulation:
	$(PYTHON) -m tests.simulation.evidence --devices 1000000
	$(PYTHON) -m tests.simulation.gate --steps 100000
	$(PYTHON) -m tests.simulation.preview --estates 10000

night:
	$(PYTHON) -m tests.bench.night

chaos:
	$(PYTHON) -m tests.fleet.chaos

# All benchmarks, some 30 minutes on a quiet machine; writes docs/benchmarks.json and docs/benchmarks.md.
bench:
	$(PYTHON) -m tests.bench

# Their mechanism only: counts and correctness, never time. `make test` runs it too.
bench-quick:
	$(PYTHON) -m pytest -n 2 tests/bench

# At the wire over 1,000 generated tenants: what only looks sends no request that changes anything.
no-changes:
	ESTATES=1000 $(PYTHON) -m pytest -n 0 tests/simulation/test_no_changes.py

# Script and cleanup on 300 generated tenants; needs PowerShell 7 as `pwsh`.
same-as-cleanup:
	TENANTS=300 REQUIRE_POWERSHELL=1 $(PYTHON) -m pytest -n 0 tests/powershell/test_same_as_cleanup.py
