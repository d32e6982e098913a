"""Partner Center as the engine needs it: lists estates, plans on them, removes one device a call.

Each customer's estate is read on its own, so that one unreachable customer stops no other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from partner_tools.clients.answers import ListGuard
from partner_tools.clients.partner_center import Cursor, DeviceBatch, PartnerCenter, ResourcePage
from partner_tools.clients.refusals import RefusalSubject, subject_of
from partner_tools.engine.channel import Answer, Polling, Removal, Sightings, Verdict
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.engine.verification import estate_vanished
from partner_tools.errors import (
    AuthError,
    InputError,
    Rejected,
    ServiceError,
    Unavailable,
    Unreadable,
    ambiguous_customer,
)
from partner_tools.guards import counted
from partner_tools.homoglyphs import folded
from partner_tools.model import (
    ChannelName,
    Customer,
    Device,
    Estate,
    Explanation,
    Identity,
    Outcome,
    PlannedCustomer,
    PlannedDevice,
    Registration,
    Target,
    TenantId,
    is_guid,
)
from partner_tools.near_serials import near_customers
from partner_tools.outstanding.evidence import PLACEHOLDER_SERIALS
from partner_tools.plan import (
    NOTED,
    Index,
    PlanProposal,
    Unserved,
    changes,
    difference,
    index,
    notes_on,
    replaced,
    resolve,
    spelling,
)

OF_ONE_CUSTOMER = (Rejected, Unavailable, Unreadable)
"""Errors that may concern one customer's list while another's is served. Anything else, such
as an unreachable host or an exhausted limit, would be the same for the next one."""


class BarredError(ServiceError):
    """This partner may not act for the customer; other customers may still be served."""

    default_rule = "no-relationship"
    exit_code = 4

    def __init__(self, message: str, *, tenant: TenantId | None, **more: Any) -> None:
        super().__init__(message, **more)
        self.tenant = tenant


def _unserved(error: BarredError) -> Unserved:
    return Unserved(
        rule=error.rule, detail=error.message, remedy=error.remedy, customer=error.tenant
    )


T = TypeVar("T")

NO_POLLING = Polling()
"""Partner Center's delete is synchronous: its polling is never used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerCenterChannel:
    """Implements `engine.channel.Channel`, and lists estates for planning and verification.

    `concurrency` is the number of batches listed at a time. `listed` is told of each page of
    devices: whose, and how many; by several threads at a time.
    """

    client: PartnerCenter
    executor: RequestExecutor
    now: Callable[[], datetime]
    concurrency: int = 32
    name: ChannelName = ChannelName.PARTNER_CENTER
    call_size: int = 1
    observable: bool = True
    repeats: bool = True
    polling: Polling = NO_POLLING
    listed: Callable[[str, int], None] = lambda _tenant, _devices: None

    def draft(
        self, devices: Sequence[Device], *, default_customer: str | None, held: frozenset[str]
    ) -> PlanProposal:
        """List the estates of all customers of the batch, and plan every device, in its order.

        Raises InputError for a customer that is not there. A customer that this partner may not
        act for, or one of several whose devices cannot be listed completely, has its devices
        refused, and the others are served.
        """
        wanted = _wanted(devices)
        names = dict.fromkeys(each.customer or default_customer or "" for each in devices)
        estates, indexes, unserved = self._estates(
            names, keep_hash=lambda found: not wanted.isdisjoint(map(str.strip, found.names))
        )
        planned = resolve(
            devices, indexes, default_customer=default_customer, held=held, unserved=unserved
        )
        return PlanProposal(
            devices=planned,
            customers=counted(
                planned,
                (
                    PlannedCustomer(
                        customer=each.customer, estate=len(each.registrations), removals=0
                    )
                    for each in estates
                ),
            ),
            notes=(*notes_on(planned), *_notes_of(estates)),
            kit=_kit(planned, estates),
        )

    def _estates(
        self, names: Iterable[str], keep_hash: Callable[[Registration], bool]
    ) -> tuple[Collection[Estate], dict[str, Index], dict[str, Unserved]]:
        """Find every customer, then read each estate; these, indexes by name, and who is unserved.

        A name is compared without regard to case. Raises InputError for a customer that is not
        there, before any estate is read; and what keeps an estate from being read where that
        befalls all of them.
        """
        customers: dict[str, Customer] = {}
        unserved: dict[str, Unserved] = {}
        for named in names:
            try:
                customers[named.casefold()] = self.customer(named)
            except BarredError as error:
                unserved[named.casefold()] = _unserved(error)
        estates: dict[TenantId, Estate] = {}
        indexes: dict[str, Index] = {}
        failures: list[ServiceError] = []
        for named, customer in customers.items():
            tenant = customer.tenant_id
            try:
                if tenant not in estates:
                    estates[tenant] = self.estate(customer, keep_hash=keep_hash)
                indexes[named] = index(estates[tenant])
            except BarredError as error:
                unserved[named] = _unserved(error)
            except OF_ONE_CUSTOMER as error:
                failures.append(error)
                unserved[named] = Unserved(
                    rule="inventory-unreadable",
                    detail=f"the devices of {customer.domain or tenant} could not be listed "
                    f"completely, and on an incomplete list nothing is removed: {error}",
                    remedy="run the batch again later; what is gone by then is named",
                    customer=tenant,
                )
        if failures and not indexes:
            raise failures[0]
        return estates.values(), indexes, unserved

    def changes(
        self, devices: Sequence[PlannedDevice], remaining: Mapping[str, int]
    ) -> Mapping[int, str]:
        """Why devices of a plan are not what it says, by index; only those that are not.

        Raises ServiceError where a customer's devices have vanished as a whole.
        """
        now: dict[TenantId, Index] = {}
        for tenant in dict.fromkeys(each.customer for each in devices if each.customer):
            estate = self.estate(Customer(tenant_id=tenant))
            if vanished := estate_vanished(tenant, len(estate.registrations), remaining):
                raise vanished
            now[tenant] = index(estate)
        return changes(devices, now)

    def customer(self, named: str) -> Customer:
        """The customer that a tenant GUID, a domain or a company name names.

        A domain or name has to match exactly (Partner Center filters by prefix only), and once.
        Raises InputError where none or several match, BarredError without a relationship.
        """
        if is_guid(named):
            tenant = TenantId(named.lower())
            with barred(tenant):
                try:
                    return self.executor.call_with_retry(partial(self.client.customer, tenant))
                except Rejected as rejection:
                    if rejection.status == 404:
                        raise no_such_customer(tenant) from rejection
                    raise
        return self._customer_called(named)

    def estate(
        self, customer: Customer, *, keep_hash: Callable[[Registration], bool] = lambda _: False
    ) -> Estate:
        """Everything Partner Center shows of the customer: all batches, all pages, or an error.

        A hardware hash is kept only where `keep_hash` says so: an estate's hashes are megabytes.
        """
        tenant = customer.tenant_id
        batches = list(self._batches(tenant))
        found = self.list_batches(
            tenant, [batch.batch_id for batch in batches], keep_hash=keep_hash
        )
        return Estate(
            customer=customer,
            registrations=tuple(found),
            observed_at=self.now(),
            notes=_differing_counts(batches, found),
        )

    def list_batches(
        self,
        tenant: TenantId,
        batch_ids: Sequence[str],
        *,
        keep_hash: Callable[[Registration], bool] = lambda _: False,
    ) -> list[Registration]:
        """Every device of these batches, read concurrently under one rate limiter."""

        def read(batch_id: str) -> list[Registration]:
            return [
                found
                if found.hardware_hash is None or keep_hash(found)
                else replace(found, hardware_hash=None)
                for found in self._batch(tenant, batch_id)
            ]

        if not batch_ids:
            return []
        with ThreadPoolExecutor(min(self.concurrency, len(batch_ids))) as pool:
            listed = list(pool.map(read, batch_ids))
        return [registration for batch in listed for registration in batch]

    def remove(self, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """One DELETE. See `engine.channel.Channel.remove`."""
        (removal,) = removals
        if removal.customer is None or removal.target is None:
            raise ValueError("a removal on Partner Center needs a customer and a target")
        try:
            receipt = self.client.delete(
                removal.customer,
                removal.target.batch_id,
                removal.target.device_id,
                removal.request_id,
                removal.correlation_id,
            )
        except Rejected as rejection:
            return {removal.index: answer_to(rejection, silent=removal.silent)}
        return {
            removal.index: Answer(
                outcome=Outcome.REMOVED,
                status=receipt.status,
                request_id=receipt.request_id,
                correlation_id=receipt.correlation_id,
            )
        }

    def poll(self, handle: str, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """Partner Center's delete is synchronous: there is nothing to ask after."""
        raise ValueError(f"Partner Center accepts no work to ask after ({handle}, {len(removals)})")

    def recall(self, removals: Sequence[Removal]) -> Mapping[int, bool | Explanation]:
        """Look which of them their batches still list, as the devices that the plan found."""
        touched = defaultdict[TenantId, set[str]](set)
        for each in removals:
            if each.customer is not None and each.target is not None:
                touched[TenantId(each.customer)].add(each.target.batch_id.casefold())
        listed: dict[tuple[TenantId, str], Registration] = {}
        for tenant, wanted in touched.items():
            # A batch that lost its last device may be gone itself.
            existing = [batch.batch_id for batch in self._batches(tenant)]
            batch_ids = [batch_id for batch_id in existing if batch_id.casefold() in wanted]
            for found in self.list_batches(tenant, batch_ids):
                listed[tenant, spelling(found.target)] = found
        seen: dict[int, bool | Explanation] = {}
        for each in removals:
            place = each.target and (TenantId(each.customer or ""), spelling(each.target))
            now = listed.get(place) if place else None
            why = difference(each.identity, each.found, now) if now else None
            seen[each.index] = replaced(why) if why else now is not None
        return seen

    def sightings(self, removals: Sequence[Removal]) -> Sightings:
        """Where each device is registered now, looked for in all batches of its customer.

        By any known identity, however it is spelled: manufacturer and model do not have to
        agree, because a second registration may spell them differently.
        """
        tenants = dict.fromkeys(TenantId(each.customer) for each in removals if each.customer)
        listed: dict[tuple[str, str, str], list[Target]] = {}
        registrations = 0
        for tenant in tenants:
            for found in self.estate(Customer(tenant_id=tenant)).registrations:
                registrations += 1
                for kind, name in _identities(found.target, found):
                    listed.setdefault((tenant, kind, name), []).append(found.target)
        targets: dict[int, Target | None] = {}
        for each in removals:
            known = _identities(each.target, each.identity, each.found)
            keys = ((each.customer or "", kind, name) for kind, name in known)
            places = (place for key in keys for place in listed.get(key, ()))
            targets[each.index] = next((it for it in places if it not in each.others), None)
        return Sightings(targets=targets, registrations=registrations)

    def _batch(self, tenant: TenantId, batch_id: str) -> Iterator[Registration]:
        def read(cursor: Cursor | None) -> ResourcePage[Registration]:
            page = self.client.devices(tenant, batch_id, cursor)
            self.listed(tenant, len(page.items))
            return page

        return self._all(
            tenant, f"devices in batch {batch_id!r}", lambda found: found.target.device_id, read
        )

    def _all(
        self,
        named: str,
        collection: str,
        key: Callable[[T], str],
        read: Callable[[Cursor | None], ResourcePage[T]],
    ) -> Iterator[T]:
        """Every item of a paged collection; a page that cannot be had, or leads back, is an error.

        `named` is the customer that it is about; `key` identifies an item: one that comes twice
        is given once.
        """
        guard, seen = ListGuard(collection), set[str]()
        cursor: Cursor | None = None
        while True:
            with barred(named):
                page = self.executor.call_with_retry(partial(_continuing, read, cursor))
            guard.check([key(item) for item in page.items], page.cursor)
            fresh = _distinct(page.items, key, collection)
            yield from (item for name, item in fresh.items() if name not in seen)
            seen |= fresh.keys()
            cursor = page.cursor
            if cursor is None:
                return

    def _batches(self, tenant: TenantId) -> Iterator[DeviceBatch]:
        read = partial(self.client.batches, tenant)
        return self._all(tenant, "batches", lambda batch: batch.batch_id, read)

    def customers(self, named: str = "", prefix: str | None = None) -> Iterator[Customer]:
        """Every customer that Partner Center shows, or those whose domain begins with the prefix.

        `named` is the customer that they are read for.
        """
        return self._all(
            named,
            "customers",
            lambda each: each.tenant_id.casefold(),
            lambda cursor: self.client.customers(domain_prefix=prefix, cursor=cursor),
        )

    def _customer_called(self, named: str) -> Customer:
        """The one customer of this domain or company name, in whatever letter case.

        Only domains can be searched: for a name, and for a hint, every customer is read.
        """
        wanted, matches = named.casefold(), []
        is_domain = "." in named and " " not in named
        if is_domain:
            shown = self.customers(named, prefix=named)
            matches = [each for each in shown if (each.domain or "").casefold() == wanted]
        if not matches:
            try:
                known = list(self.customers(named))
            except ServiceError:
                if not is_domain:
                    raise
                known = []  # there is no such domain all the same
            matches = [each for each in known if (each.name or "").casefold() == wanted]
            if not matches:
                raise no_such_customer(named, similar=near_customers(named, known))
        if len(matches) > 1:
            raise ambiguous_customer(named, matches)
        return matches[0]


def answer_to(rejection: Rejected, *, silent: bool) -> Answer:
    """Return what a refused DELETE means for its device.

    `silent` says that an earlier request of ours went unanswered. Raises AuthError where the
    refusal speaks of the partner or the token, so that no other device would fare better. How the
    Autopilot codes 807 and 811 surface here is an assumption: they are read by name and by number.
    """
    words = f"{rejection.code or ''} {rejection.description or ''}"
    subject = subject_of(rejection)
    gone = rejection.status in (404, 410) and subject is RefusalSubject.DEVICE
    if gone or "ZtdDeviceIsNotRegistered" in words or rejection.code == "807":
        detail = "already gone: removed by someone else after planning"
        if silent:
            detail = (
                "it is not there any more; a request of ours had left and its answer never came, "
                "so that it may have been ours"
            )
        return Answer.to(rejection, Outcome.ABSENT, rule="gone", detail=detail)
    if rejection.status == 403 and subject is RefusalSubject.DEVICE:
        return Answer.to(
            rejection,
            Outcome.NOT_OWNED,
            rule="registered-by-another",
            detail="another partner or the customer registered this device",
            remedy="whoever registered it has to remove it; for the customer that is Intune",
        )
    if rejection.status == 403 and subject is RefusalSubject.CUSTOMER:
        return Answer.to(
            rejection,
            Outcome.REFUSED,
            rule="no-relationship",
            detail=no_relationship(None),
            remedy=ASK_FOR_RELATIONSHIP,
            bars_customer=True,
        )
    if rejection.status == 403 and subject is RefusalSubject.PARTNER:
        raise AuthError(str(rejection), remedy=rejection.remedy, rule="not-authorized")
    return Answer.to(
        rejection,
        Outcome.REFUSED,
        rule="refused-by-service",
        detail=rejection.message,
        remedy=rejection.remedy or "look the device up in Partner Center and remove it there",
        bars_customer=rejection.status == 404 and subject is RefusalSubject.CUSTOMER,
        unexpected=rejection.status == 409,
    )


ASK_FOR_RELATIONSHIP = "ask the customer to accept your reseller relationship, then run this again"


def no_relationship(tenant: str | None) -> str:
    """The sentence for a customer that this partner may not act for."""
    named = f" {tenant}" if tenant else ""
    return f"you have no reseller relationship with the customer{named} (Partner Center 20002)"


def no_such_customer(named: str, similar: Sequence[str] = ()) -> InputError:
    """The error for a customer that Partner Center does not show to this partner."""
    hint = f"; did you mean {', '.join(similar)}?" if similar else ""
    return InputError(
        f"Partner Center shows you no customer {named!r}{hint}",
        rule="no-such-customer",
        remedy="`partner-tools customers` lists them; a default domain, a whole company name or "
        "a tenant id names one, and a tenant id always works",
    )


@contextmanager
def barred(named: str) -> Iterator[None]:
    """Tell a customer that we may not act for from a partner who may not do anything.

    Raises BarredError and AuthError in place of a Rejected with 403. `named` is the customer.
    """
    try:
        yield
    except Rejected as rejection:
        if rejection.status == 403 and subject_of(rejection) is RefusalSubject.CUSTOMER:
            raise BarredError(
                no_relationship(named),
                tenant=TenantId(named.lower()) if is_guid(named) else None,
                remedy=ASK_FOR_RELATIONSHIP,
                **rejection.facts,
            ) from rejection
        if rejection.status == 403:
            raise AuthError(str(rejection), remedy=rejection.remedy) from rejection
        raise


def _continuing(
    read: Callable[[Cursor | None], ResourcePage[T]], cursor: Cursor | None
) -> ResourcePage[T]:
    """Read a page; a 400 or 404 in the middle of paging heals by itself, so it may be retried.

    Seen for two weeks in December 2021
    (https://github.com/microsoft/Partner-Center-PowerShell/issues/384).
    """
    try:
        return read(cursor)
    except Rejected as rejection:
        if cursor is None or rejection.status not in (400, 404):
            raise
        raise Unavailable(
            f"the list ended in the middle: {rejection.message}",
            remedy="nothing was removed on an incomplete list; run it again later",
            **rejection.facts,
        ) from rejection


def _identities(target: Target | None, *described: Identity | None) -> list[tuple[str, str]]:
    """Everything by which a device is known, its registration first, in forms that compare."""
    named = [("id", spelling(target))] if target else []
    for each in described:
        if each is not None:
            named.append(("serial", folded(each.serial_number or "")))
            named.append(("key", folded(each.product_key_id or "")))
    return [(kind, name) for kind, name in named if name and name not in _PLACEHOLDERS]


_PLACEHOLDERS = frozenset(map(folded, PLACEHOLDER_SERIALS))
"""Serial numbers that many devices share."""


def _distinct(items: Iterable[T], key: Callable[[T], str], collection: str) -> dict[str, T]:
    """The items of a page by their ids; one that the page repeats counts once.

    Raises Unreadable where one id names two different items: either could be the wrong one.
    """
    found: dict[str, T] = {}
    for item in items:
        if found.setdefault(key(item), item) != item:
            raise Unreadable(
                f"the list of {collection} names {key(item)} twice, and differently",
                rule="contradictory-list",
                remedy="Nothing is concluded from it. Try again; if it stays so, report it to "
                "Partner Center support.",
            )
    return found


def _differing_counts(
    batches: Iterable[DeviceBatch], found: Iterable[Registration]
) -> tuple[str, ...]:
    """The batches that state another number of devices than they list: the number may be stale."""
    listed = Counter(each.target.batch_id for each in found)
    return tuple(
        f"batch {each.batch_id!r} states {each.devices_count} devices and lists "
        f"{listed[each.batch_id]}: the number may be out of date"
        for each in batches
        if each.devices_count not in (None, listed[each.batch_id])
    )


def _notes_of(estates: Iterable[Estate]) -> list[str]:
    """Describe oddities of the lists to a reviewer: at most NOTED sentences."""
    notes = [note for estate in estates for note in estate.notes]
    more = [f"{len(notes) - NOTED} more batches state another number of devices than they list"]
    return notes[:NOTED] + (more if len(notes) > NOTED else [])


def _wanted(devices: Iterable[Device]) -> frozenset[str]:
    """The serials and product key ids that a batch names."""
    return frozenset(name.strip() for device in devices for name in device.identity.names)


def _kit(planned: Iterable[PlannedDevice], estates: Iterable[Estate]) -> tuple[Registration, ...]:
    """Collect the registrations to remove, with their hardware hashes where known."""
    targets = {(each.customer, each.target) for each in planned if each.outcome is Outcome.PENDING}
    return tuple(
        found
        for estate in estates
        for found in estate.registrations
        if found.hardware_hash and (estate.customer.tenant_id, found.target) in targets
    )
