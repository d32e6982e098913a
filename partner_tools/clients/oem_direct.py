"""An OEM Direct API as its wire profile describes it: builds each request, reads each answer.

One attempt a call, no decisions about a device. Everything leaves by way of `BlankOnly`, which
reads the finished bytes again: a tenant on them would register instead of deregister. That an
operation `AutopilotDeviceRegistration` exists, and deregisters when TenantID and TenantDomain are
left blank, is documented (https://learn.microsoft.com/autopilot/registration-overview, read
2026-11); all else is the profile's word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from partner_tools.clients.answers import SentIds, is_same
from partner_tools.clients.oem_answer import (
    Result,
    as_text,
    find,
    match,
    read_document,
    read_items,
    shown,
    texts,
    unreadable,
)
from partner_tools.clients.oem_body import Entry, build_body
from partner_tools.clients.oem_document import leaves
from partner_tools.clients.oem_guard import BlankOnly
from partner_tools.clients.oem_profile import Profile, ResponseMode
from partner_tools.clients.oem_profile_rules import at_base_url
from partner_tools.clients.oem_tenant import mentions_tenant, normalized
from partner_tools.clients.transport import Reply, Request, Transport, origin
from partner_tools.errors import (
    Rejected,
    ServiceError,
    Throttled,
    Unauthorized,
    Unavailable,
    Unreadable,
)
from partner_tools.pacing import parse_retry_after

_URL_SAFE = "%/:=&?~+!$,;'@()*[]-._"
_CODE_PATHS = ("code", "errorCode", "error.code")
_MESSAGE_PATHS = ("message", "description", "error.message", "error.description", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an answer says of the devices of its call, by their `ref`.

    `results` is None as long as the service has only accepted them; then `handle` is what it gave
    to ask after them. A device without a result of its own has None: it stays unknown. Results
    with a handle mean that a device which is still pending may be asked after again.
    """

    status: int
    request_id: str | None
    correlation_id: str | None
    results: Mapping[str, Result | None] | None = None
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
        self._line = BlankOnly(transport, self._profile)
        self._now = now
        self._sent = SentIds()

    def deregister(self, entries: Sequence[Entry], ids: Ids) -> Said:
        """Ask for the removal of at most `batch_limit` devices in one call."""
        profile = self._profile
        reply = self._post(profile.method, profile.path, entries, ids)
        return self._read_submission(reply, entries, ids)

    def validate(self, entries: Sequence[Entry], ids: Ids) -> Said:
        """Pre-flight: have the same body validated. It changes nothing at the service."""
        preflight = self._profile.preflight
        reply = self._post(preflight.method, preflight.path, entries, ids)
        document = self._read(reply, ids)
        items = read_items(self._profile, document)
        results = None if items is None else match(self._profile, items, entries)
        return self._said(reply, ids, results=results)

    def progress(self, handle: str, entries: Sequence[Entry], ids: Ids) -> Said:
        """Ask once what became of accepted work.

        Work that the service does not know any more has no result for anybody.
        """
        poll = self._profile.poll
        url = f"{origin(self._profile.base_url)}{handle}"
        if self._profile.response.mode is ResponseMode.ACK_LIST:
            url = _filled(poll.detail_path, handle)
            if poll.list_path:
                listing = self._get(poll.list_path, ids)
                if handle not in set(texts(self._read(listing, ids))):
                    return self._said(listing, ids, handle=handle)
        reply = self._get(url, ids)
        if reply.status in (404, 410):
            return self._not_found(reply, handle, entries, ids)
        return self._read_progress(reply, handle, entries, ids)

    def _not_found(self, reply: Reply, handle: str, entries: Sequence[Entry], ids: Ids) -> Said:
        """Not there yet, where no list said that it is; else not there any more."""
        poll, mode = self._profile.poll, self._profile.response.mode
        if mode is ResponseMode.ACK_LIST and not poll.list_path and reply.status == 404:
            return self._said(reply, ids, handle=handle)
        return self._said(reply, ids, results=match(self._profile, (), entries))

    def _read_progress(self, reply: Reply, handle: str, entries: Sequence[Entry], ids: Ids) -> Said:
        """What a page of accepted work says: by its word for the batch, else device by device."""
        document = self._read(reply, ids)
        asked, named = self._id_in(handle), self._batch_id(document)
        if self._profile.poll.id_path and asked and not is_same(asked, named):
            raise unreadable(self._profile, reply, f"it is about the batch {shown(named)!r}")
        waiting = self._said(reply, ids, handle=handle)
        if reply.status == 202 or document is None:
            return waiting
        items = read_items(self._profile, document)
        results = match(self._profile, items or (), entries)
        status = self._batch_status(document)
        if status in self._profile.poll.finished_values or (
            status and self._all_decided(status, results)
        ):
            return self._said(reply, ids, results=results)
        if status or items is None:
            return waiting
        return self._said(reply, ids, results=results, handle=handle)

    def _batch_status(self, document: Any) -> str:
        """The status of the whole batch as the profile spells it, else as it stands there."""
        poll = self._profile.poll
        said = as_text(self._find(document, poll.status_path)) if poll.status_path else ""
        known = {value.casefold(): value for value in poll.finished_values}
        return known.get(said.casefold(), said)

    def _all_decided(self, status: str, results: Mapping[str, Result | None]) -> bool:
        """Whether nobody is waiting, under a batch status that no list of the profile has."""
        pending = {value.casefold() for value in self._profile.response.pending_values}
        said = [result.status if result else "" for result in results.values()]
        return status.casefold() not in pending and all(
            each and each.casefold() not in pending for each in said
        )

    def _read_submission(self, reply: Reply, entries: Sequence[Entry], ids: Ids) -> Said:
        document = self._read(reply, ids)
        if self._profile.response.mode is not ResponseMode.SYNC:
            handle = self._handle(reply, document)
            if handle is not None:
                return self._said(reply, ids, handle=handle)
        items = read_items(self._profile, document)
        if items is None and document is not None:
            path = self._profile.response.items_path
            raise unreadable(self._profile, reply, f"it has no results under {path!r}")
        return self._said(reply, ids, results=match(self._profile, items or (), entries))

    def _handle(self, reply: Reply, document: Any) -> str | None:
        """What to ask after: the batch's id, or path and query of its location on this host."""
        poll = self._profile.poll
        batch_id = self._batch_id(document)
        if self._profile.response.mode is ResponseMode.ACK_LIST:
            return batch_id or None
        location = reply.header(poll.location_header)
        if not location and batch_id and poll.detail_path:
            location = f"{self._profile.base_url}{_filled(poll.detail_path, batch_id)}"
        return self._local(reply, location) if location else None

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

    def _local(self, reply: Reply, location: str) -> str:
        base = self._profile.base_url
        address = urljoin(f"{base}{self._profile.path}", location.strip())
        if origin(address) != origin(base):
            where = shown(origin(address)) or "no address"
            raise unreadable(self._profile, reply, f"its location is on another host ({where})")
        parts = urlsplit(address)
        found = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return quote(found, safe=_URL_SAFE)

    def _read(self, reply: Reply, ids: Ids) -> Any:
        """The document of an answer to a call that was understood, or the error that it is."""
        if reply.status in self._profile.response.success_http:
            return self._without_tenant(read_document(self._profile, reply), reply)
        if not 400 <= reply.status < 500 or reply.status in (401, 408, 429):
            raise self._refusal(reply, ids, None)
        document = self._read_leniently(reply)
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

    def _read_leniently(self, reply: Reply) -> Any:
        """The document of a refusal; a gateway's HTML is none."""
        try:
            return read_document(self._profile, reply)
        except Unreadable:
            return None

    def _refusal(self, reply: Reply, ids: Ids, document: Any) -> ServiceError:
        status = reply.status
        if status < 400:
            return unreadable(
                self._profile, reply, "the status is not in oem.response.success_http"
            )
        kind: type[ServiceError] = Rejected
        if status in _KINDS:
            kind = _KINDS[status]
        elif status >= 500:
            kind = Unavailable
        code, description = self._code_of(document), self._description_of(document)
        said = f": {description}" if description else ""
        return kind(
            f"the OEM Direct API answered {status}{said}",
            remedy=_REMEDIES.get(kind, ""),
            status=status,
            code=code,
            description=description,
            request_id=self._echoed(reply, self._profile.request_id_header) or ids.request_id,
            correlation_id=self._echoed(reply, self._profile.correlation_header)
            or ids.correlation_id,
            retry_after=parse_retry_after(reply.header("Retry-After"), self._now()),
        )

    def _code_of(self, document: Any) -> str | None:
        return self._first(document, (self._profile.response.code_field, *_CODE_PATHS))

    def _description_of(self, document: Any) -> str | None:
        paths = (self._profile.response.message_field, *_MESSAGE_PATHS)
        found = self._first(document, paths) or " ".join(texts(document))
        return shown(found) or None

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
        reply = self._line.send(request)
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

    def _said(
        self,
        reply: Reply,
        ids: Ids,
        *,
        results: Mapping[str, Result | None] | None = None,
        handle: str | None = None,
    ) -> Said:
        return Said(
            status=reply.status,
            request_id=self._echoed(reply, self._profile.request_id_header) or ids.request_id,
            correlation_id=self._echoed(reply, self._profile.correlation_header)
            or ids.correlation_id,
            results=results,
            handle=handle,
        )

    def _echoed(self, reply: Reply, header: str) -> str | None:
        """The id as the service gave it back; it may be one of its own."""
        return shown(reply.header(header) or "") or None if header else None


_KINDS: Mapping[int, type[ServiceError]] = {401: Unauthorized, 408: Unavailable, 429: Throttled}

_REMEDIES: Mapping[type[ServiceError], str] = {
    Unauthorized: "check the client certificate and the app registration named in oem.auth, "
    "then resume the run",
    Throttled: "resume the run later",
    Unavailable: "resume the run later: what is in doubt is asked again",
    Rejected: "compare the wire profile with your whitepaper, then run the batch again",
}


def _filled(path: str, handle: str) -> str:
    return path.replace("{id}", quote(handle, safe=""))
