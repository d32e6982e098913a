"""Operations on Intune's managed devices, and the second administrator whom a tenant may demand."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial

from partner_tools.sandbox.graph.asked import Asked, Refusal, found_row
from partner_tools.sandbox.graph.estate import NEVER, Approval, stamp
from partner_tools.sandbox.graph.leaving import delete_managed, retire
from partner_tools.sandbox.graph.pages import answer, in_order, one, top
from partner_tools.sandbox.graph.searching import managed_devices
from partner_tools.sandbox.graph.shapes import MANAGED
from partner_tools.sandbox.graph.table import Row
from partner_tools.sandbox.wire import Response

MANAGED_DEVICES = "deviceManagement/managedDevices"
APPROVALS = "deviceManagement/operationApprovalRequests"
JUSTIFICATION = "x-msft-approval-justification"
CODE = "x-msft-approval-code"
LONGEST_JUSTIFICATION = 1024
THREE_DAYS = 3 * 86_400.0


def list_devices(asked: Asked) -> Response:
    """A page of managed devices; `$skip` finds none, whatever its number."""
    table, limit = asked.estate.managed, asked.quirks.managed_page_size
    size = top(asked, limit)
    if size is None:
        raise Refusal(400, "BadRequest", "Invalid value for $top")
    rows = [] if asked.option("skip") is not None else managed_devices(asked, table)
    count = (asked.option("count") or "").lower() == "true"
    return in_order(asked, table, MANAGED, MANAGED_DEVICES, rows, min(size, limit), count=count)


def get_device(asked: Asked) -> Response:
    return one(asked, MANAGED, MANAGED_DEVICES, found_row(asked, asked.estate.managed))


def delete_device(asked: Asked) -> Response:
    row = found_row(asked, asked.estate.managed)
    _approve(asked)
    delete_managed(asked.estate, row["id"], asked.now)
    return Response(status=204)


def send_away(asked: Asked, action: str) -> Response:
    """Retire or wipe a device when it next checks in."""
    row = found_row(asked, asked.estate.managed)
    asked.body()
    _approve(asked)
    retire(asked.estate, row, action, asked.now)
    return Response(status=204)


def list_approvals(asked: Asked) -> Response:
    context = f"{asked.request.base_url}/beta/$metadata#{APPROVALS}"
    value = [_approval_item(asked, one) for one in asked.estate.approvals.values()]
    return answer({"@odata.context": context, "value": value})


def get_approval(asked: Asked) -> Response:
    approval = asked.estate.approvals.get(asked.name.lower())
    if approval is None:
        raise Refusal(404, "ResourceNotFound", "The request was not found")
    context = f"{asked.request.base_url}/beta/$metadata#{APPROVALS}/$entity"
    return answer({"@odata.context": context, **_approval_item(asked, approval)})


def status_of(approval: Approval, now: float) -> str:
    """A request's status: three days after it was made it has expired."""
    stale = now >= approval.requested_at + THREE_DAYS
    open_ = approval.status in {"needsApproval", "approved"}
    return "expired" if stale and open_ else approval.status


def _approve(asked: Asked) -> None:
    """Let the operation pass, or ask for a second administrator in Intune's way: with a
    justification the refusal carries a code, and with an approved code the operation passes.
    """
    if not asked.estate.habits.multi_admin_approval:
        return
    code = asked.request.header(CODE)
    if code is not None:
        _redeem(asked, code)
        return
    justification = _justification(asked)
    request = Approval(
        code=asked.new_id(),
        action=_action(asked),
        justification=justification,
        requested_at=asked.now,
    )
    asked.estate.approvals[request.code] = request
    raise _refused(asked, "The request needs the approval of another administrator", request.code)


def _redeem(asked: Asked, code: str) -> None:
    approval = asked.estate.approvals.get(code.lower())
    if approval is None or approval.action != _action(asked):
        raise _refused(asked, f"The approval code {code} is not one of this operation")
    status = status_of(approval, asked.now)
    if status != "approved":
        raise _refused(asked, f"The approval request has the status {status}", approval.code)
    approval.status = "completed"


def _justification(asked: Asked) -> str:
    text = asked.request.header(JUSTIFICATION)
    if not text:
        raise _refused(asked, f"Header '{JUSTIFICATION}' is required to request approval")
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _refused(asked, f"Header '{JUSTIFICATION}' is not base64 of UTF-8 text") from None
    if len(decoded) > LONGEST_JUSTIFICATION:
        raise _refused(asked, f"Header '{JUSTIFICATION}' is too long")
    return decoded


def _action(asked: Asked) -> tuple[str, str]:
    return asked.target.operation, asked.name.lower()


def _refused(asked: Asked, message: str, code: str | None = None) -> Refusal:
    status = asked.quirks.approval_status
    word = "Forbidden" if status == 403 else "BadRequest"
    return Refusal(status, word, message, headers=((CODE, code),) if code else ())


def _approval_item(asked: Asked, approval: Approval) -> Row:
    return {
        "id": approval.code,
        "requestDateTime": stamp(approval.requested_at),
        "expirationDateTime": stamp(approval.requested_at + THREE_DAYS),
        "lastModifiedDateTime": NEVER,
        "status": status_of(approval, asked.now),
        "requestJustification": approval.justification,
        "approvalJustification": "",
        "operationApprovalPolicies": approval.action[0],
    }


HANDLERS: Mapping[str, Callable[[Asked], Response]] = {
    "list-managed-devices": list_devices,
    "get-managed-device": get_device,
    "delete-managed-device": delete_device,
    "retire-managed-device": partial(send_away, action="retire"),
    "wipe-managed-device": partial(send_away, action="wipe"),
    "list-approval-requests": list_approvals,
    "get-approval-request": get_approval,
}
"""What each operation does."""
