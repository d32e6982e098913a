"""What makes a day with the program easier: what is next, near names, filters, completion."""

from __future__ import annotations

import os
import shlex
import sqlite3
import sys
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PureWindowsPath

import pytest
from click.testing import CliRunner

from partner_tools import RunObserver, ServiceError, open_workspace
from partner_tools.cli import main
from partner_tools.cli.console import assigned, pasteable
from partner_tools.cli.help_pages import SECTIONS, SUMMARIES
from partner_tools.cli.progress import Progress, Reading
from partner_tools.model import Outcome
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, program_for, world

DOMAIN = "contoso.onmicrosoft.com"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    seed = world(
        customer({"B": [{"serialNumber": f"SN-{number}"} for number in range(4)]}),
        customer({"B": [{"serialNumber": "F-0"}]}, tenant=FABRIKAM, domain="fabrikam.example"),
    )
    with Sandbox(seed_from(seed)) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


def remove(program: Program, *serials: str, of: str = DOMAIN, more: tuple[str, ...] = ()) -> str:
    result = program(
        *("deregister", program.serials(*serials), "--via", "partner-center"),
        *("--customer", of, "--yes", "--settle", "0", *more),
    )
    return result.stderr


# --- what is next -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "posix", "powershell"),
    [
        ("plan.json", "plan.json", "plan.json"),
        (r"C:\Users\avery\plan.json", r"'C:\Users\avery\plan.json'", r"C:\Users\avery\plan.json"),
        ("my plan.json", "'my plan.json'", "'my plan.json'"),
        ("it's.json", "'it'\"'\"'s.json'", "'it''s.json'"),
        ("it\u2019s.json", "'it\u2019s.json'", "'it\u2019\u2019s.json'"),
        ("$env:X", "'$env:X'", "'$env:X'"),
        ("a`b;c&d|e", "'a`b;c&d|e'", "'a`b;c&d|e'"),
        ("@files", "@files", "'@files'"),
        ("", "''", "''"),
    ],
)
def test_a_command_is_quoted_for_the_shell(word: str, posix: str, powershell: str) -> None:
    assert pasteable("x", word, windows=False) == f"x {posix}"
    assert pasteable("x", word, windows=True) == f"x {powershell}"
    assert shlex.split(pasteable("x", word, windows=False)) == ["x", word]


@pytest.mark.parametrize(
    ("value", "posix", "powershell"),
    [
        ("plain", "export N=plain", "$env:N = 'plain'"),
        ("a'b $c", "export N='a'\"'\"'b $c'", "$env:N = 'a''b $c'"),
    ],
)
def test_a_variable_is_set_as_the_shell_wants_it(value: str, posix: str, powershell: str) -> None:
    assert assigned("N", value, windows=False) == posix
    assert assigned("N", value, windows=True) == powershell


def test_a_windows_path_with_a_blank_survives() -> None:
    path = str(PureWindowsPath("C:/Program Files/partner tools/ledger.db"))

    assert pasteable("--ledger", path, windows=True).endswith(f"'{path}'")


@pytest.mark.skipif(os.name == "nt", reason="the quoting of a POSIX shell")
def test_the_next_command_names_the_ledger_that_was_named(program: Program, tmp_path: Path) -> None:
    ledger = str(tmp_path / "my ledger.db")

    said = remove(program, "SN-0", more=("--ledger", ledger))

    (line,) = [line for line in said.splitlines() if line.startswith("next: ")]
    again = shlex.split(line.removeprefix("next: "))[1:]
    assert again[-2:] == ["--ledger", ledger]
    again[again.index("-o") + 1] = str(tmp_path / "handoff")
    assert program(*again).exit_code == 0


