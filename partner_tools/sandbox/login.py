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
import hmac
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

from partner_tools.sandbox.faults import Fault, Quirks
from partner_tools.sandbox.seed import Application, Seed, User, derived_id
from partner_tools.sandbox.wire import Call, Headers, Problem, Request, Response, json_response

PARTNER_CENTER = "https://api.partnercenter.microsoft.com"
GRAPH = "https://graph.microsoft.com"
REFRESH_LIFETIME = 90 * 86_400

Claims = Mapping[str, Any]


class Mint:
    """Makes and checks tokens. `clock` is in seconds since the epoch, lifetimes are in seconds."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock
        self._numbers = count(1)
        self._read = lru_cache(maxsize=1024)(self._read_uncached)

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
        signed = f"{_encoded({'typ': 'JWT', 'alg': 'HS256'})}.{_encoded(body)}"
        return f"{signed}.{self._signature(signed)}"

    def _read_uncached(self, token: str) -> Claims | None:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return None
        payload = signed.partition(".")[2]
        claims: Claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return claims

    def _signature(self, signed: str) -> str:
        return _base64url(hmac.digest(self._key, signed.encode(), "sha256"))


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


def _encoded(value: Any) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode("utf-8"))


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


AUDIENCES = frozenset(
    {
        PARTNER_CENTER,
        GRAPH,
        "https://graph.windows.net",
        "https://management.azure.com",
        "https://partner.partnercenterapi.microsoftonline.cn",
    }
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """A request at one of a tenant's endpoints."""

    tenant: str
    version: int
    form: Mapping[str, str]
    base_url: str
    token_url: str

    @property
    def issuer(self) -> str:
        return f"{self.base_url}/{self.tenant}/v2.0"

    def needed(self, name: str) -> str:
        """A parameter of the body. Raises LoginError if it is missing."""
        value = self.form.get(name)
        if not value:
            text = f"The request body must contain the following parameter: '{name}'."
            raise LoginError("invalid_request", 900144, text)
        return value

    @property
    def resource(self) -> str | None:
        """The requested resource, if any: v1 by name, v2 within its scopes."""
        if self.version == 1:
            return self.form.get("resource")
        scopes = [s for s in self.form.get("scope", "").split() if s not in OPENID_SCOPES]
        return scopes[0].rpartition("/")[0].rstrip("/") if scopes else None


