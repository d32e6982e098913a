"""The result of a run, as recorded in the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partner_tools.errors import AuthError, ServiceError
from partner_tools.model import GONE, ChannelName, Outcome, RunId, RunState
from partner_tools.result import (
    DeviceResult,
    exit_code,
    is_clear,
    result_document,
    shown_state,
)


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
    is_reprinted: bool = False
    """It is an earlier run's, whose batch was handed in again."""

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many devices have each outcome; only those that occur."""
        return Counter(each.history.outcome for each in self.devices)

    @property
    def document(self) -> dict[str, Any]:
        """As `deregister --output json` prints it; `schemas/result.schema.json` is its shape."""
        document = result_document(
            run=self.run, channel=self.channel.value, state=self.state, devices=self.devices
        )
        if self.channel is ChannelName.ASSESSMENT:
            document["kind"] = self.channel.value
        return {**document, "reprinted": True} if self.is_reprinted else document

    @property
    def exit_code(self) -> int:
        """With what `deregister` ends: 0 where every device is gone and none is still listed."""
        histories = [each.history for each in self.devices]
        if self.state is RunState.ASSESSED:
            listed = [
                each for each in self.devices if each.history.outcome is not Outcome.DUPLICATE
            ]
            return 0 if all(is_clear(each.account.get("planes")) for each in listed) else 7
        if histories and all(each.rule == "no-relationship" for each in histories):
            return AuthError.exit_code
        if shown_state(self.state) is RunState.PLANNED:
            fine = {Outcome.PENDING, *GONE}
            return 0 if all(each.outcome in fine for each in histories) else 7
        if self.state is RunState.STOPPED:
            return ServiceError.exit_code
        return exit_code(histories)