@pytest.mark.slow
def test_a_plan_says_how_it_is_executed_and_a_report_whom_to_send_it(
    program: Program, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    options = ("--via", "partner-center", "--customer", DOMAIN)

    planned = program("plan", program.serials("SN-1"), *options, "-o", plan)
    nothing = program("plan", program.serials("GHOST"), *options, "-o", tmp_path / "none.json")
    done = remove(program, "SN-1", more=("--report", str(tmp_path / "handoff")))

    assert f"deregister --plan {plan}" in planned.stderr
    assert "nothing in this batch can be removed" in nothing.stderr
    assert "verify --outstanding" in done


def test_progress_says_rate_counts_throttle_and_what_is_left() -> None:
    moments = iter([0.0, 0.0, 4.0, 4.0, 4.0, 4.0])
    progress = Progress(
        10, quiet=True, throttle=lambda: "at most 2.0 requests/s", clock=lambda: next(moments)
    )
    progress.settled(Outcome.REMOVED)
    progress.settled(Outcome.ABSENT)

    line = progress.line()

    assert line.startswith("2 of 10, 1 removed 1 absent, ")
    assert "/s, about" in line
    assert line.endswith("at most 2.0 requests/s")


def test_reading_says_how_much_was_read_and_what_it_waits_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    moment = [0.0]
    reading = Reading(quiet=False, clock=lambda: moment[0])
    reading.listed(CONTOSO, 100)
    reading.waiting("the service is busy", 4.0)
    waits = reading.line()
    moment[0] = 11.0
    reading.listed(CONTOSO, 1)

    assert waits == (
        "reading: 100 devices on 1 page of 1 customer (the service is busy; trying again in 4 s)"
    )
    assert capsys.readouterr().err.splitlines() == [
        "the service is busy; trying again in 4 s",
        "reading: 101 devices on 2 pages of 1 customer",
    ]


@pytest.mark.slow
def test_an_onlooker_is_told_of_pages_and_of_reads_that_are_tried_again(tmp_path: Path) -> None:
    class Watcher(RunObserver):
        def __init__(self) -> None:
            self.pages: list[tuple[str, int]] = []
            self.waits: list[float] = []

        def listed(self, tenant: str, devices: int) -> None:
            self.pages.append((tenant, devices))

        def waiting(self, error: ServiceError, seconds: float) -> None:
            assert error.exit_code == 5
            self.waits.append(seconds)

    seed = world(customer({"B": [{"serialNumber": f"SN-{number}"} for number in range(3)]}))
    rule = {
        "match": {"operation": "list-devices", "nth": 1},
        "fault": {"kind": "status", "status": 429, "retryAfter": 1},
    }
    faults = faults_from({"schemaVersion": "1", "rules": [rule]})
    with Sandbox(seed_from(seed), faults) as sandbox:
        program = program_for(sandbox, tmp_path)
        watcher = Watcher()
        with open_workspace(environment=program.environment) as workspace:
            workspace.inventory(DOMAIN, observer=watcher)
        said = program("inventory", "--customer", DOMAIN).stderr

    assert watcher.pages == [(CONTOSO, 3)]
    assert [1.0 <= each < 2.0 for each in watcher.waits] == [True]
    assert said.startswith(f"3 devices of {DOMAIN}, listed ")
    assert len(said.splitlines()) == 1


# --- near names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("valdate", "x.csv"), "Did you mean 'validate'?"),
        (("validate", "x.csv", "--outptu", "json"), "Did you mean '--output'?"),
    ],
)
def test_a_misspelt_command_or_option_is_suggested(arguments: tuple[str, ...], hint: str) -> None:
    result = CliRunner().invoke(main, list(arguments))

    assert (result.exit_code, hint in result.stderr) == (2, True)


def test_a_customer_that_is_nearly_there_is_suggested(program: Program) -> None:
    said = remove(program, "SN-0", of="contosso.onmicrosoft.com")

    assert f"did you mean {DOMAIN}?" in said


def test_columns_that_are_nearly_known_are_suggested(program: Program) -> None:
    unknown = program("validate", program.batch("Serail number\nSN-1\n"))
    beside = program("validate", program.batch("Serial number,Devise model\nSN-1,X\n"))

    assert "did you mean Serial number?" in unknown.stdout
    assert "name the column `Device model` if that is what it holds" in beside.stdout


# --- runs -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_runs_are_found_by_customer_serial_state_and_date(program: Program) -> None:
    remove(program, "SN-0")
    remove(program, "F-0", of="fabrikam.example")

    def found(*filters: str) -> list[list[str]]:
        return [each["customers"] for each in program.json("runs", *filters)["runs"]]

    assert found() == [[FABRIKAM], [CONTOSO]]
    assert found("--customer", "Fabrikam.Example") == [[FABRIKAM]]
    assert found("--customer", CONTOSO) == [[CONTOSO]]
    assert found("--serial", "SN-0") == [[CONTOSO]]
    assert found("--state", "interrupted") == []
    assert found("--since", "2999-01-01") == []
    assert len(found("--until", "2999-01-01")) == 2
    assert "no run matches" in program("runs", "--serial", "GHOST").stderr


def test_runs_are_told_apart_by_their_customers(program: Program) -> None:
    both = program.batch(f"Serial number,Customer\nSN-0,{DOMAIN}\nF-0,fabrikam.example\n")
    program("deregister", both, "--via", "partner-center", "--yes", "--settle", "0")
    remove(program, "SN-1", of="contosso.onmicrosoft.com")
    lost, found = program("runs").stdout.splitlines()[2:]
    for slip in ("contosso.onmicrosoft.com", "Contosos", "contos"):
        result = program("runs", "--customer", slip)
        assert (result.exit_code, f"did you mean {DOMAIN}?" in result.stderr) == (3, True)
    asked = program("runs", "--customer", "FABRIKAM.example").stdout
    forgotten = program("ledger", "purge", "--before", "2100-01-01", "--yes")

    assert " contosso.onmicrosoft.com " in lost
    assert f" {DOMAIN} +1 " in found
    assert " fabrikam.example +1 " in asked
    assert forgotten.exit_code == 0, forgotten.output
    assert f" {min(CONTOSO, FABRIKAM)} +1 " in program("runs").stdout


