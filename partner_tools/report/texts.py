"""A handoff as text: Markdown and tickets for a service desk, the cover e-mail, and reminders.

In Markdown foreign text is in code spans, where nothing is markup, a link or a mention; characters
that could end a span's line or a table's cell are spelled out. Commands are in code blocks of
their own, so that what is copied is what every other format has. E-mails are files. Nothing is
sent: a person opens the file, looks, and sends it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from typing import Any, BinaryIO

from partner_tools.model import Customer, RunId
from partner_tools.outstanding.types import HOMES, Status, StepId
from partner_tools.report.guide import (
    GUIDE,
    OWNERS,
    WORDS,
    by_hand,
    cleaned_up,
    counted,
    customer_name,
    day_text,
    file_name,
    start_here,
    visible,
)
from partner_tools.report.handoff import OPEN, Document
from partner_tools.report.page import Handoff, environment, headline_of
from partner_tools.report.tables import Row, steps_left, write_rows

NAMED = 20
"""How many serial numbers a step of the Markdown names before it refers to the tables."""
LISTED = 100
"""How many devices the Markdown's table at the end lists."""
NAMED_IN_TICKET = 200
"""How many devices a ticket lists: most service desks cut a description at some 30,000 letters."""
FIRST_STEPS = 3
"""How many of the steps the cover e-mail names."""
TICKET_COLUMNS = ("Summary", "Description", "Assignee role", "Due date", "Devices", "Reference")
ATTACHED_AT_MOST = 10
"""Handoffs of one e-mail: mail servers refuse what is larger than some 20 MB."""


def _render(template: str, **values: Any) -> str:
    rendered: str = _templates().get_template(template).render(words=WORDS, **values)
    return rendered


@cache
def _templates() -> Any:
    """The environment of the text templates; its type is behind the library's door, `page`."""
    made = environment()
    made.filters |= {"code": code, "left": steps_left, "shown": device_label}
    return made


def code(text: object) -> str:
    """The text as a code span that nothing in it can leave."""
    shown = visible(str(text)).replace("|", "⟨U+007C⟩").strip()
    if not shown:
        return "–"  # noqa: RUF001 - an en dash, as in tables
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    gap = " " if "`" in shown else ""
    return f"{fence}{gap}{shown}{gap}{fence}"


def device_label(device: Mapping[str, Any]) -> str:
    """How a device of the document is named."""
    return device["serialNumber"] or device["productKeyId"] or f"row {device['row']}"


def _by_step(
    document: Document, statuses: Iterable[str] = tuple(Status)
) -> dict[str, list[Mapping[str, Any]]]:
    """The devices of each step of the guide, where it has one of these statuses."""
    found: dict[str, list[Mapping[str, Any]]] = {one["id"]: [] for one in document["guide"]}
    for device in document["devices"]:
        for step in device["steps"]:
            if step["status"] in statuses:
                found[step["id"]].append(device)
    return found


def write_markdown(document: Document, stream: BinaryIO) -> None:
    """The summary, the guide and a table of devices, in UTF-8 with line feeds."""
    customer, partner = document["customer"], document["partner"]
    facts = (
        ("Customer", customer["domain"], customer["tenantId"]),
        ("Partner", partner["name"], partner["contact"]),
        ("Batch", document["run"]["batchId"]),
    )
    devices = document["devices"]
    written = _render(
        "handoff.md",
        **document | {"devices": devices[:LISTED]},
        name=customer_name(document),
        statement=WORDS["summary"]["statement"],
        evidence=WORDS["summary"][document["summary"]["evidence"]["graph"]],
        start_here=start_here(document),
        cleaned_up=cleaned_up(document),
        by_hand=by_hand(document),
        facts=[(title, [one for one in values if one]) for title, *values in facts],
        named={
            step: [device_label(one) for one in concerned[:NAMED]]
            for step, concerned in _by_step(document).items()
        },
        more=max(0, len(devices) - LISTED),
    )
    stream.write(f"{written}\n".encode())


# --- tickets --------------------------------------------------------------------------------------


def owners(document: Document) -> list[str]:
    """List the owners of steps, the customer's people in the order of their first step."""
    theirs = [one["owner"] for one in document["guide"] if one["open"]]
    return [owner for owner in dict.fromkeys(theirs) if owner != "partner"]


def tickets(document: Document) -> Iterator[tuple[str, str]]:
    """Each owner with its part as Markdown: its steps in order, with the devices of each."""
    waiting = _by_step(document, OPEN)
    for owner in owners(document):
        yield (
            owner,
            _render(
                "ticket.md",
                title=_ticket_title(document, owner),
                partner=document["partner"],
                due=document.get("dueOn"),
                chapters=[
                    one for one in document["guide"] if one["owner"] == owner and one["open"]
                ],
                waiting=waiting,
                listed=NAMED_IN_TICKET,
            ).rstrip("\n"),
        )


def write_tickets(document: Document, stream: BinaryIO) -> None:
    """One ticket for each owner as CSV, as service desks import it; the text is Markdown."""
    rows: list[Row] = [
        {
            "Summary": _ticket_title(document, owner),
            "Description": ticket,
            "Assignee role": OWNERS[owner],
            "Due date": document.get("dueOn"),
            "Devices": _waiting(document, owner),
            "Reference": document["run"]["id"],
        }
        for owner, ticket in tickets(document)
    ]
    write_rows(TICKET_COLUMNS, rows, stream)


