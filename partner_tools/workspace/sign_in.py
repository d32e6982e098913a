"""Chooses where tokens come from, as profile and environment say, and opens OEM Direct."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from partner_tools.clients.oauth import (
    GLOBAL_LOGIN_URL,
    PARTNER_CENTER_AUDIENCE,
    App,
    DeviceCode,
    MsalHttpClient,
    StaticToken,
    TokenFacts,
    TokenStore,
    app_only,
    check_app,
    describe_token,
    refuse_expired,
    sign_in_by_device_code,
    unpack_pfx,
    user_by_refresh_token,
    user_signed_in,
)
from partner_tools.clients.oem.client import OemDirect
from partner_tools.clients.oem.profile import Auth, Profile, read_profile
from partner_tools.clients.transport import Certificate, Secret, TokenSource, Transport
from partner_tools.config import Config
from partner_tools.errors import AuthError, InputError, ServiceError
from partner_tools.files import PROFILE_BYTES, read_document, refuse_exposed, this_user
from partner_tools.model import Customer, TenantId, is_guid
from partner_tools.strict_json import read_text
from partner_tools.workspace.environment import named_faults, now, user_data_folder

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
            f"the profile uses a token from the environment, but {HANDED_IN} is not set",
            rule="no-token",
            remedy=f"set {HANDED_IN}, or choose another auth.mode",
        )
    return _tokens_of(config, read_app(config, instead_of=HANDED_IN), mode)


def graph_tokens(config: Config, tenant: str) -> TokenSource:
    """The tokens for Microsoft Graph in a customer's tenant. Raises AuthError if none fit.

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
    """The app registration. Raises AuthError if the profile does not name it.

    `instead_of` is the variable whose token would do as well.
    """
    tenant, client_id = config.text("auth", "tenant"), config.text("auth", "client_id")
    if tenant is None or client_id is None:
        raise AuthError(
            f"there is no token: neither {instead_of} nor an app registration is set"
            if instead_of
            else "no app registration is set; signing in needs one",
            rule="no-token",
            remedy="run `partner-tools config init`, or set PARTNER_TOOLS_TENANT, "
            "PARTNER_TOOLS_CLIENT_ID and PARTNER_TOOLS_CLIENT_SECRET",
        )
    return App(
        tenant=tenant,
        client_id=client_id,
        login_url=config.text("urls", "login") or GLOBAL_LOGIN_URL,
        audience=config.text("auth", "audience") or PARTNER_CENTER_AUDIENCE,
    )


def read_credential(config: Config) -> Secret | Certificate:
    """The app's certificate or secret. Raises AuthError if there is none."""
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
        config.text("urls", "login") or GLOBAL_LOGIN_URL,
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
    return token_store(config).clear()


def find_tenant(config: Config, tenant: str) -> str | None:
    """The id of a tenant, by its id or a domain. Raises ServiceError or AuthError for none."""
    login = config.text("urls", "login") or GLOBAL_LOGIN_URL
    known = f"{quote(tenant, safe='')}/v2.0/.well-known/openid-configuration"
    answer = json.loads(open_msal_http(config).get(f"{login.rstrip('/')}/{known}").text)
    return next(filter(is_guid, str(answer.get("issuer")).casefold().split("/")), None)


def customer_at(config: Config, named: str) -> Customer:
    """A customer by its tenant id or a domain, whose tenant the login authority knows.

    Raises InputError if it is neither, ServiceError or AuthError for an unknown domain.
    """
    if is_guid(named):
        return Customer(tenant_id=TenantId(named.casefold()))
    if "." not in named:
        raise InputError(
            f"{named!r} is neither a tenant id nor a domain",
            rule="no-such-customer",
            remedy="name the customer by its tenant id or a domain, such as contoso.com",
        )
    tenant = find_tenant(config, named)
    if tenant is None:
        raise ServiceError(f"the sign-in authority names no tenant for {named}", rule="no-tenant")
    return Customer(tenant_id=TenantId(tenant), domain=named.casefold())


def is_own_app(config: Config, *names: str | None) -> bool:
    """Whether the profile's app registration is one of the tenant with one of these names."""
    tenant = (config.text("auth", "tenant") or "").casefold()
    return bool(tenant) and tenant in {(name or "").casefold() for name in names}


def find_app(config: Config, tenant: str, client_id: str) -> None:
    """Raise unless the tenant knows the app, as far as can be told without a secret."""
    if not is_guid(client_id):
        raise InputError("a client id looks like 9cb2a3f4-6f2a-4f5e-8f0b-2f4f7a0a7d10")
    named = {"auth": {"tenant": tenant, "client_id": client_id}}
    profile = replace(config, settings={**config.settings, **named})
    check_app(read_app(profile), http=open_msal_http(profile))


