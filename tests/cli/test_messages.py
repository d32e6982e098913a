"""What a user stumbles on once: each answered with what happened and what to do next."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import click
import pytest

from partner_tools.cli.console import broken, fitted, print_result, print_table, shared
from partner_tools.sandbox import Sandbox, seed_from
from tests.cli.program import Program, customer, program_for, world

DOMAIN = "contoso.onmicrosoft.com"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    seed = world(customer({"Batch": [{"serialNumber": f"SN-{number}"} for number in range(5)]}))
    with Sandbox(seed_from(seed)) as running:
        yield running


@pytest.fixture
def program(sandbox: Sandbox, tmp_path: Path) -> Program:
    return program_for(sandbox, tmp_path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("short", "short"),
        ("one two three four", "one two\n  three\n  four"),
        ("  next: run `a b c d e` now", "  next:\n    run\n    `a b c d e`\n    now"),
        ("next: partner-tools resume 20260417", "next: partner-tools resume 20260417"),
        ("https://example.test/long", "https://example.test/long"),
    ],
)
def test_a_line_is_broken_between_words_and_no_command_is(line: str, expected: str) -> None:
    assert broken(line, 9) == expected


def test_in_a_pipe_no_line_is_broken() -> None:
    assert fitted("word " * 100, StringIO()) == "word " * 100


def test_what_is_not_said_is_asked_for_with_the_usage_of_its_command(program: Program) -> None:
    result = program("inventory")

    assert result.exit_code == 2
    assert "partner-tools inventory [OPTIONS]" in result.stderr
    assert "--customer" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "exit_code", "hint"),
    [
        (("runs", "cancel"), 2, "one run"),
        (("runs", "--since", "yesterday"), 2, "write 2026-04-17"),
        (("schema", "btach"), 2, "did you mean 'batch'?"),
        (("auth", "stauts"), 2, "Did you mean 'status'?"),
        (("trace", "GHOST"), 0, "next: "),
        (("auth", "login"), 4, "no app registration is set"),
        (("hash", "check", "missing.csv"), 3, "No such file"),
        (("ledger", "verify"), 0, "is empty: there is nothing to prove"),
        (("ledger", "verify", "--export", "x", "--signed-by", "me"), 2, "a public key"),
        (("ledger", "export", "--customer", "nobody.example"), 3, "has a customer 'nobody"),
        (("inventory", "--customer", DOMAIN, "--serial", "GHOST"), 0, "leave out a filter"),
        (
            ("inventory", "--customer", DOMAIN, "--batch", "Bath"),
            0,
            "did you mean the batch 'Batch'",
        ),
    ],
)
def test_a_stumble_is_followed_by_what_to_do(
    arguments: tuple[str, ...], exit_code: int, hint: str, program: Program
) -> None:
    result = program(*arguments)

    assert (result.exit_code, hint in result.stderr) == (exit_code, True), result.output
    assert "Traceback" not in result.output


def test_a_table_is_no_hash_and_a_bad_hash_is_named_by_its_line(program: Program) -> None:
    table = program("hash", "decode", program.batch("Serial,Hardware Hash\nSN-1,abc\n"))
    junk = program("hash", "decode", "-", stdin="\nabc\n")

    assert "hash check" in table.stderr
    assert "standard input:2: the hardware hash has 3 characters" in junk.stderr


def test_whose_token_it_is_stands_there_in_words(program: Program) -> None:
    said = program("auth", "status").stdout

    assert "app only:       yes" in said
    assert "True" not in said and "None" not in said and "[]" not in said


def test_a_run_that_its_batch_stopped_shows_no_table_and_offers_no_resume(
    program: Program,
) -> None:
    result = program(
        *("deregister", program.serials("SN-0", "SN-1", "SN-2"), "--via", "partner-center"),
        *("--customer", "contosso.onmicrosoft.com", "--yes"),
    )

    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "nothing was removed"
    assert "resume" not in result.output


def test_a_command_refused_before_its_run_says_at_last_that_nothing_was_removed(
    program: Program, tmp_path: Path
) -> None:
    listed = ("--via", "partner-center", "--customer", "contoso.onmicrosoft.com")
    plan = tmp_path / "plan.json"
    program("plan", program.serials("SN-0"), *listed, "-o", str(plan))
    plan.write_text(plan.read_text().replace("SN-0", "SN-1"))
    changed = program("deregister", "--plan", str(plan), "--yes")
    total = program("deregister", program.serials("SN-0", "Total: 1"), *listed, "--yes")

    assert (changed.exit_code, total.exit_code) == (8, 3)
    for refused in (changed, total):
        assert refused.stderr.splitlines()[-1] == "nothing was removed"


def test_what_fails_after_a_run_never_says_that_nothing_was_removed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    program = program_for(sandbox, tmp_path, PARTNER_TOOLS_PARTNER_NAME="")
    result = program(
        *("deregister", program.serials("SN-4"), "--via", "partner-center", "--yes"),
        *("--customer", "contoso.onmicrosoft.com", "--report", str(tmp_path / "handoff")),
    )

    assert "1 removed" in result.stdout
    assert result.stderr.endswith("writes it\n")
    assert "nothing was removed" not in result.stderr


def test_devices_that_wait_for_the_same_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = {"outcome": "pending", "detail": None, "remedy": "resume the run"}
    devices = [{"row": row, "serialNumber": f"SN-{row}", **waiting} for row in range(2, 30)]

    print_result(
        {"run": "r", "state": "interrupted", "counts": {"pending": 28}, "devices": devices}
    )

    shown = capsys.readouterr().out
    assert (shown.count("resume the run"), "28 devices" in shown) == (1, True)


def test_a_list_of_runs_leaves_out_what_none_of_them_has(program: Program) -> None:
    options = ("--via", "partner-center", "--customer", DOMAIN, "--dry-run")
    program("deregister", program.serials("SN-0"), *options)
    bare = program("runs").stdout
    program("deregister", program.serials("SN-0"), *options, "--batch-id", "RMA-1")

    assert "  batch" not in bare.splitlines()[0] and "depot" not in bare
    assert "RMA-1" in program("runs").stdout


def test_a_cleanup_without_a_sign_in_leaves_no_run(program: Program, tmp_path: Path) -> None:
    done = program(
        *("deregister", program.serials("SN-3"), "--via", "partner-center", "--customer", DOMAIN),
        *("--yes", "--settle", "0", "--report", tmp_path / "handoff", "--format", "json"),
    )
    assert done.exit_code == 0, done.output
    (handoff,) = (tmp_path / "handoff").glob("*.json")
    own = Program(tmp_path, {**program.environment, "PARTNER_TOOLS_LEDGER": str(tmp_path / "o.db")})

    result = own("cleanup", handoff)

    assert (result.exit_code, "PARTNER_TOOLS_GRAPH_TOKEN" in result.stderr) == (4, True)
    assert own.json("runs")["runs"] == []


@pytest.mark.slow
def test_the_demo_names_its_own_files_and_what_comes_after_it(tmp_path: Path) -> None:
    folder = tmp_path / "handoff"
    folder.mkdir()
    (folder / "handoff-of-yesterday.html").write_text("", encoding="utf-8")

    result = Program(tmp_path)("demo", "-o", folder)

    assert result.exit_code == 0, result.output
    assert "yesterday" not in result.stdout
    assert "next: partner-tools doctor" in result.stderr
    assert "verify --outstanding" not in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_who_starts_a_sandbox_at_a_terminal_reads_how_to_come_there() -> None:
    from tests.cli.terminal import at_a_terminal

    code, screen = at_a_terminal(["sandbox"], {}, {}, interrupted_at="then:")

    first, _, rest = screen.partition("\n")
    environment = json.loads(first)["environment"]
    assert code == 0, screen
    shown = {
        name: shlex.split(value)[0] for name, value in re.findall(r"export (\w+)=(.+?)\r?\n", rest)
    }
    assert shown == environment
    assert "then: partner-tools inventory --customer contoso.onmicrosoft.com" in rest


def test_a_cancelled_run_is_not_said_to_be_resumable(program: Program) -> None:
    batch = program.serials("SN-0", "SN-1")
    asked = ("--via", "partner-center", "--customer", DOMAIN)
    run = program.json("deregister", batch, *asked, exit_code=8)["run"]
    cancelled = program("runs", "cancel", run)
    resumed = program("resume", run)

    assert cancelled.exit_code == 0, cancelled.output
    assert "SN-0, SN-1" in cancelled.stdout
    assert "it was cancelled" in cancelled.stdout
    assert "need a new run" in resumed.stderr
    assert "nothing to restore" in program("restore", run, "-o", batch.with_name("r.csv")).stderr
    assert "next: partner-tools resume" not in cancelled.output + resumed.output
    assert "resume the run" not in cancelled.output + resumed.output


def test_a_refused_token_may_be_one_that_was_handed_in(program: Program) -> None:
    refused = Program(program.folder, {**program.environment, "PARTNER_TOOLS_ACCESS_TOKEN": "x"})

    result = refused("inventory", "--customer", DOMAIN)

    assert result.exit_code == 4
    assert "or supply a new token" in result.stderr


def test_a_look_says_what_it_came_to(tmp_path: Path) -> None:
    with Sandbox(seed_from(world(customer({"B": [{"serialNumber": "SN-9"}]})))) as sandbox:
        program = program_for(sandbox, tmp_path)
        asked = ("--via", "partner-center", "--customer", DOMAIN, "--yes")
        run = program.json("deregister", program.serials("SN-9"), *asked)["run"]
        looked = program("verify", run)

    assert "nothing that this run removed is still listed" in looked.stderr
    assert program("verify", "--outstanding", "--wait", "5").exit_code == 2


def test_a_result_has_no_empty_column(program: Program) -> None:
    planned = program(
        *("deregister", program.serials("SN-0"), "--dry-run"),
        *("--via", "partner-center", "--customer", DOMAIN),
    )

    assert planned.stdout.splitlines()[1].split() == ["row", "serial", "number", "outcome"]


def test_a_device_without_a_serial_number_is_listed_by_what_it_has(tmp_path: Path) -> None:
    nameless = [{"productKey": "3305679240999"}, {}]
    with Sandbox(seed_from(world(customer({"B": nameless})))) as sandbox:
        program = program_for(sandbox, tmp_path)
        listed = program("inventory", "--customer", DOMAIN).stdout.splitlines()[2:]
        found = program.json("inventory", "--customer", DOMAIN)["devices"]

    assert [line.split()[0] for line in listed] == [
        each.get("productKeyId", each["deviceId"]) for each in found
    ]
    assert "3305679240999" in {line.split()[0] for line in listed}


def test_a_property_that_a_seed_does_not_have_is_named_with_what_is_near(program: Program) -> None:
    seed = world(customer({"B": [{"serialNumber": "SN-1", "modelNam": "x", "colour": "red"}]}))

    result = program("sandbox", "--seed", program.batch(json.dumps(seed), "seed.json"))

    assert result.exit_code == 3
    assert "modelNam, did you mean modelName?, colour)" in result.stderr


def test_restoring_is_limited_in_words_of_its_own(program: Program) -> None:
    assert "would be registered again" in " ".join(program("restore", "--help").stdout.split())


@pytest.mark.parametrize("width", [60, 80, 90, 120])
def test_no_width_of_a_terminal_cuts_a_cell_off(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    cells = ["20260417-101530-4f2a9c", "finished", "partner-center", "default", "RMA-17", "4"]

    print_table(
        ("run", "state", "via", "depot", "batch", "devices", "outcomes"),
        [[*cells, "1 removed, 3 not-found"]],
    )

    words = click.unstyle(capsys.readouterr().out).split()
    assert {*cells, "outcomes", "removed,", "not-found"} <= set(words)


@pytest.mark.parametrize("width", range(36, 108, 4))
def test_at_no_width_a_line_is_longer_than_the_terminal_or_a_letter_lost(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    cells = ["20260417-101530-4f2a9c", "contoso.onmicrosoft.com +2", "4 removed, 1 not-found"]

    print_table(("run", "customer", "outcomes"), [cells, cells])

    lines = click.unstyle(capsys.readouterr().out).splitlines()
    letters = re.sub(r"\W", "", "".join(lines))
    assert max(map(len, lines)) <= width
    assert letters.count("d") == 4, lines  # `removed` and `not-found`, twice


def test_room_goes_to_the_column_that_would_be_highest() -> None:
    assert shared(20, [5, 5], [6, 30]) == [5, 15]
    assert shared(100, [5, 5], [6, 30]) == [6, 30]


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_who_says_no_reads_what_was_not_done(program: Program) -> None:
    from tests.cli.terminal import at_a_terminal

    purge = ("ledger", "purge", "--before", "2026-01-01")
    code, screen = at_a_terminal(purge, program.environment, {"[y/N]": "n"})

    assert (code, "nothing was purged" in screen) == (8, True), screen


def test_a_national_cloud_is_said_to_be_untried(sandbox: Sandbox, tmp_path: Path) -> None:
    login = "https://login.microsoftonline.us"
    program = program_for(sandbox, tmp_path, PARTNER_TOOLS_LOGIN_URL=login)

    result = program("inventory", "--customer", DOMAIN)

    assert "whether they work in us-government is not known" in " ".join(result.stderr.split())
