"""What a token allows beyond what is needed is warned of, and what is needed is what is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from partner_tools.cli.commands import SUMMARIES
from partner_tools.clients.graph.addresses import PERMISSIONS
from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.workspace.permissions import GRAPH_READ, PARTNER_CENTER, surplus
from tests.cli.program import customer, program_for, world

DOMAIN = "contoso.onmicrosoft.com"
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


def test_the_permissions_are_those_of_the_client_and_of_the_page() -> None:
    """One list: what is asked for, what is enough, and what the customer is told."""
    told = re.findall(r"^\| `([A-Za-z]+(?:\.[A-Za-z]+)+)`", PAGE.read_text("utf-8"), re.MULTILINE)

    assert set(PERMISSIONS.values()) == GRAPH_READ
    assert GRAPH_READ <= set(told)


def test_the_doctor_warns_and_goes_on(tmp_path: Path) -> None:
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


def test_the_page_says_of_every_command_what_access_is_enough() -> None:
    """One table, in which no command is left out."""
    page = (PAGE.parent / "app-registration.md").read_text("utf-8")
    table = page.split("| command | access that is enough")[1].split("\n\n")[0]
    named = {word for cell in re.findall(r"`([^`]+)`", table) for word in cell.split()[:1]}

    assert set(SUMMARIES) - named == set()
