"""Looks again at everything that is open, and says whom to chase."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.report.guide import file_name, harmless
from partner_tools.report.mail import Reminder, email, name_of, subject, text

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger
    from partner_tools.runs.follow_up import Chase, Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Outstanding:
    """Whom to chase, as of `at`; `failures` are the runs that could not be looked at again."""

    at: datetime
    chases: tuple[Chase, ...]
    failures: tuple[Failure, ...] = ()
    partner: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """7 while anything that was removed is still listed; what kept us from looking; else 0."""
        if any(each.listed for each in self.chases):
            return 7
        return self.failures[0].error.exit_code if self.failures else 0

    @property
    def document(self) -> dict[str, Any]:
        """As `verify --outstanding --output json` prints it; `schemas/outstanding.schema.json`."""
        return {
            "schemaVersion": "1",
            "checkedAt": self.at.isoformat(),
            "customers": [self.line(each) for each in self.chases],
            "failures": [
                {"run": each.run, "message": str(each.error), "remedy": each.error.remedy}
                for each in self.failures
            ],
        }

    def line(self, chase: Chase) -> dict[str, Any]:
        """One customer; `text` is what a webhook of a chat takes."""
        customer = chase.customer
        return {
            "customer": None
            if customer is None
            else {
                "tenantId": customer.tenant_id,
                "domain": customer.domain,
                "name": customer.name,
            },
            "devices": chase.devices,
            "stillListed": chase.listed,
            "since": chase.since.isoformat(),
            "statuses": {status.value: number for status, number in chase.statuses.items()},
            "steps": {step.value: number for step, number in chase.steps.items()},
            "runs": list(chase.runs),
            "subject": subject(self.reminder(chase)),
            "text": text(self.reminder(chase)),
        }

    def reminder(self, chase: Chase) -> Reminder:
        """What the customer is reminded of, without attachments."""
        return Reminder(
            customer=chase.customer,
            devices=chase.devices,
            statuses=chase.statuses,
            steps=chase.steps,
            since=chase.since,
            sender=self.partner.get("name"),
            contact=self.partner.get("contact"),
        )


def write_reminders(ledger: Ledger, found: Outstanding, folder: Path) -> Iterator[Path]:
    """Write an e-mail for each customer, the handoffs of its open runs attached; where it is."""
    from dataclasses import replace

    from partner_tools.files import writing

    for chase in found.chases:
        domain = chase.customer.domain if chase.customer else None
        named = harmless((domain or name_of(chase.customer)).casefold())
        path = folder / f"reminder-{named}-{found.at:%Y%m%d}.eml"
        attachments = tuple(_handoffs(ledger, found, chase))
        with writing(path) as stream:
            stream.write(email(replace(found.reminder(chase), attachments=attachments), found.at))
        yield path


def _handoffs(ledger: Ledger, found: Outstanding, chase: Chase) -> Iterator[tuple[str, bytes]]:
    from partner_tools.report.page import write_page
    from partner_tools.runs.build_handoffs import handoffs

    tenant = None if chase.customer is None else chase.customer.tenant_id
    for run in chase.runs:
        for document in handoffs(ledger, run, partner=found.partner, now=found.at):
            if document["customer"]["tenantId"] == tenant:
                page = BytesIO()
                write_page(document, page)
                yield f"{file_name(document)}.html", page.getvalue()