class Login:
    """Answers as `login.microsoftonline.com` does for the partner's tenant and its customers'."""

    name = "login"
    secure_only = True

    def __init__(
        self, seed: Seed, mint: Mint, quirks: Callable[[], Quirks], clock: Callable[[], float]
    ) -> None:
        self._seed = seed
        self._mint = mint
        self._quirks = quirks
        self._clock = clock
        self._tenants = _tenants(seed)
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
        refusal = LoginError(error, number, problem.text, problem.status)
        return self._refused(refusal, problem.request)

    def expired(self) -> Response:
        return self._refused(_stale_refresh_token(), None)

    def stamp(self, request: Request, response: Response) -> Response:
        carried = any(name == "x-ms-request-id" for name, _ in response.headers)
        ids = () if carried else self._ids(request)
        return response.with_headers(("Cache-Control", "no-store, no-cache"), *ids)

    def _ids(self, request: Request | None) -> Headers:
        """The ids of one answer: its own, and the client's, or one in its place."""
        sent = request.header("client-request-id") if request else None
        own = derived_id("request", str(next(self._numbers)))
        return (("x-ms-request-id", own), ("client-request-id", sent or derived_id(own)))

    def _route(self, request: Request) -> tuple[str, Callable[[TokenRequest], dict[str, Any]]]:
        tail = tuple(part.lower() for part in request.segments[1:])
        match request.method, tail:
            case "GET", (*_, ".well-known", "openid-configuration"):
                return "openid-configuration", self._describe
            case "POST", ("oauth2", "token") | ("oauth2", "v2.0", "token"):
                return "token", self._grant
            case "POST", ("oauth2", "v2.0", "devicecode"):
                return "device-code", self._device_code
            case "GET", ("discovery", "v2.0", "keys"):
                return "keys", lambda _asked: {"keys": []}
        return "unknown", self._no_such_page

    def _asked(self, request: Request) -> TokenRequest:
        named = request.segments[0].lower() if request.segments else ""
        tenant = self._seed.partner.tenant_id if named in ANY_TENANT else self._tenants.get(named)
        if tenant is None:
            text = f"Tenant '{named}' not found. Check to make sure you have the correct tenant ID."
            raise LoginError("invalid_tenant", 90002, text)
        return TokenRequest(
            tenant=tenant,
            version=2 if "v2.0" in (part.lower() for part in request.segments) else 1,
            form={**_basic(request), **request.form},
            base_url=request.base_url,
            token_url=f"{request.base_url}{request.path}",
        )

    def _describe(self, parsed: TokenRequest) -> dict[str, Any]:
        root = f"{parsed.base_url}/{parsed.tenant}"
        return {
            "token_endpoint": f"{root}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": [
                "client_secret_post",
                "private_key_jwt",
                "client_secret_basic",
            ],
            "jwks_uri": f"{root}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": parsed.issuer,
            "device_authorization_endpoint": f"{root}/oauth2/v2.0/devicecode",
            "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
            "tenant_region_scope": "EU",
        }

    def _device_code(self, parsed: TokenRequest) -> dict[str, Any]:
        application = self._application(parsed)
        resource = _known(parsed.resource or GRAPH)
        code = self._mint.ticket(
            "device-code",
            application.client_id,
            parsed.tenant,
            DEVICE_CODE_LIFETIME,
            resource=resource,
        )
        user_code = derived_id(code)[:8].upper()
        return {
            "user_code": user_code,
            "device_code": code,
            "verification_uri": f"{parsed.base_url}/device",
            "expires_in": DEVICE_CODE_LIFETIME,
            "interval": self._quirks().device_code_interval,
            "message": f"To sign in, open {parsed.base_url}/device and enter {user_code}. "
            "(The sandbox approves by itself.)",
        }

    def _grant(self, parsed: TokenRequest) -> dict[str, Any]:
        grant = self._grants.get(parsed.needed("grant_type"))
        if grant is None:
            text = "The app requested an unsupported grant type."
            raise LoginError("unsupported_grant_type", 70003, text)
        application = self._application(parsed)
        _check_credential(application, parsed)
        return grant(parsed, application)

    def _for_app(self, parsed: TokenRequest, application: Application) -> dict[str, Any]:
        if application.secret is None and application.certificate is None:
            raise _no_credential()
        if parsed.version == 2 and not parsed.needed("scope").endswith("/.default"):
            text = "Client credential flows must have a scope value with /.default suffixed."
            raise LoginError("invalid_scope", 1002012, text)
        audience = _known(parsed.resource or GRAPH)
        token = self._mint.for_app(
            application.client_id,
            parsed.tenant,
            audience,
            lifetime=self._quirks().token_lifetime,
            permissions=self._consented(parsed, application, audience),
        )
        return self._granted(parsed, token, audience)

    def _for_refresh(self, parsed: TokenRequest, application: Application) -> dict[str, Any]:
        claims = self._mint.read(parsed.needed("refresh_token"), "refresh")
        if claims is None or claims["appid"] != application.client_id:
            raise LoginError("invalid_grant", 9002313, "Invalid request. Request is malformed.")
        if self._mint.expired(claims):
            raise _stale_refresh_token()
        user = self._user(claims)
        if user.mfa_demanded:
            text = (
                "Due to a configuration change made by your administrator, or because you moved "
                "to a new location, you must use multi-factor authentication to access "
                f"'{claims['resource']}'."
            )
            raise LoginError("invalid_grant", 50076, text)
        return self._for_user(parsed, application, user, parsed.resource or claims["resource"])

    def _for_device_code(self, parsed: TokenRequest, application: Application) -> dict[str, Any]:
        code = parsed.form.get("code") or parsed.needed("device_code")
        claims = self._mint.read(code, "device-code")
        if claims is None:
            raise LoginError("invalid_grant", 70000, "The device code is not valid.")
        if self._mint.expired(claims):
            raise LoginError("expired_token", 70020, "The device code has expired.")
        with self._lock:
            self._polls[claims["jti"]] += 1
            pending = self._polls[claims["jti"]] <= self._quirks().device_code_polls
        if pending:
            text = "Authorization is pending. Continue polling."
            raise LoginError("authorization_pending", 70016, text)
        return self._for_user(parsed, application, self._seed.users[0], claims["resource"])

    def _for_user(
        self, parsed: TokenRequest, application: Application, user: User, resource: str
    ) -> dict[str, Any]:
        audience, client = _known(resource), application.client_id
        scopes = self._consented(parsed, application, audience)
        token = self._mint.for_user(
            user,
            client,
            parsed.tenant,
            audience,
            lifetime=self._quirks().token_lifetime,
            permissions=scopes,
        )
        prefix = "" if parsed.version == 1 else f"{audience}/"
        return {
            **self._granted(parsed, token, audience),
            "scope": " ".join(f"{prefix}{scope}" for scope in scopes or ("user_impersonation",)),
            "refresh_token": self._mint.to_refresh(user, client, parsed.tenant, audience),
            "id_token": self._mint.to_identify(user, client, parsed.tenant, parsed.issuer),
            # By this msal names the account.
            "client_info": _encoded(
                {"uid": derived_id(parsed.tenant, user.name), "utid": parsed.tenant}
            ),
        }

    def _consented(
        self, parsed: TokenRequest, application: Application, audience: str
    ) -> tuple[str, ...]:
        """The permissions for Microsoft Graph that this tenant gave; none for anything else."""
        if audience != GRAPH:
            return ()
        if parsed.tenant in self._unconsented:
            text = (
                f"The client application {application.client_id} is missing service principal "
                f"in the tenant {parsed.tenant}."
            )
            raise LoginError("unauthorized_client", 7000229, text)
        return application.graph_permissions

    def _granted(self, parsed: TokenRequest, token: str, audience: str) -> dict[str, Any]:
        lifetime = self._quirks().token_lifetime
        answer = {"token_type": "Bearer", "access_token": token}
        if parsed.version == 2:
            return {**answer, "expires_in": lifetime, "ext_expires_in": lifetime}
        expires_on = int(self._clock()) + lifetime
        return {
            **answer,
            "expires_in": str(lifetime),
            "ext_expires_in": str(lifetime),
            "expires_on": str(expires_on),
            "not_before": str(expires_on - lifetime),
            "resource": audience,
        }

    def _application(self, parsed: TokenRequest) -> Application:
        client_id = parsed.needed("client_id")
        application = self._applications.get(client_id.lower())
        if application is None:
            text = f"Application with identifier '{client_id}' was not found in the directory."
            raise LoginError("unauthorized_client", 700016, text)
        return application

    def _user(self, claims: Claims) -> User:
        user = self._users.get(str(claims["upn"]).lower())
        if user is None:
            text = "The user account does not exist in the directory."
            raise LoginError("invalid_grant", 50034, text)
        return user

    def _no_such_page(self, _asked: TokenRequest) -> dict[str, Any]:
        raise LoginError("invalid_request", 900144, "There is no such endpoint.", 404)

    def _refused(self, error: LoginError, request: Request | None) -> Response:
        """An error: its body names the same ids as its headers."""
        moment = datetime.fromtimestamp(self._clock(), UTC)
        ids = self._ids(request)
        (_, trace), (_, correlation) = ids
        stamp = f"{moment:%Y-%m-%d %H:%M:%S}Z"
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


