"""The reminder as an e-mail: what a customer is called stays a word in it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, date, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from partner_tools.model import Customer, TenantId
from partner_tools.outstanding.types import Status
from partner_tools.report.guide import duration
from partner_tools.report.handoff import Document, HandoffDevice, build_handoff
from partner_tools.report.page import Handoff
from partner_tools.report.texts import (
    NAMED_IN_TICKET,
    FollowUp,
    cover_text,
    email,
    owners,
    tickets,
    write_cover,
    write_tickets,
)
from tests.report import fleet
from tests.report.fleet import HOSTILE

AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize("enemy", [*HOSTILE, "x\r\nBcc: all@evil.example\r\n\r\n<b>"])
def test_no_customer_adds_a_header_a_part_or_a_line(enemy: str) -> None:
    def parsed(name: str) -> tuple[list[str], str, list[str]]:
        left = FollowUp(
            customer=Customer(tenant_id=TenantId("t"), name=name),
            devices=1,
            statuses={Status.OUTSTANDING: 1},
            steps={},
            since=AT,
        )
        partner = {"name": name, "contact": "avery@partner.example"}
        attachments = [("handoff.html", b"<p></p>")]
        message = message_from_bytes(email(left, partner, AT, attachments), policy=default)
        body = message.get_body()
        assert body is not None
        return message.keys(), message.get_content_type(), body.get_content().splitlines()

    headers, kind, lines = parsed(enemy)
    expected = parsed("x")

    assert (headers, kind, len(lines)) == (expected[0], expected[1], len(expected[2]))


DUE = date(2026, 12, 7)


def handed(devices: list[HandoffDevice], name: str | None = None) -> Document:
    """A handoff with a due day, to a customer of this name."""
    customer = fleet.CUSTOMER if name is None else replace(fleet.CUSTOMER, name=name)
    return build_handoff(
        fleet.RUN,
        customer,
        fleet.PARTNER,
        devices,
        fleet.NOW,
        version=fleet.VERSION,
        due_on=DUE,
    )


def test_the_cover_greets_names_three_steps_the_day_and_whom_to_ask() -> None:
    document = handed(list(fleet.large(300)))
    lines = cover_text(document).splitlines()
    (keys,) = (one for one in document["guide"] if one["id"] == "back-up-keys")

    assert lines[0] == "Dear Contoso Pharmaceuticals team,"
    first, *others = [line for line in lines if line.startswith("  ")]
    assert first == (
        f"  {keys['order']}. Save recovery keys and local administrator passwords"
        f" (Entra ID administrator, {keys['open']} devices)"
    )
    assert len(others) == 2
    assert "Please finish by 7 December 2026." in lines
    assert f"Questions: {fleet.PARTNER.contact}" in lines
    assert lines[-1] == fleet.PARTNER.name
    assert any("by hand" in line and "with the script" in line for line in lines)


def test_a_cover_with_nothing_left_asks_for_nothing() -> None:
    clean = [fleet.mixed()[8]]
    text = cover_text(handed(clean))
    assert "Nothing is left for you to do." in text
    assert "finish by" not in text


def test_the_cover_is_a_draft_with_the_page_attached() -> None:
    stream = io.BytesIO()
    write_cover(Handoff(handed(fleet.mixed())), stream)
    message = message_from_bytes(stream.getvalue(), policy=default)
    (page,) = message.iter_attachments()

    assert (message["X-Unsent"], message["To"]) == ("1", None)
    assert message["From"].addresses[0].addr_spec == fleet.PARTNER.contact
    assert page.get_filename() == "handoff-contoso.com-20261123-090000-k3f9.html"


@pytest.mark.parametrize("enemy", [*HOSTILE, "x\r\nBcc: all@evil.example\r\n\r\n<b>"])
def test_no_name_adds_a_header_or_a_line_to_the_cover(enemy: str) -> None:
    def shape(name: str) -> tuple[list[str], int]:
        stream = io.BytesIO()
        write_cover(Handoff(handed(fleet.unseen(count=2), name)), stream)
        message = message_from_bytes(stream.getvalue(), policy=default)
        body = message.get_body()
        assert body is not None
        return message.keys(), len(body.get_content().splitlines())

    assert shape(enemy) == shape("x")


def test_every_owner_has_a_ticket_with_its_steps_and_devices_alone() -> None:
    document = handed(fleet.mixed())
    stream = io.BytesIO()
    write_tickets(document, stream)
    heading, *rows = csv.reader(io.StringIO(stream.getvalue().decode("utf-8-sig")))

    assert heading[:4] == ["Summary", "Description", "Assignee role", "Due date"]
    assert len(rows) == len(owners(document)) == 5
    assert {row[3] for row in rows} == {"2026-12-07"}
    text = dict(tickets(document))["active-directory-administrator"]
    assert ". Hybrid joined devices: delete the computer object in Active Directory" in text
    assert "Delete the device from Intune" not in text
    assert text.count("- [ ] ") == next(
        one["open"] for one in document["guide"] if one["id"] == "delete-computer-object"
    )


def test_a_ticket_lists_so_many_devices_and_says_where_the_others_are() -> None:
    text = dict(tickets(handed(list(fleet.large(400)))))["intune-administrator"]
    first = text.split("\n## ")[1]
    assert first.count("- [ ] ") == NAMED_IN_TICKET
    assert "more in the workbook" in first


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        (0, "about 1 minute"),
        (40, "about 40 minutes"),
        (90, "about 2 hours"),
        (1700, "about 28 hours"),
    ],
)
def test_durations_are_rounded(minutes: int, said: str) -> None:
    assert duration(minutes) == said
