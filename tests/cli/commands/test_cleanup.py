"""The customer's side of a handoff on a mixed fleet: what is touched, in which order, what not."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from partner_tools.cli.app import Call
from partner_tools.intake.schema import checker
from partner_tools.json_forms import digest
from partner_tools.ledger import Ledger, sqlite_url
from partner_tools.model import Account, ChannelName, RunId
from partner_tools.runs.cleanup import read_order
from partner_tools.runs.run import run_start
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from partner_tools.sandbox.login import GRAPH
from partner_tools.sandbox.seed import User
from tests.cli.program import CONTOSO, Program, customer, outcomes, program_for, world
from tests.crash.processes import Started
from tests.faults.hurry import Hurry

pytestmark = pytest.mark.slow

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


def served(
    *rules: dict[str, Any],
    graph: dict[str, Any] | None = None,
    hurry: Hurry | None = None,
    **habits: Any,
) -> Sandbox:
    """The fleet's sandbox. `graph` are habits of Graph, `habits` those of the tenant."""
    faults = faults_from({"rules": list(rules), "graph": {**QUICK, **(graph or {})}})
    if hurry is None:
        return Sandbox(seed_from(seed(**habits)), faults)
    return Sandbox(seed_from(seed(**habits)), faults, clock=hurry.wall, sleep=hurry.skip)


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
    (file,) = (folder / "sent").glob("handoff-*.json")
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
    files = sorted(
        (folder / "sent").glob("handoff-contoso*.json"), key=lambda file: file.stat().st_mtime
    )
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


ASSOCIATED = [
    {"serialNumber": "MANAGED1", "associationState": "preassociated"},
    {"serialNumber": "HYBRID1", "associationState": "associated"},
    {"serialNumber": "XMANAGED1", "associationState": "preassociated"},
]


@pytest.mark.parametrize("behaviour", ["contains", "ignored", "refused"])
def test_a_pre_association_is_deleted_after_intune_and_an_association_left(
    behaviour: str, tmp_path: Path
) -> None:
    with served(
        graph={"associationFilter": behaviour, "checkIn": 3600},
        tenantAssociatedDevices=ASSOCIATED,
    ) as sandbox:
        sent = handed_over(sandbox, tmp_path, "MANAGED1", "HYBRID1", "NEVER1")
        run = customers(sandbox, tmp_path)
        before = len(sandbox.log.entries)
        done = run.json("cleanup", sent, *APPLY)
        assert set(outcomes(done).values()) <= {"removed", "absent"}
        deleted = [one.operation for one in changes(sandbox, before)]
        assert deleted.count("delete-association") == 1
        assert deleted.index("delete-association") > deleted.index("delete-managed-device")
        left = {one["serialNumber"] for one in truth(sandbox)["tenantAssociatedDevices"]}
        assert left == {"HYBRID1", "XMANAGED1"}
        (hybrid,) = [one for one in done["devices"] if one["serialNumber"] == "HYBRID1"]
        kept = {one["plane"]: one for one in hybrid["untouched"]}["device-association"]
        assert "firmware" in kept["why"]
        planes = {each["serialNumber"]: each["planes"] for each in updated(tmp_path)["devices"]}
        statuses = {name: one["device-association"]["status"] for name, one in planes.items()}
        assert statuses == {"MANAGED1": "clear", "HYBRID1": "outstanding", "NEVER1": "clear"}


def test_without_access_to_associations_nothing_is_clear_and_the_rest_is_done(
    tmp_path: Path,
) -> None:
    refused = {
        "match": {"operation": ["list-associations", "get-association"]},
        "fault": {"kind": "status", "status": 404, "code": "ResourceNotFound"},
    }
    with served(refused, tenantAssociatedDevices=ASSOCIATED) as sandbox:
        sent = handed_over(sandbox, tmp_path, "MANAGED1")
        done = customers(sandbox, tmp_path).json("cleanup", sent, *APPLY)
        assert outcomes(done) == {"MANAGED1": "removed"}
        (device,) = updated(tmp_path)["devices"]
        assert device["planes"]["device-association"]["status"] == "not-verified"


