"""Opens the database, says what a transaction promises, and explains what fails.

A failure becomes one sentence and a remedy, never a library's traceback. Statements that run for
every event are compiled once and run on the driver's own cursor.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.sql.expression import ClauseElement

from partner_tools.errors import InputError, LedgerError
from partner_tools.files import make_private_folder
from partner_tools.strict_json import read_toml

LOCKED_RULE = "ledger-locked"

_MISSING_IN_SQLITE = ("no such table", "no such column")
"""SQLite has one code for these and for what is wrong with a statement."""


@contextmanager
def explained(place: str, driver: type[Exception] = sqlite3.Error) -> Iterator[None]:
    """Turn whatever SQLAlchemy or the driver raises within into a LedgerError about `place`."""
    try:
        yield
    except (SQLAlchemyError, driver) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        raise failure(_name_of(cause), place, " ".join(str(cause).split())) from error


def failure(name: str, place: str, said: str) -> LedgerError:
    """What happened to the ledger at `place`, by its name in `failures.toml`."""
    meaning = failures()[name]
    return LedgerError(
        f"the ledger {place} {meaning['what']} ({said})",
        remedy=meaning["remedy"],
        rule=meaning["rule"],
    )


@cache
def failures() -> Mapping[str, Mapping[str, Any]]:
    """What the databases' errors mean, by name; read when the first one occurs."""
    return read_toml(Path(__file__).with_name("failures.toml").read_text(encoding="utf-8"))


def _name_of(cause: BaseException) -> str:
    """The name of what a driver reports."""
    if isinstance(cause, sqlite3.Error):
        if str(cause).startswith(_MISSING_IN_SQLITE):
            return "incomplete"
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # without details
        for name, meaning in failures().items():
            if code in (getattr(sqlite3, each) for each in meaning.get("sqlite", ())):
                return name
        return "other"
    state = getattr(cause, "sqlstate", None)
    if not state:
        return "unreachable" if type(cause).__name__ == "OperationalError" else "other"
    states = {each: name for name, one in failures().items() for each in one.get("sqlstate", ())}
    return states.get(state) or states.get(state[:2], "other")


Row = Mapping[str, Any]


class Prepared:
    """One statement for one dialect. Its parameters are texts, integers and None."""

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._bound = _binder(compiled.positiontup)

    def rows(self, connection: Connection, parameters: Row) -> Sequence[tuple[Any, ...]]:
        """Run it and fetch everything, within the connection's transaction."""
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self._sql, self._bound(parameters))
            return cursor.fetchall()
        finally:
            cursor.close()

    def run(self, connection: Connection, parameters: Sequence[Row]) -> None:
        """Run it once for each of the parameters, within the connection's transaction."""
        if not parameters:
            return
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(self._sql, [self._bound(each) for each in parameters])
        finally:
            cursor.close()


def _binder(order: Sequence[str] | None) -> Callable[[Row], Any]:
    """How the driver wants its parameters: by name as they are, or in their order."""
    if order is None:
        return lambda parameters: parameters
    if len(order) == 1:
        return lambda parameters: (parameters[order[0]],)
    return itemgetter(*order)


_SQLITE = re.compile(r"sqlite(\+pysqlite)?:///(?P<path>[^?]+)", re.DOTALL)
_CHECKPOINT_PAGES = 4000
SWITCH_SECONDS = 0.01
"""Between two attempts to switch to the write-ahead log."""
_LOCK_CLASS = 0x7061727  # marks advisory locks of this program in a shared database


