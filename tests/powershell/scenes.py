"""Situations of a customer's administrator with the script of a handoff, on the sandbox's Graph.

A scene is one tenant and the steps taken there, each one start of the script. `play` takes many
scenes with one start of PowerShell: the stand-in module forgets its session in between.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from partner_tools.model import Customer, Device, Identity, Outcome, Reason, TenantId
from partner_tools.outstanding.evidence import evidence_from
from partner_tools.outstanding.types import Found, Plane, Probe, ProbeResult, Subject
from partner_tools.report.handoff import Document, HandoffDevice, RunFacts, build_handoff
from partner_tools.report.page import Handoff
from partner_tools.report.script import write_script
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, customer, world
from tests.powershell.shell import HERE, start
from tests.report import fleet

DOMAIN = "contoso.onmicrosoft.com"
QUICK = {"autopilotDelete": 0, "sync": 0, "checkIn": 0}
KEYS_TOO = (
    "BitlockerKey.Read.All",
    "Device.ReadWrite.All",
    "DeviceLocalCredential.Read.All",
    "DeviceManagementManagedDevices.ReadWrite.All",
    "DeviceManagementServiceConfig.ReadWrite.All",
)
APP = "5d0b7f2e-93c1-4f6a-8e1d-2b6c9a4f0e33"
DIRECTORY = "Device.Read.All"
"""Asked for in a sign-in, and not missed in a session that is open already."""
READ = ["DeviceManagementManagedDevices.Read.All", "DeviceManagementServiceConfig.Read.All"]
WRITE = [
    "DeviceManagementManagedDevices.ReadWrite.All",
    "DeviceManagementServiceConfig.ReadWrite.All",
]
APPLY: dict[str, Any] = {"Apply": True, "KeysSaved": True, "Confirm": False, "WaitMinutes": 0}


def own(serial: str, **more: Any) -> dict[str, Any]:
    """A machine that Intune manages and the customer registered."""
    usual = {"join": "entra-joined", "managedDevice": {}, "windowsAutopilotDeviceIdentity": {}}
    return {"serialNumber": serial, **usual, **more}


def enrolled(serial: str, **more: Any) -> dict[str, Any]:
    """A machine that only Intune has."""
    return {"serialNumber": serial, "join": "entra-joined", "managedDevice": {}, **more}


def registered(serial: str, **more: Any) -> dict[str, Any]:
    """A machine that only Windows Autopilot has."""
    return {"serialNumber": serial, "windowsAutopilotDeviceIdentity": {}, **more}


def opened(
    machines: Sequence[Mapping[str, Any]],
    *rules: Mapping[str, Any],
    graph: Mapping[str, Any] | None = None,
    devices: Sequence[Mapping[str, Any]] = (),
    permissions: Sequence[str] = (),
    **more: Any,
) -> Sandbox:
    """A tenant with these machines; `rules` and `graph` are how its Graph misbehaves."""
    seed = world(
        customer(
            {"b": [dict(one) for one in devices]},
            graph={"machines": [dict(one) for one in machines], **more},
        )
    )
    if permissions:
        seed["applications"] = [
            {"clientId": APP, "secret": "made up", "graphPermissions": list(permissions)}
        ]
    faults = {"rules": [dict(one) for one in rules], "graph": {**QUICK, **(graph or {})}}
    return Sandbox(seed_from(seed), faults_from(faults))


def rows(sandbox: Sandbox, table: str) -> list[Mapping[str, Any]]:
    """A table of the tenant as it is."""
    return list(sandbox.graph.truth(CONTOSO)[table])


def associated(sandbox: Sandbox) -> list[tuple[str, str]]:
    """The device associations that the tenant still has: serial number and state."""
    table = rows(sandbox, "tenantAssociatedDevices")
    return sorted((str(one.get("serialNumber")), str(one.get("associationState"))) for one in table)


def left(sandbox: Sandbox) -> tuple[list[str], list[str]]:
    """The serial numbers that Intune and Windows Autopilot still have."""
    tables = ("managedDevices", "windowsAutopilotDeviceIdentities")
    managed, identities = (
        sorted(one["serialNumber"] for one in rows(sandbox, table)) for table in tables
    )
    return managed, identities


def asked(sandbox: Sandbox) -> list[Any]:
    """Every request to Graph."""
    return [one for one in sandbox.log.entries if one.service == "graph"]


def changed(sandbox: Sandbox) -> list[tuple[str, str | None]]:
    """What was changed, in order: operation and serial number."""
    return [
        (one.operation, one.serial)
        for one in asked(sandbox)
        if one.method in {"DELETE", "POST"} and (one.status or 0) < 300
    ]


def seen_by(sandbox: Sandbox, serial: str, at: datetime) -> list[Probe]:
    """What a look of the partner would have found of a device."""
    tables = {
        Plane.INTUNE: "managedDevices",
        Plane.AUTOPILOT: "windowsAutopilotDeviceIdentities",
        Plane.DEVICE_ASSOCIATION: "tenantAssociatedDevices",
    }
    probes = []
    for plane, table in tables.items():
        found = tuple(_found(one) for one in rows(sandbox, table) if one["serialNumber"] == serial)
        result = ProbeResult.FOUND if found else ProbeResult.ABSENT
        probes.append(Probe(plane=plane, result=result, observed_at=at, found=found))
    return probes


_IDS = ("id", "azureADDeviceId", "azureActiveDirectoryDeviceId", "managedDeviceId")


def _found(row: Mapping[str, Any]) -> Found:
    names = ("serialNumber", "deviceName", "userPrincipalName", "associationState")
    return Found(
        ids={name: str(row[name]) for name in _IDS if row.get(name)},
        attributes={name: row[name] for name in names if row.get(name)},
    )


def handed_over(
    sandbox: Sandbox,
    *serials: str,
    outcome: Outcome = Outcome.NOT_FOUND,
    known: bool = False,
    reason: Reason = Reason.RESALE,
    removed_at: datetime | None = None,
    more: Iterable[HandoffDevice] = (),
) -> Document:
    """A handoff of these devices; `known` with the ids that a look of the partner found."""
    at = datetime.now(UTC).replace(microsecond=0)
    devices = [
        HandoffDevice(
            device=Device(row=row, identity=Identity(serial_number=serial)),
            outcome=outcome,
            removed_at=removed_at,
            evidence=[evidence_from(one) for one in seen_by(sandbox, serial, at)] if known else [],
        )
        for row, serial in enumerate(serials, start=2)
    ]
    run = RunFacts(
        id="20261123-090000-k3f9",
        channel="partner-center",
        batch_id="RMA-2026-0417",
        reason=reason,
        started_at=at,
        finished_at=at,
    )
    contoso = Customer(tenant_id=TenantId(CONTOSO), domain=DOMAIN, name="Contoso")
    return build_handoff(run, contoso, fleet.PARTNER, [*devices, *more], at, version=fleet.VERSION)


NO_KEYS = tuple(
    evidence_from(
        Probe(
            plane=Plane.ENTRA,
            subject=subject,
            result=ProbeResult.ABSENT,
            observed_at=datetime.now(UTC),
        )
    )
    for subject in (Subject.RECOVERY_KEYS, Subject.LOCAL_PASSWORD)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One start of the script."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    session: Mapping[str, Any] | None = None
    """A session that is open before it: `tenant`, `scopes`, `type`."""
    stubs: tuple[str, ...] = ()
    """PowerShell that runs before it, such as commands of another module."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """One tenant, one script, and the starts of it."""

    name: str
    sandbox: Sandbox
    document: Document
    steps: tuple[Step, ...] = (Step(),)
    module: str | None = "2.30.0"
    """The version of the module that is installed; None for no module."""
    folder: Path = field(default_factory=Path)
    told: list[Mapping[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """What went to the host's error stream, by step."""
    shown: list[str] = field(default_factory=list)
    """What the host showed by itself, such as what -WhatIf says, by step."""

    def result(self, number: int = -1) -> dict[str, Any]:
        """A results file, the last one by default."""
        files = sorted(
            self.folder.glob("handoff-result-*.json"), key=lambda one: one.stat().st_mtime_ns
        )
        read: dict[str, Any] = json.loads(files[number].read_text(encoding="utf-8"))
        return read

    def outcomes(self) -> dict[str, str]:
        """By serial number what the last results file says: outcome, and the reason for it."""
        return {
            str(one["serialNumber"]): one.get("rule") or one["outcome"]
            for one in self.result()["devices"]
        }

    def calls(self) -> list[dict[str, Any]]:
        """What the stand-in module was asked for."""
        log = self.folder / "calls.log"
        lines = log.read_text(encoding="utf-8-sig").splitlines() if log.exists() else []
        return [json.loads(line) for line in lines]

    def sign_ins(self) -> list[list[str]]:
        """The scopes of every sign-in."""
        return [one["scopes"] for one in self.calls() if one["call"] == "Connect-MgGraph"]

    def said(self, step: int = 0) -> str:
        """Everything that a start said, lines and warnings and errors."""
        told = self.told[step]
        return "\n".join([*told["lines"], *told["warnings"], told["thrown"], self.errors[step]])


