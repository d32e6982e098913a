"""The door over real sockets: what leaves, what comes back, and what each failure is told as."""

from __future__ import annotations

import contextlib
import errno
import gzip
import http.client
import logging
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import requests_mock
import trustme
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st

from partner_tools import errors
from partner_tools.clients.transport import (
    FOREIGN_ERRORS,
    Certificate,
    Reply,
    Request,
    Secret,
    Transport,
    build_url,
    check_base_url,
    classify,
    make_error,
    origin,
    parse_json,
)
from tests.clients.wire_service import Step, WireService, answer, in_silence, reset, then_close

BASE = "https://api.partnercenter.microsoft.com"
GET = Request(method="GET", url="/v1/customers", headers={"MS-RequestId": "r-1"})
DELETE = Request(method="DELETE", url="/v1/x", headers={"MS-RequestId": "r-2"})


class Tokens:
    """Gives out token 1, and after each renewal the next."""

    def __init__(self) -> None:
        self.number = 1
        self.renewed: list[str] = []

    def token(self) -> str:
        return f"token-{self.number}"

    def renew(self, stale: str) -> None:
        self.renewed.append(stale)
        if stale == self.token():
            self.number += 1


@pytest.fixture
def service() -> Iterator[WireService]:
    running = WireService()
    yield running
    running.stop()


@pytest.fixture
def transport(service: WireService) -> Iterator[Transport]:
    with Transport(service.url, timeout=(30.0, 30.0), tokens=Tokens()) as opened:
        yield opened


# What leaves


def test_a_request_leaves_exactly_as_it_was_built(
    service: WireService, transport: Transport
) -> None:
    service.script = [answer(200, b"{}")]
    request = Request(
        method="POST",
        url="/v1/a/%2E%2E/b%2Fc%23/%2E/d%20e;f=,g",
        query=(("filter", '{"a": "b&c"}'), ("startDate", "2026-01-01")),
        headers={"Content-Type": "application/json", "MS-RequestId": "r-1"},
        body=b"[1]",
    )

    transport.send(request)

    (asked,) = service.asked
    assert asked.method == "POST"
    assert asked.target == (
        "/v1/a/%2E%2E/b%2Fc%23/%2E/d%20e;f=,g"
        "?filter=%7B%22a%22%3A%20%22b%26c%22%7D&startDate=2026-01-01"
    )
    assert asked.body == b"[1]"
    assert asked.headers["authorization"] == "Bearer token-1"
    assert asked.headers["content-length"] == "3"
    assert asked.headers["ms-requestid"] == "r-1"


def test_a_delete_says_that_it_has_no_body(service: WireService, transport: Transport) -> None:
    service.script = [answer(204)]
    transport.send(DELETE)
    assert service.asked[0].headers["content-length"] == "0"
    assert service.asked[0].body == b""


def test_connections_are_kept_and_cookies_are_not(
    service: WireService, transport: Transport
) -> None:
    service.script = [answer(200, b"{}", Set_Cookie="who=me; Path=/")]
    for _ in range(3):
        transport.send(GET)
    assert service.connections == 1
    assert not any("cookie" in asked.headers for asked in service.asked)


