"""Checks what the texts say about services that are not ours against `docs/claims.toml`.

The register holds every such statement with its source, the date of the page, the date that it was
read and the date of its next review. A text cites a statement by its id, as a Markdown reference
(`[Microsoft, read 2026-11][removal-order]`); addresses and dates are written by `make docs`, so a
citation cannot drift from the register. Code cites the address of a source, which is compared.
`make claims` prints the reviews that are due.
"""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REGISTER = ROOT / "docs" / "claims.toml"
RELIED_ON = "docs/reference/what-we-rely-on.md"
BASES = ("assumption", "observed", "documented")
"""How sure a statement is, the weakest first."""

DEFINITIONS = "<!-- Sources, written by `make docs` from docs/claims.toml. -->"
_CITATION = re.compile(r"(?<!`)\[([^\[\]]*)\]\[([a-z0-9][a-z0-9-]*)\]")
_SHOWN = re.compile(r"(<!-- Claims shown here: (.+?) -->)\n(?:\n\|(?:.*\n)+?(?=\n))?")
_DATES = re.compile(r"(?:20\d\d(?:-\d\d){0,2}, )?read 20\d\d-\d\d")
_INLINE = re.compile(r"\]\((https?://[^)\s]+)\)")
_ADDRESS = re.compile(r"https?://[\w%./#=&?~-]*[\w/=]")
_PERMISSION = re.compile(r"\b[A-Z][A-Za-z]+\.(?:AccessAsUser|Read[A-Za-z]*)\.All\b")
_PARAGRAPH = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|(?<=\|)\n(?=\|)")
_SENTENCE = re.compile(
    r"(?<!if )(?<!If )(?<!whether )"
    r"\b(?:Partner Center|Microsoft(?: Graph)?|Graph|Intune|Entra ID|Autopilot)"
    r" (?:accepts|allows|answers|blocks|cannot|counts|deletes|does not|documents|enforces|has"
    r"|keeps|lets|limits|lists|needs|refuses|removes|requires|returns|shows|supports)\b"
)
"""A sentence with one of these services as its subject says how that service behaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A page. `page` is the date that it carries, blank where it has none."""

    title: str
    url: str
    read: str
    review: str
    page: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement. A statement without a source is an assumption, with dates of its own.

    `contradicts` is a statement of another source that says otherwise: both are cited together.
    `steps` are the steps of the handoff's guide that rest on it. `permission` is the one that it
    is about, and `collections` those of the Graph client that are read with it. `constant` names
    the value in the code that has to be `value`. `shown` is the table of a page that it is a row
    of, with what is done `here` about it.
    """

    says: str
    basis: str
    read: str
    review: str
    source: Source | None = None
    contradicts: str = ""
    permission: str = ""
    collections: Sequence[str] = ()
    steps: Sequence[str] = ()
    constant: str = ""
    value: str = ""
    shown: str = ""
    here: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """All statements by id. `links` begin the addresses that are no evidence of anything."""

    claims: Mapping[str, Claim]
    sources: Mapping[str, Source]
    links: Sequence[str]


def read_register(text: str) -> Register:
    """The register; raises KeyError or TypeError for a name that is not known."""
    given = tomllib.loads(text)
    sources = {key: Source(**each) for key, each in given["sources"].items()}
    claims = {key: _claim(each, sources) for key, each in given["claims"].items()}
    return Register(claims=claims, sources=sources, links=tuple(given["links"]["allowed"]))


def _claim(given: Mapping[str, Any], sources: Mapping[str, Source]) -> Claim:
    source = sources[given["source"]] if "source" in given else None
    dates = {"read": source.read, "review": source.review} if source else {}
    return Claim(**{**dates, **given, "source": source})


def register() -> Register:
    """The register of this repository."""
    return read_register(REGISTER.read_text(encoding="utf-8"))


# --- Citations in pages -------------------------------------------------------------------------


def cited(text: str) -> list[str]:
    """The ids that a page cites, in its order."""
    return [found[2] for found in _CITATION.finditer(_prose(text))]


def refreshed(name: str, text: str, known: Register) -> str:
    """The page `name` with dates, addresses and tables as the register has them."""
    body = text.split(DEFINITIONS)[0].rstrip("\n")
    ids = [each for each in dict.fromkeys(cited(body)) if each in known.claims]

    def dated(found: re.Match[str]) -> str:
        claim = known.claims.get(found[2])
        if claim is None:
            return found[0]
        page = f"{claim.source.page}, " if claim.source and claim.source.page else ""
        label = _DATES.sub(
            lambda dates: (page if dates[0][:2] == "20" else "") + f"read {claim.read}", found[1]
        )
        return f"[{label}][{found[2]}]"

    def table(found: re.Match[str]) -> str:
        rows = [each for each in known.claims.values() if each.shown == found[2]]
        lines = [f"| {each.says} | {each.here} |" for each in rows]
        return "\n".join([found[1], "", "| not documented | here |", "|---|---|", *lines, ""])

    body = _SHOWN.sub(table, _CITATION.sub(dated, body))
    if not ids:
        return f"{body}\n"
    up = "../" * name.count("/")
    lines = [
        f"[{each}]: {source.url if (source := known.claims[each].source) else up + RELIED_ON}"
        for each in sorted(ids)
    ]
    return "\n".join([body, "", DEFINITIONS, "", *lines, ""])


def _prose(text: str) -> str:
    """A page without its fenced blocks and without the addresses at its end."""
    body = text.split(DEFINITIONS)[0]
    return re.sub(r"^ *```.*?^ *```$", "", body, flags=re.MULTILINE | re.DOTALL)


# --- What is wrong ------------------------------------------------------------------------------


def of_the_register(known: Register) -> Iterator[str]:
    """Entries that contradict themselves or each other."""
    for key, claim in known.claims.items():
        if claim.basis not in BASES:
            yield f"{key}: the basis is one of {', '.join(BASES)}"
        if (claim.basis == "assumption") != (claim.source is None):
            yield f"{key}: an assumption has no source, anything else has one"
        other = known.claims.get(claim.contradicts)
        if claim.contradicts and (other is None or other.contradicts != key):
            yield f"{key}: what it contradicts has to name it too"
        if claim.constant and _constant(claim.constant) != claim.value:
            yield f"{key}: {claim.constant} is {_constant(claim.constant)}, not {claim.value}"


def _constant(place: str) -> str:
    module, _, names = place.partition(":")
    value: Any = importlib.import_module(module)
    for name in names.split("."):
        value = getattr(value, name)
    return str(value)


def of_a_page(name: str, text: str, known: Register) -> Iterator[str]:
    """What is cited, but not registered, and what should be cited and is not."""
    for url in _INLINE.findall(_prose(text)):
        if not url.startswith(tuple(known.links)):
            yield f"{name}: {url} is cited outside of docs/claims.toml"
    for paragraph in _PARAGRAPH.split(_prose(text)):
        ids = cited(paragraph)
        shown = " ".join(paragraph.split())[:80]
        claims = [known.claims[each] for each in ids if each in known.claims]
        yield from (f"{name}: no claim {each!r}" for each in ids if each not in known.claims)
        for claim in claims:
            if claim.contradicts and claim.contradicts not in ids:
                yield f"{name}: cite {claim.contradicts!r} too, which says otherwise: {shown}"
        said = _SENTENCE.search(paragraph)
        shown_here = "<!-- Claims shown here" in paragraph or paragraph.startswith(("#", "|"))
        if said and not claims and not shown_here and name != "CHANGELOG.md":
            yield f"{name}: nothing is cited for “{said[0]} …”: {shown}"
        row = re.match(r"\| `([^`]+)`", paragraph)
        about = {claim.permission for claim in claims}
        if row and _PERMISSION.fullmatch(row[1]) and row[1] not in about:
            yield f"{name}: no claim of this row is about {row[1]}"
    yield from (
        f"{name}: a source that is no claim: {cell}"
        for cell in _source_cells(_prose(text))
        if cell and not cited(cell)
    )
    if refreshed(name, text, known) != text:
        yield f"{name}: dates or addresses are not those of docs/claims.toml; run `make docs`"


def _source_cells(text: str) -> Iterator[str]:
    """The cells of every column that is headed `source`."""
    column = None
    for line in text.splitlines():
        cells = [each.strip() for each in line.strip().strip("|").split(" | ")]
        if not line.startswith("|"):
            column = None
        elif column is None:
            heads = [each.lower() for each in cells]
            column = heads.index("source") if "source" in heads else -1
        elif column >= 0 and set(line) - set("|- "):
            yield cells[column] if column < len(cells) else ""


def of_code(name: str, text: str, known: Register) -> Iterator[str]:
    """Addresses in comments that are no source, and dates that are not those of the source."""
    flat = re.sub(r"\n *(?:# )?", " ", text)
    dates = {source.url: source.read for source in known.sources.values()}
    for found in _ADDRESS.finditer(flat):
        if found[0].startswith(tuple(known.links)):
            continue
        if found[0] not in dates:
            yield f"{name}: {found[0]} is cited outside of docs/claims.toml"
            continue
        read = re.match(r"[^()]{0,80}?\bread (20\d\d-\d\d)", flat[found.end() :])
        if read and read[1] != dates[found[0]]:
            yield f"{name}: {found[0]} was read {dates[found[0]]}, not {read[1]}"


def of_the_guide(guide: Mapping[str, Iterable[tuple[str, str]]], known: Register) -> Iterator[str]:
    """Steps whose pages, as address and date, are not those of the claims that they rest on."""
    for step, pages in guide.items():
        claims = [claim for claim in known.claims.values() if step in claim.steps]
        sources = {(claim.source.url, claim.source.page) for claim in claims if claim.source}
        if sources != set(pages):
            yield f"guide, {step}: rests on {sorted(sources)}, but names {sorted(set(pages))}"
    for key, claim in known.claims.items():
        yield from (f"{key}: no step {step!r}" for step in claim.steps if step not in guide)


def of_permissions(
    reads: Mapping[str, str], named: Iterable[str], known: Register, published: Iterable[str]
) -> Iterator[str]:
    """Permissions that no claim is about, and collections that are read with another one."""
    claims = [claim for claim in known.claims.values() if claim.permission]
    registered = {claim.permission for claim in claims} | set(published)
    yield from (f"permission {each}: in no claim" for each in sorted(set(named) - registered))
    told = {each: claim.permission for claim in claims for each in claim.collections}
    for collection in sorted(reads.keys() | told):
        if reads.get(collection) != told.get(collection):
            yield f"{collection}: {reads.get(collection)} is asked, {told.get(collection)} claimed"


def permissions_in(text: str) -> set[str]:
    """The names of Graph permissions in a text."""
    return set(_PERMISSION.findall(text))


def of_commands(commands: Iterable[str], cmdlets: Mapping[str, Any]) -> Iterator[str]:
    """Parameters in PowerShell that the published help of the cmdlet does not name."""
    for command in commands:
        calls = [""]
        for word in re.findall(r"'[^']*'|\"[^\"]*\"|[|;{}()\n]|-?[A-Za-z][\w-]*", command):
            name = calls[-1]
            if word in cmdlets:
                calls[-1] = word
            elif word == "(":
                calls.append("")
            elif word == ")":
                calls = calls[:-1] or [""]
            elif word in "|;{}\n":
                calls[-1] = ""
            elif name and word[0] == "-" and word[1:] not in cmdlets[name]["parameters"]:
                yield f"{name}: {word} is no published parameter"


def unused(pages: Mapping[str, str], code: Iterable[str], known: Register) -> list[str]:
    """Entries that no page cites, no step or constant rests on, and no comment names."""
    used = {each for text in pages.values() for each in cited(text)}
    shown = {found[2] for text in pages.values() for found in _SHOWN.finditer(text)}
    addresses = {found[0] for text in code for found in _ADDRESS.finditer(text)}
    of_source: dict[str, list[str]] = {}
    for key, claim in known.claims.items():
        of_source.setdefault(claim.source.url if claim.source else "", []).append(key)
        if claim.steps or claim.constant or claim.collections or claim.shown in shown:
            used.add(key)
    # An address in the code counts as a claim only where its source has no other.
    used |= {keys[0] for url, keys in of_source.items() if url in addresses and len(keys) == 1}
    idle = [f"{key}: nothing uses this claim" for key in known.claims if key not in used]
    return idle + [
        f"{key}: no claim has this source"
        for key, source in known.sources.items()
        if source.url not in of_source
    ]


def overdue(known: Register, month: str) -> list[str]:
    """The ids whose review was due before a month (`2026-11`), the oldest first."""
    late = [key for key, claim in known.claims.items() if claim.review < month]
    return sorted(late, key=lambda key: known.claims[key].review)


# --- The generated page -------------------------------------------------------------------------


def relied_on_rows(
    known: Register, pages: Mapping[str, str]
) -> Iterator[tuple[str, list[Sequence[str]]]]:
    """For each basis, the weakest first, its claims as rows, those not read for longest first."""
    places: dict[str, list[str]] = {}
    for name, text in pages.items():
        for key in dict.fromkeys(cited(text)):
            places.setdefault(key, []).append(name)
    for basis in BASES:
        mine = [(key, claim) for key, claim in known.claims.items() if claim.basis == basis]
        mine.sort(key=lambda each: (each[1].read, each[1].source.page if each[1].source else ""))
        yield basis, [_row(key, claim, places.get(key, ())) for key, claim in mine]


def _row(key: str, claim: Claim, places: Sequence[str]) -> Sequence[str]:
    source = claim.source
    used = [f"[{Path(name).stem}]({_from_reference(name)})" for name in places]
    used += [claim.shown] if claim.shown else []
    used += [f"guide: {step}" for step in claim.steps]
    used += [f"`{claim.constant.partition(':')[0]}`"] if claim.constant else []
    contradicted = f" Contradicted by `{claim.contradicts}`." if claim.contradicts else ""
    return (
        f"`{key}`",
        f"{claim.says}{': ' if claim.here else ''}{claim.here}{contradicted}",
        f"[{source.title}]({source.url})" if source else "",
        source.page if source else "",
        claim.read,
        claim.review,
        ", ".join(used) or "code",
    )


def _from_reference(name: str) -> str:
    within = name.removeprefix("docs/reference/")
    if within != name:
        return within
    return f"../{name.removeprefix('docs/')}" if name.startswith("docs/") else f"../../{name}"


def main(say: Any = None) -> int:
    """Print which reviews are due, and which come next."""
    write = say or sys.stdout.write
    known, month = register(), datetime.now(UTC).strftime("%Y-%m")
    due = overdue(known, month)
    for key in due:
        claim = known.claims[key]
        write(
            f"due {claim.review}  {key}: {claim.says} {claim.source.url if claim.source else ''}\n"
        )
    reviews = sorted({claim.review for claim in known.claims.values()} - {""})
    following = next((each for each in reviews if each >= month), "none")
    write(f"{len(due)} of {len(known.claims)} claims are due; the next review is {following}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
