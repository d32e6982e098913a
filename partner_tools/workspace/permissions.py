"""The least that a token needs, and what it has beyond that. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

PARTNER_CENTER: Final = frozenset({"user_impersonation"})
"""Delegated access; an app alone needs none: App management of Partner Center lets it in
(https://learn.microsoft.com/partner-center/developer/partner-center-authentication, read
2026-11)."""
GRAPH_READ: Final = frozenset(
    {
        "DeviceManagementServiceConfig.Read.All",
        "DeviceManagementManagedDevices.Read.All",
        "Device.Read.All",
        "BitlockerKey.ReadBasic.All",
        "DeviceLocalCredential.ReadBasic.All",
    }
)
"""For `verify --graph` and the look before a removal; a test compares them with the client's."""
_SERVICES: Final[Mapping[str, str]] = {
    "graph.microsoft.com": "Microsoft Graph",
    "graph.microsoft.us": "Microsoft Graph",
    "dod-graph.microsoft.us": "Microsoft Graph",
    "microsoftgraph.chinacloudapi.cn": "Microsoft Graph",
    "00000003-0000-0000-c000-000000000000": "Microsoft Graph",
    "graph.windows.net": "Azure AD Graph",
    "00000002-0000-0000-c000-000000000000": "Azure AD Graph",
    "api.partnercenter.microsoft.com": "Partner Center",
    "fa3d9a0c-3fb0-42cc-9193-47c7ecd2edbd": "Partner Center",
    "management.azure.com": "Azure",
    "management.core.windows.net": "Azure",
    "797f4846-ba00-4fd7-ba43-dac1f8f63013": "Azure",
}
"""By the audience of a token, as host or as the id of the application
(https://docs.cloudblue.com/connect/connectors/Azure/4.4/Azure_Distributor_Portal/Granting%20Permissions.htm
names address and id of three of them, read 2026-11)."""
_OF_EVERY_SIGN_IN: Final = frozenset(
    {"openid", "profile", "email", "offline_access", "User.Read", "Organization.Read.All"}
)


def surplus(permissions: Iterable[str], needed: frozenset[str]) -> tuple[str, ...]:
    """The permissions that nothing here needs, in their order of names."""
    known = {name.casefold() for name in needed | _OF_EVERY_SIGN_IN}
    return tuple(sorted({name for name in permissions if name.casefold() not in known}))


def other_service(audience: str | None, own: str) -> str | None:
    """The name of the Microsoft service that a token is for, where that is not its `own`."""
    service = _SERVICES.get(_host(audience or ""))
    return None if service is None or service == _SERVICES.get(_host(own)) else service


def _host(address: str) -> str:
    return address.casefold().removeprefix("https://").split("/")[0]
