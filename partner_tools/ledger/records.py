"""The values that the ledger takes and gives, and how a run is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict

from partner_tools.events import Event, RunDevice
from partner_tools.model import (
    ChannelName,
    Outcome,
    Reason,
    RunId,
    RunState,
    TenantId,
)
from partner_tools.pacing import Learned

RANDOM_BYTES = 3
"""How much randomness `new_run_id` takes: two runs of one second collide once in 16.7 million."""

_FORM = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


def new_run_id(now: datetime, randomness: bytes) -> RunId:
    """Name a run after its second in UTC and three random bytes: `20260417-101530-4f2a9c`.

    No colon and no upper case, so that the name is a file name on Windows too, and two names
    never differ by case alone.
    """
    if now.tzinfo is None or len(randomness) != RANDOM_BYTES:
        raise ValueError("a run id is made of an aware moment and three bytes")
    return RunId(f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{randomness.hex()}")


def is_run_id(text: str) -> bool:
    """Whether the text is a whole run id, hence safe as a part of a file name."""
    return _FORM.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart:
    """The data of a run before it is planned.

    `settings` is a JSON object without secrets: all that `resume` needs to continue as it began.
    `actor` is who started it, as the caller knows it. `customer` is as the user gave it. `depot` is
    who handed it to the fleet, None for a run of one machine.
    """

    run: RunId = field(metadata={"property": None})
    channel: ChannelName
    batch_id: str
    batch_digest: str
    file: str
    at: datetime = field(metadata={"property": None})
    reason: Reason = Reason.OTHER
    reference: str | None = None
    customer: str | None = None
    actor: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    depot: str | None = field(default=None, metadata={"property": None})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead:
    """The last event of a run: its number and its hash."""

    run: RunId
    n: int
    hash: str


class RunFilter(TypedDict, total=False):
    """Runs to look for; None and what is left out match every run.

    `customer` is a tenant id. `since` (inclusive) and `until` (exclusive), moments with a time
    zone, speak of when a run was created. `serial` is exactly a serial number or product key id
    of one of its devices.
    """

    customer: str | None
    state: RunState | None
    channel: ChannelName | None
    since: datetime | None
    until: datetime | None
    serial: str | None
    depot: str | None
    batch_id: str | None
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run as the ledger knows it.

    `state` is `interrupted` also where a process died while it was `running`. `customers` are
    the tenants that its devices were resolved to. `counts` holds the outcomes that occur.
    """

    run: RunId
    channel: ChannelName
    state: RunState
    batch_id: str
    batch_digest: str
    file: str
    devices: int
    counts: Mapping[Outcome, int]
    created_at: datetime
    head: RunHead
    reason: Reason = Reason.OTHER
    reference: str | None = None
    customer: str | None = None
    customers: tuple[TenantId, ...] = ()
    actor: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    depot: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    plan_digest: str | None = None
    purged_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event with its place in the chain. The payload is empty where it was purged."""

    event: Event
    n: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTrace:
    """Everything that one run knows of one device."""

    run: RunRecord
    device: RunDevice
    events: tuple[StoredEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedRate(Learned):
    """The rate that a service last granted, and when."""

    learned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityFinding:
    """One thing in the ledger that is not as it was written. `n` is the event's number."""

    rule: str
    message: str
    run: RunId | None = None
    n: int | None = None
    device: int | None = None