def test_what_a_customer_is_given_of_a_common_run_names_no_other(program: Program) -> None:
    both = program.batch(f"Serial number,Customer\nSN-0,{DOMAIN}\nF-0,fabrikam.example\n")
    program("deregister", both, "--via", "partner-center", "--dry-run")
    audit = program.folder / "audit.jsonl"
    for name, others in ((DOMAIN, ("fabrikam", FABRIKAM)), ("fabrikam.example", (DOMAIN, CONTOSO))):
        assert program("ledger", "export", "--customer", name, "-o", audit).exit_code == 0

        given = audit.read_text(encoding="utf-8").casefold()
        assert [other for other in others if other in given] == []
        assert program("ledger", "verify", "--export", audit).exit_code == 0
    program("ledger", "export", "-o", audit)
    assert f'"domain": "{DOMAIN}"' in audit.read_text(encoding="utf-8")


def test_an_empty_ledger_says_so_and_not_an_empty_table(program: Program) -> None:
    result = program("runs")

    assert (result.stdout, "no runs yet in sqlite" in result.stderr) == ("", True)


# --- help and completion ----------------------------------------------------------------------


def test_help_lists_every_command_once_and_cuts_nothing_off() -> None:
    result = CliRunner().invoke(main, ["--help"])

    listed = [name for rows in SECTIONS.values() for name in rows]
    assert sorted(listed) == sorted(SUMMARIES)
    assert "..." not in result.stdout.split("Remove devices:")[1]


def completed(program: Program, typed: str) -> list[str]:
    """What bash is offered for the last word."""
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1)}
    environment = {**program.environment, **asked, "_PARTNER_TOOLS_COMPLETE": "bash_complete"}
    return Program(program.folder, environment)().stdout.split()


def test_runs_customers_schemas_and_files_are_completed(program: Program) -> None:
    absent = program.folder / "absent.db"
    assert completed(program, "partner-tools runs ") == []
    remove(program, "SN-0")
    (run,) = (each["run"] for each in program.json("runs")["runs"])

    assert completed(program, "partner-tools resume 20") == [f"plain,{run}"]
    assert completed(program, "partner-tools runs --customer CON") == [f"plain,{DOMAIN}"]
    assert completed(program, "partner-tools schema inv") == ["plain,inventory"]
    assert completed(program, "partner-tools deregister ./re") == ["file,./re"]
    assert completed(program, f"partner-tools runs --ledger {absent} 20") == []
    assert completed(program, "partner-tools --config absent.toml runs 20") == []
    assert not absent.exists()


def test_completing_changes_no_file(program: Program) -> None:
    """A file without tables would become a ledger, and an old ledger one of this version."""
    empty = program.folder / "empty.db"
    empty.touch()
    assert completed(program, f"partner-tools runs --ledger {empty} 20") == []
    with closing(sqlite3.connect(empty)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


def test_completing_on_a_damaged_ledger_offers_nothing_and_prints_no_traceback(
    program: Program,
) -> None:
    damaged = program.folder / "damaged.db"
    damaged.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert completed(program, f"partner-tools runs --ledger {damaged} 20") == []
    assert completed(program, "partner-tools runs --ledger postgresql://[ 20") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_completes_commands_options_and_choices(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell])

    assert script.exit_code == 0
    assert "_PARTNER_TOOLS_COMPLETE" in script.stdout
    for typed, position, expected in (
        ("partner-tools deregis", 1, "deregister"),
        ("partner-tools deregister --juni", 2, "--junit"),
        ("partner-tools deregister --via ", 3, "oem-direct"),
    ):
        word = "" if typed.endswith(" ") else typed.split()[-1]
        asked = CliRunner().invoke(
            main,
            [],
            env={
                "_PARTNER_TOOLS_COMPLETE": f"{shell}_complete",
                "COMP_WORDS": typed,
                "COMP_CWORD": word if shell == "fish" else str(position),
            },
            prog_name="partner-tools",
        )
        assert expected in asked.stdout, (shell, typed, asked.stdout)


