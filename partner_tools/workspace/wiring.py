"""Puts the parts together: the only place where clients, ledger, channels and runs meet."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.cancellation import CancellationToken
from partner_tools.config import Config
from partner_tools.engine.request_executor import RateLimiter
from partner_tools.files import HOLD_LIST_BYTES, read_document
from partner_tools.guards import DEFAULT_MAX_DEVICES, Limits, read_hold_list
from partner_tools.homoglyphs import one_line
from partner_tools.model import PARTNER_CHANNELS, ChannelName, Customer, Plan, RunId
from partner_tools.pacing import Learned, remembered
from partner_tools.place import GuardTerms, Place
from partner_tools.shared_pacing import Party, begin
from partner_tools.strict_json import read_text
from partner_tools.workspace.approvals import approval_rule
from partner_tools.workspace.environment import new_id, now, user_data_folder

if TYPE_CHECKING:
    from partner_tools.channels.oem_direct import OemDirectChannel
    from partner_tools.channels.partner_center import PartnerCenterChannel
    from partner_tools.clients.oauth import TokenFacts
    from partner_tools.clients.partner_center import PartnerCenter
    from partner_tools.clients.transport import TokenSource, Transport
    from partner_tools.engine.channel import Channel
    from partner_tools.engine.rate_limiter import (
        AdaptiveRateLimiter,
        FixedRate,
        LearningRateLimiter,
        RateSnapshot,
        SharedRateLimiter,
    )
    from partner_tools.engine.request_executor import RequestExecutor
    from partner_tools.ledger import Ledger
    from partner_tools.runs.assessment import AssessmentSteps
    from partner_tools.runs.cleanup import CleanupOrder, CleanupSteps
    from partner_tools.runs.context import Confirm, OpenTenant, RunContext, RunObserver, RunOptions
    from partner_tools.runs.removal import RemovalSteps
    from partner_tools.runs.tenant import TenantReader

PartnerTenant = Callable[[], str | None]
"""Gives the partner's tenant id as the channel's token states it, None without one."""

PARTNER_CENTER_URL = "https://api.partnercenter.microsoft.com"

OEM_CALLS_AT_A_TIME = 1
"""One after the other: an answer that says that the request itself is wrong (801) has to stop the
next."""
CLEANUP_CALLS_AT_A_TIME = 4


def limits(config: Config, max_devices: int | None) -> Limits:
    """Return the limits for removals: a flag before the profile before the default."""
    configured = config.get("limits", "max_devices")
    return Limits(
        max_devices=int(_first(max_devices, configured, DEFAULT_MAX_DEVICES)),
        max_devices_per_day=config.get("limits", "max_devices_per_day"),
        max_estate_share=config.get("guards", "max_estate_share"),
    )


def held(config: Config) -> frozenset[str]:
    """The lines of the hold list. Raises InputError if one is not a single identifier."""
    file = config.path("guards", "hold_list")
    if file is None:
        return frozenset()
    text: str = read_document(
        file,
        HOLD_LIST_BYTES,
        what="the hold list",
        rule="hold-list-unreadable",
        remedy="correct guards.hold_list in the profile; nothing is removed without it",
        read=read_text,
    )
    return read_hold_list(text, str(file))


class HoldListFile:
    """The hold list, read again whenever its file changed. Thread-safe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stamp: tuple[int, ...] = ()
        self._held: frozenset[str] | None = None
        self._lock = threading.Lock()

    def __call__(self) -> frozenset[str]:
        """The hold list as it is now. Raises InputError if it cannot be read."""
        file = self._config.path("guards", "hold_list")
        stamp: tuple[int, ...] = ()
        if file is not None and file.exists():
            seen = file.stat()
            stamp = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
        with self._lock:
            if self._held is None or not stamp or stamp != self._stamp:
                self._held, self._stamp = held(self._config), stamp
            return self._held


