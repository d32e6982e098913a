"""The customer's own tenant as the engine needs it: one step of a cleanup a call, of one record.

The rule it keeps: right before a record is changed it is looked up again by its id and by its
serial number, and only one record that carries both is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from partner_tools.cancellation import CancellationToken
from partner_tools.clients.graph import ApprovalNeeded, Changes, Done, Graph
from partner_tools.engine.channel import (
    Answer,
    AwaitingApproval,
    Polling,
    Removal,
    StepDone,
    Verdict,
)
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.errors import (
    AuthError,
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unreadable,
    Unsent,
)
from partner_tools.model import ChannelName, Explanation, Outcome
from partner_tools.outstanding.search import (
    By,
    Collection,
    Question,
    SearchTarget,
    can_be_asked,
    is_stray,
    keys,
    questions,
)
from partner_tools.outstanding.types import Found, StepId

REMOVAL_UNDER_WAY: Final = 400
"""The answer to a second deletion of an Autopilot identity while the first is under way: observed,
not documented (https://github.com/adamgell/ProxmoxVEAutopilot, read 2026-11). Intune is clear
of the device by then, so no other meaning is known; looking settles it."""

_COLLECTIONS: Mapping[StepId, Collection] = {
    StepId.DELETE_FROM_INTUNE: Collection.INTUNE,
    StepId.UNASSIGN_USER: Collection.AUTOPILOT,
    StepId.DEREGISTER_FROM_AUTOPILOT: Collection.AUTOPILOT,
    StepId.DELETE_ASSOCIATION_RECORD: Collection.ASSOCIATIONS,
}
_TURNED_DOWN: Final = re.compile(r"reject|cancel|expire|not one of", re.IGNORECASE)
_SCOPES: Final = re.compile(r"following scopes|insufficient privileges", re.IGNORECASE)


class CustomerTenantChannel:
    """Implements `engine.channel.Channel`. `justification` is what another administrator reads."""

    name = ChannelName.MICROSOFT_GRAPH
    call_size = 1
    observable = True
    repeats = True
    polling = Polling()

    def __init__(
        self,
        reading: Graph,
        changing: Changes,
        *,
        executor: RequestExecutor,
        stop: CancellationToken,
        justification: str,
    ) -> None:
        self._reading = reading
        self._changing = changing
        self._executor = executor
        self._stop = stop
        self._justification = justification

    def remove(self, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """One step of one device. See `engine.channel.Channel.remove`."""
        return {removal.index: self._take(removal) for removal in removals}

    def poll(self, handle: str, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """Never needed: what was accepted is looked for, of all devices together."""
        raise ValueError(f"nothing can be asked about {handle!r} of {len(removals)} devices")

    def recall(self, removals: Sequence[Removal]) -> Mapping[int, bool | Explanation]:
        """Look, patiently, which steps are still to be done."""
        return {
            removal.index: _is_open(
                removal, self._executor.call_with_retry(partial(self._see, removal))
            )
            for removal in removals
        }

    def _take(self, removal: Removal) -> Verdict:
        step = _step(removal)
        verdict = _precluded(removal, self._look(removal))
        if verdict is not None:
            return verdict
        if self._stop.is_set():
            raise Unsent("interrupted before the request left", remedy="resume the run")
        try:
            answer = self._carry_out(removal, step)
        except Rejected as rejection:
            return _refused(step, rejection)
        if isinstance(answer, Done):
            return StepDone(step=step.value, status=answer.status, request_id=answer.request_id)
        return _parked(removal, answer)

    def _carry_out(self, removal: Removal, step: StepId) -> Done | ApprovalNeeded:
        """Take the step; where another administrator has to approve it, ask for that."""
        record = removal.act.record if removal.act else ""
        answer = self._changing.carry_out(
            step, record, request_id=removal.request_id, approval=removal.approval
        )
        if isinstance(answer, Done) or removal.approval is not None:
            return answer
        return self._changing.carry_out(
            step,
            record,
            request_id=removal.request_id,
            justification=self._justification,
        )

    def _look(self, removal: Removal) -> tuple[Found, ...]:
        """Find the records with this id or serial number. If a look fails, nothing was sent."""
        try:
            return self._see(removal)
        except (Throttled, Unauthorized, Unsent):
            raise
        except ServiceError as error:
            raise Unsent(
                f"it could not be looked up again, so nothing was sent: {error}",
                remedy=error.remedy,
                status=error.status,
                request_id=None,
                retry_after=error.retry_after,
            ) from error

    def _see(self, removal: Removal) -> tuple[Found, ...]:
        """One attempt to look a record up by its id and its serial number. Raises ServiceError."""
        asked = _questions(removal)
        found: dict[str, Found] = {}
        for question, answer in zip(asked, self._reading.batch(asked), strict=True):
            if isinstance(answer, ServiceError):
                is_rejected = isinstance(answer, Rejected) and answer.status == 400
                if question.by is By.SERIAL and is_rejected:
                    continue  # the filter is not understood: the round's own look read the list
                raise answer
            # Whether associations can be filtered is documented nowhere: where the filter was
            # ignored, the round's own look read the list too.
            unfiltered = (question.collection, question.by) == (Collection.ASSOCIATIONS, By.SERIAL)
            if not unfiltered and any(is_stray(question, row) for row in answer.rows):
                raise Unreadable("a record that was not asked for came back")
            matching = [row for row in answer.rows if (question.by, question.value) in keys(row)]
            found |= {row.ids["id"].lower(): row for row in matching}
        return tuple(found.values())


def _step(removal: Removal) -> StepId:
    if removal.act is None:
        raise ValueError("a cleanup needs to be told the step")
    return StepId(removal.act.step)


def _questions(removal: Removal) -> tuple[Question, ...]:
    record = removal.act.record.lower() if removal.act else ""
    collection = _COLLECTIONS[_step(removal)]
    device = SearchTarget(
        index=removal.index,
        serial=removal.identity.serial_number,
        autopilot_ids=frozenset({record}),
        association_ids=frozenset({record}),
        managed_ids=frozenset({record}),
    )
    return tuple(filter(can_be_asked, questions(collection, device)))


def _is_open(removal: Removal, seen: Sequence[Found]) -> bool:
    """Whether the step is still to be done, by what was seen."""
    record = _record(removal, seen)
    if record is None:
        return False
    match _step(removal):
        case StepId.UNASSIGN_USER:
            return bool(str(record.attributes.get("userPrincipalName") or "").strip())
        case StepId.DELETE_ASSOCIATION_RECORD:
            return _association_state(record) != "pendingremoval"
    return True


def _record(removal: Removal, seen: Sequence[Found]) -> Found | None:
    wanted = removal.act.record.lower() if removal.act else ""
    return next((one for one in seen if one.ids["id"].lower() == wanted), None)


def _association_state(record: Found) -> str:
    return str(record.attributes.get("associationState") or "").strip().casefold()


def _precluded(removal: Removal, seen: Sequence[Found]) -> Verdict | None:
    """The verdict of a step that must not or need not be taken; None where it may be."""
    record, step = _record(removal, seen), _step(removal)
    if len(seen) > 1 or (record is None and seen):
        return _unsure(Outcome.AMBIGUOUS, "more than one record answers to its serial number now")
    if record is None:
        detail = "it was gone already"
        if removal.silent:
            detail = "it is gone; our own request had left and its answer never came"
        return StepDone(step=step.value, detail=detail)
    serial = str(record.attributes.get("serialNumber") or "").strip()
    if serial != (removal.identity.serial_number or "").strip():
        return _unsure(Outcome.REFUSED, "the record carries another serial number now")
    if not _is_open(removal, seen):
        return StepDone(step=step.value, detail=_DONE[step])
    if step is StepId.DELETE_ASSOCIATION_RECORD and _association_state(record) != "preassociated":
        return _unsure(Outcome.REFUSED, "the device is no longer only pre-associated")
    return None


_DONE: Mapping[StepId, str] = {
    StepId.UNASSIGN_USER: "no user is assigned to it any more",
    StepId.DELETE_ASSOCIATION_RECORD: "its removal is pending already",
}


def _unsure(outcome: Outcome, detail: str) -> Answer:
    return Answer(
        outcome=outcome,
        rule="changed-since-plan",
        detail=f"{detail}; nothing was sent",
        remedy="look at its records in the portals, and have a new handoff made",
    )


def _refused(step: StepId, rejection: Rejected) -> Verdict:
    """Return what a refusal means for the device. Raises AuthError for a refused sign-in."""
    words = rejection.description or str(rejection)
    if rejection.status == 404:
        return StepDone(step=step.value, detail="it was gone already", status=404)
    if rejection.status == REMOVAL_UNDER_WAY and step is StepId.DEREGISTER_FROM_AUTOPILOT:
        detail = f"a removal seems to be under way: {words}"
        return StepDone(step=step.value, detail=detail, status=400, request_id=rejection.request_id)
    if rejection.status == 403 and _SCOPES.search(words):
        raise AuthError(
            str(rejection), remedy=rejection.remedy, rule="not-permitted"
        ) from rejection
    return Answer.to(
        rejection,
        Outcome.REFUSED,
        rule="refused-by-service",
        detail=f"the service refuses to {_WORDS[step]}: {words}",
        remedy=rejection.remedy or "do this step in the portal",
    )


_WORDS: Mapping[StepId, str] = {
    StepId.DELETE_FROM_INTUNE: "delete it from Intune",
    StepId.UNASSIGN_USER: "unassign its user",
    StepId.DEREGISTER_FROM_AUTOPILOT: "delete it from Windows Autopilot",
    StepId.DELETE_ASSOCIATION_RECORD: "delete its device association record",
}


def _parked(removal: Removal, needed: ApprovalNeeded) -> Verdict:
    """The tenant demands a second administrator (multi-admin approval)."""
    code = needed.code or removal.approval
    if code is None or (removal.approval and _TURNED_DOWN.search(needed.words)):
        return Answer(
            outcome=Outcome.REFUSED,
            rule="not-approved",
            detail=f"another administrator has to approve it, and has not: {needed.words}",
            remedy="settle that in Intune (Tenant administration > Multi Admin Approval), then "
            "run cleanup again: it asks anew",
            status=needed.status,
            request_id=needed.request_id,
        )
    return AwaitingApproval(
        approval=code,
        detail=f"waits for another administrator's approval (request {code}); nothing was deleted",
        remedy="have another administrator approve it in Intune (Tenant administration > Multi "
        "Admin Approval) within three days, then resume the run",
        status=needed.status,
        request_id=needed.request_id,
    )
