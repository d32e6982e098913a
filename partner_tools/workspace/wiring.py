"""Puts the parts together: the only place where clients, ledger, channels and steps meet."""

from __future__ import annotations

import difflib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.config import Config, read_config
from partner_tools.engine.cancelling import Sign
from partner_tools.errors import InputError
from partner_tools.foreign import ForeignError
from partner_tools.guards import DEFAULT_MAX_DEVICES, Limits
from partner_tools.model import ChannelName
from partner_tools.workspace.onlooker import NOBODY, Onlooker
from partner_tools.workspace.paces import Governed, Shares, open_paces
from partner_tools.workspace.reading import HOLD_LIST_BYTES, read_bytes
from partner_tools.workspace.surroundings import new_id, now, user_config_folder, user_data_folder

if TYPE_CHECKING:
    from partner_tools.clients.partner_center import PartnerCenter
    from partner_tools.engine.line import Line
    from partner_tools.ledger import Ledger
    from partner_tools.procedure.workplace import Workplace

PARTNER_CENTER_URL = "https://api.partnercenter.microsoft.com"

OEM_CALLS_AT_A_TIME = 1
"""One after the other: what says that the request itself is wrong (801) has to stop the next."""


def load_config(
    named: Path | str | None = None,
    profile: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """The configuration that a named file and profile, environment and file amount to."""
    return read_config(
        named=None if named is None else Path(named),
        profile=profile,
        environment=os.environ if environment is None else environment,
        user_folder=user_config_folder(),
        validate=_config_faults,
    )


def ledger_url(given: str | None, config: Config) -> str:
    """The ledger's SQLAlchemy URL; a plain path means a SQLite file."""
    named = given or config.text("ledger")
    if named is None:
        return _sqlite_url(user_data_folder() / "ledger.db")
    return named if "://" in named else _sqlite_url(Path(named))


@contextmanager
def open_ledger(given: str | None, config: Config) -> Iterator[Ledger]:
    """The ledger at a path or URL, else the configuration's; closed at the end."""
    from partner_tools.ledger import Ledger

    with Ledger.open(ledger_url(given, config)) as ledger:
        yield ledger


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
    """The serials and product key ids of the hold list."""
    file = config.path("guards", "hold_list")
    if file is None:
        return frozenset()
    try:
        lines = read_bytes(file, HOLD_LIST_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError, ForeignError) as error:
        raise InputError(
            f"the hold list {str(file)!r} cannot be read: {error}",
            rule="hold-list-unreadable",
            remedy="correct guards.hold_list in the profile; nothing is removed without it",
        ) from error
    return frozenset(line.strip() for line in lines if line.strip())


@contextmanager
def partner_center(
    config: Config,
    ledger: Ledger,
    stop: Sign,
    *,
    max_rate: float | None = None,
    shares: Shares | None = None,
    onlooker: Onlooker = NOBODY,
) -> Iterator[tuple[PartnerCenter, Line, Governed]]:
    """Partner Center's client, the line to it and its pace; remembers the rate that was learned."""
    from partner_tools.clients.partner_center import PartnerCenter
    from partner_tools.clients.transport import Transport
    from partner_tools.workspace.sign_in import channel_tokens

    base_url = config.text("urls", "partner_center") or PARTNER_CENTER_URL
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


def _line(governor: Governed, stop: Sign, renew: Callable[[], None], onlooker: Onlooker) -> Line:
    from partner_tools.engine.line import Line
    from partner_tools.pacing import Policy

    return Line(
        pace=governor,
        policy=Policy(),
        stop=stop,
        clock=stop.clock,
        nap=stop.nap,
        jitter=random.random,
        renew=renew,
        waiting=onlooker.waiting,
    )


def _config_faults(profiles: Mapping[str, Any]) -> list[tuple[str, str]]:
    from partner_tools.intake.schema import checker, load_schema

    known = set(_property_names(load_schema("config")))
    return [
        (".".join(map(str, fault.path)), fault.message + _unknown(profiles, fault.path, known))
        for fault in checker("config").violations(dict(profiles))
    ]


def _unknown(profiles: Mapping[str, Any], path: Sequence[str | int], known: set[str]) -> str:
    """The keys of the table at this path that no table has, each with the name that is near."""
    table: Any = profiles
    for name in path:
        table = table[name]
    if not path or not isinstance(table, Mapping):
        return ""
    strangers = [name for name in table if name not in known]
    named = [f"{name}{_near(name, known)}" for name in strangers]
    return f" ({', '.join(named)})" if named else ""


def _near(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _property_names(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from _property_names(part)


def _sqlite_url(path: Path) -> str:
    return f"sqlite:///{path.expanduser().absolute().as_posix()}"


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
    from partner_tools.procedure.workplace import Workplace

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
    from partner_tools.procedure.workplace import Workplace
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
