"""How a person steers a run: asked before it removes, told what is next when it is over."""

from __future__ import annotations

import sys

import click

from partner_tools.cli.interruption import asking
from partner_tools.cli.output import clean, counted, tell
from partner_tools.cli.program import Call
from partner_tools.errors import GuardError
from partner_tools.guards import count_removals, expected_answer, question
from partner_tools.model import Plan, RunState
from partner_tools.workspace.results import RunResult


def ask(plan: Plan) -> bool:
    """Have a person confirm the removal. Raises GuardError where nobody can."""
    removals = count_removals(plan.devices)
    if not sys.stdin.isatty():
        raise GuardError(
            f"{counted(removals, 'device')} would be removed and nobody can be asked",
            rule="not-confirmed",
            remedy="pass --yes to confirm, or --dry-run to see the plan only",
        )
    tell(f"{counted(removals, 'device')} will be removed from Windows Autopilot:")
    tell(question(plan.customers))
    expected = expected_answer(plan.customers)
    with asking():
        if expected is None:
            return click.confirm("Remove them?", err=True)
        answer = click.prompt(f"Type {clean(expected)} to remove them", err=True, default="")
        return str(answer).strip().casefold() == expected.casefold()


def conclude(call: Call, result: RunResult) -> int:
    """Say which command is next, where one is; the exit code."""
    if call.output == "text" and not result.reports:
        if result.state is RunState.FINISHED:
            tell(f"next: partner-tools report {result.run} -o handoff")
        elif result.state in (RunState.STOPPED, RunState.INTERRUPTED):
            tell(f"next: partner-tools resume {result.run}")
    return result.exit_code
