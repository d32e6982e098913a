"""Details in which foreign clients and reports found a service to differ from its sandbox.

Each test names where the service's behaviour is documented or reported.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.sandbox.graph.request import ROUTES
from partner_tools.sandbox.wire import Route
from tests.sandbox.conftest import Clock, GraphClient, Start

DOMAIN = "contoso.onmicrosoft.com"
CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
AUTOPILOT = "/deviceManagement/windowsAutopilotDeviceIdentities"
IMPORTED = "/deviceManagement/importedWindowsAutopilotDeviceIdentities"
MANAGED = "/deviceManagement/managedDevices"
TAGGED = {"windowsAutopilotDeviceIdentity": {"groupTag": "KIOSK"}}
SEED = seed_from(
    {
        "schemaVersion": "1",
        "partner": {"domain": "fabrikam.onmicrosoft.com", "name": "Fabrikam"},
        "customers": [
            {
                "domain": DOMAIN,
                "tenantId": CONTOSO,
                "name": "Contoso",
                "graph": {
                    "machines": [
                        {
                            "serialNumber": serial,
                            "user": "adele@contoso.com",
                            "join": "entra-joined",
                            "managedDevice": {},
                            **TAGGED,
                        }
                        for serial in ("S1", "S2", "S3")
                    ]
                },
            }
        ],
    }
)


@pytest.fixture
def ask(start: Start, graph: Callable[..., GraphClient], clock: Clock) -> GraphClient:
    return graph(start(seed=SEED, clock=clock))


def ids(ask: GraphClient, path: str) -> list[str]:
    return [row["id"] for row in ask.rows(path)]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("operatingSystem eq 'Windows'", 3),
        ("operatingSystem eq 'iOS'", 0),
        ("complianceState eq 'compliant'", 3),
        ("complianceState eq 'noncompliant'", 0),
        ("managementAgent eq 'mdm'", 3),
        ("contains(osVersion,'10.0.2')", 3),
    ],
)
def test_a_filter_finds_the_values_that_rows_show(
    ask: GraphClient, condition: str, found: int
) -> None:
    """https://github.com/microsoftgraph/microsoft-graph-explorer-v4/issues/3125 (2024-04): the
    filter works for `operatingSystem`."""
    assert len(ask.rows(MANAGED, filter=condition)) == found


@pytest.mark.parametrize("path", [MANAGED, AUTOPILOT])
def test_the_count_of_intunes_lists_is_that_of_the_page(
    start: Start, graph: Callable[..., GraphClient], path: str
) -> None:
    """https://github.com/microsoftgraph/microsoft-graph-docs/issues/18143 (2022-08) and
    https://github.com/microsoftgraph/msgraph-sdk-powershell/issues/1819 (2023-02): it is there
    without being asked for, and is the size of the page."""
    ask = graph(start({"graph": {"autopilotPageSize": 2, "managedPageSize": 2}}, seed=SEED))
    first = ask.json(path)
    second = ask.json(first["@odata.nextLink"].partition("/v1.0")[2])
    assert [(page["@odata.count"], len(page["value"])) for page in (first, second)] == [
        (2, 2),
        (1, 1),
    ]


def test_property_names_are_found_in_any_letter_case(ask: GraphClient) -> None:
    """https://learn.microsoft.com/graph/traverse-the-graph (2025): property names are not case
    sensitive; https://github.com/microsoftgraph/msgraph-sdk-powershell/issues/1260 (2022-05)."""
    (row,) = ask.rows(MANAGED, filter="SERIALNUMBER eq 'S1'", select="ID,serialnumber")
    assert sorted(row) == ["id", "serialNumber"]
    (device,) = ask.rows("/devices", filter="DisplayName eq 'DESKTOP-S1'", select="displayname")
    assert device == {"displayName": "DESKTOP-S1"}
    (identity,) = ask.rows(AUTOPILOT, filter="contains(SerialNumber,'S1')")
    assert identity["serialNumber"] == "S1"


@pytest.mark.parametrize("kind", ["graph", "app", "user"])
def test_access_tokens_say_who_issued_them_to_which_application(start: Start, kind: str) -> None:
    """https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference (2025):
    the CLI for Microsoft 365 names its connection by `app_displayname`."""
    sandbox = start(seed=SEED)
    token = sandbox.tokens[f"graph:{DOMAIN}" if kind == "graph" else kind]
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert claims["iss"] == f"https://sts.windows.net/{claims['tid']}/"
    assert claims["sub"] == claims["oid"]
    assert claims["ver"] == "1.0"
    assert claims["app_displayname"]


