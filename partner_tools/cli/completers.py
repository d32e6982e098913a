"""Shell completion besides commands, options and choices: files, runs, customers, schemas.

Nothing here may fail, change anything or ask a service: a user pressed the Tab key. A ledger is
read only if it is an existing file of this version that is not busy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from partner_tools import RunRecord, Workspace

NEWEST = 200
"""The most runs to offer, and to read customers from."""

PATIENCE_SECONDS = 0.5
"""The longest acceptable wait after the Tab key."""

Offers = dict[str, str]
"""Completions of a word, each with its description."""


def files(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Files, which the shell looks for itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="file")]


def runs(context: click.Context, _parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Runs of the ledger, newest first, each with what it came to."""
    return _beginning_with(typed, _asked(context, _runs))


def customers(
    context: click.Context, _parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    """Domains of the customers that runs of the ledger served, with their names."""
    return _beginning_with(typed, _asked(context, _customers))


def schemas(
    _context: click.Context, _parameter: click.Parameter, typed: str
) -> list[CompletionItem]:
    from partner_tools import schema_names

    return _beginning_with(typed, dict.fromkeys(schema_names(), ""))


def _runs(workspace: Workspace) -> Offers:
    return {each.run: _summary(each) for each in workspace.runs(limit=NEWEST)}


def _summary(run: RunRecord) -> str:
    """Without a comma, at which fish would end it (click 8.5's script splits its lines there)."""
    counts = " ".join(f"{number} {outcome.value}" for outcome, number in run.counts.items())
    return f"{run.state.value}: {counts}"


def _customers(workspace: Workspace) -> Offers:
    by_run = workspace.customers_by_run(workspace.runs(limit=NEWEST))
    served = (each for customers in by_run.values() for each in customers)
    return {each.domain: each.name or "" for each in served if each.domain}


def _asked(context: click.Context, question: Callable[[Workspace], Offers]) -> Offers:
    """Ask the ledger that the preceding words name for completions."""
    from partner_tools.workspace.workspace import peek_workspace

    try:
        with peek_workspace(
            config=_named(context, "config"),
            profile=_named(context, "profile"),
            ledger=_named(context, "ledger"),
            patience=PATIENCE_SECONDS,
        ) as workspace:
            return {} if workspace is None else question(workspace)
    except Exception:  # noqa: BLE001 - a traceback would end up in the line that is being typed
        return {}


def _named(context: click.Context | None, option: str) -> str | None:
    if context is None:
        return None
    given: str | None = context.params.get(option)
    return given or _named(context.parent, option)


def _beginning_with(typed: str, offers: Offers) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [
        CompletionItem(word, help=about or None)
        for word, about in offers.items()
        if word.casefold().startswith(typed.casefold())
    ]
