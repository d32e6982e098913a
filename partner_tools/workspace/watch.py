"""Looks into a customer's tenant: by whose token, and what is told of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from partner_tools.config import Config
from partner_tools.engine.cancelling import Sign
from partner_tools.errors import AuthError, GuardError, PartnerToolsError, Rejected, ServiceError
from partner_tools.events import State
from partner_tools.model import GONE, Outcome, RunId
from partner_tools.workspace.environment import new_id, now
from partner_tools.workspace.sign_in import GRAPH_HANDED_IN, GRAPH_URL, graph_tokens

if TYPE_CHECKING:
    from partner_tools.ledger import Ledger, RunDevice
    from partner_tools.outstanding.decision import Risk
    from partner_tools.runs.observation import TenantReader


def is_configured(config: Config) -> bool:
    """Whether the user has said that Graph may be asked: by a token, or by the profile."""
    return GRAPH_HANDED_IN in config.secrets or config.text("graph", "access") is not None


@contextmanager
def lookout(
    config: Config,
    ledger: Ledger,
    stop: Sign,
    tenant: str,
    *,
    deadline: float | None = None,
) -> Iterator[TenantReader]:
    """The way to one tenant, at its own pace. Raises AuthError where there is none.

    After `deadline`, by `stop.clock`, nothing more is read, and nothing tried again.
    """
    from partner_tools.clients.graph import Graph
    from partner_tools.clients.transport import Transport
    from partner_tools.engine.rate_limiter import FixedRateLimiter
    from partner_tools.engine.request_executor import RequestExecutor
    from partner_tools.pacing import Policy
    from partner_tools.runs.observation import TenantReader
    from partner_tools.runs.tenant import LIMIT

    with Transport(
        config.text("urls", "graph") or GRAPH_URL,
        tokens=graph_tokens(config, tenant),
        ca_bundle=config.path("ca_bundle"),
        timeout=config.timeout,
    ) as transport:
        client = Graph(transport, ids=new_id, now=now)
        line = RequestExecutor(
            pace=FixedRateLimiter(LIMIT, clock=stop.clock),
            policy=Policy(),
            stop=stop,
            clock=stop.clock,
            nap=stop.nap,
            jitter=random.random,
            renew=client.renew_token,
        )
        yield TenantReader(
            client=client,
            line=line,
            record=ledger.record,
            now=now,
            associations=config.get("graph", "device_association") is not False,
            deadline=deadline,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantCheck:
    """One looking at one run. `tell` is told what is done and what could not be read."""

    config: Config
    ledger: Ledger
    stop: Sign
    run: RunId
    tell: Callable[[str], None]
    opened: set[str] = field(default_factory=set)
    """The tenants that let us in."""

    def verify(self, wait_seconds: float) -> int:
        """Look for every device, and again for what the services still have to do by themselves.

        The exit code: 0, or what kept the first look or the last from seeing everything.
        """
        from partner_tools.runs.observation import awaited, keep_looking

        reason = self.ledger.run(self.run).reason
        codes = [self.look(self._devices())]
        keep_looking(
            lambda indexes: codes.append(self._look_again(indexes)),
            lambda: awaited(self._seen(), reason, now()),
            wait_seconds=wait_seconds,
            stop=self.stop,
            clock=self.stop.clock,
            tell=self.tell,
        )
        return _worst((codes[0], codes[-1]))

    def look(self, devices: Iterable[RunDevice], deadline: float | None = None) -> int:
        """Look for devices in their tenants until the deadline; what cannot be read is told.

        The exit code: 4 where no tenant let us look, 5 where one was not available.
        """
        groups = _by_tenant(devices)
        if nobodys := groups.pop(None, []):
            self.tell(f"not verified: no customer is known for {len(nobodys)} devices")
        codes = [
            self._look_into(tenant, group, deadline) for tenant, group in groups.items() if tenant
        ]
        # A token that was handed in is for one tenant: of the others nothing is expected.
        opened = [code for code in codes if code is not None]
        return _worst(opened if opened or not codes else [AuthError.exit_code])

    def before_removal(
        self, timeout: float, *, required: bool
    ) -> Mapping[Risk, Sequence[RunDevice]]:
        """Look for what is about to be removed, and name what speaks against removing it.

        Raises GuardError where that is `required` and could not be read within `timeout` seconds.
        """
        from partner_tools.outstanding.decision import WORDS
        from partner_tools.runs.checks import risks_of

        self.tell("looking into the customer's tenant before anything is removed")
        devices = [each for each in self._devices() if _wants_snapshot(each)]
        code = self.look(devices, self.stop.clock() + timeout)
        if code and required:
            raise GuardError(
                "the customer's tenant could not be read: nothing was removed",
                rule="snapshot-incomplete",
                remedy="try again later, allow more time with --snapshot-timeout, or accept what "
                "could be read with --snapshot best-effort",
            )
        risks = risks_of(self.ledger, self.run, now())
        for risk, devices in risks.items():
            names = ", ".join(_name(each) for each in devices)
            self.tell(f"{WORDS[risk]} ({len(devices)}): {names}")
        return risks

    def _seen(self) -> list[RunDevice]:
        return [each for each in self._devices() if each.history.customer in self.opened]

    def _look_again(self, indexes: Collection[int]) -> int:
        return self.look(each for each in self._devices() if each.index in indexes)

    def _devices(self) -> list[RunDevice]:
        return [
            each
            for each in self.ledger.devices(self.run)
            if each.history.outcome is not Outcome.DUPLICATE
        ]

    def _look_into(
        self, tenant: str, devices: Sequence[RunDevice], deadline: float | None
    ) -> int | None:
        """The exit code of what could not be read there; None where nothing let us in."""
        from partner_tools.runs.observation import observe

        try:
            with lookout(self.config, self.ledger, self.stop, tenant, deadline=deadline) as opened:
                outlook = observe(opened, devices)
        except AuthError as error:
            self._tell_failure(tenant, error)
            return None
        self.opened.add(tenant)
        for failure in outlook.failures:
            self._tell_failure(tenant, failure)
        unread = [each for each in outlook.failures if not isinstance(each, Rejected)]
        return _worst([_exit_code(each) for each in (*unread, *outlook.blind)])

    def _tell_failure(self, tenant: str, error: PartnerToolsError) -> None:
        self.tell(f"not verified in {tenant}: {error}")
        if error.remedy:
            self.tell(f"  {error.remedy}")


def refuse_blindness(config: Config) -> None:
    """Raise GuardError where Intune has to be clear, and nobody can look into it."""
    if not is_configured(config):
        raise GuardError(
            "the customer's tenant has to be read first, and there is no access to it",
            rule="intune-not-verified",
            remedy=f"set {GRAPH_HANDED_IN}, or graph.access in the profile; or leave out "
            "--require-intune-clear and --snapshot required",
        )


def _by_tenant(devices: Iterable[RunDevice]) -> dict[str | None, list[RunDevice]]:
    groups: dict[str | None, list[RunDevice]] = {}
    for each in devices:
        groups.setdefault(each.history.customer, []).append(each)
    return groups


def _wants_snapshot(device: RunDevice) -> bool:
    """What may still be removed, always; what settled without a removal, once."""
    if device.history.state is State.READY:
        return True
    looked = any(each.get("source") == "graph" for each in device.history.evidence)
    return device.history.outcome not in GONE and not looked


_UNLICENSED = re.compile(r"not applicable to target tenant|active intune licen[cs]e", re.IGNORECASE)
"""How Intune refuses a tenant that has none of it (https://learn.microsoft.com/graph/api, read
2026-11; the first was seen, that it means this is assumed)."""


def _worst(codes: Collection[int]) -> int:
    """One exit code for several: 4 needs a person, 5 only another look."""
    return AuthError.exit_code if AuthError.exit_code in codes else max(codes, default=0)


def _exit_code(failure: ServiceError) -> int:
    """What a failure amounts to: 4 for a permission, 0 for a tenant without Intune, else 5."""
    if not isinstance(failure, Rejected):
        return failure.exit_code
    if failure.status == 403:
        return AuthError.exit_code
    return 0 if _UNLICENSED.search(str(failure)) else failure.exit_code


def _name(device: RunDevice) -> str:
    identity = device.device.identity
    return identity.serial_number or identity.product_key_id or f"row {device.device.row}"
