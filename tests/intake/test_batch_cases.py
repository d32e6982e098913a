"""Every file under `tests/cases/batch` against what stands beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake.batch import check_batch, read_batch, validation_document
from partner_tools.intake.batch_metadata import IntakeOptions
from partner_tools.intake.schema import checker
from partner_tools.intake.source import Source
from partner_tools.model import Batch, ChannelName, Device, Problem

CASES = Path(__file__).parents[1] / "cases" / "batch"
SUFFIX = ".expected.json"


def cases(kind: str) -> list[Path]:
    expected = sorted((CASES / kind).glob("*" + SUFFIX))
    return [path.with_name(path.name.removesuffix(SUFFIX)) for path in expected]


def read_case(path: Path) -> tuple[dict[str, Any], Source, IntakeOptions]:
    expected = json.loads(path.with_name(path.name + SUFFIX).read_text(encoding="utf-8"))
    told = dict(expected["options"])
    if "channel" in told:
        told["channel"] = ChannelName(told["channel"])
    return expected, Source(name=path.name, path=path), IntakeOptions(**told)


def listed(problems: tuple[Problem, ...]) -> list[list[object]]:
    return [[one.row, one.column, one.rule, str(one.severity), one.message] for one in problems]


def summary(device: Device) -> dict[str, object]:
    told: dict[str, object] = {
        "row": device.row,
        "serialNumber": device.identity.serial_number,
        "productKeyId": device.identity.product_key_id,
        "customer": device.customer,
        "reference": device.reference,
        "extra": dict(device.extra),
    }
    return {name: value for name, value in told.items() if value}


def named(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", cases("valid"), ids=named)
def test_valid_batch_gives_its_devices_and_warnings(path: Path) -> None:
    expected, source, options = read_case(path)
    intake = read_batch(source, options)
    assert expected["problems"] == listed(intake.problems)
    assert isinstance(intake.batch, Batch)
    assert expected["devices"] == [summary(device) for device in intake.batch.devices]
    assert expected["count"] == intake.count == len(intake.batch.devices)


@pytest.mark.parametrize("path", cases("invalid"), ids=named)
def test_invalid_batch_gives_every_problem_and_no_device(path: Path) -> None:
    expected, source, options = read_case(path)
    intake = read_batch(source, options)
    assert expected["problems"] == listed(intake.problems)
    assert intake.batch is None
    assert expected["count"] == intake.count


@pytest.mark.slow
@pytest.mark.parametrize("path", [*cases("valid"), *cases("invalid")], ids=named)
def test_streaming_finds_the_same(path: Path) -> None:
    """Check and read agree on problems and the number of devices."""
    _, source, options = read_case(path)
    found: list[Problem] = []
    count = check_batch(source, options, found.append)
    intake = read_batch(source, options)
    assert intake.problems == tuple(sorted(found, key=lambda one: one.row or 0))
    assert intake.count == count.devices
    assert (count.errors == 0) == (intake.batch is not None)
    assert count.errors + count.warnings == len(found)


@pytest.mark.slow
@pytest.mark.parametrize("path", [*cases("valid"), *cases("invalid")], ids=named)
def test_every_problem_is_fit_to_be_shown(path: Path) -> None:
    """A remedy always; never a product key, a hash, or a text of any length."""
    _, source, options = read_case(path)
    intake = read_batch(source, options)
    for one in intake.problems:
        assert one.remedy
        assert len(one.message) < 400
        assert one.message.isprintable()
        assert "ABCDE-12345" not in one.message + (one.column or "")
        assert "AAAAAAAAAAAA" not in one.message or one.rule == "too-long"
    document = validation_document(intake.problems, intake.count)
    assert checker("validation").violations(document) == ()


def test_every_case_has_its_expectation() -> None:
    files = {path.name for path in CASES.glob("*/*") if not path.name.endswith(SUFFIX)}
    assert files == {path.name for kind in ("valid", "invalid") for path in cases(kind)}
