"""Look up the ledger's customers: their names, and the ones that a filter names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from partner_tools.errors import InputError, ambiguous_customer
from partner_tools.json_forms import read_customer
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.model import Customer, RunId, is_guid
from partner_tools.near_serials import near_customers


def customers_by_run(
    ledger: Ledger, records: Sequence[RunRecord]
) -> Mapping[RunId, tuple[Customer, ...]]:
    """The customers of each run in the order of its plan, answered by index.

    A tenant that the plan does not name, or no longer names, has only its id.
    """
    planned = ledger.planned_customers([record.run for record in records])
    return {record.run: _all_of(record, planned.get(record.run, ())) for record in records}


def tenant_of(ledger: Ledger, named: str) -> str:
    """The tenant id of a customer of any run, named by tenant id, domain or company name.

    In any letter case. Raises InputError if no run has such a customer, with what is near, and
    if several have the name.
    """
    wanted = named.casefold()
    if is_guid(wanted) and ledger.runs(customer=wanted, limit=1):
        return wanted
    known: dict[Customer, None] = {}
    for customer in _known(ledger):
        if wanted == customer.tenant_id.casefold():
            return wanted
        if wanted == (customer.domain or "").casefold():
            return customer.tenant_id
        known[customer] = None
    by_name = {each.tenant_id: each for each in known if (each.name or "").casefold() == wanted}
    if len(by_name) == 1:
        return next(iter(by_name))
    if by_name:
        raise ambiguous_customer(named, list(by_name.values()))
    near = near_customers(wanted, known)
    raise InputError(
        f"no run of this ledger has a customer {named!r}"
        + (f"; did you mean {', '.join(near)}?" if near else ""),
        rule="no-such-customer",
        remedy="name a tenant id, a domain or a company name that `partner-tools runs` shows",
    )


def customers_of(ledger: Ledger, record: RunRecord) -> Mapping[str, Customer]:
    """The customers as the plan knows them; none if the plan was purged."""
    document = json.loads(ledger.plan(record.run) or "{}")
    return {each["tenantId"]: read_customer(each) for each in document.get("customers", ())}


def _known(ledger: Ledger) -> Iterator[Customer]:
    """Every customer of every run, newest first; last by the plans whose event did not name it.

    A plan is read as a whole, which takes long, and doesn't list runs without customers.
    """
    records = ledger.runs()
    by_run = customers_by_run(ledger, records)
    for record in records:
        yield from by_run[record.run]
    for record in records:
        if record.customers and not any(each.domain for each in by_run[record.run]):
            yield from customers_of(ledger, record).values()


def _all_of(record: RunRecord, planned: Sequence[Customer]) -> tuple[Customer, ...]:
    named = {each.tenant_id for each in planned}
    rest = (Customer(tenant_id=each) for each in record.customers if each not in named)
    return (*planned, *rest)
