"""The token endpoint of Microsoft Entra ID, as far as msal and the older v1 form need it.

Flows: client credentials with a secret or a certificate, refresh token, device code. Error texts
begin with the AADSTS numbers of
https://learn.microsoft.com/entra/identity-platform/reference-error-codes (2025-11). Assumed here:
a device code is approved by the seed's first user after a set number of polls, and every customer
tenant gives tokens to the partner's applications.

Tokens decode like those of Microsoft Entra ID and are worth nothing outside: the signature is an
HMAC under a key of this sandbox alone. They are verified by that key; none is remembered.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Any
from urllib.parse import unquote_plus

import jwt

from partner_tools.sandbox.faults import Fault, Quirks
from partner_tools.sandbox.reading import read_data
from partner_tools.sandbox.seed import Application, Seed, User, derived_id
from partner_tools.sandbox.wire import Call, Headers, Problem, Request, Response, json_response

PARTNER_CENTER = "https://api.partnercenter.microsoft.com"
GRAPH = "https://graph.microsoft.com"
REFRESH_LIFETIME = 90 * 86_400

SIGNATURE_ALONE: Any = {
    f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}
"""Every service judges the claims for itself."""

Claims = Mapping[str, Any]


class Mint:
    """Makes and checks tokens. `clock` is in seconds since the epoch, lifetimes are in seconds."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock
        self._numbers = count(1)
        self._read = lru_cache(maxsize=1024)(self._decoded)

    def for_app(
        self,
        app_id: str,
        tenant: str,
        audience: str,
        *,
        lifetime: int,
        permissions: tuple[str, ...] = (),
    ) -> str:
        """An app-only access token; `permissions` become its `roles`."""
        claims = {
            **_issued(app_id, tenant, audience, subject=derived_id(tenant, app_id)),
            "idtyp": "app",
            **({"roles": list(permissions)} if permissions else {}),
        }
        return self._minted(claims, lifetime)

    def for_user(
        self,
        user: User,
        app_id: str,
        tenant: str,
        audience: str,
        *,
        lifetime: int,
        permissions: tuple[str, ...] = (),
    ) -> str:
        """An access token for an app and a user together; `amr` says how the user signed in.

        `permissions` become its scopes.
        """
        claims = {
            **_issued(app_id, tenant, audience, subject=derived_id(tenant, user.name)),
            "upn": user.name,
            "name": user.name,
            "amr": ["pwd", "mfa"] if user.mfa else ["pwd"],
            "scp": " ".join(permissions) or "user_impersonation",
            "idtyp": "user",
            "roles": list(user.roles),
        }
        return self._minted(claims, lifetime)

    def ticket(self, kind: str, app_id: str, tenant: str, lifetime: int, **more: str) -> str:
        """A refresh token or device code; no two are equal."""
        claims = {"typ": kind, "tid": tenant, "appid": app_id, "jti": next(self._numbers), **more}
        return self._minted(claims, lifetime)

    def to_refresh(
        self,
        user: User,
        app_id: str,
        tenant: str,
        resource: str = PARTNER_CENTER,
        *,
        lifetime: int = REFRESH_LIFETIME,
    ) -> str:
        """A refresh token, for this resource where the exchange names none."""
        return self.ticket("refresh", app_id, tenant, lifetime, resource=resource, upn=user.name)

    def to_identify(self, user: User, app_id: str, tenant: str, issuer: str) -> str:
        """An id token, which msal checks against the application that asked."""
        subject = derived_id(tenant, user.name)
        claims = {
            "iss": issuer,
            "aud": app_id,
            "tid": tenant,
            "oid": subject,
            "sub": subject,
            "preferred_username": user.name,
            "name": user.name,
            "ver": "2.0",
        }
        return self._minted(claims, 3_600)

    def read(self, token: str | None, kind: str | None = None) -> Claims | None:
        """The claims of a token of this mint and kind, expired or not; None for anything else.

        Access tokens have no kind.
        """
        claims = self._read(token) if token else None
        return claims if claims and kind in (None, claims.get("typ")) else None

    def expired(self, claims: Claims) -> bool:
        return self._clock() >= int(claims["exp"])

    def _minted(self, claims: Claims, lifetime: int) -> str:
        now = int(self._clock())
        body = {"iat": now, "nbf": now, "exp": now + lifetime, **claims}
        return jwt.encode(body, self._key, "HS256")

    def _decoded(self, token: str) -> Claims | None:
        try:
            return jwt.decode(token, self._key, ["HS256"], options=SIGNATURE_ALONE)
        except jwt.InvalidTokenError:
            return None


