"""Whatever is wrong with a database is one sentence and a remedy; the database is left alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from partner_tools.errors import InputError, LedgerError
from partner_tools.ledger import Ledger, RunStart, sqlite_url
from partner_tools.ledger.database import _write_ahead
from partner_tools.ledger.tables import MIGRATIONS, VERSION_TABLE, metadata, newest_version
from partner_tools.model import Device
from tests.postgresql import new_database

NEXT_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("runs", sa.Column("station", sa.Text))
    {after}
"""

posix_only = pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX")


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def next_version(folder: Path, after: str = "") -> Path:
    """The migrations of a program that is one version newer."""
    shutil.copytree(MIGRATIONS, folder)
    (folder / "versions" / "r9999_depots.py").write_text(
        NEXT_REVISION.format(after=after), encoding="utf-8"
    )
    return folder


def tables_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return repr(connection.execute("SELECT name, sql FROM sqlite_master ORDER BY 1").fetchall())


def test_names_of_modules_and_revisions_agree() -> None:
    assert newest_version(MIGRATIONS) == "0004"


@posix_only
def test_a_new_ledger_is_for_this_user_alone(file_url: str, start: RunStart) -> None:
    path = path_of(file_url)
    with Ledger.open(file_url) as ledger:
        ledger.create_run(start, ())
        with ledger.hold(start.run):
            modes = {
                each.relative_to(path.parent.parent).as_posix(): each.stat().st_mode & 0o777
                for each in path.parent.parent.rglob("*")
            }
    assert modes == {
        "private": 0o700,
        "private/ledger.db": 0o600,
        "private/ledger.db-wal": 0o600,
        "private/ledger.db-shm": 0o600,
        "private/ledger.db.locks": 0o700,
        f"private/ledger.db.locks/{start.run}.lock": 0o600,
    }


@posix_only
def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o750)  # past the umask
    Ledger.open(sqlite_url(folder / "ledger.db")).close()
    assert folder.stat().st_mode & 0o777 == 0o750


def test_a_write_ahead_log_is_synchronized_in_full(file_url: str) -> None:
    with Ledger.open(file_url) as ledger, ledger._database.write() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


@pytest.mark.parametrize("name", ["100%20of it.db", "Rück läufer#1.db", "a b;c'd\".db"])
@pytest.mark.skipif(os.name == "nt", reason="such names do not exist there")
def test_any_path_can_hold_a_ledger(tmp_path: Path, name: str, start: RunStart) -> None:
    path = tmp_path / name
    with Ledger.open(sqlite_url(path)) as ledger:
        ledger.create_run(start, ())
        assert ledger.folder == tmp_path
    assert path.exists()


def test_a_ledger_is_opened_again_as_it_was(new_url: str, start: RunStart) -> None:
    with Ledger.open(new_url) as ledger:
        ledger.create_run(start, ())
        head = ledger.head()
    with Ledger.open(new_url) as ledger:
        assert ledger.verify(head) == []


def six_at_once(deed: Callable[[], None]) -> None:
    threads = [threading.Thread(target=deed) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.slow
def test_many_may_switch_a_new_file_to_the_write_ahead_log_at_once(tmp_path: Path) -> None:
    """SQLite itself tells one in a hundred that the file is locked, without waiting."""
    failures: list[Exception] = []

    def switch(path: Path) -> None:
        with closing(sqlite3.connect(path, timeout=10, check_same_thread=False)) as connection:
            try:
                _write_ahead(connection, 10)
            except sqlite3.Error as error:
                failures.append(error)

    for number in range(100):
        six_at_once(partial(switch, tmp_path / f"{number}.db"))
    assert failures == []


def test_many_may_open_a_new_ledger_at_once(new_url: str) -> None:
    failures: list[Exception] = []

    def open_it() -> None:
        try:
            Ledger.open(new_url).close()
        except LedgerError as error:
            failures.append(error)

    six_at_once(open_it)
    assert failures == []


def test_threads_may_open_new_ledgers_of_their_own_at_once(tmp_path: Path) -> None:
    """Alembic's context is one for the whole process."""
    made: list[Path] = []

    def open_it(path: Path) -> None:
        Ledger.open(sqlite_url(path)).close()
        made.append(path)

    threads = [
        threading.Thread(target=open_it, args=(tmp_path / f"{number}.db",)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tables_of(path) for path in made}) == 1
    assert len(made) == len(threads)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///x.db?mode=ro",
        "mysql://user:pa55word@host/db",
        "postgresql+asyncpg://user:pa55word@host/db",
        "no-such-thing://x",
    ],
)
def test_an_address_that_is_no_ledgers_is_an_input_error(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Ledger.open(url)
    assert caught.value.exit_code == 3
    assert "PARTNER_TOOLS_LEDGER" in caught.value.remedy
    assert "pa55word" not in str(caught.value)


def test_a_server_out_of_reach_is_said_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(LedgerError) as caught:
        Ledger.open("postgresql://depot:pa55word@127.0.0.1:1/ledger")
    assert caught.value.rule == "ledger-unreachable"
    assert "pa55word" not in f"{caught.value} {caught.value.remedy}"


@pytest.mark.parametrize("content", [b"no database at all, but long enough" * 99, b"\0" * 8192])
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    file_url: str, content: bytes
) -> None:
    path = path_of(file_url)
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(file_url)
    assert (caught.value.exit_code, caught.value.rule) == (6, "ledger-damaged")
    assert path.read_bytes() == content


