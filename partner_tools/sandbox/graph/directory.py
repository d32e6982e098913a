"""Operations on the directory: devices, what was deleted, and what is kept for a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from partner_tools.sandbox.graph.asked import Asked, Refusal, is_guid
from partner_tools.sandbox.graph.leaving import delete_device, purge, restore
from partner_tools.sandbox.graph.pages import answer, context, in_order, one, top
from partner_tools.sandbox.graph.searching import directory_devices, of_one_device
from partner_tools.sandbox.graph.shapes import DEVICE, LOCAL_CREDENTIAL, RECOVERY_KEY
from partner_tools.sandbox.graph.table import Row
from partner_tools.sandbox.seed import derived_id
from partner_tools.sandbox.wire import Response, text_response

KEYS = "informationProtection/bitlocker/recoveryKeys"
CREDENTIALS = "directory/deviceLocalCredentials"
LARGEST_PAGE = 999
ALTERNATE = "deviceid="
RESOURCE_UNIT = ("x-ms-resource-unit", "1")
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


def list_devices(asked: Asked) -> Response:
    """A page of devices. `@odata.count` needs the advanced query capabilities."""
    if asked.option("skip") is not None:
        raise Refusal(400, "Request_BadRequest", "'$skip' is not supported by the service.")
    if asked.option("search") is not None:
        text = "The sandbox does not search; use $filter."
        raise Refusal(400, "Request_UnsupportedQuery", text)
    rows = directory_devices(asked, asked.estate.devices)
    count = asked.eventual and (asked.option("count") or "").lower() == "true"
    size = _page_size(asked)
    response = in_order(asked, asked.estate.devices, DEVICE, "devices", rows, size, count=count)
    return response.with_headers(RESOURCE_UNIT)


def count_devices(asked: Asked) -> Response:
    if not asked.eventual:
        text = "$count is not currently supported."
        raise Refusal(400, "Request_BadRequest", text)
    found = list(directory_devices(asked, asked.estate.devices))
    return text_response(200, str(len(found)), "text/plain").with_headers(RESOURCE_UNIT)


def get_device(asked: Asked) -> Response:
    return one(asked, DEVICE, "devices", _device(asked)).with_headers(RESOURCE_UNIT)


def update_device(asked: Asked) -> Response:
    row = _device(asked)
    body = {name: value for name, value in asked.body().items() if not name.startswith("@")}
    refused = sorted(set(body) - WRITABLE)
    if refused:
        text = f"Property '{refused[0]}' is read-only and cannot be set."
        raise Refusal(400, "Request_BadRequest", text)
    asked.estate.devices.change(row["id"], **body)
    return Response(status=204)


def remove_device(asked: Asked) -> Response:
    row = _device(asked)
    if asked.quirks.refuse_registered and asked.estate.registered(row["deviceId"]):
        text = "Insufficient privileges to complete the operation."
        raise Refusal(403, "Authorization_RequestDenied", text)
    delete_device(asked.estate, row, asked.now)
    return Response(status=204)


def list_owners(asked: Asked) -> Response:
    names = _device(asked).get("registeredOwners") or ()
    value = [
        {
            "@odata.type": "#microsoft.graph.user",
            "id": derived_id(asked.estate.tenant_id, name),
            "userPrincipalName": name,
            "displayName": name.partition("@")[0],
        }
        for name in names
    ]
    return answer({"@odata.context": context(asked, "directoryObjects"), "value": value})


def list_deleted(asked: Asked) -> Response:
    table = asked.estate.deleted
    return in_order(asked, table, DEVICE, "devices", table.rows(asked.since), _page_size(asked))


def get_deleted(asked: Asked) -> Response:
    row = asked.estate.deleted.get(asked.name)
    if row is None:
        raise _missing(asked.name)
    return one(asked, DEVICE, "directoryObjects", row)


def restore_deleted(asked: Asked) -> Response:
    row = restore(asked.estate, asked.name, asked.now)
    if row is None:
        raise _missing(asked.name)
    return one(asked, DEVICE, "directoryObjects", row)


def purge_deleted(asked: Asked) -> Response:
    if asked.estate.deleted.get(asked.name) is None:
        raise _missing(asked.name)
    purge(asked.estate, asked.name, asked.now)
    return Response(status=204)


def list_recovery_keys(asked: Asked) -> Response:
    """Which keys are kept, never the keys; those of a deleted device are not shown."""
    _refuse_key(asked)
    table, estate = asked.estate.recovery_keys, asked.estate
    rows = [row for row in of_one_device(asked, table) if estate.device_of(row["deviceId"])]
    return in_order(asked, table, RECOVERY_KEY, KEYS, rows, _page_size(asked))


def get_recovery_key(asked: Asked) -> Response:
    _refuse_key(asked)
    row = asked.estate.recovery_keys.get(asked.name)
    if row is None:
        raise Refusal(404, "notFound", "The recovery key was not found.")
    return one(asked, RECOVERY_KEY, KEYS, row)


def list_local_credentials(asked: Asked) -> Response:
    table = asked.estate.local_credentials
    rows = [row for row in table.rows(asked.since) if asked.estate.device_of(row["id"])]
    return in_order(asked, table, LOCAL_CREDENTIAL, CREDENTIALS, rows, _page_size(asked))


def get_local_credential(asked: Asked) -> Response:
    """When a password was saved; the password, a made-up one, for who may read it."""
    row = asked.estate.local_credentials.get(asked.name)
    if row is None or asked.estate.device_of(row["id"]) is None:
        raise _missing(asked.name)
    if "credentials" not in (asked.option("select") or ""):
        return one(asked, LOCAL_CREDENTIAL, CREDENTIALS, row)
    if "DeviceLocalCredential.Read.All" not in asked.permissions:
        text = "Insufficient privileges to complete the operation."
        raise Refusal(403, "Authorization_RequestDenied", text)
    credential = {
        "accountName": "Administrator",
        "accountSid": "S-1-5-21-1180699209-877415012-3182924384-500",
        "backupDateTime": row["lastBackupDateTime"],
        "passwordBase64": PASSWORD,
    }
    return answer({"id": row["id"], "credentials": [credential]})


def get_organization(asked: Asked) -> Response:
    estate = asked.estate
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
    return answer({"@odata.context": context(asked, "organization"), "value": [organization]})


def get_me(asked: Asked) -> Response:
    name = asked.claims.get("upn")
    if name is None:
        text = "/me request is only valid with delegated authentication flow."
        raise Refusal(400, "BadRequest", text)
    me = {"id": asked.claims["oid"], "userPrincipalName": name, "displayName": name}
    return answer({"@odata.context": context(asked, "users/$entity"), **me})


def _page_size(asked: Asked) -> int:
    size = top(asked, asked.quirks.directory_page_size)
    if size is None or size > LARGEST_PAGE:
        text = (
            f"Invalid page size specified: '{asked.option('top')}'. Must be between 1 and "
            f"{LARGEST_PAGE} inclusive."
        )
        raise Refusal(400, "Request_UnsupportedQuery", text)
    return size


def _device(asked: Asked) -> Row:
    """The device by its object id, or by `deviceId='…'`."""
    name, estate = asked.name, asked.estate
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


def _refuse_key(asked: Asked) -> None:
    if "key" in (asked.option("select") or "").lower().split(","):
        text = "Failed to authorize, token doesn't have the required permissions."
        raise Refusal(403, "authorization_error", text)


HANDLERS: Mapping[str, Callable[[Asked], Response]] = {
    "list-entra-devices": list_devices,
    "count-entra-devices": count_devices,
    "get-entra-device": get_device,
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
"""What each operation does."""
