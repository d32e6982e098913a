"""What counts as a tenant on the wire, in whatever spelling. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from urllib.parse import unquote

from partner_tools.errors import GuardError

_NO_LETTER = re.compile(r"[\W_]+")
_DECODINGS = 3
"""A text that is percent-encoded more often than this is no text of ours."""


def normalized(name: str) -> str:
    r"""A name without case, width, separators and marks.

    >>> normalized("x-Tenant_ID"), normalized("tenant\u200bdomain")
    ('xtenantid', 'tenantdomain')
    """
    wide = unicodedata.normalize("NFKC", name)
    visible = "".join(c for c in wide if unicodedata.category(c) not in ("Cf", "Cc", "Mn"))
    return _NO_LETTER.sub("", visible.casefold())


def mentions_tenant(name: str, own: Collection[str] = ()) -> bool:
    """Whether a field of this name is a tenant's. `own` are a profile's names, normalized.

    >>> mentions_tenant("aad_Tenant-Id"), mentions_tenant("SerialNumber")
    (True, False)
    """
    plain = normalized(name)
    return "tenant" in plain or plain in own


def speaks_of_tenant(text: str) -> bool:
    """Whether a text names a tenant by the domain or the field that it holds.

    Serial numbers, makers and models are never asked: they go where they belong, and nowhere else.

    >>> speaks_of_tenant("/x?%74enantId=1"), speaks_of_tenant("contoso.onmicrosoft.com")
    (True, True)
    """
    for _ in range(_DECODINGS):
        text = unquote(text)
    plain = normalized(text)
    return "tenantid" in plain or "tenantdomain" in plain or "onmicrosoft" in plain


def tenant_in(place: str) -> GuardError:
    """The refusal of a profile or a request that would carry a tenant."""
    return GuardError(
        f"{place} carries a tenant: with a tenant the same operation registers a device "
        "instead of deregistering it",
        rule="tenant-not-blank",
        remedy="take the tenant out; a deregistration names none, TenantID and TenantDomain "
        "stay blank",
    )
