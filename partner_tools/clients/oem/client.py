"""Read an OEM Direct API's answer: results by device, the id of accepted work, or a refusal.

Pure. A result is tied to a device by what the profile names for it, and only where nothing else in
the result contradicts that; what cannot be tied stays untied, so that its device stays unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from partner_tools.clients.answers import SentIds, is_same, kind_of
from partner_tools.clients.oem.guard import BlankOnly
from partner_tools.clients.oem.profile import (
    MatchKey,
    Profile,
    ResponseMode,
    at_base_url,
    mentions_tenant,
    normalized,
)
from partner_tools.clients.oem.wire import (
    Entry,
    build_body,
    leaves,
    plain,
    read_json,
    read_xml,
)
from partner_tools.clients.transport import Reply, Request, Transport, origin
from partner_tools.errors import (
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.homoglyphs import one_line
from partner_tools.pacing import parse_retry_after
from partner_tools.strict_json import InvalidTextError


@dataclass(frozen=True, slots=True, kw_only=True)
class OemResult:
    """The service's result for one device, as texts; empty where it gave none."""

    status: str = ""
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One result with the identifiers that it came with; None where it has none."""

    result: OemResult
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
    except InvalidTextError as error:
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
    """Return the value at a dotted path, None if there is none. An empty path is all of it.

    Names are taken exactly, else without regard to case where that leaves one. The root element of
    an XML answer may be part of the path or be left out.
    """
    found = _walk(document, path)
    if found is None and is_xml and isinstance(document, Mapping) and len(document) == 1:
        found = _walk(next(iter(document.values())), path)
    return found


def read_items(profile: Profile, document: Any) -> tuple[Item, ...] | None:
    """The per-device results of an answer, None where it has no place for any."""
    found = find(document, profile.response.items_path, is_xml=profile.is_xml)
    if profile.is_xml:
        # The elements of a list are under a name of their own, once or repeated; or none.
        if isinstance(found, Mapping) and len(found) == 1:
            (inner,) = found.values()
            found = inner if isinstance(inner, list | Mapping) else found
        if isinstance(found, Mapping) or found == "":
            found = [found] if found else []
    if not isinstance(found, list):
        return None
    return tuple(_item(profile, each) for each in found if isinstance(each, Mapping))


def match(
    profile: Profile, items: Iterable[Item], entries: Sequence[Entry]
) -> Mapping[str, OemResult | None]:
    """The result of every entry by its `ref`; None where no single result is its own."""
    index = defaultdict[tuple[MatchKey, str], list[Entry]](list)
    for entry in entries:
        for key, name in _names(entry).items():
            index[key, name].append(entry)
    found = defaultdict[str, set[OemResult]](set)
    for item in items:
        named = _entry_of(profile.response.match_on, item, index)
        if named is not None:
            found[named.ref].add(item.result)
    # A device that was told several times alike was told once.
    return {
        entry.ref: next(iter(found[entry.ref])) if len(found[entry.ref]) == 1 else None
        for entry in entries
    }


def texts(value: Any) -> Iterator[str]:
    """Yield every text and number in a document, at any depth."""
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
    return one_line(text, 301)


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


def _item(profile: Profile, item: Mapping[str, Any]) -> Item:
    response = profile.response

    def text(name: str) -> str:
        return as_text(_property(item, name))

    names = {
        MatchKey.ITEM_REF: text(response.fields.item_ref),
        MatchKey.PKID: text(response.fields.pkid),
        MatchKey.SERIAL: text(response.fields.serial),
    }
    return Item(
        result=OemResult(
            status=text(response.status_field),
            code=text(response.code_field),
            message=text(response.message_field),
        ),
        names={key: name for key, name in names.items() if name},
    )


def _names(entry: Entry) -> Mapping[MatchKey, str]:
    """The names that a result may use for this device. An absent name contradicts nothing."""
    names = {
        MatchKey.ITEM_REF: entry.ref,
        MatchKey.PKID: entry.identity.product_key_id or "",
        MatchKey.SERIAL: entry.identity.serial_number or "",
    }
    return {key: name.strip() for key, name in names.items() if name.strip()}


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


_URL_SAFE = "%/:=&?~+!$,;'@()*[]-._"
_CODE_PATHS = ("code", "errorCode", "error.code")
_MESSAGE_PATHS = ("message", "description", "error.message", "error.description", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class OemReply:
    """The content of an answer about the devices of its call, by their `ref`.

    `results` is None as long as the service has only accepted them; then `handle` is what it gave
    to ask after them. A device without a result of its own has None: it stays unknown. Results
    with a handle mean that a device which is still pending may be asked after again.
    """

    status: int
    request_id: str | None
    correlation_id: str | None
    results: Mapping[str, OemResult | None] | None = None
    handle: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The ids that one request carries; an empty one is not sent."""

    request_id: str
    correlation_id: str


