"""Looks for a run's devices in their tenant through Microsoft Graph, and keeps what it showed.

Every look becomes evidence, failed ones too: what could not be read is `not-verified` and never
`clear`. How to look, and what the answers mean, is decided in `outstanding.search`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.request_executor import interruption
from partner_tools.errors import (
    AuthError,
    DamagedRunError,
    PartnerToolsError,
    Rejected,
    ServiceError,
)
from partner_tools.events import TRANSITIONS, Kind, State
from partner_tools.ledger import RunDevice
from partner_tools.model import GONE, Outcome, Reason
from partner_tools.outstanding import search
from partner_tools.outstanding.decision import decide
from partner_tools.outstanding.evidence import observed, observed_facts, probe_from
from partner_tools.outstanding.search import SearchTarget
from partner_tools.outstanding.types import (
    Decision,
    DeviceFacts,
    Flag,
    Plane,
    Probe,
    ProbeResult,
    Status,
    StepId,
)
from partner_tools.runs.context import OpenTenant, RunContext
from partner_tools.runs.tenant import TenantReader

BY_HAND_RULE = "by-hand"
"""The rule of a device whose registration a person of the partner removes."""
_NO_PROBES: Mapping[int, Sequence[Probe]] = {}
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationResult:
    """The errors of reading collections in one round of looking.

    `blind` are those of collections that hold records of the devices themselves: without those a
    plane could not be looked at.
    """

    failures: tuple[ServiceError, ...] = ()
    blind: tuple[ServiceError, ...] = ()


def observe(
    reader: TenantReader,
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
        _sought(each, earlier.get(each.index, ()))
        for each in devices
        if (each.history.state, Kind.OBSERVED) in TRANSITIONS
    ]
    round_ = _Round(reader, {each.index: each for each in devices})
    try:
        for collection in _collections(reader):
            if briefly and collection is search.Collection.ENTRA:
                break
            seekers = round_.look(collection, seekers)
        if briefly:
            return round_.result()
        gone = [each for each in seekers if round_.in_directory(each) is ProbeResult.ABSENT]
        others = [each for each in seekers if round_.in_directory(each) is not ProbeResult.ABSENT]
        round_.look(search.Collection.RECOVERY_KEYS, others)
        round_.look(search.Collection.LOCAL_PASSWORDS, others)
        round_.look(search.Collection.DELETED, gone)
        for collection in _LEFTOVERS:
            round_.look(collection, seekers)
    except ServiceError:
        raise
    except AuthError as error:
        blind = _blind(seekers, _collections(reader), error, reader.now())
        round_.record(blind)
        raise
    return round_.result()


_DEVICES = (
    search.Collection.AUTOPILOT,
    search.Collection.ASSOCIATIONS,
    search.Collection.INTUNE,
    search.Collection.ENTRA,
)
_LEFTOVERS = (search.Collection.IMPORT_RECORDS, search.Collection.CORPORATE_IDENTIFIERS)


def _collections(reader: TenantReader) -> Iterator[search.Collection]:
    for collection in _DEVICES:
        if reader.associations or collection is not search.Collection.ASSOCIATIONS:
            yield collection


class _Round:
    """One look at everything, with what it has brought so far."""

    def __init__(self, reader: TenantReader, devices: Mapping[int, RunDevice]) -> None:
        self._reader = reader
        self._devices = devices
        self._probes: dict[int, list[Probe]] = {}
        self._failures: list[tuple[search.Collection, ServiceError]] = []

    def look(
        self, collection: search.Collection, seekers: Sequence[SearchTarget]
    ) -> list[SearchTarget]:
        """Look for all in one collection; they come back with the ids that it brought."""
        answers, failure = self._reader.read(collection, seekers)
        at = self._reader.now()
        found = [(each, search.conclude(collection, each, answers, at)) for each in seekers]
        self.record((each.index, probe) for each, probe in found if probe is not None)
        self._failures += [(collection, failure)] if failure is not None else []
        return [each.linked(collection, probe.found if probe else ()) for each, probe in found]

    def record(self, probes: Iterable[tuple[int, Probe]]) -> None:
        new = list(probes)
        self._reader.record([observed(self._devices[index], probe) for index, probe in new])
        for index, probe in new:
            self._probes.setdefault(index, []).append(probe)

    def result(self) -> ObservationResult:
        return ObservationResult(
            failures=tuple(failure for _, failure in self._failures),
            blind=tuple(
                failure for collection, failure in self._failures if collection in _DEVICES
            ),
        )

    def in_directory(self, device: SearchTarget) -> ProbeResult | None:
        """The result of looking for a device's directory object; None where it was not."""
        brought = self._probes.get(device.index, ())
        return next((one.result for one in brought if one.plane is Plane.ENTRA), None)


