"""How to look for devices in a tenant: what to ask, how to ask it cheapest, which rows answer.

The rule it keeps: a row counts only where it carries what was asked for, and nothing is absent
unless every question about it was answered. Filters of the services match parts of serial
numbers, and some return everything (https://learn.microsoft.com/graph/known-issues and the
threads it names, read 2026-11); so no answer is believed for having been returned.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from partner_tools.homoglyphs import folded
from partner_tools.outstanding.evidence import ALL_ZERO
from partner_tools.outstanding.types import (
    EvidenceSource,
    Found,
    Plane,
    Probe,
    ProbeResult,
    Subject,
)

BATCH = 20
"""Questions that one request can carry
(https://learn.microsoft.com/graph/json-batching, read 2026-11)."""
ALLOWED = 1.2
"""Requests that looking may take, as a multiple of asking once per device in full batches."""

_FILTERABLE = re.compile(r"[A-Za-z0-9]{1,128}")
"""`contains` answers 400 to a hyphen, and is undocumented beyond letters and digits
(https://github.com/microsoftgraph/msgraph-sdk-powershell/issues/2464, read 2026-11)."""


class Collection(StrEnum):
    """A collection of the tenant, as Microsoft Graph names it."""

    AUTOPILOT = "windowsAutopilotDeviceIdentities"
    ASSOCIATIONS = "tenantAssociatedDevices"
    """Undocumented beta: in no published metadata, read by three public projects (2026-11)."""
    INTUNE = "managedDevices"
    ENTRA = "devices"
    RECOVERY_KEYS = "recoveryKeys"
    LOCAL_PASSWORDS = "deviceLocalCredentials"
    DELETED = "deletedItems"
    IMPORT_RECORDS = "importedWindowsAutopilotDeviceIdentities"
    CORPORATE_IDENTIFIERS = "importedDeviceIdentities"


ANSWERS: Mapping[Collection, tuple[Plane, Subject]] = {
    Collection.AUTOPILOT: (Plane.AUTOPILOT, Subject.DEVICE),
    Collection.ASSOCIATIONS: (Plane.DEVICE_ASSOCIATION, Subject.DEVICE),
    Collection.INTUNE: (Plane.INTUNE, Subject.DEVICE),
    Collection.ENTRA: (Plane.ENTRA, Subject.DEVICE),
    Collection.RECOVERY_KEYS: (Plane.ENTRA, Subject.RECOVERY_KEYS),
    Collection.LOCAL_PASSWORDS: (Plane.ENTRA, Subject.LOCAL_PASSWORD),
    Collection.DELETED: (Plane.ENTRA, Subject.DELETED_OBJECT),
    Collection.IMPORT_RECORDS: (Plane.AUTOPILOT, Subject.IMPORT_RECORD),
    Collection.CORPORATE_IDENTIFIERS: (Plane.INTUNE, Subject.CORPORATE_IDENTIFIER),
}
"""The planes that each collection covers."""


CONTAINS = frozenset({Collection.AUTOPILOT, Collection.ASSOCIATIONS, Collection.IMPORT_RECORDS})
"""Where serial numbers can only be asked for by a part of them."""
_ONLY_LISTED = frozenset({Collection.DELETED, Collection.CORPORATE_IDENTIFIERS})
"""Where no filter is documented
(https://learn.microsoft.com/graph/api/intune-enrollment-importeddeviceidentity-list, read 2026-11).
"""


class By(StrEnum):
    """The property by which a question identifies a record."""

    ID = "id"
    SERIAL = "serialNumber"
    DEVICE_ID = "deviceId"
    """The directory's device id, which is not the id of the directory object."""
    REGISTRATION = "ztdId"
    """The id of the Autopilot registration, which its directory object carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing to ask of one collection. Ids are in lower case."""

    collection: Collection
    by: By
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchAnswer:
    """The answer to a question: rows, or why there are none."""

    rows: tuple[Found, ...] = ()
    error: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTarget:
    """One device, and every id by which its records are known so far, in lower case."""

    index: int
    serial: str | None = None
    autopilot_ids: frozenset[str] = frozenset()
    association_ids: frozenset[str] = frozenset()
    managed_ids: frozenset[str] = frozenset()
    device_ids: frozenset[str] = frozenset()

    @property
    def serials(self) -> frozenset[str]:
        """The serial number, where it is known."""
        return frozenset(() if self.serial is None else (self.serial,))

    @property
    def serials_in_intune(self) -> frozenset[str]:
        """Also the serial number without its blanks, which Intune drops."""
        return self.serials | {"".join(serial.split()) for serial in self.serials}

    def linked(self, collection: Collection, rows: Iterable[Found]) -> SearchTarget:
        """The same device with the ids that its rows in a collection bring."""
        more: dict[str, set[str]] = {}
        for row in rows:
            for name, known in _LINKS.get(collection, {}).items():
                if value := real_id(row.ids.get(name)):
                    more.setdefault(known, set()).add(value)
        return replace(self, **{name: getattr(self, name) | ids for name, ids in more.items()})


_LINKS: Mapping[Collection, Mapping[str, str]] = {
    Collection.AUTOPILOT: {
        "id": "autopilot_ids",
        "managedDeviceId": "managed_ids",
        "azureActiveDirectoryDeviceId": "device_ids",
    },
    Collection.ASSOCIATIONS: {"id": "association_ids", "managedDeviceId": "managed_ids"},
    Collection.INTUNE: {"id": "managed_ids", "azureADDeviceId": "device_ids"},
    Collection.ENTRA: {"deviceId": "device_ids"},
}
"""The ids of a row, and the record that each identifies."""

_COLLECTIONS = {place: collection for collection, place in ANSWERS.items()}


def search_target(index: int, serial: str | None, evidence: Iterable[Probe]) -> SearchTarget:
    """A device with what earlier evidence knows: after its removal that is the only link."""
    device = SearchTarget(index=index, serial=(serial or "").strip() or None)
    for probe in evidence:
        collection = _COLLECTIONS.get((probe.plane, probe.subject))
        if collection is not None and probe.source is EvidenceSource.GRAPH:
            device = device.linked(collection, probe.found)
    return device


def real_id(value: object) -> str | None:
    """An id in lower case; None for null, the empty text and the one of zeros only."""
    text = value.strip().lower() if isinstance(value, str) else ""
    return None if text in {"", ALL_ZERO} else text


_ASKED_BY: Mapping[Collection, Mapping[By, str]] = {
    Collection.AUTOPILOT: {By.ID: "autopilot_ids", By.SERIAL: "serials"},
    Collection.ASSOCIATIONS: {By.ID: "association_ids", By.SERIAL: "serials"},
    Collection.INTUNE: {By.ID: "managed_ids", By.SERIAL: "serials_in_intune"},
    Collection.ENTRA: {By.DEVICE_ID: "device_ids", By.REGISTRATION: "autopilot_ids"},
    Collection.RECOVERY_KEYS: {By.DEVICE_ID: "device_ids"},
    Collection.LOCAL_PASSWORDS: {By.ID: "device_ids"},
    Collection.DELETED: {By.DEVICE_ID: "device_ids"},
    Collection.IMPORT_RECORDS: {By.SERIAL: "serials"},
    Collection.CORPORATE_IDENTIFIERS: {By.SERIAL: "serials_in_intune"},
}
"""By which of a device's ids a collection is asked for it."""


def questions(collection: Collection, device: SearchTarget) -> tuple[Question, ...]:
    """Everything to ask of a collection about one device. Never an empty value."""
    return tuple(
        Question(collection=collection, by=by, value=value)
        for by, known in _ASKED_BY[collection].items()
        for value in sorted(getattr(device, known))
        if value
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """How to look: list the collection, but after this many `pages` ask instead.

    `pages` None means that only the whole list will do, 0 that asking is cheaper from the start.
    """

    questions: tuple[Question, ...]
    pages: int | None


def approach(collection: Collection, devices: Sequence[SearchTarget]) -> Approach:
    """The cheapest way to look for all the devices.

    How long a list is shows only while it is read. So reading may cost what `ALLOWED` leaves
    beside asking; and where asking alone costs more than that, all of it.
    """
    asked = tuple(dict.fromkeys(each for one in devices for each in questions(collection, one)))
    if collection in _ONLY_LISTED or not all(map(can_be_asked, asked)):
        return Approach(questions=asked, pages=None)
    allowed = ALLOWED * math.ceil(len(devices) / BATCH)
    asking = math.ceil(len(asked) / BATCH)
    left = allowed - asking if asking <= allowed else allowed
    return Approach(questions=asked, pages=int(left))


def can_be_asked(question: Question) -> bool:
    """Whether a filter of the service understands this question; else only the list answers it."""
    if question.by is not By.SERIAL:
        return True
    if question.collection in CONTAINS:
        return _FILTERABLE.fullmatch(question.value) is not None
    return question.value.isprintable() and len(question.value) <= 128


def keys(row: Found) -> frozenset[tuple[By, str]]:
    """Everything that a row can be asked for by."""
    serial = row.attributes.get("serialNumber")
    named = {by: real_id(row.ids.get(by.value)) for by in (By.ID, By.DEVICE_ID, By.REGISTRATION)}
    named[By.SERIAL] = serial.strip() if isinstance(serial, str) else None
    return frozenset((by, value) for by, value in named.items() if value)


def is_stray(question: Question, row: Found) -> bool:
    """Whether a service that understood the question cannot have returned this row."""
    if (question.by, question.value) in keys(row):
        return False
    if question.by is not By.SERIAL:
        return True
    serial, wanted = _folded_serial(row), folded(question.value)
    return wanted not in serial if question.collection in CONTAINS else wanted != serial


def _folded_serial(row: Found) -> str:
    return folded(str(row.attributes.get("serialNumber") or ""))


def answers_from_list(
    asked: Iterable[Question], rows: Iterable[Found], request_id: str | None
) -> dict[Question, SearchAnswer]:
    """Answer each question from a collection that was read completely.

    To a serial number also rows whose own differs only in form, or is missing: `conclude` says
    what they mean.
    """
    indexed: dict[tuple[By, str], list[Found]] = {}
    for row in rows:
        named = {(by, value) for by, value in keys(row) if by is not By.SERIAL}
        for key in named | {(By.SERIAL, _folded_serial(row))}:
            indexed.setdefault(key, []).append(row)
    nameless = tuple(indexed.get((By.SERIAL, ""), ()))
    return {
        question: SearchAnswer(
            rows=(*indexed.get((By.SERIAL, folded(question.value)), ()), *nameless)
            if question.by is By.SERIAL
            else tuple(indexed.get((question.by, question.value), ())),
            request_id=request_id,
        )
        for question in asked
    }


def conclude(
    collection: Collection,
    device: SearchTarget,
    answers: Mapping[Question, SearchAnswer],
    at: datetime,
) -> Probe | None:
    """Conclude from the answers for one device; None where a collection has nothing to look for.

    Found by any row that carries what was asked for. Absent only where every question was
    answered, no row resembles what was asked for, and the directory only where it was asked for a
    device id.
    """
    asked = questions(collection, device)
    plane, subject = ANSWERS[collection]
    told = [answers.get(question, _UNASKED) for question in asked]
    rows = _matching(asked, told)
    error = (
        next((answer.error for answer in told if answer.error), None)
        or _gap(collection, asked)
        or _resemblance(collection, device, told)
    )
    if not asked and error is None:
        return None
    result = ProbeResult.FOUND if rows else ProbeResult.FAILED if error else ProbeResult.ABSENT
    return Probe(
        plane=plane,
        subject=subject,
        result=result,
        observed_at=at,
        found=rows,
        error=error if result is ProbeResult.FAILED else None,
        request_id=next((answer.request_id for answer in told if answer.request_id), None),
    )


_UNASKED = SearchAnswer(error="it was not asked")


def _matching(asked: Sequence[Question], told: Sequence[SearchAnswer]) -> tuple[Found, ...]:
    """The rows that carry what they were asked for, each record once."""
    matching = {
        real_id(row.ids.get("id")): row
        for question, answer in zip(asked, told, strict=True)
        for row in answer.rows
        if (question.by, question.value) in keys(row)
    }
    return tuple(matching.values())


def _resemblance(
    collection: Collection, device: SearchTarget, told: Sequence[SearchAnswer]
) -> str | None:
    """Why rows that do not match keep the device from being called absent."""
    for row in (row for answer in told for row in answer.rows):
        serial = _folded_serial(row)
        if collection is Collection.ASSOCIATIONS and not serial:
            return "a record without a serial number is listed, which may be this device's"
        if device.serial and serial == folded(device.serial):
            return (
                "a record is listed whose serial number differs only in letter case, blanks or"
                " invisible characters: compare them"
            )
    return None


def _gap(collection: Collection, asked: Sequence[Question]) -> str | None:
    """Why the questions, even if all are answered, cannot prove that nothing is there."""
    if collection in {Collection.AUTOPILOT, Collection.INTUNE} and not asked:
        return "neither a serial number nor an id of the device is known"
    by_serial = any(question.by is By.SERIAL for question in asked)
    if collection is Collection.ASSOCIATIONS and not by_serial:
        return "no serial number is known to ask for"
    by_device_id = any(question.by is By.DEVICE_ID for question in asked)
    if collection is Collection.ENTRA and asked and not by_device_id:
        return "no device id is known to ask the directory for"
    return None
