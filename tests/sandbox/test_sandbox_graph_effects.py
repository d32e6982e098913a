"""What leaves a tenant takes its time and takes things with it: under a clock that we move."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.sandbox.graph.estate import NEVER

CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
DOMAIN = "contoso.onmicrosoft.com"
AUTOPILOT = "/deviceManagement/windowsAutopilotDeviceIdentities"
MANAGED = "/deviceManagement/managedDevices"
SETTINGS = "/beta/deviceManagement/windowsAutopilotSettings"
DELETED = "/beta/directory/deletedItems/microsoft.graph.device"
KEYS = "/informationProtection/bitlocker/recoveryKeys"
APPROVALS = "/beta/deviceManagement/operationApprovalRequests"
QUICK = {"autopilotDelete": 60, "checkIn": 30, "connectCycle": 1800, "sync": 5}
DAY = 86_400.0


def device(serial: str) -> dict[str, Any]:
    return {"serialNumber": serial, "oemManufacturerName": "Contoso", "modelName": "N1"}


WORLD: dict[str, Any] = {
    "schemaVersion": "1",
    "partner": {"domain": "fabrikam.onmicrosoft.com"},
    "customers": [
        {
            "domain": DOMAIN,
            "tenantId": CONTOSO,
            "batches": [
                {
                    "id": "b",
                    "devices": [
                        device(serial)
                        for serial in ("NEW", "JOINED", "HYBRID", "BYOD", "OFFLINE", "GONE")
                    ],
                }
            ],
            "graph": {
                "machines": [
                    {
                        "serialNumber": "JOINED",
                        "join": "entra-joined",
                        "recoveryKeys": 1,
                        "localCredential": True,
                        "managedDevice": {},
                    },
                    {
                        "serialNumber": "HYBRID",
                        "join": "hybrid-joined",
                        "recoveryKeys": 1,
                        "managedDevice": {},
                    },
                    {"serialNumber": "BYOD", "join": "registered", "managedDevice": {}},
                    {
                        "serialNumber": "OFFLINE",
                        "join": "entra-joined",
                        "online": False,
                        "managedDevice": {},
                    },
                    {"serialNumber": "GONE", "join": "hybrid-joined", "computer": False},
                    {"serialNumber": "PLAIN", "join": "entra-joined", "managedDevice": {}},
                    {
                        "serialNumber": "OWN",
                        "windowsAutopilotDeviceIdentity": {"userPrincipalName": "a@b"},
                    },
                ]
            },
        }
    ],
}


class Estate:
    """A tenant, asked by serial; each serial is a machine's name as well."""

    def __init__(self, ask: Any, clock: Any) -> None:
        self.ask = ask
        self.clock = clock

    def wait(self, seconds: float) -> None:
        """Let time pass, and get a new token: tokens don't last for ever."""
        self.clock.pass_by(seconds)
        self.ask.token = self.ask.sandbox.tokens[f"graph:{DOMAIN}"]

    def identity(self, serial: str) -> Any:
        return self._one(self.ask.rows(AUTOPILOT, filter=f"contains(serialNumber,'{serial}')"))

    def managed(self, serial: str) -> Any:
        return self._one(self.ask.rows(MANAGED, filter=f"serialNumber eq '{serial}'"))

    def entra(self, serial: str) -> Any:
        return self._one(self.ask.rows("/devices", filter=f"displayName eq 'DESKTOP-{serial}'"))

    def placeholder(self, serial: str) -> Any:
        return self._one(self.ask.rows("/devices", filter=f"displayName eq '{serial}'"))

    def deleted(self) -> list[str]:
        return [row["displayName"] for row in self.ask.rows(DELETED)]

    def delete_identity(self, serial: str) -> int:
        answer = self.ask("DELETE", f"{AUTOPILOT}/{self.identity(serial)['id']}")
        return int(answer.status_code)

    def delete_managed(self, serial: str) -> int:
        return int(self.ask("DELETE", f"{MANAGED}/{self.managed(serial)['id']}").status_code)

    def delete_entra(self, row: Any) -> int:
        return int(self.ask("DELETE", f"/devices/{row['id']}").status_code)

    def registered(self) -> set[str | None]:
        return {placed.device.serial_number for placed in self.ask.sandbox.state.devices(DOMAIN)}

    @staticmethod
    def _one(rows: list[Any]) -> Any:
        assert len(rows) < 2
        return rows[0] if rows else None


