"""Plan a cleanup's actions for one device, in order, and what it leaves untouched. Pure.

It rests on `decide`: a step is taken only where the decision asks for it, of the one record that
the evidence names, and only after everything before it is proved done. No step deletes an object
of Entra ID or of Active Directory: there is none for that in `CARRIED_OUT`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from partner_tools.model import Outcome, Reason
from partner_tools.outstanding.decision import WAITING
from partner_tools.outstanding.evidence import probes, text
from partner_tools.outstanding.types import (
    DATA,
    STEP_ORDER,
    Decision,
    DeviceFacts,
    EvidenceSource,
    Flag,
    Found,
    JoinType,
    Owner,
    Plane,
    ProbeResult,
    Status,
    StepId,
)

CARRIED_OUT = (
    StepId.DELETE_FROM_INTUNE,
    StepId.UNASSIGN_USER,
    StepId.DEREGISTER_FROM_AUTOPILOT,
    StepId.DELETE_ASSOCIATION_RECORD,
)
"""The steps that a cleanup carries out, in their order."""

_DELETIONS = frozenset(CARRIED_OUT) - {StepId.UNASSIGN_USER}

REFUSALS: Mapping[str, str] = {rule: said["detail"] for rule, said in DATA["refusals"].items()}
"""Why a device is left alone, by rule; `cleanup` and the customer's script give the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupAction:
    """One step, and the id of the one record that it is about."""

    step: StepId
    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Untouched:
    """The objects left untouched on one plane, and why."""

    plane: Plane
    records: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalOutcome:
    """Nothing more is done with the device: what became of it, and why."""

    outcome: Outcome
    rule: str | None = None
    detail: str | None = None
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupPlan:
    """The remaining work for one device.

    `moves` are to be carried out, `awaited` are under way and show when they are done, both in
    order. A `ruling` replaces both.
    """

    moves: tuple[CleanupAction, ...] = ()
    awaited: tuple[CleanupAction, ...] = ()
    ruling: FinalOutcome | None = None
    left: tuple[Untouched, ...] = ()

    @property
    def due(self) -> CleanupAction | None:
        """The next step; None while something before it is awaited."""
        if not self.moves:
            return None
        first, place = self.moves[0], STEP_ORDER[self.moves[0].step]
        return None if any(STEP_ORDER[one.step] < place for one in self.awaited) else first


def plan_cleanup(
    facts: DeviceFacts, decision: Decision, passed: Collection[str] = ()
) -> CleanupPlan:
    """Plan a device's cleanup on this evidence, after the steps that have `passed`."""
    refusal = next(_against(facts, decision, passed), None)
    if refusal is not None:
        return CleanupPlan(ruling=refusal, left=(*_kept(decision, refusal), *_left(decision)))
    wanted = tuple(_wanted(decision))
    moves = tuple(one for one in wanted if one.step.value not in passed and one.step in CARRIED_OUT)
    awaited = tuple(one for one in wanted if one not in moves and one.step is not _UNASSIGN)
    ruling = None
    if not (moves or awaited):
        ruling = _autopilot_refusal(decision) or _done(passed)
    elif moves:
        ruling = next(_before_any_deletion(facts, decision), None)
    if ruling is not None:
        kept = _kept(decision, ruling) if ruling.outcome is Outcome.REFUSED else ()
        return CleanupPlan(ruling=ruling, left=(*kept, *_left(decision)))
    return CleanupPlan(moves=moves, awaited=awaited, left=tuple(_left(decision)))


_UNASSIGN = StepId.UNASSIGN_USER


def _wanted(decision: Decision) -> Iterator[CleanupAction]:
    """The steps that the decision asks for and a cleanup can do or wait for."""
    status = {step.id: step.status for step in decision.steps}
    intune = _only_record(decision, Plane.INTUNE)
    autopilot = _only_record(decision, Plane.AUTOPILOT)
    to_delete = (StepId.DELETE_FROM_INTUNE, StepId.RETRY_INTUNE_ACTION)
    if intune and any(status.get(step) is Status.OUTSTANDING for step in to_delete):
        yield CleanupAction(step=StepId.DELETE_FROM_INTUNE, record=intune)
    removal = status.get(StepId.DEREGISTER_FROM_AUTOPILOT)
    if autopilot and removal is Status.OUTSTANDING and not _is_partners(decision):
        if StepId.UNASSIGN_USER in status:
            yield CleanupAction(step=StepId.UNASSIGN_USER, record=autopilot)
        yield CleanupAction(step=StepId.DEREGISTER_FROM_AUTOPILOT, record=autopilot)
    if autopilot and status.get(StepId.CONFIRM_AUTOPILOT_REMOVAL) is Status.EXPECTED:
        yield CleanupAction(step=StepId.CONFIRM_AUTOPILOT_REMOVAL, record=autopilot)
    if association := _pre_association(decision):
        yield CleanupAction(step=StepId.DELETE_ASSOCIATION_RECORD, record=association)


