"""The decoder against an encoder that was written from the layout and shares nothing with it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.errors import InputError
from partner_tools.intake import hardware_hash as hh
from partner_tools.intake.hardware_hash import describe_hash, hash_lines
from partner_tools.intake.schema import Checker, load_schema
from partner_tools.model import Identity
from tests.fuzz import hash_mutations
from tests.intake import hash_encoder as enc

MACHINE = enc.Machine()
WHOLE = MACHINE.encode()
RULES = hash_mutations.RULES

payloads = st.binary(max_size=300)
record_lists = st.lists(st.tuples(st.integers(0, 255), payloads), max_size=40)


def rule_of(text: str) -> str:
    """The rule by which the decoder refuses the text."""
    with pytest.raises(hh.HashError) as caught:
        hh.decode_hash(text)
    assert caught.value.message
    assert caught.value.remedy
    return caught.value.rule


def of(*records: tuple[int, bytes]) -> hh.HardwareHash:
    return hh.decode_hash(enc.encode(records))


def test_every_value_of_a_whole_machine_is_read() -> None:
    assert MACHINE.ek_public is not None
    ek = hashlib.sha256(MACHINE.ek_public).hexdigest()
    machine = hh.decode_hash(WHOLE)

    said = describe_hash(machine)

    assert machine.notes == ()
    expected = {
        "schemaVersion": "1",
        "textLength": 4000,
        "totalLength": len(enc.buffer(MACHINE.records(), size=0)) - 36,
        "notes": [],
        "software": {
            "toolBuild": "10.0.26100.1",
            "osBuild": "10.0.22631.3007",
            "osType": "FullOS",
            "architecture": "x64",
            "toolVersion": 8,
        },
        "processor": {
            "architecture": "x64",
            "packages": 1,
            "cores": 8,
            "threads": 16,
            "hyperthreading": True,
        },
        "processorManufacturer": "ContosoCPU",
        "processorModel": "Contoso Core 8 @ 3.00GHz",
        "memory": {
            "totalGib": 16,
            "maximumGib": 32,
            "slots": 2,
            "arrays": 1,
            "errorCorrection": "none",
        },
        "disks": [
            {"serialNumber": "CT-DISK-0001", "model": "Contoso NVMe 512", "vendor": "Contoso"}
        ],
        "storage": [{"capacityGb": 512, "bus": "NVMe", "medium": None}],
        "networks": [
            {"medium": "Ethernet", "mac": "02-00-5E-10-A0-01", "bus": "PCI"},
            {"medium": "802.11", "mac": "02-00-5E-10-A0-02", "bus": "PCI"},
        ],
        "displays": [{"width": 310, "height": 174, "horizontal": 1920, "vertical": 1080}],
        "chassis": {"type": 10, "powerRole": "mobile"},
        "deviceId": {"kind": "TPM_EK", "digest": ek},
        "smbiosUuid": "00112233-4455-6677-8899-aabbccddeeff",
        "tpm": MACHINE.tpm,
        "ekPublicSha256": ek,
        "serialNumber": "PT-0001",
        "firmwareVendor": "Contoso Firmware",
        "manufacturer": "Contoso, Inc.",
        "model": "Tablet 7",
        "skuNumber": "CT7-128",
        "systemFamily": "Contoso Tablets",
        "firmwareVendor2": "Contoso Firmware Two",
        "boardProduct": "CT7-BOARD",
        "boardVersion": "Rev A",
        "systemVersion": "1.0",
        "productKeyId": "3305670012345",
        "productKeyPartNumber": "CT-PART-001",
        "kernelDiskSerials": ["CT-DISK-0001"],
        "graphicsMemory": [128],
        "graphicsNames": ["Contoso Graphics"],
        "deviceIdMatchesEk": True,
        "missingFields": [],
    }
    assert expected == {key: value for key, value in said.items() if key != "records"}


@pytest.mark.parametrize("text", [WHOLE, enc.encode([]), enc.encode([(27, b"x")], size=0)])
def test_the_description_keeps_its_schema(text: str) -> None:
    """Every property is required and none else allowed, so the two cannot drift apart."""
    checker = Checker(load_schema("hardware-hash"))

    assert checker.violations(describe_hash(hh.decode_hash(text))) == ()


@pytest.mark.slow
@given(record_lists)
def test_the_description_of_arbitrary_records_keeps_its_schema(
    records: list[tuple[int, bytes]],
) -> None:
    checker = Checker(load_schema("hardware-hash"))

    assert checker.violations(describe_hash(hh.decode_hash(enc.encode(records)))) == ()


def test_the_uuid_is_mixed_endian() -> None:
    """The first three groups stand byte-reversed, as SMBIOS writes them."""
    stored = bytes.fromhex("33221100554477668899aabbccddeeff")

    assert UUID("00112233-4455-6677-8899-aabbccddeeff") == of((12, stored)).smbios_uuid


def test_unknown_records_are_kept_and_shown_in_hexadecimal() -> None:
    said = json.loads(json.dumps(describe_hash(of((27, b"\x01\x02"), (200, b"")))))

    assert said["records"] == [
        {"type": 27, "offset": 4, "length": 2, "payload": "0102"},
        {"type": 200, "offset": 10, "length": 0, "payload": ""},
    ]


def test_white_space_around_the_text_is_no_part_of_it() -> None:
    assert hh.decode_hash(WHOLE) == hh.decode_hash(f"\ufeff{WHOLE}\r\n".lstrip("\ufeff"))


@given(record_lists)
def test_arbitrary_records_come_back_as_they_were(records: list[tuple[int, bytes]]) -> None:
    """Whatever the payloads hold, framing loses nothing and nothing but HashError is raised."""
    data = enc.buffer(records, size=0)

    decoded = hh.decode_hash(enc.as_text(data))

    assert records == [(record.type, record.payload) for record in decoded.records]
    assert decoded.total_length == len(data) - 36
    json.dumps(describe_hash(decoded))
    hash_lines(decoded)
    hh.missing_fields(decoded)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60)


@pytest.mark.slow
@given(
    st.builds(
        enc.Machine,
        serial_number=st.none() | texts,
        manufacturer=st.none() | texts,
        model=st.none() | texts,
        product_key_id=st.none() | texts,
        sku_number=st.none() | texts,
        system_family=st.none() | texts,
        uuid=st.none() | st.uuids(),
        tpm=st.none() | texts,
        ek_public=st.none() | st.binary(min_size=256, max_size=256),
        mac=st.none() | st.binary(min_size=6, max_size=6),
        stamp=st.binary(min_size=5, max_size=5),
    )
)
def test_a_machine_comes_back_as_it_was_written(machine: enc.Machine) -> None:
    decoded = hh.decode_hash(machine.encode())

    assert machine.serial_number == decoded.serial_number
    assert machine.manufacturer == decoded.manufacturer
    assert machine.model == decoded.model
    assert machine.product_key_id == decoded.product_key_id
    assert machine.sku_number == decoded.sku_number
    assert machine.system_family == decoded.system_family
    assert machine.uuid == decoded.smbios_uuid
    assert machine.tpm == decoded.tpm
    assert len(decoded.networks) == 1 + (machine.mac is not None)
    assert decoded.device_id_matches_ek is (None if machine.ek_public is None else True)


def resealed(data: bytes, total: int) -> str:
    """The text of `data` with its first `total` bytes sealed anew."""
    return enc.as_text(enc.seal(data[:total]).ljust(enc.SIZE, b"\0"))


def damaged(offset: int, value: bytes) -> bytes:
    data = enc.buffer(MACHINE.records())
    return data[:offset] + value + data[offset + len(value) :]


TOTAL = len(enc.buffer(MACHINE.records(), size=0)) - 36


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "hash-empty"),
        ("  \n", "hash-empty"),
        ("A" * 65_537, "hash-too-long"),
        (" " * 65_537, "hash-too-long"),
        ("=", "hash-padding"),
        ("====", "hash-padding"),
        (WHOLE + "====", "hash-padding"),
        (WHOLE[:-1], "hash-padding"),
        (WHOLE[:-2], "hash-padding"),
        (WHOLE[:-3], "hash-padding"),
        (WHOLE[:-4] + "A===", "hash-padding"),
        (WHOLE[:1000] + "\n" + WHOLE[1000:], "hash-white-space"),
        (WHOLE[:1000] + " " * 4 + WHOLE[1000:], "hash-white-space"),
        (WHOLE[:1000] + "=" + WHOLE[1001:], "hash-not-base64"),
        (WHOLE[:1000] + "-_" + WHOLE[1002:], "hash-not-base64"),
        ("\ufeff" + WHOLE, "hash-not-base64"),
        (WHOLE[:-1] + "é", "hash-not-base64"),
        (WHOLE[:-1] + "\udc80", "hash-not-base64"),
        (WHOLE[:-1] + "\0", "hash-not-base64"),
        ("T0E=", "hash-header"),
        ("AAAA", "hash-header"),
        (base64.b64encode(b"not a hash at all").decode(), "hash-header"),
        (enc.as_text(damaged(2, enc.u16(3))), "hash-length"),
        (enc.as_text(damaged(2, enc.u16(3001))), "hash-cut"),
        (enc.as_text(damaged(2, enc.u16(enc.SIZE - 35))), "hash-cut"),
        (WHOLE[:800], "hash-cut"),
        (enc.as_text(damaged(2, enc.u16(enc.SIZE - 36))), "hash-trailer"),
        (enc.as_text(damaged(TOTAL, b"cs")), "hash-trailer"),
        (enc.as_text(damaged(TOTAL + 2, enc.u16(35))), "hash-trailer"),
        (enc.as_text(damaged(TOTAL + 4, b"\0\0")), "hash-checksum"),
        (enc.as_text(damaged(40, b"\xff")), "hash-checksum"),
        (resealed(damaged(6, enc.u16(3)), TOTAL), "hash-record"),
        (resealed(damaged(6, enc.u16(0)), TOTAL), "hash-record"),
        (resealed(damaged(6, enc.u16(TOTAL)), TOTAL), "hash-record"),
        (resealed(damaged(6, enc.u16(0xFFFF)), TOTAL), "hash-record"),
        (resealed(damaged(6, enc.u16(TOTAL - 6)), TOTAL), "hash-record"),
        (resealed(damaged(0, b"OA"), TOTAL - 1), "hash-record"),
        (resealed(b"OA\0\0\1\0", 6), "hash-record"),
    ],
)
def test_a_damaged_hash_is_refused_by_the_rule_that_it_breaks(text: str, rule: str) -> None:
    assert rule == rule_of(text)
    assert rule in RULES
    with pytest.raises(hh.HashError):
        hh.verify(text)


def test_an_error_ends_the_command_as_bad_input_and_never_quotes_the_hash() -> None:
    with pytest.raises(InputError) as caught:
        hh.decode_hash(enc.as_text(damaged(40, b"\xff")))

    assert caught.value.exit_code == 3
    assert WHOLE[:40] not in f"{caught.value} {caught.value.remedy}"


def test_the_longest_text_and_the_longest_record_are_read() -> None:
    body = enc.buffer([(14, b"S" * 49_000)], size=49_152)

    decoded = hh.decode_hash(enc.as_text(body))

    assert len(enc.as_text(body)) == 65_536
    assert decoded.serial_number == "S" * 49_000


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        (WHOLE, []),
        (MACHINE.encode(size=0), ["hash-size"]),
        (MACHINE.encode(size=3072), ["hash-size"]),
        (enc.as_text(damaged(2999, b"\x01")), ["hash-tail"]),
        (enc.as_text(damaged(TOTAL + 36, b"\x01")), ["hash-tail"]),
        (enc.encode([(12, bytes(15))]), ["hash-unread-record"]),
        (enc.encode([(12, bytes(17))]), ["hash-unread-record"]),
        (enc.encode([(25, b"")]), ["hash-unread-record"]),
        (enc.encode([(14, b"A\0"), (14, b"B\0")]), ["hash-repeated-record"]),
        (enc.encode([(7, b"A|B|C"), (7, b"D|E|F")]), []),
        (enc.encode([(14, b"A\0B")]), ["hash-odd-text"]),
        (enc.encode([(14, b"A\xff\0"), (14, b"\xff")]), ["hash-repeated-record", "hash-odd-text"]),
        (enc.encode([(14, b"A\0\0\0")]), []),
        (enc.encode([]), []),
    ],
)
def test_oddities_of_an_intact_hash_are_notes(text: str, rules: list[str]) -> None:
    assert rules == [note.rule for note in hh.decode_hash(text).notes]
    assert all(note.message and note.remedy for note in hh.decode_hash(text).notes)


@pytest.mark.parametrize(
    ("kind", "shortest", "field"),
    [
        (1, 19, "software"),
        (2, 10, "processor"),
        (5, 21, "memory"),
        (6, 11, "storage"),
        (8, 10, "networks"),
        (9, 8, "displays"),
        (10, 2, "chassis"),
        (11, 10, "device_id"),
        (29, 4, "graphics_memory"),
    ],
)
def test_a_record_that_is_too_short_is_noted_and_not_read(
    kind: int, shortest: int, field: str
) -> None:
    read, unread = of((kind, bytes(shortest))), of((kind, bytes(shortest - 1)))

    assert getattr(read, field) not in (None, ())
    assert read.notes == ()
    assert getattr(unread, field) in (None, ())
    assert [note.rule for note in unread.notes] == ["hash-unread-record"]


def test_a_device_id_whose_inner_length_lies_is_not_read() -> None:
    lying = enc.device_id(1, bytes(32))[:-1]

    assert of((11, lying)).device_id is None


def test_a_bus_name_whose_inner_length_lies_is_not_read() -> None:
    mac = bytes.fromhex("02005e000001")
    lying = enc.network(14, mac) + enc.u32(0xFFFFFFFF) + "PCI".encode("utf-16-le")

    (network,) = of((8, lying)).networks

    assert (network.mac, network.bus) == ("02-00-5E-00-00-01", None)


@pytest.mark.parametrize(
    ("stored", "serial", "model", "vendor"),
    [
        ("S1|Model|Vendor", "S1", "Model", "Vendor"),
        ("|Virtual Disk    |Msft    ", "", "Virtual Disk    ", "Msft    "),
        ("  S 1 |M|V", "  S 1 ", "M", "V"),
        ("S|1|M|V", "S|1", "M", "V"),
        ("S1", "S1", None, None),
        ("S1|M", "S1|M", None, None),
    ],
)
def test_a_disk_is_serial_model_and_vendor(
    stored: str, serial: str, model: str | None, vendor: str | None
) -> None:
    (disk,) = of((7, stored.encode())).disks

    assert (serial, model, vendor) == (disk.serial_number, disk.model, disk.vendor)


@pytest.mark.parametrize(
    ("record", "field", "shown"),
    [
        ((1, enc.software(os_type=1)), "software.os_type", "1"),
        ((1, enc.software(architecture=12)), "software.architecture", "ARM64"),
        ((1, enc.software(architecture=5)), "software.architecture", "5"),
        ((6, enc.u64(1) + bytes([11, 0, 0, 0])), "storage.0.medium", "SSD"),
        ((6, enc.u64(1) + bytes([11, 0, 255, 0])), "storage.0.medium", "HDD"),
        ((6, enc.u64(1) + bytes([11, 0, 7, 0])), "storage.0.medium", None),
        ((6, enc.u64(1) + bytes([99, 0, 0, 0])), "storage.0.bus", "99"),
        ((8, enc.network(0, bytes(6))), "networks.0.medium", "unspecified"),
        ((8, enc.network(77, bytes(6))), "networks.0.medium", "77"),
        ((10, bytes([3, 1, 1, 0, 0])), "chassis.power_role", "desktop"),
        ((11, enc.device_id(2, bytes(32))), "device_id.kind", "UEFI_VARIABLE_TPM"),
        ((11, enc.device_id(9, bytes(32))), "device_id.kind", "9"),
        ((14, b"no end"), "serial_number", "no end"),
        ((14, b"caf\xe9\0"), "serial_number", "café"),
        ((14, "ß✓\0".encode()), "serial_number", "ß✓"),
        ((30, "GPU\0rest".encode("utf-16-le")), "graphics_names.0", "GPU"),
        ((30, b"G\0P"), "graphics_names.0", "G\ufffd"),
    ],
)
def test_single_values(record: tuple[int, bytes], field: str, shown: str | None) -> None:
    value: object = of(record)
    for step in field.split("."):
        value = value[int(step)] if step.isdigit() else getattr(value, step)  # type: ignore[index]

    assert shown == value


def test_a_type_with_its_second_byte_set_is_another_type() -> None:
    data = damaged(0, b"OA")
    at = data.index(b"PT-0001") - 4
    text = resealed(data[: at + 1] + b"\x01" + data[at + 2 :], TOTAL)

    decoded = hh.decode_hash(text)

    assert decoded.serial_number is None
    assert 0x10E in [record.type for record in decoded.records]


@pytest.mark.parametrize("matches", [True, False])
def test_the_device_id_is_compared_with_the_key(matches: bool) -> None:
    key = b"k" * 256
    digest = hashlib.sha256(key).digest() if matches else bytes(32)

    assert of((25, key), (11, enc.device_id(1, digest))).device_id_matches_ek is matches


def test_the_device_id_of_a_machine_without_tpm_key_is_not_compared() -> None:
    assert of((11, enc.device_id(1, bytes(32)))).device_id_matches_ek is None
    assert of((25, b"k"), (11, enc.device_id(2, bytes(32)))).device_id_matches_ek is None
    assert of((25, b"k")).device_id_matches_ek is None


@pytest.mark.parametrize(
    ("machine", "missing"),
    [
        (MACHINE, ()),
        (replace(MACHINE, serial_number=None), ("SmbiosSystemSerialNumber",)),
        (replace(MACHINE, serial_number="  "), ("SmbiosSystemSerialNumber",)),
        (replace(MACHINE, manufacturer=""), ("SmbiosSystemManufacturer",)),
        (replace(MACHINE, model=None), ("SmbiosSystemProductName",)),
        (replace(MACHINE, sku_number=None), ("SmbiosSkuNumber",)),
        (replace(MACHINE, system_family=None), ("SmbiosSystemFamily",)),
        (replace(MACHINE, product_key_id=None), ("ProductKeyId",)),
        (replace(MACHINE, uuid=None), ("SmbiosUuid",)),
        (replace(MACHINE, uuid=UUID(int=0)), ("SmbiosUuid",)),
        (replace(MACHINE, uuid=UUID(int=2**128 - 1)), ("SmbiosUuid",)),
        (replace(MACHINE, tpm=None), ("TpmVersion",)),
        (replace(MACHINE, ek_public=None), ("EkPubHash", "EkPub")),
        (replace(MACHINE, mac=None), ()),
        (replace(MACHINE, disk="|Virtual Disk|Msft"), ()),
    ],
)
def test_missing_fields_are_named_as_microsoft_names_them(
    machine: enc.Machine, missing: tuple[str, ...]
) -> None:
    """A second adapter still has an address, and the kernel's disk serial a serial."""
    assert missing == hh.missing_fields(hh.decode_hash(machine.encode()))


