"""Which property a column is: the spellings that exports and people use. Pure.

Headers are compared without regard to case, blanks, `_`, `-`, quotes and byte order marks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from partner_tools.homoglyphs import as_latin
from partner_tools.intake import rules
from partner_tools.intake.rules import Finding, finding, shown
from partner_tools.model import ChannelName

SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "serialNumber": ("Device Serial Number", "Serial number", "Serial"),
    "productKeyId": ("Windows Product ID", "Product key id", "PKID", "ProductKeyID"),
    "hardwareHash": ("Hardware Hash",),
    "manufacturer": ("Manufacturer name", "Manufacturer", "OEM"),
    "model": ("Device model", "Model"),
    "customer": ("Customer",),
    "reference": ("Reference", "RMA", "Ticket"),
}
"""The columns that mean a property of the batch schema."""

CARRIED = ("Group Tag", "OrderID", "Assigned User")
"""Columns of the known exports that a removal does not need: they travel into the report."""

TENANT = ("TenantID", "TenantDomain", "Tenant")
"""On `oem-direct` they must be blank: with a tenant the same operation registers.
Elsewhere `Tenant` is the customer and the others are unknown."""

IDENTIFIERS = ("serialNumber", "productKeyId", "hardwareHash")
"""Any one of them names a device; maker and model only narrow it."""

EXPECTED = "Device Serial Number,Windows Product ID,Hardware Hash,Manufacturer name,Device model"
"""The header of Partner Center, shown where one is missing."""

_NOISE = re.compile("[\\s_\\-\"'\u201c\u201d\u00ab\u00bb\u200b\u2060\ufeff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What each column of a table is. `names[i]` is the property of column i, None for another.

    `extra` and `tenant` are the columns that travel into the report and those that must be blank.
    """

    headers: tuple[str, ...]
    names: tuple[str | None, ...]
    extra: tuple[int, ...]
    tenant: tuple[int, ...]


def plain(header: str) -> str:
    """A header without what does not count.

    >>> plain(" Device_Serial-number")
    'deviceserialnumber'
    """
    return _NOISE.sub("", header).casefold()


_PROPERTIES = {
    plain(spelling): name
    for name, spellings in SPELLINGS.items()
    for spelling in (name, *spellings)
}
_SPELT = {plain(spelling): spelling for each in SPELLINGS.values() for spelling in each}
_CARRIED = frozenset(map(plain, CARRIED))
_TENANT = frozenset(map(plain, TENANT))


def spelt_like(header: str) -> str | None:
    """The known header that this one nearly is, as Microsoft's or people's files spell it."""
    near = get_close_matches(plain(header), _SPELT, n=1, cutoff=0.8)
    return _SPELT[near[0]] if near else None


def is_tenant(header: str) -> bool:
    """Whether a column or property would carry a tenant into OEM Direct, in whatever spelling.

    >>> is_tenant("AAD tenant (id)"), is_tenant("Customer")
    (True, False)
    """
    return "tenant" in "".join(filter(str.isalpha, as_latin(header)))


def property_of(header: str, channel: ChannelName | None) -> str | None:
    """The property that a header means on this channel, or None."""
    name = plain(header)
    if name == "tenant" and channel is not ChannelName.OEM_DIRECT:
        return "customer"
    return _PROPERTIES.get(name)


def known(headers: Sequence[str]) -> int:
    """How many of the cells are headers that mean something."""
    names = map(plain, headers)
    return sum(name in _PROPERTIES or name in _CARRIED or name in _TENANT for name in names)


def is_header(cells: Sequence[str]) -> bool:
    """Whether a row is a header: it names an identifier, or two known columns."""
    names = {_PROPERTIES.get(plain(cell)) for cell in cells}
    return bool(names.intersection(IDENTIFIERS)) or known(cells) > 1


def read_columns(
    headers: Sequence[str], channel: ChannelName | None
) -> tuple[Columns, tuple[Finding, ...]]:
    """Tell the columns of a header row, and everything that is wrong with it."""
    named = tuple(
        header.strip() or f"column {place}" for place, header in enumerate(headers, start=1)
    )
    tenant = tuple(
        place
        for place, header in enumerate(named)
        if is_tenant(header) and channel is ChannelName.OEM_DIRECT
    )
    names = tuple(
        None if place in tenant else property_of(header, channel)
        for place, header in enumerate(named)
    )
    extra = tuple(place for place, name in enumerate(names) if name is None and place not in tenant)
    columns = Columns(headers=named, names=names, extra=extra, tenant=tenant)
    return columns, (*_twice(columns), *_no_identifier(columns), *_strange(columns))


def _twice(columns: Columns) -> list[Finding]:
    found = []
    for name in dict.fromkeys(filter(None, columns.names)):
        places = [place for place, other in enumerate(columns.names) if other == name]
        if len(places) > 1:
            spelt = " and ".join(shown(columns.headers[place]) for place in places)
            message = f"the columns {spelt} all mean `{name}`"
            found.append(finding(rules.COLUMN_TWICE, message, column=name))
    return found


def _no_identifier(columns: Columns) -> list[Finding]:
    if set(columns.names).intersection(IDENTIFIERS):
        return []
    message = "no column holds a serial number, a product key id or a hardware hash"
    return [finding(rules.NO_IDENTIFIER_COLUMN, message)]


def _strange(columns: Columns) -> list[Finding]:
    found = []
    for place in columns.tenant:
        header = columns.headers[place]
        message = f"the column {shown(header)} must stay blank on oem-direct"
        found.append(finding(rules.TENANT_COLUMN, message, column=header))
    for place in columns.extra:
        header = columns.headers[place]
        if plain(header) not in _CARRIED:
            found.append(_unknown(header))
    return found


def _unknown(header: str) -> Finding:
    message = f"the column {shown(header)} is not known; it travels into the report as it is"
    near = spelt_like(header)
    remedy = f"name the column `{near}` if that is what it holds" if near else None
    if is_tenant(header):
        message += ", and on oem-direct it would be refused"
        remedy = "name the column `Customer` if it holds the customer's tenant"
    return finding(rules.UNKNOWN_COLUMN, message, column=header, remedy=remedy)
