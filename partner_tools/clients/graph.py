"""Microsoft Graph in the customer's tenant: reads records, changes them, and explains refusals."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from partner_tools.clients.answers import WORDS, is_same, kind_of
from partner_tools.clients.transport import Reply, Request, Transport, origin, parse_json
from partner_tools.errors import (
    InputError,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.homoglyphs import one_line
from partner_tools.outstanding.search import BATCH, CONTAINS, By, Collection, Question, real_id
from partner_tools.outstanding.types import Found, StepId
from partner_tools.pacing import parse_retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class _CollectionFacts:
    """An entry of `graph.toml`: what the file says at its top."""

    path: str
    version: str
    permission: str
    ids: list[str]
    attributes: list[str]
    select: bool = False
    paged: bool = False


_FACTS: Final = {
    Collection(name): _CollectionFacts(**facts)
    for name, facts in tomllib.loads(
        Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    ).items()
}

READ_PERMISSIONS: Final = {collection: facts.permission for collection, facts in _FACTS.items()}
"""The least permission to read each collection."""

_PAGE = 999


def list_path(collection: Collection) -> str:
    """The first page of a collection."""
    facts = _FACTS[collection]
    top = [("$top", str(_PAGE))] if facts.paged else []
    return facts.version + _path(facts, facts.path, top)


def question_path(question: Question) -> str:
    """A question as the inner URL of a batch: without version, percent-encoded."""
    facts = _FACTS[question.collection]
    if question.by is By.ID:
        return _path(facts, f"{facts.path}/{quote(question.value, safe='')}", [])
    return _path(facts, facts.path, [("$filter", _filter(question))])


def _path(facts: _CollectionFacts, path: str, query: list[tuple[str, str]]) -> str:
    if facts.select:
        query = [*query, ("$select", ",".join(facts.attributes))]
    written = "&".join(f"{name}={quote(value, safe=_PLAIN)}" for name, value in query)
    return f"{path}?{written}" if written else path


_PLAIN = "(),:/'[]"


def _filter(question: Question) -> str:
    value = question.value.replace("'", "''")
    match question.by:
        case By.SERIAL if question.collection in CONTAINS:
            return f"contains(serialNumber,'{value}')"
        case By.REGISTRATION:
            return f"physicalIds/any(p:p eq '[ZTDID]:{value}')"
        case _:
            return f"{question.by} eq '{value}'"


_NEVER = frozenset({"key", "credentials", "physicalIds"})
_ZTDID = re.compile(r"\[ZTDID\]:(.+)", re.IGNORECASE)


def read_row(collection: Collection, row: object) -> Found:
    """One row. Raises ValueError for what is no record with an id."""
    if not isinstance(row, dict):
        raise ValueError("a row is no object")  # noqa: TRY004 - a value of the service, not ours
    facts = _FACTS[collection]
    ids = {name: row[name] for name in facts.ids if real_id(row.get(name))}
    # The beta form names the directory's device id anew; either may be the one that is filled.
    if collection is Collection.AUTOPILOT and real_id(newer := row.get("azureAdDeviceId")):
        ids["azureActiveDirectoryDeviceId"] = str(newer)
    if collection in (Collection.ENTRA, Collection.DELETED):
        ids |= _registration(row)
    if "id" not in ids:
        raise ValueError("a row has no id")
    attributes = {
        name: row[name]
        for name in facts.attributes
        if name in row and name not in _NEVER and name not in facts.ids and _is_plain(row[name])
    }
    if collection is Collection.CORPORATE_IDENTIFIERS:
        attributes |= _serial_of_identifier(row)
    return Found(ids=ids, attributes=attributes)


def _serial_of_identifier(row: Mapping[str, Any]) -> dict[str, str]:
    """The serial number that a corporate identifier names; an IMEI names none.

    With manufacturer and model it comes last, after commas, as in the portal's upload
    (https://learn.microsoft.com/intune/intune-service/enrollment/corporate-identifiers-add, read
    2026-11); that Graph shows it so is assumed.
    """
    kind, identifier = row.get("importedDeviceIdentityType"), row.get("importedDeviceIdentifier")
    if not isinstance(identifier, str) or kind not in {"serialNumber", "manufacturerModelSerial"}:
        return {}
    named = identifier if kind == "serialNumber" else identifier.rpartition(",")[2]
    return {"serialNumber": named.strip()}


def _registration(row: Mapping[str, Any]) -> dict[str, str]:
    """The registration that a directory object carries, whatever the case of its prefix."""
    physical = row.get("physicalIds")
    texts = physical if isinstance(physical, list) else ()
    matches = (_ZTDID.fullmatch(text) for text in texts if isinstance(text, str))
    found = next((match[1] for match in matches if match and real_id(match[1])), None)
    return {"ztdId": found} if found else {}


def _is_plain(value: object) -> bool:
    """Whether a value is usable as evidence: null is, because it means "never"."""
    return value is None or (isinstance(value, str | bool | int | float) and len(str(value)) <= 512)


_REMEDIES: Mapping[type[ServiceError], str] = {
    Unauthorized: "Hand in a fresh token for this tenant, or sign in again.",
    Throttled: "Verify the run again later.",
    Unavailable: "Verify the run again later.",
}
_FAILED_DEPENDENCY = 424
"""The status of a batch's other requests where one of them was throttled
(https://learn.microsoft.com/graph/throttling, read 2026-11)."""


def refusal(
    reply: Reply, body: object, *, permission: str, now: datetime, request_id: str
) -> ServiceError:
    """The error for an answer that is no success. `body` is JSON as read, or text that is none."""
    status = reply.status
    kind = Unavailable if status == _FAILED_DEPENDENCY else kind_of(status)
    code, message = read_fault(body)
    named = f"{status}" + (f", {code}" if code else "")
    return kind(
        f"Microsoft Graph refused ({named}): {message or WORDS.get(kind, 'it said no')}",
        remedy=f"Give the app or account {permission} in the customer's tenant."
        if status == 403
        else _REMEDIES.get(kind, "Report it with the request id if it stays so."),
        status=status,
        code=code,
        description=message,
        request_id=request_id,
        retry_after=parse_retry_after(reply.header("Retry-After"), now),
    )


def read_fault(body: object) -> tuple[str | None, str | None]:
    """Code and message of an error body; nothing of a web page, whose words don't help."""
    if isinstance(body, str):
        text = body.strip("\ufeff \r\n\t")
        # Base64 is how a batch carries what is no JSON.
        is_base64 = len(text) > 60 and " " not in text
        return None, None if text.startswith("<") or is_base64 else one_line(body) or None
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return one_line(error) or None, None
    if not isinstance(error, dict):
        return None, None
    return _text(error.get("code")), _text(_unwrapped(error.get("message")))


def _unwrapped(message: object) -> object:
    """The words within Intune's message, without the ids and addresses that follow them."""
    if not isinstance(message, str) or not message.lstrip().startswith("{"):
        return message
    try:
        inner: Any = json.loads(message)
    except (ValueError, RecursionError):
        return message
    words = inner.get("Message") if isinstance(inner, dict) else None
    return words.split(" - Operation ID")[0] if isinstance(words, str) else message


def _text(value: object) -> str | None:
    return (one_line(value) or None) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphPage:
    """One page of rows. `link` leads to the next, None on the last one."""

    rows: tuple[Found, ...] = ()
    link: str | None = None
    count: int | None = None
    """What `@odata.count` states: of this page in Intune's lists, of the whole list elsewhere."""
    request_id: str | None = None


class Graph:
    """Reads a customer's tenant. Thread-safe; every method is one attempt of one exchange.

    `ids` mints request ids; `now` is the wall clock (UTC), for Retry-After dates. Every method
    raises Unsent, Unanswered, Redirected (transport), Unauthorized, Throttled, Unavailable,
    Rejected (`refusal`), Unreadable.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        ids: Callable[[], str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._transport = transport
        self._ids = ids
        self._now = now

    def page(self, collection: Collection, link: str | None = None) -> GraphPage:
        """A page of a whole collection: the first, or the one that a link leads to."""
        content, request_id = self._read(collection, "GET", link or list_path(collection))
        return self._page(content, collection, request_id, is_first=link is None)

    def batch(self, questions: Sequence[Question]) -> tuple[GraphPage | ServiceError, ...]:
        """Ask up to 20 questions of one collection at once; each one's answer, in their order.

        An answer that is an error is one to this question alone. The service answers in any order.
        Raises InputError for what would not be answered.
        """
        collections = {question.collection for question in questions}
        if len(collections) != 1 or len(questions) > BATCH or not all(q.value for q in questions):
            raise InputError(
                f"a batch of {len(questions)} questions cannot be asked",
                rule="bad-batch",
                remedy="Ask 1 to 20 questions of one collection, none of them empty: "
                "an empty filter would return every device.",
            )
        collection = collections.pop()
        requests = [
            {"id": str(number), "method": "GET", "url": question_path(question)}
            for number, question in enumerate(questions)
        ]
        body = json.dumps({"requests": requests}).encode("utf-8")
        url = f"{_FACTS[collection].version}/$batch"
        content, request_id = self._read(collection, "POST", url, body)
        answers = _by_id(content, len(questions), request_id)
        return tuple(
            self._answer(question, answers.get(str(number)), request_id)
            for number, question in enumerate(questions)
        )

    def _read(
        self, collection: Collection, method: str, url: str, body: bytes | None = None
    ) -> tuple[Any, str]:
        """The JSON of one exchange, and the request's id."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        reply, request_id = _exchange(self._transport, method, url, self._ids(), headers, body)
        if reply.status != 200:
            raise self._refused(reply, _body_of(reply), collection, request_id)
        return parse_json(reply, request_id=request_id), request_id

    def _answer(
        self, question: Question, answer: Mapping[str, Any] | None, request_id: str
    ) -> GraphPage | ServiceError:
        if answer is None:
            return Unavailable(
                "Microsoft Graph left a question of a batch unanswered", request_id=request_id
            )
        status, body, headers = (answer.get(name) for name in ("status", "body", "headers"))
        headers = headers if isinstance(headers, dict) else {}
        reply = Reply(
            status=status if type(status) is int else 0,
            headers={name: str(text) for name, text in headers.items()},
        )
        own_id = reply.header("request-id") or request_id
        if type(status) is not int:
            return _unreadable("an answer of a batch has no status", own_id)
        # Only where Graph itself says that there is no such record, not a gateway in its place.
        is_gone = status == 404 and isinstance(body, dict) and "error" in body
        if question.by is By.ID and is_gone:
            return GraphPage(request_id=own_id)
        if status != 200:
            return self._refused(reply, body, question.collection, own_id)
        try:
            if question.by is By.ID:
                _refuse_error(body, own_id)
                body = {"value": [body]}
            return self._page(body, question.collection, own_id, is_first=True)
        except Unreadable as error:
            return error

    def _page(
        self, content: object, collection: Collection, request_id: str, *, is_first: bool
    ) -> GraphPage:
        _refuse_error(content, request_id)
        rows = content.get("value") if isinstance(content, dict) else None
        if not isinstance(content, dict) or not isinstance(rows, list):
            raise _unreadable("it holds no list of rows", request_id)
        try:
            read = tuple(read_row(collection, row) for row in rows)
        except ValueError as error:
            raise _unreadable(str(error), request_id) from error
        link = content.get("@odata.nextLink")
        if link is not None and (
            not isinstance(link, str) or origin(link) != origin(self._transport.base_url)
        ):
            raise _unreadable("its next page is at another address", request_id)
        count = content.get("@odata.count")
        if count is not None and type(count) is not int:
            raise _unreadable("its @odata.count is no number", request_id)
        # A longer list is compared as a whole, by `ListGuard`, once its last page is read.
        if count is not None and is_first and link is None and count != len(read):
            raise _unreadable(f"it counts {count} rows and brings {len(read)}", request_id)
        return GraphPage(rows=read, link=link, count=count, request_id=request_id)

    def _refused(
        self, reply: Reply, body: object, collection: Collection, request_id: str
    ) -> ServiceError:
        permission = READ_PERMISSIONS[collection]
        return refusal(reply, body, permission=permission, now=self._now(), request_id=request_id)


def _by_id(content: object, asked: int, request_id: str) -> dict[str, Mapping[str, Any]]:
    """The answers by the ids of their questions.

    Raises Unreadable where an id comes twice, or belongs to no question.
    """
    responses = content.get("responses") if isinstance(content, dict) else None
    if not isinstance(responses, list) or not all(isinstance(one, dict) for one in responses):
        raise _unreadable("it holds no list of answers", request_id)
    answers = {str(one.get("id")): one for one in responses}
    if len(answers) != len(responses):
        raise _unreadable("it answers one question twice", request_id)
    if answers.keys() - set(map(str, range(asked))):
        raise _unreadable("it answers a question that was not asked", request_id)
    return answers


def _refuse_error(content: object, request_id: str) -> None:
    """Raise Unreadable for a success that speaks of an error: which of the two holds is unknown."""
    if isinstance(content, dict) and content.get("error") is not None:
        raise _unreadable("it has an error beside what it shows", request_id)


def _exchange(
    transport: Transport,
    method: str,
    url: str,
    request_id: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> tuple[Reply, str]:
    """One exchange: the answer, and the service's id of the request, else ours.

    Raises Unreadable where a success says that it is one of another request: `client-request-id`
    is given back as it was sent (https://learn.microsoft.com/graph/errors, read 2026-11). A gateway
    that refuses in the service's place may have an id of its own.
    """
    signed = {"Accept": "application/json", "client-request-id": request_id, **headers}
    reply = transport.send(Request(method=method, url=url, headers=signed, body=body))
    answered = reply.header("client-request-id")
    if reply.status < 300 and not is_same(request_id, answered):
        raise _unreadable(f"it answers another request than {request_id}", answered or request_id)
    return reply, reply.header("request-id") or request_id


def _body_of(reply: Reply) -> object:
    try:
        return parse_json(reply)
    except Unreadable:
        return reply.body.decode("utf-8", errors="replace")


def _unreadable(reason: str, request_id: str) -> Unreadable:
    return Unreadable(
        f"Microsoft Graph's answer is not what it promises: {reason}",
        remedy="Nothing was concluded from it. Verify the run again later.",
        request_id=request_id,
    )


_MANAGED: Final = "/v1.0/deviceManagement/managedDevices/{}"
_IDENTITY: Final = "/v1.0/deviceManagement/windowsAutopilotDeviceIdentities/{}"
_ASSOCIATION: Final = "/beta/deviceManagement/tenantAssociatedDevices/{}"
"""Undocumented: DELETE seen to answer 204 by the portal and by WindowsDeviceLink (2026-09)."""
_CONFIG_WRITE: Final = "DeviceManagementServiceConfig.ReadWrite.All"

ADDRESSES: Mapping[StepId, tuple[str, str]] = {
    StepId.DELETE_FROM_INTUNE: ("DELETE", _MANAGED),
    StepId.UNASSIGN_USER: ("POST", f"{_IDENTITY}/unassignUserFromDevice"),
    StepId.DEREGISTER_FROM_AUTOPILOT: ("DELETE", _IDENTITY),
    StepId.DELETE_ASSOCIATION_RECORD: ("DELETE", _ASSOCIATION),
}
SYNC: Final = ("POST", "/beta/deviceManagement/windowsAutopilotSettings/sync")

CHANGE_PERMISSIONS: Mapping[StepId, str] = {
    StepId.DELETE_FROM_INTUNE: "DeviceManagementManagedDevices.ReadWrite.All",
    StepId.UNASSIGN_USER: _CONFIG_WRITE,
    StepId.DEREGISTER_FROM_AUTOPILOT: _CONFIG_WRITE,
    StepId.DELETE_ASSOCIATION_RECORD: _CONFIG_WRITE,
}
"""The least permission for each step."""

JUSTIFICATION: Final = "x-msft-approval-justification"
CODE: Final = "x-msft-approval-code"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The service took it. A deletion from Autopilot still takes its time after that."""

    status: int
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalNeeded:
    """The tenant wants a second administrator to approve it; nothing was done.

    `code` is the request for approval, once one was made: with a justification.
    """

    code: str | None
    words: str
    status: int
    request_id: str


class Changes:
    """Changes a customer's tenant. Thread-safe; every method is one attempt of one exchange.

    Raises Unsent, Unanswered, Redirected (transport), Unauthorized, Throttled, Unavailable,
    Rejected (`refusal`), Unreadable.
    """

    def __init__(
        self, transport: Transport, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._transport = transport
        self._now = now

    def carry_out(
        self,
        step: StepId,
        record: str,
        *,
        request_id: str,
        approval: str | None = None,
        justification: str | None = None,
    ) -> Done | ApprovalNeeded:
        """Take one step on the one record with this id.

        `approval` is the code of a request that another administrator may have approved;
        `justification` asks for such a request (at most 1,024 characters are sent).
        """
        method, address = ADDRESSES[step]
        if not record.strip():
            raise InputError(
                "a step without the id of its record is never sent",
                rule="no-record",
                remedy="Report this: it is a bug.",
            )
        headers = {CODE: approval} if approval else {}
        if justification:
            text = justification[:1024].encode("utf-8")
            headers[JUSTIFICATION] = base64.b64encode(text).decode("ascii")
        path = address.format(quote(record, safe=""))
        return self._send(method, path, headers, request_id, CHANGE_PERMISSIONS[step])

    def sync(self, *, request_id: str) -> Done | ApprovalNeeded:
        """Have Autopilot do at once what it has accepted: at most every ten minutes per tenant."""
        return self._send(*SYNC, {}, request_id, _CONFIG_WRITE)

    def _send(
        self, method: str, path: str, headers: dict[str, str], request_id: str, permission: str
    ) -> Done | ApprovalNeeded:
        reply, own_id = _exchange(self._transport, method, path, request_id, headers)
        if reply.status in (200, 202, 204):
            return Done(status=reply.status, request_id=own_id)
        body = _body_of(reply)
        if needed := _approval_needed(reply, body, own_id):
            return needed
        raise refusal(reply, body, permission=permission, now=self._now(), request_id=own_id)


def _approval_needed(reply: Reply, body: object, request_id: str) -> ApprovalNeeded | None:
    """Whether a refusal is Intune's way to ask for a second administrator."""
    if reply.status not in (400, 403):
        return None
    code, (_, message) = reply.header(CODE), read_fault(body)
    words = message or "another administrator has to approve it"
    if code is None and JUSTIFICATION not in words.casefold() and CODE not in words.casefold():
        return None
    return ApprovalNeeded(code=code, words=words, status=reply.status, request_id=request_id)
