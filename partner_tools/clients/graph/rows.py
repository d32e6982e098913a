"""Rows of Microsoft Graph as evidence: the ids that link records, and what a report needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from partner_tools.clients.graph.addresses import SELECTED
from partner_tools.outstanding.nouns import Found
from partner_tools.outstanding.search import Collection, real_id

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

    With maker and model it stands last, behind commas: as the portal's upload wants it
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
    """Whether a value may stand in evidence: null is one, for it says "never"."""
    return value is None or (isinstance(value, str | bool | int | float) and len(str(value)) <= 512)
