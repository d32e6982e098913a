"""What can go wrong with one request, by the name that the table uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PATIENCE = 60.0
HARDLY_ANY = 0.6
"""Seconds that the program waits for an answer in trials, and in those where one is slow."""
DRIPPING = 6
"""A body comes in ten parts: each well within the patience, all of them far beyond twice of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of the sandbox, and which of the requests in question meet it.

    `ever`: every one, not only the first. `ahead`: the outage begins behind the answer to the
    request before it, so that no byte of this one can leave. `tls`: the services are reached over
    TLS. `paged`: only a request for a further page can meet it. `patience` is how many seconds the
    program waits for an answer.
    """

    words: str
    says: Mapping[str, Any]
    ever: bool = False
    ahead: bool = False
    tls: bool = False
    paged: bool = False
    patience: float = PATIENCE


def _status(status: int, words: str, *, ever: bool = False, **more: Any) -> Fault:
    return Fault(words=words, says={"kind": "status", "status": status, **more}, ever=ever)


def _throttled(words: str, form: str, seconds: float = 2.5) -> Fault:
    return _status(429, words, retryAfter=seconds, retryAfterForm=form)


def _outage(kind: str, seconds: float, words: str) -> Fault:
    says = {"kind": kind, "seconds": seconds, "processed": True}
    return Fault(words=words, says=says, ahead=True, tls=kind == "tls-failure")


def _plain(kind: str, words: str, *, ever: bool = False, paged: bool = False) -> Fault:
    return Fault(words=words, says={"kind": kind}, ever=ever, paged=paged)


A_SECOND = 1.0
HALF_AN_HOUR = 1_800.0

FAULTS: Mapping[str, Fault] = {
    "refused-1s": _outage("refuse", A_SECOND, "the port refuses connections for a second"),
    "refused": _outage("refuse", HALF_AN_HOUR, "the port refuses connections"),
    "tls-1s": _outage("tls-failure", A_SECOND, "TLS handshakes fail for a second"),
    "tls": _outage("tls-failure", HALF_AN_HOUR, "TLS handshakes fail"),
    "reset-before": _plain("reset-before", "a reset, and nothing was done"),
    "reset-after": _plain("reset-after", "a reset, and it was done"),
    "lost-request": _plain("lose-request", "no answer, and nothing was done"),
    "lost-answer": _plain("lose-answer", "no answer, and it was done"),
    "lost-answer-ever": _plain("lose-answer", "no answer, each time", ever=True),
    "slow": Fault(
        words="an answer after our timeout",
        says={"kind": "slow-answer", "seconds": 4 * HARDLY_ANY},
        patience=HARDLY_ANY,
    ),
    "slow-body": Fault(
        words="an answer whose body arrives slowly, beyond our timeout",
        says={"kind": "slow-body", "seconds": DRIPPING * HARDLY_ANY},
        patience=HARDLY_ANY,
    ),
    "cut": _plain("truncate", "an answer that is cut short"),
    "not-json": _plain("not-json", "a web page as a success"),
    "no-body": _plain("empty-body", "a success without its body"),
    "other-type": _plain("wrong-content-type", "the right body under a wrong content type"),
    "400": _status(400, "400"),
    "401-once": _plain("expired-token", "401, once"),
    "401": _plain("expired-token", "401, each time", ever=True),
    "403-partner": _status(403, "403 about the partner (900150)", code=900150),
    "403-customer": _status(403, "403 about the customer (20002)", code=20002),
    "403-device": _status(403, "403 about the device (811)", code=811, description="ZtdDevice"),
    "404": _status(404, "404"),
    "408": _status(408, "408"),
    "409": _status(409, "409"),
    "429-seconds": _throttled("429, Retry-After in seconds", "seconds"),
    "429-date": _throttled("429, Retry-After as a date", "date"),
    "429-fraction": _throttled("429, Retry-After as a fraction", "fraction"),
    "429-nonsense": _throttled("429, Retry-After that is nonsense", "nonsense"),
    "429-bare": _throttled("429 without Retry-After", "none"),
    "429-10min": _throttled("429 that asks for ten minutes", "seconds", 600.0),
    "429-ever": _status(429, "429, each time", ever=True, retryAfter=2.5),
    "500": _status(500, "500"),
    "500-done": _status(500, "500 after it was done", processed=True),
    "502": _status(502, "502 with a web page", body="html"),
    "503": _status(503, "503 with a web page", body="html"),
    "503-ever": _status(503, "503 with a web page, each time", ever=True, body="html"),
    "redirect": _plain("redirect", "a redirect to another host"),
    "page-sticky": _plain("sticky-token", "a page that leads to itself", ever=True, paged=True),
    "page-repeats": _plain("repeat-page", "the first page once more", paged=True),
    "page-vanishes": _plain("vanish-page", "404 in the middle of the pages", paged=True),
    "page-vanished": _plain(
        "vanish-page", "404 in the middle of the pages, each time", ever=True, paged=True
    ),
}
