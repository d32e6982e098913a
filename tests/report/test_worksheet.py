"""The worksheet: at most 40 devices a page on paper, and nothing that is not to be removed."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path

import pytest

from partner_tools.model import Customer, Device, Identity, Outcome, TenantId
from partner_tools.outstanding.types import Flag
from partner_tools.report.handoff import HOLD_RULE, HandoffDevice, RunFacts, build_handoff
from partner_tools.report.worksheet import held, lines, worksheet_csv, write_worksheet
from tests.browser import opened_browser
from tests.report import fleet

AT = datetime(2026, 11, 23, 16, 40, tzinfo=UTC)


def device(row: int, serial: str, outcome: Outcome = Outcome.ASSESSED) -> HandoffDevice:
    return HandoffDevice(
        device=Device(
            row=row,
            identity=Identity(
                serial_number=serial,
                manufacturer="Hewlett Packard Enterprise Company",
                model="EliteBook 840 14 inch G10 Notebook PC with a long name",
            ),
        ),
        outcome=outcome,
        rule=HOLD_RULE if outcome is Outcome.REFUSED else None,
        flags=frozenset({Flag.BY_HAND}),
    )


def document(*devices: HandoffDevice) -> dict[str, object]:
    run = RunFacts(
        id="20261123-090000-k3f9",
        channel="assessment",
        batch_id="b",
        reason=fleet.RUN.reason,
        started_at=AT,
        by_hand=True,
    )
    contoso = Customer(tenant_id=TenantId("8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"))
    return build_handoff(run, contoso, fleet.PARTNER, devices, AT, version=fleet.VERSION)


def page(shown: dict[str, object]) -> str:
    stream = io.BytesIO()
    write_worksheet(shown, stream)
    return stream.getvalue().decode()


def test_a_sheet_has_at_most_40_devices() -> None:
    text = page(document(*(device(row, f"5CD34{row:05}") for row in range(1, 96))))
    sheets = text.split('<section class="sheet">')[1:]

    assert [sheet.count('class="box"') for sheet in sheets] == [40, 40, 15]
    assert all(f"Page {number} of 3." in sheet for number, sheet in enumerate(sheets, start=1))


@pytest.mark.slow
@pytest.mark.browser
def test_each_sheet_is_one_page_of_paper(tmp_path: Path) -> None:
    sheet = tmp_path / "worksheet.html"
    longest = ["VMware-12 3e 45 e9 95 fa 07 d3-30", *(f"5CD34{row:05}" for row in range(1, 95))]
    sheet.write_text(page(document(*(device(2, one) for one in longest))), encoding="utf-8")
    with opened_browser() as browser:
        browser.get(sheet.as_uri())
        printed = b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 3


def test_what_is_held_stays_and_what_is_listed_twice_is_there_once() -> None:
    shown = document(
        device(1, "GOES1"),
        device(2, "STAYS1", Outcome.REFUSED),
        device(3, "GOES1", Outcome.DUPLICATE),
    )
    assert [line.serial for line in lines(shown)] == ["GOES1"]
    assert held(shown) == ["STAYS1"]
    assert "leave as they are:</strong> <bdi>STAYS1</bdi>" in page(shown)
    assert "STAYS1" not in worksheet_csv(shown)


def test_foreign_text_is_neither_markup_nor_a_formula() -> None:
    shown = document(device(1, "<b>=1+1\u202e"))
    assert "<b>" not in page(shown)
    assert "⟨U+202E⟩" in page(shown)
    assert ",=1" not in worksheet_csv(document(device(1, "=1+1")))


def test_an_empty_worksheet_says_so() -> None:
    assert "No registration is left to remove." in page(document(device(1, "A", Outcome.REFUSED)))
