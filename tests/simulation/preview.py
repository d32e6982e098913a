"""Compares preview and run over generated estates, and judges every device that a run removes.

`python -m tests.simulation.preview --estates 10000 --seed 1` ends with 0 where every outcome that
the preview decided is the run's outcome, every device that it left to the run was removed, and no
device with managed firmware was removed unnamed.

Preview and run are the program as a user runs it, against the sandbox. An estate is a customer with
its own tenant; one batch names the devices of many of them. The judge knows what was generated.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import Program, customer, program_for, world

AT_ONCE = 50
"""Estates of one batch."""
APP = "9cb2a3f4-6f2a-4f5e-8f0b-2f4f7a0a7d10"
JOINS = ("none", "entra-joined", "hybrid-joined", "registered")
MANAGED: tuple[dict[str, Any] | None, ...] = (
    None,
    None,
    {},
    {"deviceFirmwareConfigurationInterfaceManaged": True},
    {"managementState": "retirePending"},
    {"managementAgent": "configurationManagerClientMdm"},
)
PERMISSIONS = (
    "DeviceManagementServiceConfig.Read.All",
    "DeviceManagementManagedDevices.Read.All",
    "Device.Read.All",
    "BitlockerKey.ReadBasic.All",
    "DeviceLocalCredential.ReadBasic.All",
)


@dataclass(slots=True)
class Score:
    """What was compared, and what contradicted."""

    estates: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Estates:
    """Some generated customers: their seed, the rows that name their devices, and the truth."""

    seed: dict[str, Any]
    rows: list[str]
    locked: set[str]
    """Serial numbers of devices whose tenant shows that their firmware is managed."""
    accepted: tuple[str, ...]
    options: tuple[str, ...]


def generate(chance: random.Random, first: int, number: int) -> Estates:
    """Draw customers with one to six devices each."""
    customers, rows, locked = [], [], set[str]()
    for estate in range(first, first + number):
        tenant, domain = f"00000000-0000-4000-8000-{estate:012}", f"c{estate}.example"
        batches: dict[str, list[dict[str, Any]]] = {"A": [], "B": []}
        machines, consent = [], chance.random() > 0.1
        for device in range(chance.randint(1, 6)):
            serial = f"E{estate}D{device}X"
            for batch in ("A", "B")[: chance.choice((0, 1, 1, 1, 1, 2))]:  # two are ambiguous
                may: dict[str, Any] = {} if chance.random() > 0.15 else {"allowedOperations": []}
                batches[batch].append({"serialNumber": serial, **may})
            for _ in range(chance.choice((0, 1, 1, 1, 2))):
                managed = chance.choice(MANAGED)
                machines.append(
                    {
                        "serialNumber": serial,
                        "join": chance.choice(JOINS),
                        "online": chance.random() > 0.5,
                        "recoveryKeys": chance.choice((0, 0, 2)),
                        "localCredential": chance.random() < 0.2,
                        **({} if managed is None else {"managedDevice": managed}),
                    }
                )
                if consent and managed and "deviceFirmwareConfigurationInterfaceManaged" in managed:
                    locked.add(serial)
            rows += [f"{serial},{domain}"] * chance.choice((1, 1, 1, 1, 2))
        habits = {"machines": machines, "consent": consent}
        customers.append(customer(batches, tenant=tenant, domain=domain, graph=habits))
    seed = world(*customers)
    granted = [name for name in PERMISSIONS if chance.random() > 0.1]
    seed["applications"] = [{"clientId": APP, "secret": "s", "graphPermissions": granted}]
    if PERMISSIONS[1] not in granted:
        locked = set()  # nothing shows it
    accepted = tuple(serial for serial in sorted(locked) if chance.random() < 0.3)
    options = [word for serial in accepted for word in ("--accept-locked-firmware", serial)]
    options += ["--require-intune-clear"] * (chance.random() < 0.3)
    return Estates(seed, rows, locked, accepted, (*options, "--min-found", "0"))


def compare(estates: Estates, folder: Path, score: Score) -> None:
    """Preview the batch, carry it out, and note where they contradict each other."""
    config = '[default.graph]\naccess = "app"\n[default.limits]\nmax_devices = 100000\n'
    (folder / "partner-tools.toml").write_text(config, encoding="utf-8")
    with Sandbox(seed_from(estates.seed), faults_from({})) as sandbox:
        program = program_for(
            sandbox,
            folder,
            PARTNER_TOOLS_TENANT=sandbox.seed.partner.tenant_id,
            PARTNER_TOOLS_CLIENT_ID=APP,
            PARTNER_TOOLS_CLIENT_SECRET="s",
        )
        batch = program.batch("\n".join(("Serial number,Customer", *estates.rows, "")))
        named: tuple[str | Path, ...] = (
            "deregister",
            batch,
            "--via",
            "partner-center",
            "--again",
            *(
                "--snapshot-timeout",
                "3600",
            ),  # what a busy machine cannot see in time is not looked at
            *estates.options,
        )
        preview = _outcomes(program, (*named, "--dry-run"))
        done = _outcomes(program, (*named, "--yes", "--settle", "0"))
    if len(preview) != len(estates.rows) or len(done) != len(estates.rows):
        score.faults.append(f"{len(estates.rows)} rows, {len(preview)} planned, {len(done)} done")
    for (serial, planned), (_, outcome) in zip(preview, done, strict=True):
        score.outcomes[outcome] += 1
        if outcome != ("removed" if planned == "pending" else planned):
            score.faults.append(f"{serial}: the preview says {planned}, the run {outcome}")
        if outcome == "removed" and serial in estates.locked and serial not in estates.accepted:
            score.faults.append(f"{serial} was removed although its firmware is managed")


def _outcomes(program: Program, words: Sequence[str | Path]) -> list[tuple[str, str]]:
    result = program(*words, "--output", "json")
    assert result.exit_code in (0, 7), result.output
    return [
        (each["serialNumber"], each["outcome"]) for each in json.loads(result.stdout)["devices"]
    ]


def simulate(estates: int, seed: int) -> Score:
    """Compare over this many estates."""
    chance, score = random.Random(seed), Score()  # noqa: S311
    for first in _parts(estates):
        number = min(AT_ONCE, estates - first)
        with tempfile.TemporaryDirectory() as folder:
            compare(generate(chance, first, number), Path(folder), score)
        score.estates += number
    return score


def _parts(estates: int) -> Iterator[int]:
    yield from range(0, estates, AT_ONCE)


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--estates", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    score = simulate(given.estates, given.seed)
    print(f"{score.estates} estates, seed {given.seed}: {dict(score.outcomes)}")
    for fault in score.faults:
        print(fault)
    return 1 if score.faults else 0


if __name__ == "__main__":
    sys.exit(main())
