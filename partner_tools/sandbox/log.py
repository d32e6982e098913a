"""What was asked and what became of it, in the order in which the requests arrived."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One request. `at` is the sandbox's time at arrival; ids are the ones that the client sent."""

    number: int
    at: float
    service: str
    method: str
    path: str
    operation: str
    request_id: str | None = None
    correlation_id: str | None = None
    partner: str | None = None
    customer: str | None = None
    batch: str | None = None
    serial: str | None = None
    status: int | None = None
    """Of the answer that was sent; None where a fault kept every byte of it back."""
    fault: str | None = None
    processed: bool = False
    """Whether the service acted on it, whatever the client was told."""
    replayed: bool = False
    """Whether an earlier request with this id had its outcome, which was given again."""
    inner: bool = False
    """Whether it came inside a `$batch`, whose own entry counts the request on the wire."""


class Log:
    """Every request of a sandbox; safe to read from any thread at any time.

    An entry appears when the request was processed and before its answer leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._arrived = 0

    def arrive(self) -> int:
        """The number of a request that came in just now, from 1."""
        with self._lock:
            self._arrived += 1
            return self._arrived

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything so far, by arrival."""
        with self._lock:
            return tuple(sorted(self._entries, key=lambda entry: entry.number))

    def of(self, operation: str) -> tuple[Entry, ...]:
        """The requests for one operation, by arrival."""
        return tuple(entry for entry in self.entries if entry.operation == operation)

    def counts(self) -> dict[str, dict[str, int]]:
        """How often each operation was answered with each status; by the fault's name if not."""
        counted: dict[str, Counter[str]] = {}
        for entry in self.entries:
            outcome = str(entry.fault) if entry.status is None else str(entry.status)
            counted.setdefault(entry.operation, Counter())[outcome] += 1
        return {operation: dict(sorted(c.items())) for operation, c in sorted(counted.items())}

    def clear(self) -> None:
        """Forgets everything so far; numbers go on."""
        with self._lock:
            self._entries.clear()
