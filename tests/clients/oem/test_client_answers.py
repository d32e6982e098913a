"""What answers say of devices, in the shapes that services have, and what they do not say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_tools.clients.oem.client import (
    OemResult,
    find,
    match,
    read_document,
    read_items,
    shown,
)
from partner_tools.clients.oem.profile import Profile
from partner_tools.clients.oem.wire import Entry
from partner_tools.clients.transport import Reply
from partner_tools.errors import Unreadable
from partner_tools.model import Identity
from tests.clients.oem_profiles import plain_profile

XML = "media_type = 'application/xml'"
ONE = Entry(ref="1", identity=Identity(serial_number="S1", manufacturer="M", model="X"))
TWO = Entry(ref="2", identity=Identity(serial_number="S2", product_key_id="3305670000002"))
TWIN = Entry(ref="3", identity=Identity(serial_number="S1", manufacturer="M", model="Y"))


def read(profile: Profile, body: bytes, *entries: Entry) -> dict[str, OemResult | None] | None:
    items = read_items(profile, read_document(profile, Reply(status=200, body=body)))
    return None if items is None else dict(match(profile, items, entries))


def read_rows(*rows: dict[str, Any], entries: tuple[Entry, ...] = (ONE, TWO)) -> Any:
    return read(plain_profile(), json.dumps({"Results": rows}).encode(), *entries)


OK = OemResult(status="Success")


@pytest.mark.parametrize(
    ("row", "ref"),
    [
        ({"LineItemNumber": "1"}, "1"),
        ({"LineItemNumber": 1}, "1"),
        ({"lineItemNumber": "1"}, "1"),
        ({"ProductKeyID": "3305670000002"}, "2"),
        ({"ProductKeyID": 3305670000002}, "2"),
        ({"SerialNumber": " S1 "}, "1"),
        ({"SerialNumber": "S2"}, "2"),
        ({"LineItemNumber": "2", "SerialNumber": "S2"}, "2"),
        ({"LineItemNumber": None, "SerialNumber": "S1"}, "1"),
        ({"LineItemNumber": "1", "ProductKeyID": "9999999999999"}, "1"),
    ],
)
def test_a_result_is_tied_by_what_it_names(row: dict[str, Any], ref: str) -> None:
    """The first identifier that it has; what a device's row does not say contradicts nothing."""
    found = read_rows({**row, "Status": "Success"})
    assert found[ref] == OK
    assert [other for other in found if found[other] is not None] == [ref]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"LineItemNumber": "9"},
        {"LineItemNumber": "1", "SerialNumber": "S2"},
        {"LineItemNumber": "2", "ProductKeyID": "9999999999999"},
        {"SerialNumber": "s1"},
        {"SerialNumber": "S"},
        {"SerialNumber": ["S1"]},
        {"SerialNumber": True},
    ],
)
def test_a_result_that_is_nobodys_is_tied_to_nobody(row: dict[str, Any]) -> None:
    """Nothing named, nobody of that name, a contradiction, another letter case, no text."""
    assert read_rows({**row, "Status": "Success"}) == {"1": None, "2": None}


def test_a_serial_that_two_devices_share_ties_nothing() -> None:
    """Unless something else in the result says which."""
    shared = read_rows({"SerialNumber": "S1", "Status": "Success"}, entries=(ONE, TWIN))
    assert shared == {"1": None, "3": None}
    named = read_rows(
        {"LineItemNumber": "3", "SerialNumber": "S1", "Status": "Success"}, entries=(ONE, TWIN)
    )
    assert named == {"1": None, "3": OK}


def test_several_results_of_one_device_count_only_where_they_agree() -> None:
    """Twice the same is once; two that differ are none."""
    row = {"LineItemNumber": "1", "Status": "Success"}
    assert read_rows(row, row)["1"] == OK
    assert read_rows(row, {**row, "Status": "Failed"})["1"] is None
    assert read_rows(row, {**row, "ErrorCode": 811})["1"] is None


@pytest.mark.parametrize(
    ("status", "text"),
    [("Success", "Success"), (" ok ", "ok"), (0, "0"), (0.0, "0.0"), ("", ""), (None, "")],
)
def test_a_status_is_a_text_or_a_number(status: Any, text: str) -> None:
    """Nothing, truth values and objects are no status."""
    assert read_rows({"LineItemNumber": "1", "Status": status})["1"] == OemResult(status=text)
    for other in (True, False, [], {}, ["Success"], {"Status": "Success"}):
        assert read_rows({"LineItemNumber": "1", "Status": other})["1"] == OemResult()


def test_the_shape_of_partner_center_is_read_by_its_profile() -> None:
    """`devicesStatus` with its own names, and names for the request."""
    profile = plain_profile(
        tables="""
        [oem.response]
        items_path = "devicesStatus"
        status_field = "status"
        code_field = "errorCode"
        message_field = "errorDescription"
        [oem.response.fields]
        serial = "serialNumber"
        pkid = "productKey"
        """
    )
    item = {
        "serialNumber": "S1",
        "productKey": None,
        "status": "finished_with_errors",
        "errorCode": "808",
        "errorDescription": "ZtdDeviceAssignedToOtherTenant",
    }
    body = json.dumps({"status": "finished_with_errors", "devicesStatus": [item]}).encode()
    expected = OemResult(
        status="finished_with_errors", code="808", message="ZtdDeviceAssignedToOtherTenant"
    )
    assert read(profile, b"\xef\xbb\xbf" + body, ONE) == {"1": expected}


