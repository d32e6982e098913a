"""The first line of each device: an index of a million rows in some twenty bytes for each.

A key is kept as its 64-bit hash, so that one of a hundred million files of a million rows has two
devices taken for one. That costs a wrong warning and never a device: planning compares the texts.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable

_PARTS = 64
_START = 16
_FULL = 0.7
_GROWTH = 1.7
_MARK = 0xFFFF_FFFF_FFFF_FFFF


class DuplicateIndex:
    """The first line of every key, in hash tables with open addressing; 0 marks a free place.

    There are several, so that only one of them is in memory twice while it grows.
    """

    def __init__(self) -> None:
        self._marks = [array("Q", bytes(8 * _START)) for _ in range(_PARTS)]
        self._lines = [array("I", bytes(4 * _START)) for _ in range(_PARTS)]
        self._free = [int(_START * _FULL) for _ in range(_PARTS)]

    def first(self, key: Hashable, line: int) -> int | None:
        """Return the first line with this key, or None and record this line as the first."""
        mark = hash(key) & _MARK or 1
        part = mark % _PARTS
        marks = self._marks[part]
        size = len(marks)
        place = mark // _PARTS % size
        while (found := marks[place]) != mark:
            if not found:
                self._add(part, place, mark, line)
                return None
            place = place + 1 if place + 1 < size else 0
        return self._lines[part][place]

    def _add(self, part: int, place: int, mark: int, line: int) -> None:
        self._marks[part][place] = mark
        self._lines[part][place] = line
        self._free[part] -= 1
        if not self._free[part]:
            self._grow(part)

    def _grow(self, part: int) -> None:
        old = zip(self._marks[part], self._lines[part], strict=True)
        size = int(len(self._marks[part]) * _GROWTH)
        marks, lines = array("Q", bytes(8 * size)), array("I", bytes(4 * size))
        used = 0
        for mark, line in old:
            if mark:
                place = mark // _PARTS % size
                while marks[place]:
                    place = (place + 1) % size
                marks[place] = mark
                lines[place] = line
                used += 1
        self._marks[part], self._lines[part] = marks, lines
        self._free[part] = int(size * _FULL) - used
