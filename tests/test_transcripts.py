"""The transcripts of those without a partner's API: typed again, they show what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_tools.sandbox import Sandbox, faults_from
from partner_tools.sandbox.seed import read_seed
from tests.cli.program import Program, program_for
from tests.test_first_hour import pattern

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="the quoting of the transcripts is a POSIX shell's"),
]

ROOT = Path(__file__).resolve().parents[1]
SEED = ROOT / "samples" / "sandbox-assess-seed.json"
RUN = "20260417-101530-4f2a9c"
"""The run of every transcript."""
LISTS = {
    # A Configuration Manager report as it is exported: its labels in every row.
    "contoso.onmicrosoft.com": "Textbox1,Textbox3,SerialNumber0,Manufacturer0\n"
    + "".join(f"Device Serial Number,Manufacturer,5CG000{n},HP\n" for n in (1, 2, 3)),
    "adatum.onmicrosoft.com": "Serial number\nPF3LEN01\nPF3LEN02\nPF3LEN03\n",
}


def transcript(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a page: what is typed, and the lines shown."""
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```console \S+\n(.*?)^```$", text, re.M | re.S):
        for call in block.split("$ ")[1:]:
            typed, *shown = call.splitlines()
            yield typed, shown


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    quick = faults_from({"graph": {"autopilotDelete": 0, "sync": 0, "checkIn": 0}})
    with Sandbox(read_seed(SEED), quick) as served:
        yield served


def user_of(sandbox: Sandbox, domain: str, folder: Path) -> Program:
    """Somebody with a token for one tenant, a signing key, and no partner's sign-in."""
    (folder / "retired.csv").write_text(LISTS[domain], encoding="utf-8")
    program = program_for(
        sandbox,
        folder,
        PARTNER_TOOLS_ACCESS_TOKEN="",
        PARTNER_TOOLS_GRAPH_TOKEN=sandbox.tokens[f"graph:{domain}"],
        PARTNER_TOOLS_SIGNING_PASSPHRASE="correct horse battery staple",
        XDG_DATA_HOME=str(folder / "data"),
    )
    made = program("approve", "--init")
    assert made.exit_code == 0, made.output
    return program


def remove_on_pages(sandbox: Sandbox, folder: Path) -> None:
    """What a person does on Partner Center's pages: with a ledger of their own."""
    folder.mkdir()
    serials = [f"--serial=5CG000{number}" for number in (1, 2, 3)]
    way = ("--via", "partner-center", "--customer", "contoso.onmicrosoft.com", "--yes")
    done = program_for(sandbox, folder)("deregister", *serials, *way, "--no-snapshot")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("page", "domain"),
    [
        ("indirect-reseller.md", "contoso.onmicrosoft.com"),
        ("customer-without-a-partner.md", "adatum.onmicrosoft.com"),
    ],
)
def test_a_transcript_goes_as_it_is_told(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, domain: str
) -> None:
    monkeypatch.chdir(tmp_path)
    program, run = user_of(sandbox, domain, tmp_path), RUN
    for typed, shown in transcript(page):
        if "--all" in typed:
            remove_on_pages(sandbox, tmp_path / "pages")
        result = program(*shlex.split(typed.replace(RUN, run))[1:])
        assert "Traceback" not in result.output
        if run == RUN and " assess " in typed:
            run = json.loads(program("runs", "--output", "json").stdout)["runs"][0]["run"]
        for line in shown:
            expected = pattern(line.replace(RUN, run))
            assert re.search(expected, result.output), f"{typed}\n{result.output}\n{line}"