def test_a_profile_can_leave_associations_out(sandbox: Sandbox, tmp_path: Path) -> None:
    token = sandbox.tokens[f"graph:{DOMAIN}"]
    (tmp_path / "partner-tools.toml").write_text(
        "[default.graph]\ndevice_association = false\n", encoding="utf-8"
    )
    run = program_for(
        sandbox,
        tmp_path,
        PARTNER_TOOLS_GRAPH_TOKEN=token,
        PARTNER_TOOLS_CONFIG=str(tmp_path / "partner-tools.toml"),
    )
    options = ("--via", "partner-center", "--customer", CONTOSO, "--yes")
    done = run.json("deregister", run.serials("MANAGED1"), *options)
    run("verify", done["run"], "--graph")
    asked = {one.operation for one in sandbox.log.entries if one.service == "graph"}
    assert "list-managed-devices" in asked
    assert "list-associations" not in asked


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
    # The partner's run refuses a device with managed firmware.
    assert {one["serialNumber"] for one in left["windowsAutopilotDeviceIdentities"]} == {
        "FIRM1",
        "XOWN12",
    }
    steps = {
        each["serialNumber"]: {step["id"] for step in each["steps"]}
        for each in updated(tmp_path)["devices"]
    }
    assert steps["OWN2"] <= {"verify-entra-removal"}
    assert "delete-computer-object" in steps["HYBRID1"]
    assert "delete-from-configuration-manager" in steps["COMAN1"]
    written = sorted(file.suffix for file in (tmp_path / "sent").iterdir())
    assert written == [".csv", ".html", ".json", ".json", ".json", ".md", ".ps1", ".xlsx"]
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


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not there")
@pytest.mark.parametrize("points", [(330, 90), (520, 160)])
def test_a_mixed_fleet_is_cleaned_up_although_it_is_killed_twice(
    points: tuple[int, int], tmp_path: Path
) -> None:
    with served(graph={"autopilotDelete": 0.2, "sync": 0.1}) as sandbox:
        sent = handed_over(sandbox, tmp_path, *FLEET)
        run = customers(sandbox, tmp_path)
        before = len(sandbox.log.entries)
        order = ("cleanup", str(sent), "--apply", "--yes", "--keys-saved", "--format", "json")
        first = Started(order, run.environment, kill_at=points[0]).wait()
        (begun,) = run.json("runs")["runs"]
        again = ("resume", begun["run"], "--output", "json")
        second = Started(again, run.environment, kill_at=points[1]).wait()
        assert (first.exit_code, second.exit_code) == (-signal.SIGKILL, -signal.SIGKILL)
        done = Started(again, run.environment).wait()
        assert done.exit_code == 7, done.stderr
        assert outcomes(done.document) == EXPECTED
        assert_right_order(changes(sandbox, before))
        assert run("ledger", "verify").exit_code == 0


def died_before_storing(run: Program, handoff: Path) -> str:
    """A cleanup as version 0.1 left it when it was killed before it had stored the handoff."""
    batch = read_order(handoff).batch(handoff)
    settings: dict[str, object] = {
        "apply": True,
        "yes": True,
        "keysSaved": True,
        "maxDevices": None,
        "settle": 1800.0,
        "report": str(handoff.parent),
        "formats": [],
    }
    start = run_start(
        RunId("20260417-101530-4f2a9c"),
        batch,
        channel=ChannelName.MICROSOFT_GRAPH,
        settings=settings,
        account=Account(),
        now=datetime.now(UTC),
    )
    with Ledger.open(sqlite_url(run.folder / "ledger.db")) as ledger:
        ledger.create_run(start, batch.devices)
    return str(start.run)


def test_a_cleanup_that_died_before_it_stored_its_handoff_is_resumed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sent = handed_over(sandbox, tmp_path, "MANAGED1")
    run = customers(sandbox, tmp_path)
    begun = died_before_storing(run, sent)

    assert outcomes(run.json("resume", begun)) == {"MANAGED1": "removed"}
    assert run("ledger", "verify").exit_code == 0


