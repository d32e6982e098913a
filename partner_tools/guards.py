"""The preconditions of every removal. Pure: limits and a plan in, refusals out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from partner_tools.errors import GuardError, InputError
from partner_tools.homoglyphs import folded, shown_name
from partner_tools.model import (
    Customer,
    Explanation,
    Outcome,
    Plan,
    PlannedCustomer,
    PlannedDevice,
    TenantId,
)

DEFAULT_MAX_DEVICES = 500
LIMIT = "limit"
"""The rule by which a limit refuses."""
TYPED_CONFIRMATION_ABOVE = 50
"""More removals than this ask for the customer's domain instead of a y."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a profile or a flag. None means no limit."""

    max_devices: int = DEFAULT_MAX_DEVICES
    max_devices_per_day: int | None = None
    max_estate_share: float | None = None
    """Between 0 and 1: the part of a customer's estate that one run may take."""


_NO_IDENTIFIER = frozenset(",;|#\"'`\u2018\u2019\u201c\u201d")


def read_hold_list(text: str, file: str) -> frozenset[str]:
    """The lines of a hold list: one serial number or product key id each, comments after `#`.

    Raises InputError for a line that is not one identifier: a list that is read otherwise than its
    author meant it protects nothing.
    """
    lines = set()
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.strip()
        if not folded(plain) or plain.startswith("#"):
            continue
        if wrong := sorted(_NO_IDENTIFIER & set(plain)):
            raise InputError(
                f"line {number} of the hold list {file!r} is not one identifier: it has "
                f"{' and '.join(wrong)} in it",
                rule="hold-list-line",
                remedy="write one serial number or product key id a line, and comments on lines of "
                "their own that begin with #; nothing is removed before that",
            )
        lines.add(plain)
    return frozenset(lines)


def check(
    limits: Limits,
    planned: Sequence[PlannedDevice],
    customers: Sequence[PlannedCustomer],
    removed_today: Mapping[str, int],
) -> Mapping[TenantId, Explanation]:
    """The customers whose own limit the plan passes; the others' devices may go.

    `removed_today` counts, by tenant id, this ledger's removals since midnight UTC.
    Raises GuardError, naming every limit passed, if that leaves no customer, or if the others'
    devices are more than one run may remove.
    """
    refused = {}
    for each in counted(planned, customers):
        passed = (
            _too_large_a_share(limits, each),
            _too_many_today(limits, each, removed_today),
        )
        if reasons := list(filter(None, passed)):
            refused[each.customer.tenant_id] = _joined(reasons)
    left = sum(each.outcome is Outcome.PENDING and each.customer not in refused for each in planned)
    overall = _too_many(limits, left or count_removals(planned))
    if overall or (refused and not left):
        raise _error([*filter(None, [overall]), *refused.values()])
    return refused


def counted(
    planned: Iterable[PlannedDevice], customers: Iterable[PlannedCustomer]
) -> tuple[PlannedCustomer, ...]:
    """The customers with the removals that the devices come to, those too that are not listed."""
    removals = Counter(
        each.customer
        for each in planned
        if each.outcome is Outcome.PENDING and each.customer is not None
    )
    listed = {each.customer.tenant_id: each for each in customers}
    for tenant in removals:
        unseen = PlannedCustomer(customer=Customer(tenant_id=tenant), estate=0, removals=0)
        listed.setdefault(tenant, unseen)
    return tuple(replace(each, removals=removals[tenant]) for tenant, each in listed.items())


def _joined(reasons: Sequence[Explanation]) -> Explanation:
    return Explanation(
        rule=LIMIT,
        detail="; ".join(each.detail for each in reasons),
        remedy="; ".join(dict.fromkeys(each.remedy for each in reasons)),
    )


def _error(reasons: Sequence[Explanation]) -> GuardError:
    all_ = _joined(reasons)
    return GuardError(all_.detail, rule=LIMIT, remedy=all_.remedy)


def check_number(limits: Limits, removals: int) -> None:
    """Refuse more devices at once than the limit allows. Raises GuardError."""
    if reason := _too_many(limits, removals):
        raise _error([reason])


def refuse_overdrawn(limits: Limits, plan: Plan, used: Mapping[str, int]) -> None:
    """Refuse a run whose removals no longer fit today's limit of a customer. Raises GuardError.

    `used` counts, by tenant id, what was removed today and what other runs have reserved.
    """
    counts = counted(plan.devices, plan.customers)
    if reasons := list(filter(None, (_too_many_today(limits, each, used) for each in counts))):
        raise _error(reasons)


