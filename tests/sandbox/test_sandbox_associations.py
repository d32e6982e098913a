"""The undocumented collection of device associations, as the sandbox plays it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from partner_tools.intake.schema import checker
from partner_tools.sandbox import seed_from

DOMAIN = "contoso.onmicrosoft.com"
PATH = "/beta/deviceManagement/tenantAssociatedDevices"
MANAGED = "/deviceManagement/managedDevices"
WORLD: dict[str, Any] = {
    "schemaVersion": "1",
    "partner": {"domain": "fabrikam.onmicrosoft.com"},
    "customers": [
        {
            "domain": DOMAIN,
            "tenantId": "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21",
            "graph": {
                "machines": [{"serialNumber": "S1", "join": "entra-joined", "managedDevice": {}}],
                "tenantAssociatedDevices": [
                    {"serialNumber": "S1", "associationState": "associated"},
                    {"serialNumber": "S10"},
                    {"serialNumber": None, "associationState": "somethingNew"},
                ],
            },
        }
    ],
}


@pytest.fixture
def use(start: Callable[..., Any], graph: Callable[..., Any], clock: Any) -> Callable[..., Any]:
    def client(kind: str = "graph", **faults: Any) -> Any:
        sandbox = start(faults, seed=seed_from(WORLD), clock=clock)
        return graph(sandbox, kind, DOMAIN)

    return client


def states(rows: list[Any]) -> dict[str | None, str]:
    return {row["serialNumber"]: row["associationState"] for row in rows}


def test_the_world_of_these_tests_keeps_the_schema() -> None:
    assert checker("sandbox-seed").violations(WORLD) == ()


def test_associations_are_listed_in_beta_alone_page_by_page(use: Callable[..., Any]) -> None:
    ask = use(graph={"autopilotPageSize": 1})
    assert states([row for page in ask.pages(PATH) for row in page]) == {
        "S1": "associated",
        "S10": "preassociated",
        None: "somethingNew",
    }
    assert 400 <= ask("GET", PATH.replace("beta", "v1.0")).status_code < 500


@pytest.mark.parametrize(
    ("behaviour", "query", "found"),
    [
        ("contains", "contains(serialNumber,'S1')", {"S1", "S10"}),
        ("contains", "serialNumber eq 'S1'", set()),
        ("ignored", "contains(serialNumber,'S1')", {"S1", "S10", None}),
        ("refused", "contains(serialNumber,'S1')", None),
    ],
)
def test_what_a_filter_finds(
    use: Callable[..., Any], behaviour: str, query: str, found: set[str] | None
) -> None:
    answer = use(graph={"associationFilter": behaviour})("GET", PATH, params={"$filter": query})
    if found is None:
        assert answer.status_code == 400
    else:
        assert states(answer.json()["value"]).keys() == found


def test_a_pre_association_goes_at_once_and_an_association_when_its_device_is_reached(
    use: Callable[..., Any], clock: Any
) -> None:
    ask = use()
    ids = {row["serialNumber"]: row["id"] for row in ask.rows(PATH)}
    assert ask("DELETE", f"{PATH}/{ids['S10']}").status_code == 204
    assert ask("GET", f"{PATH}/{ids['S10']}").status_code == 404
    assert ask("DELETE", f"{PATH}/{ids['S1']}").status_code == 204
    assert states(ask.rows(PATH))["S1"] == "pendingRemoval"
    # An enrolled device is associated again at its next check-in.
    assert ask.door("POST", "/check-in").status_code == 204
    assert states(ask.rows(PATH))["S1"] == "associated"
    (managed,) = ask.rows(MANAGED)
    ask("DELETE", f"{MANAGED}/{managed['id']}")
    ask("DELETE", f"{PATH}/{ids['S1']}")
    assert ask.door("POST", "/check-in").status_code == 204
    assert "S1" not in states(ask.rows(PATH))


def test_a_role_without_write_permission_deletes_nothing(use: Callable[..., Any]) -> None:
    ask = use("graphRead")
    (first, *_) = ask.rows(PATH)
    assert ask("DELETE", f"{PATH}/{first['id']}").status_code == 403
