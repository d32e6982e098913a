"""One truth on both sides: whatever partner, customer and machines do, in whatever order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.sandbox.faults import GraphQuirks
from partner_tools.sandbox.graph import deletion
from partner_tools.sandbox.graph.estate import NO_ID, Estate
from partner_tools.sandbox.graph.service import Estates
from partner_tools.sandbox.state import State

DOMAIN = "contoso.onmicrosoft.com"
JOINS = ("none", "entra-joined", "hybrid-joined", "registered")
SERIALS = tuple(f"S{number}" for number in range(6))
WORLD: dict[str, Any] = {
    "partner": {"domain": "fabrikam.onmicrosoft.com"},
    "customers": [
        {
            "domain": DOMAIN,
            "batches": [
                {
                    "id": "b",
                    "devices": [
                        {"serialNumber": s, "oemManufacturerName": "C", "modelName": "N"}
                        for s in SERIALS
                    ],
                }
            ],
            "graph": {
                "machines": [
                    {
                        "serialNumber": serial,
                        "join": JOINS[place % 4],
                        "online": place % 3 != 0,
                        "recoveryKeys": 1,
                        **({"managedDevice": {}} if place % 4 else {}),
                    }
                    for place, serial in enumerate(SERIALS)
                ]
            },
        }
    ],
}
QUIRKS = GraphQuirks(autopilot_delete=(30.0, 90.0), check_in=(10.0, 200.0), connect_cycle=300.0)
AGES = 1_000_000.0


class Both:
    """A partner's and a customer's side of one state, and a clock for them."""

    def __init__(self) -> None:
        self.now = 1_794_000_000.0
        self.seed = seed_from(WORLD)
        self.state = State(self.seed, lambda: self.now)
        self.estates = Estates(self.state, lambda: QUIRKS)
        self.tenant = self.seed.customers[0].tenant_id

    @property
    def estate(self) -> Estate:
        return self.estates.of(self.tenant)

    def do(self, what: str, serial: str, seconds: float) -> None:
        actions: dict[str, Callable[[], object]] = {
            "partner": lambda: self._partner(serial),
            "identity": lambda: self._identity(serial),
            "managed": lambda: self._each("managed", serial, deletion.delete_managed),
            "retire": lambda: self._retire(serial),
            "entra": lambda: self._entra(serial),
            "restore": self._restore,
            "computer": lambda: self._machines(serial, deletion.delete_computer),
            "check-in": lambda: self._machines(serial, deletion.check_in),
            "connect": lambda: deletion.connect(self.estate, self.now),
            "sync": lambda: deletion.sync(self.estate, self.now),
            "wait": lambda: setattr(self, "now", self.now + seconds),
        }
        actions[what]()

    def _partner(self, serial: str) -> None:
        for placed in self.state.devices(self.tenant):
            if placed.device.serial_number == serial:
                self.state.remove(self.tenant, "b", placed.device.id, lag=0.0)

    def _identity(self, serial: str) -> None:
        for row in [one for one in self.estate.identities.rows() if one["serialNumber"] == serial]:
            deletion.remove_identity(self.estate, row["id"], self.now)

    def _each(self, table: str, serial: str, act: Callable[[Estate, str, float], None]) -> None:
        for row in getattr(self.estate, table).having("serialNumber", [serial]):
            act(self.estate, row["id"], self.now)

    def _retire(self, serial: str) -> None:
        for row in self.estate.managed.having("serialNumber", [serial]):
            deletion.retire(self.estate, row, "retire", self.now)

    def _entra(self, serial: str) -> None:
        for row in self.estate.devices.having("displayName", [f"DESKTOP-{serial}", serial]):
            deletion.delete_device(self.estate, row, self.now)

    def _restore(self) -> None:
        for row in list(self.estate.deleted.rows()):
            deletion.restore(self.estate, row["id"], self.now)

    def _machines(self, serial: str, act: Callable[[Estate, Any, float], None]) -> None:
        for machine in self.estate.machines_named(serial):
            act(self.estate, machine, self.now)

    def check(self) -> None:
        """What holds at every moment."""
        estate = self.estate
        registered = {placed.device.id for placed in self.state.devices(self.tenant)}
        held = {device for _, device in estate.registrations.values()}
        assert registered <= held, "no registration without its identity"
        assert {row["id"] for row in estate.identities.rows()} == set(estate.registrations)
        assert estate.going <= estate.registrations.keys()
        managed = {row["id"] for row in estate.managed.rows()}
        for identity in estate.identities.rows():
            assert identity["managedDeviceId"] in {NO_ID, *managed}
        device_ids = [row["deviceId"] for row in estate.devices.rows()]
        assert len(device_ids) == len(set(device_ids))
        kept = {*device_ids, *(row["deviceId"] for row in estate.deleted.rows())}
        assert {row["deviceId"] for row in estate.recovery_keys.rows()} <= kept

    def settle(self) -> None:
        """Let everything happen that is under way."""
        for _ in range(3):
            self.now += AGES
            for machine in self.estate.machines:
                deletion.check_in(self.estate, machine, self.now)


ACTIONS = (
    "partner",
    "identity",
    "managed",
    "retire",
    "entra",
    "restore",
    "computer",
    "check-in",
    "connect",
    "sync",
    "wait",
)
STEPS = some.lists(
    some.tuples(
        some.sampled_from(ACTIONS),
        some.sampled_from(SERIALS),
        some.floats(0, 400, allow_nan=False),
    ),
    max_size=25,
)


@settings(max_examples=80)
@given(STEPS)
def test_both_sides_agree_at_every_moment_and_in_the_end(
    steps: list[tuple[str, str, float]],
) -> None:
    both = Both()
    for what, serial, seconds in steps:
        both.do(what, serial, seconds)
        both.check()
    both.settle()
    both.check()
    registered = {placed.device.id for placed in both.state.devices(both.tenant)}
    assert {device for _, device in both.estate.registrations.values()} == registered
    assert both.estate.going == set()
    assert not any(machine.leaving for machine in both.estate.machines)
    synchronized = {
        machine.entra for machine in both.estate.machines if machine.computer is not None
    }
    objects = {row["deviceId"] for row in both.estate.devices.rows()}
    assert synchronized <= objects, "what Active Directory has comes back"


@settings(max_examples=20)
@given(some.permutations(["partner", "managed"]), some.sampled_from(SERIALS[1::4]))
def test_a_joined_machine_is_gone_from_everywhere_in_either_order(
    order: list[str], serial: str
) -> None:
    both = Both()
    for what in order:
        both.do(what, serial, 0)
        both.do("wait", serial, 5)
    both.settle()
    assert both.estate.managed.having("serialNumber", [serial]) == []
    names = [f"DESKTOP-{serial}", serial]
    assert both.estate.devices.having("displayName", names) == []


def test_many_clients_at_once_see_each_removal_once(
    start: Callable[..., Sandbox], graph: Callable[..., Any]
) -> None:
    """Eight of them remove sixty identities, each the same ones: every one is accepted once."""
    fleet = {"domain": DOMAIN, "fleets": [{"count": 60}]}
    world = {**WORLD, "customers": [fleet]}
    sandbox = start({"graph": {"autopilotDelete": 3_600}}, seed=seed_from(world))
    path = "/deviceManagement/windowsAutopilotDeviceIdentities"
    clients = [graph(sandbox) for _ in range(8)]
    names = [row["id"] for row in clients[0].rows(path)]
    statuses: list[int] = []

    def remove(client: Any) -> None:
        for first in range(0, 60, 20):
            asked = [
                {"id": name, "method": "DELETE", "url": f"{path}/{name}"}
                for name in names[first : first + 20]
            ]
            answered = client.batch(*asked).json()["responses"]
            statuses.extend(one["status"] for one in answered)

    threads = [threading.Thread(target=remove, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(204), statuses.count(400), len(statuses)) == (60, 420, 480)
    assert len([entry for entry in sandbox.log.entries if entry.inner]) == 480