def _sought(device: RunDevice, earlier: Iterable[Probe]) -> SearchTarget:
    listed = device.found.serial_number if device.found else None
    serial = device.device.identity.serial_number or listed
    known = (*earlier, *probes_of(device))
    return search.search_target(device.index, serial, known)


def _blind(
    seekers: Iterable[SearchTarget],
    collections: Iterable[search.Collection],
    error: Exception,
    at: datetime,
) -> Iterator[tuple[int, Probe]]:
    """Evidence that no look was possible at all."""
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


def probes_of(device: RunDevice) -> tuple[Probe, ...]:
    """The evidence of a device. Raises DamagedRunError for what this program never wrote."""
    try:
        return tuple(map(probe_from, device.history.evidence))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedRunError(device.run, f"the evidence of device {device.index}") from error


def decision(device: RunDevice, reason: Reason, at: datetime) -> Decision:
    """Decide on one device from its evidence."""
    history = device.history
    return decide(
        DeviceFacts(
            outcome=history.outcome,
            reason=reason,
            at=at,
            serial_number=device.device.identity.serial_number,
            removed_at=history.settled_at if history.outcome in GONE else None,
            looked_before=history.looked_before,
            probes=probes_of(device),
            flags=flags_of(device),
        )
    )


def flags_of(device: RunDevice) -> frozenset[Flag]:
    """The facts of a device that its batch and its plan state."""
    by_hand = {Flag.BY_HAND} if device.history.rule == BY_HAND_RULE else set()
    return observed_facts(device.device.extra) | by_hand


def awaited(devices: Iterable[RunDevice], reason: Reason, at: datetime) -> dict[str, list[int]]:
    """Describe the work that the services still do by themselves, with the devices' indexes."""
    waiting: dict[str, list[int]] = {}
    for each in devices:
        for what in _awaited_of(each, decision(each, reason, at), reason):
            waiting.setdefault(what, []).append(each.index)
    return waiting


def _awaited_of(device: RunDevice, decided: Decision, reason: Reason) -> Iterator[str]:
    steps = {step.id: step for step in decided.steps}
    removal = steps.get(StepId.CONFIRM_AUTOPILOT_REMOVAL)
    is_listed = decided.planes[Plane.AUTOPILOT].status is Status.OUTSTANDING
    overdue = StepId.DEREGISTER_FROM_AUTOPILOT in steps and is_listed
    if (removal and removal.status is Status.EXPECTED) or (
        overdue and device.history.outcome in GONE
    ):
        yield "to leave Windows Autopilot"
    if StepId.WAIT_FOR_CHECK_IN in steps:
        yield "to check in and be retired"
    entra = steps.get(StepId.VERIFY_ENTRA_REMOVAL)
    if entra is not None and entra.row == _LEAVES_BY_ITSELF and reason is not Reason.REPAIR:
        yield "to leave Entra ID"


_LEAVES_BY_ITSELF = 15
"""The row of the decision table by which the directory may remove an object by itself."""


