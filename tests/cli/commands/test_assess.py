"""`assess` and `runs done`: what is seen and said without a partner's API, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake.schema import checker
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, sign_in_as, world

pytestmark = pytest.mark.slow

DOMAIN = "contoso.onmicrosoft.com"
REGISTERED = ("5CG0000R01", "5CG0000R02", "5CG0000R03")
OWN = "5CG000OWN1"
QUICK = {"autopilotDelete": 0, "sync": 0, "checkIn": 0}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    joined = {"join": "entra-joined", "name": "ADELES-LAPTOP", "user": "adele@contoso.com"}
    machines = [
        {"serialNumber": REGISTERED[0], **joined},
        {"serialNumber": OWN, "windowsAutopilotDeviceIdentity": {}, "managedDevice": {}, **joined},
    ]
    seed = world(
        customer(
            {"b": [{"serialNumber": one} for one in REGISTERED]}, graph={"machines": machines}
        ),
        customer({"f": []}, tenant=FABRIKAM, domain="fabrikam.onmicrosoft.com"),
    )
    with Sandbox(seed_from(seed), faults_from({"graph": QUICK})) as served:
        yield served


def blind(sandbox: Sandbox, folder: Path, **more: str) -> Program:
    """Somebody without any sign-in, and without a partner's token."""
    return program_for(sandbox, folder, PARTNER_TOOLS_ACCESS_TOKEN="", **more)


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.chdir(tmp_path)
    token = sandbox.tokens[f"graph:{DOMAIN}"]
    return blind(sandbox, tmp_path, PARTNER_TOOLS_GRAPH_TOKEN=token)


@pytest.fixture
def remove_on_pages(sandbox: Sandbox, tmp_path: Path) -> Any:
    """A person who removes devices on Partner Center's pages: with a ledger of their own."""

    def remove(*serials: str) -> None:
        folder = tmp_path / "pages"
        folder.mkdir(exist_ok=True)
        person = program_for(sandbox, folder)
        named = [word for serial in serials for word in ("--serial", serial)]
        way = ("--via", "partner-center", "--customer", DOMAIN, "--yes", "--again")
        done = person("deregister", *named, *way, "--no-snapshot", "--min-found", "0")
        assert done.exit_code == 0, done.output

    return remove


def assess(program: Program, *more: str, exit_code: int = 7, **options: Any) -> dict[str, Any]:
    """Assess the devices of the sandbox; the result."""
    listed = options.get("listed", (*REGISTERED, OWN))
    named = [word for serial in listed for word in ("--serial", serial)]
    return program.json("assess", *named, "--customer", DOMAIN, *more, exit_code=exit_code)


def autopilot(document: dict[str, Any]) -> dict[str, str]:
    return {each["serialNumber"]: each["planes"]["autopilot"] for each in document["devices"]}


def handoff(program: Program, run: str) -> dict[str, Any]:
    """The handoff of a run as JSON."""
    folder = program.folder / f"handoff-{run}"
    done = program("report", run, "-o", folder, "--format", "json")
    assert done.exit_code == 0, done.output
    read: dict[str, Any] = json.loads(next(folder.glob("*.json")).read_text(encoding="utf-8"))
    assert checker("handoff").violations(read) == ()
    return read


def test_a_look_is_a_run_of_its_own_kind(program: Program, sandbox: Sandbox) -> None:
    document = assess(program)

    assert checker("result").violations(document) == ()
    assert (document["kind"], document["state"]) == ("assessment", "assessed")
    assert document["counts"] == {"assessed": 4}
    assert autopilot(document) == dict.fromkeys((*REGISTERED, OWN), "outstanding")
    listed = program.json("runs", "--state", "assessed")
    assert checker("runs").violations(listed) == ()
    assert [each["run"] for each in listed["runs"]] == [document["run"]]
    assert listed["runs"][0]["finishedAt"] is not None
    assert program("resume", document["run"]).exit_code == 7
    assert program("runs", "cancel", document["run"]).exit_code == 3
    assert {each.service for each in sandbox.log.entries} <= {"graph", "login"}
    assert {each.method for each in sandbox.log.entries if each.operation != "batch"} == {"GET"}


def test_without_a_sign_in_nothing_is_verified(sandbox: Sandbox, tmp_path: Path) -> None:
    program = blind(sandbox, tmp_path)
    document = assess(program)

    assert {status for each in document["devices"] for status in each["planes"].values()} == {
        "not-verified"
    }
    shown = program("assess", "--serial", OWN, "--customer", DOMAIN)
    assert "there is no sign-in for the customer's tenant" in shown.stderr
    assert "autopilot: 1 not-verified" in shown.stdout
    assert not any(each.service == "graph" for each in sandbox.log.entries)


def test_what_is_clear_on_every_plane_ends_with_0(program: Program, remove_on_pages: Any) -> None:
    document = assess(program, listed=REGISTERED[1:])
    remove_on_pages(*REGISTERED[1:])

    assert program("verify", document["run"], "--graph").exit_code == 0
    result = program.json("runs", document["run"])
    assert {each["detail"] for each in result["devices"]} == {"clear on every plane"}
    assert program("verify", "--outstanding").stdout == "no customer has open steps\n"


