"""Near serial numbers are hints: what people and scanners do to one, and what is another device."""

from __future__ import annotations

import pytest

from partner_tools.near_serials import AT_MOST, index, near

KNOWN = index(["5CG0001", "PF3LEN01", "012345678901", "7XYZAB3", "Default string"])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("5cg0001", "5CG0001"),
        ("5CGOOO1", "5CG0001"),
        ("5CG000l", "5CG0001"),
        ("5CG000I", "5CG0001"),
        ("7XYZA83", "7XYZAB3"),
        ("5CG 0001", "5CG0001"),
        ("5CG-0001", "5CG0001"),
        ("5CG0001-1", "5CG0001"),
        ("05CG0001", "5CG0001"),
        ("12345678901", "012345678901"),
        ("S5CG0001", "5CG0001"),
        ("SN5CG0001", "5CG0001"),
        ("S/N: 5CG0001", "5CG0001"),
        ("Serial number: 5CG0001", "5CG0001"),
        ("1S20XW0055USPF3LEN01", "PF3LEN01"),
        ("20XW0055USPF3LEN01", "PF3LEN01"),
        ("５ＣＧ０００１", "5CG0001"),  # noqa: RUF001 - wide letters, as Japanese keyboards type
    ],
)
def test_near_serial_is_named(typed: str, meant: str) -> None:
    assert near(typed, KNOWN) == (meant,)


@pytest.mark.parametrize(
    "typed", ["5CG0002", "CG0001", "15CG0001", "Default string x", "", "0", "S"]
)
def test_another_serial_is_not_near(typed: str) -> None:
    assert near(typed, KNOWN) == ()


def test_a_serial_is_not_near_to_itself_and_hints_are_few() -> None:
    assert near("5CG0001", KNOWN) == ()
    many = index("0" * zeros + "5CG0001" for zeros in range(9))
    assert len(near("5cg0001", many)) == AT_MOST
