"""Rows of one kind in a tenant: found by id or by what stands in them, in the order they came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

Row = dict[str, Any]


class Table:
    """Rows under the names of Microsoft Graph, with their `id`. Values are compared without case.

    `indexed` names the properties, plain or lists, by which `having` finds rows.
    """

    def __init__(self, *indexed: str) -> None:
        self._rows: dict[str, Row] = {}
        self._positions: dict[str, int] = {}
        self._numbers = count(1)
        self._indexes: dict[str, dict[str, dict[str, None]]] = {name: {} for name in indexed}
        self._removed: list[tuple[float, Row]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> None:
        key = row["id"].lower()
        self._rows[key] = row
        self._positions[key] = next(self._numbers)
        self._enter(key, row)

    def get(self, name: str) -> Row | None:
        return self._rows.get(name.lower())

    def change(self, name: str, **properties: Any) -> None:
        """Give a row other values; no row, no change."""
        key = name.lower()
        row = self._rows.get(key)
        if row is not None:
            self._leave(key, row)
            row.update(properties)
            self._enter(key, row)

    def remove(self, name: str, at: float) -> Row | None:
        """Take a row out; `rows` still shows it to whoever looks at the time before."""
        key = name.lower()
        row = self._rows.pop(key, None)
        if row is not None:
            self._leave(key, row)
            self._removed.append((at, row))
        return row

    def rows(self, since: float | None = None) -> Iterator[Row]:
        """What is here, and what went after `since`."""
        yield from self._rows.values()
        if since is not None:
            yield from (row for at, row in self._removed if at > since)

    def indexes(self, name: str) -> bool:
        return name in self._indexes

    def having(self, name: str, values: Iterable[str]) -> list[Row]:
        """The rows with one of these values in an indexed property, in order."""
        index = self._indexes[name]
        keys = {key for value in values for key in index.get(value.lower(), ())}
        return [self._rows[key] for key in sorted(keys, key=self._positions.__getitem__)]

    def position(self, row: Row) -> int:
        """Where a row stands, also of one that went: it grows in the order they came."""
        return self._positions[row["id"].lower()]

    def _enter(self, key: str, row: Row) -> None:
        for name, index in self._indexes.items():
            for value in _values(row.get(name)):
                index.setdefault(value, {})[key] = None

    def _leave(self, key: str, row: Row) -> None:
        for name, index in self._indexes.items():
            for value in _values(row.get(name)):
                index.get(value, {}).pop(key, None)


def _values(value: Any) -> set[str]:
    if value is None:
        return set()
    found = value if isinstance(value, list | tuple) else [value]
    return {str(one).lower() for one in found}
