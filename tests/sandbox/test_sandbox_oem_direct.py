"""The OEM Direct API of the sandbox: outcomes, item faults, wires, sign-in, and the tripwire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from partner_tools.clients.oem.profile import (
    Auth,
    AuthMode,
    Body,
    Poll,
    Profile,
    Response,
    ResponseMode,
)
from partner_tools.sandbox import Sandbox, read_faults
from tests.sandbox.conftest import CONTOSO, FLEET, Start

A1 = {"SerialNumber": "A1", "OEMManufacturerName": "Contoso", "ModelName": "N1"}
BARE = {"ProductKeyID": "3305679240999"}
OPEN = Auth(mode=AuthMode.NONE)


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


def call(session: requests.Session, sandbox: Sandbox, *devices: dict[str, Any], **more: Any) -> Any:
    url = f"{sandbox.urls['oemDirect']}/AutopilotDeviceRegistration"
    answer = session.post(url, json={"Devices": list(devices)}, timeout=10, **more)
    return answer.status_code, json.loads(answer.content.decode("utf-8-sig"))


def blank(device: dict[str, Any]) -> dict[str, Any]:
    return {**device, "TenantID": "", "TenantDomain": ""}


def test_devices_are_removed_by_either_identifier(start: Start, session: requests.Session) -> None:
    """From whichever customer holds them, and Partner Center shows it."""
    sandbox = start()
    status, answer = call(session, sandbox, blank(A1), blank(BARE))
    assert status == 200
    assert answer == {
        "Results": [
            {"SerialNumber": "A1", "Status": "Success"},
            {"ProductKeyID": "3305679240999", "Status": "Success"},
        ]
    }
    left = [each.device.serial_number for each in sandbox.state.devices(CONTOSO)]
    assert left == ["A2", "A3"]
    assert sandbox.oem_direct.trips == ()


@pytest.mark.parametrize(
    ("device", "number"),
    [
        ({"SerialNumber": "A1"}, "803"),
        ({**A1, "ModelName": "n1"}, "807"),
        ({**A1, "SerialNumber": "NEWBOARD"}, "812"),
    ],
)
def test_what_cannot_be_removed_says_why(
    start: Start, session: requests.Session, device: dict[str, Any], number: str
) -> None:
    """The codes that Intune and Partner Center show, as far as they can arise."""
    sandbox = start()
    _, answer = call(session, sandbox, blank(device))
    (result,) = answer["Results"]
    assert (result["Status"], result["ErrorCode"]) == ("Failed", number)
    assert len(sandbox.state.devices(CONTOSO)) == 4


def test_a_second_removal_finds_nothing(start: Start, session: requests.Session) -> None:
    """The same request again is answered 807."""
    sandbox = start()
    call(session, sandbox, blank(A1))
    _, answer = call(session, sandbox, blank(A1))
    assert answer["Results"][0]["ErrorCode"] == "807"


def test_item_faults_come_from_the_faults_file(
    start: Start, session: requests.Session, tmp_path: Path
) -> None:
    """Each device meets its own, as often as the file says, and anew after `behave`."""
    file = tmp_path / "faults.json"
    items = [
        {"serials": ["A1"], "number": "640", "name": "StorageError", "times": 1},
        {"serials": ["3305679240999"], "kind": "missing"},
    ]
    file.write_text(json.dumps({"schemaVersion": "1", "items": items}), encoding="utf-8")
    sandbox = start()
    sandbox.behave(read_faults(file))
    _, first = call(session, sandbox, blank(A1), blank(BARE))
    assert [each["ErrorCode"] for each in first["Results"]] == ["640"]
    _, second = call(session, sandbox, blank(A1))
    assert [each["Status"] for each in second["Results"]] == ["Success"]
    sandbox.behave(read_faults(file))
    _, third = call(session, sandbox, blank(A1))
    assert [each["ErrorCode"] for each in third["Results"]] == ["640"]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"Devices": [{**A1, "TenantID": "x"}]}, "body TenantID"),
        ({"Devices": [A1], "tenant_domain": "x"}, "body tenant_domain"),
        ({"Devices": [{**A1, "More": [{"aadTenant": "x"}]}]}, "body aadTenant"),
    ],
)
def test_the_tripwire_reports_every_tenant(
    start: Start, session: requests.Session, body: dict[str, Any], where: str
) -> None:
    """At any depth and in any spelling; nothing is carried out."""
    sandbox = start()
    url = sandbox.urls["oemDirect"]
    answer = session.post(f"{url}/AutopilotDeviceRegistration", json=body, timeout=10)
    assert answer.status_code == 400
    shown = session.get(f"{url}/tripwire", timeout=10)
    trips = json.loads(shown.content.decode("utf-8-sig"))["trips"]
    assert [(each["where"], each["value"]) for each in trips] == [(where, "x")]
    assert [trip.where for trip in sandbox.oem_direct.trips] == [where]
    assert len(sandbox.log.of("register")) == 1
    assert len(sandbox.state.devices(CONTOSO)) == 4


@pytest.mark.parametrize(
    ("target", "headers", "body"),
    [
        ("/AutopilotDeviceRegistration?tenantId=x", {}, b"{}"),
        ("/tenants/x/AutopilotDeviceRegistration", {}, b"{}"),
        ("/AutopilotDeviceRegistration", {"X-Tenant-Id": "x"}, b"{}"),
        ("/AutopilotDeviceRegistration", {}, b'{"TenantID":"x","TenantID":""}'),
        ("/AutopilotDeviceRegistration", {}, b"<a><t:TenantID xmlns:t='u'>x</t:TenantID></a>"),
        ("/AutopilotDeviceRegistration", {}, b"<a TenantDomain='x'/>"),
        ("/AutopilotDeviceRegistration", {}, b"TenantID=x"),
        (f"/AutopilotDeviceRegistration?o={CONTOSO.replace('-', '').upper()}", {}, b"{}"),
        ("/AutopilotDeviceRegistration", {"X-Org": CONTOSO}, b"{}"),
        ("/AutopilotDeviceRegistration", {}, f'{{"Org":"{CONTOSO}"}}'.encode()),
    ],
)
def test_the_tripwire_looks_everywhere(
    start: Start, session: requests.Session, target: str, headers: dict[str, str], body: bytes
) -> None:
    """Query, path, headers, duplicates, XML, and what is neither."""
    sandbox = start()
    session.post(sandbox.urls["oemDirect"] + target, data=body, headers=headers, timeout=10)
    assert len(sandbox.oem_direct.trips) == 1


def test_it_says_where_it_is(start: Start) -> None:
    """The announcement has its URL, a client certificate, and the variable to set."""
    announced = start().announce()
    assert (
        announced["environment"]["PARTNER_TOOLS_OEM_DIRECT_URL"] == announced["urls"]["oemDirect"]
    )
    assert announced["urls"]["oemDirect"].startswith("http:")
    assert "PRIVATE KEY" in Path(announced["clientCertificate"]).read_text(encoding="ascii")


def test_a_wire_with_mutual_tls_is_served_to_the_known_alone(
    start: Start, session: requests.Session
) -> None:
    """Plain HTTP is refused, TLS without a certificate ends in the handshake."""
    profile = Profile(auth=Auth(mode=AuthMode.MTLS, client_cert="depot.pem"))
    sandbox = start(oem_profile=profile)
    assert sandbox.urls["oemDirect"].startswith("https:")
    session.verify = str(sandbox.ca_file)
    with pytest.raises(requests.ConnectionError):
        call(session, sandbox, blank(A1))
    plain = sandbox.urls["oemDirect"].replace("https:", "http:")
    answer = session.post(
        f"{plain}/AutopilotDeviceRegistration", json={"Devices": [blank(A1)]}, timeout=10
    )
    assert answer.status_code == 403
    status, _ = call(session, sandbox, blank(A1), cert=str(sandbox.client_certificate))
    assert status == 200


def test_a_wire_with_a_token_refuses_others(start: Start, session: requests.Session) -> None:
    """A token of the sandbox that has not expired."""
    sandbox = start(oem_profile=Profile(auth=Auth(mode=AuthMode.ENTRA)))
    assert call(session, sandbox, blank(A1))[0] == 401
    for kind, status in (("expired", 401), ("app", 200)):
        headers = {"Authorization": f"Bearer {sandbox.tokens[kind]}"}
        assert call(session, sandbox, blank(A1), headers=headers)[0] == status


def test_accepted_work_is_told_of_at_its_location(start: Start, session: requests.Session) -> None:
    """202 and a Location first; the batch's status and the results there, later."""
    now = [1000.0]
    profile = Profile(auth=OPEN, response=Response(mode=ResponseMode.LOCATION))
    sandbox = start(oem_profile=profile, clock=lambda: now[0])
    url = f"{sandbox.urls['oemDirect']}/AutopilotDeviceRegistration"
    answer = session.post(url, json={"Devices": [blank(A1)]}, timeout=10)
    assert (answer.status_code, answer.content) == (202, b"")
    location = answer.headers["Location"]
    assert session.get(location, timeout=10).json() == {"Status": "in_progress"}
    now[0] += 1
    told = session.get(location, timeout=10).json()
    assert told["Status"] == "finished"
    assert [each["Status"] for each in told["Results"]] == ["Success"]


