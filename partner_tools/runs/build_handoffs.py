"""Makes the handoffs of a run: one document for each customer, from what the ledger holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import version

from partner_tools.ledger import Ledger, RunDevice, RunRecord
from partner_tools.model import GONE, ChannelName, Customer, RunId, TenantId
from partner_tools.report.handoff import (
    CleanupFacts,
    Document,
    Generator,
    HandoffDevice,
    Partner,
    RunFacts,
    build_handoff,
)
from partner_tools.runs.cleanup import stored_order
from partner_tools.runs.known_customers import customers_of


def handoffs(
    ledger: Ledger, run: RunId, *, partner: Mapping[str, str], now: datetime
) -> Iterator[Document]:
    """One handoff for each customer of the run, and one for devices that belong to none.

    Of a cleanup: the handoff that it was given, brought up to date; none once that was purged.
    """
    record = ledger.run(run)
    if record.channel is ChannelName.MICROSOFT_GRAPH:
        yield from _updated(ledger, record, now)
        return
    known = customers_of(ledger, record)
    groups: dict[str | None, list[RunDevice]] = {}
    for device in ledger.devices(run):
        groups.setdefault(device.history.customer, []).append(device)
    for tenant, devices in groups.items():
        yield build_handoff(
            _facts(record),
            _customer(tenant, known, record),
            Partner(
                tenant_id=partner.get("tenant_id"),
                name=partner.get("name"),
                contact=partner.get("contact"),
            ),
            [_handed_over(device) for device in devices],
            now,
            generator=_generator(),
        )


def _updated(ledger: Ledger, record: RunRecord, now: datetime) -> Iterator[Document]:
    given = stored_order(ledger, record)
    if given is None:
        return
    yield build_handoff(
        given.received.run,
        given.received.customer,
        given.received.partner,
        [given.updated(device) for device in ledger.devices(record.run)],
        now,
        generator=_generator(),
        cleanup=CleanupFacts(
            id=record.run,
            started_at=record.started_at or record.created_at,
            finished_at=record.finished_at,
            ledger_digest=_head(record),
            outcomes=record.counts,
        ),
    )


def _generator() -> Generator:
    return Generator(name="partner-tools", version=version("partner-tools"))


def _head(record: RunRecord) -> str:
    return f"sha256:{record.head.hash.removeprefix('sha256:')}"


def _customer(
    tenant: str | None, known: Mapping[str, Customer], record: RunRecord
) -> Customer | None:
    if tenant is None:
        return None
    return known.get(tenant) or Customer(tenant_id=TenantId(tenant))


def _facts(record: RunRecord) -> RunFacts:
    return RunFacts(
        id=record.run,
        channel=record.channel.value,
        batch_id=record.batch_id,
        reason=record.reason,
        started_at=record.started_at or record.created_at,
        finished_at=record.finished_at,
        ledger_digest=_head(record),
    )


def _handed_over(each: RunDevice) -> HandoffDevice:
    history = each.history
    return HandoffDevice(
        device=each.device,
        outcome=history.outcome,
        rule=history.rule,
        detail=history.detail,
        remedy=history.remedy,
        removed_at=history.settled_at if history.outcome in GONE else None,
        request_id=history.answered_request_id or history.request_id,
        correlation_id=history.correlation_id,
        evidence=history.evidence,
    )
