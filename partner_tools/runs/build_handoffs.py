"""Makes the handoffs of a run: one document for each customer, from what the ledger holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

from partner_tools.errors import GuardError, InputError
from partner_tools.events import Event, Kind
from partner_tools.json_forms import stated
from partner_tools.ledger import Ledger, RunDevice, RunRecord
from partner_tools.model import (
    GONE,
    ChannelName,
    Customer,
    Outcome,
    RunId,
    RunState,
    TenantId,
)
from partner_tools.outstanding.cleanup_plan import REFUSALS
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.evidence import probe_from
from partner_tools.outstanding.types import (
    HOMES,
    EvidenceSource,
    JoinType,
    Plane,
    Probe,
    ProbeResult,
    Status,
    StepId,
    Subject,
)
from partner_tools.report.certificate import Erasure, build_certificate
from partner_tools.report.handoff import (
    CleanupFacts,
    Document,
    HandoffDevice,
    Partner,
    RunFacts,
    build_handoff,
    facts_of,
    utc,
)
from partner_tools.report.page import Handoff
from partner_tools.runs.cleanup import CleanupOrder, stored_order
from partner_tools.runs.context import RunOptions
from partner_tools.runs.known_customers import customers_of
from partner_tools.runs.observation import BY_HAND_RULE, flags_of, probes_of

DUE_DAYS = 14
"""How long a customer is given where the profile does not say: `partner.due_days`."""


def handoffs(
    ledger: Ledger, run: RunId, *, partner: Mapping[str, Any], now: datetime
) -> Iterator[Handoff]:
    """One handoff for each customer of the run, and one for devices that belong to none.

    The digest of each is in the ledger before it is returned, so that a results file that answers
    it is recognized. Of a cleanup: the handoff that it was given, brought up to date; none once
    that was purged.
    """
    record = ledger.run(run)
    is_cleanup = record.channel is ChannelName.MICROSOFT_GRAPH
    for facts, customer, issuer, devices in _subjects(ledger, record, partner):
        due_on = now + timedelta(days=partner.get("due_days", DUE_DAYS))
        document = build_handoff(
            facts,
            customer,
            issuer,
            devices,
            now,
            version=version("partner-tools"),
            cleanup=CleanupFacts(run=_facts(record), outcomes=record.counts)
            if is_cleanup
            else None,
            due_on=None if is_cleanup else due_on.date(),
        )
        handoff = Handoff(document)
        if not is_cleanup:
            payload = {
                "customer": None if customer is None else customer.tenant_id,
                "digest": handoff.answers,
                "generatedAt": document["generatedAt"],
            }
            ledger.record([Event(run=record.run, kind=Kind.HANDED_OVER, at=now, payload=payload)])
        yield handoff


def certificates(
    ledger: Ledger,
    record: RunRecord,
    *,
    partner: Mapping[str, str],
    now: datetime,
    serials: Collection[str] = (),
    each: bool = False,
    erasure: Erasure | None = None,
) -> Iterator[tuple[Customer | None, Document]]:
    """Build the unsigned certificates of a run's devices, one for each customer.

    `serials` are devices that get one of their own instead; `each` gives every device its own.
    Raises InputError for a serial number that the run does not have.
    """
    unknown = set(serials)
    for run, customer, issuer, devices in _subjects(ledger, record, partner):
        groups = [devices]
        if serials or each:
            groups = [
                [one] for one in devices if each or one.device.identity.serial_number in serials
            ]
        for group in groups:
            unknown -= {one.device.identity.serial_number for one in group}
            if all(one.outcome is Outcome.DUPLICATE for one in group):
                continue
            _refuse_only_reported(run, group, now)
            yield (
                customer,
                build_certificate(
                    run,
                    customer,
                    issuer,
                    group,
                    now,
                    version=version("partner-tools"),
                    erasure=erasure,
                ),
            )
    if unknown:
        raise InputError(
            f"run {record.run} has no device {', '.join(sorted(unknown))}",
            rule="no-such-device",
            remedy="`partner-tools runs RUN` lists its devices",
        )


def _subjects(
    ledger: Ledger, record: RunRecord, partner: Mapping[str, Any]
) -> Iterator[tuple[RunFacts, Customer | None, Partner, list[HandoffDevice]]]:
    """The devices of a run by customer, and who removed them."""
    if record.channel is ChannelName.MICROSOFT_GRAPH:
        given = stored_order(ledger, record)
        if given is not None:
            devices = [given.updated(device) for device in ledger.devices(record.run)]
            yield given.received.run, given.received.customer, given.received.partner, devices
        return
    known = customers_of(ledger, record)
    groups: dict[str | None, list[HandoffDevice]] = {}
    for device in ledger.devices(record.run):
        groups.setdefault(device.history.customer, []).append(_handed_over(device))
    issuer = Partner(
        tenant_id=partner.get("tenant_id"),
        name=partner.get("name"),
        contact=partner.get("contact"),
    )
    for tenant, devices in groups.items():
        customer = None if tenant is None else Customer(tenant_id=TenantId(tenant))
        yield _facts(record), known.get(tenant or "", customer), issuer, devices


def _refuse_only_reported(run: RunFacts, devices: Iterable[HandoffDevice], now: datetime) -> None:
    """Raise GuardError for registrations that a person says are removed, and no look has shown."""
    reported = [
        one.device.identity.serial_number or f"row {one.device.row}"
        for one in devices
        if (plane := decide(facts_of(one, run, now)).planes[Plane.AUTOPILOT]).status
        is Status.REPORTED
        and plane.source is EvidenceSource.PARTNER
    ]
    if reported:
        more = f" and {len(reported) - 5} more" if len(reported) > 5 else ""
        raise GuardError(
            "the removal of these registrations is reported, and no look has shown it: "
            f"{', '.join(reported[:5])}{more}",
            rule="only-reported",
            remedy=f"look first: `partner-tools verify {run.id} --graph`",
        )


def cleanup_result(
    ledger: Ledger, record: RunRecord, now: datetime
) -> tuple[dict[str, Any], str | None] | None:
    """Build the partner's report of a completed cleanup, and return the customer's domain.

    The document keeps `handoff-result.schema.json`. None of any other run, of one that only looked,
    and of one whose handoff was purged.
    """
    if (
        record.channel is not ChannelName.MICROSOFT_GRAPH
        or RunOptions.restored(record.settings).dry_run
    ):
        return None
    given = stored_order(ledger, record)
    if given is None:
        return None
    handoff = given.document
    result = {
        "schemaVersion": "1",
        "answers": Handoff(dict(handoff)).answers,
        "handoff": {"run": handoff["run"]["id"], "generatedAt": handoff["generatedAt"]},
        "tenantId": given.customer.tenant_id,
        "startedAt": utc(record.started_at or record.created_at),
        "updatedAt": utc(now),
        "by": {
            "tool": "cleanup",
            "version": version("partner-tools"),
            "account": ledger.signed_in(record.run),
        },
        "applied": True,
        "finished": record.state is RunState.FINISHED,
        "devices": [_device_result(device, given, now) for device in ledger.devices(record.run)],
    }
    return result, given.customer.domain


def _device_result(device: RunDevice, given: CleanupOrder, now: datetime) -> dict[str, Any]:
    history, identity = device.history, device.device.identity
    looks = [
        probe
        for probe in map(probe_from, history.evidence)
        if probe.source is EvidenceSource.GRAPH and probe.subject is Subject.DEVICE
    ]
    newest = {probe.plane: probe for probe in looks if probe.plane in _SHOWN}
    updated = facts_of(given.updated(device), given.received.run, now)
    joined = decide(updated).join_type
    outcome = {
        **dict.fromkeys(GONE, "done"),
        Outcome.DUPLICATE: "duplicate",
        Outcome.REFUSED: "refused",
        Outcome.AMBIGUOUS: "refused",
    }.get(history.outcome, "left")
    settled_at = utc(history.settled_at) if history.settled_at else None
    return {
        "row": device.device.row,
        "serialNumber": identity.serial_number,
        "outcome": outcome,
        **stated(
            joinType=None if joined is JoinType.UNKNOWN else joined,
            rule=history.rule if outcome == "refused" and history.rule in REFUSALS else None,
            detail=(history.detail or "")[:2000] or None,
            requestId=history.answered_request_id if outcome == "left" else None,
        ),
        "steps": [
            {
                "id": step,
                "status": "waiting" if _is_there(newest, StepId(step)) else "done",
                **stated(at=settled_at),
            }
            for step in history.passed
        ],
        "planes": {plane.value: _look(probe) for plane, probe in newest.items()},
    }


_SHOWN = frozenset({Plane.INTUNE, Plane.AUTOPILOT, Plane.DEVICE_ASSOCIATION, Plane.ENTRA})


def _is_there(newest: Mapping[Plane, Probe], step: StepId) -> bool:
    look = newest.get(HOMES[step][0])
    return (
        look is not None and look.result is ProbeResult.FOUND and step is not StepId.UNASSIGN_USER
    )


def _look(probe: Probe) -> dict[str, Any]:
    ids = [one.ids["id"].lower() for one in probe.found if "id" in one.ids]
    return stated(
        result=probe.result.value,
        observedAt=utc(probe.observed_at),
        ids=ids[:20] or None,
        detail=(probe.error or "")[:2000] or None,
    )


def _facts(record: RunRecord) -> RunFacts:
    return RunFacts(
        id=record.run,
        channel=record.channel.value,
        batch_id=record.batch_id,
        reason=record.reason,
        started_at=record.started_at or record.created_at,
        finished_at=record.finished_at,
        ledger_digest=f"sha256:{record.head.hash.removeprefix('sha256:')}",
        by_hand=bool(record.settings.get("byHand")),
    )


def _handed_over(each: RunDevice) -> HandoffDevice:
    history = each.history
    probes_of(each)  # a damaged run is named, before anything is written of it
    return HandoffDevice(
        device=each.device,
        outcome=history.outcome,
        rule=None if history.rule == BY_HAND_RULE else history.rule,
        detail=history.detail,
        remedy=history.remedy,
        removed_at=history.settled_at if history.outcome in GONE else None,
        looked_before=history.looked_before,
        request_id=history.answered_request_id or history.request_id,
        correlation_id=history.correlation_id,
        evidence=history.evidence,
        registered=each.found,
        flags=flags_of(each),
    )
