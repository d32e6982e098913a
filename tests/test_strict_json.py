"""Files that are reviewed by people mean to the program what they show to a person."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.strict_json import (
    DEPTH,
    InvalidTextError,
    read_json,
    read_shown_json,
    read_toml,
    shown_plainly,
)

HIDDEN = "\u202e\u2066\u200b\u2028\ufeff\x1b"


def test_what_an_editor_shows_is_what_is_read() -> None:
    """A property stands once, and nothing in a text is invisible or turns its neighbours."""
    with pytest.raises(InvalidTextError, match="twice"):
        read_json(b'{"devices": [1], "devices": [2]}')
    text = json.dumps({"name": f"B\u00fcro {HIDDEN}"}, ensure_ascii=False)

    shown = shown_plainly(text)

    assert "B\u00fcro" in shown
    assert not set(HIDDEN) & set(shown)
    assert read_json(shown.encode()) == read_shown_json(shown.encode()) == json.loads(text)
    for hidden in HIDDEN.rstrip("\x1b"):  # which JSON never holds as it is
        with pytest.raises(InvalidTextError):
            read_shown_json(
                json.dumps({"name": f"B\u00fcro {hidden}"}, ensure_ascii=False).encode()
            )
    with pytest.raises(InvalidTextError, match="U\\+202E"):
        read_shown_json('["a\u202eb"]'.encode())


def test_layout_and_wide_spaces_hide_nothing() -> None:
    """Somebody may have formatted a plan, which leaves its digest as it was."""
    assert read_shown_json('\ufeff{\r\n\t"name": "a\u00a0\u3000b"\r\n}'.encode()) == {
        "name": "a\u00a0\u3000b"
    }


@pytest.mark.slow
@given(st.dictionaries(st.text(), st.text(), max_size=4))
def test_a_plain_text_has_the_value_of_the_other(document: dict[str, str]) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2)

    assert read_json(shown_plainly(text).encode()) == document


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "character"),
        (b"\xff", "UTF-8"),
        (b'"\\ud800"', "UTF-8"),
        (b"NaN", "NaN is not JSON"),
        (b"9" * 5000, "digits"),
        (b"[" * (DEPTH + 2) + b"]" * (DEPTH + 2), "too deep"),
        (b"[" * 100_000, "too deep"),
    ],
)
def test_json_that_means_nothing_says_why(content: bytes, why: str) -> None:
    with pytest.raises(InvalidTextError, match=why):
        read_json(content)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = ", "Invalid value"),
        ("a = 1\na = 2", "overwrite"),
        ("a = nan", "not a number"),
        (f"a = {'9' * 5000}", "digits"),
        (f"a = {'[' * 5000}", "too deep"),
        (f"[a{'.a' * 100}]", "too deep"),
        ("#" * 2_000_000, "characters"),
    ],
)
def test_toml_that_means_nothing_says_why(text: str, why: str) -> None:
    with pytest.raises(InvalidTextError, match=why):
        read_toml(text)
