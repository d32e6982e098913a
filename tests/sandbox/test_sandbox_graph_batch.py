"""`$batch`, throttling and faults of the sandbox's Graph."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from partner_tools.sandbox import Sandbox, read_faults, seed_from
from partner_tools.sandbox.graph.request import ROUTES

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
DOMAIN = "contoso.onmicrosoft.com"
AUTOPILOT = "/deviceManagement/windowsAutopilotDeviceIdentities"
MANAGED = "/deviceManagement/managedDevices"
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
WORLD: dict[str, Any] = {
    "schemaVersion": "1",
    "partner": {"domain": "fabrikam.onmicrosoft.com"},
    "customers": [
        {
            "domain": DOMAIN,
            "tenantId": "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21",
            "fleets": [{"count": 60, "join": "entra-joined"}],
        },
        {"domain": "other.example", "fleets": [{"count": 1}]},
    ],
}
Asked = dict[str, Any]


@pytest.fixture
def use(start: Callable[..., Sandbox], graph: Callable[..., Any]) -> Callable[..., Any]:
    def client(faults: Any = None, **options: Any) -> Any:
        return graph(start(faults, seed=seed_from(WORLD), **options))

    return client


def get(name: str, url: str = "/devices?$top=1", **more: Any) -> Asked:
    return {"id": name, "method": "GET", "url": url, **more}


def by_id(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {one["id"]: one for one in answer.json()["responses"]}


def fault(operation: str, match: Asked | None = None, **how: Any) -> Asked:
    return {"match": {"operation": operation, **(match or {})}, "fault": how}


# What a batch is.


def test_twenty_requests_are_answered_in_another_order(use: Callable[..., Any]) -> None:
    ask = use()
    wanted = [str(number) for number in range(20)]
    answer = ask.batch(*map(get, wanted))
    came = [one["id"] for one in answer.json()["responses"]]
    assert (sorted(came), came == wanted) == (sorted(wanted), False)
    quiet = use({"graph": {"batchInOrder": True}}).batch(*map(get, wanted))
    assert [one["id"] for one in quiet.json()["responses"]] == wanted


def test_inner_requests_keep_their_version_headers_and_bodies(use: Callable[..., Any]) -> None:
    ask = use()
    device = ask.rows("/devices", top="1")[0]
    found = by_id(
        ask.batch(
            get("count", "/devices/$count", headers={"ConsistencyLevel": "eventual"}),
            get("no-count", "/devices/$count"),
            get("slashless", "devices?$filter=displayName eq 'nobody'"),
            {
                "id": "patch",
                "method": "patch",
                "url": f"/devices/{device['id']}",
                "headers": {"Content-Type": "application/json"},
                "body": {"accountEnabled": False},
            },
            get("beta only", "/deviceManagement/importedDeviceIdentities"),
        )
    )
    assert {name: one["status"] for name, one in found.items()} == {
        "count": 200,
        "no-count": 400,
        "slashless": 200,
        "patch": 204,
        "beta only": 400,
    }
    assert found["count"]["body"] == 60
    assert "body" not in found["patch"]
    assert found["slashless"]["body"]["value"] == []
    assert found["slashless"]["headers"]["Content-Type"].startswith("application/json")
    assert ask.json(f"/devices/{device['id']}")["accountEnabled"] is False
    beta = ask.batch(get("x", "/deviceManagement/importedDeviceIdentities"), version="/beta")
    assert by_id(beta)["x"]["status"] == 200


def test_a_whole_url_is_taken_for_the_host_that_was_called_alone(use: Callable[..., Any]) -> None:
    ask = use()
    base = ask.sandbox.urls["graph"]
    assert by_id(ask.batch(get("x", f"{base}/v1.0/devices")))["x"]["status"] == 200
    for url in (f"{base}/beta/devices", "https://graph.microsoft.com/v1.0/devices"):
        assert ask.batch(get("x", url)).status_code == 400


def test_html_comes_back_in_base64(use: Callable[..., Any]) -> None:
    found = by_id(use().batch(get("x", f"{MANAGED}/{'y' * 300}")))["x"]
    assert found["status"] == 400
    assert "Invalid URL" in base64.b64decode(found["body"]).decode("utf-8")


def test_what_depends_on_a_failure_fails(use: Callable[..., Any]) -> None:
    found = by_id(
        use().batch(
            get("a"),
            get("b", f"/devices/{UNKNOWN_ID}", dependsOn=["A"]),
            get("c", dependsOn=["b"]),
            get("d", dependsOn=["c"]),
            get("e", depends_on=["b"]),
        )
    )
    assert {name: one["status"] for name, one in found.items()} == {
        "a": 200,
        "b": 404,
        "c": 424,
        "d": 424,
        "e": 200,
    }


@pytest.mark.parametrize(
    "requests_",
    [
        None,
        [],
        "many",
        ["one"],
        [get(str(number)) for number in range(21)],
        [get("same"), get("SAME")],
        [{"method": "GET", "url": "/devices"}],
        [get("a", dependsOn=["b"]), get("b")],
        [{"id": "1", "method": "PATCH", "url": "/devices/1", "body": {"accountEnabled": True}}],
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(
    use: Callable[..., Any], requests_: Any
) -> None:
    ask = use()
    assert ask("POST", "/$batch", json={"requests": requests_}).status_code == 400
    assert [entry.inner for entry in ask.sandbox.log.entries] == [False]


def test_a_batch_holds_no_batch_and_needs_a_token(use: Callable[..., Any]) -> None:
    ask = use()
    inner = {
        "id": "x",
        "method": "POST",
        "url": "/$batch",
        "headers": {"Content-Type": "application/json"},
        "body": {"requests": [get("y")]},
    }
    assert by_id(ask.batch(inner))["x"]["status"] == 400
    ask.token = "nonsense"
    assert ask.batch(get("x")).status_code == 401


def test_links_inside_a_batch_lead_on(use: Callable[..., Any]) -> None:
    ask = use()
    body = by_id(ask.batch(get("x", f"{MANAGED}?$top=50")))["x"]["body"]
    path = body["@odata.nextLink"].partition("/v1.0")[2]
    assert len(ask.json(path)["value"]) == 10


# Throttling.


def test_each_inner_request_is_throttled_for_itself(use: Callable[..., Any], clock: Any) -> None:
    limit = {
        "service": "graph",
        "operation": "list-managed-devices",
        "kind": "fixed-window",
        "rate": 0.25,
        "window": 20,
        "scope": "partner-customer",
        "retryAfter": "fraction",
    }
    ask = use({"limits": [limit]}, clock=clock)
    asked = [get(str(number), f"{MANAGED}?$top=1") for number in range(8)]
    found = by_id(ask.batch(*asked))
    assert sorted(one["status"] for one in found.values()) == [200] * 5 + [429] * 3
    refused = next(one for one in found.values() if one["status"] == 429)
    assert refused["headers"]["Retry-After"] == f"{20 - clock.now % 20:.3f}"
    assert refused["body"]["error"]["code"] == "TooManyRequests"
    assert refused["body"]["error"]["innerError"]["message"] == "Please retry after"
    # Other operations, and the batch itself, are not counted.
    assert by_id(ask.batch(get("x", AUTOPILOT)))["x"]["status"] == 200
    clock.pass_by(20)
    assert ask("GET", MANAGED).status_code == 200


@pytest.mark.parametrize(
    ("scope", "second", "third"),
    [("partner", 429, 429), ("customer", 429, 200), ("partner-customer", 200, 200)],
)
def test_who_shares_a_limit(
    start: Callable[..., Sandbox],
    graph: Callable[..., Any],
    scope: str,
    second: int,
    third: int,
) -> None:
    """One application's request is counted; another's in the same tenant follows, then the first
    one's in another tenant."""
    applications = [
        {"clientId": f"5d0b7f2e-93c1-4f6a-8e1d-2b6c9a4f0e3{n}", "secret": "s"} for n in (1, 2)
    ]
    limit = {"service": "graph", "rate": 0.001, "scope": scope}
    sandbox = start({"limits": [limit]}, seed=seed_from({**WORLD, "applications": applications}))
    ask, other = graph(sandbox), graph(sandbox, domain="other.example")
    assert ask("GET", "/devices").status_code == 200
    if scope == "partner":
        assert ask("GET", "/devices").status_code == second
    else:
        form = {
            "client_id": applications[1]["clientId"],
            "client_secret": "s",
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
        }
        url = f"{sandbox.urls['login']}/{DOMAIN}/oauth2/v2.0/token"
        answer = requests.post(url, data=form, timeout=10, verify=str(sandbox.ca_file))
        ask.token = answer.json()["access_token"]
        assert ask("GET", "/devices").status_code == second
    assert other("GET", "/devices").status_code == third