def place_of(config: Config, channel: ChannelName) -> Place:
    """Where the configuration says that a channel's runs act; the token says for which partner."""
    from partner_tools.clients.oauth import GLOBAL_LOGIN_URL

    address, wire_profile = config.text("urls", "partner_center") or PARTNER_CENTER_URL, None
    if channel is ChannelName.OEM_DIRECT:
        from partner_tools.json_forms import digest_of_bytes
        from partner_tools.workspace.sign_in import profile_path, read_wire_profile

        address = config.text("urls", "oem_direct") or read_wire_profile(config).base_url or ""
        wire_profile = digest_of_bytes(profile_path(config).read_bytes())
    elif channel not in PARTNER_CHANNELS:
        from partner_tools.workspace.sign_in import GRAPH_URL

        address = config.text("urls", "graph") or GRAPH_URL
    rule = approval_rule(config)
    return Place(
        channel=channel,
        address=address,
        login=config.text("urls", "login") or GLOBAL_LOGIN_URL,
        wire_profile=wire_profile,
        guards=GuardTerms(
            hold_list=config.path("guards", "hold_list") is not None,
            max_devices=config.get("limits", "max_devices"),
            max_devices_per_day=config.get("limits", "max_devices_per_day"),
            max_estate_share=config.get("guards", "max_estate_share"),
            approvals=rule.needed if rule.required else 0,
        ),
    )


