"""Every refusal becomes one error with a sentence and a remedy, whatever its body holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools import errors
from partner_tools.clients.refusals import RefusalSubject, faults, refusal, subject_of
from partner_tools.clients.transport import Reply

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind", "exit_code"),
    [
        (400, errors.Rejected, 5),
        (401, errors.Unauthorized, 4),
        (403, errors.Rejected, 5),
        (404, errors.Rejected, 5),
        (405, errors.Rejected, 5),
        (408, errors.Unavailable, 5),
        (409, errors.Rejected, 5),
        (412, errors.Rejected, 5),
        (429, errors.Throttled, 5),
        (500, errors.Unavailable, 5),
        (501, errors.Unavailable, 5),
        (502, errors.Unavailable, 5),
        (503, errors.Unavailable, 5),
        (599, errors.Unavailable, 5),
        (199, errors.Unreadable, 5),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[Exception], exit_code: int) -> None:
    error = refusal(Reply(status=status), "r-1", now=NOW)
    assert type(error) is kind
    assert error.exit_code == exit_code
    assert error.status == status
    assert error.request_id == "r-1"
    assert error.remedy
    assert str(status) in str(error)


@pytest.mark.parametrize(
    ("body", "code", "description"),
    [
        ('{"code": "20002", "description": "No.", "data": [], "source": "PF"}', "20002", "No."),
        ('{"code": 20002, "description": "No."}', "20002", "No."),
        ('{"Code": 20002, "Message": "No."}', "20002", "No."),
        ('{"code": "20002", "message": "No."}', "20002", "No."),
        ('{"statusCode": 403, "message": "No."}', None, "No."),
        ('\ufeff{"code": 20002, "description": "No."}', "20002", "No."),
        ('{"code": "", "description": null}', None, None),
        ('{"code": true, "description": ["x"]}', None, None),
        ('{"description": "a\\nb\\u0000c\\u202ed"}', None, "a b c d"),
        ("[1]", None, None),
        ("", None, None),
        ("Service is down", None, "Service is down"),
        ("<html><body>503</body></html>", None, None),
        ("\ufeff<!DOCTYPE html>", None, None),
        ('{"cut": ', None, '{"cut":'),
    ],
)
def test_every_shape_of_body_is_read(body: str, code: str | None, description: str | None) -> None:
    error = refusal(Reply(status=403, body=body.encode("utf-8")), "r", now=NOW)
    assert (error.code, error.description) == (code, description)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("57", 57.0), ("Sun, 01 Nov 2026 12:00:30 GMT", 30.0), ("soon", None), (None, None)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_that_is_asked_for_is_kept(
    status: int, header: str | None, seconds: float | None
) -> None:
    headers = {} if header is None else {"retry-after": header}
    error = refusal(Reply(status=status, headers=headers), "r", now=NOW)
    assert error.retry_after == seconds


@pytest.mark.slow
@given(
    status=st.integers(100, 199) | st.integers(400, 599),
    body=st.binary(max_size=400)
    | st.dictionaries(
        st.sampled_from(["code", "Code", "description", "message", "statusCode"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
    ).map(lambda found: json.dumps(found).encode()),
    header=st.text(alphabet=st.characters(codec="latin-1"), max_size=20),
)
def test_any_bytes_become_one_line_with_a_remedy(status: int, body: bytes, header: str) -> None:
    reply = Reply(status=status, body=body, headers={"Retry-After": header})
    error = refusal(reply, "r-1", now=NOW)
    assert isinstance(error, errors.ServiceError)
    assert error.remedy
    assert error.message.isprintable()
    assert len(error.message) < 700
    assert error.retry_after is None or error.retry_after >= 0


@pytest.mark.parametrize("code", sorted(faults()))
def test_every_known_code_has_a_sentence_and_a_remedy(code: str) -> None:
    sentence, remedy = faults()[code].sentence, faults()[code].remedy
    assert sentence[0].islower()
    assert remedy[0].isupper()
    assert remedy.endswith(".")
    body = json.dumps({"code": code, "description": "theirs"}).encode()
    error = refusal(Reply(status=403, body=body), "r", now=NOW)
    assert sentence in str(error)
    assert error.remedy == remedy
    assert error.description == "theirs"


def test_an_unknown_code_keeps_the_services_words() -> None:
    assert "4711" not in faults()
    body = b'{"code": 4711, "description": "The moon is full."}'
    error = refusal(Reply(status=409, body=body), "r", now=NOW)
    assert "The moon is full." in str(error)
    assert "4711" in str(error)


def test_the_end_of_a_list_is_spoken_of_in_answers_to_get_alone() -> None:
    reply = Reply(status=409, body=b'{"code": 2000, "description": "In use."}')
    assert "no further records" in str(refusal(reply, "r", now=NOW))
    error = refusal(reply, "r", now=NOW, method="DELETE")
    assert "In use." in str(error)
    assert "records" not in f"{error} {error.remedy}"


@pytest.mark.parametrize(
    ("status", "code", "description", "subject"),
    [
        (403, "811", None, RefusalSubject.DEVICE),
        (403, None, "ZtdDeviceRegisteredByOtherTenant", RefusalSubject.DEVICE),
        (403, "2032", "error ZtdDeviceRegisteredByOtherTenant", RefusalSubject.DEVICE),
        (403, "20002", None, RefusalSubject.CUSTOMER),
        (404, "60003", None, RefusalSubject.CUSTOMER),
        (403, "2032", None, RefusalSubject.PARTNER),
        (403, "900150", None, RefusalSubject.PARTNER),
        (403, "900399", None, RefusalSubject.PARTNER),
        (401, "900421", None, RefusalSubject.PARTNER),
        (401, None, None, RefusalSubject.PARTNER),
        (404, "1000", None, RefusalSubject.DEVICE),
        (404, None, None, RefusalSubject.DEVICE),
        (403, None, None, RefusalSubject.REQUEST),
        (400, "3000", None, RefusalSubject.REQUEST),
    ],
)
def test_whom_a_refusal_speaks_of(
    status: int, code: str | None, description: str | None, subject: RefusalSubject
) -> None:
    error = errors.Rejected("no", status=status, code=code, description=description)
    assert subject_of(error) is subject
