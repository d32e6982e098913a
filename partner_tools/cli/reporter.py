"""Shows a run: a line per device as it settles, progress on a terminal, the result at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools import RunObserver, RunResult
from partner_tools.cli.console import (
    clean,
    counted,
    print_error,
    print_json,
    print_line,
    print_result,
    print_steps,
    tallied,
    tell,
    telling_of_no_room,
)
from partner_tools.cli.progress import Progress, Reading
from partner_tools.cli.signals import asking, discard_typed, require_terminal
from partner_tools.errors import InputError, Interrupted, PartnerToolsError, ServiceError
from partner_tools.events import History, State
from partner_tools.guards import count_nobodys, count_removals, expected_answer, question
from partner_tools.model import GONE, ChannelName, Device, Outcome, Plan, RunId, RunState
from partner_tools.plan import counts
from partner_tools.result import (
    OF_THE_BATCH,
    DeviceResult,
    device_line,
    still_listed,
    undelivered,
    unfinished,
)

if TYPE_CHECKING:
    from partner_tools import Workspace
    from partner_tools.cli.app import Call

RESUMABLE = frozenset({RunState.PLANNING, RunState.INTERRUPTED, RunState.STOPPED})
NOT_STAYING = GONE | {Outcome.PENDING}


@dataclass(slots=True)
class ConsoleReporter(RunObserver):
    """A run's output for the user, during the run and at its end."""

    call: Call
    workspace: Workspace
    junit: Path | None = None
    result_file: Path | None = None
    """The result is also written as JSON to this file, and as JUnit XML beside it."""
    look_only: str = ""
    """How the command shows the plan without asking, in words."""
    _run: RunId | None = None
    _progress: Progress | None = None
    _reading: Reading | None = None
    _devices: dict[int, Device] = field(default_factory=dict)
    _printed: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _said_last: str = ""

    def __post_init__(self) -> None:
        # A file that cannot be written is found before anything is removed.
        for file in filter(None, (self.result_file, *self._junit_files())):
            from partner_tools.files import require_writable

            require_writable(file)

    def _junit_files(self) -> Iterator[Path]:
        if self.junit is not None:
            yield self.junit
        if self.result_file is not None:
            yield self.result_file.with_suffix(".xml")

    def notify(self, message: str) -> None:
        self._said_last = message
        tell(message)

    def ask(self, plan: Plan) -> bool:
        """Have a person confirm the plan, under what it takes. Raises GuardError."""
        look = f", or {self.look_only} to see the plan only" if self.look_only else ""
        require_terminal(
            f"{counted(_to_remove(plan), 'device')} would be removed",
            f"pass --yes to confirm{look}",
        )
        if self._said_last != (takes := what_it_takes(plan)):
            tell(takes)
        expected = expected_answer(plan.customers, count_nobodys(plan.devices))
        with asking():
            discard_typed()
            if expected is None:
                return click.confirm("Remove them?", err=True)
            prompt = f"Type {clean(expected)} to remove them"
            answer = click.prompt(prompt, err=True, default="", show_default=False)
            return str(answer).strip().casefold() == expected.casefold()

    def began(self, run: RunId) -> None:
        """Say the run's id, and from here on print its result however the command ends."""
        self._run = run
        self.call.if_refused, self.call.breaking_off = None, self._break_off
        self.call.going_on = self.call.again("resume", run)
        tell(f"run {run}", run=run)

    def listed(self, tenant: str, devices: int) -> None:
        """Show how far the reading has come, unless the removal's progress is shown."""
        if self._progress is None:
            self._now_reading().listed(tenant, devices)

    def waiting(self, error: ServiceError, seconds: float) -> None:
        if self._progress is None:
            self._now_reading().waiting(error.message, seconds)

    def still(self) -> None:
        if self._reading is not None:
            self._reading.stop()
            self._reading = None

    def _now_reading(self) -> Reading:
        with self._lock:
            if self._reading is None:
                self._reading = Reading(quiet=self.call.common.quiet)
                self.call.at_end = self.still
            return self._reading

    def planned(self, plan: Plan) -> None:
        """Say what can be removed; with `jsonl` show what settled by the plan."""
        self.still()
        if self.call.output == "jsonl":
            for index, each in enumerate(self.workspace.result(plan.run).devices):
                self._devices[index] = each.device
                if each.history.state is State.SETTLED:
                    self._print_line(index, each.history)
        for note in plan.notes:
            self.notify(f"note: {note}")
        is_removal = plan.channel is not ChannelName.ASSESSMENT
        if plan.customers and is_removal and not self.call.common.quiet:
            for line in _what_can_be_removed(plan):
                self.notify(line)

    @contextmanager
    def removing(self, removals: int, throttle: Callable[[], str]) -> Iterator[None]:
        with Progress(removals, quiet=self.call.common.quiet, throttle=throttle) as progress:
            self._progress = progress
            try:
                yield
            finally:
                self._progress = None

    def settled(self, index: int, history: History) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress.settled(history.outcome)
            if self.call.output == "jsonl":
                self._print_line(index, history)

    def ended(self, result: RunResult) -> None:
        """Print the run's result, and write it for a build server."""
        self._print(result)
        self.call.breaking_off = self.call.going_on = self.call.if_refused = None
        try:
            self._write_files(result)
        except InputError as error:
            again = self.call.again("resume", result.run, "--junit", "FILE")
            raise undelivered(error, f"this writes it elsewhere: {again}") from error

    def show(self, result: RunResult) -> None:
        """Print the result in the form that was asked for, and write it for a build server."""
        self._print(result)
        self._write_files(result)

    def _print(self, result: RunResult) -> None:
        self.still()
        document = result.document
        if self.call.output == "json":
            print_json(document)
        elif self.call.output == "text":
            print_result(
                document,
                each_device=bool(self.call.common.verbose),
                list_all=self.call.again("runs", result.run, "-v"),
            )
            print_steps(document)
        else:
            for index, each in enumerate(result.devices):
                if index not in self._printed:
                    print_line(device_line(each, result.state))

    def _write_files(self, result: RunResult) -> None:
        if self.result_file is not None:
            import json

            from partner_tools.files import write_private

            content = json.dumps(result.document, indent=2, ensure_ascii=False).encode()
            write_private(self.result_file, content)
        for file in self._junit_files():
            self.workspace.write_junit(result, file)

    def _break_off(self, error: PartnerToolsError) -> Iterator[str]:
        """Print the run's result up to the error; yield its last lines.

        Of a run that sent nothing a person sees no table: the error says why.
        """
        if self._run is None:
            return
        with self.workspace.ledger as ledger:  # which the command had closed when it broke off
            result, record = self.workspace.result(self._run), ledger.run(self._run)
        began = record.started_at is not None
        if began or self.call.output != "text":
            with telling_of_no_room():
                self._print(result)
        self.still()
        try:
            self._write_files(result)
        except InputError as unwritable:  # beside what ended the run, which is told already
            print_error(unwritable)
        done = "changed" if result.channel is ChannelName.MICROSOFT_GRAPH else "removed"
        told = f"nothing was {done}"
        if began and done == "removed":
            told = f"removed so far: {counted(result.counts.get(Outcome.REMOVED, 0), 'device')}"
        lines = [told] if done == "removed" or not began else []
        was_stopped = isinstance(error, Interrupted)
        if was_stopped or (result.state in RESUMABLE and error.rule not in OF_THE_BATCH):
            # The last line decides: how an interrupted run continues, or that nothing was done.
            lines.insert(
                len(lines) if began or was_stopped else 0, self.call.again("resume", self._run)
            )
        yield from lines

    def _print_line(self, index: int, history: History) -> None:
        if index not in self._printed and index in self._devices:
            self._printed.add(index)
            print_line(device_line(DeviceResult(device=self._devices[index], history=history)))


