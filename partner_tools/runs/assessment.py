"""Assesses devices without a partner's channel: looks into the customer's tenant, changes nothing.

An assessment is a run like any other, by `runs.run`, whose only work is the look. Registrations
that a person removes on Partner Center's pages are recorded as that person's word (`mark_done`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, NoReturn

from partner_tools import near_serials
from partner_tools.engine.channel import Polling
from partner_tools.errors import InputError
from partner_tools.events import Kind
from partner_tools.ledger import Ledger, RunDevice, RunRecord
from partner_tools.model import (
    ChannelName,
    Customer,
    Device,
    Outcome,
    Plan,
    PlannedCustomer,
    PlannedDevice,
)
from partner_tools.outstanding.evidence import observed
from partner_tools.outstanding.types import (
    EvidenceSource,
    Plane,
    Probe,
    ProbeResult,
    Report,
    Status,
)
from partner_tools.plan import PlanProposal, held_back, is_held, without_duplicates
from partner_tools.runs.context import RunContext
from partner_tools.runs.observation import BY_HAND_RULE, TenantCheck, decision
from partner_tools.runs.planning import make_plan, stored_plan


class NoChannel:
    """The channel of an assessment, which plans no removal and could send none."""

    name = ChannelName.ASSESSMENT
    call_size = 1
    observable = False
    repeats = False
    polling = Polling()

    def remove(self, *_args: Any, **_named: Any) -> NoReturn:
        """Refuse, as every other request that would change something."""
        raise AssertionError("an assessment sends no request that changes anything")

    poll = recall = remove


@dataclass(slots=True, kw_only=True)
class AssessmentSteps:
    """The `runs.run.Steps` of an assessment, of one customer's devices."""

    end: ClassVar[Kind] = Kind.ASSESSED
    context: RunContext
    customer: Customer

    def plan(self) -> Plan:
        """Take every device of the list as it is named; nothing is asked of a service."""
        context = self.context
        record = context.ledger.run(context.run)
        plan = stored_plan(context, self, record) or make_plan(context, self, record)
        context.observer.planned(plan)
        return plan

    def draft(
        self, devices: Sequence[Device], *, default_customer: str | None, held: frozenset[str]
    ) -> PlanProposal:
        """Every device assessed, but for those that the list repeats or the hold list names."""
        planned = (
            PlannedDevice(
                index=index,
                device=device,
                customer=self.customer.tenant_id,
                outcome=Outcome.ASSESSED,
                rule=BY_HAND_RULE if self.context.options.by_hand else None,
            )
            for index, device in enumerate(devices)
        )
        kept = (held_back(each) if is_held(each, held) else each for each in planned)
        customer = PlannedCustomer(customer=self.customer, estate=0, removals=0)
        return PlanProposal(devices=without_duplicates(kept), customers=(customer,))

    def check(self, plan: Plan) -> Plan:
        """The plan as it is: nothing is removed that a guard could refuse."""
        return plan

    def count(self, plan: Plan) -> int:
        """No device is changed."""
        return 0

    def compare(self, plan: Plan, settled: Collection[int]) -> None:
        """Nothing: the look is the work."""

    def execute(self, plan: Plan) -> None:
        """Look into the customer's tenant for every device that no look has seen yet."""
        context = self.context
        if context.open_tenant is None:
            context.observer.notify(
                "there is no sign-in for the customer's tenant: every plane is not verified. "
                "PARTNER_TOOLS_GRAPH_TOKEN or graph.access in the profile gives one"
            )
            return
        context.observer.notify("looking into the customer's tenant, which changes nothing")
        TenantCheck(context, context.open_tenant, context.token).snapshot()

    def verify(self) -> None:
        """Nothing: nothing was removed."""

    def unfinished(self) -> str | None:
        """Never: what could not be seen is not verified."""


