"""The clients against the sandbox, over TLS and plain: the whole story, and every fault of it."""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from partner_tools import errors
from partner_tools.clients.answers import ListGuard
from partner_tools.clients.oauth import (
    App,
    CachedTokens,
    MsalHttpClient,
    StaticToken,
    TokenStore,
    app_only,
    describe_token,
    sign_in_by_device_code,
    user_by_refresh_token,
    user_signed_in,
)
from partner_tools.clients.partner_center import Cursor, PartnerCenter, ResourcePage, ServiceJob
from partner_tools.clients.refusals import RefusalSubject, subject_of
from partner_tools.clients.transport import Secret, TokenSource, Transport
from partner_tools.model import Identity, Registration
from partner_tools.sandbox import Sandbox, faults_from, seed_from

T = TypeVar("T")

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
FLEET = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"
ADVISED = "e41b6c08-7d92-4a35-8c1f-5f0a3b9d6e72"
NOBODY = "00000000-0000-4000-8000-000000000000"
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
            "batches": [
                {
                    "id": ODD,
                    "devices": [
                        {"id": "a/1", "serialNumber": "A1", "allowedOperations": ["GET", "DELETE"]},
                        {"id": "a2", "serialNumber": "A2", "registeredByOther": True},
                    ],
                },
                {"id": "..", "devices": [{"id": "d1", "serialNumber": "D1"}]},
                {"id": ".", "devices": [{"id": "d2", "serialNumber": "D2"}]},
            ],
        },
        {
            "tenantId": FLEET,
            "domain": "fleet.onmicrosoft.com",
            "fleets": [{"count": 250, "batchName": "Fleet"}],
        },
        {
            "tenantId": ADVISED,
            "domain": "advised.onmicrosoft.com",
            "relationship": "advisor",
        },
    ],
}


class World:
    """A running sandbox, and clients for it."""

    def __init__(self, sandbox: Sandbox, *, tls: bool) -> None:
        self.sandbox = sandbox
        self.urls = sandbox.tls_urls if tls else sandbox.urls
        self._stack = ExitStack()

    def client(
        self,
        kind: str = "app",
        tokens: TokenSource | None = None,
        *,
        patience: float = 30.0,
        connect: float = 30.0,
    ) -> PartnerCenter:
        """A client that waits so many seconds for an answer, and for a connection."""
        handed_in = StaticToken(Secret(self.sandbox.tokens[kind]), name="X")
        transport = self._stack.enter_context(
            Transport(
                self.urls["partnerCenter"],
                tokens=tokens or handed_in,
                ca_bundle=self.sandbox.ca_file,
                timeout=(connect, patience),
            )
        )
        numbers = itertools.count(1)
        return PartnerCenter(
            transport,
            ids=lambda: f"00000000-0000-4000-8000-{next(numbers):012}",
            correlation_id="10000000-0000-4000-8000-000000000000",
        )

    def http(self) -> MsalHttpClient:
        connect = partial(Transport, ca_bundle=self.sandbox.ca_file, timeout=(2.0, 2.0))
        http = MsalHttpClient(self.sandbox.urls["login"], connect=connect)
        self._stack.callback(http.close)
        return http

    def app(self) -> App:
        return App(
            tenant=self.sandbox.seed.partner.tenant_id,
            client_id=self.sandbox.seed.applications[0].client_id,
            login_url=self.sandbox.urls["login"],
        )

    def serials(self, tenant: str = CONTOSO) -> set[str | None]:
        return {one.device.serial_number for one in self.sandbox.state.devices(tenant)}

    def close(self) -> None:
        self._stack.close()


Start = Callable[..., World]


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(faults: dict[str, Any] | None = None, *, tls: bool = False) -> World:
            sandbox = stack.enter_context(
                Sandbox(seed_from(WORLD), faults_from({"schemaVersion": "1", **(faults or {})}))
            )
            world = World(sandbox, tls=tls)
            stack.callback(world.close)
            return world

        yield begin


