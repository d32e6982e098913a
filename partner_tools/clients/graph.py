"""Microsoft Graph in the customer's tenant: reads records, changes them, and explains refusals."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from partner_tools.clients.answers import is_same
from partner_tools.clients.transport import Reply, Request, Transport, origin, parse_json
from partner_tools.errors import (
    InputError,
    Rejected,
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

VERSIONS: Mapping[Collection, str] = {
    Collection.AUTOPILOT: "/beta",
    Collection.ASSOCIATIONS: "/beta",
    Collection.INTUNE: "/beta",
    Collection.ENTRA: "/v1.0",
    Collection.RECOVERY_KEYS: "/v1.0",
    Collection.LOCAL_PASSWORDS: "/v1.0",
    Collection.DELETED: "/beta",
    Collection.IMPORT_RECORDS: "/v1.0",
    Collection.CORPORATE_IDENTIFIERS: "/beta",
}

PATHS: Mapping[Collection, str] = {
    Collection.AUTOPILOT: "/deviceManagement/windowsAutopilotDeviceIdentities",
    Collection.ASSOCIATIONS: "/deviceManagement/tenantAssociatedDevices",
    Collection.INTUNE: "/deviceManagement/managedDevices",
    Collection.ENTRA: "/devices",
    Collection.RECOVERY_KEYS: "/informationProtection/bitlocker/recoveryKeys",
    Collection.LOCAL_PASSWORDS: "/directory/deviceLocalCredentials",
    Collection.DELETED: "/directory/deletedItems/microsoft.graph.device",
    Collection.IMPORT_RECORDS: "/deviceManagement/importedWindowsAutopilotDeviceIdentities",
    Collection.CORPORATE_IDENTIFIERS: "/deviceManagement/importedDeviceIdentities",
}

READ_PERMISSIONS: Mapping[Collection, str] = {
    Collection.AUTOPILOT: "DeviceManagementServiceConfig.Read.All",
    # Seen to work; no published table names it (Get-AutopilotDeviceAssociation, read 2026-11).
    Collection.ASSOCIATIONS: "DeviceManagementServiceConfig.Read.All",
    Collection.INTUNE: "DeviceManagementManagedDevices.Read.All",
    Collection.ENTRA: "Device.Read.All",
    Collection.RECOVERY_KEYS: "BitlockerKey.ReadBasic.All",
    Collection.LOCAL_PASSWORDS: "DeviceLocalCredential.ReadBasic.All",
    Collection.DELETED: "Device.Read.All",
    Collection.IMPORT_RECORDS: "DeviceManagementServiceConfig.Read.All",
    Collection.CORPORATE_IDENTIFIERS: "DeviceManagementServiceConfig.Read.All",
}
"""The least permission to read each collection."""

SELECTED: Mapping[Collection, tuple[str, ...]] = {
    # Autopilot identities answer 500 to $select
    # (https://github.com/microsoftgraph/microsoft-graph-docs/issues/14937, read 2026-11).
    Collection.INTUNE: (
        "id",
        "deviceName",
        "serialNumber",
        "azureADDeviceId",
        "managementState",
        "managementAgent",
        "deviceEnrollmentType",
        "enrolledDateTime",
        "lastSyncDateTime",
        "operatingSystem",
        "manufacturer",
        "model",
        "userPrincipalName",
        "isEncrypted",
        "joinType",
        "deviceFirmwareConfigurationInterfaceManaged",
    ),
    Collection.ENTRA: (
        "id",
        "deviceId",
        "displayName",
        "trustType",
        "accountEnabled",
        "approximateLastSignInDateTime",
        "isManaged",
        "mdmAppId",
        "onPremisesSyncEnabled",
        "physicalIds",
        "registrationDateTime",
    ),
    # Never `key`, never `credentials`: only their existence matters here.
    Collection.RECOVERY_KEYS: ("id", "createdDateTime", "deviceId", "volumeType"),
    Collection.LOCAL_PASSWORDS: ("id", "deviceName", "lastBackupDateTime", "refreshDateTime"),
}

_PAGE = 999
_PAGED = frozenset({Collection.AUTOPILOT, Collection.INTUNE, Collection.ENTRA})


def list_path(collection: Collection) -> str:
    """The first page of a collection."""
    top = [("$top", str(_PAGE))] if collection in _PAGED else []
    return VERSIONS[collection] + _path(collection, PATHS[collection], top)


def question_path(question: Question) -> str:
    """A question as the inner URL of a batch: without version, percent-encoded."""
    collection = question.collection
    if question.by is By.ID:
        return _path(collection, f"{PATHS[collection]}/{quote(question.value, safe='')}", [])
    return _path(collection, PATHS[collection], [("$filter", _filter(question))])


def _path(collection: Collection, path: str, query: list[tuple[str, str]]) -> str:
    if collection in SELECTED:
        query = [*query, ("$select", ",".join(SELECTED[collection]))]
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


_AUTOPILOT = (
    "serialNumber",
    "displayName",
    "enrollmentState",
    "groupTag",
    "manufacturer",
    "model",
    "remediationState",
    "userPrincipalName",
    "userlessEnrollmentStatus",
)
_IDS: Mapping[Collection, tuple[str, ...]] = {
    Collection.AUTOPILOT: ("id", "azureActiveDirectoryDeviceId", "managedDeviceId"),
    Collection.ASSOCIATIONS: ("id", "managedDeviceId"),
    Collection.INTUNE: ("id", "azureADDeviceId"),
    Collection.ENTRA: ("id", "deviceId"),
    Collection.RECOVERY_KEYS: ("id", "deviceId"),
    Collection.LOCAL_PASSWORDS: ("id",),
    Collection.DELETED: ("id", "deviceId"),
    Collection.IMPORT_RECORDS: ("id",),
    Collection.CORPORATE_IDENTIFIERS: ("id",),
}
_ATTRIBUTES: Mapping[Collection, tuple[str, ...]] = {
    Collection.AUTOPILOT: _AUTOPILOT,
    Collection.ASSOCIATIONS: (
        "serialNumber",
        "smbiosUuid",
        "associationState",
        "devicePreparationPolicyId",
        "preAssociationDateTime",
        "associationDateTime",
        "assignedToUserPrincipalName",
    ),
    Collection.DELETED: ("displayName", "deletedDateTime", "trustType"),
    Collection.IMPORT_RECORDS: ("serialNumber", "groupTag", "importId"),
    Collection.CORPORATE_IDENTIFIERS: (
        "importedDeviceIdentifier",
        "importedDeviceIdentityType",
        "description",
    ),
    **SELECTED,
}
_NEVER = frozenset({"key", "credentials", "physicalIds"})
_ZTDID = re.compile(r"\[ZTDID\]:(.+)", re.IGNORECASE)


def read_row(collection: Collection, row: object) -> Found:
    """One row. Raises ValueError for what is no record with an id."""
    if not isinstance(row, dict):
        raise ValueError("a row is no object")  # noqa: TRY004 - a value of the service, not ours
    ids = {name: row[name] for name in _IDS[collection] if real_id(row.get(name))}
    ids |= _EXTRA_IDS.get(collection, _nothing)(row)
    if "id" not in ids:
        raise ValueError("a row has no id")
    attributes = {
        name: row[name]
        for name in _ATTRIBUTES[collection]
        if name in row and name not in _NEVER and name not in _IDS[collection] and _plain(row[name])
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


def _nothing(_row: Mapping[str, Any]) -> dict[str, str]:
    return {}


def _newer_device_id(row: Mapping[str, Any]) -> dict[str, str]:
    """The beta form names the directory's device id anew; either may be the one that is filled."""
    newer = row.get("azureAdDeviceId")
    return {"azureActiveDirectoryDeviceId": str(newer)} if real_id(newer) else {}


