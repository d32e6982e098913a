"""Clients that others wrote, unmodified, against the sandbox: from npm and from PyPI.

Those from npm need Node and `npm ci` in a copy of `tests/sandbox/node`, as `.ci/run` does it;
REQUIRE_NODE=1 says that they must run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from azure.identity import ClientSecretCredential

from partner_tools.sandbox import Sandbox
from tests.sandbox.conftest import Start
from tests.sandbox.test_sandbox_observed_behaviour import CONTOSO, DOMAIN, SEED

NODE = Path(__file__).parent / "node"
MODULES = Path(__file__).parents[2] / ".cache" / "node" / "node_modules"
GRAPH = "https://graph.microsoft.com"
HOSTS = {"graph": "graph.microsoft.com", "login": "login.microsoftonline.com"}


@pytest.fixture(scope="module")
def node() -> str:
    """The path of `node`; skips without it or the packages, which REQUIRE_NODE=1 forbids."""
    program = shutil.which("node")
    if program is not None and MODULES.is_dir():
        return program
    reason = (
        f"{MODULES} is missing: copy tests/sandbox/node there and run `npm ci`"
        if program
        else "Node is not installed"
    )
    if os.environ.get("REQUIRE_NODE") == "1":
        pytest.fail(f"REQUIRE_NODE=1, but {reason}")
    pytest.skip(reason)


def test_a_missing_node_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUIRE_NODE", "1")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(pytest.fail.Exception, match="Node is not installed"):
        node.__wrapped__()  # type: ignore[attr-defined]


class Tunnel(ThreadingTCPServer):
    """A proxy that leads Microsoft's hosts to a sandbox, and forbids every other.

    For clients whose hosts cannot be set: they find it by HTTPS_PROXY.
    """

    daemon_threads = True

    def __init__(self, sandbox: Sandbox) -> None:
        self.ports = {host: urlsplit(sandbox.urls[name]).port for name, host in HOSTS.items()}
        super().__init__(("127.0.0.1", 0), _Connection)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Connection(StreamRequestHandler):
    server: Tunnel

    def handle(self) -> None:
        host = self.rfile.readline().split()[1].decode().partition(":")[0]
        while self.rfile.readline().strip():
            pass
        port = self.server.ports.get(host)
        if port is None:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", port)) as service:
            back = threading.Thread(target=_pump, args=(service, self.connection), daemon=True)
            back.start()
            _pump(self.connection, service)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def tunnel(start: Start, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Sandbox, Tunnel]]:
    """A sandbox whose certificate is also for Microsoft's hosts, and the way to it."""
    issue = trustme.CA.issue_cert

    def issue_for_hosts(authority: trustme.CA, *names: str) -> trustme.LeafCert:
        return issue(authority, *names, *HOSTS.values())

    monkeypatch.setattr(trustme.CA, "issue_cert", issue_for_hosts)
    sandbox = start(seed=SEED)
    with Tunnel(sandbox) as opened:
        yield sandbox, opened
        opened.shutdown()


def run(arguments: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_microsofts_graph_client_for_javascript(node: str, start: Start) -> None:
    """Pages, filter, select, expand, errors, a batch with a failed dependency, an action."""
    sandbox = start(seed=SEED)
    base = sandbox.urls["graph"].replace("http:", "https:") + "/"
    done = run(
        [node, str(NODE / "graph_client.cjs"), base, sandbox.tokens[f"graph:{DOMAIN}"]],
        {"NODE_PATH": str(MODULES), "NODE_EXTRA_CA_CERTS": str(sandbox.ca_file)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "pages": ["S1", "S2", "S3"],
        "filtered": [["id", "serialNumber"]] * 3,
        "owners": [1, 1, 1],
        "error": [400, "Request_BadRequest", True],
        "batch": [["1", 404, True], ["2", 424, True]],
        "tagged": 1,
    }


def test_the_cli_for_microsoft_365(
    node: str, tunnel: tuple[Sandbox, Tunnel], tmp_path: Path
) -> None:
    """Signs in with a secret, names the connection, reads, and deletes."""
    sandbox, proxy = tunnel
    program = MODULES / "@pnp" / "cli-microsoft365" / "dist" / "index.js"
    environment = {
        "HOME": str(tmp_path),
        "HTTPS_PROXY": proxy.url,
        "NODE_EXTRA_CA_CERTS": str(sandbox.ca_file),
    }

    def m365(*arguments: str) -> Any:
        done = run([node, str(program), *arguments, "--output", "json"], environment)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    application = sandbox.seed.applications[0]
    credentials = ("--appId", application.client_id, "--secret", str(application.secret))
    login = m365("login", "--authType", "secret", *credentials, "--tenant", CONTOSO)
    assert login["connectedAs"] == "Sandbox application"
    (organization,) = m365("entra", "organization", "list")
    assert organization["id"] == CONTOSO
    devices = m365("request", "--url", f"{GRAPH}/v1.0/devices?$select=id")["value"]
    first = devices[0]["id"]
    m365("request", "--method", "delete", "--url", f"{GRAPH}/v1.0/devices/{first}")
    assert sandbox.log.counts()["delete-entra-device"] == {"204": 1}


def azure_options(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "authority": sandbox.urls["login"],
        "disable_instance_discovery": True,
        "connection_verify": str(sandbox.ca_file),
    }


def test_azure_identity(start: Start) -> None:
    """A token by secret, which Graph takes; and the reason for one that is not given."""
    sandbox = start(seed=SEED)
    application = sandbox.seed.applications[0]
    right, wrong = (
        ClientSecretCredential(CONTOSO, application.client_id, secret, **azure_options(sandbox))
        for secret in (str(application.secret), "wrong")
    )
    token = right.get_token(f"{GRAPH}/.default").token
    answer = requests.get(
        f"{sandbox.urls['graph']}/v1.0/organization",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    assert answer.json()["value"][0]["id"] == CONTOSO
    with pytest.raises(Exception, match="AADSTS7000215"):
        wrong.get_token(f"{GRAPH}/.default")


def test_o365(tunnel: tuple[Sandbox, Tunnel], monkeypatch: pytest.MonkeyPatch) -> None:
    """O365 signs in by an msal of its own, and reads page by page."""
    o365 = pytest.importorskip("O365", reason="O365 is not installed: it is in the extra dev")
    backend = pytest.importorskip("O365.utils.token").MemoryTokenBackend()
    sandbox, proxy = tunnel
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(sandbox.ca_file))
    application = sandbox.seed.applications[0]
    account = o365.Account(
        (application.client_id, str(application.secret)),
        auth_flow_type="credentials",
        tenant_id=CONTOSO,
        token_backend=backend,
    )
    assert account.authenticate()
    address, seen = f"{GRAPH}/v1.0/devices?$top=2&$select=displayName", []
    while address:
        page = account.connection.get(address).json()
        seen += [row["displayName"] for row in page["value"]]
        address = page.get("@odata.nextLink")
    assert seen == ["DESKTOP-S1", "DESKTOP-S2", "DESKTOP-S3"]
