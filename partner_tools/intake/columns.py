"""Recognize a column's property by its header. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from partner_tools.homoglyphs import as_latin
from partner_tools.intake.identifiers import names, plain
from partner_tools.intake.rules import Finding, HaltError, finding, halt, shown
from partner_tools.model import ChannelName

SERIAL = "serialNumber"
IDENTIFIERS = (SERIAL, "productKeyId", "hardwareHash")
"""Any one of them names a device; manufacturer and model only narrow it."""

STATUS = ("status", "removal", "keep", "remarks")
"""The kinds of columns that may say that a device stays."""

DEVICE_NAME = "Device name"
"""How the column with the device's own name is called in what travels into the report."""

EXPECTED = "Device Serial Number,Windows Product ID,Hardware Hash,Manufacturer name,Device model"
"""The header of Partner Center, shown where one is missing."""

TENANT = frozenset(map(plain, ("TenantID", "TenantDomain", "Tenant")))
"""On `oem-direct` they must be blank: with a tenant the same operation registers.
Elsewhere `Tenant` is the customer and the others are unknown."""

_PROPERTIES = (*IDENTIFIERS, "manufacturer", "model", "customer", "reference")


SPELLINGS: dict[str, tuple[str, ...]] = {}
for _group in names()["columns"]:
    SPELLINGS[_group["property"]] = (*SPELLINGS.get(_group["property"], ()), *_group["names"])
"""The names of each kind of column, the usual one first."""

_KINDS = {plain(name): kind for kind, each in SPELLINGS.items() for name in each}
_KINDS |= {plain(name): name for name in _PROPERTIES}
"""The kind of column that each normal form is; the names of properties are forms as well."""

_WEAK = frozenset(
    plain(name) for group in names()["columns"] if group.get("weak") for name in group["names"]
)
_QUALIFIERS = tuple(sorted(map(plain, names()["qualifiers"]), key=len, reverse=True))
_STATUS_WORDS = tuple(map(plain, names()["status"]["words"]))


@lru_cache(maxsize=4096)
def kind_of_column(header: str) -> str | None:
    """The kind of column that a header is: a property of the schema, `deviceName`, `status`, …

    >>> [kind_of_column(each) for each in ("SerialNumber0", "BIOS - Serial Number", "Monitor S/N")]
    ['serialNumber', 'serialNumber', None]
    """
    name = plain(header)
    bare = name.rstrip("0")  # tables of Configuration Manager have two
    kind = _KINDS.get(name) or _KINDS.get(bare) or _qualified(bare)
    if kind is None and (name.startswith(_STATUS_WORDS) or name.endswith(_STATUS_WORDS)):
        return "status"
    return kind


_QUALIFIERS_AT_MOST = 3
_LONGEST_NAME = 100


def _qualified(name: str) -> str | None:
    """Whether all that is more than a name of the serial number are a few qualifiers."""
    forms = {name} if len(name) <= _LONGEST_NAME else set()
    for _ in range(_QUALIFIERS_AT_MOST + 1):
        if any(_KINDS.get(form) == SERIAL for form in forms):
            return SERIAL
        forms = {
            shorter
            for form in forms
            for each in _QUALIFIERS
            for shorter in (form.removeprefix(each), form.removesuffix(each))
            if shorter != form
        }
    return None


def spelt_like(header: str) -> str | None:
    """The known header that this one nearly is, as Microsoft's or people's files spell it."""
    spelt = {plain(name): name for kind in _PROPERTIES for name in SPELLINGS[kind]}
    name = plain(header)
    near = get_close_matches(name, spelt, n=1, cutoff=0.8) if len(name) > 4 else []
    misspelt = near and not name.startswith(near[0])  # `Customer PO` is no misspelt `Customer`
    return spelt[near[0]] if misspelt else None


def is_tenant(header: str) -> bool:
    """Whether a column or property would carry a tenant into OEM Direct, in whatever spelling.

    >>> is_tenant("AAD tenant (id)"), is_tenant("Customer")
    (True, False)
    """
    return "tenant" in "".join(filter(str.isalpha, as_latin(header)))


def known(cells: Sequence[str]) -> int:
    """How many of the cells are headers that mean something."""
    return sum(kind_of_column(cell) is not None or plain(cell) in TENANT for cell in cells if cell)


def names_identifier(cells: Sequence[str]) -> bool:
    """Whether a row names a column that identifies devices."""
    return any(kind_of_column(cell) in IDENTIFIERS for cell in cells)


