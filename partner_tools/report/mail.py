"""Reminds a customer of what is open: in words, and as an e-mail with the handoffs attached.

The e-mail is a file. Nobody is written to: a person opens it, looks, and sends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from partner_tools.model import Customer
from partner_tools.outstanding import HOMES, Status, StepId
from partner_tools.report.guide import GUIDE, OWNERS

ATTACHED_AT_MOST = 10
"""Handoffs of one e-mail: mail servers refuse what is larger than some 20 MB."""

_SAID = {
    Status.OUTSTANDING: "to do",
    Status.NOT_VERIFIED: "not verified",
    Status.EXPECTED: "expected to happen by themselves",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """What a customer is reminded of. `attachments` are file names with their HTML."""

    customer: Customer | None
    devices: int
    statuses: Mapping[Status, int]
    steps: Mapping[StepId, int]
    since: datetime
    sender: str | None = None
    contact: str | None = None
    attachments: Sequence[tuple[str, bytes]] = ()


def subject(reminder: Reminder) -> str:
    """One line: how many devices of whom."""
    number = f"{reminder.devices} device{'s' if reminder.devices != 1 else ''}"
    return f"Windows Autopilot: {number} of {name_of(reminder.customer)} with steps left to do"


def text(reminder: Reminder) -> str:
    """The reminder in plain words; foreign text stays on its line."""
    counts = ", ".join(
        f"{reminder.statuses[status]} {said}"
        for status, said in _SAID.items()
        if reminder.statuses.get(status)
    )
    steps = sorted(reminder.steps, key=list(StepId).index)
    lines = [
        f"{subject(reminder)}.",
        "",
        f"The oldest has been waiting since {reminder.since:%Y-%m-%d}. Steps: {counts or 'none'}.",
        "",
        "A partner's removal ends the Autopilot registration only. What is left:",
        *(f"  - {GUIDE[step].title}: {reminder.steps[step]} ({_who(step)})" for step in steps),
        "",
        "The attached handoff says how each step is done, in which order, and for which device.",
        *([f"Questions: {_line(reminder.contact)}"] if reminder.contact else []),
        *([_line(reminder.sender)] if reminder.sender else []),
    ]
    return "\n".join(lines)


def email(reminder: Reminder, at: datetime) -> bytes:
    """An unsent e-mail without a recipient, as mail programs open it for editing.

    `X-Unsent` is what Outlook goes by; others open any message file as a draft.
    """
    message = EmailMessage(policy=SMTP)
    message["Subject"] = subject(reminder)
    message["Date"] = format_datetime(at)
    message["X-Unsent"] = "1"
    sender = _address(reminder)
    if sender is not None:
        message["From"] = sender
    message.set_content(text(reminder))
    for name, content in reminder.attachments[:ATTACHED_AT_MOST]:
        message.add_attachment(content, maintype="text", subtype="html", filename=name)
    return message.as_bytes()


def name_of(customer: Customer | None) -> str:
    """The customer as a person knows it."""
    if customer is None:
        return "an unknown customer"
    return _line(customer.name or customer.domain or customer.tenant_id)


def _who(step: StepId) -> str:
    return OWNERS[HOMES[step][1].value]


def _address(reminder: Reminder) -> Address | None:
    """The sender, where the contact is an e-mail address."""
    address = parseaddr(reminder.contact or "")[1]
    if "@" not in address:
        return None
    return Address(display_name=_line(reminder.sender or ""), addr_spec=address)


def _line(text_: str) -> str:
    """Foreign text without what could begin another line, or another header."""
    return "".join(each if each.isprintable() else " " for each in text_)