def test_a_persons_word_is_reported_until_a_look_agrees(
    program: Program, remove_on_pages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in_as(monkeypatch, "kim")
    run = assess(program, "--by-hand")["run"]
    steps = {each["serialNumber"]: each["steps"] for each in handoff(program, run)["devices"]}
    owners = {s["owner"] for s in steps[REGISTERED[0]] if s["id"] == "deregister-from-autopilot"}
    assert owners == {"partner"}
    remove_on_pages(REGISTERED[0])

    said = program.json("runs", "done", run, "--serial", REGISTERED[0], "--serial", REGISTERED[1])
    assert autopilot(said) == {
        REGISTERED[0]: "reported",
        REGISTERED[1]: "reported",
        REGISTERED[2]: "outstanding",
        OWN: "outstanding",
    }
    refused = program("certificate", run, "-o", "certificates", "--serial", REGISTERED[0])
    assert refused.exit_code != 0
    assert not Path("certificates").exists()

    looked = program("verify", run, "--graph")
    assert looked.exit_code == 7
    seen = autopilot(program.json("runs", run))
    assert seen == {**dict.fromkeys((*REGISTERED, OWN), "outstanding"), REGISTERED[0]: "clear"}
    notes = {
        each["serialNumber"]: each["planes"]["autopilot"].get("note", "")
        for each in handoff(program, run)["devices"]
    }
    assert "as reported by kim; seen to be gone on" in notes[REGISTERED[0]]
    assert "as reported by kim; but still registered when looked at on" in notes[REGISTERED[1]]
    assert notes[REGISTERED[2]] == ""
    outstanding = program.json("verify", "--outstanding", exit_code=7)
    assert outstanding["customers"][0]["stillListed"] == 1


def test_names_that_are_no_device_of_the_run_change_nothing(program: Program) -> None:
    first = assess(program, listed=("5CG0000X99",))["run"]
    run = assess(program, "--by-hand")["run"]
    before = program.json("runs", run)

    named = ("--serial", REGISTERED[0], "--serial", "5cg0000r02", "--serial", "5CG0000X99")
    done = program("runs", "done", run, *named, "--serial", "NOWHERE99")
    assert done.exit_code == 3
    assert "3 of 4 names match no device to mark as done" in done.stderr
    assert "5cg0000r02: not in this run; did you mean 5CG0000R02?" in done.stderr
    assert f"5CG0000X99: not in this run, but in run {first}" in done.stderr
    assert "NOWHERE99: not in this run, nor in any other of this ledger" in done.stderr
    assert program.json("runs", run) == before
    assert program("runs", "done", first, "--all").exit_code == 3  # not by hand
    assert program("runs", "done", run).exit_code == 3  # nothing on standard input
    assert program("runs", "done", run, "--all", "--serial", OWN).exit_code == 2
    assert program("runs", "done", "20200101-000000-000000", "--all").exit_code == 2


@pytest.mark.parametrize("way", ["file", "scanner", "piped", "all"])
def test_each_way_to_say_what_was_done(program: Program, way: str) -> None:
    run = assess(program, "--by-hand")["run"]
    text = f"{REGISTERED[0]}\n{REGISTERED[1]}\n"
    named: tuple[Any, ...] = {
        "file": ("--file", program.batch(f"S/N;Who\n{text.replace(chr(10), ';x' + chr(10))}")),
        "scanner": ("--file", "-"),
        "piped": (),
        "all": ("--all",),
    }[way]
    done = program("runs", "done", run, *named, "--output", "json", stdin=text)
    assert done.exit_code == 0, done.output
    reported = [
        serial for serial, how in autopilot(json.loads(done.stdout)).items() if how == "reported"
    ]
    assert reported == list(REGISTERED[:2] if way != "all" else (*REGISTERED, OWN))


def test_a_run_of_a_channel_accepts_no_persons_statement(sandbox: Sandbox, tmp_path: Path) -> None:
    program = program_for(sandbox, tmp_path)
    way = ("--via", "partner-center", "--customer", DOMAIN, "--yes", "--settle", "0")
    run = program.json("deregister", "--serial", REGISTERED[0], *way)["run"]

    refused = program.json("runs", "done", run, "--all", exit_code=3)
    assert refused["error"]["rule"] == "not-by-hand"
    assert "its channel is partner-center" in refused["error"]["message"]


def test_the_wrong_tenant_and_another_customers_list_are_refused(program: Program) -> None:
    named = ("assess", "--serial", OWN, "--customer")
    other = program.json(*named, "fabrikam.onmicrosoft.com", exit_code=4)
    assert other["error"]["rule"] == "other-tenant"
    assert program(*named, "nowhere.example").exit_code in (3, 4)
    assert program.json(*named, "Contoso", exit_code=3)["error"]["rule"] == "no-such-customer"
    assert program("assess", "--serial", OWN).exit_code == 2

    mixed = program.batch(f"Serial number,Customer\n{OWN},{DOMAIN}\n5CG0000F01,{FABRIKAM}\n")
    foreign = program.json("assess", mixed, "--customer", DOMAIN, exit_code=3)
    assert foreign["error"]["rule"] == "other-customer"
    assert f"{FABRIKAM} (1)" in foreign["error"]["message"]
    assert program.json("runs")["runs"] == []


def test_a_run_at_another_address_is_not_looked_at(program: Program, sandbox: Sandbox) -> None:
    run = assess(program)["run"]
    before = len(sandbox.log.entries)
    elsewhere = Program(
        program.folder,
        {**program.environment, "PARTNER_TOOLS_GRAPH_URL": "http://127.0.0.1:9/elsewhere"},
    )
    refused = elsewhere.json("verify", run, "--graph", exit_code=8)
    assert refused["error"]["rule"] == "other-place"
    assert [each.service for each in sandbox.log.entries[before:]].count("graph") == 0


def test_a_held_device_is_named_as_one_that_stays(program: Program) -> None:
    hold = program.folder / "hold.txt"
    hold.write_text(f"{OWN}\n", encoding="utf-8")
    config = program.folder / "partner-tools.toml"
    config.write_text(f"[default.guards]\nhold_list = {json.dumps(str(hold))}\n", encoding="utf-8")

    document = assess(program, "--by-hand")
    assert document["counts"] == {"assessed": 3, "refused": 1}
    held = handoff(program, document["run"])["devices"][3]
    assert held["planes"]["autopilot"]["note"] == (
        "The hold list names this device: it must stay as it is."
    )
    assert held["steps"] == []
    refused = program("runs", "done", document["run"], "--serial", OWN)
    assert refused.exit_code == 3
    assert f"{OWN}: the hold list names it; it must stay" in refused.stderr


def test_the_worksheet_names_devices_and_no_people(program: Program) -> None:
    listed = program.batch(
        f"Serial number,Manufacturer,Model,Device name,Owner,Reference\n"
        f"{REGISTERED[0]},=HP,840 G8,ADELES-LAPTOP,Adele,INC-Adele\n{OWN},HP,840 G8,B,Adele,\n"
    )
    done = program("assess", listed, "--customer", DOMAIN, "--by-hand")
    paths = [Path(line) for line in done.stdout.splitlines() if ".worksheet." in line]

    assert [path.suffix for path in paths] == [".html", ".csv"]
    with paths[1].open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:4] == ["Number", "Serial number", "Manufacturer", "Model"]
    assert rows[1] == ["1", REGISTERED[0], "'=HP", "840 G8", "yes", ""]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert OWN in text
        assert "adele" not in text.lower()


