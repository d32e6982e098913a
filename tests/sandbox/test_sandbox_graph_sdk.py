"""Microsoft's own client for Python, `msgraph-sdk`, as it is but for the address.

It is imported by name, as `Any`: it has some fifteen thousand modules, too many to check types in.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, Seed, shipped_seed

DOMAIN = "contoso.onmicrosoft.com"
GENERATED = "msgraph.generated"
IDENTITIES = "windows_autopilot_device_identities"
Start = Callable[..., Sandbox]

# What their packages say to each other.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:GetQueryParameters is deprecated"),
    pytest.mark.filterwarnings("ignore:This class is deprecated. Please use the generic"),
]


@dataclass(frozen=True)
class Client:
    """The client, what carries its requests, and the sandbox that it believes in."""

    graph: Any
    adapter: Any
    sandbox: Sandbox

    @property
    def identities(self) -> Any:
        return self.graph.device_management.windows_autopilot_device_identities

    @property
    def managed(self) -> Any:
        return self.graph.device_management.managed_devices

    async def all_pages(self, first: Any) -> list[Any]:
        """Every item, by the client's own way from page to page."""
        found: list[Any] = []
        iterator = import_module("msgraph_core").PageIterator(first, self.adapter)

        def keep(item: Any) -> bool:
            found.append(item)
            return True

        await iterator.iterate(keep)
        return found

    async def batch(self, **asked: Any) -> tuple[dict[str, int], dict[str, Any]]:
        """Statuses as the client reads them. Bodies as they came: at 1.65 it drops them all."""
        requests = import_module("msgraph_core.requests")
        builder = import_module("msgraph_core.requests.batch_request_builder")
        content = requests.batch_request_content.BatchRequestContent()
        for name, information in asked.items():
            item = requests.batch_request_item.BatchRequestItem(information, id=name)
            content.add_request(name, item)
        sender = builder.BatchRequestBuilder(self.adapter)
        statuses = (await sender.post(content)).get_response_status_codes()
        again = await sender.to_post_request_information(content)
        raw = await self.adapter.send_primitive_async(again, "bytes", {})
        bodies = {one["id"]: one.get("body") for one in json.loads(raw)["responses"]}
        return statuses, bodies


@pytest.fixture(scope="module")
def contoso() -> Seed:
    return shipped_seed()


