"""Chooses where tokens come from, as profile and environment say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from partner_tools.clients.oauth import GLOBAL_LOGIN_URL as LOGIN_URL
from partner_tools.clients.oauth import PARTNER_CENTER_AUDIENCE as AUDIENCE
from partner_tools.clients.oauth import (
    App,
    Certificate,
    DeviceCode,
    MsalHttpClient,
    StaticToken,
    TokenFacts,
    TokenStore,
    app_only,
    check_app,
    describe_token,
    sign_in_by_device_code,
    user_by_refresh_token,
    user_signed_in,
)
from partner_tools.clients.transport import Secret, TokenSource, Transport
from partner_tools.config import Config
from partner_tools.errors import AuthError, InputError
from partner_tools.files import refuse_exposed, this_user
from partner_tools.workspace.environment import now, user_data_folder

HANDED_IN = "PARTNER_TOOLS_ACCESS_TOKEN"
GRAPH_HANDED_IN = "PARTNER_TOOLS_GRAPH_TOKEN"
REFRESH = "PARTNER_TOOLS_REFRESH_TOKEN"

GRAPH_URL = "https://graph.microsoft.com"
GRAPH_CLOUDS = frozenset(
    {
        GRAPH_URL,
        "https://graph.microsoft.us",
        "https://dod-graph.microsoft.us",
        "https://microsoftgraph.chinacloudapi.cn",
    }
)
"""https://learn.microsoft.com/graph/deployments, read 2026-11."""


def channel_tokens(config: Config) -> TokenSource:
    """The tokens for the channel. Raises AuthError that says what is missing.

    A token handed in by the environment comes first; then app+user where the profile says so or a
    refresh token is given; else the app by its certificate or secret.
    """
    if HANDED_IN in config.secrets:
        return StaticToken(Secret(config.secrets[HANDED_IN]), name=HANDED_IN)
    mode = config.text("auth", "mode") or ("app+user" if REFRESH in config.secrets else "app")
    if mode == "token":
        raise AuthError(
            f"the profile asks for a token of the environment and {HANDED_IN} is not set",
            rule="no-token",
            remedy=f"set {HANDED_IN}, or choose another auth.mode",
        )
    return _tokens_of(config, read_app(config, instead_of=HANDED_IN), mode)


def graph_tokens(config: Config, tenant: str) -> TokenSource:
    """The tokens for Microsoft Graph in a customer's tenant. Raises AuthError where none fit.

    A token handed in by the environment is for the tenant that it was issued for, and no other;
    else the app signs in to the customer's tenant as `graph.access` says: `app` with the
    customer's consent, `app+user` by a user whom the customer's GDAP relationship names.
    """
    handed_in = config.secrets.get(GRAPH_HANDED_IN)
    if handed_in is not None:
        issued_for = describe_token(handed_in.strip()).tenant
        if issued_for is not None and issued_for.casefold() == tenant.casefold():
            return StaticToken(Secret(handed_in), name=GRAPH_HANDED_IN)
        if config.text("graph", "access") is None:
            raise AuthError(
                f"the token in {GRAPH_HANDED_IN} is for "
                f"{issued_for or 'a tenant that it does not name'}, not for {tenant}",
                rule="other-tenant",
                remedy=f"mint a token in the tenant {tenant}, or set graph.access in the profile",
            )
    app = read_app(config, instead_of=GRAPH_HANDED_IN)
    audience = graph_audience(config.text("urls", "graph"))
    mode = config.text("graph", "access") or config.text("auth", "mode") or "app"
    return _tokens_of(config, replace(app, tenant=tenant, audience=audience), mode)


def graph_audience(url: str | None) -> str:
    """For whom Graph's tokens are: the cloud's own address, the global one for any other."""
    return url.rstrip("/") if url is not None and url.rstrip("/") in GRAPH_CLOUDS else GRAPH_URL


def _tokens_of(config: Config, app: App, mode: str) -> TokenSource:
    http = open_msal_http(config)
    if mode == "app":
        return app_only(app, read_credential(config), http=http)
    store = token_store(config)
    if REFRESH in config.secrets:
        refresh = Secret(config.secrets[REFRESH])
        return user_by_refresh_token(app, read_credential(config), refresh, http=http, store=store)
    return user_signed_in(app, http=http, store=store)


