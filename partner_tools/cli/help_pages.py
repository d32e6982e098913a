"""The help pages, with nothing cut off, and every command in the order of the work.

The module of a command is imported when the command is called: else `--help` would load them all
for a line of each. A test compares these lines with what the commands say themselves.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Final

import click

from partner_tools.cli.options import BATCH_NAMES, COMMON_NAMES

UNBROKEN_HYPHEN: Final = "\u2011"
"""Replaces a hyphen while lines are broken: `partner-center` and `--max-devices` stay whole."""


class Page(click.HelpFormatter):
    """Breaks lines at blanks only; click breaks them at hyphens as well."""

    def write_text(self, text: str) -> None:
        super().write_text(_held_together(text))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        held = [(first, _held_together(second)) for first, second in rows]
        super().write_dl(held, col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(UNBROKEN_HYPHEN, "-")


class PageContext(click.Context):
    """A context whose help is a `Page`."""

    formatter_class = Page


class OwnFirst(click.Command):
    """A command whose help lists its own options before those of every command."""

    context_class = PageContext

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options in sections: by purpose, if there are many, and last the common ones."""
        titles = _PURPOSES if ctx.command.name in MANY_OPTIONS else {}
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in titles}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx) if isinstance(each, click.Option) else None
            if record is None:
                continue
            title = next((one for one, names in titles.items() if each.name in names), "Options")
            if each.name in COMMON_NAMES or (titles and "--help" in each.opts):
                title = "Options of every command"
            sections.setdefault(title, []).append(record)
        for title in sorted(sections, key=_LAST.__contains__):
            if rows := sections[title]:
                with formatter.section(title):
                    formatter.write_dl(rows)


MANY_OPTIONS: Final = frozenset({"cleanup", "deregister", "plan", "submit", "validate"})
_PURPOSES: Final = {
    "Batch": {"plan_file", *BATCH_NAMES},
    "Safety": {
        *("dry_run", "apply", "yes", "max_devices", "min_found", "snapshot"),
        *("accept_locked_firmware", "require_intune_clear", "keys_saved", "keys_receipt", "again"),
    },
    "Output": {"plan_to", "output", "junit", "result_dir", "report", "formats"},
    "Connection": {"settle", "max_rate", "snapshot_timeout", "priority", "not_before", "depot"},
}
_LAST: Final = ("Options of every command",)


class Whole(click.Group):
    """A group whose help gives the first paragraph of each command whole; click cuts it off."""

    context_class = PageContext

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in the order in which they were added."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(each)) for name, each in self.commands.items()])


def summary(command: click.Command) -> str:
    """The first paragraph of a command's help, in one line."""
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())


def _held_together(text: str) -> str:
    return text.replace("-", UNBROKEN_HYPHEN)


SECTIONS: Final[dict[str, dict[str, str]]] = tomllib.loads(
    Path(__file__).with_name("commands.toml").read_text(encoding="utf-8")
)
"""The commands with their summaries, as `--help` groups them, in the order of the work."""
SUMMARIES: Final = {name: text for rows in SECTIONS.values() for name, text in rows.items()}


def summaries() -> dict[str, click.Command]:
    """What `--help` has to know of each command, and no more."""
    return {name: click.Command(name, help=text) for name, text in SUMMARIES.items()}


def load(name: str) -> click.Command:
    module = import_module(f"partner_tools.cli.commands.{name}")
    command: click.Command = getattr(module, "hash_" if name == "hash" else name)
    return command
