"""The messages for a handoff: the cover e-mail, tickets for each owner, and reminders.

E-mails are files. Nothing is sent: a person opens the file, looks, and sends it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any, BinaryIO

from partner_tools.model import Customer
from partner_tools.outstanding import HOMES, Status, StepId
from partner_tools.report.guide import GUIDE, OWNERS, by_hand, day_text, effort, file_name
from partner_tools.report.handoff import OPEN, Document

ATTACHED_AT_MOST = 10
"""Handoffs of one e-mail: mail servers refuse what is larger than some 20 MB."""

_SAID = {
    Status.OUTSTANDING: "to do",
    Status.NOT_VERIFIED: "not verified",
    Status.EXPECTED: "expected to happen by themselves",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminder:
    """A reminder to a customer. `attachments` are file names with their HTML."""

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
    sender = _address(reminder.sender, reminder.contact)
    attachments = reminder.attachments[:ATTACHED_AT_MOST]
    return _draft(subject(reminder), text(reminder), at, sender, attachments)


def _draft(
    title: str,
    body: str,
    at: datetime,
    sender: Address | None,
    attachments: Iterable[tuple[str, bytes]],
) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = title
    message["Date"] = format_datetime(at)
    message["X-Unsent"] = "1"
    if sender is not None:
        message["From"] = sender
    message.set_content(body)
    for name, content in attachments:
        message.add_attachment(content, maintype="text", subtype="html", filename=name)
    return message.as_bytes()


def name_of(customer: Customer | None) -> str:
    """The customer as a person knows it."""
    if customer is None:
        return "an unknown customer"
    return _line(customer.name or customer.domain or customer.tenant_id)


def _who(step: StepId) -> str:
    return OWNERS[HOMES[step][1].value]


def _address(name: str | None, contact: str | None) -> Address | None:
    """The sender, where the contact is an e-mail address."""
    address = parseaddr(contact or "")[1]
    if "@" not in address:
        return None
    return Address(display_name=_line(name or ""), addr_spec=address)


def _line(text_: str) -> str:
    """Foreign text without what could begin another line, or another header."""
    return "".join(each if each.isprintable() else " " for each in text_)


# --- the cover of a handoff -----------------------------------------------------------------------

FIRST_STEPS = 3
"""How many of the steps the cover e-mail names."""
NAMED_IN_TICKET = 200
"""How many devices a ticket lists: most service desks cut a description at some 30,000 letters."""


def write_cover(document: Document, stream: BinaryIO) -> None:
    """The cover e-mail as an unsent message without a recipient, the page attached."""
    from partner_tools.report.page import write_page

    page = io.BytesIO()
    write_page(document, page)
    partner = document["partner"]
    at = datetime.fromisoformat(document["generatedAt"])
    sender = _address(partner["name"], partner["contact"])
    attached = [(f"{file_name(document)}.html", page.getvalue())]
    stream.write(_draft(cover_subject(document), cover_text(document), at, sender, attached))


def write_cover_text(document: Document, stream: BinaryIO) -> None:
    """The same in plain words, to paste."""
    stream.write(f"{cover_subject(document)}\n\n{cover_text(document)}\n".encode())


def cover_subject(document: Document) -> str:
    """Write the subject: the completed part, and when the rest is due."""
    number = document["summary"]["devices"]
    devices = f"{number:,} device{'s' if number != 1 else ''}"
    due = f", please finish by {day_text(document['dueOn'])}" if document.get("dueOn") else ""
    return f"Windows Autopilot: {devices} of {_recipient(document)}{due}"


def cover_text(document: Document) -> str:
    """Salutation, what was done, what to do first, until when, and whom to ask."""
    from partner_tools.report.page import headline_of

    partner, start, run = document["partner"], document.get("start"), document["run"]
    theirs = [
        one
        for one in document["guide"]
        if start and one["open"] and one["owner"] != "partner" and one["order"] >= start["order"]
    ]
    lines = [f"Dear {_recipient(document)} team,", "", headline_of(document), *by_hand(document)]
    if start is None:
        lines += ["Nothing is left for you to do. The attached page says what was checked."]
    else:
        lines += [
            _PARTS["by-hand" if run.get("byHand") else run["channel"]],
            "",
            "Please do these first:",
            *(
                f"  {one['order']}. {one['title']} ({OWNERS[one['owner']]},"
                f" {one['open']:,} device{'s' if one['open'] != 1 else ''})"
                for one in theirs[:FIRST_STEPS]
            ),
            "",
            f"The work takes {effort(start['minutes'])}. The attached page explains every step and"
            " lists every device.",
        ]
        if document.get("dueOn"):
            lines += [f"Please finish by {day_text(document['dueOn'])}."]
        lines += [
            "When you are done, send us the results file (handoff-result-….json) that the script"
            " writes, or save one from the page. It never contains a key or a password.",
        ]
    lines += ["", f"Questions: {_line(partner['contact'])}"] if partner["contact"] else []
    lines += ["", "Kind regards", *([_line(partner["name"])] if partner["name"] else [])]
    return "\n".join(lines)


_YOURS = (
    " ends the registration only. The records in Intune, Microsoft Entra ID and Active Directory"
    " are yours to clear."
)
_PARTS = {
    "by-hand": f"We remove the registrations on Partner Center's pages. That{_YOURS}",
    "assessment": "Nothing was changed. Every record of these devices is yours to clear.",
    **dict.fromkeys(("partner-center", "oem-direct"), f"That{_YOURS}"),
}
"""Who does what, by the way in which the registrations are removed."""


def _recipient(document: Document) -> str:
    customer = document["customer"]
    return _line(customer["name"] or customer["domain"] or customer["tenantId"] or "your")


# --- tickets --------------------------------------------------------------------------------------


def owners(document: Document) -> list[str]:
    """List the owners of steps, the customer's people in the order of their first step."""
    theirs = [one["owner"] for one in document["guide"] if one["open"]]
    return [owner for owner in dict.fromkeys(theirs) if owner != "partner"]