def test_no_credentials_of_the_environment_are_sent(
    service: WireService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries look for a host's password in `.netrc`, and put it in the place of a token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password hush\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    service.script = [answer(200, b"{}")]
    for tokens in (None, Tokens()):
        with Transport(service.url, tokens=tokens) as transport:
            transport.send(GET)

    assert [asked.headers.get("authorization") for asked in service.asked] == [
        None,
        "Bearer token-1",
    ]


def test_many_threads_share_one_transport(service: WireService) -> None:
    service.script = [answer(200, b"{}")]
    with Transport(service.url, pool_size=8) as transport:
        threads = [
            threading.Thread(target=lambda: [transport.send(GET) for _ in range(20)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(service.asked) == 160
    assert service.connections <= 8


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/v1/customers",
        "http://api.partnercenter.microsoft.com/v1/customers",
        "https://api.partnercenter.microsoft.com:8443/v1/customers",
        "https://api.partnercenter.microsoft.com@evil.example/v1",
        "https://user@api.partnercenter.microsoft.com/v1",
        ".evil.example/v1",
        "@evil.example/v1",
        "/v1/a b",
        "/v1/a\r\nHost: evil",
        "/v1/ä",
        "/v1/a#b",
        "https://[::1",
    ],
)
def test_nothing_leaves_for_another_host_or_a_malformed_address(url: str) -> None:
    transport = Transport(BASE, tokens=Tokens())
    adapter = requests_mock.Adapter()
    for scheme in ("http://", "https://"):
        transport.session.mount(scheme, adapter)
    with pytest.raises(errors.Unsent, match="was not sent"):
        transport.send(Request(method="GET", url=url))
    assert not adapter.called


@pytest.mark.parametrize(
    "url",
    ["/v1/x", f"{BASE}/v1/x", f"{BASE}:443/v1/x", "HTTPS://API.partnercenter.microsoft.com/v1/x"],
)
def test_the_token_goes_to_its_own_host_however_that_is_spelt(url: str) -> None:
    adapter = requests_mock.Adapter()
    adapter.register_uri("GET", requests_mock.ANY, text="{}")
    transport = Transport(BASE, tokens=Tokens())
    transport.session.mount("https://", adapter)
    transport.send(Request(method="GET", url=url))
    assert adapter.request_history[0].headers["Authorization"] == "Bearer token-1"


@given(st.text(max_size=40))
def test_whatever_the_address_it_stays_on_the_host_or_is_refused(text: str) -> None:
    try:
        url = build_url(BASE, Request(method="GET", url=text))
    except errors.Unsent:
        return
    assert origin(url) == origin(BASE)
    assert urlsplit(url).hostname == "api.partnercenter.microsoft.com"


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX: y", "töken€"])
def test_a_token_that_is_no_header_is_refused_without_being_shown(token: str) -> None:
    tokens = Tokens()
    tokens.token = lambda: token  # type: ignore[method-assign]
    with pytest.raises(errors.AuthError) as raised:
        Transport(BASE, tokens=tokens).send(GET)
    assert token not in str(raised.value)
    assert raised.value.__cause__ is None


# What comes back


@pytest.mark.parametrize("status", [200, 202, 204, 400, 401, 403, 404, 409, 418, 429, 500, 503])
def test_every_status_but_a_redirect_is_a_reply(
    service: WireService, transport: Transport, status: int
) -> None:
    body = b"" if status == 204 else b"said"
    service.script = [answer(status, body, MS_CV="cv-1")]
    reply = transport.send(GET)
    assert (reply.status, reply.body, reply.header("ms-cv")) == (status, body, "cv-1")
    assert reply.headers["MS-CV"] == "cv-1"
    assert 0 < reply.seconds < 2


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_an_error_and_is_not_followed(
    service: WireService, transport: Transport, status: int
) -> None:
    service.script = [answer(status, b"", Location=f"{service.url}/elsewhere?secret=1")]
    with pytest.raises(errors.Redirected) as raised:
        transport.send(GET)
    assert [asked.target for asked in service.asked] == ["/v1/customers"]
    assert raised.value.status == status
    assert raised.value.exit_code == 5
    assert "secret" not in str(raised.value)


def test_a_compressed_body_is_unpacked(service: WireService, transport: Transport) -> None:
    service.script = [answer(200, gzip.compress(b'{"a": 1}'), Content_Encoding="gzip")]
    assert transport.send(GET).body == b'{"a": 1}'
    assert service.asked[0].headers["accept-encoding"] == "gzip"


def without_end(packed: bool) -> Step:
    """An answer that goes on as long as somebody reads."""

    def pour(connection: socket.socket) -> None:
        packer = zlib.compressobj(wbits=31)
        encoding = b"Content-Encoding: gzip\r\n" if packed else b""
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + encoding + b"\r\n"
        )
        while True:
            part = b"x" * 50_000
            if packed:
                part = packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))

    return pour


