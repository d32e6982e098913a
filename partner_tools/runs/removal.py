"""Removes what a plan names through a partner's channel, and looks whether it is gone."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from partner_tools.engine.channel import Removal
from partner_tools.engine.execute import execute
from partner_tools.engine.verification import Baseline, verify
from partner_tools.events import Kind, RunDevice, State
from partner_tools.guards import count_removals
from partner_tools.ledger import DeviceTrace, Ledger, StoredEvent
from partner_tools.model import GONE, Identity, Outcome, Plan
from partner_tools.plan import plan_document
from partner_tools.runs.checks import (
    Risks,
    decide_by_risks,
    heed_limits,
    look_before,
    name_overlaps,
    refuse_changed,
    refuse_elsewhere,
    refuse_held,
    refuse_risky,
    refuse_wrong_customer,
)
from partner_tools.runs.context import RunContext
from partner_tools.runs.planning import (
    Planner,
    adopt_plan,
    make_plan,
    store_plan,
    stored_plan,
    write_plan,
)

SETTLE_SECONDS = 30.0


@dataclass(slots=True, kw_only=True)
class RemovalSteps:
    """The `runs.run.Steps` of a removal.

    `reviewed` is a plan that a person reviewed, with its document, in place of a new one; `save_as`
    is the file that the plan is written to.
    """

    end: ClassVar[Kind] = Kind.FINISHED
    context: RunContext
    planner: Planner
    reviewed: tuple[Plan, Mapping[str, Any]] | None = None
    save_as: Path | None = None
    _risks: Risks = field(default_factory=dict)

    def plan(self) -> Plan:
        """The stored, the reviewed or a new plan, with the risks that the tenants show.

        A new plan is decided with them, as the run would decide, before a person sees it.
        """
        context = self.context
        record = context.ledger.run(context.run)
        made, is_new = None, False
        if self.reviewed is not None:
            plan = adopt_plan(context, self.planner, *self.reviewed)
        elif (stored := stored_plan(context, self.planner, record)) is not None:
            plan = stored
        else:
            made, is_new = make_plan(context, self.planner, record), True
            plan = with_earlier_removals(context, made)
            with context.noting_end():  # before the tenants are read, and in a preview too
                refuse_wrong_customer(context, plan)
        self._risks = look_before(context)
        if is_new:
            plan = decide_by_risks(context, plan, self._risks)
            if made is None or plan.devices != made.devices:
                store_plan(context, plan, plan_document(plan))
        name_overlaps(context, plan)
        context.observer.planned(plan)
        if self.save_as is not None:
            document = json.loads(context.ledger.plan(context.run) or "")
            write_plan(document, self.save_as)
            context.observer.notify(f"plan written to {self.save_as} ({document['digest']})")
        return plan

    def check(self, plan: Plan) -> Plan:
        """The plan without what hold list, limits and the tenants' records refuse.

        The share of registered devices is asked again, because a refused run can be resumed. A
        reviewed plan passed that guard when it was made.
        """
        if self.reviewed is None:
            refuse_wrong_customer(self.context, plan)
        plan = heed_limits(self.context, refuse_held(self.context, plan))
        return refuse_risky(self.context, plan, self._risks)

    def count(self, plan: Plan) -> int:
        """How many devices the plan removes."""
        return count_removals(plan.devices)

    def compare(self, plan: Plan, settled: Collection[int]) -> None:
        """Refuse devices of an old plan, and settled doubts, whose registration changed."""
        if changed := refuse_changed(
            self.context,
            self.planner,
            plan,
            settled,
            lambda: self._baseline(self._gone()).remaining,
        ):
            self.context.observer.notify(
                f"{changed} devices have changed since they were planned: refused"
            )

    def execute(self, plan: Plan) -> None:
        """Bring every device to an outcome.

        A doubt that the channel cannot settle is sent again only where the plan still has it.
        """
        planned = {each.index for each in plan.devices if each.outcome is Outcome.PENDING}
        execute(
            self.context,
            [
                each
                for each in self.context.ledger.devices(self.context.run)
                if each.history.state is not State.DOUBT or each.index in planned
            ],
        )

    def verify(self) -> None:
        """Look for every device that is gone; a channel that cannot be observed is left alone.

        Raises what kept us from looking.
        """
        settle = self.context.options.settle
        self._look(SETTLE_SECONDS if settle is None else settle)

    def look_again(self, wait_seconds: float) -> bool:
        """Look for what an earlier run removed; False if the channel shows nothing."""
        context, channel = self.context, self.context.channel
        refuse_elsewhere(context, context.ledger.run(context.run), looks=True)
        if not channel.observable:
            self.context.observer.notify(f"{channel.name} cannot be observed: nothing was checked")
            return False
        how_long = f"for up to {wait_seconds:.0f} s" if wait_seconds else "once"
        self.context.observer.notify(f"looking {how_long} whether the removed devices are gone")
        self._look(wait_seconds)
        return True

    def _look(self, wait_seconds: float) -> None:
        gone = self._gone()
        if gone and self.context.channel.observable:
            baseline = self._baseline(gone)
            verify(
                self.context,
                self.planner.sightings,
                gone,
                wait_seconds=wait_seconds,
                baseline=baseline,
            )

    def _gone(self) -> Sequence[RunDevice]:
        return tuple(self.context.ledger.devices(self.context.run, outcomes=GONE))

    def _baseline(self, gone: Sequence[RunDevice]) -> Baseline:
        """Return the plan's baseline, without devices that this ledger's runs removed since.

        An unanswered request of ours may have removed something as well. Empty if the plan was
        purged.
        """
        ledger, plan = self.context.ledger, self.context.sealed.read()
        if plan is None:
            return Baseline()
        since = min(plan.created_at, ledger.run(self.context.run).created_at)
        own = Counter(
            each.customer
            for each in gone
            if each.history.outcome is Outcome.REMOVED or each.history.silent
        )
        return Baseline(
            remaining={
                tenant: each.estate - max(own[tenant], ledger.removed_since(tenant, since))
                for each in plan.customers
                if (tenant := each.customer.tenant_id)
            },
            others={
                each.index: frozenset(each.candidates) for each in plan.devices if each.candidates
            },
        )

    def unfinished(self) -> str | None:
        """Why devices wait for a resume although nothing ended the run."""
        ledger, run = self.context.ledger, self.context.run
        if not any(ledger.devices(run, states={State.READY}, limit=1)):
            return None
        said, reason = "gave up on some devices for now", ledger.last_setback(run)
        return f"{said}; last, {reason}" if reason else said


def _may_have_removed(stored: StoredEvent) -> bool:
    """Whether a request left, and may have been processed: not where something redirected it."""
    event = stored.event
    redirected = 300 <= (event.payload.get("status") or 0) < 400
    return event.kind is Kind.DOUBTED and not redirected


def with_earlier_removals(context: RunContext, plan: Plan) -> Plan:
    """The plan with the devices that are not found because this ledger removed them before."""
    devices = list(plan.devices)
    missing = [each for each in devices if each.outcome is Outcome.NOT_FOUND and each.customer]
    known = defaultdict[str, list[DeviceTrace]](list)
    for seen in context.ledger.trace(
        *{name for each in missing for name in each.device.identity.names}
    ):
        found = seen.device.found
        for name in {*seen.device.identity.names, *(found.names if found else ())}:
            known[name].append(seen)
    for each in missing:
        identity = each.device.identity
        traces = _agreeing((seen for name in identity.names for seen in known[name]), identity)
        if removed := _removed_before(traces, each.customer):
            devices[each.index] = replace(
                each,
                outcome=Outcome.ALREADY_REMOVED,
                rule="already-removed",
                detail=removed,
                remedy=None,
            )
    return replace(plan, devices=tuple(devices))


def _removed_before(traces: Iterable[DeviceTrace], customer: str | None) -> str | None:
    """The run that removed this device for the customer, when and by whom; None if none did."""
    for seen in traces:
        run, history = seen.run, seen.device.history
        if history.outcome is Outcome.REMOVED and customer in (None, history.customer):
            when = f" on {history.settled_at:%Y-%m-%d %H:%M} UTC" if history.settled_at else ""
            by = f" ({run.actor})" if run.actor else ""
            return f"removed by run {run.run}{when}{by}"
    return None


def _agreeing(traces: Iterable[DeviceTrace], identity: Identity) -> Iterator[DeviceTrace]:
    """Yield the traces of devices that do not contradict the identity."""
    parts = ("serial_number", "manufacturer", "model", "product_key_id")
    for seen in traces:
        known = seen.device.identity
        pairs = [(getattr(identity, part), getattr(known, part)) for part in parts]
        if not any(a and b and a != b for a, b in pairs):
            yield seen


def witness(ledger: Ledger, removal: Removal) -> tuple[Outcome, str] | None:
    """Look up a device unknown to its service in this ledger, and say how it is known."""
    traces = tuple(_agreeing(ledger.trace(*removal.identity.names), removal.identity))
    if known := _removed_before(traces, removal.customer):
        return Outcome.ALREADY_REMOVED, known
    for seen in traces:
        if any(map(_may_have_removed, seen.events)):
            asked = f"an earlier request of ours may have removed it (run {seen.run.run})"
            return Outcome.ABSENT, asked
    return None
