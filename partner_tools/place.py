"""Where a plan or a run belongs: the service, the partner, and the guards in force. Pure.

A removal at one address says nothing about the same devices at another, so every command that
sends or checks compares the place of the run with the place where it is about to act.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from partner_tools.errors import GuardError
from partner_tools.json_forms import digest, json_form, structure
from partner_tools.model import ChannelName

OTHER_PLACE = "other-place"
WEAKER_GUARDS = "weaker-guards"
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardTerms:
    """The guards that a profile sets. None and 0 mean that there is no such guard.

    The content of the hold list is no part of it: the list as it is now applies.
    """

    hold_list: bool = False
    max_devices: int | None = None
    max_devices_per_day: int | None = None
    max_estate_share: float | None = None
    approvals: int = 0
    """How many approvals a plan needs."""

    def document(self) -> dict[str, Any]:
        """The settings as JSON, with their digest."""
        terms = json_form(self, whole=True)
        return {**terms, "digest": digest(terms)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run acts.

    `address` and `login` are the base addresses of the channel and of the sign-in authority.
    `tenant` is the partner's tenant id as the token states it, None for a token without one.
    `wire_profile` is the digest of the OEM Direct wire profile.
    """

    channel: ChannelName
    address: str
    login: str
    tenant: str | None = None
    wire_profile: str | None = None
    guards: GuardTerms = field(default_factory=GuardTerms)

    def document(self) -> dict[str, Any]:
        """The place as it is stored with the run and in the plan."""
        return {
            **json_form(self, whole=True),
            "address": normal_address(self.address),
            "login": normal_address(self.login),
            "tenant": self.tenant and self.tenant.casefold(),
            "guards": self.guards.document(),
        }


def read_place(document: Mapping[str, Any] | None) -> Place | None:
    """The place that `Place.document` wrote; None for runs and plans of version 0.1."""
    return structure(Place, document) if document else None


def normal_address(url: str) -> str:
    """An address without the differences that lead to the same service.

    >>> normal_address("HTTPS://Api.Example.com:443/v1/")
    'https://api.example.com/v1'
    """
    parts = urlsplit(url.strip())
    scheme, host = parts.scheme.casefold(), (parts.hostname or "").casefold()
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(scheme)) else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


def refuse_other_address(of: str, begun: Place, here: Place) -> None:
    """Raise GuardError where the service, the authority or the wire profile is another one.

    `of` names the run or plan.
    """
    _refuse(
        of,
        ("service", normal_address(begun.address), normal_address(here.address)),
        ("sign-in authority", normal_address(begun.login), normal_address(here.login)),
        ("wire profile", begun.wire_profile, here.wire_profile),
    )


def refuse_other_partner(of: str, begun: Place, tenant: str | None) -> None:
    """Raise GuardError where the token speaks for another partner than the run was begun for.

    A token that states no tenant is another partner than one that does.
    """
    here = tenant and tenant.casefold()
    _refuse(of, ("partner tenant", begun.tenant and begun.tenant.casefold(), here))


def refuse_weaker_guards(of: str, begun: GuardTerms, here: GuardTerms) -> None:
    """Raise GuardError where a guard is weaker than it was at the beginning of the run."""
    if weaker := list(_weaker(begun, here)):
        raise GuardError(
            f"{of} was begun under stronger guards: {'; '.join(weaker)}. Nothing was sent",
            rule=WEAKER_GUARDS,
            remedy="use the profile and the configuration that it was begun with",
        )


def _weaker(begun: GuardTerms, here: GuardTerms) -> Iterator[str]:
    if begun.hold_list and not here.hold_list:
        yield "there was a hold list, and there is none now"
    for name, then, now in (
        ("limits.max_devices", begun.max_devices, here.max_devices),
        ("limits.max_devices_per_day", begun.max_devices_per_day, here.max_devices_per_day),
        ("guards.max_estate_share", begun.max_estate_share, here.max_estate_share),
    ):
        if then is not None and (now is None or now > then):
            yield f"{name} was {then}, and is {'not set' if now is None else now} now"
    if here.approvals < begun.approvals:
        yield f"a plan needed {begun.approvals} approvals, and needs {here.approvals} now"


def _refuse(of: str, *compared: tuple[str, str | None, str | None]) -> None:
    other = [
        f"its {name} is {then or 'not stated'}, here it is {now or 'not stated'}"
        for name, then, now in compared
        if then != now
    ]
    if other:
        raise GuardError(
            f"{of} belongs to another place: {'; '.join(other)}. Nothing was sent",
            rule=OTHER_PLACE,
            remedy="use the profile, the configuration and the sign-in that it was begun with",
        )
