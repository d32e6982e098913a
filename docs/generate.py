"""Write `docs/reference/` from the code, so that the pages cannot differ from it.

`python -m docs.generate` writes the pages, `python -m docs.generate --check` compares them with
the files and exits with 1 if a page is stale.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import json
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from docs import claims
from docs.schema_tables import code, render_schema, table
from partner_tools import config, errors, result
from partner_tools import files as reading
from partner_tools import strict_json as foreign
from partner_tools.cli import main
from partner_tools.cli.app import EXIT_BUG
from partner_tools.cli.commands import hash as hash_command
from partner_tools.clients import transport
from partner_tools.events import RUN_STATES, TRANSITIONS, Event, History, Kind, State, advance
from partner_tools.intake import identifiers, limits
from partner_tools.model import GONE, Outcome, RunId, RunState
from tests.faults import table as fault_table

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
LISTS = ROOT / "tests" / "cases" / "lists.toml"
SCHEMAS = ROOT / "schemas"
DIFF_LINES_SHOWN = 100
HELP_WIDTH = 80
NOTICE = "<!-- Made by docs/generate.py; change the code and run `make docs`. -->"


def pages() -> Mapping[str, str]:
    """Every generated page by its path below `docs/reference/`."""
    made = {
        "cli.md": cli_page(main),
        "exit-codes.md": exit_codes_page(),
        "outcomes.md": outcomes_page(),
        "lifecycle.md": lifecycle_page(),
        "faults.md": faults_page(),
        "configuration.md": configuration_page(_read_json(SCHEMAS / "config.schema.json")),
        "layers.md": layers_page(_contracts()),
        "limits.md": limits_page(),
        "lists.md": lists_page(),
        "what-we-rely-on.md": relied_on_page(claims.register(), written_pages()),
        "schemas.md": schemas_page(_schemas()),
        **{f"schemas/{name}.md": schema_page(name, each) for name, each in _schemas().items()},
    }
    return {name: f"{NOTICE}\n\n{text.strip()}\n" for name, text in made.items()}


# --- Commands ---------------------------------------------------------------------------------


def cli_page(program: click.Group) -> str:
    """The help of the program and of every command, as a terminal of 80 columns shows it."""
    parts = [
        "# Commands",
        "`partner-tools` and `python -m partner_tools` are the same.\n"
        "`--config`, `--profile`, `--ledger`, `--log-format`, `-v` and `-q` may be placed before "
        "or after the subcommand; all other options follow it.\n"
        "The result goes to stdout, everything else to stderr.\n"
        "[Exit codes](exit-codes.md) and [outcomes](outcomes.md) have pages of their own.",
    ]
    for path, context in _contexts(program):
        parts.append(f"{'##' if len(path) < 3 else '###'} {' '.join(path)}")
        parts.append(f"```text\n{context.get_help().strip()}\n```")
    return "\n\n".join(parts)


def commands(program: click.Group) -> Iterator[tuple[str, ...]]:
    """The words of every command, from the program's own name."""
    for path, _ in _contexts(program):
        yield path


def _contexts(program: click.Group) -> Iterator[tuple[tuple[str, ...], click.Context]]:
    root = program.context_class(
        program,
        info_name="partner-tools",
        terminal_width=HELP_WIDTH,
        color=False,
        **program.context_settings,
    )
    yield from _below(("partner-tools",), root)


def _below(
    path: tuple[str, ...], context: click.Context
) -> Iterator[tuple[tuple[str, ...], click.Context]]:
    yield path, context
    group = context.command
    if isinstance(group, click.Group):
        for name in group.commands:
            command = group.get_command(context, name)
            if command is not None:
                yield from _below((*path, name), command.context_class(command, context, name))


# --- Exit codes and outcomes ------------------------------------------------------------------

