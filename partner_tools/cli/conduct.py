"""Takes a run from its plan to its result: what `deregister`, `plan` and `resume` share."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partner_tools.approval import check_approval
from partner_tools.cli.batch import with_hashes_read
from partner_tools.cli.interruption import StopSign, asking
from partner_tools.cli.output import clean, counted, tell
from partner_tools.cli.program import Call
from partner_tools.cli.progress import Progress
from partner_tools.cli.showing import Showing
from partner_tools.cli.signing import approval_rule
from partner_tools.cli.surroundings import now, randomness
from partner_tools.cli.wiring import held, limits, workplace
from partner_tools.config import Config
from partner_tools.errors import GuardError
from partner_tools.events import Kind
from partner_tools.guards import count_removals, expected_answer, question
from partner_tools.model import Batch, ChannelName, Plan, RunId
from partner_tools.signatures import Signature, read_signatures, signature_entries

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger
    from partner_tools.procedure.workplace import Workplace


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the flags of a removal say; stored with the run, so that `resume` goes on alike."""

    yes: bool = False
    dry_run: bool = False
    max_devices: int | None = None
    settle: float = 30.0
    report: Path | None = None
    formats: tuple[str, ...] = ()
    max_rate: float | None = None
    snapshot: bool = True
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
            "snapshot": self.snapshot,
            "requireIntuneClear": self.require_intune_clear,
            **({"approvals": signature_entries(self.approvals)} if self.approvals else {}),
        }

    @classmethod
    def restored(cls, settings: dict[str, Any]) -> Wishes:
        """What an earlier command was called with."""
        report = settings.get("report")
        return cls(
            yes=bool(settings.get("yes")),
            dry_run=bool(settings.get("dryRun")),
            max_devices=settings.get("maxDevices"),
            settle=float(settings.get("settle", 30.0)),
            report=None if report is None else Path(report),
            formats=tuple(settings.get("formats", ())),
            max_rate=settings.get("maxRate"),
            snapshot=bool(settings.get("snapshot", True)),
            require_intune_clear=bool(settings.get("requireIntuneClear")),
            approvals=read_signatures({"signatures": settings.get("approvals", ())}),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """One command's way with one run."""

    call: Call
    config: Config
    ledger: Ledger
    stop: StopSign
    wishes: Wishes
    showing: Showing

    @property
    def run(self) -> RunId:
        """The run."""
        return self.showing.run

    def begin(self, batch: Batch, channel: ChannelName) -> None:
        """Store the batch as a new run, and announce it."""
        from partner_tools.procedure.begin import begin

        begin(
            self.ledger,
            self.run,
            with_hashes_read(batch) if channel is ChannelName.OEM_DIRECT else batch,
            channel=channel,
            settings=self.wishes.stored(),
            actor=actor(),
            now=now(),
        )
        self.announce()

    def announce(self) -> None:
        """The run exists: say its id, and print its result however the command ends."""
        self.call.result = self.showing.result
        tell(f"run {self.run}")

    @contextmanager
    def place(self, channel: ChannelName) -> Iterator[Workplace]:
        """Open the way to the service."""
        with workplace(
            channel,
            self.config,
            self.ledger,
            self.stop,
            settled=self.showing.settled,
            max_rate=self.wishes.max_rate,
        ) as opened:
            yield opened

    def plan(self, place: Workplace) -> tuple[Plan, dict[str, Any]]:
        """Read the services and plan the run."""
        from partner_tools.procedure.planning import make_plan

        plan, document = make_plan(place, self.ledger.run(self.run), held=held(self.config))
        self.showing.planned()
        if plan.customers and not self.call.common.quiet:
            tell(f"{counted(count_removals(plan.devices), 'device')} can be removed:")
            tell(question(plan.customers))
        for note in plan.notes:
            tell(f"note: {note}")
        return plan, document

    def adopt(self, place: Workplace, plan: Plan, document: dict[str, Any]) -> Plan:
        """Make a reviewed plan the plan of this run."""
        from partner_tools.procedure.planning import adopt_plan

        adopted = adopt_plan(place, plan, document, self.run)
        self.showing.planned()
        return adopted

    def execute(self, place: Workplace, plan: Plan) -> None:
        """Check the guards, ask, remove what the plan names, and look whether it is gone.

        A dry run ends here: whoever calls, nothing is removed.
        """
        if self.wishes.dry_run:
            return
        from partner_tools.procedure.planning import check_limits, refuse_changed
        from partner_tools.procedure.removal import remove, verify_removal

        approved_by = self._approved(plan)
        check_limits(place, plan, limits(self.config, self.wishes.max_devices))
        plan = self._look_before(place, plan)
        self._confirm(place, plan, approved_by)
        self.call.last_words = f"partner-tools resume {self.run}"
        changed = refuse_changed(place, plan)
        if changed:
            tell(f"{changed} devices are not what they were when they were planned: refused")
        removals, quiet = count_removals(plan.devices), self.call.common.quiet
        with Progress(removals, quiet=quiet, throttle=place.throttle) as progress:
            self.showing.progress = progress
            remove(place, self.run)
        verify_removal(place, self.run, wait_seconds=self.wishes.settle)
        self.call.last_words = None

    def finish(self) -> int:
        """Print the result, write the handoff where one was asked for, and give the exit code."""
        self.call.result = None
        self.showing.result()
        if self.wishes.report is None:
            self.showing.tell_next()
        else:
            from partner_tools.cli.report import write_reports

            write_reports(
                self.ledger, self.config, self.run, self.wishes.report, self.wishes.formats
            )
        return self.showing.exit_code()

    def _look_before(self, place: Workplace, plan: Plan) -> Plan:
        """Keep what the customer's tenant shows, name the risks; the plan without what is refused.

        Afterwards the ids seen now are the only link to the records that are left.
        """
        from partner_tools.cli.graph import Watch, is_configured, refuse_blindness

        if self.wishes.require_intune_clear:
            refuse_blindness(self.config)
        if not (self.wishes.snapshot and is_configured(self.config)):
            return plan
        from partner_tools.procedure.precaution import refuse_risky
        from partner_tools.procedure.workplace import noting_end

        watch = Watch(config=self.config, ledger=self.ledger, stop=self.stop, run=self.run)
        self.call.last_words = f"partner-tools resume {self.run}"
        with noting_end(place, self.run):
            risks = watch.before_removal()
        self.call.last_words = None
        required = self.wishes.require_intune_clear
        return refuse_risky(self.ledger, plan, risks, now()) if required else plan

    def _approved(self, plan: Plan) -> tuple[str, ...]:
        """Who approved the run's plan. Raises GuardError where the profile demands more."""
        digest = self.ledger.run(self.run).plan_digest or ""
        rule = approval_rule(self.config)
        return check_approval(rule, digest, plan.planned_by, self.wishes.approvals)

    def _confirm(self, place: Workplace, plan: Plan, approved_by: tuple[str, ...]) -> None:
        removals = count_removals(plan.devices)
        if removals and not self.wishes.yes:
            ask(plan, removals)
        place.note(
            self.run,
            Kind.CONFIRMED,
            removals=removals,
            asked=not self.wishes.yes,
            **({"approvedBy": list(approved_by)} if approved_by else {}),
        )


def new_conduct(
    call: Call,
    config: Config,
    ledger: Ledger,
    stop: StopSign,
    wishes: Wishes,
    junit: Path | None,
    run: RunId | None = None,
) -> Conduct:
    """The way with a new run, or with the one that is named."""
    from partner_tools.ledger import new_run_id

    showing = Showing(
        ledger=ledger,
        run=run or new_run_id(now(), randomness()),
        output=call.output,
        junit=junit,
    )
    return Conduct(
        call=call, config=config, ledger=ledger, stop=stop, wishes=wishes, showing=showing
    )


def actor() -> str | None:
    """Who started the run, as the operating system knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None


def ask(plan: Plan, removals: int) -> None:
    """Have a person confirm the removal. Raises GuardError where nobody can, or does not."""
    if not sys.stdin.isatty():
        raise GuardError(
            f"{counted(removals, 'device')} would be removed and nobody can be asked",
            rule="not-confirmed",
            remedy="pass --yes to confirm, or --dry-run to see the plan only",
        )
    tell(f"{counted(removals, 'device')} will be removed from Windows Autopilot:")
    tell(clean(question(plan.customers)))
    expected = expected_answer(plan.customers)
    with asking():
        if expected is None:
            agreed = click.confirm("Remove them?", err=True)
        else:
            answer = click.prompt(f"Type {clean(expected)} to remove them", err=True, default="")
            agreed = str(answer).strip().casefold() == expected.casefold()
    if not agreed:
        raise GuardError(
            "not confirmed: nothing was removed",
            rule="not-confirmed",
            remedy="run it again when you are sure",
        )
