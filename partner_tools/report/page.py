"""Pages as single HTML files: the handoff, a depot's checklist, the certificate and its checking.

No network, readable without script, foreign text never markup. The browser is told by hash which
style and script it may run, so nothing that slipped in could. The handoff's template holds
everything that a reader needs; its script replaces the static device table by one that searches,
filters and sorts.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any, BinaryIO

from partner_tools import json_forms
from partner_tools.model import GONE
from partner_tools.report.certificate import RELEASED, open_locks
from partner_tools.report.guide import (
    CERTIFICATE,
    CHECKLIST,
    MAIN_PLANES,
    OWNERS,
    PLANES,
    WORDS,
    by_hand,
    cleaned_up,
    count_gone,
    counted,
    customer_name,
    day_text,
    effort,
    file_name,
    visible,
)
from partner_tools.report.handoff import OPEN, Document, collector_paused
from partner_tools.signing import fingerprint, grouped

if TYPE_CHECKING:
    from jinja2 import Environment

Json = Mapping[str, Any]

STATIC_DEVICES = 1_000
"""Up to this number every device is in the file as markup too; above, only the exceptions: a
browser stalls on a table of many thousand rows."""


@dataclass(frozen=True)
class Handoff:
    """A handoff for its writers: the document, and what several formats need of it, made once."""

    document: Document

    @cached_property
    def answers(self) -> str:
        """A results file's `answers`: the SHA-256 of the canonical JSON (RFC 8785).

        Half a character pair, which a service can send, has no canonical form and counts as `?`.
        """
        try:
            return json_forms.digest(self.document)
        except ValueError:
            text = json.dumps(self.document, ensure_ascii=False).encode("utf-8", "replace")
            return json_forms.digest(json.loads(text))

    @cached_property
    def page(self) -> bytes:
        """The page, in UTF-8."""
        return rendered(
            "page",
            text("page.js"),
            document=self.document,
            view=view(self.document),
            data=_inside_script(packed(self)),
        )


def write_checklist(document: Document, stream: BinaryIO) -> None:
    """The repair depot's page: the order of the work, and a box for each step of each device.

    The depot's part is the same for every device
    (https://learn.microsoft.com/autopilot/autopilot-motherboard-replacement).
    """
    stream.write(rendered("checklist", document=document, **CHECKLIST, words=WORDS))


def certificate_page(document: Json) -> bytes:
    """A signed certificate as one HTML file without network or script, in UTF-8."""
    import segno

    code = io.BytesIO()
    # Dark on light whatever the page's colours: some readers of QR codes need it.
    segno.make(document["digest"], error="m").save(
        code, kind="svg", xmldecl=False, svgns=False, omitsize=True, light="#fff", dark="#000"
    )
    return rendered(
        "certificate",
        document=document,
        released=document["kind"] == RELEASED,
        open_locks=open_locks,
        words=CERTIFICATE,
        signers=[
            (grouped(fingerprint(each["key"])), each["signedAt"]) for each in document["signatures"]
        ],
        code=code.getvalue().decode("ascii"),
    )


def checking_page() -> bytes:
    """The page that checks certificates: static, without network, the same for every partner."""
    words = {name: said for name, said in CERTIFICATE.items() if name != "short"}
    return rendered("verify", text("verify.js"), style=text("certificate.css"), words=words)


def rendered(name: str, script: str | None = None, style: str = "", **values: Any) -> bytes:
    """A page by the template of this name, in UTF-8; its style sheet has this name too."""
    style = style or text(f"{name}.css")
    page = environment().get_template(f"{name}.html")
    facts = {**values, "style": style, "script": script, "policy": policy(style, script)}
    return page.render(facts).encode("utf-8", "replace")


@cache
def environment() -> Environment:
    """The templates. In HTML every value is escaped unless it says otherwise."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    made = Environment(
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        loader=FunctionLoader(text),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "visible": lambda value: visible(str(value)),
        "moment": moment,
        "day": day_text,
        "effort": effort,
        "counted": counted,
        "typeset": lambda written: written.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"),
    }
    return made


def text(name: str) -> str:
    """A file beside the templates."""
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def policy(style: str, script: str | None = None) -> str:
    """Nothing is loaded from anywhere; only this very style and script count."""
    scripts = f" script-src {_hash(script)};" if script is not None else ""
    return (
        f"default-src 'none'; style-src {_hash(style)};{scripts}"
        " base-uri 'none'; form-action 'none'"
    )


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _inside_script(value: object) -> str:
    """JSON that no parser of HTML can see an end of script, a comment or an entity in."""
    written = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def moment(written: str | None) -> str:
    """`23 November 2026, 16:40 UTC`; empty for none."""
    if written is None:
        return ""
    return f"{day_text(written[:10])}, {datetime.fromisoformat(written):%H:%M} UTC"


