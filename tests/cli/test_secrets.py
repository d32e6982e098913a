"""Marked secrets through every command that touches one, at the highest verbosity: none comes out.

What is looked through: stdout, stderr (logs, errors, crashes), the arguments of every process that
a command starts, and every file that a command left: ledger, plans, reports, restore file,
temporary files. Who may hold one is named: the token cache holds refresh tokens, the restore kit
hardware hashes.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import pytest
from click.testing import Result
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificates

from docs.generate import commands
from partner_tools.cli import main
from partner_tools.clients.transport import Transport
from partner_tools.config import SECRETS
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, sign_in_as, world
from tests.clients.oem_profiles import profile_of
from tests.intake.hash_encoder import machine

pytestmark = pytest.mark.slow

DOMAIN = "contoso.onmicrosoft.com"
LOUD = ("-vv", "--log-format", "json")
PASSPHRASE = "MARKED passphrase of a key"
MARKS = {
    "PARTNER_TOOLS_CLIENT_SECRET": "MARKED.client~secret",
    "PARTNER_TOOLS_CERTIFICATE_PASSWORD": "MARKED certificate password",
    "PARTNER_TOOLS_SIGNING_PASSPHRASE": PASSPHRASE,
    "PARTNER_TOOLS_ACCESS_TOKEN": "MARKED.access.token",
    "PARTNER_TOOLS_GRAPH_TOKEN": "MARKED.graph.token",
    "PARTNER_TOOLS_REFRESH_TOKEN": "MARKED-refresh-token",
    "DEPOT_PASSWORD": "MARKED depot password",
}
SECRET = "PARTNER_TOOLS_ACCESS_TOKEN"
HASH = machine(1).encode()
STARTED: list[str] = []
"""The arguments of every process that this one started: what the list of processes shows."""


def _note_start(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system"):
        STARTED.append(f"{event} {arguments[:2]}")


sys.addaudithook(_note_start)


@dataclass(slots=True)
class Watch:
    """Runs commands, and remembers what must not come out of them, and all that came."""

    program: Program
    marks: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    exits: set[int] = field(default_factory=set)

    def run(self, *arguments: str | Path, **environment: str) -> Result:
        """Run a command, whatever becomes of it."""
        for name, text in environment.items():
            if text and name in (*SECRETS, "DEPOT_PASSWORD", "DEPOT_SECRET"):
                self.marks[f"{name}: {text[-12:]}"] = text
        program = Program(
            self.program.folder, {**self.program.environment, "TMPDIR": "", **environment}
        )
        result = program(*arguments, *LOUD)
        self.exits.add(result.exit_code)
        self.said += [result.stdout, result.stderr]
        return result

    def run_all(self, calls: Sequence[tuple[str | Path, ...]], **environment: str) -> None:
        """Run several commands alike."""
        for call in calls:
            self.run(*call, **environment)

    def told(self, allowed: Callable[[Path, str], bool]) -> list[str]:
        """Where a secret came out: `name in file`."""
        texts = {
            "what was said": "\n".join(self.said).encode(),
            "arguments of processes": "\n".join(STARTED).encode(),
        }
        for path in self.program.folder.rglob("*"):
            if path.is_file():
                texts[str(path.relative_to(self.program.folder))] = path.read_bytes()
        return [
            f"{name} in {place}"
            for name, mark in self.marks.items()
            for place, content in texts.items()
            for form in (mark.encode(), mark.encode("utf-16-le"))
            if form in content and not allowed(Path(place), name)
        ]


def allowed(path: Path, name: str) -> bool:
    """Where a secret may rest: in what the user brought, the token cache, the restore kit."""
    if "brought" in path.parts:
        return True
    if name.startswith("hash"):
        return "kits" in path.parts or path.name.startswith("restore")
    return name.startswith("PARTNER_TOOLS_REFRESH_TOKEN") and path.name.startswith("tokens-")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    devices = [
        {"serialNumber": f"SN-{number}", "hardwareHash": machine(number).encode()}
        for number in range(6)
    ]
    registered = [{"serialNumber": "OEM-1", "oemManufacturerName": "Fabrikam", "modelName": "Book"}]
    seed = seed_from(world(customer({"B": devices, "O": registered}, graph={"machines": []})))
    with Sandbox(seed, oem_profile=profile_of(f"[oem]\n{DEPOT}")) as running:
        yield running


BEARER = """[oem.auth]
mode = "entra"
entra_tenant = "{tenant}"
entra_client_id = "{app}"
entra_scope = "https://api.partnercenter.microsoft.com/.default"
entra_credential_env = "DEPOT_SECRET"
"""
DEPOT = '[oem.auth]\nclient_cert = "depot.pfx"\nkey_password_env = "DEPOT_PASSWORD"\n'


@pytest.fixture
def watch(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    (tmp_path / "brought").mkdir()
    (tmp_path / "temp").mkdir()
    (tmp_path / "user").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    folder = str(tmp_path / "user")
    variables = {"XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder, "HOME": folder}
    (tmp_path / "partner-tools.toml").write_text(
        "[default.auth]\nallow_plaintext_cache = true\n", encoding="utf-8"
    )
    return Watch(program_for(sandbox, tmp_path, **variables))


def pack(sandbox: Sandbox, file: Path, password: str) -> None:
    """The sandbox's client certificate as a PFX file."""
    pem = sandbox.client_certificate.read_bytes()
    found, *chain = load_pem_x509_certificates(pem)
    content = pkcs12.serialize_key_and_certificates(
        b"depot",
        load_pem_private_key(pem, None),  # type: ignore[arg-type]
        found,
        chain,
        BestAvailableEncryption(password.encode()),
    )
    file.write_bytes(content)


