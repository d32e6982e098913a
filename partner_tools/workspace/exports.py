"""Files that leave: the audit trail, written, signed and proved without its ledger; inventories."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partner_tools.errors import InputError, LedgerError
from partner_tools.files import EXPORT_BYTES, read_document
from partner_tools.json_forms import digest_of_bytes, registration_document
from partner_tools.model import Estate
from partner_tools.signing import Purpose, is_valid, read_signatures
from partner_tools.workspace.approvals import add_signature, load_signatures
from partner_tools.workspace.environment import this_account

if TYPE_CHECKING:
    from partner_tools.signing import SigningKey

FORMS = ("jsonl", "csv")
COLUMNS = (
    *("run", "n", "at", "actor", "kind", "channel", "batchId", "customer", "device", "row"),
    *("serialNumber", "productKeyId", "requestId", "correlationId"),
    *("payload", "payloadDigest", "previous", "hash"),
)
INVENTORY_COLUMNS = (
    "serialNumber",
    "manufacturer",
    "model",
    "productKeyId",
    "batchId",
    "deviceId",
    "uploadedAt",
    "allowedOperations",
)
OF_THE_PAYLOAD = frozenset({"requestId", "correlationId"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportCheck:
    """The result of checking an exported file: its events, problems, and valid signers."""

    events: int
    findings: tuple[str, ...]
    is_signed: bool
    signed_by: tuple[str, ...]

    @property
    def document(self) -> dict[str, Any]:
        """As `ledger verify --export --output json` prints it."""
        signed = {"signed": self.is_signed, "signedBy": list(self.signed_by)}
        findings = list(self.findings)
        return {"schemaVersion": "1", "whole": not findings, **signed, "findings": findings}

    @property
    def exit_code(self) -> int:
        """With what `ledger verify --export` ends: 6 where something is wrong."""
        return LedgerError.exit_code if self.findings else 0


def lines_of(events: Iterable[Mapping[str, Any]], form: str) -> Iterator[str]:
    """Events as the lines of an export, `jsonl` or `csv`; a CSV begins with its header."""
    if form == "jsonl":
        for event in events:
            yield f"{json.dumps(event, ensure_ascii=True)}\n"
        return
    yield _csv_line(COLUMNS)
    for event in events:
        yield _csv_line([_cell(event, name) for name in COLUMNS])


def write_export(events: Iterable[Mapping[str, Any]], form: str, file: Path) -> None:
    """Write an export, private to the user, whole or not at all; durable on return."""
    from partner_tools.files import writing

    with writing(file) as stream:
        for line in lines_of(events, form):
            stream.write(line.encode("utf-8", "backslashreplace"))


def write_inventory(estate: Estate, file: Path) -> None:
    """Write an estate as CSV in which no cell is a formula, private to the user."""
    from partner_tools.files import write_private
    from partner_tools.report.tables import inert

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(INVENTORY_COLUMNS)
    for found in estate.registrations:
        allowed = " ".join(found.allowed_operations or ())
        row = {**registration_document(found), "allowedOperations": allowed}
        writer.writerow([inert(str(row.get(name) or "")) for name in INVENTORY_COLUMNS])
    write_private(file, text.getvalue().encode("utf-8-sig"))


def sign_export(file: Path, key: SigningKey) -> Path:
    """Sign an exported file, beside who signed it before; the file of the signatures."""
    signed = signature_file(file)
    add_signature(signed, Purpose.EXPORT, digest_of_bytes(file.read_bytes()), key, this_account())
    return signed


def signature_file(exported: Path) -> Path:
    """The file of an export's signatures."""
    return exported.with_name(f"{exported.name}.signature.json")


def check_export(
    file: Path, trusted: Mapping[str, str], *, has_to_be_signed: bool = True
) -> ExportCheck:
    """Verify an exported file and its signatures. `trusted` names who counts, by public key.

    Only JSON Lines carry the chain: of another file nothing but a signature proves anything.
    Cutting lines off removes the signature too: that is detected where there has to be
    one. Raises InputError where there is nothing that could prove the file.
    """
    from partner_tools.ledger.integrity import check_exported

    content: bytes = read_document(
        file,
        EXPORT_BYTES,
        what="the export",
        rule="export-unreadable",
        remedy="name a file that `partner-tools ledger export -o` wrote",
        read=bytes,
    )
    document = load_signatures(signature_file(file), Purpose.EXPORT)
    lines = content.splitlines() if content.startswith(b"{") else []
    if document is None and not lines:
        raise InputError(
            f"{str(file)!r} has no events in JSON Lines, whose hashes would prove them, "
            "and there is no signature beside it",
            rule="export-unprovable",
            remedy="name a file that `partner-tools ledger export -o` wrote; a CSV has to be "
            "signed",
        )
    names = tuple(
        trusted[each.key]
        for each in (read_signatures(document) if document else ())
        if each.key in trusted and is_valid(each, Purpose.EXPORT, digest_of_bytes(content))
    )
    findings = [each.message for each in check_exported(lines) if each is not None]
    if has_to_be_signed and document is None:
        findings.append("there is no signature beside the file")
    elif document is not None and not names:
        findings.append("no signature beside the file is valid and from a trusted key")
    return ExportCheck(
        events=len(lines),
        findings=tuple(findings),
        is_signed=document is not None,
        signed_by=names,
    )


def _cell(event: Mapping[str, Any], name: str) -> str:
    holder = (event["payload"] or {}) if name in OF_THE_PAYLOAD else event
    value = holder.get(name)
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value)
    return json.dumps(value, ensure_ascii=True)


def _csv_line(cells: Iterable[str]) -> str:
    from partner_tools.report.tables import inert

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(map(inert, cells))
    return text.getvalue()