def test_a_customers_own_handoff_needs_no_partner(sandbox: Sandbox, tmp_path: Path) -> None:
    nobody = {"PARTNER_TOOLS_PARTNER_NAME": "", "PARTNER_TOOLS_PARTNER_CONTACT": ""}
    token = sandbox.tokens[f"graph:{DOMAIN}"]
    program = blind(sandbox, tmp_path, PARTNER_TOOLS_GRAPH_TOKEN=token, **nobody)

    done = program("assess", "--serial", OWN, "--customer", DOMAIN, "--report", tmp_path / "h")
    assert done.exit_code == 7, done.output
    suffixes = sorted("".join(path.suffixes[-1:]) for path in (tmp_path / "h").iterdir())
    assert suffixes == [".csv", ".html", ".json", ".md", ".ps1", ".xlsx"]
    by_hand = ("assess", "--serial", OWN, "--customer", DOMAIN, "--by-hand", "--report")
    assert program.json(*by_hand, tmp_path / "h", exit_code=3)["error"]["rule"] == "no-partner"


def test_cleanup_leaves_a_registration_that_the_partner_removes_by_hand(
    program: Program, sandbox: Sandbox
) -> None:
    run = assess(program, "--by-hand", listed=(OWN,))["run"]
    sent = program.folder / "sent.json"
    sent.write_text(json.dumps(handoff(program, run)), encoding="utf-8")

    options = ("--apply", "--yes", "--keys-saved", "--settle", "0")
    document = program.json("cleanup", sent, *options, exit_code=7)
    assert document["devices"][0]["outcome"] == "refused"
    assert "partner" in document["devices"][0]["detail"]
    tables = sandbox.graph.truth(CONTOSO)
    assert [one["serialNumber"] for one in tables["managedDevices"]] == []
    assert OWN in [one["serialNumber"] for one in tables["windowsAutopilotDeviceIdentities"]]


def test_the_doctor_checks_only_the_customers_tenant(program: Program, sandbox: Sandbox) -> None:
    assert program("doctor", "--via", "assessment").exit_code == 3  # no customer is named
    shown = program("doctor", "--customer", DOMAIN)
    assert shown.exit_code == 0, shown.output
    assert "Microsoft Graph: a token for" in shown.stdout
    assert f"next: partner-tools assess retired.csv --customer {DOMAIN}" in shown.stdout
    assert not any(each.service == "partner-center" for each in sandbox.log.entries)
    assert program("doctor", "--customer", "fabrikam.onmicrosoft.com").exit_code == 4
