"""The checks before a removal: hold list, limits, the customer's tenant, a changed service.

Each check refuses devices, durably, and gives the plan without their removals.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import islice

from partner_tools.engine.channel import Removal
from partner_tools.engine.execute import Gate
from partner_tools.errors import GuardError
from partner_tools.events import State
from partner_tools.gate import may_send
from partner_tools.guards import LIMIT, check, counted, refuse_too_few
from partner_tools.ledger import RunDevice, RunRecord
from partner_tools.model import (
    ChannelName,
    Device,
    Explanation,
    Outcome,
    Plan,
    PlannedDevice,
    RunState,
    Snapshot,
    TenantId,
)
from partner_tools.outstanding.decision import REFUSING, WORDS, Risk, risks, risks_in_words
from partner_tools.place import (
    Place,
    read_place,
    refuse_other_address,
    refuse_other_partner,
    refuse_weaker_guards,
)
from partner_tools.plan import held_back, is_held, replaced
from partner_tools.runs.context import RunContext, RunOptions, SealedPlan
from partner_tools.runs.observation import TenantCheck, decision
from partner_tools.runs.planning import Planner, resolution

PLAN_GOOD_FOR = timedelta(minutes=10)
"""An older plan is compared with the service before it is executed."""
REFUSED = "intune-not-clear"
"""The rule by which a device is refused that the customer has to release first."""

NAMED = 5
"""The most devices that a line about another run names."""
LOOKED_UP = 20
"""Of how many devices that were not found the ledger is asked whose they were."""

Risks = Mapping[Risk, Sequence[RunDevice]]


def plan_gate(sealed: SealedPlan, held: Callable[[], frozenset[str]]) -> Gate:
    """The gate of a removal: the sealed plan, and the hold list as it is now."""
    return lambda removals: _refusals(removals, sealed.devices(), held())


def hold_list_gate(held: Callable[[], frozenset[str]]) -> Gate:
    """The gate of a cleanup: each round looks before it acts, so only the hold list can change."""

    def gate(removals: Sequence[Removal]) -> Mapping[int, Explanation]:
        named = {
            one.index: PlannedDevice(
                index=one.index,
                device=Device(row=one.index, identity=one.identity),
                customer=None if one.customer is None else TenantId(one.customer),
                target=one.target,
                outcome=Outcome.PENDING,
            )
            for one in removals
        }
        return _refusals(removals, named, held())

    return gate


def _refusals(
    removals: Iterable[Removal], sealed: Mapping[int, PlannedDevice], held: frozenset[str]
) -> Mapping[int, Explanation]:
    answers = ((one.index, may_send(one, sealed, held)) for one in removals)
    return {index: refusal for index, refusal in answers if refusal is not None}


def refuse_elsewhere(context: RunContext, record: RunRecord, *, looks: bool = False) -> None:
    """Refuse a run that was begun or planned at another place, or under stronger guards.

    A command that only `looks` is free to do so under weaker guards.

    Raises GuardError before any request to a channel; a token may be asked for where only the
    partner's tenant is left to compare.
    """
    planned = None
    if record.channel is not ChannelName.MICROSOFT_GRAPH:  # whose plan is a handoff
        plan = context.sealed.read()
        planned = read_place(plan.place) if plan else None
    begun = read_place(record.settings.get("place"))
    refuse_other_place(context, f"run {record.run}", begun, planned, looks=looks)


def refuse_other_place(
    context: RunContext,
    of: str,
    begun: Place | None,
    planned: Place | None,
    *,
    looks: bool = False,
) -> None:
    """Compare where something was begun and planned with where this process would act."""
    for place in filter(None, (begun, planned)):
        refuse_other_address(of, place, context.place)
        if not looks:
            refuse_weaker_guards(of, place.guards, context.place.guards)
    for place in filter(None, (begun, planned)):
        if place is planned or place.tenant is not None:  # of a removal the plan alone knows it
            refuse_other_partner(of, place, context.partner())


def refuse_other_plan(context: RunContext, plan: Plan) -> None:
    """Refuse a plan file that was made at another place, under stronger guards, or says neither."""
    planned = read_place(plan.place)
    if planned is None:
        raise GuardError(
            "the plan does not say at which service and for which partner it was made",
            rule="other-place",
            remedy="plan the batch again with this version",
        )
    refuse_other_place(context, "the plan", None, planned)


def refuse_stale(context: RunContext, record: RunRecord) -> None:
    """Refuse what an OEM Direct run left open longer ago than the profile allows.

    OEM Direct has no listing: a unit may have been registered since, for its next owner. A
    restored or copied ledger is covered as well, because its last event is as old. Raises
    GuardError; `stale_ok` insists.
    """
    if record.channel is not ChannelName.OEM_DIRECT or record.started_at is None:
        return
    idle = context.now() - context.ledger.last_event_at(record.run)
    if context.options.stale_ok or idle <= timedelta(hours=context.guards.stale_hours):
        return
    raise GuardError(
        f"run {record.run} was left {idle.total_seconds() / 3600:.0f} hours ago, and its units "
        "may have been registered since; OEM Direct cannot tell. Nothing was sent",
        rule="stale",
        remedy="check that none of its open units went to a new owner, then pass --stale-ok; or "
        "run a new batch of the others",
    )


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
    removed_today = context.ledger.used_since(midnight(context.now()), other_than=context.run)
    refused = check(context.guards.limits, plan.devices, plan.customers, removed_today)
    return _refuse(
        context,
        plan,
        (
            replace(
                each,
                outcome=Outcome.REFUSED,
                rule=LIMIT,
                detail=refused[each.customer].detail,
                remedy=refused[each.customer].remedy,
            )
            for each in plan.devices
            if each.customer is not None and each.customer in refused
        ),
    )


def midnight(at: datetime) -> datetime:
    """When the day of a daily limit began, in UTC."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


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
        check = TenantCheck(context, context.open_tenant, context.token)
        code = check.snapshot(options.snapshot_timeout)
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
    for line in risks_in_words(
        {risk: list(map(_name, devices)) for risk, devices in found.items()}
    ):
        context.observer.notify(line)
    return {risk: devices for risk, devices in found.items() if devices}


