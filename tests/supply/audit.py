"""Asks whether a pinned version has a known vulnerability; says so where nobody could be asked.

    python -m tests.supply.audit

ends with 1 where there is one. The list of vulnerabilities is on the network. Without it nothing
was looked at: that is said, and is a failure where AUDIT_REQUIRED is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
SECONDS = 120

FOUND = "known vulnerabilit"
CLEAR = "No known vulnerabilities found"
"""What pip-audit says where it looked; it ends with 1 for a failed look too."""

Run = Callable[[Sequence[str]], str]


def audit(run: Run, environment: Mapping[str, str], say: Callable[[str], object]) -> int:
    """Have the pins looked up by `run`, which gives all that was said; the exit code."""
    said = run(["--disable-pip", "--no-deps", "--progress-spinner", "off", "-r", str(CONSTRAINTS)])
    if CLEAR in said:
        say(CLEAR)
        return 0
    if FOUND in said:
        say(said)
        return 1
    reason = (said.strip().splitlines() or ["it said nothing"])[-1]
    say(f"NOT AUDITED: the list of vulnerabilities could not be asked ({reason})")
    return 1 if environment.get("AUDIT_REQUIRED") else 0


def _run(arguments: Sequence[str]) -> str:
    command = [sys.executable, "-m", "pip_audit", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    return f"{done.stdout}\n{done.stderr}"


if __name__ == "__main__":
    sys.exit(audit(_run, os.environ, print))