def _pre_association(decision: Decision) -> str | None:
    """The record of a device that is only pre-associated. One that is associated is left: deleting
    its record would hide what the firmware still holds."""
    found = _here(decision, Plane.DEVICE_ASSOCIATION)
    states = {text(one, "associationState") for one in found}
    steps = {step.id for step in decision.steps}
    if states != {"preassociated"} or StepId.REMOVE_DEVICE_ASSOCIATION in steps:
        return None
    return _only_record(decision, Plane.DEVICE_ASSOCIATION)


def _only_record(decision: Decision, plane: Plane) -> str | None:
    found = decision.planes[plane].found
    return found[0].ids.get("id") if len(found) == 1 else None


# --- What keeps the whole device from being touched -----------------------------------------------


def _against(
    facts: DeviceFacts, decision: Decision, passed: Collection[str]
) -> Iterator[FinalOutcome]:
    """Whatever keeps the device from being touched, the strongest reason first."""
    steps = {step.id for step in decision.steps}
    states = {text(one, "managementState") for one in _here(decision, Plane.INTUNE)}
    agents = {text(one, "managementAgent") for one in _here(decision, Plane.INTUNE)}
    intune = decision.planes[Plane.INTUNE]
    nameless = any(
        _is_here(decision, plane) and _only_record(decision, plane) is None
        for plane in (Plane.INTUNE, Plane.AUTOPILOT)
    )
    if Flag.HELD in facts.flags:
        yield refused("hold-list")
    if facts.outcome is Outcome.DUPLICATE:
        yield FinalOutcome(outcome=Outcome.DUPLICATE, detail=REFUSALS["duplicate"])
    if not (facts.serial_number or "").strip():
        yield refused("no-serial-number")
    if nameless or StepId.RESOLVE_AMBIGUITY in steps:
        yield replace(refused("ambiguous"), outcome=Outcome.AMBIGUOUS)
    if intune.status is Status.NOT_VERIFIED:
        yield refused("intune-not-verified", intune.error or _NOT_LOOKED)
    if StepId.UNLOCK_FIRMWARE in steps:
        yield refused("firmware-managed")
    if states and states <= WAITING:
        yield refused("waiting-for-check-in")
    if agents == {"configurationmanagerclient"}:
        yield refused("configuration-manager")
    if _is_another_record(facts, passed):
        yield refused("changed-since-handoff")


_NOT_LOOKED = "it was not looked at"


def refused(rule: str, why: str | None = None) -> FinalOutcome:
    """The refusal of a device by a rule; `why` follows what the rule says."""
    said = DATA["refusals"][rule]
    return FinalOutcome(
        outcome=Outcome.REFUSED,
        rule=rule,
        detail=f"{said['detail']}: {why}" if why else said["detail"],
        remedy=said["remedy"],
    )


def _is_another_record(facts: DeviceFacts, passed: Collection[str]) -> bool:
    """Whether a record is another one than all evidence before, or came again after it was gone."""
    for plane, step in (
        (Plane.INTUNE, StepId.DELETE_FROM_INTUNE),
        (Plane.AUTOPILOT, StepId.DEREGISTER_FROM_AUTOPILOT),
        (Plane.DEVICE_ASSOCIATION, StepId.DELETE_ASSOCIATION_RECORD),
    ):
        looks = [one for one in probes(facts, plane) if one.source is EvidenceSource.GRAPH]
        ran = [one for one in looks if one.result is not ProbeResult.FAILED]
        if not ran or ran[-1].result is not ProbeResult.FOUND:
            continue
        looked = [{found.ids.get("id", "").lower() for found in one.found} - {""} for one in ran]
        again = any(one.result is ProbeResult.ABSENT for one in ran) and step.value not in passed
        if again or any(ids and ids != looked[-1] for ids in looked):
            return True
    return False


