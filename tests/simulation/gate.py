"""Interleaves changes of guards, doubts, kills and resumes, and judges every request that leaves.

`python -m tests.simulation.gate --steps 100000 --seed 1` ends with 0 where no request left that the
gate would have refused at that moment.

What is real: the ledger on SQLite, the life of a run from its plan to its end, the gate, the engine
and the channel. What is made up: the service, which also lies and loses answers, the clock, and the
process, which ends at any request and at any write, before or after it. Between two processes the
rows of the ledger are edited, and other devices are registered under the ids of the plan.

The judge knows the plan as it was sealed, the hold list as it is now and what is registered in
truth; it shares no code with the gate. A step is a request, a write, or a change of something.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from partner_tools.channels.partner_center import PartnerCenterChannel
from partner_tools.clients.partner_center import PartnerCenter
from partner_tools.clients.transport import Reply, Request
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.errors import PartnerToolsError
from partner_tools.events import Event, Kind, State
from partner_tools.ledger import Ledger, new_run_id, sqlite_url
from partner_tools.model import (
    Account,
    Batch,
    ChannelName,
    Device,
    Identity,
    RunState,
    Snapshot,
)
from partner_tools.pacing import Policy
from partner_tools.place import Place
from partner_tools.runs.checks import plan_gate
from partner_tools.runs.context import GuardSettings, RunContext, RunOptions, SealedPlan
from partner_tools.runs.removal import RemovalSteps
from partner_tools.runs.run import begin, carry_out
from tests.simulation.evidence import BASE, START, Pace, Service, Stop, Tenant

MOST_PROCESSES = 10
UNSETTLED = frozenset(State) - {State.SETTLED, State.NEW}
STALE_AFTER = timedelta(minutes=10)
"""An older plan is compared with the service as a whole, a newer one as far as it is in doubt."""


class Killed(BaseException):
    """The process is gone, as by a power cut: nothing of it is recorded any more."""


@dataclass(slots=True)
class Score:
    """What came of it."""

    steps: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class World:
    """One customer, one run, its guards, and whoever interferes."""

    def __init__(self, chance: random.Random, score: Score, ledger: Ledger, folder: Path) -> None:
        self.chance, self.score, self.ledger, self.folder = chance, score, ledger, folder
        number = chance.getrandbits(48)
        self.tenant = Tenant(f"00000000-0000-4000-8000-{number:012x}", _batches(chance, number))
        self.serials = [
            each["serialNumber"]
            for batch in self.tenant.batches.values()
            for each in batch.values()
        ]
        self.held: set[str] = set()
        self.now = START
        self.run = new_run_id(START + timedelta(seconds=number % 10**8), chance.randbytes(3))
        self.service = JudgedService(self)
        self.alive = True

    def step(self, what: str, *, may_change: bool = True) -> None:
        """Count a step; the hold list may change at it, and the process may end."""
        self.score.steps[what] += 1
        if may_change and self.chance.random() < 0.05:
            self.score.steps["hold list changed"] += 1
            serial = self.chance.choice(self.serials)
            self.held ^= {self.chance.choice((str.lower, str.upper, " {} ".format))(serial)}
        if self.chance.random() < 0.02:
            self.score.steps["killed"] += 1
            self.alive = False
        if not self.alive:
            raise Killed

    def live(self) -> None:
        """Begin the run, and resume it until it is over."""
        for process in range(MOST_PROCESSES):
            self.alive = True
            self.now += timedelta(minutes=self.chance.uniform(0, 8))
            try:
                context, channel = self._process()
                if process == 0:
                    begin(context, self._batch(), Account())
                carry_out(RemovalSteps(context=context, planner=channel))
            except (Killed, PartnerToolsError):
                if not self.ledger.runs(batch_id=self.run):
                    return  # it was killed before it existed
            if self.ledger.run(self.run).state in (RunState.FINISHED, RunState.CANCELLED):
                break
            self._interfere()
        self.score.refused.update(
            each.history.rule or "" for each in self.ledger.devices(self.run) if each.history.rule
        )

    def _process(self) -> tuple[RunContext, PartnerCenterChannel]:
        stop = Stop()
        executor = RequestExecutor(
            pace=Pace(),
            policy=Policy(),
            stop=stop,
            clock=stop.clock,
            jitter=self.chance.random,
            renew=lambda: None,
        )

        def now() -> datetime:
            return self.now + timedelta(seconds=stop.seconds)

        client = PartnerCenter(self.service, ids=self._id, correlation_id="c")
        channel = PartnerCenterChannel(client=client, executor=executor, now=now, concurrency=1)
        place = Place(channel=ChannelName.PARTNER_CENTER, address=BASE, login=BASE)
        sealed = SealedPlan(self.ledger, self.run)
        context = RunContext(
            run=self.run,
            options=RunOptions(yes=True, settle=0.0, snapshot=Snapshot.NONE),
            ledger=self.ledger,
            channel=channel,
            executor=executor,
            guards=GuardSettings(held=lambda: frozenset(self.held), min_found_share=0.0),
            place=place,
            partner=lambda: None,
            sealed=sealed,
            gate=plan_gate(sealed, lambda: frozenset(self.held)),
            record=self._record,
            settled=lambda _index, _history: None,
            private_folder=self.folder,
            now=now,
            new_id=self._id,
            concurrency=1,
        )
        return context, channel

    def _record(self, events: Sequence[Event]) -> None:
        """Make events durable, in a process that ends before or after any write."""
        # Nothing changes between the gate's answer and the request: no client could see that.
        is_intent = any(event.kind is Kind.INTENDED for event in events)
        self.step("write", may_change=not is_intent)
        self.ledger.record(events)
        self.step("written", may_change=not is_intent)

    def _id(self) -> str:
        return f"{self.chance.getrandbits(128):032x}"

    def _batch(self) -> Batch:
        named = self.chance.sample(self.serials, k=self.chance.randint(3, 12))
        rows = (
            Device(row=row, identity=Identity(serial_number=each))
            for row, each in enumerate(named, 2)
        )
        return Batch(
            batch_id=self.run,
            file="batch.csv",
            digest=f"sha256:{'0' * 64}",
            devices=tuple(rows),
            channel=ChannelName.PARTNER_CENTER,
            customer=self.tenant.tenant_id,
        )

    def _interfere(self) -> None:
        """Register other devices in the place of some, and edit rows of the ledger."""
        planned, text = self.sealed(), self.ledger.plan(self.run)
        is_old = text is not None and self.now - _created(text) > STALE_AFTER
        for each in self.ledger.devices(self.run, states=UNSETTLED):
            place = (each.target.batch_id, each.target.device_id) if each.target else ("", "")
            there = self.tenant.batches.get(place[0], {})
            looked_at = is_old or each.history.in_doubt
            if looked_at and place in planned and place[1] in there and self.chance.random() < 0.5:
                self.score.steps["another device registered"] += 1
                there[place[1]] = {**there[place[1]], "serialNumber": f"other-{place[1]}"}
        if self.tenant.lagging:  # a replica lags by seconds, and minutes have passed
            self.tenant.lagging = self.tenant.copy()
        if planned and self.chance.random() < 0.3:
            self.score.steps["row edited"] += 1
            place = self.chance.choice(
                [(name, id_) for name, batch in self.tenant.batches.items() for id_ in batch]
            )
            target = json.dumps({"batchId": place[0], "deviceId": place[1]})
            index = self.chance.randrange(len(planned))
            with closing(sqlite3.connect(self.folder / "ledger.db")) as raw, raw:
                raw.execute(
                    "UPDATE devices SET target = ? WHERE run = ? AND idx = ?",
                    [target, self.run, index],
                )

    def sealed(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The removals of the plan that the first process stored, by batch and id."""
        text = self.ledger.plan(self.run)
        rows = json.loads(text)["devices"] if text else []
        return {
            (row["target"]["batchId"], row["target"]["deviceId"]): row
            for row in rows
            if row["outcome"] == "pending"
        }


