"""The library: its page runs as it stands, every name is there, and importing it is cheap."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import partner_tools
from docs import generate
from partner_tools.cli import main
from partner_tools.sandbox import Sandbox, shipped_seed

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
NOT_FOR_PROGRAMS = {"config", "demo", "doctor"}
"""Commands that are for a person at a terminal."""


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


def test_every_command_is_in_the_table_of_the_page() -> None:
    table = PAGE[PAGE.index("## Which command is which") :]
    named = set(re.findall(r"[a-z]+", " ".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))))

    commands = {path[1] for path in generate.commands(main) if len(path) > 1}
    assert commands - named - NOT_FOR_PROGRAMS == set()


@pytest.mark.parametrize("name", partner_tools.__all__)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    assert getattr(partner_tools, name).__doc__
    assert name in dir(partner_tools)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        partner_tools.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_else() -> None:
    code = (
        "import sys, partner_tools; from partner_tools import PartnerToolsError;"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in"
        " {'click', 'requests', 'sqlalchemy', 'pandas', 'rich', 'msal', 'jsonschema'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
