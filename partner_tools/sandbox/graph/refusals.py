"""What errors look like, by who answers: Intune's services, the directory, the web server.

Forms: https://learn.microsoft.com/graph/errors, microsoftgraph/msgraph-sdk-powershell#2464 and
ugurkocde/DeviceOffboardingManager issues 52, 69 and 70 (2025-09, 2026-07).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from partner_tools.sandbox.graph.asked import Family, Refusal, Target
from partner_tools.sandbox.graph.estate import NO_ID, stamp
from partner_tools.sandbox.graph.pages import answer
from partner_tools.sandbox.wire import Request, Response, text_response

INTUNE_URL = "https://fef.msub01.manage.microsoft.com/DeviceEnrollmentFE/StatelessService/"
BAD_URL = (
    '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN""http://www.w3.org/TR/html4/strict.dtd">\r\n'
    "<HTML><HEAD><TITLE>Bad Request</TITLE>\r\n"
    '<META HTTP-EQUIV="Content-Type" Content="text/html; charset=us-ascii"></HEAD>\r\n'
    "<BODY><h2>Bad Request - Invalid URL</h2>\r\n"
    "<hr><p>HTTP Error 400. The request URL is invalid.</p>\r\n</BODY></HTML>\r\n"
)
LONGEST_SEGMENT = 260
LONGEST_URL = 16_384
FORBIDDEN = frozenset("<>*&\\")
"""What the web server in front allows in no path, decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The ids that an answer carries, in its headers and in the body of an error."""

    request_id: str
    client_request_id: str
    at: float

    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("request-id", self.request_id), ("client-request-id", self.client_request_id))


def refused(refusal: Refusal, family: Family, ids: Ids) -> Response:
    """A refusal as its family words it."""
    if refusal.html:
        response = text_response(refusal.status, refusal.message, "text/html")
    else:
        response = _enveloped(refusal, family, ids)
    return response.with_headers(*refusal.headers, *ids.headers())


def throttled(message: str, ids: Ids) -> Response:
    """The 429 of the gateway (https://learn.microsoft.com/graph/throttling)."""
    inner = {
        "code": "429",
        "date": stamp(ids.at).rstrip("Z"),
        "message": "Please retry after",
        "request-id": ids.request_id,
        "status": "429",
    }
    error = {"code": "TooManyRequests", "innerError": inner, "message": message}
    return answer({"error": error}, 429)


def check_url(request: Request) -> None:
    """Refuse what the web server in front lets no service see. Raises Refusal."""
    if len(request.target) > LONGEST_URL:
        page = BAD_URL.replace("Invalid URL", "Request Too Long").replace("400", "414")
        raise Refusal(414, "", page, html=True)
    for segment in request.segments[1:]:
        if len(segment) > LONGEST_SEGMENT or not FORBIDDEN.isdisjoint(segment):
            raise Refusal(400, "", BAD_URL, html=True)


def not_found(target: Target, request: Request) -> Refusal:
    """What is said of a path that is none, or of a verb that it does not have."""
    if target.version not in {"v1.0", "beta"}:
        return Refusal(400, "BadRequest", "Invalid version.", family=Family.GRAPH)
    if target.wrong_method and request.method != "POST":
        text = "Specified HTTP method is not allowed for the request target."
        return Refusal(405, "Request_BadRequest", text, family=Family.GRAPH)
    segment = target.path[-1] if target.path else ""
    text = f"Resource not found for the segment '{segment}'."
    return Refusal(400, "BadRequest", text, family=Family.GRAPH)


def _enveloped(refusal: Refusal, family: Family, ids: Ids) -> Response:
    text = refusal.message
    inner = {
        "date": stamp(ids.at).rstrip("Z"),
        "request-id": ids.request_id,
        "client-request-id": ids.client_request_id,
    }
    if family is Family.INTUNE:
        text = _intune_message(refusal.message, ids)
    error = {"code": refusal.code, "message": text, "innerError": inner}
    return answer({"error": error}, refusal.status)


def _intune_message(text: str, ids: Ids) -> str:
    """The message of Intune's services: JSON in a string."""
    message = (
        f"{text} - Operation ID (for customer support): {NO_ID} - "
        f"Activity ID: {ids.request_id} - Url: {INTUNE_URL}"
    )
    inner = {
        "_version": 3,
        "Message": message,
        "CustomApiErrorPhrase": "",
        "RetryAfter": None,
        "ErrorSourceService": "",
        "HttpHeaders": "{}",
    }
    return json.dumps(inner, indent=2).replace("\n", "\r\n")
