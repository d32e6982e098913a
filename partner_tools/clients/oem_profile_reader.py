"""Reads a wire profile: TOML to the dataclasses of `oem_profile`, refused where it is unsafe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from partner_tools.clients.oem_profile import (
    Auth,
    AuthMode,
    BlankStyle,
    Body,
    CodeMeaning,
    Fields,
    IdentityKind,
    MatchKey,
    Poll,
    Preflight,
    Profile,
    Response,
    ResponseMode,
    TenantScope,
    Xml,
)
from partner_tools.clients.oem_profile_rules import check, invalid
from partner_tools.clients.oem_tenant import (
    holds_guid,
    mentions_tenant,
    normalized,
    speaks_of_tenant,
    tenant_in,
)
from partner_tools.errors import InputError
from partner_tools.foreign import ForeignError, read_toml

Validate = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
"""Gives the path and the message of each thing that `oem-profile.schema.json` rejects."""


def read_profile(text: str, validate: Validate) -> Profile:
    """The profile that a TOML text says.

    Raises GuardError where anything in it could carry a tenant (before anything else is looked
    at), InputError where it is not TOML, has an unknown key, or cannot be kept safely.
    """
    document = _parse(text)
    _refuse_tenants(document)
    if faults := [f"{path}: {message}" for path, message in validate(document)]:
        raise invalid(
            "; ".join(faults), "`partner-tools schema oem-profile` prints what is allowed"
        )
    profile = _make(document["oem"])
    check(profile)
    return profile


def _parse(text: str) -> Mapping[str, Any]:
    try:
        return read_toml(text)
    except ForeignError as error:
        raise InputError(
            f"the wire profile is not TOML: {error}",
            rule="profile-syntax",
            remedy="correct the line, or start again from samples/oem-sync.toml",
        ) from error


_Key = tuple[str, ...]
_OWN_NAMES = {("oem", "body", "tenant_id_field"), ("oem", "body", "tenant_domain_field")}
_ABOUT_TENANTS = {
    *_OWN_NAMES,
    ("oem", "body", "tenant_scope"),
    ("oem", "auth", "entra_tenant"),
    ("oem", "auth", "entra_scope"),
}
"""What speaks of a tenant by its nature and never reaches the API."""
_NEVER_SENT = {("oem", "codes"), ("oem", "response")}
_OF_THIS_SIDE = {
    ("oem", "name"),
    ("oem", "base_url"),
    *(("oem", "auth", name) for name in ("client_cert", "client_key", "ca_bundle")),
}
"""Keys whose values name things of this side: a tenant's domain is refused there, the mere word
is not."""
_WITHOUT_GUID = {
    ("oem", "path"),
    ("oem", "xml_namespace"),
    ("oem", "body", "static_fields"),
    ("oem", "poll", "list_path"),
    ("oem", "poll", "detail_path"),
    ("oem", "preflight", "path"),
}
"""Where no GUID may stand: it may be a tenant's. A header may name the caller by one."""


def _refuse_tenants(document: Mapping[str, Any]) -> None:
    """Refuse every key and every value that would put a tenant on the wire."""
    leaves = tuple(_leaves(document))
    own = frozenset(normalized(value) for key, value in leaves if key in _OWN_NAMES)
    ours = frozenset(
        normalized(value) for key, value in leaves if key[-1] == "entra_tenant" and value
    )
    for key, value in leaves:
        if key not in _ABOUT_TENANTS and value and _carries_tenant(key, value, own, ours):
            raise tenant_in(f"the profile's field {key[-1]!r}")


def _carries_tenant(key: _Key, value: str, own: frozenset[str], ours: frozenset[str]) -> bool:
    """`own` are the names of the tenant fields, `ours` the tenant that signs in, normalized."""
    if mentions_tenant(key[-1], own) or speaks_of_tenant(value):
        return True
    if (key in _WITHOUT_GUID or key[:3] in _WITHOUT_GUID) and holds_guid(value):
        return True
    if key in _OF_THIS_SIDE:
        return False
    return mentions_tenant(value, own) or any(tenant in normalized(value) for tenant in ours)


def _leaves(value: Any, key: _Key = ()) -> Iterator[tuple[_Key, str]]:
    """Every key with the text of its scalar; lists count under the key that they stand at."""
    if key in _NEVER_SENT:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, (*key, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, str(value)


def _make(oem: Mapping[str, Any]) -> Profile:
    """The dataclasses of a document that fits the schema."""
    scalars = {
        name: oem[name]
        for name in (
            "name",
            "base_url",
            "path",
            "method",
            "media_type",
            "batch_limit",
            "timeout_s",
            "correlation_header",
            "request_id_header",
            "profile_confirmed",
        )
        if name in oem
    }
    identity = oem.get("identity", {})
    fields = Fields(**_without(oem.get("fields", {}), "hardware_hash"))
    order = identity.get("order", [kind.value for kind in IdentityKind])
    return Profile(
        **scalars,
        extra_headers=tuple(oem.get("extra_headers", {}).items()),
        send_both=identity.get("send_both", False),
        identity_order=tuple(IdentityKind(kind) for kind in order),
        xml=Xml(**{name: oem[f"xml_{name}"] for name in Xml.__slots__ if f"xml_{name}" in oem}),
        body=_make_body(oem.get("body", {})),
        fields=fields,
        auth=_make_auth(oem.get("auth", {})),
        response=_make_response(oem.get("response", {}), fields),
        poll=_make_poll(oem.get("poll", {})),
        preflight=Preflight(**oem.get("preflight", {})),
        codes=tuple((name, CodeMeaning(to)) for name, to in oem.get("codes", {}).items()),
    )


def _make_body(table: Mapping[str, Any]) -> Body:
    typed: dict[str, Any] = dict(table)
    typed["tenant_scope"] = TenantScope(table.get("tenant_scope", TenantScope.DEVICE))
    typed["blank_style"] = BlankStyle(table.get("blank_style", BlankStyle.EMPTY))
    typed["static_fields"] = tuple(table.get("static_fields", {}).items())
    return Body(**typed)


def _make_auth(table: Mapping[str, Any]) -> Auth:
    return Auth(**{**table, "mode": AuthMode(table.get("mode", AuthMode.MTLS))})


def _make_response(table: Mapping[str, Any], of_request: Fields) -> Response:
    typed: dict[str, Any] = _without(table, "missing_item")
    typed["mode"] = ResponseMode(table.get("mode", ResponseMode.SYNC))
    typed["fields"] = replace(of_request, **table.get("fields", {}))
    if "match_on" in table:
        typed["match_on"] = tuple(MatchKey(key) for key in table["match_on"])
    return Response(**_with_tuples(typed))


def _make_poll(table: Mapping[str, Any]) -> Poll:
    return Poll(**_with_tuples(dict(table)))


def _with_tuples(table: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}


def _without(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != name}
