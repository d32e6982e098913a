"""Fleets to build handoffs from: a mixed one with evidence, hostile ones, large ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from partner_tools.model import Customer, Device, Identity, Outcome, Reason, TenantId
from partner_tools.outstanding.evidence import evidence_from
from partner_tools.outstanding.types import (
    EvidenceSource,
    Flag,
    Found,
    Plane,
    Probe,
    ProbeResult,
    Subject,
)
from partner_tools.report.handoff import (
    Document,
    HandoffDevice,
    Partner,
    RunFacts,
    build_handoff,
)

NOW = datetime(2026, 11, 23, 16, 40, tzinfo=UTC)
STARTED = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
REMOVED = datetime(2026, 11, 23, 9, 12, tzinfo=UTC)
LOOKED = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)

CUSTOMER = Customer(
    tenant_id=TenantId("3f2c9f0e-53f6-4d4a-9a52-7a6f0c1d2e3f"),
    domain="contoso.com",
    name="Contoso Pharmaceuticals",
)
PARTNER = Partner(
    tenant_id="0a9b8c7d-6e5f-4a3b-8c2d-1e0f9a8b7c6d",
    name="Fabrikam Device Services",
    contact="devices@fabrikam.example",
)
VERSION = "0.1.0"
RUN = RunFacts(
    id="20261123-090000-k3f9",
    channel="partner-center",
    batch_id="RMA-2026-0417",
    reason=Reason.RESALE,
    started_at=STARTED,
    finished_at=STARTED + timedelta(minutes=14),
    ledger_digest="sha256:" + "9f86d081" * 8,
)

HOSTILE = (
    '=HYPERLINK("http://evil.example","click")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "{{ 7*7 }}",
    "{% raw %}",
    "'; Remove-Item -Recurse C:\\ #",
    "\u2019; Remove-Item C:\\ #",
    "\u2018\u201a\u201b$(calc)`n",
    "line\nbreak\r\n'@\nWrite-Host pwned",
    "a|b|c **bold** [x](javascript:alert(1)) `code` ~~~",
    "# heading",
    "\u202egnp.exe",
    "zero\u200bwidth\ufeff",
    "emoji \U0001f4a9",
    "nul\x00byte\x1b[31m",
    "&lt;b&gt;",
    "<!-- comment --> --!>",
    "| --- |",
    "x" * 300,
)
"""Names as an enemy would choose them, for every format that a handoff has."""


class Ids:
    """Ids that look real and are the same in every run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def guid(self) -> str:
        """The next GUID."""
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def serial(self) -> str:
        """The next serial number."""
        return "5CD" + "".join(self._random.choices("0123456789BCDFGHJKLMNPQRSTVWXZ", k=7))


def found(plane: Plane, at: datetime, *objects: Found, **more: Any) -> Probe:
    """A probe that found objects."""
    return Probe(plane=plane, result=ProbeResult.FOUND, observed_at=at, found=objects, **more)


def absent(plane: Plane, at: datetime, **more: Any) -> Probe:
    """A probe that ran and found nothing."""
    return Probe(plane=plane, result=ProbeResult.ABSENT, observed_at=at, **more)


def failed(plane: Plane, at: datetime, error: str, request_id: str) -> Probe:
    """A probe that failed."""
    return Probe(
        plane=plane, result=ProbeResult.FAILED, observed_at=at, error=error, request_id=request_id
    )


