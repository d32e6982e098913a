"""What Partner Center's refusals mean: one error for any answer that is no success.

The bodies come in four shapes and in none; whatever they hold becomes one sentence and a remedy.
Nothing here decides what becomes of a device: `subject_of` says whom a refusal speaks of.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from partner_tools.clients.answers import WORDS, kind_of
from partner_tools.clients.transport import Reply, parse_json
from partner_tools.errors import ServiceError, Throttled, Unauthorized, Unavailable, Unreadable
from partner_tools.homoglyphs import one_line
from partner_tools.pacing import parse_retry_after


class RefusalSubject(StrEnum):
    """The subject of a refusal: it decides what else can continue."""

    DEVICE = "device"
    CUSTOMER = "customer"
    PARTNER = "partner"
    REQUEST = "request"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """The known facts about one of the service's codes."""

    subject: RefusalSubject
    sentence: str
    remedy: str


END_OF_LIST = "2000"
"""With 400 this code answers the page after the last one (Microsoft's own
nce-bulk-migration-tool, `CustomerProvider.cs`, read 2026-11)."""


@cache
def _tables() -> Mapping[str, Any]:
    """`refusals.toml`, which has the sources too."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def faults() -> Mapping[str, Fault]:
    """The known codes."""
    tables = _tables()
    return {
        code: Fault(
            subject=RefusalSubject(fault["subject"]),
            sentence=fault["sentence"],
            remedy=tables["remedies"].get(fault["remedy"], fault["remedy"]),
        )
        for code, fault in tables["codes"].items()
    }


def subject_of(error: ServiceError) -> RefusalSubject:
    """Whom a refusal speaks of, by its code, else by its status."""
    words = f"{error.code} {error.description}"
    if error.code == "811" or "ZtdDeviceRegisteredByOtherTenant" in words:
        return RefusalSubject.DEVICE
    if fault := faults().get(error.code or ""):
        return fault.subject
    if error.code and re.fullmatch(r"900[34][0-9]{2}", error.code):
        return RefusalSubject.PARTNER
    return _SUBJECT_OF_STATUS.get(error.status or 0, RefusalSubject.REQUEST)


_SUBJECT_OF_STATUS = {
    401: RefusalSubject.PARTNER,
    404: RefusalSubject.DEVICE,
    410: RefusalSubject.DEVICE,
    429: RefusalSubject.SERVICE,
}


def refusal(reply: Reply, request_id: str, *, now: datetime, method: str = "GET") -> ServiceError:
    """The error that an answer which is no success amounts to. Takes any bytes as its body."""
    code, description = read_fault(reply)
    kind = kind_of(reply.status)
    # 2000 ends a list; in answer to anything else, the service's own words say more.
    known = None if code == END_OF_LIST and method != "GET" else faults().get(code or "")
    sentence = known.sentence if known else (description or WORDS.get(kind, "it said no"))
    named = f"{reply.status}" + (f", code {code}" if code else "")
    return kind(
        f"Partner Center refused ({named}): {sentence}",
        remedy=known.remedy if known else _tables()["remedies"][_REMEDIES.get(kind, "describe")],
        status=reply.status,
        code=code,
        description=description,
        request_id=reply.header("MS-RequestId") or request_id,
        correlation_id=reply.header("MS-CorrelationId"),
        retry_after=parse_retry_after(reply.header("Retry-After"), now),
    )


_REMEDIES: Mapping[type[ServiceError], str] = {
    Unauthorized: "sign-in",
    Throttled: "resume-after-pause",
    Unavailable: "resume",
}
"""The names of the remedies for refusals without a known code."""


def read_fault(reply: Reply) -> tuple[str | None, str | None]:
    """Code and description of an error body in any of its shapes: JSON, HTML, text, nothing.

    `{"code", "description"}` is documented, with the code as number or text; `{"Code", "Message"}`
    and the gateway's `{"statusCode", "message"}` occur as well.
    """
    try:
        found = parse_json(reply)
    except Unreadable:
        return None, _plain_text(reply.body)
    if not isinstance(found, dict):
        return None, None
    members = {key.lower(): value for key, value in found.items()}
    code, words = members.get("code"), members.get("description") or members.get("message")
    if isinstance(code, bool) or not isinstance(code, int | str):
        code = ""
    return one_line(str(code)) or None, (one_line(words) or None) if isinstance(
        words, str
    ) else None


def _plain_text(body: bytes) -> str | None:
    """Return a body that isn't JSON as text; None for a web page, whose words don't help."""
    text = body.decode("utf-8", errors="replace").lstrip("\ufeff").strip()
    return None if text.startswith("<") else one_line(text) or None
