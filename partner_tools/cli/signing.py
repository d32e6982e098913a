"""A person's signing key, and the signatures beside a file: what `approve` and `export` share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from partner_tools.approval import ApprovalRule, Approver
from partner_tools.cli.interruption import asking
from partner_tools.cli.output import tell
from partner_tools.cli.surroundings import now, user_data_folder
from partner_tools.config import Config
from partner_tools.ed25519 import SigningKey, make_key, open_key
from partner_tools.errors import GuardError, InputError
from partner_tools.signatures import (
    Purpose,
    Signature,
    read_signatures,
    sign,
    signatures_document,
)

PASSPHRASE = "PARTNER_TOOLS_SIGNING_PASSPHRASE"  # noqa: S105 - a name of a variable
MOST_BYTES = 65_536
"""A file of signatures: 20 of them have 6,000 bytes."""


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


def approval_rule(config: Config) -> ApprovalRule:
    """What the profile asks of a plan."""
    return ApprovalRule(
        required=bool(config.get("guards", "require_approval")),
        needed=int(config.get("approval", "needed") or 1),
        approvers=tuple(
            Approver(name=each["name"], key=each["key"], accounts=tuple(each.get("accounts", ())))
            for each in config.get("approval", "approvers") or ()
        ),
    )


def approval_file(plan: Path) -> Path:
    """The file of a plan's approvals."""
    return plan.with_name(f"{plan.name}.approval.json")


def signature_file(exported: Path) -> Path:
    """The file of an export's signatures."""
    return exported.with_name(f"{exported.name}.signature.json")


def load_signatures(path: Path, purpose: Purpose) -> dict[str, Any] | None:
    """The document of a file of signatures; None where there is no file.

    Raises InputError where it is something else.
    """
    from partner_tools.intake.schema import checker

    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
        document: Any = json.loads(content) if len(content) <= MOST_BYTES else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _no_signatures(path, type(error).__name__) from error
    faults = checker("signatures").violations(document)
    if faults:
        raise _no_signatures(path, faults[0].message)
    if document["purpose"] != purpose.value:
        raise _no_signatures(path, f"its purpose is {document['purpose']}")
    found: dict[str, Any] = document
    return found


def add_signature(
    path: Path, purpose: Purpose, digest: str, key: SigningKey, account: str | None
) -> None:
    """Sign a digest, beside those who signed the same digest before; durable on return."""
    from partner_tools.private_file import write_private

    before = load_signatures(path, purpose)
    kept: tuple[Signature, ...] = ()
    if before is not None and before["digest"] == digest:
        kept = tuple(each for each in read_signatures(before) if each.key != key.public)
    made = sign(purpose, digest, key=key, account=account, at=now())
    document = signatures_document(purpose, digest, (*kept, made))
    write_private(path, f"{json.dumps(document, ensure_ascii=True, indent=2)}\n".encode())
    tell(f"signed {digest}: {path}")


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


def _no_signatures(path: Path, why: str) -> InputError:
    return InputError(
        f"{str(path)!r} does not hold the signatures that it should: {why}",
        rule="signatures-invalid",
        remedy="get the file from who signed once more, or delete it and have it signed again",
    )