@pytest.mark.parametrize("status", ["102 Processing", "103 Early Hints"])
def test_what_comes_before_the_answer_is_no_answer(service: WireService, status: str) -> None:
    """RFC 8297 (2017-12): a proxy may send 103 with headers before any final answer."""
    hint = f"HTTP/1.1 {status}\r\nLink: </a.css>; rel=preload\r\n\r\n".encode()
    service.script = [hint + hint + b"HTTP/1.1 204 No Content\r\nMS-RequestId: own\r\n\r\n"]
    with Transport(service.url, tokens=Tokens()) as transport:
        reply = transport.send(Request(method="DELETE", url="/v1/x"))
    assert (reply.status, reply.header("MS-RequestId"), reply.header("Link")) == (204, "own", None)


@pytest.mark.parametrize(
    "beyond",
    [
        answer(200, b"x" * 300_000),
        answer(200, gzip.compress(b"x" * 300_000), Content_Encoding="gzip"),
        without_end(packed=False),
        without_end(packed=True),
    ],
    ids=["plain", "packed", "plain without end", "packed without end"],
)
def test_an_answer_beyond_the_limit_is_unreadable(service: WireService, beyond: Step) -> None:
    """No more of it is read than the limit, else that without an end would be one that drips."""
    service.script = [beyond]
    with (
        Transport(service.url, answer_limit_bytes=200_000, timeout=(30.0, 30.0)) as transport,
        pytest.raises(errors.Unreadable, match="larger than 200,000 bytes"),
    ):
        transport.send(GET)


def test_a_body_that_ends_with_the_connection_is_whole(
    service: WireService, transport: Transport
) -> None:
    service.script = [then_close(b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}')]
    assert transport.send(GET).body == b'{"a": 1}'


def test_a_refusal_without_a_length_is_whole(service: WireService, transport: Transport) -> None:
    service.script = [then_close(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")]
    assert transport.send(DELETE).status == 503


def test_a_confirmation_without_a_body_needs_no_length(
    service: WireService, transport: Transport
) -> None:
    service.script = [then_close(b"HTTP/1.1 204 No Content\r\n\r\n")]
    assert transport.send(DELETE).status == 204


def test_a_refusal_beyond_the_limit_is_cut(service: WireService, transport: Transport) -> None:
    service.script = [answer(500, b"x" * 300_000)]
    assert len(transport.send(GET).body) == 64 * 1024


# What fails


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (reset, "connection was cut"),
        (then_close(b""), "closed or did not speak HTTP"),
        (then_close(b"HTTP/1.1 200 OK\r\nContent-Le"), "cut short"),
        (then_close(b"HTTP/1.1 200 OK\r\n"), "cut short"),
        (then_close(b"HTTP/1.1 200 OK"), "cut short"),
        (then_close(b"HTTP/1.1 202 Accepted\r\nMS-CV: 1\r\n"), "cut short"),
        (then_close(b"HTTP/1.1 20"), "closed or did not speak HTTP"),
        (then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "cut short"),
        (
            then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf"),
            "cut short",
        ),
        (then_close(b"SSH-2.0-OpenSSH_9.6\r\n"), "closed or did not speak HTTP"),
        (
            then_close(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"
            ),
            "compression is damaged",
        ),
        (
            then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
            "gave no complete answer",
        ),
    ],
)
def test_a_lost_or_broken_answer_is_unanswered(
    service: WireService, transport: Transport, act: Step, words: str
) -> None:
    service.script = [act]
    with pytest.raises(errors.Unanswered, match=words) as raised:
        transport.send(DELETE)
    assert raised.value.request_id == "r-2"
    assert "request r-2" in str(raised.value)
    assert raised.value.remedy
    assert len(service.asked) == 1


def test_a_reset_of_a_kept_connection_is_unanswered_and_not_repeated(
    service: WireService, transport: Transport
) -> None:
    service.script = [answer(200, b"{}"), reset]
    transport.send(GET)
    with pytest.raises(errors.Unanswered):
        transport.send(DELETE)
    assert [asked.method for asked in service.asked] == ["GET", "DELETE"]


def test_a_slow_answer_is_unanswered(service: WireService) -> None:
    released = threading.Event()
    service.script = [in_silence(released)]
    with (
        Transport(service.url, timeout=(30.0, 0.5), tokens=Tokens()) as transport,
        pytest.raises(errors.Unanswered, match="in time"),
    ):
        transport.send(DELETE)
    released.set()


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"x"),  # shorter than one part
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"", b"H"),
    ],
)
def test_an_answer_that_drips_for_ever_is_unanswered(
    service: WireService, head: bytes, drop: bytes
) -> None:
    """The time to wait for a byte begins anew with each; that for the answer does not."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    service.script = [drip]
    with (
        Transport(service.url, timeout=(30.0, 0.5)) as transport,
        pytest.raises(errors.Unanswered, match=r"took too long|did not answer in time"),
    ):
        transport.send(DELETE)
    assert len(service.asked) == 1


def test_a_refused_connection_is_unsent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(errors.Unsent, match="refused the connection") as raised:
        Transport(f"http://127.0.0.1:{port}").send(DELETE)
    assert raised.value.request_id == "r-2"


def test_an_unknown_host_name_is_unsent() -> None:
    with pytest.raises(errors.Unsent, match="name cannot be resolved"):
        Transport("https://nobody.invalid", proxies={}).send(DELETE)


# TLS and proxies


REVOKED = b"""\
-----BEGIN X509 CRL-----
MIGCMDYCAQEwBQYDK2VwMAwxCjAIBgNVBAMMAWEXDTI2MDEwMTAwMDAwMFoXDTI3
MDEwMTAwMDAwMFowBQYDK2VwA0EADav71Hrk0nP+PNF25xGUJOWOl8lZuoowNCyh
CVBbvIs9TOgC0WSof0mywZaRvRevGajnio3LKvUuZ60fuRG7AA==
-----END X509 CRL-----
"""
"""A list of revoked certificates, itself none."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def serve_tls(authority: trustme.CA, name: str = "localhost") -> WireService:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return WireService(script=[answer(200, b"{}")], context=context)


