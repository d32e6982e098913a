"""`auth`: sign in, see who is signed in, sign out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, local_time, print_document, tell
from partner_tools.cli.help_pages import Whole
from partner_tools.cli.options import output_options
from partner_tools.cli.wiring import load_config

if TYPE_CHECKING:
    from partner_tools import DeviceCode, TokenFacts


@click.group("auth", cls=Whole)
def auth() -> None:
    """Sign in as a user, and show which token would be used.

    \b
    Example:
      partner-tools auth status
    """


@command("login", group=auth)
def login(call: Call) -> int:
    """Sign in with a device code. The token is kept in the system's credential store.

    App-only access needs no sign-in. It uses the certificate or secret of the app registration.

    \b
    Example:
      partner-tools auth login
    """
    from partner_tools.workspace.sign_in import sign_in

    def show(code: DeviceCode) -> None:
        minutes = code.expires_in // 60
        tell(f"open {code.url} and type the code {code.code} (valid for {minutes} minutes)")

    facts = sign_in(load_config(call.common), show)
    click.echo(clean(f"signed in as {facts.who or 'a user'}, tenant {facts.tenant or 'unknown'}"))
    tell(f"next: {call.again('doctor')}")
    return 0


@command("status", group=auth)
@output_options
def status(call: Call) -> int:
    """Show whose token would be used and when it expires. Exits with 4 without one.

    \b
    Example:
      partner-tools auth status --output json
    """
    from partner_tools.workspace.sign_in import token_facts

    config = load_config(call.common)
    facts = token_facts(config)
    shown = {
        "profile": config.profile,
        "who": facts.who,
        "tenant": facts.tenant,
        "audience": facts.audience,
        "expiresAt": None if facts.expires_at is None else facts.expires_at.isoformat(),
        "appOnly": facts.app_only,
        "mfa": facts.mfa,
        "permissions": list(facts.permissions),
    }
    if call.output != "text":
        print_document(call.output, {"schemaVersion": "1", **shown})
    else:
        for name, value in _lines(config.profile, facts):
            click.echo(clean(f"{f'{name}:':<15} {value}"))
    return 0


@command("logout", group=auth)
def logout(call: Call) -> int:
    """Delete the stored tokens of this profile.

    \b
    Example:
      partner-tools auth logout
    """
    from partner_tools.workspace.sign_in import sign_out

    gone = sign_out(load_config(call.common))
    for username in gone:
        click.echo(clean(f"signed out {username}"))
    if not gone:
        click.echo("no user was signed in")
    return 0


def _lines(profile: str, facts: TokenFacts) -> Iterator[tuple[str, str]]:
    unknown = "the token does not say"
    yes_no = {None: unknown, True: "yes", False: "no"}
    yield "profile", profile
    yield "token for", facts.who or unknown
    yield "tenant", facts.tenant or unknown
    yield "audience", facts.audience or unknown
    yield "good until", unknown if facts.expires_at is None else local_time(facts.expires_at)
    yield "app only", yes_no[facts.app_only]
    yield "second factor", "not for an app" if facts.app_only else yes_no[facts.mfa]
    yield "permissions", ", ".join(facts.permissions) or "none in the token"