def test_the_directory_says_what_was_exceeded(use: Callable[..., Any]) -> None:
    rules = [
        fault("list-entra-devices", kind="status", status=429, retryAfter=2.128),
        fault(
            "list-managed-devices",
            kind="status",
            status=429,
            retryAfter=2.128,
            retryAfterForm="fraction",
        ),
        fault("list-autopilot-identities", kind="status", status=429, retryAfterForm="none"),
    ]
    ask = use({"rules": rules})
    directory, intune, autopilot = (ask("GET", one) for one in ("/devices", MANAGED, AUTOPILOT))
    assert directory.headers["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"
    assert directory.headers["x-ms-throttle-scope"].startswith("Tenant_Application/Read/")
    assert directory.headers["Retry-After"] == "3"
    assert intune.headers["Retry-After"] == "2.128"
    assert "x-ms-throttle-scope" not in intune.headers
    assert "Retry-After" not in autopilot.headers
    assert {one.status_code for one in (directory, intune, autopilot)} == {429}


def test_the_published_limits_are_a_faults_file(use: Callable[..., Any], clock: Any) -> None:
    """A hundred writes to Autopilot in twenty seconds pass, and not one more."""
    clock.now -= clock.now % 300
    limits = read_faults(SAMPLES / "sandbox-graph-limits.json")
    names = {name for limit in limits.limits for name in limit.operations}
    assert names <= {route.operation for route in ROUTES}
    ask = use(clock=clock)
    ask.sandbox.behave(limits)
    path = f"{AUTOPILOT}/{UNKNOWN_ID}/unassignUserFromDevice"
    asked = [{"id": str(n), "method": "POST", "url": path} for n in range(20)]
    counted = [one["status"] for _ in range(6) for one in by_id(ask.batch(*asked)).values()]
    assert (counted.count(404), counted.count(429)) == (100, 20)
    clock.pass_by(20)
    assert ask("POST", path).status_code == 404


# Faults.


def test_faults_meet_inner_requests_by_their_operation(use: Callable[..., Any]) -> None:
    ask = use({"rules": [fault("list-managed-devices", kind="status", status=503)]})
    found = by_id(ask.batch(get("md", MANAGED), get("en")))
    assert (found["md"]["status"], found["en"]["status"]) == (503, 200)
    assert found["md"]["body"]["error"]["code"] == "ServiceUnavailable"


@pytest.mark.parametrize("kind", ["lose-answer", "reset-before", "truncate", "refuse"])
def test_faults_of_a_connection_meet_no_inner_request(use: Callable[..., Any], kind: str) -> None:
    ask = use({"rules": [fault("list-entra-devices", kind=kind)]})
    assert by_id(ask.batch(get("x")))["x"]["status"] == 200


def test_a_lost_batch_may_have_done_its_work(use: Callable[..., Any]) -> None:
    ask = use({"rules": [fault("batch", kind="lose-answer")]})
    row = ask.rows(MANAGED, top="1")[0]
    with pytest.raises(requests.ConnectionError):
        ask.batch({"id": "x", "method": "DELETE", "url": f"{MANAGED}/{row['id']}"})
    assert ask("GET", f"{MANAGED}/{row['id']}").status_code == 404


@pytest.mark.parametrize(
    ("path", "operation"),
    [
        (AUTOPILOT, "list-autopilot-identities"),
        (MANAGED, "list-managed-devices"),
        ("/devices", "list-entra-devices"),
    ],
)
def test_a_link_can_lead_to_its_own_page_for_ever(
    use: Callable[..., Any], path: str, operation: str
) -> None:
    ask = use({"rules": [fault(operation, kind="sticky-token")]})
    pages = ask.pages(path, top="10")
    first, second, third, fourth = (next(pages) for _ in range(4))
    assert first != second
    assert second == third == fourth


def test_a_page_can_be_the_first_again_and_one_can_be_missing(use: Callable[..., Any]) -> None:
    repeated = use({"rules": [fault("list-entra-devices", kind="repeat-page")]})
    pages = list(repeated.pages("/devices", top="30"))
    assert pages[0] == pages[1]
    gone = use({"rules": [fault("list-entra-devices", kind="vanish-page")]})
    link = gone.json("/devices?$top=30")["@odata.nextLink"].partition("/v1.0")[2]
    assert gone("GET", link).status_code == 404


def test_a_stale_list_still_shows_what_went(use: Callable[..., Any]) -> None:
    stale = fault("list-managed-devices", {"after": 0.001}, kind="stale-list", seconds=3_600)
    ask = use({"rules": [stale]})
    row = ask.rows(MANAGED, top="1")[0]
    assert ask("DELETE", f"{MANAGED}/{row['id']}").status_code == 204
    assert ask("GET", f"{MANAGED}/{row['id']}").status_code == 404
    text = f"serialNumber eq '{row['serialNumber']}'"
    assert ask.rows(MANAGED, filter=text) == [row]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("json", "_version"),
        ("gateway", '"code":"Oops"'),
        ("html", "<html>"),
        ("text", "went wrong"),
        ("empty", ""),
    ],
)
def test_injected_errors_come_in_every_form(use: Callable[..., Any], body: str, shown: str) -> None:
    rule = fault(
        "list-managed-devices",
        kind="status",
        status=500,
        code="Oops",
        description="went wrong",
        body=body,
    )
    refused = use({"rules": [rule]})("GET", MANAGED)
    assert refused.status_code == 500
    assert shown in refused.text
    assert refused.headers["request-id"]


