"""The types for outstanding steps, planes, probes and decisions. Values only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.resources import files
from typing import Any

from partner_tools.model import Outcome, Reason


class Plane(StrEnum):
    """A place that keeps a record of the device."""

    AUTOPILOT = "autopilot"
    INTUNE = "intune"
    ENTRA = "entra"
    DEVICE_ASSOCIATION = "device-association"
    """The tenant's own record that it binds the device through its firmware, and the firmware."""
    ACTIVE_DIRECTORY = "active-directory"
    CONFIGURATION_MANAGER = "configuration-manager"
    DEVICE_FIRMWARE = "device-firmware"


class Status(StrEnum):
    """The status of a plane or a step."""

    CLEAR = "clear"
    REPORTED = "reported"
    """Reported done by the customer: no look of our own says so."""
    OUTSTANDING = "outstanding"
    EXPECTED = "expected"
    NOT_VERIFIED = "not-verified"
    NOT_APPLICABLE = "not-applicable"


class JoinType(StrEnum):
    """How the device belongs to the directory."""

    ENTRA_JOINED = "entra-joined"
    HYBRID_JOINED = "hybrid-joined"
    REGISTERED = "registered"
    NONE = "none"
    UNKNOWN = "unknown"


class Owner(StrEnum):
    """The party that can do a step."""

    PARTNER = "partner"
    INTUNE_ADMINISTRATOR = "intune-administrator"
    ENTRA_ADMINISTRATOR = "entra-administrator"
    ACTIVE_DIRECTORY_ADMINISTRATOR = "active-directory-administrator"
    CONFIGURATION_MANAGER_ADMINISTRATOR = "configuration-manager-administrator"
    DEVICE_HOLDER = "device-holder"


class StepId(StrEnum):
    """Every step that a handoff can list, in the order in which a customer follows them."""

    RESOLVE_AMBIGUITY = "resolve-ambiguity"
    SETTLE_REMOVAL = "settle-removal"
    UNLOCK_FIRMWARE = "unlock-firmware"
    CHECK_FIRMWARE_LOCKS = "check-firmware-locks"
    """Never asked of one device, like the three below: no service that is asked here shows it, so
    the guide says it of every device that leaves."""
    BACK_UP_KEYS = "back-up-keys"
    RESET_DEVICE = "reset-device"
    OFFBOARD_FROM_DEFENDER = "offboard-from-defender"
    REMOVE_FROM_AUTOPATCH = "remove-from-autopatch"
    UNENROLL_OTHER_MDM = "unenroll-other-mdm"
    DELETE_FROM_INTUNE = "delete-from-intune"
    RETRY_INTUNE_ACTION = "retry-intune-action"
    WAIT_FOR_CHECK_IN = "wait-for-check-in"
    DELETE_FROM_CONFIGURATION_MANAGER = "delete-from-configuration-manager"
    ALLOW_REENROLLMENT = "allow-reenrollment"
    UNASSIGN_USER = "unassign-user"
    DEREGISTER_FROM_AUTOPILOT = "deregister-from-autopilot"
    CONFIRM_AUTOPILOT_REMOVAL = "confirm-autopilot-removal"
    OPEN_SUPPORT_CASE = "open-support-case"
    REMOVE_DEVICE_ASSOCIATION = "remove-device-association"
    DELETE_ASSOCIATION_RECORD = "delete-association-record"
    DELETE_COMPUTER_OBJECT = "delete-computer-object"
    DISCONNECT_WORK_ACCOUNT = "disconnect-work-account"
    DELETE_CORPORATE_IDENTIFIER = "delete-corporate-identifier"
    DELETE_IMPORT_RECORD = "delete-import-record"
    VERIFY_ENTRA_REMOVAL = "verify-entra-removal"
    DECIDE_ON_ENTRA_OBJECT = "decide-on-entra-object"
    DECIDE_ON_RESIDUAL_OBJECT = "decide-on-residual-object"
    REBUILD_REGISTRATION = "rebuild-registration"
    REGISTER_AGAIN = "register-again"


DATA: Mapping[str, Mapping[str, Any]] = tomllib.loads(
    files(__package__).joinpath("outstanding.toml").read_text(encoding="utf-8")
)
"""Facts about the steps, and the words for refusals and risks."""

STEP_ORDER: Mapping[StepId, int] = {step: place for place, step in enumerate(StepId)}
HOMES: Mapping[StepId, tuple[Plane, Owner]] = {
    StepId(name): (Plane(step["plane"]), Owner(step["owner"]))
    for name, step in DATA["steps"].items()
}
"""The plane that a step works on, and who can usually do it."""
PREREQUISITES: Mapping[StepId, tuple[StepId, ...]] = {
    StepId(name): tuple(map(StepId, step.get("after", ()))) for name, step in DATA["steps"].items()
}
"""The steps to finish before a step, where the device has them at all."""
CLOSED_BY: Mapping[Plane, frozenset[StepId]] = {
    plane: frozenset(
        step
        for step, (its_plane, _) in HOMES.items()
        if its_plane is plane and DATA["steps"][step].get("closed_by_absence")
    )
    for plane in Plane
}
"""The steps that a plane where nothing is left any more closes."""


class Subject(StrEnum):
    """The object that a probe of a plane looked for."""

    DEVICE = "device"
    RECOVERY_KEYS = "recovery-keys"
    LOCAL_PASSWORD = "local-administrator-password"  # noqa: S105
    DELETED_OBJECT = "deleted-object"
    CORPORATE_IDENTIFIER = "corporate-identifier"
    IMPORT_RECORD = "import-record"
    STATEMENT = "statement"
    """A person's observation at the device: a fact of `FACTS` that no probe can see."""


