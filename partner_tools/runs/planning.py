"""Plans a run: reads what the services show, names what cannot be done, seals the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from partner_tools.events import Event, Kind, State
from partner_tools.guards import LIMIT, Limits, check, counted
from partner_tools.json_forms import customer_document, found_document, target_document
from partner_tools.ledger import RunRecord, UnknownRunError, is_run_id, read_kit, write_kit
from partner_tools.model import Outcome, Plan, PlannedDevice, RunId
from partner_tools.plan import (
    PlanProposal,
    count_unmatched,
    counts,
    plan_document,
    read_plan,
)
from partner_tools.runs.context import PLAN_GOOD_FOR, Workplace, noting_end


def make_plan(
    place: Workplace, run: RunRecord, *, held: frozenset[str]
) -> tuple[Plan, dict[str, Any]]:
    """Plan the run and store the plan; durable on return. Reads only.

    The plan, and its document with the digest. Raises what ended the planning, after that is
    durable: the run can be planned again.
    """
    devices = [each.device for each in place.ledger.devices(run.run)]
    with noting_end(place, run.run):
        draft = place.channel.draft(devices, default_customer=run.customer, held=held)
    if held:
        unmatched = count_unmatched(draft.devices, held)
        note = f"{unmatched} of {len(held)} entries of the hold list name no device of this batch"
        draft = replace(draft, notes=(*draft.notes, note))
    plan = _plan(run, draft, place.now())
    document = plan_document(plan)
    store_plan(place, plan, document, draft)
    return plan, document


def store_plan(
    place: Workplace, plan: Plan, document: Mapping[str, Any], draft: PlanProposal | None = None
) -> None:
    """Make a plan and its restore kit durable: the kit first, so that no plan is without it."""
    if draft is not None and draft.kit:
        write_kit(place.private_folder, plan.run, draft.kit)
    at = place.now()
    resolved = [resolution(plan.run, each, at) for each in plan.devices]
    planned = Event(
        run=plan.run,
        kind=Kind.PLANNED,
        at=at,
        payload={
            "digest": document["digest"],
            "counts": counts(each.outcome for each in plan.devices),
            "customers": [customer_document(each.customer) for each in plan.customers],
        },
    )
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    place.ledger.save_plan(plan.run, text, document["digest"], [*resolved, planned])


def adopt_plan(place: Workplace, plan: Plan, document: Mapping[str, Any], run: RunId) -> Plan:
    """Make a plan that somebody reviewed the plan of this run; durable on return.

    Its restore kit comes along where it was planned with this ledger.
    """
    is_foreign = _is_foreign(place, plan, document["digest"])
    store_plan(place, replace(plan, run=run), document)
    kit = () if is_foreign else read_kit(place.private_folder, plan.run)
    write_kit(place.private_folder, run, kit)
    return replace(plan, run=run, is_foreign=is_foreign)


def _is_foreign(place: Workplace, plan: Plan, digest: str | None) -> bool:
    """Whether this ledger did not make the plan: whoever made a file can say any time and run."""
    if not is_run_id(plan.run):
        return True
    try:
        return place.ledger.run(plan.run).plan_digest != digest
    except UnknownRunError:
        return True


def stored_plan(place: Workplace, run: RunRecord) -> Plan | None:
    """What the plan of a run has left to remove; None where the run ended before it had a plan.

    What is settled by now has its outcome in place of a removal: no limit counts it twice, and
    nobody is asked for it again.
    """
    text = place.ledger.plan(run.run)
    if text is None:
        return None
    plan = read_plan(json.loads(text))
    settled = {
        each.index: each.history.outcome
        for each in place.ledger.devices(run.run, states={State.SETTLED})
    }
    devices = tuple(
        replace(each, outcome=settled.get(each.index, each.outcome)) for each in plan.devices
    )
    return replace(
        plan,
        run=run.run,
        devices=devices,
        customers=counted(devices, plan.customers),
        is_foreign=_is_foreign(place, plan, run.plan_digest),
    )


def heed_limits(place: Workplace, plan: Plan, limits: Limits) -> Plan:
    """Refuse the devices of customers whose limit the plan passes; durable on return.

    The plan without their removals. Raises GuardError where nothing would be left, or more than
    one run may remove.
    """
    midnight = place.now().replace(hour=0, minute=0, second=0, microsecond=0)
    removed_today = {
        str(each.customer.tenant_id): place.ledger.removed_since(each.customer.tenant_id, midnight)
        for each in counted(plan.devices, plan.customers)
    }
    refused = check(limits, plan.devices, plan.customers, removed_today)
    if not refused:
        return plan
    ready = {each.index for each in place.ledger.devices(plan.run, states={State.READY})}
    refusals = [
        replace(
            each,
            outcome=Outcome.REFUSED,
            rule=LIMIT,
            detail=refused[each.customer].message,
            remedy=refused[each.customer].remedy,
        )
        for each in plan.devices
        if each.index in ready and each.customer is not None and each.customer in refused
    ]
    at = place.now()
    place.ledger.record([resolution(plan.run, each, at) for each in refusals])
    return without(plan, frozenset(each.index for each in refusals))


def without(plan: Plan, refused: frozenset[int]) -> Plan:
    """The plan without the removal of these devices, by index."""
    devices = tuple(
        replace(each, outcome=Outcome.REFUSED) if each.index in refused else each
        for each in plan.devices
    )
    return replace(plan, devices=devices, customers=counted(devices, plan.customers))


def refuse_changed(place: Workplace, plan: Plan) -> int:
    """Compare a plan with the service, unless this ledger made it just now; how many are refused.

    Only devices of which nothing has been sent are compared. A plan from the future is as good as
    an old one: one of the two clocks is wrong.
    """
    is_fresh = timedelta(0) <= place.now() - plan.created_at <= PLAN_GOOD_FOR
    if is_fresh and not plan.is_foreign:
        return 0
    ready = {
        each.index for each in place.ledger.devices(plan.run) if each.history.state is State.READY
    }
    with noting_end(place, plan.run):
        changes = place.channel.changes([each for each in plan.devices if each.index in ready])
    at = place.now()
    refused = [
        replace(
            plan.devices[index],
            outcome=Outcome.REFUSED,
            rule="changed-since-plan",
            detail=why,
            remedy="plan the batch again and review what changed",
        )
        for index, why in changes.items()
    ]
    place.ledger.record([resolution(plan.run, each, at) for each in refused])
    return len(changes)


def _plan(run: RunRecord, draft: PlanProposal, created_at: datetime) -> Plan:
    return Plan(
        run=run.run,
        channel=run.channel,
        created_at=created_at,
        planned_by=run.actor,
        batch_id=run.batch_id,
        batch_digest=run.batch_digest,
        reason=run.reason,
        customers=draft.customers,
        devices=draft.devices,
        notes=draft.notes,
    )


def resolution(run: RunId, planned: PlannedDevice, at: datetime) -> Event:
    """The event that makes the plan of one device durable, with all that is known of it."""
    facts: dict[str, Any] = {
        "outcome": planned.outcome.value,
        "customer": planned.customer,
        "rule": planned.rule,
        "detail": planned.detail,
        "remedy": planned.remedy,
    }
    payload = {name: value for name, value in facts.items() if value is not None}
    if planned.target is not None:
        payload["target"] = target_document(planned.target)
    if planned.found is not None:
        payload["found"] = found_document(planned.found)
    if planned.candidates:
        payload["candidates"] = [target_document(target) for target in planned.candidates]
    return Event(run=run, kind=Kind.RESOLVED, at=at, device=planned.index, payload=payload)
