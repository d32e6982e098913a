"""Real databases: a SQLite file of each test's own, and a PostgreSQL server of the session's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from partner_tools.ledger import Ledger, RunStart, sqlite_url
from partner_tools.model import ChannelName, Device, Identity, Reason, RunId
from tests.postgresql import DATABASES, new_postgresql, postgresql_server

__all__ = ["new_postgresql", "postgresql_server"]


def _empty(url: str) -> None:
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE runs, plans, run_customers, devices, events, rates, paces")


@pytest.fixture(scope="session")
def postgresql_ledger(new_postgresql: Callable[[], str]) -> str:
    """The URL of a database with the tables of a ledger, to be emptied: that is quick."""
    url = new_postgresql()
    Ledger.open(url).close()
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the tables of a ledger, to be copied: that is quick."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    Ledger.open(sqlite_url(path)).close()
    return path


@pytest.fixture(params=DATABASES)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a ledger without runs is, once for each database."""
    if request.param == "sqlite":
        copy = tmp_path / "ledger.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), copy)
        return sqlite_url(copy)
    url: str = request.getfixturevalue("postgresql_ledger")
    _empty(url)
    return url


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where nothing is yet, once for each database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "private" / "ledger.db")
    url: str = request.getfixturevalue("new_postgresql")()
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger without runs, once for each database."""
    with Ledger.open(ledger_url) as opened:
        yield opened


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """Where no SQLite file is yet, for what concerns files."""
    return sqlite_url(tmp_path / "private" / "ledger.db")


@pytest.fixture(scope="session")
def start() -> RunStart:
    """A run that begins."""
    return RunStart(
        run=RunId("20260417-101530-4f2a9c"),
        channel=ChannelName.PARTNER_CENTER,
        batch_id="RMA-2026-0417",
        batch_digest=f"sha256:{'ab' * 32}",
        file="Rückläufer 17.csv",
        at=datetime(2026, 4, 17, 10, 15, 30, tzinfo=UTC),
        reason=Reason.REPAIR,
        reference="TICKET-88",
        customer="contoso.onmicrosoft.com",
        actor="depot@station-4",
        settings={"yes": True, "settle": 30},
    )


@pytest.fixture(scope="session")
def batch() -> tuple[Device, ...]:
    """Three devices, named in three ways."""
    return (
        Device(row=2, identity=Identity(serial_number="PF3XK9A1")),
        Device(
            row=3,
            identity=Identity(
                serial_number="5CG1234Ü\0",
                manufacturer="HP",
                model="EliteBook 840",
                hardware_hash="T0" * 2000,
            ),
            customer="contoso.onmicrosoft.com",
            reference="RMA 3",
            replacement=Identity(serial_number="NEW-3", hardware_hash="T1" * 2000),
            extra=(("Shelf", "B 7"), ("Shelf", "=1+1")),
        ),
        Device(row=4, identity=Identity(product_key_id="0123456789012")),
    )