class JudgedService(Service):
    """Judges every DELETE before it answers as the service does."""

    def __init__(self, world: World) -> None:
        super().__init__(world.chance, [world.tenant], rate=world.chance.choice((0.0, 0.1, 0.3)))
        self.world = world

    def send(self, request: Request) -> Reply:
        if request.method == "DELETE":
            self._judge([unquote(part) for part in request.url.split("/")[3:]])
        reply = super().send(request)
        self.world.step("request")
        return reply

    def _judge(self, parts: Sequence[str]) -> None:
        tenant, batch, device_id = parts[0], parts[2], parts[4]
        row = self.world.sealed().get((batch, device_id))
        registered = self.world.tenant.batches.get(batch, {}).get(device_id)
        held = {each.strip().casefold() for each in self.world.held}
        self.world.score.removed += 1
        why = None
        if row is None or tenant != row["customer"]:
            why = "not in the plan"
        elif row["serialNumber"].casefold() in held:
            why = "held"
        elif registered and registered["serialNumber"] != row["serialNumber"]:
            why = "another device"
        if why:
            self.world.score.wrong.append(f"{self.world.run} {batch} {device_id}: {why}")


def _batches(chance: random.Random, number: int) -> dict[str, dict[str, dict[str, Any]]]:
    batches: dict[str, dict[str, dict[str, Any]]] = {}
    for position in range(chance.randint(12, 40)):
        device_id = f"{chance.getrandbits(64):016x}"
        batches.setdefault(f"B{chance.randint(0, 2)}", {})[device_id] = {
            "id": device_id,
            "serialNumber": f"S{number:x}-{position}",
            "modelName": "M1",
        }
    return batches


def _created(plan: str) -> datetime:
    return datetime.fromisoformat(json.loads(plan)["createdAt"])


def simulate(
    steps: int, seed: int, folder: Path, tell: Callable[[str], None] = lambda _: None
) -> Score:
    """Let run after run live until so many steps were taken."""
    score, chance = Score(), random.Random(seed)  # noqa: S311 - a simulation
    with Ledger.open(sqlite_url(folder / "ledger.db")) as ledger:
        told = 0
        while score.steps.total() < steps:
            World(chance, score, ledger, folder).live()
            if score.steps.total() - told > 10_000:
                told = score.steps.total()
                tell(f"{told} steps")
    return score


def main() -> int:
    """Simulate as many steps as asked for, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        score = simulate(asked.steps, asked.seed, Path(folder), print)
    print(f"{score.steps.total()} steps, {score.removed} requests to remove")
    for title, counts in (("steps", score.steps), ("refused by", score.refused)):
        print(
            title, *(f"{number:>8} {name}" for name, number in sorted(counts.items())), sep="\n  "
        )
    print(
        f"requests that the gate would have refused: {len(score.wrong)}",
        *score.wrong[:5],
        sep="\n  ",
    )
    return 1 if score.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
