"""A worker that is a process of its own is asked to stop: what was begun is recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from partner_tools.ledger import Ledger
from tests.fleet.conftest import SERIALS, Fleet

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="nobody can be asked by SIGTERM")
def test_a_worker_that_is_asked_to_stop_gives_its_run_back(fleet: Fleet) -> None:
    run = fleet.submit(SERIALS[:200])
    process = subprocess.Popen(
        [sys.executable, "-m", "partner_tools", "worker"],
        env={**os.environ, **fleet.program.environment},
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60.0
        while not fleet.sandbox.log.of("delete-device") and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    sent = fleet.sandbox.log.of("delete-device")
    assert 0 < len(sent) < 200
    assert fleet.state(run)["state"] == "queued"
    with Ledger.open(fleet.ledger_url) as ledger:
        assert ledger.in_doubt() == 0
    with fleet.worker():
        assert fleet.wait_for(run, "finished")["counts"] == {"removed": 200}
    gone = [entry.serial for entry in fleet.sandbox.log.of("delete-device") if entry.status == 204]
    assert sorted(filter(None, gone)) == SERIALS[:200]
