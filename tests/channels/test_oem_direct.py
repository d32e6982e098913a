"""OEM Direct end to end: three modes, two media, mutual TLS, a real ledger, every interruption."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from partner_tools.cancellation import CancellationToken
from partner_tools.clients.transport import Request as Asked
from partner_tools.errors import (
    GuardError,
    Interrupted,
    Rejected,
    ServiceError,
    Unanswered,
    Unreadable,
    Unsent,
)
from partner_tools.events import State
from partner_tools.model import Device, Identity
from partner_tools.pacing import Policy
from partner_tools.sandbox import faults_from
from partner_tools.sandbox.faults import Faults, ItemFault, ItemKind
from partner_tools.sandbox.seed import SeedDevice
from partner_tools.sandbox.wire import Request
from tests.channels.depot import (
    MEDIA,
    MODES,
    RUN,
    Api,
    Certificates,
    Crashed,
    Depot,
    certify,
    connect,
    machines,
    rows,
    serve,
)
from tests.clients.oem_profiles import profile_of


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certify(tmp_path_factory.mktemp("tls"))


Open = Callable[..., tuple[Api, Depot]]


@pytest.fixture
def bench(tmp_path: Path, certificates: Certificates) -> Iterator[Open]:
    """Starts a service and a depot that is planned, ready to carry."""
    with ExitStack() as stack:

        def start(
            registered: tuple[SeedDevice, ...],
            *,
            mode: str = "sync",
            media: str = "json",
            limit: int = 1000,
            more: str = "",
            devices: tuple[Device, ...] | None = None,
            faults: Faults | None = None,
            folder: str = "run",
            **service: object,
        ) -> tuple[Api, Depot]:
            profile = profile_of(
                f"[oem]\nmedia_type = '{MEDIA[media]}'\nbatch_limit = {limit}\n"
                f"[oem.auth]\nclient_cert = 'depot.pem'\n{MODES[mode]}\n{more}"
            )
            api = stack.enter_context(
                serve(profile, certificates.server, registered, faults=faults, **service)  # type: ignore[arg-type]
            )
            (tmp_path / folder).mkdir()
            named = rows(registered) if devices is None else devices
            transport = stack.enter_context(connect(api, certificates))
            depot = Depot(tmp_path / folder, profile, transport, named)
            depot.plan()
            return api, depot

        yield start


def sizes(api: Api) -> list[int]:
    """How many devices each call carried, counted in its raw bytes."""
    return [
        request.body.count(b'"LineItemNumber"') or request.body.count(b"<LineItemNumber>")
        for request in api.calls
    ]


def assert_blank(request: Request) -> None:
    """No hash, and both tenant fields in every device, empty, in the bytes that arrived."""
    assert b"hash" not in request.body.lower()
    if request.body.startswith(b"<"):
        devices = list(ElementTree.fromstring(request.body).iter("Device"))  # noqa: S314
        named = [{child.tag: child.text or "" for child in device} for device in devices]
    else:
        named = json.loads(request.body)["Devices"]
    assert named
    for device in named:
        assert (device["TenantID"], device["TenantDomain"]) == ("", "")
        by_key, by_tuple = "ProductKeyID" in device, "SerialNumber" in device
        assert by_key != by_tuple


@pytest.mark.slow
@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize("mode", MODES)
def test_a_large_batch_goes_in_calls_of_a_thousand(bench: Open, mode: str, media: str) -> None:
    """2,300 devices: three calls, no hash, every tenant blank, each gone by its own result."""
    api, depot = bench(machines(2_300), mode=mode, media=media, work_seconds=0.01)
    depot.carry()
    assert depot.outcomes() == {"removed": 2_300}
    assert sizes(api) == [1_000, 1_000, 300]
    assert api.left == 0
    assert api.service.trips == ()
    for request in api.calls:
        assert_blank(request)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "media", "step"), [("sync", "xml", 4), ("ack_list", "json", 4), ("location", "xml", 6)]
)
def test_a_large_batch_that_dies_halfway_is_finished(
    bench: Open, mode: str, media: str, step: int
) -> None:
    """Whole calls are in doubt or under way: none is lost, none is sent a third time."""
    api, depot = bench(machines(2_300), mode=mode, media=media, work_seconds=0.01)
    depot.records, depot.crash_at = 0, (step, "before")
    with pytest.raises(Crashed):
        depot.carry()
    depot.crash_at = None
    depot.carry()
    done = depot.outcomes()
    assert done["removed"] + done.get("absent", 0) == 2_300
    assert (api.left, api.service.trips) == (0, ())
    assert max(sizes(api)) <= 1_000
    assert sum(sizes(api)) <= 2 * 2_300
    for request in api.calls:
        assert_blank(request)


def test_without_a_client_certificate_nothing_is_heard(
    bench: Open, certificates: Certificates
) -> None:
    """The bench demands mutual TLS, so that the tests above mean it."""
    api, _depot = bench(machines(1))
    with connect(api, certificates, known=False) as line, pytest.raises((Unsent, Unanswered)):
        line.send(Asked(method="GET", url="/tripwire"))
    assert api.received == []


OUTCOMES = [
    (
        ItemFault(serials=frozenset({"SN00001"}), number="807"),
        "unconfirmed",
        "misspelling is possible",
    ),
    (ItemFault(serials=frozenset({"SN00001"}), number="811"), "not-owned", "another party"),
    (ItemFault(serials=frozenset({"SN00001"}), number="812"), "refused", "case-sensitive"),
    (ItemFault(serials=frozenset({"SN00001"}), number="813"), "ambiguous", "more than one"),
    (ItemFault(serials=frozenset({"SN00001"}), number="802"), "refused", "hash"),
    (ItemFault(serials=frozenset({"SN00001"}), number="803"), "refused", "neither"),
    (
        ItemFault(serials=frozenset({"SN00001"}), number="806", name="ZtdDeviceNotFound"),
        "refused",
        "knows no device",
    ),
    (
        ItemFault(serials=frozenset({"SN00001"}), name="ZtdDeviceIsNotRegistered"),
        "unconfirmed",
        "no registration",
    ),
    (
        ItemFault(serials=frozenset({"SN00001"}), number="999", name="Whatever <b>\x07"),
        "refused",
        "999 Whatever <b>",
    ),
    (ItemFault(serials=frozenset({"SN00001"}), kind=ItemKind.MISSING), "unknown", "no result"),
    (
        ItemFault(serials=frozenset({"SN00001"}), kind=ItemKind.NO_STATUS),
        "unknown",
        "without a status",
    ),
    (
        ItemFault(serials=frozenset({"SN00001"}), kind=ItemKind.EMPTY_STATUS),
        "unknown",
        "without a status",
    ),
    (ItemFault(serials=frozenset({"SN00001"}), kind=ItemKind.TWICE), "unknown", "no result"),
]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("fault", "outcome", "detail"), OUTCOMES)
def test_what_a_result_means(
    bench: Open, mode: str, fault: ItemFault, outcome: str, detail: str
) -> None:
    """Each code by name before number, each silence a doubt, with detail and remedy."""
    media = "json" if "\x07" in fault.name else "xml"
    api, depot = bench(machines(3), mode=mode, media=media)
    api.faults.append(fault)
    depot.carry()
    assert depot.outcomes() == {"removed": 2, outcome: 1}
    with depot.ledger() as ledger:
        history = list(ledger.devices(RUN))[1].history
        posted = api.calls[0].headers
        assert history.correlation_id == posted["ms-correlationid"]
    assert detail in (history.detail or "")
    assert history.remedy


def test_801_stops_the_run_before_the_next_call(bench: Open) -> None:
    """Its devices are refused, the others keep their outcomes, and no further call leaves."""
    api, depot = bench(machines(9), limit=3)
    api.faults.append(ItemFault(serials=frozenset({"SN00004"}), number="801"))
    with pytest.raises(ServiceError) as caught:
        depot.carry()
    assert caught.value.exit_code == 5
    assert "wire profile" in caught.value.remedy
    assert sizes(api) == [3, 3]
    assert depot.outcomes() == {"removed": 5, "refused": 1, "pending": 3}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_call_refused_as_a_whole_stops_the_run(bench: Open, mode: str) -> None:
    """A 4xx without results: its devices are refused with what the service said, exit 5."""
    rule = {"match": {"operation": "deregister", "nth": [2]}, "fault": status(400, 801)}
    api, depot = bench(machines(9), mode=mode, limit=3, faults=faults_from({"rules": [rule]}))
    with pytest.raises(Rejected) as caught:
        depot.carry()
    assert "InvalidZtdRequestBody" in caught.value.message
    assert depot.outcomes() == {"removed": 3, "refused": 3, "pending": 3}
    assert sizes(api) == [3, 3]


def status(number: int, code: int | None = None, **more: object) -> dict[str, object]:
    fault: dict[str, object] = {"kind": "status", "status": number, **more}
    return fault if code is None else {**fault, "code": code}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [status(429, retryAfter=1), status(503), status(503, retryAfter=1)],
)
def test_what_proves_that_nothing_was_done_is_retried(
    bench: Open, fault: dict[str, object]
) -> None:
    """429, 503 and faults before a byte was sent: the same devices again, and all are removed."""
    rule = {"match": {"operation": "deregister", "nth": [1]}, "fault": fault}
    api, depot = bench(machines(3), faults=faults_from({"rules": [rule]}))
    depot.policy = Policy(base=0.01, budget=5.0)
    depot.carry()
    assert depot.outcomes() == {"removed": 3}
    assert sizes(api) == [3, 3]


def test_a_port_that_refuses_is_tried_again(bench: Open) -> None:
    """Nothing left this machine, so nothing is in doubt."""
    api, depot = bench(machines(3))
    depot.policy = Policy(base=0.05, budget=5.0)
    api.listener.refuse(0.2)
    depot.carry()
    assert depot.outcomes() == {"removed": 3}
    assert sizes(api) == [3]


@pytest.mark.slow
def test_640_is_asked_again_for_its_devices_alone(bench: Open) -> None:
    """The others are settled by then."""
    for mode in MODES:
        api, depot = bench(machines(4), mode=mode, folder=mode)
        api.faults.append(ItemFault(serials=frozenset({"SN00002"}), number="640", times=2))
        depot.carry()
        assert depot.outcomes() == {"removed": 4}
        assert sizes(api) == [4, 1, 1]


def test_an_endless_640_holds_up_no_other_device(bench: Open) -> None:
    """Its devices come last, all in one call, with a deadline of their own."""
    api, depot = bench(machines(6), limit=2)
    api.faults += [
        ItemFault(serials=frozenset({serial}), number="640") for serial in ("SN00001", "SN00004")
    ]
    depot.carry()
    assert depot.outcomes() == {"removed": 4, "pending": 2}
    assert sizes(api)[:4] == [2, 2, 2, 2]
    first, _, third, fourth = api.calls[:4]
    assert b"SN00001" in first.body
    assert b"SN00001" not in third.body
    assert all(serial in fourth.body for serial in (b"SN00001", b"SN00004"))
    api.faults.clear()
    depot.carry()
    assert depot.outcomes() == {"removed": 6}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [status(500), status(502, processed=True), {"kind": "lose-answer"}, {"kind": "reset-after"}],
)
def test_what_may_have_been_done_is_unknown_until_resume(
    bench: Open, fault: dict[str, object]
) -> None:
    """No second attempt in the same run; `resume` sends the same bytes, the same correlation id."""
    rule = {"match": {"operation": "deregister", "nth": [1]}, "fault": fault}
    api, depot = bench(machines(5), limit=3, faults=faults_from({"rules": [rule]}))
    depot.carry()
    assert depot.outcomes() == {"unknown": 3, "removed": 2}
    assert sizes(api) == [3, 2]
    depot.carry()
    first, _, again = api.calls
    assert first.body == again.body
    assert first.headers["ms-correlationid"] == again.headers["ms-correlationid"]
    silent = fault["kind"] != "status"
    assert silent == (first.headers["ms-requestid"] == again.headers["ms-requestid"])
    done = depot.outcomes()
    assert done["removed"] + done["absent"] == 5
    with depot.ledger() as ledger:
        histories = [each.history for each in ledger.devices(RUN)]
    for history in histories:
        if history.outcome.value == "absent":
            assert "earlier request of ours" in (history.detail or "")


def test_doubts_are_not_sent_again_while_something_else_is_retried(bench: Open) -> None:
    """A device without a result waits for `resume`, even where others of its run go on."""
    api, depot = bench(machines(4))
    api.faults.append(ItemFault(serials=frozenset({"SN00001"}), kind=ItemKind.MISSING, times=1))
    api.faults.append(ItemFault(serials=frozenset({"SN00002"}), number="640", times=9))
    depot.carry()
    assert depot.outcomes()["unknown"] == 1
    assert all(b"SN00001" not in each.body for each in api.calls[1:])
    api.faults.clear()
    depot.carry()
    assert depot.outcomes() == {"removed": 3, "absent": 1}


def test_three_failing_calls_in_a_row_end_the_run(bench: Open) -> None:
    """A service that fails for everybody is not asked for the rest."""
    rule = {"match": {"operation": "deregister"}, "fault": status(500)}
    api, depot = bench(machines(9), limit=1, faults=faults_from({"rules": [rule]}))
    with pytest.raises(ServiceError) as caught:
        depot.carry()
    assert caught.value.exit_code == 5
    assert len(api.calls) == 3
    assert depot.outcomes() == {"unknown": 3, "pending": 6}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_an_answer_of_something_else_ends_the_run(bench: Open, mode: str) -> None:
    """HTML with status 200 says nothing of any device, and the next call would fare the same."""
    rule = {"match": {"operation": "deregister"}, "fault": {"kind": "not-json"}}
    _api, depot = bench(machines(4), mode=mode, limit=2, faults=faults_from({"rules": [rule]}))
    with pytest.raises(Unreadable):
        depot.carry()
    assert depot.outcomes() == {"unknown": 2, "pending": 2}


@pytest.mark.parametrize("mode", ["ack_list", "location"])
def test_accepted_is_not_done(bench: Open, mode: str) -> None:
    """Work that is not finished at the deadline is unknown, and `resume` asks after it."""
    api, depot = bench(machines(4), mode=mode, work_seconds=3600.0, limit=2)
    depot.profile = replace(depot.profile, poll=replace(depot.profile.poll, deadline_s=0.05))
    depot.carry()
    assert depot.outcomes() == {"unknown": 4}
    with depot.ledger() as ledger:
        assert {each.history.state for each in ledger.devices(RUN)} == {State.ACCEPTED}
    posted = len(api.calls)
    api.service.clock = lambda: 1e12
    depot.carry()
    assert depot.outcomes() == {"removed": 4}
    assert len(api.calls) == posted
    correlations = {each.headers["ms-correlationid"] for each in api.received}
    assert len(correlations) == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ack_list", "location"])
def test_work_that_the_service_forgot_is_a_doubt(bench: Open, mode: str) -> None:
    """A handle that answers 404 settles nothing; `resume` sends the same blank body once more."""
    rule = {"match": {"operation": "detail"}, "fault": status(404)}
    api, depot = bench(machines(2), mode=mode, faults=faults_from({"rules": [rule]}))
    depot.carry()
    assert depot.outcomes() == {"unknown": 2}
    api.core.behave(Faults())
    depot.carry()
    assert depot.outcomes() == {"absent": 2}
    first, second = api.calls
    assert first.body == second.body


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("mode", MODES)
def test_a_process_that_dies_anywhere_loses_nothing(bench: Open, mode: str, moment: str) -> None:
    """Die at every durable step in turn; afterwards every device is gone, and none is unknown."""
    every = machines(5 * STEPS)
    api, depot = bench(every, mode=mode, limit=2, devices=())
    for step in range(1, STEPS):
        depot.devices = rows(every[5 * (step - 1) : 5 * step])
        depot.folder = depot.folder.parent / f"step{step}"
        depot.folder.mkdir()
        depot.plan()
        depot.records, depot.crash_at = 0, (step, moment)
        api.received.clear()
        try:
            depot.carry()
        except Crashed:
            depot.crash_at = None
            depot.carry()
        else:
            assert step > 6, "the run is too short to have been interrupted everywhere"
            return
        done = depot.outcomes()
        assert done["removed"] + done["absent"] == 5
        assert api.left == 5 * (STEPS - step)
        assert api.service.trips == ()
        assert max(Counter(ref for each in api.calls for ref in refs_in(each)).values()) <= 2
    pytest.fail("the run never came to its end")


STEPS = 16


def refs_in(request: Request) -> list[str]:
    return [each["LineItemNumber"] for each in json.loads(request.body)["Devices"]]


def test_an_interruption_leaves_nothing_half(bench: Open) -> None:
    """After the stop no call leaves; the answer in flight is recorded; `resume` does the rest."""
    api, depot = bench(machines(6), limit=2)
    stop = depot.stop
    serve_call = api.listener.serve

    def stopping(request: Request) -> object:
        stop.set()
        return serve_call(request)

    api.listener.serve = stopping  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        depot.carry()
    assert depot.outcomes() == {"removed": 2, "pending": 4}
    depot.stop = CancellationToken()
    api.listener.serve = serve_call
    depot.carry()
    assert depot.outcomes() == {"removed": 6}
    assert sizes(api) == [2, 2, 2]


def test_an_interruption_in_the_middle_of_a_poll(bench: Open) -> None:
    """The handle is durable: `resume` goes on asking and sends nothing again."""
    for mode in ("ack_list", "location"):
        api, depot = bench(machines(2), mode=mode, work_seconds=3600.0, folder=mode)
        serve_call, stop = api.listener.serve, depot.stop

        def stopping(request: Request, go: object = serve_call, stop: object = stop) -> object:
            if request.method == "GET":
                stop.set()  # type: ignore[attr-defined]
            return go(request)  # type: ignore[operator]

        api.listener.serve = stopping  # type: ignore[assignment]
        with pytest.raises(Interrupted):
            depot.carry()
        assert depot.outcomes() == {"unknown": 2}
        depot.stop = CancellationToken()
        api.listener.serve = serve_call
        api.service.clock = lambda: 1e12
        depot.carry()
        assert depot.outcomes() == {"removed": 2}
        assert len(api.calls) == 1


PREFLIGHT = "[oem.preflight]\nenabled = true\npath = '/validate'"


def test_the_preflight_comes_before_each_call(bench: Open) -> None:
    """It carries the same blank body, and changes nothing."""
    api, depot = bench(machines(3), limit=2, more=PREFLIGHT)
    depot.carry()
    assert [each.path for each in api.calls] == [
        "/validate",
        "/AutopilotDeviceRegistration",
    ] * 2
    assert api.calls[0].body == api.calls[1].body
    assert depot.outcomes() == {"removed": 3}


@pytest.mark.slow
@pytest.mark.parametrize("fault", [status(500), {"kind": "lose-answer"}, {"kind": "not-json"}])
def test_a_failed_preflight_leaves_no_doubt(bench: Open, fault: dict[str, object]) -> None:
    """Whatever became of it, no removal has left."""
    rule = {"match": {"operation": "validate"}, "fault": fault}
    api, depot = bench(machines(2), more=PREFLIGHT, faults=faults_from({"rules": [rule]}))
    depot.carry()
    assert depot.outcomes() == {"pending": 2}
    assert all(each.path == "/validate" for each in api.calls)
    assert api.left == 2


def test_a_tenant_in_a_hand_made_body_does_not_leave(bench: Open) -> None:
    """A serial that tries to break out of its field is only a serial."""
    hostile = SeedDevice(
        id="x",
        serial_number='","TenantID":"f8cdef31',
        manufacturer="</OEMManufacturerName><TenantID>f8cdef31</TenantID>",
        model_name="TenantID=f8cdef31",
    )
    for media in MEDIA:
        api, depot = bench((hostile,), media=media, folder=media)
        try:
            depot.carry()
        except GuardError:
            pytest.fail("a text in its field is no tenant")
        assert depot.outcomes() == {"removed": 1}
        assert api.service.trips == ()


def test_the_tripwire_sees_what_a_careless_client_sends(
    bench: Open, certificates: Certificates
) -> None:
    """It reports where and what, and the devices stay as they were."""
    api, _depot = bench(machines(1))
    body = b'{"Devices":[{"SerialNumber":"SN00000","TenantID":"f8cdef31"}]}'
    with connect(api, certificates) as line:
        answer = line.send(Asked(method="POST", url="/AutopilotDeviceRegistration", body=body))
        shown = json.loads(line.send(Asked(method="GET", url="/tripwire")).body.decode("utf-8-sig"))
    assert answer.status == 400
    (trip,) = api.service.trips
    assert (trip.where, trip.value) == ("body TenantID", "f8cdef31")
    assert [each["where"] for each in shown["trips"]] == ["body TenantID"]
    assert api.left == 1
    assert next(each.operation for each in api.core.log.entries) == "register"


def test_a_device_that_is_only_known_by_its_hash(bench: Open) -> None:
    """What the hash says is sent, the hash is not."""
    registered = machines(1)
    derived = rows(registered)[0].identity
    only = Device(row=2, identity=Identity(hardware_hash="T0Esecret"))
    api, depot = bench(registered, devices=())
    depot.devices = (only,)
    depot.derive = lambda _hash: derived
    depot.folder = depot.folder / "hash"
    depot.folder.mkdir()
    depot.plan()
    depot.carry()
    assert depot.outcomes() == {"removed": 1}
    assert all(b"T0E" not in each.body for each in api.calls)
