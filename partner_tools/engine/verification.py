"""Looks whether what is gone is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from partner_tools.engine.channel import Removal, Sightings
from partner_tools.engine.execute import ExecutionContext, removal
from partner_tools.engine.request_executor import interruption
from partner_tools.errors import ServiceError, Throttled, Unanswered, Unauthorized, Unsent
from partner_tools.events import Event, History, Kind, RunDevice
from partner_tools.model import GONE, Target

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 10.0
OF_EVERYBODY = (Unsent, Unanswered, Throttled, Unauthorized)
"""Errors that the next customer would meet too; any other may concern one customer's list."""


AGREEING_LOOKS = 2
"""Replicas that alternate, and pages that shift while they are read, make one look say anything."""
MANY = 3
"""How many registrations must be missing besides ours before an empty list is no proof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The registrations of a run's customers as its plan saw them.

    `remaining` is how many each customer should still have; `others` are, by a device's index,
    those that share a name with it and are known to be other devices.
    """

    remaining: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[int, frozenset[Target]] = field(default_factory=dict)


Look = Callable[[Sequence[Removal]], Sightings]
"""Says where each device is registered now, in whatever batch and by whatever identity.

Complete, or raises."""


def verify(
    context: ExecutionContext,
    look: Look,
    devices: Sequence[RunDevice],
    *,
    wait_seconds: float,
    baseline: Baseline | None = None,
) -> None:
    """Look for every device that is gone until none is listed, at most `wait_seconds` long.

    Each device gets one more piece of evidence: `clear` only from two looks in a row that did not
    find it. Customers are independent: what keeps us from looking at one is raised
    when all others have been looked at, and is evidence that nothing is known of its devices.
    """
    blind: dict[str | None, ServiceError] = {}
    listed = [device for device in devices if device.history.outcome in GONE]
    absences: Counter[int] = Counter()
    deadline, pause = context.executor.clock() + wait_seconds, FIRST_PAUSE_SECONDS
    while listed:
        seen, unseen = _look(look, listed, baseline or Baseline())
        blind |= unseen
        judged = [device for device in listed if device.customer in unseen]
        listed = [device for device in listed if device.customer not in unseen]
        for device in listed:
            absences[device.index] = absences[device.index] + 1 if seen[device.index] is None else 0
        over = context.executor.clock() >= deadline
        found = [device for device in listed if not absences[device.index]]
        judged += [device for device in listed if absences[device.index] >= AGREEING_LOOKS]
        judged += found if over else []
        _record_evidence(context, judged, seen, unseen)
        done = {device.index for device in judged}
        listed = [device for device in listed if device.index not in done]
        if found and listed:
            if context.executor.stop.wait(
                min(pause, max(0.0, deadline - context.executor.clock()))
            ):
                raise interruption()
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
    if blind:
        first = next(iter(blind.values()))
        if len({device.customer for device in devices}) == 1:
            raise first
        named = "; ".join(f"{customer}: {error}" for customer, error in blind.items())
        raise ServiceError(
            f"whether what was removed is gone could not be looked at for {named}",
            remedy="the other customers were looked at; look again later with "
            "`partner-tools verify`",
            rule=first.rule,
        )


def _look(
    look: Look, devices: Sequence[RunDevice], baseline: Baseline
) -> tuple[dict[int, Target | None], dict[str | None, ServiceError]]:
    """Read each customer's lists; also return the errors that prevented it, by customer."""
    seen: dict[int, Target | None] = {}
    blind: dict[str | None, ServiceError] = {}
    for customer in dict.fromkeys(device.customer for device in devices):
        own = [
            replace(
                removal(device, History()), others=baseline.others.get(device.index, frozenset())
            )
            for device in devices
            if device.customer == customer
        ]
        try:
            shown = look(own)
        except OF_EVERYBODY:
            raise
        except ServiceError as error:
            blind[customer] = error
            continue
        if vanished := estate_vanished(customer, shown.registrations, baseline.remaining):
            blind[customer] = vanished
        else:
            seen |= shown.targets
    return seen, blind


def estate_vanished(
    customer: str | None, registrations: int, remaining: Mapping[str, int]
) -> ServiceError | None:
    """Why an empty list of a customer's devices is not believed; None where it may be.

    `remaining` is how many each customer should still have.
    """
    missing = remaining.get(customer or "", 0)
    if registrations or missing < MANY:
        return None
    return ServiceError(
        f"the service lists no device of {customer} any more, and {missing} that this "
        "ledger did not remove were there: that is no proof that anything is gone",
        remedy="look in Partner Center's own pages, or with `verify --graph`; verify the "
        "run again later",
        rule="estate-vanished",
    )


def _record_evidence(
    context: ExecutionContext,
    devices: Sequence[RunDevice],
    seen: Mapping[int, Target | None],
    blind: Mapping[str | None, ServiceError],
) -> None:
    """Make durable what was seen of each device, as `outstanding.probe_from` reads it."""
    events = []
    for device in devices:
        payload: dict[str, Any] = {"plane": "autopilot", "source": context.channel.name.value}
        target = seen.get(device.index)
        if device.customer in blind:
            payload |= {"status": "not-verified", "error": str(blind[device.customer])}
        elif target is None:
            payload |= {"status": "clear"}
        else:
            ids = {"batchId": target.batch_id, "deviceId": target.device_id}
            payload |= {"status": "outstanding", "ids": ids}
        at = context.now()
        events.append(
            Event(run=context.run, kind=Kind.OBSERVED, at=at, device=device.index, payload=payload)
        )
    context.record(events)