class EvidenceSource(StrEnum):
    """The service that a probe asked."""

    GRAPH = "graph"
    CHANNEL = "channel"
    """The service of the removal itself, which shows a partner only what it may remove."""
    DIRECTORY = "active-directory"
    CUSTOMER = "customer"
    """A results file of the customer's. It closes steps as `reported`, never as `clear`."""
    PERSON = "person"
    """A person who looked at the device itself."""
    PARTNER = "partner"
    """A person who removed a registration on Partner Center's pages, and says so (`runs done`)."""


REPORTING = frozenset({EvidenceSource.CUSTOMER, EvidenceSource.PARTNER})
"""People's word that something is done: it makes a plane `reported`, never `clear`."""


class ProbeResult(StrEnum):
    """The result of a probe."""

    FOUND = "found"
    ABSENT = "absent"
    FAILED = "failed"


class Flag(StrEnum):
    """Facts about a device from people or the run that no probe can see."""

    HELD = "held"
    """The partner's hold list names it: nothing may be done to it."""
    BY_HAND = "by-hand"
    """A person of the partner removes the registration, on Partner Center's pages."""
    KEYS_SAVED = "keys-saved"
    OTHER_ORGANISATION_AT_SETUP = "other-organisation-at-setup"
    ANCHOR_LOST = "anchor-lost"
    """Setup ends with 0x801C03F3: the directory object was deleted while still registered."""
    REENROLLMENT_BLOCKED = "reenrollment-blocked"
    """Setup ends with 0x80180014: the device was enrolled by itself before."""
    DEVICE_ASSOCIATION = "device-association"
    """The firmware of the device holds an association: its Jwt variables were seen there."""
    NO_DEVICE_ASSOCIATION = "no-device-association"
    """The Jwt variables were looked for in the firmware, and are not there."""
    FIRMWARE_OPEN = "firmware-open"
    """A person opened the firmware menus and could change them: nothing locks them."""


FACTS: Mapping[str, Flag] = {
    **{
        flag.value: flag
        for flag in (
            Flag.OTHER_ORGANISATION_AT_SETUP,
            Flag.ANCHOR_LOST,
            Flag.REENROLLMENT_BLOCKED,
            Flag.DEVICE_ASSOCIATION,
            Flag.NO_DEVICE_ASSOCIATION,
            Flag.FIRMWARE_OPEN,
        )
    },
    "0x801c03f3": Flag.ANCHOR_LOST,
    "0x80180014": Flag.REENROLLMENT_BLOCKED,
}
"""The facts that a person can state about a device, by their word in lower case."""

REASSURING = frozenset({Flag.NO_DEVICE_ASSOCIATION, Flag.FIRMWARE_OPEN})
"""Facts that a document which came by mail cannot state: they would let something pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One object that a probe found. Names of ids and attributes are Microsoft Graph's."""

    ids: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A results file's statement beside a look: `step` is one that was done, `at` when.

    `file` is when the file was written, `joined` how the device was joined, where that was seen.
    """

    at: datetime
    file: datetime
    step: StepId | None = None
    account: str | None = None
    joined: JoinType | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The result of one look at one plane. An empty `found` with `FOUND` means: no ids known.

    A probe with a `report` is the customer's; `observed_at` is when its file was taken in.
    """

    plane: Plane
    result: ProbeResult
    observed_at: datetime
    source: EvidenceSource = EvidenceSource.GRAPH
    subject: Subject = Subject.DEVICE
    found: tuple[Found, ...] = ()
    error: str | None = None
    request_id: str | None = None
    report: Report | None = None


AUTOPILOT_SETTLES = timedelta(hours=2)
"""A deletion can take from minutes to more than an hour to show; after that it was not done."""
ENTRA_SETTLES = timedelta(hours=24)
CLEAR_HOLDS = timedelta(days=7)
"""How long a `clear` counts: a device can be enrolled again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """Everything that the decision rests on. `at` is the time that it is taken for."""

    outcome: Outcome
    reason: Reason
    at: datetime
    serial_number: str | None = None
    removed_at: datetime | None = None
    looked_before: int | None = None
    """How many of the probes were recorded before the removal; None where only times can tell."""
    probes: tuple[Probe, ...] = ()
    """In the order in which they were recorded: clocks of two machines differ."""
    flags: frozenset[Flag] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneStatus:
    """The status of one plane, and its evidence.

    `found` is what was last seen there, even if no longer reliable: its ids are
    the only link once the registration is gone. `last_*` is older evidence behind a failed probe.
    """

    status: Status
    observed_at: datetime | None = None
    source: EvidenceSource | None = None
    found: tuple[Found, ...] = ()
    note: str | None = None
    error: str | None = None
    request_id: str | None = None
    last_status: Status | None = None
    last_observed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do for one device.

    `row` is the row of the decision table that asks for it; None where the outcome alone does.
    """

    id: StepId
    plane: Plane
    status: Status
    owner: Owner
    row: int | None
    why: str
    after: tuple[StepId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The remaining steps for one device, in the order in which to do them."""

    join_type: JoinType
    planes: Mapping[Plane, PlaneStatus]
    steps: tuple[Step, ...]


STATUSES: Mapping[ProbeResult, Status] = {
    ProbeResult.ABSENT: Status.CLEAR,
    ProbeResult.FOUND: Status.OUTSTANDING,
    ProbeResult.FAILED: Status.NOT_VERIFIED,
}
"""The status of a plane that a probe's result alone implies."""