def _ticket_title(document: Document, owner: str) -> str:
    what = f"{counted(_waiting(document, owner), 'device')} left Windows Autopilot"
    return f"{what}: steps of the {OWNERS[owner]} ({_recipient(document)})"


def _waiting(document: Document, owner: str) -> int:
    """How many devices wait for an owner."""
    number: int = document["summary"]["owners"].get(owner, {}).get("devices", 0)
    return number


# --- the cover of a handoff -----------------------------------------------------------------------


def write_cover(handoff: Handoff, stream: BinaryIO) -> None:
    """The cover e-mail as an unsent message without a recipient, the page attached."""
    document = handoff.document
    partner = document["partner"]
    at = datetime.fromisoformat(document["generatedAt"])
    sender = _address(partner["name"], partner["contact"])
    attached = [(f"{file_name(document)}.html", handoff.page)]
    stream.write(_draft(_cover_subject(document), cover_text(document), at, sender, attached))


def write_cover_text(document: Document, stream: BinaryIO) -> None:
    """The same in plain words, to paste."""
    stream.write(f"{_cover_subject(document)}\n\n{cover_text(document)}\n".encode())


def _cover_subject(document: Document) -> str:
    devices = counted(document["summary"]["devices"], "device")
    due = f", please finish by {day_text(document['dueOn'])}" if document.get("dueOn") else ""
    return f"Windows Autopilot: {devices} of {_recipient(document)}{due}"


def cover_text(document: Document) -> str:
    """Salutation, what was done, what to do first, until when, and whom to ask."""
    partner, start = document["partner"], document.get("start")
    theirs = [
        one
        for one in document["guide"]
        if start and one["open"] and one["owner"] != "partner" and one["order"] >= start["order"]
    ]
    return _render(
        "cover.txt",
        recipient=_recipient(document),
        headline=headline_of(document),
        by_hand=by_hand(document),
        run=document["run"],
        start=start,
        first=theirs[:FIRST_STEPS],
        due=document.get("dueOn"),
        contact=_line(partner["contact"] or ""),
        sender=_line(partner["name"] or ""),
    ).rstrip("\n")


def _recipient(document: Document) -> str:
    return _line(customer_name(document, "your"))


# --- reminders ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """One customer's remaining work. `since` is when the oldest of its devices settled.

    `customer` is None for devices of which no tenant is known. `statuses` and `steps` count
    steps, `listed` counts devices that a service still shows after their removal.
    """

    customer: Customer | None
    devices: int
    listed: int = 0
    statuses: Mapping[Status, int]
    steps: Mapping[StepId, int]
    since: datetime
    runs: tuple[RunId, ...] = ()

    @property
    def name(self) -> str:
        """The customer as a person knows it."""
        if self.customer is None:
            return "an unknown customer"
        return _line(self.customer.name or self.customer.domain or self.customer.tenant_id)


_SAID = {
    Status.OUTSTANDING: "to do",
    Status.NOT_VERIFIED: "not verified",
    Status.EXPECTED: "expected to happen by themselves",
}


def subject(left: FollowUp) -> str:
    """The subject of a reminder: how many devices of whom."""
    number = f"{left.devices} device{'s' if left.devices != 1 else ''}"
    return f"Windows Autopilot: {number} of {left.name} with steps left to do"


def text(left: FollowUp, partner: Mapping[str, str]) -> str:
    """The reminder in plain words; foreign text stays on its line."""
    counts = (
        f"{left.statuses[status]} {said}"
        for status, said in _SAID.items()
        if left.statuses.get(status)
    )
    return _render(
        "reminder.txt",
        subject=subject(left),
        since=f"{left.since:%Y-%m-%d}",
        counts=", ".join(counts),
        steps=[
            (GUIDE[step].title, left.steps[step], OWNERS[HOMES[step][1]])
            for step in sorted(left.steps, key=list(StepId).index)
        ],
        contact=_line(partner.get("contact") or ""),
        sender=_line(partner.get("name") or ""),
    ).rstrip("\n")


def email(
    left: FollowUp,
    partner: Mapping[str, str],
    at: datetime,
    attachments: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """An unsent e-mail without a recipient, as mail programs open it for editing.

    `attachments` are file names with their HTML.
    """
    sender = _address(partner.get("name"), partner.get("contact"))
    attached = attachments[:ATTACHED_AT_MOST]
    return _draft(subject(left), text(left, partner), at, sender, attached)


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
    # Outlook opens it as a draft by this header; other programs do so with any message file.
    message["X-Unsent"] = "1"
    if sender is not None:
        message["From"] = sender
    message.set_content(body)
    for name, content in attachments:
        message.add_attachment(content, maintype="text", subtype="html", filename=name)
    return message.as_bytes()


def _address(name: str | None, contact: str | None) -> Address | None:
    """The sender, where the contact is an e-mail address."""
    address = parseaddr(contact or "")[1]
    if "@" not in address:
        return None
    return Address(display_name=_line(name or ""), addr_spec=address)


def _line(text_: str) -> str:
    """Foreign text without what could begin another line, or another header."""
    return "".join(each if each.isprintable() else " " for each in text_)
