"""The PowerShell file: exactly the listed devices, nothing foreign but as a literal."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.model import Customer, Device, Identity, Outcome, TenantId
from partner_tools.outstanding import StepId
from partner_tools.report.handoff import Document, HandoffDevice
from partner_tools.report.powershell import command, is_guid, literal
from partner_tools.report.script import device_lines, write_script
from tests.report import fleet

QUOTES = "'\u2018\u2019\u201a\u201b"
"""What PowerShell takes for a single quote (about_Quoting_Rules, and CharTraits.cs)."""


def evaluated(expression: str) -> str:
    """What PowerShell makes of a literal: a quoted text, or texts and characters joined."""
    rest = expression[1:-1] if expression.startswith("(") else expression
    parts = []
    while rest:
        if rest[0] in QUOTES:
            part, rest = quoted(rest)
        else:
            found = re.match(r"\[char\]0x([0-9a-f]{4})", rest)
            assert found, rest
            part, rest = chr(int(found[1], 16)), rest[found.end() :]
        parts.append(part)
        assert rest == "" or rest.startswith(" + "), rest
        rest = rest.removeprefix(" + ")
    return "".join(parts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def quoted(text: str) -> tuple[str, str]:
    """The value of the single-quoted literal that the text begins with, and what follows it."""
    value, at = "", 1
    while at < len(text):
        if text[at] not in QUOTES:
            value, at = value + text[at], at + 1
        elif at + 1 < len(text) and text[at + 1] in QUOTES:
            value, at = value + text[at], at + 2
        else:
            return value, text[at + 1 :]
    raise AssertionError(f"never closed: {text!r}")


def fields(line: str) -> dict[str, str]:
    """The fields of one device's line, as PowerShell would read them."""
    assert line.startswith("[pscustomobject]@{ ")
    assert line.endswith(" }")
    body, found = line.removeprefix("[pscustomobject]@{ ").removesuffix(" }"), {}
    while body:
        name, _, body = body.partition(" = ")
        value, body = value_of(body)
        found[name] = value
        body = body.removeprefix("; ")
    return found


def value_of(body: str) -> tuple[str, str]:
    """One value and what follows it: a literal, a joined literal, a number or a switch."""
    if body.startswith("'"):
        return quoted(body)
    if body.startswith("("):
        end = next(at for at in closings(body))
        return evaluated(body[: end + 1]), body[end + 1 :]
    value, _, rest = body.partition(";")
    return value, rest.removeprefix(" ")


def closings(body: str) -> Iterator[int]:
    """Where brackets close outside quotes."""
    inside = False
    for at, character in enumerate(body):
        if character in QUOTES:
            inside = not inside
        if character == ")" and not inside:
            yield at


def script(document: Document) -> str:
    """The whole file."""
    stream = io.BytesIO()
    write_script(document, stream)
    return stream.getvalue().decode("ascii")


def listed(document: Document) -> list[dict[str, str]]:
    """Every device that the script knows."""
    return [fields(line) for line in device_lines(document)]


@given(st.text(alphabet=st.characters(exclude_categories=[]) | st.sampled_from(QUOTES + '\n$`"')))
def test_a_literal_is_ascii_of_one_line_whose_value_is_the_text(text: str) -> None:
    written = literal(text)
    assert written.isascii()
    assert written.isprintable()
    assert text.encode("utf-16", "surrogatepass") == evaluated(written).encode(
        "utf-16", "surrogatepass"
    )


@pytest.mark.parametrize("enemy", fleet.HOSTILE)
def test_an_enemy_stays_inside_its_literal(enemy: str) -> None:
    assert enemy == evaluated(literal(enemy))


