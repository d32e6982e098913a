"""Two-person approval: whose signature over which plan counts, as a table and as a user sees it."""

from __future__ import annotations

import base64
import hashlib
import json
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_tools.errors import GuardError, InputError
from partner_tools.intake.schema import checker
from partner_tools.model import Account
from partner_tools.plan import plan_document, read_plan
from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.signing import (
    ApprovalRule,
    Approver,
    Purpose,
    Signature,
    SigningKey,
    _text,
    check_approval,
    is_valid,
    make_key,
    open_key,
    read_signatures,
    sign,
    signatures_document,
)
from partner_tools.workspace.environment import actor, this_account
from tests.cli.program import CONTOSO, Program, customer, program_for, sign_in_as, world

DIGEST = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
AT = datetime(2026, 4, 17, 11, 2, tzinfo=UTC)
LONG = "correct horse battery"


def key() -> SigningKey:
    private = Ed25519PrivateKey.generate()
    return SigningKey(public=_text(private.public_key().public_bytes_raw()), _private=private)


ROBIN, SASHA, STRANGER, AVERY = key(), key(), key(), key()
PLANNER = Account(name="avery", id="1000@desk")
RULE = ApprovalRule(
    required=True,
    approvers=(
        Approver(name="Robin", key=ROBIN.public, accounts=("r.meyer",)),
        Approver(name="Sasha", key=SASHA.public),
    ),
    planners=(Approver(name="Avery", key=AVERY.public),),
)


def by(
    signer: SigningKey, digest: str = DIGEST, account: str = "signer", account_id: str = "7@other"
) -> Signature:
    of = Account(name=account, id=account_id)
    return sign(Purpose.APPROVAL, digest, key=signer, account=of, at=AT)


def planned(signer: SigningKey = AVERY, digest: str = DIGEST) -> Signature:
    return sign(Purpose.PLAN, digest, key=signer, account=PLANNER, at=AT)


@pytest.mark.parametrize(
    ("planner", "signatures", "needed", "expected"),
    [
        ("avery", [by(ROBIN)], 1, ("Robin",)),
        ("avery", [by(ROBIN), by(SASHA)], 2, ("Robin", "Sasha")),
        ("avery", [by(STRANGER), by(SASHA)], 1, ("Sasha",)),
        ("avery", [], 1, "0 of 1"),
        ("avery", [by(STRANGER)], 1, "is not an approver"),
        ("avery", [by(ROBIN, OTHER)], 1, "not one of this plan"),
        ("avery", [replace(by(ROBIN), account=Account(name="else"))], 1, "not one of this plan"),
        ("avery", [replace(by(STRANGER), key=ROBIN.public)], 1, "not one of this plan"),
        ("avery", [by(ROBIN, account="AVERY")], 1, "Robin planned it"),
        ("avery", [by(ROBIN, account_id="1000@desk")], 1, "Robin planned it"),
        ("R.Meyer", [by(ROBIN)], 1, "Robin planned it"),
        ("robin", [by(ROBIN)], 1, "Robin planned it"),
        ("avery", [by(ROBIN), by(ROBIN)], 2, "1 of 2"),
        (None, [by(ROBIN)], 1, "does not say who planned"),
    ],
)
def test_whose_approval_counts(
    planner: str | None, signatures: list[Signature], needed: int, expected: tuple[str, ...] | str
) -> None:
    """A trusted person's signature over exactly this digest, who is not the planner; each once."""
    rule, account = replace(RULE, needed=needed), replace(PLANNER, name=planner)
    signed = [planned(), *signatures]

    if isinstance(expected, tuple):
        assert check_approval(rule, DIGEST, account, signed, now=AT) == expected
    else:
        with pytest.raises(GuardError, match=expected) as refused:
            check_approval(rule, DIGEST, account, signed, now=AT)
        assert refused.value.exit_code == 8


