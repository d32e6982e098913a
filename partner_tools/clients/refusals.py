"""What Partner Center's refusals mean: one error for any answer that is no success.

The bodies come in four shapes and in none; whatever they hold becomes one sentence and a remedy.
Nothing here decides what becomes of a device: `subject_of` says whom a refusal speaks of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from partner_tools.clients.transport import Reply, parse_json
from partner_tools.errors import (
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
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


_PERMISSIONS = (
    "Give the signed-in account the Admin agent role in Partner Center, or the app its "
    "permission under Partner Center > App management. Indirect resellers may not use this API: "
    "their indirect provider removes the device, or they do in Partner Center's own pages."
)
_AUDIENCE = "https://api.partnercenter.microsoft.com"
_SIGN_IN = "Sign in again: `partner-tools auth login`, or hand in a fresh token."

END_OF_LIST = "2000"
"""With 400 this code answers the page after the last one (Microsoft's own
nce-bulk-migration-tool, `CustomerProvider.cs`, read 2026-11)."""

FAULTS: Mapping[str, Fault] = {
    # https://learn.microsoft.com/partner-center/developer/error-codes, read 2026-11
    "400": Fault(subject=RefusalSubject.PARTNER, sentence="access was denied", remedy=_SIGN_IN),
    "1000": Fault(
        subject=RefusalSubject.DEVICE,
        sentence="there is no such thing under this address",
        remedy="List the customer's devices again: it may be gone already.",
    ),
    END_OF_LIST: Fault(
        subject=RefusalSubject.REQUEST,
        sentence="there are no further records",
        remedy="Nothing is left to read.",
    ),
    "2032": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="this account may not do this",
        remedy=_PERMISSIONS,
    ),
    "3000": Fault(
        subject=RefusalSubject.REQUEST,
        sentence="the service takes a property for invalid",
        remedy="Look at the description; if the data are right, report it with the request id.",
    ),
    "20002": Fault(
        subject=RefusalSubject.CUSTOMER,
        sentence="this partner has no reseller relationship with the customer",
        remedy="Check the tenant id; if it is right, send the customer the relationship "
        "request from Partner Center > Customers and try again after they accepted it.",
    ),
    "60003": Fault(
        subject=RefusalSubject.CUSTOMER,
        sentence="there is no such customer tenant",
        remedy="Check the tenant id, or name the customer by its default domain.",
    ),
    "800001": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="the service found no partner token in the request",
        remedy=_SIGN_IN,
    ),
    "800002": Fault(
        subject=RefusalSubject.REQUEST,
        sentence="the service takes the request for invalid",
        remedy="Look at the description; if the data are right, report it with the request id.",
    ),
    "800003": Fault(
        subject=RefusalSubject.SERVICE,
        sentence="the service failed in an unexpected way",
        remedy="Resume later; nothing is lost. If it stays so, report it with the request id.",
    ),
    "900118": Fault(
        subject=RefusalSubject.CUSTOMER,
        sentence="the customer id is not valid",
        remedy="Give the customer's tenant id (a GUID) or its default domain.",
    ),
    "900150": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="the signed-in account's role does not have the right to do this",
        remedy=_PERMISSIONS,
    ),
    # https://learn.microsoft.com/partner-center/developer/partner-center-authentication and the
    # announcements of the MFA requirement, read 2026-11
    "900308": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="the app or account lacks a privilege that this needs",
        remedy=_PERMISSIONS,
    ),
    "900309": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="a Conditional Access policy of the partner tenant forbids it",
        remedy="Sign in from a place and a device that the policy allows, or have it changed.",
    ),
    "900329": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="this call is not allowed with an app-only token",
        remedy="Use app+user for it: `partner-tools auth login` with a device code. "
        "Removing and listing devices work app-only; creating a batch does not.",
    ),
    "900420": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="the token was issued for an audience that is not accepted (any more)",
        remedy=f"Ask for a token for {_AUDIENCE}; graph.windows.net has been retired.",
    ),
    "900421": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="the token's user did not sign in with multifactor authentication",
        remedy="Sign in again with MFA (`partner-tools auth login`), or use app-only "
        "access, which is not affected.",
    ),
    "10001": Fault(
        subject=RefusalSubject.PARTNER,
        sentence="the service demands multifactor authentication",
        remedy="Sign in again with MFA (`partner-tools auth login`), or use app-only "
        "access, which is not affected.",
    ),
    # Autopilot's own codes; how they come through Partner Center's delete is not documented.
    "807": Fault(
        subject=RefusalSubject.DEVICE,
        sentence="the device is not registered under this customer",
        remedy="List the customer's devices again: it may be gone already.",
    ),
    "811": Fault(
        subject=RefusalSubject.DEVICE,
        sentence="another organisation registered the device, and only that one may remove it",
        remedy="Ask the customer or the partner that registered it to remove it.",
    ),
}


def explain(code: str | None) -> tuple[str, str] | None:
    """Return a code's meaning and its remedy; None for an unknown one."""
    fault = FAULTS.get(code or "")
    return (fault.sentence, fault.remedy) if fault else None


def subject_of(error: ServiceError) -> RefusalSubject:
    """Whom a refusal speaks of, by its code, else by its status."""
    told = f"{error.code} {error.description}"
    if error.code == "811" or "ZtdDeviceRegisteredByOtherTenant" in told:
        return RefusalSubject.DEVICE
    if fault := FAULTS.get(error.code or ""):
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
    kind = _kind_of(reply.status)
    # 2000 ends a list; in answer to anything else, the service's own words say more.
    meaning = None if code == END_OF_LIST and method != "GET" else explain(code)
    spoken = meaning[0] if meaning else (description or _DEFAULT_WORDS.get(kind, "it said no"))
    named = f"{reply.status}" + (f", code {code}" if code else "")
    return kind(
        f"Partner Center refused ({named}): {spoken}",
        remedy=meaning[1] if meaning else _remedy_of(kind),
        status=reply.status,
        code=code,
        description=description,
        request_id=reply.header("MS-RequestId") or request_id,
        correlation_id=reply.header("MS-CorrelationId"),
        retry_after=parse_retry_after(reply.header("Retry-After"), now),
    )


def _kind_of(status: int) -> type[ServiceError]:
    if status < 400:
        return Unreadable
    if status == 408 or status >= 500:
        return Unavailable
    return {401: Unauthorized, 429: Throttled}.get(status, Rejected)


_DEFAULT_WORDS: Mapping[type[ServiceError], str] = {
    Unauthorized: "the token was not accepted",
    Throttled: "too many requests",
    Unavailable: "the service is not available",
    Unreadable: "that status is no answer",
}

_DEFAULT_REMEDIES: Mapping[type[ServiceError], str] = {
    Unauthorized: _SIGN_IN,
    Throttled: "Resume later; the pause that the service asks for is kept.",
    Unavailable: "Resume later; nothing is lost.",
}


def _remedy_of(kind: type[ServiceError]) -> str:
    return _DEFAULT_REMEDIES.get(
        kind, "Look at the description; if it makes no sense, report it with the request id."
    )


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
    code, told = members.get("code"), members.get("description") or members.get("message")
    return _code_text(code), (one_line(told) or None) if isinstance(told, str) else None


def _code_text(code: object) -> str | None:
    if isinstance(code, bool) or not isinstance(code, int | str) or code == "":
        return None
    return one_line(str(code)) or None


def _plain_text(body: bytes) -> str | None:
    """Return a body that isn't JSON as text; None for a web page, whose words don't help."""
    text = body.decode("utf-8", errors="replace").lstrip("\ufeff").strip()
    return None if text.startswith("<") else one_line(text) or None
