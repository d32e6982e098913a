"""The words of a handoff: how each step is done, names for the document's ids, and safe text.

The texts are data: `guide.toml` has them, each step with the page that says so and its date.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib.resources import files
from typing import Any

from partner_tools.json_forms import structure
from partner_tools.model import GONE, is_guid
from partner_tools.outstanding.evidence import ALL_ZERO
from partner_tools.outstanding.reported import REMOVED_BY_HAND
from partner_tools.outstanding.types import StepId

_DATA = tomllib.loads(files(__package__).joinpath("guide.toml").read_text(encoding="utf-8"))

WORDS: Mapping[str, Mapping[str, str]] = _DATA["words"]
"""How a document's ids are shown: `owners`, `planes`, `statuses` in the order in which a reader
cares, `outcomes`, `joins`, `reasons`, `channels`, `tools` and `registered`."""
OWNERS = WORDS["owners"]
PLANES = WORDS["planes"]
STATUSES = WORDS["statuses"]
OUTCOMES = WORDS["outcomes"]

CHECKLIST: Mapping[str, Any] = _DATA["checklist"]
CERTIFICATE: Mapping[str, Mapping[str, str]] = _DATA["certificate"]

MAIN_PLANES = ("autopilot", "intune", "entra", "active-directory")
"""The planes that every device has."""

NAME_LIMIT = 80
"""Characters of a customer's name in a file name: Windows allows 260 for a whole path."""

SCRIPT_MINUTES = 15
"""To start the script, read its preview and wait for what Autopilot does in the background."""
SCRIPT_SECONDS = 5
"""For one device and step: at most four requests. Both are estimates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The page that a statement rests on, with the date that it carries."""

    title: str
    url: str
    date: date | None = None

    def __str__(self) -> str:
        return f"{self.title}, {self.date}" if self.date else self.title


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a step is done in PowerShell; tests check names against the modules' published help.

    In `each`, `<id>` is the record that the step works on, `<device id>` how the directory knows
    the device. `hybrid` is added for hybrid joined devices, `once` is for the whole tenant.
    """

    scopes: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    hybrid: tuple[str, ...] = ()
    once: tuple[str, ...] = ()

    @property
    def guide(self) -> str | None:
        """The recipe for any device, with its placeholders, one command a line."""
        scopes = ", ".join(f"'{scope}'" for scope in self.scopes)
        lines = [f"Connect-MgGraph -Scopes {scopes}"] if scopes else []
        lines += [*self.once, *self.each]
        if self.hybrid:
            lines += ["# Hybrid joined devices, in Active Directory:", *self.hybrid]
        return "\n".join(lines) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """One step, explained. `caution` is what goes wrong if it is done carelessly.

    `minutes` is an estimate of ours for one device by hand; 0 where nothing but time is needed.
    `tools` are those that do it besides a person in the portal. `otherwise` is a page that
    contradicts `source`; the text then names both dates.
    """

    title: str
    about: str
    source: Source
    caution: str | None = None
    portal: tuple[str, ...] = ()
    minutes: int = 2
    tools: tuple[str, ...] = ()
    recipe: Recipe = Recipe()
    otherwise: Source | None = None


_SOURCES = {name: Source(**facts) for name, facts in _DATA["sources"].items()}


def _chapter(step: Mapping[str, Any]) -> Chapter:
    return structure(
        Chapter,
        step,
        source=_SOURCES[step["source"]],
        recipe=structure(Recipe, step.get("powershell", {})),
        otherwise=_SOURCES.get(step.get("otherwise", "")),
    )


GUIDE: Mapping[StepId, Chapter] = {
    StepId(name): _chapter(step) for name, step in _DATA["steps"].items()
}
"""One chapter for every step of the enumeration."""


def chapter_of(step: StepId, owner: str | None, channel: str) -> Chapter:
    """How a step is done where no partner tried, or a person of the partner does it."""
    chapter, variants = GUIDE[step], _DATA["variants"]
    if step is not StepId.DEREGISTER_FROM_AUTOPILOT:
        return chapter
    if owner == "partner":
        said = variants["by-hand"] | {"portal": tuple(variants["by-hand"]["portal"])}
        return replace(chapter, **said, tools=(), recipe=Recipe())
    return replace(chapter, **variants["own"]) if channel == "assessment" else chapter


_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u2028-\u202f\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e0fff]"
)


def cleaned_up(document: Mapping[str, Any]) -> str | None:
    """Summarize the customer's own cleanup in a sentence; None where there was none."""
    cleanup = document.get("cleanup")
    if cleanup is None:
        return None
    outcomes = cleanup["outcomes"]
    others = sum(outcomes.values()) - outcomes.get("removed", 0) - outcomes.get("absent", 0)
    told = (
        (outcomes.get("removed", 0), "cleared from Intune and Windows Autopilot"),
        (outcomes.get("absent", 0), "with nothing left there"),
        (others, "not finished or not touched, for the reason that its row gives"),
    )
    parts = ", ".join(f"{counted(number, 'device')} {what}" for number, what in told if number)
    return f"Cleanup in your own tenant (run {cleanup['id']}): {parts or 'no devices'}"