_EXIT_CODES: Mapping[int, str] = {
    result.EXIT_DONE: "All done: every device of the batch is `removed`, `absent` or "
    "`already-removed`, and none is still listed. For commands that only read: no problem.",
    EXIT_BUG: "A bug in partner-tools; the traceback says where. Please report it.",
    click.UsageError.exit_code: "Usage: an option or argument is wrong or missing, or the run is "
    "unknown.",
    errors.InputError.exit_code: "The batch, plan or configuration is invalid. Nothing that "
    "changes anything was sent.",
    errors.AuthError.exit_code: "The sign-in failed, or a permission is missing.",
    errors.ServiceError.exit_code: "A service is unavailable or refuses to continue. The run can "
    "be resumed.",
    errors.LedgerError.exit_code: "The ledger is locked, damaged or has another version. It was "
    "not changed.",
    result.EXIT_INCOMPLETE: "Finished, but at least one device is not gone, or a removed one is "
    "still listed.",
    errors.GuardError.exit_code: "A guard refused: too many devices, no confirmation, a digest "
    "that does not match, a tenant field that is not blank.",
    errors.Interrupted.exit_code: "Interrupted by Ctrl-C, SIGTERM, a closed terminal (SIGHUP), "
    "or by a result, handoff or JUnit file that cannot be written. The run can be resumed.",
}

_EXIT_BY_COMMAND: Sequence[tuple[str, str]] = (
    ("`plan`, `deregister --dry-run`", "0 if every device can be removed, otherwise 7"),
    ("`deregister`, `resume`", "0 or 7 as above if the run was completed"),
    (
        "`cleanup`",
        "without `--apply`: 0 if every device can be cleaned up or has nothing left, otherwise 7; "
        "with it: as `deregister`, and 5 while another administrator has to approve",
    ),
    (
        "`verify`",
        "7 while anything that the run removed is still listed; 4 if no tenant could be read, "
        "5 if a service was not available; otherwise 0. On OEM Direct, which cannot list devices, "
        "`verify RUN` exits with 7 while a device is `unknown`",
    ),
    ("`report`", "0 if the files were written"),
    ("`restore`", "7 if a removed device cannot be written or registered again, otherwise 0"),
    ("`validate`", "0 without errors, otherwise 3; 8 for a tenant field on OEM Direct"),
    ("`ledger verify`", "0 if the chain is intact, otherwise 6"),
    ("`doctor`", "0 if everything is in order, otherwise the code of the first failure"),
    ("`auth status`", "0 with a usable token, otherwise 4"),
    ("`demo`", "0 if the handoff was written"),
)


def exit_codes_page() -> str:
    """What each exit code means, and which errors end with it."""
    meanings = [(f"{number}", text) for number, text in sorted(_EXIT_CODES.items())]
    tree = [
        (code(kind.__name__), f"{kind.exit_code}", code(kind.default_rule), _first_line(kind))
        for kind in _descendants(errors.PartnerToolsError)
    ]
    return "\n\n".join(
        [
            "# Exit codes",
            "A pipeline can branch on these numbers; their meaning does not change.",
            table(("code", "meaning"), meanings),
            "## By command",
            table(("command", "exit code"), _EXIT_BY_COMMAND),
            "With `--output json`, a command that exits with 3, 4, 5, 6 or 8 before a run exists "
            "prints an [error document](schemas/error.md) on stdout. Usage errors print nothing "
            "there. With 130 it prints the result of the run with the state `interrupted`.",
            "## By error",
            "The names are those of `partner_tools.errors`; `rule` is the rule in the JSON "
            "document if no more specific one applies.",
            table(("error", "code", "rule", "meaning"), tree),
            "After the first Ctrl-C no further request is sent, and answers in flight are awaited "
            "for at most ten seconds. A second Ctrl-C ends the process at once. In both cases the "
            "run can be resumed.",
        ]
    )


def _descendants(kind: type[errors.PartnerToolsError]) -> Iterator[type[errors.PartnerToolsError]]:
    """The errors below `kind` in the order of the tree, each once."""
    seen: dict[type[errors.PartnerToolsError], None] = {}
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            seen.update(dict.fromkeys((child, *_descendants(child))))
    yield from seen


