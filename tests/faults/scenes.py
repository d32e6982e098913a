"""The requests that can meet a fault: how a command comes to send each, and what then becomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import Result

from partner_tools.cli.app import Call
from partner_tools.ledger import Ledger, sqlite_url
from partner_tools.model import GONE, Outcome
from partner_tools.outstanding.types import Plane
from partner_tools.runs.observation import decision
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world
from tests.clients.oem_profiles import profile_of
from tests.faults.faults import Fault
from tests.faults.hurry import Hurry

DOMAIN = "contoso.onmicrosoft.com"
LISTED = ("SN-1", "SN-2")
UNLISTED = ("SN-3",)
OWN = ("OWN-1", "OWN-2")
OWN_UNLISTED = "OWN-3"
"""Registered by the customer itself, with a user; for `cleanup`."""
MACHINE: Mapping[str, Any] = {"join": "entra-joined", "managedDevice": {}, "recoveryKeys": 1}
QUIRKS = {"devicesPageSize": 2, "customersPageSize": 1, "emptyBatchesVanish": True}
POLL = "[oem.poll]\ninterval_s = 1\nmax_interval_s = 2\ndeadline_s = 30\n"
WIRES = {
    "sync": "",
    "preflight": '[oem.preflight]\nenabled = true\nmethod = "POST"\npath = "/validate"\n',
    "location": f'[oem.response]\nmode = "location"\n{POLL}',
    "ack_list": '[oem.response]\nmode = "ack_list"\n'
    f'{POLL}list_path = "/acks"\ndetail_path = "/acks/{{id}}"\n',
}


@dataclass(slots=True)
class Stage:
    """One trial's sandbox and program. `graph` are habits of Microsoft Graph, `run` is the run that
    the program made before, `removed` what it removed."""

    sandbox: Sandbox
    program: Program
    hurry: Hurry
    graph: Mapping[str, float] = field(default_factory=dict)
    run: str = ""
    removed: frozenset[str] = frozenset()

    def call(self, *arguments: str | Path) -> Result:
        """Run one command in hurried time."""
        return self.program(*arguments, obj=Call(make_token=self.hurry.make_token))

    def behave(self, *rules: Mapping[str, Any]) -> None:
        """Go on under these rules."""
        self.sandbox.behave(faults_from({**_habits(self.graph), "rules": list(rules)}))

    def ledger(self) -> Ledger:
        """The ledger of the program."""
        return Ledger.open(sqlite_url(self.program.folder / "ledger.db"))

    def registered(self) -> set[str]:
        """What is registered in truth."""
        found = self.sandbox.state.devices(CONTOSO)
        return {str(each.device.serial_number) for each in found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A kind of request, and a command that sends it.

    `match` picks the requests, `before` the one that goes out just before the first of them; None
    where nothing does. `prepare` happens before anything goes wrong. `act` is the command, `again`
    the one that follows when all is well again. `become` says in a word what became of it.
    """

    title: str
    service: str
    match: Mapping[str, Any]
    act: Callable[[Stage], Result]
    again: Callable[[Stage], Result]
    become: Callable[[Stage, Result], str]
    before: Mapping[str, Any] | None = None
    prepare: Callable[[Stage], None] = lambda _stage: None
    wire: str = "sync"
    token: str = "user"
    variables: Mapping[str, str] = field(default_factory=dict)
    graph: Mapping[str, float] = field(default_factory=dict)
    paged: bool = False


@contextmanager
def staged(scene: Scene, fault: Fault, folder: Path) -> Iterator[Stage]:
    """A fresh world for one cell."""
    hurry = Hurry()
    profile_text = (
        f'[oem]\ntimeout_s = {fault.patience}\n[oem.auth]\nmode = "none"\n{WIRES[scene.wire]}'
    )
    (folder / "oem.toml").write_text(profile_text, encoding="utf-8")
    limits = f"[default.limits]\nconcurrency = 1\ntimeout = {fault.patience}\n"
    (folder / "partner-tools.toml").write_text(limits, encoding="utf-8")
    with Sandbox(
        seed_from(_world()),
        faults_from(_habits(scene.graph)),
        clock=hurry.wall,
        later=hurry.later,
        oem_profile=profile_of(profile_text),
    ) as sandbox:
        yield Stage(sandbox, _program(scene, sandbox, folder, tls=fault.tls), hurry, scene.graph)