# --- what the first screen says -----------------------------------------------------------------


def view(document: Document) -> dict[str, Any]:
    """Everything that the template shows besides the document itself; numbers count its parts."""
    summary, devices = document["summary"], document["devices"]
    outcomes: Mapping[str, int] = summary["outcomes"]
    partner = document["partner"]
    removed = count_gone(outcomes)
    distinct = summary["devices"] - outcomes.get("duplicate", 0)
    complete = len(devices) <= STATIC_DEVICES
    return {
        "recipient": customer_name(document, ""),
        "sender": partner["name"] or partner["tenantId"] or "Your partner",
        "open": OPEN,
        "headline": headline_of(document),
        "by_hand": by_hand(document),
        "remains": remains(summary["steps"]),
        "removed": removed,
        "devices": distinct,
        "confirmed": _confirmed(devices),
        "outstanding": summary["steps"]["outstanding"],
        "outstanding_devices": _devices_with(devices, "outstanding"),
        "unverified": summary["steps"]["not-verified"],
        "unverified_devices": _devices_with(devices, "not-verified"),
        "not_done": list(_not_done(outcomes)),
        "evidence": evidence(summary),
        "parts": _parts(document),
        "words": WORDS,
        "main_planes": MAIN_PLANES,
        "listed": devices if complete else _exceptions(devices),
        "complete": complete,
        "titles": {chapter["id"]: chapter["title"] for chapter in document["guide"]},
        "numbers": {chapter["id"]: chapter["order"] for chapter in document["guide"]},
        "cleaned_up": cleaned_up(document),
    }


def headline_of(document: Document) -> str:
    """Summarize in one sentence what was done, or seen by an assessment."""
    outcomes = document["summary"]["outcomes"]
    devices = document["summary"]["devices"] - outcomes.get("duplicate", 0)
    if document["run"]["channel"] != "assessment":
        return headline(count_gone(outcomes), devices)
    planes = document["summary"]["planes"]["autopilot"]
    words = WORDS["registered"]
    states = (f"{planes[one]:,} {word}" for one, word in words.items() if one in planes)
    return f"{counted(devices, 'device')} assessed; in Windows Autopilot: {', '.join(states)}."


def headline(removed: int, devices: int) -> str:
    """Summarize the completed work in one sentence."""
    if not devices:
        return "This run holds no devices."
    if removed == devices:
        whom = "The device was" if devices == 1 else f"All {devices:,} devices were"
        return f"{whom} removed from Windows Autopilot."
    if not removed:
        whom = "The device was not" if devices == 1 else f"None of the {devices:,} devices was"
        return f"{whom} removed from Windows Autopilot."
    verb = "was" if removed == 1 else "were"
    return f"{removed:,} of {devices:,} devices {verb} removed from Windows Autopilot."


def remains(steps: Mapping[str, int]) -> str:
    """Summarize the remaining work in one sentence."""
    if steps["outstanding"] or steps["not-verified"]:
        return "The rest is in your hands."
    return "The rest should happen by itself." if steps["expected"] else "Nothing is left to do."


def evidence(summary: Json) -> str:
    """How far the report can be relied on, in one sentence."""
    reach = summary["evidence"]["graph"]
    if reach == "none":
        return (
            "Your tenant was not checked. Every step there is listed as not verified: it may be"
            " done already."
        )
    failed = summary["evidence"]["failed"]
    gaps = ", ".join(f"{PLANES[plane]} ({counted(n, 'device')})" for plane, n in failed.items())
    whole = summary["evidence"]["verifiedDevices"]
    seen = (
        f"Intune, Entra ID and Windows Autopilot were all checked for {counted(whole, 'device')}."
    )
    if failed:
        return f"{seen} The check failed for {gaps}: not verified, whatever was seen before."
    return seen if reach == "complete" else f"{seen} The others are listed as not verified."


def _devices_with(devices: Iterable[Json], status: str) -> int:
    return sum(any(step["status"] == status for step in one["steps"]) for one in devices)


def _confirmed(devices: Iterable[Json]) -> int:
    """Devices that the partner removed and a later look no longer found."""
    return sum(
        one["outcome"] in GONE and one["planes"]["autopilot"]["status"] == "clear"
        for one in devices
    )


def _not_done(outcomes: Mapping[str, int]) -> Iterable[str]:
    for outcome, why in WORDS["not_removed"].items():
        if count := outcomes.get(outcome, 0):
            yield f"{counted(count, 'device')}: {why.format(them='it' if count == 1 else 'them')}"


