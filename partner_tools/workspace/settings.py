"""Opens what every command begins with: the configuration, and the ledger that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.config import Config, read_config
from partner_tools.files import this_user
from partner_tools.workspace.environment import user_config_folder, user_data_folder

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger


def load_config(
    named: Path | str | None = None,
    profile: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """The configuration that a named file and profile, environment and file amount to."""
    return read_config(
        named=None if named is None else Path(named),
        profile=profile,
        environment=os.environ if environment is None else environment,
        user_folder=user_config_folder(),
        validate=lambda profiles: named_faults("config", profiles),
        user=this_user(),
    )


def ledger_url(given: str | None, config: Config) -> str:
    """The ledger's SQLAlchemy URL; a plain path means a SQLite file."""
    named = given or config.text("ledger")
    if named is None:
        return _sqlite_url(user_data_folder() / "ledger.db")
    return named if "://" in named else _sqlite_url(Path(named))


@contextmanager
def open_ledger(given: str | None, config: Config) -> Iterator[Ledger]:
    """The ledger at a path or URL, else the configuration's; closed at the end."""
    from partner_tools.ledger import Ledger

    with Ledger.open(ledger_url(given, config)) as ledger:
        yield ledger


def named_faults(schema: str, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where a document breaks a shipped schema, and how, with the names that it does not know."""
    from partner_tools.intake.schema import checker, load_schema, unknown_properties

    return [
        (fault.place("."), fault.message + unknown_properties(document, fault, load_schema(schema)))
        for fault in checker(schema).violations(dict(document))
    ]


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{path.expanduser().absolute().as_posix()}"
