"""The cost of one removal in two trees: `python -m tests.bench.removal_cost OTHER_TREE`.

The whole command `deregister` of each tree removes devices from one sandbox in a process of its
own, in turns; a run of a few devices is subtracted from a run of many, so that starting, planning
and checking count only as far as they grow with the devices. Printed as a table in Markdown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.figures import ROOT
from tests.bench.goodput import PARTNER, _clear, _control, _devices

FEW, MANY, ROUNDS = 100, 1_100, 3

COUNTING = """
import json, os, resource, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine

changed = {}  # rows that each connection has inserted, updated or deleted so far
transactions = 0

@event.listens_for(Engine, "commit")
def _commit(connection):
    global transactions
    transactions += 1
    raw = connection.connection.dbapi_connection
    changed[id(raw)] = raw.total_changes

from partner_tools.cli import main
try:
    main()
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    counted = {
        "rows": sum(changed.values()),
        "transactions": transactions,
        "cpu": used.ru_utime + used.ru_stime,
    }
    with open(os.environ["COUNTED"], "w") as file:
        json.dump(counted, file)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run. `cpu` is in seconds; `rows` are those that statements wrote to the ledger."""

    requests: float
    rows: float
    transactions: float
    cpu: float

    def per_removal(self, fewer: Cost) -> Cost:
        """The part that grows with the devices, for one of them."""
        return Cost(
            **{
                name: (getattr(self, name) - getattr(fewer, name)) / (MANY - FEW)
                for name in Cost.__slots__
            }
        )


def main() -> None:
    """Measure both trees in turns, and print the table."""
    trees = {"before": Path(sys.argv[1]).resolve(), "after": ROOT}
    if not (trees["before"] / "partner_tools").is_dir():
        # Else Python would take the installed package, and the tree be compared with itself.
        raise SystemExit(f"{trees['before']} is no tree of partner-tools")
    found: dict[str, list[Cost]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            for name, tree in trees.items():
                few, many = (_run(Path(folder), tree, devices) for devices in (FEW, MANY))
                found[name].append(many.per_removal(few))
    print("| per removal | before | after |\n|---|---|---|")
    for label, name, factor in (
        ("requests", "requests", 1),
        ("rows written to the ledger", "rows", 1),
        ("ledger transactions", "transactions", 1),
        ("CPU, ms", "cpu", 1_000),
    ):
        before, after = (_shown(found[tree], name, factor) for tree in trees)
        print(f"| {label} | {before} | {after} |")


def _shown(costs: Sequence[Cost], name: str, factor: float) -> str:
    values = [factor * getattr(cost, name) for cost in costs]
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _run(folder: Path, tree: Path, devices: int) -> Cost:
    """One whole command of a tree, with a sandbox and a ledger of its own."""
    tenant = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a600"
    fleet = {"count": devices, "batches": 4, "serialPrefix": "F"}
    customer = {"tenantId": tenant, "domain": "fleet.example", "fleets": [fleet]}
    seed, batch, counted = (folder / name for name in ("seed.json", "batch.csv", "counted.json"))
    seed.write_text(json.dumps({**PARTNER, "customers": [customer]}), encoding="utf-8")
    (folder / "none.toml").write_text("", encoding="utf-8")
    command = [sys.executable, "-m", "partner_tools", "sandbox", "--seed", str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            announced = json.loads(server.stdout.readline())
            serials = [each["serialNumber"] for each in _devices(announced, tenant)]
            batch.write_text("\n".join(["Serial number", *serials, ""]), encoding="utf-8")
            _clear(announced)
            ledger = folder / f"{tree.name}-{devices}.db"
            ledger.unlink(missing_ok=True)
            environment = {
                **os.environ,
                **announced["environment"],
                "PARTNER_TOOLS_LEDGER": str(ledger),
                "PARTNER_TOOLS_CONFIG": str(folder / "none.toml"),
                "PYTHONPATH": str(tree),
                "COUNTED": str(counted),
            }
            arguments = ["deregister", str(batch), "--via", "partner-center", "--customer", tenant]
            arguments += ["--yes", "--max-devices", str(devices), "--quiet", "--settle", "0"]
            subprocess.run(
                [sys.executable, "-c", COUNTING, *arguments],
                cwd=folder,
                env=environment,
                check=True,
                capture_output=True,
            )
            requests = len(_control(announced, "GET", "/log")["requests"])
        finally:
            server.terminate()
    return Cost(requests=requests, **json.loads(counted.read_text("utf-8")))


if __name__ == "__main__":
    main()
