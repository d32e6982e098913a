"""Starts the real PowerShell: one start costs about a second, so each does several things."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CMDLETS: Mapping[str, Any] = json.loads((HERE / "cmdlets.json").read_text(encoding="utf-8"))


def powershell() -> str:
    """The path of `pwsh`; skips where there is none, which REQUIRE_POWERSHELL=1 forbids."""
    found = shutil.which("pwsh")
    if found is not None:
        return found
    reason = "no pwsh on the PATH: PowerShell 7 is not installed here"
    if os.environ.get("REQUIRE_POWERSHELL") == "1":
        pytest.fail(f"REQUIRE_POWERSHELL=1, but {reason}")
    pytest.skip(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a PowerShell ended."""

    code: int
    stdout: str
    stderr: str


def start(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str = "",
) -> Done:
    """Run `pwsh` with these arguments, without a profile."""
    settings = {
        "POWERSHELL_TELEMETRY_OPTOUT": "1",
        "NO_COLOR": "1",
        "POWERSHELL_UPDATECHECK": "Off",
    }
    done = subprocess.run(
        [powershell(), "-NoProfile", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **settings, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    return Done(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def inspect(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What PowerShell's parser says of each text: `errors`, `commands`, `newer`, `unknown`.

    `newer` is what Windows PowerShell 5.1 lacks, `unknown` a parameter that a cmdlet of
    PowerShell's own does not have.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, told = Path(folder) / "given.json", Path(folder) / "told.json"
        listed = [{"name": name, "text": text} for name, text in texts.items()]
        given.write_text(json.dumps(listed), encoding="utf-8")
        done = start("-NonInteractive", "-File", HERE / "inspect.ps1", given, told)
        assert done.code == 0, done.stderr
        return {one["name"]: one for one in json.loads(told.read_text(encoding="utf-8-sig"))}
