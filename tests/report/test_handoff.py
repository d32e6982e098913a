"""The handoff document: by its schema, complete, and never surer than the evidence."""

from __future__ import annotations

import gc
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from partner_tools.model import Customer, Device, Identity, Outcome, Reason, TenantId
from partner_tools.outstanding.types import EvidenceSource, JoinType, Owner, Plane, Status, StepId
from partner_tools.report.guide import GUIDE
from partner_tools.report.handoff import HandoffDevice
from partner_tools.report.page import Handoff, packed
from tests.report import fleet

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "handoff.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)

FLEETS: dict[str, Sequence[HandoffDevice]] = {
    "mixed": fleet.mixed(),
    "unseen": fleet.unseen(),
    "hostile": fleet.hostile(),
    "empty": [],
    "large": list(fleet.large(60)),
}


def device(document: dict[str, Any], row: int) -> dict[str, Any]:
    """The device of a row."""
    [found] = [one for one in document["devices"] if one["row"] == row]
    return dict(found)


def todo(document: dict[str, Any], row: int) -> list[str]:
    """What is left to do for the device of a row: ids, with a mark where it is not outstanding."""
    marks = {"outstanding": "", "not-verified": "?", "expected": "~"}
    return [f"{step['id']}{marks[step['status']]}" for step in device(document, row)["steps"]]


@pytest.mark.parametrize("name", FLEETS)
def test_a_handoff_follows_its_schema(name: str) -> None:
    document = fleet.handoff(FLEETS[name])
    assert [] == [error.message for error in VALIDATOR.iter_errors(document)]
    assert document == json.loads(json.dumps(document))


def test_the_schema_is_strict_and_explains_itself() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    def objects(part: Any) -> Any:
        if isinstance(part, dict):
            if part.get("type") == "object":
                yield part
            for value in part.values():
                yield from objects(value)
        if isinstance(part, list):
            for value in part:
                yield from objects(value)

    for one in objects(SCHEMA):
        assert one["title"]
        assert one["description"]
        assert one.get("additionalProperties") is not None, one["title"]


@pytest.mark.parametrize(
    ("where", "values"),
    [
        ("step-id", StepId),
        ("plane-id", Plane),
        ("owner", Owner),
        ("status", Status),
    ],
)
def test_the_schema_enumerates_what_the_program_knows(where: str, values: Any) -> None:
    assert [one.value for one in values] == SCHEMA["$defs"][where]["enum"]


def test_every_count_by_status_knows_every_status() -> None:
    planes = SCHEMA["properties"]["summary"]["properties"]["planes"]["properties"]
    assert set(planes) == {one.value for one in Plane}
    for counts in planes.values():
        assert set(counts["properties"]) == {one.value for one in Status}, counts["title"]


def test_the_schema_knows_every_outcome_join_type_reason_and_source() -> None:
    properties = SCHEMA["$defs"]["device"]["properties"]
    assert [one.value for one in Outcome] == properties["outcome"]["enum"]
    assert [one.value for one in JoinType] == properties["joinType"]["enum"]
    assert [one.value for one in EvidenceSource] == SCHEMA["$defs"]["plane"]["properties"][
        "source"
    ]["enum"]
    reasons = SCHEMA["properties"]["run"]["properties"]["reason"]["enum"]
    assert [one.value for one in Reason] == reasons


@pytest.mark.parametrize(
    ("row", "what", "steps"),
    [
        (
            2,
            "joined, still managed",
            ["back-up-keys", "delete-from-intune", "verify-entra-removal~"],
        ),
        (
            3,
            "hybrid",
            [
                "back-up-keys",
                "delete-from-intune",
                "delete-computer-object",
                "verify-entra-removal~",
            ],
        ),
        (4, "never enrolled", ["verify-entra-removal~"]),
        (5, "registered", ["disconnect-work-account", "verify-entra-removal~"]),
        (
            6,
            "co-managed",
            [
                "back-up-keys",
                "delete-from-intune",
                "delete-from-configuration-manager",
                "verify-entra-removal~",
            ],
        ),
        (7, "retire pending", ["wait-for-check-in~", "verify-entra-removal~"]),
        (
            8,
            "DFCI",
            ["unlock-firmware", "back-up-keys", "delete-from-intune", "verify-entra-removal~"],
        ),
        (9, "duplicate serial", ["resolve-ambiguity", "delete-from-intune"]),
        (10, "clean", []),
        (
            11,
            "Intune answers 403",
            ["back-up-keys", "delete-from-intune?", "verify-entra-removal~"],
        ),
        (
            12,
            "the customer's own registration",
            [
                "back-up-keys",
                "delete-from-intune",
                "unassign-user",
                "deregister-from-autopilot",
                "verify-entra-removal~",
            ],
        ),
        (13, "another organisation's", ["open-support-case"]),
        (
            14,
            "unanswered",
            [
                "settle-removal?",
                "back-up-keys?",
                "delete-from-intune?",
                "delete-association-record?",
                "delete-computer-object?",
                "verify-entra-removal?",
            ],
        ),
        (15, "lingering in the directory", ["back-up-keys", "decide-on-entra-object"]),
        (
            16,
            "refused, hardware changed",
            [
                "back-up-keys",
                "retry-intune-action",
                "deregister-from-autopilot",
                "verify-entra-removal~",
                "register-again",
            ],
        ),
        (17, "listed twice", []),
        (18, "on the hold list", []),
        (19, "pre-associated", ["delete-association-record"]),
        (20, "associated", ["remove-device-association", "delete-association-record"]),
        (21, "removal of the association pending", ["remove-device-association~"]),
        (22, "associations answer 404", ["delete-association-record?"]),
    ],
)
def test_the_mixed_fleet_gets_the_right_steps(row: int, what: str, steps: list[str]) -> None:
    assert steps == todo(fleet.handoff(FLEETS["mixed"]), row), what


