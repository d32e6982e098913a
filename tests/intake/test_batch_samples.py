"""The shipped batches are valid; their warnings are those that their dialect is there to show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from partner_tools.intake import limits, rules
from partner_tools.intake.batch import read_batch
from partner_tools.intake.batch_metadata import IntakeOptions
from partner_tools.intake.source import source_at
from partner_tools.model import PARTNER_CHANNELS, ChannelName

SAMPLES = Path(__file__).parents[2] / "samples"
PARTNER_CENTER, OEM_DIRECT = PARTNER_CHANNELS


@pytest.mark.parametrize(
    ("name", "channel", "count", "warned"),
    [
        ("partner-center.csv", PARTNER_CENTER, 16, {"duplicate-device"}),
        ("partner-center-autopilot-info.csv", PARTNER_CENTER, 3, set()),
        ("partner-center-excel.csv", PARTNER_CENTER, 2, {"encoding-guessed", "unknown-column"}),
        ("partner-center.json", PARTNER_CENTER, 3, set()),
        ("partner-center.jsonl", PARTNER_CENTER, 3, set()),
        ("partner-center.xlsx", PARTNER_CENTER, 3, set()),
        ("oem-direct.csv", OEM_DIRECT, 3, set()),
        ("oem-direct-hashes.csv", OEM_DIRECT, 2, set()),
        ("oem-direct.json", OEM_DIRECT, 2, set()),
        ("oem-direct.jsonl", OEM_DIRECT, 3, set()),
        ("oem-direct.xlsx", OEM_DIRECT, 2, set()),
    ],
)
def test_shipped_batch_is_valid(
    name: str, channel: ChannelName, count: int, warned: set[str]
) -> None:
    intake = read_batch(source_at(str(SAMPLES / name)), IntakeOptions(channel=channel))
    assert intake.batch is not None, intake.problems
    assert count == intake.count
    assert warned == {one.rule for one in intake.problems}


def test_every_shipped_batch_is_read() -> None:
    """A batch beside these is valid too, on the channel that its name begins with or on any."""
    batches = [*SAMPLES.glob("*.csv"), *SAMPLES.glob("*.jsonl"), *SAMPLES.glob("*.xlsx")]
    assert len(batches) >= 9
    for path in batches:
        channel = next((one for one in PARTNER_CHANNELS if path.name.startswith(one)), None)
        intake = read_batch(source_at(str(path)), IntakeOptions(channel=channel))
        assert intake.batch is not None, (path, intake.problems)


def test_page_beside_the_batches_is_fresh() -> None:
    """Every rule with its severity and remedy, every limit as the code has it."""
    page = (SAMPLES / "README.md").read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if re.match(r"\| `[a-z0-9-]+` \|", line)]
    assert [
        f"| `{name}` | {severity} | {remedy} |"
        for name, (severity, remedy) in rules.all_rules().items()
    ] == listed
    for said in (
        f"{limits.RECORD_CHARACTERS // limits.MIB} MiB of characters",
        f"{limits.CELL_CHARACTERS:,} characters",
        f"{limits.HELD_BYTES // limits.MIB} MiB |",
        f"{limits.JSON_BYTES // limits.MIB} MiB, nested {limits.JSON_DEPTH} deep, ",
        f"{limits.JSON_VALUES:,} values |",
        f"{limits.XLSX_BYTES // limits.MIB} MiB, {limits.XLSX_UNPACKED_BYTES // limits.MIB} MiB",
        f"{limits.XLSX_PARTS:,} parts, no part that expands more than {limits.XLSX_RATIO} times",
        f"| columns of a table | {limits.COLUMNS} |",
    ):
        assert said in page
    for path in SAMPLES.glob("partner-center*.*"):
        assert f"`{path.name}`" in page
