"""Codes by name first and number second, and what a profile may change about them."""

from __future__ import annotations

import pytest

from partner_tools.channels.oem_direct import code_table, public_codes
from partner_tools.clients.oem.profile import CodeMeaning


@pytest.mark.parametrize(
    ("code", "texts", "number"),
    [
        ("811", (), "811"),
        ("ZtdDeviceRegisteredByOtherTenant", (), "811"),
        ("ztddevicenotfound", (), "812"),
        ("806", ("ZtdDeviceAssignedToOtherTenant",), "808"),
        ("", ("807: ZtdDeviceIsNotRegistered, try later",), "807"),
        ("807", ("ZtdDeviceNotFound",), "812"),
        ("640", ("StorageError",), "640"),
    ],
)
def test_a_name_counts_before_a_number(code: str, texts: tuple[str, ...], number: str) -> None:
    """Wherever the name stands, as a word of its own."""
    found = code_table(()).read(code, *texts)
    assert found is not None
    assert found.number == number


@pytest.mark.parametrize("code", ["", "804", "805", "8110", "x811", "XZtdDeviceNotFoundX", " "])
def test_unknown_words_are_not_codes(code: str) -> None:
    """804 and 805 stand in no public list; a part of a word is no name."""
    assert code_table(()).read(code, "807 times tried") is None


def test_every_code_has_its_remedy() -> None:
    """And no name or number stands for two things."""
    assert all(" " in code.detail and " " in code.remedy for code in public_codes())
    assert len({code.name for code in public_codes()}) == len(public_codes())
    numbers = [code.number for code in public_codes() if code.number]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", ["ZtdDeviceNotFound", "ztddevicenotfound", "812"])
def test_an_override_means_the_whole_code(name: str) -> None:
    """By name or number, it changes both ways to say it, and keeps both in sight."""
    table = code_table([(name, CodeMeaning.ABSENT)])
    for said in ("812", "ZtdDeviceNotFound"):
        found = table.read(said)
        assert found is not None
        assert (found.meaning, found.shown) == (CodeMeaning.ABSENT, "812 ZtdDeviceNotFound")


def test_a_profile_may_name_codes_of_its_own() -> None:
    """A name that the public table does not have."""
    found = code_table([("OemBusy", CodeMeaning.RETRY), ("9001", CodeMeaning.STOP)])
    busy, wrong = found.read("x", "OemBusy"), found.read("9001")
    assert busy is not None
    assert wrong is not None
    assert (busy.meaning, wrong.meaning) == (CodeMeaning.RETRY, CodeMeaning.STOP)
    assert "OemBusy" in busy.detail


def test_saying_what_is_so_already_changes_nothing() -> None:
    """The sample's own override keeps the table's sentence."""
    table = code_table([("ZtdDeviceIsNotRegistered", CodeMeaning.ABSENT)])
    assert table == code_table(())