def test_a_plane_that_answers_403_is_not_verified_and_shows_what_was_known() -> None:
    intune = device(fleet.handoff(FLEETS["mixed"]), 11)["planes"]["intune"]
    assert (intune["status"], intune["lastStatus"]) == ("not-verified", "clear")
    assert intune["error"].startswith("403")
    assert intune["requestId"]


def test_without_graph_every_customer_side_step_is_not_verified() -> None:
    document = fleet.handoff(FLEETS["unseen"])
    assert document["summary"]["evidence"]["graph"] == "none"
    statuses = {step["status"] for one in document["devices"] for step in one["steps"]}
    assert {"not-verified"} == statuses
    for one in document["devices"]:
        for plane in ("intune", "entra", "active-directory"):
            assert one["planes"][plane] == {"status": "not-verified"} or plane == "entra"


@pytest.mark.parametrize("name", FLEETS)
def test_steps_are_numbered_through_the_guide(name: str) -> None:
    document = fleet.handoff(FLEETS[name])
    numbers = {one["id"]: one["order"] for one in document["guide"]}
    assert list(range(1, len(numbers) + 1)) == list(numbers.values())
    for one in document["devices"]:
        orders = [step["order"] for step in one["steps"]]
        assert sorted(orders) == orders
        for step in one["steps"]:
            assert numbers[step["id"]] == step["order"]
            assert all(numbers[before] < step["order"] for before in step["after"])


@pytest.mark.parametrize("name", FLEETS)
def test_the_summary_counts_what_the_devices_say(name: str) -> None:
    document = fleet.handoff(FLEETS[name])
    devices, summary = document["devices"], document["summary"]
    steps = Counter(step["status"] for one in devices for step in one["steps"])
    assert len(devices) == summary["devices"]
    assert Counter(one["outcome"] for one in devices) == Counter(summary["outcomes"])
    assert steps == Counter({name: n for name, n in summary["steps"].items() if n})
    for plane, counts in summary["planes"].items():
        seen = Counter(one["planes"][plane]["status"] for one in devices if plane in one["planes"])
        assert seen == Counter(counts)
    for chapter in document["guide"]:
        listing = [one for one in devices if chapter["id"] in {s["id"] for s in one["steps"]}]
        assert len(listing) == chapter["devices"] == sum(chapter["statuses"].values())


GUID = re.compile("[0-9a-f]{8}-[0-9a-f-]{27}")


def test_a_command_names_only_ids_of_its_own_device() -> None:
    for name in ("mixed", "large"):
        for one in fleet.handoff(FLEETS[name])["devices"]:
            known = set(GUID.findall(json.dumps(one["planes"])))
            for step in one["steps"]:
                named = set(GUID.findall(step["command"] or ""))
                assert named <= known
                assert named or step["command"] is None or one["serialNumber"] in step["command"]


def test_an_ambiguous_device_gets_no_command() -> None:
    steps = device(fleet.handoff(FLEETS["mixed"]), 9)["steps"]
    assert [None, None] == [step["command"] for step in steps]


def test_hostile_ids_never_reach_a_command() -> None:
    for one in fleet.handoff(FLEETS["hostile"])["devices"]:
        for step in one["steps"]:
            command = step["command"] or ""
            assert command.isascii()
            assert command.isprintable()


def test_a_handoff_without_a_named_customer() -> None:
    document = fleet.handoff(FLEETS["unseen"], customer=None)
    assert {"tenantId": None, "domain": None, "name": None} == document["customer"]
    assert [] == list(VALIDATOR.iter_errors(document))


