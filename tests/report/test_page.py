"""The page as a file: complete without script, sealed by its policy, no foreign markup."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_tools.model import Customer, TenantId
from partner_tools.report.handoff import Document, Partner
from partner_tools.report.page import (
    STATIC_DEVICES,
    Handoff,
    headline,
    moment,
    packed,
    remains,
    view,
    write_checklist,
)
from tests.report import fleet


class Reader(HTMLParser):
    """What a browser finds in a page: elements, their attributes, texts, scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.raw:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside[-1]].append(data)
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def html(document: Document) -> str:
    """The page as text."""
    return Handoff(document).page.decode("utf-8")


def read(document: Document) -> Reader:
    """The page as a browser reads it."""
    return Reader(html(document))


def data_of(reader: Reader) -> Any:
    """What the page's script reads."""
    return json.loads(reader.raw["script"][0])


MIXED = fleet.handoff(fleet.mixed())
SHAPE = ("a", "div", "bdi", "span", "td", "th", "dt", "dd", "code", "p", "li")


def test_the_first_screen_says_what_was_done_and_what_is_left() -> None:
    text = read(MIXED).text
    outcomes = MIXED["summary"]["outcomes"]
    removed = outcomes["removed"] + outcomes.get("absent", 0)
    distinct = len(MIXED["devices"]) - outcomes["duplicate"]
    assert (
        f"{removed} of {distinct} devices were removed from Windows Autopilot. The rest is in your"
        " hands." in text
    )
    assert "Nothing was changed in Intune, Entra ID or Active Directory: only you can" in text
    assert "The check failed for Intune (1 device)" in text
    for owner in ("Intune administrator", "Entra ID administrator", "Partner"):
        assert owner in text


def test_it_says_first_that_nobody_looked() -> None:
    text = read(fleet.handoff(fleet.unseen())).text
    assert "Your tenant was not checked." in text.split("What to do, in this order")[0]


@pytest.mark.parametrize(
    ("removed", "devices", "expected"),
    [
        (0, 0, "This run holds no devices."),
        (1, 1, "The device was removed from Windows Autopilot."),
        (0, 1, "The device was not removed from Windows Autopilot."),
        (2, 2, "All 2 devices were removed from Windows Autopilot."),
        (0, 2, "None of the 2 devices was removed from Windows Autopilot."),
        (1, 2, "1 of 2 devices was removed from Windows Autopilot."),
        (1200, 2400, "1,200 of 2,400 devices were removed from Windows Autopilot."),
    ],
)
def test_headlines(removed: int, devices: int, expected: str) -> None:
    assert expected == headline(removed, devices)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ({"outstanding": 1, "not-verified": 0, "expected": 0}, "The rest is in your hands."),
        ({"outstanding": 0, "not-verified": 1, "expected": 9}, "The rest is in your hands."),
        ({"outstanding": 0, "not-verified": 0, "expected": 1}, "The rest should happen by itself."),
        ({"outstanding": 0, "not-verified": 0, "expected": 0}, "Nothing is left to do."),
    ],
)
def test_what_remains(steps: dict[str, int], expected: str) -> None:
    assert expected == remains(steps)


def test_without_script_every_device_and_step_is_there() -> None:
    text = read(MIXED).text
    titles = {one["id"]: one["title"] for one in MIXED["guide"]}
    for device in MIXED["devices"]:
        assert device["serialNumber"] in text
        for name in ("requestId", "correlationId"):
            assert device[name] is None or device[name] in text
        for step in device["steps"]:
            assert titles[step["id"]].replace("'", "\u2019") in text
            assert step["command"] is None or " ".join(step["command"].split()) in text


def test_the_page_loads_nothing() -> None:
    reader = read(MIXED)
    tags = {tag for tag, _ in reader.elements}
    assert not tags & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "video",
        "audio",
        "base",
        "source",
    }
    for _, attributes in reader.elements:
        assert not set(attributes) & {"src", "srcset", "action", "background", "ping", "style"}
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import", "".join(reader.raw["style"]))
    script = reader.raw["script"][-1]
    assert not re.search(r"fetch|XMLHttpRequest|import\(|eval|innerHTML|insertAdjacent", script)


