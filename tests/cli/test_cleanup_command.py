"""The customer's side of a handoff on a mixed fleet: what is touched, in which order, what not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, Program, customer, outcomes, program_for, world

DOMAIN = "contoso.onmicrosoft.com"
HERE: dict[str, Any] = {"managedDevice": {}}
JOINED: dict[str, Any] = {"join": "entra-joined", **HERE}
FIRMWARE = {"deviceFirmwareConfigurationInterfaceManaged": True}
ASSIGNED = {"userPrincipalName": "adele@contoso.com"}
MACHINES: list[dict[str, Any]] = [
    {"serialNumber": "MANAGED1", **JOINED},
    {"serialNumber": "KEYS1", **JOINED, "recoveryKeys": 2, "localCredential": True},
    {"serialNumber": "HYBRID1", "join": "hybrid-joined", **HERE},
    {"serialNumber": "PERSONAL1", "join": "registered", **HERE},
    {
        "serialNumber": "COMAN1",
        "join": "hybrid-joined",
        "managedDevice": {"managementAgent": "configurationManagerClientMdm"},
    },
    {
        "serialNumber": "RETIRING1",
        "join": "entra-joined",
        "online": False,
        "managedDevice": {"managementState": "retirePending"},
    },
    {"serialNumber": "FIRM1", "join": "entra-joined", "managedDevice": FIRMWARE},
    {"serialNumber": "TWIN1", **JOINED},
    {"serialNumber": "TWIN1", **JOINED},
    {"serialNumber": "OWN1", "windowsAutopilotDeviceIdentity": ASSIGNED},
    {"serialNumber": "OWN2", **JOINED, "windowsAutopilotDeviceIdentity": ASSIGNED},
    # Found by the filters that ask for MANAGED1 and OWN1, and neither of them.
    {"serialNumber": "XOWN12", "windowsAutopilotDeviceIdentity": {}, **JOINED},
]
REGISTERED = (
    "MANAGED1",
    "KEYS1",
    "HYBRID1",
    "PERSONAL1",
    "COMAN1",
    "NEVER1",
    "RETIRING1",
    "FIRM1",
    "TWIN1",
    "CLEAN1",
)
FLEET = (*REGISTERED, "OWN1", "OWN2")
ENROLLED = ("MANAGED1", "KEYS1", "HYBRID1", "PERSONAL1", "COMAN1")
EXPECTED = {
    "MANAGED1": "removed",
    "KEYS1": "removed",
    "HYBRID1": "removed",
    "PERSONAL1": "removed",
    "COMAN1": "removed",
    "NEVER1": "absent",
    "RETIRING1": "refused",
    "FIRM1": "refused",
    "TWIN1": "ambiguous",
    "CLEAN1": "absent",
    "OWN1": "removed",
    "OWN2": "removed",
}
QUICK = {"autopilotDelete": 0, "sync": 0, "checkIn": 0}
CHANGES = ("DELETE", "POST")


def seed(**habits: Any) -> dict[str, Any]:
    devices = [{"serialNumber": serial} for serial in REGISTERED]
    return world(customer({"b": devices}, graph={"machines": MACHINES, **habits}))


def served(faults: dict[str, Any] | None = None, **habits: Any) -> Sandbox:
    how = {"graph": {**QUICK, **(faults or {}).pop("graph", {})}, **(faults or {})}
    return Sandbox(seed_from(seed(**habits)), faults_from(how))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with served() as opened:
        yield opened


def handed_over(sandbox: Sandbox, folder: Path, *serials: str, kind: str = "graph") -> Path:
    """The partner removes the fleet, looks, and sends the handoff: its JSON file."""
    partner = folder / "partner"
    partner.mkdir()
    token = sandbox.tokens[f"{kind}:{DOMAIN}"]
    run = program_for(sandbox, partner, PARTNER_TOOLS_GRAPH_TOKEN=token)
    options = ("--via", "partner-center", "--customer", CONTOSO, "--yes")
    done = json.loads(run("deregister", run.serials(*serials), *options, "--output", "json").stdout)
    run("verify", done["run"], "--graph")
    assert run("report", done["run"], "-o", folder / "sent", "--format", "json").exit_code == 0
    (file,) = (folder / "sent").glob("*.json")
    return file


def customers(sandbox: Sandbox, folder: Path, kind: str = "graph") -> Program:
    """The customer's own program, with a ledger and a token of its own."""
    own = folder / "customer"
    own.mkdir(exist_ok=True)
    token = sandbox.tokens[f"{kind}:{DOMAIN}"]
    return program_for(sandbox, own, PARTNER_TOOLS_GRAPH_TOKEN=token)


