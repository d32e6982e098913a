"""Every copyable command: parsed by PowerShell, and checked against the modules' published help."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from typing import Any

import pytest
from openpyxl import load_workbook

from partner_tools.outstanding.types import StepId
from partner_tools.report.guide import GUIDE, command
from partner_tools.report.handoff import Document
from partner_tools.report.page import Handoff
from partner_tools.report.write import FORMATS
from tests.powershell.shell import CMDLETS, inspect
from tests.report import fleet

pytestmark = pytest.mark.slow

GUID = "8f2f5d2c-0d6e-4a35-9c1b-3c2f6d1f7a10"
RECIPES = {step: chapter.recipe for step, chapter in GUIDE.items() if chapter.recipe.each}
SERIALS = ("5CD1234XYZ", "O'Brien", 'a"b', "$env:X", "A&B+C#D%20/\u00e9", "\u2019; calc")


@pytest.fixture(scope="module")
def document() -> Document:
    return fleet.handoff(fleet.mixed())


@pytest.fixture(scope="module")
def told(document: Document) -> dict[str, dict[str, Any]]:
    """Every command that the table can make, and those of a whole handoff, as they are parsed."""
    texts = {f"guide {step}": recipe.guide or "" for step, recipe in RECIPES.items()}
    texts |= {f"of a serial {at}": _look_up(serial) for at, serial in enumerate(SERIALS)}
    for hybrid in (False, True):
        for step in RECIPES:
            made = command(step, GUID, GUID, "5CD1234XYZ", hybrid=hybrid)
            texts[f"device {step} {hybrid}"] = made or ""
    for device in document["devices"]:
        for step in device["steps"]:
            texts[f"row {device['row']} {step['id']}"] = step["command"] or ""
    return inspect(texts)


def _look_up(serial: str) -> str:
    return command(StepId.DELETE_FROM_INTUNE, None, None, serial) or ""


def test_powershell_parses_every_command(told: dict[str, dict[str, Any]]) -> None:
    assert {name: one["errors"] for name, one in told.items() if one["errors"]} == {}
    assert {name: one["newer"] for name, one in told.items() if one["newer"]} == {}
    assert sum(bool(one["commands"]) for one in told.values()) > 40


def test_every_cmdlet_and_parameter_is_published(told: dict[str, dict[str, Any]]) -> None:
    wrong = []
    for name, one in told.items():
        assert one["unknown"] == [], name
        for call in one["commands"]:
            known = CMDLETS["cmdlets"].get(call["name"])
            if known is None:
                assert call["name"] in {"ForEach-Object", "Format-List"}, (name, call)
                continue
            wrong += [
                (name, call["name"], parameter)
                for parameter in call["parameters"]
                if parameter not in known["parameters"]
            ]
    assert wrong == []


def test_every_cmdlet_of_the_data_file_names_its_source_and_date() -> None:
    for name, known in CMDLETS["cmdlets"].items():
        assert known["source"].startswith("https://learn.microsoft.com/powershell/module/"), name
        assert known["source"].endswith(name.lower()), name
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", known["date"]), name


def test_only_published_permissions_are_asked_for() -> None:
    asked = {scope for recipe in RECIPES.values() for scope in recipe.scopes}
    assert asked <= set(CMDLETS["permissions"]["delegated"])


def test_a_key_is_read_by_its_id() -> None:
    """The list of keys never returns a key (Microsoft Graph, bitlockerRecoveryKey)."""
    text = RECIPES[StepId.BACK_UP_KEYS].guide or ""
    assert re.search(r"-BitlockerRecoveryKeyId \$_\.Id -Property [^|]*'key'", text)
    assert "-IncludePasswords -AsPlainText" in text
    assert "msFVE-RecoveryInformation" in text


def test_a_computer_object_is_removed_with_its_children() -> None:
    made = command(StepId.DELETE_COMPUTER_OBJECT, None, GUID, "5CD")
    assert made is not None
    assert made.endswith(f"Get-ADComputer -Identity '{GUID}' | Remove-ADObject -Recursive -Confirm")
    assert "DistinguishedName, LastLogonDate" in made


def test_commands_are_the_same_bytes_in_every_format(document: Document) -> None:
    """No entity, no typographic quote, no replaced pipe sign, no broken line."""
    guide = {one["powershell"] for one in document["guide"] if one["powershell"]}
    own = {step["command"] for one in document["devices"] for step in one["steps"]} - {None}
    assert any("|" in each for each in guide)
    files = {name: _written(document, name) for name in ("html", "xlsx", "csv", "md", "json")}

    page = files["html"].decode()
    shown = {html.unescape(one) for one in re.findall(r"<code[^>]*>(.*?)</code>", page, re.S)}
    book = load_workbook(io.BytesIO(files["xlsx"]))
    cells = {
        str(cell) for sheet in book for row in sheet.iter_rows(values_only=True) for cell in row
    }
    rows = {
        cell for row in csv.reader(io.StringIO(files["csv"].decode("utf-8-sig"))) for cell in row
    }
    markdown = files["md"].decode()
    read = json.loads(files["json"])

    assert guide <= shown
    assert guide | own <= cells
    assert own <= rows
    assert all(f"```powershell\n{one}\n```" in markdown for one in guide)
    assert guide == {one["powershell"] for one in read["guide"]} - {None}
    assert own == {step["command"] for one in read["devices"] for step in one["steps"]} - {None}


def _written(document: Document, name: str) -> bytes:
    stream = io.BytesIO()
    FORMATS[name].write(Handoff(document), stream)
    return stream.getvalue()
