"""The library: its page runs as it stands, every name is there, and importing it is cheap."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import partner_tools
from docs import generate
from partner_tools.cli import main
from partner_tools.ledger import Ledger
from partner_tools.sandbox import Sandbox, shipped_seed
from partner_tools.workspace.workspace import Workspace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
FOR_PEOPLE = {"config init", "completion"}
"""Commands that ask a person, or write for a shell."""


def test_the_page_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("partner-tools.toml").write_text("", encoding="utf-8")
    Path("retired.csv").write_text("Serial number\n5CD340001Z\n", encoding="utf-8")
    Path("repairs.csv").write_text("Serial number\n5CD340002Z\n", encoding="utf-8")
    with Sandbox(shipped_seed()) as sandbox:
        for name, value in sandbox.announce()["environment"].items():
            monkeypatch.setenv(name, value)
        namespace: dict[str, object] = {}
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
            exec(compile(block, "docs/how-to/python.md", "exec"), namespace)  # noqa: S102

    said = capsys.readouterr().out
    assert "2 5CD340001Z removed" in said
    assert "gone" in said
    assert "can be registered again" in said
    assert len(list(Path("handoff").glob("*.html"))) == 1
    assert "ok customer contoso.onmicrosoft.com" in said
    assert "second.json.approval.json" in said
    assert "1 in the file []" in said
    assert "() ('kim',)" in said
    assert "the fleet needs a ledger on PostgreSQL" in said


def table() -> list[tuple[set[str], set[str]]]:
    """The rows of the page's table: the commands, and what they are in Python."""
    lines = PAGE[PAGE.index("## Commands and their Python counterparts") :].splitlines()
    rows = [line.split("|")[1:3] for line in lines if line.startswith("| `")]
    return [(set(quoted(left)), set(quoted(right))) for left, right in rows]


def quoted(cell: str) -> list[str]:
    """What stands in backticks, options and their commands left out."""
    return [name for name in re.findall(r"`([^`]+)`", cell) if not name.startswith("-")]


def test_the_table_of_the_page_has_every_command_once_and_no_other() -> None:
    paths = [path[1:] for path in generate.commands(main) if len(path) > 1]
    groups = {path[:-1] for path in paths}
    commands = sorted(" ".join(path) for path in paths if path not in groups)

    assert sorted(name for row in table() for name in row[0]) == commands


@pytest.mark.parametrize(("commands", "names"), table(), ids=lambda names: " ".join(sorted(names)))
def test_what_a_command_does_is_in_the_library(commands: set[str], names: set[str]) -> None:
    if commands == FOR_PEOPLE:
        return
    named = names - {"runs cancel", "runs dismiss", "runs done"}
    assert named
    for name in named:
        assert found(name) is not None, name


def found(name: str) -> object:
    """What a name of the table stands for: of the package, of a class, or of a module."""
    first, *rest = name.split(".")
    if first == "Ledger":
        return getattr(Ledger, rest[0]).__doc__
    if first == "Workspace":
        return getattr(Workspace, rest[0]).__doc__ or rest[0] in Workspace.__annotations__
    if first[0].islower() and rest:
        module = importlib.import_module(f"partner_tools.{'.'.join((first, *rest[:-1]))}")
        return getattr(module, rest[-1]).__doc__
    assert first in partner_tools.__all__
    return getattr(partner_tools, first).__doc__


@pytest.mark.parametrize("name", partner_tools.__all__)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    assert getattr(partner_tools, name).__doc__
    assert name in dir(partner_tools)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        partner_tools.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys, partner_tools; from partner_tools import PartnerToolsError;"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in"
        " {'click', 'requests', 'sqlalchemy', 'pandas', 'rich', 'msal', 'jsonschema'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
