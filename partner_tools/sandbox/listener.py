"""The sockets: one port per service, plain HTTP and TLS alike, and every way not to answer.

Built on the standard library's `ThreadingTCPServer` and `BaseHTTPRequestHandler`, because faults
need the socket itself: a reset before or after acting, a body cut short, a port that refuses.
Whether a connection is TLS is told by its first byte, 0x16 for a handshake record.
"""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any

from partner_tools.errors import InputError
from partner_tools.sandbox.faults import OUTAGES, RESETS, UNANSWERED, FaultKind
from partner_tools.sandbox.wire import Delivery, Request, Response, reason_phrase

HOST = "127.0.0.1"
HANDSHAKE = b"\x16"
HANDSHAKE_FAILURE = b"\x15\x03\x03\x00\x02\x02\x28"
"""A fatal TLS alert, `handshake_failure` (RFC 8446, section 6)."""
LARGEST_BODY = 64 * 1024 * 1024
TRICKLE_STEPS = 10

log = logging.getLogger(__name__)

Serve = Callable[[Request], Delivery]
Later = Callable[[float, Callable[[], object]], Callable[[], object]]
"""Schedules a call after the given seconds; returns a function that cancels it."""


def after(seconds: float, deed: Callable[[], object]) -> Callable[[], object]:
    """Call `deed` after `seconds` by the machine's clock: a `Later`."""
    timer = threading.Timer(seconds, deed)
    timer.daemon = True
    timer.start()
    return timer.cancel


