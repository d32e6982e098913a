"""Where a run belongs: which places are the same, and which guards are weaker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from partner_tools.errors import GuardError
from partner_tools.model import ChannelName
from partner_tools.place import (
    GuardTerms,
    Place,
    normal_address,
    read_place,
    refuse_other_address,
    refuse_other_partner,
    refuse_weaker_guards,
)

PLACE = Place(
    channel=ChannelName.PARTNER_CENTER,
    address="https://api.partnercenter.microsoft.com",
    login="https://login.microsoftonline.com",
    tenant="1b1f3a70-6c3f-4d0b-9b0a-7f6f6a0e2c11",
    guards=GuardTerms(hold_list=True, max_devices=100, max_devices_per_day=500, approvals=1),
)


def test_a_place_comes_back_from_its_document() -> None:
    assert read_place(PLACE.document()) == PLACE
    assert read_place(None) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://A.example/", "https://a.example"),
        ("https://a.example:443", "HTTPS://a.example"),
        ("http://127.0.0.1:80/x/", "http://127.0.0.1/x"),
    ],
)
def test_spellings_of_one_address_are_one_place(one: str, other: str) -> None:
    assert normal_address(one) == normal_address(other)
    refuse_other_address("it", replace(PLACE, address=one), replace(PLACE, address=other))


@pytest.mark.parametrize(
    "here",
    [
        replace(PLACE, address="https://partner.partnercenterapi.microsoftonline.cn"),
        replace(PLACE, address="https://api.partnercenter.microsoft.com:8443"),
        replace(PLACE, login="https://login.microsoftonline.us"),
        replace(PLACE, wire_profile="sha256:0"),
    ],
)
def test_another_service_is_another_place(here: Place) -> None:
    with pytest.raises(GuardError) as refused:
        refuse_other_address("run 1", PLACE, here)
    assert refused.value.rule == "other-place"


@pytest.mark.parametrize(
    ("tenant", "same"),
    [
        ("1B1F3A70-6C3F-4D0B-9B0A-7F6F6A0E2C11", True),
        ("2b1f3a70-6c3f-4d0b-9b0a-7f6f6a0e2c11", False),
        (None, False),
    ],
)
def test_a_token_of_another_partner_is_another_place(tenant: str | None, same: bool) -> None:
    if same:
        refuse_other_partner("run 1", PLACE, tenant)
    else:
        with pytest.raises(GuardError, match="partner tenant"):
            refuse_other_partner("run 1", PLACE, tenant)


@pytest.mark.parametrize(
    ("here", "weaker"),
    [
        (PLACE.guards, False),
        (replace(PLACE.guards, hold_list=False), True),
        (replace(PLACE.guards, max_devices=101), True),
        (replace(PLACE.guards, max_devices=None), True),
        (replace(PLACE.guards, max_devices=99), False),
        (replace(PLACE.guards, max_devices_per_day=None), True),
        (replace(PLACE.guards, max_estate_share=0.5), False),
        (replace(PLACE.guards, approvals=0), True),
        (replace(PLACE.guards, approvals=2), False),
    ],
)
def test_weaker_guards_are_refused_and_stricter_ones_apply(here: GuardTerms, weaker: bool) -> None:
    if not weaker:
        refuse_weaker_guards("run 1", PLACE.guards, here)
        return
    with pytest.raises(GuardError) as refused:
        refuse_weaker_guards("run 1", PLACE.guards, here)
    assert refused.value.rule == "weaker-guards"
