"""What speaks against a removal: hold list, limits, the customer's tenant, a changed service.

Each check refuses devices, durably, and gives the plan without their removals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from partner_tools.errors import GuardError
from partner_tools.events import State
from partner_tools.guards import LIMIT, check, counted
from partner_tools.ledger import RunDevice
from partner_tools.model import Outcome, Plan, PlannedDevice, Snapshot
from partner_tools.outstanding.decision import REFUSING, WORDS, Risk, risks
from partner_tools.plan import held_back, is_held
from partner_tools.runs.context import RunContext
from partner_tools.runs.observation import TenantCheck, decision
from partner_tools.runs.planning import Planner, resolution

PLAN_GOOD_FOR = timedelta(minutes=10)
"""An older plan is compared with the service before it is executed."""
REFUSED = "intune-not-clear"
"""The rule by which a device is refused that the customer has to release first."""

Risks = Mapping[Risk, Sequence[RunDevice]]


def refuse_held(context: RunContext, plan: Plan) -> Plan:
    """Refuse what the hold list names by now, although the plan may be older.

    A device that is still in doubt, because its channel cannot look, keeps its outcome; it leaves
    the plan, so that nothing is sent for it again.
    """
    held = context.guards.held()
    found = [each for each in plan.devices if is_held(each, held)]
    return _refuse(context, plan, map(held_back, found))


def heed_limits(context: RunContext, plan: Plan) -> Plan:
    """Refuse the devices of customers whose limit the plan passes.

    Raises GuardError where nothing would be left, or more than one run may remove.
    """
    midnight = context.now().replace(hour=0, minute=0, second=0, microsecond=0)
    removed_today = {
        str(each.customer.tenant_id): context.ledger.removed_since(
            each.customer.tenant_id, midnight
        )
        for each in counted(plan.devices, plan.customers)
    }
    refused = check(context.guards.limits, plan.devices, plan.customers, removed_today)
    return _refuse(
        context,
        plan,
        (
            replace(
                each,
                outcome=Outcome.REFUSED,
                rule=LIMIT,
                detail=refused[each.customer].message,
                remedy=refused[each.customer].remedy,
            )
            for each in plan.devices
            if each.customer is not None and each.customer in refused
        ),
    )


def look_before(context: RunContext) -> Risks:
    """Keep what the customers' tenants show of the devices to remove; the risks, which are named.

    After the removal, the ids seen now are the only link to the records that are left. Raises
    GuardError where a look is required and did not succeed in time.
    """
    options = context.options
    if context.open_tenant is None or options.snapshot is Snapshot.NONE:
        return {}
    context.observer.notify("looking into the customer's tenant before anything is removed")
    with context.noting_end():
        code = TenantCheck.of(context, context.open_tenant).snapshot(options.snapshot_timeout)
        if code and options.snapshot is Snapshot.REQUIRED:
            raise GuardError(
                "the customer's tenant could not be read: nothing was removed",
                rule="snapshot-incomplete",
                remedy="try again later, allow more time with --snapshot-timeout, or accept what "
                "could be read with --snapshot best-effort",
            )
    reason, at = context.ledger.run(context.run).reason, context.now()
    found: dict[Risk, list[RunDevice]] = {risk: [] for risk in Risk}
    for device in context.ledger.devices(context.run, states={State.READY}):
        for risk in risks(decision(device, reason, at)):
            found[risk].append(device)
    for risk, devices in found.items():
        if devices:
            names = ", ".join(_name(each) for each in devices)
            context.observer.notify(f"{WORDS[risk]} ({len(devices)}): {names}")
    return {risk: devices for risk, devices in found.items() if devices}


def refuse_risky(context: RunContext, plan: Plan, found: Risks) -> Plan:
    """Refuse the devices that are not clear of their tenant, where the options require that.

    Raises GuardError where a look is required and there is no access.
    """
    options = context.options
    is_required = options.require_intune_clear or options.snapshot is Snapshot.REQUIRED
    if is_required and context.open_tenant is None:
        raise GuardError(
            "the customer's tenant has to be read first, and there is no access to it",
            rule="intune-not-verified",
            remedy="set PARTNER_TOOLS_GRAPH_TOKEN, or graph.access in the profile; or leave out "
            "--require-intune-clear and --snapshot required",
        )
    if not options.require_intune_clear:
        return plan
    why: dict[int, list[str]] = {}
    for risk in REFUSING & set(found):
        for device in found[risk]:
            why.setdefault(device.index, []).append(WORDS[risk])
    refusals = [
        replace(
            plan.devices[index],
            outcome=Outcome.REFUSED,
            rule=REFUSED,
            detail="; ".join(sorted(reasons)),
            remedy="have the customer finish this first, or run it without --require-intune-clear",
        )
        for index, reasons in sorted(why.items())
    ]
    return _refuse(context, plan, refusals)


def refuse_changed(context: RunContext, planner: Planner, plan: Plan) -> int:
    """Compare a plan with the service, unless this ledger made it just now; how many are refused.

    Only devices of which nothing has been sent are compared. A plan from the future is as good as
    an old one: one of the two clocks is wrong. What a person was asked about may have changed while
    the question waited, however short that was.
    """
    is_fresh = timedelta(0) <= context.now() - plan.created_at <= PLAN_GOOD_FOR
    if is_fresh and context.options.yes and not plan.is_foreign:
        return 0
    ready = _ready(context)
    with context.noting_end():
        changes = planner.changes([each for each in plan.devices if each.index in ready])
    refusals = [
        replace(
            plan.devices[index],
            outcome=Outcome.REFUSED,
            rule="changed-since-plan",
            detail=why,
            remedy="plan the batch again and review what changed",
        )
        for index, why in changes.items()
    ]
    _refuse(context, plan, refusals)
    return len(changes)


def _refuse(context: RunContext, plan: Plan, refusals: Iterable[PlannedDevice]) -> Plan:
    """The plan without these devices; refused, durably, where nothing is under way of them."""
    refused = {each.index: each for each in refusals}
    if not refused:
        return plan
    ready, at = _ready(context), context.now()
    context.record(
        [
            resolution(plan.run, each, at)
            for index, each in sorted(refused.items())
            if index in ready
        ]
    )
    devices = tuple(
        replace(each, outcome=Outcome.REFUSED)
        if each.index in refused and each.outcome is Outcome.PENDING
        else each
        for each in plan.devices
    )
    return replace(plan, devices=devices, customers=counted(devices, plan.customers))


def _ready(context: RunContext) -> frozenset[int]:
    """The indexes of the devices of which nothing is under way."""
    ready = context.ledger.devices(context.run, states={State.READY})
    return frozenset(each.index for each in ready)


def _name(device: RunDevice) -> str:
    identity = device.device.identity
    return identity.serial_number or identity.product_key_id or f"row {device.device.row}"
