"""Sign-in to Microsoft Entra ID by msal: tokens, the app's certificate, the users' token store."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode, urlsplit

from partner_tools.clients.transport import (
    Certificate,
    Reply,
    Request,
    Secret,
    Transport,
    check_base_url,
    origin,
    parse_json,
)
from partner_tools.errors import (
    AuthError,
    InputError,
    PartnerToolsError,
    Throttled,
    Unavailable,
    Unreadable,
)
from partner_tools.files import make_private_folder
from partner_tools.homoglyphs import one_line
from partner_tools.pacing import parse_retry_after

if TYPE_CHECKING:
    import msal  # type: ignore[import-untyped]
    from cryptography import x509


def read_certificate(certificate: Certificate, now: datetime) -> dict[str, str]:
    """The credential as msal takes it, its key unlocked; the thumbprint is SHA-256.

    Raises InputError unless the file holds an RSA key, with the password given, and a certificate
    of that key which is valid now. Entra ID takes no other kind of key
    (https://learn.microsoft.com/entra/identity-platform/certificate-credentials, read 2026-11).
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key, public, _ = _read(certificate)
    if public is None or not isinstance(key, RSAPrivateKey):
        _refuse(certificate, "does not hold an RSA key and its certificate")
    if key.public_key() != public.public_key():
        _refuse(certificate, "holds a certificate of another key")
    if public.not_valid_after_utc <= now:
        _refuse(certificate, f"expired on {public.not_valid_after_utc:%Y-%m-%d}")
    if public.not_valid_before_utc > now:
        _refuse(certificate, f"is valid from {public.not_valid_before_utc:%Y-%m-%d} on only")
    return {
        "private_key": _unlocked(key).decode("ascii"),
        "public_certificate": public.public_bytes(serialization.Encoding.PEM).decode("ascii"),
    }


def unpack_pfx(certificate: Certificate) -> bytes:
    """The PFX file as unlocked PEM: private key, certificate and chain, for mutual TLS.

    Raises InputError unless it can be opened and holds a key with its certificate.
    """
    from cryptography.hazmat.primitives import serialization

    key, public, chain = _read(certificate)
    if key is None or public is None:
        _refuse(certificate, "does not hold a private key and its certificate")
    pem = (each.public_bytes(serialization.Encoding.PEM) for each in (public, *chain))
    return _unlocked(key) + b"".join(pem)


def refuse_expired(file: Path, pem: bytes, now: datetime) -> None:
    """Refuse a client certificate that has expired. Raises AuthError.

    With TLS 1.3 a server refuses it only after the request was sent
    (https://www.rfc-editor.org/rfc/rfc8446#section-2, read 2026-11): devices would be unknown.
    """
    from cryptography.x509 import load_pem_x509_certificate

    try:
        end = load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        return  # OpenSSL says what is wrong with it
    if end < now:
        raise AuthError(
            f"the client certificate {str(file)!r} expired at {end:%Y-%m-%d %H:%M:%S} UTC",
            rule="certificate-expired",
            remedy="Put the renewed certificate in its place; then run the same command again.",
        )


def _read(certificate: Certificate) -> tuple[Any, x509.Certificate | None, list[x509.Certificate]]:
    """The key, its certificate, and the chain of a PFX file."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

    password = certificate.password.reveal().encode("utf-8") if certificate.password else None
    try:
        content = certificate.path.read_bytes()
        if b"-----BEGIN" not in content:
            return load_key_and_certificates(content, password)
        # A password for a key that has none is no reason to refuse it.
        key = load_pem_private_key(content, password if b"ENCRYPTED" in content else None)
        return key, x509.load_pem_x509_certificate(content), []
    except OSError as error:
        _refuse(certificate, f"cannot be read: {error.strerror or type(error).__name__}")
    except (ValueError, TypeError, NotImplementedError):
        # Not chained, and without the library's words, which may quote the content.
        _refuse(certificate, "cannot be opened: the password or the form is wrong")


def _unlocked(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem


def _refuse(certificate: Certificate, reason: str) -> NoReturn:
    raise InputError(
        f"the certificate {str(certificate.path)!r} {reason}",
        rule="client-certificate",
        remedy="Give a PEM file with the certificate and its RSA private key, or a PFX file; set "
        "PARTNER_TOOLS_CERTIFICATE_PASSWORD where it has a password.",
    ) from None


GLOBAL_LOGIN_URL = "https://login.microsoftonline.com"
PARTNER_CENTER_AUDIENCE = "https://api.partnercenter.microsoft.com"
"""graph.windows.net, which older documents name, was retired on 2025-08-31
(https://learn.microsoft.com/partner-center/developer/partner-center-authentication, 2026-11)."""

MARGIN_SECONDS = 60.0
_SIGN_IN = "Run `partner-tools auth login`."
UNKNOWN_APP = "sign-in-700016"
_PENDING = frozenset({"authorization_pending", "slow_down"})


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """An app registration, the tenant to sign in to, and the service that the token is for."""

    tenant: str
    client_id: str
    login_url: str = GLOBAL_LOGIN_URL
    audience: str = PARTNER_CENTER_AUDIENCE

    def __post_init__(self) -> None:
        for name, text in (("tenant", self.tenant), ("client_id", self.client_id)):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", text):
                raise InputError(
                    f"the {name} {text!r} is neither a GUID nor a domain",
                    rule="sign-in-settings",
                    remedy="Copy it from the app registration's overview in the Entra portal.",
                )

    @property
    def authority(self) -> str:
        """The address that msal signs in to."""
        return f"{self.login_url.rstrip('/')}/{self.tenant}"

    @property
    def scope(self) -> str:
        """Everything that was consented to for the audience."""
        return f"{self.audience.rstrip('/')}/.default"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """A code that the user enters: `code` on the page `url`, within `expires_in` seconds."""

    url: str
    code: str
    expires_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFacts:
    """The claims of a token, none of them verified. None where the token doesn't say.

    `app_only` is None for an opaque token, which services may issue.
    """

    who: str | None = None
    tenant: str | None = None
    audience: str | None = None
    expires_at: datetime | None = None
    app_only: bool | None = None
    mfa: bool | None = None
    permissions: tuple[str, ...] = ()


class CachedTokens:
    """A TokenSource that mints when it must: at first, shortly before expiry, after `renew`.

    `mint(fresh)` gives a token with its life in seconds; `fresh` forbids every cache. Threads that
    need a token wait for the one that fetches it.
    """

    def __init__(
        self, mint: Callable[[bool], tuple[Secret, float]], *, clock: Callable[[], float]
    ) -> None:
        self._mint = mint
        self._clock = clock
        self._lock = threading.Lock()
        self._current: Secret | None = None
        self._expires = 0.0
        self._refused = False

    def token(self) -> str:
        """A token that is good for another minute. Raises AuthError, or ServiceError."""
        with self._lock:
            if self._current is None or self._clock() >= self._expires - MARGIN_SECONDS:
                minted, seconds = self._mint(self._refused)
                self._current, self._expires = minted, self._clock() + seconds
                self._refused = False
            return self._current.reveal()

    def renew(self, stale: str) -> None:
        """Never give out `stale` again; what replaced it in the meantime stays."""
        with self._lock:
            if self._current == Secret(stale):
                self._current, self._refused = None, True


class StaticToken:
    """A TokenSource for a token from outside, named as the user knows it."""

    def __init__(self, token: Secret, *, name: str, clock: Callable[[], float] = time.time) -> None:
        self._token = Secret(token.reveal().strip())
        self._name = name
        self._clock = clock

    def token(self) -> str:
        """The token as it was handed in. Raises AuthError once it has expired by its own word."""
        expires = describe_token(self._token.reveal()).expires_at
        if expires is not None and self._clock() >= expires.timestamp():
            raise self._spent(f"expired at {expires:%Y-%m-%d %H:%M:%S} UTC")
        return self._token.reveal()

    def renew(self, stale: str) -> None:
        """Raise AuthError: only who minted it can mint another."""
        raise self._spent("was refused and cannot be renewed here")

    def _spent(self, reason: str) -> AuthError:
        return AuthError(
            f"the token in {self._name} {reason}",
            rule="token-spent",
            remedy=f"Mint a new one, set {self._name} to it and resume; or unset it and sign in "
            "with `partner-tools auth login`.",
        )


class MsalHttpClient:
    """The HTTP client of msal: `connect` opens a transport to a sign-in host.

    A secret goes to the configured host alone; from one of Microsoft's hosts also to another of
    them, which national clouds do. Every request raises Unavailable, Throttled and what
    `Transport.send` does. Raises InputError unless the address is https, which msal demands.
    """

    def __init__(
        self,
        login_url: str,
        *,
        connect: Callable[[str], Transport] = Transport,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.login_url = check_base_url(login_url)
        if not self.login_url.startswith("https://"):
            raise InputError(
                f"the login URL {login_url!r} is plain http",
                rule="base-url",
                remedy="Give an https address, also for a sandbox on this machine: it serves TLS.",
            )
        self.skew_seconds = 0.0
        self._connect = connect
        self._now = now
        self._transports: dict[str, Transport] = {}

    def get(self, url: str, params: Any = None, headers: Any = None, **_: Any) -> SimpleNamespace:
        """msal's GET: discovery. An unknown tenant ends here, in words."""
        reply = self._send("GET", url, params, headers, None)
        if reply.status >= 400:
            raise sign_in_failure(_read_object(reply), skew_seconds=self.skew_seconds)
        found = _read_object(reply)
        for name in ("authorization_endpoint", "token_endpoint"):
            if not isinstance(found.get(name), str):
                raise Unreadable(
                    f"the sign-in service at {self.login_url} names no {name}",
                    remedy="Check the login URL: it should be the one of your cloud.",
                )
        return _answer(reply)

    def post(
        self, url: str, params: Any = None, data: Any = None, headers: Any = None, **_: Any
    ) -> SimpleNamespace:
        """msal's POST: tokens and device codes."""
        form = data if isinstance(data, str) else urlencode(_named(data), doseq=True)
        reply = self._send("POST", url, params, headers, form.encode("utf-8"))
        # msal would log a body that is no JSON, and it could hold a token.
        _read_object(reply)
        return _answer(reply)

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    def _send(self, method: str, url: str, params: Any, headers: Any, body: bytes | None) -> Reply:
        kind = {} if body is None else {"Content-Type": "application/x-www-form-urlencoded"}
        reply = self._transport_to(url).send(
            Request(
                method=method,
                url=url,
                headers={**kind, **{name: str(text) for name, text in (headers or {}).items()}},
                query=tuple((name, str(text)) for name, text in _named(params).items()),
                body=body,
            )
        )
        with suppress(ValueError):
            date = parsedate_to_datetime(reply.header("Date") or "")
            if date.tzinfo is not None:
                self.skew_seconds = (self._now() - date).total_seconds()
        if reply.status in {408, 429} or reply.status >= 500:
            failure = Throttled if reply.status == 429 else Unavailable
            raise failure(
                f"the sign-in service at {self.login_url} is not available ({reply.status})",
                remedy="Try again later.",
                status=reply.status,
                retry_after=parse_retry_after(reply.header("Retry-After"), self._now()),
            )
        return reply

    def _transport_to(self, url: str) -> Transport:
        from msal.authority import WELL_KNOWN_AUTHORITY_HOSTS  # type: ignore[import-untyped]  # no types

        host = origin(url)
        hosts = {urlsplit(self.login_url).hostname, urlsplit(url).hostname}
        is_microsofts = url.startswith("https://") and hosts <= WELL_KNOWN_AUTHORITY_HOSTS
        if host != origin(self.login_url) and not is_microsofts:
            raise AuthError(
                f"the sign-in service sends on to another host, {host or 'no address at all'}",
                rule="foreign-sign-in",
                remedy="Check the login URL and any proxy on the way: secrets go to it alone.",
            )
        if host not in self._transports:
            self._transports[host] = self._connect(host)
        return self._transports[host]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStore:
    """Where users' refresh tokens rest between commands, encrypted by the operating system.

    DPAPI on Windows, Keychain on macOS, libsecret on Linux; `location` is the file that holds, or
    represents, the tokens. `plain_file` allows a file that only its owner may read (0600) where
    the system has no such service: the user has to say so.
    """

    location: Path
    plain_file: bool = False

    def open_cache(self, owner: str = "") -> msal.SerializableTokenCache:
        """msal's token cache, saved whenever it changes. Raises AuthError where it cannot rest.

        `owner` keeps caches apart that must not be mixed.
        """
        import msal_extensions  # type: ignore[import-untyped]

        path = self.location.with_name(self.location.name + (f"-{owner}" if owner else ""))
        with _as_auth_error(f"the token cache {str(path)!r} cannot be used", _CACHE_REMEDY):
            make_private_folder(path.parent)
            persistence = self._open_persistence(path)
            _check_kept(persistence)
            return msal_extensions.PersistedTokenCache(persistence)

    def users(self) -> tuple[str, ...]:
        """The names of the users whose tokens rest here. No network."""
        cache = self.open_cache()
        found = cache.search(cache.CredentialType.ACCOUNT)
        return tuple(str(each.get("username")) for each in found)

    def clear(self) -> tuple[str, ...]:
        """Forget all tokens, and say whose they were.

        The service still accepts a copied refresh token: revoke sessions to stop that.
        """
        try:
            users = self.users()
        except AuthError:
            # An unreadable store is cleared all the same.
            users = ()
        beside = self.location.parent.glob(f"{self.location.name}-*")
        for path in (self.location, *sorted(beside)):
            with _as_auth_error(f"the token cache {str(path)!r} cannot be cleared", _CACHE_REMEDY):
                if path.exists():
                    with suppress(AuthError):
                        self._open_persistence(path).save("{}")
                    path.unlink()
        return users

    def _open_persistence(self, path: Path) -> Any:
        import msal_extensions

        try:
            return msal_extensions.build_encrypted_persistence(str(path))
        except (ImportError, OSError, RuntimeError, ValueError, AssertionError) as error:
            if not self.plain_file:
                raise AuthError(
                    "this system has no service that keeps tokens encrypted "
                    f"({type(error).__name__})",
                    rule="no-token-store",
                    remedy=_NO_STORE_REMEDY,
                ) from error
        path.touch(mode=0o600)
        path.chmod(0o600)
        return msal_extensions.FilePersistence(str(path))


def app_only(
    app: App,
    credential: Secret | Certificate,
    *,
    http: MsalHttpClient,
    clock: Callable[[], float] = time.time,
) -> CachedTokens:
    """Tokens of the app itself, by its secret or certificate: no user, no MFA, no 90 days.

    Raises InputError at once where the certificate cannot be used.
    """
    given = _client_credential(credential, clock())

    def ask(client: msal.ConfidentialClientApplication, fresh: bool) -> Any:
        if fresh:
            client.remove_tokens_for_client()
        return client.acquire_token_for_client([app.scope])

    return _tokens(http, lambda: _open_client(app, http, given), ask, clock)


def user_signed_in(
    app: App, *, http: MsalHttpClient, store: TokenStore, clock: Callable[[], float] = time.time
) -> CachedTokens:
    """Tokens of the user who signed in before (`sign_in_by_device_code`)."""

    def ask(client: msal.PublicClientApplication, fresh: bool) -> Any:
        accounts = client.get_accounts()
        if len(accounts) != 1:
            names = ", ".join(sorted(str(account.get("username")) for account in accounts))
            raise AuthError(
                f"several users are signed in: {names}" if names else "no user is signed in",
                rule="not-signed-in",
                remedy="Run `partner-tools auth logout`, then `partner-tools auth login`."
                if names
                else _SIGN_IN,
            )
        return client.acquire_token_silent_with_error(
            [app.scope], account=accounts[0], force_refresh=fresh
        ) or {"error": "interaction_required"}

    return _tokens(http, lambda: _open_client(app, http, cache=store.open_cache()), ask, clock)


def user_by_refresh_token(
    app: App,
    credential: Secret | Certificate,
    refresh_token: Secret,
    *,
    http: MsalHttpClient,
    store: TokenStore,
    clock: Callable[[], float] = time.time,
) -> CachedTokens:
    """Tokens of the user who consented once (secure application model).

    Each exchange brings a new refresh token, which goes to the store: the handed-in one dies after
    90 days, the stored one lives as long as it is used. The store keeps what came of one handed-in
    token apart from another's.
    """
    given = _client_credential(credential, clock())
    owner = sha256(refresh_token.reveal().encode("utf-8")).hexdigest()[:16]

    def ask(client: msal.ConfidentialClientApplication, fresh: bool) -> Any:
        if accounts := client.get_accounts():
            answer = client.acquire_token_silent_with_error(
                [app.scope], account=accounts[0], force_refresh=fresh
            )
            if answer and "access_token" in answer:
                return answer
        return client.acquire_token_by_refresh_token(refresh_token.reveal(), [app.scope])

    return _tokens(
        http, lambda: _open_client(app, http, given, store.open_cache(owner)), ask, clock
    )


def _tokens(
    http: MsalHttpClient,
    open_client: Callable[[], Any],
    ask: Callable[[Any, bool], Any],
    clock: Callable[[], float],
) -> CachedTokens:
    """Tokens that `ask` has msal's client mint; the client is opened when the first is needed."""
    client = cache(open_client)

    def mint(fresh: bool) -> tuple[Secret, float]:
        with _as_auth_error("no token could be had", _CACHE_REMEDY):
            return _minted(ask(client(), fresh), http)

    return CachedTokens(mint, clock=clock)


def sign_in_by_device_code(
    app: App,
    *,
    http: MsalHttpClient,
    store: TokenStore,
    prompt: Callable[[DeviceCode], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> TokenFacts:
    """Sign a user in: show a code, wait until it was typed in; the store keeps the refresh token.

    Raises AuthError when the user declines, or the code expires.
    """
    with _as_auth_error("no token could be had", _CACHE_REMEDY):
        client = _open_client(app, http, cache=store.open_cache())
        flow = client.initiate_device_flow(scopes=[app.scope])
        if "user_code" not in flow:
            raise sign_in_failure(flow, skew_seconds=http.skew_seconds)
        prompt(_read_device_code(flow))
        token, _ = _minted(_await_user(client, flow, sleep, clock), http)
        return describe_token(token.reveal())


def check_app(app: App, *, http: MsalHttpClient) -> None:
    """Raise AuthError where the tenant does not know the app (AADSTS700016); no secret is needed.

    Begins a sign-in by device code that is never completed and so has no effect. Any
    other refusal means that the app was found. Microsoft documents the number, but not which
    request gives it (https://learn.microsoft.com/entra/identity-platform/reference-error-codes,
    read 2026-11): that this one does is an assumption. Where it does not, every app passes.
    """
    remedy = "Check the tenant and the login URL."
    with _as_auth_error("it cannot be asked whether the tenant knows the app", remedy):
        client = _open_client(app, http)
        answer = client.initiate_device_flow(scopes=[app.scope])
    refusal = sign_in_failure(answer, skew_seconds=http.skew_seconds)
    if "user_code" not in answer and refusal.rule == UNKNOWN_APP:
        raise refusal


def describe_token(token: str) -> TokenFacts:
    """Read the token's own claims (of a JWT); empty facts for any other text."""
    claims = _read_claims(token)

    named = ("upn", "preferred_username", "unique_name", "appid", "azp")
    who = next((claims[name] for name in named if name in claims), None)
    tenant, audience = claims.get("tid"), claims.get("aud")
    scopes = str(claims.get("scp") or "").split()
    roles, methods = claims.get("roles"), claims.get("amr")
    expires, seconds = None, claims.get("exp")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        with suppress(ValueError, OverflowError, OSError):
            expires = datetime.fromtimestamp(seconds, UTC)
    return TokenFacts(
        who=None if who is None else str(who),
        tenant=tenant if isinstance(tenant, str) else None,
        audience=audience if isinstance(audience, str) else None,
        expires_at=expires,
        app_only=(claims.get("idtyp") == "app" or not scopes) if claims else None,
        mfa=("mfa" in methods) if isinstance(methods, list) else None,
        permissions=tuple(scopes or map(str, roles if isinstance(roles, list) else ())),
    )


def _read_claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _answer(reply: Reply) -> SimpleNamespace:
    """A reply in the form that msal reads."""
    return SimpleNamespace(
        status_code=reply.status,
        text=reply.body.decode("utf-8-sig", errors="replace"),
        headers=dict(reply.headers),
        raise_for_status=lambda: None,  # the client has raised for every status that is no answer
    )


@contextmanager
def _as_auth_error(problem: str, remedy: str) -> Iterator[None]:
    """Turn what the libraries below raise for files, keys and addresses into an AuthError."""
    import msal_extensions

    try:
        yield
    except PartnerToolsError:
        raise
    except (OSError, ValueError, TypeError, OverflowError, msal_extensions.LockError) as error:
        raise AuthError(f"{problem} ({type(error).__name__})", remedy=remedy) from error


_CACHE_REMEDY = (
    "Check that the file can be written and that you are its owner; to begin anew run "
    "`partner-tools auth logout` and `partner-tools auth login`."
)
_NO_STORE_REMEDY = (
    "On Linux install libsecret (Debian, Ubuntu: python3-gi and gir1.2-secret-1) and unlock a "
    "keyring; or use app-only access, which stores nothing; or set auth.allow_plaintext_cache = "
    "true in the profile, which keeps the tokens in a file that only you can read."
)


def _open_client(app: App, http: MsalHttpClient, credential: Any = None, cache: Any = None) -> Any:
    """msal's application: confidential with a credential, public without. Asks for discovery."""
    import msal

    # At DEBUG it writes down what was asked, with device codes and names of users.
    logging.getLogger("msal.token_cache").setLevel(logging.INFO)
    settings: dict[str, Any] = {
        "authority": app.authority,
        "http_client": http,
        "token_cache": cache,
        # Its question would go to the global cloud, for whatever cloud the authority is of; that
        # the host is right is MsalHttpClient's business.
        "instance_discovery": False,
    }
    if credential is None:
        return msal.PublicClientApplication(app.client_id, **settings)
    return msal.ConfidentialClientApplication(
        app.client_id, client_credential=credential, **settings
    )


def _client_credential(credential: Secret | Certificate, now: float) -> str | dict[str, str]:
    """The credential as msal takes it."""
    if isinstance(credential, Secret):
        return credential.reveal().strip()
    return read_certificate(credential, datetime.fromtimestamp(now, UTC))


def _minted(answer: Any, http: MsalHttpClient) -> tuple[Secret, float]:
    if not isinstance(answer, dict) or not isinstance(answer.get("access_token"), str):
        raise sign_in_failure(answer or {}, skew_seconds=http.skew_seconds)
    seconds = str(answer.get("expires_in") or "")
    return Secret(answer["access_token"]), float(seconds) if seconds.isdecimal() else 0.0


def _read_device_code(flow: Mapping[str, Any]) -> DeviceCode:
    url, code = str(flow.get("verification_uri")), str(flow.get("user_code"))
    if not re.fullmatch(r"https://[!-~]+", url) or not re.fullmatch(r"[!-~]{1,64}", code):
        raise AuthError(
            "the sign-in service's device code cannot be shown",
            rule="sign-in-failed",
            remedy="Check the login URL and any proxy on the way.",
        )
    return DeviceCode(url=url, code=code, expires_in=int(flow["expires_in"]))


def _await_user(
    client: Any, flow: dict[str, Any], sleep: Callable[[float], None], clock: Callable[[], float]
) -> dict[str, Any]:
    """The answer once the user has typed the code in, declined, or let it expire."""
    # msal never leaves its loop where the interval is 0.
    flow["interval"] = max(1, int(flow["interval"]))
    ends = clock() + int(flow["expires_in"])
    while True:
        sleep(flow["interval"])
        answer: dict[str, Any] = client.acquire_token_by_device_flow(
            flow, exit_condition=lambda _flow: True
        )
        if answer.get("error") not in _PENDING or clock() >= ends:
            return answer


def _read_object(reply: Reply) -> Mapping[str, Any]:
    found = parse_json(reply)
    if not isinstance(found, dict):
        raise Unreadable(
            f"the sign-in service's answer ({reply.status}) is not what it promises",
            remedy="Check the login URL and any proxy on the way.",
            status=reply.status,
        )
    return found


def _check_kept(persistence: Any) -> None:
    """Raise ValueError for a cache that msal could not read."""
    import msal_extensions

    try:
        kept = persistence.load()
    except msal_extensions.persistence.PersistenceNotFound:
        return
    found = json.loads(kept) if kept else {}
    if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
        raise ValueError("not a token cache")


def _named(fields: Any) -> dict[str, Any]:
    return {name: text for name, text in (fields or {}).items() if text is not None}


CLOCK_TOLERANCE_SECONDS = 300.0


@cache
def sign_in_failures() -> Mapping[str, tuple[str, str]]:
    """The meaning and remedy of each code and error of `sign_in_failures.toml`."""
    file = Path(__file__).with_name("sign_in_failures.toml")
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    remedies = tables["remedies"]
    return {
        name: (meaning, remedies.get(remedy, remedy))
        for name, (meaning, remedy) in (tables["codes"] | tables["errors"]).items()
    }


def sign_in_failure(answer: Mapping[str, Any], *, skew_seconds: float = 0.0) -> AuthError:
    """The error that a sign-in answer without a token amounts to. Takes any mapping.

    `skew_seconds` is how far this computer's clock is ahead of the service's.
    """
    error, described = (str(answer.get(name) or "") for name in ("error", "error_description"))
    codes, in_words = answer.get("error_codes"), re.search(r"AADSTS([0-9]{1,9})\b", described)
    if isinstance(codes, list) and codes and type(codes[0]) is int:
        code = str(codes[0])
    else:
        code = in_words[1] if in_words else ""
    known = sign_in_failures()
    if code in known or error in known:
        meaning, remedy = known.get(code) or known[error]
    else:
        # The service's own first line, for a code that the table does not know.
        first = re.sub(r"^AADSTS[0-9]+:?\s*", "", next(iter(described.strip().splitlines()), ""))
        meaning, remedy = one_line(first), _SIGN_IN
    name = f"AADSTS{code}" if code else one_line(error or "unknown error", 60)
    trace = one_line(str(answer.get("correlation_id") or ""), 60)
    if abs(skew_seconds) > CLOCK_TOLERANCE_SECONDS:
        minutes, direction = (
            round(abs(skew_seconds) / 60),
            "ahead of" if skew_seconds > 0 else "behind",
        )
        remedy = (
            f"This computer's clock is {minutes} minutes {direction} the service's: set it first. "
            f"{remedy}"
        )
    return AuthError(
        f"sign-in failed ({name}): {meaning or 'the service did not say why'}"
        + (f" (correlation {trace})" if trace else ""),
        rule=f"sign-in-{code}" if code else "sign-in-failed",
        remedy=remedy,
    )
