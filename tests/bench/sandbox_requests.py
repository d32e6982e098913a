"""How many requests a second the sandbox serves in a process of its own (one core: the GIL).

`python tests/bench/sandbox_requests.py [--devices 20000] [--clients 8] [--tls]` lists the fleet's
devices and removes them all, over kept-alive connections, and prints requests per second.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any
from urllib.parse import quote, urlsplit

TENANT = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tls", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seed = Path(folder) / "seed.json"
        seed.write_text(json.dumps(fleet(given.devices)), encoding="utf-8")
        command = [sys.executable, "-m", "partner_tools.sandbox", "--seed", str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            measure(json.loads(server.stdout.readline()), given.clients, tls=given.tls)
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


def measure(said: dict[str, Any], clients: int, *, tls: bool) -> None:
    ask = asker(said, tls=tls)
    batches = [path(item["id"]) for item in ask("GET", f"/v1/customers/{TENANT}/deviceBatches")]
    with ThreadPoolExecutor(clients) as pool:
        simple = [f"/v1/customers/{TENANT}"] * 4_000
        timed("get-customer", len(simple), lambda: list(pool.map(lambda p: ask("GET", p), simple)))
        found: list[str] = []
        pages = timed(
            "list-devices", 0, lambda: list(pool.map(lambda b: pages_of(ask, b), batches))
        )
        for batch, ids in zip(batches, pages, strict=True):
            found += [f"{batch}/{one}" for one in ids]
        timed(
            "delete-device", len(found), lambda: list(pool.map(lambda p: ask("DELETE", p), found))
        )


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


def asker(said: dict[str, Any], *, tls: bool) -> Callable[..., Any]:
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


def timed(what: str, count: int, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    done = work()
    seconds = time.perf_counter() - start
    number = count or sum(len(ids) // 100 + 1 for ids in done)
    sys.stdout.write(f"{what}: {number} requests in {seconds:.2f} s = {number / seconds:.0f}/s\n")
    return done


if __name__ == "__main__":
    main()
