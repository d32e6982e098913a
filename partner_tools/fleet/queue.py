"""The queue of the fleet: Procrastinate's jobs and tables, in the database of the ledger.

https://procrastinate.readthedocs.io, 3.10 read 2026-11. A run has at most one job that waits and
one in progress (`queueing_lock`, `lock`). A run that continues gets a new job, which goes
behind those that wait at its priority: so runs take turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from croniter import croniter  # type: ignore[import-untyped]  # Procrastinate reads with it
from procrastinate import App, SyncPsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Status
from procrastinate.schema import SchemaManager

from partner_tools.errors import LedgerError
from partner_tools.model import ChannelName, RunId

TASK = "carry-on"
REVERIFY = "reverify"


_BACKLOG = """
SELECT count(*) AS jobs,
       coalesce(extract(epoch FROM now() - min(coalesce(job.scheduled_at, event.at))), 0) AS oldest
  FROM procrastinate_jobs job
  JOIN procrastinate_events event ON event.job_id = job.id AND event.type = 'deferred'
 WHERE job.status = 'todo' AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A worker's next task: continue a run behind the device with index `after`.

    `failures` counts the attempts in a row that a service or a sign-in refused. The job waits
    until `not_before`, where that is given.
    """

    run: RunId
    channel: ChannelName
    priority: int = 0
    after: int = -1
    failures: int = 0
    not_before: datetime | None = None


def enqueue(connection: Any, job: Job) -> None:
    """Put a job into the queue in the transaction of this psycopg connection."""
    _defer(App(connector=SyncPsycopgConnector()), job, connection)


@contextmanager
def _reached() -> Iterator[None]:
    """A database that is away is one sentence, of the driver: Procrastinate's says nothing."""
    try:
        yield
    except ConnectorException as error:
        raise LedgerError(
            f"the queue cannot be reached ({message_of(error)})", rule="queue-unreachable"
        ) from (error.__cause__ or error)


def message_of(error: BaseException) -> str:
    """Return the problem in one line; Procrastinate puts it in the cause."""
    said = str(error.__cause__ or error).split("\n")
    return next(filter(None, map(str.strip, said)), type(error).__name__)


class Queue:
    """The queue as the threads of a worker use it, through connections of its own.

    All of it raises LedgerError where the database cannot be reached.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    def put(self, job: Job) -> None:
        """Put a job into the queue; durable on return. Nothing is done where the run has one."""
        with suppress(AlreadyEnqueued), _reached():
            _defer(self._app, job)

    def jobs(self) -> list[Job]:
        """The jobs that wait or are worked on, in the order in which they were put in."""
        with _reached():
            return [
                job_of(each.task_kwargs, each.priority, each.scheduled_at)
                for status in (Status.TODO, Status.DOING)
                for each in self._app.job_manager.list_jobs(task=TASK, status=status.value)
            ]

    def backlog(self) -> tuple[int, float]:
        """How many jobs wait and are due, and the age of the oldest in seconds."""
        with _reached():
            row = self._app.connector.get_sync_connector().execute_query_one(_BACKLOG)
        return int(row["jobs"]), float(row["oldest"])


@contextmanager
def open_queue(conninfo: str, *, patience: float = 30.0, most: int = 4) -> Iterator[Queue]:
    """The queue, closed at the end; a lost database is awaited for `patience` seconds.

    At most `most` threads use it at the same time.
    """
    app = App(
        connector=SyncPsycopgConnector(
            conninfo=conninfo, min_size=1, max_size=most, timeout=patience
        )
    )
    with app.open():
        yield Queue(app)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """How workers notice one that died, in seconds.

    Each shows that it lives every `heartbeat`; one that has not for `stalled` is taken for dead,
    and every worker looks for such ones every `look`.
    """

    heartbeat: float = 5.0
    stalled: float = 15.0
    look: float = 5.0

    @classmethod
    def within(cls, seconds: float) -> Beat:
        """Choose the beat that lets a dead worker's jobs be taken over within `seconds`."""
        return cls(heartbeat=seconds / 6, stalled=seconds / 2, look=seconds / 6)


def is_cron(text: str) -> bool:
    """Whether this is when something happens again and again, in five fields."""
    return len(text.split()) == 5 and bool(croniter.is_valid(text))


async def take_back(app: App, job: Any) -> None:
    """Let another worker have the job; where the run has a newer one, that is enough."""
    with suppress(ConnectorException):  # another worker was faster
        try:
            await app.job_manager.retry_job(job)
        except UniqueViolation:  # the run has a job that waits, and this one holds it up
            await app.job_manager.finish_job(job, status=Status.ABORTED, delete_job=True)


def _defer(app: App, job: Job, connection: Any = None) -> None:
    app.configure_task(
        TASK,
        queue=job.channel.value,
        lock=job.run,
        queueing_lock=job.run,
        priority=job.priority,
        schedule_at=job.not_before,
        connection=connection,
    ).defer(run=job.run, channel=job.channel.value, after=job.after, failures=job.failures)


def job_of(arguments: Mapping[str, Any], priority: int, not_before: datetime | None) -> Job:
    return Job(
        run=RunId(arguments["run"]),
        channel=ChannelName(arguments["channel"]),
        priority=priority,
        after=arguments["after"],
        failures=arguments["failures"],
        not_before=not_before,
    )


_TABLES_LOCK = 0x7061_7274_6E65_7273
_APPLIED = "SELECT max(migration) FROM fleet_queue_version"
_ROLES = Path(__file__).with_name("queue_roles.sql")


def bring_up_to_date(conninfo: str) -> None:
    """Make the queue's tables, or apply the migrations that came with a newer Procrastinate.

    Needs the right to make tables only where something is to do. Raises LedgerError.
    """
    shipped = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    try:
        with psycopg.connect(conninfo) as connection:
            if _applied(connection) != shipped[-1].name:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_TABLES_LOCK,))
                _apply(connection, shipped)
    except psycopg.Error as error:
        raise LedgerError(
            f"the queue's tables cannot be made or read ({message_of(error)})",
            remedy="let the owner of the database run `partner-tools ledger roles` once",
            rule="queue-tables",
        ) from error


def _applied(connection: psycopg.Connection[Any]) -> str | None:
    """The last migration that was applied; None if there is no queue yet."""
    present = connection.execute("SELECT to_regclass('fleet_queue_version')").fetchone()
    if present is None or present[0] is None:
        return None
    row = connection.execute(_APPLIED).fetchone()
    return None if row is None else row[0]


def _apply(connection: psycopg.Connection[Any], shipped: list[Path]) -> None:
    applied = _applied(connection)
    if applied is None:
        connection.execute("CREATE TABLE fleet_queue_version (migration text NOT NULL)")
        _execute(connection, SchemaManager.get_schema())
    else:
        for migration in shipped:
            if migration.name > applied:
                _execute(connection, migration.read_text(encoding="utf-8"))
    connection.execute("INSERT INTO fleet_queue_version VALUES (%s)", (shipped[-1].name,))
    _grant(connection)


def grant(conninfo: str) -> None:
    """Give the roles what they need of the queue; for its owner."""
    with psycopg.connect(conninfo) as connection:
        _grant(connection)


def _grant(connection: psycopg.Connection[Any]) -> None:
    _execute(connection, _ROLES.read_text(encoding="utf-8"))


def _execute(connection: psycopg.Connection[Any], statements: str) -> None:
    connection.execute(statements.encode())