class OemDirect:
    """The deregistration of one OEM. `now` is the wall clock (UTC), for Retry-After dates.

    Every method raises GuardError (nothing was sent), Unsent, Unanswered, Redirected (transport),
    Unauthorized, Throttled, Unavailable, Rejected, and Unreadable for an answer that the profile
    does not describe. Raises InputError where the profile has no usable address.
    """

    def __init__(
        self,
        transport: Transport,
        profile: Profile,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._profile = at_base_url(profile, transport.base_url)
        self._transport = BlankOnly(transport, self._profile)
        self._now = now
        self._sent = SentIds()

    def deregister(self, entries: Sequence[Entry], ids: Ids) -> OemReply:
        """Ask for the removal of at most `batch_limit` devices in one call."""
        profile = self._profile
        reply = self._post(profile.method, profile.path, entries, ids)
        document = self._read(reply, ids)
        if profile.response.mode is not ResponseMode.SYNC:
            handle = self._handle(reply, document)
            if handle is not None:
                return self._reply(reply, ids, handle=handle)
        items = read_items(profile, document)
        if items is None and document is not None:
            path = profile.response.items_path
            raise unreadable(profile, reply, f"it has no results under {path!r}")
        return self._reply(reply, ids, results=match(profile, items or (), entries))

    def validate(self, entries: Sequence[Entry], ids: Ids) -> OemReply:
        """Pre-flight: have the same body validated. It changes nothing at the service."""
        preflight = self._profile.preflight
        reply = self._post(preflight.method, preflight.path, entries, ids)
        document = self._read(reply, ids)
        items = read_items(self._profile, document)
        results = None if items is None else match(self._profile, items, entries)
        return self._reply(reply, ids, results=results)

    def progress(self, handle: str, entries: Sequence[Entry], ids: Ids) -> OemReply:
        """Ask once what became of accepted work.

        Work that the service has forgotten has no result for any device.
        """
        poll, mode = self._profile.poll, self._profile.response.mode
        url = f"{origin(self._profile.base_url)}{handle}"
        if mode is ResponseMode.ACK_LIST:
            url = _filled(poll.detail_path, handle)
            if poll.list_path:
                listing = self._get(poll.list_path, ids)
                if handle not in set(texts(self._read(listing, ids))):
                    return self._reply(listing, ids, handle=handle)
        reply = self._get(url, ids)
        if reply.status in (404, 410):
            # Not there yet, where no list said that it is; else not there any more.
            if mode is ResponseMode.ACK_LIST and not poll.list_path and reply.status == 404:
                return self._reply(reply, ids, handle=handle)
            return self._reply(reply, ids, results=match(self._profile, (), entries))
        return self._read_progress(reply, handle, entries, ids)

    def _read_progress(
        self, reply: Reply, handle: str, entries: Sequence[Entry], ids: Ids
    ) -> OemReply:
        """Read a page of accepted work: by its status for the batch, else device by device."""
        document, poll = self._read(reply, ids), self._profile.poll
        asked, named = self._id_in(handle), self._batch_id(document)
        if poll.id_path and asked and not is_same(asked, named):
            raise unreadable(self._profile, reply, f"it is about the batch {shown(named)!r}")
        waiting = self._reply(reply, ids, handle=handle)
        if reply.status == 202 or document is None:
            return waiting
        items = read_items(self._profile, document)
        results = match(self._profile, items or (), entries)
        status = as_text(self._find(document, poll.status_path)) if poll.status_path else ""
        finished = map(str.casefold, poll.finished_values)
        if status.casefold() in finished or (status and self._all_decided(status, results)):
            return self._reply(reply, ids, results=results)
        if status or items is None:
            return waiting
        return self._reply(reply, ids, results=results, handle=handle)

    def _all_decided(self, status: str, results: Mapping[str, OemResult | None]) -> bool:
        """Whether no device is waiting, for a batch status that the profile doesn't list."""
        pending = {value.casefold() for value in self._profile.response.pending_values}
        said = [result.status if result else "" for result in results.values()]
        return status.casefold() not in pending and all(
            each and each.casefold() not in pending for each in said
        )

    def _handle(self, reply: Reply, document: Any) -> str | None:
        """The handle to poll: the batch's id, or path and query of its location on this host."""
        poll = self._profile.poll
        batch_id = self._batch_id(document)
        if self._profile.response.mode is ResponseMode.ACK_LIST:
            return batch_id or None
        location = reply.header(poll.location_header)
        if not location and batch_id and poll.detail_path:
            location = f"{self._profile.base_url}{_filled(poll.detail_path, batch_id)}"
        if not location:
            return None
        base = self._profile.base_url
        address = urljoin(f"{base}{self._profile.path}", location.strip())
        if origin(address) != origin(base):
            where = shown(origin(address)) or "no address"
            raise unreadable(self._profile, reply, f"its location is on another host ({where})")
        parts = urlsplit(address)
        found = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return quote(found, safe=_URL_SAFE)

    def _batch_id(self, document: Any) -> str:
        """Under the profile's path; without one the whole answer is the id."""
        path = self._profile.poll.id_path
        return as_text(self._find(document, path)) if path else next(texts(document), "")

    def _id_in(self, handle: str) -> str | None:
        """The batch's id that a handle was made from; None for a location of the service's own."""
        if self._profile.response.mode is ResponseMode.ACK_LIST:
            return handle
        before, mark, after = self._profile.poll.detail_path.partition("{id}")
        start = urlsplit(self._profile.base_url).path + before
        if not (mark and handle.startswith(start) and handle.endswith(after)):
            return None
        return unquote(handle[len(start) :].removesuffix(after))

    def _read(self, reply: Reply, ids: Ids) -> Any:
        """The document of an answer to a call that was understood, or the error that it is."""
        if reply.status in self._profile.response.success_http:
            return self._without_tenant(read_document(self._profile, reply), reply)
        if not 400 <= reply.status < 500 or reply.status in (401, 408, 429):
            raise self._refusal(reply, ids, None)
        try:
            document = read_document(self._profile, reply)
        except Unreadable:
            document = None  # a gateway's HTML
        if read_items(self._profile, document):
            return self._without_tenant(document, reply)
        raise self._refusal(reply, ids, document)

    def _without_tenant(self, document: Any, reply: Reply) -> Any:
        """The document, unless it shows a tenant: the service may have registered the devices."""
        own = {normalized(name) for name in self._profile.body.tenant_fields}
        for name, value in leaves(document):
            if as_text(value) and mentions_tenant(name, own):
                raise unreadable(
                    self._profile,
                    reply,
                    f"its {shown(name)!r} is filled, so that it may be about a registration for "
                    "that tenant; look the devices up with your OEM's tools",
                )
        return document

    def _refusal(self, reply: Reply, ids: Ids, document: Any) -> ServiceError:
        status = reply.status
        if status < 400:
            return unreadable(
                self._profile, reply, "the status is not in oem.response.success_http"
            )
        kind, response = kind_of(status), self._profile.response
        code = self._first(document, (response.code_field, *_CODE_PATHS))
        words = self._first(document, (response.message_field, *_MESSAGE_PATHS))
        description = shown(words or " ".join(texts(document))) or None
        return kind(
            f"the OEM Direct API answered {status}" + (f": {description}" if description else ""),
            remedy=_REMEDIES.get(kind, ""),
            status=status,
            code=code,
            description=description,
            **self._named(reply, ids),
            retry_after=parse_retry_after(reply.header("Retry-After"), self._now()),
        )

    def _first(self, document: Any, paths: Sequence[str]) -> str | None:
        found = (as_text(self._find(document, path)) for path in paths if path)
        return next(filter(None, found), None)

    def _find(self, document: Any, path: str) -> Any:
        return find(document, path, is_xml=self._profile.is_xml)

    def _post(self, method: str, path: str, entries: Sequence[Entry], ids: Ids) -> Reply:
        body = build_body(self._profile, entries)
        headers = {"Content-Type": self._profile.media_type, **self._headers(ids)}
        return self._send(Request(method=method, url=path, headers=headers, body=body), ids)

    def _get(self, url: str, ids: Ids) -> Reply:
        return self._send(Request(method="GET", url=url, headers=self._headers(ids)), ids)

    def _send(self, request: Request, ids: Ids) -> Reply:
        """One exchange. Raises Unreadable where the answer belongs to another request of ours.

        A correlation id is the caller's and given back as it was; a service that answers with one
        of its own needs a profile whose `correlation_header` is empty.
        """
        self._sent.add(ids.request_id)
        reply = self._transport.send(request)
        correlation = self._echoed(reply, self._profile.correlation_header)
        if ids.correlation_id and not is_same(ids.correlation_id, correlation):
            raise unreadable(self._profile, reply, f"its correlation id is {correlation!r}, not "
                             f"{ids.correlation_id!r}")  # fmt: skip
        answered = self._echoed(reply, self._profile.request_id_header)
        if self._sent.is_of_another(answered, ids.request_id):
            raise unreadable(self._profile, reply, f"it answers another request, {answered!r}")
        return reply

    def _headers(self, ids: Ids) -> dict[str, str]:
        profile = self._profile
        named = {
            profile.request_id_header: ids.request_id,
            profile.correlation_header: ids.correlation_id,
        }
        given = {name: value for name, value in named.items() if name and value}
        accept = profile.media_type.split(";")[0]
        return {"Accept": accept, **dict(profile.extra_headers), **given}

    def _reply(
        self,
        reply: Reply,
        ids: Ids,
        *,
        results: Mapping[str, OemResult | None] | None = None,
        handle: str | None = None,
    ) -> OemReply:
        return OemReply(
            status=reply.status,
            results=results,
            handle=handle,
            **self._named(reply, ids),
        )

    def _named(self, reply: Reply, ids: Ids) -> dict[str, str]:
        """The ids of an answer as the service gave them back, else as they were sent."""
        profile = self._profile
        return {
            "request_id": self._echoed(reply, profile.request_id_header) or ids.request_id,
            "correlation_id": self._echoed(reply, profile.correlation_header) or ids.correlation_id,
        }

    def _echoed(self, reply: Reply, header: str) -> str | None:
        """The id as the service gave it back; it may be one of its own."""
        return shown(reply.header(header) or "") or None if header else None


_REMEDIES: Mapping[type[ServiceError], str] = {
    Unauthorized: "check the client certificate and the app registration named in oem.auth, "
    "then resume the run",
    Throttled: "resume the run later",
    Unavailable: "resume the run later: what is in doubt is asked again",
    Rejected: "compare the wire profile with your whitepaper, then run the batch again",
}


def _filled(path: str, handle: str) -> str:
    return path.replace("{id}", quote(handle, safe=""))
