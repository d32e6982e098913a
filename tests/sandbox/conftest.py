"""One small world, and a client that says nothing on its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import pytest
import requests

from partner_tools.sandbox import Sandbox, Seed, faults_from, seed_from

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
FLEET = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"
WINGTIP = "73d5f1a9-0e68-4c2b-9a47-b8c3d6e0f154"
ADVISED = "e41b6c08-7d92-4a35-8c1f-5f0a3b9d6e72"
ODD = "Büro #7 / 50 %"

WORLD: dict[str, Any] = {
    "schemaVersion": "1",
    "partner": {"domain": "fabrikam.onmicrosoft.com", "name": "Fabrikam"},
    "users": [
        {"name": "avery@fabrikam.onmicrosoft.com"},
        {"name": "sam@fabrikam.onmicrosoft.com", "mfa": False},
        {"name": "kim@fabrikam.onmicrosoft.com", "mfaDemanded": True},
    ],
    "customers": [
        {
            "tenantId": CONTOSO,
            "domain": "contoso.onmicrosoft.com",
            "name": "Contoso",
            "customDomains": ["contoso.com"],
            "batches": [
                {
                    "id": ODD,
                    "devicesCount": 9,
                    "devices": [
                        {
                            "id": "9993-8627",
                            "serialNumber": "A1",
                            "oemManufacturerName": "Contoso",
                            "modelName": "N1",
                        },
                        {"id": "other's", "serialNumber": "A2", "registeredByOther": True},
                        {"id": "kept", "serialNumber": "A3", "allowedOperations": ["GET"]},
                        {"id": "bare", "productKey": "3305679240999"},
                    ],
                },
                {"id": "empty"},
            ],
        },
        {
            "tenantId": FLEET,
            "domain": "fleet.onmicrosoft.com",
            "fleets": [{"count": 250, "batchName": "Fleet"}],
        },
        {"tenantId": WINGTIP, "domain": "wingtip.onmicrosoft.com", "relationship": "none"},
        {"tenantId": ADVISED, "domain": "advised.onmicrosoft.com", "relationship": "advisor"},
    ],
    "assignedElsewhere": ["ELSEWHERE"],
    "unknownToAutopilot": ["NEWBOARD"],
}


class Start(Protocol):
    """Starts a sandbox that ends with the test."""

    def __call__(self, faults: Any = None, *, seed: Seed | None = None, **options: Any) -> Sandbox:
        """`faults` is a faults file without its version."""


@pytest.fixture(scope="session")
def world() -> Seed:
    return seed_from(WORLD)


@pytest.fixture
def start(world: Seed) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(faults: Any = None, *, seed: Seed | None = None, **options: Any) -> Sandbox:
            return stack.enter_context(Sandbox(seed or world, faults_from(faults or {}), **options))

        yield begin


@dataclass
class Client:
    """A session against one sandbox: paths below `/v1`, JSON without its byte order mark."""

    sandbox: Sandbox
    kind: str = "app"
    session: requests.Session = field(default_factory=requests.Session)

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {
            "Authorization": f"Bearer {self.sandbox.tokens[self.kind]}",
            **options.pop("headers", {}),
        }
        url = f"{self.sandbox.urls['partnerCenter']}/v1{path}"
        return self.session.request(
            method,
            url,
            headers=headers,
            allow_redirects=False,
            **{"timeout": 10, **options},
        )

    def json(self, path: str, **options: Any) -> Any:
        return self.read(self("GET", path, **options))

    @staticmethod
    def read(response: requests.Response) -> Any:
        return json.loads(response.content.decode("utf-8-sig"))

    @staticmethod
    def devices(customer: str, batch: str, *device: str) -> str:
        """The path of a batch's devices, or of one of them."""
        parts = ["", "customers", customer, "deviceBatches", quote(batch, safe=""), "devices"]
        return "/".join((*parts, *(quote(part, safe="") for part in device)))

    def serials(self, customer: str, batch: str) -> list[str | None]:
        """Every device of a batch, page by page."""
        found: list[str | None] = []
        headers: dict[str, str] = {}
        while True:
            page = self.json(self.devices(customer, batch), headers=headers)
            found += [item.get("serialNumber") for item in page["items"]]
            if not page.get("continuationToken"):
                return found
            headers = {"MS-ContinuationToken": page["continuationToken"]}


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    with ExitStack() as stack:

        def new(sandbox: Sandbox, kind: str = "app") -> Client:
            session = stack.enter_context(requests.Session())
            session.trust_env = False
            return Client(sandbox, kind, session)

        yield new


@dataclass
class Clock:
    """A time that stands still until somebody moves it."""

    now: float = 1_794_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@dataclass
class GraphClient:
    """A session against one sandbox's Graph: paths behind the version, v1.0 where none is said."""

    sandbox: Sandbox
    token: str
    session: requests.Session

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        versioned = path if path.startswith("/beta/") else f"/v1.0{path}"
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return self.session.request(
            method,
            f"{self.sandbox.urls['graph']}{versioned}",
            headers=headers,
            allow_redirects=False,
            **{"timeout": 10, **options},
        )

    def json(self, path: str, **options: Any) -> Any:
        return self("GET", path, **options).json()

    def rows(self, path: str, **query: str) -> list[Any]:
        """One page, found by query options without their `$`."""
        answer = self("GET", path, params={f"${name}": text for name, text in query.items()})
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["value"]
        return found

    def pages(self, path: str, **query: str) -> Iterator[list[Any]]:
        """Every page, and not one without end."""
        page = self.json(path, params={f"${name}": text for name, text in query.items()})
        for _ in range(100):
            yield page["value"]
            link = page.get("@odata.nextLink")
            if link is None:
                return
            headers = {"Authorization": f"Bearer {self.token}"}
            page = self.session.get(link, headers=headers, timeout=10).json()
        raise AssertionError(f"{path} has no last page")

    def door(self, method: str, path: str = "") -> requests.Response:
        """The tenant's own side."""
        url = f"{self.sandbox.control_url}/graph/{CONTOSO}{path}"
        return self.session.request(method, url, timeout=10)

    def batch(self, *asked: dict[str, Any], version: str = "/v1.0") -> requests.Response:
        path = "/$batch" if version == "/v1.0" else f"{version}/$batch"
        return self("POST", path, json={"requests": list(asked)})


@pytest.fixture
def graph() -> Iterator[Callable[..., GraphClient]]:
    """A client with a token of a customer: `graph` may do everything, `graphRead` look."""
    with ExitStack() as stack:

        def new(
            sandbox: Sandbox, kind: str = "graph", domain: str = "contoso.onmicrosoft.com"
        ) -> GraphClient:
            session = stack.enter_context(requests.Session())
            session.trust_env = False
            token = sandbox.tokens[f"{kind}:{domain}"]
            return GraphClient(sandbox, token, session)

        yield new
