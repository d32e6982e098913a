"""Whether an exported audit trail is as the ledger wrote it: without the ledger, by its hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from partner_tools.foreign import read_json
from partner_tools.ledger import chain, codec
from partner_tools.ledger.records import Finding
from partner_tools.model import ChannelName, Outcome, RunId

_HASHED = ("run", "n", "at", "kind", "device", "payload", "payloadDigest", "previous", "hash")
_OF_THE_RUN = ("channel", "batchId", "actor")
_OF_THE_DEVICE = ("row", "serialNumber", "productKeyId", "customer")
_PROPERTIES = {"schemaVersion", *_HASHED, *_OF_THE_RUN, *_OF_THE_DEVICE}

Claim = tuple[tuple[str, int | None, str], Any]
"""What a line says: of which run, device and property, and the value."""


def check_exported(lines: Iterable[bytes]) -> Iterator[Finding | None]:
    """For each event of an export in JSON Lines, None, or what is wrong with it.

    Every event's hash covers its content, and names the event before it: where both are in the
    export, they have to fit. What stands beside the content, copied from run and batch, no hash
    covers: it has to agree with the payloads that name it too, and from line to line. An export of
    one customer or period leaves events out, which is no fault; that it leaves out nothing else,
    only its signature says.
    """
    heads: dict[str, tuple[int, str]] = {}
    said: dict[tuple[str, int | None, str], Any] = {}
    for number, line in enumerate(lines, 1):
        try:
            event = read_json(line)
            yield _edit(event, heads) or _contradiction(event, said)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            yield Finding(rule="unreadable-event", message=f"line {number} is no event ({error})")


def _edit(event: Any, heads: dict[str, tuple[int, str]]) -> Finding | None:
    run, n, payload = event["run"], event["n"], event["payload"]
    before, heads[run] = heads.get(run), (n, event["hash"])
    if set(event) != _PROPERTIES or event["schemaVersion"] != "1":
        return _finding(event, "foreign-property", "it has other properties than an event")
    if chain.rehash(event, event["payloadDigest"]) != event["hash"]:
        return _finding(event, "altered-event", "its hash is not that of its content")
    if payload is not None and _digest(payload) != event["payloadDigest"]:
        return _finding(event, "altered-payload", "its payload is not the one that was stored")
    if before is not None and n <= before[0]:
        return _finding(event, "out-of-order", f"it stands behind event {before[0]}")
    if before is not None and n == before[0] + 1 and event["previous"] != before[1]:
        return _finding(event, "broken-chain", "it does not follow the one before it")
    return None


def _contradiction(event: Any, said: dict[tuple[str, int | None, str], Any]) -> Finding | None:
    for place, value in (*_hashed_claims(event), *_copied_claims(event)):
        if said.setdefault(place, value) != value:
            return _finding(event, "altered-copy", f"its {place[2]} is not what others say of it")
    return None


def _copied_claims(event: Any) -> Iterator[Claim]:
    for name in _OF_THE_RUN:
        yield (event["run"], None, name), event[name]
    for name in _OF_THE_DEVICE:
        if event[name] is not None:  # an export of a run that goes on may not know it yet
            yield (event["run"], event["device"], name), _trimmed(event[name])


def _hashed_claims(event: Any) -> Iterator[Claim]:
    """What payloads say of the same; nothing where they were purged."""
    run, payload = event["run"], event["payload"]
    if payload is None:
        return
    if event["kind"] == "created":
        for name in _OF_THE_RUN:
            yield (run, None, name), codec.index_text(payload[name])
    if event["kind"] == "resolved" and payload["customer"] is not None:
        yield (run, event["device"], "customer"), codec.index_text(payload["customer"])
    if _is_matched(event, payload):
        for name in ("serialNumber", "productKeyId"):
            if payload["found"].get(name):
                yield (run, event["device"], name), _trimmed(payload["found"][name])


def _is_matched(event: Any, payload: Any) -> bool:
    """Whether a service showed the very device that the batch names."""
    is_removable = event["kind"] == "resolved" and payload["outcome"] == Outcome.PENDING.value
    return (
        is_removable
        and event["channel"] == ChannelName.PARTNER_CENTER.value
        and bool(payload.get("found"))
    )


def _trimmed(value: Any) -> Any:
    """As identifiers are compared."""
    return (codec.index_text(value) or "").strip() if isinstance(value, str) else value


def _finding(event: Any, rule: str, what: str) -> Finding:
    run, n = event["run"], event["n"]
    return Finding(rule=rule, run=RunId(run), n=n, message=f"run {run}, event {n}: {what}")


def _digest(payload: Any) -> str:
    return chain.payload_digest(codec.json_text(payload))
