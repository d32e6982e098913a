"""`schemas/event.schema.json` covers every kind of event, and what is exported keeps it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from partner_tools.events import RUN_STATES, Event, Kind
from partner_tools.json_forms import digest
from partner_tools.ledger import Ledger, RunStart
from partner_tools.model import ChannelName, Device, Outcome, Reason

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "event.schema.json").read_text(encoding="utf-8")
)
DEFINITIONS: dict[str, dict[str, Any]] = SCHEMA["$defs"]
AT = datetime(2026, 4, 17, 10, 16, tzinfo=UTC)
TARGET = {"batchId": "Contoso 2024", "deviceId": "1"}
FOUND = {"serialNumber": "PF3XK9A1", "allowedOperations": ["DELETE"], "hardwareHash": "T0" * 2000}
OBJECT = {"ids": {"managedDeviceId": "1"}, "attributes": {"managementState": "managed"}}


def validator(schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "$defs": DEFINITIONS})


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_kind_has_its_payload() -> None:
    assert SCHEMA["properties"]["kind"]["enum"] == [kind.value for kind in Kind]
    chosen = {
        rule["if"]["properties"]["kind"]["const"]: rule["then"]["properties"]["payload"]["$ref"]
        for rule in SCHEMA["allOf"]
        if "const" in rule["if"]["properties"]["kind"]
    }
    assert chosen == {kind.value: f"#/$defs/{kind.value}" for kind in Kind}


def test_enumerations_are_those_of_the_program() -> None:
    assert SCHEMA["allOf"][0]["if"]["properties"]["kind"]["enum"] == [
        kind.value for kind in RUN_STATES
    ]
    assert DEFINITIONS["outcome"]["enum"] == [outcome.value for outcome in Outcome]
    assert DEFINITIONS["channel"]["enum"] == [channel.value for channel in ChannelName]
    reasons = DEFINITIONS["created"]["properties"]["reason"]["enum"]
    assert reasons == [reason.value for reason in Reason]


def _properties(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        for name, described in schema.get("properties", {}).items():
            if isinstance(described, dict) and "if" not in schema:
                yield name, described
        for name, part in schema.items():
            if name not in {"allOf", "examples"}:
                yield from _properties(part)


def test_every_property_and_definition_is_described_by_a_valid_example() -> None:
    described = [*_properties(SCHEMA), *DEFINITIONS.items()]
    assert len(described) > 60
    for name, schema in described:
        assert {"title", "description", "examples"} <= schema.keys(), name
        for example in schema["examples"]:
            validator(schema).validate(example)


def _story() -> Iterator[tuple[Kind, int | None, dict[str, Any]]]:
    yield Kind.QUEUED, None, {"rule": "throttled", "detail": "later"}
    yield (
        Kind.RESOLVED,
        0,
        {
            "outcome": "pending",
            "customer": "c",
            "target": TARGET,
            "found": FOUND,
        },
    )
    yield (
        Kind.RESOLVED,
        1,
        {
            "outcome": "ambiguous",
            "customer": "c",
            "rule": "two-registrations",
            "detail": "two",
            "remedy": "say which",
            "candidates": [TARGET, TARGET],
        },
    )
    yield Kind.RESOLVED, 2, {"outcome": "pending", "customer": None}
    yield Kind.CONFIRMED, None, {"removals": 2, "asked": False}
    yield Kind.STARTED, None, {}
    for device in (0, 2):
        yield Kind.INTENDED, device, {"requestId": "r", "correlationId": "c"}
    yield Kind.WITHDRAWN, 0, {"detail": "the host could not be reached"}
    yield Kind.INTENDED, 0, {"requestId": "r", "correlationId": "c"}
    yield Kind.DEFERRED, 0, {"detail": "later", "status": 429, "code": "429"}
    yield Kind.INTENDED, 0, {"requestId": "r", "correlationId": "c"}
    yield Kind.DOUBTED, 0, {"answered": False, "detail": "no answer"}
    yield Kind.INTERRUPTED, None, {}
    yield Kind.RECALLED, 0, {"present": False, "detail": "gone", "remedy": "nothing"}
    yield Kind.PARKED, 2, {"approval": "a", "detail": "waits", "remedy": "approve", "status": 400}
    yield (
        Kind.INTENDED,
        2,
        {"requestId": "r", "correlationId": "c", "step": "delete-from-intune", "record": "m"},
    )
    yield Kind.PASSED, 2, {"step": "delete-from-intune", "status": 204, "requestId": "r"}
    yield Kind.SYNCED, None, {"customer": "c", "requestId": "r"}
    handed = {"customer": "c", "digest": "sha256:00", "generatedAt": "2026-11-29T14:05:31Z"}
    yield Kind.HANDED_OVER, None, handed
    yield Kind.INTENDED, 2, {"requestId": "r", "correlationId": "c"}
    yield Kind.ACCEPTED, 2, {"handle": "job-17"}
    yield Kind.ANSWERED, 2, {"outcome": "removed", "status": "Success", "requestId": "r"}
    yield (
        Kind.OBSERVED,
        0,
        {"plane": "autopilot", "status": "clear", "source": "channel", "ids": {}},
    )
    yield Kind.OBSERVED, 2, {"plane": "intune", "status": "outstanding", "found": [OBJECT, OBJECT]}
    yield Kind.OBSERVED, 2, {"plane": "entra", "status": "not-verified", "error": "403"}
    yield Kind.STOPPED, None, {"rule": "throttled", "detail": "later", "remedy": "resume"}
    yield Kind.RESTORING, 2, {"requestId": "r", "batchId": "Contoso 2024"}
    yield Kind.RESTORED, 2, {"done": False, "detail": "the job failed"}
    yield Kind.REFUSED, None, {"rule": "too-many", "detail": "600", "remedy": "fewer"}
    yield Kind.FINISHED, None, {}
    yield Kind.DISMISSED, None, {"reason": "recycled", "by": "kim"}
    yield Kind.ASSESSED, None, {}
    yield Kind.CANCELLED, None, {}


@pytest.fixture
def told(ledger: Ledger, start: RunStart, batch: tuple[Device, ...]) -> Ledger:
    """A ledger that holds an event of every kind."""
    ledger.create_run(start, batch)
    plan_digest = digest({})
    planned = Event(run=start.run, kind=Kind.PLANNED, at=AT, payload={"digest": plan_digest})
    ledger.save_plan(start.run, json.dumps({"digest": plan_digest}), plan_digest, [planned])
    for kind, device, payload in _story():
        ledger.record([Event(run=start.run, kind=kind, at=AT, device=device, payload=payload)])
    return ledger


def test_what_is_exported_keeps_the_schema(told: Ledger) -> None:
    whole = validator(SCHEMA)
    rows = [json.loads(json.dumps(row)) for row in told.export()]
    assert {row["kind"] for row in rows} == {kind.value for kind in Kind}
    for row in rows:
        assert [error.message for error in whole.iter_errors(row)] == []


def test_what_is_exported_after_a_purge_keeps_the_schema(told: Ledger) -> None:
    assert told.purge(datetime(2027, 1, 1, tzinfo=UTC), AT) == 1
    whole = validator(SCHEMA)
    for row in told.export():
        assert [error.message for error in whole.iter_errors(row)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "removed"},
        {"device": 0},
        {"at": "2026-04-17T10:15:30Z"},
        {"hash": "9f86"},
        {"payload": {"channel": "partner-center"}},
        {"note": "more"},
        {"n": 0},
        {"kind": "intended", "device": 0},
        {"kind": "intended", "device": None, "payload": {"requestId": "r"}},
        {"kind": "answered", "device": 0, "payload": {"outcome": "gone"}},
        {"kind": "answered", "device": 0, "payload": {"outcome": "removed", "hardwareHash": "T0"}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_event(told: Ledger, wrong: dict[str, Any]) -> None:
    created = dict(next(iter(told.export())))
    assert validator(SCHEMA).is_valid(created)
    assert not validator(SCHEMA).is_valid({**created, **wrong})
