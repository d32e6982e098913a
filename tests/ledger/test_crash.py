"""A process that is killed at any moment leaves a ledger that opens, verifies and goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from partner_tools.errors import LedgerError
from partner_tools.events import IN_DOUBT, Event, Kind, State
from partner_tools.ledger import Ledger, RunStart, sqlite_url
from partner_tools.model import Device, Identity, Outcome, RunId, RunState

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 4, 17, 10, 16, tzinfo=UTC)
DEVICES = 400
KILLS = 3

REMOVE = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from partner_tools.events import Event, Kind, State
from partner_tools.ledger import Ledger
from partner_tools.model import RunId

AT, RUN = datetime(2026, 4, 17, tzinfo=UTC), RunId(sys.argv[2])

def happened(kind, device, **payload):
    return Event(run=RUN, kind=kind, at=AT, device=device, payload=payload)

def remove(ledger, device):
    if device.history.state is State.NEW:
        ledger.record([happened(Kind.RESOLVED, device.index, outcome="pending", customer="c")])
    ledger.record([happened(Kind.INTENDED, device.index, requestId=str(device.index))])
    os.write(1, f"{device.index}\\n".encode())
    ledger.record([happened(Kind.ANSWERED, device.index, outcome="removed")])

with Ledger.open(sys.argv[1]) as ledger, ledger.hold(RUN):
    ledger.record([Event(run=RUN, kind=Kind.STARTED, at=AT, payload={})])
    ready = list(ledger.devices(RUN, states={State.NEW, State.READY}))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda device: remove(ledger, device), ready))
    ledger.record([Event(run=RUN, kind=Kind.FINISHED, at=AT, payload={})])
"""


def happened(kind: Kind, device: int, run: RunId, **payload: object) -> Event:
    return Event(run=run, kind=kind, at=AT, device=device, payload=payload)