def _before_any_deletion(facts: DeviceFacts, decision: Decision) -> Iterator[FinalOutcome]:
    """The tasks of a person before anything is deleted."""
    if facts.reason is Reason.LOST_OR_STOLEN and _here(decision, Plane.INTUNE):
        yield refused("wipe-first")
    keys = {step.id: step.status for step in decision.steps}.get(StepId.BACK_UP_KEYS)
    if keys is not None:
        stored = "BitLocker keys or a local administrator password are stored for it"
        unknown = f"whether {stored} was not verified"
        why = stored if keys is Status.OUTSTANDING else unknown
        yield replace(refused("keys-not-saved"), detail=why)


# --- How it ends ----------------------------------------------------------------------------------


def _autopilot_refusal(decision: Decision) -> FinalOutcome | None:
    """Why the registration stays although nothing is left that a cleanup could do."""
    autopilot = decision.planes[Plane.AUTOPILOT]
    if autopilot.status is Status.CLEAR:
        return None
    if _is_partners(decision):
        return refused("partners-turn")
    return refused("autopilot-not-verified", autopilot.error or _NOT_LOOKED)


def _is_partners(decision: Decision) -> bool:
    """Whether the registration is still the partner's to remove, by channel or by hand."""
    removals = (StepId.SETTLE_REMOVAL, StepId.DEREGISTER_FROM_AUTOPILOT)
    return any(
        step.id in removals and step.owner is Owner.PARTNER and step.status is not Status.REPORTED
        for step in decision.steps
    )


def _done(passed: Collection[str]) -> FinalOutcome:
    if any(step.value in passed for step in _DELETIONS):
        return FinalOutcome(outcome=Outcome.REMOVED)
    return FinalOutcome(
        outcome=Outcome.ABSENT, detail="neither Intune nor Windows Autopilot has it"
    )


# --- What is left alone ---------------------------------------------------------------------------


def _kept(decision: Decision, ruling: FinalOutcome) -> Iterator[Untouched]:
    """The records that a cleanup could delete, and does not for this device."""
    for plane in (Plane.INTUNE, Plane.AUTOPILOT, Plane.DEVICE_ASSOCIATION):
        if records := _ids(decision, plane):
            yield Untouched(plane=plane, records=records, why=ruling.detail or ruling.outcome.value)


def _left(decision: Decision) -> Iterator[Untouched]:
    if _here(decision, Plane.ENTRA):
        hybrid = decision.join_type is JoinType.HYBRID_JOINED
        why = DATA["left"]["entra-hybrid" if hybrid else "entra"]
        yield Untouched(plane=Plane.ENTRA, records=_ids(decision, Plane.ENTRA), why=why)
    association = decision.planes[Plane.DEVICE_ASSOCIATION].status
    if association is Status.NOT_VERIFIED or (
        _is_here(decision, Plane.DEVICE_ASSOCIATION) and _pre_association(decision) is None
    ):
        records = _ids(decision, Plane.DEVICE_ASSOCIATION)
        why = DATA["left"][f"device-association-{association}"]
        yield Untouched(plane=Plane.DEVICE_ASSOCIATION, records=records, why=why)
    for plane in (Plane.ACTIVE_DIRECTORY, Plane.CONFIGURATION_MANAGER, Plane.DEVICE_FIRMWARE):
        standing = decision.planes.get(plane)
        if standing is not None and standing.status is Status.OUTSTANDING:
            yield Untouched(plane=plane, records=(), why=DATA["left"][plane])
    for step in decision.steps:
        if step.id in (StepId.DELETE_IMPORT_RECORD, StepId.DELETE_CORPORATE_IDENTIFIER):
            yield Untouched(plane=step.plane, records=(), why=DATA["left"][step.id])


def _is_here(decision: Decision, plane: Plane) -> bool:
    return decision.planes[plane].status in (Status.OUTSTANDING, Status.EXPECTED)


def _here(decision: Decision, plane: Plane) -> tuple[Found, ...]:
    return decision.planes[plane].found if _is_here(decision, plane) else ()


def _ids(decision: Decision, plane: Plane) -> tuple[str, ...]:
    return tuple(one.ids["id"] for one in _here(decision, plane) if "id" in one.ids)
