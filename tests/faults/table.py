"""What each fault leads to, for each kind of request: the tests' expectations and the document.

`docs.generate` writes `docs/reference/faults.md` from this table; `tests.faults.matrix` compares
every cell with what happens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tests.faults.faults import FAULTS
from tests.faults.scenes import SCENES

GROUPS: Mapping[str, Sequence[str]] = {
    "Reading and planning on Partner Center": (
        "discovery",
        "token",
        "customer",
        "customers",
        "batches",
        "devices",
        "page",
    ),
    "Removing and registering again on Partner Center": ("delete", "append", "create", "job"),
    "OEM Direct": ("oem", "preflight", "submit", "poll", "acks"),
    "Looking with Microsoft Graph": ("graph-list", "graph-batch", "graph-inner"),
    "Cleaning up with Microsoft Graph": (
        "cleanup-look",
        "cleanup-intune",
        "cleanup-user",
        "cleanup-autopilot",
        "cleanup-sync",
    ),
}
"""The requests by what they are for, as the document shows them."""

EXPECTED: Mapping[str, Mapping[str, str]] = {
    "refused-1s": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "refused": {
        "5 pending > 0 removed": "discovery token customer customers batches devices page delete "
        "oem preflight submit cleanup-look cleanup-intune",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 pending+unknown > 0 removed": "cleanup-user cleanup-autopilot",
        "5 pending+removed > 0 removed": "cleanup-sync",
    },
    "tls-1s": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "tls": {
        "5 pending > 0 removed": "discovery token customer customers batches devices page delete "
        "oem preflight submit cleanup-look cleanup-intune",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 pending+unknown > 0 removed": "cleanup-user cleanup-autopilot",
        "5 pending+removed > 0 removed": "cleanup-sync",
    },
    "reset-before": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 removed": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "reset-after": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 absent": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "lost-request": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 removed": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "lost-answer": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 absent": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "lost-answer-ever": {
        "5 pending > 0 removed": "discovery token customer customers batches devices page "
        "preflight cleanup-look",
        "0 absent": "delete",
        "5 0 back > 0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 absent": "oem submit",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "0 removed": "cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
    },
    "slow": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 absent": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "slow-body": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 absent": "oem",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "cut": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 absent": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch",
    },
    "not-json": {
        "0 removed": "discovery token preflight cleanup-intune cleanup-user cleanup-autopilot "
        "cleanup-sync",
        "5 pending > 0 removed": "customer customers batches devices page cleanup-look",
        "0 absent+removed": "delete",
        "0 2 back": "append",
        "0 3 back": "create",
        "5 0 back > 0 2 back": "job",
        "5 unknown > 0 absent": "oem submit",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 not-verified+outstanding > 0 outstanding": "graph-inner",
    },
    "no-body": {
        "0 removed": "discovery token delete preflight submit poll acks cleanup-intune "
        "cleanup-user cleanup-autopilot cleanup-sync",
        "5 pending > 0 removed": "customer customers batches devices page cleanup-look",
        "0 2 back": "append",
        "0 3 back": "create",
        "5 0 back > 0 2 back": "job",
        "7 unknown > 0 absent": "oem",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 not-verified+outstanding > 0 outstanding": "graph-inner",
    },
    "other-type": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "400": {
        "4 pending > 0 removed": "discovery token",
        "5 pending > 0 removed": "customer customers batches devices",
        "0 removed": "page cleanup-look cleanup-sync",
        "7 refused+removed": "delete cleanup-intune",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 refused > 7 refused": "oem preflight submit",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
        "5 pending+refused": "cleanup-user cleanup-autopilot",
    },
    "401-once": {
        "4 pending > 0 removed": "discovery token customer customers batches devices page",
        "0 removed": "delete oem preflight submit poll acks cleanup-look cleanup-intune "
        "cleanup-user cleanup-autopilot cleanup-sync",
        "4 0 back > 0 2 back": "append job",
        "4 0 back > 0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "401": {
        "4 pending > 0 removed": "discovery token customer customers batches devices page delete "
        "oem preflight submit cleanup-look cleanup-intune",
        "4 0 back > 0 2 back": "append job",
        "4 0 back > 0 3 back": "create",
        "4 unknown > 0 removed": "poll acks",
        "4 not-verified > 0 clear": "graph-list",
        "4 not-verified > 0 outstanding": "graph-batch graph-inner",
        "0 removed": "cleanup-sync",
        "4 pending+unknown > 0 removed": "cleanup-user cleanup-autopilot",
    },
    "403-partner": {
        "4 pending > 0 removed": "discovery token customer customers batches devices page delete",
        "4 0 back > 0 2 back": "append job",
        "4 0 back > 0 3 back": "create",
        "5 refused > 7 refused": "oem preflight submit",
        "5 unknown > 0 removed": "poll acks",
        "4 not-verified > 0 clear": "graph-list",
        "4 not-verified > 0 outstanding": "graph-batch",
        "4 not-verified+outstanding > 0 outstanding": "graph-inner",
        "7 refused": "cleanup-look",
        "7 refused+removed": "cleanup-intune",
        "0 removed": "cleanup-sync",
        "5 pending+refused": "cleanup-user cleanup-autopilot",
    },
    "403-customer": {
        "4 pending > 0 removed": "discovery token",
        "4 refused": "customer customers batches devices page delete",
        "4 0 back > 0 2 back": "append job",
        "4 0 back > 0 3 back": "create",
        "5 refused > 7 refused": "oem preflight submit",
        "5 unknown > 0 removed": "poll acks",
        "4 not-verified > 0 clear": "graph-list",
        "4 not-verified > 0 outstanding": "graph-batch",
        "4 not-verified+outstanding > 0 outstanding": "graph-inner",
        "7 refused": "cleanup-look",
        "7 refused+removed": "cleanup-intune",
        "0 removed": "cleanup-sync",
        "5 pending+refused": "cleanup-user cleanup-autopilot",
    },
    "403-device": {
        "4 pending > 0 removed": "discovery token customer customers batches devices page",
        "7 not-owned+removed": "delete",
        "4 0 back > 0 2 back": "append job",
        "4 0 back > 0 3 back": "create",
        "5 refused > 7 refused": "oem preflight submit",
        "5 unknown > 0 removed": "poll acks",
        "4 not-verified > 0 clear": "graph-list",
        "4 not-verified > 0 outstanding": "graph-batch",
        "4 not-verified+outstanding > 0 outstanding": "graph-inner",
        "7 refused": "cleanup-look",
        "7 refused+removed": "cleanup-intune",
        "0 removed": "cleanup-sync",
        "5 pending+refused": "cleanup-user cleanup-autopilot",
    },
    "404": {
        "4 pending > 0 removed": "discovery token",
        "3 pending > 0 removed": "customer",
        "5 pending > 0 removed": "customers batches devices",
        "0 removed": "page cleanup-user cleanup-sync",
        "7 absent+removed": "delete",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 refused > 7 refused": "oem preflight submit",
        "7 unknown > 0 absent": "poll",
        "5 unknown > 0 removed": "acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 not-verified+outstanding > 0 outstanding": "graph-inner",
        "7 refused": "cleanup-look",
        "5 pending+refused": "cleanup-autopilot cleanup-intune",
    },
    "408": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 removed": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "409": {
        "4 pending > 0 removed": "discovery token",
        "5 pending > 0 removed": "customer customers batches devices page",
        "7 refused+removed": "delete cleanup-intune",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 refused > 7 refused": "oem preflight submit",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 not-verified+outstanding > 0 outstanding": "graph-inner",
        "7 refused": "cleanup-look",
        "0 removed": "cleanup-sync",
        "5 pending+refused": "cleanup-user cleanup-autopilot",
    },
    "429-seconds": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "429-date": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "429-fraction": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "429-nonsense": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "429-bare": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "429-10min": {
        "5 pending > 0 removed": "discovery token customer customers batches devices page delete "
        "oem preflight submit cleanup-look cleanup-intune",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 not-verified+outstanding > 0 outstanding": "graph-inner",
        "0 removed": "cleanup-sync",
        "5 pending+unknown > 0 removed": "cleanup-user cleanup-autopilot",
    },
    "429-ever": {
        "5 pending > 0 removed": "discovery token customer customers batches devices page delete "
        "oem preflight submit cleanup-look cleanup-intune",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch graph-inner",
        "0 removed": "cleanup-sync",
        "5 pending+unknown > 0 removed": "cleanup-user cleanup-autopilot",
    },
    "500": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 removed": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "500-done": {
        "0 removed": "discovery token customer customers batches devices page preflight poll acks "
        "cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 absent+removed": "delete",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 absent": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "502": {
        "0 removed": "discovery token customer customers batches devices page delete preflight "
        "poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "7 unknown > 0 removed": "oem submit",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "503": {
        "0 removed": "discovery token customer customers batches devices page delete oem preflight "
        "submit poll acks cleanup-look cleanup-intune cleanup-user cleanup-autopilot cleanup-sync",
        "0 2 back": "append job",
        "0 3 back": "create",
        "0 clear": "graph-list",
        "0 outstanding": "graph-batch graph-inner",
    },
    "503-ever": {
        "5 pending > 0 removed": "discovery token customer customers batches devices page delete "
        "oem preflight submit cleanup-look cleanup-intune",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 unknown > 0 removed": "poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch graph-inner",
        "0 removed": "cleanup-sync",
        "5 pending+unknown > 0 removed": "cleanup-user cleanup-autopilot",
    },
    "redirect": {
        "0 removed": "discovery token preflight cleanup-sync",
        "5 pending > 0 removed": "customer customers batches devices page cleanup-look",
        "5 pending+unknown > 0 removed": "delete cleanup-intune cleanup-user cleanup-autopilot",
        "5 0 back > 0 2 back": "append job",
        "5 0 back > 0 3 back": "create",
        "5 unknown > 0 removed": "oem submit poll acks",
        "5 not-verified > 0 clear": "graph-list",
        "5 not-verified > 0 outstanding": "graph-batch",
        "5 not-verified+outstanding > 0 outstanding": "graph-inner",
    },
    "page-sticky": {
        "5 pending > 0 removed": "page",
    },
    "page-repeats": {
        "5 pending > 0 removed": "page",
    },
    "page-vanishes": {
        "0 removed": "page",
    },
    "page-vanished": {
        "5 pending > 0 removed": "page",
    },
}
"""By fault: how the command that met it ended, and, behind `>`, how the one after it ended when
all was well again; then the requests of which that is true. Two devices are listed, one more is
not."""


def expected(fault: str, request: str) -> str:
    """The cell of a fault and a request. Raises KeyError where the table has none."""
    for ends, requests in EXPECTED[fault].items():
        if request in requests.split():
            return ends
    raise KeyError((fault, request))


def tables() -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    """Each group with the heads of its columns and its rows, for a document."""
    for title, requests in GROUPS.items():
        heads = ("what goes wrong", *(SCENES[each].title for each in requests))
        rows = [
            (FAULTS[fault].words, *(_shown(fault, each) for each in requests)) for fault in EXPECTED
        ]
        yield title, heads, [row for row in rows if any(row[1:])]


def _shown(fault: str, request: str) -> str:
    try:
        ends = expected(fault, request).split(" > ")
    except KeyError:
        return ""
    return ", then ".join(end.replace(" ", ": ", 1) for end in ends)