RESULT = "<Result><LineItemNumber>1</LineItemNumber><Status>Success</Status></Result>"


@pytest.mark.parametrize(
    "body",
    [
        f"<Response><Results>{RESULT}</Results></Response>",
        f"<Response><Results>{RESULT}<Result/></Results></Response>",
        f"<Results>{RESULT}</Results>",
        f"<r:Response xmlns:r='urn:r'><r:Results>{RESULT}</r:Results></r:Response>",
        "<Response><Results LineItemNumber='1' Status='Success'/></Response>",
        "<Response><Results><Result LineItemNumber='1' Status='Success'/></Results></Response>",
        f"<?xml version='1.0'?>\n<Response>\n <Results>\n  {RESULT}\n </Results>\n</Response>\n",
        f"<Response><results>{RESULT}</results></Response>",
    ],
)
def test_xml_is_read_in_its_usual_shapes(body: str) -> None:
    """One result or several, elements or attributes, any namespace, the root in the path or not."""
    assert read(plain_profile(XML), body.encode(), ONE) == {"1": OK}


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("", b"<html><body>Our services aren't available right now</body></html>"),
        ("", b'{"Results":[{"LineItemNumber":"1","Status":"Success","Status":"Failed"}]}'),
        ("", b'{"Results":[{"LineItemNumber":"1","Sta'),
        ("", b'{"Results":NaN}'),
        ("", b'"\\ud800"'),
        ("", b"\xff\xfe{\x00}\x00"),
        ("", b"[" * 100_000),
        (XML, b'{"Results":[]}'),
        (XML, b"<!DOCTYPE x [<!ENTITY a 'Success'>]><Results>&a;</Results>"),
        (XML, b"<Results>&undefined;</Results>"),
        (XML, b"<Results>"),
        (XML, b"<a>" * 100),
        (XML, b"<?xml version='1.0' encoding='klingon'?><Results/>"),
    ],
)
def test_what_is_not_of_the_media_type_is_unreadable(media: str, body: bytes) -> None:
    """HTML, cut, ambiguous, over-deep or hostile: it says nothing of any device."""
    with pytest.raises(Unreadable) as caught:
        read(plain_profile(media), body, ONE)
    assert "resume" in caught.value.remedy


@pytest.mark.parametrize(
    ("media", "body", "items"),
    [
        ("", b"{}", None),
        ("", b'{"Results":null}', None),
        ("", b'{"Results":"none"}', None),
        ("", b'{"Results":{}}', None),
        ("", b'{"Results":[]}', 0),
        ("", b'{"Results":[1,"x",null]}', 0),
        ("", b"[]", None),
        (XML, b"<Response/>", None),
        (XML, b"<Response><Results/></Response>", 0),
        (XML, b"<Response><Results>no</Results></Response>", None),
    ],
)
def test_no_place_for_results_is_not_the_same_as_no_results(
    media: str, body: bytes, items: int | None
) -> None:
    """The first is a wire that the profile does not describe, the second leaves all unknown."""
    profile = plain_profile(media)
    found = read_items(profile, read_document(profile, Reply(status=200, body=body)))
    assert items == (None if found is None else len(found))


def test_a_path_is_walked_exactly_first() -> None:
    """Another letter case is taken where only one fits."""
    assert find({"A": {"b": 1, "B": 2}}, "A.B", is_xml=False) == 2
    assert find({"a": {"b": 1}}, "A.B", is_xml=False) == 1
    assert find({"a": 1, "A": 2}, "á", is_xml=False) is None
    assert find({"ab": 1, "aB": 2}, "AB", is_xml=False) is None
    assert find([1], "", is_xml=False) == [1]


def test_a_foreign_text_is_shown_on_one_line() -> None:
    """Without control characters, and not endlessly."""
    assert shown("a\r\nb\x1b[31m\u202ec  d") == "a b [31m c d"
    assert len(shown("x" * 5000)) == 301


@pytest.mark.slow
@settings(max_examples=150)
@given(
    document=st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["Results", "LineItemNumber", "SerialNumber", "Status", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_read_or_called_unreadable(document: Any) -> None:
    """Whatever a service sends: an answer, or the one error; never success without a status."""
    profile = plain_profile()
    body = json.dumps(document).encode()
    try:
        found = read(profile, body, ONE, TWO)
    except Unreadable:
        return
    if found is not None:
        assert set(found) == {"1", "2"}


@settings(max_examples=150)
@given(body=st.binary(max_size=60) | st.text(alphabet="<>/a&;!['\"]Result= ", max_size=60))
def test_any_bytes_are_read_or_called_unreadable(body: bytes | str) -> None:
    """In both media."""
    content = body.encode() if isinstance(body, str) else body
    for media in ("", XML):
        try:
            read(plain_profile(media), content, ONE)
        except Unreadable:
            continue
