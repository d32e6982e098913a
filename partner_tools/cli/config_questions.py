"""The questions of `config init`: each says what it is for, and each answer is tested at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from partner_tools import Config
from partner_tools.cli.console import fitted, tell
from partner_tools.errors import PartnerToolsError
from partner_tools.workspace.environment import load_config

Settings = dict[str, dict[str, str]]
"""The tables of the default profile: its own values under an empty name."""

APPS = "https://entra.microsoft.com/#view/Microsoft_AAD_RegisteredApps/ApplicationsListBlade"


def ask_for_settings(target: Path) -> Settings:
    """Ask for everything that a profile needs. `target` is the file for the profile."""
    tell("Every answer is tested at once; Ctrl-C leaves without writing anything.\n")
    via = _channel()
    settings: Settings = {"": {"via": via}}
    if via == "oem-direct":
        settings["oem"] = {"profile": _wire_profile()}
    else:
        settings["auth"] = _auth(target)
    settings["partner"] = _partner()
    return settings


def as_toml(settings: Settings) -> str:
    """The default profile as TOML; what was left blank is left out."""
    lines = []
    for table, values in settings.items():
        if any(values.values()):
            lines.append(f"[default.{table}]" if table else "[default]")
            lines += [f"{key} = {_quoted(value)}" for key, value in values.items() if value]
            lines.append("")
    return "\n".join(lines)


def _channel() -> str:
    explain(
        "Channel: `partner-center` for a CSP (direct-bill partner or indirect provider), "
        "`oem-direct` for an OEM and its repair depots."
    )
    return str(
        _prompt(
            "channel", type=click.Choice(["partner-center", "oem-direct"]), default="partner-center"
        )
    )


def _wire_profile() -> str:
    explain(
        "\nWire profile: the file that says how your OEM's service is spoken to; "
        "samples/ has three to start from."
    )

    def test(path: str) -> str:
        from partner_tools.workspace.sign_in import read_wire_profile

        read_wire_profile(Config(settings={"oem": {"profile": str(Path(path).absolute())}}))
        return "it can be read"

    return str(Path(_tested("wire profile", test)).absolute())


def _auth(target: Path) -> dict[str, str]:
    base = load_config()
    explain(
        "\nTenant: your own partner tenant, by its id or its default domain; "
        "not a customer's. Partner Center shows it as Account ID under App management."
    )
    from partner_tools.workspace.sign_in import find_app, find_tenant

    def test_tenant(answer: str) -> str:
        find_tenant(base, answer)
        return "there is such a tenant"

    def test_app(answer: str) -> str:
        find_app(base, tenant, answer)
        return "the tenant knows the app, as far as it says without a secret"

    tenant = _tested("tenant", test_tenant)
    explain(
        "\nClient id: of the app that App management of Partner Center lists; "
        "docs/how-to/app-registration.md says how to make one with the least permissions."
    )
    client_id = _tested("client id", test_app)
    explain(
        "\nMode: `app` signs in by itself with a certificate or secret, which is enough for "
        "everything but `restore --apply` into a batch that is gone; `app+user` signs in a person."
    )
    mode = str(_prompt("mode", type=click.Choice(["app", "app+user"]), default="app"))
    auth = {"mode": mode, "tenant": tenant, "client_id": client_id}
    if mode == "app+user":
        tell("\nAn administrator of your tenant consents to `user_impersonation` once, here:")
        tell(f"  https://login.microsoftonline.com/{tenant}/adminconsent?client_id={client_id}")
        tell("then: partner-tools auth login")
        return auth
    return {**auth, "certificate": _certificate(base, auth, target)}


def _certificate(base: Config, auth: Mapping[str, str], target: Path) -> str:
    """The path of the certificate, empty where a secret of the environment is used."""
    explain(
        "\nCertificate: a PEM or PFX file with key and certificate, which no log can give away. "
        "Left blank, the secret in PARTNER_TOOLS_CLIENT_SECRET is used. The app has its public "
        f"half under Certificates & secrets: {APPS}"
    )

    def test(path: str) -> str:
        from partner_tools.workspace.sign_in import channel_tokens

        named = {"certificate": str(Path(path).absolute())} if path else {}
        without_token = {
            name: text
            for name, text in base.secrets.items()
            if name != "PARTNER_TOOLS_ACCESS_TOKEN"
        }
        profile = replace(
            base,
            file=target,
            settings={**base.settings, "auth": {**auth, **named}},
            secrets=without_token,
        )
        channel_tokens(profile).token()
        return "signed in"

    answer = _tested("certificate", test, default="")
    return str(Path(answer).absolute()) if answer else ""


def _partner() -> dict[str, str]:
    tell("\nCompany and contact: whom customers see as the sender of the handoff.")
    name = str(_prompt("company", default="", show_default=False))
    contact = str(_prompt("contact (an e-mail address)", default="", show_default=False))
    return {"name": name, "contact": contact}


def _tested(name: str, test: Callable[[str], str], **more: Any) -> str:
    """Ask until the answer passes its test, or the person keeps it all the same."""
    while True:
        answer = str(_prompt(name, show_default=False, **more)).strip()
        try:
            passed = test(answer)
        except PartnerToolsError as error:
            tell(f"  {error}")
            if error.remedy:
                tell(f"  next: {error.remedy}")
        else:
            tell(f"  ok: {passed}")
            return answer
        if click.confirm("  Keep it all the same?", default=False, err=True):
            return answer


def explain(paragraph: str) -> None:
    """Say what a question is about."""
    click.echo(fitted(paragraph, sys.stderr, indent=0), err=True)


def _prompt(name: str, **more: Any) -> Any:
    return click.prompt(name, err=True, **more)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)