def _habits(graph: Mapping[str, float]) -> dict[str, Any]:
    return {"schemaVersion": "1", "quirks": QUIRKS, "graph": dict(graph)}


def _program(scene: Scene, sandbox: Sandbox, folder: Path, *, tls: bool) -> Program:
    said = sandbox.announce()
    over_tls = {
        "PARTNER_TOOLS_PARTNER_CENTER_URL": said["tlsUrls"]["partnerCenter"],
        "PARTNER_TOOLS_GRAPH_URL": said["tlsUrls"]["graph"],
        "PARTNER_TOOLS_OEM_DIRECT_URL": said["tlsUrls"]["oemDirect"],
    }
    tokens = {"PARTNER_TOOLS_ACCESS_TOKEN": sandbox.tokens[scene.token] if scene.token else ""}
    more = {
        "PARTNER_TOOLS_OEM_PROFILE": str(folder / "oem.toml"),
        "PARTNER_TOOLS_TENANT": said["partner"]["tenantId"],
        "PARTNER_TOOLS_CLIENT_ID": said["applications"][0]["clientId"],
        "PARTNER_TOOLS_CLIENT_SECRET": said["applications"][0].get("secret", ""),
        **tokens,
        **(over_tls if tls else {}),
        **scene.variables,
    }
    return program_for(sandbox, folder, **more)


def _world() -> dict[str, Any]:
    devices = [
        {"serialNumber": serial, "oemManufacturerName": "Fabrikam", "modelName": "Book"}
        for serial in (*LISTED, *UNLISTED)
    ]
    assigned = {"userPrincipalName": "adele@contoso.com"}
    machines = [{"serialNumber": serial, **MACHINE} for serial in LISTED]
    machines += [
        {"serialNumber": serial, **MACHINE, "windowsAutopilotDeviceIdentity": assigned}
        for serial in (*OWN, OWN_UNLISTED)
    ]
    contoso = customer({"b / 1": devices}, graph={"machines": machines})
    other = customer({}, tenant="2c1d9a55-6b51-4a2e-8f7d-91c0a4b3e017", domain=f"{DOMAIN}.example")
    return world(contoso, other)


# --- Commands ---------------------------------------------------------------------------------


def _deregister(named: str) -> Callable[[Stage], Result]:
    def act(stage: Stage) -> Result:
        batch = stage.program.serials(*LISTED)
        options = ("--via", "partner-center", "--customer", named, "--yes", "--settle", "5")
        return stage.call("deregister", batch, *options, "--output", "json")

    return act


def _deregister_at_depot(stage: Stage) -> Result:
    rows = [f"{serial},Fabrikam,Book" for serial in LISTED]
    batch = stage.program.batch("\n".join(["Serial,Manufacturer,Model", *rows, ""]))
    return stage.call("deregister", batch, "--via", "oem-direct", "--yes", "--output", "json")


def _resume(stage: Stage) -> Result:
    """Resume the run, as the program said; start it again where no run was begun."""
    with stage.ledger() as ledger:
        runs = [record.run for record in ledger.runs()]
    assert runs, "no run to resume"
    return stage.call("resume", runs[0], "--output", "json")


def _remove(*serials: str) -> Callable[[Stage], None]:
    """Have a run behind that removed these, and let its effects settle."""

    def prepare(stage: Stage) -> None:
        batch = stage.program.serials(*serials)
        options = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--settle", "5")
        done = stage.call("deregister", batch, *options, "--output", "json")
        assert done.exit_code == 0, done.output
        stage.run, stage.removed = json.loads(done.stdout)["run"], frozenset(serials)
        stage.hurry.skip(60.0)

    return prepare


def _restore(stage: Stage) -> Result:
    file = stage.program.folder / "restore.csv"
    return stage.call("restore", stage.run, "-o", file, "--apply", "--yes")


