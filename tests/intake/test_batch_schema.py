"""The batch schema, its dataclasses and the header table say the same; jsonschema agrees."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake import columns, identifiers, rules
from partner_tools.intake.row_check import RowCheck
from partner_tools.intake.schema import Checker, checker, load_schema, part, schema_names
from partner_tools.model import (
    PARTNER_CHANNELS,
    Batch,
    Device,
    Identity,
    Problem,
    Reason,
    Severity,
)
from partner_tools.outstanding.types import FACTS

BATCH = load_schema("batch")
VALIDATION = load_schema("validation")
BIDI = "\u202e"
KEY = "ABCDE-12345-FGHIJ-67890-KLMNO"

ODD_ROWS: list[tuple[object, bool]] = [
    ({"serialNumber": "A"}, True),
    ({"serialNumber": ""}, False),
    ({"serialNumber": " "}, False),
    ({"serialNumber": " A "}, True),
    ({"serialNumber": "A\n"}, False),
    ({"serialNumber": "\nA"}, False),
    ({"serialNumber": "A\r"}, False),
    ({"serialNumber": "A\x00"}, False),
    ({"serialNumber": "A\x1f"}, False),
    ({"serialNumber": "A\x7f"}, False),
    ({"serialNumber": "A\x85"}, False),
    ({"serialNumber": "A\xa0B"}, True),
    ({"serialNumber": "A\u2028"}, False),
    ({"serialNumber": "A\u2029"}, False),
    ({"serialNumber": f"A{BIDI}B"}, False),
    ({"serialNumber": "A\u2066"}, False),
    ({"serialNumber": "A\u061c"}, False),
    ({"serialNumber": "A\u200b"}, True),
    ({"serialNumber": "\ufeffA"}, True),
    ({"serialNumber": "\U0001f4bb"}, True),
    ({"serialNumber": "\ue000"}, True),
    ({"serialNumber": "a" * 256}, True),
    ({"serialNumber": "a" * 257}, False),
    ({"serialNumber": "\U0001f4bb" * 256}, True),
    ({"serialNumber": "\U0001f4bb" * 257}, False),
    ({"serialNumber": "e\u0301"}, True),
    ({"serialNumber": "0"}, False),
    ({"serialNumber": "00"}, True),
    ({"serialNumber": "Default string"}, False),
    ({"serialNumber": "{serial}"}, False),
    ({"serialNumber": "<serial>"}, False),
    ({"serialNumber": "{serial>"}, False),
    ({"serialNumber": "{A}B"}, True),
    ({"serialNumber": "{\n}"}, False),
    ({"serialNumber": KEY}, False),
    ({"serialNumber": f"x {KEY}"}, False),
    ({"serialNumber": f"{KEY}X"}, True),
    ({"serialNumber": f"{KEY}\n"}, False),
    ({"serialNumber": KEY.replace("A", "\xc4")}, True),
    ({"serialNumber": None}, False),
    ({"serialNumber": 5}, False),
    ({"serialNumber": 5.0}, False),
    ({"serialNumber": True}, False),
    ({"serialNumber": []}, False),
    ({"serialNumber": {}}, False),
    ({"serialNumber": 10**30}, False),
    ({"serialNumber": 1e400}, False),
    ({"serialNumber": "\ud800"}, False),
    ({"serialNumber": "A", "\ud800": 1}, False),
    ({"serialNumber": "A", "x": 1}, False),
    ({"serialNumber": "A", "": ""}, False),
    ({}, False),
    ([], False),
    ("A", False),
    (None, False),
    (7, False),
    ({"manufacturer": "M", "model": "N"}, False),
    ({"manufacturer": "M\n", "serialNumber": "A"}, False),
    ({"productKeyId": "0033050067812"}, True),
    ({"productKeyId": "0033050067812\n"}, False),
    ({"productKeyId": "003305006781"}, False),
    ({"productKeyId": "00330500678123"}, False),
    ({"productKeyId": "0000000000000"}, False),
    ({"productKeyId": "\u0660" * 13}, False),
    ({"productKeyId": "\uff11" * 13}, False),
    ({"productKeyId": " 033050067812"}, False),
    ({"productKeyId": 33050067812}, False),
    ({"hardwareHash": "T0EG"}, True),
    ({"hardwareHash": "T0EG\n"}, False),
    ({"hardwareHash": "T0E"}, False),
    ({"hardwareHash": "T0E="}, True),
    ({"hardwareHash": "T==="}, False),
    ({"hardwareHash": "T0_-"}, False),
    ({"hardwareHash": "A" * 65_536}, True),
    ({"hardwareHash": "A" * 65_537}, False),
    ({"serialNumber": "A", "customer": "contoso.com"}, True),
    ({"serialNumber": "A", "customer": "contoso.com\n"}, False),
    ({"serialNumber": "A", "customer": "contoso"}, False),
    ({"serialNumber": "A", "customer": "-a.com"}, False),
    ({"serialNumber": "A", "customer": "a..com"}, False),
    ({"serialNumber": "A", "customer": "m\xfcller.de"}, False),
    ({"serialNumber": "A", "customer": "xn--mller-kva.de"}, True),
    ({"serialNumber": "A", "customer": "1.2.3.4"}, False),
    ({"serialNumber": "A", "customer": "a@contoso.com"}, False),
    ({"serialNumber": "A", "customer": "3F2C1C5E-8f0b-4c6e-9d3a-0d6f0f0b7a11"}, True),
    ({"serialNumber": "A", "customer": "3f2c1c5e8f0b4c6e9d3a0d6f0f0b7a11"}, False),
    ({"serialNumber": "A", "reference": "x" * 257}, False),
    ({"serialNumber": "A", "replacement": {}}, False),
    ({"serialNumber": "A", "replacement": {"serialNumber": "B"}}, True),
    ({"serialNumber": "A", "replacement": {"model": "B"}}, False),
    ({"serialNumber": "A", "extra": {}}, True),
    ({"serialNumber": "A", "extra": {"": "x"}}, False),
    ({"serialNumber": "A", "extra": {"k": ""}}, True),
    ({"serialNumber": "A", "extra": {"k": KEY}}, False),
    ({"serialNumber": "A", "extra": {KEY: "k"}}, False),
    ({"serialNumber": "A", "extra": {"k": None}}, False),
    ({"serialNumber": "A", "extra": {"k": {"k": "k"}}}, False),
]


def reference(schema: dict[str, Any]) -> Any:
    """The validator of the reference implementation, with `$` as ECMA-262 has it: the end."""
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(json.dumps(schema).replace('$"', '\\\\Z"')))


@pytest.mark.parametrize(("row", "verdict"), ODD_ROWS, ids=[ascii(row)[:50] for row, _ in ODD_ROWS])
def test_the_reference_implementation_has_the_same_verdict(row: object, verdict: bool) -> None:
    device = Checker(part(BATCH, "device"))
    assert verdict == device.accepts(row) == (not device.violations(row))
    if "\\ud800" not in ascii(row):  # half a character is no JSON, which jsonschema does not say
        assert verdict == reference(part(BATCH, "device")).is_valid(row)


def refused() -> list[dict[str, object]]:
    return [row for row, verdict in ODD_ROWS if not verdict and isinstance(row, dict)]


@pytest.mark.slow
@pytest.mark.parametrize("row", refused(), ids=lambda row: ascii(row)[:50])
def test_whatever_the_schema_refuses_is_explained(row: dict[str, object]) -> None:
    """Each refusal has an error with words of its own, unless trimming made the row good."""
    values, found = RowCheck(None, blank_is_absent=False).examine(row)
    errors = [one for one in found if one.severity is Severity.ERROR]
    assert errors or Checker(part(BATCH, "device")).accepts(values)
    assert "schema" not in {one.rule for one in errors}
    assert KEY not in "".join(one.message for one in errors)


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of a schema with its definition."""
    if isinstance(schema, list):
        for place, one in enumerate(schema):
            yield from nodes(one, f"{path}/{place}")
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and not path.endswith(("if", "then")):
            for name, one in schema["properties"].items():
                yield f"{path}/{name}", one
        for name, one in schema.items():
            if name not in ("examples", "if", "then"):
                yield from nodes(one, f"{path}/{name}")


