"""A seeded sample of the simulation, and that it notices what it is there to notice."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from partner_tools.channels import partner_center as channel
from partner_tools.clients import partner_center
from partner_tools.clients.answers import SentIds
from partner_tools.engine import verification
from partner_tools.engine.execute import execute
from partner_tools.events import Event, Kind, advance
from partner_tools.model import Device, Identity, Outcome
from tests.simulation.evidence import (
    LIES,
    RUN,
    START,
    Machine,
    Service,
    Tenant,
    pending_of,
    simulate,
)

SAMPLE = 12_000


def test_a_service_that_lies_has_nothing_wrong_removed_and_nothing_falsely_cleared() -> None:
    score = simulate(SAMPLE, seed=20260417)
    assert (score.wrong, score.false_clear) == ([], [])
    assert score.lies.keys() == set(LIES)
    assert score.clear > 200


def test_a_doubt_about_a_registration_that_is_another_device_is_refused() -> None:
    """Within one run, and so in a slice of the fleet: nothing is sent for it again."""
    chance = random.Random(7)  # noqa: S311 - a simulation
    tenant = Tenant("00000000-0000-4000-8000-000000000001", {"B": {"d": registered("S-1")}})
    service, events = Service(chance, [tenant], rate=0.0), list[Event]()
    machine = Machine(service, events, timedelta(0))
    row = Device(row=2, identity=Identity(serial_number="S-1"))
    (planned,) = machine.channel.draft(
        [row], default_customer=tenant.tenant_id, held=frozenset()
    ).devices
    device = pending_of(planned)
    for kind, payload in (
        (Kind.INTENDED, {"requestId": "r-1"}),
        (Kind.DOUBTED, {"answered": False}),
    ):
        event = Event(run=RUN, kind=kind, at=START, device=0, payload=payload)
        device = replace(device, history=advance(device.history, event))
    tenant.batches["B"]["d"] = registered("S-2")

    (after,) = execute(machine.context, [device])

    assert (after.history.outcome, after.history.rule) == (Outcome.REFUSED, "changed-since-plan")
    assert service.deleted == []


def registered(serial: str) -> dict[str, str]:
    return {"id": "d", "serialNumber": serial, "modelName": "M1"}


MUTANTS = {
    "an id is the device": (channel, "difference", lambda *_: None),
    "one look is proof": (verification, "AGREEING_LOOKS", 1),
    "counts are ignored": (partner_center, "_counted_items", partner_center._items),
    "an empty estate is proof": (verification, "MANY", 1_000_000),
    "answers are not tied to requests": (SentIds, "is_of_another", lambda *_: False),
}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_simulation_notices_a_missing_rule(
    mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name, value = MUTANTS[mutant]
    monkeypatch.setattr(where, name, value)
    score = simulate(6 * SAMPLE, seed=20260417)
    assert score.wrong or score.false_clear
