"""Which customers the ledger knows, so that a filter may name one by its domain."""

from __future__ import annotations

import difflib

from partner_tools.errors import InputError
from partner_tools.ledger import Ledger
from partner_tools.model import Customer
from partner_tools.procedure.handing_over import customers_of


def tenant_of(ledger: Ledger, named: str) -> str:
    """The tenant id of a customer of any run, named by tenant id or domain, whatever the case.

    Raises InputError where no run has such a customer, with what is near.
    """
    wanted = named.casefold()
    known: dict[str, Customer] = {}
    for record in ledger.runs():
        if wanted in {tenant.casefold() for tenant in record.customers}:
            return wanted
        for tenant, customer in customers_of(ledger, record).items():
            known.setdefault(tenant, customer)
            if (customer.domain or "").casefold() == wanted:
                return tenant
    names = [name for one in known.values() for name in (one.domain, one.tenant_id) if name]
    near = difflib.get_close_matches(wanted, names, n=3)
    raise InputError(
        f"no run of this ledger has a customer {named!r}"
        + (f"; did you mean {', '.join(near)}?" if near else ""),
        rule="no-such-customer",
        remedy="name a tenant id or a domain that `partner-tools runs --output json` shows",
    )
