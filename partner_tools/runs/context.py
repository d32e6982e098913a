"""The inputs of a run: its options, its observer, and everything from outside."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.execute import ExecutionContext
from partner_tools.errors import (
    AuthError,
    DamagedRunError,
    GuardError,
    Interrupted,
    LedgerError,
    PartnerToolsError,
    ServiceError,
)
from partner_tools.events import Event, History, Kind
from partner_tools.guards import Limits
from partner_tools.json_forms import json_form, structure
from partner_tools.model import (
    GONE,
    ChannelName,
    Outcome,
    Plan,
    PlannedDevice,
    RunId,
    RunState,
    Snapshot,
)
from partner_tools.place import Place
from partner_tools.plan import counts, read_plan
from partner_tools.result import (
    EXIT_DONE,
    EXIT_INCOMPLETE,
    DeviceResult,
    device_line,
    is_clear,
    shown_state,
    still_listed,
)
from partner_tools.signing import ApprovalRule, Signature, read_signatures, signature_entries

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger
    from partner_tools.runs.tenant import TenantReader

Confirm = Callable[[Plan], bool]
"""Has a person, or whoever may, agree to a plan: True removes what it names."""

OpenTenant = Callable[[str, float | None], "AbstractContextManager[TenantReader]"]
"""Opens the way into a customer's tenant. Nothing is read there after the given moment of the
run's clock. Raises AuthError where there is no way."""

