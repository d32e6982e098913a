"""The list of commands says of each what the command says of itself."""

from __future__ import annotations

import inspect

import pytest

from partner_tools.cli.help_pages import SUMMARIES, load


@pytest.mark.parametrize("name", SUMMARIES)
def test_a_summary_is_the_first_paragraph_of_the_commands_help(name: str) -> None:
    command = load(name)
    first = inspect.cleandoc(command.help or "").split("\n\n")[0]

    assert (command.name, " ".join(first.split())) == (name, SUMMARIES[name])
    assert not command.hidden and not command.short_help and not command.deprecated
