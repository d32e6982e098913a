"""What a cleanup was given to do: the handoff as the ledger keeps it, and what follows of it.

The handoff is the plan of the run. It is stored with it, so that a resume needs no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    ProbeResult,
    Subject,
    decide,
    probe_from,
)
from partner_tools.outstanding.cleanup_plan import CleanupPlan, plan_cleanup
from partner_tools.report.handoff import HandoffDevice, facts_of
from partner_tools.report.results import Received, read_received


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The handoff, and what was said when the cleanup was ordered. `held` is the hold list."""

    received: Received
    keys_saved: bool = False
    saved: Mapping[tuple[int, str | None], tuple[int, int]] = field(default_factory=dict)
    """By row and serial number how many keys and passwords a receipt says are saved."""
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
            flags=self._flags(given, history.evidence),
            detail=_joined(given.detail, _account(device)),
            remedy=history.remedy or given.remedy,
        )

    def _facts(self, device: RunDevice, at: datetime) -> DeviceFacts:
        given = self.received.devices[device.index]
        seen = replace(
            given,
            evidence=(*given.evidence, *device.history.evidence),
            flags=self._flags(given, device.history.evidence),
        )
        return facts_of(seen, self.received.run, at, Patience())

    def _flags(
        self, given: HandoffDevice, seen: Iterable[Mapping[str, Any]] = ()
    ) -> frozenset[Flag]:
        identity = given.device.identity
        saved = self.saved.get((given.device.row, identity.serial_number))
        certain = saved is not None and _covers(saved, seen)
        flags = {Flag.KEYS_SAVED} if self.keys_saved or certain else set()
        if self.held & {identity.serial_number, identity.product_key_id}:
            flags.add(Flag.HELD)
        return given.flags | flags


def _covers(saved: tuple[int, int], seen: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a receipt counts all keys and passwords that the last look at the directory showed.

    A look that failed, or none at all, shows nothing that a receipt could be compared with.
    """
    shown: dict[Subject, int | None] = {}
    for probe in map(probe_from, seen):
        failed = probe.result is ProbeResult.FAILED
        shown[probe.subject] = None if failed else len(probe.found)
    counts = (shown.get(Subject.RECOVERY_KEYS), shown.get(Subject.LOCAL_PASSWORD))
    return all(
        count is not None and count <= limit for count, limit in zip(counts, saved, strict=True)
    )


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
        saved={
            (row, serial): (keys, passwords)
            for row, serial, keys, passwords in settings.get("keysReceipt") or ()
        },
        held=frozenset(held),
    )


def _account(device: RunDevice) -> str | None:
    """What the cleanup has to say of a device, where that is more than that it is done."""
    said = device.history.detail
    return None if said is None else f"cleanup: {device.history.outcome.value}: {said}"


def _joined(*texts: str | None) -> str | None:
    return "; ".join(filter(None, texts)) or None
