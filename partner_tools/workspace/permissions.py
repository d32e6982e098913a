"""The least that a token needs, and what it has beyond that. Pure."""

from __future__ import annotations

from collections.abc import Iterable
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
_OF_EVERY_SIGN_IN: Final = frozenset(
    {"openid", "profile", "email", "offline_access", "User.Read", "Organization.Read.All"}
)


def surplus(permissions: Iterable[str], needed: frozenset[str]) -> tuple[str, ...]:
    """The permissions that nothing here needs, in their order of names."""
    known = {name.casefold() for name in needed | _OF_EVERY_SIGN_IN}
    return tuple(sorted({name for name in permissions if name.casefold() not in known}))
