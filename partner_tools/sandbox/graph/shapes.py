"""What rows look like on the wire: which properties each version has, and their empty values.

Properties: the metadata of 2026-08-20 (https://github.com/microsoftgraph/msgraph-metadata), v1.0
in full where a client may look at it, beta as far as it says more about leaving devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from partner_tools.sandbox.graph.estate import NEVER, NO_ID
from partner_tools.sandbox.graph.table import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of row: its type's name, and every property with its value where a row has none.

    `hidden` are empty in lists, and by id unless they are selected.
    """

    type: str
    v1: Mapping[str, Any]
    beta: Mapping[str, Any]
    hidden: frozenset[str] = frozenset()

    def properties(self, *, beta: bool) -> Mapping[str, Any]:
        return {**self.v1, **self.beta} if beta else self.v1

    def whole(self, row: Row, *, beta: bool) -> Row:
        """Every property of the version, the hidden ones too."""
        return {name: row.get(name, empty) for name, empty in self.properties(beta=beta).items()}

    def shown(self, row: Row, *, beta: bool) -> Row:
        """The row as a list shows it."""
        found = self.whole(row, beta=beta)
        return {**found, **{name: self.v1[name] for name in self.hidden}}


def _texts(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, "")


def _nulls(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names)


IDENTITY = Shape(
    type="windowsAutopilotDeviceIdentity",
    v1={
        "id": None,
        **_texts(
            "groupTag",
            "purchaseOrderIdentifier",
            "serialNumber",
            "productKey",
            "manufacturer",
            "model",
        ),
        "enrollmentState": "notContacted",
        "lastContactedDateTime": NEVER,
        **_texts(
            "addressableUserName",
            "userPrincipalName",
            "resourceName",
            "skuNumber",
            "systemFamily",
        ),
        "azureActiveDirectoryDeviceId": NO_ID,
        "managedDeviceId": NO_ID,
        "displayName": "",
    },
    beta={
        "azureAdDeviceId": NO_ID,
        "deploymentProfileAssignmentStatus": "notAssigned",
        "deploymentProfileAssignmentDetailedStatus": "none",
        "deploymentProfileAssignedDateTime": NEVER,
        "remediationState": "noRemediationRequired",
        "remediationStateLastModifiedDateTime": NEVER,
        "userlessEnrollmentStatus": "unknown",
        **_texts("deviceAccountUpn", "deviceAccountPassword", "deviceFriendlyName"),
    },
)

MANAGED = Shape(
    type="managedDevice",
    v1={
        "id": None,
        "userId": "",
        "deviceName": "",
        "managedDeviceOwnerType": "company",
        "enrolledDateTime": NEVER,
        "lastSyncDateTime": NEVER,
        "operatingSystem": "Windows",
        "complianceState": "compliant",
        "jailBroken": "Unknown",
        "managementAgent": "mdm",
        "osVersion": "10.0.22631.4317",
        "easActivated": True,
        "easDeviceId": "",
        "easActivationDateTime": NEVER,
        "azureADRegistered": True,
        "deviceEnrollmentType": "unknown",
        "activationLockBypassCode": None,
        "emailAddress": "",
        "azureADDeviceId": NO_ID,
        "deviceRegistrationState": "registered",
        "deviceCategoryDisplayName": "Unknown",
        "isSupervised": False,
        "exchangeLastSuccessfulSyncDateTime": NEVER,
        "exchangeAccessState": "none",
        "exchangeAccessStateReason": "none",
        **_texts("remoteAssistanceSessionUrl", "remoteAssistanceSessionErrorDetails"),
        "isEncrypted": False,
        "userPrincipalName": "",
        "model": "",
        "manufacturer": "",
        "imei": "",
        "complianceGracePeriodExpirationDateTime": "9999-12-31T23:59:59Z",
        "serialNumber": "",
        "phoneNumber": "",
        "androidSecurityPatchLevel": "",
        "userDisplayName": "",
        **_nulls("configurationManagerClientEnabledFeatures"),
        "wiFiMacAddress": "",
        **_nulls("deviceHealthAttestationState"),
        "subscriberCarrier": "",
        "meid": "",
        "totalStorageSpaceInBytes": 254_833_328_128,
        "freeStorageSpaceInBytes": 181_193_932_800,
        "managedDeviceName": "",
        "partnerReportedThreatState": "unknown",
        "requireUserEnrollmentApproval": None,
        "managementCertificateExpirationDate": NEVER,
        "iccid": None,
        "udid": None,
        "notes": None,
        "ethernetMacAddress": None,
        "physicalMemoryInBytes": 0,
        "enrollmentProfileName": "",
        "deviceActionResults": [],
        "managementState": "managed",
    },
    beta={
        "joinType": "unknown",
        "autopilotEnrolled": False,
        "deviceFirmwareConfigurationInterfaceManaged": False,
        "chassisType": "unknown",
        "ownerType": "company",
        "aadRegistered": True,
        "azureActiveDirectoryDeviceId": NO_ID,
        "retireAfterDateTime": NEVER,
        "skuFamily": "Pro",
        "skuNumber": 48,
        "processorArchitecture": "x64",
        "deviceType": "windowsRT",
        "lostModeState": "disabled",
    },
    hidden=frozenset(
        {
            "activationLockBypassCode",
            "ethernetMacAddress",
            "iccid",
            "notes",
            "physicalMemoryInBytes",
            "udid",
        }
    ),
)

