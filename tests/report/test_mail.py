"""The reminder as an e-mail: what a customer is called stays a word in it."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest

from partner_tools.model import Customer, TenantId
from partner_tools.outstanding import Status
from partner_tools.report.mail import Reminder, email
from tests.report.fleet import HOSTILE

AT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize("enemy", [*HOSTILE, "x\r\nBcc: all@evil.example\r\n\r\n<b>"])
def test_no_customer_adds_a_header_a_part_or_a_line(enemy: str) -> None:
    def parsed(name: str) -> tuple[list[str], str, list[str]]:
        reminder = Reminder(
            customer=Customer(tenant_id=TenantId("t"), name=name),
            devices=1,
            statuses={Status.OUTSTANDING: 1},
            steps={},
            since=AT,
            sender=name,
            contact="avery@partner.example",
            attachments=[("handoff.html", b"<p></p>")],
        )
        message = message_from_bytes(email(reminder, AT), policy=default)
        body = message.get_body()
        assert body is not None
        return message.keys(), message.get_content_type(), body.get_content().splitlines()

    headers, kind, lines = parsed(enemy)
    expected = parsed("x")

    assert (headers, kind, len(lines)) == (expected[0], expected[1], len(expected[2]))
