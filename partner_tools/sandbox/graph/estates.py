"""The tenants behind Microsoft Graph: founded when somebody first looks, and kept up to date."""

from __future__ import annotations

from collections.abc import Callable

from partner_tools.sandbox.faults import GraphQuirks
from partner_tools.sandbox.graph.estate import Estate
from partner_tools.sandbox.graph.founding import found, register
from partner_tools.sandbox.graph.leaving import begin_parting
from partner_tools.sandbox.seed import SeedCustomer, SeedDevice
from partner_tools.sandbox.state import State


class Estates:
    """Every tenant by its id. Callers hold the state's lock."""

    def __init__(self, state: State, quirks: Callable[[], GraphQuirks]) -> None:
        self._state = state
        self._quirks = quirks
        self._estates: dict[str, Estate] = {}
        state.follow(self._catch_up)

    def of(self, tenant: str) -> Estate:
        """The tenant (id or domain) as it is now; an empty one where there is no such customer."""
        now = self._state.settle()
        customer = self._state.customer(tenant)
        key = customer.tenant_id.lower() if customer else tenant.lower()
        if key not in self._estates:
            self._estates[key] = self._founded(key, customer)
        self._follow(self._estates[key], now)
        return self._estates[key]

    def _founded(self, key: str, customer: SeedCustomer | None) -> Estate:
        def withdraw(batch_id: str, device_id: str, at: float) -> None:
            self._state.withdraw(key, batch_id, device_id, at=at)

        if customer is None:
            customer = SeedCustomer(tenant_id=key, domain=key, name=key)
        estate = Estate(
            tenant_id=customer.tenant_id,
            domain=customer.domain,
            name=customer.name,
            habits=customer.tenant,
            quirks=self._quirks,
            withdraw=withdraw,
        )
        found(
            estate,
            ((batch.id, device) for batch in customer.batches for device in batch.devices),
        )
        return estate

    def _catch_up(self, now: float) -> None:
        for estate in self._estates.values():
            self._follow(estate, now)

    def _follow(self, estate: Estate, now: float) -> None:
        if self._state.customer(estate.tenant_id) is not None:
            for change in self._state.changes(estate.tenant_id, estate.seen):
                estate.seen += 1
                self._apply(estate, change.batch_id, change.device, change.at, change.registered)
        estate.happen(now)

    def _apply(
        self, estate: Estate, batch_id: str, device: SeedDevice, at: float, registered: bool
    ) -> None:
        if registered:
            register(estate, batch_id, device)
        elif device.id in estate.identity_ids:
            begin_parting(estate, estate.identity_ids[device.id], at)
