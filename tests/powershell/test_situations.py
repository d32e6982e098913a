"""The script, situation by situation, under a real PowerShell against the sandbox's Graph.

All scenes are set up first and taken with one start of PowerShell for each version of the module.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from partner_tools.intake.schema import checker
from partner_tools.json_forms import digest_of_bytes
from partner_tools.model import Outcome, Reason
from partner_tools.sandbox.graph.operations import KEY
from tests.cli.program import CONTOSO, FABRIKAM
from tests.powershell.scenes import (
    APPLY,
    DIRECTORY,
    KEYS_TOO,
    READ,
    WRITE,
    Scene,
    Stage,
    Step,
    asked,
    associated,
    changed,
    enrolled,
    handed_over,
    left,
    opened,
    own,
    registered,
    rows,
)
from tests.powershell.shell import HERE

pytestmark = pytest.mark.slow


FORBIDDEN = {"kind": "status", "status": 403, "code": "Forbidden", "description": "no such right"}
DELETE_MANAGED = {"operation": "delete-managed-device"}
SMALL_PAGES = {"managedPageSize": 3, "autopilotPageSize": 3}
USER = {"userPrincipalName": "adele@contoso.com"}
ON_PREMISES = (HERE / "on_premises.ps1").read_text(encoding="utf-8")
FIRMWARE = (HERE / "firmware.ps1").read_text(encoding="utf-8")
SECRETS = re.compile(r"[0-9]{6}(-[0-9]{6}){7}|c2FuZGJveA==|,\"sandbox\"")
UNUSUAL = "A&B+C#D%20/\u00e9"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Scene]]:
    stage = Stage(tmp_path_factory.mktemp("scenes"))
    set_up(stage)
    yield stage.play()
    stage.close()


def set_up(stage: Stage) -> None:
    """Every scene of this file."""
    many = [own(f"SN{number}") for number in range(1, 6)]
    serials = tuple(one["serialNumber"] for one in many)
    apply = Step(arguments=APPLY)

    box = opened(
        [own("SN1", user="adele@contoso.com", windowsAutopilotDeviceIdentity=USER), own("SN2")]
    )
    help_ = "Get-Help ./handoff.ps1 -Full | Out-String -Width 200 | Set-Content ./help.txt"
    stage.add(
        "window",
        box,
        handed_over(box, "SN1", "SN2", "SN9"),
        Step(stubs=(help_,)),
        Step(arguments={"Apply": True, "WhatIf": True}),
        apply,
        apply,
    )
    box = opened([own("SN1"), own("sn2")])
    stage.add("doubtful preview", box, handed_over(box, "SN1", "SN2"))
    box = opened(many)
    stage.add(
        "nobody to ask",
        box,
        handed_over(box, *serials),
        Step(arguments={"Apply": True, "KeysSaved": True}),
    )
    box = opened(many)
    stage.add(
        "keys not saved",
        box,
        handed_over(box, *serials),
        Step(arguments={"Apply": True, "Confirm": False}),
    )
    box = opened(many, {"match": DELETE_MANAGED, "fault": FORBIDDEN})
    stage.add("first refused", box, handed_over(box, *serials), apply)
    box = opened(many, {"match": {**DELETE_MANAGED, "serials": ["SN3"]}, "fault": FORBIDDEN})
    stage.add("one refused", box, handed_over(box, *serials), apply)
    box = opened(many, {"match": {**DELETE_MANAGED, "first": 2}, "fault": FORBIDDEN})
    stage.add("three refused", box, handed_over(box, *serials), apply)
    for status in (429, 503, 504):
        fault = {"kind": "status", "status": status, "retryAfter": 0}
        box = opened(many, {"match": {**DELETE_MANAGED, "serials": ["SN2"]}, "fault": fault})
        stage.add(f"busy {status}", box, handed_over(box, *serials), apply)
    lists = {"operation": "list-managed-devices", "last": 3}
    box = opened(many, {"match": lists, "fault": {"kind": "status", "status": 500}})
    stage.add("look fails thrice", box, handed_over(box, *serials), apply)
    box = opened(
        many,
        {
            "match": {"operation": "list-managed-devices"},
            "fault": {"kind": "status", "status": 500},
        },
    )
    stage.add("look fails", box, handed_over(box, *serials), apply)
    done = {"kind": "status", "status": 500, "processed": True}
    box = opened(many, {"match": {**DELETE_MANAGED, "serials": ["SN2"]}, "fault": done})
    stage.add("change answered 500", box, handed_over(box, *serials), apply)
    box = opened(
        many,
        {
            "match": {**DELETE_MANAGED, "serials": ["SN2"]},
            "fault": {"kind": "status", "status": 500},
        },
    )
    stage.add("change failed with 500", box, handed_over(box, *serials), apply)

    for name, version in (
        ("no module", None),
        ("module 2.11.0", "2.11.0"),
        ("module 2.18.0", "2.18.0"),
    ):
        box = opened(many)
        stage.add(name, box, handed_over(box, *serials), apply, module=version)
    broker = {"STANDIN_SIGN_IN": "A window handle must be configured."}
    box = opened(many)
    stage.add(
        "sign-in",
        box,
        handed_over(box, *serials),
        Step(arguments=APPLY, environment=broker),
        Step(arguments={**APPLY, "UseDeviceCode": True}, environment=broker),
    )
    box = opened(many)
    app = {"tenant": CONTOSO, "scopes": WRITE, "type": "AppOnly"}
    stage.add(
        "open session of an app",
        box,
        handed_over(box, *serials),
        Step(arguments=APPLY, session=app),
    )
    box = opened(many)
    stage.add(
        "app without roles",
        box,
        handed_over(box, *serials),
        Step(arguments=APPLY, session={**app, "scopes": READ}),
    )
    box = opened(many)
    person = {"tenant": CONTOSO, "scopes": [*READ, *WRITE, "User.Read"], "type": "Delegated"}
    stage.add("consented earlier", box, handed_over(box, *serials), Step(session=person), apply)
    box = opened(many)
    stage.add(
        "another tenant",
        box,
        handed_over(box, *serials),
        Step(session={**person, "tenant": FABRIKAM}),
    )
    box = opened(many)
    stage.add(
        "lands in another tenant",
        box,
        handed_over(box, *serials),
        Step(environment={"STANDIN_LANDS_IN": FABRIKAM}),
    )
    box = opened(many)
    stage.add(
        "consent refused",
        box,
        handed_over(box, *serials),
        Step(arguments=APPLY, environment={"STANDIN_GRANTS": " ".join(READ)}),
    )

    odd = ["VM 12 3E 45", "AB-12-CD", "O'Brien\"$x`", UNUSUAL]
    box = opened([own(serial) for serial in odd] + many)
    stage.add("unusual serial numbers", box, handed_over(box, *odd), apply)
    fleet = [own(f"F{number:03}") for number in range(30)]
    box = opened(fleet + many)
    stage.add(
        "twenty or more", box, handed_over(box, *(one["serialNumber"] for one in fleet)), apply
    )
    box = opened([own(f"F{number:03}") for number in range(30)], graph=SMALL_PAGES)
    stage.add("few in a large tenant", box, handed_over(box, "F011", "F012", "F999"), apply)
    for how in ("lose-filter", "double-encode"):
        box = opened([own(f"F{number:03}") for number in range(12)], graph=SMALL_PAGES)
        stage.add(
            f"damaged by {how}",
            box,
            handed_over(box, "F011", "F999"),
            Step(arguments=APPLY, environment={"STANDIN_BREAK": how}),
        )
    box = opened([own("sn1"), own("SN 2"), enrolled("SN3"), registered("sn3")])
    stage.add("nearly", box, handed_over(box, "SN1", "SN2", "SN3"), apply)

    ids = [own(serial) for serial in ("KNOWN1", "KNOWN2", "AGAIN1", "ANEW1", "TWICE1", "TWICE1")]
    box = opened([*ids, enrolled("ONLY1"), registered("ONLY2")])
    document = handed_over(
        box, "KNOWN1", "KNOWN2", "AGAIN1", "ANEW1", "TWICE1", "ONLY1", "ONLY2", known=True
    )
    _change(box, "managedDevices", "KNOWN2", serialNumber="OTHER9")
    _change(box, "managedDevices", "AGAIN1", id="0a0a0a0a-0000-4000-8000-000000000001")
    _change(
        box, "windowsAutopilotDeviceIdentities", "ANEW1", id="0a0a0a0a-0000-4000-8000-000000000002"
    )
    stage.add("ids", box, document, apply)

    box = opened([own("SN1"), own("SN2")])
    _change(box, "windowsAutopilotDeviceIdentities", "SN1", serialNumber="OTHER1")
    stage.add("by device id", box, handed_over(box, "SN1", "SN2"), apply)
    box = opened(
        [
            enrolled("RETIRE1", online=False, managedDevice={"managementState": "retirePending"}),
            enrolled("FIRM1", managedDevice={"deviceFirmwareConfigurationInterfaceManaged": True}),
            enrolled("CM1", managedDevice={"managementAgent": "configurationManagerClient"}),
            enrolled("SN1"),
        ]
    )
    stage.add("left alone", box, handed_over(box, "RETIRE1", "FIRM1", "CM1", "SN1"), apply)
    box = opened([own("SN1")])
    stage.add("lost", box, handed_over(box, "SN1", reason=Reason.LOST_OR_STOLEN), apply)
    box = opened([own("SN1")])
    stage.add("partner's turn", box, handed_over(box, "SN1", outcome=Outcome.UNKNOWN), apply)
    box = opened([], devices=[{"serialNumber": "SN1"}])
    removed = {"outcome": Outcome.REMOVED, "removed_at": datetime.now(UTC)}
    stage.add("still spreading", box, handed_over(box, "SN1", **removed), apply)  # type: ignore[arg-type]
    box = opened([own("SN1"), own("SN2")], graph={"autopilotDelete": 600, "sync": 600})
    stage.add("stays registered", box, handed_over(box, "SN1", "SN2"), apply, apply)
    states = {"PRE1": "preassociated", "BOUND1": "associated", "ODD1": "unheard of", "XPRE1X": ""}
    bound = [{"serialNumber": name, "associationState": state} for name, state in states.items()]
    listed = ("PRE1", "BOUND1", "ODD1", "FREE1")
    machines = [own(name, online=False) for name in listed]
    box = opened(machines, tenantAssociatedDevices=bound)
    stage.add("associated", box, handed_over(box, *listed), Step(), apply, apply)
    unknown = {"kind": "status", "status": 404, "code": "ResourceNotFound"}
    box = opened(
        machines,
        {"match": {"operation": "list-associations"}, "fault": unknown},
        tenantAssociatedDevices=bound,
    )
    stage.add("associations not seen", box, handed_over(box, "PRE1"), apply)
    _set_up_firmware(stage)
    _set_up_keys(stage)
    box = opened([own("SN1")])
    stage.add(
        "elsewhere",
        box,
        handed_over(box, "SN1"),
        Step(
            stubs=("$null = [IO.Directory]::CreateDirectory((Join-Path $PWD 'r\u00e9sultats'))",),
            arguments={"ResultPath": "./r\u00e9sultats"},
        ),
    )


def _set_up_firmware(stage: Stage) -> None:
    """A device whose firmware holds these variables; any other reading fails with the code."""
    box = opened([own("SN1")])
    held = (
        ("BootOrder DeviceLinkId DeviceLinkCreationTimeUtc", "203"),
        ("BootOrder DeviceLinkId DeviceLinkJwtLastWrite", "203"),
        ("BootOrder DeviceLinkBlob", "203"),
        ("BootOrder DeviceLinkId", "1314"),
        ("nothing", "203"),
    )
    check = {"CheckFirmware": True}
    stage.add(
        "firmware",
        box,
        handed_over(box, "SN1"),
        Step(stubs=(FIRMWARE.replace("UEFI", "Other"),), arguments=check),
        *(
            Step(
                stubs=(FIRMWARE,),
                arguments=check,
                environment={"STANDIN_HELD": variables, "STANDIN_CODE": code},
            )
            for variables, code in held
        ),
        Step(arguments={**check, **APPLY}),
    )


def _set_up_keys(stage: Stage) -> None:
    certificate = document_encryption_certificate(stage.folder)
    keyed = [
        own("SN1", recoveryKeys=2, localCredential=True),
        own("SN2", recoveryKeys=1),
        own("SN3"),
        {"serialNumber": "SN9"},
    ]
    for name, more in (("keys", {"KeysCertificate": str(certificate)}), ("plain keys", {})):
        box = opened(keyed, permissions=KEYS_TOO)
        find = "$env:RECEIPT = (Get-ChildItem handoff-keys-receipt-*.json)[0].FullName"
        stage.add(
            name,
            box,
            handed_over(box, "SN1", "SN2", "SN3"),
            Step(arguments={"SaveKeys": True, **more}),
            Step(
                stubs=(find, "Copy-Item $env:RECEIPT ./receipt.json"),
                arguments={**APPLY, "KeysSaved": False, "KeysReceipt": "./receipt.json"},
            ),
        )
    box = opened(keyed, permissions=KEYS_TOO)
    fewer = (
        "(Get-Content (Get-ChildItem handoff-keys-receipt-*.json)[0] -Raw)"
        """.Replace('"recoveryKeys": 2', '"recoveryKeys": 1') | Set-Content ./receipt.json"""
    )
    stage.add(
        "receipt with fewer keys",
        box,
        handed_over(box, "SN1", "SN2"),
        Step(arguments={"SaveKeys": True}),
        Step(
            stubs=(fewer,),
            arguments={**APPLY, "KeysSaved": False, "KeysReceipt": "./receipt.json"},
        ),
    )
    box = opened(keyed, permissions=KEYS_TOO)
    foreign = (
        '\'{"answers": "sha256:0", "tenantId": "x", "devices": []}\' | Set-Content ./receipt.json'
    )
    stage.add(
        "receipt of another handoff",
        box,
        handed_over(box, "SN1"),
        Step(stubs=(foreign,), arguments={**APPLY, "KeysReceipt": "./receipt.json"}),
    )
    box = opened([own("SN1"), own("SN2"), own("SN3")])
    ids = {one["serialNumber"]: one["azureADDeviceId"] for one in rows(box, "managedDevices")}
    stage.add(
        "observed",
        box,
        handed_over(box, "SN1", "SN2", "SN3"),
        Step(
            stubs=(ON_PREMISES.replace("@@ID@@", ids["SN1"]).replace("@@BROKEN@@", ids["SN3"]),),
            arguments={"CheckActiveDirectory": True, "CheckConfigurationManager": True},
        ),
    )


def document_encryption_certificate(folder: Path) -> Path:
    """A self-signed certificate of document-encryption usage, and its key beside it."""
    certificate, key = folder / "archive.pem", folder / "archive.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=Key archive", "-keyout", key, "-out", certificate),
            *("-addext", "keyUsage=keyEncipherment"),
            *("-addext", "extendedKeyUsage=1.3.6.1.4.1.311.80.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate


def _change(box: object, table: str, serial: str, **values: str) -> None:
    """What becomes of a record between handoff and script."""
    estate = box.graph.estates.of(CONTOSO)  # type: ignore[attr-defined]
    part = {
        "managedDevices": estate.managed,
        "windowsAutopilotDeviceIdentities": estate.identities,
    }[table]
    (row,) = [one for one in part.rows() if one["serialNumber"] == serial]
    if "id" in values:
        part.remove(row["id"], 0.0)
        part.add({**row, **values})
    else:
        part.change(row["id"], **values)


def test_help_is_shown(scenes: Mapping[str, Scene]) -> None:
    text = (scenes["window"].folder / "help.txt").read_text(encoding="utf-8")
    assert "Carries out the open Intune and Windows Autopilot steps" in text
    for parameter in ("-Apply", "-KeysSaved", "-SaveKeys", "-UseDeviceCode", "-WaitMinutes"):
        assert f"    {parameter} " in text
    assert text.count("> .\\handoff.ps1") == 4
    assert "Unblock-File" in text


def test_a_preview_changes_nothing_and_names_every_device(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["window"]
    assert scene.told[0]["code"] == 0
    lines = [line for line in scene.told[0]["lines"] if line.startswith("[")]
    assert lines == [
        "[1/3] DESKTOP-SN1, user adele@contoso.com, serial number SN1, last seen 2026-10-30: "
        "Intune would be deleted, Autopilot would be deleted after its user is unassigned",
        "[2/3] DESKTOP-SN2, no user, serial number SN2, last seen 2026-10-30: "
        "Intune would be deleted, Autopilot would be deleted",
        "[3/3] device without a name, no user, serial number SN9, never seen by Intune: "
        "Intune not there, Autopilot not there",
    ]
    assert scene.result(0)["applied"] is False


def test_a_preview_with_a_refused_device_exits_with_7(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["doubtful preview"]
    assert scene.told[0]["code"] == 7
    assert "refused: could not verify whether Intune manages it" in scene.said()
    assert changed(scene.sandbox) == []


def test_applying_after_a_preview_signs_in_once_more_and_does_everything(
    scenes: Mapping[str, Scene],
) -> None:
    scene = scenes["window"]
    assert scene.sign_ins() == [[*READ, DIRECTORY], [*WRITE, DIRECTORY]]
    assert scene.told[2]["code"] == 0
    assert left(scene.sandbox) == ([], [])
    assert changed(scene.sandbox) == [
        ("delete-managed-device", "SN1"),
        ("unassign-user", "SN1"),
        ("delete-autopilot-identity", "SN1"),
        ("delete-managed-device", "SN2"),
        ("delete-autopilot-identity", "SN2"),
        ("sync-autopilot", None),
    ]


def test_what_if_shows_every_step(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["window"]
    what_if = re.findall(
        r"What if: (.*?): DESKTOP-(SN\d), user|What if: (.*?): DESKTOP-(SN\d), no", scene.shown[1]
    )
    assert [first + third for first, _, third, _ in what_if] == [
        "Delete from Intune",
        "Unassign the user in Windows Autopilot",
        "Delete from Windows Autopilot",
        "Delete from Intune",
        "Delete from Windows Autopilot",
    ]
    assert scene.told[1]["code"] == 0
    assert len(list(scene.folder.glob("handoff-result-*.json"))) == 3, "-WhatIf writes none"


def test_a_second_run_finds_everything_gone(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["window"]
    assert scene.told[3]["code"] == 0
    assert scene.outcomes() == {"SN1": "done", "SN2": "done", "SN9": "done"}
    assert "Intune not there, Autopilot not there" in scene.said(3)


def test_no_terminal_to_ask_on_is_one_sentence_before_the_first_request(
    scenes: Mapping[str, Scene],
) -> None:
    scene = scenes["nobody to ask"]
    assert scene.told[0]["code"] == 1
    assert scene.errors[0].strip().count("\n") == 0
    assert "-Confirm:$false" in scene.errors[0]
    assert (asked(scene.sandbox), scene.calls()) == ([], [])


def test_keys_come_first(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["keys not saved"]
    assert scene.told[0]["code"] == 1
    assert "-SaveKeys" in scene.errors[0]
    assert scene.calls() == []


def test_a_first_change_that_is_refused_stops_everything(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["first refused"]
    assert scene.told[0]["code"] == 1
    assert [one.operation for one in asked(scene.sandbox) if one.method != "GET"] == [
        "delete-managed-device"
    ]
    assert "DeviceManagementManagedDevices.ReadWrite.All" in scene.errors[0]
    assert "Intune Administrator" in scene.errors[0]
    assert set(scene.outcomes().values()) == {"left"}


def test_one_refusal_later_leaves_that_device_alone(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["one refused"]
    assert scene.told[0]["code"] == 7
    assert left(scene.sandbox) == (["SN3"], ["SN3"])
    (line,) = [one for one in scene.told[0]["lines"] if "serial number SN3" in one]
    assert "Delete from Intune: 403 Forbidden: no such right" in line
    assert "(request id " in line
    assert "Missing: the permission DeviceManagementManagedDevices.ReadWrite.All" in line
    (entry,) = [one for one in scene.result()["devices"] if one["serialNumber"] == "SN3"]
    assert entry["requestId"]
    assert entry["requestId"] in entry["detail"]


def test_three_refusals_in_a_row_stop_the_script(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["three refused"]
    assert scene.told[0]["code"] == 7
    assert left(scene.sandbox)[0] == ["SN2", "SN3", "SN4", "SN5"]
    tried = [one for one in asked(scene.sandbox) if one.operation == "delete-managed-device"]
    assert len(tried) == 4
    assert "Three changes in a row" in scene.errors[0]


@pytest.mark.parametrize("status", [429, 503, 504])
def test_a_busy_service_leaves_one_device(scenes: Mapping[str, Scene], status: int) -> None:
    scene = scenes[f"busy {status}"]
    assert scene.told[0]["code"] == 7
    assert left(scene.sandbox) == (["SN2"], ["SN2"])
    assert scene.outcomes()["SN2"] == "left"
    assert str(status) in scene.said()


def test_a_look_is_repeated_up_to_three_times(scenes: Mapping[str, Scene]) -> None:
    assert scenes["look fails thrice"].told[0]["code"] == 0
    scene = scenes["look fails"]
    assert scene.told[0]["code"] == 7
    assert set(scene.outcomes().values()) == {"intune-not-verified"}
    assert changed(scene.sandbox) == []


def test_after_a_500_on_a_change_the_script_looks_again(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["change answered 500"]
    assert scene.told[0]["code"] == 0
    assert left(scene.sandbox) == ([], [])
    scene = scenes["change failed with 500"]
    assert scene.told[0]["code"] == 7
    assert left(scene.sandbox) == (["SN2"], ["SN2"])
    assert scene.outcomes()["SN2"] == "left"


def test_a_module_that_is_missing_or_damages_filters_is_refused(
    scenes: Mapping[str, Scene],
) -> None:
    for name, words in (
        ("no module", "Install-Module Microsoft.Graph.Authentication"),
        ("module 2.11.0", "is version 2.11.0"),
        ("module 2.18.0", "Update-Module Microsoft.Graph.Authentication"),
    ):
        scene = scenes[name]
        assert scene.told[0]["code"] == 1
        assert words in scene.errors[0]
        assert "new window" in scene.errors[0]
        assert scene.calls() == []


def test_a_sign_in_that_fails_names_the_ways_out(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["sign-in"]
    assert scene.told[0]["code"] == 1
    for way in ("window handle", "not elevated", "new window", "-UseDeviceCode", "delegated"):
        assert way in scene.errors[0]
    assert scene.told[1]["code"] == 0
    assert left(scene.sandbox) == ([], [])


def test_an_open_session_is_used(scenes: Mapping[str, Scene]) -> None:
    for name in ("open session of an app", "consented earlier"):
        scene = scenes[name]
        assert scene.told[-1]["code"] == 0
        assert scene.sign_ins() == [], name
        assert left(scene.sandbox) == ([], [])
    by = scenes["open session of an app"].result()["by"]
    assert by["account"] == "14d82eec-204b-4c2f-b7e8-296a70dab67e"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("app without roles", "lacks: DeviceManagementManagedDevices.ReadWrite.All"),
        ("another tenant", "Disconnect-MgGraph"),
        ("lands in another tenant", "a tenant other than"),
        ("consent refused", "consent"),
    ],
)
def test_a_session_that_does_not_suffice_is_refused(
    scenes: Mapping[str, Scene], name: str, words: str
) -> None:
    scene = scenes[name]
    assert scene.told[0]["code"] == 1
    assert words in scene.errors[0]
    assert asked(scene.sandbox) == []


def test_serial_numbers_with_signs_are_never_asked_for(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["unusual serial numbers"]
    assert scene.told[0]["code"] == 0, scene.said()
    assert [one for one in asked(scene.sandbox) if "filter" in one.path.lower()] == []
    assert left(scene.sandbox) == (["SN1", "SN2", "SN3", "SN4", "SN5"],) * 2


def test_twenty_devices_cost_one_list_and_two_requests_for_each_change(
    scenes: Mapping[str, Scene],
) -> None:
    scene = scenes["twenty or more"]
    assert scene.told[0]["code"] == 0
    assert len(asked(scene.sandbox)) <= 4 * 30 + 20


def test_few_devices_in_a_large_tenant_are_asked_for(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["few in a large tenant"]
    assert scene.told[0]["code"] == 0
    assert len(left(scene.sandbox)[0]) == 28
    pages = [one for one in scene.calls() if "skiptoken" in one.get("uri", "").lower()]
    assert pages == [], "no list was read to its end"
    assert scene.outcomes()["F999"] == "done"


@pytest.mark.parametrize("how", ["lose-filter", "double-encode"])
def test_a_damaged_filter_is_noticed(scenes: Mapping[str, Scene], how: str) -> None:
    scene = scenes[f"damaged by {how}"]
    assert scene.told[0]["code"] == 0, scene.said()
    assert "F011" not in left(scene.sandbox)[0]
    assert len(left(scene.sandbox)[0]) == 11


def test_another_letter_case_or_a_blank_is_refused(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["nearly"]
    assert scene.told[0]["code"] == 7
    assert scene.outcomes() == {
        "SN1": "intune-not-verified",
        "SN2": "intune-not-verified",
        "SN3": "autopilot-not-verified",
    }
    assert changed(scene.sandbox) == [("delete-managed-device", "SN3")]
    assert "serial number 'sn1' differs only in letter case or blanks" in scene.said()
    assert scene.result()["devices"][0]["planes"]["intune"]["result"] == "failed"


def test_ids_that_moved_on_are_refused(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["ids"]
    assert scene.outcomes() == {
        "KNOWN1": "done",
        "KNOWN2": "ambiguous",
        "AGAIN1": "changed-since-handoff",
        "ANEW1": "changed-since-handoff",
        "TWICE1": "ambiguous",
        "ONLY1": "done",
        "ONLY2": "done",
    }
    assert scene.told[0]["code"] == 7
    assert {serial for _, serial in changed(scene.sandbox) if serial} == {
        "KNOWN1",
        "ONLY1",
        "ONLY2",
    }


def test_a_registration_is_also_looked_for_by_its_entra_device_id(
    scenes: Mapping[str, Scene],
) -> None:
    assert scenes["by device id"].outcomes() == {"SN1": "ambiguous", "SN2": "done"}
    assert left(scenes["by device id"].sandbox) == (["SN1"], ["OTHER1"])


def test_what_has_to_wait_is_left_alone(scenes: Mapping[str, Scene]) -> None:
    assert scenes["left alone"].outcomes() == {
        "RETIRE1": "waiting-for-check-in",
        "FIRM1": "firmware-managed",
        "CM1": "configuration-manager",
        "SN1": "done",
    }
    assert scenes["lost"].outcomes() == {"SN1": "wipe-first"}
    assert scenes["partner's turn"].outcomes() == {"SN1": "partners-turn"}
    assert left(scenes["partner's turn"].sandbox) == ([], ["SN1"])
    assert scenes["still spreading"].outcomes() == {"SN1": "left"}
    assert changed(scenes["still spreading"].sandbox) == [("sync-autopilot", None)]


def test_registrations_that_stay_are_named_by_serial_number(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["stays registered"]
    assert [one["code"] for one in scene.told] == [7, 7]
    assert "Still registered in Windows Autopilot: serial number SN2" in scene.said()
    assert [one["Autopilot"] for one in scene.told[0]["objects"]] == ["still there"] * 2
    (entry, _) = scene.result(0)["devices"]
    assert [(one["id"], one["status"]) for one in entry["steps"]] == [
        ("delete-from-intune", "done"),
        ("deregister-from-autopilot", "waiting"),
    ]


def test_the_table_shows_four_columns_and_exports_all(scenes: Mapping[str, Scene]) -> None:
    told = scenes["window"].told[2]
    head = next(line for line in told["table"].splitlines() if line.strip())
    assert head.split() == ["SerialNumber", "Intune", "Autopilot", "Detail"]
    assert "deleted" in told["table"]
    assert "gone" in told["table"]
    columns = told["csv"].splitlines()[0].replace('"', "").split(",")
    assert {"Row", "Name", "User", "Outcome", "Reason", "RequestId"} <= set(columns)


def test_a_missing_receipt_is_said(scenes: Mapping[str, Scene]) -> None:
    assert any("There is no receipt" in one for one in scenes["window"].told[2]["warnings"])


def test_keys_are_saved_encrypted_and_applied_with_the_receipt(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["keys"]
    assert [one["code"] for one in scene.told] == [0, 0], scene.said() + scene.said(1)
    (file,) = scene.folder.glob("handoff-keys-*.cms")
    (receipt,) = scene.folder.glob("handoff-keys-receipt-*.json")
    assert SECRETS.search(file.read_text(encoding="ascii")) is None
    opened_ = subprocess.run(
        [
            *("openssl", "cms", "-decrypt", "-inform", "PEM", "-in", file),
            *("-recip", scene.folder.parent / "archive.pem"),
            *("-inkey", scene.folder.parent / "archive.key"),
        ],
        check=True,
        capture_output=True,
    )
    saved = list(csv.DictReader(io.StringIO(opened_.stdout.decode("utf-8"))))
    assert [(one["SerialNumber"], one["Kind"], one["Secret"]) for one in saved] == [
        ("SN1", "recoveryKey", KEY),
        ("SN1", "recoveryKey", KEY),
        ("SN1", "localPassword", "sandbox"),
        ("SN2", "recoveryKey", KEY),
    ]
    read = json.loads(receipt.read_text(encoding="utf-8"))
    assert checker("keys-receipt").violations(read) == ()
    assert read["encrypted"] is True
    assert read["sha256"] == digest_of_bytes(file.read_bytes())
    counts = [(one["recoveryKeys"], one["localPasswords"]) for one in read["devices"]]
    assert counts == [(2, 1), (1, 0), (0, 0)]
    assert left(scene.sandbox) == ([], [])
    entries = {one["serialNumber"]: one["keys"] for one in scene.result()["devices"]}
    assert entries["SN1"]["recoveryKeys"] == 2


def test_keys_in_plain_text_are_for_their_owner_alone(scenes: Mapping[str, Scene]) -> None:
    scene = scenes["plain keys"]
    (file,) = scene.folder.glob("handoff-keys-*.csv")
    assert file.stat().st_mode & 0o077 == 0
    assert KEY in file.read_text(encoding="utf-8")
    assert any("plain text" in one for one in scene.told[0]["warnings"])
    assert left(scene.sandbox) == ([], [])


def test_a_receipt_that_counts_less_than_is_stored_does_not_suffice(
    scenes: Mapping[str, Scene],
) -> None:
    scene = scenes["receipt with fewer keys"]
    assert scene.outcomes() == {"SN1": "keys-not-saved", "SN2": "done"}
    assert "the receipt counts 1 keys and 1 passwords, the directory shows 2 and 1" in scene.said(1)
    scene = scenes["receipt of another handoff"]
    assert scene.told[0]["code"] == 1
    assert "another handoff" in scene.errors[0]
    assert changed(scene.sandbox) == []


def test_no_key_and_no_password_leaves_the_keys_file(scenes: Mapping[str, Scene]) -> None:
    for scene in scenes.values():
        for file in scene.folder.rglob("*"):
            if file.is_file() and not file.match("handoff-keys-*.csv"):
                text = file.read_text(encoding="utf-8", errors="replace")
                assert SECRETS.search(text) is None, file
        for number in range(len(scene.steps)):
            assert SECRETS.search(scene.said(number) + scene.shown[number]) is None


def test_active_directory_and_configuration_manager_are_observed(
    scenes: Mapping[str, Scene],
) -> None:
    scene = scenes["observed"]
    first, second, third = (one["planes"] for one in scene.result(0)["devices"])
    assert first["active-directory"] == {
        "result": "found",
        "observedAt": first["active-directory"]["observedAt"],
        "ids": [rows_id(scene)],
        "distinguishedName": "CN=LT-1,DC=contoso,DC=com",
        "enabled": True,
        "lastLogonAt": "2026-11-01T10:00:00Z",
        "children": 2,
        "recoveryKeys": 1,
        "localPassword": True,
    }
    assert second["active-directory"]["result"] == "absent"
    assert third["active-directory"]["result"] == "failed"
    assert third["active-directory"]["detail"] == "Unable to contact the server."
    found = [one["configuration-manager"]["result"] for one in (first, second, third)]
    assert found == ["absent", "found", "absent"]
    assert second["configuration-manager"]["ids"] == ["16777220"]


def rows_id(scene: Scene) -> str:
    """The Entra device id of the first machine."""
    (row,) = [one for one in rows(scene.sandbox, "managedDevices") if one["serialNumber"] == "SN1"]
    return str(row["azureADDeviceId"])


def test_the_firmware_is_read_on_the_device_itself(scenes: Mapping[str, Scene]) -> None:
    """No association is said only where reading works and each variable is known to be absent."""
    scene = scenes["firmware"]
    codes = [scene.told[number]["code"] for number in range(7)]
    assert codes == [1, 0, 7, 7, 1, 1, 1]
    said = [scene.said(number) + scene.errors[number] for number in range(7)]
    assert "the module UEFI is not installed" in said[0]
    assert "SN1: the firmware holds no device association" in said[1]
    assert all("the firmware holds a device association" in said[number] for number in (2, 3))
    assert "DeviceLinkJwtLastWrite" in said[2]
    assert "could not be read" in said[4]
    assert "elevated" in said[5]
    assert "without -Apply" in said[6]
    assert "made up value" not in "".join(said)
    assert asked(scene.sandbox) == []


def test_every_results_file_keeps_its_schema(scenes: Mapping[str, Scene]) -> None:
    files = [
        file for scene in scenes.values() for file in scene.folder.rglob("handoff-result-*.json")
    ]
    assert len(files) > 30
    for file in files:
        content = file.read_bytes()
        assert not content.startswith(b"\xef\xbb\xbf"), "no byte order mark"
        document = json.loads(content)
        assert checker("handoff-result").violations(document) == (), file
        assert document["finished"] is True
    assert list((scenes["elsewhere"].folder / "r\u00e9sultats").glob("*.json"))


def test_no_bystander_was_touched(scenes: Mapping[str, Scene]) -> None:
    for scene in scenes.values():
        listed = {one["serialNumber"] for one in scene.document["devices"]}
        assert {serial for _, serial in changed(scene.sandbox) if serial} <= listed, scene.name


def test_every_start_was_told_of(scenes: Mapping[str, Scene]) -> None:
    for scene in scenes.values():
        assert len(scene.told) == len(scene.errors) == len(scene.steps)
        assert [one["thrown"] for one in scene.told] == [""] * len(scene.steps), scene.said()


def test_a_pre_association_is_deleted_last_and_an_association_kept(
    scenes: Mapping[str, Scene],
) -> None:
    scene = scenes["associated"]
    preview, first, second = scene.result(0), scene.result(1), scene.result(2)
    planned = {
        one["serialNumber"]: [step["id"] for step in one["steps"]] for one in preview["devices"]
    }
    usual = ["delete-from-intune", "deregister-from-autopilot"]
    assert planned == {
        "PRE1": [*usual, "delete-association-record"],
        **dict.fromkeys(("BOUND1", "ODD1", "FREE1"), usual),
    }
    assert "PRE1" in (line := next(one for one in scene.told[0]["lines"] if "PRE1" in one))
    assert "device association would be deleted" in line
    assert "device association left: associated" in scene.said(1)

    operations = [operation for operation, _ in changed(scene.sandbox)]
    assert operations.count("delete-association") == 1
    assert operations[-1] == "delete-association"
    assert associated(scene.sandbox) == [
        ("BOUND1", "associated"),
        ("ODD1", "unheard of"),
        ("XPRE1X", ""),
    ]
    for result in (first, second):
        seen = {
            one["serialNumber"]: (one["outcome"], one["planes"]["device-association"]["result"])
            for one in result["devices"]
        }
        assert seen == {
            "PRE1": ("done", "absent"),
            "BOUND1": ("done", "found"),
            "ODD1": ("done", "found"),
            "FREE1": ("done", "absent"),
        }
    assert [one["code"] for one in scene.told] == [0, 0, 0]


def test_associations_that_cannot_be_read_are_not_seen_and_refuse_nothing(
    scenes: Mapping[str, Scene],
) -> None:
    scene = scenes["associations not seen"]
    (device,) = scene.result()["devices"]
    assert device["outcome"] == "done"
    assert device["planes"]["device-association"]["result"] == "failed"
    assert ("PRE1", "preassociated") in associated(scene.sandbox)
    assert "PRE1" not in left(scene.sandbox)[1]


def test_the_directory_is_looked_at_where_the_session_may(scenes: Mapping[str, Scene]) -> None:
    planes = {one["serialNumber"]: one for one in scenes["window"].result(1)["devices"]}
    assert planes["SN1"]["planes"]["entra"]["result"] in {"found", "absent"}
    assert planes["SN1"]["joinType"] in {"none", "entra-joined"}
    assert "entra" not in planes["SN9"]["planes"], "no device id is known of it"
    again = {one["serialNumber"]: one["planes"] for one in scenes["window"].result(2)["devices"]}
    assert again["SN1"]["entra"]["result"] == "absent", "known from the results file before"
    session = scenes["open session of an app"].result()["devices"][0]["planes"]["entra"]
    assert session["result"] == "failed"
    assert "Device.Read.All" in session["detail"]
