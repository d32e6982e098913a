"""Whether an exported audit trail is as the ledger wrote it: without the ledger, by its hashes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from partner_tools.ledger import chain, codec
from partner_tools.ledger.records import Finding
from partner_tools.model import RunId


def check_exported(lines: Iterable[bytes]) -> Iterator[Finding | None]:
    """For each event of an export in JSON Lines, None, or what is wrong with it.

    Every event's hash covers its content, and names the event before it: where both are in the
    export, they have to fit. An export of one customer or period leaves events out, which is no
    fault; that it leaves out nothing else, only its signature says.
    """
    heads: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines, 1):
        try:
            yield _edit(json.loads(line), heads)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            yield Finding(rule="unreadable-event", message=f"line {number} is no event ({error})")


def _edit(event: Any, heads: dict[str, tuple[int, str]]) -> Finding | None:
    run, n, payload = event["run"], event["n"], event["payload"]
    before, heads[run] = heads.get(run), (n, event["hash"])
    wrong = None
    if chain.rehash(event, event["payloadDigest"]) != event["hash"]:
        wrong = "altered-event", "its hash is not that of its content"
    elif payload is not None and _digest(payload) != event["payloadDigest"]:
        wrong = "altered-payload", "its payload is not the one that was stored"
    elif before is not None and n <= before[0]:
        wrong = "out-of-order", f"it stands behind event {before[0]}"
    elif before is not None and n == before[0] + 1 and event["previous"] != before[1]:
        wrong = "broken-chain", "it does not follow the one before it"
    if wrong is None:
        return None
    return Finding(rule=wrong[0], run=RunId(run), n=n, message=f"run {run}, event {n}: {wrong[1]}")


def _digest(payload: Any) -> str:
    return chain.payload_digest(codec.json_text(payload))
