"""Whether the parts of a plan agree: what it says of customers follows from its devices. Pure.

A digest shows that a plan is as it was sealed, not who sealed it: whoever edits one can seal it
anew. What a person reads in it, and what limits are counted by, must be what would be removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from partner_tools.model import ChannelName, Outcome, Plan, PlannedDevice
from partner_tools.plan import counts, is_named


def disagreements(plan: Plan, said: Mapping[str, int]) -> Iterator[str]:
    """Everything in which a plan contradicts itself; `said` are the counts that it states."""
    if dict(said) != counts(each.outcome for each in plan.devices):
        yield "its counts are not those of its devices"
    yield from _about_customers(plan)
    if plan.channel is ChannelName.PARTNER_CENTER:
        yield from _about_targets(plan)


def _about_customers(plan: Plan) -> Iterator[str]:
    listed = Counter(each.customer.tenant_id for each in plan.customers)
    removals = Counter(each.customer for each in _removals(plan) if each.customer is not None)
    for tenant in listed:
        if listed[tenant] > 1:
            yield f"it lists the customer {tenant!r} more than once"
    for tenant in removals:
        if tenant not in listed:
            yield f"it removes devices of {tenant!r}, which is not among its customers"
    for each in plan.customers:
        tenant = each.customer.tenant_id
        if each.removals != removals[tenant]:
            yield f"it says {each.removals} removals for {tenant!r}, and names {removals[tenant]}"
        if plan.channel is ChannelName.PARTNER_CENTER and each.estate < removals[tenant]:
            yield f"it removes more devices of {tenant!r} than that customer has"


def _about_targets(plan: Plan) -> Iterator[str]:
    rows: dict[object, int] = {}
    for each in _removals(plan):
        row = each.device.row
        if each.customer is None or each.target is None or each.found is None:
            yield f"row {row} does not say which registration would be removed"
            continue
        if not is_named(each.device.identity, each.found):
            yield f"row {row} names another device than the one that would be removed"
        first = rows.setdefault((each.customer, each.target), row)
        if first != row:
            yield f"rows {first} and {row} remove the same registration"


def _removals(plan: Plan) -> Iterator[PlannedDevice]:
    return (each for each in plan.devices if each.outcome is Outcome.PENDING)
