"""`certificate`: states which devices of a run are released, and checks such a statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, counted, print_document, say, tell
from partner_tools.cli.options import file_path, folder_path, key_option, output_options
from partner_tools.cli.signing_key import unlock_key
from partner_tools.cli.wiring import load_config, opened
from partner_tools.signing import grouped, is_public
from partner_tools.workspace.approvals import approval_rule

if TYPE_CHECKING:
    from partner_tools import Erasure
    from partner_tools.workspace.certificates import CertificateCheck

_ERASURE = ("erasure_record", "erasure_method", "erasure_standard", "erasure_provider")


@command("certificate")
@click.argument("words", metavar="RUN | verify FILE", nargs=-1, shell_complete=completers.runs)
@click.option("-o", "folder", type=folder_path(), help="Folder.")
@click.option(
    "--serial", "serials", multiple=True, help="Only this device, in a file of its own; repeatable."
)
@click.option("--each", is_flag=True, help="A file for every device instead of one for the run.")
@key_option("File of the signing key.")
@click.option(
    "--erasure-record",
    type=file_path(),
    help="Record of the erasure, named by its digest; needs the three below.",
)
@click.option(
    "--erasure-method", metavar="TEXT", help="Method of erasure, for example: one overwrite."
)
@click.option(
    "--erasure-standard", metavar="TEXT", help="Such as: NIST SP 800-88 r2, Purge, or IEEE 2883."
)
@click.option("--erasure-provider", metavar="TEXT", help="Provider that erased the devices.")
@click.option(
    "--signed-by",
    metavar="KEY",
    multiple=True,
    help="With verify: public key or fingerprint to accept; repeatable.",
)
@click.option(
    "--keys",
    "keys_file",
    type=file_path(),
    help="With verify: file of keys that the partner published.",
)
@output_options
def certificate(
    call: Call,
    words: tuple[str, ...],
    folder: Path | None,
    serials: tuple[str, ...],
    each: bool,
    key_file: Path | None,
    signed_by: tuple[str, ...],
    keys_file: Path | None,
    **erasure: Any,
) -> int:
    """Certify which devices are released, lock by lock; check a certificate.

    A device is released when every lock was looked at and is clear: Autopilot, device association,
    Intune, Entra ID, Active Directory, Configuration Manager, firmware, corporate identifier. With
    one open or not verified, the file is called a status report and lists it, exit 7. Run
    `verify RUN --graph` before. Each file is JSON, signed with your key, with a page to print.

    `certificate verify` needs neither ledger nor network. Exit 3: the file was changed; 7: it is
    unchanged, and its signer is not one of --signed-by, --keys or the profile's approvers.

    \b
    Example:
      partner-tools certificate 20260417-101530-4f2a9c -o certificates
      partner-tools certificate verify certificate.json \\
          --keys partner-keys.json
    """
    if words and words[0] == "verify":
        if len(words) != 2:
            raise click.UsageError("name one file: `certificate verify FILE`")
        return _verify(call, Path(words[1]), signed_by, keys_file)
    if len(words) != 1 or folder is None:
        raise click.UsageError("name one run and a folder, -o; or `verify` and one file")
    from partner_tools.workspace.certificates import CHECKING_PAGE, issue

    record = _erasure(**erasure)
    with opened(call) as workspace:
        run = workspace.ledger.run(words[0])
        sender = workspace.sender_of(run)  # a cleanup names the partner itself
        key = unlock_key(key_file, workspace.config)
        made = list(
            issue(
                workspace.ledger,
                run,
                key,
                folder,
                partner=sender,
                serials=serials,
                each=each,
                erasure=record,
            )
        )
    devices = [device for document, _ in made for device in document["devices"]]
    released = sum(device["released"] for device in devices)
    if call.output == "text":
        for _, path in made:
            click.echo(path)
    else:
        print_document(call.output, _written(made))
    tell(f"{released} of {counted(len(devices), 'device')} released")
    if released < len(devices):
        tell("next: the files list what is open; `verify RUN --graph` looks again")
    tell(f"the reader checks them with {folder / CHECKING_PAGE}, or `certificate verify`")
    return 0 if devices and released == len(devices) else 7


def _written(made: Sequence[tuple[Mapping[str, Any], Path]]) -> dict[str, Any]:
    """As `certificate RUN --output json` prints it."""
    return {
        "schemaVersion": "1",
        "certificates": [
            {
                "file": str(path),
                "kind": document["kind"],
                "digest": document["digest"],
                "devices": len(document["devices"]),
                "released": sum(device["released"] for device in document["devices"]),
            }
            for document, path in made
        ],
    }


def _erasure(**given: Any) -> Erasure | None:
    from partner_tools.workspace.certificates import erasure_record

    stated = [given[name] for name in _ERASURE]
    if not any(stated):
        return None
    if not all(stated):
        raise click.UsageError(
            "--erasure-record, --erasure-method, --erasure-standard and --erasure-provider go "
            "together"
        )
    record, method, standard, provider = stated
    return erasure_record(record, method=method, standard=standard, provider=provider)


def _verify(call: Call, file: Path, signed_by: tuple[str, ...], keys_file: Path | None) -> int:
    from partner_tools.workspace.certificates import check_certificate, published_keys

    rule = approval_rule(load_config(call.common))
    trusted = {_key(text): text for text in signed_by}
    if keys_file is not None:
        trusted |= published_keys(keys_file)
    if not trusted:
        trusted = {each.key: each.name for each in rule.approvers}
    found = check_certificate(file, trusted)
    if call.output == "text":
        _show(found)
    else:
        print_document(call.output, found.json)
    return found.exit_code


def _key(text: str) -> str:
    """A public key, or a fingerprint as it is compared. Raises UsageError."""
    plain = "".join(text.split()).removeprefix("sha256:")
    if is_public(text):
        return text
    if len(plain) == 64 and all(each in "0123456789abcdef" for each in plain.lower()):
        return plain.lower()
    raise click.UsageError(f"--signed-by takes a public key or its fingerprint, not {text!r}")


def _show(found: CertificateCheck) -> None:
    for each in found.findings:
        tell(f"not genuine: {each}")
    for each in found.fingerprints:
        tell(f"signed by the key {grouped(each)}")
    if found.findings:
        return
    if found.signers:
        tell(f"unchanged, signed by {', '.join(map(clean, found.signers))}")
    else:
        tell("unchanged, but the signer is not known here: compare the fingerprint with the one")
        tell("that the partner publishes, or pass it with --signed-by")
    for device in found.json["devices"]:
        what = "released" if device["released"] else f"not released: {', '.join(device['open'])}"
        say(clean(f"{device['serialNumber']}: {what}"))
