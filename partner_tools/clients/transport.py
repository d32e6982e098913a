"""HTTP to one service: requests that never left are told from those that were not answered.

Redirects are never followed, a token travels to one host alone, an answer is bounded in size and
time, and no error or log line repeats the words of a library, which may hold a secret.
"""

from __future__ import annotations

import hmac
import http.client
import io
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, Self
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import requests
import requests.adapters
import requests.utils
import urllib3
import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from partner_tools.errors import (
    AuthError,
    InputError,
    Redirected,
    ServiceError,
    Unanswered,
    Unreadable,
    Unsent,
    Untrusted,
)
from partner_tools.strict_json import InvalidTextError, read_json


class Secret:
    """Hold a text so that printing, formatting, logging and pickling never show it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text to the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._text.encode(), other._text.encode()
        )

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


log = logging.getLogger(__name__)

DEFAULT_TIMEOUT = (10.0, 180.0)
"""Seconds to connect, and to wait for the first byte of an answer, and then for the rest of it:
Microsoft's own SDK waits three minutes, "increased to contend with server latency"
(Partner-Center-PowerShell change log, 3.0.10)."""

ANSWER_LIMIT_BYTES = 32 * 1024 * 1024
REFUSAL_LIMIT_BYTES = 64 * 1024
JSON_VALUES_LIMIT = 1_000_000
"""The largest answer that is expected is a list of batches, which is not paged: 15 values each."""

_PARSING = threading.Lock()
"""The text of an answer takes up to four bytes a character while it is parsed: one at a time.
Parsing holds the interpreter's lock anyway, so that this costs nothing."""

_CHUNK_BYTES = 64 * 1024
_REQUEST_ID_HEADERS = ("MS-RequestId", "client-request-id")
_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_URL_CHARACTERS = re.compile(r"[!-~]*")
_UNPRINTABLE = re.compile(r"[^!-~]")


class TokenSource(Protocol):
    """Where a transport takes its bearer token from."""

    def token(self) -> str:
        """A token that is still good for about a minute. Raises AuthError where none can be had."""
        ...

    def renew(self, stale: str) -> None:
        """Have `stale` replaced, unless that has happened already."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with its private key: a PEM file with both, or a PFX file for sign-in.

    `key` is a PEM file of its own for the key, of a client certificate.
    """

    path: Path
    key: Path | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. `url` is a path below the base URL, or an absolute URL of the same host.

    It is sent byte for byte as given: percent-encoding is the caller's.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A whole answer. `seconds` is from sending to its last byte."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0

    def header(self, name: str) -> str | None:
        """The header's value, whatever the case of its name."""
        wanted = name.lower()
        return next((text for key, text in self.headers.items() if key.lower() == wanted), None)