_OUTCOMES: Mapping[Outcome, tuple[str, str]] = {
    Outcome.REMOVED: (
        "The service confirmed our own removal.",
        "Nothing on the channel. The handoff lists the steps in Intune, Entra ID and Active "
        "Directory. If the result says that the device is still listed, verify it again later.",
    ),
    Outcome.ABSENT: (
        "This run's plan found it, and the service then said that it no longer exists. On "
        "`oem-direct`, which has no listing: the service has no registration for this identity, "
        "and its hardware hash or an unanswered request of this run confirms the identity.",
        "Nothing.",
    ),
    Outcome.ALREADY_REMOVED: (
        "It is not registered now, and this ledger removed it for this customer earlier; the "
        "detail names run, time and account.",
        "Nothing.",
    ),
    Outcome.UNCONFIRMED: (
        "`oem-direct` only: the service has no registration for this identity (807), and "
        "nothing else confirms the identity. A misspelt identity gets the same answer.",
        "Compare the identity with the device, or add its hardware hash.",
    ),
    Outcome.ASSESSED: (
        "An assessment checked it in the customer's tenant, and removed nothing.",
        "See the result's planes, or `report`.",
    ),
    Outcome.NOT_FOUND: (
        "Partner Center shows no such device for this customer: registered by the customer or by "
        "another partner, or misspelt.",
        "Check the spelling and the customer. If both are right, the customer removes it, as the "
        "handoff says.",
    ),
    Outcome.AMBIGUOUS: (
        "More than one registration matches, or the row contradicts the registration. The program "
        "never guesses; it lists the candidates.",
        "Add manufacturer, model or product key id to the row and run it again.",
    ),
    Outcome.DUPLICATE: ("The same device appears earlier in the batch.", "Nothing."),
    Outcome.NOT_OWNED: (
        "The service says that this partner may not remove it.",
        "The organisation that registered it has to remove it, or the customer.",
    ),
    Outcome.REFUSED: (
        "It was not removed for another stated reason: the service or one of your guards refused.",
        "Read the detail of the device.",
    ),
    Outcome.UNKNOWN: (
        "A request was sent but never answered.",
        "Resume the run: it checks before it does anything.",
    ),
    Outcome.PENDING: ("Not attempted yet.", "Resume the run."),
}


def outcomes_page() -> str:
    """The outcomes of a device, and what to do next."""
    rows: list[Sequence[str]] = [
        (code(outcome.value), "yes" if outcome in GONE else "", *_OUTCOMES[outcome])
        for outcome in Outcome
    ]
    return "\n\n".join(
        [
            "# Outcomes",
            "Every device of a batch has exactly one outcome. A run exits with 0 if every device "
            "is gone and none is still listed, otherwise with 7.",
            table(("outcome", "gone", "meaning", "what to do next"), rows),
            "`PARTNER` and `partner` are two serial numbers, and so are `1E5` and `100000`: "
            "identifiers are compared exactly, after surrounding white space is removed, which is "
            "reported as a warning.",
            "[Life of a device](lifecycle.md) shows how a device gets its outcome.",
        ]
    )


# --- Faults -----------------------------------------------------------------------------------


def faults_page() -> str:
    """The effect of each fault, from the table that the tests compare with the actual effect."""
    return "\n\n".join(
        [
            "# Effects of faults",
            "Each cell is tested against the sandbox, over real sockets: `make faults` tests all "
            "of them, the test suite a sample. "
            "A command meets the fault once, unless it says *each time* or has no end. Then the "
            "fault is cleared and the next command runs: `resume`, or the same command if there is "
            "no run to resume. Two devices are listed; a third is registered but not listed, and "
            "is never touched.",
            "A cell gives the [exit code](exit-codes.md) and the [outcomes](outcomes.md), and "
            "after *then* those of the next command. "
            "Without *then*, the next command gives the same result: nothing was left to do, or, "
            "for `5: pending+refused`, the cleanup does not begin the other devices because its "
            "first device was refused after a step.",
            _LEGEND,
            *(f"## {title}\n\n{table(heads, rows)}" for title, heads, rows in fault_table.tables()),
        ]
    )