def name_overlaps(context: RunContext, plan: Plan) -> None:
    """Name each other unfinished run that still has some of the devices to remove."""
    own = {
        _known_as(each.customer, each.device): each.device
        for each in plan.devices
        if each.outcome is Outcome.PENDING
    }
    tenants = {customer for customer, _ in own}
    for state in _UNFINISHED if own else ():
        for record in context.ledger.runs(state=state, channel=plan.channel):
            if record.run == context.run or not ({*record.customers, None} & tenants):
                continue
            open_ones = context.ledger.devices(record.run, states=_OPEN)
            both = [
                own[key]
                for each in open_ones
                if (key := _known_as(each.history.customer, each.device)) in own
            ]
            if both:
                names = ", ".join(str(each.identity.serial_number) for each in both[:NAMED])
                by = f" by {record.actor}" if record.actor else ""
                context.observer.notify(
                    f"run {record.run} ({state}, begun{by}) has {len(both)} of these devices too: "
                    f"{names}{' …' * (len(both) > NAMED)}"
                )


def _known_as(customer: str | None, device: Device) -> tuple[str | None, str]:
    return customer, next(iter(device.identity.names), "").casefold()


_UNFINISHED = (RunState.QUEUED, RunState.RUNNING, RunState.INTERRUPTED, RunState.STOPPED)
_OPEN = frozenset(State) - {State.SETTLED}


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
    return _refuse(context, plan, _risky(options, plan, found))