def test_an_empty_inventory_lacks_everything() -> None:
    expected = (
        "DiskSerialNumber",
        "TpmVersion",
        "EkPubHash",
        "EkPub",
        "MacAddress",
        "ProductKeyId",
        "SmbiosSkuNumber",
        "SmbiosSystemFamily",
        "SmbiosSystemManufacturer",
        "SmbiosSystemProductName",
        "SmbiosSystemSerialNumber",
        "SmbiosUuid",
        "OSType",
    )
    blank = [
        (7, b"|Virtual Disk|Msft"),
        (8, enc.network(14, bytes(6))),
        (11, enc.device_id(1, bytes(32))),
        (28, b" \0"),
    ]

    assert expected == hh.missing_fields(of())
    assert expected == hh.missing_fields(of(*blank))


@pytest.mark.parametrize(
    ("identity", "columns"),
    [
        (Identity(), []),
        (Identity(serial_number="PT-0001"), []),
        (Identity(serial_number=" PT-0001 "), []),
        (Identity(serial_number="PT-00011"), ["serialNumber"]),
        (Identity(serial_number="pt-0001"), ["serialNumber"]),
        (Identity(manufacturer="Contoso, Inc"), ["manufacturer"]),
        (Identity(model="TABLET 7", product_key_id="3305670012345"), ["model"]),
        (
            Identity(serial_number="1", manufacturer="2", model="3", product_key_id="4"),
            ["serialNumber", "manufacturer", "model", "productKeyId"],
        ),
    ],
)
def test_columns_are_compared_exactly(identity: Identity, columns: list[str]) -> None:
    found = hh.disagreements(hh.decode_hash(WHOLE), identity)

    assert columns == [disagreement.column for disagreement in found]


