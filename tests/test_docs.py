"""The documentation: fresh where code makes it, run where it shows commands, linked right."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click
import pytest

from docs import conf, generate
from partner_tools import config
from partner_tools.cli import main
from partner_tools.intake.schema import checker

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
FRAMES = {ROOT / "docs" / f"{name}.md" for name in conf.FROM_THE_ROOT}
"""Where the site puts what stands in the root."""
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - FRAMES)
WRITTEN = [page for page in PAGES if generate.NOTICE not in page.read_text(encoding="utf-8")]
OWN_TERMINAL = "the sandbox's terminal"
START_SECONDS = 60
PUNCTUATION = set("();<>|&")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block of a page. `language` is the first word behind the fence, `title` the rest."""

    page: Path
    language: str
    title: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, without the indentation of a list that they stand in."""
    pattern = r"^( *)```(\w+)([^\n]*)\n(.*?)^ *```$"
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        indent, language, title, body = found.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        yield Block(page=page, language=language, title=title, text="\n".join(lines))


def name_of(page: Path) -> str:
    """A page as test ids name it."""
    return page.relative_to(ROOT).as_posix()


def _command(words: tuple[str, ...]) -> click.Command:
    command: click.Command | None = main
    context = click.Context(main)
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(context, word)
    assert command is not None
    return command


def _prose(page: Path) -> str:
    """A page without its fenced blocks."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """The anchors that headings get: lower case, without punctuation, blanks as hyphens."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}


# --- What is made from code -------------------------------------------------------------------


def test_the_reference_is_fresh() -> None:
    """`make docs` would change nothing."""
    said: list[str] = []

    assert generate.run(["--check"], said.append) == 0, "\n".join(said)


def test_a_stale_page_is_found(tmp_path: Path) -> None:
    """A page that says something else, a missing one and one too many are all named."""
    made = {"a.md": f"{generate.NOTICE}\n\nnew\n", "b.md": f"{generate.NOTICE}\n\nb\n"}
    (tmp_path / "a.md").write_text(f"{generate.NOTICE}\n\nold\n", encoding="utf-8")
    (tmp_path / "c.md").write_text(f"{generate.NOTICE}\n\nc\n", encoding="utf-8")
    (tmp_path / "by-hand.md").write_text("mine\n", encoding="utf-8")

    assert set(generate.stale(made, tmp_path)) == {"a.md", "b.md"}
    assert generate.left_over(made, tmp_path) == ["c.md"]

    generate.write(made, tmp_path)

    assert generate.stale(made, tmp_path) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.md", "b.md", "by-hand.md"]


# --- Whether what is written is so ------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_documentation_leads_somewhere(page: Path) -> None:
    """Files exist, and so do the headings that links name."""
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert not anchor or anchor in _anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_profile_shown_is_valid(page: Path) -> None:
    """TOML in a page is a profile that the program accepts."""
    for block in blocks(page):
        if block.language == "toml":
            assert checker("config").violations(tomllib.loads(block.text)) == (), block.text


def test_every_fault_file_shown_is_valid() -> None:
    """JSON in a page that a person wrote is a file of faults that the sandbox takes."""
    shown = [each for page in WRITTEN for each in blocks(page) if '"limits"' in each.text]

    assert shown
    for block in shown:
        assert checker("sandbox-faults").violations(json.loads(block.text)) == (), block.text


def test_nobody_is_told_to_install_a_name_that_is_not_ours() -> None:
    """The project's name on PyPI could be anybody's: only files and checkouts are installed."""
    texts = [*PAGES, *(ROOT / "deploy").rglob("*"), *(ROOT / "partner_tools").rglob("*.py")]
    bare = re.compile(
        r"install(?: -\S+(?: \S+\.txt)?)* [\"']?partner[-_]tools(?:\[[^\]]*\])?(?![\w.-])"
    )

    assert bare.search('pip install -c constraints.txt "partner-tools[fleet]"')
    assert [
        name_of(file)
        for file in texts
        if file.is_file() and file.suffix != ".pyc" and bare.search(file.read_text("utf-8"))
    ] == []