def by_hand(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What was removed on Partner Center's pages, as reported and as seen, in a line for each."""
    notes = Counter(
        note
        for device in document["devices"]
        if (note := device["planes"]["autopilot"].get("note", "")).startswith(REMOVED_BY_HAND)
    )
    return tuple(f"{counted(number, 'device')}: {note}" for note, number in notes.items())


def count_gone(outcomes: Mapping[str, int]) -> int:
    """How many devices are out of Windows Autopilot, now or from before."""
    return sum(outcomes.get(outcome.value, 0) for outcome in GONE)


def customer_name(document: Mapping[str, Any], unnamed: str = "(no name)") -> str:
    """The customer as a person knows it: by name, by domain, else by tenant id."""
    customer = document["customer"]
    return customer["name"] or customer["domain"] or customer["tenantId"] or unnamed


def visible(text: str) -> str:
    """The text with every character that hides or turns others spelled out, as ⟨U+202E⟩.

    Foreign text must not be able to look like something else (https://trojansource.codes, 2021).
    """
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text)


def counted(number: int, noun: str) -> str:
    """`1 device`, `2 devices`; thousands set apart as in `12,000 devices`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def effort(minutes: Mapping[str, int | None]) -> str:
    """`about 5 hours by hand, about 40 minutes with the script`; an estimate."""
    by_hand, by_script = minutes["byHand"], minutes["byScript"]
    said = f"{duration(by_hand or 0)} by hand"
    return said if by_script is None else f"{said}, {duration(by_script)} with the script"


def start_here(document: Mapping[str, Any]) -> str | None:
    """The first step, who does it, with what, and how long all of it takes; None with nothing."""
    start = document.get("start")
    if start is None:
        return None
    title = next(one["title"] for one in document["guide"] if one["id"] == start["step"])
    with_what = " or ".join(WORDS["tools"][tool] for tool in start["tools"])
    due = f" Please finish by {day_text(document['dueOn'])}." if document.get("dueOn") else ""
    return (
        f"Step {start['order']}: {title}. {OWNERS[start['owner']]}, {with_what}. All steps together"
        f" take {effort(start['minutes'])}.{due}"
    )


def duration(minutes: int) -> str:
    """`about 40 minutes`, `about 5 hours`."""
    if minutes < 90:
        return f"about {max(minutes, 1)} minute{'s' if minutes > 1 else ''}"
    return f"about {round(minutes / 60):,} hours"


def day_text(written: str) -> str:
    """`13 December 2026`."""
    day = date.fromisoformat(written)
    return f"{day.day} {day:%B %Y}"


def file_name(document: Mapping[str, Any]) -> str:
    """`handoff-<domain or tenant>-<run>`, without the suffix.

    The run is the one that looked last: a cleanup never writes over the handoff that it was given.
    """
    customer, run = document["customer"], document.get("cleanup") or document["run"]
    named = customer["domain"] or customer["tenantId"] or "unassigned"
    return f"handoff-{harmless(named.casefold())}-{harmless(run['id'])}"


def harmless(text: str) -> str:
    """The text as a part of a file name on any system.

    A changed text gets a digest, so that no two customers share a file.
    """
    kept = "-".join(re.findall(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*", text))
    if kept and kept == text and len(kept) <= NAME_LIMIT:
        return kept
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{kept[:NAME_LIMIT].rstrip('._-')}-{digest}".lstrip("-")


# --- PowerShell ---------------------------------------------------------------------------------
#
# Any serial number or name stays one literal: printable ASCII is in single quotes, everything else
# is spelled as `[char]` codes. So no typographic quote can end a literal (PowerShell takes U+2018
# to U+201B for quotes), no line can break, nothing can turn the reading direction, and the encoding
# in which Windows PowerShell 5.1 reads a file does not matter.

_PLAIN = re.compile(r"[\x20-\x7e]+")


def literal(text: str) -> str:
    """A PowerShell expression whose value is exactly the text."""
    parts = [_part(match[0]) for match in re.finditer(r"[\x20-\x7e]+|[^\x20-\x7e]", text)]
    if not parts or parts[0][0] != "'":
        parts.insert(0, "''")  # it starts with a string, so that `+` joins texts
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def odata(text: str) -> str:
    """The text as a literal of an OData filter."""
    return "'" + text.replace("'", "''") + "'"


def is_real_guid(text: str | None) -> bool:
    """Whether an id is one that a command may name: a GUID that is not all zeros."""
    return text is not None and is_guid(text) and text != ALL_ZERO


def _part(piece: str) -> str:
    if _PLAIN.fullmatch(piece):
        return "'" + piece.replace("'", "''") + "'"
    units = piece.encode("utf-16-be", "surrogatepass")
    codes = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    return " + ".join(f"[char]0x{code}" for code in codes)


def command(
    step: StepId,
    own_id: str | None,
    device_id: str | None,
    serial: str | None,
    *,
    hybrid: bool = False,
) -> str | None:
    """Return the command for this step and device, or for a look; None where only the portal can.

    `own_id` is the id of the record that the step works on, `device_id` the one that the directory
    knows the device by. Without them only a look-up by serial number is offered, never a deletion.
    """
    recipe = GUIDE[step].recipe
    text = "; ".join((*recipe.each, *(recipe.hybrid if hybrid else ())))
    for place, known in (("<id>", own_id), ("<device id>", device_id)):
        if known is not None and is_real_guid(known):
            text = text.replace(place, known)
    if text and "<" not in text:
        return text
    if step is StepId.DELETE_FROM_INTUNE and serial:
        look_up = literal(f"serialNumber eq {odata(serial)}")
        return f"Get-MgDeviceManagementManagedDevice -Filter {look_up}"
    return None