@dataclass(eq=False)
class Listener:
    """The port of one service. It keeps its number when it stops listening for a while."""

    serve: Serve
    tls: ssl.SSLContext
    sleep: Callable[[float], object]
    port: int
    later: Later = after
    tls_fails: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._call_off: list[Callable[[], object]] = []
        self._connections: set[socket.socket] = set()
        self._closed = False
        self.listen()

    @property
    def down(self) -> bool:
        return self._server is None

    def listen(self) -> None:
        """Accept connections. Raises InputError when the port is taken."""
        with self._lock:
            if self._closed or self._server is not None:
                return
            try:
                self._server = _Server((HOST, self.port), self)
            except (OSError, OverflowError) as error:
                raise InputError(
                    f"cannot listen on {HOST}:{self.port}: {error}",
                    remedy="pass another --port, or 0 for any that is free",
                    rule="port-taken",
                ) from error
            self.port = self._server.server_address[1]
            self._server.start()

    def refuse(self, seconds: float | None = None, *, spared: socket.socket | None = None) -> None:
        """Refuse connections and drop open ones, until `listen` or for `seconds`."""
        with self._lock:
            server, self._server = self._server, None
            if server is None:
                return
            server.stop()
            self._drop_connections(spared)
        if seconds is not None:
            self._call_off.append(self.later(seconds, self.listen))

    def fail_tls(self, seconds: float, *, spared: socket.socket | None = None) -> None:
        """Drop open connections, and abort every TLS handshake for `seconds`."""
        self.tls_fails = True
        with self._lock:
            self._drop_connections(spared)
        self._call_off.append(self.later(seconds, lambda: setattr(self, "tls_fails", False)))

    def close(self) -> None:
        """Stop for good, and end every open connection."""
        self._closed = True
        self.refuse()
        with self._lock:
            self._drop_connections()
        for call_off in self._call_off:
            call_off()
        deadline = time.monotonic() + 2.0
        while self._connections and time.monotonic() < deadline:
            time.sleep(0.005)

    def opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def ended(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def _drop_connections(self, spared: socket.socket | None = None) -> None:
        for connection in self._connections - {spared}:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is gone already


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = sys.platform != "win32"
    request_queue_size = 1024
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], listener: Listener) -> None:
        self.listener = listener
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        super().__init__(address, _Handler)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting; on return the port refuses connections."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, in a thread of its own."""
        connection = self._secured(request)
        if connection is None:
            return
        self.listener.opened(connection)
        try:
            _Handler(connection, client_address, self)
        finally:
            self.listener.ended(connection)
            if connection is not request:
                self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no event; anything else is a bug of the sandbox."""
        if not isinstance(sys.exception(), OSError):
            log.exception("the sandbox failed to answer %s", client_address)

    def _secured(self, connection: socket.socket) -> socket.socket | None:
        first = connection.recv(1, socket.MSG_PEEK)
        if first != HANDSHAKE:
            return connection
        if self.listener.tls_fails:
            connection.sendall(HANDSHAKE_FAILURE)
            return None
        return self.listener.tls.wrap_socket(connection, server_side=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_one_request(self) -> None:
        """Read one request, have it answered, and deliver the answer in its manner."""
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            self.close_connection = True
            return
        listener = self.server.listener
        if listener.down:
            self._reset()
            return
        try:
            request = self._request()
        except ValueError:
            self.close_connection = True
            self.send_error(400, explain="The length of the body is no number.")
            return
        self._deliver(listener.serve(request))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing: the sandbox has a log of its own."""

    def _request(self) -> Request:
        scheme = "https" if isinstance(self.connection, ssl.SSLSocket) else "http"
        host = self.headers.get("Host") or f"{HOST}:{self.server.listener.port}"
        return Request(
            method=self.command,
            target=self.path,
            headers={name.lower(): value.strip() for name, value in self.headers.items()},
            body=self._body(),
            base_url=f"{scheme}://{host}",
        )

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        length = int(self.headers.get("Content-Length") or 0)
        return self._read(min(length, LARGEST_BODY)) if length > 0 else b""

    def _read(self, size: int) -> bytes:
        """Read `size` bytes of a body. Raises ConnectionError if it ends early: no service acts on
        half of a request."""
        content = self.rfile.read(size)
        if len(content) < size:
            raise ConnectionAbortedError("the client went away in the middle of a body")
        return content

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(1_024).split(b";")[0], 16)
        content = self._read(min(size, LARGEST_BODY))
        self.rfile.readline(1_024)
        return content

    def _deliver(self, delivery: Delivery) -> None:
        """Send the answer, in the manner of the fault that the request met."""
        fault = delivery.fault
        if fault is not None and fault.kind in OUTAGES:
            # It begins before the answer leaves, so that nothing slips in between.
            self.close_connection = True
            listener = self.server.listener
            begin = listener.refuse if fault.kind is FaultKind.REFUSE else listener.fail_tls
            begin(fault.seconds, spared=self.connection)
        head, body = self._head(delivery.response), self._shown_body(delivery.response)
        kind = fault.kind if fault and not fault.answered else None
        if kind in RESETS:
            self._reset()
        elif kind in UNANSWERED:
            self.close_connection = True
        elif fault and kind is FaultKind.SLOW_BODY:
            self._trickle(head, body, fault.seconds)
        elif kind is FaultKind.TRUNCATE:
            # Half of the body, or of the head if there is no body.
            self.connection.sendall(
                head + body[: len(body) // 2] if body else head[: len(head) // 2]
            )
            self.close_connection = True
        else:
            self.connection.sendall(head + body)

    def _head(self, response: Response) -> bytes:
        lines = [f"HTTP/1.1 {response.status} {reason_phrase(response.status)}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        lines.append(f"Date: {_date(int(time.time()))}")
        if response.status not in (204, 304):
            lines.append(f"Content-Length: {len(response.body)}")
        if self.close_connection:
            lines.append("Connection: close")
        return "\r\n".join((*lines, "", "")).encode("utf-8")

    def _shown_body(self, response: Response) -> bytes:
        return b"" if self.command == "HEAD" or response.status in (204, 304) else response.body

    def _trickle(self, head: bytes, body: bytes, seconds: float) -> None:
        self.connection.sendall(head)
        step = len(body) // TRICKLE_STEPS + 1
        for start in range(0, len(body), step):
            self.server.listener.sleep(seconds / TRICKLE_STEPS)
            self.connection.sendall(body[start : start + step])

    def _reset(self) -> None:
        """End the connection with RST: linger for no time, then close the socket itself."""
        self.close_connection = True
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        socket.close(self.connection.detach())


@lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
