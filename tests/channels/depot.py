"""A depot on a bench: a ledger, a channel, and an OEM Direct API over mutual TLS on loopback."""

from __future__ import annotations

import ssl
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import trustme

from partner_tools.cancellation import CancellationToken
from partner_tools.channels.oem_direct import OemDirectChannel, completed
from partner_tools.clients.oem.client import OemDirect as Client
from partner_tools.clients.oem.profile import Profile, at_base_url
from partner_tools.clients.transport import Certificate, Transport
from partner_tools.engine.execute import ExecutionContext, execute
from partner_tools.engine.request_executor import RequestExecutor
from partner_tools.errors import InputError
from partner_tools.events import Event, Kind
from partner_tools.ledger import Ledger, RunStart, sqlite_url
from partner_tools.model import ChannelName, Device, Identity, Reason, RunId
from partner_tools.pacing import Policy
from partner_tools.runs.removal import witness
from partner_tools.sandbox.core import Core
from partner_tools.sandbox.faults import Faults, ItemFault
from partner_tools.sandbox.listener import Listener
from partner_tools.sandbox.login import Mint
from partner_tools.sandbox.oem_direct import OemDirect
from partner_tools.sandbox.seed import Partner, Seed, SeedBatch, SeedCustomer, SeedDevice
from partner_tools.sandbox.state import State
from partner_tools.sandbox.wire import Delivery, Request

RUN = RunId("20261123-101530-4f2a9c")
TENANT = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
MODES = {
    "sync": "[oem.response]\nmode = 'sync'",
    "ack_list": "[oem.response]\nmode = 'ack_list'\n[oem.poll]\nlist_path = '/acks'\n"
    "detail_path = '/acks/{id}'\ninterval_s = 0.01\nmax_interval_s = 0.02\ndeadline_s = 5",
    "location": "[oem.response]\nmode = 'location'\n[oem.poll]\n"
    "interval_s = 0.01\nmax_interval_s = 0.02\ndeadline_s = 5",
}
MEDIA = {"json": "application/json", "xml": "application/xml"}


@dataclass(frozen=True, slots=True)
class Certificates:
    """One authority, a server's context that demands a certificate, and a client's certificate."""

    ca_file: Path
    client: Certificate
    server: ssl.SSLContext


