"""What a run came to, as the ledger has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.errors import AuthError, ServiceError
from partner_tools.model import GONE, ChannelName, Outcome, RunId, RunState
from partner_tools.result import (
    CANCELLED,
    DeviceResult,
    StopReason,
    exit_code,
    result_document,
    shown_state,
)
from partner_tools.workspace.environment import now

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run and what became of each of its devices, in the order of the batch.

    `reports` are the files of the handoffs that were written with it.
    """

    run: RunId
    channel: ChannelName
    state: RunState
    devices: tuple[DeviceResult, ...]
    reports: tuple[Path, ...] = ()

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many devices have each outcome; only those that occur."""
        return Counter(each.history.outcome for each in self.devices)

    @property
    def document(self) -> dict[str, Any]:
        """As `deregister --output json` prints it; `schemas/result.schema.json` is its shape."""
        return result_document(
            run=self.run, channel=self.channel.value, state=self.state, devices=self.devices
        )

    @property
    def exit_code(self) -> int:
        """With what `deregister` ends: 0 where every device is gone and none is still listed."""
        histories = [each.history for each in self.devices]
        if histories and all(each.rule == "no-relationship" for each in histories):
            return AuthError.exit_code
        if shown_state(self.state) is RunState.PLANNED:
            fine = {Outcome.PENDING, *GONE}
            return 0 if all(each.outcome in fine for each in histories) else 7
        if self.state is RunState.STOPPED:
            return ServiceError.exit_code
        return exit_code(histories)


def read_result(ledger: Ledger, run: str) -> RunResult:
    """The result of the run with this id or its beginning. Raises UnknownRunError."""
    record = ledger.run(run)
    told = _accounts(ledger, record)
    stop = _stop(ledger, record)
    return RunResult(
        run=record.run,
        channel=record.channel,
        state=record.state,
        devices=tuple(
            DeviceResult(
                device=each.device,
                history=each.history,
                account=told.get(each.index, {}),
                stop=stop,
            )
            for each in ledger.devices(record.run)
        ),
    )


def _stop(ledger: Ledger, record: RunRecord) -> StopReason | None:
    """What stopped the run last; None where it goes on, was never stopped, or that was purged."""
    if record.state is RunState.CANCELLED:
        return CANCELLED
    if record.state is not RunState.STOPPED:
        return None
    payload = ledger.last_stop(record.run)
    if not payload.get("detail"):
        return None
    return StopReason(
        detail=payload["detail"],
        remedy=payload.get("remedy") or None,
        rule=payload.get("rule") or "",
    )


def _accounts(ledger: Ledger, record: RunRecord) -> Mapping[int, Mapping[str, Any]]:
    """What a cleanup says of each device step by step; nothing of any other run."""
    if record.channel is not ChannelName.MICROSOFT_GRAPH:
        return {}
    from partner_tools.runs.cleanup import accounts
    from partner_tools.runs.cleanup_order import stored_assignment

    given = stored_assignment(ledger, record.run, record.settings)
    return {} if given is None else accounts(ledger, record.run, given, now())
