"""Sign-in by msal over TLS: each flow, each failure in words, and no secret anywhere."""

from __future__ import annotations

import base64
import json
import logging
import os
import ssl
import stat
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from partner_tools import errors
from partner_tools.clients.oauth import (
    App,
    CachedTokens,
    DeviceCode,
    MsalHttpClient,
    StaticToken,
    TokenFacts,
    TokenStore,
    app_only,
    check_app,
    describe_token,
    sign_in_by_device_code,
    sign_in_failure,
    sign_in_failures,
    user_by_refresh_token,
    user_signed_in,
)
from partner_tools.clients.transport import Certificate, Request, Secret, Transport
from tests.clients.wire_service import Asked, WireService, answer

TENANT = "0b1c2d3e-0000-4000-8000-000000000001"
CLIENT = "9cb2a3f4-6f2a-4f5e-8f0b-2f4f7a0a7d10"
AUDIENCE = "https://api.partnercenter.microsoft.com"
EPOCH = 1_760_000_000


class Login:
    """A sign-in service over TLS. `replies` overrule what it would answer, by path ending."""

    def __init__(self, authority: trustme.CA, bundle: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self.service = WireService(context=context, respond=self.respond)
        self.bundle = bundle
        self.replies: dict[str, list[bytes]] = {}
        self.minted = 0
        self.refresh_token = "hush-refresh-0"
        self.date = datetime.now(UTC)

    @property
    def url(self) -> str:
        return self.service.url

    def http(self, **options: Any) -> MsalHttpClient:
        return MsalHttpClient(
            self.url, connect=partial(Transport, ca_bundle=self.bundle, timeout=(2, 2)), **options
        )

    def app(self) -> App:
        return App(tenant=TENANT, client_id=CLIENT, login_url=self.url)

    def forms(self) -> list[dict[str, str]]:
        """What was posted to the token endpoint."""
        return [
            {name: texts[0] for name, texts in parse_qs(asked.body.decode()).items()}
            for asked in self.service.asked
            if asked.target.endswith("/token")
        ]

    def refuse(self, number: int, error: str = "invalid_grant", **more: Any) -> None:
        """Answer every token request so from now on."""
        body = {
            "error": error,
            "error_description": f"AADSTS{number}: It is so.\r\nTrace ID: x",
            "error_codes": [number],
            "correlation_id": "corr-1",
            **more,
        }
        self.replies["/token"] = [answer(400, json.dumps(body).encode())]

    def respond(self, asked: Asked) -> bytes:
        for ending, replies in self.replies.items():
            if asked.target.endswith(ending):
                return replies.pop(0) if len(replies) > 1 else replies[0]
        if asked.target.endswith("openid-configuration"):
            return self.say(
                {
                    "issuer": f"{self.url}/{TENANT}/v2.0",
                    "authorization_endpoint": f"{self.url}/{TENANT}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{self.url}/{TENANT}/oauth2/v2.0/token",
                    "device_authorization_endpoint": f"{self.url}/{TENANT}/oauth2/v2.0/devicecode",
                }
            )
        if asked.target.endswith("devicecode"):
            return self.say(
                {
                    "user_code": "ABCD1234",
                    "device_code": "hush-device",
                    "verification_uri": "https://microsoft.com/devicelogin",
                    "expires_in": 900,
                    "interval": 0,
                }
            )
        return self.say(self.grant(parse_qs(asked.body.decode())))

    def say(self, content: Mapping[str, Any]) -> bytes:
        date = self.date.strftime("%a, %d %b %Y %H:%M:%S GMT")
        return answer(200, b"\xef\xbb\xbf" + json.dumps(content).encode(), Date=date)

    def grant(self, form: Mapping[str, list[str]]) -> dict[str, Any]:
        self.minted += 1
        token = {
            "token_type": "Bearer",
            "expires_in": 3599,
            "access_token": jwt({"n": self.minted, "sig": "hush"}),
        }
        if form["grant_type"] == ["client_credentials"]:
            return token
        self.refresh_token = f"hush-refresh-{self.minted}"
        return token | {
            "scope": f"{AUDIENCE}/user_impersonation {AUDIENCE}/.default",
            "refresh_token": self.refresh_token,
            "client_info": unpadded({"uid": "u", "utid": TENANT}),
            "id_token": jwt(
                {
                    "preferred_username": "admin@fabrikam.example",
                    "oid": "u",
                    "tid": TENANT,
                    "sub": "s",
                    "aud": CLIENT,
                    "iss": f"{self.url}/{TENANT}/v2.0",
                    "exp": int(time.time()) + 3600,
                    "iat": int(time.time()),
                }
            ),
        }


def unpadded(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def jwt(claims: Mapping[str, object]) -> str:
    return f"{unpadded({'alg': 'none'})}.{unpadded(claims)}.signature"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def login(authority: trustme.CA, tmp_path: Path) -> Iterator[Login]:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    running = Login(authority, bundle)
    yield running
    running.service.stop()


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(location=tmp_path / "deep" / "tokens.bin", plain_file=True)


needs_no_store = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the system's own store is always there"
)


def ask(tokens: CachedTokens) -> str:
    return tokens.token()


# The cache in front of every flow


class Mint:
    def __init__(self) -> None:
        self.asked: list[bool] = []

    def __call__(self, fresh: bool) -> tuple[Secret, float]:
        self.asked.append(fresh)
        return Secret(f"token-{len(self.asked)}"), 3600.0


def test_a_token_is_kept_until_a_minute_before_its_end() -> None:
    mint, now = Mint(), [0.0]
    tokens = CachedTokens(mint, clock=lambda: now[0])
    seen = []
    for now[0] in (0.0, 3539.0, 3540.0, 7000.0, 7080.0):
        seen.append(tokens.token())
    assert seen == ["token-1", "token-1", "token-2", "token-2", "token-3"]
    assert mint.asked == [False, False, False]


def test_a_refused_token_is_renewed_once_however_many_threads_saw_it_refused() -> None:
    mint = Mint()
    tokens = CachedTokens(mint, clock=lambda: 0.0)
    first = tokens.token()
    for _ in range(5):
        tokens.renew(first)
        assert tokens.token() == "token-2"
    assert mint.asked == [False, True]


def test_threads_wait_for_one_mint() -> None:
    calls: list[int] = []

    def slow(_fresh: bool) -> tuple[Secret, float]:
        calls.append(1)
        time.sleep(0.05)
        return Secret("t"), 3600.0

    tokens = CachedTokens(slow, clock=lambda: 0.0)
    threads = [threading.Thread(target=tokens.token) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]


def test_a_mint_that_fails_is_asked_again_the_next_time() -> None:
    outcomes: list[Any] = [errors.Unavailable("down"), (Secret("t"), 3600.0)]

    def mint(_fresh: bool) -> tuple[Secret, float]:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    tokens = CachedTokens(mint, clock=lambda: 0.0)
    with pytest.raises(errors.Unavailable):
        tokens.token()
    assert tokens.token() == "t"


# App-only


def test_app_only_by_secret(login: Login) -> None:
    tokens = app_only(login.app(), Secret("hush-secret\n"), http=login.http())
    assert login.service.asked == []

    first = tokens.token()
    assert tokens.token() == first
    (form,) = login.forms()
    assert form["grant_type"] == "client_credentials"
    assert form["client_id"] == CLIENT
    assert form["client_secret"] == "hush-secret"
    assert form["scope"] == f"{AUDIENCE}/.default"
    assert {asked.target.split("/")[1] for asked in login.service.asked} == {TENANT}

    tokens.renew(first)
    assert tokens.token() != first
    assert len(login.forms()) == 2


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "app.pem"
    authority.issue_cert(
        "app@fabrikam.example", key_type=trustme.KeyType.RSA
    ).private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


def test_app_only_by_a_pem_certificate(login: Login, certificate: Path) -> None:
    tokens = app_only(login.app(), Certificate(path=certificate), http=login.http())
    tokens.token()
    (form,) = login.forms()
    assert "client_secret" not in form
    header, claims = (
        json.loads(base64.urlsafe_b64decode(part + "==="))
        for part in form["client_assertion"].split(".")[:2]
    )
    pem = certificate.read_text().split("KEY-----\n")[-1].partition("-----END CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[0] + pem[1])
    thumbprint = base64.urlsafe_b64encode(sha256(der).digest()).rstrip(b"=").decode()
    assert header["x5t#S256"].rstrip("=") == thumbprint
    assert claims["iss"] == claims["sub"] == CLIENT
    assert claims["aud"].startswith(login.url)


def write_protected(certificate: Path, password: bytes, pfx: bool) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    content = certificate.read_bytes()
    key: Any = serialization.load_pem_private_key(content, None)
    cert = x509.load_pem_x509_certificate(content[content.index(b"-----BEGIN CERT") :])
    protected = serialization.BestAvailableEncryption(password)
    path = certificate.with_name("protected.pfx" if pfx else "protected.pem")
    if pfx:
        path.write_bytes(pkcs12.serialize_key_and_certificates(b"app", key, cert, None, protected))
    else:
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protected
            )
            + cert.public_bytes(serialization.Encoding.PEM)
        )
    return path


