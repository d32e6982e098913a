"""The sandbox's initial state: the partner, its applications and users, customers, devices.

`Seed` is the file `--seed` as values (`schemas/sandbox-seed.schema.json` is the contract): its
properties are the fields in camel case, where a field does not name another. Ids that the file
leaves out are derived from what it says, so that the same file is always the same world.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

from partner_tools.json_forms import structure
from partner_tools.sandbox.reading import Object, named, read_data, read_document

NAMESPACE = uuid.UUID("6c1f5c1e-6f0b-5b0a-9a53-3f0d3c1f7a10")
"""Names in this namespace become the ids that a seed leaves out."""

ADMIN_AGENT = "AdminAgents"
SALES_AGENT = "SalesAgents"

_DATA = read_data(__package__, "login.json")
GRAPH_PERMISSIONS = tuple(_DATA["permissions"])
"""An application's default permissions for Microsoft Graph."""
GRAPH_READ_PERMISSIONS = tuple(_DATA["readPermissions"])
"""The permissions to read everything and change nothing."""

Properties = Mapping[str, Any]
"""Properties under the names that Microsoft Graph gives them."""


class Relationship(StrEnum):
    """`relationshipToPartner`, as the service writes it."""

    NONE = "none"
    RESELLER = "reseller"
    ADVISOR = "advisor"
    SYNDICATION = "syndication"
    MICROSOFT_SUPPORT = "microsoft_support"


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    tenant_id: str
    domain: str
    name: str
    mpn_id: str = "1234567"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An app registration that may ask for tokens. `certificate` is PEM."""

    client_id: str
    secret: str | None = None
    certificate: str | None = None
    secret_expired: bool = False
    graph_permissions: tuple[str, ...] = GRAPH_PERMISSIONS
    """Consented to in every customer's tenant, for the application and for its users alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of the partner. The first user approves device codes."""

    name: str
    mfa: bool = True
    roles: tuple[str, ...] = (ADMIN_AGENT,)
    mfa_demanded: bool = False
    """Whether conditional access refuses the refresh token until there is a new sign-in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDevice:
    """One registration. Answers leave out properties that are None."""

    id: str
    serial_number: str | None = None
    product_key: str | None = None
    hardware_hash: str | None = None
    model_name: str | None = None
    manufacturer: str | None = field(default=None, metadata=named("oemManufacturerName"))
    policies: tuple[tuple[str, str | None], ...] = field(
        default=(),
        metadata=named(
            "policies", lambda rows: tuple((row["key"], row.get("value")) for row in rows)
        ),
    )
    uploaded_by: str | None = None
    uploaded_date: str | None = None
    allowed_operations: tuple[str, ...] | None = None
    registered_by_other: bool = False
    """Whether another partner registered it, so that this partner may see and not remove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedBatch:
    """A batch under the free text that its uploader chose."""

    id: str
    devices: tuple[SeedDevice, ...] = ()
    created_by: str | None = None
    creation_date: str = "2026-03-02T09:10:00"
    devices_count: int | None = None
    """A stale count to show instead of the true one."""


