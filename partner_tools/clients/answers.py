"""Says whether an answer belongs to its question, was refused, and whether a list is whole.

Every client asks here before it reads an answer. An answer to another question, or a list that
contradicts its own count, is no evidence: neither that a device is there, nor that it is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence

from partner_tools.errors import (
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)

WORDS: Mapping[type[ServiceError], str] = {
    Unauthorized: "the token was not accepted",
    Throttled: "too many requests",
    Unavailable: "the service is not available",
    Unreadable: "that status is no answer",
}
"""Why a service refused, where it does not say so itself."""


def kind_of(status: int) -> type[ServiceError]:
    """The error for the status of an answer that is no success."""
    if status < 400:
        return Unreadable
    if status == 408 or status >= 500:
        return Unavailable
    return {401: Unauthorized, 429: Throttled}.get(status, Rejected)


EMPTY_PAGES = 10
REMEMBERED = 4096
"""Ids of requests that `SentIds` keeps: more than can be in flight, or late, at one time."""


class SentIds:
    """Tells an answer to an earlier or parallel request of ours from one to this request.

    Partner Center's documented samples show ids of the service's own in answers, so an unknown id
    proves nothing. One that this process sent with another request does. Thread-safe.
    """

    def __init__(self) -> None:
        self._sent: dict[str, None] = {}
        self._lock = threading.Lock()

    def add(self, request_id: str) -> None:
        """Take note of a request that is about to leave; one without an id leaves no note."""
        if not request_id:
            return
        with self._lock:
            self._sent.pop(request_id.casefold(), None)
            self._sent[request_id.casefold()] = None
            if len(self._sent) > REMEMBERED:
                del self._sent[next(iter(self._sent))]

    def is_of_another(self, answered: str | None, request_id: str) -> bool:
        """Whether the id that an answer carries is that of another request of ours."""
        if answered is None or is_same(request_id, answered):
            return False
        with self._lock:
            return answered.strip().casefold() in self._sent


def is_same(asked: str, answered: str | None) -> bool:
    """Whether an answer names what was asked for, or names nothing."""
    return not answered or answered.strip().casefold() == asked.strip().casefold()


class ListGuard:
    """Refuses a list that cannot have been read whole. One guard for the reading of one list.

    `check` raises Unreadable when a cursor comes again, when a page brings nothing but what was
    there already, when page after page is empty, and at the end when a page's own count is
    neither that of its rows nor that of the whole list.
    """

    def __init__(self, collection: str) -> None:
        self._collection = collection
        self._cursors: set[Hashable] = set()
        self._seen: set[str] = set()
        self._empty = 0
        self._rows = 0
        self._counts: set[int] = set()

    def check(self, keys: Sequence[str], cursor: Hashable | None, count: int | None = None) -> None:
        """Take note of one page by its items' ids, its cursor, and the count that it states."""
        new = set(keys) - self._seen
        if keys and not new:
            raise self._incomplete("a page brought only what earlier pages had brought")
        self._empty = 0 if keys else self._empty + 1
        if cursor is not None and self._empty > EMPTY_PAGES:
            raise self._incomplete(f"{self._empty} pages in a row were empty")
        if cursor is not None and cursor in self._cursors:
            raise self._incomplete("a page pointed back to an earlier one")
        self._seen |= new
        self._rows += len(keys)
        self._counts |= {count} - {None, len(keys)}  # type: ignore[arg-type]
        if cursor is not None:
            self._cursors.add(cursor)
        elif self._counts - {self._rows}:
            raise self._incomplete(f"it counts {max(self._counts)} and brings {self._rows}")

    def _incomplete(self, reason: str) -> Unreadable:
        return Unreadable(
            f"the list of {self._collection} cannot be read completely: {reason}",
            rule="page-loop",
            remedy="Nothing is removed, and nothing concluded, from a list that is incomplete. Try "
            "again later; if it happens again, report it to the service's support.",
        )
