"""What a wire profile has to keep and its schema cannot say. Pure: raises, or returns nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

from partner_tools.clients.oem_profile import (
    Auth,
    AuthMode,
    Profile,
    Response,
    ResponseMode,
    TenantScope,
)
from partner_tools.clients.oem_tenant import (
    mentions_tenant,
    normalized,
    speaks_of_tenant,
    tenant_in,
)
from partner_tools.clients.transport import check_base_url, is_loopback
from partner_tools.errors import InputError


def check(profile: Profile) -> None:
    """Refuse what the schema cannot see."""
    _check_tenant_names(profile)
    _check_success(profile.response)
    _check_names(profile)
    _check_headers(profile)
    _check_body(profile)
    _check_polling(profile)
    _check_auth(profile.auth)
    if profile.base_url:
        at_base_url(profile, None)


def _check_tenant_names(profile: Profile) -> None:
    """The tenant fields may not be the place of anything that is sent."""
    own = frozenset(map(normalized, profile.body.tenant_fields))
    names = [
        *profile.fields.names,
        profile.body.devices_key,
        profile.xml.root,
        profile.xml.device,
        profile.correlation_header,
        profile.request_id_header,
    ]
    for name in names:
        if mentions_tenant(name, own):
            raise tenant_in(f"the profile's field name {name!r}")


def _check_success(response: Response) -> None:
    if not response.ok_values or any(not value.strip() for value in response.ok_values):
        raise invalid(
            "oem.response.ok_values counts an empty status as success",
            "list the words by which the service confirms a device; silence confirms nothing",
            rule="empty-success",
        )
    said = {value.casefold() for value in response.ok_values}
    for other in (*response.pending_values, *response.failed_values):
        if other.casefold() in said:
            raise invalid(
                f"the status {other!r} is listed as success and as something else",
                "keep it in one of ok_values, pending_values and failed_values",
            )


def _check_names(profile: Profile) -> None:
    device = [*profile.fields.names]
    scope = profile.body.tenant_scope
    if scope is not TenantScope.BATCH:
        device += profile.body.tenant_fields
    envelope = [profile.body.devices_key, *(name for name, _ in profile.body.static_fields)]
    if scope is not TenantScope.DEVICE:
        envelope += profile.body.tenant_fields
    for names in (device, envelope):
        _check_distinct(filter(None, names))
    if profile.is_xml:
        for name in (*device, *envelope, profile.xml.root, profile.xml.device):
            _check_xml_name(name)


def _check_distinct(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if normalized(name) in seen:
            raise invalid(f"two fields of the body are called {name!r}", "name each differently")
        seen.add(normalized(name))


_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def _check_xml_name(name: str) -> None:
    if name and not _XML_NAME.fullmatch(name):
        raise invalid(f"{name!r} cannot be the name of an XML element", "correct the name")


_OURS = {
    *("authorization", "cookie", "host", "connection", "upgrade", "expect", "te", "trailer"),
    *("content-type", "content-length", "content-encoding", "transfer-encoding"),
    *("x-http-method", "x-http-method-override", "x-method-override"),
}
"""Headers that say how the request is read: the transport's, or nobody's."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def _check_headers(profile: Profile) -> None:
    names = [name for name, _ in profile.extra_headers]
    names += filter(None, (profile.correlation_header, profile.request_id_header))
    for name in names:
        if name.lower() in _OURS or not _HEADER_NAME.fullmatch(name):
            raise invalid(f"the header {name!r} cannot be set by a profile", "take it out")
    if len({name.lower() for name in names}) != len(names):
        raise invalid("a header is given twice", "give each header once")
    if any(not value.isprintable() for _, value in profile.extra_headers):
        raise invalid("a header holds a character that HTTP forbids", "correct its value")


def _check_body(profile: Profile) -> None:
    body = profile.body
    bare = not body.devices_key and not profile.is_xml
    if bare and (body.static_fields or body.tenant_scope is not TenantScope.DEVICE):
        raise invalid(
            "a bare array (oem.body.devices_key empty) has no place for fields of the batch",
            "name a devices_key, or use tenant_scope 'device' and no static_fields",
        )
    if not profile.identity_order:
        raise invalid("oem.identity.order is empty", "list pkid, tuple or both")


def _check_polling(profile: Profile) -> None:
    poll, mode = profile.poll, profile.response.mode
    if mode is ResponseMode.ACK_LIST and not poll.detail_path:
        raise invalid(
            "response mode 'ack_list' needs oem.poll.detail_path",
            "give the path, with {id}, that tells of one batch",
        )
    if poll.detail_path and "{id}" not in poll.detail_path:
        raise invalid("oem.poll.detail_path has no {id}", "put {id} where the batch's id goes")
    if poll.max_interval_s < poll.interval_s:
        raise invalid("oem.poll.max_interval_s is below interval_s", "raise it")
    if profile.preflight.enabled and not profile.preflight.path:
        raise invalid("oem.preflight is enabled without a path", "give its path, or disable it")
    paths = (profile.path, poll.list_path, poll.detail_path, profile.preflight.path)
    for path in filter(None, paths):
        if not path.startswith("/") or path.startswith("//") or "#" in path:
            raise invalid(f"the path {path!r} does not start with a single /", "correct it")


def _check_auth(auth: Auth) -> None:
    if auth.needs_certificate and not auth.client_cert:
        raise invalid(
            f"auth mode {auth.mode.value!r} needs oem.auth.client_cert",
            "name the PEM or PFX file with the certificate and its private key",
        )
    if auth.needs_token and auth.entra_credential_env:
        named = ("entra_tenant", "entra_client_id", "entra_scope")
        missing = [f"oem.auth.{name}" for name in named if not getattr(auth, name)]
        if missing:
            raise invalid(
                f"auth mode {auth.mode.value!r} with entra_credential_env needs "
                f"{' and '.join(missing)}",
                "name your tenant, the app registration, and the scope that your whitepaper gives",
            )


def at_base_url(profile: Profile, override: str | None) -> Profile:
    """The profile at the address that is in force: the environment's, else its own.

    Raises InputError without any address (there is no default), for plain HTTP beyond loopback,
    and where nothing would prove who the caller is beyond loopback.
    """
    url = override or profile.base_url
    if not url:
        raise InputError(
            "the OEM Direct API has no address: it is not public, and there is no default",
            rule="no-base-url",
            remedy="set oem.base_url in the wire profile, or PARTNER_TOOLS_OEM_DIRECT_URL, "
            "to the address in your OEM API whitepaper",
        )
    if speaks_of_tenant(urlsplit(url).path):
        raise tenant_in("the base URL")
    checked = check_base_url(url)
    if profile.auth.mode is AuthMode.NONE and not is_loopback(urlsplit(checked).hostname or ""):
        raise InputError(
            "auth mode 'none' is for this machine alone",
            rule="no-auth",
            remedy="set oem.auth.mode to mtls, entra or mtls+entra",
        )
    return replace(profile, base_url=checked)


def invalid(message: str, remedy: str, rule: str = "oem-profile") -> InputError:
    return InputError(f"the wire profile cannot be used: {message}", remedy=remedy, rule=rule)
