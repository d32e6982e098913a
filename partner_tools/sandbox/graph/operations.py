"""The operations: Autopilot identities and imports, Intune's managed devices, the directory."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from partner_tools.sandbox.graph.deletion import (
    RemovalStart,
    delete_association,
    delete_device,
    delete_managed,
    expect_check_in,
    purge,
    remove_identity,
    restore,
    retire,
    sync,
    syncing,
)
from partner_tools.sandbox.graph.estate import (
    NEVER,
    Approval,
    Estate,
    Row,
    Table,
    import_device,
    stamp,
    tag_devices,
)
from partner_tools.sandbox.graph.queries import (
    ASSOCIATION,
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
    context,
    directory_devices,
    expansion,
    imported_identities,
    in_order,
    managed_devices,
    of_one_device,
    one,
    top,
)
from partner_tools.sandbox.graph.request import ParsedRequest, Refusal, answer, found_row, is_guid
from partner_tools.sandbox.seed import derived_id
from partner_tools.sandbox.wire import Response, text_response

IDENTITIES = "deviceManagement/windowsAutopilotDeviceIdentities"
SETTINGS = "deviceManagement/windowsAutopilotSettings/$entity"
IMPORTED = "deviceManagement/importedWindowsAutopilotDeviceIdentities"
CORPORATE = "deviceManagement/importedDeviceIdentities"
ASSOCIATED = "deviceManagement/tenantAssociatedDevices"

REMOVAL_REFUSALS: Mapping[RemovalStart, tuple[int, str, str]] = {
    RemovalStart.UNKNOWN: (404, "ResourceNotFound", "The device was not found"),
    RemovalStart.UNDER_WAY: (400, "BadRequest", "A deletion of this device is in progress"),
    RemovalStart.ENROLLED: (400, "BadRequest", "The device is enrolled and cannot be deleted"),
}


def list_identities(parsed: ParsedRequest) -> Response:
    """A page of identities; lists don't say when a device was last in contact."""
    if parsed.option("select") is not None:
        raise Refusal(500, "InternalServerError", "An internal server error has occurred")
    expansion(parsed, IDENTITY)
    limit = parsed.quirks.autopilot_page_size
    size = top(parsed, limit)
    if size is None:
        raise Refusal(400, "BadRequest", "Invalid value for $top")
    rows = autopilot_identities(parsed, parsed.estate.identities)
    return by_serial(parsed, IDENTITIES, rows, partial(_listed, parsed), min(size, limit))


def get_identity(parsed: ParsedRequest) -> Response:
    row = _shown(parsed, found_row(parsed, parsed.estate.identities))
    profiles = ("deploymentProfile", "intendedDeploymentProfile") if parsed.beta else ()
    row.update(dict.fromkeys(expansion(parsed, IDENTITY, *profiles)))
    context = f"{parsed.request.base_url}/{parsed.target.version}/$metadata#{IDENTITIES}/$entity"
    return answer({"@odata.context": context, **row})


def delete_identity(parsed: ParsedRequest) -> Response:
    """Accept a removal that takes its time."""
    row = found_row(parsed, parsed.estate.identities)
    started = remove_identity(parsed.estate, row["id"], parsed.now)
    if started is not RemovalStart.ACCEPTED:
        raise Refusal(*REMOVAL_REFUSALS[started])
    return Response(status=parsed.quirks.autopilot_delete_status)


def unassign_user(parsed: ParsedRequest) -> Response:
    row = found_row(parsed, parsed.estate.identities)
    parsed.estate.identities.change(row["id"], userPrincipalName="", addressableUserName="")
    return Response(status=204)


def allow_next_enrollment(parsed: ParsedRequest) -> Response:
    row = found_row(parsed, parsed.estate.identities)
    parsed.estate.identities.change(row["id"], userlessEnrollmentStatus="allowed")
    return Response(status=204)


def update_properties(parsed: ParsedRequest) -> Response:
    """`updateDeviceProperties`; the group tag is in the `physicalIds` of its Entra objects too."""
    row, body = found_row(parsed, parsed.estate.identities), parsed.body()
    unknown = sorted(set(body) - UPDATABLE)
    if unknown:
        text = f"The parameter '{unknown[0]}' in the request payload is not a valid parameter."
        raise Refusal(400, "BadRequest", text)
    parsed.estate.identities.change(row["id"], **body)
    tag_devices(parsed.estate, row)
    return Response(status=204)