class Unit:
    """One device under construction: its ids, and the probes that see it."""

    def __init__(self, ids: Ids, row: int, maker: str, model: str) -> None:
        self.row = row
        self.serial = ids.serial()
        self.identity = Identity(
            serial_number=self.serial,
            manufacturer=maker,
            model=model,
            product_key_id=f"33{row:011d}",
        )
        self.autopilot_id, self.managed_id = ids.guid(), ids.guid()
        self.object_id, self.device_id = ids.guid(), ids.guid()
        self.request_id, self.correlation_id = ids.guid(), ids.guid()
        self.name = f"DESKTOP-{self.serial[-5:]}"

    def autopilot(self, at: datetime, **more: Any) -> Probe:
        """Its registration, as Graph shows it."""
        ids = {
            "id": self.autopilot_id,
            "azureActiveDirectoryDeviceId": self.device_id,
            "managedDeviceId": self.managed_id,
        }
        attributes = {"serialNumber": self.serial, "enrollmentState": "enrolled", **more}
        return found(Plane.AUTOPILOT, at, Found(ids=ids, attributes=attributes))

    def intune(self, at: datetime, **more: Any) -> Probe:
        """Its managed device."""
        attributes = {
            "serialNumber": self.serial,
            "deviceName": self.name,
            "managementState": "managed",
            "managementAgent": "mdm",
            "lastSyncDateTime": "2026-11-20T07:11:00Z",
            **more,
        }
        ids = {"id": self.managed_id, "azureADDeviceId": self.device_id}
        return found(Plane.INTUNE, at, Found(ids=ids, attributes=attributes))

    def entra(self, at: datetime, trust: str = "AzureAd", **more: Any) -> Probe:
        """Its directory object."""
        attributes = {
            "displayName": self.name,
            "trustType": trust,
            "onPremisesSyncEnabled": None,
            "registrationDateTime": "2024-02-01T10:00:00Z",
            **more,
        }
        ids = {"id": self.object_id, "deviceId": self.device_id}
        return found(Plane.ENTRA, at, Found(ids=ids, attributes=attributes))

    def association(self, state: str) -> Probe:
        """The tenant's record that it binds the device."""
        attributes = {"serialNumber": self.serial, "associationState": state}
        one = Found(ids={"id": self.object_id}, attributes=attributes)
        return found(Plane.DEVICE_ASSOCIATION, LOOKED, one)

    def handoff(self, outcome: Outcome, *probes: Probe, **more: Any) -> HandoffDevice:
        """The device as a run left it."""
        sent = outcome in {Outcome.REMOVED, Outcome.ABSENT, Outcome.NOT_OWNED, Outcome.UNKNOWN}
        usual: dict[str, Any] = {
            "device": Device(row=self.row, identity=self.identity, reference=f"RMA-{self.row:04}"),
            "outcome": outcome,
            "removed_at": REMOVED if outcome in {Outcome.REMOVED, Outcome.ABSENT} else None,
            "request_id": self.request_id if sent else None,
            "correlation_id": self.correlation_id if sent else None,
            "evidence": [evidence_from(probe) for probe in probes],
        }
        return HandoffDevice(**(usual | more))


NO_ASSOCIATION = absent(Plane.DEVICE_ASSOCIATION, LOOKED)
NO_KEYS = (
    NO_ASSOCIATION,
    absent(Plane.ENTRA, LOOKED, subject=Subject.RECOVERY_KEYS),
    absent(Plane.ENTRA, LOOKED, subject=Subject.LOCAL_PASSWORD),
)
KEYS = (
    NO_ASSOCIATION,
    found(Plane.ENTRA, LOOKED, subject=Subject.RECOVERY_KEYS),
    absent(Plane.ENTRA, LOOKED, subject=Subject.LOCAL_PASSWORD),
)
GONE = absent(Plane.AUTOPILOT, LOOKED)
GONE_CHANNEL = absent(
    Plane.AUTOPILOT, REMOVED + timedelta(minutes=2), source=EvidenceSource.CHANNEL
)
NO_INTUNE = absent(Plane.INTUNE, LOOKED)
NO_ENTRA = absent(Plane.ENTRA, LOOKED)
BEFORE = STARTED - timedelta(minutes=5)

MAKERS = (
    ("HP", "EliteBook 840 G8"),
    ("Lenovo", "ThinkPad T14 Gen 3"),
    ("Dell Inc.", "Latitude 5430"),
    ("Microsoft Corporation", "Surface Laptop 5"),
)


