"""What can happen to a ledger: a full disk, a read-only one, two processes, tears and edits.

    python -m tests.crash.ledgers [--trials N] [--only NAME …] [--seed N]

is a part of `make crash`; the tests run a few of each. Every trial ends in one of two ways: the
commands converge, or they say exactly what is wrong (exit 6) and leave the file alone.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.crash.processes import Done
from tests.crash.scenarios import LISTED, SCENARIOS, UNLISTED, World, opened

ATTEMPTS = 4
LEDGER_EXIT = 6
_SCENARIO = SCENARIOS["partner-center"]


@contextmanager
def _world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder, opened(_SCENARIO, Path(folder)) as world:
        yield world


def _finish(world: World) -> Done:
    """Finish the removal as its user would."""
    for _ in range(ATTEMPTS):
        done = world.program(*_SCENARIO.finish(world))
        if done.exit_code == 0:
            break
    return done


def _wrong_after(world: World, done: Done) -> Iterator[str]:
    if done.exit_code != 0:
        yield f"did not converge: exit {done.exit_code}: {done.stderr[-300:]}"
    else:
        yield from _SCENARIO.wrong(world, done)


# --- A disk that is full, or read-only --------------------------------------------------------


def full_disk(generator: random.Random) -> Iterator[str]:
    """Writing fails from some size on: exit 6 that says so; with space again it converges."""
    with _world() as world:
        limit = generator.randrange(4_096, 400_000)
        done = world.program(*_SCENARIO.command(world), file_bytes=limit)
        if done.exit_code not in (0, LEDGER_EXIT):
            yield f"exit {done.exit_code} at {limit} bytes: {done.stderr[-300:]}"
        if done.exit_code == LEDGER_EXIT and "next:" not in done.stderr:
            yield f"at {limit} bytes it only says: {done.stderr[-300:]}"
        yield from _wrong_after(world, _finish(world))


def read_only(_generator: random.Random) -> Iterator[str]:
    """Nothing can be written: exit 6 that says so, nothing is sent, the file stays as it is."""
    with _world() as world:
        assert world.program("runs").exit_code == 0
        file = world.folder / "ledger.db"
        before, asked = file.read_bytes(), len(world.sandbox.log.entries)
        with _unwritable(world.folder):
            done = _without_privileges(world, *_SCENARIO.command(world))
        if done.returncode != LEDGER_EXIT or "write permission" not in done.stderr:
            yield f"exit {done.returncode}: {done.stderr[-300:]}"
        if file.read_bytes() != before or len(world.sandbox.log.entries) != asked:
            yield "something was written, or sent"
        yield from _wrong_after(world, _finish(world))


@contextmanager
def _unwritable(folder: Path) -> Iterator[None]:
    modes = {path: path.stat().st_mode for path in (*folder.iterdir(), folder)}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def _without_privileges(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to which modes of files mean something, even where we are root."""
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return subprocess.run(
        [*bare, sys.executable, "-m", "partner_tools", *arguments],
        env={**os.environ, **world.environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=Path(__file__).parents[2],
    )


# --- Two processes ----------------------------------------------------------------------------


def two_resume(generator: random.Random) -> Iterator[str]:
    """Two processes resume one run at once: one does, the other says who does or is shown it."""
    with _world() as world:
        world.program(*_SCENARIO.command(world), kill_at=generator.randrange(60, 140))
        finish = _SCENARIO.finish(world)
        both = [world.start(*finish), world.start(*finish)]
        codes = sorted(each.wait().exit_code for each in both)
        if codes not in ([0, 0], [0, LEDGER_EXIT]):
            yield f"exits {codes}"
        yield from _wrong_after(world, _finish(world))


def two_runs(_generator: random.Random) -> Iterator[str]:
    """Two runs of the same batch at once: each device is removed once, by one of them."""
    with _world() as world:
        both = [world.start(*_SCENARIO.command(world)) for _ in range(2)]
        ended = [each.wait() for each in both]
        if world.registered != {*UNLISTED}:
            yield f"left in the estate: {sorted(world.registered)}"
        told = [each["outcome"] for one in ended for each in one.document["devices"]]
        acted = [each for each in world.sandbox.log.of("delete-device") if each.status == 204]
        # Who planned late did not find what the other had removed by then.
        if not {*told} <= {"removed", "absent", "already-removed"} or len(acted) != len(LISTED):
            yield f"outcomes {told}, {len(acted)} removals, {[one.stderr[-200:] for one in ended]}"
        with world.ledger() as ledger:
            yield from (each.message for each in ledger.verify())


# --- Tears ------------------------------------------------------------------------------------


def torn_log(generator: random.Random) -> Iterator[str]:
    """The end of the write-ahead log is lost, or a byte of it: what is left converges."""
    with _world() as world:
        world.program(*_SCENARIO.command(world), kill_at=generator.randrange(40, 160))
        log = world.folder / "ledger.db-wal"
        if not log.exists() or not log.stat().st_size:
            return
        _tear(log, generator)
        done = _finish(world)
        if done.exit_code == LEDGER_EXIT:
            return
        # What the lost events said is forgotten: a device may be asked for again, and a run that
        # is gone is begun anew, which does not find what is gone.
        outcomes = {each["outcome"] for each in done.document.get("devices", ())}
        if not outcomes <= {"removed", "absent", "not-found"} or world.registered != {*UNLISTED}:
            yield f"{done.exit_code}, {outcomes}, left {sorted(world.registered)}: {done.stderr}"


def torn_file(generator: random.Random) -> Iterator[str]:
    """A page of the file is damaged: it is found, or it held nothing."""
    with _world() as world:
        assert world.program(*_SCENARIO.command(world)).exit_code == 0
        file = world.folder / "ledger.db"
        before = _content(file)
        _tear(file, generator)
        found = world.program("ledger", "verify").exit_code
        if found == LEDGER_EXIT:
            return
        if found != 0 or _content(file) != before:
            yield f"`ledger verify` ended with {found} on a damaged file"


def _tear(file: Path, generator: random.Random) -> None:
    """Cut the file off, blank a stretch of it, or flip a bit."""
    content = bytearray(file.read_bytes())
    place = generator.randrange(len(content))
    match generator.randrange(3):
        case 0:
            del content[place:]
        case 1:
            content[place : place + 512] = bytes(len(content[place : place + 512]))
        case _:
            content[place] ^= 1 << generator.randrange(8)
    file.write_bytes(content)


def _content(file: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
        names = [name for (name,) in connection.execute(query)]
        return {
            name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))  # noqa: S608
            for name in names
        }


