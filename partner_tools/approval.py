"""Whether a plan was approved by people who may, none of whom planned it. Pure.

An approval is a signature over the plan's digest by a key that the profile trusts. Who planned is
what the plan says, sealed by the same digest: the account that the operating system knew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from partner_tools.errors import GuardError
from partner_tools.signatures import Purpose, Signature, is_valid


@dataclass(frozen=True, slots=True, kw_only=True)
class Approver:
    """Somebody whose signature counts. `accounts` are the names under which they plan."""

    name: str
    key: str
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRule:
    """What the profile asks of a plan: so many approvals, of these people."""

    required: bool = False
    needed: int = 1
    approvers: tuple[Approver, ...] = ()


def check_approval(
    rule: ApprovalRule, digest: str, planner: str | None, signatures: Iterable[Signature]
) -> tuple[str, ...]:
    """The names of those who approved the plan of this digest, each once.

    Raises GuardError where the rule demands more, and says of each signature why it does not
    count.
    """
    names: dict[str, None] = {}
    against: list[str] = []
    for signature in signatures:
        approver, why_not = _judge(rule, digest, planner, signature)
        if approver is None:
            against.append(why_not)
        else:
            names[approver.name] = None
    if rule.required and (planner is None or len(names) < rule.needed):
        raise _refusal(rule, planner, tuple(names), against)
    return tuple(names)


def refuse_without_plan(rule: ApprovalRule) -> None:
    """Raise GuardError where the rule demands an approval, which only a plan file can have."""
    if rule.required:
        raise GuardError(
            "the profile demands that a second person approves, and a batch has no approval",
            rule="approval-missing",
            remedy="write the plan with `partner-tools plan -o`, have it signed with "
            "`partner-tools approve`, and run `partner-tools deregister --plan`",
        )


def _judge(
    rule: ApprovalRule, digest: str, planner: str | None, signature: Signature
) -> tuple[Approver | None, str]:
    """The approver whose signature this is, or why it does not count."""
    found = next((each for each in rule.approvers if each.key == signature.key), None)
    if found is None:
        return None, f"{signature.account or 'somebody'} is no approver of this profile"
    if not is_valid(signature, Purpose.APPROVAL, digest):
        return None, f"the signature of {found.name} is not one of this plan"
    own = {name.casefold() for name in (found.name, *found.accounts, signature.account or "")}
    if planner is not None and planner.casefold() in own:
        return None, f"{found.name} planned it"
    return found, ""


def _refusal(
    rule: ApprovalRule, planner: str | None, names: tuple[str, ...], against: list[str]
) -> GuardError:
    have = f"{len(names)} of {rule.needed} approvals ({', '.join(names) or 'nobody'})"
    unplanned = [] if planner is not None else ["the plan does not say who planned it"]
    reasons = "; ".join([*unplanned, *against])
    return GuardError(
        f"the plan has {have}{f': {reasons}' if reasons else ''}",
        rule="approval-missing",
        remedy="have it signed by an approver other than its planner, with `partner-tools approve`",
    )
