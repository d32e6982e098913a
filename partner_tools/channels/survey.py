"""Reads the estates of a batch's customers, each on its own: who cannot be served stops nobody."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from partner_tools.errors import Rejected, ServiceError, Unavailable, Unreadable
from partner_tools.model import Customer, Estate, TenantId
from partner_tools.plan import Index, Unserved, index

OF_ONE_CUSTOMER = (Rejected, Unavailable, Unreadable)
"""What the service can say of one customer's list while it serves another's. Anything else, such
as a host out of reach or a limit that was reached, would be the same for the next one."""


class BarredError(ServiceError):
    """This partner may not act for the customer; other customers may still be served."""

    default_rule = "no-relationship"
    exit_code = 4

    def __init__(self, message: str, *, tenant: TenantId | None, **more: Any) -> None:
        super().__init__(message, **more)
        self.tenant = tenant


@dataclass(slots=True, kw_only=True)
class Survey:
    """The estates that were read, by tenant, and the customers as the batch names them."""

    estates: dict[TenantId, Estate] = field(default_factory=dict)
    indexes: dict[str, Index] = field(default_factory=dict)
    unserved: dict[str, Unserved] = field(default_factory=dict)


def survey(
    names: Collection[str], find: Callable[[str], Customer], read: Callable[[Customer], Estate]
) -> Survey:
    """Find every customer, then read each estate. A name is compared without regard to case.

    Raises what `find` raises for a customer that is not there, before any estate is read; and
    what keeps an estate from being read where that befalls all of them.
    """
    seen = Survey()
    tenants: dict[str, Customer] = {}
    for named in names:
        try:
            tenants[named.casefold()] = find(named)
        except BarredError as error:
            seen.unserved[named.casefold()] = _barred(error)
    failures: list[ServiceError] = []
    for named, customer in tenants.items():
        try:
            if customer.tenant_id not in seen.estates:
                seen.estates[customer.tenant_id] = read(customer)
            seen.indexes[named] = index(seen.estates[customer.tenant_id])
        except BarredError as error:
            seen.unserved[named] = _barred(error)
        except OF_ONE_CUSTOMER as error:
            failures.append(error)
            seen.unserved[named] = _unread(error, customer)
    if failures and not seen.indexes:
        raise failures[0]
    return seen


def _barred(error: BarredError) -> Unserved:
    return Unserved(
        rule=error.rule, detail=error.message, remedy=error.remedy, customer=error.tenant
    )


def _unread(error: ServiceError, customer: Customer) -> Unserved:
    named = customer.domain or customer.tenant_id
    return Unserved(
        rule="inventory-unreadable",
        detail=f"the devices of {named} could not be listed completely, and on an incomplete list "
        f"nothing is removed: {error}",
        remedy="run the batch again later; what is gone by then is named",
        customer=customer.tenant_id,
    )
