"""Looks for a run's devices in their tenant through Microsoft Graph, and keeps what it showed.

Every look becomes evidence, failed ones too: what could not be read is `not-verified` and never
`clear`. How to look, and what the answers mean, is decided in `outstanding.search`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from partner_tools.engine.request_executor import RequestExecutor, Stop, interruption
from partner_tools.errors import AuthError, ServiceError, Unavailable
from partner_tools.events import TRANSITIONS, Event, Kind
from partner_tools.ledger import RunDevice
from partner_tools.model import GONE, Reason
from partner_tools.outstanding import (
    Decision,
    DeviceFacts,
    Plane,
    Probe,
    ProbeResult,
    Status,
    StepId,
    decide,
    evidence_from,
    observed_facts,
    probe_from,
    search,
)
from partner_tools.outstanding.search import Question, SearchAnswer, SearchTarget
from partner_tools.runs.tenant import Reader, read_collection, unanswered

_NO_PROBES: Mapping[int, Sequence[Probe]] = {}
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantReader:
    """The way to one tenant. `record` makes events durable; `now` is the wall clock in UTC.

    Nothing is read after `deadline`, in seconds of the line's clock.
    """

    client: Reader
    line: RequestExecutor
    record: Callable[[Sequence[Event]], None]
    now: Callable[[], datetime]
    associations: bool = True
    """Whether to look for device associations, whose interface is undocumented."""
    deadline: float | None = None

    def read(
        self, collection: search.Collection, seekers: Sequence[SearchTarget]
    ) -> tuple[dict[Question, SearchAnswer], ServiceError | None]:
        """The answers of one collection, and what kept any of them from being had."""
        if self.deadline is None:
            return read_collection(self.client, self.line, collection, seekers)
        left = self.deadline - self.line.clock()
        if left <= 0.0:
            late = Unavailable(
                "there was no time left to look into the customer's tenant",
                remedy="Allow more with --snapshot-timeout, or verify the run afterwards.",
            )
            return unanswered(collection, seekers, late), late
        line = replace(self.line, policy=self.line.policy.within(left))
        return read_collection(self.client, line, collection, seekers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationResult:
    """What became of one round of looking. `failures` is what kept collections from being read."""

    probes: Mapping[int, tuple[Probe, ...]]
    failures: tuple[ServiceError, ...] = ()


def observe(
    lookout: TenantReader,
    devices: Sequence[RunDevice],
    *,
    earlier: Mapping[int, Sequence[Probe]] = _NO_PROBES,
    briefly: bool = False,
) -> ObservationResult:
    """Look for devices of one tenant on every plane that Graph shows; durable on return.

    Ids that one plane brings, now or in earlier evidence, are asked for on the next; `earlier` is
    evidence that the ledger does not hold. `briefly` looks at Autopilot and Intune alone. Raises
    AuthError where no token can be had, after that is evidence too, and Interrupted.
    """
    seekers = [
        _sought(each, earlier.get(each.index, ())) for each in devices if _may_be_observed(each)
    ]
    round_ = _Round(lookout, {each.index: each for each in devices})
    try:
        for collection in _collections(lookout):
            if briefly and collection is search.Collection.ENTRA:
                break
            seekers = round_.look(collection, seekers)
        if briefly:
            return round_.outlook()
        round_.look(search.Collection.RECOVERY_KEYS, round_.without(ProbeResult.ABSENT, seekers))
        round_.look(search.Collection.LOCAL_PASSWORDS, round_.without(ProbeResult.ABSENT, seekers))
        round_.look(search.Collection.DELETED, round_.only(ProbeResult.ABSENT, seekers))
        for collection in _LEFTOVERS:
            round_.look(collection, seekers)
    except ServiceError:
        raise
    except AuthError as error:
        blind = _blind(seekers, _collections(lookout), error, lookout.now())
        round_.record(blind)
        raise
    return round_.outlook()


_DEVICES = (
    search.Collection.AUTOPILOT,
    search.Collection.ASSOCIATIONS,
    search.Collection.INTUNE,
    search.Collection.ENTRA,
)
_LEFTOVERS = (search.Collection.IMPORT_RECORDS, search.Collection.CORPORATE_IDENTIFIERS)


def _collections(lookout: TenantReader) -> Iterator[search.Collection]:
    for collection in _DEVICES:
        if lookout.associations or collection is not search.Collection.ASSOCIATIONS:
            yield collection


class _Round:
    """One look at everything, with what it has brought so far."""

    def __init__(self, lookout: TenantReader, devices: Mapping[int, RunDevice]) -> None:
        self._lookout = lookout
        self._devices = devices
        self._probes: dict[int, list[Probe]] = {}
        self._failures: list[ServiceError] = []

    def look(
        self, collection: search.Collection, seekers: Sequence[SearchTarget]
    ) -> list[SearchTarget]:
        """Look for all in one collection; they come back with the ids that it brought."""
        answers, failure = self._lookout.read(collection, seekers)
        at = self._lookout.now()
        found = [(each, search.conclude(collection, each, answers, at)) for each in seekers]
        self.record((each.index, probe) for each, probe in found if probe is not None)
        self._failures += [failure] if failure is not None else []
        return [each.linked(collection, probe.found if probe else ()) for each, probe in found]

    def record(self, probes: Iterable[tuple[int, Probe]]) -> None:
        """Make probes durable as evidence."""
        new = list(probes)
        self._lookout.record(
            [
                Event(
                    run=self._devices[index].run,
                    kind=Kind.OBSERVED,
                    at=probe.observed_at,
                    device=index,
                    payload=evidence_from(probe),
                )
                for index, probe in new
            ]
        )
        for index, probe in new:
            self._probes.setdefault(index, []).append(probe)

    def only(self, result: ProbeResult, seekers: Iterable[SearchTarget]) -> list[SearchTarget]:
        """Those whose directory object was looked for with this result."""
        return [each for each in seekers if self._in_directory(each) is result]

    def without(self, result: ProbeResult, seekers: Iterable[SearchTarget]) -> list[SearchTarget]:
        """Those whose directory object was looked for with another result, or not at all."""
        return [each for each in seekers if self._in_directory(each) is not result]

    def outlook(self) -> ObservationResult:
        """All of it."""
        probes = {index: tuple(probes) for index, probes in self._probes.items()}
        return ObservationResult(probes=probes, failures=tuple(self._failures))

    def _in_directory(self, device: SearchTarget) -> ProbeResult | None:
        brought = self._probes.get(device.index, ())
        return next((one.result for one in brought if one.plane is Plane.ENTRA), None)


def _may_be_observed(device: RunDevice) -> bool:
    return (device.history.state, Kind.OBSERVED) in TRANSITIONS


def _sought(device: RunDevice, earlier: Iterable[Probe]) -> SearchTarget:
    listed = device.found.serial_number if device.found else None
    serial = device.device.identity.serial_number or listed
    known = (*earlier, *map(probe_from, device.history.evidence))
    return search.search_target(device.index, serial, known)


def _blind(
    seekers: Iterable[SearchTarget],
    collections: Iterable[search.Collection],
    error: Exception,
    at: datetime,
) -> Iterator[tuple[int, Probe]]:
    """Evidence that nobody could look at all."""
    places = [search.ANSWERS[collection] for collection in collections]
    for each in seekers:
        for plane, subject in places:
            yield (
                each.index,
                Probe(
                    plane=plane,
                    subject=subject,
                    result=ProbeResult.FAILED,
                    observed_at=at,
                    error=str(error),
                ),
            )


def decision(device: RunDevice, reason: Reason, at: datetime) -> Decision:
    """What the evidence of one device amounts to."""
    history = device.history
    return decide(
        DeviceFacts(
            outcome=history.outcome,
            reason=reason,
            at=at,
            serial_number=device.device.identity.serial_number,
            removed_at=history.settled_at if history.outcome in GONE else None,
            probes=tuple(map(probe_from, history.evidence)),
            flags=observed_facts(device.device.extra),
        )
    )


def awaited(devices: Iterable[RunDevice], reason: Reason, at: datetime) -> dict[str, list[int]]:
    """What the services still have to do by themselves: in words, with the devices' indexes."""
    waiting: dict[str, list[int]] = {}
    for each in devices:
        for what in _awaited_of(each, decision(each, reason, at), reason):
            waiting.setdefault(what, []).append(each.index)
    return waiting