_LEGEND = table(
    ("cell", "conclusion"),
    [
        ("`removed`", "the service confirmed it, and the lists no longer show the device"),
        (
            "`absent`",
            "the service says that it is gone; if one of our requests went unanswered before, that "
            "request may have removed it, and the detail says so",
        ),
        ("`pending`", "nothing was done with it; this is true of the sandbox in every such cell"),
        ("`unknown`", "it may or may not be gone; resuming finds out without guessing"),
        ("`refused`, `not-owned`", "the service refused this device; the others continued"),
        ("`n back`", "n devices are registered again, confirmed by the service for each"),
        (
            "`not-verified`",
            "nothing is known about the device on that plane, whatever was seen before; "
            "`outstanding` and `clear` are results of completed checks",
        ),
    ],
)


# --- Life of a device -------------------------------------------------------------------------

_PAYLOADS: Mapping[Kind, Mapping[str, Mapping[str, Any]]] = {
    Kind.RESOLVED: {"to be removed": {"outcome": "pending"}, "not": {"outcome": "not-found"}},
    Kind.RECALLED: {"still there": {"present": True}, "gone": {"present": False}},
}
"""The events whose payload decides where they lead, with one of each sort."""

_ANY_PAYLOAD: Mapping[str, Any] = {
    "outcome": "removed",
    "requestId": "",
    "handle": "",
    "done": True,
    "answered": False,
    "step": "",
    "approval": "",
}


def lifecycle_page() -> str:
    """The state machine as a diagram and as tables."""
    return "\n\n".join(
        [
            "# Life of a device",
            "The ledger records events, and the state of a device follows from its events. A "
            "crash, a time-out and Ctrl-C look the same here: `sent` without an answer. `resume` "
            "settles those first.",
            "```mermaid\nstateDiagram-v2\n    [*] --> new\n" + "\n".join(_edges()) + "\n```",
            "## States",
            table(("state", "meaning"), list(_member_docs(State))),
            "## Events of a device",
            "[The schema of an event](schemas/event.md) says what the payload of each kind holds.",
            "## States of a run",
            table(
                ("event", "state that it leaves the run in"),
                [
                    (code(kind.value), code(state.value) if state else "the same")
                    for kind, state in RUN_STATES.items()
                ],
            ),
            f"A run that is `{RunState.PLANNING}` or `{RunState.RUNNING}` while no process works "
            f"on it is shown as `{RunState.INTERRUPTED}` in results.",
        ]
    )


def _edges() -> Iterator[str]:
    """The edges of the diagram; events that lead from one state to the same one share an edge."""
    labels: dict[tuple[State, State], list[str]] = {}
    for start, kind in TRANSITIONS:
        for label, end in _ends(start, kind):
            labels.setdefault((start, end), []).append(label)
    for (start, end), names in labels.items():
        yield f"    {start} --> {end}: {', '.join(names)}"


def _ends(start: State, kind: Kind) -> Iterator[tuple[str, State]]:
    """Where an event leads, tried out on `advance`."""
    for name, payload in _PAYLOADS.get(kind, {"": {}}).items():
        event = Event(
            run=RunId(""),
            kind=kind,
            at=datetime.min.replace(tzinfo=UTC),
            device=0,
            payload={**_ANY_PAYLOAD, **payload},
        )
        label = f"{kind} ({name})" if name else kind.value
        yield label, advance(History(state=start), event).state


def _member_docs(kind: type[State]) -> Iterator[tuple[str, str]]:
    """The members of an enumeration and the text below each."""
    (body,) = (
        node.body
        for node in ast.walk(ast.parse(inspect.getsource(kind)))
        if isinstance(node, ast.ClassDef)
    )
    for member, text in pairwise(body):
        if isinstance(member, ast.Assign) and isinstance(text, ast.Expr):
            yield code(ast.literal_eval(member.value)), str(ast.literal_eval(text.value))