def _shown(url: URL) -> str:
    """The address without its password, which libpq also takes from the query."""
    hidden = {name: "***" for name in url.query if name.lower().endswith("password")}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite ledger at this path."""
    return f"sqlite:///{path}"


class Database:
    """An opened database. Every error of its library comes out as a LedgerError."""

    def __init__(self, url: URL, *, patience: float) -> None:
        self.url = url
        self.path = Path(url.database).absolute() if _is_sqlite(url) and url.database else None
        self.place = str(self.path or _shown(url))
        self.held: set[str] = set()
        self._turn = threading.Lock()
        self._writing: Connection | None = None
        self._aside_turn = threading.Lock()
        self._beside: Connection | None = None
        with explained(self.place):
            if self.path is not None:
                self.engine = _sqlite_engine(self.path, patience)
            else:
                self.engine = _postgresql_engine(url, patience)
        self.dialect = self.engine.dialect
        self._driver_error: type[Exception] = self.dialect.loaded_dbapi.Error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, on one snapshot of the whole database."""
        with self._explained(), self.engine.connect() as connection:
            if self.path is None:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a write transaction. Its changes are durable when the block has ended.

        All of them use one session. Where it is lost while it holds runs (`held`), their locks
        are lost with it, and nothing is written any more: another process may hold them now.
        """
        with self._turn, self._explained():
            connection = self._writing_session()
            with connection.begin():
                yield connection

    @contextmanager
    def aside(self) -> Iterator[Connection]:
        """A transaction beside those of `write`, which never waits for one of them."""
        with self._aside_turn, self._explained():
            if self._beside is None or self._beside.invalidated:
                self._beside = self.engine.connect()
            with self._beside.begin():
                yield self._beside

    def close(self) -> None:
        with self._turn, self._aside_turn, self._explained():
            for connection in filter(None, (self._writing, self._beside)):
                connection.close()
            self.engine.dispose()

    def _writing_session(self) -> Connection:
        if self._writing is not None and self._writing.invalidated:
            if self.held:
                raise LedgerError(
                    f"the session with the ledger {self.place} was lost while it held run "
                    f"{min(self.held)}",
                    remedy=f"continue with `partner-tools resume {min(self.held)}`",
                    rule="ledger-unreachable",
                )
            self._writing = None
        if self._writing is None:
            self._writing = self.engine.connect().execution_options(writes=True)
        return self._writing

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self.place, self._driver_error)


def connect(url: str, *, patience: float) -> Database:
    """Open the database that the URL names, creating a private SQLite file where there is none.

    `patience` is how many seconds to wait for another process's lock. Raises InputError for a
    URL that names no database that this program can use, LedgerError where it cannot be opened.
    """
    parsed = _parsed(url)
    if _is_sqlite(parsed):
        path = _real(Path(parsed.database or "").absolute())
        _create_private(path)
        parsed = parsed.set(database=str(path))
    return Database(parsed, patience=patience)


def _real(path: Path) -> Path:
    """The one path of the file, so that its locks are the file's and not those of a link to it.

    Raises LedgerError for a file with several names: SQLite keeps its write-ahead log beside the
    name that it was opened by (https://sqlite.org/howtocorrupt.html, 2.5, read 2026-11).
    """
    # Windows would make a network path of a drive letter, which links seldom need there.
    real = path.resolve() if os.name != "nt" or path.is_symlink() else path
    if real.is_file() and real.stat().st_nlink > 1:
        raise LedgerError(
            f"the ledger {str(path)!r} has {real.stat().st_nlink} names (hard links): two "
            "processes that open it by different ones would damage it",
            remedy="remove the other names; a backup has to be a copy, not a link",
            rule="ledger-linked",
        )
    return real


def _insert(connection: Connection) -> Any:
    if connection.dialect.name == "sqlite":
        return sqlite.insert
    from sqlalchemy.dialects import postgresql  # 73 ms of processor that SQLite does without

    return postgresql.insert


def insert_new(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, replace: bool
) -> None:
    """Insert rows; where the key is taken, replace the other columns or leave the row alone."""
    statement = _insert(connection)(table)
    keys = [column.name for column in table.primary_key]
    if replace:
        rest = {c.name: statement.excluded[c.name] for c in table.c if c.name not in keys}
        connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_=rest), list(rows)
        )
    else:
        connection.execute(statement.on_conflict_do_nothing(index_elements=keys), list(rows))


def take_turns(connection: Connection, subject: str) -> None:
    """Exclude other writers until the transaction ends; SQLite serializes writers anyway."""
    if connection.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big", signed=True)
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (number,))


def advisory_key(number: int) -> tuple[int, int]:
    """The two 32-bit parts of a PostgreSQL advisory lock of this program."""
    return _LOCK_CLASS, number


def _parsed(url: str) -> URL:
    if url.startswith("sqlite"):
        return _parsed_sqlite(url)
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise _bad_url("the ledger's address is not a database URL") from error
    if "@" in (parsed.host or ""):  # its end would be taken, and shown, for a part of the host
        raise _bad_url("the password in the ledger's address has an `@` or `/` that is not escaped")
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "postgresql+psycopg":
        raise _bad_url(f"a ledger cannot be kept in '{parsed.drivername}'")
    return parsed


def _parsed_sqlite(url: str) -> URL:
    """Take the path after the slashes literally: SQLAlchemy 2.0 and 2.1 read `%` differently."""
    named = _SQLITE.fullmatch(url)
    if named is None or named["path"] == ":memory:":
        raise _bad_url("a SQLite ledger is a file: the address names none, or has options")
    return URL.create("sqlite", database=named["path"])


def _bad_url(message: str) -> InputError:
    return InputError(
        message,
        remedy="give --ledger or PARTNER_TOOLS_LEDGER as sqlite:///PATH or "
        "postgresql+psycopg://USER@HOST/DATABASE",
        rule="ledger-url",
    )


def _is_sqlite(url: URL) -> bool:
    return url.drivername.startswith("sqlite")


def _create_private(path: Path) -> None:
    try:
        make_private_folder(path.parent)
        # SQLite gives its WAL and shared memory the mode of the file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise failure("read-only", str(path), str(error.strerror)) from error


def _sqlite_engine(path: Path, patience: float) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": patience, "check_same_thread": False},
        max_overflow=-1,
    )

    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says so
        _write_ahead(connection, patience)
        for setting in (
            "synchronous=FULL",
            "fullfsync=ON",
            "checkpoint_fullfsync=ON",
            "foreign_keys=ON",
            f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
        ):
            connection.execute(f"PRAGMA {setting}")

    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine


def in_unicode(url: URL) -> URL:
    """The address of a session that speaks UTF-8, whatever PGCLIENTENCODING or the server want."""
    return url.update_query_dict({"client_encoding": "utf8"})


def _write_ahead(connection: Any, patience: float) -> None:
    """Switch to the write-ahead log, waiting for who switches at the same time.

    SQLite calls no busy handler for that, whatever its time-out: of six who open a new file at
    once, one in a hundred is told that the database is locked (SQLite 3.40, tried 2026-11).
    """
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        else:
            return
        time.sleep(SWITCH_SECONDS)


def _postgresql_engine(url: URL, patience: float) -> Engine:
    try:
        engine = create_engine(
            in_unicode(url),
            connect_args={"connect_timeout": 10},
            max_overflow=-1,
            pool_pre_ping=True,
        )
    except ModuleNotFoundError as error:
        raise InputError(
            "a ledger on PostgreSQL needs the package psycopg",
            remedy='install the release file with it: `pip install "FILE.whl[fleet]"`',
            rule="ledger-driver",
        ) from error

    def set_up(connection: Any, _record: Any) -> None:
        _require_unicode(connection.info.parameter_status("server_encoding"), _shown(url))
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(patience * 1000)}")
            # A machine that lost its power keeps its locks until the server misses it.
            cursor.execute("SET tcp_keepalives_idle = 10")
            cursor.execute("SET tcp_keepalives_interval = 5")
            cursor.execute("SET tcp_keepalives_count = 3")
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
        connection.commit()

    event.listen(engine, "connect", set_up)
    return engine


def _require_unicode(encoding: str | None, place: str) -> None:
    """Refuse a database that could not keep every serial number: a run would fail at the first.

    `createdb` takes the cluster's encoding, which without a locale is SQL_ASCII
    (https://www.postgresql.org/docs/18/multibyte.html, read 2026-11).
    """
    if encoding != "UTF8":
        raise LedgerError(
            f"the ledger {place} keeps texts as {encoding}, not as UTF8",
            remedy="make a database for it: "
            "createdb --encoding=UTF8 --locale=C --template=template0 NAME",
            rule="ledger-encoding",
        )
