"""Examines access step by step, and says what to fix next: what `doctor` shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from partner_tools.cancellation import CancellationToken
from partner_tools.clients.graph import READ_PERMISSIONS
from partner_tools.errors import InputError, PartnerToolsError
from partner_tools.model import ChannelName, Customer
from partner_tools.strict_json import read_toml
from partner_tools.workspace.environment import ledger_url, load_config, open_ledger
from partner_tools.workspace.wiring import Wiring

if TYPE_CHECKING:
    from partner_tools.clients.oauth import TokenFacts
    from partner_tools.clients.oem.profile import Auth
    from partner_tools.config import Config
    from partner_tools.ledger import Ledger

PARTNER_CENTER: Final = frozenset({"user_impersonation"})
"""Delegated access; an app alone needs none: App management of Partner Center lets it in
(https://learn.microsoft.com/partner-center/developer/partner-center-authentication, read
2026-11)."""
GRAPH_READ: Final = frozenset(READ_PERMISSIONS.values())
"""For `verify --graph` and the look before a removal."""
_SERVICES: Final = {
    audience: service
    for service, audiences in read_toml(
        Path(__file__).with_name("audiences.toml").read_text(encoding="utf-8")
    ).items()
    for audience in audiences
}
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One step of the examination: what was checked, how it went, what to do where it failed."""

    name: str
    good: bool
    message: str
    remedy: str = ""
    exit_code: int = 0
    warning: bool = False
    channel: str | None = None
    """Of the configuration: the channel that is examined."""


def examine(
    *,
    config: Path | str | None = None,
    profile: str | None = None,
    ledger: str | None = None,
    environment: Mapping[str, str] | None = None,
    via: str | None = None,
    customer: str | None = None,
    token: CancellationToken | None = None,
) -> Iterator[Finding]:
    """Check configuration, ledger, sign-in and access in this order, up to the first that fails.

    Reads only. Arguments are as for `open_workspace`; `via` is the channel, else the profile's,
    else Partner Center; of a `customer` it is checked that this partner may act for it. Where
    nothing signs in to a channel, or `via` is `assessment`, only the sign-in to the customer's
    tenant is checked.
    """
    try:
        read = load_config(config, profile, environment)
        named = via or _channel_of(read, customer)
        told = f"profile {read.profile}, {read.file or 'no file'}"
        yield Finding(name="configuration", good=True, message=told, channel=named)
        with open_ledger(ledger, read) as opened:
            yield _ok("ledger", "has runs" if opened.runs(limit=1) else "is empty")
            yield from _examine_place(ledger_url(ledger, read))
            if named == ChannelName.ASSESSMENT:
                yield from _examine_assessment(read, customer or read.text("customer"))
            elif ChannelName(named) is ChannelName.PARTNER_CENTER:
                yield from _examine_partner_center(
                    read, opened, customer, token or CancellationToken()
                )
            else:
                yield from _examine_oem_direct(read)
    except PartnerToolsError as error:
        yield Finding(
            name=error.rule,
            good=False,
            message=str(error),
            remedy=error.remedy,
            exit_code=error.exit_code,
        )


def _channel_of(config: Config, customer: str | None) -> str:
    """The profile's channel, else Partner Center, unless only a customer's tenant can be meant."""
    from partner_tools.workspace.sign_in import GRAPH_HANDED_IN, HANDED_IN, is_own_app

    named = config.text("via")
    own = is_own_app(config, customer)
    graph_alone = GRAPH_HANDED_IN in config.secrets and config.text("auth", "client_id") is None
    if named is None and HANDED_IN not in config.secrets and (own or graph_alone):
        return ChannelName.ASSESSMENT.value
    return named or ChannelName.PARTNER_CENTER.value


def _examine_assessment(config: Config, customer: str | None) -> Iterator[Finding]:
    """The sign-in to a customer's tenant, which is all that `assess` and `cleanup` need."""
    from partner_tools.workspace.sign_in import customer_at

    if customer is None:
        raise InputError(
            "no customer is named, whose tenant could be looked into",
            rule="no-customer",
            remedy="name it: --customer with a tenant id or a domain",
        )
    found = customer_at(config, customer)
    yield _ok("customer", f"{found.domain or found.tenant_id}, tenant {found.tenant_id}")
    yield from _examine_tenant(config, found)


def _examine_place(url: str) -> Iterator[Finding]:
    """Warn where SQLite's file is not for several machines (https://sqlite.org/wal.html: the
    write-ahead log "does not work over a network filesystem", read 2026-11)."""
    kind, _, path = url.partition(":///")
    if kind.startswith("sqlite") and is_share(Path(path)):
        yield _warning(
            "ledger",
            f"{path} is on a network share, where SQLite can lose what it was told",
            "keep it on a disk of this computer, or share one on PostgreSQL",
        )


