"""Look up the ledger's customers: their names, and the ones that a filter means."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from partner_tools.errors import InputError
from partner_tools.json_forms import read_customer
from partner_tools.ledger import Ledger, RunRecord
from partner_tools.model import Customer, RunId


def customers_by_run(
    ledger: Ledger, records: Sequence[RunRecord]
) -> Mapping[RunId, tuple[Customer, ...]]:
    """The customers of each run in the order of its plan, answered by index.

    A tenant that the plan does not name, or not any more, has its id alone.
    """
    planned = ledger.planned_customers([record.run for record in records])
    return {record.run: _all_of(record, planned.get(record.run, ())) for record in records}


def tenant_of(ledger: Ledger, named: str) -> str:
    """The tenant id of a customer of any run, named by tenant id or domain, whatever the case.

    Raises InputError where no run has such a customer, with what is near.
    """
    wanted = named.casefold()
    known: dict[Customer, None] = {}
    for customer in _known(ledger):
        if wanted == customer.tenant_id.casefold():
            return wanted
        if wanted == (customer.domain or "").casefold():
            return customer.tenant_id
        known[customer] = None
    near = _near(wanted, known)
    raise InputError(
        f"no run of this ledger has a customer {named!r}"
        + (f"; did you mean {', '.join(near)}?" if near else ""),
        rule="no-such-customer",
        remedy="name a tenant id or a domain that `partner-tools runs` shows",
    )


def customers_of(ledger: Ledger, record: RunRecord) -> Mapping[str, Customer]:
    """The customers as the plan knows them; none where the plan was purged."""
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


def _near(wanted: str, known: Iterable[Customer]) -> list[str]:
    """The domains, or tenant ids, of customers that are nearly called so; three at most.

    The ending that all Microsoft tenants share doesn't make two of them similar.
    """
    called = {
        text.casefold().partition(".")[0]: one.domain or one.tenant_id
        for one in known
        for text in (one.tenant_id, one.name, one.domain)
        if text
    }
    near = difflib.get_close_matches(wanted.partition(".")[0], called, n=3)
    return list(dict.fromkeys(called[each] for each in near))


def _all_of(record: RunRecord, planned: Sequence[Customer]) -> tuple[Customer, ...]:
    named = {each.tenant_id for each in planned}
    rest = (Customer(tenant_id=each) for each in record.customers if each not in named)
    return (*planned, *rest)
