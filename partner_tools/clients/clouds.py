"""The clouds in which Partner Center is served, and what is not known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Where a cloud's Partner Center and its sign-in are."""

    api: str
    login: str


CLOUDS: Mapping[str, Cloud] = {
    # https://learn.microsoft.com/partner-center/developer/partner-center-rest-urls, read 2026-11;
    # the US Government cloud uses the global API host.
    "global": Cloud(
        api="https://api.partnercenter.microsoft.com", login="https://login.microsoftonline.com"
    ),
    "us-government": Cloud(
        api="https://api.partnercenter.microsoft.com", login="https://login.microsoftonline.us"
    ),
    "china": Cloud(
        api="https://partner.partnercenterapi.microsoftonline.cn",
        login="https://login.partner.microsoftonline.cn",
    ),
}


def warn_of_cloud(base_url: str, login_url: str) -> str | None:
    """What to know before using another cloud than the global one; None for that and loopback."""
    hosts = {urlsplit(base_url).hostname, urlsplit(login_url).hostname}
    national = [
        name
        for name, cloud in CLOUDS.items()
        if name != "global" and hosts & ({_host(cloud.api), _host(cloud.login)} - _GLOBAL_HOSTS)
    ]
    if not national:
        return None
    return (
        f"Partner Center's device operations are documented for the global cloud only; whether "
        f"they work in {national[0]} is not known."
    )


def _host(url: str) -> str | None:
    return urlsplit(url).hostname


_GLOBAL_HOSTS = {_host(CLOUDS["global"].api), _host(CLOUDS["global"].login)}
