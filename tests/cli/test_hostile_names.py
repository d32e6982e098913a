"""Names that a service or a batch chose, through a whole run: they stay names, in every place."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest

from partner_tools.cli.logs import logging_to_stderr
from partner_tools.cli.options import Common
from partner_tools.json_forms import digest
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, customer, program_for, world

SERIALS = [
    "=cmd!' /C calc'!A0",
    "X<img src=x onerror=alert(1)>",
    "X' & Remove-Item C:/ -Recurse 1",
]
MODEL = "\u202egpj.exe\x1b[2J\x07"
BATCH = "..\\..\\../evil|$(x)"


ACTIVE = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With the wide forms, which some languages take for the others."""


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["..", "../../evil.example", "con.example"])
def test_hostile_names_stay_names(domain: str, tmp_path: Path) -> None:
    """Nothing is written beside its folder, and nothing on the terminal moves or turns."""
    devices = [
        {"serialNumber": serial, "modelName": MODEL, "oemManufacturerName": "|x|\n# y"}
        for serial in SERIALS
    ]
    before = set(tmp_path.parent.iterdir())
    with Sandbox(seed_from(world(customer({"../B": devices}, domain=domain)))) as sandbox:
        program = program_for(sandbox, tmp_path)
        batch = program.batch(
            json.dumps(
                {
                    "schemaVersion": "1",
                    "batchId": BATCH,
                    "customer": CONTOSO,
                    "devices": [{"serialNumber": each} for each in [*SERIALS, "GHOST1"]],
                }
            ),
            "batch.json",
        )
        out, junit = tmp_path / "out", tmp_path / "junit.xml"
        done = program(
            *("deregister", batch, "--via", "partner-center", "--yes", "--settle", "0"),
            *("--report", out, "--junit", junit, "-vv"),
        )
        assert done.exit_code == 7, done.output
        run = program.json("runs")["runs"][0]["run"]
        shown = [done, program("runs", run), program("trace", SERIALS[0]), program("runs")]
        restored = program("restore", run, "-o", tmp_path / "restore.csv")

    text = "".join(each.stdout + each.stderr for each in [*shown, restored])
    assert [each for each in text if not (each.isprintable() or each == "\n")] == []
    written = [path for path in out.iterdir() if path.is_file()]
    assert len(written) == 7
    assert all(path.name.startswith("handoff-") for path in written)
    assert set(tmp_path.parent.iterdir()) == before
    assert len(parse(junit).findall(".//testcase")) == 4  # noqa: S314 - our own file


def test_no_file_of_registrations_is_calculated(tmp_path: Path) -> None:
    """The inventory has them quoted; the file of `restore`, which knows no quoting, without."""
    made = {"oemManufacturerName": "Fabrikam", "modelName": "Book"}
    serials = ["SN-1", *(f"{sign}1+1" for sign in ("=", "+", "-", "@", "\uff1d"))]
    estate = [{"serialNumber": each, **made} for each in serials]
    with Sandbox(seed_from(world(customer({"B": estate})))) as sandbox:
        program = program_for(sandbox, tmp_path)
        program("inventory", "--customer", CONTOSO, "-o", tmp_path / "inventory.csv")
        order = ("--via", "partner-center", "--customer", CONTOSO, "--yes", "--settle", "0")
        done = program("deregister", program.serials(*serials), *order)
        run = program.json("runs")["runs"][0]["run"]
        restored = program("restore", run, "-o", tmp_path / "restore.csv")
    shown = {}
    for table, encoding in (("inventory", "utf-8-sig"), ("restore", "cp1252")):
        with (tmp_path / f"{table}.csv").open(encoding=encoding, newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(ACTIVE)], table
        shown[table] = {cell.lstrip("'") for cell in cells} & set(serials)

    assert (done.exit_code, restored.exit_code) == (0, 7), done.output
    assert shown == {"inventory": set(serials), "restore": {"SN-1"}}
    assert all(each in restored.stderr for each in serials[1:])


def test_the_name_of_a_customer_moves_nothing_wherever_it_is_shown(tmp_path: Path) -> None:
    """In questions, refusals, tables, the trace, and the XML of a build server."""
    one = {"B": [{"serialNumber": "SN-1"}]}
    two = {"B": [{"serialNumber": "SN-2"}, {"serialNumber": "SN-3"}]}
    calm = customer(two, tenant=FABRIKAM, domain="fabrikam.example")
    (tmp_path / "partner-tools.toml").write_text(
        "[default.guards]\nmax_estate_share = 0.5\n", encoding="utf-8"
    )
    with Sandbox(seed_from(world(customer(one, name=MODEL), calm))) as sandbox:
        program = program_for(sandbox, tmp_path)
        order = ("--via", "partner-center", "--yes", "--settle", "0")
        alone = program("deregister", program.serials("SN-1"), *order, "--customer", CONTOSO)
        both = program.batch(f"Serial,Customer\nSN-1,{CONTOSO}\nSN-2,{FABRIKAM}\n", "both.csv")
        done = program("deregister", both, *order, "--junit", tmp_path / "junit.xml")
        trace = program("trace", "SN-1")
    junit = parse(tmp_path / "junit.xml")  # noqa: S314 - our own file
    (failure,) = junit.findall(".//failure")

    assert [alone.exit_code, done.exit_code] == [8, 7], done.output
    places = [alone.stderr, done.stderr, done.stdout, trace.stdout, failure.attrib["message"]]
    for text in places:
        assert "gpj.exe\ufffd[2J\ufffd" in text
        assert not {"\u202e", "\x1b", "\x07"} & set(text)


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_of_a_log_moves_anything(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Libraries log what they were answered; ours log no foreign text."""
    with logging_to_stderr(Common(verbose=2, log_format=form)):
        logging.getLogger("urllib3").error("answered %s", MODEL)

    (line,) = capsys.readouterr().err.splitlines()
    assert "answered" in line
    assert line.isprintable()


def test_a_name_of_several_lines_adds_none_to_the_question(tmp_path: Path) -> None:
    """A customer chooses its company's name: it must not speak in the program's voice."""
    lines = "Contoso\n  1 device of your own test tenant\r\n\x1b[1Aremove nothing?"
    seed = world(customer({"B": [{"serialNumber": "S1"}]}))
    seed["customers"][0]["name"] = lines
    with Sandbox(seed_from(seed)) as sandbox:
        program = program_for(sandbox, tmp_path)
        plan = tmp_path / "plan.json"
        arguments = ("plan", program.serials("S1"), "--via", "partner-center")
        made = program(*arguments, "--customer", CONTOSO, "-o", plan)
        document = json.loads(plan.read_text(encoding="utf-8"))
        document["customers"][0]["name"] = lines
        document["notes"] = ["fine\n  approved by your director"]
        document["plannedBy"] = "kim\nchecked"
        sealed = {name: value for name, value in document.items() if name != "digest"}
        plan.write_text(json.dumps({**sealed, "digest": digest(sealed)}), encoding="utf-8")
        foreign = program("deregister", "--plan", plan, "--dry-run")
        listed = program("runs")
        for shown in (made, foreign, listed):
            assert shown.exit_code in {0, 2}, shown.output
            said = [line.strip() for line in shown.output.splitlines()]
            assert not [line for line in said if line.startswith(("1 device of your", "remove no"))]
            assert not [line for line in said if line.startswith(("approved by", "checked"))]