def test_what_the_hash_does_not_say_contradicts_nothing() -> None:
    silent = hh.decode_hash(replace(MACHINE, serial_number=" ", product_key_id=None).encode())

    assert hh.disagreements(silent, Identity(serial_number="X", product_key_id="1")) == ()


def test_an_identity_is_derived_from_the_hash_alone() -> None:
    decoded = hh.decode_hash(replace(MACHINE, serial_number=" PT-9\t", model=" ").encode())

    assert Identity(
        serial_number="PT-9", manufacturer="Contoso, Inc.", product_key_id="3305670012345"
    ) == hh.derive(decoded)


@pytest.mark.parametrize(
    ("text", "whole", "steps"),
    [
        ("Q29udG9zbwAAA", "Q29udG9zbwAAAA==", 2),
        ("Q29udG9zbw", "Q29udG9zbw==", 1),
        ("Q29udG9zbw=", "Q29udG9zbw==", 1),
        ("Q29udG9zbwA", "Q29udG9zbwA=", 1),
        ("Q29udG9zbwAA=", "Q29udG9zbwAA", 1),
        ("Q29u\r\ndG9z\r\n", "Q29udG9z", 1),
        ("Q29u dG9zb=", "Q29udG9zbA==", 3),
        ("A", "AA==", 2),
    ],
)
def test_padding_is_repaired_as_the_documentation_says(text: str, whole: str, steps: int) -> None:
    repaired = hh.repair(text)

    assert repaired is not None
    assert whole == repaired.text
    assert steps == len(repaired.steps)
    base64.b64decode(repaired.text, validate=True)
    assert hh.repair(repaired.text) is None