@pytest.mark.parametrize("become", ["edited", "gone"])
def test_what_is_no_longer_that_handoff_is_begun_again(
    become: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    sent = handed_over(sandbox, tmp_path, "MANAGED1")
    run = customers(sandbox, tmp_path)
    begun = died_before_storing(run, sent)
    text = sent.read_bytes()
    sent.unlink() if become == "gone" else sent.write_bytes(text + b"\n")
    before = len(sandbox.log.entries)

    refused = run("resume", begun)
    assert refused.exit_code == 3
    assert "run cleanup again with the handoff" in refused.stderr
    assert changes(sandbox, before) == []
    sent.write_bytes(text)
    assert outcomes(run.json("cleanup", sent, *APPLY)) == {"MANAGED1": "removed"}


OWN = ("OWN1", "OWN2")
APPLY = ("--apply", "--yes", "--keys-saved", "--format", "json")


def door(sandbox: Sandbox, method: str, path: str) -> int:
    answer = requests.request(method, f"{sandbox.control_url}{path}", timeout=10)
    return answer.status_code


def test_a_second_administrator_is_asked_and_the_run_goes_on_when_approved(tmp_path: Path) -> None:
    with served(multiAdminApproval=True) as sandbox:
        sent = handed_over(sandbox, tmp_path, "MANAGED1", "OWN1")
        run = customers(sandbox, tmp_path)
        waiting = run.json("cleanup", sent, *APPLY, exit_code=5)
        lines = {each["serialNumber"]: each for each in waiting["devices"]}
        assert waiting["state"] == "stopped"
        assert (lines["MANAGED1"]["outcome"], lines["OWN1"]["outcome"]) == ("pending", "removed")
        (request,) = truth(sandbox)["approvals"]
        assert request["code"] in lines["MANAGED1"]["detail"]
        assert "Multi Admin Approval" in lines["MANAGED1"]["remedy"]
        assert [step["status"] for step in lines["MANAGED1"]["steps"]] == ["waiting"]
        handed = {each["serialNumber"]: each for each in updated(tmp_path)["devices"]}
        assert request["code"] in handed["MANAGED1"]["detail"]
        again = run.json("resume", waiting["run"], exit_code=5)
        assert outcomes(again)["MANAGED1"] == "pending"
        assert len(truth(sandbox)["approvals"]) == 1
        assert approve(sandbox, request["code"], "approved") == 204
        done = run.json("resume", waiting["run"])
        assert outcomes(done) == {"MANAGED1": "removed", "OWN1": "removed"}


def approve(sandbox: Sandbox, code: str, decision: str) -> int:
    return door(sandbox, "POST", f"/graph/{DOMAIN}/approvals/{code}/{decision}")


def test_what_another_administrator_turned_down_is_refused(tmp_path: Path) -> None:
    with served(multiAdminApproval=True) as sandbox:
        sent = handed_over(sandbox, tmp_path, "MANAGED1")
        run = customers(sandbox, tmp_path)
        waiting = run.json("cleanup", sent, *APPLY, exit_code=5)
        (request,) = truth(sandbox)["approvals"]
        assert approve(sandbox, request["code"], "rejected") == 204
        done = run.json("resume", waiting["run"], exit_code=7)
        assert outcomes(done) == {"MANAGED1": "refused"}
        assert "MANAGED1" in {one["serialNumber"] for one in truth(sandbox)["managedDevices"]}


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ("delete-managed-device", 404),
        ("delete-autopilot-identity", 404),
        ("delete-autopilot-identity", 400),
    ],
)
def test_what_is_called_gone_and_is_still_there_is_refused_and_asked_for_anew(
    operation: str, status: int, tmp_path: Path
) -> None:
    """A run never sends a step again that has passed: so it has to say that it was in vain."""
    hurry = Hurry()
    rule = {
        "match": {"service": "graph", "operation": operation, "times": 1},
        "fault": {"kind": "status", "status": status},
    }
    with served(rule, hurry=hurry) as sandbox:
        sent = handed_over(sandbox, tmp_path, "OWN2")
        run = customers(sandbox, tmp_path)
        call = Call(make_token=hurry.make_token)
        done = run("cleanup", sent, *APPLY, "--output", "json", obj=call)
        (line,) = json.loads(done.stdout)["devices"]
        call = Call(make_token=hurry.make_token)
        anew = run("cleanup", sent, *APPLY, "--output", "json", obj=call)

    assert (done.exit_code, line["outcome"]) == (7, "refused")
    assert "still shows the record" in line["detail"]
    assert "run cleanup again" in line["remedy"]
    assert outcomes(json.loads(anew.stdout)) == {"OWN2": "removed"}


