"""What the commands print: JSON Lines as devices settle, JUnit, tables, the next command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest

from partner_tools.cli.console import print_table
from partner_tools.cli.options import FORMAT_CHOICES, FORMATS
from partner_tools.intake.schema import checker
from partner_tools.report.junit import build_junit
from partner_tools.report.write import FORMATS as REPORT_FORMATS
from partner_tools.report.write import ON_REQUEST
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, Program, customer, program_for, world

OPTIONS = ("--via", "partner-center", "--customer", CONTOSO, "--yes")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    devices = [
        {"serialNumber": "SN-1", "oemManufacturerName": "HP", "modelName": "A, B"},
        {"serialNumber": "SN-2", "productKey": "3305670000014"},
        {"serialNumber": "SN-3"},
    ]
    with Sandbox(seed_from(world(customer({"B #1": devices})))) as sandbox:
        token = sandbox.tokens["user"]
        yield program_for(sandbox, tmp_path, PARTNER_TOOLS_ACCESS_TOKEN=token)


def test_json_lines_name_every_device_once(program: Program) -> None:
    result = program("deregister", program.serials("SN-1", "GHOST"), *OPTIONS, "--output", "jsonl")

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 7
    assert {(each["row"], each["outcome"]) for each in lines} == {(2, "removed"), (3, "not-found")}


def test_junit_has_a_case_for_every_device(program: Program) -> None:
    file = program.folder / "result.xml"

    program("deregister", program.serials("SN-1", "GHOST"), *OPTIONS, "--junit", file)

    suite = parse(file).getroot()  # noqa: S314 - our own file
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite.iter("testcase")] == ["SN-1", "GHOST"]


def test_junit_names_a_device_alike_in_every_run(program: Program) -> None:
    """A build server shows the history of a test by its class and name; the run is a property."""
    first, second = program.folder / "1.xml", program.folder / "2.xml"
    batch = program.serials("SN-1", "SN-1")
    order = ("--reference", "RMA-7", "--again")
    for file in (first, second):
        program("deregister", batch, *OPTIONS, *order, "--junit", file)

    suites = [parse(file).getroot() for file in (first, second)]  # noqa: S314 - our own files
    names = [
        {(each.get("classname"), each.get("name")) for each in suite.iter("testcase")}
        for suite in suites
    ]
    assert names[0] == names[1] == {(f"partner-tools.{CONTOSO}", "SN-1")}
    properties = [
        {each.get("name"): each.get("value") for each in suite.iter("property")} for suite in suites
    ]
    assert [each["reference"] for each in properties] == ["RMA-7", "RMA-7"]
    assert properties[0]["run"] != properties[1]["run"]
    (skipped,) = suites[0].iter("skipped")
    assert (skipped.get("type"), suites[0].get("skipped")) == ("duplicate", "1")
    assert "row" in str(skipped.get("message"))


def test_junit_keeps_wide_and_narrow_spaces() -> None:
    device = {"row": 2, "serialNumber": "S\u202e1", "outcome": "refused", "remedy": None}
    detail = "\u682a\u5f0f\u4f1a\u793e\u3000A\u00a0B"

    built = build_junit(
        {
            "run": "r",
            "channel": "oem-direct",
            "state": "finished",
            "devices": [{**device, "customer": None, "detail": detail}],
        },
        {"depot": "leipzig"},
    ).decode()

    assert detail in built
    assert 'classname="partner-tools.leipzig"' in built
    assert "\u202e" not in built


def test_text_names_what_needs_attention_and_the_next_command(program: Program) -> None:
    result = program("deregister", program.serials("SN-1", "GHOST"), *OPTIONS)

    assert "1 removed, 1 not-found" in result.stdout
    assert "GHOST" in result.stdout
    assert "SN-1" not in result.stdout
    assert "partner-tools report" in result.stderr


def test_devices_that_stay_are_listed_before_removals(program: Program) -> None:
    """A reviewer of a long plan sees the exceptions first."""
    plan = program.folder / "plan.json"
    batch = program.serials("SN-1", "SN-2", "GHOST")

    result = program("plan", batch, "--via", "partner-center", "--customer", CONTOSO, "-o", plan)

    assert result.stdout.index("GHOST") < result.stdout.index("SN-1, SN-2")
    assert "will not be removed: 1 not-found" in result.stderr


def test_a_match_that_only_trimming_makes_is_a_warning(tmp_path: Path) -> None:
    """Also where nobody looked at the plan, and the device is gone afterwards."""
    with Sandbox(seed_from(world(customer({"B": [{"serialNumber": " SN-9 "}]})))) as sandbox:
        program = program_for(sandbox, tmp_path)

        result = program("deregister", program.serials("SN-9"), *OPTIONS)

    assert result.exit_code == 0
    assert "match only after trimming: 2" in result.stderr


def test_an_id_is_never_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is there to be copied, on a narrow terminal too."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")

    print_table(("run", "outcomes"), [("20260417-101530-4f2a9c", "1 removed, " * 20)])

    assert "20260417-101530-4f2a9c" in capsys.readouterr().out


def test_in_a_pipe_a_row_is_a_line_without_blanks_at_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """So that grep and diff see rows, and widths are counted as they are seen."""
    rows = [("\u65e5\u672c", "why " * 80, None), ("SN-1", "two\nlines", "x")]

    print_table(("serial", "why", "next"), rows)

    head, rule, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["serial", "why", "next"]
    assert set(rule) <= {"\u2500", "-"} and len(rule) == len(head)
    assert first == "\u65e5\u672c    " + "why " * 79 + "why"
    assert second == "SN-1    two lines" + " " * 313 + "x"


def test_standard_output_is_no_file_to_write(program: Program) -> None:
    run = program.json("deregister", program.serials("SN-1"), *OPTIONS, "--dry-run")["run"]

    for arguments in (("restore", run, "-o", "-"), ("inventory", "--customer", CONTOSO, "-o", "-")):
        assert program(*arguments).exit_code == 2
    assert not Path("-").exists()


def test_an_inventory_is_written_as_csv_and_printed_as_asked_never_both(program: Program) -> None:
    file = program.folder / "contoso.csv"

    result = program("inventory", "--customer", CONTOSO, "-o", file, "--output", "json")

    assert (result.exit_code, file.exists()) == (2, False)
    assert "-o writes CSV" in result.stderr


def test_runs_are_listed_by_schema_and_can_be_filtered(program: Program) -> None:
    program("deregister", program.serials("SN-1"), *OPTIONS)
    program("deregister", program.serials("SN-2"), *OPTIONS, "--dry-run")

    listed = program.json("runs")
    by_serial = program.json("runs", "--serial", "SN-2")
    planned = program.json("runs", "--state", "dry-run")

    assert not checker("runs").violations(listed)
    assert [each["state"] for each in listed["runs"]] == ["dry-run", "finished"]
    assert by_serial["runs"] == planned["runs"] == listed["runs"][:1]


def test_a_dry_run_removes_nothing_and_has_nothing_to_resume(program: Program) -> None:
    planned = program.json("deregister", program.serials("SN-1"), *OPTIONS, "--dry-run")

    resumed = program.json("resume", planned["run"])

    assert planned["state"] == resumed["state"] == "planned"
    assert planned["counts"] == {"pending": 1}


def test_what_was_removed_can_be_registered_again(program: Program) -> None:
    run = program.json("deregister", program.serials("SN-1", "SN-2", "SN-3"), *OPTIONS)["run"]
    file = program.folder / "restore.csv"

    written = program("restore", run, "-o", file)
    applied = program("restore", run, "-o", file, "--apply", "--yes")
    again = program("restore", run, "-o", file, "--apply", "--yes")

    lines = file.read_text(encoding="ascii").splitlines()
    assert lines[1:] == ["SN-2,3305670000014,,,"]
    assert "SN-3" in written.stderr
    assert applied.stdout == again.stdout == "2 of 3 devices are registered again\n"
    assert (written.exit_code, applied.exit_code) == (7, 7)
    listed = program.json("inventory", "--customer", CONTOSO)
    assert {each["serialNumber"] for each in listed["devices"]} == {"SN-1", "SN-2"}


def test_the_inventory_can_be_a_file_without_formulas(program: Program) -> None:
    file = program.folder / "inventory.csv"

    assert program("inventory", "--customer", CONTOSO, "-o", file).exit_code == 0

    text = file.read_text(encoding="utf-8-sig")
    assert text.splitlines()[0].startswith("serialNumber,manufacturer")
    assert "SN-3" in text


def test_the_ledger_can_be_proved_exported_and_traced(program: Program) -> None:
    program("deregister", program.serials("SN-1"), *OPTIONS)

    proved = program.json("ledger", "verify")
    exported = program("ledger", "export")
    traced = program.json("trace", "SN-1")

    assert proved["whole"]
    assert program("ledger", "verify", "--head", proved["head"]).exit_code == 0
    assert program("ledger", "verify", "--head", "sha256:" + "0" * 64).exit_code == 6
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    assert not any(checker("event").violations(event) for event in events)
    assert [each["outcome"] for each in traced["runs"]] == ["removed"]


def test_the_handoff_is_written_in_every_format(program: Program) -> None:
    folder = program.folder / "handoff"

    result = program("deregister", program.serials("SN-1"), *OPTIONS, "--report", folder)

    suffixes = {path.suffix for path in folder.iterdir()}
    assert result.exit_code == 0
    assert suffixes == {".html", ".xlsx", ".csv", ".json", ".md", ".ps1", ".eml"}
    (document,) = (json.loads(path.read_bytes()) for path in folder.glob("*.json"))
    assert not checker("handoff").violations(document)


def test_the_formats_of_the_options_are_those_of_the_report() -> None:
    assert FORMATS == tuple(REPORT_FORMATS)
    assert FORMAT_CHOICES == (*REPORT_FORMATS, *ON_REQUEST)


def test_a_folder_that_cannot_be_written_is_one_sentence(program: Program) -> None:
    blocked = program.batch("a file, not a folder", "blocked")

    result = program("deregister", program.serials("SN-1"), *OPTIONS, "--report", blocked / "x")

    assert result.exit_code == 3
    assert "Traceback" not in result.output
    assert program.json("runs")["runs"] == [], "nothing is begun that could not be told of"


def test_the_checklist_names_old_and_new_identity_and_every_step(program: Program) -> None:
    batch = {
        "schemaVersion": "1",
        "reason": "replacement",
        "devices": [
            {
                "serialNumber": "SN-1",
                "replacement": {"serialNumber": "SN-1-NEW", "productKeyId": "3305670000021"},
            },
            {"serialNumber": "GHOST<b>x</b>"},
        ],
    }
    file = program.batch(json.dumps(batch), "batch.json")
    run = program.json("deregister", file, *OPTIONS, exit_code=7)["run"]

    folder = program.folder / "out"
    assert program("report", run, "-o", folder, "--format", "checklist").exit_code == 0

    (path,) = folder.iterdir()
    page = path.read_text(encoding="utf-8")
    assert "SN-1-NEW" in page
    assert "3305670000021" in page
    assert "Never register the donor again" in page
    assert page.index("Deregister the damaged") < page.index("Register the device again")
    assert "Do not replace the board yet" in page
    assert "GHOST<b>" not in page


def test_a_handoff_needs_a_name_and_a_contact_of_the_sender(program: Program) -> None:
    folder = program.folder / "handoff"
    run = program.json("deregister", program.serials("SN-1"), *OPTIONS)["run"]
    nameless = {"PARTNER_TOOLS_PARTNER_NAME": "", "PARTNER_TOOLS_PARTNER_CONTACT": ""}
    unknown = Program(program.folder, {**program.environment, **nameless})

    refused = unknown("report", run, "-o", folder)
    assert refused.exit_code == 3
    assert "--partner-name and --partner-contact" in refused.stderr
    assert not folder.exists()
    half = unknown("report", run, "-o", folder, "--partner-name", "Fabrikam")
    assert half.exit_code == 3
    assert "--partner-contact" in half.stderr
    whole = unknown(
        *("report", run, "-o", folder, "--format", "json", "--partner-name", "Fabrikam"),
        *("--partner-contact", "help@fabrikam.example"),
    )
    assert whole.exit_code == 0
    (document,) = (json.loads(path.read_bytes()) for path in folder.glob("*.json"))
    assert document["partner"]["name"] == "Fabrikam"
    assert document["partner"]["contact"] == "help@fabrikam.example"


def test_a_removal_is_never_held_up_by_a_missing_name(program: Program) -> None:
    nameless = {"PARTNER_TOOLS_PARTNER_NAME": "", "PARTNER_TOOLS_PARTNER_CONTACT": ""}
    unknown = Program(program.folder, {**program.environment, **nameless})
    done = unknown(
        *("deregister", unknown.serials("SN-1"), *OPTIONS, "--report", program.folder / "x")
    )
    assert "1 removed" in done.stderr + done.stdout
    assert "--partner-name" in done.stderr