@pytest.mark.parametrize("schema", [BATCH, VALIDATION], ids=["batch", "validation"])
def test_every_property_is_described(schema: dict[str, Any]) -> None:
    described = list(nodes(schema))
    assert described
    for path, one in described:
        assert {"title", "description", "examples"} <= set(one), path
        assert one["examples"], path


@pytest.mark.parametrize("schema", [BATCH, VALIDATION], ids=["batch", "validation"])
def test_every_example_is_valid(schema: dict[str, Any]) -> None:
    for path, one in nodes(schema):
        check = Checker({**one, "$defs": schema["$defs"]})
        for example in one["examples"]:
            assert check.violations(example) == (), path
    for example in schema["examples"]:
        assert Checker(schema).violations(example) == ()


@pytest.mark.parametrize("schema", [BATCH, VALIDATION], ids=["batch", "validation"])
def test_schemas_are_closed_and_versioned(schema: dict[str, Any]) -> None:
    assert re.fullmatch(r"urn:partner-tools:schema:[a-z]+:[0-9]+", schema["$id"])
    assert "2020-12" in schema["$schema"]
    texts = json.dumps(schema)
    assert texts.count('"properties"') - texts.count('"then": {"properties"') - texts.count(
        '"if": {"properties"'
    ) == texts.count('"additionalProperties": false')
    assert "\\\\d" not in texts
    assert "\\\\s" not in texts.lower()


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(map(str.title, rest))