class Join(StrEnum):
    """The join type of a machine in the customer's directory."""

    NONE = "none"
    ENTRA = "entra-joined"
    HYBRID = "hybrid-joined"
    REGISTERED = "registered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine as the customer's own tenant knows it, beside its registration.

    `identity`, `managed` and `device` replace what is derived for its Autopilot identity, its
    record in Intune and its object in Entra ID. `managed` None: not in Intune.
    """

    serial_number: str
    manufacturer: str | None = field(default=None, metadata=named("oemManufacturerName"))
    model_name: str | None = None
    name: str | None = None
    user: str | None = None
    join: Join = Join.NONE
    online: bool = True
    """Whether it checks in by itself; else only when it is made to."""
    computer: bool = True
    """Whether a hybrid-joined one still has its computer object in Active Directory."""
    recovery_keys: int = 0
    local_credential: bool = False
    identity: Properties | None = field(
        default=None, metadata=named("windowsAutopilotDeviceIdentity")
    )
    """With a serial that the partner did not register: the customer did."""
    managed: Properties | None = field(default=None, metadata=named("managedDevice"))
    device: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What Microsoft Graph knows of a customer's tenant."""

    consent: bool = True
    """Whether the partner's applications get tokens for Graph there."""
    intune_license: bool = True
    multi_admin_approval: bool = False
    machines: tuple[Machine, ...] = ()
    imported_autopilot: tuple[Properties, ...] = field(
        default=(), metadata=named("importedWindowsAutopilotDeviceIdentities")
    )
    imported_identities: tuple[Properties, ...] = field(
        default=(), metadata=named("importedDeviceIdentities")
    )
    associated: tuple[Properties, ...] = field(
        default=(), metadata=named("tenantAssociatedDevices")
    )
    """Device associations (`tenantAssociatedDevices`), whatever their shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedCustomer:
    tenant_id: str
    domain: str
    name: str
    relationship: Relationship = Relationship.RESELLER
    custom_domains: tuple[str, ...] = ()
    batches: tuple[SeedBatch, ...] = ()
    tenant: Tenant = field(default=Tenant(), metadata=named("graph"))


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
    manufacturer: str = field(default="Contoso", metadata=named("oemManufacturerName"))
    model: str = field(default="Notebook 14", metadata=named("modelName"))
    product_keys: bool = False
    join: Join = Join.NONE
    """Anything else: they are in use, in Intune and in Entra ID."""


def read_seed(path: Path) -> Seed:
    """The world of a seed file. Raises InputError with every problem of the file."""
    return seed_from(read_document(path, "sandbox-seed"))


def shipped_seed() -> Seed:
    """The sample world, for who brings none."""
    shipped = Path(str(files("partner_tools"))) / "samples"
    folder = shipped if shipped.is_dir() else Path(__file__).resolve().parents[2] / "samples"
    return read_seed(folder / "sandbox-seed.json")


def seed_from(document: Object) -> Seed:
    """A seed from a document that keeps `sandbox-seed.schema.json`."""
    domain = document["partner"]["domain"]
    own = {"tenantId": derived_id("partner", domain), "name": domain, **document["partner"]}
    seed = structure(Seed, {**document, "partner": own, "customers": []})
    return replace(
        seed,
        applications=seed.applications or APPLICATIONS,
        users=seed.users or USERS,
        customers=(
            *map(_customer, document.get("customers", ())),
            *generated_customers(document.get("generatedCustomers", 0)),
        ),
    )


def _customer(row: Object) -> SeedCustomer:
    """A customer with its ids, and with the batches and machines of its fleets."""
    tenant_id = row.get("tenantId") or derived_id("customer", row["domain"])
    batches = [
        {
            **batch,
            "devices": [
                {"id": derived_id(tenant_id, batch["id"], str(place)), **device}
                for place, device in enumerate(batch.get("devices", ()))
            ],
        }
        for batch in row.get("batches", ())
    ]
    given = {"name": row["domain"], **row, "tenantId": tenant_id, "batches": batches}
    customer = structure(SeedCustomer, given)
    machines, grown = [*customer.tenant.machines], [*customer.batches]
    for fleet in (structure(Fleet, one) for one in row.get("fleets", ())):
        grown += grow(fleet, tenant_id)
        if fleet.join is not Join.NONE:
            serials = (_serial(fleet, index) for index in range(fleet.count))
            machines += [Machine(serial_number=s, join=fleet.join, managed={}) for s in serials]
    tenant = replace(customer.tenant, machines=tuple(machines))
    return replace(customer, batches=tuple(grown), tenant=tenant)


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


def _serial(fleet: Fleet, index: int) -> str:
    return f"{fleet.serial_prefix}{index + 1:07d}"


def _grown(fleet: Fleet, tenant_id: str, index: int) -> SeedDevice:
    serial = _serial(fleet, index)
    return SeedDevice(
        id=derived_id(tenant_id, serial),
        serial_number=serial,
        product_key=f"{3_300_000_000_000 + index:013d}" if fleet.product_keys else None,
        model_name=fleet.model,
        manufacturer=fleet.manufacturer,
        uploaded_date="2026-03-02T10:11:33.2417951+01:00",
    )


def generated_customers(count: int) -> Iterator[SeedCustomer]:
    """Yield `count` customers without devices, to page through."""
    for number in range(1, count + 1):
        domain = f"customer{number:05d}.onmicrosoft.com"
        yield SeedCustomer(
            tenant_id=derived_id("customer", domain), domain=domain, name=f"Customer {number}"
        )
