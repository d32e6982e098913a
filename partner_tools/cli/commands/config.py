"""`config`: writes a configuration by asking, and shows the one in force."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from partner_tools import FILE_NAME, SECRETS
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, print_document, tell, without_password
from partner_tools.cli.help_pages import Whole
from partner_tools.cli.options import OutputFile, output_options
from partner_tools.cli.signals import asking
from partner_tools.cli.wiring import load_config
from partner_tools.errors import GuardError, InputError
from partner_tools.workspace.environment import ledger_url, user_config_folder


@click.group("config", cls=Whole)
def config() -> None:
    """Write and show the configuration. It never contains secrets.

    \b
    Example:
      partner-tools config show
    """


@command("show")
@output_options
def show(call: Call) -> int:
    """Show the settings in force and which secrets are set, never their values.

    \b
    Example:
      partner-tools config show --profile nightly
    """
    found = load_config(call.common)
    secrets = {name: "set" if name in found.secrets else "not set" for name in SECRETS}
    document = {
        "profile": found.profile,
        "file": None if found.file is None else str(found.file),
        "ledger": without_password(ledger_url(call.common.ledger, found)),
        "settings": {**found.settings, **_ledger_setting(found.text("ledger"))},
        "secrets": secrets,
    }
    if call.output != "text":
        print_document(call.output, {"schemaVersion": "1", **document})
        return 0
    click.echo(f"profile: {document['profile']}")
    click.echo(clean(f"file: {document['file'] or 'none'}"))
    click.echo(clean(f"ledger: {document['ledger']}"))
    for name, value in _flat(dict(found.settings)):
        if name != "ledger":
            click.echo(clean(f"{name} = {value}"))
    for name, state in secrets.items():
        click.echo(f"{name}: {state}")
    return 0


@command("init")
@click.option(
    "-o",
    "file",
    type=OutputFile(),
    help="Where to write it. [default: the user's configuration folder]",
)
def init(call: Call, file: Path | None) -> int:
    """Ask for the settings, explain and test each one, and write the configuration.

    It does not ask for secrets; they come from the environment.

    \b
    Example:
      partner-tools config init
    """
    from partner_tools.cli.config_questions import as_toml, ask_for_settings
    from partner_tools.files import write_private

    if not sys.stdin.isatty():
        raise GuardError(
            "config init asks questions and there is nobody to answer",
            rule="no-terminal",
            remedy="set PARTNER_TOOLS_TENANT, PARTNER_TOOLS_CLIENT_ID and "
            f"PARTNER_TOOLS_CLIENT_SECRET, or write {FILE_NAME} by hand: "
            "`partner-tools schema config` says what it holds",
        )
    target = file or user_config_folder() / FILE_NAME
    if target.exists():
        raise InputError(
            f"{str(target)!r} is there already",
            rule="config-exists",
            remedy="name another file with -o, or edit that one",
        )
    with asking():
        settings = ask_for_settings(target)
    write_private(target, as_toml(settings).encode())
    tell(f"written to {target}")
    named = ["--config", str(target)] if file else []
    tell(f"next: {call.again('doctor', *named, '--customer', 'contoso.onmicrosoft.com')}")
    return 0


for _command in (init, show):
    config.add_command(_command)


def _flat(settings: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for name, value in settings.items():
        path = f"{prefix}{name}"
        pairs += _flat(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return pairs


def _ledger_setting(url: str | None) -> dict[str, str]:
    return {} if url is None else {"ledger": without_password(url)}
