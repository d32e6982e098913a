"""What Microsoft Graph's refusals mean: one error for any answer that is no success. Pure.

The envelope is `{"error": {"code", "message"}}`, where Intune's message is itself JSON; a gateway
answers with HTML, or with nothing. Any bytes become one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from partner_tools.errors import (
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.pacing import parse_retry_after

_WORDS: Mapping[type[ServiceError], str] = {
    Unauthorized: "the token was not accepted",
    Throttled: "too many requests",
    Unavailable: "the service is not available",
    Unreadable: "that status is no answer",
}
_REMEDIES: Mapping[type[ServiceError], str] = {
    Unauthorized: "Hand in a fresh token for this tenant, or sign in again.",
    Throttled: "Verify the run again later.",
    Unavailable: "Verify the run again later.",
}
_FAILED_DEPENDENCY = 424
"""What the rest of a batch is answered where one request of it was throttled
(https://learn.microsoft.com/graph/throttling, read 2026-11)."""


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: object,
    *,
    permission: str,
    now: datetime,
    request_id: str | None,
) -> ServiceError:
    """The error for an answer that is no success. `body` is JSON as read, or text that is none."""
    kind = _kind_of(status)
    code, told = read_fault(body)
    named = f"{status}" + (f", {code}" if code else "")
    return kind(
        f"Microsoft Graph refused ({named}): {told or _WORDS.get(kind, 'it said no')}",
        remedy=f"Give the app or account {permission} in the customer's tenant."
        if status == 403
        else _REMEDIES.get(kind, "Report it with the request id if it stays so."),
        status=status,
        code=code,
        description=told,
        request_id=_header(headers, "request-id") or request_id,
        retry_after=parse_retry_after(_header(headers, "Retry-After"), now),
    )


def _kind_of(status: int) -> type[ServiceError]:
    if status < 400:
        return Unreadable
    if status in {408, _FAILED_DEPENDENCY} or status >= 500:
        return Unavailable
    return {401: Unauthorized, 429: Throttled}.get(status, Rejected)


def read_fault(body: object) -> tuple[str | None, str | None]:
    """Code and message of an error body; nothing of a web page, whose words help nobody."""
    if isinstance(body, str):
        return None, None if _is_no_sentence(body) else _line(body)
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return _line(error), None
    if not isinstance(error, dict):
        return None, None
    code, message = error.get("code"), error.get("message")
    return _text(code), _text(_unwrapped(message))


def _is_no_sentence(body: str) -> bool:
    """Whether a body is a web page, or base64, as which a batch carries what is no JSON."""
    text = body.strip("\ufeff \r\n\t")
    return text.startswith("<") or (len(text) > 60 and " " not in text)


def _unwrapped(message: object) -> object:
    """The words within Intune's message, without the ids and addresses that follow them."""
    if not isinstance(message, str) or not message.lstrip().startswith("{"):
        return message
    try:
        inner: Any = json.loads(message)
    except (ValueError, RecursionError):
        return message
    told = inner.get("Message") if isinstance(inner, dict) else None
    return told.split(" - Operation ID")[0] if isinstance(told, str) else message


def _text(value: object) -> str | None:
    return _line(value) if isinstance(value, str) else None


def _line(text: str) -> str | None:
    """A foreign text as one line of bearable length without control characters."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    line = " ".join(printable.split())
    return (line if len(line) <= 300 else f"{line[:299]}…") or None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    wanted = name.lower()
    return next((str(text) for key, text in headers.items() if key.lower() == wanted), None)
