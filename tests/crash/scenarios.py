"""What is killed: each command that changes something or makes evidence, on every channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from partner_tools.ledger import Ledger, sqlite_url
from partner_tools.model import ChannelName
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, customer, world
from tests.clients.oem_profiles import profile_of
from tests.crash.processes import Done, Started

LISTED = tuple(f"SN-{number:02}" for number in range(6))
OWN = ("OWN-1", "OWN-2", "OWN-3")
"""Registered by the customer itself, with a user."""
UNLISTED = tuple(f"SN-{number:02}" for number in range(6, 10))
POLL = "[oem.poll]\ninterval_s = 1\nmax_interval_s = 2\ndeadline_s = 600\n"
WIRES: Mapping[str, str] = {
    "sync": "",
    "location": f'[oem.response]\nmode = "location"\n{POLL}',
    "ack_list": '[oem.response]\nmode = "ack_list"\n'
    f'{POLL}list_path = "/acks"\ndetail_path = "/acks/{{id}}"\n',
}
SOON = {"autopilotDelete": 0.3, "sync": 0.1, "checkIn": 0.1}
QUIRKS = {"jobQueued": 0.0, "jobProcessing": 0.02}
AT_ONCE = {"autopilotDelete": 0, "sync": 0, "checkIn": 0}


@dataclass(slots=True)
class World:
    """One trial's sandbox and folder. `run` is the run that is there before the trial, `handoff`
    what it handed over."""

    sandbox: Sandbox
    folder: Path
    run: str = ""
    handoff: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, **how: Any) -> Started:
        """Start a command. `how` says how it dies."""
        return Started(arguments, self.environment, **how)

    def program(self, *arguments: str, **how: Any) -> Done:
        """Run a command to its end, whatever that is."""
        return self.start(*arguments, **how).wait()

    def ledger(self) -> Ledger:
        """The ledger of the commands."""
        return Ledger.open(sqlite_url(Path(self.environment["PARTNER_TOOLS_LEDGER"])))

    @property
    def registered(self) -> set[str]:
        """What is registered in truth."""
        return {str(each.device.serial_number) for each in self.sandbox.state.devices(CONTOSO)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A command, what has to be there before it, the command that finishes it, and the verdict.

    `wrong` says what is not as it has to be, once the command that finishes it ended with
    `finished`.
    """

    command: Callable[[World], tuple[str, ...]]
    wrong: Callable[[World, Done], Iterator[str]]
    finish: Callable[[World], tuple[str, ...]]
    prepare: Callable[[World], None] = lambda _world: None
    wire: str = "sync"
    finished: int = 0
    graph: Mapping[str, float] = field(default_factory=lambda: AT_ONCE)


@contextmanager
def opened(scenario: Scenario, folder: Path) -> Iterator[World]:
    """A fresh world in which nothing has been done yet but what the scenario needs."""
    text = f'[oem]\nbatch_limit = 4\n[oem.auth]\nmode = "none"\n{WIRES[scenario.wire]}'
    (folder / "oem.toml").write_text(text, encoding="utf-8")
    (folder / "partner-tools.toml").touch()
    _write_batch(folder)
    with Sandbox(
        seed_from(_seed()),
        faults_from({"schemaVersion": "1", "quirks": QUIRKS, "graph": scenario.graph}),
        oem_profile=profile_of(text),
    ) as sandbox:
        place = World(sandbox, folder)
        place.environment = {
            **sandbox.announce()["environment"],
            "PARTNER_TOOLS_LEDGER": str(folder / "ledger.db"),
            "PARTNER_TOOLS_CONFIG": str(folder / "partner-tools.toml"),
            "PARTNER_TOOLS_OEM_PROFILE": str(folder / "oem.toml"),
            "PARTNER_TOOLS_ACCESS_TOKEN": sandbox.tokens["user"],
        }
        scenario.prepare(place)
        yield place


def _seed() -> dict[str, Any]:
    devices = [
        {"serialNumber": serial, "oemManufacturerName": "Fabrikam", "modelName": "Book"}
        for serial in (*LISTED, *UNLISTED)
    ]
    machines = [
        {"serialNumber": serial, "join": "entra-joined", "managedDevice": {}}
        for serial in (*LISTED, *UNLISTED)
    ]
    assigned = {"userPrincipalName": "adele@contoso.com"}
    machines += [
        {
            "serialNumber": serial,
            "join": "entra-joined",
            "managedDevice": {},
            "windowsAutopilotDeviceIdentity": assigned,
        }
        for serial in OWN
    ]
    batches = {"one / #1": devices[::2], "two %2F": devices[1::2]}
    return world(customer(batches, graph={"machines": machines}))


def _write_batch(folder: Path) -> None:
    rows = [f"{serial},Fabrikam,Book" for serial in LISTED]
    text = "\n".join(["Serial,Manufacturer,Model", *rows, ""])
    (folder / "batch.csv").write_text(text, encoding="utf-8")


# --- Removing ---------------------------------------------------------------------------------

JSON = ("--output", "json")


