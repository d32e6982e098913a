"""A sandbox, a ledger on PostgreSQL, the program, and workers that are threads of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from partner_tools.cancellation import CancellationToken
from partner_tools.fleet.queue import Beat
from partner_tools.fleet.worker import SliceSize, WorkerOptions, work_until_stopped
from partner_tools.ledger import Ledger
from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.workspace.workspace import open_workspace
from tests.cli.program import Program, customer, program_for, world
from tests.postgresql import new_postgresql, postgresql_server

__all__ = ["new_postgresql", "postgresql_server"]

SERIALS = [f"S{number:05}" for number in range(240)]
VIA = ("--via", "partner-center", "--customer", "contoso.onmicrosoft.com")


def until(over: Callable[[], Any], seconds: float = 90.0) -> None:
    """Wait until it is over, with patience for a busy machine."""
    last = time.monotonic() + seconds
    while not over():
        assert time.monotonic() < last
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The program on a shared ledger, and the service that it works against."""

    program: Program
    sandbox: Sandbox
    ledger_url: str

    def as_login(self, url: str) -> Fleet:
        """The same fleet, for a login of the server."""
        environment = {**self.program.environment, "PARTNER_TOOLS_LEDGER": url}
        return Fleet(Program(self.program.folder, environment), self.sandbox, url)

    def submit(self, serials: list[str], *more: str) -> str:
        """Submit a batch of these serials; its run."""
        batch = self.program.serials(*serials)
        document = self.program.json("submit", batch, *VIA, "--yes", *more)
        run: str = document["run"]
        return run

    def state(self, run: str) -> dict[str, Any]:
        """The run as `runs` lists it."""
        listed = self.program.json("runs")["runs"]
        found: dict[str, Any] = next(each for each in listed if each["run"] == run)
        return found

    def wait_for(self, run: str, *states: str, seconds: float = 60.0) -> dict[str, Any]:
        """The run once it is in one of these states."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.state(run)
            if found["state"] in states:
                return found
            time.sleep(0.2)
        raise AssertionError(f"run {run} is {found}")

    @contextmanager
    def worker(self, *, least: int = 50, **duty: Any) -> Iterator[list[str]]:
        """A worker while the block lasts; what it tells."""
        stop, told = CancellationToken(), list[str]()
        thread = threading.Thread(target=self._work, args=(stop, told, least, duty))
        thread.start()
        try:
            yield told
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()

    def _work(
        self, stop: CancellationToken, told: list[str], least: int, duty: dict[str, Any]
    ) -> None:
        with open_workspace(environment=self.program.environment, cancellation=stop) as workspace:
            work_until_stopped(
                workspace,
                WorkerOptions(
                    **{"beat": Beat.within(3.0), **duty},
                    size=SliceSize(least=least, seconds=1.0),
                ),
                open_ledger=lambda: Ledger.open(self.ledger_url),
                health_at=("127.0.0.1", 0),
                notify=told.append,
            )


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """A sandbox with devices for all tests of a module, each of which takes its own."""
    devices = [
        {"serialNumber": serial, "manufacturer": "Contoso", "model": "X1"} for serial in SERIALS
    ]
    with Sandbox(seed_from(world(customer({"Estate": devices})))) as sandbox:
        yield sandbox


@pytest.fixture
def fleet(running: Sandbox, new_postgresql: Callable[[], str], tmp_path: Path) -> Iterator[Fleet]:
    """A fleet without runs and without workers."""
    url = new_postgresql()
    yield Fleet(program_for(running, tmp_path, PARTNER_TOOLS_LEDGER=url), running, url)


@pytest.fixture
def login(fleet: Fleet) -> Iterator[Callable[..., str]]:
    """Makes a login with a role, and gives its ledger URL; the server forgets it afterwards."""
    made: list[str] = []

    def make(role: str, *depots: str) -> str:
        name = f"login_{uuid4().hex[:12]}"
        with psycopg.connect(fleet.ledger_url) as connection:
            for statement in ("CREATE ROLE {0} LOGIN", "GRANT {1} TO {0}"):
                connection.execute(
                    sql.SQL(statement).format(
                        sql.Identifier(name), sql.Identifier(f"partner_tools_{role}")
                    )
                )
        made.append(name)
        if depots:
            bound = [f"--bind={name}={depot}" for depot in depots]
            assert fleet.program("ledger", "roles", *bound).exit_code == 0
        return fleet.ledger_url.replace("postgres:@", f"{name}:@")

    assert fleet.program("ledger", "roles").exit_code == 0
    yield make
    with psycopg.connect(fleet.ledger_url) as connection:
        for name in made:
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