LOSSES: list[dict[str, Any]] = [
    {"kind": "lose-answer"},
    {"kind": "reset-after"},
    {"kind": "status", "status": 503, "processed": True},
    {"kind": "status", "status": 429, "retryAfter": 1},
    {"kind": "status", "status": 502, "body": "html"},
]


@pytest.mark.parametrize("fault", LOSSES, ids=lambda one: f"{one['kind']}-{one.get('status', '')}")
def test_lost_and_throttled_answers_change_nothing_in_the_end(
    fault: dict[str, Any], tmp_path: Path
) -> None:
    hurry = Hurry()
    operations = [*RANK, "sync-autopilot"]
    match = {"service": "graph", "operation": operations, "perTarget": True, "nth": 1}
    rule = {"match": match, "fault": fault}
    with served(rule, hurry=hurry) as sandbox:
        sent = handed_over(sandbox, tmp_path, *OWN)
        run = customers(sandbox, tmp_path)
        before = len(sandbox.log.entries)
        call = Call(make_token=hurry.make_token)
        done = run("cleanup", sent, *APPLY, "--output", "json", obj=call)
        assert done.exit_code == 0, done.output
        left = truth(sandbox)["windowsAutopilotDeviceIdentities"]
        assert not {*OWN} & {one["serialNumber"] for one in left}
        assert any(one.status != 204 for one in changes(sandbox, before))


def test_an_accepted_deletion_is_waited_for_and_synced_once_in_ten_minutes(tmp_path: Path) -> None:
    hurry = Hurry()
    with served(hurry=hurry, graph={"autopilotDelete": 86_000, "sync": 20}) as sandbox:
        sent = handed_over(sandbox, tmp_path, "OWN1")
        run = customers(sandbox, tmp_path)
        call = Call(make_token=hurry.make_token)
        cut = run("cleanup", sent, *APPLY, "--settle", "5", "--output", "json", obj=call)
        assert cut.exit_code == 5, cut.output
        (line,) = json.loads(cut.stdout)["devices"]
        assert line["steps"][-1] == {**line["steps"][-1], "status": "waiting"}
        done = run("resume", json.loads(cut.stdout)["run"], obj=Call(make_token=hurry.make_token))
        assert done.exit_code == 5, "it waits five seconds more"
        hurry.skip(20)
        again = json.loads(cut.stdout)["run"]
        assert run("resume", again, obj=Call(make_token=hurry.make_token)).exit_code == 0
        assert [one.status for one in sandbox.log.of("sync-autopilot")] == [204]
        assert len(sandbox.log.of("delete-autopilot-identity")) == 1


def test_a_plane_that_answers_403_keeps_the_device_from_being_touched(tmp_path: Path) -> None:
    with served() as sandbox:
        sent = handed_over(sandbox, tmp_path, *OWN)
        run = customers(sandbox, tmp_path, "graphNoIntune")
        before = len(sandbox.log.entries)
        done = run.json("cleanup", sent, *APPLY, exit_code=7)
        assert set(outcomes(done).values()) == {"refused"}
        assert "ReadWrite.All" in done["devices"][0]["remedy"]
        assert changes(sandbox, before) == []
        planes = {each["serialNumber"]: each["planes"] for each in updated(tmp_path)["devices"]}
        assert planes["OWN2"]["intune"]["status"] == "not-verified"


