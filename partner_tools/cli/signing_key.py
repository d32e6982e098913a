"""A person's signing key, and the signatures beside a file: what `approve` and `export` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli.signals import asking, require_terminal
from partner_tools.workspace.approvals import (
    make_signing_key,
    open_signing_key,
    read_signing_key,
    refuse_existing_key,
)
from partner_tools.workspace.environment import user_data_folder

if TYPE_CHECKING:
    from partner_tools import Config, SigningKey

PASSPHRASE = "PARTNER_TOOLS_SIGNING_PASSPHRASE"  # noqa: S105 - a name of a variable


def default_key_file() -> Path:
    """Where a person's signing key rests where `--key` names no other place."""
    return user_data_folder() / "signing-key.locked"


def create_key(file: Path, config: Config) -> str:
    """Make a key and write its file, private to the user; the public half.

    Raises InputError if a file already exists or cannot be written.
    """
    refuse_existing_key(file)
    return make_signing_key(file, _passphrase(config, twice=True))


def unlock_key(named: Path | None, config: Config) -> SigningKey:
    """The key of a file, or of the default one.

    Raises InputError if there is none or it does not open.
    """
    file = named or default_key_file()
    read_signing_key(file)  # before a passphrase is asked for in vain
    return open_signing_key(file, _passphrase(config, twice=False))


def _passphrase(config: Config, *, twice: bool) -> str:
    given = config.secrets.get(PASSPHRASE)
    if given is not None:
        return given
    require_terminal(
        "the signing key needs its passphrase", f"set {PASSPHRASE}", rule="no-terminal"
    )
    with asking():
        answer = click.prompt(
            "passphrase of the new signing key" if twice else "passphrase of the signing key",
            err=True,
            hide_input=True,
            confirmation_prompt=twice,
            default="",
            show_default=False,
        )
    return str(answer)