def private_folder(ledger: Ledger) -> Path:
    """Where restore kits are: beside a SQLite ledger, else with the user's data."""
    return ledger.folder or user_data_folder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Opens the ways to the services for runs on one ledger.

    `shares` is what the slices of a fleet's worker share.
    """

    config: Config
    ledger: Ledger
    token: CancellationToken
    shares: Shares | None = None

    @contextmanager
    def open_removal(
        self,
        run: RunId,
        channel: ChannelName,
        options: RunOptions,
        observer: RunObserver,
        confirm: Confirm,
        *,
        reviewed: tuple[Plan, Mapping[str, Any]] | None = None,
        save_as: Path | None = None,
    ) -> Iterator[RemovalSteps]:
        """The steps of a removal through a partner's channel; remembers the learned rate."""
        from partner_tools.runs.removal import RemovalSteps

        token = self.run_token(run)
        is_oem = channel is ChannelName.OEM_DIRECT
        opener = self._oem_direct if is_oem else self._partner_center
        with opener(token, options.max_rate, observer) as (planner, executor, limiter, partner):
            context = self._context(
                run, options, observer, confirm, planner, executor, limiter, partner
            )
            yield RemovalSteps(context=context, planner=planner, reviewed=reviewed, save_as=save_as)

    @contextmanager
    def open_cleanup(
        self,
        run: RunId,
        order: CleanupOrder,
        options: RunOptions,
        observer: RunObserver,
        confirm: Confirm,
    ) -> Iterator[CleanupSteps]:
        """The steps of a cleanup, with one pace for looking and one for changing."""
        from partner_tools.channels.customer_tenant import CustomerTenantChannel
        from partner_tools.clients.graph import Changes, Graph
        from partner_tools.runs.cleanup import WRITES, CleanupSteps

        token, tenant = self.run_token(run), order.customer.tenant_id
        with self.open_tenant(tenant, token=token) as reader, self._graph(tenant) as transport:
            changes = Changes(transport, now=now)
            channel = CustomerTenantChannel(
                Graph(transport, ids=new_id, now=now),
                changes,
                executor=reader.executor,
                stop=token,
                justification=f"partner-tools cleanup, run {run}, after the partner's run "
                f"{order.received.run.id}",
            )
            executor = _executor(_fixed(WRITES, token), token, transport.renew_token)
            context = self._context(run, options, observer, confirm, channel, executor)
            context = replace(
                context,
                place=replace(context.place, tenant=tenant),
                partner=lambda: tenant,
                account=lambda: one_line(_facts_of(transport.token).who or "", 320) or None,
            )
            yield CleanupSteps(
                context=context,
                order=order,
                reader=reader,
                changes=changes,
                granted=lambda: _facts_of(transport.token).permissions,
            )

    @contextmanager
    def open_assessment(
        self, run: RunId, customer: Customer, options: RunOptions, observer: RunObserver
    ) -> Iterator[AssessmentSteps]:
        """The steps of an assessment, which looks into the tenant if there is a sign-in."""
        from partner_tools.runs.assessment import AssessmentSteps, NoChannel
        from partner_tools.runs.tenant import LIMIT
        from partner_tools.workspace.sign_in import is_own_app

        token = self.run_token(run)
        executor = _executor(_fixed(LIMIT, token), token, lambda: None)
        context = self._context(
            run,
            options,
            observer,
            lambda _plan: True,
            NoChannel(),
            executor,
            partner=lambda: customer.tenant_id,
        )
        if context.open_tenant is None and is_own_app(
            self.config, customer.tenant_id, customer.domain
        ):
            context = replace(context, open_tenant=partial(self.open_tenant, token=token))
        place = replace(context.place, tenant=customer.tenant_id)
        yield AssessmentSteps(context=replace(context, place=place), customer=customer)

    def run_token(self, run: RunId) -> CancellationToken:
        """Return one run's token: set by this process's stop, or a `cancelled` event."""
        return CancellationToken(self.token, cancelled=lambda: self.ledger.is_cancelled(run))

    def tenant_opener(self, token: CancellationToken) -> OpenTenant | None:
        """Opens customers' tenants; None unless a token or the profile says that Graph may be
        asked."""
        from partner_tools.workspace.sign_in import GRAPH_HANDED_IN

        config = self.config
        allowed = GRAPH_HANDED_IN in config.secrets or config.text("graph", "access") is not None
        return partial(self.open_tenant, token=token) if allowed else None

    @contextmanager
    def open_tenant(
        self, tenant: str, deadline: float | None = None, *, token: CancellationToken
    ) -> Iterator[TenantReader]:
        """The way to look into one tenant, at its own pace. Raises AuthError without a token.

        After `deadline`, by the token's clock, nothing more is read, and nothing tried again.
        """
        from partner_tools.clients.graph import Graph
        from partner_tools.runs.tenant import LIMIT, TenantReader

        with self._graph(tenant) as transport:
            client = Graph(transport, ids=new_id, now=now)
            executor = _executor(_fixed(LIMIT, token), token, transport.renew_token)
            yield TenantReader(
                client=client,
                executor=executor,
                record=self.ledger.record,
                now=now,
                associations=self.config.get("graph", "device_association") is not False,
                deadline=deadline,
            )

    @contextmanager
    def open_partner_center(
        self,
        token: CancellationToken,
        observer: RunObserver | None = None,
        max_rate: float | None = None,
    ) -> Iterator[tuple[PartnerCenter, RequestExecutor, LearningRateLimiter]]:
        """Partner Center's client and the executor of its requests; remembers the learned rate."""
        from partner_tools.clients.partner_center import PartnerCenter, warn_of_cloud
        from partner_tools.clients.transport import Transport
        from partner_tools.workspace.sign_in import channel_tokens

        config, shares = self.config, self.shares
        base_url = config.text("urls", "partner_center") or PARTNER_CENTER_URL
        warning = warn_of_cloud(base_url, config.text("urls", "login") or "")
        if warning and observer is not None:
            observer.notify(warning)
        with Transport(
            base_url,
            tokens=channel_tokens(config) if shares is None else shares.tokens(),
            ca_bundle=config.path("ca_bundle"),
            timeout=config.timeout,
            pool_size=config.concurrency,
        ) as transport:
            scope = f"{transport.host}|{config.text('auth', 'tenant') or ''}"
            with self._paced(ChannelName.PARTNER_CENTER, scope, max_rate) as limiter:
                client = PartnerCenter(transport, ids=new_id, correlation_id=new_id(), now=now)
                yield client, _executor(limiter, token, transport.renew_token, observer), limiter

    @contextmanager
    def _partner_center(
        self, token: CancellationToken, max_rate: float | None, observer: RunObserver
    ) -> Iterator[tuple[PartnerCenterChannel, RequestExecutor, LearningRateLimiter, PartnerTenant]]:
        from partner_tools.channels.partner_center import PartnerCenterChannel

        with self.open_partner_center(token, observer, max_rate) as (client, executor, limiter):
            channel = PartnerCenterChannel(
                client=client, executor=executor, now=now, listed=observer.listed
            )
            yield channel, executor, limiter, lambda: _facts_of(client.token).tenant

    @contextmanager
    def _oem_direct(
        self, token: CancellationToken, max_rate: float | None, observer: RunObserver
    ) -> Iterator[tuple[OemDirectChannel, RequestExecutor, LearningRateLimiter, PartnerTenant]]:
        from partner_tools.channels.oem_direct import OemDirectChannel
        from partner_tools.runs.removal import witness
        from partner_tools.workspace.sign_in import open_oem, read_wire_profile

        profile = read_wire_profile(self.config)
        with (
            open_oem(self.config, profile) as (client, transport),
            self._paced(ChannelName.OEM_DIRECT, transport.host, max_rate) as limiter,
        ):
            executor = _executor(limiter, token, transport.renew_token, observer)
            channel = OemDirectChannel(client, profile, partial(witness, self.ledger))
            yield channel, executor, limiter, lambda: _facts_of(transport.token).tenant

    def _context(
        self,
        run: RunId,
        options: RunOptions,
        observer: RunObserver,
        confirm: Confirm,
        channel: Channel,
        executor: RequestExecutor,
        limiter: LearningRateLimiter | None = None,
        partner: Callable[[], str | None] = lambda: None,
    ) -> RunContext:
        from partner_tools.runs.checks import hold_list_gate, plan_gate
        from partner_tools.runs.context import (
            MIN_FOUND_SHARE,
            STALE_HOURS,
            GuardSettings,
            RunContext,
            SealedPlan,
        )
        from partner_tools.signing import ApprovalRule

        config, own = self.config, channel.name not in PARTNER_CHANNELS
        at_a_time = {
            ChannelName.OEM_DIRECT: OEM_CALLS_AT_A_TIME,
            ChannelName.MICROSOFT_GRAPH: min(CLEANUP_CALLS_AT_A_TIME, config.concurrency),
        }
        hold_list, sealed = HoldListFile(config), SealedPlan(self.ledger, run)
        stale = config.get("guards", "stale_hours")
        return RunContext(
            run=run,
            options=options,
            ledger=self.ledger,
            channel=channel,
            executor=executor,
            guards=GuardSettings(
                held=hold_list,
                limits=limits(config, options.max_devices),
                approval=ApprovalRule() if own else approval_rule(config),
                min_found_share=_first(
                    options.min_found, config.get("guards", "min_found_share"), MIN_FOUND_SHARE
                ),
                stale_hours=STALE_HOURS if stale is None else float(stale),
            ),
            place=place_of(config, channel.name),
            partner=partner,
            sealed=sealed,
            gate=hold_list_gate(hold_list) if own else plan_gate(sealed, hold_list),
            record=self.ledger.record,
            settled=observer.settled,
            private_folder=private_folder(self.ledger),
            now=now,
            new_id=new_id,
            open_tenant=self.tenant_opener(executor.stop),
            observer=observer,
            confirm=confirm,
            concurrency=at_a_time.get(channel.name, config.concurrency),
            throttle=lambda: _throttle(limiter) if limiter else "",
        )

    @contextmanager
    def _graph(self, tenant: str) -> Iterator[Transport]:
        from partner_tools.clients.transport import Transport
        from partner_tools.workspace.sign_in import GRAPH_URL, graph_tokens

        with Transport(
            self.config.text("urls", "graph") or GRAPH_URL,
            tokens=graph_tokens(self.config, tenant),
            ca_bundle=self.config.path("ca_bundle"),
            timeout=self.config.timeout,
        ) as transport:
            yield transport

    @contextmanager
    def _paced(
        self, service: ChannelName, scope: str, max_rate: float | None
    ) -> Iterator[LearningRateLimiter]:
        """The pace of one limit scope: the one that is shared already, or one for this command."""
        limit = max_rate or self.config.get("limits", "max_rate")
        if self.shares is not None:
            yield self.shares.rate_limiters.of(service.value, scope, limit, self.shares.party)
            return
        with closing(RateLimiters(self.ledger, self.token.clock)) as limiters:
            yield limiters.of(service.value, scope, limit)