def _parts(document: Document) -> list[Json]:
    """The guide's steps by owner: the customer's people first, the partner last."""
    by_owner: dict[str, list[Json]] = {}
    for chapter in document["guide"]:
        if chapter["devices"]:
            by_owner.setdefault(chapter["owner"], []).append(chapter)
    waiting = document["summary"]["owners"]
    return [
        {
            "owner": owner,
            "devices": waiting.get(owner, {"devices": 0})["devices"],
            "chapters": by_owner[owner],
        }
        for owner in sorted(by_owner, key=lambda one: (one == "partner", list(OWNERS).index(one)))
    ]


def _exceptions(devices: Sequence[Json]) -> Sequence[Json]:
    """Select the devices that a reader without script must see: those with unusual results."""
    usual = Counter(json.dumps(_shape(one)) for one in devices)
    unusual = [
        one
        for one in devices
        if one["outcome"] != "removed" or usual[json.dumps(_shape(one))] <= RARE
    ]
    return unusual[:STATIC_DEVICES]


RARE = 20
"""How often a course of steps occurs at most to count as an exception."""


def _shape(device: Json) -> list[Any]:
    return [device["outcome"], *((step["id"], step["status"]) for step in device["steps"])]


# --- what the script reads ----------------------------------------------------------------------


@dataclass(slots=True)
class _Pool:
    """Values that occur again and again, each kept once and named by its place."""

    values: list[Any] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def place(self, value: Any) -> int:
        """Return the value's position in `values`."""
        key = value if isinstance(value, str) else json.dumps(value)
        kind = f"{type(value).__name__}:{key}"
        if kind not in self.places:
            self.places[kind] = len(self.values)
            self.values.append(value)
        return self.places[kind]


@collector_paused()
def packed(handoff: Handoff) -> dict[str, Any]:
    """The devices as the script unpacks them: repeated values are once in `pool`."""
    pool, document = _Pool(), handoff.document
    devices = [_packed_device(device, pool) for device in document["devices"]]
    return {
        "words": {name: WORDS[name] for name in ("outcomes", "statuses", "planes", "joins")},
        "owners": OWNERS,
        "planes": list(MAIN_PLANES),
        "guide": [
            {"id": one["id"], "title": one["title"], "order": one["order"], "plane": one["plane"]}
            for one in document["guide"]
        ],
        "open": [status.value for status in OPEN],
        "devices": devices,
        "pool": pool.values,
        "result": _result(handoff),
    }


def _result(handoff: Handoff) -> Json | None:
    """Return the start of the page's results file; None where it could answer nothing."""
    document = handoff.document
    if document["customer"]["tenantId"] is None:
        return None
    return {
        "name": file_name(document).replace("handoff-", "handoff-result-", 1) + ".json",
        "answers": handoff.answers,
        "handoff": {"run": document["run"]["id"], "generatedAt": document["generatedAt"]},
        "tenantId": document["customer"]["tenantId"].lower(),
        "version": document["generator"]["version"],
    }


def _packed_device(device: Json, pool: _Pool) -> list[Any]:
    own = [
        device["row"],
        device["serialNumber"],
        device["productKeyId"],
        device.get("name"),
        device.get("user"),
        device["reference"],
        device["requestId"],
        device["correlationId"],
    ]
    shared = {
        name: device[name]
        for name in (
            "manufacturer",
            "model",
            "outcome",
            "detail",
            "remedy",
            "removedAt",
            "joinType",
        )
    }
    steps = [
        {name: it for name, it in step.items() if name != "command"} for step in device["steps"]
    ]
    commands = [step["command"] for step in device["steps"]]
    planes = [_packed_plane(name, it, pool) for name, it in device["planes"].items()]
    return [*own, pool.place(shared), pool.place(steps), commands, planes, _extra(device)]


def _extra(device: Json) -> list[list[str]]:
    extra = [[one["name"], one["value"]] for one in device.get("extra", ())]
    new = device.get("replacement") or {}
    named = (("New serial number", "serialNumber"), ("New product key id", "productKeyId"))
    return extra + [[title, new[name]] for title, name in named if new.get(name)]


def _packed_plane(name: str, plane: Json, pool: _Pool) -> list[Any]:
    """The plane's common part by its place, then ids and details of each object."""
    objects = plane.get("objects") or ([plane] if "ids" in plane else [])
    common = {key: it for key, it in plane.items() if key not in {"ids", "details", "objects"}}
    found = [
        [pool.place("Id" if key == "id" else key), _plain(it)]
        for one in objects
        for key, it in (*one["ids"].items(), *one["details"].items())
    ]
    return [pool.place({"plane": name, **common}), found]


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
