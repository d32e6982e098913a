"""A command's result for a run: its JSON, and its exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from partner_tools.errors import InputError, Interrupted, PartnerToolsError
from partner_tools.events import History, State
from partner_tools.model import GONE, Device, Explanation, Outcome, Problem, RunState
from partner_tools.outstanding.types import EvidenceSource, Status

EXIT_DONE = 0
EXIT_INCOMPLETE = 7
OF_THE_BATCH = frozenset({"no-such-customer", "ambiguous-customer"})
"""Rules that end a run because of what its batch says, and end it again whenever it is resumed."""
_FINAL = OF_THE_BATCH | {"cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReason(Explanation):
    """The reason that ended a run early, and what to do before resuming it."""

    @property
    def is_final(self) -> bool:
        """Whether only a new run can continue: the batch is at fault, or this run was cancelled."""
        return self.rule in _FINAL


CANCELLED = StopReason(
    rule="cancelled",
    detail="it was cancelled",
    remedy="hand it in again if it is to leave after all",
)
"""The stop of a cancelled run, which can't be resumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceResult:
    """One line of a result."""

    device: Device
    history: History
    account: Mapping[str, Any] = field(default_factory=dict)
    """Of a cleanup: what its line says besides, step by step."""
    stop: StopReason | None = None
    """The reason why the run ended before this device was attempted."""


def shown_state(state: RunState) -> RunState:
    """The state as results name it: a run that is not over was interrupted."""
    if state in (RunState.PLANNING, RunState.QUEUED, RunState.RUNNING):
        return RunState.INTERRUPTED
    return RunState.STOPPED if state in (RunState.CANCELLED, RunState.REFUSED) else state


def device_line(each: DeviceResult, state: RunState = RunState.RUNNING) -> dict[str, Any]:
    """One device of a result, also one line of `--output jsonl`.

    A pending device of a planned run has nothing wrong with it, and no remedy.
    """
    history = each.history
    line = {
        "row": each.device.row,
        "serialNumber": each.device.identity.serial_number,
        "customer": history.customer,
        "outcome": history.outcome.value,
        "detail": detail(history, each.stop),
        "remedy": _remedy(each, state),
        "requestId": history.answered_request_id or history.request_id,
        "correlationId": history.correlation_id,
    }
    product_key_id = each.device.identity.product_key_id
    if product_key_id:
        line["productKeyId"] = product_key_id
    return {**line, **each.account}


def _remedy(each: DeviceResult, state: RunState) -> str | None:
    history = each.history
    if history.outcome is Outcome.PENDING and state in _WAITING:
        return _WAITING[state]
    if history.outcome is Outcome.UNKNOWN and state is RunState.CANCELLED:
        return history.remedy or _LOOK_AGAIN
    return remedy(history, each.stop)


_LOOK_AGAIN = (
    "cancel the run again, which looks what became of it; where the channel cannot look, "
    "hand it in again"
)
_WAITING: Mapping[RunState, str | None] = {
    RunState.PLANNED: None,
    RunState.QUEUED: "wait for a worker, which carries the run out",
}
"""Remedies for a device that was not attempted, where resuming doesn't help."""


def detail(history: History, stop: StopReason | None = None) -> str | None:
    """Why a device has its outcome, and whether it is still listed all the same."""
    said = history.detail
    if history.outcome is Outcome.PENDING and stop and not said:
        said = f"the run stopped before it: {stop.detail}"
    if history.state is State.ACCEPTED and not said:
        said = "the service accepted the work and has not said what became of it"
    elif history.outcome is Outcome.UNKNOWN and not said:
        said = "a request left and no answer was recorded"
    if seen := last_listed(history):
        at = f"{datetime.fromisoformat(seen).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        said = "; ".join(filter(None, (said, f"still listed when last checked ({at})")))
    return said


def remedy(history: History, stop: StopReason | None = None) -> str | None:
    """Return the next action for one device."""
    if history.remedy or history.outcome not in (Outcome.UNKNOWN, Outcome.PENDING, *GONE):
        return history.remedy
    if history.outcome in GONE:
        return "verify the run again later" if still_listed(history) else None
    if history.outcome is Outcome.PENDING and stop and stop.remedy:
        return stop.remedy if stop.is_final else f"{stop.remedy.rstrip('.')}. Then resume the run."
    return "resume the run"


def undelivered(error: InputError, next_step: str) -> Interrupted:
    """Of a run that is over, a file that cannot be written: no invalid input, as devices are gone.

    `next_step` is how the file is written after all.
    """
    return Interrupted(
        error.message, rule=error.rule, remedy=f"what was done is in the ledger; {next_step}"
    )


def still_listed(history: History) -> bool:
    """Whether the last look at a service still found the device after it was removed."""
    return last_listed(history) is not None


def last_listed(history: History) -> str | None:
    """When a service was last seen listing a device that is gone; None where none does.

    Each service counts separately, by the newest look that it answered. Looks before
    the removal don't count.
    """
    said = [
        position
        for position, each in enumerate(history.evidence)
        if each.get("source") == EvidenceSource.PARTNER
    ]
    if said:  # a person removed it by hand, and said so
        history = replace(history, looked_before=said[-1])
    elif history.outcome not in GONE:
        return None
    newest = {
        each.get("source"): each
        for position, each in enumerate(history.evidence)
        if _is_of_registration(each) and not _is_before_removal(position, each, history)
    }
    listing = [each["observedAt"] for each in newest.values() if each["status"] == "outstanding"]
    return max(listing, default=None)


def _is_of_registration(seen: Mapping[str, Any]) -> bool:
    ran = seen.get("status") in {"clear", "outstanding", "reported"}
    return ran and seen.get("plane") == "autopilot" and seen.get("subject", "device") == "device"


def _is_before_removal(position: int, seen: Mapping[str, Any], history: History) -> bool:
    if history.looked_before is not None:
        return position < history.looked_before
    settled = history.settled_at
    return settled is not None and datetime.fromisoformat(seen["observedAt"]) < settled


def is_clear(planes: Mapping[str, str] | None) -> bool:
    """Whether every plane of an assessed device was looked at, and has nothing left of it."""
    done = (Status.CLEAR, Status.NOT_APPLICABLE)
    return planes is not None and all(status in done for status in planes.values())


def unfinished(histories: Iterable[History]) -> bool:
    """Whether a resume has something to do."""
    return any(each.state is not State.SETTLED for each in histories)


def error_document(error: PartnerToolsError) -> dict[str, Any]:
    """Build the stdout document of a command that ends before a run exists."""
    problems = error.problems if isinstance(error, InputError) else ()
    return {
        "schemaVersion": "1",
        "error": {
            "exit": error.exit_code,
            "rule": error.rule,
            "message": str(error),
            "remedy": error.remedy,
        },
        "problems": [problem_document(problem) for problem in problems],
    }


def problem_document(problem: Problem) -> Mapping[str, Any]:
    """One problem of the input as `validate --output json` prints it."""
    return asdict(problem)
