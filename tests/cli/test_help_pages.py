"""The help pages: an example in each, nothing cut off, and own options first."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from docs.generate import commands
from partner_tools.cli import main
from partner_tools.cli.help_pages import MANY_OPTIONS, PageContext
from partner_tools.cli.options import COMMON_NAMES

PATHS = [path for path in commands(main) if len(path) > 1]


def found(path: tuple[str, ...], width: int = 80) -> tuple[click.Command, str]:
    """The command of a path, and its help on a terminal of so many columns."""
    command: click.Command = main
    for name in path[1:]:
        assert isinstance(command, click.Group)
        inner = command.get_command(PageContext(command), name)
        assert inner is not None
        command = inner
    context = PageContext(
        command, info_name=" ".join(path), terminal_width=width, **main.context_settings
    )
    return command, context.get_help()


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_help_has_an_example_that_this_command_takes(path: tuple[str, ...]) -> None:
    command, text = found(path)
    example = text.split("Example:")[1].split("\n\n")[0].replace("\\\n", " ")
    typed = " ".join(path)
    lines = [line.strip() for line in example.splitlines() if f"{typed} " in f"{line} "]

    assert lines, f"no example of {typed} in its help"
    if isinstance(command, click.Group):
        return
    for line in lines:
        words = re.split(r"[|>)]", line[line.index(typed) + len(typed) :])[0]
        context = PageContext(command, **main.context_settings)
        command.make_parser(context).parse_args(shlex.split(words))


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_no_line_of_a_help_is_wider_than_the_terminal(path: tuple[str, ...]) -> None:
    _, text = found(path)
    assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_no_help_cuts_off_or_breaks_a_name(path: tuple[str, ...]) -> None:
    _, text = found(path, 62)  # the longest name has 27 letters, and an indent of 34

    assert "..." not in text.partition("\n\n")[2]
    assert not re.search(r"\w-\n", text)
    assert "%Y" not in text


def test_a_commands_own_options_come_before_those_of_every_command() -> None:
    _, text = found(("partner-tools", "runs"))
    own, shared = text.split("Options of every command:")

    assert "--serial" in own
    assert "--ledger" in shared
    assert not any(f"--{name.replace('_', '-')} " in own for name in COMMON_NAMES)


def test_many_options_are_grouped_by_purpose() -> None:
    _, text = found(("partner-tools", "deregister"))
    titles = re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)
    assert titles == ["Batch", "Safety", "Output", "Connection", "Options of every command"]


def test_every_option_of_a_grouped_help_has_its_purpose() -> None:
    for name in MANY_OPTIONS:
        _, text = found(("partner-tools", name))
        assert "\nOptions:\n" not in text, name
