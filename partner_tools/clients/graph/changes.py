"""Microsoft Graph as far as a cleanup changes a tenant: one attempt a call, of one record.

`ADDRESSES` is all of it. There is no address of the directory among them: nothing here can delete
an object of Entra ID. Wire facts, read 2026-11:
https://learn.microsoft.com/graph/api/intune-devices-manageddevice-delete,
https://learn.microsoft.com/graph/api/intune-enrollment-windowsautopilotdeviceidentity-delete,
https://learn.microsoft.com/graph/api/intune-enrollment-windowsautopilotsettings-sync (beta only),
https://learn.microsoft.com/intune/intune-service/fundamentals/multi-admin-approval.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from partner_tools.clients.graph.client import body_of, request_id_of
from partner_tools.clients.graph.refusal import read_fault, refusal
from partner_tools.clients.transport import Reply, Request, Transport
from partner_tools.errors import InputError
from partner_tools.outstanding.nouns import StepId

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

PERMISSIONS: Mapping[StepId, str] = {
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
        return self._send(method, path, headers, request_id, PERMISSIONS[step])

    def sync(self, *, request_id: str) -> Done | ApprovalNeeded:
        """Have Autopilot do at once what it has accepted: at most every ten minutes per tenant."""
        return self._send(*SYNC, {}, request_id, _CONFIG_WRITE)

    def _send(
        self, method: str, path: str, headers: dict[str, str], request_id: str, permission: str
    ) -> Done | ApprovalNeeded:
        signed = {"Accept": "application/json", "client-request-id": request_id, **headers}
        request = Request(method=method, url=path, headers=signed, body=None)
        reply = self._transport.send(request)
        own_id = request_id_of(reply, request)
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
