"""Tokens of the sandbox: minted, and read again, without any memory of which were given out.

They look like those of Microsoft Entra ID to whoever decodes them and are worth nothing outside:
the signature is an HMAC under a key of this sandbox alone.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import count
from typing import Any

from partner_tools.sandbox.seed import User, derived_id

PARTNER_CENTER = "https://api.partnercenter.microsoft.com"
GRAPH = "https://graph.microsoft.com"
REFRESH_LIFETIME = 90 * 86_400

Claims = Mapping[str, Any]


class Mint:
    """Makes and checks tokens. `clock` is in seconds since the epoch."""

    def __init__(self, key: bytes, clock: Callable[[], float]) -> None:
        self._key = key
        self._clock = clock
        self._read = lru_cache(maxsize=1024)(self._read_uncached)

    def now(self) -> int:
        return int(self._clock())

    def mint(self, claims: Claims, *, lifetime: int) -> str:
        """A token with these claims that is good for so many seconds from now."""
        now = self.now()
        body = {"iat": now, "nbf": now, "exp": now + lifetime, **claims}
        head = _encoded({"typ": "JWT", "alg": "HS256"})
        signed = f"{head}.{_encoded(body)}"
        return f"{signed}.{self._signature(signed)}"

    def read(self, token: str) -> Claims | None:
        """The claims of a token of this mint, expired or not; None for anything else."""
        return self._read(token)

    def expired(self, claims: Claims) -> bool:
        return self._clock() >= int(claims["exp"])

    def _read_uncached(self, token: str) -> Claims | None:
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return None
        claims: Claims = json.loads(_decoded(signed.partition(".")[2]))
        return claims

    def _signature(self, signed: str) -> str:
        return _base64url(hmac.digest(self._key, signed.encode(), "sha256"))


class Tokens:
    """Mints what is given out in the name of Microsoft Entra ID. Lifetimes are in seconds."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint
        self._count = count(1)

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
            "aud": audience,
            "tid": tenant,
            "appid": app_id,
            "oid": derived_id(tenant, app_id),
            "idtyp": "app",
            **({"roles": list(permissions)} if permissions else {}),
        }
        return self._mint.mint(claims, lifetime=lifetime)

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
            "aud": audience,
            "tid": tenant,
            "appid": app_id,
            "oid": derived_id(tenant, user.name),
            "upn": user.name,
            "amr": ["pwd", "mfa"] if user.mfa else ["pwd"],
            "scp": " ".join(permissions) or "user_impersonation",
            "idtyp": "user",
            "roles": list(user.roles),
        }
        return self._mint.mint(claims, lifetime=lifetime)

    def to_refresh(
        self,
        user: User,
        app_id: str,
        tenant: str,
        resource: str = PARTNER_CENTER,
        *,
        lifetime: int = REFRESH_LIFETIME,
    ) -> str:
        """A refresh token, for this resource where the exchange names none; no two are equal."""
        return self._ticket("refresh", app_id, tenant, lifetime, resource=resource, upn=user.name)

    def to_poll(self, app_id: str, tenant: str, resource: str, *, lifetime: int) -> str:
        """A device code, for the resource that was asked for with it; no two are equal."""
        return self._ticket("device-code", app_id, tenant, lifetime, resource=resource)

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
        return self._mint.mint(claims, lifetime=3_600)

    def read(self, token: str, kind: str) -> Claims | None:
        """The claims of a refresh token or device code, expired or not."""
        claims = self._mint.read(token)
        return claims if claims and claims.get("typ") == kind else None

    def expired(self, claims: Claims) -> bool:
        return self._mint.expired(claims)

    def _ticket(self, kind: str, app_id: str, tenant: str, lifetime: int, **more: str) -> str:
        claims = {"typ": kind, "tid": tenant, "appid": app_id, "jti": next(self._count), **more}
        return self._mint.mint(claims, lifetime=lifetime)


def client_info(user: User, tenant: str) -> str:
    """`client_info`, by which msal names the account."""
    return _encoded({"uid": derived_id(tenant, user.name), "utid": tenant})


def _encoded(value: Any) -> str:
    return _base64url(json.dumps(value, separators=(",", ":")).encode("utf-8"))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