@pytest.mark.slow
@pytest.mark.parametrize("pfx", [True, False])
def test_a_protected_certificate_needs_its_password(
    login: Login, certificate: Path, pfx: bool
) -> None:
    path = write_protected(certificate, b"hush-password", pfx)
    good = Certificate(path=path, password=Secret("hush-password"))
    assert app_only(login.app(), good, http=login.http()).token()
    for password in (None, Secret("hush-wrong")):
        with pytest.raises((errors.InputError, errors.AuthError)) as raised:
            app_only(
                login.app(), Certificate(path=path, password=password), http=login.http()
            ).token()
        assert "hush" not in shown(raised.value)
    assert len(login.forms()) == 1


def test_a_certificate_of_another_kind_of_key_is_refused(
    login: Login, authority: trustme.CA, tmp_path: Path
) -> None:
    path = tmp_path / "ec.pem"
    blob = authority.issue_cert("a@b.example", key_type=trustme.KeyType.ECDSA)
    blob.private_key_and_cert_chain_pem.write_to_path(str(path))
    with pytest.raises(errors.InputError, match="RSA key"):
        app_only(login.app(), Certificate(path=path), http=login.http())


def test_a_certificate_of_another_key_is_refused(
    login: Login, authority: trustme.CA, certificate: Path
) -> None:
    other = authority.issue_cert("other@b.example", key_type=trustme.KeyType.RSA)
    certificate.write_bytes(
        other.private_key_pem.bytes() + certificate.read_bytes().split(b"KEY-----\n")[-1]
    )
    with pytest.raises(errors.InputError, match="another key"):
        app_only(login.app(), Certificate(path=certificate), http=login.http())


