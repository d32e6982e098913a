"""The facade: everything that the commands use. Prints nothing.

`Workspace` is an opened configuration and ledger with every step of the work as a method. Names
are loaded when they are asked for, so that `--help` loads none of what is behind them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partner_tools.clients.oauth import DeviceCode, TokenFacts
    from partner_tools.clients.oem.profile import Profile
    from partner_tools.config import FILE_NAME, SECRETS, Config
    from partner_tools.intake.batch import validation_document
    from partner_tools.intake.batch_metadata import ReadingOptions
    from partner_tools.intake.hardware_hash import HardwareHash
    from partner_tools.intake.hardware_hash import decode as decode_hash
    from partner_tools.intake.hardware_hash import describe as describe_hash
    from partner_tools.intake.hardware_hash import lines as hash_lines
    from partner_tools.intake.schema import load_schema, schema_names
    from partner_tools.intake.source import Source, read_stream, source_at, source_of_serials
    from partner_tools.ledger import DeviceTrace, RunRecord, StoredEvent
    from partner_tools.report.certificate import Erasure
    from partner_tools.runs.context import RunObserver, RunOptions
    from partner_tools.runs.follow_up import Outstanding, Verification
    from partner_tools.runs.restoration import Restorable
    from partner_tools.runs.run_result import RunResult
    from partner_tools.signing import SigningKey
    from partner_tools.workspace.workspace import Workspace, open_workspace

__all__ = [
    "FILE_NAME",
    "SECRETS",
    "Config",
    "DeviceCode",
    "DeviceTrace",
    "Erasure",
    "HardwareHash",
    "Outstanding",
    "Profile",
    "ReadingOptions",
    "Restorable",
    "RunObserver",
    "RunOptions",
    "RunRecord",
    "RunResult",
    "SigningKey",
    "Source",
    "StoredEvent",
    "TokenFacts",
    "Verification",
    "Workspace",
    "decode_hash",
    "describe_hash",
    "hash_lines",
    "load_schema",
    "open_workspace",
    "read_stream",
    "schema_names",
    "source_at",
    "source_of_serials",
    "validation_document",
]

_HOMES = {
    "Config": "config",
    "DeviceCode": "clients.oauth",
    "DeviceTrace": "ledger",
    "Erasure": "report.certificate",
    "FILE_NAME": "config",
    "HardwareHash": "intake.hardware_hash",
    "Outstanding": "runs.follow_up",
    "Profile": "clients.oem.profile",
    "ReadingOptions": "intake.batch_metadata",
    "Restorable": "runs.restoration",
    "RunObserver": "runs.context",
    "RunOptions": "runs.context",
    "RunRecord": "ledger",
    "RunResult": "runs.run_result",
    "SECRETS": "config",
    "SigningKey": "signing",
    "Source": "intake.source",
    "StoredEvent": "ledger",
    "TokenFacts": "clients.oauth",
    "Verification": "runs.follow_up",
    "Workspace": "workspace.workspace",
    "decode_hash": "intake.hardware_hash:decode",
    "describe_hash": "intake.hardware_hash:describe",
    "hash_lines": "intake.hardware_hash:lines",
    "load_schema": "intake.schema",
    "open_workspace": "workspace.workspace",
    "read_stream": "intake.source",
    "schema_names": "intake.schema",
    "source_at": "intake.source",
    "source_of_serials": "intake.source",
    "validation_document": "intake.batch",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, there = _HOMES[name].partition(":")
    return getattr(import_module(f"partner_tools.{module}"), there or name)