@pytest.fixture
def client(start: Start, contoso: Seed, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a piece of work with a client that has one of the sandbox's tokens."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    kiota = import_module("kiota_abstractions.authentication")
    sdk, adapters = import_module("msgraph"), import_module("msgraph.graph_request_adapter")

    def use(
        work: Callable[[Client], Awaitable[None]],
        kind: str = "graph",
        world: Seed | None = None,
        **options: Any,
    ) -> Sandbox:
        sandbox = start(seed=world or contoso, **options)
        token = sandbox.tokens[f"{kind}:{DOMAIN}"]

        class Holder(kiota.AccessTokenProvider):  # type: ignore[name-defined,misc]
            async def get_authorization_token(self, *_: Any, **__: Any) -> str:
                return token

            def get_allowed_hosts_validator(self) -> Any:
                return kiota.AllowedHostsValidator(["127.0.0.1"])

        async def run() -> None:
            provider = kiota.BaseBearerTokenAuthenticationProvider(Holder())
            adapter = adapters.GraphRequestAdapter(provider)
            adapter.base_url = f"{sandbox.urls['graph']}/v1.0"
            graph = sdk.GraphServiceClient(request_adapter=adapter)
            try:
                await work(Client(graph, adapter, sandbox))
            finally:
                # Closing the client leaves the sockets below its middleware open.
                await adapter._http_client._transport.transport.aclose()

        asyncio.run(run())
        return sandbox

    return use


def query(path: str, **values: Any) -> Any:
    """The client's configuration of a GET, with query parameters of the builder at this path."""
    name = path.rpartition(".")[2]
    module = import_module(f"{GENERATED}.{path}.{name}_request_builder")
    prefix = "".join(part.title() for part in name.split("_"))
    builder = getattr(module, f"{prefix}RequestBuilder")
    parameters = getattr(builder, f"{prefix}RequestBuilderGetQueryParameters")(**values)
    base = import_module("kiota_abstractions.base_request_configuration")
    return base.RequestConfiguration(query_parameters=parameters)


def refusal() -> Any:
    return import_module(f"{GENERATED}.models.o_data_errors.o_data_error").ODataError


def test_it_lists_every_identity_over_pages(client: Callable[..., Any]) -> None:
    async def work(use: Client) -> None:
        first = await use.identities.get()
        assert len(first.value) == 50
        serials = [item.serial_number for item in await use.all_pages(first)]
        truth = use.sandbox.state.devices(DOMAIN)
        registered = [placed.device.serial_number or "" for placed in truth]
        assert sorted(serials) == sorted([*registered, "5CD399999Z"])
        assert {item.enrollment_state.value for item in first.value} >= {"enrolled"}

    sandbox = client(work, faults={"graph": {"autopilotPageSize": 50}})
    assert [entry.status for entry in sandbox.log.of("list-autopilot-identities")] == [200] * 3


def test_it_lists_managed_devices_and_devices_over_pages(client: Callable[..., Any]) -> None:
    async def work(use: Client) -> None:
        managed = await use.all_pages(await use.managed.get())
        devices = await use.all_pages(await use.graph.devices.get())
        assert len({item.id for item in managed}) == len(managed) == 19
        assert len({item.id for item in devices}) == len(devices) == 144
        assert {item.trust_type for item in devices} == {"AzureAd", "ServerAd", "Workplace"}

    client(work, faults={"graph": {"managedPageSize": 7}})


def test_its_filters_find_what_they_name(client: Callable[..., Any]) -> None:
    async def work(use: Client) -> None:
        by_serial = query(
            "device_management.managed_devices", filter="serialNumber eq '5CD340001Z'"
        )
        (managed,) = (await use.managed.get(by_serial)).value
        containing = query(
            f"device_management.{IDENTITIES}", filter="contains(serialNumber,'5CD340001Z')"
        )
        (identity,) = (await use.identities.get(containing)).value
        assert identity.managed_device_id == managed.id
        assert identity.user_principal_name == "adele@contoso.com"
        by_id = query("devices", filter=f"deviceId eq '{managed.azure_a_d_device_id}'")
        (device,) = (await use.graph.devices.get(by_id)).value
        assert f"[ZTDID]:{identity.id}" in device.physical_ids
        by_ztdid = query(
            "devices",
            filter=f"physicalIds/any(p:p eq '[ZTDID]:{identity.id}')",
            select=["id", "displayName"],
        )
        (same,) = (await use.graph.devices.get(by_ztdid)).value
        assert (same.id, same.display_name, same.trust_type) == (device.id, "CONTOSO-0001", None)
        kept = await use.graph.information_protection.bitlocker.recovery_keys.get(
            query(
                "information_protection.bitlocker.recovery_keys",
                filter=f"deviceId eq '{device.device_id}'",
            )
        )
        assert [key.key for key in kept.value] == [None, None]
        laps = use.graph.directory.device_local_credentials
        saved = await laps.by_device_local_credential_info_id(device.device_id).get()
        assert saved.device_name == "CONTOSO-0001"

    client(work)


def test_it_gets_and_removes_a_device_from_plane_to_plane(client: Callable[..., Any]) -> None:
    async def work(use: Client) -> None:
        by_serial = query(
            "device_management.managed_devices", filter="serialNumber eq '5CD340001Z'"
        )
        (managed,) = (await use.managed.get(by_serial)).value
        record = use.managed.by_managed_device_id(managed.id)
        assert (await record.get()).device_name == "CONTOSO-0001"
        await record.delete()
        containing = query(
            f"device_management.{IDENTITIES}", filter="contains(serialNumber,'5CD340001Z')"
        )
        (listed,) = (await use.identities.get(containing)).value
        identity = use.identities.by_windows_autopilot_device_identity_id(listed.id)
        await identity.unassign_user_from_device.post()
        assert (await identity.get()).user_principal_name == ""
        await identity.delete()
        for gone in (record, identity):
            with pytest.raises(refusal()) as failure:
                await gone.get()
            assert failure.value.response_status_code == 404
        deleted = await use.graph.directory.deleted_items.graph_device.get()
        assert [item.display_name for item in deleted.value] == ["CONTOSO-0001"]
        back = use.graph.directory.deleted_items.by_directory_object_id(deleted.value[0].id)
        await back.restore.post()
        device = use.graph.devices.by_device_id(deleted.value[0].id)
        assert (await device.get()).is_compliant is False
        changed = import_module(f"{GENERATED}.models.device").Device(account_enabled=False)
        await device.patch(changed)
        assert (await device.get()).account_enabled is False
        await device.delete()
        with pytest.raises(refusal()) as failure:
            await device.get()
        assert failure.value.error.code == "Request_ResourceNotFound"

    sandbox = client(work, faults={"graph": {"autopilotDelete": 0, "checkIn": 0}})
    serials = [one.device.serial_number for one in sandbox.state.devices(DOMAIN)]
    assert "5CD340001Z" not in serials


def test_it_sends_a_batch(client: Callable[..., Any]) -> None:
    async def work(use: Client) -> None:
        statuses, bodies = await use.batch(
            managed=use.managed.to_get_request_information(),
            devices=use.graph.devices.to_get_request_information(
                query("devices", filter="displayName eq 'CONTOSO-0002'")
            ),
            nobody=use.graph.devices.by_device_id(
                "00000000-0000-4000-8000-000000000000"
            ).to_get_request_information(),
        )
        assert statuses == {"managed": 200, "devices": 200, "nobody": 404}
        assert len(bodies["managed"]["value"]) == 19
        assert [one["trustType"] for one in bodies["devices"]["value"]] == ["ServerAd"]

    sandbox = client(work)
    assert [entry.inner for entry in sandbox.log.entries] == [False, True, True, True] * 2


def test_it_waits_as_long_as_a_429_says_and_continues(client: Callable[..., Any]) -> None:
    rule = {
        "match": {"operation": "list-managed-devices", "nth": 1},
        "fault": {"kind": "status", "status": 429, "retryAfter": 0.01},
    }

    async def work(use: Client) -> None:
        assert len((await use.managed.get()).value) == 19

    sandbox = client(work, faults={"rules": [rule]})
    assert [one.status for one in sandbox.log.of("list-managed-devices")] == [429, 200]


def test_it_is_told_what_its_token_may_not(client: Callable[..., Any]) -> None:
    async def work(use: Client) -> None:
        assert len((await use.identities.get()).value) == 138
        with pytest.raises(refusal()) as failure:
            await use.managed.get()
        assert failure.value.response_status_code == 403
        assert "DeviceManagementManagedDevices.Read.All" in failure.value.error.message
        listed = (await use.graph.devices.get()).value[0]
        with pytest.raises(refusal()) as failure:
            await use.graph.devices.by_device_id(listed.id).delete()
        assert failure.value.error.code == "Authorization_RequestDenied"

    client(work, kind="graphNoIntune")


def test_it_is_told_that_a_second_administrator_has_to_approve(
    client: Callable[..., Any], contoso: Seed
) -> None:
    """What a cleanup does: ask with a justification, be refused with a code, come back with it."""
    header = "x-msft-approval-"

    async def work(use: Client) -> None:
        (first, *_) = (await use.managed.get()).value
        record = use.managed.by_managed_device_id(first.id)
        base = import_module("kiota_abstractions.base_request_configuration")
        headers = import_module("kiota_abstractions.headers_collection")

        def saying(**said: str) -> Any:
            collected = headers.HeadersCollection()
            for name, value in said.items():
                collected.add(f"{header}{name}", value)
            return base.RequestConfiguration(headers=collected)

        with pytest.raises(refusal()) as unasked:
            await record.delete()
        assert f"{header}justification" in unasked.value.error.message
        reason = base64.b64encode(b"leaves the company").decode()
        with pytest.raises(refusal()) as asked:
            await record.delete(saying(justification=reason))
        (code,) = [
            value
            for name, value in dict(asked.value.response_headers).items()
            if name.lower() == f"{header}code"
        ]
        approvals = use.sandbox.graph.estates.of(DOMAIN).approvals
        approvals[str(code)].status = "approved"
        await record.delete(saying(code=str(code)))
        with pytest.raises(refusal()) as gone:
            await record.get()
        assert gone.value.response_status_code == 404

    (customer, *others) = contoso.customers
    guarded = replace(customer, tenant=replace(customer.tenant, multi_admin_approval=True))
    client(work, world=replace(contoso, customers=(guarded, *others)))
