"""The facade: everything that the commands use. Prints nothing.

`Workspace` is an opened configuration and ledger with every step of the work as a method. Names
are loaded when they are asked for, so that `--help` loads none of what is behind them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partner_tools.clients.oauth import DeviceCode as DeviceCode
    from partner_tools.clients.oauth import TokenFacts as TokenFacts
    from partner_tools.clients.oem.profile import Profile as Profile
    from partner_tools.config import FILE_NAME as FILE_NAME
    from partner_tools.config import SECRETS as SECRETS
    from partner_tools.config import Config as Config
    from partner_tools.intake.batch import validation_document as validation_document
    from partner_tools.intake.batch_metadata import ReadingOptions as ReadingOptions
    from partner_tools.intake.hardware_hash import HardwareHash as HardwareHash
    from partner_tools.intake.hardware_hash import decode, describe, lines
    from partner_tools.intake.schema import load_schema as load_schema
    from partner_tools.intake.schema import schema_names as schema_names
    from partner_tools.intake.source import Source as Source
    from partner_tools.intake.source import read_stream as read_stream
    from partner_tools.intake.source import source_at as source_at
    from partner_tools.intake.source import source_of_serials as source_of_serials
    from partner_tools.ledger import DeviceTrace as DeviceTrace
    from partner_tools.ledger import RunRecord as RunRecord
    from partner_tools.ledger import StoredEvent as StoredEvent
    from partner_tools.report.certificate import Erasure as Erasure
    from partner_tools.runs.context import RunObserver as RunObserver
    from partner_tools.runs.context import RunOptions as RunOptions
    from partner_tools.runs.follow_up import Outstanding as Outstanding
    from partner_tools.runs.follow_up import Verification as Verification
    from partner_tools.runs.restoration import Restorable as Restorable
    from partner_tools.runs.run_result import RunResult as RunResult
    from partner_tools.signing import SigningKey as SigningKey
    from partner_tools.workspace.workspace import Workspace as Workspace
    from partner_tools.workspace.workspace import open_workspace as open_workspace

    decode_hash = decode
    describe_hash = describe
    hash_lines = lines

_HOMES = {
    "clients.oauth": "DeviceCode TokenFacts",
    "clients.oem.profile": "Profile",
    "config": "Config FILE_NAME SECRETS",
    "intake.batch": "validation_document",
    "intake.batch_metadata": "ReadingOptions",
    "intake.hardware_hash": "HardwareHash decode_hash=decode describe_hash=describe "
    "hash_lines=lines",
    "intake.schema": "load_schema schema_names",
    "intake.source": "Source read_stream source_at source_of_serials",
    "ledger": "DeviceTrace RunRecord StoredEvent",
    "report.certificate": "Erasure",
    "runs.context": "RunObserver RunOptions",
    "runs.follow_up": "Outstanding Verification",
    "runs.restoration": "Restorable",
    "runs.run_result": "RunResult",
    "signing": "SigningKey",
    "workspace.workspace": "Workspace open_workspace",
}
_HOME_OF = {
    name: (module, there or name)
    for module, words in _HOMES.items()
    for name, _, there in (word.partition("=") for word in words.split())
}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _HOME_OF[name]
    return getattr(import_module(f"partner_tools.{module}"), there)
