"""The services together: started, announced, looked into, and stopped."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from partner_tools.clients.oem.profile import Auth, AuthMode, Profile
from partner_tools.errors import InputError
from partner_tools.sandbox.core import Core, Log
from partner_tools.sandbox.faults import Faults, checked_faults, read_faults
from partner_tools.sandbox.graph import deletion
from partner_tools.sandbox.graph.estate import Estate
from partner_tools.sandbox.graph.operations import status_of
from partner_tools.sandbox.graph.service import Graph
from partner_tools.sandbox.listener import HOST, Later, Listener, Serve, after
from partner_tools.sandbox.login import GRAPH, PARTNER_CENTER, Login, Mint
from partner_tools.sandbox.oem_direct import OemDirect
from partner_tools.sandbox.partner_center import PartnerCenter, device_item
from partner_tools.sandbox.seed import (
    GRAPH_READ_PERMISSIONS,
    Seed,
    User,
    derived_id,
    read_seed,
    shipped_seed,
)
from partner_tools.sandbox.state import State
from partner_tools.sandbox.wire import Delivery, Request, Response, Service, json_response

HOUR = 3_600
DAY = 24 * HOUR
CONTROL = "control"
FOREIGN_TENANT = derived_id("foreign partner")
WITHOUT_INTUNE = tuple(one for one in GRAPH_READ_PERMISSIONS if "ManagedDevices" not in one)


OEM_PROFILE = Profile(name="sandbox", auth=Auth(mode=AuthMode.NONE))
"""The OEM Direct API's default wire: JSON, outcomes in the answer, no sign-in."""


DECISIONS = frozenset({"approved", "rejected", "cancelled"})
DONE = Response(status=204)
NOTHING = json_response(404, {"error": "there is nothing here"})


def _answer_tenant(request: Request, estate: Estate, now: float) -> Response:
    """Answer a question about one tenant, or have something happen there."""
    match request.method, request.segments[2:]:
        case "GET", ():
            return json_response(200, estate.truth())
        case "POST", ("check-in",):
            machines, act = [*estate.machines], deletion.check_in
        case "POST", ("machines", name, "check-in"):
            machines, act = estate.machines_named(name), deletion.check_in
        case "DELETE", ("computers", name):
            machines = [one for one in estate.machines_named(name) if one.computer is not None]
            act = deletion.delete_computer
        case "POST", ("connect",):
            deletion.connect(estate, now)
            return DONE
        case "POST", ("approvals", code, decision) if decision in DECISIONS:
            return _decide(estate, code, decision, now)
        case _:
            return NOTHING
    for machine in machines:
        act(estate, machine, now)
    return DONE if machines else NOTHING


def _decide(estate: Estate, code: str, decision: str, now: float) -> Response:
    approval = estate.approvals.get(code.lower())
    if approval is None:
        return NOTHING
    status = status_of(approval, now)
    if status != "needsApproval":
        return json_response(409, {"error": f"the request is {status}"})
    approval.status = decision
    return DONE


