"""A person's signing key, and the signatures beside a file: what `approve` and `export` share."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from partner_tools.cli.interruption import asking
from partner_tools.config import Config
from partner_tools.ed25519 import SigningKey, make_key, open_key
from partner_tools.errors import GuardError, InputError
from partner_tools.workspace.surroundings import user_data_folder

PASSPHRASE = "PARTNER_TOOLS_SIGNING_PASSPHRASE"  # noqa: S105 - a name of a variable


def default_key_file() -> Path:
    """Where a person's signing key rests where `--key` names no other place."""
    return user_data_folder() / "signing-key.pfx"


def create_key(file: Path, config: Config) -> str:
    """Make a key and write its file, private to the user; the public half.

    Raises InputError where a file is there already or cannot be written.
    """
    from partner_tools.private_file import write_private

    if file.exists():
        raise InputError(
            f"{str(file)!r} is there already",
            rule="key-exists",
            remedy="name another file with --key; deleting a key makes its signatures no less "
            "valid, taking it out of the profiles does",
        )
    content, public = make_key(_passphrase(config, twice=True))
    write_private(file, content)
    return public


def unlock_key(file: Path, config: Config) -> SigningKey:
    """The key of a file. Raises InputError where there is none or it does not open."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"the signing key {str(file)!r} cannot be read: {error.strerror or error}",
            rule="signing-key",
            remedy="make one with `partner-tools approve --init`, or name its file with --key",
        ) from error
    return open_key(content, _passphrase(config, twice=False))


def signature_file(exported: Path) -> Path:
    """The file of an export's signatures."""
    return exported.with_name(f"{exported.name}.signature.json")


def require_terminal(what: str, remedy: str) -> None:
    """Raise GuardError where nobody can be asked."""
    if not sys.stdin.isatty():
        raise GuardError(f"{what} and nobody can be asked", rule="no-terminal", remedy=remedy)


def _passphrase(config: Config, *, twice: bool) -> str:
    given = config.secrets.get(PASSPHRASE)
    if given is not None:
        return given
    require_terminal("the signing key needs its passphrase", f"set {PASSPHRASE}")
    with asking():
        answer = click.prompt(
            "passphrase", err=True, hide_input=True, confirmation_prompt=twice, default=""
        )
    return str(answer)
