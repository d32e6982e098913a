"""How nouns become columns and JSON texts, and come back: the only place that knows both forms.

A hardware hash never comes through here: its digest (`sha256:` of its text) replaces it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from partner_tools.errors import DamagedRunError
from partner_tools.events import Act, Event, History, Kind, RunDevice, State
from partner_tools.json_forms import digest_of_bytes, json_form, stated, structure
from partner_tools.ledger.records import (
    RunHead,
    RunRecord,
    StoredEvent,
)
from partner_tools.model import (
    ChannelName,
    Device,
    Identity,
    Outcome,
    Registration,
    RunId,
    RunState,
    Target,
    TenantId,
)

Columns = Mapping[Any, Any]
"""A row of a table by the names of its columns."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), sort_keys=True, allow_nan=False)
_IN_COLUMNS = ("state", "outcome", "settled_at", "customer")
HISTORY_COLUMNS = (*_IN_COLUMNS, "history")
_HISTORY_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(History)
    if field.name not in _IN_COLUMNS
}


def json_text(value: Any) -> str:
    """Compact JSON in ASCII with sorted keys: one text per value on both databases.

    ASCII keeps NUL and lone surrogates, which a service or a file may hold, out of the database.
    """
    return _ENCODER.encode(value)


def moment_text(at: datetime) -> str:
    """The moment in UTC with microseconds. Raises ValueError for one without a time zone."""
    if at.tzinfo is None:
        raise ValueError("a moment in the ledger needs a time zone")
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def moment(text: str | None) -> datetime | None:
    """The moment that `moment_text` wrote, None for None."""
    return None if text is None else datetime.fromisoformat(text)


def index_text(text: str | None) -> str | None:
    """The text as an index column can hold it: without NUL and lone surrogates."""
    if text is None:
        return None
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def hash_digest(hardware_hash: str) -> str:
    """Return the digest that the ledger keeps of a hardware hash."""
    return digest_of_bytes(hardware_hash.encode("utf-8", "surrogatepass"))


def without_hashes(value: Any) -> Any:
    """The JSON value with the digest in place of every `hardwareHash`, however deep."""
    if isinstance(value, Mapping):
        kept = {k: without_hashes(v) for k, v in value.items() if k != "hardwareHash"}
        if value.get("hardwareHash"):
            kept["hardwareHashDigest"] = hash_digest(str(value["hardwareHash"]))
        return kept
    if isinstance(value, list | tuple):
        return [without_hashes(item) for item in value]
    return value


def device_json(device: Device) -> dict[str, Any]:
    """The device as the user named it, as a JSON object without its hardware hash."""
    named = json_form(device)
    named |= _hash_digest_of(device.identity)
    if device.replacement is not None:
        named["replacement"] |= _hash_digest_of(device.replacement)
    return named


def registration_from(stored: Mapping[str, Any], target: Target) -> Registration:
    """Read a device's registration from the `found` of a `resolved` event."""
    return structure(Registration, stored, target=target, hardware_hash=stored.get("hardwareHash"))


def registration_json(registration: Registration) -> dict[str, Any]:
    """A registration with its target and its full hash: for the restore kit alone."""
    return {
        **json_form(registration.target),
        **json_form(registration),
        **stated(hardwareHash=registration.hardware_hash),
    }


def new_device_columns(index: int, device: Device) -> dict[str, Any]:
    """The row of a device that nothing happened to yet, but for its run."""
    return {
        "idx": index,
        "row": device.row,
        "serial_number": index_text(device.identity.serial_number),
        "product_key_id": index_text(device.identity.product_key_id),
        "device": json_text(device_json(device)),
        **history_columns(History()),
    }


def history_columns(history: History) -> dict[str, Any]:
    settled_at = history.settled_at
    rest = {
        name: value
        for name, default in _HISTORY_DEFAULTS.items()
        if (value := getattr(history, name)) != default
    }
    return {
        "state": history.state.value,
        "outcome": history.outcome.value,
        "settled_at": None if settled_at is None else moment_text(settled_at),
        "customer": index_text(history.customer),
        "history": json_text(rest),
    }