def written(document: Document) -> str:
    """The script, impatient: its pauses are none."""
    stream = io.BytesIO()
    write_script(Handoff(document), stream)
    text = stream.getvalue().decode("ascii")
    for constant in ("$RetrySeconds = 2", "$PollSeconds = 60"):
        assert text.count(constant) == 1
        text = text.replace(constant, constant.split(" = ")[0] + " = 0")
    return text


def play(folder: Path, scenes: Sequence[Scene]) -> None:
    """Take every scene, with one start of PowerShell for each installed version of the module."""
    for number, scene in enumerate(scenes):
        scene.folder = folder / f"{number}-{scene.name}"
        scene.folder.mkdir()
        (scene.folder / "handoff.ps1").write_bytes(written(scene.document).encode("ascii"))
    for version in {scene.module for scene in scenes}:
        _play(folder, [scene for scene in scenes if scene.module == version], version)


def _play(folder: Path, scenes: Sequence[Scene], version: str | None) -> None:
    listed = [
        {"name": scene.name, "steps": [_step(scene, step) for step in scene.steps]}
        for scene in scenes
    ]
    given, told = folder / f"given-{version}.json", folder / f"told-{version}.json"
    given.write_text(json.dumps(listed), encoding="utf-8")
    environment = {"PSModulePath": str(_modules(folder, version))}
    done = start("-NonInteractive", "-File", HERE / "play.ps1", given, told, env=environment)
    assert told.exists(), done.stderr + done.stdout
    by_name = {scene.name: scene for scene in scenes}
    for one in json.loads(told.read_text(encoding="utf-8-sig")):
        by_name[one["name"]].told.append(one)
    for stream, name in ((done.stderr, "errors"), (done.stdout, "shown")):
        for part in stream.split("@@ ")[1:]:
            head, _, rest = part.partition("\n")
            getattr(by_name[head.rsplit(" ", 1)[0]], name).append(rest)


