"""CPU per 1,000 requests: ours against `requests` itself, and against faster transports.

64 threads, keep-alive, loopback, plain HTTP; the service runs in a process of its own. The faster
ones do less: no redirects refused, no tokens, no limits on sizes, no errors with a meaning.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import requests
import urllib3

from partner_tools.clients.transport import Request, Transport
from tests.bench.figures import Figure, Part, in_turns, pairs

THREADS, EXCHANGES, ROUNDS = 64, 3200, 3
BARE = "requests, a session per thread"

SERVICE = r"""
import socket, threading
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
def serve(connection):
    waiting = b""
    while content := connection.recv(65536):
        waiting += content
        while b"\r\n\r\n" in waiting:
            waiting = waiting.split(b"\r\n\r\n", 1)[1]
            connection.sendall(answer)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
HEADERS = {"Accept": "application/json", "MS-RequestId": "r", "MS-CorrelationId": "c"}


Exchange = Callable[[], object]
Open = Callable[[], Exchange]


def measure(*, quick: bool) -> Iterator[Part]:
    """All forms in turns."""
    exchanges = THREADS if quick else EXCHANGES
    command = [sys.executable, "-c", SERVICE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        url = f"http://127.0.0.1:{service.stdout.readline().strip()}"
        with ExitStack() as resources:
            forms = _forms(url, resources)
            takes = {name: partial(_seconds, form, exchanges) for name, form in forms.items()}
            found = in_turns(takes, 1 if quick else ROUNDS)
        service.kill()
    yield Part(
        title="Transport",
        how=f"{exchanges:,} requests by {THREADS} threads; CPU time of this process for 1,000.",
        figures=[
            Figure(
                what=name,
                unit="s of CPU",
                values=values,
                baseline=BARE,
                against=found[BARE],
                ratios=pairs(values, found[BARE]),
            )
            for name, values in found.items()
            if name != BARE
        ],
    )


def _forms(url: str, resources: ExitStack) -> dict[str, Open]:
    where = f"{url}/v1/x"
    transport = resources.enter_context(Transport(url, pool_size=THREADS))
    request = Request(method="GET", url="/v1/x", headers=HEADERS)
    pool = resources.enter_context(urllib3.PoolManager(maxsize=THREADS, block=True))

    def bare() -> Exchange:
        session = resources.enter_context(requests.Session())
        return lambda: session.get(where, headers=HEADERS, timeout=10).content

    def by_connection() -> Exchange:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        resources.callback(connection.close)

        def exchange() -> bytes:
            connection.request("GET", "/v1/x", headers=HEADERS)
            return connection.getresponse().read()

        return exchange

    return {
        BARE: bare,
        "Transport, shared by all threads": lambda: lambda: transport.send(request),
        "urllib3, a shared pool": lambda: lambda: pool.request("GET", where, headers=HEADERS).data,
        "http.client, a connection per thread": by_connection,
    }


def _seconds(open_one: Open, exchanges: int) -> float:
    """Seconds of this process's CPU for 1,000 exchanges."""

    def work() -> None:
        exchange = open_one()
        for _ in range(exchanges // THREADS):
            exchange()

    started = time.process_time()
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - started) / exchanges * 1000
