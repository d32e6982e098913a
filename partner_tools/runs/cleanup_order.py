"""What a cleanup was given to do: the handoff as the ledger keeps it, and what follows of it.

The handoff is the plan of the run. It is stored with it, so that a resume needs no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from partner_tools.json_forms import digest
from partner_tools.ledger import Ledger, RunDevice
from partner_tools.model import RunId
from partner_tools.outstanding import (
    DeviceFacts,
    Flag,
    Patience,
    Probe,
    decide,
    probe_from,
)
from partner_tools.outstanding.cleanup_plan import CleanupPlan, plan_cleanup
from partner_tools.plan import holds
from partner_tools.report.handoff import HandoffDevice, facts_of
from partner_tools.report.results import Received, read_received


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The handoff, and what was said when the cleanup was ordered. `held` is the hold list."""

    received: Received
    keys_saved: bool = False
    held: frozenset[str] = frozenset()

    def earlier(self) -> dict[int, tuple[Probe, ...]]:
        """What the handoff knows of each device: the ledger of this run does not hold it."""
        return {
            index: tuple(probe_from(seen) for seen in each.evidence)
            for index, each in enumerate(self.received.devices)
        }

    def course(self, device: RunDevice, at: datetime) -> CleanupPlan:
        """What is still to be done with a device, by all evidence there is."""
        known = self._facts(device, at)
        return plan_cleanup(known, decide(known), device.history.passed)

    def updated(self, device: RunDevice) -> HandoffDevice:
        """A device of the handoff with what the cleanup saw and did."""
        given = self.received.devices[device.index]
        history = device.history
        return replace(
            given,
            evidence=(*given.evidence, *history.evidence),
            flags=self._flags(given),
            detail=_joined(given.detail, _account(device)),
            remedy=history.remedy or given.remedy,
        )

    def _facts(self, device: RunDevice, at: datetime) -> DeviceFacts:
        given = self.received.devices[device.index]
        seen = replace(
            given,
            evidence=(*given.evidence, *device.history.evidence),
            flags=self._flags(given),
        )
        return facts_of(seen, self.received.run, at, Patience())

    def _flags(self, given: HandoffDevice) -> frozenset[Flag]:
        identity = given.device.identity
        flags = {Flag.KEYS_SAVED} if self.keys_saved else set()
        if holds(self.held, (identity.serial_number, identity.product_key_id)):
            flags.add(Flag.HELD)
        return given.flags | flags


def plan_document(handoff: Mapping[str, Any]) -> dict[str, Any]:
    """The handoff as the plan of a run, with the digest that binds the run to it."""
    content = {"schemaVersion": "1", "handoff": handoff}
    return {**content, "digest": digest(content)}


def stored_assignment(
    ledger: Ledger, run: RunId, settings: Mapping[str, Any], held: Iterable[str] = ()
) -> Assignment | None:
    """What a run was given to do; None where it ended before it was planned, or was purged."""
    text = ledger.plan(run)
    if text is None:
        return None
    return Assignment(
        received=read_received(json.loads(text)["handoff"]),
        keys_saved=bool(settings.get("keysSaved")),
        held=frozenset(held),
    )


def _account(device: RunDevice) -> str | None:
    """What the cleanup has to say of a device, where that is more than that it is done."""
    said = device.history.detail
    return None if said is None else f"cleanup: {device.history.outcome.value}: {said}"


def _joined(*texts: str | None) -> str | None:
    return "; ".join(filter(None, texts)) or None
