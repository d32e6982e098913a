"""The operations: Autopilot identities and imports, Intune's managed devices, the directory.

`handler_of` finds the function of an operation of `routes.json` by its name.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import partial
from typing import Any

from partner_tools.model import is_guid
from partner_tools.sandbox.graph import deletion
from partner_tools.sandbox.graph.estate import (
    NEVER,
    Approval,
    Row,
    import_device,
    stamp,
    tag_devices,
)
from partner_tools.sandbox.graph.queries import (
    ASSOCIATION,
    DELETED_DEVICE,
    DEVICE,
    IDENTITY,
    IMPORTED_AUTOPILOT,
    IMPORTED_IDENTITY,
    LOCAL_CREDENTIAL,
    MANAGED,
    RECOVERY_KEY,
    Shape,
    associations,
    autopilot_identities,
    by_serial,
    directory_devices,
    managed_devices,
    of_one_device,
    one,
    page,
    table_of,
    top,
)
from partner_tools.sandbox.graph.request import (
    ParsedRequest,
    Refusal,
    answer,
    granted,
    refusal,
)
from partner_tools.sandbox.seed import derived_id
from partner_tools.sandbox.wire import Response, text_response

Handler = Callable[[ParsedRequest], Response]
NO_CONTENT = Response(status=204)
SETTINGS = "deviceManagement/windowsAutopilotSettings"
APPROVALS = "deviceManagement/operationApprovalRequests"
IMPORT_PAGE_SIZE = 1000


def handler_of(operation: str) -> Handler:
    handler: Handler = globals()[operation.replace("-", "_")]
    return handler


def get_row(parsed: ParsedRequest, shape: Shape) -> Response:
    return one(parsed, shape, parsed.row(table_of(parsed, shape)))


def delete_row(parsed: ParsedRequest, shape: Shape) -> Response:
    table = table_of(parsed, shape)
    table.remove(parsed.row(table)["id"], parsed.now)
    return NO_CONTENT


def change_identity(parsed: ParsedRequest, **properties: str) -> Response:
    row = parsed.row(parsed.estate.identities)
    parsed.estate.identities.change(row["id"], **properties)
    return NO_CONTENT


unassign_user = partial(change_identity, userPrincipalName="", addressableUserName="")
allow_next_enrollment = partial(change_identity, userlessEnrollmentStatus="allowed")
get_imported_autopilot = partial(get_row, shape=IMPORTED_AUTOPILOT)
delete_imported_autopilot = partial(delete_row, shape=IMPORTED_AUTOPILOT)
get_imported_identity = partial(get_row, shape=IMPORTED_IDENTITY)
delete_imported_identity = partial(delete_row, shape=IMPORTED_IDENTITY)
get_association = partial(get_row, shape=ASSOCIATION)
get_managed_device = partial(get_row, shape=MANAGED)


def list_autopilot_identities(parsed: ParsedRequest) -> Response:
    """A page of identities; lists don't say when a device was last in contact."""
    if parsed.option("select") is not None:
        raise refusal("failed list")
    size = _intune_page_size(parsed, parsed.quirks.autopilot_page_size)
    rows = autopilot_identities(parsed, IDENTITY)
    contact = {} if parsed.quirks.contact_in_lists else {"lastContactedDateTime": NEVER}

    def added(row: Row) -> Row:
        return {**_second_name(parsed, row), **contact}

    order = by_serial(parsed)
    return page(parsed, IDENTITY, rows, size, order=order, counted=True, added=added)


def get_autopilot_identity(parsed: ParsedRequest) -> Response:
    row = parsed.row(parsed.estate.identities)
    shown = {**IDENTITY.shown(row, beta=parsed.beta), **_second_name(parsed, row)}
    return parsed.answer(f"{IDENTITY.path}/$entity", {**shown, **dict.fromkeys(parsed.expanded)})


def _second_name(parsed: ParsedRequest, row: Row) -> Row:
    """The property of beta that says the same as another."""
    if not parsed.beta or "azureAdDeviceId" in row:
        return {}
    return {"azureAdDeviceId": row["azureActiveDirectoryDeviceId"]}


def delete_autopilot_identity(parsed: ParsedRequest) -> Response:
    """Accept a removal that takes its time."""
    row = parsed.row(parsed.estate.identities)
    objection = deletion.remove_identity(parsed.estate, row["id"], parsed.now)
    if objection is not None:
        raise refusal(objection)
    return Response(status=parsed.quirks.autopilot_delete_status)