@dataclass(frozen=True, slots=True)
class TenantCheck:
    """Looks for the devices of one run in their tenants, and says what could not be read."""

    context: RunContext
    open_tenant: OpenTenant
    token: CancellationToken
    opened: set[str] = field(default_factory=set)
    """The tenants that let us in."""

    def verify(self, wait_seconds: float) -> int:
        """Look for every device, and again for what the services still have to do by themselves.

        Says before each pause what it waits for. The exit code: 0, or what kept the first look or
        the last from seeing everything. Raises Interrupted.
        """
        reason = self.context.ledger.run(self.context.run).reason
        codes = [self._look(self._devices())]
        deadline, pause = self.token.clock() + wait_seconds, FIRST_PAUSE_SECONDS
        while waiting := awaited(self._seen(), reason, self.context.now()):
            left = deadline - self.token.clock()
            what = "; ".join(f"{_count(indexes)} {deed}" for deed, indexes in waiting.items())
            if left <= 0.0:
                self._notify(f"not waiting any longer for {what}")
                break
            self._notify(f"waiting for {what}: looking again, for {left:.0f} s at most")
            if self.token.wait(min(pause, left)):
                raise interruption()
            again = {index for indexes in waiting.values() for index in indexes}
            codes.append(self._look(each for each in self._devices() if each.index in again))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        return _worst((codes[0], codes[-1]))

    def snapshot(self, timeout: float | None = None) -> int:
        """Look for what may still be removed, and once for what settled without a removal.

        For at most `timeout` seconds. The exit code: 0 where everything could be read.
        """
        devices = [each for each in self._devices() if _wants_snapshot(each)]
        return self._look(devices, None if timeout is None else self.token.clock() + timeout)

    def _look(self, devices: Iterable[RunDevice], deadline: float | None = None) -> int:
        """The exit code: 4 where no tenant let us look, 5 where one was not available."""
        groups: dict[str | None, list[RunDevice]] = {}
        for each in devices:
            groups.setdefault(each.history.customer, []).append(each)
        if nobodys := groups.pop(None, []):
            self._notify(f"not verified: no customer is known for {len(nobodys)} devices")
        codes = [
            self._look_into(tenant, group, deadline) for tenant, group in groups.items() if tenant
        ]
        # A token that was handed in is for one tenant: nothing is expected of the others.
        opened = [code for code in codes if code is not None]
        return _worst(opened if opened or not codes else [AuthError.exit_code])

    def _seen(self) -> list[RunDevice]:
        return [each for each in self._devices() if each.history.customer in self.opened]

    def _notify(self, message: str) -> None:
        self.context.observer.notify(message)

    def _devices(self) -> list[RunDevice]:
        return [
            each
            for each in self.context.ledger.devices(self.context.run)
            if each.history.outcome is not Outcome.DUPLICATE
        ]

    def _look_into(
        self, tenant: str, devices: Sequence[RunDevice], deadline: float | None
    ) -> int | None:
        """The exit code of what could not be read there; None where nothing let us in."""
        try:
            with self.open_tenant(tenant, deadline) as reader:
                result = observe(reader, devices)
        except AuthError as error:
            self._notify_failure(tenant, error)
            return None
        self.opened.add(tenant)
        for failure in result.failures:
            self._notify_failure(tenant, failure)
        unread = [each for each in result.failures if not isinstance(each, Rejected)]
        return _worst([_exit_code(each) for each in (*unread, *result.blind)])

    def _notify_failure(self, tenant: str, error: PartnerToolsError) -> None:
        self._notify(f"not verified in {tenant}: {error}")
        if error.remedy:
            self._notify(f"  {error.remedy}")


def _wants_snapshot(device: RunDevice) -> bool:
    if device.history.state is State.READY:
        return True
    looked = any(each.get("source") == "graph" for each in device.history.evidence)
    return device.history.outcome not in GONE and not looked


_UNLICENSED = re.compile(r"not applicable to target tenant|active intune licen[cs]e", re.IGNORECASE)
"""How Intune refuses a tenant that has none of it (https://learn.microsoft.com/graph/api, read
2026-11; the first was seen, that it means this is assumed)."""


def _worst(codes: Collection[int]) -> int:
    """One exit code for several: 4 needs a person, 5 only another look."""
    return AuthError.exit_code if AuthError.exit_code in codes else max(codes, default=0)


def _exit_code(failure: ServiceError) -> int:
    """Return a failure's exit code: 4 for a permission, 0 for a tenant without Intune, else 5."""
    if not isinstance(failure, Rejected):
        return failure.exit_code
    if failure.status == 403:
        return AuthError.exit_code
    return 0 if _UNLICENSED.search(str(failure)) else failure.exit_code


def _count(indexes: Sequence[int]) -> str:
    return "1 device" if len(indexes) == 1 else f"{len(indexes)} devices"
