"""Clients that others wrote: Microsoft's swagger in AutoRest's hands, and msal."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msal  # type: ignore[import-untyped]
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from partner_tools.sandbox import Sandbox, Seed

pytestmark = pytest.mark.slow

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
FLEET = "2a7c9e14-5b3d-4e88-b6f1-90d4c2e7a635"
WINGTIP = "73d5f1a9-0e68-4c2b-9a47-b8c3d6e0f154"
ODD = "Büro #7 / 50 %"
SCOPE = "https://api.partnercenter.microsoft.com/.default"
USER_SCOPE = "https://api.partnercenter.microsoft.com/user_impersonation"
PAGE = (
    "MicrosoftPartnerSdkContractsV1CollectionsPagedResourceCollection"
    "MicrosoftPartnerSdkContractsV1DeviceDeploymentDevice"
)
BATCHES = (
    "MicrosoftPartnerSdkContractsV1CollectionsResourceCollection"
    "MicrosoftPartnerSdkContractsV1DeviceDeploymentDeviceBatch"
)
PREFIX = "MicrosoftPartnerSdkContractsV1DeviceDeployment"

Start = Callable[..., Sandbox]


@pytest.fixture
def autorest(start: Start) -> Callable[..., Any]:
    def client(kind: str = "app", version: str = "1", **options: Any) -> Any:
        with warnings.catch_warnings():
            # Their package asks for pkg_resources, which says that it is going away.
            warnings.simplefilter("ignore")
            from microsoft.store.partnercenterservices import (  # type: ignore[import-untyped]
                MicrosoftPartnerStoreApis,
            )
            from msrest.authentication import BasicTokenAuthentication

        sandbox = start(**options)
        credentials = BasicTokenAuthentication({"access_token": sandbox.tokens[kind]})
        api = MicrosoftPartnerStoreApis(credentials, base_url=sandbox.urls["partnerCenter"])
        return Generated(api, sandbox, version)

    return client


class Generated:
    """The generated client's operations under names that a person can read."""

    def __init__(self, api: Any, sandbox: Sandbox, version: str) -> None:
        self.api, self.sandbox, self.version = api, sandbox, version

    def customers(self, **query: Any) -> Any:
        return self.api.getvversioncustomersfilterfilter.value(self.version, **query)

    def batches(self, customer: str) -> Any:
        """Read as the collection that the service sends: the swagger promises a single batch."""
        operations = self.api.getvversioncustomerscustomer
        raw = operations.iddevice_batches(customer, self.version, raw=True)
        return operations._deserialize(BATCHES, raw.response)

    def devices(self, customer: str, batch: str, token: str | None = None) -> Any:
        """Read as the page that the service sends: the generated method expects a bare list."""
        operations = self.api.getvversioncustomerscustomer
        url = operations.iddevices.metadata["url"]
        serialize = operations._serialize
        request = self.api._client.get(
            self.api._client.format_url(
                url,
                version=self.version,
                customer_id=customer,
                deviceBatch_id=serialize.url("device_batch_id", batch, "str"),
            ),
            {},
        )
        headers = {"MS-ContinuationToken": token} if token else {}
        response = self.api._client.send(request, headers)
        return operations._deserialize(PAGE, response)

    def remove(self, customer: str, batch: str, device: str) -> int:
        operations = self.api.deletevversioncustomerscustomer
        raw = operations.id3(customer, batch, device, self.version, raw=True)
        return int(raw.response.status_code)

    def create(self, customer: str, batch: str, devices: list[Any]) -> str:
        raw = self.api.postvversioncustomerscustomer.iddevice_batches(
            customer, self.version, batch_id=batch, devices=devices, raw=True
        )
        return str(raw.response.headers["Location"])

    def add(self, customer: str, batch: str, devices: list[Any]) -> str:
        raw = self.api.postvversioncustomerscustomer.iddevices(
            customer, batch, devices, self.version, raw=True
        )
        return str(raw.response.headers["Location"])

    def finished_job(self, customer: str, location: str) -> Any:
        tracking = location.rsplit("/", 1)[1]
        for _ in range(200):
            job = self.api.getvversioncustomerscustomer.id3(customer, tracking, self.version)
            if job.completed_time is not None:
                return job
            time.sleep(0.01)
        raise AssertionError(f"job {tracking} did not end")

    def device(self, **values: str) -> Any:
        from microsoft.store.partnercenterservices import models

        return getattr(models, f"{PREFIX}Device")(**values)


