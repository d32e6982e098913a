"""The life of a run, whatever its steps: their order, a dry run, a refusal, a cancelled run."""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.channel import Removal
from partner_tools.engine.rate_limiter import AdaptiveRateLimiter
from partner_tools.engine.request_executor import RequestExecutor, interruption
from partner_tools.errors import GuardError, Interrupted
from partner_tools.events import Event, Kind, State
from partner_tools.ledger import Ledger, RunStart, sqlite_url
from partner_tools.model import (
    ChannelName,
    Device,
    Explanation,
    Identity,
    Plan,
    Reason,
    RunId,
    RunState,
)
from partner_tools.pacing import Policy, cold
from partner_tools.place import Place
from partner_tools.runs.context import GuardSettings, RunContext, RunOptions, SealedPlan
from partner_tools.runs.run import carry_out, prepare

AT = datetime(2026, 4, 17, 10, 15, tzinfo=UTC)
RUN = RunId("20260417-101500-4f2a9c")


class TimedToken(CancellationToken):
    """A token whose time passes by waiting, or as the test says."""

    now = 0.0

    def clock(self) -> float:
        return self.now

    def wait_for(self, event: threading.Event, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return event.is_set()


class Looking:
    """A channel that finds everything registered still, and is asked for nothing else."""

    name = ChannelName.PARTNER_CENTER
    observable = True

    def recall(self, removals: Sequence[Removal]) -> Mapping[int, bool | Explanation]:
        return {each.index: True for each in removals}


@dataclass
class Recorded:
    """Steps that record when they are taken; `refuses` and `cancels` say what happens there."""

    end = Kind.FINISHED
    context: RunContext
    refuses: bool = False
    cancels: bool = False
    taken: list[str] = field(default_factory=list)

    def plan(self) -> Plan:
        self.taken.append("plan")
        return Plan(
            run=RUN,
            channel=ChannelName.PARTNER_CENTER,
            created_at=AT,
            batch_id="b",
            batch_digest="sha256:" + "0" * 64,
            reason=Reason.OTHER,
            customers=(),
            devices=(),
        )

    def check(self, plan: Plan) -> Plan:
        states = ",".join(each.history.state for each in self.context.ledger.devices(RUN))
        self.taken.append(f"check {states}")
        if self.refuses:
            raise GuardError("no", rule="limit", remedy="less")
        return plan

    def count(self, plan: Plan) -> int:
        return 1

    def compare(self, plan: Plan, settled: Collection[int]) -> None:
        self.taken.append("compare")

    def execute(self, plan: Plan) -> None:
        self.taken.append("execute")
        if self.cancels:
            cancelled = Event(run=RUN, kind=Kind.CANCELLED, at=AT, payload={})
            self.context.record([cancelled])
            assert self.context.token.wait(60.0)
            raise interruption()

    def verify(self) -> None:
        self.taken.append("verify")

    def unfinished(self) -> str | None:
        return None


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A run of two devices, whose first has a request that was never answered."""
    devices = [Device(row=row, identity=Identity(serial_number=f"SN-{row}")) for row in (2, 3)]
    with Ledger.open(sqlite_url(tmp_path / "ledger.db")) as opened:
        start = RunStart(
            run=RUN,
            channel=ChannelName.PARTNER_CENTER,
            batch_id="b",
            batch_digest="sha256:" + "0" * 64,
            file="b.csv",
            at=AT,
        )
        opened.create_run(start, devices)
        ready = {"outcome": "pending", "customer": "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"}
        sent = {"requestId": "r", "correlationId": "c"}
        for index, kind, payload in (
            (0, Kind.RESOLVED, ready),
            (1, Kind.RESOLVED, ready),
            (0, Kind.INTENDED, sent),
        ):
            opened.record([Event(run=RUN, kind=kind, at=AT, device=index, payload=payload)])
        yield opened


def steps(
    ledger: Ledger,
    folder: Path,
    options: RunOptions,
    *,
    refuses: bool = False,
    cancels: bool = False,
) -> Recorded:
    token = CancellationToken(TimedToken(), cancelled=lambda: ledger.is_cancelled(RUN))
    executor = RequestExecutor(
        pace=AdaptiveRateLimiter(cold(monotonic())),
        policy=Policy(),
        stop=token,
        clock=token.clock,
        jitter=random.random,
        renew=lambda: None,
    )
    context = RunContext(
        run=RUN,
        options=options,
        ledger=ledger,
        channel=Looking(),  # type: ignore[arg-type]  # only what settling asks for
        executor=executor,
        guards=GuardSettings(),
        place=Place(channel=ChannelName.PARTNER_CENTER, address="https://a", login="https://l"),
        partner=lambda: None,
        sealed=SealedPlan(ledger, RUN),
        gate=lambda _: {},
        record=ledger.record,
        settled=lambda _index, _history: None,
        private_folder=folder,
        now=lambda: AT,
        new_id=lambda: "id",
    )
    return Recorded(context, refuses=refuses, cancels=cancels)


def test_doubts_are_settled_before_the_guards_are_asked(ledger: Ledger, tmp_path: Path) -> None:
    taken = steps(ledger, tmp_path, RunOptions(yes=True))
    carry_out(taken)
    assert taken.taken == ["plan", "check ready,ready", "compare", "execute", "verify"]
    assert ledger.run(RUN).state is RunState.FINISHED


def test_a_dry_run_ends_with_its_plan(ledger: Ledger, tmp_path: Path) -> None:
    taken = steps(ledger, tmp_path, RunOptions(yes=True, dry_run=True))
    carry_out(taken)
    assert taken.taken == ["plan"]


def test_without_consent_nothing_is_executed(ledger: Ledger, tmp_path: Path) -> None:
    taken = steps(ledger, tmp_path, RunOptions())
    with pytest.raises(GuardError, match="not confirmed"):
        carry_out(taken)
    assert taken.taken == ["plan", "check ready,ready"]


@pytest.mark.parametrize("unattended", [False, True])
def test_a_run_that_a_guard_refused_says_so(
    ledger: Ledger, tmp_path: Path, *, unattended: bool
) -> None:
    with pytest.raises(GuardError):
        prepare(steps(ledger, tmp_path, RunOptions(yes=True), refuses=True), unattended=unattended)
    kinds = [each.event.kind for each in ledger.events(RUN)]
    assert (kinds[-1], Kind.STOPPED in kinds) == (Kind.REFUSED, False)
    assert ledger.run(RUN).state is RunState.REFUSED


def test_a_run_that_is_cancelled_meanwhile_is_settled_and_looked_at(
    ledger: Ledger, tmp_path: Path
) -> None:
    taken = steps(ledger, tmp_path, RunOptions(yes=True), cancels=True)
    carry_out(taken)
    assert taken.taken[-2:] == ["execute", "verify"]
    assert ledger.run(RUN).state is RunState.CANCELLED
    assert all(each.history.state is State.READY for each in ledger.devices(RUN))


def test_a_stop_of_the_user_leaves_the_run_to_resume(ledger: Ledger, tmp_path: Path) -> None:
    taken = steps(ledger, tmp_path, RunOptions(yes=True))

    def stopped(plan: Plan) -> None:
        raise interruption()

    taken.execute = stopped  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        carry_out(taken)
    assert ledger.run(RUN).state is RunState.INTERRUPTED