class Transport:
    """One service's address, its connections, and the token that goes with them. Thread-safe.

    `ca_bundle` is a PEM file of certificate authorities to trust besides the system's. Proxy and
    certificate settings of the environment are read here once; loopback never goes by a proxy.
    `pool_size` is how many connections are kept: at least as many as threads will send.
    Raises InputError where an address or a file is not usable.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tokens: TokenSource | None = None,
        ca_bundle: Path | str | None = None,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
        pool_size: int = 32,
        proxies: Mapping[str, str] | None = None,
        client_cert: Certificate | None = None,
        answer_limit_bytes: int = ANSWER_LIMIT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = check_base_url(base_url)
        self.host = origin(self.base_url)
        self._tokens = tokens
        self._timeout = timeout
        self._answer_limit = answer_limit_bytes
        self._clock = clock
        self._sent = threading.local()
        self._proxies = _read_proxies(self.base_url, proxies)
        secure = self.base_url.startswith("https://")
        context = _open_tls_context(ca_bundle, client_cert) if secure else None
        self.session = requests.Session()
        self.session.trust_env = False
        adapter = _Adapter(context, pool_size)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, adapter)

    def send(self, request: Request) -> Reply:
        """Make one attempt. Any status but 3xx comes back as a Reply.

        Raises Unsent (nothing left), Unanswered (it left, and no whole answer came), Redirected
        (3xx), Unreadable (the answer exceeds the size limit), or what the token source raises.
        """
        started = self._clock()
        try:
            url = build_url(self.base_url, request)
            prepared = _prepare(request, url, self._read_token(request))
            adapter = self.session.get_adapter(url=url)
            try:
                answer = adapter.send(
                    prepared, stream=True, timeout=self._timeout, proxies=dict(self._proxies)
                )
                with answer:
                    body = self._read_body(request, answer)
                    _check_end(answer, body)
            except FOREIGN_ERRORS as error:
                raise make_error(error, request, self.host) from error
        except ServiceError as error:
            _log_end(request, type(error).__name__, self._clock() - started)
            raise
        reply = Reply(
            status=answer.status_code,
            headers=answer.headers,
            body=body,
            seconds=self._clock() - started,
        )
        _log_end(request, str(reply.status), reply.seconds)
        if 300 <= reply.status < 400:
            target = origin(reply.header("Location") or "")
            raise Redirected(
                f"the service answered {request.method} with a redirect ({reply.status})"
                + (f" to {target}" if target else ""),
                remedy="Redirects are never followed, because the token is for one host alone. "
                "Look at the base URL, and at any proxy on the way.",
                status=reply.status,
                request_id=request_id_of(request),
            )
        return reply

    def renew_token(self) -> None:
        """Have the token that this thread sent last replaced, after a 401.

        Does nothing where another thread has done so already. Raises AuthError where the token
        cannot be renewed.
        """
        stale = getattr(self._sent, "token", None)
        if self._tokens is not None and stale is not None:
            self._tokens.renew(stale)

    def token(self) -> str | None:
        """The token that the next request would carry; None without one. May ask for one."""
        return None if self._tokens is None else self._tokens.token()

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def _read_token(self, request: Request) -> str | None:
        if self._tokens is None:
            return None
        try:
            token = self._tokens.token()
        except AuthError:
            raise
        except ServiceError as error:
            # Whatever became of asking for a token, this request has not left.
            kind = Untrusted if isinstance(error, Untrusted) else Unsent
            raise kind(
                f"no token could be had for {self.host}: {error.message}",
                remedy=error.remedy,
                rule=error.rule,
                request_id=request_id_of(request),
                retry_after=error.retry_after,
            ) from error
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise AuthError(
                "the token holds a character that no token has, such as a blank or a line break",
                remedy="Look at how it was copied or minted, and hand it in again.",
                rule="bad-token",
            )
        self._sent.token = token
        return token

    def _read_body(self, request: Request, answer: requests.Response) -> bytes:
        refused = answer.status_code >= 300
        limit = REFUSAL_LIMIT_BYTES if refused else self._answer_limit
        parts, size = [], 0
        # read1 returns what has come; iter_content waits for a whole part, however slowly it comes.
        while size <= limit and (part := answer.raw.read1(_CHUNK_BYTES, decode_content=True)):
            parts.append(part)
            size += len(part)
        if size > limit and not refused:
            raise Unreadable(
                f"the answer to {request.method} is larger than {limit:,} bytes",
                remedy="No answer of this service is that large: look at any proxy on the way.",
                status=answer.status_code,
                request_id=request_id_of(request),
            )
        return b"".join(parts)[:limit]


def check_base_url(url: str) -> str:
    """The base URL without a trailing slash.

    Raises InputError unless it is https, or http to this machine, and free of credentials.
    """
    parts = _split(url)
    problem = None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        problem = "is not an http or https address"
    elif parts.username is not None or parts.password is not None:
        problem = "holds credentials"
    elif parts.query or parts.fragment or not _URL_CHARACTERS.fullmatch(url):
        problem = "has more than a host and a path"
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        problem = "is plain http"
    if problem is not None:
        shown = "the base URL" if problem == "holds credentials" else f"the base URL {url!r}"
        raise InputError(
            f"{shown} {problem}",
            rule="base-url",
            remedy="Give an https address such as https://api.partnercenter.microsoft.com; "
            "plain http is for 127.0.0.1 and localhost alone, and a URL never contains secrets.",
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its very name: no lookup is made."""
    name = host.lower().strip("[]")
    return name in {"localhost", "::1"} or bool(re.fullmatch(r"127(\.[0-9]{1,3}){3}", name))


def origin(url: str) -> str:
    """Scheme, host and port of a URL in one spelling; empty for what has none, or unprintable."""
    parts = _split(url)
    if parts is None or not parts.hostname or not _URL_CHARACTERS.fullmatch(parts.netloc):
        return ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def build_url(base_url: str, request: Request) -> str:
    """The address that the request goes to, exactly.

    Raises Unsent for what is no address, or one of another host.
    """
    url = request.url if "://" in request.url.split("?")[0] else base_url + request.url
    if request.query:
        url += ("&" if "?" in url else "?") + urlencode(request.query, quote_via=quote, safe="")
    parts = _split(url)
    well_formed = (
        parts is not None
        and _URL_CHARACTERS.fullmatch(url) is not None
        and not parts.fragment
        and "@" not in parts.netloc
    )
    if not well_formed or origin(url) != origin(base_url):
        raise Unsent(
            f"{request.method} was not sent: its address is not one of {origin(base_url)}",
            remedy="A token travels only to the host that it is for. If the service moved, "
            "set its base URL.",
            rule="foreign-address",
            request_id=request_id_of(request),
        )
    return url


