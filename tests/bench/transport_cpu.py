"""What one exchange costs: `python -m tests.bench.transport_cpu`, against requests itself.

64 threads, keep-alive, loopback; the service runs in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import requests

from partner_tools.clients.transport import Request, Transport

THREADS, EXCHANGES, ROUNDS = 64, 6400, 3

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


def measure(open_one: Callable[[], Callable[[], object]]) -> float:
    """Exchanges per second of this process's CPU."""

    def work() -> None:
        exchange = open_one()
        for _ in range(EXCHANGES // THREADS):
            exchange()

    started = time.process_time()
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return EXCHANGES / (time.process_time() - started)


def main() -> None:
    """Print the best of three rounds of each form."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        url = f"http://127.0.0.1:{service.stdout.readline().strip()}"
        transport = Transport(url, pool_size=THREADS)
        request = Request(method="GET", url="/v1/x", headers=HEADERS)

        def session_of_its_own() -> Callable[[], object]:
            session = requests.Session()
            return lambda: session.get(f"{url}/v1/x", headers=HEADERS, timeout=10).content

        forms = {
            "requests, a session per thread": session_of_its_own,
            "Transport, shared": lambda: lambda: transport.send(request),
        }
        for name, open_one in forms.items():
            best = max(measure(open_one) for _ in range(ROUNDS))
            sys.stdout.write(f"{name}: {best:,.0f} exchanges per CPU-second\n")
        service.kill()


if __name__ == "__main__":
    main()
