"""The PowerShell file: exactly the listed devices, nothing foreign but as a literal."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.model import Customer, Device, Identity, Outcome, TenantId
from partner_tools.outstanding.types import StepId
from partner_tools.report.guide import command, is_real_guid, literal
from partner_tools.report.handoff import Document, HandoffDevice
from partner_tools.report.page import Handoff
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
    """One value and what follows it: a literal, a joined literal, a list, a number or a switch."""
    if body.startswith("'"):
        return quoted(body)
    if body.startswith("@("):
        list_, _, rest = body.removeprefix("@(").partition(")")
        return list_, rest.removeprefix("; ") if rest.startswith("; ") else rest
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
    write_script(Handoff(document), stream)
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


def test_every_device_is_listed_with_what_cleanup_would_decide_by() -> None:
    document = fleet.handoff(fleet.mixed())
    by_row = {one["Row"]: one for one in listed(document)}
    assert len(by_row) == len(document["devices"])
    assert {row: one["Rule"] for row, one in by_row.items() if one["Rule"]} == {
        "17": "duplicate",
        "18": "hold-list",
    }
    assert {row for row, one in by_row.items() if one["Firmware"] == "$true"} == {"8"}
    assert {row for row, one in by_row.items() if one["PartnersTurn"] == "$true"} == {"14"}
    assert by_row["2"]["SettlesUntil"] == "2026-11-23T11:12:00Z"
    assert by_row["12"]["SettlesUntil"] == ""


def test_ids_of_the_evidence_are_used() -> None:
    document = fleet.handoff(fleet.mixed())
    by_row = {one["Row"]: one for one in listed(document)}
    intune = document["devices"][0]["planes"]["intune"]["ids"]["id"]
    assert by_row["2"]["ManagedIds"] == f"'{intune}'"
    assert by_row["9"]["ManagedIds"].count(", ") == 1, "both of the doubled one"
    assert by_row["10"]["ManagedGone"] == "$true"
    assert by_row["11"]["Serial"] == document["devices"][9]["serialNumber"]


def test_a_device_without_a_plain_serial_number_is_refused() -> None:
    enemies = [name for name in fleet.HOSTILE if not name.strip().isprintable()]
    refusals = {one["Rule"] for one in listed(fleet.handoff(fleet.hostile(enemies)))}
    assert refusals == {"odd-serial-number"}
    nameless = HandoffDevice(
        device=Device(row=2, identity=Identity(product_key_id="3300000000002")),
        outcome=Outcome.NOT_FOUND,
    )
    [one] = listed(fleet.handoff([nameless]))
    assert one["Rule"] == "no-serial-number"


@pytest.mark.slow
@given(st.lists(st.text(max_size=12), min_size=1, max_size=3))
def test_no_serial_number_changes_the_shape_of_the_script(names: list[str]) -> None:
    document = fleet.handoff(fleet.hostile(names))
    assert script(document).isascii()
    for line, device in zip(device_lines(document), document["devices"], strict=True):
        assert line.isprintable()
        read = fields(line)
        assert str(device["row"]) == read["Row"]
        if not read["Rule"]:
            assert device["serialNumber"].strip() == read["Serial"]


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
        "$HandoffName",
        "$HandoffRun",
        "$Answers",
    ]
    assert differing[0][1].strip() == "[string] $TenantId = '',"


def test_neither_the_directory_nor_active_directory_is_touched() -> None:
    text = script(fleet.handoff(fleet.mixed()))
    assert not re.search(r"Remove-MgDevice\b|Remove-AD", text)
    asked = re.findall(r"([\w-]+) -Uri \(?\$Directory\b", text)
    assert set(asked) == {"Get-EveryPage", "Get-OneOrNothing"}, "read, and nothing else"
    assert len(asked) == text.count("$Directory ") - 1
    assert text.count("v1.0/devices") == 1


def test_lines_end_as_windows_expects_and_every_place_is_filled() -> None:
    text = script(fleet.handoff(fleet.mixed()))
    assert "\n" not in text.replace("\r\n", "")
    assert not re.search(r"@@[A-Z]+@@", text)


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
    assert expected is is_real_guid(text)


def test_without_an_id_only_a_look_up_is_offered() -> None:
    assert command(StepId.DELETE_FROM_INTUNE, None, None, "O'Brien") == (
        "Get-MgDeviceManagementManagedDevice -Filter 'serialNumber eq ''O''''Brien'''"
    )
    assert command(StepId.DEREGISTER_FROM_AUTOPILOT, None, GUID, "5CD") is None
    assert command(StepId.DELETE_FROM_INTUNE, GUID, None, "5CD") == (
        f"Remove-MgDeviceManagementManagedDevice -ManagedDeviceId '{GUID}'"
    )