@pytest.mark.parametrize(("year", "words"), [(3000, "expired on"), (1970, "valid from")])
def test_a_certificate_out_of_its_time_is_refused(
    login: Login, certificate: Path, year: int, words: str
) -> None:
    """3000 is the last year that Windows can tell."""
    moment = datetime(year, 6, 1, tzinfo=UTC).timestamp()
    with pytest.raises(errors.InputError, match=words):
        app_only(
            login.app(), Certificate(path=certificate), http=login.http(), clock=lambda: moment
        )


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN NONSENSE-----", b"\x30\x82 no pfx"])
def test_a_certificate_that_is_none_is_named(
    login: Login, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "broken.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((errors.InputError, errors.AuthError)) as raised:
        app_only(login.app(), Certificate(path=path), http=login.http()).token()
    assert raised.value.remedy
    assert login.forms() == []


# App+user


@needs_no_store
def test_sign_in_by_device_code_and_what_rests_afterwards(login: Login, store: TokenStore) -> None:
    pending = answer(400, b'{"error": "authorization_pending"}')
    granted = login.say(login.grant({"grant_type": ["device_code"]}))
    login.replies["/token"] = [pending, pending, granted]
    shown_codes: list[DeviceCode] = []
    waits: list[float] = []

    sign_in_by_device_code(
        login.app(), http=login.http(), store=store, prompt=shown_codes.append, sleep=waits.append
    )

    assert shown_codes == [
        DeviceCode(url="https://microsoft.com/devicelogin", code="ABCD1234", expires_in=900)
    ]
    assert waits == [1, 1, 1]
    assert login.forms()[0]["device_code"] == "hush-device"
    assert store.users() == ("admin@fabrikam.example",)

    del login.replies["/token"]
    tokens = user_signed_in(login.app(), http=login.http(), store=store)
    first = tokens.token()
    assert len(login.forms()) == 3
    tokens.renew(first)
    assert tokens.token() != first
    assert login.forms()[-1]["grant_type"] == "refresh_token"
    assert login.forms()[-1]["refresh_token"] == "hush-refresh-1"

    assert store.clear() == ("admin@fabrikam.example",)
    assert store.users() == ()
    with pytest.raises(errors.AuthError, match="no user is signed in") as raised:
        user_signed_in(login.app(), http=login.http(), store=store).token()
    assert "auth login" in raised.value.remedy


@pytest.mark.parametrize("life", ["1e400", '"soon"', "[]", "{}"])
def test_a_life_that_is_no_number_of_seconds_is_told_in_words(login: Login, life: str) -> None:
    """msal makes an integer of whatever it is."""
    body = f'{{"access_token": "a.b.c", "token_type": "Bearer", "expires_in": {life}}}'
    login.replies["/token"] = [answer(200, body.encode())]

    with pytest.raises(errors.AuthError, match="no token could be had"):
        app_only(login.app(), Secret("hush"), http=login.http()).token()


@needs_no_store
def test_polling_slows_down_when_it_is_told_to(login: Login, store: TokenStore) -> None:
    slow_down = answer(400, b'{"error": "slow_down"}')
    login.replies["/token"] = [slow_down, login.say(login.grant({"grant_type": ["device_code"]}))]
    waits: list[float] = []
    # msal looks at the real clock, which does not know that we waited.
    with pytest.warns(UserWarning, match="too soon"):
        sign_in_by_device_code(
            login.app(),
            http=login.http(),
            store=store,
            prompt=lambda _code: None,
            sleep=waits.append,
        )
    assert waits == [1, 6]


@needs_no_store
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"error": "authorization_declined"}, "declined"),
        ({"error": "expired_token"}, "not entered in time"),
        ({"error": "authorization_pending"}, "not entered in time"),
    ],
)
def test_a_sign_in_that_does_not_come_about(
    login: Login, store: TokenStore, reply: Mapping[str, Any], words: str
) -> None:
    login.replies["/token"] = [answer(400, json.dumps(reply).encode())]
    ticks = iter(range(0, 10_000, 1000))
    with pytest.raises(errors.AuthError, match=words):
        sign_in_by_device_code(
            login.app(),
            http=login.http(),
            store=store,
            prompt=lambda _code: None,
            sleep=lambda _seconds: None,
            clock=lambda: float(next(ticks)),
        )