# --- Configuration ----------------------------------------------------------------------------

LOCATORS: Mapping[str, str] = {
    "PARTNER_TOOLS_CONFIG": "the configuration file, where `--config` is not given",
    "PARTNER_TOOLS_PROFILE": "the profile, where `--profile` is not given",
    "NO_COLOR": "no colours, whatever its value",
}


def configuration_page(schema: Mapping[str, Any]) -> str:
    """The settings, the environment variables and the secrets."""
    profile = {**schema["additionalProperties"], "description": "", "$defs": {}}
    variables = [
        (code(variable), f"the setting {code('.'.join(path))}")
        for path, variable in config.VARIABLES.items()
    ]
    locators = [(code(name), meaning) for name, meaning in LOCATORS.items()]
    return "\n\n".join(
        [
            "# Configuration",
            "The configuration is a TOML file with one table per profile; the profile is "
            f"`{config.DEFAULT_PROFILE}` unless another is named. The file is the one that "
            f"`--config` or `PARTNER_TOOLS_CONFIG` names, otherwise `{config.FILE_NAME}` in the "
            "working directory, otherwise in the user's configuration folder. An option takes "
            "precedence over the environment, the environment over the file, and the file over "
            "the default. An unknown key is an error.",
            "A file in the working directory is refused if all users can write to that folder, as "
            "to `/tmp`, and the file belongs neither to you nor to the administrator, because it "
            "decides where secrets are sent. `--config` accepts it anyway.",
            "`partner-tools config init` asks questions and writes the file, `config show` shows "
            "the settings in force, and `doctor` checks them.",
            f"```toml\n{_sample_profile()}\n```",
            "## Settings of a profile",
            render_schema(profile),
            "A relative path is relative to the configuration file.",
            "## Environment variables",
            table(("variable", "meaning"), [*variables, *locators]),
            "## Secrets",
            "Secrets come from the environment only; a user's tokens are kept in the operating "
            "system's credential store. The configuration, flags, logs, reports and the ledger "
            "never contain them.",
            table(
                ("variable", "meaning"),
                [(code(name), meaning) for name, meaning in config.SECRETS.items()],
            ),
        ]
    )


def _sample_profile() -> str:
    """A profile that a test reads as the program does."""
    return (
        "[default]\n"
        'via = "partner-center"\n\n'
        "[default.auth]\n"
        'mode = "app"\n'
        'tenant = "fabrikam.onmicrosoft.com"\n'
        'client_id = "9cb2a3f4-6f2a-4f5e-8f0b-2f4f7a0a7d10"\n'
        'certificate = "partner-tools.pem"\n\n'
        "[default.partner]\n"
        'name = "Fabrikam"\n'
        'contact = "devices@fabrikam.example"\n\n'
        "[default.limits]\n"
        "max_devices = 500\n"
        "max_devices_per_day = 1000\n\n"
        "[default.guards]\n"
        'hold_list = "hold.txt"\n'
        "max_estate_share = 0.5"
    )


# --- Schemas ----------------------------------------------------------------------------------


def limits_page() -> str:
    """How much of a foreign file or answer is taken on, from the constants that decide it."""
    rows: list[Sequence[str]] = [
        *((what, _size(size), "3") for what, size in _file_limits()),
        *((what, _size(size), "5") for what, size in _answer_limits()),
    ]
    return "\n\n".join(
        [
            "# Limits",
            "Input from a file or a service is read up to a limit, and refused beyond it with a "
            "message that names the limit. A file is refused with exit 3 before anything is "
            "sent. An unreadable response ends the run with 5, and the run can be resumed; if the "
            "request may have been carried out, the device is `unknown` until it is checked.",
            table(("input", "at most", "exit"), rows),
            "Also refused: a duplicate property in a JSON file, NaN, a number of more than "
            "4,300 digits, text that is not Unicode, a document type or an entity in XML (OEM "
            "Direct's answers and workbooks), an encrypted workbook, and workbook rows whose "
            "numbers do not increase. CSV and JSON Lines are read as a stream: the number of their "
            "rows is not limited if they are only validated.",
            "`make fuzz` tests the readers with a million damaged hashes and, for each parser, "
            "twenty thousand damaged files or answers; the test suite uses a few of each.",
        ]
    )


