"""What speaks against a removal right before it: the hold list, and the customer's tenant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from partner_tools.events import Event, State
from partner_tools.ledger import Ledger, RunDevice
from partner_tools.model import Outcome, Plan, RunId
from partner_tools.outstanding.decision import REFUSING, WORDS, Risk, risks
from partner_tools.plan import held_back, is_held
from partner_tools.runs.observation import decision
from partner_tools.runs.planning import resolution, without

REFUSED = "intune-not-clear"
"""The rule by which a device is refused that the customer has to let go of first."""


def risks_of(ledger: Ledger, run: RunId, at: datetime) -> dict[Risk, list[RunDevice]]:
    """The devices that may be removed and have risks, by risk in the order of `Risk`."""
    reason = ledger.run(run).reason
    found: dict[Risk, list[RunDevice]] = {risk: [] for risk in Risk}
    for device in ledger.devices(run, states={State.READY}):
        for risk in risks(decision(device, reason, at)):
            found[risk].append(device)
    return {risk: devices for risk, devices in found.items() if devices}


def refuse_held(ledger: Ledger, plan: Plan, held: Collection[str], at: datetime) -> Plan:
    """Refuse what the hold list names by now, though the plan may be older; durable on return.

    The plan without these removals.
    """
    ready = {each.index for each in ledger.devices(plan.run, states={State.READY})}
    found = [each for each in plan.devices if each.index in ready and is_held(each, held)]
    ledger.record([resolution(plan.run, held_back(each), at) for each in found])
    return without(plan, frozenset(each.index for each in found))


def refuse_risky(
    ledger: Ledger, plan: Plan, found: Mapping[Risk, Sequence[RunDevice]], at: datetime
) -> Plan:
    """Refuse the devices that are not clear of their tenant; durable on return.

    The plan without their removals.
    """
    why: dict[int, list[str]] = {}
    for risk in REFUSING & set(found):
        for device in found[risk]:
            why.setdefault(device.index, []).append(WORDS[risk])
    ledger.record([_refusal(plan, index, reasons, at) for index, reasons in sorted(why.items())])
    return without(plan, frozenset(why))


def _refusal(plan: Plan, index: int, reasons: Sequence[str], at: datetime) -> Event:
    refused = replace(
        plan.devices[index],
        outcome=Outcome.REFUSED,
        rule=REFUSED,
        detail="; ".join(sorted(reasons)),
        remedy="have the customer finish this first, or run it without --require-intune-clear",
    )
    return resolution(plan.run, refused, at)