def test_a_batch_takes_numbers_as_ids(ask: GraphClient) -> None:
    """Assumed: clients number their requests, and the gateway reads ids leniently; answers carry
    text (https://learn.microsoft.com/graph/json-batching, 2025-02)."""
    one = {"id": 1, "method": "GET", "url": "/organization"}
    other = {"id": 2, "method": "GET", "url": "/organization", "dependsOn": [1]}
    answers = ask.batch(one, other).json()["responses"]
    assert sorted((each["id"], each["status"]) for each in answers) == [("1", 200), ("2", 200)]
    assert ask.batch({**one, "id": True}).status_code == 400


def test_a_dependent_that_failed_has_a_content_type(ask: GraphClient) -> None:
    """https://learn.microsoft.com/graph/json-batching (2025-02): every answer with a body has
    headers; the JavaScript client makes a `Response` of them."""
    failing = {"id": "1", "method": "GET", "url": f"{MANAGED}/{CONTOSO}"}
    second = {"id": "2", "method": "GET", "url": "/organization", "dependsOn": ["1"]}
    answers = {each["id"]: each for each in ask.batch(failing, second).json()["responses"]}
    assert answers["2"]["status"] == 424
    assert answers["2"]["headers"]["Content-Type"].startswith("application/json")


def test_the_group_tag_is_an_order_id_of_the_entra_object(ask: GraphClient) -> None:
    """https://learn.microsoft.com/autopilot/enrollment-autopilot (2025): dynamic groups find a
    group tag as `[OrderID]`, and https://learn.microsoft.com/graph/api/
    intune-enrollment-windowsautopilotdeviceidentity-updatedeviceproperties (2025): 204."""
    tagged = "physicalIds/any(p:p eq '[OrderId]:{}')"
    assert len(ask.rows("/devices", filter=tagged.format("KIOSK"))) == 3
    first = ids(ask, AUTOPILOT)[0]
    path = f"{AUTOPILOT}/{first}/UpdateDeviceProperties"
    assert ask("POST", path, json={"groupTag": "SALES", "displayName": "Desk"}).status_code == 204
    assert ask.json(f"{AUTOPILOT}/{first}")["groupTag"] == "SALES"
    assert len(ask.rows("/devices", filter=tagged.format("KIOSK"))) == 2
    (device,) = ask.rows("/devices", filter=tagged.format("SALES"))
    assert f"[ZTDID]:{first}" in device["physicalIds"]
    assert ask("POST", path, json={"serialNumber": "X"}).status_code == 400


def test_a_sync_makes_a_device_check_in(ask: GraphClient, clock: Clock) -> None:
    """https://learn.microsoft.com/graph/api/intune-devices-manageddevice-syncdevice (2025): 204."""
    first = ids(ask, MANAGED)[0]
    before = ask.json(f"{MANAGED}/{first}")["lastSyncDateTime"]
    assert ask("POST", f"{MANAGED}/{first}/syncDevice").status_code == 204
    clock.pass_by(60)
    assert ask.json(f"{MANAGED}/{first}")["lastSyncDateTime"] > before


def test_an_import_becomes_an_identity(ask: GraphClient, clock: Clock) -> None:
    """https://learn.microsoft.com/graph/api/
    intune-enrollment-importedwindowsautopilotdeviceidentity-create and …-import (2025): 201 with
    the import, 200 with all of them. That a known serial ends in an error: 806,
    https://learn.microsoft.com/autopilot/troubleshooting-faq."""
    device = {"serialNumber": "NEW1", "hardwareIdentifier": "T0VN", "groupTag": "KIOSK"}
    made = ask("POST", IMPORTED, json=device)
    assert (made.status_code, made.json()["state"]["deviceImportStatus"]) == (201, "pending")
    many = {"importedWindowsAutopilotDeviceIdentities": [{**device, "serialNumber": "S1"}]}
    taken = ask("POST", f"{IMPORTED}/import", json=many)
    assert (taken.status_code, len(taken.json()["value"])) == (200, 1)
    assert ask("POST", IMPORTED, json={"serialNumber": "NEW2"}).status_code == 400
    clock.pass_by(60)
    assert len(ask.rows(AUTOPILOT, filter="contains(serialNumber,'NEW1')")) == 1
    states = {row["serialNumber"]: row["state"] for row in ask.rows(IMPORTED)}
    assert states["NEW1"]["deviceImportStatus"] == "complete"
    assert (states["S1"]["deviceImportStatus"], states["S1"]["deviceErrorCode"]) == ("error", 806)


