"""Plans a run: reads what the services show, names what cannot be done, seals the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from partner_tools.engine.channel import Removal, Sightings
from partner_tools.errors import UnknownRunError
from partner_tools.events import Event, Kind, State
from partner_tools.files import write_private
from partner_tools.guards import counted
from partner_tools.json_forms import json_form, stated
from partner_tools.ledger import RunRecord, is_run_id, read_kit, write_kit
from partner_tools.model import Account, Device, Outcome, Plan, PlannedDevice, RunId
from partner_tools.plan import PlanProposal, count_unmatched, counts, plan_document
from partner_tools.runs.context import RunContext
from partner_tools.strict_json import shown_plainly


class Drafter(Protocol):
    """Proposes the plan of a run."""

    def draft(
        self, devices: Sequence[Device], *, default_customer: str | None, held: frozenset[str]
    ) -> PlanProposal:
        """Read what the service shows and plan every device, in its order."""


class Planner(Drafter, Protocol):
    """A removal channel's other abilities: plan, compare, look."""

    def changes(
        self, devices: Sequence[PlannedDevice], remaining: Mapping[str, int]
    ) -> Mapping[int, str]:
        """Why devices of an old plan are not what they were, by index; only those that changed.

        `remaining` is how many devices each customer should still have.
        """

    def sightings(self, removals: Sequence[Removal]) -> Sightings:
        """See `engine.verification.Look`. Called only where the channel is observable."""


def make_plan(context: RunContext, planner: Drafter, record: RunRecord) -> Plan:
    """Plan the run and store the plan; durable on return. Reads only.

    Raises what ended the planning, after that is durable: the run can be planned again.
    """
    devices = [each.device for each in context.ledger.devices(record.run)]
    with context.noting_end():
        held = context.guards.held()
        draft = planner.draft(devices, default_customer=record.customer, held=held)
    notes = draft.notes
    if held:
        unmatched = count_unmatched(draft.devices, held)
        note = f"{unmatched} of {len(held)} entries of the hold list name no device of this batch"
        notes = (*notes, note)
    plan = Plan(
        run=record.run,
        channel=record.channel,
        created_at=context.now(),
        planner=Account(name=record.actor, id=record.settings.get("accountId")),
        batch_id=record.batch_id,
        batch_digest=record.batch_digest,
        reason=record.reason,
        customers=draft.customers,
        devices=draft.devices,
        notes=notes,
        place=replace(context.place, tenant=context.partner()).document(),
    )
    if draft.kit:  # before the plan: no plan is without its restore kit
        write_kit(context.private_folder, plan.run, draft.kit)
    store_plan(context, plan, plan_document(plan))
    return plan


def adopt_plan(
    context: RunContext, planner: Planner, plan: Plan, document: Mapping[str, Any]
) -> Plan:
    """Make a reviewed plan the plan of this run; durable on return.

    Its restore kit comes along where it was planned with this ledger.
    """
    is_foreign = _is_foreign(context, plan, document["digest"])
    adopted = replace(plan, run=context.run, is_foreign=is_foreign)
    adopted = _with_service_customers(context, planner, adopted)
    store_plan(context, adopted, document)
    kit = () if is_foreign else read_kit(context.private_folder, plan.run)
    write_kit(context.private_folder, context.run, kit)
    return adopted


def stored_plan(context: RunContext, planner: Drafter, record: RunRecord) -> Plan | None:
    """Return a run's plan with the removals left; None where the run ended before it had a plan.

    Settled devices have their outcome in place of a removal, so that no limit counts them twice
    and no confirmation asks for them again.
    """
    plan = context.sealed.read()
    if plan is None:
        return None
    settled = {
        each.index: each.history.outcome
        for each in context.ledger.devices(record.run, states={State.SETTLED})
    }
    devices = tuple(
        replace(each, outcome=settled.get(each.index, each.outcome)) for each in plan.devices
    )
    left = replace(
        plan,
        run=record.run,
        devices=devices,
        customers=counted(devices, plan.customers),
        is_foreign=_is_foreign(context, plan, record.plan_digest),
    )
    return _with_service_customers(context, planner, left)


def write_plan(document: Mapping[str, Any], path: Path) -> None:
    """Write a plan file, private to the user, whole or not at all."""
    text = shown_plainly(json.dumps(document, ensure_ascii=False, indent=2))
    write_private(path, f"{text}\n".encode())


def resolution(run: RunId, planned: PlannedDevice, at: datetime) -> Event:
    """The event that makes the plan of one device durable, with all that is known of it."""
    payload = stated(
        outcome=planned.outcome,
        customer=planned.customer,
        rule=planned.rule,
        detail=planned.detail,
        remedy=planned.remedy,
        target=planned.target,
        found=planned.found,
        candidates=planned.candidates or None,
    )
    return Event(run=run, kind=Kind.RESOLVED, at=at, device=planned.index, payload=payload)


def store_plan(context: RunContext, plan: Plan, document: Mapping[str, Any]) -> None:
    """Make a document the plan of the run, and the plan of each device with it; durably."""
    at = context.now()
    resolved = [resolution(plan.run, each, at) for each in plan.devices]
    planned = Event(
        run=plan.run,
        kind=Kind.PLANNED,
        at=at,
        payload={
            "digest": document["digest"],
            "counts": counts(each.outcome for each in plan.devices),
            "customers": [json_form(each.customer) for each in plan.customers],
        },
    )
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    context.ledger.save_plan(plan.run, text, document["digest"], [*resolved, planned])
    context.sealed.keep(plan, document["digest"])


def _with_service_customers(context: RunContext, planner: Drafter, plan: Plan) -> Plan:
    """A plan of another ledger with the customers as the service shows them now.

    A plan file can be edited and sealed again: names, domains and the size of an estate decide what
    a person confirms, whose handoff a device is in, and what a limit allows. A channel without a
    listing has none of these to compare.
    """
    if not plan.is_foreign or not context.channel.observable:
        return plan
    named = [
        replace(each.device, customer=each.customer)
        for each in plan.devices
        if each.outcome is Outcome.PENDING and each.customer
    ]
    with context.noting_end():
        draft = planner.draft(named, default_customer=None, held=context.guards.held())
    return replace(plan, customers=counted(plan.devices, draft.customers))


def _is_foreign(context: RunContext, plan: Plan, digest: str | None) -> bool:
    """Whether this ledger did not make the plan: a file can claim any time and any run."""
    if not is_run_id(plan.run):
        return True
    try:
        return context.ledger.run(plan.run).plan_digest != digest
    except UnknownRunError:
        return True
