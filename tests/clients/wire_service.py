"""A service over real sockets that answers by a script, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

Step = bytes | Callable[[socket.socket], None]
"""What answers one request: bytes to send, or something to do with the connection, which ends."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WireService:
    """Listens on loopback. `script` is taken from its front; the last step repeats.

    `respond` answers by the request instead.
    """

    script: list[Step] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    respond: Callable[[Asked], bytes] | None = None
    connections: int = 0
    _listener: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        scheme, host = ("https", "localhost") if self.context else ("http", "127.0.0.1")
        return f"{scheme}://{host}:{self.port}"

    def stop(self) -> None:
        """Close everything; threads end by it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
                stack.callback(connection.close)
            stream = connection.makefile("rb")
            stack.callback(stream.close)
            while (asked := _read(stream)) is not None:
                self.asked.append(asked)
                step = self._step(asked)
                if not isinstance(step, bytes):
                    step(connection)
                    return
                connection.sendall(step)

    def _step(self, asked: Asked) -> Step:
        if self.respond is not None:
            return self.respond(asked)
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


def _read(stream: BinaryIO) -> Asked | None:
    line = stream.readline()
    if not line:
        return None
    method, target, _ = line.decode("ascii").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := stream.readline().strip()) != b"":
        name, _, text = line.decode("latin-1").partition(":")
        headers[name.lower()] = text.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Asked(method=method, target=target, headers=headers, body=body)


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer. Header names are spelt with _ for -."""
    lines = [f"HTTP/1.1 {status} OemReply", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """End the connection by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def then_close(content: bytes) -> Step:
    """Send this much, and close in order."""

    def act(connection: socket.socket) -> None:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)

    return act


def in_silence(released: threading.Event) -> Step:
    """Say nothing until released."""

    def act(_connection: socket.socket) -> None:
        released.wait(30)

    return act
