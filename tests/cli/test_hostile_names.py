"""Names that a service or a batch chose, through a whole run: they stay names, in every place."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest

from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import CONTOSO, customer, program_for, world

SERIALS = [
    "=cmd|' /C calc'!A0",
    "X<img src=x onerror=alert(1)>",
    "X'; Remove-Item C:\\ -Recurse #1",
]
MODEL = "\u202egpj.exe\x1b[2J\x07"
BATCH = "..\\..\\../evil|$(x)"


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
    assert len(written) == 6
    assert all(path.name.startswith("handoff-") for path in written)
    assert set(tmp_path.parent.iterdir()) == before
    assert len(parse(junit).findall(".//testcase")) == 4  # noqa: S314 - our own file