def test_every_variable_named_exists() -> None:
    """Nobody sets a variable that nothing reads."""
    known = {*config.VARIABLES.values(), *config.SECRETS, *generate.LOCATORS}
    named = {
        name
        for page in PAGES
        for name in re.findall(r"PARTNER_TOOLS_[A-Z_]+", page.read_text(encoding="utf-8"))
    }

    assert named == {name for name in known if name.startswith("PARTNER_TOOLS_")}


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("GitHub Actions", "pipelines.md"),
        ("PDF", "customers-handoff.md"),
        ("Excel", "daily-use.md"),
        ("wrong customer", "many-customers.md"),
        ("one device", "daily-use.md"),
    ],
)
def test_what_people_search_for_is_in_a_heading(words: str, page: str) -> None:
    """The site's search ranks headings first; the page says it in its text too."""
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    headings = " ".join(re.findall(r"^#+ (.+)$", text, re.MULTILINE))

    assert words.lower() in headings.lower()
    assert text.lower().count(words.lower()) > 1


# --- Commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [path[1:] for path in generate.commands(main) if len(path) > 1],
    ids=" ".join,
)
def test_every_command_is_explained(words: tuple[str, ...]) -> None:
    """A page that a person wrote names it, and its help says what it does with an example."""
    command = _command(words)
    text = "\n".join(page.read_text(encoding="utf-8") for page in WRITTEN)

    assert re.search(rf"\b{re.escape(' '.join(words))}\b", text)
    assert len((command.help or "").split()) > 5
    assert list(_calls(_example(command)))


def _example(command: click.Command) -> str:
    """The lines of a command's help from `Example:` on."""
    return (command.help or "").partition("Example:")[2]


def _calls(text: str) -> Iterator[list[str]]:
    """The arguments of every call of partner-tools in lines of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        if "partner-tools" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        call: list[str] | None = None
        for token in [*lexer, ";"]:
            if set(token) <= PUNCTUATION:
                if call is not None:
                    yield call
                call = None
            elif call is not None:
                call.append(token)
            elif re.fullmatch(r"(.*[/\\])?partner-tools", token):
                call = []


def _shown_calls() -> list[list[str]]:
    """Every call that a page or a help text shows, each once."""
    shell = [
        block.text
        for page in WRITTEN
        for block in blocks(page)
        if block.language in ("bash", "console", "powershell")
    ]
    examples = [_example(_command(path[1:])) for path in generate.commands(main)]
    calls = {tuple(call) for text in (*shell, *examples) for call in _calls(text)}
    return sorted(list(call) for call in calls if call)


def _called_in_messages() -> list[list[str]]:
    """Every call that a text of the program names in backticks: remedies, above all."""
    calls: set[tuple[str, ...]] = set()
    for file in (ROOT / "partner_tools").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for call in re.findall(r"`(partner-tools [^`]*)`", _text_of(node)):
                calls.update(map(tuple, _calls(call.replace("…", "X"))))
    return sorted(list(call) for call in calls if call)


def _text_of(node: ast.AST) -> str:
    """The text of a string, or of an f-string with an X for each of its values."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text_of(value) or "X" for value in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize("call", [*_shown_calls(), *_called_in_messages()], ids=" ".join)
def test_every_call_named_is_one_that_the_program_takes(call: list[str]) -> None:
    """The command exists, and so do its options and the words that they take."""
    context = click.Context(main, info_name="partner-tools", **main.context_settings)
    command: click.Command = main
    rest = call
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"there is no command {rest[0]!r}"
        context = click.Context(found, parent=context, info_name=rest[0])
        command, rest = found, rest[1:]
    try:
        given, left, _ = command.make_parser(context).parse_args(list(rest))
    except click.BadOptionUsage:  # "what `plan -o` wrote" leaves the value out
        given, left, _ = command.make_parser(context).parse_args([*rest, "X"])

    for parameter in command.params:
        if parameter.name in given and isinstance(parameter.type, click.Choice):
            parameter.type_cast_value(context, given[parameter.name])
    assert left == []


# --- README -----------------------------------------------------------------------------------