def _tenants(seed: Seed) -> dict[str, str]:
    """Every name of every tenant, in lower case, with its id."""
    partner = seed.partner
    found = {
        partner.tenant_id.lower(): partner.tenant_id,
        partner.domain.lower(): partner.tenant_id,
    }
    for customer in seed.customers:
        for name in (customer.tenant_id, customer.domain, *customer.custom_domains):
            found[name.lower()] = customer.tenant_id
    return found


def _known(resource: str) -> str:
    """The resource, if there is one of this name."""
    audience = resource.rstrip("/")
    if audience not in AUDIENCES and not audience.startswith("api://"):
        text = f"The resource principal named {audience} was not found in the tenant."
        raise LoginError("invalid_resource", 500011, text)
    return audience


def _stale_refresh_token() -> LoginError:
    text = "The refresh token has expired due to inactivity. It was inactive for 90.00:00:00."
    return LoginError("invalid_grant", 700082, text)


def _no_credential() -> LoginError:
    text = (
        "The request body must contain the following parameter: "
        "'client_assertion' or 'client_secret'."
    )
    return LoginError("invalid_client", 7000218, text, 401)


def _check_credential(application: Application, parsed: TokenRequest) -> None:
    """Let a confidential application pass by its secret or certificate, a public one as it is."""
    if application.secret is None and application.certificate is None:
        return
    secret, assertion = parsed.form.get("client_secret"), parsed.form.get("client_assertion")
    if assertion is not None:
        _check_assertion(application, assertion, parsed)
    elif secret is None:
        raise _no_credential()
    elif secret != application.secret:
        text = "Invalid client secret provided. Ensure the secret being sent is the secret value."
        raise LoginError("invalid_client", 7000215, text, 401)
    elif application.secret_expired:
        text = f"The provided client secret keys for app '{application.client_id}' are expired."
        raise LoginError("invalid_client", 7000222, text, 401)


def _check_assertion(application: Application, assertion: str, parsed: TokenRequest) -> None:
    """Verify a client assertion against the certificate that the seed registered."""
    import jwt
    from cryptography.x509 import load_pem_x509_certificate

    text = "Client assertion failed signature validation."
    if application.certificate is None:
        raise LoginError("invalid_client", 700027, text, 401)
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
        raise LoginError("invalid_client", 700027, f"{text} {error}.", 401) from error
