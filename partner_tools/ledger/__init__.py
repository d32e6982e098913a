"""The durable record: append-only events in a hash chain, and what they amount to, by index."""

from partner_tools.errors import UnknownRunError
from partner_tools.events import RunDevice
from partner_tools.ledger.codec import hash_digest
from partner_tools.ledger.database import sqlite_url
from partner_tools.ledger.records import (
    RANDOM_BYTES,
    DeviceTrace,
    IntegrityFinding,
    RememberedRate,
    RunFilter,
    RunHead,
    RunRecord,
    RunStart,
    StoredEvent,
    is_run_id,
    new_run_id,
)
from partner_tools.ledger.restore_kit import delete_kit, read_kit, write_kit
from partner_tools.ledger.store import Ledger

__all__ = [
    "RANDOM_BYTES",
    "DeviceTrace",
    "IntegrityFinding",
    "Ledger",
    "RememberedRate",
    "RunDevice",
    "RunFilter",
    "RunHead",
    "RunRecord",
    "RunStart",
    "StoredEvent",
    "UnknownRunError",
    "delete_kit",
    "hash_digest",
    "is_run_id",
    "new_run_id",
    "read_kit",
    "sqlite_url",
    "write_kit",
]
