"""An event as it will be stored: without hardware hashes, in UTC, its payload as text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC

from partner_tools.events import Event
from partner_tools.ledger import chain, codec


@dataclass(frozen=True, slots=True)
class Draft:
    """An event with its texts, made before the turn to write comes."""

    event: Event
    at: str
    text: str
    digest: str


def make_draft(event: Event) -> Draft:
    """Make an event ready to be stored.

    Raises ValueError or TypeError for a moment without a time zone or a payload that is not JSON.
    """
    at = codec.moment_text(event.at)
    text = codec.json_text(event.payload)
    if '"hardwareHash"' in text:
        event = replace(event, payload=codec.without_hashes(event.payload))
        text = codec.json_text(event.payload)
    if event.at.tzinfo is not UTC:
        event = replace(event, at=event.at.astimezone(UTC))
    return Draft(event, at, text, chain.payload_digest(text))
