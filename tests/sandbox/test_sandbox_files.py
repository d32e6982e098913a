"""Seed and faults files, their schemas, and the sandbox as a process of its own."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from partner_tools.errors import InputError
from partner_tools.intake.schema import checker, load_schema
from partner_tools.sandbox import (
    Sandbox,
    Seed,
    faults_from,
    read_faults,
    read_seed,
    seed_from,
    serve,
    shipped_seed,
)
from partner_tools.sandbox.faults import (
    BodyForm,
    FaultKind,
    Faults,
    LastPage,
    LimitKind,
    Quirks,
    RetryAfter,
    Scope,
)
from partner_tools.sandbox.graph.request import ROUTES as GRAPH_ROUTES
from partner_tools.sandbox.partner_center import ROUTES
from partner_tools.sandbox.seed import Relationship

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
PARTNER = {"domain": "fabrikam.onmicrosoft.com"}


def write(folder: Path, document: object) -> Path:
    path = folder / "file.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_the_shipped_samples_keep_their_schemas() -> None:
    seed, faults = shipped_seed(), read_faults(SAMPLES / "sandbox-faults.json")
    assert seed.partner.name == "Fabrikam Devices"
    assert sum(len(batch.devices) for batch in seed.customers[1].batches) == 1250
    assert [rule.fault.kind for rule in faults.rules].count(FaultKind.LOSE_ANSWER) == 1


def test_every_device_of_the_shipped_seed_has_an_id_of_its_own() -> None:
    ids = [
        device.id
        for customer in shipped_seed().customers
        for batch in customer.batches
        for device in batch.devices
    ]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("document", "column"),
    [
        ({}, None),
        ({"schemaVersion": "2", "partner": PARTNER}, "schemaVersion"),
        ({"schemaVersion": "1", "partner": {**PARTNER, "tenantId": "me"}}, "partner/tenantId"),
        ({"schemaVersion": "1", "partner": PARTNER, "customer": []}, None),
        (
            {
                "schemaVersion": "1",
                "partner": PARTNER,
                "customers": [{"domain": "a", "batches": [{}]}],
            },
            "customers/0/batches/0",
        ),
    ],
)
def test_a_seed_that_breaks_its_schema_says_where(
    tmp_path: Path, document: Any, column: str | None
) -> None:
    path = write(tmp_path, document)
    with pytest.raises(InputError) as failure:
        read_seed(path)
    assert column in [problem.column for problem in failure.value.problems]
    assert str(path) in str(failure.value)
    assert "partner-tools schema sandbox-seed" in failure.value.remedy


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schemaVersion": "1", "partner": {"domain": "\\ud800p.example"}}', "not UTF-8"),
        ('{"schemaVersion": "1", "partner": {"domain": "a"}, "partner": {"domain": "b"}}', "twice"),
        ("[" * 5000 + "]" * 5000, "deep"),
    ],
)
def test_a_seed_that_is_no_plain_json_is_refused_in_words(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "seed.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=why):
        read_seed(path)


@pytest.mark.parametrize(
    "document",
    [
        {"rules": [{"fault": {"kind": "fire"}}]},
        {"rules": [{"match": {"nth": 0}, "fault": {"kind": "slow"}}]},
        {"rules": [{"match": {"probability": 2}, "fault": {"kind": "slow"}}]},
        {"limits": [{"rate": 0}]},
        {"limits": [{"rate": 1, "lockout": [1]}]},
        {"quirks": {"bomb": True}},
    ],
)
def test_faults_that_break_their_schema_are_refused(tmp_path: Path, document: Any) -> None:
    with pytest.raises(InputError):
        read_faults(write(tmp_path, {"schemaVersion": "1", **document}))


def test_a_path_that_is_no_regular_expression_is_refused(tmp_path: Path) -> None:
    rule = {"match": {"path": "("}, "fault": {"kind": "slow"}}
    with pytest.raises(InputError, match="regular expression"):
        read_faults(write(tmp_path, {"schemaVersion": "1", "rules": [rule]}))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seed.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*seed\.json"):
        read_seed(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_faults(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    ("definition", "name", "values"),
    [
        ("fault", "kind", FaultKind),
        ("fault", "body", BodyForm),
        ("fault", "retryAfterForm", RetryAfter),
        ("limit", "kind", LimitKind),
        ("limit", "scope", Scope),
        ("limit", "retryAfter", RetryAfter),
        ("quirks", "lastPage", LastPage),
    ],
)
def test_the_words_of_the_schema_are_the_words_of_the_program(
    definition: str, name: str, values: Any
) -> None:
    schema = load_schema("sandbox-faults")["$defs"][definition]["properties"][name]
    assert schema["enum"] == [str(value) for value in values]


def test_relationships_are_the_same_in_schema_and_program() -> None:
    schema = load_schema("sandbox-seed")["$defs"]["customer"]["properties"]["relationship"]
    assert set(schema["enum"]) == {str(value) for value in Relationship}


def test_quirks_that_a_file_leaves_out_are_as_the_schema_says() -> None:
    properties = load_schema("sandbox-faults")["$defs"]["quirks"]["properties"]
    defaults = {name: schema["default"] for name, schema in properties.items()}
    assert checker("sandbox-faults").violations({"schemaVersion": "1", "quirks": defaults}) == ()
    assert faults_from({"quirks": defaults}) == Faults() == Faults(quirks=Quirks())


def test_what_a_seed_leaves_out_is_derived_the_same_way_each_time() -> None:
    document = {
        "partner": PARTNER,
        "customers": [
            {"domain": "a.example", "batches": [{"id": "b", "devices": [{}, {}]}]},
            {"domain": "b.example", "fleets": [{"count": 7, "batches": 3, "productKeys": True}]},
        ],
        "generatedCustomers": 3,
    }
    first, second = seed_from(document), seed_from(document)
    assert first == second
    assert [len(batch.devices) for batch in first.customers[1].batches] == [2, 2, 3]
    assert [batch.id for batch in first.customers[1].batches] == ["Fleet 1", "Fleet 2", "Fleet 3"]
    assert len({customer.tenant_id for customer in first.customers}) == 5
    assert len({device.id for device in first.customers[0].batches[0].devices}) == 2


def test_the_announcement_is_all_that_a_client_needs(start: Callable[..., Sandbox]) -> None:
    sandbox = start()
    said = json.loads(json.dumps(sandbox.announce()))
    environment = said["environment"]
    answer = requests.get(
        f"{environment['PARTNER_TOOLS_PARTNER_CENTER_URL']}/v1/customers",
        headers={"Authorization": f"Bearer {environment['PARTNER_TOOLS_ACCESS_TOKEN']}"},
        timeout=10,
    )
    assert answer.status_code == 200
    assert said["urls"]["partnerCenter"].startswith("http://127.0.0.1:")
    assert said["urls"]["login"] == said["tlsUrls"]["login"]
    assert Path(said["caFile"]).read_text(encoding="ascii").startswith("-----BEGIN CERTIFICATE")


def test_nothing_is_left_behind(world: Seed) -> None:
    with Sandbox(world) as sandbox:
        folder, port = sandbox.ca_file.parent, int(sandbox.urls["login"].rsplit(":", 1)[1])
        assert folder.is_dir()
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_port_that_is_taken_is_named(world: Seed) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=str(port)), Sandbox(world, port=port):
            pass
    with pytest.raises(InputError, match="cannot listen"):
        serve(None, None, -1, print)


@contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "partner_tools", "sandbox", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without a signal")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_as_a_process_until_it_is_told_to_end(end: signal.Signals) -> None:
    with process("--faults", str(SAMPLES / "sandbox-faults.json")) as running:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
        url = f"{said['urls']['login']}/common/.well-known/openid-configuration"
        assert requests.get(url, timeout=10, verify=said["caFile"]).status_code == 200
        running.send_signal(end)
        assert running.wait(60) == 0
        assert running.stdout.read() == ""
        assert not Path(said["caFile"]).exists()


def test_a_bad_file_ends_the_process_with_a_sentence(tmp_path: Path) -> None:
    with process("--seed", str(write(tmp_path, {}))) as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (3, "")
    assert "sandbox-seed" in err
    assert "Traceback" not in err


def test_the_reference_names_everything_that_can_be_chosen(
    start: Callable[..., Sandbox],
) -> None:
    reference = (SAMPLES.parent / "docs" / "reference" / "sandbox.md").read_text(encoding="utf-8")
    schema = load_schema("sandbox-faults")["$defs"]
    sandbox = start()
    words = {
        *map(str, FaultKind),
        *schema["quirks"]["properties"],
        *schema["match"]["properties"],
        *schema["fault"]["properties"],
        *schema["limit"]["properties"],
        *schema["graph"]["properties"],
        *(route.operation for route in ROUTES),
        *(route.operation for route in GRAPH_ROUTES),
        *(re.sub(":.*", ":{domain}", kind) for kind in sandbox.tokens),
        *sandbox.announce(),
    } - {"schemaVersion"}
    assert sorted(word for word in words if f"`{word}`" not in reference) == []
