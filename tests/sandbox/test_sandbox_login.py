"""The token endpoint as raw forms see it; what msal makes of it stands with the other clients."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from partner_tools.sandbox import Sandbox, Seed, login

RESOURCE = "https://api.partnercenter.microsoft.com"
CONTOSO = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
PUBLIC = 1


@dataclass
class Login:
    """Posts forms to the login of one sandbox."""

    sandbox: Sandbox
    session: requests.Session

    def __call__(
        self, path: str = "oauth2/v2.0/token", tenant: str = "", **form: str
    ) -> tuple[int, Any]:
        application = self.sandbox.seed.applications[0]
        tenant = tenant or self.sandbox.seed.partner.tenant_id
        sent = {
            "client_id": application.client_id,
            "client_secret": str(application.secret),
            "scope": f"{RESOURCE}/.default",
            **form,
        }
        answer = self.session.post(
            f"{self.sandbox.urls['login']}/{tenant}/{path}", data=sent, timeout=10
        )
        return answer.status_code, answer.json()


@pytest.fixture
def sign_in(start: Callable[..., Sandbox]) -> Iterator[Callable[..., Login]]:
    with requests.Session() as session:
        session.trust_env = False

        def begin(**options: Any) -> Login:
            sandbox = start(**options)
            session.verify = str(sandbox.ca_file)
            return Login(sandbox, session)

        yield begin


def claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_an_app_gets_a_token_by_either_version(sign_in: Callable[..., Login]) -> None:
    login = sign_in()
    _, second = login(grant_type="client_credentials")
    _, first = login("oauth2/token", grant_type="client_credentials", resource=RESOURCE)
    assert (second["expires_in"], first["expires_in"]) == (3599, "3599")
    assert first["resource"] == RESOURCE
    for answer in (first, second):
        said = claims(answer["access_token"])
        assert (said["aud"], said["idtyp"]) == (RESOURCE, "app")
        assert said["tid"] == login.sandbox.seed.partner.tenant_id


@pytest.mark.parametrize(
    ("tenant", "expected"),
    [
        ("fabrikam.onmicrosoft.com", "partner"),
        ("organizations", "partner"),
        ("Contoso.com", CONTOSO),
        ("contoso.onmicrosoft.com", CONTOSO),
    ],
)
def test_a_tenant_is_known_by_its_domains(
    sign_in: Callable[..., Login], tenant: str, expected: str
) -> None:
    login = sign_in()
    _, answer = login(tenant=tenant, grant_type="client_credentials")
    wanted = login.sandbox.seed.partner.tenant_id if expected == "partner" else expected
    assert claims(answer["access_token"])["tid"] == wanted
    url = f"{login.sandbox.urls['login']}/{tenant}/v2.0/.well-known/openid-configuration"
    described = login.session.get(url, timeout=10).json()
    assert described["issuer"] == f"{login.sandbox.urls['login']}/{wanted}/v2.0"


@pytest.mark.parametrize(
    ("form", "status", "error", "number"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_id": CONTOSO}, 400, "unauthorized_client", 700016),
        ({"scope": "https://typo.example/.default"}, 400, "invalid_resource", 500011),
        ({"scope": f"{RESOURCE}/user_impersonation"}, 400, "invalid_scope", 1002012),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"tenant": "nowhere.example"}, 400, "invalid_tenant", 90002),
        ({"path": "oauth2/nonsense"}, 404, "invalid_request", 900144),
        ({"client_assertion": "a.b.c"}, 401, "invalid_client", 700027),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant", 9002313),
    ],
)
def test_errors_have_their_words_and_numbers(
    sign_in: Callable[..., Login], form: dict[str, str], status: int, error: str, number: int
) -> None:
    said, body = sign_in()(**{"grant_type": "client_credentials", **form})
    assert (said, body["error"], body["error_codes"]) == (status, error, [number])
    assert body["error_description"].startswith(f"AADSTS{number}: ")


def test_an_expired_secret_says_so(sign_in: Callable[..., Login], world: Seed) -> None:
    from dataclasses import replace

    stale = replace(world.applications[0], secret_expired=True)
    login = sign_in(seed=replace(world, applications=(stale,)))
    _, body = login(grant_type="client_credentials")
    assert body["error_codes"] == [7000222]


@pytest.mark.parametrize(
    ("token", "number", "suberror"),
    [("refreshExpired", 700082, None), ("refreshMfaDemanded", 50076, "basic_action")],
)
def test_refresh_tokens_die(
    sign_in: Callable[..., Login], token: str, number: int, suberror: str | None
) -> None:
    login = sign_in()
    _, body = login(grant_type="refresh_token", refresh_token=login.sandbox.tokens[token])
    assert (body["error"], body["error_codes"]) == ("invalid_grant", [number])
    assert body.get("suberror") == suberror


def test_a_refresh_token_is_exchanged_for_another(sign_in: Callable[..., Login]) -> None:
    login = sign_in()
    token = login.sandbox.tokens["refresh"]
    _, body = login(grant_type="refresh_token", refresh_token=token)
    assert body["refresh_token"] != token
    assert claims(body["access_token"])["amr"] == ["pwd", "mfa"]
    status, again = login(grant_type="refresh_token", refresh_token=body["refresh_token"])
    assert (status, again["scope"]) == (200, f"{RESOURCE}/user_impersonation")


def test_a_user_without_a_second_factor_gets_a_token_that_says_so(
    sign_in: Callable[..., Login],
) -> None:
    login = sign_in()
    refresh = login.sandbox.tokens["refreshNoMfa"]
    _, body = login(
        "oauth2/token", grant_type="refresh_token", refresh_token=refresh, resource=RESOURCE
    )
    assert claims(body["access_token"])["amr"] == ["pwd"]
    assert body["scope"] == "user_impersonation"


def test_a_public_application_proves_nothing_and_gets_no_token_of_its_own(
    sign_in: Callable[..., Login],
) -> None:
    login = sign_in()
    public = login.sandbox.seed.applications[PUBLIC].client_id
    _, body = login(grant_type="client_credentials", client_id=public)
    assert body["error_codes"] == [7000218]


def test_a_device_code_is_approved_after_its_polls(sign_in: Callable[..., Login]) -> None:
    login = sign_in(faults={"quirks": {"deviceCodePolls": 2, "deviceCodeInterval": 3}})
    public = {"client_id": login.sandbox.seed.applications[PUBLIC].client_id}
    _, flow = login("oauth2/v2.0/devicecode", **public)
    assert flow["interval"] == 3
    assert flow["user_code"] in flow["message"]
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", **public}
    polls = [login(device_code=flow["device_code"], **grant) for _ in range(3)]
    assert [body.get("error") for _, body in polls] == ["authorization_pending"] * 2 + [None]
    assert claims(polls[2][1]["access_token"])["upn"] == "avery@fabrikam.onmicrosoft.com"
    _, wrong = login(device_code="nonsense", **grant)
    assert wrong["error"] == "invalid_grant"


def test_faults_meet_the_login_too(sign_in: Callable[..., Login]) -> None:
    rule = {"match": {"service": "login", "nth": 1}, "fault": {"kind": "status", "status": 503}}
    login = sign_in(faults={"rules": [rule]})
    answers = [login(grant_type="client_credentials") for _ in range(2)]
    assert [status for status, _ in answers] == [503, 200]
    assert answers[0][1]["error"] == "temporarily_unavailable"


def test_every_refusal_has_its_words_and_number() -> None:
    """The errors are data: each that is raised is there, with a number of its own, and no other."""
    raised = set(re.findall(r'refusal\(\s*"([^"]+)"', Path(login.__file__).read_text("utf-8")))
    errors = json.loads(Path(login.__file__).with_suffix(".json").read_text("utf-8"))["errors"]
    assert raised == set(errors)
    assert len({row["number"] for row in errors.values()}) == len(errors)