def every(read: Callable[[Cursor | None], ResourcePage[T]], key: Callable[[T], str]) -> list[T]:
    """All pages, under the guard."""
    guard, cursor, found = ListGuard("things"), None, list[T]()
    while True:
        page = read(cursor)
        guard.check([key(item) for item in page.items], page.cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def device_id(found: Registration) -> str:
    return found.target.device_id


# The whole story


@pytest.mark.parametrize("tls", [False, True])
def test_from_a_domain_to_a_removed_device(start: Start, tls: bool) -> None:
    world = start(tls=tls)
    tokens = app_only(world.app(), Secret("sandbox-secret"), http=world.http())
    client = world.client(tokens=tokens)

    (customer,) = client.customers(domain_prefix="contoso").items
    assert (customer.tenant_id, customer.name) == (CONTOSO, "Contoso")
    assert client.customer(CONTOSO) == customer
    assert [batch.batch_id for batch in client.batches(CONTOSO).items] == [ODD, "..", "."]
    first, second = client.devices(CONTOSO, ODD).items
    assert (first.serial_number, first.allowed_operations) == ("A1", ("GET", "DELETE"))

    receipt = client.delete(CONTOSO, ODD, "a/1", "request-1")
    assert receipt.status == 204
    assert receipt.request_id == "request-1"
    assert world.serials() == {"A2", "D1", "D2"}

    with pytest.raises(errors.Rejected) as gone:
        client.delete(CONTOSO, ODD, "a/1", "request-2")
    assert gone.value.status == 404
    assert subject_of(gone.value) is RefusalSubject.DEVICE
    with pytest.raises(errors.Rejected) as not_ours:
        client.delete(CONTOSO, ODD, second.target.device_id, "request-3")
    assert subject_of(not_ours.value) is RefusalSubject.DEVICE
    assert not_ours.value.status == 403


@pytest.mark.parametrize(("batch", "device"), [("..", "d1"), (".", "d2")])
def test_a_batch_that_is_called_like_a_folder_is_addressed_exactly(
    start: Start, batch: str, device: str
) -> None:
    world = start()
    client = world.client()
    (found,) = client.devices(CONTOSO, batch).items
    assert found.target.device_id == device
    client.delete(CONTOSO, batch, device, "r")
    assert device.upper() not in world.serials()
    assert len(world.serials()) == 3


@pytest.mark.parametrize(
    "quirks",
    [
        {},
        {"lastPage": "null"},
        {"lastPage": "empty"},
        {"lastPage": "further-page"},
        {"bom": False},
    ],
)
def test_the_101st_device_is_reached(start: Start, quirks: dict[str, Any]) -> None:
    client = start({"quirks": quirks}).client()
    found = every(lambda at: client.devices(FLEET, "Fleet", at), device_id)
    assert len({each.target.device_id for each in found}) == len(found) == 250


@pytest.mark.parametrize(
    "quirks",
    [
        {},
        {"prefixedNextLinks": 1.0},
        {"nextLinks": False},
        {"bodyContinuationToken": False},
        {"customersEndBy2000": True},
    ],
)
def test_all_customers_are_reached_in_both_ways(start: Start, quirks: dict[str, Any]) -> None:
    client = start({"quirks": {"customersPageSize": 1, **quirks}}).client()
    found = every(lambda at: client.customers(cursor=at), lambda each: each.tenant_id)
    assert {CONTOSO, FLEET} <= {each.tenant_id for each in found}


def test_devices_are_registered_again(start: Start) -> None:
    world = start()
    client = world.client("user")
    made = Identity(serial_number="N1", manufacturer="Contoso", model="M")
    job = await_job(client, client.register(CONTOSO, "new / batch", [made], is_new=True))
    assert [each.serial_number for each in job.devices] == ["N1"]
    more = await_job(
        client,
        client.register(
            CONTOSO, "new / batch", [Identity(serial_number="N2", manufacturer="C", model="M")]
        ),
    )
    assert more.done
    assert {"N1", "N2"} <= world.serials()
    with pytest.raises(errors.Rejected) as refused:
        world.client("app").register(CONTOSO, "other", [made], is_new=True)
    assert refused.value.code == "900329"
    assert "app+user" in refused.value.remedy


def await_job(client: PartnerCenter, job_id: Any) -> ServiceJob:
    for _ in range(100):
        job = client.job(CONTOSO, job_id)
        if job.done:
            return job
        time.sleep(0.02)
    pytest.fail("the job did not end")


# Tokens and permissions


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        ("expired", errors.AuthError, None),
        ("wrongAudience", errors.Unauthorized, "900420"),
        ("userNoMfa", errors.Unauthorized, "900421"),
        ("userNoRole", errors.Rejected, None),
    ],
)
def test_a_token_that_will_not_do_says_why(
    start: Start, kind: str, error: type[errors.PartnerToolsError], code: str | None
) -> None:
    with pytest.raises(error) as raised:
        start().client(kind).batches(CONTOSO)
    assert raised.value.remedy
    if code is not None:
        assert isinstance(raised.value, errors.ServiceError)
        assert raised.value.code == code
        assert raised.value.exit_code == 4
    if kind == "userNoRole":
        assert isinstance(raised.value, errors.ServiceError)
        assert subject_of(raised.value) is RefusalSubject.PARTNER