def update_autopilot_identity(parsed: ParsedRequest) -> Response:
    """`updateDeviceProperties`; the group tag is in the `physicalIds` of its Entra objects too."""
    row, body = parsed.row(parsed.estate.identities), parsed.body()
    unknown = sorted(set(body) - IDENTITY.writable)
    if unknown:
        raise refusal("unknown parameter", name=unknown[0])
    parsed.estate.identities.change(row["id"], **body)
    tag_devices(parsed.estate, row)
    return NO_CONTENT


def delete_by_serial(parsed: ParsedRequest) -> Response:
    """`deleteDevices`: says for each serial whether its removal was accepted."""
    serials = parsed.body().get("serialNumbers")
    if not isinstance(serials, list) or not all(isinstance(one, str) for one in serials):
        raise refusal("serials")
    value = [state for serial in serials for state in _deleted(parsed, serial)]
    collection = "Collection(microsoft.graph.deletedWindowsAutopilotDeviceState)"
    return parsed.answer(collection, {"value": value})


def _deleted(parsed: ParsedRequest, serial: str) -> list[Row]:
    """Return the result for every identity with this serial; a failed one where there is none."""
    found = [row["id"] for row in parsed.estate.identities.rows() if row["serialNumber"] == serial]
    states = []
    for name in found or [""]:
        objection = deletion.remove_identity(parsed.estate, name, parsed.now)
        states.append(
            {
                "serialNumber": serial,
                "deviceRegistrationId": name,
                "deletionState": "failed" if objection else "accepted",
                "errorMessage": refusal(objection).text if objection else "",
            }
        )
    return states


def import_autopilot(parsed: ParsedRequest) -> Response:
    """Create one import; it becomes an identity in a while."""
    row = import_device(parsed.estate, _import_of(parsed.body()), parsed.new_id(), parsed.now)
    return parsed.answer(f"{IMPORTED_AUTOPILOT.path}/$entity", row, 201)


def import_autopilot_list(parsed: ParsedRequest) -> Response:
    """The action `import`, for many at once."""
    items = parsed.body().get("importedWindowsAutopilotDeviceIdentities")
    if not isinstance(items, list):
        raise refusal("imports")
    given = [_import_of(item) for item in items]
    rows = [import_device(parsed.estate, one, parsed.new_id(), parsed.now) for one in given]
    collection = "Collection(microsoft.graph.importedWindowsAutopilotDeviceIdentity)"
    return parsed.answer(collection, {"value": rows})


def _import_of(item: Any) -> Row:
    """The properties of an import. Raises Refusal without a serial number or hardware hash."""
    known = set(IMPORTED_AUTOPILOT.v1) - {"id", "state"}
    given = {name: item[name] for name in known & set(item)} if isinstance(item, dict) else {}
    if not given.get("serialNumber") or not given.get("hardwareIdentifier"):
        raise refusal("incomplete import")
    return given


def list_imported_autopilot(parsed: ParsedRequest) -> Response:
    rows = autopilot_identities(parsed, IMPORTED_AUTOPILOT)
    return page(parsed, IMPORTED_AUTOPILOT, rows, IMPORT_PAGE_SIZE, counted=True)


def list_imported_identities(parsed: ParsedRequest) -> Response:
    rows = parsed.estate.imported_identities.rows(parsed.since)
    return page(parsed, IMPORTED_IDENTITY, rows, IMPORT_PAGE_SIZE, counted=True)


def list_associations(parsed: ParsedRequest) -> Response:
    size = parsed.quirks.autopilot_page_size
    return page(parsed, ASSOCIATION, associations(parsed), size)


def delete_association(parsed: ParsedRequest) -> Response:
    deletion.delete_association(parsed.estate, parsed.row(parsed.estate.associated), parsed.now)
    return NO_CONTENT


def get_autopilot_settings(parsed: ParsedRequest) -> Response:
    running = deletion.syncing(parsed.estate, parsed.now)
    asked_at = parsed.estate.synced_at
    done_at = None if asked_at is None or running else asked_at + parsed.quirks.sync
    settings = {
        "id": parsed.estate.tenant_id,
        "lastSyncDateTime": NEVER if done_at is None else stamp(done_at),
        "lastManualSyncTriggerDateTime": NEVER if asked_at is None else stamp(asked_at),
        "syncStatus": "inProgress" if running else "completed",
    }
    return parsed.answer(f"{SETTINGS}/$entity", settings)