def mixed(seed: int = 4) -> list[HandoffDevice]:
    """One device of each kind that issue and reference name, with what Graph showed of it."""
    ids = Ids(seed)
    units = [Unit(ids, row, *MAKERS[row % len(MAKERS)]) for row in range(2, 23)]
    done = Outcome.REMOVED
    managed, hybrid, never, registered, co_managed, pending, firmware, twin, clean = units[:9]
    blocked, own, foreign, silent, lingering, repaired, twice, held = units[9:17]
    pre_associated, associated, leaving, unread = units[17:]
    twins = Probe(
        plane=Plane.INTUNE,
        result=ProbeResult.FOUND,
        observed_at=LOOKED,
        found=(
            twin.intune(LOOKED).found[0],
            Found(
                ids={"id": ids.guid(), "azureADDeviceId": ids.guid()},
                attributes={"serialNumber": twin.serial, "deviceName": "DESKTOP-OLD01"},
            ),
        ),
    )
    denied = "403 Forbidden: the token may not read managed devices"
    return [
        managed.handoff(
            done,
            managed.autopilot(BEFORE),
            GONE,
            managed.intune(LOOKED),
            managed.entra(LOOKED),
            *KEYS,
        ),
        hybrid.handoff(
            done,
            GONE,
            hybrid.intune(LOOKED),
            hybrid.entra(LOOKED, "ServerAd", onPremisesSyncEnabled=True),
            *KEYS,
        ),
        never.handoff(
            done,
            GONE,
            NO_INTUNE,
            never.entra(LOOKED, registrationDateTime=None),
            *NO_KEYS,
        ),
        registered.handoff(done, GONE, NO_INTUNE, registered.entra(LOOKED, "Workplace"), *NO_KEYS),
        co_managed.handoff(
            done,
            GONE,
            co_managed.intune(LOOKED, managementAgent="configurationManagerClientMdm"),
            co_managed.entra(LOOKED),
            *KEYS,
        ),
        pending.handoff(
            done,
            GONE,
            pending.intune(LOOKED, managementState="retirePending"),
            pending.entra(LOOKED),
            *NO_KEYS,
        ),
        firmware.handoff(
            done,
            GONE,
            firmware.intune(LOOKED, deviceFirmwareConfigurationInterfaceManaged=True),
            firmware.entra(LOOKED),
            *KEYS,
        ),
        twin.handoff(done, GONE, twins, NO_ENTRA, *NO_KEYS),
        clean.handoff(done, GONE, NO_INTUNE, NO_ENTRA, *NO_KEYS),
        blocked.handoff(
            done,
            GONE,
            absent(Plane.INTUNE, BEFORE),
            failed(Plane.INTUNE, LOOKED, denied, ids.guid()),
            blocked.entra(LOOKED),
            *KEYS,
        ),
        own.handoff(
            Outcome.NOT_FOUND,
            own.autopilot(LOOKED, userPrincipalName="ada@contoso.com"),
            own.intune(LOOKED),
            own.entra(LOOKED),
            *KEYS,
            detail="Partner Center lists no such device of this customer",
            remedy="deregister it in Intune or the Microsoft 365 admin center",
        ),
        foreign.handoff(
            Outcome.NOT_OWNED,
            GONE,
            NO_INTUNE,
            NO_ENTRA,
            *NO_KEYS,
            detail="811: another partner registered this device",
            remedy="ask the organisation that registered it",
        ),
        silent.handoff(
            Outcome.UNKNOWN,
            detail="the request left and no answer came",
            remedy="partner-tools resume 20261123-090000-k3f9",
        ),
        lingering.handoff(
            done,
            absent(Plane.INTUNE, LOOKED - timedelta(days=2)),
            GONE,
            NO_INTUNE,
            lingering.entra(LOOKED),
            *KEYS,
            removed_at=REMOVED - timedelta(days=2),
        ),
        repaired.handoff(
            Outcome.REFUSED,
            repaired.autopilot(LOOKED, remediationState="manualRemediationRequired"),
            repaired.intune(LOOKED, managementState="wipeFailed"),
            repaired.entra(LOOKED),
            *KEYS,
            rule="delete-not-allowed",
            detail="Partner Center does not offer DELETE for this device",
            remedy="ask Microsoft support why it may not be deleted",
        ),
        twice.handoff(
            Outcome.DUPLICATE,
            detail="the same device as in row 2",
            remedy="nothing; it is done once",
        ),
        held.handoff(
            Outcome.REFUSED,
            rule="hold-list",
            detail="the hold list names this device",
            remedy="take it off the hold list if it may be removed",
            flags=frozenset({Flag.KEYS_SAVED}),
        ),
        *(
            unit.handoff(done, GONE, NO_INTUNE, NO_ENTRA, *NO_KEYS[1:], unit.association(state))
            for unit, state in (
                (pre_associated, "preassociated"),
                (associated, "associated"),
                (leaving, "pendingRemoval"),
            )
        ),
        unread.handoff(
            done,
            GONE,
            NO_INTUNE,
            NO_ENTRA,
            *NO_KEYS[1:],
            failed(Plane.DEVICE_ASSOCIATION, LOOKED, "404 Not Found", ids.guid()),
        ),
    ]