def test_a_bundle_is_trusted_besides_the_systems(authority: trustme.CA, bundle: Path) -> None:
    service = serve_tls(authority)
    with Transport(service.url, ca_bundle=bundle) as transport:
        assert transport.send(GET).status == 200
        context = transport.session.get_adapter(service.url)._context  # type: ignore[attr-defined]
        assert len(context.get_ca_certs()) > 50
    service.stop()


@pytest.mark.parametrize("name", [None, "ca.pem", "0123abcd.0"])
def test_a_folder_has_to_hold_a_certificate_that_openssl_finds(
    authority: trustme.CA, tmp_path: Path, name: str | None
) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    (folder / "00000000.0").write_text("no certificate", encoding="ascii")
    if name:
        authority.cert_pem.write_to_path(str(folder / name))
    if name == "0123abcd.0":
        Transport(BASE, ca_bundle=folder).close()
    else:
        with pytest.raises(errors.InputError, match=r"authorities.*named by its hash") as raised:
            Transport(BASE, ca_bundle=folder)
        assert "openssl rehash" in raised.value.remedy


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environments_bundle_is_read_once(
    authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    service = serve_tls(authority)
    monkeypatch.setenv(variable, str(bundle))
    with Transport(service.url) as transport:
        monkeypatch.delenv(variable)
        assert transport.send(GET).status == 200
    service.stop()


def test_an_unknown_authority_is_unsent(authority: trustme.CA) -> None:
    service = serve_tls(authority)
    with (
        Transport(service.url, tokens=Tokens()) as transport,
        pytest.raises(errors.Untrusted, match="certificate is not trusted") as raised,
    ):
        transport.send(DELETE)
    assert "PARTNER_TOOLS_CA_BUNDLE" in raised.value.remedy
    assert service.asked == []
    service.stop()


def test_a_certificate_of_another_host_is_unsent(authority: trustme.CA, bundle: Path) -> None:
    service = serve_tls(authority, "other.example")
    with (
        Transport(service.url, ca_bundle=bundle) as transport,
        pytest.raises(errors.Untrusted, match="certificate is not trusted"),
    ):
        transport.send(DELETE)
    service.stop()


def test_a_service_that_speaks_no_tls_is_unsent(service: WireService) -> None:
    service.script = [answer(200)]
    with (
        Transport(service.url.replace("http://", "https://")) as transport,
        pytest.raises(errors.Unsent, match=r"TLS failed|closed|cut"),
    ):
        transport.send(DELETE)


def test_a_tls_failure_after_sending_is_unanswered(authority: trustme.CA, bundle: Path) -> None:
    """The end of a TLS stream without its closing alert, once the request has left."""
    service = serve_tls(authority)

    def tear(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        with socket.socket(fileno=connection.detach()) as bare:
            bare.sendall(b"\x17\x03\x03\x00\x20" + b"junk" * 8)

    service.script = [tear]
    with Transport(service.url, ca_bundle=bundle) as transport, pytest.raises(errors.Unanswered):
        transport.send(DELETE)
    assert len(service.asked) == 1
    service.stop()


def test_a_client_certificate_is_presented(
    authority: trustme.CA, bundle: Path, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    service = WireService(script=[answer(200, b"{}")], context=context)
    pem = tmp_path / "client.pem"
    authority.issue_cert("depot@example.org").private_key_and_cert_chain_pem.write_to_path(str(pem))
    client = Certificate(path=pem)

    with Transport(service.url, ca_bundle=bundle, client_cert=client) as transport:
        assert transport.send(GET).status == 200
    with (
        Transport(service.url, ca_bundle=bundle) as transport,
        pytest.raises((errors.Unsent, errors.Unanswered)),
    ):
        transport.send(GET)
    service.stop()


def test_a_list_of_revoked_certificates_trusts_no_certificate(tmp_path: Path) -> None:
    path = tmp_path / "revoked.pem"
    path.write_bytes(REVOKED)
    with pytest.raises(errors.InputError, match="it holds no certificate"):
        Transport(BASE, ca_bundle=path)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_files_that_are_no_certificates_are_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.InputError, match=r"some\.pem"):
        Transport(BASE, ca_bundle=path)
    with pytest.raises(errors.InputError, match=r"some\.pem") as raised:
        Transport(BASE, client_cert=Certificate(path=path, password=Secret("hush-hush")))
    assert "hush" not in str(raised.value) + raised.value.remedy


@pytest.mark.parametrize(
    "script", [[answer(407, b"", Proxy_Authenticate="Basic")], [answer(502)], [reset]]
)
def test_a_proxy_that_lets_nothing_through_is_unsent(
    service: WireService, script: list[Step]
) -> None:
    service.script = script
    transport = Transport(BASE, proxies={"https": service.url}, tokens=Tokens())
    with pytest.raises(errors.Unsent):
        transport.send(DELETE)
    assert [asked.method for asked in service.asked] == ["CONNECT"]
    assert "authorization" not in service.asked[0].headers


def test_a_proxy_that_is_not_there_is_unsent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(errors.Unsent, match="proxy"):
        Transport(BASE, proxies={"https": address}).send(DELETE)


def test_proxies_of_the_environment_are_read_once_and_never_for_loopback(
    service: WireService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, service.url)
    monkeypatch.setenv("NO_PROXY", "other.example")
    service.script = [answer(407)]
    outside, inside = Transport(BASE), Transport("http://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)  # one name on Windows
    with pytest.raises(errors.Unsent, match="proxy"):
        outside.send(DELETE)
    with pytest.raises(errors.Unsent, match="refused"):
        inside.send(DELETE)
    assert [asked.target for asked in service.asked] == ["api.partnercenter.microsoft.com:443"]


def test_an_address_of_a_proxy_is_checked_and_its_password_not_shown() -> None:
    with pytest.raises(errors.InputError) as raised:
        Transport(BASE, proxies={"https": "ftp://me:hush@proxy:8080"})
    assert "hush" not in str(raised.value) + raised.value.remedy


# Every foreign error has one of our names

UNSENT_BY_KIND = {
    "ConnectTimeout", "ProxyError", "InvalidURL", "MissingSchema", "InvalidSchema", "URLRequired",
    "UnrewindableBodyError", "InvalidProxyURL",
    "ConnectTimeoutError", "NewConnectionError", "NameResolutionError", "LocationValueError",
    "LocationParseError", "URLSchemeUnknown", "ProxySchemeUnknown", "EmptyPoolError",
    "ClosedPoolError",
}  # fmt: skip
OTHERWISE = {
    "TooManyRedirects": errors.Redirected,
    "InvalidJSONError": errors.Unreadable,
    "JSONDecodeError": errors.Unreadable,
}


def kinds_of(module: object) -> list[type[Exception]]:
    return [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Exception)
        and not issubclass(kind, Warning)
        and kind.__module__ == module.__name__  # type: ignore[attr-defined]
    ]


def make(kind: type[Exception]) -> Exception:
    """An instance, whatever its constructor asks for."""
    for arguments in ((), ("x",), (None, "x"), ("x", ValueError()), ("x", "y", 1), (1, 2)):
        with contextlib.suppress(TypeError, AttributeError):
            made = kind(*arguments)
            str(made)
            return made
    return {
        "NameResolutionError": lambda: kind("host", None, socket.gaierror()),
        "InvalidChunkLength": lambda: kind(urllib3.HTTPResponse(body=b""), b"zz"),
    }[kind.__name__]()


@pytest.mark.parametrize(
    "kind",
    [*kinds_of(requests.exceptions), *kinds_of(urllib3.exceptions), *kinds_of(http.client)],
    ids=lambda kind: f"{kind.__module__}.{kind.__name__}",
)
def test_every_foreign_error_is_caught_and_mapped(kind: type[Exception]) -> None:
    if kind.__name__ == "ProxySchemeUnsupported":
        pytest.skip("raised for TLS in TLS without the ssl module only, which cannot be here")
    expected = OTHERWISE.get(
        kind.__name__, errors.Unsent if kind.__name__ in UNSENT_BY_KIND else errors.Unanswered
    )
    error = make(kind)
    assert isinstance(error, FOREIGN_ERRORS)
    assert classify(error) is expected
    told = make_error(error, DELETE, BASE)
    assert type(told) is expected
    assert told.message
    assert told.remedy
    assert told.request_id == "r-2"


def test_the_skipped_kind_is_the_only_one_that_would_not_be_caught() -> None:
    loose = [
        kind.__name__
        for kind in [*kinds_of(requests.exceptions), *kinds_of(urllib3.exceptions)]
        if not issubclass(kind, FOREIGN_ERRORS)
    ]
    assert loose == ["ProxySchemeUnsupported"]


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_on_the_way_is_unanswered(number: int) -> None:
    assert classify(requests.ConnectionError(OSError(number, "x"))) is errors.Unanswered


def test_an_adapters_error_surfaces_as_ours() -> None:
    adapter = requests_mock.Adapter()
    adapter.register_uri("DELETE", requests_mock.ANY, exc=requests.exceptions.ReadTimeout)
    transport = Transport(BASE)
    transport.session.mount("https://", adapter)
    with pytest.raises(errors.Unanswered):
        transport.send(DELETE)


# Tokens


def test_a_refused_token_is_renewed_by_the_thread_that_sent_it(
    service: WireService, transport: Transport
) -> None:
    tokens: Tokens = transport._tokens  # type: ignore[assignment]
    service.script = [answer(401), answer(200)]
    transport.renew_token()
    assert tokens.renewed == []

    transport.send(GET)
    transport.renew_token()
    transport.send(GET)

    assert tokens.renewed == ["token-1"]
    assert [asked.headers["authorization"] for asked in service.asked] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (errors.AuthError("no"), errors.AuthError),
        (errors.Unanswered("the sign-in service gave no answer"), errors.Unsent),
        (errors.Unavailable("down", retry_after=7.0), errors.Unsent),
        (errors.Unreadable("html"), errors.Unsent),
    ],
)
def test_without_a_token_nothing_left_whatever_became_of_asking_for_one(
    raised: errors.PartnerToolsError, expected: type[Exception]
) -> None:
    class Broken(Tokens):
        def token(self) -> str:
            raise raised

    with pytest.raises(expected) as told:
        Transport(BASE, tokens=Broken()).send(DELETE)
    assert type(told.value) is expected
    if isinstance(told.value, errors.Unsent):
        assert told.value.retry_after == getattr(raised, "retry_after", None)


