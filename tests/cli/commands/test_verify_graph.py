"""The customer's tenant before a removal and after it: what is seen, named, kept and refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, outcomes, program_for, world

pytestmark = pytest.mark.slow

DOMAIN = "contoso.onmicrosoft.com"
HERE: dict[str, Any] = {"managedDevice": {}}
JOINED: dict[str, Any] = {"join": "entra-joined", **HERE}
FIRMWARE = {"deviceFirmwareConfigurationInterfaceManaged": True}
MACHINES: list[dict[str, Any]] = [
    {"serialNumber": "MANAGED1", **JOINED, "recoveryKeys": 2, "localCredential": True},
    {"serialNumber": "HYBRID1", "join": "hybrid-joined", **HERE},
    {"serialNumber": "PERSONAL1", "join": "registered", **HERE},
    {
        "serialNumber": "RETIRING1",
        "join": "entra-joined",
        "online": False,
        "managedDevice": {"managementState": "retirePending"},
    },
    {"serialNumber": "FIRM1", "join": "entra-joined", "managedDevice": FIRMWARE},
    {"serialNumber": "TWIN1", **JOINED},
    {"serialNumber": "TWIN1", **JOINED},
    {"serialNumber": "HY-PHEN-1", **JOINED},
    {"serialNumber": "OWN1", "windowsAutopilotDeviceIdentity": {}},
    # Found by the filter that CLEAN1 asks with, and not CLEAN1.
    {"serialNumber": "XCLEAN12", "windowsAutopilotDeviceIdentity": {}, **JOINED},
]
REGISTERED = (
    "MANAGED1",
    "HYBRID1",
    "NEVER1",
    "PERSONAL1",
    "RETIRING1",
    "FIRM1",
    "TWIN1",
    "HY-PHEN-1",
    "CLEAN1",
)
PLANES = ("autopilot", "intune", "entra")


def seed() -> dict[str, Any]:
    devices = [{"serialNumber": serial} for serial in REGISTERED]
    return world(customer({"b": devices}, graph={"machines": MACHINES}))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(seed_from(seed())) as opened:
        yield opened


def program(sandbox: Sandbox, folder: Path, kind: str = "graphRead", **more: str) -> Program:
    token = sandbox.tokens[f"{kind}:{DOMAIN}"]
    return program_for(sandbox, folder, PARTNER_TOOLS_GRAPH_TOKEN=token, **more)


def remove(program: Program, *serials: str, flags: tuple[str, ...] = (), exit_code: int = 0) -> Any:
    return program.json(
        "deregister",
        program.serials(*serials),
        *("--via", "partner-center", "--customer", CONTOSO, "--yes", *flags),
        exit_code=exit_code,
    )


def handoff(program: Program, run: str) -> dict[str, Any]:
    """The devices of the run's one handoff, by serial number."""
    folder = program.folder / "handoff"
    assert program("report", run, "-o", folder, "--format", "json").exit_code == 0
    (file,) = folder.glob("*.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    return {each["serialNumber"]: each for each in document["devices"]}


def statuses(device: dict[str, Any]) -> tuple[str, ...]:
    return tuple(device["planes"][plane]["status"] for plane in PLANES)


def test_a_mixed_fleet_is_seen_as_it_is_after_its_removal(sandbox: Sandbox, tmp_path: Path) -> None:
    run = program(sandbox, tmp_path)
    document = remove(run, *REGISTERED, "OWN1", "GHOST9", exit_code=7)
    run("verify", document["run"], "--graph", "--wait", "4")
    devices = handoff(run, document["run"])
    expected = {
        "MANAGED1": ("clear", "outstanding", "expected"),
        "HYBRID1": ("clear", "outstanding", "expected"),
        "NEVER1": ("clear", "clear", "clear"),
        "PERSONAL1": ("clear", "outstanding", "expected"),
        "RETIRING1": ("clear", "expected", "expected"),
        "FIRM1": ("outstanding", "outstanding", "expected"),
        "TWIN1": ("clear", "outstanding", "expected"),
        "HY-PHEN-1": ("clear", "outstanding", "expected"),
        "CLEAN1": ("clear", "clear", "clear"),
        "OWN1": ("outstanding", "clear", "expected"),
        "GHOST9": ("clear", "clear", "not-verified"),
    }
    assert expected == {serial: statuses(device) for serial, device in devices.items()}
    steps = {serial: {step["id"] for step in one["steps"]} for serial, one in devices.items()}
    assert "back-up-keys" in steps["MANAGED1"]
    assert "delete-computer-object" in steps["HYBRID1"]
    assert "unlock-firmware" in steps["FIRM1"]
    assert "resolve-ambiguity" in steps["TWIN1"]
    assert steps["NEVER1"] == set()


def test_a_preview_decides_as_the_run_does(sandbox: Sandbox, tmp_path: Path) -> None:
    run = program(sandbox, tmp_path)
    batch = run.serials("MANAGED1", "FIRM1", "CLEAN1")
    named = ("--via", "partner-center", "--customer", CONTOSO, "--require-intune-clear")

    preview = run.json("deregister", batch, *named, "--dry-run", exit_code=7)
    removed = run.json("deregister", batch, *named, "--yes", "--settle", "0", exit_code=7)

    seen = {each["serialNumber"]: each["outcome"] for each in preview["devices"]}
    assert seen == {"MANAGED1": "refused", "FIRM1": "refused", "CLEAN1": "pending"}
    done = {each["serialNumber"]: each["outcome"] for each in removed["devices"]}
    assert done == {**seen, "CLEAN1": "removed"}


def test_a_device_with_managed_firmware_is_removed_only_by_name(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    run = program(sandbox, tmp_path)
    named = ("--via", "partner-center", "--customer", CONTOSO)
    batch = run.serials("FIRM1")

    refused = run.json("deregister", batch, *named, "--yes", "--settle", "0", exit_code=7)
    plan = tmp_path / "plan.json"
    accepted = ("--accept-locked-firmware", "firm1", "--dry-run")
    run.json("deregister", batch, *named, *accepted)
    run("plan", batch, *named, "-o", plan)

    assert refused["devices"][0]["outcome"] == "refused"
    assert "--accept-locked-firmware" in refused["devices"][0]["remedy"]
    planned = json.loads(plan.read_text(encoding="utf-8"))["devices"][0]
    assert planned["risks"][0] == "firmware-managed"
    assert planned["outcome"] == "refused"


def test_risks_are_named_before_anything_is_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    run = program(sandbox, tmp_path)
    batch = run.serials("MANAGED1", "FIRM1", "TWIN1", "CLEAN1")
    said = run("deregister", batch, "--via", "partner-center", "--customer", CONTOSO, "--yes")
    told = [line.rpartition("): ")[2] for line in said.stderr.splitlines() if "): " in line]
    assert ["FIRM1", "TWIN1", "MANAGED1, FIRM1, TWIN1", "MANAGED1"] == told[-5:-1]
    first_delete = next(n for n, one in enumerate(sandbox.log.entries) if one.method == "DELETE")
    looked = [n for n, one in enumerate(sandbox.log.entries) if one.service == "graph"]
    assert looked
    assert max(looked) < first_delete


def test_required_to_be_clear_of_intune_refuses_what_is_not(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    run = program(sandbox, tmp_path)
    serials = ("MANAGED1", "RETIRING1", "FIRM1", "TWIN1", "NEVER1", "CLEAN1")
    document = remove(run, *serials, flags=("--require-intune-clear",), exit_code=7)
    kept = dict.fromkeys(("MANAGED1", "RETIRING1", "FIRM1", "TWIN1"), "refused")
    assert {**kept, "NEVER1": "removed", "CLEAN1": "removed"} == outcomes(document)
    assert 2 == sum(one.method == "DELETE" for one in sandbox.log.entries)
    assert all(each["remedy"] for each in document["devices"] if each["outcome"] == "refused")


def test_what_cannot_be_seen_is_not_clear_of_intune(sandbox: Sandbox, tmp_path: Path) -> None:
    run = program(sandbox, tmp_path, "graphNoIntune")
    document = remove(run, "NEVER1", flags=("--require-intune-clear",), exit_code=7)
    assert {"NEVER1": "refused"} == outcomes(document)


def test_required_to_be_clear_without_access_ends_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    run = program_for(sandbox, tmp_path)
    remove(run, "NEVER1", flags=("--require-intune-clear",), exit_code=8)
    assert not [one for one in sandbox.log.entries if one.method == "DELETE"]
    contradiction = run("deregister", "x", "--no-snapshot", "--require-intune-clear")
    assert 2 == contradiction.exit_code


def test_a_plane_that_answers_403_is_not_verified_and_the_others_are(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    run = program(sandbox, tmp_path, "graphNoIntune")
    document = remove(run, "MANAGED1", "NEVER1")
    said = run("verify", document["run"], "--graph", "--wait", "3")
    assert "DeviceManagementManagedDevices.Read.All" in said.stderr
    devices = handoff(run, document["run"])
    assert ("clear", "not-verified", "expected") == statuses(devices["MANAGED1"])
    assert "403" in devices["MANAGED1"]["planes"]["intune"]["error"]


def test_a_token_is_used_only_for_the_tenant_that_it_was_issued_for(tmp_path: Path) -> None:
    other = customer({}, tenant=FABRIKAM, domain="other.onmicrosoft.com", graph={"machines": []})
    both = seed()
    both["customers"].append(
        {**other, "batches": [{"id": "x", "devices": [{"serialNumber": "X"}]}]}
    )
    with Sandbox(seed_from(both)) as sandbox:
        token = sandbox.tokens["graphRead:other.onmicrosoft.com"]
        run = program_for(sandbox, tmp_path, PARTNER_TOOLS_GRAPH_TOKEN=token)
        document = remove(run, "NEVER1")
        said = run("verify", document["run"], "--graph")
        assert 4 == said.exit_code
        assert FABRIKAM in said.stderr
        assert not [one for one in sandbox.log.entries if one.service == "graph"]


def test_app_only_tokens_are_minted_for_each_customers_tenant(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    application = sandbox.announce()["applications"][0]
    run = program_for(
        sandbox,
        tmp_path,
        PARTNER_TOOLS_TENANT="partner.example",
        PARTNER_TOOLS_CLIENT_ID=application["clientId"],
        PARTNER_TOOLS_CLIENT_SECRET=application["secret"],
    )
    document = remove(run, "MANAGED1", flags=("--no-snapshot",))
    assert not [one for one in sandbox.log.entries if one.service == "graph"]
    assert run("verify", document["run"], "--graph", "--wait", "3").exit_code == 0
    assert "outstanding" == handoff(run, document["run"])["MANAGED1"]["planes"]["intune"]["status"]


def test_the_snapshot_is_the_link_to_entra_once_the_registration_is_gone(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Neither Autopilot nor Intune can tell the device id afterwards."""
    run = program(sandbox, tmp_path)
    with_it = remove(run, "NEVER1")
    run("verify", with_it["run"], "--graph", "--wait", "3")
    assert ("clear", "clear", "clear") == statuses(handoff(run, with_it["run"])["NEVER1"])


def test_a_snapshot_that_fails_keeps_nothing_from_being_removed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """Graph refuses this token, and what nobody could see is not clear."""
    token = sandbox.tokens["app"]
    run = program_for(sandbox, tmp_path, PARTNER_TOOLS_GRAPH_TOKEN=token)
    document = remove(run, "NEVER1")
    assert {"NEVER1": "removed"} == outcomes(document)
    planes = handoff(run, document["run"])["NEVER1"]["planes"]
    assert "not-verified" == planes["intune"]["status"]


ENDLESS = {
    "rules": [
        {"match": {"service": "graph"}, "fault": {"kind": "status", "status": 503}},
    ]
}


def test_a_tenant_that_never_answers_takes_no_longer_than_it_may(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """503 to every look: the removal goes on within the time that it was given, unverified."""
    sandbox.behave(faults_from(ENDLESS))
    run = program(sandbox, tmp_path)
    document = remove(run, "NEVER1", flags=("--snapshot-timeout", "0.5"))
    assert {"NEVER1": "removed"} == outcomes(document)
    asked = [each.at for each in sandbox.log.entries if each.service == "graph"]
    assert asked[-1] - asked[0] < 5
    assert "not-verified" == handoff(run, document["run"])["NEVER1"]["planes"]["intune"]["status"]


def test_a_required_snapshot_that_fails_removes_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.behave(faults_from(ENDLESS))
    run = program(sandbox, tmp_path)
    refused = run(
        *("deregister", run.serials("NEVER1"), "--via", "partner-center", "--yes"),
        *("--customer", DOMAIN, "--snapshot", "required", "--snapshot-timeout", "0.3"),
    )
    assert (refused.exit_code, "could not be read: nothing" in refused.stderr) == (8, True)
    assert not any(each.operation == "delete-device" for each in sandbox.log.entries)
    sandbox.behave(faults_from({}))
    again = remove(run, "NEVER1", flags=("--snapshot", "required"))
    assert {"NEVER1": "removed"} == outcomes(again)


def test_a_required_snapshot_needs_access(sandbox: Sandbox, tmp_path: Path) -> None:
    run = program_for(sandbox, tmp_path, PARTNER_TOOLS_GRAPH_TOKEN="")
    refused = run(
        *("deregister", run.serials("NEVER1"), "--via", "partner-center", "--yes"),
        *("--customer", DOMAIN, "--snapshot", "required"),
    )
    assert (refused.exit_code, "there is no access to it" in refused.stderr) == (8, True)


def test_a_failed_look_blinds_older_evidence_and_shows_when_that_was(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    run = program(sandbox, tmp_path)
    document = remove(run, "MANAGED1")
    blind = program(sandbox, tmp_path, "graphNoIntune")
    blind("verify", document["run"], "--graph")
    intune = handoff(run, document["run"])["MANAGED1"]["planes"]["intune"]
    assert ("not-verified", "outstanding") == (intune["status"], intune["lastStatus"])
    assert intune["ids"]["id"]


def test_what_imports_left_is_found_by_its_exact_serial(tmp_path: Path) -> None:
    """Rows 24 and 26 of the decision table: by whole serial numbers, in whatever form."""
    left: dict[str, Any] = {
        "importedWindowsAutopilotDeviceIdentities": [
            {"serialNumber": "NEVER1"},
            {"serialNumber": "XCLEAN12"},
        ],
        "importedDeviceIdentities": [
            {"importedDeviceIdentifier": "OWN1"},
            {
                "importedDeviceIdentifier": "HP,EliteBook,NEVER1",
                "importedDeviceIdentityType": "manufacturerModelSerial",
            },
        ],
    }
    devices = [{"serialNumber": serial} for serial in ("NEVER1", "CLEAN1", "OWN1")]
    known = world(customer({"b": devices}, graph={"machines": [], **left}))
    with Sandbox(seed_from(known)) as sandbox:
        run = program(sandbox, tmp_path)
        document = remove(run, "NEVER1", "CLEAN1", "OWN1")
        run("verify", document["run"], "--graph", "--wait", "2")
        steps = {
            serial: {step["id"] for step in one["steps"]}
            for serial, one in handoff(run, document["run"]).items()
        }
    assert {"delete-import-record", "delete-corporate-identifier"} <= steps["NEVER1"]
    assert {"delete-corporate-identifier"} == steps["OWN1"]
    assert set() == steps["CLEAN1"]


def test_shuffled_throttled_and_slow_answers_change_nothing(tmp_path: Path) -> None:
    throttle = {"kind": "status", "status": 429, "retryAfter": 1}
    rules = [{"match": {"service": "graph", "every": 4, "times": 6}, "fault": throttle}]
    with Sandbox(seed_from(seed()), faults_from({"rules": rules})) as sandbox:
        run = program(sandbox, tmp_path)
        document = remove(run, "MANAGED1", "NEVER1", "HYBRID1")
        run("verify", document["run"], "--graph", "--wait", "3")
        devices = handoff(run, document["run"])
        assert any(one.status == 429 for one in sandbox.log.entries)
    assert ("clear", "outstanding", "expected") == statuses(devices["MANAGED1"])
    assert ("clear", "clear", "clear") == statuses(devices["NEVER1"])


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [
        ({"status": 404, "body": "json", "code": "NotFound", "description": "no such route"}, 5),
        ({"status": 404, "body": "html"}, 5),
        ({"status": 400, "description": "Resource not found for the segment"}, 5),
        ({"status": 403, "description": "Insufficient privileges"}, 4),
        ({"status": 400, "description": "Request not applicable to target tenant."}, 0),
    ],
)
def test_a_plane_that_could_not_be_looked_at_is_no_success(
    sandbox: Sandbox, tmp_path: Path, fault: dict[str, Any], exit_code: int
) -> None:
    """Only what the customer intends is: it has no Intune."""
    run = program(sandbox, tmp_path)
    document = remove(run, "NEVER1", flags=("--no-snapshot",))
    match = {"service": "graph"}
    rules = [{"match": match, "fault": {"kind": "status", **fault}}]
    sandbox.behave(faults_from({"schemaVersion": "1", "rules": rules}))
    said = run("verify", document["run"], "--graph")
    assert (said.exit_code, "not verified" in said.stderr) == (exit_code, True)