def unseen(count: int = 24, seed: int = 7) -> list[HandoffDevice]:
    """Today's reality: Partner Center was looked at, the customer's tenant never."""
    ids = Ids(seed)
    devices = []
    for row in range(2, count + 2):
        unit = Unit(ids, row, *MAKERS[row % len(MAKERS)])
        if row % 11 == 0:
            devices.append(
                unit.handoff(
                    Outcome.NOT_FOUND,
                    absent(Plane.AUTOPILOT, REMOVED, source=EvidenceSource.CHANNEL),
                    detail="Partner Center lists no such device of this customer",
                    remedy="deregister it where it was registered",
                )
            )
        else:
            devices.append(unit.handoff(Outcome.REMOVED, GONE_CHANNEL))
    return devices


def hostile(names: Sequence[str] = HOSTILE) -> list[HandoffDevice]:
    """Devices whose every text is chosen by an enemy."""
    ids = Ids(13)
    devices = []
    for row, name in enumerate(names, start=2):
        unit = Unit(ids, row, *MAKERS[0])
        identity = Identity(serial_number=name, manufacturer=name, model=name, product_key_id=name)
        probe = found(
            Plane.INTUNE,
            LOOKED,
            Found(
                ids={"id": name, "azureADDeviceId": unit.device_id},
                attributes={"deviceName": name, "serialNumber": name, name: name},
            ),
        )
        broken = failed(Plane.ENTRA, LOOKED, name, name)
        devices.append(
            unit.handoff(
                Outcome.REMOVED,
                GONE,
                probe,
                broken,
                device=Device(row=row, identity=identity, reference=name, extra=((name, name),)),
                detail=name,
                remedy=name,
                request_id=name,
                correlation_id=name,
            )
        )
    return devices


def large(count: int, seed: int = 99) -> Iterator[HandoffDevice]:
    """Many devices of the mixed kinds, each with ids of its own."""
    ids, kind = Ids(seed), random.Random(seed)  # noqa: S311
    for row in range(2, count + 2):
        unit = Unit(ids, row, *MAKERS[row % len(MAKERS)])
        draw = kind.random()
        if draw < 0.6:
            yield unit.handoff(
                Outcome.REMOVED, GONE, unit.intune(LOOKED), unit.entra(LOOKED), *KEYS
            )
        elif draw < 0.75:
            yield unit.handoff(Outcome.REMOVED, GONE, NO_INTUNE, NO_ENTRA, *NO_KEYS)
        elif draw < 0.9:
            yield unit.handoff(
                Outcome.REMOVED,
                GONE,
                unit.intune(LOOKED),
                unit.entra(LOOKED, "ServerAd", onPremisesSyncEnabled=True),
                *KEYS,
            )
        elif draw < 0.99:
            yield unit.handoff(Outcome.REMOVED, GONE_CHANNEL)
        else:
            yield unit.handoff(Outcome.NOT_FOUND, detail="not listed", remedy="look in Intune")


def handoff(
    devices: Sequence[HandoffDevice] | Iterator[HandoffDevice],
    customer: Customer | None = CUSTOMER,
    run: RunFacts = RUN,
    partner: Partner = PARTNER,
) -> Document:
    """Their handoff."""
    return build_handoff(run, customer, partner, devices, NOW, version=VERSION)
