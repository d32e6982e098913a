"""Bad input and bad days: one clear sentence, a remedy, the right exit code, nothing sent."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from partner_tools import Interrupted, RunObserver, RunOptions, RunResult, open_workspace
from partner_tools.intake.schema import checker
from partner_tools.json_forms import digest
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, outcomes, program_for, world

DEREGISTER = ("deregister", "--via", "partner-center", "--customer", CONTOSO, "--yes")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    contoso = customer({"B": [{"serialNumber": f"SN-{number}"} for number in range(5)]})
    fabrikam = customer(
        {"F": [{"serialNumber": "FA-1"}]},
        tenant=FABRIKAM,
        domain="fabrikam.onmicrosoft.com",
        relationship="none",
    )
    with Sandbox(seed_from(world(contoso, fabrikam))) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


def with_faults(*rules: dict[str, Any]) -> Any:
    return faults_from({"schemaVersion": "1", "rules": list(rules)})


def deletes(sandbox: Sandbox) -> int:
    return sum(entry.method == "DELETE" for entry in sandbox.log.entries)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\x02",
        b"Serial number\n",
        b"Color,Shape\nred,round\n",
        b"Serial number,Windows Product ID\nSN-1,3.30567E+12\n",
        b"Serial number\nTo be filled by O.E.M.\n",
        b'{"schemaVersion": "1"}',
        b"\xff\xfeS\x00",
    ],
)
def test_a_bad_file_ends_with_its_problems(
    program: Program, sandbox: Sandbox, content: bytes
) -> None:
    path = program.folder / "bad.csv"
    path.write_bytes(content)

    document = program.json(DEREGISTER[0], path, *DEREGISTER[1:], exit_code=3)

    assert not checker("error").violations(document)
    assert document["problems"]
    assert all(each["remedy"] for each in document["problems"])
    assert not sandbox.log.entries


def test_a_missing_file_is_one_sentence(program: Program) -> None:
    result = program(*DEREGISTER[:1], "nowhere.csv", *DEREGISTER[1:])

    assert result.exit_code == 3
    assert "nowhere.csv" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [("expired", 4), ("wrongAudience", 4), ("userNoMfa", 4), ("userNoRole", 4)],
)
def test_a_token_that_is_refused_ends_with_what_to_do(
    sandbox: Sandbox, tmp_path: Path, kind: str, exit_code: int
) -> None:
    program = program_for(sandbox, tmp_path, PARTNER_TOOLS_ACCESS_TOKEN=sandbox.tokens[kind])

    result = program(*DEREGISTER[:1], program.serials("SN-1"), *DEREGISTER[1:])

    assert result.exit_code == exit_code, result.output
    assert "next:" in result.stderr
    assert deletes(sandbox) == 0


def test_a_run_that_stopped_says_why_for_every_device_that_waits(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    tokens = sandbox.tokens
    program = program_for(sandbox, tmp_path, PARTNER_TOOLS_ACCESS_TOKEN=tokens["userNoMfa"])

    document = program.json(*DEREGISTER, program.serials("SN-1", "SN-2"), exit_code=4)

    assert [each["outcome"] for each in document["devices"]] == ["pending", "pending"]
    for each in document["devices"]:
        assert "multifactor" in each["detail"]
        assert each["remedy"].endswith("Then resume the run.")


def test_without_a_token_nothing_is_sent(sandbox: Sandbox, tmp_path: Path) -> None:
    program = program_for(sandbox, tmp_path, PARTNER_TOOLS_ACCESS_TOKEN="")

    document = program.json(*DEREGISTER[:1], program.serials("SN-1"), *DEREGISTER[1:], exit_code=4)

    assert document["error"]["rule"] == "no-token"
    assert not sandbox.log.entries


def test_the_only_customer_without_a_relationship_ends_with_4(program: Program) -> None:
    document = program.json(
        "deregister",
        program.serials("FA-1"),
        "--via",
        "partner-center",
        "--customer",
        FABRIKAM,
        "--yes",
        exit_code=4,
    )

    assert outcomes(document) == {"FA-1": "refused"}
    assert "relationship" in document["devices"][0]["remedy"]


def test_one_customer_without_a_relationship_never_stops_the_others(
    program: Program, sandbox: Sandbox
) -> None:
    batch = program.batch(f"Serial,Customer\nFA-1,{FABRIKAM}\nSN-1,{CONTOSO}\n")

    document = program.json("deregister", batch, "--via", "partner-center", "--yes", exit_code=7)

    assert outcomes(document) == {"FA-1": "refused", "SN-1": "removed"}
    assert deletes(sandbox) == 1


@pytest.mark.parametrize(
    ("named", "exit_code"),
    [
        ("nobody.example", 3),
        ("contos", 3),
        ("00000000-1111-2222-3333-444444444444", 3),
    ],
)
def test_a_customer_that_is_not_there(program: Program, named: str, exit_code: int) -> None:
    result = program(
        "deregister",
        program.serials("SN-1"),
        "--via",
        "partner-center",
        "--customer",
        named,
        "--yes",
    )

    assert result.exit_code == exit_code, result.output


def test_no_customer_named_is_a_usage_error(program: Program) -> None:
    result = program("deregister", program.serials("SN-1"), "--via", "partner-center", "--yes")

    assert (result.exit_code, result.stdout) == (2, "")


def test_nobody_to_ask_refuses_and_names_the_flag(program: Program, sandbox: Sandbox) -> None:
    result = program(*DEREGISTER[:-1], program.serials("SN-1"))

    assert result.exit_code == 8
    assert "--yes" in result.stderr
    assert deletes(sandbox) == 0


def test_more_devices_than_allowed_are_refused(program: Program, sandbox: Sandbox) -> None:
    result = program(*DEREGISTER, program.serials("SN-1", "SN-2"), "--max-devices", "1")

    assert result.exit_code == 8
    assert "--max-devices 2" in result.stderr
    assert deletes(sandbox) == 0


@pytest.mark.slow
def test_an_unreachable_host_is_one_sentence(sandbox: Sandbox, tmp_path: Path) -> None:
    program = program_for(sandbox, tmp_path, PARTNER_TOOLS_PARTNER_CENTER_URL="http://127.0.0.1:9")

    result = program(*DEREGISTER, program.serials("SN-1"))

    assert result.exit_code == 5
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.output


def test_a_ledger_of_a_newer_version_is_left_alone(program: Program, sandbox: Sandbox) -> None:
    import sqlite3

    assert program("runs").exit_code == 0
    with sqlite3.connect(program.folder / "ledger.db") as connection:
        connection.execute("update ledger_version set version_num = 'from-the-future'")
    connection.close()

    result = program(*DEREGISTER, program.serials("SN-1"))

    assert result.exit_code == 6
    assert not sandbox.log.entries


def test_a_file_that_is_no_ledger_is_left_alone(program: Program) -> None:
    (program.folder / "ledger.db").write_bytes(b"not a database at all" * 100)

    result = program(*DEREGISTER, program.serials("SN-1"))

    assert result.exit_code == 6
    assert (program.folder / "ledger.db").read_bytes().startswith(b"not a database")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "outcome", "exit_code"),
    [
        ({"kind": "lose-answer"}, "removed", 0),
        ({"kind": "reset-after"}, "removed", 0),
        ({"kind": "reset-before"}, "removed", 0),
        ({"kind": "status", "status": 503, "body": "html"}, "removed", 0),
        ({"kind": "status", "status": 500, "processed": True}, "absent", 0),
        ({"kind": "status", "status": 429, "retryAfter": 1}, "removed", 0),
        ({"kind": "expired-token"}, None, 4),
        ({"kind": "status", "status": 404}, "absent", 7),
        ({"kind": "status", "status": 409}, "refused", 7),
        ({"kind": "status", "status": 403, "code": 2032}, None, 4),
        ({"kind": "status", "status": 403, "code": 811}, "not-owned", 7),
        ({"kind": "redirect", "status": 302}, None, 5),
    ],
)
def test_a_fault_on_the_first_removal(
    program: Program,
    sandbox: Sandbox,
    fault: dict[str, Any],
    outcome: str | None,
    exit_code: int,
) -> None:
    match = {"operation": "delete-device", "first": 1, "last": 1}
    sandbox.behave(with_faults({"match": match, "fault": fault}))

    document = program.json(
        *DEREGISTER, program.serials("SN-1"), "--settle", "0", exit_code=exit_code
    )

    if outcome is not None:
        assert outcomes(document) == {"SN-1": outcome}
        assert document["state"] == "finished"
    else:
        assert document["state"] == "stopped"


def test_a_device_that_stays_listed_makes_exit_7_and_says_so(
    program: Program, sandbox: Sandbox
) -> None:
    sandbox.behave(faults_from({"schemaVersion": "1", "quirks": {"listLag": 60}}))

    document = program.json(*DEREGISTER, program.serials("SN-1"), "--settle", "1", exit_code=7)

    (device,) = document["devices"]
    assert device["outcome"] == "removed"
    assert "still listed" in device["detail"]


@pytest.mark.parametrize("unread", [{"continued": True}, {"path": "/deviceBatches/C/"}], ids=str)
def test_an_incomplete_inventory_removes_nothing(tmp_path: Path, unread: dict[str, Any]) -> None:
    """What was read shows the device once; what was not read might show it again."""
    hundred_and_five = [{"serialNumber": f"SN-{number}"} for number in range(105)]
    contoso = customer({"B": hundred_and_five, "C": [{"serialNumber": "SN-1"}]})
    rule = {"match": {"operation": "list-devices", **unread}, "fault": {"kind": "not-json"}}
    with Sandbox(seed_from(world(contoso)), with_faults(rule)) as sandbox:
        program = program_for(sandbox, tmp_path)

        result = program(*DEREGISTER, program.serials("SN-1", "SN-2"))

        assert result.exit_code == 5, result.output
        assert sum(entry.operation == "list-devices" for entry in sandbox.log.entries) > 1
        assert deletes(sandbox) == 0


def test_a_stopped_run_is_finished_by_resume(program: Program, sandbox: Sandbox) -> None:
    match = {"operation": "delete-device", "first": 2}
    refusal = {"kind": "status", "status": 403, "code": 900150}
    sandbox.behave(with_faults({"match": match, "fault": refusal}))
    stopped = program.json(*DEREGISTER, program.serials("SN-1", "SN-2", "SN-3"), exit_code=4)
    sandbox.behave(with_faults())

    finished = program.json("resume", stopped["run"])
    again = program.json("resume", stopped["run"])

    assert finished["counts"] == {"removed": 3}
    assert again == finished
    assert deletes(sandbox) >= 4


def test_resume_counts_and_asks_for_what_is_left(program: Program, sandbox: Sandbox) -> None:
    (program.folder / "partner-tools.toml").write_text(
        "[default.limits]\nmax_devices_per_day = 3\n", encoding="utf-8"
    )
    match = {"operation": "delete-device", "first": 2}
    refusal = {"kind": "status", "status": 403, "code": 900150}
    sandbox.behave(with_faults({"match": match, "fault": refusal}))
    stopped = program.json(*DEREGISTER, program.serials("SN-1", "SN-2", "SN-3"), exit_code=4)
    sandbox.behave(with_faults())

    resumed = program("resume", stopped["run"])

    assert stopped["counts"] == {"removed": 1, "pending": 2}
    assert resumed.exit_code == 0, resumed.output
    assert "already gone: 1 removed\n2 devices to be removed" in resumed.stderr


@pytest.mark.slow
def test_resume_of_a_finished_run_shows_it_and_writes_nothing(program: Program) -> None:
    folder = program.folder / "handoff"
    done = program.json(*DEREGISTER, program.serials("SN-1"), "--report", folder)
    shutil.rmtree(folder)

    again = program("resume", done["run"], "--output", "json")

    assert json.loads(again.stdout) == done
    assert f"partner-tools report {done['run']} -o DIR" in again.stderr
    assert not folder.exists()


def test_a_placeholder_has_one_problem_with_one_remedy(program: Program) -> None:
    result = program.json("validate", program.serials("Default string"), exit_code=3)

    assert [each["rule"] for each in result["problems"]] == ["placeholder-serial"]


def test_a_plan_that_was_edited_is_refused(program: Program, sandbox: Sandbox) -> None:
    plan = program.folder / "plan.json"
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "-o", plan)
    assert program("plan", program.serials("SN-1"), *arguments).exit_code == 0
    document = json.loads(plan.read_text(encoding="utf-8"))
    document["devices"][0]["target"]["deviceId"] = "another"
    plan.write_text(json.dumps(document), encoding="utf-8")

    error = program.json("deregister", "--plan", plan, "--yes", exit_code=8)["error"]

    assert error["rule"] == "plan-digest"
    assert deletes(sandbox) == 0


class Spoiler(RunObserver):
    """Somebody who puts a file where the folder of the handoff was, once the run is over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ended(self, result: RunResult) -> None:
        shutil.rmtree(self.folder)
        self.folder.write_text("", encoding="utf-8")