def is_header(cells: Sequence[str]) -> bool:
    """Whether a row is a header: it names an identifier, or two known columns."""
    return names_identifier(cells) or known(cells) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of a table. `names[i]` is the property of column i, None for another.

    `serials` are all columns that name serial numbers; more than one where each row has to say
    which. `extra` and `tenant` are the columns that travel into the report and those that must be
    blank; `status` those that may say that a device stays.
    """

    headers: tuple[str, ...]
    names: tuple[str | None, ...]
    serials: tuple[int, ...]
    extra: tuple[int, ...]
    tenant: tuple[int, ...]
    status: tuple[int, ...]

    def called(self, place: int) -> str:
        header = self.headers[place]
        return DEVICE_NAME if kind_of_column(header) == "deviceName" else header


def place_of(name: str, headers: Sequence[str]) -> int:
    """The place of the first column of this name. Raises HaltError where there is none."""
    spelled = [header.strip().casefold() for header in headers]
    if name.strip().casefold() in spelled:
        return spelled.index(name.strip().casefold())
    forms = [plain(header) for header in headers]
    if plain(name) in forms and plain(name):
        return forms.index(plain(name))
    raise no_such_column(name, headers)


def no_such_column(name: str, headers: Sequence[str]) -> HaltError:
    listed = ", ".join(shown(header.strip()) for header in headers[:12] if header.strip())
    return halt("no-such-column", f"no column is called {shown(name)}; the header has {listed}")


def read_columns(
    headers: Sequence[str], channel: ChannelName | None, serial_column: str | None = None
) -> tuple[Columns, tuple[Finding, ...]]:
    """Tell the columns of a header row, and everything that is wrong with it.

    `serial_column` is the header of the column with the serial numbers, whatever the others are
    called.
    """
    named = tuple(
        header.strip() or f"column {place}" for place, header in enumerate(headers, start=1)
    )
    direct = channel is ChannelName.OEM_DIRECT
    tenant = tuple(place for place, header in enumerate(named) if direct and is_tenant(header))
    kinds = [None if place in tenant else kind_of_column(each) for place, each in enumerate(named)]
    if not direct:
        kinds = [
            "customer" if plain(each) == "tenant" else kind
            for each, kind in zip(named, kinds, strict=True)
        ]
    properties = [kind if kind in _PROPERTIES else None for kind in kinds]
    _settle_weak(named, properties)
    serials = [place for place, name in enumerate(properties) if name == SERIAL]
    if serial_column is not None:
        serials = [place_of(serial_column, named)]
    for place, name in enumerate(properties):
        if name == SERIAL or place in serials:
            properties[place] = SERIAL if place in serials[:1] else None
    columns = Columns(
        headers=named,
        names=tuple(properties),
        serials=tuple(serials),
        extra=tuple(
            place
            for place, name in enumerate(properties)
            if name is None and place not in tenant and place not in serials
        ),
        tenant=tenant,
        status=tuple(place for place, kind in enumerate(kinds) if kind in STATUS),
    )
    return columns, (*_twice(columns), *_no_identifier(columns), *_strange(columns, kinds))


def _settle_weak(headers: Sequence[str], properties: list[str | None]) -> None:
    """Leave the weaker of two names of one property to travel along: `Vendor` is often a shop."""
    for place, name in enumerate(properties):
        others = [each for each in properties[:place] if each == name]
        strong = any(
            each == name and plain(header) not in _WEAK
            for each, header in zip(properties, headers, strict=True)
        )
        if name and plain(headers[place]) in _WEAK and (strong or others):
            properties[place] = None


def _twice(columns: Columns) -> list[Finding]:
    found = []
    for name in dict.fromkeys(filter(None, columns.names)):
        places = [place for place, other in enumerate(columns.names) if other == name]
        if len(places) > 1:
            spelt = " and ".join(shown(columns.headers[place]) for place in places)
            message = f"the columns {spelt} all mean `{name}`"
            found.append(finding("column-twice", message, column=name))
    if len(columns.serials) > 1:
        spelt = " and ".join(shown(columns.headers[place]) for place in columns.serials)
        message = f"the columns {spelt} all name serial numbers; each row takes the one it fills"
        found.append(finding("serial-columns", message, column=SERIAL))
    return found


def _no_identifier(columns: Columns) -> list[Finding]:
    if set(columns.names).intersection(IDENTIFIERS):
        return []
    listed = ", ".join(map(shown, columns.headers[:8]))
    message = f"no column holds a serial number, a product key id or a hardware hash: {listed}"
    return [finding("no-identifier-column", message)]


def _strange(columns: Columns, kinds: Sequence[str | None]) -> list[Finding]:
    found = []
    for place in columns.tenant:
        header = columns.headers[place]
        message = f"the column {shown(header)} must stay blank on oem-direct"
        found.append(finding("tenant-column", message, column=header))
    unknown = [
        columns.headers[place] for place in columns.extra if kinds[place] in (None, "remarks")
    ]
    if len(unknown) == 1:
        found.append(_unknown(unknown[0]))
    elif unknown:
        listed = ", ".join(map(shown, unknown[:8])) + (", …" if len(unknown) > 8 else "")
        message = f"{len(unknown)} columns are not known and travel into the report: {listed}"
        near = [f"{shown(each)} `{spelt_like(each)}`" for each in unknown if spelt_like(each)]
        remedy = f"rename {', '.join(near[:3])} if that is what it holds" if near else None
        found.append(finding("unknown-column", message, remedy=remedy))
        found += [_unknown(each) for each in unknown if is_tenant(each)]
    return found


def _unknown(header: str) -> Finding:
    message = f"the column {shown(header)} is not known; it is copied into the report"
    near = spelt_like(header)
    remedy = f"name the column `{near}` if that is what it holds" if near else None
    if is_tenant(header):
        message += ", and on oem-direct it would be refused"
        remedy = "name the column `Customer` if it holds the customer's tenant"
    return finding("unknown-column", message, column=header, remedy=remedy)
