"""Puts the parts together: the only place where clients, ledger, channels and steps meet."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from partner_tools.config import Config
from partner_tools.engine.cancelling import Sign
from partner_tools.guards import DEFAULT_MAX_DEVICES, Limits, read_hold_list
from partner_tools.model import ChannelName
from partner_tools.strict_json import read_text
from partner_tools.workspace.environment import new_id, now, user_data_folder
from partner_tools.workspace.onlooker import NOBODY, Onlooker
from partner_tools.workspace.rate_limiters import Governed, Shares, open_paces
from partner_tools.workspace.user_files import HOLD_LIST_BYTES, read_document

if TYPE_CHECKING:
    from partner_tools.clients.partner_center import PartnerCenter
    from partner_tools.engine.request_executor import RequestExecutor
    from partner_tools.ledger import Ledger
    from partner_tools.runs.context import Workplace

PARTNER_CENTER_URL = "https://api.partnercenter.microsoft.com"

OEM_CALLS_AT_A_TIME = 1
"""One after the other: what says that the request itself is wrong (801) has to stop the next."""


def limits(config: Config, max_devices: int | None) -> Limits:
    """What may be removed: a flag before the profile before the default."""
    configured = config.get("limits", "max_devices")
    return Limits(
        max_devices=next(
            value for value in (max_devices, configured, DEFAULT_MAX_DEVICES) if value is not None
        ),
        max_devices_per_day=config.get("limits", "max_devices_per_day"),
        max_estate_share=config.get("guards", "max_estate_share"),
    )


def held(config: Config) -> frozenset[str]:
    """The lines of the hold list. Raises InputError where one is not a single identifier."""
    file = config.path("guards", "hold_list")
    if file is None:
        return frozenset()
    text: str = read_document(
        file,
        HOLD_LIST_BYTES,
        what="the hold list",
        rule="hold-list-unreadable",
        remedy="correct guards.hold_list in the profile; nothing is removed without it",
        read=read_text,
    )
    return read_hold_list(text, str(file))


@contextmanager
def partner_center(
    config: Config,
    ledger: Ledger,
    stop: Sign,
    *,
    max_rate: float | None = None,
    shares: Shares | None = None,
    onlooker: Onlooker = NOBODY,
) -> Iterator[tuple[PartnerCenter, RequestExecutor, Governed]]:
    """Partner Center's client, the line to it and its pace; remembers the rate that was learned."""
    from partner_tools.clients.partner_center import PartnerCenter, warn_of_cloud
    from partner_tools.clients.transport import Transport
    from partner_tools.workspace.sign_in import channel_tokens

    base_url = config.text("urls", "partner_center") or PARTNER_CENTER_URL
    if warning := warn_of_cloud(base_url, config.text("urls", "login") or ""):
        onlooker.told(warning)
    with Transport(
        base_url,
        tokens=channel_tokens(config) if shares is None else shares.tokens(),
        ca_bundle=config.path("ca_bundle"),
        timeout=config.timeout,
        pool_size=config.concurrency,
    ) as transport:
        scope = f"{transport.host}|{config.text('auth', 'tenant') or ''}"
        limit = max_rate or config.get("limits", "max_rate")
        with _paced(ledger, stop, ChannelName.PARTNER_CENTER, scope, limit, shares) as governor:
            client = PartnerCenter(transport, ids=new_id, correlation_id=new_id(), now=now)
            yield client, _line(governor, stop, client.renew_token, onlooker), governor


@contextmanager
def _paced(
    ledger: Ledger,
    stop: Sign,
    service: ChannelName,
    scope: str,
    max_rate: float | None,
    shares: Shares | None = None,
) -> Iterator[Governed]:
    """The pace of one limit scope: the one that is shared already, or one for this command."""
    if shares is not None:
        yield shares.paces.of(service.value, scope, max_rate, shares.party)
        return
    with open_paces(ledger, stop.clock) as paces:
        yield paces.of(service.value, scope, max_rate)


def _throttle(governor: Governed) -> str:
    """What holds the requests back, in words."""
    now_ = governor.snapshot()
    if now_.paused > 0:
        return f"paused for {now_.paused:.0f} s, as the service asked"
    return f"at most {now_.rate:.1f} requests/s" if now_.throttled else ""


def _line(
    governor: Governed, stop: Sign, renew: Callable[[], None], onlooker: Onlooker
) -> RequestExecutor:
    from partner_tools.engine.request_executor import RequestExecutor
    from partner_tools.pacing import Policy

    return RequestExecutor(
        pace=governor,
        policy=Policy(),
        stop=stop,
        clock=stop.clock,
        nap=stop.nap,
        jitter=random.random,
        renew=renew,
        waiting=onlooker.waiting,
    )


@contextmanager
def workplace(
    channel: ChannelName,
    config: Config,
    ledger: Ledger,
    stop: Sign,
    *,
    onlooker: Onlooker,
    max_rate: float | None = None,
    shares: Shares | None = None,
) -> Iterator[Workplace]:
    """Everything a step needs to work through one channel; remembers the learned rate."""
    if channel is ChannelName.OEM_DIRECT:
        opened = _oem_direct(config, ledger, stop, onlooker, max_rate, shares)
    else:
        opened = _by_partner_center(config, ledger, stop, onlooker, max_rate, shares)
    with opened as place:
        yield place


@contextmanager
def _by_partner_center(
    config: Config,
    ledger: Ledger,
    stop: Sign,
    onlooker: Onlooker,
    max_rate: float | None,
    shares: Shares | None,
) -> Iterator[Workplace]:
    from partner_tools.channels.partner_center import PartnerCenterChannel
    from partner_tools.runs.context import Workplace

    with partner_center(
        config, ledger, stop, max_rate=max_rate, shares=shares, onlooker=onlooker
    ) as (client, line, governor):
        yield Workplace(
            ledger=ledger,
            channel=PartnerCenterChannel(client=client, line=line, now=now, listed=onlooker.listed),
            private_folder=private_folder(ledger),
            line=line,
            now=now,
            new_id=new_id,
            settled=onlooker.settled,
            concurrency=config.concurrency,
            throttle=lambda: _throttle(governor),
        )


def private_folder(ledger: Ledger) -> Path:
    """Where restore kits lie: beside a SQLite ledger, else with the user's data."""
    return ledger.folder or user_data_folder()


@contextmanager
def _oem_direct(
    config: Config,
    ledger: Ledger,
    stop: Sign,
    onlooker: Onlooker,
    max_rate: float | None,
    shares: Shares | None,
) -> Iterator[Workplace]:
    from partner_tools.channels.oem_direct import OemDirectChannel
    from partner_tools.runs.context import Workplace
    from partner_tools.workspace.oem import open_oem, read_wire_profile

    profile = read_wire_profile(config)
    limit = max_rate or config.get("limits", "max_rate")
    with (
        open_oem(config, profile) as (client, transport),
        _paced(ledger, stop, ChannelName.OEM_DIRECT, transport.host, limit, shares) as governor,
    ):
        yield Workplace(
            ledger=ledger,
            channel=OemDirectChannel(client, profile),
            private_folder=private_folder(ledger),
            line=_line(governor, stop, transport.renew_token, onlooker),
            now=now,
            new_id=new_id,
            settled=onlooker.settled,
            concurrency=OEM_CALLS_AT_A_TIME,
            throttle=lambda: _throttle(governor),
        )
