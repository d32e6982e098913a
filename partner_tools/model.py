"""The nouns: what a user names, what a service shows, what is planned. Values, no behaviour."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

RunId = NewType("RunId", str)
TenantId = NewType("TenantId", str)

Json = Mapping[str, "object"]
"""A JSON object as `json.loads` gives it."""


class ChannelName(StrEnum):
    """The service through which a run removes what is registered."""

    PARTNER_CENTER = "partner-center"
    OEM_DIRECT = "oem-direct"
    MICROSOFT_GRAPH = "microsoft-graph"
    """The customer's own side: Intune and Windows Autopilot in its own tenant, by `cleanup`."""
    ASSESSMENT = "assessment"
    """No service: an assessment looks into the customer's tenant, and changes nothing."""


PARTNER_CHANNELS = (ChannelName.PARTNER_CENTER, ChannelName.OEM_DIRECT)
"""The services through which a partner removes an Autopilot registration: what a batch may name."""


class Reason(StrEnum):
    """Why a device leaves the organisation."""

    REPAIR = "repair"
    END_OF_LIFE = "end-of-life"
    RESALE = "resale"
    REPLACEMENT = "replacement"
    LOST_OR_STOLEN = "lost-or-stolen"
    OTHER = "other"


class Outcome(StrEnum):
    """The outcome of one device. `docs/reference/lifecycle.md` says which event leads to which."""

    REMOVED = "removed"
    ABSENT = "absent"
    ALREADY_REMOVED = "already-removed"
    UNCONFIRMED = "unconfirmed"
    ASSESSED = "assessed"
    NOT_FOUND = "not-found"
    AMBIGUOUS = "ambiguous"
    DUPLICATE = "duplicate"
    NOT_OWNED = "not-owned"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    PENDING = "pending"


GONE = frozenset({Outcome.REMOVED, Outcome.ABSENT, Outcome.ALREADY_REMOVED})
"""The outcomes after which the channel has nothing left to do."""


class RunState(StrEnum):
    """How far a run has come. `queued` waits for a worker of the fleet."""

    PLANNING = "planning"
    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    FINISHED = "finished"
    ASSESSED = "assessed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    """A guard or the person who was asked ended it before anything was sent."""
    DRY_RUN = "dry-run"
    """Never stored: a planned run that was asked for to look only, and wrote no plan file."""
    DAMAGED = "damaged"
    """Never stored: what the ledger holds of the run cannot be read."""


ENDED = frozenset({RunState.FINISHED, RunState.ASSESSED})
"""The states of a run that has done everything that it was begun for."""


class Snapshot(StrEnum):
    """Whether the customer's tenant has to be seen before anything is removed."""

    REQUIRED = "required"
    BEST_EFFORT = "best-effort"
    NONE = "none"


class Severity(StrEnum):
    """Whether a problem of the input stops it or only has to be known."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whom the operating system runs a command for.

    `id` is `uid@host`, or on Windows the security identifier (SID): unlike a name, one person
    cannot have that of another.
    """

    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why something is refused or ended: the rule's name, a sentence, and what to do about it."""

    rule: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with the user's input, and what to do about it.

    `row` is the line of the file as an editor shows it (the sheet row of XLSX, the index from 1
    of a JSON batch); None for a problem of the whole file. `column` is the property name of the
    batch schema, or the header as the file spells it where no property fits.
    """

    file: str
    row: int | None
    column: str | None
    rule: str
    severity: Severity
    message: str
    remedy: str

    @property
    def place(self) -> str:
        """`file:row`, or the file alone for a problem of the whole of it."""
        return self.file if self.row is None else f"{self.file}:{self.row}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of a machine in Autopilot. The texts are exactly as given, but trimmed."""

    serial_number: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    product_key_id: str | None = None
    hardware_hash: str | None = field(default=None, metadata={"property": None})

    @property
    def names(self) -> tuple[str, ...]:
        """Its serial number and its product key id, as far as they are given."""
        return tuple(filter(None, (self.serial_number, self.product_key_id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One machine as the user named it, with the place where it was named."""

    row: int
    identity: Identity = field(metadata={"inline": True})
    customer: str | None = None
    """As given: a tenant GUID or a domain; None where the batch or the command line says it."""
    reference: str | None = None
    replacement: Identity | None = None
    """The new identity after a board swap: never resolved, planned or sent."""
    extra: tuple[tuple[str, str], ...] = ()
    """Unknown columns, unchanged; they are copied into the report."""
    derived: tuple[str, ...] = ()
    """The parts of the identity that come from the hardware hash alone, in words."""
    hash_confirms: bool = False
    """Whether the hardware hash states the identity that the row does."""
    contradictions: tuple[str, ...] = ()
    """Where the row and its hardware hash disagree, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The user's input, checked. `digest` is `sha256:` of the file's bytes."""

    batch_id: str
    file: str
    digest: str
    devices: tuple[Device, ...]
    reason: Reason = Reason.OTHER
    channel: ChannelName | None = None
    customer: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer tenant as the partner knows it."""

    tenant_id: TenantId
    domain: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where Partner Center keeps one registration: both parts are needed to delete it."""

    batch_id: str
    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration(Identity):
    """One device of a customer's estate as Partner Center lists it. Absent fields are None."""

    target: Target = field(metadata={"property": None})
    uploaded_at: str | None = None
    """As the service wrote it: 7 fractional digits and offsets other than Z occur."""
    allowed_operations: tuple[str, ...] | None = None
    """None where the service did not say, which is common and means nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """Everything Partner Center shows of one customer, complete: every batch, every page."""

    customer: Customer
    registrations: tuple[Registration, ...]
    observed_at: datetime
    notes: tuple[str, ...] = ()
    """Notes on the list for a reader, in sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDevice:
    """The plan for one device of the batch: its removal, or why there is none.

    `outcome` is `pending` where a removal is planned and final otherwise. `index` is the position
    in the batch from 0 and the key of the device in its run.
    """

    index: int
    device: Device
    customer: TenantId | None = None
    outcome: Outcome
    target: Target | None = None
    found: Registration | None = None
    """The registration as listed, without the hardware hash: the restore kit keeps that apart."""
    candidates: tuple[Target, ...] = ()
    rule: str | None = None
    detail: str | None = None
    remedy: str | None = None
    risks: tuple[str, ...] = ()
    """Risks that the customer's tenant showed, by the names of `outstanding.Risk`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCustomer:
    """How much of one customer's estate the plan takes."""

    customer: Customer
    estate: int
    removals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a run will do, reviewable. Its digest binds a confirmation to its content."""

    run: RunId
    channel: ChannelName
    created_at: datetime
    batch_id: str
    batch_digest: str
    reason: Reason
    customers: tuple[PlannedCustomer, ...]
    devices: tuple[PlannedDevice, ...]
    planner: Account = Account()
    """The account that planned, as the operating system knew it."""
    notes: tuple[str, ...] = field(default=())
    """Further notes for a reviewer: derived identifiers, assumptions of a wire."""
    place: Mapping[str, Any] | None = None
    """Where it belongs, as `place.Place.document` gives it; None for plans of version 0.1."""
    is_foreign: bool = field(default=False, metadata={"property": None})
    """It came in a file that the ledger at hand did not make: its age is its own word."""


_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)


def is_guid(text: str) -> bool:
    """Whether the text is a GUID, as tenant ids are, rather than a domain or another name."""
    return _GUID.fullmatch(text) is not None
