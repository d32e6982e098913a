"""`hash`: decodes 4K hardware hashes, and checks them against the columns beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, pasteable, print_document, tell
from partner_tools.cli.help_pages import Whole
from partner_tools.cli.options import OutputFile, output_options
from partner_tools.cli.wiring import open_batches, show_check, show_problem, show_problems
from partner_tools.errors import InputError
from partner_tools.model import Severity

if TYPE_CHECKING:
    from partner_tools import HardwareHash

TEXT_LIMIT_BYTES = 1 << 20
"""A file of this size holds some 250 hashes; whole fleets are for `hash check`."""


@click.group("hash", cls=Whole)
def hash_() -> None:
    """Decode and check 4K hardware hashes. Offline.

    \b
    Example:
      partner-tools hash decode hash.txt
    """


@command("decode", group=hash_)
@click.argument("file", metavar="FILE", shell_complete=completers.files)
@output_options
def decode(call: Call, file: str) -> int:
    """Decode hardware hashes, one per line of FILE (- for standard input).

    A hash identifies a machine for life. Keep files with hashes private.

    \b
    Example:
      partner-tools hash decode hash.txt --output json
    """
    from partner_tools import describe_hash, hash_lines

    texts = _texts(file)
    if call.output == "json" and len(texts) > 1:
        raise click.UsageError(
            f"{file!r} holds {len(texts)} hashes, and --output json prints one document; "
            "--output jsonl prints a line for each"
        )
    for number, (row, text) in enumerate(texts, 1):
        machine = _decoded(file, row, text)
        if call.output != "text":
            print_document(call.output, describe_hash(machine))
        else:
            if number > 1:
                click.echo()
            for line in hash_lines(machine):
                click.echo(clean(line))
    return 0


@command("check", group=hash_)
@click.argument("batch", metavar="BATCH", shell_complete=completers.files)
@click.option(
    "--repaired",
    type=OutputFile(),
    help="Write a copy of the batch in which damaged hashes are repaired where possible.",
)
@output_options
def check(call: Call, batch: str, repaired: Path | None) -> int:
    """Check the hardware hashes of a batch against the columns beside them.

    Compares serial number, manufacturer, model and product key id, lists BIOS fields that Autopilot
    needs but the hash lacks, and explains damaged padding. Exits with 3 on errors.

    \b
    Example:
      partner-tools hash check returned.csv --repaired whole.csv
    """
    from partner_tools.workspace.batches import check_hashes

    try:
        found = check_hashes(*open_batches((batch,), ()))
    except InputError as error:
        show_problems([each for each in error.problems if each.severity is Severity.ERROR])
        raise
    for problem in found.problems:
        show_problem(call.output, problem)
    show_check(call.output, found.devices, found.problems)
    if repaired is not None:
        from partner_tools.files import write_private

        write_private(repaired, found.whole)
        hashes = "hash" if found.repaired == 1 else "hashes"
        tell(f"{found.repaired} {hashes} repaired in {repaired}")
    return found.exit_code


def _decoded(file: str, line: int, text: str) -> HardwareHash:
    """Decode a hash. Raises InputError that names its line."""
    from partner_tools import decode_hash

    place = f"standard input:{line}" if file == "-" else f"{file}:{line}"
    if any(separator in text for separator in ",;\t"):
        raise InputError(
            f"{place} is a row of a table, not a single hash",
            rule="hash-table",
            remedy=f"`{pasteable('partner-tools', 'hash', 'check', file)}` reads whole batches",
        )
    try:
        return decode_hash(text)
    except InputError as error:
        raise InputError(f"{place}: {error}", rule=error.rule, remedy=error.remedy) from error


def _texts(file: str) -> list[tuple[int, str]]:
    """The hashes of a file with their lines, from 1. Raises InputError if there is none."""
    content = _read(file)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = content.decode(encoding, "replace").splitlines()
    found = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InputError(
            f"{file!r} holds no hash",
            rule="hash-empty",
            remedy="name a file with one hash a line",
        )
    return found


def _read(file: str) -> bytes:
    try:
        if file == "-":
            content = sys.stdin.buffer.read(TEXT_LIMIT_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                content = stream.read(TEXT_LIMIT_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"{file!r} cannot be read: {error.strerror or error}",
            rule="unreadable-file",
            remedy="check the path and your permission to read it",
        ) from error
    if len(content) > TEXT_LIMIT_BYTES:
        raise InputError(
            f"{file!r} is larger than {TEXT_LIMIT_BYTES} bytes",
            rule="file-too-large",
            remedy="`hash check` reads whole batches",
        )
    return content