def removal(watch: Watch, serial: str, name: str = "batch.csv") -> tuple[str | Path, ...]:
    batch = watch.program.folder / "brought" / name
    batch.write_text(f"Serial,Hardware Hash\n{serial},{HASH}\n", encoding="utf-8")
    return (
        *("deregister", batch, "--via", "partner-center", "--customer", CONTOSO, "--yes"),
        *("--settle", "0"),
    )


def test_no_secret_comes_out_of_anything(
    sandbox: Sandbox, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every way to sign in, good and bad; every command that has a secret at hand; a crash."""
    folder = watch.program.folder
    brought, (app, *_) = folder / "brought", sandbox.announce()["applications"]
    watch.marks |= {f"hash {number}": machine(number).encode() for number in range(6)}
    batch = removal(watch, "SN-1")
    (brought / "plain.csv").write_text("Serial\nSN-2\nSN-9\n", encoding="utf-8")
    plan = folder / "plan.json"
    planning = ("plan", brought / "plain.csv", "--via", "partner-center", "--customer", CONTOSO)

    good = {"PARTNER_TOOLS_ACCESS_TOKEN": sandbox.tokens["app"]}
    graph = {"PARTNER_TOOLS_GRAPH_TOKEN": sandbox.tokens[f"graph:{DOMAIN}"]}
    key = folder / "key.locked"
    signing = {"PARTNER_TOOLS_SIGNING_PASSPHRASE": PASSPHRASE}
    watch.run("approve", "--init", "--key", key, **signing)
    watch.run_all([(*planning, "-o", plan), batch], **good, **graph)
    watch.run("approve", plan, "--key", key, "--yes", **signing)
    sign_in_as(monkeypatch, "somebody-else")
    watch.run("approve", plan, "--key", key, "--yes", **signing)
    watch.run("approve", plan, "--key", key, "--yes", PARTNER_TOOLS_SIGNING_PASSPHRASE="MARKED no")
    watch.run("deregister", "--plan", plan, "--yes", "--report", folder / "out", **good, **graph)
    run = watch.program.json("runs")["runs"][0]["run"]
    offline: list[tuple[str | Path, ...]] = [
        ("runs", run),
        ("report", run, "-o", folder / "out"),
        ("restore", run, "-o", folder / "restore.csv"),
        ("trace", "SN-2"),
        ("ledger", "export"),
        ("ledger", "verify"),
        ("validate", brought / "batch.csv"),
        ("config", "show"),
        ("schema",),
    ]
    watch.run_all(offline, **{**MARKS, **good, **graph})
    online: list[tuple[str | Path, ...]] = [
        ("auth", "status"),
        ("doctor", "--customer", CONTOSO),
        ("verify", run, "--graph"),
        ("resume", run),
    ]
    named = {
        "PARTNER_TOOLS_TENANT": sandbox.seed.partner.tenant_id,
        "PARTNER_TOOLS_CLIENT_ID": app["clientId"],
        "PARTNER_TOOLS_ACCESS_TOKEN": "",
    }
    ways: list[dict[str, str]] = [
        {**good, **graph},
        {"PARTNER_TOOLS_ACCESS_TOKEN": sandbox.tokens["expired"]},
        {"PARTNER_TOOLS_ACCESS_TOKEN": MARKS["PARTNER_TOOLS_ACCESS_TOKEN"]},
        {"PARTNER_TOOLS_ACCESS_TOKEN": "MARKED\x07bell"},
        {**good, "PARTNER_TOOLS_GRAPH_TOKEN": MARKS["PARTNER_TOOLS_GRAPH_TOKEN"]},
        {**named, "PARTNER_TOOLS_CLIENT_SECRET": app["secret"]},
        {**named, "PARTNER_TOOLS_CLIENT_SECRET": MARKS["PARTNER_TOOLS_CLIENT_SECRET"]},
        {
            **named,
            "PARTNER_TOOLS_CLIENT_SECRET": app["secret"],
            "PARTNER_TOOLS_REFRESH_TOKEN": sandbox.tokens["refresh"],
        },
        {
            **named,
            "PARTNER_TOOLS_CLIENT_SECRET": app["secret"],
            "PARTNER_TOOLS_REFRESH_TOKEN": MARKS["PARTNER_TOOLS_REFRESH_TOKEN"],
        },
    ]
    for way in ways:
        watch.run_all(online[:2] if way is not ways[0] else online, **way)
    watch.run("auth", "logout")

    pack(sandbox, brought / "app.pfx", MARKS["PARTNER_TOOLS_CERTIFICATE_PASSWORD"])
    config = brought / "certificate.toml"
    config.write_text('[default.auth]\ncertificate = "app.pfx"\n', encoding="utf-8")
    for password in (MARKS["PARTNER_TOOLS_CERTIFICATE_PASSWORD"], "MARKED wrong"):
        chosen = {**named, "PARTNER_TOOLS_CERTIFICATE_PASSWORD": password}
        watch.run("auth", "status", "--config", config, **chosen)

    pack(sandbox, brought / "depot.pfx", MARKS["DEPOT_PASSWORD"])
    profile = brought / "oem.toml"
    profile.write_text(f"[oem]\n{DEPOT}", encoding="utf-8")
    (brought / "oem.csv").write_text(
        "Serial,Manufacturer,Model\nOEM-1,Fabrikam,Book\n", encoding="utf-8"
    )
    for password in (MARKS["DEPOT_PASSWORD"], "MARKED wrong too"):
        watch.run(
            *("deregister", brought / "oem.csv", "--via", "oem-direct", "--yes", "--again"),
            PARTNER_TOOLS_OEM_PROFILE=str(profile),
            DEPOT_PASSWORD=password,
        )

    for url in (
        "postgresql+psycopg://me:MARKEDdb@127.0.0.1:1/x",
        "postgresql+psycopg://me:MARKEDdb%40x@127.0.0.1:1/x",
        "postgresql+psycopg://127.0.0.1:1/x?user=me&password=MARKEDdb",
        "mysql://me:MARKEDdb@127.0.0.1/x",
        "://me:MARKEDdb@127.0.0.1/x",
        "postgresql+psycopg://me:MARKED/db@MARKEDdb@127.0.0.1:1/x",
    ):
        watch.marks["database password"] = "MARKEDdb"
        watch.run_all([("runs",), ("config", "show"), ("doctor",)], PARTNER_TOOLS_LEDGER=url)
        watch.run_all([("runs", "--ledger", url), ("ledger", "migrate", url)])
        watch.run("submit", brought / "plain.csv", "--yes", PARTNER_TOOLS_LEDGER=url, **good)
        watch.run("worker", PARTNER_TOOLS_LEDGER=url, **good)

    def crash(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Transport, "send", crash)
    for way in ways:
        watch.run("doctor", **way)

    assert {0, 1, 2, 3, 4, 6, 7, 8} <= watch.exits
    assert watch.told(allowed) == []
    assert any("a bug" in said for said in watch.said)
    assert list((folder / "temp").iterdir()) == []
    if sys.platform != "win32":
        assert _open_to_others(folder) == []


def test_no_secret_comes_out_of_what_goes_elsewhere(sandbox: Sandbox, watch: Watch) -> None:
    """A sign-in by a person, a registration, the customer's cleanup."""
    folder = watch.program.folder
    watch.marks |= {f"hash {number}": machine(number).encode() for number in range(6)}
    good = {SECRET: sandbox.tokens["app"]}
    bad = {SECRET: MARKS[SECRET]}
    graph = {"PARTNER_TOOLS_GRAPH_TOKEN": sandbox.tokens[f"graph:{DOMAIN}"]}
    run_all = watch.run_all

    run_all([(*removal(watch, "SN-1"), "--report", folder / "out")], **good, **graph)
    run = watch.program.json("runs")["runs"][0]["run"]
    (handoff,) = (folder / "out").glob("*.json")
    cleaning = ("cleanup", handoff, "--keys-saved", "--settle", "30")
    back = ("restore", run, "-o", folder / "restore.csv", "--apply", "--yes")
    by_person = {
        "PARTNER_TOOLS_TENANT": sandbox.seed.partner.tenant_id,
        "PARTNER_TOOLS_CLIENT_ID": sandbox.announce()["applications"][1]["clientId"],
        SECRET: "",
    }
    ill = [watch.run(*back, **bad)]
    well = [
        watch.run(*cleaning, "--apply", "--yes", **graph),
        watch.run(*back, **good),
        watch.run("auth", "login", **by_person),
    ]
    watch.run("auth", "status", **by_person)
    ill.append(watch.run(*cleaning, "--apply", "--yes", PARTNER_TOOLS_GRAPH_TOKEN="MARKED.graph"))

    assert [each.exit_code for each in well] == [0] * len(well)
    assert [each.exit_code for each in ill] == [8, 4]  # a token without a tenant is another place
    assert watch.told(allowed) == []
    if os.name != "nt":  # whose folders no environment moves
        assert list((folder / "user").rglob("tokens-*"))
    assert list((folder / "temp").iterdir()) == []


def test_no_secret_comes_out_of_a_depot_that_signs_in(tmp_path: Path) -> None:
    """A wire profile that wants a bearer token: handed in, or got by the app's secret."""
    devices = [{"serialNumber": "OEM-1", "oemManufacturerName": "Fabrikam", "modelName": "Book"}]
    seed = seed_from(world(customer({"O": devices})))
    text = f"[oem]\n{BEARER.format(tenant=seed.partner.tenant_id, app='an-app')}"
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought" / "bearer.toml").write_text(text, encoding="utf-8")
    batch = tmp_path / "brought" / "oem.csv"
    batch.write_text("Serial,Manufacturer,Model\nOEM-1,Fabrikam,Book\n", encoding="utf-8")
    order = ("deregister", batch, "--via", "oem-direct", "--yes", "--again")
    judged = ("doctor", "--via", "oem-direct")
    with Sandbox(seed, oem_profile=profile_of(text)) as sandbox:
        profile = {"PARTNER_TOOLS_OEM_PROFILE": str(tmp_path / "brought" / "bearer.toml")}
        watch = Watch(program_for(sandbox, tmp_path, **profile))
        good = {SECRET: sandbox.tokens["app"]}
        by_secret = {SECRET: "", "DEPOT_SECRET": "MARKED depot secret"}
        well = [watch.run(*judged, **good), watch.run(*order, **good)]
        ill = [
            watch.run(*each, **way) for each in (judged, order) for way in (by_secret, {SECRET: ""})
        ]
        ill += [watch.run(*order, **{SECRET: bad}) for bad in (MARKS[SECRET], "MARKED\x07bell")]

    assert {each.exit_code for each in well} == {0}
    assert {each.exit_code for each in ill} == {4}
    assert watch.told(allowed) == []


def _open_to_others(folder: Path) -> list[str]:
    """What a command wrote and others may read."""
    ours = [
        path
        for path in folder.rglob("*")
        if "brought" not in path.parts and path.name not in ("partner-tools.toml", "temp", "user")
    ]
    wrong = [each for each in ours if stat.S_IMODE(each.stat().st_mode) & 0o077]
    assert {each.name for each in ours} >= {"ledger.db", "plan.json", "kits", "out", "key.locked"}
    return [f"{each.relative_to(folder)} {stat.S_IMODE(each.stat().st_mode):o}" for each in wrong]


def test_without_its_kit_a_restore_names_what_it_cannot_write(
    sandbox: Sandbox, watch: Watch
) -> None:
    """The kit may be deleted at any time; what went by its hash alone cannot come back."""
    program, folder = watch.program, watch.program.folder
    assert program(*removal(watch, "SN-1")).exit_code == 0
    run = program.json("runs")["runs"][0]["run"]
    (kit,) = (folder / "kits").iterdir()
    whole = program("restore", run, "-o", folder / "with.csv")
    assert HASH in (folder / "with.csv").read_text(encoding="utf-8")

    text = kit.read_text(encoding="utf-8")
    kit.write_text(text.replace(HASH, f"{HASH[:-8]}AAAAAAA="), encoding="utf-8")
    edited = program("restore", run, "-o", folder / "edited.csv")
    assert edited.exit_code == 7
    assert "would register another machine" in edited.output
    assert HASH[:16] not in (folder / "edited.csv").read_text(encoding="utf-8")

    kit.unlink()
    without = program("restore", run, "-o", folder / "without.csv")

    assert (whole.exit_code, without.exit_code) == (0, 7)
    assert "SN-1" in without.stdout + without.stderr


def test_no_option_takes_a_secret() -> None:
    """Other users of the machine see arguments: what is secret comes by environment or file."""
    words = ("secret", "password", "token", "passphrase")
    found = []
    for path in commands(main):
        command: click.Command | None = main
        for word in path[1:]:
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(main), word)
        assert command is not None
        names = [name for each in command.params for name in each.opts]
        found += [name for name in names if any(word in name for word in words)]

    assert found == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:MARKED@db/x",
        "postgresql://:MARKED@db/x",
        "postgresql://me:MARKED/with@signs@db/x",
        "postgresql+psycopg://db/x?user=me&password=MARKED",
        "postgresql+psycopg://db/x?sslPassword=MARKED",
    ],
)
def test_no_address_of_a_ledger_takes_a_password(url: str, watch: Watch) -> None:
    """What the environment may hold, an argument may not."""
    before = watch.program("--ledger", url, "runs")
    after = watch.program("runs", "--ledger", url)
    target = watch.program("ledger", "migrate", url)

    for refused in (before, after, target):
        assert refused.exit_code == 2
        assert "PARTNER_TOOLS_LEDGER" in refused.stderr
        assert "MARKED" not in refused.output


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_list_of_processes_shows_no_secret(sandbox: Sandbox, watch: Watch) -> None:
    """The real program, looked at from outside while it works, with all that it started."""
    sandbox.behave(faults_from({"latency": [{"operation": "list-batches", "seconds": 0.5}]}))
    token = sandbox.tokens["app"]
    environment = {**os.environ, **watch.program.environment, **MARKS, SECRET: token}
    arguments = map(str, removal(watch, "SN-1"))
    with subprocess.Popen(
        [sys.executable, "-m", "partner_tools", *arguments, *LOUD],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        shown = []
        while process.poll() is None:
            shown += _command_lines(process.pid)
            time.sleep(0.05)

    assert process.returncode == 0
    assert any("deregister" in each for each in shown)
    assert [each for each in shown if "MARKED" in each or token in each] == []


def _command_lines(process: int) -> list[str]:
    """The arguments of a process and of all that it started."""
    folder = Path("/proc") / str(process)
    try:
        own = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        children = (folder / "task" / str(process) / "children").read_text().split()
    except OSError:
        return []
    return [own, *(line for child in children for line in _command_lines(int(child)))]