def history_from(columns: Columns) -> History:
    """The history that `history_columns` wrote."""
    rest: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(columns["history"]).items()
    }
    return History(
        state=State(columns["state"]),
        outcome=Outcome(columns["outcome"]),
        settled_at=moment(columns["settled_at"]),
        customer=columns["customer"],
        **rest,
    )


def found_columns(device: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `resolved` event's other columns for a device; `device` is its column.

    The serial number and product key id that the service shows are searchable where the user
    gave none.
    """
    target, found = payload.get("target"), payload.get("found")
    named, shown = json.loads(device), found or {}
    return {
        "target": None if target is None else json_text(target),
        "found": None if found is None else json_text(found),
        "serial_number": index_text(named.get("serialNumber") or shown.get("serialNumber")),
        "product_key_id": index_text(named.get("productKeyId") or shown.get("productKeyId")),
    }


UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""The exceptions that reading a tampered row can raise."""


def run_device_from(columns: Columns) -> RunDevice:
    """A row of the table `devices`. Raises DamagedRunError."""
    try:
        named = json.loads(columns["device"])
        shown = None if columns["found"] is None else json.loads(columns["found"])
        place = json.loads(columns["target"] or "null")
        target = None if place is None else structure(Target, place)
        history = history_from(columns)
        return RunDevice(
            run=RunId(columns["run"]),
            index=columns["idx"],
            device=structure(Device, named),
            history=history,
            act=Act(step=history.step, record=history.record or "") if history.step else None,
            target=target,
            found=None if shown is None or target is None else registration_from(shown, target),
            hardware_hash_digest=named.get("hardwareHashDigest"),
            found_hash_digest=None if shown is None else shown.get("hardwareHashDigest"),
        )
    except UNREADABLE as error:
        raise DamagedRunError(columns["run"], f"its device {columns['idx']}") from error


def run_from(columns: Columns, customers: tuple[TenantId, ...]) -> RunRecord:
    """A row of the table `runs`, with what it does not contain. Raises DamagedRunError."""
    try:
        counts = json.loads(columns["counts"])
        return structure(
            RunRecord,
            columns,
            spelled=str,  # the columns are called as the fields
            customers=customers,
            settings=json.loads(columns["settings"]),
            counts={outcome: counts[outcome] for outcome in Outcome if outcome in counts},
            head=RunHead(run=RunId(columns["run"]), n=columns["head_n"], hash=columns["head_hash"]),
        )
    except UNREADABLE as error:
        raise DamagedRunError(columns["run"], "its row") from error


def damaged_run(columns: Columns) -> RunRecord:
    """A run whose row cannot be read, as far as a list of runs has to name it."""
    channels = {name.value: name for name in ChannelName}
    return RunRecord(
        run=RunId(columns["run"]),
        channel=channels.get(columns["channel"], ChannelName.PARTNER_CENTER),
        state=RunState.DAMAGED,
        batch_id=str(columns["batch_id"]),
        batch_digest=str(columns["batch_digest"]),
        file=str(columns["file"]),
        depot=columns["depot"],
        devices=0,
        counts={},
        created_at=datetime(1970, 1, 1, tzinfo=UTC),
        head=RunHead(run=RunId(columns["run"]), n=0, hash=""),
    )


def event_from(columns: Columns) -> StoredEvent:
    """A row of the table `events`."""
    text = columns["payload"]
    event = Event(
        run=RunId(columns["run"]),
        kind=Kind(columns["kind"]),
        at=datetime.fromisoformat(columns["at"]),
        device=columns["device"],
        payload={} if text is None else json.loads(text),
    )
    return StoredEvent(event=event, n=columns["n"], hash=columns["hash"])


def _hash_digest_of(identity: Identity) -> dict[str, str]:
    if not identity.hardware_hash:
        return {}
    return {"hardwareHashDigest": hash_digest(identity.hardware_hash)}