def _deregister(world_: World) -> tuple[str, ...]:
    batch = str(world_.folder / "batch.csv")
    via = ("--via", "partner-center", "--customer", CONTOSO)
    return ("deregister", batch, *via, "--yes", *JSON)


def _deregister_at_depot(world_: World) -> tuple[str, ...]:
    batch = str(world_.folder / "batch.csv")
    return ("deregister", batch, "--via", "oem-direct", "--yes", *JSON)


def _resume(
    begin: Callable[[World], tuple[str, ...]],
) -> Callable[[World], tuple[str, ...]]:
    def finish(world_: World) -> tuple[str, ...]:
        with world_.ledger() as ledger:
            runs = ledger.runs()
        # Killed before the run existed: then nothing was sent, and the user starts it again.
        return ("resume", runs[0].run, *JSON) if runs else begin(world_)

    return finish


def _removed(world_: World, done: Done) -> Iterator[str]:
    """What is wrong after a removal on either channel."""
    if world_.registered != {*UNLISTED}:
        yield f"left in the estate: {sorted(world_.registered)}"
    outcomes = {device["outcome"] for device in done.document["devices"]}
    if not outcomes <= {"removed", "absent"}:
        yield f"outcomes: {sorted(outcomes)}"
    if world_.sandbox.oem_direct.trips:
        yield "a tenant was sent"
    with world_.ledger() as ledger:
        yield from (each.message for each in ledger.verify())


def _removed_once(world_: World, done: Done) -> Iterator[str]:
    yield from _removed(world_, done)
    deletes = [each for each in world_.sandbox.log.entries if each.method == "DELETE"]
    twice = [
        path for path, n in Counter(e.path for e in deletes if e.status == 204).items() if n > 1
    ]
    if twice:
        yield f"removed twice: {twice}"
    again = [each.path for each in deletes if each.status == 404]
    if again:
        yield f"asked for again although gone: {again}"


_PARTNER_CENTER = Scenario(command=_deregister, finish=_resume(_deregister), wrong=_removed_once)


def _depot(wire: str) -> Scenario:
    return Scenario(
        command=_deregister_at_depot,
        finish=_resume(_deregister_at_depot),
        wrong=_removed,
        wire=wire,
    )


# --- After a removal --------------------------------------------------------------------------


def _have_removed(world_: World) -> None:
    done = world_.program(*_deregister(world_))
    assert done.exit_code == 0, done.stderr
    world_.run = done.document["run"]
    domain = "contoso.onmicrosoft.com"
    world_.environment = {
        **world_.environment,
        "PARTNER_TOOLS_GRAPH_TOKEN": world_.sandbox.tokens[f"graphRead:{domain}"],
    }


def _restore(world_: World) -> tuple[str, ...]:
    return ("restore", world_.run, "-o", str(world_.folder / "back.csv"), "--apply", "--yes")


def _restored(world_: World, done: Done) -> Iterator[str]:
    if world_.registered != {*LISTED, *UNLISTED}:
        yield f"registered: {sorted(world_.registered)}"
    if not done.stdout.startswith(f"{len(LISTED)} of {len(LISTED)}"):
        yield f"it says: {done.stdout}"
    batches = Counter(
        (each.batch_id, each.device.serial_number) for each in world_.sandbox.state.devices(CONTOSO)
    )
    if max(batches.values()) > 1:
        yield f"registered twice: {batches.most_common(1)}"


def _verify(*more: str) -> Callable[[World], tuple[str, ...]]:
    return lambda world_: ("verify", world_.run, *more, *JSON)


def _seen(world_: World, done: Done) -> Iterator[str]:
    yield from _removed(world_, done)
    with world_.ledger() as ledger:
        run = ledger.run(world_.run).run
        blind = [each.index for each in ledger.devices(run) if not each.history.evidence]
    if blind:
        yield f"nothing is known of {blind}"


def _after_removal(
    command: Callable[[World], tuple[str, ...]],
    wrong: Callable[[World, Done], Iterator[str]],
) -> Scenario:
    return Scenario(command=command, finish=command, wrong=wrong, prepare=_have_removed)


# --- The customer's side ----------------------------------------------------------------------


def _have_handed_over(world_: World) -> None:
    """The partner's part is done; from here on it is the customer's ledger and token."""
    _have_removed(world_)
    sent = world_.folder / "sent"
    assert world_.program("verify", world_.run, "--graph").exit_code == 0
    assert world_.program("report", world_.run, "-o", str(sent), "--format", "json").exit_code == 0
    (file,) = sent.glob("*.json")
    world_.handoff = str(file)
    world_.environment = {
        **world_.environment,
        "PARTNER_TOOLS_LEDGER": str(world_.folder / "customer.db"),
        "PARTNER_TOOLS_GRAPH_TOKEN": world_.sandbox.tokens["graph:contoso.onmicrosoft.com"],
    }


def _clean_up(world_: World) -> tuple[str, ...]:
    flags = ("--apply", "--yes", "--keys-saved", "--format", "json")
    return ("cleanup", world_.handoff, *flags, *JSON)