@pytest.mark.parametrize(
    ("author", "why"),
    [
        (None, "its planner has not signed it"),
        (planned(STRANGER), "its planner has not signed it"),
        (planned(digest=OTHER), "its planner has not signed it"),
        (by(AVERY), "its planner has not signed it"),
        (planned(ROBIN), "Robin planned it"),
        (replace(planned(STRANGER), key=AVERY.public), "its planner has not signed it"),
    ],
)
def test_a_plan_is_approved_only_with_its_planners_own_signature(
    author: Signature | None, why: str
) -> None:
    """One person with two accounts is still one key."""
    signatures = [by(ROBIN), *([author] if author else [])]

    with pytest.raises(GuardError, match=why):
        check_approval(RULE, DIGEST, PLANNER, signatures, now=AT)


def test_an_approval_of_version_0_1_is_still_valid() -> None:
    """It states no account id, and its signature covers none."""
    old = sign(Purpose.APPROVAL, DIGEST, key=ROBIN, account=Account(name="robin"), at=AT)
    document = signatures_document(Purpose.APPROVAL, DIGEST, [old])

    assert "accountId" not in document["signatures"][0]
    assert read_signatures(document) == (old,)
    assert is_valid(old, Purpose.APPROVAL, DIGEST)
    assert not is_valid(
        replace(old, account=Account(name="robin", id="1@x")), Purpose.APPROVAL, DIGEST
    )


@pytest.mark.parametrize("hours", [-1, 73])
def test_an_approval_holds_for_some_hours(hours: int) -> None:
    now = AT + timedelta(hours=hours)

    with pytest.raises(GuardError, match="which has expired"):
        check_approval(RULE, DIGEST, PLANNER, [planned(), by(ROBIN)], now=now)
    later = AT + timedelta(hours=72)
    assert check_approval(RULE, DIGEST, PLANNER, [planned(), by(ROBIN)], now=later)


def test_a_signature_of_an_export_approves_no_plan() -> None:
    """The purpose is signed too."""
    exported = sign(Purpose.EXPORT, DIGEST, key=ROBIN, account=Account(), at=AT)

    assert is_valid(exported, Purpose.EXPORT, DIGEST)
    assert not is_valid(exported, Purpose.APPROVAL, DIGEST)


@settings(max_examples=50)
@given(
    st.builds(
        Signature,
        purpose=st.just(Purpose.APPROVAL),
        key=st.sampled_from([ROBIN.public, "", "ed25519:", "ed25519:AAAA"]) | st.text(),
        account=st.builds(Account, name=st.none() | st.text(st.characters())),
        signed_at=st.text(),
        signature=st.text() | st.just(by(ROBIN).signature),
    )
)
def test_nothing_but_the_signature_itself_is_valid(signature: Signature) -> None:
    """Any other key, account, time or text is refused, and nothing breaks the check."""
    assert not is_valid(signature, Purpose.APPROVAL, DIGEST)


@pytest.mark.slow
def test_a_key_opens_with_its_passphrase_only() -> None:
    """Its file is worth nothing without, and its repr shows nothing."""
    content, public = make_key(LONG)

    assert open_key(content, LONG).public == public
    for wrong in (LONG + "x", ""):
        with pytest.raises(InputError, match="cannot be opened"):
            open_key(content, wrong)
    with pytest.raises(InputError, match="cannot be opened"):
        open_key(content[:-20], LONG)
    with pytest.raises(InputError, match="fewer than"):
        make_key("short")
    assert "rivate" not in repr(open_key(content, LONG)).replace("_private", "")


def test_a_passphrase_with_accents_opens_the_key_however_they_are_typed() -> None:
    """macOS composes them otherwise than Windows and Linux do."""
    content, public = make_key("Schl\u00fcssel ohne Ende")

    assert open_key(content, "Schlu\u0308ssel ohne Ende").public == public