class Sandbox:
    """The services and their token endpoint on loopback, from `with` to the end of the block.

    `oem_profile` is the wire that the OEM Direct API speaks; where it wants mutual TLS, the API
    is served over that alone, to whoever presents `client_certificate`.
    `port` is the first service's; the others follow it. 0 takes any that are free. `clock` gives
    seconds since the epoch and rules limits, jobs, lists and tokens; `sleep` waits some
    seconds, and wakes up when the sandbox stops by default; `later` ends outages.
    `random_seed` decides every chance.
    Raises InputError on entry when a port is taken.
    """

    def __init__(
        self,
        seed: Seed,
        faults: Faults | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
        later: Later = after,
        random_seed: int = 0,
        port: int = 0,
        oem_profile: Profile = OEM_PROFILE,
    ) -> None:
        self.seed = seed
        self.state = State(seed, clock)
        self._faults = faults or Faults()
        self._stopping = threading.Event()
        self._sleep = sleep or self._stopping.wait
        self._later = later
        self._core = Core(self._faults, clock=clock, sleep=self._sleep, seed=random_seed)
        key = Random(random_seed).randbytes(32)  # noqa: S311 - worth nothing outside
        self._mint = Mint(key, clock)
        self.oem_direct = OemDirect(
            self.state,
            oem_profile,
            self._mint,
            clock,
            faults=lambda: self._faults.items,
            seed=random_seed,
        )
        self.graph = Graph(
            self.state,
            self._mint,
            lambda: self._faults.graph,
            clock,
            lambda request: self._core.within(self.graph, request),
            seed=random_seed,
        )
        self._services: tuple[Service, ...] = (
            PartnerCenter(
                self.state, self._mint, lambda: self._faults.quirks, clock, seed=random_seed
            ),
            Login(seed, self._mint, lambda: self._faults.quirks, clock),
            self.oem_direct,
            self.graph,
        )
        self._clock = clock
        self._port = port
        self._listeners: dict[str, Listener] = {}
        self._folder: Path | None = None

    def __enter__(self) -> Sandbox:
        self._folder = Path(tempfile.mkdtemp(prefix="partner-tools-sandbox-"))
        try:
            tls, mutual = _tls(self.ca_file, self.client_certificate)
            doors: list[tuple[str, Serve]] = [
                (one.name, partial(self._core.serve, one)) for one in self._services
            ]
            for offset, (name, serve) in enumerate([*doors, (CONTROL, self._serve_control)]):
                port = self._port + offset if self._port else 0
                demanding = name == self.oem_direct.name and self.oem_direct.secure_only
                context = mutual if demanding else tls
                self._listeners[name] = Listener(serve, context, self._sleep, port, self._later)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()

    @property
    def log(self) -> Log:
        return self._core.log

    @property
    def ca_file(self) -> Path:
        """PEM of the certificate authority to trust; it is deleted when the sandbox stops."""
        assert self._folder is not None, "the sandbox is not started"  # noqa: S101
        return self._folder / "ca.pem"

    @property
    def client_certificate(self) -> Path:
        """PEM of a certificate and its key, which mutual TLS accepts here; deleted at the end."""
        return self.ca_file.with_name("client.pem")

    @property
    def urls(self) -> Mapping[str, str]:
        """The base URL of each service: plain HTTP for the APIs, HTTPS for the login.

        HTTPS for the OEM Direct API too where its wire wants a client certificate.
        """
        return {
            service.name: self._url(service.name, "https" if service.secure_only else "http")
            for service in self._services
        }

    @property
    def tls_urls(self) -> Mapping[str, str]:
        """The same services over HTTPS, at the same ports."""
        return {service.name: self._url(service.name, "https") for service in self._services}

    @property
    def control_url(self) -> str:
        """Where another process inspects this sandbox and changes its faults."""
        return self._url(CONTROL, "http")

    @property
    def tokens(self) -> Mapping[str, str]:
        """Fresh tokens by kind: access tokens for Partner Center, and `refresh…` ones to exchange.

        `app` · `user` · `userNoMfa` · `userNoRole` · `wrongAudience` · `expired` · `foreignPartner`
        · `refresh` · `refreshExpired`, and `refreshNoMfa` · `refreshMfaDemanded` where the seed has
        such a user. For Microsoft Graph in the tenant of each customer that has devices or
        machines: `graph:{domain}` · `graphRead:{domain}` · `graphNoIntune:{domain}`
        """
        application, tenant = self.seed.applications[0].client_id, self.seed.partner.tenant_id
        user, make = self.seed.users[0], self._mint
        app = partial(make.for_app, application, lifetime=DAY)
        person = partial(
            make.for_user, app_id=application, tenant=tenant, audience=PARTNER_CENTER, lifetime=DAY
        )
        refresh = partial(make.to_refresh, app_id=application, tenant=tenant)
        tokens = {
            "app": app(tenant, PARTNER_CENTER),
            "user": person(User(name=user.name)),
            "userNoMfa": person(User(name=user.name, mfa=False)),
            "userNoRole": person(User(name=user.name, roles=("HelpdeskAgents",))),
            "wrongAudience": app(tenant, "https://graph.windows.net"),
            "expired": make.for_app(application, tenant, PARTNER_CENTER, lifetime=-HOUR),
            "foreignPartner": app(FOREIGN_TENANT, PARTNER_CENTER),
            "refresh": refresh(user),
            "refreshExpired": refresh(user, lifetime=-HOUR),
        }
        for one in self.seed.users:
            if not one.mfa:
                tokens.setdefault("refreshNoMfa", refresh(one))
            if one.mfa_demanded:
                tokens.setdefault("refreshMfaDemanded", refresh(one))
        kinds = {
            "graph": self.seed.applications[0].graph_permissions,
            "graphRead": GRAPH_READ_PERMISSIONS,
            "graphNoIntune": WITHOUT_INTUNE,
        }
        for customer in self.seed.customers:
            for kind, permissions in kinds.items():
                if customer.batches or customer.tenant.machines:
                    token = app(customer.tenant_id, GRAPH, permissions=permissions)
                    tokens[f"{kind}:{customer.domain}"] = token
        return tokens

    def behave(self, faults: Faults) -> None:
        """Continue under other faults: counts and hidden limits start anew, what exists stays."""
        self._faults = faults
        self._core.behave(faults)
        self.oem_direct.behave()

    def refuse(self, service: str) -> None:
        """Stop listening at a service's port, until `listen`."""
        self._listeners[service].refuse()

    def listen(self, service: str) -> None:
        """Listen again at the port that refused."""
        self._listeners[service].listen()

    def announce(self) -> dict[str, Any]:
        """What `partner-tools sandbox` prints as its first line."""
        urls, tokens = self.urls, self.tokens
        return {
            "schemaVersion": "1",
            "urls": dict(urls),
            "tlsUrls": dict(self.tls_urls),
            "controlUrl": self.control_url,
            "caFile": str(self.ca_file),
            "clientCertificate": str(self.client_certificate),
            "tokens": dict(tokens),
            "partner": {
                "tenantId": self.seed.partner.tenant_id,
                "domain": self.seed.partner.domain,
            },
            "applications": [
                {"clientId": one.client_id, **({"secret": one.secret} if one.secret else {})}
                for one in self.seed.applications
            ],
            "environment": {
                "PARTNER_TOOLS_PARTNER_CENTER_URL": urls["partnerCenter"],
                "PARTNER_TOOLS_LOGIN_URL": urls["login"],
                "PARTNER_TOOLS_GRAPH_URL": urls["graph"],
                "PARTNER_TOOLS_OEM_DIRECT_URL": urls["oemDirect"],
                "PARTNER_TOOLS_CA_BUNDLE": str(self.ca_file),
                "PARTNER_TOOLS_PARTNER_NAME": f"Sandbox partner ({self.seed.partner.domain})",
                "PARTNER_TOOLS_PARTNER_CONTACT": f"devices@{self.seed.partner.domain}",
                "PARTNER_TOOLS_ACCESS_TOKEN": tokens["app"],
            },
        }

    def _serve_control(self, request: Request) -> Delivery:
        """Answer the control interface; `docs/reference/sandbox.md` lists its paths.

        Its requests are neither logged nor met by faults. It needs no token: it is on loopback.
        """
        return Delivery(response=self._answer_control(request))

    def _answer_control(self, request: Request) -> Response:
        match request.method, request.segments:
            case "GET", ("log",):
                entries = [asdict(entry) for entry in self.log.entries]
                return json_response(200, {"requests": entries})
            case "GET", ("counts",):
                return json_response(200, self.log.counts())
            case "DELETE", ("log",):
                self.log.clear()
                return DONE
            case "GET", ("devices", customer) if self.state.customer(customer):
                devices = [
                    {"batchId": placed.batch_id, **device_item(placed.device)}
                    for placed in self.state.devices(customer)
                ]
                return json_response(200, {"devices": devices})
            case "PUT", ("faults",):
                try:
                    self.behave(checked_faults(json.loads(request.body), "the request"))
                except (ValueError, RecursionError, InputError) as error:
                    return json_response(400, {"error": str(error)})
                return DONE
            case _, ("graph", tenant, *_) if self.state.customer(tenant):
                with self.state.lock:
                    return _answer_tenant(request, self.graph.estates.of(tenant), self._clock())
        return NOTHING

    def _url(self, name: str, scheme: str) -> str:
        return f"{scheme}://{HOST}:{self._listeners[name].port}"

    def _stop(self) -> None:
        self._stopping.set()
        with ThreadPoolExecutor(len(self._listeners) + 1) as pool:
            list(pool.map(Listener.close, self._listeners.values()))
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def serve(
    seed_path: Path | None,
    faults_path: Path | None,
    port: int,
    announce: Callable[[Mapping[str, Any]], None],
    oem_profile: Profile = OEM_PROFILE,
) -> None:
    """Run a sandbox until Ctrl-C or SIGTERM; `announce` is told where it is once it listens.

    Without a seed it is the shipped sample. Raises InputError for a file that is not what its
    schema says, and for a port that is taken.
    """
    seed = read_seed(seed_path) if seed_path else shipped_seed()
    faults = read_faults(faults_path) if faults_path else None
    stops: list[int] = []  # no event: its lock may be held by whoever a signal interrupts
    # Both by name: a shell starts what it puts into the background with Ctrl-C ignored.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, _frame: stops.append(number))
    with Sandbox(seed, faults, port=port, oem_profile=oem_profile) as sandbox:
        announce(sandbox.announce())
        while not stops:  # in slices: a sleep continues after a signal
            time.sleep(0.1)


def _tls(ca_file: Path, client_file: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Two contexts with a certificate for loopback: one for any client, one for mutual TLS.

    The PEM of the authority, and a client certificate of it, are written to files.
    """
    import trustme

    authority = trustme.CA(organization_name="partner-tools sandbox")
    certificate = authority.issue_cert(HOST, "localhost", "::1")
    authority.cert_pem.write_to_path(str(ca_file))
    client_file.touch(mode=0o600)
    authority.issue_cert("depot.example").private_key_and_cert_chain_pem.write_to_path(
        str(client_file)
    )
    anybody, mutual = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    for context in (anybody, mutual):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate.configure_cert(context)
    mutual.load_verify_locations(ca_file)
    mutual.verify_mode = ssl.CERT_REQUIRED
    return anybody, mutual
