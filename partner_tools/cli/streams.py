"""Standard output and error as they are: a console without the letters, a pipe without a reader."""

from __future__ import annotations

import errno
import io
import os
import sys


class Patient(io.TextIOWrapper):
    """A standard stream that does not mind when nobody reads it any more.

    `| head` leaves a pipe without a reader, and a closed window a terminal without one. That
    changes no exit code: what would have been printed is dropped, as a run's result is in the
    ledger.
    """

    is_terminal = False
    """Whether it was one at first: a terminal that was closed says that it is none."""

    def write(self, text: str, /) -> int:
        """Write the text, or drop it."""
        try:
            return super().write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Write what is buffered, or drop it."""
        try:
            super().flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        """From here on write into nothing; what the buffers still hold goes there too."""
        if not (_is_reader_gone(error) or (self.is_terminal and error.errno == errno.EIO)):
            raise error
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self.fileno())
        os.close(nothing)


def _is_reader_gone(error: OSError) -> bool:
    """Windows says EINVAL of such a pipe (https://docs.python.org/3/library/os.html#os.write)."""
    return isinstance(error, BrokenPipeError) or (os.name == "nt" and error.errno == errno.EINVAL)


def print_whatever_comes() -> None:
    """Print foreign text on a console that lacks its letters as escapes, instead of failing.

    A Windows console or pipe may speak code page 1252 or 437; stderr escapes by itself. A pipe
    whose reader is gone is no failure either.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            if stream is getattr(sys, f"__{name}__"):
                stream = _patient(stream)
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
            if stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")


def _patient(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    is_terminal = stream.isatty()
    if isinstance(stream, Patient) or (is_terminal and os.name == "nt"):  # no file there
        return stream
    how = {name: getattr(stream, name) for name in ("encoding", "errors", *_BUFFERING)}
    patient = Patient(stream.detach(), **how)
    patient.is_terminal = is_terminal
    return patient


_BUFFERING = ("line_buffering", "write_through")