def _issued(app_id: str, tenant: str, audience: str, *, subject: str) -> dict[str, str]:
    """Claims of every access token for Microsoft's own services: they take version 1.0
    (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference, 2025).
    """
    return {
        "aud": audience,
        "iss": f"https://sts.windows.net/{tenant}/",
        "tid": tenant,
        "appid": app_id,
        "app_displayname": "Sandbox application",
        "oid": subject,
        "sub": subject,
        "ver": "1.0",
    }


_DATA = read_data(__package__, "login.json")
AUDIENCES = frozenset(_DATA["audiences"])
"""Resources that a token may be for; `api://` names are taken as they are."""

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
ANY_TENANT = frozenset({"common", "organizations"})
DEVICE_CODE_LIFETIME = 900
OPENID_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})


@dataclass(eq=False)
class LoginError(Exception):
    """An error of the token endpoint: the OAuth word, the AADSTS number, and a sentence."""

    error: str
    number: int
    text: str
    status: int = 400


def refusal(key: str, **names: object) -> LoginError:
    """An error of `login.json`."""
    row = _DATA["errors"][key]
    text = row["text"].format(**names)
    return LoginError(row["error"], row["number"], text, row.get("status", 400))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    tenant: str
    version: int
    form: Mapping[str, str]
    base_url: str
    token_url: str

    @property
    def root(self) -> str:
        return f"{self.base_url}/{self.tenant}"

    def needed(self, name: str) -> str:
        """A parameter of the body. Raises LoginError if it is missing."""
        value = self.form.get(name)
        if not value:
            raise refusal("missing parameter", name=name)
        return value

    @property
    def resource(self) -> str | None:
        """The requested resource, if any: v1 by name, v2 within its scopes."""
        if self.version == 1:
            return self.form.get("resource")
        scopes = [s for s in self.form.get("scope", "").split() if s not in OPENID_SCOPES]
        return scopes[0].rpartition("/")[0].rstrip("/") if scopes else None


Answer = dict[str, Any]


