"""Run the benchmarks: `python -m tests.bench [NAME …] [--quick | --page]`.

Each takes the place of its last result in `docs/benchmarks.json`, and `docs/benchmarks.md` is made
anew. `--quick` writes neither.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from tests.bench.figures import ROOT, Figure, document
from tests.bench.page import page

RESULTS = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BENCHES = (
    "startup",
    "goodput_simulated",
    "goodput_http",
    "goodput",
    "resolve",
    "validate_rows",
    "hash_decode",
    "ledger_events",
    "ledger_million",
    "report_formats",
    "transport_cpu",
    "oem_direct",
    "graph_probing",
    "sandbox_requests",
    "fleet",
)


def main() -> None:
    """Measure, show each figure as it comes, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--quick", action="store_true", help="for the mechanism: no meaning")
    parser.add_argument("--page", action="store_true", help="only make the page anew")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHES):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    if given.page:
        _write(results)
        return
    for name in given.names or BENCHES:
        began = time.monotonic()
        results[name] = list(_measured(name, quick=given.quick))
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        if not given.quick:
            _write(results)


def _measured(name: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    for part in import_module(f"tests.bench.{name}").measure(quick=quick):
        print(f"\n{part.title}", flush=True)
        for figure in part.figures:
            print(f"  {_told(figure)}", flush=True)
        yield {
            **document(part),
            "command": f"python -m tests.bench {name}",
            "machine": _machine(),
        }


def _told(figure: Figure) -> str:
    ratio = "" if figure.ratio is None else f"  {figure.ratio:.3g}x of {figure.baseline}"
    holds = {None: "", True: "  holds", False: "  MISSED"}[figure.holds]
    return f"{figure.what:60} {figure.value:>12,.4g} {figure.unit}{ratio}{holds}"


def _machine() -> dict[str, Any]:
    """What can be said of the machine without naming it."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": load,
    }


def _write(results: dict[str, Any]) -> None:
    kept = {name: results[name] for name in BENCHES if name in results}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    parts = [part for each in kept.values() for part in each]
    PAGE.write_text(page({"parts": parts}), encoding="utf-8")


if __name__ == "__main__":
    main()