DEVICE = Shape(
    type="device",
    v1={
        **_nulls("id", "deletedDateTime", "accountEnabled", "approximateLastSignInDateTime"),
        **_nulls("complianceExpirationDateTime", "createdDateTime", "deviceCategory", "deviceId"),
        **_nulls("deviceMetadata", "deviceOwnership"),
        "deviceVersion": 2,
        **_nulls("displayName", "domainName", "enrollmentProfileName", "enrollmentType"),
        **_nulls("externalSourceName", "isCompliant", "isManaged", "isManagementRestricted"),
        **_nulls("isRooted", "managementType", "manufacturer", "mdmAppId", "model"),
        **_nulls("onPremisesLastSyncDateTime", "onPremisesSecurityIdentifier"),
        **_nulls("onPremisesSyncEnabled", "operatingSystem", "operatingSystemVersion"),
        "physicalIds": [],
        **_nulls("profileType", "registrationDateTime", "sourceType"),
        "systemLabels": [],
        "trustType": None,
        "alternativeSecurityIds": [],
        "extensionAttributes": dict.fromkeys(
            f"extensionAttribute{number}" for number in range(1, 16)
        ),
    },
    beta=_nulls("deviceSystemMetadata", "hostnames", "kind", "name", "platform", "status"),
)

RECOVERY_KEY = Shape(
    type="bitlockerRecoveryKey",
    v1=_nulls("id", "createdDateTime", "volumeType", "deviceId"),
    beta={},
)

LOCAL_CREDENTIAL = Shape(
    type="deviceLocalCredentialInfo",
    v1=_nulls("id", "deviceName", "lastBackupDateTime", "refreshDateTime"),
    beta={},
)

IMPORTED_AUTOPILOT = Shape(
    type="importedWindowsAutopilotDeviceIdentity",
    v1={
        "id": None,
        **_texts("groupTag", "serialNumber", "productKey"),
        **_nulls("hardwareIdentifier"),
        **_texts("importId", "assignedUserPrincipalName"),
        "state": {
            "deviceImportStatus": "complete",
            "deviceRegistrationId": "",
            "deviceErrorCode": 0,
            "deviceErrorName": "",
        },
    },
    beta={},
)

ASSOCIATION = Shape(
    type="tenantAssociatedDevice",
    v1={},
    beta={
        "id": None,
        "serialNumber": "",
        "smbiosUuid": NO_ID,
        "associationState": "preassociated",
        "devicePreparationPolicyId": NO_ID,
        **_texts("preAssociatedByUserPrincipalName", "assignedToUserPrincipalName"),
        "preAssociationDateTime": NEVER,
        "associationDateTime": NEVER,
        "managedDeviceId": NO_ID,
    },
)
"""In no published metadata: as three public projects read it (2026-11)."""

IMPORTED_IDENTITY = Shape(
    type="importedDeviceIdentity",
    v1={},
    beta={
        "id": None,
        "importedDeviceIdentifier": "",
        "importedDeviceIdentityType": "serialNumber",
        "lastModifiedDateTime": NEVER,
        "createdDateTime": NEVER,
        "lastContactedDateTime": NEVER,
        "description": "",
        "enrollmentState": "notContacted",
        "platform": "unknown",
    },
)