def write_tickets(document: Document, stream: BinaryIO) -> None:
    """One ticket for each owner as CSV, as service desks import it; the text is Markdown."""
    from partner_tools.report.tables import inert

    text_ = io.TextIOWrapper(stream, "utf-8-sig", errors="backslashreplace", newline="")
    writer = csv.writer(text_, lineterminator="\r\n")
    writer.writerow(["Summary", "Description", "Assignee role", "Due date", "Devices", "Reference"])
    for owner in owners(document):
        row = (
            ticket_title(document, owner),
            ticket(document, owner),
            OWNERS[owner],
            document.get("dueOn") or "",
            document["summary"]["owners"].get(owner, {}).get("devices", 0),
            document["run"]["id"],
        )
        writer.writerow([inert(cell) for cell in row])
    text_.flush()
    text_.detach()


def ticket_title(document: Document, owner: str) -> str:
    """`Clear 300 devices (Intune administrator), Contoso`."""
    number = document["summary"]["owners"].get(owner, {}).get("devices", 0)
    what = f"{number:,} device{'s' if number != 1 else ''} left Windows Autopilot"
    return f"{what}: steps of the {OWNERS[owner]} ({_recipient(document)})"


def ticket(document: Document, owner: str) -> str:
    """One owner's part as Markdown: its steps in order, with the devices of each."""
    return "\n".join(_ticket_lines(document, owner))


def _ticket_lines(document: Document, owner: str) -> Iterator[str]:
    from partner_tools.report.markdown import block, code

    partner, due = document["partner"], document.get("dueOn")
    yield f"# {code(ticket_title(document, owner))}"
    yield ""
    asked = ", ".join(code(one) for one in (partner["name"], partner["contact"]) if one)
    yield f"Asked for by {asked or 'the partner'}." + (f" Due {day_text(due)}." if due else "")
    for chapter in document["guide"]:
        if chapter["owner"] != owner or not chapter["open"]:
            continue
        yield ""
        yield f"## {chapter['order']}. {chapter['title']}"
        yield ""
        yield chapter["about"]
        if chapter["caution"]:
            yield ""
            yield f"> **Take care.** {chapter['caution']}"
        if chapter["portal"]:
            yield ""
            yield f"Portal: {' → '.join(chapter['portal'])}"
        if chapter["powershell"]:
            yield ""
            yield from block(chapter["powershell"])
        yield ""
        yield from _ticket_devices(document, chapter["id"])


def _ticket_devices(document: Document, step: str) -> Iterator[str]:
    from partner_tools.report.markdown import code

    waiting: list[Mapping[str, Any]] = [
        device
        for device in document["devices"]
        if any(one["id"] == step and one["status"] in OPEN for one in device["steps"])
    ]
    for device in waiting[:NAMED_IN_TICKET]:
        serial = device["serialNumber"] or device["productKeyId"] or f"row {device['row']}"
        known = [device[name] for name in ("name", "user", "model") if device.get(name)]
        yield f"- [ ] {', '.join(code(one) for one in (serial, *known))}"
    if len(waiting) > NAMED_IN_TICKET:
        yield f"- … and {len(waiting) - NAMED_IN_TICKET:,} more in the workbook of the handoff"
