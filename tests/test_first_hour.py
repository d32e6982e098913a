"""The transcript of the first hour: typed again, and what it shows is what comes."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from partner_tools.cli import main
from partner_tools.sandbox import Sandbox, shipped_seed

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[1] / "docs" / "first-hour.md"


def transcript() -> Iterator[tuple[bool, str, list[str]]]:
    """Each command of the page: whether it has access, what is typed, and the lines shown."""
    blocks = re.findall(
        r"^```console( access)?\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S
    )
    for access, block in blocks:
        for call in block.split("$ ")[1:]:
            typed, *shown = call.splitlines()
            yield bool(access), typed, shown


def pattern(line: str) -> str:
    """A line as it is shown: an ellipsis is any text, and the width of a gap does not matter."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in line.split("…")]
    return r"[^\n]*".join(parts)


@pytest.mark.skipif(os.name == "nt", reason="the quoting of the transcript is a POSIX shell's")
def test_the_first_hour_goes_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("retired.csv").write_text("Serial number\n5CD340001Z\n3.30567E+12\n", encoding="utf-8")
    Path("corrected.csv").write_text("Serial number\n5CD340001Z\nGHOST1\n", encoding="utf-8")
    Path("partner-tools.toml").write_text("", encoding="utf-8")
    for name in [each for each in os.environ if each.startswith("PARTNER_TOOLS_")]:
        monkeypatch.delenv(name)
    with Sandbox(shipped_seed()) as sandbox:
        access = sandbox.announce()["environment"]
        for has_access, typed, shown in transcript():
            result = CliRunner().invoke(
                main,
                shlex.split(typed)[1:],
                env={
                    "PARTNER_TOOLS_LEDGER": str(tmp_path / "ledger.db"),
                    **(access if has_access else {}),
                },
                prog_name="partner-tools",
            )
            assert "Traceback" not in result.output
            for line in shown:
                assert re.search(pattern(line), result.output), f"{typed}\n{result.output}\n{line}"