def _registration(row: Mapping[str, Any]) -> dict[str, str]:
    """The registration that a directory object carries, whatever the case of its prefix."""
    physical = row.get("physicalIds")
    texts: Iterable[object] = physical if isinstance(physical, list) else ()
    matches = (_ZTDID.fullmatch(text) for text in texts if isinstance(text, str))
    found = next((match[1] for match in matches if match and real_id(match[1])), None)
    return {"ztdId": found} if found else {}


_EXTRA_IDS: Mapping[Collection, Callable[[Mapping[str, Any]], dict[str, str]]] = {
    Collection.AUTOPILOT: _newer_device_id,
    Collection.ENTRA: _registration,
    Collection.DELETED: _registration,
}


def _plain(value: object) -> bool:
    """Whether a value is usable as evidence: null is, because it means "never"."""
    return value is None or (isinstance(value, str | bool | int | float) and len(str(value)) <= 512)


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
"""The status of a batch's other requests where one of them was throttled
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
    """Code and message of an error body; nothing of a web page, whose words don't help."""
    if isinstance(body, str):
        return None, None if _is_no_sentence(body) else one_line(body) or None
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return one_line(error) or None, None
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
    return (one_line(value) or None) if isinstance(value, str) else None


def _header(headers: Mapping[str, str], name: str) -> str | None:
    wanted = name.lower()
    return next((str(text) for key, text in headers.items() if key.lower() == wanted), None)


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
        request = self._signed("GET", link or list_path(collection))
        reply = self._transport.send(request)
        request_id = own_request_id(reply, request)
        if reply.status != 200:
            raise self._refused(reply.status, reply.headers, body_of(reply), collection, request_id)
        content = parse_json(reply, request_id=request_id)
        return self._page(content, collection, request_id, is_first=link is None)

    def batch(self, questions: Sequence[Question]) -> tuple[GraphPage | ServiceError, ...]:
        """Ask up to 20 questions of one collection at once; each one's answer, in their order.

        An answer that is an error is one to this question alone. The service answers in any order.
        """
        collection = _check_batch(questions)
        request = self._signed("POST", f"{VERSIONS[collection]}/$batch", _batch_body(questions))
        reply = self._transport.send(request)
        request_id = own_request_id(reply, request)
        if reply.status != 200:
            raise self._refused(reply.status, reply.headers, body_of(reply), collection, request_id)
        answers = _by_id(parse_json(reply, request_id=request_id), len(questions), request_id)
        return tuple(
            self._answer(question, answers.get(str(number)), request_id)
            for number, question in enumerate(questions)
        )

    def renew_token(self) -> None:
        """After Unauthorized: have the token that this thread sent replaced."""
        self._transport.renew_token()

    def _signed(self, method: str, url: str, body: bytes | None = None) -> Request:
        headers = {"Accept": "application/json", "client-request-id": self._ids()}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return Request(method=method, url=url, headers=headers, body=body)

    def _answer(
        self, question: Question, answer: Mapping[str, Any] | None, request_id: str
    ) -> GraphPage | ServiceError:
        if answer is None:
            return Unavailable(
                "Microsoft Graph left a question of a batch unanswered", request_id=request_id
            )
        status, body = answer.get("status"), answer.get("body")
        headers = answer.get("headers")
        headers = headers if isinstance(headers, dict) else {}
        own_id = next((str(v) for k, v in headers.items() if k.lower() == "request-id"), request_id)
        if not isinstance(status, int) or isinstance(status, bool):
            return _unreadable("an answer of a batch has no status", own_id)
        if question.by is By.ID and _is_gone(status, body):
            return GraphPage(request_id=own_id)
        if status != 200:
            return self._refused(status, headers, body, question.collection, own_id)
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
        self,
        status: int,
        headers: Mapping[str, str],
        body: object,
        collection: Collection,
        request_id: str,
    ) -> ServiceError:
        return refusal(
            status,
            headers,
            body,
            permission=READ_PERMISSIONS[collection],
            now=self._now(),
            request_id=request_id,
        )