def test_exactly_the_devices_with_something_to_do_are_listed() -> None:
    document = fleet.handoff(fleet.mixed())
    rows = {one["Row"]: (one["Intune"], one["Autopilot"]) for one in listed(document)}
    assert rows == {
        "2": ("$true", "$false"),
        "3": ("$true", "$false"),
        "6": ("$true", "$false"),
        "8": ("$true", "$false"),
        "9": ("$true", "$false"),
        "11": ("$true", "$false"),
        "12": ("$true", "$true"),
        "14": ("$true", "$false"),
        "16": ("$true", "$true"),
    }


def test_ids_of_the_evidence_are_used_and_serials_where_there_is_none() -> None:
    document = fleet.handoff(fleet.mixed())
    by_row = {one["Row"]: one for one in listed(document)}
    intune = document["devices"][0]["planes"]["intune"]["ids"]["id"]
    assert by_row["2"]["ManagedDeviceId"] == intune
    assert by_row["11"]["ManagedDeviceId"] == ""
    assert by_row["11"]["Serial"] == document["devices"][9]["serialNumber"]


@pytest.mark.parametrize(
    ("row", "why"),
    [("8", "firmware"), ("9", "which record"), ("14", "partner has not finished")],
)
def test_what_is_doubtful_is_refused(row: str, why: str) -> None:
    [device] = [one for one in listed(fleet.handoff(fleet.mixed())) if one["Row"] == row]
    assert why in device["Refusal"]


def test_a_device_without_a_plain_serial_number_is_refused() -> None:
    enemies = [name for name in fleet.HOSTILE if not (name.isascii() and name.isprintable())]
    refusals = {one["Refusal"] for one in listed(fleet.handoff(fleet.hostile(enemies)))}
    assert refusals == {"its serial number holds characters that no serial number has"}
    nameless = HandoffDevice(
        device=Device(row=2, identity=Identity(product_key_id="3300000000002")),
        outcome=Outcome.NOT_FOUND,
    )
    [one] = listed(fleet.handoff([nameless]))
    assert one["Refusal"] == "the handoff has no serial number of it"


@pytest.mark.slow
@given(st.lists(st.text(max_size=12), min_size=1, max_size=3))
def test_no_serial_number_changes_the_shape_of_the_script(names: list[str]) -> None:
    document = fleet.handoff(fleet.hostile(names))
    assert script(document).isascii()
    for line, device in zip(device_lines(document), document["devices"], strict=True):
        assert line.isprintable()
        read = fields(line)
        assert str(device["row"]) == read["Row"]
        if not read["Refusal"]:
            assert device["serialNumber"] == read["Serial"]


def test_the_text_around_the_devices_is_the_same_for_every_customer() -> None:
    enemy = "'; calc #\n\u2019)\n@@DEVICES@@ @@TENANT@@"
    friend = script(fleet.handoff(fleet.mixed()))
    foe = script(
        fleet.handoff(
            fleet.mixed(),
            customer=Customer(tenant_id=TenantId(enemy), domain=enemy, name=enemy),
            run=replace(fleet.RUN, id=enemy),
        )
    )
    differing = [
        (one, other)
        for one, other in zip(friend.splitlines(), foe.splitlines(), strict=True)
        if one != other
    ]
    assert [one.strip().split(" = ")[0] for one, _ in differing] == [
        "[string] $TenantId",
        "$Handoff",
    ]
    assert differing[0][1].strip() == "[string] $TenantId = '',"


def test_it_changes_nothing_unless_told_to() -> None:
    text = script(fleet.handoff(fleet.mixed()))
    assert "SupportsShouldProcess = $true, ConfirmImpact = 'High'" in text
    changes = re.findall(r"Invoke-Graph -Method '(?:DELETE|POST|PATCH|PUT)'.*", text)
    assert len(changes) == 4
    for function in re.findall(r"^function (?:Remove-\S+) \{.*?^\}", text, re.S | re.M):
        asked, done = function.index("Test-MayChange"), function.index("Invoke-Graph")
        assert asked < done
    assert re.search(r"if \(-not \$Apply\) \{\s+Write-Host \('What if", text)
    assert "if ($Apply -and -not $KeysSaved)" in text