def _first(*values: float | None) -> float:
    """The first value that is set; the last one is."""
    return next(float(value) for value in values if value is not None)


def _facts_of(token: Callable[[], str | None]) -> TokenFacts:
    """The statements of a token; none if it is not readable."""
    from partner_tools.clients.oauth import describe_token

    return describe_token(token() or "")


def _throttle(limiter: LearningRateLimiter) -> str:
    """Describe the reason that delays requests."""
    state = limiter.snapshot()
    if state.paused > 0:
        return f"paused for {state.paused:.0f} s, as the service asked"
    return f"at most {state.rate:.1f} requests/s" if state.throttled else ""


def _fixed(limit: FixedRate, token: CancellationToken) -> RateLimiter:
    from partner_tools.engine.rate_limiter import FixedRateLimiter

    return FixedRateLimiter(limit, clock=token.clock)


def _executor(
    pace: RateLimiter,
    token: CancellationToken,
    renew: Callable[[], None],
    observer: RunObserver | None = None,
) -> RequestExecutor:
    from partner_tools.engine.request_executor import RequestExecutor
    from partner_tools.pacing import Policy

    return RequestExecutor(
        pace=pace,
        policy=Policy(),
        stop=token,
        clock=token.clock,
        jitter=random.random,
        renew=renew,
        waiting=observer.waiting if observer else lambda _error, _seconds: None,
    )