def test_the_policy_allows_this_style_and_this_script_alone() -> None:
    reader = read(MIXED)
    [policy] = [
        one["content"] or ""
        for one in reader.all("meta")
        if one.get("http-equiv") == "Content-Security-Policy"
    ]
    for kind, content in (
        ("style", reader.raw["style"][0]),
        ("script", reader.raw["script"][1]),
    ):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def enemy_document(name: str) -> Document:
    """A handoff in which everything foreign is this name."""
    return fleet.handoff(
        fleet.hostile([name]),
        customer=Customer(tenant_id=TenantId(name), domain=name, name=name),
        partner=Partner(tenant_id=name, name=name, contact=name),
    )


def enemy_page(name: str) -> Reader:
    """Its page."""
    return read(enemy_document(name))


def enemy_checklist(name: str) -> Reader:
    """Its page for a repair depot."""
    stream = io.BytesIO()
    write_checklist(enemy_document(name), stream)
    return Reader(stream.getvalue().decode("utf-8"))


def skeleton(reader: Reader) -> list[tuple[str, tuple[str, ...]]]:
    """The page's elements without their values."""
    return [(tag, tuple(sorted(attributes))) for tag, attributes in reader.elements]


@pytest.mark.slow
@pytest.mark.parametrize("enemy", [name for name in fleet.HOSTILE if len(name) < 200])
def test_foreign_text_never_makes_an_element(enemy: str) -> None:
    reader = enemy_page(enemy)
    assert skeleton(enemy_page("A1")) == skeleton(reader)
    assert data_of(reader)["devices"][0][1] == enemy


@pytest.mark.slow
def test_foreign_text_never_makes_an_element_of_the_checklist() -> None:
    harmless = skeleton(enemy_checklist("A1"))
    for enemy in fleet.HOSTILE:
        assert skeleton(enemy_checklist(enemy)) == harmless


@pytest.mark.slow
@settings(max_examples=12)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("<>&\"'/-!")))
def test_no_serial_number_changes_the_page_or_its_data(name: str) -> None:
    document = fleet.handoff(fleet.hostile([name or "-"]))
    reader = read(document)
    assert data_of(reader)["devices"][0][1] == (name or "-")
    assert len(reader.raw["script"]) == 2


def test_what_hides_or_turns_text_is_spelled_out() -> None:
    text = enemy_page("\u202egnp.exe\u200b").text
    assert "⟨U+202E⟩gnp.exe⟨U+200B⟩" in text
    assert "\u202e" not in text


def test_the_script_reads_what_the_document_says() -> None:
    data = packed(Handoff(MIXED))
    assert json.loads(json.dumps(data)) == data
    for device, expected in zip(data["devices"], MIXED["devices"], strict=True):
        row, serial, _, name, user, _, request, correlation, shared, steps, commands, planes, _ = (
            device
        )
        assert (name, user) == (expected["name"], expected["user"])
        assert (row, serial) == (expected["row"], expected["serialNumber"])
        assert (request, correlation) == (expected["requestId"], expected["correlationId"])
        assert data["pool"][shared]["outcome"] == expected["outcome"]
        assert [
            {**step, "command": command}
            for step, command in zip(data["pool"][steps], commands, strict=True)
        ] == expected["steps"]
        assert [data["pool"][common]["status"] for common, _ in planes] == [
            plane["status"] for plane in expected["planes"].values()
        ]


@pytest.mark.slow
def test_many_devices_stand_in_the_data_and_only_exceptions_in_the_markup() -> None:
    document = fleet.handoff(fleet.large(STATIC_DEVICES + 200))
    shown = view(document)
    assert not shown["complete"]
    assert 0 < len(shown["listed"]) < STATIC_DEVICES
    outcomes = [one["outcome"] for one in document["devices"]]
    exceptional = sum(outcome != "removed" for outcome in outcomes)
    assert sum(one["outcome"] != "removed" for one in shown["listed"]) == exceptional
    reader = read(document)
    assert len(data_of(reader)["devices"]) == STATIC_DEVICES + 200
    assert "All of them are in the workbook and in the CSV file beside this page" in reader.text


def test_a_page_for_nobody_and_nothing() -> None:
    text = read(fleet.handoff([], customer=None, partner=Partner())).text
    assert "This run holds no devices. Nothing is left to do." in text
    assert "Nothing is left to do." in text


def test_times_are_written_out() -> None:
    assert moment("2026-11-23T09:05:00Z") == "23 November 2026, 09:05 UTC"
    assert moment(None) == ""


def test_headings_descend_one_by_one_and_ids_are_unique() -> None:
    reader = read(MIXED)
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