def test_the_readme_sets_up_with_two_commands() -> None:
    """One block of bash under `Set up`, of two lines: the main job, and the tests."""
    section = README.read_text(encoding="utf-8").split("\n## Set up\n")[1].split("\n## ")[0]
    fenced = re.findall(r"^```bash\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)

    assert len(fenced) == 1
    first, second = fenced[0].splitlines()
    assert first.endswith("partner-tools demo -o handoff")
    assert second.endswith("-m pytest")
    for line in (first, second):
        assert line.startswith("python3 -m venv .venv && ")
        assert "-c constraints.txt -e '.[" in line


def test_the_readme_names_every_page() -> None:
    """A page that nothing links to is not found by anybody."""
    linked = {
        (page.parent / target.split("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page))
        if "://" not in target
    }

    assert [name_of(page) for page in PAGES if page not in linked and page != README] == []


# --- The tutorial -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A block of bash, and patterns for the lines that the text block after it shows."""

    command: str
    expected: tuple[str, ...]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the tutorial's blocks are for bash")
def test_the_tutorial_runs_word_for_word(tmp_path: Path) -> None:
    """Every block of bash, in order, in one shell; what the page shows is what is printed."""
    steps = tuple(_steps())
    folder = tmp_path / "tutorial"
    folder.mkdir()
    environment = _environment(tmp_path)
    script = "\n".join(f'{step.command}\necho "@@ $?"' for step in steps)

    with _sandbox_terminal(folder, environment):
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
    *said, rest = re.split(r"^@@ (\d+)\n", done.stdout, flags=re.MULTILINE)

    assert rest == ""
    for step, output, status in zip(steps, said[::2], said[1::2], strict=True):
        assert status == "0", f"{step.command}\n{output}"
        for line in step.expected:
            assert re.search(line, output), f"{step.command}\nprints\n{output}\nwithout\n{line}"


def _steps() -> Iterator[Step]:
    shown = [each for each in blocks(TUTORIAL) if each.language in ("bash", "text")]
    for block, following in pairwise([*shown, None]):
        if block is not None and block.language == "bash" and OWN_TERMINAL not in block.title:
            lines = following.text if following and following.language == "text" else ""
            expected = tuple(_pattern(line) for line in lines.splitlines())
            yield Step(command=block.text, expected=expected)


def _pattern(line: str) -> str:
    """A line as it is shown: an ellipsis is any text, and the width of a gap does not matter."""
    parts = [r"\s+".join(map(re.escape, part.split())) for part in line.split("…")]
    return r"[^\n]*".join(parts)


@contextmanager
def _sandbox_terminal(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """The other terminal of the page, from its first line to the end of the block."""
    (own,) = [each.text for each in blocks(TUTORIAL) if OWN_TERMINAL in each.title]
    process = subprocess.Popen(["bash", "-c", f"exec {own}"], cwd=folder, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        said = folder / "sandbox.json"
        while not (said.exists() and said.read_text(encoding="utf-8").endswith("\n")):
            assert process.poll() is None, "the sandbox ended"
            assert time.monotonic() < deadline, "the sandbox says nothing"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def _environment(tmp_path: Path) -> dict[str, str]:
    """That of a user without a configuration, who has this interpreter and partner-tools."""
    programs = tmp_path / "programs"
    programs.mkdir()
    calls = {"python": "", "partner-tools": "-m partner_tools "}
    for name, arguments in calls.items():
        program = programs / name
        program.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}"$@"\n', encoding="utf-8"
        )
        program.chmod(0o755)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PARTNER_TOOLS")}
    return {
        **kept,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }


# --- The threat model -------------------------------------------------------------------------


def test_every_row_of_the_threat_model_names_a_test_that_exists() -> None:
    """A threat without a test has no proven defence, and neither has one whose test was renamed."""
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    answers = page.split("## Threats and defences")[1].split("## Threats without a defence")[0]
    rows = [line for line in answers.splitlines() if re.match(r"\| (?!threat|-)", line)]

    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.split(" | ")[-1])
        assert len(named) == row.split(" | ")[-1].count("tests/") > 0, row
        for file, test in named:
            text = (ROOT / file).read_text(encoding="utf-8")
            found = re.search(rf"^((?:@.*\n(?:[ )].*\n)*)*)def {test}\(", text, re.MULTILINE)
            assert found, (file, test)
            assert not re.search(r"mark\.(skip|xfail)\b", found[1]), (file, test)
