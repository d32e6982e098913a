"""Shows a run: a line per device as it settles, progress on a terminal, the result at the end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from partner_tools.cli.output import print_json, print_line, print_result, tell
from partner_tools.cli.progress import Progress
from partner_tools.errors import ServiceError
from partner_tools.events import History, State
from partner_tools.model import Device, Outcome, RunId, RunState
from partner_tools.result import (
    DeviceResult,
    device_line,
    exit_code,
    result_document,
    shown_state,
)

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger, RunRecord

NO_CUSTOMER_SERVED = 4
"""Every device was refused because this partner may not act for its customer."""


@dataclass(slots=True)
class Showing:
    """What a user sees of one run while it goes and when it is over.

    `settled` is called by the engine's workers.
    """

    ledger: Ledger
    run: RunId
    output: str
    junit: Path | None = None
    progress: Progress | None = None
    _devices: dict[int, Device] = field(default_factory=dict)
    _printed: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def settled(self, index: int, history: History) -> None:
        """One device has its outcome, durably."""
        with self._lock:
            if self.progress is not None:
                self.progress.settled(history.outcome)
            if self.output == "jsonl":
                self._print_line(index, history)

    def planned(self) -> None:
        """The run is planned: what settled by that is shown."""
        for each in self.ledger.devices(self.run):
            self._devices[each.index] = each.device
            if self.output == "jsonl" and each.history.state is State.SETTLED:
                self._print_line(each.index, each.history)

    def result(self) -> None:
        """The run's result, as the ledger has it now."""
        record, results = self._read()
        document = result_document(
            run=record.run, channel=record.channel.value, state=record.state, devices=results
        )
        if self.output == "json":
            print_json(document)
        elif self.output == "text":
            print_result(document)
        else:
            self._print_rest(results, record.state)
        if self.junit is not None:
            from partner_tools.report.junit import write_junit

            write_junit(document, self.junit)

    def tell_next(self) -> None:
        """Say which command is next, where one is."""
        record = self.ledger.run(self.run)
        if self.output != "text":
            return
        if record.state is RunState.FINISHED:
            tell(f"next: partner-tools report {self.run} -o handoff")
        elif record.state in (RunState.STOPPED, RunState.INTERRUPTED):
            tell(f"next: partner-tools resume {self.run}")

    def exit_code(self) -> int:
        """What the process ends with when nothing went wrong on the way."""
        record, results = self._read()
        histories = [each.history for each in results]
        if histories and all(each.rule == "no-relationship" for each in histories):
            return NO_CUSTOMER_SERVED
        if shown_state(record.state) is RunState.PLANNED:
            return 0 if all(each.outcome is Outcome.PENDING for each in histories) else 7
        if record.state is RunState.STOPPED:
            return ServiceError.exit_code
        return exit_code(histories)

    def _read(self) -> tuple[RunRecord, list[DeviceResult]]:
        results = [
            DeviceResult(device=each.device, history=each.history)
            for each in self.ledger.devices(self.run)
        ]
        return self.ledger.run(self.run), results

    def _print_line(self, index: int, history: History) -> None:
        if index not in self._printed and index in self._devices:
            self._printed.add(index)
            print_line(device_line(DeviceResult(device=self._devices[index], history=history)))

    def _print_rest(self, results: list[DeviceResult], state: RunState) -> None:
        for index, each in enumerate(results):
            if index not in self._printed:
                print_line(device_line(each, state))