def test_an_unfinished_run_says_so() -> None:
    run = replace(fleet.RUN, finished_at=None, ledger_digest=None)
    document = fleet.handoff(FLEETS["unseen"], run=run)
    assert document["run"]["finishedAt"] is None
    assert [] == list(VALIDATOR.iter_errors(document))


def test_a_repaired_device_is_registered_again_and_keeps_its_new_identity() -> None:
    swapped = Device(
        row=2,
        identity=Identity(serial_number="OLD1"),
        replacement=Identity(serial_number="NEW1", hardware_hash="x" * 100),
        extra=(("Cost centre", "4711"),),
    )
    one = HandoffDevice(device=swapped, outcome=Outcome.REMOVED, removed_at=fleet.REMOVED)
    document = fleet.handoff([one], run=replace(fleet.RUN, reason=Reason.REPAIR))
    assert "register-again" in {chapter["id"] for chapter in document["guide"]}
    assert {"serialNumber": "NEW1", "productKeyId": None} == document["devices"][0]["replacement"]
    assert [{"name": "Cost centre", "value": "4711"}] == document["devices"][0]["extra"]
    assert "x" * 100 not in json.dumps(document)
    assert [] == list(VALIDATOR.iter_errors(document))


def test_the_guide_explains_every_step_with_a_dated_source() -> None:
    assert set(StepId) == set(GUIDE)
    for chapter in GUIDE.values():
        assert chapter.title
        assert chapter.about.endswith(".")
        assert chapter.source.url.startswith("https://")


def test_where_microsofts_pages_contradict_each_other_the_guide_names_both_dates() -> None:
    chapter = GUIDE[StepId.VERIFY_ENTRA_REMOVAL]
    assert chapter.otherwise is not None
    for source in (chapter.source, chapter.otherwise):
        assert str(source.date) in chapter.about
    told = {one["id"]: one for one in fleet.handoff(FLEETS["mixed"])["guide"]}
    assert told["verify-entra-removal"]["otherSource"] == str(chapter.otherwise)
    assert "2024-08-27" in GUIDE[StepId.BACK_UP_KEYS].about


def test_every_reader_is_told_of_what_no_service_shows() -> None:
    guide = {one["id"]: one for one in fleet.handoff(FLEETS["unseen"])["guide"]}
    for step in ("check-firmware-locks", "offboard-from-defender", "remove-from-autopatch"):
        assert guide[step]["devices"] == 0
    assert "BIOS password" in guide["check-firmware-locks"]["title"]
    record = guide["delete-association-record"]
    assert record["statuses"] == {"not-verified": record["devices"]}
    assert "undocumented beta" in record["about"]
    repair = replace(fleet.RUN, reason=Reason.REPAIR)
    assert guide["back-up-keys"]["order"] < guide["delete-from-intune"]["order"]
    comes_back = {one["id"] for one in fleet.handoff(FLEETS["unseen"], run=repair)["guide"]}
    assert "offboard-from-defender" not in comes_back


def test_what_clears_an_association_names_the_four_variables() -> None:
    about = GUIDE[StepId.REMOVE_DEVICE_ASSOCIATION].about
    names = ("DeviceLinkId", "DeviceLinkJwtCompressed", "DeviceLinkJwtLastWrite")
    for name in (*names, "DeviceLinkCreationTimeUtc", "{B3DE75DA-819C-4FD5-9F01-C3D49E8CBBD7}"):
        assert name in about
    assert "physical access" not in about


@settings(max_examples=10)
@given(st.permutations(range(len(FLEETS["mixed"]))))
def test_devices_keep_the_order_of_the_batch(order: list[int]) -> None:
    devices = [FLEETS["mixed"][place] for place in order]
    rows = [one["row"] for one in fleet.handoff(devices)["devices"]]
    assert [one.device.row for one in devices] == rows


def test_a_customer_is_written_as_the_partner_knows_it() -> None:
    customer = Customer(tenant_id=TenantId("t-1"))
    document = fleet.handoff([], customer=customer)
    assert {"tenantId": "t-1", "domain": None, "name": None} == document["customer"]


@pytest.mark.slow
def test_the_garbage_collector_rests_while_a_document_is_made_and_packed() -> None:
    """It would walk the growing document again and again: time would not be linear any more."""
    devices, passes = list(fleet.large(3000)), []
    gc.collect()
    gc.callbacks.append(lambda phase, info: passes.append((phase, info["generation"])))
    try:
        document = fleet.handoff(devices)
        packed(Handoff(document))
        assert len(passes) < 20  # in between; some 200 without the pause
    finally:
        gc.callbacks.pop()
    assert gc.isenabled()
