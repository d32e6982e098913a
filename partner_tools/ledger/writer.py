"""One thread that commits whatever is waiting, all of it in one transaction.

While a commit is under way the next calls gather, so groups grow with the load and a lonely call
waits for nobody. A call returns when its events are durable.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from partner_tools.errors import LedgerError
from partner_tools.ledger.draft import Draft

Commit = Callable[[Sequence[Sequence[Draft]]], Sequence[Exception | None]]
"""Makes the events of all calls durable, and says which calls it left out, and why."""

_Call = tuple[Sequence[Draft], "Future[None]"]


class Writer:
    """Takes calls from any number of threads. After a failed commit it takes none any more."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._entry = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def write(self, drafts: Sequence[Draft]) -> None:
        """Return when the drafts are durable.

        Raises LedgerError where they are not, or cannot be known to be, and from then on for
        every call: what a failed commit left behind is only known after opening the ledger anew.
        """
        done: Future[None] = Future()
        self._put((drafts, done))
        done.result()

    def close(self) -> None:
        """Finish what is waiting and end the thread."""
        with self._entry:
            self._closed = True
            self._waiting.put(None)
        if self._thread is not None:
            self._thread.join()

    def _put(self, call: _Call) -> None:
        with self._entry:
            if self._closed:
                raise LedgerError("the ledger is closed", remedy="report this as a bug")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
                self._thread.start()
            self._waiting.put(call)

    def _work(self) -> None:
        going = True
        while going:
            calls = [self._waiting.get()]
            while not self._waiting.empty():
                calls.append(self._waiting.get())
            self._settle([call for call in calls if call is not None])
            going = None not in calls

    def _settle(self, calls: Sequence[_Call]) -> None:
        if not calls:
            return
        if self._failure is None:
            try:
                refusals = self._commit([drafts for drafts, _ in calls])
            except Exception as failure:  # noqa: BLE001  # the waiting callers raise it
                self._failure = failure
        if self._failure is not None:
            refusals = [_copy(self._failure) for _ in calls]
        for (_, done), refusal in zip(calls, refusals, strict=True):
            if refusal is None:
                done.set_result(None)
            else:
                done.set_exception(refusal)


def _copy(failure: Exception) -> Exception:
    """An exception of each caller's own, since raising one writes its traceback."""
    if not isinstance(failure, LedgerError):
        return failure
    copy = LedgerError(failure.message, remedy=failure.remedy, rule=failure.rule)
    copy.__cause__ = failure.__cause__
    return copy