def assessed(ledger: Ledger, record: RunRecord, at: datetime) -> dict[int, dict[str, Any]]:
    """Per device of an assessment what a result says besides: every plane, and that in words."""
    told: dict[int, dict[str, Any]] = {}
    for device in ledger.devices(record.run):
        if device.history.outcome is not Outcome.ASSESSED:
            continue
        decided = decision(device, record.reason, at).planes
        planes = {plane.value: each.status.value for plane, each in decided.items()}
        left = {
            status: ", ".join(plane for plane, one in planes.items() if one == status)
            for status in Status
            if status not in (Status.CLEAR, Status.NOT_APPLICABLE)
        }
        words = "; ".join(f"{status}: {names}" for status, names in left.items() if names)
        told[device.index] = {"planes": planes, "detail": words or "clear on every plane"}
    return told


def refuse_other_customers(
    devices: Sequence[Device], customer: Customer, tenant_of: Callable[[str], str | None]
) -> None:
    """Refuse a list whose own column names another customer. Raises InputError.

    `tenant_of` gives the tenant of an id or a domain; None for a cell that is neither, such as the
    customer's name, which travels along.
    """
    named = Counter(each.customer for each in devices if each.customer)
    others = [
        f"{name} ({count})"
        for name, count in named.most_common()
        if tenant_of(name) not in (None, customer.tenant_id)
    ]
    if others:
        raise InputError(
            f"the list names another customer than {customer.domain or customer.tenant_id}: "
            f"{', '.join(others[:5])}; nothing was looked at",
            rule="other-customer",
            remedy="assess each customer's devices with its own --customer; --only COLUMN=VALUE "
            "takes the rows of one",
        )


def mark_done(
    ledger: Ledger,
    record: RunRecord,
    names: Collection[str] | None,
    *,
    by: str | None,
    at: datetime,
) -> None:
    """Record that a person removed these registrations on Partner Center's pages.

    `names` are serial numbers or product key ids; None means every device of the run. All of them
    are recorded or none. Raises InputError for a run whose removals are not made by hand, and for
    names that are no device of it.
    """
    if not record.settings.get("byHand"):
        raise InputError(
            f"no person removes the registrations of run {record.run}: its channel is "
            f"{record.channel}; nothing was recorded",
            rule="not-by-hand",
            remedy="name a run of `partner-tools assess --by-hand`; `partner-tools verify` asks "
            "the services about any other",
        )
    devices = [
        each for each in ledger.devices(record.run) if each.history.outcome is not Outcome.DUPLICATE
    ]
    known = {name: each for each in devices for name in each.identity.names}
    chosen = {each.index for each in devices if each.history.outcome is Outcome.ASSESSED}
    if names is not None:
        objections = (_objection(ledger, name, known) for name in dict.fromkeys(names))
        if wrong := list(filter(None, objections)):
            raise InputError(
                f"nothing was recorded: {len(wrong)} of {len(names)} names are of no device to "
                f"mark as done in run {record.run}:\n" + "\n".join(wrong),
                rule="no-such-device",
                remedy="correct the list, and repeat it whole; `partner-tools runs "
                f"{record.run}` lists the devices of the run",
            )
        chosen = {known[name].index for name in names}
    said = Probe(
        plane=Plane.AUTOPILOT,
        result=ProbeResult.ABSENT,
        observed_at=at,
        source=EvidenceSource.PARTNER,
        report=Report(at=at, file=at, account=by),
    )
    ledger.record([observed(each, said) for each in devices if each.index in chosen])


def _objection(ledger: Ledger, name: str, known: Mapping[str, RunDevice]) -> str | None:
    """Why a name cannot be marked as done in the run; None where it can."""
    if name in known:
        is_held = known[name].history.outcome is not Outcome.ASSESSED
        return f"  {name}: the hold list names it; it must stay" if is_held else None
    if similar := near_serials.near(name, near_serials.index(known)):
        return f"  {name}: not in this run; did you mean {', '.join(similar)}?"
    for trace in ledger.trace(name):
        customer = trace.device.history.customer or "no customer"
        return f"  {name}: not in this run, but in run {trace.run.run} ({customer})"
    return f"  {name}: not in this run, nor in any other of this ledger"