def test_a_passphrase_is_tried_once_in_six_hundred_thousand_rounds() -> None:
    """There is no cheaper way to try one: the whole of the key's file is what they lead to."""
    content, public = make_key(LONG)
    first, salt, locked = content.split()

    stretched = hashlib.pbkdf2_hmac("sha256", LONG.encode(), base64.b64decode(salt), 600_000)
    private = Fernet(base64.urlsafe_b64encode(stretched)).decrypt(locked)

    assert first == b"partner-tools-signing-key-1"
    raw = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    assert _text(raw) == public
    assert make_key(LONG)[0].split()[1] != salt


# --- As users do it -----------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    seed = seed_from(world(customer({"B": [{"serialNumber": "SN-1"}, {"serialNumber": "SN-2"}]})))
    with Sandbox(seed) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    sign_in_as(monkeypatch, "avery")
    return program_for(sandbox, tmp_path, PARTNER_TOOLS_SIGNING_PASSPHRASE=LONG)


def plan(program: Program) -> Path:
    file = program.folder / "plan.json"
    batch = program.serials("SN-1")
    made = program("plan", batch, "--via", "partner-center", "--customer", CONTOSO, "-o", file)
    assert made.exit_code == 0, made.output
    return file


def demand(program: Program, *approvers: str, planner: str = "", extra: str = "") -> None:
    """A profile that demands an approval by one of these keys."""
    people = "".join(
        f'[[default.approval.approvers]]\nname = "P{number}"\nkey = "{public}"\n'
        for number, public in enumerate(approvers)
    )
    if planner:
        people += f'[[default.approval.planners]]\nname = "Avery"\nkey = "{planner}"\n'
    text = f"[default.guards]\nrequire_approval = true\n{extra}{people}"
    (program.folder / "partner-tools.toml").write_text(text, encoding="utf-8")


def init(program: Program, name: str = "key.locked") -> tuple[Path, str]:
    file = program.folder / name
    made = program("approve", "--init", "--key", file)
    assert made.exit_code == 0, made.output
    return file, made.stdout.strip()


def deletes(sandbox: Sandbox) -> list[Any]:
    return [entry for entry in sandbox.log.entries if entry.method == "DELETE"]


