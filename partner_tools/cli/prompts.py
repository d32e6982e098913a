"""How a person steers a run: asked before it removes, told what is next when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from partner_tools import RunResult
from partner_tools.cli.app import Call
from partner_tools.cli.console import clean, counted, tell
from partner_tools.cli.signals import asking, discard_typed, require_terminal
from partner_tools.guards import count_nobodys, count_removals, expected_answer, question
from partner_tools.model import ChannelName, Outcome, Plan, RunState
from partner_tools.result import still_listed, unfinished

_PLACES = {False: "Windows Autopilot", True: "Intune and Windows Autopilot"}
_LOOK_ONLY = {False: "--dry-run", True: "leave out --apply"}


def ask(plan: Plan, above: str = "") -> bool:
    """Have a person confirm the removal. Raises GuardError without a terminal.

    `above` is the last printed text: if it already describes the removal, it isn't repeated.
    """
    removals, own = count_removals(plan.devices), plan.channel is ChannelName.MICROSOFT_GRAPH
    require_terminal(
        f"{counted(removals, 'device')} would be removed",
        f"pass --yes to confirm, or {_LOOK_ONLY[own]} to see the plan only",
    )
    if above != (takes := what_it_takes(plan)):
        tell(takes)
    expected = expected_answer(plan.customers, count_nobodys(plan.devices))
    with asking():
        discard_typed()
        if expected is None:
            return click.confirm("Remove them?", err=True)
        answer = click.prompt(
            f"Type {clean(expected)} to remove them", err=True, default="", show_default=False
        )
        return str(answer).strip().casefold() == expected.casefold()


def what_it_takes(plan: Plan) -> str:
    """How many devices the plan removes from where, and of whose estate how much."""
    removals, own = count_removals(plan.devices), plan.channel is ChannelName.MICROSOFT_GRAPH
    subject = f"{counted(removals, 'device')} to be removed from {_PLACES[own]}"
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
        yield "next: nothing; a cancelled run is not resumed, and what it left takes a new run"
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
        return "next: correct the rows above; nothing of this batch can be removed"
    if saved is not None:
        return f"next: {call.again('deregister', '--plan', str(saved))}"
    return "next: the same command without --dry-run removes them"