def changes(sandbox: Sandbox, before: int = 0) -> list[Any]:
    """Every request to Graph that changes something, in order, refused ones too."""
    return [
        one
        for one in sandbox.log.entries[before:]
        if one.service == "graph" and one.method in CHANGES and one.operation != "batch"
    ]


def order_of(sandbox: Sandbox, serial: str) -> list[str]:
    """What was done to one device, in order, by the sandbox's own log."""
    return [one.operation for one in changes(sandbox) if one.serial == serial]


def updated(folder: Path) -> dict[str, Any]:
    """The handoff that the cleanup wrote beside the given one."""
    files = sorted((folder / "sent").glob("*.json"), key=lambda file: file.stat().st_mtime)
    document: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    assert "cleanup" in document
    return document


def test_without_apply_everything_is_shown_and_nothing_changed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sent = handed_over(sandbox, tmp_path, *FLEET)
    run = customers(sandbox, tmp_path)
    before = len(sandbox.log.entries)
    shown = run.json("cleanup", sent, "--keys-saved", exit_code=7)
    assert changes(sandbox, before) == []
    assert shown["state"] == "planned"
    lines = {each["serialNumber"]: each for each in shown["devices"]}
    planned = {
        serial: [step["id"] for step in line["steps"]]
        for serial, line in lines.items()
        if line["steps"]
    }
    assert planned == {
        **{serial: ["delete-from-intune"] for serial in ENROLLED},
        "OWN1": ["unassign-user", "deregister-from-autopilot"],
        "OWN2": ["delete-from-intune", "unassign-user", "deregister-from-autopilot"],
    }
    managed = {one["serialNumber"]: one["id"] for one in truth(sandbox)["managedDevices"]}
    assert lines["OWN2"]["steps"][0]["record"] == managed["OWN2"]
    kept = {one["plane"]: one for one in lines["HYBRID1"]["untouched"]}
    assert "never deleted" in kept["entra"]["why"]
    assert kept["entra"]["records"]
    assert "active-directory" in kept
    assert len({one["records"][0] for one in lines["TWIN1"]["untouched"]}) >= 1
    text = run("cleanup", sent, "--keys-saved")
    assert managed["OWN2"] in text.stdout
    assert "not touched" in text.stdout
    assert "--apply" in text.stderr
    assert not list((tmp_path / "sent").glob("*.html"))


def truth(sandbox: Sandbox) -> Mapping[str, Any]:
    return sandbox.graph.truth(CONTOSO)


def test_a_mixed_fleet_is_cleaned_up_in_order_and_the_rest_left_alone(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sent = handed_over(sandbox, tmp_path, *FLEET)
    run = customers(sandbox, tmp_path)
    before = len(sandbox.log.entries)
    done = run.json("cleanup", sent, "--apply", "--yes", "--keys-saved", exit_code=7)
    assert outcomes(done) == EXPECTED
    assert done["state"] == "finished"
    assert_right_order(changes(sandbox, before))
    left = truth(sandbox)
    assert {one["serialNumber"] for one in left["managedDevices"]} == {
        "RETIRING1",
        "FIRM1",
        "TWIN1",
        "XOWN12",
    }
    assert {one["serialNumber"] for one in left["windowsAutopilotDeviceIdentities"]} == {"XOWN12"}
    steps = {
        each["serialNumber"]: {step["id"] for step in each["steps"]}
        for each in updated(tmp_path)["devices"]
    }
    assert steps["OWN2"] <= {"verify-entra-removal"}
    assert "delete-computer-object" in steps["HYBRID1"]
    assert "delete-from-configuration-manager" in steps["COMAN1"]
    written = sorted(file.suffix for file in (tmp_path / "sent").iterdir())
    assert written == [".csv", ".html", ".json", ".json", ".md", ".ps1", ".xlsx"]
    assert sent.exists()
    for suffix in ("html", "md"):
        (page,) = (tmp_path / "sent").glob(f"*.{suffix}")
        text = page.read_text(encoding="utf-8")
        assert f"run {done['run']}): 7 devices cleared from Intune" in text
        assert "Nothing was changed in Intune" not in text


RANK = {"delete-managed-device": 0, "unassign-user": 1, "delete-autopilot-identity": 2}


def assert_right_order(log: Sequence[Any]) -> None:
    """Per device each step succeeds at most once and in order; nothing else was ever deleted."""
    assert {one.operation for one in log} <= {*RANK, "sync-autopilot"}
    done: dict[str, list[int]] = {}
    for one in log:
        if one.operation in RANK and one.status in (200, 202, 204):
            done.setdefault(one.serial, []).append(RANK[one.operation])
    for serial, ranks in done.items():
        assert ranks == sorted(set(ranks)), (serial, ranks)
        assert EXPECTED[serial] == "removed"