def request_id_of(request: Request) -> str | None:
    """The id under which the service will know this request."""
    by_name = {name.lower(): text for name, text in request.headers.items()}
    return next(
        (by_name[name.lower()] for name in _REQUEST_ID_HEADERS if name.lower() in by_name), None
    )


def parse_json(reply: Reply, *, request_id: str | None = None) -> Any:
    """The JSON of an answer, with or without a byte order mark.

    Raises Unreadable for anything else: HTML, cut or over-deep JSON, a property that appears
    twice, NaN, lone surrogates, and more values than any answer of a service has.
    """
    try:
        with _PARSING:
            return read_json(reply.body, values=JSON_VALUES_LIMIT)
    except InvalidTextError as error:
        raise Unreadable(
            f"the answer with status {reply.status} is not JSON: {error}",
            remedy="A proxy or a captive portal may have answered in the service's place. "
            "If it stays so, report it to the service's support with the request id.",
            status=reply.status,
            request_id=request_id or reply.header("MS-RequestId"),
            correlation_id=reply.header("MS-CorrelationId"),
        ) from error


FOREIGN_ERRORS = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)
"""Everything that the libraries below can raise while a request is on its way; all of
`requests.exceptions` are OSErrors."""

_NEVER_SENT = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.URLRequired,
    requests.exceptions.UnrewindableBodyError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.LocationValueError,
    urllib3.exceptions.EmptyPoolError,
    urllib3.exceptions.ClosedPoolError,
    urllib3.exceptions.UnrewindableBodyError,
    http.client.InvalidURL,
)


def classify(error: BaseException) -> type[ServiceError]:
    """Classify a foreign error; in doubt, assume that the request may have been processed."""
    causes = tuple(_causes(error))
    # `_Connecting` makes every failure before the first byte of a request one of these.
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        untrusted = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes)
        return Untrusted if untrusted else Unsent
    if isinstance(error, requests.exceptions.TooManyRedirects):
        return Redirected
    if isinstance(error, requests.exceptions.InvalidJSONError):
        return Unreadable
    return Unsent if isinstance(error, _NEVER_SENT) else Unanswered


def make_error(error: Exception, request: Request, host: str) -> ServiceError:
    """Our error for a foreign one, in words that a user can act on."""
    kind = classify(error)
    reason, remedy = _describe(error)
    happened = {
        Unsent: f"{host} could not be reached",
        Untrusted: f"{host} could not be reached",
        Unanswered: f"{host} gave no whole answer to {request.method}",
    }.get(kind, f"{host} could not be understood")
    return kind(f"{happened}: {reason}", remedy=remedy, request_id=request_id_of(request))