# --- consoles ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "cp932", "cp65001", "ascii", "utf-8"])
def test_foreign_letters_never_end_the_program(
    encoding: str, program: Program, tmp_path: Path
) -> None:
    import subprocess

    batch = program.serials("日本-1", "🖥-2", "Łódź")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "partner_tools", "plan", str(batch), "--via"),
            *("partner-center", "--customer", DOMAIN, "-o", str(tmp_path / "plan.json")),
        ],
        env={**os.environ, **program.environment, "PYTHONIOENCODING": encoding},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )

    assert done.returncode == 7, done.stderr
    assert b"Traceback" not in done.stderr
    assert "not-found" in done.stdout.decode(encoding)


# --- config init ------------------------------------------------------------------------------


def test_without_a_terminal_init_names_what_to_set_instead(program: Program) -> None:
    result = program("config", "init")

    assert result.exit_code == 8
    assert "PARTNER_TOOLS_CLIENT_SECRET" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_init_asks_tests_each_answer_and_writes_a_valid_profile(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    from tests.cli.terminal import at_a_terminal

    announced = sandbox.announce()["environment"]
    kept = ("PARTNER_TOOLS_LOGIN_URL", "PARTNER_TOOLS_CA_BUNDLE", "PARTNER_TOOLS_CLIENT_SECRET")
    environment = {
        **{name: announced[name] for name in kept if name in announced},
        "PARTNER_TOOLS_CLIENT_SECRET": announced.get("PARTNER_TOOLS_CLIENT_SECRET", "wrong"),
    }
    target = tmp_path / "made.toml"
    tenant, app = sandbox.seed.partner.domain, sandbox.seed.applications[0].client_id

    code, screen = at_a_terminal(
        ["config", "init", "-o", str(target)],
        environment,
        {
            "channel": "",
            "tenant:": f"{tenant}",
            "client id:": "nonsense",
            "Keep it anyway?": "n",
            "client id: ": "9cb2a3f4-6f2a-4f5e-8f0b-2f4f7a0a7d10",
            "Keep it anyway? ": "n",
            "client id:  ": app,
            "mode": "app+user",
            "company": "",
            "company:": "Northwind",
            "contact": "help@northwind.example",
        },
    )

    assert code == 0, screen
    profile = tomllib.loads(target.read_text(encoding="utf-8"))["default"]
    assert profile["auth"]["tenant"] == tenant
    assert "ok: there is such a tenant" in screen
    assert "a client id looks like" in screen
    assert "the tenant does not know the app" in screen
    assert f"adminconsent?client_id={app}" in screen
    assert screen.rstrip().endswith(f"partner-tools doctor --config {target}")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_an_interrupted_init_keeps_its_answers_and_need_not_test_them(tmp_path: Path) -> None:
    from tests.cli.terminal import at_a_terminal

    target = tmp_path / "made.toml"
    command = ["config", "init", "--no-test", "-o", str(target)]
    begun = {"channel": "", "tenant:": "northwind.example"}
    code, screen = at_a_terminal(command, {}, begun, interrupted_at="client id:")
    assert (code, target.exists()) == (130, False), screen
    assert "your answers are kept" in screen

    rest = {
        "channel": "",
        "tenant [northwind.example]:": "",
        "client id:": "9cb2a3f4-6f2a-4f5e-8f0b-2f4f7a0a7d10",
        "mode": "",
        "certificate": "",
        "company": "Northwind",
        "contact": "help@northwind.example",
    }
    code, screen = at_a_terminal(command, {}, rest)
    assert code == 0, screen
    profile = tomllib.loads(target.read_text(encoding="utf-8"))["default"]
    assert profile["auth"]["tenant"] == "northwind.example"
    assert [path.name for path in tmp_path.iterdir()] == ["made.toml"]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_init_proposes_a_customer_of_its_user_in_its_last_line(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    from tests.cli.terminal import at_a_terminal

    environment = {
        **sandbox.announce()["environment"],
        "PARTNER_TOOLS_CLIENT_SECRET": sandbox.seed.applications[0].secret or "",
        "PARTNER_TOOLS_LEDGER": str(tmp_path / "ledger.db"),
    }
    target = tmp_path / "made.toml"
    answers = {
        "channel": "",
        "tenant:": sandbox.seed.partner.domain,
        "client id:": sandbox.seed.applications[0].client_id,
        "mode": "app",
        "certificate": "",
        "company": "Northwind",
        "contact": "  ",
        "contact ": "help@northwind.example",
    }

    code, screen = at_a_terminal(["config", "init", "-o", str(target)], environment, answers)

    assert code == 0, screen
    last = screen.replace("\r", "").rstrip().splitlines()[-1]
    assert last.endswith(f"partner-tools doctor --config {target} --customer {DOMAIN}"), screen
    partner = tomllib.loads(target.read_text(encoding="utf-8"))["default"]["partner"]
    assert partner == {"name": "Northwind", "contact": "help@northwind.example"}
