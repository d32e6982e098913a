"""A depot's pipeline from the command line: a wire profile, standard input, exit codes, resume."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import (
    CertificateBuilder,
    load_pem_x509_certificate,
    load_pem_x509_certificates,
)

from partner_tools.cli.app import Call
from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world
from tests.clients.oem_profiles import profile_of
from tests.faults.hurry import Hurry
from tests.intake.hash_encoder import machine

MTLS = '[oem.auth]\nmode = "mtls"\nclient_cert = "depot.pem"\n'
OPEN = '[oem.auth]\nmode = "none"\n'
LOCATION = (
    '[oem.response]\nmode = "location"\n'
    "[oem.poll]\ninterval_s = 0.05\nmax_interval_s = 0.1\ndeadline_s = 5\n"
)
ROW = "{},Fabrikam,Book"


@contextmanager
def depot(
    folder: Path,
    *devices: dict[str, Any],
    profile: str = OPEN,
    faults: dict[str, Any] | None = None,
    applications: Sequence[dict[str, Any]] = (),
    **more: str,
) -> Iterator[tuple[Sandbox, Program]]:
    """A sandbox that speaks the profile, and the program beside it."""
    text = f"[oem]\n{profile}"
    (folder / "oem.toml").write_text(text, encoding="utf-8")
    apps = {"applications": list(applications)} if applications else {}
    seed = seed_from({**world(customer({"b": list(devices)})), **apps})
    behaviour = faults_from({"schemaVersion": "1", **(faults or {})})
    with Sandbox(seed, behaviour, oem_profile=profile_of(text)) as sandbox:
        certificate = sandbox.client_certificate.read_bytes()
        (folder / "depot.pem").write_bytes(certificate)
        variables = {"PARTNER_TOOLS_OEM_PROFILE": str(folder / "oem.toml"), **more}
        yield sandbox, program_for(sandbox, folder, **variables)


def registered(*serials: str) -> list[dict[str, Any]]:
    return [
        {"serialNumber": serial, "oemManufacturerName": "Fabrikam", "modelName": "Book"}
        for serial in serials
    ]


def batch(*serials: str) -> str:
    return "\n".join(["Serial,Manufacturer,Model", *(ROW.format(serial) for serial in serials), ""])


def deregister(
    program: Program, stdin: str, *more: str, exit_code: int = 0, obj: Call | None = None
) -> tuple[dict[str, Any], str]:
    """`deregister -` as a pipeline runs it: its document and what it said on stderr."""
    arguments = ("deregister", "-", "--via", "oem-direct", "--yes", "--output", "json", *more)
    result = program(*arguments, stdin=stdin, obj=obj)
    assert result.exit_code == exit_code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert "error" in document or not checker("result").violations(document)
    return document, result.stderr


def test_a_pipeline_over_mutual_tls(tmp_path: Path) -> None:
    """Standard input in, one JSON document out, everything removed and nothing tripped."""
    serials = [f"S{number}" for number in range(20)]
    with depot(tmp_path, *registered(*serials), profile=MTLS + LOCATION) as (sandbox, program):
        document, said = deregister(program, batch(*serials))
        assert sandbox.oem_direct.trips == ()
        assert len(sandbox.log.of("deregister")) == 1
    assert document["counts"] == {"removed": 20}
    assert document["state"] == "finished"
    assert "assumed-v0" in said


def test_an_expired_certificate_sends_nothing(tmp_path: Path) -> None:
    """A server refuses it only after the request was sent, which would leave devices unknown."""
    with depot(tmp_path, *registered("S1"), profile=MTLS) as (sandbox, program):
        with expired(tmp_path / "depot.pem"):
            stdin = batch("S1")
            refused = program("deregister", "-", "--via", "oem-direct", "--yes", stdin=stdin)
        assert refused.exit_code == 4
        assert "expired at" in refused.stderr
        assert sandbox.log.of("deregister") == ()
        document, _ = deregister(program, stdin)
    assert document["counts"] == {"removed": 1}


@contextmanager
def expired(pem: Path) -> Iterator[None]:
    """The depot's certificate with its validity in the past, signed by its own key."""
    before = pem.read_bytes()
    key, old = load_pem_private_key(before, None), load_pem_x509_certificate(before)
    now = datetime.now(UTC)
    certificate = (
        CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(old.serial_number)
        .not_valid_before(now - timedelta(days=365))
        .not_valid_after(now - timedelta(hours=1))
        .sign(key, SHA256())  # type: ignore[arg-type]  # the sandbox's is an EC key
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    try:
        yield
    finally:
        pem.write_bytes(before)


SIGN_IN = """[oem.auth]
mode = "entra"
entra_tenant = "partner.example"
entra_client_id = "5d0b7f2e-93c1-4f6a-8e1d-2b6c9a4f0e33"
entra_scope = "https://api.partnercenter.microsoft.com/.default"
entra_credential_env = "DEPOT_SECRET"
"""


@pytest.mark.parametrize(("secret", "exit_code"), [("sandbox-secret", 0), ("mistyped", 4)])
def test_a_token_is_minted_at_the_login_that_is_configured(
    tmp_path: Path, secret: str, exit_code: int
) -> None:
    """Not at Microsoft's global one: another cloud, or a sandbox, has a login of its own."""
    app = {"clientId": "5d0b7f2e-93c1-4f6a-8e1d-2b6c9a4f0e33", "secret": "sandbox-secret"}
    with depot(
        tmp_path, *registered("S1"), profile=SIGN_IN, applications=[app], DEPOT_SECRET=secret
    ) as (sandbox, program):
        environment = dict(program.environment)
        del environment["PARTNER_TOOLS_ACCESS_TOKEN"]
        document, said = deregister(
            Program(tmp_path, environment), batch("S1"), exit_code=exit_code
        )
        sent = len(sandbox.log.of("deregister"))
    assert document["counts"] == ({"removed": 1} if exit_code == 0 else {"pending": 1})
    assert sent == (1 if exit_code == 0 else 0)
    assert secret not in said


def test_a_certificate_may_be_a_pfx_file(tmp_path: Path) -> None:
    """With a password that stands in the environment."""
    profile = '[oem.auth]\nclient_cert = "depot.pfx"\nkey_password_env = "DEPOT_PASSWORD"\n'
    with depot(tmp_path, *registered("S1"), profile=profile, DEPOT_PASSWORD="p") as opened:
        sandbox, program = opened
        pem = sandbox.client_certificate.read_bytes()
        key = load_pem_private_key(pem, None)
        found, *chain = load_pem_x509_certificates(pem)
        packed = pkcs12.serialize_key_and_certificates(
            b"depot",
            key,  # type: ignore[arg-type]
            found,
            chain,
            BestAvailableEncryption(b"p"),
        )
        (tmp_path / "depot.pfx").write_bytes(packed)
        document, _ = deregister(program, batch("S1"))
    assert document["counts"] == {"removed": 1}


def test_a_file_of_hashes_alone(tmp_path: Path) -> None:
    """Devices go by what their hashes say; the plan says so, and no hash leaves."""
    machines = [machine(number) for number in range(3)]
    devices = [
        {"productKey": each.product_key_id, "serialNumber": each.serial_number} for each in machines
    ]
    text = "\n".join(["Hardware Hash", *(each.encode() for each in machines), ""])
    with depot(tmp_path, *devices) as (_sandbox, program):
        document, said = deregister(program, text)
    assert document["counts"] == {"removed": 3}
    assert document["devices"][0]["serialNumber"] == machines[0].serial_number
    assert "3 devices are named by what the hardware hash says" in said


def test_a_misspelt_serial_is_not_done(tmp_path: Path) -> None:
    """807 for an identity that nothing else knows: exit 7, and a build server shows it skipped."""
    with depot(tmp_path, *registered("S1", "S2")) as (sandbox, program):
        file = tmp_path / "junit.xml"
        document, _ = deregister(program, batch("S1", "SZ"), "--junit", str(file), exit_code=7)
        left = [each.device.serial_number for each in sandbox.state.devices(CONTOSO)]
    assert document["counts"] == {"removed": 1, "unconfirmed": 1}
    assert checker("result").violations(document) == ()
    device = document["devices"][1]
    assert "a misspelling is possible" in device["detail"]
    assert "hardware hash" in device["remedy"]
    assert left == ["S2"]
    assert '<skipped type="unconfirmed"' in file.read_text(encoding="utf-8")
    assert 'failures="0"' in file.read_text(encoding="utf-8")


def test_a_depot_may_take_an_unknown_device_for_done(tmp_path: Path) -> None:
    """`oem.absent` in the wire profile."""
    with depot(tmp_path, *registered("S1"), profile=f'absent = "ok"\n{OPEN}') as (_, program):
        document, _ = deregister(program, batch("S1", "SZ"))
    assert document["counts"] == {"removed": 1, "absent": 1}


def test_a_hardware_hash_confirms_that_a_device_is_absent(tmp_path: Path) -> None:
    """It states the identity that the row does; the row of a hash alone goes by it."""
    one = machine(1)
    row = f"{one.serial_number},{one.product_key_id},{one.encode()}"
    text = f"Serial,Product key id,Hardware Hash\n{row}\n,,{machine(2).encode()}\n"
    with depot(tmp_path) as (_sandbox, program):
        document, _ = deregister(program, text)
    assert document["counts"] == {"absent": 2}
    assert "the hardware hash states the same identity" in document["devices"][0]["detail"]


def test_a_removal_of_another_device_vouches_for_none(tmp_path: Path) -> None:
    """The same serial number of another maker, and one that was refused: nobody removed those."""
    other = "Serial,Manufacturer,Model\nS1,Contoso,Book\n"
    with depot(tmp_path, *registered("S1")) as (_sandbox, program):
        deregister(program, batch("S1"))
        document, _ = deregister(program, other, exit_code=7)
    assert document["counts"] == {"unconfirmed": 1}


def test_a_row_that_its_hash_contradicts_stays(tmp_path: Path) -> None:
    """Every identifier of a row must agree."""
    text = f"Serial,Hardware Hash\nOTHER,{machine(1).encode()}\n"
    with depot(tmp_path) as (sandbox, program):
        document, _ = deregister(program, text, exit_code=7)
        assert sandbox.log.of("deregister") == ()
    (device,) = document["devices"]
    assert device["outcome"] == "ambiguous"
    assert "its hardware hash says" in device["detail"]


def test_a_device_that_is_listed_twice_is_removed_once(tmp_path: Path) -> None:
    """The second row says where the first one is; a row that names no device is exit 3."""
    with depot(tmp_path, *registered("S1")) as (sandbox, program):
        document, _ = deregister(program, batch("S1", "S1"), exit_code=7)
        assert [each["outcome"] for each in document["devices"]] == ["removed", "duplicate"]
        assert "row 2" in document["devices"][1]["detail"]
        refused, _ = deregister(program, batch("S2") + "S3,Fabrikam,\n", exit_code=3)
        assert len(sandbox.log.of("deregister")) == 1
    assert "model" in refused["problems"][0]["message"]


def test_a_completed_batch_is_not_repeated(tmp_path: Path) -> None:
    """The same content prints that run's result again; --again submits it anyway."""
    with depot(tmp_path, *registered("S1")) as (sandbox, program):
        first, _ = deregister(program, batch("S1"))
        second, _ = deregister(program, batch("S1"))
        assert {**first, "reprinted": True} == second
        assert checker("result").violations(second) == ()
        assert len(sandbox.log.of("deregister")) == 1
        third, _ = deregister(program, batch("S1"), "--again")
    assert third["counts"] == {"already-removed": 1}
    assert f"removed by run {first['run']} on 20" in third["devices"][0]["detail"]


def test_the_plan_of_a_completed_batch_is_not_repeated(tmp_path: Path) -> None:
    with depot(tmp_path, *registered("S1")) as (sandbox, program):
        plan = tmp_path / "plan.json"
        units = program.batch(batch("S1"))
        assert program("plan", units, "--via", "oem-direct", "-o", plan).exit_code == 0
        first = program.json("deregister", "--plan", plan, "--yes")
        second = program("deregister", "--plan", plan, "--yes", "--output", "json")
        assert json.loads(second.stdout) == {**first, "reprinted": True}
        assert "--again starts a new run" in second.stderr
        assert len(sandbox.log.of("deregister")) == 1
        third = program.json("deregister", "--plan", plan, "--yes", "--again")
    assert (first["counts"], third["counts"]) == ({"removed": 1}, {"already-removed": 1})


def test_a_lost_answer_is_unknown_until_resume(tmp_path: Path) -> None:
    """Exit 7 first; `resume` sends the same blank body once more."""
    rule = {
        "match": {"operations": ["deregister"], "nth": [1]},
        "fault": {"kind": "lose-answer"},
    }
    with depot(tmp_path, *registered("S1"), faults={"rules": [rule]}) as (sandbox, program):
        document, _ = deregister(program, batch("S1"), exit_code=7)
        assert document["counts"] == {"unknown": 1}
        assert "resume" in document["devices"][0]["remedy"]
        resumed = program.json("resume", document["run"])
        first, second = sandbox.log.of("deregister")
    assert resumed["counts"] == {"absent": 1}
    assert "earlier request of ours" in resumed["devices"][0]["detail"]
    assert first.correlation_id == second.correlation_id


def test_an_unreachable_address_is_named_for_every_device(tmp_path: Path) -> None:
    """Nothing left, so nothing is in doubt; why it waits stands beside each device."""
    with depot(tmp_path, *registered("S1", "S2")) as (sandbox, program):
        sandbox.refuse("oemDirect")
        soon = Call(make_token=Hurry().make_token)
        document, _ = deregister(program, batch("S1", "S2"), exit_code=5, obj=soon)
        sandbox.listen("oemDirect")
        resumed = program.json("resume", document["run"])
    assert (document["state"], document["counts"]) == ("stopped", {"pending": 2})
    for device in document["devices"]:
        assert "could not be reached" in device["detail"]
        assert device["remedy"] == "resume the run"
    assert resumed["counts"] == {"removed": 2}


def test_801_stops_the_run(tmp_path: Path) -> None:
    """Exit 5, and what was not sent is pending."""
    items = [{"serials": ["S1"], "number": "801"}]
    profile = f"batch_limit = 1\n{OPEN}"
    with depot(tmp_path, *registered("S1", "S2"), profile=profile, faults={"items": items}) as (
        sandbox,
        program,
    ):
        document, _ = deregister(program, batch("S1", "S2"), exit_code=5)
        assert len(sandbox.log.of("deregister")) == 1
        sandbox.behave(faults_from({"schemaVersion": "1"}))
        resumed, said = deregister(program, batch("S1", "S2"), exit_code=7)
        anew, _ = deregister(program, batch("S1", "S2"), "--again", exit_code=0)
    assert document["counts"] == {"refused": 1, "pending": 1}
    assert document["state"] == "stopped"
    assert f"was begun by run {document['run']}: resuming that run" in said
    assert (resumed["run"], resumed["counts"]) == (document["run"], {"refused": 1, "removed": 1})
    assert anew["counts"] == {"removed": 1, "already-removed": 1}


@pytest.mark.parametrize(
    ("text", "exit_code"),
    [
        ("Serial,TenantID\nS1,f8cdef31\n", 8),
        ("Serial,Tenant Domain\nS1,contoso.com\n", 8),
        ("Serial,\u0422enant ID\nS1,f8cdef31\n", 8),
        ("Serial,T\u0435n\u0430\u03b7tDomain\nS1,contoso.com\n", 8),
        ("Serial,T\u200be\u00adn\u0301ant\nS1,contoso.com\n", 8),
        (
            '{"schemaVersion":"1","devices":[{"serialNumber":"S1","extra":{"\u0442enantId":"x"}}]}',
            8,
        ),
        ('{"schemaVersion":"1","devices":[{"serialNumber":"S1","TenantID":"x"}]}', 8),
        ('{"schemaVersion":"1","TenantID":"x","devices":[{"serialNumber":"S1"}]}', 8),
    ],
)
def test_a_batch_with_a_tenant_is_refused(tmp_path: Path, text: str, exit_code: int) -> None:
    """Exit 8 with the reason, and nothing was sent."""
    with depot(tmp_path, *registered("S1")) as (sandbox, program):
        document, _ = deregister(program, text, exit_code=exit_code)
        assert sandbox.log.entries == ()
    assert document["error"]["exit"] == 8
    assert ":None" not in document["error"]["message"]


def test_the_channel_of_the_profile_refuses_a_tenant_too(tmp_path: Path) -> None:
    with depot(tmp_path, *registered("S1")) as (sandbox, program):
        (tmp_path / "partner-tools.toml").write_text('[default]\nvia = "oem-direct"\n', "utf-8")
        units = program.batch("Serial,Manufacturer,Model,TenantID\nS1,Fabrikam,Book,f8cdef31\n")
        commands = (("validate",), ("deregister", "--yes"), ("plan", "-o", str(tmp_path / "p")))
        ended = [program(name, units, *more) for name, *more in commands]
        assert sandbox.log.entries == ()
    assert [each.exit_code for each in ended] == [8, 8, 8]
    assert ":2: the column" in ended[1].stderr


@pytest.mark.parametrize(
    ("profile", "exit_code"),
    [
        (f"{OPEN}[oem.body]\nstatic_fields = {{ TenantID = 'x' }}", 8),
        (f"path = '/tenant/x'\n{OPEN}", 8),
        (f"extra_headers = {{ X-Tenant = 'x' }}\n{OPEN}", 8),
        (f"{OPEN}[oem.body]\nstatic_fields = {{ '\u0422\u0435nantID' = 'x' }}", 8),
        (f"{OPEN}[oem.response]\nok_values = ['']", 3),
        (f"colour = 'blue'\n{OPEN}", 3),
    ],
)
def test_a_profile_that_is_unsafe_is_refused(tmp_path: Path, profile: str, exit_code: int) -> None:
    """Before anything is planned or sent."""
    with depot(tmp_path, *registered("S1")) as (sandbox, program):
        (tmp_path / "oem.toml").write_text(f"[oem]\n{profile}", encoding="utf-8")
        document, _ = deregister(program, batch("S1"), exit_code=exit_code)
        assert sandbox.log.entries == ()
    assert document["error"]["remedy"]


def test_an_unknown_key_of_a_profile_is_named_with_what_is_near(tmp_path: Path) -> None:
    with depot(tmp_path, *registered("S1")) as (_, program):
        (tmp_path / "oem.toml").write_text(f"[oem]\nbatch_limt = 3\n{OPEN}", encoding="utf-8")
        document, _ = deregister(program, batch("S1"), exit_code=3)
    assert "(batch_limt, did you mean batch_limit?)" in document["error"]["message"]


def test_without_an_address_nothing_runs(tmp_path: Path) -> None:
    """There is no default."""
    with depot(tmp_path, PARTNER_TOOLS_OEM_DIRECT_URL="") as (_, program):
        document, _ = deregister(program, batch("S1"), exit_code=3)
    assert "no default" in document["error"]["message"]


def test_the_doctor_explains_what_is_assumed(tmp_path: Path) -> None:
    """Sentence by sentence, until somebody confirms the profile."""
    with depot(tmp_path) as (_, program):
        told = program("doctor", "--via", "oem-direct")
        assert told.exit_code == 0
        assert "not public" in told.output
        assert "never a hardware hash" in told.output
        assert "indirect reseller" not in told.output
        confirmed = f"[oem]\nprofile_confirmed = true\n{OPEN}"
        (tmp_path / "oem.toml").write_text(confirmed, encoding="utf-8")
        assert "assumed" not in program("doctor", "--via", "oem-direct").output
        (tmp_path / "partner-tools.toml").write_text('[default]\nvia = "oem-direct"\n', "utf-8")
        by_profile = program("doctor").output
        assert "indirect reseller" not in by_profile
        assert "next: partner-tools deregister repairs.csv" in by_profile


def test_a_request_left_open_too_long_is_not_sent_again(tmp_path: Path) -> None:
    """A unit may have been registered since, also where the ledger was restored or copied."""
    rule = {
        "match": {"operations": ["deregister"], "nth": [1]},
        "fault": {"kind": "lose-answer"},
    }
    profile = tmp_path / "partner-tools.toml"
    with depot(tmp_path, *registered("S1"), faults={"rules": [rule]}) as (sandbox, program):
        document, _ = deregister(program, batch("S1"), exit_code=7)
        profile.write_text("[default.guards]\nstale_hours = 0.0000001\n", encoding="utf-8")
        refused = program("resume", document["run"])
        assert refused.exit_code == 8, refused.output
        assert "--stale-ok" in refused.stderr
        assert len(sandbox.log.of("deregister")) == 1
        insisted = program.json("resume", document["run"], "--stale-ok")
        assert len(sandbox.log.of("deregister")) == 2
    assert insisted["counts"] == {"absent": 1}