class _Bounded(io.RawIOBase):
    """Bytes of a socket, of which the last has to come within `patience` seconds of the first.

    The socket's own timeout begins anew with every byte.
    """

    def __init__(self, raw: io.RawIOBase, patience: float) -> None:
        self._raw = raw
        self._patience = patience
        self._end: float | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count: int | None = self._raw.readinto(buffer)
        moment = time.monotonic()
        if self._end is None:
            self._end = moment + self._patience
        elif moment > self._end:
            raise TimeoutError("the answer did not end in time")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Punctual(http.client.HTTPResponse):
    """An answer that ends in time, head and body."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        patience = sock.gettimeout()
        if patience is not None:
            self.fp = io.BufferedReader(_Bounded(self.fp.detach(), patience))

    def _read_status(self) -> tuple[str, int, str]:
        # http.client passes over 100 alone. 102 and 103 precede the answer too (RFC 9110, 15.2):
        # without this, Early Hints of a proxy would be taken for the answer.
        while True:
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 102 <= found[1] < 200:
                return found
            http.client.parse_headers(self.fp)


class _Connecting:
    """Shared by both kinds of connection: a failure to connect is always reported as one.

    DNS, TCP, a proxy's tunnel and the TLS handshake all happen in `connect`, before a byte of the
    request. The library reports some of them as it reports failures after sending.
    """

    def connect(self) -> None:
        try:
            super().connect()  # type: ignore[misc]
        except urllib3.exceptions.NewConnectionError:
            raise
        except FOREIGN_ERRORS as error:
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error  # type: ignore[arg-type]


class _HttpConnection(_Connecting, HTTPConnection):
    response_class = _Punctual


class _HttpsConnection(_Connecting, HTTPSConnection):
    response_class = _Punctual


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, context: ssl.SSLContext | None, pool_size: int) -> None:
        self._context = context
        super().__init__(pool_connections=2, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._context)
        _use_our_pools(self.poolmanager)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        # The context has all authorities; the inherited form would load them again for each
        # connection, and only those of certifi.
        conn.cert_reqs = "CERT_REQUIRED"

    def proxy_manager_for(self, proxy: str, **options: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy, **options, ssl_context=self._context
        )
        _use_our_pools(manager)
        return manager


def _use_our_pools(manager: urllib3.PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


def _open_tls_context(
    ca_bundle: Path | str | None, client_cert: Certificate | None
) -> ssl.SSLContext:
    # Reading a store takes a tenth of a second: once for all connections, and none for http.
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        # Pythons without a store of their own, as on macOS and in bare containers.
        context.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    for path in (ca_bundle, *map(os.environ.get, _CA_VARIABLES)):
        if path:
            _trust(context, Path(path))
    if client_cert is not None:
        _present(context, client_cert)
    return context


def _trust(context: ssl.SSLContext, path: Path) -> None:
    problem = ""
    try:
        if path.is_dir():
            # OpenSSL opens a certificate of a folder when it needs it, by the hash that is its
            # name: a folder without any has to be noticed here. Names are those of `openssl rehash`
            # (https://docs.openssl.org/3.0/man3/SSL_CTX_load_verify_locations/, read 2026-11).
            if any(_holds_certificate(e) for e in path.iterdir() if _HASHED.fullmatch(e.name)):
                context.load_verify_locations(capath=path)
            else:
                problem = "no certificate in it is named by its hash"
        else:
            context.load_verify_locations(cafile=path)
            # OpenSSL fails where it finds nothing; a list of revoked certificates is something.
            if context.cert_store_stats()["crl"] and not _holds_certificate(path):
                problem = "it holds no certificate"
    except OSError as error:
        problem = _reason_of(error)
    if problem:
        raise InputError(
            f"the certificate authorities in {str(path)!r} cannot be read: {problem}",
            rule="ca-bundle",
            remedy="Point PARTNER_TOOLS_CA_BUNDLE (or REQUESTS_CA_BUNDLE) at a PEM file that "
            "exists and holds certificates, or at a folder of them that `openssl rehash` has "
            "named; or unset it.",
        )


def _holds_certificate(file: Path) -> bool:
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(OSError):
        alone.load_verify_locations(cafile=file)
    return alone.cert_store_stats()["x509"] > 0


def _present(context: ssl.SSLContext, client: Certificate) -> None:
    password = client.password.reveal() if client.password else ""
    try:
        # A password that is always given keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(client.path, client.key, password=lambda: password)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the client certificate {str(client.path)!r} cannot be used: {_reason_of(error)}",
            rule="client-certificate",
            remedy="Give a PEM file with certificate and private key, and the key's password "
            "where it has one.",
        ) from error


def _read_proxies(base_url: str, proxies: Mapping[str, str] | None) -> dict[str, str]:
    """The one proxy on the way to the base URL, by its scheme; nothing where there is none."""
    if is_loopback(urlsplit(base_url).hostname or ""):
        return {}
    found = requests.utils.get_environ_proxies(base_url) if proxies is None else dict(proxies)
    chosen = requests.utils.select_proxy(base_url, found)
    if not chosen:
        return {}
    address = chosen if "://" in chosen else f"http://{chosen}"
    parts = _split(address)
    if parts is None or parts.scheme not in _PROXY_SCHEMES or not parts.hostname:
        # The address is not shown: a proxy's may hold a password.
        raise InputError(
            "the address of the proxy is not usable",
            rule="proxy",
            remedy="Give HTTPS_PROXY as http://host:port, or name the service in NO_PROXY.",
        )
    return {urlsplit(base_url).scheme: address}


def _prepare(request: Request, url: str, token: str | None) -> requests.PreparedRequest:
    headers = {
        "User-Agent": "partner-tools",
        "Accept-Encoding": "gzip",
        "Connection": "keep-alive",
        **request.headers,
    }
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_method(request.method)
        prepared.prepare_headers(headers)
        "".join(headers.values()).encode("latin-1")
    except (requests.RequestException, UnicodeError):
        # Not chained: the libraries quote the value, and it may be the token.
        raise Unsent(
            f"{request.method} was not sent: a header of it holds characters that HTTP forbids",
            remedy="Look at the token and the names that were handed in: a line break or a "
            "letter beyond Latin-1 does not belong there.",
            rule="bad-header",
            request_id=request_id_of(request),
        ) from None
    # Set, not prepared: the library would turn %2E%2E into .. and resolve it.
    prepared.url = url
    prepared.body = request.body
    if request.body is not None or request.method not in {"GET", "HEAD"}:
        prepared.headers["Content-Length"] = str(len(request.body or b""))
    return prepared


def _check_end(answer: requests.Response, body: bytes) -> None:
    """Raise IncompleteRead where a success is shorter than it said, or may have lost headers.

    http.client takes the end of the stream for the end of the headers, and with them lost an
    empty body for a whole one: a torn 200 would pass for a confirmation.
    """
    original = getattr(answer.raw, "_original_response", None)
    if answer.status_code >= 300 or not isinstance(original, http.client.HTTPResponse):
        return
    unframed = original.length is None and not original.chunked
    if original.msg.defects or original.length or (unframed and not body):
        raise http.client.IncompleteRead(body)


def _log_end(request: Request, end: str, seconds: float) -> None:
    # The path alone: a query can hold names of customers, and tokens of pages.
    path = _UNPRINTABLE.sub("?", request.url.split("?")[0])
    log.info(
        "%s %s -> %s in %d ms (request %s)",
        request.method,
        path,
        end,
        round(seconds * 1000),
        request_id_of(request) or "-",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and everything that it came from, each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = [item for item in found.args if isinstance(item, BaseException)]
        reason = getattr(found, "reason", None)
        if isinstance(reason, BaseException):
            inner.append(reason)
        waiting += [*inner, found.__cause__, found.__context__]


_NETWORK_REMEDY = (
    "Check the network, the firewall and the proxy (HTTPS_PROXY, NO_PROXY), then run it again."
)
_TRUST_REMEDY = (
    "If a proxy of your organisation inspects TLS, point PARTNER_TOOLS_CA_BUNDLE at its "
    "certificate authority (PEM)."
)
_PROXY_REMEDY = "Check HTTPS_PROXY and the proxy's credentials, or name the host in NO_PROXY."
_WAIT_REMEDY = "Run it again; if it stays so, look at the service's status page."

_STORIES: tuple[tuple[type[BaseException], str, str], ...] = (
    (urllib3.exceptions.ProxyError, "the proxy did not let it through", _PROXY_REMEDY),
    (ssl.SSLCertVerificationError, "its TLS certificate is not trusted", _TRUST_REMEDY),
    (ssl.SSLError, "TLS failed", _TRUST_REMEDY),
    (socket.gaierror, "its name cannot be resolved", _NETWORK_REMEDY),
    (ConnectionRefusedError, "it refused the connection", _NETWORK_REMEDY),
    (urllib3.exceptions.ReadTimeoutError, "it did not answer in time", _WAIT_REMEDY),
    (urllib3.exceptions.DecodeError, "the answer's compression is damaged", _WAIT_REMEDY),
    (http.client.IncompleteRead, "the answer was cut short", _WAIT_REMEDY),
    (TimeoutError, "it took too long", _WAIT_REMEDY),
    (http.client.HTTPException, "the connection was closed or spoke no HTTP", _WAIT_REMEDY),
    (ConnectionError, "the connection was cut", _WAIT_REMEDY),
)


def _describe(error: BaseException) -> tuple[str, str]:
    """Return problem and remedy in our own words, because a foreign text could hold a secret."""
    causes = tuple(_causes(error))
    if any(str(cause).startswith("Tunnel connection failed") for cause in causes):
        return "the proxy did not let it through", _PROXY_REMEDY
    for kind, reason, remedy in _STORIES:
        for cause in causes:
            if not isinstance(cause, kind):
                continue
            detail = str(getattr(cause, "verify_message", ""))
            if "expired" in detail or "not yet valid" in detail:
                remedy = f"Check this computer's clock first. {remedy}"
            return f"{reason} ({detail})" if detail else reason, remedy
    return type(error).__name__, _NETWORK_REMEDY


def _reason_of(error: BaseException) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
