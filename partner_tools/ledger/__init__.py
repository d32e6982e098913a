"""The durable record: append-only events in a hash chain, and what they amount to, by index."""

from partner_tools.events import RunDevice as RunDevice
from partner_tools.ledger.codec import hash_digest as hash_digest
from partner_tools.ledger.database import sqlite_url as sqlite_url
from partner_tools.ledger.records import RANDOM_BYTES as RANDOM_BYTES
from partner_tools.ledger.records import DeviceTrace as DeviceTrace
from partner_tools.ledger.records import RunFilter as RunFilter
from partner_tools.ledger.records import RunRecord as RunRecord
from partner_tools.ledger.records import RunStart as RunStart
from partner_tools.ledger.records import StoredEvent as StoredEvent
from partner_tools.ledger.records import is_run_id as is_run_id
from partner_tools.ledger.records import new_run_id as new_run_id
from partner_tools.ledger.restore_kit import read_kit as read_kit
from partner_tools.ledger.restore_kit import write_kit as write_kit
from partner_tools.ledger.store import Ledger as Ledger