TOO_FEW_OF = 10
"""A smaller batch may be mistyped as a whole."""


def refuse_too_few(
    planned: Sequence[PlannedDevice], share: float, belonged_to: Iterable[str]
) -> None:
    """Refuse a batch of which too few devices are registered for the customer that it names.

    A wrong customer looks like this. `belonged_to` names the other customers for whom this ledger
    removed such devices. Raises GuardError.
    """
    asked = [each for each in planned if each.outcome is not Outcome.DUPLICATE]
    found = sum(each.outcome is not Outcome.NOT_FOUND for each in asked)
    if len(asked) < TOO_FEW_OF or found >= share * len(asked):
        return
    others = ", ".join(belonged_to)
    raise GuardError(
        f"only {found} of {len(asked)} devices are registered for the named customer: nothing was "
        f"removed" + (f". Earlier runs had such devices for {others}" if others else ""),
        rule="too-few-found",
        remedy="check the customer; if it is right, pass --min-found 0, or set "
        "guards.min_found_share in the profile",
    )


def count_removals(planned: Iterable[PlannedDevice]) -> int:
    return sum(device.outcome is Outcome.PENDING for device in planned)


def count_nobodys(planned: Iterable[PlannedDevice]) -> int:
    """How many devices of no customer the plan would remove; OEM Direct alone has such."""
    return sum(each.outcome is Outcome.PENDING and each.customer is None for each in planned)


def question(customers: Iterable[PlannedCustomer], nobodys: int = 0) -> str:
    """Return the text to confirm: the part of each customer's estate to be removed."""
    lines = [f"  {display_name(each)}: {_of_estate(each)}" for each in customers if each.removals]
    return "\n".join([*lines, *([f"  no customer named: {_devices(nobodys)}"] if nobodys else [])])


def _of_estate(planned: PlannedCustomer) -> str:
    """OEM Direct has no listing: there the size of an estate is not known, and 0."""
    if not planned.estate:
        return _devices(planned.removals)
    return f"{planned.removals} of this customer's {_devices(planned.estate)}"


def _devices(number: int) -> str:
    return f"{number} device" if number == 1 else f"{number} devices"


def expected_answer(customers: Sequence[PlannedCustomer], nobodys: int = 0) -> str | None:
    """Return the text to type where a y is too little; None where a y is enough.

    Or where there is nothing to type: the `nobodys` have no known customer.
    """
    concerned = [each for each in customers if each.removals]
    removals = nobodys + sum(each.removals for each in concerned)
    if removals <= TYPED_CONFIRMATION_ABOVE or not concerned:
        return None
    largest = max(concerned, key=lambda each: each.removals)
    return largest.customer.domain or str(largest.customer.tenant_id)


def display_name(planned: PlannedCustomer) -> str:
    """The customer as a person knows it."""
    customer = planned.customer
    known = dict.fromkeys(part for part in (customer.name, customer.domain) if part)
    shown = " · ".join(part for part in known if part != customer.tenant_id)
    return shown_name(f"{shown} ({customer.tenant_id})" if shown else customer.tenant_id) or ""


def _too_many(limits: Limits, removals: int) -> Explanation | None:
    if removals <= limits.max_devices:
        return None
    return Explanation(
        rule=LIMIT,
        detail=f"{_devices(removals)} would be removed, more than the limit of "
        f"{limits.max_devices}",
        remedy=f"if that is right, run it again with --max-devices {removals}",
    )


def _too_large_a_share(limits: Limits, each: PlannedCustomer) -> Explanation | None:
    share = each.removals / each.estate if each.estate else 0.0
    if limits.max_estate_share is None or share <= limits.max_estate_share:
        return None
    return Explanation(
        rule=LIMIT,
        detail=f"{each.removals} of the {_devices(each.estate)} of {display_name(each)} would "
        f"be removed, more than the share of {limits.max_estate_share * 100:g}%",
        remedy="raise guards.max_estate_share in the profile if that is right",
    )


def _too_many_today(
    limits: Limits, each: PlannedCustomer, removed_today: Mapping[str, int]
) -> Explanation | None:
    before = removed_today.get(each.customer.tenant_id, 0)
    allowed = limits.max_devices_per_day
    if allowed is None or not each.removals or before + each.removals <= allowed:
        return None
    return Explanation(
        rule=LIMIT,
        detail=f"{display_name(each)} lost {_devices(before)} today and would lose "
        f"{each.removals} more, above the daily limit of {allowed}",
        remedy="wait until tomorrow (UTC), or raise limits.max_devices_per_day in the profile",
    )