class RateLimiters:
    """The rate limiters of this process, one for each limit scope. Thread-safe.

    On PostgreSQL they are shared with every process on the same ledger.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], AdaptiveRateLimiter | SharedRateLimiter] = {}

    def of(
        self, service: str, scope: str, max_rate: float | None, party: Party | None = None
    ) -> LearningRateLimiter:
        """The pace of a limit scope, as one party sees it where it is shared."""
        from partner_tools.engine.rate_limiter import AdaptiveRateLimiter

        with self._lock:
            limiter = self._open.get((service, scope))
            if limiter is None:
                limiter = self._started(service, scope, max_rate)
                self._open[service, scope] = limiter
        return limiter if isinstance(limiter, AdaptiveRateLimiter) else limiter.of(party or Party())

    def snapshots(self) -> Mapping[tuple[str, str], RateSnapshot]:
        """Return the state of each scope, by service and scope."""
        with self._lock:
            opened = dict(self._open)
        return {scope: limiter.snapshot() for scope, limiter in opened.items()}

    def close(self) -> None:
        """Leave in the ledger what was learned."""
        for (service, scope), limiter in self._open.items():
            learned = limiter.learned()
            if learned is not None:
                rate, refused = learned.per_second, learned.refused
                self._ledger.remember_rate(service, scope, rate, now(), refused=refused)
        for limiter in self._open.values():
            limiter.close()

    def _started(
        self, service: str, scope: str, max_rate: float | None
    ) -> AdaptiveRateLimiter | SharedRateLimiter:
        from partner_tools.engine.rate_limiter import AdaptiveRateLimiter, SharedRateLimiter

        known, age = self._known(service, scope)
        if self._ledger.conninfo is None:
            pace = remembered(known, self._clock(), age=age, max_rate=max_rate)
            return AdaptiveRateLimiter(pace, clock=self._clock)
        return SharedRateLimiter(
            lambda change: self._ledger.exchange(service, scope, change),
            process=new_id(),
            begin=partial(begin, known=known, age=age, max_rate=max_rate),
            clock=self._clock,
        )

    def _known(self, service: str, scope: str) -> tuple[Learned | None, float]:
        """Return the rate that an earlier run learned, and how many seconds ago."""
        rate = self._ledger.remembered_rate(service, scope)
        return rate, (now() - rate.learned_at).total_seconds() if rate else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """The state shared by one worker's slices: the rate limiters, and the channel's tokens."""

    rate_limiters: RateLimiters
    party: Party
    tokens: Callable[[], TokenSource]