@pytest.mark.parametrize(
    ("tenant", "subject"), [(ADVISED, RefusalSubject.CUSTOMER), (NOBODY, RefusalSubject.CUSTOMER)]
)
def test_a_customer_that_is_not_ours(start: Start, tenant: str, subject: RefusalSubject) -> None:
    with pytest.raises(errors.Rejected) as raised:
        start().client().batches(tenant)
    assert subject_of(raised.value) is subject
    assert raised.value.remedy


def test_a_token_that_expires_meanwhile_is_renewed(start: Start) -> None:
    world = start(once("expired-token", "list-batches"))
    tokens = app_only(world.app(), Secret("sandbox-secret"), http=world.http())
    client = world.client(tokens=tokens)
    before = tokens.token()
    with pytest.raises(errors.Unauthorized):
        client.batches(CONTOSO)
    client._transport.renew_token()
    assert client.batches(CONTOSO).items
    assert before
    assert len(world.sandbox.log.of("token")) == 2


needs_plain_file = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the system's own store is always there"
)


@needs_plain_file
def test_a_user_signs_in_by_device_code_and_works(start: Start, tmp_path: Path) -> None:
    world = start()
    public = App(
        tenant=world.app().tenant,
        client_id=world.sandbox.seed.applications[1].client_id,
        login_url=world.app().login_url,
    )
    store = TokenStore(location=tmp_path / "t.bin", plain_file=True)
    facts = sign_in_by_device_code(
        public,
        http=world.http(),
        store=store,
        prompt=lambda _code: None,
        sleep=lambda _seconds: None,
    )
    tokens = user_signed_in(public, http=world.http(), store=store)
    assert world.client(tokens=tokens).batches(CONTOSO).items
    client = world.client(tokens=tokens)
    client.batches(CONTOSO)
    client._transport.renew_token()
    assert client.batches(CONTOSO).items
    assert facts.who == "avery@fabrikam.onmicrosoft.com"
    assert facts.mfa
    assert facts.app_only is False


@needs_plain_file
def test_a_refresh_token_of_the_secure_application_model(start: Start, tmp_path: Path) -> None:
    world = start()

    def tokens(kind: str) -> CachedTokens:
        return user_by_refresh_token(
            world.app(),
            Secret("sandbox-secret"),
            Secret(world.sandbox.tokens[kind]),
            http=world.http(),
            store=TokenStore(location=tmp_path / "t.bin", plain_file=True),
        )

    assert world.client(tokens=tokens("refresh")).batches(CONTOSO).items
    assert describe_token(tokens("refresh").token()).mfa
    for kind, words in (("refreshExpired", "90 days"), ("refreshMfaDemanded", "multifactor")):
        with pytest.raises(errors.AuthError, match=words):
            tokens(kind).token()


def test_a_wrong_secret_and_an_unknown_app(start: Start) -> None:
    world = start()
    with pytest.raises(errors.AuthError, match="secret is wrong"):
        app_only(world.app(), Secret("hush"), http=world.http()).token()
    stranger = App(tenant=world.app().tenant, client_id=NOBODY, login_url=world.app().login_url)
    with pytest.raises(errors.AuthError, match="does not know the app"):
        app_only(stranger, Secret("hush"), http=world.http()).token()
    elsewhere = App(tenant=NOBODY, client_id=NOBODY, login_url=world.app().login_url)
    with pytest.raises(errors.AuthError, match="no such tenant"):
        app_only(elsewhere, Secret("hush"), http=world.http()).token()


# Every fault, and what the service did meanwhile


def once(kind: str, operation: str, **fault: Any) -> dict[str, Any]:
    return {
        "rules": [{"match": {"operation": operation, "nth": 1}, "fault": {"kind": kind, **fault}}]
    }


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("kind", "fault", "error", "gone"),
    [
        ("reset-before", {}, errors.Unanswered, False),
        ("reset-after", {}, errors.Unanswered, True),
        ("lose-request", {"seconds": 1}, errors.Unanswered, False),
        ("lose-answer", {"seconds": 1}, errors.Unanswered, True),
        ("slow-answer", {"seconds": 1}, errors.Unanswered, True),
        ("redirect", {}, errors.Redirected, False),
        ("expired-token", {}, errors.Unauthorized, False),
        ("status", {"status": 500, "processed": True}, errors.Unavailable, True),
    ],
)
def test_a_removal_under_each_fault(
    start: Start,
    kind: str,
    fault: dict[str, Any],
    error: type[errors.ServiceError],
    gone: bool,
    tls: bool,
) -> None:
    world = start(once(kind, "delete-device", **fault), tls=tls)
    refuse_removal(world.client(patience=0.4 if "seconds" in fault else 30.0), error)
    settle = time.monotonic() + 30
    while ("D1" not in world.serials()) is not gone and time.monotonic() < settle:
        time.sleep(0.02)
    assert ("D1" not in world.serials()) is gone