def lists_page() -> str:
    """Which lists are read, from the names that the reader knows and the cases that try it."""
    known = identifiers.names()
    cases = tomllib.loads(_read(LISTS))["list"]
    parts = [
        "# Lists that are read",
        "CSV, JSON, JSON Lines and XLSX are recognised by their content. A list written by another "
        "program needs no editing if one of its columns has a name listed below. `--serial-column "
        "NAME` reads a column with any other name. Skipped or uncertain content causes a warning; "
        "text that cannot be a serial number is an error. Values in the examples are made up; the "
        "link shows where the form was seen.",
    ]
    for group in dict.fromkeys(case["group"] for case in cases):
        parts += [f"## {group}"]
        parts += [_list_example(case) for case in cases if case["group"] == group]
    parts += [
        "## Names of columns",
        "Names are compared by letters and digits only, without case, accents and trailing zeros. "
        "These words may precede or follow a name of the serial number: "
        + ", ".join(f"`{each}`" for each in known["qualifiers"])
        + ".",
        table(
            ("column", "kind", "names"),
            [
                (each["property"], each["of"], ", ".join(f"`{one}`" for one in each["names"]))
                for each in known["columns"]
            ],
        ),
        "## Values that are not serial numbers",
        "Error values, totals, dates, several values in one cell, one character repeated seven "
        "times or more, counters of eight or more characters, and these:",
        table(
            ("kind", "values"),
            [
                (each["of"], ", ".join(f"`{one}`" for one in each["values"]))
                for each in known["placeholders"]
            ],
        ),
    ]
    return "\n\n".join(parts)


def _list_example(case: Mapping[str, Any]) -> str:
    seen = case["seen"]
    told = ", ".join(f"`{each}`" for each in case["problems"])
    result = f"Read: {len(case['devices'])}." if "devices" in case else "Refused."
    options = [
        f"`--{'except' if name == 'excluded' else name.replace('_', '-')}`"
        for name in case.get("options", {})
    ]
    lines = [
        f"**{case['name']}**",
        f"```text\n{case['text'].replace(chr(0xFEFF), '').replace(chr(0x1A), '^Z').strip()}\n```",
        " ".join(
            [
                result,
                *([f"Reported: {told}."] if told else []),
                *([f"With {' '.join(options)}."] if options else []),
                f"Seen: <{seen}>." if seen.startswith("http") else f"Seen: {seen}.",
            ]
        ),
    ]
    return "\n\n".join(lines)


def _file_limits() -> list[tuple[str, tuple[int, str]]]:
    return [
        ("a batch that is planned, or comes from standard input", (limits.HELD_BYTES, "bytes")),
        ("one line or record of CSV or JSON Lines", (limits.RECORD_CHARACTERS, "characters")),
        ("one quoted cell of a CSV", (limits.CELL_CHARACTERS, "characters")),
        ("columns of a table", (limits.COLUMNS, "")),
        ("a JSON batch", (limits.JSON_BYTES, "bytes")),
        ("nesting of objects and lists in a JSON batch", (limits.JSON_DEPTH, "")),
        ("a workbook", (limits.XLSX_BYTES, "bytes")),
        ("all parts of a workbook, unpacked", (limits.XLSX_UNPACKED_BYTES, "bytes")),
        ("expansion of a part of a workbook", (limits.XLSX_RATIO, "times")),
        ("parts of a workbook", (limits.XLSX_PARTS, "")),
        ("rows of a sheet", (limits.XLSX_ROWS, "")),
        ("a file for `hash decode`", (hash_command.TEXT_LIMIT_BYTES, "bytes")),
        ("a plan", (reading.PLAN_BYTES, "bytes")),
        ("a file of signatures", (reading.SIGNATURES_BYTES, "bytes")),
        ("a handoff for `cleanup`", (reading.HANDOFF_BYTES, "bytes")),
        ("an exported audit trail", (reading.EXPORT_BYTES, "bytes")),
        ("a hold list", (reading.HOLD_LIST_BYTES, "bytes")),
        ("a configuration or a wire profile", (foreign.TOML_CHARACTERS, "characters")),
        ("nesting of objects and lists in all of these", (foreign.DEPTH, "")),
    ]


