"""All PowerShell that a user is shown is parsed by PowerShell, and what can run here is run."""

from __future__ import annotations

import html
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from docs import generate
from partner_tools.cli import main
from partner_tools.cli.console import assigned, pasteable
from partner_tools.report.page import Handoff
from partner_tools.report.script import write_script
from partner_tools.report.texts import tickets
from partner_tools.report.write import FORMATS, ON_REQUEST
from tests.powershell.shell import CMDLETS, HERE, inspect, start
from tests.report import fleet

ROOT = HERE.parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if "_site" not in path.parts),
]
BLOCK = re.compile(r"^( *)```(?:powershell|pwsh)[^\n]*\n(.*?)^\1```", re.S | re.M)
CMDLET = r"\b(?:Get|Set|Remove|Install|Update|Unblock|Connect|Disconnect|Invoke|Read)-[A-Z]\w+ "
INLINE = re.compile(rf"`([^`\n]*(?:\$env:|Out-String|\$LASTEXITCODE|\.ps1 -|{CMDLET})[^`\n]*)`")
WORDS = (
    "plain",
    "my list.csv",
    "it's",
    'a "quoted" one',
    "$env:PATH",
    "a;b",
    "caf\u00e9 \u2019",
    "`x",
)


NEWER = {
    "ternary": "$a ? 1 : 2",
    "chain": "Get-Date && Get-Date",
    "coalescing": "$a ?? 1",
    "conditional": "${a}?.Length",
    "parallel": "1 | ForEach-Object -Parallel { $_ }",
    "hashtable": "ConvertFrom-Json -AsHashtable -InputObject '{}'",
}
"""What Windows PowerShell 5.1 lacks."""


def printed() -> Iterator[tuple[str, str]]:
    """Every piece of PowerShell in pages, help and what the program prints, with its place."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, block in enumerate(BLOCK.finditer(text)):
            yield f"{page.name} block {number}", block[2]
        for number, code in enumerate(INLINE.finditer(text)):
            yield f"{page.name} inline {number}", code[1].replace("\\|", "|")
    for path in generate.commands(main):
        shown = CliRunner().invoke(main, [*path[1:], "--help"], prog_name="partner-tools")
        for line in shown.output.splitlines():
            if re.search(r"Out-String|\$env:|\.ps1 ", line):
                yield f"help of {' '.join(path)}", line.strip()
    yield "pasteable", pasteable("partner-tools", "validate", *WORDS, windows=True)
    for word in WORDS:
        yield f"assigned {word}", assigned("PARTNER_TOOLS_LEDGER", word, windows=True)


IN_WORDS = re.compile(rf"{CMDLET}(?:-\w+ (?:'[^']*'|\$\w+|\w+) ?)+")
"""A command in the middle of a sentence, up to the sentence's own words."""


def handed_over() -> Iterator[tuple[str, str]]:
    """Every piece of PowerShell in the texts that go with a handoff."""
    document = fleet.handoff(fleet.mixed())
    texts = {"tickets": "\n".join(text for _, text in tickets(document))}
    for name in ("md", "email-text", "checklist"):  # the e-mail's text is its body
        stream = io.BytesIO()
        {**FORMATS, **ON_REQUEST}[name].write(Handoff(document), stream)
        texts[name] = stream.getvalue().decode("utf-8")
    for name, text in texts.items():
        for number, block in enumerate(BLOCK.finditer(text)):
            yield f"{name} block {number}", block[2]
        rest = html.unescape(BLOCK.sub("", text))
        for number, found in enumerate(IN_WORDS.finditer(rest)):
            yield f"{name} in words {number}", found[0].strip()


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    texts = dict(printed()) | dict(handed_over())
    texts["the script"] = _script()
    texts |= {f"newer: {name}": text for name, text in NEWER.items()}
    return inspect(texts)


def _script() -> str:
    stream = io.BytesIO()
    write_script(Handoff(fleet.handoff(fleet.hostile(fleet.HOSTILE[:8]))), stream)
    return stream.getvalue().decode("ascii")


def test_powershell_parses_everything_that_is_printed(told: dict[str, dict[str, Any]]) -> None:
    assert len(told) > 15
    assert {name.split()[0] for name in told} >= {"md", "tickets", "checklist"}
    assert {name: one["errors"] for name, one in told.items() if one["errors"]} == {}


def test_the_script_has_nothing_that_windows_powershell_5_1_lacks(
    told: dict[str, dict[str, Any]],
) -> None:
    assert told["the script"]["newer"] == []
    assert told["the script"]["unknown"] == []
    for call in told["the script"]["commands"]:
        known = CMDLETS["cmdlets"].get(call["name"])
        if known:
            assert set(call["parameters"]) <= set(known["parameters"]), call


def test_the_walk_finds_what_5_1_lacks(told: dict[str, dict[str, Any]]) -> None:
    assert [name for name in NEWER if not told[f"newer: {name}"]["newer"]] == []


def test_what_documents_say_works_in_powershell(tmp_path: Path) -> None:
    for name in ("my list.csv", "it's.csv", "plain.csv", "with [brackets].csv"):
        (tmp_path / name).write_text("Serial number\nSN-1\n", encoding="utf-8")
    program = tmp_path / "partner-tools"
    call = "from partner_tools.cli import main; main(prog_name='partner-tools')"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{call}" "$@"\n')
    program.chmod(0o755)
    told, line = tmp_path / "told.json", pasteable(*WORDS, windows=True)
    done = start(
        *("-NonInteractive", "-File", HERE / "printed.ps1", sys.executable, tmp_path, line, told),
        env={"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
    )
    assert told.exists(), done.stderr
    read = json.loads(told.read_text(encoding="utf-8-sig"))
    for typed, name in (("my", "my list.csv"), ("it", "it's.csv"), ("'my", "my list.csv")):
        (found,) = read[f"complete {typed}"]
        assert found == {"errors": 0, "words": 3, "last": str(tmp_path / name)}, typed
    assert read["complete plain"][0]["last"] == str(tmp_path / "plain.csv")
    assert (read["valid"], read["code"]) == (1, 0)
    assert read["missing"] == 3
    assert read["environment"] == "it is set"
    assert json.loads(read["arguments"]) == list(WORDS)
