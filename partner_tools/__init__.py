"""Takes devices out of Windows Autopilot in bulk, exactly, and hands the rest to the customer.

    from partner_tools import RunOptions, open_workspace

    with open_workspace() as workspace:
        result = workspace.deregister("retired.csv", via="partner-center", customer="contoso.com",
                                      options=RunOptions(yes=True))

`docs/how-to/python.md` has an example for each step. Importing this package loads nothing else:
every name is read from its module when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partner_tools.cancellation import CancellationToken as CancellationToken
    from partner_tools.errors import AuthError as AuthError
    from partner_tools.errors import GuardError as GuardError
    from partner_tools.errors import InputError as InputError
    from partner_tools.errors import Interrupted as Interrupted
    from partner_tools.errors import LedgerError as LedgerError
    from partner_tools.errors import MissingValueError as MissingValueError
    from partner_tools.errors import PartnerToolsError as PartnerToolsError
    from partner_tools.errors import ServiceError as ServiceError
    from partner_tools.errors import UnknownRunError as UnknownRunError
    from partner_tools.fleet.submission import Handing as Handing
    from partner_tools.fleet.submission import Submitted as Submitted
    from partner_tools.fleet.submission import submit as submit
    from partner_tools.fleet.worker import WorkerOptions as WorkerOptions
    from partner_tools.fleet.worker import work_until_stopped as work_until_stopped
    from partner_tools.intake.batch_metadata import ReadingOptions as ReadingOptions
    from partner_tools.intake.hardware_hash import decode
    from partner_tools.intake.schema import load_schema as load_schema
    from partner_tools.intake.schema import schema_names as schema_names
    from partner_tools.model import Batch as Batch
    from partner_tools.model import ChannelName as ChannelName
    from partner_tools.model import Device as Device
    from partner_tools.model import Estate as Estate
    from partner_tools.model import Identity as Identity
    from partner_tools.model import Outcome as Outcome
    from partner_tools.model import Plan as Plan
    from partner_tools.model import Problem as Problem
    from partner_tools.model import Reason as Reason
    from partner_tools.model import RunState as RunState
    from partner_tools.model import Severity as Severity
    from partner_tools.runs.context import RunObserver as RunObserver
    from partner_tools.runs.context import RunOptions as RunOptions
    from partner_tools.runs.follow_up import Verification as Verification
    from partner_tools.runs.run_result import RunResult as RunResult
    from partner_tools.workspace.approvals import make_signing_key as make_signing_key
    from partner_tools.workspace.approvals import open_signing_key as open_signing_key
    from partner_tools.workspace.batches import HashCheck as HashCheck
    from partner_tools.workspace.batches import Validation as Validation
    from partner_tools.workspace.batches import check_hashes as check_hashes
    from partner_tools.workspace.batches import load_plan as load_plan
    from partner_tools.workspace.batches import read_batch as read_batch
    from partner_tools.workspace.batches import validate as validate
    from partner_tools.workspace.diagnostics import Finding as Finding
    from partner_tools.workspace.diagnostics import examine as examine
    from partner_tools.workspace.exports import ExportCheck as ExportCheck
    from partner_tools.workspace.exports import check_export as check_export
    from partner_tools.workspace.workspace import Workspace as Workspace
    from partner_tools.workspace.workspace import open_workspace as open_workspace

    decode_hash = decode

_HOMES = {
    "cancellation": "CancellationToken",
    "errors": "AuthError GuardError InputError Interrupted LedgerError MissingValueError "
    "PartnerToolsError ServiceError UnknownRunError",
    "fleet.submission": "Handing Submitted submit",
    "fleet.worker": "WorkerOptions work_until_stopped",
    "intake.batch_metadata": "ReadingOptions",
    "intake.hardware_hash": "decode_hash=decode",
    "intake.schema": "load_schema schema_names",
    "model": "Batch ChannelName Device Estate Identity Outcome Plan Problem Reason RunState "
    "Severity",
    "runs.context": "RunObserver RunOptions",
    "runs.follow_up": "Verification",
    "runs.run_result": "RunResult",
    "workspace.approvals": "make_signing_key open_signing_key",
    "workspace.batches": "HashCheck Validation check_hashes load_plan read_batch validate",
    "workspace.diagnostics": "Finding examine",
    "workspace.exports": "ExportCheck check_export",
    "workspace.workspace": "Workspace open_workspace",
}
_HOME_OF = {
    name: (module, there or name)
    for module, words in _HOMES.items()
    for name, _, there in (word.partition("=") for word in words.split())
}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Load a name's module when it is asked for: `import partner_tools` stays cheap."""
    if name == "__version__":
        from importlib.metadata import version

        return version("partner-tools")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _HOME_OF[name]
    return getattr(import_module(f"partner_tools.{module}"), there)


def __dir__() -> list[str]:
    """The public names, for tab completion."""
    return [*__all__, "__version__"]
