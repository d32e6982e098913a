"""The interface between the engine and a channel, and a channel's verdicts on devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from partner_tools.errors import Rejected
from partner_tools.events import Act
from partner_tools.gate import IntendedRequest
from partner_tools.model import ChannelName, Explanation, Outcome, Registration, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal(IntendedRequest):
    """One device to remove, with the ids that its attempt carries.

    `request_id` stays the same until an answer came, also over a restart. `silent` says that a
    request of ours went unanswered before, which an `absent` has to mention; `doubted` that an
    earlier request may have removed the device already; `confirmed` that the device's own hardware
    hash states this identity. `found` is the registration that the plan
    found, `others` are those that it knows to be other devices. `act` is there where a channel
    removes in several steps, and `approval` where another administrator was asked for the step.
    """

    request_id: str
    correlation_id: str
    silent: bool = False
    doubted: bool = False
    confirmed: bool = False
    found: Registration | None = None
    others: frozenset[Target] = frozenset()
    act: Act | None = None
    approval: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sightings:
    """Where devices are registered now, by index; None where one is not.

    `registrations` counts everything that was listed, of whichever device.
    """

    targets: Mapping[int, Target | None]
    registrations: int


NOT_KEPT = {"property": None}
"""The metadata of a verdict's fields that the ledger does not keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The service said what became of the device.

    `bars_customer`: it holds for all devices of the customer. `bars_run`: the request itself is
    wrong, so that no further call may be made. `unexpected`: the contract of the service does not
    know it; several in a row mean that something else answers.
    """

    outcome: Outcome
    rule: str | None = None
    detail: str | None = None
    remedy: str | None = None
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    correlation_id: str | None = None
    bars_customer: bool = field(default=False, metadata=NOT_KEPT)
    bars_run: bool = field(default=False, metadata=NOT_KEPT)
    unexpected: bool = field(default=False, metadata=NOT_KEPT)

    @classmethod
    def to(
        cls, rejection: Rejected, outcome: Outcome, *, rule: str, detail: str, **more: Any
    ) -> Answer:
        """The answer that a refusal is for its device, with the refusal's status, code and ids."""
        return cls(outcome=outcome, rule=rule, detail=detail, **rejection.facts | more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """The service did nothing with this device and may be asked again, in `retry_after` seconds."""

    detail: str
    status: int | None = None
    code: str | None = None
    retry_after: float | None = field(default=None, metadata=NOT_KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """It may have been done. `answered` says whether any answer came (then the id is spent)."""

    answered: bool
    detail: str
    remedy: str | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The service took the work; `handle` is what it gave to ask after it."""

    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """One step of several is done. Looking decides the next one."""

    step: str
    detail: str | None = None
    status: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitingApproval:
    """The step waits for a person, whose approval is asked for under this code."""

    approval: str
    detail: str
    remedy: str
    status: int | None = None
    request_id: str | None = None


Verdict = Answer | Deferral | Doubt | Acceptance | StepDone | AwaitingApproval


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """How accepted work is asked after, in seconds. The deadline counts from the first question."""

    interval: float = 10.0
    max_interval: float = 120.0
    deadline: float = 3600.0


class Channel(Protocol):
    """A way to remove registrations."""

    @property
    def name(self) -> ChannelName:
        """The name of this channel."""

    @property
    def call_size(self) -> int:
        """How many devices one call may carry."""

    @property
    def observable(self) -> bool:
        """Whether the channel can look what is still registered."""

    @property
    def repeats(self) -> bool:
        """Whether an unanswered removal may be sent again at once, with the same request id."""

    @property
    def polling(self) -> Polling:
        """How accepted work is asked after."""

    def remove(self, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """One attempt to remove them in one call; a verdict for every index that was passed.

        Raises a ServiceError where no verdict was had, AuthError where this partner or its token
        may not do this at all.
        """

    def poll(self, handle: str, removals: Sequence[Removal]) -> Mapping[int, Verdict]:
        """One attempt to ask after accepted work; `Acceptance` for what is not finished."""

    def recall(self, removals: Sequence[Removal]) -> Mapping[int, bool | Explanation]:
        """Look, patiently, which of them are still registered. Complete, or raises.

        An explanation says why one is not sent again: another device is registered in its place.

        Of one with an `act`: whether that is still to be done. Called only where the channel is
        observable.
        """
