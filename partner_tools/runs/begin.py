"""Begins a run: from here on it exists, and can be resumed whatever happens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from partner_tools.ledger import Ledger, RunStart
from partner_tools.model import Batch, ChannelName, RunId


def begin(
    ledger: Ledger,
    run: RunId,
    batch: Batch,
    *,
    channel: ChannelName,
    settings: Mapping[str, Any],
    actor: str | None,
    now: datetime,
) -> None:
    """Store the batch as a new run; durable on return. Nothing was sent yet."""
    start = start_of(run, batch, channel=channel, settings=settings, actor=actor, now=now)
    ledger.create_run(start, batch.devices)


def start_of(
    run: RunId,
    batch: Batch,
    *,
    channel: ChannelName,
    settings: Mapping[str, Any],
    actor: str | None,
    now: datetime,
    depot: str | None = None,
) -> RunStart:
    """What is known of a run before it is planned."""
    return RunStart(
        run=run,
        channel=channel,
        batch_id=batch.batch_id,
        batch_digest=batch.digest,
        file=batch.file,
        at=now,
        reason=batch.reason,
        reference=batch.reference,
        customer=batch.customer,
        actor=actor,
        settings=settings,
        depot=depot,
    )
