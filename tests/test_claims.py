"""What is said about services that are not ours is registered, cited, dated and used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from docs import claims, generate
from partner_tools.clients.graph import CHANGE_PERMISSIONS, READ_PERMISSIONS
from partner_tools.outstanding.types import Flag, StepId
from partner_tools.report.guide import GUIDE, command
from tests.outstanding import test_decision
from tests.powershell.shell import CMDLETS

ROOT = Path(__file__).resolve().parents[1]
KNOWN = claims.register()
PAGES = generate.written_pages()
GUID = "8f2f5d2c-0d6e-4a35-9c1b-3c2f6d1f7a10"
SUFFIXES = {".py", ".toml", ".ps1", ".yaml", ".xml", ".html", ".js"}
OWN_SOURCES = {"names.toml"}
"""Names of columns, each beside the list that it was seen in; docs/reference/lists.md."""


def code() -> dict[str, str]:
    """The text of everything that is shipped."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for folder in ("partner_tools", "deploy")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.suffix in SUFFIXES and path.name not in OWN_SOURCES
    }


def commands() -> Iterator[str]:
    """Every PowerShell command of a handoff."""
    for step, chapter in GUIDE.items():
        yield chapter.recipe.guide or ""
        yield command(step, GUID, GUID, "5CD1234XYZ", hybrid=True) or ""


def guide() -> dict[str, list[tuple[str, str]]]:
    """The pages that each step of the guide names, by address and date."""
    return {
        step.value: [
            (source.url, str(source.date or ""))
            for source in (chapter.source, chapter.otherwise)
            if source
        ]
        for step, chapter in GUIDE.items()
    }


def of_permissions(reads: Mapping[str, str]) -> list[str]:
    shipped = "\n".join(text for name, text in code().items() if "/sandbox/" not in name)
    named = claims.permissions_in(shipped + "\n".join(PAGES.values()))
    published = [*CMDLETS["permissions"]["delegated"], "Organization.Read.All"]
    return list(claims.of_permissions(reads, named, KNOWN, published))


READS = {collection.value: scope for collection, scope in READ_PERMISSIONS.items()}


def test_the_register_agrees_with_itself_and_with_the_constants() -> None:
    assert list(claims.of_the_register(KNOWN)) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_citation_of_a_page_is_registered(name: str) -> None:
    assert list(claims.of_a_page(name, PAGES[name], KNOWN)) == []


def test_every_address_in_the_code_is_registered() -> None:
    wrong = [each for name, text in code().items() for each in claims.of_code(name, text, KNOWN)]

    assert wrong == []


def test_every_step_of_the_guide_rests_on_a_claim() -> None:
    assert list(claims.of_the_guide(guide(), KNOWN)) == []


def test_every_permission_is_the_one_that_is_claimed() -> None:
    assert of_permissions(READS) == []
    assert set(CHANGE_PERMISSIONS.values()) <= {each.permission for each in KNOWN.claims.values()}


def test_every_parameter_of_a_command_is_published() -> None:
    assert list(claims.of_commands(commands(), CMDLETS["cmdlets"])) == []


def test_every_claim_is_used() -> None:
    assert claims.unused(PAGES, code().values(), KNOWN) == []


def test_the_register_holds_what_it_has_to() -> None:
    """Ids as citations need them, months as reviews compare them."""
    for key, claim in KNOWN.claims.items():
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]+", key)
        assert claim.says.strip(), key
        assert re.fullmatch(r"20\d\d-\d\d", claim.read), key
        assert re.fullmatch(r"20\d\d-\d\d", claim.review), key
        assert claim.review > claim.read, key
    for key, source in KNOWN.sources.items():
        assert re.fullmatch(r"|20\d\d(-\d\d){0,2}", source.page), key


def test_a_review_that_was_due_is_named() -> None:
    late = replace(KNOWN.claims["removal-order"], review="2026-10")
    known = replace(KNOWN, claims={**KNOWN.claims, "removal-order": late})

    assert claims.overdue(known, "2026-11") == ["removal-order"]
    assert claims.overdue(known, "2026-10") == []