def sync_autopilot(parsed: ParsedRequest) -> Response:
    """204, 409 while one runs, 429 within ten minutes of the last."""
    if deletion.syncing(parsed.estate, parsed.now):
        raise refusal("sync under way")
    last = parsed.estate.synced_at
    if last is not None and parsed.now < last + parsed.quirks.sync_interval:
        raise refusal("sync too soon")
    deletion.sync(parsed.estate, parsed.now)
    return NO_CONTENT


def _intune_page_size(parsed: ParsedRequest, limit: int) -> int:
    size = top(parsed, limit)
    if size is None:
        raise refusal("bad top")
    return min(size, limit)


JUSTIFICATION = "x-msft-approval-justification"
CODE = "x-msft-approval-code"
LONGEST_JUSTIFICATION = 1024
THREE_DAYS = 3 * 86_400.0


def list_managed_devices(parsed: ParsedRequest) -> Response:
    """A page of managed devices; `$skip` finds none, whatever its number."""
    size = _intune_page_size(parsed, parsed.quirks.managed_page_size)
    rows = [] if parsed.option("skip") is not None else managed_devices(parsed)
    return page(parsed, MANAGED, rows, size, counted=True)


def delete_managed_device(parsed: ParsedRequest) -> Response:
    row = parsed.row(parsed.estate.managed)
    _approve(parsed)
    deletion.delete_managed(parsed.estate, row["id"], parsed.now)
    return NO_CONTENT


def sync_managed_device(parsed: ParsedRequest) -> Response:
    """`syncDevice`: have a machine check in, once it is online."""
    row = parsed.row(parsed.estate.managed)
    machine = parsed.estate.machine_of_managed(row["id"])
    if machine is not None:
        deletion.expect_check_in(parsed.estate, machine, parsed.now)
    return NO_CONTENT


def send_away(parsed: ParsedRequest, action: str) -> Response:
    """Retire or wipe a device when it next checks in."""
    row = parsed.row(parsed.estate.managed)
    parsed.body()
    _approve(parsed)
    deletion.retire(parsed.estate, row, action, parsed.now)
    return NO_CONTENT


retire_managed_device = partial(send_away, action="retire")
wipe_managed_device = partial(send_away, action="wipe")


def list_approval_requests(parsed: ParsedRequest) -> Response:
    value = [_approval_item(parsed, one) for one in parsed.estate.approvals.values()]
    return parsed.answer(APPROVALS, {"value": value})


def get_approval_request(parsed: ParsedRequest) -> Response:
    approval = parsed.estate.approvals.get(parsed.name.lower())
    if approval is None:
        raise refusal("unknown approval")
    return parsed.answer(f"{APPROVALS}/$entity", _approval_item(parsed, approval))


def status_of(approval: Approval, now: float) -> str:
    """A request's status: three days after it was made it has expired."""
    stale = now >= approval.requested_at + THREE_DAYS
    open_ = approval.status in {"needsApproval", "approved"}
    return "expired" if stale and open_ else approval.status


def _approve(parsed: ParsedRequest) -> None:
    """Let the operation pass, or ask for a second administrator in Intune's way: with a
    justification the refusal carries a code, and with an approved code the operation passes.
    """
    if not parsed.estate.habits.multi_admin_approval:
        return
    action = parsed.target.operation, parsed.name.lower()
    code = parsed.request.header(CODE)
    if code is None:
        justification = _justification(parsed)
        request = Approval(
            code=parsed.new_id(),
            action=action,
            justification=justification,
            requested_at=parsed.now,
        )
        parsed.estate.approvals[request.code] = request
        text = "The request needs the approval of another administrator"
        raise _unapproved(parsed, text, request.code)
    approval = parsed.estate.approvals.get(code.lower())
    if approval is None or approval.action != action:
        raise _unapproved(parsed, f"The approval code {code} is not one of this operation")
    status = status_of(approval, parsed.now)
    if status != "approved":
        raise _unapproved(parsed, f"The approval request has the status {status}", approval.code)
    approval.status = "completed"


