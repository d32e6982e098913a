"""Opens the workspace that a command was called for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from partner_tools.cli.console import tell
from partner_tools.cli.options import Common
from partner_tools.cli.signals import handle_signals
from partner_tools.workspace import environment

if TYPE_CHECKING:
    from partner_tools import Config, Workspace
    from partner_tools.cli.app import Call


def load_config(common: Common) -> Config:
    """The configuration that flags, environment and file amount to."""
    return environment.load_config(common.config, common.profile)


@contextmanager
def opened(call: Call, *, handles_signals: bool = True) -> Iterator[Workspace]:
    """The workspace that a command was called for.

    Ctrl-C, SIGTERM and SIGHUP stop it resumably while the block lasts, where it `handles_signals`.
    """
    from partner_tools import open_workspace

    common, token = call.common, call.make_token()
    with (
        handle_signals(token, lambda: call.going_on) if handles_signals else nullcontext(),
        open_workspace(
            config=common.config,
            profile=common.profile,
            ledger=common.ledger,
            cancellation=token,
        ) as workspace,
    ):
        config = workspace.config
        if not (config.file or config.settings or config.secrets or common.quiet):
            tell("no configuration file found; `partner-tools config init` writes one")
        yield workspace