@pytest.mark.slow
def test_one_plans_and_another_approves(
    program: Program, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused without, refused by the planner, executed with; the ledger says who."""
    file, public = init(program)
    own_file, planner = init(program, "avery.locked")
    demand(program, public, planner=planner)
    planned = plan(program)
    command = ("deregister", "--plan", planned, "--yes", "--settle", "0")

    error = program.json(*command, exit_code=8)["error"]
    assert error["rule"] == "approval-missing"
    assert "partner-tools approve" in error["remedy"]
    own = program("approve", planned, "--key", file, "--yes")
    assert own.exit_code == 8, own.output
    assert "avery planned this" in own.stderr
    authored = program("approve", planned, "--as-planner", "--key", own_file, "--yes")
    assert authored.exit_code == 0, authored.output

    sign_in_as(monkeypatch, "robin")
    claimed = program("approve", planned, "--as-planner", "--key", file, "--yes")
    assert "avery planned this, and has to sign it" in claimed.stderr
    unasked = program("approve", planned, "--key", file)
    assert unasked.exit_code == 8
    assert "--yes" in unasked.stderr
    signed = program("approve", planned, "--key", file, "--yes")
    assert signed.exit_code == 0, signed.output
    beside = program.folder / "plan.json.approval.json"
    assert checker("signatures").violations(json.loads(beside.read_text())) == ()
    assert deletes(sandbox) == []

    document = program.json(*command)
    assert document["counts"] == {"removed": 1}
    exported = program("ledger", "export", "--run", document["run"]).stdout.splitlines()
    confirmed = [e for line in exported if (e := json.loads(line))["kind"] == "confirmed"]
    assert confirmed[0]["payload"]["approvedBy"] == ["P0"]
    assert checker("event").violations(confirmed[0]) == ()
    created = json.loads(exported[0])["payload"]["settings"]["approvals"]
    assert [each["account"] for each in created] == ["avery", "robin"]
    assert created[1]["accountId"] == this_account().id
    spent = program(*command, "--again")
    assert spent.exit_code == 8, spent.output
    assert f"was spent by run {document['run']}" in spent.stderr
    assert len(deletes(sandbox)) == 1
    if sys.platform != "win32":
        for path in (file, beside):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_batch_without_a_plan_is_refused(program: Program, sandbox: Sandbox) -> None:
    """Before a run exists; a dry run and a plan are no removal."""
    demand(program)
    batch = ("deregister", program.serials("SN-1"), "--via", "partner-center")
    named = (*batch, "--customer", CONTOSO)

    assert program.json(*named, "--yes", exit_code=8)["error"]["rule"] == "approval-missing"
    assert program.json("runs")["runs"] == []
    assert program.json(*named, "--dry-run")["state"] == "planned"
    assert deletes(sandbox) == []


def test_resume_asks_for_the_approval_again(program: Program, sandbox: Sandbox) -> None:
    """A run that began before the profile demanded it, or whose approver went, goes no further."""
    batch = program.serials("SN-1")
    begun = program("deregister", batch, "--via", "partner-center", "--customer", CONTOSO)
    assert begun.exit_code == 8  # nobody could be asked
    (run,) = (each["run"] for each in program.json("runs")["runs"])
    demand(program)

    resumed = program("resume", run, "--yes")

    assert resumed.exit_code == 8, resumed.output
    assert "0 of 1 approvals" in resumed.stderr
    assert deletes(sandbox) == []


def test_an_approval_file_is_hostile_text(program: Program, sandbox: Sandbox) -> None:
    """Whatever lies beside a plan is exit 3 or counts for nothing; a changed plan is exit 8."""
    demand(program, ROBIN.public)
    planned = plan(program)
    beside = program.folder / "plan.json.approval.json"
    digest = json.loads(planned.read_text())["digest"]
    exported = signatures_document(
        Purpose.EXPORT, digest, [sign(Purpose.EXPORT, digest, key=ROBIN, account=Account(), at=AT)]
    )
    command = ("deregister", "--plan", planned, "--yes", "--settle", "0")
    for content in (
        b"",
        b"[]",
        b"{" * 100_000,
        b"\xff",
        json.dumps(exported).encode(),
        b"0" * 70_000,
    ):
        beside.write_bytes(content)
        error = program.json(*command, exit_code=3)["error"]
        assert error["rule"] == "signatures-invalid"
    other = signatures_document(Purpose.APPROVAL, OTHER, [by(ROBIN, OTHER)])
    beside.write_text(json.dumps(other), encoding="utf-8")
    assert program.json(*command, exit_code=8)["error"]["rule"] == "approval-missing"
    document = json.loads(planned.read_text())
    planned.write_text(json.dumps({**document, "plannedBy": "robin"}), encoding="utf-8")
    assert program.json(*command, exit_code=8)["error"]["rule"] == "plan-digest"
    assert deletes(sandbox) == []


def test_the_plan_names_its_planner(program: Program) -> None:
    """The account that planned is sealed with the plan, and comes back from the file."""
    document = json.loads(plan(program).read_text())

    assert document["plannedBy"] == actor() == "avery"
    assert document["plannedById"] == this_account().id
    assert plan_document(read_plan(document)) == document


def test_a_key_is_not_overwritten(program: Program) -> None:
    """`--init` twice is an error that names the way out, and a missing key another."""
    file, _ = init(program)

    again = program("approve", "--init", "--key", file)
    missing = program("approve", plan(program), "--key", program.folder / "no.locked", "--yes")

    assert again.exit_code == 3
    assert "--key" in again.stderr
    assert missing.exit_code == 8
    assert program("approve").exit_code == 2


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_the_passphrase_is_asked_for_by_name(program: Program) -> None:
    from tests.cli.terminal import at_a_terminal

    file, said = program.folder / "asked.pfx", "a passphrase at a terminal"
    code, screen = at_a_terminal(
        ["approve", "--init", "--key", str(file)],
        program.environment,
        {"passphrase of the new signing key:": said, "Repeat": said},
    )

    assert (code, file.exists()) == (0, True), screen
    assert said not in screen
