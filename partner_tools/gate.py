"""Whether one request may be sent: the only gate before an intent, on every path. Pure.

Guards are an invariant, not a phase. `may_send` is asked directly before every intent is recorded:
at the first attempt, before every repeat, after a doubt was settled, on `resume`, in a slice of a
fleet, and before each step of a cleanup. It believes the sealed plan and nothing else: rows that
another role of the database can write are what it checks, not what it relies on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from partner_tools.model import Explanation, Identity, Outcome, PlannedDevice, Target
from partner_tools.plan import is_held


@dataclass(frozen=True, slots=True, kw_only=True)
class IntendedRequest:
    """A request about to be sent: the device of the run, and its identifiers for the service."""

    index: int
    identity: Identity
    customer: str | None
    target: Target | None


def may_send(
    request: IntendedRequest, sealed: Mapping[int, PlannedDevice], held: Collection[str]
) -> Explanation | None:
    """Why this request may not be sent; None where it may.

    `sealed` holds the devices of the plan whose digest the run's own chain names, by index;
    `held` is the hold list as it is now.
    """
    planned = sealed.get(request.index)
    if planned is None or planned.outcome is not Outcome.PENDING:
        return Explanation(
            rule="not-in-plan",
            detail="the plan does not name this device for removal: its row was written by "
            "something else, and nothing was sent",
            remedy="verify the ledger with `partner-tools ledger verify`, and plan the batch again",
        )
    if difference := _difference(request, planned):
        return Explanation(
            rule="differs-from-plan",
            detail=f"its {difference} in the ledger is not the one of the sealed plan: nothing was "
            "sent",
            remedy="verify the ledger with `partner-tools ledger verify`, and plan the batch again",
        )
    if is_held(planned, held):
        return Explanation(
            rule="hold-list",
            detail="the hold list names this device",
            remedy="take it off the hold list if it may be removed",
        )
    return None


def _difference(request: IntendedRequest, planned: PlannedDevice) -> str | None:
    """Describe how the request differs from the plan; a hardware hash is in neither."""
    if request.target != planned.target:
        return "registration"
    if request.customer != planned.customer:
        return "customer"
    for name in ("serial_number", "product_key_id", "manufacturer", "model"):
        if getattr(request.identity, name) != getattr(planned.device.identity, name):
            return name.replace("_", " ")
    return None