@needs_no_store
@pytest.mark.parametrize(
    "flow",
    [
        {"error": "invalid_client", "error_codes": [7000218], "error_description": "AADSTS7000218"},
        {"user_code": "A\x1b[2J", "verification_uri": "https://x", "device_code": "d"},
        {"user_code": "A", "verification_uri": "http://x", "device_code": "d"},
        {"user_code": "A", "verification_uri": "https://x y", "device_code": "d"},
    ],
)
def test_a_device_code_that_cannot_be_shown(
    login: Login, store: TokenStore, flow: Mapping[str, Any]
) -> None:
    login.replies["/devicecode"] = [login.say(flow)]
    with pytest.raises(errors.AuthError):
        sign_in_by_device_code(
            login.app(), http=login.http(), store=store, prompt=lambda _code: pytest.fail("shown")
        )


@needs_no_store
def test_a_refresh_token_is_exchanged_once_and_its_successor_kept(
    login: Login, store: TokenStore
) -> None:
    def open_tokens(handed_in: str = "hush-handed-in") -> CachedTokens:
        return user_by_refresh_token(
            login.app(), Secret("hush-secret"), Secret(handed_in), http=login.http(), store=store
        )

    first = open_tokens()
    token = first.token()
    assert [form["refresh_token"] for form in login.forms()] == ["hush-handed-in"]
    assert login.forms()[0]["client_secret"] == "hush-secret"

    second = open_tokens()
    assert second.token() == token
    second.renew(token)
    second.token()
    assert [form["refresh_token"] for form in login.forms()] == ["hush-handed-in", "hush-refresh-1"]

    third = open_tokens()
    third.renew(third.token())
    third.token()
    assert login.forms()[-1]["refresh_token"] == "hush-refresh-2"

    open_tokens("hush-of-somebody-else").token()
    assert login.forms()[-1]["refresh_token"] == "hush-of-somebody-else"
    store.clear()
    assert [p.name for p in store.location.parent.iterdir() if p.suffix != ".lockfile"] == []