def is_share(path: PurePath) -> bool:
    """Whether it is a UNC path, as Windows writes shares; elsewhere no name tells."""
    drive = path.drive.upper()
    if drive.startswith(("\\\\?\\", "\\\\.\\")):
        return drive.startswith("\\\\?\\UNC\\")
    return drive.startswith("\\\\")


def _examine_partner_center(
    config: Config, ledger: Ledger, customer: str | None, token: CancellationToken
) -> Iterator[Finding]:
    from partner_tools.channels.partner_center import PartnerCenterChannel
    from partner_tools.clients.oauth import describe_token
    from partner_tools.workspace.environment import now
    from partner_tools.workspace.sign_in import GRAPH_HANDED_IN, channel_tokens

    facts = describe_token(channel_tokens(config).token())
    yield _signed_in(facts)
    yield from _too_much(facts, PARTNER_CENTER, "the token for Partner Center")
    if graph := config.secrets.get(GRAPH_HANDED_IN):
        yield from _too_much(describe_token(graph), GRAPH_READ, f"the token in {GRAPH_HANDED_IN}")
    wiring = Wiring(config=config, ledger=ledger, token=token)
    with wiring.open_partner_center(token) as (client, executor, _):
        page = executor.call_with_retry(client.customers)
        yield _ok("Partner Center", f"answers, and shows {len(page.items)} customers or more")
        named = customer or config.text("customer")
        if named is not None:
            channel = PartnerCenterChannel(client=client, executor=executor, now=now)
            found = channel.customer(named)
            batches = len(executor.call_with_retry(lambda: client.batches(found.tenant_id)).items)
            many = f"{batches} batch" if batches == 1 else f"{batches} batches"
            yield _ok("customer", f"{found.domain or found.tenant_id}, {many}")
            if config.text("graph", "access") is not None:
                yield from _examine_tenant(config, found)


def _examine_tenant(config: Config, customer: Customer) -> Iterator[Finding]:
    """The sign-in to the customer's tenant, and what it allows."""
    from partner_tools.clients.oauth import describe_token
    from partner_tools.workspace.sign_in import GRAPH_HANDED_IN, graph_tokens

    token = graph_tokens(config, customer.tenant_id).token()
    name = customer.domain or customer.tenant_id
    facts = describe_token(token)
    yield _ok("Microsoft Graph", f"a token for {_who(facts)} in the tenant of {name}")
    if token != config.secrets.get(GRAPH_HANDED_IN):
        yield from _too_much(facts, GRAPH_READ, f"the token for Microsoft Graph at {name}")


def _signed_in(facts: TokenFacts) -> Finding:
    return _ok("sign-in", f"a token for {_who(facts)}, tenant {facts.tenant or 'unknown'}")


def _who(facts: TokenFacts) -> str:
    return facts.who or ("the app itself" if facts.app_only else "a user")


def _too_much(facts: TokenFacts, needed: frozenset[str], what: str) -> Iterator[Finding]:
    """Warn of what a token allows and nothing here needs; it fails nothing."""
    if beyond := surplus(facts.permissions, needed):
        yield _warning(
            "least privilege",
            f"{what} allows more than is needed: {', '.join(beyond)}",
            "take these permissions from the app registration; `cleanup --apply` alone "
            "needs any that write, in the customer's tenant",
        )


def _examine_oem_direct(config: Config) -> Iterator[Finding]:
    """The wire profile, its certificate and token, and what is still assumed of the wire."""
    from partner_tools.channels.oem_direct import explain_assumptions
    from partner_tools.clients.oauth import describe_token
    from partner_tools.workspace.sign_in import (
        oem_tokens,
        open_oem,
        profile_path,
        read_wire_profile,
    )

    profile = read_wire_profile(config)
    yield _ok("wire profile", str(profile_path(config)))
    with open_oem(config, profile) as (_, transport):
        tokens = oem_tokens(config, profile.auth)
        yield _ok("OEM Direct", f"{transport.base_url}; nothing was sent")
    if tokens is not None:
        yield from _examine_oem_token(describe_token(tokens.token()), profile.auth)
    for assumption in explain_assumptions(profile):
        yield _ok("assumed", assumption)


def _examine_oem_token(facts: TokenFacts, auth: Auth) -> Iterator[Finding]:
    """Check the token's audience. The permissions that the OEM's API needs are not public, so they
    are shown and not judged; access to another service is too much in any case."""
    yield _signed_in(facts)
    if facts.permissions:
        yield _ok(
            "least privilege",
            f"the token allows {', '.join(facts.permissions)}; ask the OEM which of these are "
            "needed: that is not public",
        )
    if service := other_service(facts.audience, auth.entra_scope):
        yield _warning(
            "least privilege",
            f"the token is for {service}, which is not the OEM's API: whoever receives it "
            "can use it there",
            "mint a token for the audience that the OEM names (entra_scope of the profile)",
        )


def _ok(name: str, message: str) -> Finding:
    return Finding(name=name, good=True, message=message)


def _warning(name: str, message: str, remedy: str) -> Finding:
    return Finding(name=name, good=True, warning=True, message=message, remedy=remedy)
