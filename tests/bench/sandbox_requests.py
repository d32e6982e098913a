"""How many requests a second the sandbox serves in a process of its own (one core: the GIL).

Lists a fleet's devices and removes them all, over kept-alive connections of 8 clients. What is
measured here bounds every other benchmark that talks to the sandbox.
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import local
from typing import Any
from urllib.parse import quote, urlsplit

from tests.bench.figures import Figure, Part, seconds

TENANT = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"


CLIENTS = 8


def measure(*, quick: bool) -> Iterator[Part]:
    """Plain and over TLS."""
    devices = 40 if quick else 10_000
    figures = [
        Figure(what=f"{what}, {'TLS' if tls else 'plain'}", unit="requests/s", values=[rate])
        for tls in (False, True)
        for what, rate in _served(devices, tls=tls)
    ]
    yield Part(title="The sandbox", how=f"{CLIENTS} clients, {devices:,} devices.", figures=figures)


def _served(devices: int, *, tls: bool) -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        seed = Path(folder) / "seed.json"
        seed.write_text(json.dumps(fleet(devices)), encoding="utf-8")
        command = [sys.executable, "-m", "partner_tools", "sandbox", "--seed", str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                with ExitStack() as open_ones:
                    said = json.loads(server.stdout.readline())
                    yield from requests_served(said, open_ones, devices, tls=tls)
            finally:
                server.terminate()


def fleet(devices: int) -> dict[str, Any]:
    customer = {
        "tenantId": TENANT,
        "domain": "fleet.example",
        "fleets": [{"count": devices, "batches": 20}],
    }
    return {
        "schemaVersion": "1",
        "partner": {"domain": "partner.example"},
        "customers": [customer],
    }


def requests_served(
    said: dict[str, Any], open_ones: ExitStack, devices: int, *, tls: bool
) -> Iterator[tuple[str, float]]:
    ask = asker(said, open_ones, tls=tls)
    batches = [path(item["id"]) for item in ask("GET", f"/v1/customers/{TENANT}/deviceBatches")]
    with ThreadPoolExecutor(CLIENTS) as pool:

        def rate(do: Callable[[str], object], wheres: list[str]) -> float:
            return len(wheres) / seconds(lambda: deque(pool.map(do, wheres), maxlen=0))

        simple = [f"/v1/customers/{TENANT}"] * (devices // 4)
        yield "get customer", rate(lambda where: ask("GET", where), simple)
        pages = list(pool.map(lambda batch: pages_of(ask, batch), batches))
        found = [f"{batch}/{one}" for batch, ids in zip(batches, pages, strict=True) for one in ids]
        assert len(found) == devices
        yield "remove device", rate(lambda where: ask("DELETE", where), found)


def path(batch: str) -> str:
    return f"/v1/customers/{TENANT}/deviceBatches/{quote(batch, safe='')}/devices"


def pages_of(ask: Callable[..., Any], batch: str) -> list[str]:
    ids: list[str] = []
    token: str | None = None
    while True:
        page = ask("GET", batch, token, whole=True)
        ids += [item["id"] for item in page["items"]]
        token = page.get("continuationToken")
        if not token:
            return ids


def asker(said: dict[str, Any], open_ones: ExitStack, *, tls: bool) -> Callable[..., Any]:
    """Asks over one kept-alive connection per thread."""
    address = urlsplit(said["tlsUrls" if tls else "urls"]["partnerCenter"])
    context = ssl.create_default_context(cafile=said["caFile"])
    mine = local()

    def connection() -> http.client.HTTPConnection:
        if not hasattr(mine, "connection"):
            host, port = str(address.hostname), address.port
            mine.connection = (
                http.client.HTTPSConnection(host, port, context=context)
                if tls
                else http.client.HTTPConnection(host, port)
            )
            open_ones.callback(mine.connection.close)
        found: http.client.HTTPConnection = mine.connection
        return found

    def ask(method: str, where: str, token: str | None = None, *, whole: bool = False) -> Any:
        headers = {"Authorization": f"Bearer {said['tokens']['app']}"}
        if token:
            headers["MS-ContinuationToken"] = token
        connection().request(method, where, headers=headers)
        answer = connection().getresponse()
        body = answer.read()
        assert answer.status in (200, 204), (answer.status, body)
        read = json.loads(body) if body else {}
        return read if whole else read.get("items")

    return ask
