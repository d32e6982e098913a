"""What an OEM Direct API answered: results by device, the id of accepted work, or a refusal.

Pure. A result is tied to a device by what the profile names for it, and only where nothing else in
the result contradicts that; what cannot be tied stays untied, so that its device stays unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from partner_tools.clients.oem_body import Entry
from partner_tools.clients.oem_document import DocumentError, plain, read_json, read_xml
from partner_tools.clients.oem_profile import MatchKey, Profile
from partner_tools.clients.transport import Reply
from partner_tools.errors import Unreadable

SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the service said of one device, as texts; empty where it said nothing."""

    status: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One result with the identifiers that it came with; None where it has none."""

    result: Result
    names: Mapping[MatchKey, str]


def read_document(profile: Profile, reply: Reply) -> Any:
    """The answer's body as plain values, None where it has no body.

    Raises Unreadable where the body is not of the profile's media type.
    """
    if not reply.body.strip():
        return None
    try:
        if profile.is_xml:
            root = read_xml(reply.body)
            return {root.name: plain(root)}
        return read_json(reply.body)
    except DocumentError as error:
        raise unreadable(profile, reply, str(error)) from error


def unreadable(profile: Profile, reply: Reply, why: str) -> Unreadable:
    """The error for an answer that is not what the profile promises."""
    kind = "XML" if profile.is_xml else "JSON"
    return Unreadable(
        f"the OEM Direct API answered {reply.status} with something that the wire profile does "
        f"not describe ({kind}): {why}",
        remedy="compare oem.response with your whitepaper, correct the profile, then resume the "
        "run: what is in doubt is asked again",
        status=reply.status,
        request_id=reply.header(profile.request_id_header or "MS-RequestId"),
        correlation_id=reply.header(profile.correlation_header or "MS-CorrelationId"),
    )


def find(document: Any, path: str, *, is_xml: bool) -> Any:
    """What stands at a dotted path, None where nothing does. An empty path is all of it.

    Names are taken exactly, else without regard to case where that leaves one. The root element of
    an XML answer may stand in the path or be left out.
    """
    found = _walk(document, path)
    if found is None and is_xml and isinstance(document, Mapping) and len(document) == 1:
        found = _walk(next(iter(document.values())), path)
    return found


def read_items(profile: Profile, document: Any) -> tuple[Item, ...] | None:
    """The per-device results of an answer, None where it has no place for any."""
    found = find(document, profile.response.items_path, is_xml=profile.is_xml)
    if profile.is_xml:
        found = _unwrapped(found)
    if not isinstance(found, list):
        return None
    return tuple(_item(profile, each) for each in found if isinstance(each, Mapping))


def match(
    profile: Profile, items: Iterable[Item], entries: Sequence[Entry]
) -> Mapping[str, Result | None]:
    """The result of every entry by its `ref`; None where no single result is its own."""
    found: defaultdict[str, list[Result]] = defaultdict(list)
    index = _indexed(entries)
    for item in items:
        entry = _entry_of(profile.response.match_on, item, index)
        if entry is not None:
            found[entry.ref].append(item.result)
    return {entry.ref: _only(found.get(entry.ref, ())) for entry in entries}


def texts(value: Any) -> Iterator[str]:
    """Every text and number in a document, wherever it stands."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)
        elif text := as_text(each):
            yield text


def as_text(value: Any) -> str:
    """A scalar as trimmed text; empty for nothing, and for what is no scalar."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    return str(value)


def shown(text: str) -> str:
    """A foreign text fit for one line of a message."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


def _walk(document: Any, path: str) -> Any:
    found = document
    for name in filter(None, path.split(".")):
        found = _property(found, name)
    return found


def _property(value: Any, name: str) -> Any:
    if not isinstance(value, Mapping) or not name:
        return None
    if name in value:
        return value[name]
    similar = [key for key in value if key.casefold() == name.casefold()]
    return value[similar[0]] if len(similar) == 1 else None


def _unwrapped(found: Any) -> Any:
    """The elements of an XML list: under a name of their own, once or repeated; or none."""
    if found == "":
        return []
    if isinstance(found, Mapping) and len(found) == 1:
        (inner,) = found.values()
        if isinstance(inner, list | Mapping):
            found = inner
    return [found] if isinstance(found, Mapping) else found


def _item(profile: Profile, item: Mapping[str, Any]) -> Item:
    response = profile.response
    names = {
        MatchKey.ITEM_REF: as_text(_property(item, response.fields.item_ref)),
        MatchKey.PKID: as_text(_property(item, response.fields.pkid)),
        MatchKey.SERIAL: as_text(_property(item, response.fields.serial)),
    }
    return Item(
        result=Result(
            status=as_text(_property(item, response.status_field)),
            code=as_text(_property(item, response.code_field)),
            message=as_text(_property(item, response.message_field)),
        ),
        names={key: name for key, name in names.items() if name},
    )


def _names(entry: Entry) -> Mapping[MatchKey, str]:
    """How a result may call this device. What the row does not say, it cannot contradict."""
    names = {
        MatchKey.ITEM_REF: entry.ref,
        MatchKey.PKID: entry.identity.product_key_id or "",
        MatchKey.SERIAL: entry.identity.serial_number or "",
    }
    return {key: name.strip() for key, name in names.items() if name.strip()}


def _indexed(entries: Iterable[Entry]) -> Mapping[tuple[MatchKey, str], list[Entry]]:
    index: defaultdict[tuple[MatchKey, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        for key, name in _names(entry).items():
            index[key, name].append(entry)
    return index


def _entry_of(
    keys: Sequence[MatchKey], item: Item, index: Mapping[tuple[MatchKey, str], list[Entry]]
) -> Entry | None:
    """The one entry that the item's first identifier names and its others do not deny."""
    used = [key for key in keys if key in item.names]
    if not used:
        return None
    candidates = [
        entry
        for entry in index.get((used[0], item.names[used[0]]), ())
        if all(_names(entry).get(key, item.names[key]) == item.names[key] for key in used)
    ]
    return candidates[0] if len(candidates) == 1 else None


def _only(results: Sequence[Result]) -> Result | None:
    """The result of a device that was told once, or several times alike."""
    return results[0] if len(set(results)) == 1 else None