def import_identity(parsed: ParsedRequest) -> Response:
    """Create one import; it becomes an identity in a while."""
    shown = import_device(parsed.estate, _import_of(parsed.body()), parsed.new_id(), parsed.now)
    return answer({"@odata.context": context(parsed, f"{IMPORTED}/$entity"), **shown}, 201)


def import_identities(parsed: ParsedRequest) -> Response:
    """The action `import`, for many at once."""
    items = parsed.body().get("importedWindowsAutopilotDeviceIdentities")
    if not isinstance(items, list):
        raise Refusal(400, "BadRequest", "importedWindowsAutopilotDeviceIdentities must be a list")
    given = [_import_of(item) for item in items]
    rows = [import_device(parsed.estate, one, parsed.new_id(), parsed.now) for one in given]
    collection = "Collection(microsoft.graph.importedWindowsAutopilotDeviceIdentity)"
    return answer({"@odata.context": context(parsed, collection), "value": rows})


def _import_of(item: Any) -> Row:
    """The properties of an import. Raises Refusal without a serial number or hardware hash."""
    known = set(IMPORTED_AUTOPILOT.v1) - {"id", "state"}
    given = {name: item[name] for name in known & set(item)} if isinstance(item, dict) else {}
    if not given.get("serialNumber") or not given.get("hardwareIdentifier"):
        raise Refusal(400, "BadRequest", "serialNumber and hardwareIdentifier are required")
    return given


def delete_by_serial(parsed: ParsedRequest) -> Response:
    """`deleteDevices`: says for each serial whether its removal was accepted."""
    serials = parsed.body().get("serialNumbers")
    if not isinstance(serials, list) or not all(isinstance(one, str) for one in serials):
        raise Refusal(400, "BadRequest", "serialNumbers must be a list of strings")
    context = (
        f"{parsed.request.base_url}/beta/$metadata"
        "#Collection(microsoft.graph.deletedWindowsAutopilotDeviceState)"
    )
    value = [state for serial in serials for state in _deleted(parsed, serial)]
    return answer({"@odata.context": context, "value": value})


def get_settings(parsed: ParsedRequest) -> Response:
    estate, quirks = parsed.estate, parsed.quirks
    running = syncing(estate, parsed.now)
    asked_at = estate.synced_at
    done_at = None if asked_at is None or running else asked_at + quirks.sync
    return answer(
        {
            "@odata.context": f"{parsed.request.base_url}/beta/$metadata#{SETTINGS}",
            "id": parsed.estate.tenant_id,
            "lastSyncDateTime": NEVER if done_at is None else stamp(done_at),
            "lastManualSyncTriggerDateTime": NEVER if asked_at is None else stamp(asked_at),
            "syncStatus": "inProgress" if running else "completed",
        }
    )


def start_sync(parsed: ParsedRequest) -> Response:
    """204, 409 while one runs, 429 within ten minutes of the last."""
    if syncing(parsed.estate, parsed.now):
        raise Refusal(409, "Conflict", "A sync is already in progress")
    last = parsed.estate.synced_at
    if last is not None and parsed.now < last + parsed.quirks.sync_interval:
        raise Refusal(429, "TooManyRequests", "A sync was requested less than 10 minutes ago")
    sync(parsed.estate, parsed.now)
    return Response(status=204)


def list_imported(parsed: ParsedRequest) -> Response:
    table = parsed.estate.imported_autopilot
    rows = imported_identities(parsed, table)
    return in_order(parsed, table, IMPORTED_AUTOPILOT, IMPORTED, rows, 1000, counted=True)


def list_corporate(parsed: ParsedRequest) -> Response:
    table = parsed.estate.imported_identities
    rows = table.rows(parsed.since)
    return in_order(parsed, table, IMPORTED_IDENTITY, CORPORATE, rows, 1000, counted=True)


def list_associations(parsed: ParsedRequest) -> Response:
    table = parsed.estate.associated
    rows, size = associations(parsed, table), parsed.quirks.autopilot_page_size
    return in_order(parsed, table, ASSOCIATION, ASSOCIATED, rows, size)


