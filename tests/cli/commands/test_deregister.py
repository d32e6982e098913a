"""The main job with every trap: exactly the listed devices go, and each outcome is named."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, customer, program_for, world

BATCHES = (
    "Spring order #7",
    "50 % off / Büro",
    "..",
    "a?b&c=d",
    "RMA+2025",
    "🖥 laptops",
    "trailing blank ",
    "%2F%23",
)
TRAPS = {
    "ambiguous": ["TWICE-1", "TWICE-2"],
    "refused": ["LOCKED-1", "LOCKED-2"],
    "not-owned": ["FOREIGN-1"],
    "not-found": ["SN-00", "sn-0001x", "SN-000", "GHOST"],
}


def estate() -> dict[str, list[dict[str, Any]]]:
    """1,250 devices in eight batches: plain ones, and those of the traps."""
    batches: dict[str, list[dict[str, Any]]] = {name: [] for name in BATCHES}
    special: list[dict[str, Any]] = [
        {"serialNumber": "TWICE-1"},
        {"serialNumber": "TWICE-2"},
        {"serialNumber": "TWICE-1"},
        {"serialNumber": "TWICE-2"},
        {"serialNumber": "LOCKED-1", "allowedOperations": ["GET", "PATCH"]},
        {"serialNumber": "LOCKED-2", "allowedOperations": []},
        {"serialNumber": "FOREIGN-1", "registeredByOther": True},
        {"serialNumber": "sn-0001"},
        {"serialNumber": "SN-00011"},
        {"serialNumber": "XSN-0001"},
    ]
    plain = [{"serialNumber": f"SN-{number:04}"} for number in range(1250 - len(special))]
    for number, device in enumerate([*special, *plain]):
        batches[BATCHES[number % len(BATCHES)]].append(device)
    return batches


@pytest.mark.slow
def test_exactly_the_listed_devices_go_and_every_outcome_is_named(tmp_path: Path) -> None:
    wanted = [f"SN-{number:04}" for number in range(300)]
    duplicates = wanted[:11]
    rows = [*wanted, *(serial for trap in TRAPS.values() for serial in trap), *duplicates]
    assert len(rows) == 320
    with Sandbox(seed_from(world(customer(estate())))) as sandbox:
        program = program_for(sandbox, tmp_path)
        document = program.json(
            "deregister",
            program.serials(*rows),
            "--via",
            "partner-center",
            "--customer",
            "CONTOSO.onmicrosoft.com",
            "--yes",
            exit_code=7,
        )

        left = Counter(placed.device.serial_number for placed in sandbox.state.devices(CONTOSO))
        deletes = [entry for entry in sandbox.log.entries if entry.method == "DELETE"]

    before = Counter(each["serialNumber"] for batch in estate().values() for each in batch)
    assert before - left == Counter(wanted)
    assert len(deletes) == 301  # each listed device once, and the one that is not ours
    expected = {
        "removed": 300,
        "duplicate": 11,
        **{outcome: len(serials) for outcome, serials in TRAPS.items()},
    }
    assert document["counts"] == expected
    assert document["state"] == "finished"
    assert not checker("result").violations(document)
    told = {each["serialNumber"]: each for each in document["devices"][:309]}
    for outcome, serials in TRAPS.items():
        for serial in serials:
            assert (told[serial]["outcome"], bool(told[serial]["remedy"])) == (outcome, True)