def _verify_graph(stage: Stage) -> Result:
    return stage.call("verify", stage.run, "--graph")


def _hand_over(stage: Stage) -> None:
    """The partner finds no device of the list, and hands over what it knows."""
    batch = stage.program.serials(*OWN)
    options = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--output", "json")
    run = json.loads(stage.call("deregister", batch, *options).stdout)["run"]
    told = stage.call("report", run, "-o", stage.program.folder / "sent", "--format", "json")
    assert told.exit_code == 0, told.output


def _clean_up(stage: Stage) -> Result:
    (handoff,) = (stage.program.folder / "sent").glob("*.json")
    written = ("--report", stage.program.folder / "updated", "--format", "json")
    flags = ("--apply", "--yes", "--keys-saved", "--output", "json")
    return stage.call("cleanup", handoff, *flags, *written)


# --- What became of it ------------------------------------------------------------------------


def _outcomes(stage: Stage, result: Result) -> str:
    """The outcomes of the run's devices in a result; checked against what is true."""
    document = json.loads(result.stdout) if result.stdout else {}
    found = [each["outcome"] for each in document.get("devices", ())]
    for each in document.get("devices", ()):
        _check_truth(stage, each)
    return "+".join(dict.fromkeys(sorted(found))) or "nothing"


def _check_truth(stage: Stage, device: Mapping[str, Any]) -> None:
    """No outcome says more than is true."""
    registered = device["serialNumber"] in stage.registered()
    outcome = Outcome(device["outcome"])
    told = f"{device['outcome']} ({device['detail']})"
    if outcome is Outcome.PENDING:
        assert registered, f"{told}, and it is gone"
    if outcome in GONE and registered:
        # Only the service itself can have said so; then the list says otherwise, and so do we.
        assert "still listed" in device["detail"], f"{told}, and it is registered"


def _cleaned(stage: Stage, result: Result) -> str:
    """The outcomes of a cleanup; checked against what the tenant truly has."""
    truth = stage.sandbox.graph.truth(CONTOSO)
    left = [
        {each["serialNumber"] for each in truth[name]}
        for name in ("managedDevices", "windowsAutopilotDeviceIdentities")
    ]
    assert all(OWN_UNLISTED in each for each in left), "a device was changed that was not listed"
    document = json.loads(result.stdout) if result.stdout else {}
    devices = document.get("devices", ())
    for each in devices:
        here = any(each["serialNumber"] in one for one in left)
        assert not (here and Outcome(each["outcome"]) in GONE), f"{each} is still there"
    return "+".join(dict.fromkeys(sorted(each["outcome"] for each in devices))) or "nothing"


def _came_back(stage: Stage, result: Result) -> str:
    """How many devices are registered again, as the command says and as it is."""
    said = result.stdout.split(" ")[0] if result.stdout else "0"
    back = len(stage.registered() & stage.removed)
    assert int(said) <= back, f"{said} are said to be back, and {back} are"
    return f"{said} back"


def _seen(plane: Plane) -> Callable[[Stage, Result], str]:
    def become(stage: Stage, _result: Result) -> str:
        with stage.ledger() as ledger:
            record = ledger.run(stage.run)
            reason, devices = record.reason, list(ledger.devices(record.run))
            now = datetime.now(UTC)
            found = {decision(each, reason, now).planes[plane].status.value for each in devices}
        return "+".join(sorted(found))

    return become


# --- The kinds of request ---------------------------------------------------------------------

_BY_ID = Scene(
    title="customer",
    service="partnerCenter",
    match={"operation": "get-customer"},
    act=_deregister(CONTOSO),
    again=_resume,
    become=_outcomes,
)
_RESTORING = replace(
    _BY_ID, prepare=_remove(*LISTED), act=_restore, again=_restore, become=_came_back
)
_DEPOT = replace(
    _BY_ID,
    service="oemDirect",
    match={"operation": "deregister"},
    act=_deregister_at_depot,
)
_LOOKING = replace(
    _BY_ID,
    service="graph",
    prepare=_remove(*LISTED),
    act=_verify_graph,
    again=_verify_graph,
)