def delete_one_association(parsed: ParsedRequest) -> Response:
    row = found_row(parsed, parsed.estate.associated)
    delete_association(parsed.estate, row, parsed.now)
    return Response(status=204)


def _deleted(parsed: ParsedRequest, serial: str) -> list[Row]:
    """Return the result for every identity with this serial; a failed one where there is none."""
    found = [row["id"] for row in parsed.estate.identities.rows() if row["serialNumber"] == serial]
    states = []
    for name in found or [""]:
        started = remove_identity(parsed.estate, name, parsed.now)
        accepted = started is RemovalStart.ACCEPTED
        states.append(
            {
                "serialNumber": serial,
                "deviceRegistrationId": name,
                "deletionState": "accepted" if accepted else "failed",
                "errorMessage": "" if accepted else REMOVAL_REFUSALS[started][2],
            }
        )
    return states


def _listed(parsed: ParsedRequest, row: Row) -> Row:
    shown = _shown(parsed, row)
    if not parsed.quirks.contact_in_lists:
        shown["lastContactedDateTime"] = NEVER
    return shown


def _shown(parsed: ParsedRequest, row: Row) -> Row:
    shown = IDENTITY.shown(row, beta=parsed.beta)
    if parsed.beta and "azureAdDeviceId" not in row:
        shown["azureAdDeviceId"] = shown["azureActiveDirectoryDeviceId"]
    return shown


def _get(
    parsed: ParsedRequest, table: Callable[[Estate], Table], shape: Shape, context: str
) -> Response:
    return one(parsed, shape, context, found_row(parsed, table(parsed.estate)))


def _delete(parsed: ParsedRequest, table: Callable[[Estate], Table]) -> Response:
    row = found_row(parsed, table(parsed.estate))
    table(parsed.estate).remove(row["id"], parsed.now)
    return Response(status=204)


_IMPORTS: Callable[[Estate], Table] = attrgetter("imported_autopilot")
_ASSOCIATED: Callable[[Estate], Table] = attrgetter("associated")
_CORPORATE: Callable[[Estate], Table] = attrgetter("imported_identities")


MANAGED_DEVICES = "deviceManagement/managedDevices"
APPROVALS = "deviceManagement/operationApprovalRequests"
JUSTIFICATION = "x-msft-approval-justification"
CODE = "x-msft-approval-code"
LONGEST_JUSTIFICATION = 1024
THREE_DAYS = 3 * 86_400.0


def list_managed_devices(parsed: ParsedRequest) -> Response:
    """A page of managed devices; `$skip` finds none, whatever its number."""
    table, limit = parsed.estate.managed, parsed.quirks.managed_page_size
    size = top(parsed, limit)
    if size is None:
        raise Refusal(400, "BadRequest", "Invalid value for $top")
    rows = [] if parsed.option("skip") is not None else managed_devices(parsed, table)
    expansion(parsed, MANAGED)
    size = min(size, limit)
    return in_order(parsed, table, MANAGED, MANAGED_DEVICES, rows, size, counted=True)


def get_managed_device(parsed: ParsedRequest) -> Response:
    expansion(parsed, MANAGED)
    return one(parsed, MANAGED, MANAGED_DEVICES, found_row(parsed, parsed.estate.managed))


def remove_managed_device(parsed: ParsedRequest) -> Response:
    row = found_row(parsed, parsed.estate.managed)
    _approve(parsed)
    delete_managed(parsed.estate, row["id"], parsed.now)
    return Response(status=204)


def sync_device(parsed: ParsedRequest) -> Response:
    """`syncDevice`: have a machine check in, once it is online."""
    row = found_row(parsed, parsed.estate.managed)
    machine = parsed.estate.machine_of_managed(row["id"])
    if machine is not None:
        expect_check_in(parsed.estate, machine, parsed.now)
    return Response(status=204)


def send_away(parsed: ParsedRequest, action: str) -> Response:
    """Retire or wipe a device when it next checks in."""
    row = found_row(parsed, parsed.estate.managed)
    parsed.body()
    _approve(parsed)
    retire(parsed.estate, row, action, parsed.now)
    return Response(status=204)


def list_approvals(parsed: ParsedRequest) -> Response:
    context = f"{parsed.request.base_url}/beta/$metadata#{APPROVALS}"
    value = [_approval_item(parsed, one) for one in parsed.estate.approvals.values()]
    return answer({"@odata.context": context, "value": value})