@needs_no_store
def test_a_kept_token_that_died_gives_way_to_a_newly_handed_in_one(
    login: Login, store: TokenStore
) -> None:
    tokens = user_by_refresh_token(
        login.app(), Secret("hush-secret"), Secret("hush-in"), http=login.http(), store=store
    )
    first = tokens.token()
    dead = answer(400, b'{"error": "invalid_grant", "error_codes": [700082]}')
    login.replies["/token"] = [dead, login.say(login.grant({"grant_type": ["refresh_token"]}))]
    tokens.renew(first)
    assert tokens.token() != first
    assert [form["refresh_token"] for form in login.forms()] == [
        "hush-in",
        "hush-refresh-1",
        "hush-in",
    ]


@needs_no_store
def test_the_store_is_private_and_the_users_will_is_needed_for_a_plain_file(
    login: Login, store: TokenStore
) -> None:
    user_by_refresh_token(
        login.app(), Secret("s"), Secret("hush-in"), http=login.http(), store=store
    ).token()
    (kept,) = [p for p in store.location.parent.iterdir() if p.suffix != ".lockfile"]
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700

    encrypted = TokenStore(location=store.location)
    with pytest.raises(errors.AuthError, match="no service that keeps tokens") as raised:
        encrypted.users()
    assert "libsecret" in raised.value.remedy
    assert "allow_plaintext_cache" in raised.value.remedy


@needs_no_store
@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]"])
def test_a_damaged_store_is_told_and_can_be_cleared(store: TokenStore, content: bytes) -> None:
    store.location.parent.mkdir()
    store.location.write_bytes(content)
    with pytest.raises(errors.AuthError, match=r"tokens\.bin") as raised:
        store.users()
    assert "auth logout" in raised.value.remedy
    assert store.clear() == ()
    assert store.users() == ()


@needs_no_store
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(errors.AuthError):
        TokenStore(location=locked / "t.bin", plain_file=True).users()


def test_a_place_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.AuthError, match="cannot be used"):
        TokenStore(location=tmp_path / "file" / "t.bin", plain_file=True).users()


@needs_no_store
def test_with_several_users_none_is_chosen(login: Login, store: TokenStore) -> None:
    cache = store.open_cache()
    for name in ("a@fabrikam.example", "b@fabrikam.example"):
        grant = login.grant({"grant_type": ["refresh_token"]})
        grant["client_info"] = unpadded({"uid": name, "utid": TENANT})
        cache.add(
            {
                "client_id": CLIENT,
                "scope": [f"{AUDIENCE}/.default"],
                "token_endpoint": f"{login.url}/{TENANT}/oauth2/v2.0/token",
                "environment": "localhost",
                "response": grant | {"expires_in": 3599},
                "data": {},
                "id_token_claims": {"preferred_username": name, "oid": name, "tid": TENANT},
            }
        )
    with pytest.raises(errors.AuthError, match="several users"):
        user_signed_in(login.app(), http=login.http(), store=store).token()


# Handed in


def test_a_handed_in_token_is_used_as_it_is_and_cannot_be_renewed() -> None:
    tokens = StaticToken(Secret(" opaque \n"), name="PARTNER_TOOLS_ACCESS_TOKEN")
    assert tokens.token() == "opaque"
    with pytest.raises(errors.AuthError, match="cannot be renewed") as raised:
        tokens.renew("opaque")
    assert "PARTNER_TOOLS_ACCESS_TOKEN" in raised.value.remedy
    assert "opaque" not in shown(raised.value)


def test_a_handed_in_token_that_says_it_expired_is_not_sent() -> None:
    token = Secret(jwt({"exp": EPOCH}))
    tokens = StaticToken(token, name="X", clock=lambda: EPOCH - 1.0)
    assert tokens.token() == token.reveal()
    with pytest.raises(errors.AuthError, match="expired at 2025-10-09"):
        StaticToken(token, name="X", clock=lambda: float(EPOCH)).token()


