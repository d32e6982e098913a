"""Every list of `tests/cases/lists.toml`: read, or refused with the rules that it says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake.batch import Intake, read_batch
from partner_tools.intake.batch_metadata import IntakeOptions, ReadingOptions
from partner_tools.intake.source import Source

CASES = Path(__file__).parents[1] / "cases" / "lists.toml"
LISTS: list[dict[str, Any]] = tomllib.loads(CASES.read_text(encoding="utf-8"))["list"]


def read(text: str, **options: Any) -> Intake:
    told: dict[str, Any] = {
        name: tuple(map(tuple, value)) if isinstance(value, list) else value
        for name, value in options.items()
    }
    reading = ReadingOptions(**told)
    return read_batch(Source(name="list", content=text.encode()), IntakeOptions(reading=reading))


@pytest.mark.parametrize("case", LISTS, ids=lambda case: f"{case['group']}: {case['name']}")
def test_list_is_read_or_refused_as_it_says(case: dict[str, Any]) -> None:
    intake = read(case["text"], **case.get("options", {}))
    assert sorted({one.rule for one in intake.problems}) == case["problems"]
    if "devices" not in case:
        assert intake.batch is None
        return
    assert intake.batch is not None, intake.problems
    assert case["devices"] == [each.identity.serial_number for each in intake.batch.devices]


def test_lists_say_where_they_were_seen() -> None:
    assert len(LISTS) >= 60
    assert all(case["seen"] for case in LISTS)
    assert len({(each["group"], each["name"]) for each in LISTS}) > 60


def test_options_make_another_batch_of_one_file() -> None:
    text = "Serial,Status\n5CG1111AAA,Retired\n5CG1111AAB,In use\n"
    whole, chosen = read(text), read(text, only=[["Status", "Retired"]])
    assert whole.batch is not None
    assert chosen.batch is not None
    assert whole.batch.digest != chosen.batch.digest


def test_manufacturer_travels_along_where_the_serial_alone_counts() -> None:
    intake = read("Serial,Manufacturer\n5CG1111AAA,Lenovo\n", compare_serial=True)
    assert intake.batch is not None
    (device,) = intake.batch.devices
    assert device.identity.manufacturer is None
    assert device.extra == (("Manufacturer", "Lenovo"),)


def test_a_column_that_is_not_there_is_named() -> None:
    intake = read("Serial,Status\n5CG1111AAA,Retired\n", only=[["Stage", "Retired"]])
    (found,) = intake.problems
    assert found.rule == "no-such-column"
    assert '"Serial", "Status"' in found.message


def test_a_selection_of_a_list_without_a_header_is_refused() -> None:
    """It would select everything."""
    intake = read("5CG1111AAA\n5CG1111AAB\n", excluded=[["Status", "In use"]])
    assert intake.batch is None
    assert [one.rule for one in intake.problems] == ["conflict"]


def test_an_empty_selection_is_no_batch() -> None:
    intake = read("Serial,Status\n5CG1111AAA,Retired\n", only=[["Status", "Lost"]])
    assert intake.batch is None
    assert {one.rule for one in intake.problems} == {"selected", "no-devices"}


def test_a_total_that_is_left_out_needs_no_editing_of_the_list() -> None:
    text = "Pos,Serial,Status\n1,5CG1111AAA,Retired\n2,5CG1111AAB,In use\nTotal,2,\n"
    assert read(text).batch is None
    intake = read(text, only=[["Status", "Retired"]])
    assert intake.batch is not None, intake.problems
    assert [each.identity.serial_number for each in intake.batch.devices] == ["5CG1111AAA"]
    assert any("1 of 2 rows are selected" in one.message for one in intake.problems)
    intake = read(text, excluded=[["Pos", "Total"]])
    assert intake.batch is not None, intake.problems
    assert len(intake.batch.devices) == 2


def test_a_long_line_is_read_in_time_that_grows_with_its_length() -> None:
    """It takes minutes where it grows with the square."""
    assert read("a" + " " * 200_000 + "b\n").batch is None
    assert (
        read(f"Manufacturer : HP\nSerialNumber : A1\n{' more' * 4 + chr(10)}" * 50_000).batch
        is None
    )


def test_weaker_names_travel_along_beside_a_stronger_one() -> None:
    intake = read("Serial,Vendor,Manufacturer\n5CG1111AAA,Shop,HP\n")
    assert intake.batch is not None
    (device,) = intake.batch.devices
    assert (device.identity.manufacturer, device.extra) == ("HP", (("Vendor", "Shop"),))


def test_keys_that_only_a_later_line_has_are_columns_as_well() -> None:
    text = (
        '{"hardware_serial": "5CG1111AAA", "hostname": "NB-1", "cpu": 8}\n\n'
        '{"hostname": "NB-2", "Service Tag": "7XYZAB3"}\n'
    )
    intake = read(text)
    assert intake.batch is not None, intake.problems
    serials = [(each.row, each.identity.serial_number) for each in intake.batch.devices]
    assert serials == [(1, "5CG1111AAA"), (3, "7XYZAB3")]


def test_a_broken_line_of_another_program_is_an_error_of_its_own() -> None:
    first = '{"hardware_serial": "5CG1111AAA", "a": "b", "c": "d"}'
    text = first + '\n{"hardware_serial": 12345}\n{\n[1]\n'
    found = [(one.row, one.rule) for one in read(text).problems if one.severity == "error"]
    assert found == [(2, "spreadsheet-damage"), (3, "json-syntax"), (4, "wrong-type")]


def test_a_property_of_ours_that_is_misspelt_stays_an_error() -> None:
    """Most keys are those of our own form, so that it is not another program's."""
    intake = read('{"serialNumber": "5CG1111AAA", "modle": "X"}\n{"serialNumber": "5CG1111AAB"}\n')
    assert [(one.row, one.rule) for one in intake.problems] == [(1, "unknown-property")]


def test_json_with_more_values_than_memory_holds_is_refused() -> None:
    intake = read('{"schemaVersion": "1", "x": [' + "[]," * 5_000_000 + "[]]}")
    assert [one.rule for one in intake.problems] == ["file-too-large"]
