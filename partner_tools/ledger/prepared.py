"""Statements that are compiled once and run on the driver's own cursor.

SQLAlchemy's own part of an execution takes about ten times as long as SQLite takes for a row by
its key (`tests/bench/ledger_events.py` measures both). Recording takes five statements, many times
a second; everything else in the ledger goes the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.expression import ClauseElement

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