def read_wire_profile(config: Config) -> Profile:
    """The wire profile that configuration or environment names. Raises InputError without one."""
    path = profile_path(config)
    refuse_exposed(path, "the wire profile", this_user())
    text: str = read_document(
        path,
        PROFILE_BYTES,
        what="the wire profile",
        rule="profile-unreadable",
        remedy="correct PARTNER_TOOLS_OEM_PROFILE or oem.profile",
        read=read_text,
    )
    return read_profile(text, lambda document: named_faults("oem-profile", document))


def profile_path(config: Config) -> Path:
    """Return the path of the wire profile. Raises InputError if none is configured."""
    path = config.path("oem", "profile")
    if path is None:
        raise InputError(
            "OEM Direct needs a wire profile, but none is named",
            rule="profile-missing",
            remedy="set PARTNER_TOOLS_OEM_PROFILE, or oem.profile in the configuration; "
            "samples/ has three to start from",
        )
    return path


@contextmanager
def open_oem(config: Config, profile: Profile) -> Iterator[tuple[OemDirect, Transport]]:
    """The client of one OEM, over its own transport. Raises InputError without an address."""
    base_url = config.text("urls", "oem_direct") or profile.base_url
    if not base_url:
        raise InputError(
            "OEM Direct has no address: there is no default",
            rule="no-address",
            remedy="set base_url in the wire profile, or PARTNER_TOOLS_OEM_DIRECT_URL",
        )
    folder = profile_path(config).parent
    with (
        _client_certificate(profile.auth, folder) as certificate,
        Transport(
            base_url,
            tokens=oem_tokens(config, profile.auth),
            ca_bundle=_beside(profile.auth.ca_bundle, folder) or config.path("ca_bundle"),
            client_cert=certificate,
            pool_size=config.concurrency,
            timeout=(min(10.0, profile.timeout_s), profile.timeout_s),
        ) as transport,
    ):
        yield OemDirect(transport, profile, now=now), transport


MINTED = (
    f"set {HANDED_IN}, or say in the wire profile how to get one: oem.auth.entra_tenant, "
    "entra_client_id, entra_scope and entra_credential_env"
)


def oem_tokens(config: Config, auth: Auth) -> TokenSource | None:
    """The tokens that go with the calls; None if none does. Raises AuthError without any."""
    if not auth.needs_token:
        return None
    if HANDED_IN in config.secrets:
        return StaticToken(Secret(config.secrets[HANDED_IN]), name=HANDED_IN)
    named = auth.entra_credential_env or HANDED_IN
    secret = os.environ.get(named)
    if not secret:
        raise AuthError(
            f"the wire profile requires a token, but {named} is not set",
            rule="no-credential",
            remedy=f"set {named}" if auth.entra_credential_env else MINTED,
        )
    app = App(
        tenant=auth.entra_tenant,
        client_id=auth.entra_client_id,
        login_url=config.text("urls", "login") or GLOBAL_LOGIN_URL,
        audience=auth.entra_scope.removesuffix("/.default"),
    )
    return app_only(app, Secret(secret), http=open_msal_http(config))


@contextmanager
def _client_certificate(auth: Auth, folder: Path) -> Iterator[Certificate | None]:
    """The client certificate as PEM; a PFX file is unpacked privately while the block lasts."""
    certificate = _beside(auth.client_cert, folder)
    if not auth.needs_certificate or certificate is None:
        yield None
        return
    refuse_exposed(certificate, "the client certificate", this_user())
    text = os.environ.get(auth.key_password_env) if auth.key_password_env else None
    password = Secret(text) if text else None
    if certificate.suffix.lower() not in (".pfx", ".p12"):
        key = _beside(auth.client_key, folder)
        if key is not None:
            refuse_exposed(key, "the client's key", this_user())
        refuse_expired(certificate, certificate.read_bytes(), now())
        yield Certificate(path=certificate, key=key, password=password)
        return
    with tempfile.TemporaryDirectory(prefix="partner-tools-") as private:
        unpacked = Path(private) / "client.pem"
        unpacked.touch(mode=0o600)
        pem = unpack_pfx(Certificate(path=certificate, password=password))
        refuse_expired(certificate, pem, now())
        unpacked.write_bytes(pem)
        yield Certificate(path=unpacked)


def _beside(text: str, folder: Path) -> Path | None:
    """A path of the profile; a relative one is relative to the profile."""
    return folder / Path(text).expanduser() if text else None