def _cleaned_up(world_: World, done: Done) -> Iterator[str]:
    with world_.sandbox.state.lock:
        truth: dict[str, Any] = world_.sandbox.graph.estates.of(CONTOSO).truth()
    managed = {each["serialNumber"] for each in truth["managedDevices"]}
    if managed != {*UNLISTED, *OWN}:
        yield f"left in Intune: {sorted(managed)}"
    outcomes = {device["outcome"] for device in done.document["devices"]}
    if not outcomes <= {"removed", "absent"}:
        yield f"outcomes: {sorted(outcomes)}"
    changed = Counter(
        (each.operation, each.serial)
        for each in world_.sandbox.log.of("delete-managed-device")
        if each.status in (200, 202, 204)
    )
    if any(count > 1 for count in changed.values()):
        yield f"deleted twice: {changed.most_common(1)}"
    with world_.ledger() as ledger:
        yield from (each.message for each in ledger.verify())


def _have_handoff(world_: World) -> None:
    """The partner removed two devices, and does not find three that are the customer's own."""
    named = world_.folder / "some.csv"
    named.write_text("\n".join(["Serial", *LISTED[:2], *OWN, ""]), encoding="utf-8")
    via = ("--via", "partner-center", "--customer", CONTOSO)
    done = world_.program("deregister", str(named), *via, "--yes", "--settle", "0", *JSON)
    sent = str(world_.folder / "sent")
    told = world_.program("report", done.document["run"], "-o", sent, "--format", "json")
    assert told.exit_code == 0, told.stderr
    token = world_.sandbox.tokens["graph:contoso.onmicrosoft.com"]
    world_.environment = {**world_.environment, "PARTNER_TOOLS_GRAPH_TOKEN": token}


def _cleanup(world_: World) -> tuple[str, ...]:
    (handoff,) = (world_.folder / "sent").glob("*.json")
    written = ("--report", str(world_.folder / "updated"), "--format", "json")
    return ("cleanup", str(handoff), "--apply", "--yes", *written, *JSON)


def _resume_cleanup(world_: World) -> tuple[str, ...]:
    with world_.ledger() as ledger:
        runs = ledger.runs(channel=ChannelName.MICROSOFT_GRAPH)
    return ("resume", runs[0].run, *JSON) if runs else _cleanup(world_)


_RANKS = {"delete-managed-device": 0, "unassign-user": 1, "delete-autopilot-identity": 2}


def _cleaned(world_: World, done: Done) -> Iterator[str]:
    """What is wrong in the tenant, by its truth and by the sandbox's own log."""
    outcomes = {each["serialNumber"]: each["outcome"] for each in done.document["devices"]}
    if outcomes != dict.fromkeys((*LISTED[:2], *OWN), "removed"):
        yield f"outcomes: {outcomes}"
    truth = world_.sandbox.graph.truth(CONTOSO)
    managed = {each["serialNumber"] for each in truth["managedDevices"]}
    identities = {each["serialNumber"] for each in truth["windowsAutopilotDeviceIdentities"]}
    if managed != {*LISTED[2:], *UNLISTED} or identities != {*LISTED[2:], *UNLISTED}:
        yield f"left: {sorted(managed)}, {sorted(identities)}"
    yield from _order_of_cleanup(world_)
    with world_.ledger() as ledger:
        yield from (each.message for each in ledger.verify())


def _order_of_cleanup(world_: World) -> Iterator[str]:
    """What is wrong by the sandbox's own log: a step out of order, twice, or of another kind."""
    log = [one for one in world_.sandbox.log.entries if one.service == "graph"]
    changed = [one for one in log if one.method in {"DELETE", "POST"} and one.operation != "batch"]
    if strangers := {one.operation for one in changed} - {*_RANKS, "sync-autopilot"}:
        yield f"never to be asked for: {strangers}"
    steps: dict[str | None, list[int]] = {}
    for one in changed:
        if one.operation in _RANKS and one.status == 204:
            steps.setdefault(one.serial, []).append(_RANKS[one.operation])
    for serial, ranks in steps.items():
        # Unassigning twice changes nothing; a deletion that was confirmed is never repeated.
        if ranks != sorted(ranks) or ranks.count(0) > 1 or ranks.count(2) > 1:
            yield f"{serial}: {ranks}"
    syncs = [one.status for one in changed if one.operation == "sync-autopilot"]
    if len(syncs) > 1:
        yield f"synced {len(syncs)} times within ten minutes: {syncs}"


SCENARIOS: Mapping[str, Scenario] = {
    "partner-center": _PARTNER_CENTER,
    "oem-sync": _depot("sync"),
    "oem-location": _depot("location"),
    "oem-ack-list": _depot("ack_list"),
    "restore": _after_removal(_restore, _restored),
    "verify": _after_removal(_verify(), _seen),
    "verify-graph": _after_removal(_verify("--graph"), _seen),
    "cleanup": Scenario(
        command=_clean_up,
        finish=_resume(_clean_up),
        wrong=_cleaned_up,
        prepare=_have_handed_over,
    ),
    "cleanup-in-steps": Scenario(
        command=_cleanup, finish=_resume_cleanup, wrong=_cleaned, prepare=_have_handoff, graph=SOON
    ),
}
"""By name. A further command is one more entry."""
