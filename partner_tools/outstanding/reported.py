"""Merge what people report done with our own observations. Pure.

A customer's results file, and the partner's statement about removals by hand, close steps as
`reported`. That is not `clear`, which requires a check of our own. A newer check that succeeded
outweighs the report either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from partner_tools.outstanding.types import (
    CLOSED_BY,
    REPORTING,
    Decision,
    DeviceFacts,
    EvidenceSource,
    JoinType,
    Plane,
    PlaneStatus,
    Probe,
    ProbeResult,
    Status,
    Step,
    StepId,
    Subject,
)

REMOVED_BY_HAND = "Removed on Partner Center's pages"
"""How the note of a registration begins that a person of the partner removed."""

_AFTER_KEYS = (StepId.DELETE_FROM_INTUNE, StepId.DEREGISTER_FROM_AUTOPILOT)
"""Our script and `cleanup` delete only once the administrator said that the keys are saved."""

_NOT_IN_DIRECTORY = frozenset({JoinType.ENTRA_JOINED, JoinType.REGISTERED, JoinType.NONE})


def overlay(facts: DeviceFacts, decision: Decision) -> Decision:
    """The decision with every plane and step that people report done as `reported`."""
    reports = sorted((one for one in facts.probes if one.source in REPORTING), key=_order)
    if not reports:
        return decision
    by_hand = [one for one in reports if one.source is EvidenceSource.PARTNER]
    if by_hand:
        decision = _compared(decision, by_hand[-1])
    planes, steps = _reported(facts, reports)
    joined = next((join for one in reversed(reports) if (join := _joined(one))), None)
    join_type = decision.join_type
    if join_type is JoinType.UNKNOWN and joined is not None:
        join_type = joined
    return Decision(
        join_type=join_type,
        planes={
            **decision.planes,
            **{
                plane: _plane(decision.planes.get(plane), probe)
                for plane, probe in planes.items()
                if plane not in decision.planes
                or decision.planes[plane].status not in (Status.CLEAR, Status.NOT_APPLICABLE)
            },
        },
        steps=tuple(_closed(step, steps) for step in decision.steps),
    )


def _order(probe: Probe) -> tuple[object, ...]:
    """As they were taken in; within one file what is still there has the last word."""
    step = probe.report.step if probe.report else None
    return probe.observed_at, probe.result is ProbeResult.FOUND, probe.plane, step or ""


def _reported(
    facts: DeviceFacts, reports: Iterable[Probe]
) -> tuple[dict[Plane, Probe], dict[StepId, Probe]]:
    """The planes and steps that reports close, the newest report of each."""
    planes: dict[Plane, Probe] = {}
    steps: dict[StepId, Probe] = {}
    for probe in reports:
        closes = CLOSED_BY[probe.plane]
        if probe.report is not None and probe.report.step is not None:
            steps[probe.report.step] = probe
        elif probe.result is ProbeResult.ABSENT:
            planes[probe.plane] = probe
            steps |= dict.fromkeys(closes, probe)
        else:
            planes.pop(probe.plane, None)
            steps = {step: it for step, it in steps.items() if step not in closes}
        if _joined(probe) in _NOT_IN_DIRECTORY:
            planes.setdefault(Plane.ACTIVE_DIRECTORY, probe)
            steps.setdefault(StepId.DELETE_COMPUTER_OBJECT, probe)
    done = next(
        (
            steps[step]
            for step in _AFTER_KEYS
            if step in steps and steps[step].source is EvidenceSource.CUSTOMER
        ),
        None,
    )
    if done is not None:
        steps.setdefault(StepId.BACK_UP_KEYS, done)
    outweighed = {plane for plane in Plane if _seen_since(facts, plane, planes, steps)}
    return (
        {plane: probe for plane, probe in planes.items() if plane not in outweighed},
        {
            step: probe
            for step, probe in steps.items()
            if not any(step in CLOSED_BY[plane] for plane in outweighed)
        },
    )


def _seen_since(
    facts: DeviceFacts,
    plane: Plane,
    planes: Mapping[Plane, Probe],
    steps: Mapping[StepId, Probe],
) -> bool:
    """Whether a look of our own ran after the newest report of this plane was taken in.

    A channel shows a partner only its own registrations: its silence outweighs no report.
    """
    told = [steps[step] for step in CLOSED_BY[plane] if step in steps]
    told += [planes[plane]] if plane in planes else []
    if not told:
        return False
    newest = max(probe.observed_at for probe in told)
    return any(
        probe.plane is plane
        and probe.subject is Subject.DEVICE
        and probe.source not in REPORTING
        and probe.result is not ProbeResult.FAILED
        and (probe.source is not EvidenceSource.CHANNEL or probe.result is ProbeResult.FOUND)
        and probe.observed_at > newest
        for probe in facts.probes
    )


def _joined(probe: Probe) -> JoinType | None:
    return probe.report.joined if probe.report else None


def _plane(known: PlaneStatus | None, probe: Probe) -> PlaneStatus:
    before = known or PlaneStatus(status=Status.NOT_VERIFIED)
    return replace(
        before,
        status=Status.REPORTED,
        observed_at=probe.report.at if probe.report else probe.observed_at,
        source=probe.source,
        note=_note(probe),
        error=None,
        request_id=None,
    )


def _closed(step: Step, reported: Mapping[StepId, Probe]) -> Step:
    probe = reported.get(step.id)
    if probe is None:
        return step
    return replace(step, status=Status.REPORTED, why=_note(probe))


def _compared(decision: Decision, said: Probe) -> Decision:
    """The decision with what a later look shows of a registration that was removed by hand."""
    autopilot = decision.planes[Plane.AUTOPILOT]
    words = {
        Status.CLEAR: "seen to be gone on",
        Status.OUTSTANDING: "but still registered when looked at on",
    }.get(autopilot.status)
    seen_at = autopilot.observed_at
    if words is None or seen_at is None or seen_at <= said.observed_at:
        return decision
    note = f"{_note(said)[:-1]}; {words} {seen_at:%Y-%m-%d}."
    planes = {**decision.planes, Plane.AUTOPILOT: replace(autopilot, note=note)}
    return replace(decision, planes=planes)


def _note(probe: Probe) -> str:
    at = probe.report.at if probe.report else probe.observed_at
    account = probe.report.account if probe.report else None
    if probe.source is EvidenceSource.PARTNER:
        return f"{REMOVED_BY_HAND} on {at:%Y-%m-%d}, as reported by {account or 'the partner'}."
    by = f" by {account}" if account else ""
    return f"Reported done by the customer on {at:%Y-%m-%d}{by}."