@pytest.mark.parametrize("version", ["1", "1.0"])
def test_the_generated_client_lists_customers_batches_and_devices(
    autorest: Callable[..., Any], version: str
) -> None:
    client = autorest(version=version)
    customers = client.customers(size=500)
    assert [one.id for one in customers.items][:2] == [CONTOSO, FLEET]
    assert customers.items[0].company_profile.domain == "contoso.onmicrosoft.com"
    batches = client.batches(CONTOSO)
    assert [(one.id, one.devices_count) for one in batches.items] == [(ODD, 9), ("empty", 0)]
    assert batches.items[0].creation_date.isoformat() == "2026-03-02T09:10:00"
    page = client.devices(CONTOSO, ODD)
    assert [one.serial_number for one in page.items] == ["A1", "A2", "A3", None]
    assert page.items[2].allowed_operations == ["GET"]


def test_the_generated_client_pages_devices_by_their_token(autorest: Callable[..., Any]) -> None:
    client = autorest()
    first = client.devices(FLEET, "Fleet")
    second = client.devices(FLEET, "Fleet", first.continuation_token)
    third = client.devices(FLEET, "Fleet", second.continuation_token)
    assert [len(page.items) for page in (first, second, third)] == [100, 100, 50]
    assert third.continuation_token is None
    assert first.items[0].uploaded_date.year == 2026


def test_the_generated_client_removes_a_device(autorest: Callable[..., Any]) -> None:
    client = autorest()
    assert client.remove(CONTOSO, ODD, "9993-8627") == 204
    assert client.remove(CONTOSO, ODD, "9993-8627") == 404
    assert client.remove(CONTOSO, ODD, "other's") == 403
    assert [one.device.id for one in client.sandbox.state.devices(CONTOSO)] == [
        "other's",
        "kept",
        "bare",
    ]


def test_the_generated_client_registers_devices_and_follows_their_jobs(
    autorest: Callable[..., Any],
) -> None:
    quick = {"quirks": {"jobQueued": 0.01, "jobProcessing": 0.01}}
    client = autorest(kind="user", faults=quick)
    row = client.device(serial_number="N1", oem_manufacturer_name="C", model_name="M")
    made = client.finished_job(CONTOSO, client.create(CONTOSO, "Neu / 1", [row]))
    assert (made.status, made.devices_status[0].status) == ("finished", "finished")
    twice = client.finished_job(CONTOSO, client.add(CONTOSO, "Neu / 1", [row]))
    assert (twice.status, twice.devices_status[0].error_code) == ("finished_with_errors", "806")
    assert [one.serial_number for one in client.devices(CONTOSO, "Neu / 1").items] == ["N1"]


@pytest.fixture
def http(start: Start) -> Iterator[Callable[[Sandbox], requests.Session]]:
    with requests.Session() as session:
        session.trust_env = False

        def trusting(sandbox: Sandbox) -> requests.Session:
            session.verify = str(sandbox.ca_file)
            return session

        yield trusting


def authority(sandbox: Sandbox, tenant: str = "fabrikam.onmicrosoft.com") -> str:
    return f"{sandbox.urls['login']}/{tenant}"


def accepted(sandbox: Sandbox, session: requests.Session, token: str) -> int:
    """What Partner Center says to a token."""
    url = f"{sandbox.tls_urls['partnerCenter']}/v1/customers"
    return session.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code


