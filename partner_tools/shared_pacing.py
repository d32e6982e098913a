"""One pace for many processes: assign the next permits. Decisions over values, as in `pacing`.

The state is a `Shared`, kept as one text that one process at a time changes. Parties (a depot
at a priority) are served by weighted turns: the one that has had least is next,
and absence saves up no turns. A permit is handed out a tenth of a second ahead at most,
so that a pause finds few of them. All times are seconds of the clock of the database's server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from partner_tools import pacing
from partner_tools.json_forms import structure
from partner_tools.pacing import Learned, Permit, RateState

HORIZON: Final = 0.1
"""So far ahead permits are handed out. What 429 voids of them may leave before it is known."""
SLICE: Final = 64
"""Permits handed out at once, at most."""
ABSENT: Final = 2.0
"""A party silent for longer than this is not waiting any more: its process may be dead."""
LATE: Final = 0.5
"""A party silent for longer than this is not waited for; its turns are kept."""
LEAD: Final = 0.5
"""The share of what is handed out ahead by which a party may go before others' turns: who asks
late, or never again, does not leave permits unused meanwhile, and has its turns afterwards."""
FORGOTTEN: Final = 900.0
"""A pace unused for longer than this restarts from what it learned."""
WEIGHT_PER_PRIORITY: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Party:
    """Whose requests are counted together."""

    depot: str = ""
    priority: int = 0

    @property
    def weight(self) -> float:
        """Its share beside a party of priority 0: each step doubles it."""
        return WEIGHT_PER_PRIORITY**self.priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A party's past share by its weight, and how many permits each process wants for it."""

    had: float
    seen: float
    wishes: Mapping[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """All that the processes on one limit scope share."""

    pace: RateState
    turns: Mapping[Party, Turn] = field(default_factory=dict)
    at: float
    """When it was last changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOutcome:
    """The result of a request: answered, throttled, or neither."""

    permit: Permit
    at: float
    answered: bool
    throttled: bool = False
    retry_after: float | None = None


def begin(
    shared: Shared | None, now: float, *, known: Learned | None, age: float, max_rate: float | None
) -> Shared:
    """Read the shared state, or start with the rate that an earlier run learned `age` seconds ago.

    An unused state restarts. A given `max_rate` bounds all processes.
    """
    if shared is None:
        return Shared(pace=pacing.remembered(known, now, age=age, max_rate=max_rate), at=now)
    idle = now - shared.at
    if idle > FORGOTTEN:
        learned = pacing.learned(shared.pace) or known
        return Shared(pace=pacing.remembered(learned, now, age=idle, max_rate=max_rate), at=now)
    if max_rate is None or max_rate == shared.pace.max_rate:
        return shared
    bounded = replace(shared.pace, max_rate=max_rate, rate=min(shared.pace.rate, max_rate))
    return replace(shared, pace=bounded)


def hear(shared: Shared, outcomes: Sequence[RequestOutcome]) -> Shared:
    """Let the pace learn from answers, in the order in which they came."""
    pace = shared.pace
    for each in sorted(outcomes, key=lambda one: one.at):
        if each.throttled:
            pace = pacing.throttled(pace, each.permit, each.at, each.retry_after)
        elif each.answered:
            pace = pacing.succeeded(pace, each.permit, each.at)
        else:
            pace = pacing.withdrawn(pace, each.permit)
    return replace(shared, pace=pace)


Grants = tuple[tuple[Party, Permit], ...]


def lease(
    shared: Shared,
    process: str,
    wishes: Mapping[Party, int],
    now: float,
    horizon: float = HORIZON,
) -> tuple[Shared, Grants]:
    """Hand out the permits that are due soon to the parties of one process.

    `wishes` is how many permits it wants for each of its parties, `horizon` how far ahead. Its
    parties may go before those of other processes by what is handed out ahead, because these may
    be slow to ask or dead; then what is due to another party is left to it until its moment has
    come, when whoever asks may have it.
    """
    turns = _wished(shared.turns, process, wishes, now)
    had = {party: turn.had for party, turn in turns.items() if turn.wishes}
    mine = {party: count for party, count in wishes.items() if count > 0}
    # Another process asked for these so lately that it will take what is left.
    awaited = [
        party
        for party, turn in turns.items()
        if any(name != process and asked > now - LATE for name, (_, asked) in turn.wishes.items())
    ]
    pace, granted = shared.pace, list[tuple[Party, Permit]]()
    lead = pace.rate * horizon * LEAD
    while mine and len(granted) < SLICE:
        at = pacing.due(pace, now)
        next_party = min(mine, key=lambda party: (had[party], party))
        least = min((had[party] for party in awaited), default=had[next_party])
        too_far = (had[next_party] - least) * next_party.weight > lead
        if at > now + horizon or (at > now and too_far):
            break
        pace, permit = pacing.reserve(pace, now)
        granted.append((next_party, permit))
        had[next_party] += 1.0 / next_party.weight
        mine[next_party] -= 1
        if not mine[next_party]:
            del mine[next_party]
    turns = {party: replace(turn, had=had.get(party, turn.had)) for party, turn in turns.items()}
    return replace(shared, pace=pace, turns=turns, at=now), tuple(granted)


def to_text(shared: Shared) -> str:
    """The state as one line of JSON."""
    turns = [
        [party.depot, party.priority, turn.had, turn.seen, turn.wishes]
        for party, turn in shared.turns.items()
    ]
    document = {"pace": asdict(shared.pace), "turns": turns, "at": shared.at}
    return json.dumps(document, separators=(",", ":"))


def from_text(text: str | None) -> Shared | None:
    """The state that `to_text` wrote; None if there is none, or another version wrote it."""
    if not text:
        return None
    try:
        document = json.loads(text)
        turns = {
            Party(depot=depot, priority=priority): Turn(
                had=had, seen=seen, wishes={name: (n, at) for name, (n, at) in wishes.items()}
            )
            for depot, priority, had, seen, wishes in document["turns"]
        }
        return Shared(
            pace=structure(RateState, document["pace"], spelled=str), turns=turns, at=document["at"]
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _wished(
    turns: Mapping[Party, Turn], process: str, wishes: Mapping[Party, int], now: float
) -> dict[Party, Turn]:
    """The turns with this process's wishes in place of its former ones, less who is absent."""
    after: dict[Party, Turn] = {}
    for party in sorted({*turns, *wishes}):
        turn = turns.get(party) or Turn(had=0.0, seen=now)
        others = {
            name: wish
            for name, wish in turn.wishes.items()
            if name != process and wish[1] > now - ABSENT
        }
        count = wishes.get(party, 0)
        asked = {**others, process: (count, now)} if count > 0 else others
        seen = now if asked else turn.seen
        if seen > now - ABSENT:
            after[party] = replace(turn, wishes=asked, seen=seen)
    return _levelled(turns, after)


def _levelled(before: Mapping[Party, Turn], after: dict[Party, Turn]) -> dict[Party, Turn]:
    """Level a returning party with the one that had least, so that absence saves nothing up."""
    staying = [
        turn.had
        for party, turn in after.items()
        if turn.wishes and party in before and before[party].wishes
    ]
    least = min(staying, default=0.0)
    return {
        party: turn
        if not turn.wishes or (party in before and before[party].wishes)
        else replace(turn, had=max(turn.had, least))
        for party, turn in after.items()
    }
