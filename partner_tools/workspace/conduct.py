"""Takes a run from its batch to its end: the one way there, for commands and for Python."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.config import Config
from partner_tools.engine.cancelling import CancelSign, Sign
from partner_tools.errors import GuardError
from partner_tools.events import Kind
from partner_tools.guards import count_nobodys, count_removals, question
from partner_tools.model import Batch, ChannelName, Plan, RunId, Snapshot
from partner_tools.signing import Signature, check_approval, read_signatures, signature_entries
from partner_tools.workspace.approvals import approval_rule
from partner_tools.workspace.environment import now
from partner_tools.workspace.onlooker import Onlooker
from partner_tools.workspace.wiring import held, limits, workplace

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger
    from partner_tools.runs.context import Workplace

_SNAPSHOTS = {True: Snapshot.BEST_EFFORT, False: Snapshot.NONE}

Confirm = Callable[[Plan], bool]
"""Has a person, or whoever may, agree to a plan: True removes what it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How a removal goes; stored with the run, so that `resume` goes on alike.

    `yes` asks nobody. `max_devices` is the most that may be removed (the profile's, else 500).
    `settle` is for how many seconds to look until nothing removed is listed any more. `report` is
    the folder for the handoffs, in these `formats` (all of the default where none is named).
    `max_rate` is in requests a second. `snapshot` says whether to look into the customer's tenant
    before the removal, for at most `snapshot_timeout` seconds: `best-effort` where Graph access is
    configured. `require_intune_clear` refuses what is not clear.
    """

    yes: bool = False
    dry_run: bool = False
    max_devices: int | None = None
    settle: float = 30.0
    report: Path | None = None
    formats: tuple[str, ...] = ()
    max_rate: float | None = None
    snapshot: Snapshot = Snapshot.BEST_EFFORT
    snapshot_timeout: float = 60.0
    require_intune_clear: bool = False
    approvals: tuple[Signature, ...] = ()
    """Of the plan that the run was begun with; checked at every execution."""

    def stored(self) -> dict[str, Any]:
        """As the ledger keeps them."""
        return {
            "yes": self.yes,
            "dryRun": self.dry_run,
            "maxDevices": self.max_devices,
            "settle": self.settle,
            "report": None if self.report is None else str(self.report.absolute()),
            "formats": list(self.formats),
            "maxRate": self.max_rate,
            "snapshot": self.snapshot.value,
            "snapshotTimeout": self.snapshot_timeout,
            "requireIntuneClear": self.require_intune_clear,
            **({"approvals": signature_entries(self.approvals)} if self.approvals else {}),
        }

    @classmethod
    def restored(cls, settings: dict[str, Any]) -> Wishes:
        """What an earlier run was begun with."""
        report, found = settings.get("report"), settings.get("snapshot", True)
        return cls(
            yes=bool(settings.get("yes")),
            dry_run=bool(settings.get("dryRun")),
            max_devices=settings.get("maxDevices"),
            settle=float(settings.get("settle", 30.0)),
            report=None if report is None else Path(report),
            formats=tuple(settings.get("formats", ())),
            max_rate=settings.get("maxRate"),
            # Runs of the first release kept whether to look, as a boolean.
            snapshot=Snapshot(_SNAPSHOTS.get(found, found)),
            snapshot_timeout=float(settings.get("snapshotTimeout", 60.0)),
            require_intune_clear=bool(settings.get("requireIntuneClear")),
            approvals=read_signatures({"signatures": settings.get("approvals", ())}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """One way with one run. `confirm` is asked where the wishes do not say yes."""

    config: Config
    ledger: Ledger
    stop: Sign
    wishes: Wishes
    run: RunId
    onlooker: Onlooker
    confirm: Confirm

    def begin(self, batch: Batch, channel: ChannelName) -> None:
        """Store the batch as a new run; it exists on return.

        Raises InputError where the handoffs could not be written, before anything is stored.
        """
        from partner_tools.files import require_folder
        from partner_tools.runs.begin import begin
        from partner_tools.workspace.batches import with_hashes_read

        if self.wishes.report is not None and not self.wishes.dry_run:
            require_folder(self.wishes.report)
        begin(
            self.ledger,
            self.run,
            with_hashes_read(batch) if channel is ChannelName.OEM_DIRECT else batch,
            channel=channel,
            settings=self.wishes.stored(),
            actor=actor(),
            now=now(),
        )
        self.onlooker.began(self.run)

    @contextmanager
    def place(self, channel: ChannelName) -> Iterator[Workplace]:
        """Open the way to the service."""
        with workplace(
            channel,
            self.config,
            self.ledger,
            CancelSign(self.stop, lambda: self.ledger.is_cancelled(self.run)),
            onlooker=self.onlooker,
            max_rate=self.wishes.max_rate,
        ) as opened:
            yield opened

    def plan(self, place: Workplace) -> tuple[Plan, dict[str, Any]]:
        """Read the services and plan the run."""
        from partner_tools.runs.planning import make_plan

        plan, document = make_plan(place, self.ledger.run(self.run), held=held(self.config))
        self.onlooker.planned(plan)
        return plan, document

    def adopt(self, place: Workplace, plan: Plan, document: dict[str, Any]) -> Plan:
        """Make a reviewed plan the plan of this run."""
        from partner_tools.runs.planning import adopt_plan

        adopted = adopt_plan(place, plan, document, self.run)
        self.onlooker.planned(adopted)
        return adopted

    def execute(self, place: Workplace, plan: Plan) -> None:
        """Check the guards, ask, remove what the plan names, and look whether it is gone.

        A dry run ends here: whoever calls, nothing is removed.
        """
        if self.wishes.dry_run:
            return
        from partner_tools.runs.planning import refuse_changed
        from partner_tools.runs.removal import finish, remove

        plan = self.approve(place, plan)
        changed = refuse_changed(place, plan)
        if changed:
            self.onlooker.told(
                f"{changed} devices are not what they were when they were planned: refused"
            )
        with self.onlooker.removing(count_removals(plan.devices), place.throttle):
            state = remove(place, self.run)
        finish(place, self.run, state, wait_seconds=self.wishes.settle)

    def approve(self, place: Workplace, plan: Plan) -> Plan:
        """Check approvals and guards, look into the tenants, ask; the plan without what is refused.

        Raises GuardError where a guard or a person refuses.
        """
        from partner_tools.runs.checks import refuse_held
        from partner_tools.runs.planning import heed_limits

        approved_by = self._approved(plan)
        plan = refuse_held(self.ledger, plan, held(self.config), now())
        plan = heed_limits(place, plan, limits(self.config, self.wishes.max_devices))
        plan = self._look_before(place, plan)
        self._confirm(place, plan, approved_by)
        return plan

    def _look_before(self, place: Workplace, plan: Plan) -> Plan:
        """Keep what the customer's tenant shows, name the risks; the plan without what is refused.

        Afterwards the ids seen now are the only link to the records that are left.
        """
        from partner_tools.workspace.watch import TenantCheck, is_configured, refuse_blindness

        required = self.wishes.snapshot is Snapshot.REQUIRED
        if required or self.wishes.require_intune_clear:
            refuse_blindness(self.config)
        if self.wishes.snapshot is Snapshot.NONE or not is_configured(self.config):
            return plan
        from partner_tools.runs.checks import refuse_risky
        from partner_tools.runs.context import noting_end

        watch = TenantCheck(
            config=self.config,
            ledger=self.ledger,
            stop=self.stop,
            run=self.run,
            tell=self.onlooker.told,
        )
        with noting_end(place, self.run):
            risks = watch.before_removal(self.wishes.snapshot_timeout, required=required)
        clear = self.wishes.require_intune_clear
        return refuse_risky(self.ledger, plan, risks, now()) if clear else plan

    def _approved(self, plan: Plan) -> tuple[str, ...]:
        """Who approved the run's plan. Raises GuardError where the profile demands more."""
        digest = self.ledger.run(self.run).plan_digest or ""
        rule = approval_rule(self.config)
        return check_approval(rule, digest, plan.planned_by, self.wishes.approvals)

    def _confirm(self, place: Workplace, plan: Plan, approved_by: tuple[str, ...]) -> None:
        removals = count_removals(plan.devices)
        if removals and not self.wishes.yes and not self.confirm(plan):
            raise GuardError(
                "not confirmed: nothing was removed",
                rule="not-confirmed",
                remedy="run it again when you are sure",
            )
        place.note(
            self.run,
            Kind.CONFIRMED,
            removals=removals,
            asked=not self.wishes.yes,
            **({"approvedBy": list(approved_by)} if approved_by else {}),
        )


def actor() -> str | None:
    """Who started the run, as the operating system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None


def ask_nobody(plan: Plan) -> bool:
    """Refuse for want of somebody to ask. Raises GuardError that says what to pass."""
    raise GuardError(
        f"{count_removals(plan.devices)} devices would be removed and nobody confirmed it:\n"
        f"{question(plan.customers, count_nobodys(plan.devices))}",
        rule="not-confirmed",
        remedy="pass Wishes(yes=True), or a `confirm` that agrees",
    )
