"""`hash`: decodes 4K hardware hashes, and checks them against the columns beside them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from partner_tools.cli.batch import open_batch, refusal, sentence
from partner_tools.cli.options import OutputFile, output_options
from partner_tools.cli.output import clean, counted, print_json, print_line, tell
from partner_tools.cli.program import Call, command
from partner_tools.errors import InputError
from partner_tools.model import Device, Problem, Severity
from partner_tools.result import problem_document

if TYPE_CHECKING:
    from partner_tools.intake.batch_hashes import HashProblem

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


@command("check")
@click.argument("batch", metavar="BATCH")
@click.option(
    "--repaired",
    type=OutputFile(),
    help="Write a copy in which damaged hashes that can be made whole are repaired.",
)
@output_options
def check(call: Call, batch: str, repaired: Path | None) -> int:
    """Check the hardware hashes of a batch against the columns beside them.

    Compares serial number, maker, model and product key id, names the BIOS fields that Autopilot
    needs and a hash lacks, and explains damaged padding. Exits with 3 when there is an error.

    \b
    Example:
      partner-tools hash check returned.csv --repaired whole.csv
    """
    from partner_tools.intake.batch import read_batch, validation_document
    from partner_tools.intake.batch_hashes import check as judge
    from partner_tools.intake.head import IntakeOptions
    from partner_tools.intake.source import hold

    source = hold(open_batch(batch))
    intake = read_batch(source, IntakeOptions(judge_hashes=False))
    if intake.batch is None:
        raise refusal(batch, intake.problems)
    found = list(judge(intake.batch.devices, file=batch, placeholders=_placeholders()))
    problems = [each.problem for each in found]
    if call.output == "json":
        print_json(validation_document(problems, intake.count))
    else:
        _print_problems(call.output, problems, intake.count)
    if repaired is not None:
        _write_repaired(source.content or b"", intake.batch.devices, found, repaired)
    return 3 if any(problem.severity is Severity.ERROR for problem in problems) else 0


for _command in (decode, check):
    hash_.add_command(_command)


def _placeholders() -> list[str]:
    from partner_tools.intake.schema import load_schema

    listed: list[str] = load_schema("batch")["$defs"]["placeholderSerial"]["enum"]
    return listed


def _print_problems(output: str, problems: list[Problem], devices: int) -> None:
    for problem in problems:
        if output == "jsonl":
            print_line(problem_document(problem))
        else:
            click.echo(clean(sentence(problem)))
    if output == "text":
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        numbers = {"device": devices, "error": errors, "warning": len(problems) - errors}
        click.echo(", ".join(counted(number, noun) for noun, number in numbers.items()))


def _write_repaired(
    content: bytes, devices: Sequence[Device], found: Sequence[HashProblem], file: Path
) -> None:
    """The batch byte for byte, but for the hashes that could be made whole."""
    from partner_tools.private_file import write_private

    damaged = {device.row: device.identity.hardware_hash for device in devices}
    encoding = "utf-16-le" if content[:2] == b"\xff\xfe" else "ascii"
    done = 0
    for each in found:
        before = damaged.get(each.problem.row or 0)
        if each.repaired is None or before is None or each.problem.column != "hardwareHash":
            continue
        old, new = before.encode(encoding), each.repaired.encode(encoding)
        done += content.count(old)
        content = content.replace(old, new)
    write_private(file, content)
    tell(f"{counted(done, 'hash') if done == 1 else f'{done} hashes'} repaired in {file}")


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
