"""What a token allows beyond what is needed is warned of, and what is needed is what is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from partner_tools.cli.help_pages import SUMMARIES
from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.workspace.diagnostics import (
    GRAPH_READ,
    PARTNER_CENTER,
    other_service,
    surplus,
)
from tests.cli.program import customer, program_for, world
from tests.clients.oem_profiles import profile_of

DOMAIN = "contoso.onmicrosoft.com"
APP = "5a0f7c3e-52f4-4d1c-9d0e-6f5c0f8c1a11"
OEM = """[oem]
[oem.auth]
mode = "entra"
entra_tenant = "oem.example"
entra_client_id = "0f1d5d6c-1111-4a2e-8f7d-91c0a4b3e017"
entra_scope = "api://oem/.default"
"""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "customers-tenant.md"


@pytest.mark.parametrize(
    ("given", "needed", "expected"),
    [
        (["user_impersonation"], PARTNER_CENTER, ()),
        ([], PARTNER_CENTER, ()),
        (["USER_IMPERSONATION", "openid", "User.Read"], PARTNER_CENTER, ()),
        (["Directory.AccessAsUser.All"], PARTNER_CENTER, ("Directory.AccessAsUser.All",)),
        (["Device.Read.All", "Device.ReadWrite.All"], GRAPH_READ, ("Device.ReadWrite.All",)),
    ],
)
def test_what_is_too_much(
    given: list[str], needed: frozenset[str], expected: tuple[str, ...]
) -> None:
    assert surplus(given, needed) == expected


def test_the_permissions_are_those_of_the_page() -> None:
    """What is enough is what the customer is told."""
    told = re.findall(r"^\| `([A-Za-z]+(?:\.[A-Za-z]+)+)`", PAGE.read_text("utf-8"), re.MULTILINE)

    assert GRAPH_READ <= set(told)


def test_the_doctor_warns_and_continues(tmp_path: Path) -> None:
    """A token that can write is named with what it can do; one that can only read is not."""
    seed = seed_from(world(customer({"B": [{"serialNumber": "SN-1"}]}, graph={"machines": []})))
    with Sandbox(seed) as sandbox:
        warned = {}
        for kind in ("graph", "graphRead"):
            token = sandbox.tokens[f"{kind}:{DOMAIN}"]
            document = program_for(sandbox, tmp_path, PARTNER_TOOLS_GRAPH_TOKEN=token).json(
                "doctor"
            )
            warned[kind] = [each for each in document["checks"] if each["warning"]]

    assert "ReadWrite" in warned["graph"][0]["message"]
    assert warned["graph"][0]["remedy"]
    assert warned["graphRead"] == []


@pytest.mark.parametrize(
    ("permissions", "told"),
    [(sorted(GRAPH_READ), []), ([*GRAPH_READ, "Device.ReadWrite.All"], ["Device.ReadWrite.All"])],
)
def test_the_doctor_signs_in_to_the_customers_tenant_and_judges_that_token(
    permissions: list[str], told: list[str], tmp_path: Path
) -> None:
    """What the partner's own app was given there, where the profile says how it signs in."""
    document = world(customer({"B": [{"serialNumber": "SN-1"}]}, graph={"machines": []}))
    document["applications"] = [
        {"clientId": APP, "secret": "an app's secret", "graphPermissions": permissions}
    ]
    (tmp_path / "partner-tools.toml").write_text(
        '[default.graph]\naccess = "app"\n', encoding="utf-8"
    )
    with Sandbox(seed_from(document)) as sandbox:
        program = program_for(
            sandbox,
            tmp_path,
            PARTNER_TOOLS_TENANT=sandbox.seed.partner.tenant_id,
            PARTNER_TOOLS_CLIENT_ID=APP,
            PARTNER_TOOLS_CLIENT_SECRET="an app's secret",
        )
        checks = program.json("doctor", "--customer", DOMAIN)["checks"]

    assert "Microsoft Graph" in {each["name"] for each in checks}
    warned = [each["message"] for each in checks if each["warning"]]
    assert [message.split(": ")[-1] for message in warned] == told
    assert all(DOMAIN in message for message in warned)


def test_the_doctor_fails_if_the_customers_tenant_grants_no_access(tmp_path: Path) -> None:
    document = world(customer({}, graph={"machines": [], "consent": False}))
    (tmp_path / "partner-tools.toml").write_text(
        '[default.graph]\naccess = "app"\n', encoding="utf-8"
    )
    with Sandbox(seed_from(document)) as sandbox:
        app = sandbox.announce()["applications"][0]
        program = program_for(
            sandbox,
            tmp_path,
            PARTNER_TOOLS_TENANT=sandbox.seed.partner.tenant_id,
            PARTNER_TOOLS_CLIENT_ID=app["clientId"],
            PARTNER_TOOLS_CLIENT_SECRET=app["secret"],
        )
        document = program.json("doctor", "--customer", DOMAIN, exit_code=4)

    assert document["checks"][-1]["remedy"]


@pytest.mark.parametrize(
    ("audience", "own", "expected"),
    [
        ("https://graph.microsoft.com", "api://oem/.default", "Microsoft Graph"),
        ("https://graph.microsoft.com/", "", "Microsoft Graph"),
        ("00000003-0000-0000-C000-000000000000", "api://oem/.default", "Microsoft Graph"),
        ("https://api.partnercenter.microsoft.com", "api://oem/.default", "Partner Center"),
        ("https://graph.microsoft.com", "https://graph.microsoft.com/.default", None),
        ("api://oem", "api://oem/.default", None),
        ("0f1d5d6c-1111-4a2e-8f7d-91c0a4b3e017", "api://oem/.default", None),
        (None, "api://oem/.default", None),
        ("", "", None),
    ],
)
def test_which_service_a_token_opens_besides_its_own(
    audience: str | None, own: str, expected: str | None
) -> None:
    assert other_service(audience, own) == expected


def test_the_doctor_judges_the_token_for_oem_direct(tmp_path: Path) -> None:
    """It signs in, names what the token allows, and warns of one that opens another service."""
    profile = tmp_path / "oem.toml"
    profile.write_text(OEM, encoding="utf-8")
    seed = seed_from(world(customer({"B": [{"serialNumber": "SN-1"}]}, graph={"machines": []})))
    with Sandbox(seed, oem_profile=profile_of(OEM)) as sandbox:
        told = {}
        for kind in ("app", f"graphRead:{DOMAIN}", "none"):
            token = sandbox.tokens.get(kind, "")
            program = program_for(
                sandbox,
                tmp_path,
                PARTNER_TOOLS_OEM_PROFILE=str(profile),
                PARTNER_TOOLS_ACCESS_TOKEN=token,
            )
            exit_code = 4 if kind == "none" else 0
            checks = program.json("doctor", "--via", "oem-direct", exit_code=exit_code)["checks"]
            told[kind.split(":")[0]] = checks

    assert any(each["name"] == "sign-in" for each in told["app"])
    (warned,) = [each for each in told["graphRead"] if each["warning"]]
    assert "Microsoft Graph" in warned["message"]
    allowed = [each["message"] for each in told["graphRead"] if each["name"] == "least privilege"]
    assert "Device.Read.All" in allowed[0]
    assert not told["none"][-1]["good"]


def test_the_page_says_of_every_command_what_access_is_enough() -> None:
    """One table, in which no command is left out."""
    page = (PAGE.parent / "app-registration.md").read_text("utf-8")
    table = page.split("| command | access that is enough")[1].split("\n\n")[0]
    named = {word for cell in re.findall(r"`([^`]+)`", table) for word in cell.split()[:1]}

    assert set(SUMMARIES) - named == set()