@pytest.fixture
def tenant(
    start: Callable[..., Sandbox], graph: Callable[..., Any], clock: Any
) -> Callable[..., Estate]:
    def begin(world: Any = WORLD, **habits: Any) -> Estate:
        faults = {"graph": {**QUICK, **habits}}
        return Estate(graph(start(faults, seed=seed_from(world), clock=clock)), clock)

    return begin


# Autopilot.


def test_a_removed_identity_goes_after_a_time_and_takes_its_placeholder(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    identity = estate.identity("NEW")
    assert estate.delete_identity("NEW") == 204
    estate.wait(59)
    assert estate.identity("NEW") == identity
    assert estate.placeholder("NEW") is not None
    assert "NEW" in estate.registered()
    again = estate.ask("DELETE", f"{AUTOPILOT}/{identity['id']}")
    assert again.status_code == 400
    estate.wait(1)
    assert estate.identity("NEW") is None
    assert estate.ask("GET", f"{AUTOPILOT}/{identity['id']}").status_code == 404
    assert estate.ask("DELETE", f"{AUTOPILOT}/{identity['id']}").status_code == 404
    assert estate.placeholder("NEW") is None


def test_what_the_customer_removes_is_gone_for_the_partner(
    tenant: Callable[..., Estate], connect: Callable[..., Any]
) -> None:
    estate = tenant()
    partner = connect(estate.ask.sandbox)
    assert estate.delete_identity("NEW") == 204
    assert "NEW" in partner.serials(CONTOSO, "b")
    estate.wait(60)
    assert "NEW" not in partner.serials(CONTOSO, "b")
    assert "NEW" not in estate.registered()


def test_what_the_partner_removes_is_gone_for_the_customer_later(
    tenant: Callable[..., Estate], connect: Callable[..., Any]
) -> None:
    estate = tenant()
    partner = connect(estate.ask.sandbox)
    (placed,) = [
        one
        for one in estate.ask.sandbox.state.devices(DOMAIN)
        if one.device.serial_number == "JOINED"
    ]
    path = partner.devices(CONTOSO, "b", placed.device.id)
    assert partner("DELETE", path).status_code == 204
    estate.wait(59)
    assert estate.identity("JOINED") is not None
    assert estate.ask("DELETE", f"{AUTOPILOT}/{estate.identity('JOINED')['id']}").status_code == 400
    estate.wait(1)
    assert estate.identity("JOINED") is None
    # The partner's removal leaves Intune and Entra ID as they are.
    assert estate.managed("JOINED")["managementState"] == "managed"
    assert estate.entra("JOINED") is not None


def test_a_removal_by_the_partner_before_the_first_read_is_gone_too(
    tenant: Callable[..., Estate], connect: Callable[..., Any]
) -> None:
    estate = tenant()
    partner = connect(estate.ask.sandbox)
    device_id = estate.ask.sandbox.state.devices(DOMAIN)[0].device.id
    assert partner("DELETE", partner.devices(CONTOSO, "b", device_id)).status_code == 204
    estate.wait(3_600)
    assert estate.identity("NEW") is None


def test_what_an_oem_removes_is_gone_for_the_customer_later(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    named = {"SerialNumber": "NEW", "OEMManufacturerName": "Contoso", "ModelName": "N1"}
    url = f"{estate.ask.sandbox.urls['oemDirect']}/AutopilotDeviceRegistration"
    answer = estate.ask.session.post(url, json={"Devices": [named]}, timeout=10)
    assert answer.json()["Results"][0]["Status"] == "Success", answer.text
    assert estate.identity("NEW") is not None
    estate.wait(60)
    assert estate.identity("NEW") is None


def test_what_the_partner_registers_appears(
    tenant: Callable[..., Estate], connect: Callable[..., Any]
) -> None:
    estate = tenant()
    assert estate.identity("LATER") is None
    partner = connect(estate.ask.sandbox)
    added = partner("POST", partner.devices(CONTOSO, "b"), json=[device("LATER")])
    assert added.status_code == 202
    estate.wait(1)
    assert estate.identity("LATER")["enrollmentState"] == "notContacted"
    assert estate.placeholder("LATER")["trustType"] == "AzureAd"


def test_a_sync_ends_the_wait_and_is_not_to_be_had_twice_in_ten_minutes(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant(autopilotDelete=7_200)
    ask = estate.ask
    assert ask.json(SETTINGS)["lastManualSyncTriggerDateTime"] == NEVER
    estate.delete_identity("NEW")
    assert ask("POST", f"{SETTINGS}/sync").status_code == 204
    assert ask.json(SETTINGS)["syncStatus"] == "inProgress"
    assert ask("POST", f"{SETTINGS}/sync", json={}).status_code == 409
    assert estate.identity("NEW") is not None
    estate.wait(5)
    assert estate.identity("NEW") is None
    settings = ask.json(SETTINGS)
    assert settings["syncStatus"] == "completed"
    assert settings["lastSyncDateTime"] > settings["lastManualSyncTriggerDateTime"] > NEVER
    estate.wait(594)
    assert ask("POST", f"{SETTINGS}/sync").status_code == 429
    estate.wait(1)
    assert ask("POST", f"{SETTINGS}/sync").status_code == 204


def test_an_enrolled_device_keeps_its_identity_until_intune_lets_go(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    assert estate.delete_identity("JOINED") == 400
    assert estate.delete_managed("JOINED") == 204
    assert estate.identity("JOINED")["enrollmentState"] == "notContacted"
    assert estate.delete_identity("JOINED") == 204
    assert tenant(refuseEnrolled=False).delete_identity("JOINED") == 204
    assert tenant(autopilotDeleteStatus=202).delete_identity("NEW") == 202


def test_a_user_is_unassigned_and_a_block_lifted(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    path = f"{AUTOPILOT}/{estate.identity('OWN')['id']}"
    assert estate.identity("OWN")["userPrincipalName"] == "a@b"
    assert estate.ask("POST", f"{path}/unassignUserFromDevice").status_code == 204
    assert estate.identity("OWN")["userPrincipalName"] == ""
    assert estate.ask("POST", f"/beta{path}/allowNextEnrollment").status_code == 204
    assert estate.ask.json(f"/beta{path}")["userlessEnrollmentStatus"] == "allowed"
    assert estate.ask("POST", f"{path}/allowNextEnrollment").status_code == 400


def test_removing_by_serial_says_what_was_accepted(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    path = f"/beta{AUTOPILOT}/deleteDevices"
    answer = estate.ask("POST", path, json={"serialNumbers": ["NEW", "NOBODY", "JOINED"]})
    states = {one["serialNumber"]: one["deletionState"] for one in answer.json()["value"]}
    assert states == {"NEW": "accepted", "NOBODY": "failed", "JOINED": "failed"}
    assert estate.ask("POST", path, json={"serialNumbers": "NEW"}).status_code == 400
    estate.wait(60)
    assert estate.identity("NEW") is None


# Intune.


def test_deleting_from_intune_is_at_once_and_the_machine_retires_at_its_check_in(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    record = estate.managed("PLAIN")
    assert estate.delete_managed("PLAIN") == 204
    assert estate.managed("PLAIN") is None
    assert estate.ask("DELETE", f"{MANAGED}/{record['id']}").status_code == 404
    estate.wait(29)
    assert estate.entra("PLAIN")["isManaged"] is False
    estate.wait(1)
    assert estate.entra("PLAIN") is None
    assert estate.deleted() == ["DESKTOP-PLAIN"]


def test_a_registered_machine_keeps_its_object_until_its_identity_goes(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    estate.delete_managed("JOINED")
    estate.wait(3_600)
    assert estate.entra("JOINED") is not None
    estate.delete_identity("JOINED")
    estate.wait(60)
    assert estate.entra("JOINED") is None


def test_an_identity_that_goes_first_leaves_the_object_to_the_check_in(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant(checkIn=600)
    estate.delete_managed("JOINED")
    estate.delete_identity("JOINED")
    estate.wait(60)
    assert estate.identity("JOINED") is None
    assert estate.entra("JOINED") is not None
    estate.wait(540)
    assert estate.entra("JOINED") is None


def test_objects_stay_where_that_is_the_habit(tenant: Callable[..., Estate]) -> None:
    estate = tenant(autoRemoval=False, placeholderRemoval=False)
    estate.delete_managed("PLAIN")
    estate.delete_identity("NEW")
    estate.wait(3_600)
    assert estate.entra("PLAIN") is not None
    assert estate.placeholder("NEW") is not None


def test_a_hybrid_machine_that_retires_keeps_its_object(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    estate.delete_managed("HYBRID")
    estate.delete_identity("HYBRID")
    estate.wait(3_600)
    assert estate.identity("HYBRID") is None
    assert estate.placeholder("HYBRID") is None
    assert estate.entra("HYBRID")["trustType"] == "ServerAd"


@pytest.mark.parametrize("action", ["retire", "wipe"])
def test_a_machine_that_is_sent_away_leaves_at_its_check_in(
    tenant: Callable[..., Estate], action: str
) -> None:
    estate = tenant()
    path = f"{MANAGED}/{estate.managed('BYOD')['id']}"
    assert estate.ask("POST", f"{path}/{action}").status_code == 204
    waiting = estate.managed("BYOD")
    assert waiting["managementState"] == f"{action}Pending"
    assert waiting["deviceActionResults"][0]["actionState"] == "pending"
    estate.wait(30)
    assert estate.managed("BYOD") is None
    assert estate.entra("BYOD") is None
    assert estate.ask("POST", f"{path}/{action}").status_code == 404


def test_a_machine_that_is_offline_leaves_when_it_is_made_to_check_in(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    path = f"{MANAGED}/{estate.managed('OFFLINE')['id']}/retire"
    assert estate.ask("POST", path).status_code == 204
    assert estate.delete_identity("OFFLINE") == 204, "Intune no longer counts it as enrolled"
    estate.wait(30 * DAY)
    assert estate.managed("OFFLINE")["managementState"] == "retirePending"
    assert estate.entra("OFFLINE") is not None
    assert estate.ask.door("POST", "/machines/OFFLINE/check-in").status_code == 204
    assert estate.managed("OFFLINE") is None
    assert estate.entra("OFFLINE") is None


def test_a_check_in_of_who_stays_is_a_sign_of_life(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    before = estate.managed("JOINED")["lastSyncDateTime"]
    estate.wait(DAY)
    assert estate.ask.door("POST", "/check-in").status_code == 204
    assert estate.managed("JOINED")["lastSyncDateTime"] > before
    assert estate.entra("JOINED")["approximateLastSignInDateTime"] > before


# The directory.


def test_a_deleted_object_can_be_restored_for_thirty_days_with_its_keys(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    ask, row = estate.ask, estate.entra("JOINED")
    keys = {"filter": f"deviceId eq '{row['deviceId']}'"}
    credential = f"/directory/deviceLocalCredentials/{row['deviceId']}"
    assert estate.delete_entra(row) == 204
    assert ask("GET", f"/devices/{row['id']}").status_code == 404
    assert (ask.rows(KEYS, **keys), ask("GET", credential).status_code) == ([], 404)
    bin_ = f"/directory/deletedItems/{row['id']}"
    assert ask.json(bin_)["deletedDateTime"] > "2026"
    restored = ask("POST", f"{bin_}/restore").json()
    assert (restored["id"], restored["isCompliant"]) == (row["id"], False)
    assert len(ask.rows(KEYS, **keys)) == 1
    assert ask("GET", credential).status_code == 200
    estate.wait(10 * DAY)
    assert estate.delete_entra(row) == 204
    estate.wait(30 * DAY - 1)
    assert estate.deleted() == ["DESKTOP-JOINED"]
    estate.wait(1)
    assert ask("POST", f"{bin_}/restore").status_code == 404
    assert estate.deleted() == []


def test_a_deleted_object_can_be_deleted_for_good(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    row = estate.entra("JOINED")
    estate.delete_entra(row)
    bin_ = f"/directory/deletedItems/{row['id']}"
    assert [estate.ask("DELETE", bin_).status_code for _ in range(2)] == [204, 404]
    assert estate.ask("GET", bin_).status_code == 404
    truth = estate.ask.door("GET").json()
    assert row["deviceId"] not in {one["deviceId"] for one in truth["devices"]}


def test_without_a_recycle_bin_an_object_is_gone_at_once(tenant: Callable[..., Estate]) -> None:
    estate = tenant(softDelete=False)
    estate.delete_entra(estate.entra("JOINED"))
    assert estate.deleted() == []


def test_a_hybrid_object_comes_back_pending_from_active_directory(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    row = estate.entra("HYBRID")
    assert estate.delete_entra(row) == 204
    assert (estate.entra("HYBRID"), estate.deleted()) == (None, [])
    estate.wait(1_800)
    again = estate.entra("HYBRID")
    assert again["id"] != row["id"]
    assert again["deviceId"] == row["deviceId"]
    assert (again["registrationDateTime"], again["trustType"]) == (None, "ServerAd")
    keys = estate.ask.rows(KEYS, filter=f"deviceId eq '{row['deviceId']}'")
    assert keys == [], "a hard delete takes the keys"


def test_a_computer_that_is_deleted_takes_its_object_with_the_next_cycle(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    assert estate.ask.door("DELETE", "/computers/HYBRID").status_code == 204
    estate.wait(1_799)
    assert estate.entra("HYBRID") is not None
    estate.wait(1)
    assert estate.entra("HYBRID") is None
    assert estate.ask.door("DELETE", "/computers/HYBRID").status_code == 404


def test_an_object_whose_computer_is_gone_stays_deleted(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    row = estate.entra("GONE")
    assert row["onPremisesSyncEnabled"] is False
    assert estate.delete_entra(row) == 204
    assert estate.ask.door("POST", "/connect").status_code == 204
    estate.wait(1_800)
    assert estate.entra("GONE") is None


def test_a_cycle_can_be_had_at_once(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    device_id = estate.entra("HYBRID")["deviceId"]
    estate.delete_entra(estate.entra("HYBRID"))
    estate.ask.door("POST", "/connect")
    assert estate.entra("HYBRID") is not None
    assert estate.ask.door("DELETE", f"/computers/{device_id}").status_code == 204
    estate.ask.door("POST", "/connect")
    assert estate.entra("HYBRID") is None


def test_an_object_can_be_deleted_under_its_identity_unless_that_is_refused(
    tenant: Callable[..., Estate],
) -> None:
    estate = tenant()
    assert estate.delete_entra(estate.entra("JOINED")) == 204
    assert estate.identity("JOINED") is not None
    strict = tenant(refuseRegistered=True)
    assert strict.delete_entra(strict.entra("JOINED")) == 403
    assert strict.delete_entra(strict.entra("PLAIN")) == 204


# The second administrator.


def justified(text: str) -> dict[str, str]:
    encoded = base64.b64encode(text.encode("utf-8")).decode("ascii")
    return {"x-msft-approval-justification": encoded}


@pytest.fixture
def guarded(tenant: Callable[..., Estate]) -> Callable[..., Estate]:
    def begin(**habits: Any) -> Estate:
        (customer,) = WORLD["customers"]
        watched = {**customer, "graph": {**customer["graph"], "multiAdminApproval": True}}
        return tenant({**WORLD, "customers": [watched]}, **habits)

    return begin


def test_a_second_administrator_has_to_approve(guarded: Callable[..., Estate]) -> None:
    estate = guarded()
    ask, path = estate.ask, f"{MANAGED}/{estate.managed('JOINED')['id']}"
    refused = ask("DELETE", path)
    assert refused.status_code == 400
    assert "'x-msft-approval-justification' is required" in refused.json()["error"]["message"]
    assert "x-msft-approval-code" not in refused.headers
    asked = ask("DELETE", path, headers=justified("Gerät ausgemustert"))
    assert asked.status_code == 400
    code = asked.headers["x-msft-approval-code"]
    with_code = {"x-msft-approval-code": code}
    (request,) = ask.json(APPROVALS)["value"]
    assert (request["status"], request["requestJustification"]) == (
        "needsApproval",
        "Gerät ausgemustert",
    )
    assert ask("DELETE", path, headers=with_code).status_code == 400
    assert ask.door("POST", f"/approvals/{code}/approved").status_code == 204
    assert ask.door("POST", f"/approvals/{code}/approved").status_code == 409
    elsewhere = ask("POST", f"{path}/retire", headers=with_code)
    assert elsewhere.status_code == 400, "the code is of another operation"
    assert ask("DELETE", path, headers=with_code).status_code == 204
    assert ask.json(f"{APPROVALS}/{code}")["status"] == "completed"
    assert estate.managed("JOINED") is None


@pytest.mark.parametrize("decision", ["rejected", "cancelled"])
def test_a_request_that_is_turned_down_stays_so(
    guarded: Callable[..., Estate], decision: str
) -> None:
    estate = guarded(approvalStatus=403)
    ask, path = estate.ask, f"{MANAGED}/{estate.managed('JOINED')['id']}/retire"
    asked = ask("POST", path, headers=justified("because"))
    assert asked.status_code == 403
    code = asked.headers["x-msft-approval-code"]
    ask.door("POST", f"/approvals/{code}/{decision}")
    answer = ask("POST", path, headers={"x-msft-approval-code": code})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "Forbidden")
    assert decision in answer.json()["error"]["message"]


def test_an_approval_expires_after_three_days(guarded: Callable[..., Estate]) -> None:
    estate = guarded()
    ask, path = estate.ask, f"{MANAGED}/{estate.managed('JOINED')['id']}"
    asked = ask("DELETE", path, headers=justified("because"))
    code = asked.headers["x-msft-approval-code"]
    ask.door("POST", f"/approvals/{code}/approved")
    estate.wait(3 * DAY)
    assert ask.json(f"{APPROVALS}/{code}")["status"] == "expired"
    assert ask("DELETE", path, headers={"x-msft-approval-code": code}).status_code == 400


@pytest.mark.parametrize("text", ["not base64!", "w", base64.b64encode(b"x" * 1025).decode()])
def test_a_justification_that_is_none_is_said_to_be_so(
    guarded: Callable[..., Estate], text: str
) -> None:
    estate = guarded()
    path = f"{MANAGED}/{estate.managed('JOINED')['id']}"
    refused = estate.ask("DELETE", path, headers={"x-msft-approval-justification": text})
    assert refused.status_code == 400
    assert estate.ask.json(APPROVALS)["value"] == []


def test_a_machine_that_was_given_its_ids_has_them(tenant: Callable[..., Estate]) -> None:
    (customer,) = WORLD["customers"]
    ztdid, device_id, managed = (
        f"{digit * 8}-0000-4000-8000-000000000000" for digit in ("a", "b", "c")
    )
    machine = {
        "serialNumber": "NEW",
        "join": "entra-joined",
        "windowsAutopilotDeviceIdentity": {"id": ztdid},
        "device": {"deviceId": device_id, "trustType": "AzureAD"},
        "managedDevice": {"id": managed, "managementState": "retireFailed"},
    }
    estate = tenant({**WORLD, "customers": [{**customer, "graph": {"machines": [machine]}}]})
    identity = estate.identity("NEW")
    assert identity["id"] == ztdid
    assert identity["azureActiveDirectoryDeviceId"] == device_id
    assert identity["managedDeviceId"] == managed
    assert f"[ZTDID]:{ztdid}" in estate.entra("NEW")["physicalIds"]
    assert estate.delete_identity("NEW") == 400
    assert estate.delete_managed("NEW") == 204
    assert estate.delete_identity("NEW") == 204
    estate.wait(3_600)
    assert (estate.identity("NEW"), estate.entra("NEW")) == (None, None)
    assert "NEW" not in estate.registered()


# The door.


def test_the_door_tells_the_truth_of_a_tenant(tenant: Callable[..., Estate]) -> None:
    estate = tenant()
    estate.delete_identity("NEW")
    estate.delete_managed("JOINED")
    truth = estate.ask.door("GET").json()
    assert len(truth["windowsAutopilotDeviceIdentities"]) == 7
    assert len(truth["removalsUnderWay"]) == 1
    assert [one["serialNumber"] for one in truth["machines"] if one["leaving"]] == ["JOINED"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/machines/NOBODY/check-in"),
        ("POST", "/approvals/nothing/approved"),
        ("POST", "/approvals/nothing/maybe"),
        ("DELETE", "/computers/JOINED"),
        ("PUT", ""),
    ],
)
def test_the_door_knows_nothing_else(tenant: Callable[..., Estate], method: str, path: str) -> None:
    assert tenant().ask.door(method, path).status_code == 404