# Facts


@pytest.mark.parametrize(
    ("claims", "facts"),
    [
        (
            {
                "upn": "a@b",
                "tid": "t",
                "aud": AUDIENCE,
                "exp": EPOCH,
                "scp": "user_impersonation",
                "amr": ["pwd", "mfa"],
            },
            TokenFacts(
                who="a@b",
                tenant="t",
                audience=AUDIENCE,
                expires_at=datetime.fromtimestamp(EPOCH, UTC),
                app_only=False,
                mfa=True,
                permissions=("user_impersonation",),
            ),
        ),
        (
            {"appid": CLIENT, "idtyp": "app", "roles": ["One.Read", "Two.ReadWrite"]},
            TokenFacts(who=CLIENT, app_only=True, permissions=("One.Read", "Two.ReadWrite")),
        ),
        (
            {"unique_name": "a@b", "appid": CLIENT, "scp": "a"},
            TokenFacts(who="a@b", app_only=False, permissions=("a",)),
        ),
        ({"scp": "a", "amr": ["pwd"]}, TokenFacts(app_only=False, mfa=False, permissions=("a",))),
        (
            {"exp": "soon", "aud": 7, "tid": [], "roles": "x", "amr": "mfa", "upn": 7},
            TokenFacts(who="7", app_only=True),
        ),
        ({"exp": 1e300}, TokenFacts(app_only=True)),
    ],
)
def test_what_a_token_says_of_itself(claims: Mapping[str, object], facts: TokenFacts) -> None:
    assert describe_token(jwt(claims)) == facts


@pytest.mark.parametrize("token", ["", "opaque", "a.b", "a.b.c", "a.%.c", f"a.{unpadded([1])}.c"])
def test_a_token_that_says_nothing(token: str) -> None:
    assert describe_token(token) == TokenFacts()


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda b: f"a.{b.hex()}.c"))
def test_any_text_is_described(token: str) -> None:
    assert isinstance(describe_token(token), TokenFacts)


# Failures in words


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [name for name in sorted(sign_in_failures()) if name.isdecimal()]
)
def test_every_known_code_says_what_to_do(login: Login, number: str) -> None:
    login.refuse(int(number))
    with pytest.raises(errors.AuthError) as raised:
        app_only(login.app(), Secret("hush-secret"), http=login.http()).token()
    error = raised.value
    assert type(error) is errors.AuthError
    assert error.exit_code == 4
    assert sign_in_failures()[number][0] in str(error)
    assert f"AADSTS{number}" in str(error)
    assert "corr-1" in str(error)
    assert error.remedy == sign_in_failures()[number][1]
    assert len(login.forms()) == 1


def test_an_unknown_code_keeps_the_services_first_line(login: Login) -> None:
    login.refuse(99999, "strange")
    with pytest.raises(errors.AuthError, match=r"\(AADSTS99999\): It is so\."):
        app_only(login.app(), Secret("hush-secret"), http=login.http()).token()


def test_an_app_that_the_tenant_does_not_know_is_found_without_a_secret(login: Login) -> None:
    refusal = {"error": "unauthorized_client", "error_description": "AADSTS700016: Not found"}
    login.replies["/devicecode"] = [answer(400, json.dumps(refusal).encode())]

    with pytest.raises(errors.AuthError, match="the tenant does not know the app"):
        check_app(login.app(), http=login.http())

    assert login.forms() == []


@pytest.mark.parametrize("number", [None, 7000218, 65001])
def test_an_app_that_is_refused_for_something_else_is_known(
    login: Login, number: int | None
) -> None:
    if number is not None:
        refusal = {"error": "invalid_client", "error_description": f"AADSTS{number}: So it is"}
        login.replies["/devicecode"] = [answer(401, json.dumps(refusal).encode())]

    check_app(login.app(), http=login.http())

    assert [each.target for each in login.service.asked][-1].endswith("devicecode")