def _justification(parsed: ParsedRequest) -> str:
    text = parsed.request.header(JUSTIFICATION)
    if not text:
        raise _unapproved(parsed, f"Header '{JUSTIFICATION}' is required to request approval")
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _unapproved(parsed, f"Header '{JUSTIFICATION}' is not base64 of UTF-8 text") from None
    if len(decoded) > LONGEST_JUSTIFICATION:
        raise _unapproved(parsed, f"Header '{JUSTIFICATION}' is too long")
    return decoded


def _unapproved(parsed: ParsedRequest, message: str, code: str | None = None) -> Refusal:
    status = parsed.quirks.approval_status
    word = "Forbidden" if status == 403 else "BadRequest"
    headers = ((CODE, code),) if code else ()
    return Refusal(status=status, code=word, text=message, headers=headers)


def _approval_item(parsed: ParsedRequest, approval: Approval) -> Row:
    return {
        "id": approval.code,
        "requestDateTime": stamp(approval.requested_at),
        "expirationDateTime": stamp(approval.requested_at + THREE_DAYS),
        "lastModifiedDateTime": NEVER,
        "status": status_of(approval, parsed.now),
        "requestJustification": approval.justification,
        "approvalJustification": "",
        "operationApprovalPolicies": approval.action[0],
    }


LARGEST_PAGE = 999
ALTERNATE = "deviceid="
RESOURCE_UNIT = ("x-ms-resource-unit", "1")
KEY = "-".join(f"{block}" * 6 for block in range(1, 9))
"""The recovery key of every device: made up, it opens nothing."""
PASSWORD = "c2FuZGJveA=="  # noqa: S105 - "sandbox" in base64: it opens nothing


def list_entra_devices(parsed: ParsedRequest) -> Response:
    """A page of devices. `@odata.count` needs the advanced query capabilities."""
    if parsed.option("skip") is not None:
        raise refusal("skip")
    if parsed.option("search") is not None:
        raise refusal("search")
    rows, size, added = directory_devices(parsed), _page_size(parsed), _added_owners(parsed)
    response = page(parsed, DEVICE, rows, size, total=parsed.counting, added=added)
    return response.with_headers(RESOURCE_UNIT)


def count_entra_devices(parsed: ParsedRequest) -> Response:
    if not parsed.eventual:
        raise refusal("count")
    found = sum(1 for _ in directory_devices(parsed))
    return text_response(200, str(found), "text/plain").with_headers(RESOURCE_UNIT)


def get_entra_device(parsed: ParsedRequest) -> Response:
    added = _added_owners(parsed)
    return one(parsed, DEVICE, _device(parsed), added).with_headers(RESOURCE_UNIT)


def _added_owners(parsed: ParsedRequest) -> Callable[[Row], Row]:
    """What `$expand` adds to a device: registered users are its owners (assumed)."""
    return lambda row: dict.fromkeys(parsed.expanded, _owners(parsed, row))


def update_entra_device(parsed: ParsedRequest) -> Response:
    row = _device(parsed)
    body = {name: value for name, value in parsed.body().items() if not name.startswith("@")}
    fixed = sorted(set(body) - DEVICE.writable)
    if fixed:
        raise refusal("read-only", name=fixed[0])
    parsed.estate.devices.change(row["id"], **body)
    return NO_CONTENT


def delete_entra_device(parsed: ParsedRequest) -> Response:
    row = _device(parsed)
    if parsed.quirks.refuse_registered and parsed.estate.registered(row["deviceId"]):
        raise refusal("denied")
    deletion.delete_device(parsed.estate, row, parsed.now)
    return NO_CONTENT


def list_owners(parsed: ParsedRequest) -> Response:
    return parsed.answer("directoryObjects", {"value": _owners(parsed, _device(parsed))})


def _owners(parsed: ParsedRequest, row: Row) -> list[Row]:
    return [
        {
            "@odata.type": "#microsoft.graph.user",
            "id": derived_id(parsed.estate.tenant_id, name),
            "userPrincipalName": name,
            "displayName": name.partition("@")[0],
        }
        for name in row.get("registeredOwners") or ()
    ]


def list_deleted_devices(parsed: ParsedRequest) -> Response:
    rows = parsed.estate.deleted.rows(parsed.since)
    return page(parsed, DELETED_DEVICE, rows, _page_size(parsed))


def get_deleted_device(parsed: ParsedRequest) -> Response:
    row = _present(parsed, parsed.estate.deleted.get(parsed.name))
    return one(parsed, DELETED_DEVICE, row, path="directoryObjects")


