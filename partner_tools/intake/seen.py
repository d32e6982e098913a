"""Which device stood where: an index of a million rows in some twenty bytes for each.

A key is kept as its 64-bit hash, so that one in a hundred million pairs of a million rows may be
taken for the same device. That costs a wrong warning, never a device: planning compares texts.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable

_PARTS = 64
_START = 16
_FULL = 0.7
_GROWTH = 1.6


class Seen:
    """The first line of every key. Split into parts, so that only a part is copied as it grows."""

    def __init__(self) -> None:
        self._parts = tuple(_Part() for _ in range(_PARTS))

    def first(self, key: Hashable, line: int) -> int | None:
        """The line on which the key stood first, or None, after which this line is its first."""
        mark = hash(key) & 0xFFFF_FFFF_FFFF_FFFF or 1
        return self._parts[mark % _PARTS].first(mark, line)

    def size(self) -> int:
        """The bytes that the index takes."""
        return sum(part.size() for part in self._parts)


class _Part:
    """A hash table with open addressing; 0 marks a free place."""

    def __init__(self) -> None:
        self._allocate(_START)
        self._used = 0

    def first(self, mark: int, line: int) -> int | None:
        marks, count = self._marks, self._count
        place = mark // _PARTS % count
        while (found := marks[place]) != mark:
            if not found:
                self._add(place, mark, line)
                return None
            place = place + 1 if place + 1 < count else 0
        return self._lines[place]

    def size(self) -> int:
        return self._count * (self._marks.itemsize + self._lines.itemsize)

    def _add(self, place: int, mark: int, line: int) -> None:
        self._marks[place] = mark
        self._lines[place] = line
        self._used += 1
        if self._used > self._count * _FULL:
            self._grow()

    def _grow(self) -> None:
        marks, lines = self._marks, self._lines
        self._allocate(int(self._count * _GROWTH))
        for mark, line in zip(marks, lines, strict=True):
            if mark:
                self._put(mark, line)

    def _put(self, mark: int, line: int) -> None:
        place = mark // _PARTS % self._count
        while self._marks[place]:
            place = (place + 1) % self._count
        self._marks[place] = mark
        self._lines[place] = line

    def _allocate(self, count: int) -> None:
        self._count = count
        self._marks = array("Q", bytes(8 * count))
        self._lines = array("L" if array("L").itemsize == 4 else "I", bytes(4 * count))
