"""Every verdict on a batch whose rows carry hashes, over invented machines."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from partner_tools.intake.hardware_hash import HashProblem, check, decode_hash
from partner_tools.model import Device, Identity, Severity
from tests.intake import hash_encoder as enc

MACHINE = enc.Machine()
WHOLE = MACHINE.encode()
OTHER = enc.machine(7)
UNPADDED = MACHINE.encode(size=2999).rstrip("=")
ERROR, WARNING = Severity.ERROR, Severity.WARNING


def device(
    *,
    row: int = 2,
    serial_number: str | None = None,
    manufacturer: str | None = None,
    model: str | None = None,
    product_key_id: str | None = None,
    hardware_hash: str | None = WHOLE,
    replacement: Identity | None = None,
) -> Device:
    identity = Identity(
        serial_number=serial_number,
        manufacturer=manufacturer,
        model=model,
        product_key_id=product_key_id,
        hardware_hash=hardware_hash,
    )
    return Device(row=row, identity=identity, replacement=replacement)


def findings(*devices: Device) -> list[HashProblem]:
    return list(check(devices, file="units.csv"))


def verdicts(*devices: Device) -> list[tuple[str | None, str, Severity]]:
    problems = [finding.problem for finding in findings(*devices)]
    return [(problem.column, problem.rule, problem.severity) for problem in problems]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (device(), []),
        (device(hardware_hash=None), []),
        (device(serial_number="X", hardware_hash=None), []),
        (
            device(
                serial_number="PT-0001",
                manufacturer="Contoso, Inc.",
                model="Tablet 7",
                product_key_id="3305670012345",
            ),
            [],
        ),
        (
            device(serial_number="PT-0002"),
            [("serialNumber", "hash-contradicts-column", ERROR)],
        ),
        (
            device(manufacturer="CONTOSO, INC.", model="Tablet 8", product_key_id="3305670012346"),
            [
                ("manufacturer", "hash-contradicts-column", ERROR),
                ("model", "hash-contradicts-column", ERROR),
                ("productKeyId", "hash-contradicts-column", ERROR),
            ],
        ),
        (
            device(hardware_hash=replace(MACHINE, product_key_id=None).encode()),
            [("hardwareHash", "hash-missing-fields", WARNING)],
        ),
        (
            device(hardware_hash=replace(MACHINE, serial_number="default string").encode()),
            [("hardwareHash", "hash-placeholder-serial", WARNING)],
        ),
        (
            device(hardware_hash=MACHINE.encode(size=3072)),
            [("hardwareHash", "hash-size", WARNING)],
        ),
        (device(hardware_hash=WHOLE[:800]), [("hardwareHash", "hash-cut", ERROR)]),
        (device(hardware_hash="T0E"), [("hardwareHash", "hash-padding", ERROR)]),
        (
            device(hardware_hash=UNPADDED, serial_number="PT-0002"),
            [
                ("hardwareHash", "hash-padding", ERROR),
                ("serialNumber", "hash-contradicts-column", ERROR),
            ],
        ),
        (
            device(replacement=Identity(serial_number="PT-9", hardware_hash=OTHER.encode())),
            [("replacement.serialNumber", "hash-contradicts-column", ERROR)],
        ),
        (
            device(replacement=Identity(hardware_hash="!")),
            [("replacement.hardwareHash", "hash-not-base64", ERROR)],
        ),
    ],
)
def test_each_hash_gets_its_verdict(
    given: Device, expected: list[tuple[str | None, str, Severity]]
) -> None:
    assert expected == verdicts(given)


def test_a_device_id_of_another_key_is_a_warning() -> None:
    records = [
        (kind, enc.device_id(1, b"\x01" * 32) if kind == 11 else payload)
        for kind, payload in MACHINE.records()
    ]

    found = verdicts(device(hardware_hash=enc.encode(records)))

    assert found == [("hardwareHash", "hash-device-id", WARNING)]


@pytest.mark.parametrize(
    "text",
    [
        UNPADDED,
        MACHINE.encode(size=2998).rstrip("="),
        WHOLE[:2000] + "\r\n" + WHOLE[2000:],
        WHOLE + "=",
        MACHINE.encode(size=2998).rstrip("=") + "=",
    ],
)
def test_padding_damage_is_explained_and_the_whole_text_offered(text: str) -> None:
    first = findings(device(hardware_hash=text))[0]

    assert first.problem.severity is ERROR
    assert "Repaired: " in first.problem.message
    assert first.repaired is not None
    assert decode_hash(first.repaired).serial_number == "PT-0001"


def test_a_repair_that_does_not_give_an_intact_hash_is_not_offered() -> None:
    """Padding makes base64 of a cut text, but no hash."""
    (found,) = findings(device(hardware_hash=WHOLE[:801]))

    assert found.problem.rule == "hash-padding"
    assert found.repaired is None


def test_a_difference_in_case_alone_is_said() -> None:
    (found,) = findings(device(serial_number="pt-0001"))

    assert '"pt-0001"' in found.problem.message
    assert '"PT-0001"' in found.problem.message
    assert "upper and lower case" in found.problem.message


def test_a_hidden_character_shows_in_the_message() -> None:
    (found,) = findings(device(serial_number="PT-\u200b0001"))

    assert r"PT-\u200b0001" in found.problem.message


def test_a_product_key_in_the_wrong_column_is_not_repeated() -> None:
    secret = "ABCDE-FGHIJ-KLMNO-PQRST-UVWXY"

    (found,) = findings(device(product_key_id=secret))

    assert secret not in found.problem.message


def test_missing_fields_are_all_named_at_once() -> None:
    bare = replace(MACHINE, uuid=UUID(int=0), ek_public=None, sku_number=None)

    (found,) = findings(device(hardware_hash=bare.encode()))

    assert "EkPubHash, EkPub, SmbiosSkuNumber, SmbiosUuid" in found.problem.message


def test_problems_say_where_they_are_and_what_to_do() -> None:
    found = findings(device(row=3, serial_number="A"), device(row=9, hardware_hash="?"))

    assert [(finding.problem.file, finding.problem.row) for finding in found] == [
        ("units.csv", 3),
        ("units.csv", 9),
    ]
    assert all(finding.problem.remedy for finding in found)


def test_no_problem_quotes_the_hash() -> None:
    broken = [WHOLE[:800], UNPADDED, "!" + WHOLE, WHOLE[:50] + "\n" + WHOLE[50:]]

    for finding in findings(*(device(hardware_hash=text) for text in broken)):
        assert WHOLE[:40] not in f"{finding.problem.message} {finding.problem.remedy}"


def test_devices_are_checked_one_at_a_time() -> None:
    """A batch of any size is streamed: nothing is read ahead of what is asked for."""
    taken: list[int] = []

    def batch() -> object:
        for row in range(2, 100):
            taken.append(row)
            yield device(row=row, serial_number="A")

    found = check(batch(), file="units.csv")  # type: ignore[arg-type]
    next(found)

    assert taken == [2]
