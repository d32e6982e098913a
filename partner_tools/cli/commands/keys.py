"""`keys`: how a buyer gets the public key that checks this partner's certificates."""

from __future__ import annotations

import json
from pathlib import Path

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import tell
from partner_tools.cli.help_pages import Whole
from partner_tools.cli.options import folder_path, key_option
from partner_tools.cli.signing_key import unlock_key
from partner_tools.cli.wiring import load_config
from partner_tools.files import require_folder, write_private
from partner_tools.signing import is_public


@click.group("keys", cls=Whole)
def keys() -> None:
    """Publish the key that signs your certificates.

    \b
    Example:
      partner-tools keys publish -o public
    """


@command("publish", group=keys)
@click.option(
    "-o",
    "folder",
    type=folder_path(),
    required=True,
    help="Folder for partner-keys.json and partner-keys.txt.",
)
@click.option("--domain", metavar="DOMAIN", help="Your domain, for the text of the DNS record.")
@key_option("File of the signing key.")
@click.option(
    "--public",
    metavar="KEY",
    help="Public key to publish, instead of reading it from the signing key.",
)
def publish(
    call: Call, folder: Path, domain: str | None, key_file: Path | None, public: str | None
) -> int:
    """Write your public key for your website and DNS.

    Put partner-keys.json on your own website, and the text record into your DNS, so that buyers do
    not depend on a key that came with the certificate. Only the public half is written.

    \b
    Example:
      partner-tools keys publish -o public --domain fabrikam.example
    """
    from partner_tools.workspace.certificates import keys_document, keys_text

    config = load_config(call.common)
    if public is not None and not is_public(public):
        raise click.UsageError("--public takes a public key as `approve --init` prints it")
    if public is None:
        public = unlock_key(key_file, config).public
    document = keys_document(public, dict(config.get("partner") or {}))
    require_folder(folder)
    for name, content in (
        ("partner-keys.json", f"{json.dumps(document, ensure_ascii=False, indent=1)}\n"),
        ("partner-keys.txt", keys_text(document, domain)),
    ):
        write_private(folder / name, content.encode())
        click.echo(folder / name)
    tell(keys_text(document, domain))
    return 0