# --- Edits ------------------------------------------------------------------------------------

EDITED_TABLES = ("runs", "devices", "events", "plans", "run_customers")
FREE_COLUMNS = frozenset({("runs", "purged_at")})
"""What says nothing of what happened."""


def edited(generator: random.Random) -> Iterator[str]:
    """A row is changed, deleted, exchanged or added: `ledger verify --head` finds it."""
    with _finished() as world:
        head = world.program("ledger", "verify", "--output", "json").document["head"]
        file = world.folder / "ledger.db"
        for _ in range(20):
            copy = file.with_name("edited.db")
            shutil.copy(file, copy)
            what = _edit(copy, generator)
            if what is None:
                continue
            with_ledger = ("--ledger", str(copy))
            found = world.program("ledger", "verify", "--head", head, *with_ledger)
            if found.exit_code != LEDGER_EXIT:
                yield f"exit {found.exit_code} after {what}"


@contextmanager
def _finished() -> Iterator[World]:
    with _world() as world:
        done = world.program(*_SCENARIO.command(world))
        assert done.exit_code == 0, done.stderr
        yield world


def _edit(file: Path, generator: random.Random) -> str | None:
    """Edit one row by chance; says what was done, None where it changed nothing."""
    before = _content(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        table = generator.choice(EDITED_TABLES)
        rows = [rowid for (rowid,) in connection.execute(f"SELECT rowid FROM {table}")]  # noqa: S608
        rowid, other = generator.choice(rows), generator.choice(rows)
        columns = [each[1] for each in connection.execute(f"PRAGMA table_info({table})")]
        column = generator.choice([each for each in columns if (table, each) not in FREE_COLUMNS])
        deed = generator.choice(["change", "delete", "exchange"])
        try:
            _DEEDS[deed](connection, table, column, rowid, other)
        except sqlite3.IntegrityError:
            return None
    return None if _content(file) == before else f"{deed} of {table}.{column} in row {rowid}"


def _change(connection: Any, table: str, column: str, rowid: int, _other: int) -> None:
    value = _value(connection, table, column, rowid)
    changed = value + 1 if isinstance(value, int) else f"{value or ''}x"
    _set(connection, table, column, rowid, changed)


def _delete(connection: Any, table: str, _column: str, rowid: int, _other: int) -> None:
    connection.execute(f"DELETE FROM {table} WHERE rowid = ?", [rowid])  # noqa: S608


def _exchange(connection: Any, table: str, column: str, rowid: int, other: int) -> None:
    values = [_value(connection, table, column, one) for one in (rowid, other)]
    _set(connection, table, column, rowid, values[1])
    _set(connection, table, column, other, values[0])


def _value(connection: Any, table: str, column: str, rowid: int) -> Any:
    query = f"SELECT {column} FROM {table} WHERE rowid = ?"  # noqa: S608
    return connection.execute(query, [rowid]).fetchone()[0]


def _set(connection: Any, table: str, column: str, rowid: int, value: Any) -> None:
    statement = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"  # noqa: S608
    connection.execute(statement, [value, rowid])


_DEEDS = {"change": _change, "delete": _delete, "exchange": _exchange}

TRIALS: Mapping[str, Callable[[random.Random], Iterator[str]]] = {
    "full-disk": full_disk,
    "read-only": read_only,
    "two-resume": two_resume,
    "two-runs": two_runs,
    "torn-log": torn_log,
    "torn-file": torn_file,
    "edited": edited,
}
"""By name."""
ONCE = frozenset({"read-only"})
"""Nothing in it is left to chance."""


def main() -> None:
    """Run so many of each, and say what is wrong; exits with 1 where something is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=sorted(TRIALS), default=list(TRIALS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    failed = 0
    for name in given.only:
        count = 1 if name in ONCE else given.trials
        for number in range(count):
            generator = random.Random(f"{given.seed} {number}")  # noqa: S311 - chooses test cases
            for wrong in TRIALS[name](generator):
                failed += 1
                print(f"{name}, trial {number}: {wrong}", flush=True)
        print(f"{name}: {count} trials", flush=True)
    print("all converged, or said what is wrong" if not failed else f"{failed} did not")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
