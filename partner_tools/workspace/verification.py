"""Asks the services again what is still there, and keeps what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partner_tools.errors import AuthError
from partner_tools.model import ChannelName, Outcome
from partner_tools.result import still_listed
from partner_tools.workspace.onlooker import Onlooker
from partner_tools.workspace.results import RunResult, read_result
from partner_tools.workspace.stopping import StopSign
from partner_tools.workspace.wiring import workplace

if TYPE_CHECKING:
    from partner_tools.config import Config
    from partner_tools.ledger import Ledger, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a look came to. `observable`: whether the channel shows registrations at all.

    `unseen` is the exit code of looking into the customer's tenant alone: 4 where nothing let us,
    5 where it was not available.
    """

    result: RunResult
    observable: bool
    unseen: int = 0

    @property
    def exit_code(self) -> int:
        """With what `verify` ends: 7 while anything that was removed is still listed."""
        if self.unseen == AuthError.exit_code:
            return self.unseen
        histories = [each.history for each in self.result.devices]
        unsettled = any(each.outcome is Outcome.UNKNOWN for each in histories)
        doubt = unsettled and not self.observable
        return 7 if doubt or any(still_listed(each) for each in histories) else self.unseen


def verify(
    config: Config,
    ledger: Ledger,
    stop: StopSign,
    run: str,
    *,
    wait: float,
    graph: bool,
    onlooker: Onlooker,
) -> Verification:
    """Look for up to `wait` seconds; see `Workspace.verify`."""
    from partner_tools.workspace.watch import TenantCheck

    record, began = ledger.run(run), stop.clock()
    own = record.channel is ChannelName.MICROSOFT_GRAPH
    observable = own or _look_at_channel(config, ledger, stop, record, wait, onlooker)
    watch = TenantCheck(config=config, ledger=ledger, stop=stop, run=record.run, tell=onlooker.told)
    unseen = watch.verify(max(0.0, began + wait - stop.clock())) if graph or own else 0
    return Verification(
        result=read_result(ledger, record.run), observable=observable, unseen=unseen
    )


def _look_at_channel(
    config: Config,
    ledger: Ledger,
    stop: StopSign,
    record: RunRecord,
    wait: float,
    onlooker: Onlooker,
) -> bool:
    """Look whether the channel still lists what was removed; False where it shows nobody."""
    from partner_tools.runs.removal import verify_removal

    with workplace(record.channel, config, ledger, stop, onlooker=onlooker) as place:
        if not place.channel.observable:
            onlooker.told(f"{record.channel} cannot be observed: nothing was looked for")
            return False
        how_long = f"for up to {wait:.0f} s" if wait else "once"
        onlooker.told(f"looking {how_long} whether what was removed is gone")
        verify_removal(place, record.run, wait_seconds=wait)
        return True