def names_of(kind: type, *, without: tuple[str, ...] = ()) -> set[str]:
    return {camel(one.name) for one in fields(kind) if one.name not in without}


def test_properties_are_the_fields_of_the_nouns() -> None:
    device = names_of(
        Device, without=("row", "identity", "derived", "contradictions", "hash_confirms")
    ) | names_of(Identity)
    assert device == set(BATCH["$defs"]["device"]["properties"])
    batch = names_of(Batch, without=("file", "digest")) | {"schemaVersion"}
    assert batch == set(BATCH["properties"])
    assert names_of(Problem) == set(VALIDATION["$defs"]["problem"]["properties"])
    assert set(BATCH["$defs"]["replacement"]["properties"]) < names_of(Identity)


def test_properties_are_the_columns() -> None:
    """A table says everything that a JSON device says but `extra` and `replacement`."""
    told = {"carried", "deviceName", *columns.STATUS}
    assert set(BATCH["$defs"]["device"]["properties"]) - {"extra", "replacement"} == (
        set(columns.SPELLINGS) - told
    )


def test_enumerations_are_those_of_the_model() -> None:
    properties = BATCH["properties"]
    assert [str(one) for one in Reason] == properties["reason"]["enum"]
    assert [str(one) for one in PARTNER_CHANNELS] == properties["channel"]["enum"]
    problem = VALIDATION["$defs"]["problem"]["properties"]
    assert [str(one) for one in Severity] == problem["severity"]["enum"]


def test_placeholders_are_told_without_regard_to_case() -> None:
    check = RowCheck(None, blank_is_absent=True)
    for text in BATCH["$defs"]["placeholderSerial"]["enum"]:
        for spelt in (text, text.upper(), text.lower(), text.title()):
            _, found = check.examine({"serialNumber": spelt})
            assert "placeholder-serial" in {one.rule for one in found}, spelt
            assert identifiers.is_placeholder(spelt)