def certify(folder: Path) -> Certificates:
    """Everything that mutual TLS on loopback needs."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("depot.example")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "depot.pem"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    server.load_verify_locations(folder / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    return Certificates(
        ca_file=folder / "ca.pem",
        client=Certificate(path=folder / "depot.pem"),
        server=server,
    )


def machines(count: int) -> tuple[SeedDevice, ...]:
    """So many registrations; every third has a product key id."""
    return tuple(
        SeedDevice(
            id=f"d{number}",
            serial_number=f"SN{number:05d}",
            manufacturer="Fabrikam, Inc.",
            model_name='Book <7> & "Pro"',
            product_key=f"{3_300_000_000_000 + number:013d}" if number % 3 == 0 else None,
        )
        for number in range(count)
    )


def connect(api: Api, certificates: Certificates, *, known: bool = True) -> Transport:
    """Connections to the service, with a client certificate where we are `known`."""
    return Transport(
        f"https://127.0.0.1:{api.listener.port}",
        ca_bundle=certificates.ca_file,
        client_cert=certificates.client if known else None,
        timeout=(5.0, 5.0),
    )


def rows(registered: Iterable[SeedDevice]) -> tuple[Device, ...]:
    """A batch that names these machines, with a hash beside each that must never leave."""
    return tuple(
        Device(
            row=position + 2,
            identity=Identity(
                serial_number=each.serial_number,
                manufacturer=each.manufacturer,
                model=each.model_name,
                product_key_id=each.product_key,
            ),
        )
        for position, each in enumerate(registered)
    )


def no_hash(_hash: str) -> Identity:
    """A hash that nobody can read."""
    raise InputError("the hardware hash is cut off")


class Free:
    """A pace that lets everything pass."""

    def acquire(self, stop: CancellationToken) -> bool:
        return not stop.is_set()

    def succeeded(self) -> None:
        """Nothing to learn."""

    def withdrawn(self) -> None:
        """Nothing to learn."""

    def throttled(self, retry_after: float | None) -> None:
        """Nothing to learn."""


class Crashed(BaseException):
    """The process died here."""


@dataclass
class Api:
    """The service, with everything that ever came in."""

    service: OemDirect
    core: Core
    listener: Listener
    state: State
    received: list[Request] = field(default_factory=list)
    faults: list[ItemFault] = field(default_factory=list)

    @property
    def calls(self) -> list[Request]:
        """The removals among the requests."""
        return [each for each in self.received if each.method == "POST"]

    @property
    def left(self) -> int:
        """How many devices are still registered."""
        return len(self.state.devices(TENANT))


@contextmanager
def serve(
    profile: Profile,
    tls: ssl.SSLContext,
    registered: Sequence[SeedDevice] = (),
    *,
    faults: Faults | None = None,
    unknown: Iterable[str] = (),
    work_seconds: float = 0.0,
) -> Iterator[Api]:
    """An OEM Direct API that speaks the profile, until the end of the block."""
    seed = Seed(
        partner=Partner(tenant_id=TENANT, domain="f.example", name="F", mpn_id="1"),
        customers=(
            SeedCustomer(
                tenant_id=TENANT,
                domain="c.example",
                name="C",
                batches=(SeedBatch(id="b", devices=tuple(registered)),),
            ),
        ),
        unknown_to_autopilot=frozenset(unknown),
    )
    state = State(seed, time.time)
    core = Core(faults or Faults(), clock=time.time, sleep=time.sleep, seed=0)
    item_faults: list[ItemFault] = []
    service = OemDirect(
        state,
        profile,
        Mint(b"k" * 32, time.time),
        time.time,
        faults=lambda: item_faults,
        work_seconds=work_seconds,
    )
    received: list[Request] = []

    def answer(request: Request) -> Delivery:
        received.append(request)
        return core.serve(service, request)

    listener = Listener(answer, tls, time.sleep, 0)
    api = Api(service, core, listener, state, received, item_faults)
    try:
        yield api
    finally:
        listener.close()


@dataclass
class Depot:
    """One run on a ledger file, carried through by as many processes as it takes.

    The processes share their connections: making a TLS context takes longer than all the rest.
    """

    folder: Path
    profile: Profile
    transport: Transport
    devices: tuple[Device, ...]
    derive: Callable[[str], Identity] = no_hash
    policy: Policy = field(
        default_factory=lambda: Policy(base=0.01, cap=0.02, budget=0.1, reach=0.1)
    )
    concurrency: int = 1
    stop: CancellationToken = field(default_factory=CancellationToken)
    records: int = 0
    """How often events were made durable."""
    crash_at: tuple[int, str] | None = None
    """Die `before` or `after` this record (from 1) is durable."""

    def plan(self) -> None:
        """Begin the run: the devices as planned, without their hashes."""
        named = [completed(device, self.derive) for device in self.devices]
        draft = self.channel().draft(named, default_customer=None, held=frozenset())
        with self.ledger() as ledger:
            start = RunStart(
                run=RUN,
                channel=ChannelName.OEM_DIRECT,
                batch_id="b",
                batch_digest=f"sha256:{'ab' * 32}",
                file="b.csv",
                at=datetime.now(UTC),
                reason=Reason.REPAIR,
                settings={},
            )
            ledger.create_run(start, [each.device for each in draft.devices])
            ledger.record(
                [
                    Event(
                        run=RUN,
                        kind=Kind.RESOLVED,
                        at=datetime.now(UTC),
                        device=each.index,
                        payload={"outcome": each.outcome.value, "detail": each.detail},
                    )
                    for each in draft.devices
                ]
            )

    def ledger(self) -> Ledger:
        return Ledger.open(sqlite_url(self.folder / "ledger.db"))

    def channel(self, ledger: Ledger | None = None) -> OemDirectChannel:
        profile = at_base_url(self.profile, self.transport.base_url)
        client = Client(self.transport, profile)
        if ledger is None:
            return OemDirectChannel(client, profile)
        return OemDirectChannel(client, profile, partial(witness, ledger))

    def carry(self) -> None:
        """One process: from what the ledger says to as far as it comes."""
        with self.ledger() as ledger:
            devices = tuple(ledger.devices(RUN))
            execute(self._execution(ledger, self.channel(ledger)), devices)

    def outcomes(self) -> Counter[str]:
        """How many devices have which outcome, by the ledger."""
        with self.ledger() as ledger:
            return Counter(each.history.outcome.value for each in ledger.devices(RUN))

    def _execution(self, ledger: Ledger, channel: OemDirectChannel) -> ExecutionContext:
        def record(events: Sequence[Event]) -> None:
            self.records += 1
            if self.crash_at == (self.records, "before"):
                raise Crashed
            ledger.record(events)
            if self.crash_at == (self.records, "after"):
                raise Crashed

        return ExecutionContext(
            run=RUN,
            channel=channel,
            executor=RequestExecutor(
                pace=Free(),
                policy=self.policy,
                stop=self.stop,
                clock=time.monotonic,
                jitter=lambda: 0.0,
                renew=lambda: None,
            ),
            record=record,
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(uuid.uuid4()),
            settled=lambda _index, _history: None,
            gate=lambda _: {},
            concurrency=self.concurrency,
        )
