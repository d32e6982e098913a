"""Seed and faults files: read, checked against their schemas, and turned into values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from partner_tools.errors import InputError
from partner_tools.intake.schema import checker, load_schema, unknown_properties
from partner_tools.model import Problem, Severity
from partner_tools.sandbox.faults import (
    BodyForm,
    Fault,
    FaultKind,
    Faults,
    GraphQuirks,
    ItemFault,
    ItemKind,
    LastPage,
    Latency,
    Limit,
    LimitKind,
    Match,
    Quirks,
    RetryAfter,
    Rule,
    Scope,
)
from partner_tools.sandbox.seed import (
    APPLICATIONS,
    GRAPH_PERMISSIONS,
    USERS,
    Application,
    Fleet,
    Join,
    Machine,
    Partner,
    Relationship,
    Seed,
    SeedBatch,
    SeedCustomer,
    SeedDevice,
    Tenant,
    User,
    derived_id,
    generated_customers,
    grow,
    populate,
)
from partner_tools.strict_json import InvalidTextError, read_json

RANGES = frozenset({"autopilot_delete", "check_in"})
"""The quirks of Microsoft Graph that are drawn from a range."""

Object = Mapping[str, Any]
T = TypeVar("T")


def read_seed(path: Path) -> Seed:
    """The world of a seed file. Raises InputError with every problem of the file."""
    return seed_from(_checked(_read(path, "sandbox-seed"), "sandbox-seed", str(path)))


def read_faults(path: Path) -> Faults:
    """The behaviour of a faults file. Raises InputError with every problem of the file."""
    return checked_faults(_read(path, "sandbox-faults"), str(path))


def checked_faults(document: Any, name: str) -> Faults:
    """The behaviour that a document describes. Raises InputError with every problem of it."""
    return faults_from(_checked(document, "sandbox-faults", name))


def shipped_seed() -> Seed:
    """The sample world, for who brings none."""
    shipped = Path(str(files("partner_tools"))) / "samples"
    folder = shipped if shipped.is_dir() else Path(__file__).resolve().parents[2] / "samples"
    return read_seed(folder / "sandbox-seed.json")


def seed_from(document: Object) -> Seed:
    """A seed from a document that keeps `sandbox-seed.schema.json`."""
    partner = document["partner"]
    return Seed(
        partner=Partner(
            tenant_id=partner.get("tenantId") or derived_id("partner", partner["domain"]),
            domain=partner["domain"],
            name=partner.get("name", partner["domain"]),
            mpn_id=partner.get("mpnId", "1234567"),
        ),
        applications=tuple(map(_application, document.get("applications", ()))) or APPLICATIONS,
        users=tuple(map(_user, document.get("users", ()))) or USERS,
        customers=(
            *map(_customer, document.get("customers", ())),
            *generated_customers(document.get("generatedCustomers", 0)),
        ),
        assigned_elsewhere=frozenset(document.get("assignedElsewhere", ())),
        unknown_to_autopilot=frozenset(document.get("unknownToAutopilot", ())),
    )


def faults_from(document: Object) -> Faults:
    """Faults from a document that keeps `sandbox-faults.schema.json`."""
    return Faults(
        rules=tuple(map(_rule, document.get("rules", ()))),
        limits=tuple(map(_limit, document.get("limits", ()))),
        latency=tuple(map(_latency, document.get("latency", ()))),
        items=tuple(map(_item, document.get("items", ()))),
        quirks=_quirks(document.get("quirks", {})),
        graph=_graph_quirks(document.get("graph", {})),
    )


def _item(row: Object) -> ItemFault:
    return ItemFault(
        serials=frozenset(row["serials"]),
        kind=ItemKind(row.get("kind", ItemKind.CODE)),
        number=row.get("number", ""),
        name=row.get("name", ""),
        times=row.get("times"),
    )


def _read(path: Path, schema: str) -> Any:
    try:
        return read_json(path.read_bytes())
    except (OSError, InvalidTextError) as error:
        raise InputError(
            f'cannot read "{path}": {error}',
            remedy=f"give a JSON file; `partner-tools schema {schema}` describes it",
        ) from error


def _checked(document: Any, schema: str, name: str) -> Object:
    """The document, if it keeps its schema."""
    problems = tuple(
        Problem(
            file=name,
            row=None,
            column=violation.place("/") or None,
            rule=f"schema-{violation.keyword}",
            severity=Severity.ERROR,
            message=violation.message
            + unknown_properties(document, violation, load_schema(schema)),
            remedy=f"see `partner-tools schema {schema}`",
        )
        for violation in checker(schema).violations(document)
    )
    if problems:
        first = problems[0]
        raise InputError(
            f'"{name}" is no {schema} file: {first.column or "it"} {first.message}',
            remedy=first.remedy,
            problems=problems,
        )
    checked: Object = document
    return checked


def _application(row: Object) -> Application:
    return Application(
        client_id=row["clientId"],
        secret=row.get("secret"),
        certificate=row.get("certificate"),
        secret_expired=row.get("secretExpired", False),
        graph_permissions=tuple(row.get("graphPermissions", GRAPH_PERMISSIONS)),
    )


def _user(row: Object) -> User:
    return User(
        name=row["name"],
        mfa=row.get("mfa", True),
        roles=tuple(row.get("roles", ("AdminAgents",))),
        mfa_demanded=row.get("mfaDemanded", False),
    )


def _customer(row: Object) -> SeedCustomer:
    tenant = row.get("tenantId") or derived_id("customer", row["domain"])
    fleets = [_fleet(one) for one in row.get("fleets", ())]
    return SeedCustomer(
        tenant_id=tenant,
        domain=row["domain"],
        name=row.get("name", row["domain"]),
        relationship=Relationship(row.get("relationship", "reseller")),
        custom_domains=tuple(row.get("customDomains", ())),
        batches=(
            *(_batch(one, tenant) for one in row.get("batches", ())),
            *(batch for fleet in fleets for batch in grow(fleet, tenant)),
        ),
        tenant=_tenant(row.get("graph", {}), fleets),
    )


def _tenant(row: Object, fleets: list[Fleet]) -> Tenant:
    return Tenant(
        consent=row.get("consent", True),
        intune_license=row.get("intuneLicense", True),
        multi_admin_approval=row.get("multiAdminApproval", False),
        machines=(
            *map(_machine, row.get("machines", ())),
            *(machine for fleet in fleets for machine in populate(fleet)),
        ),
        imported_autopilot=tuple(row.get("importedWindowsAutopilotDeviceIdentities", ())),
        imported_identities=tuple(row.get("importedDeviceIdentities", ())),
        associated=tuple(row.get("tenantAssociatedDevices", ())),
    )


def _machine(row: Object) -> Machine:
    return Machine(
        serial_number=row["serialNumber"],
        manufacturer=row.get("oemManufacturerName"),
        model_name=row.get("modelName"),
        name=row.get("name"),
        user=row.get("user"),
        join=Join(row.get("join", Join.NONE)),
        online=row.get("online", True),
        computer=row.get("computer", True),
        recovery_keys=row.get("recoveryKeys", 0),
        local_credential=row.get("localCredential", False),
        identity=row.get("windowsAutopilotDeviceIdentity"),
        managed=row.get("managedDevice"),
        device=row.get("device", {}),
    )


def _fleet(row: Object) -> Fleet:
    defaults = Fleet(count=row["count"])
    return Fleet(
        count=row["count"],
        batches=row.get("batches", defaults.batches),
        batch_name=row.get("batchName", defaults.batch_name),
        serial_prefix=row.get("serialPrefix", defaults.serial_prefix),
        manufacturer=row.get("oemManufacturerName", defaults.manufacturer),
        model=row.get("modelName", defaults.model),
        product_keys=row.get("productKeys", defaults.product_keys),
        join=Join(row.get("join", defaults.join)),
    )


def _batch(row: Object, tenant: str) -> SeedBatch:
    devices = row.get("devices", ())
    return SeedBatch(
        id=row["id"],
        devices=tuple(
            _device(one, derived_id(tenant, row["id"], str(place)))
            for place, one in enumerate(devices)
        ),
        created_by=row.get("createdBy"),
        creation_date=row.get("creationDate", "2026-03-02T09:10:00"),
        devices_count=row.get("devicesCount"),
    )


def _device(row: Object, default_id: str) -> SeedDevice:
    allowed = row.get("allowedOperations")
    return SeedDevice(
        id=row.get("id", default_id),
        serial_number=row.get("serialNumber"),
        product_key=row.get("productKey"),
        hardware_hash=row.get("hardwareHash"),
        model_name=row.get("modelName"),
        manufacturer=row.get("oemManufacturerName"),
        policies=tuple((one["key"], one.get("value")) for one in row.get("policies", ())),
        uploaded_by=row.get("uploadedBy"),
        uploaded_date=row.get("uploadedDate"),
        allowed_operations=None if allowed is None else tuple(allowed),
        registered_by_other=row.get("registeredByOther", False),
    )


def _rule(row: Object) -> Rule:
    return Rule(match=_match(row.get("match", {})), fault=_fault(row["fault"]))


def _match(row: Object) -> Match:
    path = row.get("path")
    return Match(
        service=row.get("service"),
        operations=_many(row.get("operation", ())),
        method=row.get("method"),
        path=_pattern(path) if path else None,
        serials=frozenset(row.get("serials", ())),
        customer=row.get("customer"),
        continued=row.get("continued"),
        after=row.get("after"),
        until=row.get("until"),
        per_target=row.get("perTarget", False),
        nth=frozenset(_many(row.get("nth", ()))),
        every=row.get("every"),
        first=row.get("first"),
        last=row.get("last"),
        probability=row.get("probability"),
        times=row.get("times"),
    )


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise InputError(
            f'the path "{text}" of a rule is no regular expression: {error}',
            remedy="write it as Python's `re` reads it, with special characters escaped",
        ) from error


def _fault(row: Object) -> Fault:
    body = row.get("body")
    defaults = Fault(kind=FaultKind(row["kind"]))
    return Fault(
        kind=defaults.kind,
        seconds=row.get("seconds", defaults.seconds),
        status=row.get("status", defaults.status),
        code=row.get("code"),
        description=row.get("description"),
        body=None if body is None else BodyForm(body),
        retry_after=row.get("retryAfter"),
        retry_after_form=RetryAfter(row.get("retryAfterForm", "seconds")),
        processed=row.get("processed", False),
        location=row.get("location", defaults.location),
    )


def _limit(row: Object) -> Limit:
    lockout = row.get("lockout")
    return Limit(
        service=row.get("service", "partnerCenter"),
        rate=row["rate"],
        operations=_many(row.get("operation", ())),
        scope=Scope(row.get("scope", Scope.PARTNER)),
        kind=LimitKind(row.get("kind", LimitKind.TOKEN_BUCKET)),
        burst=row.get("burst", 1.0),
        window=row.get("window", 60.0),
        lockout=None if lockout is None else _range(lockout),
        extend=row.get("extend", False),
        retry_after=RetryAfter(row.get("retryAfter", RetryAfter.SECONDS)),
        changes=tuple((one["at"], one["rate"]) for one in row.get("changes", ())),
    )


def _latency(row: Object) -> Latency:
    return Latency(
        seconds=_range(row["seconds"]),
        service=row.get("service"),
        operations=_many(row.get("operation", ())),
    )


def _quirks(row: Object) -> Quirks:
    """The properties of the file are the fields of `Quirks` in camel case."""
    given = {one.name: row[_camel(one.name)] for one in fields(Quirks) if _camel(one.name) in row}
    if "list_lag" in given:
        given["list_lag"] = _range(given["list_lag"])
    if "last_page" in given:
        given["last_page"] = LastPage(given["last_page"])
    return Quirks(**given)


def _graph_quirks(row: Object) -> GraphQuirks:
    """The properties of the file are the fields of `GraphQuirks` in camel case."""
    names = {_camel(one.name): one.name for one in fields(GraphQuirks)}
    given = {names[name]: value for name, value in row.items()}
    for name in RANGES & given.keys():
        given[name] = _range(given[name])
    return GraphQuirks(**given)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _many(value: T | list[T] | tuple[T, ...]) -> tuple[T, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _range(value: float | list[float]) -> tuple[float, float]:
    return (value[0], value[1]) if isinstance(value, list) else (value, value)