def restore_deleted_device(parsed: ParsedRequest) -> Response:
    row = _present(parsed, deletion.restore(parsed.estate, parsed.name, parsed.now))
    return one(parsed, DEVICE, row, path="directoryObjects")


def purge_deleted_device(parsed: ParsedRequest) -> Response:
    _present(parsed, parsed.estate.deleted.get(parsed.name))
    deletion.purge(parsed.estate, parsed.name, parsed.now)
    return NO_CONTENT


def list_recovery_keys(parsed: ParsedRequest) -> Response:
    """List the recovery keys without the keys; those of a deleted device are not shown."""
    if _selects_key(parsed):
        raise refusal("key denied")
    keys, estate = of_one_device(parsed), parsed.estate
    rows = [row for row in keys if estate.device_of(row["deviceId"])]
    return page(parsed, RECOVERY_KEY, rows, _page_size(parsed))


def get_recovery_key(parsed: ParsedRequest) -> Response:
    """Return one recovery key's data; the made-up key itself only if permitted and selected."""
    if _selects_key(parsed) and "BitlockerKey.Read.All" not in granted(parsed.claims):
        raise refusal("key denied")
    row = parsed.estate.recovery_keys.get(parsed.name)
    if row is None:
        raise refusal("unknown key")
    if _selects_key(parsed):
        return answer({"id": row["id"], "key": KEY})
    return one(parsed, RECOVERY_KEY, row)


def _selects_key(parsed: ParsedRequest) -> bool:
    return "key" in (parsed.option("select") or "").lower().split(",")


def list_local_credentials(parsed: ParsedRequest) -> Response:
    estate = parsed.estate
    credentials = estate.local_credentials.rows(parsed.since)
    rows = [row for row in credentials if estate.device_of(row["id"])]
    return page(parsed, LOCAL_CREDENTIAL, rows, _page_size(parsed))


def get_local_credential(parsed: ParsedRequest) -> Response:
    """When a password was saved; the password, a made-up one, for who may read it."""
    row = _present(parsed, parsed.estate.local_credentials.get(parsed.name))
    _present(parsed, parsed.estate.device_of(row["id"]))
    if "credentials" not in (parsed.option("select") or ""):
        return one(parsed, LOCAL_CREDENTIAL, row)
    if "DeviceLocalCredential.Read.All" not in granted(parsed.claims):
        raise refusal("denied")
    credential = {
        "accountName": "Administrator",
        "accountSid": "S-1-5-21-1180699209-877415012-3182924384-500",
        "backupDateTime": row["lastBackupDateTime"],
        "passwordBase64": PASSWORD,
    }
    return answer({"id": row["id"], "credentials": [credential]})


def get_organization(parsed: ParsedRequest) -> Response:
    estate = parsed.estate
    domain = {
        "name": estate.domain,
        "isDefault": True,
        "isInitial": estate.domain.endswith(".onmicrosoft.com"),
        "type": "Managed",
        "capabilities": "Email, OfficeCommunicationsOnline",
    }
    organization = {
        "id": estate.tenant_id,
        "displayName": estate.name,
        "verifiedDomains": [domain],
    }
    return parsed.answer("organization", {"value": [organization]})


def get_me(parsed: ParsedRequest) -> Response:
    name = parsed.claims.get("upn")
    if name is None:
        raise refusal("no user")
    me = {"id": parsed.claims["oid"], "userPrincipalName": name, "displayName": name}
    return parsed.answer("users/$entity", me)


def _page_size(parsed: ParsedRequest) -> int:
    size = top(parsed, parsed.quirks.directory_page_size)
    if size is None or size > LARGEST_PAGE:
        raise refusal("page size", given=parsed.option("top"), most=LARGEST_PAGE)
    return size


def _device(parsed: ParsedRequest) -> Row:
    """The device by its object id, or by `deviceId='…'`."""
    name, estate = parsed.name, parsed.estate
    if name.lower().startswith(ALTERNATE):
        name = name[len(ALTERNATE) :].strip("'")
        row = estate.device_of(name)
    else:
        row = estate.devices.get(name)
    if not is_guid(name):
        raise refusal("bad object id", name=name)
    return _present(parsed, row, name)


def _present(parsed: ParsedRequest, row: Row | None, name: str | None = None) -> Row:
    """The row that was found. Raises Refusal without one."""
    if row is None:
        raise refusal("unknown object", name=name or parsed.name)
    return row