def removing(url: str, run: RunId) -> subprocess.Popen[str]:
    """A process that removes what is left of the run, and says what it is about to send."""
    return subprocess.Popen(
        [sys.executable, "-c", REMOVE, url, run], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def killed_after(process: subprocess.Popen[str], sent: int) -> set[int]:
    """Kill the process once it has sent so much, and say what it had sent by then."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(sent)]
    process.kill()
    lines += process.stdout.readlines()
    process.stdout.close()
    process.wait()
    return {int(line) for line in lines if line.endswith("\n")}


def await_end_of_hold(ledger: Ledger, run: RunId) -> None:
    """PostgreSQL notices after a moment that a process was killed."""
    bound = time.monotonic() + 60
    while ledger.is_held(run):
        assert time.monotonic() < bound
        time.sleep(0.01)


def settle(ledger: Ledger, run: RunId) -> None:
    """What `resume` does with devices in doubt, in short: it looks."""
    for device in list(ledger.devices(run, states=IN_DOUBT)):
        ledger.record([happened(Kind.RECALLED, device.index, run, present=False)])


def test_a_process_killed_while_it_writes_loses_nothing_and_is_followed(
    ledger_url: str, start: RunStart
) -> None:
    with Ledger.open(ledger_url) as ledger:
        ledger.create_run(
            start, [Device(row=n, identity=Identity(serial_number=f"S{n}")) for n in range(DEVICES)]
        )
    sent: set[int] = set()
    for kill in range(KILLS):
        sent |= killed_after(removing(ledger_url, start.run), 3 + 17 * kill)
        with Ledger.open(ledger_url) as ledger:
            await_end_of_hold(ledger, start.run)
            assert ledger.run(start.run).state is RunState.INTERRUPTED
            assert ledger.verify() == []
            states = {device.index: device.history.state for device in ledger.devices(start.run)}
            without_intent = {State.NEW, State.READY}
            assert not [index for index in sent if states[index] in without_intent]
            settle(ledger, start.run)
    process = removing(ledger_url, start.run)
    last, _ = process.communicate()
    assert process.returncode == 0
    assert not sent & {int(line) for line in last.split()}
    with Ledger.open(ledger_url) as ledger:
        run = ledger.run(start.run)
        assert run.state is RunState.FINISHED
        assert set(run.counts) <= {Outcome.REMOVED, Outcome.ABSENT}
        assert sum(run.counts.values()) == DEVICES
        assert ledger.verify() == []


def test_a_run_is_executed_by_one_process(ledger: Ledger, ledger_url: str, start: RunStart) -> None:
    many = 20 * DEVICES  # it is not to end before it is killed
    ledger.create_run(start, [Device(row=n, identity=Identity()) for n in range(many)])
    process = removing(ledger_url, start.run)
    assert process.stdout is not None
    process.stdout.readline()
    assert ledger.is_held(start.run)
    assert ledger.run(start.run).state is RunState.RUNNING
    with pytest.raises(LedgerError, match="another process"), ledger.hold(start.run):
        pass
    killed_after(process, 0)
    await_end_of_hold(ledger, start.run)
    with ledger.hold(start.run):
        assert ledger.is_held(start.run)


def test_two_processes_write_two_runs_of_one_ledger(
    ledger: Ledger, ledger_url: str, start: RunStart
) -> None:
    runs = [RunId(f"20260417-10153{n}-00000{n}") for n in range(2)]
    for run in runs:
        ledger.create_run(
            replace(start, run=run), [Device(row=n, identity=Identity()) for n in range(60)]
        )
    processes = [removing(ledger_url, run) for run in runs]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert [ledger.run(run).counts for run in runs] == [{Outcome.REMOVED: 60}] * 2
    assert ledger.verify() == []


CREATE = """
import sys
from datetime import UTC, datetime
from partner_tools.ledger import Ledger, RunStart, new_run_id
from partner_tools.model import ChannelName, Device, Identity

AT = datetime(2026, 4, 17, tzinfo=UTC)
with Ledger.open(sys.argv[1]) as ledger:
    for number in range(1000):
        print(number, flush=True)
        ledger.create_run(
            RunStart(
                run=new_run_id(AT, number.to_bytes(3, "big")),
                channel=ChannelName.OEM_DIRECT, batch_id="b", batch_digest="d", file="f", at=AT,
            ),
            (Device(row=n, identity=Identity(serial_number=f"S{n}")) for n in range(3000)),
        )
"""


def test_a_run_begins_whole_or_not_at_all(ledger_url: str) -> None:
    Ledger.open(ledger_url).close()
    process = subprocess.Popen(
        [sys.executable, "-c", CREATE, ledger_url], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    time.sleep(0.05)
    killed_after(process, 0)
    with Ledger.open(ledger_url) as ledger:
        runs = ledger.runs()
        assert len(runs) >= 1
        assert {run.devices for run in runs} == {3000}
        assert ledger.verify() == []


def test_a_run_is_held_by_whichever_path_the_ledger_is_opened(
    tmp_path: Path, start: RunStart
) -> None:
    """The lock is the file's: a link to it, or to its folder, gives no second one."""
    folder = tmp_path / "real"
    path = folder / "ledger.db"
    with Ledger.open(sqlite_url(path)) as ledger:
        ledger.create_run(start, ())
        (tmp_path / "linked").symlink_to(folder, target_is_directory=True)
        (tmp_path / "link.db").symlink_to(path)
        with ledger.hold(start.run):
            for other in (tmp_path / "linked" / "ledger.db", tmp_path / "link.db"):
                with (
                    Ledger.open(sqlite_url(other)) as second,
                    pytest.raises(LedgerError, match="another process") as raised,
                    second.hold(start.run),
                ):
                    pass
                assert raised.value.rule == "run-held"
    (tmp_path / "hard.db").hardlink_to(path)
    with pytest.raises(LedgerError, match="hard links"):
        Ledger.open(sqlite_url(tmp_path / "hard.db"))


def test_a_process_too_late_for_a_run_gets_a_clear_message(tmp_path: Path, start: RunStart) -> None:
    """What the other has recorded meanwhile lets this event not follow: exit 6, no traceback."""
    with Ledger.open(sqlite_url(tmp_path / "ledger.db")) as ledger:
        ledger.create_run(start, ())
        late = Event(run=start.run, kind=Kind.INTENDED, at=start.at, device=0, payload={})
        with pytest.raises(LedgerError) as raised:
            ledger.record([late])
    assert (raised.value.exit_code, raised.value.rule) == (6, "ledger-contradiction")
    assert raised.value.remedy