@given(
    st.dictionaries(
        st.sampled_from(["error", "error_description", "error_codes", "correlation_id"]),
        st.none() | st.text() | st.integers() | st.lists(st.integers() | st.text(), max_size=2),
    )
)
def test_any_answer_becomes_one_line(found: dict[str, Any]) -> None:
    error = sign_in_failure(found)
    assert str(error).isprintable()
    assert error.remedy
    assert len(str(error)) < 600


def test_an_unknown_tenant_is_named_as_such(login: Login) -> None:
    body = {"error": "invalid_tenant", "error_description": "AADSTS90002: Tenant not found"}
    login.replies["openid-configuration"] = [answer(400, json.dumps(body).encode())]
    with pytest.raises(errors.AuthError, match="no such tenant"):
        app_only(login.app(), Secret("hush-secret"), http=login.http()).token()


@pytest.mark.parametrize(("minutes", "direction"), [(10, "ahead of"), (-90, "behind")])
def test_a_clock_that_is_off_is_told(login: Login, minutes: int, direction: str) -> None:
    login.refuse(700024, "invalid_client")
    now = datetime.fromtimestamp(login.date.timestamp() + minutes * 60, UTC)
    with pytest.raises(errors.AuthError) as raised:
        app_only(login.app(), Secret("s"), http=login.http(now=lambda: now)).token()
    assert f"{abs(minutes)} minutes {direction} the service's" in raised.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "kind", "retry_after"),
    [
        (answer(429, b"", Retry_After="7"), errors.Throttled, 7.0),
        (answer(503, b"<html>"), errors.Unavailable, None),
        (answer(500, b'{"error": "x"}'), errors.Unavailable, None),
        (answer(200, b'"hush-token-in-a-text"'), errors.Unreadable, None),
        (answer(200, b"hush-token <html>"), errors.Unreadable, None),
        (answer(302, b"", Location="https://evil.example/token"), errors.Redirected, None),
    ],
)
@pytest.mark.parametrize("ending", ["/token", "openid-configuration"])
def test_a_sign_in_service_that_is_not_itself(
    login: Login,
    caplog: pytest.LogCaptureFixture,
    ending: str,
    reply: bytes,
    kind: type[errors.ServiceError],
    retry_after: float | None,
) -> None:
    caplog.set_level(logging.DEBUG)
    login.replies[ending] = [reply]
    tokens = app_only(login.app(), Secret("hush-secret"), http=login.http())
    for attempts in (1, 2):
        with pytest.raises(kind) as raised:
            tokens.token()
        assert raised.value.retry_after == retry_after
        assert sum(a.target.endswith(ending) for a in login.service.asked) == attempts
    assert "hush" not in caplog.text
    assert "hush" not in shown(raised.value)


def test_a_request_that_has_no_token_never_left(login: Login) -> None:
    """The sign-in's lost answer must not pass for a lost answer of the removal."""
    login.service.respond = None
    login.service.script = [lambda connection: connection.close()]
    tokens = app_only(login.app(), Secret("hush-secret"), http=login.http())
    with pytest.raises(errors.Unsent, match="no token could be had"):
        Transport("https://api.partnercenter.microsoft.com", tokens=tokens).send(
            Request(method="DELETE", url="/v1/x")
        )


def test_discovery_that_names_no_endpoints(login: Login) -> None:
    login.replies["openid-configuration"] = [login.say({"issuer": "x"})]
    with pytest.raises(errors.Unreadable, match="authorization_endpoint"):
        app_only(login.app(), Secret("hush-secret"), http=login.http()).token()


@pytest.mark.parametrize("host", ["https://evil.example", "http://localhost:1", "evil"])
def test_no_secret_goes_to_another_host(login: Login, host: str) -> None:
    login.replies["openid-configuration"] = [
        login.say(
            {
                "authorization_endpoint": f"{login.url}/{TENANT}/oauth2/v2.0/authorize",
                "token_endpoint": f"{host}/{TENANT}/oauth2/v2.0/token",
            }
        )
    ]
    connected: list[str] = []

    def connect(url: str) -> Transport:
        connected.append(url)
        return Transport(url, ca_bundle=login.bundle, timeout=(2, 2))

    http = MsalHttpClient(login.url, connect=connect)
    with pytest.raises(errors.AuthError):
        app_only(login.app(), Secret("hush-secret"), http=http).token()
    assert connected == [login.url]
    assert login.forms() == []


