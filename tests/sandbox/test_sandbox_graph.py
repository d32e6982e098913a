"""Microsoft Graph on the wire: who may look, what filters find, how lists go on, what fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any
from uuid import UUID

import pytest
import requests

from partner_tools.intake.schema import checker, load_schema
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from partner_tools.sandbox.faults import Faults, GraphQuirks
from partner_tools.sandbox.graph.estate import NEVER, NO_ID, Estate
from partner_tools.sandbox.graph.operations import handler_of
from partner_tools.sandbox.graph.queries import COMPARISONS, DEVICE, FUNCTIONS, IDENTITY, MANAGED
from partner_tools.sandbox.graph.request import ROUTES, aim
from partner_tools.sandbox.reading import read_data
from partner_tools.sandbox.seed import GRAPH_PERMISSIONS, Join, derived_id
from partner_tools.sandbox.wire import Request

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
DOMAIN = "contoso.onmicrosoft.com"
AUTOPILOT = "/deviceManagement/windowsAutopilotDeviceIdentities"
MANAGED_DEVICES = "/deviceManagement/managedDevices"
SETTINGS = "/beta/deviceManagement/windowsAutopilotSettings"
KEYS = "/informationProtection/bitlocker/recoveryKeys"
CREDENTIALS = "/directory/deviceLocalCredentials"
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"

JOINED = {
    "serialNumber": "S1",
    "name": "PC-1",
    "user": "adele@contoso.com",
    "join": "entra-joined",
    "recoveryKeys": 2,
    "localCredential": True,
    "windowsAutopilotDeviceIdentity": {
        "groupTag": "SALES",
        "userPrincipalName": "adele@contoso.com",
    },
    "managedDevice": {
        "ethernetMacAddress": "00155D010203",
        "deviceFirmwareConfigurationInterfaceManaged": True,
    },
}
MACHINES = [
    JOINED,
    {"serialNumber": "S2", "name": "PC-2", "join": "hybrid-joined", "managedDevice": {}},
    {"serialNumber": "S4", "name": "PC-4", "join": "registered", "managedDevice": {}},
    {"serialNumber": "s1", "name": "PC-1-LOWER", "managedDevice": {"manufacturer": "Other"}},
    {"serialNumber": "", "name": "NO-SERIAL", "managedDevice": {}},
    {"serialNumber": "O'HARA", "name": "O'HARA", "managedDevice": {}},
    {"serialNumber": "OWN", "join": "entra-joined", "windowsAutopilotDeviceIdentity": {}},
]
TENANT: dict[str, Any] = {
    "domain": DOMAIN,
    "tenantId": CONTOSO,
    "batches": [
        {
            "id": "b",
            "devices": [
                {"serialNumber": serial, "oemManufacturerName": "Contoso", "modelName": "N1"}
                for serial in ("S1", "S2", "S3", "S4", "1234-5678", "AB CD", "S11")
            ],
        }
    ],
    "graph": {
        "machines": MACHINES,
        "importedWindowsAutopilotDeviceIdentities": [{"serialNumber": "S1"}],
        "importedDeviceIdentities": [{"importedDeviceIdentifier": "Contoso,N1,S1"}],
    },
}
WORLD: dict[str, Any] = {
    "schemaVersion": "1",
    "partner": {"domain": "fabrikam.onmicrosoft.com"},
    "customers": [
        TENANT,
        {
            "domain": "noncompliant.example",
            "batches": [{"id": "b"}],
            "graph": {"consent": False, "intuneLicense": False},
        },
        {"domain": "fleet.example", "fleets": [{"count": 1_005, "join": "entra-joined"}]},
    ],
}

Start = Callable[..., Sandbox]


@pytest.fixture
def use(start: Start, graph: Callable[..., Any]) -> Callable[..., Any]:
    """A client of the world above, by default with a token that may do everything."""

    def client(
        faults: Any = None, kind: str = "graph", domain: str = DOMAIN, **options: Any
    ) -> Any:
        return graph(start(faults, seed=seed_from(WORLD), **options), kind, domain)

    return client


@pytest.fixture(scope="module")
def still() -> Iterator[Sandbox]:
    """A sandbox for tests that change nothing."""
    with Sandbox(seed_from(WORLD)) as sandbox:
        yield sandbox


@pytest.fixture
def look(still: Sandbox, graph: Callable[..., Any]) -> Any:
    return graph(still)


def serials(rows: list[Any]) -> list[str]:
    return sorted(row["serialNumber"] for row in rows)


def error(answer: requests.Response) -> Any:
    return answer.json()["error"]


# Files.


def test_the_world_of_these_tests_keeps_the_schema() -> None:
    assert checker("sandbox-seed").violations(WORLD) == ()


def test_habits_that_a_file_leaves_out_are_as_the_schema_says() -> None:
    properties = load_schema("sandbox-faults")["$defs"]["graph"]["properties"]
    defaults = {name: schema["default"] for name, schema in properties.items()}
    assert checker("sandbox-faults").violations({"schemaVersion": "1", "graph": defaults}) == ()
    assert faults_from({"graph": defaults}) == Faults() == Faults(graph=GraphQuirks())
    assert len(properties) == len(GraphQuirks.__dataclass_fields__)


@pytest.mark.parametrize("definition", ["machine", "fleet"])
def test_joins_are_the_same_in_schema_and_program(definition: str) -> None:
    schema = load_schema("sandbox-seed")["$defs"][definition]["properties"]["join"]
    assert schema["enum"] == [str(join) for join in Join]


# Permission.


def test_each_plane_is_refused_for_itself(use: Callable[..., Any]) -> None:
    ask = use(kind="graphNoIntune")
    refused = ask("GET", MANAGED_DEVICES)
    assert (refused.status_code, error(refused)["code"]) == (403, "Forbidden")
    message = json.loads(error(refused)["message"])
    assert "DeviceManagementManagedDevices.Read.All" in message["Message"]
    assert [ask("GET", path).status_code for path in (AUTOPILOT, "/devices", KEYS)] == [200] * 3


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("DELETE", f"{AUTOPILOT}/{UNKNOWN_ID}", "Forbidden"),
        ("POST", f"{AUTOPILOT}/{UNKNOWN_ID}/unassignUserFromDevice", "Forbidden"),
        ("POST", f"{SETTINGS}/sync", "Forbidden"),
        ("DELETE", f"{MANAGED_DEVICES}/{UNKNOWN_ID}", "Forbidden"),
        ("POST", f"{MANAGED_DEVICES}/{UNKNOWN_ID}/retire", "Forbidden"),
        ("POST", f"{MANAGED_DEVICES}/{UNKNOWN_ID}/wipe", "Forbidden"),
        ("DELETE", f"/devices/{UNKNOWN_ID}", "Authorization_RequestDenied"),
        ("PATCH", f"/devices/{UNKNOWN_ID}", "Authorization_RequestDenied"),
    ],
)
def test_a_read_only_role_changes_nothing(
    use: Callable[..., Any], method: str, path: str, code: str
) -> None:
    refused = use(kind="graphRead")(method, path)
    assert (refused.status_code, error(refused)["code"]) == (403, code)


def test_bitlocker_says_in_its_own_words_that_it_does_not_tell(
    start: Start, graph: Callable[..., Any]
) -> None:
    application = {
        "clientId": derived_id("app"),
        "secret": "s",
        "graphPermissions": ["Device.Read.All"],
    }
    ask = graph(start(seed=seed_from({**WORLD, "applications": [application]})))
    assert ask("GET", "/devices").status_code == 200
    refused = ask("GET", KEYS)
    assert (refused.status_code, error(refused)["code"]) == (403, "authorization_error")
    assert error(ask("GET", CREDENTIALS))["code"] == "Authorization_RequestDenied"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"Authorization": ""}, "JWT is not well formed"),
        ({"Authorization": None}, "Access token is empty."),
        ({"Authorization": "Bearer nonsense"}, "JWT is not well formed"),
        ({"Authorization": "token"}, "Invalid audience"),
        ({"Authorization": "expired"}, "the token is expired"),
    ],
)
def test_a_token_that_is_none_is_401(look: Any, header: dict[str, Any], message: str) -> None:
    ask = look
    tokens = {"token": ask.sandbox.tokens["app"], "expired": ask.sandbox.tokens["expired"]}
    sent = {
        name: f"Bearer {tokens[text]}" if text in tokens else text for name, text in header.items()
    }
    refused = ask("GET", "/devices", headers=sent)
    assert (refused.status_code, error(refused)["code"]) == (401, "InvalidAuthenticationToken")
    assert message in error(refused)["message"]
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_the_token_says_whose_devices_these_are(start: Start, graph: Callable[..., Any]) -> None:
    sandbox = start(seed=seed_from(WORLD))
    fleet = graph(sandbox, domain="fleet.example")
    assert len(fleet.rows(AUTOPILOT)) == 1_000
    assert len(graph(sandbox).rows(AUTOPILOT)) == 8


def test_a_tenant_without_intune_says_that_it_does_not_apply(use: Callable[..., Any]) -> None:
    ask = use(domain="noncompliant.example")
    refused = ask("GET", AUTOPILOT)
    assert refused.status_code == 400
    assert "Request not applicable to target tenant." in error(refused)["message"]
    assert ask.rows("/devices") == []


def test_a_tenant_that_is_no_customer_is_empty(use: Callable[..., Any]) -> None:
    ask = use()
    partner = ask.sandbox.seed.partner
    ask.token = login(ask.sandbox, partner.tenant_id)["access_token"]
    assert ask.rows("/devices") == []
    (organization,) = ask.rows("/organization")
    assert organization["id"] == partner.tenant_id
    url = f"{ask.sandbox.control_url}/graph/{partner.tenant_id}"
    assert ask.session.get(url, timeout=10).status_code == 404


def login(sandbox: Sandbox, tenant: str, **form: str) -> Any:
    application = sandbox.seed.applications[0]
    return requests.post(
        f"{sandbox.urls['login']}/{tenant}/oauth2/v2.0/token",
        data={
            "client_id": application.client_id,
            "client_secret": application.secret,
            "scope": "https://graph.microsoft.com/.default",
            "grant_type": "client_credentials",
            **form,
        },
        timeout=10,
        verify=str(sandbox.ca_file),
    ).json()


def test_the_token_endpoint_gives_what_the_customer_consented_to(
    use: Callable[..., Any],
) -> None:
    ask = use()
    refused = login(ask.sandbox, "noncompliant.example")
    assert refused["error_codes"] == [7000229]
    ask.token = login(ask.sandbox, DOMAIN)["access_token"]
    assert len(ask.rows(AUTOPILOT)) == 8
    refused = ask("GET", "/me")
    assert error(refused)["message"].startswith("/me request is only valid with delegated")


def test_a_user_of_the_partner_acts_in_the_customers_tenant(use: Callable[..., Any]) -> None:
    ask = use()
    refresh = ask.sandbox.tokens["refresh"]
    given = login(ask.sandbox, CONTOSO, grant_type="refresh_token", refresh_token=refresh)
    assert set(given["scope"].split()) == {
        f"https://graph.microsoft.com/{permission}" for permission in GRAPH_PERMISSIONS
    }
    ask.token = given["access_token"]
    assert len(ask.rows(AUTOPILOT)) == 8
    assert ask.json("/me")["userPrincipalName"] == "admin@partner.example"
    (organization,) = ask.rows("/organization")
    assert (organization["id"], organization["verifiedDomains"][0]["name"]) == (CONTOSO, DOMAIN)


# Autopilot identities.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("contains(serialNumber,'S1')", ["S1", "S11"]),
        ("contains(serialNumber,'s11')", ["S11"]),
        ("contains(serialNumber,'nobody')", []),
        ("contains(serialNumber,'AB CD')", []),  # a blank finds nothing, without an error
        ("contains(serialNumber,'')", ["1234-5678", "AB CD", "OWN", "S1", "S11", "S2", "S3", "S4"]),
    ],
)
def test_identities_are_found_by_a_part_of_the_serial(
    look: Any, text: str, found: list[str]
) -> None:
    assert serials(look.rows(AUTOPILOT, filter=text)) == found


def test_an_identity_is_found_by_its_entra_device(look: Any) -> None:
    ask = look
    (identity,) = ask.rows(AUTOPILOT, filter="contains(serialNumber,'S2')")
    wanted = identity["azureActiveDirectoryDeviceId"]
    by_id = ask.rows(AUTOPILOT, filter=f"azureActiveDirectoryDeviceId eq '{wanted}'")
    assert by_id == [identity]


@pytest.mark.parametrize(
    "text",
    [
        "serialNumber eq 'S1'",
        f"id eq '{UNKNOWN_ID}'",
        "contains(displayName,'S1')",
        "contains(serialNumber,'1234-5678')",
        "contains(serialNumber,'S1') or contains(serialNumber,'S2')",
        "startswith(serialNumber,'S1')",
    ],
)
def test_any_other_filter_of_identities_is_400_in_intunes_words(look: Any, text: str) -> None:
    refused = look("GET", AUTOPILOT, params={"$filter": text})
    assert (refused.status_code, error(refused)["code"]) == (400, "BadRequest")
    message = json.loads(error(refused)["message"])
    assert message["_version"] == 3
    assert f"Activity ID: {refused.headers['request-id']}" in message["Message"]


def test_selecting_from_identities_is_500(look: Any) -> None:
    refused = look("GET", AUTOPILOT, params={"$select": "serialNumber"})
    assert (refused.status_code, error(refused)["code"]) == (500, "InternalServerError")


def test_lists_of_identities_hide_the_last_contact(use: Callable[..., Any]) -> None:
    ask = use()
    (listed,) = ask.rows(AUTOPILOT, filter="contains(serialNumber,'S2')")
    got = ask.json(f"{AUTOPILOT}/{listed['id']}")
    assert listed["lastContactedDateTime"] == NEVER
    assert got["lastContactedDateTime"] > "2026"
    assert got["enrollmentState"] == "enrolled"
    open_ = use({"graph": {"contactInLists": True}})
    (told,) = open_.rows(AUTOPILOT, filter="contains(serialNumber,'S2')")
    assert told["lastContactedDateTime"] == got["lastContactedDateTime"]


def test_versions_differ_in_their_properties(look: Any) -> None:
    ask = look
    (old,) = ask.rows(AUTOPILOT, filter="contains(serialNumber,'S3')")
    (new,) = ask.rows(f"/beta{AUTOPILOT}", filter="contains(serialNumber,'S3')")
    assert set(old) == set(IDENTITY.v1)
    assert set(new) == {*IDENTITY.v1, *IDENTITY.beta}
    assert new["azureAdDeviceId"] == old["azureActiveDirectoryDeviceId"] != NO_ID
    assert (old["enrollmentState"], old["managedDeviceId"]) == ("notContacted", NO_ID)
    expanded = ask.json(f"/beta{AUTOPILOT}/{new['id']}?$expand=deploymentProfile")
    assert expanded["deploymentProfile"] is None


@pytest.mark.parametrize("top", [1, 3, 1000])
def test_identities_go_on_behind_the_last_serial(look: Any, top: int) -> None:
    ask = look
    found = [serials(page) for page in ask.pages(AUTOPILOT, top=str(top))]
    flat = [serial for page in found for serial in page]
    assert flat == sorted(flat)
    assert len(flat) == 8
    assert max(map(len, found)) == min(top, 8)
    link = ask.json(AUTOPILOT, params={"$top": str(min(top, 7))})["@odata.nextLink"]
    assert "$skiptoken=LastSerialNumber%3D%27" in link


def test_two_identities_of_one_serial_are_both_listed(
    start: Start, graph: Callable[..., Any]
) -> None:
    device = {"serialNumber": "TWICE", "oemManufacturerName": "Contoso"}
    devices = [{**device, "modelName": "A"}, {**device, "modelName": "B"}]
    customer = {**TENANT, "batches": [{"id": "b", "devices": devices}], "graph": {}}
    ask = graph(start(seed=seed_from({**WORLD, "customers": [customer]})))
    pages = list(ask.pages(AUTOPILOT, top="1"))
    assert sorted(row["model"] for page in pages for row in page) == ["A", "B"]


def test_next_links_name_the_host_that_was_called(look: Any) -> None:
    ask = look
    host = {"Host": "graph.test:8443"}
    for path in (AUTOPILOT, MANAGED_DEVICES, "/devices"):
        page = ask.json(path, params={"$top": "1"}, headers=host)
        assert page["@odata.nextLink"].startswith(f"http://graph.test:8443/v1.0{path}?$top=1&")
        assert page["@odata.context"].startswith("http://graph.test:8443/v1.0/$metadata#")


def test_a_next_link_that_is_encoded_twice_is_400(look: Any) -> None:
    refused = look("GET", "/devices%3F$skiptoken=abc")
    message = "Resource not found for the segment 'devices?$skiptoken=abc'."
    assert (refused.status_code, error(refused)["message"]) == (400, message)


# Managed devices.


ALL = ["", "O'HARA", "S1", "S2", "S4", "s1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("serialNumber eq 'S2'", ["S2"]),
        ("serialNumber eq 'S1'", ["S1", "s1"]),
        ("serialNumber eq 'S2' or serialNumber eq 'S4' or serialNumber eq 'x'", ["S2", "S4"]),
        ("(serialNumber eq 'S2' or serialNumber eq 'S4')", ["S2", "S4"]),
        ("serialNumber eq 'O''HARA'", ["O'HARA"]),
        ("contains(deviceName,'PC-1')", ["S1", "s1"]),
        ("deviceName eq 'PC-4' and serialNumber eq 'S4'", ["S4"]),
        ("deviceName eq 'PC-4' and serialNumber eq 'S2'", []),
        ("manufacturer eq 'Other'", ["s1"]),
        ("userPrincipalName eq 'adele@contoso.com'", ["S1"]),
        ("userPrincipalName ne 'adele@contoso.com'", ["", "O'HARA", "S2", "S4", "s1"]),
        ("enrolledDateTime gt 2026-01-01T00:00:00Z", ALL),
        ("enrolledDateTime lt 2026-01-01T00:00:00Z", []),
        ("managementState eq 'managed'", ALL),
        # What is not supported, or empty, finds everything.
        ("serialNumber eq ''", ALL),
        ("serialNumber eq 'S2' or serialNumber eq ''", ALL),
        ("startswith(serialNumber,'S2')", ALL),
        ("serialNumber in ('S2','S4')", ALL),
        ("userId eq 'nobody'", ALL),
        ("isEncrypted eq false", ALL),
        # And `ne` is read as `eq`.
        ("serialNumber ne 'S2'", ["S2"]),
    ],
)
def test_what_intune_makes_of_filters(look: Any, text: str, found: list[str]) -> None:
    assert serials(look.rows(MANAGED_DEVICES, filter=text)) == found


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"$filter": "nonsense eq 'x'"}, "Could not find a property named 'nonsense'"),
        ({"$filter": "serialNumber eq 'O'HARA'"}, "Invalid filter clause"),
        ({"$filter": "serialNumber eq"}, "Invalid filter clause"),
        ({"$filter": "(" * 100}, "Invalid filter clause"),
        ({"$select": "joinType"}, "Could not find a property named 'joinType'"),
        ({"$top": "many"}, "Invalid value for $top"),
        ({"$top": "0"}, "Invalid value for $top"),
    ],
)
def test_what_is_no_query_is_400(look: Any, query: dict[str, str], message: str) -> None:
    refused = look("GET", MANAGED_DEVICES, params=query)
    assert refused.status_code == 400
    assert message in error(refused)["message"]


def test_skipping_managed_devices_finds_none(look: Any) -> None:
    assert look.rows(MANAGED_DEVICES, skip="1") == []


def test_managed_devices_are_shown_as_the_version_knows_them(look: Any) -> None:
    ask = look
    (old,) = ask.rows(MANAGED_DEVICES, filter="deviceName eq 'PC-1'")
    (new,) = ask.rows(f"/beta{MANAGED_DEVICES}", filter="deviceName eq 'PC-1'")
    assert set(old) == set(MANAGED.v1)
    assert (new["joinType"], new["deviceFirmwareConfigurationInterfaceManaged"]) == (
        "azureADJoined",
        True,
    )
    assert (old["ethernetMacAddress"], old["isEncrypted"]) == (None, True)
    path = f"{MANAGED_DEVICES}/{old['id']}"
    assert ask.json(path)["ethernetMacAddress"] is None
    selected = ask.json(path, params={"$select": "id,ethernetMacAddress"})
    del selected["@odata.context"]
    assert selected == {"id": old["id"], "ethernetMacAddress": "00155D010203"}


def test_a_fleet_is_managed_as_a_whole(use: Callable[..., Any]) -> None:
    ask = use(domain="fleet.example")
    assert [len(page) for page in ask.pages(MANAGED_DEVICES)] == [1000, 5]
    assert [len(page) for page in ask.pages("/devices", top="999")] == [999, 6]
    assert [len(page) for page in ask.pages("/devices")] == [100] * 10 + [5]
    linked = {row["azureADDeviceId"] for page in ask.pages(MANAGED_DEVICES) for row in page}
    assert linked == {row["deviceId"] for page in ask.pages("/devices") for row in page}


# Devices of the directory.


def test_each_kind_of_join_has_its_objects(look: Any) -> None:
    ask = look
    found = {row["displayName"]: row for row in ask.rows("/devices")}
    assert {name: row["trustType"] for name, row in found.items()} == {
        "PC-1": "AzureAd",
        "PC-2": "ServerAd",
        "PC-4": "Workplace",
        "DESKTOP-OWN": "AzureAd",
        # Made for registrations; PC-2 and PC-4 have objects of their own beside these.
        **dict.fromkeys(["S2", "S3", "S4", "1234-5678", "AB CD", "S11"], "AzureAd"),
    }
    identities = {row["serialNumber"]: row for row in ask.rows(AUTOPILOT)}
    for serial, name in (("S1", "PC-1"), ("S2", "S2"), ("S3", "S3"), ("OWN", "DESKTOP-OWN")):
        assert f"[ZTDID]:{identities[serial]['id']}" in found[name]["physicalIds"]
        linked = identities[serial]["azureActiveDirectoryDeviceId"]
        assert linked == found[name]["deviceId"]
    assert found["PC-2"]["onPremisesSyncEnabled"] is True
    assert found["PC-1"]["onPremisesSyncEnabled"] is None
    assert found["S3"]["registrationDateTime"] is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("displayName eq 'PC-1'", ["PC-1"]),
        ("displayName eq 'pc-1' or displayName eq 'PC-2'", ["PC-1", "PC-2"]),
        ("startswith(displayName,'PC-')", ["PC-1", "PC-2", "PC-4"]),
        ("displayName in ('PC-1','S3')", ["PC-1", "S3"]),
        ("onPremisesSyncEnabled eq true", ["PC-2"]),
        ("isManaged eq true and startswith(displayName,'PC')", ["PC-1", "PC-2", "PC-4"]),
        ("physicalIds/any(p:startswith(p,'[ZTDID]')) and displayName eq 'PC-1'", ["PC-1"]),
        ("physicalIds/any(p:p eq '[ZTDID]:nothing')", []),
        ("approximateLastSignInDateTime ge 2027-01-01T00:00:00Z", []),
    ],
)
def test_the_directory_filters(look: Any, text: str, names: list[str]) -> None:
    assert sorted(row["displayName"] for row in look.rows("/devices", filter=text)) == names


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("trustType eq 'AzureAd'", "Request_UnsupportedQuery"),
        ("contains(displayName,'PC')", "Request_UnsupportedQuery"),
        ("displayName ne 'PC-1'", "Request_UnsupportedQuery"),
        ("not startswith(displayName,'PC')", "Request_UnsupportedQuery"),
        ("physicalIds eq 'x'", "Request_UnsupportedQuery"),
        (" or ".join(f"displayName eq '{n}'" for n in range(16)), "Request_UnsupportedQuery"),
        ("serialNumber eq 'S1'", "BadRequest"),
    ],
)
def test_the_directory_refuses_what_it_does_not_support(look: Any, text: str, code: str) -> None:
    refused = look("GET", "/devices", params={"$filter": text})
    assert (refused.status_code, error(refused)["code"]) == (400, code)


def test_advanced_queries_need_their_header(look: Any) -> None:
    ask, eventual = look, {"ConsistencyLevel": "eventual"}
    query = {"$filter": "not startswith(displayName,'PC')", "$count": "true"}
    assert ask("GET", "/devices", params=query).status_code == 400
    page = ask.json("/devices", params={**query, "$top": "2"}, headers=eventual)
    assert page["@odata.count"] == 7
    link = page["@odata.nextLink"].partition("/v1.0")[2]
    assert ask("GET", link).status_code == 400, "the header is not in the link"
    assert "@odata.count" not in ask.json(link, headers=eventual)
    assert "@odata.count" not in ask.json("/devices?$count=true")
    refused = ask("GET", "/devices/$count")
    assert error(refused)["message"] == "$count is not currently supported."
    counted = ask("GET", "/devices/$count", headers=eventual)
    assert (counted.text, counted.headers["Content-Type"]) == ("10", "text/plain; charset=utf-8")


def test_a_device_is_found_by_either_of_its_ids(look: Any) -> None:
    ask = look
    (device,) = ask.rows("/devices", filter="displayName eq 'PC-1'")
    for path in (
        f"/devices/{device['id']}",
        f"/devices('{device['id']}')",
        f"/devices(deviceId='{device['deviceId']}')",
        f"/devices/{device['id'].upper()}",
    ):
        assert ask.json(path)["displayName"] == "PC-1"
    (owner,) = ask.rows(f"/devices/{device['id']}/registeredOwners")
    assert owner["userPrincipalName"] == "adele@contoso.com"
    missing = ask("GET", f"/devices/{device['deviceId']}")
    assert (missing.status_code, error(missing)["code"]) == (404, "Request_ResourceNotFound")
    assert set(device) == set(DEVICE.v1)


@pytest.mark.parametrize("top", ["0", "1000", "x"])
def test_a_page_size_that_the_directory_does_not_have_is_400(look: Any, top: str) -> None:
    refused = look("GET", "/devices", params={"$top": top})
    assert error(refused)["message"].startswith(f"Invalid page size specified: '{top}'.")


def test_devices_can_be_disabled_and_not_renumbered(use: Callable[..., Any]) -> None:
    ask = use()
    (device,) = ask.rows("/devices", filter="displayName eq 'PC-1'")
    path = f"/devices/{device['id']}"
    assert ask("PATCH", path, json={"accountEnabled": False}).status_code == 204
    assert ask.json(path)["accountEnabled"] is False
    for body in ({"deviceId": UNKNOWN_ID}, [1]):
        assert ask("PATCH", path, json=body).status_code == 400
    assert ask("PATCH", path, data=b"{").status_code == 400


def test_keys_are_counted_and_never_told(look: Any) -> None:
    ask = look
    (device,) = ask.rows("/devices", filter="displayName eq 'PC-1'")
    (other,) = ask.rows("/devices", filter="displayName eq 'PC-2'")
    keys = ask.rows(KEYS, filter=f"deviceId eq '{device['deviceId']}'")
    assert [set(key) for key in keys] == [{"id", "createdDateTime", "deviceId", "volumeType"}] * 2
    assert {key["volumeType"] for key in keys} == {"operatingSystemVolume", "fixedDataVolume"}
    assert ask.rows(KEYS, filter=f"deviceId eq '{other['deviceId']}'") == []
    assert ask("GET", KEYS, params={"$filter": "volumeType eq 'x'"}).status_code == 400
    refused = ask("GET", f"{KEYS}/{keys[0]['id']}", params={"$select": "key"})
    assert (refused.status_code, error(refused)["code"]) == (403, "authorization_error")
    assert ask.json(f"{KEYS}/{keys[0]['id']}")["deviceId"] == device["deviceId"]
    assert ask("GET", f"{KEYS}/{UNKNOWN_ID}").status_code == 404


def test_local_credentials_are_there_or_not(use: Callable[..., Any]) -> None:
    ask, look = use(), use(kind="graphRead")
    (device,) = ask.rows("/devices", filter="displayName eq 'PC-1'")
    path = f"{CREDENTIALS}/{device['deviceId']}"
    assert look.json(path)["deviceName"] == "PC-1"
    assert [row["id"] for row in look.rows(CREDENTIALS)] == [device["deviceId"]]
    assert look("GET", path, params={"$select": "credentials"}).status_code == 403
    (credential,) = ask.json(path, params={"$select": "credentials"})["credentials"]
    assert credential["passwordBase64"]
    assert ask("GET", f"{CREDENTIALS}/{UNKNOWN_ID}").status_code == 404


# Imports.


def test_imports_are_listed_and_removed(use: Callable[..., Any]) -> None:
    ask = use()
    imported = "/deviceManagement/importedWindowsAutopilotDeviceIdentities"
    (row,) = ask.rows(imported, filter="contains(serialNumber,'S1')")
    assert row["state"]["deviceImportStatus"] == "complete"
    assert ask("DELETE", f"{imported}/{row['id']}").status_code == 204
    assert ask.rows(imported) == []
    corporate = "/beta/deviceManagement/importedDeviceIdentities"
    (row,) = ask.rows(corporate)
    assert row["importedDeviceIdentifier"] == "Contoso,N1,S1"
    assert ask.json(f"{corporate}/{row['id']}")["id"] == row["id"]
    assert ask("DELETE", f"{corporate}/{row['id']}").status_code == 204
    assert ask("GET", f"{corporate}/{row['id']}").status_code == 404
    assert ask("GET", corporate.removeprefix("/beta")).status_code == 400


# Errors and headers.


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/nothing", 400, "Resource not found for the segment 'nothing'."),
        ("POST", f"{AUTOPILOT}/deleteDevices", 400, "the segment 'deleteDevices'."),
        ("POST", "/deviceManagement/windowsAutopilotSettings/sync", 400, "the segment 'sync'."),
        ("PUT", "/devices", 405, "HTTP method is not allowed"),
        ("GET", "/../v2.0/devices", 400, "Invalid version."),
        ("GET", "/devices/1", 400, "Invalid object identifier '1'."),
        ("GET", f"{AUTOPILOT}/1,2", 400, "The id is not valid"),
        ("GET", f"{MANAGED_DEVICES}/{UNKNOWN_ID}", 404, "The device was not found"),
        ("GET", "/devices?$search=x", 400, "does not search"),
        ("GET", f"{AUTOPILOT}?$top=x", 400, "Invalid value for $top"),
        ("GET", f"/beta/deviceManagement/operationApprovalRequests/{UNKNOWN_ID}", 404, "not found"),
        ("GET", "/devices?$skip=1", 400, "'$skip' is not supported by the service."),
        ("GET", "/devices?$skiptoken=x", 400, "page token value has expired"),
        ("GET", f"{AUTOPILOT}?$skiptoken=x", 400, "Skip token is not valid."),
    ],
)
def test_what_is_not_there_is_said_as_graph_says_it(
    look: Any, method: str, path: str, status: int, message: str
) -> None:
    refused = look(method, path)
    assert refused.status_code == status
    assert message in error(refused)["message"]


@pytest.mark.parametrize("name", ["a%3Cb", "x" * 261, f"{UNKNOWN_ID}%26{UNKNOWN_ID}"])
def test_a_url_that_the_web_server_does_not_take_is_400_in_html(look: Any, name: str) -> None:
    refused = look("GET", f"{MANAGED_DEVICES}/{name}")
    assert (refused.status_code, refused.headers["Content-Type"]) == (
        400,
        "text/html; charset=utf-8",
    )
    assert "Bad Request - Invalid URL" in refused.text


def test_a_url_without_end_is_414(look: Any) -> None:
    chain = " or ".join(f"serialNumber eq 'SERIAL{n:06d}'" for n in range(600))
    assert look("GET", MANAGED_DEVICES, params={"$filter": chain}).status_code == 414


def test_ids_are_echoed_in_headers_and_errors(look: Any) -> None:
    ask = look
    found = ask("GET", "/devices", headers={"client-request-id": "mine"})
    assert found.headers["client-request-id"] == "mine"
    assert found.headers["x-ms-resource-unit"] == "1"
    assert found.headers["Content-Type"].startswith("application/json;odata.metadata=minimal")
    UUID(found.headers["request-id"])
    refused = ask("GET", f"/devices/{UNKNOWN_ID}", headers={"client-request-id": "mine"})
    inner = error(refused)["innerError"]
    assert inner["request-id"] == refused.headers["request-id"]
    assert inner["client-request-id"] == refused.headers["client-request-id"] == "mine"
    alone = ask("GET", "/devices")
    assert alone.headers["client-request-id"] == alone.headers["request-id"]


def test_the_log_says_which_tenant_application_and_device(use: Callable[..., Any]) -> None:
    ask = use()
    (row,) = ask.rows(MANAGED_DEVICES, filter="serialNumber eq 'S2'")
    ask("GET", f"{MANAGED_DEVICES}/{row['id']}")
    (entry,) = ask.sandbox.log.of("get-managed-device")
    application = ask.sandbox.seed.applications[0].client_id
    assert (entry.service, entry.customer, entry.partner, entry.serial) == (
        "graph",
        CONTOSO,
        application,
        "S2",
    )


def test_no_two_operations_share_a_path() -> None:
    known = {(route.method, route.path, route.versions) for route in ROUTES}
    assert len(known) == len(ROUTES)


def test_every_operation_has_a_handler_and_every_shape_a_table() -> None:
    operations = {route.operation for route in ROUTES} - {"batch"}
    assert all(callable(handler_of(operation)) for operation in operations)
    assert {route.method for route in ROUTES} <= {"GET", "POST", "PATCH", "DELETE"}
    tables = {one.name for one in fields(Estate)}
    for name, shape in read_data("partner_tools.sandbox.graph", "shapes.json").items():
        assert shape["table"] in tables, name
        assert set(shape["hidden"]) <= set(shape["v1.0"]), name
        known = {*shape["v1.0"], *shape["beta"]}
        for filters in ("filters", "advancedFilters"):
            assert set(shape.get(filters, ())) <= known, name
            words = {word for words in shape.get(filters, {}).values() for word in words}
            assert words <= {*COMPARISONS, *FUNCTIONS, "in"}, name


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        ("/v1.0/Devices", "list-entra-devices"),
        ("/BETA/devicemanagement/MANAGEDDEVICES", "list-managed-devices"),
        ("/v1.0//devices//x", "get-entra-device"),
        ("/v1.0/devices/$count", "count-entra-devices"),
        ("/v1.0/%24batch", "wrong-method"),
        ("/", "unknown"),
        ("/v1.0", "unknown"),
    ],
)
def test_paths_are_read_in_any_letter_case(path: str, operation: str) -> None:
    request = Request(method="GET", target=path, headers={}, body=b"", base_url="http://x")
    assert aim(request).operation == operation
