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
    ledger.create_run(
        RunStart(
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
        ),
        batch.devices,
    )
