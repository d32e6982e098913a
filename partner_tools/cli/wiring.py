"""Opens the workspace that a command was called for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from partner_tools.cli.options import Common
from partner_tools.cli.signals import heeding
from partner_tools.config import Config
from partner_tools.workspace import settings

if TYPE_CHECKING:
    from partner_tools.cli.app import Call
    from partner_tools.ledger import Ledger
    from partner_tools.workspace.workspace import Workspace


def load_config(common: Common) -> Config:
    """The configuration that flags, environment and file amount to."""
    return settings.load_config(common.config, common.profile)


def ledger_url(common: Common, config: Config) -> str:
    """The ledger's SQLAlchemy URL."""
    return settings.ledger_url(common.ledger, config)


def open_ledger(common: Common, config: Config) -> AbstractContextManager[Ledger]:
    """The ledger, closed at the end."""
    return settings.open_ledger(common.ledger, config)


@contextmanager
def opened(call: Call) -> Iterator[Workspace]:
    """The workspace, which Ctrl-C, SIGTERM and SIGHUP stop resumably while the block lasts."""
    from partner_tools.workspace.workspace import open_workspace

    common = call.common
    with (
        heeding(stop := call.stop_sign(), lambda: call.going_on),
        open_workspace(
            config=common.config, profile=common.profile, ledger=common.ledger, stop=stop
        ) as workspace,
    ):
        yield workspace