@pytest.mark.parametrize("body", ["json", "gateway", "html", "text", "empty"])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, errors.Rejected),
        (401, errors.Unauthorized),
        (403, errors.Rejected),
        (404, errors.Rejected),
        (408, errors.Unavailable),
        (409, errors.Rejected),
        (429, errors.Throttled),
        (500, errors.Unavailable),
        (502, errors.Unavailable),
        (503, errors.Unavailable),
    ],
)
def test_a_removal_refused_in_each_form(
    start: Start, status: int, body: str, error: type[errors.ServiceError]
) -> None:
    world = start(once("status", "delete-device", status=status, body=body))
    refuse_removal(world.client(), error)
    assert "D1" in world.serials()


def refuse_removal(client: PartnerCenter, error: type[errors.ServiceError]) -> None:
    with pytest.raises(error) as raised:
        client.delete(CONTOSO, "..", "d1", "request-1")
    assert type(raised.value) is error
    assert raised.value.request_id == "request-1"
    assert raised.value.message
    assert raised.value.remedy


@pytest.mark.parametrize("kind", ["refuse", "tls-failure"])
def test_a_removal_that_could_not_leave(start: Start, kind: str) -> None:
    """The request that meets the outage was read and dropped; those after it never leave."""
    world = start(once(kind, "delete-device", seconds=30), tls=True)
    client = world.client()
    with pytest.raises(errors.Unanswered):
        client.delete(CONTOSO, "..", "d1", "request-1")
    for _ in range(3):
        with pytest.raises(errors.Unsent) as raised:
            client.delete(CONTOSO, "..", "d1", "request-1")
    assert raised.value.request_id == "request-1"
    assert "D1" in world.serials()


@pytest.mark.parametrize(
    ("kind", "fault", "error"),
    [
        ("truncate", {}, errors.Unanswered),
        ("not-json", {}, errors.Unreadable),
        ("empty-body", {}, errors.Unreadable),
        ("slow-body", {"seconds": 1.7}, errors.Unanswered),
        ("wrong-content-type", {}, None),
        ("slow", {"seconds": 0.05}, None),
    ],
)
@pytest.mark.parametrize("operation", ["list-batches", "list-devices"])
def test_a_list_under_each_fault(
    start: Start,
    operation: str,
    kind: str,
    fault: dict[str, Any],
    error: type[errors.ServiceError] | None,
) -> None:
    world = start(once(kind, operation, **fault))

    def read(seconds: float = 30.0) -> ResourcePage[Any]:
        client = world.client(patience=seconds, connect=seconds)
        if operation == "list-batches":
            return client.batches(FLEET)
        return client.devices(FLEET, "Fleet")

    if error is None:
        assert read().items
        return
    with pytest.raises(error) as raised:
        read(0.4 if kind == "slow-body" else 30.0)
    assert type(raised.value) is error
    assert read().items


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("sticky-token", errors.Unreadable),
        ("repeat-page", errors.Unreadable),
        ("vanish-page", errors.Rejected),
    ],
)
def test_pages_that_lead_nowhere_end(
    start: Start, kind: str, error: type[errors.ServiceError]
) -> None:
    faults = {"rules": [{"match": {"operation": "list-devices"}, "fault": {"kind": kind}}]}
    client = start(faults).client()
    with pytest.raises(error):
        every(lambda at: client.devices(FLEET, "Fleet", at), device_id)


@pytest.mark.parametrize("form", ["seconds", "date", "fraction", "nonsense", "none"])
def test_the_pause_in_each_form(start: Start, form: str) -> None:
    fault = {"kind": "status", "status": 429, "retryAfter": 7, "retryAfterForm": form}
    client = start({"rules": [{"match": {"operation": "list-batches"}, "fault": fault}]}).client()
    with pytest.raises(errors.Throttled) as raised:
        client.batches(CONTOSO)
    if form in ("nonsense", "none"):
        assert raised.value.retry_after is None
    else:
        assert raised.value.retry_after == pytest.approx(7, abs=1.5)


def test_no_token_is_logged_at_any_level(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world = start(tls=True)
    tokens = app_only(world.app(), Secret("sandbox-secret"), http=world.http())
    client = world.client(tokens=tokens)
    every(lambda at: client.devices(FLEET, "Fleet", at), device_id)
    ours = [record for record in caplog.records if record.name.startswith("partner_tools.clients")]
    assert len(ours) == 5
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "sandbox-secret" not in text
    assert tokens.token() not in text
