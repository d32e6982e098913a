"""A worker's monitoring endpoints: `/health`, and `/metrics` for Prometheus."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from partner_tools.engine.rate_limiter import RateSnapshot
from partner_tools.errors import InputError
from partner_tools.fleet.queue import message_of

Metric = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The waiting work of the whole fleet. Ages are in seconds; 0 if nothing waits."""

    jobs: int
    oldest: float
    in_doubt: int


@dataclass(eq=False)  # the registry keeps collectors by identity
class Health(Collector):
    """The state of one worker, collected for each request. Thread-safe.

    `rates` gives the state of each limit scope, by service and scope; `backlog` asks the database,
    and raises where that cannot be asked.
    """

    rates: Callable[[], Mapping[tuple[str, str], RateSnapshot]]
    backlog: Callable[[], Backlog]
    registry: CollectorRegistry = field(default_factory=lambda: CollectorRegistry())

    def __post_init__(self) -> None:
        self._devices = Counter(
            "partner_tools_devices",
            "Devices whose outcome this worker recorded.",
            ["channel", "outcome"],
            registry=self.registry,
        )
        self._slices = Counter(
            "partner_tools_portions",
            "Slices of runs that this worker carried out, by what came next.",
            ["channel", "next"],
            registry=self.registry,
        )
        self.registry.register(self)

    def settled(self, channel: str, outcome: str) -> None:
        self._devices.labels(channel, outcome).inc()

    def carried(self, channel: str, following: str) -> None:
        self._slices.labels(channel, following).inc()

    def collect(self) -> Iterable[Metric]:
        """Look the figures up that are not counted."""
        yield from self._rates()
        yield from self._waiting()

    def _rates(self) -> Iterator[Metric]:
        rates = self.rates()
        for family, name, text, figure in (
            (
                GaugeMetricFamily,
                "rate_per_second",
                "Permits per second, for all workers together.",
                "rate",
            ),
            (GaugeMetricFamily, "paused_seconds", "Seconds until the next permit.", "paused"),
            (CounterMetricFamily, "throttled", "429 responses to this worker.", "throttled"),
            (CounterMetricFamily, "answered", "Other responses to this worker.", "answered"),
        ):
            metric: Metric = family(f"partner_tools_{name}", text, labels=["service", "scope"])
            for scope, state in rates.items():
                metric.add_metric(scope, getattr(state, figure))
            yield metric

    def _waiting(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("partner_tools_database_up", "1 while the database answers.")
        try:
            backlog = self.backlog()
        except Exception:  # noqa: BLE001 - whatever it is, the other figures are still right
            up.add_metric([], 0.0)
            yield up
            return
        up.add_metric([], 1.0)
        yield up
        for name, text, value in (
            ("queue_jobs", "Due jobs that are waiting.", backlog.jobs),
            ("queue_oldest_seconds", "Age of the oldest waiting job.", backlog.oldest),
            (
                "devices_in_doubt",
                "Devices with an unanswered request and no worker waiting for it.",
                backlog.in_doubt,
            ),
        ):
            yield GaugeMetricFamily(f"partner_tools_{name}", text, value=value)


@contextmanager
def served(health: Health, host: str, port: int) -> Iterator[int]:
    """Serve both while the block lasts, at this port or (0) at any; the port.

    Raises InputError if the address can't be bound.
    """
    try:
        server = make_server(
            host, port, _application(health), server_class=_Server, handler_class=_Quiet
        )
    except OSError as error:
        raise InputError(
            f"cannot listen at {host}:{port} ({error.strerror or error})",
            rule="health-port",
            remedy="give --health-port a port that is free and --health-host an address of this "
            "machine",
        ) from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is inherited
        """Say nothing: whoever scrapes comes every few seconds."""


def _application(health: Health) -> Callable[..., Iterable[bytes]]:
    metrics = make_wsgi_app(health.registry)

    def answer(environ: Mapping[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            answered: Iterable[bytes] = metrics(environ, start_response)
            return answered
        if environ["PATH_INFO"] != "/health":
            return _json(start_response, "404 Not Found", {"paths": ["/health", "/metrics"]})
        try:
            backlog = health.backlog()
        except Exception as error:  # noqa: BLE001 - whatever it is, this worker cannot work
            return _json(
                start_response,
                "503 Service Unavailable",
                {"healthy": False, "error": message_of(error)},
            )
        return _json(start_response, "200 OK", {"healthy": True, "queue": backlog.jobs})

    return answer


def _json(start_response: Any, status: str, document: Mapping[str, Any]) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(document).encode()]