def _modules(folder: Path, version: str | None) -> Path:
    """A folder of modules with this version of the stand-in; without any for None."""
    place = folder / f"modules-{version}"
    if version is None:
        place.mkdir()
        return place
    shutil.copytree(HERE / "modules", place)
    manifest = place / "Microsoft.Graph.Authentication" / "Microsoft.Graph.Authentication.psd1"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("2.30.0", version), encoding="utf-8")
    return place


def _step(scene: Scene, step: Step) -> dict[str, Any]:
    tokens = {
        "read": scene.sandbox.tokens[f"graphRead:{DOMAIN}"],
        "write": scene.sandbox.tokens[f"graph:{DOMAIN}"],
        "keys": scene.sandbox.tokens[f"graph:{DOMAIN}"],
    }
    environment = {
        "STANDIN_GRAPH": scene.sandbox.urls["graph"],
        "STANDIN_TOKENS": json.dumps(tokens),
        "STANDIN_LOG": str(scene.folder / "calls.log"),
        **step.environment,
    }
    return {
        "script": str(scene.folder / "handoff.ps1"),
        "folder": str(scene.folder),
        "arguments": dict(step.arguments),
        "environment": environment,
        "session": step.session,
        "stubs": list(step.stubs),
    }


class Stage:
    """Keeps the sandboxes of scenes open until all were played."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scenes: dict[str, Scene] = {}
        self._stack = ExitStack()

    def add(
        self,
        name: str,
        sandbox: Sandbox,
        document: Document | None = None,
        *steps: Step,
        **more: Any,
    ) -> Sandbox:
        """A scene, by default with a handoff of nothing."""
        self._stack.enter_context(sandbox)
        given = handed_over(sandbox) if document is None else document
        self.scenes[name] = Scene(
            name=name, sandbox=sandbox, document=given, steps=steps or (Step(),), **more
        )
        return sandbox

    def play(self) -> Mapping[str, Scene]:
        """Take all of them."""
        play(self.folder, list(self.scenes.values()))
        return self.scenes

    def close(self) -> None:
        """Close the sandboxes."""
        self._stack.close()