def _awaited_of(device: RunDevice, decided: Decision, reason: Reason) -> Iterator[str]:
    steps = {step.id: step for step in decided.steps}
    removal = steps.get(StepId.CONFIRM_AUTOPILOT_REMOVAL)
    overdue = StepId.DEREGISTER_FROM_AUTOPILOT in steps and _is_listed(decided)
    if (removal and removal.status is Status.EXPECTED) or (
        overdue and device.history.outcome in GONE
    ):
        yield "to leave Windows Autopilot"
    if StepId.WAIT_FOR_CHECK_IN in steps:
        yield "to check in and be retired"
    entra = steps.get(StepId.VERIFY_ENTRA_REMOVAL)
    if entra is not None and entra.row == _LEAVES_BY_ITSELF and reason is not Reason.REPAIR:
        yield "to leave Entra ID"


def _is_listed(decided: Decision) -> bool:
    return decided.planes[Plane.AUTOPILOT].status is Status.OUTSTANDING


_LEAVES_BY_ITSELF = 15
"""The row of the decision table by which the directory may remove an object without anybody."""


def _count(indexes: Sequence[int]) -> str:
    return "1 device" if len(indexes) == 1 else f"{len(indexes)} devices"


def keep_looking(
    look: Callable[[Collection[int]], None],
    awaiting: Callable[[], Mapping[str, Sequence[int]]],
    *,
    wait_seconds: float,
    stop: Stop,
    clock: Callable[[], float],
    tell: Callable[[str], None],
) -> None:
    """Look again at what is awaited until nothing is, at most `wait_seconds` long.

    Says before each pause what it waits for. Raises Interrupted, and what `look` raises.
    """
    deadline, pause = clock() + wait_seconds, FIRST_PAUSE_SECONDS
    while waiting := awaiting():
        left = deadline - clock()
        what = "; ".join(f"{_count(indexes)} {deed}" for deed, indexes in waiting.items())
        if left <= 0.0:
            tell(f"not waiting any longer for {what}")
            return
        tell(f"waiting for {what}: looking again, for {left:.0f} s at most")
        if stop.wait(min(pause, left)):
            raise interruption()
        look({index for indexes in waiting.values() for index in indexes})
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