def _answer_limits() -> list[tuple[str, tuple[int, str]]]:
    return [
        ("an answer, unpacked", (transport.ANSWER_LIMIT_BYTES, "bytes")),
        ("an error response; longer ones are cut", (transport.REFUSAL_LIMIT_BYTES, "bytes")),
        ("values in the JSON of an answer", (transport.JSON_VALUES_LIMIT, "")),
        ("nesting of objects and lists in an answer", (foreign.DEPTH, "")),
    ]


def _size(given: tuple[int, str]) -> str:
    number, unit = given
    mib = 1024 * 1024
    if unit == "bytes" and number % mib == 0:
        return f"{number // mib} MiB"
    return f"{number:,} {unit}".strip()


def schemas_page(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """The list of the schemas."""
    rows: list[Sequence[str]] = [
        (f"[{name}](schemas/{name}.md)", str(each.get("description", "")))
        for name, each in schemas.items()
    ]
    return "\n\n".join(
        [
            "# Schemas",
            "Everything that partner-tools reads and writes as JSON or TOML has a JSON Schema "
            "(draft 2020-12). They ship with the package: `partner-tools schema` lists them and "
            "`partner-tools schema batch` prints one.",
            table(("schema", "describes"), rows),
        ]
    )


def schema_page(name: str, schema: Mapping[str, Any]) -> str:
    """One schema."""
    title = str(schema.get("title", name))
    return f"# {title}\n\n`partner-tools schema {name}` prints it.\n\n{render_schema(schema)}"


def _schemas() -> Mapping[str, Mapping[str, Any]]:
    return {
        path.name.removesuffix(".schema.json"): _read_json(path)
        for path in sorted(SCHEMAS.glob("*.schema.json"))
    }


# --- What we rely on --------------------------------------------------------------------------

_BASES: Mapping[str, str] = {
    "assumption": "No public source states this. If it is wrong, the program still acts safely.",
    "observed": "Others have observed it, but no documentation promises it.",
    "documented": "The owner of the service or program documents it.",
}


def relied_on_page(known: claims.Register, pages: Mapping[str, str]) -> str:
    """Every statement about what is not ours, the least sure first, then the oldest."""
    heads = ("id", "statement", "source", "page of", "read", "next review", "used in")
    parts = [
        "# What we rely on",
        "This page lists statements about third-party services and programs, from "
        "`docs/claims.toml`. The least certain come first; within each part they are sorted by the "
        "oldest reading date. If two sources contradict each other, both are listed, and a text "
        "that cites one also cites the other. `make claims` prints the reviews that are due. "
        f"{len(known.claims)} statements, {len(known.sources)} sources. Each cmdlet of the "
        "handoff's PowerShell has its page and date in `tests/powershell/cmdlets.json`.",
    ]
    for basis, rows in claims.relied_on_rows(known, pages):
        parts += [f"## {basis.capitalize()}", _BASES[basis], table(heads, rows)]
    return "\n\n".join(parts)


def written_pages() -> Mapping[str, str]:
    """The pages that persons write, by their path from the root."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    texts = {path.relative_to(ROOT).as_posix(): _read(path) for path in sorted(found)}
    return {name: text for name, text in texts.items() if NOTICE not in text and text.strip()}


# --- Layers -----------------------------------------------------------------------------------


def layers_page(contracts: Sequence[Mapping[str, Any]]) -> str:
    """The picture of the layers, what each part owns, and the doors of the libraries."""
    layers = [_names(line) for line in _contract(contracts, "layers")["layers"]]
    doors = [
        tuple(map(code, reversed(each.removeprefix("partner_tools.").split(" -> "))))
        for each in _contract(contracts, "forbidden", "door")["ignore_imports"]
    ]
    return "\n\n".join(
        [
            "# Layers",
            "The build checks this picture: a module imports only from rows below its own, and "
            "the parts of one row do not import each other.",
            f"```mermaid\n{_layer_diagram(layers)}\n```",
            table(
                ("part", "responsibility"),
                [(code(name), _owned(name)) for row in layers for name in row],
            ),
            "## Doors",
            "Each third-party library is imported in one place.",
            table(("library", "door"), sorted(doors)),
            "## Contracts",
            "\n".join(f"- {each['name']}" for each in contracts),
        ]
    )


def _contract(
    contracts: Sequence[Mapping[str, Any]], kind: str, word: str = ""
) -> Mapping[str, Any]:
    return next(each for each in contracts if each["type"] == kind and word in each["name"])


def _contracts() -> Sequence[Mapping[str, Any]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: Sequence[Mapping[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return contracts


def _names(line: str) -> list[str]:
    """The parts of a row that are there; the contract names some that may come later."""
    names = [name.strip() for name in line.split("|")]
    return [name for name in names if not name.startswith("(")]


def _layer_diagram(layers: Sequence[Sequence[str]]) -> str:
    lines = ["flowchart TB"]
    for number, row in enumerate(layers):
        lines.append(f'    subgraph row{number}[" "]\n        direction LR')
        lines += [f"        {name}" for name in row]
        lines.append("    end")
    lines += [f"    row{number} --> row{number + 1}" for number in range(len(layers) - 1)]
    return "\n".join(lines)


def _owned(name: str) -> str:
    package = ROOT / "partner_tools" / name
    file = package / "__init__.py" if package.is_dir() else package.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0]


# --- Writing and checking ---------------------------------------------------------------------


def stale(made: Mapping[str, str], folder: Path) -> Mapping[str, str]:
    """The pages that do not stand in `folder` as they are made, each with its difference."""
    return {
        name: difference
        for name, text in made.items()
        if (difference := _difference(name, _read(folder / name), text))
    }


def left_over(made: Mapping[str, str], folder: Path) -> list[str]:
    """The pages that carry our notice and are made no more."""
    return sorted(
        name
        for path in folder.rglob("*.md")
        if (name := path.relative_to(folder).as_posix()) not in made
        and _read(path).startswith(NOTICE)
    )


def write(made: Mapping[str, str], folder: Path) -> None:
    """Write every page, and delete the ones that are made no more."""
    for name in left_over(made, folder):
        (folder / name).unlink()
    for name, text in made.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def run(arguments: Sequence[str], say: Callable[[str], object]) -> int:
    """Write the pages, or check them; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, and write nothing")
    check = parser.parse_args(arguments).check
    known = claims.register()
    made = pages()
    if not check:
        write(made, REFERENCE)
        for name, text in written_pages().items():
            (ROOT / name).write_text(
                claims.refreshed(name, text, known), encoding="utf-8", newline="\n"
            )
        return 0
    for key in claims.overdue(known, datetime.now(UTC).strftime("%Y-%m")):
        say(f"warning: the review of {key} was due {known.claims[key].review}")
    cited = [
        problem
        for name, text in written_pages().items()
        for problem in claims.of_a_page(name, text, known)
    ]
    for problem in cited:
        say(problem)
    differences = stale(made, REFERENCE)
    for name, difference in differences.items():
        say(f"docs/reference/{name} is stale; run `make docs`\n{difference}")
    extra = left_over(made, REFERENCE)
    for name in extra:
        say(f"docs/reference/{name} is made no more; run `make docs`")
    return 1 if cited or differences or extra else 0


def _difference(name: str, old: str, new: str) -> str:
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, lineterm=""))
    return "\n".join(lines[:DIFF_LINES_SHOWN])


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _read_json(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n")[0]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], lambda text: sys.stdout.write(f"{text}\n")))
