"""What each result means, as a table over values: no result is taken for more than it says."""

from __future__ import annotations

import pytest

from partner_tools.channels.oem_direct import AnswerReader, OemDirectChannel, code_table
from partner_tools.clients.oem.client import OemDirect, OemReply, OemResult
from partner_tools.clients.oem.profile import Profile
from partner_tools.clients.transport import Reply, Request, Transport
from partner_tools.engine.channel import Acceptance, Answer, Deferral, Doubt, Removal, Verdict
from partner_tools.errors import Rejected, Throttled, Unsent
from partner_tools.model import Identity, Outcome
from tests.clients.oem_profiles import plain_profile

PROFILE = plain_profile(tables="[oem.codes]\nOemLater = 'retry'\nOemShrug = 'unknown'")


def removal(index: int = 0, *, doubted: bool = False, silent: bool = False) -> Removal:
    return Removal(
        index=index,
        identity=Identity(product_key_id=f"330567000000{index}"),
        customer=None,
        target=None,
        request_id="r",
        correlation_id="c",
        doubted=doubted,
        silent=silent,
    )


def verdict(
    result: OemResult | None,
    *,
    handle: str | None = None,
    doubted: bool = False,
    silent: bool = False,
) -> Verdict:
    reader = AnswerReader(profile=PROFILE, codes=code_table(PROFILE.codes))
    said = OemReply(
        status=200, request_id="r", correlation_id="c", results={"1": result}, handle=handle
    )
    return reader.verdicts(said, [removal(doubted=doubted, silent=silent)])[0]


@pytest.mark.parametrize(
    ("result", "kind", "said"),
    [
        (None, Doubt, "no result"),
        (OemResult(), Doubt, "without a status"),
        (OemResult(code="807"), Doubt, "without a status"),
        (OemResult(message="ZtdDeviceIsNotRegistered"), Doubt, "without a status"),
        (OemResult(status="success"), Answer, None),
        (OemResult(status="0", code="0"), Answer, None),
        (OemResult(status="Success", code="200", message="OK"), Answer, None),
        (OemResult(status="Success", code="811"), Doubt, "contradicts"),
        (OemResult(status="Success", message="ZtdDeviceNotFound"), Doubt, "contradicts"),
        (OemResult(status="InProgress"), Doubt, "accepted is not done"),
        (OemResult(status="Wobbly"), Doubt, "none of the profile"),
        (OemResult(status="OemShrug"), Doubt, "OemShrug"),
        (OemResult(status="Failed", message="OemLater"), Deferral, "OemLater"),
        (OemResult(status="Failed", code="640"), Deferral, "640 StorageError"),
        (OemResult(status="Wobbly", message="because"), Answer, "because"),
        (OemResult(status="Failed"), Answer, "Failed"),
        (OemResult(status="ZtdDeviceRegisteredByOtherTenant"), Answer, "another party"),
    ],
)
def test_a_result_means_no_more_than_it_says(
    result: OemResult | None, kind: type[Verdict], said: str | None
) -> None:
    """Success only by a status of the list; silence and contradiction are doubts."""
    found = verdict(result)
    assert isinstance(found, kind)
    if said is None:
        assert isinstance(found, Answer)
        assert (found.outcome, found.request_id) == (Outcome.REMOVED, "r")
    elif not isinstance(found, Acceptance):
        assert said in (found.detail or "")
    if isinstance(found, Doubt):
        assert found.answered
        assert found.remedy


def test_pending_where_more_may_be_said_is_accepted() -> None:
    """By the handle that the question was asked with."""
    assert verdict(OemResult(status="Queued"), handle="h") == Acceptance(handle="h")


def test_only_801_bars_the_run() -> None:
    """And a device that may be gone by an earlier request says so."""
    stop = verdict(OemResult(status="Failed", code="801"))
    assert isinstance(stop, Answer)
    assert (stop.outcome, stop.bars_run) == (Outcome.REFUSED, True)
    for number in ("802", "803", "806", "807", "808", "811", "812", "813", "814"):
        found = verdict(OemResult(status="Failed", code=number), silent=True)
        assert isinstance(found, Answer)
        assert not found.bars_run
        assert ("earlier request of ours" in (found.detail or "")) == (number == "807")


