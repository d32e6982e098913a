"""Standard streams as they are: closed, full, without a reader, or without the letters."""

from __future__ import annotations

import errno
import io
import os
import sys


class UndeliveredError(OSError):
    """Standard output cannot be written: the disk behind it is full, or its descriptor is bad."""


class Patient(io.TextIOWrapper):
    """Standard output or error, which fails at most once.

    `| head` leaves a pipe without a reader, and a closed window a terminal without one. That
    changes no exit code: what would have been printed is dropped, as a run's result is in the
    ledger. Messages that cannot be written are dropped as well, because there is nowhere left to
    report that. Only a result that is lost raises an error.
    """

    is_terminal = False
    """Whether it was one at first: a terminal that was closed says that it is none."""
    is_result = False

    def write(self, text: str, /) -> int:
        """Write the text, or drop it. Raises UndeliveredError."""
        if text == "":  # click tries a stream so, and would swallow the one error
            return 0
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it. Raises UndeliveredError."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """Write to the null device from here on, beginning with what the buffers still hold.

        The interpreter flushes once more when it ends. Would that fail again, it printed a
        traceback and ended with 120.
        """
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)
        is_closed = self.is_terminal and error.errno == errno.EIO
        if self.is_result and not is_closed and not _is_reader_gone(error):
            raise UndeliveredError(error.errno, error.strerror) from error


def _is_reader_gone(error: OSError) -> bool:
    """Windows says EINVAL of such a pipe (https://docs.python.org/3/library/os.html#os.write)."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def prepare_streams() -> bool:
    """Make the standard streams ready for whatever is printed; whether there is a standard output.

    A Windows console or pipe may speak code page 1252 or 437: foreign text is printed as escapes
    instead of failing; stderr escapes by itself. A stream that was closed (`>&-`) becomes the null
    device. Otherwise the next file that is opened, as the ledger, would get its number, and with it
    what is written to that number.
    """
    has_output = getattr(sys, "stdout", None) is not None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest free one
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            if stream is getattr(sys, f"__{name}__"):
                stream = _patient(stream, is_result=name == "stdout")
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
            if stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
    return has_output


def _patient(stream: io.TextIOWrapper, *, is_result: bool) -> io.TextIOWrapper:
    is_terminal = stream.isatty()
    if isinstance(stream, Patient) or (is_terminal and os.name == "nt"):  # no file there
        return stream
    how = {name: getattr(stream, name) for name in ("encoding", "errors", *_BUFFERING)}
    patient = Patient(stream.detach(), **how)
    patient.is_terminal, patient.is_result = is_terminal, is_result
    return patient


_BUFFERING = ("line_buffering", "write_through")
