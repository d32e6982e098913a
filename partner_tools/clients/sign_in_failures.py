"""Why the sign-in service gave no token, in words: one table of its codes.

https://learn.microsoft.com/entra/identity-platform/reference-error-codes, read 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from partner_tools.errors import AuthError

CLOCK_TOLERANCE_SECONDS = 300.0

_LOGIN = "Run `partner-tools auth login`."
_LOGIN_MFA = "Run `partner-tools auth login` and complete multifactor authentication."
_CONSENT = (
    "Have an administrator of the tenant grant admin consent under Entra ID > App registrations "
    "> API permissions; for a customer's tenant, the customer's administrator."
)
_CREDENTIAL = (
    "Create a client secret under App registrations > Certificates & secrets, and set "
    "PARTNER_TOOLS_CLIENT_SECRET to its value (not to its id)."
)
_CERTIFICATE = (
    "Upload the certificate's public part under App registrations > Certificates & secrets, and "
    "check that it has not expired."
)
_APP_ID = "Check the client id, and that the tenant is the one where the app is registered."
_TENANT = "Check the tenant (GUID or domain) and the login URL of your cloud."
_POLICY = "Sign in from a place and a device that the policy allows, or have the policy changed."

MEANINGS: Mapping[str, tuple[str, str]] = {
    "50034": ("the account does not exist in this tenant", "Check the account and the tenant."),
    "50053": ("the account is locked", "Wait, or have an administrator unlock it."),
    "50055": ("the account's password has expired", "Change it in a browser; then sign in again."),
    "50057": ("the account is disabled", "Have an administrator enable it, or use another."),
    "50076": ("multifactor authentication is required", _LOGIN_MFA),
    "50078": ("the multifactor authentication has expired", _LOGIN_MFA),
    "50079": ("the account has to set up multifactor authentication", _LOGIN_MFA),
    "50105": (
        "the account is not assigned to the app",
        "Assign it under Entra ID > Enterprise applications > Users and groups.",
    ),
    "50126": ("the user name or the password is wrong", _LOGIN),
    "50158": ("a further security challenge has to be met", _LOGIN_MFA),
    "50173": ("the sign-in was revoked, for instance by a new password", _LOGIN),
    "53000": ("the device does not comply with a Conditional Access policy", _POLICY),
    "53001": ("a Conditional Access policy wants a device joined to the domain", _POLICY),
    "53003": ("a Conditional Access policy forbids the sign-in", _POLICY),
    "65001": ("the permissions that the app asks for were not consented to", _CONSENT),
    "65004": ("the user declined to consent", _CONSENT),
    "70008": ("the refresh token has expired", _LOGIN),
    "70011": (
        "the scope is not valid",
        "Check the audience: https://api.partnercenter.microsoft.com for Partner Center.",
    ),
    "70018": ("the device code is wrong or has expired", _LOGIN),
    "70020": ("the device code has expired", _LOGIN),
    "70043": ("the sign-in is older than the tenant's policy allows", _LOGIN),
    "90002": ("there is no such tenant", _TENANT),
    "90072": ("the account comes from another tenant", "Sign in with an account of this tenant."),
    "500011": (
        "the tenant does not know the service that the token is for",
        "Check the audience; the tenant has to be a Partner Center tenant.",
    ),
    "700016": ("the tenant does not know the app", _APP_ID),
    "700024": ("the signed request is out of its time", "Set this computer's clock."),
    "700027": ("the certificate is not one that the app knows", _CERTIFICATE),
    "700082": (
        "the refresh token has expired: it was not used for 90 days",
        "Sign in again (`partner-tools auth login`), or hand in a new refresh token.",
    ),
    "900023": ("the tenant's name is neither a GUID nor a domain", _TENANT),
    "7000112": ("the app is disabled", "Have an administrator enable it."),
    "7000215": ("the client secret is wrong", _CREDENTIAL),
    "7000218": (
        "the app wants a secret or a certificate",
        "Give one; for sign-in by device code turn on `Allow public client flows` under App "
        "registrations > Authentication.",
    ),
    "7000222": ("the client secret has expired", _CREDENTIAL),
    "7000229": ("the tenant has no service principal of the app", _CONSENT),
}

_BY_ERROR: Mapping[str, tuple[str, str]] = {
    "invalid_client": ("the app's secret or certificate was not accepted", _CREDENTIAL),
    "invalid_grant": ("the sign-in is no longer valid", _LOGIN),
    "unauthorized_client": ("the app may not ask for tokens in this way", _APP_ID),
    "authorization_declined": ("the sign-in was declined", _LOGIN),
    "access_denied": ("the sign-in was declined", _LOGIN),
    "expired_token": ("the device code was not typed in in time", _LOGIN),
    "code_expired": ("the device code was not typed in in time", _LOGIN),
    "authorization_pending": ("the device code was not typed in in time", _LOGIN),
    "slow_down": ("the device code was not typed in in time", _LOGIN),
    "interaction_required": ("the user has to sign in again", _LOGIN_MFA),
    "invalid_tenant": ("there is no such tenant", _TENANT),
}


def sign_in_failure(answer: Mapping[str, Any], *, skew_seconds: float = 0.0) -> AuthError:
    """The error that a sign-in answer without a token amounts to. Takes any mapping.

    `skew_seconds` is how far this computer's clock is ahead of the service's.
    """
    error = str(answer.get("error") or "unknown error")
    code = _code_of(answer)
    sentence, remedy = MEANINGS.get(code or "") or _BY_ERROR.get(error) or (_words(answer), _LOGIN)
    named = f"AADSTS{code}" if code else _one_line(error, 60)
    trace = _one_line(str(answer.get("correlation_id") or ""), 60)
    if abs(skew_seconds) > CLOCK_TOLERANCE_SECONDS:
        remedy = f"{_clock_words(skew_seconds)} {remedy}"
    return AuthError(
        f"sign-in failed ({named}): {sentence}" + (f" (correlation {trace})" if trace else ""),
        rule=f"sign-in-{code}" if code else "sign-in-failed",
        remedy=remedy,
    )


def _code_of(answer: Mapping[str, Any]) -> str | None:
    codes = answer.get("error_codes")
    if isinstance(codes, list) and codes and type(codes[0]) is int:
        return str(codes[0])
    found = re.search(r"AADSTS([0-9]{1,9})\b", str(answer.get("error_description") or ""))
    return found[1] if found else None


def _words(answer: Mapping[str, Any]) -> str:
    """The service's own first line, for a code that the table does not know."""
    told = str(answer.get("error_description") or "").strip().splitlines()
    first = re.sub(r"^AADSTS[0-9]+:?\s*", "", told[0]) if told else ""
    return _one_line(first, 300) or "the service did not say why"


def _one_line(text: str, limit: int) -> str:
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:limit]


def _clock_words(skew_seconds: float) -> str:
    minutes = round(abs(skew_seconds) / 60)
    direction = "ahead of" if skew_seconds > 0 else "behind"
    return f"This computer's clock is {minutes} minutes {direction} the service's: set it first."