def _what_can_be_removed(plan: Plan) -> Iterator[str]:
    """Yield earlier events, the rows that stay and why; at the end the removals to confirm."""
    gone = counts(each.outcome for each in plan.devices if each.outcome in GONE)
    staying = counts(each.outcome for each in plan.devices if each.outcome not in NOT_STAYING)
    if gone:
        yield f"already gone: {tallied(gone)}"
    if staying:
        yield f"will not be removed: {tallied(staying)}"
    if count_removals(plan.devices):
        yield what_it_takes(plan)
    else:
        yield "nothing to remove"


_PLACES = {False: "Windows Autopilot", True: "Intune and Windows Autopilot"}


def _to_remove(plan: Plan) -> int:
    """How many devices a plan changes; a cleanup also waits for devices that it does not touch."""
    if plan.channel is ChannelName.MICROSOFT_GRAPH:
        return sum(each.removals for each in plan.customers)
    return count_removals(plan.devices)


def what_it_takes(plan: Plan) -> str:
    """How many devices the plan removes from where, and of whose estate how much."""
    own = plan.channel is ChannelName.MICROSOFT_GRAPH
    subject = f"{counted(_to_remove(plan), 'device')} to be removed from {_PLACES[own]}"
    return f"{subject}:\n{question(plan.customers, count_nobodys(plan.devices))}"


def conclude(call: Call, result: RunResult, *, saved: Path | None = None) -> int:
    """Say which command is next, where one is; the exit code. `saved` is the plan's file."""
    if call.output == "text":
        for line in _next(call, result, saved):
            tell(line)
    return result.exit_code


def _next(call: Call, result: RunResult, saved: Path | None) -> Iterator[str]:
    histories = [each.history for each in result.devices]
    if result.state is RunState.PLANNED:
        yield _after_plan(call, result, saved)
    elif result.state is RunState.CANCELLED:
        yield "next: nothing; a cancelled run cannot be resumed; its other devices need a new run"
    elif result.state in (RunState.STOPPED, RunState.INTERRUPTED) or unfinished(histories):
        yield f"next: {call.again('resume', result.run)}"
    else:
        if any(map(still_listed, histories)):
            yield f"next: {call.again('verify', result.run, '--wait', '300')}"
        if not set(result.counts) - {Outcome.NOT_FOUND, Outcome.DUPLICATE}:
            yield "no device was found: check the customer and the serial numbers"
        elif not result.reports:
            yield f"next: {call.again('report', result.run, '-o', 'handoff')}"
        else:
            yield "next: send each customer its handoff; later, see what is left:"
            yield f"  {call.again('verify', '--outstanding')}"


def _after_plan(call: Call, result: RunResult, saved: Path | None) -> str:
    if not result.counts.get(Outcome.PENDING):
        if set(result.counts) <= GONE:
            return "next: nothing; every device of this batch is already gone"
        return "next: correct the rows above; nothing in this batch can be removed"
    if saved is not None:
        return f"next: {call.again('deregister', '--plan', str(saved))}"
    return "next: the same command without --dry-run removes them"
