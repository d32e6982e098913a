"""Signatures beside a file: which a plan has, what a profile asks of it, and adding one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.config import Config
from partner_tools.errors import GuardError, InputError
from partner_tools.files import SIGNATURES_BYTES, read_document, refuse_exposed, this_user
from partner_tools.model import Account, Plan
from partner_tools.signing import (
    APPROVAL_HOURS,
    ApprovalRule,
    Approver,
    Purpose,
    Signature,
    read_signatures,
    sign,
    signatures_document,
)
from partner_tools.workspace.batches import load_plan
from partner_tools.workspace.environment import now

if TYPE_CHECKING:
    from partner_tools.signing import SigningKey

_REMEDY = "get the file from the signer again, or delete it and have it signed again"


def approval_rule(config: Config) -> ApprovalRule:
    """Return the profile's rule for approvals of a plan."""
    return ApprovalRule(
        required=bool(config.get("guards", "require_approval")),
        needed=int(config.get("approval", "needed") or 1),
        valid_hours=float(config.get("approval", "valid_hours") or APPROVAL_HOURS),
        approvers=_people(config, "approvers"),
        planners=_people(config, "planners"),
    )


def _people(config: Config, setting: str) -> tuple[Approver, ...]:
    return tuple(
        Approver(name=each["name"], key=each["key"], accounts=tuple(each.get("accounts", ())))
        for each in config.get("approval", setting) or ()
    )


def approval_file(plan: Path) -> Path:
    """The file of a plan's approvals."""
    return plan.with_name(f"{plan.name}.approval.json")


def approvals_of(plan: Path) -> tuple[Signature, ...]:
    """The signatures beside a plan, none of them checked."""
    document = load_signatures(approval_file(plan), Purpose.APPROVAL)
    return () if document is None else read_signatures(document)


def load_signatures(path: Path, purpose: Purpose) -> dict[str, Any] | None:
    """The document of a file of signatures; None if there is no file.

    Raises InputError if it is something else.
    """
    from partner_tools.intake.schema import checker

    if not path.exists():
        return None
    document = read_document(
        path, SIGNATURES_BYTES, what="the signatures", rule="signatures-invalid", remedy=_REMEDY
    )
    faults = checker("signatures").violations(document)
    if faults:
        raise _no_signatures(path, faults[0].message)
    if document["purpose"] != purpose.value:
        raise _no_signatures(path, f"its purpose is {document['purpose']}")
    found: dict[str, Any] = document
    return found


def add_signature(
    path: Path,
    purpose: Purpose,
    digest: str,
    key: SigningKey,
    account: Account,
    *,
    as_planner: bool = False,
) -> None:
    """Sign a digest, beside those who signed the same digest before; durable on return."""
    from partner_tools.files import write_private

    before = load_signatures(path, purpose)
    kept: tuple[Signature, ...] = ()
    if before is not None and before["digest"] == digest:
        kept = tuple(each for each in read_signatures(before) if each.key != key.public)
    signed_for = Purpose.PLAN if as_planner else purpose
    made = sign(signed_for, digest, key=key, account=account, at=now())
    document = signatures_document(purpose, digest, (*kept, made))
    write_private(path, f"{json.dumps(document, ensure_ascii=True, indent=2)}\n".encode())


def approve(
    plan_file: Path, key: SigningKey, account: Account, *, as_planner: bool = False
) -> Path:
    """Sign a plan as a second person, or as its planner; the file of its signatures, durable.

    `account` is who signs. Raises InputError for what is no plan, GuardError if the plan was
    changed, or this account may not sign it so.
    """
    plan, document = load_plan(plan_file)
    refuse_signer(plan, account, as_planner=as_planner)
    signed, digest = approval_file(plan_file), document["digest"]
    add_signature(signed, Purpose.APPROVAL, digest, key, account, as_planner=as_planner)
    return signed


def refuse_signer(plan: Plan, account: Account, *, as_planner: bool) -> None:
    """Raise GuardError where one person would approve their own plan, or claim another's."""
    same_name = account.name is not None and account.name == plan.planner.name
    same_id = account.id is not None and account.id == plan.planner.id
    if as_planner and not (same_name and plan.planner.id in (None, account.id)):
        raise GuardError(
            f"{plan.planner.name or 'another account'} planned this, and has to sign it as its "
            "planner",
            rule="not-the-planner",
            remedy="sign with the account and on the machine that planned it, or approve it "
            "without --as-planner",
        )
    if not as_planner and (same_name or same_id):
        raise GuardError(
            f"{account.name} planned this, and cannot approve it",
            rule="own-plan",
            remedy="sign it with --as-planner, and send it to a second person, who approves with "
            "an account of their own",
        )


def make_signing_key(file: Path, passphrase: str) -> str:
    """Make a key and write its file, private to the user; its public half, for the profiles.

    Raises InputError if a file already exists or cannot be written.
    """
    from partner_tools.files import write_private
    from partner_tools.signing import make_key

    refuse_existing_key(file)
    content, public = make_key(passphrase)
    write_private(file, content)
    return public


def open_signing_key(file: Path, passphrase: str) -> SigningKey:
    """The key of a file. Raises InputError if there is none or it does not open."""
    from partner_tools.signing import open_key

    return open_key(read_signing_key(file), passphrase)


def refuse_existing_key(file: Path) -> None:
    """Raise InputError where a new key would take an old one's place."""
    if file.exists():
        raise InputError(
            f"{str(file)!r} already exists",
            rule="key-exists",
            remedy="name another file with --key; deleting a key does not invalidate its "
            "signatures; removing it from the profiles does",
        )


def read_signing_key(file: Path) -> bytes:
    """The content of a key's file, still locked. Raises InputError if there is none."""
    refuse_exposed(file, "the signing key", this_user(), is_secret=True)
    content: bytes = read_document(
        file,
        SIGNATURES_BYTES,
        what="the signing key",
        rule="signing-key",
        remedy="make one with `partner-tools approve --init`, or name its file with --key",
        read=bytes,
    )
    return content


def _no_signatures(path: Path, why: str) -> InputError:
    return InputError(
        f"{str(path)!r} does not contain the expected signatures: {why}",
        rule="signatures-invalid",
        remedy=_REMEDY,
    )