def _check_batch(questions: Sequence[Question]) -> Collection:
    """The one collection that all are about. Raises InputError for what would not be answered."""
    collections = {question.collection for question in questions}
    if len(collections) != 1 or len(questions) > BATCH or not all(q.value for q in questions):
        raise InputError(
            f"a batch of {len(questions)} questions cannot be asked",
            rule="bad-batch",
            remedy="Ask 1 to 20 questions of one collection, none of them empty: "
            "an empty filter would return every device.",
        )
    return collections.pop()


def _batch_body(questions: Sequence[Question]) -> bytes:
    requests = [
        {"id": str(number), "method": "GET", "url": question_path(question)}
        for number, question in enumerate(questions)
    ]
    return json.dumps({"requests": requests}).encode("utf-8")


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


def _is_gone(status: int, body: object) -> bool:
    """Whether Graph itself says that there is no such record, not a gateway in its place."""
    return status == 404 and isinstance(body, dict) and "error" in body


def body_of(reply: Reply) -> object:
    try:
        return parse_json(reply)
    except Unreadable:
        return reply.body.decode("utf-8", errors="replace")


def own_request_id(reply: Reply, request: Request) -> str:
    """The service's id of the request, else ours.

    Raises Unreadable where a success says that it is one of another request: `client-request-id`
    is given back as it was sent (https://learn.microsoft.com/graph/errors, read 2026-11). A gateway
    that refuses in the service's place may have an id of its own.
    """
    sent, answered = request.headers["client-request-id"], reply.header("client-request-id")
    if reply.status < 300 and not is_same(sent, answered):
        raise _unreadable(f"it answers another request than {sent}", answered or sent)
    return reply.header("request-id") or sent


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
        signed = {"Accept": "application/json", "client-request-id": request_id, **headers}
        request = Request(method=method, url=path, headers=signed, body=None)
        reply = self._transport.send(request)
        own_id = own_request_id(reply, request)
        if reply.status in (200, 202, 204):
            return Done(status=reply.status, request_id=own_id)
        body = body_of(reply)
        if needed := _approval_needed(reply, body, own_id):
            return needed
        raise refusal(
            reply.status,
            reply.headers,
            body,
            permission=permission,
            now=self._now(),
            request_id=own_id,
        )


def _approval_needed(reply: Reply, body: object, request_id: str) -> ApprovalNeeded | None:
    """Whether a refusal is Intune's way to ask for a second administrator."""
    if reply.status not in (400, 403):
        return None
    code, (_, told) = reply.header(CODE), read_fault(body)
    words = told or "another administrator has to approve it"
    if code is None and JUSTIFICATION not in words.casefold() and CODE not in words.casefold():
        return None
    return ApprovalNeeded(code=code, words=words, status=reply.status, request_id=request_id)