def test_steps_stand_in_the_order_of_the_seed() -> None:
    text = script(fleet.handoff(fleet.mixed()))
    order = [
        "$result.Intune = Remove-FromIntune",
        "$result.Autopilot = Remove-FromAutopilot",
        "    Sync-Autopilot\r\n",
        "$left = Wait-UntilGone",
    ]
    places = [text.index(step) for step in order]
    assert places == sorted(places)
    inside = text[text.index("function Remove-FromAutopilot") :]
    assert inside.index("unassignUserFromDevice") < inside.index("-Method 'DELETE'")


def test_every_returned_record_is_compared_with_the_serial_number() -> None:
    text = script(fleet.handoff([]))
    for finder in ("Find-ManagedBySerial", "Find-IdentityBySerial"):
        body = text[text.index(f"function {finder}") :].split("\r\n}\r\n")[0]
        assert "Select-TheOne" in body
    assert "-ceq" in text
    assert "-like '*" not in text


def test_neither_the_directory_nor_active_directory_is_touched() -> None:
    text = script(fleet.handoff(fleet.mixed()))
    assert not re.search(r"v1\.0/devices\b|Remove-MgDevice\b|Remove-ADComputer", text)


def test_it_is_for_every_powershell_since_5_1() -> None:
    text = script(fleet.handoff(fleet.mixed()))
    assert text.startswith("#requires -Version 5.1\r\n")
    assert "\n" not in text.replace("\r\n", "")
    for newer in (r"\?\?", r"\?\.", r" \? ", "&&", r"\|\|", "-Parallel", "ForEach-Object -P"):
        assert not re.search(newer, text), newer


@pytest.mark.parametrize("pair", ["{}", "()", "[]"])
def test_brackets_are_balanced_outside_literals(pair: str) -> None:
    text = script(fleet.handoff(fleet.hostile()))
    code = re.sub(r"<#.*?#>", "", text, flags=re.S)
    bare = re.sub(r"'(?:[^']|'')*'|\"[^\"]*\"", "", code)
    assert bare.count(pair[0]) == bare.count(pair[1])


PWSH = shutil.which("pwsh") or shutil.which("powershell")


@pytest.mark.skipif(PWSH is None, reason="no PowerShell on this machine")
def test_powershell_itself_parses_it(tmp_path: Path) -> None:
    for name, devices in (("mixed", fleet.mixed()), ("hostile", fleet.hostile())):
        path = tmp_path / f"{name}.ps1"
        path.write_bytes(script(fleet.handoff(devices)).encode("ascii"))
        check = (
            "$e = $null; [void][System.Management.Automation.Language.Parser]::ParseFile("
            f"'{path}', [ref]$null, [ref]$e); $e.Count"
        )
        done = subprocess.run(
            [str(PWSH), "-NoProfile", "-Command", check],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.strip() == "0"


GUID = "8f2f5d2c-0d6e-4a35-9c1b-3c2f6d1f7a10"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GUID, True),
        (GUID.upper(), True),
        (None, False),
        ("", False),
        ("00000000-0000-0000-0000-000000000000", False),
        (f"{GUID}\n", False),
        (f"{GUID}'", False),
        (GUID.replace("8", "\u0668"), False),
    ],
)
def test_only_a_guid_is_an_id(text: str | None, expected: bool) -> None:
    assert expected is is_guid(text)


def test_without_an_id_only_a_look_up_is_offered() -> None:
    assert command(StepId.DELETE_FROM_INTUNE, None, None, "O'Brien") == (
        "Get-MgDeviceManagementManagedDevice -Filter 'serialNumber eq ''O''''Brien'''"
    )
    assert command(StepId.DEREGISTER_FROM_AUTOPILOT, None, GUID, "5CD") is None
    assert command(StepId.DELETE_FROM_INTUNE, GUID, None, "5CD") == (
        f"Remove-MgDeviceManagementManagedDevice -ManagedDeviceId '{GUID}'"
    )