@pytest.mark.parametrize(
    ("doubted", "silent"), [(True, False), (False, True), (True, True), (False, False)]
)
def test_absent_after_an_unanswered_request_says_so(doubted: bool, silent: bool) -> None:
    """Also where the work was accepted since, and its outcome is polled for."""
    found = verdict(OemResult(status="Failed", code="807"), doubted=doubted, silent=silent)
    assert isinstance(found, Answer)
    assert ("earlier request of ours" in (found.detail or "")) == silent
    assert (found.outcome is Outcome.ABSENT) == silent


@pytest.mark.parametrize(
    ("code", "kind"), [("640", Deferral), ("801", Answer), ("999", Answer), (None, Answer)]
)
def test_a_whole_call_that_is_refused(code: str | None, kind: type[Verdict]) -> None:
    """It bars the run, unless the service only wants to be asked later."""
    reader = AnswerReader(profile=PROFILE, codes=code_table(()))
    found = reader.whole(Rejected("no", status=400, code=code, description="they said so"))
    assert isinstance(found, kind)
    if isinstance(found, Answer):
        assert (found.outcome, found.bars_run) == (Outcome.REFUSED, True)
        assert "they said so" in (found.detail or "")


class Scripted(Transport):
    """A transport that gives prepared answers and keeps the paths that were asked."""

    def __init__(self, *replies: Reply) -> None:
        self.base_url = "http://127.0.0.1:81"
        self.replies = list(replies)
        self.paths: list[str] = []

    def send(self, request: Request) -> Reply:
        self.paths.append(request.url)
        return self.replies.pop(0)


def channel(transport: Transport, tables: str) -> OemDirectChannel:
    profile: Profile = plain_profile(tables=tables)
    return OemDirectChannel(OemDirect(transport, profile), profile)


PREFLIGHT = "[oem.preflight]\nenabled = true\npath = '/validate'"
FAILED = b'{"Results":[{"LineItemNumber":"1","Status":"Failed","ErrorCode":"803"}]}'
SENT = b'{"Results":[{"LineItemNumber":"2","Status":"Success"}]}'


def test_the_preflight_keeps_back_whom_it_refuses() -> None:
    """The others go, and need no word of it."""
    transport = Scripted(Reply(status=200, body=FAILED), Reply(status=200, body=SENT))
    found = channel(transport, PREFLIGHT).remove([removal(0), removal(1)])
    assert transport.paths == ["/validate", "/AutopilotDeviceRegistration"]
    first, second = found[0], found[1]
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.outcome, second.outcome) == (Outcome.REFUSED, Outcome.REMOVED)
    assert "pre-flight" in (first.detail or "")


def test_a_preflight_that_refuses_everybody_ends_there() -> None:
    """Nothing else leaves."""
    transport = Scripted(Reply(status=200, body=FAILED))
    assert list(channel(transport, PREFLIGHT).remove([removal(0)])) == [0]
    whole = Scripted(Reply(status=400))
    (found,) = channel(whole, PREFLIGHT).remove([removal(0)]).values()
    assert isinstance(found, Answer)
    assert found.bars_run
    assert transport.paths == whole.paths == ["/validate"]


def test_a_preflight_that_is_throttled_waits_like_any_call() -> None:
    """429 pauses, everything else that fails has not sent the removal."""
    with pytest.raises(Throttled):
        channel(Scripted(Reply(status=429)), PREFLIGHT).remove([removal(0)])
    with pytest.raises(Unsent):
        channel(Scripted(Reply(status=500)), PREFLIGHT).remove([removal(0)])


def test_devices_in_doubt_skip_the_preflight() -> None:
    """They may be gone already: only the removal can say so."""
    transport = Scripted(Reply(status=200, body=SENT))
    channel(transport, PREFLIGHT).remove([removal(1, doubted=True)])
    assert transport.paths == ["/AutopilotDeviceRegistration"]


def test_there_is_nothing_to_look_at() -> None:
    """The channel has no listing, says so, and refuses to pretend."""
    blind = channel(Scripted(), "")
    assert (blind.observable, blind.repeats, blind.call_size) == (False, False, 1000)
    assert blind.changes([], {}) == {}
    for look in (blind.recall, blind.sightings):
        with pytest.raises(ValueError, match="no listing"):
            look([removal()])
