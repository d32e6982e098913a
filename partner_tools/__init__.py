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
    from partner_tools.cancellation import CancellationToken
    from partner_tools.errors import (
        AuthError,
        GuardError,
        InputError,
        Interrupted,
        LedgerError,
        MissingValueError,
        PartnerToolsError,
        ServiceError,
        UnknownRunError,
    )
    from partner_tools.fleet.submission import Handing, Submitted
    from partner_tools.fleet.submission import hand_in as submit
    from partner_tools.fleet.worker import WorkerOptions, work_until_stopped
    from partner_tools.intake.batch_metadata import ReadingOptions
    from partner_tools.intake.hardware_hash import decode as decode_hash
    from partner_tools.intake.schema import load_schema, schema_names
    from partner_tools.model import (
        Batch,
        ChannelName,
        Device,
        Estate,
        Identity,
        Outcome,
        Plan,
        Problem,
        Reason,
        RunState,
        Severity,
    )
    from partner_tools.runs.context import RunObserver, RunOptions
    from partner_tools.runs.follow_up import Verification
    from partner_tools.runs.run_result import RunResult
    from partner_tools.workspace.approvals import make_signing_key, open_signing_key
    from partner_tools.workspace.batches import (
        HashCheck,
        Validation,
        check_hashes,
        load_plan,
        read_batch,
        validate,
    )
    from partner_tools.workspace.diagnostics import Finding, examine
    from partner_tools.workspace.exports import ExportCheck, check_export
    from partner_tools.workspace.workspace import Workspace, open_workspace

_HOMES = {
    "errors": (
        "AuthError",
        "GuardError",
        "InputError",
        "Interrupted",
        "LedgerError",
        "PartnerToolsError",
        "ServiceError",
        "UnknownRunError",
        "MissingValueError",
    ),
    "intake.batch_metadata": ("ReadingOptions",),
    "intake.hardware_hash": ("decode",),
    "fleet.submission": ("Handing", "Submitted", "hand_in"),
    "fleet.worker": ("WorkerOptions", "work_until_stopped"),
    "intake.schema": ("load_schema", "schema_names"),
    "model": (
        "Batch",
        "ChannelName",
        "Device",
        "Estate",
        "Identity",
        "Outcome",
        "Plan",
        "Problem",
        "Reason",
        "RunState",
        "Severity",
    ),
    "workspace.approvals": ("make_signing_key", "open_signing_key"),
    "workspace.batches": (
        "HashCheck",
        "Validation",
        "check_hashes",
        "load_plan",
        "read_batch",
        "validate",
    ),
    "cancellation": ("CancellationToken",),
    "runs.context": ("RunObserver", "RunOptions"),
    "runs.follow_up": ("Verification",),
    "runs.run_result": ("RunResult",),
    "workspace.diagnostics": ("Finding", "examine"),
    "workspace.exports": ("ExportCheck", "check_export"),
    "workspace.workspace": ("Workspace", "open_workspace"),
}
_OTHER_NAMES = {"decode": "decode_hash", "hand_in": "submit"}
_HOME_OF = {
    _OTHER_NAMES.get(name, name): (module, name)
    for module, names in _HOMES.items()
    for name in names
}

__all__ = [
    "AuthError",
    "Batch",
    "CancellationToken",
    "ChannelName",
    "Device",
    "Estate",
    "ExportCheck",
    "Finding",
    "GuardError",
    "Handing",
    "HashCheck",
    "Identity",
    "InputError",
    "Interrupted",
    "LedgerError",
    "MissingValueError",
    "Outcome",
    "PartnerToolsError",
    "Plan",
    "Problem",
    "ReadingOptions",
    "Reason",
    "RunObserver",
    "RunOptions",
    "RunResult",
    "RunState",
    "ServiceError",
    "Severity",
    "Submitted",
    "UnknownRunError",
    "Validation",
    "Verification",
    "WorkerOptions",
    "Workspace",
    "check_export",
    "check_hashes",
    "decode_hash",
    "examine",
    "load_plan",
    "load_schema",
    "make_signing_key",
    "open_signing_key",
    "open_workspace",
    "read_batch",
    "schema_names",
    "submit",
    "validate",
    "work_until_stopped",
]


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