def test_an_expired_token_can_be_had_at_will(use: Callable[..., Any]) -> None:
    ask = use({"rules": [fault("list-entra-devices", kind="expired-token")]})
    refused = ask("GET", "/devices")
    assert (refused.status_code, refused.json()["error"]["code"]) == (
        401,
        "InvalidAuthenticationToken",
    )
    assert refused.json()["error"]["innerError"]["request-id"] == refused.headers["request-id"]


def test_rules_find_devices_by_serial_and_customer(use: Callable[..., Any]) -> None:
    match = {"serials": ["SN0000002"], "customer": WORLD["customers"][0]["tenantId"]}
    ask = use({"rules": [fault("get-managed-device", match, kind="status", status=500)]})
    rows = ask.rows(MANAGED, top="3")
    statuses = [ask("GET", f"{MANAGED}/{row['id']}").status_code for row in rows]
    assert statuses == [200, 500, 200]


def test_the_log_counts_what_went_over_the_wire_and_what_was_inside(
    use: Callable[..., Any],
) -> None:
    ask = use()
    ask.batch(get("a"), get("b", MANAGED))
    entries = ask.sandbox.log.entries
    assert [(entry.operation, entry.inner) for entry in entries] == [
        ("batch", False),
        ("list-entra-devices", True),
        ("list-managed-devices", True),
    ]
    shown = ask.session.get(f"{ask.sandbox.control_url}/log", timeout=10).json()["requests"]
    assert [entry["inner"] for entry in shown] == [False, True, True]


def test_the_announcement_leads_to_graph(use: Callable[..., Any]) -> None:
    ask = use()
    said = json.loads(json.dumps(ask.sandbox.announce()))
    url = said["environment"]["PARTNER_TOOLS_GRAPH_URL"]
    assert url == said["urls"]["graph"]
    answer = requests.get(
        f"{said['tlsUrls']['graph']}/v1.0/devices",
        headers={"Authorization": f"Bearer {said['tokens'][f'graphRead:{DOMAIN}']}"},
        timeout=10,
        verify=said["caFile"],
    )
    assert len(answer.json()["value"]) == 60
    kinds = {name.partition(":")[0] for name in said["tokens"] if ":" in name}
    assert kinds == {"graph", "graphRead", "graphNoIntune"}