def test_expansions_are_shown_or_refused(ask: GraphClient) -> None:
    """https://learn.microsoft.com/graph/api/device-list (2025): owners can be expanded; an unknown
    navigation property is 400 (https://learn.microsoft.com/graph/errors)."""
    devices = ask.rows("/devices", expand="registeredOwners($select=id),registeredusers")
    names = {owner["userPrincipalName"] for one in devices for owner in one["registeredOwners"]}
    assert names == {"adele@contoso.com"}
    assert all("registeredUsers" in one for one in devices)
    one = ask.json(f"/devices/{devices[0]['id']}", params={"$expand": "registeredOwners"})
    assert len(one["registeredOwners"]) == 1
    first = ids(ask, AUTOPILOT)[0]
    profile = ask.json(f"/beta{AUTOPILOT}/{first}", params={"$expand": "deploymentProfile"})
    assert profile["deploymentProfile"] is None
    for path in (MANAGED, AUTOPILOT, "/devices", f"{AUTOPILOT}/{first}"):
        assert ask("GET", path, params={"$expand": "nothing"}).status_code == 400


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if route.method == "GET"],
    ids=lambda route: f"{route.operation} {'/'.join(route.versions)}",
)
def test_no_read_ignores_an_expansion(ask: GraphClient, route: Route) -> None:
    """https://learn.microsoft.com/graph/errors (2025): an expansion that is not carried out would
    look as if there were nothing to show."""
    version = "/beta" if route.versions == ("beta",) else ""
    path = f"{version}/{'/'.join(route.path)}".replace("{id}", CONTOSO)
    answer = ask("GET", path, params={"$expand": "nothing"})
    assert answer.status_code == 400
    assert "Could not find a property named 'nothing'" in answer.text


@pytest.fixture
def token(start: Start) -> Callable[..., requests.Response]:
    """Posts a form to the token endpoint of the partner's tenant."""
    sandbox = start(seed=SEED)

    def post(form: dict[str, str], version: str = "/v2.0", **options: Any) -> requests.Response:
        url = f"{sandbox.urls['login']}/{sandbox.seed.partner.tenant_id}/oauth2{version}/token"
        return requests.post(url, data=form, verify=str(sandbox.ca_file), timeout=10, **options)

    post.sandbox = sandbox  # type: ignore[attr-defined]
    return post


def credentials(sandbox: Sandbox) -> tuple[str, str]:
    application = sandbox.seed.applications[0]
    return application.client_id, str(application.secret)


@pytest.mark.parametrize(
    ("form", "missing"),
    [
        ({}, "grant_type"),
        ({"grant_type": "client_credentials"}, "client_id"),
        ({"grant_type": "client_credentials", "id": "", "secret": ""}, "scope"),
        ({"grant_type": "refresh_token", "id": "", "secret": ""}, "refresh_token"),
    ],
)
def test_a_missing_parameter_is_named(
    token: Callable[..., requests.Response], form: dict[str, str], missing: str
) -> None:
    """https://github.com/MicrosoftDocs/azure-docs/issues/43780 (2019-11), and for the ids:
    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow (2025)."""
    if "id" in form:
        name, secret = credentials(token.sandbox)  # type: ignore[attr-defined]
        form = {"grant_type": form["grant_type"], "client_id": name, "client_secret": secret}
    answer = token(form, headers={"client-request-id": CONTOSO})
    body = answer.json()
    assert (answer.status_code, body["error"]) == (400, "invalid_request")
    assert body["error_codes"] == [900144]
    assert body["error_description"].startswith(
        f"AADSTS900144: The request body must contain the following parameter: '{missing}'."
    )
    assert body["error_uri"].endswith("code=900144")
    assert body["trace_id"] == answer.headers["x-ms-request-id"]
    assert body["correlation_id"] == answer.headers["client-request-id"] == CONTOSO
    assert f"Trace ID: {body['trace_id']}" in body["error_description"]


def test_the_ids_of_two_errors_differ(token: Callable[..., requests.Response]) -> None:
    """https://learn.microsoft.com/entra/identity-platform/reference-error-codes (2025-11)."""
    first, second = token({}), token({})
    assert first.json()["trace_id"] != second.json()["trace_id"]
    assert first.json()["correlation_id"] == first.headers["client-request-id"]


def test_a_secret_comes_by_http_basic_too(token: Callable[..., requests.Response]) -> None:
    """https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow (2025-07), and
    `token_endpoint_auth_methods_supported` of https://login.microsoftonline.com/common/v2.0/
    .well-known/openid-configuration."""
    sandbox: Sandbox = token.sandbox  # type: ignore[attr-defined]
    form = {"grant_type": "client_credentials", "scope": "https://graph.microsoft.com/.default"}
    name, secret = credentials(sandbox)
    assert token(form, auth=(name, secret)).status_code == 200
    wrong = token(form, auth=(name, "wrong"))
    assert (wrong.status_code, wrong.json()["error_codes"]) == (401, [7000215])
    assert token(form, headers={"Authorization": "Basic !"}).json()["error_codes"] == [900144]
    url = f"{sandbox.urls['login']}/common/v2.0/.well-known/openid-configuration"
    known = requests.get(url, verify=str(sandbox.ca_file), timeout=10).json()
    assert "client_secret_basic" in known["token_endpoint_auth_methods_supported"]