def test_msal_gets_an_app_token_by_secret_and_caches_it(
    start: Start, http: Callable[[Sandbox], requests.Session]
) -> None:
    sandbox = start()
    app = msal.ConfidentialClientApplication(
        sandbox.seed.applications[0].client_id,
        client_credential=sandbox.seed.applications[0].secret,
        authority=authority(sandbox),
        instance_discovery=False,
        http_client=http(sandbox),
    )
    first = app.acquire_token_for_client([SCOPE])
    second = app.acquire_token_for_client([SCOPE])
    assert (first["token_source"], second["token_source"]) == ("identity_provider", "cache")
    assert accepted(sandbox, http(sandbox), first["access_token"]) == 200
    assert len(sandbox.log.of("token")) == 1


def test_msal_is_told_that_a_secret_is_wrong(
    start: Start, http: Callable[[Sandbox], requests.Session]
) -> None:
    sandbox = start()
    app = msal.ConfidentialClientApplication(
        sandbox.seed.applications[0].client_id,
        client_credential="wrong",
        authority=authority(sandbox),
        instance_discovery=False,
        http_client=http(sandbox),
    )
    answer = app.acquire_token_for_client([SCOPE])
    assert (answer["error"], answer["error_codes"]) == ("invalid_client", [7000215])


def certificate() -> tuple[str, str]:
    """A fresh self-signed certificate and its key, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "depot")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return signed.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.mark.parametrize("registered", [True, False])
def test_msal_proves_itself_by_a_certificate(
    start: Start, http: Callable[[Sandbox], requests.Session], world: Seed, registered: bool
) -> None:
    public, private = certificate()
    known = public if registered else certificate()[0]
    application = replace(world.applications[0], secret=None, certificate=known)
    sandbox = start(seed=replace(world, applications=(application,)))
    app = msal.ConfidentialClientApplication(
        application.client_id,
        client_credential={"private_key": private, "public_certificate": public},
        authority=authority(sandbox),
        instance_discovery=False,
        http_client=http(sandbox),
    )
    answer = app.acquire_token_for_client([SCOPE])
    if registered:
        assert accepted(sandbox, http(sandbox), answer["access_token"]) == 200
    else:
        assert answer["error_codes"] == [700027]


def test_msal_signs_a_user_in_by_device_code_and_then_silently(
    start: Start, http: Callable[[Sandbox], requests.Session]
) -> None:
    sandbox = start({"quirks": {"deviceCodeInterval": 1, "deviceCodePolls": 1}})
    app = msal.PublicClientApplication(
        sandbox.seed.applications[1].client_id,
        authority=authority(sandbox, "organizations"),
        instance_discovery=False,
        http_client=http(sandbox),
    )
    flow = app.initiate_device_flow([USER_SCOPE])
    answer = app.acquire_token_by_device_flow(flow)
    assert answer["id_token_claims"]["preferred_username"] == "avery@fabrikam.onmicrosoft.com"
    assert accepted(sandbox, http(sandbox), answer["access_token"]) == 200
    (account,) = app.get_accounts()
    renewed = app.acquire_token_silent([USER_SCOPE], account, force_refresh=True)
    assert accepted(sandbox, http(sandbox), renewed["access_token"]) == 200
    grants = [entry.status for entry in sandbox.log.of("token")]
    assert grants == [400, 200, 200]


@pytest.mark.parametrize(
    ("token", "status", "number"),
    [
        ("refresh", 200, None),
        ("refreshNoMfa", 401, None),
        ("refreshExpired", None, 700082),
        ("refreshMfaDemanded", None, 50076),
    ],
)
def test_msal_exchanges_a_refresh_token_that_was_handed_in(
    start: Start,
    http: Callable[[Sandbox], requests.Session],
    token: str,
    status: int | None,
    number: int | None,
) -> None:
    sandbox = start()
    app = msal.ConfidentialClientApplication(
        sandbox.seed.applications[0].client_id,
        client_credential=sandbox.seed.applications[0].secret,
        authority=authority(sandbox),
        instance_discovery=False,
        http_client=http(sandbox),
    )
    answer = app.acquire_token_by_refresh_token(sandbox.tokens[token], [USER_SCOPE])
    if number is None:
        assert accepted(sandbox, http(sandbox), answer["access_token"]) == status
    else:
        assert answer["error_codes"] == [number]
