"""Decide the outstanding steps for one device from evidence alone.

Pure: an outcome, what the services said and when they said it go in; the status of every plane and
the steps in their order come out. `clear` needs a probe that ran and found nothing: a probe that
failed, never ran or is too old is `not-verified`. The numbers at the rules are the rows of the
decision table in `docs/reference/decision-table.md`, which is the table of the tests too.
"""

from __future__ import annotations

from partner_tools.model import Outcome
from partner_tools.outstanding.decision import (
    RULES,
    nothing_to_do,
    ordered,
    planes,
)
from partner_tools.outstanding.evidence import (
    ALL_ZERO,
    Case,
    evidence_from,
    facts_in,
    is_observed,
    observed_facts,
    probe_from,
    stated,
    statement,
)
from partner_tools.outstanding.reported import REMOVED_BY_HAND, overlay
from partner_tools.outstanding.types import (
    FACTS,
    HOMES,
    REASSURING,
    STEP_ORDER,
    Decision,
    DeviceFacts,
    EvidenceSource,
    Flag,
    Found,
    JoinType,
    Owner,
    Patience,
    Plane,
    PlaneStatus,
    Probe,
    ProbeResult,
    Report,
    Status,
    Step,
    StepId,
    Subject,
)

HELD_NOTE = "The hold list names this device: it must stay as it is."

__all__ = [
    "ALL_ZERO",
    "FACTS",
    "HELD_NOTE",
    "HOMES",
    "REASSURING",
    "REMOVED_BY_HAND",
    "STEP_ORDER",
    "Decision",
    "DeviceFacts",
    "EvidenceSource",
    "Flag",
    "Found",
    "JoinType",
    "Owner",
    "Patience",
    "Plane",
    "PlaneStatus",
    "Probe",
    "ProbeResult",
    "Report",
    "Status",
    "Step",
    "StepId",
    "Subject",
    "decide",
    "evidence_from",
    "facts_in",
    "is_observed",
    "observed_facts",
    "probe_from",
    "stated",
    "statement",
]


def decide(facts: DeviceFacts) -> Decision:
    """Judge every plane's evidence, and derive the steps that follow from it.

    A duplicate of an earlier row, and a device that the partner holds back, have none.
    """
    if facts.outcome is Outcome.DUPLICATE:
        return nothing_to_do("This device appears earlier in the list; its steps are listed there.")
    if Flag.HELD in facts.flags:
        return nothing_to_do(HELD_NOTE)
    case = Case.of(facts)
    steps = [step for rule in RULES for step in rule(case)]
    decision = Decision(join_type=case.join_type, planes=planes(case), steps=ordered(steps))
    return overlay(facts, decision)
