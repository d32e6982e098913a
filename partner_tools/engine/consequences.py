"""What verdicts mean beyond the devices that they are about. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from partner_tools.engine.channel import Answer, Deferral, Verdict
from partner_tools.errors import Rejected, ServiceError, Unavailable


def deferral(verdicts: Iterable[Verdict]) -> ServiceError | None:
    """Some device of an answered call wants to be asked later: rest as after a failure."""
    for verdict in verdicts:
        if isinstance(verdict, Deferral):
            return Unavailable(
                verdict.detail,
                status=verdict.status,
                code=verdict.code,
                retry_after=verdict.retry_after,
            )
    return None


def end_where_barred(verdicts: Iterable[Verdict]) -> None:
    """End the run, by Rejected, where the service says that the request itself is wrong."""
    for verdict in verdicts:
        if isinstance(verdict, Answer) and verdict.bars_run:
            raise Rejected(
                f"the run was stopped: {verdict.detail}",
                remedy=verdict.remedy or "",
                rule=verdict.rule,
                status=verdict.status,
                code=verdict.code,
                request_id=verdict.request_id,
                correlation_id=verdict.correlation_id,
            )