def test_an_xml_wire_lists_what_is_finished(start: Start, session: requests.Session) -> None:
    """The id at first, the list of ids, the acknowledgement."""
    profile = Profile(
        auth=OPEN,
        media_type="application/xml",
        body=Body(devices_key="Devices"),
        response=Response(mode=ResponseMode.ACK_LIST),
        poll=Poll(list_path="/acks", detail_path="/acks/{id}"),
    )
    sandbox = start(oem_profile=profile)
    url = sandbox.urls["oemDirect"]
    body = (
        "<AutopilotDeviceRegistration><Devices><Device><ProductKeyID>3305679240999"
        "</ProductKeyID><TenantID/></Device></Devices></AutopilotDeviceRegistration>"
    )
    answer = session.post(
        f"{url}/AutopilotDeviceRegistration",
        data=body,
        headers={"Content-Type": "application/xml"},
        timeout=10,
    )
    job = ElementTree.fromstring(answer.content).findtext("BatchId")  # noqa: S314
    while True:
        listed = ElementTree.fromstring(session.get(f"{url}/acks", timeout=10).content)  # noqa: S314
        if job in [element.text for element in listed.iter("Id")]:
            break
    told = ElementTree.fromstring(session.get(f"{url}/acks/{job}", timeout=10).content)  # noqa: S314
    assert told.findtext("Results/Result/Status") == "Success"


def test_a_call_that_is_too_large_is_refused_whole(start: Start, session: requests.Session) -> None:
    """801 without results, and nothing is removed."""
    sandbox = start(oem_profile=Profile(auth=OPEN, batch_limit=1))
    status, answer = call(session, sandbox, blank(A1), blank(BARE))
    assert (status, answer["ErrorCode"]) == (400, "801")
    assert len(sandbox.state.devices(FLEET)) == 250
    assert len(sandbox.state.devices(CONTOSO)) == 4
