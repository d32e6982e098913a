"""Reads a request to Partner Center: the table of operations, and paths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from partner_tools.sandbox.faults import Fault, FaultKind
from partner_tools.sandbox.wire import Request

VERSIONS = frozenset({"v1", "v1.0"})
UNKNOWN = "unknown"
WRONG_METHOD = "wrong-method"

_BATCH = ("customers", "{customer}", "devicebatches", "{batch}", "devices")

ROUTES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("GET", ("customers",), "list-customers"),
    ("GET", ("customers", "{customer}"), "get-customer"),
    ("GET", ("customers", "{customer}", "devicebatches"), "list-batches"),
    ("POST", ("customers", "{customer}", "devicebatches"), "create-batch"),
    ("GET", _BATCH, "list-devices"),
    ("POST", _BATCH, "add-devices"),
    ("DELETE", (*_BATCH, "{device}"), "delete-device"),
    ("PUT", (*_BATCH, "{device}"), "update-device"),
    ("GET", ("customers", "{customer}", "batchjobstatus", "{job}"), "get-job"),
    ("PATCH", ("customers", "{customer}", "devicepolicyupdates"), "update-policies"),
    ("GET", ("auditrecords",), "list-audit-records"),
)
"""Every operation: verb, path behind the version, and the name in rules and in the log."""


class Refusal(Exception):
    """An answer of the service other than success."""

    def __init__(self, status: int, code: int, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.code = code
        self.description = description


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """A request that was understood: the operation, the names in its path, and who asks."""

    request: Request
    operation: str
    names: Mapping[str, str]
    claims: Mapping[str, Any]
    fault: Fault | None = None

    @property
    def customer(self) -> str:
        return self.names["customer"]

    @property
    def batch(self) -> str:
        return self.names["batch"]

    @property
    def partner(self) -> str:
        return str(self.claims["tid"])

    @property
    def token(self) -> str | None:
        """The continuation token that came with it."""
        return self.request.header("MS-ContinuationToken")

    def bent(self, kind: FaultKind) -> bool:
        """Whether the list that it gets is to be wrong in this way."""
        return self.fault is not None and self.fault.kind is kind

    @property
    def age(self) -> float:
        """How many seconds old the list is that it gets to see."""
        return self.fault.seconds if self.fault and self.bent(FaultKind.STALE_LIST) else 0.0


def route(request: Request) -> tuple[str, Mapping[str, str]]:
    """The operation of a request, and the names in its path. Fixed parts match in any case."""
    if not request.segments or request.segments[0].lower() not in VERSIONS:
        return UNKNOWN, {}
    path = request.segments[1:]
    operation, found = UNKNOWN, {}
    for method, pattern, name in ROUTES:
        names = _names(pattern, path)
        if names is not None and method == request.method:
            return name, names
        if names is not None:
            operation, found = WRONG_METHOD, names
    return operation, found


def _names(pattern: tuple[str, ...], path: tuple[str, ...]) -> dict[str, str] | None:
    if len(pattern) != len(path):
        return None
    names = {}
    for wanted, given in zip(pattern, path, strict=True):
        if wanted.startswith("{"):
            names[wanted.strip("{}")] = given
        elif wanted != given.lower():
            return None
    return names