_SNAPSHOTS = {True: Snapshot.BEST_EFFORT, False: Snapshot.NONE}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run goes; stored with the run, so that `resume` continues alike.

    - `yes`: do not ask for confirmation
    - `dry_run`: stop after the plan
    - `max_devices`: the most that may be removed (the profile's, else 500)
    - `settle`: for how many seconds to wait until nothing removed is listed any more
      (30 for a removal, 1800 for a cleanup)
    - `report`: the folder for the handoffs, in these `formats` (all, where none is named)
    - `max_rate`: requests per second
    - `snapshot`: whether to look into the customer's tenant before the removal, for at most
      `snapshot_timeout` seconds; `best-effort` does where access is configured
    - `require_intune_clear`: refuse devices that are not confirmed absent from Intune
    - `keys_saved`: of a cleanup, BitLocker keys and local passwords are saved elsewhere
    - `accept_locked_firmware`: serial numbers to remove although their firmware stays locked
    - `min_found`: the share of ten or more devices that has to be registered (the profile's)
    - `stale_ok`: send what an OEM Direct run left open longer than `guards.stale_hours` ago
    - `by_hand`: of an assessment, a person of the partner removes the registrations
    - `keys_receipt`: of a cleanup, the receipt of the customer's script for keys that it saved;
      `saved_keys` is what it says: row, serial number, counts of keys and of passwords
    - `approvals`: signatures of the plan that the run was begun with; checked at every execution
    """

    yes: bool = False
    dry_run: bool = False
    max_devices: int | None = None
    settle: float | None = None
    report: Path | None = field(default=None, metadata={"property": None})
    formats: tuple[str, ...] = ()
    max_rate: float | None = None
    snapshot: Snapshot = field(
        default=Snapshot.BEST_EFFORT,  # in version 0.1 it was a boolean
        metadata={"read": lambda told: _SNAPSHOTS.get(told) or Snapshot(told)},
    )
    snapshot_timeout: float = 60.0
    require_intune_clear: bool = False
    keys_saved: bool = False
    accept_locked_firmware: tuple[str, ...] = ()
    min_found: float | None = None
    stale_ok: bool = field(default=False, metadata={"property": None})
    by_hand: bool = False
    keys_receipt: Path | None = field(default=None, metadata={"property": None})
    saved_keys: tuple[tuple[int, str | None, int, int], ...] = field(
        default=(), metadata={"read": lambda rows: tuple(map(tuple, rows))}
    )
    approvals: tuple[Signature, ...] = field(default=(), metadata={"property": None})

    def stored(self) -> dict[str, Any]:
        """All that the ledger keeps of them: what is as by default too, which may change."""
        return {
            **json_form(self, whole=True),
            "report": None if self.report is None else str(self.report.absolute()),
            "approvals": signature_entries(self.approvals),
        }

    @classmethod
    def restored(cls, settings: Mapping[str, Any]) -> RunOptions:
        """The options of an earlier run. In version 0.1 a cleanup stored `apply`."""
        told = {name: value for name, value in settings.items() if value is not None}
        return structure(
            cls,
            {"dryRun": not settings.get("apply", True), **told},
            report=Path(told["report"]) if "report" in told else None,
            approvals=read_signatures({"signatures": settings.get("approvals", ())}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """A run and what became of each of its devices, in the order of the batch.

    `reports` are the files of the handoffs that were written with it.
    """

    run: RunId
    channel: ChannelName
    state: RunState
    devices: tuple[DeviceResult, ...]
    reports: tuple[Path, ...] = ()
    is_reprinted: bool = False
    """It is an earlier run's, whose batch was handed in again."""

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many devices have each outcome; only those that occur."""
        return Counter(each.history.outcome for each in self.devices)

    @property
    def document(self) -> dict[str, Any]:
        """As `deregister --output json` prints it; `schemas/result.schema.json` is its shape."""
        lines = [device_line(each, self.state) for each in self.devices]
        document = {
            "schemaVersion": "1",
            "run": self.run,
            "channel": self.channel.value,
            "state": shown_state(self.state).value,
            "counts": counts(Outcome(line["outcome"]) for line in lines),
            "devices": lines,
        }
        if self.channel is ChannelName.ASSESSMENT:
            document["kind"] = self.channel.value
        return {**document, "reprinted": True} if self.is_reprinted else document

    @property
    def exit_code(self) -> int:
        """With what `deregister` ends: 0 where every device is gone and none is still listed."""
        histories = [each.history for each in self.devices]
        if self.state is RunState.ASSESSED:
            unlike = [each for each in self.devices if each.history.outcome != Outcome.DUPLICATE]
            is_done = all(is_clear(each.account.get("planes")) for each in unlike)
            return EXIT_DONE if is_done else EXIT_INCOMPLETE
        if histories and all(each.rule == "no-relationship" for each in histories):
            return AuthError.exit_code
        if shown_state(self.state) is RunState.PLANNED:
            fine = {Outcome.PENDING, *GONE}
            return EXIT_DONE if all(each.outcome in fine for each in histories) else EXIT_INCOMPLETE
        if self.state is RunState.STOPPED:
            return ServiceError.exit_code
        done = all(each.outcome in GONE and not still_listed(each) for each in histories)
        return EXIT_DONE if done else EXIT_INCOMPLETE


class RunObserver:
    """Is told of a run while it goes. Every method does nothing here: override what you need."""

    def notify(self, message: str) -> None:
        """Something that a person should know; foreign text in it is as it came."""

    def began(self, run: RunId) -> None:
        """The run exists, durably, and nothing was sent yet."""

    def listed(self, tenant: str, devices: int) -> None:
        """One more page of this customer's devices was read, with this many on it.

        Called while a run is planned and while removals are verified, by several threads at a time.
        """

    def waiting(self, error: ServiceError, seconds: float) -> None:
        """A read failed in passing, and is tried again after these seconds; by any thread."""

    def planned(self, plan: Plan) -> None:
        """The run has a plan, durably: what cannot be removed has its outcome."""

    @contextmanager
    def removing(self, removals: int, throttle: Callable[[], str]) -> Iterator[None]:
        """While the block lasts, this many devices are removed.

        `throttle` says in words what holds the requests back; empty when nothing does.
        """
        yield

    def settled(self, index: int, history: History) -> None:
        """The device at this index of the batch has its outcome, durably.

        Called by the engine's workers, one at a time.
        """

    def ended(self, result: RunResult) -> None:
        """The run came to this; nothing more is done with it but its report."""


NULL_OBSERVER = RunObserver()


STALE_HOURS = 24.0
MIN_FOUND_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """The guards of a run: the profile's limits, its rule for approvals, and the hold list.

    `held` reads the hold list as it is now. Raises InputError where it cannot be read.
    """

    held: Callable[[], frozenset[str]] = frozenset
    limits: Limits = field(default_factory=Limits)
    approval: ApprovalRule = field(default_factory=ApprovalRule)
    stale_hours: float = STALE_HOURS
    min_found_share: float = MIN_FOUND_SHARE


class SealedPlan:
    """The plan of a run as its ledger has it, read once. Thread-safe."""

    def __init__(self, ledger: Ledger, run: RunId) -> None:
        self._ledger, self._run = ledger, run
        self._lock = threading.RLock()
        self._plan: Plan | None = None
        self._digest: str | None = None
        self._devices: Mapping[int, PlannedDevice] | None = None

    def keep(self, plan: Plan, digest: str) -> None:
        """Take the plan that was just stored under this digest."""
        with self._lock:
            self._plan, self._digest, self._devices = plan, digest, None

    def read(self) -> Plan | None:
        """The plan; None before there is one, and after a purge.

        Raises GuardError where it is not what its digest was taken of, DamagedRunError for what is
        no plan.
        """
        with self._lock:
            text = self._ledger.plan(self._run) if self._plan is None else None
            if text is not None:
                try:
                    document = json.loads(text)
                except ValueError as error:
                    raise DamagedRunError(self._run, "its plan") from error
                self.keep(read_plan(document), document["digest"])
            return self._plan

    def devices(self) -> Mapping[int, PlannedDevice]:
        """Its devices by index, where the run's own chain of events names this very plan.

        Raises LedgerError where the chain names another.
        """
        with self._lock:
            if self._devices is None:
                plan = self.read()
                if self._ledger.planned_digest(self._run) != self._digest:
                    raise LedgerError(
                        f"the stored plan of run {self._run} is not the one that the run's events "
                        "name",
                        rule="ledger-edited",
                        remedy="verify the ledger with `partner-tools ledger verify`; nothing was "
                        "sent",
                    )
                self._devices = {each.index: each for each in plan.devices} if plan else {}
            return self._devices


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext(ExecutionContext):
    """Everything that one run needs from outside.

    `place` is where the run would act, without the partner's tenant, which `partner` reads from
    the token: that may ask for one. `private_folder` holds the restore kits. `open_tenant` is None
    where no access to customers' tenants is configured.
    """

    options: RunOptions
    ledger: Ledger
    sealed: SealedPlan
    guards: GuardSettings
    place: Place
    partner: Callable[[], str | None]
    private_folder: Path
    open_tenant: OpenTenant | None = None
    observer: RunObserver = NULL_OBSERVER
    confirm: Confirm = lambda _plan: False
    account: Callable[[], str | None] = lambda: None
    """Reads from the token who is signed in, where a customer has to be told."""
    throttle: Callable[[], str] = lambda: ""
    """A note for people on what holds the requests back; empty when nothing does."""

    @property
    def token(self) -> CancellationToken:
        return self.executor.stop

    def note(self, kind: Kind, **payload: Any) -> None:
        """Make an event of the run itself durable."""
        self.record([Event(run=self.run, kind=kind, at=self.now(), payload=payload)])

    @contextmanager
    def noting_end(self) -> Iterator[None]:
        """Record what ends the run early, and let it pass on.

        A guard that refuses before anything was sent leaves the run refused, not stopped.
        """
        try:
            yield
        except Interrupted:
            self.note(Kind.INTERRUPTED)
            raise
        except LedgerError:
            raise
        except PartnerToolsError as error:
            is_refused = isinstance(error, GuardError) and not self.ledger.run(self.run).started_at
            kind = Kind.REFUSED if is_refused else Kind.STOPPED
            self.note(kind, rule=error.rule, detail=str(error), remedy=error.remedy)
            raise
