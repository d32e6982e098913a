"""What exists when the sandbox starts: the partner, its applications and users, customers, devices.

`Seed` is the file `--seed` as values (`schemas/sandbox-seed.schema.json` is the contract). Ids that
the file leaves out are derived from what it says, so that the same file is always the same world.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

NAMESPACE = uuid.UUID("6c1f5c1e-6f0b-5b0a-9a53-3f0d3c1f7a10")
"""Names in this namespace become the ids that a seed leaves out."""

ADMIN_AGENT = "AdminAgents"
SALES_AGENT = "SalesAgents"


class Relationship(StrEnum):
    """`relationshipToPartner`, as the service writes it."""

    NONE = "none"
    RESELLER = "reseller"
    ADVISOR = "advisor"
    SYNDICATION = "syndication"
    MICROSOFT_SUPPORT = "microsoft_support"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """The partner whose estate this is."""

    tenant_id: str
    domain: str
    name: str
    mpn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An app registration that may ask for tokens. `certificate` is PEM."""

    client_id: str
    secret: str | None = None
    certificate: str | None = None
    secret_expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody of the partner who signs in. The first user is who approves a device code."""

    name: str
    mfa: bool = True
    roles: tuple[str, ...] = (ADMIN_AGENT,)
    mfa_demanded: bool = False
    """Whether conditional access refuses the refresh token until there is a new sign-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDevice:
    """One registration. What is None is left out of every answer."""

    id: str
    serial_number: str | None = None
    product_key: str | None = None
    hardware_hash: str | None = None
    model_name: str | None = None
    manufacturer: str | None = None
    policies: tuple[tuple[str, str | None], ...] = ()
    uploaded_by: str | None = None
    uploaded_date: str | None = None
    allowed_operations: tuple[str, ...] | None = None
    registered_by_other: bool = False
    """Whether somebody else registered it, so that this partner may see and not remove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedBatch:
    """A batch under the free text that its uploader chose."""

    id: str
    devices: tuple[SeedDevice, ...] = ()
    created_by: str | None = None
    creation_date: str = "2026-03-02T09:10:00"
    devices_count: int | None = None
    """A stale count to show instead of the true one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedCustomer:
    """A customer tenant."""

    tenant_id: str
    domain: str
    name: str
    relationship: Relationship = Relationship.RESELLER
    custom_domains: tuple[str, ...] = ()
    batches: tuple[SeedBatch, ...] = ()


def derived_id(*names: str) -> str:
    """The id of something that the seed names but gives no id."""
    return str(uuid.uuid5(NAMESPACE, "\0".join(names)))


APPLICATIONS = (
    Application(client_id=derived_id("application"), secret="sandbox-secret"),  # noqa: S106
    Application(client_id=derived_id("public application")),
)
"""The applications of a seed that names none: a confidential and a public one."""

USERS = (User(name="admin@partner.example"),)
"""The users of a seed that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """The whole world at the start.

    `assigned_elsewhere` and `unknown_to_autopilot` hold serials and product key ids whose
    registration fails with 808 and 812.
    """

    partner: Partner
    applications: tuple[Application, ...] = APPLICATIONS
    users: tuple[User, ...] = USERS
    customers: tuple[SeedCustomer, ...] = ()
    assigned_elsewhere: frozenset[str] = frozenset()
    unknown_to_autopilot: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A recipe for many unremarkable devices, spread over batches as evenly as they go."""

    count: int
    batches: int = 1
    batch_name: str = "Fleet {n}"
    serial_prefix: str = "SN"
    manufacturer: str = "Contoso"
    model: str = "Notebook 14"
    product_keys: bool = False


def grow(fleet: Fleet, tenant_id: str) -> Iterator[SeedBatch]:
    """The batches of a fleet: the same recipe and tenant give the same devices, ids and order."""
    start = 0
    for number in range(1, fleet.batches + 1):
        end = fleet.count * number // fleet.batches
        name = fleet.batch_name.replace("{n}", str(number))
        yield SeedBatch(
            id=name,
            created_by=tenant_id,
            devices=tuple(_grown(fleet, tenant_id, index) for index in range(start, end)),
        )
        start = end


def _grown(fleet: Fleet, tenant_id: str, index: int) -> SeedDevice:
    serial = f"{fleet.serial_prefix}{index + 1:07d}"
    return SeedDevice(
        id=derived_id(tenant_id, serial),
        serial_number=serial,
        product_key=f"{3_300_000_000_000 + index:013d}" if fleet.product_keys else None,
        model_name=fleet.model,
        manufacturer=fleet.manufacturer,
        uploaded_date="2026-03-02T10:11:33.2417951+01:00",
    )


def generated_customers(count: int) -> Iterator[SeedCustomer]:
    """So many customers without devices, to page through."""
    for number in range(1, count + 1):
        domain = f"customer{number:05d}.onmicrosoft.com"
        yield SeedCustomer(
            tenant_id=derived_id("customer", domain), domain=domain, name=f"Customer {number}"
        )