def read_app(config: Config, *, instead_of: str | None = None) -> App:
    """The app registration. Raises AuthError where the profile does not name it.

    `instead_of` is the variable whose token would do as well.
    """
    tenant, client_id = config.text("auth", "tenant"), config.text("auth", "client_id")
    if tenant is None or client_id is None:
        raise AuthError(
            f"there is no token: neither {instead_of} nor an app registration is set"
            if instead_of
            else "no app registration is set, and only by one can somebody sign in",
            rule="no-token",
            remedy="run `partner-tools config init`, or set PARTNER_TOOLS_TENANT, "
            "PARTNER_TOOLS_CLIENT_ID and PARTNER_TOOLS_CLIENT_SECRET",
        )
    return App(
        tenant=tenant,
        client_id=client_id,
        login_url=config.text("urls", "login") or LOGIN_URL,
        audience=config.text("auth", "audience") or AUDIENCE,
    )


def read_credential(config: Config) -> Secret | Certificate:
    """The app's certificate or secret. Raises AuthError where there is none."""
    certificate = config.path("auth", "certificate")
    if certificate is not None:
        refuse_exposed(certificate, "the certificate", this_user())
        password = config.secrets.get("PARTNER_TOOLS_CERTIFICATE_PASSWORD")
        return Certificate(path=certificate, password=Secret(password) if password else None)
    secret = config.secrets.get("PARTNER_TOOLS_CLIENT_SECRET")
    if secret is None:
        raise AuthError(
            "the app registration has neither a certificate nor a secret here",
            rule="no-credential",
            remedy="set PARTNER_TOOLS_CLIENT_SECRET, or auth.certificate in the profile",
        )
    return Secret(secret)


def open_msal_http(config: Config) -> MsalHttpClient:
    """The HTTP client that msal signs in with."""
    bundle = config.path("ca_bundle")
    return MsalHttpClient(
        config.text("urls", "login") or LOGIN_URL,
        connect=lambda url: Transport(url, ca_bundle=bundle, timeout=config.timeout),
        now=now,
    )


def token_store(config: Config) -> TokenStore:
    """Where users' refresh tokens rest."""
    return TokenStore(
        location=user_data_folder() / f"tokens-{config.profile}.bin",
        plain_file=bool(config.get("auth", "allow_plaintext_cache")),
    )


def token_facts(config: Config) -> TokenFacts:
    """Whose token would be used for the channel. Raises AuthError without one."""
    return describe_token(channel_tokens(config).token())


def sign_in(config: Config, prompt: Callable[[DeviceCode], None]) -> TokenFacts:
    """Sign a person in by a device code, which `prompt` shows; the token is stored."""
    return sign_in_by_device_code(
        read_app(config), http=open_msal_http(config), store=token_store(config), prompt=prompt
    )


def sign_out(config: Config) -> tuple[str, ...]:
    """Forget the tokens of every signed-in user of the profile; who they were."""
    return tuple(each.username for each in token_store(config).clear())


def find_tenant(config: Config, tenant: str) -> None:
    """Raise ServiceError or AuthError unless the login authority knows the tenant."""
    login = config.text("urls", "login") or LOGIN_URL
    known = f"{quote(tenant, safe='')}/v2.0/.well-known/openid-configuration"
    open_msal_http(config).get(f"{login.rstrip('/')}/{known}")


def find_app(config: Config, tenant: str, client_id: str) -> None:
    """Raise unless the tenant knows the app, as far as it says without a secret."""
    from partner_tools.channels.partner_center import is_guid

    if not is_guid(client_id):
        raise InputError("a client id looks like 9cb2a3f4-6f2a-4f5e-8f0b-2f4f7a0a7d10")
    named = {"auth": {"tenant": tenant, "client_id": client_id}}
    profile = replace(config, settings={**config.settings, **named})
    check_app(read_app(profile), http=open_msal_http(profile))
