"""How devices are looked for in a tenant: tables of questions and rows, and what never happens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.outstanding.evidence import ALL_ZERO
from partner_tools.outstanding.search import (
    ALLOWED,
    BATCH,
    By,
    Collection,
    Question,
    SearchAnswer,
    SearchTarget,
    answers_from_list,
    approach,
    conclude,
    is_stray,
    questions,
    real_id,
    search_target,
)
from partner_tools.outstanding.types import EvidenceSource, Found, Plane, Probe, ProbeResult

AT = datetime(2026, 11, 23, tzinfo=UTC)
AUTOPILOT, INTUNE, ENTRA = Collection.AUTOPILOT, Collection.INTUNE, Collection.ENTRA


def row(serial: str | None = None, **ids: str) -> Found:
    return Found(ids=ids, attributes={} if serial is None else {"serialNumber": serial})


def asked(collection: Collection, device: SearchTarget) -> set[tuple[str, str]]:
    return {(each.by.value, each.value) for each in questions(collection, device)}


LINKED = SearchTarget(
    index=0,
    serial="A1",
    autopilot_ids=frozenset({"ap"}),
    association_ids=frozenset({"as"}),
    managed_ids=frozenset({"md"}),
    device_ids=frozenset({"d1", "d2"}),
)


@pytest.mark.parametrize(
    ("collection", "device", "expected"),
    [
        (AUTOPILOT, LINKED, {("id", "ap"), ("serialNumber", "A1")}),
        (INTUNE, LINKED, {("id", "md"), ("serialNumber", "A1")}),
        (Collection.ASSOCIATIONS, LINKED, {("id", "as"), ("serialNumber", "A1")}),
        (ENTRA, LINKED, {("deviceId", "d1"), ("deviceId", "d2"), ("ztdId", "ap")}),
        (Collection.LOCAL_PASSWORDS, LINKED, {("id", "d1"), ("id", "d2")}),
        (Collection.IMPORT_RECORDS, LINKED, {("serialNumber", "A1")}),
        (Collection.CORPORATE_IDENTIFIERS, LINKED, {("serialNumber", "A1")}),
        (
            INTUNE,
            SearchTarget(index=0, serial="A 1"),
            {("serialNumber", "A 1"), ("serialNumber", "A1")},
        ),
        (AUTOPILOT, SearchTarget(index=0), set()),
        (INTUNE, SearchTarget(index=0), set()),
        (ENTRA, SearchTarget(index=0, serial="A1"), set()),
    ],
)
def test_what_is_asked(
    collection: Collection, device: SearchTarget, expected: set[tuple[str, str]]
) -> None:
    assert expected == asked(collection, device)


@pytest.mark.parametrize("absent", ["", "  ", None, ALL_ZERO, 7])
def test_absent_ids_link_nothing(absent: object) -> None:
    assert real_id(absent) is None


def test_earlier_evidence_of_graph_brings_its_ids_and_that_of_a_channel_none() -> None:
    ids = {"id": "AP", "azureActiveDirectoryDeviceId": "DEV", "managedDeviceId": ALL_ZERO}

    def probe(source: EvidenceSource) -> Probe:
        return Probe(
            plane=Plane.AUTOPILOT,
            result=ProbeResult.FOUND,
            observed_at=AT,
            source=source,
            found=(Found(ids=ids),),
        )

    seen = search_target(3, " A1 ", [probe(EvidenceSource.GRAPH)])
    assert seen == SearchTarget(
        index=3, serial="A1", autopilot_ids=frozenset({"ap"}), device_ids=frozenset({"dev"})
    )
    assert search_target(3, "A1", [probe(EvidenceSource.CHANNEL)]) == SearchTarget(
        index=3, serial="A1"
    )


@pytest.mark.parametrize(
    ("collection", "devices", "serial", "pages"),
    [
        (AUTOPILOT, 1, "S{}", 0),
        (AUTOPILOT, 20, "S{}", 0),
        (AUTOPILOT, 100, "S{}", 1),
        (AUTOPILOT, 10_000, "S{}", 100),
        (AUTOPILOT, 1, "S-{}", None),
        (AUTOPILOT, 1, "S {}", None),
        (AUTOPILOT, 1, "S'{}", None),
        (INTUNE, 1, "S-{}", 0),
        (INTUNE, 1, "S\n{}", None),
        (Collection.IMPORT_RECORDS, 1, "S{}", 0),
        (Collection.CORPORATE_IDENTIFIERS, 1, "S{}", None),
    ],
)
def test_listing_or_asking(
    collection: Collection, devices: int, serial: str, pages: int | None
) -> None:
    sought_ = [SearchTarget(index=n, serial=serial.format(n)) for n in range(devices)]
    assert pages == approach(collection, sought_).pages


@pytest.mark.slow
@given(devices=st.integers(1, 400), ids=st.booleans())
def test_reading_in_vain_and_then_asking_stays_within_what_is_allowed(
    devices: int, ids: bool
) -> None:
    known = frozenset({"x"}) if ids else frozenset()
    way = approach(
        AUTOPILOT,
        [
            SearchTarget(
                index=n, serial=f"S{n}", autopilot_ids=frozenset(f"{one}{n}" for one in known)
            )
            for n in range(devices)
        ],
    )
    allowed = ALLOWED * -(-devices // BATCH)
    asking = -(-len(way.questions) // BATCH)
    assert way.pages is not None
    assert way.pages <= allowed
    assert asking > allowed or way.pages + asking <= allowed


@pytest.mark.parametrize(
    ("question", "found", "stray"),
    [
        (Question(collection=AUTOPILOT, by=By.SERIAL, value="A1"), row("A1", id="x"), False),
        (Question(collection=AUTOPILOT, by=By.SERIAL, value="A1"), row("XA12", id="x"), False),
        (Question(collection=AUTOPILOT, by=By.SERIAL, value="A1"), row("B", id="x"), True),
        (Question(collection=INTUNE, by=By.SERIAL, value="A1"), row("XA12", id="x"), True),
        (Question(collection=INTUNE, by=By.SERIAL, value="A1"), row("a1", id="x"), False),
        (Question(collection=INTUNE, by=By.ID, value="x"), row(id="X"), False),
        (Question(collection=INTUNE, by=By.ID, value="x"), row(id="y"), True),
    ],
)
def test_a_row_that_was_not_asked_for_shows_a_filter_that_was_not_understood(
    question: Question, found: Found, stray: bool
) -> None:
    assert stray is is_stray(question, found)


def test_a_part_of_a_serial_is_another_device() -> None:
    device = SearchTarget(index=0, serial="A1")
    (question,) = questions(AUTOPILOT, device)
    answers = {question: SearchAnswer(rows=(row("XA12", id="x"), row("A11", id="y")))}
    probe = conclude(AUTOPILOT, device, answers, AT)
    assert probe is not None
    assert probe.result is ProbeResult.ABSENT


@pytest.mark.parametrize("collection", [AUTOPILOT, INTUNE, Collection.ASSOCIATIONS])
@pytest.mark.parametrize("near", ["a1", "A 1", " A1\u200b", "\uff211", "A\u00a01"])
@pytest.mark.parametrize("listed", [True, False])
def test_a_serial_number_that_differs_only_in_form_keeps_a_device_from_being_absent(
    collection: Collection, near: str, listed: bool
) -> None:
    device, other = SearchTarget(index=0, serial="A1"), row(near, id="x")
    (question,) = questions(collection, device)
    answers = (
        answers_from_list([question], [other], "r")
        if listed
        else {question: SearchAnswer(rows=(other,))}
    )
    probe = conclude(collection, device, answers, AT)
    assert probe is not None
    assert (probe.result, probe.found) == (ProbeResult.FAILED, ())
    assert "differs only" in str(probe.error)


@pytest.mark.parametrize("listed", [True, False])
def test_an_association_without_a_serial_number_blinds_the_look_for_all_but_its_own_finds(
    listed: bool,
) -> None:
    collection = Collection.ASSOCIATIONS
    rows = (row(None, id="x"), row("A1", id="y"))
    for serial, result in (("A1", ProbeResult.FOUND), ("B2", ProbeResult.FAILED)):
        device = SearchTarget(index=0, serial=serial)
        (question,) = questions(collection, device)
        answers = (
            answers_from_list([question], rows, "r")
            if listed
            else {question: SearchAnswer(rows=rows)}
        )
        probe = conclude(collection, device, answers, AT)
        assert probe is not None
        assert probe.result is result


def test_a_device_without_a_serial_number_is_never_clear_of_an_association() -> None:
    device = SearchTarget(index=0, association_ids=frozenset({"x"}))
    answers = {each: SearchAnswer() for each in questions(Collection.ASSOCIATIONS, device)}
    probe = conclude(Collection.ASSOCIATIONS, device, answers, AT)
    assert probe is not None
    assert probe.result is ProbeResult.FAILED


def test_two_questions_that_find_one_record_find_it_once() -> None:
    record = row("A1", id="AP")
    device = SearchTarget(index=0, serial="A1", autopilot_ids=frozenset({"ap"}))
    answers = answers_from_list(questions(AUTOPILOT, device), [record, row("B", id="b")], "r")
    probe = conclude(AUTOPILOT, device, answers, AT)
    assert probe is not None
    assert (probe.result, probe.found, probe.request_id) == (ProbeResult.FOUND, (record,), "r")


def test_the_directory_is_not_clear_for_want_of_a_device_id() -> None:
    device = SearchTarget(index=0, serial="A1", autopilot_ids=frozenset({"ap"}))
    answers = answers_from_list(questions(ENTRA, device), [], "r")
    probe = conclude(ENTRA, device, answers, AT)
    assert probe is not None
    assert probe.result is ProbeResult.FAILED
    assert conclude(ENTRA, SearchTarget(index=0, serial="A1"), {}, AT) is None


SOUGHT = st.builds(
    SearchTarget,
    index=st.just(0),
    serial=st.sampled_from([None, "A1", "A-1", "A 1"]),
    autopilot_ids=st.frozensets(st.sampled_from(["ap1", "ap2"])),
    managed_ids=st.frozensets(st.sampled_from(["md1", "md2"])),
    device_ids=st.frozensets(st.sampled_from(["d1", "d2"])),
)


@given(device=SOUGHT, collection=st.sampled_from(list(Collection)), data=st.data())
def test_one_question_without_an_answer_is_never_clear(
    device: SearchTarget, collection: Collection, data: st.DataObject
) -> None:
    wanted = questions(collection, device)
    answer = st.sampled_from([SearchAnswer(), SearchAnswer(error="503"), None])
    told = {one: data.draw(answer) for one in wanted}
    given_ = {one: each for one, each in told.items() if each is not None}
    probe = conclude(collection, device, given_, AT)
    if any(each is None or each.error for each in told.values()):
        assert probe is not None
        assert probe.result is ProbeResult.FAILED
    assert all(one.value for one in wanted)
