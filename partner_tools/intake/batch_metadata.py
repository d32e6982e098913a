"""The metadata of a whole batch, from the command line and from a JSON batch. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from partner_tools.intake.row_check import explain, surrogates, trim, trimmings, without_tenant
from partner_tools.intake.rules import Finding, finding, shown
from partner_tools.intake.schema import Checker, load_schema
from partner_tools.model import PARTNER_CHANNELS, ChannelName, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """How a list is read where it does not say so itself.

    `serial_column` and `sheet` are names; `only` and `excluded` are pairs of a column and a value
    that select rows. With `compare_serial` the manufacturer and the model travel along and are
    not compared.
    """

    serial_column: str | None = None
    sheet: str | None = None
    numbers_as_shown: bool = False
    split_cells: bool = False
    only: tuple[tuple[str, str], ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()
    compare_serial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """The command line's options for a batch; None if not given.

    `default_channel` is the profile's, for a batch without any other channel. Without
    `judge_hashes` the hardware hashes are taken as they are.
    """

    channel: ChannelName | None = None
    default_channel: ChannelName | None = None
    batch_id: str | None = None
    reason: Reason | None = None
    reference: str | None = None
    customer: str | None = None
    judge_hashes: bool = True
    reading: ReadingOptions = ReadingOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchMetadata:
    """The whole batch, as one of its two sources or both say the same."""

    channel: ChannelName | None
    batch_id: str | None
    reason: Reason
    reference: str | None
    customer: str | None


_OPTIONS = {
    "channel": "--via",
    "batchId": "--batch-id",
    "reason": "--reason",
    "reference": "--reference",
    "customer": "--customer",
}


def read_metadata(
    document: Mapping[str, object] | None, options: IntakeOptions
) -> tuple[BatchMetadata, tuple[Finding, ...]]:
    """Join what the command line and a JSON batch say, and find what is wrong with it.

    `document` is None for other formats; its `devices` are only looked at for being a list.
    """
    given = {
        "channel": options.channel,
        "batchId": options.batch_id,
        "reason": options.reason,
        "reference": options.reference,
        "customer": options.customer,
    }
    named = None if options.channel is ChannelName.OEM_DIRECT else company_name(options.customer)
    if named is not None:
        given["customer"] = None  # the schema knows tenant ids and domains: a name is looked up
    told, found = _checked(
        {"schemaVersion": "1", "devices": []}
        | {name: str(value) for name, value in given.items() if value is not None},
        is_direct=False,
    )
    if named is not None:
        told["customer"] = named
    own: Mapping[str, object] = {}
    default = options.default_channel
    otherwise = {} if default is None else {"channel": default.value}
    if document is not None:
        is_direct = _channel(told, document, otherwise) is ChannelName.OEM_DIRECT
        own, wrong = _checked(document, is_direct=is_direct)
        found += [*wrong, *_conflicts(told, own)]
    values = {**otherwise, **own, **told}
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    reason = texts.get("reason")
    metadata = BatchMetadata(
        channel=_channel(values),
        batch_id=texts.get("batchId"),
        reason=Reason(reason) if reason in tuple(Reason) else Reason.OTHER,
        reference=texts.get("reference"),
        customer=texts.get("customer"),
    )
    return metadata, tuple(dict.fromkeys(found))


def company_name(customer: object) -> str | None:
    """The customer, trimmed, where it may be a company's name and is no tenant id or domain."""
    name = str(customer or "").strip()
    is_tenant = re.fullmatch(load_schema("batch")["$defs"]["customer"]["pattern"], name)
    return name if _NAME.fullmatch(name) and name.isprintable() and not is_tenant else None


_NAME = re.compile(r"[^{}<>@/\\]{1,256}")
"""A plausible company name; a GUID in braces is a mistyped tenant."""


def _checked(
    document: Mapping[str, object], *, is_direct: bool
) -> tuple[dict[str, object], list[Finding]]:
    values, found = without_tenant(dict(document)) if is_direct else (dict(document), [])
    trimmed = trim(values, blank_is_absent=False)
    found += trimmings(values, trimmed)
    broken = list(surrogates(trimmed))
    if broken:
        return {}, found + broken
    checker, known = _batch_checker()
    found += explain(checker.violations(trimmed), trimmed, known)
    return trimmed, found


@lru_cache(maxsize=1)
def _batch_checker() -> tuple[Checker, frozenset[str]]:
    """The batch schema without what it says of the devices, which are checked one by one."""
    schema = load_schema("batch")
    properties = {**schema["properties"], "devices": {"type": "array"}}
    kept = {name: value for name, value in schema.items() if name not in ("if", "then")}
    return Checker({**kept, "properties": properties}), frozenset(properties)


def _channel(*documents: Mapping[str, object]) -> ChannelName | None:
    for document in documents:
        if document.get("channel") in PARTNER_CHANNELS:
            return ChannelName(str(document["channel"]))
    return None


def _conflicts(told: Mapping[str, object], own: Mapping[str, object]) -> Iterator[Finding]:
    for name, option in _OPTIONS.items():
        ours, theirs = told.get(name), own.get(name)
        if not isinstance(ours, str) or not isinstance(theirs, str):
            continue
        same = ours.casefold() == theirs.casefold() if name == "customer" else ours == theirs
        if not same:
            message = f"{option} says {shown(ours)} and the batch says {shown(theirs)}"
            yield finding("conflict", message, column=name)
