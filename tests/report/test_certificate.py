"""The certificate as a value and as a page: what it may call itself, and what it shows."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from typing import Any

import pytest

from partner_tools.intake.schema import checker
from partner_tools.json_forms import digest
from partner_tools.model import Outcome
from partner_tools.outstanding.locks import LockId
from partner_tools.outstanding.types import Plane, Status, Subject
from partner_tools.report.certificate import (
    RELEASED,
    STATUS,
    build_certificate,
    contradictions,
    open_locks,
    unsigned,
)
from partner_tools.report.guide import CERTIFICATE
from partner_tools.report.handoff import HandoffDevice
from partner_tools.report.page import certificate_page, checking_page
from tests.report import fleet
from tests.report.test_page import Reader

SIGNATURES = [
    {
        "key": f"ed25519:{43 * 'A'}=",
        "account": None,
        "signedAt": "2026-11-23T16:40:00+00:00",
        "signature": f"ed25519:{86 * 'A'}==",
    }
]


def released(row: int) -> HandoffDevice:
    """A device of which everything was seen, and that left."""
    unit = fleet.Unit(fleet.Ids(row), row, *fleet.MAKERS[0])
    return unit.handoff(
        Outcome.REMOVED,
        unit.intune(fleet.BEFORE, deviceFirmwareConfigurationInterfaceManaged=False),
        fleet.GONE,
        fleet.NO_INTUNE,
        fleet.NO_ENTRA,
        *fleet.NO_KEYS,
        fleet.absent(Plane.INTUNE, fleet.LOOKED, subject=Subject.CORPORATE_IDENTIFIER),
    )


def certificate(*devices: HandoffDevice) -> dict[str, Any]:
    document = build_certificate(
        fleet.RUN, fleet.CUSTOMER, fleet.PARTNER, devices, fleet.NOW, version=fleet.VERSION
    )
    return {**document, "signatures": SIGNATURES}


def page(document: dict[str, Any]) -> str:
    return " ".join(" ".join(Reader(certificate_page(document).decode()).words).split())


OPEN = fleet.mixed()[0]


@pytest.mark.parametrize(
    ("devices", "kind"),
    [
        ([released(2)], RELEASED),
        ([released(2), released(3)], RELEASED),
        ([released(2), OPEN], STATUS),
        ([OPEN], STATUS),
        ([], STATUS),
        ([released(2), replace(released(2), outcome=Outcome.DUPLICATE)], RELEASED),
        ([replace(released(2), rule="hold-list")], STATUS),
        ([replace(released(2), evidence=())], STATUS),
    ],
)
def test_it_is_called_a_release_certificate_only_where_all_of_it_is_released(
    devices: list[HandoffDevice], kind: str
) -> None:
    document = certificate(*devices)
    assert document["kind"] == kind
    assert list(contradictions(document)) == []
    assert document["digest"] == digest(unsigned(document))
    assert checker("certificate").violations(document) == ()


@pytest.mark.parametrize("devices", [fleet.mixed(), fleet.unseen(), fleet.hostile()])
def test_every_fleet_keeps_the_schema_and_lists_every_open_lock(
    devices: list[HandoffDevice],
) -> None:
    document = certificate(*devices)
    assert checker("certificate").violations(document) == ()
    shown = page(document)
    for device in document["devices"]:
        assert [one["lock"] for one in device["locks"]] == [one.value for one in LockId]
        assert device["released"] or open_locks(device) or device["obstacles"]
        for one in open_locks(device):
            assert CERTIFICATE["locks"][one["lock"]] in shown
    assert "may be set up by a new owner. Every lock" not in shown


def test_whatever_a_signer_claims_against_its_own_locks_is_named() -> None:
    document = certificate(released(2), OPEN)
    document["kind"] = RELEASED
    assert len(list(contradictions(document))) == 1
    document["devices"][1]["released"] = True
    assert len(list(contradictions(document))) == 1
    document["devices"][0]["locks"][0]["status"] = "not-applicable"
    assert len(list(contradictions(document))) == 2


def test_the_page_answers_what_a_stranger_asks() -> None:
    shown = page(certificate(released(2)))
    for answer in (
        "This device may be set up by a new owner.",
        "Removed by Fabrikam Device Services",
        "23 November 2026, 09:12 UTC",
        "What was checked",
        "Device association (firmware)",
        "undocumented beta",
        "What was not checked",
        "Absolute",
        "whether the data on the device was erased",
        "verify-certificate.html",
    ):
        assert answer in shown


def test_pages_load_nothing_and_hostile_names_stay_text() -> None:
    for content in (certificate_page(certificate(*fleet.hostile())), checking_page()):
        text = content.decode()
        assert "default-src 'none'" in html.unescape(text)
        assert "<script>alert" not in text
        assert "<img" not in text
    assert json.dumps(CERTIFICATE["locks"]["intune"])[1:-1] in checking_page().decode()


def test_every_lock_status_and_source_has_words() -> None:
    assert set(CERTIFICATE["locks"]) == set(CERTIFICATE["short"]) == {one.value for one in LockId}
    assert set(CERTIFICATE["statuses"]) == {one.value for one in Status}
    sources = checker("certificate")._schema["$defs"]["device"]["properties"]["locks"]["items"]
    assert set(CERTIFICATE["sources"]) == set(sources["properties"]["source"]["enum"]) - {None}
    assert set(CERTIFICATE["statuses"]) == set(sources["properties"]["status"]["enum"])