@pytest.mark.parametrize(
    ("login_url", "url", "allowed"),
    [
        ("https://login.microsoftonline.com", "https://login.microsoftonline.us/t/token", True),
        ("https://login.microsoftonline.com", "https://login.evil.example/t/token", False),
        ("https://login.microsoftonline.com", "http://login.microsoftonline.us/t/token", False),
        ("https://localhost:8443", "https://login.microsoftonline.com/t/token", False),
        ("https://localhost:8443", "https://localhost:8444/t/token", False),
        ("https://localhost:8443", "https://localhost:8443/t/token", True),
    ],
)
def test_secrets_stay_with_one_host_or_among_microsofts(
    login_url: str, url: str, allowed: bool
) -> None:
    opened: list[str] = []

    class Reached(Exception):
        pass

    def connect(host: str) -> Transport:
        opened.append(host)
        raise Reached

    http = MsalHttpClient(login_url, connect=connect)
    with pytest.raises(Reached if allowed else errors.AuthError):
        http.post(url, data={"a": "b"})
    assert bool(opened) is allowed


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://login.example", "login", "https://a:b@c"]
)
def test_the_login_url_is_https(url: str) -> None:
    with pytest.raises(errors.InputError):
        MsalHttpClient(url)


@pytest.mark.parametrize("text", ["", "a/b", "a b", "..", "a?b", "ä", "a\n"])
def test_a_tenant_that_could_lead_astray_is_refused(text: str) -> None:
    with pytest.raises(errors.InputError):
        App(tenant=text, client_id=CLIENT)
    with pytest.raises(errors.InputError):
        App(tenant=TENANT, client_id=text)


# Secrets


def test_a_secret_shows_itself_nowhere() -> None:
    import copy
    import pickle

    secret = Secret("hush")
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>8}", "%s" % secret):  # noqa: UP031
        assert "hush" not in text
    assert "hush" not in repr(Certificate(path=Path("x"), password=secret))
    for write in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            write(secret)
    assert secret == Secret("hush") != Secret("other")
    assert secret != "hush"
    assert len({secret, Secret("hush")}) == 1
    assert secret
    assert not Secret("")


def shown(error: BaseException) -> str:
    """All that a user or a crash report could see of an error, but for lines of source."""
    texts = [str(getattr(error, "remedy", ""))]
    chain: BaseException | None = error
    while chain is not None:
        texts += [str(chain), repr(chain), *traceback.format_exception_only(chain)]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(texts)


Flow = Callable[[Login, TokenStore], Any]


def by_secret(login: Login, _store: TokenStore) -> None:
    ask(app_only(login.app(), Secret("hush-secret"), http=login.http()))


def by_refresh_token(login: Login, store: TokenStore) -> None:
    ask(
        user_by_refresh_token(
            login.app(), Secret("hush-secret"), Secret("hush-in"), http=login.http(), store=store
        )
    )


def by_device_code(login: Login, store: TokenStore) -> None:
    sign_in_by_device_code(
        login.app(),
        http=login.http(),
        store=store,
        prompt=lambda _code: None,
        sleep=lambda _seconds: None,
    )


@needs_no_store
@pytest.mark.parametrize("flow", [by_secret, by_refresh_token, by_device_code])
@pytest.mark.parametrize("refused", [False, True])
def test_no_flow_logs_or_raises_a_secret(
    login: Login,
    store: TokenStore,
    caplog: pytest.LogCaptureFixture,
    flow: Flow,
    refused: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    if refused:
        login.refuse(7000215, "invalid_client")
        with pytest.raises(errors.AuthError) as raised:
            flow(login, store)
        assert "hush" not in shown(raised.value)
    else:
        flow(login, store)
        assert login.minted == 1
    names = {record.name.split(".")[0] for record in caplog.records}
    assert {"partner_tools", "msal", "urllib3"} <= names
    assert "hush" not in caplog.text
    assert jwt({"n": 1, "sig": "hush"}) not in caplog.text


def test_importing_the_module_loads_no_msal() -> None:
    import subprocess

    code = "import sys, partner_tools.clients.oauth; sys.exit('msal' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
