"""A plan that has lain about: what changed since is refused, with all that was known of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import pytest

from partner_tools.cancellation import CancellationToken
from partner_tools.engine.rate_limiter import AdaptiveRateLimiter
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.ledger import Ledger, RunStart, sqlite_url
from partner_tools.model import (
    ChannelName,
    Device,
    Identity,
    Outcome,
    PlannedDevice,
    Registration,
    RunId,
    Target,
    TenantId,
)
from partner_tools.pacing import Policy, cold
from partner_tools.place import Place
from partner_tools.plan import PlanProposal
from partner_tools.runs.checks import PLAN_GOOD_FOR, refuse_changed
from partner_tools.runs.context import GuardSettings, RunContext, RunOptions, SealedPlan
from partner_tools.runs.planning import Planner, make_plan

AT = datetime(2026, 4, 17, 10, 15, tzinfo=UTC)
RUN = RunId("20260417-101500-4f2a9c")
TENANT = TenantId("8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21")


@dataclass
class Listing:
    """A channel that plans every device, and says of an old plan what it is told to say."""

    changed: dict[int, str]
    compared: list[int] = field(default_factory=list)
    name: ChannelName = ChannelName.PARTNER_CENTER

    def draft(self, devices: Sequence[Device], **_: object) -> PlanProposal:
        return PlanProposal(
            devices=tuple(planned(index, each) for index, each in enumerate(devices))
        )

    def changes(self, devices: Sequence[PlannedDevice], _remaining: object) -> dict[int, str]:
        self.compared += [each.index for each in devices]
        return self.changed


def planned(index: int, device: Device) -> PlannedDevice:
    target = Target(batch_id="B", device_id=f"d{index}")
    return PlannedDevice(
        index=index,
        device=device,
        customer=TENANT,
        outcome=Outcome.PENDING,
        target=target,
        found=Registration(target=target, serial_number=device.identity.serial_number),
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
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
        yield opened


def context(ledger: Ledger, channel: Listing, folder: Path, now: datetime) -> RunContext:
    executor = RequestExecutor(
        pace=AdaptiveRateLimiter(cold(monotonic())),
        policy=Policy(),
        stop=CancellationToken(),
        clock=lambda: 0.0,
        jitter=random.random,
        renew=lambda: None,
    )
    return RunContext(
        run=RUN,
        options=RunOptions(yes=True),
        ledger=ledger,
        channel=channel,  # type: ignore[arg-type]  # only what planning asks for
        executor=executor,
        guards=GuardSettings(),
        place=Place(channel=ChannelName.PARTNER_CENTER, address="https://a", login="https://l"),
        partner=lambda: None,
        sealed=SealedPlan(ledger, RUN),
        gate=lambda _: {},
        record=ledger.record,
        settled=lambda _index, _history: None,
        private_folder=folder,
        now=lambda: now,
        new_id=lambda: "id",
    )


def planner(channel: Listing) -> Planner:
    return channel  # type: ignore[return-value]  # only what planning asks for


def test_a_fresh_plan_is_not_compared(ledger: Ledger, tmp_path: Path) -> None:
    channel = Listing({0: "it changed"})
    planned_at = context(ledger, channel, tmp_path, AT)
    plan = make_plan(planned_at, planner(channel), ledger.run(RUN))

    refused = refuse_changed(
        context(ledger, channel, tmp_path, AT + PLAN_GOOD_FOR), planner(channel), plan, (), dict
    )

    assert (refused, channel.compared) == (0, [])


@pytest.mark.parametrize("age", [PLAN_GOOD_FOR + timedelta(seconds=1), -timedelta(seconds=1)])
def test_a_device_that_changed_since_an_old_plan_is_refused(
    ledger: Ledger, tmp_path: Path, age: timedelta
) -> None:
    """A plan from the future was made by a clock that is wrong, or is read by one."""
    channel = Listing({0: "it is registered under another id now"})
    planned_at = context(ledger, channel, tmp_path, AT)
    plan = make_plan(planned_at, planner(channel), ledger.run(RUN))

    refused = refuse_changed(
        context(ledger, channel, tmp_path, AT + age), planner(channel), plan, (), dict
    )

    first, second = ledger.devices(RUN)
    assert (refused, channel.compared) == (1, [0, 1])
    assert (first.history.outcome, first.history.rule) == (Outcome.REFUSED, "changed-since-plan")
    assert first.target == Target(batch_id="B", device_id="d0")
    assert second.history.outcome is Outcome.PENDING