# Logs


def test_one_line_a_request_and_no_secret_at_any_level(
    service: WireService, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.script = [answer(200, b'{"access_token": "hush-body"}'), reset]
    request = Request(
        method="GET", url="/v1/x", query=(("token", "hush-query"),), headers={"MS-RequestId": "r-9"}
    )
    transport.send(request)
    with pytest.raises(errors.Unanswered):
        transport.send(request)

    ours = [r.getMessage() for r in caplog.records if r.name == "partner_tools.clients.transport"]
    assert len(ours) == 2
    assert ours[0].startswith("GET /v1/x -> 200 in ")
    assert ours[0].endswith(" ms (request r-9)")
    assert ours[1].startswith("GET /v1/x -> Unanswered in ")
    assert "token-1" not in caplog.text
    assert "hush" not in "".join(ours)
    assert "hush-body" not in caplog.text


# Addresses and JSON


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (BASE, BASE),
        (f"{BASE}/", BASE),
        ("http://127.0.0.1:8080/pc/", "http://127.0.0.1:8080/pc"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:1", "http://[::1]:1"),
    ],
)
def test_base_urls_that_are_good(url: str, kept: str) -> None:
    assert check_base_url(url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://api.partnercenter.microsoft.com",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://0.0.0.0",
        "ftp://127.0.0.1",
        "https://",
        "api.partnercenter.microsoft.com",
        "https://me:hush@host",
        "https://hush@host",
        "https://host/?a=b",
        "https://host/#a",
        "https://ho st",
        "https://host:port",
        "https://[::1",
        "",
    ],
)
def test_base_urls_that_are_refused(url: str) -> None:
    with pytest.raises(errors.InputError) as raised:
        Transport(url)
    assert raised.value.exit_code == 3
    assert "hush" not in str(raised.value)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": "\xc3\xa4"}', {"a": "ä"}),
        (b"[]", []),
        (b' \r\n{"a": [1, 2.5, null, true]}\r\n', {"a": [1, 2.5, None, True]}),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
    ],
)
def test_json_with_and_without_a_mark(body: bytes, value: object) -> None:
    assert parse_json(Reply(status=200, body=body)) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf",
        b"<html>down</html>",
        b'{"a": ',
        b"\xff\xfe{\x00}\x00",
        b"NaN",
        b'{"a": Infinity}',
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b"[" * 100_000,
        b"[" * 70 + b"]" * 70,
        b"1" * 5_000,
    ],
)
def test_a_body_that_is_not_json_is_unreadable(body: bytes) -> None:
    reply = Reply(status=200, body=body, headers={"ms-requestid": "r-1"})
    with pytest.raises(errors.Unreadable) as raised:
        parse_json(reply)
    assert raised.value.request_id == "r-1"


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_unreadable(body: bytes) -> None:
    try:
        parse_json(Reply(status=200, body=body))
    except errors.Unreadable as error:
        assert error.remedy


def test_the_limits_are_on_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """No way leads to the adapter without both time limits."""
    seen: list[object] = []
    transport = Transport(BASE, timeout=(3.0, 4.0))
    adapter = transport.session.get_adapter(BASE)
    send: Callable[..., requests.Response] = adapter.send

    def watch(*args: object, **options: object) -> requests.Response:
        seen.append(options["timeout"])
        raise requests.ConnectionError

    monkeypatch.setattr(adapter, "send", watch)
    with pytest.raises(errors.Unanswered):
        transport.send(GET)
    assert seen == [(3.0, 4.0)]
    assert send is not None
    assert transport.session.trust_env is False