@dataclass(eq=False)
class Login:
    """Answers as `login.microsoftonline.com` does for the partner's tenant and its customers'."""

    name = "login"
    secure_only = True

    seed: Seed
    mint: Mint
    quirks: Callable[[], Quirks]
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        seed, partner = self.seed, self.seed.partner
        self._tenants = {
            partner.tenant_id.lower(): partner.tenant_id,
            partner.domain.lower(): partner.tenant_id,
        }
        for customer in seed.customers:
            for name in (customer.tenant_id, customer.domain, *customer.custom_domains):
                self._tenants[name.lower()] = customer.tenant_id
        self._unconsented = frozenset(
            customer.tenant_id for customer in seed.customers if not customer.tenant.consent
        )
        self._applications = {app.client_id.lower(): app for app in seed.applications}
        self._users = {user.name.lower(): user for user in seed.users}
        self._lock = threading.Lock()
        self._polls: Counter[int] = Counter()
        self._numbers = count(1)
        self._grants = {
            "client_credentials": self._for_app,
            "refresh_token": self._for_refresh,
            DEVICE_CODE: self._for_device_code,
        }

    def read(self, request: Request) -> Call:
        operation, handler = self._route(request)

        def act(_fault: Fault | None) -> Response:
            try:
                return json_response(200, handler(self._asked(request)))
            except LoginError as error:
                return self._refused(error, request)

        return Call(operation=operation, act=act)

    def problem(self, problem: Problem) -> Response:
        error = "temporarily_unavailable" if problem.status >= 429 else "invalid_request"
        number = problem.code if isinstance(problem.code, int) else 90033
        return self._refused(
            LoginError(error, number, problem.text, problem.status), problem.request
        )

    def expired(self) -> Response:
        return self._refused(refusal("expired refresh token"), None)

    def stamp(self, request: Request, response: Response) -> Response:
        carried = any(name == "x-ms-request-id" for name, _ in response.headers)
        ids = () if carried else self._ids(request)
        return response.with_headers(("Cache-Control", "no-store, no-cache"), *ids)

    def _ids(self, request: Request | None) -> Headers:
        """The ids of one answer: its own, and the client's, or one in its place."""
        sent = request.header("client-request-id") if request else None
        own = derived_id("request", str(next(self._numbers)))
        return (("x-ms-request-id", own), ("client-request-id", sent or derived_id(own)))

    def _refused(self, error: LoginError, request: Request | None) -> Response:
        """An error: its body names the same ids as its headers."""
        ids = self._ids(request)
        (_, trace), (_, correlation) = ids
        stamp = f"{datetime.fromtimestamp(self.clock(), UTC):%Y-%m-%d %H:%M:%S}Z"
        body = {
            "error": error.error,
            "error_description": f"AADSTS{error.number}: {error.text} Trace ID: {trace} "
            f"Correlation ID: {correlation} Timestamp: {stamp}",
            "error_codes": [error.number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": f"https://login.microsoftonline.com/error?code={error.number}",
        }
        if error.number == 50076:
            body["suberror"] = "basic_action"
        return json_response(error.status, body).with_headers(*ids)

    def _route(self, request: Request) -> tuple[str, Callable[[TokenRequest], Answer]]:
        tail = tuple(part.lower() for part in request.segments[1:])
        match request.method, tail:
            case "GET", (*_, ".well-known", "openid-configuration"):
                return "openid-configuration", _describe
            case "POST", ("oauth2", "token") | ("oauth2", "v2.0", "token"):
                return "token", self._grant
            case "POST", ("oauth2", "v2.0", "devicecode"):
                return "device-code", self._device_code
            case "GET", ("discovery", "v2.0", "keys"):
                return "keys", lambda _asked: {"keys": []}
        return "unknown", _no_such_page

    def _asked(self, request: Request) -> TokenRequest:
        named = request.segments[0].lower() if request.segments else ""
        tenant = self.seed.partner.tenant_id if named in ANY_TENANT else self._tenants.get(named)
        if tenant is None:
            raise refusal("unknown tenant", name=named)
        return TokenRequest(
            tenant=tenant,
            version=2 if "v2.0" in (part.lower() for part in request.segments) else 1,
            form={**_basic(request), **request.form},
            base_url=request.base_url,
            token_url=f"{request.base_url}{request.path}",
        )

    def _device_code(self, parsed: TokenRequest) -> Answer:
        client = self._application(parsed).client_id
        resource = _known(parsed.resource or GRAPH)
        lifetime, page = DEVICE_CODE_LIFETIME, f"{parsed.base_url}/device"
        code = self.mint.ticket("device-code", client, parsed.tenant, lifetime, resource=resource)
        user_code = derived_id(code)[:8].upper()
        return {
            "user_code": user_code,
            "device_code": code,
            "verification_uri": page,
            "expires_in": lifetime,
            "interval": self.quirks().device_code_interval,
            "message": f"To sign in, open {page} and enter {user_code}. "
            "(The sandbox approves by itself.)",
        }

    def _grant(self, parsed: TokenRequest) -> Answer:
        grant = self._grants.get(parsed.needed("grant_type"))
        if grant is None:
            raise refusal("unsupported grant")
        application = self._application(parsed)
        _check_credential(application, parsed)
        return grant(parsed, application)

    def _for_app(self, parsed: TokenRequest, application: Application) -> Answer:
        if application.secret is None and application.certificate is None:
            raise refusal("no credential")
        if parsed.version == 2 and not parsed.needed("scope").endswith("/.default"):
            raise refusal("scope without default")
        audience = _known(parsed.resource or GRAPH)
        token = self.mint.for_app(
            application.client_id,
            parsed.tenant,
            audience,
            lifetime=self.quirks().token_lifetime,
            permissions=self._consented(parsed, application, audience),
        )
        return self._granted(parsed, token, audience)

    def _for_refresh(self, parsed: TokenRequest, application: Application) -> Answer:
        claims = self.mint.read(parsed.needed("refresh_token"), "refresh")
        if claims is None or claims["appid"] != application.client_id:
            raise refusal("malformed refresh token")
        if self.mint.expired(claims):
            raise refusal("expired refresh token")
        user = self._users.get(str(claims["upn"]).lower())
        if user is None:
            raise refusal("unknown user")
        if user.mfa_demanded:
            raise refusal("second factor", name=claims["resource"])
        return self._for_user(parsed, application, user, parsed.resource or claims["resource"])

    def _for_device_code(self, parsed: TokenRequest, application: Application) -> Answer:
        code = parsed.form.get("code") or parsed.needed("device_code")
        claims = self.mint.read(code, "device-code")
        if claims is None:
            raise refusal("bad device code")
        if self.mint.expired(claims):
            raise refusal("expired device code")
        with self._lock:
            self._polls[claims["jti"]] += 1
            pending = self._polls[claims["jti"]] <= self.quirks().device_code_polls
        if pending:
            raise refusal("pending")
        return self._for_user(parsed, application, self.seed.users[0], claims["resource"])

    def _for_user(
        self, parsed: TokenRequest, application: Application, user: User, resource: str
    ) -> Answer:
        audience, client, tenant = _known(resource), application.client_id, parsed.tenant
        scopes = self._consented(parsed, application, audience)
        lifetime = self.quirks().token_lifetime
        token = self.mint.for_user(
            user, client, tenant, audience, lifetime=lifetime, permissions=scopes
        )
        prefix = "" if parsed.version == 1 else f"{audience}/"
        return {
            **self._granted(parsed, token, audience),
            "scope": " ".join(f"{prefix}{scope}" for scope in scopes or ("user_impersonation",)),
            "refresh_token": self.mint.to_refresh(user, client, tenant, audience),
            "id_token": self.mint.to_identify(user, client, tenant, f"{parsed.root}/v2.0"),
            "client_info": _client_info(user, tenant),
        }

    def _consented(
        self, parsed: TokenRequest, application: Application, audience: str
    ) -> tuple[str, ...]:
        """The permissions for Microsoft Graph that this tenant gave; none for anything else."""
        if audience != GRAPH:
            return ()
        if parsed.tenant in self._unconsented:
            raise refusal("no consent", name=application.client_id, tenant=parsed.tenant)
        return application.graph_permissions

    def _granted(self, parsed: TokenRequest, token: str, audience: str) -> Answer:
        lifetime = self.quirks().token_lifetime
        answer = {"token_type": "Bearer", "access_token": token}
        if parsed.version == 2:
            return {**answer, "expires_in": lifetime, "ext_expires_in": lifetime}
        now = int(self.clock())
        return {
            **answer,
            "expires_in": str(lifetime),
            "ext_expires_in": str(lifetime),
            "expires_on": str(now + lifetime),
            "not_before": str(now),
            "resource": audience,
        }

    def _application(self, parsed: TokenRequest) -> Application:
        client_id = parsed.needed("client_id")
        application = self._applications.get(client_id.lower())
        if application is None:
            raise refusal("unknown application", name=client_id)
        return application


def _client_info(user: User, tenant: str) -> str:
    """The words by which msal names the account."""
    account = {"uid": derived_id(tenant, user.name), "utid": tenant}
    named = json.dumps(account, separators=(",", ":"))
    return base64.urlsafe_b64encode(named.encode("utf-8")).rstrip(b"=").decode("ascii")


def _describe(parsed: TokenRequest) -> Answer:
    configuration: Mapping[str, str | list[str]] = _DATA["configuration"]
    return {
        name: value.format(root=parsed.root) if isinstance(value, str) else value
        for name, value in configuration.items()
    }


def _no_such_page(_asked: TokenRequest) -> Answer:
    raise LoginError("invalid_request", 900144, "There is no such endpoint.", 404)


def _basic(request: Request) -> dict[str, str]:
    """Client id and secret from the `Authorization` header (RFC 6749, section 2.3.1).

    Both endpoints take them so
    (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow, 2025-07).
    """
    scheme, _, credentials = (request.header("Authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        name, _, secret = base64.b64decode(credentials).decode("utf-8").partition(":")
    except ValueError:
        return {}
    return {"client_id": unquote_plus(name), "client_secret": unquote_plus(secret)}


def _known(resource: str) -> str:
    """The resource, if there is one of this name."""
    audience = resource.rstrip("/")
    if audience not in AUDIENCES and not audience.startswith("api://"):
        raise refusal("unknown resource", name=audience)
    return audience


def _check_credential(application: Application, parsed: TokenRequest) -> None:
    """Let a confidential application pass by its secret or certificate, a public one as it is."""
    if application.secret is None and application.certificate is None:
        return
    secret, assertion = parsed.form.get("client_secret"), parsed.form.get("client_assertion")
    if assertion is not None:
        _check_assertion(application, assertion, parsed)
    elif secret is None:
        raise refusal("no credential")
    elif secret != application.secret:
        raise refusal("wrong secret")
    elif application.secret_expired:
        raise refusal("expired secret", name=application.client_id)


def _check_assertion(application: Application, assertion: str, parsed: TokenRequest) -> None:
    """Verify a client assertion against the certificate that the seed registered."""
    from cryptography.x509 import load_pem_x509_certificate

    if application.certificate is None:
        raise refusal("bad assertion", why="")
    certificate = load_pem_x509_certificate(application.certificate.encode("ascii"))
    try:
        jwt.decode(
            assertion,
            key=certificate.public_key(),  # type: ignore[arg-type]  # RSA by the algorithms below
            algorithms=["RS256", "PS256"],
            audience=parsed.token_url,
            issuer=application.client_id,
        )
    except jwt.InvalidTokenError as error:
        raise refusal("bad assertion", why=f" {error}.") from error