def get_approval(parsed: ParsedRequest) -> Response:
    approval = parsed.estate.approvals.get(parsed.name.lower())
    if approval is None:
        raise Refusal(404, "ResourceNotFound", "The request was not found")
    context = f"{parsed.request.base_url}/beta/$metadata#{APPROVALS}/$entity"
    return answer({"@odata.context": context, **_approval_item(parsed, approval)})


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
    code = parsed.request.header(CODE)
    if code is not None:
        _redeem(parsed, code)
        return
    justification = _justification(parsed)
    request = Approval(
        code=parsed.new_id(),
        action=_action(parsed),
        justification=justification,
        requested_at=parsed.now,
    )
    parsed.estate.approvals[request.code] = request
    raise _refused(parsed, "The request needs the approval of another administrator", request.code)


def _redeem(parsed: ParsedRequest, code: str) -> None:
    approval = parsed.estate.approvals.get(code.lower())
    if approval is None or approval.action != _action(parsed):
        raise _refused(parsed, f"The approval code {code} is not one of this operation")
    status = status_of(approval, parsed.now)
    if status != "approved":
        raise _refused(parsed, f"The approval request has the status {status}", approval.code)
    approval.status = "completed"


def _justification(parsed: ParsedRequest) -> str:
    text = parsed.request.header(JUSTIFICATION)
    if not text:
        raise _refused(parsed, f"Header '{JUSTIFICATION}' is required to request approval")
    try:
        decoded = base64.b64decode(text, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _refused(parsed, f"Header '{JUSTIFICATION}' is not base64 of UTF-8 text") from None
    if len(decoded) > LONGEST_JUSTIFICATION:
        raise _refused(parsed, f"Header '{JUSTIFICATION}' is too long")
    return decoded


def _action(parsed: ParsedRequest) -> tuple[str, str]:
    return parsed.target.operation, parsed.name.lower()


def _refused(parsed: ParsedRequest, message: str, code: str | None = None) -> Refusal:
    status = parsed.quirks.approval_status
    word = "Forbidden" if status == 403 else "BadRequest"
    return Refusal(status, word, message, headers=((CODE, code),) if code else ())


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


KEYS = "informationProtection/bitlocker/recoveryKeys"
CREDENTIALS = "directory/deviceLocalCredentials"
LARGEST_PAGE = 999
OWNERS = ("registeredOwners", "registeredUsers")
UPDATABLE = frozenset({"userPrincipalName", "addressableUserName", "groupTag", "displayName"})
ALTERNATE = "deviceid="
RESOURCE_UNIT = ("x-ms-resource-unit", "1")
KEY = "-".join(f"{block}" * 6 for block in range(1, 9))
"""The recovery key of every device: made up, it opens nothing."""
PASSWORD = "c2FuZGJveA=="  # noqa: S105 - "sandbox" in base64: it opens nothing
WRITABLE = frozenset(
    {
        "accountEnabled",
        "displayName",
        "extensionAttributes",
        "isCompliant",
        "isManaged",
        "operatingSystem",
        "operatingSystemVersion",
    }
)


def list_entra_devices(parsed: ParsedRequest) -> Response:
    """A page of devices. `@odata.count` needs the advanced query capabilities."""
    if parsed.option("skip") is not None:
        raise Refusal(400, "Request_BadRequest", "'$skip' is not supported by the service.")
    if parsed.option("search") is not None:
        text = "The sandbox does not search; use $filter."
        raise Refusal(400, "Request_UnsupportedQuery", text)
    rows = directory_devices(parsed, parsed.estate.devices)
    count = parsed.eventual and (parsed.option("count") or "").lower() == "true"
    size, table = _page_size(parsed), parsed.estate.devices
    show = partial(_with_owners, parsed, expansion(parsed, DEVICE, *OWNERS))
    response = in_order(parsed, table, DEVICE, "devices", rows, size, total=count, added=show)
    return response.with_headers(RESOURCE_UNIT)


def count_devices(parsed: ParsedRequest) -> Response:
    if not parsed.eventual:
        text = "$count is not currently supported."
        raise Refusal(400, "Request_BadRequest", text)
    found = list(directory_devices(parsed, parsed.estate.devices))
    return text_response(200, str(len(found)), "text/plain").with_headers(RESOURCE_UNIT)


def get_entra_device(parsed: ParsedRequest) -> Response:
    show = partial(_with_owners, parsed, expansion(parsed, DEVICE, *OWNERS))
    return one(parsed, DEVICE, "devices", _device(parsed), show).with_headers(RESOURCE_UNIT)


def _with_owners(parsed: ParsedRequest, names: Iterable[str], row: Row) -> Row:
    """What `$expand` adds to a device: registered users are its owners (assumed)."""
    return dict.fromkeys(names, _owners(parsed, row))


def update_device(parsed: ParsedRequest) -> Response:
    row = _device(parsed)
    body = {name: value for name, value in parsed.body().items() if not name.startswith("@")}
    refused = sorted(set(body) - WRITABLE)
    if refused:
        text = f"Property '{refused[0]}' is read-only and cannot be set."
        raise Refusal(400, "Request_BadRequest", text)
    parsed.estate.devices.change(row["id"], **body)
    return Response(status=204)


def remove_device(parsed: ParsedRequest) -> Response:
    row = _device(parsed)
    if parsed.quirks.refuse_registered and parsed.estate.registered(row["deviceId"]):
        text = "Insufficient privileges to complete the operation."
        raise Refusal(403, "Authorization_RequestDenied", text)
    delete_device(parsed.estate, row, parsed.now)
    return Response(status=204)


def list_owners(parsed: ParsedRequest) -> Response:
    value = _owners(parsed, _device(parsed))
    return answer({"@odata.context": context(parsed, "directoryObjects"), "value": value})


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


def list_deleted(parsed: ParsedRequest) -> Response:
    table = parsed.estate.deleted
    return in_order(parsed, table, DEVICE, "devices", table.rows(parsed.since), _page_size(parsed))


def get_deleted(parsed: ParsedRequest) -> Response:
    row = parsed.estate.deleted.get(parsed.name)
    if row is None:
        raise _missing(parsed.name)
    return one(parsed, DEVICE, "directoryObjects", row)


def restore_deleted(parsed: ParsedRequest) -> Response:
    row = restore(parsed.estate, parsed.name, parsed.now)
    if row is None:
        raise _missing(parsed.name)
    return one(parsed, DEVICE, "directoryObjects", row)


def purge_deleted(parsed: ParsedRequest) -> Response:
    if parsed.estate.deleted.get(parsed.name) is None:
        raise _missing(parsed.name)
    purge(parsed.estate, parsed.name, parsed.now)
    return Response(status=204)


def list_recovery_keys(parsed: ParsedRequest) -> Response:
    """List the recovery keys without the keys; those of a deleted device are not shown."""
    _refuse_key(parsed)
    table, estate = parsed.estate.recovery_keys, parsed.estate
    rows = [row for row in of_one_device(parsed, table) if estate.device_of(row["deviceId"])]
    return in_order(parsed, table, RECOVERY_KEY, KEYS, rows, _page_size(parsed))


def get_recovery_key(parsed: ParsedRequest) -> Response:
    """Return one recovery key's data; the made-up key itself only if permitted and selected."""
    selected = "key" in (parsed.option("select") or "").lower().split(",")
    if "BitlockerKey.Read.All" not in parsed.permissions:
        _refuse_key(parsed)
    row = parsed.estate.recovery_keys.get(parsed.name)
    if row is None:
        raise Refusal(404, "notFound", "The recovery key was not found.")
    if selected:
        return answer({"id": row["id"], "key": KEY})
    return one(parsed, RECOVERY_KEY, KEYS, row)


def list_local_credentials(parsed: ParsedRequest) -> Response:
    table = parsed.estate.local_credentials
    rows = [row for row in table.rows(parsed.since) if parsed.estate.device_of(row["id"])]
    return in_order(parsed, table, LOCAL_CREDENTIAL, CREDENTIALS, rows, _page_size(parsed))


def get_local_credential(parsed: ParsedRequest) -> Response:
    """When a password was saved; the password, a made-up one, for who may read it."""
    row = parsed.estate.local_credentials.get(parsed.name)
    if row is None or parsed.estate.device_of(row["id"]) is None:
        raise _missing(parsed.name)
    if "credentials" not in (parsed.option("select") or ""):
        return one(parsed, LOCAL_CREDENTIAL, CREDENTIALS, row)
    if "DeviceLocalCredential.Read.All" not in parsed.permissions:
        text = "Insufficient privileges to complete the operation."
        raise Refusal(403, "Authorization_RequestDenied", text)
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
    return answer({"@odata.context": context(parsed, "organization"), "value": [organization]})


def get_me(parsed: ParsedRequest) -> Response:
    name = parsed.claims.get("upn")
    if name is None:
        text = "/me request is only valid with delegated authentication flow."
        raise Refusal(400, "BadRequest", text)
    me = {"id": parsed.claims["oid"], "userPrincipalName": name, "displayName": name}
    return answer({"@odata.context": context(parsed, "users/$entity"), **me})


def _page_size(parsed: ParsedRequest) -> int:
    size = top(parsed, parsed.quirks.directory_page_size)
    if size is None or size > LARGEST_PAGE:
        text = (
            f"Invalid page size specified: '{parsed.option('top')}'. Must be between 1 and "
            f"{LARGEST_PAGE} inclusive."
        )
        raise Refusal(400, "Request_UnsupportedQuery", text)
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
        text = f"Invalid object identifier '{name}'."
        raise Refusal(400, "Request_BadRequest", text)
    if row is None:
        raise _missing(name)
    return row


def _missing(name: str) -> Refusal:
    text = (
        f"Resource '{name}' does not exist or one of its queried reference-property objects are "
        "not present."
    )
    return Refusal(404, "Request_ResourceNotFound", text)


def _refuse_key(parsed: ParsedRequest) -> None:
    if "key" in (parsed.option("select") or "").lower().split(","):
        text = "Failed to authorize, token doesn't have the required permissions."
        raise Refusal(403, "authorization_error", text)


HANDLERS: Mapping[str, Callable[[ParsedRequest], Response]] = {
    "list-autopilot-identities": list_identities,
    "get-autopilot-identity": get_identity,
    "delete-autopilot-identity": delete_identity,
    "unassign-user": unassign_user,
    "allow-next-enrollment": allow_next_enrollment,
    "update-autopilot-identity": update_properties,
    "delete-by-serial": delete_by_serial,
    "get-autopilot-settings": get_settings,
    "sync-autopilot": start_sync,
    "import-autopilot": import_identity,
    "import-autopilot-list": import_identities,
    "list-imported-autopilot": list_imported,
    "get-imported-autopilot": partial(
        _get, table=_IMPORTS, shape=IMPORTED_AUTOPILOT, context=IMPORTED
    ),
    "delete-imported-autopilot": partial(_delete, table=_IMPORTS),
    "list-imported-identities": list_corporate,
    "get-imported-identity": partial(
        _get, table=_CORPORATE, shape=IMPORTED_IDENTITY, context=CORPORATE
    ),
    "delete-imported-identity": partial(_delete, table=_CORPORATE),
    "list-associations": list_associations,
    "get-association": partial(_get, table=_ASSOCIATED, shape=ASSOCIATION, context=ASSOCIATED),
    "delete-association": delete_one_association,
    "list-managed-devices": list_managed_devices,
    "get-managed-device": get_managed_device,
    "delete-managed-device": remove_managed_device,
    "sync-managed-device": sync_device,
    "retire-managed-device": partial(send_away, action="retire"),
    "wipe-managed-device": partial(send_away, action="wipe"),
    "list-approval-requests": list_approvals,
    "get-approval-request": get_approval,
    "list-entra-devices": list_entra_devices,
    "count-entra-devices": count_devices,
    "get-entra-device": get_entra_device,
    "update-entra-device": update_device,
    "delete-entra-device": remove_device,
    "list-owners": list_owners,
    "list-deleted-devices": list_deleted,
    "get-deleted-device": get_deleted,
    "restore-deleted-device": restore_deleted,
    "purge-deleted-device": purge_deleted,
    "list-recovery-keys": list_recovery_keys,
    "get-recovery-key": get_recovery_key,
    "list-local-credentials": list_local_credentials,
    "get-local-credential": get_local_credential,
    "get-organization": get_organization,
    "get-me": get_me,
}
"""The handler of each operation."""