def test_a_sign_in_that_may_only_read_ends_with_4_and_changes_nothing(tmp_path: Path) -> None:
    with served() as sandbox:
        sent = handed_over(sandbox, tmp_path, *OWN)
        run = customers(sandbox, tmp_path, "graphRead")
        before = len(sandbox.log.entries)
        for options in (("--keys-saved",), APPLY):
            said = run("cleanup", sent, *options)
            assert said.exit_code == 4
            assert "it lacks DeviceManagement" in said.stderr
            assert said.stderr.splitlines()[-1] == "nothing was changed"
        assert changes(sandbox, before) == []
        assert len(truth(sandbox)["managedDevices"]) == len(
            [one for one in MACHINES if "managedDevice" in one]
        )


def test_without_the_keys_saved_what_has_keys_is_refused(tmp_path: Path) -> None:
    with served() as sandbox:
        sent = handed_over(sandbox, tmp_path, "KEYS1", "MANAGED1")
        run = customers(sandbox, tmp_path)
        done = run.json("cleanup", sent, "--apply", "--yes", "--format", "json", exit_code=7)
        assert outcomes(done) == {"KEYS1": "refused", "MANAGED1": "removed"}
        assert "there is nothing that --apply would do" in run("cleanup", sent).stderr


def edited(sent: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    document = json.loads(sent.read_text(encoding="utf-8"))
    change(document)
    sent.write_text(json.dumps(document), encoding="utf-8")
    return sent


def _other_id(document: dict[str, Any]) -> None:
    document["devices"][0]["planes"]["intune"]["ids"]["id"] = (
        "0" * 8 + "-1111-4111-8111-" + "1" * 12
    )


def _others_record(document: dict[str, Any]) -> None:
    """The ids of another device, under the name of the first: as a forger would have it."""
    first, second = document["devices"]
    first["planes"]["intune"] = second["planes"]["intune"]


@pytest.mark.parametrize("forged", [_other_id, _others_record])
def test_a_handoff_that_names_another_record_touches_none(
    forged: Callable[[dict[str, Any]], object], sandbox: Sandbox, tmp_path: Path
) -> None:
    sent = edited(handed_over(sandbox, tmp_path, "MANAGED1", "OWN2"), forged)
    run = customers(sandbox, tmp_path)
    before = len(sandbox.log.entries)
    done = run.json("cleanup", sent, *APPLY, exit_code=7)
    assert outcomes(done)["MANAGED1"] in {"refused", "ambiguous"}
    assert "MANAGED1" not in {one.serial for one in changes(sandbox, before)}


def _nobodys(document: dict[str, Any]) -> None:
    document["customer"]["tenantId"] = None


def _of_others(document: dict[str, Any]) -> None:
    document["customer"]["tenantId"] = "2c1d9a55-6b51-4a2e-8f7d-91c0a4b3e017"


def _is_none(document: dict[str, Any]) -> None:
    del document["devices"][0]["planes"]


@pytest.mark.parametrize(
    ("forged", "exit_code", "said"),
    [(_nobodys, 3, "tenant"), (_of_others, 4, "tenant"), (_is_none, 3, "planes")],
)
def test_what_is_no_handoff_of_this_tenant_ends_before_anything_is_sent(
    forged: Callable[[dict[str, Any]], object],
    exit_code: int,
    said: str,
    sandbox: Sandbox,
    tmp_path: Path,
) -> None:
    sent = edited(handed_over(sandbox, tmp_path, "OWN1"), forged)
    run = customers(sandbox, tmp_path)
    before = len(sandbox.log.entries)
    done = run("cleanup", sent, *APPLY)
    assert done.exit_code == exit_code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not sandbox.log.entries[before:]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe", b"[]", b"Serial\nA\n"])
def test_a_file_that_is_no_handoff_is_said_to_be_none(
    content: bytes | None, tmp_path: Path
) -> None:
    file = tmp_path / "handoff.json"
    if content is not None:
        file.write_bytes(content)
    environment = {"PARTNER_TOOLS_LEDGER": str(tmp_path / "ledger.db")}
    done = Program(tmp_path, environment)("cleanup", file, "--output", "json")
    assert done.exit_code == 3, done.output
    assert json.loads(done.stdout)["error"]["remedy"]


def test_guards_hold_before_anything_is_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    sent = handed_over(sandbox, tmp_path, *OWN)
    run = customers(sandbox, tmp_path)
    before = len(sandbox.log.entries)
    unasked = run("cleanup", sent, "--apply", "--keys-saved")
    assert (unasked.exit_code, "--yes" in unasked.stderr) == (8, True)
    many = run("cleanup", sent, *APPLY, "--max-devices", "1")
    assert (many.exit_code, "--max-devices 2" in many.stderr) == (8, True)
    hold = tmp_path / "hold.txt"
    hold.write_text("OWN1\n", encoding="utf-8")
    (run.folder / "partner-tools.toml").write_text(
        f"[default.guards]\nhold_list = '{hold.as_posix()}'\n", encoding="utf-8"
    )
    assert changes(sandbox, before) == []
    held = run.json("cleanup", sent, *APPLY, exit_code=7)
    assert outcomes(held) == {"OWN1": "refused", "OWN2": "removed"}


def test_a_cleanup_is_a_run_like_others(sandbox: Sandbox, tmp_path: Path) -> None:
    sent = handed_over(sandbox, tmp_path, "OWN1")
    run = customers(sandbox, tmp_path)
    done = run.json("cleanup", sent, *APPLY)
    document = run.json("runs", "--via", "microsoft-graph")
    assert not checker("result").violations(done)
    assert not checker("runs").violations(document)
    (listed,) = document["runs"]
    assert (listed["run"], listed["state"]) == (done["run"], "finished")
    assert run.json("runs", done["run"]) == done
    assert run.json("resume", done["run"]) == done
    before = len(sandbox.log.entries)
    assert run("verify", done["run"], "--wait", "1").exit_code == 0
    assert changes(sandbox, before) == []
    assert run("report", done["run"], "-o", tmp_path / "later", "--format", "md").exit_code == 0
    assert run("restore", done["run"], "-o", tmp_path / "back.csv").exit_code == 3
    told = run("trace", "OWN1").stdout
    assert "step=deregister-from-autopilot" in told
    assert run("ledger", "verify").exit_code == 0


@pytest.mark.parametrize(
    ("name", "account"),
    [
        (None, "the app"),
        ("admin@contoso.com", "admin@contoso.com"),
        ("Ada\u202e\n\x1b[2J@contoso.com", "Ada [2J@contoso.com"),
        ("a" * 400, "a" * 319 + "…"),
    ],
)
def test_the_results_file_names_the_account_of_the_sign_in(
    sandbox: Sandbox, tmp_path: Path, name: str | None, account: str
) -> None:
    sent, app = handed_over(sandbox, tmp_path, "OWN1"), sandbox.seed.applications[0]
    run = customers(sandbox, tmp_path)
    if name is not None:
        token = sandbox._mint.for_user(
            User(name=name),
            app.client_id,
            CONTOSO,
            GRAPH,
            lifetime=3_600,
            permissions=app.graph_permissions,
        )
        run = replace(run, environment={**run.environment, "PARTNER_TOOLS_GRAPH_TOKEN": token})
    done = run("cleanup", sent, *APPLY)
    assert done.exit_code == 0, done.output
    (file,) = tmp_path.rglob("handoff-result-*.json")
    result = json.loads(file.read_text("utf-8"))
    assert not checker("handoff-result").violations(result)
    assert result["by"]["account"] == (app.client_id if name is None else account)
    events = run("ledger", "export").stdout
    assert f'"account": {json.dumps(result["by"]["account"])}' in events


def test_a_cleanup_is_resumed_in_its_own_tenant_only(sandbox: Sandbox, tmp_path: Path) -> None:
    """The place of its run names the customer's tenant."""
    run = customers(sandbox, tmp_path)
    run("cleanup", handed_over(sandbox, tmp_path, "OWN1"), "--apply")  # not confirmed
    (begun,) = run.json("runs")["runs"]
    other = "00000000-0000-4000-8000-000000000001"
    with closing(sqlite3.connect(run.folder / "ledger.db")) as ledger, ledger:
        (text,) = ledger.execute("SELECT settings FROM runs").fetchone()
        assert json.loads(text)["place"]["tenant"] == CONTOSO
        ledger.execute("UPDATE runs SET settings = ?", [text.replace(CONTOSO, other)])

    resumed = run("resume", begun["run"], "--yes")

    assert resumed.exit_code == 8, resumed.output
    assert f"its partner tenant is {other}" in resumed.stderr
    assert changes(sandbox) == []


@pytest.mark.parametrize(
    ("counts", "outcome"), [((2, 1), "removed"), ((1, 1), "refused"), ((2, 0), "refused")]
)
def test_a_receipt_has_to_count_what_the_directory_shows(
    sandbox: Sandbox, tmp_path: Path, counts: tuple[int, int], outcome: str
) -> None:
    sent = handed_over(sandbox, tmp_path, "KEYS1")
    receipt = _receipt(tmp_path, json.loads(sent.read_text(encoding="utf-8")), counts)
    run = customers(sandbox, tmp_path)
    options = ("--apply", "--yes", "--settle", "0", "--keys-receipt", receipt)
    done = run.json("cleanup", sent, *options, exit_code=0 if outcome == "removed" else 7)
    assert outcomes(done) == {"KEYS1": outcome}


def test_a_receipt_of_another_handoff_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    sent = handed_over(sandbox, tmp_path, "KEYS1")
    receipt = _receipt(tmp_path, {}, (2, 1))
    run = customers(sandbox, tmp_path)
    refused = run("cleanup", sent, "--apply", "--yes", "--keys-receipt", receipt)
    assert refused.exit_code == 3
    assert "belongs to another handoff" in refused.stderr
    assert changes(sandbox) == []


def _receipt(folder: Path, handoff: Mapping[str, Any], counts: tuple[int, int]) -> Path:
    """What -SaveKeys would have written."""
    device = {"row": 2, "serialNumber": "KEYS1", "result": "saved"}
    document = {
        "schemaVersion": "1",
        "answers": digest(handoff),
        "tenantId": CONTOSO,
        "savedAt": "2026-11-29T14:05:31Z",
        "account": None,
        "file": "handoff-keys.cms",
        "sha256": f"sha256:{'0' * 64}",
        "encrypted": True,
        "devices": [device | {"recoveryKeys": counts[0], "localPasswords": counts[1]}],
    }
    path = folder / "receipt.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_the_first_device_is_finished_before_another_begins(tmp_path: Path) -> None:
    """If it cannot be, exactly one device has any change, and the others are not attempted."""
    forbidden = {
        "match": {"operation": "delete-autopilot-identity"},
        "fault": {"kind": "status", "status": 403},
    }
    with served(forbidden) as sandbox:
        sent = handed_over(sandbox, tmp_path, "OWN2", "MANAGED1", "HYBRID1")
        run = customers(sandbox, tmp_path)
        managed = {each["id"] for each in truth(sandbox)["managedDevices"]}
        before = len(sandbox.log.entries)
        done = run("cleanup", sent, *APPLY, "--output", "json")
        assert done.exit_code in (4, 5, 7)
        left = {each["id"] for each in truth(sandbox)["managedDevices"]}
        assert len(managed - left) == 1, done.output
        assert len(sandbox.log.of("delete-managed-device")) == 1
        document = json.loads(done.stdout)
        told = outcomes(document)
        assert told["OWN2"] != "pending"
        assert {told["MANAGED1"], told["HYBRID1"]} == {"pending"}
        assert changes(sandbox, before)