def test_a_handoff_that_cannot_be_written_after_the_removals_is_no_invalid_input(
    program: Program, sandbox: Sandbox
) -> None:
    """Exit 3 would say that nothing was sent."""
    wishes = RunOptions(yes=True, settle=0.0, report=program.folder / "handoff")
    with (
        open_workspace(environment=program.environment) as workspace,
        pytest.raises(Interrupted, match="cannot be written") as undelivered,
    ):
        workspace.deregister(
            program.serials("SN-1"),
            via="partner-center",
            customer=CONTOSO,
            options=wishes,
            observer=Spoiler(program.folder / "handoff"),
        )

    (run,) = program.json("runs")["runs"]
    assert (run["state"], run["counts"]) == ("finished", {"removed": 1})
    assert f"partner-tools report {run['run']} -o DIR" in undelivered.value.remedy
    assert deletes(sandbox) == 1


def test_a_file_for_a_build_server_that_cannot_be_written_leaves_one_result(
    program: Program, sandbox: Sandbox
) -> None:
    """One that takes nothing any more at the end; and one that never did, below."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")

    result = program(*(*DEREGISTER, "--output", "json", "--junit", full), program.serials("SN-1"))

    assert result.exit_code == 130, result.output
    document = json.loads(result.stdout)
    assert (document["state"], document["counts"]) == ("finished", {"removed": 1})
    assert f"partner-tools resume {document['run']} --junit FILE" in result.stderr
    assert deletes(sandbox) == 1


@pytest.mark.parametrize("name", ["file/x.xml", "folder", f"{'L' * 300}.xml"])
def test_a_file_that_can_never_be_written_is_found_before_anything_is_removed(
    program: Program, sandbox: Sandbox, name: str
) -> None:
    (program.folder / "file").write_text("", encoding="utf-8")
    (program.folder / "folder").mkdir()

    result = program(*(*DEREGISTER, "--junit", program.folder / name), program.serials("SN-1"))

    assert result.exit_code == (2 if name == "folder" else 3), result.output
    assert deletes(sandbox) == 0


@pytest.mark.parametrize("command", [("deregister", "--yes", "--plan"), ("cleanup",)])
def test_a_file_with_a_property_twice_is_refused(
    program: Program, command: tuple[str, ...]
) -> None:
    """A plan or a handoff: a person may have read the other one of the two."""
    file = program.folder / "twice.json"
    file.write_text('{"schemaVersion": "1", "devices": [1], "devices": []}', encoding="utf-8")

    result = program(*command, file)

    assert result.exit_code == 3
    assert "it contains a property twice" in result.stderr


def test_a_plan_shows_in_an_editor_what_is_removed(tmp_path: Path) -> None:
    """Escaped where it is written; refused where somebody put the characters themselves."""
    device = {"serialNumber": "SN-1", "modelName": "T14 \u202e2-NS"}
    plan = tmp_path / "plan.json"
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "-o", plan)
    with Sandbox(seed_from(world(customer({"B": [device]})))) as sandbox:
        program = program_for(sandbox, tmp_path)
        assert program("plan", program.serials("SN-1"), *arguments).exit_code == 0
        text = plan.read_text(encoding="utf-8")
        assert "\\u202e2-NS" in text
        plan.write_text(text.replace("\\u202e", "\u202e"), encoding="utf-8")

        for command in (("approve", plan), ("deregister", "--plan", plan)):
            refused = program(*command, "--yes")
            assert refused.exit_code == 3
            assert "U+202E" in refused.stderr
        assert deletes(sandbox) == 0


def no_customers(document: dict[str, Any]) -> None:
    document["customers"] = []


def fewer_removals(document: dict[str, Any]) -> None:
    document["customers"][0]["removals"] = 1


def customer_twice(document: dict[str, Any]) -> None:
    document["customers"] *= 2


def small_estate(document: dict[str, Any]) -> None:
    document["customers"][0]["estate"] = 1


def other_counts(document: dict[str, Any]) -> None:
    document["counts"] = {"pending": 1}


def another_device(document: dict[str, Any]) -> None:
    document["devices"][0]["serialNumber"] = "SN-4"


def one_target_twice(document: dict[str, Any]) -> None:
    document["devices"][1] |= {"target": document["devices"][0]["target"]}
    document["devices"][1] |= {"serialNumber": "SN-1", "found": document["devices"][0]["found"]}


def no_target(document: dict[str, Any]) -> None:
    del document["devices"][0]["target"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "edit",
    [
        no_customers,
        fewer_removals,
        customer_twice,
        small_estate,
        other_counts,
        another_device,
        one_target_twice,
        no_target,
    ],
)
def test_a_plan_that_was_sealed_anew_must_agree_with_itself(
    program: Program, sandbox: Sandbox, edit: Callable[[dict[str, Any]], None]
) -> None:
    """Whoever edits a plan can seal it: limits and people must read what would be removed."""
    plan = program.folder / "plan.json"
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "-o", plan)
    assert program("plan", program.serials("SN-1", "SN-2"), *arguments).exit_code == 0
    document = json.loads(plan.read_text(encoding="utf-8"))
    edit(document)
    del document["digest"]
    plan.write_text(json.dumps({**document, "digest": digest(document)}), encoding="utf-8")

    error = program.json("deregister", "--plan", plan, "--yes", exit_code=3)["error"]

    assert error["rule"] == "plan-contradiction"
    assert deletes(sandbox) == 0


def aims_elsewhere(document: dict[str, Any], other: dict[str, Any]) -> None:
    document["devices"][0]["target"] = other["target"]


def respells_its_aim(document: dict[str, Any], other: dict[str, Any]) -> None:
    """Not listed as it stands there, and still that device to whoever reads GUIDs."""
    spelled = {"deviceId": other["target"]["deviceId"].upper()}
    document["devices"][0]["target"] = other["target"] | spelled


def claims_another_run(document: dict[str, Any], other: dict[str, Any]) -> None:
    aims_elsewhere(document, other)
    document["run"] = "../../kit"


@pytest.mark.parametrize("edit", [aims_elsewhere, respells_its_aim, claims_another_run])
def test_a_plan_that_was_made_up_just_now_is_compared_with_the_service(
    program: Program, sandbox: Sandbox, edit: Callable[[dict[str, Any], dict[str, Any]], None]
) -> None:
    """Its age is its own word: it names SN-1 throughout, and would remove SN-2."""
    plan = program.folder / "plan.json"
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "-o", plan)
    assert program("plan", program.serials("SN-1", "SN-2"), *arguments).exit_code == 0
    document = json.loads(plan.read_text(encoding="utf-8"))
    edit(document, document["devices"].pop())
    document["counts"] = {"pending": 1}
    document["customers"][0]["removals"] = 1
    del document["digest"]
    plan.write_text(json.dumps({**document, "digest": digest(document)}), encoding="utf-8")
    asked = ("deregister", "--plan", plan, "--settle", "0")
    assert program(*asked).exit_code == 8  # nobody confirmed
    (run, _) = (each["run"] for each in program.json("runs")["runs"])

    told = [program.json(*each, "--yes", exit_code=7) for each in (asked, ("resume", run))]

    assert [each["counts"] for each in told] == [{"refused": 1}] * 2
    for each in told:
        assert re.search("is 'SN-2' now|under another id", each["devices"][0]["detail"])
    assert deletes(sandbox) == 0


def test_a_reviewed_plan_is_executed(program: Program) -> None:
    plan = program.folder / "plan.json"
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "-o", plan)
    planned = program.json("plan", program.serials("SN-1", "GHOST"), *arguments, exit_code=7)
    assert not checker("plan").violations(json.loads(plan.read_text(encoding="utf-8")))

    document = program.json("deregister", "--plan", plan, "--yes", exit_code=7)

    assert planned["state"] == "planned"
    assert document["counts"] == {"removed": 1, "not-found": 1}


def test_a_dry_run_of_a_reviewed_plan_removes_nothing_though_confirmed(
    program: Program, sandbox: Sandbox
) -> None:
    plan = program.folder / "plan.json"
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "-o", plan)
    assert program("plan", program.serials("SN-1"), *arguments).exit_code == 0

    document = program.json("deregister", "--plan", plan, "--dry-run", "--yes")

    assert document["state"] == "planned"
    assert document["counts"] == {"pending": 1}
    assert program("resume", document["run"], "--yes").exit_code == 0
    assert deletes(sandbox) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_files_with_customers_data_are_private(program: Program) -> None:
    plan = program.folder / "plan.json"
    program(
        "plan",
        program.serials("SN-1"),
        "--via",
        "partner-center",
        "--customer",
        CONTOSO,
        "-o",
        plan,
    )

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (plan, plan.with_name("ledger.db"))
    }

    assert modes == {"plan.json": 0o600, "ledger.db": 0o600}


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write read-only files"
)
def test_a_read_only_ledger_ends_with_6(program: Program) -> None:
    program("runs")
    ledger = program.folder / "ledger.db"
    ledger.chmod(0o400)

    assert program(*DEREGISTER, program.serials("SN-1")).exit_code == 6


def test_the_hold_list_keeps_a_device(program: Program, sandbox: Sandbox) -> None:
    (program.folder / "hold.txt").write_text("SN-1\n", encoding="utf-8")
    (program.folder / "partner-tools.toml").write_text(
        '[default.guards]\nhold_list = "hold.txt"\n', encoding="utf-8"
    )

    document = program.json(*DEREGISTER, program.serials("SN-1", "SN-2"), exit_code=7)

    assert outcomes(document) == {"SN-1": "refused", "SN-2": "removed"}


def test_the_hold_list_is_compared_loosely_and_its_strangers_are_counted(
    program: Program, sandbox: Sandbox
) -> None:
    lines = "# the director's\nsn-1\u200b\nSN-2 loan\nSN-99\n"
    (program.folder / "hold.txt").write_text(lines, encoding="utf-8")
    (program.folder / "partner-tools.toml").write_text(
        '[default.guards]\nhold_list = "hold.txt"\n', encoding="utf-8"
    )
    batch = program.serials("SN-1", "SN-2", "SN-3")
    document = program.json(*DEREGISTER, batch, exit_code=7)
    assert outcomes(document) == {"SN-1": "refused", "SN-2": "refused", "SN-3": "removed"}
    planned = program("plan", batch, *DEREGISTER[1:5], "-o", program.folder / "plan.json")
    assert "1 of 3 entries of the hold list name no device of this batch" in planned.output

    (program.folder / "hold.txt").write_text(f"{lines}SN-3, on loan\n", encoding="utf-8")
    refused = program(*DEREGISTER, program.serials("SN-4"))
    assert (refused.exit_code, "line 5 of the hold list" in refused.stderr) == (3, True)
    assert deletes(sandbox) == 1


def test_a_hold_list_that_cannot_be_read_removes_nothing(
    program: Program, sandbox: Sandbox
) -> None:
    (program.folder / "partner-tools.toml").write_text(
        '[default.guards]\nhold_list = "hold.txt"\n', encoding="utf-8"
    )
    missing = program(*DEREGISTER, program.serials("SN-1"))
    (program.folder / "hold.txt").write_text("SN-1\n", encoding="utf-16")
    other = program(*DEREGISTER, program.serials("SN-1"))

    assert (missing.exit_code, other.exit_code, deletes(sandbox)) == (3, 3, 0)
    assert "hold.txt' cannot be read: No such file or directory\n" in missing.stderr
    assert "hold.txt' cannot be read: it is not UTF-8\n" in other.stderr


def test_the_hold_list_keeps_what_an_older_plan_would_remove(
    program: Program, sandbox: Sandbox
) -> None:
    plan = program.folder / "plan.json"
    arguments = ("--via", "partner-center", "--customer", CONTOSO, "-o", plan)
    assert program("plan", program.serials("SN-1", "SN-2"), *arguments).exit_code == 0
    (program.folder / "hold.txt").write_text("SN-1\n", encoding="utf-8")
    (program.folder / "partner-tools.toml").write_text(
        '[default.guards]\nhold_list = "hold.txt"\n', encoding="utf-8"
    )

    document = program.json("deregister", "--plan", plan, "--yes", exit_code=7)

    assert outcomes(document) == {"SN-1": "refused", "SN-2": "removed"}
    assert "hold list" in document["devices"][0]["detail"]
    assert deletes(sandbox) == 1


def test_a_broken_token_is_not_sent_and_not_tried_again(sandbox: Sandbox, tmp_path: Path) -> None:
    program = program_for(sandbox, tmp_path, PARTNER_TOOLS_ACCESS_TOKEN="ey.one\r\ntwo")

    result = program(*DEREGISTER[:1], program.serials("SN-1"), *DEREGISTER[1:])

    assert result.exit_code == 4
    assert "line break" in result.stderr
    assert "ey.one" not in result.output
    assert not sandbox.log.entries


def test_an_unknown_run_is_a_usage_error_with_nothing_on_stdout(program: Program) -> None:
    result = program("resume", "20200101", "--output", "json")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "partner-tools runs" in result.stderr


def test_the_daily_limit_counts_over_runs(program: Program) -> None:
    (program.folder / "partner-tools.toml").write_text(
        "[default.limits]\nmax_devices_per_day = 2\n", encoding="utf-8"
    )
    program.json(*DEREGISTER, program.serials("SN-1", "SN-2"))

    result = program(*DEREGISTER, program.serials("SN-3"))

    assert result.exit_code == 8
    assert "daily limit" in result.stderr


def test_an_unknown_configuration_key_is_an_error(program: Program) -> None:
    (program.folder / "partner-tools.toml").write_text(
        "[default]\nmax_device = 2\n", encoding="utf-8"
    )

    result = program(*DEREGISTER, program.serials("SN-1"))

    assert result.exit_code == 3
    assert "max_device" in result.stderr
