"""The program as a user runs it, in this process, against a sandbox and a ledger of its own."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from partner_tools.cli import main
from partner_tools.cli.app import Call
from partner_tools.sandbox import Sandbox

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
FABRIKAM = "2c1d9a55-6b51-4a2e-8f7d-91c0a4b3e017"


@dataclass(frozen=True, slots=True)
class Program:
    """Runs commands with an environment that points at one sandbox."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self, *arguments: str | Path, stdin: str | bytes | None = None, obj: Call | None = None
    ) -> Result:
        """Run one command; its exit code, stdout and stderr. `obj` is what it is called with."""
        return CliRunner().invoke(
            main,
            [str(argument) for argument in arguments],
            input=stdin,
            env={**self.environment, "COLUMNS": "100"},
            prog_name="partner-tools",
            obj=obj,
        )

    def json(self, *arguments: str | Path, exit_code: int = 0) -> dict[str, Any]:
        """Run one command with `--output json`; what it prints."""
        result = self(*arguments, "--output", "json")
        assert result.exit_code == exit_code, result.output
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    def batch(self, text: str, name: str = "batch.csv") -> Path:
        """Write a batch file."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def serials(self, *serials: str) -> Path:
        """Write a batch of serial numbers."""
        return self.batch("\n".join(["Serial number", *serials, ""]))


def program_for(sandbox: Sandbox, folder: Path, **more: str) -> Program:
    """A program whose environment points at the sandbox."""
    config = folder / "partner-tools.toml"
    if not config.exists():
        config.write_text("", encoding="utf-8")
    settings = {
        **sandbox.announce()["environment"],
        "PARTNER_TOOLS_LEDGER": str(folder / "ledger.db"),
        "PARTNER_TOOLS_CONFIG": str(config),
        **more,
    }
    return Program(folder, settings)


def sign_in_as(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Run commands from here on as another account, on a machine of its own."""
    pwd = pytest.importorskip("pwd", reason="accounts are replaced through POSIX's")
    monkeypatch.setattr(pwd, "getpwuid", lambda _number: SimpleNamespace(pw_name=name))
    monkeypatch.setattr(socket, "gethostname", lambda: f"desk-of-{name}")


def world(*customers: dict[str, Any]) -> dict[str, Any]:
    """A seed with these customers."""
    return {
        "schemaVersion": "1",
        "partner": {"domain": "partner.example"},
        "users": [{"name": "avery@partner.example"}],
        "customers": list(customers),
    }


def customer(
    batches: Mapping[str, list[dict[str, Any]]],
    *,
    tenant: str = CONTOSO,
    domain: str = "contoso.onmicrosoft.com",
    **more: Any,
) -> dict[str, Any]:
    """One customer of a seed."""
    return {
        "tenantId": tenant,
        "domain": domain,
        "name": domain.split(".")[0].title(),
        "batches": [{"id": name, "devices": devices} for name, devices in batches.items()],
        **more,
    }


def outcomes(document: Mapping[str, Any]) -> dict[str, str]:
    """The outcome of each serial number; the last one where a serial stands twice."""
    return {each["serialNumber"]: each["outcome"] for each in document["devices"]}
