"""Every fault with every request that can meet it, compared with the table.

    python -m tests.faults.matrix [--only NAME …] [--workers 2]

is `make faults`; NAMEs are those of faults or of requests. Exits with 1 where a cell is not what
the table says. The tests run one cell of every fault and every request.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.faults.table import expected
from tests.faults.trial import cells, try_cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a cell turned out to be, and what the table says."""

    fault: str
    request: str
    found: str
    expected: str

    @property
    def differs(self) -> bool:
        """Whether it is not what the table says."""
        return self.found != self.expected


def compare(cell: tuple[str, str]) -> Compared:
    """Carry one cell out. What was said and is not true is a difference too."""
    try:
        found = str(try_cell(*cell))
    except AssertionError as error:
        found = f"{error}"
    return Compared(fault=cell[0], request=cell[1], found=found, expected=expected(*cell))


def sample(shift: int) -> Iterator[tuple[str, str]]:
    """One cell of every fault; together they meet every request about alike often."""
    by_fault: dict[str, list[str]] = {}
    for fault, request in cells():
        by_fault.setdefault(fault, []).append(request)
    for number, (fault, requests) in enumerate(by_fault.items()):
        yield fault, requests[(shift + 7 * number) % len(requests)]


def run(chosen: Iterable[tuple[str, str]], workers: int) -> Iterator[Compared]:
    """Carry cells out, several at a time, each in a world of its own."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(compare, chosen)


def main() -> None:
    """Compare, and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="faults or requests")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    chosen = [cell for cell in cells() if not given.only or {*cell} & {*given.only}]
    began, differing = time.monotonic(), 0
    for each in run(chosen, given.workers):
        if each.differs:
            differing += 1
            print(
                f"{each.fault}, {each.request}: {each.found!r}, not {each.expected!r}", flush=True
            )
    print(f"{len(chosen)} cells, {differing} differ ({time.monotonic() - began:.0f} s)")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