def _cleaning(title: str, operation: str, *, after: int, **match: Any) -> Scene:
    """A request of `cleanup`. `after` is which `$batch` (from 1) is answered just before it."""
    return replace(
        _BY_ID,
        title=f"cleanup: {title}",
        service="graph",
        match={"operation": operation, **match},
        before={"operation": "batch", "nth": [after]},
        prepare=_hand_over,
        act=_clean_up,
        become=_cleaned,
        graph={"autopilotDelete": 600},  # long enough that a sync is worth asking for
    )


SCENES: Mapping[str, Scene] = {
    "discovery": replace(
        _BY_ID,
        title="sign-in: discovery",
        service="login",
        match={"operation": "openid-configuration"},
        token="",
    ),
    "token": replace(
        _BY_ID,
        title="sign-in: token",
        service="login",
        match={"operation": "token"},
        before={"operation": "openid-configuration"},
        token="",
    ),
    "customer": _BY_ID,
    "customers": replace(
        _BY_ID,
        title="customers",
        match={"operation": "list-customers", "continued": False},
        act=_deregister(DOMAIN),
    ),
    "batches": replace(
        _BY_ID,
        title="batches",
        match={"operation": "list-batches"},
        before={"operation": "get-customer"},
    ),
    "devices": replace(
        _BY_ID,
        title="devices, first page",
        match={"operation": "list-devices", "continued": False},
        before={"operation": "list-batches"},
    ),
    "page": replace(
        _BY_ID,
        title="devices, next page",
        match={"operation": "list-devices", "continued": True},
        before={"operation": "list-devices"},
        paged=True,
    ),
    "delete": replace(
        _BY_ID,
        title="removal",
        token="",  # signed in by the app's secret: a token that is refused can be replaced
        match={"operation": "delete-device"},
        before={"operation": "list-devices", "continued": True},
    ),
    "append": replace(_RESTORING, title="restore: add", match={"operation": "add-devices"}),
    "create": replace(
        _RESTORING,
        title="restore: new batch",
        match={"operation": "create-batch"},
        before={"operation": "add-devices"},
        prepare=_remove(*LISTED, *UNLISTED),
    ),
    "job": replace(
        _RESTORING,
        title="restore: job",
        match={"operation": "get-job"},
        before={"operation": "add-devices"},
    ),
    "oem": replace(_DEPOT, title="OEM: call"),
    "preflight": replace(
        _DEPOT, title="OEM: pre-flight", match={"operation": "validate"}, wire="preflight"
    ),
    "submit": replace(_DEPOT, title="OEM: submit", wire="location"),
    "poll": replace(
        _DEPOT,
        title="OEM: poll",
        match={"operation": "detail"},
        before={"operation": "deregister"},
        wire="location",
    ),
    "acks": replace(
        _DEPOT,
        title="OEM: list of acknowledgements",
        match={"operation": "list"},
        before={"operation": "deregister"},
        wire="ack_list",
    ),
    "graph-list": replace(
        _LOOKING,
        title="Graph: list",
        match={"operation": "list-autopilot-identities"},
        become=_seen(Plane.AUTOPILOT),
    ),
    "graph-batch": replace(
        _LOOKING,
        title="Graph: $batch",
        match={"operation": "batch"},
        before={"operation": "list-autopilot-identities"},
        become=_seen(Plane.INTUNE),
    ),
    "graph-inner": replace(
        _LOOKING,
        title="Graph: within $batch",
        match={"operation": "list-managed-devices"},
        become=_seen(Plane.INTUNE),
    ),
    "cleanup-look": _cleaning("look right before a change", "batch", after=4, first=5),
    "cleanup-intune": _cleaning("delete from Intune", "delete-managed-device", after=5),
    "cleanup-user": _cleaning("unassign the user", "unassign-user", after=8),
    "cleanup-autopilot": _cleaning("delete from Autopilot", "delete-autopilot-identity", after=11),
    "cleanup-sync": _cleaning("sync", "sync-autopilot", after=13),
}
"""By the name that the table uses."""