@pytest.mark.parametrize(
    "text", ["", "  ", "====", "Q29u", " Q29u\n", "Q2=9u", "Q29u*", "A" * 65_537, "é"]
)
def test_what_needs_no_repair_or_cannot_be_repaired_is_left_alone(text: str) -> None:
    assert hh.repair(text) is None


@given(st.integers(0, 2), st.booleans())
def test_a_hash_that_lost_its_padding_is_whole_again(lost: int, wrapped: bool) -> None:
    """Sizes that need padding occur with other tools; Windows' own size needs none."""
    whole = MACHINE.encode(size=2998 + lost)
    text = whole.rstrip("=")
    if wrapped:
        text = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))

    repaired = hh.repair(text)

    assert (repaired.text if repaired else text) == whole


@given(st.text(max_size=200) | st.text("ABC+/= \n", max_size=200))
def test_repair_is_total_and_makes_base64(text: str) -> None:
    repaired = hh.repair(text)

    if repaired is not None:
        base64.b64decode(repaired.text, validate=True)
        assert repaired.steps


def test_the_lines_show_what_a_technician_looks_for() -> None:
    shown = "\n".join(hash_lines(hh.decode_hash(WHOLE)))

    for value in (
        "PT-0001",
        "Contoso, Inc.",
        "Tablet 7",
        "3305670012345",
        "00112233-4455-6677-8899-aabbccddeeff",
        "matches the TPM key",
        "10.0.22631.3007, x64, FullOS",
        "16 GiB",
        "512 GB, NVMe",
        "02-00-5E-10-A0-01, Ethernet, PCI",
        "missing for Autopilot   nothing",
    ):
        assert value in shown