def test_another_programs_database_is_refused_and_left_alone(file_url: str) -> None:
    path = path_of(file_url)
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    before = tables_of(path)
    with pytest.raises(LedgerError, match="bookmarks") as caught:
        Ledger.open(file_url)
    assert caught.value.rule == "ledger-foreign"
    assert tables_of(path) == before


def test_a_ledger_with_torn_pages_is_said_to_be_damaged(file_url: str, start: RunStart) -> None:
    with Ledger.open(file_url) as ledger:
        ledger.create_run(start, ())
    path = path_of(file_url)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(LedgerError) as caught, Ledger.open(file_url) as ledger:
        ledger.runs()
    assert caught.value.rule == "ledger-damaged"
    assert caught.value.remedy


@pytest.mark.parametrize("table", [*metadata.tables, VERSION_TABLE])
def test_a_ledger_without_one_of_its_tables_is_said_to_be_damaged(
    file_url: str, start: RunStart, batch: tuple[Device, ...], table: str
) -> None:
    with Ledger.open(file_url) as ledger:
        ledger.create_run(start, batch)
    with closing(sqlite3.connect(path_of(file_url))) as connection:
        connection.execute(f"DROP TABLE {table}")
    before = tables_of(path_of(file_url))

    with pytest.raises(LedgerError, match="a part of its tables is missing") as caught:
        Ledger.open(file_url)

    assert (caught.value.exit_code, caught.value.rule) == (6, "ledger-damaged")
    assert table in str(caught.value)
    assert "backup" in caught.value.remedy
    assert tables_of(path_of(file_url)) == before


def test_a_table_that_goes_away_meanwhile_is_damage_too(new_url: str, start: RunStart) -> None:
    with Ledger.open(new_url) as ledger, pytest.raises(LedgerError) as caught:
        with ledger._database.write() as connection:
            connection.exec_driver_sql("DROP TABLE rates")
        ledger.remembered_rate("service", "scope")
    assert (caught.value.exit_code, caught.value.rule) == (6, "ledger-damaged")