def decide_by_risks(context: RunContext, plan: Plan, found: Risks) -> Plan:
    """The plan with the risks of each device, and without the removals that they refuse.

    The same decision as in the run, so that a preview says what a run does.
    """
    refused = {each.index: each for each in _risky(context.options, plan, found)}
    named: dict[int, list[str]] = {}
    for risk in Risk:
        for device in found.get(risk, ()):
            named.setdefault(device.index, []).append(risk.value)
    devices = tuple(
        replace(refused.get(each.index, each), risks=tuple(named.get(each.index, ())))
        for each in plan.devices
    )
    return replace(plan, devices=devices, customers=counted(devices, plan.customers))


def _risky(options: RunOptions, plan: Plan, found: Risks) -> list[PlannedDevice]:
    """The devices that may not be removed because of what their tenant shows, refused."""
    accepted = {serial.strip().casefold() for serial in options.accept_locked_firmware}
    why: dict[int, list[str]] = {}
    for risk, devices in found.items():
        for device in devices:
            planned = plan.devices[device.index]
            if risk is Risk.FIRMWARE_MANAGED:
                # A plan that still removes such a device was made with its serial number accepted.
                serial = (planned.device.identity.serial_number or "").strip().casefold()
                if serial not in accepted and risk.value not in planned.risks:
                    why.setdefault(device.index, []).append(WORDS[risk])
            elif options.require_intune_clear and risk in REFUSING:
                why.setdefault(device.index, []).append(WORDS[risk])
    return [
        replace(
            plan.devices[index],
            outcome=Outcome.REFUSED,
            rule=REFUSED,
            detail="; ".join(sorted(reasons)),
            remedy="have the customer finish this first"
            + (
                ", or run it without --require-intune-clear"
                if options.require_intune_clear
                else "; --accept-locked-firmware SERIAL removes it all the same"
            ),
        )
        for index, reasons in sorted(why.items())
        if plan.devices[index].outcome is Outcome.PENDING
    ]


def refuse_wrong_customer(context: RunContext, plan: Plan) -> None:
    """Refuse a batch that hardly any device of the named customer is in. Raises GuardError."""
    if not context.channel.observable:
        return
    refuse_too_few(plan.devices, context.guards.min_found_share, _earlier_customers(context, plan))


def _earlier_customers(context: RunContext, plan: Plan) -> Iterator[str]:
    """The other customers for whom this ledger had some of the devices that were not found."""
    missing = (
        each.device.identity.serial_number
        for each in plan.devices
        if each.outcome is Outcome.NOT_FOUND and each.device.identity.serial_number
    )
    seen = {each.customer.tenant_id for each in plan.customers}
    for trace in context.ledger.trace(*islice(missing, LOOKED_UP)):
        tenant = trace.device.history.customer
        if tenant and tenant not in seen:
            seen.add(TenantId(tenant))
            names = context.ledger.planned_customers([trace.run.run]).get(trace.run.run, ())
            found = next((each for each in names if each.tenant_id == tenant), None)
            yield (found.domain or found.name or tenant) if found else tenant


def refuse_changed(
    context: RunContext,
    planner: Planner,
    plan: Plan,
    settled: Collection[int],
    remaining: Callable[[], Mapping[str, int]],
) -> int:
    """Compare a plan with the service; how many devices are refused.

    `remaining` gives how many devices each customer should still have: an empty list is not
    believed. It is asked only if there is anything to compare.

    Of a plan that this ledger made just now, and that no person was asked about, only `settled`
    doubts are compared: their registration may have been replaced while the answer was missing, and
    any other while the question waited. Only devices of which nothing is under way are compared. A
    plan from the future is as good as an old one: one of the two clocks is wrong.
    """
    is_fresh = timedelta(0) <= context.now() - plan.created_at <= PLAN_GOOD_FOR
    ready = _ready(context)
    if is_fresh and context.options.yes and not plan.is_foreign:
        ready &= frozenset(settled)
    if not ready:
        return 0
    with context.noting_end():
        asked = [each for each in plan.devices if each.index in ready]
        changes = planner.changes(asked, remaining())
    refusals = [
        replace(plan.devices[index], outcome=Outcome.REFUSED, **asdict(replaced(why)))
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
    return next(iter(device.identity.names), f"row {device.device.row}")