def test_the_lines_let_nothing_reach_the_terminal() -> None:
    """Firmware text is foreign: escapes, bells and line breaks are shown, not sent."""
    hostile = replace(MACHINE, serial_number="\x1b[2J\a\r\nPT\u202e\u200b\xa0ü")

    shown = hash_lines(hh.decode_hash(hostile.encode()))

    assert all(line.isprintable() for line in shown)
    assert r"'\x1b[2J\x07\r\nPT\u202e\u200b\xa0ü'" in shown[0]


def test_the_lines_of_an_empty_inventory_say_what_is_missing() -> None:
    shown = hash_lines(of((12, b"")))

    assert shown[0].startswith("missing for Autopilot  DiskSerialNumber, ")
    assert shown[-1].startswith("note ")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_of_twenty_thousand_mutations_each_ends_in_a_value_or_in_our_own_error(seed: int) -> None:
    seen = hash_mutations.run(count=5_000, seed=seed)

    assert seen.mutations == 5_000
    assert seen.decoded > 500
    assert set(seen.refused) == RULES
    assert seen.slowest < 1.0


def test_the_time_grows_with_the_length_and_no_faster() -> None:
    """Sixteen times the text, made of the most and smallest records, in less than 64 times."""
    small, large = (
        enc.encode([(14, b"")] * count, size=0) for count in (3000 // 4 - 12, 48_000 // 4 - 12)
    )

    assert hash_mutations.seconds(large) < 64 * hash_mutations.seconds(small)


@given(st.randoms(use_true_random=False), st.integers(0, 3999))
def test_one_changed_character_is_seen_wherever_it_counts(dice: random.Random, at: int) -> None:
    """Up to the checksum's end a change is refused; behind it, it changes no value."""
    letter = dice.choice(hash_mutations.ALPHABET)
    text = WHOLE[:at] + letter + WHOLE[at + 1 :]
    if base64.b64decode(text)[: TOTAL + 36] == base64.b64decode(WHOLE)[: TOTAL + 36]:
        assert hh.derive(hh.decode_hash(text)) == hh.derive(hh.decode_hash(WHOLE))
    else:
        assert rule_of(text) in RULES