def test_a_locked_ledger_is_said_to_be_locked(file_url: str, start: RunStart) -> None:
    Ledger.open(file_url).close()
    with closing(sqlite3.connect(path_of(file_url), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with Ledger.open(file_url, patience=0.1) as ledger:
            assert ledger.runs() == []
            with pytest.raises(LedgerError) as caught:
                ledger.create_run(start, ())
        other.execute("ROLLBACK")
    assert caught.value.rule == "ledger-locked"
    assert "another process" in str(caught.value)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_keep_every_text_is_refused(
    postgresql_server: str, encoding: str
) -> None:
    """A cluster made without a locale is SQL_ASCII; a run would end at the first foreign serial."""
    import psycopg

    name = f"t{uuid4().hex}"
    url = new_database(
        postgresql_server, name, f"ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
    )
    with pytest.raises(LedgerError, match=encoding) as refused:
        Ledger.open(url)
    assert "createdb --encoding=UTF8" in refused.value.remedy
    with psycopg.connect(url) as connection:
        made = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
    assert made.rowcount == 0


def test_the_encoding_of_the_surroundings_changes_nothing(
    new_postgresql: Callable[[], str], start: RunStart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with Ledger.open(new_postgresql()) as ledger:
        ledger.create_run(replace(start, batch_id="\u65e5\u672c"), ())
        assert ledger.run(start.run).batch_id == "\u65e5\u672c"
        assert "client_encoding=utf8" in (ledger.conninfo or "")


def test_a_locked_row_of_postgresql_is_said_to_be_locked(
    postgresql_ledger: str, start: RunStart
) -> None:
    import psycopg

    with Ledger.open(postgresql_ledger, patience=0.1) as ledger:
        with psycopg.connect(postgresql_ledger) as other:
            other.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
            with pytest.raises(LedgerError) as caught:
                ledger.create_run(start, ())
        assert caught.value.rule == "ledger-locked"


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder that a process without privileges can reach."""
    folder = Path(tempfile.mkdtemp(prefix="ledger"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


OPEN_IT = """
import os, sys
from partner_tools.errors import LedgerError
from partner_tools.ledger import Ledger
Ledger.open(sys.argv[2]).close()  # whatever is imported late is imported now
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Ledger.open(sys.argv[1])
except LedgerError as error:
    print(error.rule)
"""


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("new", [False, True])
def test_a_read_only_ledger_is_said_to_be_read_only(
    unprivileged_folder: Path, tmp_path: Path, new: bool
) -> None:
    path = unprivileged_folder / "ledger.db"
    if not new:
        Ledger.open(sqlite_url(path)).close()
        path.chmod(0o444)
    unprivileged_folder.chmod(0o555)
    told = subprocess.run(
        [sys.executable, "-c", OPEN_IT, sqlite_url(path), sqlite_url(tmp_path / "other.db")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    unprivileged_folder.chmod(0o755)
    assert told.stdout.split() == ["ledger-read-only"]


def test_an_older_ledger_is_copied_and_brought_up_to_date(
    file_url: str, tmp_path: Path, start: RunStart
) -> None:
    with Ledger.open(file_url) as ledger:
        ledger.create_run(start, ())
        head = ledger.head()
    newer = next_version(tmp_path / "newer")
    with Ledger.open(file_url, migrations=newer) as ledger:
        assert ledger.verify(head) == []
    path = path_of(file_url)
    copy = path.with_name("ledger.db.version-0004.1.bak")
    assert "station" in tables_of(path)
    assert "station" not in tables_of(copy)
    if os.name != "nt":
        assert copy.stat().st_mode & 0o777 == 0o600
    with Ledger.open(sqlite_url(copy)) as ledger:
        assert ledger.verify(head) == []


def test_a_failed_migration_leaves_the_older_ledger(
    new_url: str, tmp_path: Path, start: RunStart
) -> None:
    with Ledger.open(new_url) as ledger:
        ledger.create_run(start, ())
        head = ledger.head()
    newer = next_version(tmp_path / "newer", after='op.execute("SELECT * FROM nothing")')
    with pytest.raises(LedgerError):
        Ledger.open(new_url, migrations=newer)
    with Ledger.open(new_url) as ledger:
        assert ledger.verify(head) == []


def test_a_newer_ledger_is_refused_and_left_alone(new_url: str, tmp_path: Path) -> None:
    newer = next_version(tmp_path / "newer")
    Ledger.open(new_url, migrations=newer).close()
    with pytest.raises(LedgerError) as caught:
        Ledger.open(new_url)
    assert (caught.value.exit_code, caught.value.rule) == (6, "ledger-newer")
    assert "update partner-tools" in caught.value.remedy
    Ledger.open(new_url, migrations=newer).close()


def test_the_migrations_make_the_tables_that_the_program_uses(new_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from partner_tools.ledger.migrate import metadata
    from partner_tools.ledger.tables import VERSION_TABLE

    with Ledger.open(new_url) as ledger, ledger._database.read() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_the_program_leaves_logging_alone(file_url: str) -> None:
    import logging

    before = (list(logging.root.handlers), logging.root.level, logging.root.manager.disable)
    Ledger.open(file_url).close()
    assert (list(logging.root.handlers), logging.root.level, logging.root.manager.disable) == before