def test_schemas_are_found_in_a_checkout() -> None:
    assert {"batch", "validation"} <= set(schema_names())
    with pytest.raises(KeyError):
        load_schema("../batch")


def test_every_rule_is_used_and_every_rule_that_is_used_is_there() -> None:
    names = set(rules.all_rules())
    assert len(names) > 60
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    folder = Path(str(rules.__file__)).parent
    code = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    called = re.findall(r'\b(?:finding|halt|_refused)\(\s*"([^"]+)"', code)
    assert len(called) > 60
    assert set(called) <= names <= set(re.findall(r'"([a-z0-9-]+)"', code))


def test_the_remedy_of_an_unknown_fact_names_every_fact() -> None:
    assert rules.all_rules()["unknown-fact"][1] == f"write one of: {', '.join(FACTS)}"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("2026-03-02T10:11:33Z", True),
        ("2026-03-02T10:11:33.2417951+01:00", True),
        ("2026-03-02T10:11:33", False),
        ("2026-13-02T10:11:33Z", False),
        ("2026-03-02", False),
        ("2026-03-02T10:11:33Z\n", False),
    ],
)
def test_moments_are_those_of_the_services(text: str, verdict: bool) -> None:
    """Seven fractional digits occur; a time without offset is none."""
    check = Checker({"type": "string", "format": "date-time"})
    assert verdict == check.accepts(text)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("3F2C1C5E-8f0b-4c6e-9d3a-0d6f0f0b7a11", True),
        ("3f2c1c5e8f0b4c6e9d3a0d6f0f0b7a11", False),
        ("3f2c1c5e-8f0b-4c6e-9d3a-0d6f0f0b7a11\n", False),
        (5, True),
    ],
)
def test_formats_look_at_texts_only(text: object, verdict: bool) -> None:
    for name in ("uuid", "date-time") if text == 5 else ("uuid",):
        check = Checker({"format": name})
        assert verdict == check.accepts(text)


def test_patterns_that_look_around_are_taken() -> None:
    check = Checker({"pattern": "^(?!a)b$"})
    assert [True, False, False] == [check.accepts(text) for text in ("b", "ab", "b\n")]


def test_a_checker_says_what_is_expected() -> None:
    found = checker("validation").violations({"schemaVersion": "1", "valid": 1, "devices": -1})
    assert [(one.path, one.keyword, one.message) for one in found] == [
        ((), "required", "lacks `problems`"),
        (("devices",), "minimum", "is less than 0"),
        (("valid",), "type", "is a number instead of a boolean"),
    ]


@pytest.mark.parametrize("name", schema_names())
def test_the_reference_implementation_finds_the_same_violations(name: str) -> None:
    """In a schema's examples, and in parts of them."""
    schema = load_schema(name)
    plain = reference(schema)
    ours = Checker(schema)
    documents: list[Any] = [{}, [], None, *schema.get("examples", ())]
    for document in schema.get("examples", ()):
        documents += ({k: v for k, v in document.items() if k != left} for left in document)
        documents += ({**document, changed: 5} for changed in document)
    for document in documents:
        expected = {
            (str(list(error.absolute_path)), str(error.validator))
            for error in plain.iter_errors(document)
            if "propertyNames" not in error.absolute_schema_path
        }
        found = {(str(list(one.path)), one.keyword) for one in ours.violations(document)}
        assert expected == {one for one in found if one[1] not in ("propertyNames", "format")}


def test_reading_a_batch_loads_no_library_of_other_formats(tmp_path: Path) -> None:
    """Their imports cost more than checking ten rows."""
    batch = tmp_path / "batch.csv"
    batch.write_text("Serial,Customer\nA1,contoso.com\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from partner_tools.intake.batch import *;"
        "from partner_tools.intake.batch_metadata import IntakeOptions;"
        f"found = read_batch(Source(name='b', path=Path({str(batch)!r})), IntakeOptions());"
        "assert found.batch; heavy = ('openpyxl', 'partner_tools.outstanding.evidence');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
