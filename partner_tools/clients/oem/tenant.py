"""Recognize a tenant on the wire, in any spelling. Pure."""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from base64 import urlsafe_b64decode
from collections.abc import Collection, Iterator
from urllib.parse import unquote

from partner_tools.errors import GuardError
from partner_tools.homoglyphs import as_latin

_NO_LETTER = re.compile(r"[\W_]+")
_DECODINGS = 3
"""A text that is encoded more often than this is no text of ours."""
_JSON_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_GUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}(?![0-9a-f])")


def normalized(name: str) -> str:
    r"""A name without case, width, separators and marks, with letters as they look.

    >>> normalized("x-Tenant_ID"), normalized("tenant\u200bdomain"), normalized("\u0422enantId")
    ('xtenantid', 'tenantdomain', 'tenantid')
    """
    return _NO_LETTER.sub("", as_latin(name))


def mentions_tenant(name: str, own: Collection[str] = ()) -> bool:
    """Whether a field of this name is a tenant's. `own` are a profile's names, normalized.

    >>> mentions_tenant("aad_Tenant-Id"), mentions_tenant("SerialNumber")
    (True, False)
    """
    plain = normalized(name)
    return "tenant" in plain or plain in own


def speaks_of_tenant(text: str) -> bool:
    """Whether a text names a tenant by the domain or the field that it holds.

    Never applied to serial numbers, manufacturers and models: each has its own field.

    >>> speaks_of_tenant("/x?%74enantId=1"), speaks_of_tenant("contoso.onmicrosoft.com")
    (True, True)
    """
    return any(
        word in normalized(reading)
        for reading in _readings(text)
        for word in ("tenantid", "tenantdomain", "onmicrosoft")
    )


def holds_guid(text: str) -> bool:
    """Whether a text holds a GUID, which can't be told from a tenant's id.

    >>> holds_guid("/x/8F6D2F0A-4C0F-4F63-9F0E-3A1F5C7D9B21"), holds_guid("/acks/{id}")
    (True, False)
    """
    return any(
        _GUID.search(unicodedata.normalize("NFKC", reading).casefold())
        for reading in _readings(text)
    )


def _readings(text: str) -> Iterator[str]:
    """The text without its encodings, and what base64 in it says."""
    for _ in range(_DECODINGS):
        text = html.unescape(unquote(text))
        text = _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    yield text
    for coded in _BASE64.findall(text):
        whole = coded[: len(coded) // 4 * 4].replace("+", "-").replace("/", "_")
        try:
            yield urlsafe_b64decode(whole).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue


def tenant_in(place: str) -> GuardError:
    """The refusal of a profile or a request that would carry a tenant."""
    return GuardError(
        f"{place} carries a tenant: with a tenant the same operation registers a device "
        "instead of deregistering it",
        rule="tenant-not-blank",
        remedy="take the tenant out; a deregistration names none, TenantID and TenantDomain "
        "stay blank",
    )
