"""What a fleet asks its ledger all day is answered by index: PostgreSQL counts what it scans.

The queue is not asked: its tables hold what waits, and nothing of the past.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from partner_tools.ledger import Ledger
from partner_tools.model import RunState
from tests.bench.fleet import acts, fill
from tests.fleet.conftest import until
from tests.postgresql import new_postgresql, postgresql_server

pytestmark = pytest.mark.slow

__all__ = ["new_postgresql", "postgresql_server"]

LARGE = frozenset({"devices", "events"})
GROWING = LARGE | {"runs", "run_customers", "plans"}


@pytest.fixture(scope="module")
def filled(new_postgresql: Callable[[], str]) -> str:
    """A ledger with four runs of a thousand devices."""
    url = new_postgresql()
    fill(url, 4_000)
    return url


def scanned(url: str, work: Callable[[], object]) -> set[str]:
    """The tables that are read from one end to the other while all this is done."""
    before = _scans(url)
    work()
    until(lambda: _is_alone(url))  # who has gone has told what it counted
    return {table for table, scans in _scans(url).items() if scans > before[table]}


def _scans(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT relname, seq_scan FROM pg_stat_user_tables").fetchall()
    return dict(rows)


def _is_alone(url: str) -> bool:
    with psycopg.connect(url) as connection:
        others = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
    return others == []


def ask_everything(url: str) -> None:
    """What submitters, workers and monitors do, and what people ask."""
    with Ledger.open(url) as ledger:
        for act in acts(ledger).values():
            act()
        ledger.runs(depot="old", limit=50)
        ledger.runs(state=RunState.QUEUED, limit=50)
        ledger.runs(customer="old", limit=50)
        ledger.runs(serial="OLD7", limit=50)
        assert len(ledger.trace("OLD7")) == 4


def test_what_is_large_is_never_read_to_its_end(filled: str) -> None:
    assert not LARGE & scanned(filled, lambda: ask_everything(filled))


def test_there_is_an_index_for_what_is_still_small(filled: str) -> None:
    """PostgreSQL reads a table of few rows as a whole, unless it is told to use an index."""
    with psycopg.connect(filled) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET enable_seqscan = off").format(name))
    assert not GROWING & scanned(filled, lambda: ask_everything(filled))


def test_a_question_without_an_index_is_found_out(filled: str) -> None:
    def ask() -> None:
        with psycopg.connect(filled) as connection:
            connection.execute("SELECT count(*) FROM events WHERE kind = 'answered'")

    assert scanned(filled, ask) == {"events"}
