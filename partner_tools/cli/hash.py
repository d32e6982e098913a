"""`hash`: decodes 4K hardware hashes, and checks them against the columns beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from partner_tools.cli.options import output_options
from partner_tools.cli.output import clean, print_json, print_line
from partner_tools.cli.program import Call, command
from partner_tools.errors import InputError

TEXT_LIMIT_BYTES = 1 << 20
"""A file of this size holds some 250 hashes; whole fleets are for `hash check`."""


@click.group("hash")
def hash_() -> None:
    """Decode and check 4K hardware hashes. Offline.

    \b
    Example:
      partner-tools hash decode hash.txt
    """


@command("decode")
@click.argument("file", metavar="FILE")
@output_options
def decode(call: Call, file: str) -> int:
    """Show what a hardware hash says of its machine: FILE holds one a line, - is standard input.

    A hash identifies a machine for life: keep files with hashes private.

    \b
    Example:
      partner-tools hash decode hash.txt --output json
    """
    from partner_tools.intake.hardware_hash import decode as read
    from partner_tools.intake.hash_description import describe, lines

    for number, text in enumerate(_texts(file), 1):
        machine = read(text)
        if call.output == "json":
            print_json(describe(machine))
        elif call.output == "jsonl":
            print_line(describe(machine))
        else:
            if number > 1:
                click.echo()
            for line in lines(machine):
                click.echo(clean(line))
    return 0


hash_.add_command(decode)


def _texts(file: str) -> list[str]:
    """The hashes of a file, one a line. Raises InputError where there is none."""
    content = _read(file)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    texts = [line.strip() for line in content.decode(encoding, "replace").splitlines()]
    found = [text for text in texts if text]
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
            remedy="name a file that is there",
        ) from error
    if len(content) > TEXT_LIMIT_BYTES:
        raise InputError(
            f"{file!r} is larger than {TEXT_LIMIT_BYTES} bytes",
            rule="file-too-large",
            remedy="`hash check` reads whole batches",
        )
    return content