def test_what_is_due_is_printed() -> None:
    said: list[str] = []

    assert claims.main(said.append) == 0
    assert re.search(r"\d+ of \d+ claims are due; the next review is 20\d\d-\d\d", said[-1])


# --- Wrong claims, one of each kind -----------------------------------------------------------


def stale_date() -> list[str]:
    name = "docs/how-to/throttling.md"
    assert "read 2026-11" in PAGES[name]
    text = PAGES[name].replace("read 2026-11", "read 2026-09", 1)
    return list(claims.of_a_page(name, text, KNOWN))


def missing_parameter() -> list[str]:
    wrong = f"Remove-MgDeviceManagementManagedDevice -DeviceIdentifier '{GUID}' -Confirm"
    return list(claims.of_commands([wrong], CMDLETS["cmdlets"]))


def unreachable_rule() -> list[str]:
    """A row that waits for a flag which nobody can state and no look sets."""
    row = next(row for row in test_decision.ROWS if row.number == 23)
    waiting = replace(row.facts, flags=frozenset({Flag.HELD}))
    return test_decision.unreachable([*test_decision.ROWS, replace(row, facts=waiting)])


def wrong_permission() -> list[str]:
    """In the page, another permission that exists: what it is needed for tells."""
    name = "docs/how-to/customers-tenant.md"
    text = PAGES[name].replace("| `Device.Read.All` |", "| `BitlockerKey.ReadBasic.All` |")
    assert text != PAGES[name]
    return list(claims.of_a_page(name, text, KNOWN))


def uncited_sentence() -> list[str]:
    name = "docs/how-to/resume.md"
    text = PAGES[name].replace(
        claims.DEFINITIONS,
        f"Partner Center keeps a removed device for a day.\n\n{claims.DEFINITIONS}",
    )
    return list(claims.of_a_page(name, text, KNOWN))


@pytest.mark.parametrize(
    "seed",
    [stale_date, missing_parameter, unreachable_rule, wrong_permission, uncited_sentence],
    ids=lambda each: each.__name__,
)
def test_a_wrong_claim_fails_the_build(seed: Callable[[], list[str]]) -> None:
    assert len(seed()) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See [here](https://example.com/made-up).\n", "outside of docs/claims.toml"),
        ("See [here, read 2026-11][made-up].\n", "no claim 'made-up'"),
        ("[May stay, read 2026-11][entra-object-may-stay].\n", "'entra-object-goes' too"),
        ("| a | source |\n|---|---|\n| b | heard of it |\n", "a source that is no claim"),
    ],
)
def test_a_page_cites_what_is_registered(text: str, expected: str) -> None:
    assert expected in " ".join(claims.of_a_page("page.md", text, KNOWN))


@pytest.mark.parametrize(
    "text",
    [
        "# (https://example.com/made-up, read 2026-11)",
        "# (https://sqlite.org/wal.html, read 2026-09)",
        '"""Why (https://sqlite.org/wal.html, read\n    2026-09)."""',
    ],
)
def test_code_cites_what_is_registered(text: str) -> None:
    assert len(list(claims.of_code("module.py", text, KNOWN))) == 1


def test_another_permission_in_the_code_is_noticed() -> None:
    assert of_permissions({**READS, "devices": "Device.ReadWrite.All"}) != []


def test_another_page_in_the_guide_is_noticed() -> None:
    step = StepId.DELETE_FROM_INTUNE.value
    stale = {**guide(), step: [(url, "2020-01-01") for url, _ in guide()[step]]}

    assert len(list(claims.of_the_guide(stale, KNOWN))) == 1


def test_an_entry_that_nothing_uses_is_noticed() -> None:
    idle = replace(KNOWN.claims["removal-order"], steps=())
    known = replace(KNOWN, claims={**KNOWN.claims, "idle": idle})

    assert claims.unused(PAGES, (), known)[:1] != []
    assert "idle: nothing uses this claim" in claims.unused(PAGES, code().values(), known)


def test_a_changed_constant_is_noticed() -> None:
    wrong = replace(KNOWN.claims["graph-batch-of-20"], value="25")
    known = replace(KNOWN, claims={**KNOWN.claims, "graph-batch-of-20": wrong})

    assert len(list(claims.of_the_register(known))) == 1
