"""Where each collection is, and how each question about it is asked. Pure.

Only the beta forms of the Intune collections tell of managed firmware and of repairs that a
changed board needs; everything that version 1.0 has is read there. Paths and filters:
https://learn.microsoft.com/graph/api/overview, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from partner_tools.outstanding.search import CONTAINS, By, Collection, Question

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

PERMISSIONS: Mapping[Collection, str] = {
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
    # Never `key`, never `credentials`: that they exist is all that anybody here has to know.
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
